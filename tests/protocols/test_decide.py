"""The decider: a fold over grid points, orders and holds."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.errors import InputError
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

calm = settings(derandomize=True, deadline=None, max_examples=40, database=None)

GRID = 10.0  # coarse, so that whole sessions are short
HOP = 5
SCALES: Mapping[str, Literal["ln", "linear"]] = {"smr": "ln", "theta": "ln"}
K = PhaseKind

Inputs = Sequence[Command | Hold]


def protocol(
    *,
    threshold: dict[str, Any] | None = None,
    inhibit: dict[str, Any] | None = None,
    start: dict[str, float] | None = None,
    end: dict[str, float] | None = None,
    level: str = "smr",
    direction: str = "above",
    sustain_s: float = 0.3,
    refractory_s: float = 1.0,
    smooth_s: float = 0.0,
) -> Protocol:
    """Return a protocol that rewards smr, by default above 1 µV² with theta below 10 µV²."""
    fixed_low = {"method": "fixed", "value": 10.0}
    return Protocol.model_validate(
        {
            "format": 1,
            "name": "test",
            "title": "Test",
            "evidence": {"grade": "C", "summary": "None."},
            "summary": "A test.",
            "needs": {"channels": ("Cz",), "rate": 128.0},
            "condition": {"reference": ("as recorded",)},
            "features": {
                "smr": {"kind": "power", "at": ("Cz",), "band_hz": (12.0, 15.0)},
                "theta": {"kind": "power", "at": ("Cz",), "band_hz": (4.0, 7.0)},
            },
            "baseline": (),
            "reward": {
                "feature": "smr",
                "direction": direction,
                "threshold": threshold or {"method": "fixed", "value": 1.0},
                "sustain_s": sustain_s,
                "refractory_s": refractory_s,
            },
            "inhibit": (
                {"feature": "theta", "direction": "below", "threshold": inhibit or fixed_low},
            ),
            "feedback": {
                "level": {
                    "feature": level,
                    "start": start or {"fixed": 0.1},
                    "end": end or {"fixed": 10.0},
                    "smooth_s": smooth_s,
                },
                "picture": "orb",
            },
            "session": ({"kind": "train", "lasts_s": 10.0},),
        }
    )


def learned(**more: Any) -> Protocol:
    """Return a protocol whose thresholds and level come from the baseline."""
    return protocol(
        threshold={"method": "percentile", "success": 0.65},
        inhibit={"method": "percentile", "success": 0.85},
        start={"plus_mad": -1.0},
        end={"plus_mad": 2.0},
        **more,
    )


def plan(*phases: tuple[PhaseKind, float]) -> tuple[Phase, ...]:
    out = []
    for i, (kind, lasts_s) in enumerate(phases):
        out.append(
            Phase(
                index=i,
                kind=kind,
                name=f"{kind.name.lower()}_{i}",
                lasts_s=lasts_s,
                needs_clean_s=0.6 * lasts_s if kind is K.BASELINE else 0.0,
                learn=("smr", "theta") if kind is K.BASELINE else (),
            )
        )
    return tuple(out)


TRAINING = plan((K.READY, 1.0), (K.TRAIN, 5.0), (K.REST, 1.0), (K.TRANSFER, 2.0), (K.DONE, 0.0))
WHOLE = plan(
    (K.READY, 1.0),
    (K.BASELINE, 4.0),
    (K.PREPARING, 0.0),
    (K.READY, 1.0),
    (K.TRAIN, 5.0),
    (K.REST, 1.0),
    (K.READY, 1.0),
    (K.TRAIN, 5.0),
    (K.TRANSFER, 2.0),
    (K.POST, 1.0),
    (K.DONE, 0.0),
)


def keep_all(metrics: Float) -> tuple[object, Bool]:
    return "limits", np.ones(len(metrics), dtype=bool)


class Run:
    """A decider and everything it said."""

    def __init__(
        self,
        science: Protocol | None = None,
        phases: Sequence[Phase] = TRAINING,
        relearn: Any = keep_all,
        grid_hz: float = GRID,
    ) -> None:
        self.decider = Decider(
            science or protocol(),
            phases,
            grid_hz=grid_hz,
            hop=HOP,
            scales=SCALES,
            relearn=relearn,
        )
        self.grid_hz = grid_hz
        self.seq = 0
        self.decided: list[Decided] = []

    def step(
        self,
        smr: float = 2.0,
        theta: float = 1.0,
        gate: Gate = Gate.OPEN,
        inputs: Inputs = (),
        trusted: tuple[bool, bool] = (True, True),
    ) -> Decision:
        frame = FeatureFrame(
            seq=self.seq,
            t=self.seq / (HOP * self.grid_hz),
            values=frozen(np.array([smr, theta])),
            trusted=frozen(np.array(trusted) & (gate == 0)),
            gate=gate,
            metrics=frozen(np.array([smr, theta, 0.0])),
        )
        self.decided.append(self.decider.step(frame, inputs))
        self.seq += HOP
        return self.decided[-1].decision

    def run(self, n: int, **what: Any) -> list[Decision]:
        return [self.step(**what) for _ in range(n)]

    def order(self, kind: Any, **what: Any) -> Decision:
        fields = {k: what.pop(k) for k in ("target", "value", "text") if k in what}
        return self.step(inputs=[Command(self.seq, kind, **fields)], **what)

    def hold(self, on: bool, cause: str = "stale", **what: Any) -> Decision:
        return self.step(inputs=[Hold(self.seq, on, cause, "The stream is silent.")], **what)

    def until(self, kind: PhaseKind, seed: int = 0, most: int = 2000) -> Decision:
        """Step with varied clean values until the next grid point belongs to `kind`."""
        rng = np.random.default_rng(seed)
        for _ in range(most):
            d = self.step(*np.exp(0.3 * rng.normal(size=2)).tolist())
            if d.kind is kind:
                return d
        raise AssertionError(f"{kind} never came")

    @property
    def decisions(self) -> list[Decision]:
        return [d.decision for d in self.decided]

    @property
    def events(self) -> list[Event]:
        return [e for d in self.decided for e in d.events]

    def told(self, kind: str) -> list[Event]:
        return [e for e in self.events if e.kind == kind]

    @property
    def limits(self) -> list[tuple[int, object]]:
        return [(d.decision.seq, d.limits) for d in self.decided if d.limits is not None]


def begun(science: Protocol | None = None, phases: Sequence[Phase] = TRAINING) -> Run:
    """Return a run whose last decision is the last of READY: the next one trains."""
    run = Run(science, phases)
    run.order("start")
    run.run(9)
    return run


def kinds(decisions: Iterable[Decision]) -> list[tuple[PhaseKind, int]]:
    return [(k, len(list(g))) for k, g in itertools.groupby(d.kind for d in decisions)]


# ---------------------------------------------------------------- the plan


def test_before_start_the_session_checks_and_decides_nothing() -> None:
    run = Run()
    for d in run.run(5):
        assert (d.kind, d.phase, d.level, d.reward, d.why) == (K.CHECK, -1, None, False, "phase")
    assert run.decider.phase is None
    assert run.events == []


def test_every_phase_lasts_its_grid_points() -> None:
    run = Run()
    run.run(3)
    run.order("start")
    run.run(100)
    assert kinds(run.decisions) == [
        (K.CHECK, 3),
        (K.READY, 10),
        (K.TRAIN, 50),
        (K.REST, 10),
        (K.TRANSFER, 20),
        (K.DONE, 11),
    ]
    assert [d.phase for d in run.decisions[3:13]] == [0] * 10
    assert [e.data["kind"] for e in run.told("phase_begin")] == [
        "ready",
        "train",
        "rest",
        "transfer",
    ]
    assert len(run.told("done")) == 1


def test_events_carry_the_grid_point_they_belong_to() -> None:
    run = begun()
    run.run(51)
    first = next(d for d in run.decisions if d.kind is K.TRAIN)
    last = [d for d in run.decisions if d.kind is K.TRAIN][-1]
    assert run.told("phase_begin")[1].seq == first.seq
    assert run.told("phase_end")[1].seq == last.seq


def test_preparing_is_one_grid_point() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.until(K.DONE)
    assert (K.PREPARING, 1) in kinds(run.decisions)


def test_a_plan_without_a_last_word_is_done_behind_its_end() -> None:
    run = Run(phases=plan((K.TRAIN, 1.0)))
    run.order("start")
    run.run(10)
    assert run.decisions[-1].kind is K.DONE


def test_the_phase_clock_counts_up_to_its_length() -> None:
    run = begun()
    run.run(50)
    assert [d.phase_s for d in run.decisions[:10]] == pytest.approx(
        [(i + 1) / GRID for i in range(10)]
    )
    assert run.decisions[-1].phase_s == pytest.approx(5.0)


def test_training_waits_for_clean_time() -> None:
    run = begun()
    run.run(5, gate=Gate.BLINK)
    run.run(50)
    assert run.step().kind is K.REST
    end = run.told("phase_end")[1]
    assert end.data["reason"] == "complete"
    assert end.data["clean_s"] == pytest.approx(5.0)
    assert end.data["total_s"] == pytest.approx(5.5)
    assert end.data["gated_s"] == {"blink": pytest.approx(0.5)}


def test_training_waits_at_most_a_fifth_longer() -> None:
    run = begun()
    run.run(30, gate=Gate.BLINK)
    run.run(30)
    assert run.step().kind is K.REST
    assert run.told("phase_end")[1].data["reason"] == "out of time"
    assert run.told("block_invalid") == []  # exactly half is not more than half


def test_a_block_that_is_mostly_gated_is_invalid() -> None:
    run = begun()
    run.run(31, gate=Gate.MUSCLE)
    run.run(30)
    (event,) = run.told("block_invalid")
    assert event.data["gated_share"] == pytest.approx(31 / 60)
    assert event.data["gated_s"] == {"muscle": pytest.approx(3.1)}


def test_an_untrusted_rule_feature_is_not_clean_time() -> None:
    run = begun()
    run.run(5, trusted=(True, False))
    assert run.decider.clean_s == 0.0
    assert run.decider.total_s == pytest.approx(0.5)
    assert run.decider.gated_s == {"untrusted": pytest.approx(0.5)}


def test_rest_counts_everything() -> None:
    run = begun()
    run.run(50)
    run.run(10, gate=Gate.MUSCLE)
    assert run.step().kind is K.TRANSFER


# ---------------------------------------------------------------- level and reward


def test_the_level_is_shown_only_while_training() -> None:
    run = begun()
    d = run.step(smr=1.0)
    assert (d.level, d.why) == (pytest.approx(0.5), "")
    run.run(49)
    for d in run.run(30):
        assert (d.level, d.why) == (None, "phase")
    assert {d.kind for d in run.decisions[-30:]} == {K.REST, K.TRANSFER}


def test_transfer_is_counted_but_not_rewarded() -> None:
    run = begun()
    run.run(60)
    before = run.decider.rewards
    transfer = run.run(20)
    assert all(d.kind is K.TRANSFER and d.joint and not d.reward for d in transfer)
    assert run.decider.rewards == before
    run.step()
    (end,) = [e for e in run.told("phase_end") if e.data["kind"] == "transfer"]
    assert end.data["rate_joint"] == 1.0
    assert end.data["rewards"] == 0


def test_reward_follows_sustain_and_refractory() -> None:
    run = begun()
    train = run.run(50)
    assert [i for i, d in enumerate(train) if d.reward] == [2, 15, 28, 41]
    assert [d.rewards for d in train][-1] == 4
    assert [e.data["n"] for e in run.told("reward")] == [1, 2, 3, 4]
    assert run.told("reward")[0].data["threshold"] == 1.0


def test_passes_are_per_rule_and_joint_is_all_of_them() -> None:
    run = begun()
    assert run.step(smr=2.0, theta=1.0).passes == (True, True)
    d = run.step(smr=2.0, theta=11.0)
    assert (d.passes, d.joint) == ((True, False), False)
    d = run.step(smr=0.5, theta=1.0)
    assert (d.passes, d.joint) == ((False, True), False)


@pytest.mark.parametrize(
    ("what", "why", "passes"),
    [
        ({"gate": Gate.BLINK}, "gate", (None, None)),
        ({"trusted": (False, True)}, "unknown", (None, True)),
        ({"smr": math.nan}, "unknown", (None, True)),
        ({"smr": math.inf}, "unknown", (None, True)),
        ({"smr": 0.0}, "unknown", (None, True)),  # a power of nothing has no logarithm
        ({"theta": math.nan}, "", (True, None)),
    ],
)
def test_unknown_is_none_and_resets_the_sustain(
    what: dict[str, Any], why: str, passes: tuple[bool | None, bool | None]
) -> None:
    run = begun()
    run.run(2)
    d = run.step(**what)
    assert (d.why, d.passes, d.joint, d.reward) == (why, passes, False, False)
    assert (d.level is None) == bool(why)
    assert [d.reward for d in run.run(3)] == [False, False, True]


def test_a_signal_gap_resets_the_sustain() -> None:
    run = begun()
    run.run(2)
    run.seq += 4 * HOP
    assert [d.reward for d in run.run(3)] == [False, False, True]


def test_the_sustain_does_not_reach_across_blocks() -> None:
    run = Run(phases=plan((K.TRAIN, 0.2), (K.TRAIN, 0.2), (K.TRAIN, 0.2)))
    run.order("start")
    run.run(6)
    assert run.decider.rewards == 0


def test_smoothing_freezes_in_a_short_gate_and_restarts_after_a_long_one() -> None:
    def after(gated: int, missing: int = 0) -> float:
        run = begun(protocol(smooth_s=0.5))
        run.run(10, smr=0.1)
        run.run(gated, gate=Gate.BLINK)
        run.seq += missing * HOP
        level = run.step(smr=10.0).level
        assert level is not None
        return level

    assert after(0) == after(5) < 0.3
    assert after(6) == pytest.approx(1.0)
    assert after(5, missing=1) == pytest.approx(1.0)


def test_smoothing_restarts_after_a_hold_and_in_a_new_block() -> None:
    run = begun(protocol(smooth_s=5.0))
    run.run(10, smr=0.1)
    run.hold(True)
    assert run.hold(False, smr=10.0).level == pytest.approx(1.0)
    blocks = Run(protocol(smooth_s=5.0), plan((K.TRAIN, 1.0), (K.TRAIN, 1.0)))
    blocks.order("start", smr=0.1)
    blocks.run(9, smr=0.1)
    assert blocks.step(smr=10.0).level == pytest.approx(1.0)


# ---------------------------------------------------------------- rates


def test_rates_of_the_block() -> None:
    run = begun()
    run.run(10, smr=2.0, theta=1.0)
    run.run(10, smr=2.0, theta=20.0)
    run.run(20, smr=0.5, theta=1.0)
    run.run(5, gate=Gate.MUSCLE)
    run.run(10, smr=0.5, theta=1.0)
    end = run.told("phase_end")[1]
    assert end.data["rate_alone"] == pytest.approx(20 / 50)
    assert end.data["rate_joint"] == pytest.approx(10 / 50)


def test_what_precedes_a_blink_is_withdrawn_from_the_statistics_only() -> None:
    run = begun()
    run.run(10, smr=0.5)
    with_it = run.step(smr=2.0)
    run.step(gate=Gate.BLINK)
    run.run(39, smr=0.5)
    end = run.told("phase_end")[1].data
    assert with_it.passes == (True, True)
    assert end["rate_alone"] == 0.0
    assert end["clean_s"] == pytest.approx(5.0)
    assert end["features"]["smr"]["mean"] == pytest.approx(math.log(0.5))


def test_there_are_no_rates_without_clean_points() -> None:
    run = begun()
    run.run(60, gate=Gate.FLAT)
    end = run.told("phase_end")[1].data
    assert (end["rate_alone"], end["rate_joint"]) == (None, None)
    assert end["features"]["smr"] == {"mean": None, "baseline_z": None}


def test_the_block_says_where_the_feature_stood_relative_to_rest() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.until(K.TRAIN)
    base = run.decider.baselines["smr"]
    value = math.exp(base.median + base.mad)
    run.run(60, smr=value)
    data = next(e for e in run.told("phase_end") if e.data["kind"] == "train").data
    assert data["features"]["smr"]["baseline_z"] == pytest.approx(1.0, abs=0.1)


# ---------------------------------------------------------------- baseline


def test_a_baseline_teaches_thresholds_level_and_limits() -> None:
    run = Run(learned(), WHOLE)
    assert all(math.isnan(x) for x in run.decider.thresholds)
    run.order("start")
    run.until(K.PREPARING)
    (event,) = run.told("baseline")
    assert event.data["clean_s"] == pytest.approx(4.0)
    assert event.data["features"]["smr"]["n"] == 40
    base = run.decider.baselines["smr"]
    assert run.decider.thresholds[0] == pytest.approx(float(np.quantile(base.values, 0.35)))
    assert run.decider.thresholds[1] == pytest.approx(
        float(np.quantile(run.decider.baselines["theta"].values, 0.85))
    )
    last = [d for d in run.decisions if d.kind is K.BASELINE][-1]
    assert run.limits == [(last.seq, "limits")]
    assert math.isnan(last.thresholds[0])  # compared before it was learned
    assert [e.data["feature"] for e in run.told("threshold")] == ["smr", "theta"]


def test_the_baseline_takes_every_unheld_point_of_the_block_and_no_other() -> None:
    seen: list[Float] = []

    def relearn(metrics: Float) -> tuple[object, Bool]:
        seen.append(metrics)
        return "limits", np.ones(len(metrics), dtype=bool)

    run = Run(learned(), WHOLE, relearn)
    run.order("start", smr=99.0)
    run.run(9, smr=99.0)
    for i in range(20):
        run.step(smr=1.0 + i, theta=1.0 + i)
    run.hold(True, smr=77.0)
    run.run(7, smr=77.0)
    run.hold(False, smr=21.0, theta=21.0)
    for i in range(21, 40):
        run.step(smr=1.0 + i, theta=1.0 + i)
    (metrics,) = seen
    np.testing.assert_array_equal(metrics[:, 0], np.arange(1.0, 41.0))


def test_f35_a_dirty_baseline_repeats_twice_and_then_fails() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    for _ in range(400):
        if run.step(gate=Gate.MUSCLE).kind is K.FAILED:
            break
    # The instruction comes again before each repeat.
    assert kinds(run.decisions) == [
        (K.READY, 10),
        (K.BASELINE, 40),
        (K.READY, 10),
        (K.BASELINE, 40),
        (K.READY, 10),
        (K.BASELINE, 40),
        (K.FAILED, 1),
    ]
    repeats = run.told("baseline_repeat")
    assert [e.data["attempt"] for e in repeats] == [1, 2]
    assert repeats[0].data["causes"] == {"muscle": pytest.approx(4.0)}
    assert repeats[0].data["needed_s"] == pytest.approx(2.4)
    (failed,) = run.told("failed")
    assert "failed 3 times" in failed.data["sentence"]
    assert run.limits == []
    assert run.decider.rewards == 0


def test_f35_a_feature_that_does_not_vary_is_no_baseline() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.run(50, smr=1.0)
    (repeat,) = run.told("baseline_repeat")
    assert "smr did not vary" in repeat.data["reason"]


def test_a_repeated_baseline_may_succeed() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.run(49, gate=Gate.BLINK)
    run.until(K.DONE)
    assert len(run.told("baseline_repeat")) == 1
    assert len(run.told("baseline")) == 1
    assert run.told("baseline")[0].data["features"]["smr"]["n"] == 40


def test_a_baseline_without_a_lead_in_repeats_itself() -> None:
    run = Run(learned(), plan((K.BASELINE, 4.0), (K.TRAIN, 1.0)))
    run.order("start", gate=Gate.BLINK)
    run.run(39, gate=Gate.BLINK)
    assert run.step().phase == 0
    assert run.decisions[-1].phase_s == pytest.approx(0.1)


@pytest.mark.parametrize("skip", [False, True])
def test_a_block_that_teaches_nothing_is_only_recorded(skip: bool) -> None:
    closed = Phase(0, K.BASELINE, "eyes_closed", 2.0, eyes="closed")
    run = Run(phases=(closed, Phase(1, K.TRAIN, "train", 1.0)))
    run.order("start", gate=Gate.AMPLITUDE)
    if skip:
        assert run.order("skip").kind is K.TRAIN
    else:
        run.run(19, gate=Gate.AMPLITUDE)
        assert run.step().kind is K.TRAIN
    assert run.limits == []
    assert [e.kind for e in run.events] == ["start", "phase_begin", "phase_end", "phase_begin"]


def test_an_unlearned_baseline_cannot_be_skipped() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.run(20)
    assert run.order("skip").kind is K.BASELINE
    (refused,) = run.told("refused")
    assert "the baseline is needed" in refused.data["sentence"]


def test_a_learned_baseline_may_end_early() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.run(9)
    for i in range(30):
        run.step(smr=1.0 + i, theta=1.0 + i)
    d = run.order("skip")
    assert d.kind is K.PREPARING
    assert run.decider.baselines["smr"].n == 30
    assert run.limits == [(d.seq, "limits")]


def test_the_percentile_pays_as_promised_on_the_same_person() -> None:
    run = Run(learned(sustain_s=0.0), plan((K.BASELINE, 60.0), (K.TRAIN, 60.0), (K.DONE, 0.0)))
    values = np.exp(np.random.default_rng(5).normal(size=600)).tolist()
    for i, smr in enumerate(values):
        run.step(smr, 1.0 + i, inputs=[Command(0, "start")] if i == 0 else ())
    for smr in values:
        run.step(smr, 1.0)
    train = next(e for e in run.told("phase_end") if e.data["kind"] == "train")
    assert train.data["rate_alone"] == pytest.approx(0.65, abs=1 / 600)


@pytest.mark.parametrize("what", [{}, {"threshold": {"method": "fixed", "value": 1.0}}])
def test_a_plan_that_never_learns_what_it_needs_is_refused(what: dict[str, Any]) -> None:
    science = learned() if not what else protocol(start={"plus_mad": -1.0}, **what)
    for phases in (TRAINING, plan((K.TRAIN, 5.0), (K.BASELINE, 4.0))):
        with pytest.raises(InputError, match="baseline"):
            Run(science, phases)


def test_unknown_features_are_refused() -> None:
    with pytest.raises(InputError, match="no feature"):
        Run(protocol(level="alpha"))
    odd = Phase(0, K.BASELINE, "eo", 5.0, learn=("alpha",))
    with pytest.raises(InputError, match="no feature"):
        Run(protocol(), (odd,))


def test_fixed_edges_that_make_no_level_are_refused_before_anybody_sits_down() -> None:
    with pytest.raises(InputError, match="no range"):
        Run(protocol(start={"fixed": 2.0}, end={"fixed": 2.0}))


def test_a_level_against_its_reward_refuses_the_baseline() -> None:
    upside_down = protocol(start={"plus_mad": 0.0}, end={"fixed": 0.01})
    run = Run(upside_down, WHOLE)
    run.order("start")
    run.until(K.READY)
    run.until(K.BASELINE)
    run.until(K.FAILED)
    assert "against its reward" in run.told("failed")[0].data["sentence"]
    assert run.decider.baselines == {}


# ---------------------------------------------------------------- holds and orders


def test_a_hold_silences_everything_and_stops_every_clock() -> None:
    run = begun()
    run.run(10)
    run.hold(True)
    held = run.run(200)
    for d in held:
        assert (d.level, d.reward, d.joint, d.why) == (None, False, False, "hold")
        assert d.passes == (None, None)
        assert d.held == ("stale",)
        assert d.phase_s == pytest.approx(1.0)
    run.hold(False)
    run.run(39)
    assert run.step().kind is K.REST
    assert run.told("phase_end")[1].data["held_s"] == pytest.approx(20.1)


def test_every_cause_must_be_over() -> None:
    run = begun()
    run.hold(True, "stale")
    run.hold(True, "window")
    assert run.order("pause").held == ("paused", "stale", "window")
    run.hold(False, "stale")
    assert run.order("resume").held == ("window",)
    assert run.hold(False, "window").held == ()
    assert [(e.data["cause"], e.data["on"]) for e in run.told("hold")] == [
        ("stale", True),
        ("window", True),
        ("paused", True),
        ("stale", False),
        ("paused", False),
        ("window", False),
    ]


def test_a_hold_that_is_already_known_says_nothing() -> None:
    run = begun()
    run.hold(True)
    run.hold(True)
    run.hold(False)
    run.hold(False)
    assert len(run.told("hold")) == 2


def test_a_hold_resets_the_sustain_and_stops_the_refractory_time() -> None:
    run = begun()
    run.run(2)
    run.hold(True)
    run.hold(False)
    assert [d.reward for d in run.run(2)] == [False, True]
    run.hold(True)
    run.run(100)
    run.hold(False)
    assert [d.reward for d in run.run(12)] == [False] * 11 + [True]


def test_what_happens_during_a_hold_is_never_seen() -> None:
    def after(**what: Any) -> list[str]:
        run = begun(protocol(smooth_s=0.5))
        run.run(10)
        run.hold(True)
        run.run(20, **what)
        run.hold(False)
        run.run(80)
        return [repr(d) for d in run.decisions[31:]]

    assert after(smr=1e9) == after(smr=1e-9) == after(theta=math.nan)


@pytest.mark.parametrize("at", [5, 30, 52])  # in READY, in BASELINE, in the second READY
def test_a_hold_in_the_middle_changes_nothing_but_the_clock(at: int) -> None:
    rng = np.random.default_rng(2)
    course = np.exp(0.5 * rng.normal(size=(400, 2))).tolist()

    def decide(held: int) -> list[tuple[Any, ...]]:
        run = Run(learned(smooth_s=0.4), WHOLE)
        run.order("start")
        for i, (smr, theta) in enumerate(course):
            if i == at and held:
                run.hold(True, smr=5.0)
                run.run(held - 1, smr=5.0)
                run.step(smr, theta, inputs=[Hold(0, False, "stale")])
            else:
                run.step(smr, theta)
        return [
            (d.phase, d.kind, d.level, d.reward, d.passes, repr(d.thresholds), d.phase_s, d.rewards)
            for d in run.decisions
            if not d.held
        ]

    plain = decide(0)
    assert plain[-1][1] is K.DONE
    assert plain[-1][-1] > 0
    assert decide(37) == plain


def test_start_is_once() -> None:
    run = begun()
    d = run.order("start")
    assert d.kind is K.TRAIN
    assert len(run.told("refused")) == 1


def test_skip_goes_on_at_once() -> None:
    run = Run()
    run.order("skip")
    assert len(run.told("refused")) == 1
    run.order("start")
    assert run.order("skip").kind is K.TRAIN
    assert run.decisions[-1].phase_s == pytest.approx(0.1)
    assert run.order("skip").kind is K.REST
    assert run.order("skip").kind is K.TRANSFER
    assert run.order("skip").kind is K.DONE
    assert [e.data["reason"] for e in run.told("phase_end")] == ["skipped"] * 4


def test_stop_is_for_ever() -> None:
    run = begun()
    run.run(20)
    rewards = run.decider.rewards
    assert run.order("stop", text="headache").kind is K.STOPPED
    assert run.told("stop")[0].data["reason"] == "headache"
    for kind in ("start", "skip", "pause", "resume", "stop"):
        assert run.order(kind).kind is K.STOPPED
    assert all(d.kind is K.STOPPED and d.level is None for d in run.run(100))
    assert run.decider.rewards == rewards
    assert len(run.told("refused")) == 5


def test_stop_before_start() -> None:
    run = Run()
    assert run.order("stop").kind is K.STOPPED


def test_resume_without_a_pause_is_refused() -> None:
    run = begun()
    run.order("resume")
    assert "not paused" in run.told("refused")[0].data["sentence"]


def test_a_new_threshold_counts_from_this_grid_point() -> None:
    run = begun()
    run.run(5)
    d = run.order("threshold", target="smr", value=3.0, text="too easy")
    assert d.thresholds == (3.0, 10.0)
    assert d.passes == (False, True)
    (event,) = run.told("threshold_change")
    assert dict(event.data) == {
        "rule": 0,
        "feature": "smr",
        "direction": "above",
        "old": 1.0,
        "new": 3.0,
        "reason": "too easy",
    }


def test_the_operators_threshold_survives_the_baseline() -> None:
    run = Run(learned(), WHOLE)
    run.order("start")
    run.order("threshold", target="smr", value=3.0)
    run.until(K.TRAIN)
    assert run.decider.thresholds[0] == 3.0
    assert run.told("threshold")[0].data["method"] == "operator"


@pytest.mark.parametrize(
    ("target", "value"),
    [("alpha", 1.0), ("", 1.0), ("smr", math.nan), ("smr", math.inf), ("smr", 0.0), ("smr", -2.0)],
)
def test_a_threshold_that_makes_no_sense_is_refused(target: str, value: float) -> None:
    run = begun()
    assert run.order("threshold", target=target, value=value).thresholds == (1.0, 10.0)
    assert len(run.told("refused")) == 1


def test_two_rules_on_one_feature_are_told_apart_by_direction() -> None:
    both = protocol()
    band = Protocol.model_validate(
        {
            **both.model_dump(),
            "inhibit": (
                {
                    "feature": "smr",
                    "direction": "below",
                    "threshold": {"method": "fixed", "value": 10.0},
                },
            ),
        }
    )
    run = begun(band)
    run.order("threshold", target="smr", value=5.0)
    assert "smr above, smr below" in run.told("refused")[0].data["sentence"]
    assert run.order("threshold", target="smr below", value=5.0).thresholds == (1.0, 5.0)


def test_notes_marks_and_volume_are_events_even_after_the_end() -> None:
    run = begun()
    for _ in range(2):
        run.order("note", text="yawned")
        run.order("mark_bad", target="Cz", text="loose")
        run.order("volume", value=0.5)
        run.order("stop")
    assert [e.data for e in run.told("note")] == [{"text": "yawned"}] * 2
    assert run.told("mark_bad")[0].data == {"channel": "Cz", "reason": "loose"}
    assert run.told("volume")[0].data == {"gain": 0.5}


def test_several_orders_at_one_grid_point_are_taken_in_order() -> None:
    run = Run()
    d = run.step(
        inputs=[Command(0, "start"), Command(0, "skip"), Command(0, "pause"), Command(0, "resume")]
    )
    assert (d.kind, d.held, d.phase_s) == (K.TRAIN, (), pytest.approx(0.1))


# ---------------------------------------------------------------- advice


def advice(run: Run) -> list[tuple[int, str]]:
    return [(e.seq // HOP, e.data["cause"]) for e in run.told("advice")]


LONG = plan((K.TRAIN, 300.0), (K.DONE, 0.0))


def test_much_gating_is_told_every_half_minute_at_most() -> None:
    run = Run(phases=LONG)
    run.order("start")
    for i in range(1000):
        run.step(gate=Gate.MUSCLE if i % 2 else Gate.OPEN, smr=0.5 + i % 3)
    assert advice(run) == [(199, "muscle"), (499, "muscle"), (799, "muscle")]
    assert run.told("advice")[0].data["text"] == "Relax jaw and forehead."
    assert run.told("advice")[0].data["gated_share"] > 0.3


@pytest.mark.parametrize(
    ("gate", "every", "cause"),
    [
        (Gate.BLINK, 4, None),
        (Gate.BLINK, 3, "blink"),
        (Gate.WARMUP, 1, None),
        (Gate.GAP | Gate.WARMUP, 1, None),
        (Gate.FLAT | Gate.WARMUP, 1, "flat"),
    ],
)
def test_advice_is_about_what_the_room_can_change(
    gate: Gate, every: int, cause: str | None
) -> None:
    run = Run(phases=LONG)
    run.order("start")
    for i in range(250):
        run.step(gate=gate if i % every == 0 else Gate.OPEN, smr=0.5 + i % 3)
    assert [c for _, c in advice(run)] == ([cause] if cause else [])


def test_the_advice_looks_at_this_block_only() -> None:
    run = Run(phases=plan((K.TRAIN, 15.0), (K.TRAIN, 15.0), (K.DONE, 0.0)))
    run.order("start", gate=Gate.MUSCLE)
    run.run(350, gate=Gate.MUSCLE)
    assert run.told("advice") == []


@pytest.mark.parametrize(("smr", "passes"), [(2.0, True), (0.5, False)])
def test_f36_three_saturated_minutes_are_told(smr: float, passes: bool) -> None:
    run = Run(phases=plan((K.TRAIN, 600.0), (K.DONE, 0.0)))
    run.order("start", smr=smr)
    run.run(1798, smr=smr)
    assert run.told("advice") == []
    run.step(smr=smr)
    (event,) = run.told("advice")
    assert (event.data["cause"], event.data["passes"]) == ("saturated", passes)
    run.run(1799, smr=smr)
    assert len(run.told("advice")) == 1
    run.step(smr=smr)
    assert len(run.told("advice")) == 2


# ---------------------------------------------------------------- refused frames


def test_frames_come_in_order_and_whole() -> None:
    run = begun()
    run.seq -= HOP
    with pytest.raises(ValueError, match="comes after"):
        run.step()
    short = FeatureFrame(10_000, 0.0, np.array([1.0]), np.array([True]), Gate.OPEN, np.array([0.0]))
    with pytest.raises(ValueError, match="features"):
        run.decider.step(short)


# ---------------------------------------------------------------- properties

numbers = st.one_of(
    st.floats(0.01, 100.0),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 5e-324, 1e308]),
)
gates = st.sampled_from([Gate.OPEN] * 6 + [Gate.BLINK, Gate.MUSCLE | Gate.AMPLITUDE, Gate.WARMUP])
orders = st.one_of(
    st.builds(
        Command,
        st.just(0),
        st.sampled_from(["start", "pause", "resume", "skip", "note", "threshold", "volume"]),
        st.sampled_from(["smr", "theta", "nothing"]),
        numbers,
    ),
    st.builds(Hold, st.just(0), st.booleans(), st.sampled_from(["stale", "window"])),
)
frames = st.tuples(
    numbers,
    numbers,
    gates,
    st.one_of(st.just(()), st.just(()), st.just(()), st.tuples(orders)),
    st.sampled_from([(True, True)] * 4 + [(True, False), (False, True)]),
    st.sampled_from([0] * 9 + [1, 30]),
)
courses = st.lists(frames, min_size=20, max_size=150)


def replay(course: Sequence[Any]) -> Run:
    run = Run(learned(smooth_s=0.3), WHOLE)
    run.order("start")
    for i in range(60):  # through the baseline, so that there is something to reward
        run.step(1.0 + i % 7, 1.0 + i % 5)
    for smr, theta, gate, inputs, trusted, gap in course:
        run.seq += gap * HOP
        run.step(smr, theta, gate, inputs, trusted)
    return run


def check(d: Decision) -> None:
    if d.reward or d.level is not None:
        assert d.kind is K.TRAIN
        assert not d.held
        assert d.gate == 0
    if d.reward:
        assert d.joint
        assert d.passes == (True, True)
    if d.joint:
        assert all(d.passes)
        assert d.kind in (K.TRAIN, K.TRANSFER)
    if d.level is not None:
        assert 0.0 <= d.level <= 1.0
    assert (d.level is None) == bool(d.why)
    assert not any(math.isinf(x) for x in d.thresholds)


@calm
@given(courses)
def test_never_a_reward_on_data_that_are_no_numbers(course: Sequence[Any]) -> None:
    run = replay(course)
    for decided in run.decided:
        check(decided.decision)
    for (smr, theta, gate, _, trusted, _), d in zip(course, run.decisions[61:], strict=True):
        if gate or not all(trusted) or not (0 < smr < math.inf and 0 < theta < math.inf):
            assert not d.reward
            assert not d.joint


@calm
@given(courses)
def test_never_two_rewards_within_the_refractory_time(course: Sequence[Any]) -> None:
    run = replay(course)
    when = [i for i, d in enumerate(run.decisions) if d.reward]
    assert all(b - a >= 10 + 3 for a, b in itertools.pairwise(when))
    assert run.decider.rewards == len(when) == len(run.told("reward"))


@calm
@given(courses)
def test_the_same_inputs_give_the_same_decisions(course: Sequence[Any]) -> None:
    one, two = replay(course), replay(course)
    assert repr(one.decided) == repr(two.decided)


@calm
@given(courses, st.integers(0, 150))
def test_the_future_changes_nothing_before_it(course: Sequence[Any], n: int) -> None:
    whole, cut = replay(course), replay(course[:n])
    assert repr(whole.decided[: len(cut.decided)]) == repr(cut.decided)


@calm
@given(courses)
def test_events_can_be_written_as_json(course: Sequence[Any]) -> None:
    for event in replay(course).events:
        json.dumps(dict(event.data), allow_nan=False)


@calm
@given(
    st.lists(st.tuples(st.floats(0.01, 100.0), st.floats(0.01, 100.0)), min_size=1, max_size=50),
    st.floats(1.0, 50.0),
)
def test_more_of_the_feature_never_passes_less(
    course: list[tuple[float, float]], gain: float
) -> None:
    plain, more = begun(), begun()
    for smr, theta in course:
        a, b = plain.step(smr, theta), more.step(smr * gain, theta)
        assert bool(b.passes[0]) >= bool(a.passes[0])
        assert b.joint >= a.joint
        assert a.level is not None
        assert b.level is not None
        assert b.level >= a.level
    assert (more.decider.rates[0] or 0) >= (plain.decider.rates[0] or 0)


@calm
@given(st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), min_size=1, max_size=30))
def test_a_number_that_is_none_leaves_no_trace(bad: list[float]) -> None:
    run, clean = begun(protocol(smooth_s=30.0)), begun(protocol(smooth_s=30.0))
    for one in (run, clean):
        one.run(5, smr=1.0)
    run.run(len(bad), smr=bad[0], theta=bad[-1])
    clean.run(len(bad), gate=Gate.MUSCLE)
    assert [d.level for d in run.run(5)] == [d.level for d in clean.run(5)]
    assert run.decider.rates == clean.decider.rates


class Orders(RuleBasedStateMachine):
    """Orders, holds and signals in any sequence."""

    @initialize()
    def begin(self) -> None:
        self.run_ = Run(learned(), WHOLE)
        self.ended: PhaseKind | None = None
        self.i = 0

    def note(self, before: int) -> None:
        for decided in self.run_.decided[before:]:
            d = decided.decision
            check(d)
            if self.ended is not None:
                assert d.kind is self.ended
                assert d.rewards == self.rewards
            elif d.kind.terminal:
                self.ended, self.rewards = d.kind, d.rewards

    @rule(
        kind=st.sampled_from(
            ["start", "start", "pause", "resume", "skip", "note", "mark_bad", "volume"]
        )
    )
    def order(self, kind: str) -> None:
        before = len(self.run_.decided)
        self.run_.order(kind)
        self.note(before)

    @rule(value=numbers, feature=st.sampled_from(["smr", "theta", "x"]))
    def threshold(self, value: float, feature: str) -> None:
        before = len(self.run_.decided)
        self.run_.order("threshold", target=feature, value=value)
        self.note(before)

    @rule(really=st.integers(0, 9))
    def stop(self, really: int) -> None:
        if really == 0:
            before = len(self.run_.decided)
            assert self.run_.order("stop").kind.terminal
            self.note(before)

    @rule(on=st.booleans(), cause=st.sampled_from(["stale", "window", "disk"]))
    def hold(self, on: bool, cause: str) -> None:
        before = len(self.run_.decided)
        d = self.run_.hold(on, cause)
        assert (cause in d.held) == on
        self.note(before)

    @rule(n=st.integers(1, 60), gate=gates)
    def signal(self, n: int, gate: Gate) -> None:
        before = len(self.run_.decided)
        for _ in range(n):
            self.i += 1
            self.run_.step(1.0 + self.i % 7, 1.0 + self.i % 5, gate)
        self.note(before)

    @invariant()
    def clocks_agree(self) -> None:
        if not hasattr(self, "run_"):
            return
        d = self.run_.decider
        assert 0.0 <= d.clean_s <= d.total_s
        if d.phase is not None and not d.kind.terminal:
            most = max(d.phase.lasts_s, 1 / GRID)
            assert d.phase_s <= most + 1e-9
            assert d.total_s <= 1.2 * most + 1e-9
            assert d.phase.index == d.plan_index
            assert d.phase.kind is d.kind
        for rate in d.rates:
            assert rate is None or 0.0 <= rate <= 1.0


TestOrders = Orders.TestCase
TestOrders.settings = settings(
    derandomize=True, deadline=None, max_examples=40, stateful_step_count=30, database=None
)
