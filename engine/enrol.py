"""Which token is whose, and how many sessions it has begun: two small tables beside the allocation.

``enrolment.tsv`` binds every token to one client id, once and for all. ``sessions.tsv`` gets a
line when a session begins. Neither says anything about an arm.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.audit import alone
from engine.errors import FileError, InputError
from engine.folder import check_client, sync_folder

__all__ = [
    "ENROLMENT_FILE",
    "SESSIONS_FILE",
    "begin_session",
    "enrol",
    "enrolled",
    "next_token",
    "repeat_session",
    "session_number",
]

ENROLMENT_FILE, SESSIONS_FILE = "enrolment.tsv", "sessions.tsv"
_ENROLMENT = ("token", "client", "enrolled")
_SESSIONS = ("token", "session", "begun", "recording", "note")
_REPEATED = "repeated"  # of a session that does not count


def enrolled(folder: Path) -> dict[str, str]:
    """Return the client id of every token that is bound to one.

    Raises
    ------
    FileError
        The table cannot be read.
    """
    return {row[0]: row[1] for row in _rows(Path(folder) / ENROLMENT_FILE, _ENROLMENT)}


def enrol(folder: Path, token: str, client: str, *, when: dt.datetime | None = None) -> bool:
    """Bind a token to a client id; return whether it is new.

    Parameters
    ----------
    folder : Path
        Of the allocation.
    token : str
        That the token is one of the study the caller has checked, by `engine.seal.Allocation`.
    client : str
        See `engine.folder.check_client`.

    Raises
    ------
    InputError
        The token belongs to another client, or the client to another token.
    FileError
        The table cannot be read or written.
    """
    path = Path(folder) / ENROLMENT_FILE
    token = token.strip().upper()
    check_client(client)
    with _locked(Path(folder)):
        return _enrol(path, token, client, _stamp(when))


def _enrol(path: Path, token: str, client: str, stamp: str) -> bool:
    rows = _rows(path, _ENROLMENT)
    for other_token, other_client, *_ in rows:
        if other_token == token and other_client == client:
            return False
        if other_token == token:
            raise InputError(
                f"The token {token} belongs to another client, {other_client}.",
                "Compare token and client id with the list of participants; a token is used for "
                "one person only.",
            )
        if other_client.casefold() == client.casefold():
            raise InputError(
                f"The client {client} has another token, {other_token}.",
                "Use that one; a person stays with one token for the whole study.",
            )
    _write(path, _ENROLMENT, [*rows, (token, client, stamp)])
    return True


def session_number(folder: Path, token: str) -> int:
    """Return how many sessions of a token count: begun, and not to be repeated.

    Raises
    ------
    FileError
        The table cannot be read.
    """
    return _counting(_rows(Path(folder) / SESSIONS_FILE, _SESSIONS), token.strip().upper())


def _counting(rows: list[tuple[str, ...]], token: str) -> int:
    return sum(row[0] == token and row[4] != _REPEATED for row in rows)


def repeat_session(folder: Path, token: str) -> tuple[int, str]:
    """Let the last session that a token has begun not count, so that it can be run again.

    Returns
    -------
    session : int
    recording : str
        Name of the file that stays behind.

    Raises
    ------
    InputError
        There is none.
    FileError
        The table cannot be read or written.
    """
    token = token.strip().upper()
    path = Path(folder) / SESSIONS_FILE
    with _locked(Path(folder)):
        rows = _rows(path, _SESSIONS)
        own = [i for i, r in enumerate(rows) if r[0] == token and r[4] != _REPEATED]
        if not own:
            raise InputError(f"{token} has begun no session.", "Compare the token.")
        row = rows[own[-1]]
        rows[own[-1]] = (*row[:4], _REPEATED)
        _write(path, _SESSIONS, rows)
    return int(row[1]), row[3]


def begin_session(
    folder: Path, token: str, recording: str, *, when: dt.datetime | None = None
) -> int:
    """Note that a session begins; return its number, counted from 1.

    Parameters
    ----------
    folder : Path
        Of the allocation.
    token : str
    recording : str
        Name of the recording's file.

    Raises
    ------
    InputError
        The token is not enrolled.
    FileError
        The table cannot be read or written.
    """
    token = token.strip().upper()
    if token not in enrolled(folder):
        raise InputError(f"The token {token} is not enrolled.", "Bind it to a client id first.")
    path = Path(folder) / SESSIONS_FILE
    name = "".join(c if c.isprintable() else "-" for c in recording)
    with _locked(Path(folder)):
        rows = _rows(path, _SESSIONS)
        number = 1 + _counting(rows, token)
        _write(path, _SESSIONS, [*rows, (token, str(number), _stamp(when), name, "")])
    return number


def next_token(folder: Path, tokens: Mapping[str, str], stratum: str) -> str | None:
    """Return the first token of a stratum that is nobody's yet, or None when all are used.

    Parameters
    ----------
    folder : Path
        Of the allocation.
    tokens : mapping of str to str
        `engine.seal.Allocation.tokens`: the stratum of every token, in the order of use.
    stratum : str
    """
    used = enrolled(folder)
    return next((t for t, s in tokens.items() if s == stratum and t not in used), None)


# ---------------------------------------------------------------- tables


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second room from writing the tables between our reading and our writing."""
    try:
        fd = os.open(folder / ".enrolment.lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise FileError(
            f"Nothing can be written to {folder}: {error.strerror or error}.",
            "Mend the folder, or who may write to it.",
        ) from error
    try:
        with alone(fd):
            yield
    finally:
        os.close(fd)


def _stamp(when: dt.datetime | None) -> str:
    return (when or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")


def _rows(path: Path, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise FileError(f"{path} cannot be read: {why}.", "Take it from a copy.") from error
    rows = [tuple(line.split("\t")) for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns) or (number == 1 and row != columns):
            raise FileError(
                f"{path}:{number}: this is no line of the table.",
                f"It has {len(columns)} columns with tabs between: {', '.join(columns)}.",
            )
    if not rows:
        raise FileError(f"{path} is empty.", "Take it from a copy.")
    return rows[1:]


def _write(path: Path, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Replace a table as a whole: after a crash there is the old one or the new one."""
    text = "".join("\t".join(row) + "\n" for row in [columns, *rows])
    new = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        with new.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Mend the folder, or who may write to it.",
        ) from error
