"""How loud a sound is to a person, and how much of it reached the ear.

Loudness is the mean square after the A-weighting of IEC 61672-1. The dose follows WHO-ITU H.870:
sound pressure squared times hours; a week allows 80 dBA for 40 h to adults, 75 dBA for 40 h to
children and to people with sensitive ears.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.frames import Float

__all__ = [
    "ADULT_WEEK_PA2H",
    "CHILD_WEEK_PA2H",
    "Dose",
    "a_weighted_ms",
    "a_weighting_db",
    "dbfs",
    "dose_pa2h",
    "loudest_ms",
    "loudness_ms",
]

ADULT_WEEK_PA2H = 1.6
CHILD_WEEK_PA2H = 0.506

P0_PA = 20e-6
SINE_MS = 0.5  # mean square of a full-scale sine
WINDOW = 4096  # samples of the dose's spectra: 93 ms at 44.1 kHz
FAST_S = 0.125  # the "fast" time of a sound level meter
LONG, PART = 1 << 20, 1 << 16  # samples: of a long loop parts are looked at
HARDLY_HEARD = 1e-3  # of the plain mean square, the least that counts as loudness


def a_weighting_db(hz: Any) -> Float:
    """Return the A-weighting at `hz`, in dB: 0 at 1 kHz, minus infinity at 0 Hz."""
    f2 = np.asarray(hz, dtype=np.float64) ** 2
    c1, c2, c3, c4 = 20.598997**2, 107.65265**2, 737.86223**2, 12194.217**2
    with np.errstate(divide="ignore"):
        gain = c4 * f2**2 / ((f2 + c1) * np.sqrt((f2 + c2) * (f2 + c3)) * (f2 + c4))
        return np.asarray(20.0 * np.log10(gain) + 2.0)


@lru_cache(maxsize=8)
def _power_weights(n: int, rate_hz: float) -> NDArray[np.float32]:
    """Return what each bin of a spectrum of `n` samples counts for the mean square."""
    weights = 10.0 ** (a_weighting_db(np.fft.rfftfreq(n, 1.0 / rate_hz)) / 10.0)
    weights[1 : (n + 1) // 2] *= 2.0  # their mirror images
    return np.asarray(weights / n**2, dtype=np.float32)


def _spectral_ms(block: NDArray[Any], rate_hz: float) -> Float:
    spectrum = np.fft.rfft(block, axis=0)
    power = spectrum.real**2 + spectrum.imag**2
    return np.asarray(_power_weights(len(block), rate_hz) @ power, dtype=np.float64)


def a_weighted_ms(block: NDArray[Any], rate_hz: float) -> float:
    """Return the A-weighted mean square of a block, of the louder channel; of a sine it is 1/2.

    The block is taken as one turn of a loop. Where it is not, its ends make a step that has a
    spectrum of its own: fade them, or see `Dose`.

    Parameters
    ----------
    block : ndarray, shape (n_samples,) or (n_samples, n_channels)
        Full scale is 1.
    """
    return float(_spectral_ms(block, rate_hz).max()) if len(block) else 0.0


def loudness_ms(loop: NDArray[Any], rate_hz: float) -> float:
    """Return the loudness of a loop: A-weighted, yet never below a thousandth of the plain one.

    What is nearly too low to be heard would otherwise be turned up without end. Of what is longer
    than 24 s, so many seconds spread over it stand for the whole.
    """
    n = len(loop)
    if n <= LONG:
        return _heard_ms(loop, rate_hz)
    window = _sine_window(PART)[:, None] * np.float32(math.sqrt(2.0))
    starts = np.linspace(0, n - PART, LONG // PART).astype(int)
    return float(np.mean([_heard_ms(loop[i : i + PART] * window, rate_hz) for i in starts]))


def _heard_ms(block: NDArray[Any], rate_hz: float) -> float:
    if not len(block):
        return 0.0
    plain = float(np.mean(np.square(block, dtype=np.float64), axis=0).max())
    return max(a_weighted_ms(block, rate_hz), HARDLY_HEARD * plain)


def loudest_ms(wave: NDArray[Any], rate_hz: float) -> float:
    """Return the loudness of the loudest eighth of a second, as `loudness_ms` counts it."""
    n = max(2, round(FAST_S * rate_hz))
    window = _sine_window(n)[:, None] * math.sqrt(2.0)
    padded = np.concatenate([np.zeros((n // 2, 2)), wave, np.zeros((n, 2))])
    starts = range(0, len(padded) - n, n // 4)
    return max(_heard_ms(padded[at : at + n] * window, rate_hz) for at in starts)


def dbfs(ms: float) -> float:
    """Return a mean square in dB relative to a full-scale sine."""
    return 10.0 * math.log10(ms / SINE_MS) if ms > 0.0 else -math.inf


def dose_pa2h(level_dba: float, hours: float) -> float:
    """Return the dose of a steady level, in Pa² h."""
    return float(P0_PA**2 * 10.0 ** (level_dba / 10.0) * hours)


@lru_cache(maxsize=4)
def _sine_window(n: int) -> NDArray[np.float32]:
    """Half a sine: overlapped by half, its squares add up to 1, so that no energy is lost."""
    return np.sin(np.pi * (np.arange(n) + 0.5) / n).astype(np.float32)


class Dose:
    """The sound dose of everything played.

    Parameters
    ----------
    spl_fullscale_dba : float
        Level of a full-scale sine at the ear.
    rate_hz : float
        Sample rate.
    """

    def __init__(self, spl_fullscale_dba: float, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self.pa2h = 0.0
        hop_h = WINDOW / 2 / rate_hz / 3600.0
        # The window halves the mean square of a spectrum; overlapping makes up for it.
        self._per_ms = dose_pa2h(spl_fullscale_dba, hop_h) / SINE_MS * 2.0
        self._kept = np.zeros((WINDOW, 2), dtype=np.float32)
        self._filled = WINDOW // 2  # half a window of silence comes before the first sample

    def add(self, block: NDArray[np.float32]) -> None:
        """Count a block, shape ``(n, 2)``; what is less than half a window waits for more."""
        at = 0
        while at < len(block):
            part = block[at : at + WINDOW - self._filled]
            self._kept[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            at += len(part)
            if self._filled == WINDOW:
                self._count()

    def _count(self) -> None:
        window = _sine_window(WINDOW)[:, None]
        # The ear that hears more counts.
        self.pa2h += self._per_ms * a_weighted_ms(self._kept * window, self.rate_hz)
        self._kept[: WINDOW // 2] = self._kept[WINDOW // 2 :]
        self._filled = WINDOW // 2
