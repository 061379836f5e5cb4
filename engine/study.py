"""A study: arms, blinding, allocation and what is declared before the first participant.

A study file says in one page what a trial's registration says. `neuroloop study check` reads it,
`neuroloop allocate` seals who gets which arm, and a session finds its arm by an opaque token.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from engine.config import Format, Map, Names, Strict, Text, Whole, YesNo, read, validate
from engine.errors import InputError, Problem, YamlError
from engine.units import SHARE, described, is_flag, mistake, quantity, shown

__all__ = [
    "CONTROLS",
    "CRED_NF",
    "WHOLE_GROUP",
    "Arm",
    "Control",
    "LearnerRule",
    "LoadedStudy",
    "Questions",
    "Study",
    "cred_nf",
    "described_study",
    "hints",
    "load_study",
    "stratum",
]

WHOLE_GROUP = "all"  # the stratum of a study without strata
LARGEST_BLOCK = 120  # a longer one protects nothing and lets the arms drift apart
MOST_STRATA = 200
MOST_ARMS = 20

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Control:
    """What the people of an arm are given.

    Parameters
    ----------
    name : str
        As in YAML.
    words : str
        What it is, in words that follow "feedback is" or stand alone.
    needs : tuple of str
        Keys that an arm with it must have.
    here : bool
        Whether the arm's sessions are run with this software.
    concealable : bool
        Whether the person can be kept from knowing that it is not the training.
    """

    name: str
    words: str
    needs: tuple[str, ...] = ()
    here: bool = True
    concealable: bool = True

    @property
    def sentence(self) -> str:
        """What people are given, standing alone."""
        return self.words if self.words.startswith("none") else f"feedback is {self.words}"


# The taxonomy is that of science 6.2; what each one does is said where it is built.
CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        c.name: c
        for c in (
            Control("real", "the person's own"),
            Control("yoked", "what another person was shown, live gates on top", ("donors",)),
            Control("replay_own", "the person's own, of an earlier block"),
            Control(
                "replay_other", "another person's level, this person's gates on top", ("donors",)
            ),
            Control("inverse", "the person's own, in the opposite direction"),
            Control("random_band", "that of another, distant band in every session"),
            Control("other_site", "that of the same feature at other sites", ("sites",)),
            Control("noise", "made of noise that moves like the real one"),
            Control("no_feedback", "none: the task without feedback", concealable=False),
            Control(
                "treatment_as_usual",
                "none: the usual treatment, outside this software",
                here=False,
                concealable=False,
            ),
            Control(
                "active_other",
                "none: another active treatment, outside this software",
                here=False,
                concealable=False,
            ),
        )
    }
)
_EXTRA = ("donors", "sites")  # keys that belong to some controls only

# Item of the CRED-nf checklist (Ros et al. 2020) -> what it asks, key of the study file.
CRED_NF: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "1a": ("preregistration", "prereg"),
        "1b": ("sampling plan, reason for the sample size", "sample_plan"),
        "2a": ("control group or condition", "arms"),
        "2b": ("blinding of participants and experimenters", "blinding"),
        "2c-i": ("outcome raters blind", "raters_blind"),
        "2c-ii": ("analysts blind", "analysts_blind"),
        "2e": ("comparison with the standard of care", "standard_of_care"),
        "3a": ("psychosocial factors", "psychosocial"),
        "3b": ("whether a strategy was given", "strategy"),
        "4b": ("reinforcement schedule and its reason", "schedule_reason"),
        "6a": ("clinical or behavioural significance", "clinical_meaning"),
        "6b": ("regulation success against outcome", "outcome_link"),
        "7a": ("open materials, code and data", "materials"),
    }
)


# ---------------------------------------------------------------- how values are written


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise mistake(
            f"{shown(value)} cannot be used as a name", "1-40 letters (a-z), digits, `_` or `-`"
        )
    return value


def _path(value: str) -> str:
    if any(ord(c) < 32 for c in value) or "://" in value:
        raise mistake(f"{shown(value)} is no folder", "a folder beside the study file")
    return value


def _protocol(value: str) -> str:
    if any(ord(c) < 32 for c in value) or "://" in value:
        raise mistake(f"{shown(value)} is no protocol", "a name of the library, or a YAML file")
    return value


def _counted(value: object, low: int, high: int) -> int:
    if is_flag(value) or not isinstance(value, int):
        raise mistake(f"a whole number is wanted here, not {described(value)}", f"e.g. `{low}`")
    if not low <= value <= high:
        raise mistake(f"{value} is out of range", f"from {low} to {high}")
    return int(value)


def _between(low: int, high: int) -> AfterValidator:
    return AfterValidator(lambda value: _counted(value, low, high))


def _sizes(value: object) -> tuple[int, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    sizes = tuple(_counted(item, 1, LARGEST_BLOCK) for item in items)
    if not sizes:
        raise mistake("there is no block size", "for example `[4, 6]`")
    twice = [s for i, s in enumerate(sizes) if s in sizes[:i]]
    if twice:
        raise mistake(f"block size {twice[0]} is listed twice")
    return sizes


def _sessions(value: object) -> tuple[int | Literal["last"], ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    found: list[int | Literal["last"]] = []
    for item in items:
        if isinstance(item, str) and item == "last":
            found.append("last")
        elif isinstance(item, int) and not is_flag(item) and item >= 1:
            found.append(int(item))
        else:
            raise mistake(f"{described(item)} is no session", "for example `[1, last]`")
    twice = [f for i, f in enumerate(found) if f in found[:i]]
    if twice:
        raise mistake(f"session {twice[0]} is listed twice")
    return tuple(found)


Name = Annotated[Text, AfterValidator(_name)]
Sessions = Annotated[
    tuple[int | Literal["last"], ...],
    BeforeValidator(_sessions),
    WithJsonSchema(
        {
            "type": "array",
            "uniqueItems": True,
            "items": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "last"}]},
            "examples": [[1, "last"]],
        }
    ),
]
BlockSizes = Annotated[
    tuple[int, ...],
    BeforeValidator(_sizes),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "integer", "minimum": 1, "maximum": LARGEST_BLOCK},
            "examples": [[4, 6]],
        }
    ),
]


def _control(value: object) -> str:
    if isinstance(value, str) and value in CONTROLS:
        return str(value)
    raise mistake(f"{described(value)} is no control condition", f"known: {', '.join(CONTROLS)}")


# ---------------------------------------------------------------- the study


class Arm(Strict):
    """One arm: a name, what its people are given, and how often it is drawn."""

    name: Name
    control: Annotated[str, BeforeValidator(_control), WithJsonSchema({"enum": list(CONTROLS)})]
    donors: Annotated[Text, AfterValidator(_path)] | None = None
    sites: Names = ()
    weight: Annotated[Whole, _between(1, 20)] = 1

    @property
    def here(self) -> bool:
        """Whether the arm's sessions are run with this software."""
        return CONTROLS[self.control].here


class Questions(Strict):
    """When people are asked what they expect, which arm they guess, and what they tried."""

    expectancy: Sessions = ()
    blinding: Sessions = ()
    strategy: Literal["every block", "every session"] | None = None

    def due(self, form: Literal["expectancy", "blinding"], session: int, sessions: int) -> bool:
        """Return whether a form is asked in session number `session` of `sessions`."""
        listed = self.expectancy if form == "expectancy" else self.blinding
        return session in listed or ("last" in listed and session == sessions)


class LearnerRule(Strict):
    """Who counts as a learner, declared before the first session (science: 6.4).

    A slope of the session means over the sessions above 0 with p below `alpha`, one-sided; or
    a session mean above its baseline in more than `share` of the `last` sessions.
    """

    metric: Literal["session_slope"] = "session_slope"
    alpha: Annotated[float, *quantity(SHARE, 0.0001, 0.5)] = 0.05
    share: Annotated[float, *quantity(SHARE, 0.0, 1.0)] = 0.5
    last: Annotated[Whole, _between(1, 500)] = 5


class Study(Strict):
    """A whole study file."""

    format: Format
    name: Name
    title: Text | None = None
    protocol: Annotated[Text, AfterValidator(_protocol)]
    sessions: Annotated[Whole, _between(1, 500)]
    prereg: Text | None = None
    sample_plan: Text | None = None
    blinding: Literal["none", "single", "double"]
    raters_blind: YesNo | None = None
    analysts_blind: YesNo | None = None
    standard_of_care: Text | None = None
    psychosocial: Text | None = None
    strategy: Text | None = None
    schedule_reason: Text | None = None
    clinical_meaning: Text | None = None
    outcome_link: Text | None = None
    materials: Text | None = None
    arms: tuple[Arm, ...]
    strata: dict[str, Names] = Field(default_factory=dict)
    block_sizes: BlockSizes | None = None
    questions: Questions = Questions()
    learner: LearnerRule | None = None

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Say that a file without arms is no study, before anything else is looked for."""
        if isinstance(data, Map) and data.get("arms") == []:
            raise mistake("there are no arms", "one line per arm, each with a name and a control",
                          at=data["arms"])  # fmt: skip
        return data

    @property
    def ratio(self) -> int:
        """The smallest block that holds every arm in its ratio: the sum of the weights."""
        return sum(arm.weight for arm in self.arms)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The sizes of block, as given or twice and three times the smallest one."""
        return self.block_sizes or (2 * self.ratio, 3 * self.ratio)

    @property
    def blinded(self) -> bool:
        """Whether anybody must not know the arms."""
        return self.blinding != "none"

    @property
    def stratum_names(self) -> tuple[str, ...]:
        """Every combination of strata, as ``age=child;site=a``; ``all`` without strata."""
        combinations = itertools.product(*self.strata.values())
        return tuple(stratum(dict(zip(self.strata, c, strict=True))) for c in combinations)

    def arm(self, name: str) -> Arm:
        """Return the arm of that name.

        Raises
        ------
        InputError
            There is none.
        """
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise InputError(
            f"The study {self.name} has no arm {name!r}.",
            f"Its arms are {', '.join(a.name for a in self.arms)}.",
        )


def stratum(levels: Mapping[str, str]) -> str:
    """Return the name of a combination of strata."""
    return ";".join(f"{k}={v}" for k, v in levels.items()) or WHOLE_GROUP


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A study with where it came from.

    Parameters
    ----------
    study : Study
    path : Path
    sha256 : str
        Of the bytes of the file; the allocation is bound to it.
    text : str
        The file as read.
    """

    study: Study
    path: Path
    sha256: str
    text: str

    @property
    def folder(self) -> Path:
        """The folder of the study file; paths in the file are relative to it."""
        return self.path.parent

    @property
    def protocol(self) -> str | Path:
        """The protocol to load: a name of the library, or the path of a file."""
        text = self.study.protocol
        if "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
            return self.folder / Path(text).expanduser()
        return text

    def donors(self, arm: Arm) -> Path | None:
        """Return the folder of recordings an arm is fed from, or None where it needs none."""
        return None if arm.donors is None else self.folder / Path(arm.donors).expanduser()


# ---------------------------------------------------------------- loading


def load_study(path: str | Path) -> LoadedStudy:
    """Load and check a study file.

    Raises
    ------
    YamlError
        With every mistake of the file.
    InputError
        It is a protocol.
    FileError
        The file cannot be read.
    """
    path = Path(path)
    source = read(path)
    if "arms" not in source.root and {"features", "extends", "condition"} & set(source.root):
        raise InputError(
            f"{path} is a protocol, not a study.",
            f"To check it: neuroloop check {path}. A study file names it under `protocol:`.",
        )
    study = validate(Study, source)
    problems = [source.problem(loc, what, allowed) for loc, what, allowed in _mistakes(study)]
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=_by_place)
        raise YamlError(tuple(ordered))
    return LoadedStudy(study, path, source.sha256, source.text)


def _by_place(problem: Problem) -> tuple[int, int]:
    return problem.line, problem.column


_Mistake = tuple[tuple[str | int, ...], str, str]


def _mistakes(study: Study) -> Iterator[_Mistake]:
    """Yield what is wrong across the keys: where, what, what is allowed."""
    yield from _arms(study)
    yield from _strata(study)
    sizes, ratio = study.blocks, study.ratio
    for i, size in enumerate(sizes):
        if study.block_sizes is not None and size % ratio:
            yield (
                ("block_sizes", i),
                f"a block of {size} cannot hold the arms in their ratio",
                f"multiples of {ratio}, the sum of the weights: `[{2 * ratio}, {3 * ratio}]`",
            )
    for form in ("expectancy", "blinding"):
        for i, session in enumerate(getattr(study.questions, form)):
            if session != "last" and session > study.sessions:
                yield (
                    ("questions", form, i),
                    f"there is no session {session}: the study has {study.sessions}",
                    f"from 1 to {study.sessions}, or `last`",
                )
    if study.learner is not None and study.learner.last > study.sessions:
        yield (
            ("learner", "last"),
            f"the last {study.learner.last} sessions of {study.sessions} are not possible",
            f"at most {study.sessions}",
        )


def _arms(study: Study) -> Iterator[_Mistake]:
    seen: set[str] = set()
    for i, arm in enumerate(study.arms):
        if arm.name.casefold() in seen:
            yield ("arms", i, "name"), f"there is an arm `{arm.name}` already", "unique names"
        seen.add(arm.name.casefold())
        needs = CONTROLS[arm.control].needs
        for key in _EXTRA:
            given = bool(getattr(arm, key))
            if key in needs and not given:
                example = "`donors: donors`, a folder of recordings" if key == "donors" else (
                    "`sites: [O1, O2]`"
                )  # fmt: skip
                yield (
                    ("arms", i),
                    f"`{key}` is missing: control `{arm.control}` needs it",
                    example,
                )
            if given and key not in needs:
                yield (
                    ("arms", i, key),
                    f"`{key}` does not belong to control `{arm.control}`",
                    f"only to {', '.join(c for c in CONTROLS if key in CONTROLS[c].needs)}",
                )
    if len(study.arms) > MOST_ARMS:
        yield ("arms",), f"{len(study.arms)} arms are too many", f"at most {MOST_ARMS}"
    if study.blinded and len(study.arms) < 2:
        yield (
            ("blinding",),
            "with one arm there is nothing to be blind to",
            "`blinding: none`, or a second arm",
        )
    if study.ratio > LARGEST_BLOCK // 3 and study.block_sizes is None:
        yield ("arms",), f"the weights add up to {study.ratio}", f"at most {LARGEST_BLOCK // 3}"


def _strata(study: Study) -> Iterator[_Mistake]:
    combinations = 1
    for name, levels in study.strata.items():
        combinations *= max(len(levels), 1)
        for what in (name, *levels):
            if not _NAME.fullmatch(what):
                yield (
                    ("strata", name),
                    f"{shown(what)} cannot be used as a stratum",
                    "1-40 letters (a-z), digits, `_` or `-`",
                )
        if len(levels) < 2:
            yield (
                ("strata", name),
                f"`{name}` has fewer than two levels, so it divides nobody",
                "for example `age: [child, adult]`",
            )
    if combinations > MOST_STRATA:
        yield (
            ("strata",),
            f"{combinations} combinations of strata are too many",
            f"at most {MOST_STRATA}; each needs people of its own",
        )


# ---------------------------------------------------------------- in words


def cred_nf(study: Study) -> dict[str, str | None]:
    """Return what the study file answers of the CRED-nf checklist; None is left blank.

    The other items are answered by the protocol and the recordings.
    """
    answers: dict[str, str | None] = {}
    for item, (_, key) in CRED_NF.items():
        value = getattr(study, key)
        if key == "arms":
            arms = ", ".join(f"{a.name} ({a.control})" for a in study.arms)
            answers[item] = arms if len(study.arms) > 1 else None
        elif isinstance(value, bool):
            answers[item] = "yes" if value else "no"
        else:
            answers[item] = value
    return answers


def hints(study: Study) -> tuple[str, ...]:
    """Return what is allowed but deserves a second thought."""
    said = []
    if study.blinded:
        for arm in study.arms:
            if not CONTROLS[arm.control].concealable:
                said.append(
                    f"Arm {arm.name}: with control {arm.control} people see which arm they are in."
                )
        if len(study.blocks) == 1:
            said.append(
                f"Every block holds {study.blocks[0]}: who counts along can guess the last "
                "ones. Give two block sizes."
            )
        if min(study.blocks) == study.ratio and len(study.arms) > 1:
            said.append(f"A block of {study.ratio} gives its last place away.")
        if not study.questions.blinding:
            said.append(
                "Nobody is asked which arm they guess, so how far the study stayed blind will not "
                "be known: `questions: {blinding: [1, last]}`."
            )
    for arm in study.arms:
        if arm.control == "inverse":
            said.append(
                f"Arm {arm.name} trains in the opposite direction; not in patients without an "
                "ethics review."
            )
    return tuple(said)


def described_study(loaded: LoadedStudy) -> Iterator[str]:
    """Yield in plain sentences what a study is."""
    study = loaded.study
    blind = {
        "none": "everybody may know the arms",
        "single": "participants do not know their arm",
        "double": "neither participants nor operators know the arm",
    }
    yield f"Study:      {study.name}" + (f", {study.title}" if study.title else "")
    yield f"Protocol:   {study.protocol}, {study.sessions} sessions for every participant"
    yield f"Blinding:   {study.blinding}; {blind[study.blinding]}"
    for arm in study.arms:
        control = CONTROLS[arm.control]
        more = (
            f"; drawn {arm.weight} times in {study.ratio}" if study.ratio > len(study.arms) else ""
        )
        if arm.donors:
            more += f"; recordings from {loaded.donors(arm)}"
        if arm.sites:
            more += f"; at {', '.join(arm.sites)}"
        yield f"Arm:        {arm.name} ({arm.control}): {control.sentence}{more}"
    if len(study.arms) > 1:
        sizes = " or ".join(str(s) for s in study.blocks)
        yield f"Allocation: permuted blocks of {sizes}, drawn at random"
    if study.strata:
        yield f"Strata:     {len(study.stratum_names)}: {', '.join(study.stratum_names)}"
    asked = study.questions
    for form, listed in (("expectancy", asked.expectancy), ("guess of the arm", asked.blinding)):
        if listed:
            yield f"Asked:      {form}, session {', '.join(str(s) for s in listed)}"
    if asked.strategy:
        yield f"Asked:      strategy, {asked.strategy}"
    if study.learner is not None:
        rule = study.learner
        yield (
            f"Learner:    slope over the sessions above 0, one-sided p < {rule.alpha:g}; or above "
            f"the baseline in more than {100 * rule.share:g} % of the last {rule.last} sessions"
        )
