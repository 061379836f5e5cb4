"""What the operator is told, as values: the status of a session and the words for it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from engine.frames import PhaseKind

__all__ = [
    "Electrode",
    "Prompt",
    "Status",
    "clean",
    "number",
    "state_of",
    "unit_text",
    "with_unit",
]

_QUIET = {
    PhaseKind.IDLE: "Waiting to start.",
    PhaseKind.CHECK: "Checking stream, electrodes, screen and sound.",
    PhaseKind.READY: "The next step is about to begin.",
    PhaseKind.BASELINE: "Resting measurement. The person gets no feedback.",
    PhaseKind.PREPARING: "Learning the thresholds from the baseline.",
    PhaseKind.REST: "A rest. The person gets no feedback.",
    PhaseKind.TRANSFER: "The person practises without feedback.",
    PhaseKind.POST: "Resting measurement after training. The person gets no feedback.",
}


@dataclass(frozen=True, slots=True)
class Electrode:
    """One electrode's light.

    Parameters
    ----------
    name : str
    light : {"green", "amber", "red"}
    rms_uv : float
        RMS in 1-40 Hz, µV; NaN is unknown.
    why : str
        Why it is not green, in a few words.
    """

    name: str
    light: Literal["green", "amber", "red"]
    rms_uv: float = math.nan
    why: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything the operator is told, at one moment. None is unknown and is shown as such.

    `phase_s` and `phase_lasts_s` are the phase's own clock (clean seconds in training);
    `reward_rate_alone` is the share (0..1) of clean time in this block in which the reward
    condition holds by itself, `joint_rate` the share in which every condition holds;
    `direction` is the side of the threshold that is rewarded; `paused` says whether the
    operator's own pause is in force (None: the view keeps count itself). `blinded` says that
    features, thresholds and rates are withheld; `waits` that a block begins when somebody says so;
    `question` waits for the person's answer.
    """

    title: str
    client: str = ""
    state: PhaseKind = PhaseKind.IDLE
    test_session: bool = False
    phase_name: str = ""
    phase_s: float = 0.0
    phase_lasts_s: float = 0.0
    session_s: float = 0.0
    session_lasts_s: float = 0.0
    stream_name: str = ""
    rate_hz: float = math.nan
    measured_rate_hz: float | None = None
    age_ms: float | None = None
    age_known: bool = False
    transport_ms_p50: float | None = None
    transport_ms_p95: float | None = None
    transport_ms_p99: float | None = None
    transport_ms_max: float | None = None
    shown_age_ms: float | None = None  # 95 % of the newest frames were younger
    missed_flips: int | None = None
    fps: float | None = None
    sound_buffer_ms: float | None = None
    sound_delay_ms: float | None = None
    dose_share: float | None = None  # of an adult's weekly allowance of sound
    estimator_delay_ms: float | None = None
    electrodes: tuple[Electrode, ...] = ()
    feature_name: str = ""
    feature_unit: str = "1"
    feature_value: float | None = None
    threshold: float | None = None
    history: tuple[float | None, ...] = ()
    reward_rate_alone: float | None = None
    joint_rate: float | None = None
    rewards: int = 0
    rewards_per_min: float | None = None
    clean_s: float = 0.0
    gated_s: Mapping[str, float] = field(default_factory=dict)
    why: str = ""
    held: bool = False
    window_ok: bool = True
    sound_ok: bool = True
    volume: float = 1.0
    recording_path: str = ""
    disk_free_gb: float | None = None
    notes_hint: str = ""
    messages: tuple[str, ...] = ()
    direction: Literal["above", "below"] = "above"
    paused: bool | None = None
    blinded: bool = False
    waits: bool = False  # a block that the person or the operator begins
    question: str = ""  # put to the person after a block


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the bottom line asks or says instead of the list of keys."""

    line: str = ""
    urgent: bool = False
    help: bool = False


# ---------------------------------------------------------------- words and numbers


def clean(text: str, limit: int = 200) -> str:
    """Return `text` safe to show: no control or direction-changing characters, not too long."""
    shown = "".join("?" if unicodedata.category(c)[0] == "C" else c for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with `digits` significant digits and no exponent; unknown is a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0.0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{min(max(decimals, 0), 6)}f}"


def unit_text(unit: str) -> str:
    """Return a unit as it is printed: ``uV2`` -> ``µV²``, ``1`` -> empty."""
    return {"uV2": "µV²", "uV": "µV", "1": ""}.get(unit, unit)


def with_unit(value: float | None, unit: str) -> str:
    """Return a value with its unit; unknown is a dash."""
    return f"{number(value)} {unit_text(unit)}".rstrip() if value is not None else "–"


def state_of(status: Status) -> tuple[str, str, str, str]:
    """Return shape, word, colours and sentence of the session's state.

    The word is LIVE, HELD or OVER; RUNNING where the phase itself has no feedback; LIVE, GATED
    while the signal does not allow an answer.
    """
    why = clean(status.why, 400)
    match status.state:
        case PhaseKind.FAILED:
            return "✗", "OVER", "bold white on red3", why or "Ended by a fault."
        case PhaseKind.STOPPED:
            return "■", "OVER", "bold white on grey30", why or "Stopped. The recording is closed."
        case PhaseKind.DONE:
            return "✓", "OVER", "bold white on grey30", why or "The session is complete."
        case _ if status.held:
            return "‖", "HELD", "bold black on yellow3", why or "Everything waits."
        case PhaseKind.TRAIN if why:
            return "◐", "LIVE, GATED", "bold black on light_steel_blue", why
        case PhaseKind.TRAIN:
            return "●", "LIVE", "bold white on dark_green", "Feedback follows the signal."
        case kind:
            quiet = _QUIET.get(kind, "")
            if quiet and why.startswith("Gated: "):  # nothing is withheld here: an aside
                cause = why.removeprefix("Gated: ")
                why = f"{quiet} ({cause[:1].upper()}{cause[1:]})"
            return "○", "RUNNING", "bold white on dodger_blue3", why or quiet
