"""The Wiener-optimal causal band filter, fitted to one person's resting spectrum.

Model: the conditioned signal x is stationary with power spectral density S_x. Wanted is the
analytic signal z of a target with density S_s, a time d ago. The linear filter of the last L
samples with the least mean square error solves the normal equations::

    R h = p,   R[i, j] = IFFT(S_x)[i - j],   p[k] = IFFT(1[f > 0] S_s(f) exp(-j 2 pi f d))[k]

(Wiener 1949; for brain rhythms compare Smetanin et al. 2020, whose filter is the same without the
person's own spectrum). R is Toeplitz, so Levinson's recursion solves it in milliseconds. For
jointly Gaussian signals ``|h x|²`` is, up to a constant, the best estimate of the power that any
causal method can give.

Two targets: ``band``, all that lies in the band (S_s = S_x there); ``rhythm``, what stands out of
the aperiodic background (S_s = S_x minus a straight log-log line, where positive, in the band and
1 Hz beside it; not beyond the band's edge on the side of a rhythm that must not leak in).

Exact nulls (at 0 Hz, at mains, at a rhythm that must not leak in) are linear constraints::

    h <- h - R⁻¹ C (C^H R⁻¹ C)⁻¹ C^H h

How good the estimate can be is known from the same spectrum: the squared coherence of z and its
estimate is ``rho² = |h^H p|² / (h^H R h  E|z|²)``, and two complex Gaussian signals with it have
envelopes that correlate with ``(pi/4) (2F1(-1/2, -1/2; 1; rho²) - 1) / (1 - pi/4)``.

z is half an amplitude: ``2 |z|²`` is the power in µV², as everywhere here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.linalg import solve_toeplitz
from scipy.special import hyp2f1

from engine.features import DEFAULT_DELAY_S
from engine.frames import Bool, Float, frozen

__all__ = [
    "MIN_CLEAN_S",
    "Kernel",
    "Spectrum",
    "Target",
    "WienerProblem",
    "alpha_peak_hz",
    "clean_runs",
    "design",
    "envelope_correlation",
    "null_refused",
    "spectra",
    "spectrum",
    "taps_for",
]

Complex = NDArray[np.complex128]
Target = Literal["band", "rhythm"]

WINDOW_S = 2.0  # of the Welch spectrum
MIN_CLEAN_S = 8.0  # covered by clean windows: from 10 s on a simulated fit no longer gains much
GRID_S = 8.0  # the spectrum is interpolated to bins of 1/8 Hz, so that no lag wraps around
FLOOR = 1e-4  # of the band's mean density: a filter must not live on less than any amplifier has
NARROW_HZ = 4.0  # up to here 2 s of taps gain: theta 0.01 in r, SMR 0.007-0.018, alpha 0.002
BESIDE_HZ = 1.0
STANDS_OUT = 2.0  # times the background: less is no rhythm to reject
NULL_COSTS = 0.03  # of the expected correlation: what keeping a rhythm out may cost
CHANNELS = 32  # per transform: more no longer fit the processor's cache


@dataclass(frozen=True)
class Spectrum:
    """A one-sided power spectral density of clean signal.

    Parameters
    ----------
    f_hz : ndarray, shape (n,)
        Frequencies from 0 to half the rate.
    density : ndarray, shape (n,)
        µV²/Hz; the mean over channels where several were given.
    rate_hz : float
        Sampling rate.
    windows : int
        Clean windows averaged (per channel).
    clean_s : float
        Seconds that they cover.
    """

    f_hz: Float
    density: Float
    rate_hz: float
    windows: int
    clean_s: float

    def power(self, band_hz: tuple[float, float]) -> float:
        """Return the integral over a band in µV² (trapezoid, exact edges)."""
        lo, hi = band_hz
        inside = (self.f_hz > lo) & (self.f_hz < hi)
        f = np.concatenate([[lo], self.f_hz[inside], [hi]])
        return float(np.trapezoid(np.interp(f, self.f_hz, self.density), f))


def clean_runs(clean: Bool) -> list[tuple[int, int]]:
    """Return (start, stop) of every stretch of clean samples."""
    edges = np.diff(np.concatenate([[0], clean.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def spectrum(uv: Float, clean: Bool, rate_hz: float, window_s: float = WINDOW_S) -> Spectrum:
    """Return Welch's power spectral density of the clean samples (Welch 1967).

    Hann windows, wholly clean, mean removed. They overlap by three quarters, so that short clean
    stretches between two blinks count as well.

    Parameters
    ----------
    uv : ndarray, shape (n_samples,) or (n_samples, n_channels)
        After the live chain, in µV.
    clean : ndarray of bool, shape (n_samples,)
        Samples that may be used.
    rate_hz : float
        Sampling rate.
    window_s : float
        Length of a window.

    Returns
    -------
    Spectrum
        With ``windows == 0`` and zero density when no window is clean.
    """
    x = uv[:, None] if uv.ndim == 1 else uv
    n = round(window_s * rate_hz)
    n_fft = 2 * n  # twice: lags of a window do not wrap
    taper = np.hanning(n + 1)[:n]
    total = np.zeros(n_fft // 2 + 1)
    windows = covered = 0
    for start, stop in clean_runs(clean):
        for at in range(start, stop - n + 1, n // 4):
            covered += n if at == start else n // 4
            part = x[at : at + n]
            part = (part - part.mean(axis=0)) * taper[:, None]
            total += (np.abs(np.fft.rfft(part, n_fft, axis=0)) ** 2).mean(axis=1)
            windows += 1
    scale = 2.0 / (rate_hz * float((taper**2).sum()) * max(windows, 1))
    density = total * scale
    density[0] /= 2.0
    density[-1] /= 2.0
    f = np.fft.rfftfreq(n_fft, 1.0 / rate_hz)
    return Spectrum(frozen(f), frozen(density), rate_hz, windows, covered / rate_hz)


def spectra(
    uv: Float,
    clean: Bool,
    rate_hz: float,
    columns: Sequence[int],
    breathe: Callable[[], None] = lambda: None,
) -> list[Spectrum]:
    """Return the spectrum of each of some columns by itself, as `spectrum` gives it.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
    clean, rate_hz
        As for `spectrum`.
    columns : sequence of int
        Whose spectra.
    breathe : callable
        Called between windows; changes nothing here.
    """
    n = round(WINDOW_S * rate_hz)
    n_fft = 2 * n
    taper = np.hanning(n + 1)[:n]
    places = [
        (at, n if at == start else n // 4)
        for start, stop in clean_runs(clean)
        for at in range(start, stop - n + 1, n // 4)
    ]
    windows, covered = len(places), sum(new for _, new in places)
    total = np.zeros((len(columns), n_fft // 2 + 1))
    for k in range(0, len(columns), CHANNELS):
        mine = list(columns[k : k + CHANNELS])
        whole = np.empty((len(mine), len(uv)))
        for row in range(0, len(uv), n):
            whole[:, row : row + n] = uv[row : row + n, mine].T
        for at, _ in places:
            breathe()
            part = whole[:, at : at + n]
            part = (part - part.mean(axis=1, keepdims=True)) * taper
            parts = rfft(part, n_fft, axis=1).view(float)
            parts *= parts
            total[k : k + CHANNELS] += parts[:, ::2]
            total[k : k + CHANNELS] += parts[:, 1::2]
    density = total * (2.0 / (rate_hz * float((taper**2).sum()) * max(windows, 1)))
    density[:, [0, -1]] /= 2.0
    f = frozen(np.fft.rfftfreq(n_fft, 1.0 / rate_hz))
    return [Spectrum(f, frozen(row.copy()), rate_hz, windows, covered / rate_hz) for row in density]


def taps_for(band_hz: tuple[float, float]) -> float:
    """Return the filter length in seconds: 1 s, 2 s for a band of at most 4 Hz."""
    return 2.0 if band_hz[1] - band_hz[0] <= NARROW_HZ + 1e-9 else 1.0


def envelope_correlation(rho2: Float | float) -> Float:
    """Return the correlation of two Gaussian envelopes whose signals have coherence `rho2`."""
    r2 = np.clip(np.asarray(rho2, float), 0.0, 1.0)
    return np.asarray((math.pi / 4.0) * (hyp2f1(-0.5, -0.5, 1.0, r2) - 1.0) / (1.0 - math.pi / 4.0))


@dataclass(frozen=True)
class Kernel:
    """A causal complex band filter: ``z[n] = taps @ x[n - L + 1 : n + 1]``.

    Parameters
    ----------
    taps : ndarray of complex, shape (n_taps,)
        Oldest sample first.
    band_hz : tuple of float
        The band it stands for.
    rate_hz : float
        Sampling rate.
    delay_s : float
        How far back its number speaks of the brain, as stated.
    """

    taps: Complex
    band_hz: tuple[float, float]
    rate_hz: float
    delay_s: float

    def response(self, f_hz: Float | float) -> Complex:
        """Return the complex response at `f_hz` (negative frequencies allowed)."""
        f = np.atleast_1d(np.asarray(f_hz, float))
        age = np.arange(len(self.taps) - 1, -1, -1)
        return np.asarray(np.exp(-2j * np.pi * np.outer(f, age) / self.rate_hz) @ self.taps)

    def reads(self, f_hz: Float | float) -> Float:
        """Return the power it reads of a sine of unit power at `f_hz`, mean over the phase.

        A real sine has a positive and a negative frequency; the mean of ``2 |z|²`` is the sum of
        both squared responses.
        """
        f = np.atleast_1d(np.asarray(f_hz, float))
        return np.asarray(np.abs(self.response(f)) ** 2 + np.abs(self.response(-f)) ** 2)

    def scaled(self, gain: float) -> Kernel:
        """Return the kernel whose powers are `gain` times as large."""
        taps = frozen(self.taps * math.sqrt(gain))
        return Kernel(taps, self.band_hz, self.rate_hz, self.delay_s)


class WienerProblem:
    """The normal equations of one band on one spectrum, for any delay.

    Parameters
    ----------
    found : Spectrum
        Of clean rest through the exact live chain.
    band_hz : tuple of float
        Edges in Hz.
    target : {'band', 'rhythm'}
        See the module.
    background : ndarray, shape (n,), optional
        Density of the aperiodic background at ``found.f_hz``; needed for ``rhythm``.
    mains_hz, reject_hz : float, optional
        Exact nulls there (0 Hz always), unless inside the band.
    null : bool
        Whether `reject_hz` becomes a null (see `null_refused`); where not, it still ends the
        target ``rhythm`` at the band's edge.
    taps_s : float, optional
        Length; `taps_for` the band by default.

    Raises
    ------
    ValueError
        The spectrum holds no clean window, nothing stands out of the background, what stands out
        lies mostly beside the band, or the band does not fit below half the rate.

    Attributes
    ----------
    floor : float
        Least density in µV²/Hz that the filter believes in.
    floor_from : {'measured', 'fallback'}
        What set it: the median density above 0.7 of half the rate, or 1e-4 of the band's mean.
    rejected_hz : float or None
        Where a rhythm beside the band is kept out by a null.
    """

    def __init__(
        self,
        found: Spectrum,
        band_hz: tuple[float, float],
        *,
        target: Target = "band",
        background: Float | None = None,
        mains_hz: float | None = None,
        reject_hz: float | None = None,
        null: bool = True,
        taps_s: float | None = None,
    ) -> None:
        if found.windows < 1:
            raise ValueError("there is no clean window to fit to")
        rate = found.rate_hz
        if not 0.0 < band_hz[0] < band_hz[1] < rate / 2.0:
            raise ValueError(f"a band {band_hz} does not fit a rate of {rate:g} Hz")
        self.found, self.band_hz, self.target = found, band_hz, target
        self.rate_hz = rate
        self.n_taps = round((taps_for(band_hz) if taps_s is None else taps_s) * rate)
        self._n = 2 * round(max(GRID_S, 3.0 * self.n_taps / rate) * rate / 2.0)
        f = np.fft.rfftfreq(self._n, 1.0 / rate)
        self._f = f
        density = np.interp(f, found.f_hz, found.density)
        edges = self._edges(band_hz)
        wanted = density * edges
        if target == "rhythm":
            if background is None:
                raise ValueError("a rhythm needs the background to stand out of")
            lo, hi = band_hz
            # A power law has no value at 0 Hz.
            known = np.where(np.isfinite(background), background, found.density)
            excess = np.maximum(density - np.interp(f, found.f_hz, known), 0.0)
            below, above = max(lo - BESIDE_HZ, lo / 2.0), hi + BESIDE_HZ
            wanted = excess * self._edges((below, above))
            if float(wanted.sum()) <= 1e-3 * float((density * edges).sum()):
                raise ValueError("nothing stands out of the background in this band")
            if float((excess * edges).sum()) < 0.5 * float(wanted.sum()):
                raise ValueError("most of what stands out of the background lies beside this band")
            if reject_hz is not None and not lo <= reject_hz <= hi:
                # What is to be kept out is not wanted.
                side = (lo, above) if reject_hz < lo else (below, hi)
                wanted = excess * self._edges(side)
        mean = float((density * edges).sum() / edges.sum())
        high = found.density[found.f_hz > 0.7 * found.f_hz[-1]]
        least, fallback = float(np.median(high)), FLOOR * mean
        self.floor = max(least, fallback)
        self.floor_from: Literal["measured", "fallback"] = (
            "measured" if least >= fallback else "fallback"
        )
        self._wanted = wanted
        self.energy = float(wanted.sum()) * rate / self._n / 2.0  # E|z|²
        # Interpolated density, and never below the floor of the amplifier.
        shaped = np.maximum(density, self.floor) * rate / 2.0
        shaped[0] = shaped[1]
        self._column: Float = np.fft.irfft(shaped, self._n)[: self.n_taps]
        beside = reject_hz is not None and not band_hz[0] <= reject_hz <= band_hz[1]
        self.rejected_hz = reject_hz if beside and null else None
        self._nulls = self._constraints(mains_hz)

    def _edges(self, band_hz: tuple[float, float]) -> Float:
        """Return the share of every bin that lies in a band."""
        step = self.rate_hz / self._n
        lo, hi = (np.clip((edge - self._f) / step + 0.5, 0.0, 1.0) for edge in band_hz)
        return np.asarray(hi - lo)

    def _constraints(self, mains_hz: float | None) -> Complex | None:
        lo, hi = self.band_hz
        at: list[float] = [0.0]
        if mains_hz is not None and mains_hz < self.rate_hz / 2.0 and not lo <= mains_hz <= hi:
            at += [mains_hz, -mains_hz]
        if self.rejected_hz is not None:
            at += [self.rejected_hz, -self.rejected_hz]
        age = np.arange(self.n_taps)
        # H(f) = sum_k h[k] exp(-j w k) = C^H h with C = exp(+j w k).
        return np.asarray(np.exp(2j * np.pi * np.outer(age, at) / self.rate_hz))

    @cached_property
    def _solved_nulls(self) -> tuple[Complex, Complex] | None:
        if self._nulls is None:
            return None
        c = self._nulls
        # One of each pair will do: R is real, so conjugates have conjugate solutions.
        one = solve_toeplitz(self._column, c[:, [0, *range(1, c.shape[1], 2)]])
        rc: Complex = np.empty_like(c)
        rc[:, 0], rc[:, 1::2], rc[:, 2::2] = one[:, 0], one[:, 1:], one[:, 1:].conj()
        inverse: Complex = np.asarray(np.linalg.inv(c.conj().T @ rc))
        return rc, inverse

    def cross(self, delay_s: float) -> Complex:
        """Return p, the covariance of every tap's sample with the target `delay_s` ago."""
        shaped = np.zeros(self._n, complex)
        turn = np.exp(-2j * np.pi * self._f * delay_s)
        shaped[: len(self._f)] = self._wanted * turn * self.rate_hz / 2.0
        return np.asarray(np.fft.ifft(shaped)[: self.n_taps])

    def solve(self, delay_s: float) -> Complex:
        """Return h, newest sample first."""
        h = np.asarray(solve_toeplitz(self._column, self.cross(delay_s)))
        if self._solved_nulls is not None and self._nulls is not None:
            rc, inverse = self._solved_nulls
            h = h - rc @ (inverse @ (self._nulls.conj().T @ h))
        return h

    def coherence(self, h: Complex, lag_s: float) -> float:
        """Return rho² of an estimate by `h` and the target `lag_s` ago, by the model."""
        p = self.cross(lag_s)
        variance = float(np.real(h.conj() @ _toeplitz_times(self._column, h)))
        if variance <= 0.0 or self.energy <= 0.0:
            return math.nan
        return float(abs(np.vdot(h, p)) ** 2 / (variance * self.energy))

    def kernel(self, delay_s: float) -> Kernel:
        """Return the filter for a delay, as a `Kernel` (uncalibrated)."""
        return Kernel(
            frozen(np.ascontiguousarray(self.solve(delay_s)[::-1])),
            self.band_hz,
            self.rate_hz,
            delay_s,
        )

    def expected(self, kernel: Kernel, lags_s: Sequence[float]) -> Float:
        """Return the envelope correlation that the model expects of a kernel at some lags."""
        h = kernel.taps[::-1]
        return envelope_correlation(np.array([self.coherence(h, lag) for lag in lags_s]))

    def limit(self, delays_s: Sequence[float]) -> Float:
        """Return the limit curve: the best envelope correlation at each delay."""
        return envelope_correlation(np.array([self.coherence(self.solve(d), d) for d in delays_s]))


def null_refused(
    problem: WienerProblem,
    free: WienerProblem,
    delay_s: float,
    breathe: Callable[[], None] = lambda: None,
) -> str:
    """Return why a null beside the band does more harm than good; empty when it may stay.

    A null within half the filter's resolution, ``1 / (2 taps_s)``, of an edge takes the edge with
    it; one that lowers the expected envelope correlation by more than 0.03 takes the signal.

    Parameters
    ----------
    problem, free : WienerProblem
        With the null and without.
    delay_s : float
        At which they are compared.
    breathe : callable
        Called between two solutions; changes nothing here.
    """
    at_hz = problem.rejected_hz
    if at_hz is None:
        return ""
    lo, hi = problem.band_hz
    resolution_hz = 0.5 * problem.rate_hz / problem.n_taps
    away_hz = lo - at_hz if at_hz < lo else at_hz - hi
    if away_hz < resolution_hz:
        return (
            f"the alpha peak at {at_hz:.2f} Hz is not kept out: it lies {away_hz:.2f} Hz beside "
            f"the band, and the filter tells {resolution_hz:.2f} Hz apart"
        )
    limits = []
    for one in (free, problem):
        breathe()
        limits.append(float(one.limit([delay_s])[0]))
    costs = limits[0] - limits[1]
    if costs > NULL_COSTS:
        return (
            f"the alpha peak at {at_hz:.2f} Hz is not kept out: that would lower the expected "
            f"correlation by {costs:.2f}"
        )
    return ""


def _toeplitz_times(column: Float, h: Complex) -> Complex:
    """Return R h for the symmetric Toeplitz matrix with this first column."""
    n = len(column)
    circular = np.fft.fft(np.concatenate([column, [0.0], column[:0:-1]]))
    return np.asarray(np.fft.ifft(circular * np.fft.fft(h, 2 * n))[:n])


def design(
    found: Spectrum,
    band_hz: tuple[float, float],
    *,
    delay_s: float = DEFAULT_DELAY_S,
    target: Target = "band",
    background: Float | None = None,
    mains_hz: float | None = None,
    reject_hz: float | None = None,
    taps_s: float | None = None,
) -> Kernel:
    """Return the Wiener filter of a band; see `WienerProblem` for the parameters and errors."""
    problem = WienerProblem(
        found,
        band_hz,
        target=target,
        background=background,
        mains_hz=mains_hz,
        reject_hz=reject_hz,
        taps_s=taps_s,
    )
    return problem.kernel(delay_s)


def alpha_peak_hz(found: Spectrum, background: Float) -> float | None:
    """Return the frequency within 7-13 Hz whose peak stands out most, None where none does."""
    ratio = found.density / np.where(background > 0.0, background, np.inf)
    inside = (found.f_hz >= 7.0) & (found.f_hz <= 13.0)
    inside[1:-1] &= (ratio[1:-1] >= ratio[:-2]) & (ratio[1:-1] >= ratio[2:])
    inside &= ratio > STANDS_OUT
    if not inside.any():
        return None
    at = np.flatnonzero(inside)
    return float(found.f_hz[at[np.argmax(ratio[at])]])
