"""Thresholds, failure, skipping and repeating around PREPARING, on a small protocol."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.condition import Conditioned
from engine.estimate import fixed_kernel
from engine.features import FEATURES
from engine.frames import Chunk, Command, Event, Float, Gap, Hold, PhaseKind, StreamSpec, frozen
from engine.person import SITES, Person, columns
from engine.pipeline import Point
from protocols.load import Loaded, load
from protocols.plan import expand

RATE_HZ, HOP, GRID_HZ = 250.0, 5, 50.0
PROTOCOL = """\
format: 1
name: small
title: Alpha behind
evidence: {grade: X, summary: "For trials only.", refs: []}
summary: Trains nothing in particular.
needs: {channels: [O1, O2], rate: at least 200 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  right:  {kind: power, at: [O2], band: 8-12 Hz, smooth: 0.5 s}
  left:   {kind: power, at: [O1], band: 8-12 Hz, smooth: 0.5 s}
  asym:   {kind: log_ratio, of: [right, left]}
  size:   {kind: amplitude, at: [O1], band: 8-12 Hz}
  bursts: {kind: burst_amplitude, of: [size], window: WINDOW}
gates: {blink: off, amplitude: on, step: on, muscle: off, saccade: off, motion: off}
baseline:
  - {name: resting, lasts: 24 s, eyes: closed, needs_clean: 10 s, learn: [left, asym, bursts]}
reward:
  feature: asym
  above: {baseline: percentile, success: 65 %}
  sustain: 0.1 s
  refractory: 1 s
inhibit:
  - {feature: bursts, below: {baseline: percentile, success: 95 %}}
feedback:
  level:
    feature: left
    from: {baseline: median, plus: -1 mad}
    to: {baseline: median, plus: 2 mad}
  picture: bar
  sound: {continuous: ambience}
session:
  - baseline
  - {train: 10 s}
"""
START = Command(250, "start")
K = PhaseKind


@pytest.fixture
def science(tmp_path: Path) -> Loaded:
    return loaded(tmp_path)


def loaded(folder: Path, window: str = "6 s") -> Loaded:
    path = folder / "small.yaml"
    path.write_text(PROTOCOL.replace("WINDOW", window), encoding="utf-8")
    return load(path, FEATURES, allow_short=True)


def assembled(science: Loaded) -> Assembly:
    plan = tuple(
        replace(p, lasts_s=1.0) if p.kind is K.READY else p for p in expand(science.protocol)
    )
    spec = StreamSpec("sim", "EEG", "id", "uid", "host", RATE_HZ, columns()[: len(SITES)])
    return assemble(spec, science.protocol, plan, mains_hz=50.0)


@functools.cache
def person(seconds: float) -> Float:
    p = Person(RATE_HZ, seed=1, eyes="closed", jaw=False)
    return frozen(p.read(round(seconds * RATE_HZ))[:, : len(SITES)])


def run(a: Assembly, x: Float, *orders: Command) -> list[Point]:
    for order in (START, *orders):
        a.fold.step(order)
    return a.fold.step(Chunk(0, np.arange(len(x)) / RATE_HZ, x))


def happened(points: list[Point], kind: str) -> list[Event]:
    return [e for p in points for e in p.events if e.kind == kind]


def prepared_at(points: list[Point]) -> int:
    (at,) = (k for k, p in enumerate(points) if p.decision.kind is K.PREPARING)
    return at


def test_no_reward_before_there_is_a_threshold(science: Loaded) -> None:
    points = run(assembled(science), person(42.0))
    at = prepared_at(points)
    assert not any(p.decision.reward or p.decision.joint for p in points[: at + 1])
    assert not happened(points[:at], "threshold")
    told = happened(points[at : at + 1], "threshold")
    assert [e.data["feature"] for e in told] == ["asym", "bursts"]
    rewarded = [p for p in points if p.decision.reward]
    assert rewarded
    for p in rewarded:
        assert p.decision.kind is K.TRAIN
        assert list(p.decision.thresholds) == [e.data["value"] for e in told]
        assert p.frame.values[2] >= p.decision.thresholds[0]
        assert not p.frame.gate
    assert points[-1].decision.kind is K.DONE


def test_the_threshold_is_that_of_what_was_read_again(science: Loaded) -> None:
    a = assembled(science)
    points = run(a, person(40.0))
    assert a.fold.fitted is not None
    (values,) = a.fold.fitted.prepared.values
    asym = values[np.isfinite(values[:, 2]), 2]
    threshold = happened(points, "threshold")[0].data["value"]
    assert (asym >= threshold).mean() == pytest.approx(0.65, abs=0.01)
    (rest,) = happened(points, "resting")
    assert rest.data["features"]["left"]["median"] == pytest.approx(
        np.median(np.log(values[np.isfinite(values[:, 1]), 1]))
    )


def test_failed_is_the_end(tmp_path: Path) -> None:
    points = run(assembled(loaded(tmp_path, "60 s")), person(42.0))
    assert {p.decision.kind for p in points[prepared_at(points) + 1 :]} == {K.FAILED}


def test_a_block_that_teaches_nothing_when_read_again_ends_the_session(tmp_path: Path) -> None:
    """Bursts over 60 s are known nowhere in a block of 24 s."""
    points = run(assembled(loaded(tmp_path, "60 s")), person(42.0))
    at = prepared_at(points)
    assert points[at + 1].decision.kind is K.FAILED
    assert points[-1].decision.kind is K.FAILED
    (failed,) = happened(points, "failed")
    assert failed.seq == points[at].frame.seq
    assert failed.data["sentence"].startswith("Nothing could be learned from the baseline. bursts:")
    assert not any(p.decision.reward for p in points)


def test_skipping_the_rest_of_a_baseline_fits_to_what_there_is(science: Loaded) -> None:
    a = assembled(science)
    points = run(a, person(40.0), Command(1_000, "skip"), Command(5_000, "skip"))
    (refused,) = happened(points, "refused")  # nothing was clean enough yet
    assert refused.seq == 1_000
    at = prepared_at(points)
    assert points[at].frame.seq == 5_000
    assert a.fold.fitted is not None
    (values,) = a.fold.fitted.prepared.values
    # From the second point of the block up to the one before the skip.
    assert len(values) == (5_000 - 500) // HOP - 1
    n = happened(points, "resting")[0].data["features"]["left"]["n"]
    assert n == np.isfinite(values[:, 1]).sum() > 500
    assert math.isfinite(points[at + 1].decision.thresholds[0])


def test_what_was_held_is_not_fitted_to(science: Loaded) -> None:
    a = assembled(science)
    a.fold.step(START)
    for item in (Hold(3_000, True, "stale", "silent"), Hold(3_500, False, "stale")):
        a.fold.step(item)
    points = a.fold.step(Chunk(0, np.arange(11_000) / RATE_HZ, person(44.0)))
    assert a.fold.fitted is not None
    (values,) = a.fold.fitted.prepared.values
    # The first points of the block and behind the hold end hops that are not of the block.
    assert len(values) == 24 * GRID_HZ - 2
    assert happened(points, "phase_end")[1].data["held_s"] == pytest.approx(2.0)


def test_no_hop_reaches_over_a_gap(science: Loaded) -> None:
    """Four samples before the gap and one behind it are not a hop, though there are five."""
    a = assembled(science)
    a.fold.step(START)
    t, x = np.arange(11_000) / RATE_HZ, person(44.0)
    a.fold.step(Chunk(0, t[:3_000], x[:3_000]))
    a.fold.step(Gap(3_000, 60, "lost"))
    a.fold.step(Chunk(3_060, t[3_060:], x[3_060:]))
    assert a.fold.fitted is not None
    (values,) = a.fold.fitted.prepared.values
    assert len(values) == 24 * GRID_HZ - 2


def test_a_site_that_jumped_has_no_past_for_the_filters(science: Loaded) -> None:
    """Two jumps of 5 mV at O1: behind each the kernels see what came since, and nothing before."""
    a = assembled(science)
    seen: list[Conditioned] = []
    step = a.fold.conditioner.step

    def watched(*args: Any) -> Conditioned:
        seen.append(step(*args))
        return seen[-1]

    raw: list[float] = []

    def read(estimates: Any, _: bool) -> Float:
        raw.append(estimates[3])
        return np.full(5, np.nan)

    a.fold.conditioner.step = watched  # type: ignore[method-assign]
    a.fold.bank.step = read  # type: ignore[method-assign]
    x = person(40.0)[:4_000].copy()
    o1 = SITES.index("O1")
    x[1_503:, o1] += 5_000.0
    x[2_502:, o1] -= 5_000.0
    points = a.fold.step(Chunk(0, np.arange(4_000) / RATE_HZ, x))
    column = a.montage.site_names.index("O1")
    begun = [c.seq + row for c in seen for row, sites in c.resets if sites[column]]
    assert len(begun) >= 3
    uv = np.concatenate([c.uv for c in seen])[:, column]
    kernel = fixed_kernel((8.0, 12.0), RATE_HZ)
    n, young = len(kernel.taps), 0
    for p, power in zip(points, raw, strict=True):
        since = max(b for b in begun if b <= p.frame.seq)
        young += p.frame.seq - since < n - 1 and since > 0
        past = uv[max(since, p.frame.seq + 1 - n) : p.frame.seq + 1]
        z = kernel.taps[n - len(past) :] @ past
        assert power == pytest.approx(2.0 * abs(z) ** 2, rel=1e-9)
    assert young > 20


def test_a_repeated_baseline_is_fitted_to_its_accepted_attempt(science: Loaded) -> None:
    """Jumps spoil most of the first attempt: nothing of it is in the fit."""
    x = person(70.0).copy()
    bad = slice(600, 5_600)
    x[bad, SITES.index("O1")] += 300.0 * np.sign(np.sin(np.arange(5_000) / 40.0))
    a = assembled(science)
    points = run(a, x)
    (repeat,) = happened(points, "baseline_repeat")
    begun = [e.seq for e in happened(points, "phase_begin") if e.data["kind"] == "baseline"]
    assert len(begun) == 2
    assert begun[0] < repeat.seq < begun[1]
    at = prepared_at(points)
    # The same person in a room where nothing happened, as far as the fit can tell.
    calm = assembled(science)
    late = person(70.0)[begun[1] - 500 :]
    run(calm, late)
    assert a.fold.fitted is not None
    assert calm.fold.fitted is not None
    one, two = a.fold.fitted, calm.fold.fitted
    assert len(one.prepared.values[0]) == len(two.prepared.values[0]) == 24 * GRID_HZ - 1
    for k, m in zip(one.wiring.kernels, two.wiring.kernels, strict=True):
        assert np.allclose(k.taps, m.taps, rtol=0.0, atol=1e-2 * np.abs(m.taps).max())
    assert points[at].frame.seq == begun[1] + 24 * RATE_HZ
    assert points[-1].decision.kind is K.DONE
