"""Electrode lights: one second of raw data judged, for people only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from engine.frames import Float, Quality
from engine.quality import ElectrodeQuality, assess

RATE_HZ = 250.0
NAMES = ("Cz", "C3", "C4", "Pz")


def eeg(seconds: float = 1.0, rate_hz: float = RATE_HZ, n: int = 4, seed: int = 1) -> Float:
    """About 12 µV, mostly slow."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (round((seconds + 2) * rate_hz), n))
    x = sosfilt(butter(1, 8.0, fs=rate_hz, output="sos"), x, axis=0)[round(2 * rate_hz) :]
    return np.asarray(12.0 * x / x.std(axis=0))


def light(x: Float, column: int = 0, mains_hz: float | None = 50.0) -> ElectrodeQuality:
    return assess(x, NAMES[: x.shape[1]], RATE_HZ, mains_hz)[column]


def test_good_eeg_is_green_on_any_offset() -> None:
    for offset in (0.0, 1e5):
        found = assess(eeg() + offset, NAMES, RATE_HZ, 50.0)
        assert [q.name for q in found] == list(NAMES)
        assert [q.light for q in found] == ["green"] * 4
        assert all(q.why == "" and not q.flags for q in found)
        assert all(5.0 < q.rms_uv < 15.0 for q in found)


def test_rms_is_that_of_1_to_40_hz() -> None:
    t = np.arange(250) / RATE_HZ
    x = np.column_stack([20.0 * np.sin(2 * np.pi * f * t) for f in (10.0, 20.0, 60.0)])
    found = assess(x, NAMES[:3], RATE_HZ, None)
    assert found[0].rms_uv == pytest.approx(20.0 / np.sqrt(2), rel=0.05)
    assert found[1].rms_uv == pytest.approx(20.0 / np.sqrt(2), rel=0.05)
    assert found[2].rms_uv < 0.5


@pytest.mark.parametrize(
    ("change", "expected", "word"),
    [
        (lambda x: x * 0 + 7.0, "red", "flat"),
        (lambda x: x * 0.02, "red", "flat"),
        (lambda x: x * 0.1, "amber", "small"),
        (lambda x: x * 12.0, "amber", "large"),
        (lambda x: x * 40.0, "red", "far too large"),
    ],
)
def test_size(change: object, expected: str, word: str) -> None:
    x = eeg()
    x[:, 0] = change(x[:, 0])  # type: ignore[operator]
    q = light(x)
    assert q.light == expected
    assert word in q.why
    assert light(x, 1).light == "green"


def test_muscle_is_amber() -> None:
    x = eeg()
    t = np.arange(250) / RATE_HZ
    x[:, 0] += 25.0 * np.sin(2 * np.pi * 36.0 * t)
    assert (light(x).light, light(x).why) == ("amber", "muscle or noise")


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
def test_mains_is_flagged_and_amber_only_when_large(mains_hz: float) -> None:
    x, t = eeg(), np.arange(250) / RATE_HZ
    for uv, color in ((60.0, "amber"), (5.0, "green")):
        loud = x.copy()
        loud[:, 0] += uv * np.sin(2 * np.pi * mains_hz * t)
        q = light(loud, mains_hz=mains_hz)
        assert q.light == color
        assert q.flags == Quality.LINE
        assert not light(loud, 1, mains_hz).flags
        assert not light(loud, mains_hz=None).flags


def test_bridged_electrodes_name_each_other() -> None:
    x = eeg()
    x[:, 2] = x[:, 0] + 0.1 * x[:, 1]
    found = assess(x, NAMES, RATE_HZ, 50.0)
    assert [q.why for q in found] == ["bridged with C4", "", "bridged with Cz", ""]
    x[:, 2] = 3.0 * x[:, 0]  # alike, but of another size: a shared disturbance
    assert light(x).light == "green"


def test_what_conditioning_knows_counts() -> None:
    bad = {"Cz": Quality.MARKED, "C3": Quality.RAIL, "C4": Quality.FLAT}
    found = assess(eeg(), NAMES, RATE_HZ, 50.0, bad)
    assert [q.light for q in found] == ["red", "red", "red", "green"]
    assert found[0].why == "marked bad"
    assert "limit" in found[1].why
    assert "flat" in found[2].why
    assert found[0].flags == Quality.MARKED


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 20])
@pytest.mark.parametrize("columns", [1, 3])
def test_too_little_is_judged_without_complaint(n: int, columns: int) -> None:
    found = assess(eeg(n=columns)[:n], NAMES[:columns], RATE_HZ, 50.0)
    assert len(found) == columns
    assert {(q.light, q.why) for q in found} == {("amber", "not enough signal yet")}


def test_half_a_second_is_enough() -> None:
    assert assess(eeg()[:125], NAMES, RATE_HZ, 50.0)[0].light == "green"


def test_no_electrode_no_light() -> None:
    assert assess(np.zeros((250, 0)), (), RATE_HZ, 50.0) == ()


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 512.0, 2048.0])
@pytest.mark.parametrize("mains_hz", [None, 50.0, 60.0])
def test_every_rate(rate_hz: float, mains_hz: float | None) -> None:
    found = assess(eeg(rate_hz=rate_hz), NAMES, rate_hz, mains_hz)
    assert [q.light for q in found] == ["green"] * 4


def test_the_window_stays_as_it_was() -> None:
    x = eeg()
    before = x.copy()
    x.flags.writeable = False
    assess(x, NAMES, RATE_HZ, 50.0)
    assert np.array_equal(x, before)


# ---------------------------------------------------------------- the index behind the light


def test_the_index_follows_the_light() -> None:
    rng = np.random.default_rng(3)
    t = np.arange(250) / RATE_HZ
    seen = set()
    for _ in range(200):
        x = eeg(seed=int(rng.integers(1e6))) * 10.0 ** rng.uniform(-2.5, 1.5, 4)
        x += rng.uniform(0, 40) * np.sin(2 * np.pi * rng.choice([37.0, 50.0]) * t)[:, None]
        for q in assess(x, NAMES, RATE_HZ, 50.0):
            assert 0.0 <= q.sqi <= 1.0
            expected = "green" if q.sqi >= 0.8 else "amber" if q.sqi >= 0.5 else "red"
            assert q.light == expected
            assert (q.why == "") == (q.light == "green")
            seen.add(q.light)
    assert seen == {"green", "amber", "red"}


def test_the_index_is_smooth_and_falls_with_size() -> None:
    x = eeg()
    sizes = np.geomspace(0.3, 60.0, 200)
    index = np.array([light(x * [k, 1, 1, 1]).sqi for k in sizes])
    rms = np.array([light(x * [k, 1, 1, 1]).rms_uv for k in sizes])
    assert np.abs(np.diff(index)).max() < 0.05
    assert (np.diff(index[rms > 30.0]) <= 0).all()
    assert np.interp(100.0, rms, index) == pytest.approx(0.8, abs=0.02)
    assert np.interp(200.0, rms, index) == pytest.approx(0.5, abs=0.02)
    assert index[-1] < 0.2


def test_several_measures_near_their_limits_add_up() -> None:
    x, t = eeg(), np.arange(250) / RATE_HZ
    one = x.copy()
    one[:, 0] *= 90.0 / light(x).rms_uv
    both = one.copy()
    both[:, 0] += 85.0 * np.sin(2 * np.pi * 37.0 * t)
    assert light(one).light == "green"
    assert light(both).sqi < light(one).sqi - 0.05
    assert light(both).light == "amber"


def test_what_is_no_fault_of_the_electrode_never_makes_it_red() -> None:
    x, t = eeg(), np.arange(250) / RATE_HZ
    x[:, 0] += 60.0 * np.sin(2 * np.pi * 37.0 * t) + 90.0 * np.sin(2 * np.pi * 50.0 * t)
    x[:, 2] = x[:, 0]
    q = light(x)
    assert (q.light, q.sqi) == ("amber", pytest.approx(0.55))


def test_nothing_can_be_said_of_too_little_and_nothing_good_of_a_fault() -> None:
    assert np.isnan(assess(eeg()[:20], NAMES, RATE_HZ, 50.0)[0].sqi)
    assert light(eeg() * 0.0).sqi == 0.0
    assert assess(eeg(), NAMES, RATE_HZ, 50.0, {"Cz": Quality.MARKED})[0].sqi == 0.0


def test_what_ten_seconds_say_dims_a_light_and_is_kept() -> None:
    unlike = {"Cz": ("noise", "alone"), "C3": ("alone",)}
    found = assess(eeg(), NAMES, RATE_HZ, 50.0, None, unlike)
    assert (found[0].light, found[0].why) == ("amber", "noisier than the rest")
    assert found[0].unlike == ("noise", "alone")
    assert (found[1].light, found[1].unlike) == ("green", ("alone",))
    assert found[2].unlike == ()
