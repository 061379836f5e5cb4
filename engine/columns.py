"""What the streams of a recording hold: ids, columns, codes, and values as rows.

``docs/recording.md`` describes the same for people; `FORMAT` is its version.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np

from engine.frames import Chunk, Decision, FeatureFrame, Float, Input, Presented

__all__ = [
    "CHECK_COLUMNS",
    "FORMAT",
    "HELD",
    "PRESENTED_COLUMNS",
    "WHY",
    "Streams",
    "decision_columns",
    "decision_row",
    "feature_columns",
    "feature_row",
    "input_text",
    "plain",
    "SHOWN",
    "presented_row",
    "strict_json",
]

FORMAT = 1  # of docs/recording.md

HELD = (
    "stale",
    "changed",
    "window",
    "transport",
    "disk",
    "rate",
    "paused",
    "operator",
    "sound",
    "other",
    "failed",
)
"""Causes of hold; bit k of a decision's ``held`` column is cause k."""

WHY = ("", "gate", "hold", "phase", "unknown", "other")
"""Words of `Decision.why`; the ``why`` column is the index."""


class Streams:
    """Stream ids of a recording. Marker streams follow from `MARKERS` on."""

    RAW = 1
    INPUTS = 2
    FEATURES = 3
    DECISIONS = 4
    PRESENTED = 5
    EVENTS = 6
    CHECKS = 7
    MARKERS = 16


CHECK_COLUMNS = ("offset", "length", "crc32", "stream", "first_row")
PRESENTED_COLUMNS = (
    "seq", "t", "sent", "t_flip", "level", "reward", "guard", "frame", "screen", "heard", "patch",
    "live", "share",
)  # fmt: skip
SHOWN = (
    "welcome", "instruction", "countdown", "feedback", "transfer", "rest", "test", "neutral", "end",
    "probe", "lost", "stopped", "other",
)  # fmt: skip
"""Screens by their number in the ``presented`` stream; the last one stands for any other."""


# ---------------------------------------------------------------- values as rows


def plain(value: Any) -> Any:
    """Return `value` as strict JSON knows it: dict, list, str, int, float, bool, None.

    NaN becomes None, infinities the text ``inf`` and ``-inf``; dataclasses, pydantic models,
    enums, paths, dates and arrays are taken apart.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if math.isfinite(number):
            return number
        return None if math.isnan(number) else str(number)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump())
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (set, frozenset)):
        return sorted((plain(v) for v in value), key=str)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [plain(v) for v in value]
    return str(value)


def strict_json(value: Any) -> str:
    """Return `value` as one line of JSON that every reader accepts."""
    return json.dumps(plain(value), allow_nan=False, separators=(",", ":"))


def feature_columns(
    features: Mapping[str, str], metrics: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return (label, unit) of every column of the ``features`` stream."""
    return (
        ("seq", "sample"),
        *((name, unit) for name, unit in features.items()),
        ("trusted", "bits"),
        ("gate", "bits"),
        *((f"gate_{name}", "") for name in metrics),
        *((f"fixed_{name}", "uV2") for name in features),
    )


def feature_row(frame: FeatureFrame) -> Float:
    """Return a FeatureFrame as one row of the ``features`` stream."""
    trusted = sum(1 << k for k, ok in enumerate(frame.trusted.tolist()) if ok)
    n, m = len(frame.values), len(frame.metrics)
    row = np.empty(3 + 2 * n + m)
    row[0], row[1 : 1 + n] = frame.seq, frame.values
    row[1 + n], row[2 + n], row[3 + n : 3 + n + m] = trusted, int(frame.gate), frame.metrics
    row[3 + n + m :] = frame.fixed_uv2 if len(frame.fixed_uv2) else np.nan
    return row


def decision_columns(rules: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return (label, unit) of every column of the ``decisions`` stream."""
    return (
        ("seq", "sample"),
        ("phase", "index"),
        ("kind", "code"),
        ("level", "1"),
        ("reward", "bool"),
        ("joint", "bool"),
        *((f"pass_{k}_{name}", "bool") for k, name in enumerate(rules)),
        *((f"threshold_{k}_{name}", "") for k, name in enumerate(rules)),
        ("gate", "bits"),
        ("held", "bits"),
        ("phase_s", "s"),
        ("rewards", "count"),
        ("why", "code"),
    )


def _held_bits(causes: Sequence[str]) -> int:
    bits = 0
    for cause in causes:
        bits |= 1 << HELD.index(cause if cause in HELD else "other")
    return bits


def decision_row(decision: Decision) -> Float:
    """Return a Decision as one row of the ``decisions`` stream; None becomes NaN."""
    nan = math.nan
    return np.array(
        (
            decision.seq,
            decision.phase,
            decision.kind.value,
            nan if decision.level is None else decision.level,
            decision.reward,
            decision.joint,
            *(nan if p is None else float(p) for p in decision.passes),
            *decision.thresholds,
            int(decision.gate),
            _held_bits(decision.held),
            decision.phase_s,
            decision.rewards,
            WHY.index(decision.why if decision.why in WHY else "other"),
        ),
        dtype=np.float64,
    )


def presented_row(shown: Presented) -> Float:
    """Return a Presented as one row of the ``presented`` stream; None becomes NaN."""
    level = math.nan if shown.level is None else shown.level
    row = (
        shown.seq,
        shown.t,
        shown.sent,
        shown.t_flip,
        level,
        shown.reward,
        shown.guard,
        shown.frame,
        SHOWN.index(shown.screen if shown.screen in SHOWN else "other"),
        math.nan if shown.heard is None else shown.heard,
        shown.patch,
        shown.live,
        shown.share,
    )
    return np.array(row, dtype=np.float64)


def input_text(value: Input) -> str:
    """Return a Gap, Command or Hold as one row of the ``inputs`` stream."""
    if isinstance(value, Chunk):
        raise TypeError("a Chunk is recorded as raw samples, not as an input row")
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return strict_json({"input": type(value).__name__.lower(), **fields})
