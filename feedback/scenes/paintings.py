"""The puzzle's built-in pictures: a lake, a tree, dunes, the sea, painted from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pygame

from feedback.scenes.shading import Float32, Rgb, dithered, overlay, ramp, shrunk

__all__ = ["PAINTINGS", "painted"]

DETAIL = 560  # rows of a picture at most


def painted(size: tuple[int, int]) -> list[Any]:
    """Return the built-in pictures in the board's size.

    Nothing in them is finer than what `DETAIL` rows show, and painting costs its time.
    """
    share = min(1.0, DETAIL / size[1])
    fine = (round(size[0] * share), round(size[1] * share))
    small = [dithered(paint(*_sheet(fine))) for paint in PAINTINGS]
    return [pygame.transform.smoothscale(image, size) for image in small]


def _sheet(size: tuple[int, int]) -> tuple[Float32, Float32]:
    """Return columns -0.75..0.75 and rows 0..1 of a picture, lengths in its height."""
    x = (np.arange(size[0]) + 0.5) / size[1] - size[0] / size[1] / 2
    y = (np.arange(size[1]) + 0.5) / size[1]
    return x.astype(np.float32)[:, None], y.astype(np.float32)[None, :]


def _sky(x: Float32, y: Float32, *stops: tuple[float, Rgb]) -> Float32:
    """Return a picture whose colour depends on the height alone."""
    column = ramp(y[0], *stops).astype(np.float32)
    return np.broadcast_to(column, (len(x), y.shape[1], 3)).copy()


def _wave(x: Float32, seed: int, first: float, count: int, rough: float = 0.5) -> Float32:
    """Return a smooth random line over `x`, about -1..1."""
    rng = np.random.default_rng(seed)
    line = np.zeros_like(x)
    for k in range(count):
        line += rough**k * np.sin(first * 1.9**k * x + np.float32(rng.uniform(0, 6.28)))
    return line / np.float32(sum(rough**k for k in range(count)))


def _peaks(x: Float32, seed: int, first: float, count: int) -> Float32:
    """Return the line of a mountain range over `x`, about -1..1."""
    rng = np.random.default_rng(seed)
    line = np.zeros_like(x)
    for k in range(count):
        line += 0.48**k * (1 - 2 * np.abs(np.sin(first * 2.1**k * x + rng.uniform(0, 3.1))))
    return (line / 1.7).astype(np.float32)


def _below(y: Float32, line: Float32, soft: float = 0.0016) -> Float32:
    return np.asarray(np.clip((y - line) / np.float32(soft) + 0.5, 0.0, 1.0))


def _spot(x: Float32, y: Float32, at: tuple[float, float], wide: float, tall: float) -> Float32:
    return np.asarray(np.exp(-(((x - at[0]) / wide) ** 2) - ((y - at[1]) / tall) ** 2))


def _lake(x: Float32, y: Float32) -> Float32:
    """Mountains at evening, and their mirror image in still water."""
    shore = 0.60
    up = np.where(y > shore, 2 * shore - y, y)  # the water mirrors what is above
    ripple = 0.004 * np.sin(240 * (y - shore) / (0.25 + y)) * np.clip((y - shore) * 8, 0, 1)
    across = x + ripple
    picture = _sky(
        x, up, (0.0, (44, 58, 84)), (0.30, (104, 112, 128)), (0.50, (196, 160, 128)),
        (0.60, (214, 176, 136)),
    )  # fmt: skip
    overlay(picture, (246, 196, 138), 0.42 * _spot(across, up, (0.24, 0.52), 0.46, 0.15))
    for base, tall, seed, crest, foot in (
        (0.40, 0.150, 3, (92, 98, 116), (184, 154, 134)),
        (0.49, 0.095, 8, (74, 86, 102), (128, 122, 122)),
        (0.565, 0.045, 5, (42, 54, 62), (66, 74, 78)),
    ):
        line = base - tall * _peaks(across, seed, 3.1, 6)
        colour = (
            np.array(crest, np.float32)
            + (np.array(foot, np.float32) - np.array(crest, np.float32))
            * np.clip((up - base + 0.7 * tall) / (1.5 * tall), 0, 1)[..., None]
        )
        overlay(picture, colour, _below(up, line))
    water = np.clip((y - shore) / 0.004, 0.0, 1.0) * np.ones_like(x)
    overlay(picture, (24, 36, 48), water * (0.24 + 0.42 * np.clip((y - shore) / 0.4, 0, 1)))
    overlay(
        picture, (206, 184, 156), 0.55 * np.exp(-(((y - shore) / 0.006) ** 2)) * np.ones_like(x)
    )
    bank = 0.985 - 0.05 * _wave(x, 4, 3.0, 4) - 0.10 * np.clip(np.abs(x + 0.1) - 0.42, 0, 1)
    overlay(picture, (20, 25, 28), _below(y, bank.astype(np.float32), 0.003))
    return picture


def _dunes(x: Float32, y: Float32) -> Float32:
    """Dunes under a low sun: each crest parts light from shade."""
    picture = _sky(
        x, y, (0.0, (58, 66, 84)), (0.28, (150, 130, 118)), (0.46, (226, 180, 128)),
    )  # fmt: skip
    sun = (-0.30, 0.34)
    away = np.hypot(x - sun[0], y - sun[1])
    overlay(picture, (250, 206, 150), 0.75 * np.exp(-away / 0.16))
    overlay(picture, (255, 232, 190), np.clip((0.052 - away) / 0.002 + 0.5, 0, 1))
    rows = 6
    for k in range(rows):
        far = 1.0 - k / (rows - 1)
        base = 0.46 + 0.54 * (k / rows) ** 1.25
        swing = 0.028 + 0.055 * (1 - far)
        line = (base - swing * _wave(x, 40 + k, 4.6 - 2.6 * (1 - far), 3, 0.42)).astype(np.float32)
        shade = np.array((62, 52, 56), np.float32) * (0.62 + 0.9 * far)
        light = np.array((206, 150, 98), np.float32) * (0.74 + 0.30 * far)
        slope = np.gradient(line[:, 0], x[:, 0])
        depth = np.clip(y - line, 0.0, 1.0)
        # Shadows run down the dune at a slant.
        along = np.arange(len(x))[:, None] + (0.9 * len(x) / 1.5 * depth).astype(np.int32)
        lit = np.clip(0.55 + 2.3 * slope, 0.0, 1.0)[np.minimum(along, len(x) - 1)]
        deep = np.clip(depth / (0.11 + 0.20 * (1 - far)), 0.0, 1.0)
        lit = lit * (1.0 - 0.72 * deep)
        ribs = np.sin((y - line) * (420 - 210 * (1 - far)) + 5 * _wave(x, 60 + k, 9.0, 3))
        lit = np.clip(lit + 0.022 * (1 - far) * ribs * deep, 0, 1)
        colour = shade + (light - shade) * lit[..., None].astype(np.float32)
        overlay(picture, colour, _below(y, line))
    return picture


def _tree(x: Float32, y: Float32) -> Float32:
    """One tree on a hill before the rising moon."""
    picture = _sky(
        x, y, (0.0, (22, 32, 50)), (0.45, (52, 70, 92)), (0.78, (120, 128, 134)),
    )  # fmt: skip
    moon = (0.27, 0.33)
    away = np.hypot(x - moon[0], y - moon[1])
    overlay(picture, (206, 200, 176), 0.50 * np.exp(-away / 0.20))
    face = np.clip((0.115 - away) / 0.0025 + 0.5, 0, 1)
    maria = 0.5 + 0.5 * _wave(x * 6 + 1.5 * y, 12, 5.0, 4) * _wave(y * 7 - x, 13, 4.0, 4)
    overlay(picture, np.array((226, 216, 188), np.float32) * (0.86 + 0.14 * maria[..., None]), face)
    rng = np.random.default_rng(17)
    for _ in range(130):
        at = (rng.uniform(-0.75, 0.75), rng.uniform(0.0, 0.52))
        if math.hypot(at[0] - moon[0], at[1] - moon[1]) > 0.2:
            _star(picture, x, y, at, rng.uniform(0.25, 0.85))
    for base, tall, seed, colour in (
        (0.76, 0.040, 21, (82, 96, 108)), (0.83, 0.035, 22, (52, 64, 76)),
    ):  # fmt: skip
        overlay(picture, colour, _below(y, base - tall * _wave(x, seed, 4.2, 5)))
    hill = (0.90 - 0.055 * np.cos(2.6 * (x + 0.16)) + 0.008 * _wave(x, 24, 9.0, 3)).astype("f4")
    overlay(picture, (22, 28, 34), _below(y, hill))
    return _grown(picture, (24, 30, 36))


def _star(picture: Float32, x: Float32, y: Float32, at: tuple[float, float], bright: float) -> None:
    tall = picture.shape[1]
    column = int((at[0] - x[0, 0]) * tall)
    row = int((at[1] - y[0, 0]) * tall)
    size = max(2, round(tall * 0.004))
    window = np.s_[max(0, column - size) : column + size + 1, max(0, row - size) : row + size + 1]
    part = picture[window]
    u, v = np.meshgrid(
        np.arange(part.shape[0]) - min(size, column), np.arange(part.shape[1]) - min(size, row),
        indexing="ij",
    )  # fmt: skip
    dot = bright * np.exp(-(u**2 + v**2) / (0.16 * size**2 + 0.2))
    overlay(part, (232, 226, 210), dot.astype(np.float32))


def _grown(picture: Float32, colour: Rgb) -> Float32:
    """Return the picture with a tree on it, branch after branch."""
    fine = 2
    wide, tall = picture.shape[0] * fine, picture.shape[1] * fine
    mask = pygame.Surface((wide, tall), depth=8)
    mask.set_palette([(k, k, k) for k in range(256)])
    rng = np.random.default_rng(77)
    branches = [(wide * (0.5 - 0.16 / 1.5), tall * 0.858, -90.0, tall * 0.128, tall * 0.020, 0)]
    while branches:
        x, y, turn, long, thick, age = branches.pop()
        bend = turn + rng.normal(0.0, 4.0)
        to_x = x + long * math.cos(math.radians(bend))
        to_y = y + long * math.sin(math.radians(bend))
        side_x, side_y = -math.sin(math.radians(bend)), math.cos(math.radians(bend))
        thin = thick * 0.70
        corners = [
            (x + side_x * thick / 2, y + side_y * thick / 2),
            (to_x + side_x * thin / 2, to_y + side_y * thin / 2),
            (to_x - side_x * thin / 2, to_y - side_y * thin / 2),
            (x - side_x * thick / 2, y - side_y * thick / 2),
        ]
        pygame.draw.polygon(mask, 255, corners)
        pygame.draw.circle(mask, 255, (to_x, to_y), max(1.0, thin / 2))
        if age >= 5:
            for _ in range(5):
                leaf = (to_x + rng.normal(0, tall * 0.010), to_y + rng.normal(0, tall * 0.010))
                pygame.draw.circle(mask, 255, leaf, tall * rng.uniform(0.003, 0.0075))
        if age < 8:
            spread = rng.uniform(18.0, 31.0)
            for way in (-1.0, 1.0):
                branches.append(
                    (to_x, to_y, bend + way * spread + rng.normal(0, 6) + (-90 - bend) * 0.05,
                     long * rng.uniform(0.74, 0.88), thin, age + 1)
                )  # fmt: skip
    cover = shrunk(np.asarray(pygame.surfarray.array2d(mask)), fine) / 255
    overlay(picture, colour, cover.astype(np.float32))
    return picture


def _sea(x: Float32, y: Float32) -> Float32:
    """The sea at dusk with the sun's path on it."""
    horizon = 0.56
    picture = _sky(
        x, y, (0.0, (40, 50, 74)), (0.30, (94, 98, 118)), (0.47, (186, 146, 124)),
        (0.56, (232, 184, 132)),
    )  # fmt: skip
    sun = (0.10, 0.515)
    away = np.hypot(x - sun[0], (y - sun[1]) * 1.05)
    overlay(picture, (252, 206, 142), 0.7 * np.exp(-away / 0.20))
    overlay(picture, (255, 236, 196), np.clip((0.058 - away) / 0.003 + 0.5, 0, 1))
    rng = np.random.default_rng(9)
    for _ in range(16):
        at = (rng.uniform(-0.8, 0.8), rng.uniform(0.12, 0.46))
        streak = _spot(x, y, at, rng.uniform(0.1, 0.4), rng.uniform(0.006, 0.018))
        overlay(
            picture,
            (236, 186, 150) if at[1] > 0.28 else (120, 116, 130),
            rng.uniform(0.15, 0.5) * streak,
        )
    deep = np.clip((y - horizon) / (1 - horizon), 0.0, 1.0)
    water = _sky(
        x, deep, (0.0, (150, 132, 120)), (0.25, (86, 92, 108)), (1.0, (26, 36, 52)),
    )  # fmt: skip
    far = 1.0 / (deep + 0.045)
    swell = _wave(7.0 * far, 31, 6.0, 4, 0.7) * np.cos(
        6 * x * far**0.4 + 3 * _wave(far * 3.0, 33, 5.0, 3)
    )
    glitter = np.clip(0.62 + 0.75 * swell, 0, 1)
    path = np.exp(-(((x - sun[0]) / (0.045 + 0.20 * deep)) ** 2)) * (1.0 - 0.55 * deep)
    overlay(water, (150, 140, 138), 0.30 * np.clip(swell, 0, 1) * (1 - 0.4 * deep))
    overlay(water, (252, 212, 156), (0.92 * path * glitter).astype(np.float32))
    overlay(picture, water, np.clip((y - horizon) / 0.002 + 0.5, 0, 1) * np.ones_like(x))
    return picture


PAINTINGS: tuple[Callable[[Float32, Float32], Float32], ...] = (_lake, _tree, _dunes, _sea)
