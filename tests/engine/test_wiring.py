"""Which filters the features need, and that what they read is a convolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from engine.bank import Bank, Raw
from engine.errors import MontageError
from engine.estimate import Estimator, Source, fixed_kernel, kernel_settle, products
from engine.features import COUPLED, FEATURES, FeatureDef
from engine.frames import Float, frozen
from engine.wiener import Kernel
from engine.wiring import (
    Demand,
    Wiring,
    demands_of,
    estimated_columns,
    fixed_wiring,
    longest,
    plain_source,
)

RATE_HZ = 250.0
ALPHA, SMR, BROAD = (8.0, 12.0), (12.0, 15.0), (1.0, 40.0)
LEFT = (0.0, 0.0, 1.0, -0.25, 0.0, -0.75, 0.0, 0.0)

DEFS = (
    FeatureDef("power", "power", (5, 1), band_hz=ALPHA),
    FeatureDef("size", "amplitude", (1,), band_hz=SMR),
    FeatureDef("share", "relative_power", (3, 5), band_hz=ALPHA),
    FeatureDef("above", "periodic_power", (6,), band_hz=ALPHA),
    FeatureDef("ratio", "ratio", of=(0, 8)),
    FeatureDef("asym", "asymmetry_index", of=(0, 8)),
    FeatureDef("z", "z", of=(5,)),
    FeatureDef("above_zero", "share_above", of=(5,)),
    FeatureDef("weighted", "power", (2,), band_hz=ALPHA, spatial="weights", weights=(LEFT,)),
    FeatureDef("bursts", "burst_rate", of=(1,)),
    FeatureDef("plv", "plv", (6, 3), band_hz=SMR),
    FeatureDef("scp", "slow_potential", (7,)),
    FeatureDef("reach", "peak_to_peak", (7,)),
    FeatureDef("whole", "power", (7,), band_hz=BROAD),
    FeatureDef("voltage", "slow_voltage", (7,)),
)
COLUMNS = (1, 2, 3, 5, 6)
N_SITES = 8


def convolved(kernel: Kernel, x: Float, row: int) -> complex:
    """Return z at a row by the definition, sample by sample."""
    z = 0j
    for age, tap in enumerate(kernel.taps[::-1].tolist()):
        if row - age >= 0:
            z += tap * float(x[row - age])
    return z


def looked(wiring: Wiring, x: Float, n_taps: int, columns: Sequence[int], cut: int) -> Float:
    """Return what the estimator sees at the last row, pushed in pieces of `cut`."""
    estimator = Estimator(tuple(columns), n_taps)
    for at in range(0, len(x), cut):
        estimator.push(x[at : at + cut])
    return estimator.look(wiring.products)


def noise(n: int, channels: int = N_SITES, seed: int = 1) -> Float:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(0.0, 10.0, (n, channels)) * np.arange(1, channels + 1))


# ---------------------------------------------------------------- demands


def test_every_kind_of_feature_says_what_it_needs() -> None:
    measured = {name for name, kind in FEATURES.items() if "at" in kind.needs}
    assert measured <= {d.kind for d in DEFS} | COUPLED
    assert estimated_columns(DEFS) == COLUMNS
    assert demands_of(DEFS, COLUMNS) == (
        Demand(0, ALPHA, (3, 0)),
        Demand(1, SMR, (0,)),
        Demand(2, ALPHA, (2, 3)),
        Demand(3, ALPHA, (4,)),
        Demand(3, (3.0, 6.0), (4,), beside=True),
        Demand(3, (14.0, 18.0), (4,), beside=True),
        Demand(8, ALPHA, (1,)),
        Demand(10, SMR, (4, 2)),
    )


def test_what_a_fitted_filter_may_use_and_the_eyes_are_kept() -> None:
    d = FeatureDef("p", "power", (4,), band_hz=ALPHA, spatial="ssd", pool=(4, 0, 2))
    assert estimated_columns((d,)) == (0, 2, 4)
    assert estimated_columns((d,), eog=(7,)) == (0, 2, 4, 7)
    assert estimated_columns((DEFS[13],)) == ()


@pytest.mark.parametrize("kind", [*sorted(COUPLED), "periodic_power"])
def test_too_wide_for_a_phase_is_refused(kind: str) -> None:
    d = FeatureDef("c", kind, (0, 1), band_hz=BROAD)
    with pytest.raises(MontageError, match="too wide"):
        demands_of((d,), (0, 1))


def test_kernels_are_shared_by_band() -> None:
    demands = demands_of(DEFS, COLUMNS)
    wiring = fixed_wiring(DEFS, demands, COLUMNS, RATE_HZ)
    assert [k.band_hz for k in wiring.kernels] == [ALPHA, SMR, (3.0, 6.0), (14.0, 18.0)]
    assert [s.kernel for s in wiring.sources] == [0, 1, 0, 0, 2, 3, 0, 1]
    assert wiring.settle == max(kernel_settle(k) for k in wiring.kernels)
    with pytest.raises(MontageError, match="sampling rate"):
        fixed_wiring(DEFS, demands, COLUMNS, 59.0)


def test_enough_is_kept_for_the_longest_kernel_that_may_come() -> None:
    narrow = (FeatureDef("p", "power", (0,), band_hz=(13.0, 21.0)),)
    fixed = len(fixed_kernel((13.0, 21.0), RATE_HZ).taps)
    assert longest(narrow, demands_of(narrow, (0,)), RATE_HZ) == fixed
    fitted = (FeatureDef("p", "power", (0,), band_hz=(13.0, 21.0), fit="session"),)
    assert longest(fitted, demands_of(fitted, (0,)), RATE_HZ) == max(fixed, 250)
    alpha = (FeatureDef("p", "power", (0,), band_hz=ALPHA, fit="course"),)
    assert longest(alpha, demands_of(alpha, (0,)), RATE_HZ) == 500
    assert longest((), (), RATE_HZ) == 1


@pytest.mark.parametrize("fit", ["fixed", "session"])
@pytest.mark.parametrize("iaf", [(5.0, 8.0), (4.6, 8.0), (-1.0, 3.0), (2.0, 6.5)])
def test_a_flank_that_is_narrowest_between_the_extremes_is_kept_as_well(
    iaf: tuple[float, float], fit: str
) -> None:
    """The flank below 17.53-20.53 Hz is 2 Hz wide, at either end of the range it is wider."""
    band = (10.0 + iaf[0], 10.0 + iaf[1])
    d = FeatureDef("p", "periodic_power", (0,), band_hz=band, iaf=iaf, fit=fit)
    kept = longest((d,), demands_of((d,), (0,)), RATE_HZ)
    for hz in (*np.arange(7.0, 13.0, 0.097).tolist(), 12.5, 12.501, 12.53):
        moved = replace(d, iaf=None, band_hz=(hz + iaf[0], hz + iaf[1]))
        assert longest((moved,), demands_of((moved,), (0,)), RATE_HZ) <= kept, hz


@pytest.mark.parametrize("iaf", [(-4.0, 4.0), (-6.0, 3.0), (-6.0, 12.0)])
def test_what_would_change_between_narrow_and_wide_is_refused(iaf: tuple[float, float]) -> None:
    """`protocols.load` refuses it first; a header may hold it all the same."""
    d = FeatureDef("p", "power", (0,), band_hz=(10.0 + iaf[0], 10.0 + iaf[1]), iaf=iaf)
    with pytest.raises(MontageError, match="individual alpha frequency of 7 Hz"):
        demands_of((d,), (0,))


def test_weights_are_cut_to_the_columns_that_are_kept() -> None:
    source = plain_source(3, Demand(8, ALPHA, (1,)), DEFS[8], COLUMNS)
    assert source.weights is not None
    assert source.weights.tolist() == [[0.0, 1.0, -0.25, -0.75, 0.0]]
    assert (source.kernel, source.columns, source.gains) == (3, (), (1.0,))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("cut", [1, 7, 1500])
def test_raw_values_are_the_convolution(cut: int) -> None:
    demands = demands_of(DEFS, COLUMNS)
    wiring = fixed_wiring(DEFS, demands, COLUMNS, RATE_HZ)
    x = noise(1500)
    seen = looked(wiring, x, longest(DEFS, demands, RATE_HZ), COLUMNS, cut)
    raw: list[Raw] = [math.nan] * len(DEFS)
    raw[12] = 77.0  # of others
    wiring.read(seen, raw, {2: np.array([500.0, 900.0])})

    def z(band: tuple[float, float], column: Float) -> complex:
        return convolved(fixed_kernel(band, RATE_HZ), column, 1499)

    def p(band: tuple[float, float], site: int) -> float:
        return 2.0 * abs(z(band, x[:, site])) ** 2

    near = {"rel": 1e-9}
    assert raw[0] == pytest.approx((p(ALPHA, 5) + p(ALPHA, 1)) / 2.0, **near)
    assert raw[1] == pytest.approx(p(SMR, 1), **near)
    # Parts first, wholes after: they are smoothed apart and divided then.
    assert raw[2] == pytest.approx((p(ALPHA, 3), p(ALPHA, 5), 500.0, 900.0), **near)
    flanked = [p(ALPHA, 6), p((3.0, 6.0), 6), p((14.0, 18.0), 6)]
    assert raw[3] == pytest.approx(flanked, **near)
    weighted = 2.0 * abs(z(ALPHA, x @ np.array(LEFT))) ** 2
    assert raw[8] == pytest.approx(weighted, **near)
    assert raw[10] == pytest.approx([z(SMR, x[:, 6]), z(SMR, x[:, 3])], **near)
    assert raw[12] == 77.0
    assert all(math.isnan(raw[i]) for i in (4, 5, 6, 7, 9, 11, 13))  # type: ignore[arg-type]
    powers = wiring.powers(seen, len(DEFS))
    assert powers[[0, 1, 3, 8]] == pytest.approx([raw[0], raw[1], flanked[0], weighted], **near)
    assert np.isnan(np.delete(powers, [0, 1, 3, 8])).all()


def test_a_share_of_nothing_is_unknown() -> None:
    demands = demands_of(DEFS, COLUMNS)
    wiring = fixed_wiring(DEFS, demands, COLUMNS, RATE_HZ)
    seen = looked(wiring, noise(900), longest(DEFS, demands, RATE_HZ), COLUMNS, 900)

    def share(whole: list[float]) -> float:
        raw: list[Raw] = [math.nan] * len(DEFS)
        wiring.read(seen, raw, {2: np.array(whole)})
        return float(Bank(DEFS, 50.0).step(raw, True)[2])

    assert 0.0 < share([500.0, 900.0]) < math.inf
    assert math.isnan(share([500.0, 0.0]))


def test_gains_are_of_power() -> None:
    """Calibrated by 4 and 9: powers fourfold and ninefold, band signals double and triple."""
    pair = FeatureDef("plv", "plv", (0, 1), band_hz=ALPHA)
    mean = FeatureDef("p", "power", (0, 1), band_hz=ALPHA)
    share = FeatureDef("s", "relative_power", (0, 1), band_hz=ALPHA)
    defs = (pair, mean, share)
    demands = demands_of(defs, (0, 1))
    kernel = fixed_kernel(ALPHA, RATE_HZ)

    def read(gains: tuple[float, float]) -> list[Raw]:
        sources = [Source(0, (0, 1), gains) for _ in defs]
        wiring = Wiring(defs, demands, [kernel], sources, 2)
        seen = looked(wiring, noise(800, 2), len(kernel.taps), (0, 1), 800)
        raw: list[Raw] = [math.nan] * 3
        wiring.read(seen, raw, {2: np.array([1.0, 1.0])})
        return raw

    (a, b), plain_mean, plain_share = read((1.0, 1.0))  # type: ignore[misc]
    (a2, b2), mean_2, share_2 = read((4.0, 9.0))  # type: ignore[misc]
    assert [a2, b2] == pytest.approx([2.0 * a, 3.0 * b])
    one, two = 2.0 * abs(a) ** 2, 2.0 * abs(b) ** 2
    assert [plain_mean, mean_2] == pytest.approx([(one + two) / 2.0, (4.0 * one + 9.0 * two) / 2.0])
    assert plain_share == pytest.approx((one, two, 1.0, 1.0))
    assert share_2 == pytest.approx((4.0 * one, 9.0 * two, 1.0, 1.0))


def test_two_virtual_channels_are_averaged() -> None:
    weights = frozen(np.array([[1.0, -1.0], [0.5, 0.5]]))
    d = FeatureDef("p", "power", (0,), band_hz=ALPHA)
    kernel = fixed_kernel(ALPHA, RATE_HZ)
    wiring = Wiring(
        (d,), demands_of((d,), (0, 1)), [kernel], [Source(0, (), (2.0, 3.0), weights)], 2
    )
    x = noise(800, 2)
    raw: list[Raw] = [math.nan]
    wiring.read(looked(wiring, x, len(kernel.taps), (0, 1), 50), raw, {})
    one, two = (abs(convolved(kernel, x @ w, 799)) ** 2 for w in weights)
    assert raw[0] == pytest.approx(2.0 * one + 3.0 * two)


# ---------------------------------------------------------------- short and long kernels


def test_short_kernels_apart_from_long_ones_give_the_same() -> None:
    bands = ((20.0, 40.0), ALPHA, (13.0, 30.0), (12.0, 14.0), (4.0, 7.0))
    kernels = [fixed_kernel(b, RATE_HZ) for b in bands]
    longest_taps = max(len(k.taps) for k in kernels)
    split = products(kernels, 1000)
    assert [p.matrix.shape[1] for p in split] == [
        longest_taps,
        max(len(k.taps) for k in kernels if len(k.taps) <= 0.6 * longest_taps),
    ]
    assert sorted(r for p in split for r in p.rows.tolist()) == list(range(2 * len(kernels)))
    x = noise(1200, 3)
    estimator = Estimator((0, 2), longest_taps + 13)  # more kept than needed
    estimator.push(x)
    seen = estimator.look(split)
    for i, kernel in enumerate(kernels):
        for k, column in enumerate((0, 2)):
            z = convolved(kernel, x[:, column], 1199)
            assert complex(seen[i, k], seen[len(kernels) + i, k]) == pytest.approx(z, rel=1e-9)


def test_hundreds_of_columns_side_by_side_or_not() -> None:
    """More than one block of channels, some neighbours, some not."""
    columns = tuple(c for c in range(700) if c % 2 or c < 300)
    x = np.random.default_rng(3).normal(size=(400, 700))
    kernels = [fixed_kernel((20.0, 40.0), RATE_HZ), fixed_kernel((30.0, 35.0), RATE_HZ)]
    estimator = Estimator(columns, 300)
    for at in range(0, 400, 33):
        estimator.push(x[at : at + 33])
    seen = estimator.look(products(kernels, len(columns)))
    assert seen.shape == (4, len(columns))
    tail = x[-300:, list(columns)]
    for i, kernel in enumerate(kernels):
        n = len(kernel.taps)
        true = kernel.taps @ tail[300 - n :]
        # So many columns are kept in single precision.
        assert np.abs(seen[i] + 1j * seen[2 + i] - true).max() < 1e-5 * np.abs(true).max()


def test_a_site_that_begins_anew_has_no_past_and_the_others_keep_theirs() -> None:
    kernel = fixed_kernel(ALPHA, RATE_HZ)
    x = noise(900, 3)
    estimator = Estimator((0, 2), len(kernel.taps))
    estimator.push(x[:700])
    estimator.forget(np.array([False, False, True]))
    estimator.push(x[700:])
    seen = estimator.look(products([kernel], 2))
    begun = np.where(np.arange(900) < 700, 0.0, x[:, 2])
    assert complex(*seen[:, 0]) == pytest.approx(convolved(kernel, x[:, 0], 899), rel=1e-9)
    assert complex(*seen[:, 1]) == pytest.approx(convolved(kernel, begun, 899), rel=1e-9)
    estimator.restart()
    assert not estimator.look(products([kernel], 2)).any()
