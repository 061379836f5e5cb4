"""What moves on the screen: a reward's light."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback.motion import Glow

DT = 1 / 60


def glowing(
    rewards_at: dict[int, int], frames: int, strength: float = 1.0, dt: float = DT
) -> tuple[list[int], NDArray[np.float64]]:
    """Return the frames in which rewards begin, and the light of every frame."""
    glow, begun, light = Glow(strength), [], []
    for k in range(frames):
        glow.add(rewards_at.get(k, 0))
        if glow.step(dt):
            begun.append(k)
        light.append(glow.value)
    return begun, np.array(light)


def test_a_single_reward_comes_up_and_goes() -> None:
    begun, light = glowing({3: 1}, 120)
    assert begun == [3]
    peak = int(light.argmax())
    assert (peak - 3) * DT == pytest.approx(Glow.IN_S, abs=DT)
    assert light[peak] == pytest.approx(1.0, abs=0.01)
    assert (np.diff(light[: peak + 1]) >= 0).all()
    assert (np.diff(light[peak:]) <= 0).all()
    assert light[-1] == 0.0


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("rate_hz", [60.0, 75.0, 33.0])
def test_forty_rewards_in_four_seconds_are_all_seen(strength: float, rate_hz: float) -> None:
    arrivals = {round(k * 0.1 * rate_hz): 1 for k in range(40)}
    begun, light = glowing(arrivals, int(20 * rate_hz), strength, 1 / rate_hz)
    assert len(begun) == 40
    assert min(np.diff(begun)) >= 0.35 * rate_hz - 1e-6  # fewer than three a second
    for one, two in pairwise(begun):
        between = light[one : two + 1]
        lowest = int(between.argmin())
        if one > begun[0]:
            assert between[0] - between[lowest] >= 0.1 * strength  # sinks from what is left
        assert between[lowest:].max() - between[lowest] >= 0.25 * strength  # and rises again
    assert light[-1] == 0.0


@pytest.mark.parametrize("gap", range(1, 70))
def test_a_second_reward_is_seen_whenever_it_comes(gap: int) -> None:
    """At once where the last one stands at its height; its light rises by a quarter at least."""
    (first, second), light = glowing({0: 1, gap: 1}, 200)
    assert second - first == max(gap, 21)
    assert light[second:].max() == pytest.approx(1.0, abs=0.01)
    lowest = second + int(light[second : second + 10].argmin())
    assert light[lowest] <= 0.71
    assert np.abs(np.diff(light)).max() < DT * np.pi / 2 / 0.3


def test_what_waits_is_forgotten_with_the_screen() -> None:
    glow = Glow()
    glow.add(5)
    assert glow.step(DT)
    glow.clear()
    assert glow.value == 0.0
    assert not any(glow.step(DT) for _ in range(120))
    glow.add(1)
    assert glow.step(DT)
    assert glow.value == 0.0
