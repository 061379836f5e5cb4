"""The garden: what has grown stays, wherever and whenever it is looked at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from feedback.guard import luminance
from feedback.scenes import garden
from feedback.scenes.garden import FLY_HIGH, FLY_LOW, Garden
from feedback.scenes.plants import AISLE, BUSHES, ROWS, TREES, spot_of
from feedback.stage import Moment, Stage, Style

SIZE = (480, 270)
WIDE = 16 / 9


@pytest.fixture(autouse=True, scope="module")
def _screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    stage_of.cache_clear()
    pygame.display.quit()


@cache
def stage_of(style: Style | None = None) -> Stage:
    return Stage(SIZE, style)


def drawn(picture: Garden, rewards: float, **of: Any) -> NDArray[np.uint8]:
    surface = pygame.Surface(SIZE)
    picture.draw(surface, Moment(**{"level": 0.5, "live": 1.0, "rewards": rewards, **of}))
    return np.asarray(pygame.surfarray.array3d(surface))


def full(picture: Garden, rewards: float, **of: Any) -> NDArray[np.uint8]:
    """Return what stands once the window has caught up."""
    for _ in range(round(rewards) // garden.GROWN_PER_FRAME + 2):
        seen = drawn(picture, rewards, **of)
    return seen


def changed(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(one.astype(int) - two).max(axis=2) > 4)


def test_the_firefly_flies_as_high_as_the_level() -> None:
    picture = Garden(stage_of())
    for level in (0.0, 1.0, 0.4, 0.7):
        seen = drawn(picture, 0.0, level=level).sum(axis=2)
        rows = np.flatnonzero((seen > 680).any(axis=0))
        wanted = (FLY_LOW + (FLY_HIGH - FLY_LOW) * level) * SIZE[1]
        assert rows.mean() == pytest.approx(wanted, abs=1.5)
        assert len(rows) < 0.03 * SIZE[1]  # a small light


def test_the_firefly_is_larger_where_contrast_is_wanted() -> None:
    plain, strong = (
        np.count_nonzero(drawn(Garden(stage_of(s)), 0.0).sum(axis=2) > 680)
        for s in (Style(), Style(high_contrast=True))
    )
    assert strong > 1.6 * plain


def test_the_plan_never_ends_and_never_leaves_the_garden() -> None:
    spots = [spot_of(n, WIDE) for n in range(1500)]
    assert spots[:200] == [spot_of(n, WIDE) for n in range(200)]
    for spot in spots:
        assert -0.02 <= spot.x <= 1.02
        assert abs(spot.y - ROWS[spot.row]) < 0.03
        assert 0.02 < spot.size < 1.4
        if spot.kind == "t":
            assert abs(spot.x - 0.5) > AISLE / WIDE - 0.02
    kinds = Counter(spot.kind for spot in spots)
    assert kinds["t"] == TREES
    assert kinds["b"] == BUSHES
    assert {s.kind for s in spots[:12]} == set("fgbt")  # a little of everything, soon


def test_flowers_are_spread_evenly_from_the_beginning() -> None:
    for count in (20, 80, 400):
        x = [s.x for s in (spot_of(n, WIDE) for n in range(count)) if s.kind == "f"]
        shares = np.histogram(x, bins=4, range=(-0.02, 1.02))[0] / len(x)
        assert shares.min() > 0.12


def test_every_reward_adds_something_and_takes_nothing_away() -> None:
    picture = Garden(stage_of())
    before = drawn(picture, 0.0)
    for rewards in range(1, 24):
        now = drawn(picture, float(rewards))
        here = changed(before, now)
        spot = spot_of(rewards - 1, WIDE)
        assert np.count_nonzero(here) > 12
        x, y = np.nonzero(here)
        assert abs(x / SIZE[0] - spot.x).max() < 0.14  # only where it grew
        assert (y / SIZE[1]).max() < spot.y + 0.02
        before = now


def test_a_plant_grows_in_without_a_jump() -> None:
    picture = Garden(stage_of())
    for number in range(8):  # flower, grass, bush, tree among them
        empty = full(picture, float(number))
        sizes = [
            np.count_nonzero(changed(empty, drawn(picture, number + part)))
            for part in (0.01, 0.3, 0.6, 0.8, 0.999)
        ]
        grown = drawn(picture, number + 1.0)
        last = np.count_nonzero(changed(empty, grown))
        assert sizes[0] < 0.25 * last
        assert sizes == sorted(sizes)
        assert sizes[-1] == pytest.approx(last, rel=0.15)


@pytest.mark.parametrize("rewards", [3.0, 26.4, 47.0])
def test_a_garden_looks_the_same_however_it_came_about(rewards: float) -> None:
    old = Garden(stage_of())
    for part in np.arange(0.0, rewards, 1.7):
        drawn(old, float(part))
    assert np.array_equal(full(old, rewards), full(Garden(stage_of()), rewards))


def test_another_session_begins_with_its_own_garden() -> None:
    picture = Garden(stage_of())
    full(picture, 30.0)
    assert np.array_equal(full(picture, 5.0), full(Garden(stage_of()), 5.0))
    assert np.array_equal(full(picture, 0.0), full(Garden(stage_of()), 0.0))


def test_what_has_grown_costs_nothing_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Garden(stage_of())
    full(picture, 30.0)
    calls = []
    plant = garden.plant
    monkeypatch.setattr(garden, "plant", lambda *a: calls.append(a) or plant(*a))
    for level in np.linspace(0, 1, 20):
        drawn(picture, 30.0, level=float(level), glow=0.5)
    assert not calls
    drawn(picture, 30.5)
    assert len(calls) == 1


def test_the_growing_plant_glows() -> None:
    picture = Garden(stage_of())
    plain, lit = (drawn(picture, 2.5, glow=glow).astype(int) for glow in (0.0, 1.0))
    brighter = (lit - plain).max(axis=2) > 4
    assert 0 < np.count_nonzero(brighter) < 0.06 * brighter.size
    x, _ = np.nonzero(brighter)
    assert x.mean() / SIZE[0] == pytest.approx(spot_of(2, WIDE).x, abs=0.03)


def test_without_an_answer_the_firefly_rests_beside_the_scale() -> None:
    picture = Garden(stage_of())
    one, two = (full(picture, 12.0, live=0.0, level=level) for level in (0.0, 1.0))
    assert np.array_equal(one, two)
    assert one[SIZE[0] // 2 - 30 : SIZE[0] // 2 + 30, :172].max() < 150  # ashen, no light


def test_a_full_garden_is_still_a_night() -> None:
    picture = Garden(stage_of())
    for rewards in (0.0, 150.0):
        light = luminance(full(picture, rewards, level=1.0, glow=1.0)).mean()
        assert 0.008 < light < 0.10
