"""The whole measurement: a window in its process, a sensor in another, LSL between them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pylsl
import pytest

from engine import certify as module
from engine import run
from engine.agree import Column, Seen
from engine.certificate import Certificate, newest_for, read_certificate, why_void
from engine.certify import Certified, CertifyOptions, certify
from engine.cli import main as cli
from engine.errors import InputError, NeuroloopError, RunError, StreamError
from engine.frames import Presented
from engine.loopback import FLIPS, Flip
from engine.outlet import MarkerOutlet
from engine.recording import read
from engine.room import load_room
from engine.sensor import MODEL, SensorOptions, spawn_sensor
from engine.simulate import SimulatorOptions, spawn_simulator
from feedback.worker import Fault, Key, Message, WindowSpec

ROOM = """\
format: 1
name: Test desk
use: {use}
stream: {{name: neuroloop-sim, type: EEG, source_id: neuroloop-sim, counter: counter, coupling: dc}}
mains: 50 Hz
lsl: {{loopback_only: yes}}
screen: {{full_screen: no, size: 320 x 180, required: no, photodiode: {patch}}}
sound: {{required: no, click: {click}}}
"""
QUICK = """\
format: 1
name: quick
title: A quick session
evidence: {grade: X, summary: "For tests."}
summary: Trains nothing.
needs: {channels: [Cz], rate: at least 128 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz, smooth: 0.5 s}
gates: {blink: on, amplitude: on, step: on, muscle: {at: [Cz]}}
baseline: [{name: eyes_open, lasts: 60 s, eyes: open, learn: [smr]}]
reward: {feature: smr, above: {fixed: 1 uV2}, sustain: 0.2 s, refractory: 0.5 s}
feedback:
  level: {feature: smr, from: {fixed: 0.1 uV2}, to: {fixed: 30 uV2}, smooth: 0.3 s}
  picture: orb
session:
  - baseline
  - {train: 20 s, say: "Grow."}
"""
DEADLINE_S = 60.0
SEEN = Seen("light", "Sensor", "id", "uid", "host", 1000.0, 3, "float32",
            (Column("a", "", ""), Column("2", "", ""), Column("a", "", "")))  # fmt: skip


def a_room(folder: Path, use: str = "test", patch: str = "bottom-left", click: str = "yes") -> str:
    path = folder / "room.yaml"
    path.write_text(ROOM.format(use=use, patch=patch, click=click), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def sensor() -> Iterator[None]:
    """Run a sensor of 12 and 35 ms for all tests here."""
    with spawn_sensor(SensorOptions()):
        yield


def options(folder: Path, **changes: object) -> CertifyOptions:
    given = CertifyOptions(
        room=a_room(folder),
        sensor="neuroloop-sensor",
        photodiode="photodiode",
        audio="2",
        transitions=12,
        shortest_s=0.12,
        longest_s=0.20,
        seed=3,
        out=folder / "certificates",
        simulated_ok=True,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def right(found: Certified, n: int) -> Certificate:
    """Check that the certificate says what the sensor was told to do."""
    certificate = read_certificate(found.path)
    assert certificate.content == found.certificate.content
    display, audio = certificate.results["display"], certificate.results["audio"]
    assert display["median_ms"] == pytest.approx(12.0, abs=1.0)
    assert display["sd_ms"] < 1.0
    assert audio["median_ms"] == pytest.approx(35.0, abs=2.0)
    assert audio["sd_ms"] < 4.0
    assert (display["n"], audio["n"], len(display["each_ms"])) == (n, n, n)
    assert certificate.passed
    assert certificate.simulated
    assert certificate.screen["driver"] == "dummy"
    assert certificate.screen["size"] == [320, 180]
    assert certificate.sensor["model"] == MODEL
    assert certificate.sensor["columns"]["audio"] == {"number": 2, "label": "audio"}
    assert certificate.sensor["measured_hz"] == pytest.approx(1000.0, rel=0.01)
    assert abs(certificate.sensor["clock_offset_ms"]) < 1.0
    assert {"neuroloop", "pygame", "SDL", "python"} <= set(certificate.versions)
    return certificate


def test_the_certificate_says_what_the_sensor_shows(sensor: None, tmp_path: Path) -> None:
    said: list[str] = []
    shares: list[float] = []
    given = options(tmp_path)
    found = certify(given, said.append, shares.append)
    made = right(found, 12)
    assert made.seeds == {"intervals": 3}
    assert "Looking for the sensor" in said[0]
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    room = load_room(given.room)
    kept = newest_for(room, tmp_path / "certificates")
    assert kept is not None
    assert kept.path == found.path
    assert why_void(made, room, headless=True) == ()
    assert why_void(made, room, headless=False) != ()  # no real screen was measured


def test_the_sensor_is_a_stream_with_labels_and_late_samples(sensor: None) -> None:
    outlet = MarkerOutlet(FLIPS, "test-flips")
    (info,) = pylsl.resolve_byprop("source_id", "neuroloop-sensor", timeout=DEADLINE_S)
    inlet = pylsl.StreamInlet(info, max_buflen=30, recover=False)
    full = inlet.info(timeout=DEADLINE_S)
    assert (full.type(), full.nominal_srate()) == ("Sensor", 1000.0)
    assert full.desc().child_value("model") == MODEL
    inlet.open_stream(timeout=DEADLINE_S)
    deadline = time.monotonic() + DEADLINE_S
    while not outlet._outlet.have_consumers():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    outlet.push("no flip", pylsl.local_clock())  # is passed over
    flip_t = pylsl.local_clock()
    outlet.push('{"probe": 1, "lit": true}', flip_t)
    light: list[float] = []
    stamps: list[float] = []
    while not stamps or stamps[-1] < flip_t + 0.1:
        assert time.monotonic() < deadline
        some, at = inlet.pull_chunk(timeout=0.2, max_samples=2000)
        light += [row[0] for row in some]
        stamps += at
    lit = next(t for t, x in zip(stamps, light, strict=True) if x > 0.535 and t > flip_t)
    assert 1e3 * (lit - flip_t) == pytest.approx(12.0, abs=2.0)
    outlet.close()
    inlet.close_stream()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("room", "changes", "said"),
    [
        ({}, {"photodiode": "", "audio": ""}, "Nothing to measure"),
        ({"patch": "none"}, {}, "no patch for a photodiode"),
        ({"click": "no"}, {}, "does not click"),
        ({"use": "clinical"}, {}, "A rehearsal is for test rooms"),
        ({}, {"transitions": 5}, "5 transitions are not possible"),
        ({}, {"shortest_s": 0.01}, "Intervals from 0.01"),
        ({}, {"shortest_s": 0.5, "longest_s": 0.4}, "Intervals from 0.5 to 0.4"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    tmp_path: Path, room: dict[str, str], changes: dict[str, object], said: str
) -> None:
    given = options(tmp_path, **changes)
    a_room(tmp_path, **room)
    with pytest.raises(InputError, match=said) as error:
        certify(given)
    assert error.value.fix
    assert not (tmp_path / "certificates").exists()


def test_no_such_sensor_lists_what_is_there(sensor: None, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match=r"(?s)called 'diode'.*'neuroloop-sensor'"):
        certify(options(tmp_path, sensor="diode", find_s=0.5))


def test_columns_by_label_and_by_number() -> None:
    assert module._column(SEEN, "2", "audio") == 1  # the label comes first
    assert module._column(SEEN, "3", "audio") == 2
    unlabelled = replace(SEEN, columns=())
    assert module._column(unlabelled, "2", "audio") == 1
    for stream, wanted, said in (
        (SEEN, "a", "more than once"),
        (SEEN, "light", r"has: 1 a, 2 2, 3 a"),
        (SEEN, "4", "is not there"),
        (unlabelled, "0", "1 to 3, without labels"),
    ):
        with pytest.raises(InputError, match=said):
            module._column(stream, wanted, "photodiode")


@pytest.mark.parametrize(("rate_hz", "shown"), [(100.0, "100 Hz"), (0.0, "no regular rate")])
def test_slow_sensors_are_refused(rate_hz: float, shown: str) -> None:
    with pytest.raises(InputError, match=f"has {shown}; the photodiode needs 200 Hz"):
        module._refuse_slow(replace(SEEN, rate_hz=rate_hz), "photodiode", 200.0)


def test_a_simulated_sensor_certifies_no_real_room(sensor: None, tmp_path: Path) -> None:
    given = options(tmp_path, simulated_ok=False)
    a_room(tmp_path, use="clinical")
    with pytest.raises(InputError, match="calls itself simulated"):
        certify(given)


def test_after_a_skipped_transition_the_patch_stays_as_it_is() -> None:
    flips = [Flip(k, float(k), k % 2 == 1) for k in (1, 2, 4, 5, 6)]
    assert [f.number for f in module._changes(flips)] == [1, 2, 5, 6]


# ---------------------------------------------------------------- what may happen meanwhile


class Told:
    """A marker outlet that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float]] = []

    def push(self, text: str, stamp_s: float) -> None:
        self.rows.append((text, stamp_s))


def frame(number: int, t: float, screen: str = "probe") -> Presented:
    return Presented(number, t, t, t, None, False, 0, screen=screen, patch=number % 2 == 1)


def test_each_flip_is_announced_once_with_its_time() -> None:
    told = Told()
    measured = module._Run(WindowSpec(), None, told)  # type: ignore[arg-type]
    for number, t in ((0, 1.0), (1, 1.1), (1, 1.2), (2, 1.3), (2, 1.4)):
        measured._take(frame(number, t))
    measured._take(frame(3, 1.5, screen="lost"))  # the curtain is no flip
    assert measured.flips == [Flip(1, 1.1, True), Flip(2, 1.3, False)]
    assert [(json.loads(text), t) for text, t in told.rows] == [
        ({"probe": 1, "lit": True, "t": 1.1}, 1.1),
        ({"probe": 2, "lit": False, "t": 1.3}, 1.3),
    ]
    assert measured.frames_t == [1.0, 1.1, 1.2, 1.3, 1.4]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Key("stop", 1.0), "Stopped at the person's window"),
        (Fault("The screen was lost (gone).", fatal=True), "The screen was lost"),
    ],
)
def test_the_window_may_end_it(message: Message, said: str) -> None:
    measured = module._Run(WindowSpec(), None, Told())  # type: ignore[arg-type]
    measured._take(Fault("Only a remark."))
    measured._take(Key("space", 1.0))
    with pytest.raises(RunError, match=said):
        measured._take(message)


class Inlet:
    """Two chunks, then nothing, then the stream is gone."""

    def __init__(self) -> None:
        self.chunks = [2, 3, 0]

    def pull_chunk(self, **_: object) -> tuple[np.ndarray, np.ndarray]:
        if not self.chunks:
            raise RuntimeError("the stream has been lost")
        n = self.chunks.pop(0)
        return np.arange(3.0 * n).reshape(n, 3), 10.0 + np.arange(float(n))


def a_sensor(offsets: list[tuple[float, float]]) -> module._Sensor:
    sensor = object.__new__(module._Sensor)
    sensor.seen, sensor.model, sensor.columns = SEEN, "diode", {"photodiode": 2, "audio": 0}
    sensor._inlets, sensor._samples, sensor._stamps = [Inlet()], [], []
    sensor._offsets = offsets
    return sensor


def test_a_lost_sensor_is_a_sentence() -> None:
    sensor = a_sensor([(0.0, 0.0)])
    sensor.pull()
    assert sensor.samples("photodiode").tolist() == [2.0, 5.0, 2.0, 5.0, 8.0]
    assert sensor.samples("audio").tolist() == [0.0, 3.0, 0.0, 3.0, 6.0]
    assert sensor.newest_t == 12.0
    with pytest.raises(StreamError, match="was lost while it was needed") as error:
        sensor.pull()
    assert error.value.fix


def test_a_sensor_of_another_clock_is_put_into_ours() -> None:
    # It runs 100 s behind and loses 1 ms per second: at our 110 and 112.
    sensor = a_sensor([(110.0, 100.0), (112.0, 100.002)])
    sensor.pull()
    assert sensor.stamps[:2] == pytest.approx([110.0, 111.001], abs=1e-4)
    assert sensor.newest_t == pytest.approx(112.002)


# ---------------------------------------------------------------- the command


def test_mistakes_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = a_room(tmp_path)
    for arguments, said in (
        (["--certify"], "--room and --sensor must be given"),
        (["--certify", "--room", room, "--sensor", "x"], "Nothing to measure"),
        (["--sensor", "x"], "belongs to --certify"),
        (["--certify", "--room", room, "--sensor", "x", "--json"], "Nothing to measure"),
    ):
        assert cli.main(["doctor", *arguments]) == InputError.exit_code
        both = capsys.readouterr()
        assert said in both.out + both.err
        assert "Traceback" not in both.out + both.err
    assert json.loads(both.out)["ok"] is False
    assert cli.main(["simulate-sensor", "--rate", "3"]) == InputError.exit_code
    assert "rate of 3 Hz" in capsys.readouterr().err


@pytest.mark.slow
def test_sixty_transitions_at_the_command_line(
    sensor: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(
        ["doctor", "--certify", "--room", a_room(tmp_path), "--sensor", "neuroloop-sensor",
         "--photodiode", "photodiode", "--audio", "audio", "--transitions", "60",
         "--simulated-ok", "--out", str(tmp_path / "c")]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0, said
    assert "Display: 1" in said
    assert "60 of 60 transitions" in said
    assert "PASSED." in said
    assert "A rehearsal" in said
    (path,) = (tmp_path / "c").iterdir()
    right(Certified(path, read_certificate(path)), 60)


@pytest.mark.slow
def test_a_session_in_the_room_names_its_certificate(
    sensor: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "certificates"
    monkeypatch.setattr(run, "default_folder", lambda: folder)
    found = certify(options(tmp_path))
    quick = tmp_path / "quick.yaml"
    quick.write_text(QUICK, encoding="utf-8")
    given = run.RunOptions(
        str(quick), a_room(tmp_path), short_s=22.0, out=tmp_path / "r", headless=True, plain=True
    )
    said: list[str] = []
    with spawn_simulator(SimulatorOptions()):
        try:
            ran = run.run_session(given, said.append)
        except NeuroloopError as error:
            pytest.fail(f"{error} {said}")
    header = read(ran.recording).header["certificate"]
    assert header["file"] == found.path.name
    assert header["sha256"] == found.certificate.sha256
    assert header["valid"], header["why_not"]
    assert header["display_ms"] == pytest.approx(12.0, abs=1.0)
