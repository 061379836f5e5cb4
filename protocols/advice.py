"""What the operator is told while a block runs: much is gated, or the reward says nothing."""

from __future__ import annotations

from collections import deque
from typing import Any

from engine.frames import Gate
from protocols.baseline import causes_of, points

__all__ = ["Advice"]

_WINDOW_S = 20.0
_SHARE = 0.3
_EVERY_S = 30.0
_SATURATED_S = 180.0
_SYSTEM = int(Gate.WARMUP | Gate.GAP)  # nobody in the room can do anything about these

_SAYS = {
    "muscle": "Relax jaw and forehead.",
    "amplitude": "Sit still, relax jaw and forehead.",
    "blink": "Let the eyes rest on one point and blink softly.",
    "saccade": "Let the eyes rest on one point.",
    "motion": "Keep the head still.",
    "step": "Check the cables: the signal jumps.",
    "flat": "Check the electrodes: a channel is flat.",
    "rail": "Check the electrodes: a channel is at the end of its range.",
    "nan": "Check the amplifier: a channel sends no numbers.",
    "marked": "A needed channel is marked bad.",
}


class Advice:
    """Watches how much is gated and whether the reward condition ever changes.

    Parameters
    ----------
    grid_hz : float
    """

    def __init__(self, grid_hz: float) -> None:
        self._recent: deque[int] = deque()
        self._recent_gated = 0
        self._recent_n = points(_WINDOW_S, grid_hz)
        self._since = self._every = points(_EVERY_S, grid_hz)
        self._same: bool | None = None
        self._same_n = 0
        self._saturated_n = points(_SATURATED_S, grid_hz)

    def restart(self) -> None:
        """Begin a phase."""
        self._recent.clear()
        self._recent_gated = 0

    def wait(self) -> None:
        """Let a point pass at which nothing is judged."""
        self._since += 1

    def gated(self, gate: int) -> dict[str, Any] | None:
        """Take a point; return what to tell when much of the last time was gated."""
        self._since += 1
        blamed = gate & ~_SYSTEM
        self._recent.append(blamed)
        self._recent_gated += blamed != 0
        if len(self._recent) > self._recent_n:
            self._recent_gated -= self._recent.popleft() != 0
        if (
            len(self._recent) < self._recent_n
            or self._recent_gated <= _SHARE * self._recent_n
            or self._since < self._every
        ):
            return None
        self._since = 0
        tally: dict[str, int] = {}
        for past in self._recent:
            for cause in causes_of(past):
                tally[cause] = tally.get(cause, 0) + 1
        cause = max(sorted(tally), key=lambda c: tally[c], default="unknown")
        return {
            "cause": cause,
            "text": _SAYS.get(cause, "Look at the raw signal."),
            "gated_share": self._recent_gated / self._recent_n,
        }

    def passed(self, passes: bool) -> dict[str, Any] | None:
        """Take a clean training point; return what to tell when nothing has changed for long."""
        self._same_n = self._same_n + 1 if passes is self._same else 1
        self._same = passes
        if self._same_n != self._saturated_n:
            return None
        self._same_n = 0
        much = "always" if passes else "never"
        text = f"The reward condition was {much} met for three minutes: look at it."
        return {"cause": "saturated", "text": text, "passes": passes}
