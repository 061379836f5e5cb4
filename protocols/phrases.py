"""Parts of a protocol in words, for sentences about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from protocols.adapt import BLOCK_LEAST_S, LINEAR_MADS, PER_S
from protocols.facts import WIDEST, fits
from protocols.model import Edge, Feature, Level, Protocol, Reward, Rule, Shape, Threshold, Trial

__all__ = [
    "UNITS",
    "adapting_words",
    "band_words",
    "edge_words",
    "feature_words",
    "hz",
    "joint_share",
    "leaves",
    "level_words",
    "listed",
    "made_for",
    "milliseconds",
    "options_words",
    "percent",
    "rule_words",
    "seconds",
    "shape_words",
    "success_words",
    "threshold_words",
    "trial_words",
    "unit_words",
]

UNITS = {"uV2": "µV²", "uV": "µV", "s": "s", "1/min": "per minute", "1": "", "": ""}
DELAY_S = 0.1  # asked of a fitted filter unless given

COUPLINGS = {
    "coherence": "coherence",
    "imaginary_coherence": "imaginary coherence",
    "plv": "phase locking",
    "wpli": "weighted phase lag index",
    "envelope_correlation": "correlation of the envelopes",
}


def listed(items: Sequence[str], word: str = "and") -> str:
    """Return ``a, b and c``."""
    items = [i for i in items if i]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def hz(band: tuple[float, float]) -> str:
    """Return a band: ``8-12 Hz``."""
    return f"{round(band[0], 2):g}-{round(band[1], 2):g} Hz"


def seconds(s: float) -> str:
    """Return a short time: ``50 ms``, ``0.5 s``."""
    return milliseconds(s) if 0 < s < 0.1 else f"{s:g} s"


def milliseconds(s: float) -> str:
    """Return a delay: ``100 ms``."""
    return f"{s * 1000:g} ms"


def band_words(feature: Feature) -> str:
    """Return where a feature's band lies, also one that follows the individual alpha frequency."""
    if feature.iaf is None:
        return f"in {hz(feature.band_hz)}" if feature.band_hz else ""
    low, high = feature.iaf
    alpha = "the individual alpha frequency"
    if low == 0.0:
        return f"from {alpha} to {_from_alpha(high)} it"
    if high == 0.0:
        return f"from {_from_alpha(low)} {alpha} up to it"
    return f"from {_from_alpha(low)} to {_from_alpha(high)} {alpha}"


def _from_alpha(offset: float) -> str:
    return f"{abs(offset):g} Hz {'above' if offset > 0 else 'below'}"


def feature_words(name: str, feature: Feature, window_s: float | None = None) -> str:
    """Return one feature as a sentence part.

    Parameters
    ----------
    name : str
    feature : Feature
    window_s : float, optional
        Window of the kinds that have one, where the protocol gives none.
    """
    said = _kind_words(feature, feature.window_s or window_s)
    smooth = f", smoothed over {seconds(feature.smooth_s)}" if feature.smooth_s else ""
    options = f", with {options_words(feature.options)}" if feature.options else ""
    return f"{name}: {said}{_spatial(feature)}{smooth}{options}"


def options_words(options: Mapping[str, float]) -> str:
    """Return the options of a kind from another package: ``least 2 and over_s 0.5``."""
    return listed([f"{name} {value:g}" for name, value in options.items()])


def _kind_words(feature: Feature, window_s: float | None) -> str:
    at, of, band = listed(feature.at), feature.of, band_words(feature)
    part = listed(of)
    over = f" over {seconds(window_s)}" if window_s else ""
    mean = "mean " if len(feature.at) > 1 else ""
    if feature.kind in COUPLINGS:
        return (
            f"{COUPLINGS[feature.kind]} {band} between {at}{over}, less what chance gives in "
            "the baseline"
        )
    words = {
        "power": f"{mean}power {band} at {at}",
        "amplitude": f"{mean}amplitude {band} at {at}",
        "relative_power": f"{mean}share of {_bare(band)} in "
        f"{hz(feature.total_hz or (1.0, 40.0))} power at {at}",
        "periodic_power": f"{mean}power {band} above the 1/f background at {at}",
        "ratio": " divided by ".join(of),
        "log_ratio": f"ln {' minus ln '.join(of)}",
        "shrunk_log_ratio": f"ln {' minus ln '.join(of)}, both drawn towards their baseline mean",
        "asymmetry_index": f"amplitude of {' minus that of '.join(of)}, over their sum",
        "share_above": f"share of clean time{over} in which {part} is above zero",
        "burst_rate": f"bursts of {part} in a minute of clean time, counted{over}",
        "burst_duration": f"mean length of the bursts of {part}{over} of clean time",
        "burst_amplitude": f"mean amplitude within the bursts of {part}{over} of clean time",
        "z": f"{part} in robust standard deviations (1.4826 MAD) from its resting median"
        if feature.norms is None
        else f"{part} in standard deviations from the mean of the person's age, by the norms in "
        f"{feature.norms}",
        "weighted_sum": f"sum of {_summands(feature)}, powers, amplitudes and ratios as logarithms",
        "share_within": f"share of {part} that lie within ±{feature.within or 0.0:g} standard "
        "deviations at the same moment",
        "slow_voltage": f"slow potential at {at}: mean{over}, nothing subtracted",
        "slow_potential": f"slow potential at {at}: mean{over} minus the mean of the "
        f"{seconds(feature.reference_s or 2.0)} before it",
        "peak_to_peak": f"{'largest ' if mean else ''}peak-to-peak voltage in "
        f"{seconds(window_s or 1.0)} at {at}",
    }
    parts = [band, at and f"at {at}", part and f"of {part}"]
    return words.get(feature.kind, " ".join((feature.kind, *filter(None, parts))))


def _summands(feature: Feature) -> str:
    weights = (*feature.weights, *(1.0,) * len(feature.of))
    return listed([f"{w:g} x {n}" for n, w in zip(feature.of, weights, strict=False)])


def _bare(band: str) -> str:
    return band.removeprefix("in ") if band.startswith("in ") else f"the band {band}"


def _spatial(feature: Feature) -> str:
    if feature.spatial is None:
        return ""
    if feature.spatial == "laplacian":
        return ", each site less its neighbours (Laplacian)"
    if feature.spatial == "ssd":
        return (
            ", through a spatial filter fitted to the baseline (spatio-spectral decomposition, SSD)"
        )
    if feature.spatial == "pcc":
        return (
            ", as the current estimated in the posterior cingulate cortex (pcc): weights over "
            "these sites, computed once before the session from a spherical model of the head"
        )
    if isinstance(feature.spatial, str):
        return f", through the spatial filter {feature.spatial}"
    weights = listed([f"{site} {weight:+g}" for site, weight in feature.spatial.items()])
    return f", through the weights {weights}"


def leaves(protocol: Protocol, name: str, deep: int = 4) -> Iterator[str]:
    """Yield the features with a filter of their own that a feature is made of; itself, if one."""
    feature = protocol.features.get(name)
    if feature is None or not deep:
        return
    if not feature.of:
        yield name
    for part in feature.of:
        yield from leaves(protocol, part, deep - 1)


def made_for(protocol: Protocol) -> Mapping[str, tuple[str, float, str]]:
    """Return (fit, delay in s, target) of every feature whose band filter is fitted."""
    when = fits(protocol)
    return {
        name: (
            when[name],
            DELAY_S if f.delay_s is None else f.delay_s,
            f.target or "band",
        )
        for name, f in protocol.features.items()
        if when[name] != "fixed" and f.band_hz is not None and f.band_hz[1] <= WIDEST * f.band_hz[0]
    }


def threshold_words(rule: Rule) -> str:
    """Return what a rule compares with."""
    threshold = rule.threshold
    if threshold.method == "fixed":
        return f"{threshold.value or 0.0:g} {UNITS[threshold.unit]}".strip()
    if threshold.method == "z":
        plus = threshold.plus_sd or 0.0
        if plus == 0.0:
            return "the mean of the clean baseline"
        sign = "plus" if plus > 0 else "minus"
        return f"the mean of the clean baseline {sign} {abs(plus):g} SD"
    share = success_words(threshold)
    if threshold.method == "staircase":
        return f"a staircase that settles where this holds {share} of clean training time"
    of = {
        "percentile": "clean baseline time",
        "running": f"the last {threshold.over_s:g} s of clean training time",
        "block": "the clean time of the block before",
    }[threshold.method]
    said = "the value exceeded" if rule.direction == "above" else "the value it stays below"
    return f"{said} during {share} of {of}"


def rule_words(rule: Rule) -> str:
    """Return a rule without its verb: ``smr above 12 µV², let go at 0.2 MAD below it``."""
    return f"{rule.feature} {rule.direction} {threshold_words(rule)}{_hysteresis(rule)}"


def _hysteresis(rule: Rule) -> str:
    if rule.hysteresis_mad == 0.0:
        return ""
    side = "below" if rule.direction == "above" else "above"
    return f" (once it holds, until {rule.feature} is {rule.hysteresis_mad:g} MAD {side} that)"


def adapting_words(rule: Rule, scale: str | None = None) -> list[str]:
    """Return how a rule's threshold moves, as sentences; nothing where it does not.

    Parameters
    ----------
    rule : Rule
    scale : str, optional
        ``ln`` or ``linear``, of its feature, where that is known.
    """
    threshold = rule.threshold
    if not threshold.adapts:
        return []
    how = {
        "running": "once a second, by at most "
        + (f"{percent(PER_S)} of itself" if scale != "linear" else f"{PER_S:g} MAD of rest"),
        "block": f"between blocks only, and not after a block of less than {BLOCK_LEAST_S:g} s of "
        "clean time",
        "staircase": f"once a second: harder by {threshold.step_mad or 0.0:g} MAD of rest for each "
        "second in which the condition holds, easier by "
        f"{_eased(threshold):.3g} MAD for each in which it does not",
    }[threshold.method]
    lines = [
        f"The threshold of {rule.feature} begins where {success_words(threshold)} of the clean "
        f"baseline would have passed, and then moves {how}."
    ]
    if threshold.freeze_after_s is not None:
        lines.append(
            f"After {threshold.freeze_after_s:g} s of clean training it stays where it is."
        )
    wrong = "lower" if rule.direction == "above" else "higher"
    share = min(threshold.drift_guard, 0.99)
    # On a logarithmic scale as far up as down: 15 % lower, or 18 % higher.
    far = percent(share) if rule.direction == "above" else f"{100.0 * share / (1.0 - share):.0f} %"
    if scale == "linear":
        far = f"{LINEAR_MADS * threshold.drift_guard:g} MAD of rest"
    lines.append(
        f"Drift guard: once it is {far} {wrong} than where it began, it stops moving and the "
        "operator is told."
    )
    if threshold.freeze_after_s is None:
        lines.append(
            "A threshold that follows the person keeps the reward rate steady whatever the person "
            f"does: a steady reward rate is not learning. Look at {rule.feature} against its "
            "baseline."
        )
    return lines


def _eased(threshold: Threshold) -> float:
    share = threshold.success or 0.5
    return (threshold.step_mad or 0.0) * share / (1.0 - share)


def shape_words(reward: Reward, shape: Shape) -> str:
    """Return how the difficulty follows success."""
    fixed = reward.threshold.method == "fixed"
    when = "Between blocks" if shape.every == "block" else "From session to session"
    if fixed:
        harder = f"the threshold of {reward.feature} becomes {percent(shape.harder)} harder"
        easier = f"{percent(shape.easier)} easier"
    else:
        harder = (
            f"the share of success asked of {reward.feature} falls by {_points(shape.harder)} "
            "(harder)"
        )
        easier = f"rises by {_points(shape.easier)} (easier)"
    return (
        f"{when}, {harder} after more than {percent(shape.over)} success and {easier} after less "
        f"than {percent(shape.under)}: one step at a time, told to the operator and recorded."
    )


def _points(share: float) -> str:
    return f"{100.0 * share:g} percentage points"


def joint_share(rules: Sequence[Rule]) -> float | None:
    """Return how often all rules would hold if they were independent; None if one is not known."""
    shares = [r.threshold.success for r in rules]
    joint = 1.0
    for share in shares:
        if share is None:
            return None
        joint *= share
    return joint


def trial_words(trial: Trial) -> list[str]:
    """Return what a trial is, as sentences."""
    tasks = [
        f"`{t.name}` ({t.direction} {t.threshold.value or 0.0:g} µV, told “{t.say}”)"
        for t in trial.tasks
    ]
    order = ", equally often and in random order" if len(tasks) > 1 else ""
    return [
        f"A trial lasts {seconds(trial.lasts_s)}: {seconds(trial.baseline_s)} of baseline, "
        f"{seconds(trial.task_s)} of task, {seconds(trial.reward_s)} for the reward, "
        f"{seconds(trial.pause_s)} of pause.",
        f"{trial.feature} counts from the mean of the trial's own baseline. The tasks are "
        f"{listed(tasks)}{order}."
        if len(tasks) > 1
        else f"{trial.feature} counts from the mean of the trial's own baseline. The task is "
        f"{tasks[0]}.",
        f"A trial is rewarded when the mean of its last {seconds(trial.judge_s)} of task is on the "
        "task's side.",
        f"A trial with an artefact, or further than {trial.reject.above_uv:g} µV from its "
        "baseline, does not count.",
    ]


def unit_words(unit: str) -> str:
    """Return a unit for people."""
    return UNITS.get(unit, unit)


def percent(share: float) -> str:
    """Return a share: ``15 %``."""
    return f"{100.0 * share:g} %"


def success_words(threshold: Threshold) -> str:
    """Return the asked share of success: ``65 %``."""
    return percent(threshold.success or 0.0)


def edge_words(edge: Edge) -> str:
    """Return one end of the level."""
    if edge.fixed is not None:
        return f"{edge.fixed:g} {UNITS[edge.unit]}".strip()
    if edge.plus_mad == 0.0:
        return "the resting median"
    sign = "above" if edge.plus_mad > 0 else "below"
    return f"{abs(edge.plus_mad):g} MAD {sign} the resting median"


def level_words(level: Level) -> str:
    """Return how the level is made, as a sentence."""
    smooth = f"smoothed over {seconds(level.smooth_s)}" if level.smooth_s else "not smoothed"
    if level.start is None or level.end is None:
        way = "grows" if level.grows == "up" else "falls"
        return (
            f"The level is {level.feature} within a range that follows the person, {smooth}: it "
            "begins at the baseline's 5th and 95th percentile, widens where it is exceeded and "
            f"else shrinks slowly (dynamic range). The level {way} as {level.feature} rises; its "
            "height says nothing about learning."
        )
    return (
        f"The level is 0 at {edge_words(level.start)} of {level.feature} and 1 at "
        f"{edge_words(level.end)}, {smooth}."
    )
