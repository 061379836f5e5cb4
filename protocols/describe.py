"""A protocol in plain sentences, for `neuroloop check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from engine.frames import Phase, PhaseKind
from engine.units import NOMINAL_IAF_HZ, spoken_s
from protocols.hints import hints
from protocols.model import GateSetting, Protocol
from protocols.phrases import (
    UNITS,
    adapting_words,
    feature_words,
    joint_share,
    leaves,
    level_words,
    listed,
    made_for,
    milliseconds,
    options_words,
    percent,
    rule_words,
    seconds,
    shape_words,
    success_words,
    trial_words,
)
from protocols.plan import expand, total_s
from protocols.rewards import SUSTAINED
from protocols.watches import SLEEP_DELTA, SLEEP_S, THERAPEUTIC_S, THERAPEUTIC_UV

__all__ = ["CRED_NF", "GRADES", "Answered", "Section", "as_text", "cred_nf", "describe"]

GRADES = {
    "A": "placebo-controlled trials speak for it",
    "B": "trials exist, with mixed results",
    "B-": "trials exist, and the best controlled ones found no specific effect",
    "C+": "small studies, few of them controlled",
    "C": "uncontrolled or very small studies",
    "X": "experimental; no evidence to speak of",
}

CRED_NF: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "1a": ("registration beforehand", "study"),
        "1b": ("planned number of participants", "study"),
        "2a": ("control group or condition", "study"),
        "2b": ("blinding", "study"),
        "2c-i": ("blind raters of outcomes", "study"),
        "2c-ii": ("blind analysts", "study"),
        "2d": ("how far people stayed blind", "forms"),
        "2e": ("standard treatment as a comparison", "study"),
        "3a": ("psychosocial factors", "forms"),
        "3b": ("the instruction the person is given", "protocol"),
        "3c": ("strategies that participants report", "protocol"),
        "3d": ("online processing and how artefacts are met", "protocol"),
        "3e": ("artefacts by condition and group", "recordings"),
        "4a": ("how the fed-back feature is defined", "protocol"),
        "4b": ("the reinforcement schedule", "protocol"),
        "4c": ("modality and content of the feedback", "protocol"),
        "4d": ("all values that were fed back", "recordings"),
        "4e": ("hardware and software", "recordings"),
        "5a": ("how well the feature was regulated", "recordings"),
        "5b": ("its course within and between sessions, with rest before and after", "recordings"),
        "5c": ("comparison with the control group", "study"),
        "6a": ("change of behaviour or symptoms", "forms"),
        "6b": ("behaviour against regulation", "forms"),
        "7a": ("open materials, code and data", "study"),
    }
)
"""The 24 items (Ros et al. 2020) in a few words, and where their answer comes from."""

FROM = {
    "study": "the study file",
    "forms": "forms and questionnaires",
    "recordings": "the recordings and their report",
    "protocol": "this file",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """One item of the CRED-nf checklist, as far as a protocol can know.

    Parameters
    ----------
    id, words : str
    answered : bool
        By the protocol file.
    by : str
        Where the answer comes from: ``protocol``, ``study``, ``forms`` or ``recordings``.
    missing : str
        What the file would need to answer it; empty where it does, or cannot.
    """

    id: str
    words: str
    answered: bool
    by: str
    missing: str = ""


def cred_nf(protocol: Protocol) -> tuple[Answered, ...]:
    """Return which of the 24 items the protocol file answers, and where the others come from."""
    missing = {
        "3b": "" if _told(protocol) else "no block has a `say`",
        "3c": "" if any(s.ask for s in protocol.session) else "no block has an `ask`",
    }
    return tuple(
        Answered(i, words, by == "protocol" and not missing.get(i), by, missing.get(i, ""))
        for i, (words, by) in CRED_NF.items()
    )


def _told(protocol: Protocol) -> bool:
    tasks = () if protocol.trial is None else protocol.trial.tasks
    return any(s.say for s in protocol.session) or bool(tasks)


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
    scales: Mapping[str, str] | None = None,
    reward_docs: Mapping[str, str] | None = None,
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
    scales : mapping of str to str, optional
        ``ln`` or ``linear``, of each kind of feature.
    reward_docs : mapping of str to str, optional
        One sentence about every reward rule.
    """
    plan = expand(protocol) if plan is None else plan
    notes = tuple(hints(protocol))
    watched, who = tuple(_watched(protocol)), tuple(_who(protocol))
    return (
        Section(protocol.title, (protocol.summary,)),
        Section("Evidence", _evidence(protocol)),
        *((Section("For whom, and who must be there", who),) if who else ()),
        Section("What is measured", tuple(_measured(protocol, units or {}, windows_s or {}))),
        Section("What is rewarded", tuple(_rewarded(protocol, scales or {}, reward_docs or {}))),
        *((Section("What is watched beside it", watched),) if watched else ()),
        Section("What the person perceives", tuple(_perceived(protocol))),
        Section("What can pause it", tuple(_pauses(protocol))),
        Section("How long it lasts", tuple(_lasts(plan, protocol))),
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


def _who(protocol: Protocol) -> list[str]:
    """Return for whom it is, for whom not, who must be there and where it may run."""
    safety, lines = protocol.safety, []
    if protocol.indication:
        lines.append(
            f"Used with: {listed(protocol.indication)}. The grade above says how good the evidence "
            "for that is."
        )
    if safety.exclude:
        lines.append(f"Not for people with {listed(safety.exclude, 'or')}.")
    if safety.clinician == "present":
        lines.append("A clinician must be present during the whole session.")
    if len(safety.rooms) < 3:
        others = [r for r in ("clinical", "research", "test") if r not in safety.rooms]
        lines.append(
            f"Runs in {listed(safety.rooms, 'and')} rooms only; a {listed(others, 'or')} room "
            "refuses it."
        )
    return lines


def _rewarded(
    protocol: Protocol, scales: Mapping[str, str], reward_docs: Mapping[str, str]
) -> list[str]:
    reward = protocol.reward
    if protocol.trial is not None:
        return trial_words(protocol.trial)
    if reward is None:
        return ["Nothing: the person sees or hears the level alone, and no reward is given."]
    for_s = f"held for {seconds(reward.sustain_s)}" if reward.sustain_s else "at any moment"
    pause = (
        f"then no further reward for {seconds(reward.refractory_s)}."
        if reward.refractory_s
        else "the next reward may follow at once."
    )
    if reward.also:
        conditions = [rule_words(r) for r in (reward, *reward.also)]
        lines = [
            f"All of these at the same time, {for_s}: {'; '.join(conditions)}.",
            f"After a reward: {pause}",
        ]
    else:
        lines = [f"{rule_words(reward)}, {for_s}; {pause}"]
    for rule in protocol.inhibit:
        verb = f"{rule.feature} is {rule_words(rule).removeprefix(rule.feature).lstrip()}"
        lines.append(f"Only while {verb}.")
    lines += _joint(protocol)
    if protocol.preset == "auto_reward_fixed_inhibit":
        lines.append(
            "Preset `auto_reward_fixed_inhibit`: at first every threshold adapts; then those of "
            "the inhibits stay as they are, and the reward's goes on."
        )
    lines += [
        line
        for rule in protocol.rules
        for line in adapting_words(rule, scales.get(_kind_of(protocol, rule.feature)))
    ]
    if reward.shaping is not None:
        lines.append(shape_words(reward, reward.shaping))
    if reward.rule != SUSTAINED:
        options = f" (with {options_words(reward.options)})" if reward.options else ""
        doc = reward_docs.get(reward.rule, "")
        lines.append(f"Reward rule `{reward.rule}`{options}: {doc}".rstrip(": ").rstrip(".") + ".")
    return lines


def _kind_of(protocol: Protocol, name: str) -> str:
    feature = protocol.features.get(name)
    return "" if feature is None else feature.kind


def _joint(protocol: Protocol) -> list[str]:
    """Return how often everything holds at once: what the person gets."""
    if len(protocol.rules) < 2:
        return []
    alone = [
        f"{r.feature} {success_words(r.threshold)}"
        for r in protocol.rules
        if r.threshold.success is not None
    ]
    joint = joint_share(protocol.rules)
    measure = "`neuroloop check --recording FILE` measures it."
    if joint is None:
        unknown = [r.feature for r in protocol.rules if r.threshold.success is None]
        return [
            f"Joint rate: how often all of it holds is not known beforehand, because the "
            f"threshold of {listed(list(dict.fromkeys(unknown)))} asks for no share; {measure}"
        ]
    resting = all(not r.threshold.adapts for r in protocol.rules)
    return [
        f"Joint rate: each condition alone holds ({', '.join(alone)}); if the conditions were "
        f"independent, all would hold {percent(round(joint, 2))} of clean "
        f"{'resting' if resting else 'training'} time, the product. They seldom are; {measure}"
    ]


def _watched(protocol: Protocol) -> list[str]:
    watch, lines = protocol.watch, []
    if watch.sleep is not None:
        lines.append(
            f"Sleep: when {watch.sleep.theta} is above its resting median and {watch.sleep.delta} "
            f"above {SLEEP_DELTA:g} times its own for {spoken_s(SLEEP_S)} of clean time, a soft "
            "tone wakes the person and the operator is told. Rolling eyes are not looked for."
        )
    if watch.crossover is not None:
        theta, alpha = watch.crossover.theta, watch.crossover.alpha
        lines.append(
            f"Crossover: how long {theta} exceeds {alpha}, in every block; "
            f"{THERAPEUTIC_UV:g} µV or more for {spoken_s(THERAPEUTIC_S)} counts as a therapeutic "
            "crossover (Johnson 2011). It is reported, and rewards nothing."
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
    asked = list(dict.fromkeys(s.ask for s in protocol.session if s.ask))
    trial = protocol.trial
    level = (
        level_words(feedback.level)
        if trial is None
        else f"During the task the level is 0.5 at the trial's own baseline of {trial.feature} and "
        f"1 at {trial.full_uv:g} µV in the task's direction; otherwise there is none."
    )
    return [
        f"Seen: {picture}. Heard: {heard}.",
        level,
        *(f"Told: “{text}”" for text in said),
        *(f"Asked after the block: “{text}”" for text in asked),
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


def _lasts(plan: Sequence[Phase], protocol: Protocol) -> list[str]:
    lines = [f"{spoken_s(total_s(plan))}, and up to 20 % more of training time for paused moments."]
    counts: dict[tuple[str, float, str], int] = {}
    for phase in plan:
        if phase.lasts_s > 0 and phase.kind is not PhaseKind.READY:
            key = (_phase_name(phase, protocol), round(phase.lasts_s, 3), phase.eyes)
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
    paced = [p for p in plan if p.waits_s > 0.0]
    if paced:
        lines.append(
            f"{len(paced)} {'block begins' if len(paced) == 1 else 'blocks begin'} when the person "
            f"or the operator says so, at the latest after {spoken_s(paced[0].waits_s)} (not "
            "counted above)."
        )
    shuffled: dict[int, dict[str, None]] = {}
    for step in protocol.session:
        if step.shuffled is not None:
            shuffled.setdefault(step.shuffled[0], {})[step.name or step.kind] = None
    lines += [
        f"The order of {listed(list(names))} is drawn for each session; the recording keeps the "
        "seed and the order."
        for names in shuffled.values()
    ]
    return lines


def _phase_name(phase: Phase, protocol: Protocol) -> str:
    named = {s.name for s in protocol.session if s.shuffled}
    name = f" `{phase.name}`" if phase.name in named else ""
    if phase.trials:
        fed = "" if phase.kind is PhaseKind.TRAIN else ", without feedback"
        return f"{len(phase.trials)} trials{name}{fed}"
    words = {
        PhaseKind.BASELINE: f"baseline `{phase.name}`",
        PhaseKind.TRAIN: f"training{name} with feedback",
        PhaseKind.REST: "rest",
        PhaseKind.TRANSFER: f"transfer{name}, without feedback",
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
    kinds = {f.kind for f in protocol.features.values()}
    if kinds & {"slow_potential", "slow_voltage"}:
        lines.append(
            "A DC-coupled amplifier, which passes slow potentials: the room says `coupling: dc`. "
            "With any other the session is refused."
        )
    tables = list(dict.fromkeys(f.norms for f in protocol.features.values() if f.norms))
    if tables:
        lines.append(f"The person's age, for the norms in {listed(tables)}.")
    return lines


def _age(
    protocol: Protocol,
    delays_s: Mapping[str, float] | None,
    windows_s: Mapping[str, float],
    transport_ms: float | None,
) -> list[str]:
    names: tuple[str, ...] = (
        (protocol.feedback.level.feature, *(r.feature for r in protocol.rules))
        if protocol.trial is None
        else (protocol.trial.feature,)
    )
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
    items = cred_nf(protocol)
    done = [i for i in items if i.answered]
    lines = [
        "This file answers " + "; ".join(f"{i.id} ({i.words})" for i in done) + ".",
        f"{len(items) - len(done)} of {len(items)} items are not answered by it:",
    ]
    for by in ("study", "forms", "recordings"):
        others = [i for i in items if i.by == by]
        lines.append(f"- From {FROM[by]}: {'; '.join(f'{i.id} ({i.words})' for i in others)}.")
    lines += [f"- {i.id} ({i.words}) stays open: {i.missing}." for i in items if i.missing]
    phases = {s.kind for s in protocol.session}
    if "transfer" not in phases:
        lines.append("There is no transfer block, so learning without feedback is not tested.")
    return lines
