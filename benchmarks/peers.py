"""The other ways to a causal envelope, each from its paper's formula.

Every peer is a fixed set of complex FIR kernels (`Fir`: the amplitude is the root of the summed
squared magnitudes) or a recursion over the whole stream (`Recursive`). Each family comes as its
whole parameter grid: the benchmark lets a peer use, per case and lag, the setting that is best on
the test data. Amplitudes are scaled so that a sine of amplitude A in the band reads about A.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_discrete_are, toeplitz
from scipy.optimize import minimize
from scipy.signal import butter, freqz_sos, get_window, lfilter, sosfilt, stft, welch

from engine.frames import Float

__all__ = [
    "Fir",
    "Oscillators",
    "Peer",
    "Recursive",
    "amplitudes",
    "cfir",
    "every_peer",
    "fit_oscillators",
    "kalman",
    "wiener",
]

Complex = NDArray[np.complex128]
Band = tuple[float, float]

TAPS_S = (0.25, 0.5, 1.0, 2.0)
DELAYS_S = (-0.05, -0.025, *np.arange(0.0, 0.3001, 0.025).tolist(), 0.35, 0.4, 0.45, 0.5)
GRID_S = 4.0  # frequency grid of the published cFIR code: 2000 bins at 500 Hz
IIR_ORDERS = (1, 2, 3, 4)
IIR_WIDTHS = (1.0, 1.5)
SMOOTH_ORDERS = (1, 2)
SMOOTH_HZ = (0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0)
ECHT_WINDOWS_S = (0.25, 0.5, 1.0, 2.0)
ECHT_ORDERS = (1, 2, 3, 4)
ECHT_WIDTHS = (1.0, 1.5, 2.0)
FFT_WINDOWS_S = (0.5, 1.0, 2.0)
WELCH_S = ((1.0, 0.5), (2.0, 0.5), (2.0, 1.0))
WHITTLE_HZ = (1.0, 45.0)


@dataclass(frozen=True, slots=True)
class Fir:
    """A peer that is a set of fixed kernels.

    Parameters
    ----------
    family, setting : str
        The method and the point of its grid.
    taps : ndarray of complex, shape (n_kernels, n_taps)
        Oldest sample first.
    """

    family: str
    setting: str
    taps: Complex


@dataclass(frozen=True, slots=True)
class Recursive:
    """A peer that carries a state from sample to sample.

    Parameters
    ----------
    family, setting : str
        The method and the point of its grid.
    run : callable
        From the stream, shape (n_samples,), to its amplitude, same shape.
    """

    family: str
    setting: str
    run: Callable[[Float], Float]


Peer = Fir | Recursive


def amplitudes(peers: Sequence[Peer], x_uv: Float, at: NDArray[np.intp]) -> Float:
    """Return the amplitude of every peer at the samples `at`.

    Kernels of one length share one matrix product over the strided windows.

    Parameters
    ----------
    peers : sequence of Peer
        Any mixture.
    x_uv : ndarray, shape (n_samples,)
        The stream.
    at : ndarray of int, shape (n_points,)
        Newest sample of each point; at least the longest kernel minus one.

    Returns
    -------
    ndarray, shape (n_peers, n_points)
    """
    out = np.empty((len(peers), len(at)))
    by_length: dict[int, list[int]] = {}
    for i, peer in enumerate(peers):
        if isinstance(peer, Recursive):
            out[i] = peer.run(x_uv)[at]
        else:
            by_length.setdefault(peer.taps.shape[1], []).append(i)
    for n_taps, members in by_length.items():
        windows = sliding_window_view(x_uv, n_taps)[at - (n_taps - 1)]
        taps = np.concatenate([_taps(peers[i]) for i in members])
        real = windows @ np.concatenate([taps.real, taps.imag]).T
        squared = real[:, : len(taps)] ** 2 + real[:, len(taps) :] ** 2
        first = np.cumsum([0] + [len(_taps(peers[i])) for i in members])[:-1]
        out[members] = np.sqrt(np.add.reduceat(squared, first, axis=1)).T
    return out


def _taps(peer: Peer) -> Complex:
    assert isinstance(peer, Fir)
    return peer.taps


def every_peer(train_uv: Float, band_hz: Band, rate_hz: float) -> list[Peer]:
    """Return every family with its whole grid for one band.

    Parameters
    ----------
    train_uv : ndarray, shape (n_samples,)
        What the fitted ones (weighted cFIR, Kalman) may see.
    band_hz : tuple of float
        Lower and upper edge.
    rate_hz : float
        Sampling rate.
    """
    return [
        *cfir(band_hz, rate_hz),
        *cfir(band_hz, rate_hz, train_uv),
        *echt(band_hz, rate_hz),
        *rectified(band_hz, rate_hz),
        *fft_window(band_hz, rate_hz),
        *welch_window(band_hz, rate_hz),
        *kalman(train_uv, band_hz, rate_hz),
    ]


# ---------------------------------------------------------------- least-squares FIR


def cfir(
    band_hz: Band,
    rate_hz: float,
    train_uv: Float | None = None,
    taps_s: Iterable[float] = TAPS_S,
    delays_s: Iterable[float] = DELAYS_S,
) -> list[Fir]:
    """Complex FIR closest to the delayed ideal one-sided band filter (Smetanin 2020).

    With D(f) = 2 exp(-2πi f d) inside the band and 0 elsewhere, on a uniform grid of frequencies
    over the whole circle, the taps h minimise Σ w(f) |D(f) - Σ h[k] exp(-2πi f k)|². Without
    weights that is D's truncated inverse transform; with them a Toeplitz system. The weights are
    those of the published code: the median over time of the magnitude (not the power) of the
    short-time Fourier transform of the training part.
    """
    n_fft = round(GRID_S * rate_hz)
    f = np.fft.fftfreq(n_fft, 1.0 / rate_hz)
    inside = (f >= band_hz[0]) & (f <= band_hz[1])
    delays = list(delays_s)
    ideal = 2.0 * inside[:, None] * np.exp(-2j * np.pi * np.outer(f, delays))
    if train_uv is None:
        weights, family = np.ones(n_fft), "cFIR"
    else:
        _, _, z = stft(train_uv, rate_hz, nperseg=n_fft, nfft=n_fft, return_onesided=False)
        weights, family = np.median(np.abs(z), axis=1), "weighted cFIR"
    r = np.fft.ifft(weights).real
    p = np.fft.ifft(weights[:, None] * ideal, axis=0)
    out = []
    for seconds in taps_s:
        n = round(seconds * rate_hz)
        h = p[:n] / r[0] if train_uv is None else _solve_toeplitz(r[:n], p[:n])
        out += [
            Fir(family, f"{seconds:g} s taps, {1000 * d:.0f} ms", h[None, ::-1, k])
            for k, d in enumerate(delays)
        ]
    return out


def _solve_toeplitz(r: Float, p: Complex) -> Complex:
    """Solve the symmetric Toeplitz system for all columns, no ridge but rounding's."""
    matrix = toeplitz(r)
    matrix[np.diag_indices_from(matrix)] += 1e-10 * r[0]
    solved: Complex = cho_solve(cho_factor(matrix, lower=True, check_finite=False), p)
    return solved


def wiener(
    f_hz: Float,
    psd: Float,
    target_psd: Float,
    rate_hz: float,
    delays_s: Iterable[float],
    taps_s: float = 1.0,
    ridge: float = 1e-9,
    family: str = "limit",
) -> list[Fir]:
    """The best linear causal estimate of the target's analytic signal for given densities.

    Taps h solve R h = p with R[i - j] the inverse transform of the signal's two-sided density and
    p[k] that of 2 S(f) exp(-2πi f d) over f > 0, S the target's density. Given the true densities
    (or those of the test data) it is the limit that no causal linear filter passes.

    Parameters
    ----------
    f_hz, psd, target_psd : ndarray, shape (n_freqs,)
        Densities of the signal and of the target within it, any common scale; interpolated.
    rate_hz : float
        Sampling rate.
    delays_s : iterable of float
        How far back the estimate speaks of.
    taps_s : float
        Length.
    ridge : float
        White power added to R, relative to its diagonal.
    """
    n_fft = 16 * round(rate_hz * max(1.0, taps_s))
    f = np.fft.fftfreq(n_fft, 1.0 / rate_hz)
    total = np.interp(np.abs(f), f_hz, psd)
    target = np.where(f > 0, np.interp(np.abs(f), f_hz, target_psd), 0.0)
    n = round(taps_s * rate_hz)
    r = np.fft.ifft(total).real[:n]
    r[0] *= 1.0 + ridge
    delays = list(delays_s)
    shift = np.exp(-2j * np.pi * np.outer(f, delays))
    h = _solve_toeplitz(r, np.fft.ifft(2.0 * target[:, None] * shift, axis=0)[:n])
    return [Fir(family, f"{1000 * d:.0f} ms", h[None, ::-1, k]) for k, d in enumerate(delays)]


# ---------------------------------------------------------------- windows


def echt(band_hz: Band, rate_hz: float) -> list[Fir]:
    """Endpoint-corrected Hilbert transform (Schreglmann 2021).

    The FFT of the newest window is made one-sided, multiplied by the response of a causal
    Butterworth band-pass and transformed back; its last sample is the estimate. That sample is a
    fixed linear form of the window: h[n] = (1/N) Σ a_k B(f_k) exp(2πi k (N - 1 - n) / N), a_k = 2
    for positive frequencies.
    """
    out = []
    centre, half = sum(band_hz) / 2, (band_hz[1] - band_hz[0]) / 2
    for seconds, order, width in product(ECHT_WINDOWS_S, ECHT_ORDERS, ECHT_WIDTHS):
        n = round(seconds * rate_hz)
        lo, hi = max(0.5, centre - width * half), centre + width * half
        sos = butter(order, (lo, hi), "bandpass", fs=rate_hz, output="sos")
        k = np.arange(1, (n + 1) // 2)
        _, response = freqz_sos(sos, worN=2 * np.pi * k / n)
        spectrum = np.zeros(n, complex)
        spectrum[k] = 2.0 * response
        setting = f"{seconds:g} s, order {order}, width x{width:g}"
        # ifft at m is (1/N) Σ spectrum[k] exp(2πi k m / N), and m = N - 1 - n.
        out.append(Fir("ecHT", setting, np.fft.ifft(spectrum)[::-1][None]))
    return out


def fft_window(band_hz: Band, rate_hz: float) -> list[Fir]:
    """Root of the power in the band's bins of one Hann-windowed FFT of the newest window."""
    return [
        Fir(f"FFT {s:g} s", "Hann", _bins(band_hz, rate_hz, round(s * rate_hz)))
        for s in FFT_WINDOWS_S
    ]


def welch_window(band_hz: Band, rate_hz: float) -> list[Fir]:
    """Root of the band's power in the Welch average over the newest window."""
    out = []
    for window_s, segment_s in WELCH_S:
        n, m = round(window_s * rate_hz), round(segment_s * rate_hz)
        bins = _bins(band_hz, rate_hz, m)
        starts = np.arange(0, n - m + 1, m // 2)
        taps = np.zeros((len(starts), len(bins), n), complex)
        for i, start in enumerate(starts):
            taps[i, :, start : start + m] = bins / np.sqrt(len(starts))
        setting = f"{segment_s:g} s segments"
        out.append(Fir(f"Welch {window_s:g} s", setting, taps.reshape(-1, n)))
    return out


def _bins(band_hz: Band, rate_hz: float, n: int) -> Complex:
    """Return the Hann-windowed Fourier kernels of the bins inside the band."""
    f = np.fft.rfftfreq(n, 1.0 / rate_hz)
    inside = np.flatnonzero((f >= band_hz[0]) & (f <= band_hz[1]))
    window = get_window("hann", n)
    scale = 2.0 / np.sqrt(n * (window**2).sum())
    return np.asarray(scale * window * np.exp(-2j * np.pi * np.outer(inside, np.arange(n)) / n))


# ---------------------------------------------------------------- recursions


def rectified(band_hz: Band, rate_hz: float) -> list[Recursive]:
    """Butterworth band-pass, absolute value, Butterworth low-pass."""
    centre, half = sum(band_hz) / 2, (band_hz[1] - band_hz[0]) / 2
    lows = [
        (f"low-pass order {order} {hz:g} Hz", butter(order, hz, fs=rate_hz, output="sos"))
        for order, hz in product(SMOOTH_ORDERS, SMOOTH_HZ)
    ]
    out = []
    for order, width in product(IIR_ORDERS, IIR_WIDTHS):
        edges = (max(0.5, centre - width * half), centre + width * half)
        passes = butter(order, edges, "bandpass", fs=rate_hz, output="sos")
        for label, smooth in lows:
            setting = f"order {order} x{width:g}, {label}"
            out.append(Recursive("IIR+rectify+LP", setting, _rectify(passes, smooth)))
    return out


def _rectify(passes: Float, smooth: Float) -> Callable[[Float], Float]:
    def run(x_uv: Float) -> Float:
        y: Float = sosfilt(smooth, np.abs(sosfilt(passes, x_uv)))
        return y * (np.pi / 2)

    return run


@dataclass(frozen=True, slots=True)
class Oscillators:
    """Matsuda and Komaki's model (2017): damped noisy rotations, an AR(1) background, white noise.

    Parameters
    ----------
    f_hz, damping, drive : tuple of float
        Of each oscillator: frequency, factor per sample, standard deviation of the noise that
        enters each of its two coordinates.
    ar, ar_drive : float
        The AR(1) background.
    white : float
        Standard deviation of the observation noise.
    """

    f_hz: tuple[float, ...]
    damping: tuple[float, ...]
    drive: tuple[float, ...]
    ar: float
    ar_drive: float
    white: float

    def psd(self, f_hz: Float, rate_hz: float) -> Float:
        """Return the one-sided density of the model in µV²/Hz."""
        w = 2 * np.pi * f_hz / rate_hz
        total = np.full(len(w), self.white**2)
        total += self.ar_drive**2 / np.abs(1 - self.ar * np.exp(-1j * w)) ** 2
        for f, a, s in zip(self.f_hz, self.damping, self.drive, strict=True):
            turn = 2 * np.pi * f / rate_hz
            for sign in (1, -1):
                total += 0.5 * s**2 / np.abs(1 - a * np.exp(1j * (sign * turn - w))) ** 2
        return np.asarray(2.0 * total / rate_hz)


def fit_oscillators(train_uv: Float, starts_hz: Sequence[float], rate_hz: float) -> Oscillators:
    """Fit by the Whittle likelihood, Σ ln S(f) + I(f) / S(f) over 1-45 Hz, I a 4 s Welch density.

    Parameters
    ----------
    train_uv : ndarray, shape (n_samples,)
        The training part.
    starts_hz : sequence of float
        Where each oscillator starts; its frequency may move by 2 Hz.
    rate_hz : float
        Sampling rate.
    """
    f, density = welch(train_uv, rate_hz, nperseg=min(len(train_uv), round(4 * rate_hz)))
    keep = (f >= WHITTLE_HZ[0]) & (f <= min(WHITTLE_HZ[1], 0.4 * rate_hz))
    f, density = f[keep], density[keep]
    scale = float(density.mean()) * rate_hz / 2  # of a white signal with this density
    n = len(starts_hz)

    def unpack(v: Float) -> Oscillators:
        widths = np.exp(v[n : 2 * n])  # Hz between the half-power points
        damping = np.exp(-np.pi * widths / rate_hz)
        drive = np.sqrt(scale * np.exp(v[2 * n : 3 * n]) * (1 - damping**2))
        ar = float(np.exp(-2 * np.pi * np.exp(v[3 * n]) / rate_hz))
        ar_drive = float(np.sqrt(scale * np.exp(v[3 * n + 1]) * (1 - ar**2)))
        white = float(np.sqrt(scale * np.exp(v[3 * n + 2])))
        return Oscillators(
            tuple(v[:n].tolist()), tuple(damping.tolist()), tuple(drive.tolist()), ar, ar_drive,
            white,
        )  # fmt: skip

    def cost(v: Float) -> float:
        s = unpack(v).psd(f, rate_hz)
        return float(np.mean(np.log(s) + density / s))

    start = [*starts_hz, *[np.log(1.5)] * n, *[np.log(0.05)] * n, np.log(2.0), -1.0, -5.0]
    bounds = [(s - 2.0, s + 2.0) for s in starts_hz]
    bounds += [(np.log(0.2), np.log(15.0))] * n + [(-14.0, 3.0)] * n
    bounds += [(np.log(0.05), np.log(30.0)), (-14.0, 5.0), (-14.0, 1.0)]
    found = minimize(cost, np.array(start), method="L-BFGS-B", bounds=bounds)
    return unpack(found.x)


def kalman(train_uv: Float, band_hz: Band, rate_hz: float) -> list[Recursive]:
    """Steady-state Kalman filter on Matsuda and Komaki's oscillators; the first is the rhythm.

    The grid: the rhythm alone, with a slower, with a faster second oscillator.
    """
    centre = sum(band_hz) / 2
    out = []
    for label, other in (("alone", ()), ("+ slower", (0.5 * centre,)), ("+ faster", (2 * centre,))):
        model = fit_oscillators(train_uv, (centre, *other), rate_hz)
        out.append(Recursive("Kalman (Matsuda-Komaki)", label, steady_state(model, rate_hz)))
    return out


def steady_state(model: Oscillators, rate_hz: float) -> Callable[[Float], Float]:
    """Return the amplitude of the first oscillator given the past, as a run over a stream.

    The filtered state s = (I - K C) A s + K x is diagonalised, so that the recursion becomes a sum
    of complex one-pole filters.
    """
    n = 2 * len(model.f_hz) + 1
    step = np.zeros((n, n))
    noise = np.zeros(n)
    sees = np.zeros(n)
    for j, (f, a, s) in enumerate(zip(model.f_hz, model.damping, model.drive, strict=True)):
        c, d = np.cos(2 * np.pi * f / rate_hz), np.sin(2 * np.pi * f / rate_hz)
        step[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = a * np.array([[c, -d], [d, c]])
        noise[2 * j : 2 * j + 2] = s**2
        sees[2 * j] = 1.0
    step[-1, -1], noise[-1], sees[-1] = model.ar, model.ar_drive**2, 1.0
    variance = np.array([[model.white**2]])
    spread = solve_discrete_are(step.T, sees[:, None], np.diag(noise), variance)
    gain = spread @ sees / (sees @ spread @ sees + model.white**2)
    poles, vectors = np.linalg.eig((np.eye(n) - np.outer(gain, sees)) @ step)
    weights = (vectors[0] + 1j * vectors[1]) * np.linalg.solve(vectors, gain)

    def run(x_uv: Float) -> Float:
        z = sum(
            lfilter([weight], [1.0, -pole], x_uv)
            for weight, pole in zip(weights, poles, strict=True)
        )
        return np.asarray(np.abs(z))

    return run
