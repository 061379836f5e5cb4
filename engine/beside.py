"""What is measured beside the band filters: wide bands, ranges, slow potentials.

Each has a state of its own, runs sample by sample in a fixed order over a segment and is never
fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.bank import Raw
from engine.condition import Conditioned
from engine.estimate import WidePower, is_narrow
from engine.features import SLOW, FeatureDef
from engine.frames import Float
from engine.slow import SlowPotential

__all__ = ["Beside", "BesidePoints"]


@dataclass(frozen=True, slots=True, eq=False)
class BesidePoints:
    """The numbers of one segment.

    Parameters
    ----------
    single : mapping of int to ndarray, shape (n_grid,)
        Per feature that is none of the estimator's.
    wide : mapping of int to ndarray, shape (n_grid, n_sites)
        Power in the whole spectrum, per relative power.
    """

    single: Mapping[int, Float]
    wide: Mapping[int, Float]

    def fill(self, g: int, raw: list[Raw]) -> dict[int, Float]:
        """Fill in grid point `g`; return the wide powers there."""
        for i, values in self.single.items():
            raw[i] = float(values[g])
        return {i: power[g] for i, power in self.wide.items()}


class Beside:
    """Everything but the band filters (settings + state + step).

    Parameters
    ----------
    defs : sequence of FeatureDef
    rate_hz : float
    hop : int
    """

    def __init__(self, defs: Sequence[FeatureDef], rate_hz: float, hop: int) -> None:
        self._defs = tuple(defs)
        grid_hz = rate_hz / hop
        bands: dict[tuple[float, float], list[int]] = {}
        self._total: dict[int, tuple[float, float]] = {}  # of relative powers
        self._whole: dict[int, tuple[float, float]] = {}  # wide bands of features
        self._ranges: dict[int, _Range] = {}
        self._slow: dict[int, tuple[list[int], SlowPotential]] = {}
        for i, d in enumerate(defs):
            if d.kind == "peak_to_peak":
                self._ranges[i] = _Range(d.sites, max(1, round(d.window_s * grid_hz)))
                continue
            if d.kind in SLOW:
                before_s = d.reference_s if d.kind == "slow_potential" else None
                path = SlowPotential(rate_hz, hop, d.window_s, before_s, n_sites=len(d.sites))
                self._slow[i] = (list(d.sites), path)
                continue
            if d.kind == "relative_power":
                self._total[i] = d.total_hz
                bands.setdefault(d.total_hz, []).extend(d.sites)
            if d.band_hz is not None and not is_narrow(d.band_hz):
                self._whole[i] = d.band_hz
                bands.setdefault(d.band_hz, []).extend(d.sites)
        ordered = {band: list(dict.fromkeys(sites)) for band, sites in bands.items()}
        self._wide = {b: WidePower(b, tuple(sites), rate_hz) for b, sites in ordered.items()}
        self._columns = {
            (i, band): [ordered[band].index(s) for s in defs[i].sites]
            for of in (self._total, self._whole)
            for i, band in of.items()
        }
        self.settle = max((w.settle for w in self._wide.values()), default=0)

    def restart(self) -> None:
        """Forget the signal."""
        for wide in self._wide.values():
            wide.restart()
        for kept in self._ranges.values():
            kept.restart()
        for _, slow in self._slow.values():
            slow.restart()

    def delay_s(self) -> dict[str, float]:
        """Return the delay of every feature that is measured here."""
        out = {}
        for i, d in enumerate(self._defs):
            if i in self._whole:
                out[d.name] = self._wide[self._whole[i]].delay_s
            elif i in self._ranges or i in self._slow:
                out[d.name] = d.window_s / 2.0
        return out

    def step(self, c: Conditioned) -> BesidePoints:
        """Return the numbers at the grid points of a segment."""
        single: dict[int, Float] = {i: r.step(c) for i, r in self._ranges.items()}
        for i, (sites, slow) in self._slow.items():
            single[i] = self._potential(c, sites, slow)
        powers = {band: w.step(c) for band, w in self._wide.items()}
        wide = {i: powers[band][:, self._columns[i, band]] for i, band in self._total.items()}
        for i, band in self._whole.items():
            power = powers[band][:, self._columns[i, band]]
            if i in wide:
                whole = wide.pop(i)
                power = np.divide(power, whole, out=np.full_like(power, np.nan), where=whole > 0.0)
            single[i] = _mean(power)
        return BesidePoints(single, wide)

    @staticmethod
    def _potential(c: Conditioned, sites: list[int], slow: SlowPotential) -> Float:
        """Return the mean potential over the sites, from the unfiltered signal."""
        # A jump is no potential.
        resets = tuple((row, mask[sites]) for row, mask in c.resets)
        return _mean(slow.step(c.referenced_uv[:, sites], c.grid, resets))


def _mean(columns: Float) -> Float:
    """Return the mean over columns, added in a fixed order."""
    total = columns[:, 0].copy()
    for k in range(1, columns.shape[1]):
        total += columns[:, k]
    return np.asarray(total / columns.shape[1])


class _Range:
    """Largest minus smallest value over a window of whole hops, the largest over the sites."""

    def __init__(self, sites: Sequence[int], points: int) -> None:
        self._sites, self._points = list(sites), points
        self.restart()

    def restart(self) -> None:
        """Forget the signal."""
        self._kept: list[Float] = []
        self._top = np.full(len(self._sites), -np.inf)
        self._low = np.full(len(self._sites), np.inf)

    def step(self, c: Conditioned) -> Float:
        out = np.empty(len(c.grid))
        x = c.uv[:, self._sites]
        at, k = 0, len(self._sites)
        for g, row in enumerate([*c.grid.tolist(), len(x) - 1]):
            part = x[at : row + 1]
            if len(part):
                self._top = np.maximum(self._top, part.max(axis=0))
                self._low = np.minimum(self._low, part.min(axis=0))
            at = row + 1
            if g == len(c.grid):
                break
            self._kept.append(np.concatenate([self._top, self._low]))
            del self._kept[: -self._points]
            stacked = np.array(self._kept)
            reach = stacked[:, :k].max(axis=0) - stacked[:, k:].min(axis=0)
            out[g] = reach.max() if len(self._kept) == self._points else np.nan
            self._top, self._low = np.full(k, -np.inf), np.full(k, np.inf)
        return out
