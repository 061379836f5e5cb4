"""The research log of a blinded session, opened after the end of the study."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.columns import plain
from engine.errors import FileError, InputError
from engine.frames import Event, frozen
from engine.recording import Recording, Table
from engine.replay import Opened
from engine.sealedlog import Numbers, Said, read_sealed_log

__all__ = ["REAL", "log_path", "opened", "unveil", "unveiled"]

REAL: Mapping[str, str] = {
    "real_level": "level",
    "real_reward": "reward",
    "real_rewards": "rewards",
}
"""Columns added to the decisions of an unveiled recording, and what they were in the log."""
PRESENTED = frozenset({"level", "reward", "rewards", "why"})
"""Columns that keep what was presented."""


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


def unveil(recording: Recording, private_key: bytes) -> Recording:
    """Return a blinded recording with its research log merged in.

    Raises
    ------
    InputError
        The session is not blinded: there is nothing to open.
    FileError
        As `opened`.
    """
    if not recording.header.get("blinded"):
        raise InputError(
            f"{recording.path} is not blinded: nothing in it is withheld.", "Leave --study out."
        )
    return unveiled(recording, opened(recording, private_key))


def unveiled(recording: Recording, log: Opened) -> Recording:
    """Return a blinded recording as an open one would be, with both of what is real and presented.

    Features, verdicts and thresholds are those of the log. Level and reward stay what was
    presented; the real ones are further columns, see `REAL`. What was withheld of events is put
    back, in the order of time. Where the log has no row for a grid point, all of that stays
    unknown.

    Parameters
    ----------
    recording : Recording
    log : Opened
        From `opened`.
    """
    header = {
        **recording.header,
        "unveiled": True,
        "control": log.control,
        "shift": log.shift,
    }
    damage = " ".join(d for d in (recording.damage, log.damage) if d)
    return replace(
        recording,
        header=header,
        features=_with(recording.features, log.features, frozenset({"t"})),
        decisions=_decisions(recording.decisions, log.decisions),
        events=_merged(recording.events, log.events),
        damage=damage or None,
    )


def _decisions(table: Table, rows: np.ndarray) -> Table:
    """Return the decisions with verdicts and thresholds of the log, and its level and rewards."""
    both = _with(table, rows, PRESENTED | {"t"})
    own = table.columns[1:]  # the log has no stamps
    if len(both.columns) != len(table.columns) or not set(REAL.values()) <= set(own):
        return both
    added = np.full((len(table.values), len(REAL)), np.nan)
    at, of = _common(table, rows, len(own))
    if len(at):
        added[at] = rows[of][:, [own.index(c) for c in REAL.values()]]
    return Table((*table.columns, *REAL), frozen(np.column_stack([both.values, added])))


def _with(table: Table, rows: np.ndarray, kept: frozenset[str]) -> Table:
    """Return a table with the rows of the log, but for the columns that are kept."""
    at, of = _common(table, rows, len(table.columns) - 1)
    if not len(at):
        return table
    values = table.values.copy()
    for i, name in enumerate(table.columns):
        if name not in kept:
            values[at, i] = rows[of, i - 1]
    return Table(table.columns, frozen(values))


def _common(table: Table, rows: np.ndarray, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the table and of the log that are of the same grid point."""
    none = np.zeros(0, dtype=np.int64)
    if "seq" not in table.columns or not len(table.values):
        return none, none
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != n_columns:
        return none, none
    _, at, of = np.intersect1d(table.column("seq"), rows[:, 0], return_indices=True)
    return at, of


def _merged(plain_events: Sequence[Event], log: Sequence[Event]) -> tuple[Event, ...]:
    """Return what was in plain, completed and joined by what was withheld, in order."""
    out = list(plain_events)
    added: list[Event] = []
    for event in log:
        at = next((i for i, seen in enumerate(out) if _reduced(seen, event)), None)
        if at is None:
            added.append(event)
        else:
            out[at] = event
    for event in added:
        # What follows from a grid point comes behind what was told of it.
        out.insert(bisect.bisect_right([e.seq for e in out], event.seq), event)
    return tuple(out)


def _reduced(seen: Event, whole: Event) -> bool:
    """Return whether an event is what is left of another one."""
    if (seen.kind, seen.seq) != (whole.kind, whole.seq) or len(seen.data) >= len(whole.data):
        return False
    return all(k in whole.data and plain(v) == plain(whole.data[k]) for k, v in seen.data.items())


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    filled = [p for p in parts if len(p)]
    return np.concatenate(filled) if filled else np.zeros((0, 0))
