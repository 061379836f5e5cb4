"""The sounds themselves, synthesised with numpy: chime, ambience, tones, cues.

Nothing here beats or pulses between 1 and 40 Hz: a sound that is modulated at a rhythm of the EEG
could drive it. All tones of the chord are multiples of one fundamental, so no two of them are
closer than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.frames import Float

__all__ = ["AMBIENCE_PEAK", "CHIME_PEAK", "RATE_HZ", "ambience", "chime", "cue_tones"]

Float32 = NDArray[np.float32]

RATE_HZ = 44100

AMBIENCE_PEAK = 0.55
CHIME_PEAK = 0.55
CUE_PEAK = 0.40


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
