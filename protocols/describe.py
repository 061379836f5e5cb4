"""A protocol in plain sentences: for `neuroloop check`, and as a Methods paragraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.frames import Phase, PhaseKind
from engine.units import spoken_s
from protocols.load import hints
from protocols.model import (
    BaselineBlock,
    Edge,
    Feature,
    GateSetting,
    Level,
    Protocol,
    Rule,
    Threshold,
)
from protocols.plan import expand, total_s

__all__ = ["FACTS", "Section", "as_text", "describe", "methods_paragraph"]

GRADES = {
    "A": "placebo-controlled trials speak for it",
    "B": "trials exist, with mixed results",
    "B-": "trials exist, and the best controlled ones found no specific effect",
    "C+": "small studies, few of them controlled",
    "C": "uncontrolled or very small studies",
    "X": "experimental; no evidence to speak of",
}

UNITS = {"uV2": "µV²", "uV": "µV", "1": "", "": ""}

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
    transport_ms: float | None = None,
) -> tuple[Section, ...]:
    """Say what the protocol does.

    Parameters
    ----------
    protocol : Protocol
    plan : sequence of Phase, optional
        As expanded, e.g. shortened; by default the full session.
    units : mapping of str to str, optional
        Unit of each kind of feature (``uV2``, ``uV``, ``1``).
    delays_s : mapping of str to float, optional
        Per feature, how far back its number speaks of the brain (the estimator's delay).
    transport_ms : float, optional
        Typical time from the newest sample to the picture.
    """
    plan = expand(protocol) if plan is None else plan
    notes = tuple(hints(protocol))
    return (
        Section(protocol.title, (protocol.summary,)),
        Section("Evidence", _evidence(protocol)),
        Section("What is measured", tuple(_measured(protocol, units or {}))),
        Section("What is rewarded", tuple(_rewarded(protocol))),
        Section("What the person perceives", tuple(_perceived(protocol))),
        Section("What can pause it", tuple(_pauses(protocol))),
        Section("How long it lasts", tuple(_lasts(plan))),
        Section("What it needs", tuple(_needs(protocol))),
        Section("How old the answer is when shown", tuple(_age(protocol, delays_s, transport_ms))),
        Section("CRED-nf", tuple(_cred(protocol))),
        *((Section("Worth a second thought", notes),) if notes else ()),
        *((Section("Cautions", protocol.cautions),) if protocol.cautions else ()),
    )


# ---------------------------------------------------------------- words for parts


def _listed(items: Sequence[str], word: str = "and") -> str:
    items = [i for i in items if i]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def _hz(band: tuple[float, float]) -> str:
    return f"{band[0]:g}-{band[1]:g} Hz"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:g} ms" if 0 < seconds < 0.1 else f"{seconds:g} s"


def _feature(name: str, feature: Feature) -> str:
    """Return one feature as a sentence part."""
    at = _listed(feature.at)
    mean = "mean " if len(feature.at) > 1 else ""
    band = _hz(feature.band_hz) if feature.band_hz else ""
    words = {
        "power": f"{mean}power in {band} at {at}",
        "amplitude": f"{mean}amplitude in {band} at {at}",
        "relative_power": f"{mean}share of {band} in {_hz(feature.total_hz or (1.0, 40.0))} power "
        f"at {at}",
        "ratio": f"{' divided by '.join(feature.of)}",
        "log_ratio": f"ln {' minus ln '.join(feature.of)}",
        "peak_to_peak": f"peak-to-peak voltage in {_seconds(feature.window_s or 1.0)} at {at}",
    }
    parts = [band and f"in {band}", at and f"at {at}", _listed(feature.of) and f"of {feature.of}"]
    said = words.get(feature.kind, " ".join((feature.kind, *filter(None, parts))))
    smooth = f", smoothed over {_seconds(feature.smooth_s)}" if feature.smooth_s else ""
    return f"{name}: {said}{smooth}"


def _threshold(rule: Rule) -> str:
    threshold = rule.threshold
    if threshold.method == "fixed":
        return f"{threshold.value:g} {UNITS[threshold.unit]}".strip()
    said = "the value exceeded" if rule.direction == "above" else "the value it stays below"
    return f"{said} during {_success(threshold)} of clean baseline time"


def _success(threshold: Threshold) -> str:
    return f"{100 * (threshold.success or 0.0):g} %"


def _edge(edge: Edge) -> str:
    if edge.fixed is not None:
        return f"{edge.fixed:g} {UNITS[edge.unit]}".strip()
    if edge.plus_mad == 0.0:
        return "the resting median"
    sign = "above" if edge.plus_mad > 0 else "below"
    return f"{abs(edge.plus_mad):g} MAD {sign} the resting median"


def _level(level: Level) -> str:
    return (
        f"The level is 0 at {_edge(level.start)} of {level.feature} and 1 at {_edge(level.end)}, "
        f"smoothed over {_seconds(level.smooth_s)}."
    )


def _where(gate: GateSetting, protocol: Protocol, usual: str) -> str:
    if gate.at is not None:
        return _listed(gate.at)
    return f"{usual}, as far as the stream has them" if usual else _listed(protocol.sites)


# ---------------------------------------------------------------- sections


def _evidence(protocol: Protocol) -> tuple[str, ...]:
    evidence = protocol.evidence
    return (
        f"Grade {evidence.grade}: {GRADES[evidence.grade]}.",
        evidence.summary,
        *((f"See {'; '.join(evidence.refs)}.",) if evidence.refs else ()),
    )


def _measured(protocol: Protocol, units: Mapping[str, str]) -> list[str]:
    lines = []
    for name, feature in protocol.features.items():
        unit = UNITS.get(units.get(feature.kind, ""), "")
        lines.append(_feature(name, feature) + (f", in {unit}." if unit else "."))
    condition = protocol.condition
    mains = "mains removed by a notch" if condition.mains == "notch" else "mains left in"
    lines.append(
        f"Reference: {_listed(condition.reference, 'or')} (the first that the montage allows); "
        f"high-pass {condition.high_pass_hz:g} Hz; {mains}."
    )
    return lines


def _rewarded(protocol: Protocol) -> list[str]:
    reward = protocol.reward
    lines = [
        f"{reward.feature} {reward.direction} {_threshold(reward)}, held for "
        f"{_seconds(reward.sustain_s)}; then no further reward for "
        f"{_seconds(reward.refractory_s)}."
    ]
    lines += [
        f"Only while {rule.feature} is {rule.direction} {_threshold(rule)}."
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
    heard = _listed(sounds) or "no sound"
    said = list(dict.fromkeys(s.say for s in protocol.session if s.say))
    return [
        f"Seen: {picture}. Heard: {heard}.",
        _level(feedback.level),
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
        after = f", and {_seconds(gate.after_s)} after" if gate.after_s is not None else ""
        lines.append(f"{name} at {_where(gate, protocol, usual)}{limit}{after}.")
    motion = gates.motion
    limit = f", above {motion.limit_g:g} g" if motion.limit_g is not None else ""
    after = f", and {_seconds(motion.after_s)} after" if motion.after_s is not None else ""
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
        f"Electrodes at {_listed(needs.channels)}, at {needs.rate_hz:g} samples per second or more."
    ]
    references = {
        "average": "16 or more EEG channels for the average",
        "ears": "A1 and A2",
        "mastoids": "both mastoids (TP9 and TP10, or M1 and M2)",
        "laplacian": "the neighbours of each site",
    }
    wanted = [references[r] for r in protocol.condition.reference if r in references]
    if wanted and "as recorded" not in protocol.condition.reference:
        lines.append(f"For the reference: {_listed(wanted, 'or')}.")
    return lines


def _age(
    protocol: Protocol, delays_s: Mapping[str, float] | None, transport_ms: float | None
) -> list[str]:
    lines = []
    for name in dict.fromkeys(
        (protocol.feedback.level.feature, *(r.feature for r in protocol.rules))
    ):
        delay = None if delays_s is None else delays_s.get(name)
        number = "not known before a rate is known" if delay is None else f"{1000 * delay:.0f} ms"
        lines.append(f"Estimator, {name}: {number} (how far back the number speaks of the brain).")
    transport = (
        "measured in every session and shown live"
        if transport_ms is None
        else f"typically {transport_ms:.0f} ms"
    )
    lines.append(f"Transport, from the newest sample to the picture: {transport}.")
    return lines


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


# ---------------------------------------------------------------- the Methods paragraph

FACTS = (
    "amplifier",
    "n_channels",
    "rate_hz",
    "reference",
    "mains_hz",
    "software",
    "estimator_delay_ms",
    "transport_ms",
    "trained_clean_s",
    "gated_share",
    "test_session",
)


def methods_paragraph(protocol: Protocol, facts: Mapping[str, object]) -> str:
    """Write the Methods paragraph of one session.

    Parameters
    ----------
    protocol : Protocol
    facts : mapping
        What only the session knows, by the names in `FACTS`; what is missing or None is
        written as "not known". `estimator_delay_ms`, `transport_ms` and `gated_share` (0..1)
        are numbers, `test_session` a bool, the others text or numbers.
    """

    def fact(name: str, unit: str = "", scale: float = 1.0, digits: int = 4) -> str:
        value = facts.get(name)
        if value is None or value != value:
            return "not known"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return f"{scale * value:.{digits}g}{unit}"
        return f"{value}{unit}"

    condition, plan = protocol.condition, expand(protocol)
    mains = (
        f"mains ({fact('mains_hz', ' Hz')}) was removed by a notch filter"
        if condition.mains == "notch"
        else "mains was not filtered"
    )
    trained = [p for p in plan if p.kind is PhaseKind.TRAIN]
    gates = [
        n
        for n in ("blink", "saccade", "amplitude", "step", "muscle", "motion")
        if getattr(protocol.gates, n).on
    ]
    features = "; ".join(_feature(n, f) for n, f in protocol.features.items())
    sentences = [
        f"EEG was recorded with {fact('amplifier')} ({fact('n_channels')} channels, "
        f"{fact('rate_hz', ' Hz')}) and processed online by {fact('software')}.",
        f"The reference was {fact('reference')}; the signal was high-pass filtered at "
        f"{condition.high_pass_hz:g} Hz, and {mains}.",
        f"Features were computed causally with fixed filters: {features}.",
        f"The estimator's delay was {fact('estimator_delay_ms', ' ms', digits=3)}; samples reached "
        f"the display after {fact('transport_ms', ' ms', digits=3)} (median).",
        _baseline_sentence(protocol.baseline),
        f"A reward was given when {protocol.reward.feature} stayed {protocol.reward.direction} "
        f"{_threshold(protocol.reward)} for {_seconds(protocol.reward.sustain_s)}"
        + "".join(
            f", while {r.feature} was {r.direction} {_threshold(r)}" for r in protocol.inhibit
        )
        + f"; after a reward none followed for {_seconds(protocol.reward.refractory_s)}.",
        _level(protocol.feedback.level).replace("The level is", "Continuous feedback was"),
        f"Moments with artefacts ({_listed(gates) or 'no gate was on'}) gave neither feedback nor "
        f"reward; they made up {fact('gated_share', ' %', 100.0, 3)} of training time.",
        f"Training was planned as {len(trained)} "
        f"{'block' if len(trained) == 1 else 'blocks'} of "
        f"{_listed(list(dict.fromkeys(spoken_s(p.lasts_s) for p in trained)), 'or')} "
        f"(clean time reached: {fact('trained_clean_s', ' s')}).",
    ]
    if facts.get("test_session"):
        sentences.insert(
            0,
            "This was a shortened test session, not a training session; lengths are as planned.",
        )
    return " ".join(s for s in sentences if s)


def _baseline_sentence(blocks: Sequence[BaselineBlock]) -> str:
    learning = [b for b in blocks if b.learn]
    if not learning:
        return "No baseline was used."
    said = [
        f"{spoken_s(b.lasts_s)} with eyes {b.eyes} for {_listed(b.learn)} "
        f"(at least {spoken_s(b.needs_clean_s)} clean)"
        for b in learning
    ]
    return f"Resting values were learned from {_listed(said)}."
