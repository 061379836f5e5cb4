"""Thresholds that move: where they settle, how fast they go, and what stops them."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.adapt import (
    LINEAR_MADS,
    PER_S,
    Adaptation,
    BlockPercentile,
    Moved,
    RunningPercentile,
    Staircase,
    adaptation,
    drift_limit,
)
from protocols.baseline import Baseline, describe, scaled
from protocols.model import Rule
from protocols.threshold import passes

calm = settings(derandomize=True, deadline=None, max_examples=60, database=None)

GRID = 10.0
Scale = Literal["ln", "linear"]
SCALES: tuple[Scale, ...] = ("ln", "linear")


def rule(direction: str = "above", **threshold: Any) -> Rule:
    return Rule.model_validate(
        {"feature": "smr", "direction": direction, "threshold": {"success": 0.65, **threshold}}
    )


def rest(scale: Scale, seed: int = 0, n: int = 4000) -> Baseline:
    """Return a rest of median 1 (ln) or 0 (linear) and SD 0.5 on the scale."""
    x = 0.5 * np.random.default_rng(seed).normal(size=n)
    return describe("smr", np.exp(x) if scale == "ln" else x, scale)


def made(direction: str, scale: Scale, **threshold: Any) -> Adaptation:
    return Adaptation(rule(direction, **threshold), scale, rest(scale), GRID)


def train(one: Adaptation, x: np.ndarray) -> list[tuple[int, Moved]]:
    """Feed values on the feature's scale; return what happened, and when."""
    above = one.rule.direction == "above"
    told = []
    for i, value in enumerate(x.tolist()):
        moved = one.step(value, passes(value, one.threshold, above))
        if moved is not None:
            told.append((i, moved))
    return told


def share(one: Adaptation, x: np.ndarray) -> float:
    """Return how often the condition holds while the threshold goes on moving."""
    above = one.rule.direction == "above"
    n = 0
    for value in x.tolist():
        held = passes(value, one.threshold, above)
        one.step(value, held)
        n += held
    return n / len(x)


def noise(seconds: float, seed: int = 1, shift: float = 0.0) -> np.ndarray:
    return 0.5 * np.random.default_rng(seed).normal(size=int(seconds * GRID)) + shift


# ---------------------------------------------------------------- where it begins


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("direction", "quantile"), [("above", 0.35), ("below", 0.65)])
@pytest.mark.parametrize("method", ["running", "block", "staircase"])
def test_it_begins_at_the_percentile_of_the_rest(
    scale: Scale, direction: str, quantile: float, method: str
) -> None:
    one = made(direction, scale, method=method, step_mad=0.05)
    assert one.threshold == pytest.approx(scaled(rest(scale).quantile(quantile), scale))


def test_what_stands_has_no_adaptation() -> None:
    base = {"smr": rest("ln")}
    fixed = Rule.model_validate(
        {"feature": "smr", "direction": "above", "threshold": {"method": "fixed", "value": 2.0}}
    )
    assert adaptation(fixed, "ln", base, GRID) is None
    assert adaptation(rule(method="percentile"), "ln", base, GRID) is None
    assert adaptation(rule(method="running"), "ln", {}, GRID) is None
    assert adaptation(rule(method="running"), "ln", base, GRID) is not None


# ---------------------------------------------------------------- running percentile


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("direction", ["above", "below"])
def test_a_running_percentile_settles_where_it_succeeds_as_asked(
    scale: Scale, direction: str
) -> None:
    better = 0.4 if direction == "above" else -0.4  # than at rest: no guard stops it
    one = made(direction, scale, method="running", over_s=120.0)
    train(one, noise(300.0, shift=better))
    assert share(one, noise(1200.0, seed=2, shift=better)) == pytest.approx(0.65, abs=0.02)
    assert one.stopped == ""


@calm
@given(
    st.lists(st.floats(-50.0, 50.0), min_size=100, max_size=400),
    st.sampled_from(SCALES),
    st.sampled_from(["above", "below"]),
)
def test_a_running_threshold_never_moves_faster_than_two_percent_a_second(
    values: list[float], scale: Scale, direction: str
) -> None:
    one = made(direction, scale, method="running", over_s=60.0, drift_guard=1.0)
    base = rest(scale)
    x = np.concatenate([np.full(300, values[0]), values])  # half a window first
    before, last = one.threshold, -10
    for i, moved in train(one, x):
        assert i - last >= GRID
        step = abs(moved.threshold - before)
        if scale == "ln":
            assert math.expm1(step) <= PER_S + 1e-9
        else:
            assert step <= PER_S * base.mad + 1e-12
        before, last = moved.threshold, i


def test_a_running_threshold_waits_for_half_its_window() -> None:
    one = RunningPercentile(0.35, 120.0, 0.02, 0.0, GRID)
    first = [i for i in range(1200) if one.step(1.0, True) is not None]
    assert first[0] == 60 * GRID - 1
    assert np.diff(first).tolist() == [10] * (len(first) - 1)


def test_one_that_freezes_soon_begins_sooner() -> None:
    one = RunningPercentile(0.35, 60.0, 0.02, 0.0, GRID, freeze_after_s=30.0)
    first = [i for i in range(600) if one.step(1.0, True) is not None]
    assert first[0] == 10 * GRID - 1


def test_a_running_threshold_is_the_quantile_of_its_window_once_it_got_there() -> None:
    one = RunningPercentile(0.35, 60.0, 10.0, 0.0, GRID)
    x = np.random.default_rng(3).normal(size=1000)
    aims = [one.step(v, True) for v in x.tolist()]
    assert aims[-1] == pytest.approx(np.quantile(x[-600:], 0.35))
    assert one.end_block() == (None, "")


# ---------------------------------------------------------------- block percentile


def test_a_block_percentile_needs_a_minute_of_clean_time() -> None:
    one = BlockPercentile(0.35, GRID)
    x = np.arange(600.0)
    for value in x[:-1]:
        assert one.step(value, True) is None
    aim, why = one.end_block()
    assert aim is None
    assert "less than 60 s of clean time" in why
    for value in x:
        one.step(value, True)
    aim, why = one.end_block()
    assert (aim, why) == (pytest.approx(0.35 * 599.0), "")
    assert one.end_block()[0] is None  # every block counts for itself


@pytest.mark.parametrize("scale", SCALES)
def test_a_block_threshold_moves_between_blocks_only(scale: Scale) -> None:
    one = made("above", scale, method="block")
    x = noise(90.0, shift=0.3)
    begun = one.threshold
    assert train(one, x) == []
    assert one.threshold == begun
    moved = one.end_block()
    assert moved is not None
    assert (moved.kind, moved.threshold) == ("block", pytest.approx(np.quantile(x, 0.35)))
    assert one.threshold == moved.threshold
    kept = one.end_block()
    assert kept is not None
    assert (kept.kind, kept.threshold) == ("kept", one.threshold)


# ---------------------------------------------------------------- staircase


def test_the_steps_of_a_staircase_balance_at_its_share() -> None:
    up, down = (Staircase(0.65, 0.1, above, 0.0, 1.0) for above in (True, False))
    assert up.step(0.0, True) == pytest.approx(0.1)
    assert up.step(0.0, False) == pytest.approx(0.1 - 0.1 * 0.65 / 0.35)  # 1.857 times as far
    assert down.step(0.0, True) == pytest.approx(-0.1)
    assert down.step(0.0, False) == pytest.approx(-0.1 + 0.1 * 0.65 / 0.35)
    slow = Staircase(0.65, 0.1, True, 0.0, GRID)
    told = [slow.step(0.0, True) for _ in range(20)]
    assert [i for i, t in enumerate(told) if t is not None] == [9, 19]
    assert told[19] == pytest.approx(0.2)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("direction", ["above", "below"])
def test_a_staircase_settles_between_62_and_66_percent(scale: Scale, direction: str) -> None:
    better = 0.4 if direction == "above" else -0.4
    one = made(direction, scale, method="staircase", step_mad=0.05)
    share(one, noise(300.0, shift=better))
    assert 0.62 <= share(one, noise(2400.0, seed=5, shift=better)) <= 0.66
    assert one.stopped == ""


# ---------------------------------------------------------------- drift guard


def test_how_far_a_threshold_may_drift() -> None:
    base = rest("linear")
    assert math.exp(-drift_limit(0.15, "ln", base)) == pytest.approx(0.85)
    assert drift_limit(0.15, "linear", base) == pytest.approx(0.15 * LINEAR_MADS * base.mad)
    assert math.isfinite(drift_limit(1.0, "ln", base))


@pytest.mark.parametrize("method", ["running", "block", "staircase"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("direction", ["above", "below"])
@pytest.mark.parametrize("guard", [0.05, 0.15, 0.5])
def test_the_guard_stops_what_follows_the_person_the_wrong_way(
    method: str, scale: Scale, direction: str, guard: float
) -> None:
    one = made(direction, scale, method=method, step_mad=0.1, drift_guard=guard)
    begun = one.threshold
    worse = -5.0 if direction == "above" else 5.0
    told: list[Moved] = []
    for _ in range(10):
        told += [m for _, m in train(one, noise(90.0, shift=worse))]
        end = one.end_block()
        told += [] if end is None else [end]
    stops = [m for m in told if m.kind == "drift_guard"]
    assert len(stops) == 1
    assert told[-1] is stops[0]
    assert stops[0].why
    sign = -1.0 if direction == "above" else 1.0
    limit = drift_limit(guard, scale, rest(scale))
    assert one.threshold == stops[0].threshold == pytest.approx(begun + sign * limit)
    assert one.stopped == "drift_guard"
    # For good: what comes later moves nothing.
    assert train(one, noise(300.0, shift=-worse)) == []
    assert one.end_block() is None


@pytest.mark.parametrize("method", ["running", "block", "staircase"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("direction", ["above", "below"])
def test_the_guard_lets_it_go_the_right_way(method: str, scale: Scale, direction: str) -> None:
    one = made(direction, scale, method=method, step_mad=0.1, drift_guard=0.05)
    begun = one.threshold
    better = 5.0 if direction == "above" else -5.0
    for _ in range(4):
        train(one, noise(90.0, shift=better))
        one.end_block()
    assert one.stopped == ""
    assert (one.threshold - begun) * better > 1.0


@pytest.mark.parametrize("scale", SCALES)
def test_a_person_who_gets_thirty_percent_worse_is_noticed(scale: Scale) -> None:
    one = made("above", scale, method="running", over_s=60.0)
    drift = np.linspace(0.0, math.log(0.7) if scale == "ln" else -0.6, int(1200 * GRID))
    told = train(one, noise(1200.0) + drift)
    assert told[-1][1].kind == "drift_guard"


# ---------------------------------------------------------------- freeze, order


@pytest.mark.parametrize("scale", SCALES)
def test_a_threshold_freezes_after_its_clean_time(scale: Scale) -> None:
    one = made("below", scale, method="running", over_s=60.0, freeze_after_s=30.0)
    told = train(one, noise(120.0, shift=-0.5))
    when = [(i, m.kind) for i, m in told]
    assert when[-1] == (299, "frozen")
    assert {k for _, k in when[:-1]} == {"moved"}
    assert len(when) >= 19  # it did move, from a third of that time on
    assert one.threshold == told[-1][1].threshold
    assert one.stopped == "frozen"
    assert train(one, noise(60.0)) == []


def test_an_order_stops_it() -> None:
    one = made("above", "ln", method="running", over_s=60.0)
    one.order()
    assert train(one, noise(120.0, shift=1.0)) == []
    assert one.end_block() is None
    assert one.stopped == "operator"
