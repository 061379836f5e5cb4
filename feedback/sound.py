"""Chime, ambience and cues, synthesised with numpy; playing them through pygame.

`Synth` is pure: `render(n)` returns the next `n` samples, after the guard, without any device.
`Speaker` plays a synth through pygame's mixer in blocks of 2048 samples (46 ms): shorter blocks
ran dry on ordinary machines, and a gap is a click.

Nothing here beats or pulses between 1 and 40 Hz: a sound that is modulated at a rhythm of the EEG
could drive it. All tones of the chord are multiples of one fundamental, so no two of them are
closer than that.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.frames import Float
from feedback.guard import SoundGuard
from feedback.registry import SOUNDS, SoundKind, resolve

__all__ = ["BLOCK", "RATE_HZ", "Speaker", "Synth", "ambience", "chime", "cue_tones"]

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

RATE_HZ = 44100
BLOCK = 2048

AMBIENCE_PEAK = 0.55
CHIME_PEAK = 0.55
CUE_PEAK = 0.40
LONGEST_S = 10.0  # of a reward's sound; of a loop, six times as much


def _swell(n: int, rise: int, fall: int) -> Float:
    """Return an envelope of `n` samples with raised-cosine ends: no corner, no click."""
    envelope = np.ones(n)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    envelope[n - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / fall)
    return envelope


def _tone(frequency_hz: float, lasts_s: float, tau_s: float, rate_hz: int) -> Float:
    """Return one soft struck tone, peak about 1, shape ``(n,)``."""
    n = int(lasts_s * rate_hz)
    t = np.arange(n) / rate_hz
    wave = np.zeros(n)
    # Higher partials are weaker and die sooner, as they do in a struck bar.
    for harmonic, weight, sooner in ((1, 1.0, 1.0), (2, 0.28, 0.6), (3, 0.10, 0.4)):
        decay = np.exp(-t / (tau_s * sooner))
        wave += weight * np.sin(2 * np.pi * frequency_hz * harmonic * t) * decay
    return wave * _swell(n, int(0.020 * rate_hz), int(0.120 * rate_hz))


def _stereo(wave: Float, peak: float) -> Float32:
    scaled = wave * (peak / np.abs(wave).max())
    return np.repeat(scaled[:, None], 2, axis=1).astype(np.float32)


def chime(rate_hz: int = RATE_HZ) -> Float32:
    """Return the reward chime: two soft bell tones a fifth apart, 0.7 s, shape ``(n, 2)``."""
    n = int(0.70 * rate_hz)
    wave = np.zeros(n)
    for start_s, frequency_hz, weight in ((0.0, 523.25, 1.0), (0.07, 783.99, 0.55)):
        tone = weight * _tone(frequency_hz, 0.62, 0.20, rate_hz)
        at = int(start_s * rate_hz)
        wave[at : at + len(tone)] += tone
    return _stereo(wave, CHIME_PEAK)


def cue_tones(rate_hz: int = RATE_HZ) -> Mapping[str, Float32]:
    """Return the tones that mark parts of a session, each shape ``(n, 2)``.

    A beginning rises, an end falls, rest is one low tone, a baseline one middle tone, the sound
    test is three rising tones, and who falls asleep hears two soft low ones.
    """
    melodies: dict[str, tuple[float, ...]] = {
        "start": (392.0, 523.25),
        "end": (523.25, 392.0),
        "rest": (293.66,),
        "baseline": (440.0,),
        "test": (392.0, 440.0, 523.25),
        "wake": (261.63, 293.66),
    }
    cues: dict[str, Float32] = {}
    for name, notes in melodies.items():
        step = int(0.28 * rate_hz)
        tones = [_tone(f, 0.65, 0.25, rate_hz) for f in notes]
        wave = np.zeros(step * (len(notes) - 1) + len(tones[0]))
        for i, tone in enumerate(tones):
            wave[i * step : i * step + len(tone)] += tone
        cues[name] = _stereo(wave, CUE_PEAK)
    return MappingProxyType(cues)


def ambience(rate_hz: int = RATE_HZ) -> tuple[Float32, Float32]:
    """Return the two layers of the ambience, warm and bright, as seamless loops of 4 s.

    Each has shape ``(n, 2)``. Every component completes whole cycles in 4 s, so the end of a loop
    continues into its beginning; breath-like noise is built from such components too.
    """
    seconds = 4
    n = seconds * rate_hz
    rng = np.random.default_rng(20)

    def loop(amplitude_of_bin: NDArray[np.float64]) -> Float:
        out = np.empty((n, 2))
        for side in range(2):
            phases = rng.uniform(0, 2 * np.pi, len(amplitude_of_bin))
            out[:, side] = np.fft.irfft(amplitude_of_bin * np.exp(1j * phases), n) * n / 2
        return out

    hz = np.arange(n // 2 + 1) / seconds

    def tones(partials: Mapping[float, float]) -> NDArray[np.float64]:
        bins = np.zeros(n // 2 + 1)
        for frequency_hz, amplitude in partials.items():
            bins[round(frequency_hz * seconds)] += amplitude
        return bins

    def breath(centre_hz: float, octaves: float, rms: float) -> NDArray[np.float64]:
        with np.errstate(divide="ignore"):
            shape = np.exp(-0.5 * (np.log2(np.maximum(hz, 1e-9) / centre_hz) / octaves) ** 2)
        return np.asarray(shape * rms / np.sqrt(0.5 * np.sum(shape**2)))

    # An open chord over 110 Hz; every tone is a multiple of 55 Hz.
    warm = loop(
        tones({110.0: 0.9, 165.0: 0.7, 220.0: 0.6, 275.0: 0.25, 330.0: 0.3})
        + breath(260.0, 0.5, 0.05)
    )
    bright = loop(
        tones({440.0: 0.45, 550.0: 0.35, 660.0: 0.30, 880.0: 0.14, 1100.0: 0.07, 1320.0: 0.04})
        + breath(900.0, 0.6, 0.05)
    )
    # Peak of the loudest mixture, where both play at full: the loops share one scale.
    peak = max(float(np.abs(warm).max()), float(np.abs(warm + bright).max()))
    scale = AMBIENCE_PEAK / peak
    return (warm * scale).astype(np.float32), (bright * scale).astype(np.float32)


def _made(sounds: Mapping[str, SoundKind], name: str, rate_hz: int) -> tuple[Float32, ...]:
    """Return the samples of a sound: one wave for a reward, two loops for a continuous sound.

    Raises
    ------
    InputError
        A sound of a plugin is not known, fails, or is none.
    """
    kind = sounds.get(name)
    if kind is None:
        raise InputError(f"There is no sound `{name}`.", f"Choose one of {', '.join(sounds)}.")
    if SOUNDS.get(name) is kind:
        own: Any = resolve(kind.factory)(rate_hz)
        return own if kind.role == "continuous" else (own,)
    fix = "See docs/plugins.md, or write to the author of the package."
    try:
        made: Any = resolve(kind.factory)(rate_hz)
        waves = tuple(made) if kind.role == "continuous" else (made,)
        arrays = [np.array(w, dtype=float) for w in waves]
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The sound `{name}` cannot be made ({type(error).__name__}: {error}).", fix
        ) from error
    longest = LONGEST_S * (6 if kind.role == "continuous" else 1) * rate_hz
    right = len(arrays) == (2 if kind.role == "continuous" else 1) and all(
        a.ndim == 2 and a.shape[1] == 2 and 1 <= len(a) <= longest and np.isfinite(a).all()
        for a in arrays
    )
    if not right or len({len(a) for a in arrays}) > 1 or not all(a.any() for a in arrays):
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise InputError(
            f"The sound `{name}` gives samples of shape {shapes}, which cannot be played.", fix
        )
    # No louder than what is built in; how loud that is at the ear is the guard's matter.
    peak = max(float(np.abs(sum(arrays)).max()), *(float(np.abs(a).max()) for a in arrays))
    most = AMBIENCE_PEAK if kind.role == "continuous" else CHIME_PEAK
    scale = min(1.0, most / peak)
    return tuple((a * scale).astype(np.float32) for a in arrays)


class Synth:
    """Everything the person hears, as blocks of samples.

    Attributes are set by the window at any time and take effect, ramped, with the next block.

    Parameters
    ----------
    on_reward, continuous : str or None
        Names in `feedback.registry.SOUNDS`.
    cues : bool
        Whether cue tones are played.
    guard : SoundGuard
        Comes last.
    sounds : mapping of str to SoundKind
        Where the names are looked up.

    Raises
    ------
    InputError
        A sound of a plugin cannot be made.
    """

    def __init__(
        self,
        on_reward: str | None,
        continuous: str | None,
        cues: bool,
        guard: SoundGuard,
        rate_hz: int = RATE_HZ,
        sounds: Mapping[str, SoundKind] = SOUNDS,
    ) -> None:
        self.guard = guard
        self.rate_hz = rate_hz
        self.level = 0.0  # what the ambience follows, 0..1
        self.playing = False  # whether the ambience sounds
        self.volume = 1.0  # the operator's, 0..1
        self.bits = 0  # of the guard since last cleared
        self._reward: Float32 | None = (
            _made(sounds, on_reward, rate_hz)[0] if on_reward is not None else None
        )
        self._cues: Mapping[str, Float32] = cue_tones(rate_hz) if cues else {}
        self._voices: list[tuple[Float32, int]] = []
        self._lock = threading.Lock()
        self._layers: tuple[Float32, Float32] | None = None
        if continuous is not None:
            warm, bright = _made(sounds, continuous, rate_hz)
            self._layers = (warm, bright)
        self._at = 0
        self._gains = (0.0, 0.0)
        self._fade = 0.0
        if self._layers is not None:
            self._rms = tuple(float(np.sqrt(np.mean(x.astype(float) ** 2))) for x in self._layers)

    def reward(self) -> None:
        """Play the reward sound once."""
        if self._reward is not None:
            self._start(self._reward)

    def cue(self, name: str) -> None:
        """Play the cue of this name once; an unknown name is silent."""
        tones = self._cues.get(name)
        if tones is not None:
            self._start(tones)

    def hush(self, on: bool) -> None:
        """Fade everything out within 100 ms (`on`), or let it return slowly."""
        if on and not self.guard.hushed:
            with self._lock:
                self.playing = False
        self.guard.hushed = on

    def _start(self, wave: Float32) -> None:
        with self._lock:
            if len(self._voices) < 4 and not self.guard.hushed:
                self._voices.append((wave, 0))

    def render(self, n: int) -> Float32:
        """Return the next `n` samples as they may be played, shape ``(n, 2)``, full scale 1."""
        mix = np.zeros((n, 2), dtype=np.float32)
        self._add_ambience(mix)
        with self._lock:
            voices, self._voices = self._voices, []
        left: list[tuple[Float32, int]] = []
        for wave, at in voices:
            part = wave[at : at + n]
            mix[: len(part)] += part
            if at + n < len(wave):
                left.append((wave, at + n))
        block, bits = self.guard.process(mix, self.volume)
        self.bits |= bits
        if self.guard.hushed and self.guard.gain == 0.0:
            left = []  # a chime cut by a stop must not come back afterwards
            self._gains, self._fade = (0.0, 0.0), 0.0
        with self._lock:
            self._voices = left + self._voices
        return block

    def _add_ambience(self, mix: Float32) -> None:
        n = len(mix)
        if self._layers is None or n == 0:
            return
        seconds = n / self.rate_hz
        # In over 1.5 s, out over 0.4 s.
        step = seconds / 1.5 if self.playing else -seconds / 0.4
        self._fade = min(1.0, max(0.0, self._fade + step))
        level = min(max(self.level, 0.0), 1.0) if np.isfinite(self.level) else 0.0
        # Loudness rises by 6 dB from level 0 to 1, whatever the mixture; brightness beside it.
        warm_rms, bright_rms = self._rms
        loudness = 0.5 * (1.0 + level) * np.sqrt(warm_rms**2 + bright_rms**2)
        warm = self._fade * loudness / np.sqrt(warm_rms**2 + (level * bright_rms) ** 2)
        target = (float(warm), float(warm * level))
        before, self._gains = self._gains, target
        index = (self._at + np.arange(n)) % len(self._layers[0])
        self._at = int((self._at + n) % len(self._layers[0]))
        if max(*before, *target) == 0.0:
            return
        ramp = np.arange(1, n + 1, dtype=np.float32)[:, None] / np.float32(n)
        for layer, first, last in zip(self._layers, before, target, strict=True):
            mix += layer[index] * (np.float32(first) + np.float32(last - first) * ramp)


class Speaker:
    """Play a synth through pygame's mixer, from its own thread.

    The mixer holds one block that plays and one that waits, so what the person hears follows the
    picture by 50 to 100 ms.
    """

    def __init__(self, synth: Synth) -> None:
        self.synth = synth
        self.error = ""
        self.starved = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def open(self) -> str:
        """Open the sound device; return the driver's name as far as it is known.

        Raises
        ------
        pygame.error
            When there is no usable device.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        pygame.mixer.init(self.synth.rate_hz, -16, 2, 512, allowedchanges=0)
        pygame.mixer.set_num_channels(1)
        self._mixer = pygame.mixer
        self._channel = pygame.mixer.Channel(0)
        # SDL does not tell its choice through pygame; an order by environment is known.
        return os.environ.get("SDL_AUDIODRIVER", "default device")

    def start(self) -> None:
        """Begin to play."""
        self.pump()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._thread.start()

    def pump(self) -> None:
        """Hand blocks to the mixer until one plays and one waits."""
        with self._lock:
            if not self._channel.get_busy():
                if self._thread is not None:
                    self.starved += 1
                    self.synth.guard.restart()
                self._channel.play(self._next())
            if self._channel.get_queue() is None:
                self._channel.queue(self._next())

    def _next(self) -> Any:
        block = self.synth.render(BLOCK)
        codes = np.rint(block * 32767.0).astype(np.int16)
        return self._mixer.Sound(buffer=codes.tobytes())

    def _run(self) -> None:
        while not self._stop.wait(0.008):
            try:
                self.pump()
            except Exception as error:
                # A lost device must end in silence and a message, never in a dead window.
                log.exception("sound stopped")
                self.error = f"Sound stopped: {error}"
                return

    def close(self) -> None:
        """Stop playing and release the device."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)
        self._mixer.quit()
