"""When the session must hold, or may not begin: what a clock, a process or an amplifier can break.

Pure: time comes in as a number, transitions come out. A hold begins at once and ends when its
cause has been good for `GOOD_FOR_S`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = [
    "GOOD_FOR_S",
    "Staleness",
    "Standstill",
    "Suspender",
    "Transport",
    "implausible",
    "stale_after_s",
]

GOOD_FOR_S = 2.0
STALE_LEAST_S, STALE_MOST_S = 0.25, 0.5
CHUNK_WARN_S, CHUNK_REFUSE_S = 0.150, 0.500
TRANSPORT_LIMIT_S = 0.300
TRANSPORT_FOR_S = 2.0
PACKET_S = 0.010  # parts of one push of the amplifier arrive within this time
PACKETS_KNOWN = 4  # before the length of a packet is believed
STANDSTILL_S = 0.5  # samples that waited longer in this computer are old: never reward on them
ASLEEP_S = 1.0  # by which the wall clock may gain on ours, as when the time is set
PLAUSIBLE_UV = (0.5, 500.0)  # 1-40 Hz rms of a head
USUAL_UV = (2.0, 200.0)


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

    @property
    def recovering(self) -> bool:
        """Whether the hold is still on although its cause is gone."""
        return self.on and self._good_since is not None

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
    """Whether samples still come, and how long a typical packet of them is."""

    _spans: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _last: float | None = None
    _packet_t: float | None = None

    def received(self, now: float) -> None:
        """Note that samples came."""
        self._last = now
        if self._packet_t is not None and now - self._packet_t < PACKET_S:
            return  # the rest of a packet that LSL handed over in parts
        if self._packet_t is not None:
            self._spans.append(now - self._packet_t)
        self._packet_t = now

    @property
    def chunk_s(self) -> float:
        """Median time between packets; NaN before `PACKETS_KNOWN` of them."""
        if len(self._spans) < PACKETS_KNOWN:
            return math.nan
        return sorted(self._spans)[len(self._spans) // 2]

    def age_s(self, now: float) -> float:
        """Return the time since the last arrival; infinite before the first."""
        return math.inf if self._last is None else now - self._last

    def stale(self, now: float) -> bool:
        """Return whether the stream must be called stale."""
        chunk = self.chunk_s
        return self.age_s(now) > (STALE_MOST_S if math.isnan(chunk) else stale_after_s(chunk))


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


@dataclass
class Standstill:
    """Whether this computer stood still, so that what has piled up meanwhile is old."""

    _turned: float | None = None
    _ahead: float | None = None  # of the wall clock

    def turn(self, now: float, wall_s: float) -> float:
        """Note one turn of the loop; return for how long it stood still before, usually 0.

        Parameters
        ----------
        now : float
            Monotonic seconds; on some systems these do not pass while the computer sleeps.
        wall_s : float
            Wall-clock seconds, which do. A clock set forward looks alike and does no harm.
        """
        stood = 0.0 if self._turned is None else now - self._turned
        ahead = wall_s - now
        slept = 0.0 if self._ahead is None else ahead - self._ahead
        self._turned, self._ahead = now, ahead
        if slept > ASLEEP_S:
            return slept + stood
        return stood if stood > STANDSTILL_S else 0.0


def implausible(rms_uv: Sequence[float]) -> str:
    """Return why the signal cannot be that of a head, with the likely factor; empty when it can.

    Parameters
    ----------
    rms_uv : sequence of float
        1-40 Hz rms of every electrode, µV; NaN is unknown.
    """
    known = sorted(r for r in rms_uv if math.isfinite(r))
    small = sum(r < PLAUSIBLE_UV[0] for r in known)
    large = sum(r > PLAUSIBLE_UV[1] for r in known)
    if 2 * max(small, large) <= len(known):
        return ""
    median = known[len(known) // 2]
    if median < 1e-9:
        return "Every electrode is flat: the amplifier sends no signal."
    size = f"{median:,.0f}" if large > small else f"{median:.9f}".rstrip("0")
    said = f"The electrodes measure {size} µV (median), which no head gives."
    for factor, words in _FACTORS:
        if USUAL_UV[0] <= median * factor <= USUAL_UV[1]:
            return (
                f"{said} The numbers look {words}: correct `unit:` under `stream:` in the room "
                "file, or the unit that the amplifier's software declares."
            )
    return f"{said} Check the amplifier, its range and its cap."


_FACTORS = (
    (1e-3, "a thousand times too large"),
    (1e3, "a thousand times too small"),
    (1e-6, "a million times too large"),
    (1e6, "a million times too small"),
)
