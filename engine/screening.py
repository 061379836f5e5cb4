"""The statement everyone reads, and the questions before somebody sits down.

The questions and the rule are data. The answers are yes or no, never free text: they go into the
recording as one event, and what must not be in a file is never asked.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.text import Text

from engine.config import Format, Strict, YesNo, read, validate
from engine.errors import InputError, Problem, SafetyStop, YamlError

__all__ = [
    "EVERY_SESSION",
    "QUESTIONS",
    "STATEMENT",
    "VERSION",
    "ConsoleIO",
    "Question",
    "Screening",
    "TerminalIO",
    "ask",
    "due",
    "from_file",
    "judge",
    "require",
]

STATEMENT = (
    "Research and wellness software. Not a medical device; not for diagnosis or treatment; "
    "not cleared or approved by any regulator. Clinicians use it under their own responsibility "
    "and local law."
)
VERSION = 1  # of the wording below; stored with the answers
_AGAIN_AFTER = 5  # sessions


@dataclass(frozen=True, slots=True)
class Question:
    """One question; a yes is the concern.

    Parameters
    ----------
    key : str
        Name of the answer in files and recordings.
    kind : {"block", "warn"}
        Whether a yes forbids the session or is only noted.
    asks : str
        Put to the person, or answered by the clinician for them.
    unless : str
        A second question, asked after a yes: a yes to this one lifts the block. Its answer is
        called ``<key>_cleared``. Empty: nothing lifts it.
    today : bool
        It is about this day, so an old answer says nothing.
    """

    key: str
    kind: Literal["block", "warn"]
    asks: str
    unless: str = ""
    today: bool = False


QUESTIONS = (
    Question(
        "seizure",
        "block",
        "Has this person ever had a seizure, fits or epilepsy, or been upset by flickering light?",
        "Has a physician cleared this person, in writing, for training with moving pictures?",
    ),
    Question(
        "psychosis_mania",
        "block",
        "Is there, or was there recently, a psychosis or a mania?",
    ),
    Question(
        "suicidality",
        "block",
        "Is this person thinking of ending their life, or in an acute crisis?",
        today=True,
    ),
    Question(
        "intoxication",
        "block",
        "Has this person taken alcohol, drugs or a psychedelic today?",
        today=True,
    ),
    Question(
        "under_age",
        "block",
        "Is this person below the age of consent where you are?",
        "Do you have the written consent of a parent or guardian, and this person's own yes?",
    ),
    Question(
        "head_injury",
        "block",
        "Has there been a head injury in the last weeks, or is the skin hurt where electrodes go?",
        today=True,
    ),
    Question(
        "implant",
        "block",
        "Does this person carry an implanted stimulator (brain, nerve, heart)?",
        "Has the physician who looks after the implant cleared this training, in writing?",
    ),
    Question(
        "medication",
        "warn",
        "Has medication changed in the last four weeks, or does any of it alter sleep?",
    ),
    Question(
        "dissociation",
        "warn",
        "Does this person at times feel unreal, far away, or lose stretches of time?",
    ),
    Question("migraine", "warn", "Does this person have migraines?"),
)
EVERY_SESSION = tuple(q for q in QUESTIONS if q.today)
_WORDS = {
    "seizure": "seizures or flicker",
    "psychosis_mania": "psychosis or mania",
    "suicidality": "a crisis",
    "intoxication": "alcohol, drugs or a psychedelic",
    "under_age": "age",
    "head_injury": "head injury or hurt skin",
    "implant": "an implant",
}
"""What a blocking answer was about, as it may stand on a screen beside the person."""


@dataclass(frozen=True, slots=True)
class Screening:
    """The answers and what follows from them.

    `blocked` and `warned` hold the keys of the questions whose yes stands; `full` says whether
    every question was asked (else only those about today).
    """

    answers: Mapping[str, bool]
    blocked: tuple[str, ...]
    warned: tuple[str, ...]
    full: bool = True

    @property
    def data(self) -> dict[str, Any]:
        """The data of the session's ``screening`` event: keys and yes or no, no free text."""
        return {
            "version": VERSION,
            "full": self.full,
            "answers": dict(self.answers),
            "blocked": list(self.blocked),
            "warned": list(self.warned),
        }


class ConsoleIO(Protocol):
    """Someone who can be told something and asked something."""

    def say(self, text: str) -> None:
        """Show a text."""
        ...

    def yes_no(self, question: str) -> bool:
        """Return the answer to a question; asks until there is one."""
        ...


def judge(answers: Mapping[str, bool], questions: Sequence[Question] = QUESTIONS) -> Screening:
    """Return what follows from the answers.

    Every question of `questions` must be answered; answers to others count as well.

    Raises
    ------
    InputError
        A question was not answered, or an answer has no question.
    """
    missing = [q.key for q in questions if q.key not in answers]
    if missing:
        raise InputError(
            f"Screening answers are missing: {', '.join(missing)}.",
            "Answer each with yes or no; nothing is assumed.",
        )
    known = dict.fromkeys([*questions, *QUESTIONS])
    cleared = {f"{q.key}_cleared" for q in known if q.unless}
    unknown = [k for k in answers if k not in cleared and k not in {q.key for q in known}]
    if unknown:
        raise InputError(
            f"There is no screening question called {', '.join(unknown)}.",
            f"The questions are {', '.join(q.key for q in known)}.",
        )
    stands = [
        q for q in known if answers.get(q.key, False) and not answers.get(f"{q.key}_cleared", False)
    ]
    return Screening(
        dict(answers),
        tuple(q.key for q in stands if q.kind == "block"),
        tuple(q.key for q in stands if q.kind == "warn"),
        full=all(q.key in answers for q in QUESTIONS),
    )


def ask(io: ConsoleIO, questions: Sequence[Question] = QUESTIONS) -> Screening:
    """Show the statement, ask the questions and return the answers with what follows.

    `EVERY_SESSION` are the questions for a session at which the full screening is not due.
    """
    io.say(STATEMENT)
    io.say("Before the session: please answer for the person who will sit in the chair.")
    answers: dict[str, bool] = {}
    for question in questions:
        answers[question.key] = io.yes_no(question.asks)
        if answers[question.key] and question.unless:
            answers[f"{question.key}_cleared"] = io.yes_no(question.unless)
    return judge(answers, questions)


def require(screening: Screening) -> None:
    """Let a session pass, or end it kindly.

    Raises
    ------
    SafetyStop
        An answer forbids the session today.
    """
    if not screening.blocked:
        return
    fix = (
        "Please talk it over with the person and with the clinician in charge. Nothing was "
        "recorded, and a later day may be right."
    )
    if "suicidality" in screening.blocked:
        fix = (
            "Please stay with the person and follow your crisis plan now, or call the emergency "
            "number. Training can wait."
        )
    raise SafetyStop(
        "Thank you for the honest answers. No training today: something was answered that makes "
        f"it unwise ({', '.join(_WORDS[k] for k in screening.blocked)}).",
        fix,
    )


def due(history: Sequence[bool]) -> bool:
    """Return whether the full screening is due.

    Parameters
    ----------
    history : sequence of bool
        One per earlier session of this person, oldest first: whether the full screening was
        passed at that session.
    """
    return not any(history[1 - _AGAIN_AFTER :])


# ---------------------------------------------------------------- from a terminal or a file


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
        self._console.print()

    def yes_no(self, question: str) -> bool:
        """Return the answer; asks again until it is y or n."""
        while True:
            try:
                answer = self._console.input(Text(f"{question} [y/n] ")).strip().lower()
            except EOFError:
                raise _nobody() from None
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")
            self._console.print(Text("Please answer y or n."))


def _nobody() -> InputError:
    return InputError(
        "The screening questions need somebody at the keyboard.",
        "Run it in a terminal, or give the answers with --screening-file FILE.",
    )


class _Answers(Strict):
    format: Format
    answers: dict[str, YesNo]


def from_file(path: Path, questions: Sequence[Question] = QUESTIONS) -> Screening:
    """Read the answers from YAML or JSON: ``format: 1`` and ``answers: {seizure: no, ...}``.

    Raises
    ------
    YamlError
        The file is not as it should be; with file:line:column.
    FileError
        It cannot be read.
    """
    source = read(path)
    answers = validate(_Answers, source).answers
    try:
        return judge(answers, questions)
    except InputError as error:
        written = source.root.get("answers", source.root)
        problem = Problem(source.file, written.at.line, written.at.column, error.what, error.fix)
        raise YamlError((problem,)) from None
