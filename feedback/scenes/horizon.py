"""A lake between hills at dusk: the sun stands as high as the level, light and weather follow.

Two whole paintings, an overcast dusk and a clear warm evening, are mixed as slowly as weather
changes; only the sun, a small thing, moves with the level at once. A third painting, an even
twilight without a sun, stands for "no answer". Mixing costs a blit, so a painting may be as rich
as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.stage import Moment, Stage, cover_surface, disc

__all__ = ["Horizon"]

Float32 = NDArray[np.float32]
Rgb = tuple[float, float, float]

SUN = 0.60  # across the window
SHORE = 0.655  # down the window: where the lake begins
SUN_LOW, SUN_HIGH = 0.500, 0.135  # down the window
WEATHER_TAU_S = 1.2
WEATHER_LEAST_PER_S = 0.05  # so that it arrives
VEIL_S = 1.2  # the shortest way between neutral and weather
DRAW_S = 1.0 / 60.0


@dataclass(frozen=True, slots=True)
class _Light:
    """The colours of one painting."""

    sky: tuple[Rgb, ...]  # from the zenith to the horizon
    air: Rgb  # what distance and mist mix in
    hills: tuple[Rgb, Rgb]  # crest of the farthest and of the nearest
    glow: Rgb  # around the place where the sun goes down
    glowing: float  # 0..1
    water: float  # share of the sky's light that the lake returns
    bank: Rgb


OVERCAST = _Light(
    sky=((52, 62, 76), (68, 78, 91), (88, 97, 108), (106, 112, 119)),
    air=(100, 107, 115),
    hills=((86, 95, 106), (33, 42, 50)),
    glow=(140, 142, 142),
    glowing=0.30,
    water=0.80,
    bank=(17, 21, 25),
)
EVENING = _Light(
    sky=((32, 58, 92), (74, 104, 132), (144, 145, 144), (216, 172, 124)),
    air=(206, 166, 132),
    hills=((146, 128, 130), (36, 45, 56)),
    glow=(255, 206, 138),
    glowing=0.80,
    water=0.88,
    bank=(18, 22, 26),
)
TWILIGHT = _Light(
    sky=((74, 76, 82), (92, 92, 96), (110, 108, 108), (124, 120, 118)),
    air=(118, 115, 113),
    hills=((106, 104, 106), (48, 49, 53)),
    glow=(128, 124, 121),
    glowing=0.10,
    water=0.86,
    bank=(24, 24, 26),
)


class Horizon:
    """A landscape: the sun stands as high as the level, light and weather follow."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._still = stage.style.reduced_motion
        self._weather = 0.5  # 0 overcast, 1 clear; goes after the level
        self._answer = 0.0  # goes after `live`, no faster than large areas may
        self._turn = False
        self._sun_x = SUN * stage.width
        land = _Land(stage)
        overcast, evening, twilight = (
            _painted(stage, land, light) for light in (OVERCAST, EVENING, TWILIGHT)
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
        self._reward = _halo(stage, 0.155, (255, 214, 150), 0.50)
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
        step = moment.dt if moment.dt > 0.0 and moment.live >= 1.0 else DRAW_S
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
    _faded(surface, image, (at[0] - image.get_width() / 2, at[1] - image.get_height() / 2), share)


def _tall(stage: Stage) -> float:
    """Return the unit of heights, in pixels: a tall window shows higher hills."""
    return math.sqrt(stage.unit * stage.height)


# ---------------------------------------------------------------- shapes of the land


def _noise(x: Float, seed: int, octaves: int, gain: float = 0.5) -> Float:
    """Return smooth noise of about -1..1 at places `x`, one hill per unit of `x`."""
    total, size = np.zeros_like(x), 1.0
    for k in range(octaves):
        lattice = np.random.default_rng((seed, k)).uniform(-1, 1, 256)
        place = x * 2.0**k
        cell = np.floor(place).astype(int)
        part = place - cell
        part = part * part * part * (part * (6.0 * part - 15.0) + 10.0)
        low, high = lattice[cell % 256], lattice[(cell + 1) % 256]
        total += size * (low + (high - low) * part)
        size *= gain
    return np.asarray(total)


def _peaks(x: Float, seed: int) -> Float:
    """Return mountains with sharp crests, about 0..1."""
    total, size = np.zeros_like(x), 1.0
    for k in range(7):
        total += size * (1.0 - np.abs(_noise(x * 2.0**k, seed + 100 * k, 1)) * 1.6)
        size *= 0.46
    return np.asarray(np.clip(total / 1.55, 0.0, 1.0))


class _Land:
    """Where hills, lake and bank are; the same for every light."""

    def __init__(self, stage: Stage) -> None:
        self.shore = round(SHORE * stage.height)
        unit = stage.unit
        self.x: Float = (np.arange(stage.width, dtype=np.float64) + 0.5 - SUN * stage.width) / unit
        x = self.x
        # A gap below the sun keeps its lowest place free.
        gap = np.exp(-0.5 * (x / 0.34) ** 2)
        crests = (
            0.075 + 0.150 * _peaks(x * 1.55 + 2.35, 3) * (1.0 - 0.55 * gap),
            0.108 + 0.062 * _noise(x * 1.7 + 40, 4, 7, 0.50) - 0.048 * gap + 0.040 * np.abs(x),
            0.060 + 0.045 * _noise(x * 1.5 + 80, 5, 6, 0.45) - 0.030 * gap + 0.052 * np.abs(x),
            0.016 + 0.030 * _noise(x * 1.9 + 9, 6, 5, 0.45) - 0.014 * gap + 0.040 * np.abs(x),
        )
        self.crests = [self.shore - np.maximum(c, 0.004) * _tall(stage) for c in crests]
        self.ground = list(self.crests)  # without what grows on it
        self.crests[3] = self.crests[3] - _forest(x) * _tall(stage)
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
    up = _tall(stage) * fine
    mask = pygame.Surface((width, height), depth=32)
    rng = np.random.default_rng(8)
    x = np.arange(0, width + 1, 4 * fine)
    across: Float = (x.astype(np.float64) - SUN * width) / unit
    rise = 0.050 + 0.022 * _noise(across * 1.3 + 5, 9, 4) + 0.055 * np.minimum(across**2, 1.6)
    ground = height - rise * up
    points = [(float(a), float(b)) for a, b in zip(x, ground, strict=True)]
    pygame.draw.polygon(mask, "white", [*points, (width, height), (0, height)])

    def floor(at: float) -> float:
        return float(np.interp(at, x, ground)) + 0.006 * unit

    for at in np.arange(0, width, 0.0045 * unit):
        at = at + rng.uniform(-0.002, 0.002) * unit
        lush = 0.5 + 0.5 * float(_noise(np.array([at / unit * 2.5]), 10, 2)[0])
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


def _painted(stage: Stage, land: _Land, light: _Light) -> Any:
    """Return the whole landscape in one light."""
    image = np.empty((stage.height, stage.width, 3), dtype=np.float32)
    _paint_sky(image, land, light)
    _paint_hills(image, stage, land, light)
    _paint_lake(image, stage, land, light)
    cover = land.bank[..., None]
    image += (np.array(light.bank, dtype=np.float32) - image) * cover
    # The same noise in every painting: mixtures of them show no bands either.
    noise = np.random.default_rng(7).random(image.shape[:2], dtype=np.float32) - np.float32(0.5)
    image += noise[..., None]
    return _surface(image)


def _surface(image: Float32) -> Any:
    height, width, _ = image.shape
    codes = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    surface = pygame.image.frombuffer(codes.tobytes(), (width, height), "RGB")
    return surface.convert() if pygame.display.get_surface() else surface


def _mixed(stops: Sequence[Rgb], places: Float) -> Float32:
    """Return colours ``(n, 3)`` at `places` 0..1 along evenly spaced stops."""
    knots = np.linspace(0, 1, len(stops))
    channels = [np.interp(places, knots, c) for c in zip(*stops, strict=True)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _paint_sky(image: Float32, land: _Land, light: _Light) -> None:
    rows = np.arange(land.shore)
    base = _mixed(light.sky, np.clip(rows / (0.93 * land.shore), 0, 1) ** 1.15)
    across = np.exp(-0.5 * (land.x / 0.75) ** 2)
    up = np.exp(-0.5 * ((land.shore - rows) / (0.40 * land.shore)) ** 2)
    glow = (light.glowing * up[:, None] * across[None, :]).astype(np.float32)[..., None]
    image[: land.shore] = base[:, None, :]
    image[: land.shore] += (np.array(light.glow, dtype=np.float32) - base[:, None, :]) * glow


def _paint_hills(image: Float32, stage: Stage, land: _Land, light: _Light) -> None:
    far, near = (np.array(c, dtype=np.float32) for c in light.hills)
    air, glow = np.array(light.air, np.float32), np.array(light.glow, np.float32)
    lit = np.exp(-0.5 * (land.x / 0.42) ** 2).astype(np.float32)[None, :, None]
    for k, (crest, ground) in enumerate(zip(land.crests, land.ground, strict=True)):
        depth = k / (len(land.crests) - 1)
        top = max(0, int(crest.min()) - 1)
        y = np.arange(top, land.shore, dtype=np.float32)[:, None]
        line = crest.astype(np.float32)[None, :]
        cover = np.clip(y - line + 0.5, 0, 1)[..., None]
        # Mist lies in the valleys: the foot of each hill is paler than its crest.
        below = y - ground.astype(np.float32)[None, :]
        foot = np.clip(below / (0.16 * _tall(stage) * (1.0 - 0.55 * depth)), 0, 1)[..., None]
        colour = far + (near - far) * np.float32(depth**0.8)
        paint = colour + (air - colour) * (foot * np.float32(0.80 - 0.42 * depth))
        paint = paint + (glow - paint) * (
            lit * np.float32(light.glowing * 0.42 * (1 - 0.7 * depth))
        )
        part = image[top : land.shore]
        part += (paint - part) * cover


def _paint_lake(image: Float32, stage: Stage, land: _Land, light: _Light) -> None:
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
    part = place - left
    part = part * part * (3.0 - 2.0 * part)
    wave = small[:, left] * (1.0 - part) + small[:, left + 1] * part
    down = np.linspace(0, tall - 1, rows) ** 1.0
    upper = np.minimum(down.astype(int), tall - 2)
    share = (down - upper)[:, None]
    return np.asarray(wave[upper] * (1.0 - share) + wave[upper + 1] * share)


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

    def __init__(self, land: _Land, bottom: int, colour: Rgb) -> None:
        self.bottom = bottom
        cover = land.bank[:bottom]
        top = int(np.argmax(cover.max(axis=1) > 0.0))
        width = cover.shape[1]
        wooded = np.flatnonzero(cover.max(axis=0) > 0.0)
        first = int(wooded[wooded < SUN * width].max(initial=-1)) + 1
        last = int(wooded[wooded >= SUN * width].min(initial=width))
        code = (round(colour[0]), round(colour[1]), round(colour[2]))
        self._parts = []
        for left, right in ((0, first), (last, width)):
            if right > left:
                part = cover_surface(cover[top:, left:right].T.astype(np.float64), code, 255)
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
    soft = soft * soft * (3.0 - 2.0 * soft)
    edge = np.linspace(0, 1, rows)[:, None]
    soft = soft * (np.sin(np.pi * edge) ** 1.2)
    grey = np.repeat(np.rint(soft * 255).astype(np.uint8)[..., None], 3, axis=2)
    small = pygame.image.frombuffer(grey.tobytes(), (cols, rows), "RGB")
    large = pygame.transform.smoothscale(small, (stage.width, tall))
    return np.asarray(pygame.surfarray.array_red(large).T / 255.0)


def _halo(stage: Stage, reach: float, colour: tuple[int, int, int], strength: float) -> Any:
    radius = reach * _tall(stage)
    side = 2 * math.ceil(radius)
    axis = np.arange(side) + 0.5 - side / 2
    near = np.clip(1.0 - np.hypot(axis[:, None], axis[None, :]) / radius, 0, 1)
    return cover_surface(near**2.4, colour, round(255 * strength))


def _sun(
    stage: Stage, size: float, reach: float, colour: tuple[int, int, int], strength: float
) -> Any:
    """Return the sun's disc within its halo."""
    image = _halo(stage, reach, colour, strength)
    radius = size * _tall(stage)
    side = 2 * math.ceil(radius + 2)
    axis = np.arange(side) + 0.5 - side / 2
    edge = np.clip((radius - np.hypot(axis[:, None], axis[None, :])) / (0.10 * radius), 0, 1)
    body = cover_surface(edge * edge * (3.0 - 2.0 * edge), colour, 255)
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
