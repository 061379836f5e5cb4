"""What a blinded session may show and write in plain, and what goes into the sealed research log.

A live feature that disagrees with the feedback tells the arm. So features, thresholds, verdicts and
everything that follows from them are withheld from the operator, the network and the recording,
alike in every arm; the research log keeps them for the end of the study. What is presented (level,
rewards), the raw EEG, the gates and the phases stay in plain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from engine.columns import decision_columns, decision_row, feature_columns, feature_row
from engine.frames import Decision, Event, FeatureFrame, Float, PhaseKind, frozen
from engine.pipeline import Point
from engine.status import Status

__all__ = ["Blind", "Log", "masked_decision", "masked_frame", "masked_status", "parted"]

WITHHELD = frozenset(
    {
        "threshold",
        "threshold_change",
        "threshold_block",
        "threshold_kept",
        "threshold_frozen",
        "drift_guard",
        "shaped",
        "drowsy",
    }
)
"""Events that follow from the real features; they go into the research log only."""
REDUCED: Mapping[str, frozenset[str]] = {
    "phase_end": frozenset({"rate_alone", "rate_joint", "features", "trials", "crossover"}),
    "reward": frozenset({"feature", "value", "threshold"}),
    "trial": frozenset({"mean_uv", "passed"}),
}
"""What is taken out of events that stay."""
FLUSH_S = 1.0


class Log(Protocol):
    """Where what is withheld goes; `engine.sealedlog.SealedLog` is one."""

    def write(self, value: Any) -> None: ...
    def numbers(self, name: str, columns: tuple[str, ...], rows: Float) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def masked_frame(frame: FeatureFrame) -> FeatureFrame:
    """Return a frame without features; gates and their measures stay."""
    unknown: Float = frozen(np.full(len(frame.values), np.nan))
    nothing = frozen(np.zeros(len(frame.values), dtype=np.bool_))
    fixed = frozen(np.full(len(frame.fixed_uv2), np.nan))
    return replace(frame, values=unknown, trusted=nothing, fixed_uv2=fixed)


def masked_decision(decision: Decision) -> Decision:
    """Return a decision without verdicts and thresholds; what is presented stays."""
    return replace(
        decision,
        joint=False,
        passes=(None,) * len(decision.passes),
        thresholds=(math.nan,) * len(decision.thresholds),
        why=_why(decision),
    )


def _why(decision: Decision) -> str:
    """Return why there is no level, in words that are the same for every source of it."""
    if decision.level is not None or decision.held or decision.kind is not PhaseKind.TRAIN:
        return decision.why
    return "gate"


def parted(event: Event) -> tuple[Event | None, Event | None]:
    """Return what of an event may be seen, and what is withheld; None for nothing."""
    if event.kind in WITHHELD:
        return None, event
    if event.kind == "advice" and event.data.get("cause") == "saturated":
        return None, event
    hidden = REDUCED.get(event.kind, frozenset()) & set(event.data)
    if not hidden:
        return event, None
    seen = {k: v for k, v in event.data.items() if k not in hidden}
    return replace(event, data=seen), event


def masked_status(status: Status) -> Status:
    """Return what the operator may see: no feature, threshold, rate or number of rewards."""
    return replace(
        status,
        blinded=True,
        feature_name="",
        feature_value=None,
        threshold=None,
        history=(),
        reward_rate_alone=None,
        joint_rate=None,
        rewards=0,
        rewards_per_min=None,
    )


class Blind:
    """Parts a session's points into plain and sealed, and writes the sealed ones once a second.

    Parameters
    ----------
    log : Log
        Open; closed by `close`.
    features : mapping of str to str
        Names and units, in the order of the frame.
    metrics : sequence of str
        What the gates measure.
    rules : sequence of str
        Features of the rules.
    grid_hz : float
    opening : mapping
        Written first: what is needed to replay the session.
    """

    def __init__(
        self,
        log: Log,
        features: Mapping[str, str],
        metrics: Sequence[str],
        rules: Sequence[str],
        grid_hz: float,
        opening: Mapping[str, Any],
    ) -> None:
        self._log = log
        self._feature_names = tuple(n for n, _ in feature_columns(features, metrics))
        self._decision_names = tuple(n for n, _ in decision_columns(rules))
        self._every = max(1, round(FLUSH_S * grid_hz))
        self._features: list[Float] = []
        self._decisions: list[Float] = []
        self._events: list[Event] = []
        log.write({"opening": dict(opening)})
        log.flush()

    def take(self, point: Point) -> Point:
        """Keep what is withheld of a point; return what may be seen."""
        self._features.append(feature_row(point.frame))
        self._decisions.append(decision_row(point.real or point.decision))
        plain: list[Event] = []
        for event in point.events:
            seen = self.event(event)
            if seen is not None:
                plain.append(seen)
        if len(self._features) >= self._every:
            self._write()
        decision = masked_decision(point.decision)
        return Point(masked_frame(point.frame), decision, tuple(plain))

    def event(self, event: Event) -> Event | None:
        """Keep what is withheld of an event; return what may be seen, None for nothing."""
        seen, withheld = parted(event)
        if withheld is not None:
            self._events.append(withheld)
        return seen

    def close(self) -> None:
        """Write what is left and close the log."""
        self._write()
        self._log.close()

    def _write(self) -> None:
        # One piece of each kind a second, also when there is no event: every arm writes alike.
        n_f, n_d = len(self._feature_names), len(self._decision_names)
        features = np.array(self._features) if self._features else np.zeros((0, n_f))
        decisions = np.array(self._decisions) if self._decisions else np.zeros((0, n_d))
        self._log.numbers("features", self._feature_names, features)
        self._log.numbers("decisions", self._decision_names, decisions)
        self._log.write(
            {"events": [{"t": e.t, "seq": e.seq, "kind": e.kind, "data": dict(e.data)}
                        for e in self._events]}
        )  # fmt: skip
        self._log.flush()
        self._features, self._decisions, self._events = [], [], []
