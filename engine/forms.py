"""Short questionnaires around a session: asked, checked, and kept beside its recording.

Forms are data in our own words. What was answered is stored with the version of the wording, so
that later wordings are told apart. Answers may hold free text; therefore they never go into the
recording, but into a file of their own beside it, ``<stem>.forms.json``.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from rich.console import Console
from rich.text import Text

from engine.clock import wall
from engine.config import Format, Map, Nothing, Source, Strict, Whole, read, validate
from engine.errors import FileError, InputError, Problem, YamlError
from engine.frames import Float
from engine.units import described, is_flag

__all__ = [
    "FORMS",
    "PARTS",
    "Field",
    "Filled",
    "Form",
    "FormIO",
    "TerminalIO",
    "add_form",
    "ask",
    "fill",
    "form_named",
    "forms_path",
    "from_file",
    "read_forms",
    "z_scores",
]

FORMAT = 1
SUFFIX = ".forms.json"
LONGEST = 2000  # characters of one free text

Part = Literal["participant", "operator"]
PARTS: tuple[Part, ...] = ("participant", "operator")
Answer = int | str | None


# ---------------------------------------------------------------- the forms


@dataclass(frozen=True, slots=True)
class Field:
    """One question of a form.

    Parameters
    ----------
    key : str
        Name of the answer in files.
    kind : {"scale", "choice", "text"}
        A whole number from `low` to `high`, one of `choices`, or free text that may stay empty.
    asks : str
        As it is put.
    low, high : int
        Ends of a scale.
    ends : tuple of str
        What the ends of a scale mean.
    choices : tuple of str
        What can be chosen, as it stands in files.
    part : {"participant", "operator"}
        Who answers.
    unless : tuple of str
        Key of an earlier choice and the answer after which this is not asked.
    """

    key: str
    kind: Literal["scale", "choice", "text"]
    asks: str
    low: int = 0
    high: int = 10
    ends: tuple[str, str] = ("", "")
    choices: tuple[str, ...] = ()
    part: Part = "participant"
    unless: tuple[str, str] = ("", "")

    @property
    def allowed(self) -> str:
        """What may be answered, in words."""
        if self.kind == "choice":
            return " or ".join(c.replace("_", " ") for c in self.choices)
        if self.kind == "text":
            return "free text, or nothing"
        said = [f"{n} {word}".strip() for n, word in zip((self.low, self.high), self.ends,
                                                         strict=True)]  # fmt: skip
        return " to ".join(said)


@dataclass(frozen=True, slots=True)
class Form:
    """A questionnaire: its name, the version of its wording, and its questions."""

    name: str
    version: int
    title: str
    says: str
    fields: tuple[Field, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Who answers something of it."""
        return tuple(p for p in PARTS if any(f.part == p for f in self.fields))


def _nine(key: str, asks: str, low: str, high: str) -> Field:
    return Field(key, "scale", asks, 1, 9, (low, high))


_GUESS = ("training", "placebo", "do_not_know")


def _guess(part: Part, whose: str, told: str) -> tuple[Field, ...]:
    return (
        Field(
            f"{part}_guess",
            "choice",
            f"{told}What do you think {whose} feedback was: real training, or a placebo?",
            choices=_GUESS,
            part=part,
        ),
        Field(
            f"{part}_confidence",
            "scale",
            "How sure are you of that?",
            ends=("(a pure guess)", "(certain)"),
            part=part,
            unless=(f"{part}_guess", "do_not_know"),
        ),
        Field(f"{part}_why", "text", "What made you think so?", part=part),
    )


FORMS: Mapping[str, Form] = {
    form.name: form
    for form in (
        # Structure and scales after Devilly & Borkovec 2000, J Behav Ther Exp Psychiatry
        # 31:73-86: three things thought make up credibility; one thought and two felt, expectancy.
        Form(
            "expectancy",
            1,
            "What you expect of the training",
            "First go by what you think, then by what you feel; the two may differ. There is no "
            "right answer.",
            (
                _nine(
                    "sensible",
                    "Thinking about what you were told: how much sense does this training make "
                    "to you?",
                    "(none)",
                    "(very much)",
                ),
                _nine(
                    "useful",
                    "Thinking about it: how likely is this training to help with what brought you "
                    "here?",
                    "(not at all)",
                    "(very)",
                ),
                _nine(
                    "recommend",
                    "How readily would you suggest this training to a friend who has the same "
                    "concern?",
                    "(not at all)",
                    "(very readily)",
                ),
                Field(
                    "think_percent",
                    "scale",
                    "How much better do you think things will be when the training is over, in "
                    "percent?",
                    0,
                    100,
                ),
                _nine(
                    "feel_helps",
                    "Now by feeling alone: how strongly do you feel that this training will help "
                    "you?",
                    "(not at all)",
                    "(very)",
                ),
                Field(
                    "feel_percent",
                    "scale",
                    "How much better do you feel things will be when the training is over, in "
                    "percent?",
                    0,
                    100,
                ),
            ),
        ),
        Form(
            "blinding",
            1,
            "What you think the feedback was",
            "Please answer without asking each other. Nobody is told whether a guess is right "
            "before the study is over.",
            (
                *_guess("participant", "your", "For the person who trained. "),
                *_guess("operator", "this person's", "For the operator. "),
            ),
        ),
        Form(
            "before",
            1,
            "Before the session",
            "How is it right now?",
            (
                Field(
                    "motivation",
                    "scale",
                    "How keen are you to train today?",
                    ends=("(not at all)", "(very)"),
                ),
                Field(
                    "fatigue", "scale", "How tired are you?", ends=("(wide awake)", "(exhausted)")
                ),
                Field("mood", "scale", "How is your mood?", ends=("(very low)", "(very good)")),
            ),
        ),
        Form(
            "strategy",
            1,
            "What you did",
            "In your own words. There is no right way.",
            (Field("strategy", "text", "What did you do, or try, to move the feedback?"),),
        ),
    )
}
_CREDIBILITY = ("sensible", "useful", "recommend")
_EXPECTANCY = ("think_percent", "feel_helps", "feel_percent")


def form_named(name: str) -> Form:
    """Return a form.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if name not in FORMS:
        raise InputError(f"There is no form called {name}.", f"Forms: {', '.join(FORMS)}.")
    return FORMS[name]


# ---------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as it was answered.

    Parameters
    ----------
    form : str
        Name of the form.
    version : int
        Of its wording.
    asked : str
        When, ISO 8601.
    answers : mapping
        By key: a whole number, the chosen word, or a text. What was not asked is not there.
    scores : mapping
        What follows from the answers; see `fill`.
    block : int or None
        The training block that it is about.
    """

    form: str
    version: int
    asked: str
    answers: Mapping[str, Answer]
    scores: Mapping[str, float] = field(default_factory=dict)
    block: int | None = None

    @property
    def data(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "form": self.form,
            "version": self.version,
            "asked": self.asked,
            "block": self.block,
            "answers": dict(self.answers),
            "scores": dict(self.scores),
        }


def fill(
    form: Form,
    answers: Mapping[str, Any],
    *,
    parts: Sequence[Part] = PARTS,
    asked: str | None = None,
    block: int | None = None,
) -> Filled:
    """Return a form as it was answered.

    Parameters
    ----------
    form : Form
    answers : mapping
        By key of the field.
    parts : sequence of {"participant", "operator"}
        Whose fields are answered.
    asked : str, optional
        When, ISO 8601; now by default.
    block : int, optional
        The training block that it is about.

    Notes
    -----
    The form `expectancy` is scored for one person: each item is moved to 0..1 by the ends of its
    scale; ``credibility`` is the mean of the first three, ``expectancy`` that of the last three
    (Devilly & Borkovec 2000). Over a group, `z_scores` gives the scores of the original.

    Raises
    ------
    InputError
        An answer is missing, is not possible, or has no question.
    """
    wrong = _wrong(form, answers, parts)
    if wrong:
        key, what, allowed = wrong[0]
        raise InputError(f"{key}: {what}." if key else f"{what}.", f"Allowed: {allowed}.")
    if block is not None and block < 1:
        raise InputError(f"{block} is no number of a block.", "Count from 1.")
    kept = {f.key: _kept(answers.get(f.key)) for f in _asked(form, answers, parts)}
    when = wall().isoformat(timespec="seconds") if asked is None else asked
    return Filled(form.name, form.version, when, kept, _scores(form, kept), block)


def _kept(value: Any) -> Answer:
    """Return an answer without the place where it was written."""
    if value is None or isinstance(value, Nothing):
        return None
    return int(value) if isinstance(value, int) else str(value).strip() or None


def _asked(form: Form, answers: Mapping[str, Any], parts: Sequence[Part]) -> Iterator[Field]:
    """Yield the fields that are asked, given the answers to those before."""
    for f in form.fields:
        key, answer = f.unless
        if f.part in parts and not (key and answers.get(key) == answer):
            yield f


def _wrong(
    form: Form, answers: Mapping[str, Any], parts: Sequence[Part]
) -> list[tuple[str, str, str]]:
    """Return (key, what, allowed) of everything that is wrong with some answers."""
    asked = {f.key: f for f in _asked(form, answers, parts)}
    mine = [f.key for f in form.fields if f.part in parts]
    found = []
    for key in answers:
        if key not in mine:
            what = f"`{key}` is no question of the form {form.name}"
            found.append((key, what, ", ".join(mine)))
        elif key not in asked:
            other, answer = next(f.unless for f in form.fields if f.key == key)
            what = f"`{key}` is not asked after `{other}: {answer}`"
            found.append((key, what, "leave it out"))
    for f in asked.values():
        if f.key not in answers and f.kind != "text":
            found.append(("", f"`{f.key}` is not answered", f.allowed))
        elif f.key in answers and (what := _mistake(f, answers[f.key])):
            found.append((f.key, what, f.allowed))
    return found


def _mistake(f: Field, value: Any) -> str:
    """Return what is wrong with one answer; nothing when it is possible."""
    if f.kind == "text":
        if value is None or isinstance(value, Nothing):
            return ""
        if not isinstance(value, str):
            return f"a text is wanted here, not {described(value)}"
        too_long = len(value) > LONGEST
        return f"the text has {len(value)} characters, {LONGEST} are possible" if too_long else ""
    if f.kind == "choice":
        return "" if value in f.choices else f"{described(value)} is not possible here"
    if is_flag(value) or not isinstance(value, int):
        return f"a whole number is wanted here, not {described(value)}"
    return "" if f.low <= value <= f.high else f"{int(value)} is outside the scale"


def _scores(form: Form, answers: Mapping[str, Answer]) -> dict[str, float]:
    if form.name != "expectancy":
        return {}
    share = {
        f.key: (answer - f.low) / (f.high - f.low)
        for f in form.fields
        if isinstance(answer := answers.get(f.key), int)
    }
    return {
        "credibility": statistics.fmean(share[k] for k in _CREDIBILITY),
        "expectancy": statistics.fmean(share[k] for k in _EXPECTANCY),
    }


def z_scores(filled: Sequence[Filled]) -> dict[str, Float]:
    """Return credibility and expectancy of everybody in a group, as in the original scoring.

    Parameters
    ----------
    filled : sequence of Filled
        The `expectancy` form, once for each person.

    Returns
    -------
    dict
        ``credibility`` and ``expectancy``, each an array of shape (n,): the mean over three items
        of :math:`(x - m) / s`, with the mean and the standard deviation (n - 1) of the item over
        the group. NaN for a scale of which an item did not vary, and for fewer than two people.

    References
    ----------
    Devilly & Borkovec 2000, J Behav Ther Exp Psychiatry 31:73-86.
    """
    out = {}
    for name, keys in (("credibility", _CREDIBILITY), ("expectancy", _EXPECTANCY)):
        x = np.array([[_number(f.answers.get(k)) for k in keys] for f in filled], dtype=np.float64)
        x = x.reshape(-1, len(keys))
        spread = x.std(axis=0, ddof=1) if len(x) > 1 else np.full(len(keys), math.nan)
        spread = np.where(spread > 0.0, spread, math.nan)
        out[name] = ((x - x.mean(axis=0)) / spread).mean(axis=1) if len(x) else np.zeros(0)
    return out


def _number(value: Answer) -> float:
    return float(value) if isinstance(value, int) else math.nan


# ---------------------------------------------------------------- asking


class FormIO(Protocol):
    """Someone who can be told something and asked for a line."""

    def say(self, text: str) -> None:
        """Show a text."""
        ...

    def line(self, question: str) -> str:
        """Return what is answered to a question; may be empty."""
        ...


class TerminalIO:
    """Asks in this terminal.

    Raises
    ------
    InputError
        There is nobody at the keyboard: no terminal, or the input ended.
    """

    def __init__(self, console: Console | None = None) -> None:
        if sys.stdin is None or not sys.stdin.isatty():
            raise _nobody()
        self._console = console or Console(highlight=False, markup=False, emoji=False)

    def say(self, text: str) -> None:
        """Show a text."""
        self._console.print(Text(text))

    def line(self, question: str) -> str:
        """Return one line."""
        try:
            return self._console.input(Text(f"{question} ")).strip()
        except EOFError:
            raise _nobody() from None


def _nobody() -> InputError:
    return InputError(
        "The questions need somebody at the keyboard.",
        "Run it in a terminal, or give the answers in a file with --answers FILE.",
    )


def ask(
    io: FormIO, form: Form, *, parts: Sequence[Part] = PARTS, block: int | None = None
) -> Filled:
    """Put the questions of a form and return the answers; parameters as in `fill`."""
    io.say(form.title)
    io.say(form.says)
    answers: dict[str, Answer] = {}
    for f in form.fields:
        key, answer = f.unless
        if f.part in parts and not (key and answers.get(key) == answer):
            answers[f.key] = _put(io, f)
    return fill(form, answers, parts=parts, block=block)


def _put(io: FormIO, f: Field) -> Answer:
    """Ask one question until the answer is possible."""
    question = f.asks if f.kind == "text" else f"{f.asks} [{f.allowed}]"
    while True:
        said = io.line(question)
        value: Answer = said
        if f.kind == "scale":
            digits = said.removesuffix("%").strip()
            # A short number only: what is longer is no answer, and slow to read.
            value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else ""
        elif f.kind == "choice":
            value = _chosen(f.choices, said)
        elif not said:
            return None
        if not _mistake(f, value):
            return value
        io.say(f"Please answer {f.allowed}.")


def _chosen(choices: Sequence[str], said: str) -> str:
    """Return the only choice that begins as what was said; nothing when there is none."""
    word = "_".join(said.lower().replace("'", "").split())
    found = [c for c in choices if word and c.startswith(word)]
    return found[0] if len(found) == 1 else ""


# ---------------------------------------------------------------- from a file


class _Answers(Strict):
    format: Format
    form: str | None = None
    block: Whole | None = None
    answers: dict[str, Any]


def from_file(path: Path, form: Form, *, parts: Sequence[Part] | None = None) -> Filled:
    """Read the answers from YAML or JSON: ``format: 1`` and ``answers: {mood: 7, ...}``.

    Parameters
    ----------
    path : Path
    form : Form
    parts : sequence of {"participant", "operator"}, optional
        Whose answers are there; by default everybody's of whom the file holds any.

    Raises
    ------
    YamlError
        The file is not as it should be; every mistake with file:line:column.
    FileError
        It cannot be read.
    """
    source = read(path)
    made = validate(_Answers, source)
    if made.form is not None and made.form != form.name:
        what = f"these are answers to the form {made.form}, not {form.name}"
        raise YamlError((source.problem(("form",), what, f"`form: {form.name}`"),))
    written = source.root["answers"]
    if parts is None:
        present = {f.part for f in form.fields if f.key in written}
        parts = [p for p in form.parts if p in present] or form.parts
    problems = [_problem(source, written, *wrong) for wrong in _wrong(form, written, parts)]
    if made.block is not None and made.block < 1:
        problems.append(source.problem(("block",), "blocks count from 1", "`block: 1`"))
    if problems:
        raise YamlError(tuple(sorted(problems, key=lambda p: (p.line, p.column))))
    return fill(form, written, parts=parts, block=made.block)


def _problem(source: Source, written: Map, key: str, what: str, allowed: str) -> Problem:
    loc = ("answers", key) if key in written else ("answers",)
    return source.problem(loc, what, allowed)


# ---------------------------------------------------------------- beside the recording


def forms_path(recording: Path) -> Path:
    """Return where the forms of a recording are kept."""
    recording = Path(recording)
    return recording.with_name(recording.stem + SUFFIX)


def read_forms(recording: Path) -> tuple[Filled, ...]:
    """Return the forms that were filled in about a recording, in order; none without a file.

    Raises
    ------
    FileError
        The file cannot be read, is damaged, or is of a newer format.
    """
    path = forms_path(recording)
    try:
        stored = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path} cannot be read: {error}.", _AWAY) from None
    found = stored.get("format") if isinstance(stored, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise FileError(
            f"{path} has format {found}; this Neuroloop reads up to format {FORMAT}.",
            "Install a newer Neuroloop.",
        )
    try:
        if found != FORMAT:
            raise ValueError("it has no format")
        return tuple(_filled(row) for row in stored["forms"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{path} is not what Neuroloop writes ({type(error).__name__}: {error})."
        raise FileError(what, _AWAY) from None


_AWAY = "Restore it from a copy, or move it away; nothing else depends on it."


def _filled(row: Mapping[str, Any]) -> Filled:
    answers = {str(k): v for k, v in row["answers"].items()}
    if not all(
        v is None or (isinstance(v, (int, str)) and not is_flag(v)) for v in answers.values()
    ):
        raise ValueError("an answer is neither a number nor a text")
    block = row.get("block")
    return Filled(
        str(row["form"]),
        int(row["version"]),
        str(row["asked"]),
        answers,
        {str(k): float(v) for k, v in row["scores"].items()},
        None if block is None else int(block),
    )


def add_form(recording: Path, filled: Filled) -> Path:
    """Add a filled form to those of a recording; the file is replaced whole or not at all.

    Returns
    -------
    Path
        The file with all forms of the recording.

    Raises
    ------
    FileError
        There is no such recording, what is there cannot be read, or nothing can be written.
    """
    recording = Path(recording)
    if not recording.is_file():
        raise FileError(f"There is no recording {recording}.", "Check the name.")
    path = forms_path(recording)
    rows = [f.data for f in (*read_forms(recording), filled)]
    text = json.dumps({"format": FORMAT, "forms": rows}, indent=1, ensure_ascii=False)
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        half.touch(mode=0o600)  # a person's words, like the recording
        with half.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Make the folder writable, then answer again.",
        ) from error
    return path
