"""Read any EEG file into one shape: columns with name and kind, microvolts, stamps, markers.

Nothing is repaired: values stay those of the file (voltages expressed in microvolts), stamps are
raw, gaps stay gaps. Whatever had to be assumed or looks wrong is said in `EegFile.notes`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import FileError
from engine.frames import Channel, Float, StreamSpec, frozen
from engine.montage import clean_label, is_site, kind_of

__all__ = ["EegFile", "read_eeg", "stamp_gaps"]

UV = "microvolts"
KNOWN_RATES_HZ = (128, 160, 200, 220, 250, 256, 300, 500, 512, 1000, 1024, 2000, 2048)
GAP_S = 0.02  # a longer step between two stamps is worth a note
JUMP_S = 1.0  # a longer step, or one back, is no jitter: it is left out of the effective rate
BURSTS = 0.01  # share of samples: more "gaps" than that are the packets of the amplifier
RATE_TOLERANCE = 1e-4  # relative; a quartz crystal is better than this
ALL_VOLTAGE_KINDS = frozenset({"eeg", "eog", "ecg", "emg"})

_TO_UV = {
    "uv": 1.0,
    "microvolt": 1.0,
    "microvolts": 1.0,
    "mv": 1e3,
    "millivolt": 1e3,
    "millivolts": 1e3,
    "nv": 1e-3,
    "nanovolt": 1e-3,
    "nanovolts": 1e-3,
    "v": 1e6,
    "volt": 1e6,
    "volts": 1e6,
}
_EAR_TO_EAR = re.compile(r"[AM][12]\s*-\s*[AM][12]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class EegFile:
    """An EEG recording in memory.

    Parameters
    ----------
    spec : StreamSpec
        What a stream with these samples would declare. Columns whose `unit` is ``""`` are
        voltages of a file that names no unit: their numbers are the file's own.
    samples : ndarray, shape (n_samples, n_channels)
        Every column; voltages in µV, others in the file's own numbers.
    stamps : ndarray, shape (n_samples,), or None
        Raw time stamps in seconds, None where the file has only a rate.
    markers : tuple of (float, str)
        Seconds since the first sample, and the text.
    notes : tuple of str
        Sentences about everything assumed, missing or odd.
    """

    spec: StreamSpec
    samples: Float
    stamps: Float | None
    markers: tuple[tuple[float, str], ...]
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Length by the number of samples."""
        return len(self.samples) / self.spec.rate_hz


def read_eeg(path: str | Path) -> EegFile:
    """Read an EEG file: XDF, OpenBCI text, muse-lsl CSV, and whatever MNE reads.

    Parameters
    ----------
    path : str or Path
        EDF, BDF, FIF, EEGLAB ``.set``, BrainVision ``.vhdr``, XDF, OpenBCI ``.txt``, CSV with a
        ``timestamps`` column, and others.

    Returns
    -------
    EegFile
        Samples in µV, time first.

    Raises
    ------
    FileError
        The file is missing, empty, damaged, of an unknown kind or without EEG.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(f"There is no file {path}.", "Check the name and the folder.")
    if path.is_file() and path.stat().st_size == 0:
        raise FileError(f"{path.name} is empty (0 bytes).", "Copy it again from its source.")
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4096)
    suffix = "".join(path.suffixes[-2:]).lower()
    if head.startswith(b"XDF:") or suffix.endswith((".xdf", ".xdfz", ".xdf.gz")):
        return _read_xdf(path)
    if head.startswith((b"%OpenBCI", b"% OpenBCI")):
        return _read_openbci(path)
    if suffix.endswith((".csv", ".tsv")):
        return _read_csv(path)
    if suffix.endswith((".edf", ".bdf")):
        _refuse_damaged_edf(path)
    return _read_mne(path)


# ---------------------------------------------------------------- columns


def _columns(
    labels: Sequence[str],
    types: Sequence[str],
    units: Sequence[str],
    notes: list[str],
) -> tuple[Channel, ...]:
    """Name every column, once, and say what it holds. `units` are those of the samples."""
    names: list[str] = []
    kinds: list[str] = []
    numbered = 0
    for label, declared in zip(labels, types, strict=True):
        bare = re.sub(r"^EEG\s+", "", label.strip(), flags=re.IGNORECASE)
        if _EAR_TO_EAR.fullmatch(bare):
            # A recording of one ear against the other belongs in no average over the scalp.
            name, kind = bare, "misc"
        else:
            name, kind = clean_label(label), kind_of(label, declared)
        if not name:
            numbered += 1
            name = f"ch{numbered}"
        names.append(name)
        kinds.append(kind)
    if numbered:
        notes.append(
            f"{numbered} of {len(names)} columns have no label; they are called ch1, ch2 ... in "
            "their order. Give their names under `channels:` in the room."
        )
    _make_unique(names, notes)
    eeg = [n for n, k in zip(names, kinds, strict=True) if k == "eeg"]
    if eeg and not any(is_site(n) for n in eeg) and not numbered:
        notes.append(f"No EEG column has the name of a 10-20 site ({_some(eeg)}).")
    silent = [
        n for n, k, u in zip(names, kinds, units, strict=True) if k in ALL_VOLTAGE_KINDS and u != UV
    ]
    if silent:
        notes.append(
            f"{len(silent)} columns declare no unit of voltage ({_some(silent)}); their "
            "numbers are the file's own."
        )
    return tuple(
        Channel(name=n, kind=k, unit=u, to_uv=1.0, label=lab)
        for n, k, u, lab in zip(names, kinds, units, labels, strict=True)
    )


def _some(names: Sequence[str]) -> str:
    """List the first names, for a sentence."""
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")


def _make_unique(names: list[str], notes: list[str]) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            other = next(f"{name}-{k}" for k in range(2, 10_000) if f"{name}-{k}" not in seen)
            notes.append(f"Column {i + 1} is a second {name!r}; it is called {other!r}.")
            names[i] = other
        seen.add(names[i])


def _voltage(unit: str) -> float | None:
    """Return the factor to µV of a unit as files spell it, None when it is no voltage."""
    return _TO_UV.get(unit.strip().lower().replace("µ", "u").replace("μ", "u"))


def _unit_of(kind: str, unit: str) -> str:
    """Return the unit that the converted column carries."""
    if _voltage(unit) is not None:
        return UV
    return "" if kind in ALL_VOLTAGE_KINDS else unit


def _signal_notes(channels: Sequence[Channel], samples: Float, notes: list[str]) -> None:
    eeg = [i for i, c in enumerate(channels) if c.kind == "eeg"]
    finite = np.asarray(np.isfinite(samples).all(axis=0))
    broken = [channels[i].name for i in eeg if not finite[i]]
    if broken:
        notes.append(f"Not every sample is a finite number in {_some(broken)}.")
    flat = [channels[i].name for i in eeg if finite[i] and np.ptp(samples[:, i]) == 0.0]
    if flat:
        notes.append(f"Flat from beginning to end: {_some(flat)}.")


def _finish(
    path: Path,
    spec: StreamSpec,
    samples: Float,
    stamps: Float | None,
    markers: Iterable[tuple[float, str]],
    notes: list[str],
) -> EegFile:
    if len(samples) == 0:
        raise FileError(f"{path.name} holds no samples.", "Choose another recording.")
    if not any(c.kind == "eeg" for c in spec.channels):
        names = ", ".join(spec.names[:12])
        raise FileError(f"{path.name} has no EEG column ({names}).", "Choose an EEG recording.")
    _signal_notes(spec.channels, samples, notes)
    ordered = tuple(sorted((float(t), text) for t, text in markers))
    return EegFile(
        spec=spec,
        samples=frozen(np.ascontiguousarray(samples, dtype=np.float64)),
        stamps=None if stamps is None else frozen(np.asarray(stamps, dtype=np.float64)),
        markers=ordered,
        notes=tuple(notes),
    )


def _least_gap_s(rate_hz: float) -> float:
    return max(GAP_S, 1.5 / rate_hz)


def stamp_gaps(stamps: Float, rate_hz: float) -> tuple[int, ...] | None:
    """Return the samples before which the stamps show a gap; None where they cannot tell.

    Stamps of one push are deduced from the rate, so pushes overlap or part by their jitter: only
    what exceeds it by far is a gap, and an amplifier that stamps packets shows none.
    """
    gaps = np.flatnonzero(np.diff(stamps) > _least_gap_s(rate_hz)) + 1
    return None if len(gaps) > BURSTS * len(stamps) else tuple(int(i) for i in gaps)


def _stamp_notes(stamps: Float, rate_hz: float, notes: list[str]) -> None:
    """Say what the stamps tell about gaps, clock jumps and the true rate."""
    steps = np.diff(stamps)
    if len(steps) == 0:
        return
    for i in np.flatnonzero(steps < -JUMP_S):
        notes.append(f"The stamps jump back by {-steps[i]:.1f} s after {(i + 1) / rate_hz:.1f} s.")
    gaps = stamp_gaps(stamps, rate_hz)
    if gaps is None:
        notes.append("Its stamps come in bursts, one per packet: they cannot tell small gaps.")
    elif gaps:
        worst = max(gaps, key=lambda i: float(steps[i - 1]))
        notes.append(
            f"{len(gaps)} gaps over {1000 * _least_gap_s(rate_hz):.0f} ms in the stamps, the "
            f"longest {steps[worst - 1]:.3f} s after {worst / rate_hz:.1f} s of samples."
        )
    usual = (steps > -JUMP_S) & (steps < JUMP_S)
    span_s = float(steps[usual].sum())
    if span_s > 0:
        effective_hz = float(np.count_nonzero(usual)) / span_s
        if abs(effective_hz / rate_hz - 1.0) > RATE_TOLERANCE:
            notes.append(f"Effective rate {effective_hz:.2f} Hz by its stamps, {rate_hz:g} stated.")


def _coded_markers(codes: Float, seconds: Float, fmt: str = "{:g}") -> list[tuple[float, str]]:
    """Return a marker where a column of codes changes to a number other than 0."""
    before = np.concatenate(([0.0], codes[:-1]))
    changed = np.flatnonzero((codes != before) & (codes != 0) & np.isfinite(codes))
    return [(float(seconds[i]), fmt.format(codes[i])) for i in changed]


# ---------------------------------------------------------------- MNE


def _refuse_damaged_edf(path: Path) -> None:
    """Refuse an EDF or BDF file that went through a text conversion.

    Its header still reads, so it would come out as noise instead of an error.
    """
    with path.open("rb") as file:
        header = file.read(256)
        with contextlib.suppress(ValueError):
            file.seek(max(256, int(header[184:192])))
        data = file.read(1 << 18)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in half by the end of the block is no binary data.
        if error.start < len(data) - 4:
            return
        text = data[: error.start].decode("utf-8")
    if data and not text.isascii():
        raise FileError(
            f"{path.name} is damaged: its samples were re-encoded as UTF-8 text, which cannot be "
            "undone safely.",
            "Copy the original again as a binary file (no text mode, no editor, no mail gateway).",
        )


@contextlib.contextmanager
def _quiet(logger_name: str, notes: list[str]) -> Iterator[None]:
    """Turn warnings of a reader into notes, also those it only logs."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    said: list[str] = []
    logger = logging.getLogger(logger_name)
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    logger.handlers, logger.propagate = [Collect(logging.WARNING)], False
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    said += [str(w.message) for w in caught if not issubclass(w.category, DeprecationWarning)]
    for text in said:
        sentence = " ".join(text.split())
        if sentence and sentence not in notes:
            notes.append(f"The reader says: {sentence[:300]}")


def _read_mne(path: Path) -> EegFile:
    import mne

    notes: list[str] = []
    try:
        with _quiet("mne", notes):
            raw = mne.io.read_raw(path, preload=True, verbose="WARNING")
            volts = raw.get_data()
    except Exception as error:  # readers of MNE fail in every way there is
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FileError(
            f"{path.name} cannot be read as EEG: {first}",
            "Use EDF, BDF, FIF, EEGLAB .set, BrainVision .vhdr, XDF, OpenBCI text or muse-lsl "
            "CSV; if it is one of these, the file is damaged: copy it again from its source.",
        ) from error

    labels = [str(name) for name in raw.ch_names]
    declared = [str(t) for t in raw.get_channel_types()]
    # MNE keeps voltages in volts. Where an EDF names no unit, it keeps the numbers unscaled.
    original: Mapping[str, str] = getattr(raw, "_orig_units", None) or {}
    units: list[str] = []
    factors = np.ones(len(labels))
    for i, (label, mne_type) in enumerate(zip(labels, declared, strict=True)):
        unit = original.get(label)
        kind = kind_of(label, mne_type)
        is_volts = mne_type in ALL_VOLTAGE_KINDS | {"seeg", "ecog", "dbs", "bio", "misc"} and (
            _voltage(unit) is not None if unit is not None else mne_type != "misc"
        )
        if is_volts:
            factors[i] = 1e6
        stated = "" if unit in (None, "n/a") or mne_type == "stim" else unit
        units.append(UV if is_volts else _unit_of(kind, stated))
    channels = _columns(labels, declared, units, notes)
    if raw.info["bads"]:
        notes.append(f"Marked as bad in the file: {', '.join(raw.info['bads'])}.")
    _edf_rate_note(raw, labels, notes)
    origin_s = float(raw.first_time) if raw.annotations.orig_time is not None else 0.0
    markers = [(float(a["onset"]) - origin_s, str(a["description"])) for a in raw.annotations]
    spec = StreamSpec(
        name=path.stem,
        stype="EEG",
        source_id=path.name,
        uid="",
        host="",
        rate_hz=float(raw.info["sfreq"]),
        channels=channels,
        dtype="float64",
    )
    return _finish(path, spec, volts.T * factors, None, markers, notes)


def _edf_rate_note(raw: Any, labels: Sequence[str], notes: list[str]) -> None:
    extras = getattr(raw, "_raw_extras", None) or [{}]
    per_record = extras[0].get("n_samps") if isinstance(extras[0], dict) else None
    if per_record is None or len(per_record) != len(labels):
        return
    slow = [lab for lab, n in zip(labels, per_record, strict=True) if n < max(per_record)]
    if slow:
        notes.append(f"Sampled more slowly and interpolated by the reader: {_some(slow)}.")


# ---------------------------------------------------------------- XDF


def _one(node: Any, key: str) -> str:
    """Return the text of an XML child as pyxdf gives it (lists of one), "" when absent."""
    value = node.get(key) if isinstance(node, dict) else None
    while isinstance(value, list):
        value = value[0] if value else None
    return value.strip() if isinstance(value, str) else ""


def _read_xdf(path: Path) -> EegFile:
    import pyxdf

    notes: list[str] = []
    try:
        with _quiet("pyxdf", notes):
            # Synchronising and de-jittering would replace the stamps that were recorded.
            streams, _ = pyxdf.load_xdf(
                str(path), synchronize_clocks=False, dejitter_timestamps=False
            )
    except Exception as error:  # damaged files raise anything from struct.error to KeyError
        raise FileError(
            f"{path.name} cannot be read as XDF: {str(error).strip() or type(error).__name__}.",
            "Run `neuroloop recover` on a recording of ours, or copy the file again.",
        ) from error

    def rate_hz(stream: Any) -> float:
        return float(_one(stream["info"], "nominal_srate") or 0.0)

    def is_eeg(stream: Any) -> bool:
        regular = isinstance(stream["time_series"], np.ndarray) and rate_hz(stream) > 0
        return regular and _one(stream["info"], "type").lower() == "eeg"

    found = [s for s in streams if is_eeg(s)]
    if not found:
        listed = ", ".join(
            f"{_one(s['info'], 'name')!r} (type {_one(s['info'], 'type') or 'none'}, "
            f"{rate_hz(s):g} Hz)"
            for s in streams
        )
        raise FileError(
            f"{path.name} has no EEG stream with a regular rate; it holds {listed or 'nothing'}.",
            "Choose a recording in which the amplifier's stream was ticked."
            if streams
            else "The file is damaged or was never filled: copy it again from its source.",
        )
    eeg = max(found, key=lambda s: np.shape(s["time_series"])[-1])
    if len(found) > 1:
        others = ", ".join(repr(_one(s["info"], "name")) for s in found if s is not eeg)
        notes.append(f"Took the EEG stream with most columns; also there: {others}.")
    info = eeg["info"]
    n_columns = int(_one(info, "channel_count"))
    source = np.asarray(eeg["time_series"])
    stamps = np.asarray(eeg["time_stamps"], dtype=np.float64)

    described = _xdf_channels(info)
    if described and len(described) != n_columns:
        notes.append(f"Its header describes {len(described)} channels but {n_columns} are there.")
        described = []
    labels = [_one(c, "label") for c in described] or [""] * n_columns
    types = [_one(c, "type") for c in described] or ["EEG"] * n_columns
    types = [t or "EEG" for t in types]
    raw_units = [_one(c, "unit") for c in described] or [""] * n_columns
    factors = np.array([_voltage(u) or 1.0 for u in raw_units])
    units = [
        _unit_of(kind_of(lab, t), u) for lab, t, u in zip(labels, types, raw_units, strict=True)
    ]
    channels = _columns(labels, types, units, notes)
    _stamp_notes(stamps, rate_hz(eeg), notes)
    spec = StreamSpec(
        name=_one(info, "name"),
        stype="EEG",
        source_id=_one(info, "source_id"),
        uid=_one(info, "uid"),
        host=_one(info, "hostname"),
        rate_hz=rate_hz(eeg),
        channels=channels,
        dtype=str(source.dtype),
    )
    markers = _xdf_markers(streams, eeg, notes)
    return _finish(path, spec, source.astype(np.float64) * factors, stamps, markers, notes)


def _xdf_channels(info: Any) -> list[Any]:
    node: Any = info.get("desc")
    for key in (None, "channels", "channel"):
        if key is not None:
            node = node.get(key) if isinstance(node, dict) else None
        if key != "channel" and isinstance(node, list):
            node = node[0] if node else None
    return [c for c in node if isinstance(c, dict)] if isinstance(node, list) else []


def _clock_offset(stream: Any, stamps: Float) -> Float | None:
    """Return what must be added to come to the recorder's clock; None when it was reset."""
    times = np.asarray(stream.get("clock_times", []), dtype=np.float64)
    values = np.asarray(stream.get("clock_values", []), dtype=np.float64)
    if len(times) == 0:
        return np.zeros_like(stamps)
    if np.any(np.diff(times) < 0) or np.ptp(values) > JUMP_S:
        return None
    return np.asarray(np.interp(stamps, times, values), dtype=np.float64)


def _xdf_markers(streams: Any, eeg: Any, notes: list[str]) -> list[tuple[float, str]]:
    first = np.asarray(eeg["time_stamps"][:1], dtype=np.float64)
    if len(first) == 0:
        return []
    zero = _clock_offset(eeg, first)
    markers: list[tuple[float, str]] = []
    for stream in streams:
        if isinstance(stream["time_series"], np.ndarray):
            continue
        stamps = np.asarray(stream["time_stamps"], dtype=np.float64)
        shift = _clock_offset(stream, stamps)
        if zero is None or shift is None:
            notes.append(
                f"A clock was reset: markers of {_one(stream['info'], 'name')!r} are placed by "
                "their raw stamps."
            )
            seconds = stamps - first[0]
        else:
            seconds = (stamps + shift) - (first[0] + zero[0])
        for t, row in zip(seconds, stream["time_series"], strict=False):
            texts = row if isinstance(row, list | tuple) else [row]
            markers.append((float(t), " ".join(str(x) for x in texts)))
    return markers


# ---------------------------------------------------------------- text files


def _table(lines: Sequence[str], columns: Sequence[int], path: Path) -> Float:
    try:
        return np.atleast_2d(
            np.loadtxt(io.StringIO("\n".join(lines)), delimiter=",", usecols=columns, ndmin=2)
        )
    except ValueError as error:
        raise FileError(
            f"{path.name} holds something that is no number: {str(error).splitlines()[0]}",
            "Export the recording again without editing it.",
        ) from error


def _whole_rows(lines: list[str], n_columns: int, notes: list[str]) -> list[str]:
    whole = [line for line in lines if line.count(",") == n_columns - 1]
    if len(whole) < len(lines):
        notes.append(f"{len(lines) - len(whole)} incomplete lines were left out.")
    return whole


def _text(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path.name} is no text in UTF-8.", "Export the recording again."
        ) from error


def _read_openbci(path: Path) -> EegFile:
    """Read the text that the OpenBCI GUI writes: values in µV, index, accelerometer, stamps."""
    notes: list[str] = []
    lines = [line for line in _text(path) if line.strip()]
    header = [line for line in lines if line.startswith("%")]
    rows = [line for line in lines if not line.startswith("%")]
    rate = re.search(r"Sample Rate\s*=\s*([\d.]+)", "\n".join(header))
    count = re.search(r"Number of channels\s*=\s*(\d+)", "\n".join(header))
    if rate is None or count is None or not rows:
        raise FileError(
            f"{path.name} has no complete OpenBCI header (number of channels, sample rate).",
            "Export it again from the OpenBCI GUI.",
        )
    n_eeg, rate_hz = int(count[1]), float(rate[1])
    if rows[0].lstrip()[:1].isalpha():
        titles = [t.strip() for t in rows.pop(0).split(",")]
    else:  # before version 5 of the GUI there were no titles
        extra = rows[0].count(",") - n_eeg
        titles = ["Sample Index", *(f"EXG Channel {i}" for i in range(n_eeg))]
        titles += [f"Column {n_eeg + 2 + i}" for i in range(extra)]
    rows = _whole_rows(rows, len(titles), notes)
    if not rows:
        raise FileError(f"{path.name} holds no samples.", "Choose another recording.")

    time_column = next((i for i, t in enumerate(titles) if t == "Timestamp"), None)
    kept = [i for i in range(len(titles)) if i != time_column and _is_numeric(rows[0], i)]
    labels, kinds = [titles[i] for i in kept], []
    for i in kept:
        title = titles[i].lower()
        if 1 <= i <= n_eeg:
            kinds.append("EEG")
        elif i == 0:
            kinds.append("counter")
        elif title.startswith("accel"):
            kinds.append("accelerometer")
        elif title.startswith(("digital", "marker")):
            kinds.append("trigger")
        else:
            kinds.append("misc")
    samples = _table(rows, kept, path)
    stamps: Float | None = None
    if time_column is not None:
        stamps = _table(rows, [time_column], path)[:, 0]
        if stamps[0] > 1e11:  # milliseconds since 1970, seconds in newer files
            stamps = stamps / 1000.0
        notes.append("Its stamps are those of the computer, in bursts; samples are counted.")
    markers: list[tuple[float, str]] = []
    seconds = np.arange(len(samples)) / rate_hz
    for column, title in enumerate(labels):
        if title.startswith("Marker"):
            markers += _coded_markers(samples[:, column], seconds)
    # The GUI writes no electrode names.
    shown = ["" if k == "EEG" else t for t, k in zip(labels, kinds, strict=True)]
    units = [UV if k == "EEG" else "g" if k == "accelerometer" else "" for k in kinds]
    channels = _columns(shown, kinds, units, notes)
    _counter_note(samples[:, 0], notes)
    spec = StreamSpec(path.stem, "EEG", path.name, "", "", rate_hz, channels, "float64")
    return _finish(path, spec, samples, stamps, markers, notes)


def _is_numeric(row: str, column: int) -> bool:
    try:
        float(row.split(",")[column])
    except ValueError:
        return False
    return True


def _counter_note(index: Float, notes: list[str]) -> None:
    """Say how many samples the amplifier's own counter misses."""
    steps = np.diff(index)
    top = index.max()
    lost = np.where(steps < 0, steps + top + 1, steps) - 1
    missing = int(lost[lost > 0].sum())
    notes.append(f"Its sample index counts from 0 to {top:g} and begins again.")
    if missing:
        notes.append(f"By that index {missing} samples are missing, in {np.sum(lost > 0)} gaps.")


def _read_csv(path: Path) -> EegFile:
    """Read a CSV with a column of stamps, as muse-lsl writes it (values in µV)."""
    notes: list[str] = []
    lines = [line for line in _text(path) if line.strip()]
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    titles = [t.strip() for t in next(csv.reader([lines[0]], delimiter=separator), [])]
    time_column = next((i for i, t in enumerate(titles) if t.lower() == "timestamps"), None)
    if time_column is None or len(titles) < 2:
        raise FileError(
            f"{path.name} is a table without a column `timestamps`, so its rate is unknown.",
            "Use a CSV as muse-lsl writes it (timestamps,TP9,AF7,AF8,TP10 ...), or EDF or XDF.",
        )
    rows = [line.replace(separator, ",") for line in lines[1:]]
    rows = _whole_rows(rows, len(titles), notes)
    if len(rows) < 2:
        raise FileError(f"{path.name} holds no samples.", "Choose another recording.")
    table = _table(rows, range(len(titles)), path)
    stamps = table[:, time_column]
    columns = [i for i in range(len(titles)) if i != time_column]
    labels, samples = [titles[i] for i in columns], table[:, columns]
    types = [_csv_type(label) for label in labels]
    is_muse = {"TP9", "AF7", "AF8", "TP10"} <= set(labels)
    rate_hz = 256.0 if is_muse else _rate_of(stamps, path)
    units = ["" if t == "trigger" else UV for t in types]
    if is_muse:
        notes.append("Read as a Muse recording of muse-lsl: 256 Hz and microvolts.")
    channels = _columns(labels, types, units, notes)
    _stamp_notes(stamps, rate_hz, notes)
    markers: list[tuple[float, str]] = []
    for i, channel in enumerate(channels):
        if channel.kind == "trigger":
            markers += _coded_markers(samples[:, i], stamps - stamps[0])
    spec = StreamSpec(path.stem, "EEG", path.name, "", "", rate_hz, channels, "float64")
    return _finish(path, spec, samples, stamps, markers, notes)


def _csv_type(label: str) -> str:
    if label.lower().startswith("marker"):
        return "trigger"
    return "misc" if "aux" in label.lower() else "EEG"


def _rate_of(stamps: Float, path: Path) -> float:
    """Return the amplifier's rate that fits the stamps, by their steps below 1 s."""
    steps = np.diff(stamps)
    usual = steps[(steps > 0) & (steps < JUMP_S)]
    effective_hz = 1.0 / float(usual.mean()) if len(usual) else 0.0
    near = min(KNOWN_RATES_HZ, key=lambda r: abs(r - effective_hz))
    if abs(effective_hz / near - 1.0) > 0.02:
        raise FileError(
            f"{path.name}: {effective_hz:.1f} samples per second by its stamps, which is no "
            "amplifier's rate.",
            "Use a file that states its rate: EDF, BDF, FIF or XDF.",
        )
    return float(near)
