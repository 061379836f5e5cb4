"""A garden at nightfall: every reward grows something that stays, a firefly rises with the level.

What stands where follows from the number of rewards alone. Whatever is full-grown is kept in one
picture of the whole garden, so a frame costs the same after four hundred rewards as after three.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.stage import Moment, Stage, cover_surface, disc

__all__ = ["Garden"]

Float32 = NDArray[np.float32]
Colour3 = tuple[float, float, float]

FAR = 0.60  # down the window: where the ground begins
ROWS = (0.640, 0.700, 0.765, 0.830, 0.895, 0.965)  # down the window, from the back to the front
NEAR = (0.55, 0.62, 0.70, 0.80, 0.90, 1.00)  # size of what stands there
TRELLIS_BEFORE = 3  # rows behind the trellis
FLY_LOW, FLY_HIGH, FLY_REST = 0.690, 0.150, 0.420  # down the window
TRELLIS_FOOT = 0.800

HAZE = (44.0, 60.0, 72.0)  # what distance mixes in
LEAVES: tuple[Colour3, ...] = ((58, 92, 78), (72, 104, 80), (50, 84, 84), (86, 112, 84))
PETALS: tuple[Colour3, ...] = (
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
GROWN_PER_FRAME = 6  # at most
AISLE = 0.15  # of the unit, on both sides of the trellis: no tree


@dataclass(frozen=True, slots=True)
class _Spot:
    """One plant: what, where (in the window, 0..1), in which row, which of its kind's looks."""

    kind: str
    look: int
    row: int
    x: float
    y: float
    size: float


def _spot(number: int, wide: float) -> _Spot:
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
    return _Spot(kind, int(rng.integers(VARIANTS)), row, x, y, size)


class Garden:
    """A garden in which every reward grows something; a firefly rises with the level."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._unit = math.sqrt(stage.unit * stage.height)  # a tall window grows taller plants
        self._grown = 0
        self._kept: tuple[_Spot, Any] | None = None  # the plant that is growing, full-grown
        self._ground = _painted(stage)
        self._trellis, self._trellis_at = _trellis(stage, self._unit)
        self._rows = [pygame.Surface(stage.size, pygame.SRCALPHA) for _ in ROWS]
        self._whole = self._ground.copy()
        self._compose(self._whole, self._whole.get_rect())
        strong = stage.style.high_contrast
        self._fly = _light(self._unit, 0.017 if strong else 0.0115, 0.085, (255, 238, 184))
        self._resting = disc((0.013 if strong else 0.010) * self._unit, None, (124, 121, 117), 235)
        self._glow = _halo(0.17 * self._unit, (255, 222, 160), 92)

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._grow_to(math.floor(moment.rewards + 1e-9))
        surface.blit(self._whole, (0, 0))
        part = moment.rewards - self._grown
        if 1e-9 < part < 1.0:
            self._draw_growing(surface, _spot(self._grown, self._wide), part)
        if moment.glow > 0.0 and moment.rewards > 0.0:
            self._draw_glow(surface, moment)
        self._draw_fly(surface, moment)

    @property
    def _wide(self) -> float:
        return self._stage.width / self._stage.unit

    def _place(self, spot: _Spot, image: Any) -> tuple[int, int]:
        """Return where the image's top left corner goes: it stands on the middle of its base."""
        x = spot.x * self._stage.width - image.get_width() / 2
        return round(x), round(spot.y * self._stage.height) - int(image.get_height())

    # ------------------------------------------------------------ growing

    def _grow_to(self, rewards: int) -> None:
        """Put what is full-grown into the rows it stands in."""
        if rewards == self._grown:
            return
        if rewards < self._grown:  # another session's garden
            self._grown = 0
            for row in self._rows:
                row.fill((0, 0, 0, 0))
        changed = None
        # A window opened again fills up within some frames instead of standing still for long.
        rewards = min(rewards, self._grown + GROWN_PER_FRAME)
        for number in range(self._grown, rewards):
            spot = _spot(number, self._wide)
            image = self._full_grown(spot)
            at = self._place(spot, image)
            self._rows[spot.row].blit(image, at, special_flags=pygame.BLEND_PREMULTIPLIED)
            here = image.get_rect(topleft=at)
            changed = here if changed is None else changed.union(here)
        whole = self._grown == 0 or changed is None
        self._grown = rewards
        self._compose(self._whole, self._whole.get_rect() if whole else changed)

    def _full_grown(self, spot: _Spot) -> Any:
        if self._kept is None or self._kept[0] != spot:
            self._kept = spot, _plant(spot, self._unit, 1.0)
        return self._kept[1]

    def _compose(
        self, target: Any, where: Any, growing: _Spot | None = None, image: Any = None
    ) -> None:
        """Draw ground, rows and trellis within `where`, and one growing plant in its row."""
        target.set_clip(where)
        target.blit(self._ground, where, where)
        for k, row in enumerate(self._rows):
            if k == TRELLIS_BEFORE:
                target.blit(self._trellis, self._trellis_at)
            target.blit(row, where, where, special_flags=pygame.BLEND_PREMULTIPLIED)
            if growing is not None and growing.row == k:
                at = self._place(growing, image)
                target.blit(image, at, special_flags=pygame.BLEND_PREMULTIPLIED)
        target.set_clip(None)

    def _draw_growing(self, surface: Any, spot: _Spot, part: float) -> None:
        eased = part * part * (3.0 - 2.0 * part)
        if spot.kind in "tb":  # costly to draw: the full-grown one, smaller
            whole = self._full_grown(spot)
            scale = max(0.02, eased)
            size = (
                max(1, round(whole.get_width() * scale)),
                max(1, round(whole.get_height() * scale)),
            )
            image = pygame.transform.smoothscale(whole, size)
        else:
            image = _plant(spot, self._unit, max(0.02, eased))
        where = image.get_rect(topleft=self._place(spot, image)).clip(surface.get_rect())
        self._compose(surface, where, spot, image)

    def _draw_glow(self, surface: Any, moment: Moment) -> None:
        number = math.ceil(moment.rewards - 1e-9) - 1
        spot = _spot(number, self._wide)
        tall = {"t": 0.24, "b": 0.05, "f": 0.10, "g": 0.05}[spot.kind] * spot.size * self._unit
        x = spot.x * self._stage.width - self._glow.get_width() / 2
        y = spot.y * self._stage.height - tall - self._glow.get_height() / 2
        self._glow.set_alpha(round(255 * moment.glow * moment.live))
        surface.blit(self._glow, (round(x), round(y)))

    # ------------------------------------------------------------ the firefly

    def _draw_fly(self, surface: Any, moment: Moment) -> None:
        x, height, live = self._stage.centre[0], self._stage.height, moment.live
        if live < 1.0:
            self._resting.set_alpha(round(255 * (1.0 - live)))
            aside = x + 0.046 * self._unit
            surface.blit(self._resting, _about(self._resting, aside, FLY_REST * height))
        if live > 0.0:
            # It sways to the sides only: its height is the level's.
            sway = 0.0 if self._stage.style.reduced_motion else 0.006 * self._unit
            x += sway * (math.sin(1.3 * moment.t) + 0.6 * math.sin(2.9 * moment.t + 1.0))
            y = (FLY_LOW + (FLY_HIGH - FLY_LOW) * moment.level) * height
            self._fly.set_alpha(round(255 * live))
            surface.blit(self._fly, _about(self._fly, x, y))


def _about(image: Any, x: float, y: float) -> tuple[int, int]:
    return round(x - image.get_width() / 2), round(y - image.get_height() / 2)


def _halo(radius: float, colour: tuple[int, int, int], alpha: int) -> Any:
    side = 2 * math.ceil(radius)
    axis = np.arange(side) + 0.5 - side / 2
    near = np.clip(1.0 - np.hypot(axis[:, None], axis[None, :]) / radius, 0, 1)
    return cover_surface(near**2.2, colour, alpha)


def _light(unit: float, size: float, reach: float, colour: tuple[int, int, int]) -> Any:
    """Return the firefly: a small bright body in a soft halo."""
    image = _halo(reach * unit, colour, 150)
    body = disc(size * unit, None, (255, 248, 222), 255)
    image.blit(body, _about(body, image.get_width() / 2, image.get_height() / 2))
    return image


# ---------------------------------------------------------------- plants

Point = tuple[float, float]
FINE = 3  # plants are drawn so much larger and scaled down: smooth edges


class _Brush:
    """Draws on a surface three times as fine; lengths in units of the plant, y upwards."""

    def __init__(self, wide: float, tall: float, scale: float) -> None:
        self.scale = scale * FINE
        self._size = max(2, math.ceil(wide * scale)), max(2, math.ceil(tall * scale))
        self.surface = pygame.Surface((self._size[0] * FINE, self._size[1] * FINE), pygame.SRCALPHA)
        self._x, self._y = self.surface.get_width() / 2, float(self.surface.get_height())

    def at(self, x: float, y: float) -> Point:
        return self._x + x * self.scale, self._y - y * self.scale

    def shape(self, colour: Colour3, points: list[Point]) -> None:
        pygame.draw.polygon(self.surface, _code(colour), [self.at(*p) for p in points])

    def ball(self, colour: Colour3, x: float, y: float, radius: float) -> None:
        pygame.draw.circle(
            self.surface, _code(colour), self.at(x, y), max(1.0, radius * self.scale)
        )

    def leaf(
        self, colour: Colour3, x: float, y: float, angle: float, long: float, wide: float
    ) -> None:
        """Draw a pointed leaf that begins at a place and lies along an angle, 0 to the right."""
        c, s = math.cos(angle), math.sin(angle)
        shape = ((0, 0), (0.25, 0.42), (0.55, 0.50), (0.82, 0.28), (1, 0))
        outline = [(a * long, b * wide) for a, b in shape]
        outline += [(a * long, -b * wide) for a, b in reversed(shape[1:-1])]
        self.shape(colour, [(x + a * c - b * s, y + a * s + b * c) for a, b in outline])

    def petal(
        self,
        colour: Colour3,
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

    def stem(self, colour: Colour3, points: list[Point], thick: float) -> None:
        """Draw a stem through points, thinner towards its end."""
        n = len(points)
        left, right = [], []
        for i, (x, y) in enumerate(points):
            half = 0.5 * thick * (1.0 - 0.55 * i / (n - 1))
            left.append((x - half, y))
            right.append((x + half, y))
        self.shape(colour, left + right[::-1])

    def done(self) -> Any:
        return pygame.transform.smoothscale(self.surface, self._size)


def _code(colour: Colour3) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, round(c))) for c in colour)
    return r, g, b


def _mix(one: Colour3, two: Colour3, share: float) -> Colour3:
    a, b, c = (x + (y - x) * share for x, y in zip(one, two, strict=True))
    return a, b, c


def _plant(spot: _Spot, unit: float, grown: float) -> Any:
    """Return a plant, grown so far (0..1), standing on the middle of its image's base."""
    rng = np.random.default_rng((5, ord(spot.kind), spot.look))
    scale = unit * spot.size
    away = 0.62 * (1.0 - NEAR[spot.row]) / (1.0 - NEAR[0])
    tint = partial(_mix, two=HAZE, share=away)
    if spot.kind == "f":
        kind = FLOWERS[spot.look % len(FLOWERS)]
        petals = PETALS[int(rng.integers(len(PETALS)))]
        brush = _Brush(0.17, 0.20, scale)
        _flower(brush, rng, kind, petals, grown, tint)
    elif spot.kind == "g":
        brush = _Brush(0.16, 0.15, scale)
        _grass(brush, rng, grown, tint)
    elif spot.kind == "b":
        brush = _Brush(0.28, 0.20, scale)
        _bush(brush, rng, tint)
    else:
        brush = _Brush(0.40, 0.52, scale)
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


Tint = Callable[[Colour3], Colour3]
Head = Callable[[_Brush, np.random.Generator, Colour3, Point, float], None]


def _flower(
    brush: _Brush, rng: np.random.Generator, head: Head, petals: Colour3, grown: float, tint: Tint
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
            brush.leaf(_mix(green, (0, 0, 0), 0.10), x, y, angle, size, 0.30 * size)
    brush.stem(green, path, 0.0062)
    opened = min(1.0, max(0.0, (grown - 0.45) / 0.55))
    if opened > 0.0:
        head(brush, rng, tint(petals), path[-1], opened)


def _daisy(brush: _Brush, rng: np.random.Generator, c: Colour3, at: Point, size: float) -> None:
    count, long = int(rng.integers(9, 13)), 0.030 * size
    turn = rng.uniform(0, 1)
    for k in range(count):
        angle = 2 * math.pi * (k + turn) / count
        shade = _mix(c, (60, 60, 80), 0.20 * (0.5 - 0.5 * math.sin(angle)))
        brush.petal(shade, *at, angle, long, 0.45 * long, 0.80)
    brush.ball(_mix((222, 178, 104), (90, 70, 50), 0.15), *at, 0.0085 * size)


def _poppy(brush: _Brush, rng: np.random.Generator, c: Colour3, at: Point, size: float) -> None:
    long, turn = 0.031 * size, rng.uniform(0, 1)
    order = sorted((2 * math.pi * (k + turn) / 5 for k in range(5)), key=math.sin, reverse=True)
    for angle in order:
        shade = _mix(c, (66, 60, 84), 0.16 + 0.14 * math.sin(angle))
        brush.petal(shade, *at, angle, long, 1.12 * long, 0.72)
    for k in range(5):
        angle = 2 * math.pi * (k + turn + 0.5) / 5
        shade = _mix(c, (66, 60, 84), 0.24)
        brush.petal(shade, *at, angle, 0.42 * long, 0.25 * long, 0.72)
    brush.ball(_mix((222, 196, 132), (90, 70, 50), 0.1), *at, 0.0058 * size)


def _tulip(brush: _Brush, rng: np.random.Generator, c: Colour3, at: Point, size: float) -> None:
    long = 0.044 * size * rng.uniform(0.92, 1.08)
    for angle, dark in ((2.02, 0.26), (1.12, 0.20), (1.80, 0.12), (1.34, 0.08), (1.57, 0.0)):
        shade = _mix(c, (64, 58, 84), dark)
        brush.leaf(shade, at[0], at[1] - 0.004, angle, long, 0.62 * long)


def _spike(brush: _Brush, rng: np.random.Generator, c: Colour3, at: Point, size: float) -> None:
    for k in range(36):
        up = k / 35
        x = rng.normal(0, 0.0060 * (1.0 - 0.8 * up))
        y = -0.030 + 0.070 * up * size
        shade = _mix(c, (70, 62, 92), rng.uniform(0.0, 0.42))
        brush.ball(shade, at[0] + x, at[1] + y, 0.0048 * (1.05 - 0.6 * up) * size)


def _globe(brush: _Brush, rng: np.random.Generator, c: Colour3, at: Point, size: float) -> None:
    for k in range(60):
        radius, angle = math.sqrt(1.0 - k / 60) * 0.027 * size, rng.uniform(0, 2 * math.pi)
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        shade = _mix(c, (64, 58, 88), 0.30 - 10.0 * y + rng.uniform(-0.1, 0.1))
        brush.ball(shade, at[0] + x, at[1] + 0.010 * size + y, 0.0038 * size)


def _tufts(
    brush: _Brush, rng: np.random.Generator, half: float, count: int, tall: float, tint: Tint
) -> None:
    """Let grass hide where something stands on the ground."""
    for _ in range(count):
        at, lean = rng.uniform(-half, half), rng.normal(0, 0.35)
        high = tall * rng.uniform(0.45, 1.0) * (1.0 - 0.5 * abs(at) / half)
        green = _mix((40, 58, 56), (58, 82, 74), rng.uniform(0, 1))
        foot = rng.uniform(0.0, 0.12 * tall) + 0.10 * tall * (at / half) ** 2
        tip = at + lean * high, foot + high
        brush.shape(tint(green), [(at - 0.0022, foot), tip, (at + 0.0022, foot)])


FLOWERS: tuple[Head, ...] = (_daisy, _poppy, _tulip, _spike, _globe)


def _grass(brush: _Brush, rng: np.random.Generator, grown: float, tint: Tint) -> None:
    for _ in range(16):
        at, lean = rng.normal(0, 0.012), rng.normal(0, 0.35)
        tall = rng.uniform(0.06, 0.135) * grown
        green = _mix(LEAVES[int(rng.integers(len(LEAVES)))], (0, 0, 0), rng.uniform(0.0, 0.3))
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
    brush: _Brush,
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
        colour = _mix((18, 30, 34), _mix(green, (150, 176, 160), 0.25), min(1.0, max(0.0, lit)))
        place = centre[0] + reach[0] * x, centre[1] + reach[1] * y
        brush.leaf(tint(colour), *place, rng.uniform(0, 2 * math.pi), leaf, 0.62 * leaf)


def _blossoms(
    brush: _Brush,
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
        colour = tint(_mix(petals, (60, 60, 84), 0.35 - 0.20 * y + rng.uniform(-0.1, 0.15)))
        at = centre[0] + reach[0] * x, centre[1] + reach[1] * y
        turn = rng.uniform(0, 2)
        for k in range(5):
            brush.petal(colour, *at, turn + k * 2 * math.pi / 5, size, 0.85 * size, 0.9)


def _bush(brush: _Brush, rng: np.random.Generator, tint: Tint) -> None:
    flowering = rng.random() < 0.7
    for x, tall, wide in (
        (rng.uniform(-0.06, -0.03), rng.uniform(0.05, 0.07), 0.055),
        (rng.uniform(0.03, 0.06), rng.uniform(0.045, 0.065), 0.055),
        (rng.uniform(-0.015, 0.015), rng.uniform(0.062, 0.078), 0.066),
    ):
        _foliage(brush, rng, (x, 1.10 * tall), (wide, tall), 150, 0.017, tint)
        if flowering:
            _blossoms(brush, rng, (x, 1.20 * tall), (0.85 * wide, 0.8 * tall), 9, 0.0075, tint)
    _tufts(brush, rng, 0.120, 90, 0.034, tint)


def _tree(brush: _Brush, rng: np.random.Generator, tint: Tint) -> None:
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
    _tufts(brush, rng, 0.045, 26, 0.034, tint)


# ---------------------------------------------------------------- what was there before


def _trellis(stage: Stage, unit: float) -> tuple[Any, Point]:
    """Return a slim garden ladder and where it goes; its five rungs are the level's scale."""
    top, foot = 0.070 * stage.height, TRELLIS_FOOT * stage.height
    half = 0.030 * unit
    wide, tall = math.ceil(4.4 * half), math.ceil(foot - top)
    strong = stage.style.high_contrast
    colour = (214, 216, 218) if strong else (126, 138, 146)
    image = pygame.Surface((wide * FINE, tall * FINE), pygame.SRCALPHA)
    image.fill((*colour, 0))
    middle = wide * FINE / 2

    def width_at(y: float) -> float:
        """Half the width: from a point at the top, as garden obelisks are."""
        return half * FINE * (1.0 - math.exp(-6.0 * y / tall)) * (0.84 + 0.26 * y / tall)

    ink = (*colour, 210 if strong else 120)
    thick = max(2, round(0.0028 * unit * FINE))
    downs = np.linspace(0.014 * unit, tall, 60)
    for side in (-1, 1):
        pole = [(middle + side * width_at(y), y * FINE) for y in downs]
        pygame.draw.lines(image, ink, False, pole, thick)
    pygame.draw.circle(image, ink, (middle, 0.011 * unit * FINE), 0.0065 * unit * FINE)
    for k in range(5):
        y = (FLY_LOW + (FLY_HIGH - FLY_LOW) * k / 4) * stage.height - top
        reach = width_at(y)
        pygame.draw.rect(image, ink, (middle - reach, y * FINE - thick / 2, 2 * reach, thick))
    image = pygame.transform.smoothscale(image, (wide, tall))
    for side in (-1, 1):
        tuft = _Brush(0.05, 0.05, unit)
        _tufts(
            tuft,
            np.random.default_rng(44 + side),
            0.016,
            22,
            0.036,
            partial(_mix, two=HAZE, share=0.1),
        )
        grass = tuft.done()
        at = (
            wide / 2 + side * width_at(tall) / FINE - grass.get_width() / 2,
            tall - grass.get_height(),
        )
        image.blit(grass, at, special_flags=pygame.BLEND_PREMULTIPLIED)
    return image, (round(stage.centre[0] - wide / 2), round(top))


def _noise(x: Float, seed: int, octaves: int) -> Float:
    """Return smooth noise of about -1..1 at places `x`, one wave per unit of `x`."""
    total, size = np.zeros(x.shape), 1.0
    for k in range(octaves):
        lattice = np.random.default_rng((seed, k)).uniform(-1, 1, 256)
        place = x * 2.0**k
        cell = np.floor(place).astype(int)
        part = place - cell
        part = part * part * (3.0 - 2.0 * part)
        low, high = lattice[cell % 256], lattice[(cell + 1) % 256]
        total += size * (low + (high - low) * part)
        size *= 0.55
    return total


def _painted(stage: Stage) -> Any:
    """Return the evening sky, hedges far away and the meadow, all empty."""
    unit = math.sqrt(stage.unit * stage.height)
    x = np.asarray((np.arange(stage.width) + 0.5 - stage.centre[0]) / stage.unit, dtype=float)
    y = np.arange(stage.height) / stage.height
    stops = (0.0, 0.30, 0.56, 0.60, 0.605, 0.74, 1.0)
    colours = (
        (20, 26, 44), (34, 46, 66), (70, 84, 96), (76, 88, 98),
        (44, 62, 62), (32, 48, 48), (14, 22, 25),
    )  # fmt: skip
    rows = np.stack([np.interp(y, stops, c) for c in zip(*colours, strict=True)], axis=-1)
    image = np.repeat(rows[:, None, :].astype(np.float32), stage.width, axis=1)
    # The last light of the day, low behind the hedges.
    up = np.exp(-0.5 * ((y - 0.60) / 0.16) ** 2) * (y < FAR + 0.01)
    low = np.exp(-0.5 * ((y - 0.70) / 0.09) ** 2) * 0.35
    across = np.exp(-0.5 * (x / 0.55) ** 2)
    light = ((up + low)[:, None] * across[None, :] * 0.42).astype(np.float32)[..., None]
    image += (np.array((150, 138, 124), np.float32) - image) * light
    line = FAR * stage.height
    for k, (colour, high, swing) in enumerate(
        (((58, 72, 82), 0.085, 0.034), ((42, 57, 66), 0.050, 0.028), ((31, 45, 52), 0.020, 0.020))
    ):
        crown = high + swing * _noise(x * (2.3 + 1.1 * k), 50 + k, 5)
        crown += 0.010 * np.abs(_noise(x * 14.0, 60 + k, 3))
        crest = (line - np.maximum(crown, 0.004) * unit).astype(np.float32)[None, :]
        top = int(crest.min()) - 1
        bottom = round(line + 0.012 * stage.height)
        span = np.arange(top, bottom, dtype=np.float32)[:, None]
        cover = np.clip(span - crest + 0.5, 0, 1) * np.clip(
            (bottom - span) / (0.012 * stage.height), 0, 1
        )
        part = image[top:bottom]
        part += (np.array(colour, np.float32) - part) * cover[..., None]
    image += _turf(stage)[..., None]
    rolling = y[:, None] - 0.004 * _noise(x * 1.3, 90, 3)[None, :]
    mist = 0.62 * np.exp(-0.5 * ((rolling - FAR - 0.004) / 0.020) ** 2)
    image += (np.array((84, 96, 102), np.float32) - image) * mist.astype(np.float32)[..., None]
    noise = np.random.default_rng(7).random(image.shape[:2], dtype=np.float32)
    image += noise[..., None] - np.float32(0.5)
    codes = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    surface = pygame.image.frombuffer(codes.tobytes(), stage.size, "RGB")
    surface = surface.convert() if pygame.display.get_surface() else surface.copy()
    _sow_stars(stage, surface)
    _hang_moon(stage, surface, unit)
    _lay_stones(stage, surface, unit)
    _sow_grass(stage, surface, unit)
    return surface


def _turf(stage: Stage) -> Float32:
    """Return the meadow's light and dark patches, flat as they lie."""
    rows = np.arange(stage.height) / stage.height
    down = np.clip((rows - FAR) / (1.0 - FAR), 0, 1)
    x = np.asarray((np.arange(stage.width) - stage.centre[0]) / stage.unit, dtype=float)
    out = np.zeros((stage.height, stage.width), dtype=np.float32)
    for k in range(4):
        wave = _noise(x * (2.0 + 1.7 * k), 70 + k, 2)
        tide = _noise(down * (9.0 + 7.0 * k), 80 + k, 2)
        out += np.outer(tide * (down > 0), wave).astype(np.float32) * np.float32(2.2)
    return out


def _sow_stars(stage: Stage, surface: Any) -> None:
    rng = np.random.default_rng(41)
    for _ in range(round(40 * stage.width / stage.unit)):
        x, y = rng.random() * stage.width, rng.random() ** 1.4 * 0.42 * stage.height
        radius = rng.uniform(0.0009, 0.0018) * stage.unit
        alpha = round(rng.uniform(50, 150) * (1.0 - y / (0.45 * stage.height)))
        star = disc(radius, None, (226, 230, 236), alpha)
        surface.blit(star, (round(x), round(y)))


def _hang_moon(stage: Stage, surface: Any, unit: float) -> None:
    """Hang a thin crescent, paler than the firefly."""
    radius = 0.027 * unit
    side = 2 * math.ceil(radius + 2)
    axis = np.arange(side) + 0.5 - side / 2
    full = np.clip(radius - np.hypot(axis[:, None], axis[None, :]) + 0.5, 0, 1)
    shade = np.hypot(axis[:, None] + 0.42 * radius, axis[None, :] + 0.16 * radius)
    crescent = full * np.clip((shade - 0.94 * radius) / (0.05 * radius) + 0.5, 0, 1)
    x, y = 0.825 * stage.width, 0.170 * stage.height
    for image in (
        _halo(0.15 * unit, (150, 166, 186), 46),
        cover_surface(crescent, (206, 210, 212), 200),
    ):
        surface.blit(image, _about(image, x, y))


def _lay_stones(stage: Stage, surface: Any, unit: float) -> None:
    """Lay stepping stones from the viewer to the trellis."""
    rng = np.random.default_rng(43)
    for k in range(7):
        share = (k / 6) ** 1.25  # 0 at the trellis
        y = TRELLIS_FOOT + 0.012 + (1.02 - TRELLIS_FOOT) * share
        near = (y - FAR) / (1.0 - FAR)
        x = stage.centre[0] + (0.045 * math.sin(3.4 * share) + 0.09 * share) * unit
        wide = 0.074 * near * unit * rng.uniform(0.9, 1.1)
        tall = 0.30 * wide
        size = (math.ceil(wide), math.ceil(tall))
        stone = pygame.Surface((size[0] * FINE, size[1] * FINE), pygame.SRCALPHA)
        light = _mix((70, 84, 88), (40, 50, 55), share)
        for colour, drop in ((_mix(light, (8, 14, 16), 0.6), 0.12), (light, 0.0)):
            box = (0, drop * size[1] * FINE, size[0] * FINE, 0.86 * size[1] * FINE)
            pygame.draw.ellipse(stone, _code(colour), box)
        image = pygame.transform.smoothscale(stone, size)
        at = _about(image, x, y * stage.height)
        surface.blit(image, at, special_flags=pygame.BLEND_PREMULTIPLIED)


def _sow_grass(stage: Stage, surface: Any, unit: float) -> None:
    """Draw short grass all over the meadow, so that an empty garden is not bare."""
    rng = np.random.default_rng(42)
    tuft = _Brush(0.03, 0.022, unit)
    for _ in range(7):
        at, lean = rng.uniform(-0.007, 0.007), rng.normal(0, 0.4)
        tall = rng.uniform(0.008, 0.020)
        tuft.shape((255, 255, 255), [(at - 0.0012, 0), (at + lean * tall, tall), (at + 0.0012, 0)])
    image = tuft.done()
    for k in range(9):
        share = (k + 0.5) / 9
        y0 = FAR + 0.02 + (1.0 - FAR) * share
        size = 0.35 + 0.75 * share
        small = pygame.transform.smoothscale(
            image,
            (max(2, round(image.get_width() * size)), max(2, round(image.get_height() * size))),
        )
        colour = _code(_mix((54, 76, 72), (26, 40, 40), share))
        small.fill((*colour, 255), special_flags=pygame.BLEND_RGBA_MULT)
        other = pygame.transform.flip(small, True, False)
        for _ in range(round(90 * stage.width / stage.unit / (0.4 + share))):
            x = rng.random() * stage.width
            y = (y0 + rng.uniform(-0.028, 0.028)) * stage.height
            which = small if rng.random() < 0.5 else other
            corner = round(x - small.get_width() / 2), round(y - small.get_height())
            surface.blit(which, corner, special_flags=pygame.BLEND_PREMULTIPLIED)
