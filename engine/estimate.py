"""Band signals at the grid points: every filter, every channel, one matrix product.

A narrow band (upper edge at most three times the lower) is estimated by a causal complex FIR
kernel, the *fixed* one until a person's own is fitted (`engine.wiener`): the impulse response of a
one-sided ("analytic") filter, a 4th-order Butterworth low-pass of half the bandwidth turned by the
centre frequency. Its output z is complex; ``2 |z|²`` is the band's power in µV² at that very
sample, without the ripple at twice the rhythm that a squared real filter shows. A sine of amplitude
A in the band reads its mean square, A²/2.

All kernels stand in one matrix, newest sample last, and meet the last samples of every channel in
one matrix product per grid point, on a contiguous ring: always the same shape and layout, so the
same numbers however the stream was cut. Spatial filters are weights after that product: both are
linear.

A wide band (1-40 Hz, the denominator of relative power) passes a real high- and low-pass, each
steep enough to leave the band's central half alone, is squared and averaged with a one-pole filter
of time constant 1/(2 x lower edge).

The delay stated of a fixed kernel is the group delay of the envelope at the band's centre: how far
back the number speaks of the brain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from engine.condition import Conditioned, carried_sos, settle_samples
from engine.errors import MontageError
from engine.features import wide_orders
from engine.frames import Bool, Float, frozen
from engine.ring import Ring
from engine.wiener import Kernel

__all__ = [
    "Estimator",
    "Product",
    "Readout",
    "Source",
    "WidePower",
    "analytic_sos",
    "check_band",
    "envelope_delay_s",
    "fixed_kernel",
    "is_narrow",
    "kernel_settle",
    "products",
]

ORDER = 4
TAIL = 1e-6  # share of a fixed kernel's energy that is cut off
SETTLED = 1e-4  # what is left of a restart then moves an amplitude by at most 1 %
BLOCK_BYTES = 512 * 1024  # of samples per matrix product: more no longer fit the cache
LARGE = 150_000
"""Samples times channels from which on they are kept in single precision: at half the memory a high
density cap at a high rate stays cheap. Numbers then agree across machines to about 1e-5 instead of
1e-9, and still to the bit on one machine."""
SHORT = 0.6  # of the longest kernel: shorter ones may be multiplied apart
WORTH_A_CALL = 200_000  # multiplications that take as long as one more call


def is_narrow(band_hz: tuple[float, float]) -> bool:
    """Return whether the analytic filter suits: its mirror band stays three widths away."""
    return band_hz[1] <= 3.0 * band_hz[0]


def check_band(band_hz: tuple[float, float], rate_hz: float) -> None:
    """Raise `MontageError` when the rate is below four times the upper edge."""
    if rate_hz < 4.0 * band_hz[1]:
        raise MontageError(
            f"a band up to {band_hz[1]:g} Hz needs at least {4 * band_hz[1]:g} Hz, "
            f"the stream has {rate_hz:g} Hz",
            "raise the amplifier's sampling rate or choose a lower band",
        )


def analytic_sos(band_hz: tuple[float, float], rate_hz: float) -> np.ndarray:
    """Return complex sections of the one-sided filter, shape (2, 6), gain 1 at the centre."""
    lo, hi = band_hz
    sos: np.ndarray = butter(ORDER, (hi - lo) / 2.0, fs=rate_hz, output="sos").astype(complex)
    turn = np.exp(1j * np.pi * (lo + hi) / rate_hz)
    sos[:, [1, 4]] *= turn
    sos[:, [2, 5]] *= turn * turn
    return sos


def fixed_kernel(band_hz: tuple[float, float], rate_hz: float) -> Kernel:
    """Return the fixed kernel of a narrow band: the analytic filter's impulse response.

    Cut where a millionth of its energy is left.

    Raises
    ------
    MontageError
        The rate is below four times the upper edge.
    """
    check_band(band_hz, rate_hz)
    impulse = np.zeros(int(20 * rate_hz), complex)
    impulse[0] = 1.0
    response = sosfilt(analytic_sos(band_hz, rate_hz), impulse)
    n = _energy_within(response, TAIL)
    taps = frozen(np.ascontiguousarray(response[:n][::-1]))
    return Kernel(taps, band_hz, rate_hz, envelope_delay_s(band_hz, rate_hz))


def _energy_within(response: NDArray[np.complex128], tail: float) -> int:
    energy = np.cumsum(np.abs(response) ** 2)
    return int(np.searchsorted(energy, (1.0 - tail) * energy[-1])) + 1


def kernel_settle(kernel: Kernel, left: float = SETTLED) -> int:
    """Return the samples until a kernel holds at most `left` of the energy before them.

    By default: until its number can be trusted after a restart.
    """
    return _energy_within(kernel.taps[::-1], left)


def envelope_delay_s(band_hz: tuple[float, float], rate_hz: float) -> float:
    """Return the fixed estimator's group delay of the envelope in seconds at the band's centre.

    For the analytic filter this is the low-pass prototype's delay at DC, from the phase slope
    between two neighbouring frequencies.
    """
    lo, hi = band_hz
    if is_narrow(band_hz):
        sos = butter(ORDER, (hi - lo) / 2.0, fs=rate_hz, output="sos")
        return _group_delay_s(sos, (hi - lo) * 1e-3, rate_hz)
    return _group_delay_s(_wide_sos(band_hz, rate_hz), math.sqrt(lo * hi), rate_hz) + 0.5 / lo


def _wide_sos(band_hz: tuple[float, float], rate_hz: float) -> np.ndarray:
    """Return real sections of a high- and a low-pass."""
    (lo, hi), (high_pass, low_pass) = band_hz, wide_orders(band_hz)
    return np.concatenate(
        [
            butter(high_pass, lo, "highpass", fs=rate_hz, output="sos"),
            butter(low_pass, hi, "lowpass", fs=rate_hz, output="sos"),
        ]
    )


def _group_delay_s(sos: np.ndarray, at_hz: float, rate_hz: float) -> float:
    step = at_hz * 1e-3
    w = 2 * np.pi * np.array([at_hz - step, at_hz + step]) / rate_hz
    z = np.exp(-1j * w)[:, None]
    h = np.prod(
        (sos[:, 0] + sos[:, 1] * z + sos[:, 2] * z**2)
        / (sos[:, 3] + sos[:, 4] * z + sos[:, 5] * z**2),
        axis=1,
    )
    return float(-np.angle(h[1] / h[0]) / (w[1] - w[0]) / rate_hz)


# ---------------------------------------------------------------- the matrix product


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """Kernels of about one length, ready for one matrix product.

    Parameters
    ----------
    rows : ndarray of int
        Rows of the result, real parts of z first, then imaginary parts.
    matrix : ndarray, shape (2 n, length)
        Newest sample last.
    single : ndarray of float32, shape (2 n, length)
        The same in single precision.
    """

    rows: NDArray[np.int64]
    matrix: Float
    single: NDArray[np.float32]


def products(kernels: Sequence[Kernel], n_columns: int) -> tuple[Product, ...]:
    """Return the products that give every kernel's signal over this many columns.

    Short kernels are multiplied apart from long ones where that saves more than a call costs.
    """
    n = len(kernels)
    lengths = [len(k.taps) for k in kernels]
    longest = max(lengths, default=0)
    short = [i for i, length in enumerate(lengths) if length <= SHORT * longest]
    if 2 * sum(longest - lengths[i] for i in short) * n_columns < WORTH_A_CALL:
        short = []
    long = [i for i in range(n) if i not in short]
    out = []
    for group in (long, short):
        if not group:
            continue
        width = max(lengths[i] for i in group)
        matrix = np.zeros((2 * len(group), width))
        for row, i in enumerate(group):
            matrix[row, width - lengths[i] :] = kernels[i].taps.real
            matrix[len(group) + row, width - lengths[i] :] = kernels[i].taps.imag
        rows = np.array([*group, *(n + i for i in group)], np.int64)
        out.append(Product(rows, frozen(matrix), frozen(matrix.astype(np.float32))))
    return tuple(out)


class Estimator:
    """The last samples of every channel, for any kernels to look at (settings + state + step).

    Parameters
    ----------
    columns : tuple of int
        Columns of `Conditioned.uv` that are estimated.
    n_taps : int
        The longest kernel that will ever be used.
    before : int
        How far back from the last sample one may look.
    """

    def __init__(self, columns: tuple[int, ...], n_taps: int, before: int = 0) -> None:
        self.columns = columns
        self.n_taps = n_taps
        n, kept = len(columns), n_taps + before
        self.dtype = np.dtype(np.float32 if n * n_taps >= LARGE else np.float64)
        block = max(8, BLOCK_BYTES // (n_taps * self.dtype.itemsize))
        self._parts = [np.array(columns[i : i + block], int) for i in range(0, n, block)]
        self._places = [slice(i, min(i + block, n)) for i in range(0, n, block)]
        self._rings = [Ring(kept, len(part), self.dtype) for part in self._parts]
        # Columns that stand side by side need no copy.
        self._slices = [
            slice(int(p[0]), int(p[-1]) + 1) if (np.diff(p) == 1).all() else p for p in self._parts
        ]

    def restart(self) -> None:
        """Forget the signal."""
        for ring in self._rings:
            ring.clear()

    def push(self, uv: Float) -> None:
        """Take rows of `Conditioned.uv`, shape (n, n_sites)."""
        for ring, at in zip(self._rings, self._slices, strict=True):
            ring.push(uv[:, at])

    def forget(self, sites: Bool) -> None:
        """Begin anew at the marked sites, shape (n_sites,): what they had been is no past."""
        for ring, part in zip(self._rings, self._parts, strict=True):
            mask = sites[part]
            if mask.any():
                ring.forget(mask)

    def look(self, of: Sequence[Product], ago: int = 0) -> Float:
        """Return every band signal at a sample taken.

        Parameters
        ----------
        of : sequence of Product
            From `products`; none longer than what is kept.
        ago : int
            The last sample, or one so many before it, at most `before`.

        Returns
        -------
        ndarray, shape (2 n_kernels, n_columns)
            Real parts of z, then imaginary parts, µV.
        """
        double = self.dtype == np.float64
        if double and len(of) == 1 and len(self._rings) == 1:
            matrix = of[0].matrix
            return np.asarray(matrix @ self._rings[0].window(matrix.shape[1], ago))
        out = np.empty((sum(len(p.rows) for p in of), len(self.columns)))
        for ring, place in zip(self._rings, self._places, strict=True):
            for p in of:
                kernels = p.matrix if double else p.single
                out[p.rows, place] = kernels @ ring.window(p.matrix.shape[1], ago)
        return out


@dataclass(frozen=True, slots=True)
class Source:
    """Where one number comes from.

    Parameters
    ----------
    kernel : int
        Position among the estimator's kernels.
    columns : tuple of int
        Positions among the estimator's columns, each a channel of its own; or
    weights : ndarray, shape (n_channels, n_columns), optional
        Virtual channels, each a weighted sum of columns.
    gains : tuple of float
        Calibration of power, per channel.
    """

    kernel: int
    columns: tuple[int, ...]
    gains: tuple[float, ...]
    weights: Float | None = None

    def band_signal(self, seen: Float) -> NDArray[np.complex128]:
        """Return z of every channel, calibrated, from `Estimator.look`'s answer."""
        half = len(seen) // 2
        re, im = seen[self.kernel], seen[half + self.kernel]
        if self.weights is None:
            at = list(self.columns)
            z = re[at] + 1j * im[at]
        else:
            z = self.weights @ re + 1j * (self.weights @ im)
        return np.asarray(z * np.sqrt(self.gains))


class Readout:
    """Powers of many sources from one look, in the same fixed order every time.

    Parameters
    ----------
    sources : sequence of Source
    n_columns : int
        Columns of the estimator.
    n_kernels : int
        Its kernels.
    """

    def __init__(self, sources: Sequence[Source], n_columns: int, n_kernels: int) -> None:
        self.sources = tuple(sources)
        self._plain = np.array([i for i, s in enumerate(self.sources) if s.weights is None], int)
        self._spatial = [i for i, s in enumerate(self.sources) if s.weights is not None]
        plain = [s for s in self.sources if s.weights is None]
        at = np.array([s.kernel * n_columns + c for s in plain for c in s.columns], int)
        self._at = np.concatenate([at, at + n_kernels * n_columns])  # real parts, imaginary parts
        self._n = len(at)
        # 2 |z|², calibrated, then the mean over the channels.
        self._gains = np.array([2.0 * g / len(s.columns) for s in plain for g in s.gains])
        counts = [len(s.columns) for s in plain]
        self._starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(int)
        self._single = all(n == 1 for n in counts)

    def powers(self, seen: Float) -> Float:
        """Return the mean power over each source's channels in µV², shape (n_sources,)."""
        parts = seen.ravel().take(self._at)
        parts *= parts
        power = (parts[: self._n] + parts[self._n :]) * self._gains
        if not self._single:
            power = np.add.reduceat(power, self._starts)
        if not self._spatial:
            return np.asarray(power)
        out = np.empty(len(self.sources))
        out[self._plain] = power
        for i in self._spatial:
            z = self.sources[i].band_signal(seen)
            out[i] = 2.0 * float((z.real**2 + z.imag**2).sum()) / len(z)
        return out


# ---------------------------------------------------------------- wide bands


class WidePower:
    """Power of one wide band at some sites (settings + state + step).

    Parameters
    ----------
    band_hz : tuple of float
        Lower and upper -3 dB edge in Hz.
    sites : tuple of int
        Columns of `Conditioned.uv`.
    rate_hz : float
        Sampling rate in Hz.

    Attributes
    ----------
    delay_s : float
        Group delay of the envelope.
    settle : int
        Samples after a restart until the number can be trusted.

    Raises
    ------
    MontageError
        The rate is below four times the upper edge.
    """

    def __init__(
        self, band_hz: tuple[float, float], sites: tuple[int, ...], rate_hz: float
    ) -> None:
        check_band(band_hz, rate_hz)
        self.band_hz = band_hz
        self._sites = list(sites)
        self.delay_s = (
            _group_delay_s(_wide_sos(band_hz, rate_hz), math.sqrt(band_hz[0] * band_hz[1]), rate_hz)
            + 0.5 / band_hz[0]
        )
        self._sos = _wide_sos(band_hz, rate_hz)
        keep = math.exp(-2.0 * band_hz[0] / rate_hz)
        self._mean = np.array([[1.0 - keep, 0.0, 0.0, 1.0, -keep, 0.0]])
        self.settle = settle_samples(self._sos, rate_hz) + settle_samples(self._mean, rate_hz)
        self.restart()

    def restart(self) -> None:
        """Forget the signal."""
        n = len(self._sites)
        self._zi = np.zeros((len(self._sos), 2, n))
        self._mean_zi = np.zeros((1, 2, n))

    def step(self, c: Conditioned) -> Float:
        """Return the power in µV² at the segment's grid points, shape (n_grid, n_sites)."""
        resets = tuple((row, mask[self._sites]) for row, mask in c.resets)
        y, self._zi = carried_sos(self._sos, c.uv[:, self._sites], self._zi, resets, None)
        mean, self._mean_zi = carried_sos(self._mean, y * y, self._mean_zi, resets, None)
        return np.asarray(mean[c.grid])
