"""What a person is told after a training block: made from what the decider says at its end. Pure.

How the block compares with rest is told only where it can be told honestly: the protocol trains
one feature in one direction, and what was presented was real. In a blinded session and under a
control condition it would give the arm away, so it is withheld there in every arm alike.
"""

from __future__ import annotations

import math

from engine.frames import Event, Summary
from protocols.model import Protocol

__all__ = ["LEAST_CLEAN_S", "Summaries"]

LEAST_CLEAN_S = 10.0  # the mean of less says little about a block


class Summaries:
    """Summaries of the training blocks so far.

    Parameters
    ----------
    protocol : Protocol
        Says which feature is trained, and whether upward or downward.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._feature = ""
        self._sign = 0.0
        # Trials have two directions, and a level without a reward has none.
        if protocol.reward is not None and protocol.trial is None:
            self._feature = protocol.trained
            self._sign = 1.0 if protocol.reward.direction == "above" else -1.0
        self._blocks: list[Summary] = []

    def see(self, event: Event, *, compared: bool) -> None:
        """Note the end of a training block; other events pass.

        Parameters
        ----------
        event : Event
            As it may be seen.
        compared : bool
            Whether the block may be compared with rest: what is presented is real, and known to
            be.
        """
        if event.kind != "phase_end" or event.data.get("kind") != "train":
            return
        data = event.data
        clean_s = float(data["clean_s"])
        z: float | None = None
        if compared and clean_s >= LEAST_CLEAN_S:
            z = data.get("features", {}).get(self._feature, {}).get("baseline_z")
        self._blocks.append(
            Summary(
                rewards=int(data.get("rewards", 0)),
                clean_s=clean_s,
                lasts_s=float(data["total_s"]),
                z=None if z is None or not math.isfinite(z) else self._sign * z,
            )
        )

    @property
    def block(self) -> Summary | None:
        """Of the newest training block; None before the first."""
        return self._blocks[-1] if self._blocks else None

    @property
    def session(self) -> Summary | None:
        """Of all training blocks together, without a comparison; None before the first."""
        if not self._blocks:
            return None
        return Summary(
            rewards=sum(b.rewards for b in self._blocks),
            clean_s=sum(b.clean_s for b in self._blocks),
            lasts_s=sum(b.lasts_s for b in self._blocks),
        )
