"""Fitting to rest: physical units, families, courses, references, and what cannot be fitted."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, lfilter, sosfilt, welch

from engine.columns import plain
from engine.features import FeatureDef
from engine.fit import CURVE_S, FitSettings, Fitted, Rest, fit
from engine.frames import Bool, Float, Gate, RestBlock, frozen
from engine.wiener import Kernel
from engine.wiring import demands_of, estimated_columns, longest

RATE_HZ, HOP = 250.0, 5
NAMES = ("F3", "F4", "C3", "Cz", "C4", "O1", "O2", "Fp1")
ALPHA, THETA, SMR, BETA = (8.0, 12.0), (4.0, 8.0), (12.0, 15.0), (15.0, 25.0)
BANDS = {"alpha": ALPHA, "theta": THETA, "smr": SMR, "beta": BETA}


def rhythm(n: int, rng: np.random.Generator, hz: float, uv: float) -> Float:
    a = math.exp(-2.0 * math.pi * 0.8 / RATE_HZ)
    noise = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    z = lfilter([1.0], [1.0, -a * np.exp(2j * np.pi * hz / RATE_HZ)], noise)
    return np.asarray(uv * z.real * math.sqrt((1.0 - a * a) / 2.0))


def rest_eeg(seconds: float = 60.0, seed: int = 1, hz: float = 10.0, uv: float = 12.0) -> Float:
    """Return EEG-like columns: 1/f, alpha that is strongest behind, a little noise."""
    n, rng = round(seconds * RATE_HZ), np.random.default_rng(seed)
    f = np.fft.rfftfreq(n, 1.0 / RATE_HZ)
    f[0] = f[1]
    white = rng.standard_normal((n, len(NAMES)))
    slow = np.fft.irfft(np.fft.rfft(white, axis=0) / np.sqrt(f)[:, None], n, axis=0)
    x = 8.0 * slow / slow.std(axis=0) + 0.5 * rng.standard_normal((n, len(NAMES)))
    reach = np.array([0.4, 0.5, 0.6, 0.7, 0.6, 1.0, 1.1, 0.2])
    x += rhythm(n, rng, hz, uv)[:, None] * reach
    return np.asarray(sosfilt(butter(2, 1.0, "highpass", fs=RATE_HZ, output="sos"), x, axis=0))


def rested(
    x: Float,
    clean: Bool | None = None,
    learn: tuple[str, ...] = ("all",),
    uses: tuple[str, ...] = (),
    gates: np.ndarray | None = None,
    phase: int = 1,
) -> Rest:
    """Return a block of whole hops; `clean` per grid point."""
    n = len(x) // HOP
    keep = np.ones(n, bool) if clean is None else clean
    gate = np.where(keep, 0, int(Gate.MUSCLE)) if gates is None else gates
    samples = np.repeat(keep, HOP)
    samples[0] = False
    nothing = (math.nan,) * 12
    return Rest(
        RestBlock(phase, "rest", learn, uses, HOP * np.arange(1, n + 1), gate, frozen(keep)),
        frozen(x[: n * HOP].copy()),
        ((0, frozen(np.ones(len(NAMES), bool))),),
        (np.arange(n) + 1) * HOP - 1,
        frozen(samples),
        (nothing,) * n,
        ({},) * n,
    )


def fitted(defs: Sequence[FeatureDef], rests: Sequence[Rest], **more: Any) -> Fitted:
    columns = estimated_columns(defs, more.get("eog", ()))
    given: dict[str, Any] = {"mains_hz": 50.0, **more}
    settings = FitSettings(
        RATE_HZ, HOP, defs=tuple(defs), columns=columns, site_names=NAMES, **given
    )
    return fit(settings, rests, longest(defs, demands_of(defs, columns), RATE_HZ))


def power(
    name: str, site: int | tuple[int, ...], band: tuple[float, float], **more: Any
) -> FeatureDef:
    sites = site if isinstance(site, tuple) else (site,)
    return FeatureDef(name, "power", sites, band_hz=band, **{"fit": "session", **more})


def kernel_of(f: Fitted, feature: int) -> tuple[Kernel, tuple[float, ...]]:
    """Return the kernel and the gains that answer a feature."""
    k = next(i for i, d in enumerate(f.wiring.demands) if d.feature == feature)
    return f.wiring.kernels[f.wiring.sources[k].kernel], f.wiring.sources[k].gains


def events(f: Fitted, kind: str) -> list[dict[str, Any]]:
    return [dict(data) for k, data in f.prepared.events if k == kind]


def through(kernel: Kernel, gain: float, x: Float) -> Float:
    """Return the power at every sample, by convolution."""
    return np.asarray(2.0 * gain * np.abs(np.convolve(x, kernel.taps[::-1])[: len(x)]) ** 2)


def welchs(x: Float, band: tuple[float, float]) -> float:
    """Return SciPy's own integral of a band."""
    f, s = welch(x, RATE_HZ, nperseg=500, noverlap=375, nfft=4000, detrend="constant")
    inside = (f >= band[0]) & (f <= band[1])
    return float(np.trapezoid(s[inside], f[inside]))


# ---------------------------------------------------------------- invariant 10: physical units


@pytest.mark.parametrize("target", ["band", "rhythm"])
@pytest.mark.parametrize("band", list(BANDS))
def test_mean_power_on_the_baseline_is_welchs(band: str, target: str) -> None:
    x = rest_eeg(seed=3)
    f = fitted([power("p", (5, 3), BANDS[band], target=target)], [rested(x)])
    kernel, gains = kernel_of(f, 0)
    for site, gain in zip((5, 3), gains, strict=True):
        read = through(kernel, gain, x[:, site])[500:].mean()
        assert read == pytest.approx(welchs(x[:, site], BANDS[band]), rel=0.03)
    # And so do the numbers that everything is learned from.
    mean = np.nanmean(f.prepared.values[0][:, 0])
    assert mean == pytest.approx(np.mean([welchs(x[:, s], BANDS[band]) for s in (5, 3)]), rel=0.03)


def test_twice_the_signal_is_four_times_the_power_to_the_bit() -> None:
    x = rest_eeg(seed=4)
    kernel, (gain,) = kernel_of(fitted([power("p", 5, ALPHA)], [rested(x)]), 0)
    one, two = through(kernel, gain, x[:, 5]), through(kernel, gain, 2.0 * x[:, 5])
    assert np.array_equal(two, 4.0 * one)


@pytest.mark.parametrize("band", list(BANDS))
def test_the_stated_response_is_what_a_sine_reads(band: str) -> None:
    f = fitted([power("p", 5, BANDS[band])], [rested(rest_eeg(seed=5))])
    kernel, (gain,) = kernel_of(f, 0)
    (event,) = events(f, "fit")
    lo, hi = BANDS[band]
    width = hi - lo
    places = {"centre": (lo + hi) / 2, "lower_edge": lo, "upper_edge": hi,
              "one_below": lo - width, "one_above": hi + width}  # fmt: skip
    t = np.arange(6000) / RATE_HZ
    for name, hz in places.items():
        if hz <= 0.0:
            assert name not in event["reads"]
            continue
        sine = through(kernel, gain, math.sqrt(2.0) * np.sin(2 * np.pi * hz * t + 0.4))[1000:]
        assert event["reads"][name] == pytest.approx(sine.mean(), rel=0.01, abs=1e-6), name
    assert event["reads"]["centre"] > 0.5
    assert max(event["reads"].get(n, 0.0) for n in ("one_below", "one_above")) < 0.2


def test_nulls_at_mains_and_zero_and_no_leak_of_alpha() -> None:
    """A strong alpha leaves less than 2 % (amplitude) in theta and SMR."""
    x = rest_eeg(seed=6, uv=40.0)
    defs = [power("theta", 5, THETA), power("smr", 5, SMR), power("alpha", 5, ALPHA)]
    f = fitted(defs, [rested(x)])
    t = np.arange(6000) / RATE_HZ
    for i, event in enumerate(events(f, "fit")):
        kernel, (gain,) = kernel_of(f, i)
        for hz in (0.0, 50.0):
            assert gain * kernel.reads(hz)[0] < 1e-12
        if i == 2:
            assert event["reject_hz"] is None
            continue
        assert event["reject_hz"] == pytest.approx(10.0, abs=0.3)
        hz = event["reject_hz"]
        sine = through(kernel, gain, math.sqrt(2.0) * np.sin(2 * np.pi * hz * t))[1000:]
        assert math.sqrt(sine.mean()) < 0.02
        assert event["reads"]["alpha_peak"] < 0.02**2


# ---------------------------------------------------------------- what cannot be fitted


def test_too_little_clean_data_keeps_the_fixed_filter_and_says_why() -> None:
    x = rest_eeg(seed=7)
    clean = (np.arange(len(x) // HOP) // 75) % 2 == 0  # never 2 s without a break
    f = fitted([power("p", 5, ALPHA)], [rested(x, clean)])
    (event,) = events(f, "fit")
    assert event["estimator"] == "fixed"
    assert "8 s are needed" in event["reason"]
    kernel, gains = kernel_of(f, 0)
    fixed = f.fixed.kernels[0]
    assert np.array_equal(kernel.taps, fixed.taps)
    assert gains == (1.0,)
    assert f.delay_s == {}
    assert np.isfinite(f.prepared.values[0][200:][clean[200:], 0]).any()


def test_fixed_when_asked_for() -> None:
    f = fitted([power("p", 5, ALPHA, fit="fixed")], [rested(rest_eeg(seed=7))])
    (event,) = events(f, "fit")
    assert (event["estimator"], event["reason"]) == ("fixed", "asked for")


def test_a_rhythm_that_is_not_there_is_told() -> None:
    x = rest_eeg(seed=8, uv=0.0)
    f = fitted([power("p", 5, (20.0, 24.0), target="rhythm")], [rested(x)])
    (event,) = events(f, "fit")
    if event["target"] == "band":
        assert "stands out" in event["target_refused"]
    kernel, (gain,) = kernel_of(f, 0)
    read = through(kernel, gain, x[:, 5])[500:].mean()
    assert read == pytest.approx(welchs(x[:, 5], (20.0, 24.0)), rel=0.03)


def test_what_takes_itself_out_is_unknown_and_no_rounding_noise() -> None:
    x = rest_eeg(seed=14)
    x[:, 1] = x[:, 0] * (1.0 + 1e-9)
    weights = ((1.0, -1.0, *(0.0,) * (len(NAMES) - 2)),)
    for how in ("session", "fixed"):
        defs = [power("gone", 0, ALPHA, weights=weights, fit=how), power("p", 5, ALPHA)]
        f = fitted(defs, [rested(x)])
        gone, kept = events(f, "fit")
        assert "less than a millionth of the power is left at F3" in gone["unknown"]
        assert math.isnan(gone["gains"][0])
        assert "unknown" not in kept
        values = f.prepared.values[0]
        assert np.isnan(values[:, 0]).all()
        assert np.isfinite(values[200:, 1]).all()


def test_eyes_taken_out_of_their_own_site_leave_nothing_known() -> None:
    x = rest_eeg(seed=15)
    gates = np.zeros(len(x) // HOP, int)
    for at in range(200, 2800, 150):
        gates[at] = int(Gate.BLINK)
        rows = slice(at * HOP, at * HOP + 60)
        x[rows, 7] += 150.0 * np.hanning(60)
        x[rows, 0] += 60.0 * np.hanning(60)
    clean = np.repeat(True, len(gates))
    for at in np.flatnonzero(gates):
        clean[at - 5 : at + 20] = False
    rest = rested(x, clean, gates=gates)
    f = fitted([power("eye", 7, THETA), power("front", 0, THETA)], [rest], eog=(7,))
    (told,) = events(f, "eog_regression")
    assert told["explained"]["Fp1"] == pytest.approx(1.0)
    eye, front = events(f, "fit")
    assert "Fp1" in eye["unknown"]
    assert "unknown" not in front
    assert np.isnan(f.prepared.values[0][:, 0]).all()
    assert np.isfinite(f.prepared.values[0][:, 1]).any()


def test_a_chance_value_that_cannot_be_had_is_refused() -> None:
    coupled = FeatureDef("c", "coherence", (5, 0), band_hz=ALPHA, window_s=10.0, fit="session")
    f = fitted([coupled], [rested(rest_eeg(30.0, seed=16))])
    (told,) = events(f, "references")
    assert math.isnan(f.references["c"].floor)
    assert told["features"]["c"] == {}
    assert "too little for a chance value over windows of 10 s" in told["floor_refused"]["c"]
    known = fitted([replace(coupled, window_s=1.0)], [rested(rest_eeg(30.0, seed=16))])
    (told,) = events(known, "references")
    assert "floor_refused" not in told
    assert told["features"]["c"]["floor"] > 0.0


# ---------------------------------------------------------------- the alpha peak


def test_a_peak_at_the_edge_is_not_kept_out_and_that_is_told() -> None:
    found = {}
    for hz in (10.0, 12.0):
        x = rest_eeg(120.0, seed=17, hz=hz, uv=25.0)
        (event,) = events(fitted([power("smr", 5, (12.2, 15.2))], [rested(x)]), "fit")
        found[hz] = event
    assert found[10.0]["reject_hz"] == pytest.approx(10.0, abs=0.3)
    assert "reject_refused" not in found[10.0]
    assert found[12.0]["reject_hz"] is None
    assert "is not kept out" in found[12.0]["reject_refused"]
    assert "alpha_peak" not in found[12.0]["reads"]
    assert found[10.0]["floor_from"] in ("measured", "fallback")


def test_spoilt_posterior_sites_have_no_say_about_alpha() -> None:
    """Sites that no feature uses are watched by no gate."""
    x = rest_eeg(90.0, seed=18, hz=9.2, uv=20.0)
    moving = [replace(power("a", 2, ALPHA), iaf=(-2.0, 2.0))]
    how: dict[str, Any] = {"posterior": (3, 5, 6)}
    (clean,) = events(fitted(moving, [rested(x, uses=("iaf",))], **how), "iaf")
    assert clean["used_hz"] == pytest.approx(9.2, abs=0.4)
    n = np.arange(len(x))
    square = 300.0 * np.sign(np.sin(2 * np.pi * 8.0 * n / RATE_HZ))
    spoilt = x.copy()
    spoilt[15_000:20_000, 5:7] += square[15_000:20_000, None]
    (part,) = events(fitted(moving, [rested(spoilt, uses=("iaf",))], **how), "iaf")
    assert part["used_hz"] == pytest.approx(clean["used_hz"], abs=0.1)
    assert part["dropped"] == []
    flat = x.copy()
    flat[9000:, 5] = 0.0
    (one,) = events(fitted(moving, [rested(flat, uses=("iaf",))], **how), "iaf")
    assert one["dropped"] == ["O1"]
    assert one["used_hz"] == pytest.approx(clean["used_hz"], abs=0.1)
    flat[9000:, [3, 5, 6]] = 0.0
    (none,) = events(fitted(moving, [rested(flat, uses=("iaf",))], **how), "iaf")
    assert (none["source"], none["dropped"]) == ("fallback", ["Cz", "O1", "O2"])
    assert "no posterior site is clean" in none["reason"]


# ---------------------------------------------------------------- families


def asymmetric(*more: FeatureDef, **how: Any) -> list[FeatureDef]:
    return [
        power("right", 1, ALPHA, **how),
        power("left", 0, ALPHA, **how),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
        *more,
    ]


def test_what_is_compared_is_filtered_alike_and_what_is_not_is_not() -> None:
    x = rest_eeg(seed=9)
    x[:, 1] += 3.0 * rhythm(len(x), np.random.default_rng(5), 8.6, 4.0)  # sides differ
    f = fitted(asymmetric(power("alone", 0, ALPHA)), [rested(x)])
    right, left, alone = (kernel_of(f, i) for i in (0, 1, 3))
    assert np.array_equal(right[0].taps, left[0].taps)
    assert not np.allclose(left[0].taps, alone[0].taps, rtol=1e-2)
    assert right[1] != left[1]
    mean = np.log(welchs(x[:, 1], ALPHA) / welchs(x[:, 0], ALPHA))
    values = f.prepared.values[0]
    assert np.log(np.nanmean(values[:, 0]) / np.nanmean(values[:, 1])) == pytest.approx(
        mean, abs=0.03
    )


def test_a_loud_site_does_not_decide_the_filter_alone() -> None:
    """Channels of a feature are alike in weight, whatever their size."""
    x = rest_eeg(seed=19)
    loud = x.copy()
    loud[:, 6] *= 30.0
    taps = [
        kernel_of(fitted([power("p", (5, 6), ALPHA)], [rested(v)]), 0)[0].taps for v in (x, loud)
    ]
    assert np.allclose(*taps, rtol=1e-4, atol=1e-4 * np.abs(taps[0]).max())


def test_a_chain_of_comparisons_is_one_family() -> None:
    """F4 against F3, F3 against Cz: all three alike, in whatever order they stand."""
    chain = asymmetric(power("mid", 3, ALPHA), FeatureDef("other", "log_ratio", of=(1, 3)))
    f = fitted(chain, [rested(rest_eeg(seed=10))])
    taps = [kernel_of(f, i)[0].taps for i in (0, 1, 3)]
    assert np.array_equal(taps[0], taps[1])
    assert np.array_equal(taps[1], taps[2])


def test_features_compared_at_different_delays_are_not_forced_alike() -> None:
    defs = asymmetric()
    defs[1] = replace(defs[1], delay_s=0.2)
    f = fitted(defs, [rested(rest_eeg(seed=11))])
    assert not np.array_equal(kernel_of(f, 0)[0].taps, kernel_of(f, 1)[0].taps)
    assert [e["delay_s"] for e in events(f, "fit")] == [0.1, 0.2]


# ---------------------------------------------------------------- purity


def everything() -> list[FeatureDef]:
    return [
        *asymmetric(smooth_s=0.5),
        FeatureDef("z", "z", of=(2,)),
        power("smr", (3, 4), SMR, fit="course"),
        FeatureDef("above", "periodic_power", (5,), band_hz=ALPHA, fit="course"),
        FeatureDef("size", "amplitude", (5,), band_hz=ALPHA, fit="session"),
        FeatureDef("bursts", "burst_rate", of=(6,), window_s=10.0),
        FeatureDef("wpli", "wpli", (5, 0), band_hz=ALPHA, window_s=2.0, fit="session"),
        FeatureDef("z_wpli", "z", of=(8,)),
    ]


def everything_of(f: Fitted) -> list[np.ndarray]:
    return [
        *(k.taps for k in f.wiring.kernels),
        *(np.array(s.gains) for s in f.wiring.sources),
        *f.prepared.values,
        np.array([json.dumps(plain([f.references, f.prepared.events, f.course]))]),
    ]


def test_twice_the_same_to_the_bit_and_nothing_is_changed() -> None:
    x = rest_eeg(seed=12)
    rest = rested(x, np.arange(len(x) // HOP) % 700 > 60)
    before = copy.deepcopy((rest.uv, rest.clean, rest.rows, rest.block.clean, rest.raw))
    one, two = (fitted(everything(), [rest]) for _ in range(2))
    for a, b in zip(everything_of(one), everything_of(two), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    for a, b in zip(
        before, (rest.uv, rest.clean, rest.rows, rest.block.clean, rest.raw), strict=True
    ):
        assert np.array_equal(np.array(a, float), np.array(b, float), equal_nan=True)
    assert len(CURVE_S) == len(events(one, "fit")[0]["expected"])


def test_what_is_learned_is_learned_step_by_step() -> None:
    """A z score of a sum of z scores knows those first; norms need no learning."""
    defs = [
        FeatureDef("top", "z", of=(1,)),
        FeatureDef("sum", "weighted_sum", of=(2, 3), weights_of=(1.0, -0.5)),
        FeatureDef("z_alpha", "z", of=(4,)),
        FeatureDef("z_smr", "z", of=(5,)),
        power("alpha", (5,), ALPHA),
        power("smr", (3,), SMR),
        FeatureDef("normed", "z", of=(4,), norm=(1.0, 0.5)),
    ]
    f = fitted(defs, [rested(rest_eeg(seed=14))])
    assert set(f.references) == {"top", "z_alpha", "z_smr"}
    (values,) = f.prepared.values
    known = np.isfinite(values).all(axis=1)
    assert known.sum() > 1000
    top, total, one, two = values[known][:, :4].T
    assert np.allclose(total, one - 0.5 * two, rtol=1e-12, atol=1e-12)
    for z in (top, one, two):
        assert np.median(z) == pytest.approx(0.0, abs=1e-9)
        assert 1.4826 * np.median(np.abs(z)) == pytest.approx(1.0, rel=1e-6)
    assert np.allclose(values[known, 6], (np.log(values[known, 4]) - 1.0) / 0.5)
