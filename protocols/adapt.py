"""Thresholds that move while the person trains, and what keeps them honest.

Every method sees clean training points only, on the feature's scale, and moves the threshold at
most once a second. A threshold that follows the person pays the same for getting worse: each has a
*drift guard*, which stops it for good once it has moved too far in the unwanted direction from
where the baseline put it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from protocols.baseline import Baseline, Scale, points, scaled

if TYPE_CHECKING:
    from protocols.rules import Rule

__all__ = ["BLOCK_LEAST_S", "Adaptation", "Moved", "adaptation", "drift_limit"]

PER_S = 0.02  # of the threshold (ln) or of a MAD, the most that a running one moves in a second
BLOCK_LEAST_S = 60.0  # of clean time; a threshold from less chases chance
READY_SHARE = 0.5  # of the window that must have filled before a running threshold moves
FROZEN_READY_SHARE = 1 / 3  # of the time until it freezes, where that is sooner
LINEAR_MADS = 2.0  # stand for 100 % where a share has no meaning, because 0 is no natural end


class Method(Protocol):
    """One way to move a threshold; all numbers on the feature's scale."""

    def step(self, x: float, passes: bool) -> float | None:
        """Take one clean training point; return where the threshold should be, None to leave it."""
        ...

    def end_block(self) -> tuple[float | None, str]:
        """Close a block; return where the threshold should be, or None and why it stays."""
        ...


@dataclass(frozen=True, slots=True)
class Moved:
    """What happened to a threshold.

    Parameters
    ----------
    threshold : float
        On the feature's scale.
    kind : {"moved", "block", "frozen", "drift_guard", "kept"}
    why : str
        For people.
    """

    threshold: float
    kind: str
    why: str = ""


class RunningPercentile:
    """The quantile of the last clean seconds, approached by at most 2 % a second.

    Parameters
    ----------
    share : float
        Quantile: ``1 - success`` for ``above``, ``success`` for ``below``.
    over_s : float
        Window, of clean time.
    limit : float
        The largest step a second, on the feature's scale.
    start : float
        The threshold from the baseline.
    grid_hz : float
    freeze_after_s : float, optional
        The threshold stands from here on, so it begins to move sooner.
    """

    def __init__(
        self,
        share: float,
        over_s: float,
        limit: float,
        start: float,
        grid_hz: float,
        freeze_after_s: float | None = None,
    ) -> None:
        self._share = share
        self._limit = limit
        self._now = start
        self._window: deque[float] = deque(maxlen=points(over_s, grid_hz))
        ready_s = READY_SHARE * over_s
        if freeze_after_s is not None:
            ready_s = min(ready_s, FROZEN_READY_SHARE * freeze_after_s)
        self._ready = points(ready_s, grid_hz)
        self._every = max(1, points(1.0, grid_hz))
        self._n = 0

    def step(self, x: float, passes: bool) -> float | None:  # noqa: ARG002
        self._window.append(x)
        self._n += 1
        if self._n % self._every:
            return None
        if len(self._window) < self._ready:
            return None
        aim = float(np.quantile(np.fromiter(self._window, np.float64), self._share))
        self._now += min(self._limit, max(-self._limit, aim - self._now))
        return self._now

    def end_block(self) -> tuple[float | None, str]:
        return None, ""


class BlockPercentile:
    """The quantile of the block just trained, set between blocks."""

    def __init__(self, share: float, grid_hz: float) -> None:
        self._share = share
        self._least = points(BLOCK_LEAST_S, grid_hz)
        self._values: list[float] = []

    def step(self, x: float, passes: bool) -> float | None:  # noqa: ARG002
        self._values.append(x)
        return None

    def end_block(self) -> tuple[float | None, str]:
        values, self._values = self._values, []
        if len(values) < self._least:
            return None, f"the block had less than {BLOCK_LEAST_S:g} s of clean time"
        return float(np.quantile(values, self._share)), ""


class Staircase:
    """Weighted up/down: harder with every success, easier with every failure (Kaernbach 1991).

    Steps of ``d`` a second when the condition holds and ``d p / (1 - p)`` when it does not balance
    where it holds for the share p of the time.
    """

    def __init__(self, success: float, step: float, above: bool, start: float, grid_hz: float):
        harder = step / grid_hz if above else -step / grid_hz
        self._harder, self._easier = harder, -harder * success / (1.0 - success)
        self._now = start
        self._every = max(1, points(1.0, grid_hz))
        self._n = 0

    def step(self, x: float, passes: bool) -> float | None:  # noqa: ARG002
        self._now += self._harder if passes else self._easier
        self._n += 1
        return None if self._n % self._every else self._now

    def end_block(self) -> tuple[float | None, str]:
        return None, ""


def drift_limit(share: float, scale: Scale, baseline: Baseline) -> float:
    """Return how far a threshold may drift, on the feature's scale.

    A share of the threshold itself where the feature is a size (``ln``), as far up as down there:
    15 % less or 18 % more. Elsewhere, where 0 is no natural end, 100 % stands for two MADs of the
    baseline.
    """
    return -math.log1p(-min(share, 0.99)) if scale == "ln" else share * LINEAR_MADS * baseline.mad


class Adaptation:
    """One rule's threshold in motion, under its drift guard.

    Parameters
    ----------
    rule : Rule
        With a threshold that adapts.
    scale : {"ln", "linear"}
        Of its feature.
    baseline : Baseline
        Of its feature; the threshold begins where its percentile is.
    grid_hz : float
    """

    def __init__(self, rule: Rule, scale: Scale, baseline: Baseline, grid_hz: float) -> None:
        threshold = rule.threshold
        self.rule = rule
        self._above = rule.direction == "above"
        success = threshold.success or 0.5
        share = 1.0 - success if self._above else success
        self._start = self.threshold = scaled(baseline.quantile(share), scale)
        self._drift = drift_limit(threshold.drift_guard, scale, baseline)
        self._left = (
            None if threshold.freeze_after_s is None else points(threshold.freeze_after_s, grid_hz)
        )
        self.stopped = ""
        per_s = math.log1p(PER_S) if scale == "ln" else PER_S * baseline.mad
        self._method: Method
        if threshold.method == "running":
            self._method = RunningPercentile(
                share, threshold.over_s, per_s, self._start, grid_hz, threshold.freeze_after_s
            )
        elif threshold.method == "block":
            self._method = BlockPercentile(share, grid_hz)
        else:
            step = (threshold.step_mad or 0.0) * baseline.mad
            self._method = Staircase(success, step, self._above, self._start, grid_hz)

    def step(self, x: float, passes: bool) -> Moved | None:
        """Take one clean training point, `x` on the feature's scale."""
        if self.stopped:
            return None
        aim = self._method.step(x, passes)
        moved = None if aim is None else self._to(aim, "moved")
        if self._left is not None and not self.stopped:
            self._left -= 1
            if self._left <= 0:
                self.stopped = "frozen"
                return Moved(self.threshold, "frozen", "It stays as it is from here on.")
        return moved

    def end_block(self) -> Moved | None:
        """Close a training block."""
        if self.stopped:
            return None
        aim, why = self._method.end_block()
        if aim is None:
            return Moved(self.threshold, "kept", why) if why else None
        return self._to(aim, "block")

    def order(self) -> None:
        """Stop for good: somebody set the threshold by hand."""
        self.stopped = "operator"

    def _to(self, aim: float, kind: str) -> Moved | None:
        wrong = self._start - aim if self._above else aim - self._start
        if wrong > self._drift:
            self.stopped = "drift_guard"
            edge = self._start - self._drift if self._above else self._start + self._drift
            self.threshold = edge
            return Moved(edge, "drift_guard", "It had followed the person the wrong way.")
        if aim == self.threshold:
            return None
        self.threshold = aim
        return Moved(aim, kind)


def adaptation(
    rule: Rule, scale: Scale, baselines: Mapping[str, Baseline], grid_hz: float
) -> Adaptation | None:
    """Return what moves a rule's threshold; None when it stands, or the rest is not known yet."""
    base = baselines.get(rule.feature)
    if not rule.threshold.adapts or base is None:
        return None
    return Adaptation(rule, scale, base, grid_hz)
