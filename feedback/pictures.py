"""What the person sees: the pictures that follow the level, and the calm screens around them.

Everything is drawn relative to one unit, the height of a 16:9 picture that fits the window, so
that a small window and a full HD screen look alike. Nothing moves unless it means something: the
picture follows the level, a reward glows softly, and screens change by fading.

Colours run from slate blue to warm ivory, which people with any colour vision tell apart by
lightness as well. What is static is drawn once; the orb is a map of radii whose 256 colours are
set anew for each frame, which costs less than a millisecond at full HD.
"""

from __future__ import annotations

import importlib.util
import math
import os
import string
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float, Show
from feedback.registry import PICTURES, resolve

__all__ = ["TEXTS", "Bar", "Orb", "Picture", "Screens", "Stage", "Still", "text_lines"]

Colour = tuple[int, int, int]

CENTRE = np.array([39.0, 36.0, 34.0])  # of the background
EDGE = np.array([24.0, 22.0, 21.0])
BRIGHT: Colour = (232, 226, 216)  # titles
SOFT: Colour = (186, 180, 171)  # body text
QUIET: Colour = (150, 144, 136)  # what may be overlooked
FAINT: Colour = (112, 107, 101)  # hints
SLATE = np.array([88.0, 112.0, 128.0])
IVORY = np.array([255.0, 222.0, 170.0])
SAND = np.array([186.0, 164.0, 128.0])
ASH = np.array([104.0, 100.0, 96.0])  # neutral: no answer at the moment
GLOW = np.array([255.0, 206.0, 140.0])

TEXTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "en": MappingProxyType(
            {
                "welcome": "Welcome",
                "welcome_text": "Make yourself comfortable. The session begins in a moment.",
                "instruction": "Next",
                "countdown": "Get ready",
                "rest": "Rest",
                "rest_text": "Let your thoughts wander. Blink and move as you like.",
                "transfer": "",
                "test": "Screen and sound test",
                "test_text": "All four corner marks, nine even steps of grey and a soft tone.",
                "end": "Session complete",
                "end_text": "Thank you. Please stay seated until the cap is taken off.",
                "neutral": "One moment, please",
                "lost": "One moment, please",
                "lost_text": "The connection to the session is being restored.",
                "stopped": "Stopped",
                "stopped_text": "You can relax. The session has been stopped.",
                "stop_hint": "Esc = stop",
                "test_session": "TEST SESSION",
            }
        )
    }
)


class Picture(Protocol):
    """A picture that follows the level."""

    def draw(self, surface: Any, level: float, live: float, glow: float) -> None:
        """Draw one frame over the stage's background.

        Parameters
        ----------
        surface : pygame.Surface
            Of the stage's size, background already drawn.
        level : float
            0..1.
        live : float
            1 shows the level, 0 the neutral state; between, the picture eases over.
        glow : float
            0..1, a reward's glow.
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
    """
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for whole in paragraph.split():
            word = whole
            wider = f"{line} {word}" if line else word
            if width_of(wider) <= limit:
                line = wider
                continue
            if line:
                lines.append(line)
            while len(word) > 1 and width_of(word) > limit:
                cut = len(word) - 1
                while cut > 1 and width_of(word[:cut]) > limit:
                    cut -= 1
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


class Stage:
    """Size, background, letters: what every screen shares."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.width, self.height = self.size = size
        self.unit = min(float(size[1]), size[0] * 9.0 / 16.0)
        self.centre = (size[0] / 2.0, size[1] / 2.0)
        self._fonts: dict[int, Any] = {}
        self._blocks: dict[tuple[object, ...], Any] = {}
        self.background = self._draw_background()

    def px(self, share: float) -> int:
        """Return a length given as a share of the unit, in whole pixels, at least 1."""
        return max(1, round(share * self.unit))

    def backdrop(self, radius: Float) -> Float:
        """Return the background's colour at `radius` (in units) from the centre, ``(..., 3)``."""
        mix = np.clip(radius / 1.05, 0.0, 1.0)[..., None] ** 2
        return np.asarray(CENTRE + (EDGE - CENTRE) * mix)

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
            Wanted size of the letters in units; smaller when the text would not fit.
        """
        if not text.strip():
            return None
        key = (text, share, colour, round(width), round(height))
        if key not in self._blocks:
            if len(self._blocks) >= 64:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[key] = self._set_text(text, self.px(share), colour, width, height)
        return self._blocks[key]

    def _set_text(self, text: str, px: int, colour: Colour, width: float, height: float) -> Any:
        while True:
            font = self.font(px)
            lines = text_lines(text, partial(_text_width, font), width)
            leading = max(1, round(px * 1.45))
            tall = leading * (len(lines) - 1) + font.get_height()
            wide = max(font.size(line)[0] for line in lines)
            if (tall <= height and wide <= width) or px <= 8:
                break
            px = max(8, int(px * 0.92))
        room = max(1, int((height - font.get_height()) // leading) + 1)
        if len(lines) > room:  # even the smallest letters are too many
            lines = [*lines[: room - 1], lines[room - 1] + " …"]
        elif len(lines) > 1:
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
        longest_word = max(_text_width(font, word) for word in text.split())
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


def _disc(radius: float, ring: float | None, colour: Colour, alpha: int) -> Any:
    """Return a smooth disc, or a ring of width `ring`, lengths in pixels."""
    side = 2 * math.ceil(radius + 2)
    axis = np.arange(side) + 0.5 - side / 2
    distance = np.hypot(axis[:, None], axis[None, :])
    cover = np.clip(radius - distance + 0.5, 0, 1)
    if ring is not None:
        cover = cover * np.clip(distance - (radius - ring) + 0.5, 0, 1)
    return _cover_surface(cover, colour, alpha)


def _cover_surface(cover: NDArray[np.float64], colour: Colour, alpha: int) -> Any:
    surface = pygame.Surface(cover.shape, pygame.SRCALPHA)
    surface.fill((*colour, 0))
    pixels = pygame.surfarray.pixels_alpha(surface)
    pixels[:] = np.rint(cover * alpha).astype(np.uint8)
    del pixels  # unlocks the surface
    return surface


def _box_distance(width: int, height: int, box: tuple[float, float], corner: float) -> Float:
    """Return the signed distance of each pixel to a centred rounded box, negative inside."""
    x = np.abs(np.arange(width) + 0.5 - width / 2)[:, None] - (box[0] / 2 - corner)
    y = np.abs(np.arange(height) + 0.5 - height / 2)[None, :] - (box[1] / 2 - corner)
    outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    inside = np.minimum(np.maximum(x, y), 0)
    return np.asarray(outside + inside - corner)


class Orb:
    """A soft light whose radius and brightness follow the level."""

    REACH = 0.5  # half the side of the drawn square, in units

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        side = 2 * round(self.REACH * stage.unit)
        axis = (np.arange(side) + 0.5 - side / 2) / stage.unit
        radius = np.hypot(axis[:, None], axis[None, :])
        noise = np.random.default_rng(2).random(radius.shape) - 0.5
        index = np.rint(np.clip(radius / self.REACH * 255 + noise, 0, 255))
        self._map = pygame.Surface((side, side), depth=8)
        pygame.surfarray.blit_array(self._map, index.astype(np.uint8))
        self._radius = np.arange(256) / 255 * self.REACH
        self._backdrop = stage.backdrop(self._radius)
        self._at = (round(stage.centre[0] - side / 2), round(stage.centre[1] - side / 2))
        # Seen against the square's corners: the map saturates there and must not be drawn.
        self._map.set_colorkey(255)

    def colours(self, level: float, live: float, glow: float) -> NDArray[np.uint8]:
        """Return the 256 colours from the centre outwards, shape ``(256, 3)``."""
        shown = level * live
        size = 0.120 + 0.190 * shown
        r = self._radius
        hue = np.array(
            [np.interp(shown, (0.0, 0.4, 1.0), c) for c in zip(SLATE, SAND, IVORY, strict=True)]
        )
        hue = ASH + (hue - ASH) * live
        strength = 0.62 + 0.38 * shown
        x = r / size
        body = np.exp(-0.5 * (x / 0.62) ** 4) * (1.0 - 0.42 * np.clip(x, 0, 1.4) ** 2)
        body = np.maximum(body, 0.0)
        halo = (0.04 + 0.10 * shown) * np.exp(-np.maximum(r - 0.7 * size, 0) / (0.30 * size))
        light = (strength * (body + halo * (1.0 - body)))[:, None]
        out = self._backdrop + (hue - self._backdrop) * light
        if glow > 0.0:
            ring = np.exp(-0.5 * ((r - (size + 0.035)) / 0.040) ** 2)[:, None]
            out = out + (GLOW - out) * (0.30 * glow * ring)
        # Into the background before the square ends.
        edge = np.clip((self.REACH - r) / 0.06, 0, 1)[:, None]
        out = self._backdrop + (out - self._backdrop) * edge
        return np.asarray(np.rint(np.clip(out, 0, 255)), dtype=np.uint8)

    def draw(self, surface: Any, level: float, live: float, glow: float) -> None:
        """Draw one frame; see `Picture`."""
        self._map.set_palette(self.colours(level, live, glow).tolist())
        surface.blit(self._map, self._at)


class Bar:
    """A vertical bar whose height follows the level, beside a plain scale."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._wide, self._tall = stage.px(0.115), stage.px(0.64)
        corner = self._wide / 2
        self._left = round(stage.centre[0] - self._wide / 2)
        self._top = round(stage.centre[1] - self._tall / 2)
        distance = _box_distance(self._wide, self._tall, (self._wide, self._tall), corner)
        self._inside = np.clip(0.5 - distance, 0.0, 1.0)
        self._track = _cover_surface(self._inside, (70, 66, 62), 150)
        self._fill = self._column(SLATE, IVORY)
        self._neutral = self._column(ASH, ASH)
        self._scale = self._ticks()
        reach = stage.px(0.14)
        outside = _box_distance(
            self._wide + 2 * reach, self._tall + 2 * reach, (self._wide, self._tall), corner
        )
        near = np.clip(1.0 - np.maximum(outside, 0) / reach, 0, 1)
        glow = near**2 * (3.0 - 2.0 * near)
        self._reach = reach
        self._glow = _cover_surface(glow, (255, 206, 140), 64)
        self._layer = pygame.Surface((self._wide, self._tall), pygame.SRCALPHA)

    def _column(self, low: Float, high: Float) -> Any:
        """Return the whole fill, from `low` at the bottom to `high` at the top."""
        rise = np.linspace(1, 0, self._tall)[None, :, None] ** 0.8
        colours = np.broadcast_to(
            low + (high - low) * 0.9 * rise, (self._wide, self._tall, 3)
        ).copy()
        # A cylinder's soft shading keeps the fill from looking like a slab.
        across = np.abs(np.linspace(-1, 1, self._wide))[:, None, None]
        colours *= 1.0 - 0.22 * across**2.2
        surface = pygame.Surface((self._wide, self._tall), pygame.SRCALPHA)
        rgb = pygame.surfarray.pixels3d(surface)
        rgb[:] = np.rint(np.clip(colours, 0, 255)).astype(np.uint8)
        del rgb
        alpha = pygame.surfarray.pixels_alpha(surface)
        alpha[:] = np.rint(self._inside * 255).astype(np.uint8)
        del alpha
        return surface

    def _ticks(self) -> list[tuple[Any, tuple[int, int]]]:
        x = self._left + self._wide + self._stage.px(0.035)
        room = self._tall - self._wide
        ticks = []
        for i in range(5):
            long = self._stage.px(0.030 if i % 2 == 0 else 0.018)
            mark = pygame.Surface((long, self._stage.px(0.004)))
            mark.fill((96, 91, 86))
            y = self._top + self._wide // 2 + round(room * i / 4)
            ticks.append((mark, (x, y - mark.get_height() // 2)))
        return ticks

    def draw(self, surface: Any, level: float, live: float, glow: float) -> None:
        """Draw one frame; see `Picture`."""
        if glow > 0.0:
            self._glow.set_alpha(round(255 * glow))
            surface.blit(self._glow, (self._left - self._reach, self._top - self._reach))
        surface.blit(self._track, (self._left, self._top))
        for mark, at in self._scale:
            surface.blit(mark, at)
        # The round cap always shows: level 0 is a small bead at the bottom, level 1 the full bar.
        tall = self._wide + (self._tall - self._wide) * level * live
        y = self._tall - round(tall)
        layer = self._layer
        layer.fill((0, 0, 0, 0))
        part = (0, y, self._wide, self._tall - y)
        if live < 1.0:
            layer.blit(self._neutral, (0, y), part)
        if live > 0.0:
            self._fill.set_alpha(round(255 * live))
            layer.blit(self._fill, (0, y), part)
        # The track's own round end, moved to the top of the fill, makes its cap.
        if y > 0:
            self._cap(layer, y)
        surface.blit(layer, (self._left, self._top))

    def _cap(self, layer: Any, y: int) -> None:
        rows = min(self._wide // 2 + 1, self._tall - y)
        alpha = pygame.surfarray.pixels_alpha(layer)
        top = alpha[:, y : y + rows]
        top[:] = np.minimum(top, np.rint(self._inside[:, :rows] * 255).astype(np.uint8))
        del top, alpha


class Still:
    """A fixed symbol: feedback is heard, not seen."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ring = _disc(0.052 * stage.unit, 0.007 * stage.unit, (150, 146, 140), 200)
        self._dot = _disc(0.010 * stage.unit, None, (150, 146, 140), 220)

    def draw(self, surface: Any, level: float, live: float, glow: float) -> None:  # noqa: ARG002
        """Draw one frame; see `Picture`."""
        for shape in (self._ring, self._dot):
            x = self._stage.centre[0] - shape.get_width() / 2
            y = self._stage.centre[1] - shape.get_height() / 2
            surface.blit(shape, (round(x), round(y)))


class Screens:
    """Draw any screen for a `Show`.

    Parameters
    ----------
    stage : Stage
        Of the window's size.
    picture : str
        Name in `feedback.registry.PICTURES`.
    language : str
        Of the window's own words; English when unknown.
    test_session : bool
        Whether every screen says that this is no real session.
    """

    def __init__(
        self, stage: Stage, picture: str, language: str = "en", test_session: bool = False
    ) -> None:
        self.stage = stage
        self.picture: Picture = resolve(PICTURES[picture].factory)(stage)
        self._still = Still(stage)
        self._words = TEXTS.get(language, TEXTS["en"])
        self._test_session = test_session
        dot = stage.unit * 0.0075
        # Loading letters takes tens of milliseconds, which would be missed frames later.
        for share in (0.024, 0.036, 0.038, 0.040, 0.043, 0.050, 0.056, 0.074):
            stage.font(stage.px(share)).render(string.printable[:95], True, SOFT)
        stage.font(stage.px(0.24)).render(string.digits, True, SOFT)
        self._settling = [_disc(dot, None, (170, 164, 156), 210) for _ in range(3)]

    def word(self, key: str) -> str:
        """Return the window's own words for `key`, empty when there are none."""
        return self._words.get(key, "")

    def draw(
        self,
        surface: Any,
        show: Show,
        screen: str,
        *,
        level: float = 0.0,
        live: float = 0.0,
        glow: float = 0.0,
        settling: float = 0.0,
    ) -> None:
        """Draw one frame of `screen`.

        Parameters
        ----------
        surface : pygame.Surface
            Of the stage's size; every pixel is drawn.
        show : Show
            Words and numbers on the screen.
        screen : str
            One of `feedback.registry.SCREENS`, or the curtains ``lost`` and ``stopped``.
        level, live, glow : float
            See `Picture.draw`.
        settling : float
            0..1, how visible the settling icon is.
        """
        surface.blit(self.stage.background, (0, 0))
        if screen == "feedback":
            self.picture.draw(surface, level, live, glow)
            if show.text:  # the task of a trial
                self._caption(surface, show.text)
            self._draw_settling(surface, settling)
        elif screen == "transfer":
            self._still.draw(surface, 0.0, 0.0, 0.0)
            self._caption(surface, show.text)
        elif screen == "countdown":
            self._countdown(surface, show)
        elif screen == "test":
            self._test_pattern(surface, show)
        elif screen in ("neutral", "lost", "stopped"):
            self._curtain(surface, show, screen)
        else:
            self._words_screen(surface, show, screen)
        self._frame(surface, show, screen)

    # ------------------------------------------------------------ the screens

    def _words_screen(self, surface: Any, show: Show, screen: str) -> None:
        """welcome, instruction, rest, end: a title, words, and the time that remains."""
        stage = self.stage
        title = show.title or self.word(screen)
        text = show.text or self.word(f"{screen}_text")
        head = stage.text(title, 0.074, BRIGHT, stage.width * 0.84, stage.height * 0.24)
        body = stage.text(
            text, 0.043, SOFT, min(stage.width * 0.80, stage.unit * 1.3), stage.height * 0.40
        )
        clock = self._clock(show)
        gap = stage.px(0.050)
        blocks = [b for b in (head, body, clock) if b is not None]
        tall = sum(b.get_height() for b in blocks) + gap * max(0, len(blocks) - 1)
        y = stage.centre[1] - tall / 2 - stage.unit * 0.02
        for block in blocks:
            y += stage.put(surface, block, stage.centre[0], y) + gap

    def _clock(self, show: Show) -> Any | None:
        if show.remaining_s is None or not math.isfinite(show.remaining_s):
            return None
        whole = max(1, math.ceil(show.remaining_s - 1e-6))  # a zero would linger
        return self.stage.text(
            f"{whole // 60}:{whole % 60:02d}",
            0.050,
            QUIET,
            self.stage.width * 0.5,
            self.stage.height * 0.12,
        )

    def _countdown(self, surface: Any, show: Show) -> None:
        stage = self.stage
        head = stage.text(
            show.text or show.title or self.word("countdown"),
            0.050,
            SOFT,
            min(stage.width * 0.80, stage.unit * 1.3),
            stage.height * 0.26,
        )
        stage.put(surface, head, stage.centre[0], stage.height * 0.16)
        if show.remaining_s is not None and math.isfinite(show.remaining_s):
            whole = max(1, math.ceil(show.remaining_s - 1e-6))  # a zero would linger
            number = stage.text(str(whole), 0.24, BRIGHT, stage.width * 0.5, stage.height * 0.36)
            if number is not None:
                y = stage.height * 0.58 - number.get_height() / 2
                stage.put(surface, number, stage.centre[0], y)

    def _curtain(self, surface: Any, show: Show, screen: str) -> None:
        own = screen != "neutral"
        title = self.word(screen) if own or not show.title else show.title
        text = self.word(f"{screen}_text") if own else show.text
        stage = self.stage
        head = stage.text(title, 0.056, SOFT, stage.width * 0.8, stage.height * 0.2)
        body = stage.text(
            text, 0.040, QUIET, min(stage.width * 0.76, stage.unit * 1.2), stage.height * 0.3
        )
        y = stage.centre[1] - stage.unit * 0.07
        y += stage.put(surface, head, stage.centre[0], y) + stage.px(0.03)
        stage.put(surface, body, stage.centre[0], y)

    def _caption(self, surface: Any, text: str) -> None:
        stage = self.stage
        block = stage.text(text, 0.040, QUIET, stage.width * 0.7, stage.height * 0.16)
        if block is not None:
            y = stage.height * 0.88 - block.get_height()
            stage.put(surface, block, stage.centre[0], y)

    def _test_pattern(self, surface: Any, show: Show) -> None:
        stage = self.stage
        head = stage.text(
            show.title or self.word("test"), 0.056, BRIGHT, stage.width * 0.8, stage.height * 0.16
        )
        stage.put(surface, head, stage.centre[0], stage.height * 0.17)
        step = stage.px(0.105)
        left = round(stage.centre[0] - 4.5 * step)
        top = round(stage.centre[1] - stage.unit * 0.09)
        for i in range(9):
            grey = 24 + round(i * 20.5)
            pygame.draw.rect(
                surface, (grey, grey, grey), (left + i * step, top, step, stage.px(0.16))
            )
        body = stage.text(
            show.text or self.word("test_text"), 0.040, SOFT, stage.width * 0.8, stage.height * 0.2
        )
        stage.put(surface, body, stage.centre[0], stage.centre[1] + stage.unit * 0.17)
        long, thick, inset = stage.px(0.05), stage.px(0.004), stage.px(0.02)
        for x in (inset, stage.width - inset - long):
            for y in (inset, stage.height - inset - thick):
                pygame.draw.rect(surface, FAINT, (x, y, long, thick))
        for x in (inset, stage.width - inset - thick):
            for y in (inset, stage.height - inset - long):
                pygame.draw.rect(surface, FAINT, (x, y, thick, long))

    def _draw_settling(self, surface: Any, settling: float) -> None:
        """Three small dots near the bottom: the signal settles, nothing is wrong."""
        if settling <= 0.0:
            return
        y = round(self.stage.height * 0.925)
        for i, dot in enumerate(self._settling):
            dot.set_alpha(round(255 * min(1.0, settling)))
            x = self.stage.centre[0] + (i - 1) * self.stage.unit * 0.032 - dot.get_width() / 2
            surface.blit(dot, (round(x), y - dot.get_height() // 2))

    def _frame(self, surface: Any, show: Show, screen: str) -> None:
        """The small things at the edge: how to stop, how far the session is, test session."""
        stage = self.stage
        margin = stage.px(0.030)
        small = stage.height * 0.06
        if screen not in ("end", "stopped"):
            hint = stage.text(self.word("stop_hint"), 0.024, FAINT, stage.width * 0.3, small)
            if hint is not None:
                y = stage.height - margin - hint.get_height()
                surface.blit(hint, (margin + (stage.px(0.02) if screen == "test" else 0), y))
        if self._test_session:
            label = stage.text(self.word("test_session"), 0.024, FAINT, stage.width * 0.3, small)
            if label is not None:
                inset = margin + (stage.px(0.02) if screen == "test" else 0)
                surface.blit(label, (stage.width - inset - label.get_width(), inset))
        if screen in ("instruction", "rest") and 0.0 < show.progress <= 1.0:
            wide, thick = stage.px(0.36), stage.px(0.005)
            x, y = round(stage.centre[0] - wide / 2), round(stage.height * 0.93)
            pygame.draw.rect(surface, (56, 53, 50), (x, y, wide, thick), border_radius=thick)
            done = max(thick, round(wide * show.progress))
            pygame.draw.rect(surface, (128, 122, 114), (x, y, done, thick), border_radius=thick)
