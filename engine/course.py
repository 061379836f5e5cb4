"""What is fitted once for a person's course of sessions (`fit: course`), kept in a file of its own.

The file holds spectra and gains, not names. A later session of the same client and protocol filters
exactly alike, so a fixed threshold means the same in every session. The recording's header carries
what was used, so replay needs no such file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.clock import wall
from engine.columns import plain, strict_json
from engine.errors import InputError
from engine.fit import Fitted
from protocols.load import fits
from protocols.model import Protocol

__all__ = ["course_path", "is_course", "read_course", "write_course"]

FORMAT = 1


def is_course(protocol: Protocol) -> bool:
    """Return whether a protocol fits anything once for a whole course."""
    fit = fits(protocol)
    return any(f.band_hz is not None and fit[n] == "course" for n, f in protocol.features.items())


def course_path(folder: Path, client: str, protocol: Protocol) -> Path:
    """Return where a client's course of a protocol is kept."""
    return folder / f"{client}.{protocol.name}.course.json"


def _definition(protocol: Protocol) -> str:
    """Return a fingerprint of everything that decides what a fitted filter means."""
    what = {"condition": protocol.condition, "features": protocol.features}
    return hashlib.sha256(strict_json(what).encode()).hexdigest()


def read_course(path: Path, protocol: Protocol, rate_hz: float) -> dict[str, Any]:
    """Return what an earlier session fitted; empty before the first one.

    Raises
    ------
    InputError
        The file cannot be read, or was fitted for other features or another sampling rate.
    """
    if not path.exists():
        return {}
    start_anew = f"move {path.name} away to begin a new course (its thresholds begin anew, too)"
    try:
        stored = json.loads(path.read_text("utf-8"))
        found: dict[str, Any] = stored["fitted"]
        format_, definition = stored["format"], stored["definition"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the course in {path} cannot be read ({error})", start_anew) from None
    if format_ != FORMAT:
        raise InputError(f"{path} has format {format_}, this version reads {FORMAT}", start_anew)
    if definition != _definition(protocol):
        raise InputError(
            f"the features or the conditioning of {protocol.name} were changed since this course "
            f"began ({path.name})",
            f"use the protocol as it was, or {start_anew}",
        )
    rates = {row["rate_hz"] for row in found.values() if isinstance(row, Mapping)}
    if rates - {rate_hz}:
        raise InputError(
            f"this course was fitted at {' and '.join(f'{r:g}' for r in sorted(rates))} Hz, the "
            f"stream has {rate_hz:g} Hz",
            f"set the amplifier to that rate, or {start_anew}",
        )
    return found


def write_course(path: Path, protocol: Protocol, fitted: Fitted, recording: Path) -> None:
    """Keep what the first session of a course fitted."""
    made = wall().isoformat(timespec="seconds")
    blob = {
        "format": FORMAT,
        "protocol": protocol.name,
        "definition": _definition(protocol),
        "made": made,
        "recording": recording.name,
        "fitted": fitted.course,
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(plain(blob), allow_nan=False) + "\n", "utf-8")
    fresh.replace(path)
