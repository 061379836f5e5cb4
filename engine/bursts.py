"""Bursts of a rhythm: how often, how long, how large.

Training raised the incidence of alpha episodes, not their duration or amplitude (Ossadtchi et al.
2017), so the three are told apart here. That paper's own detector is not copied; a burst is:

- **Threshold.** The envelope lies above a fixed threshold, by default the 75th percentile of the
  person's baseline envelope (`BASELINE_PERCENTILE`).
- **Merging.** A dip below the threshold shorter than 100 ms, one cycle of alpha, does not end a
  burst: an envelope that grazes its threshold would otherwise count as many. The dip belongs to the
  burst.
- **Minimum.** What is shorter than 100 ms, from the first to the last point above, is none: the
  envelope of a 4 Hz band cannot rise and fall in less, so it only grazed the threshold.
- **Gates.** A burst that touches a gate, a gap or the start is neither counted nor its time, as
  neither its length nor its size is known. That has a price: a gate loses every burst that it
  touches, but of the quiet around them only its own length. With bursts of 0.3 s every 2 s and a
  quarter of the time lost to gates of 1 s, the rate reads 11 % low; of bursts that differ in
  length, long ones are lost more often. Compare blocks of a similar share of clean time.

Over the last `window_s` of clean time (60 s): rate = bursts that ended in it per minute; duration
and amplitude = means over the same bursts. The time of a burst that still lasts counts as it goes
by. Unit 1/min, s, and the envelope's own (µV rms, `sqrt(2|z|²)`). Delay: the estimator's plus half
the window; a burst is counted 100 ms after its end, when it is sure to be over.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

__all__ = ["BASELINE_PERCENTILE", "UNKNOWN", "BurstNumbers", "Bursts"]

BASELINE_PERCENTILE = 75.0
"""Of the clean baseline's envelope: the threshold, unless a protocol says otherwise."""
MIN_BURST_S = 0.1
MIN_PAUSE_S = 0.1
KNOWN_SHARE = 0.5
"""Of the window that must have been clean: 30 s hold some 20 bursts of resting alpha (four people
at rest: 36 to 58 per minute), which tells the rate within a quarter; less is chance."""


class BurstNumbers(NamedTuple):
    """Rate per minute, mean duration in s, mean amplitude in µV; NaN is unknown."""

    rate_per_min: float
    duration_s: float
    amplitude_uv: float


UNKNOWN = BurstNumbers(math.nan, math.nan, math.nan)


class _Burst(NamedTuple):
    end: int  # clean points up to its last one
    points: int
    mean_uv: float


class Bursts:
    """Bursts in an envelope at grid points (settings + state + step).

    Parameters
    ----------
    threshold_uv : float
        A burst's envelope lies above it.
    window_s : float
        Clean time that the numbers speak of.
    grid_hz : float
        Grid rate.
    min_burst_s, min_pause_s : float
        Shortest burst, and shortest pause between two; rounded to grid points, at least one.

    Attributes
    ----------
    clean : int
        Clean points so far, with those of a burst that lasts.

    Raises
    ------
    ValueError
        The window does not hold a burst and a pause, or the threshold is no positive number.
    """

    def __init__(
        self,
        threshold_uv: float,
        window_s: float = 60.0,
        grid_hz: float = 50.0,
        *,
        min_burst_s: float = MIN_BURST_S,
        min_pause_s: float = MIN_PAUSE_S,
    ) -> None:
        if not 0.0 < threshold_uv < math.inf:
            raise ValueError(f"a burst needs a threshold above 0 µV, got {threshold_uv}")
        self.threshold_uv = threshold_uv
        self.grid_hz = grid_hz
        self.points = round(window_s * grid_hz)
        self._least = max(1, round(min_burst_s * grid_hz))
        self._pause = max(1, round(min_pause_s * grid_hz))
        if self.points < self._least + self._pause:
            raise ValueError(f"a window of {window_s:g} s does not hold a burst and a pause")
        self._needed = math.ceil(KNOWN_SHARE * self.points)
        self.restart()

    def restart(self) -> None:
        """Forget every burst."""
        self.clean = 0
        self._missed = 0
        self._quiet = 0
        self._done: deque[_Burst] = deque()
        self._key: tuple[int, int] = (0, 0)
        self._means = (math.nan, math.nan)
        self._close()

    def _close(self) -> None:
        """No burst lasts."""
        self._open = 0  # points of the burst that lasts, with the dip at its end
        self._dip = 0
        self._sum_uv = 0.0
        self._dip_uv = 0.0
        self._touched = False

    def skip(self, points: int = 1) -> None:
        """Pass over gated or missing points; a pause longer than the window forgets everything."""
        if self._open and not self._touched:
            # The burst that lasted is cut: its time leaves the clean time and joins the pause.
            self.clean -= self._open
            points += self._open
        self._close()
        self._quiet = 0
        self._pass_over(points)

    def _pass_over(self, points: int) -> None:
        self._missed += points
        if self._missed > self.points:
            self.restart()

    def step(self, envelope_uv: float) -> BurstNumbers:
        """Take one clean point, return the numbers of the window.

        Parameters
        ----------
        envelope_uv : float
            What is not finite counts as gated.

        Returns
        -------
        BurstNumbers
            All NaN before half the window was clean. Without any burst the rate is 0, duration and
            amplitude are NaN: there is nothing that they could be of.
        """
        if not math.isfinite(envelope_uv):
            self.skip()
            return UNKNOWN
        above = envelope_uv > self.threshold_uv
        if self._open:
            self._go_on(envelope_uv, above=above)
        elif above:
            # Too soon after a gate: it may have begun within, or be the other side of a dip.
            self._touched = self._quiet < self._pause
            self._open, self._sum_uv = 1, envelope_uv
            self._count_open()
        else:
            self._quiet += 1
            self._missed = 0
            self.clean += 1
        return self.numbers()

    def _go_on(self, envelope_uv: float, *, above: bool) -> None:
        """Take one more point of a burst, or of the pause after it."""
        self._open += 1
        if above:
            self._sum_uv += self._dip_uv + envelope_uv
            self._dip, self._dip_uv = 0, 0.0
        else:
            self._dip += 1
            self._dip_uv += envelope_uv
        self._count_open()
        if self._dip == self._pause:
            self._end()

    def _count_open(self) -> None:
        """Count one point of a burst: as clean, unless the burst touches a gate."""
        if self._touched:
            self._pass_over(1)
        else:
            self._missed = 0
            self.clean += 1

    def _end(self) -> None:
        """End the burst that lasted, a pause ago."""
        points = self._open - self._pause
        if self._touched:
            self.clean += self._pause  # the pause itself is known
            self._missed = 0
        elif points >= self._least:
            self._done.append(_Burst(self.clean - self._pause, points, self._sum_uv / points))
        self._quiet = self._pause
        self._close()

    def numbers(self) -> BurstNumbers:
        """Return the numbers of the window as it is."""
        # Bursts are dropped by the time that is settled: a cut burst turns the clock back.
        settled = self.clean - (0 if self._touched else self._open)
        while self._done and self._done[0].end <= settled - self.points:
            self._done.popleft()
        if self.clean < self._needed:
            return UNKNOWN
        n = len(self._done)
        for burst in self._done:
            if burst.end > self.clean - self.points:
                break
            n -= 1
        if n == 0:
            return BurstNumbers(0.0, math.nan, math.nan)
        minutes = min(self.clean, self.points) / self.grid_hz / 60.0
        return BurstNumbers(n / minutes, *self._mean(n))

    def _mean(self, n: int) -> tuple[float, float]:
        """Return mean duration and amplitude of the last `n` bursts."""
        key = (n, self._done[-1].end)
        if key != self._key:
            last = list(self._done)[-n:]
            duration_s = sum(b.points for b in last) / n / self.grid_hz
            self._key, self._means = key, (duration_s, math.fsum(b.mean_uv for b in last) / n)
        return self._means
