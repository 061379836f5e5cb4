"""Sessions in which something moves: thresholds, difficulty, trials, questions, waiting blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.frames import (
    Bool,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gate,
    Hold,
    Phase,
    PhaseKind,
    frozen,
)
from protocols.decide import Decided, Decider
from protocols.model import Protocol

calm = settings(derandomize=True, deadline=None, max_examples=25, database=None)

GRID = 10.0
HOP = 5
K = PhaseKind
SCALES: Mapping[str, Literal["ln", "linear"]] = {"smr": "ln", "faa": "linear"}
REST_S, BLOCK_S = 60.0, 90.0
Point = tuple[float, float, Gate]


def protocol(
    reward: dict[str, Any] | None = None, inhibit: dict[str, Any] | None = None, **more: Any
) -> Protocol:
    percentile = {"method": "percentile", "success": 0.65}
    return Protocol.model_validate(
        {
            "format": 2,
            "name": "test",
            "title": "Test",
            "evidence": {"grade": "C", "summary": "None."},
            "summary": "A test.",
            "needs": {"channels": ("Cz",), "rate": 128.0},
            "condition": {"reference": ("as recorded",)},
            "features": {
                "smr": {"kind": "power", "at": ("Cz",), "band_hz": (12.0, 15.0)},
                "faa": {"kind": "slow_voltage", "at": ("Cz",)},
            },
            "baseline": (),
            "reward": {
                "feature": "smr",
                "direction": "above",
                "sustain_s": 0.3,
                "refractory_s": 1.0,
                **(reward or {"threshold": percentile}),
            },
            "inhibit": (
                {"feature": "faa", "direction": "below", "threshold": inhibit or percentile},
            ),
            "feedback": {
                "level": {"feature": "smr", "range": "dynamic", "smooth_s": 0.3},
                "picture": "orb",
            },
            "session": ({"kind": "train", "lasts_s": 10.0},),
            **more,
        }
    )


def threshold(method: str, success: float = 0.65, **more: Any) -> dict[str, Any]:
    extra = {"step_mad": 0.05} if method == "staircase" else {}
    return {"method": method, "success": success, **extra, **more}


def plan(*phases: tuple[PhaseKind, float], **more: Any) -> tuple[Phase, ...]:
    """Return phases; `more` are for every training block."""
    out: list[Phase] = []
    for i, (kind, lasts_s) in enumerate(phases):
        learn = ("smr", "faa") if kind is K.BASELINE else ()
        block = sum(p.kind is kind for p in out) + 1
        given = more if kind is K.TRAIN else {}
        clean_s = 0.5 * lasts_s if learn else 0.0
        out.append(
            Phase(i, kind, f"{kind.name.lower()}_{block}", lasts_s, needs_clean_s=clean_s,
                  learn=learn, block=block, **given)
        )  # fmt: skip
    return tuple(out)


SESSION = plan(
    (K.BASELINE, REST_S), (K.TRAIN, BLOCK_S), (K.REST, 5.0), (K.TRAIN, BLOCK_S), (K.TRANSFER, 20.0),
    (K.TRAIN, BLOCK_S), (K.DONE, 0.0),
)  # fmt: skip


def keep_all(metrics: Float) -> tuple[object, Bool]:
    return "limits", np.ones(len(metrics), dtype=bool)


class Run:
    """A decider and everything it said."""

    def __init__(
        self, science: Protocol, phases: Sequence[Phase] = SESSION, shift: float = 0.0
    ) -> None:
        self.decider = Decider(
            science, phases, grid_hz=GRID, hop=HOP, scales=SCALES, relearn=keep_all, shift=shift
        )
        self.seq = 0
        self.decided: list[Decided] = []
        self.rng = np.random.default_rng(7)

    def step(
        self, smr: float, faa: float, gate: Gate = Gate.OPEN, *inputs: Command | Hold
    ) -> Decision:
        frame = FeatureFrame(
            seq=self.seq,
            t=self.seq / (HOP * GRID),
            values=frozen(np.array([smr, faa])),
            trusted=frozen(np.array([gate == 0, gate == 0])),
            gate=gate,
            metrics=frozen(np.array([smr, faa, 0.0])),
        )
        self.decided.append(self.decider.step(frame, inputs))
        self.seq += HOP
        return self.decided[-1].decision

    def order(self, kind: Any, **fields: Any) -> Decision:
        return self.step(*self.noise(), Gate.OPEN, Command(self.seq, kind, **fields))

    def noise(self, better: float = 0.0) -> tuple[float, float]:
        """Return a point of noise; `better` moves both features the way that is trained."""
        a, b = (0.5 * self.rng.normal(size=2)).tolist()
        return math.exp(a + better), b - better

    def run(self, seconds: float, better: float = 0.0) -> None:
        for _ in range(round(seconds * GRID)):
            self.step(*self.noise(better))

    def until(self, kind: PhaseKind, better: float = 0.0) -> None:
        """Step until the next grid point belongs to a phase of another kind or block."""
        while not (self.decider.phase_s == 0.0 and self.decisions[-1].kind is kind):
            before = self.decider.plan_index
            self.step(*self.noise(better))
            if self.decider.plan_index != before and self.decisions[-1].kind is kind:
                return

    @property
    def decisions(self) -> list[Decision]:
        return [d.decision for d in self.decided]

    @property
    def events(self) -> list[Event]:
        return [e for d in self.decided for e in d.events]

    def told(self, kind: str) -> list[Event]:
        return [e for e in self.events if e.kind == kind]

    def first(self, kind: PhaseKind, block: int = 1) -> Decision:
        """Return the first decision of a block."""
        (begin,) = [
            e for e in self.told("phase_begin")
            if (e.data["kind"], e.data["block"]) == (kind.name.lower(), block)
        ]  # fmt: skip
        return next(d for d in self.decisions if d.seq == begin.seq)


def whole(science: Protocol, better: float = 0.0, phases: Sequence[Phase] = SESSION) -> Run:
    """Return a whole session with a person who gets `better` once training begins."""
    run = Run(science, phases)
    run.order("start")
    run.run(REST_S - 1.0 / GRID)
    run.run(3.5 * BLOCK_S, better)
    assert run.decider.kind is K.DONE
    return run


# ---------------------------------------------------------------- questions and answers


def test_a_question_follows_its_block_and_is_answered_once() -> None:
    phases = plan(
        (K.BASELINE, REST_S), (K.TRAIN, 5.0), (K.REST, 5.0), (K.DONE, 0.0), ask="How?"
    )  # fmt: skip
    run = Run(protocol(), phases)
    run.order("answer", text="too early")
    run.order("start")
    run.run(REST_S + 4.0)
    assert run.decider.question == ""
    run.run(2.0)
    (asked,) = run.told("question")
    assert asked.data == {"phase": 1, "block": 1, "text": "How?"}
    assert asked.seq == run.first(K.REST).seq - HOP  # at the last point of the block
    assert run.decider.question == "How?"
    run.order("answer", text="I counted sheep.")
    (answer,) = run.told("answer")
    assert answer.data == {"phase": 1, "question": "How?", "text": "I counted sheep."}
    assert run.decider.question == ""
    run.order("answer", text="again")
    refused = [e.data["sentence"] for e in run.told("refused")]
    assert refused == ["Refused: nothing was asked."] * 2


def test_a_question_may_be_answered_when_the_session_is_over() -> None:
    run = Run(protocol(), plan((K.BASELINE, REST_S), (K.TRAIN, 5.0), (K.DONE, 0.0), ask="How?"))
    run.order("start")
    run.run(REST_S + 10.0)
    assert run.decider.kind is K.DONE
    run.order("answer", text="By itself.")
    assert [e.data["text"] for e in run.told("answer")] == ["By itself."]


def test_a_block_that_was_skipped_or_stopped_asks_nothing() -> None:
    for kind in ("skip", "stop"):
        run = Run(protocol(), plan((K.BASELINE, REST_S), (K.TRAIN, 5.0), (K.DONE, 0.0), ask="How?"))
        run.order("start")
        run.run(REST_S + 1.0)
        run.order(kind)
        run.run(1.0)
        assert run.told("question") == []


# ---------------------------------------------------------------- blocks that wait

WAITS = (
    *plan((K.BASELINE, REST_S))[:1],
    Phase(1, K.READY, "ready", 2.0, waits_s=10.0, block=1),
    Phase(2, K.TRAIN, "train", 5.0, block=1),
    Phase(3, K.DONE, "done", 0.0, block=1),
)


def waiting() -> Run:
    run = Run(protocol(), WAITS)
    run.order("start")
    run.run(REST_S - 1.0 / GRID)
    return run


def test_go_begins_the_block_at_the_next_grid_point() -> None:
    run = waiting()
    run.run(0.5)
    d = run.order("go", text="client")
    assert d.kind is K.READY
    assert run.step(*run.noise()).kind is K.TRAIN
    (go,) = run.told("go")
    assert go.data == {"phase": 1, "by": "client"}
    (end,) = [e for e in run.told("phase_end") if e.data["kind"] == "ready"]
    assert end.data["reason"] == "go"


def test_without_go_the_block_begins_after_a_while() -> None:
    run = waiting()
    run.run(12.0)
    assert run.decider.kind is K.READY
    assert run.step(*run.noise()).kind is K.TRAIN
    (end,) = [e for e in run.told("phase_end") if e.data["kind"] == "ready"]
    assert end.data["reason"] == "nobody said go"


def test_go_where_nothing_waits_is_refused() -> None:
    run = waiting()
    run.step(*run.noise(), Gate.OPEN, Hold(run.seq, True, "paused", "A break."))
    run.order("go")
    run.run(20.0)  # a hold stops the waiting too
    assert run.decider.kind is K.READY
    run.order("resume")
    run.order("go")
    run.run(1.0)
    run.order("go")
    refused = [e.data["sentence"] for e in run.told("refused")]
    assert refused == ["Refused: nothing waits for it."] * 2
    assert run.decider.kind is K.TRAIN


# ---------------------------------------------------------------- shaping

SHAPE = {"every": "block", "over": 0.8, "harder": 0.05, "under": 0.5, "easier": 0.1}


def shaped(every: str = "block", value: float | None = None) -> Protocol:
    given = {"method": "fixed", "value": value} if value else threshold("percentile")
    return protocol({"threshold": given, "shaping": {**SHAPE, "every": every}})


@pytest.mark.parametrize(
    ("better", "steps"), [(2.0, ["harder"] * 3), (-2.0, ["easier"] * 3), (0.05, [])]
)
def test_the_difficulty_follows_success_between_blocks(better: float, steps: list[str]) -> None:
    run = whole(shaped(), better)
    told = run.told("shaped")
    assert [e.data["step"] for e in told] == steps
    size = {"harder": -0.05, "easier": 0.1}
    shift = 0.0
    for event in told:
        shift += size[event.data["step"]]
        assert event.data["shift"] == pytest.approx(min(shift, 0.3))
        assert (event.data["rule"], event.data["feature"]) == (0, "smr")
        harder = event.data["new"] > event.data["old"]
        assert harder is (event.data["step"] == "harder")
    # Within a block nothing moves; what is told is in force from the next point on.
    for phase in {d.phase for d in run.decisions if d.kind is K.TRAIN}:
        assert len({d.thresholds for d in run.decisions if d.phase == phase}) == 1
    for block in (2, 3):
        if told:
            assert run.first(K.TRAIN, block).thresholds[0] == told[block - 2].data["new"]
    # The other rules stay.
    assert len({d.thresholds[1] for d in run.decisions if d.kind is K.TRAIN}) == 1


def test_a_fixed_threshold_moves_by_its_share() -> None:
    run = whole(shaped(value=1.0), 2.0)
    assert [e.data["new"] for e in run.told("shaped")] == pytest.approx([1.05, 1.10, 1.15])


@pytest.mark.parametrize(
    ("better", "expected"), [(2.0, -0.05), (-2.0, 0.1), (0.05, 0.0)]
)  # fmt: skip
def test_the_next_session_begins_where_this_one_leaves_off(better: float, expected: float) -> None:
    run = whole(shaped("session"), better)
    assert run.told("shaped") == []
    assert run.decider.next_shift == pytest.approx(expected)
    again = Run(shaped("session"), shift=0.1)
    assert again.decider.shift == 0.1
    assert whole(shaped(), better).decider.next_shift == whole(shaped(), better).decider.shift


def test_a_difficulty_at_its_end_is_not_told_again() -> None:
    science = protocol({"threshold": threshold("percentile", 0.95), "shaping": SHAPE})
    run = whole(science, -4.0)  # never succeeds, and cannot be made easier
    assert run.told("shaped") == []
    assert run.decider.shift == 0.0


def test_the_operators_threshold_is_not_shaped() -> None:
    run = Run(shaped())
    run.order("start")
    run.run(REST_S + 5.0)
    run.order("threshold", target="smr", value=1.3)
    run.run(BLOCK_S + 20.0, 2.0)
    assert run.decider.thresholds[0] == 1.3


# ---------------------------------------------------------------- thresholds that move


@pytest.mark.parametrize("method", ["running", "staircase", "block"])
def test_every_move_is_in_the_decisions(method: str) -> None:
    run = whole(protocol({"threshold": threshold(method)}), 0.4)
    trained = [d for d in run.decisions if d.kind is K.TRAIN]
    moves = [
        (a, b) for a, b in zip(run.decisions, run.decisions[1:], strict=False)
        if a.thresholds != b.thresholds and a.kind is not K.BASELINE
    ]  # fmt: skip
    assert len(moves) >= (2 if method == "block" else 100)
    for a, b in moves:
        if method == "block":
            assert a.phase != b.phase  # between blocks
            assert a.kind is K.TRAIN
        else:
            assert a.kind is K.TRAIN
    if method != "block":
        times = [b.seq for _, b in moves if b.kind is K.TRAIN]
        assert min(np.diff(times)) >= GRID * HOP * 0.99  # at most once a second
    # Elsewhere they stand.
    for kind in (K.REST, K.TRANSFER):
        assert len({d.thresholds for d in run.decisions if d.kind is kind}) == 1
    assert trained[0].thresholds == run.first(K.TRAIN).thresholds
    told = run.told("threshold_block")
    assert len(told) == (3 if method == "block" else 0)
    for event, block in zip(told, (2, 3), strict=False):
        assert event.data["new"] == run.first(K.TRAIN, block).thresholds[0]


def test_a_short_block_leaves_its_threshold_and_says_so() -> None:
    phases = plan((K.BASELINE, REST_S), (K.TRAIN, 30.0), (K.TRAIN, 90.0), (K.DONE, 0.0))
    run = Run(protocol({"threshold": threshold("block")}), phases)
    run.order("start")
    run.run(REST_S + 125.0, 0.2)
    kept, moved = run.told("threshold_kept"), run.told("threshold_block")
    assert [e.data["old"] == e.data["new"] for e in kept] == [True]
    assert "60 s" in kept[0].data["reason"]
    assert len(moved) == 1


@pytest.mark.parametrize("method", ["running", "staircase", "block"])
@pytest.mark.parametrize("which", ["reward", "inhibit"])
def test_the_drift_guard_is_told_once_and_holds(method: str, which: str) -> None:
    given = threshold(method, drift_guard=0.15)
    science = protocol({"threshold": given}) if which == "reward" else protocol(None, given)
    run = whole(science, -2.0)
    (event,) = run.told("drift_guard")
    i = 0 if which == "reward" else 1
    assert event.data["rule"] == i
    assert event.data["reason"]
    after = {d.thresholds[i] for d in run.decisions if d.seq > event.seq}
    assert after == {event.data["new"]}
    begun = run.first(K.TRAIN).thresholds[i]
    if which == "reward":
        assert event.data["new"] == pytest.approx(0.85 * begun)


def test_a_frozen_threshold_is_told() -> None:
    given = threshold("running", over_s=60.0, freeze_after_s=30.0)
    run = whole(protocol(None, given), 0.3)
    (event,) = run.told("threshold_frozen")
    assert event.data["feature"] == "faa"
    first = run.first(K.TRAIN)
    assert event.seq - first.seq == pytest.approx(30.0 * GRID * HOP, abs=2 * HOP)
    assert first.thresholds[1] != event.data["new"]
    assert {d.thresholds[1] for d in run.decisions if d.seq > event.seq} == {event.data["new"]}


@pytest.mark.parametrize("method", ["running", "staircase", "block"])
def test_an_order_ends_the_moving(method: str) -> None:
    run = Run(protocol({"threshold": threshold(method)}))
    run.order("start")
    run.run(REST_S + 70.0, 0.2)
    run.order("threshold", target="smr", value=1.7)
    at = run.seq
    run.run(3.5 * BLOCK_S - 70.0, 0.2)
    assert {d.thresholds[0] for d in run.decisions if d.seq >= at} == {1.7}
    assert not run.told("threshold_block")
    assert not run.told("drift_guard")


GATES = st.sampled_from([Gate.MUSCLE, Gate.BLINK, Gate.AMPLITUDE])


@calm
@given(
    st.sampled_from(["running", "staircase", "block"]),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 40), GATES), max_size=8),
    st.integers(0, 99),
)
def test_no_gated_sample_moves_a_threshold(
    method: str, gated: list[tuple[int, int, Gate]], seed: int
) -> None:
    given = threshold(method)
    phases = plan((K.BASELINE, REST_S), (K.TRAIN, 90.0), (K.TRAIN, 90.0), (K.DONE, 0.0))
    runs = [Run(protocol({"threshold": given}, given), phases) for _ in range(2)]
    for run in runs:
        run.order("start")
        run.run(REST_S - 1.0 / GRID)
    rng, odd = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    at = {i: gate for first, n, gate in gated for i in range(first, first + n)}
    for i in range(1000):
        smr, faa = math.exp(0.5 * rng.normal() + 0.2), float(0.5 * rng.normal() - 0.2)
        gate = at.get(i, Gate.OPEN)
        runs[0].step(smr, faa, gate)
        wild = (math.exp(5.0 * odd.normal()), 50.0 * float(odd.normal())) if gate else (smr, faa)
        runs[1].step(*wild, gate)
    a, b = ([d.thresholds for d in run.decisions] for run in runs)
    assert a == b


# ---------------------------------------------------------------- trials in a session


def _trial() -> dict[str, Any]:
    zero = {"method": "fixed", "value": 0.0, "unit": "uV"}
    return {
        "feature": "faa",
        "baseline_s": 1.0,
        "task_s": 2.0,
        "judge_s": 1.0,
        "reward_s": 0.5,
        "pause_s": 0.5,
        "tasks": (
            {"name": "down", "direction": "below", "threshold": zero, "say": "Activate."},
            {"name": "up", "direction": "above", "threshold": zero, "say": "Relax."},
        ),
    }


def trials() -> Run:
    science = protocol(trial=_trial()).model_copy(update={"reward": None, "inhibit": ()})
    level = science.feedback.level.model_copy(update={"feature": "faa"})
    feedback = science.feedback.model_copy(update={"level": level})
    phases = (
        *plan((K.BASELINE, REST_S)),
        Phase(1, K.TRAIN, "train", 16.0, block=1, trials=(0, 1, 1, 0)),
        Phase(2, K.TRANSFER, "transfer", 8.0, block=1, trials=(1, 0)),
        Phase(3, K.DONE, "done", 0.0, block=1),
    )
    return Run(science.model_copy(update={"feedback": feedback}), phases)


def test_a_session_of_trials_pays_with_feedback_only() -> None:
    run = trials()
    run.order("start")
    run.run(REST_S - 1.0 / GRID)
    for i in range(240):
        run.step(1.0, 0.0 if i % 40 < 10 else -9.0)
    run.run(0.2)
    assert run.decider.kind is K.DONE
    ended = [(e.data["task"], e.data["passed"]) for e in run.told("trial")]
    assert ended == [
        ("down", True), ("up", False), ("up", False), ("down", True), ("up", False), ("down", True),
    ]  # fmt: skip
    train = [d for d in run.decisions if d.kind is K.TRAIN]
    transfer = [d for d in run.decisions if d.kind is K.TRANSFER]
    assert (len(train), len(transfer)) == (160, 80)
    assert sum(d.reward for d in train) == run.decider.rewards == 2
    assert not any(d.reward for d in transfer)
    assert all(d.level is None for d in transfer)
    assert sum(d.level is not None for d in train) == 4 * 20
    assert {d.say for d in transfer} == {"Activate.", "Relax.", ""}
    (summary, _) = [e.data["trials"] for e in run.told("phase_end") if "trials" in e.data]
    assert summary["down"] == {"n": 2, "rejected": 0, "passed": 2, "mean_uv": -9.0}


# ---------------------------------------------------------------- replay

ORDERS = st.sampled_from(["pause", "resume", "skip", "note", "answer", "go", "threshold"])
COURSE = st.lists(
    st.tuples(
        st.integers(1, 250),  # points
        st.floats(-1.5, 1.5),  # better
        st.sampled_from([Gate.OPEN, Gate.OPEN, Gate.BLINK, Gate.MUSCLE]),
        st.none() | ORDERS,
        st.integers(1, 3),  # 2 and 3: samples are missing
    ),
    min_size=1,
    max_size=12,
)
SCIENCES = [
    protocol({"threshold": threshold("running")}, threshold("staircase")),
    protocol({"threshold": threshold("block")}, threshold("running", freeze_after_s=30.0)),
    protocol({"threshold": threshold("staircase"), "hysteresis_mad": 0.2}),
    shaped(),
    protocol(
        watch={
            "sleep": {"theta": "smr", "delta": "smr"},
            "crossover": {"theta": "smr", "alpha": "faa"},
        }
    ),
]


@calm
@given(st.sampled_from(SCIENCES), COURSE, st.integers(0, 9))
def test_the_same_frames_and_orders_give_the_same_session(
    science: Protocol, course: list[Any], seed: int
) -> None:
    def once() -> Run:
        run = Run(science)
        run.rng = np.random.default_rng(seed)
        run.order("start")
        run.run(REST_S)
        for n, better, gate, kind, hops in course:
            run.seq += (hops - 1) * HOP
            if kind is not None:
                run.order(kind, target="smr", value=1.2, text="x")
            for _ in range(n):
                run.step(*run.noise(better), gate)
        return run

    first, again = once(), once()
    assert first.decisions == again.decisions
    assert first.events == again.events
    for a, b in zip(first.decisions, first.decisions[1:], strict=False):
        held = bool(b.held) and bool(a.held)
        if held and not any(e.kind == "threshold_change" and e.seq == b.seq for e in first.events):
            assert a.thresholds == b.thresholds or b.seq - a.seq > HOP
