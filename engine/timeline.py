"""What happened in a recording, as rows for an events table (BIDS ``events.tsv``).

Onsets count the seconds of the exported file, which holds the received samples only: where samples
are missing, time jumps, and a row ``BAD_gap`` says by how much. Free text of the operator never
becomes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.frames import Chunk, Event, Gap, Gate
from engine.recording import Recording

__all__ = ["COLUMNS", "TRIAL_TYPES", "Places", "Row", "rows"]

TRIAL_TYPES: Mapping[str, str] = {
    "baseline_eo": "Rest with open eyes, from which baselines are learned.",
    "baseline_ec": "Rest with closed eyes, from which baselines are learned.",
    "feedback": "Training block: picture and sound follow the person's brain.",
    "rest": "Pause or rest without feedback.",
    "transfer": "Training block without feedback.",
    "cue": "Instruction and countdown before a block.",
    "reward": "The reward was given.",
    "threshold_change": "A threshold was learned, set or moved; value is the new one.",
    "threshold_kept": "A threshold that adapts stays where it is; cause tells why.",
    "trial": "A trial's task ended; value is its mean in \u00b5V, cause the task, or why rejected.",
    "question": "The person was asked something after a block; value is the question.",
    "answer": "The person answered; what was said is not in this table.",
    "go": "The person or the operator began a block; cause tells who.",
    "drowsy": "The guard against sleep acted.",
    "fault": "A part from another package failed; cause tells which.",
    "artifact_on": "A gate closed: feedback stopped because of the signal; cause tells why.",
    "artifact_off": "The gates opened again.",
    "pause": "The session was held; cause tells why.",
    "resume": "That cause of hold ended.",
    "bad_channel": "The operator marked a channel as bad.",
    "stop": "The session ended; cause tells how.",
    "marker": "A marker of another program; cause is its stream, value its text.",
    "BAD_padding": "EDF holds whole seconds only: the end of the file is filled up.",
    "BAD_gap": "Samples are missing before this one; value is the number of seconds.",
}

COLUMNS: Mapping[str, str] = {
    "value": "A number or text that belongs to the event, see the trial types.",
    "cause": "Why, or which block, feature, channel or stream.",
    "sample": "Row of the data file, counted from 0.",
    "seq": "Sample number of the session, missing samples counted too.",
    "stamp": "LSL time stamp of that sample at its source, in seconds.",
}

Said = Callable[[Mapping[str, Any]], tuple[str, str, str]]
"""From an event's data to trial type, value and cause."""

_BLOCKS = {"train": "feedback", "transfer": "transfer", "rest": "rest", "post": "rest"}


@dataclass(frozen=True, slots=True)
class Row:
    """One event; `row` is the row of the data file, `lasts_s` 0 for a moment."""

    row: int
    lasts_s: float
    trial_type: str
    value: str = ""
    cause: str = ""


class Places:
    """Where sample numbers and stamps lie in the file of received samples."""

    def __init__(self, recording: Recording) -> None:
        self._seq = recording.seq()
        self._stamps = recording.stamps
        offsets = recording.clock_offsets
        self._offset_s = float(np.median(offsets[:, 1])) if len(offsets) else 0.0
        self.n = len(self._stamps)

    def of_seq(self, seq: int) -> int:
        """Return the row of a sample number, or of the next one received."""
        return min(int(np.searchsorted(self._seq, seq)), max(self.n - 1, 0))

    def end_of(self, seq: int) -> int:
        """Return the row just behind the samples below a sample number."""
        return int(np.searchsorted(self._seq, seq))

    def of_local(self, t: float) -> int:
        """Return the row whose sample was taken at, or next after, a time of our clock."""
        at = int(np.searchsorted(self._stamps, t - self._offset_s))
        return min(at, max(self.n - 1, 0))

    def seq(self, row: int) -> int:
        """Return the sample number of a row."""
        return int(self._seq[row])

    def stamp(self, row: int) -> float:
        """Return the raw stamp of a row."""
        return float(self._stamps[row])


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _block(data: Mapping[str, Any]) -> str:
    kind = str(data.get("kind", ""))
    if kind == "baseline":
        return "baseline_ec" if data.get("eyes") == "closed" else "baseline_eo"
    return "cue" if kind == "ready" else _BLOCKS.get(kind, "")


def _blocks(recording: Recording, places: Places, rate_hz: float) -> Iterator[Row]:
    """Yield one row per phase, as long as it lasted in the file."""
    begun: Event | None = None
    last = Event(0.0, 1 << 62, "end")
    for event in (*recording.events, last):
        ends = event.kind in ("phase_begin", "phase_end", "done", "stop", "failed", "end")
        if begun is not None and ends:
            trial_type = _block(begun.data)
            start = places.of_seq(begun.seq)
            stop = places.end_of(event.seq)
            if trial_type:
                name = str(begun.data.get("name", ""))
                yield Row(start, max(0, stop - start) / rate_hz, trial_type, "", name)
            begun = None
        if event.kind == "phase_begin":
            begun = event


def _trial(d: Mapping[str, Any]) -> tuple[str, str, str]:
    task = str(d.get("task", ""))
    if d.get("rejected"):
        return "trial", "", f"{task} rejected {d['rejected']}"
    return "trial", _text(d.get("mean_uv")), task


def _rule(d: Mapping[str, Any], how: str) -> str:
    return f"{d.get('feature', '')} {d.get('direction', '')} {how}"


_MOVED = {"threshold_block": "block", "shaped": "shaped"}
_KEPT = {"threshold_kept": "kept", "threshold_frozen": "frozen", "drift_guard": "drift guard"}


def _moved(how: str) -> Said:
    return lambda d: ("threshold_change", _text(d.get("new")), _rule(d, how))


def _kept(how: str) -> Said:
    return lambda d: ("threshold_kept", _text(d.get("new")), _rule(d, how))


def _moments(recording: Recording, places: Places) -> Iterator[Row]:
    """Yield the rows of single events."""
    make: dict[str, Said] = {
        "reward": lambda d: ("reward", _text(d.get("value")), str(d.get("feature", ""))),
        "threshold": lambda d: (
            *("threshold_change", _text(d.get("value"))),
            f"{d.get('feature', '')} {d.get('direction', '')} learned",
        ),
        "threshold_change": lambda d: (
            *("threshold_change", _text(d.get("new"))),
            f"{d.get('feature', '')} {d.get('direction', '')} operator",
        ),
        **{kind: _moved(how) for kind, how in _MOVED.items()},
        **{kind: _kept(how) for kind, how in _KEPT.items()},
        "trial": _trial,
        "question": lambda d: ("question", _text(d.get("text")), ""),
        "answer": lambda _: ("answer", "", ""),
        "go": lambda d: ("go", "", str(d.get("by") or "operator")),
        "drowsy": lambda _: ("drowsy", "", ""),
        "plugin_fault": lambda _: ("fault", "", "reward rule"),
        "feature_fault": lambda d: ("fault", "", str(d.get("feature", ""))),
        "hold": lambda d: ("pause" if d.get("on") else "resume", "", str(d.get("cause", ""))),
        "mark_bad": lambda d: ("bad_channel", "", str(d.get("channel", ""))),
        "stop": lambda _: ("stop", "", "operator"),
        "failed": lambda _: ("stop", "", "failed"),
        "done": lambda _: ("stop", "", "done"),
    }
    for event in recording.events:
        if event.kind in make:
            yield Row(places.of_seq(event.seq), 0.0, *make[event.kind](event.data))


def _artifacts(recording: Recording, places: Places) -> Iterator[Row]:
    """Yield a row wherever the gates close or open, and where the cause changes."""
    if "gate" not in recording.features.columns:
        return
    gates: NDArray[np.int64] = np.nan_to_num(recording.features.column("gate")).astype(np.int64)
    seqs = recording.features.column("seq")
    changes = np.flatnonzero(np.diff(gates, prepend=0))
    for k in changes:
        cause = ", ".join(Gate(int(gates[k])).causes)
        what = "artifact_on" if gates[k] else "artifact_off"
        yield Row(places.of_seq(int(seqs[k])), 0.0, what, "", cause)


def _gaps(recording: Recording, rate_hz: float) -> Iterator[Row]:
    row = 0
    for value in recording.inputs_in_order(1 << 30, values=False):
        if isinstance(value, Chunk):
            row += len(value.t)
        elif isinstance(value, Gap) and row < len(recording.stamps):
            yield Row(row, 0.0, "BAD_gap", f"{value.missing / rate_hz:.6g}", value.cause)


def _markers(recording: Recording, places: Places) -> Iterator[Row]:
    for stream, markers in recording.markers.items():
        for t, text in markers:
            yield Row(places.of_local(t), 0.0, "marker", text, stream)


def rows(recording: Recording) -> tuple[list[Row], Places]:
    """Return every event of a recording in the order of time, and the places of its samples."""
    places = Places(recording)
    if places.n == 0:
        return [], places
    rate_hz = recording.spec.rate_hz
    every = [
        *_gaps(recording, rate_hz),
        *_blocks(recording, places, rate_hz),
        *_moments(recording, places),
        *_artifacts(recording, places),
        *_markers(recording, places),
    ]
    return sorted(every, key=lambda r: r.row), places
