"""Causal band power: one fixed filter per band.

A narrow band (upper edge at most three times the lower) passes a one-sided ("analytic") filter: a
4th-order Butterworth low-pass of half the bandwidth, its poles and zeros turned by the centre
frequency. The output z is complex; ``2 |z|²`` is the band's power in µV² at that very sample,
without the ripple at twice the rhythm that a squared real filter shows. A sine of amplitude A in
the band reads its mean square, A²/2.

A wide band (1-40 Hz, the denominator of relative power) passes a real high- and low-pass, each
steep enough to leave the band's central half alone, is squared and averaged with a one-pole filter
of time constant 1/(2 x lower edge).

The delay stated is the group delay of the envelope at the band's centre: how far back the number
speaks of the brain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter

from engine.condition import Conditioned, carried_sos, settle_samples
from engine.errors import MontageError
from engine.features import wide_orders
from engine.frames import Float

__all__ = ["BandPower", "analytic_sos", "check_band", "envelope_delay_s", "is_narrow"]

ORDER = 4


def is_narrow(band_hz: tuple[float, float]) -> bool:
    """Return whether the analytic filter suits: its mirror band stays three widths away."""
    return band_hz[1] <= 3.0 * band_hz[0]


def check_band(band_hz: tuple[float, float], rate_hz: float) -> None:
    """Raise `MontageError` when the rate is below four times the upper edge."""
    if rate_hz < 4.0 * band_hz[1]:
        raise MontageError(
            f"a band up to {band_hz[1]:g} Hz needs at least {4 * band_hz[1]:g} Hz, "
            f"the stream has {rate_hz:g} Hz",
            "raise the amplifier's sampling rate or choose a lower band",
        )


def analytic_sos(band_hz: tuple[float, float], rate_hz: float) -> np.ndarray:
    """Return complex sections of the one-sided filter, shape (2, 6), gain 1 at the centre."""
    lo, hi = band_hz
    sos: np.ndarray = butter(ORDER, (hi - lo) / 2.0, fs=rate_hz, output="sos").astype(complex)
    turn = np.exp(1j * np.pi * (lo + hi) / rate_hz)
    sos[:, [1, 4]] *= turn
    sos[:, [2, 5]] *= turn * turn
    return sos


def envelope_delay_s(band_hz: tuple[float, float], rate_hz: float) -> float:
    """Return the group delay of the envelope in seconds at the band's centre.

    For the analytic filter this is the low-pass prototype's delay at DC, from the phase slope
    between two neighbouring frequencies.
    """
    lo, hi = band_hz
    if is_narrow(band_hz):
        sos = butter(ORDER, (hi - lo) / 2.0, fs=rate_hz, output="sos")
        return _group_delay_s(sos, (hi - lo) * 1e-3, rate_hz)
    return _group_delay_s(_wide_sos(band_hz, rate_hz), math.sqrt(lo * hi), rate_hz) + 0.5 / lo


def _wide_sos(band_hz: tuple[float, float], rate_hz: float) -> np.ndarray:
    """Return real sections of a high- and a low-pass."""
    (lo, hi), (high_pass, low_pass) = band_hz, wide_orders(band_hz)
    return np.concatenate(
        [
            butter(high_pass, lo, "highpass", fs=rate_hz, output="sos"),
            butter(low_pass, hi, "lowpass", fs=rate_hz, output="sos"),
        ]
    )


def _group_delay_s(sos: np.ndarray, at_hz: float, rate_hz: float) -> float:
    step = at_hz * 1e-3
    w = 2 * np.pi * np.array([at_hz - step, at_hz + step]) / rate_hz
    z = np.exp(-1j * w)[:, None]
    h = np.prod(
        (sos[:, 0] + sos[:, 1] * z + sos[:, 2] * z**2)
        / (sos[:, 3] + sos[:, 4] * z + sos[:, 5] * z**2),
        axis=1,
    )
    return float(-np.angle(h[1] / h[0]) / (w[1] - w[0]) / rate_hz)


@dataclass(frozen=True, slots=True)
class _Wide:
    sos: np.ndarray
    mean: np.ndarray


class BandPower:
    """Power of one band at some sites (settings + state + step).

    Parameters
    ----------
    band_hz : tuple of float
        Lower and upper -3 dB edge in Hz.
    sites : tuple of int
        Columns of `Conditioned.uv`.
    rate_hz : float
        Sampling rate in Hz.

    Attributes
    ----------
    delay_s : float
        Group delay of the envelope.
    settle : int
        Samples after a restart until the number can be trusted.

    Raises
    ------
    MontageError
        The rate is below four times the upper edge.
    """

    def __init__(
        self, band_hz: tuple[float, float], sites: tuple[int, ...], rate_hz: float
    ) -> None:
        check_band(band_hz, rate_hz)
        self.band_hz = band_hz
        self._sites = list(sites)
        self.delay_s = envelope_delay_s(band_hz, rate_hz)
        self._wide: _Wide | None = None
        if is_narrow(band_hz):
            self._sos = analytic_sos(band_hz, rate_hz)
            self.settle = settle_samples(self._sos, rate_hz)
        else:
            real = _wide_sos(band_hz, rate_hz)
            keep = math.exp(-2.0 * band_hz[0] / rate_hz)
            self._wide = _Wide(real, np.array([[1.0 - keep, 0.0, 0.0, 1.0, -keep, 0.0]]))
            self._sos = real
            self.settle = settle_samples(real, rate_hz) + settle_samples(self._wide.mean, rate_hz)
        self.restart()

    def restart(self) -> None:
        """Forget the signal."""
        n = len(self._sites)
        self._zi = np.zeros((len(self._sos), 2, n), self._sos.dtype)
        self._mean_zi = np.zeros((1, 2, n))

    def step(self, c: Conditioned) -> Float:
        """Return the power in µV² at the segment's grid points, shape (n_grid, n_sites)."""
        resets = tuple((row, mask[self._sites]) for row, mask in c.resets)
        y, self._zi = carried_sos(self._sos, c.uv[:, self._sites], self._zi, resets, None)
        if self._wide is None:
            z = y[c.grid]
            return np.asarray(2.0 * (z.real**2 + z.imag**2))
        squared = y * y
        mean, self._mean_zi = carried_sos(self._wide.mean, squared, self._mean_zi, resets, None)
        return np.asarray(mean[c.grid])
