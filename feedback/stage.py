"""The stage every picture stands on: size, background, letters, colours, and what it is told.

Everything is drawn relative to one unit, the height of a 16:9 picture that fits the window, so
that a small window and a full HD screen look alike. Colours run from slate blue to warm ivory,
which people with any colour vision tell apart by lightness as well; the ground is dark, for a dark
room.
"""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float

__all__ = [
    "ASH",
    "BRIGHT",
    "Colour",
    "FAINT",
    "GLOW",
    "IVORY",
    "Media",
    "Moment",
    "Picture",
    "NIGHT_CENTRE",
    "NIGHT_EDGE",
    "QUIET",
    "SAND",
    "SLATE",
    "SOFT",
    "Stage",
    "Style",
    "WHITE",
    "box_distance",
    "cover_surface",
    "disc",
    "text_lines",
]

Colour = tuple[int, int, int]

CENTRE = np.array([39.0, 36.0, 34.0])  # of the background
EDGE = np.array([24.0, 22.0, 21.0])
NIGHT_CENTRE = np.array([12.0, 12.0, 12.0])  # of the background in high contrast
NIGHT_EDGE = np.array([5.0, 5.0, 5.0])
# Letters: every one keeps 4.5 : 1 (WCAG 2.2, 1.4.3) against the lightest of the background.
BRIGHT: Colour = (238, 232, 222)  # titles
SOFT: Colour = (198, 192, 183)  # body text
QUIET: Colour = (170, 164, 155)  # what may be overlooked
FAINT: Colour = (150, 144, 137)  # hints
WHITE: Colour = (255, 255, 255)  # all of them in high contrast
SLATE = np.array([88.0, 112.0, 128.0])
IVORY = np.array([255.0, 222.0, 170.0])
SAND = np.array([186.0, 164.0, 128.0])
ASH = np.array([104.0, 100.0, 96.0])  # neutral: no answer at the moment
GLOW = np.array([255.0, 206.0, 140.0])
LARGE = 1.5  # letters of `Style.large_text`
LEADING = 1.38  # from line to line, in letters' sizes


@dataclass(frozen=True, slots=True)
class Style:
    """How a room wants its screens.

    Parameters
    ----------
    reduced_motion : bool
        Nothing drifts, flies or sways; only what the level and the rewards move, moves.
    large_text : bool
        Letters half as large again.
    high_contrast : bool
        White letters on black, and stronger edges.
    """

    reduced_motion: bool = False
    large_text: bool = False
    high_contrast: bool = False


@dataclass(frozen=True, slots=True)
class Media:
    """The user's own files: a folder of images, a film. Empty where there are none."""

    images: str = ""
    film: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """What a picture is told for one frame.

    Parameters
    ----------
    level : float
        0..1. It may jump from frame to frame: what covers more than a tenth of the window follows
        it slowly, what is small follows at once.
    live : float
        1 shows the level, 0 the neutral state; between, the picture eases over. Neutral neither
        rewards nor punishes: it looks like neither a high nor a low level.
    glow : float
        0..1, a reward's light.
    rewards : float
        Rewards shown so far in this session, running up to the next whole number while the newest
        one glows. Growth is drawn from this number alone, so a window that was opened again
        shows what was there.
    t : float
        Seconds of the picture's own time. It runs while feedback is live and stands still while
        there is no honest answer.
    dt : float
        Seconds of `t` since the frame before; 0 when it stood still.
    frame_s : float
        Seconds since the frame before, whatever `t` does: for what follows slowly.
    """

    level: float = 0.0
    live: float = 0.0
    glow: float = 0.0
    rewards: float = 0.0
    t: float = 0.0
    dt: float = 0.0
    frame_s: float = 1.0 / 60.0


class Picture(Protocol):
    """A picture that follows the level.

    Made once from the `Stage`; may keep what is costly to draw. Drawing at full HD should take
    less than 8 ms.
    """

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame over the stage's background.

        Parameters
        ----------
        surface : pygame.Surface
            Of the stage's size, background already drawn.
        moment : Moment
            What to show.
        """
        ...


@lru_cache(maxsize=1)
def _typeface() -> str | None:
    """Return the font file: the one matplotlib brings, so all machines show the same letters."""
    spec = importlib.util.find_spec("matplotlib")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return str(path)
    return None  # pygame's own


def text_lines(text: str, width_of: Any, limit: float) -> list[str]:
    """Break `text` into lines no wider than `limit`; words longer than a line are cut.

    Parameters
    ----------
    text : str
        Line breaks are kept.
    width_of : callable
        Width of a string, in the unit of `limit`.
    limit : float
        Largest width.

    Notes
    -----
    A no-break space holds two words together.
    """
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for whole in _words(paragraph):
            word = whole
            wider = f"{line} {word}" if line else word
            if width_of(wider) <= limit:
                line = wider
                continue
            if line:
                lines.append(line)
            while (cut := _fitting(word, width_of, limit)) < len(word):
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


def _fitting(word: str, width_of: Any, limit: float) -> int:
    """Return how many letters of `word` fit into a line, at least 1.

    Only what is about as long as a line is measured, however long the word is.
    """
    fits, over = min(1, len(word)), len(word) + 1
    tried = 2
    while tried < over and width_of(word[:tried]) <= limit:
        fits, tried = tried, 2 * tried
    over = min(over, tried)
    while over - fits > 1:
        middle = (fits + over) // 2
        if width_of(word[:middle]) <= limit:
            fits = middle
        else:
            over = middle
    return fits


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[ \t\r\f\v]+", text) if word]


class Stage:
    """Size, background, letters: what every screen shares.

    Parameters
    ----------
    size : (int, int)
        Width and height in pixels.
    style : Style
        What the room wants.
    media : Media
        The user's own files.
    options : mapping of str to float
        Of the picture, as the protocol gives them, in the units of its `PictureKind`.
    """

    def __init__(
        self,
        size: tuple[int, int],
        style: Style | None = None,
        media: Media | None = None,
        options: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.style = style if style is not None else Style()
        self.media = media if media is not None else Media()
        self.options = options
        self.width, self.height = self.size = size
        self.unit = min(float(size[1]), size[0] * 9.0 / 16.0)
        self.centre = (size[0] / 2.0, size[1] / 2.0)
        self.letters = LARGE if self.style.large_text else 1.0
        dark = self.style.high_contrast
        self.ground = (NIGHT_CENTRE, NIGHT_EDGE) if dark else (CENTRE, EDGE)
        self._fonts: dict[int, Any] = {}
        self._blocks: dict[tuple[object, ...], Any] = {}
        self.background = self._draw_background()

    def px(self, share: float) -> int:
        """Return a length given as a share of the unit, in whole pixels, at least 1."""
        return max(1, round(share * self.unit))

    def backdrop(self, radius: Float) -> Float:
        """Return the background's colour at `radius` (in units) from the centre, ``(..., 3)``."""
        mix = np.clip(radius / 1.05, 0.0, 1.0)[..., None] ** 2
        centre, edge = self.ground
        return np.asarray(centre + (edge - centre) * mix)

    def _draw_background(self) -> Any:
        x = (np.arange(self.width) + 0.5 - self.centre[0]) / self.unit
        y = (np.arange(self.height) + 0.5 - self.centre[1]) / self.unit
        radius = np.hypot(x[:, None], y[None, :])
        colours = self.backdrop(radius)
        # Noise below one code hides the bands that a dark gradient shows on eight bits.
        colours += np.random.default_rng(1).random(radius.shape)[..., None] - 0.5
        surface = pygame.Surface(self.size)
        pygame.surfarray.blit_array(surface, np.rint(colours).astype(np.uint8))
        return surface.convert() if pygame.display.get_surface() else surface

    def font(self, px: int) -> Any:
        """Return the typeface with letters of `px` pixels."""
        if px not in self._fonts:
            self._fonts[px] = pygame.font.Font(_typeface(), px)
        return self._fonts[px]

    def text(
        self, text: str, share: float, colour: Colour, width: float, height: float
    ) -> Any | None:
        """Return centred, wrapped text that fits `width` x `height` pixels; None when empty.

        Parameters
        ----------
        share : float
            Wanted size of the letters in units; smaller when the text would not fit. Half as
            large again for a room that wants large letters.
        colour : (int, int, int)
            White instead for a room that wants high contrast.
        """
        if not text.strip():
            return None
        px = self.letter_px(share)
        colour = WHITE if self.style.high_contrast else colour
        key = (text, px, colour, round(width), round(height))
        block = self._blocks.pop(key, None)
        if block is None:
            block = self._set_text(text, px, colour, width, height)
            if len(self._blocks) >= 64:
                self._blocks.pop(next(iter(self._blocks)))
        self._blocks[key] = block  # the one used last is the last to go
        return block

    def letter_px(self, share: float) -> int:
        """Return the size of letters as the room wants them, in pixels."""
        return self.px(share * self.letters)

    def _set_text(self, text: str, px: int, colour: Colour, width: float, height: float) -> Any:
        # A word is set smaller before it is cut, down to half.
        longest = max(_text_width(self.font(px), w) for w in _words(text.replace("\n", " ")))
        if longest > width:
            px = max(8, int(px * max(0.5, 0.98 * width / longest)))
        while True:
            font = self.font(px)
            lines = text_lines(text, partial(_text_width, font), width)
            leading = max(1, round(px * LEADING))
            tall = leading * (len(lines) - 1) + font.get_height()
            if tall <= height or px <= 8:
                break
            px = max(8, int(px * 0.92))
        room = max(1, int((height - font.get_height()) // leading) + 1)
        if len(lines) > room:  # even the smallest letters are too many
            last = lines[room - 1]
            kept = _fitting(last, lambda part: _text_width(font, part + " …"), width)
            lines = [*lines[: room - 1], last[:kept].rstrip() + " …"]
        elif len(lines) > 1:
            # A line of its own for every sentence, where that takes no more lines.
            apart = re.sub(r"(?<=[.!?]) (?=[A-ZÄÖÜ])", "\n", text)
            broken = text_lines(apart, partial(_text_width, font), width)
            if len(broken) == len(lines):
                text, lines = apart, broken
            lines = self._balanced(text, lines, font, width)
        wide = max(_text_width(font, line) for line in lines)
        tall = leading * (len(lines) - 1) + int(font.get_height())
        block = pygame.Surface((max(1, wide), max(1, tall)), pygame.SRCALPHA)
        for i, line in enumerate(lines):
            if line:
                image = font.render(line, True, colour)
                block.blit(image, ((wide - image.get_width()) // 2, i * leading))
        return block

    @staticmethod
    def _balanced(text: str, lines: list[str], font: Any, width: float) -> list[str]:
        """Return the same number of lines, as narrow as they can be: no lonely last word."""
        longest_word = max(_text_width(font, word) for word in _words(text.replace("\n", " ")))
        while 0.96 * width > longest_word:
            width *= 0.96
            narrower = text_lines(text, partial(_text_width, font), width)
            if len(narrower) != len(lines):
                break
            lines = narrower
        return lines

    def put(self, surface: Any, block: Any | None, x: float, y: float) -> int:
        """Blit `block` with its top centre at ``(x, y)``; return its height."""
        if block is None:
            return 0
        surface.blit(block, (round(x - block.get_width() / 2), round(y)))
        return int(block.get_height())


def _text_width(font: Any, text: str) -> int:
    return int(font.size(text)[0])


def disc(radius: float, ring: float | None, colour: Colour, alpha: int) -> Any:
    """Return a smooth disc, or a ring of width `ring`, lengths in pixels."""
    side = 2 * math.ceil(radius + 2)
    axis = np.arange(side) + 0.5 - side / 2
    distance = np.hypot(axis[:, None], axis[None, :])
    cover = np.clip(radius - distance + 0.5, 0, 1)
    if ring is not None:
        cover = cover * np.clip(distance - (radius - ring) + 0.5, 0, 1)
    return cover_surface(cover, colour, alpha)


def cover_surface(cover: NDArray[np.float64], colour: Colour, alpha: int) -> Any:
    surface = pygame.Surface(cover.shape, pygame.SRCALPHA)
    surface.fill((*colour, 0))
    pixels = pygame.surfarray.pixels_alpha(surface)
    pixels[:] = np.rint(cover * alpha).astype(np.uint8)
    del pixels  # unlocks the surface
    return surface


def box_distance(width: int, height: int, box: tuple[float, float], corner: float) -> Float:
    """Return the signed distance of each pixel to a centred rounded box, negative inside."""
    x = np.abs(np.arange(width) + 0.5 - width / 2)[:, None] - (box[0] / 2 - corner)
    y = np.abs(np.arange(height) + 0.5 - height / 2)[None, :] - (box[1] / 2 - corner)
    outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    inside = np.minimum(np.maximum(x, y), 0)
    return np.asarray(outside + inside - corner)
