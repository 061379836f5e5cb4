"""The checks across the fields of a protocol, each mistake at its place in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Shape

from engine.config import Map, Source
from engine.errors import Problem
from engine.features import BURSTS, COUPLED, REFERRED
from protocols.facts import FILL_S, electrode, fill_s, floor_s
from protocols.featurechecks import FeatureCheck, Kind, known_names, meant, option_problems
from protocols.hints import IAF_CLEAN_S
from protocols.model import (
    NEEDS_CLEAN_S,
    BaselineBlock,
    Edge,
    Protocol,
    Rule,
    Threshold,
    fills_nothing,
)
from protocols.reach import RESERVED, against, never_together, too_long
from protocols.rewards import RewardKind
from protocols.rules import FROM_BASELINE
from protocols.steps import flat_session

__all__ = ["Check", "Heard", "Kind", "Role", "meant"]

MAX_LETTERS = 400  # of a text on the person's screen: more cannot be read at a glance
READ_AGAIN = 0.5  # of the clean time asked for, to be known after fitting
AGAINST_REST = frozenset(BURSTS) | frozenset(REFERRED) | frozenset(COUPLED)


class Heard(Shape):
    """A sound, as far as a protocol cares: whether it marks rewards or follows the level."""

    @property
    def role(self) -> str:
        """``on_reward`` or ``continuous``."""
        ...


@dataclass(frozen=True, slots=True)
class Role:
    """Nothing of a sound but its role."""

    role: str


@dataclass(frozen=True, slots=True)
class Check:
    """The checks across fields, each yielding problems at their place."""

    protocol: Protocol
    source: Source
    features: Mapping[str, Kind]
    pictures: Collection[str]
    sounds: Mapping[str, Heard]
    rewards: Mapping[str, RewardKind]
    allow_short: bool

    def problems(self) -> Iterator[Problem]:
        """Yield every problem."""
        yield from FeatureCheck(self.protocol, self.source, self.features).problems()
        yield from self._sites()
        yield from self._reserved()
        yield from self._baseline()
        yield from self._reward()
        for i, rule in enumerate(self.protocol.inhibit):
            yield from self._rule(rule, ("inhibit", i))
        yield from self._trial()
        yield from self._watch()
        yield from self._feedback()
        yield from self._never_known()
        yield from self._session()
        yield from self._texts()
        yield from self._reach()

    def _reserved(self) -> Iterator[Problem]:
        for name in self.protocol.features:
            if name.startswith(RESERVED):
                yield self.source.problem(
                    ("features", name),
                    f"names that begin with `{RESERVED}` are kept for control conditions",
                    f"another name, as `{name.removeprefix(RESERVED) or 'alpha'}`",
                    key=True,
                )

    def _reach(self) -> Iterator[Problem]:
        """Yield what could never be rewarded, and a level that runs against its reward."""
        for place, what, allowed in (
            *against(self.protocol),
            *never_together(self.protocol, self._first_reward()),
            *too_long(self.protocol),
        ):
            yield self.source.problem(place, what, allowed)

    def _sites(self) -> Iterator[Problem]:
        protocol, at = self.protocol, self.source.problem
        needed = {c.casefold() for c in protocol.needs.channels}
        allowed = f"`needs: channels` has {', '.join(protocol.needs.channels)}; add it there"
        used: list[tuple[tuple[str | int, ...], tuple[str, ...]]] = [
            (("features", n, "at"), f.at) for n, f in protocol.features.items()
        ]
        used += [
            (("gates", n, "at"), getattr(protocol.gates, n).at or ())
            for n in ("blink", "amplitude", "step", "muscle", "saccade")
        ]
        used += [
            (("condition", "reference"), tuple(r.split()[1:]))
            for r in protocol.condition.reference
            if r.startswith("bipolar ")
        ]
        for loc, sites in used:
            for site in sites:
                if site.casefold() not in needed:
                    yield at(loc, f"site {site} is used but not needed by the protocol", allowed)
        for i, reference in enumerate(protocol.condition.reference):
            pair = reference.split()[1:] if reference.startswith("bipolar ") else []
            if len(pair) == 2 and electrode(pair[0]) == electrode(pair[1]):
                yield at(
                    ("condition", "reference", i),
                    f"`{reference}` is {pair[0]} against itself, which is always 0",
                    "two different sites",
                )

    # ------------------------------------------------------------ baseline, rules

    def _baseline(self) -> Iterator[Problem]:
        at = self.source.problem
        names: set[str] = set()
        learned: dict[str, str] = {}
        for i, block in enumerate(self.protocol.baseline):
            here = ("baseline", i)
            if block.name in names:
                yield at((*here, "name"), f"two baselines are called `{block.name}`",
                         "another name")  # fmt: skip
            names.add(block.name)
            if block.needs_clean_s > block.lasts_s:
                yield at(
                    (*here, "needs_clean"),
                    f"`needs_clean` of {block.needs_clean_s:g} s is longer than the block",
                    f"at most {block.lasts_s:g} s",
                )
            if block.learn and block.needs_clean_s < NEEDS_CLEAN_S and not self.allow_short:
                key = "needs_clean" if "needs_clean_s" in block.model_fields_set else "lasts"
                yield at(
                    (*here, key),
                    f"a baseline learned from {block.needs_clean_s:g} s is not trustworthy",
                    f"at least {NEEDS_CLEAN_S:g} s clean",
                )
            if "iaf" in block.uses and block.lasts_s < IAF_CLEAN_S and not self.allow_short:
                yield at(
                    (*here, "lasts"),
                    f"no individual alpha frequency can be read from {block.lasts_s:g} s",
                    f"at least {IAF_CLEAN_S:g} s without a break; 120 s is the advice",
                )
            for j, name in enumerate(block.learn):
                place = (*here, "learn", j)
                if name not in self.protocol.features:
                    what, known = known_names("feature", name, self.protocol.features)
                    yield at(place, what, known)
                elif name in learned:
                    yield at(place, f"`{name}` is already learned in `{learned[name]}`", "once")
                elif not self.allow_short:
                    yield from self._fills(name, block, place)
                learned.setdefault(name, block.name)

    def _fills(
        self, name: str, block: BaselineBlock, place: tuple[str | int, ...]
    ) -> Iterator[Problem]:
        """Yield that a feature's window is too long to be learned in a block."""
        chance_s = floor_s(self.protocol, name)
        if chance_s > 0.0 and block.needs_clean_s < chance_s:
            yield self.source.problem(
                place,
                f"the chance value of `{name}` takes {chance_s:g} s of clean time, but this "
                f"baseline needs {block.needs_clean_s:g} s only",
                f"`needs_clean: {chance_s:g} s` or more, or a shorter `window`",
            )
            return
        filled_s = fill_s(self.protocol, name)
        needed_s = max(block.needs_clean_s, filled_s / (1.0 - READ_AGAIN))
        lasts_s = filled_s + FILL_S + READ_AGAIN * needed_s
        if filled_s > 0.0 and (block.needs_clean_s < needed_s or block.lasts_s < lasts_s):
            yield self.source.problem(
                place,
                f"`{name}` is known after {filled_s:g} s of clean time only: too late for a "
                f"baseline of {block.lasts_s:g} s that needs {block.needs_clean_s:g} s clean",
                f"`lasts: {max(lasts_s, needed_s):g} s, needs_clean: {needed_s:g} s` or more, or "
                "a shorter `window`",
            )

    def _never_known(self) -> Iterator[Problem]:
        """Yield what is compared with a fixed value but measured against a rest nobody records."""
        if any(block.learn for block in self.protocol.baseline):
            return
        level, reward = self.protocol.feedback.level, self.protocol.reward
        seen: list[tuple[str, bool, tuple[str | int, ...]]] = []
        if reward is not None:
            fixed = reward.threshold.value is not None
            seen.append((reward.feature, fixed, (*self._first_reward(), "feature")))
        seen += [
            (r.feature, r.threshold.value is not None, ("inhibit", i, "feature"))
            for i, r in enumerate(self.protocol.inhibit)
        ]
        fixed = all(e is not None and e.fixed is not None for e in (level.start, level.end))
        seen.append((level.feature, fixed, ("feedback", "level", "feature")))
        told: set[str] = set()
        for name, given, place in seen:
            against = self._against_rest(name, ())
            if not given or against is None or name in told:
                continue
            told.add(name)
            kind = self.protocol.features[against].kind
            yield self.source.problem(
                place,
                f"`{name}` would never be known: `{kind}` is measured against the baseline, and no "
                "block learns anything",
                f"`learn: [{name}]` in a baseline block",
            )

    def _against_rest(self, name: str, above: tuple[str, ...]) -> str | None:
        """Return the feature, itself or a part, that must know the person's rest."""
        feature = self.protocol.features.get(name)
        if feature is None or name in above:
            return None
        if feature.kind in AGAINST_REST:
            return name
        found = (self._against_rest(n, (*above, name)) for n in feature.of)
        return next((n for n in found if n is not None), None)

    def _learned(self, feature: str) -> bool:
        return any(feature in block.learn for block in self.protocol.baseline)

    def _meant_to_learn(self, feature: str) -> bool:
        # A misspelt name under `learn` is one mistake, told there.
        names = [n for b in self.protocol.baseline for n in b.learn]
        unknown = [n for n in names if n not in self.protocol.features]
        return any(f"`{feature}`" in meant(n, self.protocol.features) for n in unknown)

    def _first_reward(self) -> tuple[str | int, ...]:
        """Return where the first rewarded condition is written."""
        reward = self.source.root.get("reward")
        several = isinstance(reward, Map) and "all" in reward
        return ("reward", "all", 0) if several else ("reward",)

    def _reward(self) -> Iterator[Problem]:
        at, reward = self.source.problem, self.protocol.reward
        if reward is None:
            if self.protocol.inhibit:
                yield at(
                    ("inhibit",),
                    "nothing is rewarded, so there is nothing to inhibit",
                    "a `reward:`, or no `inhibit:`",
                )
            return
        if self.protocol.preset is not None and fills_nothing(self.source.root):
            yield at(
                ("preset",),
                f"`{self.protocol.preset}` changes nothing here: every rule says itself how its "
                "threshold comes about",
                "`above: {success: 65 %}` alone, or no `preset`",
                key=True,
            )
        yield from self._rule(reward, self._first_reward())
        for i, rule in enumerate(reward.also):
            yield from self._rule(rule, ("reward", "all", i + 1))
        twice = [r.feature for r in reward.also if r.feature == reward.feature]
        if twice and all(r.direction == reward.direction for r in reward.also):
            yield at(("reward", "all"), f"`{twice[0]}` is rewarded twice the same way", "once")
        kind = self.rewards.get(reward.rule)
        if kind is None:
            what, known = known_names("reward rule", reward.rule, self.rewards)
            yield at(("reward", "rule"), what, known)
        else:
            yield from option_problems(self.source, ("reward",), kind.options, reward.options)
        yield from self._shaping()

    def _shaping(self) -> Iterator[Problem]:
        at, reward = self.source.problem, self.protocol.reward
        if reward is None or reward.shaping is None:
            return
        shaping, threshold = reward.shaping, reward.threshold
        here = ("reward", "shape")
        if shaping.under >= shaping.over:
            yield at(
                (*here, "if_success_under"),
                f"easier under {shaping.under:.0%} and harder over {shaping.over:.0%} leaves "
                "nothing between",
                "a lower share for `if_success_under`",
            )
        feature = self.protocol.features.get(reward.feature)
        kind = None if feature is None else self.features.get(feature.kind)
        if threshold.adapts or threshold.method == "z":
            yield at(
                here,
                "shaping changes the share of success of a baseline threshold, or a fixed value; "
                "this threshold is neither",
                "`above: {baseline: percentile, success: 65 %}`",
            )
        elif threshold.method == "fixed" and kind is not None and kind.scale != "ln":
            yield at(
                here,
                f"`{reward.feature}` may be 0 or below, so a fixed threshold has no share to move "
                "by",
                "a threshold from the baseline",
            )

    def _rule(self, rule: Rule, here: tuple[str | int, ...]) -> Iterator[Problem]:
        if rule.feature not in self.protocol.features:
            what, known = known_names("feature", rule.feature, self.protocol.features)
            yield self.source.problem((*here, "feature"), what, known)
            return
        yield from self._value_or_learned(
            rule.feature, rule.threshold, (*here, rule.direction), "threshold"
        )
        alone = rule.threshold.method == "fixed" and not self._learned(rule.feature)
        if rule.hysteresis_mad > 0.0 and alone:
            yield self.source.problem(
                (*here, "hysteresis"),
                f"hysteresis is given in MADs of rest, but no baseline learns `{rule.feature}`",
                f"add `learn: [{rule.feature}]` to a baseline block",
            )

    def _value_or_learned(
        self, name: str, asked: Threshold | Edge, here: tuple[str | int, ...], noun: str
    ) -> Iterator[Problem]:
        at = self.source.problem
        value = asked.value if isinstance(asked, Threshold) else asked.fixed
        if isinstance(asked, Threshold):
            assert (asked.method in FROM_BASELINE) == (value is None)
        if value is None:
            if not self._learned(name) and not self._meant_to_learn(name):
                yield at(
                    here,
                    f"this {noun} comes from the baseline, but no baseline learns `{name}`",
                    f"add `learn: [{name}]` to a baseline block",
                )
            return
        kind = self.features.get(self.protocol.features[name].kind)
        if kind is None:
            return
        unit = "" if kind.unit in ("1", "1/min") else kind.unit
        if asked.unit != unit:
            yield at(
                (*here, "fixed"),
                f"`{name}` is measured in {unit or 'no unit (it is a ratio)'}, "
                f"the {noun} is given in {asked.unit or 'no unit'}",
                f"for example `{{fixed: {f'12 {unit}' if unit else '0.2'}}}`",
            )
        elif kind.scale == "ln" and value <= 0.0:
            yield at(
                (*here, "fixed"),
                f"`{name}` is always above 0 and compared on a logarithmic scale; "
                f"{value:g} is never reached",
                "a value above 0",
            )
        elif not kind.low < value < kind.high and isinstance(asked, Threshold):
            yield at(
                (*here, "fixed"),
                f"`{name}` lies between {kind.low:g} and {kind.high:g}; {value:g} is never crossed",
                f"a value between {kind.low:g} and {kind.high:g}",
            )

    # ------------------------------------------------------------ feedback, session

    def _feedback(self) -> Iterator[Problem]:
        at, feedback = self.source.problem, self.protocol.feedback
        level, sound = feedback.level, feedback.sound
        here = ("feedback", "level")
        if level.feature not in self.protocol.features:
            what, known = known_names("feature", level.feature, self.protocol.features)
            yield at((*here, "feature"), what, known)
        else:
            for key, edge in (("from", level.start), ("to", level.end)):
                if edge is not None:
                    yield from self._value_or_learned(level.feature, edge, (*here, key), "edge")
            if level.range == "dynamic" and not self._learned(level.feature):
                yield at(
                    (*here, "range"),
                    f"the range begins at the baseline's, but no baseline learns `{level.feature}`",
                    f"add `learn: [{level.feature}]` to a baseline block",
                )
        if level.start is not None and level.start == level.end:
            yield at((*here, "to"), "`from` and `to` are the same", "two different values")
        if feedback.picture not in self.pictures:
            what, known = known_names("picture", feedback.picture, self.pictures)
            yield at(("feedback", "picture"), what, known)
        if feedback.breath is not None and feedback.picture != "breath":
            yield at(
                ("feedback", "breath"),
                f"a pace of breathing means nothing to the picture `{feedback.picture}`",
                "`picture: breath`, or leave `breath` out",
                key=True,
            )
        for key, name in (("on_reward", sound.on_reward), ("continuous", sound.continuous)):
            if name is None:
                continue
            fitting = [n for n, kind in self.sounds.items() if kind.role == key]
            if name not in self.sounds:
                what, known = known_names("sound", name, fitting)
                yield at(("feedback", "sound", key), what, known)
            elif name not in fitting:
                other = "follows the level" if key == "on_reward" else "is played at a reward"
                yield at(
                    ("feedback", "sound", key),
                    f"the sound `{name}` {other}; it cannot stand under `{key}`",
                    f"one of {', '.join(fitting)}",
                )
        if feedback.picture == "none" and not (sound.on_reward or sound.continuous):
            yield at(
                ("feedback", "picture"),
                "there is neither a picture nor a sound: nothing would be perceived",
                "a picture, or `sound: {on_reward: chime}`",
            )

    # ------------------------------------------------------------ trials, watches

    def _trial(self) -> Iterator[Problem]:
        at, trial = self.source.problem, self.protocol.trial
        if trial is None:
            return
        feature = self.protocol.features.get(trial.feature)
        if feature is None:
            what, known = known_names("feature", trial.feature, self.protocol.features)
            yield at(("trial", "feature"), what, known)
        elif (kind := self.features.get(feature.kind)) is not None and not (
            kind.unit == "uV" and kind.scale == "linear"
        ):
            yield at(
                ("trial", "feature"),
                f"a trial counts microvolts from its own baseline; `{trial.feature}` is of kind "
                f"`{feature.kind}`",
                "a feature of kind `slow_voltage`",
            )
        if self.protocol.reward is not None:
            yield at(
                ("reward",),
                "trials are rewarded by their own tasks",
                "no `reward:` beside `trial:`",
                key=True,
            )
        for i, task in enumerate(trial.tasks):
            way = ("trial", "tasks", i, task.direction)
            limit = task.threshold.value
            if limit is None or task.threshold.unit != "uV":
                yield at(way, "a task is compared with a fixed voltage", "`below: {fixed: 0 uV}`")
            elif (limit if task.direction == "above" else -limit) >= trial.reject.above_uv:
                yield at(
                    (*way, "fixed"),
                    f"{limit:g} uV is never passed: a trial further than "
                    f"{trial.reject.above_uv:g} uV from its baseline is rejected",
                    "a smaller voltage, or a larger `reject`",
                )
        if trial.judge_s > trial.task_s:
            yield at(
                ("trial", "judge"),
                f"the last {trial.judge_s:g} s are judged, but the task lasts {trial.task_s:g} s",
                f"at most {trial.task_s:g} s",
            )

    def _watch(self) -> Iterator[Problem]:
        at, watch = self.source.problem, self.protocol.watch
        named: list[tuple[tuple[str, str, str], str]] = []
        if watch.sleep is not None:
            named += [
                (("watch", "sleep", "theta"), watch.sleep.theta),
                (("watch", "sleep", "delta"), watch.sleep.delta),
            ]
        if watch.crossover is not None:
            named += [
                (("watch", "crossover", "theta"), watch.crossover.theta),
                (("watch", "crossover", "alpha"), watch.crossover.alpha),
            ]
        for place, name in named:
            feature = self.protocol.features.get(name)
            if feature is None:
                what, known = known_names("feature", name, self.protocol.features)
                yield at(place, what, known)
            elif place[1] == "crossover" and feature.kind != "amplitude":
                yield at(
                    place,
                    f"a crossover compares amplitudes in uV; `{name}` is of kind `{feature.kind}`",
                    "a feature of kind `amplitude`",
                )
            elif place[1] == "sleep" and not self._is_size(feature.kind):
                yield at(
                    place,
                    f"sleep is seen in sizes; `{name}` (`{feature.kind}`) may be 0 or below",
                    "a feature of kind `power` or `amplitude`",
                )
            elif place[1] == "sleep" and not self._learned(name):
                yield at(
                    place,
                    f"`{name}` is compared with rest, but no baseline learns it",
                    f"add `learn: [{name}]` to a baseline block",
                )

    def _is_size(self, kind: str) -> bool:
        known = self.features.get(kind)
        return known is None or known.scale == "ln"

    # ------------------------------------------------------------ session

    def _session(self) -> Iterator[Problem]:
        at, steps = self.source.problem, self.protocol.session
        kinds: list[str] = [s.kind for s in steps]
        written = flat_session(self.source.root.get("session"))
        yield from self._steps(written if isinstance(written, list) else [])
        if "train" not in kinds:
            yield at(("session",), "the session has no training block", "`{train: 180 s}`")
        for kind, first in (("baseline", "once, before the training"), ("post", "once, last")):
            if kinds.count(kind) > 1:
                again = _nth(kinds, kind, 2)
                yield self._at_step(written, again, f"`{kind}` comes twice", first)
        if self.protocol.baseline and "baseline" not in kinds:
            yield at(("session",), "the baselines are never recorded", "begin with `- baseline`")
        if "baseline" in kinds and not self.protocol.baseline:
            yield self._at_step(
                written, kinds.index("baseline"), "there is no baseline block to record",
                "`baseline: [...]`",
            )  # fmt: skip
        if "baseline" in kinds:
            before = kinds[: kinds.index("baseline")]
            early = [i for i, k in enumerate(before) if k in ("train", "transfer")]
            if early:
                yield self._at_step(
                    written, early[0], "training comes before the baseline", "baseline first"
                )
        if "post" in kinds:
            behind = kinds[kinds.index("post") :]
            late = [i for i, k in enumerate(behind) if k in ("train", "transfer")]
            if late:
                yield self._at_step(
                    written,
                    kinds.index("post"),
                    "training comes after `post`, the rest afterwards",
                    "`post` last",
                )

    def _steps(self, written: list[Any]) -> Iterator[Problem]:
        trial = self.protocol.trial
        for i, step in enumerate(self.protocol.session):
            if step.kind == "baseline":
                continue
            if step.trials is None and step.lasts_s < 1.0:
                yield self._at_step(
                    written,
                    i,
                    f"a {step.kind} step lasts {step.lasts_s:g} s",
                    "1 s or more",
                    step.kind,
                )
            if step.trials is not None and trial is None:
                yield self._at_step(
                    written, i, "there are trials, but no `trial:` says what they are",
                    "`trial: {feature: ..., tasks: [...]}`",
                )  # fmt: skip
            if step.trials is not None and trial is not None and step.trials % len(trial.tasks):
                yield self._at_step(
                    written,
                    i,
                    f"{step.trials} trials cannot have {len(trial.tasks)} tasks equally often",
                    f"a multiple of {len(trial.tasks)}",
                    "trials",
                )
            if step.kind in ("rest", "post") and (step.self_paced or step.ask):
                key = "self_paced" if step.self_paced else "ask"
                yield self._at_step(
                    written,
                    i,
                    f"`{key}` goes with blocks of training and transfer",
                    "leave it out",
                    key,
                )
            if trial is not None and step.kind in ("train", "transfer") and step.trials is None:
                yield self._at_step(
                    written, i, f"with `trial:`, a {step.kind} block is given in trials",
                    "`{trials: 40}`, or `{trials: 40, feedback: no}`",
                )  # fmt: skip

    def _texts(self) -> Iterator[Problem]:
        """Yield what is too long to be read from a screen."""
        at, trial = self.source.problem, self.protocol.trial
        if len(self.protocol.title) > MAX_LETTERS:
            yield at(("title",), *_too_long("title", self.protocol.title))
        for i, task in enumerate(trial.tasks if trial is not None else ()):
            if len(task.say) > MAX_LETTERS:
                yield at(("trial", "tasks", i, "say"), *_too_long("say", task.say))
        written = flat_session(self.source.root.get("session"))
        for i, step in enumerate(self.protocol.session):
            for key, text in (("say", step.say), ("ask", step.ask)):
                if text is not None and len(text) > MAX_LETTERS:
                    yield self._at_step(written, i, *_too_long(key, text), key)

    def _at_step(self, written: Any, i: int, what: str, allowed: str, key: str = "") -> Problem:
        """Return a problem at a step of the expanded session, or at one of its keys."""
        node = written[i] if isinstance(written, list) and i < len(written) else None
        place = getattr(node, "at", None)
        if isinstance(node, Map) and key in node:
            place = node[key].key
        if place is None:
            return self.source.problem(("session",), what, allowed)
        return Problem(place.file or self.source.file, place.line, place.column, what, allowed)


def _too_long(key: str, text: str) -> tuple[str, str]:
    return (
        f"`{key}` has {len(text)} characters; nobody can read that from the screen",
        f"at most {MAX_LETTERS} characters",
    )


def _nth(items: list[Any], wanted: Any, n: int) -> int:
    return [i for i, item in enumerate(items) if item == wanted][n - 1]
