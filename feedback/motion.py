"""How level and rewards move on the screen: eased, so that nothing jumps and nothing lingers."""

from __future__ import annotations

import math

__all__ = ["Glow", "Growth", "LevelEase", "Slew"]


class LevelEase:
    """Follow the level; while gated, keep it 0.3 s, then ease to neutral within 1 s.

    Attributes
    ----------
    level : float
        Drawn now, 0..1.
    live : float
        1 shows the level, 0 is neutral.
    settling : float
        0..1, visibility of the settling icon.
    """

    KEEP_S = 0.3
    OUT_S = 1.0
    BACK_S = 0.4
    TAU_S = 0.008  # at 60 Hz, 88 % of a change shows in the first frame

    def __init__(self) -> None:
        self.level = 0.0
        self.live = 0.0
        self.settling = 0.0
        self._gated_s = math.inf
        self._seen = False

    def reset(self) -> None:
        """Forget everything: the next honest level starts from neutral."""
        self.__init__()  # type: ignore[misc]

    def step(self, dt: float, level: float | None) -> None:
        """Advance by `dt` seconds towards `level`; None means no honest answer."""
        if level is None or not math.isfinite(level):
            self._gated_s = self._gated_s + dt if math.isfinite(self._gated_s) else self._gated_s
            if self._gated_s > self.KEEP_S:
                self.live = max(0.0, self.live - dt / self.OUT_S)
                if self._seen:
                    self.settling = min(1.0, self.settling + dt / 0.5)
            return
        target = min(1.0, max(0.0, level))
        if self.live <= 0.0:
            self.level = target  # comes up from neutral at its true height
        else:
            self.level += (target - self.level) * (1.0 - math.exp(-dt / self.TAU_S))
        self._gated_s = 0.0
        self._seen = True
        self.live = min(1.0, self.live + dt / self.BACK_S)
        self.settling = max(0.0, self.settling - dt / 0.3)

    @property
    def eased(self) -> float:
        """`live` with soft ends."""
        return self.live * self.live * (3.0 - 2.0 * self.live)


class Glow:
    """A reward's light: at its full height 0.35 s after the reward, and out over 0.9 s.

    Every reward is seen. What comes while the last one is still bright lets the light sink first,
    and rise again; what comes while it still rises waits its turn, so that no two begin less than
    0.35 s apart and the light never sinks three times in a second.
    """

    IN_S = 0.35
    OUT_S = 0.90
    SINK_S = 0.12  # of `IN_S`
    SUNK = 0.70  # no reward rises from a brighter light

    def __init__(self, strength: float = 1.0) -> None:
        self._strength = strength
        self._age_s = math.inf
        self._from = 0.0  # light when the newest reward began
        self._waiting = 0

    def add(self, rewards: int) -> None:
        """Let so many rewards glow."""
        self._waiting += rewards

    def clear(self) -> None:
        """Stop glowing and forget what waits."""
        self._age_s, self._waiting = math.inf, 0

    def step(self, dt: float) -> bool:
        """Advance by `dt` seconds; return whether a reward begins to show."""
        self._age_s += dt
        if self._waiting and self._age_s >= self.IN_S:
            self._from, self._age_s = self._shape, 0.0
            self._waiting -= 1
            return True
        return False

    @property
    def value(self) -> float:
        """Light now, 0..1."""
        return self._strength * self._shape

    @property
    def _shape(self) -> float:
        if self._age_s >= self.IN_S:
            return _eased(1.0, 0.0, (self._age_s - self.IN_S) / self.OUT_S)
        low = min(self._from, self.SUNK)
        sinks_s = self.SINK_S if low < self._from else 0.0
        if self._age_s < sinks_s:
            return _eased(self._from, low, self._age_s / sinks_s)
        return _eased(low, 1.0, (self._age_s - sinks_s) / (self.IN_S - sinks_s))


def _eased(start: float, end: float, done: float) -> float:
    """Return the way from `start` to `end` with soft ends; `done` is 0..1."""
    return start + (end - start) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, done)))


class Growth:
    """The number of rewards shown so far, running up while the newest one glows."""

    UP_S = 1.2

    def __init__(self) -> None:
        self.value = 0.0
        self._target = 0.0

    def start(self, rewards: int) -> None:
        """Begin with what the session has given already; nothing of it grows anew."""
        self.value = self._target = float(rewards)

    def add(self) -> None:
        """Let one more reward grow."""
        self._target += 1.0

    def step(self, dt: float) -> None:
        """Advance by `dt` seconds."""
        behind = self._target - self.value
        # Rewards that came close together catch up rather than queue.
        self.value = min(self._target, self.value + dt * max(1.0, behind) / self.UP_S)


class Slew:
    """Follow a level no faster than so much per second: for what is large on the screen.

    Parameters
    ----------
    per_s : float
        Largest change in a second.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self.value = 0.0

    def step(self, level: float, live: float, frame_s: float) -> float:
        """Return the level as followed; the neutral state begins anew from 0."""
        target = level if live > 0.0 else 0.0
        most = self._per_s * frame_s
        step = max(-most, min(most, target - self.value))
        self.value = target if live <= 0.0 else self.value + step
        return self.value
