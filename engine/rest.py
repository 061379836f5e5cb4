"""A kept baseline block, read once more through what was fitted to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.bank import Bank, Raw, Reference
from engine.estimate import Estimator
from engine.features import FeatureDef
from engine.frames import Bool, Float, RestBlock
from engine.wiring import Wiring

__all__ = ["CURVE_S", "Rest", "look_again", "measured", "read_again"]

CURVE_S = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3)
"""Delays at which the limit curve and the correlations are stated."""
LONGEST_LAG_S = 0.6
MEASURED_S = 4.0  # of usable points: a correlation over less says nothing
EDGE_S = 0.5  # of clean signal on both sides of a point whose true envelope is used
BREATH = 64  # points between two breaths


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
    ideal = np.abs(np.fft.ifft(np.where(inside, np.fft.fft(x), 0.0)))
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
