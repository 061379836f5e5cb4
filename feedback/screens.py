"""The calm screens around the pictures: words, countdown, rest, summary, curtains, test pattern.

Nothing moves unless it means something; screens change by fading.
"""

from __future__ import annotations

import math
import string
from typing import Any

import pygame

from engine.frames import Show
from feedback.messages import words
from feedback.registry import PICTURES, resolve
from feedback.scenes.still import Still
from feedback.stage import BRIGHT, FAINT, QUIET, SOFT, Moment, Picture, Stage, disc

__all__ = ["Screens"]


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
        self._words = words(language)
        self._test_session = test_session
        dot = stage.unit * 0.0075
        # Loading letters takes tens of milliseconds, which would be missed frames later.
        for share in (0.024, 0.036, 0.038, 0.040, 0.043, 0.050, 0.056, 0.074):
            stage.font(stage.px(share)).render(string.printable[:95], True, SOFT)
        stage.font(stage.px(0.24)).render(string.digits, True, SOFT)
        self._settling = [disc(dot, None, (170, 164, 156), 210) for _ in range(3)]

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
