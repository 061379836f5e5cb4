"""Properties that hold for every stage and for the whole fold, whatever the data.

Invariant 2 (chunk invariance), 4 (causality) and 5 (inputs stay as they were, nothing in gives
nothing out, what is no number never enters a filter) of the design, on data with everything that
goes wrong in a room.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st

from engine.assemble import assemble
from engine.columns import decision_row, feature_row
from engine.features import FEATURES
from engine.frames import Chunk, Command, Float, Gap, Gate, Hold, Input, Phase, StreamSpec, frozen
from engine.person import SITES, Person, columns
from engine.pipeline import Fold, Point
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

RATE_HZ = 250.0
SECONDS = 26
COUNTED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phases.explicit, Phases.generate],  # a smaller example would take minutes to find
    suppress_health_check=[HealthCheck.too_slow],
)


def protocol(reference: str = "average") -> Protocol:
    """Return theta/beta at Cz with one feature of every other kind beside it."""
    p = load("tbr_down", FEATURES).protocol
    power = p.features["theta"]

    def feature(**changes: Any) -> Any:
        return power.model_copy(update=changes)

    more = {
        "alpha": feature(at=("O1", "O2", "Pz"), band_hz=(8.0, 12.0), smooth_s=None),
        "size": feature(kind="amplitude", at=("Cz",), band_hz=(12.0, 15.0)),
        "share": feature(kind="relative_power", at=("O1", "Cz"), band_hz=(8.0, 12.0)),
        "balance": feature(kind="log_ratio", at=(), of=("theta", "alpha"), band_hz=None),
        "reach": feature(kind="peak_to_peak", at=("Cz", "O1"), band_hz=None, smooth_s=None),
    }
    condition = p.condition.model_copy(update={"reference": (reference,)})
    return p.model_copy(update={"features": {**p.features, **more}, "condition": condition})


PROTOCOL = {name: protocol(name) for name in ("average", "as recorded", "F7")}
PLAN: tuple[Phase, ...] = expand(PROTOCOL["average"], 60.0)


def fold(reference: str = "average") -> Fold:
    spec = StreamSpec("sim", "EEG", "id", "uid", "host", RATE_HZ, columns())
    return assemble(spec, PROTOCOL[reference], PLAN, mains_hz=50.0).fold


def person(seed: int = 1, seconds: int = SECONDS) -> Float:
    return Person(RATE_HZ, seed=seed).read(round(seconds * RATE_HZ))


def broken(seed: int) -> Float:
    """Return a person whose amplifier has a bad day."""
    x = person(seed)
    rng = np.random.default_rng(seed)
    n, cz, o1 = len(x), SITES.index("Cz"), SITES.index("O1")

    def when(lasts: int = 1) -> slice:
        at = int(rng.integers(0, n - lasts))
        return slice(at, at + lasts)

    x[when(7), cz] = np.nan
    x[when(), :] = np.inf
    x[when(30), :19] = np.nan
    x[when(3), SITES.index("F3")] = -np.inf
    x[when(), o1] = 1e300
    x[when(), cz] = -np.finfo(float).max
    x[when(), SITES.index("T7")] = 1e9
    flat = when(600)
    x[flat, o1] = x[flat.start, o1]
    flat = when(2000)
    x[flat, SITES.index("Fp1") : SITES.index("Fp2") + 1] = 12.0
    x[when(40), cz] = 500_000.0
    for column in (cz, o1, SITES.index("P4")):
        x[int(rng.integers(0, n)) :, column] += rng.choice([-1, 1]) * 10.0 ** rng.uniform(2, 5)
    return x


@dataclass(frozen=True)
class Happening:
    """A session's inputs apart from samples: gaps first, all in order of their sample."""

    gaps: tuple[tuple[int, int], ...]  # (seq, missing)
    orders: tuple[Command | Hold, ...]


@st.composite
def happenings(draw: st.DrawFn) -> Happening:
    hop, n = 5, round(SECONDS * RATE_HZ)
    places = sorted(draw(st.lists(st.integers(1, n - 1), max_size=3, unique=True)))
    gaps, shift = [], 0
    for at in places:
        missing = draw(st.integers(1, 900))
        gaps.append((at + shift, missing))
        shift += missing
    kinds = (
        lambda s: Command(s, "pause"),
        lambda s: Command(s, "resume"),
        lambda s: Command(s, "mark_bad", target="T8"),
        lambda s: Command(s, "mark_bad", target="Fp1"),
        lambda s: Command(s, "note", text="x"),
        lambda s: Command(s, "skip"),
        lambda s: Command(s, "threshold", target="tbr", value=2.0, text="why"),
        lambda s: Hold(s, True, "stale", "no samples"),
        lambda s: Hold(s, False, "stale"),
    )
    drawn = draw(
        st.lists(
            st.tuples(st.integers(60, (n + shift) // hop - 1), st.integers(0, len(kinds) - 1)),
            max_size=8,
        )
    )
    orders = [Command(500, "start")]
    orders += [kinds[k](hop * g) for g, k in sorted(drawn, key=lambda d: d[0])]
    return Happening(tuple(gaps), tuple(sorted(orders, key=lambda o: o.seq)))


def inputs(x: Float, happening: Happening, sizes: list[int]) -> list[Input]:
    """Cut the samples into chunks of `sizes` (the last one repeats), gaps and orders between."""
    out: list[Input] = []
    orders = list(happening.orders)
    gaps = list(happening.gaps)
    at, seq, k = 0, 0, 0
    while at < len(x):
        n = min(sizes[min(k, len(sizes) - 1)] if sizes else len(x), len(x) - at)
        k += 1
        if gaps and gaps[0][0] == seq:
            _, missing = gaps.pop(0)
            while orders and orders[0].seq < seq + missing:
                out.append(orders.pop(0))
            out.append(Gap(seq, missing, "lost"))
            seq += missing
            continue
        if gaps:
            n = min(n, gaps[0][0] - seq)
        # An order is known before its sample, and never before an earlier one.
        while orders and orders[0].seq < seq + n:
            out.append(orders.pop(0))
        t = frozen(1000.0 + (seq + np.arange(n)) / RATE_HZ)
        out.append(Chunk(seq, t, frozen(x[at : at + n].copy())))
        at, seq = at + n, seq + n
    return out


def rows(points: list[Point]) -> Float:
    """Return everything that a recording would hold of the points."""
    return np.array(
        [
            [*feature_row(p.frame), p.frame.t, *p.frame.metrics, *decision_row(p.decision)]
            for p in points
        ]
    )


def run(given_inputs: list[Input], reference: str = "average") -> list[Point]:
    f = fold(reference)
    return [p for i in given_inputs for p in f.step(i)]


# ---------------------------------------------------------------- 2 chunk invariance


@pytest.mark.parametrize("reference", ["average", "F7"])
@COUNTED
@given(
    seed=st.integers(1, 4),
    happening=happenings(),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=40),
)
def test_2_any_slicing_gives_the_same_decisions(
    reference: str, seed: int, happening: Happening, sizes: list[int]
) -> None:
    x = broken(seed)
    whole, sliced = (run(inputs(x, happening, s), reference) for s in ([], sizes))
    assert np.array_equal(rows(whole), rows(sliced), equal_nan=True)
    assert [p.events for p in whole] == [p.events for p in sliced]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 49, 50, 51, 4096])
def test_2_every_usual_chunk_size(size: int) -> None:
    x = broken(5)[:2500]
    nothing = Happening((), (Command(500, "start"),))
    whole, sliced = (rows(run(inputs(x, nothing, s))) for s in ([], [size]))
    assert np.array_equal(whole, sliced, equal_nan=True)


def test_2_memory_layout_does_not_matter() -> None:
    """Columns of a larger array, Fortran order, read-only: the same numbers."""
    x = broken(2)[:3000]
    t = np.arange(3000) / RATE_HZ
    wide = np.zeros((3000, 40))
    wide[:, 5 : 5 + x.shape[1]] = x
    variants = [x, np.asfortranarray(x), wide[:, 5 : 5 + x.shape[1]], frozen(x.copy())]
    results = [rows(fold().step(Chunk(0, t, v))) for v in variants]
    for other in results[1:]:
        assert np.array_equal(results[0], other, equal_nan=True)


# ---------------------------------------------------------------- 4 causality


@COUNTED
@given(
    seed=st.integers(1, 4),
    happening=happenings(),
    end=st.integers(1, round(SECONDS * RATE_HZ)),
    size=st.integers(1, 700),
)
def test_4_the_future_changes_nothing(seed: int, happening: Happening, end: int, size: int) -> None:
    x = broken(seed)
    changed = x.copy()
    changed[end:] = 1e4 * np.random.default_rng(seed).normal(size=changed[end:].shape)
    one, other = (rows(run(inputs(v, happening, [size]))) for v in (x, changed))
    cut = rows(run(inputs(x[:end], happening, [])))
    n = len(cut)
    assert np.array_equal(cut, one[:n], equal_nan=True)
    assert np.array_equal(one[:n], other[:n], equal_nan=True)


# ---------------------------------------------------------------- 5 hygiene


@COUNTED
@given(seed=st.integers(1, 4), happening=happenings(), size=st.integers(1, 700))
def test_5_inputs_stay_as_they_were_and_outputs_are_finite(
    seed: int, happening: Happening, size: int
) -> None:
    given_inputs = inputs(broken(seed), happening, [size])
    before = copy.deepcopy(given_inputs)
    points = run(given_inputs)
    for a, b in zip(given_inputs, before, strict=True):
        if isinstance(a, Chunk) and isinstance(b, Chunk):
            assert a.seq == b.seq
            assert np.array_equal(a.uv, b.uv, equal_nan=True)
            assert np.array_equal(a.t, b.t)
        else:
            assert a == b
    assert points
    for p in points:
        assert np.isfinite(p.frame.metrics).all()
        assert not np.isinf(p.frame.values).any()
        assert np.isfinite(p.frame.values[p.frame.trusted]).all()
        if p.frame.gate:
            assert not p.frame.trusted.any()
            assert p.decision.level is None
            assert not p.decision.reward


def test_5_nothing_in_nothing_out_anywhere_in_between() -> None:
    x = broken(3)[:3000]
    plain, with_empty = fold(), fold()
    t = np.arange(len(x)) / RATE_HZ
    for at in range(0, len(x), 37):
        assert with_empty.step(Chunk(at, t[:0], x[:0])) == []
        end = min(len(x), at + 37)
        one, two = (f.step(Chunk(at, t[at:end], x[at:end])) for f in (plain, with_empty))
        if one:
            assert np.array_equal(rows(one), rows(two), equal_nan=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("site", ["Cz", "O1", "Fp1", "C4"])
def test_5_a_broken_channel_leaves_every_other_bit_alone(bad: float, site: str) -> None:
    """As recorded: what the other channels feed is the same to the last bit."""
    x = person(7, 20)
    column = SITES.index(site)
    damaged = x.copy()
    damaged[1500:1520, column] = bad
    damaged[2000, column] = bad
    nothing = Happening((), ())
    one, two = (run(inputs(v, nothing, [64]), "as recorded") for v in (x, damaged))
    names = list(PROTOCOL["as recorded"].features)
    feeds = {
        "Cz": {"theta", "beta", "tbr", "muscle", "size", "share", "balance", "reach"},
        "O1": {"alpha", "share", "balance", "reach"},
    }.get(site, set())
    metrics = fold("as recorded").gates.metric_names
    others = [k for k, n in enumerate(names) if n not in feeds]
    untouched = [k for k, n in enumerate(metrics) if not n.endswith(f"_{site}")]
    compared = 0
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.frame.metrics[untouched], b.frame.metrics[untouched])
        if not a.frame.gate and not b.frame.gate:
            x_a, x_b = a.frame.values[others], b.frame.values[others]
            smoothing = [PROTOCOL["as recorded"].features[names[k]].smooth_s for k in others]
            # A pause in one run freezes averages; unsmoothed values must agree to the bit.
            plain = [
                k for k, s in enumerate(smoothing) if s is None and names[others[k]] == "alpha"
            ]
            assert np.array_equal(x_a[plain], x_b[plain], equal_nan=True)
            compared += 1
    assert compared > 300
    gated = [p.frame.seq for p in two if p.frame.gate & Gate.NAN]
    if site in ("Cz", "O1"):
        assert gated[0] == 1500
        assert gated[-1] > 2000
    else:
        assert not gated


def test_5_after_a_nan_the_channel_itself_recovers() -> None:
    x = person(8, 30)
    damaged = x.copy()
    damaged[1500:1505, SITES.index("Cz")] = np.nan
    nothing = Happening((), ())
    one, two = (run(inputs(v, nothing, [64]), "as recorded") for v in (x, damaged))
    plain = [k for k, d in enumerate(PROTOCOL["as recorded"].features.values()) if not d.smooth_s]
    plain = [k for k in plain if not list(PROTOCOL["as recorded"].features.values())[k].of]
    late = [
        (a.frame.values[plain], b.frame.values[plain])
        for a, b in zip(one, two, strict=True)
        if a.frame.seq > 3500 and not a.frame.gate and not b.frame.gate
    ]
    assert len(late) > 50
    assert np.allclose(*np.array(late).swapaxes(0, 1), rtol=1e-4, equal_nan=True)


# ---------------------------------------------------------------- no start-up transient


@pytest.mark.parametrize("reference", ["average", "as recorded", "F7"])
def test_a_large_offset_changes_nothing(reference: str) -> None:
    """100 000 µV on every electrode: the same features after warm-up, no gate of its own."""
    x = Person(RATE_HZ, seed=3, blinks=False, jaw=False).read(round(20 * RATE_HZ))
    shifted = x.copy()
    rng = np.random.default_rng(1)
    shifted[:, :19] += rng.choice([-1.0, 1.0], 19) * rng.uniform(50_000.0, 100_000.0, 19)
    shifted[:, SITES.index("Cz")] = x[:, SITES.index("Cz")] + 100_000.0
    nothing = Happening((), ())
    one, two = (run(inputs(v, nothing, [64]), reference) for v in (x, shifted))
    settled = 0
    for a, b in zip(one, two, strict=True):
        assert not b.frame.gate & (Gate.AMPLITUDE | Gate.STEP | Gate.BLINK | Gate.RAIL | Gate.FLAT)
        assert a.frame.gate == b.frame.gate
        assert np.allclose(a.frame.values, b.frame.values, rtol=1e-5, equal_nan=True)
        settled += np.isfinite(b.frame.values).all()
    assert settled > 650  # one noisy moment may look like a sideways look


# ---------------------------------------------------------------- looks, pops and moves


def restless(seed: int) -> Float:
    """Return a person to whom everything happens, beside what the amplifier does."""
    every = {"looks": True, "pops": True, "moves": True}
    x = Person(RATE_HZ, seed=seed, **every).read(round(SECONDS * RATE_HZ))
    n, f7, sensor = len(x), SITES.index("F7"), x.shape[1] - 3
    rng = np.random.default_rng(seed)
    for lasts in (1, 7, 40):
        at = int(rng.integers(0, n - lasts))
        x[at : at + lasts, f7] = np.nan
        x[at : at + lasts, sensor + 1] = rng.choice([np.nan, np.inf, 1e300])
    x[np.arange(n) % 10 != 0, sensor:] = 0.0  # a sensor slower than the EEG
    x[n // 2 :, f7] += 20_000.0
    return x


@pytest.mark.parametrize("reference", ["average", "as recorded"])
@COUNTED
@given(
    seed=st.integers(1, 4),
    happening=happenings(),
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=60),
)
def test_2_and_5_eyes_and_motion_in_any_slicing(
    reference: str, seed: int, happening: Happening, sizes: list[int]
) -> None:
    x = restless(seed)
    before = x.copy()
    whole, sliced = (run(inputs(x, happening, s), reference) for s in ([], sizes))
    assert np.array_equal(rows(whole), rows(sliced), equal_nan=True)
    assert np.array_equal(x, before, equal_nan=True)
    for p in whole:
        assert np.isfinite(p.frame.metrics).all()
        if p.frame.gate:
            assert p.decision.level is None
            assert not p.decision.reward


@COUNTED
@given(seed=st.integers(1, 4), end=st.integers(1, round(SECONDS * RATE_HZ)))
def test_4_the_future_of_eyes_and_motion_changes_nothing(seed: int, end: int) -> None:
    x = restless(seed)
    changed = x.copy()
    changed[end:] = 1e3 * np.random.default_rng(seed).normal(size=changed[end:].shape)
    nothing = Happening((), (Command(500, "start"),))
    one, other = (rows(run(inputs(v, nothing, [64]))) for v in (x, changed))
    n = -(-end // 5)
    assert np.array_equal(one[:n], other[:n], equal_nan=True)


def test_the_gates_of_eyes_and_motion_are_among_those() -> None:
    names = fold().gates.metric_names
    assert {"saccade_F7-F8", "motion_g"} <= set(names)
    seen = {g for p in run(inputs(restless(2), Happening((), ()), [64])) for g in p.frame.gate}
    assert {Gate.SACCADE, Gate.MOTION, Gate.STEP, Gate.BLINK, Gate.MUSCLE} <= seen
