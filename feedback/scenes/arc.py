"""A thin line along a circle, as long as the level.

The line is cut into small sectors, so that drawing any part of it costs next to nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from engine.frames import Float
from feedback.scenes.shading import around, code, mixed
from feedback.stage import cover_surface, disc

__all__ = ["Arc"]

Span = tuple[float, float]


class Arc:
    """A thin line along a circle that can be drawn up to any part of its length.

    Parameters
    ----------
    centre : (float, float)
        Of the circle, pixels.
    radius, thick : float
        Of the line's middle, and its width, pixels.
    span : (float, float)
        Angles of its two ends, degrees clockwise from the top.
    colours : sequence of ndarray
        Along the line.
    bead : float
        Radius of the bead at the end of what is drawn, pixels.
    """

    PIECE_PX = 5.0  # length of a sector

    def __init__(
        self,
        centre: tuple[float, float],
        radius: float,
        thick: float,
        span: Span,
        colours: tuple[Float, ...],
        bead: float,
    ) -> None:
        self._centre, self._radius, self._span = centre, radius, span
        length = radius * math.radians(abs(span[1] - span[0]))
        n = max(24, round(length / self.PIECE_PX))
        ends = np.linspace(span[0], span[1], n + 1)
        self._pieces = [
            self._sector(
                (float(ends[i]), float(ends[i + 1])), thick, mixed((i + 0.5) / n, *colours)
            )
            for i in range(n)
        ]
        self._cap = disc(thick / 2, None, code(colours[0]), 255)  # the line begins round
        self._bead = disc(bead, None, code(colours[-1]), 255)

    def at(self, share: float) -> tuple[float, float]:
        """Return the point at `share` of the length, pixels."""
        angle = math.radians(self._span[0] + (self._span[1] - self._span[0]) * share)
        return (
            self._centre[0] + self._radius * math.sin(angle),
            self._centre[1] - self._radius * math.cos(angle),
        )

    def _sector(self, span: Span, thick: float, colour: Float) -> tuple[Any, tuple[int, int]]:
        """Return the line between two angles, and where its surface belongs."""
        low, high = sorted(math.radians(a) for a in span)
        reach = self._radius + thick / 2 + 1, self._radius - thick / 2 - 1
        corners = [(r * math.sin(a), -r * math.cos(a)) for r in reach for a in (low, high)]
        left = math.floor(min(x for x, _ in corners) + self._centre[0]) - 1
        top = math.floor(min(y for _, y in corners) + self._centre[1]) - 1
        right = math.ceil(max(x for x, _ in corners) + self._centre[0]) + 1
        bottom = math.ceil(max(y for _, y in corners) + self._centre[1]) + 1
        x = (np.arange(left, right) + 0.5 - self._centre[0])[:, None]
        y = (np.arange(top, bottom) + 0.5 - self._centre[1])[None, :]
        cover = np.clip(thick / 2 + 0.5 - np.abs(np.hypot(x, y) - self._radius), 0.0, 1.0)
        # Each pixel belongs to exactly one sector: no seams where two of them meet.
        turn = np.mod(np.arctan2(x, -y) - low, 2 * math.pi)
        cover = cover * (turn < high - low)
        return cover_surface(cover, code(colour), 255), (left, top)

    def draw(self, surface: Any, share: float, alpha: int = 255) -> None:
        """Draw the line from its beginning up to `share` of its length, and the bead there."""
        if alpha <= 0:
            return
        along = min(1.0, max(0.0, share)) * len(self._pieces)
        whole = math.floor(along)
        drawn = self._pieces[:whole]
        for piece, _ in drawn:
            piece.set_alpha(alpha)
        surface.blits(drawn, False)
        if along > whole:
            piece, at = self._pieces[whole]
            piece.set_alpha(round(alpha * (along - whole)))
            surface.blit(piece, at)
        for dot, where in ((self._cap, 0.0), (self._bead, along / len(self._pieces))):
            dot.set_alpha(alpha)
            surface.blit(dot, around(dot, *self.at(where)))
