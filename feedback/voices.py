"""The sounds themselves, synthesised with numpy: chime, cues, and the voices that follow a level.

Nothing here beats or pulses between 1 and 40 Hz: a sound that is modulated at a rhythm of the EEG
could drive it. Every tone is a multiple of 55 Hz, so no two that sound together are closer than
that, and what drifts does so below 0.3 Hz. Loudness is A-weighted, and alike for all sounds,
because a clinician sets the volume once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.frames import Float
from feedback.loudness import SINE_MS, a_weighting_db, loudest_ms, loudness_ms

__all__ = [
    "AMBIENCE_PEAK",
    "CHIME_PEAK",
    "CONTINUOUS_DBFS",
    "CUE_PEAK",
    "ONE_SHOT_DBFS",
    "RATE_HZ",
    "Loops",
    "Smooth",
    "Voice",
    "ambience",
    "chime",
    "click",
    "cue_tones",
    "levelled",
    "tone_pitch",
    "tone_volume",
    "two_voices",
]

Float32 = NDArray[np.float32]

RATE_HZ = 44100

AMBIENCE_PEAK = 0.55
CHIME_PEAK = 0.55
CUE_PEAK = 0.55
CLICK_PEAK = 0.25

CONTINUOUS_DBFS = -22.0  # loudness of what sounds on, at level 0.5
ONE_SHOT_DBFS = -15.0  # of the loudest eighth of a second of what sounds once

LEVEL_TAU_S = 0.07
STEPS = np.linspace(0.0, 1.0, 33)  # of the level, between which gains are interpolated


class Voice(Protocol):
    """A sound that goes on and follows the level.

    `play` is called for one block after the other while the sound is heard, not while it has
    faded out. Where a voice has a method `rest`, that is called once it has faded out.
    """

    def play(self, n: int, level: float, rewards: int) -> Float32:
        """Return the next `n` samples, shape ``(n, 2)``, at most `AMBIENCE_PEAK`.

        Parameters
        ----------
        level : float
            0..1, finite. It may jump; the voice smooths it, so that no sample steps.
        rewards : int
            Rewards that begin with this block.
        """
        ...


class Smooth:
    """The level as a curve without steps: it nears its target with a time constant of 70 ms."""

    def __init__(self, rate_hz: int, tau_s: float = LEVEL_TAU_S) -> None:
        self.value = 0.0
        self._slope = -1.0 / (tau_s * rate_hz)
        self._decay = np.zeros(0)

    def step(self, n: int, target: float) -> Float:
        """Return the next `n` values."""
        if len(self._decay) < n:
            self._decay = np.exp(self._slope * np.arange(1, n + 1))
        curve = target + (self.value - target) * self._decay[:n]
        self.value = float(curve[-1]) if n else self.value
        return np.asarray(curve)


# ---------------------------------------------------------------- sounds that are played once


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


def levelled(wave: NDArray[Any], rate_hz: int, most: float) -> Float32:
    """Return a sound of shape ``(n, 2)`` at the loudness of all that sounds once.

    Parameters
    ----------
    most : float
        Largest sample; a sound that would exceed it stays quieter.
    """
    peak = float(np.abs(wave).max())
    wanted = math.sqrt(SINE_MS * 10.0 ** (ONE_SHOT_DBFS / 10.0) / loudest_ms(wave, rate_hz))
    return np.asarray(wave * min(wanted, most / peak), dtype=np.float32)


def _both_ears(wave: Float) -> Float:
    return np.repeat(wave[:, None], 2, axis=1)


def chime(rate_hz: int = RATE_HZ) -> Float32:
    """Return the reward chime: two soft bell tones a fifth apart, 0.7 s, shape ``(n, 2)``."""
    n = int(0.70 * rate_hz)
    wave = np.zeros(n)
    for start_s, frequency_hz, weight in ((0.0, 550.0, 1.0), (0.07, 825.0, 0.55)):
        tone = weight * _tone(frequency_hz, 0.62, 0.20, rate_hz)
        at = int(start_s * rate_hz)
        wave[at : at + len(tone)] += tone
    return levelled(_both_ears(wave), rate_hz, CHIME_PEAK)


def cue_tones(rate_hz: int = RATE_HZ) -> Mapping[str, Float32]:
    """Return the tones that mark parts of a session, each shape ``(n, 2)``.

    A beginning rises, an end falls, rest is one low tone, a baseline one middle tone, the sound
    test is three rising tones, and who falls asleep hears two soft low ones.
    """
    melodies: dict[str, tuple[float, ...]] = {
        "start": (440.0, 660.0),
        "end": (660.0, 440.0),
        "rest": (330.0,),
        "baseline": (440.0,),
        "test": (440.0, 550.0, 660.0),
        "wake": (275.0, 330.0),
    }
    cues: dict[str, Float32] = {}
    for name, notes in melodies.items():
        step = int(0.28 * rate_hz)
        tones = [_tone(f, 0.65, 0.25, rate_hz) for f in notes]
        wave = np.zeros(step * (len(notes) - 1) + len(tones[0]))
        for i, tone in enumerate(tones):
            wave[i * step : i * step + len(tone)] += tone
        cues[name] = levelled(_both_ears(wave), rate_hz, CUE_PEAK)
    return MappingProxyType(cues)


def click(rate_hz: int = RATE_HZ) -> Float32:
    """Return a click of 3 ms for measuring delays: three waves of 1 kHz that swell and fade."""
    n = max(3, round(0.003 * rate_hz))
    t = (np.arange(n) + 0.5) / rate_hz
    window = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    wave = np.sin(2 * np.pi * 1000.0 * t) * window
    return _both_ears(wave * (CLICK_PEAK / np.abs(wave).max())).astype(np.float32)


# ---------------------------------------------------------------- loops that follow the level


class _Turning:
    """A loop that is read block by block, whatever the length of the blocks."""

    def __init__(self, loop: Float32) -> None:
        self.loop = loop
        self._at = 0

    def next(self, n: int) -> Float32:
        at, length = self._at, len(self.loop)
        self._at = (at + n) % length
        if at + n <= length:
            return self.loop[at : at + n]
        return self.loop[(at + np.arange(n)) % length]


def _amplitude(dbfs_at_half: float, range_db: float, level: Any) -> Any:
    """Return the A-weighted RMS wanted at a level: so many dB between the lowest and highest."""
    return math.sqrt(SINE_MS) * 10.0 ** ((dbfs_at_half + (level - 0.5) * range_db) / 20.0)


def _highest(warm: NDArray[Any], bright: NDArray[Any], gains: Float) -> float:
    """Return a bound of what two loops reach, mixed at any level with the gains of `STEPS`."""
    every = 4 if len(warm) < 1 << 21 else 16
    levels = STEPS[::every]
    peaks = np.zeros(len(levels))
    length = 1 << 18  # parts of long loops, for the memory's sake
    for at in range(0, len(warm), length):
        low, high = warm[at : at + length], bright[at : at + length]
        mixed = (low + high.dtype.type(x) * high for x in levels)
        now = [max(float(m.max()), -float(m.min())) for m in mixed]
        peaks = np.maximum(peaks, now)
    # Between two levels the mixture is no higher than at the higher of both.
    bounds = (
        max(peaks[i], peaks[i + 1]) * gains[i * every : (i + 1) * every + 1].max()
        for i in range(len(levels) - 1)
    )
    return float(max(bounds))


def _at_loudness(loop: Float, rate_hz: int, range_db: float, level: float) -> Float:
    """Return a loop as loud as a sound with this range should be at this level."""
    wanted = _amplitude(CONTINUOUS_DBFS, range_db, level)
    return np.asarray(loop * (wanted / math.sqrt(loudness_ms(loop, rate_hz))))


class Loops:
    """Two loops of one length: the warm one always sounds, the bright one joins with the level.

    Loudness rises by 6 dB from level 0 to 1, whatever the mixture; brightness goes beside it.

    Parameters
    ----------
    warm, bright : ndarray, shape (n, 2)
        The layers. They are mixed as they are at level 1, and scaled together.
    range_db : float
        Between level 0 and 1.
    louder : bool
        Whether they may be turned up to the common loudness, or down only.
    """

    def __init__(
        self,
        warm: NDArray[Any],
        bright: NDArray[Any],
        rate_hz: int,
        range_db: float = 6.0,
        louder: bool = True,
    ) -> None:
        a, b = loudness_ms(warm, rate_hz), loudness_ms(bright, rate_hz)
        shared = loudness_ms(warm + bright, rate_hz) - a - b  # where both have the same tones
        wanted = _amplitude(CONTINUOUS_DBFS, range_db, STEPS)
        gains = wanted / np.sqrt(np.maximum(a + STEPS * shared + STEPS**2 * b, 1e-12))
        # A layer that can hardly be heard alone is not turned up without end to make up for it.
        gains = np.minimum(gains, 2.0 * gains[-1])
        peak = _highest(warm, bright, gains)
        scale = AMBIENCE_PEAK / peak if peak > 0.0 else 1.0
        self._gains = gains * min(1.0, scale, math.inf if louder else 1.0 / float(gains.max()))
        self._warm, self._bright = _Turning(warm), _Turning(bright)
        self._smooth = Smooth(rate_hz)

    def play(self, n: int, level: float, rewards: int) -> Float32:  # noqa: ARG002
        """Return the next block."""
        x = self._smooth.step(n, level)
        warm = np.interp(x, STEPS, self._gains)
        bright = warm * x
        block: Float32 = self._warm.next(n) * warm[:, None].astype(np.float32)
        block += self._bright.next(n) * bright[:, None].astype(np.float32)
        return block


# ---------------------------------------------------------------- the voices that are built in

ROOT_HZ = 55.0
PAD_S = 12  # of a loop; nothing drifts faster than 3 times in it, 0.25 Hz


def _flat_phases(partials: Mapping[float, float], rng: np.random.Generator) -> Float:
    """Return phases with which tones on a grid of 55 Hz add up to a wave without high peaks.

    The best of many draws: the lower the peak, the louder a sound may be below its limit.
    """
    t = np.arange(512) / 512 / ROOT_HZ
    turns = 2.0 * np.pi * np.outer(list(partials), t)
    draws = rng.uniform(0.0, 2.0 * np.pi, (1000, len(partials), 1))
    weights = np.array(list(partials.values()))
    rotating = weights[:, None] * np.exp(1j * turns)
    peaks = np.abs((np.exp(1j * draws[:, :, 0]) @ rotating).real).max(axis=1)
    return np.asarray(draws[np.argmin(peaks), :, 0])


def _pad(
    partials: Mapping[float, float],
    rate_hz: int,
    seed: int,
    drift: float = 0.12,
    breath: tuple[float, float, float] | None = None,
) -> Float:
    """Return a seamless pad of 12 s, shape ``(n, 2)``.

    Every component completes whole cycles, so the end of the loop continues into its beginning.
    Phases differ between the ears, which makes it wide; frequencies do not, so nothing beats.

    Parameters
    ----------
    partials : mapping of float to float
        Hz to amplitude.
    drift : float
        Share of its amplitude by which each partial slowly comes and goes.
    breath : (float, float, float) or None
        Centre in Hz, width in octaves and RMS of a breath-like noise.
    """
    n = PAD_S * rate_hz
    rng = np.random.default_rng(seed)
    hz = np.arange(n // 2 + 1) / PAD_S
    out = np.empty((n, 2))
    for side in range(2):
        bins = np.zeros(n // 2 + 1, dtype=np.complex128)
        phases = _flat_phases(partials, rng)
        for i, (frequency_hz, amplitude) in enumerate(partials.items()):
            k = round(frequency_hz * PAD_S)
            phase, slow = phases[i], rng.uniform(0.0, 2.0 * np.pi)
            m = 1 + i % 3  # cycles in the loop
            bins[k] += amplitude * np.exp(1j * phase)
            bins[k + m] += 0.5 * drift * amplitude * np.exp(1j * (phase + slow))
            bins[k - m] += 0.5 * drift * amplitude * np.exp(1j * (phase - slow))
        if breath is not None:
            centre_hz, octaves, rms = breath
            shape = np.exp(-0.5 * (np.log2(np.maximum(hz, 1e-9) / centre_hz) / octaves) ** 2)
            shape *= rms / np.sqrt(0.5 * np.sum(shape**2))
            bins += shape * np.exp(1j * rng.uniform(0.0, 2.0 * np.pi, len(hz)))
        out[:, side] = np.fft.irfft(bins, n) * (n / 2)
    return out


def ambience(rate_hz: int = RATE_HZ) -> tuple[Float32, Float32]:
    """Return the two layers of the ambience, warm and bright, as seamless loops.

    An open chord over 110 Hz, with a little breath in it.
    """
    warm = _pad(
        {110.0: 0.7, 165.0: 0.7, 220.0: 0.7, 275.0: 0.35, 330.0: 0.4, 440.0: 0.12},
        rate_hz, seed=20, breath=(300.0, 0.5, 0.04),
    )  # fmt: skip
    bright = _pad(
        {440.0: 0.40, 550.0: 0.32, 660.0: 0.30, 880.0: 0.14, 1100.0: 0.07, 1320.0: 0.04},
        rate_hz, seed=21, breath=(900.0, 0.6, 0.04),
    )  # fmt: skip
    # The loudest mixture is the peak: the loops share one scale.
    scale = AMBIENCE_PEAK / max(float(np.abs(warm).max()), float(np.abs(warm + bright).max()))
    return (warm * scale).astype(np.float32), (bright * scale).astype(np.float32)


class _Swelling:
    """One loop whose loudness follows the level; its timbre stays.

    `loop` is as it sounds at level 1.
    """

    def __init__(self, loop: Float, rate_hz: int, range_db: float) -> None:
        self._loop = _Turning(loop.astype(np.float32))
        self._gains = 10.0 ** ((STEPS - 1.0) * range_db / 20.0)
        self._smooth = Smooth(rate_hz)

    def play(self, n: int, level: float, rewards: int) -> Float32:  # noqa: ARG002
        """Return the next block."""
        gain = np.interp(self._smooth.step(n, level), STEPS, self._gains)
        return self._loop.next(n) * gain[:, None].astype(np.float32)


def tone_volume(rate_hz: int = RATE_HZ) -> Voice:
    """Return a soft tone on A3 that becomes louder with the level, by 12 dB."""
    partials = {220.0: 1.0, 440.0: 0.45, 660.0: 0.22, 880.0: 0.10, 1100.0: 0.05}
    loop = _at_loudness(_pad(partials, rate_hz, seed=5, drift=0.05), rate_hz, 12.0, 1.0)
    return _Swelling(loop * min(1.0, AMBIENCE_PEAK / np.abs(loop).max()), rate_hz, 12.0)


class _Pitch:
    """A soft tone whose pitch rises with the level by an octave, equally loud to the ear."""

    LOWEST_HZ = 220.0
    PARTIALS = (1.0, 0.42, 0.20, 0.09, 0.04)
    DRIFT = 0.2  # of the partials above the first, each in its own time

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._smooth = Smooth(rate_hz)
        self._turn = 0.0
        self._t = 0.0
        rng = np.random.default_rng(9)
        self._phases = rng.uniform(0.0, 2.0 * np.pi, (len(self.PARTIALS), 2)).astype(np.float32)
        k = np.arange(1, len(self.PARTIALS) + 1)
        hz = self.LOWEST_HZ * 2.0 ** STEPS[:, None] * k
        power = (10.0 ** (a_weighting_db(hz) / 10.0) * np.square(self.PARTIALS)).sum(axis=1)
        self._gains = _amplitude(CONTINUOUS_DBFS, 0.0, STEPS) / np.sqrt(power / 2.0)
        self._gains *= min(1.0, AMBIENCE_PEAK / (self._gains.max() * 1.1 * sum(self.PARTIALS)))

    def play(self, n: int, level: float, rewards: int) -> Float32:  # noqa: ARG002
        """Return the next block."""
        x = self._smooth.step(n, level)
        # Pitch is what is integrated: the wave goes on however the pitch moves.
        turns = self._turn + np.cumsum(self.LOWEST_HZ * 2.0**x) / self.rate_hz
        self._turn = float(turns[-1] % 1.0) if n else self._turn
        base = (2.0 * np.pi * (turns % 1.0)).astype(np.float32)
        t = self._t + np.arange(1, n + 1) / self.rate_hz
        self._t = float(t[-1]) if n else self._t
        block = np.zeros((n, 2), dtype=np.float32)
        for i, weight in enumerate(self.PARTIALS):
            slow = 2.0 * np.pi * (0.05 + 0.037 * i) * t + i
            drift = self.DRIFT if i else 0.0
            swell = (weight * (1.0 + drift * np.sin(slow))).astype(np.float32)
            for side in range(2):
                block[:, side] += swell * np.sin((i + 1) * base + self._phases[i, side])
        block *= np.interp(x, STEPS, self._gains).astype(np.float32)[:, None]
        return block


def tone_pitch(rate_hz: int = RATE_HZ) -> Voice:
    """Return a soft tone that rises with the level from A3 to A4, equally loud."""
    return _Pitch(rate_hz)


class _TwoVoices:
    """A low voice that swells with the level, and a high one that each reward wakes."""

    RANGE_DB = 8.0  # of the low voice
    HIGH = 0.8  # of the common loudness: it comes on top of the low one
    RISE_S, EBB_S = 1.5, 4.0  # of the high one

    def __init__(self, low: Float, high: Float, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        low = _at_loudness(low, rate_hz, self.RANGE_DB, 1.0)
        high = self.HIGH * _at_loudness(high, rate_hz, 0.0, 0.5)
        # The loops turn together, so this is the highest that they ever reach.
        peak = max(float(np.abs(low).max()), float(np.abs(low + high).max()))
        scale = min(1.0, AMBIENCE_PEAK / peak)
        self._low = _Swelling(low * scale, rate_hz, self.RANGE_DB)
        self._high = _Turning((high * scale).astype(np.float32))
        self._swell = 0.0  # 0..1, of the way up or down
        self._rising = False

    def play(self, n: int, level: float, rewards: int) -> Float32:
        """Return the next block."""
        block = self._low.play(n, level, 0)
        high = self._high.next(n)
        if rewards:
            self._rising = True
        if self._rising or self._swell > 0.0:
            curve = 0.5 - 0.5 * np.cos(np.pi * self._way(n))
            block += high * curve[:, None].astype(np.float32)
        return block

    def _way(self, n: int) -> Float:
        """Return how far up the swell is: up to the top while it rises, down from there."""
        t = np.arange(1, n + 1) / self.rate_hz
        way = self._swell - t / self.EBB_S
        if self._rising:
            top_s = (1.0 - self._swell) * self.RISE_S
            way = np.where(t < top_s, self._swell + t / self.RISE_S, 1.0 - (t - top_s) / self.EBB_S)
            self._rising = bool(n == 0 or t[-1] < top_s)
        way = np.maximum(way, 0.0)
        self._swell = float(way[-1]) if n else self._swell
        return way

    def rest(self) -> None:
        """Forget a swell under way."""
        self._swell, self._rising = 0.0, False


def two_voices(rate_hz: int = RATE_HZ) -> Voice:
    """Return the two voices for closed eyes, an octave and a fifth apart.

    For the deepening of relaxation: the low one is alpha's or whatever the level is of, the high
    one tells of rewards. Neither has an attack.
    """
    low = _pad(
        {110.0: 0.40, 165.0: 0.65, 220.0: 0.75, 330.0: 0.55, 440.0: 0.28, 550.0: 0.12},
        rate_hz, seed=31,
    )  # fmt: skip
    high = _pad(
        {660.0: 0.80, 990.0: 0.50, 1320.0: 0.22, 1650.0: 0.08, 1980.0: 0.05},
        rate_hz, seed=32, drift=0.25, breath=(1320.0, 0.4, 0.06),
    )  # fmt: skip
    return _TwoVoices(low, high, rate_hz)
