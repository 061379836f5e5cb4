"""What the estimators are tried on: simulated rhythms of known truth, and real recordings.

Simulation (250 Hz): a rhythm of known complex envelope in 1/f^chi plus white noise, either `gauss`
(a complex resonator driven by noise, 0.8 Hz wide) or `burst` (spindles of 0.4-2 s at random
times, log-normal amplitudes, jittered frequency). The signal-to-noise ratio is that of rhythm and
background power within 2 Hz of the rhythm. The true densities are known, so the oracle filter is.

Real recordings: white noise at -30 dB of the alpha peak's density is added first (files that were
low-passed offline are else partly predictable), then the engine's own conditioning runs over them
(as recorded, 1 Hz high-pass, mains notch). The truth is the ideal non-causal band-pass analytic
signal of the recording with the noise, before conditioning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend, lfilter, welch

from engine.condition import Conditioner, ConditionSettings
from engine.frames import Float, hop_samples
from engine.readfile import EegFile, read_eeg
from engine.reference import choose_montage

__all__ = ["BANDS", "Case", "data_folder", "real_cases", "simulated", "simulated_cases"]

Complex = NDArray[np.complex128]
Band = tuple[float, float]

BANDS: Mapping[str, Band | None] = {
    "alpha": None,  # the person's peak, 2 Hz to both sides
    "SMR": (12.0, 15.0),
    "theta": (4.0, 8.0),
    "beta": (15.0, 25.0),
}
SIM_RATE_HZ = 250.0
SIM_TRAIN_S, SIM_TEST_S = 120.0, 180.0
SIM_SNR_DB = (0.0, 5.0, 10.0)
RESONATOR_HZ = 0.8
BURSTS_PER_S = 0.35
WHITE_SHARE = 0.05  # of the 1/f density at 10 Hz
NOISE_DB = -30.0
START_S = 2.6  # the longest window, and the longest lag before it
END_S = 2.0  # the edge of the ideal band-pass
FOLDERS = ("restingiaf", "eegbci", "eegmat")


@dataclass(frozen=True, slots=True)
class Case:
    """One training part, one test part, one truth.

    Parameters
    ----------
    name : str
        For the record.
    group : str
        One person or one seed; the bootstrap draws whole groups.
    kind : str
        The row of tables it belongs to.
    band_hz : tuple of float
        The band asked for.
    rate_hz : float
        Sampling rate.
    train_uv, test_uv : ndarray, shape (n_samples,)
        What an estimator may be fitted to, and what it is tried on.
    truth : ndarray of complex, shape (n_test,)
        The analytic signal sought, at every test sample.
    target : str
        ``rhythm`` or ``band``: what the truth is.
    densities : tuple of ndarray or None
        Frequencies, density of the whole and of the target, where they are known.
    """

    name: str
    group: str
    kind: str
    band_hz: Band
    rate_hz: float
    train_uv: Float
    test_uv: Float
    truth: Complex
    target: str
    densities: tuple[Float, Float, Float] | None = None

    def at(self) -> NDArray[np.intp]:
        """Return the test samples that are grid points, about every 20 ms, edges left out."""
        first, last = round(START_S * self.rate_hz), len(self.test_uv) - round(END_S * self.rate_hz)
        return np.arange(first, last, hop_samples(self.rate_hz))

    def envelope(self, at: NDArray[np.intp], lag_s: float) -> Float:
        """Return the true amplitude `lag_s` before each of the samples `at`, interpolated."""
        when = at - lag_s * self.rate_hz
        return np.interp(when, np.arange(len(self.truth)), np.abs(self.truth))


# ---------------------------------------------------------------- simulation


def simulated_cases(seeds: int) -> Iterator[Case]:
    """Yield every kind and signal-to-noise ratio for each seed."""
    for seed in range(seeds):
        for kind in ("gauss", "burst"):
            for snr_db in SIM_SNR_DB:
                yield simulated(kind, snr_db, seed)


def simulated(kind: str, snr_db: float, seed: int) -> Case:
    """Simulate one person.

    Parameters
    ----------
    kind : {'gauss', 'burst'}
        See the module.
    snr_db : float
        Rhythm over background power within 2 Hz of the rhythm.
    seed : int
        Of everything random; the same person for every kind and ratio.
    """
    who = np.random.default_rng([seed, 1])
    f0_hz, chi = float(who.uniform(8.6, 11.4)), float(who.uniform(0.8, 1.5))
    rng = np.random.default_rng([seed, 2 if kind == "gauss" else 3, round(snr_db)])
    n = round((SIM_TRAIN_S + SIM_TEST_S) * SIM_RATE_HZ)
    f = np.fft.rfftfreq(n, 1.0 / SIM_RATE_HZ)
    shape = pink(f, chi)
    make = resonator if kind == "gauss" else spindles
    z, rhythm = make(rng, n, f0_hz, f)
    near = np.abs(f - f0_hz) <= 2.0
    ratio = 10.0 ** (snr_db / 10.0)
    gain = 25.0 / shape[near].sum() / (f[1] - f[0])  # µV² of background near the rhythm
    amplify = np.sqrt(ratio * 25.0 / (rhythm[near].sum() * (f[1] - f[0])))
    z, rhythm = amplify * z, amplify**2 * rhythm
    x = z.real + coloured(rng, gain * shape, n)
    cut = round(SIM_TRAIN_S * SIM_RATE_HZ)
    return Case(
        name=f"{kind} {snr_db:g} dB seed {seed}",
        group=f"seed {seed}",
        kind=f"simulated {kind} {snr_db:g} dB",
        band_hz=(f0_hz - 2.0, f0_hz + 2.0),
        rate_hz=SIM_RATE_HZ,
        train_uv=x[:cut],
        test_uv=x[cut:],
        truth=z[cut:],
        target="rhythm",
        densities=(f, gain * shape + rhythm, rhythm),
    )


def pink(f: Float, chi: float) -> Float:
    """Return 1/f^chi, level below 1 Hz, plus white, of density 1.05 at 10 Hz."""
    return np.asarray((np.maximum(f, 1.0) / 10.0) ** -chi + WHITE_SHARE)


def coloured(rng: np.random.Generator, density: Float, n: int) -> Float:
    """Return Gaussian noise of a one-sided density in µV²/Hz."""
    white = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(white * np.sqrt(density * SIM_RATE_HZ / 2.0), n)


def resonator(rng: np.random.Generator, n: int, f0_hz: float, f: Float) -> tuple[Complex, Float]:
    """Return a complex Ornstein-Uhlenbeck rotation and the density of its real part."""
    w = 2 * np.pi / SIM_RATE_HZ
    pole = np.exp(-np.pi * RESONATOR_HZ / SIM_RATE_HZ + 1j * w * f0_hz)
    run_in = round(10.0 * SIM_RATE_HZ)
    drive = rng.standard_normal((2, n + run_in))
    z = lfilter([1.0], [1.0, -pole], drive[0] + 1j * drive[1])[run_in:]
    two_sided = sum(2.0 / np.abs(1.0 - pole * np.exp(-1j * w * s * f)) ** 2 for s in (1, -1))
    return z, np.asarray(two_sided / 4.0 * 2.0 / SIM_RATE_HZ)


def spindles(rng: np.random.Generator, n: int, f0_hz: float, f: Float) -> tuple[Complex, Float]:
    """Return a Poisson sum of spindles and the density of its real part (Campbell's theorem)."""
    z = np.zeros(n + round(4.0 * SIM_RATE_HZ), complex)
    onsets = np.flatnonzero(rng.random(n) < BURSTS_PER_S / SIM_RATE_HZ)
    for onset in onsets:
        spindle = _spindle(rng, f0_hz)
        z[onset : onset + len(spindle)] += spindle
    known_hz, density = _spindle_density(f0_hz)
    return z[:n], np.interp(f, known_hz, density)


@cache
def _spindle_density(f0_hz: float) -> tuple[Float, Float]:
    """Return frequencies and the one-sided density of the real part of the sum."""
    m = round(16.0 * SIM_RATE_HZ)
    energy = np.zeros(m)
    draws = 4000
    law = np.random.default_rng(0)
    for _ in range(draws):
        energy += np.abs(np.fft.fft(_spindle(law, f0_hz), m)) ** 2
    # Of the complex sum, two-sided: rate times the mean energy spectrum; its real part has half
    # of the sum of both sides, folded.
    one_sided = BURSTS_PER_S * energy / draws / SIM_RATE_HZ**2
    folded = (one_sided + np.roll(one_sided[::-1], 1)) / 2.0
    return np.arange(m // 2 + 1) * SIM_RATE_HZ / m, folded[: m // 2 + 1]


def _spindle(rng: np.random.Generator, f0_hz: float) -> Complex:
    """Return one Hann-shaped burst: 0.4-2 s, jittered frequency, random phase and amplitude."""
    n = round(rng.uniform(0.4, 2.0) * SIM_RATE_HZ)
    f_hz = f0_hz + 0.4 * rng.standard_normal()
    size = np.exp(0.4 * rng.standard_normal())
    phase = 2 * np.pi * (f_hz * np.arange(n) / SIM_RATE_HZ + rng.random())
    return np.asarray(size * np.hanning(n) * np.exp(1j * phase))


# ---------------------------------------------------------------- real recordings


def data_folder() -> Path | None:
    """Return the folder of real EEG beside the repository, None where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if all((folder / name).is_dir() for name in FOLDERS) else None


@dataclass(frozen=True, slots=True)
class _Recording:
    name: str
    rate_hz: float
    noisy_uv: Float  # (n_samples, n_sites)
    conditioned_uv: Float
    sites: tuple[str, ...]


def real_cases(folder: Path, bands: Mapping[str, Band | None] = BANDS) -> Iterator[Case]:
    """Yield every recording, channel, band and split.

    One restingIAF session trains and the other tests; of the others one half trains and the other
    tests; both ways round.
    """
    first, second = (
        _recording(folder / f"restingiaf/tute_01_{i}.set", ("Pz", "P4", "POz"), None)
        for i in (1, 2)
    )
    yield from _cases("restingIAF", (first, second), bands)
    for person in ("S001", "S002"):
        path = folder / f"eegbci/{person}R02.edf"
        yield from _cases(f"EEGBCI {person}", _halves(path, ("O1", "Oz", "O2"), 60.0), bands)
    for person in ("03", "10", "19"):
        path = folder / f"eegmat/Subject{person}_1.edf"
        sites = ("O1", "Pz", "O2")
        yield from _cases(f"EEGMAT {person}", _halves(path, sites, 50.0), bands)


def _recording(path: Path, sites: tuple[str, ...], notch_hz: float | None) -> _Recording:
    eeg = read_eeg(path)
    rate_hz = eeg.spec.rate_hz
    uv = eeg.samples[: _meaningful(eeg)].copy()
    rng = np.random.default_rng(sum(path.name.encode()))
    montage = choose_montage(eeg.spec, sites, ("as recorded",))
    at = [montage.columns[i] for i in montage.sites[: len(sites)]]
    f, density = welch(uv[:, at], rate_hz, nperseg=round(4 * rate_hz), axis=0)
    peak = density[(f >= 7.0) & (f <= 13.0)].max(axis=0)
    sd = np.sqrt(peak * 10.0 ** (NOISE_DB / 10.0) * rate_hz / 2.0)
    uv[:, at] += sd * rng.standard_normal((len(uv), len(at)))
    conditioner = Conditioner(
        ConditionSettings(rate_hz, hop_samples(rate_hz), montage, 1.0, notch_hz)
    )
    t = np.arange(len(uv)) / rate_hz
    parts = [
        conditioner.step(a, t[a : a + conditioner.beat], uv[a : a + conditioner.beat]).uv
        for a in range(0, len(uv), conditioner.beat)
    ]
    conditioned = np.concatenate(parts)[:, : len(sites)]
    return _Recording(path.stem, rate_hz, uv[:, at], conditioned, sites)


def _meaningful(eeg: EegFile) -> int:
    """Return the samples before a tail of equal values, with which some files are filled up."""
    moving = np.flatnonzero((np.diff(eeg.samples, axis=0) != 0.0).any(axis=1))
    return int(moving[-1]) + 2 if len(moving) else 0


def _halves(path: Path, sites: tuple[str, ...], notch_hz: float) -> tuple[_Recording, _Recording]:
    whole = _recording(path, sites, notch_hz)
    cut = len(whole.noisy_uv) // 2
    first, second = (
        _Recording(f"{whole.name} half {i + 1}", whole.rate_hz, whole.noisy_uv[part],
                   whole.conditioned_uv[part], sites)
        for i, part in enumerate((slice(None, cut), slice(cut, None)))
    )  # fmt: skip
    return first, second


def _cases(
    person: str, pair: tuple[_Recording, _Recording], bands: Mapping[str, Band | None]
) -> Iterator[Case]:
    for train, test in (pair, pair[::-1]):
        skip = round(2.0 * train.rate_hz)  # the high-pass has settled
        peak = _peak_hz(train.conditioned_uv[skip:], train.rate_hz)
        for label, fixed in bands.items():
            band_hz = fixed or (peak - 2.0, peak + 2.0)
            truths = _ideal(test.noisy_uv, band_hz, test.rate_hz)
            for k, site in enumerate(train.sites):
                yield Case(
                    name=f"{train.name} to {test.name} {site} {label}",
                    group=person,
                    kind=f"real {label}",
                    band_hz=band_hz,
                    rate_hz=train.rate_hz,
                    train_uv=train.conditioned_uv[skip:, k],
                    test_uv=test.conditioned_uv[:, k],
                    truth=truths[:, k],
                    target="band",
                )


def _peak_hz(uv: Float, rate_hz: float) -> float:
    """Return the alpha peak of the training part, 1/f flattened, mean over the channels."""
    f, density = welch(uv, rate_hz, nperseg=round(4 * rate_hz), axis=0)
    inside = (f >= 7.5) & (f <= 12.5)
    return float(f[inside][np.argmax((density.mean(axis=1) * f)[inside])])


def _ideal(uv: Float, band_hz: Band, rate_hz: float) -> Complex:
    """Return the ideal one-sided band-pass of a recording, trend removed, mirrored at its ends."""
    x = detrend(uv, axis=0)
    n = round(4.0 * rate_hz)
    x = np.concatenate([2 * x[0] - x[n:0:-1], x, 2 * x[-1] - x[-2 : -n - 2 : -1]])
    f = np.fft.fftfreq(len(x), 1.0 / rate_hz)
    inside = (f >= band_hz[0]) & (f <= band_hz[1])
    return np.asarray(np.fft.ifft(2.0 * inside[:, None] * np.fft.fft(x, axis=0), axis=0)[n:-n])
