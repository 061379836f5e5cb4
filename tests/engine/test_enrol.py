"""Enrolment: one token for one person, and its sessions are counted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from engine.enrol import begin_session, enrol, enrolled, next_token, session_number
from engine.errors import FileError, InputError

WHEN = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def test_a_token_is_bound_once_and_for_all(tmp_path: Path) -> None:
    assert enrol(tmp_path, "K7F3Q2", "A17", when=WHEN)
    assert not enrol(tmp_path, " k7f3q2", "A17")
    assert enrol(tmp_path, "CDFGHJ", "B2", when=WHEN)
    assert enrolled(tmp_path) == {"K7F3Q2": "A17", "CDFGHJ": "B2"}
    before = (tmp_path / "enrolment.tsv").read_text()
    with pytest.raises(InputError, match="belongs to another client, A17"):
        enrol(tmp_path, "K7F3Q2", "A18")
    with pytest.raises(InputError, match="has another token, K7F3Q2"):
        enrol(tmp_path, "MNPQRT", "a17")
    with pytest.raises(InputError, match="no client id"):
        enrol(tmp_path, "MNPQRT", "Jane Doe")
    assert (tmp_path / "enrolment.tsv").read_text() == before
    assert before == (
        "token\tclient\tenrolled\n"
        "K7F3Q2\tA17\t2026-01-02T03:04:05+00:00\n"
        "CDFGHJ\tB2\t2026-01-02T03:04:05+00:00\n"
    )


def test_sessions_are_counted_for_each_token(tmp_path: Path) -> None:
    assert session_number(tmp_path, "K7F3Q2") == 0
    with pytest.raises(InputError, match="not enrolled"):
        begin_session(tmp_path, "K7F3Q2", "a.xdf")
    enrol(tmp_path, "K7F3Q2", "A17")
    enrol(tmp_path, "CDFGHJ", "B2")
    begun = [begin_session(tmp_path, t, f"{t}\t.xdf") for t in ("K7F3Q2", "CDFGHJ", "k7f3q2")]
    assert begun == [1, 1, 2]
    assert session_number(tmp_path, "K7F3Q2") == 2
    assert session_number(tmp_path, "CDFGHJ") == 1


def test_tokens_are_used_in_order_within_their_stratum(tmp_path: Path) -> None:
    tokens = {"CCCCCC": "a", "DDDDDD": "a", "FFFFFF": "b"}
    assert next_token(tmp_path, tokens, "a") == "CCCCCC"
    enrol(tmp_path, "CCCCCC", "A1")
    assert next_token(tmp_path, tokens, "a") == "DDDDDD"
    assert next_token(tmp_path, tokens, "b") == "FFFFFF"
    enrol(tmp_path, "DDDDDD", "A2")
    assert next_token(tmp_path, tokens, "a") is None


@pytest.mark.parametrize("text", ["", "token\tclient\n", "token\tclient\tenrolled\nx\n", "\xff"])
def test_a_damaged_table_is_named_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "enrolment.tsv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=r"enrolment\.tsv"):
        enrol(tmp_path, "K7F3Q2", "A17")
    assert path.read_bytes() == text.encode("latin-1")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="Nothing can be written"):
        enrol(tmp_path / "none", "K7F3Q2", "A17")
