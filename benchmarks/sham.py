"""Whether a sham can be told by its time: blinded sessions of both arms, side by side.

``python -m benchmarks.sham [SECONDS]`` measures in both arms of a blinded study

- what deciding a grid point costs, in simulated time, and
- how old the newest sample is when what is decided is sent to the window, in live sessions over
  LSL that last SECONDS together (600 when left out), one after the other in the order ABBAABBA. Two
  long ones in a row meet another load of the computer each, and two at a time get in each other's
  way; both differences are larger than what is looked for.

Acceptance: medians and 95th percentiles of both differ by less than 5 ms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.assemble import assemble
from engine.controls import Asked, control_plan
from engine.donors import Donor, write_donor
from engine.enrol import enrol
from engine.features import FEATURES
from engine.frames import Chunk, Command, PhaseKind, StreamSpec, frozen
from engine.person import Person, columns
from engine.recording import read
from engine.seal import SEALED_FILE, TOKENS_FILE, Cost, allocate, unseal, write_allocation
from engine.simulate import Network, SimulatorOptions, spawn_simulator
from engine.study import load_study
from protocols.load import load
from protocols.plan import expand
from protocols.sham import Series

__all__ = ["LIMIT_S", "compared", "deciding", "live", "make_donors"]

LIMIT_S = 0.005
RATE_HZ = 250.0
SPEC = StreamSpec("amp", "EEG", "amp", "u", "", RATE_HZ, columns())
ARMS = {"one": "real", "two": "replay_other"}
ORDER = ("one", "two", "two", "one", "one", "two", "two", "one")
PASSPHRASE = "five words of no meaning"

PROTOCOL = """\
format: 2
name: parity
title: Time
evidence: {grade: X, summary: "For a measurement."}
summary: Trains nothing.
needs: {channels: [Cz], rate: at least 200 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz, smooth: 0.5 s}
gates: {blink: on, amplitude: on, step: on, muscle: on}
baseline: []
reward: {feature: smr, above: {fixed: 3 uV2}, sustain: 0.3 s, refractory: 1 s}
feedback:
  level: {feature: smr, from: {fixed: 0.1 uV2}, to: {fixed: 30 uV2}, smooth: 0.3 s}
  picture: orb
session:
  - {train: 900 s, say: "Grow."}
"""
STUDY = """\
format: 1
name: parity
protocol: parity.yaml
sessions: 4
blinding: double
arms:
  - {name: one, control: real}
  - {name: two, control: replay_other, donors: donors}
"""
ROOM = """\
format: 1
name: Parity
use: test
stream: {{name: {name}, type: EEG, source_id: {name}, counter: counter}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {name}}}
screen: {{full_screen: no, size: 320 x 180, required: no}}
sound: {{required: no}}
record: {{keep_free_gb: 0}}
publish: yes
"""


def make_donors(folder: Path, protocol: str, sha256: str, blocks: int = 8) -> Path:
    """Write a donor whose level wanders, for test sessions."""
    rng = np.random.default_rng(1)
    made = []
    for _ in range(blocks):
        walk = np.cumsum(rng.normal(0.0, 0.05, 20_000))
        level = 0.5 + 0.5 * np.sin(walk)
        made.append(Series(frozen(level), frozen(rng.random(len(level)) < 0.005)))
    donor = Donor(protocol, sha256, SPEC.grid_hz, 1, tuple(made), test=True)
    write_donor(donor, folder / "a.donor.npz")
    return folder


def deciding(seconds: float, folder: Path) -> dict[str, np.ndarray]:
    """Return what every training point cost in both arms, in seconds of this thread."""
    loaded = load("smr_up", FEATURES)
    protocol = loaded.protocol
    donors = make_donors(folder, "smr_up", loaded.sha256)
    asked = [Asked("real"), Asked("replay_other", donors), Asked("noise")]
    eeg = Person(RATE_HZ, seed=4).read(round(seconds * RATE_HZ))[:, : len(SPEC.channels)]
    folds, out = {}, {}
    for chosen, arm in enumerate(ARMS):
        made = control_plan(protocol, asked, chosen, seed=1, test=True)
        plan = expand(made.protocol, seconds - 6.0, 1)
        folds[arm] = assemble(SPEC, made.protocol, plan, mains_hz=50.0, control=made.make).fold
        folds[arm].step(Command(round(2 * SPEC.grid_hz) * SPEC.hop, "start"))
        out[arm] = []
    for at in range(0, len(eeg) - SPEC.hop, SPEC.hop):
        stamps = frozen((at + np.arange(SPEC.hop)) / RATE_HZ)
        rows = frozen(eeg[at : at + SPEC.hop].copy())
        for arm, fold in folds.items():
            began = time.thread_time()
            points = fold.step(Chunk(at, stamps, rows))
            cost = time.thread_time() - began
            if points and points[-1].decision.kind is PhaseKind.TRAIN:
                out[arm].append(cost)
    return {arm: np.array(costs) for arm, costs in out.items()}


def live(seconds: float, folder: Path, order: Sequence[str] = ORDER) -> dict[str, Any]:
    """Return per arm the age of the newest sample at every sending, in s, of live sessions."""
    name = f"parity-{uuid.uuid4().hex[:8]}"
    for file, text in (("parity.yaml", PROTOCOL), ("study.yaml", STUDY)):
        (folder / file).write_text(text, encoding="utf-8")
    (folder / "room.yaml").write_text(ROOM.format(name=name), encoding="utf-8")
    sha256 = load(str(folder / "parity.yaml"), FEATURES).sha256
    make_donors(folder / "donors", "parity", sha256)
    loaded = load_study(folder / "study.yaml")
    cost = Cost(n=16, r=1, p=1)
    write_allocation(allocate(loaded, 4, PASSPHRASE, protocol_sha256=sha256, cost=cost), folder)
    tokens = {a.arm: a.token for a in unseal(folder / SEALED_FILE, PASSPHRASE, loaded).assignments}
    for token in read_tokens(folder):
        enrol(folder, token, token.lower())
    simulator = spawn_simulator(
        SimulatorOptions(name=name, source_id=name, network=Network(session_id=name))
    )
    try:
        for arm in order:
            words = ["run", "--study", str(folder / "study.yaml"), "--participant", tokens[arm]]
            words += ["--room", str(folder / "room.yaml"), "--short", f"{seconds / len(order):g}"]
            words += ["--client", tokens[arm].lower(), "--plain", "--headless", "--silent"]
            words += ["--out", str(folder / arm), "--find", "20"]
            subprocess.run(
                [sys.executable, "-m", "engine.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=os.environ | {"XDG_STATE_HOME": str(folder / arm)},
                timeout=seconds + 120.0,
                check=True,
            )
    finally:
        simulator.stop()
    return {
        arm: np.concatenate([_ages(p) for p in sorted((folder / arm).glob("*.xdf"))])
        for arm in dict.fromkeys(order)
    }


def read_tokens(folder: Path) -> list[str]:
    """Return the tokens in the order in which they are given."""
    lines = (folder / TOKENS_FILE).read_text(encoding="utf-8").splitlines()[1:]
    return [line.split("\t")[0] for line in lines]


def _ages(path: Path) -> np.ndarray:
    """Return how old the newest sample was when a level or its absence was sent."""
    recording = read(path)
    shown, d = recording.presented, recording.decisions
    train = d.column("kind") == PhaseKind.TRAIN.value
    keep = np.isin(shown.column("seq"), d.column("seq")[train])
    # The first time that a decision is sent; it is sent again until the next one.
    _, first = np.unique(shown.column("seq")[keep], return_index=True)
    ages = (shown.column("sent") - shown.column("t"))[keep][first]
    return np.asarray(ages[np.isfinite(ages)])


def compared(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return medians and 95th percentiles of both arms, and by how much they differ, in ms."""
    told: dict[str, Any] = {}
    for arm, values in found.items():
        p50, p95 = np.quantile(values, (0.5, 0.95)) * 1e3
        told[ARMS[arm]] = {"n": len(values), "p50_ms": float(p50), "p95_ms": float(p95)}
    one, two = (told[kind] for kind in ARMS.values())
    told["differ_ms"] = {k: abs(one[k] - two[k]) for k in ("p50_ms", "p95_ms")}
    return told


def main(seconds: float) -> None:
    """Measure and print JSON."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        cost = compared(deciding(min(max(seconds, 60.0), 300.0), Path(one)))
        age = compared(live(seconds, Path(two)))
    sys.stdout.write(json.dumps({"deciding": cost, "age": age}, indent=2) + "\n")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0)
