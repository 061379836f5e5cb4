"""The room's own sound files."""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.guard import SoundGuard
from feedback.loudness import dbfs, loudest_ms
from feedback.sound import Synth
from feedback.soundfile import NAMES, check_file, layers, once
from feedback.voices import CHIME_PEAK, CUE_PEAK, ONE_SHOT_DBFS, RATE_HZ, Loops


def tone(hz: float, seconds: float, peak: float = 0.3, rate: int = 22050) -> NDArray[np.float64]:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def within(part: NDArray[Any], seconds: float = 1.0, rate: int = 22050) -> NDArray[np.float64]:
    """Return a part with silence around it."""
    out = np.zeros(round(seconds * rate))
    out[4000 : 4000 + len(part)] = part
    return out


def wav(path: Path, samples: NDArray[Any], rate: int = 22050) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples * 32767).astype(np.int16).tobytes())
    return str(path)


def encoded(path: Path, codec: str, samples: NDArray[Any], rate: int = 22050) -> str:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as file:
        # FFmpeg calls its own encoder of Vorbis experimental.
        stream = file.add_stream(codec, rate, layout="stereo", options={"strict": "experimental"})
        form = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(format=form, layout="stereo", rate=rate)
        data = np.repeat(samples[None], 2, axis=0).astype(np.float32)
        for at in range(0, data.shape[1] - 1023, 1024):
            part = np.ascontiguousarray(data[:, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, at
            for piece in resampler.resample(frame):
                file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return str(path)


def pitch_hz(x: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(x[:, 0] * np.hanning(len(x)), 1 << 17))
    return float(np.argmax(spectrum) * RATE_HZ / (1 << 17))


def test_a_wav_file_becomes_a_chime(tmp_path: Path) -> None:
    quiet = np.concatenate([np.zeros(11025), tone(660.0, 0.5, 0.05), np.zeros(5000)])
    made = once("chime", wav(tmp_path / "Glöckchen 1.wav", quiet))
    assert made.dtype == np.float32
    assert made.shape[1] == 2
    assert pitch_hz(made) == pytest.approx(660.0, rel=0.01)
    # Silence before it would delay the reward.
    assert len(made) / RATE_HZ == pytest.approx(0.5, abs=0.02)
    assert dbfs(loudest_ms(made, RATE_HZ)) == pytest.approx(ONE_SHOT_DBFS, abs=0.3)
    assert np.abs(made[[0, -1]]).max() < 1e-3
    attack = np.abs(made[: int(0.003 * RATE_HZ)]).max()
    assert attack < 0.3 * np.abs(made).max()


@pytest.mark.parametrize(
    ("codec", "name"),
    [("flac", "x.flac"), ("libmp3lame", "x.mp3"), ("vorbis", "x.ogg"), ("vorbis", "x.wav")],
)
def test_other_formats_whatever_the_name(tmp_path: Path, codec: str, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".wav"):
        Path(encoded(tmp_path / "y.ogg", codec, tone(440.0, 0.6))).rename(path)
    else:
        encoded(path, codec, tone(440.0, 0.6))
    made = once("start", str(path))
    assert pitch_hz(made) == pytest.approx(440.0, rel=0.01)
    assert len(made) / RATE_HZ == pytest.approx(0.6, abs=0.1)
    assert np.abs(made).max() <= CUE_PEAK


def test_a_short_peak_stays_below_the_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crack = rng.normal(size=8000) * np.exp(-np.arange(8000) / 300.0)
    made = once("chime", wav(tmp_path / "a.wav", 0.9 * crack / np.abs(crack).max()))
    assert np.abs(made).max() <= CHIME_PEAK + 1e-6


@pytest.mark.parametrize(
    ("name", "content", "words", "fix"),
    [
        ("chime", None, "is not there", "Correct the path"),
        ("start", b"", "not a sound", "WAV, FLAC, MP3"),
        ("rest", b"Dear participant,", "not a sound", "WAV, FLAC, MP3"),
        ("end", b"RIFF" + b"\x00" * 60, "damaged or no sound", "WAV, FLAC, MP3"),
        ("wake", b"OggS" + b"\x07" * 200, "damaged or no sound", "WAV, FLAC, MP3"),
        ("baseline", b"\xff\xfb\x00\x00" + b"\x01" * 50, "", ""),
        ("chime", np.zeros(9000), "is silent", "louder"),
        ("chime", tone(440.0, 11.0), "lasts 11.0 s", "10 s or less"),
        ("chime", 0.5 * np.ones(9000), "is only a click", "30 ms or longer"),
        ("chime", within(np.array([0.9])), "is only a click", "30 ms or longer"),
        ("chime", within(-0.5 * np.ones(9000)), "is only a click", "30 ms or longer"),
        ("wake", within(np.r_[0.9, np.zeros(4000), 0.9]), "can hardly be heard", "louder"),
        ("end", within(0.5 * np.minimum(1, np.arange(9000) / 100)), "is only a click", "30 ms"),
        ("rest", np.repeat([0.4, -0.4], 9000), "is only a click", "30 ms or longer"),
        ("start", within(tone(1000.0, 0.003)), "is only a click", "30 ms or longer"),
        ("wake", within(tone(900.0, 0.02)), "is only a click", "30 ms or longer"),
        ("end", tone(5.0, 1.03, 0.9), "too low", "30 Hz"),
        ("chime", tone(15.0, 1.03, 0.9), "too low", "30 Hz"),
        ("ambience", tone(8.0, 6.3, 0.9), "can hardly be heard", "louder"),
        ("ambience", tone(22.0, 6.3, 0.9), "too low", "30 Hz"),
        ("ambience", within(np.array([0.9]), 6.0), "can hardly be heard", "louder"),
        ("ambience", 0.5 * np.ones(6 * 22050), "can hardly be heard", "louder"),
        ("ambience", tone(440.0, 2.0), "lasts only 2.0 s", "5 s at least"),
        ("start", np.zeros(0), "is silent", ""),
        ("gong", tone(440.0, 1.0), "has no meaning", "chime"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_session(
    tmp_path: Path, name: str, content: Any, words: str, fix: str
) -> None:
    path = tmp_path / "a.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        wav(path, content)
    with pytest.raises(InputError) as caught:
        check_file(name, str(path))
    assert words in caught.value.what
    assert fix in caught.value.fix
    assert f"`files: {name}`" in caught.value.what


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chime", within(tone(900.0, 0.04))),
        ("chime", within(tone(900.0, 0.2) * np.exp(-np.arange(4410) / 220.0))),  # a wood block
        ("start", tone(45.0, 0.5)),
        ("ambience", tone(45.0, 6.0)),
    ],
)
def test_what_is_short_or_low_and_can_be_heard_is_taken(
    tmp_path: Path, name: str, content: NDArray[Any]
) -> None:
    check_file(name, wav(tmp_path / "a.wav", content))


def test_without_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniaudio", None)
    Synth("chime", "tone_pitch", True, SoundGuard(0.25))
    with pytest.raises(InputError, match="cannot be read"):
        check_file("chime", wav(tmp_path / "a.wav", tone(440.0, 1.0)))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        check_file("chime", str(tmp_path))


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    data = np.zeros(4000, dtype="<f4")
    data[100] = np.nan
    size = data.nbytes
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    head += b"\x03\x00\x01\x00" + (22050).to_bytes(4, "little") + (88200).to_bytes(4, "little")
    head += b"\x04\x00\x20\x00data" + size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(head + data.tobytes())
    with pytest.raises(InputError, match="no numbers"):
        check_file("chime", str(tmp_path / "a.wav"))


def test_an_own_ambience_has_two_layers_and_no_seam(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    music = tone(300.3, 7.3) + tone(1500.7, 7.3) + 0.01 * rng.normal(size=round(7.3 * 22050))
    warm, bright = layers(wav(tmp_path / "a.wav", music))
    assert warm.shape == bright.shape
    assert len(warm) / RATE_HZ == pytest.approx(6.3, abs=0.01)  # a second is laid over another
    assert pitch_hz(warm) == pytest.approx(300.3, rel=0.01)
    assert pitch_hz(bright) == pytest.approx(1500.7, rel=0.01)
    for layer in (warm, bright):
        inside = np.abs(np.diff(layer, axis=0)).max()
        assert np.abs(layer[0] - layer[-1]).max() <= inside
    together = warm + bright
    around = np.concatenate([together[-RATE_HZ:], together[:RATE_HZ]])
    spectrum = np.fft.rfft(around[:, 0] * np.hanning(len(around)))
    assert np.abs(spectrum[2 * 9000 :]).max() < 1e-3 * np.abs(spectrum).max()  # above 9 kHz


def test_the_filter_takes_nothing_away_and_does_not_delay(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    noise = 0.1 * rng.normal(size=8 * 22050)
    path = wav(tmp_path / "a.wav", noise)
    warm, bright = layers(path)
    spectra = [np.abs(np.fft.rfft(x[:, 0])) for x in (warm, bright)]
    hz = np.fft.rfftfreq(len(warm), 1 / RATE_HZ)
    assert spectra[0][hz > 900].max() < 1e-2 * spectra[0].max()
    assert spectra[1][hz < 500].max() < 1e-2 * spectra[1].max()
    both = (warm + bright)[:, 0]
    low = warm[:, 0] - warm[:, 0].mean()
    lags = np.fft.irfft(np.fft.rfft(both) * np.conj(np.fft.rfft(low)), len(both))
    assert int(np.argmax(lags)) == 0


def test_a_file_of_one_register_is_not_divided(tmp_path: Path) -> None:
    warm, bright = layers(wav(tmp_path / "a.wav", tone(2000.0, 6.0)))
    assert not bright.any()
    source = Loops(warm, bright, RATE_HZ)
    heard = []
    for level in (0.0, 1.0):
        for _ in range(75):  # beyond the second in which end and beginning are blended
            block = source.play(882, level, 0)
        heard.append(float(np.sqrt(np.mean(block**2))))
    assert 20 * np.log10(heard[1] / heard[0]) == pytest.approx(6.0, abs=0.5)


def test_the_synth_takes_the_rooms_files(tmp_path: Path) -> None:
    files = {name: wav(tmp_path / f"{name}.wav", tone(880.0, 0.5)) for name in NAMES}
    files["ambience"] = wav(tmp_path / "b.wav", tone(1760.0, 6.0))
    synth = Synth("chime", "ambience", True, SoundGuard(0.25), files=files)
    for ask in (synth.reward, *(lambda c=c: synth.cue(c) for c in ("start", "wake"))):
        ask()
        heard = np.concatenate([synth.render(882) for _ in range(25)])
        assert pitch_hz(heard) == pytest.approx(880.0, rel=0.01)
        for _ in range(40):
            synth.render(882)
    synth.cue("test")  # this one cannot be replaced
    assert pitch_hz(np.concatenate([synth.render(882) for _ in range(12)])) < 600.0
    for _ in range(80):
        synth.render(882)
    synth.playing = True
    heard = np.concatenate([synth.render(882) for _ in range(100)])
    assert pitch_hz(heard[RATE_HZ:]) == pytest.approx(1760.0, rel=0.01)


def test_files_of_sounds_that_are_not_played_are_not_read() -> None:
    nowhere = dict.fromkeys(NAMES, "/nowhere/at/all.wav")
    Synth(None, "tone_volume", False, SoundGuard(0.25), files=nowhere)
    with pytest.raises(InputError, match="files: chime"):
        Synth("chime", None, False, SoundGuard(0.25), files=nowhere)
