"""The slope of a spectrum under its peaks, and what a rhythm adds to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sosfilt, welch

from engine.aperiodic import (
    ALPHA_CLEAR_HZ,
    AperiodicFit,
    PeriodicPower,
    aperiodic_fit,
    flanks,
    periodic_power,
)
from engine.errors import InputError
from engine.estimate import analytic_sos
from engine.frames import Float
from engine.readfile import read_eeg

RATE_HZ = 250.0
Peaks = Sequence[tuple[float, float, float]]  # frequency, height in dB above the slope, SD in Hz

NONE: Peaks = ()
ALPHA: Peaks = ((10.0, 20.0, 1.0),)
WIDE: Peaks = ((10.0, 20.0, 1.5), (20.0, 8.0, 2.0))
LOW: Peaks = ((8.5, 25.0, 1.0),)
MANY: Peaks = ((6.0, 6.0, 1.0), (9.0, 15.0, 1.5), (18.0, 8.0, 3.0))
BANDS = (
    *((3.0, 7.0), (4.0, 7.0), (4.0, 8.0), (6.5, 10.5), (8.0, 12.0), (9.5, 13.5), (10.0, 12.0)),
    *((12.0, 15.0), (15.0, 18.0), (13.0, 21.0), (13.0, 30.0), (20.0, 30.0)),
)


def spectrum(f_hz: Float, exponent: float, peaks: Peaks) -> Float:
    """Return ``100 f^-χ`` with Gaussian peaks."""
    slope: Float = 100.0 * f_hz**-exponent
    out = slope.copy()
    for at_hz, height_db, sd_hz in peaks:
        height = 100.0 * at_hz**-exponent * 10.0 ** (height_db / 10.0)
        out += height * np.exp(-0.5 * ((f_hz - at_hz) / sd_hz) ** 2)
    return out


def noise(seed: int, seconds: float, exponent: float, peaks: Peaks) -> Float:
    """Return Gaussian noise with that spectrum above 0.5 Hz, in µV."""
    n = round(seconds * RATE_HZ)
    f = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    density = np.zeros(len(f))
    density[f >= 0.5] = spectrum(f[f >= 0.5], exponent, peaks)
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(len(f)) + 1j * rng.standard_normal(len(f))
    return np.fft.irfft(z * np.sqrt(density * n * RATE_HZ) / 2.0, n)


def fitted(x: Float, rate_hz: float = RATE_HZ, mains_hz: float | None = None) -> AperiodicFit:
    f, density = welch(x, rate_hz, nperseg=round(2 * rate_hz))
    mains = () if mains_hz is None else ((mains_hz - 2.0, mains_hz + 2.0),)
    return aperiodic_fit(f, density, exclude=mains)


# ---------------------------------------------------------------- the slope of a spectrum


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.0, 2.0])
def test_an_exact_slope_is_found_exactly(exponent: float) -> None:
    f = np.arange(0.0, 125.5, 0.5)
    density = np.concatenate([[7.0], spectrum(f[1:], exponent, NONE)])
    fit = aperiodic_fit(f, density)
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.offset == pytest.approx(2.0, abs=1e-9)
    assert (fit.used, fit.peaks) == (77, 0)
    assert fit.sd < 1e-9
    assert np.allclose(fit.density(f[1:]), density[1:], rtol=1e-8)
    assert exponent == 0.0 or fit.r2 == pytest.approx(1.0)


@pytest.mark.parametrize("peaks", [NONE, ALPHA, WIDE, LOW, MANY])
@pytest.mark.parametrize("exponent", [0.8, 1.2, 1.6, 2.0])
def test_the_exponent_is_recovered_whatever_the_peaks(exponent: float, peaks: Peaks) -> None:
    """Two minutes of noise, as a baseline has: within 0.1, each of several times."""
    for seed in range(4):
        fit = fitted(noise(seed, 120.0, exponent, peaks))
        assert fit.exponent == pytest.approx(exponent, abs=0.1)
        assert fit.r2 > 0.9
        at_10 = 10.0 * np.log10(float(fit.density(np.array([10.0]))[0]) / (100.0 * 10**-exponent))
        assert abs(at_10) < 0.5  # dB; a 20 dB peak stands there


@pytest.mark.parametrize("at_hz", [6.0, 8.0, 10.0, 12.0, 20.0])
def test_a_peak_of_20_db_does_not_tilt_the_slope(at_hz: float) -> None:
    """The same noise with and without the peak, beside an ordinary least squares line."""
    tilts, plain = [], []
    for seed in range(6):
        without, peak = noise(seed, 120.0, 1.2, NONE), ((at_hz, 20.0, 1.0),)
        f, density = welch(noise(seed, 120.0, 1.2, peak), RATE_HZ, nperseg=500)
        tilts.append(aperiodic_fit(f, density).exponent - fitted(without).exponent)
        use = (f >= 2.0) & (f <= 40.0)
        line = np.polyfit(np.log10(f[use]), np.log10(density[use]), 1)
        plain.append(-line[0] - fitted(without).exponent)
    assert abs(np.mean(tilts)) < 0.03
    assert max(abs(t) for t in tilts) < 0.1
    if at_hz in (6.0, 20.0):  # away from the middle of the axis, where a peak only lifts a line
        assert abs(np.mean(plain)) > 5.0 * abs(np.mean(tilts))


def test_peaks_are_left_out_and_the_rest_is_not() -> None:
    f = np.arange(0.5, 60.0, 0.5)
    rng = np.random.default_rng(1)
    density = spectrum(f, 1.3, ALPHA) * np.exp(0.15 * rng.standard_normal(len(f)))
    fit = aperiodic_fit(f, density)
    inside = int(((f > 6.5) & (f < 13.5)).sum())
    assert 9 <= fit.peaks <= inside + 4
    assert fit.used + fit.peaks == 77
    assert fit.sd == pytest.approx(0.15 / math.log(10.0), rel=0.3)


def test_a_low_pass_does_not_hide_the_alpha_peak() -> None:
    """Amplifiers roll off below 40 Hz: the line bends, the background of alpha is still found."""
    for seed in range(4):
        x = noise(seed, 120.0, 1.2, ALPHA)
        f, density = welch(x, RATE_HZ, nperseg=500)
        density /= 1.0 + (f / 32.0) ** 8
        fit = aperiodic_fit(f, density)
        error = 10.0 * np.log10(fit.density(np.array([10.0]))[0] / (100.0 * 10.0**-1.2))
        assert abs(error) < 1.5
        assert fit.peaks >= 9


def test_mains_is_left_out_where_it_is_given() -> None:
    f = np.arange(0.5, 100.0, 0.5)
    density = spectrum(f, 1.2, ALPHA)
    dip = (f >= 48.5) & (f <= 51.5)
    density[dip] *= 1e-4  # a notch: robust against peaks is not robust against holes
    holed = aperiodic_fit(f, density, range_hz=(2.0, 80.0))
    fit = aperiodic_fit(f, density, range_hz=(2.0, 80.0), exclude=((48.0, 52.0),))
    assert fit.exponent == pytest.approx(1.2, abs=0.02)
    assert abs(holed.exponent - 1.2) > abs(fit.exponent - 1.2)
    assert fit.used + fit.peaks == 157 - 9


def test_only_the_range_counts() -> None:
    f = np.arange(0.5, 100.0, 0.5)
    density = spectrum(f, 1.2, NONE)
    density[(f < 3.0) | (f > 30.0)] = 1e6
    assert aperiodic_fit(f, density, range_hz=(3.0, 30.0)).exponent == pytest.approx(1.2)


def test_the_scale_moves_the_offset_alone() -> None:
    x = noise(3, 60.0, 1.2, ALPHA)
    one, large = fitted(x), fitted(1000.0 * x)
    assert large.exponent == pytest.approx(one.exponent, abs=1e-9)
    assert large.offset - one.offset == pytest.approx(6.0, abs=1e-9)


def test_too_little_to_fit_is_unknown() -> None:
    f = np.arange(0.5, 60.0, 0.5)
    density = spectrum(f, 1.2, NONE)
    unusable = density.copy()
    unusable[f > 6.0] = 0.0
    broken = np.full(len(f), np.nan)
    for fit in (
        aperiodic_fit(f, density, range_hz=(2.0, 6.0)),
        aperiodic_fit(f, unusable),
        aperiodic_fit(f, broken),
        aperiodic_fit(f[:0], density[:0]),
        aperiodic_fit(f, density, exclude=((0.0, 100.0),)),
    ):
        assert not fit.known
        assert math.isnan(fit.offset)
        assert fit.used < 10
        assert np.isnan(fit.density(f)).all()
    assert aperiodic_fit(f, density).known
    with pytest.raises(ValueError, match="densities of shape"):
        aperiodic_fit(f, density[:-1])


def test_there_is_no_aperiodic_density_at_zero() -> None:
    f = np.arange(0.0, 60.0, 0.5)
    fit = aperiodic_fit(f[1:], spectrum(f[1:], 1.2, NONE))
    assert np.isnan(fit.density(f)[0])
    assert np.isfinite(fit.density(f)[1:]).all()


@pytest.mark.parametrize(
    ("name", "site", "peak_db"),
    [
        ("restingiaf/tute_01_1.set", "Pz", 15.0),
        ("restingiaf/tute_01_2.set", "POz", 10.0),
        ("eegmat/Subject19_1.edf", "O1", 15.0),
        ("eegbci/S001R02.edf", "Oz", 15.0),
        ("eegbci/S001R02.edf", "Pz", 10.0),
        ("eegbci/S002R02.edf", "Cz", 8.0),
        ("eeglab/eeglab_data.set", "Pz", 10.0),
        ("yasa/resting-eo-200hz_raw.fif", "F4", 2.0),
    ],
)
def test_real_spectra_have_a_slope_under_their_alpha(
    shared_data: Path, name: str, site: str, peak_db: float
) -> None:
    eeg = read_eeg(shared_data / name)
    rate_hz = eeg.spec.rate_hz
    x = eeg.samples[: round(60 * rate_hz), eeg.spec.names.index(site)]
    fit = fitted(x, rate_hz, 50.0)
    assert 0.7 < fit.exponent < 2.2
    assert fit.r2 > 0.9
    f, density = welch(x, rate_hz, nperseg=round(2 * rate_hz))
    alpha = (f >= 8.0) & (f <= 12.0)
    assert 10.0 * np.log10((density[alpha] / fit.density(f[alpha])).max()) > peak_db


def test_the_slope_of_a_real_person_is_not_that_of_their_alpha(shared_data: Path) -> None:
    """Cz of S001, eyes open and closed: alpha rises by 7 dB, the exponent stays."""
    fits, alphas = [], []
    for run in ("01", "02"):
        eeg = read_eeg(shared_data / f"eegbci/S001R{run}.edf")
        x = eeg.samples[: round(60 * 160.0), eeg.spec.names.index("Cz")]
        fits.append(fitted(x, 160.0))
        f, density = welch(x, 160.0, nperseg=320)
        at = (f >= 9.0) & (f <= 11.0)
        alphas.append(10.0 * np.log10((density[at] / fits[-1].density(f[at])).mean()))
    assert abs(fits[1].exponent - fits[0].exponent) < 0.15
    assert alphas[1] - alphas[0] > 5.0


# ---------------------------------------------------------------- at a grid point


def integral(band_hz: tuple[float, float], exponent: float, peaks: Peaks = NONE) -> float:
    f = np.linspace(band_hz[0], band_hz[1], 20001)
    return float(np.trapezoid(spectrum(f, exponent, peaks), f))


def at_psd(band_hz: tuple[float, float], exponent: float, peaks: Peaks) -> tuple[float, float]:
    """Return the corrected and the plain power of a band of an exact spectrum."""
    low, high = flanks(band_hz)
    power = integral(band_hz, exponent, peaks)
    lows, highs = integral(low, exponent, peaks), integral(high, exponent, peaks)
    return periodic_power(band_hz, power, low, lows, high, highs), power


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.8, 1.0, 1.0 + 1e-9, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("band_hz", BANDS)
def test_a_pure_slope_has_no_periodic_power(band_hz: tuple[float, float], exponent: float) -> None:
    periodic, power = at_psd(band_hz, exponent, NONE)
    assert abs(periodic) < 1e-7 * power  # the precision of the test's own integral


@pytest.mark.parametrize("exponent", [0.8, 1.2, 1.6, 2.0])
def test_a_rhythm_has_its_own_power(exponent: float) -> None:
    for at_hz in (9.0, 10.0, 11.0):
        rhythm = ((at_hz, 12.0, 0.7),)
        own = integral((8.0, 12.0), exponent, rhythm) - integral((8.0, 12.0), exponent)
        periodic, _ = at_psd((8.0, 12.0), exponent, rhythm)
        assert periodic == pytest.approx(own, rel=0.01)


def through_filters(x: Float, band_hz: tuple[float, float]) -> tuple[float, float]:
    """Return the corrected and the plain mean power, read by the fixed estimator."""
    powers = []
    for b in (band_hz, *flanks(band_hz)):
        z = sosfilt(analytic_sos(b, RATE_HZ), x.astype(complex))[1000:]
        powers.append(float(np.mean(2.0 * np.abs(z) ** 2)))
    return PeriodicPower(band_hz, *flanks(band_hz)).step(*powers), powers[0]


@pytest.mark.parametrize("exponent", [0.8, 1.2, 1.6, 2.0])
def test_noise_through_the_filters_leaves_nearly_nothing(exponent: float) -> None:
    """The filters' skirts and the noise itself stay below a tenth of the band's power."""
    x = noise(5, 300.0, exponent, NONE)
    for band_hz in ((4.0, 8.0), (8.0, 12.0), (12.0, 15.0), (13.0, 21.0)):
        periodic, power = through_filters(x, band_hz)
        assert abs(periodic) < 0.1 * power


@pytest.mark.parametrize("exponent", [0.8, 1.2, 1.6, 2.0])
@pytest.mark.parametrize("amplitude_uv", [10.0, 30.0])
def test_a_rhythm_through_the_filters_has_its_power(exponent: float, amplitude_uv: float) -> None:
    """Amplitude 10 µV is 5 to 40 times the background's power in the band."""
    x = noise(6, 120.0, exponent, NONE)
    t = np.arange(len(x)) / RATE_HZ
    rhythm = amplitude_uv * np.sin(2 * np.pi * 10.2 * t)
    assert through_filters(x + rhythm, (8.0, 12.0))[0] == pytest.approx(
        amplitude_uv**2 / 2.0, rel=0.1
    )


def test_less_than_the_slope_is_negative() -> None:
    low, high = flanks((8.0, 12.0))
    lows, highs = integral(low, 1.2), integral(high, 1.2)
    own = integral((8.0, 12.0), 1.2)
    for share in (0.5, 1.5):
        value = periodic_power((8.0, 12.0), share * own, low, lows, high, highs)
        assert value == pytest.approx((share - 1.0) * own, rel=1e-6)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.floats(1e-12, 1e12),
    st.floats(1e-12, 1e12),
    st.floats(1e-3, 1e3),
    st.sampled_from(BANDS),
)
def test_the_background_lies_between_the_flanks(
    low_power: float, high_power: float, scale: float, band_hz: tuple[float, float]
) -> None:
    """Whatever the flanks hold: nothing explodes, and power is linear in all three."""
    low, high = flanks(band_hz)
    aperiodic = -periodic_power(band_hz, 0.0, low, low_power, high, high_power)
    density = aperiodic / (band_hz[1] - band_hz[0])
    ends = sorted([low_power / (low[1] - low[0]), high_power / (high[1] - high[0])])
    assert ends[0] * (1.0 - 1e-6) <= density <= ends[1] * (1.0 + 1e-6)
    scaled = -periodic_power(band_hz, 0.0, low, scale * low_power, high, scale * high_power)
    assert scaled == pytest.approx(scale * aperiodic, rel=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_without_a_flank_nothing_is_known(bad: float) -> None:
    low, high = flanks((8.0, 12.0))
    corrected = PeriodicPower((8.0, 12.0), low, high)
    assert math.isnan(corrected.step(5.0, bad, 1.0))
    assert math.isnan(corrected.step(5.0, 1.0, bad))
    assert math.isnan(corrected.step(math.nan, 1.0, 1.0))
    assert math.isfinite(corrected.step(0.0, 1.0, 1.0))


@pytest.mark.parametrize("band_hz", BANDS)
def test_flanks_stay_clear_of_the_band_and_of_alpha(band_hz: tuple[float, float]) -> None:
    low, high = flanks(band_hz)
    assert 1.0 < low[0] < low[1] < band_hz[0] < band_hz[1] < high[0] < high[1] <= 40.0
    for start, end in (low, high):
        assert end <= ALPHA_CLEAR_HZ[0] or start >= ALPHA_CLEAR_HZ[1]
        assert end <= 3.0 * start  # a narrow band for the estimator
        assert 1.0 <= end - start <= 6.0
    assert min(band_hz[0] - low[1], high[0] - band_hz[1]) >= 0.74


def test_the_usual_flanks() -> None:
    assert flanks((8.0, 12.0)) == ((3.0, 6.0), (14.0, 18.0))
    assert flanks((4.0, 8.0)) == ((1.5, 3.0), (14.0, 18.0))
    assert flanks((20.0, 30.0)) == ((14.0, 18.0), (32.0, 38.0))


@pytest.mark.parametrize("band_hz", [(1.0, 4.0), (30.0, 45.0), (12.0, 8.0), (0.0, 4.0)])
def test_a_band_without_room_is_refused(band_hz: tuple[float, float]) -> None:
    with pytest.raises(InputError) as failure:
        flanks(band_hz)
    assert failure.value.fix
