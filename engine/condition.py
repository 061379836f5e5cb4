"""From a chunk as received to clean columns: contained, referenced, filtered, flagged.

Order: containment (NaN, rail) → reference → step detection → high-pass and mains notch. Every
operation is element-wise or runs sample by sample in a fixed order, so any slicing of the stream
gives the same numbers. A filter state never sees a value that is not finite.

A jump between two samples is flagged at once. One of more than 1 mV starts the filters anew at its
sample; a smaller one may be a tense jaw, which jumps by 50 µV all the time, so it is first looked
whether it stays: only when the mean of the 60 ms from it on differs from that of the 60 ms before
by more than 50 µV and half the jump, in its direction, do filters start anew, at the end of those
60 ms. On the simulated person (4 x 120 s, 250 Hz) 22 of 22 clenches restarted filters when every
jump did, 2 of 22 do now, and 229 of 230 pops of 100-400 µV still do; muscle has little power
below 1 / 60 ms. What a jump that does not stay leaves in the filters is for the gate's freeze.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.signal import butter, iirnotch, sosfilt, sosfilt_zi, tf2sos

try:
    from scipy.signal._sosfilt import _sosfilt
except ImportError:  # another SciPy: the public function gives the same numbers, only slower
    _sosfilt = None

from engine.auxiliary import Accelerometer, Eyes
from engine.frames import Bool, Float, Quality, StreamSpec, frozen
from engine.montage import find_site
from engine.reference import AVERAGE_NEEDS, Montage, rereference
from engine.ring import Ring, column_medians

__all__ = [
    "BEAT_HOPS",
    "DEFAULT_RANGE_UV",
    "Resets",
    "Conditioned",
    "Conditioner",
    "ConditionSettings",
    "carried_sos",
    "condition_settings",
    "settle_samples",
]

BEAT_HOPS = 10
"""Housekeeping (flat test, step limit) happens every tenth grid point, about 0.2 s."""
DEFAULT_RANGE_UV = 500_000.0
"""Clamp when the room names no range: wider than any DC-coupled EEG amplifier's input."""
FLAT_SD_UV = 0.5
FLAT_WINDOW_S = 1.0
RECOVER_S = 5.0  # a flat or railed channel is bad until it was clean this long
STEP_UV_AT_250_HZ = 50.0
STEP_ROBUST_SD = 8.0
STEP_MEMORY_S = 10.0
STEP_MIN_DIFFS = 50
STEP_LOOK_S = 0.06  # how long it is looked whether a jump stays
STEP_STAYS_UV = 50.0
STEP_STAYS_SHARE = 0.5  # of the jump; an electrode's own high-pass may already bend it back
STEP_AT_ONCE_UV = 1000.0  # larger than any muscle: nothing of it may enter a filter
CLIPPED_MIN_UV = 150.0  # three equal samples mean clipping only far from the mean
NOTCH_Q = 30.0
MOTION_RANGE_G = 100.0  # no amplifier's accelerometer goes further; what is no number stays out

# Plain numbers: flag algebra of Python's enums is slow.
_FLAT, _RAIL, _NAN = int(Quality.FLAT), int(Quality.RAIL), int(Quality.NAN)
_STEP, _MARKED = int(Quality.STEP), int(Quality.MARKED)
_BROKEN = _FLAT | _RAIL | _NAN

Resets = tuple[tuple[int, Bool], ...]


@dataclass(frozen=True, slots=True)
class ConditionSettings:
    """What conditioning needs to know.

    Parameters
    ----------
    rate_hz : float
        Nominal sampling rate.
    hop : int
        Samples between grid points.
    montage : Montage
        Columns, sites, reference.
    high_pass_hz : float
        Cut-off of the causal 2nd-order Butterworth high-pass.
    notch_hz : float or None
        Mains frequency, or None to leave it.
    range_uv : float
        Values beyond are clamped and flagged.
    eyes : tuple of Eyes
        Traces that show sideways eye movements, carried along for their gate.
    accelerometer : Accelerometer or None
        The stream's, carried along for the gate of motion.
    """

    rate_hz: float
    hop: int
    montage: Montage
    high_pass_hz: float
    notch_hz: float | None
    range_uv: float = DEFAULT_RANGE_UV
    eyes: tuple[Eyes, ...] = ()
    accelerometer: Accelerometer | None = None


@dataclass(frozen=True, slots=True)
class Conditioned:
    """One conditioned segment.

    Parameters
    ----------
    seq : int
        Index of the first sample.
    t : ndarray, shape (n_samples,)
        Raw stamps.
    referenced_uv : ndarray, shape (n_samples, n_sites)
        Contained and referenced, before any filter.
    uv : ndarray, shape (n_samples, n_sites)
        After high-pass and notch.
    flags : ndarray of int64, shape (n_samples, n_sites)
        `Quality` bits per sample.
    resets : tuple of (int, ndarray of bool)
        Rows at which the filters of the marked sites start anew; the first row of all after a
        start or a gap.
    grid : ndarray of int
        Rows that are grid points.
    eyes_uv : ndarray, shape (n_samples, n_eyes)
        Contained traces of sideways eye movements, as recorded.
    eyes_flags : ndarray of int64, shape (n_samples, n_eyes)
        `Quality` bits of the columns behind them.
    motion_g : ndarray, shape (n_samples, 0 or 1)
        Magnitude of the acceleration, gravity included; 0 while none has arrived.
    """

    seq: int
    t: Float
    referenced_uv: Float
    uv: Float
    flags: np.ndarray
    resets: Resets
    grid: np.ndarray
    eyes_uv: Float = field(default_factory=lambda: np.zeros((0, 0)))
    eyes_flags: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    motion_g: Float = field(default_factory=lambda: np.zeros((0, 0)))


def settle_samples(sos: np.ndarray, rate_hz: float, share: float = 1e-4) -> int:
    """Return samples until all but `share` of the impulse response's energy has passed.

    What is left of a restart then moves an amplitude by at most its square root, 1 %.
    """
    n = int(20 * rate_hz)
    impulse = np.zeros(n)
    impulse[0] = 1.0
    energy = np.cumsum(np.abs(sosfilt(sos, impulse)) ** 2)
    return int(np.searchsorted(energy, (1.0 - share) * energy[-1])) + 1


def _run_sos(sos: np.ndarray, x: Float, zi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``sosfilt(sos, x, axis=0, zi=zi)`` returns, bit for bit.

    SciPy's checks and axis moving take ten times as long as filtering a live chunk of eight
    samples, a dozen times per chunk; its compiled loop is therefore called directly.
    """
    if not x.size:  # nothing in, nothing out, the state as it was
        return np.zeros(x.shape, sos.dtype), zi
    if _sosfilt is None:
        y, zi = sosfilt(sos, x, axis=0, zi=zi)
        return y, zi
    rows = np.array(x.T, dtype=sos.dtype, order="C")
    state = np.array(zi.transpose(2, 0, 1), order="C")
    _sosfilt(sos, rows, state)
    return rows.T, state.transpose(1, 2, 0)


def carried_sos(
    sos: np.ndarray,
    x: Float,
    zi: np.ndarray,
    resets: Resets,
    start: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Filter with carried state, starting marked channels anew at their reset rows.

    Parameters
    ----------
    sos : ndarray, shape (n_sections, 6)
        Real or complex sections.
    x : ndarray, shape (n_samples, n_channels)
        Input.
    zi : ndarray, shape (n_sections, 2, n_channels)
        State; not modified.
    resets : tuple of (row, mask)
        See `Conditioned.resets`.
    start : ndarray, shape (n_sections, 2) or None
        State of a unit step, scaled by the sample at the reset (no transient); None starts at 0.

    Returns
    -------
    y, zi : ndarray
        Output and new state.
    """
    if not resets:
        return _run_sos(sos, x, zi)
    zi = zi.copy()
    parts = []
    at = 0
    for row, mask in resets:
        if row > at:
            y, zi = _run_sos(sos, x[at:row], zi)
            parts.append(y)
            at = row
        zi[:, :, mask] = 0.0 if start is None else start[:, :, None] * x[row, mask]
    y, zi = _run_sos(sos, x[at:], zi)
    parts.append(y)
    return np.concatenate(parts), zi


class Conditioner:
    """Condition segments in order (settings + state + step).

    A segment must not reach across a beat (see `beat`); `engine.pipeline` cuts accordingly.
    """

    def __init__(self, settings: ConditionSettings) -> None:
        self.settings = settings
        s, m = settings, settings.montage
        sections = [butter(2, s.high_pass_hz, "highpass", fs=s.rate_hz, output="sos")]
        if s.notch_hz is not None and s.notch_hz < 0.45 * s.rate_hz:
            sections.append(tf2sos(*iirnotch(s.notch_hz, NOTCH_Q, fs=s.rate_hz)))
        self.sos: np.ndarray = np.concatenate(sections)
        self._start = sosfilt_zi(self.sos)
        self.settle = settle_samples(self.sos, s.rate_hz)
        self.beat = BEAT_HOPS * s.hop
        self.good: Bool = np.ones(len(m.columns), bool)
        self._columns = list(m.columns)
        self._at = list(m.sites)
        self._step_floor = STEP_UV_AT_250_HZ * 250.0 / s.rate_hz
        self._look = max(2, round(STEP_LOOK_S * s.rate_hz))
        # A broken electrode among few breaks the reference; in an average of many it is a constant
        # that scales the rest by (n - 1) / n.
        self._leans = [(k, of) for k, of in enumerate(m.subtract) if 0 < len(of) < AVERAGE_NEEDS]
        self._decimate = max(1, round(s.rate_hz / 250.0))
        self._recover = round(RECOVER_S * s.rate_hz)
        self._step_beats = max(1, round(s.rate_hz / self.beat))
        self.raw = Ring(max(2, round(FLAT_WINDOW_S * s.rate_hz)), len(m.columns))
        self._diffs = Ring(max(8, round(STEP_MEMORY_S * s.rate_hz / self._decimate)), len(m.sites))
        self.restart()

    def restart(self) -> None:
        """Forget the signal (start, gap): the next sample initialises every filter."""
        m = self.settings.montage
        n_sites = len(m.sites)
        self._zi = np.zeros((len(self.sos), 2, n_sites))
        self._fresh = True
        self._last = np.zeros(len(m.columns))  # last good value per column
        self._last_g = np.zeros((1, 1))
        self._before = np.zeros((2, len(m.columns)))  # the two samples before, for clipping
        self._past: Float = np.empty((0, n_sites))  # the newest `_look` referenced samples
        self._jump_at = np.full(n_sites, -1, np.int64)  # sample of a jump being looked at
        self._jump_uv = np.zeros(n_sites)
        self._jump_from = np.zeros(n_sites)  # the mean before it
        self._rail_until = np.full(len(m.columns), -1, np.int64)  # sample index
        self._flat_until = np.full(len(m.columns), -1, np.int64)
        self._step_limit = np.full(n_sites, self._step_floor)
        self.raw.clear()
        self._diffs.clear()

    def mark_bad(self, name: str) -> bool:
        """Leave a channel out of the reference and distrust it; return whether it was found."""
        at = find_site(name, self.settings.montage.names)
        if at is None:
            return False
        self.good = self.good.copy()
        self.good[at] = False
        return True

    def step(self, seq: int, t: Float, uv: Float) -> Conditioned:
        """Condition samples `seq` ... of every stream column.

        Parameters
        ----------
        seq : int
            Index of the first sample.
        t : ndarray, shape (n_samples,)
            Raw stamps.
        uv : ndarray, shape (n_samples, n_stream_columns)
            Not modified.
        """
        x, flags = self._contain(uv[:, self._columns])
        referenced = rereference(x, self.settings.montage, self.good)
        resets = self._steps(seq, referenced, flags)
        y, self._zi = carried_sos(self.sos, referenced, self._zi, resets, self._start)
        self._clipped(x, y, flags)
        self.raw.push(x)
        flags, site_flags = self._site_flags(seq, flags)
        hop = self.settings.hop
        grid = np.arange(-seq % hop, len(x), hop)
        if len(x) and (seq + len(x) - 1) % self.beat == 0:
            self._housekeeping(seq + len(x) - 1)
        return Conditioned(
            seq,
            t,
            frozen(referenced),
            frozen(y),
            frozen(site_flags),
            resets,
            frozen(grid),
            *self._eyes(x, flags),
            self._motion(uv),
        )

    def _eyes(self, x: Float, flags: np.ndarray) -> tuple[Float, np.ndarray]:
        """Return the traces of sideways eye movements, and what is wrong with their columns."""
        of = self.settings.eyes
        trace, bits = np.empty((len(x), len(of))), np.zeros((len(x), len(of)), np.int64)
        for k, eyes in enumerate(of):
            trace[:, k], bits[:, k] = x[:, eyes.plus], flags[:, eyes.plus]
            if eyes.minus is not None:
                trace[:, k] -= x[:, eyes.minus]
                bits[:, k] |= flags[:, eyes.minus]
        return frozen(trace), frozen(bits)

    def _motion(self, uv: Float) -> Float:
        """Return the magnitude of the acceleration; the last one where none was sent."""
        of = self.settings.accelerometer
        if of is None:
            return frozen(np.empty((len(uv), 0)))
        a, b, c = (uv[:, i] * of.to_g for i in of.columns)
        # Free fall aside, three zeros are a sample between two readings of a slower sensor.
        sent = np.isfinite(a) & np.isfinite(b) & np.isfinite(c) & ((a != 0) | (b != 0) | (c != 0))
        a, b, c = (
            np.clip(np.where(sent, v, 0.0), -MOTION_RANGE_G, MOTION_RANGE_G) for v in (a, b, c)
        )
        size = np.sqrt(a * a + b * b + c * c)
        rows = np.maximum.accumulate(np.where(sent, np.arange(1, len(uv) + 1), 0))
        out: Float = np.concatenate([self._last_g[:, 0], size])[rows][:, None]
        if len(out):
            self._last_g = out[-1:].copy()
        return frozen(out)

    def _contain(self, x: Float) -> tuple[Float, np.ndarray]:
        """Replace what is not finite by the last good value, clamp what is out of range."""
        flags = np.zeros(x.shape, np.int64)
        finite = np.isfinite(x)
        if not finite.all():
            x = x.copy()
            flags[~finite] |= _NAN
            rows = np.where(finite, np.arange(1, len(x) + 1)[:, None], 0)
            np.maximum.accumulate(rows, axis=0, out=rows)
            padded = np.concatenate([self._last[None], np.where(finite, x, 0.0)])
            x = np.take_along_axis(padded, rows, axis=0)
        limit = self.settings.range_uv
        if len(x) and max(x.max(), -x.min()) >= limit:
            flags[np.abs(x) >= limit] |= _RAIL
            x = np.clip(x, -limit, limit)
        if len(x):
            self._last = x[-1].copy()
        return x, flags

    def _steps(
        self, seq: int, referenced: Float, flags: np.ndarray
    ) -> tuple[tuple[int, Bool], ...]:
        """Flag jumps between neighbouring samples; return where filters start anew."""
        n_sites = len(self._at)
        if not len(referenced):
            return ()
        every = np.ones(n_sites, bool)
        first = ((0, every),) if self._fresh else ()
        before = referenced[:1] if self._fresh else self._past[-1:]
        diff = np.diff(np.concatenate([before, referenced]), axis=0)
        self._fresh = False
        whole = np.concatenate([self._past, referenced])
        self._past = whole[-self._look :].copy()
        jumped = np.abs(diff) > self._step_limit
        # Jumps are learned from as well: the median tells them apart, and strong mains, whose every
        # sample jumps, would otherwise never become this channel's normal.
        self._diffs.push(diff[-seq % self._decimate :: self._decimate])
        sites = jumped.any(axis=0)
        for k in np.flatnonzero(sites).tolist():
            flags[jumped[:, k], self._at[k]] |= _STEP
        anew: dict[int, Bool] = {}
        for k in np.flatnonzero(sites | (self._jump_at >= 0)).tolist():
            for row in self._stays(k, seq, whole[:, k].copy(), diff[:, k], jumped[:, k]):
                anew.setdefault(row, np.zeros(n_sites, bool))[k] = True
        return first + tuple((row, anew[row]) for row in sorted(anew))

    def _stays(self, k: int, seq: int, whole: Float, diff: Float, jumped: Bool) -> Iterator[int]:
        """Yield the rows at which the filters of site `k` start anew after its jumps.

        Parameters
        ----------
        k : int
            The site.
        seq : int
            Sample of row 0.
        whole : ndarray, shape (n_past + n_samples,)
            The site, referenced, with what was kept of the past.
        diff, jumped : ndarray, shape (n_samples,)
            Its differences, and which of them are jumps.
        """
        n, look = len(diff), self._look
        past = len(whole) - n
        large = jumped & (np.abs(diff) > STEP_AT_ONCE_UV)
        at = 0
        while True:
            if self._jump_at[k] < 0:
                rest = np.flatnonzero(jumped[at:])
                if not len(rest):
                    return
                at += int(rest[0])
                start = past + at
                self._jump_at[k], self._jump_uv[k] = seq + at, diff[at]
                self._jump_from[k] = whole[max(0, start - look) : start].mean()
            end = int(self._jump_at[k]) - seq + look - 1
            at_once = np.flatnonzero(large[at : max(at, end + 1)])
            if len(at_once):
                at += int(at_once[0])
                yield at
            elif end < n:
                start = past + end - look + 1
                moved = whole[start : start + look].mean() - self._jump_from[k]
                jump = self._jump_uv[k]
                if moved * np.sign(jump) > max(STEP_STAYS_UV, STEP_STAYS_SHARE * abs(jump)):
                    yield end
                at = end
            else:
                return
            at += 1
            self._jump_at[k] = -1

    def _clipped(self, x: Float, y: Float, flags: np.ndarray) -> None:
        """Flag clipping at the sites: equal samples far from the mean."""
        if not len(x):
            return
        padded = np.concatenate([self._before, x])
        self._before = padded[-2:].copy()
        same = (padded[2:] == padded[1:-1]) & (padded[1:-1] == padded[:-2])
        if same.any():
            for k, column in enumerate(self._at):
                far = np.abs(y[:, k]) > CLIPPED_MIN_UV
                flags[same[:, column] & far, column] |= _RAIL

    def _site_flags(self, seq: int, flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flags of columns and sites, with what lingers and what references lack."""
        if not len(flags) or (not flags.any() and self._fine(seq)):
            return flags, flags[:, self._at]
        flags = self._linger(seq, flags)
        out = flags[:, self._at]
        for k, all_of in self._leans:
            of = [i for i in all_of if self.good[i]]
            if of:
                out[:, k] |= np.bitwise_or.reduce(flags[:, of], axis=1) & _BROKEN
            else:
                out[:, k] |= _MARKED
        return flags, out

    def _linger(self, seq: int, flags: np.ndarray) -> np.ndarray:
        """Keep a flat or railed column flagged until it was clean for `RECOVER_S`."""
        n = len(flags)
        rows = np.arange(seq, seq + n)[:, None]
        railed = (flags & _RAIL) != 0
        # From the first railed sample on: a segment is far shorter than RECOVER_S.
        rail = (rows <= self._rail_until) | np.logical_or.accumulate(railed, axis=0)
        last = seq + n - 1 - railed[::-1].argmax(axis=0)
        self._rail_until = np.where(railed.any(axis=0), last + self._recover, self._rail_until)
        flat = rows <= self._flat_until
        out: np.ndarray = flags | rail * _RAIL | flat * _FLAT | ~self.good * _MARKED
        return out

    def _fine(self, seq: int) -> bool:
        """Return whether no column is flat, railed or marked at `seq`."""
        until = max(self._rail_until.max(), self._flat_until.max())
        return bool(until < seq and self.good.all())

    def _housekeeping(self, seq: int) -> None:
        """Once per beat: flat channels, and each site's own step limit."""
        if self.raw.filled >= len(self.raw.window()):
            window = self.raw.window()
            # The deviation of n values is at least their range / sqrt(2 n), and so that of a few of
            # them: most channels are seen not to be flat by these.
            few = window[:: max(1, len(window) // 16)]
            reach = few.max(axis=0) - few.min(axis=0)
            doubt = np.flatnonzero(reach <= FLAT_SD_UV * np.sqrt(2.0 * len(window)))
            if len(doubt):
                flat = doubt[window[:, doubt].std(axis=0) < FLAT_SD_UV]
                self._flat_until[flat] = seq + self._recover
        full = self._diffs.filled >= len(self._diffs.window())
        due = not full or (seq // self.beat) % self._step_beats == 0
        if due and self._diffs.filled >= STEP_MIN_DIFFS:
            diffs = self._diffs.window()[-self._diffs.filled :]
            robust_sd = 1.4826 * column_medians(np.abs(diffs - column_medians(diffs)))
            self._step_limit = np.maximum(self._step_floor, STEP_ROBUST_SD * robust_sd)

    def bad_columns(self, seq: int) -> tuple[tuple[str, Quality], ...]:
        """Return the channels presently flat, railed or marked, with the reason."""
        out = []
        for i, name in enumerate(self.settings.montage.names):
            why = Quality.OK
            for until, bit in ((self._flat_until, Quality.FLAT), (self._rail_until, Quality.RAIL)):
                if until[i] >= seq:
                    why |= bit
            if not self.good[i]:
                why |= Quality.MARKED
            if why:
                out.append((name, why))
        return tuple(out)


def condition_settings(
    spec: StreamSpec,
    montage: Montage,
    high_pass_hz: float,
    notch_hz: float | None,
    range_uv: float | None,
    eyes: tuple[Eyes, ...] = (),
    accelerometer: Accelerometer | None = None,
) -> ConditionSettings:
    """Return the settings for a stream."""
    settings = ConditionSettings(
        spec.rate_hz,
        spec.hop,
        montage,
        high_pass_hz,
        notch_hz,
        eyes=eyes,
        accelerometer=accelerometer,
    )
    return settings if range_uv is None else replace(settings, range_uv=range_uv)
