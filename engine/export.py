"""A recording as a BIDS dataset that other programs, and other laboratories, can use.

Written by `mne-bids`, completed by us: events, channels, sidecar, features and decisions as
derivatives, and a copy of the recording in ``sourcedata``. The official validator accepts the
result (tested).

By default nothing says when, where or by whom: no dates, no client id, no names of rooms,
computers, devices, files or folders, no free text of the operator, in the copy of the recording
neither.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine import timeline
from engine.columns import SHOWN
from engine.errors import FileError, InputError, RecordingError
from engine.frames import Float
from engine.grid import mapping, presented_kind, withheld
from engine.recording import Recording, Table, read, rewrite
from engine.shown import back_end
from protocols.sham import KINDS

__all__ = ["export_bids"]

FileFormat = Literal["BrainVision", "EDF"]

_EDF_STEP_UV = 0.1  # a coarser step than this would show in the signal
_PRIVATE = frozenset(  # keys of the file header that tell who, when or where
    {
        *(
            "client",
            "client_id",
            "started",
            "host",
            "hostname",
            "folder",
            "operator",
            "user",
            "path",
        ),
        *("known_peers", "room_sha256"),
    }
)
_CERTIFIED = (
    *("display_ms", "display_sd_ms", "sound_ms", "sound_sd_ms", "simulated", "valid"),
)  # what a certificate says of delays; the rest of it says where and when
# Events with typed words, or words of the person.
_TYPED = frozenset({"note", "mark_bad", "threshold_change", "stop", "answer"})
_PAUSES = ("paused", "operator")  # causes of hold whose sentence may be typed
# Keys of events with sentences: they may quote a file, a device, a computer, a network.
_SENTENCES = frozenset({"text", "sentence", "sentences", "exit", "error", "differences"})
# Kinds whose sentences are the protocol's, or are made of numbers alone.
_PLAIN = frozenset({"question", "advice", "drowsy", "iaf"})
_SECRET = ("joint", "pass_", "threshold_")
"""How columns of decisions begin that a blinded session does not fill."""
BLINDED = (
    "This session is blinded: its features, thresholds and conditions are withheld until the study "
    "is unsealed, and no table of them is exported."
)
_MNE_KIND = {"eeg": "eeg", "eog": "eog", "ecg": "ecg", "emg": "emg", "trigger": "stim"}
_BIDS_KIND = {
    "eeg": "EEG",
    "eog": "EOG",
    "ecg": "ECG",
    "emg": "EMG",
    "trigger": "TRIG",
    "accelerometer": "ACCEL",
}
_PRESENTED: Mapping[str, tuple[str, str]] = {
    "seq": ("Grid point of the newest value when the frame was drawn.", "sample"),
    "t": ("LSL time, on the recording computer, of the newest sample behind that value.", "s"),
    "sent": ("LSL time at which the engine sent the value.", "s"),
    "t_flip": ("LSL time at which the frame was on the screen: the return of the flip.", "s"),
    "level": ("Level as drawn, from 0 to 1; n/a where nothing showed it.", "1"),
    "reward": ("Whether a reward begins to show: 1, else 0.", "bool"),
    "guard": ("Safety limits that acted, the sum of their bits.", "bits"),
    "frame": (
        "Running number of the frame since the window opened; begins anew when it is opened again.",
        "count",
    ),
    "screen": ("What was drawn.", "code"),
    "heard": ("Level that a continuous sound follows, from 0 to 1; n/a is silence.", "1"),
    "patch": ("Whether the photodiode's patch was lit: 1, else 0.", "bool"),
    "live": ("1 shows the level, 0 is neutral; between, the picture eases over.", "1"),
    "share": (
        "How much of this frame was on the screen, after fades and guard; 0: the frame before was "
        "shown again.",
        "1",
    ),
}
"""Description and unit of every column of presented values."""
_README = """Neurofeedback sessions recorded with Neuroloop.

Each run holds the raw EEG as received: no filter, no re-reference, nothing filled in. Where samples
never arrived the time of the file jumps; events named BAD_gap say where and by how much. What the
person was given (features, decisions, presented values) is in derivatives/neuroloop, the complete
recording, which can be replayed to the same decisions, in sourcedata.

"""


def export_bids(
    recording: Path,
    root: Path,
    *,
    subject: str,
    session: str | None = None,
    task: str | None = None,
    run: int | None = None,
    file_format: FileFormat = "BrainVision",
    keep_dates: bool = False,
    keep_texts: bool = False,
    name: str = "Neurofeedback",
    authors: Sequence[str] = (),
    licence: str | None = None,
) -> Path:
    """Add one recording to a BIDS dataset, which is created when it does not exist.

    Parameters
    ----------
    recording : Path
        A recording of Neuroloop.
    root : Path
        Folder of the dataset.
    subject, session, task : str
        BIDS labels, letters and digits only. The task is the protocol's name by default.
    run : int, optional
        Number of the run.
    file_format : {"BrainVision", "EDF"}
        BrainVision keeps float32; EDF has 16 bits and is refused where its step would exceed
        0.1 µV.
    keep_dates : bool
        Whether the date of the session may be kept.
    keep_texts : bool
        Whether the operator's notes and reasons, and the answers to the screening before the
        session, may stay in the copy of the recording.
    name, authors, licence
        For a new ``dataset_description.json``.

    Returns
    -------
    Path
        The EEG file (``.vhdr`` or ``.edf``).

    Raises
    ------
    InputError
        A label has other characters, or EDF would be too coarse.
    FileError
        This run is there already, or a file cannot be written.
    RecordingError
        The recording holds no samples.
    """
    source = read(Path(recording))
    if not len(source.samples):
        raise RecordingError(f"{recording} holds no samples.", "There is nothing to export.")
    if task is None:
        task = re.sub(r"[^A-Za-z0-9]", "", str(_at(source.header, "protocol", "name") or ""))
        task = task or "neurofeedback"
    for what, label in (("subject", subject), ("session", session), ("task", task)):
        if label is not None and not re.fullmatch(r"[A-Za-z0-9]+", label):
            raise InputError(
                f"{label!r} cannot be a BIDS {what}.", "Use letters (a-z) and digits only."
            )
    if file_format == "EDF":
        _check_edf(source)
    root = Path(root)
    there = set(root.rglob("*"))
    labels = _Labels(subject, session, task, run)
    try:
        return _export(
            source,
            root,
            labels,
            file_format=file_format,
            keep_dates=keep_dates,
            keep_texts=keep_texts,
            about={"name": name, "authors": list(authors), "licence": licence},
        )
    except OSError as error:
        _remove(root, there, labels)
        if isinstance(error, FileExistsError):
            raise FileError(
                f"This run is in the dataset already: {error}.", "Give another session or run."
            ) from error
        raise FileError(f"The dataset {root} cannot be written: {error}.") from error
    except BaseException:
        _remove(root, there, labels)
        raise
    finally:
        for lock in set(root.rglob("*.lock")) - there:  # mne-bids leaves them; BIDS forbids them
            lock.unlink(missing_ok=True)


def _remove(root: Path, there: set[Path], labels: _Labels) -> None:
    """Remove what a failed export has written: half a run would be in the way of the next try."""
    for left in set(root.rglob("*")) - there:
        if left.is_file() and (not there or left.name.startswith(labels.stem())):
            left.unlink(missing_ok=True)


class _Labels:
    """The BIDS labels of a run, and the file names they make."""

    def __init__(self, subject: str, session: str | None, task: str, run: int | None) -> None:
        self.subject, self.session, self.task = subject, session, task
        self.run = None if run is None else f"{run:02d}"

    def folder(self, root: Path) -> Path:
        """Return the folder of the EEG files."""
        parts = [f"sub-{self.subject}", *([f"ses-{self.session}"] if self.session else []), "eeg"]
        return root.joinpath(*parts)

    def stem(self, *more: str) -> str:
        """Return the start of a file name, up to the suffix."""
        parts = [f"sub-{self.subject}"]
        if self.session:
            parts.append(f"ses-{self.session}")
        parts.append(f"task-{self.task}")
        if self.run:
            parts.append(f"run-{self.run}")
        return "_".join([*parts, *more])


def _at(header: Mapping[str, Any], *keys: str) -> Any:
    """Return a nested value of the header, None when it is not there."""
    value: Any = header
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


# ---------------------------------------------------------------- the EEG itself


def _voltages(source: Recording) -> list[int]:
    return [k for k, c in enumerate(source.spec.channels) if c.kind in ("eeg", "eog", "ecg", "emg")]


def _check_edf(source: Recording) -> None:
    """Refuse EDF where 16 bits are too few, or where a column is no voltage to scale by."""
    uv = source.uv()
    if not np.isfinite(uv).all():
        raise InputError("EDF cannot hold samples that are not numbers.", "Use BrainVision.")
    by_kind: dict[str, list[int]] = {}
    for k, channel in enumerate(source.spec.channels):
        by_kind.setdefault(_MNE_KIND.get(channel.kind, "misc"), []).append(k)
    for kind, columns in by_kind.items():
        part = uv[:, columns]
        step = float(part.max() - part.min()) / 65535
        if kind in ("eeg", "eog", "ecg", "emg") and step > _EDF_STEP_UV:
            raise InputError(
                f"EDF would store {kind.upper()} in steps of {step:.3g} µV; "
                f"the limit is {_EDF_STEP_UV} µV.",
                "Use BrainVision, which keeps 32-bit numbers.",
            )
    if source.spec.rate_hz != int(source.spec.rate_hz):
        raise InputError("EDF needs a whole number of samples per second.", "Use BrainVision.")


def _raw(source: Recording, keep_dates: bool) -> Any:
    """Return the received samples as an MNE Raw object; volts for voltages."""
    import mne

    spec = source.spec
    names = _unique(spec.names)
    kinds = [_MNE_KIND.get(c.kind, "misc") for c in spec.channels]
    info = mne.create_info(names, spec.rate_hz, kinds, verbose="error")
    data = source.uv().T.copy()
    data[_voltages(source)] *= 1e-6
    raw = mne.io.RawArray(data, info, verbose="error")
    mains = _at(source.header, "mains_hz") or _at(source.header, "room", "mains_hz")
    raw.info["line_freq"] = float(mains) if mains else None
    bad = _marked(source)
    raw.info["bads"] = [n for n, c in zip(names, spec.channels, strict=True) if c.name in bad]
    started = _started(source)
    if keep_dates and started is not None:
        raw.set_meas_date(started)
    return raw


def _unique(names: Iterable[str]) -> list[str]:
    """Return names that are all different: a second ``Fz`` becomes ``Fz-2``."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return out


def _marked(source: Recording) -> set[str]:
    return {str(e.data.get("channel")) for e in source.events if e.kind == "mark_bad"}


def _started(source: Recording) -> datetime | None:
    with contextlib.suppress(TypeError, ValueError):
        return datetime.fromisoformat(source.header["started"]).astimezone(UTC)
    return None


# ---------------------------------------------------------------- writing


def _export(
    source: Recording,
    root: Path,
    labels: _Labels,
    *,
    file_format: FileFormat,
    keep_dates: bool,
    keep_texts: bool,
    about: Mapping[str, Any],
) -> Path:
    import mne_bids

    path = mne_bids.BIDSPath(
        subject=labels.subject,
        session=labels.session,
        task=labels.task,
        run=labels.run,
        datatype="eeg",
        root=root,
    )
    copy = labels.folder(root / "sourcedata") / f"{labels.stem()}_eeg.xdf"
    taken = [f for f in (labels.folder(root) / f"{labels.stem()}_eeg.json", copy) if f.exists()]
    if taken:
        raise FileExistsError(str(taken[0]))
    root.mkdir(parents=True, exist_ok=True)
    _describe(root, about)
    with warnings.catch_warnings():
        # What these say is true and stated in the sidecars: no date, EDF's last second is padded.
        warnings.filterwarnings("ignore", message=".*[Cc]onvert.*", category=RuntimeWarning)
        warnings.filterwarnings("ignore", message="Conflicting BIDSVersion.*")
        warnings.filterwarnings("ignore", message=".*EDF.*", category=RuntimeWarning)
        warnings.filterwarnings("ignore", message="(?s)Encountered unsupported non-voltage units.*")
        written = mne_bids.write_raw_bids(
            _raw(source, keep_dates),
            path,
            format=file_format,
            allow_preload=True,
            verbose="error",
        )
    events, places = timeline.rows(source)
    rest = len(source.samples) % round(source.spec.rate_hz) if file_format == "EDF" else 0
    if rest:
        lasts_s = 1.0 - rest / source.spec.rate_hz
        events.append(timeline.Row(len(source.samples), lasts_s, "BAD_padding"))
    folder = labels.folder(root)
    _events(folder / f"{labels.stem()}_events.tsv", events, places, source.spec.rate_hz)
    _channels(folder / f"{labels.stem()}_channels.tsv", source)
    _sidecar(folder / f"{labels.stem()}_eeg.json", source, labels)
    _derivatives(root, source, labels, places)
    copy.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, copy, keep_dates=keep_dates, keep_texts=keep_texts)
    return Path(str(written.fpath))


def _json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else f"{value:.10g}"
    text = re.sub(r"[\t\r\n]+", " ", str(value))
    return text if text.strip() else "n/a"


def _table_text(columns: Sequence[str] | None, rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(
        out, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None
    )
    if columns is not None:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(x) for x in row])
    return out.getvalue()


def _describe(root: Path, about: Mapping[str, Any]) -> None:
    """Write README and dataset description of a new dataset; leave those that are there."""
    if not list(root.glob("README*")):
        (root / "README").write_text(_README, encoding="utf-8")
    description = root / "dataset_description.json"
    if description.exists():
        return
    from mne_bids.config import BIDS_VERSION

    chosen = {"Authors": about["authors"], "License": about["licence"]}
    _json(
        description,
        {
            "Name": about["name"],
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            **{key: value for key, value in chosen.items() if value},
            "GeneratedBy": [{"Name": "Neuroloop", "Version": _version()}],
        },
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("neuroloop")
    except PackageNotFoundError:
        return "n/a"


def _events(
    path: Path, events: Sequence[timeline.Row], places: timeline.Places, rate_hz: float
) -> None:
    columns = ("onset", "duration", "trial_type", *timeline.COLUMNS)
    rows = [
        (
            *(e.row / rate_hz, e.lasts_s, e.trial_type, e.value, e.cause, e.row),
            *((places.seq(e.row), places.stamp(e.row)) if e.row < places.n else ("", "")),
        )
        for e in events
    ]
    path.write_text(_table_text(columns, rows), encoding="utf-8")
    described: dict[str, Any] = {
        name: {"Description": text} for name, text in timeline.COLUMNS.items()
    }
    described["stamp"]["Units"] = "s"
    used = {e.trial_type for e in events}
    described["trial_type"] = {
        "Description": "What happened.",
        "Levels": {k: v for k, v in timeline.TRIAL_TYPES.items() if k in used},
    }
    _json(path.with_suffix(".json"), described)


def _channels(path: Path, source: Recording) -> None:
    """Write the channels table: mne-bids cannot know cut-offs, kinds and reasons."""
    bad = _marked(source)
    columns = (
        *("name", "type", "units", "sampling_frequency", "low_cutoff", "high_cutoff"),
        *("status", "status_description", "source_label", "source_unit"),
    )
    rows = []
    for name, channel in zip(_unique(source.spec.names), source.spec.channels, strict=True):
        volts = channel.kind in ("eeg", "eog", "ecg", "emg")
        rows.append(
            (
                name,
                _BIDS_KIND.get(channel.kind, "MISC"),
                "\u00b5V" if volts else "n/a",
                source.spec.rate_hz,
                "n/a",
                "n/a",
                "bad" if channel.name in bad else "good",
                "marked by the operator during the session" if channel.name in bad else "n/a",
                channel.label,
                channel.unit,
            )
        )
    path.write_text(_table_text(columns, rows), encoding="utf-8")
    _json(
        path.with_suffix(".json"),
        {
            "source_label": {"Description": "Label as the amplifier's stream declares it."},
            "source_unit": {"Description": "Unit as the amplifier's stream declares it."},
        },
    )


def _sidecar(path: Path, source: Recording, labels: _Labels) -> None:
    """Complete the sidecar that mne-bids wrote."""
    side = json.loads(path.read_text(encoding="utf-8"))
    header = source.header
    said = [str(e.data.get("say")) for e in source.events if e.kind == "phase_begin"]
    versions = _at(header, "versions")
    gaps = source.gaps()
    kinds = [_BIDS_KIND.get(c.kind, "MISC") for c in source.spec.channels]
    side |= {
        "TaskName": labels.task,
        "TaskDescription": _at(header, "protocol", "title") or "Neurofeedback session.",
        "Manufacturer": "n/a",  # mne-bids names the maker of the file format
        "EEGReference": "n/a",  # the amplifier's own reference is not part of a stream
        "SoftwareFilters": "n/a",  # as received
        "HardwareFilters": "n/a",
        "RecordingType": "discontinuous" if gaps else "continuous",
        "MiscChannelCount": kinds.count("MISC"),
        "TriggerChannelCount": kinds.count("TRIG"),
    }
    side.setdefault("PowerLineFrequency", "n/a")
    every = {"neuroloop": _at(header, "neuroloop"), **(versions or {})}
    said_versions = "; ".join(f"{k} {v}" for k, v in every.items() if v)
    if said_versions:
        side["SoftwareVersions"] = said_versions
    if _at(header, "test_session"):
        side["TestSession"] = True
    if withheld(header):
        side["Blinded"] = BLINDED
    elif (kind := presented_kind(header)) != "real":
        words = KINDS.get(kind, kind.replace("_", " "))
        side["ControlCondition"] = f"{kind}: {words}"
    instructions = [text for text in dict.fromkeys(said) if text and text != "None"]
    if instructions:
        side["Instructions"] = " / ".join(instructions)
    if gaps:
        side["MissingSamples"] = sum(g.missing for g in gaps)
    if source.damage:
        # A file's name tells when, and of whom.
        side["SourceDamage"] = re.sub(r"recovered from .*?\.xdf", "recovered", source.damage)
    _json(path, {k: v for k, v in side.items() if v is not None})


def _derivatives(root: Path, source: Recording, labels: _Labels, places: timeline.Places) -> None:
    """Write features, decisions and presented values as tables with a dictionary each."""
    base = root / "derivatives" / "neuroloop"
    folder = labels.folder(base)
    folder.mkdir(parents=True, exist_ok=True)
    if not (base / "dataset_description.json").exists():
        described = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
        _json(
            base / "dataset_description.json",
            {
                "Name": "Neuroloop: features, decisions and presented feedback",
                "BIDSVersion": described["BIDSVersion"],
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "Neuroloop", "Version": _version()}],
            },
        )
        (base / "README").write_text(_README, encoding="utf-8")
    rate_hz = source.spec.rate_hz
    tables = {
        "features": (source.features, "One row per grid point: the features as computed live."),
        "decisions": (source.decisions, "One row per grid point: what was decided live."),
        "presented": (source.presented, _presented_about(source.presented)),
    }
    if withheld(source.header):
        # They are empty; what is presented and what the gates measured goes without a condition.
        del tables["features"]
        tables["decisions"] = (_public(source.decisions), f"{tables['decisions'][1]} {BLINDED}")
    for name, (table, about) in tables.items():
        stem = labels.stem(f"desc-{name}")
        _series(folder / f"{stem}_events.tsv", name, table, about, source, places, rate_hz)


def _presented_about(table: Table) -> str:
    by_frame = "frame" in table.columns
    return "One row per frame." if by_frame else "One row per value that reached the screen."


def _public(table: Table) -> Table:
    """Return the decisions of a blinded session without columns that hold nothing."""
    keep = [i for i, c in enumerate(table.columns) if not c.startswith(_SECRET)]
    return Table(tuple(table.columns[i] for i in keep), table.values[:, keep])


def _onsets(table: Table, name: str, places: timeline.Places, rate_hz: float) -> Float:
    if name == "presented":
        rows = [places.of_local(t) for t in table.column("t_flip")]
    else:
        rows = [places.of_seq(int(s)) for s in table.column("seq")]
    return np.array(rows, dtype=np.float64) / rate_hz


def _series(
    path: Path,
    name: str,
    table: Table,
    about: str,
    source: Recording,
    places: timeline.Places,
    rate_hz: float,
) -> None:
    if not len(table.values):
        return
    onsets = _onsets(table, name, places, rate_hz)
    lasts = 0.0 if name == "presented" else source.spec.hop / rate_hz
    rows = ((o, lasts, *map(float, r)) for o, r in zip(onsets, table.values, strict=True))
    path.write_text(_table_text(("onset", "duration", *table.columns), rows), encoding="utf-8")
    codes = source.codes.get(name, {})
    described: dict[str, Any] = {c: {"Description": f"{about} Column {c}."} for c in table.columns}
    for column in table.columns:
        if column.startswith("fixed_"):
            described[column] = {
                "Description": f"Power of {column.removeprefix('fixed_')} by the fixed filter, "
                "unsmoothed, at every tenth grid point once filters were fitted: for comparison "
                "across sessions.",
                "Units": "\u00b5V^2",
            }
    if name == "presented":
        for column in table.columns:
            said, unit = _PRESENTED.get(column, (f"Column {column}.", "n/a"))
            described[column] = {"Description": f"{about} {said}", "Units": unit}
        if "screen" in described:
            shown = codes.get("screen_codes", SHOWN)
            described["screen"]["Levels"] = {str(k): str(v) for k, v in enumerate(shown)}
    for column, key in (
        *(("kind", "kind_codes"), ("gate", "gate_bits"), ("held", "held_bits")),
        *(("why", "why_codes"), ("trusted", "trusted_bits"), ("guard", "guard_bits")),
    ):
        if column in described and key in codes:
            bits = f"{column}: {json.dumps(codes[key])}"
            more = f"{described[column]['Description']} " if name == "presented" else ""
            described[column]["Description"] = more + bits
    _json(path.with_suffix(".json"), described)


# ---------------------------------------------------------------- the copy of the recording


def _without(value: Any, keys: frozenset[str]) -> Any:
    """Return nested values without the given keys."""
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    if isinstance(value, list):
        return [_without(v, keys) for v in value]
    return value


def _copy(source: Recording, target: Path, *, keep_dates: bool, keep_texts: bool) -> None:
    """Copy the recording, without what tells who, when and where."""

    def text(stream: str, row: str) -> str:
        if stream not in ("inputs", "events"):
            return row
        change = _input if stream == "inputs" else _event
        return json.dumps(change(json.loads(row), keep_texts))

    header = _header(source, keep_dates)
    rewrite(source.path, target, header, replace(source.spec, host=""), text)


def _header(source: Recording, keep_dates: bool) -> dict[str, Any]:
    """Return the file header of the copy."""
    private = _PRIVATE - {"started"} if keep_dates else _PRIVATE
    header: dict[str, Any] = {**_without(source.header, private), "exported": True}
    study = mapping(header.get("study"))
    # A token that is the client's id would tell who it is.
    if "token" in study and study["token"] == source.header.get("client"):
        header["study"] = {k: v for k, v in study.items() if k != "token"}
    if isinstance(room := header.get("room"), dict):
        header["room"] = _room(room)
    if header.get("course"):  # it names the recording it was fitted to, and its day
        kept = {} if keep_dates else {"made": ""}
        header["course"] = {**header["course"], "recording": "", **kept}
    if certificate := mapping(header.get("certificate")):
        header["certificate"] = _certificate(certificate, source, keep_dates)
    return header


def _room(room: Mapping[str, Any]) -> dict[str, Any]:
    """Return a room without its name, its files and its devices."""
    blank: dict[str, Any] = {"name": ""}
    if "media" in room:
        blank["media"] = dict.fromkeys(mapping(room["media"]))
    if sound := mapping(room.get("sound")):
        files = dict.fromkeys(mapping(sound.get("files")))
        blank["sound"] = {**sound, "device": None, "files": files}
    return {**room, **blank}


def _certificate(
    certificate: Mapping[str, Any], source: Recording, keep_dates: bool
) -> dict[str, Any]:
    """Return of a certificate the delays, and whether it held for this session in the end."""
    kept = {key: certificate.get(key) for key in _CERTIFIED}
    kept["valid"] = kept["valid"] is True and not any(
        e.kind == "certificate_void" for e in source.events
    )
    return {**kept, "date": certificate.get("date")} if keep_dates else kept


def _input(value: dict[str, Any], keep_texts: bool) -> dict[str, Any]:
    if value.get("input") == "command":
        return value if keep_texts else {**value, "text": ""}
    if value.get("input") == "hold" and not (keep_texts and value.get("cause") in _PAUSES):
        return {**value, "sentence": ""}
    return value


def _event(value: dict[str, Any], keep_texts: bool) -> dict[str, Any]:
    kind, data = value.get("kind"), value.get("data")
    if not isinstance(data, dict):
        return value
    typed = kind in _TYPED or (kind == "hold" and data.get("cause") in _PAUSES)
    if kind == "screening":  # answers about the person's health
        data = data if keep_texts else {}
    elif kind == "window":
        data = {**data, "audio": back_end(str(data.get("audio") or ""))}
    elif kind not in _PLAIN and not (keep_texts and typed):
        free = _SENTENCES | ({"reason"} if kind in _TYPED else set())
        data = {k: (_blank(v) if k in free else v) for k, v in data.items()}
    return {**value, "data": data}


def _blank(value: Any) -> Any:
    """Return nothing of the same type, so that whoever reads it finds what it expects."""
    return [] if isinstance(value, list) else ""
