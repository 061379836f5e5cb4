"""Names that never collide, folders that really keep files, one engine per stream."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import FileError, InputError
from engine.folder import check_client, check_folder, claim, free_gb, session_path

WHEN = dt.datetime(2030, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("client", ["A", "p-01", "x_9", "a" * 32, "CONE", "com"])
def test_client_ids_that_are_fine(client: str) -> None:
    assert check_client(client) == client


@pytest.mark.parametrize(
    "client",
    ["", "a" * 33, "../x", "a b", "a.b", "é", "a\n", "CON", "nul", "Com1", "LPT9", "a/b", "a\x00"],
)
def test_client_ids_that_are_refused(client: str) -> None:
    with pytest.raises(InputError):
        check_client(client)


def test_two_sessions_of_one_second_have_two_names(tmp_path: Path) -> None:
    paths = {session_path(tmp_path, "p1", "faa", WHEN) for _ in range(8)}
    assert len(paths) > 1
    assert all(p.parent == tmp_path and p.name.startswith("20300102T030405_p1_faa_") for p in paths)


def test_a_protocols_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    path = session_path(tmp_path, "p1", "../..\\é x", WHEN)
    assert path.parent == tmp_path
    assert path.name.startswith("20300102T030405_p1_x_")
    assert "_protocol_" in session_path(tmp_path, "p1", "...", WHEN).name


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert free_gb(tmp_path / "a" / "b") == pytest.approx(free_gb(tmp_path), rel=0.2)


def test_a_good_folder_is_left_clean(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(FileError, match="cannot be kept"):
        check_folder(tmp_path / "f")


def test_a_folder_that_does_not_keep_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FileError, match="Read-only"):
        check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_second_claim_names_the_first(tmp_path: Path) -> None:
    with claim(tmp_path, "amp/1"):
        with pytest.raises(FileError, match=f"process {os.getpid()}"):
            claim(tmp_path, "amp/1")
        claim(tmp_path, "amp/2").release()
    claim(tmp_path, "amp/1").release()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_dead_process_is_stale(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    code = "import sys, engine.folder as f; f.claim(sys.argv[1], 'amp')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=root, timeout=60)
    assert len(list(tmp_path.iterdir())) == 1
    claim(tmp_path, "amp").release()
    assert list(tmp_path.iterdir()) == []


def change(tmp_path: Path, **values: object) -> None:
    held = claim(tmp_path, "amp")
    held.path.write_text(json.dumps({**json.loads(held.text), **values}))


def test_a_reused_process_number_is_stale(tmp_path: Path) -> None:
    change(tmp_path, started=1.0)
    claim(tmp_path, "amp").release()


def test_a_lock_of_another_computer_stands(tmp_path: Path) -> None:
    change(tmp_path, host="elsewhere", started=1.0)
    with pytest.raises(FileError, match="computer elsewhere"):
        claim(tmp_path, "amp")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_broken_lock_is_stale(tmp_path: Path, text: str) -> None:
    held = claim(tmp_path, "amp")
    held.path.write_text(text)
    claim(tmp_path, "amp").release()


def test_release_leaves_another_engines_lock(tmp_path: Path) -> None:
    held = claim(tmp_path, "amp")
    held.path.write_text("someone else's")
    held.release()
    assert held.path.exists()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError):
        claim(tmp_path / "no", "amp")
