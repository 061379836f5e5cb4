"""When the session must hold: conditions that a clock, a process or a disk can break.

Pure: time comes in as a number, transitions come out. A hold begins at once and ends when its
cause has been good for `GOOD_FOR_S`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

__all__ = ["GOOD_FOR_S", "Staleness", "Suspender", "Transport", "stale_after_s"]

GOOD_FOR_S = 2.0
STALE_LEAST_S, STALE_MOST_S = 0.25, 0.5
CHUNK_WARN_S, CHUNK_REFUSE_S = 0.150, 0.500
TRANSPORT_LIMIT_S = 0.300
TRANSPORT_FOR_S = 2.0


@dataclass
class Suspender:
    """One cause of hold.

    Parameters
    ----------
    cause : str
        Key as in `engine.frames.Hold`.
    good_for_s : float
        How long the cause must be gone before the hold ends.
    """

    cause: str
    good_for_s: float = GOOD_FOR_S
    on: bool = False
    sentence: str = ""
    _good_since: float | None = None

    def update(self, now: float, bad: bool, sentence: str = "") -> bool | None:
        """Return True when the hold begins, False when it ends, None otherwise."""
        if bad:
            self._good_since = None
            if not self.on:
                self.on, self.sentence = True, sentence
                return True
            self.sentence = sentence or self.sentence
            return None
        if not self.on:
            return None
        if self._good_since is None:
            self._good_since = now
        if now - self._good_since >= self.good_for_s:
            self.on, self._good_since = False, None
            return False
        return None


def stale_after_s(chunk_s: float) -> float:
    """Return how long without samples is stale: max(250 ms, 3 typical chunks), at most 0.5 s."""
    return min(STALE_MOST_S, max(STALE_LEAST_S, 3.0 * chunk_s))


@dataclass
class Staleness:
    """Whether samples still come, and how long a typical chunk is."""

    _spans: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _last: float | None = None

    def received(self, now: float) -> None:
        """Note that samples came."""
        if self._last is not None and now > self._last:
            self._spans.append(now - self._last)
        self._last = now

    @property
    def chunk_s(self) -> float:
        """Median time between arrivals; NaN before there are any."""
        if not self._spans:
            return math.nan
        return sorted(self._spans)[len(self._spans) // 2]

    def age_s(self, now: float) -> float:
        """Return the time since the last arrival; infinite before the first."""
        return math.inf if self._last is None else now - self._last

    def stale(self, now: float) -> bool:
        """Return whether the stream must be called stale."""
        chunk = self.chunk_s
        return self.age_s(now) > stale_after_s(0.0 if math.isnan(chunk) else chunk)


@dataclass
class Transport:
    """Whether samples are old on arrival (a backlog), for long enough to hold."""

    _slow_since: float | None = None

    def update(self, now: float, age_s: float | None) -> bool:
        """Return whether the age has been above the limit for `TRANSPORT_FOR_S`."""
        if age_s is None or age_s <= TRANSPORT_LIMIT_S:
            self._slow_since = None
            return False
        if self._slow_since is None:
            self._slow_since = now
        return now - self._slow_since >= TRANSPORT_FOR_S
