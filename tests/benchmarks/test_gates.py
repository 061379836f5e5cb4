"""Every gate where the truth is known to the sample: floors of what the benchmark reports."""

from __future__ import annotations

from typing import Literal

import pytest

from benchmarks.gates import ARTEFACTS, FAULTS, caught, costs, stretch, table
from engine.frames import Gate

LEAST = {"saccade": 0.85}  # the smallest looks are no larger than the simulated background
FLOOR_SEEDS = (1, 2)


def test_each_gate_sees_what_it_is_for() -> None:
    seen = [stretch(seed, tuple(ARTEFACTS), lasts_s=150.0) for seed in FLOOR_SEEDS]
    for kind in ARTEFACTS:
        counts = [caught(one, kind) for one in seen]
        n = sum(c.happened for c in counts)
        assert n >= 4
        assert sum(c.own for c in counts) >= LEAST.get(kind, 1.0) * n, kind


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_an_electrode_or_stream_is_seen(fault: str) -> None:
    counts = caught(stretch(3, fault=fault, lasts_s=90.0), fault)
    assert counts.own == counts.happened >= 3


@pytest.mark.parametrize("eyes", ["open", "closed"])
def test_a_still_person_is_hardly_ever_gated(eyes: Literal["open", "closed"]) -> None:
    shares = [stretch(seed, eyes=eyes, lasts_s=150.0).share(~Gate.OPEN) for seed in FLOOR_SEEDS]
    assert max(shares) < 0.02


def test_a_clench_costs_its_own_time_and_little_more() -> None:
    """Filters used to start anew at every jump of a clench, and settled for 2 s after each."""
    for seed in FLOOR_SEEDS:
        seen = stretch(seed, ("muscle",), lasts_s=150.0)
        assert seen.share(Gate.WARMUP) < 0.03
        lost_s = seen.share(~Gate.OPEN) * 146.0
        assert lost_s < 3.0 * len(seen.events("muscle"))


def test_the_tables_name_every_gate_once() -> None:
    made = table((1,), lasts_s=62.0)
    assert [row[0] for row in made.rows] == [*ARTEFACTS, *FAULTS, "any"]
    assert all(len(row) == len(made.columns) for row in made.rows)
    assert [row[0] for row in costs((1,), lasts_s=62.0).rows] == [*ARTEFACTS]
