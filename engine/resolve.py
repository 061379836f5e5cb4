"""Finding streams on the network and choosing one.

Streams are compared as data, never through LSL's text queries: a stream called ``O'Brien``
cannot be found by those.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine.agree import Choice, Seen, describe, read_columns
from engine.errors import StreamError
from engine.frames import StreamSpec
from engine.lsl import bury, load_pylsl, mark_used, within

__all__ = ["columns_of", "look", "misfits", "resolve"]

log = logging.getLogger(__name__)

# Timing and size, and why.
# LSL asks by multicast at once and each known peer only after 0.5 s: on one computer, looks of
# 0.5 s saw one to two of four outlets, looks of 0.6 s all of them.
SCAN_S = 1.0
DESCRIBE_S = 3.0  # for a description over the network
MAX_STREAMS = 256  # more is no laboratory but an attack or an accident
LISTED = 20  # streams in an error message

_NUMPY_NAMES = {
    1: "float32",
    2: "float64",
    3: "string",
    4: "int32",
    5: "int16",
    6: "int8",
    7: "int64",
}


def _seen(info: Any) -> Seen:
    return Seen(
        name=info.name(),
        stype=info.type(),
        source_id=info.source_id(),
        uid=info.uid(),
        host=info.hostname(),
        rate_hz=float(info.nominal_srate()),
        n_channels=int(info.channel_count()),
        dtype=_NUMPY_NAMES.get(info.channel_format(), "undefined"),
        created_t=float(info.created_at()),
        handle=info,
    )


def look(wait_s: float = SCAN_S) -> tuple[Seen, ...]:
    """Return the streams that answer within `wait_s`, at most 256, without descriptions.

    Two outlets with the same identity are two streams: they differ in `uid`.
    """
    pylsl = load_pylsl()
    mark_used()
    try:
        infos = within(wait_s + 2.0, lambda: pylsl.resolve_streams(wait_s), "resolve")
    except TimeoutError:
        log.warning("resolve timeout wait_s=%g", wait_s)
        return ()
    by_uid = {seen.uid: seen for seen in map(_seen, infos)}
    streams = sorted(by_uid.values(), key=lambda s: (s.name, s.stype, s.source_id, s.uid))
    return tuple(streams[:MAX_STREAMS])


def columns_of(stream: Seen, timeout_s: float = DESCRIBE_S) -> Seen:
    """Return the stream with its description read from the network.

    A description that is broken, over 1 MB or plays tricks with entities counts as none (empty
    columns); the columns of a stream that does not answer in time stay None.
    """
    if stream.columns is not None:
        return stream
    pylsl = load_pylsl()
    mark_used()
    inlets: list[Any] = []

    def ask() -> str:
        inlets.append(pylsl.StreamInlet(stream.handle, max_buflen=1, recover=False))
        return str(inlets[0].info(timeout=timeout_s).as_xml())

    try:
        xml = within(timeout_s + 1.0, ask, "describe")
    except (RuntimeError, TimeoutError) as error:  # pylsl's errors are RuntimeErrors
        log.warning("describe failed uid=%s: %s", stream.uid, error)
        return stream
    finally:
        bury(inlets)
    return replace(stream, columns=read_columns(xml))


def misfits(stream: Seen, choice: Choice) -> tuple[str, ...]:
    """Return in which of name, type and source_id a stream is not the one the room wants."""
    return tuple(
        key
        for key, wanted, actual in (
            ("name", choice.name, stream.name),
            ("type", choice.stype, stream.stype),
            ("source_id", choice.source_id, stream.source_id),
        )
        if wanted is not None
        and (wanted.casefold() != actual.casefold() if key == "type" else wanted != actual)
    )


def resolve(choice: Choice, timeout_s: float = 5.0) -> StreamSpec:
    """Find the one stream that the room wants and agree on what it promises.

    Raises
    ------
    StreamError
        No stream fits (every stream seen is listed with what differs), more than one fits, or
        the one that fits cannot be used.
    """
    deadline = time.monotonic() + timeout_s
    seen: dict[str, Seen] = {}
    settled = False
    while True:
        seen.update((s.uid, s) for s in look(SCAN_S))
        fitting = [s for s in seen.values() if not misfits(s, choice)]
        if fitting and settled:
            break
        settled = bool(fitting)  # one more round, for a twin that answers later
        if time.monotonic() >= deadline:
            break
    if not fitting:
        raise _nothing(choice, list(seen.values()), timeout_s)
    if len(fitting) > 1:
        raise StreamError(
            f"{len(fitting)} streams fit the room ({_wanted(choice)}):\n{_listed(fitting)}",
            "Switch all but one of them off."
            if len({(s.name, s.stype, s.source_id) for s in fitting}) == 1
            else "Give `source_id:` (or `name:`) in the room so that only one fits, or switch "
            "the other amplifiers off.",
        )
    return describe(columns_of(fitting[0]), choice)


def _wanted(choice: Choice) -> str:
    parts = [
        f"{key} {wanted!r}"
        for key, wanted in (
            ("name", choice.name),
            ("type", choice.stype),
            ("source_id", choice.source_id),
        )
        if wanted is not None
    ]
    return ", ".join(parts) or "any stream"


def _listed(streams: Sequence[Seen], notes: Sequence[str] = ()) -> str:
    lines = []
    for i, stream in enumerate(streams[:LISTED]):
        note = f": {notes[i]}" if notes else ""
        lines.append(f"  {stream}{note}")
    if len(streams) > LISTED:
        lines.append(f"  ... and {len(streams) - LISTED} more")
    return "\n".join(lines)


def _nothing(choice: Choice, seen: list[Seen], timeout_s: float) -> StreamError:
    if not seen:
        return StreamError(
            f"No stream at all was seen on the network within {timeout_s:g} s "
            f"(wanted: {_wanted(choice)}).",
            "Start the amplifier's LSL app. If it runs on another computer, name that computer "
            "under `lsl: known_peers:` in the room, use the same session id, and let the "
            "firewall pass LSL.",
        )
    seen.sort(key=lambda s: (len(misfits(s, choice)), str(s)))
    notes = [f"other {' and '.join(misfits(s, choice))}" for s in seen]
    return StreamError(
        f"No stream fits the room ({_wanted(choice)}). Seen within {timeout_s:g} s:\n"
        f"{_listed(seen, notes)}",
        "Start the amplifier's LSL app, or correct `stream:` in the room.",
    )
