"""Rules over one point's features: verdicts, thresholds, reward and level.

A session has one judge; a control condition that watches something else (another band, the other
direction) has another one, fed with the same points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.adapt import Adaptation, Moved, adaptation
from protocols.baseline import Baseline, Scale, known, scaled
from protocols.model import Level, Reward, Rule
from protocols.reward import DynamicRange, LevelMap, Smoother, dynamic_range, level_map
from protocols.rewards import REWARDS, RewardKind, rule
from protocols.threshold import passes, resolve, shiftable

__all__ = ["Judge", "Verdicts"]

Verdicts = tuple[bool | None, ...]


class Judge:
    """The rules and the level of one protocol.

    Parameters
    ----------
    reward : Reward or None
        None: nothing is rewarded.
    rules : sequence of Rule
        The reward's conditions first, then the inhibits.
    level : Level
    columns, scales : mapping of str
        Per feature, its position in a frame and the scale of its statistics.
    grid_hz : float
    rewards : mapping of str to RewardKind
        The registry of reward rules.
    shift : float
        What shaping has made the first condition easier by so far.
    """

    def __init__(
        self,
        reward: Reward | None,
        rules: Sequence[Rule],
        level: Level,
        *,
        columns: Mapping[str, int],
        scales: Mapping[str, Scale],
        grid_hz: float,
        rewards: Mapping[str, RewardKind] = REWARDS,
        shift: float = 0.0,
    ) -> None:
        self.rules = tuple(rules)
        self.reward = reward
        self.shift = shiftable(self.rules[0], shift) if self.rules else 0.0
        self._level = level
        self._grid_hz = grid_hz
        self._scales = dict(scales)
        self._places = tuple(
            (columns[r.feature], scales[r.feature], r.direction == "above") for r in self.rules
        )
        self._level_column = columns[level.feature]
        self._level_scale: Scale = scales[level.feature]
        self._schedule = (
            None
            if reward is None
            else rule(
                rewards[reward.rule],
                reward.sustain_s,
                reward.refractory_s,
                grid_hz,
                reward.options,
            )
        )
        self._smoother = Smoother(level.smooth_s, grid_hz)
        self.nothing: Verdicts = (None,) * len(self.rules)
        self.thresholds: tuple[float, ...] = ()
        self._ordered: dict[int, float] = {}
        self._adapting: dict[int, Adaptation] = {}
        self._slack = [0.0] * len(self.rules)  # hysteresis, on the feature's scale
        self._was = [False] * len(self.rules)
        self._map: LevelMap | DynamicRange | None = None

    # ------------------------------------------------------------ what is known

    def learn(self, baselines: Mapping[str, Baseline]) -> None:
        """Set thresholds and level from what is known of the person; an order stands.

        Raises
        ------
        RunError
            The level has no range with this rest.
        """
        self.thresholds = tuple(
            self._ordered.get(i, self._start(i, baselines)) for i in range(len(self.rules))
        )
        first = self.rules[0] if self.rules else None
        self._map = (
            dynamic_range(self._level, self._level_scale, baselines, self._grid_hz)
            if self._level.range == "dynamic"
            else level_map(self._level, self._level_scale, baselines, first)
        )
        self._adapting = {}
        for i, one in enumerate(self.rules):
            base = baselines.get(one.feature)
            self._slack[i] = 0.0 if base is None else one.hysteresis_mad * base.mad
            moving = adaptation(one, self._scales[one.feature], baselines, self._grid_hz)
            if moving is not None and i not in self._ordered:
                self._adapting[i] = moving

    def _start(self, i: int, baselines: Mapping[str, Baseline]) -> float:
        return resolve(self.rules[i], baselines, self.shift if i == 0 else 0.0)

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Take over a new difficulty of the first condition."""
        if not self.rules:
            return
        self.shift = shiftable(self.rules[0], shift)
        if 0 not in self._ordered:
            self._set(0, self._start(0, baselines))

    def order(self, i: int, value: float) -> None:
        """Set a threshold by hand; it no longer moves by itself."""
        self._ordered[i] = value
        if i in self._adapting:
            self._adapting[i].order()
        self._set(i, value)

    def ordered(self, i: int) -> bool:
        """Return whether a threshold was set by hand."""
        return i in self._ordered

    def _set(self, i: int, value: float) -> None:
        self.thresholds = tuple(value if j == i else t for j, t in enumerate(self.thresholds))

    # ------------------------------------------------------------ one grid point

    def verdicts(self, values: Sequence[float], trusted: Sequence[bool]) -> tuple[Verdicts, bool]:
        """Return per rule whether it passes (None: unknown), and whether all values are known."""
        out: list[bool | None] = []
        complete = True
        if not self.rules:
            value = values[self._level_column]
            return (), trusted[self._level_column] and known(value, self._level_scale)
        for i, (column, scale, above) in enumerate(self._places):
            value, threshold = values[column], self.thresholds[i]
            if not (trusted[column] and known(value, scale)):
                complete = False
                out.append(None)
                self._was[i] = False
            elif threshold != threshold:  # NaN: there is none yet
                out.append(None)
            elif not self._slack[i]:
                out.append(passes(value, threshold, above))
            else:
                if self._was[i]:
                    eased = scaled(threshold, scale) + (
                        -self._slack[i] if above else self._slack[i]
                    )
                    held = passes(scaled(value, scale), eased, above)
                else:
                    held = passes(value, threshold, above)
                self._was[i] = held
                out.append(held)
        return tuple(out), complete

    def gated(self) -> None:
        """Pass over a gated point: what held before it is not known to hold behind it."""
        self._was = [False] * len(self.rules)

    @property
    def fault(self) -> str:
        """Why a reward rule from elsewhere gives nothing any more; empty while it works."""
        return "" if self._schedule is None else str(getattr(self._schedule, "fault", ""))

    def pay(self, ok: bool) -> bool:
        """Count one grid point at which everything holds (`ok`) or not; return the reward."""
        return self._schedule is not None and self._schedule.step(ok)

    def level(
        self, gate: int, values: Sequence[float], trusted: Sequence[bool]
    ) -> tuple[float | None, str]:
        """Return the level at one training point, or None and why."""
        column = self._level_column
        if gate:
            self._smoother.skip()
            return None, "gate"
        value = values[column]
        if self._map is None or not trusted[column] or not known(value, self._level_scale):
            self._smoother.skip()
            return None, "unknown"
        level = self._smoother.step(self._map(value))
        return min(1.0, level), ""  # an average of ones may round a hair above one

    def counted(self, passed: Verdicts, x: Mapping[str, float]) -> list[tuple[int, Moved, float]]:
        """Let thresholds move by one clean training point.

        Parameters
        ----------
        passed : tuple of bool or None
        x : mapping of str to float
            The rules' features on their scales, NaN where unknown.

        Returns
        -------
        list of (int, Moved, float)
            Rule, what happened, and its threshold before, in the feature's unit.
        """
        out: list[tuple[int, Moved, float]] = []
        for i, moving in self._adapting.items():
            value = x[self.rules[i].feature]
            if value != value or moving.stopped:
                continue
            moved = moving.step(value, passed[i] is True)
            if moved is not None:
                out.append((i, moved, self._apply(i, moved)))
        return out

    def end_block(self) -> list[tuple[int, Moved, float]]:
        """Let thresholds move between blocks; see `counted`."""
        out: list[tuple[int, Moved, float]] = []
        for i, moving in self._adapting.items():
            moved = moving.end_block()
            if moved is not None:
                out.append((i, moved, self._apply(i, moved)))
        return out

    def _apply(self, i: int, moved: Moved) -> float:
        before = self.thresholds[i]
        scale = self._places[i][1]
        self._set(i, math.exp(moved.threshold) if scale == "ln" else moved.threshold)
        return before

    # ------------------------------------------------------------ pauses

    def begin(self) -> None:
        """Begin a phase."""
        self._reset()
        self._smoother.restart()

    def hold(self) -> None:
        """The session is held: nothing carries over."""
        self._reset()
        self._smoother.restart()

    def skip(self, points: int) -> None:
        """Grid points are missing."""
        self._reset()
        self._smoother.skip(points)

    def _reset(self) -> None:
        if self._schedule is not None:
            self._schedule.reset()
        self._was = [False] * len(self.rules)

    # ------------------------------------------------------------ for people

    @property
    def names(self) -> tuple[str, ...]:
        """The features that the rules and the level look at."""
        return tuple(dict.fromkeys([*(r.feature for r in self.rules), self._level.feature]))

    def scaled(self, values: Sequence[float]) -> dict[str, float]:
        """Return the rules' features on their scales; all must be known."""
        return {
            r.feature: scaled(values[column], scale)
            for r, (column, scale, _) in zip(self.rules, self._places, strict=True)
        }

    def told(self, i: int) -> dict[str, Any]:
        """Return which rule it is, for events."""
        one = self.rules[i]
        return {"rule": i, "feature": one.feature, "direction": one.direction}

    def method(self, i: int) -> str:
        """Return how a threshold came about."""
        return "operator" if i in self._ordered else self.rules[i].threshold.method
