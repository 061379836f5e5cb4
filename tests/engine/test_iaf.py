"""Individual alpha frequency: right where there is one, "none" where there is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from engine.condition import Conditioner, condition_settings
from engine.frames import Bool, Float
from engine.iaf import FALLBACK_HZ, POSTERIOR, Iaf, individual_alpha, pooled
from engine.readfile import read_eeg
from engine.reference import choose_montage

RATE_HZ = 250.0
BIN_HZ = 250.0 / 1024


def noise(rng: np.random.Generator, n: int, exponent: float = 1.0) -> Float:
    """Gaussian noise with a PSD of 1 / f**exponent and SD 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n)
    f[0] = f[1]
    x = np.fft.irfft(spectrum / f ** (exponent / 2), n)
    return np.asarray(x / x.std())


def rhythm(rng: np.random.Generator, f_hz: float, n: int) -> Float:
    """A sine whose phase wanders and whose amplitude waxes and wanes."""
    phase = 2 * np.pi * f_hz * np.arange(n) / RATE_HZ + np.cumsum(0.02 * rng.standard_normal(n))
    envelope = lfilter([0.004], [1, -0.996], rng.standard_normal(n)) * 8 + 0.7
    return np.asarray(np.sin(phase) * np.clip(envelope, 0, None))


def live(x: Float) -> Float:
    """Return what the causal 1 Hz high-pass of the live chain makes of it, in about 10 µV."""
    return np.asarray(sosfilt(butter(2, 1.0, "highpass", fs=RATE_HZ, output="sos"), 10 * x, axis=0))


def estimate(uv: Float, clean: Bool | None = None, rate_hz: float = RATE_HZ, **kw: int) -> Iaf:
    clean = np.ones(len(uv), bool) if clean is None else clean
    return individual_alpha(uv, clean, rate_hz, POSTERIOR[: uv.shape[1]], **kw)


def simulated(
    snr: float, runs: int, *, seconds: float = 120.0, exponent: float = 1.0, frame_bins: int = 11
) -> list[tuple[float, Iaf]]:
    """One channel each: the frequency put in, 8.2-12.2 Hz, and the one found."""
    n = round(seconds * RATE_HZ)
    out = []
    for run in range(runs):
        rng = np.random.default_rng([2018, run])
        f_hz = rng.uniform(8.2, 12.2)
        x = noise(rng, n, exponent)
        if snr:
            x = x + snr * rhythm(rng, f_hz, n)
        out.append((f_hz, estimate(live(x[:, None]), frame_bins=frame_bins)))
    return out


def posterior(f_hz: float, *, seconds: float = 60.0, n: int = 6, seed: int = 1) -> Float:
    """One rhythm at several sites, each with noise of its own."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * RATE_HZ)
    alpha = rhythm(rng, f_hz, samples)
    return live(np.column_stack([noise(rng, samples) + 0.5 * alpha for _ in range(n)]))


def errors(found: list[tuple[float, Iaf]]) -> Float:
    return np.array([abs(i.hz - f) for f, i in found if i.hz is not None])


# ---------------------------------------------------------------- golden results


def test_one_over_f_noise_has_no_alpha() -> None:
    found = [i for _, i in simulated(0.0, 150)]
    assert sum(i.hz is not None for i in found) <= 3  # 2 %, CoG counted as well
    none = next(i for i in found if i.hz is None)
    assert none.paf_hz is None
    assert none.cog_hz is None
    assert none.band_hz is None
    assert none.n_channels == 0
    assert "0 of 1 posterior channels" in none.reason


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seconds", [24.0, 60.0])
def test_short_noise_of_any_slope_has_no_alpha(exponent: float, seconds: float) -> None:
    """Flat noise is what muscle looks like; the method as published finds a CoG in most of it."""
    found = simulated(0.0, 50, seconds=seconds, exponent=exponent)
    assert sum(i.hz is not None for _, i in found) <= 1


@pytest.mark.parametrize("frame_bins", [11, 21])
def test_a_clear_rhythm_is_found_where_it_is(frame_bins: int) -> None:
    found = simulated(0.3, 60, frame_bins=frame_bins)
    assert sum(i.paf_hz is None for _, i in found) <= 1
    e = errors(found)
    assert np.median(e) <= 0.1
    assert e.max() <= 0.25


def test_a_weak_rhythm_is_found_right_or_not_at_all() -> None:
    found = simulated(0.15, 60)
    e = errors(found)
    assert 10 <= len(e) <= 50
    assert e.max() <= 0.25


def test_a_rhythm_lost_in_noise_is_none() -> None:
    found = simulated(0.10, 60)
    assert sum(i.hz is None for _, i in found) >= 54
    e = errors(found)
    assert not len(e) or e.max() <= 0.25


def test_steep_noise_does_not_hide_a_clear_peak() -> None:
    """A line explains over 0.9 of such a spectrum, but not the peak."""
    found = simulated(0.15, 30, exponent=2.0)
    assert sum(i.paf_hz is None for _, i in found) <= 1
    assert errors(found).max() <= 0.25


def test_a_faint_peak_on_a_straight_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second check: a line explains over 0.9 of the spectrum, and the peak nearly."""

    def found() -> list[bool]:
        return [i.hz is not None for _, i in simulated(0.1, 60, seconds=24.0, exponent=1.6)]

    checked = found()
    monkeypatch.setattr("engine.iaf.LINE_R2", 2.0)
    unchecked = found()
    assert sum(checked) < sum(unchecked)
    assert all(u for c, u in zip(checked, unchecked, strict=True) if c)


def test_a_flank_that_levels_off_ends_the_band() -> None:
    """On a falling background there may be no valley above the peak for ten hertz."""
    rng = np.random.default_rng(1)
    n = round(900 * RATE_HZ)
    alpha = sosfilt(butter(2, (9.0, 11.0), "bandpass", fs=RATE_HZ, output="sos"), noise(rng, n, 0))
    x = noise(rng, n) + 0.15 * alpha / alpha.std()
    i = estimate(live(x[:, None]), frame_bins=21)
    assert i.paf_hz == pytest.approx(10.0, abs=0.25)
    assert i.band_hz is not None
    assert 7.0 < i.band_hz[0] < 9.5
    assert 10.5 < i.band_hz[1] < 13.0


# ---------------------------------------------------------------- several channels


def test_channels_agree_on_one_rhythm() -> None:
    i = estimate(posterior(9.3))
    assert i.paf_hz == pytest.approx(9.3, abs=0.15)
    assert i.cog_hz == pytest.approx(9.3, abs=0.4)
    assert i.band_hz is not None
    assert 6.5 < i.band_hz[0] < 9.3 < i.band_hz[1] < 12.0
    assert (i.n_channels, i.n_given) == (6, 6)
    assert not i.low_confidence
    assert i.hz == i.paf_hz
    assert i.reason == ""
    assert i.dropped == ()


def test_a_better_peak_weighs_more() -> None:
    """Two weak channels at 9 Hz and one strong at 11 Hz: 9.67 Hz if all weighed the same."""
    n = 30_000
    rng = np.random.default_rng(3)
    columns = [
        noise(rng, n) + a * rhythm(rng, f, n) for f, a in ((9.0, 0.25), (9.0, 0.25), (11.0, 1.2))
    ]
    i = estimate(live(np.column_stack(columns)))
    assert i.n_channels == 3
    assert i.paf_hz is not None
    assert 10.3 < i.paf_hz < 11.0


def test_fewer_peaks_than_needed_are_none() -> None:
    rng = np.random.default_rng(4)
    x = posterior(10.0, n=4)
    x[:, 2:] = live(np.column_stack([noise(rng, len(x)) for _ in range(2)]))
    i = estimate(x)
    assert i.hz is None
    assert "2 of 4 posterior channels" in i.reason
    assert "3 are needed" in i.reason
    assert estimate(x, min_channels=2).paf_hz == pytest.approx(10.0, abs=0.15)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_under_three_channels_is_low_confidence(n: int) -> None:
    i = estimate(posterior(10.5, n=n))
    assert i.paf_hz == pytest.approx(10.5, abs=0.15)
    assert i.n_channels == n
    assert i.low_confidence == (n < 3)
    assert ("Low confidence" in i.sentence) == (n < 3)


def test_a_split_peak_gives_a_centre_of_gravity_and_says_so() -> None:
    rng = np.random.default_rng(5)
    n = 30_000
    t = np.arange(n) / RATE_HZ
    two = 0.3 * np.sin(2 * np.pi * 9.03 * t) + 0.28 * np.sin(2 * np.pi * 11.48 * t)
    i = estimate(live(np.column_stack([noise(rng, n) + two for _ in range(4)])))
    assert i.paf_hz is None
    assert i.cog_hz == pytest.approx(10.2, abs=0.35)
    assert i.hz == i.cog_hz
    assert i.n_channels == 4
    assert i.band_hz is not None
    assert i.band_hz[0] < 9.0
    assert i.band_hz[1] > 11.5
    told = i.summary()
    assert told["kind"] == "cog"
    assert told["paf_hz"] is None
    assert "centre of gravity" in told["sentence"]
    assert "split" in told["sentence"]


def test_a_peak_outside_the_range_is_refused() -> None:
    for f_hz in (5.5, 14.5):
        assert estimate(posterior(f_hz)).hz is None


def test_a_channel_of_pops_is_left_out_and_named() -> None:
    x = posterior(10.0, n=6)
    x[::2500, 3] += 3000.0
    i = estimate(x)
    assert i.dropped == (POSTERIOR[3],)
    assert (i.n_channels, i.n_given) == (5, 6)
    assert i.paf_hz == pytest.approx(10.0, abs=0.15)
    few = estimate(x[:, :4])  # too few to say what is usual
    assert few.dropped == ()


def test_a_flat_channel_counts_for_nothing() -> None:
    x = posterior(10.0, n=4)
    x[:, 1] = 0.0
    i = estimate(x)
    assert (i.n_channels, i.n_given) == (3, 4)
    assert i.paf_hz == pytest.approx(10.0, abs=0.15)
    assert estimate(np.zeros((15_000, 3))).hz is None


# ---------------------------------------------------------------- what is clean, which rate


@pytest.mark.parametrize("rate_hz", [250.0, 500.0])
def test_what_is_not_clean_has_no_influence(rate_hz: float) -> None:
    """An artefact of 100 mV, also through the resampling filter."""
    x = posterior(10.0, seconds=90.0)
    x = resample_poly(x, round(rate_hz / 250.0), 1, axis=0)
    clean = np.ones(len(x), bool)
    for start_s in (17.3, 40.0, 63.77):
        clean[round(start_s * rate_hz) : round((start_s + 2.0) * rate_hz)] = False
    worse = x.copy()
    worse[~clean] = 1e5
    a, b = estimate(x, clean, rate_hz), estimate(worse, clean, rate_hz)
    assert a == b
    assert a.paf_hz == pytest.approx(10.0, abs=0.15)
    assert estimate(worse, None, rate_hz) != a


def test_a_signal_broken_too_often_is_none_with_the_reason() -> None:
    x = posterior(10.0, seconds=120.0)
    clean = np.ones(len(x), bool)
    clean[:: round(4.0 * RATE_HZ)] = False  # no stretch holds a window
    i = estimate(x, clean)
    assert i.hz is None
    assert "120 s of clean signal hold 0 unbroken windows of 4.1 s" in i.reason
    clean = np.ones(len(x), bool)
    clean[:: round(7.0 * RATE_HZ)] = False  # two windows in each
    assert estimate(x, clean).paf_hz == pytest.approx(10.0, abs=0.15)


def test_too_short_is_none_with_the_reason() -> None:
    x = posterior(10.0)
    least = 1024 + 9 * 512
    assert estimate(x[:least]).paf_hz is not None
    i = estimate(x[: least - 1])
    assert i.hz is None
    assert "9 unbroken windows" in i.reason
    assert "at least 10" in i.reason
    for rate_hz in (250.0, 160.0):
        assert estimate(x[:0], rate_hz=rate_hz).hz is None
        assert estimate(x[:5], rate_hz=rate_hz).hz is None
    assert estimate(x, np.zeros(len(x), bool)).hz is None


@pytest.mark.parametrize("f_hz", [8.6, 11.9])
def test_every_rate_gives_the_same_answer(f_hz: float) -> None:
    x = posterior(f_hz)
    expected = estimate(x)
    assert expected.paf_hz is not None
    assert expected.cog_hz is not None
    for up, down in ((16, 25), (64, 125), (128, 125), (2, 1), (1024, 125)):
        y = resample_poly(x, up, down, axis=0)
        i = estimate(y, rate_hz=RATE_HZ * up / down)
        assert i.paf_hz == pytest.approx(expected.paf_hz, abs=0.5 * BIN_HZ), (up, down)
        assert i.cog_hz == pytest.approx(expected.cog_hz, abs=BIN_HZ), (up, down)
        assert i.n_channels == expected.n_channels


def test_an_odd_rate_is_taken_at_its_word() -> None:
    """What was sampled at 299.99 Hz: the factor is approximated, the frequencies are not."""
    x = resample_poly(posterior(10.0), 6, 5, axis=0)  # 300 Hz
    i = estimate(x, rate_hz=299.99)
    assert i.paf_hz == pytest.approx(10.0 * 299.99 / 300.0, abs=0.15)
    slow = estimate(x, rate_hz=270.0)  # the same samples, declared slower
    assert slow.paf_hz == pytest.approx(9.0, abs=0.15)


def test_a_rate_too_low_is_none_with_the_reason() -> None:
    i = estimate(posterior(10.0), rate_hz=80.0)
    assert i.hz is None
    assert "80 Hz is too low" in i.reason


# ---------------------------------------------------------------- contract


def test_nothing_given_is_changed() -> None:
    x, clean = posterior(10.0), np.ones(15_000, bool)
    clean[5000:5100] = False
    before = x.copy(), clean.copy()
    x.flags.writeable = clean.flags.writeable = False
    for rate_hz in (250.0, 160.0):
        assert estimate(x, clean, rate_hz) == estimate(x, clean, rate_hz)
    assert np.array_equal(x, before[0])
    assert np.array_equal(clean, before[1])


def test_scale_changes_nothing() -> None:
    x = posterior(10.0)
    a, b = estimate(x), estimate(x * 1e-3)
    assert a.paf_hz == pytest.approx(b.paf_hz, rel=1e-9)
    assert a.cog_hz == pytest.approx(b.cog_hz, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    x = posterior(10.0)
    x[7000, 2] = bad
    clean = np.ones(len(x), bool)
    clean[6900:7100] = False  # marking it does not contain it
    with pytest.raises(ValueError, match="not finite"):
        estimate(x, clean)


@pytest.mark.parametrize("frame_bins", [5, 12, -1])
def test_an_impossible_frame_is_refused(frame_bins: int) -> None:
    with pytest.raises(ValueError, match="frame_bins"):
        estimate(np.zeros((10, 1)), frame_bins=frame_bins)


def test_shapes_and_numbers_that_do_not_fit_are_refused() -> None:
    x, clean = np.zeros((100, 2)), np.ones(100, bool)
    for uv, mask, names in (
        (x, clean[:-1], "ab"),
        (x, clean, "a"),
        (x[:, 0], clean, "a"),
    ):
        with pytest.raises(ValueError, match="one name per channel"):
            individual_alpha(uv, mask, RATE_HZ, names)
    with pytest.raises(ValueError, match="bool"):
        individual_alpha(x, np.ones(100), RATE_HZ, "ab")  # type: ignore[arg-type]
    for rate_hz in (0.0, -250.0, np.nan):
        with pytest.raises(ValueError, match="rate_hz"):
            individual_alpha(x, clean, rate_hz, "ab")
    with pytest.raises(ValueError, match="min_channels"):
        individual_alpha(x, clean, RATE_HZ, "ab", min_channels=0)


def test_no_channel_at_all_is_none() -> None:
    i = estimate(np.zeros((15_000, 0)))
    assert i.hz is None
    assert i.reason == "no posterior channel was given."
    assert i.low_confidence


def test_the_summary_is_json_and_complete() -> None:
    for i in (estimate(posterior(10.0)), estimate(np.zeros((10, 3)))):
        told = json.loads(json.dumps(i.summary(), allow_nan=False))
        assert told["hz"] == i.hz
        assert told["paf_hz"] == i.paf_hz
        assert told["cog_hz"] == i.cog_hz
        assert told["band_hz"] == (None if i.band_hz is None else list(i.band_hz))
        assert told["kind"] == ("none" if i.hz is None else "paf")
        assert told["sentence"] == i.sentence
        assert told["reason"] == i.reason
    assert i.sentence.startswith("No individual alpha frequency: 0 s of clean signal")


def test_the_fallback_lies_in_the_range_of_alpha() -> None:
    assert FALLBACK_HZ == 10.0
    assert len(set(POSTERIOR)) == 9


# ---------------------------------------------------------------- several recordings


def one(
    paf_hz: float | None, cog_hz: float | None, n: int, given: int = 9, reason: str = ""
) -> Iaf:
    band = None if cog_hz is None else (cog_hz - 2.0, cog_hz + 2.0)
    return Iaf(paf_hz, cog_hz, band, n, given, given < 3, reason)


def test_recordings_are_weighted_by_their_channels() -> None:
    i = pooled([one(10.0, 10.2, 9), one(11.0, 10.8, 3)])
    assert i.paf_hz == pytest.approx(10.25)
    assert i.cog_hz == pytest.approx(10.35)
    assert i.band_hz == pytest.approx((8.35, 12.35))
    assert (i.n_channels, i.n_given) == (12, 18)
    assert not i.low_confidence
    assert i.reason == ""


def test_a_recording_without_alpha_does_not_pull() -> None:
    i = pooled([one(None, None, 0, reason="too short."), one(10.0, 10.1, 5)])
    assert i.hz == 10.0
    assert i.cog_hz == 10.1
    assert (i.n_channels, i.n_given) == (5, 18)


def test_a_peak_comes_before_a_centre_of_gravity() -> None:
    i = pooled([one(None, 9.0, 6), one(11.0, 11.0, 3)])
    assert i.hz == 11.0
    assert i.cog_hz == pytest.approx((9.0 * 6 + 11.0 * 3) / 9)
    assert i.n_channels == 3
    split = pooled([one(None, 9.0, 6), one(None, 11.0, 2)])
    assert split.paf_hz is None
    assert split.hz == pytest.approx(9.5)
    assert split.n_channels == 8


def test_low_confidence_is_kept_where_it_contributes() -> None:
    assert pooled([one(10.0, 10.0, 9), one(11.0, 11.0, 2, 2)]).low_confidence
    assert not pooled([one(10.0, 10.0, 9), one(None, None, 0, 2, "none.")]).low_confidence


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ([], "there is no recording."),
        (["too short."], "too short."),
        (["too short.", "too short."], "too short."),
        (["too short.", "no peak."], "in none of 2 recordings; first, too short."),
    ],
)
def test_none_at_all_says_why(reasons: Sequence[str], expected: str) -> None:
    i = pooled([one(None, None, 0, reason=r) for r in reasons])
    assert i.hz is None
    assert i.reason == expected


# ---------------------------------------------------------------- real people


def conditioned(
    path: Path,
    sites: Sequence[str] | None = None,
    *,
    mains_hz: float | None = None,
    span_s: tuple[float, float] = (0.0, 1e9),
) -> tuple[Float, Bool, float, tuple[str, ...]]:
    """Return posterior channels after the live chain, and which samples no channel flags."""
    eeg = read_eeg(path)
    rate_hz = eeg.spec.rate_hz
    if sites is None:
        sites = [name for name in eeg.spec.names if name in POSTERIOR]
    montage = choose_montage(eeg.spec, sites, ("as recorded",))
    chain = Conditioner(condition_settings(eeg.spec, montage, 1.0, mains_hz, None))
    t = np.arange(len(eeg.samples)) / rate_hz
    parts, at = [], 0
    while at < len(t):
        end = -(-at // chain.beat) * chain.beat + 1  # a beat ends with a grid point
        parts.append(chain.step(at, t[at:end], eeg.samples[at:end]))
        at = end
    columns = [montage.site_names.index(s) for s in sites]
    uv = np.concatenate([p.uv for p in parts])[:, columns]
    clean = (np.concatenate([p.flags for p in parts])[:, columns] == 0).all(axis=1)
    clean &= (t >= max(span_s[0], chain.settle / rate_hz)) & (t < span_s[1])
    return uv, clean, rate_hz, tuple(sites)


@pytest.mark.parametrize(
    ("name", "hz", "within_hz"),
    [
        ("restingiaf/tute_01_1.set", 11.0, 0.5),
        ("restingiaf/tute_01_2.set", 10.5, 0.5),
        ("eegbci/S001R02.edf", 10.0, BIN_HZ),
        ("eegbci/S002R02.edf", 11.25, BIN_HZ),
        ("eeglab/eeglab_data.set", 10.0, BIN_HZ),
    ],
)
@pytest.mark.parametrize("frame_bins", [11, 21])
def test_people_whose_alpha_is_known(
    shared_data: Path, name: str, hz: float, within_hz: float, frame_bins: int
) -> None:
    i = individual_alpha(*conditioned(shared_data / name), frame_bins=frame_bins)
    assert i.paf_hz == pytest.approx(hz, abs=within_hz)
    assert i.low_confidence == name.startswith("restingiaf")  # only Pz and POz are in the set
    assert i.n_channels >= min(3, i.n_given)


def test_both_sessions_of_one_person_pooled(shared_data: Path) -> None:
    sites = ("P3", "Pz", "P4", "POz")
    found = [
        individual_alpha(*conditioned(shared_data / f"restingiaf/tute_01_{k}.set", sites))
        for k in (1, 2)
    ]
    assert [i.n_channels for i in found] == [4, 4]
    i = pooled(found)
    assert i.hz == pytest.approx(10.75, abs=0.25)
    assert (i.n_channels, i.n_given) == (8, 8)


def test_a_cyton_with_strong_mains(shared_data: Path) -> None:
    """Eyes closed at 28-75 s by inspection; columns 7 and 8 are the posterior ones."""
    path = shared_data / "openbci/blinks-jawclench-alpha.txt"
    i = individual_alpha(*conditioned(path, ("ch7", "ch8"), mains_hz=60.0, span_s=(28.0, 75.0)))
    assert i.paf_hz == pytest.approx(11.5, abs=BIN_HZ)
    assert i.low_confidence


def test_nobodys_alpha(shared_data: Path) -> None:
    """Combs of 1 Hz, under 1 µV after the high-pass: flat to the gates, and without a peak."""
    path = shared_data / "odd/16ch-no-alpha.edf"
    uv, clean, rate_hz, names = conditioned(path, mains_hz=50.0)
    i = individual_alpha(uv, clean, rate_hz, names)
    assert i.hz is None
    assert "clean signal" in i.reason
    sites = tuple(c.name for c in read_eeg(path).spec.channels if c.kind == "eeg")
    uv, _, rate_hz, names = conditioned(path, sites, mains_hz=50.0)
    settled = np.arange(len(uv)) >= rate_hz
    for frame_bins in (11, 21):
        i = individual_alpha(uv, settled, rate_hz, names, frame_bins=frame_bins)
        assert i.hz is None
        assert "posterior channels" in i.reason


def test_open_eyes_of_a_strong_alpha_person_are_none(shared_data: Path) -> None:
    assert individual_alpha(*conditioned(shared_data / "eegbci/S001R01.edf")).hz is None
