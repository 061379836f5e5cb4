"""Which filters a protocol's features need, and which of their outputs each one reads.

A *demand* is one band at some channels for one feature. Before anything is fitted each band has one
fixed kernel, shared by all features; a fit (`engine.fit`) answers the same demands with kernels,
weights and gains of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.aperiodic import flanks
from engine.bank import Raw
from engine.errors import MontageError
from engine.estimate import (
    Readout,
    Source,
    fixed_kernel,
    is_narrow,
    kernel_settle,
    products,
)
from engine.features import COUPLED, FeatureDef
from engine.frames import Float, frozen
from engine.units import IAF_RANGE_HZ
from engine.wiener import Kernel, taps_for

__all__ = [
    "Demand",
    "Wiring",
    "demands_of",
    "estimated_columns",
    "fixed_wiring",
    "longest",
    "plain_source",
]

IAF_STEP_HZ = 0.01  # of the places at which a moving flank is looked at

FORGOTTEN = 1e-3
"""Share of the energy of a large amplitude that may be left when its gate opens."""


@dataclass(frozen=True, slots=True)
class Demand:
    """One narrow band for one feature.

    Parameters
    ----------
    feature : int
        Position among the features.
    band_hz : tuple of float
        Its band, or a band beside it (`beside`).
    columns : tuple of int
        Positions among the estimator's columns.
    beside : bool
        A flank of a periodic power.
    """

    feature: int
    band_hz: tuple[float, float]
    columns: tuple[int, ...]
    beside: bool = False


def estimated_columns(defs: Sequence[FeatureDef], eog: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the columns of `Conditioned` that any band filter looks at, ascending.

    `eog` are columns whose part in the others is taken out.
    """
    used: set[int] = set(eog)
    for d in defs:
        if d.band_hz is None or not is_narrow(d.band_hz):
            continue
        used.update(d.sites, d.pool)
        used.update(int(c) for row in d.weights for c in np.flatnonzero(row))
    return tuple(sorted(used))


def demands_of(defs: Sequence[FeatureDef], columns: Sequence[int]) -> tuple[Demand, ...]:
    """Return what the features need of the estimator, in their order.

    Raises
    ------
    MontageError
        A band is too wide for an analytic signal where one is needed: for two sites, for flanks,
        and around an individual alpha frequency, wherever that lies. Checked protocols hold none.
    """
    place = {c: k for k, c in enumerate(columns)}
    out = []
    for i, d in enumerate(defs):
        if d.band_hz is None:
            continue
        if d.iaf is not None:  # narrow at the lowest place is narrow everywhere
            lo, hi = IAF_RANGE_HZ[0] + d.iaf[0], IAF_RANGE_HZ[0] + d.iaf[1]
            if not is_narrow((lo, hi)):
                raise MontageError(
                    f"{d.name}: with an individual alpha frequency of {IAF_RANGE_HZ[0]:g} Hz the "
                    f"band is {lo:g}-{hi:g} Hz, too wide for one filter wherever it lies",
                    "an upper edge of at most three times the lower one, there too",
                )
        if not is_narrow(d.band_hz):
            if d.kind in COUPLED or d.kind == "periodic_power":
                lo, hi = d.band_hz
                raise MontageError(
                    f"{d.name}: {lo:g}-{hi:g} Hz is too wide for {d.kind}",
                    "an upper edge of at most three times the lower one",
                )
            continue
        at = tuple(place[s] for s in d.sites)
        out.append(Demand(i, d.band_hz, at))
        if d.kind == "periodic_power":
            out += [Demand(i, f, at, beside=True) for f in flanks(d.band_hz)]
    return tuple(out)


def longest(defs: Sequence[FeatureDef], demands: Sequence[Demand], rate_hz: float) -> int:
    """Return the samples that must be kept: the longest kernel that may ever be used."""
    longest = 1
    for demand in demands:
        d = defs[demand.feature]
        bands = [demand.band_hz]
        if d.iaf is not None:  # the band will move, and its flanks with it
            bands += _moved(demand, d)
        for band in bands:
            longest = max(longest, len(fixed_kernel(band, rate_hz).taps))
            if d.fit != "fixed":
                longest = max(longest, round(taps_for(band) * rate_hz))
    return longest


def _moved(demand: Demand, d: FeatureDef) -> list[tuple[float, float]]:
    """Return the bands of a demand, as the alpha frequency moves it, whose kernels are longest.

    A band keeps its width; its flanks do not, and the narrowest one rings longest. Their widths
    change by no more than the frequency does, and jump only towards what is wider: between two
    steps no flank is narrower than the narrowest found by more than a step.
    """
    assert d.iaf is not None
    lo, hi = d.iaf
    if not demand.beside:
        return [(hz + lo, hz + hi) for hz in IAF_RANGE_HZ]
    first, last = IAF_RANGE_HZ
    steps = round((last - first) / IAF_STEP_HZ)
    places = [first + (last - first) * k / steps for k in range(steps + 1)]
    found = [f for hz in places for f in flanks((hz + lo, hz + hi))]
    start, end = min(found, key=lambda f: f[1] - f[0])
    return [(start, end - IAF_STEP_HZ)]


class Wiring:
    """Kernels, and a source for every demand.

    Parameters
    ----------
    defs : sequence of FeatureDef
        The features.
    demands : sequence of Demand
        What they need.
    kernels : sequence of Kernel
        What answers.
    sources : sequence of Source
        In the order of the demands.
    n_columns : int
        Of the estimator.
    """

    def __init__(
        self,
        defs: Sequence[FeatureDef],
        demands: Sequence[Demand],
        kernels: Sequence[Kernel],
        sources: Sequence[Source],
        n_columns: int,
    ) -> None:
        self.demands, self.sources = tuple(demands), tuple(sources)
        self.kernels = tuple(kernels)
        self.products = products(self.kernels, n_columns)
        self._mean: list[int] = []  # feature of every mean power, flanks after their band
        self._pairs: list[tuple[int, Source]] = []
        self._apart: list[tuple[int, Source]] = []
        powers: list[Source] = []
        for demand, source in zip(self.demands, self.sources, strict=True):
            kind = defs[demand.feature].kind
            if kind in COUPLED:
                self._pairs.append((demand.feature, source))
            elif kind == "relative_power":
                self._apart.append((demand.feature, source))
            else:
                powers.append(source)
                self._mean.append(demand.feature)
        self._readout = Readout(powers, n_columns, len(self.kernels))

    @property
    def memory(self) -> int:
        """Samples for which the kernels remember a large amplitude."""
        return max((kernel_settle(k, FORGOTTEN) for k in self.kernels), default=0)

    @property
    def settle(self) -> int:
        """Samples after a restart until every kernel's number can be trusted."""
        return max((kernel_settle(k) for k in self.kernels), default=0)

    def powers(self, seen: Float, n_features: int) -> Float:
        """Return the mean power per feature in µV², NaN for those that have none."""
        out = np.full(n_features, np.nan)
        for feature, power in zip(self._mean[::-1], self._readout.powers(seen)[::-1], strict=True):
            out[feature] = power  # backwards: the band comes before its flanks
        return out

    def read(self, seen: Float, raw: list[Raw], wide: Mapping[int, Float]) -> None:
        """Fill in what features take from the estimator.

        Parameters
        ----------
        seen : ndarray
            From `Estimator.look` with `products`.
        raw : list
            One entry per feature; those of other features stay as they are.
        wide : mapping of int to ndarray, shape (n_sites,)
            Power in the whole spectrum, for every relative power.
        """
        if self._mean:
            flat = self._readout.powers(seen).tolist()
            at, n = 0, len(flat)
            while at < n:
                feature, stop = self._mean[at], at + 1
                while stop < n and self._mean[stop] == feature:
                    stop += 1
                raw[feature] = flat[at] if stop == at + 1 else tuple(flat[at:stop])
                at = stop
        for feature, source in self._apart:
            z = source.band_signal(seen)
            raw[feature] = (*(2.0 * (z.real**2 + z.imag**2)).tolist(), *wide[feature].tolist())
        for feature, source in self._pairs:
            a, b = source.band_signal(seen).tolist()
            raw[feature] = (a, b)


def fixed_wiring(
    defs: Sequence[FeatureDef],
    demands: Sequence[Demand],
    columns: Sequence[int],
    rate_hz: float,
) -> Wiring:
    """Return the fixed kernels, one per band, answering every demand.

    A spatial filter that is fitted is not known yet: its site stands for it.

    Raises
    ------
    MontageError
        The rate is below four times an upper edge.
    """
    kernels: list[Kernel] = []
    at: dict[tuple[float, float], int] = {}
    sources = []
    for demand in demands:
        if demand.band_hz not in at:
            at[demand.band_hz] = len(kernels)
            kernels.append(fixed_kernel(demand.band_hz, rate_hz))
        sources.append(plain_source(at[demand.band_hz], demand, defs[demand.feature], columns))
    return Wiring(defs, demands, kernels, sources, len(columns))


def plain_source(kernel: int, demand: Demand, d: FeatureDef, columns: Sequence[int]) -> Source:
    """Return a source without calibration: the sites, or the weights known beforehand."""
    if d.weights:
        table = np.array(d.weights)[:, list(columns)]
        return Source(kernel, (), (1.0,) * len(table), frozen(np.ascontiguousarray(table)))
    return Source(kernel, demand.columns, (1.0,) * len(demand.columns))
