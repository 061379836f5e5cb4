"""The audit log: a chain whose broken link is named."""

from __future__ import annotations

import datetime as dt
import multiprocessing
from pathlib import Path

import pytest

from engine.audit import Entry, append, read_audit, verify
from engine.errors import FileError

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "audit.jsonl"
    for k in range(5):
        append(path, "unblinded", {"participant": f"P{k}", "reason": "größer, \"hash\": \""},
               when=WHEN)  # fmt: skip
    return path


def test_lines_come_back(path: Path) -> None:
    last = append(path, "unsealed", {}, when=WHEN)
    entries = read_audit(path)
    assert [e.line for e in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[0].details == {"participant": "P0", "reason": 'größer, "hash": "'}
    assert isinstance(entries[-1], Entry)
    assert (entries[-1].what, entries[-1].hash) == ("unsealed", last)
    assert entries[-1].at == "2026-01-02T03:04:05+00:00"
    assert verify(path) == verify(path, last) == 6
    assert len(path.read_text().splitlines()) == 6


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert read_audit(tmp_path / "audit.jsonl") == ()
    assert verify(tmp_path / "audit.jsonl") == 0


@pytest.mark.parametrize("line", [1, 2, 3, 4, 5])
def test_a_changed_line_is_named(path: Path, line: int) -> None:
    rows = path.read_bytes().splitlines(keepends=True)
    for place in range(0, len(rows[line - 1]), 7):
        changed = bytearray(rows[line - 1])
        changed[place] ^= 0x01
        path.write_bytes(b"".join([*rows[: line - 1], bytes(changed), *rows[line:]]))
        with pytest.raises(FileError, match=f":{line}: the chain"):
            verify(path)


def test_removed_moved_and_inserted_lines_are_named(path: Path) -> None:
    rows = path.read_bytes().splitlines(keepends=True)
    for changed, line in (
        ([*rows[:1], *rows[2:]], 2),
        (rows[1:], 1),
        ([rows[1], rows[0], *rows[2:]], 1),
        ([*rows[:3], rows[4], rows[3]], 4),
        ([*rows[:2], rows[1], *rows[2:]], 3),
        ([*rows[:2], b"\n", *rows[2:]], 3),
        ([*rows[:4], rows[4][:-20]], 5),
        ([*rows[:4], rows[4][:-1]], 5),
    ):
        path.write_bytes(b"".join(changed))
        with pytest.raises(FileError, match=f":{line}: the chain"):
            verify(path)


def test_a_cut_end_is_found_by_the_noted_hash(path: Path) -> None:
    last = read_audit(path)[-1].hash
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:-1]))
    assert verify(path) == 4
    with pytest.raises(FileError, match="cut off at its end"):
        verify(path, last)


def test_a_damaged_log_is_continued_and_the_damage_stays_named(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-30])  # as after a crash
    append(path, "unblinded", {"participant": "P9"}, when=WHEN)
    rows = path.read_bytes().splitlines()
    assert len(rows) == 6
    assert b"P9" in rows[5]
    with pytest.raises(FileError, match=":5: the chain"):
        verify(path)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be written"):
        append(tmp_path / "none" / "audit.jsonl", "unblinded", {})
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(FileError, match="cannot be read"):
        read_audit(tmp_path / "audit.jsonl")


def _several(path: Path) -> None:
    for _ in range(10):
        append(path, "seen", {})


def test_two_programs_at_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_several, args=(path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    assert verify(path) == 20
