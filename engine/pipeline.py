"""The fold: one ordered list of Inputs in, frames and decisions out.

``Input → FeatureFrame → Decision``, the same object live, in replay and in benchmarks. It knows no
clock, no thread, no file: time is the sample index. Whatever a clock, a person or another process
caused arrives as an Input stamped with the grid point at which it takes effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from engine.condition import Conditioned, Conditioner, ConditionSettings
from engine.estimate import BandPower
from engine.features import Bank, FeatureDef
from engine.frames import (
    Bool,
    Chunk,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gap,
    Gate,
    Hold,
    Input,
    frozen,
)
from engine.gates import GateLimits, Gates, GateSettings

__all__ = ["Decide", "Decided", "Fold", "FoldSettings", "Point"]


class Decided(Protocol):
    """What a decider returns for one grid point."""

    @property
    def decision(self) -> Decision: ...
    @property
    def events(self) -> tuple[Event, ...]: ...
    @property
    def limits(self) -> Any: ...


class Decide(Protocol):
    """The last stage: frames and inputs to decisions."""

    def step(self, frame: FeatureFrame, inputs: Sequence[Command | Hold]) -> Decided:
        """Decide one grid point."""
        ...


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """Everything the signal path needs, resolved for one stream and one protocol."""

    rate_hz: float
    hop: int
    condition: ConditionSettings
    gates: GateSettings
    features: tuple[FeatureDef, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """Everything that was computed at one grid point."""

    frame: FeatureFrame
    decision: Decision
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a feature's raw number comes from."""

    band: int
    columns: tuple[int, ...]
    total: int = -1
    total_columns: tuple[int, ...] = ()


class Fold:
    """Fold Inputs into points.

    Parameters
    ----------
    settings : FoldSettings
        The signal path.
    make_decider : callable
        Given ``relearn`` (baseline metrics to gate limits and a mask), returns the decider.
    """

    def __init__(
        self,
        settings: FoldSettings,
        make_decider: Callable[[Callable[[Float], tuple[GateLimits, Bool]]], Decide],
    ) -> None:
        self.settings = settings
        self.hop = settings.hop
        self.grid_hz = settings.rate_hz / settings.hop
        self.conditioner = Conditioner(settings.condition)
        self._bands: list[BandPower] = []
        self._sources: list[_Source | None] = []
        self._ranges: dict[int, tuple[list[int], int, list[Float]]] = {}
        self._resolve()
        settle = self.conditioner.settle + max((b.settle for b in self._bands), default=0)
        self.gates = Gates(replace(settings.gates, settle=settle))
        self.bank = Bank(settings.features, self.grid_hz)
        self.decider = make_decider(self.gates.relearn)
        self._pending: list[Command | Hold] = []
        self._seq = 0
        self._hop_max = np.full(len(settings.condition.montage.sites), -np.inf)
        self._hop_min = np.full(len(settings.condition.montage.sites), np.inf)

    # -------------------------------------------------------------- facts

    @property
    def next_seq(self) -> int:
        """Index of the next sample."""
        return self._seq

    @property
    def next_grid(self) -> int:
        """Sample index of the next grid point not yet decided: the stamp of new Inputs."""
        return -(-self._seq // self.hop) * self.hop

    def delay_s(self) -> Mapping[str, float]:
        """Return each feature's estimator delay in seconds (without smoothing)."""
        out: dict[str, float] = {}
        for d, source in zip(self.settings.features, self._sources, strict=True):
            if source is not None and source.band >= 0:
                out[d.name] = self._bands[source.band].delay_s
            elif d.kind == "peak_to_peak":
                out[d.name] = d.window_s / 2.0
        for d in self.settings.features:
            if d.of:
                names = [self.settings.features[i].name for i in d.of]
                out[d.name] = max(out[n] for n in names)
        return out

    # -------------------------------------------------------------- steps

    def step(self, item: Input) -> list[Point]:
        """Take one Input; return the grid points it completes.

        Raises
        ------
        ValueError
            The Inputs are not in order.
        """
        if isinstance(item, Chunk):
            return self._chunk(item)
        if isinstance(item, Gap):
            self._gap(item)
            return []
        if item.seq < self._seq:
            raise ValueError(
                f"input {item} takes effect at sample {item.seq}, which is decided already"
            )
        self._pending.append(item)
        return []

    def _gap(self, gap: Gap) -> None:
        if gap.seq != self._seq:
            raise ValueError(f"gap at sample {gap.seq}, expected {self._seq}")
        before = self.next_grid
        self._seq += gap.missing
        self.conditioner.restart()
        for band in self._bands:
            band.restart()
        self.gates.gap(self._seq)
        self.bank.gap((self.next_grid - before) // self.hop)
        for _, _, kept in self._ranges.values():
            kept.clear()
        self._hop_max[:] = -np.inf
        self._hop_min[:] = np.inf

    def _chunk(self, chunk: Chunk) -> list[Point]:
        if chunk.seq != self._seq:
            raise ValueError(f"chunk at sample {chunk.seq}, expected {self._seq}")
        points: list[Point] = []
        at, n = 0, len(chunk.uv)
        while at < n:
            end = min(n, at + self._segment(n - at))
            for mark in self._marks_at(self._seq):
                self.conditioner.mark_bad(mark.target)
            c = self.conditioner.step(self._seq, chunk.t[at:end], chunk.uv[at:end])
            self._seq += end - at
            at = end
            points += self._points(c)
        return points

    def _segment(self, left: int) -> int:
        """Return how many samples to take: up to a beat's end or the next marked channel."""
        beat = self.conditioner.beat
        # A beat is ((b - 1) * beat, b * beat]: it ends with a grid point.
        until = (-(-self._seq // beat)) * beat - self._seq + 1
        for item in self._pending:
            if isinstance(item, Command) and item.kind == "mark_bad" and item.seq > self._seq:
                until = min(until, item.seq - self._seq)
        return min(left, until)

    def _marks_at(self, seq: int) -> list[Command]:
        return [
            i
            for i in self._pending
            if isinstance(i, Command) and i.kind == "mark_bad" and i.seq <= seq
        ]

    def _points(self, c: Conditioned) -> list[Point]:
        seen = self.gates.measure(c)
        powers = [band.step(c) for band in self._bands]
        ranges = self._peak_to_peak(c)
        out = []
        for g, row in enumerate(c.grid):
            seq = c.seq + int(row)
            gate = self.gates.decide(seq, seen, g)
            raw = [self._raw(i, g, powers, ranges) for i in range(len(self._sources))]
            values = self.bank.step(raw, gate == Gate.OPEN)
            frame = FeatureFrame(
                seq,
                float(c.t[row]),
                frozen(values),
                frozen(np.isfinite(values)),
                gate,
                seen.metrics[g],
            )
            due = [i for i in self._pending if i.seq <= seq]
            if due:
                self._pending = [i for i in self._pending if i.seq > seq]
            decided = self.decider.step(frame, due)
            if decided.limits is not None:
                self.gates.apply(decided.limits)
            out.append(Point(frame, decided.decision, decided.events))
        return out

    # -------------------------------------------------------------- raw numbers

    def _resolve(self) -> None:
        """Find one filter per band, used by every feature that needs it."""
        wanted: dict[tuple[float, float], list[int]] = {}
        for d in self.settings.features:
            if d.band_hz is not None:
                wanted.setdefault(d.band_hz, []).extend(d.sites)
                if d.kind == "relative_power":
                    wanted.setdefault(d.total_hz, []).extend(d.sites)
        at: dict[tuple[float, float], tuple[int, dict[int, int]]] = {}
        for band_hz, sites in wanted.items():
            ordered = tuple(dict.fromkeys(sites))
            at[band_hz] = (len(self._bands), {s: k for k, s in enumerate(ordered)})
            self._bands.append(BandPower(band_hz, ordered, self.settings.rate_hz))
        for i, d in enumerate(self.settings.features):
            if d.kind == "peak_to_peak":
                points = max(1, round(d.window_s * self.grid_hz))
                self._ranges[i] = (list(d.sites), points, [])
                self._sources.append(_Source(-1, ()))
                continue
            if d.band_hz is None:
                self._sources.append(None)
                continue
            band, where = at[d.band_hz]
            columns = tuple(where[s] for s in d.sites)
            if d.kind == "relative_power":
                total, places = at[d.total_hz]
                self._sources.append(
                    _Source(band, columns, total, tuple(places[s] for s in d.sites))
                )
            else:
                self._sources.append(_Source(band, columns))

    def _raw(self, i: int, g: int, powers: list[Float], ranges: Mapping[int, Float]) -> float:
        source = self._sources[i]
        if source is None:
            return math.nan
        if source.band < 0:
            return float(ranges[i][g])
        power = powers[source.band]
        total = 0.0
        for k, column in enumerate(source.columns):
            value = float(power[g, column])
            if source.total >= 0:
                whole = float(powers[source.total][g, source.total_columns[k]])
                value = value / whole if whole > 0.0 else math.nan
            total += value
        return total / len(source.columns)

    def _peak_to_peak(self, c: Conditioned) -> Mapping[int, Float]:
        """Return the range over each peak-to-peak feature's window at the grid points."""
        if not self._ranges:
            return {}
        out = {i: np.empty(len(c.grid)) for i in self._ranges}
        at = 0
        for g, row in enumerate([*c.grid, len(c.uv) - 1]):
            part = c.uv[at : int(row) + 1]
            if len(part):
                self._hop_max = np.maximum(self._hop_max, part.max(axis=0))
                self._hop_min = np.minimum(self._hop_min, part.min(axis=0))
            at = int(row) + 1
            if g == len(c.grid):
                break
            for i, (sites, points, kept) in self._ranges.items():
                kept.append(np.concatenate([self._hop_max[sites], self._hop_min[sites]]))
                del kept[:-points]
                stacked = np.array(kept)
                k = len(sites)
                reach = stacked[:, :k].max(axis=0) - stacked[:, k:].min(axis=0)
                out[i][g] = reach.max() if len(kept) == points else np.nan
            self._hop_max = np.full_like(self._hop_max, -np.inf)
            self._hop_min = np.full_like(self._hop_min, np.inf)
        return out

    def settle_s(self) -> float:
        """Return how long after a restart the first trusted value comes."""
        return self.gates.settle / self.settings.rate_hz
