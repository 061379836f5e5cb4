"""Thresholds: fixed, and percentiles of the person's own rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.baseline import Baseline, describe
from protocols.model import Rule
from protocols.threshold import METHODS, needs_baseline, passes, resolve

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
    assert set(METHODS) == {"fixed", "percentile"}
