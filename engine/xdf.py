"""XDF 1.0 chunks: written whole, and read from files that may be cut, damaged or still growing.

The format is an append-only list of chunks ``[length][tag][stream id][content]`` after the magic
``XDF:``. Nothing here knows what Neuroloop puts into a stream; see `engine.record` and
``docs/recording.md`` for that.

The reader never trusts a length: a chunk counts only when its content fits its own declaration
exactly. After damage it looks for the earliest position from which an unbroken run of whole
chunks leads to the next boundary chunk (or to the end of the file), so a flipped bit costs the
chunk it sits in, not the ten seconds to the boundary.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BOUNDARY",
    "FORMATS",
    "MAGIC",
    "Hole",
    "Layout",
    "Piece",
    "Scan",
    "Tag",
    "boundary",
    "chunk",
    "clock_offset",
    "file_header",
    "numbers",
    "parse_xml",
    "read_numbers",
    "read_texts",
    "samples_chunk",
    "scan",
    "stream_footer",
    "stream_header",
    "texts",
    "varint",
    "xml_safe",
]

MAGIC = b"XDF:"
BOUNDARY = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
FORMATS = {  # XDF's name of a number type -> numpy's
    "float32": "float32",
    "double64": "float64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
}
_MAX_TEXT_TAIL = 1 << 24  # longest stretch searched for a new start when no boundary follows
_START = re.compile(rb"(?=(?:\x01.|\x04.{4}|\x08.{8})[\x01-\x06]\x00)", re.DOTALL)
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Tag(IntEnum):
    """What a chunk holds."""

    FILE_HEADER = 1
    STREAM_HEADER = 2
    SAMPLES = 3
    CLOCK_OFFSET = 4
    BOUNDARY = 5
    STREAM_FOOTER = 6


# ---------------------------------------------------------------- writing


def varint(number: int) -> bytes:
    """Return XDF's variable-length integer: a length byte (1, 4, 8) and that many bytes."""
    if number < 1 << 8:
        return struct.pack("<BB", 1, number)
    if number < 1 << 32:
        return struct.pack("<BI", 4, number)
    return struct.pack("<BQ", 8, number)


def chunk(tag: Tag, content: bytes, stream: int | None = None) -> bytes:
    """Return one complete chunk.

    Parameters
    ----------
    tag : Tag
        What it holds.
    content : bytes
        Its content without tag and stream id.
    stream : int, optional
        Stream id, for every tag but FILE_HEADER and BOUNDARY.
    """
    head = struct.pack("<H", tag)
    if stream is not None:
        head += struct.pack("<I", stream)
    return varint(len(head) + len(content)) + head + content


def xml_safe(text: str) -> str:
    """Return `text` escaped for XML, characters that XML cannot carry replaced by U+FFFD."""
    return escape(_ILLEGAL.sub("\ufffd", text))


def file_header(blob: str, wall: str = "") -> bytes:
    """Return the FileHeader chunk: wall-clock start, if it may be told, and a JSON object."""
    when = f"<datetime>{xml_safe(wall)}</datetime>" if wall else ""
    xml = (
        f'<?xml version="1.0"?><info><version>1.0</version>{when}'
        f"<neuroloop>{xml_safe(blob)}</neuroloop></info>"
    )
    return chunk(Tag.FILE_HEADER, xml.encode())


def stream_header(
    stream: int,
    *,
    name: str,
    stype: str,
    layout: Layout,
    rate_hz: float,
    columns: Sequence[tuple[str, str, str]] = (),
    source_id: str = "",
    uid: str = "",
    host: str = "",
    created_s: float = 0.0,
    blob: str = "",
) -> bytes:
    """Return a StreamHeader chunk.

    Parameters
    ----------
    stream : int
        Stream id.
    name, stype, source_id, uid, host
        As LSL names them.
    layout : Layout
        Number of columns and their number type.
    rate_hz : float
        Nominal rate; 0 for an irregular stream.
    columns : sequence of (label, type, unit)
        Written as ``desc/channels/channel``.
    created_s : float
        LSL clock at creation, seconds.
    blob : str
        JSON kept in ``desc/neuroloop``.
    """
    rows = "".join(
        f"<channel><label>{xml_safe(label)}</label><type>{xml_safe(kind)}</type>"
        f"<unit>{xml_safe(unit)}</unit></channel>"
        for label, kind, unit in columns
    )
    xml = (
        '<?xml version="1.0"?><info>'
        f"<name>{xml_safe(name)}</name><type>{xml_safe(stype)}</type>"
        f"<channel_count>{layout.columns}</channel_count>"
        f"<nominal_srate>{rate_hz!r}</nominal_srate>"
        f"<channel_format>{layout.format}</channel_format>"
        f"<source_id>{xml_safe(source_id)}</source_id><version>1.10</version>"
        f"<created_at>{created_s!r}</created_at><uid>{xml_safe(uid)}</uid>"
        f"<session_id></session_id><hostname>{xml_safe(host)}</hostname>"
        f"<desc><channels>{rows}</channels><neuroloop>{xml_safe(blob)}</neuroloop></desc></info>"
    )
    return chunk(Tag.STREAM_HEADER, xml.encode(), stream)


def stream_footer(stream: int, first_s: float, last_s: float, count: int, blob: str = "") -> bytes:
    """Return a StreamFooter chunk: first and last stamp, number of samples, a JSON note."""
    xml = (
        '<?xml version="1.0"?><info>'
        f"<first_timestamp>{first_s!r}</first_timestamp>"
        f"<last_timestamp>{last_s!r}</last_timestamp>"
        f"<sample_count>{count}</sample_count>"
        f"<neuroloop>{xml_safe(blob)}</neuroloop></info>"
    )
    return chunk(Tag.STREAM_FOOTER, xml.encode(), stream)


def clock_offset(stream: int, t: float, offset_s: float) -> bytes:
    """Return a ClockOffset chunk: at local time `t`, source stamps + `offset_s` = local time."""
    return chunk(Tag.CLOCK_OFFSET, struct.pack("<dd", t, offset_s), stream)


def boundary() -> bytes:
    """Return a Boundary chunk, the mark that readers look for after damage."""
    return chunk(Tag.BOUNDARY, BOUNDARY)


def _row_type(columns: int, dtype: str) -> np.dtype[Any]:
    values = np.dtype(dtype).newbyteorder("<")
    return np.dtype([("stamped", "u1"), ("t", "<f8"), ("v", values, (columns,))])


def numbers(stamps: NDArray[np.float64], values: NDArray[Any]) -> bytes:
    """Return the content of a Samples chunk of numbers, every row with its own stamp.

    Parameters
    ----------
    stamps : ndarray, shape (n,)
        Seconds.
    values : ndarray, shape (n, columns)
        In the stream's number type.
    """
    rows = np.empty(len(values), _row_type(values.shape[1], values.dtype.name))
    rows["stamped"], rows["t"], rows["v"] = 8, stamps, values
    return varint(len(rows)) + rows.tobytes()


def texts(stamps: Sequence[float], rows: Sequence[str]) -> bytes:
    """Return the content of a Samples chunk of one column of text."""
    parts = [varint(len(rows))]
    for t, row in zip(stamps, rows, strict=True):
        raw = row.encode("utf-8", "replace")
        parts += [b"\x08", struct.pack("<d", t), varint(len(raw)), raw]
    return b"".join(parts)


def samples_chunk(stream: int, content: bytes) -> bytes:
    """Return a Samples chunk around the content made by `numbers` or `texts`."""
    return chunk(Tag.SAMPLES, content, stream)


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Layout:
    """Number of columns of a stream and its number type (XDF's name, or ``string``)."""

    columns: int
    format: str

    @property
    def dtype(self) -> str:
        """Numpy's name of the number type; KeyError for text."""
        return FORMATS[self.format]


@dataclass(frozen=True, slots=True)
class Piece:
    """One whole chunk of a file: where it is and what it holds."""

    start: int
    body: int  # first byte of the content, after tag and stream id
    end: int
    tag: int
    stream: int | None
    rows: int = 0  # of a Samples chunk


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes `start` to `end` that hold no whole chunk."""

    start: int
    end: int
    tail: bool  # reaches the end of the file: cut off, or still being written


@dataclass
class Scan:
    """What a file holds: whole chunks and holes in file order, and the streams' layouts."""

    pieces: list[Piece] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    layouts: dict[int, Layout] = field(default_factory=dict)
    headers: dict[int, ElementTree.Element] = field(default_factory=dict)


def _varint_at(data: memoryview, at: int, end: int) -> tuple[int, int] | None:
    """Return (number, position after it), or None."""
    if at >= end or data[at] not in (1, 4, 8) or at + 1 + data[at] > end:
        return None
    size = data[at]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def parse_xml(raw: Any, piece: Piece) -> ElementTree.Element | None:
    """Return the XML of a header or footer chunk, None when it cannot be parsed."""
    try:
        return ElementTree.fromstring(bytes(raw[piece.body : piece.end]))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None


def _layout(xml: ElementTree.Element) -> Layout | None:
    try:
        columns = int(xml.findtext("channel_count", ""))
    except ValueError:
        return None
    kind = xml.findtext("channel_format", "")
    return Layout(columns, kind) if columns >= 0 and kind in {*FORMATS, "string"} else None


def _number_rows(data: memoryview, at: int, end: int, layout: Layout) -> int | None:
    """Return the number of rows when the content fits its declaration exactly, else None."""
    head = _varint_at(data, at, end)
    if head is None:
        return None
    rows, at = head
    width = layout.columns * np.dtype(layout.dtype).itemsize
    if end - at == rows * (9 + width):
        # a wrong length can only pass here together with a wrong count
        return rows if rows == 0 or (data[at] == 8 and data[end - 9 - width] == 8) else None
    for _ in range(rows):  # other writers may leave stamps out
        if at >= end or data[at] not in (0, 8):
            return None
        at += 1 + data[at] + width
    return rows if at == end else None


def _text_rows(data: memoryview, at: int, end: int, layout: Layout) -> int | None:
    head = _varint_at(data, at, end)
    if head is None:
        return None
    rows, at = head
    for _ in range(rows):
        if at >= end or data[at] not in (0, 8):
            return None
        at += 1 + data[at]
        for _ in range(layout.columns):
            size = _varint_at(data, at, end)
            if size is None:
                return None
            at = size[0] + size[1]
            if at > end:
                return None
    return rows if at == end else None


def _piece_at(data: memoryview, start: int, end: int, found: Scan) -> Piece | None:
    """Return the whole chunk that begins at `start`, or None when there is none."""
    head = _varint_at(data, start, end)
    if head is None:
        return None
    length, at = head
    stop = at + length
    if length < 2 or stop > end:
        return None
    tag, at = int.from_bytes(data[at : at + 2], "little"), at + 2
    if tag == Tag.FILE_HEADER:
        ok = bytes(data[at : at + 5]) == b"<?xml"
        return Piece(start, at, stop, tag, None) if ok else None
    if tag == Tag.BOUNDARY:
        return Piece(start, at, stop, tag, None) if data[at:stop] == BOUNDARY else None
    if tag not in (2, 3, 4, 6) or at + 4 > stop:
        return None
    stream, at = int.from_bytes(data[at : at + 4], "little"), at + 4
    piece = Piece(start, at, stop, tag, stream)
    if tag == Tag.STREAM_HEADER:
        return piece if bytes(data[at : at + 5]) == b"<?xml" else None
    layout = found.layouts.get(stream)
    if layout is None:
        return None
    if tag == Tag.CLOCK_OFFSET:
        return piece if stop - at == 16 else None
    if tag == Tag.STREAM_FOOTER:
        return piece if bytes(data[at : at + 5]) == b"<?xml" else None
    count = _text_rows if layout.format == "string" else _number_rows
    rows = count(data, at, stop, layout)
    return None if rows is None else Piece(start, at, stop, tag, stream, rows)


def _next_boundary(data: memoryview, raw: Any, after: int, end: int) -> int | None:
    """Return the first byte of the next boundary chunk."""
    at: int = after
    whole = boundary()
    head = len(whole) - len(BOUNDARY)
    while (at := int(raw.find(BOUNDARY, at, end))) != -1:
        if at - head >= after and data[at - head : at + len(BOUNDARY)] == whole:
            return at - head
        at += 1
    return None


def _leads_to(data: memoryview, start: int, goal: int, end: int, found: Scan) -> bool:
    """Whether whole chunks lead from `start` exactly to `goal` (the end may be a cut chunk)."""
    at, steps = start, 0
    while at < goal:
        piece = _piece_at(data, at, end, found)
        if piece is None:
            return goal == end and steps >= 2
        at, steps = piece.end, steps + 1
    return at == goal


def _restart(data: memoryview, raw: Any, after: int, end: int, found: Scan) -> int | None:
    """Return the earliest position after damage where whole chunks begin again."""
    mark = _next_boundary(data, raw, after, end)
    goal = end if mark is None else mark
    stop = min(goal, after + _MAX_TEXT_TAIL)
    for match in _START.finditer(raw, after + 1, stop):
        if _leads_to(data, match.start(), goal, end, found):
            return match.start()
    return mark


def scan(raw: Any) -> Scan:
    """Return every whole chunk of an XDF file, whatever happened to the file.

    Parameters
    ----------
    raw : bytes or mmap
        The file.

    Raises
    ------
    ValueError
        The magic is missing: this is no XDF file.
    """
    if bytes(raw[:4]) != MAGIC:
        raise ValueError("not an XDF file")
    found = Scan()
    with memoryview(raw) as data:
        at, end = len(MAGIC), len(raw)
        while at < end:
            piece = _piece_at(data, at, end, found)
            if piece is not None and piece.tag == Tag.STREAM_HEADER:
                xml = parse_xml(raw, piece)
                layout = None if xml is None else _layout(xml)
                if xml is None or layout is None or piece.stream is None:
                    piece = None
                else:
                    found.layouts[piece.stream] = layout
                    found.headers[piece.stream] = xml
            if piece is None:
                again = _restart(data, raw, at, end, found)
                found.holes.append(Hole(at, end if again is None else again, again is None))
                if again is None:
                    break
                at = again
                continue
            found.pieces.append(piece)
            at = piece.end
    return found


def read_numbers(
    raw: Any, piece: Piece, layout: Layout, previous_s: float, step_s: float
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return stamps (n,) and values (n, columns) of a Samples chunk, copied out of the file.

    Parameters
    ----------
    raw : bytes or mmap
        The file.
    piece : Piece
        A Samples chunk of a numeric stream.
    layout : Layout
        Of its stream.
    previous_s, step_s : float
        Last stamp before this chunk and nominal interval, for rows without a stamp.
    """
    head = 1 + raw[piece.body]
    start = piece.body + head
    kind = _row_type(layout.columns, layout.dtype)
    if piece.end - start == piece.rows * kind.itemsize:
        rows = np.frombuffer(bytes(raw[start : piece.end]), kind)
        if (rows["stamped"] == 8).all():
            return rows["t"].astype(np.float64), rows["v"].astype(layout.dtype)
    stamps = np.empty(piece.rows)
    values = np.empty((piece.rows, layout.columns), layout.dtype)
    width = layout.columns * values.itemsize
    at = start
    for k in range(piece.rows):
        if raw[at] == 8:
            previous_s = struct.unpack("<d", raw[at + 1 : at + 9])[0]
        else:
            previous_s += step_s
        at += 1 + raw[at]
        stamps[k] = previous_s
        values[k] = np.frombuffer(bytes(raw[at : at + width]), values.dtype.newbyteorder("<"))
        at += width
    return stamps, values


def read_texts(raw: Any, piece: Piece) -> Iterator[tuple[float, str]]:
    """Yield stamp and text of every row of a Samples chunk with one column of text."""
    with memoryview(raw) as data:
        at = piece.body + 1 + data[piece.body]
        t = 0.0
        for _ in range(piece.rows):
            if data[at] == 8:
                t = struct.unpack("<d", data[at + 1 : at + 9])[0]
            at += 1 + data[at]
            size = _varint_at(data, at, piece.end)
            assert size is not None  # the scan has measured this chunk
            length, at = size
            yield t, bytes(data[at : at + length]).decode("utf-8", "replace")
            at += length
