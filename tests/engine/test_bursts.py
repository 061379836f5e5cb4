"""Bursts: constructed envelopes with known bursts, gates through them, and what is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bursts import UNKNOWN, BurstNumbers, Bursts

GRID_HZ = 50.0
LOW_UV, HIGH_UV, THRESHOLD_UV = 2.0, 10.0, 5.0
Gates = float | None  # a value in µV, or None for a gated point


def feed(bursts: Bursts, points: list[Gates]) -> list[BurstNumbers]:
    out = []
    for point in points:
        if point is None:
            bursts.skip()
            out.append(UNKNOWN)
        else:
            out.append(bursts.step(point))
    return out


def low(points: int) -> list[Gates]:
    return [LOW_UV] * points


def high(points: int, uv: float = HIGH_UV) -> list[Gates]:
    return [uv] * points


def train(n: int, points: int = 20, pause: int = 80) -> list[Gates]:
    """Return `n` bursts of `points`, each after a pause."""
    return (low(pause) + high(points)) * n


def known(numbers: BurstNumbers) -> tuple[float, float, float]:
    assert all(math.isfinite(x) for x in numbers)
    return numbers.rate_per_min, numbers.duration_s, numbers.amplitude_uv


# ---------------------------------------------------------------- known bursts


def test_a_regular_train_is_read_exactly() -> None:
    """A burst of 0.4 s every 2 s: 30 per minute."""
    last = feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), train(90) + low(80))[-1]
    assert known(last) == pytest.approx((30.0, 0.4, 10.0), rel=1e-12)


def test_durations_and_amplitudes_are_means_over_bursts() -> None:
    points = low(1000) + high(10, 6.0) + low(50) + high(30, 18.0) + low(910)
    rate, duration_s, amplitude_uv = known(feed(Bursts(THRESHOLD_UV, 40.0, GRID_HZ), points)[-1])
    assert len(points) == 2000
    assert rate == pytest.approx(2 / (40.0 / 60.0))
    assert duration_s == pytest.approx(0.4)
    assert amplitude_uv == pytest.approx(12.0)  # each burst once, not each point


def test_a_burst_is_counted_once_it_is_surely_over() -> None:
    bursts = Bursts(THRESHOLD_UV, 60.0, GRID_HZ)
    numbers = feed(bursts, low(2000) + high(20) + low(20))
    rates = [n.rate_per_min for n in numbers]
    assert rates[1999] == rates[2019] == rates[2023] == 0.0
    assert rates[2024] == pytest.approx(1 / (2025 / GRID_HZ / 60.0))


def test_exactly_at_the_threshold_is_below() -> None:
    points = low(1800) + high(20, THRESHOLD_UV) + low(20)
    assert feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), points)[-1].rate_per_min == 0.0


@pytest.mark.parametrize(("points", "counted"), [(1, 0), (4, 0), (5, 1), (6, 1)])
def test_the_shortest_burst_lasts_100_ms(points: int, counted: int) -> None:
    last = feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), low(2950 - points) + high(points) + low(50))[
        -1
    ]
    assert last.rate_per_min == counted
    assert math.isnan(last.duration_s) == (counted == 0)
    if counted:
        assert last.duration_s == pytest.approx(points / GRID_HZ)


@pytest.mark.parametrize(("dip", "counted"), [(1, 1), (4, 1), (5, 2), (30, 2)])
def test_a_dip_shorter_than_100_ms_does_not_end_a_burst(dip: int, counted: int) -> None:
    tail = high(20) + low(dip) + high(20) + low(50)
    rate, duration_s, amplitude_uv = known(
        feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), low(3000 - len(tail)) + tail)[-1]
    )
    assert rate == counted
    points = (40 + dip) if counted == 1 else 20
    assert duration_s == pytest.approx(points / GRID_HZ)
    uv = (40 * HIGH_UV + dip * LOW_UV) / points if counted == 1 else HIGH_UV
    assert amplitude_uv == pytest.approx(uv)


def test_short_flickers_join_before_they_are_measured() -> None:
    """Three points above, two below, three above: one burst of eight."""
    tail = high(3) + low(2) + high(3) + low(50)
    last = feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), low(2000) + tail)[-1]
    assert last.duration_s == pytest.approx(8 / GRID_HZ)


def test_bursts_leave_the_window_when_their_end_does() -> None:
    numbers = feed(Bursts(THRESHOLD_UV, 20.0, GRID_HZ), low(500) + high(20) + low(1100))
    assert numbers[519 + 999].rate_per_min == pytest.approx(3.0)  # its last point is the oldest
    assert numbers[519 + 1000].rate_per_min == 0.0
    assert math.isnan(numbers[519 + 1000].duration_s)


def test_an_endless_burst_is_not_hidden_by_old_ones() -> None:
    """The time of a burst that lasts goes by: the rate falls to 0, and stays known."""
    numbers = feed(Bursts(THRESHOLD_UV, 20.0, GRID_HZ), train(20) + low(80) + high(1200))
    assert numbers[2079].rate_per_min > 25.0
    assert numbers[-1] == pytest.approx((0.0, math.nan, math.nan), nan_ok=True)


# ---------------------------------------------------------------- what is unknown


def test_before_half_the_window_was_clean_nothing_is_known() -> None:
    numbers = feed(Bursts(THRESHOLD_UV, 20.0, GRID_HZ), low(600))
    assert all(n == UNKNOWN or math.isnan(n.rate_per_min) for n in numbers[:499])
    assert math.isnan(numbers[498].rate_per_min)
    assert numbers[499].rate_per_min == 0.0
    assert math.isnan(numbers[499].duration_s)
    assert math.isnan(numbers[499].amplitude_uv)


def test_with_half_a_window_the_rate_is_per_minute_of_it() -> None:
    points = train(10) + low(80)  # 1080 points, 21.6 s
    rate, _, _ = known(feed(Bursts(THRESHOLD_UV, 40.0, GRID_HZ), points)[-1])
    assert rate == pytest.approx(10 / (21.6 / 60.0))


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_an_unknown_envelope_is_a_gate(unknown: float) -> None:
    one, other = (Bursts(THRESHOLD_UV, 20.0, GRID_HZ) for _ in range(2))
    feed(one, train(12) + low(10) + high(7))
    feed(other, train(12) + low(10) + high(7))
    assert all(math.isnan(x) for x in one.step(unknown))
    other.skip()
    assert feed(one, high(5) + train(3) + low(9)) == feed(other, high(5) + train(3) + low(9))


# ---------------------------------------------------------------- gates


def clean_points(points: list[Gates]) -> int:
    bursts = Bursts(THRESHOLD_UV, 60.0, GRID_HZ)
    feed(bursts, points)
    return bursts.clean


def test_a_burst_cut_by_a_gate_is_neither_counted_nor_its_time() -> None:
    gate: list[Gates] = [None] * 30
    whole = low(1000) + high(20) + low(980)
    for cut in (
        low(1000) + high(12) + gate + low(980),  # its end is in the gate
        low(1000) + gate + high(12) + low(980),  # its beginning
        low(1000) + high(12) + gate + high(15) + low(980),  # its middle
        low(1000) + high(12) + low(3) + gate + low(980),  # the dip after it
        low(1000) + high(12) + low(3) + gate + low(2) + high(3) + low(980),
    ):
        bursts = Bursts(THRESHOLD_UV, 60.0, GRID_HZ)
        last = feed(bursts, cut)[-1]
        assert last.rate_per_min == 0.0
        assert 1980 <= bursts.clean <= 1982
    assert clean_points(whole) == 2000
    assert feed(Bursts(THRESHOLD_UV, 60.0, GRID_HZ), whole)[-1].rate_per_min > 0.0


def test_a_burst_at_the_very_start_is_not_whole() -> None:
    bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
    assert feed(bursts, high(30) + low(900))[-1].rate_per_min == 0.0
    assert bursts.clean == 900
    bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
    assert feed(bursts, low(5) + high(30) + low(900))[-1].rate_per_min > 0.0


def test_a_gate_in_the_quiet_changes_nothing() -> None:
    points = train(20) + low(40)
    gated = train(20) + low(20) + [None] * 50 + low(20)
    numbers = feed(Bursts(THRESHOLD_UV, 30.0, GRID_HZ), points + train(3) + low(10))
    again = feed(Bursts(THRESHOLD_UV, 30.0, GRID_HZ), gated + train(3) + low(10))
    assert again[-1] == numbers[-1]


def test_gates_cost_rate_as_stated_and_leave_the_rest() -> None:
    """A quarter of the time gated at random: the module says 11 % less, and never more."""
    rng = np.random.default_rng(3)
    points = train(600, points=15, pause=85)
    for at in rng.integers(0, len(points), 350):
        points[at : at + 50] = [None] * len(points[at : at + 50])
    bursts = Bursts(THRESHOLD_UV, 600.0, GRID_HZ)
    rate, duration_s, amplitude_uv = known(feed(bursts, points + low(20))[-1])
    assert 0.7 < 1.0 - sum(p is None for p in points) / len(points) < 0.8
    assert rate == pytest.approx(0.89 * 30.0, rel=0.04)
    assert (duration_s, amplitude_uv) == pytest.approx((0.3, 10.0))


def test_a_cut_burst_gives_the_window_its_time_back() -> None:
    """An old burst that had left the window while a later one lasted is within it again."""
    bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
    feed(bursts, low(500) + high(20) + low(900))
    assert bursts.numbers().rate_per_min == pytest.approx(3.0)
    assert feed(bursts, high(200))[-1].rate_per_min == 0.0
    bursts.skip()
    assert bursts.numbers().rate_per_min == pytest.approx(3.0)


def test_a_pause_longer_than_the_window_forgets_everything() -> None:
    for pause, forgotten in ((1000, False), (1001, True)):
        for at_once in (True, False):
            bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
            feed(bursts, train(12) + low(20))
            if at_once:
                bursts.skip(pause)
            else:
                feed(bursts, [None] * pause)
            assert (bursts.clean == 0) == forgotten
            assert math.isnan(bursts.step(LOW_UV).rate_per_min) == forgotten


def test_time_that_does_not_count_does_not_keep_old_numbers_alive() -> None:
    """A gate, and from then on one endless burst: its time is no clean time, nor is it nothing."""
    bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
    feed(bursts, train(12) + low(20) + [None] * 10)
    numbers = feed(bursts, high(1100))
    assert known(numbers[0])[0] > 0.0
    assert numbers[-1] == UNKNOWN or math.isnan(numbers[-1].rate_per_min)
    assert bursts.clean == 0


def test_restart_is_a_new_beginning() -> None:
    bursts = Bursts(THRESHOLD_UV, 20.0, GRID_HZ)
    first = feed(bursts, train(12) + low(20) + high(3))
    bursts.restart()
    again = feed(bursts, train(12) + low(20) + high(3))
    assert str(again) == str(first)


# ---------------------------------------------------------------- against a plain computation


def plain(points: list[Gates], window: int) -> tuple[int, float, float, int]:
    """Return number, mean points and mean µV of the bursts in the last `window` clean points.

    By marking every point first: only for lists that end in quiet and whose clean time is short.
    """
    x = [math.nan if p is None else p for p in points]
    above = [v > THRESHOLD_UV for v in x]
    gate = [math.isnan(v) for v in x]
    joined = list(above)  # with the dips below 5 points
    i = 0
    while i < len(x):
        j = i
        while j < len(x) and not above[j] and not gate[j]:
            j += 1
        if 0 < j - i < 5:  # a short stretch below joins what it lies between, gates too
            left = i == 0 or gate[i - 1] or joined[i - 1]
            right = j < len(x) and above[j]
            if left and right and i > 0 and above[i - 1]:
                joined[i:j] = [True] * (j - i)
        i = j + 1 if j == i else j
    clean, found, i = 0, [], 0
    while i < len(x):
        if gate[i]:
            i += 1
        elif joined[i]:
            j = i
            while j < len(x) and joined[j]:
                j += 1
            before = 0
            while i - before - 1 >= 0 and not gate[i - before - 1] and before < 5:
                before += 1
            after = 0
            while j + after < len(x) and not gate[j + after] and after < 5:
                after += 1
            if after < 5:
                j += after  # cut, with the dip
            elif before >= 5:  # else it touches what was before
                if j - i >= 5:
                    found.append((clean + j - i, j - i, float(np.mean(x[i:j]))))
                clean += j - i
            i = j
        else:
            clean += 1
            i += 1
    inside = [f for f in found if f[0] > clean - window]
    n = len(inside)
    mean = (sum(f[1] for f in inside) / n, sum(f[2] for f in inside) / n) if n else (math.nan,) * 2
    return n, mean[0], mean[1], clean


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("lhg"), st.integers(1, 30)), min_size=1, max_size=60))
def test_any_envelope_agrees_with_a_plain_computation(stretches: list[tuple[str, int]]) -> None:
    points: list[Gates] = []
    for kind, n in stretches:
        points += {"l": low(n), "h": high(n, HIGH_UV + n), "g": [None] * n}[kind]
    points += low(60)
    bursts = Bursts(THRESHOLD_UV, 40.0, GRID_HZ)
    numbers = feed(bursts, points)[-1]
    n, mean_points, mean_uv, clean = plain(points, 2000)
    assert bursts.clean == clean
    if clean < 1000:
        assert all(math.isnan(x) for x in numbers)
        return
    assert numbers.rate_per_min == pytest.approx(n / (min(clean, 2000) / GRID_HZ / 60.0))
    assert numbers.duration_s == pytest.approx(mean_points / GRID_HZ, nan_ok=True)
    assert numbers.amplitude_uv == pytest.approx(mean_uv, nan_ok=True)


def test_mistakes_are_refused() -> None:
    for threshold_uv in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="threshold above 0"):
            Bursts(threshold_uv, 60.0, GRID_HZ)
    with pytest.raises(ValueError, match="does not hold"):
        Bursts(5.0, 0.1, GRID_HZ)
