"""Rest, taken once more through the estimators: as it was live, and no further."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.bank import Reference
from engine.estimate import Source, fixed_kernel, kernel_settle
from engine.features import FeatureDef
from engine.frames import Bool, Float, Gate, RestBlock, frozen
from engine.rest import (
    CURVE_S,
    Channels,
    Rest,
    band_signals,
    clean_columns,
    look_again,
    measured,
    read_again,
)
from engine.wiener import spectrum
from engine.wiring import demands_of, fixed_wiring

RATE_HZ, HOP, SITES = 250.0, 5, 3
ALPHA, BETA = (8.0, 12.0), (15.0, 25.0)
DEFS = (
    FeatureDef("a", "power", (2,), band_hz=ALPHA, smooth_s=0.4),
    FeatureDef("b", "power", (0,), band_hz=BETA),
    FeatureDef("q", "ratio", of=(0, 1)),
    FeatureDef("reach", "peak_to_peak", (1,), window_s=0.1),
    FeatureDef("c", "plv", (0, 2), band_hz=ALPHA, window_s=0.4),
)
COLUMNS = (0, 2)
WIRING = fixed_wiring(DEFS, demands_of(DEFS, COLUMNS), COLUMNS, RATE_HZ)
N_TAPS = max(len(k.taps) for k in WIRING.kernels)


def mask(*sites: int) -> Bool:
    out = np.zeros(SITES, bool)
    out[list(sites)] = True
    return frozen(out)


def rested(
    x: Float, begins: tuple[tuple[int, Bool], ...] = (), clean: Bool | None = None,
    seq: np.ndarray | None = None,
) -> Rest:  # fmt: skip
    n = len(x) // HOP
    keep = np.ones(n, bool) if clean is None else clean
    return Rest(
        RestBlock(
            1, "rest", (), (), HOP * np.arange(1, n + 1) if seq is None else seq,
            np.where(keep, 0, int(Gate.STEP)), keep,
        ),
        frozen(x[: n * HOP].copy()),
        ((0, mask(0, 1, 2)), *begins),
        (np.arange(n) + 1) * HOP - 1,
        frozen(np.repeat(keep, HOP)),
        tuple((math.nan, math.nan, math.nan, float(g), math.nan) for g in range(n)),
        ({},) * n,
    )  # fmt: skip


def noise(n: int, seed: int = 1) -> Float:
    return np.random.default_rng(seed).normal(0.0, 10.0, (n, SITES))


def band(hz: tuple[float, float], x: Float) -> Float:
    """Return z at every sample."""
    return np.convolve(x, fixed_kernel(hz, RATE_HZ).taps[::-1])[: len(x)]


# ---------------------------------------------------------------- what is seen


def test_what_is_seen_is_the_convolution_from_where_each_site_began() -> None:
    x = noise(3000)
    begins = ((800, mask(2)), (1203, mask(0)), (1500, mask(0, 1, 2)), (2001, mask(1)))
    rest = rested(x, begins)
    seen, warm = look_again(rest, COLUMNS, WIRING, N_TAPS)
    starts = {0: [0, 1203, 1500], 2: [0, 800, 1500]}
    for k, site in enumerate(COLUMNS):
        for i, hz in enumerate((ALPHA, BETA)):
            z = np.concatenate([
                band(hz, piece) for piece in np.split(x[:, site], starts[site][1:])
            ])[rest.rows]  # fmt: skip
            assert np.allclose(seen[:, i, k] + 1j * seen[:, 2 + i, k], z, rtol=1e-9, atol=1e-9)
    settle = max(kernel_settle(kernel) for kernel in WIRING.kernels)
    since = np.array([max(s for s in (0, 800, 1203, 1500) if s <= row) for row in rest.rows])
    assert np.array_equal(warm, rest.rows - since >= settle)
    assert 0 < warm.sum() < len(warm)


def test_another_site_that_begins_anew_cools_nothing() -> None:
    x = noise(1500, 2)
    one, two = (look_again(rested(x, b), COLUMNS, WIRING, N_TAPS) for b in ((), ((700, mask(1)),)))
    assert np.array_equal(one[0], two[0])
    assert np.array_equal(one[1], two[1])


def test_a_longer_memory_changes_nothing() -> None:
    rest = rested(noise(1500, 3))
    one, two = (look_again(rest, COLUMNS, WIRING, n)[0] for n in (N_TAPS, N_TAPS + 77))
    assert np.array_equal(one, two)


# ---------------------------------------------------------------- what is read


def test_what_is_read_is_smoothed_over_clean_and_warm_points_alone() -> None:
    x = noise(2500, 4)
    clean = np.ones(500, bool)
    clean[300:310] = False
    rest = rested(x, (), clean)
    seen, warm = look_again(rest, COLUMNS, WIRING, N_TAPS)
    got = read_again(rest, seen, warm, WIRING, DEFS, RATE_HZ / HOP, {"c": Reference(floor=0.25)})
    good = np.flatnonzero(clean & warm)
    assert np.isnan(got[~(clean & warm)]).all()
    a, b = (2.0 * np.abs(band(hz, x[:, s])[rest.rows]) ** 2 for hz, s in ((ALPHA, 2), (BETA, 0)))
    keep, s, w = math.exp(-1.0 / (0.4 * RATE_HZ / HOP)), 0.0, 0.0
    for k in good.tolist():
        s, w = keep * s + a[k], keep * w + 1.0
        assert got[k, 0] == pytest.approx(s / w, rel=1e-9)
        assert got[k, 2] == pytest.approx(s / w / b[k], rel=1e-9)
    assert np.allclose(got[good, 1], b[good], rtol=1e-9)
    # What passes through no kernel is as it was live, over a clean window.
    assert np.flatnonzero(np.isfinite(got[:, 3])).tolist() == [
        k for k in good if set(range(k - 4, k + 1)) <= set(good.tolist())
    ]
    assert got[400, 3] == 400.0
    za, zb = band(ALPHA, x[:, 0])[rest.rows], band(ALPHA, x[:, 2])[rest.rows]
    last = good[(good <= 299)][-20:]
    turn = np.exp(1j * (np.angle(za[last]) - np.angle(zb[last])))
    assert got[299, 4] == pytest.approx(abs(turn.mean()) - 0.25)


@pytest.mark.parametrize(("missing", "forgets"), [(19, False), (21, True)])
def test_points_that_are_missing_count_as_a_pause(missing: int, forgets: bool) -> None:
    """0.4 s of smoothing is 20 points: after a longer hole the average begins anew."""
    x = noise(2500, 5)
    seq = HOP * np.arange(1, 501)
    seq[400:] += HOP * missing
    rest = rested(x, (), None, seq)
    seen, warm = look_again(rest, COLUMNS, WIRING, N_TAPS)
    got = read_again(rest, seen, warm, WIRING, DEFS, RATE_HZ / HOP, None)
    alone = 2.0 * abs(band(ALPHA, x[:, 2])[rest.rows[400]]) ** 2
    assert bool(got[400, 0] == pytest.approx(alone, rel=1e-9)) == forgets
    assert math.isnan(got[400, 4]) is forgets


# ---------------------------------------------------------------- how well it follows


def test_a_delayed_envelope_is_found_at_its_delay() -> None:
    """The ideal envelope itself, 120 ms late: r = 1 there, and the curve beside it."""
    x = noise(15_000, 6)
    f = np.fft.fftfreq(len(x), 1.0 / RATE_HZ)
    ideal = np.abs(np.fft.ifft(np.where((f >= 8) & (f <= 12), np.fft.fft(x[:, 0]), 0.0)))
    rest = rested(x)
    late = ideal[rest.rows - 30]
    every = np.ones(len(rest.rows), bool)
    found = measured(rest, x[:, 0], late, every, ALPHA, RATE_HZ, HOP)
    assert found is not None
    curve, lag_s, r = found
    assert (lag_s, r) == (pytest.approx(0.12), pytest.approx(1.0, abs=1e-3))
    assert len(curve) == len(CURVE_S)
    assert curve[CURVE_S.index(0.1)] > 0.95 > curve[CURVE_S.index(0.3)]


def test_only_points_well_within_clean_signal_count() -> None:
    x = noise(15_000, 7)
    amplitude = np.abs(band(ALPHA, x[:, 0]))[(np.arange(3000) + 1) * HOP - 1]
    every = np.ones(3000, bool)
    clean = np.zeros(3000, bool)
    clean[1000:1300] = True  # 6 s: less 0.6 s and 0.5 s before, 0.5 s behind
    found = measured(rested(x, (), clean), x[:, 0], amplitude, every, ALPHA, RATE_HZ, HOP)
    assert found is not None
    clean[1250:] = False  # 5 s: 3.4 s of points remain
    assert measured(rested(x, (), clean), x[:, 0], amplitude, every, ALPHA, RATE_HZ, HOP) is None
    assert measured(rested(x), x[:, 0], amplitude, ~every, ALPHA, RATE_HZ, HOP) is None


def test_a_gated_artefact_has_no_part_in_the_ideal() -> None:
    """However large: a band-pass rings far beyond half a second."""
    x = noise(15_000, 8)
    clean = np.ones(3000, bool)
    clean[[400, 1100, 1900, 2500]] = False
    spoilt = x.copy()
    spoilt[~np.repeat(clean, HOP)] = 3e4
    amplitude = np.abs(band(ALPHA, x[:, 0]))[(np.arange(3000) + 1) * HOP - 1]
    every = np.ones(3000, bool)
    one, two = (
        measured(rested(v, (), clean), v[:, 0], amplitude, every, ALPHA, RATE_HZ, HOP)
        for v in (x, spoilt)
    )
    assert one == two
    assert one is not None
    whole = measured(rested(x), x[:, 0], amplitude, every, ALPHA, RATE_HZ, HOP)
    assert whole is not None
    assert one[2] == pytest.approx(whole[2], abs=0.02)


# ---------------------------------------------------------------- channels


def test_channels_are_weighted_sums_with_their_own_spectra() -> None:
    x = noise(5000, 9)
    clean = np.ones(1000, bool)
    clean[300:320] = False
    rest = rested(x, (), clean)
    plain = Source(0, (1, 0), (1.0, 1.0))
    mixed = Source(0, (), (1.0, 1.0), np.array([[1.0, -0.5], [0.0, 2.0]]))
    breaths: list[int] = []
    channels = Channels(rest, COLUMNS, [plain, mixed], RATE_HZ, lambda: breaths.append(1))
    expected = [x[:, 2], x[:, 0], x[:, 0] - 0.5 * x[:, 2], 2.0 * x[:, 2]]
    assert np.array_equal(channels.first(plain), expected[0])
    assert np.allclose(channels.first(mixed), expected[2])
    found = channels.spectra(plain) + channels.spectra(mixed)
    for one, samples in zip(found, expected, strict=True):
        alone = spectrum(samples, rest.clean, RATE_HZ)
        assert np.allclose(one.density, alone.density, rtol=1e-9, atol=1e-15)
        assert (one.windows, one.clean_s) == (alone.windows, alone.clean_s)
    assert channels.sites([1]) == [found[0]]
    size = (x[rest.clean][:, [2, 0]] ** 2).mean(axis=0)
    assert np.allclose(channels.mean_square([1, 0]), size)
    assert len(breaths) >= found[0].windows


def test_band_signals_are_those_of_every_point() -> None:
    seen = np.random.default_rng(3).normal(size=(50, 4, 2))
    for source in (
        Source(1, (1, 0), (2.0, 0.5)),
        Source(0, (), (3.0,), np.array([[1.0, -0.5]])),
    ):
        one_by_one = np.array([source.band_signal(row) for row in seen])
        assert np.allclose(band_signals(source, seen), one_by_one, rtol=1e-12, atol=1e-12)
    assert band_signals(Source(0, (0,), (1.0,)), seen[:0]).shape == (0, 1)


def test_what_a_site_without_a_gate_has_of_clean_signal() -> None:
    x = noise(5000, 10)
    x[1000:1010, 1] = 400.0
    x[3000:3500, 2] = 0.01
    clean = np.ones(1000, bool)
    clean[:20] = False
    usable = clean_columns(rested(x, ((2000, mask(0)),), clean), (0, 1, 2), RATE_HZ)
    assert not usable[:100].any()
    around, second = round(0.25 * RATE_HZ), round(RATE_HZ)
    expected = np.ones((5000, 3), bool)
    expected[:100] = False
    expected[2000 : 2000 + second, 0] = False
    expected[1000 - around : 1010 + around, 1] = False
    expected[3000:3500, 2] = False
    assert np.array_equal(usable, expected)
