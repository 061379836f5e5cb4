"""Robust statistics of a baseline, and the judgement over a block."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import RunError
from engine.frames import Bool, FeatureFrame, Float, Gate
from protocols.baseline import Collector, causes_of, describe, known, points, scaled

calm = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def frame(
    value: float, gate: Gate = Gate.OPEN, trusted: bool = True, metric: float = 0.0
) -> FeatureFrame:
    return FeatureFrame(
        seq=0,
        t=0.0,
        values=np.array([value]),
        trusted=np.array([trusted and gate == 0]),
        gate=gate,
        metrics=np.array([metric]),
    )


def fill(collector: Collector, frames: list[FeatureFrame]) -> None:
    for one in frames:
        collector.add(one, one.values.tolist(), one.trusted.tolist())


def keep_all(metrics: Float) -> tuple[object, Bool]:
    return "limits", np.ones(len(metrics), dtype=bool)


def varied(n: int) -> list[FeatureFrame]:
    return [frame(1.0 + i / n) for i in range(n)]


# ---------------------------------------------------------------- statistics


def test_the_statistics_of_a_log_normal_feature_are_made_on_the_logarithm() -> None:
    values = np.exp(np.array([3.0, 1.0, 2.0, 5.0, 4.0]))
    base = describe("smr", values, "ln")
    assert base.n == 5
    assert base.median == pytest.approx(3.0)
    assert base.mad == pytest.approx(1.4826)
    assert base.mean == pytest.approx(3.0)
    assert base.sd == pytest.approx(math.sqrt(2.5))
    assert base.edge(-1.0) == pytest.approx(3.0 - 1.4826)
    assert base.z(3.0 + 1.4826) == pytest.approx(1.0)
    np.testing.assert_array_equal(base.values, np.sort(values))
    assert base.quantile(0.5) == pytest.approx(math.exp(3.0))  # in the feature's own unit


def test_a_linear_feature_may_be_negative() -> None:
    base = describe("asymmetry", np.array([-2.0, -1.0, 0.0, 1.0, 2.0]), "linear")
    assert base.median == 0.0
    assert base.mad == pytest.approx(1.4826)


def test_mad_estimates_the_sd_of_normal_data_and_shrugs_at_a_burst() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(10.0, 2.0, 20_000)
    clean = describe("x", x, "linear")
    burst = describe("x", np.concatenate([x, np.full(400, 1e6)]), "linear")
    assert clean.mad == pytest.approx(2.0, rel=0.03)
    assert burst.mad == pytest.approx(clean.mad, rel=0.05)
    assert burst.median == pytest.approx(clean.median, rel=0.01)


def test_the_baseline_cannot_be_changed_and_does_not_change_its_input() -> None:
    values = np.array([3.0, 1.0, 2.0])
    base = describe("x", values, "linear")
    np.testing.assert_array_equal(values, [3.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        base.values[0] = 9.0


@pytest.mark.parametrize("values", [[2.0] * 50, [1.0, 2.0, 2.0, 2.0, 2.0, 7.0]])
def test_f35_a_spread_of_zero_is_refused(values: list[float]) -> None:
    with pytest.raises(RunError, match="did not vary"):
        describe("smr", np.array(values), "ln")


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_values_off_the_scale_are_refused(bad: float) -> None:
    with pytest.raises(RunError, match="no ln numbers"):
        describe("smr", np.array([1.0, 2.0, 3.0, bad]), "ln")


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_points_are_refused(n: int) -> None:
    with pytest.raises(RunError, match="no baseline"):
        describe("smr", np.arange(1.0, 1.0 + n), "ln")


@calm
@given(
    st.lists(st.floats(0.01, 1000.0), min_size=5, max_size=60, unique=True),
    st.floats(0.125, 8.0),
)
def test_on_the_logarithm_the_gain_of_an_amplifier_only_shifts(
    values: list[float], gain: float
) -> None:
    one = describe("x", np.array(values), "ln")
    two = describe("x", np.array(values) * gain, "ln")
    assert two.median == pytest.approx(one.median + math.log(gain), abs=1e-9)
    assert two.mad == pytest.approx(one.mad, abs=1e-9)


def test_points_rounds_half_up() -> None:
    assert points(0.5, 50.0) == 25
    assert points(0.05, 50.0) == 3  # 2.5
    assert points(0.0, 50.0) == 0


def test_known_and_scaled() -> None:
    assert known(1.0, "ln")
    assert not known(0.0, "ln")
    assert known(0.0, "linear")
    assert known(-3.0, "linear")
    assert not known(math.nan, "linear")
    assert not known(math.inf, "linear")
    assert scaled(math.e, "ln") == pytest.approx(1.0)
    assert scaled(math.e, "linear") == math.e


# ---------------------------------------------------------------- judgement


def test_a_clean_block_is_accepted_with_limits_and_statistics() -> None:
    collector = Collector([("smr", 0, "ln")])
    fill(collector, varied(100))
    verdict = collector.judge(60, keep_all)
    assert verdict.accepted
    assert verdict.limits == "limits"
    assert verdict.baselines["smr"].n == 100
    assert (verdict.clean, verdict.total, verdict.needed) == (100, 100, 60)


def test_relearn_sees_every_point_of_the_block_once() -> None:
    seen: list[Float] = []

    def relearn(metrics: Float) -> tuple[object, Bool]:
        seen.append(metrics)
        return None, np.ones(len(metrics), dtype=bool)

    collector = Collector([("smr", 0, "ln")])
    frames = [frame(1.0 + i, Gate.BLINK if i < 3 else Gate.OPEN, metric=i) for i in range(20)]
    fill(collector, frames)
    collector.judge(5, relearn)
    (metrics,) = seen
    np.testing.assert_array_equal(metrics[:, 0], np.arange(20.0))


def test_gated_untrusted_unknown_and_relearned_points_stay_out_of_the_statistics() -> None:
    collector = Collector([("smr", 0, "ln")])
    bad = [
        frame(1e6, Gate.MUSCLE),
        dataclasses.replace(frame(1e6, Gate.MUSCLE), trusted=np.array([True])),
        frame(1e6, trusted=False),
        frame(math.nan),
        frame(0.0),
    ]
    fill(collector, [*varied(50), *bad, frame(1e6)])

    def relearn(metrics: Float) -> tuple[object, Bool]:
        keep = np.ones(len(metrics), dtype=bool)
        keep[-1] = False
        return None, keep

    verdict = collector.judge(10, relearn)
    assert verdict.accepted
    assert verdict.clean == 50
    assert verdict.baselines["smr"].values[-1] < 3.0
    assert verdict.causes == {"untrusted": 3, "muscle": 2, "relearned": 1}


def test_f35_half_of_the_block_is_needed_whatever_the_protocol_says() -> None:
    collector = Collector([("smr", 0, "ln")])
    fill(collector, [*varied(49), *[frame(1.0, Gate.BLINK)] * 51])
    verdict = collector.judge(10, keep_all)
    assert not verdict.accepted
    assert verdict.needed == 50
    assert verdict.limits is None
    assert not verdict.baselines
    assert verdict.reason == ("Only 49 % of the baseline was clean, 50 % is needed. Mostly: blink.")


def test_what_the_learned_limits_take_away_may_refuse_the_block() -> None:
    collector = Collector([("smr", 0, "ln")])
    fill(collector, varied(100))
    verdict = collector.judge(80, lambda m: ("limits", np.arange(len(m)) < 70))
    assert not verdict.accepted
    assert verdict.limits is None
    assert verdict.causes == {"relearned": 30}


def test_a_constant_feature_refuses_the_block_with_its_name() -> None:
    collector = Collector([("smr", 0, "ln")])
    fill(collector, [frame(2.0)] * 100)
    verdict = collector.judge(50, keep_all)
    assert "smr did not vary" in verdict.reason
    assert verdict.limits is None


def test_an_empty_block_is_refused() -> None:
    assert not Collector([("smr", 0, "ln")]).judge(0, keep_all).accepted


def test_a_relearn_of_the_wrong_length_is_an_error() -> None:
    collector = Collector([("smr", 0, "ln")])
    fill(collector, varied(10))
    with pytest.raises(ValueError, match="flags"):
        collector.judge(1, lambda _: (None, np.ones(3, dtype=bool)))


def test_causes_have_the_names_of_the_gates() -> None:
    assert causes_of(int(Gate.BLINK | Gate.MUSCLE)) == ("blink", "muscle")
    assert causes_of(0) == ()
