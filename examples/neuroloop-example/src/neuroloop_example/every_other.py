"""The reward rule `every_other`: only some of the held times are rewarded."""

from __future__ import annotations

from collections.abc import Mapping

from engine.features import Option
from protocols.reward import Schedule
from protocols.rewards import RewardKind

__all__ = ["EVERY_OTHER", "EveryOther"]


class EveryOther:
    """Count as the built-in rule does, and reward every n-th time.

    Parameters
    ----------
    sustain_s, refractory_s : float
        Of the protocol's reward, in seconds.
    grid_hz : float
        Grid points per second.
    options : mapping of str to float
        ``every`` is n.
    """

    def __init__(
        self, sustain_s: float, refractory_s: float, grid_hz: float, options: Mapping[str, float]
    ) -> None:
        self._held = Schedule(sustain_s, refractory_s, grid_hz)
        self._every = round(options["every"])
        self._times = 0

    def step(self, ok: bool) -> bool:
        """Count one grid point; return whether it is rewarded."""
        if not self._held.step(ok):
            return False
        self._times += 1
        return self._times % self._every == 0

    def reset(self) -> None:
        """Forget what was held; how many times it was stays."""
        self._held.reset()


EVERY_OTHER = RewardKind(
    name="every_other",
    doc="Rewards every second time that the conditions were held, or every n-th (`every`).",
    make=EveryOther,
    options={"every": Option(2.0, 1.0, 10.0, "1", "Reward every n-th time.")},
)
