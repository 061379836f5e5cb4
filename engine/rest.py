"""A kept baseline block, read once more through what was fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft

from engine.bank import Bank, Raw, Reference
from engine.estimate import Estimator, Source
from engine.features import FeatureDef
from engine.frames import Bool, Float, RestBlock
from engine.wiener import Spectrum, clean_runs, spectra
from engine.wiring import Wiring

__all__ = [
    "CURVE_S",
    "Channels",
    "Rest",
    "band_signals",
    "clean_columns",
    "look_again",
    "measured",
    "read_again",
]

CURVE_S = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3)
"""Delays at which the limit curve and the correlations are stated."""
LONGEST_LAG_S = 0.6
MEASURED_S = 4.0  # of usable points: a correlation over less says nothing
EDGE_S = 0.5  # of clean signal on both sides of a point whose true envelope is used
TAPER_S = 0.25  # of clean signal next to what is not: no hard edge enters the ideal
BREATH = 64  # points between two breaths
ROWS = 4096  # of virtual channels between two breaths
ROBUST_SD = 6.0  # as the amplitude gate
AROUND_S = 0.25  # before and after what lies beyond
AFTER_RESET_S = 1.0  # a filter that began anew rings
FLAT_S, FLAT_SD = 0.5, 0.05  # less than this share of the usual spread, so long, is no signal


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """The kept samples of one accepted block.

    Parameters
    ----------
    block : RestBlock
    uv : ndarray, shape (n_samples, n_sites)
        Columns of `Conditioned`, whole hops, one after another.
    begins : tuple of (int, ndarray of bool)
        Rows at which the marked sites begin anew: pieces and restarts.
    rows : ndarray of int, shape (n_points,)
        Row of every grid point of the block.
    clean : ndarray of bool, shape (n_samples,)
        Samples of clean grid points' hops.
    raw : tuple, n_points entries
        Live estimates per feature: what passes through no kernel is read again from here.
    wide : tuple, n_points entries
        Live power in the whole spectrum, for relative powers.
    """

    block: RestBlock
    uv: Float
    begins: tuple[tuple[int, Bool], ...]
    rows: np.ndarray
    clean: Bool
    raw: tuple[tuple[Raw, ...], ...] = ()
    wide: tuple[Mapping[int, Float], ...] = ()


class Channels:
    """The samples and the spectra of a block's (virtual) channels, each computed once.

    Parameters
    ----------
    rest : Rest
    columns : tuple of int
        Columns of `Conditioned` that the estimator keeps.
    sources : sequence of Source
        All whose channels will be asked for; equal weights are one virtual channel.
    rate_hz : float
    breathe : callable
    """

    def __init__(
        self,
        rest: Rest,
        columns: tuple[int, ...],
        sources: Sequence[Source],
        rate_hz: float,
        breathe: Callable[[], None] = lambda: None,
    ) -> None:
        self._uv, self._clean, self._columns = rest.uv, rest.clean, columns
        self._rate_hz, self._breathe = rate_hz, breathe
        self._sources = tuple(sources)
        rows: dict[bytes, Float] = {}
        for source in sources:
            if source.weights is not None:
                rows |= {row.tobytes(): row for row in source.weights}
        self._place = {key: i for i, key in enumerate(rows)}
        self._virtual = np.empty((len(rest.uv), len(rows)))
        if rows:
            weights = np.array(list(rows.values()))
            used = np.flatnonzero(weights.any(axis=0))
            at, turned = [columns[c] for c in used], np.ascontiguousarray(weights[:, used].T)
            for row in range(0, len(rest.uv), ROWS):
                self._virtual[row : row + ROWS] = rest.uv[row : row + ROWS, at] @ turned
                breathe()
        self._spectra: dict[tuple[bool, int], Spectrum] = {}

    def _keys(self, source: Source) -> list[tuple[bool, int]]:
        """Return (virtual, column) of every channel."""
        if source.weights is None:
            return [(False, self._columns[c]) for c in source.columns]
        return [(True, self._place[row.tobytes()]) for row in source.weights]

    def first(self, source: Source) -> Float:
        """Return the samples of a source's first channel."""
        virtual, at = self._keys(source)[0]
        return np.ascontiguousarray((self._virtual if virtual else self._uv)[:, at])

    def spectra(self, source: Source) -> list[Spectrum]:
        """Return the spectrum of each of a source's channels."""
        keys = self._keys(source)
        if any(key not in self._spectra for key in keys):
            # All at once: windows of many channels cost little more than those of one.
            wanted = dict.fromkeys(key for s in self._sources for key in self._keys(s))
            self._fill([key for key in wanted if key not in self._spectra])
        return [self._spectra[key] for key in keys]

    def mean_square(self, at: Sequence[int]) -> Float:
        """Return the mean square of each of some of the estimator's columns over clean samples."""
        columns = [self._columns[c] for c in at]
        total = np.zeros(len(columns))
        for row in range(0, len(self._uv), ROWS):
            part = self._uv[row : row + ROWS, columns][self._clean[row : row + ROWS]]
            total += np.einsum("ij,ij->j", part, part)
            self._breathe()
        return total / max(1, int(self._clean.sum()))

    def sites(self, at: Sequence[int]) -> list[Spectrum]:
        """Return the spectrum of each of some of the estimator's columns."""
        keys = [(False, self._columns[c]) for c in at]
        self._fill([key for key in dict.fromkeys(keys) if key not in self._spectra])
        return [self._spectra[key] for key in keys]

    def _fill(self, keys: Sequence[tuple[bool, int]]) -> None:
        for virtual, x in ((False, self._uv), (True, self._virtual)):
            at = [c for v, c in keys if v is virtual]
            if at:
                found = spectra(x, self._clean, self._rate_hz, at, self._breathe)
                self._spectra |= {(virtual, c): s for c, s in zip(at, found, strict=True)}


def band_signals(source: Source, seen: Float) -> NDArray[np.complex128]:
    """Return z of every channel at every point, shape (n_points, n_channels), calibrated.

    `Source.band_signal` of all points at once.
    """
    half = seen.shape[1] // 2
    re, im = seen[:, source.kernel], seen[:, half + source.kernel]
    if source.weights is None:
        at = list(source.columns)
        z = re[:, at] + 1j * im[:, at]
    else:
        z = re @ source.weights.T + 1j * (im @ source.weights.T)
    return np.asarray(z * np.sqrt(source.gains))


def clean_columns(rest: Rest, columns: Sequence[int], rate_hz: float) -> Bool:
    """Return which samples of each column may be used, shape (n_samples, n_columns).

    For sites that no gate watches. Not used are: what the block's gates closed; 0.25 s around what
    lies more than 6 robust SD from the column's median in the block; 1 s after the column's filters
    began anew; half seconds that span less than 0.05 robust SD.
    """
    n = len(rest.uv)
    usable = np.repeat(rest.clean[:, None], len(columns), axis=1)
    around, after = round(AROUND_S * rate_hz), round(AFTER_RESET_S * rate_hz)
    piece = max(2, round(FLAT_S * rate_hz))
    every = np.arange(n)
    for k, column in enumerate(columns):
        x = rest.uv[:, column]
        if not rest.clean.any():
            break
        centre = np.median(x[rest.clean])
        sd = 1.4826 * float(np.median(np.abs(x[rest.clean] - centre)))
        beyond = np.concatenate([[0], np.cumsum(np.abs(x - centre) > ROBUST_SD * sd)])
        near = np.minimum(every + around + 1, n), np.maximum(every - around, 0)
        usable[:, k] &= beyond[near[0]] == beyond[near[1]]
        for row, sites in rest.begins:
            if sites[column] and not sites.all():
                usable[row : row + after, k] = False
        for at in range(0, n, piece):
            if np.ptp(x[at : at + piece]) <= FLAT_SD * sd:
                usable[at : at + piece, k] = False
    return usable


def look_again(
    rest: Rest,
    columns: tuple[int, ...],
    wiring: Wiring,
    n_taps: int,
    breathe: Callable[[], None] = lambda: None,
) -> tuple[Float, Bool]:
    """Take a block once more through the estimator.

    Returns
    -------
    seen : ndarray, shape (n_points, 2 n_kernels, n_columns)
        As `Estimator.look` returns it live.
    warm : ndarray of bool, shape (n_points,)
        Where every kernel has seen enough since its channels began anew.
    """
    estimator = Estimator(columns, n_taps)
    seen = np.empty((len(rest.rows), 2 * len(wiring.kernels), len(columns)))
    warm = np.zeros(len(rest.rows), bool)
    begins = list(rest.begins)
    mine = list(columns)
    at, since, settle = 0, 0, wiring.settle
    for g, row in enumerate(rest.rows.tolist()):
        if g % BREATH == 0:
            breathe()
        while begins and begins[0][0] <= row:
            begin, sites = begins.pop(0)
            if begin > at:
                estimator.push(rest.uv[at:begin])
                at = begin
            estimator.forget(sites)
            if sites[mine].any():
                since = begin
        estimator.push(rest.uv[at : row + 1])
        at = row + 1
        seen[g] = estimator.look(wiring.products)
        warm[g] = row - since >= settle
    return seen, warm


def read_again(
    rest: Rest,
    seen: Float,
    warm: Bool,
    wiring: Wiring,
    defs: Sequence[FeatureDef],
    grid_hz: float,
    references: Mapping[str, Reference] | None,
    breathe: Callable[[], None] = lambda: None,
) -> Float:
    """Return the features of a block through the fitted estimators, shape (n_points, n_features).

    NaN where a point is not clean or not warm yet.
    """
    bank = Bank(defs, grid_hz, references)
    out = np.full((len(rest.rows), len(defs)), np.nan)
    good = (rest.block.clean & warm).tolist()
    hop = int(np.diff(rest.block.seq).min()) if len(rest.block.seq) > 1 else 1
    missing = np.diff(rest.block.seq, prepend=rest.block.seq[:1] - hop) // hop - 1
    for g, ok in enumerate(good):
        if g % BREATH == 0:
            breathe()
        if missing[g] > 0:
            bank.gap(int(missing[g]))
        raw = list(rest.raw[g])
        if ok:
            wiring.read(seen[g], raw, rest.wide[g])
        out[g] = bank.step(raw, ok)
    return out


def measured(
    rest: Rest,
    x: Float,
    amplitude: Float,
    warm: Bool,
    band_hz: tuple[float, float],
    rate_hz: float,
    hop: int,
) -> tuple[list[float], float, float] | None:
    """Compare a causal envelope with the ideal one that knows the future.

    The ideal is the band-passed analytic signal of the clean stretches, tapered over 0.25 s at
    their ends: a gated artefact has no part in it, however far the band-pass reaches.

    Parameters
    ----------
    rest : Rest
    x : ndarray, shape (n_samples,)
        The (virtual) channel.
    amplitude : ndarray, shape (n_points,)
        The causal envelope at the block's grid points.
    warm : ndarray of bool, shape (n_points,)
    band_hz, rate_hz, hop

    Returns
    -------
    curve : list of float
        Correlation with the ideal envelope `CURVE_S` ago.
    best_lag_s, best_r : float
        Where the correlation is largest. None instead when too little is clean.
    """
    n = len(x)
    f = np.fft.fftfreq(n, 1.0 / rate_hz)
    inside = (f >= band_hz[0]) & (f <= band_hz[1])
    ideal = np.abs(ifft(np.where(inside, fft(x * _tapered(rest.clean, rate_hz)), 0.0)))
    edge = round(EDGE_S * rate_hz)
    dirty = np.concatenate([[0], np.cumsum(~rest.clean)])
    longest = round(LONGEST_LAG_S * rate_hz)
    lo, hi = rest.rows - longest - edge, rest.rows + edge + 1
    usable = warm & (lo >= 0) & (hi <= n)
    usable[usable] &= dirty[hi[usable]] == dirty[lo[usable]]
    if int(usable.sum()) < MEASURED_S * rate_hz / hop:
        return None
    rows, a = rest.rows[usable], amplitude[usable]

    def r(lag: int) -> float:
        return float(np.corrcoef(a, ideal[rows - lag])[0, 1])

    lags = range(0, longest + 1, hop)
    all_r = [r(lag) for lag in lags]
    best = int(np.argmax(all_r))
    curve = [r(round(d * rate_hz)) for d in CURVE_S]
    return curve, best * hop / rate_hz, all_r[best]


def _tapered(clean: Bool, rate_hz: float) -> Float:
    """Return 1 within clean stretches, 0 outside, raised cosines of `TAPER_S` at their ends."""
    out = np.zeros(len(clean))
    longest = round(TAPER_S * rate_hz)
    for start, stop in clean_runs(clean):
        n = min(longest, (stop - start) // 2)
        rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / max(n, 1))
        out[start:stop] = 1.0
        out[start : start + n] = rise
        out[stop - n : stop] = rise[::-1]
    return out
