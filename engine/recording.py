"""Reading a recording back: whole, cut, damaged, or while it is still being written.

`read` returns every whole chunk as values, says exactly what was lost, and never guesses.
`Recording.inputs_in_order` gives replay the same list of Inputs that the live fold consumed.
`recover` writes a clean copy of a damaged file for other programs.
"""

from __future__ import annotations

import bisect
import json
import math
import mmap
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import xdf
from engine.chunkfile import ChunkFile, source_header
from engine.columns import CHECK_COLUMNS, FORMAT, Streams, strict_json
from engine.errors import FileError, RecordingError
from engine.frames import (
    Channel,
    Chunk,
    Command,
    Event,
    Float,
    Gap,
    Hold,
    Input,
    StreamSpec,
    frozen,
)

__all__ = ["Loss", "Recording", "Table", "read", "recover", "rewrite"]


class Table(NamedTuple):
    """Rows of numbers with named columns; NaN where a value was unknown."""

    columns: tuple[str, ...]
    values: Float  # shape (n, columns)

    def column(self, name: str) -> Float:
        """Return one column, shape (n,); KeyError when there is none of that name."""
        if name not in self.columns:
            raise KeyError(name)
        values: Float = self.values[:, self.columns.index(name)]
        return values


@dataclass(frozen=True, slots=True)
class Loss:
    """Raw samples that were recorded but cannot be read any more.

    Parameters
    ----------
    at : int
        Index into `Recording.samples` where they are missing.
    missing : int
        How many.
    known : bool
        False when the number had to be estimated from the stamps.
    """

    at: int
    missing: int
    known: bool


@dataclass(frozen=True)
class Recording:
    """One session as it was recorded.

    Parameters
    ----------
    path : Path
        The file.
    header : dict
        The file header: versions, protocol, room, plan, seeds ... as the session gave it.
    spec : StreamSpec
        The agreed stream.
    samples : ndarray, shape (n, channels)
        As received, in the source's number type.
    stamps : ndarray, shape (n,)
        Raw LSL stamps, seconds.
    inputs : tuple
        Every Gap, Command and Hold in the order of the fold.
    features : Table
        ``t, seq``, one column for each feature, ``trusted``, ``gate``, gate metrics.
    decisions : Table
        ``t, seq, phase, kind, level, reward, joint, pass_*, threshold_*, gate, held, ...``.
    presented : Table
        ``seq, t, sent, t_flip, level, reward, guard``.
    events : tuple of Event
        Everything that happened.
    markers : mapping
        Name of a marker stream -> (stamp, text) of each marker.
    clock_offsets : ndarray, shape (k, 2)
        Local time and seconds to add to the source's stamps, as measured.
    codes : mapping
        Stream name -> code tables of its columns.
    losses : tuple of Loss
        Raw samples lost to damage.
    closed : bool
        The recorder ended properly; False for a running or killed session.
    damage : str or None
        What is wrong with the file, None when nothing is.
    """

    path: Path
    header: dict[str, Any]
    spec: StreamSpec
    samples: NDArray[Any]
    stamps: Float
    inputs: tuple[Gap | Command | Hold, ...]
    features: Table
    decisions: Table
    presented: Table
    events: tuple[Event, ...]
    markers: Mapping[str, tuple[tuple[float, str], ...]]
    clock_offsets: Float
    codes: Mapping[str, Mapping[str, Any]]
    losses: tuple[Loss, ...]
    closed: bool
    damage: str | None

    @property
    def to_uv(self) -> Float:
        """Factor to microvolts of every column, shape (channels,)."""
        return np.array([c.to_uv for c in self.spec.channels], dtype=np.float64)

    def uv(self, start: int = 0, stop: int | None = None) -> Float:
        """Return samples `start` to `stop` as the live fold saw them, in microvolts."""
        with np.errstate(over="ignore", invalid="ignore"):  # the same product as engine.number
            uv = np.multiply(self.samples[start:stop], self.to_uv, dtype=np.float64)
        return frozen(uv)

    def gaps(self) -> tuple[Gap, ...]:
        """Return every gap: samples that never arrived, and those lost to damage.

        `Gap.seq` counts like `Chunk.seq`, so later gaps lie after the earlier ones' samples.
        """
        return tuple(x for x in self.inputs_in_order(1 << 30, values=False) if isinstance(x, Gap))

    def seq(self) -> NDArray[np.int64]:
        """Return the sequence number of every sample, shape (n,): gaps make it jump."""
        parts = [
            np.arange(x.seq, x.seq + len(x.t), dtype=np.int64)
            for x in self.inputs_in_order(1 << 30, values=False)
            if isinstance(x, Chunk)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)

    def inputs_in_order(self, chunk_samples: int, *, values: bool = True) -> Iterator[Input]:
        """Yield the Inputs of the live fold again, in its order.

        Samples come in chunks of at most `chunk_samples`. An Input stamped with grid point
        ``s`` comes before the samples with an index of ``s`` or more, and never after an Input
        that the fold saw later: where a later one lies earlier, both come there.

        Parameters
        ----------
        chunk_samples : int
            Longest chunk; any number gives the same features and decisions.
        values : bool
            False leaves the chunks without columns, for those who need only their places.

        Raises
        ------
        ValueError
            `chunk_samples` is below 1.
        """
        if chunk_samples < 1:
            raise ValueError("chunk_samples must be at least 1")
        seq, at = 0, 0  # the next sample's number, and its row
        losses = list(self.losses)

        def samples(until: float) -> Iterator[Input]:
            nonlocal seq, at
            while seq < until:
                if losses and losses[0].at == at:
                    loss = losses.pop(0)
                    if loss.missing:
                        yield Gap(seq, loss.missing, "damaged recording")
                        seq += loss.missing
                    continue
                if at >= len(self.samples):
                    return
                stop = min(at + chunk_samples, len(self.samples))
                if losses:
                    stop = min(stop, losses[0].at)
                if until != math.inf:
                    stop = min(stop, at + int(until) - seq)
                uv = self.uv(at, stop) if values else np.zeros((stop - at, 0))
                yield Chunk(seq, frozen(self.stamps[at:stop].copy()), uv)
                seq, at = seq + stop - at, stop

        for value, place in zip(self.inputs, _places(self.inputs), strict=True):
            yield from samples(place)
            yield value
            if isinstance(value, Gap):
                seq += value.missing
        yield from samples(math.inf)


def _places(inputs: Sequence[Gap | Command | Hold]) -> list[int]:
    """Return where each Input is delivered: its own grid point or that of an earlier later one."""
    places: list[int] = []
    lowest = 1 << 62
    for value in reversed(inputs):
        lowest = min(lowest, value.seq)
        places.append(lowest)
    return places[::-1]


# ---------------------------------------------------------------- reading


@contextmanager
def _bytes_of(path: Path) -> Iterator[Any]:
    """Give the file as bytes without loading it whole."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < len(xdf.MAGIC):
                raise RecordingError(f"{path} is empty or was cut before its header.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
                yield raw
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}.") from error


class _Check(NamedTuple):
    """One row of the ``checks`` stream."""

    length: int
    crc32: int
    stream: int
    first_row: int


@dataclass
class _Found:
    """Whole chunks that have passed their checksum, and what is known about the rest."""

    scan: xdf.Scan
    pieces: list[xdf.Piece]
    bad: list[xdf.Piece]  # whole by form, but their checksum differs
    checks: dict[int, _Check]  # by the start of the chunk


def _checks(raw: Any, scan: xdf.Scan) -> tuple[dict[int, _Check], list[tuple[int, int]]]:
    """Return the check rows by the place where their chunk is now, and every shift of places.

    A shift (place, bytes) other than 0 means that bytes were cut out or put in before it.
    """
    layout = scan.layouts.get(Streams.CHECKS)
    known: dict[int, _Check] = {}
    shifts: list[tuple[int, int]] = []
    if layout != xdf.Layout(len(CHECK_COLUMNS), "double64"):
        return known, shifts
    for piece in scan.pieces:
        if piece.tag != xdf.Tag.SAMPLES or piece.stream != Streams.CHECKS:
            continue
        _, rows = xdf.read_numbers(raw, piece, layout, 0.0, 0.0)
        if not len(rows) or not np.isfinite(rows).all():
            continue
        own = _Check(*(int(x) for x in rows[-1, 1:]))
        crc = zlib.crc32(rows[-1, 0].tobytes(), zlib.crc32(rows[:-1].tobytes()))
        if own.length != len(rows) - 1 or own.crc32 != crc:
            continue
        shift = piece.start - int(rows[-1, 0])
        shifts.append((piece.start, shift))
        for row in rows[:-1]:
            known[int(row[0]) + shift] = _Check(*(int(x) for x in row[1:]))
    return known, shifts


def _spliced(piece: xdf.Piece, shifts: Sequence[tuple[int, int]]) -> bool:
    """Whether bytes went missing, or came in, around a chunk that nothing vouches for."""
    at = bisect.bisect(shifts, (piece.start, 0))
    before = shifts[at - 1][1] if at else 0
    return at < len(shifts) and shifts[at][1] != before


def _examine(raw: Any, path: Path) -> _Found:
    try:
        scan = xdf.scan(raw)
    except ValueError as error:
        raise FileError(f"{path} is no XDF recording.") from error
    checks, shifts = _checks(raw, scan)
    found = _Found(scan, [], [], checks)
    headers = (xdf.Tag.FILE_HEADER, xdf.Tag.STREAM_HEADER)
    with memoryview(raw) as data:
        for piece in scan.pieces:
            check = checks.get(piece.start)
            if check is None:
                good = piece.tag != xdf.Tag.SAMPLES or not _spliced(piece, shifts)
            else:
                good = check.length == piece.end - piece.start and (
                    check.crc32 == zlib.crc32(data[piece.start : piece.end])
                )
            if not good:
                found.bad.append(piece)
            if good or piece.tag in headers:  # a doubtful header is named, but still needed
                found.pieces.append(piece)
    return found


def _blob(text: str | None) -> dict[str, Any]:
    with suppress(ValueError, TypeError):
        value = json.loads(text or "")
        if isinstance(value, dict):
            return value
    return {}


def _header(raw: Any, found: _Found, path: Path) -> dict[str, Any]:
    for piece in found.pieces:
        if piece.tag == xdf.Tag.FILE_HEADER:
            xml = xdf.parse_xml(raw, piece)
            header = {} if xml is None else _blob(xml.findtext("neuroloop"))
            version = header.get("recording_format")
            if version is not None and version != FORMAT:
                raise FileError(
                    f"{path} has recording format {version}; this version reads {FORMAT}.",
                    "Use a newer Neuroloop.",
                )
            return header
    return {}


def _spec(found: _Found, path: Path) -> StreamSpec:
    xml = found.scan.headers.get(Streams.RAW)
    row = {} if xml is None else _blob(xml.findtext("desc/neuroloop")).get("spec")
    if not isinstance(row, dict) or not row:
        raise RecordingError(
            f"{path} holds no header of an EEG stream written by Neuroloop.",
            "It was cut or damaged before its first sample; nothing can be read from it.",
        )
    try:
        channels = tuple(Channel(**c) for c in row["channels"])
        return StreamSpec(**{**row, "channels": channels})
    except (TypeError, KeyError) as error:
        raise RecordingError(f"{path} describes its stream wrongly: {error}.") from error


def _labels(found: _Found, stream: int) -> tuple[str, ...]:
    xml = found.scan.headers.get(stream)
    if xml is None:
        return ()
    return tuple(c.findtext("label") or "" for c in xml.iterfind("desc/channels/channel"))


def _of(found: _Found, stream: int) -> list[xdf.Piece]:
    return [p for p in found.pieces if p.tag == xdf.Tag.SAMPLES and p.stream == stream]


def _numbers(
    raw: Any, found: _Found, stream: int, step_s: float = 0.0
) -> tuple[Float, NDArray[Any]]:
    layout = found.scan.layouts.get(stream)
    if layout is None or layout.format == "string":
        return np.zeros(0), np.zeros((0, 0))
    stamps, values = [], []
    last = 0.0
    for piece in _of(found, stream):
        t, v = xdf.read_numbers(raw, piece, layout, last, step_s)
        if len(t):
            last = float(t[-1])
            stamps.append(t)
            values.append(v)
    if not stamps:
        return np.zeros(0), np.zeros((0, layout.columns), layout.dtype)
    return np.concatenate(stamps), np.concatenate(values)


def _table(raw: Any, found: _Found, stream: int, *, stamped: bool) -> Table:
    t, values = _numbers(raw, found, stream)
    columns = _labels(found, stream)
    if values.shape[1] != len(columns):
        columns, values, t = (), np.zeros((0, 0)), np.zeros(0)
    if stamped:
        return Table(("t", *columns), frozen(np.column_stack([t, values])))
    return Table(columns, frozen(values.astype(np.float64)))


def _texts(raw: Any, found: _Found, stream: int) -> list[tuple[float, str]]:
    layout = found.scan.layouts.get(stream)
    if layout is None or layout != xdf.Layout(1, "string"):
        return []
    return [row for piece in _of(found, stream) for row in xdf.read_texts(raw, piece)]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _input(row: Mapping[str, Any]) -> Gap | Command | Hold:
    fields = {k: v for k, v in row.items() if k != "input"}
    if row["input"] == "gap":
        return Gap(**fields)
    if row["input"] == "hold":
        return Hold(**fields)
    if row["input"] == "command":
        return Command(**{**fields, "value": _number(fields.get("value"))})
    raise KeyError(row["input"])


def _rows(raw: Any, found: _Found, stream: int, make: Any, faults: list[str]) -> list[Any]:
    """Return rows of JSON as values; one that is not understood is named, not guessed."""
    values = []
    for t, text in _texts(raw, found, stream):
        try:
            values.append(make(json.loads(text)))
        except (ValueError, KeyError, TypeError) as error:
            faults.append(f"a row at {t:.3f} s is not understood ({type(error).__name__})")
    return values


def _event(row: Mapping[str, Any]) -> Event:
    return Event(_number(row["t"]), int(row["seq"]), str(row["kind"]), dict(row["data"]))


def _first_rows(found: _Found, pieces: Sequence[xdf.Piece]) -> list[int | None]:
    """Return the row number of the first row of every raw chunk, where it is certain.

    None only right after damage, when the chunk's own check row is gone too.
    """
    broken = [h.start for h in found.scan.holes if not h.tail]
    broken += [p.start for p in found.bad if p.stream == Streams.RAW]
    firsts: list[int | None] = []
    row: int | None = 0
    before = 0
    for piece in pieces:
        check = found.checks.get(piece.start)
        if check is not None:
            row = check.first_row
        elif any(before <= b < piece.start for b in broken):
            row = None
        firsts.append(row)
        row, before = None if row is None else row + piece.rows, piece.start
    for k in range(len(pieces) - 2, -1, -1):
        later = firsts[k + 1]
        between = any(pieces[k].start <= b < pieces[k + 1].start for b in broken)
        if firsts[k] is None and later is not None and not between:
            firsts[k] = later - pieces[k].rows
    return firsts


def _losses(
    found: _Found, stamps: Float, rate_hz: float
) -> tuple[tuple[Loss, ...], dict[int, int]]:
    """Return where raw samples are missing, and the first row number of every raw chunk."""
    pieces = _of(found, Streams.RAW)
    losses: list[Loss] = []
    first_row: dict[int, int] = {}
    row, at = 0, 0
    for piece, first in zip(pieces, _first_rows(found, pieces), strict=True):
        if first is not None:
            missing = max(0, first - row)
        else:  # nothing but the stamps tells
            missing = max(0, round((stamps[at] - stamps[at - 1]) * rate_hz) - 1) if at else 0
        if missing or first is None:
            losses.append(Loss(at, missing, first is not None))
        first_row[piece.start] = row + missing
        row, at = row + missing + piece.rows, at + piece.rows
    layout = found.scan.layouts[Streams.RAW]
    width = 9 + layout.columns * np.dtype(layout.dtype).itemsize
    written = [  # a chunk is 10 to 20 bytes longer than its rows, and no row is shorter
        c.first_row + (c.length - 10) // width
        for c in found.checks.values()
        if c.stream == Streams.RAW
    ]
    if written and max(written) > row:
        losses.append(Loss(at, max(written) - row, known=True))
    return tuple(losses), first_row


def _said(found: _Found, losses: Sequence[Loss], rows: Sequence[str], size: int) -> str | None:
    """Return one sentence for each thing that is wrong with the file."""
    parts = []
    for hole in found.scan.holes:
        what = "cut off" if hole.tail else "damaged"
        parts.append(f"bytes {hole.start} to {hole.end} of {size} are {what}")
    parts += [
        f"bytes {p.start} to {p.end} (stream {p.stream}) differ from their checksum"
        for p in found.bad
    ]
    for loss in losses:
        number = loss.missing if loss.known else f"about {loss.missing}"
        parts.append(f"{number} samples are lost before row {loss.at}")
    parts += rows
    return "; ".join(parts) or None


def read(path: Path) -> Recording:
    """Read a recording, also one that is cut, damaged or still being written.

    Parameters
    ----------
    path : Path
        An XDF file written by `engine.record.Recorder`.

    Returns
    -------
    Recording
        Every whole chunk; `Recording.damage` says what is missing.

    Raises
    ------
    FileError
        There is no such file, or it is no XDF file, or of a newer format.
    RecordingError
        It was cut or damaged before its first sample.
    """
    path = Path(path)
    with _bytes_of(path) as raw:
        found = _examine(raw, path)
        header = _header(raw, found, path)
        spec = _spec(found, path)
        layout = found.scan.layouts[Streams.RAW]
        if layout.columns != len(spec.channels) or layout.format == "string":
            raise RecordingError(f"{path} contradicts itself about the columns of its stream.")
        step_s = 1.0 / spec.rate_hz if spec.rate_hz > 0 else 0.0
        stamps, samples = _numbers(raw, found, Streams.RAW, step_s)
        losses, _ = _losses(found, stamps, spec.rate_hz)
        faults: list[str] = []
        inputs = _rows(raw, found, Streams.INPUTS, _input, faults)
        events = _rows(raw, found, Streams.EVENTS, _event, faults)
        features = _table(raw, found, Streams.FEATURES, stamped=True)
        decisions = _table(raw, found, Streams.DECISIONS, stamped=True)
        presented = _table(raw, found, Streams.PRESENTED, stamped=False)
        markers = {
            found.scan.headers[s].findtext("name") or str(s): tuple(_texts(raw, found, s))
            for s in sorted(found.scan.headers)
            if s >= Streams.MARKERS
        }
        codes = {
            xml.findtext("name") or "": _blob(xml.findtext("desc/neuroloop"))
            for s, xml in found.scan.headers.items()
            if Streams.RAW < s < Streams.MARKERS
        }
        offsets = [
            np.frombuffer(bytes(raw[p.body : p.end]), "<f8")
            for p in found.pieces
            if p.tag == xdf.Tag.CLOCK_OFFSET and p.stream == Streams.RAW
        ]
        footers = [p for p in found.pieces if p.tag == xdf.Tag.STREAM_FOOTER]
        faults += _recovered(raw, footers)
        damage = _said(found, losses, faults, len(raw))
    return Recording(
        path=path,
        header=header,
        spec=spec,
        samples=frozen(samples),
        stamps=frozen(stamps),
        inputs=tuple(inputs),
        features=features,
        decisions=decisions,
        presented=presented,
        events=tuple(events),
        markers=markers,
        clock_offsets=frozen(np.array(offsets, dtype=np.float64).reshape(-1, 2)),
        codes=codes,
        losses=losses,
        closed=any(p.stream == Streams.RAW for p in footers),
        damage=damage,
    )


def _recovered(raw: Any, footers: Sequence[xdf.Piece]) -> list[str]:
    """Return what `recover` noted about the original of a repaired copy."""
    notes = []
    for piece in footers:
        xml = xdf.parse_xml(raw, piece)
        note = {} if xml is None else _blob(xml.findtext("neuroloop"))
        if piece.stream == Streams.RAW and note.get("recovered_from"):
            said = note.get("damage") or "it had no footers"
            notes.append(f"this is a copy recovered from {note['recovered_from']}: {said}")
    return notes


# ---------------------------------------------------------------- recovery


def recover(path: Path) -> Path:
    """Write a clean copy of a recording, with every whole chunk and with footers.

    The original is not touched. The copy says what was lost, in its footer and in
    `Recording.damage`.

    Returns
    -------
    Path
        ``<name>-recovered.xdf`` beside the original, numbered when that exists.

    Raises
    ------
    FileError, RecordingError
        As `read`; also when the copy cannot be written.
    """
    path = Path(path)
    original = read(path)
    with _bytes_of(path) as raw:
        found = _examine(raw, path)
        _, first_row = _losses(found, original.stamps, original.spec.rate_hz)
        note = strict_json({"recovered_from": path.name, "damage": original.damage})
        target, output = _new_file(path)
        try:
            _copy(raw, found, output, note, first_row)
            output.sync()
        except OSError as error:
            raise FileError(f"{target} cannot be written: {error.strerror or error}.") from error
        finally:
            output.close()
    return target


def _new_file(path: Path) -> tuple[Path, ChunkFile]:
    for number in range(1, 1000):
        tail = "-recovered" if number == 1 else f"-recovered-{number}"
        target = path.with_name(f"{path.stem}{tail}.xdf")
        try:
            return target, ChunkFile(target)
        except FileExistsError:
            continue
        except OSError as error:
            raise FileError(f"{target} cannot be written: {error.strerror or error}.") from error
    raise FileError(f"There are already 999 recovered copies of {path}.", "Remove some.")


def _copy(
    raw: Any,
    found: _Found,
    output: ChunkFile,
    note: str,
    raw_first: Mapping[int, int],
    change: Callable[[xdf.Piece, bytes], bytes] = lambda _, whole: whole,
) -> None:
    """Copy whole chunks; row numbers stay those of the original, so losses stay known."""
    t = 0.0
    for piece in found.pieces:
        if piece.tag == xdf.Tag.STREAM_FOOTER or (
            piece.tag == xdf.Tag.SAMPLES and piece.stream == Streams.CHECKS
        ):
            continue
        if piece.tag == xdf.Tag.BOUNDARY:
            output.boundary()
            continue
        whole = change(piece, bytes(raw[piece.start : piece.end]))
        if piece.tag != xdf.Tag.SAMPLES or piece.stream is None or piece.rows == 0:
            output.put(whole)
            continue
        layout = found.scan.layouts[piece.stream]
        if layout.format == "string":
            stamps = [t for t, _ in xdf.read_texts(raw, piece)]
        else:
            stamps = list(xdf.read_numbers(raw, piece, layout, t, 0.0)[0])
        t = float(stamps[-1])
        check = found.checks.get(piece.start)
        first = raw_first.get(piece.start, None if check is None else check.first_row)
        output.samples(piece.stream, whole, stamps, first)
        if output.unchecked >= 64:
            output.checks(t)
    output.checks(t)
    for stream in sorted(found.scan.layouts):
        output.footer(stream, note if stream == Streams.RAW else "")


def rewrite(
    path: Path,
    target: Path,
    header: Mapping[str, Any],
    spec: StreamSpec,
    text: Callable[[str, str], str],
) -> None:
    """Copy a recording with another file header and stream description, and changed texts.

    Numbers, stamps and row numbers stay as they are, so the copy replays to the same decisions.

    Parameters
    ----------
    path : Path
        A recording.
    target : Path
        The new file.
    header : mapping
        The new file header.
    spec : StreamSpec
        The new description of the stream, with the same columns.
    text : callable
        Gets a stream's name and one row of text, returns the row to write.

    Raises
    ------
    FileError, RecordingError
        As `read`; also when the target exists or cannot be written.
    """
    original = read(path)
    names = {Streams.INPUTS: "inputs", Streams.EVENTS: "events"}

    def change(piece: xdf.Piece, whole: bytes) -> bytes:
        stream = piece.stream
        if piece.tag == xdf.Tag.FILE_HEADER:
            return xdf.file_header(strict_json(header), str(header.get("started") or ""))
        if piece.tag == xdf.Tag.STREAM_HEADER and stream == Streams.RAW:
            return source_header(spec, 0.0)
        if piece.tag == xdf.Tag.SAMPLES and stream is not None:
            layout = found.scan.layouts[stream]
            if layout.format == "string":
                name = names.get(stream, found.scan.headers[stream].findtext("name") or "")
                rows = list(xdf.read_texts(raw, piece))
                changed = [text(name, row) for _, row in rows]
                return xdf.samples_chunk(stream, xdf.texts([t for t, _ in rows], changed))
        return whole

    with _bytes_of(path) as raw:
        found = _examine(raw, path)
        _, first_row = _losses(found, original.stamps, original.spec.rate_hz)
        try:
            output = ChunkFile(target)
            try:
                _copy(raw, found, output, "", first_row, change)
                output.sync()
            finally:
                output.close()
        except OSError as error:
            raise FileError(f"{target} cannot be written: {error.strerror or error}.") from error
