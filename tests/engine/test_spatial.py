"""Spatial filters: known mixtures are taken apart, and what cannot be done is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter

from engine.errors import InputError, MontageError
from engine.frames import Float
from engine.person import COLUMNS, SITES, Person
from engine.readfile import read_eeg
from engine.spatial import (
    EogFit,
    Laplacian,
    NotPossible,
    Ssd,
    across,
    eog_regression,
    given,
    hemisphere,
    laplacian,
    mixes_sides,
    nearest,
    one_sided,
    position,
    side_of,
    ssd,
    used,
    without_eog,
)

RATE_HZ = 250.0
BAND_HZ = (8.0, 12.0)
POSTERIOR = ("P7", "P3", "Pz", "P4", "P8", "POz")


def rhythm(rng: np.random.Generator, n: int, hz: float, width_hz: float = 0.8) -> Float:
    pole = np.exp((-np.pi * width_hz + 2j * np.pi * hz) / RATE_HZ)
    drive = rng.standard_normal((2, n))
    x = lfilter([1.0], [1.0, -pole], drive[0] + 1j * drive[1]).real
    return np.asarray(x / x.std())


def mixture(seed: int = 1, seconds: float = 60.0) -> tuple[Float, Float, Float]:
    """Return channels at 19 sites, an alpha source and its pattern: 1 at Pz, in 1/f-like noise."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE_HZ)
    places = np.array([position(s) for s in SITES])
    pz = places[SITES.index("Pz")]
    pattern = np.exp(-2.0 * np.linalg.norm(places - pz, axis=1))
    source = 10.0 * rhythm(rng, n, 10.0)
    walk = lfilter([1.0], [1.0, -0.97], rng.standard_normal((n, 12)), axis=0)
    noise = walk @ rng.standard_normal((12, 19)) + rng.standard_normal((n, 19))
    theta = 20.0 * np.outer(rhythm(rng, n, 6.0), rng.uniform(0.5, 1.0, 19))
    return np.outer(source, pattern) + noise + theta, source, pattern


def fitted(uv: Float, **changes: object) -> Ssd | NotPossible:
    settings: dict[str, object] = {"site": "Pz", "names": SITES, **changes}
    return ssd(uv, np.ones(len(uv), bool), RATE_HZ, BAND_HZ, **settings)  # type: ignore[arg-type]


# ---------------------------------------------------------------- places and sides


def test_places_are_those_of_the_10_10_system() -> None:
    half = np.sqrt(0.5)
    for name, place in {
        "Cz": (0, 0, 1), "C3": (-half, 0, half), "Fz": (0, half, half), "T8": (1, 0, 0),
        "Fpz": (0, 1, 0), "Oz": (0, -1, 0), "F7": (-np.sin(0.3 * np.pi), np.cos(0.3 * np.pi), 0),
    }.items():  # fmt: skip
        assert position(name) == pytest.approx(place, abs=1e-12)
    left, right = position("PO3"), position("PO4")
    assert left is not None
    assert right is not None
    assert left * (-1, 1, 1) == pytest.approx(right)
    assert position("T5") == pytest.approx(position("P7"))
    for name in ("TP9", "A1", "HEOG", "ch3", "Iz", "O3"):
        assert position(name) is None


def test_every_place_lies_on_the_sphere_and_is_its_own() -> None:
    rows = ("AF", "F", "FC", "C", "CP", "P", "PO")
    names = [r + c for r in rows for c in "z12345678"] + ["Fpz", "Fp1", "Fp2", "Oz", "O1", "O2"]
    places = np.array([position(n) for n in names])
    assert np.linalg.norm(places, axis=1) == pytest.approx(np.ones(len(names)))
    far = np.linalg.norm(places[:, None] - places, axis=2) + 2.0 * np.eye(len(names))
    assert far.min() > 0.1


def test_what_reaches_over_the_midline_is_named() -> None:
    names = ("F3", "Fz", "F4", "HEOG", "T3")
    assert [side_of(n) for n in names] == ["left", "midline", "right", None, "left"]
    weights = np.array([1.0, -0.5, 0.0, 0.0, -0.5])
    assert used(weights, names) == ("F3", "Fz", "T3")
    assert one_sided(weights, names, "left")
    assert not mixes_sides(weights, names)
    both = weights + np.array([0.0, 0.0, -0.1, 0.0, 0.0])
    assert across(both, names, "left") == ("F4",)
    assert across(both, names, "right") == ("F3", "T3")
    assert mixes_sides(both, names)
    # Where the EOG electrode is, nobody said: it may be on either side.
    assert mixes_sides(weights + np.array([0.0, 0.0, 0.0, 0.1, 0.0]), names)
    assert hemisphere(names, "left").tolist() == [True, False, False, False, True]
    assert hemisphere(names, "right", midline=True).tolist() == [False, True, True, False, False]


# ---------------------------------------------------------------- Laplacian


def test_laplacian_at_c3_is_hjorths() -> None:
    found = laplacian("C3", SITES)
    assert isinstance(found, Laplacian)
    assert found.neighbours == ("F3", "T7", "Cz", "P3")
    expected = {"C3": 1.0, "F3": -0.25, "T7": -0.25, "Cz": -0.25, "P3": -0.25}
    assert dict(zip(SITES, found.weights, strict=True)) == {s: expected.get(s, 0.0) for s in SITES}
    old = laplacian("C3", [{"T7": "T3"}.get(s, s) for s in SITES])
    assert isinstance(old, Laplacian)
    assert old.neighbours == ("F3", "T3", "Cz", "P3")


@pytest.mark.parametrize(
    ("site", "names", "neighbours"),
    [
        ("Pz", POSTERIOR, {"POz", "P3", "P4"}),
        ("FC1", (*SITES, "FC1", "FC3", "FCz", "F1", "C1"), {"FC3", "FCz", "F1", "C1"}),
        ("Oz", (*SITES, "Oz", "POz"), {"O1", "O2", "POz"}),
    ],
)
def test_without_the_table_the_nearest_around_are_taken(
    site: str, names: tuple[str, ...], neighbours: set[str]
) -> None:
    found = laplacian(site, names)
    assert isinstance(found, Laplacian)
    assert set(found.neighbours) == neighbours
    assert found.weights.sum() == pytest.approx(0.0)
    assert found.weights[names.index(site)] == 1.0


@pytest.mark.parametrize("site", ["P7", "P8", "P3"])
def test_a_site_that_is_not_surrounded_has_none(site: str) -> None:
    found = laplacian(site, POSTERIOR)
    assert isinstance(found, NotPossible)
    assert site in found.reason


def test_a_site_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MontageError, match="Cz"):
        laplacian("Cz", POSTERIOR)
    with pytest.raises(MontageError, match="no place"):
        nearest("A1", ("A1", "Cz"), 2)


def test_nearest_are_by_distance() -> None:
    mask = nearest("Pz", SITES, 5)
    assert {s for s, yes in zip(SITES, mask, strict=True) if yes} == {"Pz", "P3", "P4", "Cz", "O1"}
    assert nearest("Pz", ("Pz", "HEOG"), 2).tolist() == [True, False]


# ---------------------------------------------------------------- given


def test_given_weights_are_put_at_their_sites() -> None:
    weights = given({"Cz": 1.0, "T3": -0.5}, SITES)
    assert weights[SITES.index("Cz")] == 1.0
    assert weights[SITES.index("T7")] == -0.5
    assert np.count_nonzero(weights) == 2


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        ({"XX": 1.0}, MontageError, "Fp1, Fp2, F7"),
        ({"Cz": float("nan")}, InputError, "Cz is nan"),
        ({"T3": 1.0, "T7": 1.0}, InputError, "same channel"),
        ({"Cz": 0.0}, InputError, "no weight"),
        ({}, InputError, "no weight"),
    ],
)
def test_wrong_weights_are_refused(
    weights: dict[str, float], error: type[InputError], says: str
) -> None:
    with pytest.raises(error, match=says):
        given(weights, SITES)


# ---------------------------------------------------------------- SSD


def test_ssd_recovers_a_source_and_its_pattern() -> None:
    uv, source, pattern = mixture(seconds=90.0)
    cut = round(60.0 * RATE_HZ)
    found = fitted(uv[:cut])
    assert isinstance(found, Ssd)
    assert np.corrcoef(uv[cut:] @ found.component, source[cut:])[0, 1] > 0.9
    assert np.corrcoef(uv[cut:, SITES.index("Pz")], source[cut:])[0, 1] < 0.8
    # Pattern 1 at the site: the number is the source's µV there, and its sign is no accident.
    assert found.patterns[SITES.index("Pz"), 0] == pytest.approx(1.0)
    near = pattern > 0.3
    assert found.patterns[near, 0] == pytest.approx(pattern[near], abs=0.15)
    assert np.polyfit(source, uv @ found.component, 1)[0] == pytest.approx(1.0, abs=0.15)
    assert found.ratios[0] > 5.0
    assert found.held_out_ratio > 5.0
    assert found.clean_s == pytest.approx(59.0)


def test_all_components_together_give_the_site_back() -> None:
    rng = np.random.default_rng(2)
    n = round(60.0 * RATE_HZ)
    mixing = rng.normal(size=(3, 3))
    sources = np.stack([rhythm(rng, n, hz) for hz in (9.5, 10.0, 10.5)], axis=1)
    uv = 10.0 * sources @ mixing + 0.5 * rng.standard_normal((n, 3))
    found = fitted(uv, names=("P3", "Pz", "P4"))
    assert isinstance(found, Ssd)
    assert len(found.ratios) == 3
    assert found.shares.sum() == pytest.approx(1.0)
    assert found.denoised == pytest.approx([0.0, 1.0, 0.0], abs=1e-9)


def test_average_reference_takes_one_direction_and_nothing_breaks() -> None:
    uv, source, _ = mixture()
    found = fitted(uv - uv.mean(axis=1, keepdims=True))
    assert isinstance(found, Ssd)
    # A weight on the mean of all channels would be a weight on nothing: none is given.
    assert abs(found.weights.sum(axis=0)).max() < 1e-6 * abs(found.weights).max()
    out = (uv - uv.mean(axis=1, keepdims=True)) @ found.component
    assert np.corrcoef(out, source)[0, 1] > 0.9


def test_ssd_is_deterministic_and_leaves_its_input_alone() -> None:
    uv, _, _ = mixture()
    before = uv.copy()
    first, second = fitted(uv), fitted(uv)
    assert isinstance(first, Ssd)
    assert isinstance(second, Ssd)
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(uv, before)
    turned = fitted(-uv)  # the sign of the weights hangs on the site, not on the solver
    assert isinstance(turned, Ssd)
    assert turned.component == pytest.approx(first.component)


def test_only_clean_samples_enter() -> None:
    uv, _, _ = mixture(seconds=80.0)
    clean = np.ones(len(uv), bool)
    clean[5000:7000] = False
    clean[9000:9100] = False
    plain = ssd(uv, clean, RATE_HZ, BAND_HZ, site="Pz", names=SITES)
    dirty = uv.copy()
    dirty[5000:7000] = 1e5
    dirty[9000:9100] = np.nan
    found = ssd(dirty, clean, RATE_HZ, BAND_HZ, site="Pz", names=SITES)
    assert isinstance(plain, Ssd)
    assert isinstance(found, Ssd)
    assert np.array_equal(found.weights, plain.weights)


def test_one_hemisphere_stays_one() -> None:
    uv, source, pattern = mixture()
    uv += 3.0 * np.outer(source, pattern)
    allowed = hemisphere(SITES, "left")
    found = fitted(uv, site="P3", allowed=allowed)
    assert isinstance(found, Ssd)
    assert one_sided(found.component, SITES, "left")
    assert one_sided(found.denoised, SITES, "left")
    assert np.isnan(found.patterns[~allowed]).all()
    with pytest.raises(ValueError, match="allowed"):
        fitted(uv, site="P4", allowed=allowed)


def test_why_there_is_no_ssd_is_said() -> None:
    uv, _, _ = mixture()
    noise = np.random.default_rng(3).standard_normal((len(uv), 19))
    none = fitted(noise)
    assert isinstance(none, NotPossible)
    assert "nothing stands out" in none.reason
    short = fitted(uv[: round(15 * RATE_HZ)])
    assert isinstance(short, NotPossible)
    assert "14 s" in short.reason
    # The source does not reach Fp1; what the site has in the band is noise.
    far = fitted(uv, site="Fp1")
    assert isinstance(far, NotPossible)
    assert "at Fp1" in far.reason
    silent = fitted(np.zeros_like(uv))
    assert isinstance(silent, NotPossible)
    narrow = ssd(uv, np.ones(len(uv), bool), 10.0, (0.8, 2.0), site="Pz", names=SITES)
    assert isinstance(narrow, NotPossible)
    assert "no room" in narrow.reason
    alone = fitted(uv[:, :1], site="Fp1", names=("Fp1",))
    assert isinstance(alone, NotPossible)
    assert "one channel" in alone.reason


def test_a_component_that_does_not_hold_is_refused() -> None:
    """So many channels and so few seconds that noise alone finds a direction that stands out."""
    rng = np.random.default_rng(6)
    n = round(25.0 * RATE_HZ)
    uv = rng.standard_normal((n, 120))
    uv[:, 0] += 1.2 * rhythm(rng, n, 10.0, 6.0)
    names = tuple(f"ch{i}" for i in range(120))
    found = fitted(uv, site="ch0", names=names, shrinkage=0.0)
    assert isinstance(found, NotPossible)
    assert "does not hold" in found.reason


def test_ssd_of_a_real_head_stands_out_in_the_other_half(shared_data: Path) -> None:
    eeg = read_eeg(shared_data / "restingiaf/tute_01_1.set")
    names = eeg.spec.names
    found = ssd(
        eeg.samples, np.ones(len(eeg.samples), bool), 250.0, (9.0, 13.0), site="Pz", names=names
    )
    assert isinstance(found, Ssd)
    assert found.held_out_ratio > 5.0
    assert found.patterns[names.index("Pz"), 0] == pytest.approx(1.0)


# ---------------------------------------------------------------- EOG


def test_eog_coefficients_are_recovered_and_become_weights() -> None:
    rng = np.random.default_rng(4)
    n = round(60.0 * RATE_HZ)
    around = np.zeros(n, bool)
    eog = rng.standard_normal((n, 2))
    for k, start in enumerate(range(500, n - 500, 1000)):
        around[start : start + 150] = True
        hump = np.sin(np.linspace(0.0, np.pi, 150)) ** 2
        eog[start : start + 150] += np.outer(hump, (150.0, 40.0) if k % 2 else (20.0, 120.0))
    b = np.array([[0.4, 0.1, 0.0], [0.05, 0.3, 0.0]])
    brain = 5.0 * rng.standard_normal((n, 3))
    uv = brain + eog @ b
    found = eog_regression(uv, eog, around, RATE_HZ)
    assert isinstance(found, EogFit)
    assert found.coefficients == pytest.approx(b, abs=0.01)
    assert found.explained[0] > 0.9
    assert found.explained[2] < 0.05
    assert found.blink_s == pytest.approx(np.count_nonzero(around) / RATE_HZ)
    everything = np.concatenate([uv, eog], axis=1)
    wide = np.concatenate([found.coefficients, np.eye(2)], axis=1)
    w = without_eog(np.array([1.0, 0.0, 0.0, 0.0, 0.0]), wide, (3, 4))
    assert everything @ w == pytest.approx(uv[:, 0] - eog @ found.coefficients[:, 0])
    assert not without_eog(np.array([0.0, 0.0, 0.0, 1.0, 0.0]), wide, (3, 4)).any()


def test_too_few_blinks_or_twin_electrodes_give_no_coefficients() -> None:
    rng = np.random.default_rng(5)
    uv = rng.standard_normal((5000, 3))
    eog = rng.standard_normal(5000)
    few = np.arange(5000) < round(3.9 * RATE_HZ)
    short = eog_regression(uv, eog, few, RATE_HZ)
    assert isinstance(short, NotPossible)
    assert "3.9 s" in short.reason
    twins = np.stack([eog, 2.0 * eog], axis=1)
    alike = eog_regression(uv, twins, np.ones(5000, bool), RATE_HZ)
    assert isinstance(alike, NotPossible)
    assert "alike" in alike.reason
    silent = eog_regression(uv, np.zeros(5000), np.ones(5000, bool), RATE_HZ)
    assert isinstance(silent, NotPossible)


def test_blinks_of_the_synthetic_person_go() -> None:
    """The same seed without blinks is the same brain: what is left of a blink is known."""
    made = [Person(RATE_HZ, seed=3, blinks=b, jaw=False).read(15000) for b in (True, False)]
    lids = made[0][:, COLUMNS.index("truth_blink")] > 0.0
    with_blinks, brain = (m[:, : len(SITES)] - m[:, : len(SITES)].mean(axis=0) for m in made)
    eog_at = [SITES.index("Fp1")]
    found = eog_regression(with_blinks, with_blinks[:, eog_at], lids, RATE_HZ)
    assert isinstance(found, EogFit)
    site = np.eye(len(SITES))[SITES.index("F3")]
    w = without_eog(site, found.coefficients, eog_at)
    blink = (with_blinks - brain)[lids]
    assert (blink @ w).std() < 0.15 * (blink @ site).std()
    assert one_sided(w, SITES, "left")
    pz = without_eog(np.eye(len(SITES))[SITES.index("Pz")], found.coefficients, eog_at)
    assert pz[SITES.index("Fp1")] == pytest.approx(0.0, abs=0.1)
