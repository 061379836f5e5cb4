"""What a protocol could never give: rewards out of reach, and a level that runs against them."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.model import Protocol, Rule

__all__ = ["RESERVED", "Found", "against", "never_together", "too_long"]

RESERVED = "control_"
"""How the names of features begin that a control condition adds (`protocols.sham.PREFIX`)."""

Place = tuple[str | int, ...]
Found = tuple[Place, str, str]
"""Where, what, and what is allowed."""


def against(protocol: Protocol) -> Iterator[Found]:
    """Yield that the level grows while the feature moves away from its reward.

    Edges of two kinds are compared when the person's rest is known, not here.
    """
    reward, level = protocol.reward, protocol.feedback.level
    if reward is None or reward.feature != level.feature:
        return
    up = reward.direction == "above"
    if level.range == "dynamic":
        grows = level.grows == "up"
        allowed = f"`grows: {'up' if up else 'down'}`"
    else:
        first, last = level.start, level.end
        if first is None or last is None or (first.fixed is None) != (last.fixed is None):
            return
        low = first.plus_mad if first.fixed is None else first.fixed
        high = last.plus_mad if last.fixed is None else last.fixed
        if low == high:
            return  # told as such
        grows = high > low
        allowed = (
            f"`from` {'below' if up else 'above'} `to`, as in `from: {{baseline: median, plus: "
            f"{'-1' if up else '1'} mad}}, to: {{baseline: median, plus: {'2' if up else '-2'} "
            "mad}`"
        )
    if grows != up:
        yield (
            ("feedback", "level"),
            f"the level runs against the reward: `{reward.feature}` is rewarded "
            f"{reward.direction} its threshold, and the level falls as it gets there",
            allowed,
        )


def never_together(protocol: Protocol, first: Place) -> Iterator[Found]:
    """Yield rules on one feature that leave nothing between them; `first` is the reward's place."""
    reward = protocol.reward
    if reward is None:
        return
    placed: list[tuple[Rule, Place]] = [(reward, first)]
    placed += [(r, ("reward", "all", i + 1)) for i, r in enumerate(reward.also)]
    placed += [(r, ("inhibit", i)) for i, r in enumerate(protocol.inhibit)]
    for k, (rule, place) in enumerate(placed):
        for other, _ in placed[:k]:
            pair = (other, rule) if other.direction == "above" else (rule, other)
            if (
                rule.feature == other.feature
                and rule.direction != other.direction
                # With hysteresis one may go on holding where the other begins to; difficulty that
                # is shaped moves the reward's first threshold.
                and not (rule.hysteresis_mad or other.hysteresis_mad)
                and not (reward.shaping is not None and reward in (rule, other))
                and (why := _nothing_between(*pair))
            ):
                yield (
                    (*place, rule.direction),
                    f"`{rule.feature}` is never above the one threshold and below the other: {why}",
                    "thresholds with something between them, or one rule alone",
                )
                break


def _nothing_between(above: Rule, below: Rule) -> str:
    """Return why no value is above the one threshold and below the other, or nothing."""
    a, b = above.threshold, below.threshold
    if a.method != b.method:
        return ""
    if a.value is not None and b.value is not None:
        return f"above {a.value:g} and below {b.value:g}" if a.value >= b.value else ""
    if a.method == "z":
        high, low = a.plus_sd or 0.0, b.plus_sd or 0.0
        return f"above {high:g} sd and below {low:g} sd" if high >= low else ""
    if a.success is not None and b.success is not None and a.success + b.success <= 1.0 + 1e-9:
        upper, lower = 100 * a.success, 100 * b.success
        return f"the upper {upper:g} % and the lower {lower:g} % of rest do not meet"
    return ""


def too_long(protocol: Protocol) -> Iterator[Found]:
    """Yield that a condition must hold for longer than any block lasts."""
    reward = protocol.reward
    lasts_s = [s.lasts_s for s in protocol.session if s.kind == "train" and s.trials is None]
    if reward is not None and lasts_s and reward.sustain_s >= max(lasts_s):
        yield (
            ("reward", "sustain"),
            f"everything must hold for {reward.sustain_s:g} s, but no training block is longer "
            f"than {max(lasts_s):g} s: nothing is ever rewarded",
            f"less than {max(lasts_s):g} s; 0.5 s is usual",
        )
