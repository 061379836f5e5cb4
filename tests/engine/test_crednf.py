"""The CRED-nf checklist: what each item is answered with, from where, and what stays blank."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import assemble, feature_units
from engine.cli.main import main
from engine.crednf import (
    ITEMS,
    Checklist,
    Item,
    arms_of,
    checklist,
    counted,
    cred_nf,
    lines,
    recordings_of,
    summary,
)
from engine.crednfpage import build_page, write_checklist
from engine.errors import FileError, InputError
from engine.features import FEATURES
from engine.forms import FORMS, Filled, add_form, fill, read_forms
from engine.frames import Chunk, Command, Phase, PhaseKind, Presented, StreamSpec
from engine.person import Person, columns
from engine.record import Recorder
from engine.recording import Recording, read, rewrite
from engine.study import LoadedStudy, load_study
from protocols.load import load
from protocols.plan import expand

IDS = (
    *("1a", "1b", "2a", "2b", "2c-i", "2c-ii", "2d", "2e", "3a", "3b", "3c", "3d", "3e"),
    *("4a", "4b", "4c", "4d", "4e", "5a", "5b", "5c", "6a", "6b", "7a"),
)
STUDY = """
format: 1
name: smr_pilot
title: SMR training against replayed feedback
protocol: smr_up
sessions: 10
prereg: https://osf.io/xxxxx
sample_plan: 30 in each arm, for a difference of 0.65 SD
blinding: {blinding}
raters_blind: yes
analysts_blind: no
standard_of_care: none exists for this question
psychosocial: rapport is rated by the person after each session
strategy: none beyond the words on the screen
schedule_reason: two thirds of resting values, so that success is common
clinical_meaning: a change of 5 points, named in the registration
outcome_link: rank correlation of slope and change
materials: at the address of the registration, CC BY 4.0
arms:
  - {{name: verum, control: real}}
  - {{name: dummy, control: replay_other, donors: donors}}
"""
EXPECTANCY = dict.fromkeys(("sensible", "useful", "recommend", "feel_helps"), 5) | dict.fromkeys(
    ("think_percent", "feel_percent"), 40
)
GUESS = {
    "participant_guess": "placebo",
    "participant_confidence": 4,
    "operator_guess": "do_not_know",
}


RATE_HZ = 250.0
T0 = 500.0
SPEC = StreamSpec("sim", "EEG", "sim-1", "uid", "host", RATE_HZ, columns(), "float32")


def short_plan(protocol: Any) -> tuple[Phase, ...]:
    """Return baseline, two training blocks, transfer and rest: half a minute in all."""
    kept: list[Phase] = []
    for phase in expand(protocol, short_s=120.0):
        if phase.kind is PhaseKind.REST or (phase.kind is PhaseKind.TRAIN and phase.block > 2):
            while kept and kept[-1].kind is PhaseKind.READY:
                kept.pop()
            continue
        kept.append(phase)
    return tuple(
        replace(p, index=i, lasts_s=min(p.lasts_s, 13.0 if p.learn else 6.0))
        for i, p in enumerate(kept)
    )


def a_session(path: Path) -> Path:
    """Record a session: a blink in the first block, a threshold moved in the second."""
    loaded = load("smr_up", FEATURES)
    protocol = loaded.protocol
    plan = short_plan(protocol)
    assembly = assemble(SPEC, protocol, plan, mains_hz=50.0)
    fold, decider = assembly.fold, assembly.decider
    header = {
        "neuroloop": "0.1.0",
        "versions": {"numpy": np.__version__},
        "client": "C-017",
        "test_session": True,
        "room": {"name": "quiet"},
        "protocol": protocol,
        "protocol_sha256": loaded.sha256,
        "protocol_text": loaded.text,
        "plan": plan,
        "montage": {"reference": assembly.montage.reference},
        "delay_s": assembly.delay_s,
        "level_feature": assembly.level_feature,
        "feature_units": feature_units(protocol),
        "mains_hz": 50.0,
        "machine": {"system": "Linux"},
        "window": {"picture": "orb", "size": [1280, 720]},
    }
    now = T0
    recorder = Recorder(
        path,
        header,
        SPEC,
        features=feature_units(protocol),
        metrics=fold.gates.metric_names,
        rules=[r.feature for r in protocol.rules],
        now=lambda: now,
    )
    person = Person(RATE_HZ, seed=4, blinks=False, jaw=False)

    def order(kind: Any, target: str = "", value: float = math.nan, text: str = "") -> None:
        command = Command(fold.next_grid, kind, target, value, text)
        recorder.input(command)
        fold.step(command)

    seq, done = 0, set()
    order("start")
    for _ in range(1500):
        if decider.kind.terminal:
            break
        phase = decider.phase
        at = (phase.kind, phase.block) if phase is not None else None
        if at == (PhaseKind.TRAIN, 1) and at not in done:
            person.gains["smr"] = 1.4
            person.blink()
        if at == (PhaseKind.TRAIN, 2) and at not in done:
            order("threshold", "smr", decider.thresholds[0] * 0.8, "too hard")
        done.add(at)
        x = person.read(25).astype(np.float32)
        stamps = T0 + (seq + np.arange(25)) / RATE_HZ
        now = float(stamps[-1])
        recorder.raw(x, stamps)
        for point in fold.step(Chunk(seq, stamps, x.astype(np.float64))):
            recorder.feature(point.frame)
            recorder.decision(point.decision)
            for event in point.events:
                recorder.event(event)
            d = point.decision
            recorder.presented(Presented(d.seq, now, now, now + 0.025, d.level, d.reward, 0))
        seq += 25
    assert decider.kind is PhaseKind.DONE
    recorder.close()
    assert recorder.fault is None
    return path


def a_study(folder: Path, blinding: str = "double", drop: str = "") -> LoadedStudy:
    path = folder / "study.yaml"
    text = STUDY.format(blinding=blinding)
    if drop:
        text = re.sub(rf"^{drop}:.*\n", "", text, flags=re.MULTILINE)
    path.write_text(text, "utf-8")
    return load_study(path)


def forms() -> tuple[Filled, ...]:
    return (
        fill(FORMS["expectancy"], EXPECTANCY),
        fill(FORMS["before"], {"motivation": 8, "fatigue": 2, "mood": 7}),
        fill(FORMS["strategy"], {"strategy": "counted  my\nbreaths"}, block=2),
        fill(FORMS["blinding"], GUESS),
    )


def by_id(items: tuple[Item, ...]) -> dict[str, Item]:
    return {i.id: i for i in items}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_session(tmp_path_factory.mktemp("crednf") / "session.xdf")


@pytest.fixture(scope="module")
def recording(path: Path) -> Recording:
    return read(path)


def changed(recording: Recording, **header: Any) -> Recording:
    return replace(recording, header={**recording.header, **header})


# ---------------------------------------------------------------- the items


def test_there_are_the_24_items_of_the_checklist(recording: Recording) -> None:
    assert tuple(ITEMS) == IDS
    assert len(IDS) == 24
    items = cred_nf([recording])
    assert tuple(i.id for i in items) == IDS
    assert [len([i for i in items if i.id[0] == d]) for d in "1234567"] == [2, 6, 5, 5, 3, 2, 1]
    assert all(i.asks.endswith("?") for i in items)


def test_a_recording_alone_answers_what_it_can(recording: Recording) -> None:
    items = by_id(cred_nf([recording]))
    blank = {i.id for i in items.values() if i.status == "blank"}
    assert blank == {*IDS[:8], "3a", "3c", "5c", "6a", "6b", "7a"}
    partly = {i.id for i in items.values() if i.status == "partly"}
    assert partly == {"3b", "4b"}
    both = ("protocol", "recording")
    assert {i: items[i].sources for i in IDS if items[i].answer} == {
        "3b": ("recording",),
        "3d": both,
        "3e": ("recording",),
        "4a": both,
        "4b": both,
        "4c": both,
        "4d": ("recording",),
        "4e": ("recording",),
        "5a": ("recording",),
        "5b": ("recording",),
    }


def test_every_blank_says_what_to_do(recording: Recording) -> None:
    for item in cred_nf([recording]):
        if item.answer is None:
            assert item.todo.endswith(".")
            assert item.sources == ()
        else:
            assert item.answer.strip()
            assert item.sources


def test_the_study_file_and_forms_fill_the_rest(recording: Recording, tmp_path: Path) -> None:
    items = by_id(cred_nf([recording], a_study(tmp_path, "none"), [forms()]))
    assert [i.id for i in items.values() if i.status == "blank"] == ["5c"]
    study = {"1a", "1b", "2a", "2b", "2c-i", "2c-ii", "2d", "2e", "6a", "6b"}
    assert {i for i in IDS if items[i].sources == ("study file",)} == study
    assert items["3a"].sources == ("study file", "forms")
    assert items["3b"].sources == ("study file", "recording")
    assert items["3c"].sources == ("forms",)
    assert items["4b"].sources == ("study file", "protocol", "recording")
    assert items["7a"].sources == ("study file", "recording")
    assert items["1a"].answer == "https://osf.io/xxxxx"
    assert (items["2c-i"].answer, items["2c-ii"].answer) == ("Yes.", "No.")
    assert items["2d"].answer == "Nobody was blind by design."


@pytest.mark.parametrize(
    ("key", "item"),
    [
        ("prereg", "1a"),
        ("sample_plan", "1b"),
        ("raters_blind", "2c-i"),
        ("analysts_blind", "2c-ii"),
        ("standard_of_care", "2e"),
        ("clinical_meaning", "6a"),
        ("outcome_link", "6b"),
        ("materials", "7a"),
    ],
)
def test_what_the_study_file_lacks_is_blank(
    recording: Recording, tmp_path: Path, key: str, item: str
) -> None:
    made = by_id(cred_nf([recording], a_study(tmp_path, drop=key)))[item]
    assert made.status == "blank"
    assert f"`{key}:`" in made.todo


# ---------------------------------------------------------------- true to the recording


def test_answers_are_those_of_the_recording(recording: Recording) -> None:
    items = by_id(cred_nf([recording]))

    def said(item: str) -> str:
        return items[item].answer or ""

    assert "Let the orb grow." in said("3b")
    assert "reference average" in said("3d")
    assert "notch at 50 Hz" in said("3d")
    assert str(recording.header["protocol_sha256"]) in said("3d")
    assert re.search(r"in training by cause .*blinks \d\.\d s", said("3e"), re.IGNORECASE)
    assert "smr: power in 12-15 Hz at Cz" in said("4a")
    assert f"{recording.spec.grid_hz:g} times a second" in said("4a")
    threshold = next(e for e in recording.events if e.kind == "threshold")
    assert f"smr above {threshold.data['value']:.3g} µV²" in said("4b")
    assert "Changes of a threshold: 1 by the operator." in said("4b")
    assert "orb" in said("4c")
    known = np.isfinite(recording.features.column("smr")).sum()
    assert f"({known} each)" in said("4d")
    assert f"{len(recording.presented.values)} frames as they were displayed" in said("4d")
    assert f"{recording.spec.name}, 250 Hz" in said("4e")
    assert str(recording.header["neuroloop"]) in said("4e")
    assert "against rest" in said("5a")
    assert "training 2 +" in said("5b")
    assert "rest after +" in said("5b")


def test_nothing_is_said_that_is_not_recorded(recording: Recording) -> None:
    bare = replace(
        recording,
        header={},
        events=(),
        features=replace_table(recording.features),
        decisions=replace_table(recording.decisions),
        presented=replace_table(recording.presented),
        codes={},
        damage="bytes 1 to 2 of 3 are damaged",
    )
    items = by_id(cred_nf([bare]))
    assert {i for i in IDS if items[i].answer} == {"4e"}
    assert "version of Neuroloop that recorded it" in items["4a"].todo
    assert "damaged" in items["4d"].todo
    build_page(checklist(recordings_of_(bare)))


def replace_table(table: Any) -> Any:
    return table._replace(values=table.values[:0])


def recordings_of_(*recordings: Recording) -> list[Any]:
    from engine.crednf import session_of

    return [session_of(r, (), i) for i, r in enumerate(recordings, 1)]


def test_several_sessions_are_told_apart_where_they_differ(recording: Recording) -> None:
    other = changed(recording, neuroloop="9.9.9")
    said = by_id(cred_nf([recording, other]))["4e"].answer or ""
    assert said.count("Amplifier") == 1
    assert "Session 1: Neuroloop 0.1.0" in said
    assert "Session 2: Neuroloop 9.9.9" in said
    two = changed(recording, client="C-018")
    said = by_id(cred_nf([recording, changed(two, neuroloop="9.9.9")]))["4e"].answer or ""
    assert "C-018, session 1: Neuroloop 9.9.9" in said


def test_forms_are_counted_and_quoted(recording: Recording) -> None:
    items = by_id(cred_nf([recording], None, [forms()]))
    assert "credibility 0.50 and expectancy 0.43" in (items["3a"].answer or "")
    assert "motivation 8 (8 to 8)" in (items["3a"].answer or "")
    assert items["3c"].answer == "Session 1, block 2: “counted my breaths”"
    assert "(1 answer): training 0, placebo 1, do not know 0" in (items["2d"].answer or "")


# ---------------------------------------------------------------- blinded


LEAKS = ("verum", "dummy", "replay")


def test_a_blinded_study_says_nothing_about_arms(recording: Recording, tmp_path: Path) -> None:
    study = a_study(tmp_path)
    leaky = changed(
        recording, arm="dummy", control="replay_other", study={"name": "smr_pilot", "arm": "dummy"}
    )
    made = checklist(recordings_of_(leaky), study)
    items = by_id(made.items)
    assert items["2a"].answer is not None
    assert "verum" in items["2a"].answer
    for item in made.items:
        if item.id != "2a":
            text = f"{item.answer} {item.todo}"
            assert not any(word in text for word in LEAKS), item
    for id_ in ("5a", "5b"):
        assert items[id_].answer is None
        assert "Withheld" in items[id_].todo
    everything = " ".join(i.answer or "" for i in made.items)
    assert "%" not in (items["4b"].answer or "").split("clean resting time")[-1]
    assert "First thresholds" not in everything
    assert "against rest" not in everything
    page = build_page(made)
    assert "<svg" not in page
    assert "Blinded" in page
    assert summary(made)["withheld"] is True


def test_a_sealed_session_tells_its_artefacts_and_no_feature(
    recording: Recording, tmp_path: Path
) -> None:
    names = ("smr", "theta", "high_beta")
    values = recording.features.values.copy()
    for name in (*names, "trusted", *(f"fixed_{n}" for n in names)):
        values[:, recording.features.columns.index(name)] = 0.0 if name == "trusted" else np.nan
    hidden = ("rate_alone", "rate_joint", "features")
    events = tuple(
        replace(e, data={k: v for k, v in e.data.items() if k not in hidden})
        for e in recording.events
        if not e.kind.startswith("threshold")
    )
    sealed = replace(
        changed(recording, blinded=True),
        features=recording.features._replace(values=values),
        events=events,
    )
    plain, items = (by_id(cred_nf([r], a_study(tmp_path))) for r in (recording, sealed))
    for id_ in ("3d", "3e", "4a", "4c", "4e"):
        assert items[id_].answer is not None
    was, now = ((i["3e"].answer or "").split("training")[1][:8] for i in (plain, items))
    assert was == now
    assert "every value of" not in (items["4d"].answer or "")
    assert "as they were displayed" in (items["4d"].answer or "")
    assert "sealed research log" in items["4d"].todo
    after = by_id(cred_nf([sealed], a_study(tmp_path), arms={"C-017": "verum"}))
    assert after["5a"].answer is None
    assert "sealed research log" in after["5a"].todo


@pytest.mark.parametrize("header", [{"blinded": True}, {"study": {"blinding": "double"}}])
def test_a_blinded_recording_needs_no_study_file(
    recording: Recording, header: Mapping[str, Any]
) -> None:
    items = by_id(cred_nf([changed(recording, **header)]))
    assert items["5a"].answer is None
    assert "Withheld" in items["5a"].todo


def test_after_unblinding_the_index_and_the_arms_are_told(
    recording: Recording, tmp_path: Path
) -> None:
    study = a_study(tmp_path)
    people = [changed(recording, client=f"P{i}") for i in range(4)]
    guesses = ["placebo", "placebo", "placebo", "training"]
    told = [
        (fill(FORMS["blinding"], {"participant_guess": g, "participant_confidence": 5},
              parts=["participant"]),)
        for g in guesses
    ]  # fmt: skip
    arms = {"P0": "dummy", "P1": "dummy", "P2": "verum", "P3": "dummy"}
    items = by_id(cred_nf(people, study, told, arms))
    said = items["2d"].answer or ""
    assert "in arm dummy (3 answers): training 1, placebo 2, do not know 0" in said
    # (2 - 1) / 3 = 0.33; variance (1 - 1/9) / 3
    assert "Bang's index of arm dummy: +0.33 (95 % confidence limits −0.73 to +1.00" in said
    assert "Bang's index of arm verum: −1.00 (limits not known" in said
    assert "dummy 3 people and verum 1 person" in (items["2a"].answer or "")
    assert "in arm verum" in (items["3e"].answer or "")
    assert items["5a"].answer is not None
    assert items["5c"].answer is None


def test_arms_come_from_the_table_of_unseal(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    table = tmp_path / "assignments.tsv"
    table.write_text("token\tstratum\tblock\tarm\nT1\tall\t1\tverum\nT2\tall\t1\tdummy\n", "utf-8")
    assert arms_of(table, study) == {"T1": "verum", "T2": "dummy"}
    table.write_text("token\tarm\nT1\tother\n", "utf-8")
    with pytest.raises(InputError, match="no arm 'other'"):
        arms_of(table, study)
    table.write_text("name,arm\n", "utf-8")
    with pytest.raises(InputError, match="no table of assignments"):
        arms_of(table, study)
    with pytest.raises(FileError):
        arms_of(tmp_path / "none.tsv", study)


# ---------------------------------------------------------------- files


def test_a_folder_gives_its_sessions_with_their_forms(path: Path, tmp_path: Path) -> None:
    for name in ("b.xdf", "a.xdf", "a-recovered.xdf"):
        shutil.copy(path, tmp_path / name)
    (tmp_path / "other.xdf").write_bytes(b"XDF: something else")
    add_form(tmp_path / "b.xdf", forms()[0])
    sessions = recordings_of(tmp_path)
    assert [(s.number, s.file, len(s.forms)) for s in sessions] == [
        (1, "a.xdf", 0),
        (2, "b.xdf", 1),
    ]
    assert all(len(s.told.rows) == 0 for s in sessions)
    made = checklist(sessions)
    page = write_checklist(made, tmp_path)
    assert page == tmp_path / f"{tmp_path.name}.crednf.html"
    assert "<svg" in page.read_text("utf-8")


def test_what_is_no_recording_is_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(FileError, match="holds no recording"):
        recordings_of(tmp_path)
    text = tmp_path / "notes.xdf"
    text.write_text("hello", "utf-8")
    with pytest.raises(FileError, match="is no recording"):
        recordings_of(text)
    study = tmp_path / "study.yaml"
    study.write_text(STUDY.format(blinding="none").replace("smr_up", "tbr_down"), "utf-8")
    with pytest.raises(InputError, match="about the protocol tbr_down"):
        recordings_of(path, load_study(study))


def test_several_people_need_a_study(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "one.xdf")
    one = read(path)
    other = {**one.header, "client": "C-018"}
    rewrite(path, tmp_path / "two.xdf", other, one.spec, lambda _name, row: row)
    with pytest.raises(InputError, match="recordings of 2 people"):
        recordings_of(tmp_path)
    made = checklist(recordings_of(tmp_path, a_study(tmp_path, "none")), a_study(tmp_path, "none"))
    assert made.case.people == ("C-017", "C-018")


# ---------------------------------------------------------------- as text, data and page


@pytest.fixture(scope="module")
def made(path: Path) -> Checklist:
    return checklist(recordings_of(path))


def test_text_lists_every_item_and_the_blanks(made: Checklist) -> None:
    text = lines(made)
    assert text[0] == counted(made)
    assert "14 are blank (1a, 1b, 2a" in text[0]
    heads = [line for line in text if re.match(r"\d[a-e]\S*  ", line)]
    assert [h.split()[0] for h in heads] == list(IDS)
    assert sum(line.startswith("    -> ") for line in text) == 16


def test_data_is_json(made: Checklist) -> None:
    data = json.loads(json.dumps(summary(made)))
    assert data["counts"] == {"answered": 8, "partly": 2, "blank": 14}
    assert [i["id"] for i in data["items"]] == list(IDS)
    assert data["items"][0]["answer"] is None


def test_the_page_stands_alone_and_holds_every_item(made: Checklist) -> None:
    page = build_page(made)
    assert not re.search(r'(?:src|href)="(?!#)', page)
    for item in made.items:
        assert f'id="item-{item.id}"' in page
        assert html.escape(item.asks, quote=False) in page
    assert page.count('class="mark blank"') == 14
    assert build_page(made) == page


def test_hostile_texts_stay_text(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "s.xdf"
    shutil.copy(path, copy)
    evil = "</p><script>alert(1)</script>`<b>`"
    add_form(copy, fill(FORMS["strategy"], {"strategy": evil}))
    page = build_page(checklist(recordings_of(copy)))
    assert "<script>" not in page
    assert "<code>&lt;b&gt;</code>" in page


# ---------------------------------------------------------------- the commands


def test_commands_ask_and_report(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "s.xdf"
    shutil.copy(path, recording)
    answers = tmp_path / "answers.yaml"
    answers.write_text("format: 1\nanswers: {strategy: slow breath}\n", "utf-8")
    assert main(["ask", "strategy", str(recording), "--answers", str(answers)]) == 0
    assert read_forms(recording)[0].answers == {"strategy": "slow breath"}
    study = a_study(tmp_path, "none").path
    capsys.readouterr()
    assert main(["report", str(recording), "--cred-nf", "--study", str(study)]) == 0
    said = capsys.readouterr().out
    assert "“slow breath”" in said
    assert (tmp_path / "s.crednf.html").is_file()
    assert main(["report", str(recording), "--cred-nf", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 24


def test_commands_say_what_is_wrong(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    for arguments, says in (
        (["ask", "mood", str(path)], "no form called mood"),
        (["ask", "before", str(tmp_path / "none.xdf")], "no recording"),
        (["ask", "before", str(path)], "somebody at the keyboard"),
        (["ask", "before", str(path), "--only", "operator"], "asks nothing of operator"),
        (["report", str(path), "--study", "study.yaml"], "is not blinded"),
        (["report", str(path), "--cred-nf", "--assignments", "a.tsv"], "belong to a study"),
        (["report", str(tmp_path), "--cred-nf"], "holds no recording"),
    ):
        assert main(arguments) == 2
        assert says in capsys.readouterr().err
