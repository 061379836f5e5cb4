"""Statistics of a course of sessions: slopes with limits, effect sizes, the learner rule.

Pure functions over a handful of numbers, one for each block or session. Every number that cannot be
known is None and says why. Limits and p values take blocks (or sessions) as independent of each
other. A slope says that something moved, not what moved it: drowsiness, muscle, electrodes and time
move a feature, too.

References
----------
Sen PK (1968) Estimates of the regression coefficient based on Kendall's tau. J Am Stat Assoc
63:1379-1389. Cohen J (1988) Statistical power analysis for the behavioral sciences, 2nd ed.
(d_z: mean of the differences over their standard deviation).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from engine.frames import Float

__all__ = [
    "CONFIDENCE",
    "LEAST",
    "RULE_METRIC",
    "Condition",
    "Effect",
    "LearnerRule",
    "Line",
    "Mean",
    "Slope",
    "Verdict",
    "common_slope",
    "d_z",
    "judge",
    "line",
    "mean_of",
    "ols",
    "partial",
    "theil_sen",
]

CONFIDENCE = 0.95
LEAST = 3
"""Points below which nothing is said of a slope or a spread."""
KEPT = 0.5
"""Part of a slope that must be left when muscle is held constant."""
IN_STEP = 0.999
"""Correlation from which two regressors cannot be told apart."""
RULE_METRIC = "session_slope"
"""What a learner rule looks at: the slope of training against rest over the sessions."""


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope with its limits.

    Parameters
    ----------
    n : int
        Points behind it.
    per_step : float or None
        Change per block or session.
    low, high : float or None
        Confidence limits (95 % unless said otherwise).
    p_up : float or None
        One-sided p value of a slope above zero, where there is a t statistic.
    why : str
        Why something of it is not known.
    """

    n: int
    per_step: float | None = None
    low: float | None = None
    high: float | None = None
    p_up: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with confidence limits; `why` says why something of it is not known."""

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """A standardised mean difference of pairs.

    Parameters
    ----------
    n : int
        Pairs.
    d_z : float or None
        Mean of the differences over their standard deviation (n - 1).
    difference : float or None
        Mean of the differences.
    why : str
        Why something of it is not known.
    """

    n: int
    d_z: float | None = None
    difference: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line and the confidence band of its mean, at some places."""

    at: Float
    middle: Float
    low: Float
    high: Float


# ---------------------------------------------------------------- slopes


def _pairs(x: Sequence[float], *more: Sequence[float | None]) -> tuple[Float, ...]:
    """Return the columns where every one of them is known."""
    table = np.array(
        [[math.nan if v is None else float(v) for v in column] for column in (x, *more)],
        dtype=np.float64,
    ).reshape(1 + len(more), -1)
    return tuple(table[:, np.isfinite(table).all(axis=0)])


def _few(n: int, needed: int) -> Slope:
    return Slope(n, why=f"a slope needs at least {needed} values; there {_are(n)}")


def _are(n: int) -> str:
    return f"is {n}" if n == 1 else f"are {n}"


def _centred(x: Float) -> Float:
    """Return values minus their mean; exactly 0 where they do not vary."""
    return x - x.mean() if np.ptp(x) > 0.0 else np.zeros_like(x)


def _regress(
    design: Float, y: Float, free: int, confidence: float
) -> tuple[float, float, float, float]:
    """Return the first coefficient, its limits and its one-sided p value.

    Everything is centred; `free` is the number of degrees of freedom of the residuals.
    """
    beta, *_ = np.linalg.lstsq(design, y, rcond=None)
    rest = y - design @ beta
    variance = float(rest @ rest) / free
    error = math.sqrt(variance * float(np.linalg.inv(design.T @ design)[0, 0]))
    b = float(beta[0])
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, free)) * error
    exact = 0.5 if b == 0.0 else float(b < 0.0)
    p = float(stats.t.sf(b / error, free)) if error > 0.0 else exact
    return b, b - reach, b + reach, p


def ols(x: Sequence[float], y: Sequence[float | None], *, confidence: float = CONFIDENCE) -> Slope:
    """Return the least-squares slope of `y` on `x` with t-based limits.

    Parameters
    ----------
    x : sequence of float
        Number of the block or session.
    y : sequence of float or None
        Unknown values are left out; their `x` stays empty.
    confidence : float
        Of the limits, 0 to 1.

    Notes
    -----
    ``b = Sxy / Sxx``; limits ``b ± t(n - 2) s / sqrt(Sxx)``.

    Examples
    --------
    >>> round(ols([1, 2, 3, 4], [1.0, 2.0, 2.0, 4.0]).per_step, 3)
    0.9
    """
    known_x, known_y = _pairs(x, y)
    n = len(known_x)
    if n < LEAST:
        return _few(n, LEAST)
    if np.ptp(known_x) == 0.0:
        return Slope(n, why="all values are of one block or session")
    design = _centred(known_x)[:, None]
    return Slope(n, *_regress(design, _centred(known_y), n - 2, confidence))


def theil_sen(
    x: Sequence[float], y: Sequence[float | None], *, confidence: float = CONFIDENCE
) -> Slope:
    """Return the median of all pairwise slopes with Sen's limits (`scipy.stats.theilslopes`).

    Limits are None where even the whole range of the pairwise slopes, whose confidence is
    ``1 - 2 / n!``, does not reach `confidence`: below 5 points for 95 %. Parameters as in `ols`.
    """
    known_x, known_y = _pairs(x, y)
    n = len(known_x)
    if n < LEAST:
        return _few(n, LEAST)
    if np.ptp(known_x) == 0.0:
        return Slope(n, why="all values are of one block or session")
    middle, _, low, high = (float(v) for v in stats.theilslopes(known_y, known_x, confidence))
    if 1.0 - 2.0 / math.factorial(min(n, 20)) < confidence:
        return Slope(
            n,
            middle,
            why=f"{n} values cannot carry {100 * confidence:g} % limits of a Theil-Sen slope",
        )
    return Slope(n, middle, low, high)


def partial(
    x: Sequence[float],
    y: Sequence[float | None],
    beside: Sequence[float | None],
    *,
    confidence: float = CONFIDENCE,
) -> Slope:
    """Return the slope of `y` on `x` with `beside` held constant (least squares on both).

    Parameters
    ----------
    x, y, confidence
        As in `ols`.
    beside : sequence of float or None
        What may explain the slope, as muscle.
    """
    known_x, known_y, known_z = _pairs(x, y, beside)
    n = len(known_x)
    if n < LEAST + 1:
        return _few(n, LEAST + 1)
    if np.ptp(known_x) == 0.0:
        return Slope(n, why="all values are of one block or session")
    if np.ptp(known_z) == 0.0:
        return Slope(n, why="the muscle measure did not vary")
    if abs(float(np.corrcoef(known_x, known_z)[0, 1])) > IN_STEP:
        return Slope(n, why="muscle moved in step with time; the two cannot be told apart")
    design = np.column_stack([_centred(known_x), _centred(known_z)])
    return Slope(n, *_regress(design, _centred(known_y), n - 3, confidence))


def common_slope(
    groups: Sequence[Hashable],
    x: Sequence[float | None],
    y: Sequence[float | None],
    *,
    confidence: float = CONFIDENCE,
) -> Slope:
    """Return the slope of `y` on `x` within groups, one for all of them.

    Parameters
    ----------
    groups : sequence
        The session of each block.
    x, y : sequence of float or None
        Of each block; each group's own means are taken off, so differences between groups do not
        count.
    confidence : float
        Of the limits, 0 to 1.
    """
    names = list(dict.fromkeys(groups))
    codes, known_x, known_y = _pairs([float(names.index(g)) for g in groups], x, y)
    n, present = len(codes), np.unique(codes)
    free = n - len(present) - 1
    if free < 1:
        return Slope(n, why="there are too few blocks to tell how the feature goes with muscle")
    for code in present:
        own = codes == code
        known_x[own], known_y[own] = _centred(known_x[own]), _centred(known_y[own])
    if float(known_x @ known_x) <= 1e-18 * n:
        return Slope(n, why="the muscle measure did not vary")
    return Slope(n, *_regress(known_x[:, None], known_y, free, confidence))


def line(
    x: Sequence[float],
    y: Sequence[float | None],
    at: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
) -> Line | None:
    """Return the least-squares line and the band of its mean at some places; None below 3 points.

    Parameters
    ----------
    x, y, confidence
        As in `ols`.
    at : sequence of float
        Where on `x`.
    """
    slope = ols(x, y, confidence=confidence)
    if slope.per_step is None:
        return None
    known_x, known_y = _pairs(x, y)
    n, centre = len(known_x), float(known_x.mean())
    places = np.asarray(at, dtype=np.float64)
    middle = float(known_y.mean()) + slope.per_step * (places - centre)
    rest = known_y - known_y.mean() - slope.per_step * (known_x - centre)
    spread = float(((known_x - centre) ** 2).sum())
    error = np.sqrt(float(rest @ rest) / (n - 2) * (1.0 / n + (places - centre) ** 2 / spread))
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, n - 2)) * error
    return Line(places, middle, middle - reach, middle + reach)


# ---------------------------------------------------------------- means and effects


def mean_of(values: Sequence[float | None], *, confidence: float = CONFIDENCE) -> Mean:
    """Return the mean of values with t-based limits; limits need at least 3."""
    (known,) = _pairs([math.nan if v is None else v for v in values])
    n = len(known)
    if n == 0:
        return Mean(0, why="there is no value")
    middle = float(known.mean())
    if n < LEAST:
        return Mean(n, middle, why=f"limits need at least {LEAST} values; there {_are(n)}")
    error = float(known.std(ddof=1)) / math.sqrt(n)
    reach = float(stats.t.ppf(0.5 + confidence / 2.0, n - 1)) * error
    return Mean(n, middle, middle - reach, middle + reach)


def d_z(before: Sequence[float | None], after: Sequence[float | None]) -> Effect:
    """Return the standardised mean difference of pairs, `after` minus `before`.

    Parameters
    ----------
    before, after : sequence of float or None, same length
        Pairs of which one is unknown are left out.
    """
    first, last = _pairs([math.nan if v is None else v for v in before], after)
    n = len(first)
    far = last - first
    middle = float(far.mean()) if n else None
    if n < LEAST:
        return Effect(n, None, middle, f"d_z needs at least {LEAST} pairs; there {_are(n)}")
    spread = float(far.std(ddof=1))
    if middle is None or spread <= 1e-12 * max(1.0, abs(middle)):
        return Effect(n, None, middle, "the differences do not vary")
    return Effect(n, middle / spread, middle)


# ---------------------------------------------------------------- the learner rule


@dataclass(frozen=True, slots=True)
class LearnerRule:
    """When a series of sessions counts as learning, said before the series begins.

    Parameters
    ----------
    metric : {'session_slope'}
        Training against the same session's rest, over the sessions.
    alpha : float
        The slope is above zero with a one-sided p value below this.
    share : float
        Or more than this share of the last `last` sessions lies above rest.
    last : int
    declared : str
        Where the rule was declared.
    """

    metric: str = RULE_METRIC
    alpha: float = 0.05
    share: float = 0.5
    last: int = 5
    declared: str = "the default of this software; no study file declared another one"

    @property
    def sentence(self) -> str:
        """The rule in words."""
        return (
            "Learner: (a) the session mean against the same session's rest rises over the "
            f"sessions (least squares, p < {self.alpha:g} one-sided), or (b) it lies above rest in "
            "more "
            f"than {100 * self.share:g} % of the last {self.last} sessions; and muscle does not "
            f"explain it. For (a) that means that the slope with muscle held constant stays above "
            f"zero and keeps at least {100 * KEPT:g} % of its size; for (b) that it still holds "
            "when the most that may go with muscle (95 % limits of their slope from block to "
            "block) is taken off each session."
        )

    @property
    def chance(self) -> str:
        """How often the rule is met when nothing changes."""
        runs = float(stats.binom.sf(math.floor(self.share * self.last + 1e-9), self.last, 0.5))
        return (
            f"By chance alone, when nothing changes, (a) is met in {100 * self.alpha:g} % of such "
            f"series and (b) in {100 * runs:.0f} %, before muscle is looked at."
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """One part of a rule: met, not met, or None when that cannot be said."""

    name: str
    met: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a series of sessions, and why."""

    verdict: Literal["learner", "not (yet)", "cannot be said"]
    why: str
    conditions: tuple[Condition, ...]
    rule: LearnerRule


def judge(
    rule: LearnerRule,
    sessions: Sequence[float],
    values: Sequence[float | None],
    muscle: Sequence[float | None],
    muscle_slope: Slope,
) -> Verdict:
    """Apply a learner rule.

    Parameters
    ----------
    rule : LearnerRule
    sessions : sequence of float
        Numbers of the sessions, in order.
    values : sequence of float or None
        The rule's metric in baseline spreads, positive in the trained direction.
    muscle : sequence of float or None
        ln of muscle in training against the same session's rest.
    muscle_slope : Slope
        How `values` go with ``ln muscle`` from block to block (`common_slope`).
    """
    rises, rises_free = _rises(rule, sessions, values, muscle)
    above, above_free = _above(rule, sessions, values, muscle, muscle_slope)
    first, second = _both(rises, rises_free), _both(above, above_free)
    conditions = (rises, rises_free, above, above_free)
    if first or second:
        way = [c for met, c in ((first, rises), (second, above)) if met]
        why = " ".join(c.said for c in way) + " Muscle does not explain it."
        return Verdict("learner", why, conditions, rule)
    if first is None or second is None:
        pairs = ((first, (rises, rises_free)), (second, (above, above_free)))
        open_ = [c.said for met, pair in pairs if met is None for c in pair if c.met is None]
        return Verdict("cannot be said", " ".join(dict.fromkeys(open_)), conditions, rule)
    failed = [
        free.said if main.met else main.said
        for main, free in ((rises, rises_free), (above, above_free))
    ]
    return Verdict("not (yet)", " ".join(dict.fromkeys(failed)), conditions, rule)


def _both(main: Condition, free: Condition) -> bool | None:
    """Return whether a part of the rule holds and is not muscle; None when that is unknown."""
    if main.met is False or (main.met and free.met is False):
        return False
    return None if main.met is None or free.met is None else True


def _rises(
    rule: LearnerRule,
    sessions: Sequence[float],
    values: Sequence[float | None],
    muscle: Sequence[float | None],
) -> tuple[Condition, Condition]:
    slope = ols(sessions, values)
    name, free = "(a) rises over the sessions", "(a) not explained by muscle"
    if slope.per_step is None or slope.p_up is None:
        said = f"(a) cannot be said: {slope.why}."
        return Condition(name, None, said), Condition(free, None, said)
    met = slope.per_step > 0.0 and slope.p_up < rule.alpha
    main = Condition(
        name,
        met,
        f"(a) the slope is {slope.per_step:+.3f} per session, p = {slope.p_up:.3f} one-sided: "
        f"{'below' if slope.p_up < rule.alpha else 'not below'} {rule.alpha:g}.",
    )
    held = partial(sessions, values, muscle)
    if held.per_step is None:
        return main, Condition(free, None, f"(a) muscle cannot be ruled out: {held.why}.")
    kept = held.per_step > 0.0 and held.per_step >= KEPT * slope.per_step
    return main, Condition(
        free,
        kept,
        f"(a) with muscle held constant the slope is {held.per_step:+.3f} per session, "
        f"{'at least' if kept else 'not'} {100 * KEPT:g} % of what it was.",
    )


def _above(
    rule: LearnerRule,
    sessions: Sequence[float],
    values: Sequence[float | None],
    muscle: Sequence[float | None],
    muscle_slope: Slope,
) -> tuple[Condition, Condition]:
    name, free = "(b) above rest in the last sessions", "(b) not explained by muscle"
    order = np.argsort(np.asarray(sessions, dtype=np.float64), kind="stable")
    known = [int(i) for i in order if values[i] is not None][-rule.last :]
    if len(known) < rule.last:
        said = f"(b) cannot be said: it needs {rule.last} sessions; there {_are(len(known))}."
        return Condition(name, None, said), Condition(free, None, said)
    last = [float(values[i] or 0.0) for i in known]
    over = sum(v > 0.0 for v in last)
    main = Condition(
        name,
        over > rule.share * rule.last,
        f"(b) {over} of the last {rule.last} sessions lie above rest.",
    )
    low, high = muscle_slope.low, muscle_slope.high
    tone = [muscle[i] for i in known]
    if low is None or high is None or any(m is None for m in tone):
        unknown = low is None or high is None
        why = muscle_slope.why if unknown else "muscle is not known in all of these sessions"
        return main, Condition(free, None, f"(b) muscle cannot be ruled out: {why}.")
    # The most that muscle may have added, as far as the limits of its slope allow.
    most = [max(low * (m or 0.0), high * (m or 0.0)) for m in tone]
    left = sum(v - b > 0.0 for v, b in zip(last, most, strict=True))
    return main, Condition(
        free,
        left > rule.share * rule.last,
        f"(b) with the most that may go with muscle taken off, {left} of the last {rule.last} do.",
    )
