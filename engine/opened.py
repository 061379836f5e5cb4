"""The research log of a blinded session, opened after the end of the study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import FileError
from engine.frames import Event
from engine.recording import Recording
from engine.replay import Opened
from engine.sealedlog import Numbers, Said, read_sealed_log

__all__ = ["log_path", "opened"]


def log_path(recording: Path) -> Path:
    """Return where the research log of a recording is."""
    return recording.with_suffix(".sealed")


def opened(recording: Recording, private_key: bytes) -> Opened:
    """Return what a session's research log holds.

    Parameters
    ----------
    recording : Recording
    private_key : bytes
        Of the study, from `engine.seal.unseal`.

    Raises
    ------
    FileError
        There is none, it belongs to another recording, or the key does not open it.
    """
    path = log_path(recording.path)
    log = read_sealed_log(path, private_key)
    wanted = recording.header.get("sealed_log")
    if wanted and wanted != log.fingerprint:
        raise FileError(
            f"{path} belongs to another recording.", "Put the log of this session beside it."
        )
    opening: Mapping[str, Any] = {}
    features: list[np.ndarray] = []
    decisions: list[np.ndarray] = []
    events: list[Event] = []
    for entry in log.entries:
        if isinstance(entry, Numbers):
            {"features": features, "decisions": decisions}.get(entry.name, []).append(entry.rows)
        elif isinstance(entry, Said) and isinstance(entry.value, Mapping):
            opening = entry.value.get("opening", opening)
            for row in entry.value.get("events", ()):
                events.append(Event(_number(row["t"]), int(row["seq"]), row["kind"], row["data"]))
    if not opening:
        raise FileError(f"{path} does not begin with its opening.", "Restore the whole file.")
    return Opened(
        opening.get("control"),
        float(opening.get("shift") or 0.0),
        _joined(features),
        _joined(decisions),
        tuple(events),
        " ".join(log.damage),
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    filled = [p for p in parts if len(p)]
    return np.concatenate(filled) if filled else np.zeros((0, 0))
