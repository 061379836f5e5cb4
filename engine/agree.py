"""What a stream promises, and what of it can be believed (pure: no network here).

What is not declared is not guessed: a stream without labels or units is refused until the room
states them. Foreign text is compared as data and shown escaped.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from xml.parsers import expat

from engine.errors import StreamError
from engine.frames import Channel, StreamSpec
from engine.montage import clean_label, kind_of

__all__ = [
    "Choice",
    "Column",
    "Found",
    "Seen",
    "describe",
    "differences",
    "found",
    "read_columns",
    "renamed",
    "shown",
    "to_uv",
]

log = logging.getLogger(__name__)

MAX_XML = 1_000_000  # characters of a description; 1000 channels take 0.2 million
MAX_RATE_HZ = 100_000.0
SHOWN = 64  # characters of a foreign name on screen
_NO_ANSWER = "It did not answer when asked for its description."
VOLTAGES = frozenset({"eeg", "eog", "ecg", "emg"})


class Choice(Protocol):
    """Which stream the room wants and what it says of it (`engine.room.StreamChoice`)."""

    @property
    def name(self) -> str | None: ...
    @property
    def stype(self) -> str | None: ...
    @property
    def source_id(self) -> str | None: ...
    @property
    def channels(self) -> tuple[str, ...] | None: ...
    @property
    def unit(self) -> str | None: ...
    @property
    def not_eeg(self) -> tuple[str, ...]: ...
    @property
    def counter(self) -> str | None: ...
    @property
    def rate_hz(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Column:
    """What a stream's description says of one column, as written."""

    label: str
    ctype: str
    unit: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream on the network.

    `columns` is None while the description is not known, and empty when there is none (or it is
    broken or too long). `created_t` is when the outlet was made, by the LSL clock of its computer;
    `handle` is LSL's own object, for opening the stream.
    """

    name: str
    stype: str
    source_id: str
    uid: str
    host: str
    rate_hz: float
    n_channels: int
    dtype: str
    columns: tuple[Column, ...] | None = None
    created_t: float = math.inf
    handle: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        rate = f"{self.rate_hz:g} Hz" if self.rate_hz else "irregular rate"
        return (
            f"'{shown(self.name)}', type '{shown(self.stype)}', source_id "
            f"'{shown(self.source_id)}', {self.n_channels} x {self.dtype}, {rate}, "
            f"on '{shown(self.host)}'"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A stream and everything that would keep it from being used, as sentences."""

    stream: Seen
    problems: tuple[str, ...]


def shown(text: str, limit: int = SHOWN) -> str:
    """Return foreign text fit for a screen: control and direction marks escaped, cut."""
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text[: limit + 1]
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_CONTROL_REFERENCE = re.compile(r"&#(?:x0*([0-9a-f]{1,2})|0*([0-9]{1,2}));", re.IGNORECASE)


def read_columns(xml: str) -> tuple[Column, ...]:
    """Return the columns that a stream's XML describes; empty when it cannot be trusted."""
    if not xml or len(xml) > MAX_XML:
        return ()

    def printable(match: re.Match[str]) -> str:
        code = int(match[1], 16) if match[1] else int(match[2])
        return match[0] if code in (9, 10, 13) or code >= 32 else "\ufffd"

    text = _CONTROL_REFERENCE.sub(printable, _CONTROL.sub("\ufffd", xml))
    path: list[str] = []
    rows: list[dict[str, str]] = []
    here = ["info", "desc", "channels", "channel"]

    def start(tag: str, _attributes: dict[str, str]) -> None:
        path.append(tag)
        if path == here:
            rows.append({})

    def end(_tag: str) -> None:
        path.pop()

    def data(part: str) -> None:
        if len(path) == 5 and path[:4] == here:
            rows[-1][path[4]] = rows[-1].get(path[4], "") + part

    def entity(*_: object) -> None:
        raise ValueError("entities are not allowed")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError) as error:
        log.warning("description refused: %s", error)
        return ()
    return tuple(Column(r.get("label", ""), r.get("type", ""), r.get("unit", "")) for r in rows)


# ---------------------------------------------------------------- agreeing

_UNITS = {
    "uv": 1.0,
    "\u00b5v": 1.0,
    "\u03bcv": 1.0,
    "microvolt": 1.0,
    "microvolts": 1.0,
    "nv": 1e-3,
    "nanovolt": 1e-3,
    "nanovolts": 1e-3,
    "mv": 1e3,
    "millivolt": 1e3,
    "millivolts": 1e3,
    "v": 1e6,
    "volt": 1e6,
    "volts": 1e6,
    # The power of ten of a volt, as MNE-LSL may write it. Its 0 can mean volts or nothing said.
    "-9": 1e-3,
    "-6": 1.0,
    "-3": 1e3,
}


def to_uv(unit: str) -> float | None:
    """Return the factor to microvolts, or None for an unknown unit.

    Examples
    --------
    >>> to_uv("microvolts"), to_uv("µV"), to_uv("V"), to_uv("banana"), to_uv("MV")
    (1.0, 1.0, 1000000.0, None, None)
    """
    text = unit.strip()
    if text == "MV":  # a megavolt is a millivolt only to somebody who guesses
        return None
    return _UNITS.get(text.lower())


def _basic_problems(stream: Seen) -> list[str]:
    """Return what makes a stream no source of EEG whatever the room says."""
    problems = []
    if stream.dtype in ("string", "undefined"):
        problems.append(f"It carries {stream.dtype} values, not numbers.")
    rate = stream.rate_hz
    if rate == 0:
        problems.append("Its rate is irregular; EEG needs a fixed sampling rate.")
    elif not math.isfinite(rate) or rate < 0 or rate > MAX_RATE_HZ:
        problems.append(f"Its rate of {rate:g} Hz is impossible.")
    if stream.n_channels < 1:
        problems.append("It has no channels.")
    return problems


def _numbers(columns: Sequence[int]) -> str:
    some = ", ".join(str(i + 1) for i in columns[:8])
    more = ", ..." if len(columns) > 8 else ""
    return f"column{'s' if len(columns) > 1 else ''} {some}{more}"


def _label_problem(stream: Seen) -> str:
    columns = stream.columns or ()
    if not any(c.label.strip() for c in columns):
        return "Its channels have no labels."
    if len(columns) != stream.n_channels:
        return f"It describes {len(columns)} of its {stream.n_channels} channels."
    empty = [i for i, c in enumerate(columns) if not clean_label(c.label)]
    return f"No label for {_numbers(empty)}." if empty else ""


def _unit_problems(kinds: Sequence[str], units: Sequence[str]) -> list[str]:
    """Return what is wrong with the units of the voltages among the columns."""
    voltages = [
        (i, unit)
        for i, (kind, unit) in enumerate(zip(kinds, units, strict=True))
        if kind in VOLTAGES
    ]
    missing = [i for i, unit in voltages if not unit]
    unknown = [i for i, unit in voltages if unit and to_uv(unit) is None]
    problems = []
    if missing:
        problems.append(f"No unit is declared for {_numbers(missing)}.")
    if unknown:
        some = sorted({f"'{shown(units[i], 16)}'" for i in unknown})[:4]
        problems.append(f"Unknown unit {', '.join(some)} of {_numbers(unknown)}.")
    return problems


def describe(stream: Seen, choice: Choice | None = None) -> StreamSpec:
    """Return what a stream promises, with the room's additions; refuse what stays unknown.

    Parameters
    ----------
    stream : Seen
        With its columns (see `columns_of`).
    choice : Choice or None
        The room's names, unit, non-EEG columns, counter and expected rate.

    Raises
    ------
    StreamError
        String or irregular stream, impossible rate, missing labels or units, or something the
        room says does not fit.
    """
    who = f"The stream '{shown(stream.name)}' on '{shown(stream.host)}' cannot be used."
    basic = _basic_problems(stream)
    if basic:
        raise StreamError(f"{who} {' '.join(basic)}", "Choose another stream in the room.")
    if stream.columns is None:
        raise StreamError(
            f"{who} {_NO_ANSWER}", "Look at the amplifier's LSL app and the network, then retry."
        )
    columns = stream.columns
    given = choice.channels if choice else None
    if given is not None:
        if len(given) != stream.n_channels:
            raise StreamError(
                f"{who} The room names {len(given)} channels, the stream has {stream.n_channels}.",
                "Correct `channels:` in the room: one name for each column, in order.",
            )
        if len(columns) != stream.n_channels:
            columns = tuple(Column("", "", "") for _ in given)
        columns = tuple(replace(c, label=n) for c, n in zip(columns, given, strict=True))
    stream = replace(stream, columns=columns)
    problem = _label_problem(stream)
    if problem:
        raise StreamError(
            f"{who} {problem}",
            "Name the electrodes in the amplifier's software, or list the names in the room "
            "under `channels:`, in the order of the columns.",
        )
    channels = _channels(stream, choice, who)
    if choice and choice.rate_hz is not None and stream.rate_hz != choice.rate_hz:
        raise StreamError(
            f"{who} Its rate is {stream.rate_hz:g} Hz, the room expects {choice.rate_hz:g} Hz.",
            "Set the amplifier to that rate, or correct `rate:` in the room.",
        )
    return StreamSpec(
        name=stream.name,
        stype=stream.stype,
        source_id=stream.source_id,
        uid=stream.uid,
        host=stream.host,
        rate_hz=stream.rate_hz,
        channels=channels,
        dtype=stream.dtype,
    )


def _channels(stream: Seen, choice: Choice | None, who: str) -> tuple[Channel, ...]:
    columns = stream.columns or ()
    names = [clean_label(c.label) for c in columns]
    counter = (choice.counter,) if choice and choice.counter else ()
    not_eeg = choice.not_eeg if choice else ()
    for key, listed in (("not_eeg", not_eeg), ("counter", counter)):
        absent = [n for n in listed if _key(n) not in map(_key, names)]
        if absent:
            raise StreamError(
                f"{who} The room's `{key}:` names {', '.join(map(repr, absent))}, which the "
                "stream does not have.",
                f"The stream has: {', '.join(shown(n, 16) for n in names)}.",
            )
    forced = {_key(n): "misc" for n in not_eeg} | {_key(n): "counter" for n in counter}
    kinds = [forced.get(_key(n)) or k for n, k in zip(names, _kinds(stream), strict=True)]
    units = [c.unit.strip() for c in columns]
    if choice and choice.unit:
        units = [choice.unit if k in VOLTAGES else u for k, u in zip(kinds, units, strict=True)]
    problems = _unit_problems(kinds, units)
    if problems:
        raise StreamError(
            f"{who} {' '.join(problems)}",
            "Set `unit:` in the room (uV, mV or V; the amplifier's manual says which), or name "
            "columns that are no voltages under `not_eeg:`.",
        )
    return tuple(
        Channel(
            name=name,
            kind=kind,
            unit=unit,
            to_uv=(to_uv(unit) or 1.0) if kind in VOLTAGES else 1.0,
            label=column.label,
        )
        for name, kind, unit, column in zip(names, kinds, units, columns, strict=True)
    )


def _key(label: str) -> str:
    """Return what two spellings of a column's name have in common."""
    return clean_label(label).casefold()


def _kinds(stream: Seen) -> list[str]:
    """Return the kind of every column; a column without a type has the stream's."""
    return [kind_of(c.label, c.ctype or stream.stype) for c in stream.columns or ()]


def renamed(spec: StreamSpec) -> tuple[str, ...]:
    """Return one sentence for each channel whose label was cleaned (nothing in silence)."""
    return tuple(
        f"'{shown(c.label)}' is used as {c.name}."
        for c in spec.channels
        if c.label and c.label != c.name
    )


def found(streams: Sequence[Seen]) -> tuple[Found, ...]:
    """Return every stream with what would keep it from being used as EEG.

    Parameters
    ----------
    streams : sequence of Seen
        With their descriptions (see `engine.resolve.columns_of`).
    """
    return tuple(Found(s, tuple(_problems(s, streams))) for s in streams)


def _problems(stream: Seen, streams: Sequence[Seen]) -> list[str]:
    problems = _basic_problems(stream)
    if stream.stype.casefold() != "eeg":
        problems.append(f"Its type is '{shown(stream.stype)}', not 'EEG'.")
    if not stream.source_id:
        problems.append("It has no source_id: once lost, it cannot be recognised again.")
    twins = [s for s in streams if _identity(s) == _identity(stream) and s.uid != stream.uid]
    if twins:
        plural = "s" if len(twins) > 1 else ""
        problems.append(
            f"It has {len(twins)} twin{plural} on the network, with the same "
            "name, type and source_id."
        )
    if stream.columns is None:
        return [*problems, _NO_ANSWER]
    if stream.dtype == "string":
        return problems
    label_problem = _label_problem(stream)
    if label_problem:
        problems.append(label_problem)
    names = [clean_label(c.label) for c in stream.columns]
    doubled = sorted({n for n in names if n and names.count(n) > 1})
    if doubled:
        problems.append(f"More than one channel is called {', '.join(map(shown, doubled[:8]))}.")
    if len(stream.columns) == stream.n_channels:
        kinds = _kinds(stream)
        problems += _unit_problems(kinds, [c.unit.strip() for c in stream.columns])
        if "eeg" not in kinds:
            problems.append("None of its channels is EEG.")
    return problems


def _identity(stream: Seen | StreamSpec) -> tuple[str, str, str]:
    return (stream.name, stream.stype, stream.source_id)


def differences(agreed: StreamSpec, now: StreamSpec) -> tuple[str, ...]:
    """Return how a stream differs from what was agreed, as readable sentences.

    The uid is not compared: a restarted amplifier has a new one.
    """
    facts = (
        ("name", shown(agreed.name), shown(now.name)),
        ("type", shown(agreed.stype), shown(now.stype)),
        ("source_id", shown(agreed.source_id), shown(now.source_id)),
        ("host", shown(agreed.host), shown(now.host)),
        ("rate", f"{agreed.rate_hz:g} Hz", f"{now.rate_hz:g} Hz"),
        ("number type", agreed.dtype, now.dtype),
        ("channels", str(len(agreed.channels)), str(len(now.channels))),
    )
    lines = [f"{what} {before} -> {after}" for what, before, after in facts if before != after]
    if len(agreed.channels) != len(now.channels):
        gone = [c.name for c in agreed.channels if c.name not in now.names]
        new = [c.name for c in now.channels if c.name not in agreed.names]
        for word, names in (("missing", gone), ("new", new)):
            if names:
                lines.append(f"{word}: {', '.join(shown(n, 16) for n in names[:8])}")
        return tuple(lines)
    changed = []
    for i, (a, b) in enumerate(zip(agreed.channels, now.channels, strict=True)):
        for what, before, after in (("", a.name, b.name), (" unit", a.unit, b.unit)):
            if before != after:
                changed.append(f"column {i + 1}{what} {shown(before, 16)} -> {shown(after, 16)}")
        if a.kind != b.kind:
            changed.append(f"column {i + 1} {a.kind} -> {b.kind}")
    if len(changed) > 6:
        changed = [*changed[:6], f"and {len(changed) - 6} more columns"]
    return tuple(lines + changed)
