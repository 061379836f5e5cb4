"""Pictures and screens: monotone, calm, readable at any size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from engine.frames import Show
from feedback.guard import luminance, red_ratio
from feedback.messages import words
from feedback.registry import PICTURES, SCREENS, resolve
from feedback.scenes.orb import Orb
from feedback.screens import Screens
from feedback.stage import Moment, Stage, text_lines

SIZES = [(640, 360), (1280, 720), (1920, 1080), (1024, 768), (2560, 1080), (480, 800)]


@pytest.fixture(autouse=True)
def _screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    pygame.display.quit()


def show(**fields: Any) -> Show:
    return Show(seq=0, t=0.0, sent=0.0, screen="feedback", **fields)


def drawn(
    screens: Screens, screen: str, said: Show | None = None, settling: float = 0.0, **state: float
) -> Any:
    surface = pygame.Surface(screens.stage.size)
    screens.draw(surface, said or show(), screen, Moment(**state), settling=settling)
    return surface


def pixels(surface: Any) -> NDArray[np.uint8]:
    return np.asarray(pygame.surfarray.array3d(surface))


def test_every_registered_picture_can_be_made() -> None:
    stage = Stage((640, 360))
    for kind in PICTURES.values():
        assert kind.doc
        assert kind.mapping
        surface = stage.background.copy()
        resolve(kind.factory)(stage).draw(surface, Moment(0.5, 1.0, 0.5))


@pytest.mark.parametrize("picture", ["orb", "bar"])
def test_more_level_is_more_light(picture: str) -> None:
    screens = Screens(Stage((640, 360)), picture)
    means = [
        luminance(pixels(drawn(screens, "feedback", level=x, live=1.0))).mean()
        for x in np.linspace(0, 1, 21)
    ]
    assert (np.diff(means) > 0).all()


@pytest.mark.parametrize("picture", ["orb", "bar"])
def test_small_changes_of_level_are_visible(picture: str) -> None:
    screens = Screens(Stage((1280, 720)), picture)
    a = pixels(drawn(screens, "feedback", level=0.50, live=1.0)).astype(int)
    b = pixels(drawn(screens, "feedback", level=0.55, live=1.0)).astype(int)
    assert np.count_nonzero(np.abs(a - b).max(axis=2) > 4) > 1000


@pytest.mark.parametrize("picture", ["orb", "bar", "none"])
def test_neutral_does_not_depend_on_the_level(picture: str) -> None:
    screens = Screens(Stage((640, 360)), picture)
    low = pixels(drawn(screens, "feedback", level=0.0, live=0.0))
    high = pixels(drawn(screens, "feedback", level=1.0, live=0.0))
    assert np.array_equal(low, high)


@pytest.mark.parametrize("picture", ["orb", "bar"])
def test_neutral_is_never_more_than_the_least_level(picture: str) -> None:
    """A gate must not look like a reward."""
    screens = Screens(Stage((640, 360)), picture)
    least = luminance(pixels(drawn(screens, "feedback", level=0.0, live=1.0))).mean()
    neutral = luminance(pixels(drawn(screens, "feedback", level=0.0, live=0.0))).mean()
    assert neutral <= least * 1.05


def test_no_picture_uses_saturated_red() -> None:
    screens = Screens(Stage((640, 360)), "orb")
    for level in (0.0, 0.5, 1.0):
        frame = pixels(drawn(screens, "feedback", level=level, live=1.0, glow=1.0))
        assert red_ratio(frame).max() < 0.8


def test_level_shows_without_any_colour() -> None:
    """For eyes that see no hue: the orb's centre gains lightness at every step."""
    orb = Orb(Stage((640, 360)))
    centre = [luminance(orb.colours(x, 1.0, 0.0)[0]) for x in np.linspace(0, 1, 11)]
    assert (np.diff(centre) > 0).all()


@pytest.mark.parametrize("size", SIZES)
def test_every_screen_fits_every_size(size: tuple[int, int]) -> None:
    screens = Screens(Stage(size), "bar", test_session=True)
    said = show(title="A rather long title " * 4, text="Word after word, line after line. " * 30)
    background = pixels(screens.stage.background)
    for screen in (*SCREENS, "lost", "stopped"):
        frame = pixels(drawn(screens, screen, said, level=1.0, live=1.0, glow=1.0, settling=1.0))
        for edge in (np.s_[:2, :], np.s_[-2:, :], np.s_[:, :2], np.s_[:, -2:]):
            assert np.array_equal(frame[edge], background[edge]), screen


@pytest.mark.parametrize("size", SIZES)
def test_text_blocks_keep_their_room(size: tuple[int, int]) -> None:
    stage = Stage(size)
    for text in (
        "Rest",
        "word " * 400,
        "unbreakable" * 60,
        "one\n\ntwo\nthree",
        "ä ö ü é ñ ß Ω 中",
    ):
        block = stage.text(text, 0.05, (255, 255, 255), size[0] * 0.6, size[1] * 0.3)
        assert block.get_width() <= size[0] * 0.6 + 1
        assert block.get_height() <= size[1] * 0.3 + 1
    assert stage.text("  \n ", 0.05, (255, 255, 255), 100, 100) is None


def test_lines_are_broken_between_words_and_words_only_when_they_must() -> None:
    assert text_lines("one two three", len, 7) == ["one two", "three"]
    assert text_lines("abcdefghij", len, 4) == ["abcd", "efgh", "ij"]
    assert text_lines("a\n\nb", len, 9) == ["a", "", "b"]
    assert text_lines("to abcdefgh", len, 5) == ["to", "abcde", "fgh"]
    assert text_lines("", len, 5) == [""]


def test_text_is_balanced() -> None:
    stage = Stage((1280, 720))
    font = stage.font(30)
    text = "Make yourself comfortable. The session begins in a moment."
    width = font.size(text)[0] * 0.9  # leaves one lonely word
    lines = text_lines(text, lambda s: font.size(s)[0], width)
    assert len(lines[-1].split()) == 1
    balanced = stage._balanced(text, lines, font, width)
    assert len(balanced) == len(lines)
    assert len(balanced[-1].split()) > 2


def test_words_of_an_unknown_language_fall_back() -> None:
    screens = Screens(Stage((640, 360)), "orb", language="xx")
    assert screens.word("rest") == words("en")["rest"]
    assert screens.word("nothing") == ""


def test_times_that_are_no_numbers_are_not_drawn() -> None:
    screens = Screens(Stage((640, 360)), "orb")
    for value in (float("nan"), float("inf"), -1.0):
        for screen in ("rest", "countdown"):
            drawn(screens, screen, show(remaining_s=value))


def test_the_cache_of_words_is_bounded() -> None:
    stage = Stage((640, 360))
    for i in range(300):
        stage.text(str(i), 0.05, (255, 255, 255), 200, 100)
    assert len(stage._blocks) <= 64
