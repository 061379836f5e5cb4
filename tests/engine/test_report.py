"""The report: its numbers are those of the session, and its page stands alone."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from engine.assemble import assemble, feature_units
from engine.columns import SHOWN
from engine.errors import FileError
from engine.estimatorpage import alpha_sentence
from engine.features import FEATURES
from engine.filters import delays_s
from engine.frames import (
    Chunk,
    Command,
    Event,
    Gap,
    Gate,
    Hold,
    Phase,
    PhaseKind,
    Presented,
    StreamSpec,
)
from engine.happened import clock, spoken
from engine.learned import learned
from engine.measures import Alpha, Block, Filter, Learned, binned
from engine.person import Person, columns
from engine.record import Recorder
from engine.recording import Recording, Table, read
from engine.report import build_report, summary, write_report
from engine.screening import STATEMENT
from protocols.load import load
from protocols.model import Feature
from protocols.plan import expand

RATE_HZ = 250.0
T0 = 500.0
HOSTILE = "</text></svg><script>alert(1)</script>&\"'$x_{1}$\u202e\x00\u4f60\U0001f600"
SPEC = StreamSpec("sim", "EEG", "sim-1", "uid", "host", RATE_HZ, columns(), "float32")


def short_plan(protocol: Any) -> tuple[Phase, ...]:
    """Return baseline, two training blocks, transfer and rest, half a minute in all."""
    kept: list[Phase] = []
    for phase in expand(protocol, short_s=120.0):
        is_late = phase.kind is PhaseKind.TRAIN and phase.block > 2
        if is_late or phase.kind is PhaseKind.REST:
            while kept and kept[-1].kind is PhaseKind.READY:
                kept.pop()
            continue
        kept.append(phase)
    return tuple(
        replace(p, index=i, lasts_s=min(p.lasts_s, 13.0 if p.learn else 8.0))
        for i, p in enumerate(kept)
    )


class Live:
    """Runs a session without LSL and records it, as the conductor would."""

    def __init__(
        self,
        path: Path,
        *,
        hostile: str = "",
        client: str = "C-017",
        name: str = "smr_up",
        make_plan: Callable[[Any], tuple[Phase, ...]] = short_plan,
        change: Callable[[Any], Any] = lambda protocol: protocol,
        eyes: Literal["open", "closed"] = "open",
    ) -> None:
        loaded = load(name, FEATURES)
        protocol = change(loaded.protocol)
        plan = make_plan(protocol)
        spec = replace(SPEC, name=f"sim{hostile}")
        self.assembly = assemble(spec, protocol, plan, mains_hz=50.0)
        self.fold, self.decider = self.assembly.fold, self.assembly.decider
        montage = self.assembly.montage
        header = {
            "neuroloop": "0.1.0",
            "versions": {"numpy": np.__version__},
            "client": client,
            "test_session": True,
            "short_s": 60.0,
            "use": "test",
            "room": {"name": f"room{hostile}"},
            "room_sha256": "ab" * 32,
            "protocol": protocol,
            "protocol_sha256": loaded.sha256,
            "protocol_text": loaded.text + hostile,
            "plan": plan,
            "montage": {
                "reference": montage.reference,
                "sites": montage.site_names,
                "columns": montage.names,
                "warnings": [f"a warning{hostile}"],
            },
            "delay_s": self.assembly.delay_s,
            "level_feature": self.assembly.level_feature,
            "feature_units": feature_units(protocol),
            "mains_hz": 50.0,
            "grid_hz": spec.grid_hz,
            "hop": spec.hop,
            "machine": {"system": f"Linux{hostile}"},
            "window": {"picture": "orb", "size": [1280, 720]},
            "statement": STATEMENT,
        }
        self.t = T0
        self.recorder = Recorder(
            path,
            header,
            spec,
            features=feature_units(protocol),
            metrics=self.fold.gates.metric_names,
            rules=[r.feature for r in protocol.rules],
            now=lambda: self.t,
        )
        self.person = Person(RATE_HZ, seed=4, eyes=eyes, blinks=False, jaw=False)
        self.seq = 0
        self.hostile = hostile

    def give(self, item: Command | Hold | Gap) -> None:
        self.recorder.input(item)
        self.fold.step(item)

    def order(self, kind: Any, target: str = "", value: float = math.nan, text: str = "") -> None:
        self.give(Command(self.fold.next_grid, kind, target, value, text + self.hostile))

    def hold(self, on: bool) -> None:
        sentence = f"No new samples.{self.hostile}" if on else ""
        self.give(Hold(self.fold.next_grid, on, "stale", sentence))

    def gap(self, missing: int) -> None:
        self.give(Gap(self.seq, missing, f"stamps{self.hostile}"))
        self.person.read(missing)
        self.seq += missing

    def run(self, seconds: float) -> None:
        """Live for some time; what is shown reaches the screen after 25 ms, once after 90 ms."""
        for _ in range(round(seconds * 10)):
            if self.decider.kind.terminal:
                return
            x = self.person.read(25).astype(np.float32)
            stamps = T0 + (self.seq + np.arange(25)) / RATE_HZ
            self.t = float(stamps[-1])
            self.recorder.raw(x, stamps)
            for point in self.fold.step(Chunk(self.seq, stamps, x.astype(np.float64))):
                self.recorder.feature(point.frame)
                self.recorder.decision(point.decision)
                for event in point.events:
                    self.recorder.event(event)
            self.seq += 25
            d = point.decision
            late = 0.090 if self.seq == 5000 else 0.025
            for k in range(2):  # a second flip of the same value must not count
                self.recorder.presented(
                    Presented(
                        d.seq, self.t, self.t, self.t + late + 0.016 * k, d.level, d.reward, 0
                    )
                )

    def until(self, kind: PhaseKind, block: int = 1) -> None:
        for _ in range(1200):
            phase = self.decider.phase
            if phase is not None and phase.kind is kind and phase.block == block:
                return
            self.run(0.1)
        raise AssertionError(f"{kind} {block} never came")

    def note(self, kind: str, **data: Any) -> None:
        self.recorder.event(Event(self.t, self.seq, kind, data))


def a_session(path: Path, *, hostile: str = "", client: str = "C-017") -> Path:
    """Record a session with everything that can happen in it, stopped near its end."""
    live = Live(path, hostile=hostile, client=client)
    live.order("start")
    live.until(PhaseKind.TRAIN)
    live.person.gains["smr"] = 1.4
    live.person.blink()
    live.run(3.0)
    live.order("pause", text="door bell")
    live.run(2.0)
    live.order("resume")
    live.run(1.0)
    live.gap(300)
    live.order("note", text="asks for water")
    live.until(PhaseKind.TRAIN, 2)
    live.run(2.0)
    live.order("threshold", "smr", live.decider.thresholds[0] * 0.8, "too hard")
    live.run(1.0)
    live.person.blink()
    live.hold(True)
    live.run(3.0)
    live.hold(False)
    live.note("electrode", name=f"Cz{hostile}", light="amber", why="mains")
    live.note("brand_new_kind", text=f"of a later version{hostile}", number=3)
    live.until(PhaseKind.TRANSFER)
    live.until(PhaseKind.POST)
    live.run(3.0)
    live.order("stop", text="enough for today")
    live.run(1.0)
    assert live.decider.kind is PhaseKind.STOPPED
    live.recorder.close()
    assert live.recorder.fault is None
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_session(tmp_path_factory.mktemp("report") / "session.xdf")


@pytest.fixture(scope="module")
def recording(path: Path) -> Recording:
    return read(path)


@pytest.fixture(scope="module")
def told(recording: Recording) -> Learned:
    return learned(recording)


@pytest.fixture(scope="module")
def page(recording: Recording) -> str:
    return build_report(recording)


def ends(recording: Recording) -> dict[int, dict[str, Any]]:
    return {e.data["phase"]: dict(e.data) for e in recording.events if e.kind == "phase_end"}


def block(told: Learned, label: str) -> Block:
    return next(b for b in told.blocks if b.label == label)


# ---------------------------------------------------------------- numbers


def test_blocks_are_those_of_the_plan(told: Learned) -> None:
    labels = ["Baseline eyes open", "Training 1", "Training 2", "Transfer", "Rest after"]
    assert [b.label for b in told.blocks] == labels
    assert told.outcome == "stopped"
    assert told.outcome_why == "enough for today"


def test_block_numbers_are_those_of_the_live_session(told: Learned, recording: Recording) -> None:
    live = ends(recording)
    for b in told.blocks:
        end = live[b.phase]
        assert b.end == end["reason"]
        assert b.total_s == pytest.approx(end["total_s"], abs=1e-9)
        assert b.held_s == pytest.approx(end["held_s"], abs=1e-9)
        if b.kind == "baseline":
            continue  # its live count is before the re-gating
        assert b.clean_s == pytest.approx(end["clean_s"], abs=1e-9)
        assert b.gated_s == pytest.approx(end["gated_s"], abs=1e-9)


def test_rates_rewards_and_distances_are_those_of_the_live_session(
    told: Learned, recording: Recording
) -> None:
    live = ends(recording)
    for b in told.of(PhaseKind.TRAIN, PhaseKind.TRANSFER):
        end = live[b.phase]
        assert b.rate_alone == pytest.approx(end["rate_alone"], abs=1e-12)
        assert b.rate_joint == pytest.approx(end["rate_joint"], abs=1e-12)
        assert (b.rewards or 0) == end["rewards"]
        for name, course in b.features.items():
            assert course.mean_z == pytest.approx(end["features"][name]["baseline_z"], abs=1e-9)
    assert sum(b.rewards or 0 for b in told.blocks) == sum(e["rewards"] for e in live.values()
                                                           if "rewards" in e)  # fmt: skip
    assert sum(b.rewards or 0 for b in told.blocks) > 0


def test_baseline_is_the_regated_one(told: Learned, recording: Recording) -> None:
    event = next(e for e in recording.events if e.kind == "baseline")
    b = block(told, "Baseline eyes open")
    assert b.clean_s == pytest.approx(event.data["clean_s"], abs=1e-9)
    assert b.note == ""
    assert event.data["features"] == {}  # the fitted filters read the block once more
    again = next(e for e in recording.events if e.kind == "resting")
    assert set(again.data["features"]) == {"smr", "theta", "high_beta"}
    for name, row in again.data["features"].items():
        rest = told.resting[name]
        assert (rest.median, rest.mad, rest.scale) == (row["median"], row["mad"], "ln")
        assert rest.centre == pytest.approx(math.exp(row["median"]))
        # the distribution drawn for the block is the very one that was learned
        assert b.features[name].spread.median == pytest.approx(rest.centre)
        assert b.features[name].change == pytest.approx(0.0, abs=1e-12)


def test_change_is_relative_on_a_logarithmic_scale(told: Learned) -> None:
    course = block(told, "Training 1").features["smr"]
    rest = told.resting["smr"]
    assert course.relative
    assert course.change == pytest.approx(course.spread.median / rest.centre - 1.0)
    assert course.z == pytest.approx(math.log(course.spread.median / rest.centre) / rest.mad)
    s = course.spread
    assert s.p5 < s.q1 < s.median < s.q3 < s.p95


def test_points_before_a_blink_are_withdrawn_from_statistics_only(
    told: Learned, recording: Recording
) -> None:
    r = told.rows
    b = block(told, "Training 1")
    inside = (r.t_s >= b.start_s) & (r.t_s <= b.end_s)
    assert ((r.gate[inside] & int(Gate.BLINK)) != 0).any()
    assert b.features["smr"].spread.n < round(b.clean_s * told.grid_hz)
    assert b.features["smr"].spread.n >= round(b.clean_s * told.grid_hz) - 5 * 3


def test_threshold_history_has_every_step_with_its_reason(told: Learned) -> None:
    smr = [s for s in told.steps if s.feature == "smr"]
    assert [s.method for s in smr] == ["percentile", "operator"]
    assert smr[0].old is None
    assert smr[0].reason == "met 65 % of the clean baseline"
    assert (smr[1].old, smr[1].reason) == (smr[0].new, "too hard")
    assert smr[1].new == pytest.approx(0.8 * smr[0].new)
    assert {s.feature for s in told.steps} == {"smr", "theta", "high_beta"}


def test_rate_against_the_first_threshold_ignores_the_change(told: Learned) -> None:
    after = block(told, "Transfer")
    assert after.rate_first_threshold is not None
    assert after.rate_alone is not None
    assert after.rate_first_threshold <= after.rate_alone
    before = block(told, "Training 1")
    assert before.rate_first_threshold == pytest.approx(before.rate_alone)


def test_holds_and_gaps_with_cause_and_seconds(told: Learned) -> None:
    assert [(h.cause, round(h.seconds, 1)) for h in told.holds] == [("paused", 2.0), ("stale", 3.0)]
    assert [h.sentence for h in told.holds] == ["door bell", "No new samples."]
    ((start, seconds, cause),) = told.gaps
    assert (seconds, cause) == (300 / RATE_HZ, "stamps")
    assert start > told.holds[0].start_s


def test_a_hold_that_never_ends_lasts_to_the_end(recording: Recording) -> None:
    kept = tuple(i for i in recording.inputs if not (isinstance(i, Hold) and not i.on))
    held = learned(replace(recording, inputs=kept)).holds[-1]
    assert held.end_s is None
    assert held.seconds > 3.0


# ---------------------------------------------------------------- delays


def presented(recording: Recording, change: Callable[[np.ndarray], None]) -> Recording:
    rows = recording.presented.values.copy()
    change(rows)
    return replace(recording, presented=Table(recording.presented.columns, rows))


def test_transport_counts_the_first_flip_of_each_value(told: Learned, recording: Recording) -> None:
    t = told.transport
    assert t.n == len(recording.presented.values) // 2
    assert t.p50_ms == pytest.approx(25.0, abs=1e-3)
    assert t.max_ms == pytest.approx(90.0, abs=1e-3)


@pytest.mark.parametrize("by_session", [True, False], ids=["our clock", "source's clock"])
def test_transport_with_a_distant_clock(recording: Recording, by_session: bool) -> None:
    """The amplifier's computer is 7 h ahead; the value's stamp is on either clock."""
    offset = 7 * 3600.0

    def shift(rows: np.ndarray) -> None:
        rows[:, 3] += offset  # t_flip, on our clock
        rows[:, 1] += offset if by_session else 0.0

    far = replace(
        presented(recording, shift),
        clock_offsets=np.array([[T0 + offset, offset], [T0 + offset + 100.0, offset]]),
    )
    assert learned(far).transport.p50_ms == pytest.approx(25.0, abs=1e-3)


def test_transport_is_not_known_without_a_common_clock(recording: Recording) -> None:
    t = learned(replace(recording, clock_offsets=np.zeros((0, 2)))).transport
    assert t.p50_ms is None
    assert "clock" in t.why
    page = build_report(replace(recording, clock_offsets=np.zeros((0, 2))))
    assert "never compared" in page


def test_both_delays_are_on_the_page_and_what_they_make_together(page: str, told: Learned) -> None:
    delay_ms = 1000 * told.delay_s["smr"]
    assert f"<td>{delay_ms:.0f} ms</td>" in page
    assert "<td>25 ms</td>" in page
    assert f"<td>{delay_ms + 25:.0f} ms, 95 % within {delay_ms + 25:.0f} ms</td>" in page
    assert "too late" not in page


def test_guard_interventions_are_counted_in_runs(recording: Recording) -> None:
    def flash(rows: np.ndarray) -> None:
        rows[10:14, 6] = 1
        rows[20, 6] = 1 + 8

    r = presented(recording, flash)
    assert learned(r).guard["flash"] == (2, 5)
    assert learned(r).guard["loudness"] == (1, 1)
    assert "flash 2 times (5 frames), loudness 1 time (1 frame)" in build_report(r)


def test_missed_frames_are_not_known_unless_told(recording: Recording, page: str) -> None:
    assert learned(recording).missed_frames is None
    assert "holds no count of frames" in page
    event = Event(T0, 0, "window_end", {"missed": 7})
    assert learned(replace(recording, events=(*recording.events, event))).missed_frames == 7


def by_frames(recording: Recording, **columns: float) -> Recording:
    """Return the recording as if each of its rows were a frame of the feedback screen."""
    table = recording.presented
    n = len(table.values)
    more = {"frame": np.arange(1.0, n + 1), "screen": np.full(n, float(SHOWN.index("feedback")))}
    values = table.values.copy()
    for name, column in more.items():
        values[:, table.columns.index(name)] = column
    return replace(recording, presented=Table(table.columns, values))


def test_what_reached_the_person_is_on_the_page(recording: Recording) -> None:
    frames = by_frames(recording)
    told = learned(frames)
    assert told.missed_frames == told.shown.missed
    events = [
        Event(T0, 0, "window", {"buffer_ms": 46.4, "audio": "ALSA: AirPods of Anna"}),
        Event(T0, 0, "window_end", {"missed": 7, "sound_delay_ms": 52.0, "dose_pa2h": 0.002}),
    ]
    page = build_report(replace(frames, events=(*frames.events, *events)))
    text = Reader(page).text
    for said in (
        "Age of the newest sample at each flip",
        f"Frames {told.shown.frames}, {told.shown.fps:.1f} per second",
        f"Missed flips {told.shown.missed} (by the times of the frames {told.shown.missed}, by the "
        "window 7), ",
        "against the median wait, which hides steady losses",
        "Rewards that began to show",
        "with a level",
        "Sound waiting in the device up to 46 ms (ALSA)",
        "From a change to the device, measured 52 ms, the median",
        "0.0020 Pa²h: 0.12 % of an adult's weekly allowance, 0.40 % of a child's",
    ):
        assert said in text, said
    assert "Sound dose not known (not calibrated" in Reader(build_report(frames)).text
    assert "Anna" not in text.split("What reached the person")[1].split("Electrodes")[0]


def test_a_device_that_nobody_hears_is_no_device(recording: Recording) -> None:
    events = [
        Event(T0, 0, "window", {"buffer_ms": 104.0, "audio": "dummy"}),
        Event(T0, 0, "window_end", {"sound_delay_ms": 78.0}),
    ]
    text = Reader(build_report(replace(by_frames(recording), events=tuple(events)))).text
    assert "Sound waiting in the device not known (no sound device: dummy driver)" in text
    assert "From a change to the device" not in text


@pytest.mark.parametrize(("step_s", "flagged"), [(1 / 50, True), (1 / 60, False)])
def test_a_slow_picture_is_flagged(recording: Recording, step_s: float, flagged: bool) -> None:
    frames = by_frames(recording)
    values = frames.presented.values.copy()
    values[:, 3] = T0 + step_s * np.arange(len(values))
    event = Event(T0, 0, "window", {"refresh_hz": 1 / step_s, "vsync": True})
    paced = Table(frames.presented.columns, values)
    page = build_report(replace(frames, presented=paced, events=(*frames.events, event)))
    said = '<span class="flag">only 50.0 frames per second: less than 55</span>'
    assert (said in page) == flagged
    assert "hides steady losses" not in page
    assert "<dt>Missed flips</dt><dd>0, 0 % of" in page


def test_feedback_that_is_too_late_is_flagged(recording: Recording) -> None:
    def late(rows: np.ndarray) -> None:
        rows[:, 3] += 0.3

    page = build_report(presented(recording, late))
    assert '<span class="flag">more than 250 ms: too late</span>' in page


# ---------------------------------------------------------------- muscle


def with_muscle(recording: Recording, mix: float) -> Recording:
    """Replace the muscle metric by one that follows the trained feature to some degree."""
    rows = recording.features.values.copy()
    names = recording.features.columns
    column = next(i for i, n in enumerate(names) if n.startswith("gate_muscle_"))
    smr = np.log(rows[:, names.index("smr")])
    noise = np.random.default_rng(1).standard_normal(len(rows))
    rows[:, column] = 3.0 * np.exp(mix * np.nan_to_num(smr) + (1.0 - mix) * 0.3 * noise)
    return replace(recording, features=Table(names, rows))


def longer_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the short blocks of a test be enough for a correlation."""
    monkeypatch.setattr("engine.measures.MUSCLE_MIN_BINS", 4)


def test_muscle_that_goes_with_the_feature_is_flagged(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer_bins(monkeypatch)
    r = with_muscle(recording, 1.0)
    train = learned(r).of(PhaseKind.TRAIN)
    assert all(b.muscle.flagged and (b.muscle.r or 0) > 0.9 for b in train)
    page = build_report(r)
    assert "what was rewarded there may be muscle" in page
    assert "goes with muscle" in page


def test_short_blocks_say_nothing_about_muscle(told: Learned, page: str) -> None:
    assert block(told, "Training 1").muscle.r is None
    assert "too little clean time" in block(told, "Training 1").muscle.why
    assert "went along with muscle tension is not known" in page


def test_binned_needs_half_of_a_bin() -> None:
    t = np.arange(40) / 10.0
    good = np.ones(40, bool)
    good[10:16] = False  # 6 of 10 in the second bin
    good[20:25] = False  # 5 of 10 in the third
    _, mean = binned(t, np.repeat([1.0, 2.0, 3.0, 4.0], 10), good, 1.0)
    np.testing.assert_array_equal(mean, [1.0, np.nan, 3.0, 4.0])


# ---------------------------------------------------------------- the page


class Reader(HTMLParser):
    """Checks that a page is whole and collects what matters."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.figures = 0
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href", "srcset")]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "svg":
            assert given["role"] == "img"
            self.figures += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def test_page_is_whole_and_alone(page: str) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert all(link.startswith("#") for link in reader.links)
    assert {link[1:] for link in reader.links} <= set(reader.ids)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(reader.tags)
    assert "@import" not in page
    assert all(u.startswith("#") for u in re.findall(r"url\(\s*[\"']?([^)]*)", page))
    assert "default-src 'none'" in page


def test_page_can_be_read_aloud(page: str) -> None:
    reader = Reader(page)
    assert reader.headings[0] == 1
    assert reader.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(reader.headings, reader.headings[1:], strict=False))
    assert reader.figures == 5
    assert page.count("<title id=") == reader.figures
    assert '<html lang="en">' in page
    assert "<text" in page  # text in figures stays text


def test_page_says_what_must_be_said(page: str) -> None:
    text = Reader(page).text
    assert text.count(STATEMENT) == 2
    assert "A constant reward rate is not learning." in text
    assert "TEST SESSION" in text
    assert "The session was stopped early enough for today" in text
    assert "Grade B" in text
    assert "Paluch et al. 2017" in text
    for note in ("asks for water", "door bell", "too hard", "of a later version"):
        assert note in text
    assert "EEG was recorded with sim (19 channels, 250 Hz)" in text
    for word in ("effective", "improved", "success rate", "cured", "responder", "significant "):
        assert word not in text.replace("no significance", "")


def test_electrodes_are_told_once_each_with_all_times(recording: Recording) -> None:
    lights = [
        Event(T0, int(seq), "electrode", {"name": "Cz", "light": light, "why": why})
        for seq, light, why in ((2500, "amber", "mains"), (2750, "green", ""))
    ] + [Event(T0, 250 * s, "electrode", {"name": "C3", "light": "red"}) for s in range(20)]
    start = {"electrodes": {"Cz": ["green", ""], "Fp1": ["amber", "noise"]}}
    events = (*lights, Event(T0, 250, "quality", start))
    text = Reader(build_report(replace(recording, events=events))).text
    assert "Cz amber: mains (at 0:10)" in text
    assert "Fp1 amber: noise (at 0:01)" in text
    assert "C3 red: no reason (at 0:00, 0:01, 0:02, 0:03, 0:04, 0:05 and 14 more times)" in text


def test_same_recording_same_page(recording: Recording, page: str) -> None:
    assert build_report(recording) == page


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    client = '<b onmouseover="x">O\'Brien</b>'
    path = a_session(tmp_path / "a.xdf", hostile=HOSTILE, client=client)
    page = build_report(read(path))
    reader = Reader(page)
    assert "script" not in reader.tags
    assert "b" not in reader.tags
    assert client in reader.text
    assert "alert(1)" in reader.text
    assert not set(page) & {"\x00", "\u202e"}
    assert "\u4f60\U0001f600" in reader.text


def test_hostile_names_in_figures(recording: Recording) -> None:
    plan = [{**p, "name": f"{p['name']}{HOSTILE}"} for p in recording.header["plan"]]
    units = {"smr": HOSTILE}
    header = {**recording.header, "plan": plan, "feature_units": units}
    page = build_report(replace(recording, header=header))
    reader = Reader(page)
    assert reader.figures == 5
    assert "script" not in reader.tags


# ---------------------------------------------------------------- what is not known


def test_unknown_is_said_and_never_a_number(recording: Recording) -> None:
    page = build_report(replace(recording, header={}))
    text = Reader(page).text
    assert "Protocol not known" in text
    assert text.count("not known") > 5
    assert not re.search(r"\b(None|nan|inf|NaN)\b", text)
    assert "TEST SESSION" not in text


@pytest.mark.parametrize(
    "header",
    [
        {"protocol": {"name": 3}, "plan": "no", "montage": [], "delay_s": 1, "feature_units": None},
        {"protocol": [], "plan": [3, {"index": 0}], "versions": 4, "room": "x", "started": 7},
    ],
)
def test_a_strange_header_does_not_stop_the_report(
    recording: Recording, header: dict[str, Any]
) -> None:
    Reader(build_report(replace(recording, header=header)))


def test_nothing_recorded_but_the_header(recording: Recording) -> None:
    def empty(table: Table) -> Table:
        return Table(table.columns, table.values[:0])

    bare = replace(
        recording,
        samples=recording.samples[:0],
        stamps=recording.stamps[:0],
        inputs=(),
        events=(),
        features=empty(recording.features),
        decisions=empty(recording.decisions),
        presented=empty(recording.presented),
    )
    reader = Reader(build_report(bare))
    assert reader.figures == 0
    assert "Incomplete" in reader.text
    assert "nothing was presented" in reader.text
    assert "there was no training" in reader.text
    assert json.dumps(summary(bare), allow_nan=False)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.45, 0.7, 0.999])
def test_a_cut_recording_is_told_as_far_as_it_goes(
    path: Path, tmp_path: Path, share: float
) -> None:
    raw = path.read_bytes()
    cut = tmp_path / "cut.xdf"
    cut.write_bytes(raw[: int(len(raw) * share)])
    text = Reader(build_report(read(cut))).text
    assert "The recording is damaged" in text
    assert "Incomplete" in text or "stopped early" in text


def test_lost_events_leave_the_numbers_of_the_rows(recording: Recording, told: Learned) -> None:
    bare = learned(replace(recording, events=()))
    assert bare.resting == {}
    for b, whole in zip(bare.blocks, told.blocks, strict=True):
        assert b.label == whole.label
        assert b.total_s == whole.total_s
        assert b.rate_alone == whole.rate_alone
        assert b.end is None
        assert all(c.z is None for c in b.features.values())
    assert [s.method for s in bare.steps] == [""] * len(told.steps)
    assert "no baseline was learned" in build_report(replace(recording, events=()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"damage": "bytes 3 to 9 of 12 are damaged"}, "bytes 3 to 9 of 12 are damaged"),
        ({"closed": False}, "Not closed"),
    ],
)
def test_banners(recording: Recording, change: dict[str, Any], said: str) -> None:
    assert said in Reader(build_report(replace(recording, **change))).text


def test_a_stop_is_known_from_any_of_its_traces(recording: Recording) -> None:
    """A cut may take the last rows or the last events, and not the others."""
    kinds = recording.decisions.column("kind")
    running = kinds != PhaseKind.STOPPED.value
    before = Table(recording.decisions.columns, recording.decisions.values[running])
    ended = tuple(e for e in recording.events if e.kind != "stop")
    unended = tuple(e for e in ended if e.kind != "phase_end" or e.data["reason"] != "stopped")
    assert learned(replace(recording, events=unended)).outcome == "stopped"
    assert learned(replace(recording, events=ended, decisions=before)).outcome == "stopped"
    assert learned(replace(recording, events=unended, decisions=before)).outcome == "incomplete"


def test_a_session_that_ran_to_its_end_is_done(recording: Recording) -> None:
    events = tuple(
        replace(e, data={**e.data, "reason": "complete"}) if e.kind == "phase_end" else e
        for e in recording.events
        if e.kind != "stop"
    )
    kinds = recording.decisions.column("kind")
    before = recording.decisions.values[kinds != PhaseKind.STOPPED.value]
    done = replace(recording, events=events, decisions=Table(recording.decisions.columns, before))
    assert learned(done).outcome == "done"
    assert "completed" in build_report(done)


def test_a_failed_session_says_why(recording: Recording) -> None:
    event = Event(T0, 0, "failed", {"sentence": "The stream stayed away for 60 s."})
    text = Reader(build_report(replace(recording, events=(*recording.events, event)))).text
    assert "The session failed The stream stayed away for 60 s." in text


# ---------------------------------------------------------------- files, numbers for others


def test_write_report_beside_the_recording(path: Path, page: str) -> None:
    made = write_report(path)
    assert made == path.with_name("session.report.html")
    assert made.read_text(encoding="utf-8") == page
    if sys.platform != "win32":
        assert made.stat().st_mode & 0o077 == 0  # client id and notes: nobody else's business
    assert write_report(path) == made  # again: the same page takes the place
    assert sorted(p.name for p in path.parent.iterdir()) == ["session.report.html", "session.xdf"]


def test_write_report_elsewhere(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    assert write_report(path, out) == out
    with pytest.raises(FileError, match="cannot be written"):
        write_report(path, tmp_path / "missing" / "a.html")
    with pytest.raises(FileError):
        write_report(tmp_path / "none.xdf")


def test_summary_is_strict_json(recording: Recording, told: Learned) -> None:
    got = summary(recording)
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["outcome"] == "stopped"
    assert got["client"] == "C-017"
    assert got["protocol"] == "smr_up"
    assert got["test_session"] is True
    assert got["clean_s"]["train"] == pytest.approx(
        sum(b.clean_s for b in told.of(PhaseKind.TRAIN))
    )
    assert got["rewards"] == sum(b.rewards or 0 for b in told.blocks)
    assert got["transport_ms"]["p50"] == pytest.approx(25.0, abs=1e-3)
    assert got["blocks"][1]["features"]["smr"]["spread"]["median"] > 0
    assert got["missed_frames"] is None
    assert got["trend"]["slope_z_per_block"] is None  # two blocks have no slope


def test_reporting_loads_neither_pyplot_nor_mne() -> None:
    code = "import sys, engine.report as r; print([m for m in sys.modules if m in "
    code += "('mne', 'matplotlib.pyplot', 'pylsl', 'pygame')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0:00"), (65.4, "1:05"), (3725.0, "1:02:05"), (-5.0, "-0:05"), (math.nan, "?")],
)
def test_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


def test_screening_answers_stay_in_the_recording() -> None:
    data = {"full": True, "answers": {"migraine": True}, "warned": ["migraine"], "blocked": []}
    said = spoken(Event(0.0, 0, "screening", data))
    assert said is not None
    assert "migraine" not in said[1]
    assert "1 point was noted" in said[1]


@pytest.mark.parametrize("kind", ["hold", "baseline", "phase_end", "quality", "chunk", "gap"])
def test_events_of_another_version_are_shown_as_they_are(kind: str) -> None:
    assert spoken(Event(0.0, 0, kind, {"new": [1, None]})) == (
        kind.replace("_", " "),
        "new: [1, null]",
    )


def test_rewards_and_lead_ins_are_not_listed() -> None:
    assert spoken(Event(0.0, 0, "reward", {"n": 1})) is None
    lead_in = {"kind": "ready", "name": "train", "block": 1}
    assert spoken(Event(0.0, 0, "phase_begin", lead_in)) is None


# ---------------------------------------------------------------- the estimator


def asymmetry_plan(protocol: Any) -> tuple[Phase, ...]:
    """Return the blocks of the asymmetry protocol: long enough for an alpha peak, else short."""
    lasts = {"eyes_closed": 30.0, "eyes_open": 13.0}
    kept: list[Phase] = []
    for phase in expand(protocol):
        if phase.kind is PhaseKind.READY or phase.kind is PhaseKind.REST or phase.block > 2:
            continue
        kept.append(phase)
    return tuple(
        replace(
            p,
            index=i,
            lasts_s=min(p.lasts_s, lasts.get(p.name, 8.0)),
            needs_clean_s=min(p.needs_clean_s, 5.0),
        )
        for i, p in enumerate(kept)
    )


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Live, Recording, Learned]:
    """A session of the asymmetry protocol, with bands around the individual alpha frequency."""
    path = tmp_path_factory.mktemp("sides") / "sides.xdf"
    live = Live(path, name="faa", make_plan=asymmetry_plan, eyes="closed")
    live.order("start")
    live.until(PhaseKind.POST)
    live.run(3.0)
    live.recorder.close()
    assert live.recorder.fault is None
    recording = read(path)
    return live, recording, learned(recording)


def test_the_delay_is_the_one_that_the_engine_states(
    sides: tuple[Live, Recording, Learned], told: Learned, recording: Recording
) -> None:
    live, _, asymmetry = sides
    assert asymmetry.delay_s == pytest.approx(dict(live.assembly.delay_s))
    # and no longer the one of the header, which was written before anything was fitted
    assert asymmetry.delay_s["asymmetry"] != pytest.approx(0.1, abs=1e-9)
    assert asymmetry.delay_s["alpha_left"] < recording.header["delay_s"]["smr"]
    fits = [e.data for e in recording.events if e.kind == "fit"]
    assert {f["feature"]: f["best_lag_s"] for f in fits} == told.delay_s


def test_delays_of_parts_windows_and_of_what_was_not_measured() -> None:
    protocol = load("faa", FEATURES).protocol
    more = {
        "share": Feature.model_construct(kind="share_above", of=("asymmetry",), window_s=30.0),
        "coh": Feature.model_construct(kind="coherence", at=("F3", "F4"), band_hz=(8.0, 12.0)),
    }
    protocol = protocol.model_copy(update={"features": {**protocol.features, **more}})
    stated = {"alpha_left": 0.3, "alpha_right": 0.3, "asymmetry": 0.3, "share": 15.3, "coh": 1.3}
    made = [
        Filter("alpha_left", False, (8.0, 12.0), "wiener", "session", delay_s=0.1, best_lag_s=0.14),
        Filter("alpha_right", False, (8.0, 12.0), "wiener", "session", delay_s=0.1),
        Filter("coh", False, (8.0, 12.0), "fixed", "session", delay_s=0.2, best_lag_s=0.3),
    ]
    got = delays_s(stated, made, protocol)
    assert {name: got[name] for name in stated} == pytest.approx(
        {
            "alpha_left": 0.14,  # measured
            "alpha_right": 0.1,  # asked for: too little rest to measure
            "asymmetry": 0.14,  # the longer one
            "share": 15.14,  # half its window beyond that
            "coh": 1.2,  # a fixed filter's own delay, and half of 2 s
        }
    )
    assert stated.items() <= delays_s(stated, [], protocol).items()


def test_what_the_filters_are_is_on_the_page(page: str, told: Learned) -> None:
    text = Reader(page).text
    smr = next(f for f in told.filters if f.feature == "smr")
    assert smr.fitted
    assert f"{1000 * (smr.best_lag_s or 0):.0f} ms" in text
    assert "correlation with the ideal envelope," in text
    for curve in ("Limit: the best filter for each delay", "Expected of this filter"):
        assert curve in text
    assert "What a pure tone reads as" in text
    assert "Wiener-optimal causal complex FIR filters" in text
    assert "Smetanin et al. 2020" in text
    assert "exact nulls at 0 Hz and mains (50 Hz)" in text
    assert "Corcoran" not in text  # nothing in this protocol follows alpha
    assert "measured on the baseline" in text


def test_individual_alpha_is_told_with_its_confidence(
    sides: tuple[Live, Recording, Learned],
) -> None:
    _, recording, told = sides
    alpha = told.alpha
    assert alpha is not None
    assert alpha.source == "measured"
    assert alpha.used_hz == pytest.approx(10.0, abs=0.6)
    assert {f.band_hz for f in told.filters} == {(alpha.used_hz - 2.0, alpha.used_hz + 2.0)}
    text = Reader(build_report(recording)).text
    assert f"Individual alpha frequency: {alpha.used_hz:.1f} Hz (peak alpha frequency)" in text
    assert "after Corcoran et al. 2018" in text
    assert summary(recording)["individual_alpha"]["sites"] == list(alpha.sites)


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (
            Alpha(10.0, "fallback", guessed=True, kind="none", reason="no peak stands out."),
            "No valid individual alpha frequency was found (no peak stands out). Bands that follow "
            "it lie around 10.0 Hz",
        ),
        (Alpha(9.6, "course"), "9.6 Hz, as measured in the first session of the course"),
        (
            Alpha(10.0, "course", guessed=True),
            "No valid individual alpha frequency was found in the first session of the course.",
        ),
        (
            Alpha(10.2, "measured", kind="cog", n_channels=1, n_given=2, low_confidence=True),
            "10.2 Hz (centre of gravity of alpha), from 1 of 2 posterior channels. The peak is "
            "split or hardly higher than the next one, so its centre is used. Low confidence",
        ),
    ],
)
def test_alpha_in_words(alpha: Alpha, said: str) -> None:
    assert said in alpha_sentence(alpha)


def test_a_course_that_began_without_alpha_says_so(
    sides: tuple[Live, Recording, Learned],
) -> None:
    _, recording, _ = sides
    event = Event(T0, 11000, "iaf", {"used_hz": 10.0, "source": "course"})
    later = replace(
        recording,
        header={**recording.header, "course": {"iaf": {"hz": 10.0, "fallback": True}}},
        events=(*(e for e in recording.events if e.kind != "iaf"), event),
    )
    text = Reader(build_report(later)).text
    assert "found in the first session of the course. Bands that follow it stay around" in text
    assert "found no valid individual alpha frequency; 10 Hz was used instead" in text


def test_a_filter_that_was_not_fitted_says_why(recording: Recording) -> None:
    kept = {
        "feature": "smr", "beside": False, "band_hz": [12.0, 15.0], "block": "eyes_open",
        "fit": "session", "estimator": "fixed", "reason": "only 3 s lie in clean stretches",
        "delay_s": 0.21,
    }  # fmt: skip
    others = tuple(e for e in recording.events if e.kind != "fit")
    changed = replace(recording, events=(*others, Event(T0, 4000, "fit", kept)))
    text = Reader(build_report(changed)).text
    assert "only 3 s lie in clean stretches" in text
    assert "too little clean rest" in text
    assert learned(changed).delay_s["smr"] == 0.21
    assert "of the fixed filter" in text
    assert "Wiener-optimal" not in text


def test_what_a_spatial_filter_did_is_said(recording: Recording) -> None:
    rows = [
        {"site": "Cz", "weights": {"Cz": 0.75, "C3": -0.5}, "n_components": 2, "ratio": 6.5,
         "held_out_ratio": 3.24, "share": 0.914},
        {"site": "Pz", "reason": "nothing stands out"},
    ]  # fmt: skip
    fits = [e for e in recording.events if e.kind == "fit" and not e.data.get("beside")]
    told = replace(fits[0], data={**fits[0].data, "spatial": rows})
    events = tuple(told if e is fits[0] else e for e in recording.events)
    text = Reader(build_report(replace(recording, events=events))).text
    assert "It keeps 91 % of the band's power there" in text
    assert "its main part is 3.2 times as strong as the frequencies beside" in text
    assert "no spatial filter at Pz (nothing stands out)" in text


def test_hostile_fit_events_do_not_stop_the_report(recording: Recording) -> None:
    odd: list[dict[str, Any]] = [
        {},
        {"feature": 3, "estimator": "wiener", "band_hz": [1, 2]},
        {"feature": HOSTILE, "estimator": "wiener", "band_hz": [12, 15], "spatial": [3, {}],
         "reads": {"centre": None}, "delays_s": [0.0, 0.1], "limit": [0.5], "measured": [0.4, None],
         "reason": HOSTILE, "block": HOSTILE},
        {"feature": "smr", "estimator": "wiener", "band_hz": "x"},
    ]  # fmt: skip
    alpha = Event(T0, 4000, "iaf", {"used_hz": 9.0, "source": HOSTILE, "sites": [HOSTILE]})
    more = (*(Event(T0, 4000, "fit", d) for d in odd), alpha)
    reader = Reader(build_report(replace(recording, events=(*recording.events, *more))))
    assert "script" not in reader.tags
    lost = replace(recording, events=tuple(Event(T0, 4000, "fit", d) for d in odd))
    assert "script" not in Reader(build_report(lost)).tags


# ---------------------------------------------------------------- two sides


def test_share_of_clean_time_above_zero(sides: tuple[Live, Recording, Learned]) -> None:
    _, recording, told = sides
    b = block(told, "Training 1")
    r = told.rows
    inside = (r.t_s >= b.start_s) & (r.t_s <= b.end_s) & (r.gate == 0) & (r.held == 0)
    x = r.values[inside, told.feature_names.index("asymmetry")]
    x = x[np.isfinite(x)]
    found = b.above_zero["asymmetry"]
    assert found.share == pytest.approx(float((x > 0).mean()), abs=0.02)
    assert found.clean_s == pytest.approx(b.clean_s, abs=0.2)
    assert found.note == ""
    assert "fixed filter" in block(told, "Baseline eyes open").above_zero["asymmetry"].note
    text = Reader(build_report(recording)).text
    assert "asymmetry: share of clean time above zero" in text
    assert "no diagnosis" in text
    assert "depress" not in text.split("Evidence for this protocol")[0]


def test_powers_have_no_share_above_zero(told: Learned) -> None:
    assert all(b.above_zero == {} for b in told.blocks)


# ---------------------------------------------------------------- across sessions


def fixed_by_hand(
    told: Learned, recording: Recording, label: str, name: str
) -> tuple[int, float | None]:
    """Return the mean of ln power of the recording's own column over a block's clean points."""
    b = block(told, label)
    r = told.rows
    needed = [told.feature_names.index(f) for f, _ in told.rules]
    good = (r.t_s >= b.start_s) & (r.t_s <= b.end_s) & (r.gate == 0) & (r.held == 0)
    good &= r.trusted[:, needed].all(axis=1)
    x = r.fixed_uv2[good, told.feature_names.index(name)]
    x = x[np.isfinite(x)]
    return len(x), float(np.log(x).mean()) if len(x) else None


def test_blocks_after_the_fit_are_read_from_the_column(told: Learned, recording: Recording) -> None:
    n, mean = fixed_by_hand(told, recording, "Transfer", "smr")
    found = block(told, "Transfer").fixed["smr"]
    assert (found.n, found.mean_ln) == (n, pytest.approx(mean))
    rest = block(told, "Baseline eyes open").fixed["smr"]
    assert fixed_by_hand(told, recording, "Baseline eyes open", "smr") == (0, None)
    assert rest.mean_ln is not None
    assert rest.change_ln == 0.0
    assert found.change_ln == pytest.approx((found.mean_ln or 0.0) - rest.mean_ln)
    assert found.against == "Baseline eyes open"


def without_fixed(recording: Recording) -> Recording:
    """Return the recording as version 0.1 would have written it."""
    names = recording.features.columns
    kept = [i for i, n in enumerate(names) if not n.startswith("fixed_")]
    table = Table(tuple(names[i] for i in kept), recording.features.values[:, kept])
    return replace(recording, features=table)


@pytest.mark.parametrize("name", ["alpha_left", "alpha_right", "asymmetry"])
def test_filtering_once_more_gives_the_recorded_column(
    sides: tuple[Live, Recording, Learned], name: str
) -> None:
    """What is read again for the baseline is what the session itself records later on.

    Around the individual alpha frequency, where the live filter of the baseline was elsewhere.
    """
    _, recording, told = sides
    again = learned(without_fixed(recording))
    for before, after in zip(told.blocks, again.blocks, strict=True):
        a, b = before.fixed[name], after.fixed[name]
        assert b.n == pytest.approx(a.n, abs=1)
        assert b.mean_ln == pytest.approx(a.mean_ln, abs=0.02 if a.n != b.n else 1e-9)


def test_compared_powers_come_from_the_means_of_their_parts(
    sides: tuple[Live, Recording, Learned],
) -> None:
    _, recording, told = sides
    for b in told.blocks:
        parts = b.fixed["alpha_right"], b.fixed["alpha_left"]
        right, left = (p.mean_ln for p in parts)
        assert right is not None
        assert left is not None
        assert b.fixed["asymmetry"].mean_ln == pytest.approx(right - left)
    text = Reader(build_report(recording)).text
    assert "For comparison across sessions (fixed filter)" in text
    row = next(b for b in summary(recording)["blocks"] if b["label"] == "Training 1")
    assert row["fixed"]["asymmetry"]["change_ln"] is not None


def test_a_session_with_fixed_filters_is_compared_as_well(tmp_path: Path) -> None:
    def fixed(protocol: Any) -> Any:
        features = {k: f.model_copy(update={"fit": "fixed"}) for k, f in protocol.features.items()}
        return protocol.model_copy(update={"features": features})

    live = Live(tmp_path / "fixed.xdf", change=fixed)
    live.order("start")
    live.until(PhaseKind.TRANSFER)
    live.recorder.close()
    recording = read(tmp_path / "fixed.xdf")
    told = learned(recording)
    assert told.filters == ()
    assert told.delay_s == pytest.approx(recording.header["delay_s"])
    found = block(told, "Training 1").fixed["smr"]
    assert found.change_ln is not None
    # The live value is the same filter's, smoothed, so its mean is the larger one.
    live_ln = math.log(block(told, "Training 1").features["smr"].spread.median)
    assert live_ln - 1.5 < (found.mean_ln or 0.0) < live_ln
    text = Reader(build_report(recording)).text
    assert "No filter was fitted in this session" in text
    assert "causally with fixed filters" in text


def test_a_recording_of_version_0_1_is_still_told(recording: Recording) -> None:
    events = tuple(
        e for e in recording.events if e.kind not in ("fit", "iaf", "references", "resting")
    )
    old = replace(without_fixed(recording), events=events)
    told = learned(old)
    assert told.delay_s == pytest.approx(recording.header["delay_s"])
    assert not told.fits_told
    text = Reader(build_report(old)).text
    assert "Written by a version that fitted nothing" in text
    assert "causally with fixed filters" in text


def test_the_baseline_is_not_known_where_it_cannot_be_filtered_again(recording: Recording) -> None:
    header = {k: v for k, v in recording.header.items() if k != "plan"}
    told = learned(replace(recording, header=header))
    rest = next(b for b in told.blocks if b.kind == "baseline").fixed["smr"]
    assert rest.mean_ln is None
    assert "cannot be filtered once more" in rest.why
    train = next(b for b in told.blocks if b.kind == "train").fixed["smr"]
    assert train.mean_ln is not None
    assert train.change_ln is None
    assert train.why


def test_the_page_names_the_certificate_it_rests_on(recording: Recording, page: str) -> None:
    assert "No certificate: how late light and sound were" in page
    made = {
        "file": "room.certificate.json", "sha256": "ab", "date": "2026-11-20T10:00:00+00:00",
        "display_ms": 21.3, "display_sd_ms": 1.2, "sound_ms": None, "sound_sd_ms": None,
        "simulated": False, "valid": True, "why_not": [], "window": {"driver": "x11"},
    }  # fmt: skip
    held = build_report(replace(recording, header={**recording.header, "certificate": made}))
    assert "room.certificate.json" in held
    assert "21.3" in held
    opened = Event(0.0, 0, "window", {"driver": "wayland"})
    other = replace(
        recording,
        header={**recording.header, "certificate": made},
        events=(*recording.events, opened),
    )
    assert "does not hold for this session" in build_report(other)
