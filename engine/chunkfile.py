"""An XDF file being written: whole chunks only, each with its checksum in the file itself.

XDF has no checksums of its own, so every chunk gets a row in an ordinary stream named ``checks``:
where it starts, its length, its CRC-32, its stream, and how many rows of that stream came before.
The last row of each ``checks`` chunk speaks of the chunk itself.
Other programs see one more stream; our reader can tell a flipped bit from a heartbeat, and knows
how many samples a damaged stretch held.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine import xdf
from engine.columns import FORMAT, Streams, strict_json
from engine.frames import Float, StreamSpec

__all__ = ["ChunkFile", "source_header"]


def source_header(spec: StreamSpec, created_s: float) -> bytes:
    """Return the header of the raw stream: as LSL describes it, and the agreed spec as JSON."""
    formats = {numpy: name for name, numpy in xdf.FORMATS.items()}
    return xdf.stream_header(
        Streams.RAW,
        name=spec.name,
        stype=spec.stype or "EEG",
        layout=xdf.Layout(len(spec.channels), formats[spec.dtype]),
        rate_hz=spec.rate_hz,
        columns=[(c.name, c.kind.upper(), c.unit) for c in spec.channels],
        source_id=spec.source_id,
        uid=spec.uid,
        host=spec.host,
        created_s=created_s,
        blob=strict_json({"recording_format": FORMAT, "spec": spec}),
    )


class ChunkFile:
    """A new XDF file, written unbuffered.

    Parameters
    ----------
    path : Path
        Must not exist.

    Raises
    ------
    OSError
        From every method, when the disk refuses; what was written before stays whole.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o600)
        self._size = 0
        self._checks: list[tuple[int, int, int, int, int]] = []
        self._next_row: dict[int, int] = {}
        self._count: dict[int, int] = {}
        self._first_s: dict[int, float] = {}
        self._last_s: dict[int, float] = {}
        self._write(xdf.MAGIC)

    @property
    def unchecked(self) -> int:
        """Number of chunks whose check row is not yet in the file."""
        return len(self._checks)

    def _write(self, whole: bytes) -> None:
        """Write all of it in one piece, or leave the file as it was and raise OSError."""
        left = memoryview(whole)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            raise
        self._size += len(whole)

    def put(self, whole: bytes, stream: int = 0, first_row: int = 0) -> None:
        """Write one chunk."""
        row = (self._size, len(whole), zlib.crc32(whole), stream, first_row)
        self._write(whole)
        self._checks.append(row)

    def samples(
        self,
        stream: int,
        whole: bytes,
        stamps: Sequence[float] | Float,
        first_row: int | None = None,
    ) -> None:
        """Write one Samples chunk.

        Parameters
        ----------
        stream : int
            Stream id.
        whole : bytes
            The complete chunk.
        stamps : sequence of float
            Of its rows, seconds; at least one.
        first_row : int, optional
            Rows of the stream before it, when some of them are not in this file.
        """
        first = self._next_row.get(stream, 0) if first_row is None else first_row
        self.put(whole, stream, first)
        self._next_row[stream] = first + len(stamps)
        self._counted(stream, stamps)

    def _counted(self, stream: int, stamps: Sequence[float] | Float) -> None:
        self._count[stream] = self._count.get(stream, 0) + len(stamps)
        self._first_s.setdefault(stream, float(stamps[0]))
        self._last_s[stream] = float(stamps[-1])

    def checks(self, t: float) -> None:
        """Write the check rows of the chunks written since the last call, stamped `t`."""
        if not self._checks:
            return
        rows = np.array(self._checks, dtype=np.float64)
        # the last row vouches for the rows before it, and says where this chunk belongs
        crc = zlib.crc32(np.float64(self._size).tobytes(), zlib.crc32(rows.tobytes()))
        own = (self._size, len(rows), crc, Streams.CHECKS, 0)
        values = np.vstack([rows, own])
        stamps = np.full(len(values), t)
        self._write(xdf.samples_chunk(Streams.CHECKS, xdf.numbers(stamps, values)))
        self._checks.clear()
        self._counted(Streams.CHECKS, stamps)

    def boundary(self) -> None:
        """Write a boundary chunk."""
        self._write(xdf.boundary())

    def footer(self, stream: int, blob: str = "") -> None:
        """Write the footer of a stream."""
        first, last = self._first_s.get(stream, 0.0), self._last_s.get(stream, 0.0)
        self._write(xdf.stream_footer(stream, first, last, self._count.get(stream, 0), blob))

    def sync(self) -> None:
        """Make the disk keep everything written so far."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
