"""Slow cortical potential: known steps and ramps, large offsets, resets, and any slicing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.condition import Resets
from engine.frames import Float, hop_samples
from engine.slow import SlowPotential

RATE_HZ, HOP = 250.0, 5
SETTLED = 125  # grid points of 2.5 s


def run(
    slow: SlowPotential, x: Float, sizes: list[int] | None = None, resets: Resets = ()
) -> tuple[Float, np.ndarray]:
    """Return values and sample indices of the grid points, the samples cut into `sizes`."""
    out, seqs, at, k = [], [], 0, 0
    while at < len(x):
        n = min(sizes[min(k, len(sizes) - 1)], len(x) - at) if sizes else len(x)
        grid = np.arange(-at % slow.hop, n, slow.hop)
        within = tuple((row - at, mask) for row, mask in resets if at <= row < at + n)
        out.append(slow.step(x[at : at + n], grid, within))
        seqs.append(at + grid)
        at, k = at + n, k + 1
    return np.concatenate(out), np.concatenate(seqs)


def slow(n_sites: int = 1, **changes: Any) -> SlowPotential:
    return SlowPotential(RATE_HZ, HOP, n_sites=n_sites, **changes)


def noise(seed: int, seconds: float, n_sites: int, rate_hz: float = RATE_HZ) -> Float:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.standard_normal((round(seconds * rate_hz), n_sites)), axis=0)


# ---------------------------------------------------------------- known potentials


def test_a_step_of_minus_20_uv() -> None:
    """Half a second later all of it, two seconds after that nothing, linear between."""
    x = np.zeros((2500, 1))
    x[1001:] = -20.0  # right after the grid point at 1000
    y, seq = run(slow(), x)
    at = {int(s): float(v) for s, v in zip(seq, y[:, 0], strict=True)}
    assert at[1000] == 0.0
    assert at[1000 + 60] == pytest.approx(-20.0 * 60 / 125)
    assert at[1000 + 125] == pytest.approx(-20.0)
    assert at[1000 + 375] == pytest.approx(-20.0 + 20.0 * 250 / 500)
    assert at[1000 + 625] == at[2495] == 0.0
    assert min(at[s] for s in range(700, 2500, HOP)) == pytest.approx(-20.0)


def test_a_ramp_reads_its_slope_times_the_distance_of_the_means() -> None:
    t = np.arange(2500) / RATE_HZ
    y, _ = run(slow(), (8.0 * t)[:, None])
    assert np.allclose(y[SETTLED + 1 :], 8.0 * 1.25, rtol=1e-12)
    short, _ = run(slow(window_s=1.0, reference_s=1.0), (8.0 * t)[:, None])
    assert np.allclose(short[SETTLED + 1 :], 8.0, rtol=1e-12)


def test_it_is_the_difference_of_two_plain_means() -> None:
    x = noise(1, 12.0, 3)
    y, seqs = run(slow(3), x)
    for value, seq in zip(y, seqs, strict=True):
        if seq < 625:
            assert np.isnan(value).all()
            continue
        now, before = x[seq - 124 : seq + 1], x[seq - 624 : seq - 124]
        assert np.allclose(value, now.mean(axis=0) - before.mean(axis=0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("offset_uv", [1e5, -1e5, 3e5])
def test_an_offset_of_100_mv_does_not_matter(offset_uv: float) -> None:
    x = noise(2, 10.0, 2)
    y, _ = run(slow(2), x)
    shifted, _ = run(slow(2), x + offset_uv)
    assert np.nanmax(np.abs(shifted - y)) < 1e-8


def test_sites_do_not_touch_each_other() -> None:
    x = noise(3, 8.0, 3)
    y, _ = run(slow(3), x)
    for k in range(3):
        alone, _ = run(slow(1), x[:, k : k + 1])
        assert np.allclose(alone[:, 0], y[:, k], rtol=0, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("rate_hz", [128.0, 160.0, 250.0, 255.0, 300.0, 512.0, 1000.0, 2048.0])
def test_lengths_in_use_are_stated_at_every_rate(rate_hz: float) -> None:
    hop = hop_samples(rate_hz)
    s = SlowPotential(rate_hz, hop, n_sites=1)
    assert s.window_s == pytest.approx(0.5, abs=0.5 * hop / rate_hz)
    assert s.reference_s == pytest.approx(2.0, abs=0.5 * hop / rate_hz)
    assert s.delay_s == s.window_s / 2.0
    assert s.span_s == s.window_s + s.reference_s
    t = np.arange(round(6 * rate_hz)) / rate_hz
    y, seq = run(s, (5.0 * t)[:, None])
    expected = 5.0 * (s.window_s + s.reference_s) / 2.0
    assert y[-1, 0] == pytest.approx(expected, rel=1e-9)
    first = int(seq[np.flatnonzero(np.isfinite(y[:, 0]))[0]])
    assert s.settle - hop <= first <= s.settle


# ---------------------------------------------------------------- any slicing, resets, gaps


def masks(n_sites: int, *marked: int) -> np.ndarray:
    mask = np.zeros(n_sites, bool)
    mask[list(marked)] = True
    return mask


RESETS: Resets = (
    (0, masks(3, 0, 1, 2)),
    (700, masks(3, 1)),
    (701, masks(3, 2)),
    (703, masks(3, 1)),
    (1500, masks(3, 0, 2)),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.sampled_from([1, 3]))
def test_any_slicing_gives_the_same_bits(sizes: list[int], n_sites: int) -> None:
    x = noise(4, 10.0, n_sites) + 1e5
    x[900, 0] = np.nan
    resets = RESETS if n_sites == 3 else ()
    whole, seq = run(slow(n_sites), x, None, resets)
    cut, seqs = run(slow(n_sites), x, sizes, resets)
    assert np.array_equal(cut, whole, equal_nan=True)
    assert np.array_equal(seqs, seq)


@pytest.mark.parametrize("rate_hz", [160.0, 512.0, 2048.0])
def test_slicing_at_other_rates(rate_hz: float) -> None:
    hop = hop_samples(rate_hz)
    x = noise(5, 4.0, 2, rate_hz)
    whole, _ = run(SlowPotential(rate_hz, hop, n_sites=2), x)
    assert np.isfinite(whole[-1]).all()
    for size in (1, 7, hop, 3 * hop + 1):
        cut, _ = run(SlowPotential(rate_hz, hop, n_sites=2), x, [size])
        assert np.array_equal(cut, whole, equal_nan=True)


def test_a_site_starts_anew_where_it_is_reset() -> None:
    """Known again once a window and a reference lie wholly behind the reset, not a block sooner."""
    x = noise(6, 10.0, 3)
    plain, seq = run(slow(3), x)
    for row in (1001, 1002, 1003, 1005):
        x[:, 1] = plain_step = noise(6, 10.0, 3)[:, 1]
        x[row:, 1] = plain_step[row:] + 500.0
        y, _ = run(slow(3), x, None, ((row, masks(3, 1)),))
        assert np.array_equal(y[:, [0, 2]], plain[:, [0, 2]], equal_nan=True)
        first = -(-(row - 1) // HOP) * HOP + 625  # the grid point before or at the reset, 2.5 s on
        unknown = (seq >= row) & (seq < first)
        assert np.isnan(y[unknown, 1]).all()
        later = seq >= first
        assert np.allclose(y[later, 1], plain[later, 1], rtol=0, atol=1e-9)
        before = seq < row
        assert np.array_equal(y[before, 1], plain[before, 1], equal_nan=True)


def test_without_the_reset_a_step_is_read_as_a_potential() -> None:
    x = noise(6, 10.0, 1)
    x[1001:] += 500.0
    y, _ = run(slow(), x)
    assert np.nanmax(y) > 400.0


@pytest.mark.parametrize("missing", [1, 3, 5, 333])
def test_after_a_gap_nothing_from_before_is_used(missing: int) -> None:
    x = noise(7, 12.0, 2)
    s, fresh = slow(2), slow(2)
    s.step(x[:1002], np.arange(0, 1002, HOP))
    s.restart()
    start = 1002 + missing
    grid = np.arange(-start % HOP, len(x) - start, HOP)
    after = s.step(x[start:], grid)
    assert np.array_equal(after, fresh.step(x[start:], grid), equal_nan=True)
    first = start + int(grid[np.flatnonzero(np.isfinite(after[:, 0]))[0]])
    assert 0 <= first - start - 624 <= HOP
    now, before = x[first - 124 : first + 1], x[first - 624 : first - 124]
    assert np.allclose(after[np.isfinite(after[:, 0])][0], now.mean(axis=0) - before.mean(axis=0))


def test_skipped_points_are_a_gap() -> None:
    x = noise(8, 8.0, 1)
    s = slow()
    run(s, x)
    s.skip(0)
    assert np.isfinite(s.step(x[:5], np.array([0])))[0]
    s.skip(3)
    assert np.isnan(s.step(x[:5], np.array([0])))[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.finfo(float).max])
def test_what_is_no_number_leaves_with_the_window(bad: float) -> None:
    x = noise(9, 12.0, 2)
    plain, seq = run(slow(2), x)
    x[1003:1005, 0] = bad
    x[1004, 0] = -bad
    y, _ = run(slow(2), x)
    assert np.array_equal(y[:, 1], plain[:, 1], equal_nan=True)
    reached = (seq >= 1005) & (seq < 1005 + 625)
    if not np.isfinite(bad):
        assert np.isnan(y[reached, 0]).all()
    assert np.array_equal(y[~reached, 0], plain[~reached, 0], equal_nan=True)


def test_nothing_in_gives_nothing_out_and_inputs_stay() -> None:
    x = noise(10, 6.0, 2)
    copy = x.copy()
    x.flags.writeable = False
    whole, _ = run(slow(2), x)
    s = slow(2)
    first = s.step(x[:700], np.arange(0, 700, HOP))
    empty = s.step(x[:0], np.arange(0))
    rest = s.step(x[700:], np.arange(0, len(x) - 700, HOP))
    assert empty.shape == (0, 2)
    assert np.array_equal(np.concatenate([first, rest]), whole, equal_nan=True)
    assert np.array_equal(x, copy)


def test_the_future_changes_nothing() -> None:
    x = noise(11, 8.0, 1)
    whole, seq = run(slow(), x)
    part, _ = run(slow(), x[:1503])
    assert np.array_equal(part, whole[seq < 1503], equal_nan=True)


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one hop"):
        slow(window_s=0.001)
    with pytest.raises(ValueError, match="since the last grid point"):
        slow().step(np.zeros((20, 1)), np.array([0, 10]))
