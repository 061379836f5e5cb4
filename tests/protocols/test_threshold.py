"""Where thresholds begin: fixed, or from the person's own rest; and what shaping makes of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.baseline import Baseline, describe
from protocols.model import Rule
from protocols.rules import ADAPTING, METHODS
from protocols.threshold import NAMES, STARTS, needs_baseline, passes, resolve, shiftable

calm = settings(derandomize=True, deadline=None, max_examples=100, database=None)


def rule(direction: str = "above", **threshold: Any) -> Rule:
    return Rule.model_validate({"feature": "smr", "direction": direction, "threshold": threshold})


def base(values: Any) -> dict[str, Baseline]:
    return {"smr": describe("smr", np.asarray(values, dtype=float), "linear")}


def test_a_fixed_threshold_needs_nobody() -> None:
    one = rule(method="fixed", value=12.0)
    assert resolve(one, {}) == 12.0
    assert resolve(one, base([1.0, 2.0, 3.0])) == 12.0
    assert not needs_baseline(one)


def test_a_percentile_is_unknown_before_the_baseline() -> None:
    one = rule(method="percentile", success=0.65)
    assert math.isnan(resolve(one, {}))
    assert needs_baseline(one)


@pytest.mark.parametrize(("direction", "expected"), [("above", 35.0), ("below", 65.0)])
def test_a_percentile_has_its_value_in_the_features_own_unit(
    direction: str, expected: float
) -> None:
    one = rule(direction, method="percentile", success=0.65)
    assert resolve(one, base(np.arange(101.0))) == pytest.approx(expected)


@calm
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=200, unique=True),
    st.floats(0.05, 0.95),
    st.sampled_from(["above", "below"]),
)
def test_on_its_own_baseline_a_percentile_succeeds_as_promised(
    values: list[float], success: float, direction: str
) -> None:
    x = np.array(values)
    one = rule(direction, method="percentile", success=success)
    threshold = resolve(one, base(x))
    rate = np.mean([passes(v, threshold, direction == "above") for v in values])
    assert abs(rate - success) <= 1.0 / len(values) + 1e-12


def test_the_threshold_itself_does_not_pass() -> None:
    assert not passes(5.0, 5.0, above=True)
    assert not passes(5.0, 5.0, above=False)
    assert passes(5.1, 5.0, above=True)
    assert passes(4.9, 5.0, above=False)


def test_every_method_of_the_grammar_exists() -> None:
    assert tuple(STARTS) == tuple(NAMES) == METHODS
    assert set(NAMES.values()) == {
        "fixed", "baseline_percentile", "baseline_z", "running_percentile", "block_percentile",
        "staircase",
    }  # fmt: skip


def test_a_z_lies_at_the_mean_and_so_many_deviations() -> None:
    x = np.exp(np.random.default_rng(1).normal(1.0, 0.5, size=500))
    own = {"smr": describe("smr", x, "ln")}
    assert math.isnan(resolve(rule(method="z"), {}))
    for k in (-1.0, 0.0, 0.5):
        expected = math.exp(np.log(x).mean() + k * np.log(x).std(ddof=1))
        assert resolve(rule(method="z", plus_sd=k), own) == pytest.approx(expected)
    linear = base(x)
    expected = x.mean() + 0.5 * x.std(ddof=1)
    assert resolve(rule("below", method="z", plus_sd=0.5), linear) == pytest.approx(expected)


@pytest.mark.parametrize("method", sorted(ADAPTING))
@pytest.mark.parametrize("direction", ["above", "below"])
def test_what_moves_later_begins_at_the_percentile(method: str, direction: str) -> None:
    own = base(np.arange(101.0))
    asked = rule(direction, method="percentile", success=0.65)
    assert resolve(rule(direction, method=method, success=0.65), own) == resolve(asked, own)
    assert needs_baseline(rule(method=method, success=0.65))


@pytest.mark.parametrize(
    ("direction", "shift", "expected"),
    [("above", -0.05, 40.0), ("above", 0.05, 30.0), ("below", -0.05, 60.0), ("below", 0.5, 95.0)],
)
def test_a_shift_changes_the_share_of_success(
    direction: str, shift: float, expected: float
) -> None:
    one = rule(direction, method="percentile", success=0.65)
    assert resolve(one, base(np.arange(101.0)), shift) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("direction", "shift", "expected"),
    [("above", -0.1, 11.0), ("above", 0.1, 9.0), ("below", -0.1, 9.0), ("below", 0.1, 11.0)],
)
def test_a_shift_moves_a_fixed_threshold_by_a_share(
    direction: str, shift: float, expected: float
) -> None:
    fixed = rule(direction, method="fixed", value=10.0)
    assert resolve(fixed, {}, shift) == pytest.approx(expected)


@calm
@given(st.floats(0.05, 0.95), st.floats(-3.0, 3.0), st.sampled_from(["above", "below"]))
def test_a_shift_has_an_end(success: float, shift: float, direction: str) -> None:
    one = rule(direction, method="percentile", success=success)
    room = shiftable(one, shift)
    assert abs(room) <= abs(shift)
    assert 0.05 - 1e-12 <= success + room <= 0.95 + 1e-12
    own = base(np.arange(101.0))
    assert resolve(one, own, room) == pytest.approx(resolve(one, own, shift))
    fixed = rule(direction, method="fixed", value=10.0)
    assert 0.99 < resolve(fixed, {}, shiftable(fixed, shift)) < 19.01
