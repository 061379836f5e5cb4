"""The decision at every grid point: a pure fold over feature frames and orders.

``Decider.step`` counts grid points and never looks at a clock, so the same inputs give the same
decisions live and in replay. A *gate* comes with the frame and silences one grid point; a *hold*
is a state of the session and stops every count until it is over.

A phase ends with its last counted grid point; the next grid point belongs to the next phase. An
order (start, skip, stop) moves at the very grid point at which it takes effect.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from engine.errors import InputError, RunError
from engine.frames import (
    Command,
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gate,
    Hold,
    Phase,
    PhaseKind,
    RestBlock,
)
from protocols.baseline import (
    Baseline,
    Collector,
    Prepare,
    Relearn,
    Scale,
    Verdict,
    causes_of,
    describe,
    known,
    points,
    scaled,
)
from protocols.model import Protocol, Rule
from protocols.reward import LevelMap, Schedule, Smoother, level_map
from protocols.threshold import needs_baseline, passes, resolve

__all__ = ["Decided", "Decider"]

_EXTENSION = 1.2  # a training block waits at most this long for its clean time
_BEFORE_S = 0.1  # what precedes a blink belongs to the blink
_ADVICE_WINDOW_S = 20.0
_ADVICE_SHARE = 0.3
_ADVICE_EVERY_S = 30.0
_INVALID_SHARE = 0.5
_SATURATED_S = 180.0
_REPEATS = 2
_READ_AGAIN = 0.5  # of the clean time asked for; filters and windows fill in the rest

_OVER = frozenset(k for k in PhaseKind if k.terminal)  # asked at every grid point
_BLINK = int(Gate.BLINK)
_SYSTEM = int(Gate.WARMUP | Gate.GAP)  # nobody in the room can do anything about these
_UNTRUSTED = -1  # gate is open, yet a feature of a rule is unknown

_ADVICE = {
    "muscle": "Relax jaw and forehead.",
    "amplitude": "Sit still, relax jaw and forehead.",
    "blink": "Let the eyes rest on one point and blink softly.",
    "saccade": "Let the eyes rest on one point.",
    "motion": "Keep the head still.",
    "step": "Check the cables: the signal jumps.",
    "flat": "Check the electrodes: a channel is flat.",
    "rail": "Check the electrodes: a channel is at the end of its range.",
    "nan": "Check the amplifier: a channel sends no numbers.",
    "marked": "A needed channel is marked bad.",
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What one step gives.

    Parameters
    ----------
    decision : Decision
        Of this grid point.
    events : tuple of Event
        What happened at it, in order.
    limits : object or None
        Gate limits learned here, in force from the next grid point on.
    """

    decision: Decision
    events: tuple[Event, ...] = ()
    limits: object | None = None


@dataclass(frozen=True, slots=True)
class _Watched:
    """A feature whose course the block statistics follow."""

    name: str
    column: int
    scale: Scale


class _Tally:
    """Statistics of one phase. What precedes a blink by 0.1 s is withdrawn before it counts."""

    __slots__ = ("_before", "_delay", "alone", "joint", "n", "n_values", "sums")

    def __init__(self, n_values: int, before: int) -> None:
        self.n = 0
        self.alone = 0
        self.joint = 0
        self.sums = [0.0] * n_values
        self.n_values = [0] * n_values
        self._before = before
        self._delay: deque[tuple[bool, bool, list[float]] | None] = deque()

    def clean(self, alone: bool, joint: bool, x: list[float]) -> None:
        """Take a clean point; `x` on the features' scales, NaN where unknown."""
        self._push((alone, joint, x))

    def unclean(self, gate: int) -> None:
        """Let a gated or unknown point pass."""
        if gate & _BLINK:
            self._delay.clear()
        self._push(None)

    def flush(self) -> None:
        """Count what is still waiting: no blink can follow it closely any more."""
        while self._delay:
            self._count(self._delay.popleft())

    def rates(self) -> tuple[float | None, float | None]:
        """Return the shares of clean points that pass the reward rule alone, and all rules."""
        if not self.n:
            return None, None
        return self.alone / self.n, self.joint / self.n

    def means(self) -> list[float | None]:
        """Return the mean of each watched feature on its scale."""
        return [s / n if n else None for s, n in zip(self.sums, self.n_values, strict=True)]

    def _push(self, item: tuple[bool, bool, list[float]] | None) -> None:
        self._delay.append(item)
        if len(self._delay) > self._before:
            self._count(self._delay.popleft())

    def _count(self, item: tuple[bool, bool, list[float]] | None) -> None:
        if item is None:
            return
        alone, joint, x = item
        self.n += 1
        self.alone += alone
        self.joint += joint
        for i, value in enumerate(x):
            if value == value:  # not NaN
                self.sums[i] += value
                self.n_values[i] += 1


class Decider:
    """Decides every grid point of a session.

    Parameters
    ----------
    protocol : Protocol
        The science: features, rules, feedback.
    plan : sequence of Phase
        The expanded session, in order, each `index` its position.
    grid_hz : float
        Grid points per second.
    hop : int
        Samples between grid points; a larger step of ``seq`` is a signal gap.
    scales : mapping of str to {"ln", "linear"}
        Per feature, where its statistics are made.
    relearn : callable
        ``metrics (n, n_metrics) -> (limits, keep (n,))``: learns the gates' limits at the end of
        a baseline block and re-gates that block once.
    prepare : callable, optional
        Called in PREPARING with the accepted blocks: fits the estimators to them and reads them
        again; from that every resting value is learned. None: what was read live stands.
    late : frozenset of str
        Features that are known only once something is prepared.

    Raises
    ------
    InputError
        If a rule or the level names an unknown feature, or needs a baseline that the plan does
        not hold before the first training block.
    """

    def __init__(
        self,
        protocol: Protocol,
        plan: Sequence[Phase],
        *,
        grid_hz: float,
        hop: int,
        scales: Mapping[str, Scale],
        relearn: Relearn,
        prepare: Prepare | None = None,
        late: frozenset[str] = frozenset(),
    ) -> None:
        self._plan = tuple(plan)
        self._grid_hz = float(grid_hz)
        self._hop = int(hop)
        self._relearn = relearn
        self._late = late
        self._rules: tuple[Rule, ...] = tuple(protocol.rules)
        self._level = protocol.feedback.level
        self._names = tuple(protocol.features)
        self._scales = {name: scales[name] for name in self._names}
        self._check()

        kinds = [p.kind for p in self._plan]
        self._prepare = prepare if PhaseKind.PREPARING in kinds else None
        self._rests: list[RestBlock] = []

        columns = {name: i for i, name in enumerate(self._names)}
        self._columns = columns
        self._rule_columns = tuple(
            (columns[r.feature], self._scales[r.feature], r.direction == "above")
            for r in self._rules
        )
        self._level_column = columns[self._level.feature]
        self._level_scale: Scale = self._scales[self._level.feature]
        watched = dict.fromkeys([*(r.feature for r in self._rules), self._level.feature])
        self._watched = tuple(_Watched(n, columns[n], self._scales[n]) for n in watched)

        self._nothing: tuple[bool | None, ...] = (None,) * len(self._rules)
        reward = protocol.reward
        self._schedule = Schedule(reward.sustain_s, reward.refractory_s, self._grid_hz)
        self._smoother = Smoother(self._level.smooth_s, self._grid_hz)

        # what is known of the person
        self._baselines: dict[str, Baseline] = {}
        self._ordered: dict[int, float] = {}  # thresholds the operator set, by rule
        self._thresholds: tuple[float, ...] = ()
        self._level_map: LevelMap | None = None
        try:
            self._learn()
        except RunError as error:  # fixed edges: wrong before anybody was measured
            raise InputError(error.what, error.fix) from None

        # where the session is
        self._seq = -1
        self._kind = PhaseKind.CHECK
        self._index = -1
        self._phase: Phase | None = None
        self._next: int | None = None  # plan index to enter at the next grid point
        self._failed = False
        self._held: tuple[str, ...] = ()
        self._rewards = 0
        self._repeats: dict[int, int] = {}

        # where the phase is, in grid points
        self._counts_clean = False  # TRAIN and TRANSFER wait for clean time
        self._need = 0
        self._most = 0
        self._total = 0
        self._clean = 0
        self._held_n = 0
        self._phase_rewards = 0
        self._gated: dict[int, int] = {}
        self._tally = self._new_tally()
        self._collector: Collector | None = None

        # advice to the operator
        self._recent: deque[int] = deque()
        self._recent_gated = 0
        self._recent_n = points(_ADVICE_WINDOW_S, self._grid_hz)
        self._since_advice = self._advice_every = points(_ADVICE_EVERY_S, self._grid_hz)
        self._same: bool | None = None
        self._same_n = 0
        self._saturated_n = points(_SATURATED_S, self._grid_hz)

    # ------------------------------------------------------------ views

    @property
    def kind(self) -> PhaseKind:
        """State of the session."""
        return self._kind

    @property
    def phase(self) -> Phase | None:
        """The phase of the last decided grid point; None before start."""
        return self._phase

    @property
    def plan_index(self) -> int:
        """Its index in the plan, -1 before start."""
        return self._index

    @property
    def plan(self) -> tuple[Phase, ...]:
        """The expanded session."""
        return self._plan

    @property
    def held(self) -> tuple[str, ...]:
        """Causes of hold, sorted; empty when nothing holds the session."""
        return self._held

    @property
    def phase_s(self) -> float:
        """Seconds on the phase's own clock: clean ones in TRAIN and TRANSFER, else all."""
        n = self._clean if self._counts_clean else self._total
        return n / self._grid_hz

    @property
    def total_s(self) -> float:
        """Unheld seconds of this phase."""
        return self._total / self._grid_hz

    @property
    def clean_s(self) -> float:
        """Clean seconds of this phase."""
        return self._clean / self._grid_hz

    @property
    def held_s(self) -> float:
        """Held seconds of this phase."""
        return self._held_n / self._grid_hz

    @property
    def gated_s(self) -> Mapping[str, float]:
        """Unclean seconds of this phase by cause; causes overlap."""
        return self._by_cause(self._gated)

    @property
    def rates(self) -> tuple[float | None, float | None]:
        """Shares of clean points in this phase: reward rule alone, all rules together."""
        return self._tally.rates()

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Per rule, reward first; NaN before they exist."""
        return self._thresholds

    @property
    def baselines(self) -> Mapping[str, Baseline]:
        """What was learned of the person so far, by feature."""
        return MappingProxyType(self._baselines)

    @property
    def rewards(self) -> int:
        """Rewards since the session began."""
        return self._rewards

    # ------------------------------------------------------------ the fold step

    def step(self, frame: FeatureFrame, inputs: Sequence[Command | Hold] = ()) -> Decided:
        """Decide one grid point.

        Parameters
        ----------
        frame : FeatureFrame
            The features at this grid point.
        inputs : sequence of Command or Hold
            What takes effect here, in order.

        Returns
        -------
        Decided

        Raises
        ------
        ValueError
            If `frame` is not later than the one before, or has another number of features.
        """
        seq = frame.seq
        if seq <= self._seq:
            raise ValueError(f"grid point {seq} comes after {self._seq}")
        values: list[float] = frame.values.tolist()
        trusted: list[bool] = frame.trusted.tolist()
        if len(values) != len(self._names) or len(trusted) != len(self._names):
            raise ValueError(f"{len(values)} values for {len(self._names)} features")
        missing = (seq - self._seq) // self._hop - 1 if self._seq >= 0 else 0
        self._seq = seq
        if missing > 0:  # nobody knows what happened in between
            self._schedule.reset()
            self._smoother.skip(missing)
            self._tally.flush()

        events: list[Event] = []
        limits: object | None = None
        if self._failed:
            self._kind, self._next = PhaseKind.FAILED, None
        elif self._next is not None:
            self._enter(self._next, frame, events)
        for item in inputs:
            learned = self._obey(item, frame, events)
            limits = learned if learned is not None else limits

        kind = self._kind
        thresholds = self._thresholds
        gate = int(frame.gate)
        verdicts: tuple[bool | None, ...] = self._nothing
        level: float | None = None
        reward = joint = False
        why = "phase"
        if self._held:
            why = "hold"
            self._held_n += 1
        elif kind not in _OVER:
            complete = False  # every feature of a rule is known here
            if gate == 0:
                verdicts, complete = self._judge(values, trusted)
            training = kind is PhaseKind.TRAIN
            joint = (training or kind is PhaseKind.TRANSFER) and all(verdicts)
            # Only TRAIN pays; the refractory time runs on through the pauses between blocks.
            reward = self._schedule.step(joint and training)
            if training:
                level, why = self._show(gate, values, trusted)
            if reward:
                self._pay(frame, values, events)
            if self._phase is not None:
                clean = self._count(frame, gate, values, trusted, verdicts, complete, joint)
                self._advise(frame, gate, clean, verdicts, events)
                learned = self._end_if_over(frame, events)
                limits = learned if learned is not None else limits

        decision = Decision(
            seq=seq,
            t=frame.t,
            phase=self._index,
            kind=kind,
            level=level,
            reward=reward,
            joint=joint,
            passes=verdicts,
            thresholds=thresholds,
            gate=frame.gate,
            held=self._held,
            phase_s=self.phase_s,
            rewards=self._rewards,
            why=why,
        )
        return Decided(decision, tuple(events), limits)

    # ------------------------------------------------------------ one grid point

    def _judge(
        self, values: Sequence[float], trusted: Sequence[bool]
    ) -> tuple[tuple[bool | None, ...], bool]:
        """Return per rule whether it passes (None: unknown), and whether all values are known."""
        verdicts: list[bool | None] = []
        complete = True
        for (column, scale, above), threshold in zip(
            self._rule_columns, self._thresholds, strict=True
        ):
            value = values[column]
            if not (trusted[column] and known(value, scale)):
                complete = False
                verdicts.append(None)
            elif threshold != threshold:  # NaN: there is none yet
                verdicts.append(None)
            else:
                verdicts.append(passes(value, threshold, above))
        return tuple(verdicts), complete

    def _show(
        self, gate: int, values: Sequence[float], trusted: Sequence[bool]
    ) -> tuple[float | None, str]:
        """Return the level for the person, or None and why."""
        column = self._level_column
        if gate:
            self._smoother.skip()
            return None, "gate"
        value = values[column]
        if self._level_map is None or not trusted[column] or not known(value, self._level_scale):
            self._smoother.skip()
            return None, "unknown"
        level = self._smoother.step(self._level_map(value))
        return min(1.0, level), ""  # an average of ones may round a hair above one

    def _pay(self, frame: FeatureFrame, values: Sequence[float], events: list[Event]) -> None:
        self._rewards += 1
        self._phase_rewards += 1
        rule = self._rules[0]
        data = {
            "n": self._rewards,
            "phase": self._index,
            "feature": rule.feature,
            "value": values[self._columns[rule.feature]],
            "threshold": self._thresholds[0],
        }
        events.append(Event(frame.t, frame.seq, "reward", data))

    def _count(
        self,
        frame: FeatureFrame,
        gate: int,
        values: Sequence[float],
        trusted: Sequence[bool],
        verdicts: tuple[bool | None, ...],
        complete: bool,
        joint: bool,
    ) -> bool:
        """Count one unheld grid point of the phase; return whether it is clean."""
        self._total += 1
        collector = self._collector
        clean = complete if collector is None else collector.add(frame, values, trusted)
        if clean:
            self._clean += 1
        else:
            cause = gate or _UNTRUSTED
            self._gated[cause] = self._gated.get(cause, 0) + 1
        if self._counts_clean:
            if clean:
                x = [
                    scaled(values[w.column], w.scale)
                    if trusted[w.column] and known(values[w.column], w.scale)
                    else math.nan
                    for w in self._watched
                ]
                self._tally.clean(verdicts[0] is True, joint, x)
            else:
                self._tally.unclean(gate)
        return clean

    def _end_if_over(self, frame: FeatureFrame, events: list[Event]) -> object | None:
        """End the phase when its time is over; return limits learned from a baseline."""
        if self._counts_clean:
            if self._clean < self._need and self._total < self._most:
                return None
            reason = "complete" if self._clean >= self._need else "out of time"
        elif self._total < self._need:
            return None
        else:
            reason = "complete"
        if self._collector is None:
            self._end(reason, frame, events)
            self._next = self._index + 1
            return None
        verdict = self._collector.judge(self._needs_points(), self._relearn)
        refusal = self._accept(verdict, frame, events)
        if not refusal:
            self._end(reason, frame, events)
            self._next = self._index + 1
            return verdict.limits
        self._refuse_baseline(refusal, verdict, frame, events)
        return None

    # ------------------------------------------------------------ baseline

    def _needs_points(self) -> int:
        return 0 if self._phase is None else points(self._phase.needs_clean_s, self._grid_hz)

    def _learn(self) -> None:
        """Set thresholds and level from what is known; an operator's order stands."""
        self._thresholds = tuple(
            self._ordered.get(i, resolve(rule, self._baselines))
            for i, rule in enumerate(self._rules)
        )
        self._level_map = level_map(self._level, self._level_scale, self._baselines, self._rules[0])

    def _accept(self, verdict: Verdict, frame: FeatureFrame, events: list[Event]) -> str:
        """Take a baseline over, or return why not."""
        if not verdict.accepted:
            return self._in_seconds(verdict)
        before = self._baselines, self._thresholds
        self._baselines = {**self._baselines, **verdict.baselines}
        try:
            self._learn()
        except RunError as error:
            self._baselines, self._thresholds = before
            return f"{error.what} {error.fix}".strip()
        name = self._phase.name if self._phase is not None else ""
        data: dict[str, Any] = {
            "name": name,
            "clean_s": verdict.clean / self._grid_hz,
            "block_s": verdict.total / self._grid_hz,
            "unclean_s": {k: n / self._grid_hz for k, n in verdict.causes.items()},
            # Provisional while the estimators are not fitted yet: told when they are.
            "features": {}
            if self._prepare is not None
            else {k: b.summary() for k, b in verdict.baselines.items()},
        }
        events.append(Event(frame.t, frame.seq, "baseline", data))
        if self._collector is not None and self._phase is not None and verdict.mask is not None:
            phase = self._phase
            self._rests = [r for r in self._rests if r.phase != phase.index]
            self._rests.append(
                self._collector.block(
                    phase.index, phase.name, phase.learn, phase.uses, verdict.mask
                )
            )
        if self._prepare is None:
            self._tell_thresholds(verdict.baselines, frame, events)
        return ""

    def _tell_thresholds(
        self, learned: Mapping[str, Baseline], frame: FeatureFrame, events: list[Event]
    ) -> None:
        for i, rule in enumerate(self._rules):
            if rule.feature in learned:
                data = {
                    "rule": i,
                    "feature": rule.feature,
                    "direction": rule.direction,
                    "value": _json(self._thresholds[i]),
                    "method": "operator" if i in self._ordered else rule.threshold.method,
                    "success": rule.threshold.success,
                }
                events.append(Event(frame.t, frame.seq, "threshold", data))

    def _refit(self, frame: FeatureFrame, events: list[Event]) -> None:
        """Have the estimators fitted, and learn every resting value from what they read."""
        if self._prepare is None or not self._rests:
            return
        prepared = self._prepare(tuple(self._rests))
        if prepared is None:
            return
        events += [Event(frame.t, frame.seq, kind, dict(data)) for kind, data in prepared.events]
        try:
            for rest, values in zip(self._rests, prepared.values, strict=True):
                least_s = _READ_AGAIN * self._plan[rest.phase].needs_clean_s
                found = {n: self._described(n, values, least_s) for n in rest.learn}
                self._baselines = {**self._baselines, **found}
                data: dict[str, Any] = {
                    "name": rest.name,
                    "features": {
                        k: {**b.summary(), "spread": b.spread()} for k, b in found.items()
                    },
                }
                if found:
                    events.append(Event(frame.t, frame.seq, "resting", data))
            self._learn()
        except RunError as error:
            sentence = f"Nothing could be learned from the baseline. {error.what} {error.fix}"
            events.append(Event(frame.t, frame.seq, "failed", {"sentence": sentence.strip()}))
            self._failed = True
            return
        self._tell_thresholds(self._baselines, frame, events)

    def _described(self, name: str, values: Float, least_s: float) -> Baseline:
        """Return what is learned of a feature that was read again for at least `least_s`."""
        scale = self._scales[name]
        own = values[:, self._columns[name]]
        own = own[np.isfinite(own)]
        if scale == "ln":
            own = own[own > 0.0]
        if len(own) < math.ceil(least_s * self._grid_hz):
            raise RunError(
                f"{name}: {len(own)} clean points ({len(own) / self._grid_hz:.1f} s) are known "
                f"after fitting, {least_s:g} s are needed.",
                "Record a longer baseline, or give the feature a shorter window.",
            )
        return describe(name, own, scale)

    def _in_seconds(self, verdict: Verdict) -> str:
        """Return why a baseline was refused; what is missing is said in seconds."""
        if verdict.clean >= verdict.needed:
            return verdict.reason
        clean_s, needed_s = verdict.clean / self._grid_hz, verdict.needed / self._grid_hz
        main = ", ".join(list(verdict.causes)[:2])
        told = f"Only {clean_s:.0f} s of the baseline were clean, {needed_s:.0f} s are needed."
        return f"{told} Mostly: {main}." if main else told

    def _refuse_baseline(
        self, reason: str, verdict: Verdict, frame: FeatureFrame, events: list[Event]
    ) -> None:
        """Repeat the block, twice at most, then fail."""
        attempt = self._repeats.get(self._index, 0) + 1
        self._repeats[self._index] = attempt
        name = self._phase.name if self._phase is not None else ""
        data = {
            "name": name,
            "attempt": attempt,
            "clean_s": verdict.clean / self._grid_hz,
            "needed_s": verdict.needed / self._grid_hz,
            "block_s": verdict.total / self._grid_hz,
            "causes": {k: n / self._grid_hz for k, n in verdict.causes.items()},
            "reason": reason,
        }
        if attempt <= _REPEATS:
            self._end("repeat", frame, events)
            events.append(Event(frame.t, frame.seq, "baseline_repeat", data))
            # The person hears the instruction again before the block begins again.
            lead = self._index > 0 and self._plan[self._index - 1].kind is PhaseKind.READY
            self._next = self._index - 1 if lead else self._index
            return
        self._end("failed", frame, events)
        sentence = f"The baseline {name} failed {attempt} times. {reason}"
        events.append(Event(frame.t, frame.seq, "failed", {**data, "sentence": sentence}))
        self._failed = True

    # ------------------------------------------------------------ phases

    def _new_tally(self) -> _Tally:
        return _Tally(len(self._watched), points(_BEFORE_S, self._grid_hz))

    def _enter(self, index: int, frame: FeatureFrame, events: list[Event]) -> None:
        """Begin a phase of the plan; behind its end the session is done."""
        self._next = None
        if index >= len(self._plan):
            self._kind = PhaseKind.DONE
        else:
            phase = self._plan[index]
            self._phase, self._index, self._kind = phase, index, phase.kind
            self._counts_clean = phase.kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER)
            self._need = max(1, points(phase.lasts_s, self._grid_hz))
            self._most = max(self._need, points(_EXTENSION * phase.lasts_s, self._grid_hz))
            self._collector = None
            # A block from which nothing is learned is only recorded: neither judged nor repeated,
            # and it teaches the gates nothing (closed eyes set no limits for open ones).
            if phase.kind is PhaseKind.BASELINE and (phase.learn or phase.uses):
                learn = [n for n in phase.learn if n not in self._late]
                self._collector = Collector(
                    [(n, self._columns[n], self._scales[n]) for n in learn],
                    teaches=bool(phase.learn),
                )
        self._total = self._clean = self._held_n = self._phase_rewards = 0
        self._gated = {}
        self._tally = self._new_tally()
        self._schedule.reset()
        self._smoother.restart()
        self._recent.clear()
        self._recent_gated = 0
        if self._kind is PhaseKind.DONE:
            events.append(Event(frame.t, frame.seq, "done", {"rewards": self._rewards}))
            return
        data = {
            "phase": index,
            "kind": phase.kind.name.lower(),
            "name": phase.name,
            "block": phase.block,
            "lasts_s": phase.lasts_s,
            "say": phase.say,
            "eyes": phase.eyes,
        }
        events.append(Event(frame.t, frame.seq, "phase_begin", data))
        if phase.kind is PhaseKind.PREPARING:
            self._refit(frame, events)

    def _end(self, reason: str, frame: FeatureFrame, events: list[Event]) -> None:
        """Close the books of the phase."""
        phase = self._phase
        if phase is None:
            return
        data: dict[str, Any] = {
            "phase": self._index,
            "kind": phase.kind.name.lower(),
            "name": phase.name,
            "block": phase.block,
            "reason": reason,
            "total_s": self.total_s,
            "clean_s": self.clean_s,
            "held_s": self.held_s,
            "gated_s": dict(self.gated_s),
        }
        if self._counts_clean:
            self._tally.flush()
            alone, joint = self._tally.rates()
            data |= {
                "rewards": self._phase_rewards,
                "rate_alone": alone,
                "rate_joint": joint,
                "features": self._courses(),
            }
        events.append(Event(frame.t, frame.seq, "phase_end", data))
        unclean = self._total - self._clean
        if self._counts_clean and unclean > _INVALID_SHARE * self._total:
            data = {
                "phase": self._index,
                "name": phase.name,
                "kind": phase.kind.name.lower(),
                "block": phase.block,
                "gated_share": unclean / self._total,
                "gated_s": dict(self.gated_s),
            }
            events.append(Event(frame.t, frame.seq, "block_invalid", data))

    def _courses(self) -> dict[str, dict[str, float | None]]:
        """Return per watched feature its mean in this block and how far that is from rest."""
        courses: dict[str, dict[str, float | None]] = {}
        for watched, mean in zip(self._watched, self._tally.means(), strict=True):
            base = self._baselines.get(watched.name)
            z = None if base is None or mean is None else base.z(mean)
            courses[watched.name] = {"mean": mean, "baseline_z": z}
        return courses

    def _by_cause(self, tally: Mapping[int, int]) -> dict[str, float]:
        seconds: dict[str, int] = {}
        for gate, n in tally.items():
            for cause in ("untrusted",) if gate == _UNTRUSTED else causes_of(gate):
                seconds[cause] = seconds.get(cause, 0) + n
        return {cause: n / self._grid_hz for cause, n in sorted(seconds.items())}

    # ------------------------------------------------------------ orders

    def _obey(
        self, item: Command | Hold, frame: FeatureFrame, events: list[Event]
    ) -> object | None:
        """Carry out one input; return limits when a skip closed a baseline."""
        if isinstance(item, Hold):
            self._hold(item.on, item.cause, item.sentence, frame, events)
            return None
        kind = item.kind
        if kind == "note":
            events.append(Event(frame.t, frame.seq, "note", {"text": item.text}))
        elif kind == "mark_bad":
            bad = {"channel": item.target, "reason": item.text}
            events.append(Event(frame.t, frame.seq, "mark_bad", bad))
        elif kind == "volume":
            events.append(Event(frame.t, frame.seq, "volume", {"gain": _json(item.value)}))
        elif self._kind.terminal:
            self._refuse(item, "the session is over", frame, events)
        elif kind == "start":
            if self._kind is not PhaseKind.CHECK:
                self._refuse(item, "the session has begun", frame, events)
            else:
                events.append(Event(frame.t, frame.seq, "start", {"phases": len(self._plan)}))
                self._enter(0, frame, events)
        elif kind == "pause":
            self._hold(True, "paused", item.text or "Paused by the operator.", frame, events)
        elif kind == "resume":
            if "paused" not in self._held:
                self._refuse(item, "the session is not paused", frame, events)
            self._hold(False, "paused", item.text, frame, events)
        elif kind == "stop":
            self._end("stopped", frame, events)
            self._kind = PhaseKind.STOPPED
            total = {"reason": item.text, "rewards": self._rewards}
            events.append(Event(frame.t, frame.seq, "stop", total))
        elif kind == "skip":
            return self._skip(item, frame, events)
        elif kind == "threshold":
            self._set_threshold(item, frame, events)
        return None

    def _refuse(self, item: Command, why: str, frame: FeatureFrame, events: list[Event]) -> None:
        data = {"command": item.kind, "target": item.target, "sentence": f"Refused: {why}."}
        events.append(Event(frame.t, frame.seq, "refused", data))

    def _hold(
        self, on: bool, cause: str, sentence: str, frame: FeatureFrame, events: list[Event]
    ) -> None:
        if on == (cause in self._held):
            return
        if on:
            self._held = tuple(sorted((*self._held, cause)))
            self._schedule.reset()
            self._smoother.restart()
            self._tally.flush()
        else:
            self._held = tuple(c for c in self._held if c != cause)
        data = {"on": on, "cause": cause, "sentence": sentence}
        events.append(Event(frame.t, frame.seq, "hold", data))

    def _skip(self, item: Command, frame: FeatureFrame, events: list[Event]) -> object | None:
        """Go to the next phase now, unless a baseline would stay unlearned."""
        limits: object | None = None
        if self._phase is None:
            self._refuse(item, "the session has not begun", frame, events)
            return None
        if self._collector is not None:
            verdict = self._collector.judge(self._needs_points(), self._relearn)
            refusal = self._accept(verdict, frame, events)
            if refusal:
                self._refuse(item, f"the baseline is needed ({refusal.rstrip('.')})", frame, events)
                return None
            limits = verdict.limits
        self._end("skipped", frame, events)
        self._enter(self._index + 1, frame, events)
        return limits

    def _set_threshold(self, item: Command, frame: FeatureFrame, events: list[Event]) -> None:
        """Replace a rule's threshold; `target` is its feature, or `feature direction`."""
        matches = [
            i
            for i, rule in enumerate(self._rules)
            if item.target in (rule.feature, f"{rule.feature} {rule.direction}")
        ]
        if len(matches) != 1:
            names = ", ".join(f"{r.feature} {r.direction}" for r in self._rules)
            self._refuse(item, f"{item.target!r} is not one rule of: {names}", frame, events)
            return
        i = matches[0]
        rule = self._rules[i]
        if not known(item.value, self._scales[rule.feature]):
            self._refuse(item, f"{item.value:g} is no value of {rule.feature}", frame, events)
            return
        old = self._thresholds[i]
        self._ordered[i] = float(item.value)
        self._thresholds = tuple(
            self._ordered[i] if j == i else value for j, value in enumerate(self._thresholds)
        )
        data = {
            "rule": i,
            "feature": rule.feature,
            "direction": rule.direction,
            "old": _json(old),
            "new": self._ordered[i],
            "reason": item.text,
        }
        events.append(Event(frame.t, frame.seq, "threshold_change", data))

    # ------------------------------------------------------------ advice

    def _advise(
        self,
        frame: FeatureFrame,
        gate: int,
        clean: bool,
        verdicts: tuple[bool | None, ...],
        events: list[Event],
    ) -> None:
        """Tell the operator when much is gated, or when the reward no longer tells anything."""
        self._since_advice += 1
        if not self._counts_clean and self._collector is None:
            return
        blamed = gate & ~_SYSTEM
        self._recent.append(blamed)
        self._recent_gated += blamed != 0
        if len(self._recent) > self._recent_n:
            self._recent_gated -= self._recent.popleft() != 0
        if (
            len(self._recent) >= self._recent_n
            and self._recent_gated > _ADVICE_SHARE * self._recent_n
            and self._since_advice >= self._advice_every
        ):
            self._since_advice = 0
            tally: dict[str, int] = {}
            for past in self._recent:
                for cause in causes_of(past):
                    tally[cause] = tally.get(cause, 0) + 1
            cause = max(sorted(tally), key=lambda c: tally[c], default="unknown")
            data: dict[str, Any] = {
                "cause": cause,
                "text": _ADVICE.get(cause, "Look at the raw signal."),
                "gated_share": self._recent_gated / self._recent_n,
            }
            events.append(Event(frame.t, frame.seq, "advice", data))
        if clean and self._kind is PhaseKind.TRAIN and verdicts[0] is not None:
            self._same_n = self._same_n + 1 if verdicts[0] is self._same else 1
            self._same = verdicts[0]
            if self._same_n == self._saturated_n:
                self._same_n = 0
                much = "always" if self._same else "never"
                text = f"The reward condition was {much} met for three minutes: look at it."
                data = {"cause": "saturated", "text": text, "passes": self._same}
                events.append(Event(frame.t, frame.seq, "advice", data))

    # ------------------------------------------------------------ construction

    def _check(self) -> None:
        """Refuse a session that could never reward, before the person sits down."""
        for name in (*(r.feature for r in self._rules), self._level.feature):
            if name not in self._scales:
                raise InputError(
                    f"A rule or the level names {name!r}, which is no feature.",
                    f"Use one of: {', '.join(self._names)}.",
                )
        learned: set[str] = set()
        for phase in self._plan:
            if phase.kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER):
                break
            # A block from which nothing is learned is only recorded: neither judged nor repeated,
            # and it teaches the gates nothing (closed eyes set no limits for open ones).
            if phase.kind is PhaseKind.BASELINE and phase.learn:
                learned.update(phase.learn)
        for name in sorted(learned - set(self._names)):
            raise InputError(
                f"A baseline learns {name!r}, which is no feature.",
                f"Use one of: {', '.join(self._names)}.",
            )
        needed = {r.feature for r in self._rules if needs_baseline(r)}
        if self._level.start.fixed is None or self._level.end.fixed is None:
            needed.add(self._level.feature)
        for name in sorted(needed - learned):
            raise InputError(
                f"{name} is compared with a baseline, but none before the first training "
                "block learns it.",
                f"Add {name} to learn: of a baseline block, or give fixed values.",
            )


def _json(value: float) -> float | None:
    """Return a number, or None where there is none: JSON knows no NaN."""
    return value if math.isfinite(value) else None
