"""What may not go on, and what may not begin: pure rules of time and size."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.watch import (
    GOOD_FOR_S,
    Staleness,
    Standstill,
    Suspender,
    Transport,
    implausible,
    stale_after_s,
)

# ---------------------------------------------------------------- holds


def test_a_hold_begins_at_once_and_ends_after_two_good_seconds() -> None:
    s = Suspender("stale")
    assert s.update(0.0, False) is None
    assert s.update(1.0, True, "Why.") is True
    assert (s.on, s.sentence) == (True, "Why.")
    assert s.update(2.0, True, "Worse.") is None
    assert s.sentence == "Worse."
    assert not s.recovering
    assert s.update(3.0, False) is None
    assert s.recovering
    assert s.update(3.0 + GOOD_FOR_S - 0.01, False) is None
    assert s.update(3.0 + GOOD_FOR_S, False) is False
    assert not s.on
    assert not s.recovering


@given(st.lists(st.tuples(st.floats(0.0, 1.5), st.booleans()), max_size=60))
def test_a_hold_never_ends_before_its_time(steps: list[tuple[float, bool]]) -> None:
    s, now, bad_t, on = Suspender("x"), 0.0, -math.inf, False
    for dt, bad in steps:
        now += dt
        bad_t = now if bad else bad_t
        change = s.update(now, bad)
        if change is not None:
            assert change is not on
            on = change
        assert s.on is on
        assert on or not bad
        if change is False:
            assert now - bad_t >= GOOD_FOR_S


# ---------------------------------------------------------------- silence


@pytest.mark.parametrize(
    ("chunk_s", "limit_s"), [(0.0, 0.25), (0.004, 0.25), (0.1, 0.3), (0.4, 0.5), (2.0, 0.5)]
)
def test_staleness_is_three_packets_within_bounds(chunk_s: float, limit_s: float) -> None:
    assert stale_after_s(chunk_s) == pytest.approx(limit_s)


def test_before_anything_is_known_silence_is_stale() -> None:
    s = Staleness()
    assert s.stale(0.0)
    assert s.age_s(5.0) == math.inf
    s.received(10.0)
    assert math.isnan(s.chunk_s)
    assert not s.stale(10.4)  # the packets may be long
    assert s.stale(10.6)


@pytest.mark.parametrize("packet_s", [0.012, 0.032, 0.2, 0.8])
def test_the_length_of_a_packet_whatever_the_parts(packet_s: float) -> None:
    s = Staleness()
    for k in range(20):
        for part in range(3):
            s.received(k * packet_s + 0.001 * part)
    assert s.chunk_s == pytest.approx(packet_s)
    assert not s.stale(19 * packet_s + 0.2)
    assert s.stale(19 * packet_s + 0.51)


def test_single_samples_count_as_packets_too() -> None:
    s = Staleness()
    for k in range(1000):
        s.received(0.004 * k)
    assert 0.01 <= s.chunk_s < 0.02
    assert not s.stale(0.004 * 999 + 0.24)
    assert s.stale(0.004 * 999 + 0.26)


def test_lateness_must_last() -> None:
    t = Transport()
    assert not t.update(0.0, 0.4)
    assert not t.update(1.9, 0.4)
    assert t.update(2.0, 0.4)
    assert not t.update(2.1, 0.2)
    assert not t.update(2.2, 0.4)
    assert not t.update(4.0, None)  # nothing is known, nothing is claimed
    assert not t.update(4.1, 0.4)
    assert t.update(6.2, 0.4)


# ---------------------------------------------------------------- standing still


def test_a_loop_that_turns_does_not_stand_still() -> None:
    s = Standstill()
    assert s.turn(100.0, 5000.0) == 0.0
    assert all(s.turn(100.0 + 0.01 * k, 5000.0 + 0.01 * k) == 0.0 for k in range(100))


def test_a_stall_a_sleep_and_a_clock_set_back() -> None:
    s = Standstill()
    s.turn(100.0, 5000.0)
    assert s.turn(100.4, 5000.4) == 0.0
    assert s.turn(101.2, 5001.2) == pytest.approx(0.8)
    assert s.turn(101.21, 5601.21) == pytest.approx(600.01)  # only the wall clock knows
    assert s.turn(101.22, 1.0) == 0.0
    assert s.turn(101.23, 1.5) == 0.0  # a small correction


# ---------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e6, "a million times too large"),
        (1e3, "a thousand times too large"),
        (1e-3, "a thousand times too small"),
        (1e-6, "a million times too small"),
    ],
)
def test_a_wrong_unit_is_named_by_its_factor(factor: float, words: str) -> None:
    said = implausible([factor * uv for uv in (8.0, 10.0, 12.0, 15.0, 30.0)])
    assert words in said
    assert "e+" not in said
    assert "e-" not in said.split("(median)")[0].removeprefix("The electrodes measure")
    assert said.endswith(".")


def test_a_head_is_believed() -> None:
    assert implausible([5.0, 10.0, 20.0]) == ""
    assert implausible([]) == ""
    assert implausible([math.nan, 10.0]) == ""
    assert implausible([0.0, 0.0, 10.0, 12.0]) == ""  # half of them flat: the lights tell
    assert implausible([9000.0, 0.001, 10.0]) == ""


def test_flat_and_wild_amplifiers_are_told_apart() -> None:
    assert implausible([0.0] * 5).startswith("Every electrode is flat")
    assert "Check the amplifier" in implausible([700.0] * 5)
    assert "unit" not in implausible([700.0] * 5)


@given(st.lists(st.floats(0.5, 500.0), min_size=1, max_size=64))
def test_no_plausible_size_is_refused(rms_uv: list[float]) -> None:
    assert implausible(rms_uv) == ""
