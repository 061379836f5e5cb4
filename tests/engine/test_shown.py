"""What reached the person, from a recording: every figure as it is computed by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.columns import PRESENTED_COLUMNS, SHOWN
from engine.features import FEATURES
from engine.frames import Channel, Event, Presented, StreamSpec
from engine.measures import ADULT_PA2H, CHILD_PA2H, Sound
from engine.record import Recorder
from engine.recording import Recording, Table, read
from engine.shown import (
    back_end,
    counted_misses,
    delay_limit_ms,
    first_flips,
    missed_between,
    period_s,
    shown,
    sound_of,
)
from protocols.load import load

SPEC = StreamSpec("amp", "EEG", "amp", "u", "", 250.0, (Channel("Cz", "eeg", "uV", 1.0, "Cz"),))
T0 = 54_321.125
FRAME_S = 1.0 / 60.0


def frame_of(k: int, t_flip: float, **more: object) -> Presented:
    """Return frame `k`, whose value is two frames old at most."""
    seq = 5 * (k // 2)
    t = T0 + 0.033 * (k // 2) + 0.0001234567 * (k % 7)
    given: dict[str, object] = {
        "seq": seq, "t": t, "sent": t + 0.002, "t_flip": t_flip, "level": 0.25 + 1e-4 * k,
        "reward": k % 50 == 49, "guard": 0, "frame": k + 1, "screen": "feedback",
        "heard": None, "patch": False,
    }  # fmt: skip
    return Presented(**(given | more))  # type: ignore[arg-type]


def a_minute() -> list[Presented]:
    """Return frames with everything in them that can be counted."""
    rng = np.random.default_rng(3)
    rows, t = [], T0 + 0.02
    for k in range(600):
        t += FRAME_S + 0.0004 * rng.random()
        if k == 100:
            t += 3 * FRAME_S  # three flips that did not happen
        more: dict[str, object] = {}
        if 200 <= k < 260:
            more = {"level": None}
        if 300 <= k < 330:
            more = {"level": None, "screen": "rest", "t": math.nan}
        if 400 <= k < 404 or k == 420:
            more = {"guard": 3 if k == 402 else 1}
        if k >= 500:
            more = {"heard": 0.5, "patch": True}
        rows.append(frame_of(k, t, **more))
    return rows


def written(path: Path, rows: Sequence[Presented], offset_s: float = 0.0) -> Recording:
    """Write the frames as a session does, and read them back."""
    with Recorder(
        path, {}, SPEC, features={"smr": "uV2"}, metrics=("p2p",), rules=("smr",), now=lambda: T0
    ) as recorder:
        recorder.raw(np.zeros((8, 1), np.float32), T0 - offset_s + np.arange(8) / 250.0)
        for row in rows:
            recorder.presented(row)
    return read(path)


@pytest.fixture(scope="module")
def rows() -> list[Presented]:
    return a_minute()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory, rows: list[Presented]) -> Recording:
    return written(tmp_path_factory.mktemp("shown") / "a.xdf", rows)


def test_what_is_read_is_what_was_written_to_the_last_bit(
    recording: Recording, rows: list[Presented]
) -> None:
    table = recording.presented
    assert table.columns == PRESENTED_COLUMNS
    for name in ("seq", "t", "sent", "t_flip", "guard", "frame"):
        wanted = np.array([getattr(r, name) for r in rows], np.float64)
        np.testing.assert_array_equal(table.column(name), wanted)
    for name in ("level", "heard"):
        values = [getattr(r, name) for r in rows]
        wanted = np.array([math.nan if v is None else v for v in values])
        np.testing.assert_array_equal(table.column(name), wanted)
    assert table.column("screen").tolist() == [SHOWN.index(r.screen) for r in rows]
    assert table.column("reward").tolist() == [r.reward for r in rows]
    assert table.column("patch").tolist() == [r.patch for r in rows]


def test_the_figures_are_those_computed_by_hand(
    recording: Recording, rows: list[Presented]
) -> None:
    told = shown(recording)
    firsts: dict[int, float] = {}
    for r in rows:
        if math.isfinite(r.t):
            firsts.setdefault(r.seq, 1000.0 * (r.t_flip - r.t))
    ages = [1000.0 * (r.t_flip - r.t) for r in rows if math.isfinite(r.t)]
    live = [1000.0 * (r.t_flip - r.t) for r in rows if r.level is not None]
    for delay, values in (
        (told.transport, list(firsts.values())),
        (told.age, ages),
        (told.live_age, live),
    ):
        ranked = sorted(values)
        assert delay.n == len(ranked)
        for q, got in ((0.50, delay.p50_ms), (0.95, delay.p95_ms), (0.99, delay.p99_ms)):
            at = q * (len(ranked) - 1)
            low, part = int(at), at % 1
            by_hand = ranked[low] + part * (ranked[min(low + 1, len(ranked) - 1)] - ranked[low])
            assert got == pytest.approx(by_hand, rel=1e-13)
        assert delay.max_ms == ranked[-1]
        assert delay.why == ""
    assert (told.rows, told.frames, told.values) == (600, 600, 300)
    assert told.rewards == 12
    assert told.guard == {"flash": (2, 5), "slope": (1, 1), "red": (0, 0), "loudness": (0, 0)}


def test_time_and_missed_flips_follow_from_the_frames(
    recording: Recording, rows: list[Presented]
) -> None:
    told = shown(recording)
    waits = [b.t_flip - a.t_flip for a, b in itertools.pairwise(rows)]
    assert told.seconds == pytest.approx(rows[-1].t_flip - rows[0].t_flip, rel=1e-12)
    assert told.fps == pytest.approx(599 / sum(waits), rel=1e-12)
    assert told.period_ms == 1000.0 * float(np.median(waits))
    assert (told.missed, told.unreported) == (3, 0)
    assert told.missed_share == pytest.approx(3 / 603)
    period = float(np.median(waits))
    lasts = [*waits, period]
    by_hand = {
        "level_s": sum(w for w, r in zip(lasts, rows, strict=True) if r.level is not None),
        "neutral_s": sum(lasts[200:260]),
        "heard_s": sum(lasts[500:]),
    }
    for name, seconds in by_hand.items():
        assert getattr(told, name) == pytest.approx(seconds, rel=1e-12), name


def test_missed_flips_are_told_by_block(recording: Recording) -> None:
    assert missed_between(recording, [(0, 200), (205, 400), (250, 251)]) == [0, 3, 3]


def test_frames_that_were_not_reported_are_not_missed(tmp_path: Path) -> None:
    kept = [frame_of(k, T0 + k * FRAME_S) for k in range(120) if not 40 <= k < 45]
    told = shown(written(tmp_path / "a.xdf", kept))
    assert (told.missed, told.unreported, told.frames) == (0, 5, 120)
    assert told.fps == pytest.approx(60.0)


def test_a_window_that_was_opened_again_missed_nothing_meanwhile(tmp_path: Path) -> None:
    first = [frame_of(k, T0 + k * FRAME_S) for k in range(60)]
    then = [frame_of(k, T0 + 9.0 + k * FRAME_S, frame=k + 1) for k in range(60)]
    told = shown(written(tmp_path / "a.xdf", [*first, *then]))
    assert (told.missed, told.frames) == (0, 120)
    assert told.seconds == pytest.approx(2 * 59 * FRAME_S)
    assert told.level_s == pytest.approx(2.0)


def test_recordings_with_one_row_per_value_tell_what_they_can(recording: Recording) -> None:
    rows = first_flips(recording.presented)
    old = Table(PRESENTED_COLUMNS[:7], recording.presented.values[rows][:, :7])
    told, new = shown(replace(recording, presented=old)), shown(recording)
    assert told.transport == new.transport
    unknown = (told.frames, told.unreported, told.seconds, told.fps, told.missed, told.level_s)
    assert set(unknown) == {None}
    assert told.missed_share is None
    assert told.values == told.rows == told.transport.n
    assert missed_between(replace(recording, presented=old), [(0, 100)]) == [None]


def paced(
    recording: Recording, waits_s: Sequence[float], window: dict[str, object] | None
) -> Recording:
    """Return the recording with a frame after each wait, and what the window said of itself."""
    flips = T0 + np.concatenate([[0.0], np.cumsum(waits_s)])
    values = np.tile(recording.presented.values[0], (len(flips), 1))
    columns = recording.presented.columns
    values[:, columns.index("t_flip")] = flips
    values[:, columns.index("frame")] = np.arange(1.0, len(flips) + 1)
    events = () if window is None else (Event(T0 + 0.3, 0, "window", window),)
    return replace(recording, presented=Table(columns, values), events=events)


UNPACED: dict[str, object] = {"refresh_hz": 60.0, "vsync": False}


@pytest.mark.parametrize(
    ("waits_ms", "missed"),
    [
        ([1000 / 30] * 300, 300),  # half of all, steadily
        ([16.7, 33.3] * 150, 150),
        ([16.7, 33.3, 33.3] * 100, 200),
        ([11.7, 13.0, 16.7, 15.2] * 75, 0),  # new values are shown early
        ([1000 / 60] * 300, 0),
        ([16.7, 16.7, 50.0] * 100, 200),
    ],
)
def test_missed_flips_are_told_by_the_period_that_should_have_been(
    recording: Recording, waits_ms: list[float], missed: int
) -> None:
    told = shown(paced(recording, [w / 1000 for w in waits_ms], UNPACED))
    assert (told.missed, told.period_told) == (missed, True)
    assert told.period_ms == pytest.approx(1000 / 60)
    assert told.missed_share == pytest.approx(missed / (301 + missed))


def test_without_the_windows_word_the_median_wait_must_do(recording: Recording) -> None:
    told = shown(paced(recording, [1 / 30] * 300, None))
    assert (told.missed, told.period_told) == (0, False)
    assert told.period_ms == pytest.approx(1000 / 30)
    assert told.fps == pytest.approx(30.0)


def test_each_window_is_judged_by_its_own_screen(recording: Recording) -> None:
    one = paced(recording, [1 / 60] * 60, {"refresh_hz": 60.0, "vsync": True})
    two = paced(recording, [1 / 50] * 60, None).presented.values.copy()
    two[:, one.presented.columns.index("t_flip")] += 20.0
    both = Table(one.presented.columns, np.concatenate([one.presented.values, two]))
    again = Event(T0 + 20.4, 0, "window", {"refresh_hz": 50.0, "vsync": True})
    told = shown(replace(one, presented=both, events=(*one.events, again)))
    assert (told.missed, told.frames, told.period_told) == (0, 122, True)


@pytest.mark.parametrize(
    ("refresh_hz", "vsync", "hz"),
    [
        (60.0, True, 60.0),
        (59.94, True, 59.94),
        (50.0, True, 50.0),
        (75.0, True, 75.0),
        (119.88, True, 59.94),
        (144.0, True, 72.0),
        (240.0, True, 60.0),
        (144.0, False, 60.0),
        (None, False, 60.0),
        (None, True, None),
        (0.0, True, None),
        (60.0, None, None),
    ],
)
def test_how_long_a_frame_should_last(
    refresh_hz: float | None, vsync: bool | None, hz: float | None
) -> None:
    period = period_s({"refresh_hz": refresh_hz, "vsync": vsync})
    assert (period is None) if hz is None else period == pytest.approx(1 / hz)


def test_the_larger_count_of_missed_flips_stands(recording: Recording) -> None:
    frames = paced(recording, [1 / 60] * 299 + [3 / 60], UNPACED)
    end = Event(T0 + 9.0, 0, "window_end", {"missed": 7})
    told = shown(replace(frames, events=(*frames.events, end)))
    assert (told.missed, told.counted, told.most_missed) == (2, 7, 7)
    assert told.missed_share == pytest.approx(7 / 308)
    assert shown(frames).most_missed == 2


def test_a_frame_that_was_shown_again_is_no_new_value(tmp_path: Path) -> None:
    def row(k: int, seq: int, share: float) -> Presented:
        t = T0 + 0.02 * seq / 5
        return frame_of(k, T0 + 0.04 + k / 60, seq=seq, t=t, sent=t, share=share)

    # Value 5 comes while the guard still shows value 0; value 10 never reaches the screen.
    rows = [row(0, 0, 1.0), row(1, 5, 0.0), row(2, 5, 0.4), row(3, 5, 1.0), row(4, 10, 0.0)]
    recording = written(tmp_path / "a.xdf", rows)
    told = shown(recording)
    assert first_flips(recording.presented).tolist() == [0, 2]
    assert (told.values, told.transport.n, told.age.n) == (2, 2, 5)
    assert told.transport.max_ms == pytest.approx(1000 * (0.04 + 2 / 60 - 0.02))
    assert told.age.max_ms == pytest.approx(1000 * (0.04 + 4 / 60 - 0.02))  # of value 5, again
    assert told.level_s == pytest.approx(5 / 60)
    columns = recording.presented.columns
    old = Table(columns[:-2], recording.presented.values[:, :-2])
    assert columns[-2:] == ("live", "share")
    assert first_flips(old).tolist() == [0, 1, 4]
    assert shown(replace(recording, presented=old)).age.max_ms < told.age.max_ms


def test_another_window_does_not_show_what_the_one_before_showed(tmp_path: Path) -> None:
    rows = [
        frame_of(0, T0 + 1.0, frame=1),
        frame_of(1, T0 + 1.1, frame=2),
        frame_of(2, T0 + 5.0, frame=1, share=0.0),
        frame_of(3, T0 + 5.1, frame=2),
    ]
    assert shown(written(tmp_path / "a.xdf", rows)).age.n == 3


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        ("ALSA: AirPods of Anna", "ALSA"),
        ("mixer: default device", "mixer"),
        ("dummy", "dummy"),
        ("Null: default device", "Null"),
        ("", ""),
        ("AirPods of Anna", "another device"),
    ],
)
def test_a_back_end_is_named_without_the_device(audio: str, said: str) -> None:
    assert back_end(audio) == said
    assert sound_of([Event(T0, 0, "window", {"audio": audio})]).device == said


def test_nothing_presented_is_no_number(recording: Recording) -> None:
    empty = replace(
        recording, presented=Table(PRESENTED_COLUMNS, np.zeros((0, len(PRESENTED_COLUMNS))))
    )
    told = shown(empty)
    assert told.transport.why == told.age.why == "nothing was presented"
    assert (told.rows, told.values, told.frames, told.guard) == (0, 0, None, {})


def test_without_a_common_clock_no_delay_is_known_and_frames_are(recording: Recording) -> None:
    told = shown(replace(recording, clock_offsets=np.zeros((0, 2))))
    assert told.transport.p50_ms is told.age.p50_ms is None
    assert "clock" in told.transport.why
    assert told.transport.n == 300 - 15
    assert told.missed == 3


def test_sound_is_told_by_the_window() -> None:
    events = [
        Event(T0, 0, "window", {"buffer_ms": 46.4}),
        Event(T0, 0, "window", {"buffer_ms": 23.2}),
        Event(T0, 0, "window_end", {"missed": 7, "sound_delay_ms": 52.0, "dose_pa2h": 0.002}),
    ]
    sound = sound_of(events)
    assert sound == Sound(23.2, 52.0, 0.002)
    assert sound.share_of_week(ADULT_PA2H) == pytest.approx(0.00125)
    assert sound.share_of_week(CHILD_PA2H) == pytest.approx(0.00395, abs=1e-5)
    assert counted_misses(events) == 7
    assert sound_of(()) == Sound()
    assert Sound().share_of_week(ADULT_PA2H) is None
    uncalibrated = [*events[:2], Event(T0, 0, "window_end", {"dose_pa2h": None})]
    assert sound_of(uncalibrated).dose_pa2h is None


@pytest.mark.parametrize(
    ("protocol", "feature", "limit"),
    [
        ("smr_up", "smr", 250.0),
        ("tbr_down", "tbr", 500.0),
        ("smr_up", "nothing", None),
    ],
)
def test_how_late_a_feature_may_be(protocol: str, feature: str, limit: float | None) -> None:
    assert delay_limit_ms(load(protocol, FEATURES).protocol, feature) == limit


def test_parts_decide_how_late_a_feature_may_be() -> None:
    protocol = load("tbr_down", FEATURES).protocol
    of = {
        "z": ("theta",), "sum": ("theta", "tbr"), "bursts": ("theta",), "mixed": ("theta", "bursts")
    }  # fmt: skip
    kinds = {"z": "z", "sum": "weighted_sum", "bursts": "burst_rate", "mixed": "weighted_sum"}
    theta = protocol.features["theta"]
    made = {n: theta.model_copy(update={"kind": kinds[n], "of": p}) for n, p in of.items()}
    more = protocol.model_copy(update={"features": {**protocol.features, **made}})
    assert [delay_limit_ms(more, n) for n in of] == [250.0, 500.0, None, None]
