"""Coupling of two sites: known couplings, chance, volume conduction, honest windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import sosfilt
from scipy.special import hyp2f1

from engine.coupling import (
    METRICS,
    Coupling,
    analytic_floor,
    chance_floor,
    independent_points,
    window_s,
)
from engine.estimate import analytic_sos

Complex = NDArray[np.complex128]

RATE_HZ, HOP, GRID_HZ = 250.0, 5, 50.0
ALPHA = (8.0, 12.0)
POINTS = round(window_s(ALPHA) * GRID_HZ)
POSITIVE = tuple(m for m in METRICS if m != "envelope_correlation")


def rhythm(seed: int, seconds: float, sites: int = 2) -> Complex:
    """Return independent alpha-band signals at grid points, shape (n, sites)."""
    x = np.random.default_rng(seed).standard_normal((round(seconds * RATE_HZ), sites))
    z: Complex = sosfilt(analytic_sos(ALPHA, RATE_HZ), x.astype(complex), axis=0)[250::HOP]
    return z


def gaussian(seed: int, n: int) -> Complex:
    """Return independent circular Gaussian points, shape (n, 2)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)) + 1j * rng.standard_normal((n, 2))


def run(coupling: Coupling, za: Complex, zb: Complex) -> NDArray[np.float64]:
    pairs = zip(za.tolist(), zb.tolist(), strict=True)
    return np.array([coupling.step(a, b) for a, b in pairs])


def last(metric: str, za: Complex, zb: Complex) -> float:
    return float(run(Coupling(metric, len(za)), za, zb)[-1])


def plain(metric: str, za: Complex, zb: Complex) -> float:
    """Return a metric of one window by one line of NumPy."""
    s = za * zb.conj()
    power = np.sqrt((abs(za) ** 2).sum() * (abs(zb) ** 2).sum())
    value = {
        "coherence": abs(s.sum()) / power,
        "imaginary_coherence": abs(s.sum().imag) / power,
        "plv": abs(np.exp(1j * (np.angle(za) - np.angle(zb))).mean()),
        "wpli": abs(s.imag.sum()) / abs(s.imag).sum(),
        "envelope_correlation": np.corrcoef(abs(za), abs(zb))[0, 1],
    }[metric]
    return float(value)


# ---------------------------------------------------------------- the definitions


@pytest.mark.parametrize("metric", METRICS)
def test_every_point_equals_a_plain_computation_over_its_window(metric: str) -> None:
    z = rhythm(1, 12.0)
    values = run(Coupling(metric, POINTS), z[:, 0], z[:, 1])
    assert np.isnan(values[: POINTS - 1]).all()
    for end in range(POINTS, len(z) + 1):
        window = z[end - POINTS : end]
        expected = plain(metric, window[:, 0], window[:, 1])
        assert values[end - 1] == pytest.approx(expected, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("metric", METRICS)
def test_a_number_depends_on_its_window_alone(metric: str) -> None:
    """Bit for bit the same, whatever came before and wherever in memory the window lies."""
    z = rhythm(2, 20.0)
    values = run(Coupling(metric, POINTS), z[:, 0], z[:, 1])
    for start in (1, 17, 99, 400):
        part = z[start:]
        again = run(Coupling(metric, POINTS), part[:, 0], part[:, 1])
        assert np.array_equal(again[POINTS - 1 :], values[start + POINTS - 1 :])


@pytest.mark.parametrize("metric", METRICS)
def test_the_size_of_a_signal_does_not_matter(metric: str) -> None:
    z = rhythm(3, 4.0)
    one = last(metric, z[:, 0], z[:, 1])
    assert last(metric, 4096.0 * z[:, 0], z[:, 1] / 8.0) == one
    assert last(metric, 1e-5 * z[:, 0], 3e4 * z[:, 1]) == pytest.approx(one, rel=1e-11)


def test_identical_signals_are_coupled_entirely_and_do_not_lag() -> None:
    z = rhythm(4, 4.0)[:, 0]
    for other in (z, 0.37 * z, -2.9 * z):
        for metric in ("coherence", "plv", "envelope_correlation"):
            assert last(metric, z, other) == pytest.approx(1.0, abs=1e-12)
            assert last(metric, z, other) <= 1.0
        assert last("imaginary_coherence", z, other) < 1e-15
        assert last("wpli", z, other) == 0.0


@pytest.mark.parametrize("degrees", [30.0, 90.0, -90.0, 150.0])
def test_a_constant_lag(degrees: float) -> None:
    z = rhythm(5, 4.0)[:, 0]
    other = 0.4 * z * np.exp(1j * np.radians(degrees))
    for metric in ("coherence", "plv", "wpli", "envelope_correlation"):
        assert last(metric, z, other) == pytest.approx(1.0, abs=1e-12)
    sine = abs(math.sin(math.radians(degrees)))
    assert last("imaginary_coherence", z, other) == pytest.approx(sine, abs=1e-12)


def test_known_mixture_has_its_known_coherence() -> None:
    """Signal s and noise of equal power at both sites: coherence is one half, lag 60 degrees."""
    z = rhythm(6, 300.0, 3)
    lag = np.exp(1j * np.radians(60.0))
    za, zb = z[:, 0] + z[:, 1], lag * z[:, 0] + z[:, 2]
    assert last("coherence", za, zb) == pytest.approx(0.5, abs=0.03)
    assert last("imaginary_coherence", za, zb) == pytest.approx(0.5 * math.sin(np.pi / 3), abs=0.03)
    assert last("wpli", za, zb) > 0.5


def test_volume_conduction_leaves_the_lagged_metrics_alone() -> None:
    """One source seen by both sites at once, next to their own: coherent, and nothing lags.

    The expected values are those of circular Gaussians with coherence 0.8.
    """
    z = rhythm(7, 300.0, 3)
    za, zb = z[:, 0] + 2.0 * z[:, 2], z[:, 1] + 2.0 * z[:, 2]
    plv = np.pi / 4 * 0.8 * hyp2f1(0.5, 0.5, 2.0, 0.64)
    envelope = np.pi / 4 * (hyp2f1(-0.5, -0.5, 1.0, 0.64) - 1.0) / (1.0 - np.pi / 4)
    for metric, value in (("coherence", 0.8), ("plv", plv), ("envelope_correlation", envelope)):
        assert last(metric, za, zb) == pytest.approx(value, abs=0.04)
    for metric in ("imaginary_coherence", "wpli"):
        assert last(metric, za, zb) < 0.1
        live = np.nanmean(run(Coupling(metric, POINTS), za, zb))
        assert live < np.nanmean(run(Coupling(metric, POINTS), z[:, 0], z[:, 1])) + 0.03


# ---------------------------------------------------------------- chance


def test_the_golden_floors_of_plv() -> None:
    for n, floor in ((50, 0.125), (250, 0.056), (1500, 0.023)):
        assert analytic_floor("plv", n) == pytest.approx(floor, abs=5e-4)
    assert analytic_floor("plv", 50) == analytic_floor("coherence", 50)
    assert analytic_floor("envelope_correlation", 50) == 0.0
    assert analytic_floor("wpli", 1.0) == 1.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n", [4, 50])
def test_the_analytic_floor_is_what_independent_points_give(metric: str, n: int) -> None:
    values = []
    for z in gaussian(8, n * 800).reshape(800, n, 2):
        values.append(last(metric, z[:, 0], z[:, 1]))
    assert np.mean(values) == pytest.approx(analytic_floor(metric, n), rel=0.06, abs=0.03)


def test_independent_points_and_windows() -> None:
    assert window_s(ALPHA) == 2.0
    assert window_s((1.0, 4.0)) == pytest.approx(2.4)
    assert window_s((2.0, 3.0)) == pytest.approx(2.4)
    assert independent_points(ALPHA, 2.0) == 8.0
    assert independent_points((9.9, 10.1), 2.0) == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_independent_sites_lie_at_their_floor(metric: str) -> None:
    """The floor of one recording, subtracted from another of the same kind, leaves nothing."""
    base, live = rhythm(9, 80.0), rhythm(10, 240.0)
    every = np.ones(len(base), bool)
    floor = chance_floor(metric, base[:, 0], base[:, 1], every, POINTS, GRID_HZ)
    values = run(Coupling(metric, POINTS, floor), live[:, 0], live[:, 1])
    assert abs(np.nanmean(values)) < 0.04
    if metric in POSITIVE:
        expected = analytic_floor(metric, independent_points(ALPHA, window_s(ALPHA)))
        assert 0.8 * expected < floor < 1.05 * expected


@pytest.mark.parametrize("metric", ["coherence", "imaginary_coherence", "plv", "wpli"])
def test_a_floor_does_not_know_of_the_coupling(metric: str) -> None:
    z = rhythm(11, 60.0)
    every = np.ones(len(z), bool)
    coupled = chance_floor(metric, z[:, 0], 1j * z[:, 0] + 0.1 * z[:, 1], every, POINTS, GRID_HZ)
    apart = chance_floor(metric, z[:, 0], z[:, 1], every, POINTS, GRID_HZ)
    assert coupled == pytest.approx(apart, rel=0.1)


def test_a_floor_takes_no_gated_point() -> None:
    z = rhythm(12, 60.0)
    clean = np.ones(len(z), bool)
    dirty = z.copy()
    for at in range(300, len(z), 500):
        clean[at : at + 60] = False
        dirty[at : at + 60] = 1e4  # both sites alike: would look like coupling
    floor = chance_floor("coherence", z[:, 0], z[:, 1], clean, POINTS, GRID_HZ)
    assert chance_floor("coherence", dirty[:, 0], dirty[:, 1], clean, POINTS, GRID_HZ) == floor
    dirty[~clean] = np.nan
    every = np.ones(len(z), bool)
    assert chance_floor("coherence", dirty[:, 0], dirty[:, 1], every, POINTS, GRID_HZ) == floor


def test_two_sines_are_coupled_under_any_shift() -> None:
    t = np.arange(6000) / GRID_HZ
    za, zb = np.exp(2j * np.pi * 10.0 * t), 3.0 * np.exp(2j * np.pi * 10.0 * t + 1j)
    every = np.ones(len(t), bool)
    assert chance_floor("plv", za, zb, every, POINTS, GRID_HZ) == pytest.approx(1.0)


def test_a_floor_from_too_little_is_unknown() -> None:
    z = rhythm(13, 60.0)
    za, zb, every = z[:, 0], z[:, 1], np.ones(len(z), bool)
    assert math.isfinite(chance_floor("plv", za, zb, every, POINTS, GRID_HZ))
    few = every.copy()
    few[10 * POINTS - 1 :] = False
    assert math.isnan(chance_floor("plv", za, zb, few, POINTS, GRID_HZ))
    short = slice(0, 190)  # cannot be shifted by two seconds both ways
    assert math.isnan(chance_floor("plv", za[short], zb[short], every[short], 10, GRID_HZ))
    assert math.isnan(chance_floor("plv", za[:0], zb[:0], every[:0], POINTS, GRID_HZ))
    nothing = np.zeros(len(z), complex)
    assert math.isnan(chance_floor("plv", za, nothing, every, POINTS, GRID_HZ))
    with pytest.raises(ValueError, match="points of signal"):
        chance_floor("plv", za, zb[:-1], every, POINTS, GRID_HZ)


# ---------------------------------------------------------------- gates, gaps, the unknown


@pytest.mark.parametrize("metric", METRICS)
def test_a_pause_neither_enters_nor_empties_the_window(metric: str) -> None:
    z = rhythm(14, 8.0)
    straight = run(Coupling(metric, POINTS), z[:, 0], z[:, 1])
    for pause in ((150, POINTS), (20, 7), (150, 1)):
        at, points = pause
        coupling = Coupling(metric, POINTS)
        before = run(coupling, z[:at, 0], z[:at, 1])
        coupling.skip(points)
        after = run(coupling, z[at:, 0], z[at:, 1])
        assert np.array_equal(np.concatenate([before, after]), straight, equal_nan=True)


def test_a_pause_longer_than_the_window_starts_anew() -> None:
    z = rhythm(15, 8.0)
    one, bit_by_bit, restarted = (Coupling("plv", POINTS) for _ in range(3))
    for coupling in (one, bit_by_bit, restarted):
        run(coupling, z[:150, 0], z[:150, 1])
    one.skip(POINTS + 1)
    for _ in range(POINTS + 1):
        bit_by_bit.skip()
    restarted.restart()
    fresh = run(Coupling("plv", POINTS), z[150:, 0], z[150:, 1])
    assert np.isnan(fresh[: POINTS - 1]).all()
    for coupling in (one, bit_by_bit, restarted):
        assert coupling.filled == 0
        assert np.array_equal(run(coupling, z[150:, 0], z[150:, 1]), fresh, equal_nan=True)


def test_unknown_signals_are_a_pause() -> None:
    z = rhythm(16, 8.0)
    unknown, skipped = Coupling("wpli", POINTS), Coupling("wpli", POINTS)
    for coupling in (unknown, skipped):
        run(coupling, z[:150, 0], z[:150, 1])
    for za in (complex(math.nan, 0.0), complex(0.0, math.inf)):
        assert math.isnan(unknown.step(za, 1j))
        assert math.isnan(unknown.step(1j, za))
    skipped.skip(4)
    assert np.array_equal(
        run(unknown, z[150:, 0], z[150:, 1]), run(skipped, z[150:, 0], z[150:, 1])
    )


@pytest.mark.parametrize("metric", METRICS)
def test_a_site_without_signal_has_no_coupling_value(metric: str) -> None:
    z = rhythm(17, 4.0)[:, 0]
    assert math.isnan(last(metric, z, np.zeros(len(z), complex)))


def test_a_single_point_without_phase_hides_the_plv_while_it_is_in_the_window() -> None:
    z = rhythm(18, 8.0)
    z[150, 1] = 0.0
    values = run(Coupling("plv", POINTS), z[:, 0], z[:, 1])
    assert np.isnan(values[150 : 150 + POINTS]).all()
    assert np.isfinite(values[POINTS - 1 : 150]).all()
    assert np.isfinite(values[150 + POINTS :]).all()


def test_a_constant_envelope_correlates_with_nothing() -> None:
    t = np.arange(POINTS) / GRID_HZ
    z = rhythm(19, 8.0)[:POINTS, 0]
    assert math.isnan(last("envelope_correlation", 7.3 * np.exp(2j * np.pi * 10.3 * t), z))


def test_the_floor_is_subtracted_and_mistakes_are_refused() -> None:
    z = rhythm(20, 4.0)[:POINTS]
    coupling = Coupling("coherence", POINTS, floor=0.3)
    values = run(coupling, z[:, 0], z[:, 1])
    assert values[-1] == pytest.approx(plain("coherence", z[:, 0], z[:, 1]) - 0.3, abs=1e-12)
    with pytest.raises(ValueError, match="no coupling metric 'pli'"):
        Coupling("pli", POINTS)
    with pytest.raises(ValueError, match="at least 2 points"):
        Coupling("plv", 1)
    with pytest.raises(ValueError, match="at least one observation"):
        analytic_floor("plv", 0.5)
