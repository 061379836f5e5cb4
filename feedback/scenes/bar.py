"""A vertical bar beside a plain scale: research-plain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pygame

from engine.frames import Float
from feedback.scenes.shading import cut_out, smooth
from feedback.stage import ASH, IVORY, SLATE, Moment, Stage, box_distance, cover_surface

__all__ = ["Bar"]


class Bar:
    """A vertical bar whose height follows the level, beside a plain scale."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._wide, self._tall = stage.px(0.115), stage.px(0.64)
        corner = self._wide / 2
        self._left = round(stage.centre[0] - self._wide / 2)
        self._top = round(stage.centre[1] - self._tall / 2)
        distance = box_distance(self._wide, self._tall, (self._wide, self._tall), corner)
        self._inside = np.clip(0.5 - distance, 0.0, 1.0)
        self._track = cover_surface(self._inside, (70, 66, 62), 150)
        self._fill = self._column(SLATE, IVORY)
        self._neutral = self._column(ASH, ASH)
        self._scale = self._ticks()
        reach = stage.px(0.14)
        outside = box_distance(
            self._wide + 2 * reach, self._tall + 2 * reach, (self._wide, self._tall), corner
        )
        near = np.clip(1.0 - np.maximum(outside, 0) / reach, 0, 1)
        self._reach = reach
        self._glow = cover_surface(smooth(near), (255, 206, 140), 64)
        self._layer = pygame.Surface((self._wide, self._tall), pygame.SRCALPHA)

    def _column(self, low: Float, high: Float) -> Any:
        """Return the whole fill, from `low` at the bottom to `high` at the top."""
        rise = np.linspace(1, 0, self._tall)[None, :, None] ** 0.8
        colours = np.broadcast_to(
            low + (high - low) * 0.9 * rise, (self._wide, self._tall, 3)
        ).copy()
        # A cylinder's soft shading keeps the fill from looking like a slab.
        across = np.abs(np.linspace(-1, 1, self._wide))[:, None, None]
        colours *= 1.0 - 0.22 * across**2.2
        surface = pygame.Surface((self._wide, self._tall), pygame.SRCALPHA)
        rgb = pygame.surfarray.pixels3d(surface)
        rgb[:] = np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
        del rgb
        cut_out(surface, self._inside)
        return surface

    def _ticks(self) -> list[tuple[Any, tuple[int, int]]]:
        x = self._left + self._wide + self._stage.px(0.035)
        room = self._tall - self._wide
        ticks = []
        for i in range(5):
            long = self._stage.px(0.030 if i % 2 == 0 else 0.018)
            mark = pygame.Surface((long, self._stage.px(0.004)))
            mark.fill((96, 91, 86))
            y = self._top + self._wide // 2 + round(room * i / 4)
            ticks.append((mark, (x, y - mark.get_height() // 2)))
        return ticks

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        level, live, glow = moment.level, moment.live, moment.glow
        if glow > 0.0:
            self._glow.set_alpha(round(255 * glow))
            surface.blit(self._glow, (self._left - self._reach, self._top - self._reach))
        surface.blit(self._track, (self._left, self._top))
        for mark, at in self._scale:
            surface.blit(mark, at)
        # The round cap always shows: level 0 is a small bead at the bottom, level 1 the full bar.
        tall = self._wide + (self._tall - self._wide) * level * live
        y = self._tall - round(tall)
        layer = self._layer
        layer.fill((0, 0, 0, 0))
        part = (0, y, self._wide, self._tall - y)
        if live < 1.0:
            layer.blit(self._neutral, (0, y), part)
        if live > 0.0:
            self._fill.set_alpha(round(255 * live))
            layer.blit(self._fill, (0, y), part)
        # The track's own round end, moved to the top of the fill, makes its cap.
        if y > 0:
            self._cap(layer, y)
        surface.blit(layer, (self._left, self._top))

    def _cap(self, layer: Any, y: int) -> None:
        rows = min(self._wide // 2 + 1, self._tall - y)
        alpha = pygame.surfarray.pixels_alpha(layer)
        top = alpha[:, y : y + rows]
        top[:] = np.minimum(top, np.rint(self._inside[:, :rows] * 255).astype(np.uint8))
        del top, alpha
