"""What is watched beside the reward: sleep, and the crossover of theta over alpha."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from protocols.baseline import Baseline, points, scaled
from protocols.model import Crossover, Sleep

__all__ = ["CrossoverWatch", "SleepGuard"]

SLEEP_S = 60.0  # of clean time with both signs
SLEEP_DELTA = 2.0  # times its resting size
THERAPEUTIC_UV = 1.0  # theta above alpha by this ...
THERAPEUTIC_S = 180.0  # ... for so long (Johnson 2011)


class SleepGuard:
    """Tell drowsiness: theta above its resting median and delta above twice its resting size.

    Both for a minute of clean time; told once, and again after another minute. Slow rolling eye
    movements, the third sign (science: P5), are not looked for.

    Parameters
    ----------
    sleep : Sleep
    columns : mapping of str to int
        Of the features.
    grid_hz : float
    """

    def __init__(self, sleep: Sleep, columns: Mapping[str, int], grid_hz: float) -> None:
        self.sleep = sleep
        self._theta, self._delta = columns[sleep.theta], columns[sleep.delta]
        self._n_wanted = points(SLEEP_S, grid_hz)
        self._n = 0

    def step(self, values: Sequence[float], baselines: Mapping[str, Baseline]) -> bool:
        """Take one clean training point; return whether to wake the person now."""
        theta, delta = baselines.get(self.sleep.theta), baselines.get(self.sleep.delta)
        x, y = values[self._theta], values[self._delta]
        if theta is None or delta is None or not (math.isfinite(x) and math.isfinite(y)):
            return False
        if delta.scale == "ln":
            deep = y > 0.0 and math.log(y) > delta.median + math.log(SLEEP_DELTA)
        else:
            deep = y > SLEEP_DELTA * delta.median
        risen = (theta.scale == "linear" or x > 0.0) and scaled(x, theta.scale) > theta.median
        if not (deep and risen):
            self._n = 0
            return False
        self._n += 1
        if self._n < self._n_wanted:
            return False
        self._n = 0
        return True

    def restart(self) -> None:
        """Begin anew: a block begins, or samples are missing."""
        self._n = 0


class CrossoverWatch:
    """How long theta amplitude exceeds alpha amplitude in a block, in clean time.

    A *therapeutic* crossover is one by 1 uV or more for three minutes (Johnson 2011).

    Parameters
    ----------
    crossover : Crossover
    columns : mapping of str to int
    grid_hz : float
    """

    def __init__(self, crossover: Crossover, columns: Mapping[str, int], grid_hz: float) -> None:
        self.crossover = crossover
        self._theta, self._alpha = columns[crossover.theta], columns[crossover.alpha]
        self._grid_hz = grid_hz
        self._long = points(THERAPEUTIC_S, grid_hz)
        self.restart()

    def restart(self) -> None:
        """Begin a block."""
        self._above = self._run = self._therapeutic = self._n = 0

    def interrupt(self) -> None:
        """Samples are missing, or the session is held: no run lasts across that."""
        self._run = 0

    def step(self, values: Sequence[float]) -> None:
        """Take one clean training point."""
        theta, alpha = values[self._theta], values[self._alpha]
        if not (math.isfinite(theta) and math.isfinite(alpha)):
            return
        self._n += 1
        self._above += theta > alpha
        self._run = self._run + 1 if theta - alpha >= THERAPEUTIC_UV else 0
        self._therapeutic += self._run == self._long

    def summary(self) -> dict[str, float | int | None]:
        """Return what the block came to."""
        return {
            "crossover_s": self._above / self._grid_hz,
            "share": self._above / self._n if self._n else None,
            "therapeutic": self._therapeutic,
        }
