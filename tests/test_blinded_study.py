"""A whole small blinded study: nothing that is left in plain tells an arm.

Sessions of every arm run through `engine.run.run_session` on the same EEG, in fake time: a fake
amplifier, window and clock, real everything else. What is left must be alike in every arm, but for
what was presented.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine import publish as publish_module
from engine import run as run_module
from engine import session as session_module
from engine.batch import replay_all
from engine.clock import FakeClock
from engine.columns import plain
from engine.donors import Donor, write_donor
from engine.enrol import enrol
from engine.errors import FileError, InputError, NeuroloopError
from engine.export import export_bids
from engine.features import FEATURES
from engine.frames import PhaseKind, Presented, Show, StreamSpec, frozen
from engine.number import Received
from engine.opened import log_path, opened
from engine.person import Person, columns
from engine.publish import Publisher
from engine.recording import Recording, read
from engine.replay import replay_recording, write_tables
from engine.report import write_report
from engine.run import Ran, RunOptions, StudyChoice, run_session
from engine.seal import (
    KEY_FILE,
    SEALED_FILE,
    Assigned,
    Cost,
    Unsealed,
    allocate,
    unseal,
    write_allocation,
)
from engine.sealedlog import FRAME, HEAD_BYTES
from engine.study import LoadedStudy, load_study
from feedback.worker import Beat, Message, Ready
from protocols.load import load
from protocols.sham import KINDS, Series

pytestmark = pytest.mark.timeout(400)

RATE_HZ = 250.0
PACKET = 25
PASSPHRASE = "correct horse battery"
SPEC = StreamSpec("amp", "EEG", "amp-1", "u1", "here", RATE_HZ, columns())
ARMS = {
    "zebra": "real",
    "walrus": "replay_other",
    "heron": "yoked",
    "otter": "replay_own",
    "lynx": "inverse",
    "gecko": "random_band",
    "ibex": "noise",
}
STUDY = """format: 1
name: pilot
protocol: smr_up
sessions: 2
blinding: double
arms:
{arms}
"""
ROOM = """format: 1
name: Lab
use: test
stream: {name: amp, type: EEG, counter: counter}
mains: 50 Hz
lsl: {loopback_only: yes, session_id: blinded}
screen: {full_screen: no, size: 320 x 180, required: no}
sound: {required: no}
record: {keep_free_gb: 0}
publish: yes
"""
# What is a session's own, in any arm.
OWN = ("client", "token", "sealed_log", "started", "uid", "session_id", "recording")


class Amplifier:
    """The same EEG for everybody, in fake time; waiting for it is what makes time pass."""

    def __init__(self, clock: FakeClock, eeg: np.ndarray) -> None:
        self.clock, self.eeg = clock, eeg
        self.failure: BaseException | None = None
        self.last_sample_t: float | None = None
        self.clock_offset_s: float | None = 0.0
        self.began, self.made = clock.now(), 0

    def start(self) -> None:
        pass

    def stop(self, _timeout_s: float = 2.0) -> bool:
        return True

    def get(self, timeout_s: float = 0.0) -> Received | None:
        until = self.clock.now() + timeout_s
        while True:
            due = self.began + (self.made + PACKET) / RATE_HZ
            if due <= self.clock.now() + 1e-9:
                rows = np.arange(self.made, self.made + PACKET)
                self.made += PACKET
                samples = self.eeg[rows % len(self.eeg)].astype(np.float32)
                samples[:, -1] = rows
                self.last_sample_t = self.clock.now()
                stamps = self.began + (rows + 1) / RATE_HZ
                return Received(samples, stamps, self.clock.now())
            left = min(until, due) - self.clock.now()
            if left <= 1e-9:
                return None
            self.clock.advance(left)


class Markers:
    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def get(self, _timeout_s: float = 0.0) -> None:
        return None


class Screen:
    """A window that presents what it is given."""

    def __init__(self, clock: FakeClock, shows: list[Show]) -> None:
        self.clock, self.shows = clock, shows
        self.messages: list[Message] = []
        self.alive = False
        self._beat_t = -math.inf

    def start(self) -> None:
        self.alive = True
        self.messages.append(Ready({"SDL": "2"}, "dummy", "dummy", (320, 180), 60.0))

    def show(self, show: Show) -> None:
        self.shows.append(show)
        level = show.level if show.screen == "feedback" else None
        now = self.clock.now()
        self.messages.append(Presented(show.seq, show.t, show.sent, now, level, False, 0))

    def poll(self) -> tuple[Message, ...]:
        now = self.clock.now()
        if now - self._beat_t >= 0.1:
            self._beat_t = now
            self.messages.append(Beat(now, 60.0, 0))
        out, self.messages = tuple(self.messages), []
        return out

    def stop(self, _timeout_s: float = 2.0) -> None:
        self.alive = False


class Outlets(Publisher):
    """The streams on the network, kept instead of sent."""

    streams: dict[str, list[tuple[list[Any], float]]]
    offered: dict[str, tuple[str, ...]]

    def _outlet(self, what: str, stype: str, rate_hz: float, names: Any, units: Any) -> Any:
        del stype, rate_hz, units
        rows = self.streams[what] = deque()  # type: ignore[assignment]
        self.offered[what] = tuple(names)
        return SimpleNamespace(push_sample=lambda row, t: rows.append((list(row), t)))


@dataclass
class Left:
    """What one session left behind."""

    arm: str
    ran: Ran
    said: list[str]
    console: str
    log: str
    shows: list[Show]
    streams: dict[str, list[tuple[list[Any], float]]]
    offered: dict[str, tuple[str, ...]]

    @cached_property
    def recording(self) -> Recording:
        return read(self.ran.recording)


@dataclass
class Study:
    """The study's files and its sessions, by arm."""

    folder: Path
    loaded: LoadedStudy
    unsealed: Unsealed
    eeg: np.ndarray
    tokens: dict[str, list[str]]
    left: dict[str, Left] = field(default_factory=dict)

    def options(self, token: str, **more: Any) -> RunOptions:
        choice = StudyChoice(self.folder / "study.yaml", token)
        return RunOptions(
            protocol="",
            room=str(self.folder / "room.yaml"),
            client=f"c{token.lower()}",
            short_s=48.0,
            out=self.folder / "out",
            headless=True,
            silent=True,
            plain=True,
            study=choice,
            seed=7,
            **more,
        )

    def run(self, arm: str, token: str, **more: Any) -> Left:
        """Run one session in fake time."""
        clock = FakeClock()
        shows: list[Show] = []
        said: list[str] = []
        streams: dict[str, Any] = {}
        offered: dict[str, tuple[str, ...]] = {}

        def publisher(*args: Any) -> Outlets:
            made = Outlets(*args)
            made.streams, made.offered = streams, offered
            return made

        console, log = io.StringIO(), io.StringIO()
        handler = logging.StreamHandler(log)
        root = logging.getLogger()
        with pytest.MonkeyPatch.context() as m, contextlib.redirect_stdout(console):
            m.setattr(run_module, "resolve", lambda *_: SPEC)
            m.setattr(run_module, "configure_lsl", lambda _: None)
            m.setattr(publish_module, "configure_lsl", lambda _: None)
            m.setattr(publish_module, "mark_used", lambda: None)
            m.setattr(run_module, "LslClock", lambda: clock)
            m.setattr(run_module, "now", clock.now)
            m.setattr(run_module, "LslSource", lambda *_: Amplifier(clock, self.eeg))
            m.setattr(run_module, "MarkerSource", lambda *_: Markers())
            m.setattr(run_module, "Window", lambda _: Screen(clock, shows))
            m.setattr(run_module, "Publisher", publisher)
            m.setattr(session_module, "wall", lambda: SimpleNamespace(timestamp=clock.now))
            m.setattr("engine.report.write_report", lambda path: path)  # made below, for two
            m.setattr(Assigned, "seed", lambda _: 12345)  # what is drawn is not an arm's
            root.addHandler(handler)
            level = root.level
            root.setLevel(logging.DEBUG)
            try:
                ran = run_session(self.options(token, **more), said.append)
            finally:
                root.setLevel(level)
                root.removeHandler(handler)
        return Left(arm, ran, said, console.getvalue(), log.getvalue(), shows, streams, offered)


def donors(folder: Path, sha256: str) -> None:
    """Write two donors of a test session each, of sessions 1 and 2."""
    rng = np.random.default_rng(3)
    for number in (1, 2):
        blocks = []
        for _ in range(2):
            level = np.clip(0.5 + np.cumsum(rng.normal(0, 0.03, 900)), 0.0, 1.0)
            level[200:230] = np.nan
            reward = np.isfinite(level) & (rng.random(900) < 0.02)
            blocks.append(Series(frozen(level), frozen(reward)))
        made = Donor("smr_up", sha256, SPEC.grid_hz, number, tuple(blocks), test=True)
        write_donor(made, folder / f"{number}.donor.npz")


def set_up(folder: Path, arms: dict[str, str]) -> Study:
    lines = []
    for name, kind in arms.items():
        more = ", donors: donors" if kind in ("yoked", "replay_other") else ""
        lines.append(f"  - {{name: {name}, control: {kind}{more}}}")
    path = folder / "study.yaml"
    path.write_text(STUDY.format(arms="\n".join(lines)), encoding="utf-8")
    (folder / "room.yaml").write_text(ROOM, encoding="utf-8")
    (folder / "out").mkdir()
    sha256 = load("smr_up", FEATURES).sha256
    donors(folder / "donors", sha256)
    loaded = load_study(path)
    files = allocate(
        loaded, 2 * len(arms), PASSPHRASE, protocol_sha256=sha256, cost=Cost(n=16, r=1, p=1)
    )
    write_allocation(files, folder)
    unsealed = unseal(folder / SEALED_FILE, PASSPHRASE, loaded)
    tokens: dict[str, list[str]] = {}
    for row in unsealed.assignments:
        tokens.setdefault(row.arm, []).append(row.token)
        enrol(folder, row.token, f"c{row.token.lower()}")  # all have come, in their order
    person = Person(RATE_HZ, seed=6, jaw=False)
    eeg = person.read(round(60 * RATE_HZ))[:, : len(SPEC.channels)]
    return Study(folder, loaded, unsealed, eeg, tokens)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Run one session of every arm, of different participants."""
    made = set_up(tmp_path_factory.mktemp("study"), ARMS)
    for arm in ARMS:
        made.left[arm] = made.run(arm, made.tokens[arm][0])
    return made


def neutral(text: str, left: Left) -> str:
    """Return a text without what is the session's own: client, token, file names, times."""
    client = str(left.recording.header["client"])
    text = text.replace(left.ran.recording.stem, "NAME")
    text = text.replace(client, "CLIENT").replace(client[1:].upper(), "TOKEN")
    text = re.sub(r"\b[0-9a-f]{32,64}\b", "HASH", text)
    text = re.sub(r"\d+(\.\d+)? GB", "GB", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.+-]+", "TIME", text)


def same_for_all(values: dict[str, Any]) -> None:
    first, *others = values.items()
    for arm, value in others:
        assert value == first[1], (first[0], arm)


# ---------------------------------------------------------------- it did what it should


def test_every_arm_presented_what_was_assigned(study: Study) -> None:
    courses = {}
    for arm, left in study.left.items():
        assert left.ran.outcome.state is PhaseKind.DONE, left.said
        log = opened(left.recording, study.unsealed.private_key)
        assert not log.damage
        assert log.control is not None
        chosen = log.control["controls"][log.control["chosen"]]
        assert chosen["kind"] == ARMS[arm]
        d = left.recording.decisions
        train = d.column("kind") == PhaseKind.TRAIN.value
        courses[arm] = d.column("level")[train]
        assert np.isfinite(courses[arm]).any(), arm
    arms = list(courses)
    for i, one in enumerate(arms):
        for two in arms[:i]:
            assert not np.array_equal(courses[one], courses[two], equal_nan=True), (one, two)


def test_what_was_presented_is_the_same_on_every_way_out(study: Study) -> None:
    """Window, network, decisions and what was seen agree at every tick, in every arm."""
    for left in study.left.values():
        recording = left.recording
        d = recording.decisions
        level = dict(zip(d.column("seq").tolist(), d.column("level").tolist(), strict=True))
        rewards = dict(zip(d.column("seq").tolist(), d.column("rewards").tolist(), strict=True))
        on_screen = [s for s in left.shows if s.screen == "feedback"]
        assert len(on_screen) > 200
        for show in on_screen:
            want = level[show.seq]
            assert show.level == (None if math.isnan(want) else want)
            assert show.gated == (show.level is None)
            assert show.rewards == rewards[show.seq]
        network = [row for row, _ in left.streams["feedback"]]
        assert len(network) == len(left.shows)
        for show, (value, gate, count) in zip(left.shows, network, strict=True):
            assert (None if math.isnan(value) else value) == show.level
            assert (gate > 0, count) == (show.gated, show.rewards)
        told = [json.loads(row[0]) for row, _ in left.streams["markers"]]
        n = sum(m["kind"] == "reward" for m in told)
        assert n == d.column("reward").sum() == d.column("rewards")[-1]


# ---------------------------------------------------------------- nothing tells the arm


def test_no_word_of_an_arm_anywhere(study: Study, tmp_path: Path) -> None:
    words = [*ARMS, *(k for k in KINDS if k not in ("real", "noise", "inverse"))]
    words += ["Noise", "<control", "chosen", '"noise"', '"inverse"', '"real"']
    texts: dict[str, bytes] = {}
    for left in study.left.values():
        texts[f"said {left.arm}"] = "\n".join([*left.said, left.console, left.log]).encode()
        texts[f"markers {left.arm}"] = repr(left.streams["markers"]).encode()
    for arm in ("zebra", "walrus", "ibex"):
        path = study.left[arm].ran.recording
        made = write_report(path, tmp_path / f"report{arm == 'ibex'}{arm == 'zebra'}.html")
        texts[f"report {arm}"] = made.read_bytes()
        root = tmp_path / f"bids{len(texts)}"
        export_bids(path, root, subject="01")
        done = replay_recording(path)
        write_tables(done, tmp_path / f"tables{len(texts)}")
    kept = {"study.yaml", SEALED_FILE, KEY_FILE}
    for root in (study.folder, tmp_path):
        for file in root.rglob("*"):
            if file.is_file() and file.name not in kept and file.parent.name != "donors":
                texts[str(file.relative_to(root))] = file.read_bytes()
                for word in ARMS:
                    assert word not in str(file.relative_to(root))
    assert len(texts) > 40
    for name, content in texts.items():
        found = [w for w in words if w.encode() in content]
        assert not found, (name, found)


def test_headers_are_the_same_but_for_names(study: Study) -> None:
    def header(left: Left) -> Any:
        text = neutral(json.dumps(plain(left.recording.header), sort_keys=True), left)
        return json.loads(text)

    same_for_all({arm: header(left) for arm, left in study.left.items()})
    some = header(study.left["zebra"])
    assert some["blinded"] is True
    assert (some["control"], some["shift"]) == (None, 0.0)
    assert some["study"]["token"] == "TOKEN"


def test_what_is_said_and_logged_is_the_same(study: Study) -> None:
    same_for_all({a: [neutral(s, x) for s in x.said] for a, x in study.left.items()})
    same_for_all({a: neutral(x.console, x) for a, x in study.left.items()})
    same_for_all({a: neutral(x.log, x) for a, x in study.left.items()})
    console = study.left["zebra"].console
    assert "BLINDED" in console
    assert "uV2" not in console


def test_events_have_the_same_shape(study: Study) -> None:
    """Rewards and what counts them differ, as they were presented; nothing else does."""

    def shape(left: Left) -> list[Any]:
        out = []
        for e in left.recording.events:
            if e.kind == "reward":
                continue
            data = {k: v for k, v in e.data.items() if k != "rewards"}
            out.append((e.seq, e.kind, neutral(json.dumps(plain(data), sort_keys=True), left)))
        return out

    same_for_all({arm: shape(left) for arm, left in study.left.items()})
    for left in study.left.values():
        keys = {(e.kind, tuple(sorted(e.data))) for e in left.recording.events}
        assert ("reward", ("n", "phase")) in keys
        kinds = {e.kind for e in left.recording.events}
        assert not kinds & {"threshold", "threshold_change", "shaped", "drowsy", "drift_guard"}
        assert not any(
            "rate_joint" in e.data or "crossover" in e.data for e in left.recording.events
        )


def test_only_what_was_presented_differs_in_the_recording(study: Study) -> None:
    differ = {"level", "reward", "rewards"}
    first = study.left["zebra"].recording
    n = len(first.decisions.values)
    for left in study.left.values():
        other = left.recording
        for name in ("features", "decisions"):
            one, two = getattr(first, name), getattr(other, name)
            assert one.columns == two.columns
            for label in one.columns:
                if label in differ or label == "why":
                    continue
                a, b = one.column(label)[:n], two.column(label)[:n]
                np.testing.assert_array_equal(a, b, err_msg=f"{left.arm} {label}")
        d = other.decisions
        hidden = [c for c in d.columns if c.startswith(("pass_", "threshold_"))]
        assert all(np.isnan(d.column(c)).all() for c in hidden)
        assert not d.column("joint").any()
        f = other.features
        names = [c for c in f.columns if c in other.header["feature_units"]]
        assert len(names) >= 3
        assert all(np.isnan(f.column(c)).all() for c in names)
        assert not f.column("trusted").any()
        # Why there is no level is the same word for every source.
        train = (d.column("kind") == PhaseKind.TRAIN.value) & (d.column("held") == 0)
        level, why = d.column("level")[train], d.column("why")[train]
        assert set(why[np.isnan(level)]) <= {1.0}
        assert set(why[np.isfinite(level)]) <= {0.0}


def test_nothing_of_the_brain_is_on_the_network(study: Study) -> None:
    for left in study.left.values():
        assert set(left.offered) == {"feedback", "markers"}
        for row, _ in left.streams["markers"]:
            data = json.loads(row[0])["data"]
            assert not {"value", "threshold", "rate_joint", "rate_alone", "mean_uv"} & set(data)
    same_for_all({a: x.offered for a, x in study.left.items()})
    same_for_all(
        {
            a: Counter(
                json.loads(r[0])["kind"]
                for r, _ in x.streams["markers"]
                if json.loads(r[0])["kind"] != "reward"
            )
            for a, x in study.left.items()
        }
    )


def test_research_logs_have_the_same_pieces(study: Study) -> None:
    """Neither number nor size of what is sealed tells anything."""

    def pieces(path: Path) -> list[int]:
        data, at, sizes = path.read_bytes(), HEAD_BYTES, []
        while at < len(data):
            _, _, length = FRAME.unpack(data[at : at + FRAME.size])
            sizes.append(length)
            at += FRAME.size + length
        return sizes

    same_for_all({a: pieces(log_path(x.ran.recording)) for a, x in study.left.items()})
    same_for_all({a: log_path(x.ran.recording).stat().st_mode for a, x in study.left.items()})


# ---------------------------------------------------------------- replay


@pytest.mark.parametrize("arm", ["zebra", "walrus", "otter", "gecko", "ibex"])
def test_replay_without_and_with_the_research_log(study: Study, arm: str) -> None:
    recording = study.left[arm].recording
    closed = replay_recording(recording)
    assert closed.comparison is not None
    assert closed.comparison.identical
    assert closed.comparison.withheld
    log = opened(recording, study.unsealed.private_key)
    done = replay_recording(recording, opened=log)
    assert done.comparison is not None
    assert done.comparison.identical, done.comparison.sentence
    assert not done.comparison.withheld
    recorded = recording.decisions.column("level")
    n = min(len(recorded), len(done.decisions))
    assert n > 1000
    column = [name for name, _ in done.decision_columns].index("level")
    np.testing.assert_array_equal(done.decisions[:n, column], recorded[:n])


def test_replay_tells_no_more_than_the_recording(study: Study, tmp_path: Path) -> None:
    """Rewards of the real thing beside those presented would tell the arm."""
    tables = {}
    for arm in ("zebra", "ibex"):
        path, folder = study.left[arm].ran.recording, tmp_path / arm
        said: list[str] = []
        (row,) = replay_all(path, None, None, None, folder / "all", say=said.append)
        assert row.get("identical_to_recording") is True, (row, said)
        assert not {"rewards", "joint_rate"} & {k for k, v in row.items() if v is not None}
        done = replay_recording(path)
        summary = done.summary()
        assert (summary["rewards"], summary["joint_rate"]) == (None, None)
        assert summary["rewards_per_clean_min"] is None
        files = [p for p in write_tables(done, folder) if p.suffix == ".tsv"]
        tables[arm] = {p.name: p.read_text(encoding="utf-8") for p in files}
        events = tables[arm]["events.tsv"]
        assert "phase_end" in events
        assert "\treward\t" not in events
        assert "\tthreshold\t" not in events
        assert "rate_joint" not in events
    assert tables["zebra"] == tables["ibex"]
    head, *rows = tables["ibex"]["decisions.tsv"].splitlines()
    at = {name: k for k, name in enumerate(head.split("\t"))}
    cells = [r.split("\t") for r in rows]
    for name in ("level", "reward", "joint", "rewards", "pass_0_smr", "threshold_0_smr"):
        assert {c[at[name]] for c in cells} == {"n/a"}, name


def test_a_changed_source_is_found_by_replay(study: Study) -> None:
    recording = study.left["walrus"].recording
    log = opened(recording, study.unsealed.private_key)
    assert log.control is not None
    for change in ("chosen", "seed"):
        control = json.loads(json.dumps(log.control))
        if change == "chosen":
            control["chosen"] = 0
        else:
            control["controls"][control["chosen"]]["donor"] = next(
                c["donor"] for c in json.loads(json.dumps(_other_donor(study).stored()))["controls"]
            )
        changed = type(log)(control, log.shift, log.features, log.decisions, log.events)
        done = replay_recording(recording, opened=changed)
        assert done.comparison is not None
        assert not done.comparison.identical, change


def _other_donor(study: Study) -> Any:
    from engine.controls import Asked, control_plan

    p = load("smr_up", FEATURES).protocol
    wanted = [Asked("yoked", study.folder / "donors")]
    log = opened(study.left["walrus"].recording, study.unsealed.private_key)
    assert log.control is not None
    used = log.control["controls"][log.control["chosen"]]["donor"]["session"]
    return control_plan(p, wanted, seed=1, session=3 - used, test=True)


def test_a_log_that_lacks_its_end_is_said(study: Study, tmp_path: Path) -> None:
    path = study.left["ibex"].ran.recording
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    data = log_path(path).read_bytes()
    for keep in (len(data) - 3000, HEAD_BYTES + 1):
        log_path(copy).write_bytes(data[:keep])
        if keep < 1000:
            with pytest.raises(FileError, match="opening"):
                opened(read(copy), study.unsealed.private_key)
            continue
        log = opened(read(copy), study.unsealed.private_key)
        assert log.damage
    log_path(copy).write_bytes(log_path(study.left["zebra"].ran.recording).read_bytes())
    with pytest.raises(FileError, match="belongs to another"):
        opened(read(copy), study.unsealed.private_key)
    log_path(copy).write_bytes(data)
    with pytest.raises(FileError):
        opened(read(copy), bytes(32))


def test_blinded_feedback_is_not_given_on(study: Study) -> None:
    from engine.donors import donate

    for left in study.left.values():
        with pytest.raises(InputError, match="unblinded"):
            donate(left.recording)


# ---------------------------------------------------------------- what goes wrong, alike for all


@pytest.fixture
def fresh(tmp_path: Path) -> Study:
    return set_up(tmp_path, {"zebra": "real", "walrus": "replay_other", "heron": "noise"})


def refused(study: Study) -> str:
    """Return the one refusal that every arm meets; nothing has begun by then."""
    said = set()
    for arm, tokens in study.tokens.items():
        lines: list[str] = []
        with pytest.raises(NeuroloopError) as error:
            study.run(arm, tokens[0])
        assert lines == []
        text = str(error.value).replace(tokens[0], "TOKEN").replace(str(study.folder), "")
        said.add(text)
    assert not list((study.folder / "out").iterdir())
    assert not (study.folder / "sessions.tsv").exists()
    (one,) = said
    return one


def test_donors_are_missing_in_every_arm_alike(fresh: Study) -> None:
    for file in (fresh.folder / "donors").iterdir():
        file.unlink()
    assert "no donor" in refused(fresh)


def test_a_changed_seal_is_refused_in_every_arm_alike(fresh: Study) -> None:
    path = fresh.folder / SEALED_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))
    assert "changed" in refused(fresh)


def test_another_key_is_refused_in_every_arm_alike(fresh: Study, tmp_path: Path) -> None:
    other = set_up_folder(tmp_path / "other")
    path = fresh.folder / KEY_FILE
    path.chmod(0o600)
    path.write_bytes((other.folder / KEY_FILE).read_bytes())
    refused(fresh)


def set_up_folder(folder: Path) -> Study:
    folder.mkdir()
    return set_up(folder, {"zebra": "real", "walrus": "noise"})


def test_a_clinical_room_refuses_every_arm_alike(fresh: Study) -> None:
    room = fresh.folder / "room.yaml"
    room.write_text(ROOM.replace("use: test", "use: clinical"), encoding="utf-8")
    fresh.options = lambda token, **_: RunOptions(  # type: ignore[method-assign]
        protocol="",
        room=str(room),
        client="c1",
        study=StudyChoice(fresh.folder / "study.yaml", token),
        out=fresh.folder / "out",
    )
    assert "refused in a clinical room" in refused(fresh)


def test_a_condition_is_not_chosen_in_a_study(fresh: Study) -> None:
    from engine.controls import Asked

    token = fresh.tokens["zebra"][0]
    with pytest.raises(InputError, match="assigned, not chosen"):
        fresh.run("zebra", token, control=Asked("noise"))
