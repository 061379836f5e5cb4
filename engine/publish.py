"""Our results as LSL outlets, for whoever takes part: recorders, stimulus programs, a second room.

Publishing is a courtesy: whatever goes wrong here never stops a session. The first failure is
kept as a sentence and ends the publishing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.errors import NeuroloopError
from engine.frames import Event, FeatureFrame, Show, StreamSpec
from engine.lsl import LslNetwork, configure_lsl, load_pylsl, mark_used

__all__ = ["FEEDBACK", "Publisher"]

log = logging.getLogger(__name__)

KEPT_S = 60  # seconds that LSL keeps for a slow reader
FEEDBACK = ("level", "gate", "rewards")
"""Columns of ``neuroloop_feedback``: level 0..1 or NaN for none; gate 1 while the signal is
gated; rewards counted since the session began (a rise is a reward)."""


class Publisher:
    """Three outlets: ``neuroloop_features``, ``neuroloop_feedback`` and ``neuroloop_markers``.

    Parameters
    ----------
    spec : StreamSpec
        The stream that the features come from.
    feature_names : sequence of str
        In the order of `FeatureFrame.values`.
    settings : LslNetwork
        The room's LSL settings.
    units : sequence of str
        Of the features, same order; unknown when left out.

    Notes
    -----
    Stamps are in LSL's clock on this computer. Features carry the stamp of the newest sample
    behind them, feedback the time when it was sent to the person's window.
    """

    def __init__(
        self,
        spec: StreamSpec,
        feature_names: Sequence[str],
        settings: LslNetwork,
        units: Sequence[str] = (),
    ) -> None:
        self._spec = spec
        self._names = tuple(feature_names)
        self._units = tuple(units) or ("",) * len(self._names)
        self._settings = settings
        self._id = f"neuroloop-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._markers_sent = 0
        self._features: Any = None
        self._feedback: Any = None
        self._markers: Any = None
        self.problem = ""
        """Why nothing is published (any more); empty while all is well."""

    def start(self) -> str:
        """Offer the streams.

        Returns
        -------
        str
            Why that was not possible; empty when it was.
        """
        self._guarded(self._open)
        return self.problem

    def features(self, frame: FeatureFrame, clock_offset_s: float | None = None) -> None:
        """Publish the features of one grid point, NaN where unknown or not trusted.

        Parameters
        ----------
        frame : FeatureFrame
            Its `t` is a raw stamp of the source's clock.
        clock_offset_s : float or None
            To be added to that stamp for our clock; None when not known (then the stamp of a
            source on this computer is right, and of another one raw).
        """
        outlet = self._features
        if outlet is not None and self._names:
            t = frame.t + (clock_offset_s or 0.0)
            values = np.where(frame.trusted, frame.values, math.nan)
            self._guarded(
                lambda: outlet.push_sample(values.tolist(), t if math.isfinite(t) else 0.0)
            )

    def feedback(self, show: Show) -> None:
        """Publish what was sent to the person's window."""
        outlet = self._feedback
        if outlet is not None:
            level = math.nan if show.level is None else show.level
            row = [level, float(show.gated), float(show.rewards)]
            self._guarded(lambda: outlet.push_sample(row, show.sent))

    def marker(self, event: Event) -> None:
        """Publish an event as JSON with a running `id`, its kind, sample number and data."""
        outlet = self._markers
        if outlet is not None:
            self._markers_sent += 1
            row = {
                "id": self._markers_sent,
                "kind": event.kind,
                "seq": event.seq,
                "t": _plain(event.t),
                "data": {str(k): _plain(v) for k, v in event.data.items()},
            }
            self._guarded(
                lambda: outlet.push_sample([json.dumps(row, ensure_ascii=False)], event.t)
            )

    def close(self) -> None:
        """Withdraw the streams."""
        self._features = self._feedback = self._markers = None

    # ------------------------------------------------------------

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (NeuroloopError, RuntimeError, ValueError, TypeError, OSError) as error:
            what = error.what if isinstance(error, NeuroloopError) else str(error)
            self.problem = f"Nothing is published on the network: {what}"
            log.warning("publishing ended: %s", error)
            self.close()

    def _open(self) -> None:
        configure_lsl(self._settings)
        mark_used()
        rate_hz = self._spec.grid_hz
        if self._names:
            self._features = self._outlet("features", "Features", rate_hz, self._names, self._units)
        self._feedback = self._outlet("feedback", "Feedback", 0.0, FEEDBACK, ("1", "1", "1"))
        self._markers = self._outlet("markers", "Markers", 0.0, ("event",), ("json",))

    def _outlet(
        self, what: str, stype: str, rate_hz: float, names: Sequence[str], units: Sequence[str]
    ) -> Any:
        pylsl = load_pylsl()
        info = pylsl.StreamInfo(
            f"neuroloop_{what}",
            stype,
            len(names),
            rate_hz,
            "string" if what == "markers" else "double64",
            f"{self._id}-{what}",
        )
        desc = info.desc()
        desc.append_child_value("manufacturer", "Neuroloop")
        source = desc.append_child("source")
        source.append_child_value("name", self._spec.name)
        source.append_child_value("source_id", self._spec.source_id)
        channels = desc.append_child("channels")
        for name, unit in zip(names, units, strict=True):
            channel = channels.append_child("channel")
            channel.append_child_value("label", name)
            channel.append_child_value("unit", unit)
            channel.append_child_value("type", stype)
        return pylsl.StreamOutlet(info, max_buffered=KEPT_S)


def _plain(value: Any) -> Any:
    """Return a value that JSON knows: NaN and infinities become null, the rest text."""
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return str(value)
