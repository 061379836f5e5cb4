"""What was recorded stays, and comes back exactly."""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyxdf

from engine import xdf
from engine.columns import HELD, Streams, decision_row, feature_row
from engine.errors import FileError, NeuroloopError, RecordingError
from engine.frames import (
    Channel,
    Chunk,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Gap,
    Gate,
    Hold,
    PhaseKind,
    Presented,
    StreamSpec,
)
from engine.record import Recorder
from engine.recording import Recording, read, recover

SPEC = StreamSpec(
    name="Amp <&> 'O\u2019Brien'",
    stype="EEG",
    source_id="amp-1",
    uid="u",
    host="h",
    rate_hz=250.0,
    channels=(
        Channel("O1", "eeg", "volts", 1e6, "EEG O1-Ref"),
        Channel("Oz", "eeg", "microvolts", 1.0, "Oz.."),
        Channel("COUNTER", "counter", "", 1.0, "C\x00\u202eount"),
    ),
    dtype="float32",
)
FEATURES = {"alpha": "uV2", "faa": "1"}


def values(n: int, spec: StreamSpec = SPEC, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 30, (n, len(spec.channels))).astype(spec.dtype)
    return samples, 1e5 + np.arange(n) / spec.rate_hz + rng.uniform(0, 1e-3, n)


def frame(k: int) -> FeatureFrame:
    return FeatureFrame(
        k * 5,
        1e5 + k / 50,
        np.array([k + 0.1, math.nan]),
        np.array([True, False]),
        Gate.BLINK | Gate.WARMUP if k % 2 else Gate.OPEN,
        np.array([1.0 / 3.0, k]),
    )


def decision(k: int) -> Decision:
    return Decision(
        seq=k * 5,
        t=1e5 + k / 50,
        phase=2,
        kind=PhaseKind.TRAIN,
        level=None if k % 3 == 0 else k / 7,
        reward=k % 5 == 0,
        joint=True,
        passes=(True, None),
        thresholds=(12.25, math.nan),
        gate=Gate.MUSCLE,
        held=("stale", "window") if k % 2 else (),
        phase_s=k / 50,
        rewards=k // 5,
        why="gate" if k % 3 == 0 else "",
    )


def recorder(path: Path, spec: StreamSpec = SPEC, **more: object) -> Recorder:
    options: dict = {
        "features": FEATURES,
        "metrics": ("p2p", "slow"),
        "rules": ("alpha", "theta"),
        "markers": ("Unity",),
        "now": time.monotonic,
    }
    return Recorder(path, {"protocol": {"name": "faa", "x": math.nan}}, spec, **{**options, **more})


INPUTS = (
    Command(0, "start"),
    Gap(130, 20, "counter"),
    Hold(200, on=True, cause="stale", sentence="No data \u2013 \u201ccable\u201d?\n"),
    Command(205, "threshold", "alpha", 0.1 + 0.2, "too hard"),
    Hold(250, on=False, cause="stale"),
    Command(1_000_000, "stop"),
)


def fill(rec: Recorder, n: int = 400, rows: int = 40, spec: StreamSpec = SPEC) -> None:
    samples, stamps = values(n, spec)
    for value in INPUTS:
        rec.input(value)
    for at in range(0, n, 32):
        rec.raw(samples[at : at + 32], stamps[at : at + 32])
    for k in range(rows):
        rec.feature(frame(k))
        rec.decision(decision(k))
    rec.presented(Presented(5, 1e5, 1e5 + 0.01, 1e5 + 0.03, None, reward=False, guard=2))
    rec.presented(Presented(10, 1e5, 1e5 + 0.01, 1e5 + 0.05, 0.1, reward=True, guard=0))
    rec.event(Event(1e5, 0, "threshold", {"value": math.inf, "why": "\x01\n", "n": np.int64(3)}))
    rec.marker("Unity", 1e5 + 1, "stim/1")
    rec.marker("late", 1e5 + 2, "\u00e9")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "a.xdf"
    with recorder(path) as rec:
        fill(rec)
    assert rec.fault is None
    return path


def test_everything_comes_back_exactly(whole: Path) -> None:
    got = read(whole)
    samples, stamps = values(400)
    assert got.spec == SPEC
    assert got.samples.dtype == np.float32
    np.testing.assert_array_equal(got.samples, samples)
    np.testing.assert_array_equal(got.stamps, stamps)
    assert not got.samples.flags.writeable
    assert got.header["protocol"] == {"name": "faa", "x": None}
    assert repr(got.inputs) == repr(INPUTS)  # NaN values compare by their text
    assert got.features.columns == (
        *("t", "seq", "alpha", "faa", "trusted", "gate", "gate_p2p", "gate_slow"),
        *("fixed_alpha", "fixed_faa"),
    )
    want = [np.r_[frame(k).t, feature_row(frame(k))] for k in range(40)]
    np.testing.assert_array_equal(got.features.values, want)
    want = [np.r_[decision(k).t, decision_row(decision(k))] for k in range(40)]
    np.testing.assert_array_equal(got.decisions.values, want)
    assert got.decisions.column("held")[1] == sum(1 << HELD.index(c) for c in ("stale", "window"))
    assert np.isnan(got.decisions.column("level")[0])
    assert got.presented.column("t_flip").tolist() == [1e5 + 0.03, 1e5 + 0.05]
    assert got.events == (Event(1e5, 0, "threshold", {"value": "inf", "why": "\x01\n", "n": 3}),)
    assert got.markers == {"Unity": ((1e5 + 1, "stim/1"),), "late": ((1e5 + 2, "\u00e9"),)}
    assert got.codes["decisions"]["kind_codes"]["TRAIN"] == PhaseKind.TRAIN.value
    assert got.clock_offsets[:, 1].tolist() == [0.0]
    assert (got.closed, got.damage, got.losses) == (True, None, ())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "int16", "int32", "int64"])
def test_the_number_type_of_the_source_is_kept(tmp_path: Path, dtype: str) -> None:
    spec = replace(SPEC, dtype=dtype)
    samples, stamps = values(100, spec)
    with recorder(tmp_path / "a.xdf", spec) as rec:
        rec.raw(samples, stamps)
    got = read(tmp_path / "a.xdf")
    assert got.samples.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got.samples, samples)
    streams, _ = pyxdf.load_xdf(tmp_path / "a.xdf", dejitter_timestamps=False)
    np.testing.assert_array_equal(streams[0]["time_series"], samples)


def agrees_with_pyxdf(path: Path, got: Recording) -> None:
    streams, header = pyxdf.load_xdf(path, dejitter_timestamps=False)
    by_name = {s["info"]["name"][0]: s for s in streams}
    raw = by_name[got.spec.name]
    np.testing.assert_array_equal(raw["time_series"], got.samples)
    np.testing.assert_array_equal(raw["time_stamps"], got.stamps)
    labels = [c["label"][0] for c in raw["info"]["desc"][0]["channels"][0]["channel"]]
    assert labels == list(got.spec.names)
    assert json.loads(header["info"]["neuroloop"][0]) == got.header
    decisions = by_name["decisions"]
    np.testing.assert_array_equal(decisions["time_series"], got.decisions.values[:, 1:])
    assert len(by_name["inputs"]["time_series"]) == len(got.inputs)


def test_pyxdf_reads_the_same(whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    agrees_with_pyxdf(whole, read(whole))
    assert not [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]


def rows_of(got: Recording) -> list[int]:
    tables = [got.features.values, got.decisions.values, got.presented.values]
    return [len(got.samples), len(got.inputs), len(got.events), *map(len, tables)]


def ends_of_chunks(raw: bytes, stream: int) -> list[tuple[int, int]]:
    pieces = [p for p in xdf.scan(raw).pieces if p.tag == xdf.Tag.SAMPLES and p.stream == stream]
    return [(p.end, p.rows) for p in pieces]


@pytest.mark.parametrize("part", ["headers", "data", pytest.param("all", marks=pytest.mark.slow)])
def test_cut_at_every_byte_loses_only_what_was_cut(tmp_path: Path, part: str) -> None:
    path = tmp_path / "a.xdf"
    spec = replace(SPEC, channels=SPEC.channels[:1])
    with recorder(path, spec) as rec:
        fill(rec, 40, 4, spec)
    raw = path.read_bytes()
    pieces = xdf.scan(raw).pieces
    first = min(p.end for p in pieces if p.tag == xdf.Tag.STREAM_HEADER)
    last = min(p.start for p in pieces if p.tag == xdf.Tag.BOUNDARY)
    ends = {s: ends_of_chunks(raw, s) for s in (1, 2, 6, 3, 4, 5)}
    chunk_ends = {p.end for p in pieces}
    full = read(path)
    cuts = {"headers": range(0, last, 13), "data": range(last, len(raw), 7)}
    for cut in cuts.get(part, range(len(raw))):
        path.write_bytes(raw[:cut])
        try:
            got = read(path)
        except (FileError, RecordingError):
            assert cut < first
            continue
        assert rows_of(got) == [sum(n for end, n in ends[s] if end <= cut) for s in ends], cut
        np.testing.assert_array_equal(got.samples, full.samples[: len(got.samples)])
        assert got.losses == ()
        assert (got.damage is None) == (cut in chunk_ends)


@pytest.mark.parametrize("seed", range(12))
def test_recovered_copy_of_a_cut_file_reads_everywhere(whole: Path, seed: int) -> None:
    raw = whole.read_bytes()
    cut = random.Random(seed).randrange(len(raw) // 2, len(raw))
    whole.write_bytes(raw[:cut])
    before = read(whole)
    copy = recover(whole)
    after = read(copy)
    assert whole.read_bytes() == raw[:cut]
    assert rows_of(after) == rows_of(before)
    assert after.closed
    assert "recovered from a.xdf" in (after.damage or "")
    agrees_with_pyxdf(copy, after)
    assert recover(whole) != copy


def long_recording(path: Path, seconds: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of a file with many chunks and boundaries, written with a fast clock."""
    from engine.chunkfile import ChunkFile

    with recorder(path.with_suffix(".head")):
        pass
    head = path.with_suffix(".head").read_bytes()
    file = ChunkFile(path)
    for piece in xdf.scan(head).pieces:
        if piece.tag in (xdf.Tag.FILE_HEADER, xdf.Tag.STREAM_HEADER):
            file.put(head[piece.start : piece.end])
    samples, stamps = values(250 * seconds)
    for k in range(0, len(samples), 25):
        s, t = samples[k : k + 25], stamps[k : k + 25]
        file.samples(Streams.RAW, xdf.samples_chunk(Streams.RAW, xdf.numbers(t, s)), t)
        row = decision_row(decision(k))[None]
        content = xdf.numbers(t[:1], row)
        file.samples(Streams.DECISIONS, xdf.samples_chunk(Streams.DECISIONS, content), t[:1])
        file.checks(float(t[-1]))
        if k % 2500 == 2475:
            file.boundary()
    file.close()
    return samples, stamps


@pytest.mark.parametrize("seed", range(30))
def test_one_flipped_bit_costs_one_chunk_and_is_named(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.xdf"
    samples, _ = long_recording(path)
    raw = bytearray(path.read_bytes())
    scan = xdf.scan(bytes(raw))
    start = next(p.start for p in scan.pieces if p.tag == xdf.Tag.SAMPLES)
    rng = random.Random(seed)
    at = rng.randrange(start, len(raw))
    hit = next(p for p in scan.pieces if p.start <= at < p.end)
    raw[at] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)
    got = read(path)
    assert got.damage is not None or hit.tag == xdf.Tag.BOUNDARY or hit.stream == Streams.CHECKS
    lost = sum(loss.missing for loss in got.losses)
    assert lost == (25 if hit.stream == Streams.RAW else 0)
    assert len(got.samples) + lost == len(samples)
    seq = got.seq()
    np.testing.assert_array_equal(got.samples, samples[seq])
    assert all(loss.known for loss in got.losses)
    copy = read(recover(path))
    np.testing.assert_array_equal(copy.samples, got.samples)
    np.testing.assert_array_equal(copy.seq(), seq)


@pytest.mark.parametrize("seed", range(10))
def test_a_hole_of_any_kind_is_measured(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.xdf"
    samples, _ = long_recording(path)
    raw = bytearray(path.read_bytes())
    start = next(p.start for p in xdf.scan(bytes(raw)).pieces if p.tag == xdf.Tag.SAMPLES)
    rng = random.Random(seed)
    at = rng.randrange(start, len(raw) - 20_000)
    size = rng.randrange(1, 20_000)
    new = [b"", bytes(size), rng.randbytes(size), b"\x01" * size][seed % 4]
    raw[at : at + size] = new
    path.write_bytes(raw)
    got = read(path)
    assert got.damage is not None
    assert len(got.samples) + sum(loss.missing for loss in got.losses) == len(samples)
    np.testing.assert_array_equal(got.samples, samples[got.seq()])


def test_zeros_after_a_power_cut_are_a_cut(whole: Path) -> None:
    full = read(whole)
    with whole.open("ab") as file:
        file.write(bytes(4096))
    got = read(whole)
    np.testing.assert_array_equal(got.samples, full.samples)
    assert "cut off" in (got.damage or "")


@pytest.mark.parametrize("seed", range(60))
def test_any_garbage_is_refused_in_words_or_read(tmp_path: Path, whole: Path, seed: int) -> None:
    rng = random.Random(seed)
    raw = bytearray(whole.read_bytes())
    for _ in range(rng.randrange(1, 40)):
        raw[rng.randrange(4 if seed % 2 else 0, len(raw))] = rng.randrange(256)
    path = tmp_path / "b.xdf"
    path.write_bytes(raw)
    with contextlib.suppress(NeuroloopError):
        read(path)


def test_no_recording_is_refused_in_words(tmp_path: Path) -> None:
    for content in (b"", b"XD", b"XDF:", b"RIFF" * 9):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises((FileError, RecordingError)):
            read(tmp_path / "x")
    with pytest.raises(FileError):
        read(tmp_path / "absent")
    with pytest.raises(FileError):
        read(tmp_path)


# ---------------------------------------------------------------- the fold's inputs again


@pytest.mark.parametrize("chunk_samples", [1, 7, 32, 10_000])
def test_inputs_come_in_the_order_of_the_fold(whole: Path, chunk_samples: int) -> None:
    got = read(whole)
    samples, _ = values(400)
    seq, rows, seen = 0, [], []
    for value in got.inputs_in_order(chunk_samples):
        if isinstance(value, Chunk):
            assert value.seq == seq
            assert 0 < len(value.t) <= chunk_samples
            pending = [x for x in INPUTS if repr(x) not in seen]
            assert all(x.seq >= value.seq + len(value.t) for x in pending)
            seq += len(value.t)
            rows.append(value.uv)
        else:
            assert value.seq >= seq or value.seq == 1_000_000
            seen.append(repr(value))
            seq += value.missing if isinstance(value, Gap) else 0
    assert seen == [repr(x) for x in INPUTS]
    assert seq == 420
    np.testing.assert_array_equal(
        np.concatenate(rows), samples.astype(np.float64) * np.array([1e6, 1.0, 1.0])
    )
    assert got.seq()[[129, 130]].tolist() == [129, 150]
    assert [g.missing for g in got.gaps()] == [20]


def test_a_command_seen_before_an_earlier_gap_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    samples, stamps = values(30)
    order = (Command(20, "pause"), Gap(18, 10, "stamps"), Command(40, "resume"))
    with recorder(path) as rec:
        for value in order:
            rec.input(value)
        rec.raw(samples, stamps)
    got = list(read(path).inputs_in_order(100))
    assert [type(x).__name__ for x in got] == [
        *("Chunk", "Command", "Gap", "Chunk", "Command"),
    ]
    assert [x.seq for x in got] == [0, 20, 18, 28, 40]


def test_chunks_of_no_samples_are_refused(whole: Path) -> None:
    with pytest.raises(ValueError):
        list(read(whole).inputs_in_order(0))


# ---------------------------------------------------------------- killed


CHILD = """
import sys, time, pathlib
import numpy as np
from engine.frames import Channel, StreamSpec
from engine.record import Recorder
spec = StreamSpec("amp", "EEG", "s", "u", "h", 1000.0,
                  tuple(Channel(f"E{k}", "eeg", "microvolts", 1.0) for k in range(8)))
rec = Recorder(pathlib.Path(sys.argv[1]), {}, spec, now=time.monotonic)
n = 0
while True:
    samples = np.arange(n, n + 20, dtype=np.float32)[:, None] * np.ones(8, np.float32)
    rec.raw(samples, np.arange(n, n + 20) / 1000.0)
    n += 20
    sys.stdout.write(f"{n} {time.monotonic()}\\n")
    sys.stdout.flush()
    time.sleep(0.02)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
@pytest.mark.parametrize("after", [30, 61])
def test_kill_9_leaves_a_file_that_everybody_reads(tmp_path: Path, after: int) -> None:
    path = tmp_path / "a.xdf"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline().split() for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        lines += [line.split() for line in child.stdout]
    got = read(path)
    assert not got.closed
    assert got.damage is None
    assert 0 < len(got.samples) <= int(lines[-1][0])
    np.testing.assert_array_equal(got.samples[:, 0], np.arange(len(got.samples)))
    told = {int(n): float(t) for n, t in lines}
    kept = max((n for n in told if n <= len(got.samples)), default=0)
    if kept:  # what was handed over half a second before the end is there
        assert float(lines[-1][1]) - told[kept] < 0.5
    streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
    np.testing.assert_array_equal(streams[0]["time_series"], got.samples)
    streams, _ = pyxdf.load_xdf(recover(path), dejitter_timestamps=False)
    np.testing.assert_array_equal(streams[0]["time_series"], got.samples)


def test_a_growing_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    rec = recorder(path)
    got = read(path)
    assert (len(got.samples), got.closed, got.damage) == (0, False, None)
    rec.close()
    assert read(path).closed
