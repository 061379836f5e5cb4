"""Every shipped protocol runs: a whole short session, offline, on a simulated person.

The decisions are kept, as few numbers, in ``tests/protocols/golden/NAME.json``. When a protocol or
the signal path was changed on purpose, look at what changed and write them anew::

    uv run python -m tests.test_library_runs

Sampled numbers and not a hash: another machine adds in another order.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.errors import MontageError
from engine.features import FEATURES
from engine.frames import Chunk, Command, Decision, Event, Phase, PhaseKind, StreamSpec, frozen
from engine.person import Person, columns
from engine.pipeline import Point
from protocols.load import library, load
from protocols.plan import expand, total_s

GOLDEN = Path(__file__).parent / "protocols" / "golden"
NAMES = library()
RATE_HZ = 250.0
SHORT_S = 60.0
SEED = 1
CHUNK = 25
START = 500  # the filters have settled
SPEC = StreamSpec("sim", "EEG", "id", "uid", "host", RATE_HZ, columns())
STILL = {"scp"}  # people are asked not to blink during a trial, and this person cannot be asked
EVERY = 25  # of the sampled grid points: twice a second
RTOL, ATOL = 1e-6, 1e-9


@dataclass(frozen=True)
class Run:
    """A session, and the samples that made it."""

    assembly: Assembly
    plan: tuple[Phase, ...]
    uv: np.ndarray
    points: tuple[Point, ...]

    @property
    def decisions(self) -> list[Decision]:
        return [p.decision for p in self.points]

    @property
    def events(self) -> list[Event]:
        return [e for p in self.points for e in p.events]

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [dict(e.data) for e in self.events if e.kind == kind]

    def during(self, kind: PhaseKind) -> list[Point]:
        return [p for p in self.points if p.decision.kind is kind]


def put_together(name: str) -> tuple[Assembly, tuple[Phase, ...]]:
    protocol = load(name, FEATURES).protocol
    plan = expand(protocol, SHORT_S, seed=SEED)
    return assemble(SPEC, protocol, plan, mains_hz=50.0, dc_coupled=True), plan


@cache
def session(name: str) -> Run:
    """Run a session once; the person opens and closes the eyes as asked."""
    assembly, plan = put_together(name)
    artefacts = name not in STILL
    person = Person(RATE_HZ, seed=SEED, blinks=artefacts, jaw=artefacts)
    assembly.fold.step(Command(START, "start"))
    points: list[Point] = []
    samples: list[np.ndarray] = []
    seq, most = 0, (START / RATE_HZ + 3.0 * total_s(plan)) * RATE_HZ
    while not assembly.decider.kind.terminal and seq < most:
        phase = assembly.decider.phase or plan[0]
        person.eyes = "closed" if phase.eyes == "closed" else "open"
        uv = person.read(CHUNK)
        samples.append(uv)
        points += assembly.fold.step(_chunk(seq, uv))
        seq += CHUNK
    return Run(assembly, plan, np.concatenate(samples), tuple(points))


def _chunk(seq: int, uv: np.ndarray) -> Chunk:
    return Chunk(seq, frozen((seq + np.arange(len(uv))) / RATE_HZ), frozen(uv.copy()))


# ---------------------------------------------------------------- it runs


@pytest.mark.parametrize("name", NAMES)
def test_a_short_session_reaches_its_end(name: str) -> None:
    run = session(name)
    assert run.decisions[-1].kind is PhaseKind.DONE
    asked = [p.kind for p in run.plan]
    for kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER, PhaseKind.POST):
        blocks = {d.phase for d in run.decisions if d.kind is kind}
        assert len(blocks) == asked.count(kind)
    assert not run.told("plugin_fault")
    assert len(run.told("question")) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_some_training_is_clean(name: str) -> None:
    run = session(name)
    blocks = [d for d in run.told("phase_end") if d["kind"] == "train"]
    if name == "scp":  # a block of trials has its length, clean or not
        assert any(t["rejected"] == "" for t in run.told("trial"))
        return
    if (
        name == "connectivity"
    ):  # after each artefact its window of 2 s fills anew: as long as a block
        assert sum(b["clean_s"] for b in blocks) > 0.0
        return
    assert any(b["reason"] == "complete" for b in blocks)
    assert sum(b["clean_s"] for b in blocks) > 0.5 * sum(b["total_s"] for b in blocks)


@pytest.mark.parametrize("name", NAMES)
def test_the_level_moves_and_is_known_where_it_is_clean(name: str) -> None:
    train = session(name).during(PhaseKind.TRAIN)
    levels = np.array([math.nan if (v := p.decision.level) is None else v for p in train])
    known = levels[np.isfinite(levels)]
    assert 0.3 < len(known) / len(levels) <= 1.0
    assert ((known >= 0.0) & (known <= 1.0)).all()
    assert known.std() > 0.05
    if name != "scp":  # a trial shows nothing once it is rejected, nor in its pauses
        clean = np.array([p.frame.gate == 0 for p in train])
        assert not np.isfinite(levels[~clean]).any()


@pytest.mark.parametrize("name", NAMES)
def test_rewards_are_plausible(name: str) -> None:
    """Not none and not all the time, never without all conditions, never twice at once."""
    run = session(name)
    protocol = load(name, FEATURES).protocol
    rewarded = [p for p in run.points if p.decision.reward]
    assert all(p.decision.kind is PhaseKind.TRAIN for p in rewarded)
    assert all(p.decision.joint and not p.frame.gate and not p.decision.held for p in rewarded)
    if name == "ilf":
        assert rewarded == []
        return
    assert rewarded
    if protocol.reward is None:
        trials = [t for t in run.told("trial") if t["passed"]]
        assert len(rewarded) <= len(trials)
        return
    least_s = protocol.reward.sustain_s + protocol.reward.refractory_s
    gaps = np.diff([p.frame.seq for p in rewarded]) / RATE_HZ
    assert (gaps >= least_s - 1e-6).all()
    train = run.during(PhaseKind.TRAIN)
    clean = [p for p in train if None not in p.decision.passes]
    assert 0.05 < np.mean([p.decision.joint for p in clean]) < 0.95


@pytest.mark.parametrize("name", NAMES)
def test_the_last_runs_are_measured_and_not_rewarded(name: str) -> None:
    transfer = session(name).during(PhaseKind.TRANSFER)
    assert transfer
    assert all(p.decision.level is None and not p.decision.reward for p in transfer)
    values = np.array([p.frame.values for p in transfer])
    assert np.isfinite(values).any()


def test_closed_eyes_are_asked_for_where_the_protocol_trains_with_them() -> None:
    closed = {
        n for n in NAMES
        if all(p.eyes == "closed" for p in session(n).plan if p.kind is PhaseKind.TRAIN)
    }  # fmt: skip
    assert closed == {"alpha_up_ec", "alpha_theta"}


def test_what_is_watched_is_told() -> None:
    ends = [d for d in session("alpha_theta").told("phase_end") if d["kind"] == "train"]
    assert all(0.0 <= d["crossover"]["crossover_s"] <= d["clean_s"] for d in ends)
    assert all(d["crossover"]["therapeutic"] == 0 for d in ends)


def test_slow_potentials_are_refused_without_the_amplifier() -> None:
    for name in ("scp", "ilf"):
        protocol = load(name, FEATURES).protocol
        for coupled in (False, None):
            with pytest.raises(MontageError, match="slow potential"):
                assemble(
                    SPEC,
                    protocol,
                    expand(protocol, SHORT_S, seed=SEED),
                    mains_hz=50.0,
                    dc_coupled=coupled,
                )


def test_a_source_is_refused_with_fewer_electrodes() -> None:
    fewer = replace(SPEC, channels=tuple(c for c in SPEC.channels if c.name != "P8"))
    protocol = load("source_pcc", FEATURES).protocol
    with pytest.raises(MontageError, match="P8"):
        assemble(fewer, protocol, expand(protocol, SHORT_S, seed=SEED), mains_hz=50.0)


# ---------------------------------------------------------------- the same decisions


def _same(a: Decision, b: Decision) -> bool:
    return repr(a) == repr(b)  # NaN thresholds are equal there


@pytest.mark.parametrize("name", NAMES)
def test_other_pieces_give_the_same_decisions(name: str) -> None:
    run = session(name)
    again, _ = put_together(name)
    again.fold.step(Command(START, "start"))
    rng = np.random.default_rng(NAMES.index(name))
    points: list[Point] = []
    seq = 0
    while seq < len(run.uv):
        n = int(rng.choice([1, 4, 13, 32, 127, 500, 1999]))
        points += again.fold.step(_chunk(seq, run.uv[seq : seq + n]))
        seq = min(len(run.uv), seq + n)
    assert len(points) == len(run.points)
    assert all(_same(p.decision, q.decision) for p, q in zip(points, run.points, strict=True))
    assert [repr(e) for p in points for e in p.events] == [repr(e) for e in run.events]


# ---------------------------------------------------------------- golden decisions


def digest(name: str) -> dict[str, Any]:
    """Return what is kept of a session: counts, and some of its numbers."""
    run = session(name)
    protocol = load(name, FEATURES).protocol
    train = run.during(PhaseKind.TRAIN)
    last = train[-1].decision
    gated = np.array([int(p.frame.gate) != 0 for p in run.points])
    return {
        "n_points": len(run.points),
        "n_gated": int(gated.sum()),
        "phases": [[d["name"], _number(d["clean_s"])] for d in run.told("phase_end")],
        "rewards_at": [p.frame.seq for p in run.points if p.decision.reward],
        "n_joint": sum(p.decision.joint for p in run.points),
        "thresholds": {
            f"{r.feature} {r.direction}": _number(t)
            for r, t in zip(protocol.rules, last.thresholds, strict=True)
        },
        "levels": [_number(p.decision.level) for p in train[::EVERY]],
        "values": {
            f: [_number(p.frame.values[k]) for p in train[:: 8 * EVERY]]
            for k, f in enumerate(protocol.features)
        },
    }


def _number(value: float | None) -> float | None:
    """Return a number with ten digits, None where there is none."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.10g}")


@pytest.mark.parametrize("name", NAMES)
def test_decisions_are_those_on_record(name: str) -> None:
    stored = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    found = digest(name)
    again = "changed on purpose? uv run python -m tests.test_library_runs"
    assert set(found) == set(stored), again
    for key, value in found.items():
        if key in ("n_points", "n_gated", "rewards_at", "n_joint"):
            assert value == stored[key], f"{key}: {again}"
        else:
            _compare(value, stored[key], f"{key}: {again}")


def _compare(found: Any, stored: Any, why: str) -> None:
    """Compare lists, mappings and words as they are, numbers nearly."""
    if isinstance(found, dict):
        assert set(found) == set(stored), why
        for key in found:
            _compare(found[key], stored[key], f"{key} in {why}")
    elif isinstance(found, list):
        assert len(found) == len(stored), why
        for a, b in zip(found, stored, strict=True):
            _compare(a, b, why)
    elif isinstance(found, float) and stored is not None:
        assert found == pytest.approx(stored, rel=RTOL, abs=ATOL), why
    else:
        assert found == stored, why


def test_every_record_belongs_to_a_protocol() -> None:
    assert sorted(p.stem for p in GOLDEN.glob("*.json")) == list(NAMES)


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each in NAMES:
        text = json.dumps(digest(each), separators=(", ", ": "))
        (GOLDEN / f"{each}.json").write_text(text.replace(', "', ',\n"') + "\n", encoding="utf-8")
