"""The picture `ring`."""

from __future__ import annotations

from typing import Any

import pygame

from feedback.stage import Moment, Stage

__all__ = ["Ring"]

GREY, WARM = (104, 100, 96), (236, 210, 168)


class Ring:
    """A ring whose radius follows the level; everything is measured in the stage's unit.

    Parameters
    ----------
    stage : Stage
        Size, centre and background of the window.
    """

    def __init__(self, stage: Stage) -> None:
        self._centre = (round(stage.centre[0]), round(stage.centre[1]))
        self._small, self._reach = stage.px(0.10), stage.px(0.22)
        self._thick, self._apart = stage.px(0.014), stage.px(0.035)

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame over the background, see `feedback.stage.Picture`."""
        level, live, glow = moment.level, moment.live, moment.glow
        radius = round(self._small + self._reach * level * live)
        colour = _mixed(GREY, WARM, live)
        pygame.draw.circle(surface, colour, self._centre, radius, self._thick)
        if glow > 0.0:
            ground = tuple(surface.get_at(self._centre))[:3]
            outer = radius + self._apart
            pygame.draw.circle(
                surface, _mixed(ground, WARM, 0.5 * glow), self._centre, outer, self._thick
            )


def _mixed(one: tuple[int, ...], two: tuple[int, ...], share: float) -> tuple[int, ...]:
    return tuple(round(a + (b - a) * share) for a, b in zip(one, two, strict=True))
