"""The aperiodic part of a spectrum, and what a rhythm adds to it.

A spectrum of EEG is a slope, ``log10 S(f) = offset - exponent log10 f``, with peaks on top
(Donoghue et al. 2020). `aperiodic_fit` finds the slope of a measured spectrum and ignores the
peaks; a baseline uses it once. `PeriodicPower` does the same at every grid point with what a live
session has: the power in the band and in a band on either side of it,

    ``P_periodic = P_band - ∫ c f^-χ df over the band``,

c and χ being those of the one power law that gives both flanks their power. Unit µV², scale linear:
without a rhythm the number scatters around 0 and is negative half of the time. Delay: the largest
of the three estimators'.

**What the flanks need.** They are interpolated on the logarithm, so their powers must be averages:
over T seconds the aperiodic part is read about ``1 / (2 B T)`` too low (B the flank's width), 4 %
for 3 Hz and the 4 s that a smoothing of 2 s remembers. A peak within a flank is taken for
background. Power that a filter lets through from the band itself is background, too: `flanks` keeps
them half a bandwidth away, and always clear of alpha, the one rhythm that would drown them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import InputError
from engine.frames import Bool, Float

__all__ = [
    "ALPHA_CLEAR_HZ",
    "AperiodicFit",
    "PeriodicPower",
    "aperiodic_fit",
    "flanks",
    "periodic_power",
]

Band = tuple[float, float]

MIN_BINS = 10
"""With fewer bins a line is no finding."""
START_QUANTILE = 0.2
"""The first line has this share of bins below it: low enough to run under any set of peaks."""
START_STEPS = 60
CORE = 0.5  # share of residuals that marks where the slope itself lies above the first line
PEAK_SD = 2.5
"""A bin this many robust standard deviations above the line belongs to a peak."""
MAX_SD = 0.12
"""In log10: what a spectrum of 13 independent segments scatters. A wider scatter is a spectrum that
is no line (a low-pass, muscle), and would make room for peaks on the line."""
REFITS = 2
"""Fits without the peaks; more of them wander, as every fit moves a bin across the limit."""

ALPHA_CLEAR_HZ = (6.0, 14.0)
"""Where alpha peaks are looked for (7-13 Hz), and 1 Hz for their skirts: no flank reaches in."""
LOWEST_HZ, HIGHEST_HZ = 1.25, 40.0
"""Flanks stay above the high-pass (1 Hz takes 13 % of 1.25-2.25 Hz) and below muscle and mains."""
WIDTH_HZ = (2.0, 6.0)
GUARD_HZ = (1.0, 2.0)
SOLVE_STEPS = 20  # three or four do
SOLVE_TOLERANCE = 1e-10  # of ln power


# ---------------------------------------------------------------- of a spectrum


@dataclass(frozen=True, slots=True)
class AperiodicFit:
    """The slope of a spectrum: ``log10 S = offset - exponent log10 f``.

    Parameters
    ----------
    offset : float
        log10 of the density at 1 Hz, the density in µV²/Hz.
    exponent : float
        χ of ``1 / f^χ``.
    r2 : float
        Explained variance of log10 density over the bins that were fitted.
    sd : float
        Robust standard deviation of log10 density around the line, from the bins below it.
    used, peaks : int
        Bins that were fitted, and bins left out as peaks.

    All numbers are NaN when there was too little to fit (see `known`).
    """

    offset: float
    exponent: float
    r2: float
    sd: float
    used: int
    peaks: int

    @property
    def known(self) -> bool:
        """Whether there was enough to fit."""
        return math.isfinite(self.exponent)

    def density(self, f_hz: Float) -> Float:
        """Return the aperiodic density in µV²/Hz at frequencies above 0, NaN elsewhere.

        The line runs through the mean of the logarithm, which lies below the logarithm of the mean
        by ``1 / (2 K)`` in ln units for a spectrum averaged over K independent segments.
        """
        f = np.asarray(f_hz, float)
        log_f = np.log10(f, out=np.full(f.shape, np.nan), where=f > 0.0)
        out: Float = 10.0 ** (self.offset - self.exponent * log_f)
        return out


def aperiodic_fit(
    f_hz: Float,
    density: Float,
    *,
    range_hz: Band = (2.0, 40.0),
    exclude: Sequence[Band] = (),
) -> AperiodicFit:
    """Fit a line to a spectrum on log-log axes, ignoring peaks.

    1. A first line under which `START_QUANTILE` of the bins lie (quantile regression, Koenker &
       Bassett 1978): peaks, however high, only count as "above". It is raised to the densest
       `CORE` of the residuals, which is where the slope without peaks lies.
    2. Bins more than `PEAK_SD` robust standard deviations above the line are peaks; the deviation
       is 1.4826 times the median distance of the bins *below* the line, which know of no peak,
       and at most `MAX_SD`. Where two neighbours are peaks, the next bin on either side is their
       skirt.
    3. Least squares through the rest; 2 and 3 twice.

    Every bin weighs the same, as is usual, so the exponent compares with published ones. Peaks are
    only looked for above: a notch must be excluded. A spectrum that bends (`r2` below 0.9, `sd`
    above `MAX_SD`) is not well described by any line; a shorter range may be.

    Parameters
    ----------
    f_hz : ndarray, shape (n_bins,)
        Frequencies.
    density : ndarray, shape (n_bins,)
        Power spectral density in µV²/Hz. Bins that are not positive are left out.
    range_hz : tuple of float
        Bins from the first to the second frequency are fitted.
    exclude : sequence of tuple of float
        Ranges to leave out, such as ``(48, 52)`` for mains.

    Returns
    -------
    AperiodicFit
        Unknown with fewer than `MIN_BINS` bins, or when peaks leave fewer.

    Raises
    ------
    ValueError
        The arrays do not match.
    """
    f, s = np.asarray(f_hz, float), np.asarray(density, float)
    if f.ndim != 1 or f.shape != s.shape:
        raise ValueError(f"frequencies of shape {f.shape}, densities of shape {s.shape}")
    usable = (f >= range_hz[0]) & (f <= range_hz[1]) & (f > 0.0) & (s > 0.0) & np.isfinite(s)
    for lo, hi in exclude:
        usable &= (f < lo) | (f > hi)
    n = int(usable.sum())
    if n < MIN_BINS:
        return _unknown(n)
    x, y = np.log10(f[usable]), np.log10(s[usable])
    offset, slope = _first_line(x, y)
    keep = np.ones(n, bool)
    for _ in range(REFITS):
        above = y - offset - slope * x
        sd = min(_sd_below(above), MAX_SD)
        keep = ~_with_skirts(above > PEAK_SD * sd + _rounding(y))
        if int(keep.sum()) < MIN_BINS:
            return _unknown(int(keep.sum()), n - int(keep.sum()))
        offset, slope = _least_squares(x[keep], y[keep])
    above = y - offset - slope * x
    spread = y[keep] - y[keep].mean()
    total = float(spread @ spread)
    r2 = 1.0 - float(above[keep] @ above[keep]) / total if total > 0.0 else math.nan
    used = int(keep.sum())
    return AperiodicFit(offset, -slope, r2, _sd_below(above), used, n - used)


def _unknown(used: int, peaks: int = 0) -> AperiodicFit:
    return AperiodicFit(math.nan, math.nan, math.nan, math.nan, used, peaks)


def _rounding(y: Float) -> float:
    """Return what the rounding of logarithms can add: a spectrum may be an exact line."""
    return 64.0 * float(np.finfo(float).eps) * (1.0 + float(np.abs(y).max()))


def _least_squares(x: Float, y: Float, weight: Float | None = None) -> tuple[float, float]:
    """Return offset and slope."""
    w = np.ones(len(x)) if weight is None else weight
    mx, my = float(w @ x) / float(w.sum()), float(w @ y) / float(w.sum())
    slope = float((w * (x - mx)) @ (y - my)) / float(w @ (x - mx) ** 2)
    return my - slope * mx, slope


def _first_line(x: Float, y: Float) -> tuple[float, float]:
    """Return a line along the lower edge of the spectrum, raised to where most bins lie."""
    offset, slope = _least_squares(x, y)
    for _ in range(START_STEPS):  # least absolute deviations by reweighted least squares
        above = y - offset - slope * x
        near = 1e-3 * float(np.median(np.abs(above))) + _rounding(y)
        side = np.where(above > 0.0, START_QUANTILE, 1.0 - START_QUANTILE)
        offset, slope = _least_squares(x, y, side / np.maximum(np.abs(above), near))
    above = np.sort(y - offset - slope * x)
    m = math.ceil(CORE * len(above))
    tightest = int(np.argmin(above[m - 1 :] - above[: len(above) - m + 1]))
    return offset + 0.5 * float(above[tightest] + above[tightest + m - 1]), slope


def _sd_below(above: Float) -> float:
    below = above[above < 0.0]
    return 1.4826 * float(np.median(-below)) if len(below) else 0.0


def _with_skirts(peak: Bool) -> Bool:
    """Return peaks with one more bin on either side of every two neighbours."""
    out = peak.copy()
    pair = peak[1:] & peak[:-1]
    out[2:] |= pair[:-1]
    out[:-2] |= pair[1:]
    return out


# ---------------------------------------------------------------- at a grid point


def _log_integral(band_hz: Band, exponent: float) -> float:
    """Return ``ln ∫ f^-χ df`` over a band: no gap at χ = 1, no overflow at any χ."""
    octaves = math.log(band_hz[1] / band_hz[0])
    u = (1.0 - exponent) * octaves
    size = abs(u)
    # ln of (e^u - 1) / u, from the side where it is at most 1.
    shape = math.log(-math.expm1(-size) / size) + max(u, 0.0) if size > 0.0 else 0.0
    return (1.0 - exponent) * math.log(band_hz[0]) + math.log(octaves) + shape


def periodic_power(
    band_hz: Band,
    power: float,
    low_hz: Band,
    low_power: float,
    high_hz: Band,
    high_power: float,
) -> float:
    """Return the power in a band that exceeds the power law through its two flanks, in µV².

    The exponent solves ``∫ f^-χ (low) / ∫ f^-χ (high) = low_power / high_power``, by the secant
    method from the flanks' mean densities at their geometric means; the band's aperiodic power is
    the same law's integral, in closed form. Its density lies between the flanks', whatever they
    are.

    Parameters
    ----------
    band_hz, low_hz, high_hz : tuple of float
        The band and its flanks.
    power, low_power, high_power : float
        Power in each, in µV², smoothed alike.

    Returns
    -------
    float
        May be negative. NaN when a power is unknown or a flank is not positive.
    """
    if not (0.0 < low_power < math.inf and 0.0 < high_power < math.inf):
        return math.nan
    log_low, log_high = math.log(low_power), math.log(high_power)
    apart = 0.5 * math.log(high_hz[0] * high_hz[1] / (low_hz[0] * low_hz[1]))
    widths = math.log((high_hz[1] - high_hz[0]) / (low_hz[1] - low_hz[0]))
    exponent, slope = (log_low - log_high + widths) / apart, -apart
    before, step = math.nan, math.nan
    for _ in range(SOLVE_STEPS):
        # By how much the flanks disagree on ln c, and how that changes with the exponent.
        gap = (
            log_low - _log_integral(low_hz, exponent) - log_high + _log_integral(high_hz, exponent)
        )
        if abs(gap) < SOLVE_TOLERANCE:
            break
        if math.isfinite(before):
            slope = (gap - before) / step
        before, step = gap, -gap / slope
        exponent += step
    scale = log_low - _log_integral(low_hz, exponent)
    return power - math.exp(scale + _log_integral(band_hz, exponent))


def flanks(band_hz: Band) -> tuple[Band, Band]:
    """Return the band below and the band above that a band's background is read from.

    Each is as wide as the band (2 to 6 Hz) and half of its width away (1 to 2 Hz, below at most a
    quarter of the lower edge); what would reach into 6-14 Hz, where alpha lives, moves to its far
    side. The lower one spans no more than an octave, so that its lowest edge does not speak for all
    of it. Both stay within 1.25-40 Hz.

    For alpha, 8-12 Hz: 3-6 Hz and 14-18 Hz; for theta, 4-8 Hz: 1.5-3 Hz and 14-18 Hz.

    Raises
    ------
    InputError
        There is no room for 1 Hz on one side (delta, gamma).
    """
    lo, hi = band_hz
    if not 0.0 < lo < hi:
        raise InputError(f"{lo:g}-{hi:g} Hz is no band", "give the lower edge first")
    width = min(max(hi - lo, WIDTH_HZ[0]), WIDTH_HZ[1])
    guard = min(max((hi - lo) / 2.0, GUARD_HZ[0]), GUARD_HZ[1])
    alpha_lo, alpha_hi = ALPHA_CLEAR_HZ
    top, bottom = lo - min(guard, lo / 4.0), hi + guard
    floor = LOWEST_HZ
    if top >= alpha_hi + WIDTH_HZ[0]:
        floor = alpha_hi
    else:
        top = min(top, alpha_lo)
    if bottom > alpha_lo:
        bottom = max(bottom, alpha_hi)
    ceiling = HIGHEST_HZ
    low = (max(top - width, top / 2.0, floor), top)
    high = (bottom, min(bottom + width, ceiling))
    for side, (start, end) in (("below", low), ("above", high)):
        if end - start < 1.0:
            raise InputError(
                f"there is no room {side} {lo:g}-{hi:g} Hz to read its background from",
                f"choose a band between {LOWEST_HZ:g} and {HIGHEST_HZ:g} Hz with 2 Hz free on "
                "either side, or plain power",
            )
    return low, high


@dataclass(frozen=True, slots=True)
class PeriodicPower:
    """Aperiodic-corrected power of one band at every grid point.

    It has no memory: gates and gaps are the business of the averages that it is given.

    Parameters
    ----------
    band_hz, low_hz, high_hz : tuple of float
        The band and its flanks, see `flanks`.
    """

    band_hz: Band
    low_hz: Band
    high_hz: Band

    def step(self, power: float, low_power: float, high_power: float) -> float:
        """Return `periodic_power` of three smoothed powers in µV²."""
        return periodic_power(self.band_hz, power, self.low_hz, low_power, self.high_hz, high_power)
