"""The reward schedule, the level and its smoothing, in grid points."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import RunError
from protocols.baseline import Baseline, describe
from protocols.model import Level, Rule
from protocols.reward import (
    DynamicRange,
    LevelMap,
    Schedule,
    Smoother,
    dynamic_range,
    level_map,
)

calm = settings(derandomize=True, deadline=None, max_examples=100, database=None)

GRID = 50.0


def rewards(schedule: Schedule, ok: list[bool]) -> list[int]:
    return [i for i, one in enumerate(ok) if schedule.step(one)]


# ---------------------------------------------------------------- schedule


def test_half_a_second_held_gives_one_reward_and_then_a_pause() -> None:
    schedule = Schedule(0.5, 2.0, GRID)
    assert (schedule.sustain, schedule.refractory) == (25, 100)
    # 25 held, 100 refractory, 25 held again ...
    assert rewards(schedule, [True] * 400) == [24, 149, 274, 399]


def test_one_miss_begins_the_sustain_again() -> None:
    schedule = Schedule(0.1, 0.0, GRID)
    assert rewards(schedule, [True] * 4 + [False] + [True] * 5) == [9]


def test_nothing_is_sustained_during_the_refractory_time() -> None:
    schedule = Schedule(0.1, 0.2, GRID)
    assert rewards(schedule, [True] * 5 + [True] * 10 + [True] * 4 + [False] * 5) == [4]


def test_a_reset_forgets_the_sustain_but_not_the_pause() -> None:
    schedule = Schedule(0.1, 0.2, GRID)
    assert rewards(schedule, [True] * 4) == []
    schedule.reset()
    assert rewards(schedule, [True] * 5) == [4]
    schedule.reset()
    assert rewards(schedule, [True] * 15) == [14]


def test_without_sustain_every_point_may_reward() -> None:
    assert rewards(Schedule(0.0, 0.0, GRID), [True, False, True]) == [0, 2]


@calm
@given(st.lists(st.booleans(), max_size=300), st.floats(0.0, 0.5), st.floats(0.0, 1.0))
def test_rewards_are_earned_and_apart(ok: list[bool], sustain: float, refractory: float) -> None:
    schedule = Schedule(sustain, refractory, GRID)
    when = rewards(schedule, ok)
    for i in when:
        assert i + 1 >= schedule.sustain
        assert all(ok[i + 1 - schedule.sustain : i + 1])
    for a, b in itertools.pairwise(when):
        assert b - a >= schedule.refractory + schedule.sustain


# ---------------------------------------------------------------- smoothing


def test_the_first_clean_value_stands_at_once() -> None:
    assert Smoother(0.3, GRID).step(0.7) == pytest.approx(0.7)


def test_a_constant_stays_what_it_is() -> None:
    smoother = Smoother(0.3, GRID)
    assert [smoother.step(1.0) for _ in range(100)] == [1.0] * 100


def test_a_step_is_followed_with_the_time_constant() -> None:
    smoother = Smoother(1.0, GRID)
    for _ in range(1000):
        smoother.step(0.0)
    for _ in range(50):
        level = smoother.step(1.0)
    assert level == pytest.approx(1.0 - math.exp(-1.0), rel=1e-6)


def test_it_is_the_weighted_mean_of_what_it_saw() -> None:
    x = np.random.default_rng(1).uniform(size=30)
    smoother = Smoother(0.2, GRID)
    for value in x:
        level = smoother.step(float(value))
    weights = math.exp(-1.0 / 10.0) ** np.arange(29, -1, -1)
    assert level == pytest.approx(float(np.average(x, weights=weights)))


def test_a_short_gate_freezes_and_a_long_one_begins_anew() -> None:
    short, long = Smoother(0.2, GRID), Smoother(0.2, GRID)
    for smoother, gated in ((short, 10), (long, 11)):
        smoother.step(0.0)
        for _ in range(gated):
            smoother.skip()
    assert short.step(1.0) < 0.6
    assert long.step(1.0) == 1.0


def test_short_gates_do_not_add_up() -> None:
    smoother = Smoother(0.2, GRID)
    smoother.step(0.0)
    for _ in range(3):
        smoother.skip(6)
        level = smoother.step(1.0)
    assert level < 0.9


def test_a_restart_forgets() -> None:
    smoother = Smoother(5.0, GRID)
    smoother.step(0.0)
    smoother.restart()
    assert smoother.step(1.0) == 1.0


def test_without_smoothing_values_pass_through() -> None:
    smoother = Smoother(0.0, GRID)
    assert [smoother.step(x) for x in (0.2, 0.9, 0.4)] == [0.2, 0.9, 0.4]


@calm
@given(st.lists(st.none() | st.floats(0.0, 1.0), max_size=100), st.floats(0.0, 2.0))
def test_an_average_stays_within_what_it_saw(xs: list[float | None], smooth_s: float) -> None:
    smoother = Smoother(smooth_s, GRID)
    seen: list[float] = []
    for x in xs:
        if x is None:
            smoother.skip()
            continue
        seen.append(x)
        assert min(seen) - 1e-12 <= smoother.step(x) <= max(seen) + 1e-12


# ---------------------------------------------------------------- level


def level(start: dict[str, float], end: dict[str, float]) -> Level:
    return Level.model_validate({"feature": "smr", "start": start, "end": end, "smooth_s": 0.0})


def reward(direction: str = "above", feature: str = "smr") -> Rule:
    return Rule.model_validate(
        {"feature": feature, "direction": direction, "threshold": {"method": "fixed", "value": 1.0}}
    )


def base(scale: Any = "ln") -> dict[str, Baseline]:
    return {"smr": describe("smr", np.exp(np.array([-1.0, 0.0, 1.0, 2.0, 3.0])), scale)}


def test_edges_from_the_baseline_live_on_the_logarithm() -> None:
    mapped = level_map(level({"plus_mad": -1.0}, {"plus_mad": 2.0}), "ln", base(), reward())
    assert mapped is not None
    assert mapped.start == pytest.approx(1.0 - 1.4826)
    assert mapped.end == pytest.approx(1.0 + 2 * 1.4826)
    assert mapped(math.e) == pytest.approx(1.0 / 3.0)
    assert mapped(1e-9) == 0.0
    assert mapped(1e9) == 1.0


def test_fixed_edges_are_in_the_features_unit() -> None:
    mapped = level_map(level({"fixed": 1.0}, {"fixed": 100.0}), "ln", {}, reward())
    assert mapped is not None
    assert mapped(10.0) == pytest.approx(0.5)
    linear = level_map(level({"fixed": -1.0}, {"fixed": 1.0}), "linear", {}, reward())
    assert linear is not None
    assert linear(0.5) == pytest.approx(0.75)


def test_a_level_that_grows_downwards() -> None:
    mapped = level_map(level({"plus_mad": 1.0}, {"plus_mad": -1.0}), "ln", base(), reward("below"))
    assert mapped is not None
    assert mapped(math.exp(1.0)) == pytest.approx(0.5)
    assert mapped(0.01) == 1.0
    assert mapped(1000.0) == 0.0


def test_without_its_baseline_there_is_no_level() -> None:
    assert level_map(level({"plus_mad": 0.0}, {"fixed": 9.0}), "ln", {}, reward()) is None


def test_edges_that_coincide_are_refused() -> None:
    with pytest.raises(RunError, match="no range"):
        level_map(level({"plus_mad": 1.0}, {"plus_mad": 1.0}), "ln", base(), reward())


def test_an_edge_without_a_logarithm_is_refused() -> None:
    with pytest.raises(RunError, match="no logarithm"):
        level_map(level({"fixed": 0.0}, {"fixed": 1.0}), "ln", {}, reward())


def test_a_level_that_would_run_against_its_reward_is_refused() -> None:
    upside_down = level({"plus_mad": 0.0}, {"fixed": 2.0})  # the median is e
    with pytest.raises(RunError, match="against its reward"):
        level_map(upside_down, "ln", base(), reward("above"))
    assert level_map(upside_down, "ln", base(), reward("below")) is not None
    assert level_map(upside_down, "ln", base(), reward("above", "theta")) is not None


def test_edges_of_one_kind_are_taken_as_written() -> None:
    inverse = level({"plus_mad": 1.0}, {"plus_mad": -1.0})
    assert level_map(inverse, "ln", base(), reward("above")) is not None


@calm
@given(st.floats(1e-3, 1e3), st.floats(1.0, 10.0))
def test_more_of_the_feature_never_lowers_the_level(value: float, gain: float) -> None:
    mapped = LevelMap("ln", -1.0, 2.0)
    assert 0.0 <= mapped(value) <= mapped(value * gain) <= 1.0


# ---------------------------------------------------------------- the range that follows


def follows(low: float = 0.0, high: float = 1.0, **more: Any) -> DynamicRange:
    asked: dict[str, Any] = {"scale": "linear", "least": 0.1, "down": False, "grid_hz": GRID}
    return DynamicRange(low=low, high=high, **asked | more)


EVERY = 13  # grid points in 0.25 s at 50 Hz, rounded half up


def test_an_exceeded_range_widens_by_a_thirtieth_at_that_end() -> None:
    up, down = follows(), follows()
    for _ in range(EVERY):
        up(2.0)
        down(-2.0)
    assert (up.low, up.high) == (0.0, pytest.approx(1.0 + 1.0 / 30.0))
    assert (down.low, down.high) == (pytest.approx(-1.0 / 30.0), 1.0)
    for _ in range(EVERY):
        up(2.0)
    assert up.high - up.low == pytest.approx((31.0 / 30.0) ** 2)


def test_a_range_that_is_not_exceeded_shrinks_by_one_percent_to_its_least() -> None:
    one = follows(least=0.9)
    for k in range(1, 11):
        for _ in range(EVERY):
            one(0.5)
        assert one.high - one.low == pytest.approx(0.99**k)
        assert one.high + one.low == pytest.approx(1.0)
    for _ in range(50 * EVERY):
        one(0.5)
    assert one.high - one.low >= 0.9


def test_between_two_updates_the_range_stands() -> None:
    one = follows()
    for _ in range(EVERY - 1):
        one(5.0)
    assert (one.low, one.high) == (0.0, 1.0)


@pytest.mark.parametrize(("down", "way"), [(False, 1.0), (True, -1.0)])
def test_the_level_moves_by_five_percent_in_a_quarter_of_a_second(down: bool, way: float) -> None:
    one = follows(down=down)
    levels = [0.5, *(one(9.0) for _ in range(20 * EVERY))]
    steps = np.diff(levels) * way
    assert steps.min() >= 0.0
    assert steps.max() <= 0.05 / EVERY + 1e-12
    assert levels[EVERY] == pytest.approx(0.5 + way * 0.05)
    assert levels[-1] == (1.0 if way > 0.0 else 0.0)


@calm
@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=400),
    st.sampled_from(["ln", "linear"]),
    st.booleans(),
    st.sampled_from([2.0, 4.0, 50.0]),
)
def test_whatever_comes_the_level_is_one_and_goes_slowly(
    values: list[float], scale: Any, down: bool, grid_hz: float
) -> None:
    one = DynamicRange(scale, -1.0, 1.0, 0.5, down, grid_hz)
    levels = [0.5, *(one(v) for v in values)]
    assert all(0.0 <= v <= 1.0 for v in levels)
    most = 0.05 / max(1, math.floor(0.25 * grid_hz + 0.5))
    assert np.abs(np.diff(levels)).max() <= most + 1e-12
    assert one.high - one.low >= 0.5 * (1.0 - 1e-9)


def test_the_range_begins_at_the_rest_and_is_never_narrower_than_a_mad() -> None:
    x = np.exp(np.random.default_rng(4).normal(size=2000))
    own = {"smr": describe("smr", x, "ln")}
    level = Level.model_validate({"feature": "smr", "range": "dynamic"})
    assert dynamic_range(level, "ln", {}, GRID) is None
    one = dynamic_range(level, "ln", own, GRID)
    assert one is not None
    assert one.low == pytest.approx(math.log(np.quantile(x, 0.05)))
    assert one.high == pytest.approx(math.log(np.quantile(x, 0.95)))
    # Nine tenths of this rest are one value more or less: its percentiles lie close together.
    odd = describe("odd", np.concatenate([np.linspace(-1e-9, 1e-9, 95), [8.0] * 2]), "linear")
    flat = dynamic_range(Level.model_validate({"feature": "odd", "range": "dynamic"}), "linear",
                         {"odd": odd}, GRID)  # fmt: skip
    assert flat is not None
    assert flat.high - flat.low >= odd.mad
