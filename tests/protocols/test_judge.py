"""The rules over one point: hysteresis, several conditions, no reward, and what moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.baseline import Baseline, Scale, describe
from protocols.judge import Judge
from protocols.model import Level, Reward, Rule

calm = settings(derandomize=True, deadline=None, max_examples=60, database=None)

GRID = 10.0
COLUMNS = {"smr": 0, "faa": 1}
SCALES: dict[str, Scale] = {"smr": "ln", "faa": "linear"}
KNOWN = (True, True)


def rests() -> dict[str, Baseline]:
    """Return rests of median 1 (smr) and 0 (faa) whose MAD is the same on both scales."""
    x = np.linspace(-1.0, 1.0, 201)
    return {"smr": describe("smr", np.exp(x), "ln"), "faa": describe("faa", x, "linear")}


def condition(feature: str, direction: str = "above", **more: Any) -> dict[str, Any]:
    threshold = more.pop("threshold", {"method": "percentile", "success": 0.5})
    return {"feature": feature, "direction": direction, "threshold": threshold, **more}


def judge(
    reward: dict[str, Any] | None = None,
    inhibit: tuple[dict[str, Any], ...] = (),
    level: dict[str, Any] | None = None,
    shift: float = 0.0,
) -> Judge:
    made = None if reward is None else Reward.model_validate({"sustain_s": 0.0, **reward})
    rules = () if made is None else (made, *made.also, *(Rule.model_validate(r) for r in inhibit))
    edges = {"feature": "smr", "start": {"fixed": 0.1}, "end": {"fixed": 10.0}, "smooth_s": 0.0}
    return Judge(
        made, rules, Level.model_validate(level or edges), columns=COLUMNS, scales=SCALES,
        grid_hz=GRID, shift=shift,
    )  # fmt: skip


def learned(*what: Any, **more: Any) -> Judge:
    made = judge(*what, **more)
    made.learn(rests())
    return made


# ---------------------------------------------------------------- hysteresis


@pytest.mark.parametrize("feature", ["smr", "faa"])
@pytest.mark.parametrize("direction", ["above", "below"])
def test_what_holds_goes_on_holding_within_the_hysteresis(feature: str, direction: str) -> None:
    one = learned(condition(feature, direction, hysteresis_mad=0.2))
    mad, sign = rests()[feature].mad, 1.0 if direction == "above" else -1.0
    # In MADs beyond the threshold, which lies at the median.
    way = [-0.1, 0.1, -0.1, -0.19, 0.05, -0.21, -0.1, 0.1]
    held = []
    for k in way:
        x = sign * k * mad
        value = math.exp(x) if feature == "smr" else x
        verdicts, complete = one.verdicts([value, value], KNOWN)
        assert complete
        held += list(verdicts)
    assert held == [False, True, True, True, True, False, False, True]


def test_without_hysteresis_the_threshold_is_the_edge() -> None:
    one = learned(condition("faa"))
    assert [one.verdicts([1.0, x], KNOWN)[0] for x in (0.01, -0.01)] == [(True,), (False,)]


@pytest.mark.parametrize("forget", ["begin", "hold", "skip", "unknown"])
def test_what_was_held_is_forgotten_over_a_pause(forget: str) -> None:
    one = learned(condition("faa", hysteresis_mad=0.2))
    inside = [1.0, -0.1 * rests()["faa"].mad]
    assert one.verdicts([1.0, 0.1], KNOWN)[0] == (True,)
    assert one.verdicts(inside, KNOWN)[0] == (True,)
    if forget == "skip":
        one.skip(3)
    elif forget == "unknown":
        assert one.verdicts([1.0, math.nan], KNOWN) == ((None,), False)
    else:
        getattr(one, forget)()
    assert one.verdicts(inside, KNOWN)[0] == (False,)


@calm
@given(
    st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=60),
    st.sampled_from(["above", "below"]),
    st.floats(0.05, 3.0),
)
def test_hysteresis_only_ever_adds_time(x: list[float], direction: str, mads: float) -> None:
    plain = learned(condition("faa", direction))
    eased = learned(condition("faa", direction, hysteresis_mad=mads))
    before = False
    for value in x:
        (hard,), _ = plain.verdicts([1.0, value], KNOWN)
        (soft,), _ = eased.verdicts([1.0, value], KNOWN)
        assert soft or not hard
        assert hard or before or not soft  # it begins at the threshold itself
        before = bool(soft)


# ---------------------------------------------------------------- several, none


def test_several_conditions_are_judged_each_and_in_order() -> None:
    reward = {**condition("smr"), "also": (condition("faa"),)}
    one = learned(reward, (condition("smr", "below", threshold={"method": "fixed", "value": 3.0}),))
    assert one.thresholds == (pytest.approx(1.0), pytest.approx(0.0), 3.0)
    for values, expected in (
        ([2.0, 0.5], (True, True, True)),
        ([2.0, -0.5], (True, False, True)),
        ([4.0, 0.5], (True, True, False)),
        ([0.5, 0.5], (False, True, True)),
    ):
        assert one.verdicts(values, KNOWN) == (expected, True)
    assert one.verdicts([2.0, 0.5], (True, False)) == ((True, None, True), False)
    assert one.verdicts([-1.0, 0.5], KNOWN) == ((None, True, None), False)
    assert one.names == ("smr", "faa")


def test_without_a_reward_nothing_is_paid_and_the_level_goes_on() -> None:
    one = judge()
    one.learn({})
    assert one.thresholds == ()
    assert one.verdicts([1.0, math.nan], KNOWN) == ((), True)
    assert one.verdicts([math.nan, 1.0], KNOWN) == ((), False)
    assert not one.pay(True)
    assert one.level(0, [1.0, 0.0], KNOWN) == (pytest.approx(0.5), "")
    assert one.counted((), {}) == []
    assert one.end_block() == []
    one.shaped(0.1, {})
    assert one.shift == 0.0
    assert one.fault == ""


def test_thresholds_are_unknown_before_the_rest() -> None:
    one = judge(condition("smr"))
    one.learn({})
    assert math.isnan(one.thresholds[0])
    assert one.verdicts([5.0, 0.0], KNOWN) == ((None,), True)


# ---------------------------------------------------------------- the level


def test_the_level_says_why_there_is_none() -> None:
    one = judge()
    assert one.level(0, [1.0, 0.0], KNOWN) == (None, "unknown")
    one.learn({})
    assert one.level(4, [1.0, 0.0], KNOWN) == (None, "gate")
    assert one.level(0, [1.0, 0.0], (False, True)) == (None, "unknown")
    assert one.level(0, [0.0, 0.0], KNOWN) == (None, "unknown")


# ---------------------------------------------------------------- what moves


def test_a_shift_is_taken_over_and_has_an_end() -> None:
    one = learned(condition("faa", threshold={"method": "percentile", "success": 0.65}))
    begun = one.thresholds[0]
    one.shaped(-0.05, rests())
    assert one.thresholds[0] > begun
    assert one.shift == -0.05
    one.shaped(2.0, rests())
    assert one.shift == pytest.approx(0.30)
    assert one.thresholds[0] == pytest.approx(rests()["faa"].quantile(0.05))
    early = learned(
        condition("faa", threshold={"method": "percentile", "success": 0.65}), shift=9.0
    )
    assert early.shift == pytest.approx(0.30)


def test_an_order_stands_against_everything() -> None:
    moving = {"method": "running", "success": 0.65, "over_s": 60.0}
    one = learned(condition("faa", threshold=moving))
    one.order(0, 0.7)
    for i in range(1000):
        assert one.counted((True,), {"faa": 1.0 + i % 7}) == []
    assert one.end_block() == []
    one.shaped(0.1, rests())
    one.learn(rests())
    assert one.thresholds == (0.7,)
    assert one.ordered(0)
    assert one.method(0) == "operator"


def test_a_moving_threshold_is_told_in_the_features_own_unit() -> None:
    block = {"method": "block", "success": 0.5}
    one = learned(condition("smr", threshold=block), (condition("faa", threshold=block),))
    begun = one.thresholds
    for _ in range(600):
        assert one.counted((True, True), {"smr": 0.7, "faa": math.nan}) == []
    assert one.thresholds == begun
    (i, moved, before), (j, kept, _) = one.end_block()
    assert (i, moved.kind, moved.threshold) == (0, "block", pytest.approx(0.7))
    assert before == begun[0]
    assert one.thresholds[0] == pytest.approx(math.exp(0.7))
    assert (j, kept.kind) == (1, "kept")  # unknown points do not count
    assert one.thresholds[1] == begun[1]
