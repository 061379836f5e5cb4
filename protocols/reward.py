"""When a reward happens, and how high the level stands: counted in grid points, nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import RunError
from protocols.baseline import Baseline, Scale, points, scaled

if TYPE_CHECKING:
    from protocols.rules import Edge, Level, Rule

__all__ = ["DynamicRange", "LevelMap", "Schedule", "Smoother", "dynamic_range", "level_map"]


class Schedule:
    """SUSTAIN -> REWARD -> REFRACTORY -> ready.

    All conditions must hold for `sustain` consecutive points; then one reward; then `refractory`
    points in which nothing is counted. Two rewards are thus at least ``refractory + sustain``
    points apart. A pause of the session stops both counts, because nobody steps.

    Parameters
    ----------
    sustain_s, refractory_s : float
        In seconds.
    grid_hz : float
        Grid points per second.
    """

    __slots__ = ("_held", "_rest", "refractory", "sustain")

    def __init__(self, sustain_s: float, refractory_s: float, grid_hz: float) -> None:
        self.sustain = max(1, points(sustain_s, grid_hz))
        self.refractory = max(0, points(refractory_s, grid_hz))
        self._held = 0
        self._rest = 0

    def step(self, ok: bool) -> bool:
        """Count one grid point at which all conditions hold (`ok`) or not; return the reward."""
        if self._rest:
            self._rest -= 1
            return False
        if not ok:
            self._held = 0
            return False
        self._held += 1
        if self._held < self.sustain:
            return False
        self._held = 0
        self._rest = self.refractory
        return True

    def reset(self) -> None:
        """Forget what was sustained; a running refractory time stays."""
        self._held = 0


class Smoother:
    """Exponential average over clean points, unbiased from its first one.

    Parameters
    ----------
    smooth_s : float
        Time constant in seconds; 0 passes values through.
    grid_hz : float
        Grid points per second.
    """

    __slots__ = ("_frozen", "_gain", "_keep", "_sum", "_weight")

    def __init__(self, smooth_s: float, grid_hz: float) -> None:
        n = smooth_s * grid_hz
        self._gain = 1.0 if n <= 0.0 else -math.expm1(-1.0 / n)
        self._keep = n  # a longer silence than this and the old average says nothing
        self._sum = 0.0
        self._weight = 0.0
        self._frozen = 0

    def step(self, x: float) -> float:
        """Take the value of one clean point; return the average."""
        if self._frozen > self._keep:
            self.restart()
        self._frozen = 0
        gain, decay = self._gain, 1.0 - self._gain
        self._sum = decay * self._sum + gain * x
        # The weight the values seen so far have: dividing by it removes the pull towards 0.
        self._weight = decay * self._weight + gain
        return self._sum / self._weight

    def skip(self, n: int = 1) -> None:
        """Let `n` points pass without a value."""
        self._frozen += n

    def restart(self) -> None:
        """Forget everything."""
        self._sum = 0.0
        self._weight = 0.0
        self._frozen = 0


@dataclass(frozen=True, slots=True)
class LevelMap:
    """Maps a feature to a level: 0 at `start`, 1 at `end`, both on the feature's scale."""

    scale: Scale
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the level 0..1 of a known value in the feature's own unit."""
        level = (scaled(value, self.scale) - self.start) / (self.end - self.start)
        return 0.0 if level <= 0.0 else 1.0 if level >= 1.0 else level


def _edge(edge: Edge, scale: Scale, baseline: Baseline | None) -> float:
    if edge.fixed is not None:
        if scale == "ln" and not edge.fixed > 0.0:
            raise RunError(
                f"A level edge of {edge.fixed:g} has no logarithm.", "Give an edge above 0."
            )
        return scaled(edge.fixed, scale)
    return math.nan if baseline is None else baseline.edge(edge.plus_mad)


def level_map(
    level: Level, scale: Scale, baselines: Mapping[str, Baseline], reward: Rule | None
) -> LevelMap | None:
    """Return how the level follows from its feature, or None while a baseline is missing.

    Parameters
    ----------
    level : Level
        The protocol's ``feedback: level:``.
    scale : {"ln", "linear"}
        Of the level's feature.
    baselines : mapping of str to Baseline
        What is known of the person.
    reward : Rule or None
        The reward rule: when it watches the same feature, the level must grow its way.

    Raises
    ------
    RunError
        If the edges coincide, are no numbers, or run against the reward.
    """
    if level.start is None or level.end is None:
        return None
    base = baselines.get(level.feature)
    start = _edge(level.start, scale, base)
    end = _edge(level.end, scale, base)
    if math.isnan(start) or math.isnan(end):
        return None
    if not (math.isfinite(start) and math.isfinite(end)) or start == end:
        raise RunError(
            f"The level of {level.feature} has no range: it starts and ends at {start:g}.",
            "Move the edges of feedback: level: apart.",
        )
    # One edge fixed, the other from the person: only now is it known which is the higher. A
    # picture that grows while the person does the opposite would teach the opposite.
    mixed = (level.start.fixed is None) != (level.end.fixed is None)
    same = reward is not None and level.feature == reward.feature
    if mixed and same and (end > start) != (reward is not None and reward.direction == "above"):
        raise RunError(
            f"With this baseline the level of {level.feature} would run against its reward.",
            "Give both edges of feedback: level: from the baseline, or both fixed.",
        )
    return LevelMap(scale, start, end)


class DynamicRange:
    """A level whose range follows the person, after Delorme's neurofeedbacklab.

    Every 0.25 s the range widens by 3.33 % of itself at the end that was exceeded, and else shrinks
    by 1 %; the level moves by at most 0.05 in that time.

    Parameters
    ----------
    scale : {"ln", "linear"}
    low, high : float
        Where the range begins, on the feature's scale.
    least : float
        The narrowest range.
    down : bool
        The level falls as the feature rises.
    grid_hz : float
    """

    WIDEN, SHRINK, STEP, EVERY_S = 1.0 / 30.0, 0.01, 0.05, 0.25

    def __init__(
        self, scale: Scale, low: float, high: float, least: float, down: bool, grid_hz: float
    ) -> None:
        self._scale: Scale = scale
        self.low, self.high = low, high
        self._least = least
        self._down = down
        self._every = max(1, points(self.EVERY_S, grid_hz))
        self._step = self.STEP / self._every
        self._n = 0
        self._level = 0.5

    def __call__(self, value: float) -> float:
        """Return the level 0..1 of a known value in the feature's own unit."""
        x = scaled(value, self._scale)
        self._n += 1
        if self._n % self._every == 0:
            width = self.high - self.low
            if x > self.high:
                self.high += self.WIDEN * width
            elif x < self.low:
                self.low -= self.WIDEN * width
            elif width * (1.0 - self.SHRINK) >= self._least:
                self.low += 0.5 * self.SHRINK * width
                self.high -= 0.5 * self.SHRINK * width
        aim = min(1.0, max(0.0, (x - self.low) / (self.high - self.low)))
        aim = 1.0 - aim if self._down else aim
        self._level += min(self._step, max(-self._step, aim - self._level))
        return self._level


def dynamic_range(
    level: Level, scale: Scale, baselines: Mapping[str, Baseline], grid_hz: float
) -> DynamicRange | None:
    """Return the range that follows the person, or None while the rest is not known.

    It begins at the baseline's 5th and 95th percentile and never gets narrower than one MAD.
    """
    base = baselines.get(level.feature)
    if base is None:
        return None
    low, high = (scaled(base.quantile(q), scale) for q in (0.05, 0.95))
    return DynamicRange(scale, low, max(high, low + base.mad), base.mad, level.grows == "down",
                        grid_hz)  # fmt: skip
