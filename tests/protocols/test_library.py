"""The shipped protocols: honest, loadable, and the same again from a recording's header."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from engine.config import resolved
from engine.features import FEATURES, SLOW
from engine.montage import ALIASES
from engine.person import SITES
from protocols.catalogue import catalogue
from protocols.grammar import schema
from protocols.load import Loaded, library, load
from protocols.model import FORMAT, Protocol

ROOT = Path(__file__).parents[2]
NAMES = library()
LIBRARY: dict[str, Loaded] = {name: load(name, FEATURES) for name in NAMES}

GRADES = {
    "alpha_down_pz": "B",
    "alpha_theta": "C",
    "alpha_up_ec": "C+",
    "connectivity": "C",
    "faa": "C+",
    "fm_theta_up": "B",
    "gamma": "X",
    "high_beta_down": "C",
    "ilf": "X",
    "scp": "B",
    "smr_up": "B",
    "source_pcc": "X",
    "tbr_down": "B-",
    "upper_alpha_iaf": "B-",
    "zscore": "C",
}
SOLE_BLOCK = {"alpha_theta"}
FOR_THE_REPORT = {
    "alpha_theta": {"beta"},
    "alpha_up_ec": {"burst_rate", "burst_length", "burst_strength"},
    "faa": {"pct"},
    "source_pcc": {"alpha", "beta"},
}
"""Features that nothing in the protocol looks at."""


def protocol(name: str) -> Protocol:
    return LIBRARY[name].protocol


def test_the_library_is_complete_and_grades_follow_the_record() -> None:
    assert {n: protocol(n).evidence.grade for n in NAMES} == GRADES


@pytest.mark.parametrize("name", NAMES)
def test_name_file_format_and_first_line_agree(name: str) -> None:
    loaded = LIBRARY[name]
    assert loaded.protocol.name == name
    assert loaded.written_format == FORMAT
    assert loaded.extends == ()
    assert loaded.text.startswith(
        "# yaml-language-server: $schema=../schema/protocol.schema.json\n"
    )


@pytest.mark.parametrize("name", NAMES)
def test_resolved_through_json_builds_the_same_protocol(name: str) -> None:
    again = Protocol.model_validate(json.loads(json.dumps(resolved(protocol(name)))))
    assert again == protocol(name)
    assert resolved(again) == resolved(protocol(name))


@pytest.mark.parametrize("name", NAMES)
def test_evidence_and_cautions_are_there(name: str) -> None:
    found = protocol(name)
    assert len(found.evidence.summary) > 100
    assert found.evidence.refs
    assert found.indication
    assert found.cautions
    said = " ".join((found.title, found.summary, found.evidence.summary, *found.cautions))
    assert not re.search(r"\b(cures?|heals?|proven|treats?|effective|works)\b", said)


@pytest.mark.parametrize("name", NAMES)
def test_hints_are_of_three_kinds_only(name: str) -> None:
    """A low rate, what is measured for the report alone, and gamma that reaches the mains."""
    unused = {f"`{n}` is measured and recorded" for n in FOR_THE_REPORT.get(name, ())}
    expected = ["is enough by the rule of four"]
    expected += ["The band of `gamma` holds 50 Hz"] if name == "source_pcc" else []
    told = [h for h in LIBRARY[name].hints if not any(e in h for e in expected)]
    assert {h.split(",")[0] for h in told} == unused


@pytest.mark.parametrize("name", NAMES)
def test_session_has_training_transfer_and_a_rest_at_the_end(name: str) -> None:
    steps = protocol(name).session
    kinds = [s.kind for s in steps]
    assert kinds[0] == "baseline"
    assert kinds[-1] == "post"
    assert kinds.count("transfer") == 1
    assert (kinds.count("train") >= 3) != (name in SOLE_BLOCK)
    transfer = next(s for s in steps if s.kind == "transfer")
    assert transfer.ask  # for the strategies people report (CRED-nf 3c)


@pytest.mark.parametrize("name", NAMES)
def test_muscle_is_always_watched(name: str) -> None:
    found = protocol(name)
    assert found.gates.muscle.on
    trained = found.features[found.trained].band_hz
    if trained and trained[0] >= 20.0:  # where muscle itself shows
        assert [r.feature for r in found.inhibit] == ["muscle"]


@pytest.mark.parametrize("name", NAMES)
def test_baselines_learn_from_a_minute_at_least(name: str) -> None:
    for block in protocol(name).baseline:
        assert block.lasts_s >= 120.0
        assert block.needs_clean_s >= 60.0


@pytest.mark.parametrize("name", NAMES)
def test_sites_exist_on_a_cap_of_the_10_20_system(name: str) -> None:
    for site in protocol(name).needs.channels:
        assert site in SITES or ALIASES[site] in SITES


def test_experiments_stay_out_of_clinical_rooms() -> None:
    for name in NAMES:
        safety, grade = protocol(name).safety, protocol(name).evidence.grade
        assert ("clinical" in safety.rooms) == (grade != "X"), name
        assert (safety.clinician == "present") == (name in {"alpha_theta", "alpha_down_pz"})


def test_slow_potentials_say_what_they_need() -> None:
    slow = {n for n in NAMES if any(f.kind in SLOW for f in protocol(n).features.values())}
    assert slow == {"scp", "ilf"}
    for name in slow:
        assert any("amplifier that passes slow potentials" in c for c in protocol(name).cautions)


# ---------------------------------------------------------------- one by one


def test_tbr_says_both_sentences_and_warns_of_diagnosis() -> None:
    found = protocol("tbr_down")
    assert "both arms" in found.evidence.summary
    assert "standard protocols" in found.evidence.summary
    assert any("diagnose" in c for c in found.cautions)


def test_the_trial_of_alpha_down_is_told_with_what_it_did_not_show() -> None:
    assert "group x time was not significant" in protocol("alpha_down_pz").evidence.summary


def test_the_first_four_as_agreed() -> None:
    smr, tbr, alpha, faa = (protocol(n) for n in ("smr_up", "tbr_down", "alpha_up_ec", "faa"))
    assert smr.features["smr"].band_hz == (12.0, 15.0)
    assert [(r.feature, r.direction, r.threshold.success) for r in smr.rules] == [
        ("smr", "above", 0.65),
        ("theta", "below", 0.85),
        ("high_beta", "below", 0.85),
    ]
    assert (tbr.features["tbr"].kind, tbr.features["tbr"].of) == ("ratio", ("theta", "beta"))
    assert tbr.reward is not None
    assert tbr.reward.direction == "below"
    assert alpha.feedback.picture == "none"
    assert alpha.feedback.sound.continuous == "ambience"
    assert alpha.reward is not None
    assert alpha.reward.threshold.success == 0.6
    assert {b.eyes for b in alpha.baseline} == {"closed"}
    assert faa.features["asymmetry"].of == ("alpha_right", "alpha_left")
    assert {faa.features[n].band_hz for n in ("alpha_left", "alpha_right")} == {(8.0, 12.0)}
    assert faa.reward is not None
    assert faa.reward.sustain_s == 0.5


BANDS = {
    ("alpha_theta", "theta"): (4.0, 8.0),
    ("alpha_theta", "alpha"): (8.0, 12.0),
    ("alpha_theta", "beta"): (15.0, 20.0),
    ("alpha_down_pz", "alpha"): (8.0, 12.0),
    ("high_beta_down", "high_beta"): (20.0, 30.0),
    ("high_beta_down", "muscle"): (30.0, 45.0),
    ("fm_theta_up", "theta"): (3.0, 7.0),
    ("source_pcc", "gamma"): (40.0, 57.0),
    ("gamma", "gamma"): (36.0, 44.0),
}
DIRECTIONS = {
    "alpha_down_pz": "below",
    "alpha_theta": "above",
    "connectivity": "above",
    "fm_theta_up": "above",
    "gamma": "above",
    "high_beta_down": "below",
    "source_pcc": "below",
    "upper_alpha_iaf": "above",
    "zscore": "above",
}


def test_bands_and_directions_are_those_of_the_cards() -> None:
    assert {k: protocol(k[0]).features[k[1]].band_hz for k in BANDS} == BANDS
    rewards = {n: protocol(n).reward for n in DIRECTIONS}
    assert {n: r and r.direction for n, r in rewards.items()} == DIRECTIONS


def test_upper_alpha_follows_the_person_who_begins_the_blocks() -> None:
    found = protocol("upper_alpha_iaf")
    assert found.features["upper_alpha"].iaf == (0.0, 2.0)
    assert any("iaf" in b.uses and b.eyes == "closed" for b in found.baseline)
    assert all(s.self_paced for s in found.session if s.kind == "train")


def test_alpha_theta_is_heard_guarded_and_watched_over() -> None:
    found = protocol("alpha_theta")
    assert (found.feedback.picture, found.feedback.sound.continuous) == ("none", "two_voices")
    assert found.watch.sleep is not None
    assert found.watch.crossover is not None
    assert (found.watch.crossover.theta, found.watch.crossover.alpha) == ("theta", "alpha")
    assert set(found.safety.exclude) == {
        "psychosis", "active dissociation", "seizure disorder", "intoxication",
    }  # fmt: skip
    assert any("20 min of aftercare" in c for c in found.cautions)


def test_alpha_down_is_watched_over() -> None:
    safety = protocol("alpha_down_pz").safety
    assert {"psychosis", "acute suicidality", "active dissociation"} <= set(safety.exclude)


COURSES = {
    "alpha_down_pz": "20 sessions", "alpha_theta": "30 sessions", "alpha_up_ec": "ten sessions",
    "fm_theta_up": "eight sessions", "high_beta_down": "10-20 sessions", "scp": "25 sessions",
    "smr_up": "20-40 in clinics", "tbr_down": "30-40 sessions",
    "upper_alpha_iaf": "four days in a row", "zscore": "15 sessions",
}  # fmt: skip


def test_the_length_of_a_course_is_told_where_it_is_on_record() -> None:
    for name, said in COURSES.items():
        assert said in " ".join(protocol(name).summary.split()), name


def test_alpha_down_rests_three_minutes_afterwards() -> None:
    assert protocol("alpha_down_pz").session[-1].lasts_s == 180.0


def test_the_trials_of_slow_potentials() -> None:
    trial = protocol("scp").trial
    assert trial is not None
    assert (trial.baseline_s, trial.task_s, trial.judge_s) == (2.0, 6.0, 2.0)
    assert [(t.name, t.direction) for t in trial.tasks] == [
        ("negativity", "below"), ("positivity", "above"),
    ]  # fmt: skip
    assert trial.reject.above_uv == 200.0
    assert protocol("scp").gates.blink.limit_uv == 120.0
    assert [s.trials for s in protocol("scp").session if s.trials] == [40, 40, 40, 40]


def test_infra_low_activity_is_shown_and_not_rewarded() -> None:
    found = protocol("ilf")
    assert found.reward is None
    assert found.rules == ()
    assert found.feedback.sound.on_reward is None


def test_z_scores_are_against_the_own_rest_and_can_be_against_norms(tmp_path: Path) -> None:
    found = protocol("zscore")
    scores = [n for n, f in found.features.items() if f.kind == "z"]
    assert found.features["inside"].of == tuple(scores)
    assert all(found.features[n].norms is None for n in scores)
    # The comment in the file says how norms go in.
    (line,) = re.findall(r"# Against norms .*?(\{.*?\})", LIBRARY["zscore"].text)
    (tmp_path / "my_norms.csv").write_text(
        "age_from,age_to,eyes,site,metric,band_low_hz,band_high_hz,mean,sd,transform,"
        "over_low_hz,over_high_hz,reference,n\n"
        "20,30,open,Fz,power,4,8,2.5,0.8,ln,,,ears,100\n",
        encoding="utf-8",
    )
    text = LIBRARY["zscore"].text
    changed = re.sub(r"(z_fz_theta: +)\{.*\}", rf"\1{line}", text)
    assert changed != text
    path = tmp_path / "zscore.yaml"
    path.write_text(changed, encoding="utf-8")
    normed = load(path, FEATURES, age_years=25.0).protocol
    assert normed.features["z_fz_theta"].norm == (2.5, 0.8)


def test_the_source_has_all_electrodes_and_variants_less_prone_to_muscle() -> None:
    found = protocol("source_pcc")
    estimated = {n: f for n, f in found.features.items() if f.spatial == "pcc"}
    assert set(estimated) == {"gamma", "alpha", "beta"}
    assert {f.at for f in estimated.values()} == {found.needs.channels}
    assert len(found.needs.channels) == 19


# ---------------------------------------------------------------- written out of them


def test_the_catalogue_is_up_to_date() -> None:
    stored = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    assert stored == catalogue(), (
        "write it anew: uv run python -m protocols.catalogue > docs/protocols.md"
    )


def test_the_catalogue_names_everything_a_reader_asks_for() -> None:
    page = catalogue()
    for name in NAMES:
        found = protocol(name)
        entry = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert " ".join(found.evidence.summary.split()) in entry
        assert f"grade {found.evidence.grade}" in entry
        for words in (*found.cautions, *found.evidence.refs, *found.safety.exclude):
            assert words in entry
        for kind in {f.kind for f in found.features.values()}:
            assert f"`{kind}`: {FEATURES[kind].doc}" in entry


def test_the_schema_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "protocols" / "schema" / "protocol.schema.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(schema())), (
        "write json.dumps(protocols.grammar.schema(), indent=2) into the schema file"
    )


def test_the_schema_knows_the_grammar_as_written() -> None:
    made = schema()
    assert set(made["properties"]) == {*Protocol.yaml_keys(), "extends"}
    assert set(made["$defs"]["Reward"]["properties"]) == {
        "feature", "above", "below", "hysteresis", "all", "sustain", "refractory", "shape", "rule",
        "with",
    }  # fmt: skip
    text = json.dumps(made)
    assert "lasts_s" not in text
    assert '"null"' not in text
