"""The feature `slew`: how far a power has risen or fallen within the last seconds."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from engine.features import FeatureKind, Option

__all__ = ["SLEW", "Slew"]


class Slew:
    """S = ln P(t) - ln P(t - T), unknown where one of the two is.

    Parameters
    ----------
    options : mapping of str to float
        ``over`` is T, in seconds.
    grid_hz : float
        Grid points per second.
    """

    def __init__(self, options: Mapping[str, float], grid_hz: float) -> None:
        points = max(1, round(options["over"] * grid_hz))
        self._past = deque([math.nan] * (points + 1), maxlen=points + 1)  # oldest first

    def step(self, values: tuple[float, ...]) -> float:
        """Take the power at one clean grid point; return the rise, NaN where it is unknown."""
        (power,) = values
        self._past.append(math.log(power) if power > 0.0 else math.nan)
        return self._past[-1] - self._past[0]

    def skip(self, points: int) -> None:
        """Let grid points pass: time goes on, what they would have held stays unknown."""
        self._past.extend([math.nan] * min(points, len(self._past)))


SLEW = FeatureKind(
    name="slew",
    unit="1",
    scale="linear",
    needs=frozenset({"of"}),
    may=frozenset({"with"}),
    doc="How far a power has risen (above 0) or fallen within the last seconds.",
    formula="S = ln P(t) - ln P(t - over)",
    delay="half of `over` beyond that of its power",
    parts=frozenset({"power", "amplitude"}),
    n_parts=1,
    options={"over": Option(2.0, 0.5, 10.0, "s", "Time over which the change is looked at.")},
    make=Slew,
    lag_s=lambda options: options["over"] / 2.0,
)
