"""Sentences about what happens in a session, for the operator's view."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from engine.frames import Event, Phase, PhaseKind

__all__ = ["GATE_WORDS", "RESUMED", "phase_name", "sentence"]

RESUMED: Mapping[str, str] = MappingProxyType(
    {
        "changed": "The agreed stream is back.",
        "stale": "Samples arrive again.",
        "transport": "Samples arrive in time again.",
        "window": "The person's window is back.",
        "rate": "The sampling rate is right again.",
    }
)
GATE_WORDS = {
    "amplitude": "large amplitude",
    "blink": "a blink",
    "muscle": "muscle tension",
    "saccade": "an eye movement",
    "motion": "a head movement",
    "step": "a jump in the signal",
    "flat": "a flat electrode",
    "rail": "an electrode at the amplifier's limit",
    "nan": "missing numbers",
    "gap": "missing samples",
    "warmup": "filters are settling",
    "marked": "an electrode marked bad",
}


def phase_name(phase: Phase) -> str:
    words = {
        PhaseKind.READY: "Get ready",
        PhaseKind.BASELINE: "Baseline",
        PhaseKind.PREPARING: "Preparing",
        PhaseKind.TRAIN: "Training",
        PhaseKind.REST: "Rest",
        PhaseKind.TRANSFER: "Transfer (no feedback)",
        PhaseKind.POST: "Rest afterwards",
        PhaseKind.DONE: "Done",
    }
    name = words.get(phase.kind, phase.kind.name.lower())
    number = f" {phase.block}" if phase.kind is PhaseKind.TRAIN else ""
    return f"{name}{number}"


def sentence(event: Event) -> str:
    """Return what the operator reads about an event; nothing for those shown elsewhere."""
    data = event.data
    if event.kind in ("refused", "lost", "marker_lost"):
        return str(data.get("sentence", ""))
    if event.kind in ("advice", "window_fault", "drowsy", "plugin_fault"):
        return str(data.get("text", ""))
    if event.kind == "question":
        return f"Ask the person: {data.get('text')} (a writes down the answer)"
    if event.kind == "answer":
        return f"Answer: {data.get('text')}"
    if event.kind == "drift_guard":
        return (
            f"The threshold of {data.get('feature')} had followed the person the wrong way; it "
            "stays where it is now. Look at the feature against rest."
        )
    if event.kind == "shaped":
        return f"The reward is one step {data.get('step')} from the next block on."
    if event.kind in ("threshold_block", "threshold_frozen", "threshold_kept"):
        return _threshold_sentence(data, event.kind)
    if event.kind == "changed":
        return "The stream came back different: " + "; ".join(data.get("differences", ()))
    if event.kind == "back":
        return f"The stream is back after {data.get('gap_s', 0):.1f} s."
    if event.kind == "chunk":
        ms = 1e3 * data.get("chunk_s", 0.0)
        return f"The amplifier sends packets of {ms:.0f} ms: feedback is late."
    if event.kind == "rate":
        return _rate_sentence(data)
    if event.kind == "clock":
        return f"The amplifier's clock was set by {data.get('jump_s', 0):+.1f} s."
    if event.kind == "counter":
        return "The amplifier's sample counter broke off; the time stamps tell of gaps instead."
    if event.kind == "disk":
        return f"Only {data.get('free_gb', 0):.1f} GB are left on the disk: make space soon."
    if event.kind == "certificate_void":
        return f"The certificate of delays does not hold now. {' '.join(data['sentences'])}"
    if event.kind == "window_restart":
        return "The person's window is opened again."
    if event.kind == "quality_override":
        return f"Started all the same. {data.get('electrodes')}"
    if event.kind == "hold" and data.get("cause") == "paused":
        return "Paused." if data.get("on") else "The pause is over."
    if event.kind == "baseline_repeat":
        return f"Baseline again: only {data.get('clean_s', 0):.0f} s were clean."
    if event.kind == "threshold_change":
        new = data.get("new", math.nan)
        return f"Threshold of {data.get('feature')} is now {new:.3g}: {data.get('reason')}"
    if event.kind == "note":
        return f"Note: {data.get('text')}"
    if event.kind == "mark_bad":
        return f"{data.get('channel')} is marked bad."
    if event.kind == "gap":
        return f"{data.get('gap_s', 0):.2f} s of samples are missing."
    if event.kind == "block_invalid":
        return "More than half of this block was gated: it is marked invalid."
    return ""


def _rate_sentence(data: Mapping[str, object]) -> str:
    if data.get("verdict") != "warn":  # "error" is a hold, with a sentence of its own
        return ""
    return f"The stream says {data['nominal_hz']:g} Hz but sends {data['measured_hz']:.2f} Hz."


def _threshold_sentence(data: Mapping[str, object], kind: str) -> str:
    new, feature = data.get("new"), data.get("feature")
    value = f"{new:.3g}" if isinstance(new, float) else "not known"
    if kind == "threshold_block":
        return f"Threshold of {feature} from the last block: {value}."
    if kind == "threshold_frozen":
        return f"The threshold of {feature} stays at {value} from here on."
    return f"The threshold of {feature} stays at {value}: {data.get('reason')}."
