"""The guard against sleep, and the crossover of theta over alpha."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from protocols.baseline import Baseline, describe
from protocols.model import Crossover, Sleep
from protocols.watches import CrossoverWatch, SleepGuard

GRID = 4.0
MINUTE = int(60 * GRID)
COLUMNS = {"theta": 0, "delta": 1, "alpha": 1}
ASLEEP, AWAKE = (2.0, 3.0), (0.5, 1.0)


def rests(scale: Literal["ln", "linear"] = "ln") -> dict[str, Baseline]:
    """Return a rest in which theta and delta have the median 1."""
    x = np.exp(np.linspace(-0.2, 0.2, 101))
    return {n: describe(n, x, scale) for n in ("theta", "delta")}


def guard() -> SleepGuard:
    return SleepGuard(Sleep(theta="theta", delta="delta"), COLUMNS, GRID)


@pytest.mark.parametrize("scale", ["ln", "linear"])
def test_a_minute_of_both_signs_wakes_once_and_again_after_another(
    scale: Literal["ln", "linear"],
) -> None:
    one, base = guard(), rests(scale)
    told = [i for i in range(3 * MINUTE) if one.step(ASLEEP, base)]
    assert told == [MINUTE - 1, 2 * MINUTE - 1, 3 * MINUTE - 1]


@pytest.mark.parametrize(
    "values", [(0.9, 3.0), (2.0, 1.9), AWAKE, (2.0, 2.0), (1.0, 3.0), (-1.0, 3.0), (2.0, -1.0)]
)
def test_one_sign_alone_is_no_sleep(values: tuple[float, float]) -> None:
    one, base = guard(), rests()
    assert not any(one.step(values, base) for _ in range(2 * MINUTE))


def test_one_awake_moment_begins_the_minute_again() -> None:
    one, base = guard(), rests()
    for _ in range(MINUTE - 1):
        assert not one.step(ASLEEP, base)
    assert not one.step(AWAKE, base)
    told = [i for i in range(MINUTE) if one.step(ASLEEP, base)]
    assert told == [MINUTE - 1]


def test_what_is_not_known_neither_wakes_nor_counts() -> None:
    one, base = guard(), rests()
    assert not any(one.step(ASLEEP, {}) for _ in range(2 * MINUTE))
    for i in range(2 * MINUTE - 1):
        assert not one.step(ASLEEP if i % 2 == 0 and i < 2 * MINUTE - 2 else (math.nan, 3.0), base)
    assert one.step(ASLEEP, base)


def test_a_new_block_begins_a_new_minute() -> None:
    one, base = guard(), rests()
    for _ in range(MINUTE - 1):
        one.step(ASLEEP, base)
    one.restart()
    assert not one.step(ASLEEP, base)


# ---------------------------------------------------------------- crossover


def crossover() -> CrossoverWatch:
    return CrossoverWatch(Crossover(theta="theta", alpha="alpha"), COLUMNS, GRID)


def test_the_time_with_theta_above_alpha() -> None:
    one = crossover()
    for values in [(5.0, 6.0)] * 30 + [(6.0, 6.0)] * 2 + [(6.5, 6.0)] * 8:
        one.step(values)
    assert one.summary() == {"crossover_s": 2.0, "share": 0.2, "therapeutic": 0}
    one.step((math.nan, 1.0))
    assert one.summary()["share"] == 0.2


def test_three_minutes_by_one_microvolt_is_a_therapeutic_crossover() -> None:
    one = crossover()
    for _ in range(3 * MINUTE - 1):
        one.step((7.0, 6.0))
    assert one.summary()["therapeutic"] == 0
    one.step((7.0, 6.0))
    assert one.summary()["therapeutic"] == 1
    for _ in range(3 * MINUTE):  # the same one goes on
        one.step((7.0, 6.0))
    assert one.summary()["therapeutic"] == 1
    one.step((6.9, 6.0))
    for _ in range(3 * MINUTE):
        one.step((7.0, 6.0))
    assert one.summary()["therapeutic"] == 2


def test_a_block_of_nothing_has_no_share() -> None:
    one = crossover()
    assert one.summary() == {"crossover_s": 0.0, "share": None, "therapeutic": 0}
    one.step((7.0, 6.0))
    one.restart()
    assert one.summary() == {"crossover_s": 0.0, "share": None, "therapeutic": 0}
