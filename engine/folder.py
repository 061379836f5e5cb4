"""Where recordings live: names that never collide, a folder that really keeps files, its lock."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.errors import FileError, InputError

__all__ = [
    "Claim",
    "check_client",
    "check_folder",
    "claim",
    "free_gb",
    "session_path",
    "sync_folder",
]

_CLIENT = re.compile(r"[A-Za-z0-9_-]{1,32}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])")  # names Windows keeps
_SAME_START_S = 2.0  # start times of one process differ by rounding only


def check_client(client: str) -> str:
    """Return a client id that may stand in a file name.

    Raises
    ------
    InputError
        It has other characters, is too long, or is a name that Windows reserves.
    """
    if not _CLIENT.fullmatch(client):
        raise InputError(
            f"{client!r} is no client id.",
            "Use 1 to 32 letters (a-z), digits, - and _; never a name or a birth date.",
        )
    if _RESERVED.fullmatch(client):
        raise InputError(f"{client!r} is a name that Windows reserves.", "Choose another id.")
    return client


def session_path(folder: Path, client: str, protocol: str, when: dt.datetime) -> Path:
    """Return the path of a new recording: date, client, protocol and four random characters.

    Parameters
    ----------
    folder : Path
        The room's record folder.
    client : str
        See `check_client`.
    protocol : str
        The protocol's name; characters that do not belong into a file name become ``-``.
    when : datetime
        Wall-clock start.
    """
    check_client(client)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", protocol).strip("-")[:40] or "protocol"
    return Path(folder) / f"{when:%Y%m%dT%H%M%S}_{client}_{name}_{secrets.token_hex(2)}.xdf"


def free_gb(path: Path) -> float:
    """Return the free space in GB (10^9 bytes) of the disk that holds, or would hold, `path`."""
    path = Path(path).absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free / 1e9


def sync_folder(folder: Path) -> None:
    """Make the disk keep the names in a folder, where the system can do that."""
    if os.name == "nt":  # NTFS keeps names by itself, and folders cannot be opened
        return
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_folder(folder: Path) -> None:
    """Create the folder if need be, and prove that it keeps files: write, sync, rename, remove.

    Raises
    ------
    FileError
        Any of that fails.
    """
    folder = Path(folder)
    probe = folder / f".probe-{secrets.token_hex(4)}"
    kept = probe.with_suffix(".kept")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("xb") as file:
            file.write(b"neuroloop")
            file.flush()
            os.fsync(file.fileno())
        probe.rename(kept)
        sync_folder(folder)
        if kept.read_bytes() != b"neuroloop":
            raise OSError(None, "what was written is not what was read")
    except OSError as error:
        raise FileError(
            f"Recordings cannot be kept in {folder}: {error.strerror or error}.",
            "Choose another folder in the room file under record, or mend this one.",
        ) from error
    finally:
        for left in (probe, kept):
            with contextlib.suppress(OSError):
                left.unlink()


# ---------------------------------------------------------------- one engine per stream


@dataclass(frozen=True, slots=True)
class Claim:
    """This process holds a stream in a folder until `release`."""

    path: Path
    text: str

    def release(self) -> None:
        """Give the stream back; does nothing when the lock is no longer ours."""
        with contextlib.suppress(OSError):
            if self.path.read_text(encoding="utf-8") == self.text:
                self.path.unlink()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _holder(text: str) -> str | None:
    """Return who holds a lock with this text, or None when it is stale."""
    try:
        row = json.loads(text)
        pid, started, host = int(row["pid"]), float(row["started"]), str(row["host"])
    except (ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():  # a shared folder: nothing is known of that process
        return f"process {pid} on the computer {host}"
    try:
        alive = abs(psutil.Process(pid).create_time() - started) < _SAME_START_S
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        alive = True
    return f"process {pid}" if alive else None


def _read_settled(path: Path) -> str:
    """Return a lock's text; one that is empty is given a moment, its writer may be at it."""
    for _ in range(10):
        text = path.read_text(encoding="utf-8", errors="replace")
        if text:
            return text
        time.sleep(0.02)
    return ""


def claim(folder: Path, source_id: str) -> Claim:
    """Take a stream for this process, so that no second engine records it in the same folder.

    A lock left by a process that is gone is replaced.

    Parameters
    ----------
    folder : Path
        The record folder; must exist.
    source_id : str
        The stream's source id, or its name when it has none.

    Raises
    ------
    FileError
        Another engine holds the stream, or the lock cannot be written.
    """
    key = hashlib.sha256(source_id.encode("utf-8", "replace")).hexdigest()[:12]
    path = Path(folder) / f".neuroloop-{key}.lock"
    pid = os.getpid()
    text = json.dumps(
        {
            "pid": pid,
            "started": psutil.Process(pid).create_time(),
            "host": socket.gethostname(),
            "token": secrets.token_hex(8),
        }
    )
    for _ in range(5):
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            _remove_stale(path)
            continue
        except OSError as error:
            raise FileError(f"{path} cannot be written: {error.strerror or error}.") from error
        try:
            os.write(fd, text.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        return Claim(path, text)
    raise FileError(f"{path} is fought over by several engines.", "Close all but one.")


def _remove_stale(path: Path) -> None:
    """Remove a stale lock; FileError when its process lives."""
    try:
        text = _read_settled(path)
    except FileNotFoundError:
        return
    holder = _holder(text)
    if holder is None:
        # Moved aside first: between reading and removing, another engine may have replaced it.
        aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        taken = aside.read_text(encoding="utf-8", errors="replace")
        if taken == text:
            aside.unlink()
            return
        aside.rename(path)
        holder = _holder(taken) or "another process"
    raise FileError(
        f"This stream is already recorded in {path.parent} by {holder}.",
        "End that session first, or choose another stream or folder.",
    )
