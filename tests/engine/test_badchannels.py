"""Channels that do not look like the others: each rule by itself, on simulated and real heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.badchannels import WATCH_S, BadChannelWatch, bad_channels
from engine.frames import Float
from engine.person import SITES, Person
from engine.readfile import read_eeg

RATE_HZ = 250.0
N = 2500
T7, CZ, PZ = SITES.index("T7"), SITES.index("Cz"), SITES.index("Pz")


def person(seed: int = 1, eyes: str = "open") -> Float:
    made = Person(RATE_HZ, seed=seed, eyes="closed" if eyes == "closed" else "open", jaw=False)
    return made.read(N)[:, : len(SITES)]


def head(seed: int = 1, n: int = 19) -> Float:
    """Return a head whose channels share half their signal, as over a common reference."""
    rng = np.random.default_rng(seed)
    f = np.fft.rfftfreq(N, 1 / RATE_HZ)
    shape = 1.0 / np.maximum(f, 1.0) ** 0.5
    raw = np.fft.irfft(np.fft.rfft(rng.normal(size=(N, n + 1)), axis=0) * shape[:, None], N, axis=0)
    x = raw[:, :n] + raw[:, n:]
    return np.asarray(12.0 * x / x.std(axis=0) * rng.uniform(0.8, 1.25, n))


def named(x: Float, mains_hz: float | None = 50.0) -> dict[str, tuple[str, ...]]:
    return dict(bad_channels(x, SITES[: x.shape[1]], RATE_HZ, mains_hz))


def test_nobody_stands_out_in_a_good_head() -> None:
    for seed in range(10):
        assert named(head(seed) + 1e5) == {}


@pytest.mark.parametrize("eyes", ["open", "closed"])
def test_of_a_simulated_person_nothing_but_loneliness_is_said(eyes: str) -> None:
    """Its neighbours have no reference in common."""
    for seed in range(5):
        said = {why for reasons in named(person(seed, eyes)).values() for why in reasons}
        assert said <= {"alone"}


def test_a_channel_of_another_size() -> None:
    for factor in (6.0, 0.1):
        x = head()
        x[:, CZ] *= factor
        assert "amplitude" in named(x)["Cz"]
        assert set(named(x)) == {"Cz"}
    x = head()
    x[:, CZ] *= 1.8  # heads do that
    assert named(x) == {}


def test_a_noisy_channel_and_mains_is_no_noise() -> None:
    x = head()
    t = np.arange(N) / RATE_HZ
    x[:, PZ] += 100.0 * np.sin(2 * np.pi * 50.0 * t)
    assert named(x) == {}
    assert named(x, None) == {}
    x[:, T7] += np.random.default_rng(5).normal(0, 30.0, N)
    assert "noise" in named(x)["T7"]
    assert set(named(x)) == {"T7"}


def test_a_channel_that_goes_along_with_no_other() -> None:
    x = head()
    white = np.random.default_rng(4).normal(size=N)
    x[:, CZ] = 12.0 * white
    assert "alone" in named(x)["Cz"]


def test_one_odd_second_makes_nobody_alone() -> None:
    x = head()
    x[250:500, CZ] = 12.0 * np.random.default_rng(4).normal(size=250)
    assert "alone" not in named(x).get("Cz", ())


def test_a_channel_of_another_spectrum() -> None:
    x = head()
    f = np.fft.rfftfreq(N, 1 / RATE_HZ)
    x[:, CZ] = np.fft.irfft(np.fft.rfft(x[:, CZ]) * np.where(f > 10.0, 3.0, 1.0), N)
    assert "spectrum" in named(x)["Cz"]


def test_flat_is_flat_and_nothing_else() -> None:
    x = head()
    x[:, CZ] = 1234.5
    assert named(x) == {"Cz": ("flat",)}
    assert all(why == ("flat",) for why in named(np.zeros((N, 19))).values())


def test_few_channels_are_judged_by_themselves() -> None:
    x = head(n=4)
    assert named(x) == {}
    t = np.arange(N) / RATE_HZ
    x[:, 0] *= 15.0
    x[:, 1] += 40.0 * np.sin(2 * np.pi * 50.0 * t)
    x[:, 2] += 15.0 * np.sin(2 * np.pi * 38.0 * t)
    x[:, 3] = 0.0
    assert named(x) == {
        "Fp1": ("amplitude",), "Fp2": ("mains",), "F7": ("noise",), "F3": ("flat",)
    }  # fmt: skip
    assert "Fp2" not in named(x, None)


def test_dead_channels_are_no_crowd() -> None:
    x = head()
    x[:, 6:] = 0.0
    x[:, 0] *= 6.0
    assert set(named(x)) == set(SITES[6:])  # six times 12 µV is nothing by itself


@pytest.mark.parametrize("n", [0, 1, 700])
def test_too_little_names_nobody(n: int) -> None:
    x = head()[:n]
    x[:, CZ] = 0.0
    assert named(x) == {}
    assert bad_channels(np.zeros((N, 0)), (), RATE_HZ, None) == ()


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 512.0])
def test_every_rate(rate_hz: float) -> None:
    assert bad_channels(head(), SITES, rate_hz, 50.0) == ()


def test_the_window_stays_as_it_was() -> None:
    x = head()
    before = x.copy()
    x.flags.writeable = False
    named(x)
    assert np.array_equal(x, before)


def test_temples_of_real_heads_stand_out_and_good_sites_do_not(shared_data: Path) -> None:
    file = read_eeg(shared_data / "eegbci" / "S001R02.edf")
    x = np.asarray(file.samples, np.float64) * [c.to_uv for c in file.spec.channels]
    names, rate_hz = file.spec.names, file.spec.rate_hz
    said: set[str] = set()
    for at in range(0, 50 * round(rate_hz), 10 * round(rate_hz)):
        part = x[at : at + 10 * round(rate_hz)]
        said |= {name for name, _ in bad_channels(part, names, rate_hz, 60.0)}
    assert {"T8", "T10"} <= said
    assert not said & {"Cz", "Pz", "C3", "C4", "O1", "O2", "F3", "F4"}


# ---------------------------------------------------------------- over time


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0])
def test_a_watch_speaks_every_ten_seconds(rate_hz: float) -> None:
    x = np.repeat(head(), round(rate_hz / 250.0), axis=0)
    x[:, CZ] = 3.0
    x = np.column_stack([np.zeros(len(x)), x])
    watch = BadChannelWatch(tuple(range(1, 20)), SITES, rate_hz, 50.0)
    second = round(rate_hz)
    said = [dict(watch.step(x[k * second : (k + 1) * second])) for k in range(round(WATCH_S))]
    assert said[:-1] == [{}] * (round(WATCH_S) - 1)
    assert said[-1] == {"Cz": ("flat",)}
    assert watch.step(x[:second]) == {"Cz": ("flat",)}


def test_a_watch_does_not_join_what_a_gap_has_parted() -> None:
    watch = BadChannelWatch(tuple(range(19)), SITES, RATE_HZ, 50.0)
    x = head()
    x[:, CZ] = 3.0
    for _ in range(6):
        watch.step(x[:250])
    watch.restart()
    assert [dict(watch.step(x[:250])) for _ in range(6)] == [{}] * 6
