"""Replay: every kind of file, what is written, and what is said when something does not fit.

That a live recording replays to the same decisions is tested where sessions are run.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import assemble, feature_units
from engine.batch import eeg_files, is_recording, replay_all
from engine.clock import now
from engine.errors import FileError, InputError, MontageError, YamlError
from engine.features import FEATURES
from engine.frames import Channel, Chunk, Command, Gap, PhaseKind, StreamSpec
from engine.person import SITES, Person
from engine.readfile import EegFile, read_eeg
from engine.record import Recorder
from engine.recording import Table, read
from engine.replay import Replayed, file_inputs, replay_file, replay_recording, write_tables
from protocols.load import load
from protocols.plan import expand

TRIAL = """\
format: 1
name: trial
title: Alpha at one site
evidence: {{grade: X, summary: "For trials only.", refs: []}}
summary: Trains 8-12 Hz power upward.
needs:     {{channels: [{site}], rate: at least 100 Hz}}
condition: {{reference: as recorded, high_pass: 1 Hz, mains: notch}}
features:
  alpha: {{kind: power, at: [{site}], band: 8-12 Hz, smooth: 1 s}}
  size:  {{kind: amplitude, at: [{site}], band: 8-12 Hz, smooth: 1 s}}
gates: {{blink: on, amplitude: on, step: on, muscle: on}}
baseline:
  - {{name: rest, lasts: 60 s, eyes: closed, learn: [alpha]}}
reward:
  feature: alpha
  above: {{baseline: percentile, success: 65 %}}
  sustain: 0.3 s
  refractory: 1 s
feedback:
  level:
    feature: alpha
    from: {{baseline: median, plus: -1 mad}}
    to: {{baseline: median, plus: 2 mad}}
  picture: bar
session:
  - baseline
  - {{train: 60 s}}
  - {{rest: 10 s}}
"""
SHORT_S = 30.0
RATE_HZ = 250.0


@pytest.fixture
def trial(tmp_path: Path) -> Callable[[str], Path]:
    """Return a protocol for a file that has this site."""

    def write(site: str) -> Path:
        path = tmp_path / "trial.yaml"
        path.write_text(TRIAL.format(site=site), encoding="utf-8")
        return path

    return write


def person_csv(path: Path, seconds: float, seed: int = 1) -> Path:
    """Write a simulated person as muse-lsl would write a table."""
    uv = Person(256.0, seed=seed, eyes="closed", jaw=False).read(round(256 * seconds))
    names = ("TP9", "AF7", "AF8", "TP10")
    at = [SITES.index(s) for s in ("O1", "Fp1", "Fp2", "O2")]
    stamps = 100.0 + np.arange(len(uv)) / 256.0
    with path.open("w", encoding="utf-8", newline="") as out:
        table = csv.writer(out)
        table.writerow(["timestamps", *names])
        table.writerows(
            [f"{t:.6f}", *(f"{v:.3f}" for v in row[at])] for t, row in zip(stamps, uv, strict=True)
        )
    return path


def table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        titles, *rows = csv.reader(file, delimiter="\t")
    return titles, rows


def numbers(path: Path) -> tuple[list[str], np.ndarray]:
    titles, rows = table(path)
    values = [[math.nan if cell == "n/a" else float(cell) for cell in row] for row in rows]
    return titles, np.array(values)


# ---------------------------------------------------------------- every kind of file

FILES = [
    ("eegbci/S001R02.edf", "O1", None),
    ("eegmat/Subject03_2.edf", "O1", "done"),
    ("restingiaf/tute_01_1.set", "Pz", "done"),
    ("odd/labels-a1-a16.bdf", "A5", "done"),
    ("muse/n170-timestamp-gaps.csv", "TP9", "done"),
    ("openbci/blinks-jawclench-alpha.txt", "ch7", None),
    ("xdf/ssvep_example.xdf", "C3", "done"),
    ("xdf/obci-unlabelled.xdf", "ch3", "incomplete"),
    ("odd/139-channels-6s.edf", "A3", "incomplete"),
    ("yasa/resting-eo-200hz_raw.fif", "Cz", "done"),
    pytest.param("eeglab/eeglab_data.set", "Cz", None, marks=pytest.mark.slow),
    pytest.param("xdf/switch_example.xdf", "Cz", "done", marks=pytest.mark.slow),
    pytest.param("xdf/t1-run-003.xdf", "Cz", "done", marks=pytest.mark.slow),
    pytest.param("xdf/clock_resets.xdf", "ch3", "failed", marks=pytest.mark.slow),
    pytest.param("muse/doing-dishes.edf", "ch1", "done", marks=pytest.mark.slow),
    pytest.param("muse/p300-subject2.csv", "TP9", "done", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "site", "ended"), FILES)
def test_every_kind_of_file_is_replayed(
    name: str,
    site: str,
    ended: str | None,
    shared_data: Path,
    trial: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    said: list[str] = []
    (summary,) = replay_all(
        shared_data / name, str(trial(site)), SHORT_S, None, tmp_path, say=said.append
    )
    folder = Path(summary["tables"])
    assert folder == tmp_path / Path(name).name
    kept = json.loads((folder / "summary.json").read_text("utf-8"))
    described = json.loads((folder / "columns.json").read_text("utf-8"))
    eeg = read_eeg(shared_data / name)
    for which in ("features", "decisions"):
        titles, values = numbers(folder / f"{which}.tsv")
        assert list(described[f"{which}.tsv"]) == titles
        # One row for every grid point; a gap may take one with it, and makes seq jump.
        gaps = np.count_nonzero(np.diff(values[:, titles.index("seq")]) > eeg.spec.hop)
        assert abs(len(values) - len(eeg.samples) / eeg.spec.hop) <= 1 + gaps
        assert (np.diff(values[:, titles.index("seq")]) > 0).all()
    titles, rows = table(folder / "events.tsv")
    assert list(described["events.tsv"]) == titles
    assert all(isinstance(json.loads(row[3]), dict) for row in rows)

    assert {"clean_s", "rewards", "rewards_per_clean_min", "gated_s"} <= set(kept)
    assert ended is None or kept["ended_as"] == ended
    assert kept["notes"] == list(eeg.notes)
    if kept["ended_as"] == "done":
        assert kept["rewards"] > 0
        assert kept["clean_s"] > 15
    assert said[0].startswith(f"{Path(name).name}: ")
    assert said[-1] == f"  Tables: {folder}"


def test_a_file_that_is_too_short_says_so(
    shared_data: Path, trial: Callable[[str], Path], tmp_path: Path
) -> None:
    said: list[str] = []
    path = shared_data / "odd" / "139-channels-6s.edf"
    replay_all(path, str(trial("A3")), SHORT_S, None, tmp_path, say=said.append)
    assert "too short for a whole session" in " ".join(said)
    said.clear()
    path = shared_data / "odd" / "labels-a1-a16.bdf"
    replay_all(path, str(trial("A5")), None, None, tmp_path, say=said.append)
    (hint,) = [s for s in said if "--short" in s]
    fits = float(hint.split("--short ")[1].split()[0])
    (summary,) = replay_all(path, str(trial("A5")), fits, None, tmp_path)
    assert summary["ended_as"] == "done"


def test_a_damaged_file_is_refused(shared_data: Path, trial: Callable[[str], Path]) -> None:
    with pytest.raises(FileError, match="damaged"):
        replay_all(
            shared_data / "odd" / "corrupt-utf8-reencoded.edf", str(trial("O1")), None, None, None
        )


# ---------------------------------------------------------------- what is written


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    """Return a person, eyes closed, through the trial protocol."""
    folder = tmp_path_factory.mktemp("person")
    (folder / "trial.yaml").write_text(TRIAL.format(site="TP9"), encoding="utf-8")
    loaded = load(folder / "trial.yaml", FEATURES)
    path = person_csv(folder / "person.csv", 34.0)
    return replay_file(path, loaded, lambda _: expand(loaded.protocol, SHORT_S))


def test_the_tables_hold_the_numbers_of_the_fold(replayed: Replayed, tmp_path: Path) -> None:
    write_tables(replayed, tmp_path)
    for which, columns, values in (
        ("features", replayed.feature_columns, replayed.features),
        ("decisions", replayed.decision_columns, replayed.decisions),
    ):
        titles, read_back = numbers(tmp_path / f"{which}.tsv")
        assert titles == ["t", *(name for name, _ in columns)]
        assert np.array_equal(read_back[:, 0], replayed.t)
        assert np.array_equal(read_back[:, 1:], values, equal_nan=True)
        assert np.isnan(values).any()  # so that n/a was tried as well


def test_numbers_that_are_not_finite_are_written(replayed: Replayed, tmp_path: Path) -> None:
    values = replayed.features.copy()
    values[:3, 1] = (np.inf, -np.inf, 1e300)
    odd = Replayed(
        replayed.source, replayed.protocol, replayed.spec, replayed.assembly,
        values, replayed.decisions, replayed.t,
    )  # fmt: skip
    write_tables(odd, tmp_path)
    _, read_back = numbers(tmp_path / "features.tsv")
    assert np.array_equal(read_back[:, 1:], values, equal_nan=True)


def test_every_column_is_described(replayed: Replayed, tmp_path: Path) -> None:
    write_tables(replayed, tmp_path)
    described = json.loads((tmp_path / "columns.json").read_text("utf-8"))
    alpha = described["features.tsv"]["alpha"]
    assert alpha == {"unit": "uV2", "meaning": "power in 8-12 Hz at TP9; n/a is unknown"}
    assert described["features.tsv"]["gate_muscle_TP9"]["unit"] == "uV"
    assert described["decisions.tsv"]["threshold_0_alpha"]["unit"] == "uV2"
    for columns in (described["features.tsv"], described["decisions.tsv"]):
        for name, about in columns.items():
            assert about["meaning"], name
    for key in ("gate_bits", "held_bits", "kind_codes", "why_codes"):
        assert described[key]


def test_the_summary_counts_what_the_tables_hold(replayed: Replayed) -> None:
    summary = replayed.summary()
    names = [name for name, _ in replayed.decision_columns]
    grid_hz = replayed.spec.grid_hz
    d = {name: replayed.decisions[:, k] for k, name in enumerate(names)}
    kinds = [PhaseKind(int(k)) for k in d["kind"]]
    running = np.array(
        [k not in (PhaseKind.IDLE, PhaseKind.CHECK) and not k.terminal for k in kinds]
    )
    training = np.array([k is PhaseKind.TRAIN for k in kinds])
    clean = (d["gate"] == 0) & (d["held"] == 0)
    assert summary["ended_as"] == "done"
    assert summary["rewards"] == d["reward"].sum() == d["rewards"][-1] > 0
    assert summary["clean_s"] == pytest.approx((running & clean).sum() / grid_hz)
    minutes = (training & clean).sum() / grid_hz / 60.0
    assert summary["rewards_per_clean_min"] == pytest.approx(summary["rewards"] / minutes)
    assert set(summary["gated_s"]) >= {"amplitude", "blink", "muscle", "step", "flat", "gap"}
    assert summary["seconds"] == pytest.approx(len(d["seq"]) / grid_hz)
    assert 0 < summary["joint_rate"] < 1


def test_a_folder_that_cannot_be_written_is_named(replayed: Replayed, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(FileError, match="cannot be written"):
        write_tables(replayed, tmp_path / "taken" / "tables")


# ---------------------------------------------------------------- the inputs of a file


def eeg_file(stamps: np.ndarray | None, n: int) -> EegFile:
    spec = StreamSpec("x", "EEG", "x", "", "", RATE_HZ, (Channel("Cz", "eeg", "microvolts", 1.0),))
    uv = Person(RATE_HZ, seed=3).read(n)[:, :1]
    return EegFile(spec, uv, stamps, (), ())


def test_a_file_without_stamps_is_one_run() -> None:
    start, chunk = file_inputs(eeg_file(None, 1000))
    assert isinstance(start, Command)
    assert start.kind == "start"
    assert isinstance(chunk, Chunk)
    assert (chunk.seq, len(chunk.uv)) == (0, 1000)


def test_a_gap_in_the_stamps_becomes_a_gap() -> None:
    stamps = 50.0 + np.arange(3000) / RATE_HZ
    stamps[2000:] += 1.0
    _, *items = file_inputs(eeg_file(stamps, 3000))
    (gap,) = [i for i in items if isinstance(i, Gap)]
    assert gap.missing == RATE_HZ
    chunks = [i for i in items if isinstance(i, Chunk)]
    assert sum(len(c.uv) for c in chunks) == 3000
    expected = 0
    for item in items:
        assert isinstance(item, (Chunk, Gap))
        assert item.seq == expected
        expected += len(item.uv) if isinstance(item, Chunk) else item.missing


def test_long_files_come_in_pieces() -> None:
    n = 20_000
    _, *items = file_inputs(eeg_file(50.0 + np.arange(n) / RATE_HZ, n))
    assert 1 < len(items) < 20
    assert sum(len(i.uv) for i in items if isinstance(i, Chunk)) == n


# ---------------------------------------------------------------- recordings


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording as a session leaves it, made without a session."""
    return recorded(tmp_path_factory.mktemp("recording"), TRIAL.format(site="O1"))


@pytest.fixture(scope="module")
def old_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a recording of a version that knew neither fits nor the later gates."""
    text = TRIAL.format(site="O1").replace("smooth: 1 s}", "smooth: 1 s, fit: fixed}")
    text = text.replace("muscle: on}", "muscle: on, saccade: off, motion: off}")
    return recorded(tmp_path_factory.mktemp("old"), text, before_fits)


def before_fits(header: dict[str, Any]) -> None:
    """Take away the keys that the first version did not write."""
    for feature in header["protocol"]["features"].values():
        del feature["fit"]
    for gate in ("saccade", "motion"):
        del header["protocol"]["gates"][gate]


def recorded(
    folder: Path, text: str, change: Callable[[dict[str, Any]], None] = lambda _: None
) -> Path:
    protocol = folder / "trial.yaml"
    protocol.write_text(text, encoding="utf-8")
    loaded = load(protocol, FEATURES)
    plan = expand(loaded.protocol, SHORT_S)
    person = Person(RATE_HZ, seed=1, eyes="closed", jaw=False)
    n = round(36 * RATE_HZ)
    eeg = person.read(n)[:, : len(SITES)]
    spec = StreamSpec(
        "person", "EEG", "person", "u", "", RATE_HZ,
        tuple(Channel(s, "eeg", "microvolts", 1.0, s) for s in SITES),
    )  # fmt: skip
    assembly = assemble(spec, loaded.protocol, plan, mains_hz=50.0)
    header: dict[str, Any] = {
        "client": "T1",
        "use": "test",
        "short_s": SHORT_S,
        "protocol": loaded.protocol.model_dump(mode="json"),
        "plan": plan,
        "mains_hz": 50.0,
        "range_uv": None,
    }
    change(header)
    path = folder / "session.xdf"
    recorder = Recorder(
        path,
        header,
        spec,
        features=feature_units(loaded.protocol),
        metrics=assembly.fold.gates.metric_names,
        rules=[r.feature for r in loaded.protocol.rules],
        now=now,
    )
    start = Command(500, "start")
    recorder.input(start)
    assembly.fold.step(start)
    for at in range(0, n, 250):
        rows = eeg[at : at + 250].astype(np.float32)
        stamps = 1000.0 + np.arange(at, at + len(rows)) / RATE_HZ
        recorder.raw(rows, stamps)
        for point in assembly.fold.step(Chunk(at, stamps, rows.astype(np.float64))):
            recorder.feature(point.frame)
            recorder.decision(point.decision)
            for event in point.events:
                recorder.event(event)
    recorder.close()
    return path


def test_a_recording_gives_the_same_decisions_again(recording: Path, tmp_path: Path) -> None:
    said: list[str] = []
    (summary,) = replay_all(recording, None, None, None, tmp_path, say=said.append)
    assert summary["identical_to_recording"] is True
    assert summary["ended_as"] == "done"
    assert any("identical" in line for line in said)


def test_a_recording_is_read_once(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.recording
    import engine.replay

    reads: list[Path] = []

    def counted(path: Path) -> Any:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(engine.recording, "read", counted)
    monkeypatch.setattr(engine.replay, "read", counted)
    replay_all(recording, None, None, None, recording.parent / "once")
    assert reads == [recording]


def test_another_protocol_over_a_recording(recording: Path, tmp_path: Path) -> None:
    (summary,) = replay_all(recording, "alpha_up_ec", 50.0, None, tmp_path)
    assert summary["protocol"] == "alpha_up_ec"
    assert summary["identical_to_recording"] is None


def test_other_decisions_are_told(recording: Path) -> None:
    again = replay_recording(recording)
    assert again.comparison is not None
    assert again.comparison.identical
    whole = read(recording)
    values = whole.decisions.values.copy()
    columns = list(whole.decisions.columns)
    values[700, columns.index("reward")] = 1.0
    changed = dataclasses.replace(whole, decisions=Table(whole.decisions.columns, values))
    other = replay_recording(changed).comparison
    assert other is not None
    assert not other.identical
    assert other.first_difference == int(values[700, columns.index("seq")])
    assert other.rewards_recorded == other.rewards_replayed + 1
    assert "differ" in other.sentence


def test_what_an_older_version_did_not_know_was_off(old_recording: Path) -> None:
    """Nothing was fitted then, and looks and head movements were not gated: nor are they now."""
    whole = read(old_recording)
    again = replay_recording(whole)
    assert again.comparison is not None
    assert again.comparison.identical
    assert "identical" in again.comparison.sentence
    assert {f.fit for f in again.protocol.features.values()} == {"fixed"}
    assert not again.protocol.gates.saccade.on
    assert not again.protocol.gates.motion.on
    assert again.protocol.gates.blink.on  # as written
    # Read as a protocol of today, it would decide otherwise.
    today = json.loads(json.dumps(whole.header))
    for feature in today["protocol"]["features"].values():
        feature["fit"] = None
    today["protocol"]["gates"] |= {"saccade": {"on": True}, "motion": {"on": True}}
    other = replay_recording(dataclasses.replace(whole, header=today)).comparison
    assert other is not None
    assert not other.identical


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("0.0.9", "made by version 0.0.9 of Neuroloop, from before filters were fitted"),
        (None, "made by an earlier version of Neuroloop, from before filters were fitted"),
    ],
)
def test_where_decisions_differ_another_version_is_named(
    by: str | None, said: str, old_recording: Path
) -> None:
    whole = read(old_recording)
    values = whole.decisions.values.copy()
    values[700, list(whole.decisions.columns).index("reward")] = 1.0
    table = Table(whole.decisions.columns, values)
    changed = dataclasses.replace(whole, decisions=table, header={**whole.header, "neuroloop": by})
    found = replay_recording(changed).comparison
    assert found is not None
    assert said in found.sentence
    assert "decisions differ from sample" in found.sentence


def test_a_newer_recording_of_another_version_is_told_as_well(recording: Path) -> None:
    whole = read(recording)
    values = whole.decisions.values.copy()
    values[700, list(whole.decisions.columns).index("reward")] = 1.0
    table = Table(whole.decisions.columns, values)
    for by, told in (("99.1", True), (importlib.metadata.version("neuroloop"), False)):
        changed = dataclasses.replace(
            whole, decisions=table, header={**whole.header, "neuroloop": by}
        )
        found = replay_recording(changed).comparison
        assert found is not None
        assert ("made by version 99.1 of Neuroloop, this is version" in found.sentence) is told
        assert ("recording was made by" in found.sentence) is told


def test_a_course_belongs_to_the_recorded_protocol(
    recording: Path, trial: Callable[[str], Path]
) -> None:
    whole = read(recording)
    broken = dataclasses.replace(whole, header={**whole.header, "course": {"features": 3}})
    with pytest.raises(InputError, match="header holds a course that cannot be read"):
        replay_recording(broken)
    other = load(trial("O2"), FEATURES)
    plan = expand(other.protocol, SHORT_S)
    again = replay_recording(broken, other=other, plan=plan)
    assert again.assembly.fold.settings.course == {}
    assert (
        again.summary()["rewards"]
        == replay_recording(whole, other=other, plan=plan).summary()["rewards"]
    )


def test_a_recorded_protocol_of_the_future_is_refused(recording: Path) -> None:
    whole = read(recording)
    protocol = {**whole.header["protocol"], "telepathy": True}
    header = {**whole.header, "protocol": protocol}
    with pytest.raises(FileError, match="cannot be run by this version"):
        replay_recording(dataclasses.replace(whole, header=header))


def test_short_has_no_meaning_for_a_recording_as_it_is(recording: Path) -> None:
    with pytest.raises(InputError, match="--short"):
        replay_all(recording, None, 30.0, None, None)


# ---------------------------------------------------------------- what does not fit


def test_a_file_needs_a_protocol(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Neuroloop recording"):
        replay_all(person_csv(tmp_path / "a.csv", 2.0), None, None, None, None)


def test_a_protocol_that_does_not_fit_the_file(
    tmp_path: Path, trial: Callable[[str], Path]
) -> None:
    path = person_csv(tmp_path / "a.csv", 2.0)
    with pytest.raises(MontageError, match="Cz"):
        replay_all(path, str(trial("Cz")), SHORT_S, None, None)


def test_mistakes_are_told_before_anything_is_read(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("format: 1\nname: [", encoding="utf-8")
    with pytest.raises(YamlError):
        replay_all(tmp_path / "nothing.edf", str(wrong), None, None, None)
    with pytest.raises(InputError, match="cannot be shortened"):
        replay_all(tmp_path / "nothing.edf", "smr_up", 5.0, None, None)
    with pytest.raises(FileError, match="no file or folder"):
        replay_all(tmp_path / "nothing.edf", "smr_up", None, None, None)


# ---------------------------------------------------------------- folders


def test_one_bad_file_does_not_stop_the_others(
    tmp_path: Path, trial: Callable[[str], Path]
) -> None:
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    person_csv(folder / "a.csv", 3.0)
    (folder / "b.edf").write_bytes(b"0       this is no EDF" * 40)
    person_csv(folder / "deeper" / "a.csv", 3.0, seed=2)
    (folder / "notes.txt").write_text("not EEG", encoding="utf-8")
    (folder / "ages.csv").write_text("name,age\nx,1\n", encoding="utf-8")
    said: list[str] = []
    shares: dict[str, list[float]] = {}
    results = replay_all(
        folder,
        str(trial("TP9")),
        SHORT_S,
        None,
        tmp_path / "out",
        say=said.append,
        progress=lambda name, share: shares.setdefault(name, []).append(share),
    )
    deeper = str(Path("deeper") / "a.csv")
    assert [r["source"] for r in results] == ["a.csv", "b.edf", deeper]
    assert ["error" in r for r in results] == [False, True, False]
    assert (tmp_path / "out" / "a.csv" / "features.tsv").exists()
    assert (tmp_path / "out" / "deeper" / "a.csv" / "features.tsv").exists()
    assert said[-1] == "2 of 3 files were replayed."
    for values in shares.values():
        assert values == sorted(values)
        assert (values[0], values[-1]) == (0.0, 1.0)


def test_tables_go_beside_the_file(tmp_path: Path, trial: Callable[[str], Path]) -> None:
    path = person_csv(tmp_path / "a.csv", 3.0)
    (summary,) = replay_all(path, str(trial("TP9")), SHORT_S, None, None)
    assert Path(summary["tables"]) == tmp_path / "a.csv.replay"
    assert eeg_files(tmp_path) == [path]  # what was written is not replayed again


def test_a_folder_without_eeg(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not EEG", encoding="utf-8")
    with pytest.raises(FileError, match="holds no EEG file"):
        replay_all(tmp_path, "smr_up", None, None, None)


def test_recordings_are_known_by_their_first_bytes(recording: Path, shared_data: Path) -> None:
    assert is_recording(recording)
    assert not is_recording(shared_data / "xdf" / "minimal.xdf")
    assert not is_recording(shared_data)
    assert not is_recording(Path(__file__))
