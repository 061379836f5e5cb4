"""The same fold over recorded Inputs: a recording must give the same decisions again.

Three uses: compare a Neuroloop recording with itself, ask what another protocol would have done on
it, or run a protocol over any EEG file. All of them call `engine.assemble.assemble` and `Fold.step`
and nothing else.
"""

from __future__ import annotations

import csv
import functools
import importlib.metadata
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from engine.assemble import Assembly, MakeControl, assemble, feature_units
from engine.blind import parted
from engine.clock import wall
from engine.columns import (
    HELD,
    WHY,
    decision_columns,
    decision_row,
    feature_columns,
    feature_row,
    plain,
)
from engine.controls import again
from engine.course import checked_course
from engine.errors import FileError, InputError
from engine.frames import (
    Chunk,
    Command,
    Event,
    Gap,
    Gate,
    Input,
    Phase,
    PhaseKind,
    StreamSpec,
    frozen,
)
from engine.grid import mapping
from engine.number import Numberer, Received
from engine.pipeline import Point
from engine.plugins import Registries, load_plugins, registries
from engine.readfile import EegFile, read_eeg
from engine.recording import Recording, read
from protocols.load import Loaded
from protocols.model import Feature, Protocol

__all__ = [
    "Comparison",
    "Opened",
    "Replayed",
    "compare",
    "file_inputs",
    "plan_from",
    "recorded_kinds",
    "recorded_protocol",
    "replay_file",
    "replay_recording",
    "write_tables",
]

CHECK_S = 2.0  # live, a session starts after a check of the signal; filters settle meanwhile
LAST_S = 1.0  # what a killed recorder may not have written any more
_LATER_GATES = ("saccade", "motion")  # not known to the first version
BLOCK_SAMPLES = 4096  # any number gives the same decisions


@dataclass
class Replayed:
    """What a fold gave over a whole recording or file.

    Parameters
    ----------
    source : Path
        What was replayed.
    protocol : Protocol
        With which protocol.
    spec : StreamSpec
        Its columns.
    assembly : Assembly
        The fold afterwards.
    features, decisions : ndarray, shape (n_points, n_columns)
        Rows as in a recording, without stamps.
    t : ndarray, shape (n_points,)
        Stamp of every grid point.
    events : list of Event
        What happened.
    notes : tuple of str
        What the reader of the file had to say.
    comparison : Comparison or None
        With the recorded decisions, when there are any to compare with.
    real : ndarray, shape (n_points, n_columns)
        Decisions without the control condition; empty where there is none.
    withheld : bool
        The session is blinded and its research log closed: features, rewards and what follows from
        them are taken out, because beside what was presented they would tell the arm.
    """

    source: Path
    protocol: Protocol
    spec: StreamSpec
    assembly: Assembly
    features: np.ndarray
    decisions: np.ndarray
    t: np.ndarray
    events: list[Event] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None
    real: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    withheld: bool = False

    @property
    def feature_columns(self) -> tuple[tuple[str, str], ...]:
        """(label, unit) of every column of `features`."""
        units = feature_units(self.protocol, self.assembly.kinds)
        return feature_columns(units, self.assembly.fold.gates.metric_names)

    @property
    def decision_columns(self) -> tuple[tuple[str, str], ...]:
        """(label, unit) of every column of `decisions`."""
        return decision_columns([r.feature for r in self.protocol.rules])

    def summary(self) -> dict[str, Any]:
        """Return clean seconds, rewards, gated seconds by cause and per phase."""
        return _summary(self)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What the research log of a blinded session holds.

    Parameters
    ----------
    control : mapping or None
        As `ControlPlan.stored` wrote it.
    shift : float
    features, decisions : ndarray, shape (n_points, n_columns)
        The real ones, rows as in an open recording, without stamps.
    events : tuple of Event
        What was withheld.
    damage : str
        Empty when the log is whole.
    """

    control: Mapping[str, Any] | None
    shift: float
    features: np.ndarray
    decisions: np.ndarray
    events: tuple[Event, ...] = ()
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Recorded against replayed decisions.

    Parameters
    ----------
    points : int
        Decisions that both hold.
    identical : bool
        Whether all of them agree, bit for bit.
    first_difference : int or None
        The sample of the first that does not.
    rewards_recorded, rewards_replayed : int
    other_version : str
        What to say when another version of Neuroloop recorded.
    withheld : bool
        The session is blinded and its research log closed: level and reward were not compared.
    """

    points: int
    identical: bool
    first_difference: int | None
    rewards_recorded: int
    rewards_replayed: int
    other_version: str = ""
    withheld: bool = False

    @property
    def sentence(self) -> str:
        """One sentence for people, with another version where that is a likely reason."""
        if self.identical and self.withheld:
            return (
                f"phases and gates of all {self.points} decisions are identical to the recorded "
                "ones; the session is blinded, so levels and rewards were not compared (after "
                "unsealing: --study and --passphrase-file)"
            )
        if self.withheld:
            return f"phases or gates differ from sample {self.first_difference} on"
        if self.identical:
            return f"all {self.points} decisions are identical to the recorded ones"
        said = (
            f"decisions differ from sample {self.first_difference} on: "
            f"{self.rewards_recorded} rewards recorded, {self.rewards_replayed} replayed"
        )
        return f"{said}; {self.other_version}" if self.other_version else said


def plan_from(rows: Sequence[Mapping[str, Any]]) -> tuple[Phase, ...]:
    """Rebuild a plan from a recording's header."""
    return tuple(
        Phase(
            index=int(r["index"]),
            kind=PhaseKind[r["kind"]],
            name=r["name"],
            lasts_s=float(r["lasts_s"]),
            say=r["say"],
            eyes=r["eyes"],
            needs_clean_s=float(r["needs_clean_s"]),
            learn=tuple(r["learn"]),
            block=int(r["block"]),
            uses=tuple(r.get("uses", ())),
            waits_s=float(r.get("waits_s", 0.0)),
            ask=str(r.get("ask", "")),
            trials=tuple(int(k) for k in r.get("trials", ())),
            chance_s=float(r.get("chance_s", 0.0)),
        )
        for r in rows
    )


def recorded_kinds(header: Mapping[str, Any]) -> Registries:
    """Return what is built in and what the recording's packages add.

    Raises
    ------
    InputError
        A package is not installed, or is another version or another content than was recorded.
    """
    rows = [mapping(r) for r in header.get("plugins") or ()]
    plugins = load_plugins(tuple((str(r.get("name")), str(r.get("version"))) for r in rows))
    for row in rows:
        name = str(row.get("name"))
        if row.get("sha256") not in (None, plugins.hashes.get(name)):
            raise InputError(
                f"The package {name} has another content than the one that was recorded.",
                f"Install {name} {row.get('version')} as it was then.",
            )
    return registries(plugins)


def recorded_protocol(header: Mapping[str, Any]) -> Protocol:
    """Return the protocol of a recording's header, meaning what it meant then.

    The header holds every key that the recording version knew. `fit`, the saccade gate and the
    motion gate came later and are on unless switched off: where a header does not have them, they
    were not there.

    Raises
    ------
    FileError
        The header's protocol is none that this version can run.
    """
    stored = header["protocol"]
    try:
        if _before_fits(header):
            features = {n: {"fit": "fixed", **f} for n, f in stored["features"].items()}
            gates = {**{gate: {"on": False} for gate in _LATER_GATES}, **stored["gates"]}
            stored = {**stored, "features": features, "gates": gates}
        return Protocol.model_validate(stored)
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        told = str(error).splitlines()[0]
        raise FileError(
            f"the recorded protocol cannot be run by this version ({told})",
            "replay it with the version that recorded it, or name a protocol: "
            "neuroloop replay FILE --protocol NAME",
        ) from None


def _before_fits(header: Mapping[str, Any]) -> bool:
    """Return whether a recording is older than fitted filters and the later gates."""
    protocol = mapping(header.get("protocol"))
    features, gates = mapping(protocol.get("features")), mapping(protocol.get("gates"))
    return any(gate not in gates for gate in _LATER_GATES) or any(
        "fit" not in mapping(f) for f in features.values()
    )


def _other_version(header: Mapping[str, Any]) -> str:
    """Return what to say when another version recorded; empty when this one did, or unknown."""
    this, by = importlib.metadata.version("neuroloop"), header.get("neuroloop")
    if _before_fits(header):
        made = f"version {by}" if by and by != this else "an earlier version"
        return (
            f"the recording was made by {made} of Neuroloop, from before filters were fitted to "
            f"the person and looks and head movements were gated; this is version {this}, which "
            "replays it with fixed filters and without these gates"
        )
    if by and by != this:
        return f"the recording was made by version {by} of Neuroloop, this is version {this}"
    return ""


def replay_recording(
    source: Path | Recording,
    *,
    other: Loaded | None = None,
    plan: Sequence[Phase] | None = None,
    opened: Opened | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Replayed:
    """Fold a Neuroloop recording again.

    Parameters
    ----------
    source : Path or Recording
        The recording, read already or not.
    other : Loaded, optional
        Another protocol: then the operator's pauses and notes are kept, threshold changes are
        not, and there is nothing to compare with.
    plan : sequence of Phase, optional
        The other protocol's plan.
    opened : Opened, optional
        The research log of a blinded session; without it only what is in plain is compared.
    progress : callable
        Called with the share done, 0 to 1.

    Raises
    ------
    FileError
        It is no Neuroloop recording, or its protocol is none for this version.
    InputError
        The course in its header cannot be read.
    """
    recording = read(source) if isinstance(source, Path) else source
    path, header = recording.path, recording.header
    if "protocol" not in header or "plan" not in header:
        raise FileError(
            f"{path} holds no protocol: it is no recording of a Neuroloop session",
            "name a protocol to run over it: neuroloop replay FILE --protocol NAME",
        )
    known = recorded_kinds(header)
    control: MakeControl | None = None
    shift = float(header.get("shift") or 0.0)
    if other is None:
        protocol, course = recorded_protocol(header), checked_course(header.get("course"))
        steps = plan_from(header["plan"])
        stored = header.get("control") if opened is None else opened.control
        shift = shift if opened is None else opened.shift
        if stored is not None:
            made = again(protocol, stored)
            control = functools.partial(made.make, rewards=known.rewards, shift=shift)
    else:
        protocol, course = other.protocol, {}  # a course is one of its own protocol
        steps, shift = tuple(plan or ()), 0.0
    assembly = assemble(
        recording.spec,
        protocol,
        steps,
        mains_hz=header.get("mains_hz"),
        range_uv=header.get("range_uv"),
        dc_coupled=header.get("dc_coupled"),
        course=course,
        kinds=known.features,
        rewards=known.rewards,
        control=control,
        shift=shift,
    )
    inputs: Iterable[Input] = recording.inputs_in_order(BLOCK_SAMPLES)
    if other is not None:
        foreign = ("threshold", "skip")  # they belong to the plan and rules of that session
        inputs = (i for i in inputs if not (isinstance(i, Command) and i.kind in foreign))
    out = _fold(path, protocol, recording.spec, assembly, inputs, len(recording.samples), progress)
    if recording.damage:
        out.notes = (*out.notes, recording.damage)
    if other is None:
        out.comparison = compare(recording, out, opened)
        if out.comparison.withheld:
            _withhold(out)
    return out


def _withhold(out: Replayed) -> None:
    """Take out what the recording of a blinded session does not hold either."""
    out.withheld = True
    plain_columns = [name in IN_PLAIN for name, _ in out.decision_columns]
    out.decisions[:, [k for k, yes in enumerate(plain_columns) if not yes]] = np.nan
    known = {"trusted", *out.protocol.features}
    fixed = {f"fixed_{name}" for name in known}
    out.features[
        :, [k for k, (name, _) in enumerate(out.feature_columns) if name in known | fixed]
    ] = np.nan
    seen = (parted(event)[0] for event in out.events if event.kind != "reward")
    out.events = [replace(e, data=_without_counts(e.data)) for e in seen if e is not None]


def _without_counts(data: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k != "rewards"}


IN_PLAIN = frozenset({"seq", "phase", "kind", "gate", "held", "phase_s"})
"""Columns of a blinded session's decisions that a replay without its research log gives as well."""


def compare(recording: Recording, replayed: Replayed, opened: Opened | None = None) -> Comparison:
    """Compare recorded decisions with replayed ones, bit for bit.

    Of a blinded session only what is in plain is compared, unless its research log is `opened`:
    then what was presented is compared as well, and what was real with what the log holds.

    A recording that was cut short, or went on recording after a fault, lacks decisions at its end:
    what both hold is compared. A replay that gives fewer decisions than were recorded (by more
    than the second that a killed recorder may not have written) is not identical.
    """
    names = [name for name, _ in replayed.decision_columns]
    recorded = np.column_stack([recording.decisions.column(n) for n in names])
    n = min(len(recorded), len(replayed.decisions))
    redone = replayed.decisions[:n]
    same = (recorded[:n] == redone) | (np.isnan(recorded[:n]) & np.isnan(redone))
    blinded = bool(recording.header.get("blinded"))
    if blinded:
        plain = IN_PLAIN if opened is None else IN_PLAIN | {"level", "reward", "rewards"}
        same[:, [i for i, name in enumerate(names) if name not in plain]] = True
    if blinded and opened is not None:
        m = min(n, len(opened.decisions), len(replayed.real))
        if m:  # a session that broke off at once has none
            real, kept = replayed.real[:m], opened.decisions[:m]
            agree = (real == kept) | (np.isnan(real) & np.isnan(kept))
            same[:m] &= agree.all(axis=1)[:, None]
    rows = same.all(axis=1)
    whole = len(recorded) - len(replayed.decisions) <= LAST_S * replayed.spec.grid_hz
    reward = names.index("reward")
    first = None
    if n and not rows.all():
        first = int(redone[int(np.argmin(rows)), 0])
    elif n and not whole:
        first = int(redone[-1, 0])  # one side ends here, the other goes on
    return Comparison(
        points=n,
        identical=bool(rows.all()) and n > 0 and (whole or bool(recording.losses)),
        first_difference=first,
        rewards_recorded=int(recorded[:n, reward].sum()),
        rewards_replayed=int(redone[:, reward].sum()),
        other_version=_other_version(recording.header),
        withheld=blinded and opened is None,
    )


def file_inputs(eeg: EegFile) -> Iterator[Input]:
    """Yield the Inputs of an EEG file: start after `CHECK_S`, as live; its samples and gaps."""
    hop = eeg.spec.hop
    yield Command(round(CHECK_S * eeg.spec.rate_hz / hop) * hop, "start")
    if eeg.stamps is None:
        yield Chunk(0, frozen(np.arange(len(eeg.samples)) / eeg.spec.rate_hz), frozen(eeg.samples))
    else:
        yield from _joined(_numbered(eeg))


def _numbered(eeg: EegFile) -> Iterator[Chunk | Gap]:
    """Yield what the stamps of a file tell, as live: received when stamped, a grid step a time."""
    counter = next((c.name for c in eeg.spec.channels if c.kind == "counter"), None)
    number = Numberer(eeg.spec, counter)
    assert eeg.stamps is not None
    push = eeg.spec.hop
    for at in range(0, len(eeg.samples), push):
        stamps = eeg.stamps[at : at + push]
        rows = eeg.samples[at : at + push]
        for item in number.step(Received(rows, stamps, float(stamps[-1]))):
            if not isinstance(item, Event):
                yield item


def _joined(items: Iterable[Chunk | Gap]) -> Iterator[Chunk | Gap]:
    """Join consecutive chunks: the decisions are the same, and come sooner."""
    waiting: list[Chunk] = []
    n = 0

    def flush() -> Iterator[Chunk]:
        if waiting:
            t = np.concatenate([c.t for c in waiting])
            uv = np.concatenate([c.uv for c in waiting])
            yield Chunk(waiting[0].seq, frozen(t), frozen(uv))

    for item in items:
        follows = isinstance(item, Chunk) and (not waiting or item.seq == waiting[0].seq + n)
        if not follows or n >= BLOCK_SAMPLES:
            yield from flush()
            waiting, n = [], 0
        if isinstance(item, Chunk):
            waiting.append(item)
            n += len(item.uv)
        else:
            yield item
    yield from flush()


def replay_file(
    path: Path,
    loaded: Loaded,
    make_plan: Callable[[EegFile], Sequence[Phase]],
    *,
    mains_hz: float | None = None,
    known: Registries | None = None,
    dc_coupled: bool | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Replayed:
    """Run a protocol over any EEG file as if it were live.

    `known` are the registries the protocol was loaded with; `dc_coupled` says whether the file's
    amplifier passed slow potentials.

    Raises
    ------
    FileError
        The file cannot be read.
    MontageError
        The file lacks a site, the reference or the rate.
    """
    eeg = read_eeg(path)
    found = registries() if known is None else known
    assembly = assemble(
        eeg.spec,
        loaded.protocol,
        make_plan(eeg),
        mains_hz=mains_hz,
        dc_coupled=dc_coupled,
        kinds=found.features,
        rewards=found.rewards,
    )
    out = _fold(
        path, loaded.protocol, eeg.spec, assembly, file_inputs(eeg), len(eeg.samples), progress
    )
    out.notes = tuple(eeg.notes)
    return out


def _fold(
    source: Path,
    protocol: Protocol,
    spec: StreamSpec,
    assembly: Assembly,
    inputs: Iterable[Input],
    n_samples: int,
    progress: Callable[[float], None],
) -> Replayed:
    features: list[np.ndarray] = []
    decisions: list[np.ndarray] = []
    t: list[float] = []
    events: list[Event] = []
    real: list[np.ndarray] = []
    done = 0
    for item in inputs:
        for part in _in_parts(item):
            for point in assembly.fold.step(part):
                _note(point, features, decisions, t, events)
                if point.real is not None:
                    real.append(decision_row(point.real))
            if isinstance(part, Chunk):
                done += len(part.uv)
                progress(done / max(1, n_samples))
    if not t:
        raise InputError(f"{source} holds no samples", "choose another file")
    return Replayed(
        source,
        protocol,
        spec,
        assembly,
        np.array(features),
        np.array(decisions),
        np.array(t),
        events,
        assembly.warnings,
        real=np.array(real) if real else np.zeros((0, 0)),
    )


def _in_parts(item: Input) -> Iterator[Input]:
    """Cut long chunks, so that progress moves."""
    if not isinstance(item, Chunk) or len(item.uv) <= BLOCK_SAMPLES:
        yield item
        return
    for at in range(0, len(item.uv), BLOCK_SAMPLES):
        end = at + BLOCK_SAMPLES
        yield Chunk(item.seq + at, item.t[at:end], item.uv[at:end])


def _note(
    point: Point,
    features: list[np.ndarray],
    decisions: list[np.ndarray],
    t: list[float],
    events: list[Event],
) -> None:
    features.append(feature_row(point.frame))
    decisions.append(decision_row(point.decision))
    t.append(point.frame.t)
    events.extend(point.events)


# ---------------------------------------------------------------- results


def _summary(r: Replayed) -> dict[str, Any]:
    grid_hz = r.spec.grid_hz
    columns = {name: k for k, (name, _) in enumerate(r.decision_columns)}
    d = r.decisions
    kind = d[:, columns["kind"]]
    gate = d[:, columns["gate"]].astype(int)
    held = d[:, columns["held"]].astype(int)
    begun = kind > PhaseKind.CHECK.value
    ended = np.isin(kind, [k.value for k in PhaseKind if k.terminal])
    running = begun & ~ended
    train = (kind == PhaseKind.TRAIN.value) & (held == 0)
    clean = train & (gate == 0)
    rewards = None if r.withheld else int(d[:, columns["reward"]].sum())
    clean_train_s = float(clean.sum()) / grid_hz
    last = PhaseKind(int(kind[-1]))
    return {
        "source": r.source.name,
        "protocol": r.protocol.name,
        "made": wall().isoformat(timespec="seconds"),
        "seconds": float(len(d)) / grid_hz,
        "running_s": float(running.sum()) / grid_hz,
        "clean_s": float((running & (gate == 0) & (held == 0)).sum()) / grid_hz,
        "training_s": float(train.sum()) / grid_hz,
        "clean_training_s": clean_train_s,
        "rewards": rewards,
        "rewards_per_clean_min": None
        if rewards is None or not clean_train_s
        else 60.0 * rewards / clean_train_s,
        "joint_rate": None
        if r.withheld or not clean.any()
        else float(d[clean, columns["joint"]].mean()),
        "gated_s": {
            g.name.lower(): float(((gate & int(g)) != 0)[running].sum()) / grid_hz
            for g in Gate
            if g and g.name
        },
        "held_s": float((running & (held != 0)).sum()) / grid_hz,
        "ended_as": last.name.lower() if last.terminal else "incomplete",
        "estimator_delay_s": dict(r.assembly.delay_s),
        "reference": r.assembly.montage.reference,
        "notes": list(r.notes),
        "identical_to_recording": None if r.comparison is None else r.comparison.identical,
    }


def write_tables(r: Replayed, folder: Path) -> tuple[Path, ...]:
    """Write features.tsv, decisions.tsv, events.tsv, columns.json and summary.json.

    Parameters
    ----------
    r : Replayed
        What to write.
    folder : Path
        Made when missing; existing files of these names are replaced.

    Raises
    ------
    FileError
        They cannot be written.
    """
    tables = {
        "features.tsv": _table(r.feature_columns, r.t, r.features),
        "decisions.tsv": _table(r.decision_columns, r.t, r.decisions),
        "events.tsv": (
            ("t", "seq", "kind", "data"),
            (
                (repr(float(e.t)), e.seq, e.kind, json.dumps(plain(e.data), ensure_ascii=False))
                for e in r.events
            ),
        ),
    }
    texts = {"columns.json": _dictionary(r), "summary.json": plain(r.summary())}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (titles, rows) in tables.items():
            with (folder / name).open("w", newline="", encoding="utf-8") as out:
                table = csv.writer(out, delimiter="\t", lineterminator="\n")
                table.writerow(titles)
                table.writerows(rows)
        for name, value in texts.items():
            text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise FileError(
            f"The tables cannot be written to {folder}: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    return tuple(folder / name for name in (*tables, *texts))


def _table(
    columns: Sequence[tuple[str, str]], t: np.ndarray, values: np.ndarray
) -> tuple[tuple[str, ...], Iterator[list[str]]]:
    rows = ([repr(float(at)), *map(_cell, row)] for at, row in zip(t, values, strict=True))
    return ("t", *(name for name, _ in columns)), rows


def _cell(value: float) -> str:
    """Return the shortest text that reads back as the same number; unknown is ``n/a``."""
    if math.isnan(value):
        return "n/a"
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _words(feature: Feature) -> str:
    """Return what a feature is, as in ``power in 12-15 Hz at Cz``."""
    band = f" in {feature.band_hz[0]:g}-{feature.band_hz[1]:g} Hz" if feature.band_hz else ""
    at = f" at {', '.join(feature.at)}" if feature.at else ""
    return f"{feature.kind}{band}{at}{' of ' if feature.of else ''}{', '.join(feature.of)}"


def _dictionary(r: Replayed) -> dict[str, Any]:
    """Describe every column: unit and meaning."""
    meaning = {
        "t": ("s", "raw stamp of the grid point's sample (seconds from the start of a file)"),
        "seq": ("sample", "index of the grid point's sample; a gap makes it jump"),
        "trusted": ("bits", "bit k: feature k (in column order) is known and clean"),
        "gate": ("bits", "why the point is gated, see gate_bits; 0 is open"),
        "phase": ("index", "position in the plan, -1 before start"),
        "kind": ("code", "state of the session, see kind_codes"),
        "level": ("1", "what the person is shown, 0 to 1; n/a means no honest answer"),
        "reward": ("bool", "a reward happens here"),
        "joint": ("bool", "all reward and inhibit rules hold"),
        "held": ("bits", "why the session is held, see held_bits"),
        "phase_s": ("s", "seconds on the phase's own clock"),
        "rewards": ("count", "rewards so far"),
        "why": ("code", "why there is no level, see why_codes"),
    }

    units = feature_units(r.protocol, r.assembly.kinds)

    def describe(
        columns: Sequence[tuple[str, str]], features: Mapping[str, Feature]
    ) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, unit in (("t", "s"), *columns):
            known = meaning.get(name)
            feature = features.get(name)
            if feature is not None:
                out[name] = {"unit": unit, "meaning": f"{_words(feature)}; n/a is unknown"}
            elif known is not None:
                out[name] = {"unit": known[0], "meaning": known[1]}
            elif name.startswith("pass_"):
                out[name] = {"unit": "bool", "meaning": "this rule holds; n/a is unknown"}
            elif name.startswith("threshold_"):
                of = name.split("_", 2)[2]
                said = f"threshold of {of} in this rule; n/a before it exists"
                out[name] = {"unit": units.get(of, ""), "meaning": said}
            else:
                out[name] = {"unit": "uV", "meaning": "what this gate measured at this site"}
        return out

    return {
        "features.tsv": describe(r.feature_columns, r.protocol.features),
        "decisions.tsv": describe(r.decision_columns, {}),
        "events.tsv": {
            "t": {"unit": "s", "meaning": "stamp of the grid point"},
            "seq": {"unit": "sample", "meaning": "index of the grid point's sample"},
            "kind": {"unit": "", "meaning": "what happened"},
            "data": {"unit": "", "meaning": "details as JSON"},
        },
        "gate_bits": {g.name: int(g) for g in Gate if g.name},
        "held_bits": {cause: 1 << k for k, cause in enumerate(HELD)},
        "kind_codes": {k.name: k.value for k in PhaseKind},
        "why_codes": {why or "shown": k for k, why in enumerate(WHY)},
    }
