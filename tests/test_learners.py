"""B4: people who learn, do not learn, drift or cheat, before the threshold rules.

Each scenario is a whole session in simulated time, whose truth is known; see `engine.learner`. The
person who does not answer is the control of every other: the same seed has the same brain.

A scenario of another rule takes two lines::

    o = run_scenario(scenario("{running: percentile, success: 65 %, over: 120 s}"), "drifter")
    assert o.kinds("drift_guard")
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from engine.assemble import assemble
from engine.features import FEATURES
from engine.frames import Gate, PhaseKind
from engine.learner import TRAITS, Learner, Outcome, Trait, close_loop, stream_of, trait_named
from engine.person import Person
from protocols.load import load
from protocols.plan import expand

RATE_HZ = 250.0
FEW = ("Fp1", "Cz", "C3")
EIGHT = ("Fp1", "Fp2", "F7", "F8", "C3", "Cz", "C4", "Pz")
BASELINE = "{baseline: percentile, success: 65 %}"
FIXED = "{fixed: 12.5 uV2}"
GATED = "{blink: on, amplitude: on, step: on, muscle: {at: [Cz]}}"
UNGATED = "{blink: off, amplitude: off, step: off, muscle: off, saccade: off, motion: off}"
FAST_S = 240.0
QUICK = replace(TRAITS["learner"], per_reward=0.03)
STEEP = replace(TRAITS["drifter"], falls_over_s=FAST_S)
SEEDS = (1, 2, 3, 4, 5)


def scenario(
    above: str = BASELINE,
    *,
    train_s: float = FAST_S,
    band: str = "12-15 Hz",
    gates: str = GATED,
    more: str = "",
    session: str = "",
) -> str:
    """Return a protocol that trains one band at Cz upward, `above` this threshold.

    `more` is further keys at the top level; `session` replaces one training block of `train_s`.
    """
    return f"""format: 2
name: scenario
title: One band at Cz
evidence: {{grade: X, summary: A test bench., refs: [none]}}
summary: A test bench.
needs: {{channels: [Cz], rate: at least 140 Hz}}
condition: {{reference: [as recorded], high_pass: 1 Hz, mains: notch}}
features:
  trained: {{kind: power, at: [Cz], band: {band}, smooth: 1 s}}
gates: {gates}
baseline:
  - {{name: eyes_open, lasts: 90 s, eyes: open, needs_clean: 60 s, learn: [trained]}}
reward: {{feature: trained, above: {above}, sustain: 0.5 s, refractory: 2 s}}
feedback:
  level:
    feature: trained
    from: {{baseline: median, plus: -1 mad}}
    to: {{baseline: median, plus: 2 mad}}
    smooth: 0.3 s
  picture: orb
{more}
session:
  - baseline
{session or f"  - {{train: {train_s:g} s, say: Go.}}"}
"""


@cache
def run_scenario(
    protocol_text: str,
    trait: str | Trait,
    seed: int = 3,
    *,
    rhythm: str = "smr",
    sites: tuple[str, ...] = FEW,
    blinks: bool = False,
    jaw: bool = False,
    short_s: float | None = None,
) -> Outcome:
    """Run a protocol's whole session with a simulated person.

    `protocol_text` is YAML or a library name, `trait` a name or a `Trait`, `rhythm` what the
    person has in hand; `blinks` and `jaw` are artefacts that happen by themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scenario.yaml")
        file.write_text(protocol_text, "utf-8")
        loaded = load(file if "\n" in protocol_text else protocol_text, FEATURES)
    protocol = loaded.protocol
    plan = expand(protocol, short_s)
    spec = stream_of(sites, RATE_HZ)
    assembly = assemble(spec, protocol, plan, mains_hz=50.0)
    mind = Learner(trait_named(trait) if isinstance(trait, str) else trait, rhythm, seed)
    body = Person(RATE_HZ, seed=seed, blinks=blinks, jaw=jaw)
    trained = list(protocol.features).index(protocol.reward.feature)
    outcome = close_loop(spec, assembly.fold, plan, mind, body, trained=trained)
    assert outcome.kind is PhaseKind.DONE
    return outcome


def column(outcome: Outcome, name: str, n: int = 4) -> np.ndarray:
    return np.array([getattr(q, name) for q in outcome.quarters(n)])


def change(outcome: Outcome, control: Outcome, name: str) -> np.ndarray:
    """Return by how much each third differs from that of the person who does not answer."""
    difference: np.ndarray = column(outcome, name, 3) - column(control, name, 3)
    return difference


# ---------------------------------------------------------------- who learns, and who does not


def test_learning_shows_in_the_feature_and_in_the_rate() -> None:
    learns, control = (run_scenario(scenario(), who) for who in (QUICK, "non_learner"))
    assert (np.diff(column(learns, "gain")) > 0).all()
    assert column(learns, "gain")[-1] > 1.3
    ratio = column(learns, "mean", 3) / column(control, "mean", 3)
    assert (np.diff(ratio) > 0).all()
    assert ratio[-1] > 1.35
    gained = change(learns, control, "passing")
    assert (gained > 0.03).all()
    assert gained[-1] > 0.2
    assert learns.reward.sum() > control.reward.sum() + 10


def test_who_does_not_learn_stays_the_same() -> None:
    o = run_scenario(scenario(), "non_learner")
    assert (o.gain == 1.0).all()
    mean, passing = column(o, "mean", 2), column(o, "passing", 2)
    assert mean[1] / mean[0] == pytest.approx(1.0, abs=0.15)
    assert passing == pytest.approx(0.65, abs=0.12)
    assert len(set(column(o, "threshold"))) == 1


def test_a_threshold_that_stays_pays_less_for_a_rhythm_that_falls() -> None:
    falls, control = (run_scenario(scenario(), who) for who in (STEEP, "non_learner"))
    assert column(falls, "gain")[-1] == pytest.approx(1 - 0.3 * 7 / 8, abs=0.02)
    lost = change(falls, control, "passing")
    assert (np.diff(lost) < 0).all()
    assert lost[-1] < -0.15
    ratio = column(falls, "mean", 3) / column(control, "mean", 3)
    assert (np.diff(ratio) < 0).all()
    assert 0.6 < ratio[-1] < 0.85
    assert len(set(column(falls, "threshold"))) == 1


def test_a_fixed_threshold_tells_who_learns_from_who_drifts() -> None:
    learns, falls = (run_scenario(scenario(FIXED), who) for who in (QUICK, STEEP))
    apart = change(learns, falls, "passing")
    assert (np.diff(apart) > 0).all()
    assert apart[-1] > 0.35
    assert set(learns.threshold[learns.during(PhaseKind.TRAIN)]) == {12.5}


# ---------------------------------------------------------------- who cheats


def bursts(outcome: Outcome, truth: np.ndarray) -> np.ndarray:
    """Return the points of training in which a cheat was at it, until what it left is over."""
    near: np.ndarray = outcome.near(truth, 0.2, 0.5) & outcome.during(PhaseKind.TRAIN)
    assert near[outcome.during(PhaseKind.TRAIN)].mean() > 0.02
    return near


HARD = "{baseline: percentile, success: 30 %}"


def beta(train_s: float = 150.0, gates: str = GATED) -> str:
    return scenario(HARD, train_s=train_s, band="20-30 Hz", gates=gates)


def test_the_muscle_cheat_earns_nothing_and_muscle_is_named() -> None:
    o = run_scenario(beta(), "muscle_cheat", rhythm="beta")
    cheating = bursts(o, o.clenching)
    assert not o.reward[cheating].any()
    assert not o.joint[cheating].any()
    assert (o.gate[cheating] & Gate.MUSCLE).all()
    (block,) = [e for e in o.kinds("phase_end") if e.data["kind"] == "train"]
    gated_s = block.data["gated_s"]
    assert max(gated_s, key=lambda cause: gated_s[cause]) == "muscle"
    # What is paid between the bursts is what an honest person is paid.
    control = run_scenario(beta(), "non_learner", rhythm="beta")
    assert column(o, "passing", 1) == pytest.approx(column(control, "passing", 1), abs=0.05)


def test_without_gates_the_muscle_cheat_would_be_paid() -> None:
    o = run_scenario(beta(FAST_S, UNGATED), "muscle_cheat", 1, rhythm="beta")
    cheating = bursts(o, o.clenching)
    assert o.passing[cheating].mean() > 0.8
    outside = o.during(PhaseKind.TRAIN) & ~cheating
    assert o.passing[cheating].mean() > o.passing[outside].mean() + 0.3
    assert o.reward[cheating].sum() >= 8


def test_the_blink_cheat_earns_nothing() -> None:
    text = scenario(HARD, band="2-5 Hz", train_s=150.0)
    o = run_scenario(text, "blink_cheat", rhythm="theta")
    cheating = bursts(o, o.blinking)
    assert not o.reward[cheating].any()
    assert (o.gate[cheating] & Gate.BLINK).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("uv", [4.0, 6.0, 8.0, 10.0, 15.0, 30.0, 50.0])
def test_no_clench_pays_better_than_chance(uv: float) -> None:
    soft = replace(TRAITS["muscle_cheat"], jaw_uv=(uv, uv))
    inside, outside = [], []
    for seed in SEEDS:
        o = run_scenario(beta(FAST_S), soft, seed, rhythm="beta")
        cheating = bursts(o, o.clenching)
        inside.append(o.passing[cheating].mean())
        outside.append(o.passing[o.during(PhaseKind.TRAIN) & ~cheating].mean())
    assert np.mean(inside) < np.mean(outside) + 0.05
    if uv >= 15.0:
        assert np.mean(inside) < 0.02


# ---------------------------------------------------------------- twenty minutes


def twenty(trait: str, above: str = BASELINE) -> list[Outcome]:
    text = scenario(above, train_s=1200.0)
    return [run_scenario(text, trait, seed, sites=EIGHT) for seed in SEEDS]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_drift_over_twenty_minutes_shows_in_every_quarter() -> None:
    falls = np.mean([column(o, "passing") for o in twenty("drifter")], axis=0)
    assert (np.diff(falls) < 0).all()
    assert 0.15 < falls[0] - falls[-1] < 0.40
    mean = np.mean([column(o, "mean") for o in twenty("drifter")], axis=0)
    assert (np.diff(mean) < 0).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_who_does_not_learn_is_paid_the_same_for_twenty_minutes() -> None:
    flat = np.mean([column(o, "passing") for o in twenty("non_learner")], axis=0)
    assert np.ptp(flat) < 0.06
    assert flat == pytest.approx(0.65, abs=0.08)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_learning_over_twenty_minutes_shows_in_every_quarter() -> None:
    for o in twenty("learner"):
        assert (np.diff(column(o, "gain")) > 0).all()
    rises = np.mean([column(o, "passing") for o in twenty("learner")], axis=0)
    assert (np.diff(rises) > 0).all()
    assert rises[-1] - rises[0] > 0.08
    mean = np.mean([column(o, "mean") for o in twenty("learner")], axis=0)
    assert mean[-1] / mean[0] > 1.25


# ---------------------------------------------------------------- thresholds that move

RUNNING = "{running: percentile, success: 65 %, over: 60 s, drift_guard: 100 %}"
GUARDED = "{running: percentile, success: 65 %, over: 60 s}"
FOLLOWS = {
    "running": RUNNING,
    "staircase": "{staircase: 0.05 mad, success: 65 %, drift_guard: 100 %}",
}
DEEP = replace(TRAITS["drifter"], falls=0.5, falls_over_s=FAST_S)


@pytest.mark.parametrize(
    "above",
    [
        pytest.param(FOLLOWS["running"], id="running"),
        pytest.param(FOLLOWS["staircase"], id="staircase", marks=pytest.mark.slow),
    ],
)
def test_a_threshold_that_follows_pays_a_falling_rhythm_as_before(above: str) -> None:
    stands = run_scenario(scenario(), DEEP)
    follows = run_scenario(scenario(above), DEEP)
    assert column(follows, "mean")[-1] < 0.75 * column(follows, "mean")[0]  # it does fall
    assert column(stands, "passing")[-1] < 0.4  # a standing threshold tells
    assert column(follows, "passing")[-1] > column(stands, "passing")[-1] + 0.15
    assert follows.threshold[-1] < 0.85 * follows.threshold[follows.during(PhaseKind.TRAIN)][0]


def test_the_drift_guard_stops_a_threshold_that_follows_the_wrong_way() -> None:
    o = run_scenario(scenario(GUARDED), DEEP)
    (event,) = o.kinds("drift_guard")
    train = o.during(PhaseKind.TRAIN)
    after = train & (o.seq > event.seq)
    assert after.sum() > 1000
    assert np.ptp(o.threshold[after]) == 0.0  # from there on it stands
    start = o.threshold[train][0]
    assert o.threshold[after][0] == pytest.approx(0.85 * start, rel=1e-9)
    # And because it stands, the rate tells what the feature does.
    assert column(o, "passing")[-1] < column(o, "passing")[0] - 0.2


def test_no_gated_moment_moves_a_threshold() -> None:
    o = run_scenario(scenario(RUNNING), "muscle_cheat", jaw=True)
    gated = o.during(PhaseKind.TRAIN) & (o.gate != 0)
    moved = np.concatenate([[False], np.diff(o.threshold) != 0.0])
    # What was clean counts a tenth of a second later; a move lies within that of a clean point.
    clean = np.flatnonzero(o.gate == 0)
    for i in np.flatnonzero(moved & gated):
        assert i - clean[clean <= i][-1] <= round(0.12 * o.grid_hz)


def test_the_preset_freezes_the_inhibits_and_lets_the_reward_run() -> None:
    text = scenario(
        "{success: 65 %}",
        more="preset: auto_reward_fixed_inhibit\n"
        "inhibit:\n  - {feature: slow, below: {success: 85 %}}",
    )
    slow = "  slow: {kind: power, at: [Cz], band: 18-28 Hz, smooth: 2 s}\n"
    text = text.replace("features:\n", f"features:\n{slow}")
    text = text.replace("learn: [trained]", "learn: [trained, slow]")
    o = run_scenario(text, "non_learner")
    frozen = o.kinds("threshold_frozen")
    assert [e.data["feature"] for e in frozen] == ["slow"]
    assert len(np.unique(o.threshold[o.during(PhaseKind.TRAIN)])) > 50  # the reward's goes on


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_minutes_of_drift_trip_the_guard_of_a_running_percentile() -> None:
    running = "{running: percentile, success: 65 %, over: 120 s}"
    free = "{running: percentile, success: 65 %, over: 120 s, drift_guard: 100 %}"
    tripped = 0
    for seed in SEEDS:
        o = run_scenario(scenario(running, train_s=1200), "drifter", seed)
        tripped += bool(o.kinds("drift_guard"))
        paid = column(run_scenario(scenario(free, train_s=1200), "drifter", seed), "passing")
        assert (np.abs(paid - 0.65) < 0.08).all()  # without a guard: paid alike in every quarter
    assert tripped >= len(SEEDS) - 1
