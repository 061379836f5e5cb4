"""Where the threshold of a rule comes from.

Every method is a pure function of the rule and the person's baselines. Both shipped methods set
a threshold once and leave it: a threshold that follows the person pays the same for getting
worse, and a constant reward rate is not learning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocols.baseline import Baseline
    from protocols.model import Rule

__all__ = ["METHODS", "fixed", "needs_baseline", "passes", "percentile", "resolve"]


def fixed(rule: Rule, baselines: Mapping[str, Baseline]) -> float:  # noqa: ARG001
    """Return the protocol's own number, in the feature's unit."""
    value = rule.threshold.value
    return math.nan if value is None else float(value)


def percentile(rule: Rule, baselines: Mapping[str, Baseline]) -> float:
    """Return the value that the share `success` of the clean baseline would have passed.

    ``above``: Q(1 - success); ``below``: Q(success); linear between neighbouring values; in the
    feature's own unit. NaN while there is no baseline of this feature.
    """
    base = baselines.get(rule.feature)
    success = rule.threshold.success
    if base is None or success is None:
        return math.nan
    return base.quantile(1.0 - success if rule.direction == "above" else success)


METHODS: Mapping[str, Callable[[Rule, Mapping[str, Baseline]], float]] = MappingProxyType(
    {"fixed": fixed, "percentile": percentile}
)
"""Threshold methods by the name a protocol uses."""


def needs_baseline(rule: Rule) -> bool:
    """Return whether the rule has no threshold before its feature's baseline."""
    return rule.threshold.method != "fixed"


def resolve(rule: Rule, baselines: Mapping[str, Baseline]) -> float:
    """Return the rule's threshold in its feature's unit, NaN while it cannot be known."""
    return METHODS[rule.threshold.method](rule, baselines)


def passes(value: float, threshold: float, above: bool) -> bool:
    """Return whether `value` lies strictly beyond `threshold`; both are numbers."""
    return value > threshold if above else value < threshold
