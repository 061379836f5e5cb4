"""From raw estimates at one grid point to the protocol's features.

Powers are smoothed, then combined; logarithms come last. Nothing is repaired with an epsilon: a
feature that cannot be known is NaN. Gated points give NaN and leave every average alone.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.aperiodic import PeriodicPower, flanks
from engine.bursts import BurstNumbers, Bursts
from engine.coupling import Coupling
from engine.features import BURSTS, COUPLED, Computation, FeatureDef, in_order, scale_of
from engine.frames import Float, frozen

__all__ = ["Bank", "Raw", "Reference", "Smoother"]

Raw = float | tuple[float, ...] | tuple[complex, complex]
"""One estimate: a power, a potential; powers that belong together; two band signals.

Together: a band and both flanks; the band at every site, then the whole spectrum at every site.
"""
SHARE_S = 1.0
"""A share is averaged over this unless `smooth` is given: both of its powers over the same time."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a feature must know of the baseline.

    A burst threshold; a floor; a median and a MAD; the mean of both parts.
    """

    threshold: float = math.nan
    floor: float = math.nan
    median: float = math.nan
    mad: float = math.nan
    first: float = math.nan
    second: float = math.nan

    def known(self) -> dict[str, float]:
        """Return what is known, by name."""
        all_of = {"threshold": self.threshold, "floor": self.floor}
        all_of |= {"median": self.median, "mad": self.mad}
        all_of |= {"first": self.first, "second": self.second}
        return {k: v for k, v in all_of.items() if math.isfinite(v)}


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


class _Share:
    """Share of the last clean points above zero; known when half of the window is filled.

    A pause longer than the window empties it, as everywhere here.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        self._above: deque[bool] = deque()
        self._n = 0
        self._missed = 0

    def skip(self, points: int = 1) -> None:
        self._missed += points
        if self._missed > self._points:
            self._above.clear()
            self._n = 0

    def step(self, value: float) -> float:
        if not math.isfinite(value):
            self.skip()
            return math.nan
        self._missed = 0
        self._above.append(value > 0.0)
        self._n += value > 0.0
        if len(self._above) > self._points:
            self._n -= self._above.popleft()
        n = len(self._above)
        return self._n / n if 2 * n >= self._points else math.nan


class _Foreign:
    """A feature computed by code from elsewhere, which may fail but never ends the session.

    After its first failure it stays unknown; `fault` says why.
    """

    def __init__(self, d: FeatureDef, grid_hz: float, fault: str = "") -> None:
        self.fault = fault
        self._code: Computation | None = None
        if d.make is not None and not fault:
            try:
                self._code = d.make(dict(d.options), grid_hz)
            except (Exception, SystemExit) as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._code = None
        self.fault = f"it failed: {type(error).__name__}: {error}"[:300]

    def skip(self, points: int = 1) -> None:
        if self._code is not None:
            try:
                self._code.skip(points)
            except (Exception, SystemExit) as error:
                self._fail(error)

    def step(self, values: tuple[float, ...]) -> float:
        if self._code is None:
            return math.nan
        if not all(map(math.isfinite, values)):
            self.skip(1)
            return math.nan
        try:
            value: object = self._code.step(values)
        except (Exception, SystemExit) as error:
            self._fail(error)
            return math.nan
        if not isinstance(value, float):
            self._code = None
            self.fault = f"it gave {type(value).__name__} instead of a float"
            return math.nan
        return float(value) if math.isfinite(value) else math.nan


def _on_scale(d: FeatureDef, value: float) -> float:
    """Return a feature's value where it is compared: powers as logarithms."""
    if scale_of(d) == "ln":
        return math.log(value) if value > 0.0 else math.nan
    return value


def _ratio(p: Sequence[float]) -> float:
    return p[0] / p[1] if p[0] > 0.0 and p[1] > 0.0 else math.nan


def _log_ratio(p: Sequence[float]) -> float:
    return math.log(p[0]) - math.log(p[1]) if p[0] > 0.0 and p[1] > 0.0 else math.nan


def _asymmetry_index(p: Sequence[float]) -> float:
    if not (p[0] >= 0.0 and p[1] >= 0.0 and p[0] + p[1] > 0.0):
        return math.nan
    right, left = math.sqrt(p[0]), math.sqrt(p[1])
    return (right - left) / (right + left)


def _share_within(z: Sequence[float], within: float) -> float:
    if not all(map(math.isfinite, z)):
        return math.nan
    return sum(abs(v) <= within for v in z) / len(z)


SHRINK = 0.3
"""Of the baseline's mean power (benchmarks/asymmetry.py, chosen on other seeds)."""
_COMBINED = {"ratio": _ratio, "log_ratio": _log_ratio, "asymmetry_index": _asymmetry_index}
_NUMBER = {
    "burst_rate": "rate_per_min",
    "burst_duration": "duration_s",
    "burst_amplitude": "amplitude_uv",
}


def _averages(d: FeatureDef) -> tuple[float | None, int]:
    """Return over how long a feature's powers are averaged, and how many they are."""
    if d.kind == "relative_power":
        return d.smooth_s or SHARE_S, 2 * len(d.sites)
    return d.smooth_s, 3 if d.kind == "periodic_power" else 1


def _points_needed(d: FeatureDef, grid_hz: float) -> int:
    """Return the clean points in a row without which a windowed signal is no clean one."""
    if d.kind == "peak_to_peak":
        return max(1, round(d.window_s * grid_hz))
    if d.kind == "slow_potential":
        return round((d.window_s + d.reference_s) * grid_hz) + 1
    if d.kind == "slow_voltage":
        return round(d.window_s * grid_hz) + 1
    return 1


class Bank:
    """Turn raw estimates at one grid point into the protocol's features.

    Parameters
    ----------
    defs : sequence of FeatureDef
        In the protocol's order; `of` may point anywhere, but not in a circle.
    grid_hz : float
        Grid rate.
    references : mapping of str to Reference, optional
        What was learned of the baseline, by feature; what needs it is NaN before. None while
        nothing is prepared yet: couplings are then given without a floor, for the baseline alone.
    faults : sequence of (str, str)
        `faults` of the bank before this one: what failed stays unknown.
    """

    def __init__(
        self,
        defs: Sequence[FeatureDef],
        grid_hz: float,
        references: Mapping[str, Reference] | None = None,
        faults: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.defs = tuple(defs)
        self._grid_hz = grid_hz
        self._references = dict(references or {})
        # Powers first, combinations after, whatever their order in the file.
        self._order = in_order(self.defs)
        self._plain = [i for i in self._order if self.defs[i].kind in ("power", "amplitude")]
        self._rest = [i for i in self._order if i not in self._plain]
        # What is compared within a feature is smoothed alike.
        self._smooth = [
            tuple(Smoother(seconds, grid_hz) for _ in range(n)) if seconds else ()
            for seconds, n in map(_averages, self.defs)
        ]
        self._periodic = {
            i: PeriodicPower(d.band_hz, *flanks(d.band_hz))
            for i, d in enumerate(self.defs)
            if d.kind == "periodic_power" and d.band_hz is not None
        }
        # A window is known when all of it is clean.
        self._window = [_points_needed(d, grid_hz) for d in self.defs]
        self._coupling: dict[int, Coupling] = {}
        self._bursts: dict[tuple[int, float], Bursts] = {}
        self._share: dict[int, _Share] = {}
        for i, d in enumerate(self.defs):
            points = max(2, round(d.window_s * grid_hz))
            known = self._references.get(d.name, Reference())
            if d.kind in COUPLED:
                # Before anything is prepared the number is provisional; afterwards a floor that is
                # not known leaves it unknown.
                floor = 0.0 if references is None else known.floor
                self._coupling[i] = Coupling(d.kind, points, floor)
            elif d.kind in BURSTS and math.isfinite(known.threshold):
                key = (d.of[0], d.window_s)
                if key not in self._bursts:
                    self._bursts[key] = Bursts(known.threshold, d.window_s, grid_hz)
            elif d.kind == "share_above":
                self._share[i] = _Share(points)
        failed = dict(faults)
        self._foreign = {
            i: _Foreign(d, grid_hz, failed.get(d.name, ""))
            for i, d in enumerate(self.defs)
            if d.make is not None
        }
        self._unknown = frozen(np.full(len(self.defs), np.nan))
        self._open = 0  # clean points in a row

    def step(self, raw: Sequence[Raw], clean: bool) -> Float:
        """Return the features at one grid point.

        Parameters
        ----------
        raw : sequence
            One unsmoothed estimate per feature (combined features: ignored).
        clean : bool
            Whether the point is open. Gated points give NaN and leave every average alone.

        Returns
        -------
        ndarray, shape (n_features,)
        """
        values = self._unknown.copy()
        if not clean:
            self._open = 0
            self._skip(1)
            return values
        self._open += 1
        for i in self._plain:
            value = float(raw[i])  # type: ignore[arg-type]
            if self._smooth[i] and value == value:
                value = self._smooth[i][0].step(value)
            values[i] = math.sqrt(value) if self.defs[i].kind == "amplitude" else value
        if self._rest:
            self._others(raw, values)
        return values

    @property
    def faults(self) -> list[tuple[str, str]]:
        """Features whose code from another package failed, and why; they are unknown since."""
        return [(self.defs[i].name, f.fault) for i, f in self._foreign.items() if f.fault]

    def _others(self, raw: Sequence[Raw], values: Float) -> None:
        bursts: dict[tuple[int, float], BurstNumbers] = {}
        for i in self._rest:
            d = self.defs[i]
            kind = d.kind
            if kind in _COMBINED:
                values[i] = _COMBINED[kind]([float(values[j]) for j in d.of])
            elif kind in COUPLED:
                a, b = raw[i]  # type: ignore[misc]
                values[i] = self._coupling[i].step(a, b)
            elif kind in BURSTS:
                key = (d.of[0], d.window_s)
                if key in self._bursts and key not in bursts:
                    bursts[key] = self._bursts[key].step(float(values[d.of[0]]))
                if key in bursts:
                    values[i] = getattr(bursts[key], _NUMBER[kind])
            elif kind == "shrunk_log_ratio":
                known = self._references.get(d.name, Reference())
                one, two = (float(values[j]) for j in d.of)
                values[i] = _log_ratio((one + SHRINK * known.first, two + SHRINK * known.second))
            elif kind == "z":
                values[i] = self._z(d, float(values[d.of[0]]))
            elif kind == "share_above":
                values[i] = self._share[i].step(float(values[d.of[0]]))
            elif i in self._foreign:
                values[i] = self._foreign[i].step(tuple(float(values[j]) for j in d.of))
            elif kind == "weighted_sum":
                values[i] = self._sum(d, values)
            elif kind == "share_within":
                values[i] = _share_within([float(values[j]) for j in d.of], d.within)
            elif kind == "relative_power" and isinstance(raw[i], tuple):
                values[i] = self._share_of(i, raw[i])  # type: ignore[arg-type]
            elif kind == "periodic_power":
                values[i] = self._above_slope(i, raw[i])  # type: ignore[arg-type]
            else:
                value = float(raw[i]) if self._open >= self._window[i] else math.nan  # type: ignore[arg-type]
                if self._smooth[i] and math.isfinite(value):
                    value = self._smooth[i][0].step(value)
                values[i] = value

    def _z(self, d: FeatureDef, value: float) -> float:
        value = _on_scale(self.defs[d.of[0]], value)
        if d.norm is not None:
            mean, sd = d.norm
            return (value - mean) / sd
        known = self._references.get(d.name, Reference())
        return (value - known.median) / known.mad

    def _sum(self, d: FeatureDef, values: Float) -> float:
        total = 0.0
        for weight, j in zip(d.weights_of, d.of, strict=True):
            total += weight * _on_scale(self.defs[j], float(values[j]))
        return total if math.isfinite(total) else math.nan

    def _above_slope(self, i: int, powers: tuple[float, float, float]) -> float:
        if not all(map(math.isfinite, powers)):
            return math.nan
        if self._smooth[i]:
            powers = tuple(  # type: ignore[assignment]
                s.step(p) for s, p in zip(self._smooth[i], powers, strict=True)
            )
        return self._periodic[i].step(*powers)

    def _share_of(self, i: int, powers: tuple[float, ...]) -> float:
        """Return the mean share over the sites, of powers averaged over the same time."""
        if not all(map(math.isfinite, powers)):
            return math.nan
        means = [s.step(p) for s, p in zip(self._smooth[i], powers, strict=True)]
        n = len(means) // 2
        if min(means[n:]) <= 0.0:
            return math.nan
        return sum(part / whole for part, whole in zip(means[:n], means[n:], strict=True)) / n

    def gap(self, points: int) -> None:
        """Grid points are missing altogether."""
        self._open = 0
        self._skip(points)

    def _skip(self, points: int) -> None:
        for smoothers in self._smooth:
            for smoother in smoothers:
                smoother.skip(points)
        for coupling in self._coupling.values():
            coupling.skip(points)
        for bursts in self._bursts.values():
            bursts.skip(points)
        for share in self._share.values():
            share.skip(points)
        for foreign in self._foreign.values():
            foreign.skip(points)
