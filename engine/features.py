"""The registry of features, and the numbers they give on the grid.

This module imports neither SciPy nor MNE, so that a protocol can be checked at once. Powers come
from `engine.estimate`; here they are averaged over sites, smoothed and combined. Logarithms come
last, nothing is repaired with an epsilon: a feature that cannot be known is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from engine.frames import Float

__all__ = [
    "DEFAULT_TOTAL_HZ",
    "DEFAULT_WINDOW_S",
    "FEATURES",
    "Bank",
    "FeatureDef",
    "FeatureKind",
    "Smoother",
    "nominal_delay_s",
    "wide_orders",
]

DEFAULT_TOTAL_HZ = (1.0, 40.0)
DEFAULT_WINDOW_S = 1.0

Scale = Literal["ln", "linear"]


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One kind of feature, as data.

    Parameters
    ----------
    name : str
        The word in YAML (``kind:``).
    unit : str
        ``uV2``, ``uV`` or ``1``.
    scale : {'ln', 'linear'}
        Scale on which medians and MADs of a baseline are taken.
    needs, may : frozenset of str
        YAML keys that must, and that may, be given.
    doc : str
        One sentence.
    formula : str
        The formula.
    source : str
        Where the definition comes from.
    """

    name: str
    unit: str
    scale: Scale
    needs: frozenset[str]
    may: frozenset[str]
    doc: str
    formula: str
    source: str = ""


def _kind(
    name: str,
    unit: str,
    scale: Scale,
    needs: str,
    may: str,
    doc: str,
    formula: str,
    source: str = "",
) -> FeatureKind:
    return FeatureKind(
        name, unit, scale, frozenset(needs.split()), frozenset(may.split()), doc, formula, source
    )


FEATURES: Mapping[str, FeatureKind] = MappingProxyType(
    {
        k.name: k
        for k in (
            _kind(
                "power",
                "uV2",
                "ln",
                "at band",
                "smooth",
                "Mean square of the rhythm in a band, averaged over the sites.",
                "P = mean over sites of 2 |z|², z the analytic band signal",
            ),
            _kind(
                "amplitude",
                "uV",
                "ln",
                "at band",
                "smooth",
                "Root mean square of the rhythm in a band.",
                "A = sqrt(P)",
            ),
            _kind(
                "relative_power",
                "1",
                "ln",
                "at band",
                "smooth total",
                "Share of a band's power in the whole spectrum (1-40 Hz unless `total` is given).",
                "R = P_band / P_total, per site, then averaged over the sites",
            ),
            _kind(
                "ratio",
                "1",
                "ln",
                "of",
                "",
                "One power divided by another, e.g. theta/beta.",
                "Q = P_1 / P_2; compared with the baseline as ln P_1 - ln P_2",
                "Monastra et al. 1999",
            ),
            _kind(
                "log_ratio",
                "1",
                "linear",
                "of",
                "",
                "Difference of the logarithms of two powers, e.g. frontal alpha asymmetry.",
                "A = ln P_1 - ln P_2",
                "Davidson 1998",
            ),
            _kind(
                "peak_to_peak",
                "uV",
                "ln",
                "at",
                "window",
                "Largest minus smallest value of the conditioned signal in a window.",
                "max(x) - min(x) over the window, all of it clean; the largest over the sites",
            ),
        )
    }
)


def wide_orders(band_hz: tuple[float, float]) -> tuple[int, int]:
    """Return the orders of the high- and the low-pass that make up a wide band.

    The least with which a sine in the band's central half loses at most 1 % of its power to either
    edge: ``(lo / f)^2m`` and ``(f / hi)^2n`` stay below 1/99 there.
    """
    lo, hi = band_hz
    quarter = (hi - lo) / 4.0

    def least(ratio: float) -> int:
        return max(2, math.ceil(math.log(99.0) / (2.0 * math.log(ratio))))

    return least((lo + quarter) / lo), least(hi / (hi - quarter))


def nominal_delay_s(band_hz: tuple[float, float]) -> float:
    """Return the delay of the fixed estimator's envelope for a band, in seconds.

    That of the analogue Butterworth filters behind it: for a narrow band the low-pass at DC,
    ``1 / (2 pi f_c sin(pi / 2n))`` with f_c half the bandwidth; for a wide one both edges at the
    band's geometric mean, and the average. What a session states is computed from its digital
    filter (`engine.estimate.envelope_delay_s`) and differs by less than a grid step.
    """
    lo, hi = band_hz
    f_c = (hi - lo) / 2.0
    if hi <= 3.0 * lo:
        return 1.0 / (2.0 * math.pi * f_c * math.sin(math.pi / 8.0))
    high_pass, low_pass = wide_orders(band_hz)
    ratio = math.sqrt(lo / hi)  # of the geometric mean to the upper edge, and of the lower to it
    low = _butterworth_delay(low_pass, ratio) / (2.0 * math.pi * hi)
    # A high-pass is a low-pass of the inverse frequency.
    high = _butterworth_delay(high_pass, ratio) * ratio**2 / (2.0 * math.pi * lo)
    return low + high + 0.5 / lo


def _butterworth_delay(order: int, at: float) -> float:
    """Return the group delay of a low-pass with edge 1 rad/s at frequency `at`, in seconds."""
    total = 0.0
    for k in range(order):
        angle = math.pi * (2 * k + 1) / (2 * order)
        damping = math.sin(angle)
        total += damping / (damping**2 + (at - math.cos(angle)) ** 2)
    return total


@dataclass(frozen=True, slots=True)
class FeatureDef:
    """A feature of a protocol, resolved for one stream.

    `sites` are columns of `Conditioned`; `of` are positions of other features.
    """

    name: str
    kind: str
    sites: tuple[int, ...] = ()
    of: tuple[int, ...] = ()
    band_hz: tuple[float, float] | None = None
    total_hz: tuple[float, float] = DEFAULT_TOTAL_HZ
    smooth_s: float | None = None
    window_s: float = DEFAULT_WINDOW_S


@dataclass
class Smoother:
    """Exponential average of power, bias-corrected from its first clean point.

    ``s ← k s + (1 - k) p``, ``w ← k w + (1 - k)``, value ``s / w`` with
    ``k = exp(-1 / (T grid))``. Frozen while gated; restarted after a gap longer than T.

    Parameters
    ----------
    seconds : float
        Time constant T.
    grid_hz : float
        Grid rate.
    """

    seconds: float
    grid_hz: float
    total: float = 0.0
    weight: float = 0.0
    missed: int = 0
    keep: float = field(init=False)

    def __post_init__(self) -> None:
        self.keep = math.exp(-1.0 / (self.seconds * self.grid_hz))

    def step(self, value: float) -> float:
        """Take one clean value, return the average."""
        self.missed = 0
        self.total = self.keep * self.total + (1.0 - self.keep) * value
        self.weight = self.keep * self.weight + (1.0 - self.keep)
        return self.total / self.weight

    def skip(self, points: int = 1) -> None:
        """Pass over gated or missing points."""
        self.missed += points
        if self.missed > self.seconds * self.grid_hz:
            self.total = self.weight = 0.0


_Rule = Callable[[list[float]], float]


def _ratio(p: Sequence[float]) -> float:
    return p[0] / p[1] if p[0] > 0.0 and p[1] > 0.0 else math.nan


def _log_ratio(p: Sequence[float]) -> float:
    return math.log(p[0]) - math.log(p[1]) if p[0] > 0.0 and p[1] > 0.0 else math.nan


class Bank:
    """Turn raw estimates at one grid point into the protocol's features.

    Parameters
    ----------
    defs : sequence of FeatureDef
        In the protocol's order; `of` points only to earlier or later power features.
    grid_hz : float
        Grid rate.
    """

    def __init__(self, defs: Sequence[FeatureDef], grid_hz: float) -> None:
        self.defs = tuple(defs)
        self._grid_hz = grid_hz
        # Powers first, combinations after, whatever their order in the file.
        self._order = [i for i, d in enumerate(self.defs) if not d.of]
        self._order += [i for i, d in enumerate(self.defs) if d.of]
        self._smooth = [Smoother(d.smooth_s, grid_hz) if d.smooth_s else None for d in self.defs]
        # A window is known when all of it is clean.
        self._window = [
            max(1, round(d.window_s * grid_hz)) if d.kind == "peak_to_peak" else 1
            for d in self.defs
        ]
        self._open = 0  # clean points in a row

    def step(self, raw: Sequence[float], clean: bool) -> Float:
        """Return the features at one grid point.

        Parameters
        ----------
        raw : sequence of float
            One unsmoothed estimate per feature (combined features: ignored).
        clean : bool
            Whether the point is open. Gated points give NaN and leave every average alone.

        Returns
        -------
        ndarray, shape (n_features,)
        """
        values = np.full(len(self.defs), np.nan)
        self._open = self._open + 1 if clean else 0
        if not clean:
            for smoother in self._smooth:
                if smoother is not None:
                    smoother.skip()
            return values
        for i in self._order:
            d = self.defs[i]
            if d.of:
                of = [float(values[j]) for j in d.of]
                values[i] = _ratio(of) if d.kind == "ratio" else _log_ratio(of)
                continue
            value = float(raw[i]) if self._open >= self._window[i] else math.nan
            smoother = self._smooth[i]
            if smoother is not None and math.isfinite(value):
                value = smoother.step(value)
            values[i] = math.sqrt(value) if d.kind == "amplitude" else value
        return values

    def gap(self, points: int) -> None:
        """Grid points are missing altogether."""
        self._open = 0
        for smoother in self._smooth:
            if smoother is not None:
                smoother.skip(points)
