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

from engine import screens as engine_screens
from engine.frames import Show, Summary
from feedback import screens as feedback_screens
from feedback import stage as stage_module
from feedback.guard import luminance, red_ratio
from feedback.messages import LANGUAGES, _catalogue, translator, words
from feedback.registry import PICTURES, SCREENS, resolve
from feedback.scenes.orb import Orb
from feedback.screens import Screens
from feedback.stage import Moment, Stage, Style, text_lines
from feedback.window import PATCH

SIZES = [(640, 360), (1280, 720), (1920, 1080), (1024, 768), (1280, 540), (480, 800)]


@pytest.fixture(autouse=True, scope="module")
def _screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    pygame.display.quit()


BACKGROUNDS: dict[object, Any] = {}


@pytest.fixture(autouse=True)
def _one_background_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw each background once: the noise of full HD takes longer than a screen."""
    draw = Stage._draw_background

    def kept(stage: Stage) -> Any:
        key = (stage.size, stage.style.high_contrast)
        if key not in BACKGROUNDS:
            BACKGROUNDS[key] = draw(stage)
        return BACKGROUNDS[key]

    monkeypatch.setattr(Stage, "_draw_background", kept)


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
    stage = Stage((320, 180))
    for kind in PICTURES.values():
        assert kind.doc
        assert kind.mapping
        if kind.needs:  # the room's own media; its own tests have some
            continue
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
    w, h = size
    edges = ((0, 0, w, 2), (0, h - 2, w, 2), (0, 0, 2, h), (w - 2, 0, 2, h))
    for screen in (*SCREENS, "lost", "stopped"):
        frame = drawn(screens, screen, said, level=1.0, live=1.0, glow=1.0, settling=1.0)
        for edge in edges:
            seen, bare = (s.subsurface(edge) for s in (frame, screens.stage.background))
            assert np.array_equal(pixels(seen), pixels(bare)), screen


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


def test_a_word_of_any_length_is_cut_at_once() -> None:
    measured: list[int] = []

    def width_of(text: str) -> int:
        measured.append(len(text))
        return 10 * len(text)

    word = "x" * 5000
    lines = text_lines(word, width_of, 605)
    assert [len(line) for line in lines] == [60] * 83 + [20]
    assert len(measured) < 15 * len(lines)
    assert sorted(measured)[-2] <= 128  # all but once, what is about as long as a line


@pytest.mark.parametrize("text", ["x" * 5000, "Wi" * 2500, "go " * 1700])
def test_far_too_long_a_text_is_set_in_its_place(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = 0
    width_of = stage_module._text_width

    def counted(font: Any, part: str) -> int:
        nonlocal letters
        letters += len(part)
        return width_of(font, part)

    monkeypatch.setattr(stage_module, "_text_width", counted)
    block = Stage((640, 360)).text(text, 0.05, (255, 255, 255), 400, 120)
    assert block.get_width() <= 400
    assert block.get_height() <= 120
    assert letters < 1_000_000  # a tenth of a second


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
    assert screens.word("no such key") == ""


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


# ---------------------------------------------------------------- room for every word

ROOMS = [(1920, 1080), (1366, 768), (1024, 768), (480, 800)]
STYLES = [Style(large_text=large, high_contrast=dark) for large in (False, True)
          for dark in (False, True)]  # fmt: skip


def longest(language: str) -> tuple[str, str]:
    """Return the longest title and the longest sentence that shipped protocols show."""
    say = translator(language)
    texts = sorted(_catalogue("de")["said"], key=lambda t: (len(say(t)), t))
    titles = [t for t in texts if not t.endswith((".", "?"))]
    return say(titles[-1]), say(texts[-1])


def every_screen(language: str) -> Iterator[tuple[str, Show]]:
    """Yield every screen with the longest it can say."""
    title, text = longest(language)
    told = Summary(1234, 1168.0, 1192.0, -0.4)
    ready = translator(language)("Press the space bar when you are ready.")
    common = {"text": text, "progress": 0.4}
    for screen in (*SCREENS, "lost", "stopped"):
        yield screen, show()
        yield screen, show(title=title, remaining_s=2.4, **common)
    for screen in ("instruction", "countdown", "rest"):
        yield screen, show(title=title, remaining_s=754.0, eyes="closed", **common)
    yield "rest", show(title=title, remaining_s=28.0, summary=told, **common)
    yield "end", show(title=title, text=text, summary=told)
    waits = f"{text}\n{ready}"
    yield "instruction", show(title=title, text=waits, progress=0.4, summary=told)


class Heard:
    """A typeface that notes what it is asked to write."""

    def __init__(self, font: Any, lines: list[str]) -> None:
        self._font, self._lines = font, lines

    def render(self, text: str, *rest: Any) -> Any:
        self._lines.append(text)
        return self._font.render(text, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._font, name)


@pytest.mark.parametrize("size", ROOMS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_overlaps_and_nothing_is_cut(language: str, size: tuple[int, int]) -> None:
    surface = pygame.Surface(size)
    whole = surface.get_rect().inflate(-8, -8)
    patch = round(PATCH * size[1])
    corners = [
        pygame.Rect(x, y, patch, patch)
        for x in (0, size[0] - patch)
        for y in (0, size[1] - patch)
    ]  # fmt: skip
    lines: list[str] = []

    class Listening(Stage):
        def font(self, px: int) -> Any:
            return Heard(super().font(px), lines)

        def _draw_background(self) -> Any:  # where words stand is not a matter of it
            return pygame.Surface(self.size)

    for style in STYLES:
        screens = Screens(Listening(size, style), "none", language, True, tones=True)
        lines.clear()  # the letters that are loaded beforehand
        for screen, said in every_screen(language):
            screens.draw(surface, said, screen, Moment(), settling=1.0)
            placed = screens.placed
            assert placed
            for k, item in enumerate(placed):
                place = (screen, style, item.name)
                assert whole.contains(item.box), place
                assert item.box.collidelist([other.box for other in placed[:k]]) < 0, place
                assert item.box.collidelist(corners) < 0, place
        assert lines
        assert [line for line in lines if "…" in line] == []  # nothing was left out
        assert max(map(len, lines)) <= 48  # lines that eyes find back from


def test_large_letters_are_half_as_large_again_where_they_fit() -> None:
    plain, large = (
        Screens(Stage((1920, 1080), Style(large_text=yes)), "none") for yes in (False, True)
    )
    for screen, said in (("neutral", show()), ("rest", show()), ("transfer", show(text="Again."))):
        surface = pygame.Surface((1920, 1080))
        tall = []
        for screens in (plain, large):
            screens.draw(surface, said, screen)
            boxes = {item.name: item.box for item in screens.placed}
            tall.append(boxes.get("title", boxes.get("caption")).height)
        assert tall[1] / tall[0] == pytest.approx(1.5, abs=0.06), screen


def test_every_word_of_the_window_is_used() -> None:
    asked: set[str] = set()

    class Listening(Screens):
        def word(self, key: str) -> str:
            asked.add(key)
            return super().word(key)

    surface = pygame.Surface((640, 360))
    for tones in (False, True):
        screens = Listening(Stage((640, 360)), "none", test_session=True, tones=tones)
        for screen, said in every_screen("en"):
            screens.draw(surface, said, screen)
        for text in ("Look.", "Close your eyes."):
            screens.draw(surface, show(text=text, eyes="closed"), "instruction")
        for z in (1.0, 0.4, 0.0, -0.4, -1.0):
            screens.draw(surface, show(summary=Summary(1, 9.0, 9.0, z)), "rest")
    signs = {"decimal", "thousands", "minutes_seconds", "minutes", "seconds"}  # of `messages`
    assert set(words("en")) - asked == signs


# ---------------------------------------------------------------- what can be read


def contrast(a: float, b: float) -> float:
    """Return the contrast of two relative luminances (WCAG 2.2)."""
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def lum(colour: Any) -> float:
    return float(luminance(np.asarray(colour, dtype=np.uint8)))


def test_every_colour_of_letters_keeps_its_contrast_on_the_lightest_background() -> None:
    lightest = float(luminance(pixels(Stage((1280, 720)).background)).max())
    inks = {name: getattr(stage_module, name) for name in ("BRIGHT", "SOFT", "QUIET", "FAINT")}
    inks["WARM"] = feedback_screens.WARM
    found = {name: contrast(lum(ink), lightest) for name, ink in inks.items()}
    assert min(found.values()) >= 4.5, found
    # Titles, words, what may be overlooked, hints: told apart by lightness.
    ranks = [found[name] for name in ("BRIGHT", "SOFT", "QUIET", "FAINT")]
    assert ranks == sorted(ranks, reverse=True)
    assert lightest < feedback_screens.LIT  # a plate stands only over a picture


@pytest.mark.parametrize(("dark", "least"), [(False, 4.5), (True, 12.0)])
def test_letters_as_drawn_keep_their_contrast(dark: bool, least: float) -> None:
    size = (1280, 720)
    stage = Stage(size, Style(high_contrast=dark))
    ground = float(luminance(pixels(stage.background)).max())
    screens = Screens(stage, "none", "de", test_session=True)
    for screen, said in every_screen("de"):
        frame = drawn(screens, screen, said)
        for item in screens.placed:
            if item.image is None or item.name in ("greys", "dial"):
                continue
            ink = luminance(pixels(frame.subsurface(item.box))).max()
            assert contrast(float(ink), ground) >= least, (screen, item.name)


class Bright:
    """A picture as light as a picture can be."""

    def __init__(self, grey: int) -> None:
        self._grey = grey

    def draw(self, surface: Any, _moment: Moment) -> None:
        surface.fill((self._grey,) * 3)


@pytest.mark.parametrize("grey", [0, 30, 38, 44, 50, 60, 80, 120, 160, 200, 255])
def test_words_over_a_picture_can_be_read_however_light_it_is(grey: int) -> None:
    screens = Screens(Stage((1280, 720)), "none", test_session=True)
    screens.picture = Bright(grey)
    frame = luminance(pixels(drawn(screens, "feedback", show(text="Let go."))))
    assert {i.name for i in screens.placed} == {"caption", "stop_hint", "test_session"}
    for item in screens.placed:
        box = item.box
        part = frame[box.left : box.right, box.top : box.bottom]
        assert contrast(float(part.max()), float(np.median(part))) >= 4.5, item.name


def test_over_the_bare_background_no_plate_stands() -> None:
    screens = Screens(Stage((1280, 720)), "none")
    drawn(screens, "feedback", show(text="Let go."))
    assert not screens._plates


# ---------------------------------------------------------------- eyes that see other colours

# Machado, Oliveira & Fernandes 2009 (IEEE TVCG 15:1291), severity 1.0, on linear RGB.
BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lightness(rgb: Any, eyes: str) -> Any:
    """Return CIE lightness L* (0..100) of sRGB codes as these eyes see them."""
    x = np.asarray(rgb, dtype=float) / 255.0
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLIND[eyes]).T, 0.0, 1.0)
    y = seen @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


@pytest.mark.parametrize("eyes", list(BLIND))
def test_low_and_high_differ_in_lightness_for_every_colour_vision(eyes: str) -> None:
    slate, sand, ivory, ash = (
        float(lightness(getattr(stage_module, name), eyes))
        for name in ("SLATE", "SAND", "IVORY", "ASH")
    )
    assert sand - slate >= 15.0
    assert ivory - sand >= 15.0
    assert ivory - ash >= 30.0  # neutral is no success


@pytest.mark.parametrize("eyes", list(BLIND))
@pytest.mark.parametrize("picture", ["orb", "bar"])
def test_orb_and_bar_show_the_level_to_every_colour_vision(picture: str, eyes: str) -> None:
    screens = Screens(Stage((640, 360)), picture)
    low, high = (
        lightness(pixels(drawn(screens, "feedback", level=x, live=1.0)), eyes) for x in (0.0, 1.0)
    )
    assert np.quantile(high - low, 0.995) >= 25.0  # where it moves, it is seen without hue
    assert high.mean() > low.mean()


# ---------------------------------------------------------------- single screens


def names(screens: Screens) -> list[str]:
    return [item.name for item in screens.placed]


@pytest.mark.parametrize(
    ("z", "word"),
    [
        (0.0, "about"),
        (0.19, "about"),
        (-0.19, "about"),
        (0.2, "little_more"),
        (0.59, "little_more"),
        (0.6, "clearly_more"),
        (3.0, "clearly_more"),
        (-0.2, "little_less"),
        (-0.6, "less"),
        (-9.0, "less"),
    ],
)
def test_a_block_is_compared_with_rest_in_words(z: float, word: str) -> None:
    assert feedback_screens._compared_word(z) == word


def test_a_summary_shows_what_is_known_and_nothing_else() -> None:
    screens = Screens(Stage((1280, 720)), "none")

    def panel(told: Summary) -> Any:
        drawn(screens, "rest", show(summary=told))
        return next(item.box for item in screens.placed if item.name == "summary")

    whole = panel(Summary(12, 168.0, 180.0, 0.3))
    unknown = panel(Summary(12, 168.0, 180.0, None))
    no_number = panel(Summary(12, 168.0, 180.0, float("nan")))
    assert unknown.size == no_number.size
    assert unknown.width < whole.width
    # Nought would blame: only the steady signal remains.
    assert panel(Summary(0, 168.0, 180.0)).height < 0.5 * unknown.height
    drawn(screens, "rest", show(summary=Summary(0, 0.0, 0.0)))
    assert "summary" not in names(screens)


def test_less_than_at_rest_is_no_reproach() -> None:
    for language in LANGUAGES:
        for key in ("little_less", "less"):
            assert {"en": "fine", "de": "in Ordnung"}[language] in words(language)[key]


def test_more_and_less_look_alike_but_for_the_place_of_the_mark() -> None:
    """No colour judges: the mark has the same light on both sides."""
    screens = Screens(Stage((1280, 720)), "none")
    one, other = (screens._compared(z, 1.0) for z in (0.9, -0.9))
    colours = [{tuple(c) for c in pixels(image).reshape(-1, 3).tolist()} for image in (one, other)]
    assert max(colours[0], key=lum) == max(colours[1], key=lum)


def test_the_ring_of_the_countdown_is_full_when_it_begins_and_empties() -> None:
    assert feedback_screens.COUNTDOWN_S == engine_screens.COUNTDOWN_S
    screens = Screens(Stage((640, 360)), "none")
    light = [
        luminance(pixels(drawn(screens, "countdown", show(remaining_s=s)))).sum()
        for s in (3.0, 2.9, 2.5, 2.1)
    ]
    assert (np.diff(light) < 0).all()


def test_with_reduced_motion_the_ring_moves_once_a_second() -> None:
    screens = Screens(Stage((640, 360), Style(reduced_motion=True)), "none")
    a, b, c = (pixels(drawn(screens, "countdown", show(remaining_s=s))) for s in (2.9, 2.1, 2.0))
    assert np.array_equal(a, b)
    assert not np.array_equal(b, c)


@pytest.mark.parametrize("screen", ["instruction", "countdown", "rest"])
def test_closed_eyes_are_prepared_for(screen: str) -> None:
    screens = Screens(Stage((1280, 720)), "none", tones=True)
    drawn(screens, screen, show(text="Listen.", remaining_s=3.0))
    assert "closed" not in names(screens)
    drawn(screens, screen, show(text="Listen.", remaining_s=3.0, eyes="closed"))
    assert "closed" in names(screens)


@pytest.mark.parametrize("language", LANGUAGES)
def test_closed_eyes_are_not_told_twice_and_promised_no_tones_without(language: str) -> None:
    asked: list[str] = []

    class Listening(Screens):
        def word(self, key: str) -> str:
            asked.append(key)
            return super().word(key)

    screens = Listening(Stage((640, 360)), "none", language)
    said = translator(language)("Close your eyes. Let the sound swell.")
    for tones, text, key in (
        (True, "Listen.", "closed"),
        (True, said, "closed_told"),
        (False, "Listen.", "closed_silent"),
        (False, said, "closed_silent_told"),
    ):
        asked.clear()
        screens.tones = tones
        screens._closed_parts(show(text=text, eyes="closed"))
        assert asked == ["eyes", key]


def test_a_hold_says_one_thing_once_and_neither_praises_nor_blames() -> None:
    screens = Screens(Stage((1280, 720)), "orb")
    frame = pixels(drawn(screens, "neutral", show(text="We are pausing.", rewards=7), glow=1.0))
    assert np.array_equal(frame, pixels(drawn(screens, "neutral", show(text="We are pausing."))))
    assert names(screens) == ["title", "text", "stop_hint"]
    title, text = screens._curtain_words(show(text="We are pausing."), "neutral")
    assert (title, text) == ("We are pausing.", words("en")["neutral_text"])


def test_the_measuring_screen_is_dark_and_says_one_sentence() -> None:
    screens = Screens(Stage((1280, 720)), "orb", "de")
    frame = luminance(pixels(drawn(screens, "probe")))
    assert names(screens) == ["text", "stop_hint"]
    assert frame.mean() < 0.03


def test_what_stands_on_a_screen_is_kept_until_its_words_change() -> None:
    screens = Screens(Stage((640, 360)), "none")
    for i in range(40):
        drawn(screens, "rest", show(text=str(i)))
        drawn(screens, "feedback", show(text="x" * (i % 30 + 1)), level=1.0)
    assert len(screens._stacks) <= 8
    assert len(screens._plates) <= 8
    kept = screens._stack(show(text="a", progress=0.1), "rest")
    assert screens._stack(show(text="a", progress=0.9), "rest") is kept
