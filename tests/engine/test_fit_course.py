"""Fitting: individual alpha, spatial filters, references, accuracy, and a course of sessions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, welch

from engine.columns import plain
from engine.errors import InputError, MontageError
from engine.features import FeatureDef
from engine.fit import CURVE_S, FitSettings, Fitted, Rest, fit
from engine.frames import Bool, Float, Gate, RestBlock, frozen
from engine.person import SITES, Person
from engine.wiring import demands_of, estimated_columns, longest

RATE_HZ, HOP = 250.0, 5
ALPHA, SMR = (8.0, 12.0), (12.0, 15.0)
O1, O2, PZ, CZ, FP1, FP2 = (SITES.index(s) for s in ("O1", "O2", "Pz", "Cz", "Fp1", "Fp2"))
LEFT = tuple(SITES.index(s) for s in ("F3", "C3", "P3", "O1", "F7", "T7", "P7", "Fp1"))
POSTERIOR = (PZ, O1, O2)


def person(seconds: float = 60.0, seed: int = 1, **more: Any) -> Float:
    given = {"eyes": "closed", "jaw": False, "blinks": False, **more}
    x = Person(RATE_HZ, seed=seed, **given).read(round((seconds + 8) * RATE_HZ))[:, : len(SITES)]
    y = sosfilt(butter(2, 1.0, "highpass", fs=RATE_HZ, output="sos"), x - x[0], axis=0)
    return np.asarray(y[-round(seconds * RATE_HZ) :])


def rested(
    x: Float,
    learn: tuple[str, ...] = ("all",),
    uses: tuple[str, ...] = (),
    gates: np.ndarray | None = None,
    name: str = "rest",
) -> Rest:
    n = len(x) // HOP
    gate = np.zeros(n, np.int64) if gates is None else gates
    clean: Bool = gate == 0
    samples = np.repeat(clean, HOP)
    samples[0] = False
    return Rest(
        RestBlock(1, name, learn, uses, HOP * np.arange(1, n + 1), gate, clean),
        frozen(x[: n * HOP].copy()),
        ((0, frozen(np.ones(len(SITES), bool))),),
        (np.arange(n) + 1) * HOP - 1,
        frozen(samples),
        ((math.nan,) * 12,) * n,
        ({},) * n,
    )


def fitted(
    defs: Sequence[FeatureDef], rests: Sequence[Rest], course: Mapping[str, Any] | None = None,
    **more: Any,
) -> Fitted:  # fmt: skip
    columns = estimated_columns(defs, more.get("eog", ()))
    settings = FitSettings(
        RATE_HZ, HOP, 50.0, tuple(defs), columns, SITES, course=course or {}, **more
    )
    return fit(settings, rests, longest(defs, demands_of(defs, columns), RATE_HZ))


def feature(name: str, kind: str, *sites: int, **more: Any) -> FeatureDef:
    return FeatureDef(name, kind, sites, **{"band_hz": ALPHA, "fit": "course", **more})


def events(f: Fitted, kind: str) -> list[dict[str, Any]]:
    return [dict(data) for k, data in f.prepared.events if k == kind]


def kept(f: Fitted) -> dict[str, Any]:
    """Return the course as a later session reads it from a file."""
    back: dict[str, Any] = json.loads(json.dumps(plain(f.course), allow_nan=False))
    return back


def alike(one: Fitted, two: Fitted) -> bool:
    """Return whether both filter the same, to the bit."""
    same = one.defs == two.defs
    for a, b in zip(one.wiring.sources, two.wiring.sources, strict=True):
        k, m = one.wiring.kernels[a.kernel], two.wiring.kernels[b.kernel]
        same &= np.array_equal(k.taps, m.taps) and a.gains == b.gains
        same &= (a.weights is None) == (b.weights is None)
        same &= a.weights is None or np.array_equal(a.weights, b.weights)
    return bool(same)


# ---------------------------------------------------------------- a course of sessions

COURSES: dict[str, tuple[FeatureDef, ...]] = {
    "power": (feature("p", "power", O1, O2),),
    "smr": (feature("p", "power", CZ, band_hz=SMR),),
    "asymmetry": (
        feature("right", "power", O2),
        feature("left", "power", O1),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
    ),
    "above the slope": (feature("p", "periodic_power", O1),),
    "above the slope, compared": (
        feature("right", "periodic_power", O2),
        feature("left", "periodic_power", CZ),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
    ),
    "two sites": (feature("c", "wpli", O1, CZ),),
    "rhythm": (feature("p", "power", O1, target="rhythm", delay_s=0.2),),
    "around alpha": (feature("p", "power", O1, iaf=(-2.0, 2.0)),),
    "below the peak": (feature("p", "power", O1, band_hz=(7.0, 9.9)),),
    "the peak at its edge": (feature("p", "power", O1, band_hz=(8.0, 10.0), iaf=(-2.0, 0.0)),),
    "spatial": (feature("p", "power", O1, spatial="ssd", pool=LEFT),),
}


@pytest.mark.parametrize("which", list(COURSES))
def test_a_later_session_filters_exactly_alike(which: str) -> None:
    """Fitted in the first session; other days, other alpha, other rest: the same filters."""
    uses = ("iaf",) if COURSES[which][0].iaf else ()
    posterior = POSTERIOR if uses else ()
    first = fitted(COURSES[which], [rested(person(seed=1), uses=uses)], posterior=posterior)
    later = rested(person(seed=2, alpha_hz=10.9), uses=uses)
    again = fitted(COURSES[which], [later], kept(first), posterior=posterior)
    assert alike(first, again)
    assert not alike(first, fitted(COURSES[which], [later], posterior=posterior))
    assert kept(again) == kept(first)


def test_a_course_that_began_without_alpha_stays_where_it_began() -> None:
    defs = COURSES["around alpha"]
    gone = {"strengths": None, "eyes": "open"}
    flat = person(seed=3, **gone) * 0.0 + np.random.default_rng(1).normal(0, 5, (15000, len(SITES)))
    first = fitted(defs, [rested(flat, uses=("iaf",))], posterior=POSTERIOR)
    assert events(first, "iaf")[0]["source"] == "fallback"
    later = rested(person(seed=2, alpha_hz=11.2), uses=("iaf",))
    again = fitted(defs, [later], kept(first), posterior=POSTERIOR)
    assert again.defs[0].band_hz == ALPHA
    assert alike(first, again)


def patchy(x: Float) -> Rest:
    """Return a rest of which too little lies in one piece."""
    n = len(x) // HOP
    gates = np.where(np.arange(n) % 50 == 0, int(Gate.AMPLITUDE), 0)  # every second
    return rested(x, gates=gates)


@pytest.mark.parametrize("which", ["smr", "above the slope", "spatial"])
def test_what_could_not_be_fitted_stays_fixed(which: str) -> None:
    """A later, cleaner session must not read otherwise than the threshold was set for."""
    first = fitted(COURSES[which], [patchy(person(seed=1))])
    assert all(e["estimator"] == "fixed" for e in events(first, "fit"))
    course = kept(first)
    assert course["features"]["p"]["band"]["estimator"] == "fixed"
    later = rested(person(seed=2))
    again = fitted(COURSES[which], [later], course)
    assert alike(first, again)
    assert all(e["estimator"] == "wiener" for e in events(fitted(COURSES[which], [later]), "fit"))
    for event in events(again, "fit"):
        assert event["estimator"] == "fixed"
        assert "as in the first session of the course (only" in event["reason"]
    assert kept(again) == course


def test_names_of_features_are_not_keys_of_the_course() -> None:
    names = ("iaf", "features", "iaf_hz", "spatial")
    defs = tuple(feature(n, "power", O1, iaf=(-2.0, 2.0)) for n in names)
    rest = rested(person(seed=1), uses=("iaf",))
    first = fitted(defs, [rest], posterior=POSTERIOR)
    assert set(first.course["features"]) == set(names)
    later = rested(person(seed=2, alpha_hz=11.0), uses=("iaf",))
    again = fitted(defs, [later], kept(first), posterior=POSTERIOR)
    assert alike(first, again)
    assert again.course["iaf"] == first.course["iaf"]


# ---------------------------------------------------------------- individual alpha


@pytest.mark.parametrize("hz", [8.7, 11.3])
def test_bands_lie_around_what_was_measured(hz: float) -> None:
    defs = (
        feature("p", "power", O1, iaf=(-2.0, 2.0), fit="session"),
        feature("theta", "power", CZ, band_hz=(4.0, 8.0), fit="session"),
        feature("above", "periodic_power", O1, iaf=(-2.0, 2.0), fit="session"),
    )
    x = person(seed=4, alpha_hz=hz)
    f = fitted(defs, [rested(x, (), ("iaf",), name="closed"), rested(person(seed=5, alpha_hz=hz))],
               posterior=POSTERIOR)  # fmt: skip
    (event,) = events(f, "iaf")
    assert (event["source"], event["sites"]) == ("measured", ["Pz", "O1", "O2"])
    assert event["used_hz"] == pytest.approx(hz, abs=0.3)
    found = event["used_hz"]
    assert f.defs[0].band_hz == (found - 2.0, found + 2.0)
    assert [k.band_hz for k in f.wiring.kernels[:2]] == [f.defs[0].band_hz, (4.0, 8.0)]
    theta = events(f, "fit")[1]
    expected = None if 4.0 <= found <= 8.0 else found
    assert theta["reject_hz"] == expected
    assert [e["block"] for e in events(f, "fit")] == ["rest"] * 5


def test_no_alpha_is_an_answer() -> None:
    x = np.random.default_rng(2).normal(0.0, 5.0, (15000, len(SITES)))
    f = fitted(COURSES["around alpha"], [rested(x, uses=("iaf",))], posterior=POSTERIOR)
    (event,) = events(f, "iaf")
    assert (event["source"], event["used_hz"], event["hz"]) == ("fallback", 10.0, None)
    assert event["reason"]
    assert f.defs[0].band_hz == ALPHA


@pytest.mark.parametrize("fit_", ["session", "fixed"])
@pytest.mark.parametrize("kind", ["power", "periodic_power"])
def test_wherever_alpha_lies_the_kernels_fit_what_is_kept(kind: str, fit_: str) -> None:
    for lo, hi in ((-2.0, 2.0), (-2.5, 0.0), (-4.0, -2.0), (0.0, 3.0), (-1.0, 8.0), (3.0, 9.0)):
        d = feature("p", kind, O1, band_hz=(10 + lo, 10 + hi), iaf=(lo, hi), fit=fit_)
        try:
            n_taps = longest((d,), demands_of((d,), (O1,)), RATE_HZ)
        except (InputError, MontageError):  # refused before anybody sits down
            continue
        for hz in np.arange(7.0, 13.01, 0.25).tolist():
            moved = replace(d, iaf=None, band_hz=(hz + lo, hz + hi))
            assert longest((moved,), demands_of((moved,), (O1,)), RATE_HZ) <= n_taps, (lo, hi, hz)


# ---------------------------------------------------------------- spatial filters


def test_weights_known_beforehand_are_used() -> None:
    row = np.zeros(len(SITES))
    row[[O1, PZ, CZ]] = 1.0, -0.7, -0.3
    d = feature("p", "power", O1, spatial="weights", weights=(tuple(row.tolist()),))
    x = person(seed=6)
    f = fitted((d,), [rested(x)])
    found, s = welch(x @ row, RATE_HZ, nperseg=500, noverlap=375, nfft=4000)
    inside = (found >= 8.0) & (found <= 12.0)
    assert np.nanmean(f.prepared.values[0][:, 0]) == pytest.approx(
        np.trapezoid(s[inside], found[inside]), rel=0.03
    )


def test_a_fitted_spatial_filter_keeps_to_its_pool() -> None:
    d = feature("p", "power", O1, spatial="ssd", pool=LEFT)
    other = feature("q", "power", O2, CZ)
    f = fitted((d, other), [rested(person(seed=7))])
    (told,) = events(f, "fit")[0]["spatial"]
    assert told["site"] == "O1"
    assert set(told["weights"]) <= {SITES[c] for c in LEFT}
    assert len(told["weights"]) > 1
    assert told["n_components"] >= 1
    assert told["ratio"] >= 2.0
    assert told["held_out_ratio"] >= 1.5
    assert 0.5 <= told["share"] <= 1.02  # of all that is kept, not of the first alone
    weights = f.wiring.sources[0].weights
    assert weights is not None
    outside = [k for k, c in enumerate(estimated_columns((d, other))) if c not in LEFT]
    assert len(outside) == 2
    assert not weights[:, outside].any()


def test_where_nothing_stands_out_the_site_itself_is_used() -> None:
    x = np.random.default_rng(3).normal(0.0, 5.0, (15000, len(SITES)))
    f = fitted((feature("p", "power", O1, spatial="ssd", pool=LEFT),), [rested(x)])
    (told,) = events(f, "fit")[0]["spatial"]
    assert told["reason"]
    weights = f.wiring.sources[0].weights
    assert weights is not None
    assert np.flatnonzero(weights[0]).tolist() == [sorted(LEFT).index(O1)]


# ---------------------------------------------------------------- eyes


def test_blinks_are_regressed_out_and_the_event_says_how_much() -> None:
    rng = np.random.default_rng(4)
    x = person(seed=8)
    gates = np.zeros(len(x) // HOP, np.int64)
    hump = 150.0 * np.sin(np.pi * np.arange(75) / 75.0) ** 2
    for at in rng.integers(300, len(x) - 300, 40).tolist():
        x[at : at + 75, [FP1, FP2]] += hump[:, None]
        x[at : at + 75, CZ] += 0.2 * hump
        gates[at // HOP - 5 : at // HOP + 25] |= int(Gate.BLINK)
    d = feature("p", "power", CZ, band_hz=(4.0, 8.0), fit="session")
    plain_, taken = (fitted((d,), [rested(x, gates=gates)], eog=e) for e in ((), (FP1, FP2)))
    (event,) = events(taken, "eog_regression")
    assert event["eog"] == ["Fp1", "Fp2"]
    assert not events(plain_, "eog_regression")
    weights = taken.wiring.sources[0].weights
    assert weights is not None
    row = dict(zip(estimated_columns((d,), (FP1, FP2)), weights[0].tolist(), strict=True))
    assert 0.2 * row[CZ] + row[FP1] + row[FP2] == pytest.approx(0.0, abs=0.04)  # a blink is gone
    (nothing,) = events(fitted((d,), [rested(person(seed=8))], eog=(FP1, FP2)), "eog_regression")
    assert "0.0 s of blinks" in nothing["reason"]


# ---------------------------------------------------------------- accuracy and references


def test_what_is_expected_is_what_is_measured() -> None:
    defs = [feature(n, "power", s, band_hz=b) for n, s, b in
            (("alpha", O1, ALPHA), ("smr", CZ, SMR), ("beta", CZ, (15.0, 25.0)))]  # fmt: skip
    f = fitted(defs, [rested(person(180.0, seed=9))])
    for event in events(f, "fit"):
        assert np.allclose(event["measured"], event["expected"], atol=0.08), event["feature"]
        assert (np.array(event["expected"]) <= np.array(event["limit"]) + 1e-9).all()
        at = CURVE_S.index(0.1)
        assert event["expected"][at] == pytest.approx(event["limit"][at], abs=1e-9)
        assert event["best_r"] >= max(event["measured"]) - 0.01  # lags are whole hops
        assert f.delay_s[event["feature"]] == event["best_lag_s"]
        assert event["best_lag_s"] == pytest.approx(0.1, abs=0.06)


def test_what_is_learned_beforehand_is_of_the_fitted_numbers() -> None:
    """Burst threshold, median and MAD, chance floor: of what the features read in the end."""
    defs = (
        feature("size", "amplitude", O1, fit="session"),
        FeatureDef("bursts", "burst_rate", of=(0,), window_s=10.0),
        FeatureDef("z_size", "z", of=(0,)),
        feature("c", "plv", O1, O2, fit="session", window_s=2.0),
        FeatureDef("z_c", "z", of=(3,)),
    )
    for order in (defs, (defs[4], *defs[:4])):  # wherever it stands
        moved = tuple(replace(d, of=tuple(order.index(defs[j]) for j in d.of)) for d in order)
        f = fitted(moved, [rested(person(seed=10))])
        by_name = {d.name: f.prepared.values[0][:, i] for i, d in enumerate(f.defs)}
        size = by_name["size"][np.isfinite(by_name["size"])]
        assert f.references["bursts"].threshold == pytest.approx(np.quantile(size, 0.75))
        assert f.references["z_size"].median == pytest.approx(np.median(np.log(size)))
        assert 0.0 < f.references["c"].floor < 1.0
        for name in ("z_size", "z_c"):
            z = by_name[name][np.isfinite(by_name[name])]
            assert np.median(z) == pytest.approx(0.0, abs=1e-9)
            assert 1.4826 * np.median(np.abs(z)) == pytest.approx(1.0)
        (told,) = events(f, "references")
        assert set(told["features"]) == {"bursts", "z_size", "c", "z_c"}
