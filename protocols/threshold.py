"""Where the threshold of a rule begins.

Every method is a pure function of the rule and the person's baselines. Methods that move the
threshold afterwards (`protocols.adapt`) begin at the baseline's percentile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.baseline import Baseline
    from protocols.rules import Rule

__all__ = [
    "NAMES",
    "STARTS",
    "fixed",
    "needs_baseline",
    "passes",
    "percentile",
    "resolve",
    "shiftable",
    "z",
]

LEAST_SUCCESS, MOST_SUCCESS = 0.05, 0.95  # as a protocol may ask for
MOST_SHIFT = 0.9  # of a fixed threshold: a tenth of it, or nearly twice as much

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "fixed": "fixed",
        "percentile": "baseline_percentile",
        "z": "baseline_z",
        "running": "running_percentile",
        "block": "block_percentile",
        "staircase": "staircase",
    }
)
"""What the literature calls the methods."""


def fixed(rule: Rule, baselines: Mapping[str, Baseline], shift: float = 0.0) -> float:  # noqa: ARG001
    """Return the protocol's own number, in the feature's unit; `shift` makes it easier by a share.

    Shaped: ``above``: T (1 - shift), ``below``: T (1 + shift).
    """
    value = rule.threshold.value
    if value is None:
        return math.nan
    return float(value) * (1.0 - shift if rule.direction == "above" else 1.0 + shift)


def percentile(rule: Rule, baselines: Mapping[str, Baseline], shift: float = 0.0) -> float:
    """Return the value that the share `success` of the clean baseline would have passed.

    ``above``: Q(1 - success); ``below``: Q(success); linear between neighbouring values; in the
    feature's own unit. `shift` is added to the share. NaN while there is no baseline of this
    feature.
    """
    base = baselines.get(rule.feature)
    success = rule.threshold.success
    if base is None or success is None:
        return math.nan
    share = min(MOST_SUCCESS, max(LEAST_SUCCESS, success + shift)) if shift else success
    return base.quantile(1.0 - share if rule.direction == "above" else share)


def z(rule: Rule, baselines: Mapping[str, Baseline], shift: float = 0.0) -> float:  # noqa: ARG001
    """Return ``mean + plus * SD`` of the clean baseline, on the feature's scale, in its own unit.

    NaN while there is no baseline of this feature.
    """
    base = baselines.get(rule.feature)
    if base is None:
        return math.nan
    x = base.mean + (rule.threshold.plus_sd or 0.0) * base.sd
    return math.exp(x) if base.scale == "ln" else x


STARTS: Mapping[str, Callable[[Rule, Mapping[str, Baseline], float], float]] = MappingProxyType(
    {
        "fixed": fixed,
        "percentile": percentile,
        "z": z,
        "running": percentile,
        "block": percentile,
        "staircase": percentile,
    }
)
"""Where a threshold begins, by the method's name in the resolved protocol."""


def shiftable(rule: Rule, shift: float) -> float:
    """Return the part of a shift that a rule has room for.

    What lies beyond would have to be taken back step by step before anything changed again.
    """
    success = rule.threshold.success
    low, high = -MOST_SHIFT, MOST_SHIFT
    if rule.threshold.method != "fixed" and success is not None:
        low, high = LEAST_SUCCESS - success, MOST_SUCCESS - success
    return min(high, max(low, shift))


def needs_baseline(rule: Rule) -> bool:
    """Return whether the rule has no threshold before its feature's baseline."""
    return rule.threshold.method != "fixed"


def resolve(rule: Rule, baselines: Mapping[str, Baseline], shift: float = 0.0) -> float:
    """Return the rule's threshold in its feature's unit, NaN while it cannot be known.

    `shift` is what shaping has made it easier by (below 0: harder).
    """
    return STARTS[rule.threshold.method](rule, baselines, shift)


def passes(value: float, threshold: float, above: bool) -> bool:
    """Return whether `value` lies strictly beyond `threshold`; both are numbers."""
    return value > threshold if above else value < threshold
