"""The synthetic person: what is claimed about its signal holds, and its truth is true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import welch

from engine.errors import InputError
from engine.frames import Float
from engine.person import COLUMNS, SITES, TRUTH_SITE, Person, Strengths, columns

EEG = slice(0, len(SITES))
GOLDEN = (
    179.32972011,
    -145.959342593,
    107.784635122,
)  # seed 1, 250 Hz, sample 999 at Fp1, Cz and O2


def col(name: str) -> int:
    return COLUMNS.index(name)


def in_chunks(person: Person, sizes: list[int]) -> Float:
    return np.concatenate([person.read(n) for n in sizes])


def rms(x: Float, rate_hz: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    f, density = welch(x, rate_hz, nperseg=min(len(x), int(2 * rate_hz)), axis=0)
    inside = (f >= low_hz) & (f <= high_hz)
    return np.sqrt(density[inside].sum(axis=0) * f[1])


def test_columns_of_the_stream_are_those_of_the_samples() -> None:
    assert tuple(c.name for c in columns()) == COLUMNS
    assert [c.kind for c in columns()].count("eeg") == 19
    assert Person(seed=1).read(3).shape == (3, len(COLUMNS))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 70), min_size=1, max_size=30), st.sampled_from([128.0, 250.0]))
def test_any_chunking_gives_the_same_samples(sizes: list[int], rate_hz: float) -> None:
    whole = Person(rate_hz, seed=4).read(sum(sizes))
    assert np.array_equal(in_chunks(Person(rate_hz, seed=4), sizes), whole)


def test_the_same_seed_is_the_same_person_and_another_seed_is_not() -> None:
    a, b, c = (Person(seed=s).read(500) for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.allclose(a[:, EEG], c[:, EEG])


def test_the_brain_is_the_same_with_and_without_artefacts() -> None:
    with_all = Person(seed=5).read(250 * 60)
    without = Person(seed=5, blinks=False, jaw=False).read(250 * 60)
    quiet = (with_all[:, col("truth_blink")] == 0) & (with_all[:, col("truth_jaw")] == 0)
    assert 0.5 < quiet.mean() < 0.99
    assert np.array_equal(with_all[quiet], without[quiet])
    assert np.abs(with_all - without)[~quiet].max() > 50


def test_the_counter_counts_across_chunks() -> None:
    samples = in_chunks(Person(seed=1), [1, 7, 100, 3])
    assert np.array_equal(samples[:, col("counter")], np.arange(111))


@pytest.mark.parametrize("rate_hz", [128.0, 250.0, 512.0])
def test_background_is_one_over_f_and_about_ten_microvolts(rate_hz: float) -> None:
    quiet = Strengths(alpha_uv=0, alpha_open_uv=0, smr_uv=0, theta_uv=0, beta_uv=0, mains_uv=0)
    person = Person(rate_hz, seed=3, blinks=False, jaw=False, strengths=quiet)
    x = person.read(int(40 * rate_hz))[:, EEG]
    f, density = welch(x, rate_hz, nperseg=int(4 * rate_hz), axis=0)
    inside = (f >= 1) & (f <= 40)
    assert np.median(np.sqrt(density[inside].sum(axis=0) * f[1])) == pytest.approx(10, rel=0.1)
    slope = np.polyfit(np.log(f[inside]), np.log(density[inside].mean(axis=1)), 1)[0]
    assert -1.6 < slope < -0.8


def test_neighbours_share_their_background() -> None:
    x = Person(seed=3, blinks=False, jaw=False).read(250 * 60)[:, EEG]
    r = np.corrcoef(np.diff(x, axis=0), rowvar=False)
    near, far = r[SITES.index("C3"), SITES.index("Cz")], r[SITES.index("Fp1"), SITES.index("O2")]
    assert 0.3 < near < 0.95
    assert far < 0.25


@pytest.mark.parametrize(
    ("truth", "strength", "hz"),
    [
        ("truth_alpha", "alpha_uv", 10.0),
        ("truth_smr", "smr_uv", 13.5),
        ("truth_theta", "theta_uv", 6.0),
    ],
)
def test_a_rhythms_truth_is_its_amplitude_at_its_site(truth: str, strength: str, hz: float) -> None:
    # The same person without this rhythm: the difference is the rhythm alone.
    kwargs = {"seed": 7, "eyes": "closed", "blinks": False, "jaw": False}
    n = 250 * 90
    whole = Person(250.0, **kwargs).read(n)
    none = Person(250.0, **kwargs, strengths=Strengths(**{strength: 0.0})).read(n)
    at = SITES.index(TRUTH_SITE[truth])
    rhythm, amplitude = whole[:, at] - none[:, at], whole[:, col(truth)]
    assert np.all(np.abs(rhythm) <= amplitude + 1e-9)
    assert np.mean(rhythm**2) == pytest.approx(np.mean(amplitude**2) / 2, rel=0.03)
    f, density = welch(rhythm, 250.0, nperseg=1000)
    assert f[np.argmax(density)] == pytest.approx(hz, abs=0.5)
    # Welch of what an amplifier sees, minus the rest, is the truth as well.
    measured = rms(whole, 250.0, hz - 2.5, hz + 2.5)[at] ** 2
    rest = rms(none, 250.0, hz - 2.5, hz + 2.5)[at] ** 2
    assert measured - rest == pytest.approx(np.mean(amplitude**2) / 2, rel=0.2)


def test_alpha_is_posterior_and_stronger_with_closed_eyes() -> None:
    closed, opened = (
        rms(Person(seed=2, eyes=e, blinks=False).read(250 * 60)[:, EEG], 250.0, 8, 12)
        for e in ("closed", "open")
    )
    o1, fp1 = SITES.index("O1"), SITES.index("Fp1")
    assert (closed[o1] / opened[o1]) ** 2 > 4
    assert closed[o1] > 3 * closed[fp1]


def test_eyes_and_gains_take_effect_while_running() -> None:
    person = Person(seed=2, eyes="open")
    before = person.read(250 * 40)
    person.eyes = "closed"
    after = person.read(250 * 40)
    assert after[500:, col("truth_alpha")].mean() > 2 * before[:, col("truth_alpha")].mean()
    assert after[125:, col("truth_blink")].max() == 0
    person.gains["smr"] = 3.0
    louder = person.read(250 * 40)
    assert louder[500:, col("truth_smr")].mean() > 2 * after[:, col("truth_smr")].mean()


def test_blinks_come_twelve_a_minute_at_the_front() -> None:
    n = 250 * 150
    blink = Person(seed=8, jaw=False).read(n) - Person(seed=8, jaw=False, blinks=False).read(n)
    mask = blink[:, col("truth_blink")] > 0
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(int), [0]))))
    starts, stops = edges[::2], edges[1::2]
    assert 20 <= len(starts) <= 40
    assert np.all((stops - starts) / 250 >= 0.24)
    assert np.all((stops - starts) / 250 <= 0.41)
    heights = np.array([blink[a:b, EEG].max(axis=0) for a, b in zip(starts, stops, strict=True)])
    front = heights[:, SITES.index("Fp1")]
    assert 140 < front.min() <= front.max() < 205
    assert np.all(heights[:, SITES.index("O1")] < 0.05 * front)


def test_clenches_come_three_a_minute_and_last_about_a_second() -> None:
    mask = Person(128.0, seed=9).read(128 * 240)[:, col("truth_jaw")] > 0
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(int), [0]))))
    lasts_s = np.diff(edges)[::2] / 128
    assert 5 <= len(lasts_s) <= 20
    assert np.all((lasts_s > 0.45) & (lasts_s < 1.55))


@pytest.mark.parametrize("rate_hz", [128.0, 250.0, 1000.0])
def test_a_clench_is_seen_at_every_site_and_most_at_the_temples(rate_hz: float) -> None:
    tense, calm = (Person(rate_hz, seed=9, blinks=False, jaw=False) for _ in range(2))
    tense.clench(8.0, 42.0)
    n = int(8 * rate_hz)
    emg = tense.read(n) - calm.read(n)
    mask = emg[:, col("truth_jaw")] > 0
    assert mask.all()
    band = rms(emg[mask][:, EEG], rate_hz, 30, 45)
    assert band.min() >= 15
    temples = band[[SITES.index(s) for s in ("T7", "T8", "F7", "F8")]]
    assert np.all((temples > 30) & (temples < 60))
    assert temples.min() > np.median(band)


def test_a_blink_and_a_clench_can_be_asked_for() -> None:
    person = Person(seed=1, eyes="closed", blinks=False, jaw=False)
    person.read(100)
    person.blink(0.3, 200.0)
    person.clench(0.5)
    after = person.read(500)
    assert after[:, col("truth_blink")].sum() == 75
    assert after[:, col("truth_jaw")].sum() == 125


def test_mains_and_offsets_are_there() -> None:
    x = Person(seed=1, blinks=False, jaw=False).read(250 * 20)[:, EEG]
    assert 1 < np.median(rms(x, 250.0, 49.5, 50.5)) < 5
    offsets = np.abs(x.mean(axis=0))
    assert 50 < offsets.max() < 600
    assert np.isfinite(x).all()


@pytest.mark.parametrize("rate_hz", [0.0, 100.0, 4096.0, float("nan")])
def test_an_impossible_rate_is_refused(rate_hz: float) -> None:
    with pytest.raises(InputError, match="cannot be simulated"):
        Person(rate_hz)


# ---------------------------------------------------------------- looks, pops and moves


def test_a_seed_gives_what_it_gave_before_there_were_looks() -> None:
    """Figures of the first samples, so that recordings and results stay comparable."""
    x = Person(250.0, seed=1).read(1000)
    golden = {"Fp1": GOLDEN[0], "Cz": GOLDEN[1], "O2": GOLDEN[2]}
    for site, value in golden.items():
        assert x[999, col(site)] == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("what", ["looks", "pops", "moves"])
def test_the_rest_is_the_same_with_and_without(what: str) -> None:
    truth = {"looks": "truth_saccade", "pops": "truth_pop", "moves": "truth_motion"}[what]
    n = 250 * 60
    plain, more = Person(seed=5).read(n), Person(seed=5, **{what: True}).read(n)
    assert not plain[:, col(truth)].any()
    happened = more[:, col(truth)] > 0
    assert happened.any()
    first = int(np.flatnonzero(happened)[0])
    assert np.array_equal(plain[:first], more[:first])
    others = [i for i, name in enumerate(COLUMNS[len(SITES) :], len(SITES)) if name[:3] != "acc"]
    others.remove(col(truth))
    assert np.array_equal(plain[:, others], more[:, others])
    assert np.abs(more[happened] - plain[happened])[:, EEG].max() > 25


def test_a_look_moves_f7_against_f8_within_50_ms_and_comes_back() -> None:
    quiet = Strengths(
        background_uv=0, alpha_uv=0, alpha_open_uv=0, smr_uv=0, theta_uv=0, beta_uv=0,
        mains_uv=0, offset_uv=0, noise_uv=0,
    )  # fmt: skip
    person = Person(250.0, seed=1, blinks=False, jaw=False, strengths=quiet)
    person.look(0.8, 100.0)
    x = person.read(500)
    eyes = x[:, col("F7")] - x[:, col("F8")]
    assert eyes.max() == pytest.approx(100.0)
    assert x[:, col("F7")].max() == pytest.approx(50.0)
    assert not x[:, [col("Cz"), col("O1")]].any()
    moving = np.flatnonzero(x[:, col("truth_saccade")])
    assert np.abs(np.diff(eyes)).max() > 5
    still = np.setdiff1d(np.arange(1, 499), np.concatenate([moving, moving + 1]))
    assert np.abs(eyes[still] - eyes[still - 1]).max() < 1e-9
    assert 2 * 0.03 * 250 <= len(moving) <= 2 * 0.05 * 250
    assert eyes[-1] == 0.0


def test_eyes_do_not_look_about_when_closed() -> None:
    x = Person(seed=2, eyes="closed", looks=True).read(250 * 60)
    assert not x[:, col("truth_saccade")].any()
    assert Person(seed=2, looks=True).read(250 * 60)[:, col("truth_saccade")].any()


def test_a_pop_is_one_jump_of_one_electrode() -> None:
    popped, calm = (Person(seed=3, blinks=False, jaw=False) for _ in range(2))
    popped.pop("C4", -250.0)
    difference = popped.read(1000) - calm.read(1000)
    at = col("C4")
    assert difference[0, at] == pytest.approx(-250.0)
    assert difference[75, at] == pytest.approx(-250.0 / np.e, rel=1e-6)
    assert np.unique(difference[:, col("truth_pop")]).tolist() == [0, 1 + at]
    assert (difference[:, col("truth_pop")] > 0).sum() == 25
    assert not np.delete(difference, [at, col("truth_pop")], axis=1).any()


def test_pops_come_at_every_site_and_both_ways() -> None:
    n = 128 * 900
    pops = Person(128.0, seed=4, blinks=False, jaw=False, pops=True).read(n)
    calm = Person(128.0, seed=4, blinks=False, jaw=False).read(n)
    starts = np.flatnonzero(np.diff(pops[:, col("truth_pop")]) > 0) + 1
    jumps = (pops - calm)[starts, EEG]
    assert np.array_equal(np.abs(jumps).argmax(axis=1) + 1, pops[starts, col("truth_pop")])
    size = jumps[np.arange(len(starts)), np.abs(jumps).argmax(axis=1)]
    assert 30 < len(starts) < 80
    assert 140 < np.abs(size).min() < np.abs(size).max() < 401
    assert 0.3 < (size > 0).mean() < 0.7
    assert len(set(np.abs(jumps).argmax(axis=1))) > 12


def test_a_move_shows_in_the_accelerometer_and_in_the_eeg() -> None:
    person, calm = (Person(seed=1, blinks=False, jaw=False) for _ in range(2))
    for p in (person, calm):
        p.read(250)
    person.move(1.0, 0.4)
    x, still = person.read(500), calm.read(500)
    size = np.linalg.norm(x[:, [col("acc_x"), col("acc_y"), col("acc_z")]], axis=1)
    moving = x[:, col("truth_motion")] > 0
    assert moving.sum() == 250
    assert 0.3 < np.abs(size - 1.0)[moving].max() < 0.5
    assert np.abs(size - 1.0)[~moving].max() < 0.02
    assert 100 < np.abs(x - still)[:, EEG].max() < 200


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=30))
def test_any_chunking_gives_the_same_looks_pops_and_moves(sizes: list[int]) -> None:
    def one() -> Person:
        return Person(250.0, seed=4, looks=True, pops=True, moves=True)

    assert np.array_equal(in_chunks(one(), sizes), one().read(sum(sizes)))
