"""The shipped protocols: honest, loadable, and the same again from a recording's header."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.config import resolved
from engine.features import FEATURES
from protocols.grammar import schema
from protocols.load import library, load
from protocols.model import Protocol

ROOT = Path(__file__).parents[2]
NAMES = library()


def test_the_four_protocols() -> None:
    assert NAMES == ("alpha_up_ec", "faa", "smr_up", "tbr_down")


@pytest.mark.parametrize("name", NAMES)
def test_name_file_and_first_line_agree(name: str) -> None:
    loaded = load(name, FEATURES)
    assert loaded.protocol.name == name
    assert loaded.text.startswith(
        "# yaml-language-server: $schema=../schema/protocol.schema.json\n"
    )


@pytest.mark.parametrize("name", NAMES)
def test_resolved_through_json_builds_the_same_protocol(name: str) -> None:
    protocol = load(name, FEATURES).protocol
    again = Protocol.model_validate(json.loads(json.dumps(resolved(protocol))))
    assert again == protocol
    assert resolved(again) == resolved(protocol)


@pytest.mark.parametrize("name", NAMES)
def test_evidence_and_cautions_are_there(name: str) -> None:
    protocol = load(name, FEATURES).protocol
    assert len(protocol.evidence.summary) > 100
    assert protocol.evidence.refs
    assert protocol.cautions
    assert not re.search(r"\b(cures?|proven|treats)\b", protocol.evidence.summary)


@pytest.mark.parametrize("name", NAMES)
def test_session_has_training_transfer_and_a_rest_at_the_end(name: str) -> None:
    steps = load(name, FEATURES).protocol.session
    assert steps[0].kind == "baseline"
    assert [s.kind for s in steps].count("train") == 6
    assert [s.kind for s in steps].count("transfer") == 1
    assert (steps[-1].kind, steps[-1].name) == ("rest", "post")


@pytest.mark.parametrize("name", NAMES)
def test_muscle_is_always_watched(name: str) -> None:
    assert load(name, FEATURES).protocol.gates.muscle.on


def test_grades_follow_the_record() -> None:
    grades = {n: load(n, FEATURES).protocol.evidence.grade for n in NAMES}
    assert grades == {"alpha_up_ec": "C+", "faa": "C+", "smr_up": "B", "tbr_down": "B-"}


def test_tbr_says_both_sentences_and_warns_of_diagnosis() -> None:
    protocol = load("tbr_down", FEATURES).protocol
    assert "both arms" in protocol.evidence.summary
    assert "standard protocols" in protocol.evidence.summary
    assert any("diagnose" in c for c in protocol.cautions)


def test_the_protocols_as_agreed() -> None:
    smr, tbr, alpha, faa = (
        load(n, FEATURES).protocol for n in ("smr_up", "tbr_down", "alpha_up_ec", "faa")
    )
    assert smr.features["smr"].band_hz == (12.0, 15.0)
    assert [(r.feature, r.direction, r.threshold.success) for r in smr.rules] == [
        ("smr", "above", 0.65),
        ("theta", "below", 0.85),
        ("high_beta", "below", 0.85),
    ]
    assert (tbr.features["tbr"].kind, tbr.features["tbr"].of) == ("ratio", ("theta", "beta"))
    assert tbr.reward.direction == "below"
    assert alpha.feedback.picture == "none"
    assert alpha.feedback.sound.continuous == "ambience"
    assert alpha.reward.threshold.success == 0.6
    assert {b.eyes for b in alpha.baseline} == {"closed"}
    assert faa.features["asymmetry"].of == ("alpha_right", "alpha_left")
    assert {faa.features[n].band_hz for n in ("alpha_left", "alpha_right")} == {(8.0, 12.0)}
    assert faa.reward.sustain_s == 0.5


def test_sites_of_alpha_exist_on_small_and_large_caps() -> None:
    both = {"Fp1", "Fp2", "F3", "F4", "F7", "F8", "Fz", "C3", "C4", "Cz"}  # 19- and 64-site caps
    both |= {"P3", "P4", "Pz", "O1", "O2"}
    for name in NAMES:
        assert set(load(name, FEATURES).protocol.needs.channels) <= both


def test_the_schema_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "protocols" / "schema" / "protocol.schema.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(schema())), (
        "write json.dumps(protocols.grammar.schema(), indent=2) into the schema file"
    )


def test_the_schema_knows_the_grammar_as_written() -> None:
    made = schema()
    assert set(made["properties"]) == set(Protocol.yaml_keys())
    assert set(made["$defs"]["Reward"]["properties"]) == {
        "feature", "above", "below", "sustain", "refractory",
    }  # fmt: skip
    text = json.dumps(made)
    assert "lasts_s" not in text
    assert '"null"' not in text
