"""The room's own sound files: read, checked, made as loud as what is built in, without clicks.

WAV, FLAC, MP3 and Ogg Vorbis are told apart by their first bytes, whatever the name says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.frames import Float
from feedback.loudness import a_weighted_ms, a_weighting_db, dbfs, loudness_ms
from feedback.registry import CUES
from feedback.voices import CHIME_PEAK, CUE_PEAK, RATE_HZ, levelled

__all__ = ["NAMES", "check_file", "layers", "once"]

Float32 = NDArray[np.float32]

NAMES = ("chime", "ambience", *(c for c in CUES if c != "test"))
"""What may be replaced, as the room names it."""

LONGEST_S = {"ambience": 600.0}
OTHERS_LONGEST_S = 10.0
SHORTEST_LOOP_S = 5.0  # a shorter one would repeat at a rhythm of the EEG, or nearly
LARGEST_BYTES = 400_000_000
SILENT_DBFS = -65.0
TOO_LOW_DB = 40.0  # between a file and what the ear hears of it: a sine of 25 Hz
PART = 1 << 16  # samples of a loop that are looked at together
LEAD_BELOW = 0.003  # of the peak: what comes before that is silence, which would only delay
PIECE_S = 0.005  # in which loudness is looked at
PIECE_BELOW_DB = 20.0  # of the loudest piece: what is less does not count as sound
SHORTEST_S = 0.030  # a shorter one is a click
FADE_S = 0.020
OVERLAP_S = 1.0  # of a loop's end with its beginning
SPLIT_HZ = 700.0  # between warm and bright
TAPS = 4095  # of the filter that divides them


def _wrong(name: str, what: str, fix: str) -> InputError:
    return InputError(f"The room's sound `files: {name}` {what}.", fix)


def _reader(miniaudio: Any, head: bytes) -> Any:
    """Return what tells the length of a file that begins like this."""
    if head[:4] == b"RIFF":
        return miniaudio.wav_get_info
    if head[:4] == b"fLaC":
        return miniaudio.flac_get_info
    if head[:4] == b"OggS":
        return miniaudio.vorbis_get_info
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
        return miniaudio.mp3_get_info
    return None


def _read(name: str, path: str, rate_hz: int) -> Float32:
    """Return the samples of a file, shape ``(n, 2)``.

    Raises
    ------
    InputError
        The file is missing, is no sound, is too long or silent.
    """
    file = Path(path).expanduser()
    if name not in NAMES:
        raise _wrong(name, "has no meaning", f"Choose among {', '.join(NAMES)}.")
    formats = "Give a WAV, FLAC, MP3 or Ogg Vorbis file."
    try:
        if not file.is_file():
            raise _wrong(name, f"is not there: {file}", f"Correct the path. {formats}")
        if file.stat().st_size > LARGEST_BYTES:
            raise _wrong(name, f"is too large ({file.stat().st_size / 1e6:.0f} MB)", "Shorten it.")
        data = file.read_bytes()
    except OSError as error:
        raise _wrong(name, f"cannot be read ({error})", "Check who may read the file.") from error
    try:
        import miniaudio  # only here: whoever has no files of their own does without it
    except Exception as error:
        raise _wrong(name, f"cannot be read ({error})", "Install `miniaudio` again.") from error
    info = _reader(miniaudio, data[:4])
    if info is None:
        raise _wrong(name, f"is not a sound that can be read: {file}", formats)
    longest = LONGEST_S.get(name, OTHERS_LONGEST_S)
    try:
        lasts = float(info(data).duration)
        if lasts > longest:
            raise _wrong(
                name, f"lasts {lasts:.1f} s", f"Shorten it to {longest:.0f} s or less, please."
            )
        decoded = miniaudio.decode(data, miniaudio.SampleFormat.FLOAT32, 2, rate_hz)
    except miniaudio.MiniaudioError as error:
        raise _wrong(name, f"is damaged or no sound: {file} ({error})", formats) from error
    # What a header says of the length need not be true.
    wave = np.frombuffer(decoded.samples, dtype=np.float32).reshape(-1, 2)
    wave = wave[: round((longest + 0.1) * rate_hz)]
    if not np.isfinite(wave).all():
        raise _wrong(name, f"holds values that are no numbers: {file}", "Save it again.")
    wave = wave - wave.mean(axis=0) if len(wave) else wave
    if len(wave) < 2 or dbfs(float(np.mean(wave[:, :] ** 2))) < SILENT_DBFS:
        raise _wrong(name, f"is silent: {file}", "Record it louder, or leave the key out.")
    return np.asarray(wave, dtype=np.float32)


def once(name: str, path: str, rate_hz: int = RATE_HZ) -> Float32:
    """Return a sound that is played once, shape ``(n, 2)``.

    Silence before it is cut, since a reward must come at once; it begins and ends within 20 ms;
    it is as loud as the built-in ones. What is only a click is refused: it startles.

    Raises
    ------
    InputError
        The file cannot be used.
    """
    wave = _read(name, path, rate_hz).astype(np.float64)
    loud = np.abs(wave).max(axis=1)
    heard = np.flatnonzero(loud > LEAD_BELOW * loud.max())
    wave = wave[heard[0] : heard[-1] + 1]
    fade = min(round(FADE_S * rate_hz), len(wave) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / max(1, fade))
    wave[:fade] *= ramp[:, None]
    wave[len(wave) - fade :] *= ramp[::-1, None]
    _refuse_click(name, path, wave, rate_hz)
    return levelled(wave, rate_hz, CHIME_PEAK if name == "chime" else CUE_PEAK)


def _refuse_click(name: str, path: str, wave: Float, rate_hz: int) -> None:
    """Refuse what, as it would be played, is not heard, or for less than 30 ms altogether.

    To the ear's weighting a step of the mean is a click as much as an impulse is.
    """
    n = round(PIECE_S * rate_hz)
    heard = _weighted(wave, rate_hz)
    pieces = heard[: len(heard) // n * n].reshape(-1, n, 2)
    ms = np.square(pieces).mean(axis=1).max(axis=1)
    _refuse_unheard(name, path, float(np.square(wave).max()) / 2.0, float(ms.max()))
    lasts_s = PIECE_S * np.count_nonzero(ms > ms.max() * 10.0 ** (-PIECE_BELOW_DB / 10.0))
    if lasts_s < SHORTEST_S:
        raise _wrong(
            name,
            f"is only a click: {path}",
            f"Give a sound that is heard for {1000.0 * SHORTEST_S:.0f} ms or longer.",
        )


def _refuse_unheard(name: str, path: str, plain_ms: float, heard_ms: float) -> None:
    if dbfs(heard_ms) < SILENT_DBFS:
        raise _wrong(name, f"can hardly be heard: {path}", "Record it louder.")
    if dbfs(heard_ms) < dbfs(plain_ms) - TOO_LOW_DB:
        raise _wrong(
            name, f"is too low to be heard: {path}", "Give a sound that has more than 30 Hz in it."
        )


def _loop_ms(loop: Float32, rate_hz: int) -> tuple[float, float]:
    """Return the mean square of a loop, plain and as the ear weights it, by parts of it."""
    n = min(PART, len(loop))
    window = (np.sin(np.pi * (np.arange(n) + 0.5) / n) * np.sqrt(2.0))[:, None]
    starts = np.linspace(0, len(loop) - n, min(32, 2 * len(loop) // n)).astype(int)
    parts = [loop[at : at + n] * window for at in starts]
    plain = float(np.mean([np.square(p).mean(axis=0).max() for p in parts]))
    return plain, float(np.mean([a_weighted_ms(p, rate_hz) for p in parts]))


def _weighted(wave: Float, rate_hz: int) -> Float:
    """Return a wave with the A-weighting of the ear, an eighth of a second longer at both ends."""
    before = np.zeros((rate_hz // 8, 2))
    padded = np.concatenate([before, wave, before])
    size = 1 << (len(padded) - 1).bit_length()
    weights = 10.0 ** (a_weighting_db(np.fft.rfftfreq(size, 1.0 / rate_hz)) / 20.0)
    spectrum = np.fft.rfft(padded, size, axis=0) * weights[:, None]
    return np.asarray(np.fft.irfft(spectrum, size, axis=0)[: len(padded)])


def layers(path: str, rate_hz: int = RATE_HZ) -> tuple[Float32, Float32]:
    """Return two layers of the file for the ambience, warm and bright, as seamless loops.

    The warm one holds what is below 700 Hz. A file with hardly anything there, or hardly anything
    else, is not divided: with the level it becomes louder only.

    Raises
    ------
    InputError
        The file cannot be used.
    """
    wave = _read("ambience", path, rate_hz)
    if len(wave) < SHORTEST_LOOP_S * rate_hz:
        raise _wrong(
            "ambience",
            f"lasts only {len(wave) / rate_hz:.1f} s",
            f"It is repeated over and over: let it last {SHORTEST_LOOP_S:.0f} s at least.",
        )
    loop = _seamless(wave, rate_hz)
    _refuse_unheard("ambience", path, *_loop_ms(loop, rate_hz))
    warm = _low_passed(loop, rate_hz)
    bright = loop - warm
    a, b = loudness_ms(warm, rate_hz), loudness_ms(bright, rate_hz)
    if min(a, b) < 0.01 * max(a, b):
        return loop, np.zeros_like(loop)
    return warm, bright


def _seamless(wave: Float32, rate_hz: int) -> Float32:
    """Lay the end over the beginning, so that the loop has no seam."""
    n = min(round(OVERLAP_S * rate_hz), len(wave) // 4)
    x = (np.arange(n) + 0.5)[:, None] / n * (np.pi / 2.0)
    loop = wave[: len(wave) - n].copy()
    # Of equal power, since end and beginning have nothing to do with each other.
    loop[:n] = np.sin(x) * wave[:n] + np.cos(x) * wave[len(wave) - n :]
    return loop


def _low_pass(rate_hz: int) -> Float:
    """Return a symmetric filter that passes what is below `SPLIT_HZ`."""
    t = (np.arange(TAPS) - TAPS // 2) / rate_hz
    taps = np.sinc(2.0 * SPLIT_HZ * t) * np.blackman(TAPS)
    return np.asarray(taps / taps.sum())


def _low_passed(loop: Float32, rate_hz: int) -> Float32:
    """Filter a loop without delay, in parts: a spectrum of ten minutes would fill the memory."""
    size, half = 1 << 17, TAPS // 2
    block = size - TAPS + 1
    kernel = np.fft.rfft(_low_pass(rate_hz), size).astype(np.complex64)
    out = np.empty_like(loop)
    for at in range(0, len(loop), block):
        n = min(block, len(loop) - at)
        index = np.arange(at - half, at - half + size) % len(loop)
        spectrum = np.fft.rfft(np.ascontiguousarray(loop[index].T), axis=1) * kernel
        out[at : at + n] = np.fft.irfft(spectrum, size, axis=1)[:, TAPS - 1 : TAPS - 1 + n].T
    return out


def check_file(name: str, path: str) -> None:
    """Read a file as a session would, without opening a device.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    path : str
        Of the file.

    Raises
    ------
    InputError
        The file cannot be used; the message names the room's key.
    """
    if name == "ambience":
        layers(path)
    else:
        once(name, path)
