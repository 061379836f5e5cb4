"""A session against the barest loop; five minutes of each with -m slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.transport import (
    BARE,
    EARLY,
    FRAME_S,
    LIMITS,
    PROTOCOL,
    SETTLE_S,
    STEADY,
    Part,
    compared,
    of_recording,
    table,
)
from benchmarks.transport import run as measured
from engine.features import FEATURES
from engine.frames import Channel, Presented, StreamSpec
from engine.record import Recorder
from engine.recording import read
from protocols.load import load

SPEC = StreamSpec("amp", "EEG", "amp", "u", "", 250.0, (Channel("Cz", "eeg", "uV", 1.0, "Cz"),))


def a_part(p50_ms: float, spread_ms: float = 4.0) -> Part:
    return Part(p50_ms + spread_ms * np.linspace(-1.0, 1.0, 101), 60.0, 2)


def test_the_quantiles_and_their_ratios() -> None:
    told = compared(a_part(10.0).ms, a_part(11.0).ms)
    assert told["bare loop"] == pytest.approx({"p50": 10.0, "p95": 13.6, "p99": 13.92, "max": 14.0})
    assert told["ratio"]["p50"] == pytest.approx(1.1)
    assert told["ratio"]["max"] == pytest.approx(15.0 / 14.0)


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [(a_part(11.0), "PASS"), (a_part(12.0), "MISS"), (a_part(11.0, 9.0), "MISS")],
    ids=["within both", "median too long", "95 % too long"],
)
def test_both_limits_decide(mine: Part, verdict: str) -> None:
    made = table({BARE: [a_part(10.0)], EARLY: [mine], STEADY: [a_part(12.0)]})
    assert made.notes[0].startswith(f"{verdict}, {EARLY}:")
    assert made.notes[1].startswith(f"MISS, {STEADY}:")
    assert [row[0] for row in made.rows] == [BARE, EARLY, "ratio to it", STEADY, "ratio to it"]
    assert f"p50 at most {LIMITS['p50']:g}" in made.notes[0]


def test_only_training_after_its_first_moments_counts(tmp_path: Path) -> None:
    began, late = 1000.0, round(SETTLE_S / FRAME_S) + 1
    with Recorder(
        tmp_path / "a.xdf", {}, SPEC, features={"smr": "uV2"}, metrics=("p2p",), rules=("smr",),
        now=lambda: began,
    ) as recorder:  # fmt: skip
        recorder.raw(np.zeros((8, 1), np.float32), began + np.arange(8) / 250.0)
        for k in range(300):
            screen = "instruction" if k < 60 else "feedback"
            delay_s = 0.5 if k < 60 + late else 0.010 + 1e-5 * k
            flip = began + k * FRAME_S
            recorder.presented(
                Presented(5 * k, flip - delay_s, flip, flip, 0.5, False, 0, k + 1, screen)
            )
    part = of_recording(read(tmp_path / "a.xdf"))
    assert len(part.ms) == 300 - 60 - late
    assert part.ms == pytest.approx([10.0 + 0.01 * k for k in range(60 + late, 300)], abs=1e-6)
    assert part.fps == pytest.approx(60.0)
    assert part.missed == 0


def test_the_protocol_of_the_benchmark_is_one(tmp_path: Path) -> None:
    path = tmp_path / "transport.yaml"
    path.write_text(PROTOCOL, encoding="utf-8")
    protocol = load(str(path), FEATURES).protocol
    assert list(protocol.features) == ["smr", "theta", "high_beta"]
    assert protocol.reward is not None


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_session_is_hardly_later_than_the_barest_loop() -> None:
    """C4: five minutes of each, in turns."""
    (made,) = measured(quick=False)
    assert made.notes[0].startswith("PASS"), made.markdown()
