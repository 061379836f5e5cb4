"""The report of blinded, unveiled and control sessions, and of the newer parts of the language."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nacl.public import PrivateKey

from engine.accounts import asked, labels, started, trials
from engine.assemble import assemble, feature_units
from engine.blind import Blind
from engine.blindpage import WITHHELD
from engine.cli import main as cli
from engine.cli import progress as progress_command
from engine.cli import recordings as recordings_commands
from engine.controls import Asked, ControlPlan, control_plan
from engine.crednf import arms_in, cred_nf, session_of
from engine.errors import FileError, InputError
from engine.export import export_bids
from engine.features import FEATURES
from engine.frames import Chunk, Command, Event, PhaseKind, Presented
from engine.grid import presented_kind, withheld
from engine.happened import spoken
from engine.learned import learned
from engine.learner import Learner, seen_in, stream_of, trait_named
from engine.opened import REAL, opened, unveil, unveiled
from engine.page import Page
from engine.person import COLUMNS, Person
from engine.progress import BLINDED, progress_of
from engine.record import Recorder
from engine.recording import Recording, Table, read
from engine.report import build_report, summary, write_report
from engine.screening import STATEMENT
from engine.sealedlog import SealedLog
from engine.status import Status
from engine.study import load_study
from engine.terminal import status_line
from engine.timeline import TRIAL_TYPES, rows
from protocols.load import load
from protocols.plan import expand
from protocols.sham import KINDS

RATE_HZ = 250.0
T0 = 500.0
SITES = ("Fp1", "Cz", "C3")
KEY = PrivateKey.generate()
STUDY = {"name": "pilot", "token": "QX7RTM", "session": 2, "sessions": 5, "blinding": "double"}
BASELINE = "{baseline: percentile, success: 65 %}"
ORDER = "  - {train: 30 s, say: Go., ask: What did you do?}\n" * 2
STUDY_YAML = """format: 1
name: pilot
protocol: smr_up
sessions: 5
blinding: double
arms:
  - {name: zebra, control: real}
  - {name: walrus, control: noise}
"""


def protocol_text(
    above: str = BASELINE, *, session: str = ORDER, more: str = "", band: str = "12-15 Hz"
) -> str:
    """Return a protocol that trains one band at Cz, its name not in the library."""
    return f"""format: 2
name: scenario
title: One band at Cz
evidence: {{grade: X, summary: A test bench., refs: [none]}}
summary: A test bench.
needs: {{channels: [Cz], rate: at least 140 Hz}}
condition: {{reference: [as recorded], high_pass: 1 Hz, mains: notch}}
features:
  trained: {{kind: power, at: [Cz], band: {band}, smooth: 1 s, fit: fixed}}
gates: {{blink: on, amplitude: on, step: on, muscle: {{at: [Cz]}}}}
baseline:
  - {{name: eyes_open, lasts: 30 s, eyes: open, needs_clean: 20 s, learn: [trained]}}
reward: {{feature: trained, above: {above}, sustain: 0.5 s, refractory: 2 s{more}}}
feedback:
  level:
    feature: trained
    from: {{baseline: median, plus: -1 mad}}
    to: {{baseline: median, plus: 2 mad}}
    smooth: 0.3 s
  picture: orb
session:
  - baseline
{session}
"""


@dataclass
class Run:
    """A session in simulated time, recorded as the conductor would."""

    path: Path
    assembly: Any
    real: list[Any]


def run(
    path: Path,
    text: str,
    *,
    trait: str = "non_learner",
    rhythm: str = "smr",
    asks: tuple[Asked, ...] = (),
    chosen: int = 0,
    blinded: bool = False,
    short_s: float | None = None,
    sites: tuple[str, ...] = SITES,
    dc: bool | None = None,
    seed: int = 3,
    orders: Callable[[Run, Recorder, int], None] = lambda *_: None,
) -> Run:
    """Record a whole session of a protocol (YAML, or a name of the library)."""
    if "\n" in text:
        file = path.with_suffix(".yaml")
        file.write_text(text, "utf-8")
        loaded = load(file, FEATURES, allow_short=True)
    else:
        loaded = load(text, FEATURES)
    control: ControlPlan | None = None
    if asks:
        control = control_plan(loaded.protocol, asks, chosen, seed=7, test=True)
    protocol = loaded.protocol if control is None else control.protocol
    plan, spec = expand(protocol, short_s, 11), stream_of(sites, RATE_HZ)
    make = None if control is None else functools.partial(control.make)
    assembly = assemble(spec, protocol, plan, mains_hz=50.0, dc_coupled=dc, control=make)
    units, rules = feature_units(protocol), [r.feature for r in protocol.rules]
    metrics = assembly.fold.gates.metric_names
    blind: Blind | None = None
    fingerprint = ""
    if blinded:
        log = SealedLog(path.with_suffix(".sealed"), bytes(KEY.public_key))
        fingerprint = log.fingerprint
        opening = {"control": None if control is None else control.stored(), "shift": 0.0}
        blind = Blind(log, units, metrics, rules, spec.grid_hz, opening)
    header = {
        "neuroloop": "0.1.0",
        "client": "C-017",
        "use": "research",
        "room": {"name": "lab"},
        "plugins": [{"name": "neuroloop-example", "version": "1.2", "sha256": "ab"}],
        "protocol": protocol,
        "protocol_text": loaded.text,
        "extends": ["smr_up.yaml"],
        "study": STUDY if blinded else None,
        "blinded": blinded,
        "sealed_log": fingerprint,
        "control": None if control is None or blinded else control.stored(),
        "shift": 0.0,
        "plan": plan,
        "montage": {"reference": "as recorded", "sites": assembly.montage.site_names},
        "delay_s": assembly.delay_s,
        "level_feature": assembly.level_feature,
        "feature_units": units,
        "mains_hz": 50.0,
        "dc_coupled": dc,
        "grid_hz": spec.grid_hz,
        "hop": spec.hop,
        "seeds": {"session": 11},
        "statement": STATEMENT,
    }
    now = [T0]
    recorder = Recorder(
        path, header, spec, features=units, metrics=metrics, rules=rules, now=lambda: now[0]
    )
    mind = Learner(trait_named(trait), rhythm, seed)
    body = Person(RATE_HZ, seed=seed, blinks=False, jaw=False)
    picked = [COLUMNS.index(c.name) for c in spec.channels]
    made = Run(path, assembly, [])
    start = Command(500, "start")
    recorder.input(start)
    assembly.fold.step(start)
    seq = 0
    while not assembly.decider.kind.terminal:
        assert seq < 400 * RATE_HZ
        mind.step(body, seq / RATE_HZ)
        x = body.read(25)[:, picked].astype(np.float32)
        stamps = T0 + (seq + np.arange(25)) / RATE_HZ
        now[0] = float(stamps[-1])
        recorder.raw(x, stamps)
        for point in assembly.fold.step(Chunk(seq, stamps, x.astype(np.float64))):
            mind.see(point.frame.t - T0, seen_in(point.decision))
            made.real.append(point.real)
            shown = point if blind is None else blind.take(point)
            recorder.feature(shown.frame)
            recorder.decision(shown.decision)
            for event in shown.events:
                recorder.event(event)
            d = shown.decision
            recorder.presented(Presented(d.seq, d.t, d.t, d.t + 0.02, d.level, d.reward, 0))
        seq += 25
        orders(made, recorder, seq)
    if blind is not None:
        blind.close()
    recorder.close()
    assert recorder.fault is None
    return made


def give(made: Run, recorder: Recorder, kind: Any, text: str) -> None:
    command = Command(made.assembly.fold.next_grid, kind, text=text)
    recorder.input(command)
    made.assembly.fold.step(command)


def answers(made: Run, recorder: Recorder, _: int) -> None:
    """Answer the first question that waits."""
    if made.assembly.decider.question and not hasattr(made, "answered"):
        made.answered = True  # type: ignore[attr-defined]
        give(made, recorder, "answer", "I thought of a beach")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conditions")


NOISE = (Asked("real"), Asked("noise"))


@pytest.fixture(scope="module")
def sealed(folder: Path) -> Recording:
    """Return a blinded session that presents noise."""
    made = run(folder / "sealed.xdf", protocol_text(), asks=NOISE, chosen=1, blinded=True,
               orders=answers)  # fmt: skip
    return read(made.path)


@pytest.fixture(scope="module")
def control(folder: Path) -> Recording:
    """Return the same session, openly."""
    made = run(folder / "control.xdf", protocol_text(), asks=NOISE, chosen=1, orders=answers)
    return read(made.path)


@pytest.fixture(scope="module")
def after(sealed: Recording) -> Recording:
    return unveil(sealed, bytes(KEY))


def flat(page: str) -> str:
    """Return the page without tags and figures."""
    import re

    page = re.sub(r"<(style|svg|title)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


# ---------------------------------------------------------------- blinded


def test_a_blinded_report_tells_time_and_artefacts_and_withholds_the_rest(
    sealed: Recording,
) -> None:
    page = build_report(sealed)
    text = flat(page)
    assert "BLINDED SESSION" in text
    assert "Study pilot, participant QX7RTM, session 2 of 5." in text
    assert "Features, thresholds, rates and rewards are withheld" in text
    assert "I thought of a beach" in text
    assert "What did you do?" in text
    assert "of 60 s in 2 blocks" in text or "of 1 min in 2 blocks" in text
    for word in ("not known (no clean time", "per clean minute", "against rest", "Level presented",
                 "Reward condition alone", "UNBLINDED", "CONTROL CONDITION"):  # fmt: skip
        assert word not in text
    for kind, words in KINDS.items():
        assert words not in text
        assert f">{kind}<" not in page
    assert "withheld until the study is unsealed. What stands here" in text
    assert "control_" not in page


def test_clean_time_of_a_blinded_session_is_that_of_the_gates(sealed: Recording) -> None:
    told = learned(sealed)
    ends = {e.data["phase"]: e.data for e in sealed.events if e.kind == "phase_end"}
    assert told.withheld
    assert told.trained is None
    for block in told.blocks:
        if block.kind == "train":
            assert block.clean_s == ends[block.phase]["clean_s"] > 20.0
            assert block.gated_s == ends[block.phase]["gated_s"]
            assert block.rewards is None
        assert block.features == {}
        assert block.fixed == {}
    assert told.resting == {}
    assert told.steps == ()


def test_a_blinded_session_cut_short_still_tells_its_clean_time(sealed: Recording) -> None:
    events = tuple(e for e in sealed.events if e.kind != "phase_end")
    train = [b for b in learned(replace(sealed, events=events)).blocks if b.kind == "train"]
    assert all(b.clean_s > 20.0 for b in train)


def test_the_summary_of_a_blinded_session_withholds_alike(sealed: Recording) -> None:
    told = summary(sealed)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["blinded"] is True
    assert told["withheld"] == list(WITHHELD)
    assert told["presented_kind"] is None
    assert told["rewards"] is None
    assert told["reward_rate"] == {"alone": None, "joint": None, "per_clean_min": None}
    assert told["baseline"] == told["train"] == {}
    assert told["thresholds"] == told["filters"] == []
    assert told["clean_s"]["train"] > 40.0
    assert told["asked"][0]["answer"] == "I thought of a beach"


def test_every_arm_of_a_blinded_session_gives_the_same_page(
    folder: Path, sealed: Recording
) -> None:
    """The person answers to what is shown, so the same person twice must not learn."""
    other = run(folder / "other.xdf", protocol_text(), asks=NOISE, chosen=0, blinded=True,
                orders=answers)  # fmt: skip
    same = {"started": "2026-11-25T19:03:50+00:00"}
    pages = [
        flat(build_report(replace(r, path=Path("x.xdf"), header={**r.header, **same})))
        for r in (sealed, read(other.path))
    ]
    assert pages[0] == pages[1]


def test_the_plain_line_of_a_blinded_session_has_no_rewards() -> None:
    assert "rewards 0" in status_line(Status("a"))
    line = status_line(Status("a", blinded=True))
    assert "reward" not in line
    assert "BLINDED" in line


# ---------------------------------------------------------------- after the study


def test_an_unveiled_recording_holds_what_was_real_beside_what_was_presented(
    sealed: Recording, control: Recording, after: Recording
) -> None:
    assert withheld(sealed.header)
    assert not withheld(after.header)
    assert presented_kind(sealed.header) == ""
    assert presented_kind(after.header) == "noise"
    # The open session of the same person and seed is the truth.
    open_, got = control.decisions, after.decisions
    assert got.columns == (*open_.columns, *REAL)
    np.testing.assert_array_equal(got.values[:, : len(open_.columns)], open_.values)
    np.testing.assert_array_equal(after.features.values, control.features.values)
    kinds = ("threshold", "reward", "phase_end", "baseline")
    for kind in kinds:
        mine = [(e.seq, dict(e.data)) for e in after.events if e.kind == kind]
        assert mine == [(e.seq, dict(e.data)) for e in control.events if e.kind == kind]
    seqs = [e.seq for e in after.events]
    assert seqs == sorted(seqs)


def test_an_unveiled_report_tells_presented_from_real(after: Recording) -> None:
    told = learned(after)
    assert told.sham
    train = told.of(PhaseKind.TRAIN)
    for block in train:
        given = block.given
        assert given is not None
        assert block.rewards == given.rewards
        assert given.real_rewards is not None
        assert given.r is not None
        assert abs(given.r) < 0.75
        assert given.r_feature is not None
        assert block.rate_alone is not None
    real = after.decisions.column("real_reward").sum()
    assert sum(b.given.real_rewards or 0 for b in train if b.given) == real > 0
    text = flat(build_report(after))
    assert "UNBLINDED: CONTROL CONDITION" in text
    assert KINDS["noise"].replace("'", "&#39;") in text
    assert f"{real:.0f} would have been earned" in text
    assert "Rewards presented" in text
    assert "Correlation of both levels" in text
    assert "BLINDED SESSION" not in text
    assert "session of a control condition" in text


def test_the_real_arm_unveiled_says_so(folder: Path) -> None:
    found = unveil(read(folder / "other.xdf"), bytes(KEY))
    assert presented_kind(found.header) == "real"
    told = learned(found)
    assert not told.sham
    for block in told.of(PhaseKind.TRAIN):
        assert block.given is not None
        assert block.given.r == pytest.approx(1.0)
        assert block.given.real_rewards == block.rewards
    text = flat(build_report(found))
    assert "UNBLINDED Study pilot" in text
    assert "CONTROL CONDITION" not in text


def test_what_the_log_lacks_stays_unknown(sealed: Recording) -> None:
    log = opened(sealed, bytes(KEY))
    half = len(log.decisions) // 2
    short = replace(log, features=log.features[:half], decisions=log.decisions[:half],
                    damage="the log was cut")  # fmt: skip
    found = unveiled(sealed, short)
    assert "the log was cut" in (found.damage or "")
    joint = found.decisions.column("real_level")
    assert np.isnan(joint[half:]).all()
    assert "The recording is damaged" in flat(build_report(found))
    nothing = unveiled(sealed, replace(log, features=np.zeros((0, 0)), decisions=np.zeros((0, 0))))
    assert np.isnan(nothing.decisions.column("real_reward")).all()
    build_report(nothing)


def test_only_blinded_sessions_are_opened_and_only_with_their_key(
    sealed: Recording, control: Recording, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="not blinded"):
        unveil(control, bytes(KEY))
    with pytest.raises(FileError):
        unveil(sealed, bytes(PrivateKey.generate()))
    with pytest.raises(FileError):
        unveil(replace(sealed, path=tmp_path / "none.xdf"), bytes(KEY))


def test_the_unblinded_page_leaves_the_blinded_one_alone(sealed: Recording) -> None:
    first = write_report(sealed.path)
    second = write_report(sealed.path, private_key=bytes(KEY))
    assert first.name == "sealed.report.html"
    assert second.name == "sealed.unblinded.report.html"
    assert "BLINDED SESSION" in first.read_text("utf-8")
    assert "UNBLINDED" in second.read_text("utf-8")


def test_progress_and_checklist_take_unveiled_recordings(
    sealed: Recording, after: Recording, tmp_path: Path
) -> None:
    blind = progress_of("C-017", "scenario", [sealed])
    assert [s.why for s in blind.skipped] == [BLINDED]
    found = progress_of("C-017", "scenario", [after])
    assert len(found.sessions) == 1
    assert found.sessions[0].z.mean is not None
    assert any("control condition" in n for n in found.sessions[0].notes)

    file = tmp_path / "study.yaml"
    file.write_text(STUDY_YAML, "utf-8")
    study = load_study(file)
    before = {i.id: i for i in cred_nf([sealed], study)}
    assert before["5a"].answer is None
    assert KINDS["noise"] not in (before["4c"].answer or "")
    session = session_of(after)
    assert arms_in([session], study) == {"C-017": "walrus"}
    items = {i.id: i for i in cred_nf([after], study, arms=arms_in([session], study))}
    assert "Control condition:" in (items["4c"].answer or "")
    assert "in this control session these are the person's own values" in (items["5a"].answer or "")
    assert "beach" in (items["3c"].answer or "")
    alone = {i.id: i for i in cred_nf([after], study)}
    assert alone["5b"].answer is not None


# ---------------------------------------------------------------- commands


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a study file whose passphrase is known."""
    for module in (recordings_commands, progress_command):
        monkeypatch.setattr(module, "private_key_of", lambda *_: bytes(KEY))
    file = tmp_path / "study.yaml"
    file.write_text(STUDY_YAML, "utf-8")
    return file


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.main([str(a) for a in arguments])
    got = capsys.readouterr()
    assert "Traceback" not in got.out + got.err
    return code, got.out + got.err


def test_report_opens_the_log_with_the_study(
    sealed: Recording, control: Recording, opens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = said(capsys, "report", sealed.path, "--json")
    assert code == 0
    assert json.loads(out)["withheld"] == list(WITHHELD)
    code, out = said(capsys, "report", sealed.path, "--study", opens, "--json")
    assert code == 0
    assert json.loads(out)["presented_kind"] == "noise"
    assert json.loads(out)["rewards"] is not None
    code, out = said(capsys, "report", sealed.path, "--study", opens)
    assert code == 0
    assert "sealed.unblinded.report.html" in out
    code, out = said(capsys, "report", control.path, "--study", opens)
    assert code == 2
    assert "not blinded" in out
    code, out = said(capsys, "report", sealed.path, "--passphrase-file", opens)
    assert code == 2
    assert "--study" in out


def test_progress_and_checklist_open_the_log_with_the_study(
    sealed: Recording, opens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    for file in (sealed.path, sealed.path.with_suffix(".sealed")):
        (folder / file.name).write_bytes(file.read_bytes())
    told = ("progress", "C-017", "--folder", folder, "--study", opens, "--json")
    code, out = said(capsys, *told)
    assert code == 0
    assert BLINDED in out
    code, out = said(capsys, *told, "--unblind")
    assert code == 0
    assert BLINDED not in out
    assert len(json.loads(out)["sessions"]) == 1
    code, out = said(capsys, "progress", "C-017", "--folder", folder, "--unblind")
    assert code == 2

    # A study file that names the protocol by its path.
    opens.write_text(STUDY_YAML.replace("smr_up", str(sealed.path.with_suffix(".yaml"))), "utf-8")
    code, out = said(capsys, "report", folder, "--cred-nf", "--study", opens, "--json")
    assert code == 0
    assert json.loads(out)["withheld"] is True
    code, out = said(capsys, "report", folder, "--cred-nf", "--study", opens, "--unblind", "--json")
    assert code == 0
    items = {i["id"]: i for i in json.loads(out)["items"]}
    assert json.loads(out)["withheld"] is False
    assert "walrus 1 person" in items["2a"]["answer"]
    assert items["5b"]["answer"]


# ---------------------------------------------------------------- open control sessions


def test_an_open_control_session_has_its_banner_and_tells_both_apart(control: Recording) -> None:
    told = learned(control)
    assert told.presented_kind == "noise"
    assert not told.withheld
    joint = control.decisions.column("joint")
    train = told.of(PhaseKind.TRAIN)
    assert train[0].rate_joint is not None
    assert joint.sum() > 0  # verdicts are the person's own
    assert all(b.given is not None and b.given.real_rewards is None for b in train)
    text = flat(build_report(control))
    assert "CONTROL CONDITION Presented: a surrogate" in text
    assert "Rewards presented" in text
    assert "own reward condition held" in text
    assert "neuroloop replay" in text
    assert "UNBLINDED" not in text
    items = {i.id: i for i in cred_nf([control])}
    assert "Control condition:" in (items["4c"].answer or "")


def test_a_plain_session_has_none_of_it(control: Recording) -> None:
    plain = replace(control, header={**control.header, "control": None})
    text = flat(build_report(plain))
    assert "CONTROL CONDITION" not in text
    assert "What was presented" not in text
    assert summary(plain)["presented_kind"] == "real"


@pytest.mark.parametrize("stored", [{"chosen": 5, "controls": []}, {"chosen": "x"}, 3, []])
def test_a_strange_control_does_not_stop_the_report(control: Recording, stored: Any) -> None:
    build_report(replace(control, header={**control.header, "control": stored}))


# ---------------------------------------------------------------- thresholds that adapt


@pytest.fixture(scope="module")
def running(folder: Path) -> Recording:
    above = "{running: percentile, success: 65 %, over: 60 s}"
    session = "  - {train: 50 s, say: Go.}\n" * 2
    return read(run(folder / "running.xdf", protocol_text(above, session=session)).path)


def test_a_running_threshold_is_told_by_block_and_not_by_point(running: Recording) -> None:
    told = learned(running)
    assert told.adapts
    moves = [s for s in told.steps if s.method == "running"]
    values = running.decisions.column("threshold_0_trained")
    assert len(np.unique(values[np.isfinite(values)])) > 8
    assert 1 <= len(moves) <= 3
    assert told.steps[0].method == "start"
    assert told.steps[-1].new == values[-1]
    assert "between" in moves[0].reason
    assert moves[0].old == told.steps[0].new


def test_where_the_threshold_follows_the_summary_leads_with_the_feature(running: Recording) -> None:
    page = Page(running, learned(running))
    assert page.tiles[1][0] == "trained against rest"
    assert "the threshold adapts" in page.tiles[3][2]
    said = " ".join(page.sentences)
    assert "the rate tells nothing about learning" in said
    assert said.index("During training trained") < said.index("per clean minute")
    assert "about 65 %" in said
    assert "The drift guard stopped it at 1:21 (trained)" in said


def test_every_move_of_a_threshold_has_its_words_and_its_row(running: Recording) -> None:
    rule = {"rule": 0, "feature": "trained", "direction": "above", "old": 9.0, "new": 8.0}
    values = running.decisions.column("threshold_0_trained")
    moved = np.flatnonzero(np.nan_to_num(np.diff(values)))
    at = [int(s) for s in running.decisions.column("seq")[moved[[3, 7]]]]
    events = [
        Event(T0, at[0], "drift_guard", {**rule, "reason": "it fell by 15 %"}),
        Event(T0, at[1], "shaped", {**rule, "success": 0.85, "step": "harder", "shift": 0.05}),
    ]
    found = learned(replace(running, events=(*running.events, *events)))
    methods = [s.method for s in found.steps]
    assert "drift_guard" in methods
    assert "shaping" in methods
    text = flat(build_report(replace(running, events=(*running.events, *events))))
    assert "had followed the person the wrong way" in text
    assert "one step harder after 85 % success" in text


RULE = {"rule": 0, "feature": "smr", "direction": "above", "old": 9.0, "new": None}
NEW_KINDS: dict[str, dict[str, Any]] = {
    "threshold_block": {**RULE, "reason": ""},
    "threshold_kept": {**RULE, "reason": "too little clean time"},
    "threshold_frozen": {**RULE, "reason": ""},
    "drift_guard": {**RULE, "reason": ""},
    "shaped": {**RULE, "success": 0.9, "step": "harder", "shift": -0.05},
    "answer": {"phase": 3, "question": "What did you do?", "text": "nothing"},
    "go": {"phase": 3, "by": "person"},
    "drowsy": {"text": "The person may be falling asleep."},
    "plugin_fault": {"text": "The reward rule gives nothing any more: it failed."},
    "feature_fault": {"feature": "x", "text": "x is unknown from here on: it failed."},
}


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_every_new_event_has_words(kind: str) -> None:
    said = spoken(Event(0.0, 0, kind, NEW_KINDS[kind]))
    assert said is not None
    assert "_" not in said[1].replace("smr", "")
    assert ": {" not in said[1]
    assert said[1].endswith((".", "”"))


@pytest.mark.parametrize("kind", ["reward", "trial", "question"])
def test_what_tables_tell_is_not_in_the_timeline(kind: str) -> None:
    assert spoken(Event(0.0, 0, kind, {"n": 1, "phase": 3})) is None


# ---------------------------------------------------------------- muscle


def test_the_muscle_cheat_is_named_and_earned_nothing(folder: Path) -> None:
    hard = protocol_text("{baseline: percentile, success: 30 %}", band="20-30 Hz")
    made = run(folder / "cheat.xdf", hard, trait="muscle_cheat", rhythm="beta")
    recording = read(made.path)
    told = learned(recording)
    train = told.of(PhaseKind.TRAIN)
    assert any(b.muscle.much for b in train)
    assert all(b.muscle.gated_share is not None for b in train)
    gate = recording.features.column("gate").astype(int)
    assert not recording.decisions.column("reward")[gate != 0].any()
    text = flat(build_report(recording))
    assert "Muscle tension closed the gate during" in text
    assert "That time earned nothing, neither level nor reward." in text
    assert "muscle gated much" in text
    honest = read(run(folder / "honest.xdf", hard, rhythm="beta").path)
    assert not any(b.muscle.suspect for b in learned(honest).of(PhaseKind.TRAIN))
    assert "Muscle tension closed the gate" not in flat(build_report(honest))


def test_muscle_that_rises_with_the_feature_is_named(running: Recording) -> None:
    """Muscle too weak for the gate: from the first training block on, both are higher."""
    values = running.features.values.copy()
    names = running.features.columns
    kind = running.decisions.column("kind")
    train = kind == PhaseKind.TRAIN.value
    values[train, names.index("gate_muscle_Cz")] *= 1.5
    values[train, names.index("trained")] *= 4.0
    raised = replace(running, features=Table(names, values))
    assert all(b.muscle.rose for b in learned(raised).of(PhaseKind.TRAIN))
    assert "muscle too weak for the gate may stand behind the rise" in flat(build_report(raised))


# ---------------------------------------------------------------- trials, crossover, starts


def test_a_protocol_without_rewards_says_so(running: Recording) -> None:
    protocol = json.loads(json.dumps(running.header["protocol"]))
    protocol["reward"] = None
    decisions = running.decisions
    keep = [i for i, c in enumerate(decisions.columns) if not c.startswith(("pass_", "threshold_"))]
    table = Table(tuple(decisions.columns[i] for i in keep), decisions.values[:, keep])
    bare = replace(running, header={**running.header, "protocol": protocol}, decisions=table)
    assert learned(bare).trained == "trained"
    text = flat(build_report(bare))
    assert "the protocol rewards nothing" in text
    assert "the person sees the level alone" in text


@pytest.fixture(scope="module")
def scp(folder: Path) -> Recording:
    sites = ("Fp1", "Fp2", "F7", "F8", "Cz", "C3", "Pz")
    return read(run(folder / "scp.xdf", "scp", short_s=300.0, sites=sites, dc=True).path)


def test_trials_have_their_table_and_difference(scp: Recording) -> None:
    runs = trials(scp.events, labels(scp.header))
    assert runs
    assert [t.name for t in runs[0].tasks] == ["negativity", "positivity"]
    text = flat(build_report(scp))
    assert "negativity minus positivity" in text
    assert "Condition met" in text
    assert "judged from its own baseline" in text
    assert "no clean time" not in text
    assert "Reward condition alone" not in text
    single = tuple(e for e in scp.events if e.kind != "phase_end")
    for whole, counted in zip(runs, trials(single, labels(scp.header)), strict=True):
        kept = {t.name: t for t in counted.tasks}
        for a in (t for t in whole.tasks if t.n):
            b = kept[a.name]
            assert (a.name, a.n, a.rejected, a.passed) == (b.name, b.n, b.rejected, b.passed)
            assert (a.mean_uv or 0.0) == pytest.approx(b.mean_uv or 0.0)


def test_withheld_trials_are_counted_only(scp: Recording) -> None:
    events = tuple(
        replace(e, data={k: v for k, v in e.data.items() if k not in ("mean_uv", "passed")})
        for e in scp.events
        if e.kind != "phase_end"
    )
    header = {**scp.header, "blinded": True, "study": STUDY}
    text = flat(build_report(replace(scp, events=events, header=header)))
    assert "BLINDED SESSION" in text
    assert "Rejected" in text
    assert "µV, met" not in text


def test_crossovers_drowsiness_and_starts(folder: Path) -> None:
    sites = ("Fp1", "Fp2", "F7", "F8", "Cz", "C3", "C4", "Pz", "O1", "O2")
    recording = read(run(folder / "at.xdf", "alpha_theta", short_s=90.0, sites=sites).path)
    text = flat(build_report(recording))
    assert "Crossover, s" in text
    assert "The guard against sleep did not act." in text
    drowsy = Event(T0, 15000, "drowsy", {"text": "The person may be falling asleep."})
    text = flat(build_report(replace(recording, events=(*recording.events, drowsy))))
    assert "The guard against sleep acted 1 time (at 1:00)." in text


def test_blocks_that_waited_say_who_began_them(folder: Path) -> None:
    session = "  - {train: 20 s, say: Go., self_paced: yes}\n" * 2

    def goes(made: Run, recorder: Recorder, _: int) -> None:
        phase = made.assembly.decider.phase
        waits = phase is not None and phase.kind is PhaseKind.READY and phase.waits_s
        if waits and made.assembly.decider.phase_s > 2.0:
            give(made, recorder, "go", "person")

    recording = read(run(folder / "paced.xdf", protocol_text(session=session), orders=goes).path)
    found = started(recording.events, labels(recording.header))
    assert [s.block for s in found] == ["Training 1", "Training 2"]
    assert {s.by for s in found} == {"person"}
    assert all(s.waited_s is not None and 1.9 < s.waited_s < 4.0 for s in found)
    assert "Training 1: the person after" in flat(build_report(recording))


def test_an_answer_belongs_to_its_question() -> None:
    events = [
        Event(0.0, 1, "question", {"phase": 3, "text": "What?"}),
        Event(0.0, 2, "answer", {"phase": 3, "text": "that"}),
        Event(0.0, 3, "question", {"phase": 5, "text": "What?"}),
        Event(0.0, 4, "answer", {"phase": 9, "text": "of nothing"}),
    ]
    assert [a.answer for a in asked(events, {3: "Training 1"})] == ["that", None]


def test_what_else_was_agreed_is_told(running: Recording) -> None:
    text = flat(build_report(running))
    assert "neuroloop-example 1.2" in text
    assert "Extends smr_up.yaml" in text


def test_a_kind_from_a_package_that_is_not_here_is_reported(running: Recording) -> None:
    protocol = json.loads(json.dumps(running.header["protocol"]))
    protocol["features"]["trained"]["kind"] = "kind_of_a_package"
    header = {
        **running.header,
        "protocol": protocol,
        "feature_units": {"trained": "beats"},
    }
    found = replace(running, header=header)
    told = learned(found)
    assert told.units["trained"] == "beats"
    assert told.scales["trained"] == "ln"  # as the baseline's event says
    assert "beats" in flat(build_report(found))
    bare = tuple(e for e in running.events if e.kind not in ("baseline", "resting"))
    assert learned(replace(found, events=bare)).scales["trained"] == "linear"
    cred_nf([found])
    progress_of("C-017", "scenario", [found])


# ---------------------------------------------------------------- export


@cache
def exported(path: Path, out: Path) -> Path:
    export_bids(path, out, subject="01")
    return out


def test_a_blinded_export_tells_no_condition(sealed: Recording, tmp_path: Path) -> None:
    root = exported(sealed.path, tmp_path / "b")
    side = json.loads(next((root / "sub-01").rglob("*_eeg.json")).read_text("utf-8"))
    assert "blinded" in side["Blinded"]
    assert "ControlCondition" not in side
    made = {p.name for p in (root / "derivatives").rglob("*.tsv")}
    assert not any("features" in n for n in made)
    table = next((root / "derivatives").rglob("*decisions_events.tsv")).read_text("utf-8")
    titles = table.splitlines()[0].split("\t")
    assert not any(t.startswith(("joint", "pass_", "threshold_")) for t in titles)
    for file in root.rglob("*"):
        if file.suffix in (".json", ".tsv", ".md", "") and file.is_file():
            text = file.read_text("utf-8")
            for words in KINDS.values():
                assert words not in text
            assert "beach" not in text
    events = next((root / "sub-01").rglob("*_events.tsv")).read_text("utf-8")
    assert "question" in events
    assert "answer" in events
    copy = read(next((root / "sourcedata").rglob("*.xdf")))
    assert all("beach" not in str(e.data) for e in copy.events)
    assert copy.header["study"]["token"] == STUDY["token"]


def test_a_token_that_is_the_client_is_not_exported(sealed: Recording, tmp_path: Path) -> None:
    from engine.recording import rewrite

    named = tmp_path / "named.xdf"
    header = {**sealed.header, "client": STUDY["token"]}
    rewrite(sealed.path, named, header, sealed.spec, lambda _, row: row)
    root = exported(named, tmp_path / "c")
    copy = read(next((root / "sourcedata").rglob("*.xdf")))
    assert "token" not in copy.header["study"]
    assert "client" not in copy.header


def test_an_open_control_export_says_so(control: Recording, tmp_path: Path) -> None:
    root = exported(control.path, tmp_path / "o")
    side = json.loads(next((root / "sub-01").rglob("*_eeg.json")).read_text("utf-8"))
    assert side["ControlCondition"] == f"noise: {KINDS['noise']}"


def test_new_events_become_rows(running: Recording) -> None:
    events = [Event(T0, 500 + 10 * k, kind, d) for k, (kind, d) in enumerate(NEW_KINDS.items())]
    events += [
        Event(T0, 900, "trial", {"n": 1, "task": "up", "mean_uv": 3.5, "passed": True}),
        Event(T0, 910, "trial", {"n": 2, "task": "up", "mean_uv": None, "rejected": "gate"}),
        Event(T0, 920, "question", {"phase": 1, "text": "What?"}),
        Event(T0, 930, "reward", {"n": 1, "phase": 1}),
    ]
    found, _ = rows(replace(running, events=tuple(events)))
    told = [(r.trial_type, r.value, r.cause) for r in found if r.trial_type in TRIAL_TYPES]
    assert ("trial", "3.5", "up") in told
    assert ("trial", "", "up rejected gate") in told
    assert ("answer", "", "") in told
    assert ("reward", "", "") in told
    assert ("threshold_kept", "", "smr above drift guard") in told
    assert {r.trial_type for r in found} <= set(TRIAL_TYPES)
    assert not any(math.isnan(r.lasts_s) for r in found)
