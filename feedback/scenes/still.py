"""A fixed symbol that never changes."""

from __future__ import annotations

from typing import Any

from feedback.scenes.shading import around
from feedback.stage import Moment, Stage, disc

__all__ = ["Still"]


class Still:
    """A fixed symbol: feedback is heard, not seen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ring = disc(0.052 * stage.unit, 0.007 * stage.unit, (150, 146, 140), 200)
        self._dot = disc(0.010 * stage.unit, None, (150, 146, 140), 220)

    def draw(self, surface: Any, moment: Moment) -> None:  # noqa: ARG002
        """Draw one frame; see `Picture`."""
        for shape in (self._ring, self._dot):
            surface.blit(shape, around(shape, *self._stage.centre))
