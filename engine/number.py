"""Which sample is which: from received samples to numbered chunks, gaps and events.

Pure and deterministic: it sees only values. Samples are numbered in the order of arrival; a gap
advances the number by what is missing. A sample counter of the amplifier decides that exactly;
without one the stamps do, and only where the time of reception agrees: a source whose clock is
set forward has lost nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import StreamError
from engine.frames import Chunk, Event, Float, Gap, StreamSpec, frozen
from engine.montage import clean_label

__all__ = ["Numberer", "Received"]

# Timing constants, and why.
GAP_S = 0.1  # shorter deviations are jitter of the sender, which has been seen to reach 60 ms
FOLLOW_S = 1.0  # time constant at which the expected stamp follows jittered ones
SETTLE_S = 1.0  # stamps that stay elsewhere that long belong to a clock that was set
EPISODE_S = 10.0  # clean stamps that end an episode of disorder
AGE_WINDOW_S = 10.0  # memory of how late samples normally arrive; clock drift is nothing in it
UNPROVEN_GAP_S = 10.0  # longest gap believed before anything is known of normal lateness
RATE_FROM_S = 20.0  # shortest stretch for a measured rate
RATE_OVER_S = 60  # longest
RATE_WARN, RATE_ERROR = 0.005, 0.02
TRUST_RUN = 10  # samples counted by one before a counter is believed
COUNTERS = (2**8, 2**16, 2**24, 2**32)  # sizes at which counters wrap


@dataclass(frozen=True, slots=True)
class Received:
    """Samples as one pull of the inlet returned them.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, n_channels)
        In the source's own number type.
    stamps : ndarray, shape (n_samples,)
        Raw LSL stamps, seconds of the source's clock.
    t_pulled : float
        Our clock when they were in hand.
    """

    samples: NDArray[Any]
    stamps: Float
    t_pulled: float


class _Counter:
    """What the amplifier's own sample counter says, wrap-around included."""

    def __init__(self, rate_hz: float) -> None:
        self._slack = GAP_S * rate_hz + 2  # disagreement with the stamps that is still jitter
        self._longest = UNPROVEN_GAP_S * rate_hz
        self._last: int | None = None
        self._run = 0
        self._low = self._high = 0
        self._size: int | None = None
        self.trusted = False
        self.odd = False  # the last sample repeated or broke the count

    def restart(self) -> None:
        """Forget the last count: what follows is not connected to it."""
        self._last = None
        self._run = 0
        self.trusted = False

    def missing(self, value: float, hint: int, *, gap: bool) -> int | None:
        """Return how many samples are missing before this one; None where it cannot say.

        Parameters
        ----------
        value : float
            The counter column.
        hint : int
            What is missing by the stamps.
        gap : bool
            Whether the stamps show a gap, so that whole turns of the counter may be missing.
        """
        self.odd = False
        last, self._last = self._last, None
        if not math.isfinite(value) or value != math.floor(value):
            self.odd = self.trusted
            return None
        count = int(value)
        self._last = count
        if last is None:
            self._low = self._high = count
            return None
        self._low, self._high = min(self._low, count), max(self._high, count)
        step = count - last
        if not self.trusted:
            self._run = self._run + 1 if step == 1 else 0
            self.trusted = self._run >= TRUST_RUN
            return None
        if step == 1 and not gap:
            return 0
        return self._settle(step, hint, gap=gap)

    def _settle(self, step: int, hint: int, *, gap: bool) -> int | None:
        if step == 0:
            self.odd = True
            return None
        span = self._high - self._low + 1
        if self._size is not None and self._size < span:
            self._size = None
        sizes = (self._size,) if self._size else (*(s for s in COUNTERS if s >= span), span)
        best, best_size = None, 0
        for size in sizes:
            base = step - 1 if step > 0 else (step - 1) % size
            if gap and hint > base:
                base += size * round((hint - base) / size)
            if best is None or abs(base - hint) < abs(best - hint):
                best, best_size = base, size
        if best is None:
            return None
        agrees = abs(best - hint) <= self._slack
        if step < 0 and agrees:
            # An unusual size may also be a counter that started anew; worth a word, once.
            self.odd = self._size is None and best_size not in COUNTERS
            self._size = best_size
        if agrees or (step > 0 and best <= self._longest):
            return best
        self.odd = True
        self._run, self.trusted = 0, False
        return None


class _Lateness:
    """The smallest age at which samples have lately arrived: nothing arrives before it is taken."""

    def __init__(self) -> None:
        self._since = -math.inf
        self._now = self._before = math.inf

    def note(self, age_s: float, t: float) -> None:
        """Take the age of the newest sample of a pull."""
        if t - self._since > AGE_WINDOW_S:
            self._since, self._before, self._now = t, self._now, math.inf
        self._now = min(self._now, age_s)

    def shift(self, by_s: float) -> None:
        """Follow a source whose clock was set."""
        self._now -= by_s
        self._before -= by_s

    def allows(self, age_s: float, jump_s: float) -> bool:
        """Return whether stamps that jump forward tell of lost samples, not of a set clock."""
        least = min(self._now, self._before)
        if not math.isfinite(least):
            return jump_s <= UNPROVEN_GAP_S
        return age_s >= least - jump_s / 2


class _Rate:
    """The sampling rate by the stamps, a least-squares line over the last minute."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, float]] = deque(maxlen=RATE_OVER_S + 1)
        self.measured_hz: float | None = None

    def clear(self) -> None:
        """Begin anew: the stamps before and after do not belong together."""
        self._points.clear()

    def note(self, seq: int, t: float) -> None:
        """Take one point per second."""
        self._points.append((seq, t))
        if t - self._points[0][1] < RATE_FROM_S:
            return
        seq_0, t_0 = self._points[0]
        seqs = [s - seq_0 for s, _ in self._points]
        times = [x - t_0 for _, x in self._points]
        mean_seq, mean_t = sum(seqs) / len(seqs), sum(times) / len(times)
        over = sum((x - mean_t) * (s - mean_seq) for x, s in zip(times, seqs, strict=True))
        under = sum((x - mean_t) ** 2 for x in times)
        if under > 0:
            self.measured_hz = over / under


class Numberer:
    """Turn what the inlet received into numbered chunks in microvolts, gaps and events.

    Any slicing of the same samples gives the same numbers and values.

    Parameters
    ----------
    spec : StreamSpec
        The agreed stream.
    counter : str or None
        Name of the column that counts samples; None takes the stream's only column of kind
        ``counter``, if there is one. It is believed once it has counted ten samples by one.

    Raises
    ------
    StreamError
        The stream has no such column.
    """

    def __init__(self, spec: StreamSpec, counter: str | None = None) -> None:
        self.spec = spec
        self._dt = 1.0 / spec.rate_hz
        self._factors = np.array([c.to_uv for c in spec.channels], dtype=np.float64)
        self._column = _counter_column(spec, counter)
        self._counter = None if self._column is None else _Counter(spec.rate_hz)
        self._lateness = _Lateness()
        self._rate = _Rate()
        self._seq = 0
        self._line: float | None = None  # where the stamp of the newest sample should be
        self._stamp = -math.inf  # of the newest sample, as received
        self._t_pulled = math.nan
        self._off = 0  # samples whose stamps lie elsewhere, in a row
        self._off_seq = 0
        self._clean = math.inf  # samples since the last stamp out of order
        self._odd_clean = math.inf  # samples since the counter last broke
        self._reopened = False
        self._next_point = 0
        self._verdict = "ok"

    @property
    def seq(self) -> int:
        """Number that the next sample will have, if nothing is missing before it."""
        return self._seq

    @property
    def measured_rate_hz(self) -> float | None:
        """Sampling rate by the stamps, over 20 to 60 s; None until known."""
        return self._rate.measured_hz

    @property
    def rate_verdict(self) -> str:
        """``ok``, ``warn`` (measured rate off by over 0.5 %) or ``error`` (over 2 %)."""
        return self._verdict

    @property
    def counting(self) -> bool:
        """Whether a counter of the amplifier decides about gaps at present."""
        return self._counter is not None and self._counter.trusted

    def reopened(self) -> None:
        """Note that what comes next was received through a new connection.

        The source may have been restarted: when its stamps do not connect to the earlier ones,
        the gap is taken from the time of reception.
        """
        self._reopened = True

    def step(self, received: Received) -> list[Chunk | Gap | Event]:
        """Number the samples of one pull.

        Returns
        -------
        list of Chunk, Gap and Event
            Chunks and gaps in order, then events: ``clock`` (the source's clock was set),
            ``stamps`` (stamps repeat or run backwards; once per episode), ``counter`` (it
            repeats, starts anew or wraps at an unusual size) and ``rate`` (the measured rate
            leaves or re-enters its tolerance).
        """
        n = len(received.stamps)
        out: list[Chunk | Gap | Event] = []
        if n == 0:
            return out
        with np.errstate(over="ignore", invalid="ignore"):
            uv = frozen(np.multiply(received.samples, self._factors, dtype=np.float64))
        t = frozen(np.array(received.stamps, dtype=np.float64))
        counts = None if self._column is None else received.samples[:, self._column].tolist()
        start = 0
        events: list[Event] = []
        for i, stamp in enumerate(t.tolist()):
            gap = self._next(stamp, counts[i] if counts else math.nan, received, events)
            if gap is not None:
                if i > start:
                    out.append(Chunk(gap.seq - (i - start), t[start:i], uv[start:i]))
                out.append(gap)
                start = i
            self._seq += 1
        out.append(Chunk(self._seq - (n - start), t[start:], uv[start:]))
        if self._line is not None:
            self._lateness.note(received.t_pulled - self._line, received.t_pulled)
        self._t_pulled = received.t_pulled
        return [*out, *events]

    # ------------------------------------------------------------ one sample

    def _next(
        self, stamp: float, count: float, received: Received, events: list[Event]
    ) -> Gap | None:
        """Place one sample; advance over what is missing before it and return that gap."""
        if self._line is None:  # nothing to compare with yet
            if self._counter is not None:
                self._counter.missing(count, 0, gap=False)
            if math.isfinite(stamp):
                self._line = self._stamp = stamp
            return None
        deviation_s = stamp - (self._line + self._dt)
        missing, cause = self._missing(deviation_s, stamp, count, received, events)
        expected = self._line + self._dt
        gap = None
        if missing > 0:
            gap = Gap(self._seq, missing, cause)
            self._seq += missing
            expected += missing * self._dt
            if missing * self._dt > 1.0:  # its length is an estimate by the nominal rate
                self._rate.clear()
        self._follow(stamp, expected, received.t_pulled, events)
        self._watch_order(stamp, received.t_pulled, events)
        self._watch_rate(received.t_pulled, events)
        return gap

    def _missing(
        self,
        deviation_s: float,
        stamp: float,
        count: float,
        received: Received,
        events: list[Event],
    ) -> tuple[int, str]:
        """Return how many samples are missing before this one, and what tells it."""
        if self._reopened and math.isfinite(stamp):
            self._reopened = False
            return self._missing_after_reopening(deviation_s, stamp, count, received, events)
        rate_hz = self.spec.rate_hz
        late = GAP_S < deviation_s < math.inf
        gap = late and self._lateness.allows(received.t_pulled - stamp, deviation_s)
        by_stamps = max(1, round(deviation_s * rate_hz)) if gap else 0
        if self._counter is None:
            return by_stamps, "stamps"
        jitter = round(deviation_s * rate_hz) if 0 < deviation_s <= GAP_S else 0
        counted = self._counter.missing(count, by_stamps or jitter, gap=gap)
        if self._counter.odd and self._odd_clean > EPISODE_S * rate_hz:
            events.append(Event(received.t_pulled, self._seq, "counter", {"count": count}))
        self._odd_clean = 0 if self._counter.odd else self._odd_clean + 1
        return (by_stamps, "stamps") if counted is None else (counted, "counter")

    def _missing_after_reopening(
        self,
        deviation_s: float,
        stamp: float,
        count: float,
        received: Received,
        events: list[Event],
    ) -> tuple[int, str]:
        rate_hz = self.spec.rate_hz
        elapsed_s = received.t_pulled - self._t_pulled
        if -GAP_S <= deviation_s <= elapsed_s + SETTLE_S:
            missing = max(0, round(deviation_s * rate_hz))
            if self._counter is not None and self._counter.trusted:
                counted = self._counter.missing(count, missing, gap=missing > 0)
                if counted is not None and abs(counted - missing) <= GAP_S * rate_hz + 2:
                    return counted, "reconnect"
        else:
            missing = max(0, round(elapsed_s * rate_hz) - len(received.stamps))
            self._set_clock(stamp, deviation_s - missing * self._dt, received.t_pulled, events)
            if math.isfinite(stamp):
                self._line = stamp - (missing + 1) * self._dt
        if self._counter is not None:
            self._counter.restart()
            self._counter.missing(count, 0, gap=False)
        return missing, "reconnect"

    def _follow(self, stamp: float, expected: float, t_pulled: float, events: list[Event]) -> None:
        """Let the expected stamp follow the real ones, unless they lie elsewhere."""
        deviation_s = stamp - expected
        if abs(deviation_s) <= GAP_S:
            self._line = expected + deviation_s * min(1.0, self._dt / FOLLOW_S)
            self._off = 0
            return
        self._line = expected
        if self._off == 0:
            self._off_seq = self._seq
        self._off += 1
        if self._off >= SETTLE_S * self.spec.rate_hz and math.isfinite(stamp):
            self._set_clock(stamp, deviation_s, t_pulled, events)

    def _set_clock(self, stamp: float, jump_s: float, t_pulled: float, events: list[Event]) -> None:
        """Go on from the source's new time."""
        since = self._off_seq if self._off else self._seq
        events.append(Event(t_pulled, self._seq, "clock", {"jump_s": jump_s, "since_seq": since}))
        self._off = 0
        self._rate.clear()
        if math.isfinite(stamp):
            self._line = stamp
            self._lateness.shift(jump_s)

    def _watch_order(self, stamp: float, t_pulled: float, events: list[Event]) -> None:
        if stamp > self._stamp and math.isfinite(stamp):
            self._clean += 1
        else:
            if self._clean > EPISODE_S * self.spec.rate_hz:
                back_s = self._stamp - stamp
                events.append(Event(t_pulled, self._seq, "stamps", {"back_s": back_s}))
            self._clean = 0
        if math.isfinite(stamp):
            self._stamp = stamp

    def _watch_rate(self, t_pulled: float, events: list[Event]) -> None:
        if self._seq < self._next_point or self._line is None:
            return
        self._next_point = self._seq + max(1, round(self.spec.rate_hz))
        self._rate.note(self._seq, self._line)
        measured = self._rate.measured_hz
        if measured is None:
            return
        off = abs(measured / self.spec.rate_hz - 1.0)
        verdict = "error" if off > RATE_ERROR else "warn" if off > RATE_WARN else "ok"
        if verdict != self._verdict:
            self._verdict = verdict
            data = {
                "verdict": verdict,
                "measured_hz": measured,
                "nominal_hz": self.spec.rate_hz,
            }
            events.append(Event(t_pulled, self._seq, "rate", data))


def _counter_column(spec: StreamSpec, counter: str | None) -> int | None:
    if counter is not None:
        name = clean_label(counter).casefold()
        names = [n.casefold() for n in spec.names]
        if name not in names:
            raise StreamError(
                f"The stream has no column {counter!r} that could count samples.",
                "Correct `counter:` in the room, or leave it out.",
            )
        return names.index(name)
    counters = [i for i, c in enumerate(spec.channels) if c.kind == "counter"]
    return counters[0] if len(counters) == 1 else None
