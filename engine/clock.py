"""The only module that knows the time.

`now()` is LSL's clock (monotonic seconds, shared by every LSL process of one machine), so
stamps of samples, decisions and screen flips can be subtracted. `wall()` labels files, nothing
else.
"""

from __future__ import annotations

import datetime as _dt
import time as _time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "FakeClock", "LslClock", "now", "wall"]


_local_clock: Callable[[], float] | None = None


class Clock(Protocol):
    """What a component needs to know about time."""

    def now(self) -> float:
        """Return monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


def now() -> float:
    """Return LSL's clock in seconds (CLOCK_MONOTONIC or the platform's equivalent)."""
    # Python's own monotonic clock is a different one on Windows (before 3.13) and macOS.
    # Imported late so that `neuroloop check` never loads liblsl.
    global _local_clock
    if _local_clock is None:
        from pylsl import local_clock

        _local_clock = local_clock
    return float(_local_clock())


def wall() -> _dt.datetime:
    """Return local wall-clock time with its UTC offset: for labels only."""
    return _dt.datetime.now().astimezone()


class LslClock:
    """The real clock."""

    def now(self) -> float:
        """Return LSL's clock in seconds."""
        return now()

    def sleep(self, seconds: float) -> None:
        """Wait really."""
        _time.sleep(max(0.0, seconds))


class FakeClock:
    """A clock that moves only when told."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._t = start_s

    def now(self) -> float:
        """Return the fake time in seconds."""
        return self._t

    def sleep(self, seconds: float) -> None:
        """Advance by `seconds`."""
        self._t += max(0.0, seconds)

    def advance(self, seconds: float) -> None:
        """Advance by `seconds`."""
        self._t += seconds
