"""What is allowed in a protocol but deserves a second thought."""

from __future__ import annotations

from collections.abc import Iterator

from engine.montage import clean_label, is_site, kind_of
from engine.units import NOMINAL_IAF_HZ
from protocols.facts import FRONTAL, fits, trained_eyes, unused, widest_band
from protocols.model import Protocol, Safety

__all__ = ["IAF_CLEAN_S", "hints", "loosened"]

GOOD_RATE_HZ = 250.0
MAINS_HZ = (50.0, 60.0)
NOTCH_HZ = 1.0  # to either side of the mains, cut by the notch
MUSCLE_FROM_HZ = 20.0  # scalp muscle reaches down to here
FOLLOWS = {
    "running": "follows the person (constant difficulty)",
    "block": "follows the person from block to block",
    "staircase": "follows the person second by second",
}
SHOWN_S = 0.35  # between two rewards that are seen as two
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
    said = " ".join(step.say or "" for step in protocol.session)
    if feedback.picture != "orb" and " orb" in said.lower():
        yield f"The person is told of an orb, but sees the picture `{feedback.picture}`."
    reward = protocol.reward
    if reward is not None and reward.sustain_s + reward.refractory_s < SHOWN_S:
        yield "Rewards may follow each other faster than their light can show (one in 0.35 s)."
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
    yield from _on_signal(protocol)
    if protocol.evidence.grade == "X" and "clinical" in protocol.safety.rooms:
        yield (
            "This protocol is experimental (grade X) and may run in clinical rooms; `safety: "
            "{rooms: [research, test]}` keeps it out of them."
        )
    for name in unused(protocol):
        yield f"`{name}` is measured and recorded, but no rule and no level uses it."


def loosened(safety: Safety, extended: Safety) -> Iterator[str]:
    """Yield in what a protocol is less careful than the one it extends."""
    more = [room for room in safety.rooms if room not in extended.rooms]
    if more:
        yield (
            f"It may run in {' and '.join(more)} rooms, which the protocol it extends stays out of."
        )
    if extended.clinician == "present" and safety.clinician != "present":
        yield "It runs without a clinician, whom the protocol it extends asks for."
    missing = [who for who in extended.exclude if who not in safety.exclude]
    if missing:
        yield (
            f"It does not exclude {', '.join(missing)}, as the protocol it extends does; `exclude` "
            "replaces the whole list."
        )


def _on_signal(protocol: Protocol) -> Iterator[str]:
    """Yield what the mains notch takes of a band, and names that are no sites."""
    for name, feature in protocol.features.items():
        band = widest_band(feature)
        if protocol.condition.mains != "notch" or band is None:
            continue
        cut = [f"{m:g}" for m in MAINS_HZ if band[0] < m + NOTCH_HZ and band[1] > m - NOTCH_HZ]
        if cut:
            yield (
                f"The band of `{name}` holds {' and '.join(cut)} Hz: in a room with mains of "
                f"{' or '.join(cut)} Hz the notch cuts into it. The room says which it is."
            )
    pairs = [r.split()[1:] for r in protocol.condition.reference if r.startswith("bipolar ")]
    named = [*protocol.needs.channels, *protocol.sites, *(s for pair in pairs for s in pair)]
    for site in dict.fromkeys(named):
        label = clean_label(site)
        if not is_site(label) and kind_of(label) == "misc":
            yield (
                f"`{site}` is no site of the 10-05 system; only an amplifier that has a channel "
                "of that name fits."
            )


def _on_thresholds(protocol: Protocol) -> Iterator[str]:
    """Yield what is known to mislead about thresholds that move (science: 3.4)."""
    for rule in protocol.rules:
        threshold = rule.threshold
        if threshold.adapts and threshold.freeze_after_s is None:
            yield (
                f"The threshold of `{rule.feature}` {FOLLOWS[threshold.method]}: a steady reward "
                "rate is not learning, for it stays the same whether the person gets better or "
                "worse. Look at the feature against rest, not at the rate; the drift guard stops "
                f"the threshold when it has moved {threshold.drift_guard:.0%} the wrong way."
            )
    for rule in protocol.inhibit:
        threshold = rule.threshold
        if threshold.adapts and threshold.freeze_after_s is None:
            frozen = ", or `freeze_after`," if threshold.method == "running" else ""
            yield (
                f"The threshold of the inhibit `{rule.feature}` follows the person: a burst raises "
                f"its own limit. A threshold from the baseline{frozen} does not."
            )
    yield from _between_blocks(protocol)
    if any(rule.threshold.method == "block" for rule in protocol.rules):
        short = [s for s in protocol.session if s.kind == "train" and s.lasts_s < 60.0]
        if short:
            yield (
                "A threshold set from a block takes at least 60 s of clean time; in shorter "
                "blocks it stays as it was."
            )
    if protocol.preset is not None:
        given = [r.feature for r in protocol.rules if r.threshold.method != "running"]
        if given:
            yield (
                f"`preset: {protocol.preset}` leaves {' and '.join(f'`{n}`' for n in given)} as "
                "written: a threshold that says itself how it comes about is kept."
            )
    if any(f.norms is not None for f in protocol.features.values()):
        yield (
            "Norms are compared with: they hold for the age, sites, reference and amplifier they "
            "were made with. The person's age is given with --age."
        )


def _between_blocks(protocol: Protocol) -> Iterator[str]:
    """Yield what would move between blocks of training where there is one block only."""
    if sum(s.kind == "train" for s in protocol.session) != 1:
        return
    for rule in protocol.rules:
        if rule.threshold.method == "block":
            yield (
                f"The threshold of `{rule.feature}` is set anew between training blocks, but there "
                "is one only: it stays where the baseline put it."
            )
    reward = protocol.reward
    if reward is not None and reward.shaping is not None and reward.shaping.every == "block":
        yield (
            "`shape: {every: block}` changes the difficulty between training blocks, but there is "
            "one only: it never changes."
        )
