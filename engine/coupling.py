"""Coupling of two sites in one band, over a sliding window of clean grid points.

With z_a, z_b the analytic band signals of two sites and ``S = z_a conj(z_b)`` the cross-spectrum at
one grid point, summed over the last N clean points:

====================== ==================================================== =====================
coherence              ``|Σ S| / sqrt(Σ|z_a|² Σ|z_b|²)``                    Nunez et al. 1997
imaginary_coherence    ``|Im Σ S| / sqrt(Σ|z_a|² Σ|z_b|²)``                 Nolte et al. 2004
plv                    ``|Σ S / |S|| / N``                                  Lachaux et al. 1999
wpli                   ``|Σ Im S| / Σ |Im S|``                              Vinck et al. 2011
envelope_correlation   Pearson's r of ``|z_a|`` and ``|z_b|``               Bruns et al. 2000
====================== ==================================================== =====================

Unit 1; 0 to 1, the envelope correlation -1 to 1. The window is ``max(2 s, 6 cycles of the band's
centre)`` of clean time; the delay is half of it, on top of the band estimator's own.

**What a number means.** Coherence, PLV and the envelope correlation rise with volume conduction
and with a common reference, without any coupling. The imaginary part of coherence and wPLI see only
what lags, and are the ones to train. All of them but the envelope correlation are positive by
chance alone in a short window; the chance value of this person, band and window is measured on a
baseline (`chance_floor`) and subtracted, so 0 is "as much as by chance" and a number may be
negative.

**How many observations.** Neighbouring grid points are not independent: a band of width B gives
about B complex observations per second, so a window of W seconds has ``N_eff = B W``
(`independent_points`), 8 for alpha in 2 s. A rhythm narrower than its band has fewer still; that is
why the floor is measured and the formula (`analytic_floor`) is only a check on it.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.frames import Bool, Float

__all__ = [
    "FLOOR_SHIFTS",
    "FLOOR_WINDOWS",
    "METRICS",
    "MIN_SHIFT_S",
    "Coupling",
    "analytic_floor",
    "chance_floor",
    "independent_points",
    "window_s",
]

MIN_WINDOW_S = 2.0
MIN_CYCLES = 6.0
MIN_SHIFT_S = 2.0
"""The least shift of a surrogate: longer than the memory of any trained band."""
FLOOR_SHIFTS = 20
"""Surrogates per floor, spread evenly over the baseline."""
FLOOR_WINDOWS = 10
"""A floor needs this many windows of clean baseline, 20 s for most bands."""
_PER_WINDOW = 4  # surrogate windows overlap by three quarters; denser ones say nothing new
_ROUNDING = 4.0 * float(np.finfo(float).eps)


def window_s(band_hz: tuple[float, float]) -> float:
    """Return the window for a band: ``max(2 s, 6 cycles of its centre)``, in seconds."""
    return max(MIN_WINDOW_S, MIN_CYCLES * 2.0 / (band_hz[0] + band_hz[1]))


# Terms of one grid point, from (Re z_a, Im z_a, Re z_b, Im z_b). Plain products of real numbers: a
# fused complex multiplication would leave a lag where there is none.


def _spectra(ar: float, ai: float, br: float, bi: float) -> tuple[float, ...]:
    return ar * br + ai * bi, ai * br - ar * bi, ar * ar + ai * ai, br * br + bi * bi


def _unit(ar: float, ai: float, br: float, bi: float) -> tuple[float, ...]:
    re, im = ar * br + ai * bi, ai * br - ar * bi
    size = math.hypot(re, im)
    # Without amplitude there is no phase, and none for any window with this point in it.
    return (re / size, im / size) if size > 0.0 else (math.nan, math.nan)


def _lagged(ar: float, ai: float, br: float, bi: float) -> tuple[float, ...]:
    one, other = ai * br, ar * bi
    im = one - other
    if abs(im) <= _ROUNDING * (abs(one) + abs(other)):
        im = 0.0  # no lag, to the precision of its own terms: rounding has no sign to count
    return im, abs(im), (ar * ar + ai * ai) * (br * br + bi * bi)


def _sizes(ar: float, ai: float, br: float, bi: float) -> tuple[float, ...]:
    return math.hypot(ar, ai), math.hypot(br, bi)


# Numbers of one window, shape (n_terms, n_points).


def _at_most_one(share: float) -> float:
    """Return a share without the rounding above 1; what is unknown stays so."""
    return 1.0 if share > 1.0 else share


def _coherence(window: Float) -> float:
    re, im, pa, pb = np.add.reduce(window, axis=1).tolist()
    power = math.sqrt(pa) * math.sqrt(pb)
    return _at_most_one(math.hypot(re, im) / power) if power > 0.0 else math.nan


def _imaginary_coherence(window: Float) -> float:
    _, im, pa, pb = np.add.reduce(window, axis=1).tolist()
    power = math.sqrt(pa) * math.sqrt(pb)
    return _at_most_one(abs(im) / power) if power > 0.0 else math.nan


def _plv(window: Float) -> float:
    re, im = np.add.reduce(window, axis=1).tolist()
    return _at_most_one(math.hypot(re, im) / window.shape[1])


def _wpli(window: Float) -> float:
    im, size, power = np.add.reduce(window, axis=1).tolist()
    if size > 0.0:
        return _at_most_one(abs(im) / size)
    # Every point in phase or in antiphase: nothing lags. As in the index that this one weights.
    return 0.0 if power > 0.0 else math.nan


def _envelope_correlation(window: Float) -> float:
    n = window.shape[1]
    mean = np.add.reduce(window, axis=1) / n
    apart = window - mean[:, None]
    va, vb = np.add.reduce(apart * apart, axis=1).tolist()
    ma, mb = mean.tolist()
    if va <= n * (_ROUNDING * ma) ** 2 or vb <= n * (_ROUNDING * mb) ** 2:
        return math.nan  # a constant envelope correlates with nothing
    both = float(np.add.reduce(apart[0] * apart[1]))
    r = both / (math.sqrt(va) * math.sqrt(vb))
    return math.copysign(_at_most_one(abs(r)), r)


_Terms = Callable[[float, float, float, float], tuple[float, ...]]
_Number = Callable[[Float], float]

_RULES: Mapping[str, tuple[_Terms, _Number]] = MappingProxyType(
    {
        "coherence": (_spectra, _coherence),
        "imaginary_coherence": (_spectra, _imaginary_coherence),
        "plv": (_unit, _plv),
        "wpli": (_lagged, _wpli),
        "envelope_correlation": (_sizes, _envelope_correlation),
    }
)
METRICS = tuple(_RULES)
"""The names of the metrics."""


def _rule(metric: str) -> tuple[_Terms, _Number]:
    if metric not in _RULES:
        raise ValueError(f"no coupling metric {metric!r}; there are {', '.join(METRICS)}")
    return _RULES[metric]


class Coupling:
    """One metric of one pair of sites, at every grid point (settings + state + step).

    The sums are taken anew over the stored window at every point, always in the order of time, so a
    number depends on the window's points alone and nothing drifts.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    points : int
        Clean grid points in the window, at least 2.
    floor : float
        Chance value that is subtracted, see `chance_floor`.

    Attributes
    ----------
    filled : int
        Clean points in the window.

    Raises
    ------
    ValueError
        No such metric, or a window of less than 2 points.
    """

    def __init__(self, metric: str, points: int, floor: float = 0.0) -> None:
        if points < 2:
            raise ValueError(f"a coupling needs a window of at least 2 points, got {points}")
        self.metric = metric
        self.points = points
        self.floor = floor
        self._terms, self._number = _rule(metric)
        # Every point twice, one length apart: any window is one slice, oldest first.
        self._rows: Float = np.zeros((len(self._terms(1.0, 0.0, 1.0, 0.0)), 2 * points))
        self._columns = tuple(self._rows)
        self.restart()

    def restart(self) -> None:
        """Forget every point."""
        self.filled = 0
        self._next = 0
        self._missed = 0

    def skip(self, points: int = 1) -> None:
        """Pass over gated or missing points; a pause longer than the window empties it."""
        self._missed += points
        if self._missed > self.points:
            self.restart()

    def step(self, za: complex, zb: complex) -> float:
        """Take one clean point, return the metric minus the floor.

        Parameters
        ----------
        za, zb : complex
            Analytic band signals of the two sites in µV. What is not finite counts as gated.

        Returns
        -------
        float
            NaN until the window is full, and where the metric has no value: a site without power
            (coherence, wPLI), a point without phase (PLV), a constant envelope.
        """
        return self.value() if self.take(za, zb) else math.nan

    def take(self, za: complex, zb: complex) -> bool:
        """Take one clean point without computing; return whether it could be used."""
        if not (cmath.isfinite(za) and cmath.isfinite(zb)):
            self.skip()
            return False
        terms = self._terms(za.real, za.imag, zb.real, zb.imag)
        self._missed = 0
        at, again = self._next, self._next + self.points
        for column, term in zip(self._columns, terms, strict=True):
            column[at] = column[again] = term
        self._next = at + 1 if again + 1 < 2 * self.points else 0
        if self.filled < self.points:
            self.filled += 1
        return True

    def value(self) -> float:
        """Return the metric of the window minus the floor, NaN until it is full."""
        if self.filled < self.points:
            return math.nan
        return self._number(self._rows[:, self._next : self._next + self.points]) - self.floor


def chance_floor(
    metric: str,
    za: NDArray[np.complex128],
    zb: NDArray[np.complex128],
    clean: Bool,
    points: int,
    grid_hz: float,
) -> float:
    """Return the chance value of a metric: its mean over time-shifted surrogates of a baseline.

    The second site is shifted in a circle against the first by `FLOOR_SHIFTS` lags, spread evenly
    from 2 s to the baseline's length less 2 s. A shift keeps each site's spectrum, envelope and
    window, and destroys what the two share in time. A surrogate point counts when both of its
    points are clean. Windows of the same length and rules as live, ending at every quarter window,
    are averaged over all shifts. Two rhythms that never change their phase stay coupled under any
    shift: their floor is as high as their coupling, and rightly so.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    za, zb : ndarray of complex, shape (n_points,)
        Analytic band signals of the two sites at the baseline's grid points, in µV.
    clean : ndarray of bool, shape (n_points,)
        Points that are not gated.
    points : int
        Clean points in the window.
    grid_hz : float
        Grid rate.

    Returns
    -------
    float
        NaN when there are fewer clean points than `FLOOR_WINDOWS` windows, when the baseline is
        too short to be shifted, or when gates leave no surrogate window.

    Raises
    ------
    ValueError
        No such metric, or arrays of different lengths.
    """
    if not len(za) == len(zb) == len(clean):
        raise ValueError(f"{len(za)} and {len(zb)} points of signal, {len(clean)} of gate")
    coupling = Coupling(metric, points)
    known = clean & np.isfinite(za) & np.isfinite(zb)
    n, least = len(za), math.ceil(MIN_SHIFT_S * grid_hz)
    if known.sum() < FLOOR_WINDOWS * points or n < 2 * least:
        return math.nan
    every = max(1, points // _PER_WINDOW)
    first, found = za.tolist(), []
    for shift in np.unique(np.linspace(least, n - least, FLOOR_SHIFTS).round().astype(int)):
        second = np.roll(zb, shift).tolist()
        coupling.restart()
        fresh = 0
        both = (known & np.roll(known, shift)).tolist()
        for a, b, usable in zip(first, second, both, strict=True):
            if not usable:
                coupling.skip()
                continue
            coupling.take(a, b)
            fresh += 1
            if coupling.filled == points and fresh >= every:
                fresh = 0
                value = coupling.value()
                if math.isfinite(value):
                    found.append(value)
    return math.fsum(found) / len(found) if found else math.nan


def independent_points(band_hz: tuple[float, float], seconds: float) -> float:
    """Return ``N_eff = B W``, the independent complex observations in a window, at least 1.

    For a flat spectrum within a rectangular band. The fixed Butterworth filter passes a little
    more than its nominal band (1.17 B W, and 1.4 B W for phases alone, which change faster than
    the signals); a rhythm narrower than its band gives less.
    """
    return max(1.0, (band_hz[1] - band_hz[0]) * seconds)


def analytic_floor(metric: str, n_eff: float) -> float:
    """Return what a metric averages to by chance, for independent circular Gaussian signals.

    ``sqrt(π / (4 N))`` for PLV and, to the same order, coherence (N = 50: .125, 250: .056, 1500:
    .023); ``1 / sqrt(π N)``, its mean over a uniform phase, for the imaginary part;
    ``2 / sqrt(π N)`` for wPLI, whose terms are Laplace distributed; 0 for the envelope
    correlation. Formulas for large N; from N = 4 on they are right within 5 %.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    n_eff : float
        Independent observations, see `independent_points`.

    Raises
    ------
    ValueError
        No such metric, or less than one observation.
    """
    _rule(metric)
    if not n_eff >= 1.0:
        raise ValueError(f"a chance value needs at least one observation, got {n_eff}")
    factor = {
        "coherence": math.sqrt(math.pi) / 2.0,
        "plv": math.sqrt(math.pi) / 2.0,
        "imaginary_coherence": 1.0 / math.sqrt(math.pi),
        "wpli": 2.0 / math.sqrt(math.pi),
        "envelope_correlation": 0.0,
    }[metric]
    return min(1.0, factor / math.sqrt(n_eff))
