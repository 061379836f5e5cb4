"""The recorder never stops the loop, and says when it cannot record."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine import xdf
from engine.chunkfile import ChunkFile
from engine.columns import HELD, decision_row, feature_row, plain
from engine.errors import FileError, InputError
from engine.frames import (
    Channel,
    Chunk,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Gap,
    Gate,
    PhaseKind,
    Presented,
    StreamSpec,
)
from engine.record import Recorder
from engine.recording import read

SPEC = StreamSpec(
    "amp", "EEG", "amp-1", "u", "h", 100.0, (Channel("Cz", "eeg", "microvolts", 1.0),), "float32"
)


def samples(n: int, start: int = 0) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(start, start + n, dtype=np.float32)[:, None]
    return values, np.arange(start, start + n) / 100.0


def recorder(path: Path, **more: object) -> Recorder:
    options: dict = {"now": time.monotonic, **more}
    return Recorder(path, {}, SPEC, **options)


def wait_for(what: object) -> None:
    for _ in range(1000):
        if what():  # type: ignore[operator]
            return
        time.sleep(0.01)
    pytest.fail("it never happened")


def test_headers_are_on_the_disk_before_the_first_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    write, sync = ChunkFile._write, ChunkFile.sync

    def logged_write(self: ChunkFile, whole: bytes) -> None:
        piece = xdf.scan(xdf.MAGIC + whole).pieces
        log.append("header" if piece and piece[0].tag in (1, 2) else "other")
        write(self, whole)

    def logged_sync(self: ChunkFile) -> None:
        log.append("sync")
        sync(self)

    monkeypatch.setattr(ChunkFile, "_write", logged_write)
    monkeypatch.setattr(ChunkFile, "sync", logged_sync)
    rec = recorder(tmp_path / "a.xdf")
    begun = list(log)
    rec.raw(*samples(10))
    rec.close()
    assert begun[-1] == "sync"
    assert begun.count("header") == 8
    assert "header" not in log[len(begun) :]
    assert log[-1] == "sync"


def test_a_header_is_written_before_anything_can_be_lost(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.xdf", features={"alpha": "uV2"}, metrics=("m",), rules=("alpha",))
    got = read(tmp_path / "a.xdf")
    rec.close()
    assert got.features.columns == (
        *("t", "seq", "alpha", "trusted", "gate", "gate_m", "fixed_alpha"),
    )
    assert got.codes["features"]["trusted_bits"] == ["alpha"]
    assert got.codes["decisions"]["held_bits"] == list(HELD)
    assert got.codes["decisions"]["gate_bits"]["MUSCLE"] == 4


def test_rows_are_on_the_disk_soon_without_close(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.xdf")
    rec.raw(*samples(10))
    rec.input(Command(20, "pause"))
    wait_for(lambda: len(read(rec.path).samples) == 10 and len(read(rec.path).inputs) == 1)
    rec.close()


def test_the_callers_buffer_may_be_used_again(tmp_path: Path) -> None:
    values, stamps = samples(10)
    with recorder(tmp_path / "a.xdf") as rec:
        for _ in range(2):
            rec.raw(values, stamps)
            values += 10
            stamps += 0.1
    np.testing.assert_array_equal(read(rec.path).samples[:, 0], np.arange(20))


def test_boundaries_and_offsets_come_regularly(tmp_path: Path) -> None:
    ticks = iter(range(0, 1_000_000, 3))
    rec = recorder(tmp_path / "a.xdf", now=lambda: float(next(ticks)), clock_offset=lambda: 0.25)
    for k in range(6):
        rec.raw(*samples(1, k))
        wait_for(lambda k=k: len(read(rec.path).samples) == k + 1)
    wait_for(lambda: rec._file._size > 0 and len(read(rec.path).clock_offsets) > 3)
    rec.close()
    tags = [p.tag for p in xdf.scan(rec.path.read_bytes()).pieces]
    assert tags.count(xdf.Tag.BOUNDARY) >= 3
    offsets = read(rec.path).clock_offsets
    assert set(offsets[:, 1]) == {0.25}
    assert (np.diff(offsets[:, 0]) >= 5).all()


def test_an_unknown_clock_offset_is_not_written(tmp_path: Path) -> None:
    with recorder(tmp_path / "a.xdf", clock_offset=lambda: None) as rec:
        rec.raw(*samples(5))
    assert read(rec.path).clock_offsets.shape == (0, 2)


def test_an_existing_file_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    path.write_text("precious")
    with pytest.raises(FileError, match="exists"):
        recorder(path)
    assert path.read_text() == "precious"


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be created"):
        recorder(tmp_path / "no" / "a.xdf")


def test_a_stream_of_text_is_refused(tmp_path: Path) -> None:
    spec = StreamSpec("m", "Markers", "", "", "", 0.0, (Channel("m", "misc", "", 1.0),), "string")
    with pytest.raises(InputError):
        Recorder(tmp_path / "a.xdf", {}, spec)
    with pytest.raises(InputError):
        recorder(tmp_path / "a.xdf", features={str(k): "" for k in range(53)})
    assert not list(tmp_path.iterdir())


def test_a_hanging_disk_never_blocks_and_becomes_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = recorder(tmp_path / "a.xdf")
    go_on, hung = threading.Event(), threading.Event()
    write = ChunkFile._write

    def hang(self: ChunkFile, whole: bytes) -> None:
        hung.set()
        assert go_on.wait(60)
        write(self, whole)

    monkeypatch.setattr(ChunkFile, "_write", hang)
    rec.raw(*samples(100))
    assert hung.wait(30)
    for second in range(1, 60):
        rec.raw(*samples(100, second * 100))
        assert rec.fault is None
    assert rec.backlog_s == pytest.approx(60)
    rec.raw(*samples(100, 6000))
    assert "too slow" in (rec.fault or "")
    rec.raw(*samples(100, 9999))  # not taken: the file must stay without holes
    go_on.set()
    rec.close()
    got = read(rec.path)
    np.testing.assert_array_equal(got.samples[:, 0], np.arange(6100))
    assert got.closed


def test_rows_beside_the_samples_are_bounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rec = recorder(tmp_path / "a.xdf")
    go_on = threading.Event()
    write = ChunkFile._write

    def hang(self: ChunkFile, whole: bytes) -> None:
        assert go_on.wait(60)
        write(self, whole)

    monkeypatch.setattr(ChunkFile, "_write", hang)
    shown = Presented(0, 0.0, 0.0, 0.0, None, reward=False, guard=0)
    for _ in range(60 * 400 + 1):
        rec.presented(shown)
    assert "too slow" in (rec.fault or "")
    go_on.set()
    rec.close()


FULL = """
import pathlib, resource, sys, time
import numpy as np
from engine.frames import Channel, StreamSpec
from engine.record import Recorder
spec = StreamSpec("amp", "EEG", "s", "u", "h", 100.0, (Channel("Cz", "eeg", "uV", 1.0),))
rec = Recorder(pathlib.Path(sys.argv[1]), {}, spec, now=time.monotonic)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_001, 30_001))
n = 0
while rec.fault is None and n < 1_000_000:
    rec.raw(np.arange(n, n + 90, dtype=np.float32)[:, None], np.arange(n, n + 90) / 100)
    n += 90
    time.sleep(0.005)
rec.raw(np.zeros((5, 1), np.float32), np.zeros(5))
rec.close()
sys.stdout.write(rec.fault or "")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot limit the size of a file")
def test_a_full_disk_is_a_fault_and_the_file_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.xdf"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)],
        cwd=root,
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert "cannot be written: File too large" in done.stdout
    assert done.stderr == ""
    got = read(path)
    assert got.damage is None
    assert len(got.samples) > 1000
    np.testing.assert_array_equal(got.samples[:, 0], np.arange(len(got.samples)))


def test_a_failing_fsync_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec = recorder(tmp_path / "a.xdf")

    def fail(self: ChunkFile) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ChunkFile, "sync", fail)
    rec.raw(*samples(3))
    rec.close()
    assert "Input/output error" in (rec.fault or "")
    assert len(read(rec.path).samples) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        lambda rec: rec.raw(np.zeros((3, 2), np.float32), np.zeros(3)),
        lambda rec: rec.raw(np.zeros((3, 1), np.float64), np.zeros(3)),
        lambda rec: rec.feature(
            FeatureFrame(0, 0.0, np.zeros(2), np.ones(2, bool), Gate.OPEN, np.zeros(0))
        ),
    ],
)
def test_values_that_do_not_fit_are_a_fault_not_a_crash(tmp_path: Path, wrong: object) -> None:
    rec = recorder(tmp_path / "a.xdf")
    wrong(rec)  # type: ignore[operator]
    rec.close()
    assert "do not fit" in (rec.fault or "") or "does not fit" in (rec.fault or "")
    assert read(rec.path).damage is None


def test_a_chunk_is_no_input_row(tmp_path: Path) -> None:
    with recorder(tmp_path / "a.xdf") as rec, pytest.raises(TypeError):
        rec.input(Chunk(0, np.zeros(1), np.zeros((1, 1))))


def test_closing_twice_and_writing_after_are_harmless(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.xdf")
    rec.close()
    size = rec.path.stat().st_size
    rec.close()
    rec.raw(*samples(3))
    rec.event(Event(0.0, 0, "late"))
    assert rec.path.stat().st_size == size


def test_what_was_synced_is_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves at least what was synced; any such file is read."""
    synced: list[int] = []
    sync = ChunkFile.sync
    path = tmp_path / "a.xdf"

    def logged(self: ChunkFile) -> None:
        size = path.stat().st_size
        sync(self)
        synced.append(size)

    monkeypatch.setattr(ChunkFile, "sync", logged)
    monkeypatch.setattr("engine.record._SYNC_S", 0.02)
    rec = recorder(path)
    for k in range(10):
        rec.raw(*samples(50, k * 50))
        before = len(synced)
        wait_for(lambda before=before: len(synced) > before)
    rec.close()
    raw = path.read_bytes()
    for size in [s for s in synced if s > 0]:
        path.write_bytes(raw[:size] + bytes(512))
        got = read(path)
        np.testing.assert_array_equal(got.samples[:, 0], np.arange(len(got.samples)))
    assert synced[-1] == len(raw)


# ---------------------------------------------------------------- values as rows


@dataclass(frozen=True)
class Point:
    x: float
    kind: PhaseKind


def test_anything_becomes_strict_json() -> None:
    value = {
        1: Point(float("nan"), PhaseKind.REST),
        "a": np.arange(3, dtype=np.int16),
        "b": (np.float32(0.5), np.bool_(True), float("-inf"), None),
        "c": {"z", "a"},
        "d": Path("x"),
        "e": dt.date(2020, 1, 2),
        "f": b"x",
    }
    assert json.loads(json.dumps(plain(value), allow_nan=False)) == {
        "1": {"x": None, "kind": "REST"},
        "a": [0, 1, 2],
        "b": [0.5, True, "-inf", None],
        "c": ["a", "z"],
        "d": "x",
        "e": "2020-01-02",
        "f": "b'x'",
    }


def test_rows_carry_unknown_as_nan_and_sets_as_bits() -> None:
    row = decision_row(
        Decision(
            seq=5,
            t=0.0,
            phase=-1,
            kind=PhaseKind.TRAIN,
            level=None,
            reward=True,
            joint=False,
            passes=(None, True),
            thresholds=(float("nan"), 2.0),
            gate=Gate.STEP,
            held=("window", "martians"),
            phase_s=1.5,
            rewards=3,
            why="hold",
        )
    )
    nan = float("nan")
    held = sum(1 << HELD.index(c) for c in ("window", "other"))
    want = [5, -1, 5, nan, 1, 0, nan, 1, nan, 2, 8, held, 1.5, 3, 2]
    np.testing.assert_array_equal(row, want)
    frame = FeatureFrame(
        7, 0.0, np.array([1.0, nan, 3.0]), np.array([True, False, True]), Gate.NAN, np.array([9.0])
    )
    np.testing.assert_array_equal(feature_row(frame), [7, 1, nan, 3, 5, 64, 9, nan, nan, nan])


def test_a_gap_keeps_its_numbers(tmp_path: Path) -> None:
    with recorder(tmp_path / "a.xdf") as rec:
        rec.input(Gap(1 << 40, 3, "stamps"))
    assert read(rec.path).inputs == (Gap(1 << 40, 3, "stamps"),)
