"""Whole sessions across PREPARING: what is fitted in the middle changes no invariant."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble, feature_units
from engine.clock import now
from engine.columns import decision_row, feature_row
from engine.condition import Conditioned
from engine.features import FEATURES
from engine.frames import (
    Chunk,
    Command,
    Event,
    Float,
    Gap,
    Hold,
    Input,
    PhaseKind,
    StreamSpec,
    frozen,
)
from engine.person import SITES, Person, columns
from engine.pipeline import FIXED_EVERY, Point
from engine.record import Recorder
from engine.replay import replay_recording
from protocols.load import Loaded, load
from protocols.plan import expand

RATE_HZ, HOP, GRID_HZ = 250.0, 5, 50.0
PROTOCOL = """\
format: 1
name: everything
title: Every kind of feature
evidence: {grade: X, summary: "For trials only.", refs: []}
summary: Trains nothing in particular.
needs: {channels: [O1, O2, Pz, Cz, C3, F3, P3, Fz], rate: at least 200 Hz}
condition: {reference: average, high_pass: 1 Hz, mains: notch}
features:
  z_c:      {kind: z, of: [coh]}
  above:    {kind: share_above, of: [asym], window: 4 s}
  asym:     {kind: log_ratio, of: [right, left]}
  right:    {kind: power, at: [O2], band: iaf-2 .. iaf+2, delay: 50 ms, smooth: 0.5 s}
  left:     {kind: power, at: [O1], band: iaf-2 .. iaf+2, delay: 50 ms, smooth: 0.5 s}
  index:    {kind: asymmetry_index, of: [right, left]}
  theta:    {kind: power, at: [Fz], band: 4-8 Hz, spatial: laplacian}
  smr:      {kind: amplitude, at: [Cz], band: 12-15 Hz, fit: fixed}
  tbr:      {kind: ratio, of: [theta, left]}
  share:    {kind: relative_power, at: [Pz, Cz], band: 8-12 Hz}
  over:     {kind: periodic_power, at: [Pz], band: iaf-2 .. iaf+2, smooth: 1 s}
  rhythm:   {kind: power, at: [O1], band: iaf-2 .. iaf+2, target: rhythm, spatial: ssd}
  size:     {kind: amplitude, at: [Pz, O1], band: iaf-2 .. iaf+2, delay: 150 ms}
  mix:      {kind: power, at: [C3], band: 15-20 Hz, spatial: {C3: 1, F3: -0.5, P3: -0.5}}
  rate:     {kind: burst_rate, of: [size], window: 6 s}
  duration: {kind: burst_duration, of: [size], window: 6 s}
  height:   {kind: burst_amplitude, of: [size], window: 6 s}
  coh:      {kind: coherence, at: [O1, C3], band: 8-12 Hz, window: 1 s}
  wpli:     {kind: wpli, at: [O1, C3], band: 8-12 Hz, window: 1 s}
  env:      {kind: envelope_correlation, at: [O1, O2], band: 8-12 Hz, window: 1 s}
  z:        {kind: z, of: [asym]}
  reach:    {kind: peak_to_peak, at: [Cz]}
  scp:      {kind: slow_potential, at: [Cz]}
gates: {blink: on, amplitude: on, step: on, muscle: on}
baseline:
  - {name: closed, lasts: 27 s, eyes: closed, needs_clean: 10 s, for: [iaf]}
  - {name: resting, lasts: 24 s, eyes: closed, needs_clean: 10 s, learn: [asym, left, z, LEARN]}
reward:
  feature: asym
  above: {baseline: percentile, success: 65 %}
  sustain: 0.1 s
  refractory: 1 s
inhibit:
  - {feature: size, below: {fixed: 400 uV}}
feedback:
  level:
    feature: left
    from: {baseline: median, plus: -1 mad}
    to: {baseline: median, plus: 2 mad}
  picture: bar
  sound: {continuous: ambience}
session:
  - baseline
  - {train: 8 s}
"""
START = Command(250, "start")
SPEC = StreamSpec("sim", "EEG", "id", "uid", "host", RATE_HZ, columns())
K = PhaseKind


def loaded(folder: Path, learn: str = "height") -> Loaded:
    path = folder / "everything.yaml"
    path.write_text(PROTOCOL.replace("LEARN", learn), encoding="utf-8")
    return load(path, FEATURES, allow_short=True)


def assembled(science: Loaded, spec: StreamSpec = SPEC) -> Assembly:
    plan = tuple(
        replace(p, lasts_s=1.0) if p.kind is K.READY else p for p in expand(science.protocol)
    )
    return assemble(spec, science.protocol, plan, mains_hz=50.0, dc_coupled=True)


@functools.cache
def person(seconds: float = 68.0, seed: int = 1) -> Float:
    p = Person(RATE_HZ, seed=seed, eyes="closed", jaw=False, alpha_hz=9.3)
    return frozen(p.read(round(seconds * RATE_HZ)))


def chunks(x: Float, size: int, gaps: dict[int, int], orders: tuple[Input, ...]) -> list[Input]:
    """Cut into pieces, small ones around PREPARING; `gaps`: row of x to samples missing before."""
    out: list[Input] = list(orders)
    at = seq = 0
    while at < len(x):
        if at in gaps:
            out.append(Gap(seq, gaps[at], "lost"))
            seq += gaps[at]
        most = size if 12_500 <= at < 15_500 else max(size, 700)
        n = min([most, len(x) - at, *(g - at for g in gaps if g > at)])
        out.append(Chunk(seq, frozen(1000.0 + (seq + np.arange(n)) / RATE_HZ), x[at : at + n]))
        at, seq = at + n, seq + n
    return out


def run(a: Assembly, items: list[Input]) -> list[Point]:
    return [p for i in items for p in a.fold.step(i)]


def rows(points: list[Point]) -> Float:
    return np.array([
        [*feature_row(p.frame), p.frame.t, *p.frame.metrics, *decision_row(p.decision)]
        for p in points
    ])  # fmt: skip


def happened(points: list[Point], kind: str) -> list[Event]:
    return [e for p in points for e in p.events if e.kind == kind]


def said(points: list[Point]) -> list[str]:
    return [repr(e) for p in points for e in p.events]


def prepared_at(points: list[Point]) -> int:
    """Return the position of the point at which everything is fitted."""
    (at,) = (k for k, p in enumerate(points) if p.decision.kind is K.PREPARING)
    return at


@pytest.fixture(scope="module")
def science(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return loaded(tmp_path_factory.mktemp("science"))


# gaps in the resting block, in its last hops and in the hop after PREPARING; a hold, orders
GAPS = {9000: 60, 13_880: 33, 13_902: 7}
ORDERS: tuple[Input, ...] = (
    START,
    Hold(10_005, True, "stale", "silent"),
    Hold(10_400, False, "stale"),
    Command(11_000, "note", text="x"),
    Command(11_335, "mark_bad", target="T8"),
    Command(16_000, "threshold", target="asym", value=0.01, text="why"),
)


@pytest.fixture(scope="module")
def eventful(science: Loaded) -> list[Point]:
    return run(assembled(science), chunks(person(), 5000, GAPS, ORDERS))


@pytest.fixture(scope="module")
def quiet(science: Loaded) -> tuple[Assembly, list[Point], Float, list[tuple[int, Any]]]:
    """Return an undisturbed session, and its signal after conditioning."""
    a = assembled(science)
    seen: list[Conditioned] = []
    step = a.fold.conditioner.step

    def watched(*args: Any) -> Conditioned:
        seen.append(step(*args))
        return seen[-1]

    a.fold.conditioner.step = watched  # type: ignore[method-assign]
    points = run(a, chunks(person(seed=2), 1000, {}, (START,)))
    resets = [(c.seq + row, mask) for c in seen for row, mask in c.resets]
    return a, points, np.concatenate([c.uv for c in seen]), resets


# ---------------------------------------------------------------- the invariants across PREPARING


@pytest.mark.parametrize("size", [1, 7, 24, 400])
def test_chunks_of_any_size(size: int, science: Loaded, eventful: list[Point]) -> None:
    at = prepared_at(eventful)
    missing = np.diff([p.frame.seq for p in eventful]) != HOP
    assert missing[at - 20 : at].any()
    assert missing[at : at + 3].any()
    again = run(assembled(science), chunks(person(), size, GAPS, ORDERS))
    assert np.array_equal(rows(eventful), rows(again), equal_nan=True)
    assert said(eventful) == said(again)


@pytest.mark.parametrize("after", [-2, 1, 800])
def test_the_future_changes_nothing(after: int, science: Loaded, eventful: list[Point]) -> None:
    """Noise from two samples before, right behind and well behind the point of the fit."""
    fitted_seq = eventful[prepared_at(eventful)].frame.seq
    cut = fitted_seq + after
    row = np.arange(len(person()))
    end = int((row + sum(m * (row >= g) for g, m in GAPS.items()) < cut).sum())
    x = person()[: end + 400].copy()
    x[end:] = 1e3 * np.random.default_rng(1).normal(size=x[end:].shape)
    points = run(assembled(science), chunks(frozen(x), 500, GAPS, ORDERS))
    n = sum(p.frame.seq < cut for p in eventful)
    assert eventful[n - 1].frame.seq < cut <= eventful[n].frame.seq
    one, other = rows(eventful[:n]), rows(points[:n])
    assert np.array_equal(one, other, equal_nan=True)
    assert n < len(points)


def test_a_recording_replays_to_the_same_decisions(science: Loaded, tmp_path: Path) -> None:
    channels = SPEC.channels[: len(SITES)]
    spec = replace(SPEC, channels=channels)
    a = assembled(science, spec)
    header = {
        "client": "T1",
        "use": "test",
        "short_s": 30.0,
        "protocol": science.protocol.model_dump(mode="json"),
        "plan": a.decider.plan,
        "mains_hz": 50.0,
        "range_uv": None,
        "dc_coupled": True,
    }
    path = tmp_path / "session.xdf"
    recorder = Recorder(
        path,
        header,
        spec,
        features=feature_units(science.protocol),
        metrics=a.fold.gates.metric_names,
        rules=[r.feature for r in science.protocol.rules],
        now=now,
    )
    x = np.asarray(person(seed=3)[:, : len(SITES)], np.float32)
    rewards = 0
    for item in chunks(x.astype(np.float64), 250, {}, ORDERS):
        if isinstance(item, Chunk):
            recorder.raw(item.uv.astype(np.float32), item.t)
        else:
            recorder.input(item)
        for p in a.fold.step(item):
            recorder.feature(p.frame)
            recorder.decision(p.decision)
            rewards += p.decision.reward
            for event in p.events:
                recorder.event(event)
    recorder.close()
    assert rewards > 0
    again = replay_recording(path)
    assert again.comparison is not None
    assert again.comparison.identical, again.comparison.sentence
    assert a.fold.fitted is not None
    assert again.assembly.fold.fitted is not None
    for one, two in zip(
        a.fold.fitted.wiring.kernels, again.assembly.fold.fitted.wiring.kernels, strict=True
    ):
        assert np.array_equal(one.taps, two.taps)


# ---------------------------------------------------------------- the numbers themselves


def test_what_is_fitted_is_told(quiet: tuple[Assembly, list[Point], Float, Any]) -> None:
    _, points, _, _ = quiet
    at = prepared_at(points)
    (iaf,) = happened(points, "iaf")
    assert (iaf.data["source"], iaf.seq) == ("measured", points[at].frame.seq)
    assert iaf.data["used_hz"] == pytest.approx(9.3, abs=0.3)
    told = {(e.data["feature"], e.data["beside"]): e.data for e in happened(points, "fit")}
    assert told["smr", False]["reason"] == "asked for"
    assert told["size", False]["fit"] == "course"  # compared with a fixed value
    assert all(d["block"] == "resting" for d in told.values())
    assert {e.data["name"] for e in happened(points, "resting")} == {"resting"}
    order = [e.kind for e in points[at].events]
    assert order.index("iaf") < order.index("fit") < order.index("resting")
    assert order.index("resting") < order.index("threshold")


def test_values_are_kernels_over_the_conditioned_signal(
    quiet: tuple[Assembly, list[Point], Float, list[tuple[int, Any]]],
) -> None:
    """Recomputed sample by sample from what is in force, with the smoothing written out."""
    a, points, uv, resets = quiet
    fitted = a.fold.fitted
    assert fitted is not None
    assert [seq for seq, _ in resets] == [0]
    names = [d.name for d in fitted.defs]
    after = points[prepared_at(points) + 1 :]
    clean = [p for p in after if not p.frame.gate]
    assert len(clean) > 300
    power: dict[str, Float] = {}
    for demand, source in zip(fitted.wiring.demands, fitted.wiring.sources, strict=True):
        if demand.beside:
            continue
        kernel = fitted.wiring.kernels[source.kernel]
        x = uv[:, a.fold.estimator.columns]
        x = x[:, source.columns] if source.weights is None else x @ source.weights.T
        z = np.array([
            [kernel.taps @ x[p.frame.seq + 1 - len(kernel.taps) : p.frame.seq + 1, k]
             for k in range(x.shape[1])]
            for p in clean
        ])  # fmt: skip
        power[names[demand.feature]] = (2.0 * np.abs(z) ** 2 * source.gains).mean(axis=1)
    got = {n: np.array([p.frame.values[i] for p in clean]) for i, n in enumerate(names)}
    for name in ("theta", "rhythm", "mix"):
        assert got[name] == pytest.approx(power[name], rel=1e-7), name
    assert got["size"] == pytest.approx(np.sqrt(power["size"]), rel=1e-7)
    for name in ("left", "right"):
        w = math.exp(-1.0 / (0.5 * GRID_HZ))
        expected, s, total = [], 0.0, 0.0
        for p in power[name].tolist():
            s, total = w * s + p, w * total + 1.0
            expected.append(s / total)
        assert got[name] == pytest.approx(expected, rel=1e-7), name
    assert np.isfinite(got["z_c"][-100:]).all()


def test_the_fixed_estimators_run_beside(quiet: tuple[Assembly, list[Point], Float, Any]) -> None:
    a, points, uv, _ = quiet
    fitted = a.fold.fitted
    assert fitted is not None
    at = prepared_at(points)
    assert all(len(p.frame.fixed_uv2) == 0 for p in points[: at + 1])
    names = [d.name for d in fitted.defs]
    has = [
        i for i, d in enumerate(fitted.defs) if d.kind in ("power", "amplitude", "periodic_power")
    ]
    kernel = next(
        k for k in fitted.fixed.kernels if k.band_hz == fitted.defs[names.index("size")].band_hz
    )
    sites = [a.fold.settings.features[names.index("size")].sites][0]
    for p in points[at + 1 :]:
        if (p.frame.seq // HOP) % FIXED_EVERY:
            assert np.isnan(p.frame.fixed_uv2).all()
            continue
        assert np.isfinite(p.frame.fixed_uv2).nonzero()[0].tolist() == has
        window = uv[p.frame.seq + 1 - len(kernel.taps) : p.frame.seq + 1][:, list(sites)]
        expected = (2.0 * np.abs(kernel.taps @ window) ** 2).mean()
        assert p.frame.fixed_uv2[names.index("size")] == pytest.approx(expected, rel=1e-7)
