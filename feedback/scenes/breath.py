"""A breathing pacer: a soft disc that swells and sinks; the ring around it closes with the level.

The disc keeps time and nothing else. Everything round is one map of radii whose 256 colours change
with every frame (as in the orb).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.scenes.arc import Arc
from feedback.scenes.shading import mixed
from feedback.stage import ASH, GLOW, IVORY, SAND, SLATE, Moment, Stage

__all__ = ["Breath"]


class Breath:
    """A soft disc that breathes at a fixed rate; the ring around it closes with the level."""

    RING = 0.400  # radius of the ring, in units
    REACH = 0.485  # half the side of the drawn square
    SMALLEST, LARGEST = 0.135, 0.315  # radius of the disc
    CALMER = (0.205, 0.275)  # the same with reduced motion

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        strong = stage.style.high_contrast
        self._rate_per_min = float(stage.options.get("rate_per_min", 6.0))
        self._in_share = float(stage.options.get("in_share", 0.4))
        self._sizes = self.CALMER if stage.style.reduced_motion else (self.SMALLEST, self.LARGEST)
        self._thick = 0.015 if strong else 0.009
        self._track = 0.50 if strong else 0.30
        self._arc = Arc(
            stage.centre,
            self.RING * stage.unit,
            max(2.0, self._thick * stage.unit),
            (0.0, 360.0),
            (np.full(3, 255.0),) if strong else (SLATE * 1.12, SAND, IVORY),
            max(2.5, (0.0165 if strong else 0.0115) * stage.unit),
        )
        self._radius, self._map, self._at = self._rings()
        self._backdrop = stage.backdrop(self._radius)

    def _rings(self) -> tuple[Float, Any, tuple[int, int]]:
        """Return the radius of each of the 256 colours, the map of them, and where it belongs."""
        ring, reach = self.RING, self.REACH
        # The ring has sharp edges: there, the radii lie half a pixel apart.
        knots = (0.0, ring - 0.014, ring + 0.014, reach)
        places = (0.0, 150.0, 205.0, 255.0)
        side = 2 * round(reach * self._stage.unit)
        axis = (np.arange(side) + 0.5 - side / 2) / self._stage.unit
        index = np.interp(np.hypot(axis[:, None], axis[None, :]), knots, places)
        index += np.random.default_rng(3).random(index.shape) - 0.5
        rings = pygame.Surface((side, side), depth=8)
        pygame.surfarray.blit_array(rings, np.rint(np.clip(index, 0, 255)).astype(np.uint8))
        rings.set_colorkey(255)  # the corners, where nothing is drawn
        centre = self._stage.centre
        at = (round(centre[0] - side / 2), round(centre[1] - side / 2))
        return np.interp(np.arange(256), places, knots), rings, at

    def fullness(self, t: float) -> float:
        """Return how full the breath is at `t` seconds: 0 at the turn to in, 1 at the turn to out.

        Half a cosine up for the in part, half a cosine down for the out part.
        """
        way, inwards = self._way(t)
        return 0.5 - 0.5 * math.cos(math.pi * way) * (1.0 if inwards else -1.0)

    def _way(self, t: float) -> tuple[float, bool]:
        """Return how far the in or the out part has come, 0..1, and whether it is the in part."""
        phase = (t * self._rate_per_min / 60.0) % 1.0
        if phase < self._in_share:
            return phase / self._in_share, True
        return (phase - self._in_share) / (1.0 - self._in_share), False

    def colours(self, moment: Moment) -> NDArray[np.uint8]:
        """Return the 256 colours from the centre outwards, shape ``(256, 3)``."""
        r, live = self._radius, moment.live
        full = self.fullness(moment.t)
        way, inwards = self._way(moment.t)
        flow = math.sin(math.pi * way)  # none at the turns, strongest halfway
        size = self._sizes[0] + (self._sizes[1] - self._sizes[0]) * full
        hue = ASH + (mixed(full, SLATE, SAND * 1.04, IVORY * 0.94) - ASH) * live
        # A full light in the middle of two veils: the breath fills them from within.
        x = r / size
        light = 0.46 * np.exp(-0.5 * (x / 0.60) ** 4)
        for share, strength, soft in ((1.00, 0.22, 0.012), (0.80, 0.16, 0.026)):
            light += strength * (0.5 - 0.5 * np.tanh((r - size * share) / soft))
        light *= 0.84 + 0.16 * full
        # In: light gathers at the rim, which leads. Out: it stays in the middle.
        if inwards:
            light += 0.22 * flow * np.exp(-0.5 * ((r - size + 0.008) / 0.013) ** 2)
        else:
            light += 0.16 * flow * np.exp(-0.5 * (x / 0.40) ** 2)
        light += (0.07 + 0.09 * full) * np.exp(-np.maximum(r - size, 0.0) / 0.05) * (1.0 - light)
        out = self._backdrop + (hue - self._backdrop) * np.clip(light, 0, 1)[:, None]
        return self._with_ring(out, moment)

    def _with_ring(self, out: Float, moment: Moment) -> NDArray[np.uint8]:
        """Add how far the disc will go, a reward's light, and the track of the ring."""
        r, unit = self._radius, self._stage.unit
        mark = np.exp(-0.5 * ((r - self._sizes[1] - 0.010) / 0.0020) ** 2)[:, None]
        out = out + (ASH - out) * (0.20 * mark)
        if moment.glow > 0.0:
            away = np.abs(r - self.RING)
            near = 0.34 * np.exp(-away / 0.011) + 0.26 * np.exp(-0.5 * (away / 0.032) ** 2)
            out = out + (GLOW - out) * (moment.glow * near)[:, None]
        half = max(2.0 / unit, self._thick) / 2
        cover = np.clip((half - np.abs(r - self.RING)) * unit + 0.5, 0, 1)[:, None]
        out = out + (ASH - out) * (self._track * cover)
        fade = np.clip((self.REACH - r) / 0.03, 0, 1)[:, None]
        out = self._backdrop + (out - self._backdrop) * fade
        return np.asarray(np.rint(np.clip(out, 0, 255)), dtype=np.uint8)

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._map.set_palette(self.colours(moment).tolist())
        surface.blit(self._map, self._at)
        self._arc.draw(surface, moment.level, round(255 * moment.live))
