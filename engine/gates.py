"""Gates: is this moment's EEG brain, or something else?

Measured on their own branch, never through the protocol's band (numbers: Neuroloop's science
document, section 4.1, design defaults unless a source is named):

========== ===================================== ================================ ========
gate       measured per grid point               closes when                      freezes
========== ===================================== ================================ ========
amplitude  max |x|, 1-40 Hz, per site            > 100 µV (eyes closed 250 µV);   500 ms (*)
                                                 after a baseline > max(100 µV,
                                                 median + 6 robust SD of this)
blink      range within 400 ms, 0.5-5 Hz, at     > 75 µV; after a baseline        500 ms
           Fp1, Fp2, EOG                         > max(75 µV, the same)
muscle     RMS 30-45 Hz, and above it as far     > 15 µV; after a baseline        500 ms
           from mains as can be, 0.1 s           > min(15 µV, median + k robust
                                                 SD), k = 5 + log2(sites) / 2
saccade    mean of 100 ms minus mean of the      > max(40 µV, 4 robust SD of      300 ms
           100 ms before, of F7 - F8 or a        this trace in the last 10 s)
           horizontal EOG, as recorded
motion     distance of the accelerometer's       > 0.1 g                          500 ms
           magnitude from its resting value
step       a jump between two samples; one that  see `engine.condition`           500 ms,
           stays starts the filters anew                                          then 1 s
flat, rail flags of `engine.condition`           at a site in use                 5 s clean
nan, gap   flags; missing samples                at a site in use                 settling
marked     by the operator                       at a site in use                 for good
========== ===================================== ================================ ========

(*) or until the features' filters hold less than a thousandth of its energy, whichever is longer: a
movement of 300 µV in the trained band would otherwise be read as the rhythm.

A blink site that the operator marked bad is not asked; when every other one is flat, railed or
without numbers, nobody would see a blink, and that gates too.

A mean over 100 ms is blind to 10 Hz and its multiples, mains among them, the difference of two to
slow drift; of a step with a flank of 40 ms nine tenths show. Nothing is learned of it from a
baseline: temples are often restless (F7 - F8 of EEGBCI S001R01 and R02 would be gated 70 to 77 % of
the time at 40 µV, so that no baseline would ever be clean), and the trace's own last 10 s say
how much a step must stand out, from the first second on. The metric is the step times
``40 µV / max(40 µV, 4 robust SD)``, so that one limit holds.

Gravity calibrates the accelerometer: its magnitude is divided by its own median over 10 s, so a
wrong scale is no motion, and neither is a sensor that starts with a sample of something else (the
Cyton of our OpenBCI recording does).

Limits learned from a baseline never apply to decisions already made; the baseline itself is
re-gated once with them (`Gates.relearn`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import butter, iirnotch, sosfilt_zi, tf2sos

from engine.condition import Conditioned, carried_sos, settle_samples
from engine.estimate import analytic_sos
from engine.frames import Bool, Float, Gate, Quality, frozen
from engine.ring import Ring, column_medians

__all__ = ["GateLimits", "GatePoint", "GateRule", "GateSettings", "Gates", "MotionRule"]

AMPLITUDE_UV = 100.0
AMPLITUDE_EYES_CLOSED_UV = 250.0
BLINK_UV = 75.0
BLINK_WINDOW_S = 0.4
# 10 µV [design default] would gate 26 % of a still person's eyes-closed EEG (EEGBCI S001R02 and
# S002R02 at O1, Oz, O2 as recorded, 99th percentile 9-13 µV): strong alpha has its own overtones.
MUSCLE_UV = 15.0
MUSCLE_MEAN_S = 0.1
ROBUST_SD = 6.0
# 4 [design default] at six sites closes 13 to 29 % of the time of still people with closed eyes
# (EEGMAT 03, 10 and 19, limits from the first half, gated in the second); 6.3 closes 1 to 6 %. Each
# doubling of the sites that may close it costs half an SD.
MUSCLE_ROBUST_SD = 5.0
MUSCLE_SD_PER_DOUBLING = 0.5
SACCADE_UV = 40.0
SACCADE_MEAN_S = 0.1  # of each of the two means; at 10 Hz a whole period
SACCADE_ROBUST_SD = 4.0
SACCADE_MEMORY_S = 10.0
NORM_POINTS = 10  # what a trace is at rest is looked at every tenth grid point
SACCADE_AFTER_S = 0.3
MOTION_G = 0.1
MOTION_REST_S = 10.0
MOTION_LEAST_G = 0.1  # less at rest is no accelerometer at work
AFTER_S = 0.5
STEP_AFTER_S = 1.0
BLINK_BEFORE_S = 0.1
MIN_POINTS = 50  # fewer baseline points teach nothing
MUSCLE_MIN_RATE_HZ = 100.0  # below, no band of muscle is left to look at
HIGH_MUSCLE_MIN_RATE_HZ = 200.0

# Plain numbers: flag algebra of Python's enums is slow.
_STEP, _NAN, _WARMUP = int(Gate.STEP), int(Gate.NAN), int(Gate.WARMUP)
_QUALITY_STEP, _QUALITY_NAN = int(Quality.STEP), int(Quality.NAN)
_QUALITY_MARKED = int(Quality.MARKED)
_QUALITY_BROKEN = int(Quality.FLAT | Quality.RAIL | Quality.NAN)
_UNSEEING = _QUALITY_BROKEN | _QUALITY_MARKED
_MAINS_HZ = (50.0, 60.0)
_AT_ONCE = (
    (int(Quality.FLAT), int(Gate.FLAT)),
    (int(Quality.RAIL), int(Gate.RAIL)),
    (int(Quality.MARKED), int(Gate.MARKED)),
)
_GATES: dict[int, Gate] = {}
_ZERO = np.zeros(1, np.int64)


@dataclass(frozen=True, slots=True)
class GateRule:
    """One gate: at which conditioned sites, with which limit and freeze (None: the default)."""

    on: bool
    sites: tuple[int, ...]
    limit_uv: float | None = None
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class MotionRule:
    """The gate of motion: on where there is an accelerometer."""

    on: bool = False
    limit_g: float | None = None
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What the gates need to know; sites are columns of `Conditioned`."""

    rate_hz: float
    hop: int
    amplitude: GateRule
    blink: GateRule
    muscle: GateRule
    step: GateRule
    needed: tuple[int, ...]  # sites of the features: flat, rail, NaN, gap count there
    mains_hz: float | None
    eyes_closed: bool
    site_names: tuple[str, ...] = ()
    settle: int = 0  # samples the slowest filter of the chain needs after a restart
    memory: int = 0  # samples for which the features' filters remember a large amplitude
    saccade: GateRule = GateRule(False, ())  # sites are columns of `Conditioned.eyes_uv`
    motion: MotionRule = MotionRule()
    eye_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateLimits:
    """The limit of every metric, in the order of `GateSettings`' sites."""

    limits: Float
    learned: bool = False


@dataclass(frozen=True, slots=True)
class GatePoint:
    """What the gates measured at the grid points of a segment.

    Parameters
    ----------
    metrics : ndarray, shape (n_grid, n_metrics)
        Amplitude per site, blink per site, muscle per site, saccade per trace, in µV; motion
        in g.
    flags : ndarray of int64, shape (n_grid, n_sites)
        `Quality` bits since the previous grid point.
    warm_from : tuple of int
        Per grid point, the sample at which a needed site last started anew.
    eyes_flags : ndarray of int64, shape (n_grid, n_eyes)
        The same as `flags`, of the traces of eye movements.
    anew : tuple of bool
        Per grid point, whether a jump made filters of a watched site start anew.
    """

    metrics: Float
    flags: np.ndarray
    warm_from: tuple[int, ...]
    eyes_flags: np.ndarray
    anew: tuple[bool, ...]


def _per_hop(
    reduce: np.ufunc, rows: np.ndarray, grid: np.ndarray, carried: np.ndarray, nothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reduce the rows since the previous grid point, for every grid point of a segment.

    Returns
    -------
    at_grid : ndarray, shape (n_grid, n_columns)
    carried : ndarray, shape (n_columns,)
        What is left after the last grid point, for the next segment.
    """
    if not len(grid):
        return np.empty((0, rows.shape[1]), rows.dtype), reduce(carried, reduce.reduce(rows))
    starts = np.concatenate([_ZERO, grid + 1])
    whole = int(starts[-1]) == len(rows)
    out = reduce.reduceat(rows, starts[:-1] if whole else starts, axis=0)
    out[0] = reduce(carried, out[0])
    if whole:
        return out, np.full(rows.shape[1], nothing, rows.dtype)
    return out[:-1], out[-1]


class Gates:
    """Measure and decide (settings + state + step)."""

    def __init__(self, settings: GateSettings) -> None:
        self.settings = s = settings
        fs = s.rate_hz
        nyquist = fs / 2.0
        self._amplitude_at = list(s.amplitude.sites) if s.amplitude.on else []
        self._blink_at = list(s.blink.sites) if s.blink.on else []
        self._muscle_at = list(s.muscle.sites) if s.muscle.on else []
        if fs < MUSCLE_MIN_RATE_HZ:
            self._muscle_at = []
        self._saccade_at = list(s.saccade.sites) if s.saccade.on else []
        self._mean_n = max(1, round(SACCADE_MEAN_S * fs))
        self._saccade_uv = s.saccade.limit_uv or SACCADE_UV
        # Mains is a warning, never a gate: it is kept out here whatever the protocol does with it,
        # and both frequencies of the world are where the room's is not known (files).
        mains = [m for m in _MAINS_HZ if s.mains_hz in (None, m) and m < 0.45 * fs]
        notches = [tf2sos(*iirnotch(m, 10.0, fs=fs)) for m in mains]
        broad = butter(2, (1.0, min(40.0, 0.8 * nyquist)), "bandpass", fs=fs, output="sos")
        self._broad: np.ndarray = np.concatenate([broad, *notches])
        # Two gentle slopes: a second-order band-pass sees one blink in a thousand only after 0.2 s.
        self._slow: np.ndarray = np.concatenate(
            [
                butter(1, 0.5, "highpass", fs=fs, output="sos"),
                butter(2, 5.0, "lowpass", fs=fs, output="sos"),
            ]
        )
        self._base: np.ndarray = np.concatenate(
            [butter(2, 1.0, "highpass", fs=fs, output="sos"), *notches]
        )
        bands = [(30.0, min(45.0, 0.45 * fs))]
        if fs >= HIGH_MUSCLE_MIN_RATE_HZ and s.mains_hz is not None:
            bands.append((45.0, 57.0) if s.mains_hz > 55.0 else (53.0, 65.0))
        # Below the least rate nobody looks, and the band may not even exist.
        self._muscle = [analytic_sos(b, fs) for b in bands] if self._muscle_at else []
        keep = math.exp(-1.0 / (MUSCLE_MEAN_S * fs))
        self._mean = np.array([[1.0 - keep, 0.0, 0.0, 1.0, -keep, 0.0]])
        self._starts = {
            "broad": sosfilt_zi(self._broad),
            "slow": sosfilt_zi(self._slow),
            "base": sosfilt_zi(self._base),
        }
        self._own_settle = max(settle_samples(self._broad, fs), settle_samples(self._slow, fs))
        self.settle = max(s.settle, self._own_settle)
        self._grid_hz = fs / s.hop
        self._window = max(1, round(BLINK_WINDOW_S * self._grid_hz))
        n_a, n_b, n_m = len(self._amplitude_at), len(self._blink_at), len(self._muscle_at)
        n_s, n_g = len(self._saccade_at), int(s.motion.on)
        self._kind = np.repeat([0, 1, 2, 3, 4], [n_a, n_b, n_m, n_s, n_g])
        self.n_metrics = len(self._kind)
        self.limits = self._defaults()
        first = np.searchsorted(self._kind, range(6)).tolist()
        self._plan = tuple(
            (gate, slice(a, b), default_s if rule.after_s is None else rule.after_s)
            for gate, a, b, rule, default_s in (
                (Gate.AMPLITUDE, *first[0:2], s.amplitude, AFTER_S),
                (Gate.BLINK, *first[1:3], s.blink, AFTER_S),
                (Gate.MUSCLE, *first[2:4], s.muscle, AFTER_S),
                (Gate.SACCADE, *first[3:5], s.saccade, SACCADE_AFTER_S),
                (Gate.MOTION, *first[4:6], s.motion, AFTER_S),
            )
        )
        self._after = {int(gate): self._points(after_s) for gate, _, after_s in self._plan}
        self._remember(s.memory)
        step_after = STEP_AFTER_S if s.step.after_s is None else s.step.after_s
        self._after[_STEP] = self._points(step_after)
        self._after_jump = self._points(min(AFTER_S, step_after))
        self._settle_points = math.ceil(self.settle / s.hop)
        self._until: dict[int, int] = {}  # until which grid index each gate stays closed
        self._judged: tuple[Any, Any, Any] = (None, None, ())
        self._needed = list(s.needed)
        self._step_at = list(s.step.sites) if s.step.on else []
        self.restart()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Name of every metric: which gate measured it, and at which site."""
        names, eyes = self.settings.site_names, self.settings.eye_names
        out = [
            f"{gate}_{of[i] if i < len(of) else i}"
            for gate, sites, of in (
                ("amplitude", self._amplitude_at, names),
                ("blink", self._blink_at, names),
                ("muscle", self._muscle_at, names),
                ("saccade", self._saccade_at, eyes),
            )
            for i in sites
        ]
        return (*out, "motion_g") if self.settings.motion.on else tuple(out)

    def _points(self, seconds: float) -> int:
        return math.ceil(seconds * self._grid_hz)

    def _defaults(self) -> GateLimits:
        s = self.settings
        amplitude = AMPLITUDE_EYES_CLOSED_UV if s.eyes_closed else AMPLITUDE_UV
        given = (
            s.amplitude.limit_uv or amplitude,
            s.blink.limit_uv or BLINK_UV,
            s.muscle.limit_uv or MUSCLE_UV,
            s.saccade.limit_uv or SACCADE_UV,
            s.motion.limit_g or MOTION_G,
        )
        return GateLimits(frozen(np.asarray(given, float)[self._kind]))

    def restart(self) -> None:
        """Forget the signal (start, gap); freezes in force stay."""
        n_a, n_b, n_m = len(self._amplitude_at), len(self._blink_at), len(self._muscle_at)
        self._zi_broad = np.zeros((len(self._broad), 2, n_a))
        self._zi_slow = np.zeros((len(self._slow), 2, n_b))
        self._zi_base = np.zeros((len(self._base), 2, n_m))
        self._zi_muscle = [np.zeros((len(m), 2, n_m), complex) for m in self._muscle]
        self._zi_mean = np.zeros((1, 2, n_m))
        self._hop_max = np.full(n_a, -np.inf)
        self._slow_max = np.full(n_b, -np.inf)
        self._slow_min = np.full(n_b, np.inf)
        # Per hop, largest and minus smallest, over the blink window; nothing yet.
        self._extremes = np.full((self._window - 1, 2 * n_b), -np.inf)
        self._eyes_before: Float | None = None  # (n_eyes, samples of both means)
        n_s = len(self._saccade_at)
        self._eyes_past = Ring(round(SACCADE_MEMORY_S * self._grid_hz), n_s)
        self._eyes_norm = np.full(n_s, self._saccade_uv)  # µV, what counts as the limit
        self._rest_past = Ring(round(MOTION_REST_S * self._grid_hz), 1)
        self._rest_g = 0.0
        self._hop_high, self._hop_low = np.full(1, -np.inf), np.full(1, np.inf)
        self._hop_flags: np.ndarray = np.zeros((), np.int64)
        self._hop_eyes: np.ndarray = np.zeros((), np.int64)
        self._hop_anew = False
        self._warm_from = -1  # sample index of the last restart of a needed site

    # -------------------------------------------------------------- measure

    def measure(self, c: Conditioned) -> GatePoint:
        """Return what the gates see at the grid points of one segment."""
        grid = c.grid
        broad, self._hop_max = _per_hop(
            np.maximum, np.abs(self._filter_broad(c)), grid, self._hop_max, -np.inf
        )
        slow = self._filter_slow(c)
        top, self._slow_max = _per_hop(np.maximum, slow, grid, self._slow_max, -np.inf)
        low, self._slow_min = _per_hop(np.minimum, slow, grid, self._slow_min, np.inf)
        flags, self._hop_flags = _per_hop(np.bitwise_or, c.flags, grid, self._hop_flags, 0)
        metrics = np.empty((len(grid), self.n_metrics))
        n_a, n_b = len(self._amplitude_at), len(self._blink_at)
        metrics[:, :n_a] = broad
        if n_b and len(grid):
            metrics[:, n_a : n_a + n_b] = self._reach(top, low)
        metrics[:, self._kind == 2] = np.sqrt(self._filter_muscle(c))
        eyes_flags = np.zeros((len(grid), 0), np.int64)
        if self._saccade_at:
            eyes_flags, self._hop_eyes = _per_hop(
                np.bitwise_or, c.eyes_flags, grid, self._hop_eyes, 0
            )
            metrics[:, self._kind == 3] = self._eye_steps(c)
        if self.settings.motion.on:
            metrics[:, self._kind == 4] = self._motion(c)
        anew = self._anew(c)  # before it is known that the segment's start has been seen
        return GatePoint(frozen(metrics), frozen(flags), self._warm(c), frozen(eyes_flags), anew)

    def _eye_steps(self, c: Conditioned) -> Float:
        """Return how much each trace stepped, against its own norm, at the grid points."""
        traces = np.ascontiguousarray(c.eyes_uv[:, self._saccade_at].T)
        out = np.zeros((len(c.grid), len(traces)))
        if not len(c.eyes_uv):
            return out
        w = self._mean_n
        n = 2 * w
        before = self._eyes_before
        if before is None:
            before = np.repeat(traces[:, :1], n, axis=1)
        traces = np.concatenate([before, traces], axis=1)
        self._eyes_before = traces[:, -n:].copy()
        if not len(c.grid):
            return out
        # Every window is summed by itself: the same numbers however chunks are cut.
        last = traces[:, c.grid[:, None] + np.arange(1, n + 1)]
        sums = np.add.reduce(last.reshape(len(traces), len(c.grid), 2, w), axis=3)
        steps = (np.abs(sums[:, :, 1] - sums[:, :, 0]) / w).T
        first = (c.seq + int(c.grid[0])) // self.settings.hop
        at = 0
        for stop in (*range(-first % NORM_POINTS, len(c.grid), NORM_POINTS), len(c.grid)):
            if stop > at:
                self._eyes_past.push(steps[at:stop])
                out[at:stop] = steps[at:stop] * (self._saccade_uv / self._eyes_norm)
            at = stop
            if stop < len(c.grid) and self._eyes_past.filled >= MIN_POINTS:
                past = self._eyes_past.window()[-self._eyes_past.filled :]
                robust_sd = 1.4826 * column_medians(past)
                self._eyes_norm = np.maximum(self._saccade_uv, SACCADE_ROBUST_SD * robust_sd)
        return out

    def _motion(self, c: Conditioned) -> Float:
        """Return how far the acceleration's magnitude went from its resting value, g."""
        grid = c.grid
        high, self._hop_high = _per_hop(np.maximum, c.motion_g, grid, self._hop_high, -np.inf)
        known = np.where(c.motion_g > 0.0, c.motion_g, np.inf)
        low, self._hop_low = _per_hop(np.minimum, known, grid, self._hop_low, np.inf)
        out = np.zeros((len(grid), 1))
        for g, row in enumerate(grid.tolist()):
            size = c.motion_g[row : row + 1]
            if not size[0, 0]:  # no reading has arrived
                continue
            self._rest_past.push(size)
            past = self._rest_past
            if past.filled < MIN_POINTS or (c.seq + row) // self.settings.hop % NORM_POINTS == 0:
                self._rest_g = max(MOTION_LEAST_G, float(np.median(past.window()[-past.filled :])))
            rest = self._rest_g
            out[g] = max(high[g, 0] - rest, rest - low[g, 0]) / rest
        return out

    def _reach(self, top: Float, low: Float) -> Float:
        """Return the range over the blink window, given every new hop's extremes."""
        both = np.concatenate([top, -low], axis=1)
        rows = np.concatenate([self._extremes, both])
        self._extremes = rows[len(both) :]
        window = np.arange(len(both))[:, None] + np.arange(self._window)
        most = np.maximum.reduce(rows[window], axis=1)
        k = top.shape[1]
        return np.asarray(most[:, :k] + most[:, k:])

    def _anew(self, c: Conditioned) -> tuple[bool, ...]:
        """Return, per grid point, whether a jump has restarted a site that is watched for it."""
        fresh = self._warm_from < 0
        rows = [r for r, mask in c.resets if (r or not fresh) and mask[self._step_at].any()]
        out = []
        for row in c.grid.tolist():
            due = self._hop_anew or any(r <= row for r in rows)
            rows = [r for r in rows if r > row]
            self._hop_anew = False
            out.append(due)
        self._hop_anew = self._hop_anew or bool(rows)
        return tuple(out)

    def _warm(self, c: Conditioned) -> tuple[int, ...]:
        """Return, per grid point, the sample at which a needed site last started anew."""
        if self._warm_from < 0:
            self._warm_from = c.seq
        anew = [row for row, mask in c.resets if mask[self._needed].any()]
        warm_from = []
        for row in c.grid.tolist():
            while anew and anew[0] <= row:
                self._warm_from = c.seq + anew.pop(0)
            warm_from.append(self._warm_from)
        if anew:
            self._warm_from = c.seq + anew[-1]
        return tuple(warm_from)

    @staticmethod
    def _at(c: Conditioned, sites: list[int]) -> tuple[tuple[int, Bool], ...]:
        return tuple((row, mask[sites]) for row, mask in c.resets)

    def _filter_broad(self, c: Conditioned) -> Float:
        sites = self._amplitude_at
        y, self._zi_broad = carried_sos(
            self._broad,
            c.referenced_uv[:, sites],
            self._zi_broad,
            self._at(c, sites),
            self._starts["broad"],
        )
        return y

    def _filter_slow(self, c: Conditioned) -> Float:
        sites = self._blink_at
        y, self._zi_slow = carried_sos(
            self._slow,
            c.referenced_uv[:, sites],
            self._zi_slow,
            self._at(c, sites),
            self._starts["slow"],
        )
        return y

    def _filter_muscle(self, c: Conditioned) -> Float:
        """Return the mean muscle power at the grid points, µV²."""
        sites = self._muscle_at
        resets = self._at(c, sites)
        x, self._zi_base = carried_sos(
            self._base, c.referenced_uv[:, sites], self._zi_base, resets, self._starts["base"]
        )
        power = np.zeros_like(x)
        for k, sos in enumerate(self._muscle):
            z, self._zi_muscle[k] = carried_sos(sos, x, self._zi_muscle[k], resets, None)
            power += 2.0 * (z.real**2 + z.imag**2)
        mean, self._zi_mean = carried_sos(self._mean, power, self._zi_mean, resets, None)
        return np.asarray(np.maximum(mean[c.grid], 0.0))

    # -------------------------------------------------------------- decide

    def decide(self, seq: int, seen: GatePoint, g: int) -> Gate:
        """Return why grid point `g` of `seen`, at sample `seq`, is gated; start freezes."""
        if self._judged[0] is not seen or self._judged[1] is not self.limits:
            self._judged = (seen, self.limits, self._judge(seen))
        hits, bits, stepped = self._judged[2][g]
        index = seq // self.settings.hop
        until = self._until
        gate = _WARMUP if seq < seen.warm_from[g] + self.settle else 0
        # Also while warming up: what is over by then has its aftermath.
        for kind in hits:
            until[kind] = index + self._after[kind]
        if seen.anew[g]:
            until[_STEP] = index + self._after[_STEP]
        elif stepped:
            until[_STEP] = max(until.get(_STEP, 0), index + self._after_jump)
        if bits & _QUALITY_NAN:
            until[_NAN] = index + self._settle_points
        for quality, kind in _AT_ONCE:
            if bits & quality:
                gate |= kind
        for kind, last in until.items():
            if index <= last:
                gate |= kind
        found = _GATES.get(gate)
        if found is None:
            found = _GATES[gate] = Gate(gate)
        return found

    def _judge(self, seen: GatePoint) -> list[tuple[tuple[int, ...], int, bool]]:
        """Return per grid point: gates hit, quality bits of needed sites, whether one jumped."""
        over = seen.metrics > self.limits.limits
        flags = seen.flags
        bits = np.bitwise_or.reduce(flags[:, self._needed], axis=1)
        if self._blink_at and flags[:, self._blink_at].any():
            at = flags[:, self._blink_at]
            # A site that the operator took out is not asked; when all others are broken, nobody
            # would see a blink.
            asked = (at & _QUALITY_MARKED) == 0
            broken = np.where(asked, at & _QUALITY_BROKEN, _QUALITY_BROKEN)
            bits |= np.where(asked.any(axis=1), np.bitwise_and.reduce(broken, axis=1), 0)
            over[:, self._kind == 1] &= asked
        if self._saccade_at and seen.eyes_flags.any():
            # Sideways looks are asked for where they can be; nobody waits for a broken temple.
            over[:, self._kind == 3] &= (seen.eyes_flags[:, self._saccade_at] & _UNSEEING) == 0
        hit = set(np.flatnonzero(over.any(axis=1)).tolist())
        steps = np.bitwise_or.reduce(flags[:, self._step_at], axis=1).tolist()
        out = []
        for g in range(len(over)):
            hits: tuple[int, ...] = ()
            if g in hit:
                hits = tuple(int(kind) for kind, where, _ in self._plan if over[g, where].any())
            out.append((hits, int(bits[g]), bool(steps[g] & _QUALITY_STEP)))
        return out

    def gap(self, next_seq: int) -> None:
        """Samples are missing before `next_seq`: everything must fill anew."""
        self.restart()
        self._until[int(Gate.GAP)] = next_seq // self.settings.hop + self._settle_points

    def resettle(self, samples: int, memory: int) -> None:
        """Take other filters into account, from the next grid point on; see `GateSettings`."""
        self.settle = max(samples, self._own_settle)
        self._settle_points = math.ceil(self.settle / self.settings.hop)
        self._remember(memory)

    def _remember(self, samples: int) -> None:
        """Keep the amplitude gate closed until the filters have forgotten what closed it."""
        if self.settings.amplitude.after_s is None:
            least = self._points(AFTER_S)
            self._after[int(Gate.AMPLITUDE)] = max(least, math.ceil(samples / self.settings.hop))

    def need(self, sites: Sequence[int]) -> None:
        """Ask only these sites for what is flat, railed or marked, from the next grid point on."""
        self._needed = list(sites)

    # -------------------------------------------------------------- learn

    def relearn(self, metrics: Float) -> tuple[GateLimits, Bool]:
        """Learn this person's limits from a baseline and re-gate it once.

        Parameters
        ----------
        metrics : ndarray, shape (n_points, n_metrics)
            Every grid point of the baseline block, in order.

        Returns
        -------
        limits : GateLimits
            For `apply`. Given limits (YAML) are kept.
        keep : ndarray of bool, shape (n_points,)
            Points that stay open under the new limits, including the freeze after a hit and
            the 100 ms before a blink.
        """
        limits = self.limits.limits.copy()
        # Only from points that were open: blinks during a third of a baseline would widen a median
        # and its deviation until blinks fit within them.
        usable = np.isfinite(metrics).all(axis=1) & self._open(metrics, limits)
        if int(usable.sum()) >= MIN_POINTS:
            data = metrics[usable]
            centre = np.median(data, axis=0)
            robust_sd = 1.4826 * np.median(np.abs(data - centre), axis=0)
            s = self.settings
            rules = (s.amplitude, s.blink, s.muscle)
            doublings = math.log2(max(1, len(self._muscle_at)))
            muscle_times = MUSCLE_ROBUST_SD + MUSCLE_SD_PER_DOUBLING * doublings
            floors = (AMPLITUDE_UV, BLINK_UV, 0.0)
            for j, kind in enumerate(self._kind):
                # Saccades have their norm already, and shaking is no matter of habit.
                if kind > 2 or rules[kind].limit_uv is not None:
                    continue
                times = muscle_times if kind == 2 else ROBUST_SD
                limits[j] = max(floors[kind], centre[j] + times * robust_sd[j])
                if kind == 2:  # a tense baseline must not teach that tension is rest
                    limits[j] = min(limits[j], MUSCLE_UV)
        return GateLimits(frozen(limits), learned=True), self._open(metrics, limits)

    def _open(self, metrics: Float, limits: Float) -> Bool:
        """Return which points of a block are open, with the freeze after and before a hit."""
        keep = np.ones(len(metrics), bool)
        for gate, where, _ in self._plan:
            hits = np.flatnonzero((metrics[:, where] > limits[where]).any(axis=1))
            before = self._points(BLINK_BEFORE_S) if gate is Gate.BLINK else 0
            for h in hits:
                keep[max(0, h - before) : h + self._after[int(gate)] + 1] = False
        return keep

    def apply(self, limits: GateLimits) -> None:
        """Use learned limits from the next grid point on."""
        self.limits = limits
