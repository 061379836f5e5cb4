"""When the session must hold: pure rules over numbers that stand for time."""

from __future__ import annotations

import math

import pytest

from engine.watch import (
    GOOD_FOR_S,
    TRANSPORT_FOR_S,
    Staleness,
    Suspender,
    Transport,
    stale_after_s,
)


def test_a_hold_begins_at_once_and_ends_after_two_good_seconds() -> None:
    cause = Suspender("stale")
    assert cause.update(0.0, bad=False) is None
    assert cause.update(1.0, bad=True, sentence="no samples") is True
    assert cause.update(1.1, bad=True) is None
    assert cause.sentence == "no samples"
    assert cause.update(2.0, bad=False) is None
    assert cause.update(2.0 + GOOD_FOR_S - 0.01, bad=False) is None
    assert cause.on
    assert cause.update(2.0 + GOOD_FOR_S, bad=False) is False
    assert not cause.on
    assert cause.update(9.0, bad=False) is None


def test_good_time_must_be_uninterrupted() -> None:
    cause = Suspender("window")
    cause.update(0.0, bad=True)
    cause.update(1.0, bad=False)
    cause.update(2.5, bad=True)
    assert cause.update(3.1, bad=False) is None
    assert cause.update(4.0, bad=False) is None
    assert cause.update(5.0, bad=False) is None
    assert cause.update(5.2, bad=False) is False


def test_a_hold_can_begin_again() -> None:
    cause = Suspender("stale", good_for_s=0.0)
    assert [cause.update(t, bad) for t, bad in ((0, True), (1, False), (2, True))] == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("chunk_s", "limit_s"), [(0.004, 0.25), (0.08, 0.25), (0.1, 0.3), (0.15, 0.45), (1.0, 0.5)]
)
def test_stale_is_three_chunks_within_limits(chunk_s: float, limit_s: float) -> None:
    assert stale_after_s(chunk_s) == pytest.approx(limit_s)


def test_staleness_from_arrivals() -> None:
    watch = Staleness()
    assert watch.stale(0.0)  # nothing ever came
    assert watch.age_s(5.0) == math.inf
    assert math.isnan(watch.chunk_s)
    watch.received(0.0)
    assert not watch.stale(0.2)
    assert watch.stale(0.51)
    for k in range(1, 40):
        watch.received(0.1 * k)
    assert watch.chunk_s == pytest.approx(0.1)
    assert not watch.stale(3.9 + 0.29)
    assert watch.stale(3.9 + 0.31)
    assert watch.age_s(4.0) == pytest.approx(0.1)


def test_one_outage_does_not_change_what_a_typical_chunk_is() -> None:
    watch = Staleness()
    for k in range(40):
        watch.received(0.1 * k)
    watch.received(30.0)
    assert watch.chunk_s == pytest.approx(0.1)


def test_late_samples_hold_only_when_late_for_long() -> None:
    watch = Transport()
    assert not watch.update(0.0, 0.5)
    assert not watch.update(TRANSPORT_FOR_S - 0.1, 0.5)
    assert watch.update(TRANSPORT_FOR_S, 0.5)
    assert not watch.update(TRANSPORT_FOR_S + 0.1, 0.1)
    assert not watch.update(TRANSPORT_FOR_S + 0.2, 0.5)


def test_an_unknown_age_is_no_late_age() -> None:
    watch = Transport()
    assert not watch.update(0.0, None)
    assert not watch.update(10.0, None)
    assert not watch.update(10.1, 0.4)
