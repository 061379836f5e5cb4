"""The research log: only its private key reads it, and nothing goes missing unnoticed."""

from __future__ import annotations

import math
import stat
from pathlib import Path

import numpy as np
import pytest
from nacl.public import PrivateKey

from engine import sealedlog
from engine.errors import FileError, RecordingError
from engine.sealedlog import FRAME, HEAD_BYTES, Numbers, Said, SealedLog, read_sealed_log

PRIVATE = PrivateKey(bytes(range(32)))
READ, WRITE = bytes(PRIVATE), bytes(PRIVATE.public_key)
N = 8


def written(path: Path, *, n: int = N, close: bool = True) -> str:
    log = SealedLog(path, WRITE)
    for k in range(n):
        log.write({"tick": k})
    fingerprint = log.fingerprint
    if close:
        log.close()
    return fingerprint


def pieces(data: bytes) -> list[bytes]:
    """Cut a log into its head and its pieces."""
    cut, at = [data[:HEAD_BYTES]], HEAD_BYTES
    while at < len(data):
        _, _, length = FRAME.unpack_from(data, at)
        cut.append(data[at : at + FRAME.size + length])
        at += FRAME.size + length
    return cut


def ticks(path: Path) -> list[int]:
    return [e.value["tick"] for e in read_sealed_log(path, READ).entries if isinstance(e, Said)]


def test_objects_and_numbers_come_back(tmp_path: Path) -> None:
    path = tmp_path / "session.research"
    rows = np.array([[0.1, math.nan], [-1e300, math.inf]])
    with SealedLog(path, WRITE) as log:
        log.write({"threshold": 1.5, "why": "µ", "list": [1, None]})
        log.numbers("features", ("ratio", "alpha"), rows)
        log.numbers("features", ("ratio", "alpha"), rows[:0])
        log.flush()
        fingerprint = log.fingerprint
    read = read_sealed_log(path, READ)
    assert (read.damage, read.complete, read.fingerprint) == ((), True, fingerprint)
    first, second, third = read.entries
    assert first == Said(0, {"threshold": 1.5, "why": "µ", "list": [1, None]})
    assert isinstance(second, Numbers)
    assert isinstance(third, Numbers)
    assert (second.name, second.columns) == ("features", ("ratio", "alpha"))
    np.testing.assert_array_equal(second.rows, rows)
    assert not second.rows.flags.writeable
    assert third.rows.shape == (0, 2)


def test_nothing_can_be_read_without_the_key(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with SealedLog(path, WRITE) as log:
        log.write({"arm": "replay_other"})
        log.numbers("gold", ("gold",), np.full((50, 1), 1.0))
        assert "replay" not in repr(log)
    data = path.read_bytes()
    for word in (b"replay", b"gold", b"arm", np.float64(1.0).tobytes()):
        assert word not in data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileError, match="another study"):
        read_sealed_log(path, bytes(32))


def test_equal_files_have_nothing_in_common(tmp_path: Path) -> None:
    prints = {written(tmp_path / f"{i}") for i in range(3)}
    assert len(prints) == 3
    cut = [pieces((tmp_path / f"{i}").read_bytes()) for i in range(3)]
    assert len({c[1][FRAME.size :] for c in cut}) == 3


def test_the_length_does_not_tell_the_word(tmp_path: Path) -> None:
    sizes = set()
    for word in ("real", "replay_other", "no_feedback"):
        path = tmp_path / word
        with SealedLog(path, WRITE) as log:
            log.write({"control": word, "level": 0.5 if word == "real" else 0.123456789012345})
        sizes.add(path.stat().st_size)
    assert len(sizes) == 1


def test_a_piece_that_was_cut_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, close=False)
    data = path.read_bytes()
    last = len(pieces(data)[-1])
    for less in (1, 20, last - FRAME.size, last - 3):
        path.write_bytes(data[: len(data) - less])
        read = read_sealed_log(path, READ)
        assert ticks(path) == list(range(N - 1))
        assert not read.complete
        assert "last piece is cut off" in read.damage[0]
        assert "does not end" in read.damage[1]


def test_pieces_cut_off_at_the_end_are_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    cut = pieces(path.read_bytes())
    assert len(cut) == 1 + N + 1
    for keep in (len(cut) - 1, 4, 1):
        path.write_bytes(b"".join(cut[:keep]))
        read = read_sealed_log(path, READ)
        assert ticks(path) == list(range(min(keep - 1, N)))
        assert not read.complete
        assert len(read.damage) == 1
        assert "cut off at the end" in read.damage[0]


@pytest.mark.parametrize("gone", [0, 3, N - 1])
def test_a_removed_piece_is_found(gone: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    cut = pieces(path.read_bytes())
    del cut[1 + gone]
    path.write_bytes(b"".join(cut))
    read = read_sealed_log(path, READ)
    assert read.damage == (f"Piece {gone} is missing before piece {gone + 1}.",)
    assert ticks(path) == [k for k in range(N) if k != gone]
    assert read.complete


def test_swapped_and_repeated_pieces_are_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    cut = pieces(path.read_bytes())
    path.write_bytes(b"".join([*cut[:3], cut[4], cut[3], *cut[5:]]))
    read = read_sealed_log(path, READ)
    assert read.damage == (
        "Piece 2 is missing before piece 3.",
        "Piece 2 is repeated or out of order.",
    )
    assert ticks(path) == list(range(N))
    path.write_bytes(b"".join([*cut[:3], cut[2], *cut[3:]]))
    assert read_sealed_log(path, READ).damage == ("Piece 1 is repeated or out of order.",)
    assert ticks(path) == list(range(N))
    path.write_bytes(b"".join([*cut[:-2], cut[-1], cut[-2]]))
    assert any("behind the end" in d for d in read_sealed_log(path, READ).damage)


def test_a_counter_cannot_be_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    cut = pieces(path.read_bytes())
    marker, _, length = FRAME.unpack_from(cut[4])
    del cut[3]  # take one out and close the gap
    cut[3] = FRAME.pack(marker, 2, length) + cut[3][FRAME.size :]
    path.write_bytes(b"".join(cut))
    read = read_sealed_log(path, READ)
    assert len(read.damage) == 2
    assert ticks(path) == [0, 1, *range(4, N)]


def test_any_damaged_byte_of_the_pieces_is_found_and_costs_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    data = path.read_bytes()
    for place in range(HEAD_BYTES, len(data), 41):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        read = read_sealed_log(path, READ)
        assert read.damage
        assert len(ticks(path)) >= N - 1


def test_any_damaged_byte_of_the_head_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path)
    data = path.read_bytes()
    for place in range(HEAD_BYTES):
        changed = bytearray(data)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(FileError):
            read_sealed_log(path, READ)


def test_a_log_made_by_somebody_else_has_another_fingerprint(tmp_path: Path) -> None:
    ours = written(tmp_path / "ours")
    written(tmp_path / "theirs")
    head = (tmp_path / "ours").read_bytes()[: len(sealedlog.MAGIC) + sealedlog.PRINT_BYTES]
    forged = head + (tmp_path / "theirs").read_bytes()[len(head) :]
    (tmp_path / "forged").write_bytes(forged)
    assert read_sealed_log(tmp_path / "theirs", READ).fingerprint != ours
    with pytest.raises(FileError, match="damaged or was changed"):
        read_sealed_log(tmp_path / "forged", READ)


def test_what_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(FileError, match="no research log"):
        read_sealed_log(tmp_path / "x", READ)
    with pytest.raises(FileError, match="cannot be read"):
        read_sealed_log(tmp_path / "none", READ)


def test_a_log_is_never_written_over_nor_after_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = SealedLog(path, WRITE)
    with pytest.raises(RecordingError, match="cannot be written"):
        SealedLog(path, WRITE)
    with pytest.raises(ValueError, match="2 columns"):
        log.numbers("x", ("a", "b"), np.zeros((3, 1)))
    log.close()
    log.close()
    with pytest.raises(RecordingError, match="closed"):
        log.write({})
    assert read_sealed_log(path, READ).complete
