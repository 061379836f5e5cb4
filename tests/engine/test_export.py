"""A recording becomes a dataset that the official validator and MNE accept, without names."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mne_bids
import numpy as np
import pytest

from engine import timeline
from engine.certificate import told as certificate_told
from engine.columns import PRESENTED_COLUMNS, SHOWN
from engine.errors import FileError, InputError, RecordingError
from engine.export import export_bids
from engine.frames import (
    Channel,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Gap,
    Gate,
    Hold,
    PhaseKind,
    Presented,
    StreamSpec,
)
from engine.record import Recorder
from engine.recording import read
from engine.report import build_report

VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
SPEC = StreamSpec(
    "amp",
    "EEG",
    "amp-1",
    "u",
    "secret-laptop",
    100.0,
    (
        Channel("O1", "eeg", "volts", 1e6, "EEG O1-Ref"),
        Channel("Oz", "eeg", "microvolts", 1.0, "Oz.."),
        Channel("VEOG", "eog", "microvolts", 1.0, "VEOG"),
        Channel("ACC", "accelerometer", "g", 1.0, "acc"),
        Channel("N", "counter", "", 1.0, "N"),
    ),
)
HEADER: dict[str, Any] = {
    "protocol": {"name": "faa_2", "title": "Raise left-frontal activation"},
    "mains_hz": 50,
    "client": "secret-client",
    "neuroloop": "0.1.0",
    "versions": {"numpy": "2.0"},
    "test_session": True,
    "room": {
        "name": "secret-room",
        "lsl": {"known_peers": ["secret-computer"], "session_id": "default"},
        "record": {"folder": "/home/secret"},
        "media": {"images": "/home/secret/pictures", "film": "/home/secret/film.mp4"},
        "sound": {
            "required": True,
            "device": "AirPods of secret Anna",
            "files": {"chime": "/home/secret/chime.wav", "rest": None},
        },
    },
    "room_sha256": "secret-digest",
    "course": {"made": "2017-03-04T05:06:07", "recording": "20170304T050607_secret.xdf"},
    "certificate": {
        "file": "secret-room.certificate-2017-03-04T050607.json",
        "sha256": "secret-digest",
        "date": "2017-03-04T05:06:07+00:00",
        "display_ms": 21.5,
        "display_sd_ms": 1.25,
        "sound_ms": None,
        "sound_sd_ms": None,
        "simulated": False,
        "valid": True,
        "why_not": ["secret reason"],
        "window": {"driver": "x11", "audio": "ALSA: AirPods of secret Anna"},
    },
}
# What the machinery says may quote names of devices, computers and files.
SAID = (
    Event(499, 0, "window", {"audio": "ALSA: AirPods of secret Anna", "vsync": True}),
    Event(499, 0, "certificate_void", {"sentences": ["The sound now goes to 'secret Anna'."]}),
    Event(499, 0, "window_fault", {"text": "/home/secret/film.mp4 ended.", "fatal": False}),
    Event(499, 0, "window_restart", {"count": 1, "exit": "secret"}),
    Event(499, 0, "publish_failed", {"sentence": "secret-computer"}),
    Event(499, 0, "lost", {"sentence": "The stream of secret-laptop is gone."}),
    Event(499, 0, "changed", {"differences": ["host secret-laptop"]}),
    Event(499, 0, "marker_lost", {"sentence": "secret"}),
    Event(499, 0, "error", {"id": "1", "where": "x", "error": "OSError: /home/secret"}),
    Event(499, 0, "feature_fault", {"feature": "alpha", "text": "/home/secret"}),
    Event(499, 0, "hold", {"on": True, "cause": "window", "sentence": "secret"}),
    Event(499, 0, "something_new", {"sentence": "secret"}),
    Event(499, 0, "failed", {"sentence": "secret"}),
    Event(499, 0, "end", {"state": "failed", "sentence": "secret"}),
    Event(499, 0, "question", {"text": "How was it?"}),
)


def write_talkative(path: Path) -> Path:
    """Write a recording in which everything stands that may tell who, when and where."""
    values, stamps = samples(200)
    with Recorder(path, HEADER, SPEC, features={"alpha": "uV2"}, now=time.monotonic) as rec:
        rec.raw(values, stamps)
        rec.input(Hold(0, True, "window", "secret"))
        rec.input(Hold(0, True, "paused", "secret"))
        for event in SAID:
            rec.event(event)
    return path


def samples(n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    values = rng.normal(0, 30, (n, 5)).astype(np.float32)
    values[:, 0] *= 1e-6
    values[:, 4] = np.arange(n) % 256
    stamps = 500 + np.arange(n) / 100
    stamps[1000:] += 2.0
    return values, stamps


def write(path: Path, spec: StreamSpec = SPEC, n: int = 2000) -> Path:
    values, stamps = samples(n)
    with Recorder(
        path,
        HEADER,
        spec,
        features={"alpha": "uV2"},
        metrics=("slow",),
        rules=("alpha",),
        now=time.monotonic,
    ) as rec:
        rec.input(Command(0, "start"))
        rec.input(Gap(1000, 200, "stamps"))
        rec.input(Command(1500, "note", text="secret words"))
        rec.raw(values[:, : len(spec.channels)], stamps)
        for k in range(0, (n + 200) // 2, 10):
            gate = Gate.BLINK if 100 <= k < 140 else Gate.OPEN
            value = np.array([1.5 + k])
            rec.feature(
                FeatureFrame(k * 2, 500 + k / 50, value, np.ones(1, bool), gate, np.zeros(1))
            )
            rec.decision(
                Decision(
                    seq=k * 2,
                    t=500 + k / 50,
                    phase=1,
                    kind=PhaseKind.TRAIN,
                    level=None,
                    reward=False,
                    joint=True,
                    passes=(True,),
                    thresholds=(2.0,),
                    gate=gate,
                    held=(),
                    phase_s=k / 50,
                    rewards=0,
                )
            )
        for event in (
            Event(499, 0, "screening", {"epilepsy": "secret answer"}),
            Event(500, 0, "phase_begin", {"kind": "baseline", "eyes": "closed", "name": "ec"}),
            Event(505, 500, "phase_end", {}),
            Event(505, 500, "phase_begin", {"kind": "train", "name": "t1", "say": "Let\tit grow."}),
            Event(513, 1300, "reward", {"value": 3.25, "feature": "alpha"}),
            Event(514, 1400, "note", {"text": "secret words"}),
            Event(514, 1400, "mark_bad", {"channel": "Oz", "reason": "secret words"}),
            Event(515, 1500, "hold", {"on": True, "cause": "paused", "sentence": "secret words"}),
            Event(516, 1600, "hold", {"on": False, "cause": "paused", "sentence": ""}),
            Event(522, 2200, "phase_end", {}),
            Event(522, 2200, "stop", {"reason": "secret words"}),
        ):
            rec.event(event)
        rec.presented(
            Presented(
                *(1300, 513, 513.01, 513.04, 0.5, True, 0, 7),
                screen="feedback",
                live=0.5,
                share=0.25,
            )
        )
        rec.marker("Unity", 503.0, "stim/1")
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write(tmp_path / "a.xdf")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def errors(root: Path) -> list[str]:
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    done = subprocess.run(
        [str(VALIDATOR), "--json", str(root)], capture_output=True, text=True, timeout=120
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [f"{i['code']} {i.get('location')}" for i in issues if i["severity"] == "error"]


def test_the_official_validator_finds_no_error(recording: Path, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    export_bids(recording, root, subject="A1b2", session="01", authors=["The laboratory"])
    export_bids(recording, root, subject="A1b2", session="02", run=1)
    export_bids(recording, root, subject="C3", task="other", file_format="EDF")
    assert errors(root) == []
    assert errors(root / "derivatives" / "neuroloop") == []
    people = table(root / "participants.tsv")
    assert [p["participant_id"] for p in people] == ["sub-A1b2", "sub-C3"]


def test_mne_reads_the_same_data_and_events(recording: Path, tmp_path: Path) -> None:
    path = export_bids(recording, tmp_path / "bids", subject="A1b2", session="01")
    raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path), verbose="error")
    want = read(recording).uv().T.copy()
    want[:3] *= 1e-6
    np.testing.assert_allclose(raw.get_data(), want, rtol=2e-7, atol=1e-12)
    assert raw.ch_names == list(SPEC.names)
    assert raw.get_channel_types() == ["eeg", "eeg", "eog", "misc", "misc"]
    assert raw.info["bads"] == ["Oz"]
    assert raw.info["line_freq"] == 50
    assert raw.info["meas_date"] is None
    found = {d: (o, n) for d, o, n in zip(*_annotations(raw), strict=True)}
    assert found["baseline_ec"] == (0.0, 5.0)
    assert found["feedback"] == (5.0, 15.0)  # 17 s, of which 2 s never arrived
    assert found["BAD_gap"] == (10.0, 0.0)
    assert found["reward"] == (11.0, 0.0)


def _annotations(raw: object) -> tuple[list[str], list[float], list[float]]:
    notes = raw.annotations  # type: ignore[attr-defined]
    return list(notes.description), notes.onset.round(6).tolist(), notes.duration.round(6).tolist()


def test_the_tables_say_what_the_recording_knows(recording: Path, tmp_path: Path) -> None:
    folder = export_bids(recording, tmp_path / "bids", subject="A1b2").parent
    stem = "sub-A1b2_task-faa2"
    rows = table(folder / f"{stem}_events.tsv")
    assert {r["trial_type"] for r in rows} <= set(timeline.TRIAL_TYPES)
    gap = next(r for r in rows if r["trial_type"] == "BAD_gap")
    assert (gap["value"], gap["cause"], gap["seq"], gap["sample"]) == (
        "2",
        "stamps",
        "1200",
        "1000",
    )
    on = next(r for r in rows if r["trial_type"] == "artifact_on")
    assert (on["onset"], on["cause"]) == ("2", "blink")
    marker = next(r for r in rows if r["trial_type"] == "marker")
    assert (marker["onset"], marker["value"], marker["cause"]) == ("3", "stim/1", "Unity")
    assert [r["onset"] for r in rows] == sorted((r["onset"] for r in rows), key=float)
    levels = json.loads((folder / f"{stem}_events.json").read_text())["trial_type"]["Levels"]
    assert set(levels) == {r["trial_type"] for r in rows}
    channels = table(folder / f"{stem}_channels.tsv")
    assert [c["type"] for c in channels] == ["EEG", "EEG", "EOG", "ACCEL", "MISC"]
    assert [c["status"] for c in channels] == ["good", "bad", "good", "good", "good"]
    assert [c["units"] for c in channels] == ["µV", "µV", "µV", "n/a", "n/a"]
    side = json.loads((folder / f"{stem}_eeg.json").read_text())
    assert side["Manufacturer"] == "n/a"
    assert side["PowerLineFrequency"] == 50
    assert side["RecordingType"] == "discontinuous"
    assert side["MissingSamples"] == 200
    assert side["SoftwareVersions"] == "neuroloop 0.1.0; numpy 2.0"
    assert side["TestSession"] is True
    made = tmp_path / "bids" / "derivatives" / "neuroloop" / "sub-A1b2" / "eeg"
    features = table(made / f"{stem}_desc-features_events.tsv")
    assert features[1]["alpha"] == "11.5"
    assert features[1]["fixed_alpha"] == "n/a"  # nothing was fitted
    told = json.loads((made / f"{stem}_desc-features_events.json").read_text("utf-8"))
    assert "fixed filter" in told["fixed_alpha"]["Description"]
    assert told["fixed_alpha"]["Units"] == "µV^2"
    decisions = table(made / f"{stem}_desc-decisions_events.tsv")
    assert decisions[0]["level"] == "n/a"
    shown = table(made / f"{stem}_desc-presented_events.tsv")
    assert shown[0]["t_flip"] == "513.04"
    assert (shown[0]["screen"], shown[0]["live"], shown[0]["share"]) == ("3", "0.5", "0.25")
    told = json.loads((made / f"{stem}_desc-presented_events.json").read_text("utf-8"))
    assert tuple(told) == PRESENTED_COLUMNS
    for name, said in told.items():
        assert said["Description"].startswith("One row per frame. "), name
        assert said["Units"], name
        assert "Column" not in said["Description"], name
    assert told["screen"]["Levels"]["3"] == "feedback"
    assert len(told["screen"]["Levels"]) == len(SHOWN)
    assert '"flash": 1' in told["guard"]["Description"]
    assert [told[c]["Units"] for c in ("seq", "t_flip", "level")] == ["sample", "s", "1"]


def test_nothing_tells_who_when_or_where(recording: Path, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    export_bids(recording, root, subject="A1b2")
    started = read(recording).header["started"]
    for path in (p for p in root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert b"secret" not in content, path
        assert started[:10].encode() not in content, path
        assert started[:4].encode() + started[5:7].encode() not in content, path


@pytest.mark.parametrize("keep_texts", [False, True])
def test_what_the_machinery_says_tells_neither(tmp_path: Path, keep_texts: bool) -> None:
    recording = write_talkative(tmp_path / "20170304T050607_secret.xdf")
    root = tmp_path / "bids"
    export_bids(recording, root, subject="A1b2", keep_texts=keep_texts)
    started = read(recording).header["started"]
    typed = b"secret" if keep_texts else b"no such"  # the sentence of a pause
    for path in (p for p in root.rglob("*") if p.is_file()):
        content = path.read_bytes()
        for planted in (
            b"Anna",
            b"AirPods",
            b"2017-03-04",
            b"20170304",
            b"chime.wav",
            b"film.mp4",
            started[:10].encode(),
        ):
            assert planted not in content, (path, planted)
        assert content.count(b"secret") == content.count(typed) <= 1, path
    copy = read(next(root.glob("sourcedata/**/*.xdf")))
    assert copy.header["certificate"] == {
        "display_ms": 21.5,
        "display_sd_ms": 1.25,
        "sound_ms": None,
        "sound_sd_ms": None,
        "simulated": False,
        "valid": False,  # the session found it void
    }
    assert copy.header["room"]["sound"]["files"] == {"chime": None, "rest": None}
    assert [e.kind for e in copy.events] == [e.kind for e in SAID]
    said = {e.kind: e.data for e in copy.events}
    assert said["window"] == {"audio": "ALSA", "vsync": True}
    assert said["certificate_void"] == {"sentences": []}
    assert said["question"] == {"text": "How was it?"}
    assert "does not hold for this session." in build_report(copy)


def test_the_copy_holds_the_same_session(recording: Path, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    export_bids(recording, root, subject="A1b2", keep_texts=True)
    one, two = read(recording), read(next(root.glob("sourcedata/**/*.xdf")))
    np.testing.assert_array_equal(one.samples, two.samples)
    np.testing.assert_array_equal(one.decisions.values, two.decisions.values)
    np.testing.assert_array_equal(one.features.values, two.features.values)
    assert repr(one.inputs) == repr(two.inputs)
    assert one.events == two.events
    assert two.spec == replace(one.spec, host="")
    assert two.header["protocol"] == one.header["protocol"]
    assert (two.closed, two.damage) == (True, None)


def test_a_date_is_kept_only_when_asked(recording: Path, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    path = export_bids(recording, root, subject="A1b2", keep_dates=True)
    raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path), verbose="error")
    assert raw.info["meas_date"] is not None
    header = read(next(root.glob("sourcedata/**/*.xdf"))).header
    assert "started" in header
    assert header["certificate"]["date"] == HEADER["certificate"]["date"]
    assert header["certificate"]["valid"] is True
    assert certificate_told(header["certificate"]) == (
        "Rests on a certificate of 2017-03-04: display offset 21.5 ms (SD 1.2)."
    )
    assert header["course"] == {"made": HEADER["course"]["made"], "recording": ""}


def test_edf_keeps_a_tenth_of_a_microvolt(tmp_path: Path) -> None:
    recording = write(tmp_path / "a.xdf", n=1930)  # not a whole number of seconds
    path = export_bids(recording, tmp_path / "bids", subject="A1b2", file_format="EDF")
    raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(path), verbose="error")
    want = read(recording).uv().T.copy()
    got = raw.get_data()[:3, :1930]
    np.testing.assert_allclose(got * 1e6, want[:3], rtol=0, atol=0.06)
    assert raw.n_times == 2000
    found = {d: (o, n) for d, o, n in zip(*_annotations(raw), strict=True)}
    assert found["BAD_padding"] == (19.3, 0.7)


@pytest.mark.parametrize("damage", ["coarse", "nan"])
def test_edf_is_refused_where_it_would_lose_the_signal(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.xdf"
    values, stamps = samples()
    values[7, 1] = np.nan if damage == "nan" else 30_000
    with Recorder(path, {}, SPEC, now=time.monotonic) as rec:
        rec.raw(values, stamps)
    with pytest.raises(InputError, match="EDF"):
        export_bids(path, tmp_path / "bids", subject="A1b2", file_format="EDF")
    assert not (tmp_path / "bids").exists()


@pytest.mark.parametrize("label", ["", "a_b", "a-b", "a/b", "é"])
def test_labels_that_bids_forbids_are_refused(recording: Path, tmp_path: Path, label: str) -> None:
    with pytest.raises(InputError):
        export_bids(recording, tmp_path / "bids", subject=label)


def test_a_run_is_never_overwritten(recording: Path, tmp_path: Path) -> None:
    root = tmp_path / "bids"
    path = export_bids(recording, root, subject="A1b2")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(FileError, match="already"):
        export_bids(recording, root, subject="A1b2")
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
    assert path in before


def test_a_failed_export_leaves_no_half_run(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.export._sidecar", fail)
    with pytest.raises(FileError, match="No space"):
        export_bids(recording, tmp_path / "bids", subject="A1b2")
    monkeypatch.undo()
    assert not [p for p in (tmp_path / "bids").rglob("*") if p.is_file()]
    export_bids(recording, tmp_path / "bids", subject="A1b2")


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    with Recorder(tmp_path / "a.xdf", {}, SPEC, now=time.monotonic):
        pass
    with pytest.raises(RecordingError, match="no samples"):
        export_bids(tmp_path / "a.xdf", tmp_path / "bids", subject="A1b2")


def test_a_killed_session_of_a_plain_stream_is_exported(tmp_path: Path) -> None:
    twice = replace(SPEC, channels=(SPEC.channels[1], SPEC.channels[1]))
    path = write(tmp_path / "a.xdf", twice)
    path.write_bytes(path.read_bytes()[:-3000])
    root = tmp_path / "bids"
    made = export_bids(path, root, subject="A1b2")
    assert errors(root) == []
    raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(made), verbose="error")
    assert raw.ch_names == ["Oz", "Oz-2"]


def test_mne_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, engine.export; sys.exit('mne' in sys.modules or 'mne_bids' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0
