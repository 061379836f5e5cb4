"""What is allowed in a protocol but deserves a second thought."""

from __future__ import annotations

from collections.abc import Iterator

from engine.units import NOMINAL_IAF_HZ
from protocols.facts import FRONTAL, fits, trained_eyes, unused, widest_band
from protocols.model import Protocol

__all__ = ["IAF_CLEAN_S", "hints"]

GOOD_RATE_HZ = 250.0
MUSCLE_FROM_HZ = 20.0  # scalp muscle reaches down to here
IAF_CLEAN_S = 22.6  # ten windows of `engine.iaf` without a break


def hints(protocol: Protocol) -> Iterator[str]:
    """Yield what is allowed but deserves a second thought, as sentences."""
    feedback = protocol.feedback
    eyes = trained_eyes(protocol)
    if feedback.picture == "none" and "open" in eyes:
        yield "Feedback is sound alone but the eyes are open in training: is that intended?"
    if feedback.picture != "none" and "closed" in eyes:
        yield f"Training is with closed eyes, so the picture `{feedback.picture}` is not seen."
    if "closed" in eyes and not feedback.sound.continuous:
        yield "Training is with closed eyes and there is no continuous sound."
    yield from _on_thresholds(protocol)
    for rule in protocol.rules:
        learned = next((b for b in protocol.baseline if rule.feature in b.learn), None)
        if rule.threshold.value is None and learned and learned.eyes not in eyes:
            yield (
                f"`{rule.feature}` is learned with eyes {learned.eyes} but trained with eyes "
                f"{' and '.join(sorted(eyes))}; the threshold will not fit."
            )
        success = rule.threshold.success
        if success is not None and not 0.2 <= success <= 0.9:
            yield f"Success of {success:.0%} for `{rule.feature}` tells the person next to nothing."
    for block in protocol.baseline:
        if "iaf" not in block.uses:
            continue
        if block.eyes == "open":
            yield (
                f"`{block.name}` is recorded for the individual alpha frequency with open eyes; "
                "alpha shows best with closed eyes."
            )
        if block.needs_clean_s < IAF_CLEAN_S:
            yield (
                f"`{block.name}` is accepted with {block.needs_clean_s:g} s clean, but the "
                f"individual alpha frequency takes {IAF_CLEAN_S:g} s without a break; without one, "
                f"{NOMINAL_IAF_HZ:g} Hz stands for it."
            )
    if len(protocol.rules) > 3:
        yield (
            "More than three conditions make joint success rare; one reward and two inhibits is "
            "the advice."
        )
    bands = [widest_band(f) for f in protocol.features.values()]
    highest = max((band[1] for band in bands if band), default=0.0)
    if highest > MUSCLE_FROM_HZ and not protocol.gates.muscle.on:
        yield "The muscle gate is off although a band reaches where muscle shows."
    frontal = [s for s in protocol.sites if s.casefold() in FRONTAL]
    if frontal and not protocol.gates.blink.on:
        yield f"The blink gate is off although {', '.join(frontal)} see every blink."
    if protocol.needs.rate_hz < GOOD_RATE_HZ:
        yield (
            f"A rate of {protocol.needs.rate_hz:g} Hz is enough by the rule of four times the "
            f"highest edge; {GOOD_RATE_HZ:g} Hz or more shows muscle better."
        )
    for name, fit in fits(protocol).items():
        feature = protocol.features[name]
        if fit == "course" and feature.fit != "course" and feature.band_hz is not None:
            yield (
                f"`{name}` is compared with a fixed value, so its filter is fitted once and kept "
                "for the person's whole course (`fit: course`)."
            )
        alpha = feature.band_hz is not None and feature.band_hz[0] < 13 and feature.band_hz[1] > 7
        seen = [s for s in feature.at if s.casefold() in FRONTAL]
        if protocol.condition.eog == "regress" and alpha and seen:
            # Figures: benchmarks/spatial.py, two people with eyes closed (EEGBCI).
            yield (
                f"`eog: regress` also takes away part of `{name}`: the electrodes that see the "
                f"eyes see the alpha of {', '.join(seen)} as well (in two people measured, F3, Fz "
                "and F4 kept 62-75 % of its amplitude), alike on both sides. Leave it off, and "
                "let the blink gate hold the feedback."
            )
    trained = [s for s in protocol.session if s.kind == "train"]
    if len(trained) > 1 and not any(s.kind == "transfer" for s in protocol.session):
        yield (
            "There are several training blocks but no `transfer`, so nobody learns whether it "
            "works without feedback."
        )
    for name in unused(protocol):
        yield f"`{name}` is measured and recorded, but no rule and no level uses it."


def _on_thresholds(protocol: Protocol) -> Iterator[str]:
    """Yield what is known to mislead about thresholds that move (science: 3.4)."""
    for rule in protocol.rules:
        if rule.threshold.method == "running" and rule.threshold.freeze_after_s is None:
            yield (
                f"The threshold of `{rule.feature}` follows the person (constant difficulty): the "
                "reward rate stays the same whether the person gets better or worse. Look at the "
                "feature against rest, not at the rate; the drift guard stops the threshold when "
                f"it has moved {rule.threshold.drift_guard:.0%} the wrong way."
            )
    for rule in protocol.inhibit:
        if rule.threshold.adapts and rule.threshold.freeze_after_s is None:
            yield (
                f"The threshold of the inhibit `{rule.feature}` follows the person: a burst raises "
                "its own limit. A threshold from the baseline, or `freeze_after`, does not."
            )
    reward = protocol.reward
    if reward is not None and reward.threshold.method == "block":
        short = [s for s in protocol.session if s.kind == "train" and s.lasts_s < 60.0]
        if short:
            yield (
                "A threshold set from a block takes at least 60 s of clean time; in shorter "
                "blocks it stays as it was."
            )
    if any(f.norms is not None for f in protocol.features.values()):
        yield (
            "Norms are compared with: they hold for the age, sites, reference and amplifier they "
            "were made with. The person's age is given with --age."
        )
