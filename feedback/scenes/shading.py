"""What several pictures paint with: colours between colours, soft edges, smooth noise.

Images of numbers are ``(height, width, 3)`` or, where a function says so, ``(width, height, 3)`` as
pygame has them, in codes of 0..255 with fractions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.stage import Colour, Stage, cover_surface

__all__ = [
    "Float32",
    "Rgb",
    "around",
    "blank",
    "blend",
    "code",
    "cut_out",
    "dithered",
    "halo",
    "mixed",
    "nearness",
    "noise",
    "overlay",
    "printed",
    "ramp",
    "shrunk",
    "smooth",
    "smoother",
    "tall_unit",
]

Float32 = NDArray[np.float32]
Rgb = tuple[float, float, float]
Part = TypeVar("Part", float, Float, Float32)


def tall_unit(stage: Stage) -> float:
    """Return the unit of heights, in pixels: what stands is taller in a tall window."""
    return math.sqrt(stage.unit * stage.height)


# ---------------------------------------------------------------- curves


def smooth(part: Part) -> Part:
    """Return a way of 0..1 that begins and ends without a jerk."""
    return part * part * (3.0 - 2.0 * part)


def smoother(part: Float) -> Float:
    """Return the same, without a jerk of its speed either."""
    return np.asarray(part * part * part * (part * (6.0 * part - 15.0) + 10.0))


def noise(
    x: Float,
    seed: int,
    octaves: int,
    gain: float = 0.5,
    ease: Callable[[Float], Float] = smoother,
) -> Float:
    """Return smooth noise of about -1..1 at places `x`, the coarsest wave one unit of `x` long.

    Parameters
    ----------
    gain : float
        Size of each octave as a share of the one before.
    ease : callable
        Way from one value to the next.
    """
    total, size = np.zeros_like(x), 1.0
    for k in range(octaves):
        lattice = np.random.default_rng((seed, k)).uniform(-1, 1, 256)
        place = x * 2.0**k
        cell = np.floor(place).astype(int)
        part = ease(place - cell)
        low, high = lattice[cell % 256], lattice[(cell + 1) % 256]
        total += size * (low + (high - low) * part)
        size *= gain
    return np.asarray(total)


# ---------------------------------------------------------------- colours


def code(colour: Sequence[float] | Float) -> Colour:
    """Return the colour as pygame wants it."""
    r, g, b = (min(255, max(0, round(float(c)))) for c in colour)
    return r, g, b


def blend(one: Rgb, two: Rgb, share: float) -> Rgb:
    """Return the colour at `share` (0..1) of the way from `one` to `two`."""
    a, b, c = (x + (y - x) * share for x, y in zip(one, two, strict=True))
    return a, b, c


def ramp(places: float | Float | Float32, *stops: tuple[float, Rgb | Float]) -> Float:
    """Return the colours ``(..., 3)`` at `places` between stops: a place and its colour each."""
    at = [place for place, _ in stops]
    channels = zip(*(colour for _, colour in stops), strict=True)
    return np.stack([np.interp(places, at, channel) for channel in channels], axis=-1)


def mixed(share: float | Float, *colours: Rgb | Float) -> Float:
    """Return the colour at `share` (0..1) of the way through `colours`."""
    return ramp(share, *zip(np.linspace(0.0, 1.0, len(colours)).tolist(), colours, strict=True))


def overlay(image: Float32, colour: Rgb | NDArray[Any], share: NDArray[Any]) -> None:
    """Paint `colour` over the image as far as `share` (0..1 for each pixel) says."""
    image += (np.asarray(colour, dtype=np.float32) - image) * share[..., None]


# ---------------------------------------------------------------- surfaces


def blank(size: tuple[int, int]) -> Any:
    """Return a black surface in the window's own format, which is quick to copy."""
    surface = pygame.Surface(size)
    return surface.convert() if pygame.display.get_surface() else surface


def dithered(colours: NDArray[Any]) -> Any:
    """Return a surface of the colours, ``(width, height, 3)``.

    Noise below one code hides the bands of a gradient.
    """
    grain = np.random.default_rng(5).random((*colours.shape[:2], 1), dtype=np.float32)
    surface = blank((colours.shape[0], colours.shape[1]))
    pygame.surfarray.blit_array(surface, np.clip(colours + grain, 0, 255).astype(np.uint8))
    return surface


def printed(image: Float32) -> Any:
    """Return a surface of the image, dithered.

    All of one size have the same grain, so that mixtures of them show no bands either.
    """
    grain = np.random.default_rng(7).random(image.shape[:2], dtype=np.float32) - np.float32(0.5)
    codes = np.rint(np.clip(image + grain[..., None], 0, 255)).astype(np.uint8)
    surface = pygame.image.frombuffer(codes.tobytes(), (image.shape[1], image.shape[0]), "RGB")
    return surface.convert() if pygame.display.get_surface() else surface.copy()


def cut_out(surface: Any, cover: NDArray[Any]) -> None:
    """Let the surface cover what is below it as far as `cover`, ``(width, height)`` of 0..1."""
    alpha = pygame.surfarray.pixels_alpha(surface)
    alpha[:] = np.rint(cover * 255).astype(np.uint8)
    del alpha  # unlocks the surface


def nearness(radius: float) -> Float:
    """Return a square of numbers that fall from 1 in its middle to 0 at `radius` pixels."""
    side = 2 * math.ceil(radius)
    axis = np.arange(side) + 0.5 - side / 2
    return np.asarray(np.clip(1.0 - np.hypot(axis[:, None], axis[None, :]) / radius, 0, 1))


def halo(radius: float, colour: Colour, alpha: int, steep: float) -> Any:
    """Return a round light, `alpha` in its middle; the steeper, the sooner it fades."""
    return cover_surface(nearness(radius) ** steep, colour, alpha)


def around(image: Any, x: float, y: float) -> tuple[int, int]:
    """Return where the image's top left corner goes so that its middle is at ``(x, y)``."""
    return round(x - image.get_width() / 2), round(y - image.get_height() / 2)


def shrunk(values: NDArray[Any], fine: int) -> Float:
    """Return the means of squares of `fine` x `fine` values: soft edges out of hard ones."""
    wide, tall = values.shape[0] // fine, values.shape[1] // fine
    out = np.zeros((wide, tall))
    for i in range(fine):
        for j in range(fine):
            out += values[i::fine, j::fine]
    return out / fine**2
