"""How late light and sound are: what a sensor saw, compared with when the window flipped.

A photodiode's trace is a square wave that follows the window's flips by a constant lag (accuracy)
and some jitter (precision); a microphone or line shows a click for each. Both are found here, one
for each flip, so that lag and jitter can be told apart. Pure computation: no stream, no window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from engine.errors import InputError
from engine.frames import Bool, Float

__all__ = ["AFTER_S", "FLIPS", "Delay", "Flip", "Measured", "click_delay", "light_delay", "summary"]

FLIPS = "neuroloop_flips"  # LSL stream on which a window that is certified announces its flips

# Where an answer to a flip is looked for. Graphics drivers may return from a flip only after the
# light is out, so a little before it counts as well.
BEFORE_S, AFTER_S = 0.020, 0.300
LOW, HIGH = 0.35, 0.65  # hysteresis, as shares of the way from one plateau to the other
LEAST_CONTRAST = 6.0  # plateaus lie at least so many spreads apart
CALM = 0.08  # spread of a plateau, of the contrast, up to which nothing is smoothed away
FLICKER = 0.10  # answers without a flip, of all flips, above which it is the backlight
SMOOTH_S = (0.0, 0.002, 0.004, 0.008, 0.016)  # as little as the ripple of a backlight allows
GAP_SAMPLES = 2.5  # a longer step between two stamps is a hole in the trace
PINNED = 0.98  # share of a plateau that has one and the same value: digital, or at the rail
CLICK_HIGH_PASS_HZ = 150.0  # mains hum and its harmonic stay below
CLEAR_HZ = 2500.0  # from here on no sensor's low-pass keeps the window's click out
CLICK_SIGMA, CLICK_SHARE = 5.0, 0.20  # a click begins above both: of the noise, of its own peak
LEAST_CLICK = 8.0  # spreads of the noise that the usual click reaches
ATTACK_S = 0.003  # longest time from faint to loud
BURST_S = 0.080  # ringing and echo within it belong to the same click


@dataclass(frozen=True, slots=True)
class Flip:
    """A transition as the window reported it.

    Parameters
    ----------
    number : int
        Of the transition.
    t : float
        Our clock, when the flip returned.
    lit : bool
        Whether the patch is lit from here on.
    """

    number: int
    t: float
    lit: bool


@dataclass(frozen=True, slots=True)
class Delay:
    """From flips to the sensor: the constant part (median) and what varies around it.

    `n` flips were answered, `missed` were not, `unseen` fell into holes of the trace and are not
    judged; `extra` answers belong to no flip. Numbers are NaN where nothing was answered.
    """

    n: int
    median_ms: float
    mean_ms: float
    sd_ms: float
    p95_ms: float
    max_ms: float
    missed: int
    extra: int
    unseen: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A delay and how it was found.

    Parameters
    ----------
    delay : Delay
    each_ms : ndarray, shape (n_flips,)
        Of every flip; NaN where it was not answered or not judged.
    contrast : float
        Between the plateaus (light) or of the usual click's peak, in spreads of the noise; infinite
        for a trace without noise.
    polarity : int
        1 where light raises the trace, -1 where it lowers it; 0 for sound.
    smoothed_ms : float
        Over which the trace was averaged.
    rise_ms, fall_ms : float
        Medians of the flips to light and to dark: panels are seldom equally fast both ways.
    """

    delay: Delay
    each_ms: Float
    contrast: float
    polarity: int = 0
    smoothed_ms: float = 0.0
    rise_ms: float = math.nan
    fall_ms: float = math.nan


def summary(each_ms: Float, *, extra: int, unseen: int) -> Delay:
    """Return the numbers of single delays; NaN is one that was not answered, or not judged."""
    found = each_ms[np.isfinite(each_ms)]
    n = len(found)
    missed = len(each_ms) - n - unseen
    if n == 0:
        return Delay(0, *(math.nan,) * 5, missed, extra, unseen)
    return Delay(
        n=n,
        median_ms=float(np.median(found)),
        mean_ms=float(np.mean(found)),
        sd_ms=float(np.std(found, ddof=1)) if n > 1 else math.nan,
        p95_ms=float(np.percentile(found, 95.0)),
        max_ms=float(np.max(found)),
        missed=missed,
        extra=extra,
        unseen=unseen,
    )


def light_delay(
    samples: Float, stamps: Float, flips: Sequence[Flip], *, after_s: float = AFTER_S
) -> Measured:
    """Return how much later than the flips a photodiode saw the patch change.

    A change is counted where the trace is half way between its two plateaus; a slow panel is thus
    as late as the middle of its rise.

    Parameters
    ----------
    samples : ndarray, shape (n_samples,)
        Of the photodiode, any unit, either polarity.
    stamps : ndarray, shape (n_samples,)
        Seconds, in the clock of the flips.
    flips : sequence of Flip
        Only those that change the patch, in order.
    after_s : float
        How late an answer may be; shorter than the shortest time between two flips.

    Raises
    ------
    InputError
        The trace does not show the patch: a sentence says what it shows instead.
    """
    x, t = _around(samples, stamps, flips, after_s)
    rate_hz = _rate(t)
    for smoothed_s in SMOOTH_S:
        y = _smoothed(x, round(smoothed_s * rate_hz))
        low, high, spread = _plateaus(y)
        if spread > CALM * (high - low):
            continue
        sign, each_ms, extra = _matched(*_crossings(y, t, low, high), flips, after_s)
        if extra <= FLICKER * len(flips):
            break
    contrast = (high - low) / spread if spread > 0 else math.inf
    if not contrast >= LEAST_CONTRAST:
        raise InputError(
            f"The photodiode's light and dark lie only {contrast:.1f} spreads of its noise apart; "
            f"{LEAST_CONTRAST:g} are needed.",
            "Tape the sensor flat onto the patch, shield it from the room's light, and raise its "
            "gain.",
        )
    sign, each_ms, extra = _matched(*_crossings(y, t, low, high), flips, after_s)
    if extra > FLICKER * len(flips):
        raise InputError(
            f"The photodiode changed {extra} times when the patch did not.",
            "Is it on the patch, and nothing else near it? A flickering backlight needs a sensor "
            "with a low-pass, or full brightness.",
        )
    _refuse_railed(x, low, high, sign)
    each_ms, unseen = _without_holes(each_ms, t, flips, after_s, smoothed_s)
    lit = np.array([f.lit for f in flips])
    return Measured(
        delay=summary(each_ms, extra=extra, unseen=unseen),
        each_ms=each_ms,
        contrast=contrast,
        polarity=sign,
        smoothed_ms=1e3 * smoothed_s,
        rise_ms=_median(each_ms[lit]),
        fall_ms=_median(each_ms[~lit]),
    )


def click_delay(
    samples: Float, stamps: Float, flips: Sequence[Flip], *, after_s: float = AFTER_S
) -> Measured:
    """Return how much later than the flips a microphone or an audio line heard the clicks.

    A click is where the trace, without hum, exceeds both five spreads of its noise and a fifth of
    the usual click's peak; it begins where it rose out of the noise just before. Every flip
    clicks; parameters and errors as of `light_delay`.
    """
    x, t = _around(samples, stamps, flips, after_s)
    rate_hz = _rate(t)
    if np.ptp(x) == 0.0:
        raise InputError(
            f"The audio column shows one value only ({x[0]:g}) all the time.",
            "Check the cable and the column; the loudspeaker's volume may be off.",
        )
    sos = signal.butter(4, CLICK_HIGH_PASS_HZ, "highpass", fs=rate_hz, output="sos")
    # Causal: a click must not begin before it began. The start is left out of the noise.
    heard = np.abs(signal.sosfilt(sos, x - x[: max(1, round(0.05 * rate_hz))].mean()))
    noise = 1.4826 * float(np.median(heard))
    peaks = [float(np.max(heard[part], initial=0.0)) for part in _windows(t, flips, after_s)]
    peak = float(np.median(peaks))
    if not peak > LEAST_CLICK * noise:
        raise InputError(
            f"No clicks are heard: the usual peak is {peak / noise if noise else 0.0:.1f} spreads "
            f"of the noise, {LEAST_CLICK:g} are needed.",
            "Raise the volume, move the microphone to the loudspeaker, or use a cable."
            + (
                f" At {rate_hz:.0f} Hz the sensor may filter a click of 1 kHz away: {CLEAR_HZ:g} "
                "Hz or more hear it."
                if rate_hz < CLEAR_HZ - 1.0
                else ""
            ),
        )
    faint = max(CLICK_SIGMA * noise, 0.02 * peak)
    onsets = _bursts(heard, t, faint, max(faint, CLICK_SHARE * peak))
    each_ms, extra = _nearest(onsets, flips, after_s)
    each_ms, unseen = _without_holes(each_ms, t, flips, after_s, 0.0)
    return Measured(
        delay=summary(each_ms, extra=extra, unseen=unseen),
        each_ms=each_ms,
        contrast=peak / noise if noise > 0 else math.inf,
    )


# ---------------------------------------------------------------- the trace


def _around(
    samples: Float, stamps: Float, flips: Sequence[Flip], after_s: float
) -> tuple[Float, Float]:
    """Return the finite part of the trace that belongs to the flips, in the order of time."""
    if not flips:
        raise InputError("The window reported no transition at all.", "Try again.")
    keep = np.isfinite(samples) & np.isfinite(stamps)
    keep &= (stamps >= flips[0].t - after_s) & (stamps <= flips[-1].t + after_s + BEFORE_S)
    x, t = np.asarray(samples[keep], dtype=float), np.asarray(stamps[keep], dtype=float)
    order = np.argsort(t, kind="stable")
    x, t = x[order], t[order]
    if len(t) < 10 or t[-1] - t[0] < 0.5 * (flips[-1].t - flips[0].t):
        raise InputError(
            "The sensor sent too few samples while the patch changed.",
            "Check that its stream runs, and that its stamps follow LSL's clock.",
        )
    return x, t


def _rate(t: Float) -> float:
    step = float(np.median(np.diff(t)))
    if step <= 0.0:
        raise InputError(
            "Most samples of the sensor bear the same stamp.", "Mend the program that sends them."
        )
    return 1.0 / step


def _smoothed(x: Float, n: int) -> Float:
    """Return the mean over `n` samples around each, without shift; single outliers go first."""
    y = signal.medfilt(x, 3)
    y[0], y[-1] = x[0], x[-1]
    n += 1 - n % 2  # as much before as after
    if n <= 1:
        return np.asarray(y)
    padded = np.pad(y, n // 2, mode="edge")
    return np.convolve(padded, np.full(n, 1.0 / n), mode="valid")


def _plateaus(x: Float) -> tuple[float, float, float]:
    """Return the lower and the upper plateau of a trace, and the larger spread around them.

    Raises
    ------
    InputError
        The trace has one value only, or only one plateau.
    """
    low, high = (float(v) for v in np.percentile(x, (5.0, 95.0)))
    if np.ptp(x) == 0.0:
        raise InputError(
            f"The photodiode shows one value only ({x[0]:g}) all the time.",
            "It is not on the patch, is saturated, or the column is another one.",
        )
    if high == low:
        low, high = float(np.min(x)), float(np.max(x))
    upper = x > 0.5 * (low + high)
    for _ in range(50):  # two means
        if upper.all() or not upper.any():
            break
        low, high = float(np.median(x[~upper])), float(np.median(x[upper]))
        after = x > 0.5 * (low + high)
        if np.array_equal(after, upper):
            break
        upper = after
    if upper.all() or not upper.any():
        return low, low, math.inf
    return low, high, max(_spread(x[~upper]), _spread(x[upper]))


def _spread(x: Float) -> float:
    """Return the standard deviation of a plateau, edges and outliers left out, ripple not."""
    low, high = np.percentile(x, (10.0, 90.0))
    return float(high - low) / 2.563


def _refuse_railed(x: Float, low: float, high: float, sign: int) -> None:
    """Refuse a trace whose lit plateau is cut off: half of its height is not known then.

    Raises
    ------
    InputError
    """
    upper = x > 0.5 * (low + high)
    lit, dark = (x[upper], x[~upper]) if sign > 0 else (x[~upper], x[upper])
    edge = float(np.max(x)) if sign > 0 else float(np.min(x))
    railed = float(np.mean(lit == edge)) >= PINNED
    # A sensor without noise in the dark either is digital, or very quiet; nothing is cut off.
    if railed and _spread(dark) > 0.0:
        raise InputError(
            f"The photodiode is saturated: while the patch is lit it stands still at {edge:g}.",
            "Lower its gain, or the brightness of the screen.",
        )


def _crossings(x: Float, t: Float, low: float, high: float) -> tuple[Float, Bool]:
    """Return when the trace went half way between the plateaus, and whether upwards.

    Hysteresis decides that it went; a straight line between two samples says when.
    """
    level = (x - low) / (high - low)
    # 1 above, -1 below, 0 between: the last one that was clear holds.
    clear = np.where(level >= HIGH, 1, np.where(level <= LOW, -1, 0))
    known = np.maximum.accumulate(np.where(clear != 0, np.arange(len(x)), -1))
    state = np.where(known >= 0, clear[np.maximum(known, 0)], 0)
    changes = np.flatnonzero((state[1:] != state[:-1]) & (state[:-1] != 0)) + 1
    at, up = [], []
    for i in changes:
        rising = state[i] > 0
        j = int(i)
        # Back from where it was clear to where it went through the middle.
        while j > 0 and (level[j - 1] - 0.5 > 0) == rising:
            j -= 1
        a, b = (level[j - 1], level[j]) if j > 0 else (level[j], level[j])
        share = (0.5 - a) / (b - a) if b != a else 0.5
        at.append(t[j - 1] + share * (t[j] - t[j - 1]) if j > 0 else t[j])
        up.append(rising)
    return np.array(at), np.array(up, dtype=bool)


def _bursts(heard: Float, t: Float, faint: float, loud: float) -> Float:
    """Return when clicks began: half way between the last quiet sample and the first one.

    A click is `loud` somewhere; from there it goes back to where it was `faint`.
    """
    found = np.flatnonzero(heard > loud)
    if len(found) == 0:
        return np.zeros(0)
    first = found[np.concatenate(([True], np.diff(t[found]) > BURST_S))]
    onsets = []
    for i in first:
        j = int(i)
        while j > 0 and heard[j - 1] > faint and t[i] - t[j - 1] < ATTACK_S:
            j -= 1
        onsets.append(0.5 * (t[j] + t[max(j - 1, 0)]))
    return np.array(onsets)


# ---------------------------------------------------------------- flips and answers


def _windows(t: Float, flips: Sequence[Flip], after_s: float) -> list[slice]:
    starts = np.searchsorted(t, [f.t - BEFORE_S for f in flips])
    ends = np.searchsorted(t, [f.t + after_s for f in flips])
    return [slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def _nearest(at: Float, flips: Sequence[Flip], after_s: float) -> tuple[Float, int]:
    """Return the delay of the first free answer of every flip, and how many were left over."""
    each_ms = np.full(len(flips), np.nan)
    used = np.zeros(len(at), dtype=bool)
    for i, flip in enumerate(flips):
        fits = np.flatnonzero(~used & (at >= flip.t - BEFORE_S) & (at <= flip.t + after_s))
        if len(fits):
            each_ms[i] = 1e3 * (at[fits[0]] - flip.t)
            used[fits[0]] = True
    return each_ms, int(np.sum(~used & (at >= flips[0].t - BEFORE_S)))


def _matched(at: Float, up: Bool, flips: Sequence[Flip], after_s: float) -> tuple[int, Float, int]:
    """Return the polarity that explains most flips, the delays, and answers of no flip."""
    best: tuple[int, float, int, Float, int] | None = None
    for sign in (1, -1):
        each_ms = np.full(len(flips), np.nan)
        extra = 0
        for lit in (True, False):
            some = [i for i, f in enumerate(flips) if f.lit == lit]
            answers = at[up == (lit == (sign > 0))]
            if some:
                each_ms[some], over = _nearest(answers, [flips[i] for i in some], after_s)
                extra += over
        found = each_ms[np.isfinite(each_ms)]
        this = (len(found), -float(np.std(found)) if len(found) else 0.0, sign, each_ms, extra)
        if best is None or this[:2] > best[:2]:
            best = this
    assert best is not None
    _, _, sign, each_ms, extra = best
    return sign, each_ms, extra


def _without_holes(
    each_ms: Float, t: Float, flips: Sequence[Flip], after_s: float, margin_s: float
) -> tuple[Float, int]:
    """Return the delays without those whose answer a hole in the trace could have hidden or moved.

    A flip that was answered is judged unless the hole touches the answer; one that was not is
    judged unless there is a hole anywhere in its window.
    """
    step = float(np.median(np.diff(t)))
    holes = np.flatnonzero(np.diff(t) > GAP_SAMPLES * step)
    starts, ends = t[holes] - margin_s, t[holes + 1] + margin_s
    kept, unseen = each_ms.copy(), 0
    for i, flip in enumerate(flips):
        if math.isfinite(each_ms[i]):
            first = last = flip.t + 1e-3 * each_ms[i]
        else:
            first, last = flip.t - BEFORE_S, flip.t + after_s
        beyond = not math.isfinite(each_ms[i]) and last > t[-1]
        if beyond or np.any((starts <= last) & (ends >= first)):
            kept[i] = np.nan
            unseen += 1
    return kept, unseen


def _median(values: NDArray[np.float64]) -> float:
    found = values[np.isfinite(values)]
    return float(np.median(found)) if len(found) else math.nan
