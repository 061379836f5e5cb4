"""Weights for a place inside the head: what they favour, what they refuse, what they admit."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from engine import source
from engine.errors import InputError, MontageError
from engine.source import FEWEST_SITES, REGIONS, lead_field, source_weights

REPO = Path(__file__).resolve().parents[2]
# fmt: off
S19 = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz",
    "C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)
S32 = (
    *S19, "AF3", "AF4", "FC5", "FC1", "FC2", "FC6", "CP5", "CP1", "CP2", "CP6", "PO3", "PO4", "Oz",
)
# fmt: on
PCC, FRONTAL_POLE = (0.0, -52.0, 26.0), (0.0, 60.0, 0.0)
METHODS = ("eloreta", "lcmv")


def power(weights: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Return the power of each place, mean over rows and directions: what the engine takes."""
    return np.mean(np.einsum("rs,spd->rpd", weights, field) ** 2, axis=(0, 2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sites", [S19, S32], ids=["19", "32"])
def test_a_dipole_in_the_region_gives_more_than_one_in_front(sites, method) -> None:
    found = source_weights(sites, "pcc", method=method)
    field = lead_field(found.sites, np.array([PCC, FRONTAL_POLE]))
    here, front = power(found.weights, field)
    assert here > 10.0 * front
    # Pz alone tells them apart less well.
    pz = np.mean(field[list(sites).index("Pz")] ** 2, axis=1)
    assert here / front > 2.0 * pz[0] / pz[1]


def test_a_simulated_recording_follows_the_dipole_in_the_region() -> None:
    rng = np.random.default_rng(13)
    found = source_weights(S19, "pcc")
    field = lead_field(S19, np.array([PCC, FRONTAL_POLE]))
    direction = np.array([0.0, 0.6, 0.8])
    moments_nam = 20.0 * rng.standard_normal((2, 5000))
    noise_uv = 0.1 * rng.standard_normal((19, 5000))

    def measured(place: int) -> float:
        uv = np.outer(field[:, place] @ direction, moments_nam[place]) + noise_uv
        return float(np.mean((found.weights @ uv) ** 2))

    assert measured(0) > 5.0 * measured(1)


@pytest.mark.parametrize("method", METHODS)
def test_the_rows_are_unit_norm_and_orthogonal(method) -> None:
    w = source_weights(S32, "pcc", method=method).weights
    assert w.shape == (3, 32)
    np.testing.assert_allclose(w @ w.T, np.eye(3), atol=1e-12)
    assert not w.flags.writeable


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_at_all_sites_changes_nothing(method) -> None:
    w = source_weights(S19, "pcc", method=method).weights
    uv = np.random.default_rng(1).normal(0.0, 10.0, (19, 50))
    np.testing.assert_allclose(w @ (uv + 1e5), w @ uv, atol=1e-8)


def test_golden_values() -> None:
    """Computed with MNE 1.13.2. The projector is free of the rows' order and sign."""
    found = source_weights(S19, "pcc")
    projector = found.weights.T @ found.weights
    at = [S19.index(s) for s in ("Pz", "P3", "P4", "O1", "O2", "Cz", "Fp1", "T7")]
    np.testing.assert_allclose(
        np.diag(projector)[at],
        [0.8438, 0.4507, 0.3860, 0.4195, 0.4031, 0.2194, 0.0023, 0.0120],
        atol=2e-3,
    )
    s = found.spread
    assert s.fwhm_mm == pytest.approx(84.3, abs=1.0)
    assert s.peak_mm == pytest.approx(35.8, abs=0.1)
    assert s.region_gain == pytest.approx(0.498, abs=0.005)
    assert s.far_share == pytest.approx(0.856, abs=0.002)


def test_golden_values_of_the_beamformer() -> None:
    found = source_weights(S19, "pcc", method="lcmv")
    at = [S19.index(s) for s in ("Pz", "P3", "P4", "O1", "O2", "Cz")]
    np.testing.assert_allclose(
        np.sum(found.weights**2, axis=0)[at],
        [0.7858, 0.4724, 0.3905, 0.4573, 0.4335, 0.2157],
        atol=2e-3,
    )


def test_more_sites_spread_less() -> None:
    few, many = source_weights(S19, "pcc").spread, source_weights(S32, "pcc").spread
    assert many.fwhm_mm < few.fwhm_mm
    assert many.far_share < few.far_share


def test_the_warning_says_the_numbers() -> None:
    assert source_weights(S19, "pcc").warning == (
        "Point spread: with 19 sites this number is not the posterior cingulate cortex alone. "
        "Its full width at half maximum is 8.4 cm; if all of the brain were equally active, 86 % "
        "of its power would come from beyond 3 cm. Its gain is largest 3.6 cm away, and in the "
        "region 50 % of that. Computed for a spherical model head, not for this person's."
    )


def test_aliases_and_the_spelling_of_amplifiers_do() -> None:
    old = {"T7": "T3", "T8": "EEG T4-REF", "P7": "t5", "P8": "T6", "Fp1": "FP1.", "Cz": "CZ"}
    found = source_weights([old.get(s, s) for s in S19], "pcc")
    np.testing.assert_array_equal(found.weights, source_weights(S19, "pcc").weights)
    assert found.sites[S19.index("T8")] == "EEG T4-REF"


def test_the_order_of_the_sites_is_that_of_the_columns() -> None:
    turned = source_weights(S19[::-1], "pcc").weights[:, ::-1]
    straight = source_weights(S19, "pcc").weights
    np.testing.assert_allclose(turned.T @ turned, straight.T @ straight, atol=1e-6)


def test_ears_and_unknown_names_are_left_out_and_told() -> None:
    found = source_weights([*S19[:5], "A1", "EEG 21", *S19[5:], "M2"], "pcc")
    assert found.sites == S19
    assert found.left_out == ("A1", "EEG 21", "M2")
    np.testing.assert_array_equal(found.weights, source_weights(S19, "pcc").weights)


def test_rows_over_other_columns() -> None:
    found = source_weights(S19, "pcc")
    names = ("HEOG", *[{"T7": "T3"}.get(s, s) for s in S19[::-1]], "FCz")
    rows = np.array(found.over(names))
    assert rows.shape == (3, 21)
    np.testing.assert_array_equal(rows[:, 1:20][:, ::-1], found.weights)
    assert not rows[:, [0, 20]].any()
    with pytest.raises(MontageError, match="need Fp1, Pz; the channels are"):
        found.over([s for s in S19 if s not in ("Fp1", "Pz")])


def test_fewer_than_19_sites_are_refused() -> None:
    with pytest.raises(MontageError) as caught:
        source_weights([*S19[:18], "A1", "ch20"], "pcc")
    assert caught.value.what == (
        "a target in the posterior cingulate cortex needs at least 19 EEG sites of the 10-20 "
        "system, and there are 18 (no place is known for A1, ch20)"
    )
    assert "24 are better" in caught.value.fix
    assert FEWEST_SITES == 19


@pytest.mark.parametrize("twice", ["Cz", "T3"])
def test_two_names_of_one_place_are_refused(twice: str) -> None:
    with pytest.raises(MontageError, match=f"and {twice} are the same place"):
        source_weights([*S19, twice], "pcc")


def test_an_unknown_region_or_method_is_refused() -> None:
    with pytest.raises(InputError, match="no region 'amygdala'") as caught:
        source_weights(S19, "amygdala")
    assert "pcc" in caught.value.fix
    with pytest.raises(InputError, match="no inverse 'sloreta'"):
        source_weights(S19, "pcc", method="sloreta")


def test_the_same_bits_whatever_the_threads() -> None:
    first = source_weights(S19, "pcc")
    assert source_weights(list(S19), "pcc") is first
    source._weights.cache_clear()
    with threadpool_limits(limits=2):
        again = source_weights(S19, "pcc")
    assert again is not first
    assert again.weights.tobytes() == first.weights.tobytes()
    assert again.spread == first.spread


def test_another_process_gets_the_same_bits_and_imports_mne_late() -> None:
    code = (
        "import sys, hashlib, engine.source as s\n"
        "assert 'mne' not in sys.modules and 'scipy' not in sys.modules\n"
        f"w = s.source_weights({S19!r}, 'pcc')\n"
        "print(hashlib.sha256(w.weights.tobytes()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here = hashlib.sha256(source_weights(S19, "pcc").weights.tobytes()).hexdigest()
    assert done.stdout.split() == [here]
    assert done.stderr == ""


# ---------------------------------------------------------------- the model head


def shells(eccentricity: float, n: int) -> float:
    """Return the scalp's coefficient of degree n of a dipole in four shells of outer radius 1.

    Solves potential and current at every boundary, in place of the three equivalent dipoles that
    MNE fits (Berg and Scherg 1994).
    """
    r, sigma = (0.9, 0.92, 0.97, 1.0), (0.33, 1.0, 0.004, 0.33)
    a, b = np.zeros((7, 7)), np.zeros(7)
    columns = [(0,), (1, 2), (3, 4), (5, 6)]  # r^n, and r^-(n+1) beyond the brain
    for i in range(3):
        x = r[i]
        for layer, sign in ((i, 1.0), (i + 1, -1.0)):
            both = (x**n, x ** -(n + 1))
            slopes = (n * x ** (n - 1), -(n + 1) * x ** -(n + 2))
            for column, value, slope in zip(columns[layer], both, slopes, strict=False):
                a[2 * i, column] += sign * value
                a[2 * i + 1, column] += sign * sigma[layer] * slope
        if i == 0:
            b[0], b[1] = -(x ** -(n + 1)), sigma[0] * (n + 1) * x ** -(n + 2)
    a[6, 5], a[6, 6] = n, -(n + 1)  # no current leaves the scalp
    x = np.linalg.solve(a, b)
    return float(x[5] + x[6]) * eccentricity ** (n - 1) / (4.0 * np.pi * sigma[0])


@pytest.mark.parametrize("place_mm", [PCC, FRONTAL_POLE, (-40.0, -20.0, 55.0), (1.0, 2.0, 0.0)])
def test_the_lead_field_is_that_of_four_shells(place_mm) -> None:
    head = source._template()
    on = np.array([head.sites_m[s] for s in S19]) - head.centre_m
    on /= head.radius_m
    at = (source._to_head(np.array([place_mm]), head)[0] - head.centre_m) / head.radius_m
    far = float(np.linalg.norm(at))
    cosine = on @ at / far
    across = on - cosine[:, None] * at / far  # its length is the sine
    expected = np.zeros((19, 3))
    for n in range(1, 80):
        series = np.polynomial.Legendre.basis(n)
        radial = n * series(cosine)[:, None] * at / far
        tangential = series.deriv()(cosine)[:, None] * across
        expected += shells(far, n) * (radial + tangential)
    expected *= 1e-3 / head.radius_m**2  # V per A m to µV per nA m
    expected -= expected.mean(axis=0)
    field = lead_field(S19, np.array([place_mm]))[:, 0]
    np.testing.assert_allclose(field, expected, atol=0.003 * np.abs(expected).max())


def test_template_electrodes_lie_near_the_sphere() -> None:
    """The claim of the module: 4 mm on average."""
    import mne

    head = source._template()
    names = mne.channels.get_builtin_montages()
    name = "colin27_1005" if "colin27_1005" in names else "standard_1005"
    places = mne.channels.make_standard_montage(name).get_positions()["ch_pos"]
    p = np.array([places[k] for k in head.sites_m])
    p = mne.transforms.apply_trans(head.mri_to_head, p)
    off_mm = 1000.0 * np.abs(np.linalg.norm(p - head.centre_m, axis=1) - head.radius_m)
    assert off_mm.mean() == pytest.approx(4.4, abs=0.2)
    assert head.radius_m == pytest.approx(0.0982, abs=2e-4)


def test_left_and_right_are_alike() -> None:
    field = lead_field(("C3", "Cz", "C4", "F3", "F4"), np.array([[-40.0, -20, 50], [40, -20, 50]]))
    left, right = np.linalg.norm(field[0, 0]), np.linalg.norm(field[2, 1])
    assert left == pytest.approx(right, rel=0.05)
    assert left > 2.0 * np.linalg.norm(field[0, 1])


def test_the_lead_field_refuses_what_it_cannot_place() -> None:
    with pytest.raises(InputError, match="0, 0, 200 mm lies outside"):
        lead_field(S19, np.array([[0.0, 0.0, 200.0]]))
    with pytest.raises(MontageError, match="known for A1, X"):
        lead_field(["Cz", "A1", "X"], np.array([PCC]))


def test_every_region_lies_in_the_grid() -> None:
    head = source._template()
    for region in REGIONS.values():
        places = source._grid(region.centre_mm, head)
        away = np.linalg.norm(places - np.array(region.centre_mm), axis=1)
        assert away.min() < 1e-9
        assert np.sum(away <= region.radius_mm) == 19
