"""Slopes, limits and effect sizes against hand and scipy; the learner rule case by case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from engine.learning import (
    LearnerRule,
    Slope,
    Verdict,
    common_slope,
    d_z,
    judge,
    line,
    mean_of,
    ols,
    partial,
    theil_sen,
)

X = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
Y = [0.1, 0.5, 0.2, 0.9, 1.1, 0.8]


# ---------------------------------------------------------------- slopes


def test_a_slope_by_hand() -> None:
    """y = 1, 2, 2, 4 on 1..4: Sxy 4.5, Sxx 5, SSE 0.7, s² 0.35, error 0.26458, t(2) 4.30265."""
    found = ols([1, 2, 3, 4], [1.0, 2.0, 2.0, 4.0])
    assert found.per_step == pytest.approx(0.9)
    assert found.low == pytest.approx(0.9 - 4.302653 * 0.2645751, abs=1e-5)
    assert found.high == pytest.approx(0.9 + 4.302653 * 0.2645751, abs=1e-5)
    assert found.p_up == pytest.approx(float(stats.t.sf(0.9 / 0.2645751, 2)), abs=1e-6)


def test_a_slope_is_that_of_scipy() -> None:
    golden = stats.linregress(X, Y)
    found = ols(X, Y)
    reach = float(stats.t.ppf(0.975, 4)) * golden.stderr
    assert found.per_step == pytest.approx(golden.slope)
    assert (found.low, found.high) == pytest.approx((golden.slope - reach, golden.slope + reach))
    assert found.p_up == pytest.approx(golden.pvalue / 2.0)
    assert found.n == 6


def test_theil_sen_is_that_of_scipy_and_robust() -> None:
    golden = stats.theilslopes(Y, X, 0.95)
    found = theil_sen(X, Y)
    assert found.per_step == pytest.approx(golden.slope)
    assert (found.low, found.high) == pytest.approx((golden.low_slope, golden.high_slope))
    spoilt = [*Y[:-1], 50.0]
    assert theil_sen(X, spoilt).per_step == pytest.approx(found.per_step or 0.0, abs=0.2)
    assert (ols(X, spoilt).per_step or 0.0) > 5.0


@pytest.mark.parametrize("n", [3, 4])
def test_few_values_cannot_carry_limits_of_a_rank_method(n: int) -> None:
    """All pairwise slopes of 4 points span 1 - 2/4! = 92 %, of 5 points 98 %."""
    found = theil_sen(X[:n], Y[:n])
    assert found.per_step is not None
    assert found.low is None
    assert found.high is None
    assert "95 %" in found.why
    assert theil_sen(X[:5], Y[:5]).low is not None


@pytest.mark.parametrize("fit", [ols, theil_sen])
def test_less_than_three_values_have_no_slope(fit: object) -> None:
    for y in ([], [1.0], [1.0, 2.0], [1.0, None, 2.0], [math.nan, 1.0, 2.0]):
        found = fit(list(range(len(y))), y)  # type: ignore[operator]
        assert found.per_step is None
        assert "at least 3" in found.why


def test_an_unknown_session_keeps_its_place() -> None:
    assert ols([1, 2, 3, 5], [1.0, 2.0, None, 5.0]).per_step == pytest.approx(1.0)
    assert theil_sen([1, 2, 3, 5], [1.0, 2.0, None, 5.0]).per_step == pytest.approx(1.0)


def test_exact_and_level_lines() -> None:
    assert ols(X, [2.0] * 6).per_step == 0.0
    assert ols(X, [2.0] * 6).p_up == 0.5
    assert (ols(X, X).p_up or 0.0) < 1e-9
    assert ols([1, 1, 1], [1.0, 2.0, 3.0]).per_step is None


@given(
    st.lists(st.floats(-50, 50), min_size=3, max_size=12),
    st.floats(-5, 5),
    st.floats(-5, 5),
)
def test_adding_a_line_adds_its_slope(noise: list[float], slope: float, start: float) -> None:
    x = list(range(len(noise)))
    before = ols(x, noise)
    after = ols(x, [n + start + slope * k for k, n in enumerate(noise)])
    assert after.per_step == pytest.approx((before.per_step or 0.0) + slope, abs=1e-8)
    down = ols(x, [-n for n in noise])
    assert down.per_step == pytest.approx(-(before.per_step or 0.0), abs=1e-9)


# ---------------------------------------------------------------- with muscle


def test_muscle_is_regressed_out() -> None:
    muscle = [0.3, 0.1, 0.5, 0.2, 0.7, 0.4]
    y = [0.5 * x + 2.0 * m for x, m in zip(X, muscle, strict=True)]
    assert (ols(X, y).per_step or 0.0) > 0.55
    assert partial(X, y, muscle).per_step == pytest.approx(0.5)
    cheat = [2.0 * m for m in muscle]
    assert partial(X, cheat, muscle).per_step == pytest.approx(0.0, abs=1e-12)


def test_a_partial_slope_is_that_of_the_residuals() -> None:
    """Frisch, Waugh and Lovell: both sides cleaned of muscle give the same slope and error."""
    rng = np.random.default_rng(3)
    x, m = np.arange(12.0), rng.normal(size=12)
    y = 0.2 * x + 0.8 * m + rng.normal(size=12)

    def rest(v: np.ndarray) -> np.ndarray:
        return v - np.polyval(np.polyfit(m, v, 1), m)

    golden = stats.linregress(rest(x), rest(y))
    found = partial(list(x), list(y), list(m))
    assert found.per_step == pytest.approx(golden.slope)
    error = golden.stderr * math.sqrt(10 / 9)  # 9 degrees of freedom, not 10
    assert found.high == pytest.approx(golden.slope + float(stats.t.ppf(0.975, 9)) * error)


def test_what_muscle_cannot_tell_is_said() -> None:
    assert "in step" in partial(X, Y, X).why
    assert "did not vary" in partial(X, Y, [1.0] * 6).why
    assert "at least 4" in partial(X[:3], Y[:3], [0.0, 1.0, 0.0]).why
    assert "at least 4" in partial(X, Y, [None] * 6).why


def test_a_slope_within_groups_ignores_their_levels() -> None:
    groups = [1, 1, 1, 2, 2, 2]
    x = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]
    y = [5.0, 5.5, 6.0, -3.0, -2.5, -2.0]
    assert common_slope(groups, x, y).per_step == pytest.approx(0.5)
    assert common_slope([1, 2, 3], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).per_step is None
    assert common_slope([], [], []).per_step is None
    assert "did not vary" in common_slope(groups, [1.0] * 6, y).why


# ---------------------------------------------------------------- means, lines, effects


def test_limits_of_a_mean() -> None:
    found = mean_of([1.0, 2.0, None, 3.0])
    reach = 4.302653 / math.sqrt(3.0)
    assert (found.mean, found.low, found.high) == pytest.approx((2.0, 2.0 - reach, 2.0 + reach))
    assert mean_of([1.0, 2.0]).low is None
    assert mean_of([None]).mean is None


def test_the_band_of_a_line() -> None:
    found = line(X, Y, [3.5, 6.0])
    assert found is not None
    golden = stats.linregress(X, Y)
    rest = np.array(Y) - golden.intercept - golden.slope * np.array(X)
    s = math.sqrt(float(rest @ rest) / 4)
    assert found.middle[0] == pytest.approx(np.mean(Y))
    assert found.high[0] - found.middle[0] == pytest.approx(
        float(stats.t.ppf(0.975, 4)) * s / math.sqrt(6)
    )
    assert found.high[1] - found.middle[1] > found.high[0] - found.middle[0]
    assert line(X[:2], Y[:2], [1.0]) is None


def test_d_z() -> None:
    assert d_z([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]).d_z == pytest.approx(2.0)
    assert d_z([0.0, 0.0, 0.0], [1.0, 2.0, 3.0]).difference == pytest.approx(2.0)
    assert "at least 3" in d_z([0.0, 0.0], [1.0, 2.0]).why
    assert "vary" in d_z([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]).why
    assert d_z([], []).difference is None


# ---------------------------------------------------------------- coverage


def test_limits_hold_the_true_slope_as_often_as_they_say() -> None:
    """95 % limits over 1000 simulated series: coverage within three standard errors (2.1 %).

    Theil-Sen's limits rest on a normal approximation and on whole ranks; on 8 points they are a
    little too wide or narrow, which is allowed for.
    """
    rng = np.random.default_rng(20)
    runs, slope = 1000, 0.3
    hits = dict.fromkeys(("ols", "theil_sen", "partial", "skewed"), 0)
    x = np.arange(1.0, 9.0)
    for _ in range(runs):
        noise, m = rng.normal(size=8), rng.normal(size=8)
        skew = rng.exponential(size=8)
        y = slope * x + noise
        for name, found in (
            ("ols", ols(list(x), list(y))),
            ("theil_sen", theil_sen(list(x), list(y))),
            ("partial", partial(list(x), list(y + 0.7 * m), list(m))),
            ("skewed", ols(list(x), list(slope * x + skew))),
        ):
            assert found.low is not None
            assert found.high is not None
            hits[name] += found.low <= slope <= found.high
    share = {k: v / runs for k, v in hits.items()}
    assert share["ols"] == pytest.approx(0.95, abs=0.021)
    assert share["partial"] == pytest.approx(0.95, abs=0.021)
    assert share["theil_sen"] == pytest.approx(0.95, abs=0.035)
    assert share["skewed"] == pytest.approx(0.95, abs=0.03)


# ---------------------------------------------------------------- the rule

RULE = LearnerRule()
N10 = [float(k) for k in range(1, 11)]
TONE = [0.02, -0.01, 0.03, 0.0, -0.02, 0.01, 0.02, -0.03, 0.0, 0.01]
NO_MUSCLE = Slope(40, 0.0, -0.1, 0.1)


def judged(values: list[float | None], muscle: list[float | None], b: Slope) -> Verdict:
    return judge(RULE, N10[: len(values)], values, muscle, b)


def test_a_rise_that_muscle_does_not_explain_is_learning() -> None:
    found = judged([0.1 * k - 2.0 for k in range(10)], list(TONE), NO_MUSCLE)
    assert found.verdict == "learner"
    assert [c.met for c in found.conditions] == [True, True, False, False]
    assert "p = 0.000" in found.why


def test_standing_above_rest_is_enough() -> None:
    found = judged([0.5, 0.9, 0.4, 0.8, 0.5, 0.9, 0.4, 0.8, -0.1, 0.3], list(TONE), NO_MUSCLE)
    assert found.verdict == "learner"
    assert "4 of the last 5" in found.why
    assert found.conditions[0].met is False


def test_a_rise_of_muscle_is_not_learning() -> None:
    noise = [0.02, -0.03, 0.01, 0.04, -0.02, 0.0, 0.03, -0.04, 0.01, -0.02]
    muscle = [0.1 * k + n for k, n in enumerate(noise)]
    found = judged([2.0 * m for m in muscle], list(muscle), Slope(40, 2.0, 1.8, 2.2))
    assert found.verdict == "not (yet)"
    assert [c.met for c in found.conditions] == [True, False, True, False]
    assert "muscle held constant" in found.why


def test_nothing_is_not_yet_learning() -> None:
    found = judged([0.1, -0.2, -0.1, 0.2, -0.3, -0.1, 0.1, -0.2, -0.1, 0.0], list(TONE), NO_MUSCLE)
    assert found.verdict == "not (yet)"
    assert "not below 0.05" in found.why


def test_what_cannot_be_said_says_why() -> None:
    few = judged([0.1, -0.2], [0.0, 0.1], NO_MUSCLE)
    assert few.verdict == "cannot be said"
    assert "at least 3" in few.why
    assert "needs 5 sessions" in few.why
    rising: list[float | None] = [0.1 * k for k in range(10)]
    blind = judged(rising, [None] * 10, Slope(0, why="muscle was not recorded"))
    assert blind.verdict == "cannot be said"
    assert "muscle cannot be ruled out" in blind.why
    three = judged([0.1, 0.5, 0.2], [0.0, 0.1, 0.0], NO_MUSCLE)
    assert three.verdict == "cannot be said"
    assert three.conditions[0].met is False  # and (b) is still open


def test_the_chance_of_the_rule_is_told_and_true() -> None:
    """Under no change (a) is met in 5 % of series and (b) in 50 %, as the sentence says."""
    assert "(a) is met in 5 %" in RULE.chance
    assert "(b) in 50 %" in RULE.chance
    assert "(b) in 19 %" in LearnerRule(share=0.6).chance
    rng = np.random.default_rng(8)
    met = np.zeros(2)
    for _ in range(1000):
        values: list[float | None] = list(rng.normal(size=10))
        found = judged(values, list(rng.normal(size=10)), NO_MUSCLE)
        met += [bool(found.conditions[0].met), bool(found.conditions[2].met)]
    assert met[0] / 1000 == pytest.approx(0.05, abs=0.021)
    assert met[1] / 1000 == pytest.approx(0.5, abs=0.048)


def test_the_rule_is_told_with_its_numbers() -> None:
    rule = LearnerRule(alpha=0.01, share=0.75, last=4, declared="the study file a.yaml")
    assert "p < 0.01" in rule.sentence
    assert "more than 75 % of the last 4 sessions" in rule.sentence
