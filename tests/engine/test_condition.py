"""Conditioning: contained, referenced, filtered, flagged, sample by sample."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt, sosfreqz

from engine.auxiliary import Accelerometer, Eyes
from engine.condition import Conditioned, Conditioner, ConditionSettings, condition_settings
from engine.frames import Channel, Float, Quality, StreamSpec
from engine.reference import Montage, choose_montage

RATE_HZ, HOP = 250.0, 5
BEAT = 50


def montage(n: int = 3, subtract: tuple[tuple[int, ...], ...] | None = None) -> Montage:
    names = ("C3", "C4", "Cz", "Pz", "O1", "O2")[:n]
    return Montage(
        tuple(range(n)),
        names,
        (True,) * n,
        tuple(range(n)),
        "as recorded",
        subtract or ((),) * n,
    )


def conditioner(
    m: Montage | None = None,
    *,
    rate_hz: float = RATE_HZ,
    notch_hz: float | None = 50.0,
    range_uv: float = 500_000.0,
) -> Conditioner:
    hop = max(1, round(rate_hz / 50))
    return Conditioner(ConditionSettings(rate_hz, hop, m or montage(), 1.0, notch_hz, range_uv))


def cut(n: int, beat: int, sizes: list[int] | None = None, first: int = 0) -> list[tuple[int, int]]:
    """Return (start, end) of segments: at every beat's end, and where `sizes` say."""
    ends = {k + 1 - first for k in range(0, first + n, beat)} | {n}
    at = 0
    for size in sizes or []:
        at += size
        ends.add(at)
    edges = [0, *sorted(e for e in ends if 0 < e <= n)]
    return list(itertools.pairwise(edges))


def run(c: Conditioner, x: Float, sizes: list[int] | None = None) -> Conditioned:
    """Condition everything, as one `Conditioned`."""
    t = np.arange(len(x)) / c.settings.rate_hz
    parts = [c.step(a, t[a:b], x[a:b]) for a, b in cut(len(x), c.beat, sizes)]
    return Conditioned(
        0,
        t,
        np.concatenate([p.referenced_uv for p in parts]),
        np.concatenate([p.uv for p in parts]),
        np.concatenate([p.flags for p in parts]),
        tuple((p.seq + row, mask) for p in parts for row, mask in p.resets),
        np.concatenate([p.seq + p.grid for p in parts]),
    )


def noise(seconds: float, n: int = 3, sd: float = 10.0, seed: int = 1) -> Float:
    return np.random.default_rng(seed).normal(0, sd, (round(seconds * RATE_HZ), n))


def bits(c: Conditioned, flag: Quality) -> np.ndarray:
    return (c.flags & int(flag)) != 0


# ---------------------------------------------------------------- filters


def test_high_pass_and_notch_are_where_they_should_be() -> None:
    _, h = sosfreqz(conditioner().sos, [1.0, 8.0, 12.0, 40.0, 50.0], fs=RATE_HZ)
    power = np.abs(h) ** 2
    assert power[0] == pytest.approx(0.5, rel=0.01)
    assert np.abs(power[1:3] - 1.0).max() < 0.005
    assert power[3] > 0.98
    assert power[4] < 1e-9


def test_no_notch_when_left_or_unknown_or_too_high() -> None:
    for rate_hz, notch_hz in ((250.0, None), (100.0, 50.0)):
        c = conditioner(rate_hz=rate_hz, notch_hz=notch_hz)
        assert len(c.sos) == 1


def test_no_start_up_transient_on_a_large_offset() -> None:
    x = noise(4.0)
    shifted = x + np.array([100_000.0, -100_000.0, 0.0])
    plain, c = run(conditioner(), x), run(conditioner(), shifted)
    # Started at the first sample's value, both begin at the same zero.
    assert np.abs(c.uv).max() < 60.0
    assert np.abs(c.uv - plain.uv).max() < 1e-5
    assert not c.flags.any()
    assert np.array_equal(c.flags, plain.flags)


# ---------------------------------------------------------------- containment


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_flagged_and_stays_in_its_channel(bad: float) -> None:
    x = noise(4.0)
    broken = x.copy()
    broken[300:303, 1] = bad
    broken[400, 1] = bad
    plain, c = run(conditioner(), x), run(conditioner(), broken)
    assert np.isfinite(c.uv).all()
    assert np.array_equal(c.uv[:, [0, 2]], plain.uv[:, [0, 2]])
    assert np.flatnonzero(bits(c, Quality.NAN)[:, 1]).tolist() == [300, 301, 302, 400]
    assert not bits(c, Quality.NAN)[:, [0, 2]].any()
    assert np.array_equal(c.referenced_uv[300:303, 1], np.repeat(x[299, 1], 3))


def test_nothing_but_nan_from_the_start() -> None:
    x = noise(1.0)
    x[:, 0] = np.nan
    c = run(conditioner(), x)
    assert not c.uv[:, 0].any()
    assert bits(c, Quality.NAN)[:, 0].all()


@pytest.mark.parametrize("huge", [1e300, -1e300, 1e9, 500_000.0, np.finfo(float).max])
def test_huge_values_are_clamped_and_flagged(huge: float) -> None:
    x = noise(2.0)
    x[200, 1] = huge
    c = run(conditioner(), x)
    assert np.isfinite(c.uv).all()
    assert c.referenced_uv[200, 1] == np.clip(huge, -500_000.0, 500_000.0)
    assert bits(c, Quality.RAIL)[200:, 1].all()
    assert not bits(c, Quality.RAIL)[:200, 1].any()
    assert not bits(c, Quality.RAIL)[:, [0, 2]].any()


def test_the_rooms_range_is_used() -> None:
    spec = StreamSpec("s", "EEG", "i", "u", "h", 250.0, (Channel("Cz", "eeg", "uV", 1.0),))
    m = choose_montage(spec, ["Cz"], ["as recorded"])
    assert condition_settings(spec, m, 1.0, None, 3300.0).range_uv == 3300.0
    x = noise(1.0, 1)
    x[100] = 3300.0
    c = run(Conditioner(condition_settings(spec, m, 1.0, None, 3300.0)), x)
    assert bits(c, Quality.RAIL)[100, 0]


# ---------------------------------------------------------------- flat, rail, clipping


def test_a_rail_lasts_until_clean_for_five_seconds() -> None:
    x = noise(8.0)
    x[200:210, 0] = 500_000.0
    rail = bits(run(conditioner(), x), Quality.RAIL)[:, 0]
    assert np.flatnonzero(rail).tolist() == list(range(200, 209 + round(5 * RATE_HZ) + 1))


def test_a_flat_channel_is_found_within_little_more_than_a_second() -> None:
    x = noise(12.0)
    x[500:1000, 1] = x[500, 1]
    flat = bits(run(conditioner(), x), Quality.FLAT)
    first, last = np.flatnonzero(flat[:, 1])[[0, -1]]
    assert 500 + RATE_HZ * 0.9 <= first <= 500 + RATE_HZ + 2 * BEAT
    assert 1000 + 5 * RATE_HZ - 2 * BEAT <= last <= 1000 + 5 * RATE_HZ + 2 * BEAT
    assert not flat[:, [0, 2]].any()


def test_flat_on_a_large_offset_is_flat_and_small_noise_is_not() -> None:
    x = noise(3.0)
    x[:, 0] = 123_456.789
    x[:, 1] = noise(3.0, 1, 0.8)[:, 0] + 200_000.0
    flat = bits(run(conditioner(), x), Quality.FLAT)
    assert flat[-1, 0]
    assert not flat[:, 1].any()


def test_three_equal_samples_far_out_are_clipping() -> None:
    x = noise(4.0)
    x[500:560, 1] += np.hanning(60) * 500.0
    clipped = np.minimum(x, 300.0)
    assert not bits(run(conditioner(), x), Quality.RAIL).any()
    c = run(conditioner(), clipped)
    first = int(np.flatnonzero(clipped[:, 1] == 300.0)[0])
    assert bits(c, Quality.RAIL)[first + 2 :, 1].all()
    assert not bits(c, Quality.RAIL)[: first + 2].any()


def test_equal_samples_near_the_mean_are_no_clipping() -> None:
    x = np.round(noise(4.0, sd=3.0))  # an amplifier with a coarse step
    assert (np.diff(x, n=2, axis=0) == 0).any()
    assert not run(conditioner(), x).flags.any()


# ---------------------------------------------------------------- steps


def test_a_step_is_flagged_and_nothing_rings() -> None:
    x = noise(8.0, sd=5.0)
    stepped = x.copy()
    stepped[1000:, 1] += 50_000.0
    plain, c = run(conditioner(), x), run(conditioner(), stepped)
    assert np.flatnonzero(bits(c, Quality.STEP)).tolist() == [1000 * 3 + 1]
    assert np.abs(c.uv[:, 1]).max() < 40.0
    assert np.array_equal(c.uv[:, [0, 2]], plain.uv[:, [0, 2]])
    assert [row for row, _ in c.resets] == [0, 1000]
    assert c.resets[1][1].tolist() == [False, True, False]


@pytest.mark.parametrize("rate_hz", [128.0, 250.0, 1000.0])
def test_the_step_limit_scales_with_the_rate(rate_hz: float) -> None:
    for times, expected in ((0.9, False), (1.2, True)):
        x = np.random.default_rng(1).normal(0, 0.7, (round(4 * rate_hz), 3))
        x[round(3 * rate_hz) :, 0] += times * 50.0 * 250.0 / rate_hz
        c = run(conditioner(rate_hz=rate_hz), x)
        assert bits(c, Quality.STEP)[:, 0].any() == expected


def test_restless_channels_get_a_limit_of_their_own() -> None:
    """Eight robust SD of the channel's own differences: strong beta or EMG is no train of steps."""
    x = noise(20.0, sd=40.0)
    late = bits(run(conditioner(), x), Quality.STEP)[round(2 * RATE_HZ) :]
    assert late.mean() < 1e-3


def test_strong_mains_is_no_train_of_steps() -> None:
    """Five samples per period: the same five jumps again and again."""
    x = noise(6.0, sd=4.0)
    x += 150.0 * np.sin(2 * np.pi * 50.0 * np.arange(len(x)) / RATE_HZ + 0.4)[:, None]
    step = bits(run(conditioner(), x), Quality.STEP)
    assert step[:BEAT].any()
    assert not step[2 * BEAT :].any()


def test_a_burst_of_steps_cannot_teach_that_steps_are_normal() -> None:
    x = noise(20.0, sd=5.0)
    x[10::10, 1] += 1000.0
    step = bits(run(conditioner(), x), Quality.STEP)
    assert step[10::10, 1].all()
    assert not step[:, [0, 2]].any()


def pop(x: Float, row: int, uv: float, tau_s: float = np.inf) -> Float:
    out = x.copy()
    after = np.arange(len(x) - row) / RATE_HZ
    out[row:, 1] += uv * np.exp(-after / tau_s)
    return out


@pytest.mark.parametrize("uv", [100.0, -250.0, 900.0])
@pytest.mark.parametrize("tau_s", [np.inf, 0.3])
def test_a_jump_that_stays_restarts_its_site_60_ms_later(uv: float, tau_s: float) -> None:
    c = run(conditioner(), pop(noise(8.0, sd=4.0), 1000, uv, tau_s))
    assert np.flatnonzero(bits(c, Quality.STEP)).tolist() == [1000 * 3 + 1]
    assert [row for row, _ in c.resets] == [0, 1000 + 15 - 1]
    assert c.resets[1][1].tolist() == [False, True, False]
    assert np.abs(c.uv[1014:1030, 1]).max() < 60.0 + (0.0 if tau_s == np.inf else 0.1 * abs(uv))


@pytest.mark.parametrize("samples", [1, 4])
def test_a_jump_that_goes_back_is_flagged_and_restarts_nothing(samples: int) -> None:
    x = noise(8.0, sd=4.0)
    x[1000 : 1000 + samples, 1] += 150.0
    c = run(conditioner(), x)
    assert np.flatnonzero(bits(c, Quality.STEP)[:, 1]).tolist() == [1000, 1000 + samples]
    assert [row for row, _ in c.resets] == [0]


def test_a_huge_jump_waits_for_nothing_even_while_another_is_looked_at() -> None:
    x = pop(pop(noise(8.0, sd=4.0), 1000, 120.0), 1005, 5000.0)
    c = run(conditioner(), x)
    assert [row for row, _ in c.resets] == [0, 1005]
    assert np.abs(c.uv[1005:, 1]).max() < 60.0


def test_muscle_is_no_train_of_steps() -> None:
    x = noise(12.0, sd=4.0)
    rng = np.random.default_rng(7)
    emg = sosfilt(butter(2, (25, 110), "bandpass", fs=RATE_HZ, output="sos"), rng.normal(size=1000))
    x[1500:2500, 0] += 80.0 * emg / emg.std() * np.minimum(1.0, np.hanning(1000) * 10.0)
    c = run(conditioner(), x)
    assert bits(c, Quality.STEP)[:, 0].sum() > 100
    assert [row for row, _ in c.resets] == [0]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 60), min_size=40, max_size=120))
def test_a_jump_is_looked_at_across_any_slicing(sizes: list[int]) -> None:
    x = pop(pop(pop(noise(8.0, sd=4.0), 500, 200.0, 0.2), 1000, -300.0), 1010, 90.0)
    x[1300, 0] += 100.0
    whole, sliced = run(conditioner(), x), run(conditioner(), x, sizes)
    assert np.array_equal(whole.uv, sliced.uv)
    assert [r for r, _ in whole.resets] == [r for r, _ in sliced.resets]
    assert len(whole.resets) > 2


# ---------------------------------------------------------------- eyes and motion, carried along


def carrying() -> Conditioner:
    eyes = (Eyes("C3-C4", 0, 1), Eyes("Cz", 2))
    settings = ConditionSettings(
        RATE_HZ, HOP, montage(), 1.0, None, eyes=eyes, accelerometer=Accelerometer((3, 4, 5), 0.5)
    )
    return Conditioner(settings)


def with_sensor(seconds: float = 4.0) -> Float:
    rng = np.random.default_rng(3)
    g = rng.normal([0.0, 0.0, 2.0], 0.01, (round(seconds * RATE_HZ), 3))
    return np.column_stack([noise(seconds), g])


def carried(x: Float, sizes: list[int] | None = None) -> list[Float]:
    c = carrying()
    t = np.arange(len(x)) / RATE_HZ
    parts = [c.step(a, t[a:b], x[a:b]) for a, b in cut(len(x), c.beat, sizes)]
    return [
        np.concatenate([getattr(p, name) for p in parts])
        for name in ("eyes_uv", "eyes_flags", "motion_g")
    ]


def test_eyes_and_motion_come_as_recorded() -> None:
    x = with_sensor() + np.array([1e5, -1e5, 300.0, 0.0, 0.0, 0.0])
    eyes, flags, motion = carried(x)
    assert np.array_equal(eyes, np.column_stack([x[:, 0] - x[:, 1], x[:, 2]]))
    assert not flags.any()
    assert np.allclose(motion[:, 0], 0.5 * np.linalg.norm(x[:, 3:], axis=1))


def test_what_is_no_number_stays_out_of_eyes_and_motion() -> None:
    x = with_sensor()
    x[300:303, 1] = np.nan
    x[:10, 4] = np.nan
    x[400, 3] = np.inf
    x[500, 3:] = 0.0
    x[600, 5] = 1e300
    eyes, flags, motion = carried(x)
    assert np.isfinite(eyes).all()
    assert np.isfinite(motion).all()
    assert (flags[:, 0] & int(Quality.NAN) != 0).nonzero()[0].tolist() == [300, 301, 302]
    assert not flags[:, 1].any()
    assert not motion[:10].any()
    assert motion[400] == motion[399]
    assert motion[500] == motion[499]
    assert motion[600] == pytest.approx(100.0, rel=1e-3)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 300), max_size=30))
def test_eyes_and_motion_are_the_same_in_any_slicing(sizes: list[int]) -> None:
    x = with_sensor()
    x[90:130, 3:] = np.nan
    for one, two in zip(carried(x), carried(x, sizes), strict=True):
        assert np.array_equal(one, two)


def test_a_stream_without_them_carries_nothing() -> None:
    c = conditioner()
    out = c.step(0, np.arange(10.0), noise(0.04))
    assert out.eyes_uv.shape == (10, 0)
    assert out.motion_g.shape == (10, 0)


# ---------------------------------------------------------------- marked, and the reference


def test_a_marked_channel_is_distrusted_and_leaves_the_reference() -> None:
    m = montage(3, ((0, 1, 2),) * 3)
    c, x = conditioner(m), noise(2.0)
    assert c.mark_bad("C4")
    assert not c.mark_bad("Fp1")
    out = run(c, x)
    assert bits(out, Quality.MARKED)[:, 1].all()
    assert not bits(out, Quality.MARKED)[:, [0, 2]].any()
    assert np.allclose(out.referenced_uv, x - x[:, [0, 2]].mean(axis=1, keepdims=True))
    assert c.bad_columns(0) == (("C4", Quality.MARKED),)


def test_a_broken_reference_electrode_breaks_what_leans_on_it() -> None:
    m = montage(4, ((2, 3), (2,), (), ()))
    x = noise(10.0, 4)
    x[600, 3] = np.nan
    x[700:1100, 2] = x[700, 2]
    out = run(conditioner(m), x)
    assert bits(out, Quality.NAN)[600].tolist() == [True, False, False, True]
    assert bits(out, Quality.FLAT)[1100].tolist() == [True, True, True, False]


def test_a_site_whose_whole_reference_is_marked_is_marked() -> None:
    m = montage(4, ((2, 3), (2,), (), ()))
    c = conditioner(m)
    c.mark_bad("Cz")
    out = run(c, noise(1.0, 4))
    assert bits(out, Quality.MARKED)[-1].tolist() == [False, True, True, False]


def test_bad_columns_are_named_with_the_reason() -> None:
    c, x = conditioner(), noise(4.0)
    x[:, 0] = 7.0
    x[900, 2] = 1e9
    run(c, x)
    assert c.bad_columns(999) == (("C3", Quality.FLAT), ("Cz", Quality.RAIL))
    assert c.bad_columns(99_999) == ()


# ---------------------------------------------------------------- as a stage


def nasty(seconds: float = 6.0) -> Float:
    x = noise(seconds, 4, 12.0, seed=5) + np.array([0.0, 1e5, -300.0, 0.0])
    x[310:317, 0] = np.nan
    x[500, :] = np.inf
    x[640, 2] = -1e300
    x[700:990, 3] = x[700, 3]
    x[1100:, 1] += 800.0
    x[1200:1204, 0] = 500_000.0
    return x


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 400), max_size=30))
def test_any_slicing_gives_the_same(sizes: list[int]) -> None:
    m = montage(4, ((1, 2), (), (0, 1, 2, 3), ()))
    whole, sliced = run(conditioner(m), nasty()), run(conditioner(m), nasty(), sizes)
    for name in ("referenced_uv", "uv", "flags", "grid"):
        assert np.array_equal(getattr(whole, name), getattr(sliced, name)), name
    assert len(whole.resets) == len(sliced.resets)
    for (row, mask), (row_2, mask_2) in zip(whole.resets, sliced.resets, strict=True):
        assert row == row_2
        assert np.array_equal(mask, mask_2)


def test_a_step_takes_read_only_arrays_and_leaves_them_alone() -> None:
    x = nasty()
    before = x.copy()
    x.flags.writeable = False
    out = run(conditioner(montage(4)), x)
    assert np.array_equal(x, before, equal_nan=True)
    assert np.isfinite(out.uv).all()
    assert np.isfinite(out.referenced_uv).all()


def test_nothing_in_nothing_out() -> None:
    c, x = conditioner(), noise(1.0)
    other = conditioner()
    for at in range(0, 250, 50):
        empty = c.step(at, np.zeros(0), np.zeros((0, 3)))
        assert empty.uv.shape == (0, 3)
        assert not len(empty.grid)
        for a, b in cut(50, BEAT, first=at):
            t = np.arange(at + a, at + b) / RATE_HZ
            one = c.step(at + a, t, x[at + a : at + b])
            two = other.step(at + a, t, x[at + a : at + b])
            assert np.array_equal(one.uv, two.uv)


def test_grid_points_are_the_multiples_of_the_hop() -> None:
    assert run(conditioner(), noise(1.0), [3, 1, 7]).grid.tolist() == list(range(0, 250, HOP))


def test_a_restart_is_a_new_beginning() -> None:
    x = noise(4.0)
    c = conditioner()
    run(c, nasty()[:, :3])
    c.restart()
    again, fresh = run(c, x), run(conditioner(), x)
    assert np.array_equal(again.uv, fresh.uv)
    assert np.array_equal(again.flags, fresh.flags)
