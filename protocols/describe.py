"""A protocol in plain sentences, for `neuroloop check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.frames import Phase, PhaseKind
from engine.units import NOMINAL_IAF_HZ, spoken_s
from protocols.load import hints
from protocols.model import GateSetting, Protocol
from protocols.phrases import (
    UNITS,
    feature_words,
    leaves,
    level_words,
    listed,
    made_for,
    milliseconds,
    seconds,
    threshold_words,
)
from protocols.plan import expand, total_s

__all__ = ["GRADES", "Section", "as_text", "describe"]

GRADES = {
    "A": "placebo-controlled trials speak for it",
    "B": "trials exist, with mixed results",
    "B-": "trials exist, and the best controlled ones found no specific effect",
    "C+": "small studies, few of them controlled",
    "C": "uncontrolled or very small studies",
    "X": "experimental; no evidence to speak of",
}

# What the file itself answers of the 24 CRED-nf items (Ros et al. 2020); the rest is for the
# study, the recording and the report.
CRED_NF = (
    ("3b", "the instruction the person is given"),
    ("3d", "online processing and how artefacts are met"),
    ("4a", "how the fed-back feature is defined"),
    ("4b", "the reinforcement schedule"),
    ("4c", "modality and content of the feedback"),
)
CRED_NF_ITEMS = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its sentences."""

    title: str
    lines: tuple[str, ...]


def as_text(sections: Sequence[Section]) -> str:
    """Return the sections as indented plain text."""
    return "\n\n".join("\n".join((s.title, *(f"  {line}" for line in s.lines))) for s in sections)


def describe(
    protocol: Protocol,
    *,
    plan: Sequence[Phase] | None = None,
    units: Mapping[str, str] | None = None,
    delays_s: Mapping[str, float] | None = None,
    windows_s: Mapping[str, float] | None = None,
    transport_ms: float | None = None,
) -> tuple[Section, ...]:
    """Say what the protocol does.

    Parameters
    ----------
    protocol : Protocol
    plan : sequence of Phase, optional
        As expanded, e.g. shortened; by default the full session.
    units : mapping of str to str, optional
        Unit of each kind of feature (``uV2``, ``uV``, ``s``, ``1/min``, ``1``).
    delays_s : mapping of str to float, optional
        Per feature, how far back its number speaks of the brain by fixed filters (the
        estimator's delay).
    windows_s : mapping of str to float, optional
        Per feature that takes some time together, how much; half of it is part of the delay.
    transport_ms : float, optional
        Typical time from the newest sample to the picture.
    """
    plan = expand(protocol) if plan is None else plan
    notes = tuple(hints(protocol))
    return (
        Section(protocol.title, (protocol.summary,)),
        Section("Evidence", _evidence(protocol)),
        Section("What is measured", tuple(_measured(protocol, units or {}, windows_s or {}))),
        Section("What is rewarded", tuple(_rewarded(protocol))),
        Section("What the person perceives", tuple(_perceived(protocol))),
        Section("What can pause it", tuple(_pauses(protocol))),
        Section("How long it lasts", tuple(_lasts(plan))),
        Section("What it needs", tuple(_needs(protocol))),
        Section(
            "How old the answer is when shown",
            tuple(_age(protocol, delays_s, windows_s or {}, transport_ms)),
        ),
        Section("CRED-nf", tuple(_cred(protocol))),
        *((Section("Worth a second thought", notes),) if notes else ()),
        *((Section("Cautions", protocol.cautions),) if protocol.cautions else ()),
    )


def _where(gate: GateSetting, protocol: Protocol, usual: str) -> str:
    if gate.at is not None:
        return listed(gate.at)
    return f"{usual}, as far as the stream has them" if usual else listed(protocol.sites)


# ---------------------------------------------------------------- sections


def _evidence(protocol: Protocol) -> tuple[str, ...]:
    evidence = protocol.evidence
    return (
        f"Grade {evidence.grade}: {GRADES[evidence.grade]}.",
        evidence.summary,
        *((f"See {'; '.join(evidence.refs)}.",) if evidence.refs else ()),
    )


def _measured(
    protocol: Protocol, units: Mapping[str, str], windows_s: Mapping[str, float]
) -> list[str]:
    lines = []
    for name, feature in protocol.features.items():
        unit = UNITS.get(units.get(feature.kind, ""), "")
        said = feature_words(name, feature, windows_s.get(name))
        # A rate says its unit in its own words.
        in_unit = f", in {unit}" if unit and not unit.startswith("per ") else ""
        lines.append(f"{said}{in_unit}.")
    lines += _filters(protocol)
    lines += _alpha(protocol)
    condition = protocol.condition
    mains = "mains removed by a notch" if condition.mains == "notch" else "mains left in"
    lines.append(
        f"Reference: {listed(condition.reference, 'or')} (the first that the montage allows); "
        f"high-pass {condition.high_pass_hz:g} Hz; {mains}."
    )
    if condition.eog == "regress":
        lines.append(
            "Blinks are regressed out of every trained channel by the EOG electrodes, fitted to "
            "the baseline; without enough blinks there nothing is taken out, and the report says "
            "so."
        )
    return lines


WHEN = {
    "session": "the baseline of each session",
    "course": "the first session of a person's course, and kept for the later ones",
}


def _filters(protocol: Protocol) -> list[str]:
    """Return how the band filters are made."""
    made = made_for(protocol)
    groups: dict[tuple[str, float, str], list[str]] = {}
    for name, how in made.items():
        groups.setdefault(how, []).append(name)
    lines = []
    for (when, delay_s, target), names in groups.items():
        rhythm = " to follow what stands out of the 1/f background" if target == "rhythm" else ""
        lines.append(
            f"Band {'filter' if len(names) == 1 else 'filters'} of {listed(names)}: fitted to "
            f"{WHEN.get(when, when)}{rhythm}, for a delay of {milliseconds(delay_s)}."
        )
    fixed = [n for n, f in protocol.features.items() if f.band_hz and n not in made]
    if fixed:
        lines.append(
            f"Band {'filter' if len(fixed) == 1 else 'filters'} of {listed(fixed)}: fixed, the "
            "same for everybody."
        )
    return lines


def _alpha(protocol: Protocol) -> list[str]:
    """Return where the individual alpha frequency comes from, if anything follows it."""
    blocks = [f"`{b.name}`" for b in protocol.baseline if "iaf" in b.uses]
    if not blocks:
        return []
    follow = [n for n, f in protocol.features.items() if f.iaf is not None]
    line = f"The individual alpha frequency is read from the baseline {listed(blocks)}"
    if not follow:
        return [f"{line} and reported; no band follows it."]
    return [
        f"{line}; {listed(follow)} {'follows' if len(follow) == 1 else 'follow'} it. Without a "
        f"valid alpha peak {NOMINAL_IAF_HZ:g} Hz stands in, and the report says so."
    ]


def _rewarded(protocol: Protocol) -> list[str]:
    reward = protocol.reward
    lines = [
        f"{reward.feature} {reward.direction} {threshold_words(reward)}, held for "
        f"{seconds(reward.sustain_s)}; then no further reward for "
        f"{seconds(reward.refractory_s)}."
    ]
    lines += [
        f"Only while {rule.feature} is {rule.direction} {threshold_words(rule)}."
        for rule in protocol.inhibit
    ]
    shares = [r.threshold.success for r in protocol.rules]
    if len(shares) > 1 and all(s is not None for s in shares):
        joint = 1.0
        for share in shares:
            joint *= share or 0.0
        lines.append(
            f"If the conditions were independent, all would hold {joint:.0%} of clean resting time."
        )
    return lines


def _perceived(protocol: Protocol) -> list[str]:
    feedback, sound = protocol.feedback, protocol.feedback.sound
    picture = "no picture" if feedback.picture == "none" else f"the picture `{feedback.picture}`"
    sounds = [
        f"a continuous sound (`{sound.continuous}`)" if sound.continuous else "",
        f"a `{sound.on_reward}` at each reward" if sound.on_reward else "",
        "short tones where blocks begin and end" if sound.cues == "tones" else "",
    ]
    heard = listed(sounds) or "no sound"
    said = list(dict.fromkeys(s.say for s in protocol.session if s.say))
    return [
        f"Seen: {picture}. Heard: {heard}.",
        level_words(feedback.level),
        *(f"Told: “{text}”" for text in said),
    ]


def _pauses(protocol: Protocol) -> list[str]:
    gates = protocol.gates
    named = (
        ("A blink", gates.blink, "Fp1, Fp2 or EOG"),
        ("A sideways look", gates.saccade, "F7 and F8, or EOG"),
        ("Too large a signal", gates.amplitude, ""),
        ("A jump of the signal", gates.step, ""),
        ("Muscle tension", gates.muscle, ""),
    )
    lines = []
    for name, gate, usual in named:
        if not gate.on:
            lines.append(f"{name}: not watched (switched off in the protocol).")
            continue
        limit = f", above {gate.limit_uv:g} µV" if gate.limit_uv is not None else ""
        after = f", and {seconds(gate.after_s)} after" if gate.after_s is not None else ""
        lines.append(f"{name} at {_where(gate, protocol, usual)}{limit}{after}.")
    motion = gates.motion
    limit = f", above {motion.limit_g:g} g" if motion.limit_g is not None else ""
    after = f", and {seconds(motion.after_s)} after" if motion.after_s is not None else ""
    lines.append(
        f"A movement of the head, where the stream has an accelerometer{limit}{after}."
        if motion.on
        else "A movement of the head: not watched (switched off in the protocol)."
    )
    lines.append(
        "While paused there is no level and no reward; a training block grows by up to 20 % to "
        "keep its clean time. A flat, clipped or missing channel pauses it always."
    )
    return lines


def _lasts(plan: Sequence[Phase]) -> list[str]:
    lines = [f"{spoken_s(total_s(plan))}, and up to 20 % more of training time for paused moments."]
    counts: dict[tuple[str, float, str], int] = {}
    for phase in plan:
        if phase.lasts_s > 0 and phase.kind is not PhaseKind.READY:
            key = (_phase_name(phase), round(phase.lasts_s, 3), phase.eyes)
            counts[key] = counts.get(key, 0) + 1
    for (name, lasts, eyes), n in counts.items():
        times = f"{n} x " if n > 1 else ""
        lines.append(f"{times}{name}, {spoken_s(lasts)}, eyes {eyes}")
    ready = [p.lasts_s for p in plan if p.kind is PhaseKind.READY]
    if ready:
        lines.append(f"{len(ready)} x instruction before a block, {spoken_s(ready[0])}")
    for phase in plan:
        if phase.needs_clean_s:
            lines.append(
                f"Baseline {phase.name} must contain {spoken_s(phase.needs_clean_s)} of clean "
                "signal, else it is repeated, twice at most."
            )
    return lines


def _phase_name(phase: Phase) -> str:
    words = {
        PhaseKind.BASELINE: f"baseline `{phase.name}`",
        PhaseKind.TRAIN: "training with feedback",
        PhaseKind.REST: "rest",
        PhaseKind.TRANSFER: "transfer, without feedback",
        PhaseKind.POST: "rest at the end",
    }
    return words.get(phase.kind, phase.name)


def _needs(protocol: Protocol) -> list[str]:
    needs = protocol.needs
    lines = [
        f"Electrodes at {listed(needs.channels)}, at {needs.rate_hz:g} samples per second or more."
    ]
    references = {
        "average": "16 or more EEG channels for the average",
        "ears": "A1 and A2",
        "mastoids": "both mastoids (TP9 and TP10, or M1 and M2)",
        "laplacian": "the neighbours of each site",
    }
    wanted = [references[r] for r in protocol.condition.reference if r in references]
    if wanted and "as recorded" not in protocol.condition.reference:
        lines.append(f"For the reference: {listed(wanted, 'or')}.")
    return lines


def _age(
    protocol: Protocol,
    delays_s: Mapping[str, float] | None,
    windows_s: Mapping[str, float],
    transport_ms: float | None,
) -> list[str]:
    names = (protocol.feedback.level.feature, *(r.feature for r in protocol.rules))
    lines = [
        f"Estimator, {name}: {_delay(protocol, name, delays_s, windows_s)}."
        for name in dict.fromkeys(names)
    ]
    lines.append(
        "The estimator's delay is how far back the number speaks of the brain; smoothing adds to "
        "it."
    )
    transport = (
        "measured in every session and shown live"
        if transport_ms is None
        else f"typically {transport_ms:.0f} ms"
    )
    lines.append(f"Transport, from the newest sample to the picture: {transport}.")
    return lines


MEASURED = {
    "session": "fitted to the baseline of each session; measured then",
    "course": "fitted once per course; measured in its first session",
}


def _delay(
    protocol: Protocol,
    name: str,
    delays_s: Mapping[str, float] | None,
    windows_s: Mapping[str, float],
) -> str:
    """Return the estimator's delay of one feature in words."""
    made = made_for(protocol)
    parts = list(dict.fromkeys(leaves(protocol, name)))
    fitted = [p for p in parts if p in made]
    if not fitted:
        delay = None if delays_s is None else delays_s.get(name)
        return "not known before a rate is known" if delay is None else f"{1000 * delay:.0f} ms"
    asked: dict[tuple[float, str], list[str]] = {}
    for part in fitted:
        when, delay_s, _ = made[part]
        asked.setdefault((delay_s, when), []).append(part)
    said = [
        (f"{listed(of)}: " if parts != [name] and len(asked) > 1 else "")
        + f"asked for {milliseconds(delay_s)} ({MEASURED.get(when, when)})"
        for (delay_s, when), of in asked.items()
    ]
    prefix = f"that of {listed(parts)}, " if parts != [name] and len(asked) == 1 else ""
    windows = [windows_s[n] for n in dict.fromkeys((name, *_chain(protocol, name)))
               if n in windows_s]  # fmt: skip
    more = f", and half its window of {seconds(max(windows))} beyond that" if windows else ""
    return prefix + listed(said) + more


def _chain(protocol: Protocol, name: str, deep: int = 4) -> list[str]:
    """Return everything that a feature is made of."""
    feature = protocol.features.get(name)
    if feature is None or not deep:
        return []
    return [p for part in feature.of for p in (part, *_chain(protocol, part, deep - 1))]


def _cred(protocol: Protocol) -> list[str]:
    told = any(s.say for s in protocol.session)
    answered = [(i, t) for i, t in CRED_NF if i != "3b" or told]
    phases = {s.kind for s in protocol.session}
    lines = [
        "This file answers " + "; ".join(f"{item} ({text})" for item, text in answered) + ".",
        f"{CRED_NF_ITEMS - len(answered)} of {CRED_NF_ITEMS} items are answered by the study, the "
        "recording and the report.",
    ]
    if not told:
        lines.append("3b stays open: no block has a `say`.")
    if "transfer" not in phases:
        lines.append("There is no transfer block, so learning without feedback is not tested.")
    return lines
