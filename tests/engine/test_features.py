"""Every kind of feature against its own formula, and the smoothing of powers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, iirnotch, sosfilt, sosfilt_zi, tf2sos

from engine.bank import Bank, Smoother
from engine.condition import ConditionSettings
from engine.estimate import envelope_delay_s
from engine.features import DEFAULT_TOTAL_HZ, FEATURES, FeatureDef, wide_orders
from engine.frames import Chunk, Float, frozen
from engine.gates import GateRule, GateSettings
from engine.pipeline import Fold, FoldSettings
from engine.reference import Montage

RATE_HZ, HOP, GRID_HZ = 250.0, 5, 50.0
ALPHA, THETA = (8.0, 12.0), (4.0, 8.0)
DEFS = (
    FeatureDef("power", "power", (0, 1), band_hz=ALPHA),
    FeatureDef("smoothed", "power", (0,), band_hz=ALPHA, smooth_s=1.0),
    FeatureDef("amplitude", "amplitude", (0, 1), band_hz=ALPHA, smooth_s=0.5),
    FeatureDef("share", "relative_power", (0, 1), band_hz=ALPHA),
    FeatureDef("ratio", "ratio", of=(6, 1)),
    FeatureDef("log_ratio", "log_ratio", of=(6, 1)),
    FeatureDef("theta", "power", (1,), band_hz=THETA, smooth_s=2.0),
    FeatureDef("reach", "peak_to_peak", (0, 1), window_s=0.5),
)


class _Nobody:
    def step(self, *_: object) -> Any:
        return SimpleNamespace(decision=None, events=(), limits=None, real=None)


def fold(defs: tuple[FeatureDef, ...]) -> Fold:
    sites = (0, 1)
    montage = Montage((0, 1), ("C3", "C4"), (True, True), sites, "as recorded", ((), ()))
    off = GateRule(False, ())
    return Fold(
        FoldSettings(
            RATE_HZ,
            HOP,
            ConditionSettings(RATE_HZ, HOP, montage, 1.0, 50.0),
            GateSettings(RATE_HZ, HOP, off, off, off, off, sites, 50.0, False),
            defs,
        ),
        lambda *_: _Nobody(),
    )


def eeg(seconds: float, seed: int = 1) -> Float:
    """Two columns of noise with alpha, on an offset."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rhythm = 15.0 * (1.0 + 0.5 * np.sin(t)) * np.sin(2 * np.pi * 10.0 * t)
    return rng.normal(0, 8, (len(t), 2)) + rhythm[:, None] * [1.0, 0.6] + [300.0, -5000.0]


def values(defs: tuple[FeatureDef, ...], x: Float) -> tuple[Float, Float]:
    points = fold(defs).step(Chunk(0, np.arange(len(x)) / RATE_HZ, x))
    frames = [p.frame for p in points]
    return np.array([f.values for f in frames]), np.array([int(f.gate) for f in frames])


# ---------------------------------------------------------------- golden


def conditioned(x: Float) -> Float:
    sos = np.concatenate(
        [
            butter(2, 1.0, "highpass", fs=RATE_HZ, output="sos"),
            tf2sos(*iirnotch(50.0, 30.0, fs=RATE_HZ)),
        ]
    )
    y, _ = sosfilt(sos, x, axis=0, zi=sosfilt_zi(sos)[:, :, None] * x[0])
    return np.asarray(y)


def narrow(y: Float, band_hz: tuple[float, float]) -> Float:
    """2 |z|² by heterodyning: shift to 0 Hz, low-pass."""
    lo, hi = band_hz
    t = np.arange(len(y)) / RATE_HZ
    z = y * np.exp(-1j * np.pi * (lo + hi) * t)[:, None]
    sos = butter(4, (hi - lo) / 2.0, fs=RATE_HZ, output="sos")
    return 2.0 * (sosfilt(sos, z.real, axis=0) ** 2 + sosfilt(sos, z.imag, axis=0) ** 2)


def wide(y: Float) -> Float:
    lo, hi = DEFAULT_TOTAL_HZ
    m, n = wide_orders((lo, hi))
    y = sosfilt(butter(m, lo, "highpass", fs=RATE_HZ, output="sos"), y, axis=0)
    y = sosfilt(butter(n, hi, "lowpass", fs=RATE_HZ, output="sos"), y, axis=0)
    out, s = np.empty_like(y), np.zeros(y.shape[1])
    keep = math.exp(-2.0 * lo / RATE_HZ)
    for k, row in enumerate(y**2):
        s = keep * s + (1.0 - keep) * row
        out[k] = s
    return out


def smoothed(p: Float, seconds: float) -> Float:
    """Weighted mean of all points so far, weights exp(-age / T)."""
    out = np.empty(len(p))
    for k in range(len(p)):
        weights = np.exp(-np.arange(k, -1, -1) / (seconds * GRID_HZ))
        out[k] = (weights * p[: k + 1]).sum() / weights.sum()
    return out


def test_every_kind_is_its_formula() -> None:
    x = eeg(12.0)
    got, gate = values(DEFS, x)
    first = int(np.argmax(gate == 0))
    assert (gate[first:] == 0).all()
    assert np.isnan(got[:first]).all()
    y = conditioned(x)
    grid = np.arange(0, len(x), HOP)
    alpha, theta, whole = narrow(y, ALPHA)[grid], narrow(y, THETA)[grid], wide(y)[grid]
    alpha, theta, whole = alpha[first:], theta[first:], whole[first:]
    one, two = smoothed(alpha[:, 0], 1.0), smoothed(theta[:, 1], 2.0)
    points = round(0.5 * GRID_HZ)
    reach = np.array(
        [np.ptp(y[g - points * HOP + 1 : g + 1], axis=0).max() for g in grid[first:]]
    )  # fmt: skip
    reach[: points - 1] = np.nan  # the window held gated points
    expected = {
        "power": alpha.mean(axis=1),
        "smoothed": one,
        "amplitude": np.sqrt(smoothed(alpha.mean(axis=1), 0.5)),
        "share": np.mean(
            [smoothed(alpha[:, k], 1.0) / smoothed(whole[:, k], 1.0) for k in (0, 1)], axis=0
        ),
        "ratio": two / one,
        "log_ratio": np.log(two) - np.log(one),
        "theta": two,
        "reach": reach,
    }
    for k, d in enumerate(DEFS):
        assert np.allclose(got[first:, k], expected[d.name], rtol=0.01, atol=0, equal_nan=True), (
            d.name
        )


def test_delays_are_those_of_the_bands() -> None:
    delay = fold(DEFS).delay_s()
    alpha, theta = (envelope_delay_s(b, RATE_HZ) for b in (ALPHA, THETA))
    assert delay["power"] == delay["amplitude"] == delay["share"] == alpha
    assert delay["log_ratio"] == delay["ratio"] == max(alpha, theta)
    assert delay["reach"] == 0.25


def test_doubling_the_signal() -> None:
    x = eeg(6.0) / 4.0  # no jump between samples near the step limit
    one, gate = values(DEFS, x)
    two, _ = values(DEFS, 2.0 * x)
    clean = np.flatnonzero(gate == 0)[50:]
    factor = {"uV2": 4.0, "uV": 2.0, "1": 1.0}
    for k, d in enumerate(DEFS):
        expected = factor[FEATURES[d.kind].unit] * one[clean, k]
        assert np.allclose(two[clean, k], expected, rtol=1e-12, atol=1e-13), d.name


class _Breaks:
    """Doubles a power, until one is large."""

    def __init__(self, options: Mapping[str, float], _grid_hz: float) -> None:
        self._limit = options["limit"]

    def step(self, values: tuple[float, ...]) -> float:
        if values[0] > self._limit:
            raise ArithmeticError("too much")
        return 2.0 * values[0]

    def skip(self, points: int) -> None:
        """Nothing is kept."""


def test_code_from_elsewhere_is_part_of_the_fold_and_its_failure_an_event() -> None:
    mine = FeatureDef(
        "mine", "mine", of=(1,), scale="ln", options={"limit": 1e9}, make=_Breaks, lag_s=0.5
    )
    alpha = FeatureDef("alpha", "power", (0,), band_hz=ALPHA)
    x = eeg(8.0)
    chunk = Chunk(0, np.arange(len(x)) / RATE_HZ, x)
    whole = fold((mine, alpha))
    assert whole.delay_s()["mine"] == whole.delay_s()["alpha"] + 0.5
    points = whole.step(chunk)
    got = np.array([p.frame.values for p in points])
    known = np.isfinite(got[:, 1])
    assert known.sum() > 200
    assert np.array_equal(got[known, 0], 2.0 * got[known, 1])
    assert not any(p.events for p in points)
    limit = float(np.quantile(got[known, 1], 0.9))
    points = fold((replace(mine, options={"limit": limit}), alpha)).step(chunk)
    got = np.array([p.frame.values for p in points])
    first = int(np.flatnonzero(got[:, 1] > limit)[0])
    assert np.isnan(got[first:, 0]).all()
    assert np.isfinite(got[first - 1, 0])
    ((where, event),) = [(i, e) for i, p in enumerate(points) for e in p.events]
    assert where == first
    assert event.kind == "feature_fault"
    assert event.data["feature"] == "mine"
    assert "ArithmeticError: too much" in event.data["text"]


# ---------------------------------------------------------------- the registry


@pytest.mark.parametrize("name", FEATURES)
def test_the_registry_says_what_each_kind_is(name: str) -> None:
    kind = FEATURES[name]
    assert kind.name == name
    assert kind.unit in ("uV2", "uV", "s", "1/min", "1")
    assert kind.scale in ("ln", "linear")
    assert kind.doc.endswith(".")
    assert len(kind.doc) < 100
    assert "=" in kind.formula or "max(" in kind.formula
    assert kind.delay
    known = {"at", "of", "band", "smooth", "total", "window", "reference", "delay", "target", "fit",
             "spatial", "weights", "within", "norms"}  # fmt: skip
    assert kind.needs | kind.may <= known
    assert not kind.needs & kind.may
    assert ("of" in kind.needs) == bool(kind.parts) == bool(kind.n_parts)
    assert kind.parts <= set(FEATURES)
    assert kind.low < kind.high
    assert kind.scale == "linear" or kind.low == 0.0  # what has a logarithm is not negative
    assert kind.make is None
    assert not kind.options


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        FEATURES["power"] = FEATURES["ratio"]  # type: ignore[index]


# ---------------------------------------------------------------- smoothing and the bank


def test_the_smoother_is_unbiased_from_its_first_point() -> None:
    smoother = Smoother(2.0, 50.0)
    assert smoother.step(7.0) == pytest.approx(7.0)
    assert [smoother.step(7.0) for _ in range(500)] == pytest.approx([7.0] * 500)


def test_the_smoother_has_its_time_constant() -> None:
    smoother = Smoother(1.0, 50.0)
    for _ in range(1000):
        smoother.step(0.0)
    for _ in range(50):
        value = smoother.step(1.0)
    assert value == pytest.approx(1.0 - math.exp(-1.0), rel=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 50), max_size=6))
def test_frozen_while_gated_up_to_its_time_constant(pauses: list[int]) -> None:
    smoother, plain = Smoother(1.0, 50.0), Smoother(1.0, 50.0)
    rng = np.random.default_rng(1)
    for pause in pauses:
        for _ in range(pause):
            smoother.skip()
        value = float(rng.uniform(1, 9))
        assert smoother.step(value) == plain.step(value)


def test_restarted_after_a_gap_longer_than_its_time_constant() -> None:
    for skip in (lambda s: s.skip(51), lambda s: [s.skip() for _ in range(51)]):
        smoother = Smoother(1.0, 50.0)
        smoother.step(100.0)
        skip(smoother)
        assert smoother.step(3.0) == 3.0


def test_gated_points_are_nan_and_leave_no_trace() -> None:
    defs = (FeatureDef("a", "power", (0,), band_hz=ALPHA, smooth_s=1.0),)
    bank, plain = Bank(defs, GRID_HZ), Bank(defs, GRID_HZ)
    for k in range(30):
        assert np.isnan(bank.step([1e6], False)).all()
        assert np.array_equal(bank.step([float(k)], True), plain.step([float(k)], True))


def test_combinations_may_stand_before_what_they_combine() -> None:
    defs = (
        FeatureDef("q", "ratio", of=(1, 2)),
        FeatureDef("a", "power", (0,), band_hz=ALPHA),
        FeatureDef("b", "power", (0,), band_hz=THETA),
    )
    assert Bank(defs, GRID_HZ).step([math.nan, 6.0, 3.0], True).tolist() == [2.0, 6.0, 3.0]


@pytest.mark.parametrize("of", [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.nan)])
@pytest.mark.parametrize("kind", ["ratio", "log_ratio"])
def test_what_cannot_be_divided_is_unknown(kind: str, of: tuple[float, float]) -> None:
    defs = (
        FeatureDef("a", "power", (0,), band_hz=ALPHA),
        FeatureDef("b", "power", (0,), band_hz=THETA),
        FeatureDef("q", kind, of=(0, 1)),
    )
    assert math.isnan(Bank(defs, GRID_HZ).step([*of, math.nan], True)[2])


def test_an_unknown_number_does_not_enter_the_average() -> None:
    bank = Bank((FeatureDef("a", "power", (0,), band_hz=ALPHA, smooth_s=1.0),), GRID_HZ)
    bank.step([2.0], True)
    assert math.isnan(bank.step([math.nan], True)[0])
    assert bank.step([2.0], True)[0] == pytest.approx(2.0)


def test_asymmetry_has_the_value_of_the_textbook() -> None:
    """R = 12, L = 10 gives ln 12 - ln 10 = 0.1823."""
    defs = (
        FeatureDef("right", "power", (0,), band_hz=ALPHA),
        FeatureDef("left", "power", (1,), band_hz=ALPHA),
        FeatureDef("asymmetry", "log_ratio", of=(0, 1)),
    )
    assert Bank(defs, GRID_HZ).step([12.0, 10.0, math.nan], True)[2] == pytest.approx(
        0.1823, abs=5e-5
    )


def test_values_are_read_only_once_published() -> None:
    points = fold(DEFS).step(Chunk(0, np.arange(50) / RATE_HZ, frozen(eeg(0.2))))
    for name in ("values", "trusted", "metrics"):
        assert not getattr(points[-1].frame, name).flags.writeable
