"""Band power in physical units: what is read is what is there, at every rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from engine.condition import Conditioned, carried_sos, settle_samples
from engine.errors import MontageError
from engine.estimate import (
    Estimator,
    Readout,
    Source,
    WidePower,
    analytic_sos,
    check_band,
    envelope_delay_s,
    fixed_kernel,
    is_narrow,
    kernel_settle,
    products,
)
from engine.features import nominal_delay_s, wide_orders
from engine.frames import Float, frozen, hop_samples

RATES_HZ = (128.0, 160.0, 250.0, 255.0, 300.0, 500.0, 512.0, 1000.0, 2048.0)
NARROW = ((4.0, 7.0), (4.0, 8.0), (8.0, 12.0), (12.0, 15.0), (13.0, 21.0), (21.0, 35.0))
EDGY = ((4.0, 12.0), (13.0, 30.0), (37.0, 40.0), (8.25, 11.25))
WIDE = ((1.0, 40.0), (4.0, 40.0), (4.0, 13.0))
BANDS = (*NARROW, *EDGY, *WIDE)


class BandPower:
    """The fixed estimator of one band alone, narrow or wide, as the fold uses it."""

    def __init__(
        self, band_hz: tuple[float, float], sites: tuple[int, ...], rate_hz: float
    ) -> None:
        self._wide = None if is_narrow(band_hz) else WidePower(band_hz, sites, rate_hz)
        if self._wide is not None:
            self.delay_s, self.settle = self._wide.delay_s, self._wide.settle
            return
        kernel = fixed_kernel(band_hz, rate_hz)
        self.delay_s, self.settle = kernel.delay_s, kernel_settle(kernel)
        self._estimator = Estimator(sites, len(kernel.taps))
        self._products = products([kernel], 1)
        each = [Source(0, (k,), (1.0,)) for k in range(len(sites))]
        self._readout = Readout(each, len(sites), 1)

    def step(self, c: Conditioned) -> Float:
        if self._wide is not None:
            return self._wide.step(c)
        out, at, resets = [], 0, list(c.resets)
        for row in (*c.grid.tolist(), None):
            stop = len(c.uv) if row is None else row + 1
            while resets and resets[0][0] < stop:
                begin, sites = resets.pop(0)
                self._estimator.push(c.uv[at:begin])
                self._estimator.forget(sites)
                at = begin
            self._estimator.push(c.uv[at:stop])
            at = stop
            if row is not None:
                out.append(self._readout.powers(self._estimator.look(self._products)))
        return np.array(out)


def segment(x: Float, rate_hz: float, resets: tuple[int, ...] = (0,)) -> Conditioned:
    """Return columns that are conditioned already, fresh at the first sample."""
    hop, every = hop_samples(rate_hz), np.ones(x.shape[1], bool)
    return Conditioned(
        0,
        frozen(np.arange(len(x)) / rate_hz),
        frozen(x.copy()),
        frozen(x.copy()),
        frozen(np.zeros(x.shape, np.int64)),
        tuple((r, every) for r in resets),
        frozen(np.arange(0, len(x), hop)),
    )


def settled(band_hz: tuple[float, float], rate_hz: float, x: Float) -> Float:
    """Return the powers at the grid points after the estimator's own settling, and two seconds."""
    band = BandPower(band_hz, tuple(range(x.shape[1])), rate_hz)
    c = segment(x, rate_hz)
    power = band.step(c)
    return power[c.grid > band.settle + 2 * rate_hz]


def sines(rate_hz: float, seconds: float, *of: tuple[float, float]) -> Float:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.column_stack([a * np.sin(2 * np.pi * f * t + 0.3) for a, f in of])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a4_a_sine_reads_its_mean_square(rate_hz: float) -> None:
    """Invariant 10: central half within 3 %, one bandwidth outside below 1 %, every rate."""
    for lo, hi in BANDS:
        if rate_hz < 4.0 * hi:
            continue
        width, centre = hi - lo, (lo + hi) / 2.0
        inside = np.linspace(centre - width / 4.0, centre + width / 4.0, 5)
        outside = [f for f in (lo - width, hi + width) if 0.5 <= f < 0.5 * rate_hz]
        x = sines(rate_hz, 8.0, *[(10.0, f) for f in (*inside, *outside)])
        mean = settled((lo, hi), rate_hz, x).mean(axis=0) / 50.0
        assert np.abs(mean[:5] - 1.0).max() < 0.03, (lo, hi)
        assert (mean[5:] < 0.01).all(), (lo, hi)


@pytest.mark.parametrize("band_hz", [b for b in BANDS if b[1] <= 32])
def test_a4_every_rate_reads_the_same(band_hz: tuple[float, float]) -> None:
    centre, quarter = sum(band_hz) / 2.0, (band_hz[1] - band_hz[0]) / 4.0
    tones = [(10.0, centre + k * quarter) for k in (-1, -0.5, 0, 0.5, 1)]
    read = [settled(band_hz, r, sines(r, 8.0, *tones)).mean(axis=0) for r in RATES_HZ]
    assert np.ptp(read, axis=0).max() < 0.01 * 50.0


@pytest.mark.parametrize("band_hz", [*NARROW, *WIDE])
def test_a4_small_and_large_alike_and_double_is_exactly_fourfold(
    band_hz: tuple[float, float],
) -> None:
    centre = sum(band_hz) / 2.0
    one = settled(band_hz, 250.0, sines(250.0, 6.0, (1.0, centre), (10.0, centre), (100.0, centre)))
    assert np.allclose(one.mean(axis=0) / [0.5, 50.0, 5000.0], 1.0, rtol=0.03)
    x = np.random.default_rng(1).normal(0, 20, (2000, 2))
    assert np.array_equal(settled(band_hz, 250.0, 2.0 * x), 4.0 * settled(band_hz, 250.0, x))


def test_a_narrow_band_has_no_ripple_at_twice_the_rhythm() -> None:
    for band_hz in NARROW:
        power = settled(band_hz, 250.0, sines(250.0, 6.0, (10.0, sum(band_hz) / 2.0)))
        assert np.ptp(power) < 0.05 * 50.0


@pytest.mark.parametrize("band_hz", [*NARROW, *EDGY, *WIDE])
@pytest.mark.parametrize("rate_hz", [160.0, 250.0, 1000.0])
def test_a4_stated_delay_is_the_measured_lag(band_hz: tuple[float, float], rate_hz: float) -> None:
    """A slowly modulated sine comes out late by the stated delay, within a grid step."""
    lo, hi = band_hz
    slow_hz = 0.02 if lo < 2.0 else 0.1
    carrier = (lo + hi) / 2.0 if is_narrow(band_hz) else math.sqrt(lo * hi)
    t = np.arange(round(rate_hz * (2.0 / slow_hz + 8.0))) / rate_hz
    power_in = 1.0 + 0.2 * np.cos(2 * np.pi * slow_hz * t)
    x = 10.0 * np.sqrt(power_in) * np.sin(2 * np.pi * carrier * t)
    band = BandPower(band_hz, (0,), rate_hz)
    c = segment(x[:, None], rate_hz)
    out = band.step(c)[:, 0]
    # Two whole periods of the modulation at the end.
    n = round(2.0 / slow_hz * rate_hz / hop_samples(rate_hz))
    at = c.t[c.grid][-n:]
    turn = np.exp(-2j * np.pi * slow_hz * at)
    late = np.angle((power_in[c.grid][-n:] * turn).sum() / (out[-n:] * turn).sum())
    lag_s = late / (2 * np.pi * slow_hz)
    assert lag_s == pytest.approx(band.delay_s, abs=hop_samples(rate_hz) / rate_hz)
    assert band.delay_s == envelope_delay_s(band_hz, rate_hz)


@pytest.mark.parametrize("band_hz", BANDS)
def test_the_delay_told_before_a_stream_exists_is_nearly_the_one_stated_later(
    band_hz: tuple[float, float],
) -> None:
    for rate_hz in (r for r in RATES_HZ if r >= 4.0 * band_hz[1]):
        assert nominal_delay_s(band_hz) == pytest.approx(
            envelope_delay_s(band_hz, rate_hz), abs=0.005
        )


def test_golden_narrow_against_heterodyning() -> None:
    """Shifted to 0 Hz, low-passed and shifted back is the same filter, computed another way."""
    rate_hz, band_hz = 250.0, (8.0, 12.0)
    x = np.random.default_rng(3).normal(0, 20, (5000, 2))
    c = segment(x, rate_hz)
    down = x * np.exp(-2j * np.pi * 10.0 * c.t)[:, None]
    sos = butter(4, 2.0, fs=rate_hz, output="sos")
    base = sosfilt(sos, down.real, axis=0) + 1j * sosfilt(sos, down.imag, axis=0)
    expected = 2.0 * np.abs(base[c.grid]) ** 2
    got = BandPower(band_hz, (0, 1), rate_hz).step(c)
    # A millionth of the response's energy is cut off.
    assert np.abs(got - expected).max() < 0.01 * expected.mean()


def test_golden_wide_against_its_formula() -> None:
    rate_hz, (lo, hi) = 250.0, (1.0, 40.0)
    x = np.random.default_rng(4).normal(0, 20, (3000, 1))
    c = segment(x, rate_hz)
    m, n = wide_orders((lo, hi))
    y = sosfilt(butter(m, lo, "highpass", fs=rate_hz, output="sos"), x, axis=0)
    y = sosfilt(butter(n, hi, "lowpass", fs=rate_hz, output="sos"), y, axis=0)
    keep = math.exp(-2.0 * lo / rate_hz)
    mean, s = np.empty(len(y)), 0.0
    for k, value in enumerate(y[:, 0] ** 2):
        s = keep * s + (1.0 - keep) * value
        mean[k] = s
    got = BandPower((lo, hi), (0,), rate_hz).step(c)[:, 0]
    assert np.allclose(got, mean[c.grid], rtol=1e-9)


def test_noise_reads_the_integral_of_its_spectrum() -> None:
    """White noise of known density: power is density times bandwidth."""
    rate_hz, sd = 250.0, 20.0
    x = np.random.default_rng(5).normal(0, sd, (250 * 600, 1))
    density = 2.0 * sd**2 / rate_hz
    for band_hz in ((8.0, 12.0), (13.0, 21.0), (1.0, 40.0)):
        read = settled(band_hz, rate_hz, x).mean()
        # The equivalent noise bandwidth of a 4th-order Butterworth is 2.6 % above its -3 dB width.
        assert read == pytest.approx(density * (band_hz[1] - band_hz[0]), rel=0.06)


def test_any_slicing_gives_the_same_powers() -> None:
    x = np.random.default_rng(6).normal(0, 20, (700, 3))
    whole = segment(x, 250.0)
    for band_hz in ((8.0, 12.0), (1.0, 40.0)):
        reference = BandPower(band_hz, (0, 2), 250.0).step(whole)
        sliced = BandPower(band_hz, (0, 2), 250.0)
        parts = []
        for at in range(0, 700, 13):
            end = min(700, at + 13)
            grid = np.arange(-at % 5, end - at, 5)
            resets = whole.resets if at == 0 else ()
            parts.append(
                sliced.step(
                    Conditioned(
                        at, whole.t[at:end], whole.uv[at:end], whole.uv[at:end],
                        whole.flags[at:end], resets, grid,
                    )
                )
            )  # fmt: skip
        assert np.array_equal(np.concatenate(parts), reference)


def test_a_restarted_site_forgets_and_the_others_do_not_notice() -> None:
    x = np.random.default_rng(7).normal(0, 20, (1000, 2))
    plain = BandPower((8.0, 12.0), (0, 1), 250.0).step(segment(x, 250.0))
    c = segment(x, 250.0)
    c = Conditioned(
        0, c.t, c.uv, c.uv, c.flags, (*c.resets, (500, np.array([True, False]))), c.grid
    )  # fmt: skip
    again = BandPower((8.0, 12.0), (0, 1), 250.0).step(c)
    fresh = BandPower((8.0, 12.0), (0,), 250.0).step(segment(x[500:, :1], 250.0))
    assert np.array_equal(again[:, 1], plain[:, 1])
    assert np.allclose(again[100:, 0], fresh[:, 0], rtol=1e-9, atol=1e-9)


def test_too_slow_a_stream_is_refused_with_both_numbers() -> None:
    check_band((8.0, 12.0), 48.0)
    with pytest.raises(MontageError, match=r"up to 40 Hz needs at least 160 Hz.*has 128 Hz"):
        BandPower((30.0, 40.0), (0,), 128.0)


def test_settling_is_where_the_impulse_response_has_passed() -> None:
    sos = analytic_sos((8.0, 12.0), 250.0)
    impulse = np.zeros((2500, 1))
    impulse[0] = 1.0
    y = np.abs(sosfilt(sos, impulse, axis=0)[:, 0]) ** 2
    n = settle_samples(sos, 250.0)
    assert y[n:].sum() <= 1e-4 * y.sum() < y[n - 2 :].sum()


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (8, 1), (9, 3), (250, 6), (0, 2), (5, 0)])
@pytest.mark.parametrize("complex_", [False, True])
def test_filtering_is_scipys_bit_for_bit(shape: tuple[int, int], complex_: bool) -> None:
    sos = analytic_sos((8.0, 12.0), 250.0) if complex_ else butter(4, 0.2, output="sos")
    rng = np.random.default_rng(8)
    x = frozen(rng.normal(0, 20, shape))
    zi = rng.normal(0, 20, (len(sos), 2, shape[1])).astype(sos.dtype)
    before = zi.copy()
    y, after = carried_sos(sos, x, zi, (), None)
    if min(shape):
        expected_y, expected_zi = sosfilt(sos, x, axis=0, zi=zi)
        assert np.array_equal(after, expected_zi)
        assert np.array_equal(y, expected_y)
    assert y.shape == shape
    assert np.array_equal(zi, before)


def test_a_reset_starts_without_a_transient() -> None:
    """The state of a unit step, scaled: a constant passes a high-pass as exactly nothing."""
    from scipy.signal import sosfilt_zi

    sos = butter(2, 1.0, "highpass", fs=250.0, output="sos")
    x = np.full((100, 2), 1e5)
    x[40:, 1] += 1e5
    resets = ((0, np.array([True, True])), (40, np.array([False, True])))
    y, _ = carried_sos(sos, x, np.zeros((1, 2, 2)), resets, sosfilt_zi(sos))
    assert np.abs(y).max() < 1e-6


# ---------------------------------------------------------------- the matrix product


def test_any_position_in_memory_gives_the_same_bits() -> None:
    """The product must not depend on where the ring happens to lie or how far it has turned."""
    rng = np.random.default_rng(9)
    kernels = [fixed_kernel(b, 250.0) for b in ((8.0, 12.0), (13.0, 21.0), (4.0, 7.0))]
    of = products(kernels, 1)
    for columns in (1, 2, 3, 7, 19):
        x = rng.normal(0, 20, (3000, columns))
        n = max(len(k.taps) for k in kernels)
        looks = []
        for before in (0, 1, 2, 3, 5, 8, 13, 333, n - 1, n, n + 1):
            waste = np.zeros(before + 1)  # another place in memory
            estimator = Estimator(tuple(range(columns)), n)
            estimator.push(rng.normal(0, 20, (before, columns)))
            estimator.push(x)
            looks.append(estimator.look(of))
            del waste
        for look in looks[1:]:
            assert np.array_equal(look, looks[0])


@pytest.mark.parametrize(("n_channels", "dtype", "within"), [
    (400, np.float64, 1e-12), (900, np.float32, 1e-5),
])  # fmt: skip
def test_many_channels_read_as_few(n_channels: int, dtype: type, within: float) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(0, 20, (800, n_channels))
    of = products([fixed_kernel((8.0, 12.0), 250.0)], n_channels)
    n = of[0].matrix.shape[1]
    some = (0, 300, n_channels - 1)
    many, few = Estimator(tuple(range(n_channels)), n), Estimator(some, n)
    assert (many.dtype, few.dtype) == (np.dtype(dtype), np.dtype(np.float64))
    assert len(many._rings) > 1
    many.push(x)
    few.push(x)
    look = many.look(of)
    assert look.dtype == np.float64
    assert np.abs(look[:, list(some)] - few.look(of)).max() < within * 20.0
    # Twice the amplitude is exactly four times the power, in single precision too.
    twice = Estimator(tuple(range(n_channels)), n)
    twice.push(2.0 * x)
    assert np.array_equal(twice.look(of), 2.0 * look)


def test_short_kernels_beside_long_ones_read_as_alone() -> None:
    rng = np.random.default_rng(11)
    kernels = [fixed_kernel(b, 250.0) for b in ((10.0, 12.0), (21.0, 35.0), (8.0, 12.0))]
    together = products(kernels, 1000)  # as many columns as make it worth while
    assert len(together) == 2
    assert len(products(kernels, 2)) == 1
    estimator = Estimator((0, 1), max(len(k.taps) for k in kernels))
    x = rng.normal(0, 20, (2000, 2))
    estimator.push(x)
    look = estimator.look(together)
    for k, kernel in enumerate(kernels):
        z = kernel.taps @ x[-len(kernel.taps) :]
        assert np.allclose(look[k] + 1j * look[3 + k], z, rtol=1e-10, atol=1e-10)


def test_virtual_channels_are_weighted_sums() -> None:
    """Filtering a weighted sum and weighting what was filtered are the same."""
    rng = np.random.default_rng(12)
    x = rng.normal(0, 20, (1000, 3))
    kernel = fixed_kernel((8.0, 12.0), 250.0)
    weights = frozen(np.array([[1.0, -0.5, -0.5], [0.0, 1.0, -1.0]]))
    estimator = Estimator((0, 1, 2), len(kernel.taps))
    estimator.push(x)
    seen = estimator.look(products([kernel], 1))
    source = Source(0, (), (2.0, 2.0), weights)
    z = kernel.taps @ (x[-len(kernel.taps) :] @ weights.T)
    assert np.allclose(source.band_signal(seen), np.sqrt(2.0) * z)
    read = Readout([source, Source(0, (0, 2), (1.0, 3.0))], 3, 1).powers(seen)
    plain = kernel.taps @ x[-len(kernel.taps) :]
    assert read[0] == pytest.approx(2.0 * 2.0 * np.mean(np.abs(z) ** 2))
    assert read[1] == pytest.approx(np.abs(plain[0]) ** 2 + 3.0 * np.abs(plain[2]) ** 2)
