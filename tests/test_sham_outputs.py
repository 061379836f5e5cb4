"""A sham reaches every output, and the real thing none: over real LSL, and in the window.

The session runs in a process of its own, its stream comes from another, and what it offers on the
network is received here. What the real thing would have been is known from the replay.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import numpy as np
import pytest

from engine.clock import FakeClock
from engine.donors import Donor, read_donor, write_donor
from engine.frames import PhaseKind, Presented, Show, frozen
from engine.lsl import load_pylsl
from engine.recording import Recording, read
from engine.replay import replay_recording
from engine.simulate import SimulatorOptions, spawn_simulator
from feedback.guard import SoundGuard
from feedback.sound import Synth
from feedback.window import WindowLoop
from feedback.worker import WindowSpec
from protocols.sham import Series

pytestmark = pytest.mark.timeout(240)

REPO = Path(__file__).resolve().parents[1]
SHORT_S = 14
GRID_HZ = 50.0

PROTOCOL = """\
format: 2
name: quick
title: A quick session
evidence: {grade: X, summary: "For tests."}
summary: Trains nothing.
needs: {channels: [Cz], rate: at least 200 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz, smooth: 0.5 s}
gates: {blink: on, amplitude: on, step: on, muscle: {at: [Cz]}}
baseline: []
reward: {feature: smr, above: {fixed: 0.5 uV2}, sustain: 0.2 s, refractory: 0.5 s}
feedback:
  level: {feature: smr, from: {fixed: 0.1 uV2}, to: {fixed: 30 uV2}, smooth: 0.3 s}
  picture: orb
session:
  - {train: 600 s, say: "Grow."}
"""
ROOM = """\
format: 1
name: Outputs
use: test
stream: {{name: {name}, type: EEG, source_id: {name}, counter: counter}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {session}}}
screen: {{full_screen: no, size: 320 x 180, required: no}}
sound: {{required: no}}
record: {{keep_free_gb: 0}}
publish: yes
"""


def steps(n: int = 3000) -> Series:
    """Return a course that no brain makes: another level every second, and no level for a while."""
    rng = np.random.default_rng(5)
    level = np.repeat(rng.permutation(np.linspace(0.05, 0.95, n // 50)), 50)
    level[120:160] = np.nan
    reward = np.isfinite(level) & (np.arange(n) % 75 == 30)
    return Series(frozen(level), frozen(reward))


@dataclass(frozen=True)
class Left:
    """What a session left behind, and what was received meanwhile."""

    recording: Recording
    feedback: list[tuple[float, float, float]]
    markers: list[dict[str, Any]]
    features: int


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, lsl_session_id: str) -> Left:
    """Run one session under ``replay_other`` over LSL."""
    folder = tmp_path_factory.mktemp("outputs")
    name = f"sham-{uuid.uuid4().hex[:8]}"
    (folder / "quick.yaml").write_text(PROTOCOL, encoding="utf-8")
    room = ROOM.format(name=name, session=lsl_session_id)
    (folder / "room.yaml").write_text(room, encoding="utf-8")
    donor = Donor("quick", "ab" * 32, GRID_HZ, 1, (steps(),), test=True)
    write_donor(donor, folder / "donors" / "a.donor.npz")
    simulator = spawn_simulator(SimulatorOptions(name=name, source_id=name, jaw=False))
    words = ["run", str(folder / "quick.yaml"), "--room", str(folder / "room.yaml"), "--plain"]
    words += ["--short", str(SHORT_S), "--headless", "--silent", "--out", str(folder / "out")]
    words += ["--control", "replay_other", "--donors", str(folder / "donors"), "--find", "20"]
    output = folder / "said.txt"
    with output.open("w", encoding="utf-8") as said:
        engine = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", *words],
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
        )
    try:
        rows = received(engine)
        engine.wait(timeout=120)
    finally:
        engine.kill()
        engine.wait()
        simulator.stop()
    told = output.read_text(encoding="utf-8")
    assert engine.returncode == 0, told
    assert "CONTROL CONDITION" in told
    (path,) = (folder / "out").glob("*.xdf")
    return Left(read(path), rows["feedback"], rows["markers"], len(rows["features"]))


def received(engine: subprocess.Popen[bytes]) -> dict[str, list[Any]]:
    """Read what the session offers until it ends."""
    pylsl = load_pylsl()
    inlets: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {"feedback": [], "markers": [], "features": []}
    until = time.monotonic() + 120.0
    while engine.poll() is None and time.monotonic() < until:
        for what in rows:
            if what not in inlets:
                found = pylsl.resolve_byprop("name", f"neuroloop_{what}", 1, 2.0)
                if found:
                    inlets[what] = pylsl.StreamInlet(found[0])
                    inlets[what].open_stream(5.0)
                continue
            chunk, _ = inlets[what].pull_chunk(timeout=0.05, min_samples=1)
            rows[what] += chunk
        time.sleep(0.02)
    assert set(inlets) == set(rows), (inlets, {k: len(v) for k, v in rows.items()})
    rows["markers"] = [json.loads(row[0]) for row in rows["markers"]]
    rows["feedback"] = [tuple(row) for row in rows["feedback"]]
    return rows


def training(recording: Recording) -> np.ndarray:
    d = recording.decisions
    return np.asarray((d.column("kind") == PhaseKind.TRAIN.value) & (d.column("held") == 0))


def test_decisions_are_the_donors_point_by_point(left: Left) -> None:
    d, train = left.recording.decisions, training(left.recording)
    level, reward = d.column("level")[train], d.column("reward")[train] > 0
    seen = np.isfinite(level)
    clean = steps().clean()
    n = int(seen.sum())
    assert n > 0.5 * SHORT_S * GRID_HZ
    np.testing.assert_array_equal(level[seen], clean.level[:n])
    # A level may be known where a rule is not: the reward waits for it; with one rule, never.
    np.testing.assert_array_equal(reward[seen], clean.reward[:n])
    assert not reward[~seen].any()
    assert reward.sum() >= 3


def test_the_network_carries_the_sham_and_nothing_real(left: Left) -> None:
    d = left.recording.decisions
    level = d.column("level")[training(left.recording)]
    known = set(level[np.isfinite(level)].tolist())
    got = [value for value, _, _ in left.feedback]
    assert len(got) > 0.5 * SHORT_S * 20
    assert {v for v in got if not math.isnan(v)} <= known
    assert all(math.isnan(v) == (gate > 0) for v, gate, _ in left.feedback if gate > 0)
    real = replay_recording(left.recording).real
    names = [n for n, _ in replay_recording(left.recording).decision_columns]
    theirs = real[:, names.index("level")]
    assert not {v for v in got if not math.isnan(v)} & set(theirs[np.isfinite(theirs)].tolist())
    counts = [int(c) for _, _, c in left.feedback]
    assert counts == sorted(counts)
    assert counts[-1] <= d.column("reward").sum()


def test_reward_markers_are_those_presented(left: Left) -> None:
    d = left.recording.decisions
    told = [m for m in left.markers if m["kind"] == "reward"]
    at = set(d.column("seq")[d.column("reward") > 0].tolist())
    assert len(told) >= 3
    assert {float(m["seq"]) for m in told} <= at
    assert all(set(m["data"]) == {"n", "phase"} for m in told)
    done = replay_recording(left.recording)
    names = [n for n, _ in done.decision_columns]
    real = done.real[done.real[:, names.index("reward")] > 0, 0]
    assert len(real) > 3
    assert {float(m["seq"]) for m in told} != set(real.tolist())


def test_the_picture_followed_the_sham(left: Left) -> None:
    """What was on the screen at each flip, eased over a frame or two, is the donor's level."""
    d, shown = left.recording.decisions, left.recording.presented
    want = dict(zip(d.column("seq").tolist(), d.column("level").tolist(), strict=True))
    done = replay_recording(left.recording)
    names = [n for n, _ in done.decision_columns]
    real = dict(
        zip(done.real[:, 0].tolist(), done.real[:, names.index("level")].tolist(), strict=True)
    )
    pairs = []
    for seq, level in zip(shown.column("seq"), shown.column("level"), strict=True):
        if math.isfinite(level) and math.isfinite(want.get(seq, math.nan)):
            pairs.append((level, want[seq], real[seq]))
    seen, sham, own = np.array(pairs).T
    assert len(seen) > 100
    assert np.median(np.abs(seen - sham)) < 0.02
    assert np.corrcoef(seen, sham)[0, 1] > 0.9
    assert np.median(np.abs(seen - own)) > 0.1


def test_it_replays_identically_and_is_not_given_on(left: Left) -> None:
    done = replay_recording(left.recording)
    assert done.comparison is not None
    assert done.comparison.identical, done.comparison.sentence
    assert left.features > 0  # an open session withholds nothing
    control = left.recording.header["control"]
    assert [c["kind"] for c in control["controls"]] == ["replay_other"]


# ---------------------------------------------------------------- sound


class Port:
    def __init__(self) -> None:
        self.inbox: list[Any] = []
        self.out: list[Any] = []

    def take(self) -> tuple[Any, ...]:
        messages, self.inbox = tuple(self.inbox), []
        return messages

    def put(self, message: Any) -> None:
        self.out.append(message)


def test_picture_and_sound_follow_what_is_shown_and_nothing_else() -> None:
    """The window knows nothing but a `Show`: the level of its sound is that of its picture."""
    clock, port = FakeClock(), Port()
    spec = WindowSpec(headless=True, size=(320, 180), sound_enabled=False, continuous="ambience")
    loop = WindowLoop(spec, port, clock)
    assert loop.open()
    loop.synth = Synth("chime", "ambience", True, SoundGuard(0.25))
    source = steps()
    heard: list[tuple[float, float]] = []
    try:
        for i in range(300):
            value = float(source.level[i * 2])
            level = None if math.isnan(value) else value
            now = clock.now()
            port.inbox.append(
                Show(seq=i, t=now, sent=now, screen="feedback", level=level, gated=level is None)
            )
            assert loop.turn()
            clock.advance(1 / 60)
            assert (loop.synth.level, loop.synth.live) == (loop.ease.level, loop.ease.eased)
            if level is not None and loop.ease.eased == 1.0:
                heard.append((loop.synth.level, level))
    finally:
        loop.close()
    sound, wanted = np.array(heard).T
    assert len(sound) > 100
    assert np.median(np.abs(sound - wanted)) < 1e-3
    shown = [m.level for m in port.out if isinstance(m, Presented) and m.level is not None]
    assert len(shown) > 100


def test_a_donor_file_survives_the_way(tmp_path: Path) -> None:
    path = write_donor(Donor("quick", "ab" * 32, GRID_HZ, 1, (steps(),)), tmp_path / "a.donor.npz")
    np.testing.assert_array_equal(read_donor(path).blocks[0].level, steps().level)
