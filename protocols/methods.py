"""The Methods paragraph of one session, in the words of a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.frames import PhaseKind
from engine.units import spoken_s
from protocols.model import BaselineBlock, Protocol, Reward
from protocols.phrases import (
    adapting_words,
    feature_words,
    hz,
    level_words,
    listed,
    options_words,
    rule_words,
    seconds,
    shape_words,
    trial_words,
)
from protocols.plan import expand

__all__ = ["FACTS", "methods_paragraph"]

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
    "delay_measured",
    "filters",
    "alpha",
    "eog",
)


def methods_paragraph(protocol: Protocol, facts: Mapping[str, object]) -> str:
    """Write the Methods paragraph of one session.

    Parameters
    ----------
    protocol : Protocol
    facts : mapping
        What only the session knows, by the names in `FACTS`; what is missing or None is
        written as "not known". `estimator_delay_ms`, `transport_ms` and `gated_share` (0..1)
        are numbers, `test_session` and `delay_measured` (whether the estimator's delay was measured
        on the baseline) bools, `filters` a sequence of mappings, empty where nothing was fitted,
        with the keys ``feature, band_hz, fitted, fit, reason, delay_ms, taps_s, clean_s, target,
        reject_hz, ssd`` (see `engine.measures.Filter`), `alpha` a mapping with ``used_hz, source,
        guessed, kind, n_channels, sites, reason`` (see `engine.measures.Alpha`), `eog` the
        electrodes by which blinks were regressed out; the others are text or numbers.
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
    features = "; ".join(feature_words(n, f) for n, f in protocol.features.items())
    sentences = [
        f"EEG was recorded with {fact('amplifier')} ({fact('n_channels')} channels, "
        f"{fact('rate_hz', ' Hz')}) and processed online by {fact('software')}.",
        f"The reference was {fact('reference')}; the signal was high-pass filtered at "
        f"{condition.high_pass_hz:g} Hz, and {mains}.",
        *_alpha_sentences(protocol, facts.get("alpha")),
        *_filter_sentences(features, facts),
        f"The estimator's delay was {fact('estimator_delay_ms', ' ms', digits=3)}"
        + (
            " (the lag at which its envelope correlated best with the zero-phase envelope of the "
            "baseline)"
            if facts.get("delay_measured")
            else ""
        )
        + "; samples reached "
        f"the display after {fact('transport_ms', ' ms', digits=3)} (median).",
        _baseline_sentence(protocol.baseline),
        *_reward_sentences(protocol),
        *_level_sentences(protocol),
        f"Moments with artefacts ({listed(gates) or 'no gate was on'}) gave neither feedback nor "
        f"reward; they made up {fact('gated_share', ' %', 100.0, 3)} of training time.",
        f"Training was planned as {len(trained)} "
        f"{'block' if len(trained) == 1 else 'blocks'} of "
        f"{listed(list(dict.fromkeys(spoken_s(p.lasts_s) for p in trained)), 'or')} "
        f"(clean time reached: {fact('trained_clean_s', ' s')}).",
        *_order_sentences(protocol),
    ]
    if facts.get("test_session"):
        sentences.insert(
            0,
            "This was a shortened test session, not a training session; lengths are as planned.",
        )
    return " ".join(s for s in sentences if s)


def _reward_sentences(protocol: Protocol) -> list[str]:
    """Return what was rewarded, and how its thresholds moved."""
    reward = protocol.reward
    if protocol.trial is not None:
        return trial_words(protocol.trial)
    if reward is None:
        return ["Nothing was rewarded; the feedback was the continuous level alone."]
    rules = (reward, *reward.also)
    held = " and ".join(rule_words(r) for r in rules)
    out = [
        f"The reward condition was {held}{', all at once,' if len(rules) > 1 else ''} for "
        f"{seconds(reward.sustain_s)}"
        + "".join(f", with {rule_words(r)}" for r in protocol.inhibit)
        + f"; after a reward none followed for {seconds(reward.refractory_s)}."
    ]
    if protocol.preset == "auto_reward_fixed_inhibit":
        out.append(
            "Thresholds followed the scheme of automatic rewards and fixed inhibits: all adapted "
            "at first, then those of the inhibits were frozen."
        )
    for rule in protocol.rules:
        out += _adaptation(rule.feature, adapting_words(rule))
    if reward.shaping is not None:
        out.append(f"Difficulty was shaped: {_small(shape_words(reward, reward.shaping))}")
    if reward.rule != "sustained":
        out.append(_rule_sentence(reward))
    return out


def _adaptation(feature: str, lines: Sequence[str]) -> list[str]:
    """Return how a threshold moved, without advice to the reader."""
    return [line for line in lines if f"Look at {feature}" not in line]


def _rule_sentence(reward: Reward) -> str:
    options = f" (with {options_words(reward.options)})" if reward.options else ""
    return f"Rewards were given by the rule `{reward.rule}`{options}."


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]


def _level_sentences(protocol: Protocol) -> list[str]:
    """Return what the continuous feedback was."""
    if protocol.trial is not None:
        return [
            "Continuous feedback during the task was 0.5 at the trial's own baseline and 1 at "
            f"{protocol.trial.full_uv:g} µV in the task's direction."
        ]
    said = level_words(protocol.feedback.level)
    return [said.replace("The level is", "Continuous feedback was", 1)]


def _order_sentences(protocol: Protocol) -> list[str]:
    """Return what of the session's order was drawn, who began the blocks and what was asked."""
    steps = protocol.session
    out = []
    if any(s.shuffled for s in steps):
        names = dict.fromkeys(s.name or s.kind for s in steps if s.shuffled)
        out.append(
            f"The order of blocks ({listed(list(names))}) was drawn for each session from a "
            "recorded seed."
        )
    if any(s.self_paced for s in steps):
        out.append("Blocks began when the participant was ready.")
    asked = list(dict.fromkeys(s.ask for s in steps if s.ask))
    if asked:
        out.append(f"After blocks participants were asked: {listed([f'“{a}”' for a in asked])}.")
    if protocol.watch.sleep is not None:
        out.append("A guard against sleep watched theta and delta.")
    if protocol.watch.crossover is not None:
        crossover = protocol.watch.crossover
        out.append(
            f"The time in which {crossover.theta} exceeded {crossover.alpha} was counted "
            "(crossover)."
        )
    return out


def _alpha_sentences(protocol: Protocol, alpha: Any) -> list[str]:
    """Return what bands lay around, if anything follows the individual alpha frequency."""
    wanted = any("iaf" in b.uses for b in protocol.baseline)
    if not isinstance(alpha, Mapping):
        return ["The individual alpha frequency was not known."] if wanted else []
    used = f"{float(alpha['used_hz']):.3g} Hz"
    source = alpha.get("source")
    if source == "course" and alpha.get("guessed"):
        return [
            "The first session of the course found no valid individual alpha frequency; "
            f"{used} was used instead."
        ]
    if source == "course":
        return [f"The individual alpha frequency ({used}) was that of the course's first session."]
    if source == "fallback":
        reason = str(alpha.get("reason") or "").rstrip(".")
        why = f" ({reason})" if reason else ""
        return [
            f"No valid individual alpha frequency was found{why}; {used} was used instead "
            "(method: Corcoran et al. 2018)."
        ]
    kinds = {"paf": "peak alpha frequency", "cog": "centre of gravity"}
    kind = kinds.get(str(alpha.get("kind")), "kind not known")
    sites = ", ".join(str(x) for x in alpha.get("sites") or ())
    return [
        f"The individual alpha frequency ({kind}, after Corcoran et al. 2018) was {used}, from "
        f"{alpha.get('n_channels')} posterior channels{f' among {sites}' if sites else ''}."
    ]


def _filter_sentences(features: str, facts: Mapping[str, Any]) -> list[str]:
    """Return how the features' filters were made; only what is true of this session."""
    filters = facts.get("filters")
    if filters is None:
        return [
            f"Features were computed causally: {features}.",
            "How their filters were made is not known.",
        ]
    fitted = [f for f in filters if f["fitted"]]
    kept = [f for f in filters if not f["fitted"]]
    if not fitted:
        why = dict.fromkeys(str(f["reason"]) for f in kept if f["fit"] != "fixed" and f["reason"])
        sentence = f"Features were computed causally with fixed filters: {features}."
        return [sentence, *(f"Nothing was fitted to the person: {w}." for w in why)]
    out = [
        f"Features were computed causally: {features}.",
        f"Bands were read by Wiener-optimal causal complex FIR filters (Wiener 1949; compare "
        f"Smetanin et al. 2020) designed on the Welch spectrum of {_rest(fitted)}: "
        f"{'; '.join(_design(f) for f in fitted)}.",
        f"They have exact nulls at {listed(_nulls(fitted, facts.get('mains_hz')))} and are scaled "
        "so that the mean power of the baseline equals Welch's integral of the band.",
    ]
    if any(f.get("ssd") for f in fitted):
        out.append("Spatial filters were fitted to the same baseline by SSD (Nikulin et al. 2011).")
    if facts.get("eog"):
        out.append(f"Blinks were regressed out by {facts['eog']}, fitted to the baseline.")
    if kept:
        said = [
            f"{f['feature']} ({'as planned' if f['fit'] == 'fixed' else f['reason']})" for f in kept
        ]
        out.append(f"Fixed filters, the same for everybody, served {'; '.join(said)}.")
    return out


def _rest(fitted: Sequence[Mapping[str, Any]]) -> str:
    known = [float(f["clean_s"]) for f in fitted if f["clean_s"] is not None]
    long = f"{min(known):.0f} s" if known else "a length not known"
    if known and max(known) - min(known) >= 1.0:
        long = f"{min(known):.0f} to {max(known):.0f} s"
    course = any(f["fit"] == "course" for f in fitted)
    return f"{long} of clean rest{' in the first session of the course' if course else ''}"


def _design(f: Mapping[str, Any]) -> str:
    parts = [hz(f["band_hz"])]
    if f["delay_ms"] is not None:
        parts.append(f"for a delay of {f['delay_ms']:g} ms")
    if f["taps_s"] is not None:
        parts.append(f"{f['taps_s']:g} s long")
    if f["target"] == "rhythm":
        parts.append("to follow the rhythm above the 1/f background")
    return f"{f['feature']} ({', '.join(parts)})"


def _nulls(fitted: Sequence[Mapping[str, Any]], mains_hz: Any) -> list[str]:
    """Return where every fitted filter has a null, and where some have."""
    found = ["0 Hz"]
    if isinstance(mains_hz, (int, float)):
        inside = any(f["band_hz"][0] <= mains_hz <= f["band_hz"][1] for f in fitted)
        found += [] if inside else [f"mains ({mains_hz:g} Hz)"]
    rejected = [f for f in fitted if f["reject_hz"] is not None]
    if rejected:
        at = dict.fromkeys(f"{f['reject_hz']:.3g} Hz" for f in rejected)
        of = listed([f["feature"] for f in rejected])
        found.append(f"the person's alpha peak ({listed(list(at))}; {of})")
    return found


def _baseline_sentence(blocks: Sequence[BaselineBlock]) -> str:
    learning = [b for b in blocks if b.learn]
    if not learning:
        return "No baseline was used."
    said = [
        f"{spoken_s(b.lasts_s)} with eyes {b.eyes} for {listed(b.learn)} "
        f"(at least {spoken_s(b.needs_clean_s)} clean)"
        for b in learning
    ]
    return f"Resting values were learned from {listed(said)}."
