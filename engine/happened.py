"""What happened in a session, in plain words, for the report's timeline."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from engine.columns import plain
from engine.frames import Event
from engine.words import tenths

__all__ = ["CAUSES", "clock", "named", "spoken"]

CAUSES: Mapping[str, str] = {
    "amplitude": "signal too large",
    "blink": "blinks",
    "muscle": "muscle",
    "saccade": "eye movements",
    "motion": "head movements",
    "step": "jumps of the signal",
    "flat": "flat channel",
    "rail": "channel at the end of its range",
    "nan": "amplifier sent no numbers",
    "gap": "missing samples",
    "warmup": "filters settling",
    "marked": "channel marked bad",
    "untrusted": "feature not known",
    "stale": "no fresh samples",
    "window": "the person's window did not answer",
    "transport": "samples came too late",
    "changed": "the stream changed",
    "disk": "disk",
    "rate": "wrong sampling rate",
    "paused": "paused by the operator",
}
"""Causes of gates and holds as a clinician reads them."""

# Told in tables; hundreds of lines would hide the rest.
_QUIET = frozenset({"reward", "electrode", "trial", "question"})
_LONGEST = 400  # characters of an unknown event's data


def named(cause: str) -> str:
    """Return a cause in words."""
    return CAUSES.get(cause, cause.replace("_", " "))


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss``, or ``h:mm:ss`` from an hour on."""
    if not math.isfinite(seconds):
        return "?"
    sign, whole = ("-" if seconds < -0.5 else ""), round(abs(seconds))
    if whole >= 3600:
        return f"{sign}{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{sign}{whole // 60}:{whole % 60:02d}"


def spoken(event: Event) -> tuple[str, str] | None:
    """Return (short name, sentence) of an event; None for those that are only counted."""
    if event.kind in _QUIET:
        return None
    say = _SAID.get(event.kind)
    if say is not None:
        try:
            return say(event.data)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass  # written by another version: shown as it is
    return event.kind.replace("_", " "), _raw(event.data)


def _raw(data: Mapping[str, Any]) -> str:
    parts = [
        f"{k}: {v if isinstance(v, str) else json.dumps(plain(v), ensure_ascii=False)}"
        for k, v in data.items()
    ]
    text = "; ".join(parts)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _number(value: Any) -> str:
    return "not known" if value is None else f"{float(value):.3g}"


def _block(d: Mapping[str, Any]) -> str:
    kind, name = str(d["kind"]), str(d["name"]).replace("_", " ")
    number = f" {d['block']}" if kind in ("train", "transfer", "rest") and d.get("block") else ""
    words = {
        "ready": f"Instruction before {name}",
        "baseline": f"Baseline {name}",
        "train": f"Training{number}",
        "transfer": f"Transfer{number}, without feedback",
        "rest": f"Rest{number}",
        "post": "Rest afterwards",
        "preparing": "Preparing",
        "done": "End of the plan",
    }
    return words.get(kind, f"{kind} {name}")


def _begin(d: Mapping[str, Any]) -> tuple[str, str] | None:
    if d["kind"] in ("preparing", "ready"):
        return None
    say = f" The person was told: “{d['say']}”" if d.get("say") else ""
    return "begins", f"{_block(d)}.{say}"


def _end(d: Mapping[str, Any]) -> tuple[str, str] | None:
    if d["kind"] in ("preparing", "ready", "done"):
        return None
    words = {
        "complete": "as planned",
        "out of time": "after 20 % more time than planned: it was not all clean",
        "skipped": "skipped by the operator",
        "stopped": "the session was stopped",
        "repeat": "to be repeated",
        "failed": "failed",
    }
    why = words.get(str(d["reason"]), str(d["reason"]))
    clean = f"{float(d['clean_s']):.0f} s clean of {float(d['total_s']):.0f} s"
    if d["kind"] == "baseline":  # its own event tells what remained after re-gating
        return "ends", f"{_block(d)}, {why}."
    return "ends", f"{_block(d)}, {why}: {clean}."


def _baseline(d: Mapping[str, Any]) -> tuple[str, str]:
    names = ", ".join(str(n) for n in d.get("features", {}))
    learned = f"; learned: {names}" if names else ""
    clean_s, block_s = float(d["clean_s"]), float(d["block_s"])
    name = str(d["name"]).replace("_", " ")
    return "baseline", f"{name}: {clean_s:.0f} of {block_s:.0f} s clean{learned}."


def _resting(d: Mapping[str, Any]) -> tuple[str, str]:
    names = ", ".join(str(n) for n in d.get("features", {}))
    name = str(d["name"]).replace("_", " ")
    return "baseline", f"{name}, read again by the fitted filters; learned: {names}."


def _iaf(d: Mapping[str, Any]) -> tuple[str, str]:
    used = f"{float(d['used_hz']):.1f} Hz"
    if d["source"] == "fallback":
        why = str(d.get("reason") or "").rstrip(".")
        return "alpha", (
            f"No individual alpha frequency was found{f' ({why})' if why else ''}; bands lie "
            f"around {used} instead."
        )
    if d["source"] == "course":
        return (
            "alpha",
            f"Bands that follow alpha lie around {used}, as in the course's first session.",
        )
    return "alpha", str(d.get("sentence") or f"Individual alpha frequency {used}.")


def _fit(d: Mapping[str, Any]) -> tuple[str, str] | None:
    if d.get("beside"):
        return None
    lo, hi = d["band_hz"]
    name = f"{d['feature']} ({tenths((float(lo), float(hi)))})"
    if d.get("unknown"):
        return "filter", f"{name} cannot be read: {str(d['unknown']).rstrip('.')}."
    if d["estimator"] == "fixed":
        if d["fit"] == "fixed":
            return None
        return "filter", f"{name} keeps the fixed filter: {d['reason']}."
    best, r = d.get("best_lag_s"), d.get("best_r")
    how = (
        ""
        if best is None or r is None
        else f"; on the baseline it follows the ideal envelope with r\u00a0=\u00a0{float(r):.2f}, "
        f"{1000 * float(best):.0f} ms late"
    )
    return "filter", f"{name} fitted to {float(d['clean_s']):.0f} s of clean rest{how}."


def _references(d: Mapping[str, Any]) -> tuple[str, str] | None:
    refused = d.get("floor_refused")
    if not isinstance(refused, Mapping) or not refused:
        return None
    why = "; ".join(f"{name}: {str(text).rstrip('.')}" for name, text in refused.items())
    return "filter", f"What chance alone gives is not known, so there is no number. {why}."


def _eog(d: Mapping[str, Any]) -> tuple[str, str]:
    if d.get("reason"):
        return "eyes", f"Blinks are not regressed out: {d['reason']}."
    of = ", ".join(str(e) for e in d["eog"])
    return "eyes", f"Blinks are regressed out by {of}, fitted to {float(d['blink_s']):.0f} s."


def _adapted(d: Mapping[str, Any], what: str) -> tuple[str, str]:
    rule = f"Threshold of {d['feature']} ({d['direction']})"
    old, new = _number(d.get("old")), _number(d.get("new"))
    if what == "block":
        said = f"{rule} set from the last block: {old} to {new}."
    elif what == "frozen":
        said = f"{rule} stays at {new} from here on."
    else:
        why = str(d.get("reason") or "").rstrip(".")
        said = f"{rule} stays at {new}{f': {why}' if why else ''}."
    return "threshold", said


def _drift(d: Mapping[str, Any]) -> tuple[str, str]:
    return "drift guard", (
        f"The threshold of {d['feature']} ({d['direction']}) had followed the person the wrong "
        f"way and stays at {_number(d.get('new'))}. While it followed, the reward rate said "
        "nothing about learning: look at the feature against rest."
    )


def _shaped(d: Mapping[str, Any]) -> tuple[str, str]:
    share = d.get("success")
    why = "" if share is None else f", after {100 * float(share):.0f} % success in a block"
    return "shaping", (
        f"The reward became one step {d['step']}{why}: threshold of {d['feature']} "
        f"{_number(d.get('old'))} to {_number(d.get('new'))}."
    )


def _answer(d: Mapping[str, Any]) -> tuple[str, str]:
    said = str(d["text"]).strip()
    asked = f"“{d['question']}” " if d.get("question") else ""
    return "answer", f"{asked}Answer: “{said}”" if said else f"{asked}Nothing was answered."


def _go(d: Mapping[str, Any]) -> tuple[str, str]:
    who = "The person" if d.get("by") == "person" else "The operator"
    return "go", f"{who} began the block."


def _repeat(d: Mapping[str, Any]) -> tuple[str, str]:
    return "baseline", f"Attempt {d['attempt']} was not enough: {d['reason']}"


def _threshold(d: Mapping[str, Any]) -> tuple[str, str]:
    share = d.get("success")
    how = str(d["method"])
    if share is not None:
        how = f"the condition held {100 * float(share):.0f} % of the clean baseline"
    return "threshold", f"{d['feature']} {d['direction']} {_number(d['value'])} ({how})."


def _threshold_change(d: Mapping[str, Any]) -> tuple[str, str]:
    why = f" Reason: {d['reason']}" if d.get("reason") else " No reason was given."
    return "operator", (
        f"Threshold of {d['feature']} ({d['direction']}) changed from {_number(d['old'])} to "
        f"{_number(d['new'])}.{why}"
    )


def _hold(d: Mapping[str, Any]) -> tuple[str, str]:
    cause, sentence = named(str(d["cause"])), str(d.get("sentence") or "")
    said = f"{cause[:1].upper()}{cause[1:]}"
    if not d["on"]:
        return "resumed", f"Over: {cause}."
    # the sentence knows more than the cause: late samples and a lost stream are both "stale"
    return "held", sentence or f"{said}."


def _screening(d: Mapping[str, Any]) -> tuple[str, str]:
    # Answers are health data; a printed report is not the place for them.
    noted = len(d.get("warned") or ())
    points = f" {noted} {'point was' if noted == 1 else 'points were'} noted." if noted else ""
    asked = "All questions were" if d.get("full") else "The questions about today were"
    return "screening", f"{asked} answered; nothing forbade the session.{points}"


def _quality(d: Mapping[str, Any]) -> tuple[str, str]:
    lights = {str(k): v for k, v in d["electrodes"].items()}
    poor = [f"{k} {v[0]} ({v[1]})" for k, v in lights.items() if v[0] != "green"]
    if not poor:
        return "electrodes", f"All {len(lights)} electrodes were green at the start."
    return "electrodes", f"At the start of {len(lights)}: {', '.join(poor)}."


def _advice(d: Mapping[str, Any]) -> tuple[str, str]:
    share = d.get("gated_share")
    much = "" if share is None else f" ({100 * float(share):.0f} % of the last 20 s not clean)"
    return "advice", f"{d['text']}{much}"


def _invalid(d: Mapping[str, Any]) -> tuple[str, str]:
    return "warning", (
        f"{_block(d)}: {100 * float(d['gated_share']):.0f} % was not clean. It is kept, but its "
        "numbers say little."
    )


def _window(d: Mapping[str, Any]) -> tuple[str, str]:
    size = "x".join(str(n) for n in d.get("size") or ())
    sound = f"sound: {d['audio']}" if d.get("audio") else "no sound"
    return "window", f"Open: {size} px, {_number(d.get('refresh_hz'))} Hz, {sound}."


def _window_end(d: Mapping[str, Any]) -> tuple[str, str]:
    missed, guarded = int(d.get("missed") or 0), int(d.get("guarded") or 0)
    return "window", (
        f"Closed: {missed} {'frame' if missed == 1 else 'frames'} missed; the flash and loudness "
        f"guard acted {guarded} {'time' if guarded == 1 else 'times'}."
    )


def _mark(d: Mapping[str, Any]) -> tuple[str, str]:
    return "operator", f"{d['channel']} marked bad. {d.get('reason') or ''}".strip()


_SAID: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str] | None]] = {
    "phase_begin": _begin,
    "phase_end": _end,
    "baseline": _baseline,
    "baseline_repeat": _repeat,
    "resting": _resting,
    "iaf": _iaf,
    "fit": _fit,
    "references": _references,
    "eog_regression": _eog,
    "threshold": _threshold,
    "threshold_change": _threshold_change,
    "threshold_block": lambda d: _adapted(d, "block"),
    "threshold_kept": lambda d: _adapted(d, "kept"),
    "threshold_frozen": lambda d: _adapted(d, "frozen"),
    "drift_guard": _drift,
    "shaped": _shaped,
    "answer": _answer,
    "go": _go,
    "drowsy": lambda d: ("drowsy", str(d["text"])),
    "plugin_fault": lambda d: ("plug-in", str(d["text"])),
    "feature_fault": lambda d: ("plug-in", str(d["text"])),
    "hold": _hold,
    "screening": _screening,
    "quality": _quality,
    "advice": _advice,
    "block_invalid": _invalid,
    "window": _window,
    "window_end": _window_end,
    "mark_bad": _mark,
    "start": lambda _: ("start", "The session began."),
    "done": lambda _: ("end", "All blocks are done."),
    "stop": lambda d: ("stopped", str(d.get("reason") or "The session was stopped.")),
    "failed": lambda d: ("failed", str(d["sentence"])),
    "end": lambda d: ("end", str(d["sentence"])),
    "refused": lambda d: ("operator", f"{d['command']}: {d['sentence']}"),
    "note": lambda d: ("note", str(d["text"])),
    "error": lambda d: ("fault", f"An error of the software's own, number {d['id']}."),
    "standstill": lambda d: (
        "warning",
        f"This computer stood still for {float(d['stood_s']):.1f} s.",
    ),
    "clock": lambda d: (
        "stream",
        f"The amplifier's clock was set by {float(d['jump_s']):+.1f} s.",
    ),
    "volume": lambda d: ("operator", f"Volume set to {100 * float(d['gain']):.0f} %."),
    "gap": lambda d: (
        "gap",
        f"{d['missing']} samples never arrived"
        + (f" ({float(d['gap_s']):.2f} s)" if d.get("gap_s") is not None else "")
        + f": {d['cause']}.",
    ),
    "quality_override": lambda d: (
        "operator",
        f"Started although not all electrodes were good: {d['electrodes']}",
    ),
    "lost": lambda d: ("stream", str(d["sentence"])),
    "back": lambda d: ("stream", f"The stream is back after {float(d['gap_s']):.1f} s."),
    "changed": lambda d: (
        "stream",
        f"The stream is not the agreed one: {'; '.join(str(x) for x in d['differences'])}",
    ),
    "check": lambda d: (
        ("check", " ".join(f"{str(w)[:1].upper()}{str(w)[1:]}." for w in d["warnings"]))
        if d["warnings"]
        else None
    ),
    "certificate_void": lambda d: ("window", " ".join(str(x) for x in d["sentences"])),
    "window_fault": lambda d: ("window", str(d["text"])),
    "window_restart": lambda d: ("window", f"Opened anew ({d['count']}). {d.get('exit') or ''}"),
    "chunk": lambda d: (
        "warning",
        f"The amplifier sends chunks of {1000 * float(d['chunk_s']):.0f} ms: feedback is late.",
    ),
}
