"""Numbering samples: gaps, clocks, counters, rates."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import StreamError
from engine.frames import Channel, Chunk, Event, Gap, StreamSpec
from engine.number import Numberer, Received

LATENCY_S = 0.02


def spec_of(
    rate_hz: float = 250.0, *, counter: bool = False, to_uv: float = 1.0, dtype: str = "float64"
) -> StreamSpec:
    channels = [
        Channel("Cz", "eeg", "uV", to_uv, "CZ"),
        Channel("Pz", "eeg", "uV", to_uv, "PZ"),
    ]
    if counter:
        channels.append(Channel("CNT", "counter", "", 1.0, "CNT"))
    return StreamSpec("amp", "EEG", "id", "uid", "host", rate_hz, tuple(channels), dtype)


def signal(n: int, *, counts: np.ndarray | None = None) -> np.ndarray:
    columns = [np.arange(n, dtype=float), -np.arange(n, dtype=float)]
    if counts is not None:
        columns.append(counts)
    return np.stack(columns, axis=1)


def pulls(
    samples: np.ndarray, stamps: np.ndarray, cuts: Sequence[int], taken: np.ndarray | None = None
) -> list[Received]:
    """Slice a recording; a slice is in hand shortly after its last sample was taken."""
    taken = stamps if taken is None else taken
    edges = [0, *sorted({c for c in cuts if 0 < c < len(stamps)}), len(stamps)]
    return [
        Received(samples[a:b], stamps[a:b], float(taken[b - 1]) + LATENCY_S)
        for a, b in pairwise(edges)
    ]


def run(numberer: Numberer, received: Sequence[Received]) -> list[Chunk | Gap | Event]:
    return [item for r in received for item in numberer.step(r)]


def every(n: int, step: int = 10) -> range:
    return range(0, n, step)


def numbered(items: Sequence[Chunk | Gap | Event]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chunks = [i for i in items if isinstance(i, Chunk)]
    seq = np.concatenate([np.arange(c.seq, c.seq + len(c.t)) for c in chunks])
    return seq, np.concatenate([c.uv for c in chunks]), np.concatenate([c.t for c in chunks])


def gaps(items: Sequence[Chunk | Gap | Event]) -> list[Gap]:
    return [i for i in items if isinstance(i, Gap)]


def events(items: Sequence[Chunk | Gap | Event], kind: str = "") -> list[Event]:
    return [i for i in items if isinstance(i, Event) and kind in ("", i.kind)]


def grid(n: int, rate_hz: float = 250.0, start_s: float = 100.0) -> np.ndarray:
    return start_s + np.arange(n) / rate_hz


# ---------------------------------------------------------------- plain numbering


def test_unbroken_stream_has_no_gap_and_no_event() -> None:
    n = 2000
    items = run(Numberer(spec_of()), pulls(signal(n), grid(n), every(n)))
    assert not gaps(items)
    assert not events(items)
    seq, uv, t = numbered(items)
    np.testing.assert_array_equal(seq, np.arange(n))
    np.testing.assert_array_equal(uv, signal(n))
    np.testing.assert_array_equal(t, grid(n))


def test_published_arrays_are_read_only_and_input_is_untouched() -> None:
    samples, stamps = signal(20), grid(20)
    before = samples.copy(), stamps.copy()
    (chunk,) = Numberer(spec_of(to_uv=1e6)).step(Received(samples, stamps, 101.0))
    assert isinstance(chunk, Chunk)
    assert not chunk.uv.flags.writeable
    assert not chunk.t.flags.writeable
    np.testing.assert_array_equal(samples, before[0])
    np.testing.assert_array_equal(stamps, before[1])
    np.testing.assert_array_equal(chunk.uv, samples * 1e6)


def test_nothing_in_nothing_out() -> None:
    numberer = Numberer(spec_of())
    assert numberer.step(Received(np.empty((0, 2)), np.empty(0), 1.0)) == []
    assert numberer.seq == 0


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_volts_become_microvolts_and_counters_stay(dtype: str) -> None:
    spec = spec_of(counter=True, to_uv=1e3, dtype=dtype)
    samples = np.array([[1, -2, 3]], dtype=dtype)
    (chunk,) = Numberer(spec).step(Received(samples, np.array([5.0]), 5.0))
    assert isinstance(chunk, Chunk)
    assert chunk.uv.dtype == np.float64
    np.testing.assert_array_equal(chunk.uv, [[1000.0, -2000.0, 3.0]])


def test_values_that_are_no_numbers_pass_without_a_warning() -> None:
    samples = np.array([[1e300, math.inf], [math.nan, -1e308]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (chunk,) = Numberer(spec_of(to_uv=1e6)).step(Received(samples, grid(2), 101.0))
    assert isinstance(chunk, Chunk)
    assert chunk.uv[0, 0] == 1e306
    assert chunk.uv[0, 1] == math.inf
    assert math.isnan(chunk.uv[1, 0])
    assert chunk.uv[1, 1] == -math.inf


# ---------------------------------------------------------------- invariance and totals


@st.composite
def broken_streams(draw: st.DrawFn) -> tuple[float, np.ndarray, list[tuple[int, int]]]:
    """Return a rate, which samples arrive, and the gaps as (seq, missing)."""
    rate_hz = draw(st.sampled_from([128.0, 250.0, 500.0, 512.0]))
    keep = np.ones(draw(st.integers(400, 1500)), dtype=bool)
    lost: list[tuple[int, int]] = []
    at = 60
    for _ in range(draw(st.integers(0, 4))):
        at += draw(st.integers(30, 300))
        missing = draw(st.integers(math.ceil(0.11 * rate_hz), int(2 * rate_hz)))
        if at + missing + 30 >= len(keep):
            break
        keep[at : at + missing] = False
        lost.append((at, missing))
        at += missing
    return rate_hz, keep, lost


@settings(max_examples=60, deadline=None)
@given(broken_streams(), st.lists(st.integers(1, 1500), max_size=60), st.booleans())
def test_any_slicing_gives_the_same_numbers_and_the_gaps_that_were_made(
    stream: tuple[float, np.ndarray, list[tuple[int, int]]], cuts: list[int], counted: bool
) -> None:
    rate_hz, keep, lost = stream
    stamps = grid(len(keep), rate_hz)[keep]
    counts = np.arange(len(keep), dtype=float)[keep] if counted else None
    samples = signal(len(stamps), counts=counts)
    spec = spec_of(rate_hz, counter=counted)
    whole = run(Numberer(spec), pulls(samples, stamps, every(len(stamps), 8)))
    sliced = run(Numberer(spec), pulls(samples, stamps, cuts))
    for items in (whole, sliced):
        assert [(g.seq, g.missing) for g in gaps(items)] == lost
        seq, uv, t = numbered(items)
        np.testing.assert_array_equal(seq, np.flatnonzero(keep))
        np.testing.assert_array_equal(uv, samples)
        np.testing.assert_array_equal(t, stamps)


@settings(max_examples=40, deadline=None)
@given(
    size=st.sampled_from([2**8, 2**16]),
    start=st.integers(0, 2**16),
    lost=st.lists(st.tuples(st.integers(20, 900), st.integers(1, 60)), max_size=5),
    cuts=st.lists(st.integers(1, 1200), max_size=30),
)
def test_a_counter_finds_every_lost_sample_through_its_wrap_around(
    size: int, start: int, lost: list[tuple[int, int]], cuts: list[int]
) -> None:
    keep = np.ones(1200, dtype=bool)
    for at, missing in lost:
        keep[at : at + missing] = False
    stamps = grid(len(keep))[keep]
    counts = ((np.arange(len(keep)) + start) % size).astype(float)[keep]
    received = pulls(signal(len(stamps), counts=counts), stamps, [*cuts, *every(1200, 25)])
    items = run(Numberer(spec_of(counter=True), "cnt"), received)
    np.testing.assert_array_equal(numbered(items)[0], np.flatnonzero(keep))
    assert sum(g.missing for g in gaps(items)) == np.count_nonzero(~keep)
    assert {g.cause for g in gaps(items)} <= {"counter"}
    assert not events(items)


# ---------------------------------------------------------------- what is no gap


def test_jitter_of_the_sender_is_no_gap() -> None:
    rng = np.random.default_rng(1)
    n = 25_000
    late = np.repeat(rng.uniform(0, 0.08, n // 10), 10)  # every push of ten, up to 80 ms late
    stamps = grid(n) + late
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n)))
    assert not gaps(items)
    assert np.any(np.diff(stamps) < 0)
    assert len(events(items, "stamps")) == 1  # the disorder is said, once
    assert not events(items, "clock")


@pytest.mark.parametrize("pause_s", [0.3, 5.0])
def test_a_pause_whose_backlog_comes_complete_is_no_gap(pause_s: float) -> None:
    n = 3000
    stamps = grid(n)
    taken = stamps.copy()
    held = slice(1000, 1000 + int(250 * pause_s))
    taken[held] = stamps[held.stop]  # all of these come at once
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n), taken))
    assert not gaps(items)
    assert not events(items)


@pytest.mark.parametrize("jump_s", [200_000.0, 1.7e9, 3.0, 0.4])
def test_a_clock_set_forward_is_an_event_and_no_gap(jump_s: float) -> None:
    n = 3000
    true = grid(n)
    stamps = np.where(np.arange(n) < 1500, true, true + jump_s)
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n), true))
    assert not gaps(items)
    (event,) = events(items)
    assert event.kind == "clock"
    assert event.data["jump_s"] == pytest.approx(jump_s)
    assert event.data["since_seq"] == 1500
    np.testing.assert_array_equal(numbered(items)[0], np.arange(n))


@pytest.mark.parametrize("jump_s", [-200_000.0, -2.0, -0.3])
def test_a_clock_set_back_is_an_event_and_no_gap(jump_s: float) -> None:
    n = 3000
    true = grid(n)
    stamps = np.where(np.arange(n) < 1500, true, true + jump_s)
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n), true))
    assert not gaps(items)
    assert [e.kind for e in events(items)] == ["stamps", "clock"]
    assert events(items, "clock")[0].data["jump_s"] == pytest.approx(jump_s)


def test_a_gap_is_still_found_after_the_clock_was_set() -> None:
    n = 4000
    keep = np.ones(n, dtype=bool)
    keep[3000:3100] = False
    true = grid(n)
    stamps = np.where(np.arange(n) < 1500, true, true - 3600.0)[keep]
    received = pulls(signal(len(stamps)), stamps, every(n), true[keep])
    items = run(Numberer(spec_of()), received)
    assert [(g.seq, g.missing) for g in gaps(items)] == [(3000, 100)]


@pytest.mark.parametrize("wild", [math.nan, math.inf, 0.0, -1.0, 1e12])
def test_single_wild_stamps_change_nothing_and_are_said_once(wild: float) -> None:
    n = 2000
    stamps = grid(n)
    stamps[[500, 520, 900]] = wild
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n), grid(n)))
    assert not gaps(items)
    assert [e.kind for e in events(items)] == ["stamps"]
    np.testing.assert_array_equal(numbered(items)[0], np.arange(n))
    np.testing.assert_array_equal(numbered(items)[2], stamps)  # raw stamps are kept


def test_repeated_stamps_are_said_once_per_episode() -> None:
    n = 10_000
    stamps = grid(n)
    stamps[1001] = stamps[1000]
    stamps[1101] = stamps[1100]
    stamps[8001] = stamps[8000]
    items = run(Numberer(spec_of()), pulls(signal(n), stamps, every(n)))
    assert [e.seq for e in events(items, "stamps")] == [1001, 8001]
    assert not gaps(items)


def test_a_stamp_that_is_no_number_first_of_all() -> None:
    stamps = grid(500)
    stamps[:3] = math.nan
    items = run(Numberer(spec_of()), pulls(signal(500), stamps, every(500), grid(500)))
    assert not gaps(items)
    np.testing.assert_array_equal(numbered(items)[0], np.arange(500))


# ---------------------------------------------------------------- counters


def counted(
    counts: np.ndarray, stamps: np.ndarray | None = None, **spec: float
) -> list[Chunk | Gap | Event]:
    stamps = grid(len(counts)) if stamps is None else stamps
    received = pulls(signal(len(counts), counts=counts), stamps, every(len(counts)))
    return run(Numberer(spec_of(counter=True, **spec)), received)


@pytest.mark.parametrize(
    ("first", "size", "low", "said"),
    [
        (250, 256, 0, 0),
        (65_500, 65_536, 0, 0),
        (2**32 - 40, 2**32, 0, 0),
        (2**31 - 40, 2**32, -(2**31), 0),  # an int32 that overflows
        (17, 129, 0, 1),  # unusual sizes exist: 0 to 128
        (180, 200, 1, 1),  # 1 to 200
    ],
)
def test_counters_of_any_size_wrap_without_a_gap(
    first: int, size: int, low: int, said: int
) -> None:
    counts = (np.arange(1500) + first - low) % size + low
    items = counted(counts.astype(float))
    assert not gaps(items)
    assert [e.kind for e in events(items)] == ["counter"] * said


def test_a_counter_sees_one_lost_sample_that_stamps_cannot() -> None:
    counts = np.delete(np.arange(500.0), [200, 300, 301])
    stamps = np.delete(grid(500), [200, 300, 301])
    items = counted(counts, stamps)
    assert [(g.seq, g.missing, g.cause) for g in gaps(items)] == [
        (200, 1, "counter"),
        (300, 2, "counter"),
    ]


def test_a_counter_overrules_late_stamps() -> None:
    n = 2000
    late = np.where((np.arange(n) >= 1000) & (np.arange(n) < 1010), 0.16, 0.0)
    items = counted(np.arange(float(n)), grid(n) + late)
    assert not gaps(items)
    late_alone = run(Numberer(spec_of()), pulls(signal(n), grid(n) + late, every(n)))
    assert [g.missing for g in gaps(late_alone)] == [40]  # without a counter nobody can know


def test_whole_turns_of_a_small_counter_are_counted_with_the_help_of_the_stamps() -> None:
    keep = np.ones(3000, dtype=bool)
    keep[1000 : 1000 + 2 * 256 + 7] = False
    keep[2000 : 2000 + 256] = False
    items = counted((np.arange(3000.0) % 256)[keep], grid(3000)[keep])
    assert [g.missing for g in gaps(items)] == [519, 256]


def test_a_counter_that_starts_anew_is_said_and_makes_no_gap() -> None:
    counts = np.concatenate([np.arange(5000, 5500), np.arange(1000)]).astype(float)
    items = counted(counts)
    assert not gaps(items)
    assert [e.kind for e in events(items)] == ["counter"]
    assert events(items)[0].seq == 500


@pytest.mark.parametrize("stride", [0, 2, 8])
def test_a_column_that_does_not_count_samples_is_not_believed(stride: int) -> None:
    keep = np.ones(1000, dtype=bool)
    keep[400:450] = False
    items = counted(np.arange(1000.0)[keep] * stride, grid(1000)[keep])
    assert [(g.seq, g.missing, g.cause) for g in gaps(items)] == [(400, 50, "stamps")]


def test_counter_values_that_are_no_numbers_leave_it_to_the_stamps() -> None:
    counts = np.arange(1000.0)
    counts[300] = math.nan
    counts[400] = 400.5
    items = counted(counts)
    assert not gaps(items)
    assert [e.kind for e in events(items)] == ["counter"]


def test_counter_column_is_named_as_the_amplifier_writes_it_or_refused() -> None:
    Numberer(spec_of(counter=True), " CNT ")
    with pytest.raises(StreamError, match="no column 'packet'"):
        Numberer(spec_of(counter=True), "packet")


# ---------------------------------------------------------------- after a new connection


@pytest.mark.parametrize("away_s", [0.04, 3.0, 60.0])
def test_after_reopening_the_stamps_tell_what_is_missing(away_s: float) -> None:
    missing = round(away_s * 250)
    stamps = np.concatenate([grid(500), grid(500, start_s=100 + (500 + missing) / 250)])
    numberer = Numberer(spec_of())
    items = run(numberer, pulls(signal(500), stamps[:500], every(500)))
    numberer.reopened()
    items += run(numberer, pulls(signal(500), stamps[500:], every(500)))
    assert gaps(items) == [Gap(500, missing, "reconnect")]
    assert not events(items)


def test_after_reopening_a_source_with_another_clock_the_reception_tells_it() -> None:
    numberer = Numberer(spec_of())
    run(numberer, pulls(signal(500), grid(500), every(500)))
    numberer.reopened()
    away = pulls(signal(1000), grid(1000, start_s=7.0), every(1000), grid(1000, start_s=112.0))
    items = run(numberer, away)
    (gap,) = gaps(items)
    assert gap.missing == pytest.approx(10.0 * 250, abs=12)
    assert [e.kind for e in events(items)] == ["clock", "stamps"]
    assert numbered(items)[0][0] == 500 + gap.missing


def test_after_reopening_a_counter_that_went_on_is_exact() -> None:
    counts = np.arange(2000.0)
    numberer = Numberer(spec_of(counter=True))
    run(numberer, pulls(signal(500, counts=counts[:500]), grid(500), every(500)))
    numberer.reopened()
    later = grid(500, start_s=100 + 1003 / 250) + 0.01
    items = run(numberer, pulls(signal(500, counts=counts[1003:1503]), later, every(500)))
    assert [g.missing for g in gaps(items)] == [503]


# ---------------------------------------------------------------- rate


@pytest.mark.parametrize(
    ("true_hz", "verdict"), [(250.0, "ok"), (250.5, "ok"), (252.0, "warn"), (244.0, "error")]
)
def test_the_rate_is_measured_and_judged(true_hz: float, verdict: str) -> None:
    n = int(true_hz * 40)
    rng = np.random.default_rng(2)
    stamps = grid(n, true_hz) + rng.normal(0, 0.002, n)
    numberer = Numberer(spec_of())
    early = run(numberer, pulls(signal(1000), stamps[:1000], every(1000)))
    assert numberer.measured_rate_hz is None
    items = early + run(numberer, pulls(signal(n - 1000), stamps[1000:], every(n)))
    assert numberer.measured_rate_hz == pytest.approx(true_hz, rel=1e-3)
    assert numberer.rate_verdict == verdict
    assert [e.data["verdict"] for e in events(items, "rate")][-1:] == (
        [] if verdict == "ok" else [verdict]
    )
    assert not gaps(items)


def test_gaps_and_clock_jumps_do_not_spoil_the_measured_rate() -> None:
    n = 250 * 70
    keep = np.ones(n, dtype=bool)
    keep[4000:4500] = False
    true = grid(n)
    stamps = np.where(np.arange(n) < 6000, true, true + 1e6)[keep]
    numberer = Numberer(spec_of())
    run(numberer, pulls(signal(len(stamps)), stamps, every(n), true[keep]))
    assert numberer.measured_rate_hz == pytest.approx(250.0, rel=1e-4)
