"""A recording on the network is the recording: values, units, gaps, markers and its end."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pylsl
import pylsl.util
import pytest

from engine.errors import FileError, InputError
from engine.frames import Channel, Float, StreamSpec
from engine.montage import kind_of
from engine.play import LONGEST_GAP_S, SEAM_S, PlayOptions, declared, main, play, spawn_player
from engine.play import timeline as plan
from engine.readfile import EegFile


def eeg_file(
    n: int = 500,
    stamps: Float | None = None,
    markers: tuple[tuple[float, str], ...] = (),
) -> EegFile:
    channels = (
        Channel("Cz", "eeg", "microvolts", 1.0, "Cz"),
        Channel("counter", "counter", "", 1.0, "counter"),
        Channel("Status", "trigger", "", 1.0, "Status"),
    )
    spec = StreamSpec("rec", "EEG", "amp", "uid", "host", 250.0, channels, "float64")
    samples = np.random.default_rng(1).normal(0, 20, (n, 3))
    samples[:, 1:] = 0.0
    return EegFile(spec, samples, stamps, markers, ())


def muse_csv(path: Path, n: int = 300, gap_s: float = 0.2, marker_at: int = 200) -> Path:
    """Write a recording as muse-lsl does, with a gap before sample 150."""
    rng = np.random.default_rng(2)
    rows = ["timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker"]
    for i in range(n):
        t = 1000 + i / 256 + (gap_s if i >= 150 else 0.0)
        values = ",".join(f"{v:.3f}" for v in rng.normal(0, 20, 5))
        rows.append(f"{t:.3f},{values},{int(i == marker_at)}")
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


# ---------------------------------------------------------------- the plan


def test_every_column_keeps_name_kind_and_unit_and_a_counter_is_added() -> None:
    spec = declared(eeg_file())
    assert [(c.name, c.kind, c.unit) for c in spec.channels] == [
        ("Cz", "eeg", "microvolts"),
        ("counter", "misc", ""),  # that of the file is data
        ("Status", "trigger", ""),
        ("play counter", "counter", "samples"),
    ]
    assert (spec.name, spec.source_id) == ("rec", "neuroloop-play-rec")
    assert (spec.uid, spec.host, spec.dtype) == ("", "", "float32")
    assert declared(eeg_file(), "a", "b").source_id == "b"


def test_large_codes_are_sent_as_double() -> None:
    eeg = eeg_file()
    samples = eeg.samples.copy()
    samples[3, 2] = 2.0**31 + 1
    assert declared(replace(eeg, samples=samples)).dtype == "float64"


def test_a_plan_covers_every_sample_once() -> None:
    pieces, said, length = plan(eeg_file(markers=((0.4, "go"), (99.0, "never"), (-1.0, "before"))))
    covered = [i for p in pieces for i in range(p.first, p.stop)]
    assert covered == list(range(500))
    assert [p.tick for p in pieces] == [p.first for p in pieces]
    assert said == [(100, "go")]
    assert length == 500


def test_a_gap_of_the_file_is_a_gap_of_the_stream() -> None:
    stamps = np.arange(500) / 250 + np.where(np.arange(500) >= 123, 0.4, 0.0)
    pieces, said, length = plan(eeg_file(stamps=stamps, markers=((0.9, "later"),)))
    assert length == 600
    assert next(p for p in pieces if p.first == 123).tick == 223
    assert not [p for p in pieces if p.first < 123 < p.stop]
    assert said == [(225, "later")]


def test_a_very_long_gap_is_shortened_and_said() -> None:
    stamps = np.arange(500) / 250 + np.where(np.arange(500) >= 250, 3600.0, 0.0)
    _, said, length = plan(eeg_file(stamps=stamps))
    assert length == 500 + LONGEST_GAP_S * 250
    assert said == [(250 + LONGEST_GAP_S * 250, "gap of 3600.000 s in the file")]


def test_a_clock_that_was_set_back_is_no_gap() -> None:
    stamps = np.arange(500) / 250 + np.where(np.arange(500) >= 250, -900.0, 0.0)
    pieces, said, length = plan(eeg_file(stamps=stamps, markers=((-898.9, "after"),)))
    assert length == 500
    assert said == [(275, "after")]
    assert len(pieces) == 84


@pytest.mark.parametrize("speed", [0.0, -1.0, 1000.0, float("nan")])
def test_an_impossible_speed_is_refused(speed: float, tmp_path: Path) -> None:
    options = PlayOptions(muse_csv(tmp_path / "m.csv"), speed=speed)
    with pytest.raises(InputError, match="speed"):
        play(options, stop=threading.Event())


# ---------------------------------------------------------------- on the network


@pytest.fixture
def source_id() -> str:
    return f"play-{uuid.uuid4().hex[:8]}"


def inlet_of(source_id: str) -> pylsl.StreamInlet:
    found = pylsl.resolve_byprop("source_id", source_id, timeout=20)
    assert len(found) == 1
    inlet = pylsl.StreamInlet(found[0], max_buflen=60, recover=False)
    inlet.open_stream(timeout=20)
    return inlet


def until_lost(inlet: pylsl.StreamInlet, texts: pylsl.StreamInlet) -> tuple[Float, Float, list]:
    """Receive everything until the streams end."""
    parts, stamps, markers = [], [], []
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            x, t = inlet.pull_chunk(timeout=0.2, min_samples=1, as_numpy=True)
            if len(t):
                parts.append(np.array(x))
                stamps.append(np.array(t))
            words, when = texts.pull_chunk(timeout=0.0)
            markers += [(w[0], s) for w, s in zip(words, when, strict=True)]
    except pylsl.util.LostError:
        pass
    return np.concatenate(parts), np.concatenate(stamps), markers


def test_once_delivers_the_whole_file_to_who_waited_for_it(tmp_path: Path, source_id: str) -> None:
    path = muse_csv(tmp_path / "muse.csv")
    process = spawn_player(PlayOptions(path, name="muse again", source_id=source_id, wait=True))
    texts = inlet_of(f"{source_id}-markers")
    inlet = inlet_of(source_id)
    info = inlet.info(timeout=20)
    assert (info.name(), info.type(), info.nominal_srate()) == ("muse again", "EEG", 256)
    labels, types = info.get_channel_labels(), info.get_channel_types()
    assert labels == ["TP9", "AF7", "AF8", "TP10", "Right AUX", "Marker", "counter"]
    kinds = [kind_of(*x) for x in zip(labels, types, strict=True)]
    assert kinds == ["eeg"] * 4 + ["misc", "trigger", "counter"]
    assert info.get_channel_units()[:4] == ["microvolts"] * 4
    samples, stamps, markers = until_lost(inlet, texts)
    assert process.stop() == 0

    written = np.loadtxt(path, delimiter=",", skiprows=1)
    assert samples.shape == (300, 7)
    assert np.array_equal(samples[:, :6], written[:, 1:].astype(np.float32))
    steps = np.diff(samples[:, 6])
    assert sorted(set(steps)) == [1, 52]  # 0.2 s at 256 Hz were lost before sample 150
    assert steps[149] == 52
    assert np.diff(stamps) == pytest.approx(steps / 256, abs=1e-4)
    assert [text for text, _ in markers] == ["1"]
    assert markers[0][1] == pytest.approx(stamps[200], abs=1.5 / 256)


def test_a_loops_seam_is_a_gap_and_a_marker(tmp_path: Path, source_id: str) -> None:
    path = muse_csv(tmp_path / "muse.csv", n=140, marker_at=20)
    options = PlayOptions(path, loop=True, source_id=source_id, wait=True)
    with spawn_player(options) as process:
        texts = inlet_of(f"{source_id}-markers")
        inlet = inlet_of(source_id)
        parts: list[Float] = []
        deadline = time.monotonic() + 40
        while sum(map(len, parts)) < 200 and time.monotonic() < deadline:
            x, _ = inlet.pull_chunk(timeout=0.5, min_samples=1, as_numpy=True)
            parts += [np.array(x)] if len(x) else []
        words = [w[0] for w in texts.pull_chunk(timeout=0.5)[0]]
        assert process.alive
    samples = np.concatenate(parts)
    steps = np.diff(samples[:, 6])
    assert steps[139] == SEAM_S * 256 + 1
    assert set(np.delete(steps, 139)) == {1.0}
    assert np.array_equal(samples[140:190, :6], samples[:50, :6])
    assert words[:3] == ["1", "loop 2", "1"]


def test_stopping_ends_it_at_once_and_says_so(tmp_path: Path, source_id: str) -> None:
    stop = threading.Event()
    stop.set()
    path = muse_csv(tmp_path / "muse.csv")
    said: list[str] = []
    options = PlayOptions(path, source_id=source_id)
    played = play(options, stop=stop, say=said.append)
    assert not played.finished
    assert played.samples == 0
    assert any("Muse" in s for s in said)
    assert not play(replace(options, wait=True), stop=stop).finished


def test_a_file_that_cannot_be_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileError):
        play(PlayOptions(tmp_path / "none.edf"), stop=threading.Event())
    with pytest.raises(InputError, match="There is no file"):
        spawn_player(PlayOptions(tmp_path / "none.edf"))
    assert main([str(tmp_path / "none.edf"), "--once"]) == 2
    assert "Check the name" in capsys.readouterr().err
