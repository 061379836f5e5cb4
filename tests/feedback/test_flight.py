"""The flight: slow at every level, never standing, lanterns that stay, hills without an end."""

from __future__ import annotations

import itertools
import os
from functools import cache

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from feedback.guard import luminance
from feedback.scenes.flight import ROWS, Flight
from feedback.stage import Moment, Stage, Style

SIZE = (640, 360)
SMALL = (160, 90)  # where nothing is looked at
DT = 1 / 60
Rgb = NDArray[np.uint8]


@cache
def stage_of(size: tuple[int, int], style: Style) -> Stage:
    return Stage(size, style)


def made(size: tuple[int, int] = SIZE, **style: bool) -> tuple[Stage, Flight]:
    stage = stage_of(size, Style(**style))
    return stage, Flight(stage)


@pytest.fixture(scope="module")
def standing() -> tuple[Stage, Flight]:
    """Return a flight for moments in which no time passes: it keeps nothing of them."""
    return made()


def frame(stage: Stage, flight: Flight, moment: Moment) -> Rgb:
    surface = stage.background.copy()
    flight.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def flown_in(flight: Flight, level: float, seconds: float, start: float = 0.0) -> float:
    """Return the units flown at a constant level, from `start` seconds on."""
    surface = pygame.Surface(SIZE)
    before = flight.flown(start)
    for k in range(1, round(seconds / DT) + 1):
        flight.draw(surface, Moment(level, 1.0, 0.0, 0.0, start + k * DT, DT))
    return flight.flown(start + seconds) - before


@pytest.mark.parametrize("size", [(480, 800), (1920, 1080), (2560, 1080)])
def test_nothing_crosses_the_window_in_less_than_four_seconds(size: tuple[int, int]) -> None:
    unit = min(float(size[1]), size[0] * 9 / 16)  # as the stage has it
    assert size[0] / (Flight.FASTEST * unit) > 4.0
    assert max(row.near for row in ROWS) == 1.0


def test_the_speed_follows_the_level_and_is_never_nothing() -> None:
    flown = [flown_in(made(SMALL)[1], level, 2.0) / 2.0 for level in (0.0, 0.5, 1.0)]
    assert flown[0] == pytest.approx(Flight.SLOWEST, rel=1e-6)
    assert flown[0] < flown[1] < flown[2] == pytest.approx(Flight.FASTEST, rel=1e-6)


def test_a_jump_of_the_level_changes_the_speed_slowly() -> None:
    _, flight = made(SMALL)
    flown_in(flight, 0.0, 1.0)
    soon = flown_in(flight, 1.0, 0.1, start=1.0) / 0.1
    assert soon < Flight.SLOWEST + 0.1 * (Flight.FASTEST - Flight.SLOWEST)
    later = flown_in(flight, 1.0, 6.0, start=1.1) / 6.0
    assert later > Flight.SLOWEST + 0.6 * (Flight.FASTEST - Flight.SLOWEST)


def test_it_stands_still_while_time_does() -> None:
    stage, flight = made()
    flown_in(flight, 0.7, 1.0)
    one = frame(stage, flight, Moment(0.7, 1.0, 0.0, 0.0, 1.0, 0.0))
    two = frame(stage, flight, Moment(0.7, 1.0, 0.0, 0.0, 1.0, 0.0))
    assert np.array_equal(one, two)


def test_the_hills_have_no_seam(standing: tuple[Stage, Flight]) -> None:
    stage, flight = standing
    # The nearest strip's ends meet in the middle of the window.
    seam = (2 * SIZE[0] - SIZE[0] / 2) / stage.unit / Flight.SLOWEST
    seen = luminance(frame(stage, flight, Moment(0.0, 1.0, t=seam)))
    crest = np.argmax(seen[:, 300:] < 0.012, axis=1)
    steps = np.abs(np.diff(crest))
    middle = SIZE[0] // 2
    assert steps[middle - 4 : middle + 4].max() <= 2


def test_the_landscape_repeats_only_after_two_windows(standing: tuple[Stage, Flight]) -> None:
    stage, flight = standing
    whole = 2 * SIZE[0] / stage.unit / Flight.SLOWEST
    frames = [frame(stage, flight, Moment(0.0, 1.0, t=t))[:, 340:] for t in (0.0, whole / 2, whole)]
    assert np.array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0], frames[1])


def test_every_reward_hangs_a_lantern_and_400_have_room(standing: tuple[Stage, Flight]) -> None:
    stage, flight = standing
    sky = [
        frame(stage, flight, Moment(0.5, 1.0, 0.0, float(n)))[:, :160].astype(int)
        for n in (0, 1, 5, 60, 400, 480, 1000)
    ]
    for less, more in itertools.pairwise(sky[:-1]):
        lit = (more - less).max(axis=2) > 12
        assert np.count_nonzero(lit) > 15
        assert luminance(more.astype(np.uint8)).mean() > luminance(less.astype(np.uint8)).mean()
    assert np.array_equal(sky[-2], sky[-1])


def test_a_lantern_comes_gently() -> None:
    stage, flight = made(reduced_motion=True)  # it fades in where it stays
    frames = [
        frame(stage, flight, Moment(0.5, 1.0, 0.0, 3.0 + k / 36)).astype(np.int16)
        for k in range(37)
    ]
    assert np.array_equal(frames[36], frame(*made(reduced_motion=True), Moment(0.5, 1.0, 0.0, 4.0)))
    assert max(np.abs(b - a).max() for a, b in itertools.pairwise(frames)) < 24


def test_the_gauge_is_as_long_as_the_level_and_small(standing: tuple[Stage, Flight]) -> None:
    stage, flight = standing
    empty = frame(stage, flight, Moment(0.0, 1.0)).astype(int)
    lit = []
    for level in (0.25, 0.5, 0.75, 1.0):
        seen = frame(stage, flight, Moment(level, 1.0)).astype(int)
        seen[:, : round(0.44 * SIZE[1])] = empty[:, : round(0.44 * SIZE[1])]  # the glider's height
        lit.append(np.count_nonzero((seen - empty).max(axis=2) > 25))
    assert np.array(lit) / lit[-1] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.06)
    assert lit[-1] < 0.03 * SIZE[0] * SIZE[1]


def test_neutral_is_grey(standing: tuple[Stage, Flight]) -> None:
    stage, flight = standing
    chroma = []
    for live in (0.0, 1.0):
        seen = frame(stage, flight, Moment(0.5, live)).astype(int)
        chroma.append(np.mean(seen.max(axis=2) - seen.min(axis=2)))
    assert chroma[0] < 0.4 * chroma[1]


def test_without_motion_the_glider_rises_with_the_level_slowly() -> None:
    stage, flight = made(reduced_motion=True)
    surface = pygame.Surface(SIZE)

    def height() -> float:
        strip = pygame.surfarray.array3d(surface)[SIZE[0] // 2 - 50 : SIZE[0] // 2 + 50, :165]
        paper = strip.astype(int).min(axis=2) > 195
        return float(np.flatnonzero(paper.any(axis=0)).mean())

    flight.draw(surface, Moment(0.0, 1.0, t=0.0, dt=DT))
    low = height()
    flight.draw(surface, Moment(1.0, 1.0, t=DT, dt=DT))
    assert abs(height() - low) <= 1.5
    for k in range(420):
        flight.draw(surface, Moment(1.0, 1.0, t=k * DT, dt=DT))
    assert low - height() > 0.15 * stage.unit
