"""What every shipped picture keeps: prompt, calm, neutral without an answer, repeatable."""

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

from feedback.guard import FlashGuard, red_ratio
from feedback.motion import Glow, Growth, LevelEase
from feedback.registry import PICTURES, resolve
from feedback.stage import Moment, Stage, Style
from feedback.window import _sample

NAMES = tuple(n for n, kind in PICTURES.items() if kind.needs != "film")
FOLLOWING = tuple(n for n in NAMES if n != "none")
OPTIONS = {"breath": {"rate_per_min": 6.0, "in_share": 0.4}}
SIZE = (640, 360)
DT = 1 / 60


@pytest.fixture(autouse=True)
def _screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    pygame.display.quit()


def made(name: str, size: tuple[int, int] = SIZE, **style: bool) -> tuple[Stage, Any]:
    stage = Stage(size, Style(**style), options=OPTIONS.get(name, {}))
    return stage, resolve(PICTURES[name].factory)(stage)


def frame(stage: Stage, picture: Any, moment: Moment) -> NDArray[np.uint8]:
    surface = stage.background.copy()
    picture.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def settled(name: str, moment: Moment, seconds: float = 4.0, **style: bool) -> NDArray[np.uint8]:
    """Return what stands after the picture has seen one moment for some seconds, time standing."""
    stage, picture = made(name, **style)
    surface = stage.background.copy()
    for _ in range(round(seconds / DT)):
        surface.blit(stage.background, (0, 0))
        picture.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


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
    for _ in range(120):  # the window fades in; the guard's own affair
        guard.present(_sample(surface), now := now + DT)
    guard.interventions = 0
    for k, level in enumerate(levels):
        surface.blit(stage.background, (0, 0))
        picture.draw(surface, person.step(level, k % every == 0 and level is not None))
        guard.present(_sample(surface), now := now + DT)
    return guard


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_guard_never_has_to_act(name: str, reduced: bool) -> None:
    """At the fastest rewards, with a level that jumps at 10 Hz, and through gates."""
    jumping: list[float | None] = [float(k // 3 % 2) for k in range(180)]
    gates: list[float | None] = [1.0 if k // 90 % 2 else None for k in range(270)]
    swings: list[float | None] = [float(k // 30 % 2) for k in range(180)]
    for levels in (jumping, gates, swings):
        guard = course(name, levels, 22, reduced_motion=reduced)
        assert guard.interventions == 0, [hex(i.bits) for i in guard.log]


@pytest.mark.parametrize("name", NAMES)
def test_neutral_does_not_depend_on_the_level(name: str) -> None:
    low, high = settled(name, Moment(level=0.0)), settled(name, Moment(level=1.0))
    assert np.array_equal(low, high)


@pytest.mark.parametrize("name", FOLLOWING)
def test_a_change_shows_in_the_very_next_frame(name: str) -> None:
    stage, picture = made(name)
    before = frame(stage, picture, Moment(level=0.3, live=1.0)).astype(int)
    after = frame(stage, picture, Moment(level=0.4, live=1.0)).astype(int)
    changed = np.count_nonzero(np.abs(after - before).max(axis=2) > 12)
    assert changed > 70


@pytest.mark.parametrize("name", FOLLOWING)
def test_every_step_of_the_level_looks_different(name: str) -> None:
    frames = [settled(name, Moment(level=x, live=1.0), 3.0) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for i, one in enumerate(frames):
        for two in frames[i + 1 :]:
            apart = np.abs(one.astype(int) - two.astype(int)).max(axis=2) > 12
            assert np.count_nonzero(apart) > 180


@pytest.mark.parametrize("name", NAMES)
def test_the_same_moment_looks_the_same_in_a_new_window(name: str) -> None:
    """A window that was opened again shows what had grown before."""
    stage, old = made(name)
    for rewards in np.linspace(0.0, 7.0, 60):
        frame(stage, old, Moment(0.5, 1.0, 0.0, float(rewards), 3.0))
    now = Moment(0.5, 1.0, 0.0, 7.0, 3.0)
    for _ in range(240):  # whatever is slow has arrived
        seen = frame(stage, old, now)
    other_stage, new = made(name)
    for _ in range(240):
        fresh = frame(other_stage, new, now)
    assert np.array_equal(seen, fresh)


@pytest.mark.parametrize("name", [n for n in FOLLOWING if n != "breath"])
def test_reduced_motion_means_that_nothing_moves_by_itself(name: str) -> None:
    stage, picture = made(name, reduced_motion=True)
    for _ in range(240):
        one = frame(stage, picture, Moment(0.5, 1.0, 0.0, 3.0, 2.0, DT))
    for k in range(1, 120):
        two = frame(stage, picture, Moment(0.5, 1.0, 0.0, 3.0, 2.0 + k * DT, DT))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(480, 800), (1024, 768), (1366, 768), (2560, 1080)])
def test_every_size_can_be_drawn(name: str, size: tuple[int, int]) -> None:
    stage, picture = made(name, size)
    for moment in (Moment(), Moment(1.0, 1.0, 1.0, 40.0, 1e4, DT)):
        assert frame(stage, picture, moment).shape == (*size, 3)


@pytest.mark.parametrize("name", NAMES)
def test_no_saturated_red(name: str) -> None:
    for level in (0.0, 0.5, 1.0):
        seen = settled(name, Moment(level, 1.0, 1.0, 12.0), 2.0)
        share = np.count_nonzero(red_ratio(seen) >= 0.8) / seen[..., 0].size
        assert share < 0.02
