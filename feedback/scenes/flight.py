"""A slow flight over hills at dusk; rewards are lanterns that stay in the sky.

The hills are strips drawn once, joined end to end, and shifted against each other. They are kept
run-length encoded: SDL then copies the inside of a hill and mixes only its edge. Such a strip must
always be drawn onto the same surface, or it is encoded anew each time, so the landscape has a
canvas of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.scenes.arc import Arc
from feedback.scenes.shading import (
    Float32,
    Rgb,
    around,
    blank,
    code,
    dithered,
    nearness,
    ramp,
    smooth,
)
from feedback.stage import GLOW, IVORY, SAND, SLATE, Moment, Stage, cover_surface

__all__ = ["Flight"]

DUSK: tuple[tuple[float, Rgb], ...] = (  # share of the height, colour of the sky there
    (0.00, (19, 24, 35)),
    (0.22, (33, 41, 56)),
    (0.40, (66, 73, 88)),
    (0.50, (112, 104, 104)),
    (0.58, (166, 136, 112)),
    (0.64, (186, 150, 116)),
)
MIST = (62, 60, 58)  # comes down while there is no answer
MUTED = np.array([14.0, 16.0, 19.0])  # the gauge where it is empty
GLIDER = {  # folded paper seen from the side: part of the sheet -> corners, colour
    "far wing": (((1.0, 0.44), (0.02, 0.12), (0.26, 0.46)), (236, 224, 204)),
    "near wing": (((1.0, 0.44), (0.26, 0.46), (0.08, 0.66)), (206, 192, 172)),
    "keel": (((1.0, 0.44), (0.26, 0.46), (0.36, 0.76)), (132, 126, 122)),
}


@dataclass(frozen=True, slots=True)
class Hills:
    """One row of hills.

    Parameters
    ----------
    base, tall : float
        Height of the middle of the crest, and how far it rises and falls, shares of the height.
    waves : int
        Waves of the crest along one strip, the coarsest.
    rough : float
        0 rolling hills .. 1 peaks.
    crest, foot : (float, float, float)
        Colours at the crest, and in the mist below it.
    near : float
        Speed as a share of the nearest row's.
    trees : int
        Conifers along one strip.
    """

    base: float
    tall: float
    waves: int
    rough: float
    crest: Rgb
    foot: Rgb
    near: float
    trees: int = 0


ROWS = (
    Hills(0.590, 0.060, 5, 0.9, (104, 101, 106), (142, 124, 112), 0.05),
    Hills(0.655, 0.046, 4, 0.5, (70, 74, 83), (104, 98, 98), 0.13),
    Hills(0.730, 0.044, 4, 0.2, (45, 51, 60), (72, 74, 80), 0.28),
    Hills(0.820, 0.040, 3, 0.1, (27, 32, 38), (44, 48, 54), 0.55, 90),
    Hills(0.930, 0.034, 3, 0.0, (14, 17, 20), (20, 22, 24), 1.0),
)


class Flight:
    """A paper glider over hills at dusk, whose speed follows the level, slowly."""

    SLOWEST, FASTEST = 0.050, 0.240  # of the nearest row, units per second
    CALM_S = 1.5  # time constant of what follows the level slowly
    MIDDLE = 0.38  # of the glider's path, share of the height
    LANTERNS = 480  # more would be crowded

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._still = stage.style.reduced_motion
        self._calm: float | None = None  # the level, followed slowly
        self._extra = 0.0  # units flown beyond what the slowest flight would have
        self._canvas = blank(stage.size)
        self._sky = self._draw_sky()
        self._lit = 0  # lanterns drawn into the sky
        self._strips = [self._draw_hills(i) for i in range(len(ROWS))]
        self._spots = self._scatter()
        self._lanterns = [_lantern(share * stage.unit) for share in (0.0190, 0.0145, 0.0110)]
        self._glider = _Glider(0.165 * stage.unit)
        self._halo = _halo(0.14 * stage.unit)  # a reward's light around the glider
        self._bloom = _halo(0.07 * stage.unit)  # and around the lantern it brings
        self._mist = blank(stage.size)
        self._mist.fill(MIST)
        self._track, self._arc = self._gauge()
        self._drawn: tuple[int, ...] = ()  # what the canvas shows
        self._landscape(0.0)  # encodes the strips now

    # ------------------------------------------------------------ drawn once

    def _draw_sky(self) -> Any:
        stage = self._stage
        wide, tall = stage.size
        y = (np.arange(tall, dtype=np.float32) + 0.5) / tall
        sky = np.broadcast_to(ramp(y, *DUSK).astype(np.float32), (wide, tall, 3)).copy()
        u, v = self._places(0.60)
        # The sun has just gone.
        light = np.exp(-(((u - 0.22) / 0.62) ** 2)) * np.exp(-((v / 0.15) ** 2))
        sky += light[..., None] * np.array([44, 26, 2], dtype=np.float32)
        sky += self._clouds(u, v)[..., None] * np.array([30, 20, 12], dtype=np.float32)
        return dithered(sky)

    def _places(self, level: float) -> tuple[Float32, Float32]:
        """Return the place of each column and row, in units from the middle of that height."""
        stage = self._stage
        u = (np.arange(stage.width) + 0.5 - stage.centre[0]) / stage.unit
        v = (np.arange(stage.height) + 0.5 - level * stage.height) / stage.unit
        return u.astype(np.float32)[:, None], v.astype(np.float32)[None, :]

    def _clouds(self, u: Float32, v: Float32) -> Float32:
        """Return thin streaks of cloud above the horizon, 0..1."""
        rng = np.random.default_rng(11)
        half = self._stage.width / self._stage.unit / 2
        clouds = np.zeros((u.shape[0], v.shape[1]), dtype=np.float32)
        for _ in range(26):
            at_u, at_v = rng.uniform(-half, half), -0.03 - 0.22 * rng.random() ** 1.4
            long, thin = rng.uniform(0.10, 0.34), rng.uniform(0.004, 0.011)
            across = np.exp(-(((u - at_u) / long) ** 2)).astype(np.float32)
            # Lifted a little towards one end, so that no two streaks are parallel.
            bow = v - at_v + rng.uniform(-0.02, 0.02) * (u - at_u) ** 2 * 4
            clouds += rng.uniform(0.2, 0.7) * across * np.exp(-((bow / thin) ** 2))
        return np.minimum(clouds, 1.0)

    def _crest(self, row: int, columns: int, over: int) -> Float:
        """Return the height of a crest, pixels from the top, `over` values for each column."""
        hills, stage = ROWS[row], self._stage
        rng = np.random.default_rng(100 + row)
        x = (np.arange(columns * over) + 0.5) / (columns * over) * 2 * np.pi
        waves = max(1, round(hills.waves * stage.width / stage.unit / (16 / 9)))
        rise = 0.45 * np.sin(max(1, waves // 2) * x + rng.uniform(0, 2 * np.pi))
        for k in range(5):
            turn = waves * 2**k + int(rng.integers(0, 2 + k))
            wave = np.sin(turn * x + rng.uniform(0, 2 * np.pi))
            whole = (turn + 1) // 2  # so that the strip's ends meet
            peaks = 1.0 - 2.0 * np.abs(np.sin(whole * x + rng.uniform(0, np.pi)))
            mix = hills.rough * peaks + (1.0 - hills.rough) * wave
            rise += mix * (0.40 + 0.08 * hills.rough) ** k
        rise /= np.abs(rise).max()
        crest = np.asarray(hills.base * stage.height - rise * hills.tall * stage.unit)
        return self._planted(crest, hills.trees, rng, over)

    def _planted(self, crest: Float, trees: int, rng: np.random.Generator, over: int) -> Float:
        """Return the crest with conifers on it, in loose groups."""
        unit = self._stage.unit * over
        grown = crest.copy()
        groups = rng.random(7)
        for _ in range(trees):
            at = int((rng.choice(groups) + rng.normal(0.0, 0.022)) % 1.0 * len(crest))
            tall = self._stage.unit * rng.uniform(0.014, 0.046)
            reach = max(2, round(unit * (0.0045 + 0.14 * tall / self._stage.unit)))
            where = np.arange(at - reach, at + reach + 1) % len(crest)
            out = np.abs(np.arange(-reach, reach + 1)) / reach * 4.0
            tiers = 1.0 - (np.floor(out) + (out % 1.0) ** 0.55) / 4.0  # four rows of branches
            grown[where] = np.minimum(grown[where], crest[at] + 2 - tall * tiers)
        return grown

    def _draw_hills(self, row: int) -> tuple[Any, int, float]:
        """Return a strip twice as wide as the window, where its top belongs, and its speed."""
        hills, stage = ROWS[row], self._stage
        columns, over = 2 * stage.width, 4 if hills.trees else 1
        crest = self._crest(row, columns, over)
        top = math.floor(crest.min()) - 2
        bottom = stage.height
        if row + 1 < len(ROWS):  # what the next row hides need not be drawn
            bottom = min(bottom, math.ceil(self._crest(row + 1, columns, 1).max()) + 3)
        y = (np.arange(top, bottom) + 0.5).astype(np.float32)[None, :]
        fine = crest.astype(np.float32)[:, None]
        soft = 1.0 + 1.6 * (1.0 - hills.near) ** 3 * stage.unit / 1080
        cover = np.zeros((columns, bottom - top), dtype=np.float32)
        for k in range(over):
            cover += np.clip((y - fine[k::over]) / soft + 0.5, 0.0, 1.0) / over
        # Mist lies in the valleys.
        below = np.clip((y - hills.base * stage.height) / (0.105 * stage.unit) + 0.5, 0.0, 1.0)
        colours = ramp(smooth(below), (0.0, hills.crest), (1.0, hills.foot))
        noise = np.random.default_rng(row).random((*cover.shape, 1), dtype=np.float32)
        strip = _painted(colours.astype(np.float32) + noise, cover)
        strip.set_alpha(255, pygame.RLEACCEL)
        return strip, top, hills.near

    def _scatter(self) -> list[tuple[int, int, int]]:
        """Return where each lantern hangs, and its size: apart, clear of glider and gauge."""
        rng = np.random.default_rng(7)
        stage = self._stage
        spots = np.empty((self.LANTERNS, 2))
        middle = np.array([stage.centre[0], self.MIDDLE * stage.height + 0.07 * stage.unit])
        for k in range(self.LANTERNS):
            tries = rng.random((5, 2)) ** [1.0, 1.15] * [0.94, 0.46] + [0.03, 0.04]
            tries *= [stage.width, stage.height]
            away = np.hypot(*((tries - middle) / stage.unit / [0.36, 0.19]).T)
            near = np.full(len(tries), 1.0)
            if k:
                near = np.hypot(*(tries[:, None] - spots[None, :k]).T).min(axis=0)
            spots[k] = tries[np.argmax(np.where(away < 1.0, -1.0, near))]
        sizes = rng.choice(3, self.LANTERNS, p=(0.18, 0.34, 0.48))
        return [(round(x), round(y), int(size)) for (x, y), size in zip(spots, sizes, strict=True)]

    def _gauge(self) -> tuple[Arc, Arc]:
        stage = self._stage
        strong = stage.style.high_contrast
        radius, span = 0.55 * stage.unit, (180.0 + 33.0, 180.0 - 33.0)
        centre = (stage.centre[0], self.MIDDLE * stage.height + 0.235 * stage.unit - radius)
        thick = max(2.5, (0.017 if strong else 0.0100) * stage.unit)
        colours = (np.full(3, 255.0),) if strong else (SLATE * 1.35, SAND * 1.1, IVORY)
        track = Arc(centre, radius, thick + max(1.0, 0.002 * stage.unit), span, (MUTED,), 0.0)
        return track, Arc(centre, radius, thick, span, colours, thick * 1.15)

    # ------------------------------------------------------------ drawn in every frame

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._follow(moment)
        self._light_lanterns(math.floor(moment.rewards))
        self._landscape(self.flown(moment.t))
        surface.blit(self._canvas, (0, 0))
        self._newest(surface, moment.rewards)
        self._fly(surface, moment)
        if moment.live < 1.0:
            self._mist.set_alpha(round(178 * (1.0 - moment.live)))
            surface.blit(self._mist, (0, 0))
        self._track.draw(surface, 1.0, 130)
        self._arc.draw(surface, moment.level, round(255 * moment.live))

    def _follow(self, moment: Moment) -> None:
        if moment.live <= 0.0:
            self._calm = None  # the next answer counts from where it is
            return
        calm = self._calm if self._calm is not None else moment.level
        self._calm = calm + (moment.level - calm) * (1.0 - math.exp(-moment.dt / self.CALM_S))
        self._extra += (self.FASTEST - self.SLOWEST) * self._calm * moment.dt

    def flown(self, t: float) -> float:
        """Return how far the nearest hills have moved at `t` seconds, in units."""
        return 0.0 if self._still else self.SLOWEST * t + self._extra

    def _landscape(self, flown: float) -> None:
        canvas, wide, unit = self._canvas, self._stage.width, self._stage.unit
        shifts = [int(flown * near * unit) % strip.get_width() for strip, _, near in self._strips]
        wanted = (*shifts, self._lit)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        top, tall = self._strips[0][1], self._strips[0][0].get_height()
        canvas.blit(self._sky, (0, 0), (0, 0, wide, top + tall))
        for left, (strip, top, _) in zip(shifts, self._strips, strict=True):
            period, tall = strip.get_size()
            canvas.blit(strip, (0, top), (left, 0, wide, tall))
            if left + wide > period:
                canvas.blit(strip, (period - left, top), (0, 0, left + wide - period, tall))

    def _light_lanterns(self, count: int) -> None:
        """Draw those that hang already into the sky, once."""
        count = min(count, self.LANTERNS)
        if count < self._lit:
            self._sky, self._lit = self._draw_sky(), 0  # a new session in the same window
        for x, y, size in self._spots[self._lit : count]:
            _centred(self._sky, self._lanterns[size], x, y, 255)
        self._lit = count

    def _newest(self, surface: Any, rewards: float) -> None:
        """Draw the lantern that is about to find its place."""
        part = rewards - math.floor(rewards)
        if self._lit >= self.LANTERNS or part <= 0.0:
            return
        x, y, size = self._spots[self._lit]
        come = smooth(part)
        rise = 0.0 if self._still else 0.055 * self._stage.unit * (1.0 - part) ** 2
        _centred(surface, self._bloom, x, y + rise, round(220 * come * (1.0 - part)))
        _centred(surface, self._lanterns[size], x, y + rise, round(255 * come))

    def _fly(self, surface: Any, moment: Moment) -> None:
        stage = self._stage
        x, y, pitch = stage.centre[0], self.MIDDLE * stage.height, 0.0
        lift = ((self._calm if self._calm is not None else 0.5) - 0.5) * moment.live
        if self._still:
            y -= 0.20 * lift * stage.unit
        else:
            sway, slow = 2 * math.pi * moment.t / 11.0, 2 * math.pi * moment.t / 17.0
            x += 0.016 * stage.unit * math.sin(slow)
            y -= (0.020 * math.sin(sway) + 0.05 * lift) * stage.unit
            pitch = 4.5 * math.cos(sway) + 1.5 * math.cos(2.3 * slow)
        if moment.glow > 0.0:
            _centred(surface, self._halo, x, y, round(200 * moment.glow))
        self._glider.draw(surface, x, y, pitch)


class _Glider:
    """A paper glider, drawn beforehand at many angles and quarters of a pixel."""

    FINE = 4
    STEEPEST, STEP = 7.0, 0.5  # degrees

    def __init__(self, long: float) -> None:
        self._side = 2 * math.ceil(long * 0.62)
        whole = self._whole(long * self.FINE)
        angles = np.arange(-self.STEEPEST, self.STEEPEST + self.STEP / 2, self.STEP)
        self._turned = [self._quarters(pygame.transform.rotate(whole, a)) for a in angles]

    def _whole(self, long: float) -> Any:
        side = self._side * self.FINE
        whole = pygame.Surface((side, side), pygame.SRCALPHA)
        whole.fill((206, 192, 172, 0))
        for corners, colour in GLIDER.values():
            points = [
                (side / 2 + (x - 0.46) * long, side / 2 + (y - 0.44) * long * 0.62)
                for x, y in corners
            ]
            pygame.draw.polygon(whole, colour, points)
        return whole

    def _quarters(self, turned: Any) -> list[Any]:
        side = self._side * self.FINE
        quarters = []
        for shift in range(self.FINE):
            fine = pygame.Surface((side, side), pygame.SRCALPHA)
            fine.fill((206, 192, 172, 0))
            at = ((side - turned.get_width()) // 2, (side - turned.get_height()) // 2 + shift)
            fine.blit(turned, at)
            quarters.append(pygame.transform.smoothscale(fine, (self._side, self._side)))
        return quarters

    def draw(self, surface: Any, x: float, y: float, pitch: float) -> None:
        """Draw the glider around ``(x, y)``, its nose raised by `pitch` degrees."""
        turn = round((min(self.STEEPEST, max(-self.STEEPEST, pitch)) + self.STEEPEST) / self.STEP)
        top = y - self._side / 2
        quarter = int((top - math.floor(top)) * self.FINE)
        surface.blit(self._turned[turn][quarter], (round(x - self._side / 2), math.floor(top)))


def _painted(colours: NDArray[Any], cover: NDArray[Any]) -> Any:
    """Return a surface of these colours that covers so much (0..1) of what is below it."""
    surface = pygame.Surface(cover.shape, pygame.SRCALPHA)
    rgb = pygame.surfarray.pixels3d(surface)
    rgb[:] = colours.astype(np.uint8)
    del rgb
    alpha = pygame.surfarray.pixels_alpha(surface)
    alpha[:] = (cover * 255 + 0.5).astype(np.uint8)
    del alpha  # unlocks the surface
    return surface


def _centred(surface: Any, image: Any, x: float, y: float, alpha: int) -> None:
    if alpha <= 0:
        return
    image.set_alpha(alpha)
    surface.blit(image, around(image, x, y))


def _halo(radius: float) -> Any:
    return cover_surface(smooth(nearness(radius)), code(GLOW), 120)


def _lantern(tall: float) -> Any:
    """Return a paper lantern with the light in it and around it."""
    side = 2 * math.ceil(2.6 * tall)
    axis = np.arange(side) + 0.5 - side / 2
    x, y = axis[:, None] / (0.40 * tall), axis[None, :] / (0.52 * tall)
    shape = (np.abs(x) * (1.0 + 0.14 * y)) ** 3.2 + np.abs(y) ** 4.0  # wider at the top
    body = np.clip((1.0 - shape ** (1 / 3.6)) * 0.42 * tall + 0.5, 0.0, 1.0)
    away = np.hypot(axis[:, None], axis[None, :]) / (2.5 * tall)
    halo = 0.34 * np.clip(1.0 - away, 0.0, 1.0) ** 2.6
    light = np.clip(0.55 + 0.45 * y, 0.0, 1.0)[..., None]  # the flame is below
    colours = np.where(
        body[..., None] > 0.0, SAND * [1.06, 0.94, 0.78] + (IVORY - SAND) * light, GLOW
    )
    return _painted(np.clip(colours, 0, 255), np.maximum(body * 0.94, halo))
