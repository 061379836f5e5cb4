"""The plants of the garden: which one a reward grows, where, and how it looks while it grows.

All of it follows from the reward's number, so a garden looks the same in every window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pygame

from feedback.scenes.shading import Rgb, blend, code

__all__ = [
    "AISLE",
    "BUSHES",
    "Brush",
    "FINE",
    "HAZE",
    "Point",
    "ROWS",
    "Spot",
    "TREES",
    "plant",
    "spot_of",
    "tufts",
]

ROWS = (0.640, 0.700, 0.765, 0.830, 0.895, 0.965)  # down the window, from the back to the front
NEAR = (0.55, 0.62, 0.70, 0.80, 0.90, 1.00)  # size of what stands there
HAZE = (44.0, 60.0, 72.0)  # what distance mixes in
LEAVES: tuple[Rgb, ...] = ((58, 92, 78), (72, 104, 80), (50, 84, 84), (86, 112, 84))
PETALS: tuple[Rgb, ...] = (
    (238, 228, 206),
    (186, 172, 216),
    (158, 188, 216),
    (218, 178, 178),
    (230, 200, 148),
    (212, 220, 230),
    (200, 196, 226),
)

PLAN = "ffgfbfgfft"  # what ten rewards in a row grow: flower, grass, bush, tree
TREES, BUSHES = 14, 24  # so many fill the garden's back; after that flowers grow instead
FLOWER_ROWS = (5, 4, 3, 5, 4, 2, 5, 3, 4)
GRASS_ROWS = (5, 3, 4)
BUSH_ROWS = (1, 2)
TREE_ROWS = (0, 1)
GOLDEN = 0.6180339887498949
VARIANTS = 60
AISLE = 0.15  # of the unit, on both sides of the trellis: no tree

FINE = 3  # plants are drawn so much larger and scaled down: smooth edges

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """One plant: what, which of its kind's looks, in which row, where in the window (0..1)."""

    kind: str  # as in `PLAN`
    look: int
    row: int
    x: float
    y: float
    size: float


def spot_of(number: int, wide: float) -> Spot:
    """Return what the reward of this number, from 0, grows in a garden `wide` units wide."""
    rng = np.random.default_rng((77, number))
    turn, place = divmod(number, len(PLAN))
    kind = PLAN[place]
    nth = turn * PLAN.count(kind) + PLAN[:place].count(kind)
    if (kind == "t" and nth >= TREES) or (kind == "b" and nth >= BUSHES):
        kind, nth = ("g" if nth % 2 else "f"), 3 * nth + 2
    rows = {"f": FLOWER_ROWS, "g": GRASS_ROWS, "b": BUSH_ROWS, "t": TREE_ROWS}[kind]
    turn, place = divmod(nth, len(rows))
    row = rows[place]
    nth = turn * rows.count(row) + rows[:place].count(row)
    # Golden steps: however many there are, they are spread evenly.
    start = {"f": (0.0, 0.0, 0.30, 0.80, 0.66, 0.36), "g": (0, 0, 0, 0.60, 0.10, 0.52)}.get(kind)
    x = ((start[row] if start else 0.16 + 0.55 * row) + nth * GOLDEN) % 1.0
    x += rng.uniform(-0.012, 0.012)
    if kind == "t":
        aisle = AISLE / wide
        x = x * (0.5 - aisle) / 0.5 if x < 0.5 else 1.0 - (1.0 - x) * (0.5 - aisle) / 0.5
    y = ROWS[row] + rng.uniform(-0.012, 0.012)
    size = NEAR[row] * rng.uniform(0.85, 1.15)
    if kind in "fg":
        # Later ones are lower and stand before the earlier ones: a meadow, not a wall.
        size *= 1.18 / (1.0 + nth / 12.0) ** 0.58
        y += 0.020 * min(1.0, nth / 24.0) - 0.010
    return Spot(kind, int(rng.integers(VARIANTS)), row, x, y, size)


class Brush:
    """Draws on a surface three times as fine; lengths in units of the plant, y upwards."""

    def __init__(self, wide: float, tall: float, scale: float) -> None:
        self.scale = scale * FINE
        self._size = max(2, math.ceil(wide * scale)), max(2, math.ceil(tall * scale))
        self.surface = pygame.Surface((self._size[0] * FINE, self._size[1] * FINE), pygame.SRCALPHA)
        self._x, self._y = self.surface.get_width() / 2, float(self.surface.get_height())

    def at(self, x: float, y: float) -> Point:
        """Return a place on the surface; the plant stands at ``(0, 0)``."""
        return self._x + x * self.scale, self._y - y * self.scale

    def shape(self, colour: Rgb, points: list[Point]) -> None:
        """Fill what the points enclose."""
        pygame.draw.polygon(self.surface, code(colour), [self.at(*p) for p in points])

    def ball(self, colour: Rgb, x: float, y: float, radius: float) -> None:
        """Draw a disc around a place."""
        pygame.draw.circle(self.surface, code(colour), self.at(x, y), max(1.0, radius * self.scale))

    def leaf(self, colour: Rgb, x: float, y: float, angle: float, long: float, wide: float) -> None:
        """Draw a pointed leaf that begins at a place and lies along an angle, 0 to the right."""
        c, s = math.cos(angle), math.sin(angle)
        shape = ((0, 0), (0.25, 0.42), (0.55, 0.50), (0.82, 0.28), (1, 0))
        outline = [(a * long, b * wide) for a, b in shape]
        outline += [(a * long, -b * wide) for a, b in reversed(shape[1:-1])]
        self.shape(colour, [(x + a * c - b * s, y + a * s + b * c) for a, b in outline])

    def petal(
        self,
        colour: Rgb,
        x: float,
        y: float,
        angle: float,
        long: float,
        wide: float,
        flat: float,
    ) -> None:
        """Draw a round petal; `flat` is the share of its height that is seen from the side."""
        c, s = math.cos(angle), math.sin(angle)
        turns = np.linspace(-math.pi, math.pi, 13)[:-1]
        points = []
        for turn in turns:
            a = long * (0.54 + 0.46 * math.cos(turn))
            b = wide * 0.5 * math.sin(turn) * (0.75 + 0.25 * math.cos(turn))
            points.append((x + a * c - b * s, y + (a * s + b * c) * flat))
        self.shape(colour, points)

    def stem(self, colour: Rgb, points: list[Point], thick: float) -> None:
        """Draw a stem through points, thinner towards its end."""
        n = len(points)
        left, right = [], []
        for i, (x, y) in enumerate(points):
            half = 0.5 * thick * (1.0 - 0.55 * i / (n - 1))
            left.append((x - half, y))
            right.append((x + half, y))
        self.shape(colour, left + right[::-1])

    def done(self) -> Any:
        """Return the finished image, its colours already multiplied by its alpha."""
        return pygame.transform.smoothscale(self.surface, self._size)


def plant(spot: Spot, unit: float, grown: float) -> Any:
    """Return a plant, grown so far (0..1), standing on the middle of its image's base."""
    rng = np.random.default_rng((5, ord(spot.kind), spot.look))
    scale = unit * spot.size
    away = 0.62 * (1.0 - NEAR[spot.row]) / (1.0 - NEAR[0])
    tint = partial(blend, two=HAZE, share=away)
    if spot.kind == "f":
        kind = FLOWERS[spot.look % len(FLOWERS)]
        petals = PETALS[int(rng.integers(len(PETALS)))]
        brush = Brush(0.17, 0.20, scale)
        _flower(brush, rng, kind, petals, grown, tint)
    elif spot.kind == "g":
        brush = Brush(0.16, 0.15, scale)
        _grass(brush, rng, grown, tint)
    elif spot.kind == "b":
        brush = Brush(0.28, 0.20, scale)
        _bush(brush, rng, tint)
    else:
        brush = Brush(0.40, 0.52, scale)
        _tree(brush, rng, tint)
    image = brush.done()
    _darken_foot(image, 0.60 - 0.75 * away)
    return image


def _darken_foot(image: Any, dark: float) -> None:
    """Let the foot of a plant stand in the shade of its neighbours."""
    width, height = image.get_size()
    rows = np.linspace(0, 1, height)  # from the top
    shade = np.rint(255 * (1.0 - dark * np.clip((rows - 0.45) / 0.55, 0, 1) ** 1.2))
    strip = np.repeat(np.repeat(shade[None, :, None], width, axis=0), 3, axis=2)
    mult = pygame.Surface((width, height))
    pygame.surfarray.blit_array(mult, strip.astype(np.uint8))
    image.blit(mult, (0, 0), special_flags=pygame.BLEND_RGB_MULT)


Tint = Callable[[Rgb], Rgb]
Head = Callable[[Brush, np.random.Generator, Rgb, Point, float], None]


def _flower(
    brush: Brush, rng: np.random.Generator, head: Head, petals: Rgb, grown: float, tint: Tint
) -> None:
    """Draw stem and leaves, and the head that opens in the second half of growing."""
    tall, lean = rng.uniform(0.085, 0.150), rng.uniform(-0.030, 0.030)
    green = tint(LEAVES[int(rng.integers(len(LEAVES)))])
    rise = min(1.0, grown / 0.7)
    path = [(lean * (k / 6) ** 2 * rise, tall * k / 6 * rise) for k in range(7)]
    for k in range(4):
        at = 0.08 + 0.16 * k + rng.uniform(-0.04, 0.04)
        side = 1.0 if k % 2 else -1.0
        long = tall * rng.uniform(0.30, 0.46) * (1.0 - 0.16 * k)
        size = long * min(1.0, max(0.0, (rise - at) / 0.35))
        if size > 0.0:
            angle = math.pi / 2 - side * rng.uniform(0.55, 0.95)
            x, y = lean * at**2 * rise, tall * at * rise
            brush.leaf(blend(green, (0, 0, 0), 0.10), x, y, angle, size, 0.30 * size)
    brush.stem(green, path, 0.0062)
    opened = min(1.0, max(0.0, (grown - 0.45) / 0.55))
    if opened > 0.0:
        head(brush, rng, tint(petals), path[-1], opened)


def _daisy(brush: Brush, rng: np.random.Generator, c: Rgb, at: Point, size: float) -> None:
    count, long = int(rng.integers(9, 13)), 0.030 * size
    turn = rng.uniform(0, 1)
    for k in range(count):
        angle = 2 * math.pi * (k + turn) / count
        shade = blend(c, (60, 60, 80), 0.20 * (0.5 - 0.5 * math.sin(angle)))
        brush.petal(shade, *at, angle, long, 0.45 * long, 0.80)
    brush.ball(blend((222, 178, 104), (90, 70, 50), 0.15), *at, 0.0085 * size)


def _poppy(brush: Brush, rng: np.random.Generator, c: Rgb, at: Point, size: float) -> None:
    long, turn = 0.031 * size, rng.uniform(0, 1)
    order = sorted((2 * math.pi * (k + turn) / 5 for k in range(5)), key=math.sin, reverse=True)
    for angle in order:
        shade = blend(c, (66, 60, 84), 0.16 + 0.14 * math.sin(angle))
        brush.petal(shade, *at, angle, long, 1.12 * long, 0.72)
    for k in range(5):
        angle = 2 * math.pi * (k + turn + 0.5) / 5
        shade = blend(c, (66, 60, 84), 0.24)
        brush.petal(shade, *at, angle, 0.42 * long, 0.25 * long, 0.72)
    brush.ball(blend((222, 196, 132), (90, 70, 50), 0.1), *at, 0.0058 * size)


def _tulip(brush: Brush, rng: np.random.Generator, c: Rgb, at: Point, size: float) -> None:
    long = 0.044 * size * rng.uniform(0.92, 1.08)
    for angle, dark in ((2.02, 0.26), (1.12, 0.20), (1.80, 0.12), (1.34, 0.08), (1.57, 0.0)):
        shade = blend(c, (64, 58, 84), dark)
        brush.leaf(shade, at[0], at[1] - 0.004, angle, long, 0.62 * long)


def _spike(brush: Brush, rng: np.random.Generator, c: Rgb, at: Point, size: float) -> None:
    for k in range(36):
        up = k / 35
        x = rng.normal(0, 0.0060 * (1.0 - 0.8 * up))
        y = -0.030 + 0.070 * up * size
        shade = blend(c, (70, 62, 92), rng.uniform(0.0, 0.42))
        brush.ball(shade, at[0] + x, at[1] + y, 0.0048 * (1.05 - 0.6 * up) * size)


def _globe(brush: Brush, rng: np.random.Generator, c: Rgb, at: Point, size: float) -> None:
    for k in range(60):
        radius, angle = math.sqrt(1.0 - k / 60) * 0.027 * size, rng.uniform(0, 2 * math.pi)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        shade = blend(c, (64, 58, 88), 0.30 - 10.0 * y + rng.uniform(-0.1, 0.1))
        brush.ball(shade, at[0] + x, at[1] + 0.010 * size + y, 0.0038 * size)


def tufts(
    brush: Brush, rng: np.random.Generator, half: float, count: int, tall: float, tint: Tint
) -> None:
    """Let grass hide where something stands on the ground."""
    for _ in range(count):
        at, lean = rng.uniform(-half, half), rng.normal(0, 0.35)
        high = tall * rng.uniform(0.45, 1.0) * (1.0 - 0.5 * abs(at) / half)
        green = blend((40, 58, 56), (58, 82, 74), rng.uniform(0, 1))
        foot = rng.uniform(0.0, 0.12 * tall) + 0.10 * tall * (at / half) ** 2
        tip = at + lean * high, foot + high
        brush.shape(tint(green), [(at - 0.0022, foot), tip, (at + 0.0022, foot)])


FLOWERS: tuple[Head, ...] = (_daisy, _poppy, _tulip, _spike, _globe)


def _grass(brush: Brush, rng: np.random.Generator, grown: float, tint: Tint) -> None:
    for _ in range(16):
        at, lean = rng.normal(0, 0.012), rng.normal(0, 0.35)
        tall = rng.uniform(0.06, 0.135) * grown
        green = blend(LEAVES[int(rng.integers(len(LEAVES)))], (0, 0, 0), rng.uniform(0.0, 0.3))
        tip, half = at + lean * tall, 0.0032 * min(1.0, 2.0 * grown)
        bend = at + 0.30 * lean * tall
        brush.shape(
            tint(green),
            [
                (at - half, 0),
                (bend - 0.8 * half, 0.6 * tall),
                (tip, tall * (1.0 - 0.25 * abs(lean))),
                (bend + 0.8 * half, 0.6 * tall),
                (at + half, 0),
            ],
        )


def _foliage(
    brush: Brush,
    rng: np.random.Generator,
    centre: Point,
    reach: Point,
    count: int,
    leaf: float,
    tint: Tint,
) -> None:
    """Fill an oval with leaves, dark within and below, lighter towards the evening sky."""
    green = LEAVES[int(rng.integers(len(LEAVES)))]
    for k in range(count):
        angle = rng.uniform(0, 2 * math.pi)
        radius = math.sqrt(rng.uniform(0, 1)) * (1.05 - 0.35 * k / count)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        lit = 0.36 + 0.40 * y - 0.18 * x + 0.40 * k / count + rng.uniform(-0.18, 0.18)
        colour = blend((18, 30, 34), blend(green, (150, 176, 160), 0.25), min(1.0, max(0.0, lit)))
        place = centre[0] + reach[0] * x, centre[1] + reach[1] * y
        brush.leaf(tint(colour), *place, rng.uniform(0, 2 * math.pi), leaf, 0.62 * leaf)


def _blossoms(
    brush: Brush,
    rng: np.random.Generator,
    centre: Point,
    reach: Point,
    count: int,
    size: float,
    tint: Tint,
) -> None:
    petals = PETALS[int(rng.integers(len(PETALS)))]
    for _ in range(count):
        angle, radius = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 0.9))
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        colour = tint(blend(petals, (60, 60, 84), 0.35 - 0.20 * y + rng.uniform(-0.1, 0.15)))
        at = centre[0] + reach[0] * x, centre[1] + reach[1] * y
        turn = rng.uniform(0, 2)
        for k in range(5):
            brush.petal(colour, *at, turn + k * 2 * math.pi / 5, size, 0.85 * size, 0.9)


def _bush(brush: Brush, rng: np.random.Generator, tint: Tint) -> None:
    flowering = rng.random() < 0.7
    for x, tall, wide in (
        (rng.uniform(-0.06, -0.03), rng.uniform(0.05, 0.07), 0.055),
        (rng.uniform(0.03, 0.06), rng.uniform(0.045, 0.065), 0.055),
        (rng.uniform(-0.015, 0.015), rng.uniform(0.062, 0.078), 0.066),
    ):
        _foliage(brush, rng, (x, 1.10 * tall), (wide, tall), 150, 0.017, tint)
        if flowering:
            _blossoms(brush, rng, (x, 1.20 * tall), (0.85 * wide, 0.8 * tall), 9, 0.0075, tint)
    tufts(brush, rng, 0.120, 90, 0.034, tint)


def _tree(brush: Brush, rng: np.random.Generator, tint: Tint) -> None:
    bark = tint((52, 50, 54))
    slim = rng.random() < 0.35
    high = rng.uniform(0.30, 0.36)
    lean = rng.normal(0, 0.012)
    brush.stem(bark, [(lean * k / 5, high * k / 5) for k in range(6)], 0.026)
    for _ in range(0 if slim else 5):
        at, side = rng.uniform(0.55, 0.8), rng.choice((-1.0, 1.0))
        foot = lean * at, high * at
        tip = foot[0] + side * rng.uniform(0.04, 0.08), foot[1] + rng.uniform(0.06, 0.11)
        brush.stem(
            bark, [foot, ((foot[0] + tip[0]) / 2, foot[1] + 0.55 * (tip[1] - foot[1])), tip], 0.010
        )
    if slim:
        parts = [((lean, high * 0.62 + 0.075 * k), (0.070 - 0.014 * k, 0.062)) for k in range(4)]
    else:
        parts = [
            ((lean + rng.uniform(-0.10, -0.07), high - 0.01), (0.085, 0.070)),
            ((lean + rng.uniform(0.07, 0.10), high - 0.02), (0.085, 0.066)),
            ((lean + rng.uniform(-0.03, 0.03), high + 0.065), (0.100, 0.080)),
            ((lean + rng.uniform(-0.02, 0.02), high - 0.005), (0.095, 0.060)),
        ]
    flowering = rng.random() < 0.55
    for centre, reach in parts:
        _foliage(brush, rng, centre, reach, 170, 0.020, tint)
        if flowering:
            _blossoms(brush, rng, centre, reach, 14, 0.0075, tint)
    tufts(brush, rng, 0.045, 26, 0.034, tint)
