"""Whole sessions in one thread: a fake amplifier, clock, window and view; a real recorder.

Time is fake and passes only while the session waits for samples, so a minute takes a second or
two. After every session the recording is read back and replayed: it must be closed, whole and
give the same decisions.
"""

from __future__ import annotations

import errno
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import session as session_module
from engine.acquire import Back, Changed, Item, Lost, Marker
from engine.assemble import assemble, feature_units
from engine.clock import FakeClock
from engine.columns import HELD
from engine.features import FEATURES
from engine.frames import Gap, Hold, Phase, PhaseKind, Presented, Show, StreamSpec
from engine.number import Received
from engine.person import Person, columns
from engine.record import Recorder
from engine.recording import Recording, read
from engine.replay import replay_recording
from engine.screens import Cues, show_for
from engine.session import Outcome, Session, SessionSettings
from engine.status import Status
from engine.terminal import Order
from feedback.worker import Beat, Fault, Key, Message, Ready
from protocols.load import Loaded, load
from protocols.plan import expand

RATE_HZ = 250.0
PACKET = 16  # samples, 64 ms
GOOD_S = 2.0  # a cause must be gone for so long
TURN_S = 0.1  # a turn, a packet, and a grid point

QUICK = """\
format: 1
name: quick
title: A quick session
evidence: {grade: X, summary: "For tests."}
summary: Trains nothing.
needs: {channels: [Cz], rate: at least 128 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz, smooth: 0.5 s}
gates: {blink: on, amplitude: on, step: on, muscle: {at: [Cz]}}
baseline: [{name: eyes_open, lasts: 60 s, eyes: open, learn: [smr]}]
reward: {feature: smr, above: {fixed: 1 uV2}, sustain: 0.2 s, refractory: 0.5 s}
feedback:
  level: {feature: smr, from: {fixed: 0.1 uV2}, to: {fixed: 30 uV2}, smooth: 0.3 s}
  picture: orb
session:
  - baseline
  - {train: 20 s, say: "Grow."}
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Return a protocol whose thresholds need no baseline."""
    path = tmp_path_factory.mktemp("protocol") / "quick.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return load(str(path), FEATURES)


@pytest.fixture(scope="module")
def eeg() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return three minutes of a calm person."""
    person = Person(RATE_HZ, seed=3, blinks=False, jaw=False)
    return person.read(round(180 * RATE_HZ)).astype(np.float32)


def plan_of(*parts: tuple[PhaseKind, float]) -> tuple[Phase, ...]:
    """Return a plan of blocks; DONE is appended."""
    return tuple(
        Phase(i, kind, kind.name.lower(), lasts_s, say="Grow.", block=i + 1)
        for i, (kind, lasts_s) in enumerate((*parts, (PhaseKind.DONE, 0.0)))
    )


TRAIN_10 = plan_of((PhaseKind.READY, 1.0), (PhaseKind.TRAIN, 10.0))


# ---------------------------------------------------------------- the surroundings


class FakeSource:
    """An amplifier in fake time; waiting for it is what makes time pass."""

    def __init__(self, clock: FakeClock, eeg: np.ndarray[Any, Any], spec: StreamSpec) -> None:
        self.clock, self.eeg, self.spec = clock, eeg, spec
        self.failure: BaseException | None = None
        self.last_sample_t: float | None = None
        self.clock_offset_s: float | None = 0.0
        self.start = clock.now()
        self.made = 0  # samples the amplifier has taken
        self.packet = PACKET
        self.silent = False  # what it takes is lost
        self.stalled = False  # what it takes waits, and comes at once later
        self.late_s = 0.0  # on the way
        self.skew_s = 0.0  # of its clock
        self.gain = 1.0
        self.waiting: deque[tuple[float, Item]] = deque()
        self.plan: list[tuple[float, Callable[[], None]]] = []
        self.wait_s = 0.0

    def at(self, t_s: float, do: Callable[[], Any]) -> None:
        """Do something `t_s` after the amplifier was switched on."""
        self.plan.append((self.start + t_s, do))
        self.plan.sort(key=lambda entry: entry[0])

    def put(self, item: Item) -> None:
        self.waiting.append((self.clock.now(), item))

    def get(self, timeout_s: float = 0.0) -> Item | None:
        until = self.clock.now() + timeout_s
        while True:
            self._happen()
            if self.waiting and not self.stalled and self.waiting[0][0] <= self.clock.now():
                return self.waiting.popleft()[1]
            left = until - self.clock.now()
            if left <= 1e-9:
                return None
            self.clock.advance(min(left, 0.002))

    def _happen(self) -> None:
        now = self.clock.now()
        while self.plan and self.plan[0][0] <= now:
            self.plan.pop(0)[1]()
        while self.start + (self.made + self.packet) / self.spec.rate_hz <= now:
            rows = np.arange(self.made, self.made + self.packet)
            self.made += self.packet
            if self.silent:
                continue
            samples = self.eeg[rows % len(self.eeg)].copy()
            samples[:, :19] *= np.float32(self.gain)
            samples[:, 19] = rows
            stamps = self.start + self.skew_s + (rows + 1) / self.spec.rate_hz
            t = float(stamps[-1]) - self.skew_s + self.late_s
            self.last_sample_t = now
            self.waiting.append((t, Received(samples, stamps, max(now, t))))


class FakeWindow:
    """A window that presents what it is given, until told to die."""

    def __init__(self, clock: FakeClock, *, opens: bool = True, audio: str = "dummy") -> None:
        self.clock, self.opens, self.audio = clock, opens, audio
        self.shows: list[Show] = []
        self.messages: list[Message] = []
        self.alive = False
        self.hung = False
        self.stopped = threading.Event()
        self.dose_pa2h = 0.0
        self._beat_t = -math.inf

    def start(self) -> None:
        self.alive = True
        if self.opens:
            ready = Ready({"SDL": "2"}, "dummy", self.audio, (640, 360), 60.0, buffer_ms=46.0)
            self.messages.append(ready)

    def show(self, show: Show) -> None:
        self.shows.append(show)
        if self.alive and not self.hung:
            now = self.clock.now()
            level = show.level if show.screen == "feedback" else None
            self.messages.append(Presented(show.seq, show.t, show.sent, now, level, False, 0))

    def poll(self) -> tuple[Message, ...]:
        now = self.clock.now()
        if self.alive and self.opens and not self.hung and now - self._beat_t >= 0.1:
            self._beat_t = now
            self.dose_pa2h += 1e-6
            self.messages.append(Beat(now, 60.0, 0, sound_delay_ms=52.0, dose_pa2h=self.dose_pa2h))
        out, self.messages = tuple(self.messages), []
        return out

    def stop(self, _timeout_s: float = 2.0) -> None:
        self.alive = False
        self.stopped.set()


@dataclass
class FakeView:
    """An operator who reads everything and gives orders when told to."""

    orders: deque[Order] = field(default_factory=deque)
    seen: list[Status] = field(default_factory=list)
    broken: BaseException | None = None
    closed: int = 0

    def start(self) -> None:
        pass

    def update(self, status: Status) -> None:
        if self.broken is not None:
            raise self.broken
        self.seen.append(status)

    def poll(self) -> tuple[Order, ...]:
        orders = tuple(self.orders)
        self.orders.clear()
        return orders

    def close(self) -> None:
        self.closed += 1

    @property
    def said(self) -> list[str]:
        """Every message, once, in order, without its time."""
        lines: dict[str, None] = {}
        for status in self.seen:
            lines.update(dict.fromkeys(status.messages))
        return [line.split(" ", 1)[1] for line in lines]


@dataclass
class FakeMarkers:
    waiting: deque[Marker | Lost] = field(default_factory=deque)

    def get(self, _timeout_s: float = 0.0) -> Marker | Lost | None:
        return self.waiting.popleft() if self.waiting else None


class Bench:
    """A session and everything around it."""

    def __init__(
        self,
        folder: Path,
        loaded: Loaded,
        eeg: np.ndarray[Any, Any],
        plan: tuple[Phase, ...] = TRAIN_10,
        **settings: Any,
    ) -> None:
        self.clock = FakeClock()
        self.loaded = loaded
        self.spec = StreamSpec("amp", "EEG", "amp-1", "u1", "here", RATE_HZ, columns())
        self.source = FakeSource(self.clock, eeg, self.spec)
        self.windows: list[FakeWindow] = []
        self.window_spec: dict[str, Any] = {}
        self.view = FakeView()
        self.markers = FakeMarkers()
        self.interrupts = False
        self.slept_s = 0.0
        assembly = assemble(self.spec, loaded.protocol, plan, mains_hz=50.0)
        header = {
            "protocol": loaded.protocol.model_dump(mode="json"),
            "plan": plan,
            "mains_hz": 50.0,
        }
        self.recorder = Recorder(
            folder / "session.xdf",
            header,
            self.spec,
            features=feature_units(loaded.protocol),
            metrics=assembly.fold.gates.metric_names,
            rules=[r.feature for r in loaded.protocol.rules],
            markers=("marks",),
            now=self.clock.now,
        )
        values: dict[str, Any] = {
            "protocol": loaded.protocol,
            "plan": plan,
            "spec": self.spec,
            "client": "c1",
            "use": "test",
            "short": True,
            "mains_hz": 50.0,
            "check_s": 2.0,
            "wait_for_operator": False,
            "sound_required": False,
            "keep_free_gb": 0.0,
            "recording": self.recorder.path,
            "counter": "counter",
        }
        self.session = Session(
            SessionSettings(**{**values, **settings}),
            assembly,
            self.source,
            self.recorder,
            self._window,
            self.view,
            self.clock,
            markers=self.markers,  # type: ignore[arg-type]
            interrupted=lambda: self.interrupts,
            wall_s=lambda: self.clock.now() + self.slept_s,
        )

    def _window(self) -> FakeWindow:
        self.windows.append(FakeWindow(self.clock, **self.window_spec))
        return self.windows[-1]

    @property
    def shows(self) -> list[Show]:
        return [show for window in self.windows for show in window.shows]

    def at(self, t_s: float, do: Callable[[], Any]) -> None:
        self.source.at(t_s, do)

    def order(self, t_s: float, kind: Any, **what: Any) -> None:
        self.at(t_s, lambda: self.view.orders.append(Order(kind, **what)))

    def run(self) -> tuple[Outcome, Told]:
        """Run to the end; every recording must be closed, whole, and replay identically."""
        outcome = self.session.run()
        self.recorder.close()
        assert self.view.closed == 1
        assert outcome.sentence.endswith(".")
        told = Told(read(self.recorder.path), self.source.start)
        if self.recorder.fault is None:
            assert told.recording.closed
            assert told.recording.damage is None
            again = replay_recording(self.recorder.path).comparison
            assert again is not None
            assert again.identical, again.sentence
        told.check_invariants()
        return outcome, told


class Told:
    """What a recording tells of a session."""

    def __init__(self, recording: Recording, start: float) -> None:
        self.recording = recording
        self.start = start
        d = recording.decisions
        self.seq, self.t = d.column("seq"), d.column("t") - start
        self.kind, self.level = d.column("kind"), d.column("level")
        self.reward, self.gate = d.column("reward") > 0, d.column("gate")
        self._held = d.column("held").astype(int)
        self.phase, self.phase_s = d.column("phase"), d.column("phase_s")

    def held(self, cause: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return at which grid points a cause of hold is in force."""
        return (self._held >> HELD.index(cause)) & 1 > 0

    @property
    def anything_held(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return self._held > 0

    def events(self, kind: str) -> list[Any]:
        return [e for e in self.recording.events if e.kind == kind]

    def inputs(self, kind: type) -> list[Any]:
        return [i for i in self.recording.inputs if isinstance(i, kind)]

    def holds(self) -> list[tuple[str, bool]]:
        return [(h.cause, h.on) for h in self.inputs(Hold)]

    def check_invariants(self) -> None:
        """Check what holds for every session whatever happens to it."""
        train = self.kind == PhaseKind.TRAIN.value
        silent = self.anything_held | (self.gate > 0) | ~train
        assert not self.reward[silent].any()
        assert np.isnan(self.level[silent]).all()
        assert (np.diff(self.seq) > 0).all()
        # Every grid point between the gaps is decided, also in a burst.
        missing = {g.seq: g.missing for g in self.inputs(Gap)}
        hop = self.recording.spec.hop
        jumps = np.flatnonzero(np.diff(self.seq) != hop)
        assert all(any(self.seq[j] < g <= self.seq[j + 1] for g in missing) for j in jumps)
        # A hold ends only after it has begun.
        on: set[str] = set()
        for hold in self.inputs(Hold):
            assert (hold.cause in on) != hold.on
            on ^= {hold.cause}
        names = [e.kind for e in self.recording.events]
        assert names.count("end") <= 1


@pytest.fixture
def bench(
    tmp_path: Path, quick: Loaded, eeg: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Bench]]:
    """Return a maker of benches whose recorders are closed in any case."""
    made: list[Bench] = []
    monkeypatch.setattr(session_module, "CHECK_LIMIT_S", 6.0)  # less to fold; 30 s for people
    monkeypatch.setattr(session_module, "WINDOW_START_S", 3.0)

    def make(plan: tuple[Phase, ...] = TRAIN_10, **settings: Any) -> Bench:
        made.append(Bench(tmp_path, quick, eeg, plan, **settings))
        return made[-1]

    before = threading.excepthook
    yield make
    for one in made:
        one.recorder.close()
    assert threading.excepthook is before


Make = Callable[..., Bench]


# ---------------------------------------------------------------- an ordinary session


def test_a_session_runs_to_its_end(bench: Make) -> None:
    b = bench()
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.DONE, 0)
    assert outcome.rewards == told.reward.sum() > 5
    assert told.seq[0] == 0
    assert told.holds() == []
    assert [e.data["kind"] for e in told.events("phase_begin")] == ["ready", "train"]
    assert told.events("end")[0].data["state"] == "done"
    assert b.shows[-1].screen == "end"
    assert b.view.seen[-1].state is PhaseKind.DONE
    assert b.windows[0].stopped.is_set()
    # What the person saw closes the loop for grid points that were decided.
    shown = told.recording.presented.column("seq")
    assert np.isin(shown[shown >= 0], told.seq).all()


# ---------------------------------------------------------------- the operator


def test_pause_gap_hold_and_threshold_replay_identically(bench: Make) -> None:
    """A5: replay of a live recording with all of these in it gives the same decisions."""
    b = bench(plan_of((PhaseKind.READY, 1.0), (PhaseKind.TRAIN, 14.0), (PhaseKind.POST, 2.0)))
    b.order(6.0, "pause")
    b.order(8.0, "resume")
    b.order(9.0, "threshold", target="smr", value=4.0, text="too easy")
    b.at(11.0, lambda: setattr(b.source, "silent", True))
    b.at(12.5, lambda: setattr(b.source, "silent", False))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.holds() == [("stale", True), ("stale", False)]
    (gap,) = told.inputs(Gap)
    assert gap.missing / RATE_HZ == pytest.approx(1.5, abs=0.05)
    assert told.events("threshold_change")[0].data["new"] == 4.0
    assert 95 < told.held("paused").sum() < 105  # 2 s at 50 Hz
    assert "Threshold of smr is now 4: too easy" in b.view.said


def test_a_pause_stops_every_clock(bench: Make) -> None:
    b = bench()
    b.order(6.0, "pause")
    b.order(9.0, "resume")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    paused = told.held("paused")
    assert len(set(told.phase_s[paused])) == 1
    train = told.kind == PhaseKind.TRAIN.value
    assert (train & ~paused).sum() == pytest.approx(500, abs=110)  # 10 s, up to 20 % for gates
    screens = {s.screen for s in b.shows if b.source.start + 6.1 < s.sent < b.source.start + 8.9}
    assert screens == {"neutral"}
    assert {s.text for s in b.shows if s.screen == "neutral"} == {"We are pausing."}
    assert any(s.why == "Paused. Press p to go on." and s.paused for s in b.view.seen)
    assert b.view.said.count("Paused.") == b.view.said.count("The pause is over.") == 1


def test_orders_are_recorded_and_obeyed(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0), (PhaseKind.REST, 1.0)))
    b.order(4.0, "note", text="  moved \u202e ")
    b.order(4.5, "volume", value=0.4)
    b.order(4.6, "volume", value=7.0)
    b.order(4.7, "volume", value=math.nan)
    b.order(5.0, "mark_bad", target="Nowhere")
    b.order(5.2, "threshold", target="nothing", value=1.0, text="why")
    b.order(5.4, "threshold", target="smr", value=math.nan, text="why")
    b.order(5.6, "resume")
    b.order(5.8, "start")
    b.order(6.0, "quit")
    b.order(7.0, "mark_bad", target="Cz")
    b.order(9.0, "skip")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    kinds = [i.kind for i in told.recording.inputs if not isinstance(i, (Gap, Hold))]
    assert kinds == [
        *("start", "note", "volume", "volume", "volume", "mark_bad", "threshold", "threshold"),
        *("resume", "mark_bad", "skip"),
    ]
    gains = [e.data["gain"] for e in told.events("volume")]
    assert gains == [0.4, 1.0, 0.0]
    assert len(told.events("refused")) == 3
    assert all(s.startswith("Refused: ") for s in b.view.said if "Refused" in s)
    after = (told.t > 7.1) & (told.kind == PhaseKind.TRAIN.value)
    assert after.any()
    assert (told.gate[after] > 0).all()  # Cz is needed and marked bad
    assert not told.reward[after].any()
    lights = {e.name: e.light for e in b.view.seen[-1].electrodes}
    assert lights["Cz"] == "red"
    assert b.shows[-1].gain == 0.0


@pytest.mark.parametrize(
    ("how", "code"), [("operator", 0), ("person", 0), ("interrupt", 130)], ids=str
)
def test_stop(bench: Make, how: str, code: int) -> None:
    b = bench()
    if how == "operator":
        b.order(6.0, "stop")
    elif how == "person":
        b.at(6.0, lambda: b.windows[0].messages.append(Key("stop", b.clock.now())))
    else:
        b.at(6.0, lambda: setattr(b, "interrupts", True))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.STOPPED, code)
    assert told.kind[-1] == PhaseKind.STOPPED.value
    first = told.t[told.kind == PhaseKind.STOPPED.value][0]
    assert first == pytest.approx(6.0, abs=TURN_S)
    assert [s.screen for s in b.shows if s.sent > b.source.start + 6.0 + TURN_S][-1] == "end"
    assert not any(
        s.screen == "feedback" for s in b.shows if s.sent > b.source.start + 6.0 + TURN_S
    )
    assert told.events("end")[0].data["state"] == "stopped"


def test_stop_before_the_start(bench: Make) -> None:
    b = bench(wait_for_operator=True)
    b.order(1.0, "stop")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.STOPPED
    assert outcome.rewards == 0
    assert not any(e.data["state"] == "start" for e in told.events("end"))


def test_stop_while_the_stream_is_dead(bench: Make) -> None:
    b = bench()
    b.at(6.0, lambda: setattr(b.source, "silent", True))
    b.order(8.0, "stop")
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.STOPPED, 0)
    asked = b.source.start + 8.0
    assert b.clock.now() - asked < 0.5 + 2.0 + 0.1  # the drain and the end screen
    assert [s.screen for s in b.shows][-1] == "end"


def test_the_operator_starts_when_everything_is_there(bench: Make) -> None:
    b = bench(wait_for_operator=True)
    b.order(0.5, "start")
    b.order(8.0, "start")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.t[told.phase >= 0][0] == pytest.approx(8.0, abs=TURN_S)
    assert any(line.startswith("Cannot start yet. ") for line in b.view.said)
    assert "Press Enter to start." in b.view.said
    assert b.view.said.count("Press Enter to start.") == 1


def test_the_operator_may_start_with_poor_electrodes(
    bench: Make, eeg: np.ndarray[Any, Any]
) -> None:
    b = bench(wait_for_operator=True)
    b.source.eeg = eeg.copy()
    b.source.eeg[:, 9] = 0.0  # Cz
    b.order(8.0, "start")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert outcome.rewards == 0
    assert "Cz: flat: no contact or not connected. Press Enter to start anyway." in b.view.said
    assert "Cz" in told.events("quality_override")[0].data["electrodes"]


@pytest.mark.parametrize("use", ["clinical", "test"])
def test_poor_electrodes_without_an_operator(
    bench: Make, eeg: np.ndarray[Any, Any], use: str
) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 2.0)), use=use)
    b.source.eeg = eeg.copy()
    b.source.eeg[:, 9] = 0.0
    outcome, told = b.run()
    begun = told.phase >= 0
    if use == "clinical":
        assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
        assert "good electrodes" in outcome.sentence
        assert not begun.any()
    else:
        assert outcome.state is PhaseKind.DONE
        assert told.t[begun][0] > 8.0


# ---------------------------------------------------------------- the stream


def test_silence_is_a_hold_within_half_a_second(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))
    b.at(7.0, lambda: setattr(b.source, "silent", True))
    b.at(10.0, lambda: setattr(b.source, "silent", False))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.holds() == [("stale", True), ("stale", False)]
    last = told.t[told.t < 7.1][-1]
    neutral = next(s for s in b.shows if s.sent - b.source.start > 6 and s.screen == "neutral")
    assert neutral.sent - b.source.start - last <= 0.5
    held = told.held("stale")
    assert 10.0 <= told.t[held][0] < 10.1  # carried by the first sample that came
    assert told.t[held][-1] == pytest.approx(10.0 + GOOD_S, abs=0.1)
    # Feedback comes back once the filters have settled, not before.
    live = told.t[np.isfinite(told.level)]
    settle_s = b.session.fold.settle_s()
    assert live[live > 7.1][0] >= 10.0 + max(GOOD_S, settle_s) - 0.05
    assert "Resumed: Samples arrive again." in b.view.said
    assert "1.50 s of samples are missing." not in b.view.said
    assert "3.01 s of samples are missing." in b.view.said
    whys = list(dict.fromkeys(s.why for s in b.view.seen if s.held))
    assert whys[0].startswith("No new samples for 0.")
    assert whys[-1] == "Samples arrive again. Going on in a moment."


def test_a_burst_is_folded_whole_and_only_the_newest_is_shown(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 14.0)))
    b.at(6.0, lambda: setattr(b.source, "stalled", True))
    b.at(11.0, lambda: setattr(b.source, "stalled", False))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.inputs(Gap) == []
    assert (np.diff(told.seq) == told.recording.spec.hop).all()
    burst = (told.t > 6.1) & (told.t < 11.0)
    assert burst.sum() > 240
    assert told.held("stale")[burst].all()
    # Eighty packets came in one turn; the window has one newest value.
    assert b.shows[-1].screen == "end"
    assert len(told.recording.presented.values) < len(b.shows) + 1
    seq = [s.seq for s in b.shows]
    assert seq == sorted(seq)


def test_a_burst_in_one_pull_is_numbered_and_folded(bench: Make, eeg: np.ndarray[Any, Any]) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))

    def one_pull() -> None:
        packets = [item for _, item in b.source.waiting if isinstance(item, Received)]
        now = b.clock.now()
        b.source.waiting.clear()
        joined = Received(
            np.concatenate([p.samples for p in packets]),
            np.concatenate([p.stamps for p in packets]),
            now,
        )
        b.source.waiting.append((now, joined))
        b.source.stalled = False

    b.at(6.0, lambda: setattr(b.source, "stalled", True))
    b.at(11.0, one_pull)
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert (np.diff(told.seq) == told.recording.spec.hop).all()
    assert told.held("stale").any()


def test_lost_packets_are_a_gap_and_no_hold(bench: Make) -> None:
    b = bench()
    b.at(7.0, lambda: setattr(b.source, "silent", True))
    b.at(7.1, lambda: setattr(b.source, "silent", False))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.holds() == []
    (gap,) = told.inputs(Gap)
    assert gap.missing in (16, 32)
    assert gap.cause == "counter"
    assert told.events("gap")[0].data["gap_s"] == gap.missing / RATE_HZ
    after = (told.seq > gap.seq) & (told.t < 8.0)
    assert (told.gate[after] > 0).all()  # the filters settle


def test_a_changed_stream_is_named_and_refused(bench: Make) -> None:
    b = bench()

    def comes_back_different() -> None:
        b.source.silent = True
        b.source.put(Lost(b.clock.now(), "The stream 'amp' is gone. Looking for it."))
        lines = ("it sends 500 Hz, agreed were 250 Hz",)
        b.source.put(Changed(b.clock.now(), b.spec, lines))

    b.at(6.0, comes_back_different)
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 3)
    assert outcome.sentence == (
        "The stream came back different: it sends 500 Hz, agreed were 250 Hz. "
        "A new session is needed for it."
    )
    assert told.holds()[0] == ("changed", True)
    why = {s.why for s in b.view.seen if s.held}
    assert "The stream came back different: it sends 500 Hz, agreed were 250 Hz" in why
    assert told.t[-1] < 6.1
    assert b.clock.now() - b.source.start == pytest.approx(6.0 + 60.0 + 2.0, abs=0.5)


def test_the_agreed_stream_may_come_back_after_another(bench: Make) -> None:
    b = bench()
    t = b.clock.now

    def gone() -> None:
        b.source.silent = True
        b.source.put(Lost(t(), "The stream 'amp' is gone. Looking for it."))
        b.source.put(Changed(t(), None, ("2 streams carry its source_id, on here",)))

    def back() -> None:
        b.source.put(Back(t(), b.spec, 4.0, reopened=True))
        b.source.silent = False

    b.at(6.0, gone)
    b.at(10.0, back)
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert set(told.holds()) == {(c, on) for c in ("changed", "stale") for on in (True, False)}
    (gap,) = told.inputs(Gap)
    assert gap.missing / RATE_HZ == pytest.approx(4.0, abs=0.1)
    assert "The stream is back after 4.0 s." in b.view.said
    resumed = [line for line in b.view.said if line.startswith("Resumed: ")]
    assert len(resumed) == 1  # only when nothing holds any more


def test_a_restarted_amplifier_counts_anew(bench: Make) -> None:
    b = bench()

    def restart() -> None:
        b.source.silent = False
        b.source.skew_s = -40.0  # its clock began again
        b.source.put(Back(b.clock.now(), b.spec, 3.0, reopened=True))

    b.at(6.0, lambda: setattr(b.source, "silent", True))
    b.at(9.0, restart)
    b.at(9.0, lambda: setattr(b.source, "clock_offset_s", 40.0))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    (gap,) = told.inputs(Gap)
    assert gap.missing / RATE_HZ == pytest.approx(3.0, abs=0.2)
    assert ("transport", True) not in told.holds()


@pytest.mark.parametrize("started", [True, False])
def test_a_stream_that_stays_away_ends_the_session(bench: Make, started: bool) -> None:
    b = bench(wait_for_operator=not started)
    b.at(6.0, lambda: setattr(b.source, "silent", True))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 3)
    assert outcome.sentence == "The stream stayed away for 60 s."
    assert b.clock.now() - b.source.start == pytest.approx(6.0 + 60.0 + 2.0, abs=0.5)
    assert told.events("failed")[0].data["sentence"] == outcome.sentence
    assert b.view.said.count(outcome.sentence) == 1


def test_a_stream_that_never_sends(bench: Make) -> None:
    b = bench()
    b.source.silent = True
    outcome = b.session.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 3)
    assert outcome.sentence == "The stream never sent a sample."
    assert b.shows[-1].screen == "end"
    assert {s.why for s in b.view.seen} >= {"Waiting for the first samples."}


def test_samples_that_arrive_late_are_a_hold(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))
    b.at(6.0, lambda: setattr(b.source, "late_s", 0.2))
    b.at(6.5, lambda: setattr(b.source, "late_s", 0.4))
    b.at(10.0, lambda: setattr(b.source, "late_s", 0.0))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert [h for h in told.holds() if h[0] == "transport"] == [
        ("transport", True),
        ("transport", False),
    ]
    held = told.t[told.held("transport")]
    assert held[0] == pytest.approx(6.5 + 2.0, abs=0.5)
    assert any("late: this computer is too busy" in line for line in b.view.said)


def test_a_foreign_clock_is_not_mistaken_for_lateness(bench: Make) -> None:
    b = bench()
    b.source.skew_s = -2e5
    b.source.clock_offset_s = None
    b.at(8.0, lambda: setattr(b.source, "clock_offset_s", 2e5))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.holds() == []
    unknown = [s for s in b.view.seen if not s.age_known]
    known = [s for s in b.view.seen if s.age_known and s.age_ms is not None]
    assert {s.age_ms for s in unknown} == {None}
    assert max(abs(s.age_ms or 0.0) for s in known) < 200
    assert all(math.isnan(s.t) for s in b.shows if s.sent - b.source.start < 7.9)


def test_a_wrong_rate_is_a_hold(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 40.0)))
    b.source.spec = replace(b.spec, rate_hz=0.97 * RATE_HZ)  # what it really does
    b.order(30.0, "stop")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.STOPPED
    assert ("rate", True) in told.holds()
    assert "Held: The stream says 250 Hz but sends 242.6 Hz." in b.view.said
    assert not told.reward[told.t > 23.0].any()


# ---------------------------------------------------------------- what may not begin


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (1e6, "a million times too large"),
        (1e3, "a thousand times too large"),
        (1e-3, "a thousand times too small"),
        (1e-6, "a million times too small"),
    ],
)
def test_a_wrong_unit_is_refused_with_its_factor(bench: Make, gain: float, words: str) -> None:
    b = bench()
    b.source.gain = gain
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 2)
    assert words in outcome.sentence
    assert "`unit:`" in outcome.sentence
    assert not (told.phase >= 0).any()
    assert len([line for line in b.view.said if "which no head gives" in line]) <= 2


def test_a_dead_amplifier_is_refused(bench: Make) -> None:
    b = bench()
    b.source.gain = 0.0
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 2)
    assert outcome.sentence.startswith("Every electrode is flat")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_numbers_beyond_reason_are_refused_without_noise(
    bench: Make, eeg: np.ndarray[Any, Any], value: float
) -> None:
    b = bench()
    b.source.eeg = np.full_like(eeg, value)
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 2)


def test_a_mended_unit_lets_the_operator_start(bench: Make) -> None:
    b = bench(wait_for_operator=True)
    b.source.gain = 1e6
    b.order(8.0, "start")
    b.at(12.0, lambda: setattr(b.source, "gain", 1.0))
    b.order(24.0, "start")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.t[told.phase >= 0][0] == pytest.approx(24.0, abs=TURN_S)
    refused = [line for line in b.view.said if line.startswith("Cannot start yet. The electrodes")]
    assert len(refused) == 1


@pytest.mark.parametrize(("packet_s", "fits"), [(0.2, True), (0.48, True), (0.8, False)])
def test_long_packets_warn_and_longer_ones_are_refused(
    bench: Make, packet_s: float, fits: bool
) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 4.0)))
    b.source.packet = round(packet_s * RATE_HZ)
    outcome, told = b.run()
    said = [line for line in b.view.said if line.startswith("The amplifier sends packets of")]
    assert said
    assert told.events("chunk")[0].data["too_long"] is not fits
    if fits:
        assert outcome.state is PhaseKind.DONE
        assert ("stale", True) not in told.holds()
    else:
        assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 3)
        assert "Choose smaller packets" in outcome.sentence
        assert not (told.phase >= 0).any()


def test_packets_in_parts_count_as_one(bench: Make) -> None:
    b = bench()
    whole = b.source.get

    def in_parts(timeout_s: float = 0.0) -> Item | None:
        item = whole(timeout_s)
        if isinstance(item, Received) and len(item.stamps) == b.source.packet:
            rest = Received(item.samples[1:], item.stamps[1:], item.t_pulled)
            b.source.waiting.appendleft((b.clock.now(), rest))
            return Received(item.samples[:1], item.stamps[:1], item.t_pulled)
        return item

    b.source.packet = 100
    b.source.get = in_parts  # type: ignore[method-assign]
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.events("chunk")[0].data["chunk_s"] == pytest.approx(0.4, abs=0.02)


def test_sound_that_is_required_must_be_there(bench: Make) -> None:
    b = bench(sound_required=True)
    b.windows[0].audio = ""
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert "no sound device" in outcome.sentence


def test_a_baseline_that_fails_ends_with_its_reason(
    tmp_path: Path, eeg: np.ndarray[Any, Any]
) -> None:
    loaded = load("smr_up", FEATURES)
    b = Bench(tmp_path, loaded, eeg, expand(loaded.protocol, 55.0))
    b.source.eeg = eeg.copy()
    b.source.eeg[:, 9] += 400 * (np.arange(len(eeg)) % 500 < 250)  # Cz jumps every second
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert outcome.sentence == told.events("failed")[0].data["sentence"]
    assert outcome.sentence.startswith("The baseline eyes_open failed 3 times.")
    assert len([line for line in b.view.said if line.startswith("Baseline again")]) == 2
    assert told.kind[-1] == PhaseKind.FAILED.value
    assert outcome.rewards == 0


# ---------------------------------------------------------------- the window


def test_the_sound_is_kept_over_windows(bench: Make) -> None:
    """Each window counts the dose from nothing; the session adds up."""
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))
    b.at(6.0, lambda: setattr(b.windows[0], "alive", False))
    _, told = b.run()
    assert [e.data["buffer_ms"] for e in told.events("window")] == [46.0, 46.0]
    (end,) = told.events("window_end")
    counted = [w.dose_pa2h for w in b.windows]
    # The second window goes on for the two seconds of the end screen.
    assert end.data["dose_pa2h"] == pytest.approx(sum(counted) - 20e-6, abs=2e-6)
    assert counted[0] > 20e-6
    assert end.data["sound_delay_ms"] == 52.0


def test_a_dead_window_holds_and_is_opened_again(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))
    b.at(6.0, lambda: setattr(b.windows[0], "alive", False))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert len(b.windows) == 2
    assert b.windows[0].stopped.wait(5.0)
    assert told.holds() == [("window", True), ("window", False)]
    held = told.t[told.held("window")]
    assert held[0] == pytest.approx(6.0, abs=TURN_S)
    assert held[-1] == pytest.approx(6.0 + GOOD_S, abs=2 * TURN_S)
    assert len(told.events("window")) == 2
    # A window that opens late repeats no reward: it is told the count, not the rewards.
    assert b.windows[1].shows[0].screen == "neutral"
    said = b.view.said
    assert "The person's window is opened again." in said
    assert "Resumed: The person's window is back." in said


def test_a_hung_window_holds_and_is_replaced(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 12.0)))
    b.at(6.0, lambda: setattr(b.windows[0], "hung", True))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    held = told.t[told.held("window")]
    assert held[0] == pytest.approx(6.7, abs=0.2)
    assert len(b.windows) == 2
    assert b.windows[0].stopped.wait(5.0)


def test_three_failures_of_the_window_in_one_block_end_the_session(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))
    for k in range(3):
        b.at(6.0 + 4 * k, lambda k=k: setattr(b.windows[k], "alive", False))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert outcome.sentence == "The person's window failed three times in one block."
    assert len(b.windows) == 3
    assert told.holds()[-1] == ("failed", True)
    assert told.anything_held[-1]


def test_each_block_has_its_own_patience_with_the_window(bench: Make) -> None:
    b = bench(plan_of(*((PhaseKind.TRAIN, 3.0) for _ in range(4))))
    died: set[int] = set()

    def die() -> None:
        phase = b.session.decider.plan_index
        if phase >= 0 and phase not in died:
            died.add(phase)
            b.windows[-1].alive = False

    for k in range(100):
        b.at(3.0 + 0.5 * k, die)
    outcome, _ = b.run()
    assert outcome.state is PhaseKind.DONE
    assert len(b.windows) == 5


def test_a_window_that_never_opens(bench: Make) -> None:
    b = bench()
    b.windows[0].opens = False
    b.window_spec = {"opens": False}
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert "window" in outcome.sentence


def test_a_fatal_fault_before_the_start_is_told_in_its_own_words(bench: Make) -> None:
    b = bench()
    b.windows[0].opens = False

    def fault() -> None:
        b.windows[0].messages.append(Fault("There is no usable screen (x).", fatal=True))
        b.windows[0].alive = False

    b.at(0.5, fault)
    outcome, _ = b.run()
    assert (outcome.state, outcome.sentence) == (
        PhaseKind.FAILED,
        "There is no usable screen (x).",
    )


# ---------------------------------------------------------------- disk and recorder


def test_a_recorder_that_cannot_write_ends_the_session(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 3600.0)))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill() -> None:
        # The session's clock runs faster than the writer's thread: let it write what it has.
        deadline = time.monotonic() + 30.0
        while b.recorder._rows_waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        monkeypatch.setattr(b.recorder._file, "samples", full)

    b.at(6.0, fill)
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert outcome.sentence == "The recording cannot be written: No space left on device."
    assert b.shows[-1].screen == "end"
    assert len(told.seq) > 100  # what was written before is there


def test_the_disk_fills(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10.0]
    monkeypatch.setattr(session_module, "free_gb", lambda _: free[0])
    plan = plan_of((PhaseKind.TRAIN, 12.0), (PhaseKind.REST, 60.0))
    b = bench(plan, keep_free_gb=2.0)
    b.at(4.0, lambda: free.__setitem__(0, 3.0))
    b.at(9.0, lambda: free.__setitem__(0, 1.9))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert outcome.sentence == "Only 1.9 GB are left on the disk of the recordings."
    assert "Only 3.0 GB are left on the disk: make space soon." in b.view.said
    ends = {e.data["kind"]: e.data["reason"] for e in told.events("phase_end")}
    assert ends == {"train": "complete"}  # a block that has begun may end


def test_the_record_folder_disappears(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()

    def gone(_: Path) -> float:
        raise OSError(errno.ENOENT, "No such file or directory")

    b.at(6.0, lambda: monkeypatch.setattr(session_module, "free_gb", gone))
    outcome, _ = b.run()
    assert outcome.state is PhaseKind.FAILED
    assert "cannot be reached" in outcome.sentence


# ---------------------------------------------------------------- this computer


def test_what_piled_up_during_a_standstill_is_never_rewarded(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 14.0)))
    turn, stood = b.session.turn, []

    def standing() -> None:
        if not stood and b.clock.now() - b.source.start > 6.0:
            stood.append(b.clock.now())
            b.clock.advance(3.0)  # nobody looks; the amplifier goes on
        turn()

    b.session.turn = standing  # type: ignore[method-assign]
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.inputs(Gap) == []
    meanwhile = (told.t > 6.1) & (told.t < 9.0)
    assert told.held("transport")[meanwhile].all()
    assert not told.reward[meanwhile].any()
    assert told.events("standstill")[0].data["stood_s"] == pytest.approx(3.0, abs=0.1)
    assert any("This computer stood still for 3.0 s" in line for line in b.view.said)


def test_a_computer_too_slow_for_the_stream_holds(bench: Make) -> None:
    """A backlog that grows while it is worked off must not blind the session."""
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))
    step = b.session.fold.step

    def slow(item: Any) -> Any:
        if 6.0 < b.clock.now() - b.source.start < 9.0:
            b.clock.advance(0.1)  # for 64 ms of data
        return step(item)

    b.session.fold.step = slow  # type: ignore[method-assign]
    b.order(7.0, "note", text="read in time")
    b.order(18.0, "stop")
    outcome, told = b.run()
    assert outcome.state is PhaseKind.STOPPED
    first = told.holds()[0]
    assert first == ("stale", True)
    assert told.t[told.anything_held][0] < 7.0
    assert told.events("note")[0].t - b.source.start < 7.5
    assert any("in this computer: it is too busy" in line for line in b.view.said)
    assert np.isfinite(told.level[told.t > 15.0]).any()  # and feedback comes back


def test_sleep_that_our_clock_does_not_see_is_a_hold(bench: Make) -> None:
    b = bench()
    b.at(6.0, lambda: setattr(b, "slept_s", 600.0))
    b.at(9.0, lambda: setattr(b, "slept_s", -3000.0))  # set back: no matter
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.holds() == [("transport", True), ("transport", False)]
    assert len(told.events("standstill")) == 1


@pytest.mark.parametrize("stage", ["fold", "number"])
def test_an_error_of_our_own_ends_properly(
    bench: Make, caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))

    def broken(_: Any) -> Any:
        raise ZeroDivisionError("a secret name")

    b.at(6.0, lambda: setattr(getattr(b.session, stage), "step", broken))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert outcome.sentence.startswith("Neuroloop met an error of its own (number ")
    assert "secret" not in outcome.sentence
    (event,) = told.events("error")
    assert event.data["id"] in outcome.sentence
    assert event.data["id"] in caplog.text
    assert b.shows[-1].screen == "end"
    stamps = told.recording.stamps
    assert stamps[-1] - told.start > 7.9  # raw data go on to the end
    assert np.diff(stamps).max() < 1.5 / RATE_HZ


def test_a_dead_thread_is_never_silent(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))

    def dies() -> None:
        raise RuntimeError("boom")

    b.at(6.0, lambda: threading.Thread(target=dies, name="show-sender").start())
    outcome, told = b.run()
    assert outcome.state is PhaseKind.FAILED
    assert "show-sender" in outcome.sentence
    assert told.t[-1] < 9.0


def test_a_dead_acquisition_ends_at_once(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))

    def fails() -> None:
        b.source.silent = True
        b.source.failure = ValueError("liblsl said something")
        b.source.put(Lost(b.clock.now(), "Receiving the stream failed: liblsl said something"))

    b.at(6.0, fails)
    outcome, _ = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.FAILED, 1)
    assert "in acquire" in outcome.sentence
    assert b.clock.now() - b.source.start < 8.2


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), ValueError("I/O operation on closed file"), SystemExit(1)]
)
def test_a_closed_terminal_stops_the_session(bench: Make, error: BaseException) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))
    b.at(6.0, lambda: setattr(b.view, "broken", error))
    outcome, told = b.run()
    assert (outcome.state, outcome.exit_code) == (PhaseKind.STOPPED, 0)
    assert told.events("stop")[0].data["reason"] == "The operator's terminal was closed."


def test_a_terminal_without_micro_signs_does_no_harm(bench: Make) -> None:
    b = bench()
    error = UnicodeEncodeError("ascii", "µ", 0, 1, "ordinal not in range")
    b.at(6.0, lambda: setattr(b.view, "broken", error))
    assert b.run()[0].state is PhaseKind.DONE


def test_a_dead_view_thread_stops_the_session(bench: Make) -> None:
    b = bench(plan_of((PhaseKind.TRAIN, 60.0)))

    def dies() -> None:
        raise OSError(errno.EIO, "Input/output error")

    b.at(6.0, lambda: threading.Thread(target=dies, name="operator-view").start())
    outcome, _ = b.run()
    assert outcome.state is PhaseKind.STOPPED


def test_a_window_that_cannot_even_be_made(bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    b = bench()

    def refused() -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(b.windows[0], "start", refused)
    outcome, told = b.run() if b.source.made else (b.session.run(), None)
    assert told is None
    assert outcome.state is PhaseKind.FAILED


def test_markers_are_kept_on_our_clock(bench: Make) -> None:
    b = bench()
    t = b.source.start + 5.0
    b.markers.waiting.append(Marker("marks", t - 1e5, "tone", 1e5))
    b.markers.waiting.append(Marker("marks", t, "unknown offset", None))
    b.markers.waiting.append(Lost(t, "The marker stream 'marks' is gone. Looking for it."))
    outcome, told = b.run()
    assert outcome.state is PhaseKind.DONE
    assert told.recording.markers["marks"] == ((t, "tone"), (t, "unknown offset"))
    assert "The marker stream 'marks' is gone. Looking for it." in b.view.said


# ---------------------------------------------------------------- anything at any time


@pytest.mark.parametrize("seed", range(4))
def test_random_faults_break_no_promise(bench: Make, seed: int) -> None:
    """Whatever happens when: no reward while held, replay identical, a proper end."""
    rng = np.random.default_rng(seed)
    b = bench(plan_of((PhaseKind.TRAIN, 8.0), (PhaseKind.REST, 2.0), (PhaseKind.TRAIN, 8.0)))
    t = b.clock.now
    source = b.source

    def switch(name: str, value: Any, usual: Any, at_s: float, for_s: float) -> None:
        b.at(at_s, lambda: setattr(source, name, value))
        b.at(at_s + for_s, lambda: setattr(source, name, usual))

    for _ in range(12):
        at_s, for_s = float(rng.uniform(2, 26)), float(rng.exponential(0.8))
        match rng.integers(11):
            case 0 | 1:
                switch("silent", True, False, at_s, for_s)
            case 2:
                switch("stalled", True, False, at_s, for_s)
            case 3:
                switch("late_s", 0.5, 0.0, at_s, 2.5)
            case 4:
                switch("packet", int(rng.integers(1, 120)), PACKET, at_s, for_s)
            case 5:
                switch("gain", float(rng.choice([0.0, 50.0, np.nan])), 1.0, at_s, for_s)
            case 6:
                b.order(at_s, "pause")
                b.order(at_s + for_s, "resume")
            case 7:
                b.order(at_s, "threshold", target="smr", value=float(rng.uniform(1, 9)), text="x")
                b.order(at_s, "mark_bad", target=str(rng.choice(["Cz", "Pz", "?"])))
            case 8:
                b.at(at_s, lambda: setattr(b.windows[-1], "alive", False))
            case 9:
                b.at(at_s, lambda: source.put(Changed(t(), None, ("its rate",))))
                b.at(at_s + for_s, lambda: source.put(Back(t(), b.spec, 1.0)))
            case 10:
                b.at(at_s, lambda: source.put(Back(t(), b.spec, 0.5, reopened=False)))
                b.order(at_s, "skip" if rng.random() < 0.3 else "note", text="n")
    b.order(80.0, "stop")
    outcome, told = b.run()
    assert told.events("error") == []
    if outcome.state is PhaseKind.FAILED:
        assert outcome.sentence == "The person's window failed three times in one block."


# ---------------------------------------------------------------- screens


def test_an_end_is_heard_with_closed_eyes() -> None:
    cues = Cues()
    cues.end()
    assert (cues.count, cues.last) == (1, "end")
    cues.end()
    assert cues.count == 1


def test_an_end_before_the_first_sample_is_shown() -> None:
    show = show_for(
        None,
        TRAIN_10,
        now=1.0,
        newest_t=math.nan,
        held=(),
        cues=Cues(),
        gain=1.0,
        progress=0.0,
        title="T",
        ended=PhaseKind.FAILED,
    )
    assert (show.screen, show.title, show.seq) == ("end", "Session ended", -1)


@pytest.mark.parametrize(("driver", "void"), [("dummy", False), ("x11", True)])
def test_another_screen_than_the_certified_one_is_told(
    bench: Make, driver: str, void: bool
) -> None:
    window = {"driver": driver, "size": [640, 360], "refresh_hz": 60.0}
    b = bench(certificate={"valid": True, "window": window})
    _, told = b.run()
    assert bool(told.events("certificate_void")) == void
    assert any("certificate of delays does not hold" in m for m in b.view.said) == void
