"""Individual alpha frequency: where this person's posterior alpha lies, or that nobody can tell.

After Corcoran, Alday, Schlesewsky and Bornkessel-Schlesewsky 2018 (Psychophysiology, e13064). The
spectrum of every posterior channel is smoothed and differentiated by a Savitzky-Golay filter; a
peak counts when it rises above the background and above every other peak. Two numbers come out:
the peak alpha frequency (PAF) and the centre of gravity (CoG) of the person's own alpha band. "No
valid alpha" is an answer.

Where this differs from the published program, and why:

- Input is what the live chain gives (causal high-pass and notch) instead of a zero-phase band-pass:
  the phase of a filter does not touch a spectrum, and what is trained is what was measured.
- The peak lies where the first derivative crosses zero, between two bins, not at the higher bin.
- The bounds are sought from the inflection points outward, so that the flat top of a low, broad
  peak is not taken for its foot.
- Second check, as in the Python port *philistine*: where a straight line in log-log axes explains
  more than 0.9 of a channel's spectrum, the channel has no peak; except one that stands 3
  prediction SD above that very line. Without the exception every fifth simulated recording with a
  clear rhythm (0.3 of the SD of 1/f noise, one channel, 120 s) is refused. It is a caution: in
  simulation it refuses faint peaks on steep noise, true ones too.
- Third check: a peak must rise from its feet by more than a mean of so few windows wiggles anyway.
  Without it, flat noise (muscle) passes for a split peak in 7 of 10 simulated channels, and 23 s
  of 1/f noise for a peak in 1 of 10.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.signal import firwin, resample_poly, savgol_filter
from scipy.signal.windows import hamming

from engine.frames import Bool, Float

__all__ = ["FALLBACK_HZ", "POSTERIOR", "Iaf", "individual_alpha", "pooled"]

POSTERIOR: tuple[str, ...] = ("Pz", "P1", "P2", "POz", "PO3", "PO4", "Oz", "O1", "O2")
"""The sites of the method; what exists of them is used."""
FALLBACK_HZ = 10.0
"""Assumed when there is no valid estimate: it centres the customary 8-12 Hz band, so bands relative
to it are those that a protocol without an individual frequency would have used."""

RATE_HZ = 250.0  # the frame of the smoothing filter is counted in bins of this rate
MAX_FACTOR = 2048  # of the rational approximation; exact for the rates of every usual amplifier
LEAST_RATE_HZ = 100.0  # below, the resampling filter would bend the spectrum under 40 Hz
KERNEL = 10  # half length of the resampling filter, in samples of the slower of the two rates
WINDOW = 1024  # samples, 4.1 s: bins of 0.244 Hz
STEP = WINDOW // 2
MIN_WINDOWS = 10  # 22.5 s without a break
RANGE_HZ = (1.0, 40.0)
LINE_HZ = (1.0, 30.0)
SEARCH_HZ = (7.0, 13.0)
ORDER = 5
MIN_DIFFERENCE = 0.20
SHALLOW = 1.0  # per Hz, of the PSD normalised to mean 1
SHALLOW_HZ = 1.0
LINE_R2 = 0.9
LINE_SD = 3.0
RISE = 4.0  # ln, over the root of the number of windows; noise of any slope gets there in 1 of 100
KURTOSIS_Z = 5.0
KURTOSIS_CHANNELS = 5  # fewer say nothing about what is usual
KURTOSIS_SCALE = 1.0  # least scale: alike channels must not make a harmless one an outlier


@dataclass(frozen=True, slots=True)
class Iaf:
    """An individual alpha frequency, or the reason why there is none.

    Parameters
    ----------
    paf_hz : float or None
        Peak alpha frequency: mean over channels, weighted by the quality of their peak.
    cog_hz : float or None
        Centre of gravity of the band: plain mean over channels.
    band_hz : (float, float) or None
        Lower and upper bound of the individual alpha band, f1 and f2: mean over channels.
    n_channels : int
        Channels behind `hz`: with one clear peak, or, without a PAF, with a split one as well.
        Summed over recordings by `pooled`.
    n_given : int
        Posterior channels given.
    low_confidence : bool
        Fewer than three posterior channels were given.
    reason : str
        One sentence why there is none; empty when there is one.
    dropped : tuple of str
        Channels left out as outliers of kurtosis.
    """

    paf_hz: float | None
    cog_hz: float | None
    band_hz: tuple[float, float] | None
    n_channels: int
    n_given: int
    low_confidence: bool
    reason: str
    dropped: tuple[str, ...] = ()

    @property
    def hz(self) -> float | None:
        """The frequency to use: PAF, else CoG (a split peak has no one summit), else None."""
        return self.cog_hz if self.paf_hz is None else self.paf_hz

    @property
    def kind(self) -> str:
        """What `hz` is: ``paf``, ``cog`` or ``none``."""
        if self.paf_hz is not None:
            return "paf"
        return "none" if self.cog_hz is None else "cog"

    @property
    def sentence(self) -> str:
        """What a person should know of it."""
        if self.kind == "none":
            return f"No individual alpha frequency: {self.reason}"
        counted = f"{self.n_channels} of {self.n_given} posterior channels"
        if self.kind == "paf":
            text = f"Individual alpha {self.hz:.2f} Hz: peak, from {counted}."
        else:
            text = (
                f"Individual alpha {self.hz:.2f} Hz: centre of gravity, from {counted}, because "
                "the alpha peak is split or hardly higher than the next one."
            )
        if self.low_confidence:
            text += " Low confidence: fewer than three posterior channels."
        return text

    def summary(self) -> dict[str, Any]:
        """Return everything in JSON types; None is unknown."""
        return {
            "hz": self.hz,
            "kind": self.kind,
            "paf_hz": self.paf_hz,
            "cog_hz": self.cog_hz,
            "band_hz": None if self.band_hz is None else list(self.band_hz),
            "n_channels": self.n_channels,
            "n_given": self.n_given,
            "low_confidence": self.low_confidence,
            "dropped": list(self.dropped),
            "reason": self.reason,
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class _Peak:
    """One channel's alpha: `paf_hz` is None and `weight` 0 when the peak is split."""

    paf_hz: float | None
    weight: float
    f1_hz: float
    f2_hz: float


def individual_alpha(
    uv: Float,
    clean: Bool,
    rate_hz: float,
    names: Sequence[str],
    *,
    frame_bins: int = 11,
    min_channels: int = 3,
) -> Iaf:
    """Estimate the individual alpha frequency from posterior channels, eyes closed.

    The signal is resampled to 250 Hz by a rational factor (Kaiser-windowed FIR of 10 samples of
    the slower rate to either side); a resampled sample is clean only when every sample that it was
    made from is. The PSD P(f) is the mean over Hamming windows of 1024 samples (4.1 s) that
    overlap by half and lie wholly in clean samples; at least 10 of them are needed. P is divided by
    its mean over 1-40 Hz and smoothed by a Savitzky-Golay filter of order 5 (``d0``, and its
    derivatives ``d1``, ``d2`` per Hz).

    A peak is a downward zero of d1 in 7-13 Hz. The highest one counts where
    ``log10 d0 > a + b f + delta``, with the least-squares line through log10 P over 1-40 Hz and
    ``delta = s sqrt(1 + x (X'X)^-1 x')``, ``x = (1, f)``, ``s² = SSE / (n - 2)``. It is a PAF where
    ``0.8 d0`` still exceeds every other peak; otherwise it is split and gives a CoG only. Bounds
    f1, f2: the nearest upward zero of d1, or the first place where ``|d1| < 1`` for about 1 Hz,
    outside every part of the peak that is above the background and half as high as the highest.
    ``PAF = sum(w f) / sum(w)`` with w the mean of d0 between the inflection points;
    ``CoG = sum(d0 f) / sum(d0)`` between the mean bounds, unweighted mean over channels.

    A peak does not count where the line of log P over log f, 1-30 Hz, has R² > 0.9 and the peak
    stays within 3 prediction SD of it; nor where it rises by less than 4 / sqrt(windows), in ln,
    above the straight line between its feet f1 and f2. Among five or more channels those are left
    out whose kurtosis is more than 5 robust SD above the median (`Iaf.dropped`): a classical z
    cannot exceed (n - 1) / sqrt(n), 2.7 among nine channels, and would never drop any.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
        Posterior channels in µV, after the high-pass and notch of the live chain. Not modified.
    clean : ndarray of bool, shape (n_samples,)
        Samples that may be used. Not modified.
    rate_hz : float
        Sampling rate of `uv`.
    names : sequence of str
        Names of the channels.
    frame_bins : int
        Length of the smoothing filter in bins of 0.244 Hz, odd; 21 suits broad peaks, of which
        11 misses more (Corcoran 2018).
    min_channels : int
        Channels that must show a peak. With fewer given, all of them must, and with fewer than
        three given the answer is marked `low_confidence`.

    Returns
    -------
    Iaf

    Raises
    ------
    ValueError
        Shapes do not fit, `uv` is not finite (contained upstream), or a parameter is impossible.
    """
    _check(uv, clean, rate_hz, names, frame_bins, min_channels)
    n_given = uv.shape[1]
    if not n_given:
        return _none("no posterior channel was given.", 0)
    if rate_hz < LEAST_RATE_HZ:
        return _none(
            f"a sampling rate of {rate_hz:g} Hz is too low, {LEAST_RATE_HZ:g} Hz are needed.",
            n_given,
        )
    x, usable, rate = _resampled(uv, clean, rate_hz)
    starts = list(_windows(usable))
    if len(starts) < MIN_WINDOWS:
        return _none(
            f"{usable.sum() / rate:.0f} s of clean signal hold {len(starts)} unbroken windows of "
            f"{WINDOW / rate:.1f} s, at least {MIN_WINDOWS} are needed.",
            n_given,
        )
    kept = _of_usual_kurtosis(x, starts)
    dropped = tuple(n for n, k in zip(names, kept, strict=True) if not k)
    f, psd = _psd(x[:, kept], starts, rate)
    peaks, smooth = _peaks(f, psd, frame_bins, RISE / math.sqrt(len(starts)))
    return _over_channels(f, smooth, peaks, min(min_channels, n_given), n_given, dropped)


def pooled(found: Sequence[Iaf]) -> Iaf:
    """Pool the estimates of several recordings of one person.

    Each of PAF, CoG and band is the mean over the recordings that have it, weighted by the number
    of channels that contributed. `n_channels` counts channels over all recordings that have the
    kind of frequency given, `n_given` over all recordings; `low_confidence` when any recording that
    contributed is.
    """
    paf = [i for i in found if i.paf_hz is not None]
    used = paf or [i for i in found if i.cog_hz is not None]
    n_given = sum(i.n_given for i in found)
    dropped = tuple(dict.fromkeys(name for i in found for name in i.dropped))
    if not used:
        reasons = list(dict.fromkeys(i.reason for i in found))
        if not reasons:
            reason = "there is no recording."
        elif len(reasons) == 1:
            reason = reasons[0]
        else:
            reason = f"in none of {len(found)} recordings; first, {reasons[0]}"
        return _none(reason, n_given, dropped, low=any(i.low_confidence for i in found))
    lows = [(i.band_hz[0], i.n_channels) for i in found if i.band_hz is not None]
    highs = [(i.band_hz[1], i.n_channels) for i in found if i.band_hz is not None]
    lo, hi = _mean(lows), _mean(highs)
    return Iaf(
        paf_hz=_mean([(i.paf_hz, i.n_channels) for i in paf if i.paf_hz is not None]),
        cog_hz=_mean([(i.cog_hz, i.n_channels) for i in found if i.cog_hz is not None]),
        band_hz=None if lo is None or hi is None else (lo, hi),
        n_channels=sum(i.n_channels for i in used),
        n_given=n_given,
        low_confidence=any(i.low_confidence for i in used),
        reason="",
        dropped=dropped,
    )


def _mean(weighted: Sequence[tuple[float, float]]) -> float | None:
    """Return the weighted mean of (value, weight), None of nothing."""
    total = math.fsum(w for _, w in weighted)
    return math.fsum(v * w for v, w in weighted) / total if total > 0 else None


def _none(reason: str, n_given: int, dropped: tuple[str, ...] = (), low: bool | None = None) -> Iaf:
    low = n_given < 3 if low is None else low
    return Iaf(None, None, None, 0, n_given, low, reason, dropped)


def _check(
    uv: Float,
    clean: Bool,
    rate_hz: float,
    names: Sequence[str],
    frame_bins: int,
    min_channels: int,
) -> None:
    if uv.ndim != 2 or clean.shape != uv.shape[:1] or len(names) != uv.shape[1]:
        raise ValueError(
            "uv must be (n_samples, n_channels), clean (n_samples,), one name per channel; got "
            f"{uv.shape}, {clean.shape} and {len(names)} names"
        )
    if clean.dtype != np.bool_:
        raise ValueError(f"clean must be of bool, not {clean.dtype}")
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise ValueError(f"rate_hz must be positive, not {rate_hz}")
    if frame_bins <= ORDER or frame_bins % 2 == 0:
        raise ValueError(f"frame_bins must be odd and above {ORDER}, not {frame_bins}")
    if min_channels < 1:
        raise ValueError(f"min_channels must be at least 1, not {min_channels}")
    if not np.isfinite(uv).all():
        raise ValueError("uv holds values that are not finite; contain them before")


# ---------------------------------------------------------------- spectrum


def _resampled(uv: Float, clean: Bool, rate_hz: float) -> tuple[Float, Bool, float]:
    """Return signal and mask near 250 Hz, and the rate, exact for the rational factor used."""
    factor = Fraction(RATE_HZ / rate_hz).limit_denominator(MAX_FACTOR)
    up, down = factor.numerator, factor.denominator
    if up == down or not len(uv):
        return uv, clean, rate_hz
    half = KERNEL * max(up, down)
    taps = firwin(2 * half + 1, 1.0 / max(up, down), window=("kaiser", 5.0))
    x: Float = resample_poly(uv, up, down, axis=0, window=taps)
    # Output j is made of the inputs i with |i up - j down| <= half; beyond the ends there are none.
    j = np.arange(len(x)) * down
    first, last = -((half - j) // up), (j + half) // up
    inside = (first >= 0) & (last < len(uv))
    dirty = np.concatenate([[0], np.cumsum(~clean)])
    usable = np.zeros(len(x), bool)
    usable[inside] = dirty[last[inside] + 1] == dirty[first[inside]]
    return x, usable, rate_hz * up / down


def _windows(usable: Bool) -> Iterator[int]:
    """Yield where windows start: every half window within each unbroken clean stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], usable, [False]]).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        yield from range(int(start), int(end) - WINDOW + 1, STEP)


def _of_usual_kurtosis(x: Float, starts: Sequence[int]) -> Bool:
    """Return which channels are no outliers of kurtosis over the windows used."""
    n = x.shape[1]
    if n < KURTOSIS_CHANNELS:
        return np.ones(n, bool)
    covered = np.zeros(len(x), bool)
    for s in starts:
        covered[s : s + WINDOW] = True
    y = x[covered] - x[covered].mean(axis=0)
    m2 = (y**2).mean(axis=0)
    flat = m2 == 0.0
    kurtosis = (y**4).mean(axis=0) / np.where(flat, 1.0, m2) ** 2
    centre = np.median(kurtosis)
    scale = max(KURTOSIS_SCALE, 1.4826 * float(np.median(np.abs(kurtosis - centre))))
    return np.asarray((kurtosis - centre) / scale <= KURTOSIS_Z)


def _psd(x: Float, starts: Sequence[int], rate_hz: float) -> tuple[Float, Float]:
    """Return frequencies and the PSD over 1-40 Hz, one row per bin, in arbitrary units."""
    taper = hamming(WINDOW, sym=False)[:, None]
    f = np.fft.rfftfreq(WINDOW, 1.0 / rate_hz)
    # One bin width of tolerance at either end: the bins nearest to 1 and 40 Hz belong to it.
    part = np.flatnonzero((f > RANGE_HZ[0] - 0.5 * f[1]) & (f < RANGE_HZ[1] + 0.5 * f[1]))
    total = np.zeros((len(part), x.shape[1]))
    for s in starts:
        y = x[s : s + WINDOW]
        total += np.abs(np.fft.rfft((y - y.mean(axis=0)) * taper, axis=0)[part]) ** 2
    return np.asarray(f[part], dtype=np.float64), total


# ---------------------------------------------------------------- one channel


def _line(x: Float, y: Float) -> tuple[Float, Float, float]:
    """Return the least-squares line at x, its prediction SD there, and R²."""
    n = len(x)
    d = x - x.mean()
    slope = (d * y).sum() / (d**2).sum()
    fit = y.mean() + slope * d
    sse = float(((y - fit) ** 2).sum())
    sst = float(((y - y.mean()) ** 2).sum())
    sd = math.sqrt(sse / (n - 2)) * np.sqrt(1.0 + 1.0 / n + d**2 / (d**2).sum())
    return fit, sd, 1.0 - sse / sst if sst > 0 else 1.0


def _peak(f: Float, psd: Float, d: Float, least_rise: float) -> _Peak | None:
    """Return a channel's alpha peak.

    Parameters
    ----------
    f, psd : ndarray, shape (n_bins,)
        Frequencies and normalised PSD.
    d : ndarray, shape (3, n_bins)
        Smoothed PSD and its two derivatives per Hz.
    least_rise : float
        How far, in ln, a peak must rise from its feet.
    """
    d0, d1, d2 = d
    search = np.flatnonzero((f >= SEARCH_HZ[0] - f[1] + f[0]) & (f <= SEARCH_HZ[1]))
    tops = search[(d1[search] > 0) & (d1[search + 1] <= 0)]
    if not len(tops):
        return None
    # Where d1 crosses zero, and the higher of the two bins beside it.
    at = tops + np.where(d0[tops + 1] > d0[tops], 1, 0)
    order = np.argsort(-d0[at], kind="stable")
    at, tops = at[order], tops[order]
    fit, sd, _ = _line(f, np.log10(psd))
    substantial = at[d0[at] > 10.0 ** (fit + sd)[at]]
    if at[0] not in substantial or _explained(f, psd, d0, int(at[0])):
        return None
    clear = len(at) == 1 or d0[at[0]] * (1.0 - MIN_DIFFERENCE) > d0[at[1]]
    # The band holds every part above the background that is at least half as high as the highest.
    parts = substantial[d0[substantial] > 0.5 * d0[at[0]]]
    left, right = _inflection(d2, int(parts.min()), -1), _inflection(d2, int(parts.max()), 1)
    bins = max(1, round(SHALLOW_HZ / (f[1] - f[0])))
    f1, f2 = _foot(d1, left, -1, bins), _foot(d1, right, 1, bins)
    if _rise(f, d0, f1, int(at[0]), f2) <= least_rise:
        return None
    if not clear:
        return _Peak(None, 0.0, float(f[f1]), float(f[f2]))
    k, summit = int(tops[0]), int(at[0])
    paf = f[k] + (f[k + 1] - f[k]) * d1[k] / (d1[k] - d1[k + 1])
    flanks = slice(_inflection(d2, summit, -1), _inflection(d2, summit, 1) + 1)
    return _Peak(float(paf), float(d0[flanks].mean()), float(f[f1]), float(f[f2]))


def _rise(f: Float, d0: Float, f1: int, peak: int, f2: int) -> float:
    """Return ln of the peak over the straight line, in ln, between its feet."""
    feet = np.maximum(d0[[f1, f2]], np.finfo(float).tiny)  # a smoothed foot may dip below zero
    lo, hi = np.log(feet)
    return float(np.log(d0[peak]) - lo - (hi - lo) * (f[peak] - f[f1]) / (f[f2] - f[f1]))


def _explained(f: Float, psd: Float, d0: Float, peak: int) -> bool:
    """Return whether a line in log-log axes leaves no peak to explain."""
    part = f <= LINE_HZ[1]
    fit, sd, r2 = _line(np.log(f[part]), np.log(psd[part]))
    return r2 > LINE_R2 and bool(math.log(d0[peak]) < fit[peak] + LINE_SD * sd[peak])


def _inflection(d2: Float, peak: int, way: int) -> int:
    """Return the first bin outward from a peak where the curve no longer bends down."""
    k = peak + way
    while 0 < k < len(d2) - 1 and d2[k] < 0:
        k += way
    return k


def _foot(d1: Float, start: int, way: int, bins: int) -> int:
    """Return the first bin outward where the flank ends: a valley, or level for `bins` bins."""
    outward = d1[start::way] * way  # negative while falling outward
    for k in range(len(outward)):
        if outward[k] >= 0 or (np.abs(outward[k : k + bins]) < SHALLOW).all():
            return start + way * k
    return start + way * (len(outward) - 1)


# ---------------------------------------------------------------- over channels


def _peaks(
    f: Float, psd: Float, frame_bins: int, least_rise: float
) -> tuple[list[_Peak | None], Float]:
    """Return every channel's peak and smoothed spectrum; psd has shape (n_bins, n_channels)."""
    peaks: list[_Peak | None] = []
    smooth = np.zeros_like(psd)
    for k in range(psd.shape[1]):
        p = psd[:, k]
        if not (p > 0).all():  # a channel without signal has no spectrum
            peaks.append(None)
            continue
        p = p / p.mean()
        d = [savgol_filter(p, frame_bins, ORDER, deriv=n, delta=f[1] - f[0]) for n in range(3)]
        smooth[:, k] = d[0]
        peaks.append(_peak(f, p, np.stack(d), least_rise))
    return peaks, smooth


def _over_channels(
    f: Float,
    smooth: Float,
    peaks: Sequence[_Peak | None],
    needed: int,
    n_given: int,
    dropped: tuple[str, ...],
) -> Iaf:
    """Return the estimate over channels."""
    banded = [k for k, p in enumerate(peaks) if p is not None]
    found = [p for p in peaks if p is not None]
    clear = [p for p in found if p.paf_hz is not None]
    paf = None
    if len(clear) >= needed:
        paf = _mean([(p.paf_hz, p.weight) for p in clear if p.paf_hz is not None])
        if paf is not None and not _in_search(paf):
            return _none(_outside("peak", paf), n_given, dropped)
    cog, band = None, None
    if len(found) >= needed:
        lo = math.fsum(p.f1_hz for p in found) / len(found)
        hi = math.fsum(p.f2_hz for p in found) / len(found)
        within = (f >= lo - 1e-9) & (f <= hi + 1e-9)
        d0 = smooth[within][:, banded]
        if within.any() and (d0.sum(axis=0) > 0).all():
            cogs = (d0 * f[within][:, None]).sum(axis=0) / d0.sum(axis=0)
            cog, band = float(cogs.mean()), (lo, hi)
            if paf is None and not _in_search(cog):
                return _none(_outside("centre of gravity", cog), n_given, dropped)
    if paf is None and cog is None:
        return _none(_too_few(len(found), needed, n_given, dropped), n_given, dropped)
    n = len(found) if paf is None else len(clear)
    return Iaf(paf, cog, band, n, n_given, n_given < 3, "", dropped)


def _in_search(hz: float) -> bool:
    return SEARCH_HZ[0] <= hz <= SEARCH_HZ[1]


def _outside(what: str, hz: float) -> str:
    return f"the {what}, {hz:.1f} Hz, lies outside {SEARCH_HZ[0]:g}-{SEARCH_HZ[1]:g} Hz."


def _too_few(found: int, needed: int, n_given: int, dropped: tuple[str, ...]) -> str:
    left_out = f" ({', '.join(dropped)} left out: unusual kurtosis)" if dropped else ""
    return (
        f"an alpha peak that rises above the background shows in {found} of {n_given} posterior "
        f"channels{left_out}, {needed} are needed."
    )
