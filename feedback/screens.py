"""The calm screens around the pictures: words, countdown, rest, summary, curtains, test pattern.

Nothing moves unless it means something; screens change by fading. Sizes are for eyes three metres
away. What stands on a screen is stacked on its middle and set smaller together where it would not
fit, so that nothing overlaps at any size, in any language.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pygame

from engine.frames import Show, Summary
from feedback import marks
from feedback.guard import luminance
from feedback.messages import duration, number, words
from feedback.registry import PICTURES, resolve
from feedback.scenes.still import Still
from feedback.stage import BRIGHT, FAINT, QUIET, SOFT, Colour, Moment, Picture, Stage, disc

__all__ = ["Screens"]

# Sizes of letters, in units; in a window 30 cm high, hints are 9 mm and the words 14 mm.
TITLE, BODY, SMALL, HINT = 0.074, 0.047, 0.041, 0.030
CLOCK, POINTS, NUMBER = 0.050, 0.125, 0.22
LINE = 44  # letters; longer lines are hard to follow
LETTER = 0.54  # mean width of a letter, in its size
MARGIN = 0.05  # from the edges, of unit and height: beyond the photodiode's patch
GAP = 0.042
FITS = tuple(0.94**k for k in range(24))  # how much smaller a stack may be set

COUNTDOWN_S = 3.0  # with which the ring is full
RING = 0.20  # its radius
WARM: Colour = (255, 222, 170)
TRACK: Colour = (60, 57, 54)

ABOUT_Z, LITTLE_Z = 0.2, 0.6  # as at rest; a little more or less
SCALE_Z = 1.5  # where the scale ends

LIT = 0.021  # luminance of the background at its lightest; a picture has more
LIT_RANGE = 0.03
PLATE = 0.88  # how much of the picture the plate behind words hides
PLATE_COLOUR: Colour = (20, 18, 17)


class Part(NamedTuple):
    """One thing in a stack: its name, what makes it at a share of its size, the gap above it."""

    name: str
    make: Callable[[float], Any | None]
    gap: float = GAP


class Placed(NamedTuple):
    """Where something stands on the screen."""

    name: str
    box: pygame.Rect
    image: Any


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
    tones : bool
        Whether tones mark the parts of the session; closed eyes are promised them only then.

    Attributes
    ----------
    placed : list of Placed
        The words and marks of the newest frame.
    """

    def __init__(
        self,
        stage: Stage,
        picture: str,
        language: str = "en",
        test_session: bool = False,
        tones: bool = False,
    ) -> None:
        self.stage = stage
        self.picture: Picture = resolve(PICTURES[picture].factory)(stage)
        self.tones = tones
        self.placed: list[Placed] = []
        self._still = Still(stage)
        self._language = language
        self._words = words(language)
        self._test_session = test_session
        dot = stage.unit * 0.0075
        # Loading letters takes tens of milliseconds, which would be missed frames later.
        for share in (TITLE, BODY, SMALL, HINT, CLOCK):
            stage.font(stage.letter_px(share)).render(string.printable[:95] + "äöüß", True, SOFT)
        stage.font(stage.letter_px(NUMBER)).render(string.digits, True, SOFT)
        self._settling = [disc(dot, None, (170, 164, 156), 210) for _ in range(3)]
        self._margin = (stage.px(MARGIN), round(max(stage.px(MARGIN), MARGIN * stage.height)))
        small = stage.font(stage.letter_px(HINT)).get_height()
        top = self._margin[1] + small + stage.px(0.02)
        self._area = pygame.Rect(0, top, stage.width, stage.height - 2 * top)
        self._stacks: dict[object, list[Placed]] = {}
        self._plates: dict[tuple[int, int], Any] = {}
        self._rings: dict[int, marks.Countdown] = {}

    def word(self, key: str) -> str:
        """Return the window's own words for `key`, empty when there are none."""
        return self._words.get(key, "")

    def draw(
        self,
        surface: Any,
        show: Show,
        screen: str,
        moment: Moment | None = None,
        *,
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
        moment : Moment
            What the picture is told; left out, the neutral state.
        settling : float
            0..1, how visible the settling icon is.
        """
        self.placed = []
        surface.blit(self.stage.background, (0, 0))
        if screen == "feedback":
            self.picture.draw(surface, moment or Moment())
            if show.text:  # the task of a trial
                self._caption(surface, show.text)
            self._draw_settling(surface, settling)
        elif screen == "transfer":
            self._still.draw(surface, Moment())
            self._caption(surface, show.text)
        elif screen == "countdown":
            self._countdown(surface, show)
        else:
            self._put_stack(surface, show, screen)
        self._frame(surface, show, screen)

    # ------------------------------------------------------------ stacks

    def _put_stack(self, surface: Any, show: Show, screen: str) -> None:
        if screen == "test":
            self._corners(surface)
        for item in self._stack(show, screen):
            self._put(surface, item)

    def _put(self, surface: Any, item: Placed) -> None:
        surface.blit(item.image, item.box)
        self.placed.append(item)

    def _stack(self, show: Show, screen: str) -> list[Placed]:
        """Return what stands in the middle of a screen; made anew when its words change."""
        clock = self._clock(show)
        key = (screen, show.title, show.text, show.summary, show.eyes, clock, self.tones)
        if key not in self._stacks:
            if len(self._stacks) >= 8:
                self._stacks.pop(next(iter(self._stacks)))
            self._stacks[key] = self._arranged(self._parts(show, screen, clock))
        return self._stacks[key]

    def _parts(self, show: Show, screen: str, clock: str) -> list[Part]:
        if screen == "countdown":
            return self._countdown_parts(show)
        if screen == "test":
            return [
                self._words_part("title", show.title or self.word("test"), 0.060, BRIGHT),
                Part("greys", self._greys, 0.055),
                self._words_part("text", show.text or self.word("test_text"), SMALL, SOFT, 0.055),
            ]
        if screen == "probe":
            return [self._words_part("text", show.text or self.word("probe_text"), BODY, SOFT)]
        if screen in ("neutral", "lost", "stopped"):
            above, below = self._curtain_words(show, screen)
            return [
                self._words_part("title", above, 0.058, SOFT),
                self._words_part("text", below, SMALL, QUIET, 0.035),
            ]
        title = self._words_part("title", show.title or self.word(screen), TITLE, BRIGHT)
        said = show.text or self.word(f"{screen}_text")
        told = show.summary is not None
        text = self._words_part("text", said, SMALL if told else BODY, SOFT)
        parts = [title, text]
        if show.summary is not None:
            panel = Part("summary", partial(self._summary, show.summary), 0.05)
            parts = [title, text, panel] if screen == "end" else [title, panel, text]
            if screen == "rest" and self.stage.style.large_text:
                parts = [title, panel]  # else the letters would not be large
        parts += self._closed_parts(show)
        if clock:
            parts.append(self._words_part("clock", clock, CLOCK, QUIET))
        return parts

    def _arranged(self, parts: Sequence[Part]) -> list[Placed]:
        """Return the parts below each other, smaller together until they fit."""
        area = self._area
        for share in FITS:
            made = [(p, p.make(share)) for p in parts]
            there = [(p, image) for p, image in made if image is not None]
            gaps = [self.stage.px(p.gap * share) if k else 0 for k, (p, _) in enumerate(there)]
            tall = sum(gaps) + sum(image.get_height() for _, image in there)
            if tall <= area.height and all(i.get_width() <= area.width for _, i in there):
                break
        # A little above the middle looks like the middle.
        y = max(area.top, area.centery - tall // 2 - self.stage.px(0.015))
        placed = []
        for gap, (part, image) in zip(gaps, there, strict=True):
            y += gap
            box = image.get_rect(midtop=(area.centerx, y))
            placed.append(Placed(part.name, box, image))
            y += image.get_height()
        return placed

    def _text(
        self, text: str, share: float, colour: Colour, wide: float | None = None
    ) -> Any | None:
        """Return words in lines that are easy to follow."""
        stage = self.stage
        line = LINE * LETTER * stage.letter_px(share)
        most = stage.width * 0.84 if wide is None else wide
        return stage.text(text, share, colour, min(line, most), self._area.height)

    def _words_part(
        self, name: str, text: str, share: float, colour: Colour, gap: float = GAP
    ) -> Part:
        return Part(name, lambda s: self._text(text, share * s, colour), gap)

    # ------------------------------------------------------------ what stands in them

    @staticmethod
    def _clock(show: Show) -> str:
        """Return the time that remains, empty when it is no time."""
        if show.remaining_s is None or not math.isfinite(show.remaining_s):
            return ""
        whole = _whole(show.remaining_s)
        return f"{whole // 60}:{whole % 60:02d}"

    def _curtain_words(self, show: Show, screen: str) -> tuple[str, str]:
        """Return title and words of a screen that neither rewards nor blames."""
        if screen != "neutral":
            return self.word(screen), self.word(f"{screen}_text")
        if show.title:
            return show.title, show.text
        return show.text or self.word("neutral"), self.word("neutral_text")

    def _closed_parts(self, show: Show) -> list[Part]:
        """Return what prepares for closed eyes, as far as the words have not said it."""
        if show.eyes != "closed":
            return []
        key = "closed" if self.tones else "closed_silent"
        told = self.word("eyes").casefold() in show.text.casefold()
        text = self.word(f"{key}_told" if told else key)

        def make(share: float) -> Any | None:
            eye = marks.closed_eye(
                2.1 * self.stage.letter_px(SMALL * share), self._ink((186, 176, 158))
            )
            gap = self.stage.px(0.024 * share)
            room = self.stage.width * 0.84 - eye.get_width() - gap
            words_ = self._text(text, SMALL * share, SOFT, room)
            return eye if words_ is None else marks.beside([eye, words_], gap)

        return [Part("closed", make, 0.05)]

    def _ink(self, colour: Colour, sharp: Colour = (235, 235, 235)) -> Colour:
        return sharp if self.stage.style.high_contrast else colour

    def _greys(self, share: float) -> Any:
        step, tall = self.stage.px(0.105 * share), self.stage.px(0.16 * share)
        surface = pygame.Surface((9 * step, tall))
        for i in range(9):
            grey = 24 + round(i * 20.5)
            surface.fill((grey, grey, grey), (i * step, 0, step, tall))
        return surface

    # ------------------------------------------------------------ the summary

    def _summary(self, told: Summary, share: float) -> Any | None:
        """Return points, the steady signal and how the block compares with rest."""
        gap = self.stage.px(0.012 * share)
        cells = [self._points(told.rewards, share), self._compared(told.z, share)]
        there = [c for c in cells if c is not None]
        rows = [marks.beside(there, self.stage.px(0.11 * share))] if there else []
        steady = self._steady(told, share)
        if steady is not None:
            rows.append(steady)
        return marks.stacked(rows, 3 * gap) if rows else None

    def _points(self, rewards: int, share: float) -> Any | None:
        """Return the points; nothing where there are none: a nought would blame."""
        if rewards <= 0:
            return None
        count = self.stage.text(
            number(rewards, 0, self._language), POINTS * share, WARM, self.stage.width * 0.4,
            self._area.height,
        )  # fmt: skip
        name = self._text(self.word("point" if rewards == 1 else "points"), SMALL * share, SOFT)
        return marks.stacked([b for b in (count, name) if b is not None], 0)

    def _steady(self, told: Summary, share: float) -> Any | None:
        if told.lasts_s <= 0.0:
            return None
        said = self.word("steady").format(
            clean=duration(told.clean_s, self._language),
            block=duration(told.lasts_s, self._language),
        )
        return self._text(said, SMALL * share, QUIET)

    def _compared(self, z: float | None, share: float) -> Any | None:
        """Return a scale around the person's rest, and the same in words."""
        if z is None or not math.isfinite(z):
            return None
        stage = self.stage
        room = stage.unit * 0.80
        tall = stage.px(0.042 * share * math.sqrt(stage.letters))
        shown = marks.scale(
            min(room, stage.unit * 0.62 * share), tall, z / SCALE_Z,
            self._ink((128, 122, 114)), self._ink(WARM),
        )  # fmt: skip
        named = [
            self._text(self.word("practised"), SMALL * share, QUIET, room),
            shown,
            self._text(self.word("at_rest"), HINT * share, QUIET, room),
        ]
        told = self._text(self.word(_compared_word(z)), SMALL * share, SOFT, room)
        blocks = [marks.stacked([b for b in named if b is not None], stage.px(0.008 * share)), told]
        return marks.stacked([b for b in blocks if b is not None], stage.px(0.016 * share))

    # ------------------------------------------------------------ the countdown

    def _countdown_parts(self, show: Show) -> list[Part]:
        said = show.text or show.title or self.word("countdown")
        parts = [self._words_part("text", said, BODY, SOFT)]
        if show.remaining_s is not None and math.isfinite(show.remaining_s):
            side = 2 * RING
            parts.append(
                Part("dial", lambda s: pygame.Surface(2 * [self.stage.px(side * s)]), 0.06)
            )
        return parts + self._closed_parts(show)

    def _countdown(self, surface: Any, show: Show) -> None:
        """Words, and a number in a thin ring that empties."""
        for item in self._stack(show, "countdown"):
            if item.name == "dial" and show.remaining_s is not None:
                self._dial(surface, item.box, show.remaining_s)
                self.placed.append(item)
            else:
                self._put(surface, item)

    def _dial(self, surface: Any, box: pygame.Rect, remaining_s: float) -> None:
        stage = self.stage
        if box.width not in self._rings:
            self._rings.clear()
            self._rings[box.width] = marks.Countdown(
                stage, 0.5 * box.width / stage.unit, 0.006, self._ink(WARM), TRACK
            )
        whole = _whole(remaining_s)
        left_s = float(whole) if stage.style.reduced_motion else remaining_s
        ring = self._rings[box.width].draw(left_s / COUNTDOWN_S)
        surface.blit(ring, ring.get_rect(center=box.center))
        count = stage.text(str(whole), NUMBER, BRIGHT, box.width * 0.6, box.height * 0.72)
        if count is not None:
            surface.blit(count, count.get_rect(center=box.center))

    # ------------------------------------------------------------ over the pictures

    def _caption(self, surface: Any, text: str) -> None:
        stage = self.stage

        def make(ink: Colour) -> Any | None:
            wide = min(stage.width * 0.72, LINE * LETTER * stage.letter_px(SMALL))
            return stage.text(text, SMALL, ink, wide, stage.height * 0.26)

        at = {"midbottom": (self._area.centerx, self._area.bottom)}
        self._over_picture(surface, "caption", make, SOFT, at)

    def _over_picture(
        self,
        surface: Any,
        name: str,
        make: Callable[[Colour], Any | None],
        ink: Colour,
        at: Mapping[str, tuple[int, int]],
    ) -> None:
        """Draw words that can be read over any picture: the lighter it is, the more they stand out.

        Over the bare background nothing is added.
        """
        block = make(ink)
        if block is None:
            return
        box = block.get_rect(**at)
        out = self._darken(surface, box)
        surface.blit(block, box)
        bright = make(BRIGHT)
        if bright is not None and out > 0.0:
            bright.set_alpha(round(255 * out))
            surface.blit(bright, box)
            bright.set_alpha(255)  # it is kept, and used elsewhere
        self.placed.append(Placed(name, box, block))

    def _darken(self, surface: Any, box: pygame.Rect) -> float:
        """Lay a plate behind `box` as far as the picture is light there; return how far, 0 to 1."""
        soft = self.stage.letter_px(0.8 * HINT)
        around = box.inflate(2 * soft, 2 * soft)
        out = _lit(surface, around)
        if out > 0.0:
            plate = self._plate(around.size, soft)
            plate.set_alpha(round(255 * PLATE * out))
            surface.blit(plate, around)
        return out

    def _plate(self, size: tuple[int, int], soft: int) -> Any:
        if size not in self._plates:
            if len(self._plates) >= 8:
                self._plates.pop(next(iter(self._plates)))
            self._plates[size] = marks.plate(*size, soft, PLATE_COLOUR)
        return self._plates[size]

    def _draw_settling(self, surface: Any, settling: float) -> None:
        """Three small dots near the bottom: the signal settles, nothing is wrong."""
        if settling <= 0.0:
            return
        y = self._foot_y()
        wide, tall = round(0.08 * self.stage.unit), self._settling[0].get_height()
        box = pygame.Rect(0, 0, wide, tall)
        box.center = (round(self.stage.centre[0]), y)
        self._darken(surface, box)
        for i, dot in enumerate(self._settling):
            dot.set_alpha(round(255 * min(1.0, settling)))
            x = self.stage.centre[0] + (i - 1) * self.stage.unit * 0.032 - dot.get_width() / 2
            surface.blit(dot, (round(x), y - dot.get_height() // 2))

    # ------------------------------------------------------------ the edges

    def _foot_y(self) -> int:
        """Return the middle of the band at the bottom, where the small things stand."""
        small = self.stage.font(self.stage.letter_px(HINT)).get_height()
        return self.stage.height - self._margin[1] - int(small) // 2

    def _corners(self, surface: Any) -> None:
        stage = self.stage
        long, thick, inset = stage.px(0.05), stage.px(0.004), stage.px(0.02)
        for x in (inset, stage.width - inset - long):
            for y in (inset, stage.height - inset - thick):
                pygame.draw.rect(surface, FAINT, (x, y, long, thick))
        for x in (inset, stage.width - inset - thick):
            for y in (inset, stage.height - inset - long):
                pygame.draw.rect(surface, FAINT, (x, y, thick, long))

    def _frame(self, surface: Any, show: Show, screen: str) -> None:
        """The small things at the edge: how to stop, how far the session is, test session."""
        stage = self.stage
        left, margin = self._margin
        if screen not in ("end", "stopped"):
            self._edge(surface, "stop_hint", screen, {"bottomleft": (left, stage.height - margin)})
        if self._test_session:
            self._edge(surface, "test_session", screen, {"topright": (stage.width - left, margin)})
        if screen in ("instruction", "rest") and 0.0 < show.progress <= 1.0:
            wide, thick = stage.px(0.36), stage.px(0.005)
            box = pygame.Rect(0, 0, wide, thick)
            box.center = (round(stage.centre[0]), self._foot_y())
            pygame.draw.rect(surface, self._ink(TRACK, (70, 70, 70)), box, border_radius=thick)
            done = pygame.Rect(box.topleft, (max(thick, round(wide * show.progress)), thick))
            pygame.draw.rect(surface, self._ink((140, 134, 126)), done, border_radius=thick)
            self.placed.append(Placed("progress", box, None))

    def _edge(self, surface: Any, key: str, screen: str, at: Mapping[str, tuple[int, int]]) -> None:
        stage = self.stage

        def make(ink: Colour) -> Any | None:
            return stage.text(
                self.word(key), HINT, ink, stage.width * 0.32, self._area.top - self._margin[1]
            )

        if screen == "feedback":
            self._over_picture(surface, key, make, FAINT, at)
            return
        block = make(FAINT)
        if block is not None:
            self._put(surface, Placed(key, block.get_rect(**at), block))


def _lit(surface: Any, box: pygame.Rect) -> float:
    """Return how far a part of the screen is lighter than the background, 0 to 1."""
    part = surface.subsurface(box.clip(surface.get_rect()))
    seen = pygame.surfarray.pixels3d(part)[::3, ::3].copy()  # looks without copying the rest
    light = float(np.quantile(luminance(seen), 0.98))
    return min(1.0, max(0.0, (light - LIT) / LIT_RANGE))


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds - 1e-6))  # a zero would linger


def _compared_word(z: float) -> str:
    """Return the key of the words for a block's distance from rest, in spreads."""
    if abs(z) < ABOUT_Z:
        return "about"
    if abs(z) < LITTLE_Z:
        return "little_more" if z > 0 else "little_less"
    return "clearly_more" if z > 0 else "less"
