"""The simulated sensor: its trace is as late as asked, and it is a peer like any other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import InputError
from engine.loopback import Flip, click_delay, light_delay
from engine.sensor import SensorOptions, Trace


def seen(options: SensorOptions, n: int = 60) -> tuple[np.ndarray, np.ndarray, list[Flip]]:
    """Return a trace in chunks, its stamps and the flips behind it."""
    rng = np.random.default_rng(11)
    flips = [Flip(k, float(t), k % 2 == 1) for k, t in enumerate(100 + np.cumsum(
        rng.uniform(0.35, 0.7, n)), 1)]  # fmt: skip
    t = np.arange(99.0, flips[-1].t + 0.5, 1.0 / options.rate_hz)
    trace = Trace(options)
    for flip in flips:
        trace.flip(flip.t, flip.lit)
    return np.concatenate([trace.samples(part) for part in np.array_split(t, 40)]), t, flips


@pytest.mark.parametrize("rise_ms", [0.0, 2.0, 8.0])
def test_the_trace_is_as_late_as_asked(rise_ms: float) -> None:
    options = SensorOptions(rise_ms=rise_ms, display_ms=18.0, sound_ms=60.0)
    x, t, flips = seen(options)
    light = light_delay(x[:, 0], t, flips)
    assert light.delay.median_ms == pytest.approx(18.0, abs=0.25)
    assert light.delay.sd_ms == pytest.approx(0.3, abs=0.3)
    assert (light.delay.n, light.delay.missed, light.delay.extra) == (60, 0, 0)
    sound = click_delay(x[:, 1], t, flips)
    assert sound.delay.median_ms == pytest.approx(60.0, abs=1.0)
    assert sound.delay.sd_ms == pytest.approx(1.5, abs=0.5)
    assert (sound.delay.n, sound.delay.missed, sound.delay.extra) == (60, 0, 0)


def test_the_same_seed_is_the_same_sensor() -> None:
    a, b = seen(SensorOptions(), 5)[0], seen(SensorOptions(), 5)[0]
    assert np.array_equal(a, b)
    assert not np.array_equal(a, seen(SensorOptions(seed=2), 5)[0])


def test_a_window_that_closes_leaves_the_dark_and_no_click() -> None:
    trace = Trace(SensorOptions())
    trace.flip(1.0, True)
    trace.flip(2.0, False, clicks=False)
    x = trace.samples(np.arange(0.9, 3.0, 0.001))
    assert x[500, 0] > 0.9
    assert x[-1, 0] < 0.2
    assert np.abs(x[1100:, 1]).max() < 0.1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate_hz": 50.0}, "rate of 50 Hz"),
        ({"display_ms": 900.0}, "display's lag"),
        ({"sound_ms": math.nan}, "sound's lag"),
        ({"sound_jitter_ms": -1.0}, "sound's jitter"),
        ({"rise_ms": 99.0}, "rise"),
    ],
)
def test_what_cannot_be_simulated_is_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(SensorOptions(), **change)
