"""The peers of the benchmark do what their papers say, so that beating them means something."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, freqz_sos, lfilter, welch

from benchmarks.data import simulated
from benchmarks.peers import (
    Fir,
    Peer,
    amplitudes,
    cfir,
    echt,
    every_peer,
    fft_window,
    fit_oscillators,
    steady_state,
    wiener,
)
from benchmarks.table import Table, median_interval

RATE_HZ = 250.0
BAND_HZ = (8.0, 12.0)
AT = np.arange(1500, 5000, 5)


def sine(f_hz: float, amplitude_uv: float, n: int = 5000) -> NDArray[np.float64]:
    return amplitude_uv * np.sin(2 * np.pi * f_hz * np.arange(n) / RATE_HZ + 0.3)


def noise(n: int = 15000, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(n)


def rhythm(f_hz: float, width_hz: float, n: int, seed: int = 0) -> NDArray[np.complex128]:
    pole = np.exp(-np.pi * width_hz / RATE_HZ + 2j * np.pi * f_hz / RATE_HZ)
    drive = np.random.default_rng(seed).standard_normal((2, n))
    z: NDArray[np.complex128] = lfilter([1.0], [1.0, -pole], drive[0] + 1j * drive[1])
    return z


def ideal(x: NDArray[np.float64]) -> NDArray[np.complex128]:
    f = np.fft.fftfreq(len(x), 1 / RATE_HZ)
    inside = (f >= BAND_HZ[0]) & (f <= BAND_HZ[1])
    return np.asarray(np.fft.ifft(2 * inside * np.fft.fft(x)))


@pytest.fixture(scope="module")
def grid() -> list[Peer]:
    x = 0.2 * rhythm(10.0, 1.0, 15000).real + 2 * noise()
    return every_peer(x, BAND_HZ, RATE_HZ)


def test_every_family_has_its_grid(grid: list[Peer]) -> None:
    families = {p.family for p in grid}
    assert families == {
        "cFIR",
        "weighted cFIR",
        "ecHT",
        "IIR+rectify+LP",
        "FFT 0.5 s",
        "FFT 1 s",
        "FFT 2 s",
        "Welch 1 s",
        "Welch 2 s",
        "Kalman (Matsuda-Komaki)",
    }
    assert len({(p.family, p.setting) for p in grid}) == len(grid)


def test_some_setting_of_each_family_reads_a_sine_of_the_band_as_its_amplitude(
    grid: list[Peer],
) -> None:
    """A sine of 7 µV at 10 Hz. The Kalman filter shrinks what its model takes for noise."""
    read = amplitudes(grid, sine(10.0, 7.0), AT)
    for family in {p.family for p in grid}:
        members = [i for i, p in enumerate(grid) if p.family == family]
        error = np.abs(read[members] - 7.0).max(axis=1).min()
        assert error < (1.5 if family.startswith("Kalman") else 0.35), family


def test_a_sine_outside_the_band_is_hardly_read(grid: list[Peer]) -> None:
    """The Kalman filter knows no band, only that its noise is small next to its rhythm."""
    read = amplitudes(grid, sine(30.0, 7.0), AT)
    for family in {p.family for p in grid}:
        members = [i for i, p in enumerate(grid) if p.family == family]
        assert read[members].mean(axis=1).min() < (1.0 if family.startswith("Kalman") else 0.2)


def test_amplitudes_are_those_of_plain_convolution(grid: list[Peer]) -> None:
    x = noise(3000, seed=3)
    at = np.array([700, 1234, 2999])
    for peer in (grid[5], grid[100], fft_window(BAND_HZ, RATE_HZ)[1]):
        assert isinstance(peer, Fir)
        found = amplitudes([grid[-1], peer], x, at)[1]
        plain = sum(np.abs(np.convolve(x, k[::-1])[at]) ** 2 for k in peer.taps)
        assert found == pytest.approx(np.sqrt(plain))


# ---------------------------------------------------------------- cFIR


def test_cfir_with_a_long_delay_is_the_ideal_filter() -> None:
    """What lies beyond 1 s of the ideal filter of 4 Hz is 1 / (4 pi²) of its energy, 16 % rms."""
    x = noise()
    at = np.arange(3000, 12000, 5)
    truth = np.abs(ideal(x))
    errors = []
    for delay_s in (0.05, 0.25, 1.0):
        (peer,) = cfir(BAND_HZ, RATE_HZ, taps_s=(2.0,), delays_s=(delay_s,))
        sought = truth[at - round(delay_s * RATE_HZ)]
        difference = amplitudes([peer], x, at)[0] - sought
        errors.append(float(np.sqrt(np.mean(difference**2) / np.mean(sought**2))))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.16


def test_unweighted_cfir_is_the_least_squares_fit() -> None:
    """Against a dense least-squares solution on the same grid of frequencies."""
    n, delay_s = 62, 0.1
    (peer,) = cfir(BAND_HZ, RATE_HZ, taps_s=(n / RATE_HZ,), delays_s=(delay_s,))
    f = np.fft.fftfreq(1000, 1 / RATE_HZ)
    basis = np.exp(-2j * np.pi * np.outer(f, np.arange(n)) / RATE_HZ)
    wanted = 2 * ((f >= 8) & (f <= 12)) * np.exp(-2j * np.pi * f * delay_s)
    solution = np.linalg.lstsq(basis, wanted, rcond=None)[0]
    assert peer.taps[0, ::-1] == pytest.approx(solution, abs=1e-9)


def test_weighted_cfir_spends_its_error_where_the_signal_is_weak() -> None:
    x = noise() + sine(20.0, 20.0, 15000)
    plain = cfir(BAND_HZ, RATE_HZ, taps_s=(0.5,), delays_s=(0.1,))[0]
    weighted = cfir(BAND_HZ, RATE_HZ, x, taps_s=(0.5,), delays_s=(0.1,))[0]
    at_20 = np.exp(2j * np.pi * 20.0 * np.arange(125) / RATE_HZ)
    assert abs(weighted.taps[0] @ at_20) < 0.1 * abs(plain.taps[0] @ at_20)


# ---------------------------------------------------------------- ecHT


def test_echt_is_the_last_sample_of_the_corrected_hilbert_transform() -> None:
    """The definition: FFT, one side doubled, causal Butterworth response, inverse, newest value."""
    peers = echt(BAND_HZ, RATE_HZ)
    x = noise(500, seed=1)
    peer = next(p for p in peers if p.setting == "1 s, order 2, width x1")
    n = peer.taps.shape[1]
    window = x[-n:]
    spectrum = np.fft.fft(window)
    f = np.fft.fftfreq(n, 1 / RATE_HZ)
    spectrum[f > 0] *= 2
    spectrum[f <= 0] = 0
    spectrum[n // 2] = 0
    sos = butter(2, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    _, response = freqz_sos(sos, worN=f, fs=RATE_HZ)
    assert peer.taps[0] @ window == pytest.approx(np.fft.ifft(spectrum * response)[-1])


# ---------------------------------------------------------------- Kalman


def test_whittle_finds_a_simulated_peak() -> None:
    x = 0.1 * rhythm(10.6, 1.2, 30000).real
    x += 0.3 * lfilter([1.0], [1.0, -0.95], noise(30000, seed=5)) + 0.5 * noise(30000, seed=6)
    model = fit_oscillators(x, (9.5,), RATE_HZ)
    assert model.f_hz[0] == pytest.approx(10.6, abs=0.15)
    width_hz = -np.log(model.damping[0]) * RATE_HZ / np.pi
    assert 0.7 < width_hz < 1.9
    f, density = welch(x, RATE_HZ, nperseg=1000)
    inside = (f >= 2) & (f <= 40)
    ratio = model.psd(f, RATE_HZ)[inside] / density[inside]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def test_steady_state_equals_the_recursion_step_by_step() -> None:
    """The diagonalised filter against Kalman's equations run until their gain is steady."""
    x = rhythm(10.0, 1.0, 2500).real + 3 * noise(2500)
    model = fit_oscillators(x, (10.0,), RATE_HZ)
    turn = 2 * np.pi * model.f_hz[0] / RATE_HZ
    step = np.zeros((3, 3))
    step[:2, :2] = model.damping[0] * np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    step[2, 2] = model.ar
    q = np.diag([model.drive[0] ** 2, model.drive[0] ** 2, model.ar_drive**2])
    sees = np.array([1.0, 0.0, 1.0])
    state, spread = np.zeros(3), np.eye(3)
    found = []
    for value in x:
        state, spread = step @ state, step @ spread @ step.T + q
        gain = spread @ sees / (sees @ spread @ sees + model.white**2)
        state = state + gain * (value - sees @ state)
        spread = spread - np.outer(gain, sees @ spread)
        found.append(np.hypot(state[0], state[1]))
    run = steady_state(model, RATE_HZ)
    assert run(x)[-250:] == pytest.approx(np.array(found)[-250:], rel=1e-3)


# ---------------------------------------------------------------- limit, data, tables


def test_no_peer_passes_the_limit_at_lag_zero() -> None:
    """On the Gaussian simulation, whose best filter is known, whatever setting a peer picks."""
    case = simulated("gauss", 5.0, 0)
    at = case.at()
    assert case.densities is not None
    oracle = wiener(*case.densities, case.rate_hz, (0.0,))
    peers = [*cfir(case.band_hz, RATE_HZ), *cfir(case.band_hz, RATE_HZ, case.train_uv)]
    truth = case.envelope(at, 0.0)
    found = amplitudes([*oracle, *peers], case.test_uv, at)
    r = [np.corrcoef(row, truth)[0, 1] for row in found]
    assert r[0] > 0.4
    assert max(r[1:]) < r[0] + 0.005


@pytest.mark.parametrize("kind", ["gauss", "burst"])
def test_simulated_densities_are_those_of_the_simulation(kind: str) -> None:
    """Averaged over seeds, because one spindle more or less weighs a lot."""
    ratios = []
    for seed in range(4):
        case = simulated(kind, 5.0, seed)
        assert case.densities is not None
        f, whole, target = case.densities
        near = np.abs(f - sum(case.band_hz) / 2) <= 2.0
        ratio = 10 * np.log10(target[near].sum() / (whole - target)[near].sum())
        assert ratio == pytest.approx(5.0, abs=1e-6)
        g, found = welch(case.test_uv, RATE_HZ, nperseg=1000)
        background = (g > 20) & (g < 100)
        expected = np.interp(g, f, whole)
        assert np.median(found[background] / expected[background]) == pytest.approx(1.0, abs=0.07)
        inside = np.abs(g - sum(case.band_hz) / 2) <= 2.0
        ratios.append(found[inside].sum() / expected[inside].sum())
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.2)


def test_median_interval_draws_whole_groups() -> None:
    values = np.array([0.0] * 50 + [1.0])
    one_voice_each = median_interval(values, [str(i) for i in range(51)])
    two_people = median_interval(values, ["a"] * 50 + ["b"])
    assert one_voice_each == (0.0, 0.0, 0.0)
    assert two_people == (0.0, 0.0, 1.0)
    assert np.isnan(median_interval(np.array([np.nan]), ["a"])).all()


def test_table_is_markdown() -> None:
    table = Table("Things, µV", ("a", "b"), (("1", "2"),), ("Said below.",))
    assert table.markdown().splitlines() == [
        "### Things, µV",
        "",
        "| a | b |",
        "|---|---|",
        "| 1 | 2 |",
        "",
        "Said below.",
    ]
