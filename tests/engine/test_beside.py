"""Wide bands, ranges and slow potentials, each against its definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from engine.bank import Raw
from engine.beside import Beside, BesidePoints
from engine.condition import Conditioned
from engine.estimate import envelope_delay_s
from engine.features import FeatureDef, wide_orders
from engine.frames import Bool, Float, frozen

RATE_HZ, HOP, SITES = 250.0, 5, 4
BROAD, TOTAL = (4.0, 40.0), (1.0, 40.0)


def segment(
    x: Float,
    seq: int = 0,
    resets: tuple[tuple[int, Bool], ...] = (),
    referenced: Float | None = None,
) -> Conditioned:
    grid = np.flatnonzero((np.arange(len(x)) + seq) % HOP == 0)
    return Conditioned(
        seq,
        frozen((seq + np.arange(len(x))) / RATE_HZ),
        frozen((x if referenced is None else referenced).copy()),
        frozen(x.copy()),
        frozen(np.zeros(x.shape, np.int64)),
        resets,
        frozen(grid),
    )


def stepped(defs: Sequence[FeatureDef], x: Float, cut: int) -> list[BesidePoints]:
    beside = Beside(defs, RATE_HZ, HOP)
    return [beside.step(segment(x[at : at + cut], at)) for at in range(0, len(x), cut)]


def single(points: list[BesidePoints], i: int) -> Float:
    return np.concatenate([p.single[i] for p in points])


def noise(n: int, seed: int = 1) -> Float:
    rng = np.random.default_rng(seed)
    return np.asarray(np.cumsum(rng.normal(size=(n, SITES)), axis=0) * 0.1 + rng.normal(
        0.0, 5.0, (n, SITES)) * [1.0, 2.0, 3.0, 4.0])  # fmt: skip


def wide_power(x: Float, band: tuple[float, float]) -> Float:
    """Return the power by the definition: two Butterworths, squared, one pole of 1 / (2 lo)."""
    lo, hi = band
    m, n = wide_orders(band)
    y = sosfilt(butter(m, lo, "highpass", fs=RATE_HZ, output="sos"), x, axis=0)
    y = sosfilt(butter(n, hi, "lowpass", fs=RATE_HZ, output="sos"), y, axis=0)
    out, state = np.empty_like(y), np.zeros(x.shape[1])
    keep = np.exp(-2.0 * lo / RATE_HZ)
    for k, row in enumerate(y * y):
        state = keep * state + (1.0 - keep) * row
        out[k] = state
    return out[::HOP]


# ---------------------------------------------------------------- wide bands

DEFS = (
    FeatureDef("broad", "power", (2, 0), band_hz=BROAD),
    FeatureDef("narrow", "power", (1,), band_hz=(8.0, 12.0)),
    FeatureDef("share", "relative_power", (3, 1), band_hz=(8.0, 12.0), total_hz=TOTAL),
    FeatureDef("part", "relative_power", (1, 3), band_hz=BROAD, total_hz=TOTAL),
    FeatureDef("size", "amplitude", (1,), band_hz=BROAD),
)


@pytest.mark.parametrize("cut", [3, 250, 1500])
def test_wide_powers_are_of_the_right_sites_in_the_right_order(cut: int) -> None:
    x = noise(1500)
    points = stepped(DEFS, x, cut)
    broad, total = wide_power(x, BROAD), wide_power(x, TOTAL)
    after = slice(60, None)
    close = {"rtol": 1e-6, "atol": 0.0}
    assert np.allclose(single(points, 0)[after], broad[after][:, [2, 0]].mean(axis=1), **close)
    assert np.allclose(single(points, 4)[after], broad[after, 1], **close)
    whole = np.concatenate([p.wide[2] for p in points])
    assert np.allclose(whole[after], total[after][:, [3, 1]], **close)
    share = (broad / total)[after][:, [1, 3]].mean(axis=1)
    assert np.allclose(single(points, 3)[after], share, **close)
    # A band filter's numbers come from elsewhere; nothing is said twice.
    assert set(points[0].single) == {0, 3, 4}
    assert set(points[0].wide) == {2}


def test_any_cut_gives_the_same_bits() -> None:
    x = noise(1203, 2)
    whole = stepped(DEFS, x, 1203)
    for cut in (1, 2, 7, 24, 400):
        parts = stepped(DEFS, x, cut)
        for i in (0, 3, 4):
            assert np.array_equal(single(whole, i), single(parts, i), equal_nan=True)
        assert np.array_equal(whole[0].wide[2], np.concatenate([p.wide[2] for p in parts]))


def test_a_share_of_silence_is_unknown() -> None:
    values = single(stepped(DEFS, np.zeros((500, SITES)), 100), 3)
    assert np.isnan(values).all()


def test_filling_in() -> None:
    points = BesidePoints({1: np.array([3.0, 4.0])}, {0: np.array([[1.0, 2.0], [5.0, 6.0]])})
    raw: list[Raw] = [0.5, 0.5, 0.5]
    wide = points.fill(1, raw)
    assert raw == [0.5, 4.0, 0.5]
    assert wide[0].tolist() == [5.0, 6.0]


# ---------------------------------------------------------------- ranges

RANGES = (
    FeatureDef("short", "peak_to_peak", (1, 3), window_s=0.1),
    FeatureDef("long", "peak_to_peak", (0,), window_s=1.0),
)


@pytest.mark.parametrize("cut", [1, 3, 5, 64, 1002])
def test_a_range_is_the_largest_over_the_sites(cut: int) -> None:
    x = noise(1002, 3)
    points = stepped(RANGES, x, cut)
    grid = np.arange(0, 1002, HOP)
    for i, (sites, hops) in enumerate((([1, 3], 5), ([0], 50))):
        got = single(points, i)
        assert np.isnan(got[: hops - 1]).all()
        # The first hop is the one sample at 0: the window that ends at the last of its hops.
        expected = [
            np.ptp(x[max(0, g - hops * HOP + 1) : g + 1, sites], axis=0).max()
            for g in grid[hops - 1 :]
        ]
        assert np.array_equal(got[hops - 1 :], expected)


def test_after_a_restart_a_range_fills_anew() -> None:
    beside = Beside(RANGES, RATE_HZ, HOP)
    x = noise(600, 4)
    x[150, 1] = 1e6
    beside.step(segment(x[:203]))
    beside.restart()
    after = beside.step(segment(x[203:], 203)).single[0]
    assert np.isnan(after[:4]).all()
    assert (after[4:] < 1e3).all()


# ---------------------------------------------------------------- slow potentials

SLOW = (FeatureDef("scp", "slow_potential", (2, 0), window_s=0.5, reference_s=1.0),)


@pytest.mark.parametrize("cut", [1, 8, 777])
def test_a_slow_potential_is_read_before_any_filter(cut: int) -> None:
    x = noise(777, 5)
    referenced = np.cumsum(noise(777, 6), axis=0) + 1e4
    beside = Beside(SLOW, RATE_HZ, HOP)
    got = np.concatenate([
        beside.step(segment(x[at : at + cut], at, (), referenced[at : at + cut])).single[0]
        for at in range(0, 777, cut)
    ])  # fmt: skip
    grid = np.arange(0, 777, HOP)
    first = (25 + 50) * HOP
    assert np.isnan(got[grid < first - HOP]).all()
    for g, value in zip(grid, got, strict=True):
        if g >= first:
            now = referenced[g - 124 : g + 1, [2, 0]].mean()
            before = referenced[g - 374 : g - 124, [2, 0]].mean()
            assert value == pytest.approx(now - before, rel=1e-9)


def test_a_slow_voltage_is_the_mean_alone() -> None:
    x = noise(777, 5)
    referenced = np.cumsum(noise(777, 6), axis=0) + 1e4
    defs = (FeatureDef("v", "slow_voltage", (2, 0), window_s=0.5),)
    beside = Beside(defs, RATE_HZ, HOP)
    assert beside.delay_s() == {"v": 0.25}
    whole = beside.step(segment(x, 0, (), referenced)).single[0]
    beside.restart()
    got = np.concatenate([
        beside.step(segment(x[at : at + 13], at, (), referenced[at : at + 13])).single[0]
        for at in range(0, 777, 13)
    ])  # fmt: skip
    assert np.array_equal(got, whole, equal_nan=True)
    grid = np.arange(0, 777, HOP)
    assert np.isnan(got[grid < 24 * HOP]).all()
    for g, value in zip(grid, got, strict=True):
        if g >= 25 * HOP:
            assert value == pytest.approx(referenced[g - 124 : g + 1, [2, 0]].mean(), rel=1e-12)


def test_only_its_own_sites_make_it_begin_anew() -> None:
    x = noise(1500, 7)
    masks = [frozen(np.arange(SITES) == site) for site in range(SITES)]

    def known(resets: tuple[tuple[int, Bool], ...]) -> Float:
        beside = Beside(SLOW, RATE_HZ, HOP)
        return np.isfinite(beside.step(segment(x, 0, resets)).single[0])

    assert np.array_equal(known(()), known(((700, masks[1]), (900, masks[3]))))
    for site in (0, 2):
        lost = known(()) & ~known(((700, masks[site]),))
        at = np.flatnonzero(lost) * HOP
        assert (at[0], len(at)) == (700, 75)  # the hop it fell into, and 1.5 s


# ---------------------------------------------------------------- delays


def test_delays_of_what_is_measured_here() -> None:
    delay = Beside((*DEFS, *RANGES, *SLOW), RATE_HZ, HOP).delay_s()
    assert delay == {
        "broad": envelope_delay_s(BROAD, RATE_HZ),
        "part": envelope_delay_s(BROAD, RATE_HZ),
        "size": envelope_delay_s(BROAD, RATE_HZ),
        "short": 0.05,
        "long": 0.5,
        "scp": 0.25,
    }
    assert Beside(RANGES, RATE_HZ, HOP).settle == 0
    assert Beside(DEFS, RATE_HZ, HOP).settle > RATE_HZ / TOTAL[0]


def test_a_restart_forgets_everything() -> None:
    x = noise(900, 8)
    everything = (*DEFS, *RANGES, *SLOW)
    used, fresh = (Beside(everything, RATE_HZ, HOP) for _ in range(2))
    used.step(segment(noise(500, 9)))
    used.restart()
    one, two = used.step(segment(x, 500)), fresh.step(segment(x, 500))
    for i in one.single:
        assert np.array_equal(one.single[i], two.single[i], equal_nan=True), i
    assert np.array_equal(one.wide[2], two.wide[2])
