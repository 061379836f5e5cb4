"""Real processes on this computer: the simulator, the engine, the window; and what breaks them.

What happened is read from the recording, whose stamps are LSL's clock, the same in every process
here. The bounds are those that Neuroloop promises; `LATE_S` is added because a busy computer may
wake a process late, which no program can help.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest
import pyxdf

from engine.clock import now
from engine.errors import NeuroloopError
from engine.frames import Gap, PhaseKind
from engine.lsl import load_pylsl
from engine.recording import Recording, read
from engine.replay import replay_recording
from engine.simulate import SimulatorOptions, SimulatorProcess, spawn_simulator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

REPO = Path(__file__).resolve().parents[1]
HOLD_S = 0.5  # after the last sample
CURTAIN_S = 0.5  # after the engine's death
LOST_S = 0.5  # of the recording, at most
LATE_S = 0.25
PATIENCE_S = 60.0  # for anything to happen at all

PROTOCOL = """\
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
name: Faults
use: test
stream: {{name: {name}, type: EEG, source_id: {name}, counter: counter}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {name}}}
screen: {{full_screen: no, size: 320 x 180, required: no}}
sound: {{required: no}}
record: {{keep_free_gb: 0}}
publish: no
"""

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Return the first answer that is not empty."""
    end = time.monotonic() + patience_s
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {patience_s:g} s in vain"
        time.sleep(0.1)


class Bench:
    """A simulator, an engine that runs a session on it, and the recording so far."""

    def __init__(self, folder: Path) -> None:
        name = f"faults-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.options = SimulatorOptions(name=name, source_id=name, blinks=False, jaw=False)
        self.simulators = [spawn_simulator(self.options)]
        (folder / "quick.yaml").write_text(PROTOCOL, encoding="utf-8")
        (folder / "room.yaml").write_text(ROOM.format(name=name), encoding="utf-8")
        self.log = folder / "said.txt"
        words = ["run", str(folder / "quick.yaml"), "--room", str(folder / "room.yaml")]
        words += ["--short", "240", "--plain", "--headless", "--silent"]
        words += ["--out", str(folder / "out")]
        with self.log.open("w", encoding="utf-8") as said:
            self.engine = subprocess.Popen(
                [sys.executable, "-m", "engine.cli", *words, "--find", "20"],
                cwd=REPO,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
                start_new_session=True,
            )

    @property
    def simulator(self) -> SimulatorProcess:
        return self.simulators[-1]

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    @property
    def path(self) -> Path:
        return next((self.folder / "out").glob("*.xdf"))

    @property
    def recording(self) -> Recording:
        return read(self.path)

    def until(self, what: Callable[[Recording], bool]) -> Recording:
        """Return the recording once something is in it."""

        def look() -> Recording | None:
            assert self.engine.poll() is None, self.said
            with suppress(NeuroloopError, StopIteration):
                recording = self.recording
                return recording if what(recording) else None
            return None

        return wait_for(look)

    def until_rewards(self, n: int = 2, after_s: float = 0.0) -> Recording:
        """Return the recording once rewards were given after a stamp."""

        def rewarded(recording: Recording) -> bool:
            d = recording.decisions
            return int((d.column("reward") * (d.column("t") > after_s)).sum()) >= n

        return self.until(rewarded)

    def window(self) -> psutil.Process:
        """Return the person's window as a process."""

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.engine.pid).children():
                with suppress(psutil.Error):
                    if "--multiprocessing-fork" in child.cmdline():
                        return child
            return None

        return wait_for(find)

    def interrupt(self, how: signal.Signals = signal.SIGINT) -> int:
        """End the session as Ctrl-C does and return the exit code."""
        self.engine.send_signal(how)
        return self.engine.wait(PATIENCE_S)

    def close(self) -> None:
        """End every process."""
        children: list[psutil.Process] = []
        with suppress(psutil.Error):
            children = psutil.Process(self.engine.pid).children(recursive=True)
        self.engine.kill()
        self.engine.wait()
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        for simulator in self.simulators:
            with suppress(ProcessLookupError):
                os.kill(simulator.pid, signal.SIGCONT)
            simulator.stop()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a running session in its training block, with some rewards."""
    made = Bench(tmp_path)
    try:
        made.until_rewards()
        yield made
    finally:
        made.close()


def holds(path: Path) -> list[tuple[float, str, bool]]:
    """Return when each hold began (True) or ended, on our clock, and its cause."""
    streams, _ = pyxdf.load_xdf(
        str(path), synchronize_clocks=False, dejitter_timestamps=False, verbose=False
    )
    (inputs,) = (s for s in streams if s["info"]["name"][0] == "inputs")
    rows = [
        (t, json.loads(row[0]))
        for t, row in zip(inputs["time_stamps"], inputs["time_series"], strict=True)
    ]
    return [(float(t), r["cause"], r["on"]) for t, r in rows if r["input"] == "hold"]


def held_during(bench: Bench, since_s: float, cause: str = "stale") -> tuple[float, float]:
    """Wait until a hold that began after `since_s` is over; return its beginning and its end."""

    def over() -> tuple[float, float] | None:
        assert bench.engine.poll() is None, bench.said
        mine = [(t, on) for t, c, on in holds(bench.path) if c == cause and t > since_s]
        return (mine[0][0], mine[1][0]) if len(mine) >= 2 else None

    return wait_for(over)


def check_hold(recording: Recording, began_s: float, ended_s: float) -> None:
    """Check promise and silence of a hold of a stream that sent nothing."""
    p = recording.presented
    t, flip, level = p.column("t"), p.column("t_flip"), p.column("level")
    newest_s = np.nanmax(t[flip <= began_s])  # the newest sample that anybody saw
    assert began_s - newest_s <= HOLD_S + LATE_S
    # The person sees neutral from then on: the hold is sent at once.
    during = (flip > began_s + LATE_S) & (flip < ended_s)
    assert during.sum() > 10
    assert np.isnan(level[during]).all()
    d = recording.decisions
    stamps, reward = d.column("t"), d.column("reward")
    assert not reward[(stamps > newest_s + LATE_S) & (stamps < ended_s - LATE_S)].any()
    assert not reward[d.column("held") > 0].any()


def check_replay(path: Path) -> None:
    again = replay_recording(path).comparison
    assert again is not None
    assert again.identical, again.sentence


# ---------------------------------------------------------------- the outlet


def test_an_outlet_that_is_killed_and_comes_back(bench: Bench) -> None:
    """F02, F03: kill -9 of the outlet, and the same one again."""
    killed_s = now()
    bench.simulator.kill()
    bench.until(lambda r: any(e.kind == "lost" for e in r.events))
    wait_for(lambda: any(t > killed_s and on for t, _, on in holds(bench.path)))
    bench.simulators.append(spawn_simulator(replace(bench.options, seed=2)))
    began_s, ended_s = held_during(bench, killed_s)
    recording = bench.until_rewards(after_s=ended_s)
    check_hold(recording, began_s, ended_s)
    away = [g for g in recording.inputs if isinstance(g, Gap) and g.cause == "reconnect"]
    assert len(away) == 1
    jump_s = np.diff(recording.stamps).max()
    assert away[0].missing / 250.0 == pytest.approx(jump_s, abs=0.1)
    back_s = recording.stamps[np.argmax(np.diff(recording.stamps)) + 1]
    assert ended_s - back_s >= 2.0 - LATE_S
    words = {e.kind: e.data for e in recording.events}
    assert words["back"]["reopened"] is True
    assert "Resumed: Samples arrive again." in bench.said
    bench.engine.kill()
    check_replay(bench.path)


def test_an_outlet_that_stands_still(bench: Bench) -> None:
    """F10: SIGSTOP; LSL says nothing, and everything comes at once afterwards."""
    stopped_s = now()
    os.kill(bench.simulator.pid, signal.SIGSTOP)
    wait_for(lambda: any(t > stopped_s and on for t, _, on in holds(bench.path)))
    wait_for(lambda: now() > stopped_s + 2.5)
    os.kill(bench.simulator.pid, signal.SIGCONT)
    began_s, ended_s = held_during(bench, stopped_s)
    assert ended_s - began_s > 4.0  # the silence, and two good seconds
    recording = bench.until_rewards(after_s=ended_s)
    check_hold(recording, began_s, ended_s)
    # What was sent too late is recorded and decided all the same, point by point.
    seq = recording.decisions.column("seq")
    gaps = [g for g in recording.inputs if isinstance(g, Gap)]
    assert (np.diff(seq) == recording.spec.hop).sum() >= len(seq) - 1 - len(gaps)
    bench.engine.kill()
    check_replay(bench.path)


def test_an_outlet_that_comes_back_at_another_rate(bench: Bench) -> None:
    """F05: it is refused, and the difference is named."""
    bench.simulator.kill()
    bench.simulators.append(spawn_simulator(replace(bench.options, rate_hz=500.0)))
    recording = bench.until(lambda r: any(e.kind == "changed" for e in r.events))
    changed = next(e for e in recording.events if e.kind == "changed")
    assert list(changed.data["differences"]) == ["rate 250 Hz -> 500 Hz"]
    wait_for(lambda: "The stream came back different: rate 250 Hz -> 500 Hz" in bench.said)
    n = len(bench.recording.samples)
    wait_for(lambda: now() > changed.t + 3.0)
    assert len(bench.recording.samples) == n
    # On a starved machine the window or the transport may hold beside it.
    causes = [(cause, on) for _, cause, on in holds(bench.path)]
    of_stream = [c for c in causes if c[0] in ("stale", "changed")]
    assert of_stream[-2:] in ([("stale", True), ("changed", True)], [("changed", True)])
    presented = bench.recording.presented
    late = presented.column("t_flip") > changed.t + LATE_S
    assert np.isnan(presented.column("level")[late]).all()
    # No sample will carry the stop; the session ends all the same.
    assert bench.interrupt(signal.SIGTERM) == 130
    recording = bench.recording
    assert recording.closed
    assert next(e for e in recording.events if e.kind == "end").data["state"] == "stopped"
    check_replay(bench.path)


# ---------------------------------------------------------------- the engine


def test_an_engine_that_is_killed(bench: Bench) -> None:
    """F50: the recording is whole but for half a second; a curtain; the window ends itself."""
    pylsl = load_pylsl()
    found = wait_for(lambda: pylsl.resolve_byprop("source_id", bench.options.source_id, 1, 2.0))
    inlet = pylsl.StreamInlet(found[0], max_buflen=30, recover=False)
    inlet.open_stream(timeout=10.0)
    inlet.pull_chunk(1.0, 4096)
    wait_for(lambda: now() > bench.recording.stamps[0] + 12.0)  # a boundary has been written
    window = bench.window()
    assert window.is_running()

    killed_s, killed_wall_s = now(), time.time()
    bench.engine.kill()
    bench.engine.wait()

    counter = bench.recording.spec.names.index("counter")
    sent: list[float] = []
    stamps: list[float] = []
    while not stamps or stamps[-1] < killed_s:
        rows, t = inlet.pull_chunk(1.0, 4096)
        assert t
        stamps += t
        sent += [row[counter] for row in rows]
    inlet.close_stream()
    at_kill = sent[int(np.searchsorted(stamps, killed_s)) - 1]
    recording = bench.recording
    assert not recording.closed
    assert recording.damage is None
    assert at_kill - recording.samples[-1, counter] <= LOST_S * 250
    counted = recording.samples[:, counter]
    assert len(recording.samples) > 10 * 250
    assert (np.diff(recording.seq()) == np.diff(counted)).all()
    streams, _ = pyxdf.load_xdf(
        str(bench.path), synchronize_clocks=False, dejitter_timestamps=False, verbose=False
    )
    (raw,) = (s for s in streams if s["info"]["type"][0] == "EEG")
    np.testing.assert_array_equal(raw["time_series"], recording.samples)
    check_replay(bench.path)

    frames = next((bench.folder / "out").glob("*_frames"))
    curtain = wait_for(lambda: next(frames.glob("*_lost.png"), None))
    # The picture is taken 0.3 s after the curtain has come down, which takes 0.18 s.
    down_s = curtain.stat().st_mtime - 0.3 - 0.18
    assert down_s - killed_wall_s <= CURTAIN_S + LATE_S
    gone = psutil.wait_procs([window], timeout=PATIENCE_S)[0]
    lived_s = time.time() - killed_wall_s
    assert gone
    assert 9.0 < lived_s < 10.0 + CURTAIN_S + 5.0  # its end writes pictures first


# ---------------------------------------------------------------- the window


def test_a_window_that_is_killed(bench: Bench) -> None:
    """F51: the recording goes on, the session holds, a new window opens, feedback comes back.

    F53: then Ctrl-C: exit code 130, a closed recording that says why, and a report.
    """
    first = bench.window()
    killed_s = now()
    first.kill()
    began_s, ended_s = held_during(bench, killed_s, "window")
    assert began_s - killed_s <= HOLD_S + LATE_S
    assert bench.window().pid != first.pid
    recording = bench.until_rewards(after_s=ended_s)
    counted = recording.samples[:, recording.spec.names.index("counter")]
    assert (np.diff(counted) == 1).all()
    d = recording.decisions
    assert not d.column("reward")[d.column("held") > 0].any()
    assert len([e for e in recording.events if e.kind == "window"]) == 2
    level = recording.presented.column("level")
    assert np.isfinite(level[recording.presented.column("t_flip") > ended_s]).any()

    second = bench.window()
    assert bench.interrupt() == 130
    recording = bench.recording
    assert recording.closed
    assert recording.damage is None
    assert recording.decisions.column("kind")[-1] == PhaseKind.STOPPED.value
    words = {e.kind: e.data for e in recording.events}
    assert words["stop"]["reason"] == "Interrupted (Ctrl-C)."
    assert words["end"]["state"] == "stopped"
    assert not second.is_running()
    assert "Traceback" not in bench.said
    assert list((bench.folder / "out").glob("*.report.html"))
    assert not list((bench.folder / "out").glob(".neuroloop-*.lock"))
    check_replay(bench.path)
