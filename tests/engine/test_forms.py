"""The forms: what is asked, what may be answered, what follows, and where it is kept."""

from __future__ import annotations

import io
import json
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import FileError, InputError, YamlError
from engine.forms import (
    FORMS,
    LONGEST,
    Filled,
    TerminalIO,
    add_form,
    ask,
    fill,
    form_named,
    forms_path,
    from_file,
    read_forms,
    z_scores,
)

EXPECTANCY = {
    "sensible": 9,
    "useful": 5,
    "recommend": 1,
    "think_percent": 50,
    "feel_helps": 3,
    "feel_percent": 30,
}
BEFORE = {"motivation": 8, "fatigue": 2, "mood": 7}


class Lines:
    """Gives prepared answers and keeps what was said and asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.said: list[str] = []
        self.asked: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def line(self, question: str) -> str:
        self.asked.append(question)
        return self.answers.pop(0)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "answers.yaml"
    path.write_text(text, "utf-8")
    return path


# ---------------------------------------------------------------- the forms


def test_every_form_is_whole() -> None:
    assert list(FORMS) == ["expectancy", "blinding", "before", "strategy"]
    for form in FORMS.values():
        keys = [f.key for f in form.fields]
        assert len(set(keys)) == len(keys)
        for f in form.fields:
            assert f.asks.endswith("?")
            assert (f.kind == "choice") == bool(f.choices)
            if f.unless[0]:
                assert keys.index(f.unless[0]) < keys.index(f.key)


def test_expectancy_has_four_thoughts_and_two_feelings() -> None:
    asks = [f.asks for f in FORMS["expectancy"].fields]
    assert len(asks) == 6
    assert all("feel" not in a for a in asks[:4])
    assert all("feel" in a for a in asks[4:])


def test_unknown_form_names_the_others() -> None:
    with pytest.raises(InputError, match="no form called mood") as error:
        form_named("mood")
    assert "expectancy, blinding, before, strategy" in error.value.fix


# ---------------------------------------------------------------- scores


def test_one_person_is_scored_by_the_ends_of_the_scales() -> None:
    filled = fill(FORMS["expectancy"], EXPECTANCY)
    # (8/8 + 4/8 + 0/8) / 3 and (0.5 + 2/8 + 0.3) / 3
    assert filled.scores["credibility"] == pytest.approx(0.5)
    assert filled.scores["expectancy"] == pytest.approx(0.35)
    assert fill(FORMS["before"], BEFORE).scores == {}


def test_a_group_is_scored_in_standard_deviations() -> None:
    rows = [
        dict(zip(EXPECTANCY, values, strict=True))
        for values in ((1, 2, 3, 10, 4, 40), (3, 4, 3, 20, 5, 10), (5, 9, 6, 90, 6, 40))
    ]
    scores = z_scores([fill(FORMS["expectancy"], row) for row in rows])
    x = np.array([list(row.values()) for row in rows], dtype=float)
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    np.testing.assert_allclose(scores["credibility"], z[:, :3].mean(1))
    np.testing.assert_allclose(scores["expectancy"], z[:, 3:].mean(1))
    assert scores["credibility"].sum() == pytest.approx(0.0)


def test_no_spread_means_no_score_over_a_group() -> None:
    same = [fill(FORMS["expectancy"], EXPECTANCY) for _ in range(3)]
    assert np.isnan(z_scores(same)["credibility"]).all()
    assert np.isnan(z_scores(same[:1])["expectancy"]).all()
    assert z_scores([])["expectancy"].shape == (0,)


# ---------------------------------------------------------------- asking


def test_asks_until_the_answer_is_possible() -> None:
    lines = Lines("8", "eleven", "11", "-1", "", "2", "7")
    filled = ask(lines, FORMS["before"])
    assert filled.answers == BEFORE
    assert len(lines.asked) == 7
    assert lines.said[-1] == "Please answer 0 (wide awake) to 10 (exhausted)."
    assert (filled.form, filled.version) == ("before", 1)
    assert filled.asked.startswith("20")


def test_a_guess_may_be_begun_and_nobody_is_sure_of_not_knowing() -> None:
    lines = Lines("p", "6", "it felt random", "do not", "")
    filled = ask(lines, FORMS["blinding"])
    assert filled.answers == {
        "participant_guess": "placebo",
        "participant_confidence": 6,
        "participant_why": "it felt random",
        "operator_guess": "do_not_know",
        "operator_why": None,
    }


def test_one_part_alone_can_be_asked() -> None:
    filled = ask(Lines("Training", "10", ""), FORMS["blinding"], parts=["operator"])
    assert set(filled.answers) == {"operator_guess", "operator_confidence", "operator_why"}


def test_percent_may_be_written_as_such() -> None:
    filled = ask(Lines("5", "5", "5", "40 %", "5", "40%"), FORMS["expectancy"])
    assert (filled.answers["think_percent"], filled.answers["feel_percent"]) == (40, 40)


def test_a_strategy_belongs_to_a_block() -> None:
    assert ask(Lines("counted breaths"), FORMS["strategy"], block=3).block == 3
    with pytest.raises(InputError, match="no number of a block"):
        ask(Lines(""), FORMS["strategy"], block=0)


def test_without_a_keyboard_the_other_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("7\n"))
    with pytest.raises(InputError, match="somebody at the keyboard") as error:
        TerminalIO()
    assert "--answers FILE" in error.value.fix


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mood": 11}, "11 is outside the scale"),
        ({"mood": -1}, "-1 is outside the scale"),
        ({"mood": 5.5}, "a whole number is wanted"),
        ({"mood": True}, "a whole number is wanted"),
        ({"mood": "7"}, "a whole number is wanted"),
        ({"hunger": 3}, "`hunger` is no question of the form before"),
    ],
)
def test_impossible_answers(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        fill(FORMS["before"], {**BEFORE, **change})


def test_a_missing_answer_is_not_assumed() -> None:
    with pytest.raises(InputError, match="`mood` is not answered"):
        fill(FORMS["before"], {"motivation": 1, "fatigue": 2})


def test_long_texts_and_other_guesses() -> None:
    with pytest.raises(InputError, match=f"{LONGEST + 1} characters"):
        fill(FORMS["strategy"], {"strategy": "x" * (LONGEST + 1)})
    with pytest.raises(InputError, match="is not possible here"):
        fill(FORMS["blinding"], {"participant_guess": "maybe"}, parts=["participant"])
    answers = {"participant_guess": "do_not_know", "participant_confidence": 3}
    with pytest.raises(InputError, match="is not asked after"):
        fill(FORMS["blinding"], answers, parts=["participant"])


# ---------------------------------------------------------------- from a file


def test_answers_from_yaml_and_json(tmp_path: Path) -> None:
    yaml = "format: 1\nform: before\nanswers: {motivation: 8, fatigue: 2, mood: 7}\n"
    assert from_file(file(tmp_path, yaml), FORMS["before"]).answers == BEFORE
    text = json.dumps({"format": 1, "block": 2, "answers": {"strategy": "slow breath"}})
    filled = from_file(file(tmp_path, text), FORMS["strategy"])
    assert (filled.answers, filled.block) == ({"strategy": "slow breath"}, 2)
    assert all(type(v) in (int, str) for v in filled.answers.values())


def test_a_file_may_hold_one_part(tmp_path: Path) -> None:
    text = "format: 1\nanswers:\n  operator_guess: training\n  operator_confidence: 3\n"
    filled = from_file(file(tmp_path, text), FORMS["blinding"])
    assert filled.answers == {
        "operator_guess": "training",
        "operator_confidence": 3,
        "operator_why": None,
    }


def test_every_mistake_of_a_file_at_its_place(tmp_path: Path) -> None:
    text = "format: 1\nanswers:\n  motivation: 12\n  fatigue:\n  humour: 3\n"
    with pytest.raises(YamlError) as error:
        from_file(file(tmp_path, text), FORMS["before"])
    found = [(p.line, p.what) for p in error.value.problems]
    assert found[0] == (2, "`mood` is not answered")
    assert found[1] == (3, "12 is outside the scale")
    assert found[2][0] == 4
    assert found[3] == (5, "`humour` is no question of the form before")
    assert error.value.problems[1].allowed == "0 (not at all) to 10 (very)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("format: 2\nanswers: {}\n", "format 2"),
        ("format: 1\nform: strategy\nanswers: {mood: 1}\n", "answers to the form strategy"),
        ("format: 1\nanswers: 5\n", "a mapping is wanted"),
        ("format: 1\n", "`answers` is missing"),
        ("format: 1\nblock: 0\nanswers: {motivation: 8, fatigue: 2, mood: 7}\n", "count from 1"),
        ("format: 1\nanswer: {mood: 1}\n", "did you mean `answers`"),
    ],
)
def test_files_that_are_no_answers(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(YamlError, match=says):
        from_file(file(tmp_path, text), FORMS["before"])


# ---------------------------------------------------------------- beside the recording


def a_recording(tmp_path: Path) -> Path:
    path = tmp_path / "C-017.smr_up.xdf"
    path.write_bytes(b"XDF:")
    return path


def names(folder: Path) -> Iterable[str]:
    return sorted(p.name for p in folder.iterdir())


def test_forms_are_added_beside_the_recording(tmp_path: Path) -> None:
    recording = a_recording(tmp_path)
    assert read_forms(recording) == ()
    first = fill(FORMS["expectancy"], EXPECTANCY, asked="2026-03-01T09:00:00+01:00")
    second = fill(FORMS["strategy"], {"strategy": "ruhig bleiben, 気"}, block=1)
    path = add_form(recording, first)
    add_form(recording, second)
    assert path == forms_path(recording) == tmp_path / "C-017.smr_up.forms.json"
    assert read_forms(recording) == (first, second)
    assert names(tmp_path) == ["C-017.smr_up.forms.json", "C-017.smr_up.xdf"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_cannot_be_read_is_not_overwritten(tmp_path: Path) -> None:
    recording = a_recording(tmp_path)
    path = forms_path(recording)
    filled = fill(FORMS["before"], BEFORE)
    for text in ("{", "[]", '{"forms": []}', '{"format": 1}', '{"format": 1, "forms": [{}]}'):
        path.write_text(text, "utf-8")
        with pytest.raises(FileError, match=r"forms\.json") as error:
            add_form(recording, filled)
        assert "move it away" in error.value.fix
        assert path.read_text("utf-8") == text
    path.write_text('{"format": 9, "forms": []}', "utf-8")
    with pytest.raises(FileError, match="has format 9"):
        read_forms(recording)


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = a_recording(tmp_path)
    add_form(recording, fill(FORMS["before"], BEFORE))
    before = forms_path(recording).read_text("utf-8")

    def full(_self: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FileError, match="No space left"):
        add_form(recording, fill(FORMS["before"], BEFORE))
    assert forms_path(recording).read_text("utf-8") == before
    assert len(list(names(tmp_path))) == 2


def test_no_recording_no_form(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no recording"):
        add_form(tmp_path / "none.xdf", fill(FORMS["before"], BEFORE))


def test_filled_forms_are_frozen() -> None:
    filled = fill(FORMS["before"], BEFORE)
    assert isinstance(filled, Filled)
    with pytest.raises(AttributeError):
        filled.block = 1  # type: ignore[misc]
