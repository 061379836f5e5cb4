"""The recording as it happens: one XDF file per session, written beside the loop.

Every method of `Recorder` only puts a value on a list; a thread of its own encodes and writes,
another one makes the disk keep what was written, so a slow disk delays neither the fold nor the
feedback. A disk that fails is a text in `Recorder.fault`, never an exception in the caller.

The layout of every stream is described in ``docs/recording.md``.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import clock, xdf
from engine.chunkfile import ChunkFile, source_header
from engine.columns import (
    CHECK_COLUMNS,
    FORMAT,
    HELD,
    PRESENTED_COLUMNS,
    SHOWN,
    WHY,
    Streams,
    decision_columns,
    decision_row,
    feature_columns,
    feature_row,
    input_text,
    presented_row,
    strict_json,
)
from engine.errors import FileError, InputError, RecordingError
from engine.folder import sync_folder
from engine.frames import (
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gate,
    Input,
    PhaseKind,
    Presented,
    StreamSpec,
)

__all__ = ["Recorder"]

# Times, and why.
_FLUSH_S = 0.1  # a killed engine loses what waits here; the promise is 0.5 s
_SYNC_S = 1.0  # a power cut loses what the disk has not been told to keep; the promise is 2 s
_BOUNDARY_S = 10.0  # as LabRecorder: other readers lose at most this much around damage
_OFFSET_S = 5.0  # as LabRecorder
_BACKLOG_S = 60.0  # a disk that is slower than this for so long has failed
_CLOSE_S = 15.0  # a hanging disk must not keep the session from ending
_PIECE_S = 1.0  # longest raw chunk, so that damage costs no more

_SOURCE_CLOCK = (Streams.RAW, Streams.FEATURES, Streams.DECISIONS)  # stamped by the amplifier
_OWN_CLOCK = (Streams.INPUTS, Streams.PRESENTED, Streams.EVENTS, Streams.CHECKS)

_ROWS_PER_S = 400  # generous rate of all rows beside the raw data, for the bound of the backlog


def _said(error: OSError) -> str:
    return error.strerror or type(error).__name__


class Recorder:
    """Writes one session to an XDF file, in a thread of its own.

    Parameters
    ----------
    path : Path
        The new file; an existing one is never touched.
    header : mapping
        Everything known before the start; kept as JSON in the file header.
    spec : StreamSpec
        The agreed stream.
    features : mapping of name to unit
        In the order of `FeatureFrame.values`.
    metrics : sequence of str
        In the order of `FeatureFrame.metrics`.
    rules : sequence of str
        Feature name of every rule, reward first, in the order of `Decision.passes`.
    markers : sequence of str
        Marker streams known before the start; others may appear later.
    clock_offset : callable
        Seconds to add to the source's stamps to get local time; None while unknown.
    now : callable
        The clock, seconds.

    Attributes
    ----------
    path : Path
        Where the recording is.

    Raises
    ------
    FileError
        The file exists or cannot be created.
    InputError
        There are more than 52 features, or the stream carries no numbers.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        spec: StreamSpec,
        *,
        features: Mapping[str, str] | None = None,
        metrics: Sequence[str] = (),
        rules: Sequence[str] = (),
        markers: Sequence[str] = (),
        clock_offset: Callable[[], float | None] = lambda: 0.0,
        now: Callable[[], float] = clock.now,
    ) -> None:
        features = {} if features is None else features
        if spec.dtype not in xdf.FORMATS.values():
            raise InputError(f"The stream carries {spec.dtype}, which cannot be recorded.")
        if len(features) > 52:
            raise InputError("A protocol may have at most 52 features.")
        self.path = Path(path)
        self._spec = spec
        self._clock_offset = clock_offset
        self._now = now
        self._marker_ids: dict[str, int] = {}
        self._columns = {
            Streams.FEATURES: feature_columns(features, metrics),
            Streams.DECISIONS: decision_columns(rules),
            Streams.PRESENTED: tuple((name, "") for name in PRESENTED_COLUMNS),
        }
        self._fault: str | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, Any, Any]] = []
        self._samples_waiting = 0
        self._rows_waiting = 0
        self._wake = threading.Event()
        self._done = threading.Event()
        try:
            self._file = ChunkFile(self.path)
        except OSError as error:
            raise FileError(
                f"The recording {self.path} cannot be created: {_said(error)}.",
                "Choose another folder in the room file under record.",
            ) from error
        try:
            self._begin(header, features, metrics, rules, markers)
        except OSError as error:
            self._file.close()
            raise FileError(f"{self.path} cannot be written: {_said(error)}.") from error
        self._writer = threading.Thread(target=self._write_loop, name="record", daemon=True)
        self._syncer = threading.Thread(target=self._sync_loop, name="record-sync", daemon=True)
        self._writer.start()
        self._syncer.start()

    # ------------------------------------------------------------ for the session

    @property
    def fault(self) -> str | None:
        """One sentence saying why nothing more is recorded, or None while all is well."""
        return self._fault

    @property
    def backlog_s(self) -> float:
        """Seconds of raw data that wait to be written."""
        return self._samples_waiting / max(self._spec.rate_hz, 1.0)

    def raw(self, samples: NDArray[Any], stamps: Float) -> None:
        """Take samples (n, channels) in the source's number type and their raw stamps (n,)."""
        if len(samples):
            # a copy: the caller may reuse its buffer before the thread gets there
            self._put(Streams.RAW, np.array(stamps, dtype=np.float64), np.array(samples))

    def input(self, value: Input) -> None:
        """Take a Gap, Command or Hold, in the order of the fold."""
        self._put(Streams.INPUTS, self._now(), input_text(value))

    def feature(self, frame: FeatureFrame) -> None:
        """Take the features of one grid point."""
        self._put(Streams.FEATURES, frame.t, frame)

    def decision(self, decision: Decision) -> None:
        """Take the decision of one grid point."""
        self._put(Streams.DECISIONS, decision.t, decision)

    def presented(self, shown: Presented) -> None:
        """Take what the person saw."""
        self._put(Streams.PRESENTED, shown.t_flip, shown)

    def event(self, event: Event) -> None:
        """Take something that happened."""
        row = {"t": event.t, "seq": event.seq, "kind": event.kind, "data": event.data}
        self._put(Streams.EVENTS, event.t, strict_json(row))

    def marker(self, stream: str, t: float, text: str) -> None:
        """Take a marker of another LSL stream, `t` being its stamp on our clock."""
        self._put(Streams.MARKERS, t, (stream, text))

    def close(self) -> None:
        """Write what waits, the footers, and make the disk keep it; at most 15 s."""
        if self._closed:
            return
        with self._lock:  # what was put before is written, what comes later is not taken
            self._closed = True
        self._wake.set()
        self._writer.join(_CLOSE_S)
        self._done.set()
        self._syncer.join(_CLOSE_S)
        if self._writer.is_alive() or self._syncer.is_alive():
            self._fail(f"The disk did not answer for {_CLOSE_S:.0f} s while the recording ended.")
            return
        self._file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ inside

    def _put(self, stream: int, stamp: Any, value: Any) -> None:
        """Queue one value; drop it when the recording has failed or is closed."""
        with self._lock:
            if self._fault is not None or self._closed:
                return
            if stream == Streams.RAW:
                self._samples_waiting += len(value)
            else:
                self._rows_waiting += 1
            self._waiting.append((stream, stamp, value))
            late = (
                self._samples_waiting > _BACKLOG_S * self._spec.rate_hz
                or self._rows_waiting > _BACKLOG_S * _ROWS_PER_S
            )
        if late:
            self._fail(f"The disk is too slow: {_BACKLOG_S:.0f} s of data wait to be written.")

    def _fail(self, sentence: str) -> None:
        if self._fault is None:
            self._fault = sentence

    def _begin(
        self,
        header: Mapping[str, Any],
        features: Mapping[str, str],
        metrics: Sequence[str],
        rules: Sequence[str],
        markers: Sequence[str],
    ) -> None:
        """Write and sync every header before the first sample."""
        spec = self._spec
        wall = clock.wall().isoformat(timespec="seconds")
        blob = strict_json({"recording_format": FORMAT, "started": wall, "spec": spec, **header})
        self._file.put(xdf.file_header(blob, wall))
        self._file.put(source_header(spec, self._now()))
        gates = {g.name: int(g) for g in Gate if g.name}
        codes: dict[int, Mapping[str, Any]] = {
            Streams.FEATURES: {
                "features": list(features),
                "metrics": list(metrics),
                "gate_bits": gates,
                "trusted_bits": list(features),
            },
            Streams.DECISIONS: {
                "rules": list(rules),
                "kind_codes": {kind.name: kind.value for kind in PhaseKind},
                "gate_bits": gates,
                "held_bits": HELD,
                "why_codes": WHY,
            },
            Streams.PRESENTED: {
                "guard_bits": {"flash": 1, "slope": 2, "red": 4, "loudness": 8},
                "screen_codes": SHOWN,
            },
        }
        names = {
            Streams.FEATURES: "features",
            Streams.DECISIONS: "decisions",
            Streams.PRESENTED: "presented",
        }
        for stream, columns in self._columns.items():
            self._header(stream, names[stream], "double64", columns, codes[stream])
        self._header(Streams.INPUTS, "inputs", "string", (("json", ""),), {})
        self._header(Streams.EVENTS, "events", "string", (("json", ""),), {})
        checks = tuple((name, "") for name in CHECK_COLUMNS)
        self._header(Streams.CHECKS, "checks", "double64", checks, {})
        for name in markers:
            self._marker_stream(name)
        self._file.boundary()
        self._file.sync()
        sync_folder(self.path.parent)

    def _header(
        self,
        stream: int,
        name: str,
        form: str,
        columns: Sequence[tuple[str, str]],
        codes: Mapping[str, Any],
    ) -> None:
        self._file.put(
            xdf.stream_header(
                stream,
                name=name,
                stype="Neuroloop" if stream < Streams.MARKERS else "Markers",
                layout=xdf.Layout(len(columns), form),
                rate_hz=0.0,
                columns=[(label, "", unit) for label, unit in columns],
                created_s=self._now(),
                blob=strict_json({"recording_format": FORMAT, "marker": stream >= 16, **codes}),
            )
        )

    def _marker_stream(self, name: str) -> int:
        """Return the stream id of a marker stream, written its header if it is new."""
        if name not in self._marker_ids:
            stream = Streams.MARKERS + len(self._marker_ids)
            self._header(stream, name, "string", (("marker", ""),), {})
            self._file.put(xdf.clock_offset(stream, self._now(), 0.0))
            self._marker_ids[name] = stream
        return self._marker_ids[name]

    def _write_loop(self) -> None:
        next_boundary = self._now() + _BOUNDARY_S
        next_offset = self._now()
        try:
            while not self._closed:
                self._wake.wait(_FLUSH_S)
                now = self._now()
                if now >= next_offset:
                    next_offset = now + _OFFSET_S
                    self._offsets(now)
                self._flush(now)
                if now >= next_boundary:
                    next_boundary = now + _BOUNDARY_S
                    self._file.boundary()
            self._flush(self._now())
            self._end()
        except OSError as error:
            self._fail(f"The recording cannot be written: {_said(error)}.")
            with contextlib.suppress(OSError):  # footers, if there is still room for them
                self._end()
        except Exception as error:  # a dead thread must not stay unnoticed
            self._fail(f"The recorder failed: {type(error).__name__}: {error}")

    def _sync_loop(self) -> None:
        try:
            while not self._done.wait(_SYNC_S):
                self._file.sync()
            self._file.sync()
        except OSError as error:
            self._fail(f"The disk does not keep the recording: {_said(error)}.")

    def _offsets(self, now: float) -> None:
        """Write how far each stream's clock is from ours; every stream, or pyxdf complains."""
        offset = self._clock_offset()
        if offset is not None and math.isfinite(offset):
            for stream in _SOURCE_CLOCK:
                self._file.put(xdf.clock_offset(stream, now, offset))
        for stream in (*_OWN_CLOCK, *self._marker_ids.values()):
            self._file.put(xdf.clock_offset(stream, now, 0.0))

    def _flush(self, now: float) -> None:
        """Write everything that waits, one chunk for each stream.

        Inputs come first: samples without the gap before them would be misplaced for ever, a
        gap without the samples after it does no harm.
        """
        with self._lock:
            taken, self._waiting = self._waiting, []
        if not taken:
            return
        raw = [(stamps, samples) for stream, stamps, samples in taken if stream == Streams.RAW]
        for stream in (Streams.INPUTS, Streams.RAW, Streams.EVENTS):
            rows = [(t, value) for s, t, value in taken if s == stream]
            if rows and stream == Streams.RAW:
                self._raw(raw)
            elif rows:
                self._texts(stream, rows)
        make: dict[int, Callable[[Any], Float]] = {
            Streams.FEATURES: feature_row,
            Streams.DECISIONS: decision_row,
            Streams.PRESENTED: presented_row,
        }
        for stream, row in make.items():
            values = [row(value) for s, _, value in taken if s == stream]
            if values:
                stamps = np.array([t for s, t, _ in taken if s == stream], dtype=np.float64)
                self._numbers(stream, stamps, values)
        self._markers([(t, value) for s, t, value in taken if s == Streams.MARKERS])
        self._file.checks(now)
        with self._lock:
            self._samples_waiting -= sum(len(samples) for _, samples in raw)
            self._rows_waiting -= len(taken) - len(raw)

    def _raw(self, parts: Sequence[tuple[Float, NDArray[Any]]]) -> None:
        stamps = np.concatenate([stamps for stamps, _ in parts])
        samples = np.concatenate([samples for _, samples in parts])
        if samples.dtype.name != self._spec.dtype or samples.shape[1] != len(self._spec.channels):
            raise RecordingError(
                f"raw samples of type {samples.dtype} with {samples.shape[1]} columns do not fit "
                f"the agreed stream"
            )
        step = max(1, round(_PIECE_S * self._spec.rate_hz))
        for k in range(0, len(samples), step):
            part = stamps[k : k + step]
            self._samples(Streams.RAW, xdf.numbers(part, samples[k : k + step]), part)

    def _samples(self, stream: int, content: bytes, stamps: Sequence[float] | Float) -> None:
        self._file.samples(stream, xdf.samples_chunk(stream, content), stamps)

    def _numbers(self, stream: int, stamps: Float, rows: Sequence[Float]) -> None:
        columns = self._columns[stream]
        for row in rows:
            if len(row) != len(columns):
                raise RecordingError(
                    f"a row of {len(row)} numbers does not fit the {len(columns)} columns of "
                    f"stream {stream}"
                )
        self._samples(stream, xdf.numbers(stamps, np.stack(rows)), stamps)

    def _texts(self, stream: int, rows: Sequence[tuple[float, str]]) -> None:
        stamps = [t for t, _ in rows]
        self._samples(stream, xdf.texts(stamps, [text for _, text in rows]), stamps)

    def _markers(self, rows: Sequence[tuple[float, tuple[str, str]]]) -> None:
        for name in dict.fromkeys(name for _, (name, _) in rows):
            stream = self._marker_stream(name)
            self._texts(stream, [(t, text) for t, (other, text) in rows if other == name])

    def _end(self) -> None:
        """Write the footers."""
        self._file.checks(self._now())
        for stream in (*_SOURCE_CLOCK, *_OWN_CLOCK, *self._marker_ids.values()):
            self._file.footer(stream)
