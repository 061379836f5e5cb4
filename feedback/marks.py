"""Small marks beside the words: a ring that empties, a closed eye, a scale, a soft plate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.stage import Colour, Stage, box_distance, cover_surface, disc

__all__ = ["Countdown", "beside", "closed_eye", "plate", "scale", "stacked"]


class Countdown:
    """A thin ring that empties clockwise from the top.

    Parameters
    ----------
    stage : Stage
    radius, thick : float
        In units.
    colour, track : (int, int, int)
        Of what remains and of what has gone.
    """

    def __init__(
        self, stage: Stage, radius: float, thick: float, colour: Colour, track: Colour
    ) -> None:
        outer = radius * stage.unit
        ring = max(1.5, thick * stage.unit)
        side = 2 * int(np.ceil(outer + 2))
        axis = np.arange(side) + 0.5 - side / 2
        distance = np.hypot(axis[:, None], axis[None, :])
        self._ring = np.clip(outer - distance + 0.5, 0, 1) * np.clip(
            distance - (outer - ring) + 0.5, 0, 1
        )
        # 0 at the top, rising clockwise to 1.
        turn = np.arctan2(axis[:, None], -axis[None, :]) / (2 * np.pi)
        self._turn = turn % 1.0
        self._soft = 1.0 / (2 * np.pi * max(outer, 1.0))  # a pixel along the ring
        self._colour = colour
        self._track = cover_surface(self._ring, track, 255)
        self._last: tuple[float, Any] | None = None

    def draw(self, share: float) -> Any:
        """Return the ring with `share` of it left."""
        if self._last is None or self._last[0] != share:
            gone = 1.0 - min(1.0, max(0.0, share))
            left = np.clip((self._turn - gone) / self._soft + 0.5, 0, 1)
            surface = self._track.copy()
            surface.blit(cover_surface(self._ring * left, self._colour, 255), (0, 0))
            self._last = share, surface
        return self._last[1]


def closed_eye(size: float, colour: Colour) -> Any:
    """Return a closed eye, `size` pixels wide: the lid's arc and its lashes."""
    wide = max(8, round(size))
    tall = max(5, round(0.52 * size))
    x = (np.arange(wide) + 0.5 - wide / 2)[:, None] / size
    y = (np.arange(tall) + 0.5)[None, :] / size
    thick = max(0.034, 0.8 / size)
    radius, top = 0.46, -0.17  # the arc's centre lies above the mark
    span = 1.02  # half of it, in radians from straight down
    angle = np.clip(np.arctan2(x, y - top), -span, span)
    away = np.hypot(x - radius * np.sin(angle), y - top - radius * np.cos(angle))
    for a in (-0.72, 0.0, 0.72):
        away = np.minimum(away, _to_line(x, y - top, a, radius, radius + 0.14))
    return cover_surface(np.clip((thick - away) * size + 0.5, 0, 1), colour, 255)


def _to_line(x: NDArray[Any], y: NDArray[Any], angle: float, near: float, far: float) -> Float:
    """Return the distance to the line from `near` to `far` along `angle` from straight down."""
    along = np.clip(x * np.sin(angle) + y * np.cos(angle), near, far)
    return np.asarray(np.hypot(x - along * np.sin(angle), y - along * np.cos(angle)))


def scale(wide: float, tall: float, at: float, line: Colour, mark: Colour) -> Any:
    """Return a level line with a tick in its middle and a mark at `at`, -1 to 1."""
    surface = pygame.Surface((round(wide), round(tall)), pygame.SRCALPHA)
    thick = max(1, round(0.09 * tall))
    middle = round(tall / 2)
    reach = wide / 2 - tall / 2
    bar = (round(wide / 2 - reach), middle - thick // 2, round(2 * reach), thick)
    pygame.draw.rect(surface, line, bar, border_radius=thick)
    tick = (round(wide / 2) - thick // 2, round(0.12 * tall), thick, round(0.76 * tall))
    pygame.draw.rect(surface, line, tick, border_radius=thick)
    dot = disc(0.30 * tall, None, mark, 255)
    x = wide / 2 + min(1.0, max(-1.0, at)) * reach
    surface.blit(dot, (round(x - dot.get_width() / 2), round(middle - dot.get_height() / 2)))
    return surface


def plate(wide: int, tall: int, feather: float, colour: Colour) -> Any:
    """Return a plate with soft edges, on which letters can be read over any picture."""
    distance = box_distance(wide, tall, (wide - feather, tall - feather), 1.2 * feather)
    cover = np.clip(0.5 - distance / feather, 0.0, 1.0)
    return cover_surface(cover * cover * (3.0 - 2.0 * cover), colour, 255)


def stacked(blocks: Sequence[Any], gap: int) -> Any:
    """Return surfaces below each other, on their middles; nothing overlaps."""
    tall = sum(b.get_height() for b in blocks) + gap * (len(blocks) - 1)
    wide = max(b.get_width() for b in blocks)
    surface = pygame.Surface((wide, tall), pygame.SRCALPHA)
    y = 0
    for block in blocks:
        surface.blit(block, ((wide - block.get_width()) // 2, y))
        y += block.get_height() + gap
    return surface


def beside(blocks: Sequence[Any], gap: int) -> Any:
    """Return surfaces beside each other, on their middles; nothing overlaps."""
    wide = sum(b.get_width() for b in blocks) + gap * (len(blocks) - 1)
    tall = max(b.get_height() for b in blocks)
    surface = pygame.Surface((wide, tall), pygame.SRCALPHA)
    x = 0
    for block in blocks:
        surface.blit(block, (x, (tall - block.get_height()) // 2))
        x += block.get_width() + gap
    return surface
