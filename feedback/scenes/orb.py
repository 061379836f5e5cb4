"""A soft light whose radius and brightness follow the level.

A thin rim stands where the level is, at once; the light itself, which covers more than a tenth of
the window, follows within 0.6 s. With a level that is smoothed as usual the two are one. A fixed
map of radii takes 256 new colours for each frame, which costs less than a millisecond.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from feedback.motion import Slew
from feedback.stage import ASH, GLOW, IVORY, SAND, SLATE, Moment, Stage

__all__ = ["Orb"]


class Orb:
    """A soft light whose radius and brightness follow the level."""

    REACH = 0.5  # half the side of the drawn square, in units

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        side = 2 * round(self.REACH * stage.unit)
        axis = (np.arange(side) + 0.5 - side / 2) / stage.unit
        radius = np.hypot(axis[:, None], axis[None, :])
        noise = np.random.default_rng(2).random(radius.shape) - 0.5
        index = np.rint(np.clip(radius / self.REACH * 255 + noise, 0, 255))
        self._map = pygame.Surface((side, side), depth=8)
        pygame.surfarray.blit_array(self._map, index.astype(np.uint8))
        self._radius = np.arange(256) / 255 * self.REACH
        self._backdrop = stage.backdrop(self._radius)
        self._at = (round(stage.centre[0] - side / 2), round(stage.centre[1] - side / 2))
        self._body = Slew(1.6)
        # Seen against the square's corners: the map saturates there and must not be drawn.
        self._map.set_colorkey(255)

    def colours(
        self, level: float, live: float, glow: float, reached: float | None = None
    ) -> NDArray[np.uint8]:
        """Return the 256 colours from the centre outwards, shape ``(256, 3)``.

        Parameters
        ----------
        level, live, glow : float
            See `feedback.stage.Moment`.
        reached : float or None
            Level that the light itself has reached; None is `level`.
        """
        shown = (level if reached is None else reached) * live
        size = 0.120 + 0.190 * shown
        r = self._radius
        hue = np.array(
            [np.interp(shown, (0.0, 0.4, 1.0), c) for c in zip(SLATE, SAND, IVORY, strict=True)]
        )
        hue = ASH + (hue - ASH) * live
        strength = 0.62 + 0.38 * shown
        x = r / size
        body = np.exp(-0.5 * (x / 0.62) ** 4) * (1.0 - 0.42 * np.clip(x, 0, 1.4) ** 2)
        body = np.maximum(body, 0.0)
        halo = (0.04 + 0.10 * shown) * np.exp(-np.maximum(r - 0.7 * size, 0) / (0.30 * size))
        light = (strength * (body + halo * (1.0 - body)))[:, None]
        out = self._backdrop + (hue - self._backdrop) * light
        if glow > 0.0:
            ring = np.exp(-0.5 * ((r - (size + 0.035)) / 0.040) ** 2)[:, None]
            out = out + (GLOW - out) * (0.30 * glow * ring)
        if live > 0.0:
            rim = np.exp(-0.5 * ((r - (0.120 + 0.190 * level)) / 0.0045) ** 2)[:, None]
            out = out + (IVORY - out) * (0.42 * live * rim)
        # Into the background before the square ends.
        edge = np.clip((self.REACH - r) / 0.06, 0, 1)[:, None]
        out = self._backdrop + (out - self._backdrop) * edge
        return np.asarray(np.rint(np.clip(out, 0, 255)), dtype=np.uint8)

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        level, live = moment.level, moment.live
        reached = self._body.step(level, live, moment.frame_s)
        colours = self.colours(level, live, moment.glow, reached)
        self._map.set_palette(colours.tolist())
        surface.blit(self._map, self._at)
