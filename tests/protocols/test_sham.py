"""Control conditions point by point: what each presents, and that the own gates lie over it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.features import FEATURES
from protocols.baseline import Baseline, Scale, describe
from protocols.judge import Judge
from protocols.load import load
from protocols.model import Protocol
from protocols.sham import (
    APART_HZ,
    HIGHEST_HZ,
    LOWEST_HZ,
    Control,
    Donated,
    NoFeedback,
    Noise,
    Other,
    OwnEarlier,
    Parallel,
    Real,
    Series,
    Unchanged,
    mirrored,
    moved_band,
    series_of_rest,
    surrogate,
    with_other_features,
)

HZ = 25.0
COLUMNS = {"smr": 0, "muscle": 1}
SCALES: dict[str, Scale] = {"smr": "ln", "muscle": "ln"}
GATE = 2

TEXT = """\
format: 2
name: bench
title: A bench
evidence: {{grade: X, summary: "For tests."}}
summary: Trains nothing.
needs: {{channels: [Cz], rate: at least 200 Hz}}
condition: {{reference: as recorded, high_pass: 1 Hz, mains: notch}}
features:
  smr: {{kind: power, at: [Cz], band: 12-15 Hz, smooth: 0.5 s}}
  muscle: {{kind: power, at: [Cz], band: 30-45 Hz, smooth: 0.5 s}}
gates: {{blink: on, amplitude: on, step: on, muscle: on}}
baseline: [{{name: open, lasts: 90 s, eyes: open, learn: [smr, muscle]}}]
{reward}
feedback:
  level: {level}
  picture: orb
session:
  - baseline
  - {{train: 60 s, say: "Grow."}}
"""
REWARD = """reward:
  {{feature: smr, {rule}, sustain: 0.4 s, refractory: 1 s}}
inhibit: [{{feature: muscle, below: {{baseline: percentile, success: 85 %}}}}]"""
ABOVE = "above: {baseline: percentile, success: 65 %}"
LEVEL = (
    "{feature: smr, from: {baseline: median, plus: -1 mad}, "
    "to: {baseline: median, plus: 1 mad}, smooth: 0.2 s}"
)
Make = Callable[..., Protocol]


@pytest.fixture
def protocol(tmp_path: Path) -> Make:
    def make(rule: str = ABOVE, level: str = LEVEL, reward: bool = True) -> Protocol:
        path = tmp_path / "bench.yaml"
        rewarded = REWARD.format(rule=rule) if reward else ""
        path.write_text(TEXT.format(reward=rewarded, level=level), encoding="utf-8")
        return load(str(path), FEATURES).protocol

    return make


def judge_of(p: Protocol) -> Judge:
    return Judge(p.reward, p.rules, p.feedback.level, columns=COLUMNS, scales=SCALES, grid_hz=HZ)


def slow(n: int, seed: int, memory_s: float = 1.0) -> np.ndarray:
    """Return two positive series with a memory, as powers have it."""
    rng = np.random.default_rng(seed)
    keep = math.exp(-1.0 / (memory_s * HZ))
    x = np.zeros((n, 2))
    now = rng.normal(size=2)
    for i in range(n):
        now = keep * now + math.sqrt(1.0 - keep * keep) * rng.normal(size=2)
        x[i] = now
    return np.asarray(np.exp(0.5 * x))


def rest(seed: int = 11, s: float = 90.0) -> tuple[dict[str, Baseline], dict[str, np.ndarray]]:
    table = slow(round(s * HZ), seed)
    series = {name: table[:, k].copy() for name, k in COLUMNS.items()}
    return {n: describe(n, x, SCALES[n]) for n, x in series.items()}, series


def gated(n: int, seed: int) -> np.ndarray:
    """Return gates that come and go, and nothing else (0 or `GATE`)."""
    rng = np.random.default_rng(seed)
    gate = np.zeros(n, dtype=int)
    for at in rng.integers(0, n, size=max(1, n // 100)):
        gate[at : at + int(rng.integers(5, 30))] = GATE
    return gate


class Body:
    """The real thing, as a session decides it."""

    def __init__(self, p: Protocol, seed: int) -> None:
        self.judge = judge_of(p)
        self.seed = seed

    def points(self, n: int, *, unknown: Sequence[int] = (), gates: bool = True) -> list[Real]:
        """Return one training block; `unknown` columns are not trusted now and then."""
        rng = np.random.default_rng(self.seed)
        table, gate = slow(n, self.seed), gated(n, self.seed + 1)
        if not gates:
            gate[:] = 0
        self.seed += 2
        self.judge.begin()
        out = []
        for row, g in zip(table.tolist(), gate.tolist(), strict=True):
            trusted = [k not in unknown or bool(rng.random() > 0.2) for k in range(2)]
            verdicts, complete = self.judge.nothing, False
            if not g:
                verdicts, complete = self.judge.verdicts(row, trusted)
            joint = bool(verdicts) and all(verdicts)
            reward = self.judge.pay(joint)
            level, _ = self.judge.level(g, row, trusted)
            out.append(Real(row, trusted, g, complete and not g, level, reward, verdicts))
        return out


def shown(control: Control, real: Real) -> tuple[float | None, bool]:
    """Return what a session presents: the person's own gates lie over the control's answer."""
    level, reward = control.step(real)
    return (None if real.level is None else level), reward and real.clean


@dataclass
class Donor:
    blocks: tuple[Series, ...]


def donor(seed: int = 7, n: int = 500, blocks: int = 3) -> Donor:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(blocks):
        level = rng.random(n)
        level[gated(n, int(rng.integers(1 << 30))) > 0] = np.nan
        reward = np.isfinite(level) & (rng.random(n) < 0.05)
        made.append(Series(level, reward))
    return Donor(tuple(made))


def controls(p: Protocol, seed: int = 3) -> dict[str, Control]:
    """Return every control that can be made of these two features, learned."""

    def own() -> Judge:
        return judge_of(p)

    reward, rules, level = mirrored(p)
    other = Judge(reward, rules, level, columns=COLUMNS, scales=SCALES, grid_hz=HZ)
    made: dict[str, Control] = {
        "real": Unchanged(),
        "no_feedback": NoFeedback(),
        "yoked": Donated(donor().blocks, own_gates=False),
        "replay_other": Donated(donor().blocks, own_gates=True),
        "replay_own": OwnEarlier(own, COLUMNS),
        "noise": Noise(own, COLUMNS, SCALES, seed, HZ),
        "inverse": Other(other, HZ),
    }
    for control in made.values():
        control.learn(*rest())
    return made


def body(p: Protocol, seed: int = 100) -> Body:
    made = Body(p, seed)
    made.judge.learn(rest()[0])
    return made


# ---------------------------------------------------------------- alike in all


@pytest.mark.parametrize("unknown", [(), (0,), (1,)])
@pytest.mark.parametrize("reward", [True, False])
def test_own_gates_lie_over_every_control(
    protocol: Make, unknown: tuple[int, ...], reward: bool
) -> None:
    p = protocol(reward=reward)
    for name, control in controls(p).items():
        person = body(p)
        for block in (1, 2):
            control.begin(block)
            for real in person.points(1500, unknown=unknown):
                level, paid = shown(control, real)
                if real.gate:
                    assert (level, paid) == (None, False), name
                if not real.clean:
                    assert not paid, name
                # A picture that stands still where the real one would move tells the arm.
                if name != "no_feedback" and real.level is not None:
                    assert level is not None, (name, real.clean)
                assert level is None or 0.0 <= level <= 1.0


def test_parallel_presents_the_chosen_one_and_feeds_all(protocol: Make) -> None:
    p = protocol()
    names = list(controls(p))
    alone = controls(p)
    together = [Parallel(list(controls(p).values()), k) for k in range(len(names))]
    for control in together:
        control.learn(*rest())
    assert repr(together[0]) == "<control>"
    assert not hasattr(together[0], "__dict__")
    person = body(p)
    for block in (1, 2):
        for control in (*alone.values(), *together):
            control.begin(block)
        for i, real in enumerate(person.points(400)):
            if i == 150:
                for control in (*alone.values(), *together):
                    control.hold()
                    control.skip(7)
            for name, both in zip(names, together, strict=True):
                assert alone[name].step(real) == both.step(real), name


def test_the_same_seed_presents_the_same_and_another_does_not(protocol: Make) -> None:
    p = protocol()
    points = body(p).points(600)

    def course(seed: int) -> list[tuple[float | None, bool]]:
        noise = controls(p, seed)["noise"]
        noise.begin(1)
        return [noise.step(real) for real in points]

    assert course(3) == course(3)
    assert course(3) != course(4)


# ---------------------------------------------------------------- other people's


def test_replay_other_gives_the_donors_points_in_order(protocol: Make) -> None:
    p = protocol()
    given, source = controls(p)["replay_other"], donor()
    person = body(p)
    for block in (1, 2, 3, 4):  # begun anew behind the donor's last
        given.begin(block)
        points = person.points(1200)
        out = [shown(given, real) for real in points]
        got = [level for level, _ in out if level is not None]
        clean = source.blocks[(block - 1) % 3].clean()
        want = list(itertools.islice(itertools.cycle(clean.level.tolist()), len(got)))
        assert got == want
        assert [lv is None for lv, _ in out] == [real.level is None for real in points]
        paid = [reward for level, reward in out if level is not None]
        wanted = itertools.islice(itertools.cycle(clean.reward.tolist()), len(got))
        assert paid == list(wanted)


def test_a_donors_reward_waits_for_a_clean_point() -> None:
    blocks = (Series(np.full(6, 0.5), np.array([0, 1, 1, 0, 0, 0], dtype=bool)),)
    given = Donated(blocks, own_gates=True)
    given.begin(1)

    def at(*, clean: bool, level: float | None = 0.1) -> bool:
        return given.step(Real([1.0], [True], 0, clean, level, False, (None,)))[1]

    assert [at(clean=c) for c in (True, False, False, True, True, True)] == [
        False, False, False, True, False, False,
    ]  # fmt: skip
    assert given.step(Real([1.0], [True], GATE, False, None, False, (None,))) == (None, False)
    given.begin(2)
    assert not at(clean=True)


def test_yoked_follows_the_donor_moment_by_moment(protocol: Make) -> None:
    p = protocol()
    given, source = controls(p)["yoked"], donor()
    person = body(p)
    for block in (1, 2, 3, 4):
        given.begin(block)
        now = source.blocks[(block - 1) % 3]
        bridged = now.bridged().level
        assert np.isfinite(bridged).all()
        known = np.isfinite(now.level)
        np.testing.assert_array_equal(bridged[known], now.level[known])
        for i, real in enumerate(person.points(700)):
            level, reward = shown(given, real)
            # Where the donor had none, the level before: a gap of theirs would tell the arm.
            assert level == (None if real.level is None else bridged[i % len(now)])
            assert reward == (bool(now.reward[i % len(now)]) and real.clean)


def test_a_reward_without_a_level_goes_to_the_next_point_with_one() -> None:
    nan = math.nan
    level = np.array([nan, 0.1, nan, nan, 0.2, 0.3, nan])
    reward = np.array([1, 0, 1, 0, 0, 1, 1], dtype=bool)
    clean = Series(level, reward).clean()
    assert clean.level.tolist() == [0.1, 0.2, 0.3]
    assert clean.reward.tolist() == [True, True, True]
    assert len(Series(np.full(3, nan), np.ones(3, dtype=bool)).clean()) == 0


@pytest.mark.parametrize("own_gates", [True, False])
def test_a_donor_without_feedback_is_refused(own_gates: bool) -> None:
    empty = Series(np.zeros(0), np.zeros(0, dtype=bool))
    for blocks in ((), (empty,)):
        with pytest.raises(ValueError, match="without feedback"):
            Donated(blocks, own_gates=own_gates)


# ---------------------------------------------------------------- the person's own


def test_replay_own_gives_the_block_before(protocol: Make) -> None:
    p = protocol()
    given = controls(p)["replay_own"]
    person = body(p)
    before = series_of_rest(judge_of(p), COLUMNS, *rest())
    assert before is not None
    assert before.reward.any()
    for block in (1, 2, 3):
        given.begin(block)
        points = person.points(900)
        out = [shown(given, real) for real in points]
        got = [(lv, r) for lv, r in out if lv is not None]
        pairs = zip(before.level.tolist(), before.reward.tolist(), strict=True)
        assert got == list(itertools.islice(itertools.cycle(pairs), len(got)))
        assert [lv is None for lv, _ in out] == [real.level is None for real in points]
        before = Series(
            np.array([math.nan if r.level is None else r.level for r in points]),
            np.array([r.reward for r in points]),
        ).clean()


def test_replay_own_never_shows_the_present(protocol: Make) -> None:
    p = protocol()
    given, person = controls(p)["replay_own"], body(p)
    for block in (1, 2, 3):
        given.begin(block)
        points = person.points(1500, gates=False)
        pairs = [(r.level, shown(given, r)[0]) for r in points]
        assert abs(np.corrcoef(np.array(pairs, dtype=float).T)[0, 1]) < 0.35
        assert sum(a == b for a, b in pairs if a not in (0.0, 1.0)) == 0


# ---------------------------------------------------------------- the other direction


def test_inverse_is_mirrored(protocol: Make) -> None:
    p = protocol()
    given, person = controls(p)["inverse"], body(p)
    given.begin(1)
    points = person.points(20_000, gates=False)
    out = [shown(given, real) for real in points]
    real = np.array([r.level for r in points], dtype=float)
    level = np.array([lv for lv, _ in out], dtype=float)
    # The edges lie as far below the median as above: what rises by so much falls by as much.
    np.testing.assert_allclose(level, 1.0 - real, atol=1e-9)
    rewards, theirs = sum(r for _, r in out), sum(r.reward for r in points)
    assert abs(rewards / theirs - 1.0) < 0.15  # the same share at rest, of other moments
    both = sum(r.reward and paid for r, (_, paid) in zip(points, out, strict=True))
    assert both < 0.1 * rewards


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("above: {baseline: percentile, success: 65 %}", lambda b: b.quantile(0.65)),
        ("below: {baseline: percentile, success: 65 %}", lambda b: b.quantile(0.35)),
        ("above: {baseline: z, plus: 0.5 sd}", lambda b: math.exp(b.mean - 0.5 * b.sd)),
        ("below: {baseline: z, plus: -0.5 sd}", lambda b: math.exp(b.mean + 0.5 * b.sd)),
        ("above: {fixed: 1.5 uV2}", lambda _: 1.5),
    ],
)
def test_thresholds_lie_on_the_other_side(
    protocol: Make, rule: str, wanted: Callable[[Baseline], float]
) -> None:
    p = protocol(rule, "{feature: muscle, range: dynamic, grows: up}")
    assert p.reward is not None
    reward, rules, level = mirrored(p)
    assert reward is not None
    assert {reward.direction, p.reward.direction} == {"above", "below"}
    assert rules[1:] == p.inhibit
    assert level.grows == "down"
    other = Judge(reward, rules, level, columns=COLUMNS, scales=SCALES, grid_hz=HZ)
    baselines, _ = rest()
    other.learn(baselines)
    assert other.thresholds[0] == pytest.approx(wanted(baselines["smr"]))


def test_inverse_of_a_running_threshold_keeps_its_rate(protocol: Make) -> None:
    p = protocol("above: {running: percentile, success: 65 %, over: 60 s}")
    given, person = controls(p)["inverse"], body(p)
    given.begin(1)
    points = person.points(20_000, gates=False)
    rewards = sum(shown(given, real)[1] for real in points)
    assert abs(rewards / sum(r.reward for r in points) - 1.0) < 0.3


# ---------------------------------------------------------------- noise


@pytest.mark.parametrize("memory_s", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_surrogate_looks_like_the_rest(memory_s: float, seed: int) -> None:
    """Mean within 0.15 SD, SD within 10 %, autocorrelation within 0.15 from 0.1 to 5 s."""
    table = np.log(slow(round(90 * HZ), seed, memory_s))
    table[:, 1] += 0.7 * table[:, 0]
    rows = surrogate(table, round(20 * HZ), np.random.default_rng(seed))
    long = np.array(list(itertools.islice(rows, round(1800 * HZ))))
    assert np.all(np.abs(long.mean(0) - table.mean(0)) < 0.15 * table.std(0))
    np.testing.assert_allclose(long.std(0), table.std(0), rtol=0.1)
    for lag_s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0):
        k = max(1, round(lag_s * HZ))
        for column in (0, 1):
            now = np.corrcoef(long[:-k, column], long[k:, column])[0, 1]
            then = np.corrcoef(table[:-k, column], table[k:, column])[0, 1]
            assert abs(now - then) < 0.15, (lag_s, now, then)
    assert abs(np.corrcoef(long.T)[0, 1] - np.corrcoef(table.T)[0, 1]) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_noise_is_rewarded_as_the_rest_is_and_knows_nothing(protocol: Make, seed: int) -> None:
    p = protocol()
    known = rest(seed, 120.0)
    noise = Noise(lambda: judge_of(p), COLUMNS, SCALES, seed, HZ)
    noise.learn(*known)
    noise.begin(1)
    quiet = series_of_rest(judge_of(p), COLUMNS, *known)
    assert quiet is not None
    person = body(p, 50 + seed)
    points = person.points(round(1200 * HZ), gates=False)
    out = [shown(noise, real) for real in points]
    # As share of the most that refractory and sustained time allow: 1.4 s for each.
    most = 1.0 / (1.4 * HZ)
    at_rest = quiet.reward.mean() / most
    assert abs(np.mean([r for _, r in out]) / most - at_rest) < 0.05
    level = np.array([lv for lv, _ in out], dtype=float)
    real = np.array([r.level for r in points], dtype=float)
    assert abs(level.mean() - quiet.level.mean()) < 0.05
    assert abs(np.corrcoef(level, real)[0, 1]) < 0.1


def test_gates_cost_noise_what_they_cost_the_real_thing(protocol: Make) -> None:
    """An artefact ends what was sustained, so that artefacts are no advantage of an arm."""
    p = protocol()
    noise, person = controls(p)["noise"], body(p)
    noise.begin(1)
    points = person.points(round(1200 * HZ))
    # The person trains as at rest, so both are rewarded alike in the same gates.
    rewards = sum(shown(noise, real)[1] for real in points)
    assert abs(rewards / sum(r.reward for r in points) - 1.0) < 0.15


def test_noise_of_an_unknown_rest_gives_nothing(protocol: Make) -> None:
    p = protocol()
    noise = Noise(lambda: judge_of(p), COLUMNS, SCALES, 1, HZ)
    noise.begin(1)
    noise.hold()
    noise.skip(3)
    assert all(noise.step(r) == (None, False) for r in body(p).points(50))
    baselines, series = rest()
    noise.learn(baselines, {"smr": series["smr"]})
    assert all(noise.step(r) == (None, False) for r in body(p).points(50))


def test_a_hold_and_a_gap_end_what_noise_has_sustained(protocol: Make) -> None:
    p = protocol("above: {baseline: percentile, success: 95 %}", LEVEL)
    points = body(p).points(4, gates=False)

    def first_reward(pause: Callable[[Control], None]) -> int:
        noise = controls(p)["noise"]
        noise.begin(1)
        for i in range(400):
            if i == 5:
                pause(noise)
            if noise.step(points[0])[1]:
                return i
        raise AssertionError("no reward")

    plain = first_reward(lambda _: None)
    assert first_reward(lambda c: c.hold()) >= plain
    assert first_reward(lambda c: c.skip(3)) == first_reward(lambda c: c.hold())


# ---------------------------------------------------------------- other bands and sites


def test_a_moved_band_is_far_away_and_inside_the_limits() -> None:
    seen = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        low = float(rng.uniform(2.0, 30.0))
        band = (low, low + float(rng.uniform(2.0, 8.0)))
        try:
            a, b = moved_band(band, 50.0, rng)
        except ValueError:
            continue
        seen.add((a, b))
        assert b - a == pytest.approx(band[1] - band[0])
        assert LOWEST_HZ <= a < b <= HIGHEST_HZ + 1e-9
        assert b <= band[0] - APART_HZ + 1e-9 or a >= band[1] + APART_HZ - 1e-9
    assert len(seen) > 200
    with pytest.raises(ValueError, match="no room"):
        moved_band((4.0, 30.0), 40.0, np.random.default_rng(0))


def test_a_random_band_is_new_for_every_seed_and_away_from_all_that_is_trained() -> None:
    p = load("tbr_down", FEATURES).protocol
    trained = [p.features[n].band_hz for n in ("theta", "beta")]
    drawn = set()
    for seed in range(60):
        wider, reward, rules, level = with_other_features(p, seed=seed, tag="1_")
        moved = [wider.features[f"control_1_{n}"].band_hz for n in ("theta", "beta")]
        drawn.add(tuple(moved))
        for new, old in itertools.product(moved, trained):
            assert new is not None
            assert old is not None
            assert new[1] <= old[0] - APART_HZ or new[0] >= old[1] + APART_HZ, seed
        first, second = sorted(b for b in moved if b is not None)
        assert first[1] <= second[0]  # the ratio of one band to itself would be 1
        assert reward is not None
        assert (reward.feature, level.feature) == ("control_1_tbr", "control_1_tbr")
        assert rules[1:] == p.inhibit
        assert {"tbr", "control_1_tbr"} <= set(wider.baseline[0].learn)
        assert with_other_features(p, seed=seed, tag="1_")[0] == wider
    assert len(drawn) > 30


def test_a_band_that_follows_the_person_is_moved_as_well() -> None:
    p = load("upper_alpha_iaf", FEATURES).protocol
    wider, *_ = with_other_features(p, seed=2, tag="0_")
    moved = wider.features["control_0_upper_alpha"]
    assert moved.iaf is None
    assert moved.band_hz is not None
    assert moved.band_hz[0] >= 16.0


@pytest.mark.parametrize(
    ("name", "words"), [("ilf", "not measured in a band"), ("zscore", "no room")]
)
def test_no_random_band_where_there_is_none(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        with_other_features(load(name, FEATURES).protocol, seed=1)


def test_a_fixed_size_means_nothing_in_another_band(protocol: Make) -> None:
    with pytest.raises(ValueError, match="means nothing in another band"):
        with_other_features(protocol("above: {fixed: 2 uV2}"), seed=1)
    level = "{feature: smr, from: {fixed: 1 uV2}, to: {fixed: 9 uV2}}"
    with pytest.raises(ValueError, match="means nothing in another band"):
        with_other_features(protocol(level=level), seed=1)


def test_both_sides_of_an_asymmetry_move() -> None:
    p = load("faa", FEATURES).protocol
    wider, *_ = with_other_features(p, sites=("P4", "P3"), tag="0_")
    assert wider.features["control_0_alpha_right"].at == ("P4",)
    assert wider.features["control_0_alpha_left"].at == ("P3",)
    assert {"P3", "P4"} <= set(wider.needs.channels)
    # The difference of a site and itself would be 0 for ever.
    with pytest.raises(ValueError, match="2 sites, for F4, F3"):
        with_other_features(p, sites=("P4",))


def test_other_sites_of_a_mean_and_of_a_pair() -> None:
    mean = load("alpha_up_ec", FEATURES).protocol
    wider, *_ = with_other_features(mean, sites=("F3", "F4"))
    assert wider.features["control_alpha"].at == ("F3", "F4")
    pair = load("connectivity", FEATURES).protocol
    wider, *_ = with_other_features(pair, sites=("F4", "P4"))
    assert wider.features["control_coupling"].at == ("F4", "P4")
    with pytest.raises(ValueError, match="2 sites"):
        with_other_features(pair, sites=("F4", "P4", "O1"))
    with pytest.raises(ValueError, match="spatial filter"):
        with_other_features(load("source_pcc", FEATURES).protocol, sites=("Cz",))
