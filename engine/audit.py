"""The audit log of a study: who opened what, when and why, each line holding the one before it.

``audit.jsonl`` lies beside the allocation. Every line is a JSON object whose `previous` is the
SHA-256 of the line before it and whose `hash` is that of itself, so that a line that is changed,
removed or put in is found. Lines cut off at the end, or a whole log written anew, are found only
by somebody who kept the last hash elsewhere: `append` returns it, to be printed and noted.
"""

from __future__ import annotations

import datetime as dt
import getpass
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import FileError
from engine.folder import sync_folder

__all__ = ["AUDIT_FILE", "Entry", "alone", "append", "read_audit", "verify"]

AUDIT_FILE = "audit.jsonl"
FIRST = "0" * 64  # what the first line holds for the one before it
_HASH = ', "hash": "'
_END = '"}'


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the log.

    Parameters
    ----------
    line : int
        Counted from 1.
    at : str
        Wall-clock time, ISO 8601 in UTC.
    what : str
        ``allocated``, ``unblinded``, ``unsealed`` and so on.
    who : str or None
        The account that did it.
    details : mapping
    hash : str
    """

    line: int
    at: str
    what: str
    who: str | None
    details: Mapping[str, Any]
    hash: str


def append(
    path: Path,
    what: str,
    details: Mapping[str, Any],
    *,
    when: dt.datetime | None = None,
) -> str:
    """Add a line and make the disk keep it.

    A damaged log is continued all the same: an emergency cannot wait for it, and `verify` names
    the damaged line.

    Returns
    -------
    str
        The line's hash.

    Raises
    ------
    FileError
        The log cannot be written; what was to be logged must then not happen.
    """
    path = Path(path)
    when = when or dt.datetime.now(dt.UTC)
    try:
        new = not path.exists()
        flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags, 0o644), "r+b") as file, alone(file.fileno()):
            file.seek(0)
            data = file.read()
            lines = data.removesuffix(b"\n").split(b"\n") if data else []
            previous = _sha256(lines[-1]) if lines else FIRST
            row = {
                "line": len(lines) + 1,
                "at": when.astimezone(dt.UTC).isoformat(timespec="seconds"),
                "what": what,
                "who": _account(),
                "details": dict(details),
                "previous": previous,
            }
            body = json.dumps(row, ensure_ascii=True, allow_nan=False)[:-1]
            own = _sha256(body.encode())
            broken = b"\n" if data and not data.endswith(b"\n") else b""
            file.write(broken + (body + _HASH + own + _END + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(path.parent)
    except OSError as error:
        raise FileError(
            f"The audit log {path} cannot be written: {error.strerror or error}.",
            "Nothing is opened without an entry. Mend the folder, or who may write to it.",
        ) from error
    return own


def read_audit(path: Path) -> tuple[Entry, ...]:
    """Return every line of a log that is whole; an absent log has none.

    Raises
    ------
    FileError
        The log cannot be read, or its chain is broken: says at which line.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise FileError(
            f"The audit log {path} cannot be read: {error.strerror or error}.",
            "Check who may read it.",
        ) from error
    entries: list[Entry] = []
    previous = FIRST
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        entry = _entry(line, number, previous)
        if entry is None:
            _broken(path, number)
        entries.append(entry)
        previous = _sha256(line)
    if lines[-1]:
        _broken(path, len(lines))
    return tuple(entries)


def verify(path: Path, last: str | None = None) -> int:
    """Check the chain; return the number of lines.

    Parameters
    ----------
    path : Path
    last : str, optional
        A hash that was noted elsewhere; the log must contain it.

    Raises
    ------
    FileError
        The chain is broken: names the first line that is; or the noted line is not there.
    """
    entries = read_audit(path)
    if last is not None and last not in {e.hash for e in entries}:
        raise FileError(
            f"The audit log {path} has no line with the noted hash {last[:16]}...: lines were cut "
            "off at its end, or it was written anew.",
            "Take it from a copy, and find out who had access to it.",
        )
    return len(entries)


def _broken(path: Path, number: int) -> NoReturn:
    raise FileError(
        f"{path}:{number}: the chain of the audit log is broken here; this line or the one before "
        "it was changed, removed or put in.",
        "Take it from a copy, and find out who had access to it.",
    )


def _entry(line: bytes, number: int, previous: str) -> Entry | None:
    """Return a line's entry, or None when it does not follow on the line before."""
    try:
        text = line.decode("ascii")
        body, _, tail = text.rpartition(_HASH)
        own = _sha256(body.encode())
        if tail != own + _END:
            return None
        row = json.loads(body + "}")
        if row["line"] != number or row["previous"] != previous:
            return None
        return Entry(number, row["at"], row["what"], row["who"], row["details"], own)
    except (ValueError, KeyError, TypeError):
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _account() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an account without a name
        return None


@contextmanager
def alone(fd: int) -> Iterator[None]:
    """Hold an open file alone, so that nobody writes between our reading and our writing."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX)
        yield  # given back when the file is closed
