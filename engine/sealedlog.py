"""What must not be seen before the end of a study, written so that only its private key reads it.

A research log holds the real target feature, the thresholds and the rewards of a blinded session.
The computer that writes it can not read it again: every file has a key of its own, sealed to the
study's public key and otherwise forgotten at the end.

The file::

    magic            24 bytes, with the version
    fingerprint      16 bytes of BLAKE2b of the file's key, for the recording's header
    reader           8 bytes of BLAKE2b of the public key
    key              80 bytes, libsodium's sealed box around the file's key
    piece, piece...  marker, counter, length; then XChaCha20-Poly1305, bound to all of these

Every piece stands alone: a damaged one costs nothing but itself. The counter is part of what is
authenticated, so a piece that is missing, repeated or moved is found; the last piece says that
the file ends there. Pieces are padded, because a length could tell an arm; for the same reason
the caller writes the same pieces in every arm.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import struct
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import Aead

from engine.columns import strict_json
from engine.errors import FileError, RecordingError
from engine.folder import sync_folder
from engine.frames import Float

__all__ = ["Numbers", "Said", "SealedLog", "SealedLogRead", "read_sealed_log"]

MAGIC = b"neuroloop sealed log 1\r\n"
KEY_BYTES, PRINT_BYTES, READER_BYTES, SEALED_BYTES = 32, 16, 8, 80
HEAD_BYTES = len(MAGIC) + PRINT_BYTES + READER_BYTES + SEALED_BYTES
MARKER = b"\xd7NLp"  # no text begins like this
FRAME = struct.Struct("<4sII")  # marker, counter, length of what follows
PADDING = 512  # bytes; every piece is a multiple of it
MOST_BYTES = 64 * 1024 * 1024  # of one piece

_OBJECT, _NUMBERS, _END = b"o", b"n", b"e"
_LENGTH = struct.Struct("<cII")  # kind, length of the JSON, length of the numbers


@dataclass(frozen=True, slots=True)
class Said:
    """An object that was written."""

    counter: int
    value: Any


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """Rows of numbers that were written.

    Parameters
    ----------
    counter : int
    name : str
    columns : tuple of str
    rows : ndarray of shape (n_rows, n_columns)
    """

    counter: int
    name: str
    columns: tuple[str, ...]
    rows: Float


@dataclass(frozen=True, slots=True)
class SealedLogRead:
    """What could be read of a log.

    Parameters
    ----------
    entries : tuple of Said or Numbers
        In the order in which they were written; a repeated one is there once.
    damage : tuple of str
        One sentence for everything that is missing, changed or out of order.
    complete : bool
        The file ends where its writer ended it. After a crash it does not.
    fingerprint : str
        Of the file's key; the recording's header has the same, or the log was replaced.
    """

    entries: tuple[Said | Numbers, ...] = field(repr=False)
    damage: tuple[str, ...]
    complete: bool
    fingerprint: str


class SealedLog:
    """A new sealed log; what was written cannot be read again by the one who writes it.

    Parameters
    ----------
    path : Path
        Must not exist.
    public_key : bytes
        The study's, `engine.seal.Allocation.public_key`.

    Attributes
    ----------
    fingerprint : str
        To be kept in the recording's header: a log that somebody else made has another one.

    Notes
    -----
    Every piece is written at once and unbuffered; `flush` makes the disk keep it. One piece per
    second with its rows together is cheap, one per row is not. Used from one thread.
    """

    def __init__(self, path: Path, public_key: bytes) -> None:
        self.path = Path(path)
        key = secrets.token_bytes(KEY_BYTES)
        self._box = Aead(key)
        self._counter = 0
        self._fd: int | None = None
        self.fingerprint = _fingerprint(key).hex()
        head = MAGIC + _fingerprint(key) + _reader(public_key)
        head += SealedBox(PublicKey(public_key)).encrypt(key)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(self.path, flags, 0o600)
            _write_all(self._fd, head)
            os.fsync(self._fd)
            sync_folder(self.path.parent)
        except OSError as error:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
            self._refused(error)

    def write(self, value: Any) -> None:
        """Write an object: anything that can be said in JSON.

        Raises
        ------
        RecordingError
            The disk refuses, or the log is closed.
        """
        self._piece(_OBJECT, strict_json(value).encode(), b"")

    def numbers(self, name: str, columns: tuple[str, ...], rows: Float) -> None:
        """Write rows of numbers.

        Parameters
        ----------
        name : str
            Of the series.
        columns : tuple of str
        rows : ndarray of shape (n_rows, n_columns)

        Raises
        ------
        ValueError
            The rows have another number of columns.
        RecordingError
            The disk refuses, or the log is closed.
        """
        rows = np.asarray(rows, dtype="<f8")
        if rows.ndim != 2 or rows.shape[1] != len(columns):
            raise ValueError(f"rows of shape {rows.shape} for {len(columns)} columns")
        head = strict_json({"name": name, "columns": columns, "rows": rows.shape[0]})
        self._piece(_NUMBERS, head.encode(), rows.tobytes())

    def flush(self) -> None:
        """Make the disk keep what was written."""
        try:
            os.fsync(self._open())
        except OSError as error:
            self._refused(error)

    def close(self) -> None:
        """Write that the log ends here, and close it; twice is once."""
        if self._fd is None:
            return
        try:
            self._piece(_END, b"", b"")
            self.flush()
        finally:
            if self._fd is not None:
                os.close(self._fd)
            self._fd = None

    def __enter__(self) -> SealedLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<sealed log {self.path}>"

    def _open(self) -> int:
        if self._fd is None:
            raise RecordingError(
                f"The research log {self.path.name} is closed.", "Begin another session."
            )
        return self._fd

    def _piece(self, kind: bytes, text: bytes, numbers: bytes) -> None:
        fd = self._open()
        plain = _LENGTH.pack(kind, len(text), len(numbers)) + text + numbers
        plain += bytes(-len(plain) % PADDING)
        head = FRAME.pack(MARKER, self._counter, len(plain) + Aead.MACBYTES)
        nonce = _nonce(self._counter)  # the key is this file's own, and no counter comes twice
        self._counter += 1
        sealed = self._box.encrypt(plain, head, nonce).ciphertext
        try:
            _write_all(fd, head + sealed)
        except OSError as error:
            self._refused(error)

    def _refused(self, error: OSError) -> NoReturn:
        raise RecordingError(
            f"The research log {self.path} cannot be written: {error.strerror or error}.",
            "Make room on the disk, or choose another folder in the room file under record.",
        ) from error


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(Aead.NONCE_SIZE, "little")


def _fingerprint(key: bytes) -> bytes:
    return hashlib.blake2b(key, person=b"nl log", digest_size=PRINT_BYTES).digest()


def _reader(public_key: bytes) -> bytes:
    return hashlib.blake2b(public_key, person=b"nl log", digest_size=READER_BYTES).digest()


# ---------------------------------------------------------------- reading


def read_sealed_log(path: str | Path, private_key: bytes) -> SealedLogRead:
    """Read a log with the study's private key, `engine.seal.Unsealed.private_key`.

    Raises
    ------
    FileError
        The file is no sealed log, is sealed for another study, or its beginning is damaged.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    if not data.startswith(MAGIC):
        raise FileError(f"{path} is no research log.", "It is the file beside the recording.")
    box = Aead(_file_key(data, path, PrivateKey(private_key)))
    entries: dict[int, Said | Numbers] = {}
    damage: list[str] = []
    at, expected, ended = HEAD_BYTES, 0, False
    while at < len(data):
        found = _next_piece(data, at, box)
        start, stop, counter, plain = found if found else (len(data), len(data), -1, b"")
        if start > at:
            cut = "the last piece is cut off or changed" if not found else "bytes are damaged"
            damage.append(f"{cut}: {start - at} bytes from byte {at} on cannot be read.")
        at = stop
        if not found:
            break
        if ended:
            damage.append(f"Piece {counter} stands behind the end of the log.")
        if counter > expected:
            last = "" if counter == expected + 1 else f" to {counter - 1}"
            damage.append(f"Piece {expected}{last} is missing before piece {counter}.")
        elif counter < expected:
            damage.append(f"Piece {counter} is repeated or out of order.")
        expected = max(expected, counter + 1)
        kind, value = _taken_apart(counter, plain)
        if kind == _END:
            ended = True
        elif value is not None:
            entries[counter] = value
    if not ended:
        damage.append(
            "The log does not end as its writer ends it: the session broke off, or pieces were "
            "cut off at the end."
        )
    ordered = tuple(entries[k] for k in sorted(entries))
    return SealedLogRead(ordered, tuple(damage), ended, _print_of(data))


def _print_of(data: bytes) -> str:
    return data[len(MAGIC) : len(MAGIC) + PRINT_BYTES].hex()


def _file_key(data: bytes, path: Path, private: PrivateKey) -> bytes:
    at = len(MAGIC) + PRINT_BYTES
    ours = _reader(bytes(private.public_key))
    if data[at : at + READER_BYTES] != ours:
        raise FileError(
            f"{path} is sealed for another study, or its beginning is damaged.",
            "Unseal the allocation of the study that it belongs to.",
        )
    try:
        key = SealedBox(private).decrypt(data[at + READER_BYTES : HEAD_BYTES])
    except (CryptoError, ValueError):
        key = b""
    if not hmac.compare_digest(_fingerprint(key), data[len(MAGIC) : at]):
        raise FileError(
            f"The beginning of {path} is damaged or was changed, so nothing of it can be read.",
            "Take the file from a copy.",
        )
    return key


def _next_piece(data: bytes, at: int, box: Aead) -> tuple[int, int, int, bytes] | None:
    """Return (start, stop, counter, content) of the first whole piece from `at` on."""
    start = at
    while (start := data.find(MARKER, start)) >= 0 and start + FRAME.size <= len(data):
        head = data[start : start + FRAME.size]
        _, counter, length = FRAME.unpack(head)
        stop = start + FRAME.size + length
        if length <= MOST_BYTES and stop <= len(data):
            try:
                plain = box.decrypt(data[start + FRAME.size : stop], head, _nonce(counter))
            except (CryptoError, ValueError):
                pass
            else:
                return start, stop, counter, plain
        start += 1
    return None


def _taken_apart(counter: int, plain: bytes) -> tuple[bytes, Said | Numbers | None]:
    kind, n_text, n_numbers = _LENGTH.unpack_from(plain)
    text = plain[_LENGTH.size : _LENGTH.size + n_text]
    if kind == _OBJECT:
        return kind, Said(counter, json.loads(text))
    if kind == _NUMBERS:
        head = json.loads(text)
        columns = tuple(head["columns"])
        start = _LENGTH.size + n_text
        rows = np.frombuffer(plain[start : start + n_numbers], dtype="<f8")
        rows = rows.reshape(head["rows"], len(columns)).astype(np.float64)
        rows.flags.writeable = False
        return kind, Numbers(counter, head["name"], columns, rows)
    return kind, None
