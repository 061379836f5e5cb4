"""What every shipped picture keeps: prompt, calm, neutral without an answer, repeatable."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from feedback.guard import FlashGuard, red_ratio
from feedback.motion import Glow, Growth, LevelEase
from feedback.registry import PICTURES, resolve
from feedback.stage import Moment, Stage, Style
from feedback.window import _sample

NAMES = tuple(n for n, kind in PICTURES.items() if kind.needs != "film")
FOLLOWING = tuple(n for n in NAMES if n != "none")
OPTIONS = {"rate_per_min": 6.0, "in_share": 0.4}  # of the breath; no other picture has any
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
def stage_of(size: tuple[int, int], style: Style) -> Stage:
    """Return one stage for all pictures: its background costs more than many frames."""
    return Stage(size, style, options=OPTIONS)


def made(name: str, size: tuple[int, int] = SIZE, **style: bool) -> tuple[Stage, Any]:
    stage = stage_of(size, Style(**style))
    return stage, resolve(PICTURES[name].factory)(stage)


def drawn(stage: Stage, picture: Any, moments: Iterable[Moment]) -> NDArray[np.uint8]:
    """Return what stands after the last of these moments, one a frame."""
    surface = stage.background.copy()
    for moment in moments:
        surface.blit(stage.background, (0, 0))
        picture.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def settled(stage: Stage, picture: Any, moment: Moment, seconds: float) -> NDArray[np.uint8]:
    """Return what stands after the picture has seen one moment for some seconds, time standing."""
    return drawn(stage, picture, [moment] * round(seconds / DT))


def share(seen: NDArray[np.bool_]) -> float:
    """Return the part of the window in which something holds."""
    return float(np.count_nonzero(seen) / seen.size)


def apart(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """Return the part of the window in which two frames differ visibly."""
    return share(np.abs(one.astype(int) - two.astype(int)).max(axis=2) > 12)


class Person:
    """Level, rewards and light as the window's loop eases them, at 60 frames per second."""

    def __init__(self) -> None:
        self.ease, self.glow, self.growth, self.t = LevelEase(), Glow(), Growth(), 0.0

    def step(self, level: float | None, rewards: int = 0) -> Moment:
        self.ease.step(DT, level)
        self.glow.add(rewards)
        if self.glow.step(DT):
            self.growth.add()
        self.growth.step(DT)
        dt = DT * self.ease.eased
        self.t += dt
        return Moment(
            self.ease.level, self.ease.eased, self.glow.value, self.growth.value, self.t, dt
        )


def course(name: str, levels: list[float | None], every: int, **style: bool) -> FlashGuard:
    """Return the guard after it has seen a whole course of frames as they were wanted."""
    stage, picture = made(name, **style)
    guard, person, now = FlashGuard(), Person(), 0.0
    surface = stage.background.copy()
    picture.draw(surface, Moment())
    first = _sample(surface)
    for _ in range(120):  # the window fades in; the guard's own affair
        guard.present(first, now := now + DT)
    guard.interventions = 0
    for k, level in enumerate(levels):
        surface.blit(stage.background, (0, 0))
        picture.draw(surface, person.step(level, k % every == 0 and level is not None))
        guard.present(_sample(surface), now := now + DT)
    return guard


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_guard_never_has_to_act(name: str, reduced: bool) -> None:
    """At the fastest rewards, with a level that jumps at 10 Hz, through gates, and in swings."""
    levels: list[float | None] = [float(k // 3 % 2) for k in range(120)]
    levels += [1.0 if k // 90 % 2 else None for k in range(270)]
    levels += [float(k // 30 % 2) for k in range(120)]
    guard = course(name, levels, 22, reduced_motion=reduced)
    assert guard.interventions == 0, [(i.t, hex(i.bits)) for i in guard.log]


@pytest.mark.parametrize("name", NAMES)
def test_neutral_does_not_depend_on_the_level(name: str) -> None:
    stage, picture = made(name)
    frames = []
    for level in (0.0, 1.0):
        settled(stage, picture, Moment(level, 1.0), 0.5)  # whatever was shown before
        frames.append(settled(stage, picture, Moment(level), 4.0))
    assert np.array_equal(*frames)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_change_shows_in_the_very_next_frame(name: str) -> None:
    stage, picture = made(name)
    before, after = (drawn(stage, picture, [Moment(level, 1.0)]) for level in (0.3, 0.4))
    assert apart(before, after) > 0.0003


@pytest.mark.parametrize("name", FOLLOWING)
def test_every_step_of_the_level_looks_different(name: str) -> None:
    stage, picture = made(name)
    levels = (0.0, 0.25, 0.5, 0.75, 1.0)
    frames = [settled(stage, picture, Moment(level, 1.0), 3.0) for level in levels]
    for one, two in itertools.combinations(frames, 2):
        assert apart(one, two) > 0.0008


@pytest.mark.parametrize("name", NAMES)
def test_the_same_moment_looks_the_same_in_a_new_window(name: str) -> None:
    """A window that was opened again shows what had grown before."""
    stage, old = made(name)
    drawn(stage, old, [Moment(0.5, 1.0, 0.0, r, 3.0) for r in np.linspace(0.0, 7.0, 60).tolist()])
    now = Moment(0.5, 1.0, 0.0, 7.0, 3.0)
    seen = settled(stage, old, now, 4.0)  # whatever is slow has arrived
    assert np.array_equal(seen, settled(*made(name), now, 4.0))


@pytest.mark.parametrize("name", [n for n in FOLLOWING if n != "breath"])
def test_reduced_motion_means_that_nothing_moves_by_itself(name: str) -> None:
    stage, picture = made(name, reduced_motion=True)
    one = settled(stage, picture, Moment(0.5, 1.0, 0.0, 3.0, 2.0, DT), 4.0)
    later = [Moment(0.5, 1.0, 0.0, 3.0, 2.0 + k * DT, DT) for k in range(1, 120)]
    assert np.array_equal(one, drawn(stage, picture, later))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(300, 500), (512, 384), (683, 384), (853, 360)])
def test_every_shape_can_be_drawn(name: str, size: tuple[int, int]) -> None:
    stage, picture = made(name, size)
    for moment in (Moment(), Moment(1.0, 1.0, 1.0, 40.0, 1e4, DT)):
        assert drawn(stage, picture, [moment]).shape == (*size, 3)


@pytest.mark.parametrize("name", NAMES)
def test_no_saturated_red(name: str) -> None:
    stage, picture = made(name)
    for level in (0.0, 0.5, 1.0):
        seen = settled(stage, picture, Moment(level, 1.0, 1.0, 12.0), 2.0)
        assert share(red_ratio(seen) >= 0.8) < 0.02
