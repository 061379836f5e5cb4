"""The progress of a client in words, for a terminal, and as JSON."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from engine.columns import plain
from engine.learning import CONFIDENCE, Effect, Slope
from engine.progress import (
    BLINDED,
    CONSTANT_RATE,
    DESCRIPTION,
    INDEPENDENT,
    TEST,
    Beside,
    Progress,
    Session,
)
from engine.words import count, rounded, signed

__all__ = [
    "TRENDS",
    "TrendRow",
    "as_json",
    "as_text",
    "day",
    "effect_words",
    "limits",
    "muscle_words",
    "percent",
    "slope_words",
    "trend_rows",
]

TRENDS = {
    "session": "Training against the same session's rest",
    "fixed": "The same by the fixed filter",
    "transfer": "Transfer (no feedback) against rest",
    "rest": "Rest itself",
    "rest_fixed": "Rest itself, by the fixed filter",
    "over_first": "Clean time beyond the first session's threshold",
    "muscle": "Muscle in training against rest",
    "muscle_level": "Muscle in training",
    "clean_share": "Clean share of training time",
    "reward_alone": "Reward condition alone",
    "reward_joint": "All conditions together",
}
SHARES = ("over_first", "clean_share", "reward_alone", "reward_joint")
LIMITED = f"{100 * CONFIDENCE:g} % limits"


class TrendRow(NamedTuple):
    """One line of the table of trends, in words; empty where there is nothing to say."""

    name: str
    unit: str
    slope: str
    slope_limits: str
    theil_sen: str
    theil_sen_limits: str
    last_minus_first: str
    why: str


# ---------------------------------------------------------------- words


def day(started: str) -> str:
    """Return the day of a session, ``2 Mar 2026``, or what the recording says."""
    try:
        when = dt.datetime.fromisoformat(started)
    except ValueError:
        return started or "day not known"
    return f"{when.day} {when:%b %Y}"


def limits(slope: Slope, scale: float = 1.0, digits: int = 3) -> str:
    """Return ``−0.1 to +0.3``; empty where there are none."""
    if slope.low is None or slope.high is None:
        return ""
    return f"{signed(scale * slope.low, digits)} to {signed(scale * slope.high, digits)}"


def slope_words(slope: Slope, scale: float = 1.0, digits: int = 3) -> str:
    """Return a slope with its limits, or why it is not known."""
    if slope.per_step is None:
        return f"not known ({slope.why})"
    found = limits(slope, scale, digits)
    tail = f" ({found})" if found else ""
    return f"{signed(scale * slope.per_step, digits)}{tail}"


def effect_words(effect: Effect) -> str:
    """Return an effect size with its pairs, or why it is not known."""
    if effect.d_z is None:
        return f"not known ({effect.why})"
    return f"d_z {signed(effect.d_z)} ({count(effect.n, 'pair')})"


def trend_rows(told: Progress) -> list[TrendRow]:
    """Return the table of trends over the sessions."""
    rows = [
        _trend_row(name, told.trends[key].unit, key in SHARES, told.trends[key])
        for key, name in TRENDS.items()
        if key in told.trends
    ]
    return [*rows, *(_trend_row(_beside_name(b), b.trend.unit, False, b.trend)
                     for b in told.beside)]  # fmt: skip


def _beside_name(beside: Beside) -> str:
    role = {"part": "part of the trained feature", "bursts": "bursts, training mean"}
    return f"{beside.name} ({role.get(beside.role, beside.role)})"


def _trend_row(name: str, unit: str, share: bool, trend: Any) -> TrendRow:
    scale, digits = (100.0, 1) if share else (1.0, 3)
    unit = unit.replace("share of", "% of") if share else unit
    fit, robust = trend.ols, trend.theil_sen
    return TrendRow(
        name,
        unit,
        "" if fit.per_step is None else signed(scale * fit.per_step, digits),
        limits(fit, scale, digits),
        "" if robust.per_step is None else signed(scale * robust.per_step, digits),
        limits(robust, scale, digits),
        "" if trend.last_minus_first is None else signed(scale * trend.last_minus_first, digits),
        trend.why or (fit.why if fit.per_step is None else robust.why),
    )


# ---------------------------------------------------------------- JSON


def as_json(told: Progress) -> dict[str, Any]:
    """Return everything, ready for JSON; what is not known is None.

    The keys are the names of the values of `engine.progress.Progress`, and ``statements`` to be
    shown beside the numbers. Each session also has ``muscle_change``; the verdict's rule also its
    ``sentence`` and ``chance``.
    """
    found: dict[str, Any] = plain(told)
    for row, session in zip(found["sessions"], told.sessions, strict=True):
        row["muscle_change"] = session.muscle_change
    if told.verdict is not None:
        found["verdict"]["rule"]["sentence"] = told.verdict.rule.sentence
        found["verdict"]["rule"]["chance"] = told.verdict.rule.chance
    found["confidence"] = CONFIDENCE
    found["signed"] = "numbers about the trained feature are positive in the trained direction"
    found["statements"] = [DESCRIPTION, INDEPENDENT, CONSTANT_RATE]
    if told.blinded:
        found["statements"].insert(0, BLINDED)
    return found


# ---------------------------------------------------------------- the terminal


def as_text(told: Progress) -> str:
    """Return the progress as text for a terminal."""
    return "\n".join(_lines(told))


def _lines(told: Progress) -> Iterator[str]:
    title = f": {told.title}" if told.title else ""
    yield f"Progress of {told.client}, {told.protocol}{title}"
    if told.blinded:
        yield BLINDED
    if told.test_sessions:
        yield f"TEST SESSIONS counted in: {told.test_sessions}. They are not about training."
    if told.sessions:
        yield from _head(told)
        yield ""
        yield from _table(_SESSION_HEAD, [_session_cells(s) for s in told.sessions])
        yield ""
        yield from _table(_MORE_HEAD, [_more_cells(s) for s in told.sessions])
        yield "Beyond 1st: see below. Muscle: in training against rest. Transport: 95th percentile."
        for s in told.sessions:
            notes = [n for n in s.notes if n != TEST]
            if notes:
                yield f"Session {s.number}: {'; '.join(notes)}."
        yield ""
        yield from _across(told)
    elif not told.blinded:
        yield "No session can be counted."
    if told.skipped:
        yield ""
        yield f"Left out: {count(len(told.skipped), 'recording')}."
        for one in told.skipped:
            yield f"  {one.name}: {one.why}"
    yield ""
    yield DESCRIPTION


def _head(told: Progress) -> Iterator[str]:
    yield f"Trained: {told.what}; rewarded {told.direction} a threshold."
    yield (
        f"{count(len(told.sessions), 'session')}. Clean time only; positive is the trained "
        f"direction; {LIMITED} in brackets. SD is the spread of the same session's rest"
        f"{' (of ln values)' if told.scale == 'ln' else ''}."
    )
    yield from told.notes


_SESSION_HEAD = (
    "No", "Day", "Blocks", "Rest to training, SD", "Slope per block", "Last-first", "Transfer, SD"
)  # fmt: skip
_MORE_HEAD = (
    "No", "Clean", "Beyond 1st", "Alone", "Joint", "Muscle", "Threshold", "Transport", "Estimator"
)  # fmt: skip


def _session_cells(s: Session) -> list[str]:
    of = f"{len(s.counted)} of {len(s.blocks)}"
    z = "not known" if s.z.mean is None else signed(s.z.mean)
    if s.z.low is not None and s.z.high is not None:
        z += f" ({signed(s.z.low)} to {signed(s.z.high)})"
    slope = "not known" if s.slope.per_step is None else slope_words(s.slope, digits=2)
    return [
        str(s.number),
        day(s.started),
        of,
        z,
        slope,
        _known(s.last_minus_first),
        _known(s.transfer_z),
    ]


def _more_cells(s: Session) -> list[str]:
    ms = s.transport_ms.get("p95")
    steps = s.thresholds
    moved = f" ({len(steps) - 1} changes)" if len(steps) > 1 else ""
    return [
        str(s.number),
        percent(s.clean_share),
        percent(s.over_first),
        percent(s.reward_alone),
        percent(s.reward_joint),
        muscle_words(s),
        f"{rounded(steps[-1].new)}{moved}" if steps else "not known",
        "not known" if ms is None else f"{ms:.0f} ms",
        "not known" if s.estimator_s is None else f"{1000 * s.estimator_s:.0f} ms",
    ]


def muscle_words(s: Session) -> str:
    """Return how muscle in training differed from rest, in percent of its size."""
    change = s.muscle_change
    return "not known" if change is None else f"{signed(100 * math.expm1(change), 0)} %"


def percent(share: float | None) -> str:
    """Return a share in percent, or that it is not known."""
    return "not known" if share is None else f"{100 * share:.0f} %"


def _known(x: float | None) -> str:
    return "not known" if x is None else signed(x)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(head[k]), *(len(r[k]) for r in rows)) for k in range(len(head))]
    for row in (head, *rows):
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def _across(told: Progress) -> Iterator[str]:
    yield "Over the sessions, per session (least squares; Theil-Sen):"
    for row in trend_rows(told):
        if not row.slope:
            yield f"  {row.name}: not known ({row.why})"
            continue
        fit = f"{row.slope} ({row.slope_limits})" if row.slope_limits else row.slope
        robust = row.theil_sen + (f" ({row.theil_sen_limits})" if row.theil_sen_limits else "")
        yield f"  {row.name}, {row.unit}: {fit}; {robust}"
    yield f"  With muscle held constant: {slope_words(told.partial)}"
    yield f"Last sessions against the first: {effect_words(told.effect)}"
    yield f"Blocks of the last session against the first: {effect_words(told.effect_blocks)}"
    yield f"Beyond the first session's threshold: {told.threshold_by}."
    yield told.specificity
    if not any(b.role == "bursts" for b in told.beside):
        yield "Bursts: not measured, the protocol has no burst feature."
    yield CONSTANT_RATE
    yield INDEPENDENT
    if told.verdict is not None:
        yield ""
        yield f"By the rule declared beforehand: {told.verdict.verdict}. {told.verdict.why}"
        yield f"Declared: {told.verdict.rule.declared}."
        yield told.verdict.rule.sentence
        yield told.verdict.rule.chance
