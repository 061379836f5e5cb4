"""The fold: order, gaps, orders between grid points, and what a decider hears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.condition import ConditionSettings
from engine.features import FeatureDef
from engine.frames import (
    Chunk,
    Command,
    FeatureFrame,
    Float,
    Gap,
    Gate,
    Hold,
)
from engine.gates import GateLimits, GateRule, GateSettings
from engine.pipeline import Fold, FoldSettings
from engine.reference import Montage

RATE_HZ, HOP = 250.0, 5


@dataclass
class Listener:
    """A decider that remembers what it was told."""

    relearn: Any
    frames: list[FeatureFrame] = field(default_factory=list)
    heard: list[tuple[int, Command | Hold]] = field(default_factory=list)
    limits: dict[int, GateLimits] = field(default_factory=dict)

    def step(self, frame: FeatureFrame, inputs: Sequence[Command | Hold]) -> Any:
        self.frames.append(frame)
        self.heard += [(frame.seq, i) for i in inputs]
        return SimpleNamespace(
            decision=frame.seq, events=(), real=None, limits=self.limits.get(frame.seq)
        )  # fmt: skip


def fold(
    defs: Sequence[FeatureDef] = (FeatureDef("a", "power", (0,), band_hz=(8.0, 12.0)),),
    *,
    gates: bool = True,
    subtract: tuple[tuple[int, ...], ...] = ((), (), ()),
    hop: int = HOP,
) -> tuple[Fold, Listener]:
    montage = Montage((0, 1, 2), ("C3", "C4", "Fp1"), (True,) * 3, (0, 1, 2), "test", subtract)
    on = GateRule(gates, (0,))
    settings = FoldSettings(
        RATE_HZ,
        hop,
        ConditionSettings(RATE_HZ, hop, montage, 1.0, 50.0),
        GateSettings(RATE_HZ, hop, on, GateRule(gates, (2,)), on, on, (0,), 50.0, False),
        tuple(defs),
    )
    made: list[Listener] = []

    def make(relearn: Any, prepare: Any) -> Any:
        made.append(Listener(relearn))
        return made[0]

    return Fold(settings, make), made[0]


def chunk(seq: int, n: int, seed: int = 1) -> Chunk:
    return Chunk(seq, (seq + np.arange(n)) / RATE_HZ + 1000.0, eeg(seq + n, seed)[seq:])


def eeg(n: int, seed: int = 1) -> Float:
    return np.random.default_rng(seed).normal(0, 5, (n, 3))


# ---------------------------------------------------------------- the grid


def test_points_are_the_multiples_of_the_hop_with_their_own_stamps() -> None:
    f, _ = fold()
    points = f.step(chunk(0, 23))
    assert [p.frame.seq for p in points] == [0, 5, 10, 15, 20]
    assert [p.frame.t for p in points] == [1000.0 + k / RATE_HZ for k in (0, 5, 10, 15, 20)]
    assert [p.decision for p in points] == [0, 5, 10, 15, 20]
    assert (f.next_seq, f.next_grid) == (23, 25)
    assert [p.frame.seq for p in f.step(chunk(23, 3))] == [25]
    assert f.next_grid == 30


def test_nothing_in_nothing_out() -> None:
    f, _ = fold()
    assert f.step(chunk(0, 0)) == []
    assert f.next_seq == 0
    assert len(f.step(chunk(0, 1))) == 1
    assert f.step(chunk(1, 0)) == []
    assert f.step(chunk(1, 4)) == []


def test_samples_must_come_in_order() -> None:
    f, _ = fold()
    f.step(chunk(0, 10))
    for wrong in (chunk(9, 5), chunk(11, 5), Gap(9, 3, "x"), Gap(12, 3, "x")):
        with pytest.raises(ValueError, match="expected 10"):
            f.step(wrong)
    assert f.next_seq == 10


# ---------------------------------------------------------------- orders and holds


def test_an_order_is_told_at_its_grid_point_and_once() -> None:
    f, listener = fold()
    orders = [Command(10, "pause"), Hold(10, True, "stale"), Command(30, "resume")]
    for order in orders:
        assert f.step(order) == []
    f.step(chunk(0, 60))
    assert listener.heard == [(10, orders[0]), (10, orders[1]), (30, orders[2])]


def test_an_order_between_grid_points_is_told_at_the_next_one() -> None:
    f, listener = fold()
    f.step(Command(7, "note", text="a"))
    f.step(chunk(0, 20))
    assert [seq for seq, _ in listener.heard] == [10]


def test_an_order_for_the_past_is_an_error() -> None:
    f, _ = fold()
    f.step(chunk(0, 11))
    with pytest.raises(ValueError, match="decided already"):
        f.step(Command(10, "pause"))
    f.step(Command(f.next_grid, "pause"))


def test_an_order_within_a_gap_is_told_after_it() -> None:
    f, listener = fold()
    f.step(chunk(0, 20))
    f.step(Command(40, "pause"))
    f.step(Gap(20, 103, "lost"))
    f.step(chunk(123, 20))
    assert [seq for seq, _ in listener.heard] == [125]


def test_a_marked_channel_leaves_the_reference_from_its_grid_point_on() -> None:
    """The same whether the order came long before or just in time."""
    results = []
    for early in (True, False):
        f, _ = fold(gates=False, subtract=((1, 2), (), ()))
        order = Command(600, "mark_bad", target="C4")
        if early:
            f.step(order)
        points = f.step(chunk(0, 597))
        if not early:
            f.step(order)
        points += f.step(chunk(597, 800))
        results.append(np.array([p.frame.values for p in points]))
    assert np.array_equal(*results, equal_nan=True)
    plain, _ = fold(gates=False, subtract=((1, 2), (), ()))
    same = np.array([p.frame.values for p in plain.step(chunk(0, 1397))])
    differs = (results[0] != same).any(axis=1) & np.isfinite(same).all(axis=1)
    assert np.flatnonzero(differs)[0] * HOP == 600


def test_a_marked_needed_channel_is_gated_from_its_grid_point_on() -> None:
    f, listener = fold()
    f.step(Command(800, "mark_bad", target="C3"))
    f.step(chunk(0, 1000))
    marked = [fr.seq for fr in listener.frames if fr.gate & Gate.MARKED]
    assert marked == list(range(800, 1000, 5))
    assert [seq for seq, _ in listener.heard] == [800]


# ---------------------------------------------------------------- gaps


def test_a_gap_moves_the_count_and_gates_until_everything_is_full_again() -> None:
    f, listener = fold()
    f.step(chunk(0, 1000))
    assert listener.frames[-1].gate == 0
    f.step(Gap(1000, 47, "lost"))
    points = f.step(chunk(1047, 1000))
    assert points[0].frame.seq == 1050
    gated = [p.frame.seq for p in points if p.frame.gate]
    assert all(p.frame.gate & Gate.GAP for p in points[: len(gated)])
    assert gated[-1] == pytest.approx(1047 + f.settle_s() * RATE_HZ, abs=2 * HOP)
    assert all(np.isnan(p.frame.values).all() for p in points[: len(gated)])


def test_after_a_gap_the_fold_is_as_fresh_as_at_the_start() -> None:
    defs = (
        FeatureDef("a", "power", (0,), band_hz=(8.0, 12.0)),
        FeatureDef("p", "peak_to_peak", (0,), window_s=0.5),
    )
    f, _ = fold(defs)
    f.step(chunk(0, 1003, seed=9))
    f.step(Gap(1003, 97, "lost"))
    x = eeg(1500)
    after = f.step(Chunk(1100, np.arange(1500) / RATE_HZ, x))
    fresh, _ = fold(defs)
    first = fresh.step(Chunk(0, np.arange(1500) / RATE_HZ, x))
    n = 0
    for a, b in zip(after, first, strict=True):
        if a.frame.gate == b.frame.gate == 0:
            # The window of the second feature may be clean one point later.
            both = np.isfinite(a.frame.values) & np.isfinite(b.frame.values)
            n += int(both.all())
            assert np.array_equal(a.frame.values[both], b.frame.values[both])
    assert n > 150


@pytest.mark.parametrize(
    ("before", "missing", "expected"), [(5, 1, 1), (1, 4, 0), (1, 5, 1), (0, 5, 1), (4, 20, 4)]
)
def test_the_smoothing_hears_of_exactly_the_missing_points(
    before: int, missing: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    f, _ = fold()
    heard: list[int] = []
    monkeypatch.setattr(f.bank, "gap", heard.append)
    f.step(chunk(0, before))
    f.step(Gap(before, missing, "lost"))
    assert heard == [expected]


# ---------------------------------------------------------------- features and limits


def test_one_filter_serves_every_feature_of_its_band() -> None:
    band = (8.0, 12.0)
    f, listener = fold(
        (
            FeatureDef("a", "power", (0,), band_hz=band),
            FeatureDef("b", "power", (1, 0), band_hz=band),
            FeatureDef("c", "amplitude", (1,), band_hz=band),
        ),
        gates=False,
    )
    assert len(f.wiring.kernels) == 1
    f.step(chunk(0, 1000))
    a, b, c = listener.frames[-1].values
    assert c**2 == pytest.approx(2.0 * b - a)


def test_learned_limits_apply_from_the_next_grid_point_on() -> None:
    f, listener = fold()
    listener.limits[900] = GateLimits(np.zeros(3), learned=True)
    f.step(chunk(0, 1000))
    closed = [fr.seq for fr in listener.frames if fr.seq > 500 and fr.gate]
    assert closed == list(range(905, 1000, 5))


def test_metrics_are_in_the_order_of_their_names() -> None:
    f, listener = fold()
    f.step(chunk(0, 500))
    assert len(f.gates.metric_names) == 3
    assert listener.frames[-1].metrics.shape == (3,)


def test_untrusted_is_unknown_and_unknown_is_untrusted() -> None:
    f, listener = fold()
    f.step(chunk(0, 1000))
    for frame in listener.frames:
        assert np.array_equal(frame.trusted, np.isfinite(frame.values))
        assert frame.trusted.all() == (frame.gate == 0)


@pytest.mark.parametrize("hop", [1, 2, 7])
def test_any_hop(hop: int) -> None:
    f, listener = fold(hop=hop)
    f.step(chunk(0, 400))
    f.step(chunk(400, 333))
    assert [fr.seq for fr in listener.frames] == list(range(0, 733, hop))
