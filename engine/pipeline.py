"""The fold: one ordered list of Inputs in, frames and decisions out.

``Input → FeatureFrame → Decision``, the same object live, in replay and in benchmarks. It knows no
clock, no thread, no file: time is the sample index. Whatever a clock, a person or another process
caused arrives as an Input stamped with the grid point at which it takes effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from engine.bank import Bank, Raw
from engine.beside import Beside, BesidePoints
from engine.condition import Conditioned, Conditioner, ConditionSettings
from engine.estimate import Estimator
from engine.features import BURSTS, COUPLED, FeatureDef, in_order, is_learned
from engine.fit import FitSettings, Fitted, fit
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
    PhaseKind,
    Prepared,
    RestBlock,
    frozen,
)
from engine.gates import GateLimits, GatePoint, Gates, GateSettings
from engine.kept import Kept
from engine.wiring import Wiring, demands_of, estimated_columns, fixed_wiring, longest

__all__ = ["Decide", "Decided", "Fold", "FoldSettings", "Point", "Prepare", "Relearn"]

FIXED_EVERY = 10
"""The fixed estimators are for means over blocks: every tenth grid point is plenty."""
_NO_FIXED: Float = frozen(np.zeros(0))


class Decided(Protocol):
    """What a decider returns for one grid point."""

    @property
    def decision(self) -> Decision: ...
    @property
    def events(self) -> tuple[Event, ...]: ...
    @property
    def limits(self) -> Any: ...
    @property
    def real(self) -> Decision | None: ...


class Decide(Protocol):
    """The last stage: frames and inputs to decisions."""

    def step(self, frame: FeatureFrame, inputs: Sequence[Command | Hold]) -> Decided:
        """Decide one grid point."""
        ...


@dataclass(frozen=True, slots=True)
class FoldSettings:
    """Everything the signal path needs, resolved for one stream and one protocol.

    Parameters
    ----------
    rate_hz, hop
        Of the stream.
    condition, gates, features
        Settings of the stages.
    posterior : tuple of int
        Columns of `Conditioned` from which the individual alpha frequency is read.
    eog : tuple of int
        Columns whose blinks are regressed out; empty when that is not asked.
    course : mapping
        What an earlier session of the course fitted.
    """

    rate_hz: float
    hop: int
    condition: ConditionSettings
    gates: GateSettings
    features: tuple[FeatureDef, ...]
    posterior: tuple[int, ...] = ()
    eog: tuple[int, ...] = ()
    course: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """Everything that was computed at one grid point.

    `decision` is what is presented; `real` what would have been without a control condition, None
    where there is none.
    """

    frame: FeatureFrame
    decision: Decision
    events: tuple[Event, ...]
    real: Decision | None = None


Relearn = Callable[[Float], tuple[GateLimits, Bool]]
Prepare = Callable[[Sequence[RestBlock]], Prepared | None]


class Fold:
    """Fold Inputs into points.

    Parameters
    ----------
    settings : FoldSettings
        The signal path.
    make_decider : callable
        Given ``relearn`` (baseline metrics to gate limits and a mask) and ``prepare`` (accepted
        baseline blocks to what was fitted to them; None when nothing is), returns the decider.
    """

    def __init__(
        self, settings: FoldSettings, make_decider: Callable[[Relearn, Prepare | None], Decide]
    ) -> None:
        self.settings = settings
        self.hop = settings.hop
        self.grid_hz = settings.rate_hz / settings.hop
        self.conditioner = Conditioner(settings.condition)
        self.defs = settings.features
        self.fitted: Fitted | None = None
        self.breathe: Callable[[], None] = lambda: None  # while fitting; see `engine.fit.fit`
        columns = estimated_columns(self.defs, settings.eog)
        demands = demands_of(self.defs, columns)
        self.wiring = fixed_wiring(self.defs, demands, columns, settings.rate_hz)
        self.fixed: Wiring | None = None
        self._n_taps = longest(self.defs, demands, settings.rate_hz)
        self.estimator = Estimator(columns, self._n_taps, self.conditioner.beat)
        self.beside = Beside(self.defs, settings.rate_hz, self.hop)
        self._needs_fit = any(
            d.fit != "fixed" or d.iaf is not None or d.spatial == "ssd" or is_learned(d)
            for d in self.defs
        ) or bool(settings.posterior or settings.eog)
        settle = self.conditioner.settle + max(self.wiring.settle, self.beside.settle)
        memory = self.wiring.memory
        self.gates = Gates(replace(settings.gates, settle=settle, memory=memory))
        self.bank = Bank(self.defs, self.grid_hz)
        self.kept = Kept(self.hop, len(settings.condition.montage.sites))
        self.decider = make_decider(self.gates.relearn, self._prepare if self._needs_fit else None)
        self._pending: list[Command | Hold] = []
        self._seq = 0
        self._blank: list[Raw] = [math.nan] * len(self.defs)
        self._faults_told: set[str] = set()

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
        """Return each feature's estimator delay in seconds (without smoothing).

        The fixed filters' group delay; once fitted, what was measured on the baseline.
        """
        out: dict[str, float] = dict(self.beside.delay_s())
        for demand, source in zip(self.wiring.demands, self.wiring.sources, strict=True):
            name = self.defs[demand.feature].name
            out[name] = max(out.get(name, 0.0), self.wiring.kernels[source.kernel].delay_s)
        if self.fitted is not None:
            out |= self.fitted.delay_s
        for d in self.defs:
            if d.kind in COUPLED:
                out[d.name] = out.get(d.name, 0.0) + d.window_s / 2.0
        for k in in_order(self.defs):
            d = self.defs[k]
            if d.of and all(self.defs[i].name in out for i in d.of):
                window_s = d.window_s if d.kind in BURSTS or d.kind == "share_above" else 0.0
                parts = max(out[self.defs[i].name] for i in d.of)
                out[d.name] = parts + window_s / 2.0 + d.lag_s
        return out

    def settle_s(self) -> float:
        """Return how long after a restart the first trusted value comes."""
        return self.gates.settle / self.settings.rate_hz

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
        self.estimator.restart()
        self.beside.restart()
        self.kept.restart()
        self.gates.gap(self._seq)
        self.bank.gap((self.next_grid - before) // self.hop)

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
        beside = self.beside.step(c)
        grid = c.grid.tolist()
        if not c.resets and not self.kept.on:
            # Nothing begins anew and nothing was kept so far: the samples go in at once.
            self.estimator.push(c.uv)
            out, at, last = [], 0, len(c.uv) - 1
            for g, row in enumerate(grid):
                self.kept.push(c.uv[at : row + 1])
                at = row + 1
                out.append(self._point(c, g, row, last - row, seen, beside))
            self.kept.push(c.uv[at:])
            return out
        resets = list(c.resets)
        out = []
        at = 0
        for g, row in enumerate(grid):
            at = self._take(c, at, row + 1, resets)
            out.append(self._point(c, g, row, 0, seen, beside))
        self._take(c, at, len(c.uv), resets)
        return out

    def _take(self, c: Conditioned, at: int, stop: int, resets: list[tuple[int, Bool]]) -> int:
        """Give rows `at` to `stop` - 1 to the estimator, each site's past cut where it restarts."""
        while resets and resets[0][0] < stop:
            row, sites = resets.pop(0)
            if row > at:
                self.estimator.push(c.uv[at:row])
                self.kept.push(c.uv[at:row])
                at = row
            self.estimator.forget(sites)
            self.kept.begin(sites)
        if stop > at:
            self.estimator.push(c.uv[at:stop])
            self.kept.push(c.uv[at:stop])
        return stop

    def _point(
        self, c: Conditioned, g: int, row: int, ago: int, seen: GatePoint, beside: BesidePoints
    ) -> Point:
        seq = c.seq + row
        gate = self.gates.decide(seq, seen, g)
        raw = self._blank.copy()
        wide = beside.fill(g, raw)
        self.kept.point(seq, raw, wide)
        self.wiring.read(self.estimator.look(self.wiring.products, ago), raw, wide)
        values = self.bank.step(raw, gate == Gate.OPEN)
        frame = FeatureFrame(
            seq,
            float(c.t[row]),
            frozen(values),
            frozen(np.isfinite(values)),
            gate,
            seen.metrics[g],
            self._fixed_uv2(seq, ago),
        )
        due: list[Command | Hold] = []
        if self._pending:
            due = [i for i in self._pending if i.seq <= seq]
            if due:
                self._pending = [i for i in self._pending if i.seq > seq]
        decided = self.decider.step(frame, due)
        if decided.limits is not None:
            self.gates.apply(decided.limits)
        if self._needs_fit:
            d = decided.decision
            self.kept.decide(d.kind is PhaseKind.BASELINE and not d.held, d.phase)
        events = decided.events
        if len(self.bank.faults) > len(self._faults_told):
            events = (*events, *self._new_faults(frame))
        return Point(frame, decided.decision, events, decided.real)

    def _new_faults(self, frame: FeatureFrame) -> tuple[Event, ...]:
        """Return an event for every feature from another package that failed just now."""
        new = [f for f in self.bank.faults if f[0] not in self._faults_told]
        self._faults_told.update(name for name, _ in new)
        return tuple(
            Event(
                frame.t,
                frame.seq,
                "feature_fault",
                {"feature": name, "text": f"{name} is unknown from here on: {reason}."},
            )
            for name, reason in new
        )

    def _fixed_uv2(self, seq: int, ago: int) -> Float:
        if self.fixed is None:
            return _NO_FIXED
        if (seq // self.hop) % FIXED_EVERY:
            return self._no_fixed
        seen = self.estimator.look(self.fixed.products, ago)
        return frozen(self.fixed.powers(seen, len(self.defs)))

    # -------------------------------------------------------------- fitting

    def _prepare(self, blocks: Sequence[RestBlock]) -> Prepared | None:
        """Fit to the accepted baseline; in force from the next grid point on."""
        if not self._needs_fit or not blocks:
            return None
        s = self.settings
        settings = FitSettings(
            s.rate_hz,
            s.hop,
            s.gates.mains_hz,
            s.features,
            self.estimator.columns,
            s.condition.montage.site_names,
            s.posterior,
            s.eog,
            s.course,
        )
        rests = [self.kept.rest(b) for b in blocks]
        fitted = fit(settings, rests, self._n_taps, self.breathe)
        self.kept.clear()
        self.fitted, self.defs = fitted, fitted.defs
        self.wiring, self.fixed = fitted.wiring, fitted.fixed
        self._no_fixed = frozen(np.full(len(self.defs), np.nan))
        self.bank = Bank(self.defs, self.grid_hz, fitted.references, self.bank.faults)
        settle = self.conditioner.settle + max(self.wiring.settle, self.beside.settle)
        self.gates.resettle(settle, self.wiring.memory)
        self.gates.need(self._in_use())
        return fitted.prepared

    def _in_use(self) -> tuple[int, ...]:
        """Return the needed sites without those that a fitted spatial filter gave no weight."""
        columns = self.estimator.columns
        used: set[int] = set()
        for source in self.wiring.sources:
            if source.weights is None:
                used.update(columns[c] for c in source.columns)
            else:
                used.update(columns[c] for c in np.flatnonzero(source.weights.any(axis=0)))
        pool = {c for d in self.defs for c in d.pool} - {s for d in self.defs for s in d.sites}
        return tuple(c for c in self.settings.gates.needed if c in used or c not in pool)
