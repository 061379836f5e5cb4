"""Statistics of one phase: only what is clean, and still is a moment later, counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engine.frames import Gate
from protocols.baseline import Scale

__all__ = ["BEFORE_S", "Tally", "Watched"]

BEFORE_S = 0.1  # what precedes a blink belongs to the blink

_BLINK = int(Gate.BLINK)

Item = tuple[tuple[bool | None, ...], bool, list[float]]
"""Per rule whether it passes, whether all do, and the watched features on their scales."""
Counted = Callable[[tuple[bool | None, ...], list[float]], None]


@dataclass(frozen=True, slots=True)
class Watched:
    """A feature whose course the block statistics follow."""

    name: str
    column: int
    scale: Scale


class Tally:
    """Statistics of one phase. What precedes a blink by 0.1 s is withdrawn before it counts."""

    __slots__ = ("_before", "_counted", "_delay", "alone", "joint", "n", "n_values", "sums")

    def __init__(self, n_values: int, before: int, counted: Counted | None = None) -> None:
        self.n = 0
        self.alone = 0
        self.joint = 0
        self.sums = [0.0] * n_values
        self.n_values = [0] * n_values
        self._before = before
        self._delay: deque[Item | None] = deque()
        self._counted = counted

    def clean(self, passes: tuple[bool | None, ...], joint: bool, x: list[float]) -> None:
        """Take a clean point; `x` on the features' scales, NaN where unknown."""
        self._push((passes, joint, x))

    def unclean(self, gate: int) -> None:
        """Let a gated or unknown point pass."""
        if gate & _BLINK:
            self._delay.clear()
        self._push(None)

    def flush(self) -> None:
        """Count what is still waiting: no blink can follow it closely any more."""
        while self._delay:
            self._count(self._delay.popleft())

    def rates(self) -> tuple[float | None, float | None]:
        """Return the shares of clean points that pass the reward rule alone, and all rules."""
        if not self.n:
            return None, None
        return self.alone / self.n, self.joint / self.n

    def means(self) -> list[float | None]:
        """Return the mean of each watched feature on its scale."""
        return [s / n if n else None for s, n in zip(self.sums, self.n_values, strict=True)]

    def _push(self, item: Item | None) -> None:
        self._delay.append(item)
        if len(self._delay) > self._before:
            self._count(self._delay.popleft())

    def _count(self, item: Item | None) -> None:
        if item is None:
            return
        passes, joint, x = item
        self.n += 1
        self.alone += bool(passes) and passes[0] is True
        self.joint += joint
        for i, value in enumerate(x):
            if value == value:  # not NaN
                self.sums[i] += value
                self.n_values[i] += 1
        if self._counted is not None:
            self._counted(passes, x)
