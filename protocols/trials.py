"""Trials: a short baseline, then a task, then the reward; counted in grid points.

The feature counts from the mean over the trial's own baseline. A trial with an artefact anywhere in
baseline or task, or further from its baseline than the limit, is rejected: it shows no level from
there on, gives no reward and enters no mean (Strehl et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from protocols.baseline import points
from protocols.model import Trial

__all__ = ["TrialPoint", "Trials"]


@dataclass(frozen=True, slots=True)
class TrialPoint:
    """What a grid point of a trial gives.

    Parameters
    ----------
    level : float or None
        0.5 where the feature is at its trial baseline, 1 at the full way in the task's direction.
    joint : bool
        The task's condition holds now.
    reward : bool
        The trial is rewarded here, at the end of its task.
    say : str
        What the person is told now.
    ended : mapping or None
        The account of a trial that ends its task here.
    """

    level: float | None
    joint: bool
    reward: bool
    say: str
    ended: dict[str, Any] | None = None


class Trials:
    """The trials of one block.

    Parameters
    ----------
    trial : Trial
    order : sequence of int
        The task of every trial.
    grid_hz : float
    """

    def __init__(self, trial: Trial, order: Sequence[int], grid_hz: float) -> None:
        self.trial = trial
        self._order = tuple(order)
        self._n_base = max(1, points(trial.baseline_s, grid_hz))
        self._n_task = max(1, points(trial.task_s, grid_hz))
        self._n_judge = max(1, points(trial.judge_s, grid_hz))
        self._n_rest = points(trial.reward_s + trial.pause_s, grid_hz)
        self._k = 0  # trial
        self._i = 0  # point in it
        self._results: list[dict[str, Any]] = []
        self._begin()

    def _begin(self) -> None:
        self._base = self._judged = 0.0
        self._n_judged = 0
        self._rejected = ""

    @property
    def total(self) -> int:
        """Grid points of all trials together."""
        return len(self._order) * (self._n_base + self._n_task + self._n_rest)

    def skip(self) -> None:
        """Reject the running trial: samples are missing, or the session was held."""
        self._reject("held")

    def _reject(self, why: str) -> None:
        if not self._rejected and self._i < self._n_base + self._n_task:
            self._rejected = why

    def step(self, value: float, gate: int) -> TrialPoint:
        """Take one unheld grid point; `value` is NaN where it is not known."""
        if self._k >= len(self._order):
            return TrialPoint(None, False, False, "")
        i, task = self._i, self.trial.tasks[self._order[self._k]]
        active = i < self._n_base + self._n_task
        if active and (gate or not math.isfinite(value)):
            self._reject("gate" if gate else "unknown")
        level: float | None = None
        joint = reward = False
        ended: dict[str, Any] | None = None
        say = task.say if active else ""
        if i < self._n_base:
            if not self._rejected:
                self._base += value / self._n_base
        elif active:
            level, joint = self._task(value, i - self._n_base)
            if i == self._n_base + self._n_task - 1:
                ended, reward = self._judge()
                joint = joint or reward
        self._i += 1
        if self._i >= self._n_base + self._n_task + self._n_rest:
            self._i = 0
            self._k += 1
            self._begin()
        return TrialPoint(level, joint, reward, say, ended)

    def _task(self, value: float, i: int) -> tuple[float | None, bool]:
        if self._rejected:
            return None, False
        moved = value - self._base
        if abs(moved) > self.trial.reject.above_uv:
            self._reject("large")
            return None, False
        if i >= self._n_task - self._n_judge:
            self._judged += moved
            self._n_judged += 1
        task = self.trial.tasks[self._order[self._k]]
        sign = 1.0 if task.direction == "above" else -1.0
        level = min(1.0, max(0.0, 0.5 + 0.5 * sign * moved / self.trial.full_uv))
        limit = task.threshold.value or 0.0
        return level, moved > limit if sign > 0.0 else moved < limit

    def _judge(self) -> tuple[dict[str, Any], bool]:
        task = self.trial.tasks[self._order[self._k]]
        mean: float | None = None
        passed = False
        if not self._rejected and self._n_judged:
            mean = self._judged / self._n_judged
            limit = task.threshold.value or 0.0
            passed = mean > limit if task.direction == "above" else mean < limit
        result = {
            "n": self._k + 1,
            "task": task.name,
            "mean_uv": mean,
            "passed": passed,
            "rejected": self._rejected,
        }
        self._results.append(result)
        return result, passed

    def summary(self) -> dict[str, Any]:
        """Return the block's account: per task, and the first task's mean minus the second's."""
        out: dict[str, Any] = {}
        means: list[float | None] = []
        for task in self.trial.tasks:
            own = [r for r in self._results if r["task"] == task.name]
            kept = [float(r["mean_uv"]) for r in own if r["mean_uv"] is not None]
            means.append(sum(kept) / len(kept) if kept else None)
            out[task.name] = {
                "n": len(own),
                "rejected": len(own) - len(kept),
                "passed": sum(bool(r["passed"]) for r in own),
                "mean_uv": means[-1],
            }
        if len(means) == 2 and means[0] is not None and means[1] is not None:
            out["difference_uv"] = means[0] - means[1]
        return out
