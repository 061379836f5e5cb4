"""Does a spatial filter help a causal envelope? Laplacian, SSD and nothing, in one run.

Simulation: a parietal alpha source of known envelope among two mu, one occipital alpha, one theta
and two beta sources, in 1/f noise from 60 deep dipoles (so it is correlated over the cap) and
white amplifier noise 30 dB below the alpha peak; every source a current dipole in a homogeneous
medium. Also `engine.person`, whose truth is the alpha amplitude at Pz. The score is the
correlation of the causal envelope with the source's.

Real recordings: restingIAF (one session fits, the other tests), EEGBCI and EEGMAT with eyes
closed (one half fits, the other tests), both ways; white noise at -30 dB re the alpha peak added
to every channel first. The truth is the ideal non-causal band-pass envelope of the *same virtual
channel*. A second score says how far that is still the site: the correlation of the two
non-causal envelopes, virtual channel and site.

Weights and band filters are fitted to the training part only, with the engine's defaults.
The thresholds and the shrinkage of SSD were chosen on simulations with seeds 100-115, which are
not used here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.signal import butter, detrend, fftconvolve, lfilter, sosfiltfilt
from threadpoolctl import threadpool_limits

from benchmarks.data import data_folder
from benchmarks.table import Table, machine, median_interval
from engine.condition import Conditioner, ConditionSettings
from engine.frames import Bool, Channel, Float, StreamSpec, hop_samples
from engine.person import COLUMNS, SITES, Person
from engine.readfile import read_eeg
from engine.reference import choose_montage
from engine.spatial import (
    EogFit,
    Laplacian,
    Ssd,
    eog_regression,
    laplacian,
    nearest,
    position,
    ssd,
    without_eog,
)
from engine.wiener import Spectrum, design, spectrum

Complex = NDArray[np.complex128]

LAGS_S = (0.0, 0.05, 0.1, 0.2)
GAINS_S = (0.0, 0.1)
NOISE_DB = -30.0
SETTLE_S = 3.0
TAPS_S = 1.0
EDGE_S = 2.0
REAL = ("restingIAF, 6 channels", "EEGBCI, 64 channels", "EEGMAT, 19 channels")
ARTEFACT_UV = 400.0  # on any of 64 channels; real alpha alone passes 250 µV
METHODS = (
    "nothing",
    "Laplacian",
    "SSD, one component",
    "SSD, site rebuilt",
    "SSD of the 16 nearest, site rebuilt",
    "SSD, one filter per component",
)

# fmt: off
CAPS: Mapping[str, tuple[str, ...]] = {
    "8": ("Fz", "C3", "Cz", "C4", "Pz", "P3", "P4", "POz"),
    "19": SITES,
    "32": (*SITES, "FC1", "FC2", "FC5", "FC6", "CP1", "CP2", "CP5", "CP6", "PO3", "PO4", "AF3",
           "AF4", "Oz"),
    "61": (*SITES, "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "C5", "C1", "C2", "C6", "CP5",
           "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "Fpz", "AF7", "AF3", "AFz", "AF4", "AF8",
           "F5", "F1", "F2", "F6", "FT7", "FT8", "TP7", "TP8", "P5", "P1", "P2", "P6", "PO7",
           "PO3", "POz", "PO4", "PO8", "Oz"),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Trial:
    """One site of one recording, to be fitted on its first and tried on its second part.

    Parameters
    ----------
    kind, group : str
        Row of the table; one person or seed.
    site : str
        Whose rhythm is wanted.
    names : tuple of str
        Columns of `fit_uv` and `test_uv`.
    rate_hz : float
        Sampling rate.
    fit_uv, test_uv : ndarray, shape (n_samples, n_channels)
        Conditioned.
    band_hz : tuple of float
        IAF and 2 Hz to both sides.
    truth : ndarray, shape (n_test,), or None
        Envelope of the source; None: that of the virtual channel, from `raw_uv`.
    raw_uv : ndarray, shape (n_test, n_channels)
        The test part before conditioning, its noise included.
    """

    kind: str
    group: str
    site: str
    names: tuple[str, ...]
    rate_hz: float
    fit_uv: Float
    test_uv: Float
    band_hz: tuple[float, float]
    truth: Float | None
    raw_uv: Float


# ---------------------------------------------------------------- simulation


def _near(
    rng: np.random.Generator, place: Sequence[float] | Float, depth: float
) -> tuple[Float, Float]:
    """Return where a dipole lies and where it points: about there, about outward."""
    p = np.asarray(place) / np.linalg.norm(place) + rng.normal(0.0, 0.1, 3)
    p /= np.linalg.norm(p)
    out = p + rng.normal(0.0, 0.5, 3)
    return depth * p, out / np.linalg.norm(out)


def _field(electrodes: Float, at: Float, moment: Float) -> Float:
    """Return the potential of a current dipole in a homogeneous medium, any unit."""
    d = electrodes - at
    return np.asarray((d @ moment) / np.linalg.norm(d, axis=1) ** 3)


def _rhythm(
    rng: np.random.Generator, n: int, rate_hz: float, hz: float, width_hz: float
) -> Complex:
    """Return a complex resonator driven by noise, mean square 1."""
    pole = np.exp((-np.pi * width_hz + 2j * np.pi * hz) / rate_hz)
    drive = rng.standard_normal((2, n)) * np.sqrt((1.0 - abs(pole) ** 2) / 2.0)
    return np.asarray(lfilter([1.0], [1.0, -pole], drive[0] + 1j * drive[1]))


def _pink(rng: np.random.Generator, n: int, rate_hz: float, chi: float, count: int) -> Float:
    """Return 1/f^chi noise, level below 0.3 Hz, unit variance."""
    f = np.fft.rfftfreq(n, 1.0 / rate_hz)
    gain = np.maximum(f, 0.3) ** (-chi / 2.0)
    gain[0] = 0.0
    x = np.fft.irfft(
        gain[:, None] * np.fft.rfft(rng.standard_normal((n, count)), axis=0), n, axis=0
    )
    return np.asarray(x / x.std(axis=0))


def simulated(
    cap: str, snr_db: float, seed: int, fit_s: float = 60.0, test_s: float = 120.0
) -> Trial:
    """Simulate one head; see the module. The ratio holds at Pz within 2 Hz of the rhythm."""
    rng = np.random.default_rng([seed, 7])
    names, rate_hz = CAPS[cap], 250.0
    n = round((fit_s + test_s) * rate_hz)
    places = np.array([position(name) for name in names], float)
    at = names.index("Pz")
    f0, chi = float(rng.uniform(8.6, 11.4)), float(rng.uniform(0.8, 1.5))
    deep = []
    for _ in range(60):
        where = rng.normal(size=3) * (1.0, 1.0, 0.7) + (0.0, 0.0, 0.3)
        deep.append(_field(places, *_near(rng, where, 0.7)))
    x = _pink(rng, n, rate_hz, chi, 60) @ np.array(deep)
    level = x[:, at].std()
    others = (
        ((-0.7, 0.0, 0.6), f0 + rng.uniform(0.5, 1.5), 1.0, 0.6),
        ((0.7, 0.0, 0.6), f0 + rng.uniform(0.5, 1.5), 1.0, 0.6),
        ((0.0, -1.0, 0.1), f0 - rng.uniform(0.3, 1.0), 1.0, 0.8),
        ((0.0, 0.6, 0.7), 6.0, 1.5, 0.6),
        ((-0.6, 0.6, 0.5), 20.0, 4.0, 0.4),
        ((0.6, 0.5, 0.5), 22.0, 4.0, 0.4),
    )
    for place, hz, width_hz, size in others:
        pattern = _field(places, *_near(rng, place, 0.7))
        size *= level * rng.uniform(0.5, 1.5) / np.abs(pattern).max()
        x += size * np.outer(_rhythm(rng, n, rate_hz, hz, width_hz).real, pattern)
    pattern = _field(places, *_near(rng, (0.0, -0.7, 0.6), 0.7))
    z = _rhythm(rng, n, rate_hz, f0, 0.8)
    band = (f0 - 2.0, f0 + 2.0)
    beside = sosfiltfilt(butter(2, band, "bandpass", fs=rate_hz, output="sos"), x[:, at]).var()
    z *= np.sqrt(2.0 * beside * 10.0 ** (snr_db / 10.0))
    x += np.outer(z.real, pattern / pattern[at])
    x *= 10.0 / x[:, at].std()
    x += _floor(x[:, at], rate_hz) * rng.standard_normal(x.shape)
    y = _conditioned(x, names, rate_hz, None)
    cut = round(fit_s * rate_hz)
    return Trial(
        f"simulated {snr_db:g} dB, {len(names)} channels", f"seed {seed}", "Pz", names, rate_hz,
        y[round(SETTLE_S * rate_hz) : cut], y[cut:], band, np.abs(z[cut:]), x[cut:],
    )  # fmt: skip


def of_person(seed: int, fit_s: float = 60.0, test_s: float = 120.0) -> Trial:
    """Take `engine.person` with eyes closed."""
    rate_hz = 250.0
    person = Person(rate_hz, seed=seed, eyes="closed", blinks=False, jaw=False)
    everything = person.read(round((fit_s + test_s) * rate_hz))
    x = everything[:, : len(SITES)]
    y = _conditioned(x, SITES, rate_hz, 50.0)
    cut = round(fit_s * rate_hz)
    truth = everything[cut:, COLUMNS.index("truth_alpha")]
    return Trial(
        "engine.person, 19 channels", f"seed {seed}", "Pz", SITES, rate_hz,
        y[round(SETTLE_S * rate_hz) : cut], y[cut:], (8.0, 12.0), truth, x[cut:],
    )  # fmt: skip


def _floor(x: Float, rate_hz: float) -> float:
    """Return the sd of white noise at `NOISE_DB` of the density at the alpha peak."""
    found = spectrum(x, np.ones(len(x), bool), rate_hz)
    alpha = (found.f_hz >= 7.0) & (found.f_hz <= 13.0)
    return float(np.sqrt(found.density[alpha].max() * 10.0 ** (NOISE_DB / 10.0) * rate_hz / 2.0))


def _conditioned(x: Float, names: Sequence[str], rate_hz: float, notch_hz: float | None) -> Float:
    """Run the engine's own conditioning, as recorded, 1 Hz high-pass."""
    channels = tuple(Channel(n, "eeg", "microvolts", 1.0, n) for n in names)
    spec = StreamSpec("bench", "EEG", "bench", "bench", "bench", rate_hz, channels)
    montage = choose_montage(spec, names, ("as recorded",))
    settings = ConditionSettings(rate_hz, hop_samples(rate_hz), montage, 1.0, notch_hz)
    conditioner = Conditioner(settings)
    t = np.arange(len(x)) / rate_hz
    beat = conditioner.beat
    parts = [
        conditioner.step(a, t[a : a + beat], x[a : a + beat]).uv for a in range(0, len(x), beat)
    ]
    return np.concatenate(parts)


# ---------------------------------------------------------------- real recordings


def real(folder: Path) -> Iterator[Trial]:
    """Yield every recording, site and direction."""
    posterior = ("Pz", "P3", "P4")
    pair = [_load(folder / f"restingiaf/tute_01_{i}.set", None) for i in (1, 2)]
    yield from _both_ways(REAL[0], "restingIAF", pair, (*posterior, "POz"))
    for person in ("S001", "S002"):
        halves = _split(_load(folder / f"eegbci/{person}R02.edf", 60.0))
        occipital = ("O1", "Oz", "O2")
        yield from _both_ways(REAL[1], f"EEGBCI {person}", halves, (*posterior, *occipital))
    for person in ("03", "10", "19"):
        halves = _split(_load(folder / f"eegmat/Subject{person}_1.edf", 50.0))
        sites = (*posterior, "O1", "O2")
        yield from _both_ways(REAL[2], f"EEGMAT {person}", halves, sites)


@dataclass(frozen=True, slots=True)
class _Part:
    names: tuple[str, ...]
    rate_hz: float
    raw_uv: Float
    uv: Float


def _load(path: Path, notch_hz: float | None) -> _Part:
    eeg = read_eeg(path)
    keep = [i for i, c in enumerate(eeg.spec.channels) if c.kind == "eeg"]
    names = tuple(eeg.spec.names[i] for i in keep)
    rate_hz = eeg.spec.rate_hz
    moving = np.flatnonzero((np.diff(eeg.samples, axis=0) != 0.0).any(axis=1))
    x = eeg.samples[: int(moving[-1]) + 2, keep]
    rng = np.random.default_rng(sum(path.name.encode()))
    noise = [_floor(x[:, i], rate_hz) for i in range(len(keep))]
    x = x + np.median(noise) * rng.standard_normal(x.shape)
    return _Part(names, rate_hz, x, _conditioned(x, names, rate_hz, notch_hz))


def _split(whole: _Part) -> list[_Part]:
    cut = len(whole.uv) // 2
    return [
        _Part(whole.names, whole.rate_hz, whole.raw_uv[part], whole.uv[part])
        for part in (slice(None, cut), slice(cut, None))
    ]


def _both_ways(
    kind: str, group: str, pair: Sequence[_Part], sites: Sequence[str]
) -> Iterator[Trial]:
    for fit, test in (pair, pair[::-1]):
        skip = round(SETTLE_S * fit.rate_hz)
        at = [fit.names.index(s) for s in sites]
        found = spectrum(fit.uv[skip:, at], np.ones(len(fit.uv) - skip, bool), fit.rate_hz, 4.0)
        alpha = (found.f_hz >= 7.5) & (found.f_hz <= 12.5)
        peak = float(found.f_hz[alpha][np.argmax((found.density * found.f_hz)[alpha])])
        for site in sites:
            yield Trial(
                kind, group, site, fit.names, fit.rate_hz, fit.uv[skip:], test.uv,
                (peak - 2.0, peak + 2.0), None, test.raw_uv,
            )  # fmt: skip


def ideal(x: Float, band_hz: tuple[float, float], rate_hz: float) -> Complex:
    """Return the ideal non-causal analytic band-pass, trend removed, mirrored at the ends."""
    x = detrend(x)
    n = round(4.0 * rate_hz)
    x = np.concatenate([2 * x[0] - x[n:0:-1], x, 2 * x[-1] - x[-2 : -n - 2 : -1]])
    f = np.fft.fftfreq(len(x), 1.0 / rate_hz)
    inside = (f >= band_hz[0]) & (f <= band_hz[1])
    return np.asarray(np.fft.ifft(2.0 * inside * np.fft.fft(x))[n:-n])


# ---------------------------------------------------------------- one trial


def filters(trial: Trial) -> tuple[dict[str, Float], Ssd | None]:
    """Return the weights that are possible, by method, and the SSD."""
    at = trial.names.index(trial.site)
    weights = {"nothing": np.eye(len(trial.names))[at]}
    around = laplacian(trial.site, trial.names)
    if isinstance(around, Laplacian):
        weights["Laplacian"] = around.weights
    clean = np.abs(trial.fit_uv).max(axis=1) < ARTEFACT_UV
    clean &= np.convolve(clean, np.ones(round(trial.rate_hz)), "same") > trial.rate_hz / 2.0

    def fit(allowed: Bool | None) -> Ssd | None:
        found = ssd(
            trial.fit_uv, clean, trial.rate_hz, trial.band_hz,
            site=trial.site, names=trial.names, allowed=allowed,
        )  # fmt: skip
        return found if isinstance(found, Ssd) else None

    whole = fit(None)
    if whole is not None:
        weights["SSD, one component"] = whole.component
        weights["SSD, site rebuilt"] = whole.denoised
    if len(trial.names) > 16:
        near = fit(nearest(trial.site, trial.names, 16))
        if near is not None:
            weights["SSD of the 16 nearest, site rebuilt"] = near.denoised
    return weights, whole


def score(trial: Trial) -> dict[str, tuple[Float, float]]:
    """Return per method the correlation at each lag, and with the site's own envelope."""
    weights, whole = filters(trial)
    rate_hz = trial.rate_hz
    at = np.arange(
        round(EDGE_S * rate_hz), len(trial.test_uv) - round(EDGE_S * rate_hz), hop_samples(rate_hz)
    )
    out = {}
    plain = np.abs(ideal(trial.raw_uv @ weights["nothing"], trial.band_hz, rate_hz))

    def rate_all(estimates: Sequence[Complex], w: Float) -> tuple[Float, float]:
        own = np.abs(ideal(trial.raw_uv @ w, trial.band_hz, rate_hz))
        truth = own if trial.truth is None else trial.truth
        r = [
            np.corrcoef(np.abs(z[at]), np.interp(at - d * rate_hz, np.arange(len(truth)), truth))[
                0, 1
            ]
            for z, d in zip(estimates, LAGS_S, strict=True)
        ]
        return np.array(r), float(np.corrcoef(own[at], plain[at])[0, 1])

    for method, w in weights.items():
        found = spectrum(trial.fit_uv @ w, np.ones(len(trial.fit_uv), bool), rate_hz)
        taps = [_taps(trial, found, d) for d in LAGS_S]
        v = trial.test_uv @ w
        out[method] = rate_all([fftconvolve(v, h)[: len(v)] for h in taps], w)
    if whole is not None:
        w = whole.weights[:, :4]
        estimates = per_component(trial.fit_uv @ w, trial.test_uv @ w, trial.band_hz, rate_hz)
        out[METHODS[-1]] = rate_all(estimates, w.sum(axis=1))
    return out


def _taps(trial: Trial, found: Spectrum, delay_s: float) -> Complex:
    """Return the band filter, newest first: the rhythm's where a source is sought."""
    if trial.truth is not None:
        try:
            kernel = design(
                found, trial.band_hz, delay_s=delay_s, target="rhythm", background=aperiodic(found)
            )
            return kernel.taps[::-1]
        except ValueError:  # nothing stands out: all that lies in the band
            pass
    return design(found, trial.band_hz, delay_s=delay_s).taps[::-1]


def aperiodic(found: Spectrum) -> Float:
    """Return a straight log-log line through 2-40 Hz without 6-15 Hz, peaks left out."""
    f, log = found.f_hz, np.log(np.maximum(found.density, 1e-12))
    use = np.flatnonzero((f >= 2.0) & (f <= 40.0) & ~((f >= 6.0) & (f <= 15.0)))
    for _ in range(3):
        line = np.polyfit(np.log(f[use]), log[use], 1)
        above = log[use] - np.polyval(line, np.log(f[use]))
        use = use[above < above.std()]
    return np.asarray(np.exp(np.polyval(line, np.log(np.maximum(f, f[1])))))


def per_component(
    fit_uv: Float, test_uv: Float, band_hz: tuple[float, float], rate_hz: float
) -> list[Complex]:
    """Estimate the band content of the components' sum with one causal filter per component.

    The multichannel Wiener filter: the block Toeplitz normal equations from the cross-spectra of
    all components (Welch, 2 s Hann windows), floor as for one channel.
    """
    n, k = round(2.0 * rate_hz), fit_uv.shape[1]
    taper = np.hanning(n + 1)[:n]
    size = 2 * n
    cross = np.zeros((size, k, k), complex)
    starts = range(0, len(fit_uv) - n + 1, n // 2)
    for a in starts:
        part = fit_uv[a : a + n]
        spectra = np.fft.fft((part - part.mean(axis=0)) * taper[:, None], size, axis=0)
        cross += spectra[:, :, None] * spectra[:, None, :].conj()
    cross /= len(starts) * float((taper**2).sum())
    f = np.fft.fftfreq(size, 1.0 / rate_hz)
    inside = (f >= band_hz[0]) & (f <= band_hz[1])
    taps = round(TAPS_S * rate_hz)
    lagged = np.fft.ifft(cross, axis=0).real  # [tau, j, i] = E x_j[t + tau] x_i[t]
    steps = np.arange(taps)
    blocks = lagged[(steps[:, None] - steps) % size]  # [m, c, j, i]
    matrix = blocks.transpose(3, 0, 2, 1).reshape(k * taps, k * taps)
    floor = 1e-4 * np.abs(cross[inside].sum(axis=(1, 2))).mean()
    factor = cho_factor(matrix + floor * np.eye(k * taps))
    target = cross.sum(axis=1) * inside[:, None]  # [f, i]
    out = []
    for delay_s in LAGS_S:
        turned = 2.0 * target * np.exp(-2j * np.pi * f * delay_s)[:, None]
        p = np.fft.ifft(turned, axis=0)[:taps].T.reshape(-1)
        h = (cho_solve(factor, p.real) + 1j * cho_solve(factor, p.imag)).reshape(k, taps)
        z = sum(fftconvolve(test_uv[:, j], h[j])[: len(test_uv)] for j in range(k))
        out.append(np.asarray(z))
    return out


# ---------------------------------------------------------------- EOG


def eog_of_person(seed: int, sites: Sequence[str]) -> list[tuple[float, float, float]]:
    """Return per site: blink left over, alpha gain, alpha envelope correlation.

    The same seed without blinks is the same brain, so both are known exactly.
    """
    rate_hz = 250.0
    n = round(180.0 * rate_hz)
    made = [Person(rate_hz, seed=seed, blinks=b, jaw=False).read(n) for b in (True, False)]
    lids = made[0][:, COLUMNS.index("truth_blink")] > 0.0
    with_blinks, brain = (_conditioned(m[:, : len(SITES)], SITES, rate_hz, 50.0) for m in made)
    around = np.convolve(lids, np.ones(round(0.3 * rate_hz)), "same") > 0.5
    fit = slice(round(SETTLE_S * rate_hz), round(60.0 * rate_hz))
    eog_at = [SITES.index("Fp1"), SITES.index("Fp2")]
    eog = with_blinks[:, eog_at].mean(axis=1)
    found = eog_regression(with_blinks[fit], eog[fit], around[fit], rate_hz)
    if not isinstance(found, EogFit):  # this one hardly blinked in the minute
        return [(np.nan, np.nan, np.nan)] * len(sites)
    rest = slice(fit.stop, None)
    out = []
    for site in sites:
        w = _mean_eog(np.eye(len(SITES))[SITES.index(site)], found, eog_at)
        at = SITES.index(site)
        blink = (with_blinks - brain)[rest][around[rest]]
        left = float(np.sqrt((blink @ w).var() / blink[:, at].var()))
        out.append((left, *_alpha_left(brain[rest], w, at, (8.0, 12.0), rate_hz)))
    return out


def eog_of_people(folder: Path, sites: Sequence[str]) -> list[tuple[str, str, float, float, float]]:
    """Fit to blinks with eyes open, and see what becomes of frontal alpha with eyes closed."""
    out = []
    for person, peak in (("S001", 10.0), ("S002", 11.25)):
        opened, closed = (_load(folder / f"eegbci/{person}R0{i}.edf", 60.0) for i in (1, 2))
        eog_at = [opened.names.index("Fp1"), opened.names.index("Fp2")]
        eog = opened.uv[:, eog_at].mean(axis=1)
        slow = sosfiltfilt(butter(2, (0.5, 5.0), "bandpass", fs=160.0, output="sos"), eog)
        around = np.convolve(slow > 60.0, np.ones(round(0.6 * 160.0)), "same") > 0.5
        around[: round(SETTLE_S * 160.0)] = False
        found = eog_regression(opened.uv, eog, around, 160.0)
        if not isinstance(found, EogFit):
            continue
        for site in sites:
            at = opened.names.index(site)
            w = _mean_eog(np.eye(len(opened.names))[at], found, eog_at)
            gain, r = _alpha_left(closed.uv[480:], w, at, (peak - 2.0, peak + 2.0), 160.0)
            left = float(np.sqrt(1.0 - found.explained[at]))
            out.append((f"EEGBCI {person}", site, left, gain, r))
    return out


def _mean_eog(w: Float, found: EogFit, eog_at: Sequence[int]) -> Float:
    """Return the weights when the EOG is the mean of some columns."""
    half = np.repeat(found.coefficients / len(eog_at), len(eog_at), axis=0)
    return without_eog(w, half, eog_at)


def _alpha_left(
    uv: Float, w: Float, at: int, band_hz: tuple[float, float], rate_hz: float
) -> tuple[float, float]:
    before, after = (np.abs(ideal(v, band_hz, rate_hz)) for v in (uv[:, at], uv @ w))
    return (
        float(np.sqrt((after**2).mean() / (before**2).mean())),
        float(np.corrcoef(before, after)[0, 1]),
    )


# ---------------------------------------------------------------- tables


def envelopes(seeds: int, folder: Path | None) -> Table:
    """Run every trial with every spatial filter."""
    trials: list[Iterator[Trial]] = [
        (simulated(cap, snr, seed) for cap in CAPS for snr in (0.0, 5.0) for seed in range(seeds)),
        (of_person(seed) for seed in range(seeds)),
    ]
    if folder is not None:
        trials.append(real(folder))
    found: dict[str, list[tuple[str, dict[str, tuple[Float, float]]]]] = {}
    for some in trials:
        for trial in some:
            found.setdefault(trial.kind, []).append((trial.group, score(trial)))
    if folder is not None:
        found["all real recordings"] = [s for kind in REAL for s in found[kind]]
    rows = [row for kind, scores in found.items() for row in _rows(kind, scores)]
    return Table(
        "Envelope correlation with a spatial filter in front of the same causal filter",
        (
            "data",
            "spatial filter",
            "cases",
            *(f"r at {1e3 * d:.0f} ms" for d in LAGS_S),
            *(f"gain at {1e3 * d:.0f} ms" for d in GAINS_S),
            "is the site",
        ),
        tuple(rows),
        (
            "Medians over the cases where the filter is possible (elsewhere the engine refuses it "
            "and says why). Gain: paired difference to `nothing` over the same cases, with the "
            "95 % bootstrap interval over persons or seeds; restingIAF is one person, EEGBCI two, "
            "EEGMAT three: only the row of all six carries an interval worth the name.",
            "Truth: the source (simulated, engine.person) or the non-causal envelope of the same "
            "virtual channel (real). Is the site: correlation of the virtual channel's non-causal "
            "envelope with that of the plain site.",
        ),
    )


def _rows(
    kind: str, scores: Sequence[tuple[str, dict[str, tuple[Float, float]]]]
) -> Iterator[tuple[str, ...]]:
    for method in METHODS:
        mine = [(group, s) for group, s in scores if method in s]
        if not mine:
            yield (kind, method, f"0/{len(scores)}", *["-"] * (len(LAGS_S) + len(GAINS_S) + 1))
            continue
        groups = [group for group, _ in mine]
        r = np.array([s[method][0] for _, s in mine])
        gain = r - np.array([s["nothing"][0] for _, s in mine])
        cells = [f"{np.median(r[:, k]):.3f}" for k in range(len(LAGS_S))]
        if method == "nothing":
            cells += ["0"] * len(GAINS_S)
        else:
            for k in (LAGS_S.index(d) for d in GAINS_S):
                middle, low, high = median_interval(gain[:, k], groups)
                cells.append(f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]")
        same = float(np.median([s[method][1] for _, s in mine]))
        yield (kind, method, f"{len(mine)}/{len(scores)}", *cells, f"{same:.2f}")


def eyes(seeds: int, folder: Path | None) -> Table:
    """See what EOG regression takes: blinks, and alpha in front."""
    sites = ("F3", "Fz", "F4")
    rows = []
    each = np.array([eog_of_person(seed, sites) for seed in range(seeds)])
    groups = [f"seed {s}" for s in range(seeds)]
    for k, site in enumerate(sites):
        cells = []
        for j in range(3):
            middle, low, high = median_interval(each[:, k, j], groups)
            cells.append(f"{middle:.2f} [{low:.2f}, {high:.2f}]")
        rows.append(("engine.person", site, *cells))
    if folder is not None:
        rows += [
            (who, site, f"{left:.2f}", f"{gain:.2f}", f"{r:.2f}")
            for who, site, left, gain, r in eog_of_people(folder, sites)
        ]
    return Table(
        "EOG regression on the mean of Fp1 and Fp2",
        ("data", "site", "blink left (rms)", "alpha amplitude left", "alpha envelope r"),
        tuple(rows),
        (
            f"engine.person: {np.isfinite(each[:, 0, 0]).sum()} of {seeds} blinked for 4 s in the "
            "minute that is fitted to; against the same brain without blinks. EEGBCI: fitted to "
            "the blinks of the run with eyes open (blink left = rms around blinks, brain "
            "included), alpha from the run with eyes closed.",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; ``--seeds N`` sets the number of simulated heads."""
    parser = argparse.ArgumentParser(description="Spatial filters, measured.")
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args(arguments)
    folder = data_folder()
    sys.stdout.write(machine() + "\n\n")
    with threadpool_limits(1):
        for make in (eyes, envelopes):
            sys.stdout.write(make(asked.seeds, folder).markdown() + "\n")
            sys.stdout.flush()
    if folder is None:
        sys.stdout.write("The real recordings are not beside the repository: simulation only.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
