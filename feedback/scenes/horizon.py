"""A lake between hills at dusk: the sun stands as high as the level, light and weather follow.

Two whole paintings, an overcast dusk and a clear warm evening, are mixed as slowly as weather
changes; only the sun, a small thing, moves with the level at once. A third painting, an even
twilight without a sun, stands for "no answer". Mixing costs a blit, so a painting may be as rich
as it likes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pygame

from engine.frames import Float
from feedback.scenes.landscape import EVENING, OVERCAST, SHORE, SUN, TWILIGHT, Land, painted
from feedback.scenes.shading import Rgb, around, code, halo, smooth, tall_unit
from feedback.stage import Moment, Stage, cover_surface, disc

__all__ = ["Horizon"]

SUN_LOW, SUN_HIGH = 0.500, 0.135  # down the window
WEATHER_TAU_S = 1.2
WEATHER_LEAST_PER_S = 0.05  # so that it arrives
VEIL_S = 1.2  # the shortest way between neutral and weather


class Horizon:
    """A landscape: the sun stands as high as the level, light and weather follow."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._still = stage.style.reduced_motion
        self._weather = 0.5  # 0 overcast, 1 clear; goes after the level
        self._answer = 0.0  # goes after `live`, no faster than large areas may
        self._turn = False
        self._sun_x = SUN * stage.width
        land = Land(stage)
        overcast, evening, twilight = (
            painted(stage, land, light) for light in (OVERCAST, EVENING, TWILIGHT)
        )
        evening.blit(_stars(stage), (0, 0))
        clouds = _Drift(stage, (-0.06, 0.52), (128, 135, 144), 0.62, 5.0, 11)
        wisps = _Drift(stage, (0.06, 0.46), (255, 210, 172), 0.36, 3.5, 12)
        mist = _Drift(stage, (SHORE - 0.085, SHORE + 0.06), (176, 178, 180), 0.30, 7.0, 13)
        trees = _Trees(land, math.ceil((SHORE + 0.06) * stage.height) + 1, OVERCAST.bank)
        self._overcast = _Weather(overcast, (clouds, mist), trees)
        self._evening = _Weather(evening, (wisps, mist), trees)
        self._twilight = twilight
        strong = stage.style.high_contrast
        size = 0.040 if strong else 0.030
        self._pale = _sun(stage, size, 0.100, (214, 217, 219), 0.34)
        self._warm = _sun(stage, size, 0.135, (255, 226, 178), 0.62)
        self._reward = halo(0.155 * tall_unit(stage), (255, 214, 150), 128, 2.4)
        self._path = [_glitter(stage, seed) for seed in (21, 22)]
        self._scale = _scale(stage) if strong else None

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._follow(moment)
        clear, t = self._weather, 0.0 if self._still else moment.t
        if self._answer > 0.0:
            # Each painting brings its own clouds, so mixing the two mixes the weather. They drift
            # in turns: a frame never pays for both.
            self._turn = not self._turn
            (self._overcast if self._turn else self._evening).drift(t)
            surface.blit(self._overcast.seen, (0, 0))
            _faded(surface, self._evening.seen, (0, 0), clear)
        # Alone at the end: a fully opaque veil hides whatever the level has done to the weather.
        _faded(surface, self._twilight, (0, 0), 1.0 - self._answer)
        self._draw_sun(surface, moment, t)

    def _follow(self, moment: Moment) -> None:
        """Let weather and veil go after level and `live`, as slowly as large areas must."""
        if self._answer <= 0.0:
            self._weather = moment.level  # nobody sees it
        step = moment.frame_s
        gap = moment.level - self._weather
        move = abs(gap) * -math.expm1(-step / WEATHER_TAU_S) + WEATHER_LEAST_PER_S * step
        self._weather += math.copysign(min(move, abs(gap)), gap)
        gap = moment.live - self._answer
        self._answer += math.copysign(min(step / VEIL_S, abs(gap)), gap)

    def _draw_sun(self, surface: Any, moment: Moment, t: float) -> None:
        live, height = moment.live, self._stage.height
        down = SUN_LOW + (SUN_HIGH - SUN_LOW) * moment.level
        at = (self._sun_x, down * height)
        # Light on the water: of the weather, and more of it while a reward glows.
        light = self._answer * (0.16 + 0.44 * self._weather) + 0.40 * moment.glow * live
        shimmer = 0.5 + 0.5 * math.sin(0.9 * t)
        for path, share in zip(self._path, (1.0 - 0.6 * shimmer, 0.4 + 0.6 * shimmer), strict=True):
            _faded(
                surface, path, (self._sun_x - path.get_width() / 2, SHORE * height), light * share
            )
        if self._scale is not None:
            _faded(surface, self._scale, (self._sun_x + 0.075 * self._stage.unit, 0), 1.0)
        _centred(surface, self._reward, at, moment.glow * live)
        _centred(surface, self._pale, at, live)
        _centred(surface, self._warm, at, live * moment.level)


def _faded(surface: Any, image: Any, at: tuple[float, float], share: float) -> None:
    """Blit with an opacity of `share`, quickly only where `image` is small or has no alpha."""
    alpha = round(255 * min(max(share, 0.0), 1.0))
    if alpha:
        image.set_alpha(alpha)
        surface.blit(image, (round(at[0]), round(at[1])))


def _centred(surface: Any, image: Any, at: tuple[float, float], share: float) -> None:
    _faded(surface, image, around(image, *at), share)


# ---------------------------------------------------------------- what moves


class _Drift:
    """A soft layer of cloud or mist that drifts round and round.

    Parameters
    ----------
    span : (float, float)
        Top and bottom, down the window.
    colour, strength
        Of the densest places, 0..1.
    speed : float
        Units per 1000 seconds of the picture's time.
    """

    def __init__(
        self,
        stage: Stage,
        span: tuple[float, float],
        colour: tuple[int, int, int],
        strength: float,
        speed: float,
        seed: int,
    ) -> None:
        self._top = round(span[0] * stage.height)
        tall = max(8, round((span[1] - span[0]) * stage.height))
        self._wide = stage.width
        self._speed = speed * stage.unit / 1000.0
        field = _cloud_field(stage, tall, seed)
        self._image = cover_surface(field.T, colour, round(255 * strength))
        if pygame.display.get_surface():
            self._image = self._image.convert_alpha()

    def place(self, t: float) -> int:
        """Return how far it has drifted, in pixels."""
        return round(t * self._speed) % self._wide

    def draw(self, surface: Any, t: float) -> None:
        x = self.place(t)
        surface.blit(self._image, (x, self._top))
        if x:
            surface.blit(self._image, (x - self._wide, self._top))


class _Weather:
    """A painting with its clouds and mist, put together again only when one moved a pixel."""

    def __init__(self, painting: Any, drifts: tuple[_Drift, ...], trees: _Trees) -> None:
        self._painting, self._drifts, self._trees = painting, drifts, trees
        self.seen = painting.copy()
        self._above = (0, 0, painting.get_width(), trees.bottom)
        self._places: list[int] = []
        self.drift(0.0)

    def drift(self, t: float) -> None:
        """Move clouds and mist to where they are at `t`."""
        places = [drift.place(t) for drift in self._drifts]
        if places != self._places:
            self._places = places
            self.seen.blit(self._painting, (0, 0), self._above)
            for drift in self._drifts:
                drift.draw(self.seen, t)
            self._trees.draw(self.seen)


class _Trees:
    """The near trees at both sides, which stand before clouds and mist, down to `bottom`."""

    def __init__(self, land: Land, bottom: int, colour: Rgb) -> None:
        self.bottom = bottom
        cover = land.bank[:bottom]
        top = int(np.argmax(cover.max(axis=1) > 0.0))
        width = cover.shape[1]
        wooded = np.flatnonzero(cover.max(axis=0) > 0.0)
        first = int(wooded[wooded < SUN * width].max(initial=-1)) + 1
        last = int(wooded[wooded >= SUN * width].min(initial=width))
        self._parts = []
        for left, right in ((0, first), (last, width)):
            if right > left:
                part = cover_surface(
                    cover[top:, left:right].T.astype(np.float64), code(colour), 255
                )
                self._parts.append((part, (left, top)))

    def draw(self, surface: Any) -> None:
        for image, at in self._parts:
            surface.blit(image, at)


def _cloud_field(stage: Stage, tall: int, seed: int) -> Float:
    """Return clouds, ``(tall, width)`` of 0..1, seamless from side to side."""
    rows, cols = max(4, tall // 3), max(8, stage.width // 3)
    rng = np.random.default_rng(seed)
    fy = np.fft.fftfreq(rows)[:, None] * 1080 / (stage.unit / 3) / 3
    fx = np.fft.rfftfreq(cols)[None, :] * 1080 / (stage.unit / 3) / 3
    # Clouds are four times longer than tall; larger ones carry more.
    pitch = np.hypot(5.0 * fx, 1.2 * fy) * stage.unit / 1080 + 0.006
    spectrum = np.fft.rfft2(rng.normal(size=(rows, cols))) * pitch**-2.1
    field = np.fft.irfft2(spectrum, s=(rows, cols))
    field = (field - field.mean()) / field.std()
    soft = np.clip((field + 0.6) / 2.8, 0, 1)
    edge = np.linspace(0, 1, rows)[:, None]
    soft = smooth(soft) * (np.sin(np.pi * edge) ** 1.2)
    grey = np.repeat(np.rint(soft * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = pygame.image.frombuffer(grey.tobytes(), (cols, rows), "RGB")
    large = pygame.transform.smoothscale(small, (stage.width, tall))
    return np.asarray(pygame.surfarray.array_red(large).T / 255.0)


def _sun(
    stage: Stage, size: float, reach: float, colour: tuple[int, int, int], strength: float
) -> Any:
    """Return the sun's disc within its halo."""
    unit = tall_unit(stage)
    image = halo(reach * unit, colour, round(255 * strength), 2.4)
    radius = size * unit
    side = 2 * math.ceil(radius + 2)
    axis = np.arange(side) + 0.5 - side / 2
    edge = np.clip((radius - np.hypot(axis[:, None], axis[None, :])) / (0.10 * radius), 0, 1)
    body = cover_surface(smooth(edge), colour, 255)
    place = (image.get_width() - side) // 2
    image.blit(body, (place, place))
    return image


def _glitter(stage: Stage, seed: int) -> Any:
    """Return the sun's path on the water: short bright strokes, wider towards us."""
    tall = round((0.90 - SHORE) * stage.height)
    wide = 2 * round(0.13 * stage.unit)
    rng = np.random.default_rng(seed)
    cover = np.zeros((tall, wide))
    axis = np.arange(wide) + 0.5 - wide / 2
    y = 1.0
    while y < tall - 2:
        away = y / tall
        thick = (0.0008 + 0.0042 * away) * stage.unit
        spread = (0.020 + 0.042 * away) * stage.unit
        for _ in range(3):
            at, long = rng.normal(0, 0.55) * spread, rng.uniform(0.2, 1.0) * spread
            rows = np.arange(max(0, int(y - 3 * thick)), min(tall, int(y + 3 * thick) + 2))
            down = np.exp(-0.5 * ((rows - y) / max(thick, 0.6)) ** 2)
            across = np.exp(-(np.abs((axis - at) / long) ** 2.5))
            stroke = down[:, None] * across[None, :] * rng.uniform(0.35, 1.0)
            cover[rows] = np.maximum(cover[rows], stroke)
        y += max(1.0, 2.1 * thick)
    fade = np.clip(np.linspace(1.0, 0.0, tall) * 1.6, 0, 1) ** 1.3
    fade *= np.clip(np.arange(tall) / (0.004 * stage.unit), 0, 1)
    return cover_surface((cover * fade[:, None]).T, (250, 230, 196), 200)


def _stars(stage: Stage) -> Any:
    """Return the first stars, which a clear evening shows high up."""
    tall = round(0.30 * stage.height)
    image = pygame.Surface((stage.width, tall), pygame.SRCALPHA)
    image.fill((235, 238, 242, 0))
    rng = np.random.default_rng(41)
    for _ in range(round(26 * stage.width / stage.unit)):
        x, y = rng.random() * stage.width, rng.random() ** 1.5 * tall
        star = disc(
            rng.uniform(0.0010, 0.0019) * stage.unit,
            None,
            (235, 238, 242),
            round(rng.uniform(60, 170) * (1.0 - y / tall)),
        )
        image.blit(star, (round(x), round(y)))
    return image


def _scale(stage: Stage) -> Any:
    """Return a plain scale beside the sun's way, for rooms that want strong contrast."""
    high, low = SUN_HIGH * stage.height, SUN_LOW * stage.height
    image = pygame.Surface((stage.px(0.05), math.ceil(low) + stage.px(0.01)), pygame.SRCALPHA)
    thick = stage.px(0.004)
    for k in range(5):
        long = stage.px(0.040 if k % 2 == 0 else 0.024)
        y = round(high + (low - high) * k / 4 - thick / 2)
        pygame.draw.rect(image, (245, 245, 245, 220), (0, y, long, thick))
    return image
