"""The breathing pacer: exact time, in and out, a ring whose length is the level."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from feedback.guard import luminance
from feedback.scenes.breath import Breath
from feedback.stage import Moment, Stage, Style

SIZE = (640, 360)


def made(rate: float = 6.0, share: float = 0.4, **style: bool) -> tuple[Stage, Breath]:
    stage = Stage(SIZE, Style(**style), options={"rate_per_min": rate, "in_share": share})
    return stage, Breath(stage)


def light(stage: Stage, breath: Breath, moment: Moment) -> NDArray[np.float32]:
    surface: Any = stage.background.copy()
    breath.draw(surface, moment)
    return luminance(np.asarray(pygame.surfarray.array3d(surface)))


def disc_radius(stage: Stage, breath: Breath, t: float) -> float:
    """Return how far the disc reaches from the middle, in units, as it is drawn."""
    surface = stage.background.copy()
    breath.draw(surface, Moment(0.0, 1.0, 0.0, 0.0, t))
    line = surface.subsurface((SIZE[0] // 2, SIZE[1] // 2, int(0.37 * stage.unit), 1))
    inner = luminance(np.asarray(pygame.surfarray.array3d(line)))
    return float(np.count_nonzero(inner > 0.028) / stage.unit)


@pytest.mark.parametrize(("rate", "share"), [(4.5, 0.3), (6.0, 0.4), (6.5, 0.6)])
def test_the_drawn_disc_keeps_the_rate_and_the_in_share(rate: float, share: float) -> None:
    stage, breath = made(rate, share)
    period = 60.0 / rate
    t = np.arange(0.0, 2.6 * period, 0.1)
    radius = np.array([disc_radius(stage, breath, float(x)) for x in t])
    high = radius > (radius.min() + radius.max()) / 2
    ups = t[1:][~high[:-1] & high[1:]]
    assert np.diff(ups) == pytest.approx(period, abs=0.1 + 1e-6)  # one step of this test
    # The turns: the smallest disc at whole breaths, the largest at the end of the in part.
    assert breath.fullness(0.0) == pytest.approx(0.0, abs=1e-12)
    assert breath.fullness(share * period) == pytest.approx(1.0, abs=1e-6)
    one = radius[(t >= period) & (t < 2 * period)]
    turn = np.flatnonzero(one == one.max()).mean() * 0.1
    assert turn == pytest.approx(share * period, abs=0.2)


def test_the_time_stays_exact_over_an_hour() -> None:
    _, breath = made(5.5, 0.35)
    period = 60.0 / 5.5
    for k in (1, 100, 330):
        for part in (0.1, 0.35, 0.8):
            there = breath.fullness((k + part) * period)
            assert there == pytest.approx(breath.fullness(part * period), abs=1e-6)


def test_it_moves_without_a_jerk() -> None:
    _, breath = made()
    full = np.array([breath.fullness(k / 60) for k in range(1300)])
    speed = np.diff(full) * 60
    assert np.abs(speed).max() < np.pi / 2 / 4.0 + 0.01  # the in part takes 4 s
    assert np.abs(np.diff(speed)).max() < 0.02


def test_the_ring_is_as_long_as_the_level() -> None:
    stage, breath = made()
    x = np.arange(SIZE[0]) + 0.5 - SIZE[0] / 2
    y = np.arange(SIZE[1]) + 0.5 - SIZE[1] / 2
    away = np.abs(np.hypot(x[:, None], y[None, :]) - Breath.RING * stage.unit)
    empty = light(stage, breath, Moment(0.0, 1.0))
    for level in (0.25, 0.5, 0.75, 1.0):
        seen = light(stage, breath, Moment(level, 1.0))
        lit = (seen > empty + 0.05) & (away < 1.0)
        assert np.count_nonzero(lit) / np.count_nonzero(away < 1.0) == pytest.approx(
            level, abs=0.03
        )


def test_in_and_out_differ_at_the_same_size() -> None:
    stage, breath = made()
    inwards, outwards = 2.0, 4.0 + 3.0  # halfway in, halfway out
    assert breath.fullness(inwards) == pytest.approx(breath.fullness(outwards))
    one, two = (light(stage, breath, Moment(0.5, 1.0, t=t)) for t in (inwards, outwards))
    assert np.count_nonzero(np.abs(one - two) > 0.02) > 400


def test_neutral_is_ashen_and_still_breathes() -> None:
    stage, breath = made()
    surface = stage.background.copy()
    breath.draw(surface, Moment(1.0, 0.0, t=4.0))
    rgb = np.asarray(pygame.surfarray.array3d(surface)).astype(int)
    assert (rgb.max(axis=2) - rgb.min(axis=2)).max() <= 12
    full, empty = (light(stage, breath, Moment(t=t)).mean() for t in (4.0, 0.0))
    assert full > 1.3 * empty


def test_reduced_motion_breathes_less_but_in_the_same_time() -> None:
    reach = []
    for reduced in (False, True):
        stage, breath = made(reduced_motion=reduced)
        reach.append(disc_radius(stage, breath, 4.0) - disc_radius(stage, breath, 0.0))
    assert 0.02 < reach[1] < 0.6 * reach[0]


def test_high_contrast_makes_the_ring_stronger() -> None:
    bright = []
    for strong in (False, True):
        stage, breath = made(high_contrast=strong)
        bright.append(np.count_nonzero(light(stage, breath, Moment(0.5, 1.0)) > 0.35))
    assert bright[1] > 1.5 * bright[0]
