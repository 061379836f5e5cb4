"""A session of half an hour: memory stays flat, and the picture does not drift from the level.

The engine and the person's window run as they do for people, over a real stream, at 60 frames per
second. Marked slow::

    uv run pytest -m slow tests/test_soak.py -s
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.recording import read
from engine.simulate import Network, SimulatorOptions, spawn_simulator

MINUTES = 30.0
WARM_UP_S = 300.0
SLOPE_MB_PER_H = 1.0
EVERY_S = 5.0
REPORT_S = 60.0  # at the end the report is made, which needs memory of its own

ROOM = """format: 1
name: Soak
use: test
stream: {{name: {name}, type: EEG, source_id: {name}, counter: counter, coupling: dc}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {name}}}
screen: {{full_screen: no, size: 1280 x 720, required: no}}
sound: {{required: no}}
record: {{keep_free_gb: 0.2}}
"""

PROTOCOL = """format: 2
name: soak
title: Half an hour of alpha
evidence: {{grade: X, summary: "A test of the software."}}
summary: A long block.
needs: {{channels: [Pz], rate: at least 128 Hz}}
condition: {{reference: [as recorded], high_pass: 1 Hz, mains: notch}}
features:
  alpha: {{kind: power, at: [Pz], band: 8-12 Hz, smooth: 0.5 s}}
gates: {{blink: off, saccade: off, amplitude: on, step: on, muscle: off}}
baseline:
  - {{name: rest, lasts: 120 s, eyes: open, needs_clean: 60 s, learn: [alpha]}}
reward:
  feature: alpha
  above: {{baseline: percentile, success: 65 %}}
  sustain: 0.5 s
  refractory: 2 s
feedback:
  level:
    feature: alpha
    from: {{baseline: median, plus: -1 mad}}
    to: {{baseline: median, plus: 2 mad}}
    smooth: 0.3 s
  picture: {picture}
  sound: {{on_reward: chime, continuous: ambience}}
session:
  - baseline
  - {{train: {train} s, say: "Let the orb grow."}}
"""


@dataclass
class Memory:
    """Resident memory of one process over time."""

    t_s: list[float] = field(default_factory=list)
    mb: list[float] = field(default_factory=list)

    def slope_mb_per_h(self, after_s: float) -> float:
        """Return the median slope between all pairs (Theil-Sen), which spikes do not move."""
        t, mb = np.array(self.t_s), np.array(self.mb)
        use = (t >= after_s) & (t <= t[-1] - REPORT_S)
        t, mb = t[use], mb[use]
        i, j = np.triu_indices(len(t), k=max(1, len(t) // 8))
        return float(np.median((mb[j] - mb[i]) / (t[j] - t[i]))) * 3600.0


def watch(process: subprocess.Popen[bytes], minutes: float) -> dict[str, Memory]:
    """Follow engine and window until the session ends."""
    engine = psutil.Process(process.pid)
    found: dict[str, Memory] = {}
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 60.0 * minutes + 600.0:
        try:
            family = {"engine": engine}
            for child in engine.children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    family["window"] = child
            for name, one in family.items():
                memory = found.setdefault(name, Memory())
                memory.mb.append(one.memory_info().rss / 1e6)
                memory.t_s.append(time.monotonic() - began)
        except psutil.NoSuchProcess:
            pass
        time.sleep(EVERY_S)
    return found


@pytest.mark.slow
@pytest.mark.timeout(60 * 60)
@pytest.mark.parametrize("picture", ["garden"])
def test_half_an_hour_leaves_memory_flat_and_picture_in_step(tmp_path: Path, picture: str) -> None:
    name = f"neuroloop-soak-{uuid.uuid4().hex[:8]}"
    room, protocol = tmp_path / "room.yaml", tmp_path / "soak.yaml"
    room.write_text(ROOM.format(name=name), encoding="utf-8")
    train = round(60.0 * MINUTES)
    protocol.write_text(PROTOCOL.format(train=train, picture=picture), encoding="utf-8")
    options = SimulatorOptions(name=name, source_id=name, seed=3, network=Network(session_id=name))
    command = [
        sys.executable, "-m", "engine.cli", "run", str(protocol), "--room", str(room),
        "--client", "soak", "--out", str(tmp_path / "out"), "--headless", "--plain",
    ]  # fmt: skip
    with spawn_simulator(options), (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            memory = watch(process, MINUTES)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)
    assert process.returncode == 0, (tmp_path / "log.txt").read_text("utf-8")[-2000:]
    slopes = {k: m.slope_mb_per_h(WARM_UP_S) for k, m in memory.items()}
    figures = {"slopes_mb_per_h": slopes, **in_step(next((tmp_path / "out").glob("*.xdf")))}
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    (tmp_path / "memory.json").write_text(json.dumps({k: vars(m) for k, m in memory.items()}))
    assert set(slopes) == {"engine", "window"}
    for who, slope in slopes.items():
        assert slope < SLOPE_MB_PER_H, who
    assert figures["frames"] > 0.95 * 60.0 * train
    # The picture at the end stands to the level as it did at the beginning.
    first, last = figures["behind_ms"]
    assert abs(last - first) < 1000.0 / 60.0
    assert max(figures["apart"]) < 0.02


def in_step(path: Path) -> dict[str, object]:
    """Return how the picture stood to the decisions in the first and the last fifth."""
    recording = read(path)
    shown, decided = recording.presented, recording.decisions
    seq, t, flip, level = (shown.column(c) for c in ("seq", "t", "t_flip", "level"))
    own, wanted = decided.column("seq"), decided.column("level")
    at = np.searchsorted(own, seq)
    use = np.isfinite(level) & (at < len(own))
    at = np.minimum(at, len(own) - 1)
    use &= (own[at] == seq) & np.isfinite(wanted[at]) & np.isfinite(t)
    # The eased level follows within two frames; where the level stood still they are the same.
    apart, behind = np.abs(level - wanted[at])[use], 1000.0 * (flip - t)[use]
    fifth = len(apart) // 5
    parts = (slice(0, fifth), slice(len(apart) - fifth, None))
    return {
        "frames": int(np.count_nonzero(np.isfinite(level))),
        "apart": [float(np.median(apart[p])) for p in parts],
        "behind_ms": [float(np.median(behind[p])) for p in parts],
    }
