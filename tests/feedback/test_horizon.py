"""The landscape: the sun tells the level at once, weather and light follow calmly in the dark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from feedback.guard import luminance
from feedback.scenes.horizon import SUN_HIGH, SUN_LOW, Horizon
from feedback.scenes.landscape import SUN
from feedback.stage import Moment, Stage, Style

SIZE = (320, 180)
DT = 1 / 60


@pytest.fixture(autouse=True, scope="module")
def _screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    stage_of.cache_clear()
    pygame.display.quit()


@cache
def stage_of(size: tuple[int, int] = SIZE, style: Style | None = None) -> Stage:
    return Stage(size, style)


def drawn(picture: Horizon, moment: Moment, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    surface = pygame.Surface(size)
    picture.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def after(
    seconds: float, picture: Horizon, moment: Moment, size: tuple[int, int] = SIZE
) -> NDArray[np.uint8]:
    surface = pygame.Surface(size)
    for _ in range(round(seconds / DT)):
        picture.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def sun_height(seen: NDArray[np.uint8]) -> float:
    """Return the row the brightest things in the sun's column are centred on."""
    x = round(SUN * seen.shape[0])
    column = seen[x - 2 : x + 3, : round(0.6 * seen.shape[1])].sum(axis=2).mean(axis=0)
    return float(np.flatnonzero(column > 0.93 * column.max()).mean())


def test_the_sun_stands_as_high_as_the_level_in_the_same_frame() -> None:
    picture = Horizon(stage_of())
    for level in (0.5, 0.0, 1.0, 0.25, 0.75, 0.6, 0.1):
        where = sun_height(drawn(picture, Moment(level, 1.0, 0.0, 0.0, 1.0, DT)))
        assert where == pytest.approx((SUN_LOW + (SUN_HIGH - SUN_LOW) * level) * SIZE[1], abs=1.5)


@pytest.mark.parametrize("strong", [False, True])
def test_what_moves_at_once_is_small(strong: bool) -> None:
    picture = Horizon(stage_of(SIZE, Style(high_contrast=strong)))
    before = after(1.0, picture, Moment(0.2, 1.0)).astype(int)
    now = drawn(picture, Moment(0.9, 1.0)).astype(int)
    moved = np.abs(now - before).max(axis=2) > 6
    assert np.count_nonzero(moved) / moved.size < 2 * 0.06  # where it was, and where it is


def test_weather_follows_slowly_and_arrives() -> None:
    picture = Horizon(stage_of())
    start = luminance(after(2.0, picture, Moment(0.0, 1.0))).mean()
    first = luminance(drawn(picture, Moment(1.0, 1.0))).mean()
    there = after(4.0, picture, Moment(1.0, 1.0))
    end = luminance(there).mean()
    assert end - start > 0.05  # it is a visible change of the light,
    assert abs(first - start) < 0.48 * DT + 0.02  # but not at once,
    assert np.array_equal(there, drawn(picture, Moment(1.0, 1.0)))  # and it comes to rest


def test_weather_needs_no_time_when_nobody_saw_it() -> None:
    """After a neutral phase the picture comes up as the level is, not as it was."""
    kept, fresh = (Horizon(stage_of()) for _ in range(2))
    after(2.0, kept, Moment(1.0, 1.0))
    after(1.5, kept, Moment(1.0, 0.0))
    for live in np.linspace(0.05, 1.0, 8):
        now = Moment(0.1, float(live))
        assert np.array_equal(drawn(kept, now), drawn(fresh, now))


@pytest.mark.parametrize("size", [(320, 180), (160, 266), (426, 180), (266, 200)])
def test_it_stays_dark_enough_for_a_dark_room(size: tuple[int, int]) -> None:
    picture, light = Horizon(stage_of(size)), []
    for level in (0.0, 0.5, 1.0):
        after(1.3, picture, Moment(level), size)  # the weather needs no time then
        seen = after(1.3, picture, Moment(level, 1.0, 1.0), size)
        light.append(float(luminance(seen).mean()))
    assert light == sorted(light)
    assert light[0] > 0.04  # an overcast dusk, not a black hole
    assert light[-1] < 0.25


def test_neutral_is_even_and_has_no_sun() -> None:
    picture = Horizon(stage_of())
    seen = drawn(picture, Moment())
    sky = seen[:, : round(0.45 * SIZE[1])].astype(int)
    assert np.abs(np.diff(sky, axis=0)).max() <= 3  # from side to side nothing but fine noise
    grey = seen.astype(int)
    assert (grey.max(axis=2) - grey.min(axis=2)).max() < 16
    # Neither darker than a low level nor as light as a high one.
    low, high = (luminance(after(4.0, picture, Moment(x, 1.0))).mean() for x in (0, 1))
    assert low < luminance(seen).mean() < 0.7 * high


def test_clouds_drift_and_come_round() -> None:
    picture = Horizon(stage_of())
    one = after(2.0, picture, Moment(0.3, 1.0, 0.0, 0.0, 10.0, DT))
    two = after(2 * DT, picture, Moment(0.3, 1.0, 0.0, 0.0, 60.0, DT))
    assert np.count_nonzero(np.abs(two.astype(int) - one).max(axis=2) > 3) > 500
    for hours in (1.0, 50.0):
        drawn(picture, Moment(0.3, 1.0, 0.0, 0.0, 3600.0 * hours, DT))


def test_a_reward_lights_the_sun_and_its_path_only() -> None:
    picture = Horizon(stage_of())
    plain = after(4.0, picture, Moment(0.5, 1.0)).astype(int)
    lit = drawn(picture, Moment(0.5, 1.0, 1.0)).astype(int)
    brighter = (lit - plain).max(axis=2) > 8
    assert 140 < np.count_nonzero(brighter) < 0.08 * brighter.size
    columns = np.flatnonzero(brighter.any(axis=1)) / SIZE[0]
    assert abs(columns - SUN).max() < 0.12
    assert (plain - lit).max() <= 1  # nothing grows darker
