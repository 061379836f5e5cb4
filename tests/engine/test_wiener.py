"""The Wiener filter: its spectrum, its optimality, its nulls, what it says about itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.signal import lfilter, welch

from engine.aperiodic import aperiodic_fit
from engine.frames import Bool, Float
from engine.wiener import (
    MIN_CLEAN_S,
    Kernel,
    Spectrum,
    WienerProblem,
    alpha_peak_hz,
    clean_runs,
    design,
    envelope_correlation,
    null_refused,
    spectra,
    spectrum,
    taps_for,
)

RATE_HZ = 250.0
ALPHA = (8.0, 12.0)


def rhythm(n: int, seed: int, hz: float = 10.0, width_hz: float = 0.8) -> np.ndarray:
    """Return a complex resonator of unit variance: a rhythm whose envelope is known."""
    rng = np.random.default_rng(seed)
    a = np.exp(-2.0 * np.pi * width_hz / RATE_HZ)
    noise = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    z: np.ndarray = lfilter([1.0], [1.0, -a * np.exp(2j * np.pi * hz / RATE_HZ)], noise)
    return z * np.sqrt((1.0 - a * a) / 2.0)


def pink(n: int, seed: int, exponent: float = 1.0) -> Float:
    rng = np.random.default_rng(seed)
    f = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    f[0] = f[1]
    x = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) / f ** (exponent / 2.0), n)
    return np.asarray(x / x.std())


def eeg(seconds: float, seed: int, alpha_uv: float = 10.0) -> tuple[Float, np.ndarray]:
    """Return EEG-like data and its rhythm, analytic (real part is what is in the data)."""
    n = round(seconds * RATE_HZ)
    z = alpha_uv * rhythm(n, seed)
    rng = np.random.default_rng(seed + 1000)
    return z.real + 8.0 * pink(n, seed + 500) + 0.5 * rng.standard_normal(n), z


def every(x: Float) -> Bool:
    return np.ones(len(x), bool)


def ideal(x: Float, band_hz: tuple[float, float]) -> np.ndarray:
    f = np.fft.fftfreq(len(x), 1.0 / RATE_HZ)
    return np.fft.ifft(np.where((f >= band_hz[0]) & (f <= band_hz[1]), np.fft.fft(x), 0.0))


def band_signal(kernel: Kernel, x: Float) -> np.ndarray:
    return np.convolve(x, kernel.taps[::-1])[: len(x)]


def accuracy(kernel: Kernel, x: Float, lag_s: float) -> float:
    """Return the correlation of the causal envelope with the ideal one `lag_s` ago."""
    lag = round(lag_s * RATE_HZ)
    a, t = np.abs(band_signal(kernel, x)), np.abs(ideal(x, kernel.band_hz))
    return float(np.corrcoef(a[1000:-500], t[1000 - lag : len(x) - 500 - lag])[0, 1])


# ---------------------------------------------------------------- the spectrum


def test_spectrum_is_welchs() -> None:
    x = eeg(60, 1)[0]
    found = spectrum(x, every(x), RATE_HZ)
    f, density = welch(x, RATE_HZ, nperseg=500, noverlap=375, nfft=1000, detrend="constant")
    assert np.allclose(found.f_hz, f)
    assert np.allclose(found.density, density, rtol=1e-9, atol=1e-12)
    inside = (f >= 8.0) & (f <= 12.0)
    assert found.power(ALPHA) == pytest.approx(np.trapezoid(density[inside], f[inside]), rel=1e-9)


def test_spectrum_of_several_channels_is_their_mean() -> None:
    x = np.column_stack([eeg(20, s)[0] for s in (1, 2, 3)])
    alone = [spectrum(x[:, k], every(x), RATE_HZ).density for k in range(3)]
    assert np.allclose(spectrum(x, every(x), RATE_HZ).density, np.mean(alone, axis=0))


def test_spectra_of_many_channels_are_those_of_each() -> None:
    x = np.random.default_rng(5).normal(size=(4000, 40))
    clean = every(x)
    clean[1500:1520] = False
    wanted = [39, 0, *range(1, 36)]
    found = spectra(x, clean, RATE_HZ, wanted)
    for k, one in zip(wanted, found, strict=True):
        alone = spectrum(x[:, k], clean, RATE_HZ)
        assert np.allclose(one.density, alone.density, rtol=1e-9, atol=1e-15)
        assert (one.windows, one.clean_s) == (alone.windows, alone.clean_s)
    (nothing,) = spectra(x, np.zeros(4000, bool), RATE_HZ, [3])
    assert (nothing.windows, nothing.clean_s, nothing.density.any()) == (0, 0.0, False)


def test_only_clean_samples_count() -> None:
    x, _ = eeg(60, 2)
    clean = every(x)
    spoilt = x.copy()
    for at in (1000, 4000, 9000):
        clean[at : at + 300] = False
        spoilt[at : at + 300] = 1e6
    assert np.array_equal(
        spectrum(spoilt, clean, RATE_HZ).density, spectrum(x, clean, RATE_HZ).density
    )
    assert spectrum(x, clean, RATE_HZ).clean_s == pytest.approx(60 - 3.6, abs=2.0)
    assert clean_runs(clean) == [(0, 1000), (1300, 4000), (4300, 9000), (9300, 15000)]
    nothing = spectrum(x, np.zeros(len(x), bool), RATE_HZ)
    assert (nothing.windows, nothing.clean_s) == (0, 0.0)
    with pytest.raises(ValueError, match="no clean window"):
        design(nothing, ALPHA)


# ---------------------------------------------------------------- the filter


def test_it_solves_the_normal_equations() -> None:
    """Against a dense solution with the constraints as equations of their own."""
    x, _ = eeg(60, 3)
    problem = WienerProblem(spectrum(x, every(x), RATE_HZ), ALPHA, mains_hz=50.0, taps_s=0.5)
    h = problem.solve(0.1)
    n = problem.n_taps
    age = np.arange(n)
    c = np.exp(2j * np.pi * np.outer(age, [0.0, 50.0, -50.0]) / RATE_HZ)
    big = np.block([[toeplitz(problem._column), c], [c.conj().T, np.zeros((3, 3))]])
    expected = np.linalg.solve(big, np.concatenate([problem.cross(0.1), np.zeros(3)]))[:n]
    assert np.allclose(h, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_no_other_filter_does_better_on_the_model() -> None:
    x, _ = eeg(120, 4)
    problem = WienerProblem(spectrum(x, every(x), RATE_HZ), ALPHA)
    h = problem.solve(0.05)
    best = problem.coherence(h, 0.05)
    rng = np.random.default_rng(1)
    free = WienerProblem(spectrum(x, every(x), RATE_HZ), ALPHA)
    free._nulls = None
    top = free.coherence(free.solve(0.05), 0.05)
    assert best <= top
    for _ in range(20):
        step = rng.standard_normal(len(h)) + 1j * rng.standard_normal(len(h))
        assert free.coherence(free.solve(0.05) + 1e-3 * np.abs(h).max() * step, 0.05) < top


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("band_hz", [ALPHA, (4.0, 8.0), (12.0, 15.0), (15.0, 25.0)])
def test_what_it_expects_is_what_comes(delay_s: float, band_hz: tuple[float, float]) -> None:
    """The limit curve from the spectrum alone, against ten minutes of fresh data."""
    train, test = eeg(120, 5)[0], eeg(600, 6)[0]
    problem = WienerProblem(spectrum(train, every(train), RATE_HZ), band_hz)
    kernel = problem.kernel(delay_s)
    expected = float(problem.expected(kernel, [delay_s])[0])
    assert expected == pytest.approx(float(problem.limit([delay_s])[0]), abs=1e-9)
    assert accuracy(kernel, test, delay_s) == pytest.approx(expected, abs=0.05)


def test_more_delay_is_never_worse() -> None:
    x = eeg(120, 7)[0]
    limit = WienerProblem(spectrum(x, every(x), RATE_HZ), ALPHA).limit(np.arange(0, 0.31, 0.02))
    assert (np.diff(limit) > -1e-6).all()
    assert 0.6 < limit[0] < limit[-1] < 1.0


def test_rhythm_target_follows_the_rhythm_better_than_the_band() -> None:
    better = []
    for seed in range(4):
        train, _ = eeg(120, 10 + seed, alpha_uv=6.0)
        test, z = eeg(180, 50 + seed, alpha_uv=6.0)
        found = spectrum(train, every(train), RATE_HZ)
        background = aperiodic_fit(found.f_hz, found.density).density(found.f_hz)
        lag = round(0.2 * RATE_HZ)
        truth = np.abs(z)[1000 - lag : len(z) - 500 - lag]
        r = []
        for target in ("band", "rhythm"):
            kernel = design(found, ALPHA, delay_s=0.2, target=target, background=background)
            r.append(np.corrcoef(np.abs(band_signal(kernel, test))[1000:-500], truth)[0, 1])
        better.append(r[1] - r[0])
    assert min(better) > 0.02


def test_rhythm_target_says_when_there_is_none() -> None:
    x = pink(30000, 1)
    found = spectrum(x, every(x), RATE_HZ)
    with pytest.raises(ValueError, match="stands out"):
        design(found, ALPHA, target="rhythm", background=10.0 * found.density)
    with pytest.raises(ValueError, match="background"):
        design(found, ALPHA, target="rhythm")


# ---------------------------------------------------------------- nulls and responses


def test_nulls_at_zero_mains_and_the_alpha_peak() -> None:
    x = eeg(120, 8)[0]
    found = spectrum(x, every(x), RATE_HZ)
    for band_hz in ((4.0, 8.0), (12.0, 15.0)):
        kernel = design(found, band_hz, mains_hz=50.0, reject_hz=10.0)
        centre = np.abs(kernel.response(sum(band_hz) / 2.0))[0]
        assert np.abs(kernel.response([0.0, 50.0, -50.0])).max() < 1e-9 * centre
        assert kernel.reads(10.0)[0] < 1e-12
        # Also beside the exact null: a person's alpha is no line.
        assert np.sqrt(kernel.reads([9.75, 10.25])).max() < 0.1 * centre
    # Inside the band it is the signal itself.
    kept = design(found, ALPHA, reject_hz=10.0)
    assert kept.reads(10.0)[0] > 0.8
    assert design(found, (45.0, 55.0), mains_hz=50.0).reads(50.0)[0] > 0.1


def test_theta_and_smr_keep_out_a_strong_alpha() -> None:
    """Response below 2 % (amplitude) at the person's alpha peak."""
    x = eeg(120, 9, alpha_uv=40.0)[0]
    found = spectrum(x, every(x), RATE_HZ)
    background = aperiodic_fit(found.f_hz, found.density).density(found.f_hz)
    peak = alpha_peak_hz(found, background)
    assert peak == pytest.approx(10.0, abs=0.5)
    for band_hz in ((4.0, 8.0), (12.0, 15.0)):
        kernel = design(found, band_hz, reject_hz=peak)
        gain = spectrum(x, every(x), RATE_HZ).power(band_hz) / np.mean(
            2.0 * np.abs(band_signal(kernel, x)[1000:]) ** 2
        )
        assert np.sqrt(gain * kernel.reads(peak)[0]) < 0.02


def peaked(peak_hz: float, *more_hz: float) -> tuple[Spectrum, Float]:
    """Return a spectrum with peaks 1.2 Hz wide, and its background."""
    f = np.arange(0.0, RATE_HZ / 2.0 + 0.25, 0.25)
    background = 10.0 / np.maximum(f, 1.0) ** 1.3 + 0.01
    density = background.copy()
    for hz in (peak_hz, *more_hz):
        density += 80.0 / hz**1.3 * np.exp(-0.5 * ((f - hz) / 0.5) ** 2)
    return Spectrum(f, density, RATE_HZ, 60, 60.0), background


def nulled(
    band_hz: tuple[float, float], peak_hz: float, delay_s: float = 0.1
) -> tuple[WienerProblem, str]:
    found, _ = peaked(peak_hz)
    problem, free = (
        WienerProblem(found, band_hz, reject_hz=peak_hz, null=null) for null in (True, False)
    )
    assert free.rejected_hz is None
    return problem, null_refused(problem, free, delay_s)


def test_a_null_that_takes_the_bands_edge_or_signal_with_it_is_refused() -> None:
    for peak_hz in (11.9, 11.8):
        assert "lies" in nulled((12.0, 15.0), peak_hz)[1]
    assert "lies 0.40 Hz" in nulled((15.0, 25.0), 14.6)[1]  # 1 s of taps tell 0.5 Hz apart
    problem, why = nulled((12.0, 15.0), 10.5)
    assert (problem.rejected_hz, why) == (10.5, "")
    assert problem.kernel(0.1).reads(10.5)[0] < 1e-12
    inside, why = nulled(ALPHA, 10.0)
    assert (inside.rejected_hz, why) == (None, "")
    # Just far enough away: without delay it costs too much, with 0.2 s it does not.
    assert "correlation by 0.03" in nulled(ALPHA, 7.75, 0.0)[1]
    assert nulled(ALPHA, 7.75, 0.2)[1] == ""


def test_a_rhythm_ends_where_one_that_must_not_leak_in_begins() -> None:
    found, background = peaked(6.0, 9.0)
    theta = (4.0, 8.0)
    free, kept_out = (
        WienerProblem(found, theta, target="rhythm", background=background, reject_hz=hz)
        for hz in (None, 9.0)
    )
    assert free._wanted[free._f > 8.5].any()
    assert not kept_out._wanted[kept_out._f > 8.1].any()
    below = kept_out._f < 7.9
    assert np.array_equal(kept_out._wanted[below], free._wanted[below])
    # Without a rhythm of its own the band would be given the skirt of its neighbour.
    for peak_hz in (8.3, 9.0):
        found, background = peaked(peak_hz)
        with pytest.raises(ValueError, match="beside this band"):
            WienerProblem(found, theta, target="rhythm", background=background, reject_hz=peak_hz)


def test_which_floor_applied_is_known() -> None:
    found, _ = peaked(10.0)
    assert WienerProblem(found, ALPHA).floor_from == "measured"
    dark = Spectrum(found.f_hz, np.where(found.f_hz > 60.0, 0.0, found.density), RATE_HZ, 60, 60.0)
    problem = WienerProblem(dark, ALPHA)
    assert problem.floor_from == "fallback"
    inside = (found.f_hz >= 8.0) & (found.f_hz <= 12.0)
    assert problem.floor == pytest.approx(1e-4 * found.density[inside].mean(), rel=0.2)


def test_a_sine_reads_what_reads_says() -> None:
    x = eeg(60, 11)[0]
    kernel = design(spectrum(x, every(x), RATE_HZ), ALPHA)
    t = np.arange(5000) / RATE_HZ
    for hz in (6.0, 8.0, 10.0, 12.0, 16.0):
        z = band_signal(kernel, np.sqrt(2.0) * np.sin(2 * np.pi * hz * t + 0.3))[1000:]
        assert np.mean(2.0 * np.abs(z) ** 2) == pytest.approx(kernel.reads(hz)[0], rel=0.01)


def test_scaled_changes_powers() -> None:
    x = eeg(30, 12)[0]
    kernel = design(spectrum(x, every(x), RATE_HZ), ALPHA)
    assert np.allclose(kernel.scaled(4.0).reads(10.0), 4.0 * kernel.reads(10.0))


# ---------------------------------------------------------------- parts


def test_taps_and_shape() -> None:
    assert [taps_for(b) for b in ((12.0, 15.0), ALPHA, (15.0, 25.0))] == [2.0, 2.0, 1.0]
    x = eeg(30, 13)[0]
    kernel = design(spectrum(x, every(x), RATE_HZ), (15.0, 25.0))
    assert kernel.taps.shape == (250,)
    assert not kernel.taps.flags.writeable
    assert MIN_CLEAN_S >= 4.0


def test_envelope_correlation_against_simulation() -> None:
    """The closed form, against two million pairs of Gaussian signals."""
    rng = np.random.default_rng(2)
    n = 400_000
    a, b = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for _ in range(2))
    for rho in (0.0, 0.3, 0.6, 0.9, 1.0):
        other = rho * a + np.sqrt(1.0 - rho**2) * b
        r = np.corrcoef(np.abs(a), np.abs(other))[0, 1]
        assert float(envelope_correlation(rho**2)) == pytest.approx(r, abs=0.006)


def test_alpha_peak_must_be_a_peak() -> None:
    x = eeg(120, 14)[0]
    found = spectrum(x, every(x), RATE_HZ)
    background = aperiodic_fit(found.f_hz, found.density).density(found.f_hz)
    assert alpha_peak_hz(found, background) == pytest.approx(10.0, abs=0.5)
    slope = np.maximum(found.f_hz, 0.5) ** -1.0
    rising = type(found)(found.f_hz, slope * found.f_hz**3, RATE_HZ, 10, 10.0)
    assert alpha_peak_hz(rising, slope) is None  # highest at the border is no peak


def test_bad_bands_are_refused() -> None:
    x = eeg(30, 15)[0]
    found = spectrum(x, every(x), RATE_HZ)
    for band_hz in ((12.0, 8.0), (0.0, 4.0), (100.0, 130.0)):
        with pytest.raises(ValueError, match="does not fit"):
            design(found, band_hz)


def test_inputs_stay_as_they_were() -> None:
    x = eeg(30, 16)[0]
    clean = every(x)
    x.flags.writeable = clean.flags.writeable = False
    found = spectrum(x, clean, RATE_HZ)
    before = found.density.copy()
    design(found, ALPHA, mains_hz=50.0)
    assert np.array_equal(found.density, before)
