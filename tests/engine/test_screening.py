"""The statement, the questions and what follows from the answers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from engine.errors import FileError, InputError, SafetyStop, YamlError
from engine.screening import (
    EVERY_SESSION,
    QUESTIONS,
    STATEMENT,
    TerminalIO,
    ask,
    due,
    from_file,
    judge,
    require,
)

ALL_NO = {q.key: False for q in QUESTIONS}
BLOCKS = [q for q in QUESTIONS if q.kind == "block"]
WARNS = [q for q in QUESTIONS if q.kind == "warn"]


class Scripted:
    """Answers yes to the questions whose text is given, and keeps what was said."""

    def __init__(self, *yes: str) -> None:
        self.yes = yes
        self.said: list[str] = []
        self.asked: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def yes_no(self, question: str) -> bool:
        self.asked.append(question)
        return question in self.yes


def test_the_statement_is_the_agreed_one_and_comes_first() -> None:
    assert STATEMENT == (
        "Research and wellness software. Not a medical device; not for diagnosis or treatment; "
        "not cleared or approved by any regulator. Clinicians use it under their own "
        "responsibility and local law."
    )
    io_ = Scripted()
    ask(io_)
    assert io_.said[0] == STATEMENT


def test_all_no_passes() -> None:
    screening = ask(Scripted())
    assert (screening.blocked, screening.warned, screening.full) == ((), (), True)
    require(screening)


@pytest.mark.parametrize("question", BLOCKS, ids=lambda q: q.key)
def test_a_blocking_yes_ends_the_session_kindly(question: object) -> None:
    screening = judge({**ALL_NO, question.key: True})  # type: ignore[attr-defined]
    assert screening.blocked == (question.key,)  # type: ignore[attr-defined]
    with pytest.raises(SafetyStop) as stop:
        require(screening)
    assert stop.value.exit_code == 4
    assert stop.value.fix
    assert "Thank you" in stop.value.what


@pytest.mark.parametrize("question", WARNS, ids=lambda q: q.key)
def test_a_warning_yes_is_noted_and_lets_pass(question: object) -> None:
    screening = judge({**ALL_NO, question.key: True})  # type: ignore[attr-defined]
    assert screening.warned == (question.key,)  # type: ignore[attr-defined]
    require(screening)


@pytest.mark.parametrize("question", [q for q in BLOCKS if q.unless], ids=lambda q: q.key)
def test_written_clearance_lifts_a_block_where_there_is_such_a_thing(question: object) -> None:
    io_ = Scripted(question.asks, question.unless)  # type: ignore[attr-defined]
    screening = ask(io_)
    assert screening.blocked == ()
    assert screening.answers[f"{question.key}_cleared"]  # type: ignore[attr-defined]
    io_ = Scripted(question.asks)  # type: ignore[attr-defined]
    assert ask(io_).blocked == (question.key,)  # type: ignore[attr-defined]


def test_clearance_is_asked_only_after_a_yes() -> None:
    io_ = Scripted()
    ask(io_)
    assert io_.asked == [q.asks for q in QUESTIONS]


def test_crisis_is_answered_first() -> None:
    with pytest.raises(SafetyStop) as stop:
        require(judge({**ALL_NO, "suicidality": True, "seizure": True}))
    assert "stay with the person" in stop.value.fix


def test_science_7_3_every_reason_to_block_or_warn_is_asked() -> None:
    assert {q.key for q in BLOCKS} == {
        "seizure",
        "psychosis_mania",
        "suicidality",
        "intoxication",
        "under_age",
        "head_injury",
        "implant",
    }
    assert {q.key for q in WARNS} == {"medication", "dissociation", "migraine"}
    assert "psychedelic" in next(q.asks for q in QUESTIONS if q.key == "intoxication")
    assert {q.key for q in EVERY_SESSION} == {"suicidality", "intoxication", "head_injury"}


def test_short_screening_says_that_it_is_short() -> None:
    screening = ask(Scripted(), EVERY_SESSION)
    assert not screening.full
    assert set(screening.answers) == {q.key for q in EVERY_SESSION}


def test_answers_beyond_those_asked_count_as_well() -> None:
    screening = judge({**ALL_NO, "seizure": True}, EVERY_SESSION)
    assert screening.full
    assert screening.blocked == ("seizure",)


def test_the_event_holds_yes_and_no_and_nothing_else() -> None:
    data = judge({**ALL_NO, "migraine": True}).data
    assert json.loads(json.dumps(data)) == data
    assert set(data["answers"].values()) <= {True, False}
    assert data["warned"] == ["migraine"]


def test_nothing_is_assumed() -> None:
    with pytest.raises(InputError, match="seizure"):
        judge({k: v for k, v in ALL_NO.items() if k != "seizure"})
    with pytest.raises(InputError, match="favourite_colour"):
        judge({**ALL_NO, "favourite_colour": True})


def test_due_before_the_first_session_and_every_five() -> None:
    history: list[bool] = []
    asked = []
    for _ in range(12):
        asked.append(due(history))
        history.append(asked[-1])
    assert asked == [True, *[False] * 4, True, *[False] * 4, True, False]
    assert due([False, False])  # never asked in full


def test_answers_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    lines = [f"  {k}: {'yes' if k == 'migraine' else 'no'}" for k in ALL_NO]
    path.write_text("\n".join(["format: 1", "answers:", *lines]), encoding="utf-8")
    assert from_file(path).warned == ("migraine",)
    path.write_text(json.dumps({"format": 1, "answers": ALL_NO}), encoding="utf-8")
    assert from_file(path).blocked == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format: 1\nanswers: {seizure: no}", "missing"),
        ("format: 1\nanswers: {seizure: perhaps}", "perhaps"),
        ("format: 1\n", "answers"),
        ("format: 1\nanswers: no\n", "answers"),
        ("", "empty"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(YamlError, match=said) as error:
        from_file(path)
    assert str(error.value).startswith(f"{path}:")
    with pytest.raises(FileError):
        from_file(tmp_path / "none.yaml")


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_asks_until_there_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Keyboard("perhaps\n\nNO\nYes\n"))
    io_ = TerminalIO()
    assert not io_.yes_no("Is it [red]?")
    assert io_.yes_no("And now?")
    with pytest.raises(InputError, match="keyboard"):
        io_.yes_no("The input has ended?")
    out = capsys.readouterr().out
    assert out.count("Please answer y or n.") == 2
    assert "Is it [red]? [y/n]" in out


def test_without_a_keyboard_it_says_how_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(InputError) as error:
        TerminalIO()
    assert "--screening-file" in error.value.fix
