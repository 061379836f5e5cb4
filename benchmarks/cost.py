"""What a grid point of band powers costs, beside what others compute, at every size of cap.

``uv run --group bench python -m benchmarks.cost`` prints a table per sampling rate, one of ratios
and one of targets. Every method gives the power of five bands at every channel, at every grid
point, and all of them take turns in one process with one BLAS thread.

What is counted is the CPU time of the process, so that another process's turn is not charged to a
method; caches and memory are shared with it all the same, therefore the minimum stands beside the
median and ratios are formed within each round.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.signal import butter, lfilter, sosfilt, welch
from threadpoolctl import threadpool_info, threadpool_limits

from benchmarks.table import Table, machine, median_interval
from engine.estimate import Estimator, Readout, Source, products
from engine.frames import Float, hop_samples
from engine.wiener import design, spectrum

__all__ = [
    "BANDS_HZ",
    "METHODS",
    "Cell",
    "Stream",
    "circumstances",
    "load_now",
    "main",
    "measure",
    "pink_noise",
    "run",
    "tables",
]

BANDS_HZ = {
    "theta": (4.0, 8.0),
    "alpha": (8.0, 12.0),
    "SMR": (12.0, 15.0),
    "beta": (15.0, 25.0),
    "high beta": (20.0, 30.0),
}
CHANNELS = (8, 32, 64, 128, 256, 512, 1024)
RATES_HZ = (250.0, 500.0, 1000.0, 2048.0)
ROUNDS, QUICK_ROUNDS = 15, 5
AT_LEAST_S = 0.01  # of one method in one round: a clock's own cost then counts for nothing
STREAM_S = 4.0  # what is fed in turns round
OURS = "Neuroloop"
LINEAR = 1.1  # the largest exponent of the cost over channels that is still called linear


@dataclass(frozen=True, slots=True)
class Stream:
    """What is fed to the methods, in both layouts, so that none has to turn it round.

    Parameters
    ----------
    rate_hz : float
    uv : ndarray, shape (n_samples, n_channels)
        Whole hops, twice the same after another: a window may begin anywhere in the first half.
    """

    rate_hz: float
    uv: Float
    across: Float = field(init=False)  # (n_channels, n_samples)
    hop: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "across", np.ascontiguousarray(self.uv.T))
        object.__setattr__(self, "hop", hop_samples(self.rate_hz))

    @property
    def hops(self) -> int:
        """Hops before the stream repeats itself."""
        return len(self.uv) // 2 // self.hop

    def hop_at(self, k: int) -> slice:
        """Return where the `k`-th hop lies."""
        at = (k % self.hops) * self.hop
        return slice(at, at + self.hop)

    def window(self, k: int, seconds: float) -> Float:
        """Return the newest seconds at the end of hop `k`, shape (n_channels, n)."""
        n = round(seconds * self.rate_hz)
        end = (k % self.hops + 1) * self.hop + len(self.uv) // 2
        return self.across[:, end - n : end]


class Method(Protocol):
    """One way to the powers of all bands; built once, then asked at every hop."""

    def __call__(self, k: int) -> Float:
        """Take hop `k`; return powers in µV², shape (n_bands, n_channels)."""
        ...


def pink_noise(rate_hz: float, n_channels: int, seconds: float, seed: int = 0) -> Float:
    """Return noise of density 1/f above 1 Hz, sd 10 µV, shape (n_samples, n_channels).

    Sixteen different channels, turned and repeated: their number is a matter of cost only.
    """
    n = round(seconds * rate_hz)
    rng = np.random.default_rng(seed)
    f = np.fft.rfftfreq(n, 1.0 / rate_hz)
    shaped = np.fft.rfft(rng.standard_normal((min(n_channels, 16), n)), axis=1)
    x = np.fft.irfft(shaped / np.sqrt(np.maximum(f, 1.0)), n, axis=1)
    x *= 10.0 / x.std(axis=1, keepdims=True)
    return np.ascontiguousarray(
        np.stack([np.roll(x[i % len(x)], 37 * i) for i in range(n_channels)], axis=1)
    )


def stream(rate_hz: float, n_channels: int, seconds: float = STREAM_S) -> Stream:
    """Return noise to feed, whole hops."""
    hop = hop_samples(rate_hz)
    n = round(seconds * rate_hz) // hop * hop
    x = pink_noise(rate_hz, n_channels, n / rate_hz)
    return Stream(rate_hz, np.concatenate([x, x]))


# ---------------------------------------------------------------- ours


class Ours:
    """What the engine runs at a grid point: take a hop, one look, the powers of every channel.

    Wiener kernels of default length and delay, fitted to a minute of the same kind of noise: 2 s
    for theta, alpha and SMR, 1 s for both betas.
    """

    def __init__(self, of: Stream) -> None:
        rest = pink_noise(of.rate_hz, 1, 60.0, seed=1)
        found = spectrum(rest, np.ones(len(rest), bool), of.rate_hz)
        kernels = [design(found, band, mains_hz=50.0) for band in BANDS_HZ.values()]
        n = of.uv.shape[1]
        self._of = of
        self._n = n
        self._products = products(kernels, n)
        self._estimator = Estimator(tuple(range(n)), max(len(k.taps) for k in kernels))
        # The engine calibrates by the person's spectrum; a sine at the centre does for this noise.
        gains = [1.0 / float(k.reads(sum(k.band_hz) / 2.0)[0]) for k in kernels]
        sources = [Source(b, (c,), (g,)) for b, g in enumerate(gains) for c in range(n)]
        self._readout = Readout(sources, n, len(kernels))

    def __call__(self, k: int) -> Float:
        self._estimator.push(self._of.uv[self._of.hop_at(k)])
        powers = self._readout.powers(self._estimator.look(self._products))
        return powers.reshape(len(BANDS_HZ), self._n)


# ---------------------------------------------------------------- peers


class SosfiltBank:
    """A Butterworth band-pass per band with carried state, squared, and a one-pole average."""

    def __init__(self, of: Stream, order: int) -> None:
        self._of, n = of, of.uv.shape[1]
        bands = BANDS_HZ.values()
        self._sos = [butter(order, b, "bandpass", fs=of.rate_hz, output="sos") for b in bands]
        self._zi = [np.zeros((len(s), n, 2)) for s in self._sos]
        self._keep = math.exp(-1.0 / (0.25 * of.rate_hz))
        self._mean = np.zeros((len(self._sos), n, 1))
        self._squared = np.empty((len(self._sos), n, of.hop))

    def __call__(self, k: int) -> Float:
        x = self._of.across[:, self._of.hop_at(k)]
        for b, sos in enumerate(self._sos):
            y, self._zi[b] = sosfilt(sos, x, axis=-1, zi=self._zi[b])
            np.multiply(y, y, out=self._squared[b])
        one = [1.0, -self._keep]
        y, self._mean = lfilter([1.0 - self._keep], one, self._squared, axis=-1, zi=self._mean)
        return np.asarray(y[:, :, -1])


def _bins(f: NDArray[Any]) -> Float:
    """Return what adds up the bins of each band, shape (n_bins, n_bands)."""
    return np.stack([((f >= lo) & (f < hi)).astype(float) for lo, hi in BANDS_HZ.values()], axis=1)


class PerHopFft:
    """The FFT of the newest second, Hann window; only the bins of the bands are squared."""

    def __init__(self, of: Stream) -> None:
        self._of, n = of, round(of.rate_hz)
        taper = np.hanning(n + 1)[:n]
        f = np.fft.rfftfreq(n, 1.0 / of.rate_hz)
        self._used = slice(0, int(np.searchsorted(f, 30.0)) + 1)
        self._taper = taper
        self._sum = _bins(f[self._used]) * 2.0 / (n * float((taper**2).sum()))

    def __call__(self, k: int) -> Float:
        z = rfft(self._of.window(k, 1.0) * self._taper, axis=-1)[:, self._used]
        return np.asarray(((z.real * z.real + z.imag * z.imag) @ self._sum).T)


class PerHopWelch:
    """`scipy.signal.welch` of the newest two seconds, one-second segments, half overlapping."""

    def __init__(self, of: Stream) -> None:
        self._of, self._n = of, round(of.rate_hz)
        self._sum = _bins(np.fft.rfftfreq(self._n, 1.0 / of.rate_hz)) * of.rate_hz / self._n

    def __call__(self, k: int) -> Float:
        _, density = welch(self._of.window(k, 2.0), self._of.rate_hz, nperseg=self._n, axis=-1)
        return np.asarray((density @ self._sum).T)


class MneWelch:
    """`mne.time_frequency.psd_array_welch` of the newest two seconds of a stream.

    So do users of MNE-LSL: `get_data` of a window, then MNE. Its own filters are no path to five
    bands, since a stream has one; they are `scipy.signal.sosfilt` with carried state, the bank
    above. What its buffer costs (`numpy.roll` of all of it at every chunk) is not charged.
    """

    def __init__(self, of: Stream) -> None:
        from mne.time_frequency import psd_array_welch

        self._of, self._n, self._welch = of, round(of.rate_hz), psd_array_welch
        f = np.fft.rfftfreq(self._n, 1.0 / of.rate_hz)
        self._sum = _bins(f[(f >= 4.0) & (f <= 30.0)]) * of.rate_hz / self._n

    def __call__(self, k: int) -> Float:
        density, _ = self._welch(
            self._of.window(k, 2.0),
            self._of.rate_hz,
            fmin=4.0,
            fmax=30.0,
            n_fft=self._n,
            n_overlap=self._n // 2,
            window="hann",
            verbose="ERROR",
        )
        return np.asarray((density @ self._sum).T)


class BrainFlowWelch:
    """BrainFlow's `get_psd_welch` and `get_band_power` of the newest two seconds.

    One channel at a time, since it takes no more; segments of the power of two next to the rate,
    half overlapping, as in its examples. It reads 3/8 of a power, the Hann window's energy.
    """

    def __init__(self, of: Stream) -> None:
        from brainflow.data_filter import DataFilter, WindowOperations

        self._of, self._filter = of, DataFilter
        self._rate = round(of.rate_hz)
        self._window = WindowOperations.HANNING.value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it finds its library by what setuptools deprecates
            self._n_fft = int(DataFilter.get_nearest_power_of_two(self._rate))

    def __call__(self, k: int) -> Float:
        window = self._of.window(k, 2.0)
        out = np.empty((len(BANDS_HZ), len(window)))
        for c, x in enumerate(window):
            psd = self._filter.get_psd_welch(
                x, self._n_fft, self._n_fft // 2, self._rate, self._window
            )
            for b, (lo, hi) in enumerate(BANDS_HZ.values()):
                out[b, c] = self._filter.get_band_power(psd, lo, hi)
        return out


METHODS: Mapping[str, Callable[[Stream], Method]] = {
    OURS: Ours,
    "sosfilt bank, order 4": lambda of: SosfiltBank(of, 4),
    "sosfilt bank, order 2": lambda of: SosfiltBank(of, 2),
    "FFT 1 s": PerHopFft,
    "Welch 2 s (SciPy)": PerHopWelch,
    "Welch 2 s (MNE, as with MNE-LSL)": MneWelch,
    "Welch 2 s (BrainFlow)": BrainFlowWelch,
}


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Cell:
    """One size of cap at one rate.

    Parameters
    ----------
    rate_hz : float
    n_channels : int
    us : mapping of str to ndarray, shape (n_rounds,)
        CPU time of a grid point per method, µs; methods that could not be built are left out.
    absent : mapping of str to str
        Why not.
    """

    rate_hz: float
    n_channels: int
    us: Mapping[str, Float]
    absent: Mapping[str, str]

    @property
    def grid_hz(self) -> float:
        """Grid points per second."""
        return self.rate_hz / hop_samples(self.rate_hz)

    def share(self, method: str) -> float:
        """Return the median share of one core that a method takes."""
        return float(np.median(self.us[method])) * 1e-6 * self.grid_hz

    def ratio(self, method: str) -> tuple[float, float, float] | None:
        """Return how many times as much as ours, with the 95 % interval; None where absent."""
        if method not in self.us:
            return None
        times = self.us[method] / self.us[OURS]
        return median_interval(times, [str(i) for i in range(len(times))])


def measure(
    rate_hz: float,
    n_channels: int,
    rounds: int,
    methods: Mapping[str, Callable[[Stream], Method]] = METHODS,
    at_least_s: float = AT_LEAST_S,
) -> Cell:
    """Let all methods take turns on one stream.

    Parameters
    ----------
    rate_hz : float
    n_channels : int
    rounds : int
        Each method once in every round; the order turns, so that none always follows the same.
    methods : mapping of str to callable
    at_least_s : float
        A turn is as many hops as take this long.
    """
    fed = stream(rate_hz, n_channels)
    ready: dict[str, tuple[Method, int]] = {}
    absent: dict[str, str] = {}
    for name, make in methods.items():
        try:
            method = make(fed)
            for k in range(3):  # warm-up: caches, plans, lazily loaded libraries
                method(k)
        except ImportError as error:
            absent[name] = f"not installed ({error.name or error})"
            continue
        n, spent = 1, _spent_s(method, 1)
        while spent < at_least_s:
            n = max(2 * n, math.ceil(n * at_least_s / max(spent, 1e-6)))
            spent = _spent_s(method, n)
        ready[name] = (method, n)
    taken: dict[str, list[float]] = {name: [] for name in ready}
    names = list(ready)
    for r in range(rounds):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            method, n = ready[name]
            taken[name].append(1e6 * _spent_s(method, n) / n)
    return Cell(rate_hz, n_channels, {m: np.array(v) for m, v in taken.items()}, absent)


def _spent_s(method: Method, n: int) -> float:
    began = time.process_time()
    for k in range(n):
        method(k)
    return time.process_time() - began


def circumstances(load_before: Sequence[float] | None = None) -> str:
    """Return the BLAS, its threads, and how busy the machine is."""
    blas = sorted(
        {
            f"{p.get('internal_api')} {p.get('version')} ({p.get('architecture')}), "
            f"{p.get('num_threads')} thread"
            for p in threadpool_info()
            if p.get("user_api") == "blas"
        }
    )
    said = "BLAS: " + ("; ".join(blas) or "unknown") + "."
    if load_before is not None:
        now = load_now()
        said += (
            f" Load average over a minute {load_before[0]:.1f} at the start, {now[0]:.1f} at the "
            f"end, of {os.cpu_count()} cores."
        )
    return said


def load_now() -> tuple[float, ...]:
    return os.getloadavg() if hasattr(os, "getloadavg") else (math.nan,) * 3


# ---------------------------------------------------------------- tables


def _us(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _times(ratio: tuple[float, float, float] | None) -> str:
    if ratio is None:
        return "absent"
    digits = 0 if ratio[0] >= 100 else 1
    return f"{ratio[0]:,.{digits}f} ({ratio[1]:,.{digits}f}-{ratio[2]:,.{digits}f})"


def slope(cells: Sequence[Cell], rate_hz: float) -> float:
    """Return the exponent of our cost over channels from 256 on, NaN without such sizes."""
    mine = [c for c in cells if c.rate_hz == rate_hz and c.n_channels >= 256]
    if len(mine) < 2:
        return math.nan
    n = np.log([c.n_channels for c in mine])
    return float(np.polyfit(n, np.log([c.us[OURS].min() for c in mine]), 1)[0])


def targets(cells: Sequence[Cell]) -> Table:
    """Return what was asked for and whether it is so."""
    rows: list[tuple[str, ...]] = []

    def judge(what: str, found: str, met: bool) -> None:
        rows.append((what, found, "met" if met else "**missed**"))

    large = next((c for c in cells if c.rate_hz == 2048.0 and c.n_channels == 256), None)
    if large is not None:
        least = float(large.us[OURS].min()) * 1e-6 * large.grid_hz
        share = large.share(OURS)
        found = f"{share:.1%} (least {least:.1%})"
        judge("256 channels x 2048 Hz x 5 bands: under 3 % of a core", found, share < 0.03)
        for name, wanted in (
            ("sosfilt bank, order 4", 2.5),
            ("FFT 1 s", 8.0),
            ("Welch 2 s (BrainFlow)", 100.0),
        ):
            ratio = large.ratio(name)
            what = f"the same: {name} costs at least {wanted:g} times as much"
            if ratio is None:
                rows.append((what, large.absent[name], "not measured"))
            else:
                judge(what, _times(ratio), ratio[0] >= wanted)
    for rate_hz in dict.fromkeys(c.rate_hz for c in cells):
        s = slope(cells, rate_hz)
        if math.isfinite(s):
            what = f"linear in channels, 256 to 1024 at {rate_hz:g} Hz (exponent up to {LINEAR:g})"
            judge(what, f"{s:.2f}", s <= LINEAR)
    return Table("Cost: targets", ("target", "found", ""), tuple(rows))


def tables(cells: Sequence[Cell], note: str = "") -> list[Table]:
    """Return a table of costs per rate, the ratios, and the targets."""
    out = []
    for rate_hz in dict.fromkeys(c.rate_hz for c in cells):
        mine = [c for c in cells if c.rate_hz == rate_hz]
        rows = [
            (
                name,
                *(
                    f"{_us(float(np.median(c.us[name])))} ({_us(float(c.us[name].min()))})"
                    if name in c.us
                    else c.absent[name]
                    for c in mine
                ),
            )
            for name in METHODS
        ]
        core = (f"{OURS}, share of a core", *(f"{c.share(OURS):.2%}" for c in mine))
        rows.append(core)
        out.append(
            Table(
                f"Cost of 5 bands at {rate_hz:g} Hz: µs of CPU per grid point, median (least)",
                ("method", *(f"{c.n_channels} ch" for c in mine)),
                tuple(rows),
                (f"A grid point every {hop_samples(rate_hz)} samples.",),
            )
        )
    headings = [f"{c.n_channels} ch, {c.rate_hz:g} Hz" for c in cells]
    rows = [
        (heading, *(_times(c.ratio(name)) for name in METHODS if name != OURS))
        for heading, c in zip(headings, cells, strict=True)
    ]
    names = tuple(name for name in METHODS if name != OURS)
    told = f"Median over rounds of the ratio within a round, 95 % bootstrap interval. {note}"
    out.append(Table("Cost in multiples of ours", ("size", *names), tuple(rows), (told.strip(),)))
    return [*out, targets(cells)]


def run(quick: bool) -> list[Table]:
    """Measure every size and rate; `quick` takes three sizes at two rates."""
    before = load_now()
    with threadpool_limits(limits=1):
        sizes = (8, 256, 1024) if quick else CHANNELS
        rates = (250.0, 2048.0) if quick else RATES_HZ
        rounds = QUICK_ROUNDS if quick else ROUNDS
        cells = [measure(rate, n, rounds) for rate in rates for n in sizes]
        return tables(cells, circumstances(before))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, about half a minute")
    given: Any = parser.parse_args(arguments)
    made = run(given.quick)
    sys.stdout.write(machine() + "\n\n" + "\n".join(t.markdown() for t in made))


if __name__ == "__main__":
    main()
