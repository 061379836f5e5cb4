"""Progress over sessions: known changes come out again, and what cannot be known says so."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import assemble, feature_units
from engine.cli.main import main
from engine.errors import FileError, InputError
from engine.features import FEATURES
from engine.frames import Chunk, Command, Phase, PhaseKind, Presented, StreamSpec
from engine.grid import Grid
from engine.learning import LearnerRule
from engine.person import Person, columns
from engine.progress import (
    BLINDED,
    CONSTANT_RATE,
    DESCRIPTION,
    Progress,
    progress,
    progress_of,
    rule_of,
)
from engine.progresspage import build_page, write_page
from engine.progresstext import as_json, as_text
from engine.record import Recorder
from engine.recording import Recording, Table, read, rewrite
from protocols.load import load
from protocols.plan import expand

RATE_HZ = 250.0
T0 = 500.0
SPEC = StreamSpec("sim", "EEG", "sim-1", "uid", "host", RATE_HZ, columns(), "float32")


def short_plan(protocol: Any) -> tuple[Phase, ...]:
    """Return baseline, four training blocks, transfer and rest, under a minute in all."""
    kept: list[Phase] = []
    for phase in expand(protocol, short_s=120.0):
        late = phase.kind is PhaseKind.TRAIN and phase.block > 4
        if late or phase.kind is PhaseKind.REST:
            while kept and kept[-1].kind is PhaseKind.READY:
                kept.pop()
            continue
        kept.append(phase)
    return tuple(
        replace(p, index=i, lasts_s=min(p.lasts_s, 13.0 if p.learn else 6.0))
        for i, p in enumerate(kept)
    )


def a_session(path: Path, day: int, *, gain: float = 1.0, name: str = "smr_up") -> Path:
    """Record a session without LSL, as the conductor would; SMR times `gain` after the rest."""
    loaded = load(name, FEATURES)
    protocol = loaded.protocol
    plan = short_plan(protocol)
    assembly = assemble(SPEC, protocol, plan, mains_hz=50.0)
    header = {
        "client": "C-017",
        "started": f"2026-03-{day:02d}T10:00:00+01:00",
        "test_session": False,
        "protocol": protocol,
        "plan": plan,
        "delay_s": assembly.delay_s,
        "level_feature": assembly.level_feature,
        "feature_units": feature_units(protocol),
        "mains_hz": 50.0,
        "gate_memory": getattr(assembly, "gate_memory", 0),
        "grid_hz": SPEC.grid_hz,
        "hop": SPEC.hop,
    }
    t = T0
    recorder = Recorder(
        path,
        header,
        SPEC,
        features=feature_units(protocol),
        metrics=assembly.fold.gates.metric_names,
        rules=[r.feature for r in protocol.rules],
        now=lambda: t,
    )
    person = Person(RATE_HZ, seed=day, eyes="open", blinks=False, jaw=False)
    start = Command(assembly.fold.next_grid, "start", "", math.nan, "")
    recorder.input(start)
    assembly.fold.step(start)
    seq = 0
    while not assembly.decider.kind.terminal and seq < 120 * RATE_HZ:
        phase = assembly.decider.phase
        if phase is not None and phase.kind is PhaseKind.TRAIN:
            person.gains["smr"] = gain
        x = person.read(25).astype(np.float32)
        stamps = T0 + (seq + np.arange(25)) / RATE_HZ
        t = float(stamps[-1])
        recorder.raw(x, stamps)
        for point in assembly.fold.step(Chunk(seq, stamps, x.astype(np.float64))):
            recorder.feature(point.frame)
            recorder.decision(point.decision)
            for event in point.events:
                recorder.event(event)
            d = point.decision
        seq += 25
        recorder.presented(Presented(d.seq, t, t, t + 0.025, d.level, d.reward, 0))
    recorder.close()
    assert recorder.fault is None
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions and a test session."""
    folder = tmp_path_factory.mktemp("progress")
    for day, gain in ((2, 0.6), (4, 1.2), (6, 2.5)):
        a_session(folder / f"2026030{day}T100000_C-017_smr_up_aaaa.xdf", day, gain=gain)
    last = read(folder / "20260306T100000_C-017_smr_up_aaaa.xdf")
    test = {**last.header, "test_session": True, "started": "2026-03-08T10:00:00+01:00"}
    target = folder / "20260308T100000_C-017_smr_up_aaaa.xdf"
    rewrite(last.path, target, test, last.spec, lambda _, row: row)
    return folder


@pytest.fixture(scope="module")
def told(folder: Path) -> Progress:
    return progress("C-017", folder)


@pytest.fixture(scope="module")
def one(folder: Path) -> Recording:
    return read(sorted(folder.glob("*.xdf"))[0])


# ---------------------------------------------------------------- end to end


def test_three_sessions_are_told(told: Progress, folder: Path) -> None:
    assert [s.number for s in told.sessions] == [1, 2, 3]
    assert [s.started[:10] for s in told.sessions] == ["2026-03-02", "2026-03-04", "2026-03-06"]
    assert (told.feature, told.direction, told.scale) == ("smr", "above", "ln")
    assert [s.why for s in told.skipped] == ["a test session; --tests counts it in"]
    assert len(progress("C-017", folder, tests=True).sessions) == 4
    for s in told.sessions:
        assert s.outcome == "done"
        assert len(s.blocks) == 4
        assert s.transport_ms["p95"] == pytest.approx(25.0)
        assert s.estimator_s is not None
        assert s.thresholds
        assert s.muscle_change is not None
        assert s.fitted == "session"
        assert s.clean_share is not None
        assert s.clean_share > 0.8


def test_numbers_of_a_session_are_those_of_its_rows(told: Progress, one: Recording) -> None:
    """By hand from the recorded columns: rest of the event, training of the clean rows."""
    s = told.sessions[0]
    rest = next(e for e in one.events if e.kind == "resting").data["features"]["smr"]
    assert s.level.rest == rest["mean"]
    assert s.level.spread == rest["mad"]
    grid = Grid(one)
    r = grid.rows
    good = (r.kind == PhaseKind.TRAIN.value) & (r.gate == 0) & (r.held == 0)
    good &= r.trusted[:, [grid.columns[f] for f, _ in grid.rules]].all(axis=1)
    x = np.log(r.values[good, grid.columns["smr"]])
    assert s.level.train == pytest.approx(float(x.mean()), abs=1e-9)
    assert s.change == pytest.approx(float(x.mean()) - rest["mean"])
    assert s.z.mean == pytest.approx((float(x.mean()) - rest["mean"]) / rest["mad"])
    means = [b.mean or 0.0 for b in s.counted]
    assert s.last_minus_first == pytest.approx(means[-1] - means[0])
    assert s.slope.per_step == pytest.approx(np.polyfit([1, 2, 3, 4], means, 1)[0])
    assert s.transfer_z == pytest.approx(((s.level.transfer or 0.0) - rest["mean"]) / rest["mad"])


def test_trends_over_three_sessions(told: Progress) -> None:
    z = [s.z.mean or 0.0 for s in told.sessions]
    fit = told.trends["session"]
    assert fit.values == tuple(z)
    assert fit.ols.per_step == pytest.approx((z[2] - z[0]) / 2)
    assert fit.theil_sen.low is None
    assert fit.last_minus_first == pytest.approx(z[2] - z[0])
    assert "fixed filter" in told.trends["rest"].why
    assert told.trends["rest_fixed"].ols.per_step is not None
    assert told.partial.per_step is None  # three sessions are too few for two regressors
    assert told.effect.d_z is None
    assert told.effect_blocks.n == 4
    assert told.verdict is not None
    assert {b.name: b.role for b in told.beside} == {"theta": "other", "high_beta": "other"}
    assert "Neighbouring bands: not measured" in told.specificity


def test_a_threshold_of_the_first_session_is_kept(told: Progress, one: Recording) -> None:
    """Filters are fitted anew: by the fixed filter, at the level that is as rare in session 1."""
    assert "by the fixed filter" in told.threshold_by
    s = told.sessions[0]
    r = Grid(one).rows
    first = r.thresholds[np.isfinite(r.thresholds[:, 0]), 0][0]
    good = (r.kind == PhaseKind.TRAIN.value) & (r.gate == 0) & (r.held == 0)
    live = float((r.values[good, 0] > first).mean())
    assert s.over_first == pytest.approx(live, abs=0.03)
    assert (told.sessions[2].over_first or 0.0) > live


def test_less_than_three_sessions_have_no_slope(one: Recording) -> None:
    told = progress_of("C-017", "smr_up", [one, one])
    assert told.trends["session"].ols.per_step is None
    assert "at least 3" in told.trends["session"].ols.why
    assert told.verdict is not None
    assert told.verdict.verdict == "cannot be said"
    assert "there are 2" in as_text(told)


# ---------------------------------------------------------------- known changes


@dataclass(frozen=True)
class Changed:
    """Changes a recording's values in training, as if the person had done otherwise."""

    recording: Recording

    def __call__(
        self,
        day: int,
        smr_ln: Sequence[float] = (0.0,) * 4,
        muscle_ln: Sequence[float] = (0.0,) * 4,
        gated: Sequence[int] = (),
    ) -> Recording:
        source = self.recording
        names = source.features.columns
        features, decisions = source.features.values.copy(), source.decisions.values.copy()
        plan = {p["index"]: p for p in source.header["plan"]}
        place = {int(n): i for i, n in enumerate(features[:, names.index("seq")])}
        columns_ = source.decisions.columns
        metrics = [i for i, n in enumerate(names) if n.startswith("gate_muscle_")]
        for row in decisions:
            if row[columns_.index("kind")] != PhaseKind.TRAIN.value:
                continue
            block = int(plan[int(row[columns_.index("phase")])]["block"])
            at = place[int(row[columns_.index("seq")])]
            for name in ("smr", "fixed_smr"):
                features[at, names.index(name)] *= math.exp(smr_ln[block - 1])
            features[at, metrics] *= math.exp(muscle_ln[block - 1])
            if block in gated:
                row[columns_.index("gate")] = 1
        header = {**source.header, "started": f"2026-05-{day:02d}T10:00:00+02:00"}
        return replace(
            source,
            path=source.path.with_name(f"day{day}.xdf"),
            header=header,
            features=Table(names, features),
            decisions=Table(columns_, decisions),
        )


@pytest.fixture(scope="module")
def changed(one: Recording) -> Changed:
    return Changed(one)


def test_a_known_change_per_session_comes_out(changed: Changed) -> None:
    jitter = [0.01, -0.02, 0.0, 0.02, -0.01, 0.01]
    series = [changed(k + 1, [0.1 * k] * 4, [jitter[k]] * 4) for k in range(6)]
    told = progress_of("C-017", "smr_up", series)
    spread = told.sessions[0].level.spread or math.nan
    for name, step in (("session", 0.1 / spread), ("fixed", 0.1)):
        trend = told.trends[name]
        assert trend.ols.per_step == pytest.approx(step, rel=1e-6)
        assert trend.theil_sen.per_step == pytest.approx(step, rel=1e-6)
        assert trend.last_minus_first == pytest.approx(5 * step, rel=1e-6)
    assert told.trends["rest_fixed"].ols.per_step == pytest.approx(0.0, abs=1e-12)
    assert told.trends["muscle"].values[3] == pytest.approx(
        (told.trends["muscle"].values[2] or 0.0) + 0.02
    )
    assert told.partial.per_step == pytest.approx(0.1 / spread, rel=1e-6)
    assert told.effect.n == 3
    assert told.effect.difference == pytest.approx(0.3 / spread, rel=1e-6)
    assert told.verdict is not None
    assert told.verdict.conditions[0].met
    assert told.verdict.conditions[1].met
    assert told.verdict.verdict == "learner"
    shares = [s.over_first or 0.0 for s in told.sessions]
    assert shares == sorted(shares)


def test_a_known_change_per_block_comes_out(changed: Changed) -> None:
    told = progress_of(
        "C-017", "smr_up", [changed(1), changed(2, [0.2, 0.4, 0.6, 0.8]), changed(3)]
    )
    flat, steep, _ = told.sessions
    assert (steep.slope.per_step or 0.0) - (flat.slope.per_step or 0.0) == pytest.approx(0.2)
    assert (steep.last_minus_first or 0.0) - (flat.last_minus_first or 0.0) == pytest.approx(0.6)


def test_a_muscle_cheat_is_no_learner(changed: Changed) -> None:
    """Whatever the feature gained goes with muscle, from block to block and over sessions."""
    own = (progress_of("C-017", "smr_up", [changed(1)]).sessions[0].change or 0.0) + 0.1
    tone = [[0.0, 0.4, 0.1, 0.5], [0.3, 0.1, 0.6, 0.2], [0.7, 0.3, 0.8, 0.5], [0.4, 1.0, 0.6, 0.9],
            [1.2, 0.8, 1.3, 0.9], [1.0, 1.5, 1.1, 1.6]]  # fmt: skip
    series = [changed(k + 1, [2.0 * m - own for m in tone[k]], tone[k]) for k in range(6)]
    told = progress_of("C-017", "smr_up", series)
    assert told.trends["session"].ols.p_up == pytest.approx(0.0, abs=0.01)
    assert (told.trends["muscle"].ols.per_step or 0.0) > 0.15
    spread = told.sessions[0].level.spread or math.nan
    assert told.with_muscle.per_step == pytest.approx(2.0 / spread, rel=0.2)
    assert told.partial.per_step == pytest.approx(0.0, abs=0.05)
    assert told.verdict is not None
    assert told.verdict.verdict == "not (yet)"
    assert told.verdict.conditions[1].met is False
    assert "muscle" in told.verdict.why


def test_blocks_mostly_not_clean_do_not_count(changed: Changed) -> None:
    spoilt = changed(1, [0.0, 5.0, 0.0, 0.0], gated=[2])
    clean = changed(2)
    told = progress_of("C-017", "smr_up", [spoilt, clean, changed(3)])
    first, second, _ = told.sessions
    assert [b.left_out for b in first.blocks] == ["", "more than half was not clean", "", ""]
    assert first.slope.n == 3
    assert abs((first.z.mean or 0.0) - (second.z.mean or 0.0)) < 3.0
    assert "1 block left out: more than half was not clean" in first.notes
    assert (first.clean_share or 0.0) < 0.8


def test_a_reward_below_is_signed_towards_the_trained_direction(changed: Changed) -> None:
    def below(day: int, shift: float) -> Recording:
        made = changed(day, [shift] * 4)
        protocol = json.loads(json.dumps(made.header["protocol"]))
        protocol["reward"]["direction"] = "below"
        return replace(made, header={**made.header, "protocol": protocol})

    if Grid(below(1, 0.0)).protocol is None or Grid(below(1, 0.0)).rules[0][1] != "below":
        pytest.skip("the protocol's reward is written otherwise")
    told = progress_of("C-017", "smr_up", [below(k + 1, -0.3 * k) for k in range(4)])
    assert told.direction == "below"
    spread = told.sessions[0].level.spread or math.nan
    assert told.trends["session"].ols.per_step == pytest.approx(0.3 / spread, rel=1e-6)
    assert told.sessions[0].level.train == told.sessions[0].level.train
    assert any("positive numbers mean that it fell" in n for n in told.notes)
    shares = [s.over_first or 0.0 for s in told.sessions]
    assert shares == sorted(shares)


# ---------------------------------------------------------------- what cannot be told


def blinded(recording: Recording) -> Recording:
    """Return a recording whose features are withheld."""
    values = recording.features.values.copy()
    for i, name in enumerate(recording.features.columns):
        if name in ("smr", "theta", "high_beta") or name.startswith("fixed_"):
            values[:, i] = np.nan
    return replace(recording, features=Table(recording.features.columns, values))


def test_a_blinded_series_tells_no_number(one: Recording) -> None:
    told = progress_of("C-017", "smr_up", [blinded(one)] * 3)
    assert told.blinded
    assert told.sessions == ()
    assert told.verdict is None
    text = as_text(told)
    assert BLINDED in text
    assert "SD" not in text
    row = as_json(told)
    assert row["sessions"] == []
    assert row["trends"] == {}
    assert BLINDED in row["statements"]
    assert BLINDED in build_page(told)
    assert "<svg" not in build_page(told)


def test_a_session_that_trains_something_else_is_left_out(one: Recording) -> None:
    other = replace(one, header={k: v for k, v in one.header.items() if k != "protocol"})
    told = progress_of("C-017", "smr_up", [other, one, one, one])
    assert len(told.sessions) == 3
    assert "it trained smr" in told.skipped[0].why


def test_a_recording_without_training_is_left_out(one: Recording) -> None:
    none = replace(one, decisions=Table(one.decisions.columns, one.decisions.values[:5]))
    told = progress_of("C-017", "smr_up", [none])
    assert [s.why for s in told.skipped] == ["no training block was recorded"]
    assert "No session can be counted" in as_text(told)
    assert "No session can be counted" in build_page(told)


def test_muscle_that_was_not_measured_is_not_ruled_out(changed: Changed) -> None:
    def deaf(day: int) -> Recording:
        made = changed(day, [0.2 * day + 0.01 * (day % 3)] * 4)
        values = made.features.values.copy()
        at = [i for i, n in enumerate(made.features.columns) if n.startswith("gate_muscle_")]
        values[:, at] = np.nan
        return replace(made, features=Table(made.features.columns, values))

    told = progress_of("C-017", "smr_up", [deaf(k) for k in range(1, 7)])
    assert told.verdict is not None
    assert told.verdict.verdict == "cannot be said"
    assert "muscle cannot be ruled out" in told.verdict.why
    assert told.sessions[0].muscle_train is None


# ---------------------------------------------------------------- finding recordings


def test_what_is_not_there_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no folder"):
        progress("C-017", tmp_path / "none")
    with pytest.raises(InputError, match="no recording of the client C-018"):
        progress("C-018", folder)
    with pytest.raises(InputError, match="no session of C-017 with the protocol faa"):
        progress("C-017", folder, protocol="faa")


def test_damaged_and_repaired_files_do_not_stop_it(folder: Path, tmp_path: Path) -> None:
    for path in sorted(folder.glob("*.xdf"))[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = sorted(tmp_path.glob("*.xdf"))[0]
    (tmp_path / f"{first.stem}-recovered.xdf").write_bytes(first.read_bytes())
    (tmp_path / "20260309T100000_C-017_smr_up_bbbb.xdf").write_bytes(b"XDF:nothing")
    (tmp_path / "other.xdf").write_bytes(b"")
    told = progress("C-017", tmp_path)
    assert len(told.sessions) == 3
    assert sorted(s.why.split(" as")[0] for s in told.skipped) == [
        "its header cannot be read", "the same session",
    ]  # fmt: skip


def test_rules_of_study_files(told: Progress) -> None:
    @dataclass(frozen=True)
    class Declared:
        metric: str = "session_slope"
        alpha: float = 0.01
        share: float = 0.6
        last: int = 4

    rule = rule_of(Declared(), "the study file tbr.yaml")
    assert rule == LearnerRule("session_slope", 0.01, 0.6, 4, "the study file tbr.yaml")
    assert "declares none" in rule_of(None, "the study file tbr.yaml").declared
    with pytest.raises(InputError, match="not known"):
        rule_of(Declared(metric="luck"), "tbr.yaml")


# ---------------------------------------------------------------- text, JSON, page


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href"):
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_tells_it_all(told: Progress, tmp_path: Path) -> None:
    page = write_page(told, tmp_path / "p.html").read_text("utf-8")
    found = Tags(page)
    assert found.tags.count("svg") == 3
    assert "script" not in found.tags
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith("#") for link in found.links)
    text = " ".join(found.text.split())
    for said in (DESCRIPTION, CONSTANT_RATE, "cannot be said", "By chance alone", "Session 1"):
        assert said in text
    assert "nan" not in text.lower().split()
    assert "None" not in text
    assert build_page(told) == page


def test_names_cannot_break_the_page(told: Progress) -> None:
    bad = "</text></svg><script>alert(1)</script>$x_{1}$"
    page = build_page(replace(told, client=bad, feature=bad, what=bad, title=bad))
    assert "script" not in Tags(page).tags


def test_json_is_whole_and_strict(told: Progress) -> None:
    row = json.loads(json.dumps(as_json(told), allow_nan=False))
    assert len(row["sessions"]) == 3
    first = row["sessions"][0]
    assert first["muscle_change"] == pytest.approx(told.sessions[0].muscle_change)
    assert set(row["trends"]) >= {"session", "transfer", "rest_fixed", "over_first", "muscle"}
    assert row["verdict"]["rule"]["sentence"].startswith("Learner:")
    assert DESCRIPTION in row["statements"]


def test_the_text_never_claims_that_it_works(told: Progress) -> None:
    text = as_text(told)
    assert DESCRIPTION in text
    for word in ("effective", "success", "improve", "treat", "respond"):
        assert word not in text.lower()


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["progress", "C-017", "--folder", str(folder)]
    assert main(asked) == 0
    assert "Progress of C-017" in capsys.readouterr().out
    assert main([*asked, "--json", "--out", str(tmp_path / "p.html")]) == 0
    assert json.loads(capsys.readouterr().out)["client"] == "C-017"
    assert (tmp_path / "p.html").exists()
    assert main(["progress", "C-018", "--folder", str(folder)]) == 2
    assert "Check the id" in " ".join(capsys.readouterr().err.split())
