"""A garden at nightfall: every reward grows something that stays, a firefly rises with the level.

What stands where follows from the number of rewards alone. Whatever is full-grown is kept in one
picture of the whole garden, so a frame costs the same after four hundred rewards as after three.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pygame

from feedback.scenes.plants import FINE, HAZE, ROWS, Brush, Point, Spot, plant, spot_of, tufts
from feedback.scenes.shading import (
    Float32,
    around,
    blend,
    code,
    halo,
    noise,
    overlay,
    printed,
    ramp,
    smooth,
    tall_unit,
)
from feedback.stage import Moment, Stage, cover_surface, disc

__all__ = ["Garden"]

FAR = 0.60  # down the window: where the ground begins
TRELLIS_BEFORE = 3  # rows behind the trellis
FLY_LOW, FLY_HIGH, FLY_REST = 0.690, 0.150, 0.420  # down the window
TRELLIS_FOOT = 0.800
GROWN_PER_FRAME = 6  # at most

_swell = partial(noise, gain=0.55, ease=smooth)  # rounder than hills


class Garden:
    """A garden in which every reward grows something; a firefly rises with the level."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._unit = tall_unit(stage)
        self._grown = 0
        self._kept: tuple[Spot, Any] | None = None  # the plant that is growing, full-grown
        self._ground = _painted(stage)
        self._trellis, self._trellis_at = _trellis(stage, self._unit)
        self._rows = [pygame.Surface(stage.size, pygame.SRCALPHA) for _ in ROWS]
        self._whole = self._ground.copy()
        self._compose(self._whole, self._whole.get_rect())
        strong = stage.style.high_contrast
        self._fly = _light(self._unit, 0.017 if strong else 0.0115, 0.085, (255, 238, 184))
        self._resting = disc((0.013 if strong else 0.010) * self._unit, None, (124, 121, 117), 235)
        self._glow = halo(0.17 * self._unit, (255, 222, 160), 92, 2.2)

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._grow_to(math.floor(moment.rewards + 1e-9))
        surface.blit(self._whole, (0, 0))
        part = moment.rewards - self._grown
        if 1e-9 < part < 1.0:
            self._draw_growing(surface, spot_of(self._grown, self._wide), part)
        if moment.glow > 0.0 and moment.rewards > 0.0:
            self._draw_glow(surface, moment)
        self._draw_fly(surface, moment)

    @property
    def _wide(self) -> float:
        return self._stage.width / self._stage.unit

    def _place(self, spot: Spot, image: Any) -> tuple[int, int]:
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
            spot = spot_of(number, self._wide)
            image = self._full_grown(spot)
            at = self._place(spot, image)
            self._rows[spot.row].blit(image, at, special_flags=pygame.BLEND_PREMULTIPLIED)
            here = image.get_rect(topleft=at)
            changed = here if changed is None else changed.union(here)
        whole = self._grown == 0 or changed is None
        self._grown = rewards
        self._compose(self._whole, self._whole.get_rect() if whole else changed)

    def _full_grown(self, spot: Spot) -> Any:
        if self._kept is None or self._kept[0] != spot:
            self._kept = spot, plant(spot, self._unit, 1.0)
        return self._kept[1]

    def _compose(
        self, target: Any, where: Any, growing: Spot | None = None, image: Any = None
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

    def _draw_growing(self, surface: Any, spot: Spot, part: float) -> None:
        eased = smooth(part)
        if spot.kind in "tb":  # costly to draw: the full-grown one, smaller
            whole = self._full_grown(spot)
            scale = max(0.02, eased)
            size = (
                max(1, round(whole.get_width() * scale)),
                max(1, round(whole.get_height() * scale)),
            )
            image = pygame.transform.smoothscale(whole, size)
        else:
            image = plant(spot, self._unit, max(0.02, eased))
        where = image.get_rect(topleft=self._place(spot, image)).clip(surface.get_rect())
        self._compose(surface, where, spot, image)

    def _draw_glow(self, surface: Any, moment: Moment) -> None:
        number = math.ceil(moment.rewards - 1e-9) - 1
        spot = spot_of(number, self._wide)
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
            surface.blit(self._resting, around(self._resting, aside, FLY_REST * height))
        if live > 0.0:
            # It sways to the sides only: its height is the level's.
            sway = 0.0 if self._stage.style.reduced_motion else 0.006 * self._unit
            x += sway * (math.sin(1.3 * moment.t) + 0.6 * math.sin(2.9 * moment.t + 1.0))
            y = (FLY_LOW + (FLY_HIGH - FLY_LOW) * moment.level) * height
            self._fly.set_alpha(round(255 * live))
            surface.blit(self._fly, around(self._fly, x, y))


def _light(unit: float, size: float, reach: float, colour: tuple[int, int, int]) -> Any:
    """Return the firefly: a small bright body in a soft halo."""
    image = halo(reach * unit, colour, 150, 2.2)
    body = disc(size * unit, None, (255, 248, 222), 255)
    image.blit(body, around(body, image.get_width() / 2, image.get_height() / 2))
    return image


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
        tuft = Brush(0.05, 0.05, unit)
        tufts(
            tuft,
            np.random.default_rng(44 + side),
            0.016,
            22,
            0.036,
            partial(blend, two=HAZE, share=0.1),
        )
        grass = tuft.done()
        at = (
            wide / 2 + side * width_at(tall) / FINE - grass.get_width() / 2,
            tall - grass.get_height(),
        )
        image.blit(grass, at, special_flags=pygame.BLEND_PREMULTIPLIED)
    return image, (round(stage.centre[0] - wide / 2), round(top))


def _painted(stage: Stage) -> Any:
    """Return the evening sky, hedges far away and the meadow, all empty."""
    unit = tall_unit(stage)
    x = np.asarray((np.arange(stage.width) + 0.5 - stage.centre[0]) / stage.unit, dtype=float)
    y = np.arange(stage.height) / stage.height
    rows = ramp(
        y, (0.0, (20, 26, 44)), (0.30, (34, 46, 66)), (0.56, (70, 84, 96)), (0.60, (76, 88, 98)),
        (0.605, (44, 62, 62)), (0.74, (32, 48, 48)), (1.0, (14, 22, 25)),
    )  # fmt: skip
    image = np.repeat(rows[:, None, :].astype(np.float32), stage.width, axis=1)
    # The last light of the day, low behind the hedges.
    up = np.exp(-0.5 * ((y - 0.60) / 0.16) ** 2) * (y < FAR + 0.01)
    low = np.exp(-0.5 * ((y - 0.70) / 0.09) ** 2) * 0.35
    across = np.exp(-0.5 * (x / 0.55) ** 2)
    light = ((up + low)[:, None] * across[None, :] * 0.42).astype(np.float32)
    overlay(image, (150, 138, 124), light)
    line = FAR * stage.height
    for k, (colour, high, swing) in enumerate(
        (((58, 72, 82), 0.085, 0.034), ((42, 57, 66), 0.050, 0.028), ((31, 45, 52), 0.020, 0.020))
    ):
        crown = high + swing * _swell(x * (2.3 + 1.1 * k), 50 + k, 5)
        crown += 0.010 * np.abs(_swell(x * 14.0, 60 + k, 3))
        crest = (line - np.maximum(crown, 0.004) * unit).astype(np.float32)[None, :]
        top = int(crest.min()) - 1
        bottom = round(line + 0.012 * stage.height)
        span = np.arange(top, bottom, dtype=np.float32)[:, None]
        cover = np.clip(span - crest + 0.5, 0, 1) * np.clip(
            (bottom - span) / (0.012 * stage.height), 0, 1
        )
        overlay(image[top:bottom], colour, cover)
    image += _turf(stage)[..., None]
    rolling = y[:, None] - 0.004 * _swell(x * 1.3, 90, 3)[None, :]
    mist = 0.62 * np.exp(-0.5 * ((rolling - FAR - 0.004) / 0.020) ** 2)
    overlay(image, (84, 96, 102), mist.astype(np.float32))
    surface = printed(image)
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
        wave = _swell(x * (2.0 + 1.7 * k), 70 + k, 2)
        tide = _swell(down * (9.0 + 7.0 * k), 80 + k, 2)
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
        halo(0.15 * unit, (150, 166, 186), 46, 2.2),
        cover_surface(crescent, (206, 210, 212), 200),
    ):
        surface.blit(image, around(image, x, y))


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
        light = blend((70, 84, 88), (40, 50, 55), share)
        for colour, drop in ((blend(light, (8, 14, 16), 0.6), 0.12), (light, 0.0)):
            box = (0, drop * size[1] * FINE, size[0] * FINE, 0.86 * size[1] * FINE)
            pygame.draw.ellipse(stone, code(colour), box)
        image = pygame.transform.smoothscale(stone, size)
        at = around(image, x, y * stage.height)
        surface.blit(image, at, special_flags=pygame.BLEND_PREMULTIPLIED)


def _sow_grass(stage: Stage, surface: Any, unit: float) -> None:
    """Draw short grass all over the meadow, so that an empty garden is not bare."""
    rng = np.random.default_rng(42)
    tuft = Brush(0.03, 0.022, unit)
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
        colour = code(blend((54, 76, 72), (26, 40, 40), share))
        small.fill((*colour, 255), special_flags=pygame.BLEND_RGBA_MULT)
        other = pygame.transform.flip(small, True, False)
        for _ in range(round(90 * stage.width / stage.unit / (0.4 + share))):
            x = rng.random() * stage.width
            y = (y0 + rng.uniform(-0.028, 0.028)) * stage.height
            which = small if rng.random() < 0.5 else other
            corner = round(x - small.get_width() / 2), round(y - small.get_height())
            surface.blit(which, corner, special_flags=pygame.BLEND_PREMULTIPLIED)
