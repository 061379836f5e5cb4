"""The decision at every grid point: a pure fold over feature frames and orders.

``Decider.step`` counts grid points and never looks at a clock, so the same inputs give the same
decisions live and in replay. A *gate* comes with the frame and silences one grid point; a *hold*
is a state of the session and stops every count until it is over.

A phase ends with its last counted grid point; the next grid point belongs to the next phase. An
order (start, skip, stop) moves at the very grid point at which it takes effect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    Hold,
    Phase,
    PhaseKind,
    RestBlock,
)
from protocols.adapt import Moved
from protocols.advice import Advice
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
from protocols.judge import Judge
from protocols.model import Protocol, Rule
from protocols.rewards import REWARDS, RewardKind
from protocols.sham import Control, Real
from protocols.tally import BEFORE_S, Tally, Watched
from protocols.threshold import needs_baseline
from protocols.trials import Trials
from protocols.watches import CrossoverWatch, SleepGuard

__all__ = ["Decided", "Decider"]

_EXTENSION = 1.2  # a training block waits at most this long for its clean time
_INVALID_SHARE = 0.5
_REPEATS = 2
_READ_AGAIN = 0.5  # of the clean time asked for; filters and windows fill in the rest

_OVER = frozenset(k for k in PhaseKind if k.terminal)  # asked at every grid point
_UNTRUSTED = -1  # gate is open, yet a feature of a rule is unknown


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
    real : Decision or None
        What would have been decided without the control condition; None where there is none.
    """

    decision: Decision
    events: tuple[Event, ...] = ()
    limits: object | None = None
    real: Decision | None = None


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
    rewards : mapping of str to RewardKind
        The registry of reward rules.
    control : Control or None
        What is presented instead; None presents what is real.
    shift : float
        What shaping made the reward easier by in earlier sessions.

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
        rewards: Mapping[str, RewardKind] = REWARDS,
        control: Control | None = None,
        shift: float = 0.0,
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
        watched = dict.fromkeys([*(r.feature for r in self._rules), self._level.feature])
        if protocol.trial is not None:
            watched[protocol.trial.feature] = None
        self._watched = tuple(Watched(n, columns[n], self._scales[n]) for n in watched)
        self._trial = protocol.trial
        self._trials: Trials | None = None
        self._judge = Judge(
            protocol.reward,
            self._rules,
            self._level,
            columns=columns,
            scales=self._scales,
            grid_hz=self._grid_hz,
            rewards=rewards,
            shift=shift,
        )
        self._control = control
        self._shaping = None if protocol.reward is None else protocol.reward.shaping
        self._advice = Advice(self._grid_hz)
        watch = protocol.watch
        self._sleep = None if watch.sleep is None else SleepGuard(watch.sleep, columns, grid_hz)
        self._crossover = (
            None if watch.crossover is None else CrossoverWatch(watch.crossover, columns, grid_hz)
        )

        # what is known of the person
        self._baselines: dict[str, Baseline] = {}
        self._series: dict[str, Float] = {}  # in the order of time, for control conditions
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
        self._asked: tuple[int, str] | None = None  # phase and question that wait for an answer
        self._gone = False  # the person or the operator said go
        self._waits = 0
        self._real_rewards = 0
        self._success: list[tuple[float, int]] = []  # per training block: share, clean points
        self._fault_told = False
        self._now: tuple[FeatureFrame, list[Event]] | None = None

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
        return self._judge.thresholds

    @property
    def shift(self) -> float:
        """What shaping has made the reward easier by; below 0, harder."""
        return self._judge.shift

    @property
    def question(self) -> str:
        """The question that waits for an answer; empty when none does."""
        return "" if self._asked is None else self._asked[1]

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
        events: list[Event] = []
        self._now = (frame, events)
        if missing > 0:  # nobody knows what happened in between
            self._judge.skip(missing)
            self._break_watches()
            self._tally.flush()
            if self._trials is not None:
                self._trials.skip()
            if self._control is not None:
                self._control.skip(missing)

        limits: object | None = None
        if self._failed:
            self._kind, self._next = PhaseKind.FAILED, None
        elif self._next is not None:
            self._enter(self._next, frame, events)
        for item in inputs:
            learned = self._obey(item, frame, events)
            limits = learned if learned is not None else limits

        kind = self._kind
        thresholds = self._judge.thresholds
        gate = int(frame.gate)
        verdicts = self._judge.nothing
        level: float | None = None
        reward = joint = False
        shown: tuple[float | None, str, bool] | None = None
        why, say = "phase", ""
        if self._held:
            why = "hold"
            self._held_n += 1
        elif kind not in _OVER:
            complete = False  # every feature of a rule is known here
            if gate == 0:
                verdicts, complete = self._judge.verdicts(values, trusted)
            else:
                self._judge.gated()
            training = kind is PhaseKind.TRAIN
            if self._trials is not None:
                level, why, joint, reward, say = self._try(values, trusted, gate, frame, events)
            else:
                measured = training or kind is PhaseKind.TRANSFER
                joint = measured and bool(verdicts) and all(verdicts)
                # Only TRAIN pays; the refractory time runs on through the pauses between blocks.
                reward = self._judge.pay(joint and training)
                if training:
                    level, why = self._judge.level(gate, values, trusted)
            if training and self._control is not None:
                real = Real(values, trusted, gate, complete and gate == 0, level, reward, verdicts)
                shown = self._instead(real, why)
            paid = reward if shown is None else shown[2]
            self._real_rewards += reward
            if paid:
                self._pay(frame, values, events)
            if self._phase is not None:
                clean = self._count(frame, gate, values, trusted, verdicts, complete, joint)
                self._advise(frame, gate, clean, verdicts, values, events)
                learned = self._end_if_over(frame, events)
                limits = learned if learned is not None else limits
        if self._judge.fault and not self._fault_told:
            self._fault_told = True
            said = f"The reward rule gives nothing any more: {self._judge.fault}."
            events.append(Event(frame.t, seq, "plugin_fault", {"text": said}))

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
            say=say,
        )
        if self._control is None:
            return Decided(decision, tuple(events), limits)
        presented = decision
        if shown is not None:
            presented = replace(decision, level=shown[0], why=shown[1], reward=shown[2])
        decision = replace(decision, rewards=self._real_rewards)
        return Decided(presented, tuple(events), limits, decision)

    # ------------------------------------------------------------ one grid point

    def _try(
        self,
        values: Sequence[float],
        trusted: Sequence[bool],
        gate: int,
        frame: FeatureFrame,
        events: list[Event],
    ) -> tuple[float | None, str, bool, bool, str]:
        """Take one point of a trial; return level, why there is none, joint, reward and words."""
        assert self._trials is not None
        assert self._trial is not None
        column = self._columns[self._trial.feature]
        value = values[column] if trusted[column] and not gate else math.nan
        point = self._trials.step(value, gate)
        if point.ended is not None:
            data = {"phase": self._index, **point.ended}
            events.append(Event(frame.t, frame.seq, "trial", data))
        training = self._kind is PhaseKind.TRAIN
        level = point.level if training else None
        why = "" if level is not None else "gate" if gate else "phase"
        return level, why, point.joint, point.reward and training, point.say

    def _instead(self, real: Real, why: str) -> tuple[float | None, str, bool]:
        """Return level, why there is none, and reward of the control condition."""
        assert self._control is not None
        level, reward = self._control.step(real)
        # The person's own gates lie over whatever is presented; nothing is paid on them.
        if real.level is None:
            return None, why, reward and real.clean
        if level is None:
            return None, "phase", reward and real.clean
        return level, "", reward and real.clean

    def _pay(self, frame: FeatureFrame, values: Sequence[float], events: list[Event]) -> None:
        self._rewards += 1
        self._phase_rewards += 1
        data: dict[str, Any] = {"n": self._rewards, "phase": self._index}
        if self._control is None and self._rules:  # what is presented need not follow them
            data["feature"] = self._rules[0].feature
            data["value"] = values[self._columns[self._rules[0].feature]]
            data["threshold"] = self._judge.thresholds[0]
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
                self._tally.clean(verdicts, joint, x)
            else:
                self._tally.unclean(gate)
        return clean

    def _end_if_over(self, frame: FeatureFrame, events: list[Event]) -> object | None:
        """End the phase when its time is over; return limits learned from a baseline."""
        if self._counts_clean:
            if self._clean < self._need and self._total < self._most:
                return None
            reason = "complete" if self._clean >= self._need else "out of time"
        elif self._waits:
            if not self._gone and self._total < self._need + self._waits:
                return None
            reason = "go" if self._gone else "nobody said go"
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
        self._judge.learn(self._baselines)
        if self._control is not None:
            self._control.learn(self._baselines, self._series)

    def _accept(self, verdict: Verdict, frame: FeatureFrame, events: list[Event]) -> str:
        """Take a baseline over, or return why not."""
        if not verdict.accepted:
            return self._in_seconds(verdict)
        before = self._baselines, self._series
        self._baselines = {**self._baselines, **verdict.baselines}
        self._series = {**self._series, **verdict.series}
        try:
            self._learn()
        except RunError as error:
            self._baselines, self._series = before
            self._learn()
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
                    "value": _json(self._judge.thresholds[i]),
                    "method": self._judge.method(i),
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
                known_again = {n: self._again(n, values, least_s) for n in rest.learn}
                found = {n: describe(n, x, self._scales[n]) for n, x in known_again.items()}
                self._baselines = {**self._baselines, **found}
                self._series = {**self._series, **self._together(rest.learn, values)}
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

    def _again(self, name: str, values: Float, least_s: float) -> Float:
        """Return a feature's clean values, read again for at least `least_s`."""
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
        return own

    def _together(self, learn: Sequence[str], values: Float) -> dict[str, Float]:
        """Return the values that rules and level look at where all of them are known.

        Row by row of the same moment, so that what is made of them keeps their correlations.
        """
        names = [n for n in learn if n in self._judge.names]
        table = values[:, [self._columns[n] for n in names]]
        good = np.isfinite(table).all(axis=1)
        for k, name in enumerate(names):
            if self._scales[name] == "ln":
                good &= table[:, k] > 0.0
        return {name: table[good, k] for k, name in enumerate(names)}

    def _in_seconds(self, verdict: Verdict) -> str:
        """Return why a baseline was refused; what is missing is said in seconds."""
        if verdict.clean >= verdict.needed:
            return verdict.reason
        clean_s, needed_s = verdict.clean / self._grid_hz, verdict.needed / self._grid_hz
        # One decimal: "23 s, 23 s are needed" would say nothing.
        main = ", ".join(list(verdict.causes)[:2])
        told = f"Only {clean_s:.1f} s of the baseline were clean, {needed_s:.1f} s are needed."
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

    def _new_tally(self) -> Tally:
        return Tally(len(self._watched), points(BEFORE_S, self._grid_hz), self._counted)

    def _counted(self, passed: tuple[bool | None, ...], x: Sequence[float]) -> None:
        """Let thresholds move by one point of a training block that is clean for good."""
        if self._kind is not PhaseKind.TRAIN or self._now is None:
            return
        named = dict(zip((w.name for w in self._watched), x, strict=True))
        self._tell_moves(self._judge.counted(passed, named))

    def _tell_moves(self, moves: Sequence[tuple[int, Moved, float]]) -> None:
        """Tell what happened to thresholds, but not every step of a running one."""
        if self._now is None:
            return
        frame, events = self._now
        kinds = {"block": "threshold_block", "kept": "threshold_kept",
                 "frozen": "threshold_frozen", "drift_guard": "drift_guard"}  # fmt: skip
        for i, moved, before in moves:
            if moved.kind == "moved":
                continue
            data = {
                **self._judge.told(i),
                "old": _json(before),
                "new": _json(self._judge.thresholds[i]),
                "reason": moved.why,
            }
            events.append(Event(frame.t, frame.seq, kinds[moved.kind], data))

    def _enter(self, index: int, frame: FeatureFrame, events: list[Event]) -> None:
        """Begin a phase of the plan; behind its end the session is done."""
        self._next = None
        if index >= len(self._plan):
            self._kind = PhaseKind.DONE
        else:
            phase = self._plan[index]
            self._phase, self._index, self._kind = phase, index, phase.kind
            measured = phase.kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER)
            self._trials = None
            if phase.trials and self._trial is not None:
                self._trials = Trials(self._trial, phase.trials, self._grid_hz)
            self._counts_clean = measured and self._trials is None
            self._need = max(1, points(phase.lasts_s, self._grid_hz))
            if self._trials is not None:
                self._need = self._trials.total
            self._waits = points(phase.waits_s, self._grid_hz)
            self._gone = False
            if phase.kind is PhaseKind.TRAIN and self._control is not None:
                self._control.begin(phase.block)
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
        self._judge.begin()
        self._advice.restart()
        if self._sleep is not None:
            self._sleep.restart()
        if self._crossover is not None:
            self._crossover.restart()
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
        measured = phase.kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER)
        alone: float | None = None
        if measured:
            self._tally.flush()
            alone, joint = self._tally.rates()
            data |= {
                "rewards": self._phase_rewards,
                "rate_alone": alone if self._rules else None,
                "rate_joint": joint if self._rules else None,
                "features": self._courses(),
            }
            if self._trials is not None:
                data["trials"] = self._trials.summary()
            if self._crossover is not None:
                data["crossover"] = self._crossover.summary()
        events.append(Event(frame.t, frame.seq, "phase_end", data))
        through = reason in ("complete", "out of time")  # neither skipped nor stopped
        if phase.kind is PhaseKind.TRAIN and through:
            self._tell_moves(self._judge.end_block())
            self._shape("block", alone, frame, events)
        if measured and phase.ask and through:
            if self._asked is not None:
                open_one = {"phase": self._asked[0], "text": self._asked[1]}
                events.append(Event(frame.t, frame.seq, "unanswered", open_one))
            self._asked = (self._index, phase.ask)
            asked = {"phase": self._index, "block": phase.block, "text": phase.ask}
            events.append(Event(frame.t, frame.seq, "question", asked))
        unclean = self._total - self._clean
        if measured and unclean > _INVALID_SHARE * self._total:
            data = {
                "phase": self._index,
                "name": phase.name,
                "kind": phase.kind.name.lower(),
                "block": phase.block,
                "gated_share": unclean / self._total,
                "gated_s": dict(self.gated_s),
            }
            events.append(Event(frame.t, frame.seq, "block_invalid", data))

    def _shape(
        self, every: str, rate: float | None, frame: FeatureFrame, events: list[Event]
    ) -> None:
        """Make the reward one step harder or easier, as its success asks for; never by stealth."""
        shaping = self._shaping
        if shaping is None or rate is None:
            return
        self._success.append((rate, self._tally.n))
        if shaping.every != every:
            return
        step = -shaping.harder if rate > shaping.over else 0.0
        step = shaping.easier if rate < shaping.under else step
        if not step:
            return
        before, old = self._judge.shift, self._judge.thresholds[0]
        self._judge.shaped(before + step, self._baselines)
        if self._control is not None:
            self._control.shaped(before + step, self._baselines)
        if self._judge.shift == before:  # there is no room left
            return
        data = {
            **self._judge.told(0),
            "success": rate,
            "step": "harder" if step < 0.0 else "easier",
            "shift": self._judge.shift,
            "old": _json(old),
            "new": _json(self._judge.thresholds[0]),
        }
        events.append(Event(frame.t, frame.seq, "shaped", data))

    @property
    def next_shift(self) -> float:
        """What the next session begins with: this one's difficulty, or one shaped by it.

        The clean share of all training blocks at which the reward's first condition held decides.
        """
        shaping = self._shaping
        n = sum(k for _, k in self._success)
        if shaping is None or shaping.every != "session" or not n:
            return self._judge.shift
        rate = sum(r * k for r, k in self._success) / n
        step = -shaping.harder if rate > shaping.over else 0.0
        return self._judge.shift + (shaping.easier if rate < shaping.under else step)

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
        elif kind == "answer":
            self._answer(item, frame, events)
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
        elif kind == "go":
            self._go(item, frame, events)
        elif kind == "skip":
            return self._skip(item, frame, events)
        elif kind == "threshold":
            self._set_threshold(item, frame, events)
        return None

    def _go(self, item: Command, frame: FeatureFrame, events: list[Event]) -> None:
        """Begin a block that waits for the person."""
        if not self._waits or self._held:
            self._refuse(item, "nothing waits for it", frame, events)
            return
        self._gone = True
        events.append(Event(frame.t, frame.seq, "go", {"phase": self._index, "by": item.text}))

    def _answer(self, item: Command, frame: FeatureFrame, events: list[Event]) -> None:
        if self._asked is None:
            self._refuse(item, "nothing was asked", frame, events)
            return
        phase, question = self._asked
        self._asked = None
        data = {"phase": phase, "question": question, "text": item.text}
        events.append(Event(frame.t, frame.seq, "answer", data))

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
            self._judge.hold()
            self._break_watches()
            self._tally.flush()
            if self._trials is not None:
                self._trials.skip()
            if self._control is not None:
                self._control.hold()
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
        if self._control is not None:
            self._refuse(item, "what is presented does not follow the thresholds", frame, events)
            return
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
        old = self._judge.thresholds[i]
        self._judge.order(i, float(item.value))
        data = {
            "rule": i,
            "feature": rule.feature,
            "direction": rule.direction,
            "old": _json(old),
            "new": float(item.value),
            "reason": item.text,
        }
        events.append(Event(frame.t, frame.seq, "threshold_change", data))

    # ------------------------------------------------------------ advice

    def _break_watches(self) -> None:
        """Samples are missing, or the session is held: what must last goes on from nothing."""
        if self._sleep is not None:
            self._sleep.restart()
        if self._crossover is not None:
            self._crossover.interrupt()

    def _advise(
        self,
        frame: FeatureFrame,
        gate: int,
        clean: bool,
        verdicts: tuple[bool | None, ...],
        values: Sequence[float],
        events: list[Event],
    ) -> None:
        """Tell the operator what deserves a look, and wake who falls asleep."""
        measured = self._kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER)
        if not measured and self._collector is None:
            self._advice.wait()
            return
        told = [self._advice.gated(gate)]
        training = clean and self._kind is PhaseKind.TRAIN
        if training and verdicts and verdicts[0] is not None:
            told.append(self._advice.passed(verdicts[0]))
        events += [Event(frame.t, frame.seq, "advice", d) for d in told if d is not None]
        if not (clean and measured):
            return
        if self._crossover is not None:
            self._crossover.step(values)
        if self._sleep is not None and self._sleep.step(values, self._baselines):
            said = "The person may be falling asleep: theta and delta have risen for a minute."
            events.append(Event(frame.t, frame.seq, "drowsy", {"text": said}))

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
        edges = (self._level.start, self._level.end)
        if any(e is None or e.fixed is None for e in edges):
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
