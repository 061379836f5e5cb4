"""Study files: the example loads, mistakes are told in their place, the checklist is answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import resolved
from engine.errors import InputError, YamlError
from engine.study import (
    CONTROLS,
    CRED_NF,
    Arm,
    LearnerRule,
    LoadedStudy,
    Questions,
    Study,
    cred_nf,
    described_study,
    hints,
    load_study,
)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "study.yaml"
LEAST = """format: 1
name: a
protocol: tbr_down
sessions: 10
blinding: double
arms:
  - {name: training, control: real}
  - {name: placebo, control: replay_other, donors: donors}
"""


def loaded(text: str, folder: Path) -> LoadedStudy:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def test_the_example_and_its_checklist() -> None:
    example = load_study(EXAMPLE)
    assert example.study.stratum_names == (
        "age=child;site=north",
        "age=child;site=south",
        "age=adult;site=north",
        "age=adult;site=south",
    )
    assert hints(example.study) == ()
    answers = cred_nf(example.study)
    assert list(answers) == list(CRED_NF)
    assert None not in answers.values()
    assert answers["2a"] == "training (real), placebo (replay_other)"
    assert (answers["2b"], answers["2c-i"]) == ("double", "yes")
    assert example.protocol == "tbr_down"
    assert example.donors(example.study.arms[1]) == EXAMPLE.parent / "donors"
    assert example.donors(example.study.arms[0]) is None
    text = "\n".join(described_study(example))
    for words in ("permuted blocks of 4 or 6", "10 sessions", "neither participants nor operators"):
        assert words in text


def test_least_study_and_its_defaults(tmp_path: Path) -> None:
    study = loaded(LEAST, tmp_path).study
    assert (study.ratio, study.blocks) == (2, (4, 6))
    assert study.stratum_names == ("all",)
    assert study.learner is None
    assert study.raters_blind is None
    answers = cred_nf(study)
    assert {k for k, v in answers.items() if v is not None} == {"2a", "2b"}
    assert Study.model_validate(json.loads(json.dumps(resolved(study)))) == study


def test_weights_make_longer_blocks(tmp_path: Path) -> None:
    text = LEAST.replace("control: real", "control: real, weight: 2")
    assert loaded(text, tmp_path).study.blocks == (6, 9)


def test_a_protocol_beside_the_study_is_found_from_there(tmp_path: Path) -> None:
    text = LEAST.replace("tbr_down", "mine.yaml")
    assert loaded(text, tmp_path).protocol == tmp_path / "mine.yaml"


def test_when_forms_are_due(tmp_path: Path) -> None:
    study = loaded(LEAST + "questions: {expectancy: [1], blinding: [1, last]}\n", tmp_path).study
    due = [s for s in range(1, 11) if study.questions.due("blinding", s, study.sessions)]
    assert due == [1, 10]
    assert not study.questions.due("expectancy", 2, study.sessions)


def test_an_arm_by_its_name(tmp_path: Path) -> None:
    study = loaded(LEAST, tmp_path).study
    assert study.arm("placebo").control == "replay_other"
    with pytest.raises(InputError, match="no arm 'sham'"):
        study.arm("sham")


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("format: 1", "format: 9", "1:9", "up to format 1"),
        ("name: a\n", "name: a b\n", "2:7", "1-40 letters"),
        ("name: a\n", "", "1:1", "`name` is missing"),
        ("protocol: tbr_down\n", "", "1:1", "`protocol` is missing"),
        ("tbr_down", "http://x/y", "3:11", "no protocol"),
        ("sessions: 10", "sessions: ten", "4:11", "whole number"),
        ("sessions: 10", "sessions: 0", "4:11", "from 1 to 500"),
        ("sessions: 10", "session: 10", "4:1", "did you mean `sessions`"),
        ("blinding: double", "blinding: triple", "5:11", "'none', 'single' or 'double'"),
        ("blinding: double", "blinding: double\nraters_blind: maybe", "6:15", "`yes` or `no`"),
        ("control: real", "control: reel", "7:31", "known: real, yoked"),
        ("control: real", "control: real, donors: d", "7:45", "does not belong"),
        ("control: real", "control: real, weight: 0", "7:45", "from 1 to 20"),
        ("control: real", "control: real, weight: 1.5", "7:45", "whole number"),
        ("control: real", "control: yoked", "7:5", "`donors` is missing"),
        ("control: real", "control: other_site", "7:5", "`sites` is missing"),
        ("name: training", "name: Placebo", "8:12", "already"),
        ("donors: donors", "donors: 'http://x'", "8:52", "no folder"),
        ("arms:", "block_sizes: [4, 5]\narms:", "6:18", "multiples of 2"),
        ("arms:", "block_sizes: [4, 4]\narms:", "6:1", "listed twice"),
        ("arms:", "block_sizes: []\narms:", "6:1", "no block size"),
        ("arms:", "block_sizes: [400]\narms:", "6:1", "from 1 to 120"),
        ("arms:", "strata: {age: [child]}\narms:", "6:10", "fewer than two levels"),
        ("arms:", "strata: {age: [child, 'a;b']}\narms:", "6:10", "as a stratum"),
        ("arms:", "questions: {blinding: [11]}\narms:", "6:24", "has 10"),
        ("arms:", "questions: {blinding: [first]}\narms:", "6:13", "`[1, last]`"),
        ("arms:", "questions: {strategy: always}\narms:", "6:23", "every block"),
        ("arms:", "learner: {alpha: 0.05}\narms:", "6:18", "has no unit"),
        ("arms:", "learner: {alpha: 80 %}\narms:", "6:18", "50 %"),
        ("arms:", "learner: {last: 11}\narms:", "6:17", "at most 10"),
        ("arms:", "learner: {metric: luck}\narms:", "6:19", "session_slope"),
        ("arms:", "title: ''\narms:", "6:8", "empty"),
    ],
)
def test_one_mistake_one_problem(
    old: str, new: str, place: str, words: str, tmp_path: Path
) -> None:
    assert old in LEAST
    with pytest.raises(YamlError) as caught:
        loaded(LEAST.replace(old, new, 1), tmp_path)
    (problem,) = caught.value.problems
    assert words in str(problem)
    assert str(problem).startswith(f"{tmp_path / 'study.yaml'}:{place}: ")


def test_a_study_without_arms_is_none(tmp_path: Path) -> None:
    text = LEAST[: LEAST.index("arms:")] + "arms: []\n"
    with pytest.raises(YamlError, match="there are no arms"):
        loaded(text, tmp_path)


def test_one_arm_cannot_be_blind(tmp_path: Path) -> None:
    text = LEAST[: LEAST.index("  - {name: placebo")]
    with pytest.raises(YamlError, match="nothing to be blind to"):
        loaded(text, tmp_path)
    assert len(loaded(text.replace("double", "none"), tmp_path).study.arms) == 1


def test_too_many_strata(tmp_path: Path) -> None:
    levels = ", ".join(f"l{i}" for i in range(30))
    text = LEAST + f"strata:\n  a: [{levels}]\n  b: [{levels}]\n"
    with pytest.raises(YamlError, match="900 combinations"):
        loaded(text, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("control: real", "control: no_feedback", "people see"),
        ("control: real", "control: inverse", "ethics"),
        ("arms:", "block_sizes: [4]\narms:", "two block sizes"),
        ("arms:", "block_sizes: [2, 4]\narms:", "gives its last place away"),
        ("format: 1", "format: 1", "how far the study stayed blind"),
    ],
)
def test_what_deserves_a_second_thought(old: str, new: str, words: str, tmp_path: Path) -> None:
    study = loaded(LEAST.replace(old, new, 1), tmp_path).study
    assert any(words in hint for hint in hints(study))


def test_controls_are_those_of_the_taxonomy() -> None:
    assert set(CONTROLS) == {
        "real", "yoked", "replay_own", "replay_other", "inverse", "random_band", "other_site",
        "noise", "no_feedback", "treatment_as_usual", "active_other",
    }  # fmt: skip
    assert [c for c in CONTROLS if not CONTROLS[c].here] == ["treatment_as_usual", "active_other"]


def test_every_key_and_control_is_explained() -> None:
    text = (ROOT / "docs" / "studies.md").read_text("utf-8")
    for model in (Study, Arm, Questions, LearnerRule):
        for key in model.yaml_keys():
            assert f"`{key}`" in text, key
    for control in CONTROLS:
        assert f"`{control}`" in text, control


def test_the_schema_file_is_up_to_date() -> None:
    from protocols.grammar import written

    stored = json.loads((ROOT / "configs" / "schema" / "study.schema.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(written(Study))), (
        "write json.dumps(protocols.grammar.written(Study), indent=2) into the schema file"
    )


def test_the_example_names_its_schema() -> None:
    first = EXAMPLE.read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../../configs/schema/study.schema.json"
    assert (EXAMPLE.parent / "../../configs/schema/study.schema.json").exists()
