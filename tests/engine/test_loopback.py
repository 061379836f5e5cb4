"""Onsets in a sensor's trace against flips: traces whose delay is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import signal

from engine.errors import InputError
from engine.frames import Float
from engine.loopback import Flip, Measured, click_delay, light_delay, summary
from feedback.voices import click

N = 100
LAG_S = 0.0213
START_S = 5000.0  # stamps are seconds since the computer was switched on


def flips_at(seed: int = 1, n: int = N, first: int = 1) -> list[Flip]:
    """Return transitions at random intervals, on frames of 60 Hz."""
    rng = np.random.default_rng(seed)
    t = START_S + 1.0 + np.cumsum(np.round(rng.uniform(0.35, 0.7, n) * 60.0) / 60.0)
    t += rng.uniform(0.0, 0.001)
    return [Flip(k, float(s), k % 2 == 1) for k, s in enumerate(t, first)]


def stamps_for(flips: list[Flip], rate_hz: float) -> Float:
    """Return stamps whose phase has nothing to do with the frames."""
    return np.arange(START_S + 0.123, flips[-1].t + 0.6, 1.0 / rate_hz)


def panel(
    t: Float, flips: list[Flip], *, lag_s: float = LAG_S, jitter_s: float = 0.0, rise_s: float = 0.0
) -> Float:
    """Return light of 0 to 1; `rise_s` is from 10 to 90 %, the middle of it is `lag_s` late."""
    rng = np.random.default_rng(7)
    light = np.zeros(len(t))
    for flip, next_flip in zip(flips, [*flips[1:], None], strict=True):
        at = flip.t + lag_s + rng.normal(0.0, jitter_s)
        part = t >= flip.t + lag_s - 0.03
        if next_flip is not None:
            part &= t < next_flip.t + lag_s - 0.03
        x = t[part] - at
        up = (x >= 0.0).astype(float) if rise_s == 0 else np.clip(0.5 + 0.8 * x / rise_s, 0.0, 1.0)
        light[part] = up if flip.lit else 1.0 - up
    return light


def trace(light: Float, *, noise: float = 0.01, gain: float = 700.0, seed: int = 3) -> Float:
    """Return what a sensor makes of the light: an offset, a gain, noise as a share of both."""
    rng = np.random.default_rng(seed)
    return 120.0 + gain * (light + rng.normal(0.0, noise, len(light)))


def clicks(
    t: Float,
    flips: list[Flip],
    *,
    lag_s: float = 0.0352,
    jitter_s: float = 0.0,
    noise: float = 0.02,
    hum: float = 0.0,
) -> Float:
    """Return a line with a click of a few milliseconds for every flip, peak about 1."""
    rng = np.random.default_rng(5)
    x = rng.normal(0.0, noise, len(t)) + hum * np.sin(2 * np.pi * 50.0 * t)
    for flip in flips:
        s = t - (flip.t + lag_s + rng.normal(0.0, jitter_s))
        on = (s >= 0.0) & (s < 0.02)
        x[on] += np.exp(-s[on] / 0.002) * np.cos(2 * np.pi * 230.0 * s[on])
    return x


def close(found: Measured, lag_ms: float, within_ms: float = 0.2) -> None:
    assert found.delay.median_ms == pytest.approx(lag_ms, abs=within_ms)
    assert found.delay.mean_ms == pytest.approx(lag_ms, abs=within_ms)


# ---------------------------------------------------------------- light


@pytest.mark.parametrize("rise_s", [0.0, 0.005, 0.012])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05])
def test_a_constant_lag_is_found(rise_s: float, noise: float) -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    found = light_delay(trace(panel(t, flips, rise_s=rise_s), noise=noise), t, flips)
    close(found, 1e3 * LAG_S)
    assert found.delay.n == N
    assert (found.delay.missed, found.delay.extra, found.delay.unseen) == (0, 0, 0)
    assert found.polarity == 1
    assert found.delay.sd_ms < 0.6  # the sensor's own step of 1 ms
    assert found.delay.p95_ms <= found.delay.max_ms < 1e3 * LAG_S + 1.5
    assert np.isfinite(found.each_ms).all()


def test_jitter_is_told_apart_from_lag() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    found = light_delay(trace(panel(t, flips, jitter_s=0.004, rise_s=0.003)), t, flips)
    assert found.delay.median_ms == pytest.approx(20.8, abs=0.3)  # as drawn
    assert found.delay.sd_ms == pytest.approx(3.5, abs=0.2)


@pytest.mark.parametrize("rate_hz", [250.0, 2048.0])
def test_slower_and_faster_sensors(rate_hz: float) -> None:
    flips = flips_at()
    t = stamps_for(flips, rate_hz)
    found = light_delay(trace(panel(t, flips, rise_s=0.005)), t, flips)
    close(found, 1e3 * LAG_S, 0.2 if rate_hz > 1000 else 0.5)


def test_either_polarity_is_found() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    found = light_delay(trace(panel(t, flips, rise_s=0.005), gain=-300.0), t, flips)
    close(found, 1e3 * LAG_S)
    assert found.polarity == -1


@pytest.mark.parametrize(("hertz", "depth"), [(240.0, 0.1), (240.0, 1.0), (120.0, 0.5)])
def test_a_flickering_backlight_is_smoothed_no_more_than_needed(hertz: float, depth: float) -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    ripple = 1.0 - depth * (0.5 + 0.5 * signal.square(2 * np.pi * hertz * t))
    found = light_delay(trace(panel(t, flips) * ripple), t, flips)
    close(found, 1e3 * LAG_S, 0.2 if depth < 0.4 else 2.1)  # half a period without light
    assert (found.delay.missed, found.delay.extra) == (0, 0)
    assert (found.smoothed_ms > 0.0) == (depth > 0.4)
    assert found.delay.sd_ms < 2.0


def test_a_bouncing_edge_counts_once() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    light = panel(t, flips, rise_s=0.005)
    rng = np.random.default_rng(9)
    light[rng.choice(len(t), 60, replace=False)] = 0.5  # single samples that mean nothing
    found = light_delay(trace(light, noise=0.04), t, flips)
    close(found, 1e3 * LAG_S)
    assert (found.delay.n, found.delay.missed, found.delay.extra) == (N, 0, 0)


def test_dropped_samples_move_nothing() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    x = trace(panel(t, flips, rise_s=0.005))
    keep = np.ones(len(t), dtype=bool)
    rng = np.random.default_rng(2)
    for start in rng.integers(0, len(t) - 30, 40):
        keep[start : start + 25] = False
    edge = np.searchsorted(t, flips[10].t + LAG_S)
    keep[edge - 10 : edge + 10] = False  # certainly a hole over an answer
    found = light_delay(x[keep], t[keep], flips)
    close(found, 1e3 * LAG_S)
    assert found.delay.unseen >= 1
    assert math.isnan(found.each_ms[10])
    assert found.delay.n + found.delay.missed + found.delay.unseen == N
    assert (found.delay.missed, found.delay.extra) == (0, 0)


def test_what_the_screen_did_not_show_is_missed_and_what_nobody_asked_for_is_extra() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    shown = [f for f in flips if f.number not in (20, 21, 50, 51)]
    light = panel(t, shown, rise_s=0.003)
    stray = (t > flips[70].t + 0.32) & (t < flips[70].t + 0.34)
    light[stray] = 1.0 - light[stray]
    found = light_delay(trace(light), t, flips)
    close(found, 1e3 * LAG_S)
    assert found.delay.missed == 4
    assert np.flatnonzero(np.isnan(found.each_ms)).tolist() == [19, 20, 49, 50]
    assert found.delay.extra == 2


def test_rising_and_falling_are_told_apart() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    slow = [replace(f, t=f.t + (0.0 if f.lit else 0.006)) for f in flips]
    found = light_delay(trace(panel(t, slow, rise_s=0.003)), t, flips)
    assert found.rise_ms == pytest.approx(21.3, abs=0.3)
    assert found.fall_ms == pytest.approx(27.3, abs=0.3)


def test_a_hole_in_the_stamps_alone_is_no_error() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    x = trace(panel(t, flips, rise_s=0.005))
    x[::97] = np.nan
    close(light_delay(x, t, flips), 1e3 * LAG_S)


@pytest.mark.parametrize(
    ("light", "said"),
    [
        (lambda t: np.zeros(len(t)), "one value only"),
        (lambda t: np.random.default_rng(1).normal(0.0, 1.0, len(t)), "spreads of its noise"),
        (lambda t: np.sin(2 * np.pi * 50.0 * t), "spreads of its noise"),
        (
            lambda t: signal.square(2 * np.pi * 17.0 * t),
            "noise|when the patch did not",
        ),
        (lambda t: np.full(len(t), np.nan), "too few samples"),
    ],
)
def test_a_trace_without_the_patch_is_refused(light: object, said: str) -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    assert callable(light)
    with pytest.raises(InputError, match=said) as error:
        light_delay(light(t), t, flips)
    assert error.value.fix


def test_a_patch_hidden_in_noise_is_refused() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    with pytest.raises(InputError, match="spreads of its noise"):
        light_delay(trace(panel(t, flips), noise=3.0), t, flips)


@pytest.mark.parametrize("gain", [700.0, -700.0])
def test_a_saturated_sensor_is_refused(gain: float) -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    x = trace(panel(t, flips, rise_s=0.005), gain=gain)
    x = np.minimum(x, 400.0) if gain > 0 else np.maximum(x, -400.0)
    with pytest.raises(InputError, match="saturated"):
        light_delay(x, t, flips)


def test_a_digital_sensor_is_fine() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    found = light_delay(np.round(panel(t, flips)), t, flips)
    close(found, 1e3 * LAG_S)
    assert found.contrast == math.inf


def test_no_flips_and_no_clock_are_refused() -> None:
    flips = flips_at()
    t = stamps_for(flips, 1000.0)
    with pytest.raises(InputError, match="no transition"):
        light_delay(trace(panel(t, flips)), t, [])
    with pytest.raises(InputError, match="too few samples"):
        light_delay(trace(panel(t, flips)), t - 500.0, flips)
    with pytest.raises(InputError, match="same stamp"):
        light_delay(trace(panel(t, flips)), np.floor(t), flips)


# ---------------------------------------------------------------- sound


@pytest.mark.parametrize("rate_hz", [1000.0, 8000.0])
@pytest.mark.parametrize("hum", [0.0, 0.5])
def test_clicks_are_found(rate_hz: float, hum: float) -> None:
    flips = flips_at()
    t = stamps_for(flips, rate_hz)
    found = click_delay(clicks(t, flips, hum=hum), t, flips)
    close(found, 35.2, 0.5 if rate_hz == 1000.0 else 0.2)  # the sensor's own step is 1 ms
    assert (found.delay.n, found.delay.missed, found.delay.extra) == (N, 0, 0)
    assert found.polarity == 0
    assert found.contrast > 8.0


def test_jitter_of_sound() -> None:
    flips = flips_at()
    t = stamps_for(flips, 4000.0)
    found = click_delay(clicks(t, flips, jitter_s=0.006), t, flips)
    assert found.delay.sd_ms == pytest.approx(6.0, abs=1.2)


def test_clicks_that_are_missing_and_a_cough() -> None:
    flips = flips_at()
    t = stamps_for(flips, 4000.0)
    heard = [f for f in flips if f.number not in (5, 60)]
    x = clicks(t, heard)
    cough = (t > flips[30].t + 0.31) & (t < flips[30].t + 0.335)
    x[cough] += np.random.default_rng(4).normal(0.0, 0.5, int(cough.sum()))
    found = click_delay(x, t, flips)
    close(found, 35.2)
    assert np.flatnonzero(np.isnan(found.each_ms)).tolist() == [4, 59]
    assert (found.delay.missed, found.delay.extra) == (2, 1)


def test_silence_is_refused() -> None:
    flips = flips_at()
    t = stamps_for(flips, 4000.0)
    with pytest.raises(InputError, match="No clicks are heard"):
        click_delay(clicks(t, flips[:1], noise=0.3), t, flips)
    with pytest.raises(InputError, match="one value only"):
        click_delay(np.full(len(t), 12.0), t, flips)


def through_a_sensor(flips: list[Flip], rate_hz: float) -> tuple[Float, Float]:
    """Return the window's own click as a sensor with a low-pass records it, and stamps."""
    fine_hz, wave = 44100.0, np.asarray(click(44100), dtype=float)[:, 0]
    start = flips[0].t - 0.4
    x = np.zeros(int((flips[-1].t + 0.6 - start) * fine_hz))
    for flip in flips:
        at = round((flip.t + 0.0352 - start) * fine_hz)
        x[at : at + len(wave)] += wave
    low_pass = signal.cheby2(6, 40.0, 0.5 * rate_hz, fs=fine_hz, output="sos")
    t = np.arange(start, flips[-1].t + 0.55, 1.0 / rate_hz)
    heard = np.interp(t, start + np.arange(len(x)) / fine_hz, signal.sosfilt(low_pass, x))
    return heard + np.random.default_rng(6).normal(0.0, 0.002, len(t)), t


def test_the_click_of_the_window_is_heard_by_a_fast_sensor() -> None:
    flips = flips_at(n=30)
    found = click_delay(*through_a_sensor(flips, 4000.0), flips)
    close(found, 35.8, 0.4)  # the click swells, and the low-pass takes its time
    assert (found.delay.n, found.delay.missed, found.delay.extra) == (30, 0, 0)
    assert found.delay.sd_ms < 0.3


def test_a_slow_sensor_is_told_why_it_hears_nothing() -> None:
    flips = flips_at(n=30)
    with pytest.raises(InputError, match="No clicks are heard") as error:
        click_delay(*through_a_sensor(flips, 1000.0), flips)
    assert "At 1000 Hz the sensor may filter" in error.value.fix


# ---------------------------------------------------------------- numbers


def test_summary_counts_every_flip_once() -> None:
    delay = summary(np.array([10.0, 12.0, np.nan, 14.0, np.nan]), extra=3, unseen=1)
    assert (delay.n, delay.missed, delay.extra, delay.unseen) == (3, 1, 3, 1)
    assert (delay.median_ms, delay.mean_ms, delay.max_ms) == (12.0, 12.0, 14.0)
    assert delay.sd_ms == pytest.approx(2.0)
    assert delay.p95_ms == pytest.approx(13.8)
    none = summary(np.array([np.nan, np.nan]), extra=0, unseen=0)
    assert (none.n, none.missed) == (0, 2)
    assert math.isnan(none.median_ms)
    assert math.isnan(summary(np.array([5.0]), extra=0, unseen=0).sd_ms)
