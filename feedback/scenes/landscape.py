"""The landscape of `horizon`: a lake between hills, its near bank, and the lights it is seen in.

Where everything is follows from the window's size alone; a painting is the land in one light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pygame

from engine.frames import Float
from feedback.scenes.shading import (
    Float32,
    Rgb,
    mixed,
    noise,
    overlay,
    printed,
    smooth,
    tall_unit,
)
from feedback.stage import Stage

__all__ = ["EVENING", "OVERCAST", "SHORE", "SUN", "TWILIGHT", "Land", "Light", "painted"]

SUN = 0.60  # across the window
SHORE = 0.655  # down the window: where the lake begins


@dataclass(frozen=True, slots=True)
class Light:
    """The colours of one painting."""

    sky: tuple[Rgb, ...]  # from the zenith to the horizon
    air: Rgb  # what distance and mist mix in
    hills: tuple[Rgb, Rgb]  # crest of the farthest and of the nearest
    glow: Rgb  # around the place where the sun goes down
    glowing: float  # 0..1
    water: float  # share of the sky's light that the lake returns
    bank: Rgb


OVERCAST = Light(
    sky=((52, 62, 76), (68, 78, 91), (88, 97, 108), (106, 112, 119)),
    air=(100, 107, 115),
    hills=((86, 95, 106), (33, 42, 50)),
    glow=(140, 142, 142),
    glowing=0.30,
    water=0.80,
    bank=(17, 21, 25),
)
EVENING = Light(
    sky=((32, 58, 92), (74, 104, 132), (144, 145, 144), (216, 172, 124)),
    air=(206, 166, 132),
    hills=((146, 128, 130), (36, 45, 56)),
    glow=(255, 206, 138),
    glowing=0.80,
    water=0.88,
    bank=(18, 22, 26),
)
TWILIGHT = Light(
    sky=((74, 76, 82), (92, 92, 96), (110, 108, 108), (124, 120, 118)),
    air=(118, 115, 113),
    hills=((106, 104, 106), (48, 49, 53)),
    glow=(128, 124, 121),
    glowing=0.10,
    water=0.86,
    bank=(24, 24, 26),
)


# ---------------------------------------------------------------- shapes of the land


def _peaks(x: Float, seed: int) -> Float:
    """Return mountains with sharp crests, about 0..1."""
    total, size = np.zeros_like(x), 1.0
    for k in range(7):
        total += size * (1.0 - np.abs(noise(x * 2.0**k, seed + 100 * k, 1)) * 1.6)
        size *= 0.46
    return np.asarray(np.clip(total / 1.55, 0.0, 1.0))


class Land:
    """Where hills, lake and bank are; the same for every light.

    Attributes
    ----------
    shore : int
        Row in which the lake begins.
    x : ndarray
        Place of each column, in units to the right of the sun.
    crests, ground : list of ndarray
        Rows of each hill's outline, the farthest first, with and without what grows on it.
    bank : ndarray, shape (height, width)
        How much of each pixel the near bank and its trees cover.
    """

    def __init__(self, stage: Stage) -> None:
        self.shore = round(SHORE * stage.height)
        unit = stage.unit
        self.x: Float = (np.arange(stage.width, dtype=np.float64) + 0.5 - SUN * stage.width) / unit
        x = self.x
        # A gap below the sun keeps its lowest place free.
        gap = np.exp(-0.5 * (x / 0.34) ** 2)
        crests = (
            0.075 + 0.150 * _peaks(x * 1.55 + 2.35, 3) * (1.0 - 0.55 * gap),
            0.108 + 0.062 * noise(x * 1.7 + 40, 4, 7, 0.50) - 0.048 * gap + 0.040 * np.abs(x),
            0.060 + 0.045 * noise(x * 1.5 + 80, 5, 6, 0.45) - 0.030 * gap + 0.052 * np.abs(x),
            0.016 + 0.030 * noise(x * 1.9 + 9, 6, 5, 0.45) - 0.014 * gap + 0.040 * np.abs(x),
        )
        self.crests = [self.shore - np.maximum(c, 0.004) * tall_unit(stage) for c in crests]
        self.ground = list(self.crests)
        self.crests[3] = self.crests[3] - _forest(x) * tall_unit(stage)
        self.bank = _bank(stage)


def _forest(x: Float) -> Float:
    """Return how high a far row of spruces stands above the nearest hill."""
    rng = np.random.default_rng(31)
    tall = np.zeros_like(x)
    for at in np.arange(-3.0, 3.0, 0.0055):
        at = at + rng.uniform(-0.005, 0.005)
        high = 0.006 + 0.020 * rng.random() ** 1.7
        high *= min(1.0, 0.25 + abs(at) * 1.6)
        near = np.abs(x - at) < 0.3 * high
        tall[near] = np.maximum(tall[near], high - np.abs(x[near] - at) * 3.3)
    return tall


def _bank(stage: Stage) -> Float32:
    """Return how much of each pixel, ``(height, width)``, the near bank and its trees cover."""
    fine = 2
    width, height, unit = stage.width * fine, stage.height * fine, stage.unit * fine
    up = tall_unit(stage) * fine
    mask = pygame.Surface((width, height), depth=32)
    rng = np.random.default_rng(8)
    x = np.arange(0, width + 1, 4 * fine)
    across: Float = (x.astype(np.float64) - SUN * width) / unit
    rise = 0.050 + 0.022 * noise(across * 1.3 + 5, 9, 4) + 0.055 * np.minimum(across**2, 1.6)
    ground = height - rise * up
    points = [(float(a), float(b)) for a, b in zip(x, ground, strict=True)]
    pygame.draw.polygon(mask, "white", [*points, (width, height), (0, height)])

    def floor(at: float) -> float:
        return float(np.interp(at, x, ground)) + 0.006 * unit

    for at in np.arange(0, width, 0.0045 * unit):
        at = at + rng.uniform(-0.002, 0.002) * unit
        lush = 0.5 + 0.5 * float(noise(np.array([at / unit * 2.5]), 10, 2)[0])
        tall = rng.uniform(0.008, 0.030 + 0.030 * lush) * up
        _blade(mask, at, floor(at), tall, rng.normal(0.0, 0.22))
    for side, tall in _TREES:
        at = side * unit if side >= 0 else width + side * unit
        _spruce(mask, rng, at, floor(at), tall * up)
    small = pygame.transform.smoothscale(mask, stage.size)
    return np.asarray(pygame.surfarray.array_red(small).T / np.float32(255.0), dtype=np.float32)


# Distance from the left (or, negative, right) edge, and height.
_TREES = (
    (0.015, 0.34),
    (0.105, 0.40),
    (0.185, 0.26),
    (0.255, 0.15),
    (0.060, 0.21),
    (-0.020, 0.29),
    (-0.100, 0.19),
    (-0.160, 0.12),
)


def _blade(mask: Any, x: float, y: float, tall: float, lean: float) -> None:
    wide = max(1.5, 0.07 * tall)
    bend, tip = (x + 0.35 * lean * tall, y - 0.6 * tall), (x + lean * tall, y - tall)
    pygame.draw.polygon(
        mask,
        "white",
        [
            (x - wide, y),
            (bend[0] - 0.6 * wide, bend[1]),
            tip,
            (bend[0] + 0.6 * wide, bend[1]),
            (x + wide, y),
        ],
    )


def _spruce(mask: Any, rng: np.random.Generator, x: float, y: float, tall: float) -> None:
    """Draw a spruce: whorls of hanging boughs, each a little wider than the one above."""
    pygame.draw.polygon(
        mask, "white", [(x - 0.012 * tall, y), (x, y - tall), (x + 0.012 * tall, y)]
    )
    whorls = max(14, round(34 * min(1.0, tall / 600)))
    pitch = tall * 0.95 / whorls
    for k in range(whorls):
        down = (k + 0.5 + rng.uniform(-0.25, 0.25)) / whorls  # from the top
        top = y - tall + tall * 0.95 * down
        for side in (-1.0, 1.0):
            out = side * tall * 0.175 * down**0.9 * rng.uniform(0.55, 1.15)
            drop = abs(out) * rng.uniform(0.25, 0.60) + 0.4 * pitch
            thick = pitch * rng.uniform(1.5, 2.1)
            pygame.draw.polygon(
                mask,
                "white",
                [
                    (x, top - 0.8 * thick),
                    (x + 0.50 * out, top + 0.30 * drop - 0.10 * thick),
                    (x + out, top + drop),
                    (x + 0.78 * out, top + drop + 0.25 * thick),
                    (x + 0.66 * out, top + drop + 0.60 * thick),
                    (x + 0.45 * out, top + 0.8 * drop + 0.45 * thick),
                    (x + 0.30 * out, top + 0.7 * drop + 0.85 * thick),
                    (x, top + thick),
                ],
            )


# ---------------------------------------------------------------- painting


def painted(stage: Stage, land: Land, light: Light) -> Any:
    """Return the whole landscape in one light."""
    image = np.empty((stage.height, stage.width, 3), dtype=np.float32)
    _paint_sky(image, land, light)
    _paint_hills(image, stage, land, light)
    _paint_lake(image, stage, land, light)
    overlay(image, light.bank, land.bank)
    return printed(image)


def _paint_sky(image: Float32, land: Land, light: Light) -> None:
    rows = np.arange(land.shore)
    places = np.clip(rows / (0.93 * land.shore), 0, 1) ** 1.15
    across = np.exp(-0.5 * (land.x / 0.75) ** 2)
    up = np.exp(-0.5 * ((land.shore - rows) / (0.40 * land.shore)) ** 2)
    image[: land.shore] = mixed(places, *light.sky).astype(np.float32)[:, None, :]
    glow = (light.glowing * up[:, None] * across[None, :]).astype(np.float32)
    overlay(image[: land.shore], light.glow, glow)


def _paint_hills(image: Float32, stage: Stage, land: Land, light: Light) -> None:
    far, near = (np.array(c, dtype=np.float32) for c in light.hills)
    air, glow = np.array(light.air, np.float32), np.array(light.glow, np.float32)
    lit = np.exp(-0.5 * (land.x / 0.42) ** 2).astype(np.float32)[None, :, None]
    for k, (crest, ground) in enumerate(zip(land.crests, land.ground, strict=True)):
        depth = k / (len(land.crests) - 1)
        top = max(0, int(crest.min()) - 1)
        y = np.arange(top, land.shore, dtype=np.float32)[:, None]
        line = crest.astype(np.float32)[None, :]
        cover = np.clip(y - line + 0.5, 0, 1)
        # Mist lies in the valleys: the foot of each hill is paler than its crest.
        below = y - ground.astype(np.float32)[None, :]
        foot = np.clip(below / (0.16 * tall_unit(stage) * (1.0 - 0.55 * depth)), 0, 1)[..., None]
        colour = far + (near - far) * np.float32(depth**0.8)
        paint = colour + (air - colour) * (foot * np.float32(0.80 - 0.42 * depth))
        paint = paint + (glow - paint) * (
            lit * np.float32(light.glowing * 0.42 * (1 - 0.7 * depth))
        )
        overlay(image[top : land.shore], paint, cover)


def _paint_lake(image: Float32, stage: Stage, land: Land, light: Light) -> None:
    """Mirror what stands above the shore, stretched and broken by small waves."""
    rows = np.arange(stage.height - land.shore)
    away = rows / max(1, len(rows) - 1)  # 0 at the far shore, 1 below us
    rng = np.random.default_rng(17)
    waves = rng.normal(0, 1, len(rows)) * (0.3 + 5.0 * away) * stage.unit / 1080
    source = np.clip(land.shore - 1 - np.rint(rows * 1.25 + waves), 0, land.shore - 1).astype(int)
    lake = image[source]
    # Waves smear the mirror sideways and downwards.
    for reach in (2, 5, 11):
        shift = max(1, round(reach * stage.unit / 1080))
        lake[shift:-shift] = (lake[shift:-shift] + lake[2 * shift :] + lake[: -2 * shift]) / 3
    deep = np.array(light.bank, np.float32)
    share = (light.water * (1.0 - 0.50 * away**1.2)).astype(np.float32)[:, None, None]
    lake = deep + (lake - deep) * share
    stripes = _ripples(stage, len(rows)) * (2.0 + 7.0 * away[:, None])
    lake += stripes.astype(np.float32)[..., None]
    image[land.shore :] = lake


def _ripples(stage: Stage, rows: int) -> Float:
    """Return long flat waves, ``(rows, width)``, about -1..1."""
    rng = np.random.default_rng(19)
    tall, wide = max(2, rows // 3), 48
    small = rng.normal(0, 0.5, (tall, wide))
    place = np.linspace(0, wide - 1, stage.width)
    left = np.minimum(place.astype(int), wide - 2)
    part = smooth(place - left)
    wave = small[:, left] * (1.0 - part) + small[:, left + 1] * part
    down = np.linspace(0, tall - 1, rows) ** 1.0
    upper = np.minimum(down.astype(int), tall - 2)
    share = (down - upper)[:, None]
    return np.asarray(wave[upper] * (1.0 - share) + wave[upper + 1] * share)
