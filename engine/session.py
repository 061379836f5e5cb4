"""The conductor: turns clocks, people and processes into Inputs, and carries no signal.

`Session.run` turns one loop. Each turn drains the stream into the fold, writes what came of it,
looks at everything that can go wrong (`engine.watch`), reads the operator's orders and the
window's messages, and says what the person should see now. Whatever is not a sample becomes a
Command or a Hold stamped with the next grid point not yet decided, is recorded, and then folded:
replay needs nothing else.

However a session ends, also by an error of our own in any thread, it ends as an `Outcome` with
one sentence, after an end screen, with the recorder still writing.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import math
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from engine.acquire import Back, Changed, Item, Lost, Marker, MarkerSource
from engine.assemble import Assembly
from engine.badchannels import BadChannelWatch
from engine.blind import Blind, masked_status
from engine.certificate import differences, window_facts
from engine.clock import Clock, wall
from engine.errors import InputError, RunError, StreamError
from engine.folder import free_gb
from engine.frames import (
    Chunk,
    Command,
    CommandKind,
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gap,
    Hold,
    Phase,
    PhaseKind,
    Presented,
    Show,
    StreamSpec,
)
from engine.measures import ADULT_PA2H
from engine.number import Numberer, Received
from engine.pipeline import Point
from engine.publish import Publisher
from engine.quality import ElectrodeQuality, assess
from engine.record import Recorder
from engine.sayings import GATE_WORDS, RESUMED, phase_name
from engine.sayings import sentence as sentence_of
from engine.screens import Cues, show_for
from engine.status import Electrode, Status
from engine.summary import Summaries
from engine.terminal import Order, View
from engine.watch import (
    CHUNK_REFUSE_S,
    CHUNK_WARN_S,
    Staleness,
    Standstill,
    Suspender,
    Transport,
    implausible,
)
from feedback.messages import translator
from feedback.worker import Beat, Fault, Key, Message, Ready
from protocols.model import Protocol as Science
from protocols.plan import total_s

__all__ = ["Outcome", "Session", "SessionSettings", "Source", "WindowPort"]

log = logging.getLogger(__name__)

# Timing constants, and why.
WAIT_S = 0.01  # a turn waits this long for samples: short against a frame of the screen
SHOW_EVERY_S = 0.05  # what the person sees is refreshed at least so often
STATUS_EVERY_S = 0.2
QUALITY_EVERY_S = 1.0
DISK_EVERY_S = 5.0
PUMP_MAX, PUMP_S = 200, 0.1  # of one turn: what can go wrong is watched also in a backlog
BEAT_LIMIT_S = 0.7  # window beats ten times a second
WINDOW_START_S = 20.0  # a slow computer may need long to open its first window
WINDOW_HUNG_S = 2.0  # without a beat; it is replaced then
WINDOW_RESTARTS = 2  # per block; a third failure ends the session
LOST_LIMIT_S = 60.0  # a stream that stays away longer ends the session
CHECK_LIMIT_S = 30.0  # without an operator, doubtful electrodes are waited for so long
END_SCREEN_S = 2.0
STOP_DRAIN_S = 0.5
RATE_LIMIT = 0.02
CLOCK_JUMP_S = 1.0  # less may be lost samples or late stamps
FOREIGN_S = 60.0  # stamps further from our time are of a clock whose offset is not known yet

# Causes of hold that the session finds itself, the most telling first.
CAUSES = ("changed", "stale", "transport", "window", "rate")
MEASURED = (PhaseKind.BASELINE, PhaseKind.TRAIN, PhaseKind.TRANSFER)


class Source(Protocol):
    """What the session needs of an acquisition thread."""

    last_sample_t: float | None
    failure: BaseException | None

    @property
    def clock_offset_s(self) -> float | None: ...
    def get(self, timeout_s: float = 0.0) -> Item | None: ...


class WindowPort(Protocol):
    """What the session needs of the person's window."""

    def start(self) -> None: ...
    def show(self, show: Show) -> None: ...
    def poll(self) -> tuple[Message, ...]: ...
    @property
    def alive(self) -> bool: ...
    def stop(self, timeout_s: float = 2.0) -> None: ...


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What was decided before the session.

    Parameters
    ----------
    protocol : Protocol
        The science.
    plan : tuple of Phase
        The expanded session.
    spec : StreamSpec
        The agreed stream.
    client : str
        Opaque id.
    use : {'clinical', 'research', 'test'}
        Of the room.
    short : bool
        A test session.
    mains_hz : float
        For the electrode lights.
    check_s : float
        How long the signal is checked before start, at least.
    wait_for_operator : bool
        Start only on the operator's order.
    sound_required : bool
        Whether silence forbids the session.
    keep_free_gb : float
        Disk space to leave.
    recording : Path
        For the view.
    counter : str or None
        Name of the sample-counter column.
    units : mapping of str to str
        Of the features.
    certificate : mapping or None
        Of the room's delays, as the header keeps it.
    language : str
        Of what the person reads.
    """

    protocol: Science
    plan: tuple[Phase, ...]
    spec: StreamSpec
    client: str
    use: Literal["clinical", "research", "test"]
    short: bool
    mains_hz: float
    check_s: float
    wait_for_operator: bool
    sound_required: bool
    keep_free_gb: float
    recording: Path
    counter: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    language: str = "en"
    certificate: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended; `exit_code` as in ``docs/exit-codes.md``."""

    state: PhaseKind
    sentence: str
    rewards: int
    exit_code: int


class _End(NamedTuple):
    kind: PhaseKind
    sentence: str
    code: int = 0


@dataclass
class _Seen:
    """What the view shows and the fold does not know."""

    messages: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    history: deque[float | None] = field(default_factory=lambda: deque(maxlen=300))
    transport_ms: deque[float] = field(default_factory=lambda: deque(maxlen=600))
    age_ms: deque[float] = field(default_factory=lambda: deque(maxlen=600))  # of 10 s of frames
    dose_pa2h: float | None = None  # of sound at the ear; None: not calibrated
    electrodes: tuple[ElectrodeQuality, ...] = ()
    gated_s: dict[str, float] = field(default_factory=dict)
    clean_s: float = 0.0
    train_clean_s: float = 0.0


class Session:
    """One session, from the check of the signal to the closed recording.

    Parameters
    ----------
    settings : SessionSettings
    assembly : Assembly
        The fold.
    source : Source
        Samples.
    recorder : Recorder
    make_window : callable
        Makes a new, not yet started window.
    view : View
        The operator's.
    clock : Clock
    publisher : Publisher or None
    markers : MarkerSource or None
    blind : Blind or None
        Parts what may be seen from what is sealed.
    interrupted : callable
        Whether Ctrl-C or a signal asked for the end.
    wall_s : callable
        Wall-clock seconds, to notice that the computer slept; nothing else depends on them.
    """

    def __init__(
        self,
        settings: SessionSettings,
        assembly: Assembly,
        source: Source,
        recorder: Recorder,
        make_window: Callable[[], WindowPort],
        view: View,
        clock: Clock,
        *,
        publisher: Publisher | None = None,
        markers: MarkerSource | None = None,
        blind: Blind | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        wall_s: Callable[[], float] = lambda: wall().timestamp(),
    ) -> None:
        self.settings = settings
        self.assembly = assembly
        self.fold = assembly.fold
        self.decider = assembly.decider
        self.source = source
        self.recorder = recorder
        self.view = view
        self.clock = clock
        self.publisher = publisher
        self.markers = markers
        self.blind = blind
        self._interrupted = interrupted
        self._wall_s = wall_s
        self._make_window = make_window
        self.window = make_window()
        self.number = Numberer(settings.spec, settings.counter)
        self.seen = _Seen()
        self._cues = Cues()
        self._translate = translator(settings.language)
        self._summaries = Summaries(settings.protocol)
        self._decision: Decision | None = None
        self._frame: FeatureFrame | None = None
        self._newest_stamp = math.nan
        self._staleness = Staleness()
        self._standstill = Standstill()
        self._transport = Transport()
        self._holds = {cause: Suspender(cause) for cause in CAUSES}
        self._pump_until = 0.0
        assembly.fold.breathe = self._breathe
        self._changed = ""
        self._lost = ""
        self._ready: Ready | None = None
        self._window_since = 0.0
        self._beat_t = -math.inf
        self._beat: Beat | None = None
        self._jumped_s = 0.0  # of the source's clock, since the start
        self._restarts: dict[int, int] = {}
        self._window_dead = ""
        self._gain = 1.0
        self._started = False
        self._end: _End | None = None
        self._stop_asked_t: float | None = None
        self._t0 = 0.0
        self._next: dict[str, float] = {}
        self._last_flip_seq = -1
        self._last_phase = -1
        self._warned_chunk = False
        self._warned_disk = False
        self._told_check = ""
        self._baseline_failed = ""
        self._free: float | None = None
        self._total_s = total_s(settings.plan)
        self._eeg = [i for i, c in enumerate(settings.spec.channels) if c.kind == "eeg"]
        m = self.assembly.montage
        eeg = tuple(i for i, yes in enumerate(m.is_eeg) if yes)
        self._unlike = BadChannelWatch(
            eeg, tuple(m.names[i] for i in eeg), settings.spec.rate_hz, settings.mains_hz
        )
        self._check_uv: deque[Float] = deque()  # unclamped, while the signal is checked
        self._implausible: str | None = None  # None until judged
        self._broken = False  # an error of our own: the fold is not trusted any more
        self._dead_threads: deque[tuple[str, BaseException]] = deque()

    # ------------------------------------------------------------ the loop

    def run(self) -> Outcome:
        """Run to the end; the recording is closed by the caller."""
        self._t0 = self._window_since = self.clock.now()
        gc.collect()
        gc.freeze()
        gc.disable()  # a full collection would stop the loop for tens of milliseconds
        try:
            with _thread_errors(self._dead_threads):
                try:
                    self._open()
                    while self._end is None:
                        self.turn()
                except Exception as error:  # ends the session, never with a traceback
                    self._unforeseen(error, "session")
                return self._finish()
        finally:
            gc.enable()
            gc.unfreeze()
            self._close()

    def _open(self) -> None:
        self.window.start()
        self.view.start()
        self._event("check", {"warnings": list(self.assembly.warnings)})
        for warning in self.assembly.warnings:
            self._say(warning[:1].upper() + warning[1:] + ".")

    def _close(self) -> None:
        for what in (self.view.close, self.window.stop):
            try:
                what()
            except Exception:  # what is left to do does not depend on it
                log.exception("closing failed")

    def turn(self) -> None:
        """Do everything once."""
        self._notice_standstill()
        self._pump()
        now = self.clock.now()
        self._read_window(now)
        self._watch(now)
        self._read_orders(now)
        if not self._started:
            self._check(now)
        if self._due("show", now, SHOW_EVERY_S):
            self._show(now)
        if self._due("status", now, STATUS_EVERY_S):
            self._update_view(now)
        if self._due("quality", now, QUALITY_EVERY_S):
            self._assess()
        self._look_for_end(now)

    def _due(self, what: str, now: float, every_s: float) -> bool:
        if now < self._next.get(what, -math.inf):
            return False
        self._next[what] = now + every_s
        return True

    def _notice_standstill(self) -> None:
        """Hold before anything is folded that has waited while this computer stood still."""
        now = self.clock.now()
        stood_s = self._standstill.turn(now, self._wall_s())
        if stood_s > 0.0:
            self._event("standstill", {"stood_s": stood_s})
            said = f"This computer stood still for {stood_s:.1f} s; what arrived meanwhile is old."
            self._apply(now, "transport", self._started, said)

    # ------------------------------------------------------------ samples

    def _breathe(self) -> None:
        """Show a sign of life while the fold fits: it may take longer than a curtain waits."""
        now = self.clock.now()
        self._pump_until = now + PUMP_S  # what arrives meanwhile is not old because of us
        self._standstill.turn(now, self._wall_s())
        if self._due("show", now, SHOW_EVERY_S):
            self._show(now)

    def _pump(self) -> None:
        """Drain the stream into the fold."""
        wait, self._pump_until = WAIT_S, self.clock.now() + PUMP_S
        for _ in range(PUMP_MAX):
            item = self.source.get(wait)
            wait = 0.0
            if item is None:
                break
            if isinstance(item, Received):
                self._receive(item)
            elif isinstance(item, Back):
                self._back(item)
            elif isinstance(item, Lost):
                self._lost = item.sentence
                self._event("lost", {"sentence": item.sentence})
            elif isinstance(item, Changed):
                self._changed = "The stream came back different: " + "; ".join(item.differences)
                self._event("changed", {"differences": list(item.differences)})
            if self.clock.now() > self._pump_until:
                break
        if self.markers is not None:
            self._drain_markers(self.markers)

    def _drain_markers(self, markers: MarkerSource) -> None:
        for _ in range(PUMP_MAX):
            marker = markers.get()
            if marker is None:
                return
            if isinstance(marker, Marker):
                t = marker.t + (marker.clock_offset_s or 0.0)
                self.recorder.marker(marker.stream, t, marker.text)
            else:
                self._event("marker_lost", {"sentence": marker.sentence})

    def _back(self, item: Back) -> None:
        if item.reopened:
            self.number.reopened()
            self._jumped_s = 0.0  # LSL measures the new source's clock
        self._lost = self._changed = ""
        self._event("back", {"gap_s": item.gap_s, "reopened": item.reopened, "uid": item.spec.uid})

    def _receive(self, received: Received) -> None:
        """Record samples, number and fold them; each grid point is decided, also in a burst."""
        if not len(received.stamps):
            return
        self._staleness.received(received.t_pulled)
        self._newest_stamp = float(received.stamps[-1])
        if self._broken:
            self.recorder.raw(received.samples, received.stamps)
            return
        before = self._decision
        try:
            items = self.number.step(received)
        except Exception:  # ours, not the amplifier's: what it sent is kept all the same
            self.recorder.raw(received.samples, received.stamps)
            raise
        for item in items:
            # On disk before the samples behind it: a kill between the two must not move them.
            if isinstance(item, Gap):
                self.recorder.input(item)
        self.recorder.raw(received.samples, received.stamps)
        for item in items:
            if isinstance(item, Event):
                self._keep(item)
                if item.kind == "clock" and abs(item.data["jump_s"]) > CLOCK_JUMP_S:
                    self._jumped_s += float(item.data["jump_s"])
            elif isinstance(item, Gap):
                self.fold.step(item)
                gap_s = item.missing / self.settings.spec.rate_hz
                self._event("gap", {"missing": item.missing, "gap_s": gap_s, "cause": item.cause})
            elif isinstance(item, Chunk):
                for point in self.fold.step(item):
                    self._take(point)
                if not self._started:
                    self._keep_for_check(item.uv)
        if self._decision is not before:
            self._show(self.clock.now())

    def _keep_for_check(self, uv: Float) -> None:
        """Keep a second of the EEG as it came, before anything is clamped."""
        self._check_uv.append(uv[:, self._eeg])
        wanted = round(self.settings.spec.rate_hz)
        while sum(map(len, self._check_uv)) - len(self._check_uv[0]) >= wanted:
            self._check_uv.popleft()

    def _take(self, point: Point) -> None:
        """Record and publish one grid point."""
        if any(e.kind == "drowsy" for e in point.events):
            self._cues.wake()
        # A comparison with rest would tell which arm this is.
        compared = self.blind is None and point.real is None
        if self.blind is not None:
            point = self.blind.take(point)
        frame, decision = point.frame, point.decision
        self.recorder.feature(frame)
        self.recorder.decision(decision)
        for event in point.events:
            self._note(event)
            self._summaries.see(event, compared=compared)
        if self._end is not None:  # only the recording goes on
            return
        self._cues.see(decision)
        self._frame, self._decision = frame, decision
        if self.publisher is not None:
            self.publisher.features(frame, self.source.clock_offset_s)
        dt = 1.0 / self.settings.spec.grid_hz
        if decision.phase >= 0 and not decision.held and not decision.kind.terminal:
            if frame.gate:
                for cause in frame.gate.causes:
                    self.seen.gated_s[cause] = self.seen.gated_s.get(cause, 0.0) + dt
            else:
                self.seen.clean_s += dt
                if decision.kind is PhaseKind.TRAIN:
                    self.seen.train_clean_s += dt
        if decision.phase != self._last_phase:
            self._last_phase = decision.phase
            if decision.kind is PhaseKind.REST:
                gc.collect(1)

    # ------------------------------------------------------------ inputs

    def _command(
        self, kind: CommandKind, *, target: str = "", value: float = math.nan, text: str = ""
    ) -> None:
        command = Command(self.fold.next_grid, kind, target, value, text)
        self.recorder.input(command)
        self.fold.step(command)

    def _hold(self, cause: str, on: bool, sentence: str) -> None:
        hold = Hold(self.fold.next_grid, on, cause, sentence)
        self.recorder.input(hold)
        self.fold.step(hold)
        self._show(self.clock.now())

    def _event(self, kind: str, data: Mapping[str, object]) -> None:
        self._keep(Event(self.clock.now(), self.fold.next_grid, kind, data))

    def _keep(self, event: Event) -> None:
        """Record, publish and tell an event of the session's own."""
        seen = event if self.blind is None else self.blind.event(event)
        if seen is not None:
            self._note(seen)

    def _note(self, event: Event) -> None:
        self.recorder.event(event)
        if self.publisher is not None:
            self.publisher.marker(event)
        if event.kind == "failed":
            self._baseline_failed = str(event.data.get("sentence", ""))
        elif self._end is None:
            said = sentence_of(event)
            if said:
                self._say(said)

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(self.clock.now() - self._t0), 60)
        self.seen.messages.append(f"{minutes:02d}:{seconds:02d} {text}")

    # ------------------------------------------------------------ what can go wrong

    def _watch(self, now: float) -> None:
        """Begin and end holds; end the session when one cannot help."""
        if self._dead_threads:
            self._thread_died(*self._dead_threads.popleft())
        elif self.source.failure is not None:
            self._unforeseen(self.source.failure, "acquire")
        chunk_s = self._staleness.chunk_s
        if chunk_s > CHUNK_WARN_S and not self._warned_chunk:
            self._warned_chunk = True
            self._event("chunk", {"chunk_s": chunk_s, "too_long": chunk_s > CHUNK_REFUSE_S})
        self._apply(now, "changed", bool(self._changed), self._changed)
        stale = self._staleness.stale(now)
        self._apply(now, "stale", stale and self._started, self._silence(now))
        age_s = self._age_s(now)
        slow = self._transport.update(now, None if stale else age_s)
        late = f"Samples arrive {1e3 * (age_s or 0):.0f} ms late: this computer is too busy."
        self._apply(now, "transport", slow, late)
        self._watch_window(now)
        self._watch_disk(now)
        rate = self.number.measured_rate_hz
        nominal = self.settings.spec.rate_hz
        wrong = rate is not None and abs(rate / nominal - 1.0) > RATE_LIMIT
        said = f"The stream says {nominal:g} Hz but sends {rate or 0:.1f} Hz."
        self._apply(now, "rate", wrong, said)

    def _silence(self, now: float) -> str:
        if self._lost:
            return self._lost
        age_s, newest_t = self._staleness.age_s(now), self.source.last_sample_t
        if newest_t is not None and now - newest_t < 0.5 * age_s:
            return f"Samples wait {age_s:.1f} s in this computer: it is too busy."
        return f"No new samples for {age_s:.1f} s: check amplifier and cable."

    def _apply(self, now: float, cause: str, bad: bool, sentence: str) -> None:
        suspender = self._holds[cause]
        changed = suspender.update(now, bad, sentence)
        if changed is None or self._end is not None:
            return
        if changed:
            self._say(f"Held: {sentence}")
        else:
            sentence = RESUMED[cause]
            others = any(s.on for s in self._holds.values()) or "paused" in self.decider.held
            self._say(sentence if others else f"Resumed: {sentence}")
        self._hold(cause, changed, sentence)

    def _watch_disk(self, now: float) -> None:
        fault = self.recorder.fault
        if fault is not None:
            self._fail(fault)
            return
        if not self._due("disk", now, DISK_EVERY_S):
            return
        try:
            self._free = free_gb(self.settings.recording.parent)
        except OSError as error:
            self._fail(f"The record folder cannot be reached any more: {error.strerror or error}.")
            return
        keep = self.settings.keep_free_gb
        if self._free < 2.0 * keep and not self._warned_disk:
            self._warned_disk = True
            self._event("disk", {"free_gb": self._free, "keep_gb": keep})
        measuring = self._decision is not None and self._decision.kind in MEASURED
        # A block that has begun may end, within reason.
        if self._free < (0.5 * keep if measuring else keep):
            self._fail(f"Only {self._free:.1f} GB are left on the disk of the recordings.")

    def _watch_window(self, now: float) -> None:
        opening = self._ready is None and now - self._window_since < WINDOW_START_S
        dead = not self.window.alive
        silent = self._ready is not None and now - self._beat_t > BEAT_LIMIT_S
        never = self._ready is None and not opening
        bad = self._started and (dead or silent or self._ready is None)
        said = self._window_dead or "The person's window does not answer."
        if self._beat is not None and not self._beat.perceived and not bad:
            bad = self._started
            said = "The person sees and hears nothing of the feedback: look at window and sound."
        self._apply(now, "window", bad, said)
        if not (dead or never or (silent and now - self._beat_t > WINDOW_HUNG_S)):
            return
        if self._window_dead and not self._started:
            self._fail(self._window_dead)
            return
        block = -1 if self._decision is None else self._decision.phase
        used = self._restarts.get(block, 0)
        if used >= WINDOW_RESTARTS:
            self._fail("The person's window failed three times in one block.")
            return
        self._restarts[block] = used + 1
        self._event("window_restart", {"count": used + 1, "exit": self._window_dead})
        # Ending a window that hangs takes seconds, which the samples do not have.
        threading.Thread(
            target=self.window.stop, args=(0.2,), name="window-end", daemon=True
        ).start()
        self.window = self._make_window()
        self._ready, self._window_since, self._window_dead = None, now, ""
        self.window.start()

    def _read_window(self, now: float) -> None:
        for message in self.window.poll():
            if isinstance(message, Presented):
                self.recorder.presented(message)
                age_ms = 1e3 * (message.t_flip - message.t)
                if math.isfinite(age_ms) and message.share > 0.0:  # a frame repeated is no news
                    self.seen.age_ms.append(age_ms)
                    # The first flip of a value closes its latency loop.
                    if message.seq > self._last_flip_seq:
                        self._last_flip_seq = message.seq
                        self.seen.transport_ms.append(age_ms)
            elif isinstance(message, Beat):
                self._hear(message)
                self._beat_t = now
                self._beat = message
            elif isinstance(message, Ready):
                self._ready, self._beat_t = message, now
                self._event(
                    "window",
                    {
                        "versions": dict(message.versions),
                        "driver": message.driver,
                        "audio": message.audio,
                        "size": list(message.size),
                        "refresh_hz": message.refresh_hz,
                        "vsync": message.vsync,
                        "buffer_ms": message.buffer_ms,
                    },
                )
                self._look_at_certificate(message)
                if self.settings.sound_required and not message.audio:
                    self._fail("There is no sound device, and the room requires sound.")
            elif isinstance(message, Key) and message.name == "stop":
                self._stop("The person pressed the stop key.")
            elif isinstance(message, Key) and self._waits_for_go():
                self._command("go", text="person")
            elif isinstance(message, Fault):
                self._event("window_fault", {"text": message.text, "fatal": message.fatal})
                if message.fatal:
                    self._window_dead = message.text

    def _hear(self, beat: Beat) -> None:
        """Add up the sound at the ear; a window that was opened again counts from nothing."""
        heard = beat.dose_pa2h
        if heard is None:
            return
        before = 0.0 if self._beat is None else self._beat.dose_pa2h or 0.0
        more = heard - before if heard >= before else heard
        self.seen.dose_pa2h = (self.seen.dose_pa2h or 0.0) + more

    def _look_at_certificate(self, ready: Ready) -> None:
        """Tell when the room's screen or sound is not the one whose delays were measured."""
        made = self.settings.certificate
        if made is None or not made["valid"]:
            return
        why = differences(made["window"], window_facts(ready))
        if why:
            self._event("certificate_void", {"sentences": list(why)})

    # ------------------------------------------------------------ people

    def _read_orders(self, now: float) -> None:
        if self._interrupted():
            self._stop("Interrupted (Ctrl-C).")
        orders: tuple[Order, ...] = ()
        with self._at_view():
            orders = self.view.poll()
        for order in orders:
            self._obey(order, now)

    @contextlib.contextmanager
    def _at_view(self) -> Iterator[None]:
        """End the session properly when the operator's terminal is gone."""
        try:
            yield
        except UnicodeError as error:  # a terminal without µ still shows the rest
            log.warning("view cannot show: %s", error)
        except (OSError, ValueError, SystemExit) as error:  # rich ends Python on a broken pipe
            if self._end is None and self._stop_asked_t is None:
                log.warning("view lost: %r", error)
                self._stop("The operator's terminal was closed.")

    def _obey(self, order: Order, now: float) -> None:
        if order.kind == "stop":
            self._stop(order.text or "Stopped by the operator.")
        elif order.kind == "start":
            if not self._started:
                waits = self._waits(now) or self._refusal()[0]
                if waits:
                    self._say(f"Cannot start yet. {waits}")
                else:
                    self._begin(now, forced=True)
        elif order.kind == "volume":
            self._gain = min(1.0, max(0.0, order.value))
            self._command("volume", value=self._gain)
        elif order.kind == "threshold" and self.blind is not None:
            self._say("Refused: thresholds are not set by hand in a blinded session.")
        elif order.kind != "quit":
            self._command(order.kind, target=order.target, value=order.value, text=order.text)

    def _waits_for_go(self) -> bool:
        """Return whether a block waits for the person or the operator to say go."""
        phase = self.decider.phase
        ready = self._state() is PhaseKind.READY and not self._held()
        return ready and phase is not None and phase.waits_s > 0.0

    def _stop(self, reason: str) -> None:
        if self._stop_asked_t is None and self._end is None:
            self._stop_asked_t = self.clock.now()
            self._say(reason)
            self._command("stop", text=reason)
            self._show(self._stop_asked_t)

    def _check(self, now: float) -> None:
        """Start when stream, electrodes, screen and sound are good, or say what is missing."""
        if self._stop_asked_t is not None or self._end is not None:
            return
        refusal, code = self._refusal()
        late = now - self._t0 > CHECK_LIMIT_S + self.settings.check_s
        if refusal:
            self._tell_once(refusal)
            if late and not self.settings.wait_for_operator:
                self._fail(refusal, code)
            return
        if self._waits(now):
            return
        poor = self._poor()
        if self.settings.wait_for_operator:
            self._tell_once(
                "Press Enter to start." if not poor else f"{poor} Press Enter to start anyway."
            )
        elif not poor:
            self._begin(now, forced=False)
        elif late:
            if self.settings.use == "clinical":
                self._fail(f"{poor} A clinical session starts with good electrodes only.")
            else:
                self._begin(now, forced=True)
        else:
            self._tell_once(poor)

    def _waits(self, now: float) -> str:
        """Return what the start waits for, or nothing; it passes or is mended by somebody."""
        if self._ready is None:
            return "Waiting for the person's window to open."
        if self._staleness.age_s(now) == math.inf:
            return self._lost or "Waiting for the first samples."
        held = next((s for s in self._holds.values() if s.on), None)
        if held is not None:
            return held.sentence
        if self._staleness.stale(now):
            return self._silence(now)
        since_s = self.fold.next_seq / self.settings.spec.rate_hz
        known = self.seen.electrodes and self._implausible is not None
        known = known and not math.isnan(self._staleness.chunk_s)
        if since_s < max(self.settings.check_s, self.fold.settle_s()) or not known:
            return "Checking the signal."
        return ""

    def _refusal(self) -> tuple[str, int]:
        """Return why this stream can train nobody, and the exit code; empty when it can."""
        chunk_s = self._staleness.chunk_s
        if chunk_s > CHUNK_REFUSE_S:
            said = (
                f"The amplifier sends packets of {1e3 * chunk_s:.0f} ms; more than "
                f"{1e3 * CHUNK_REFUSE_S:.0f} ms is too late for feedback. Choose smaller packets "
                "(chunks, blocks) in the amplifier's software."
            )
            return said, StreamError.exit_code
        return self._implausible or "", InputError.exit_code

    def _judge_size(self) -> None:
        """Look whether the numbers can be the microvolts of a head."""
        window = self._check_window()
        if window is not None:
            names = tuple(self.settings.spec.channels[i].name for i in self._eeg)
            found = assess(window, names, self.settings.spec.rate_hz, None)
            self._implausible = implausible([e.rms_uv for e in found])

    def _check_window(self) -> Float | None:
        """Return the newest second of EEG as it came, None while there is none."""
        wanted = round(self.settings.spec.rate_hz)
        if sum(map(len, self._check_uv)) < wanted:
            return None
        uv = np.concatenate(self._check_uv)[-wanted:]
        # Whoever sends 1e300 is told so; the arithmetic need not overflow for it.
        clipped: Float = np.clip(np.nan_to_num(uv, nan=0.0, posinf=1e12, neginf=-1e12), -1e12, 1e12)
        return clipped

    def _tell_once(self, sentence: str) -> None:
        """Tell what the check found; numbers that only waver are no news."""
        if _without_numbers(sentence) != _without_numbers(self._told_check):
            self._say(sentence)
        self._told_check = sentence

    def _poor(self) -> str:
        """Return what is wrong with electrodes the protocol uses, or nothing."""
        needed = set(self.assembly.montage.site_names)
        bad = [e for e in self.seen.electrodes if e.name in needed and e.light == "red"]
        return "" if not bad else "; ".join(f"{e.name}: {e.why}" for e in bad) + "."

    def _begin(self, now: float, *, forced: bool) -> None:
        self._started = True
        self._check_uv.clear()
        poor = self._poor()
        if forced and poor:
            self._event("quality_override", {"electrodes": poor})
        lights = {e.name: [e.light, e.why] for e in self.seen.electrodes}
        self._event("quality", {"electrodes": lights})
        self._command("start")
        self._watch(now)

    # ------------------------------------------------------------ what people see

    def _newest_t(self, now: float) -> float:
        """Return the newest stamp on our clock; NaN while the source's clock is not known."""
        offset_s = self.source.clock_offset_s
        if offset_s is None and not abs(now - self._newest_stamp) < FOREIGN_S:
            return math.nan
        # LSL's offset knows nothing of a jump inside the source's own clock.
        return self._newest_stamp - self._jumped_s + (offset_s or 0.0)

    def _age_s(self, now: float) -> float | None:
        age_s = now - self._newest_t(now)
        return age_s if math.isfinite(age_s) else None

    def _held(self) -> tuple[str, ...]:
        own = tuple(s.cause for s in self._holds.values() if s.on)
        decided = self.decider.held if self._started else ()
        return tuple(dict.fromkeys((*own, *decided)))

    def _progress(self) -> float:
        d = self._decision
        if d is None or d.phase < 0:
            return 0.0
        done = sum(p.lasts_s for p in self.settings.plan[: d.phase]) + d.phase_s
        return min(1.0, done / max(self._total_s, 1e-9))

    def _show(self, now: float) -> None:
        self._next["show"] = now + SHOW_EVERY_S
        show = show_for(
            self._decision,
            self.settings.plan,
            now=now,
            newest_t=self._newest_t(now),
            held=self._held() if self._stop_asked_t is None else ("stopped",),
            cues=self._cues,
            gain=self._gain,
            progress=self._progress(),
            title=self.settings.protocol.title,
            ended=None if self._end is None else self._end.kind,
            say=self._translate,
            block=self._summaries.block,
            session=self._summaries.session,
        )
        self.window.show(show)
        if self.publisher is not None:
            self.publisher.feedback(show)

    def _assess(self) -> None:
        if not self._started:
            self._judge_size()
        raw = self.fold.conditioner.raw
        window = raw.window()
        if raw.filled < len(window):
            self._unlike.restart()  # what follows a gap does not continue what was before
            return
        m = self.assembly.montage
        bad = dict(self.fold.conditioner.bad_columns(self.fold.next_seq))
        before = {e.name: e.light for e in self.seen.electrodes}
        unlike = self._unlike.step(window)
        self.seen.electrodes = assess(
            window, m.names, self.settings.spec.rate_hz, self.settings.mains_hz, bad, unlike
        )
        needed = set(m.site_names)
        for e in self.seen.electrodes:
            if self._started and e.name in needed and before.get(e.name, e.light) != e.light:
                data = {
                    "name": e.name,
                    "light": e.light,
                    "why": e.why,
                    "rms_uv": e.rms_uv,
                    "sqi": e.sqi,
                }
                self._event("electrode", data)

    def _update_view(self, now: float) -> None:
        d, s = self._decision, self.settings
        phase = self.decider.phase
        trained = s.protocol.trained
        at = list(s.protocol.features).index(trained)
        value = None
        if self._frame is not None and self._frame.trusted[at]:
            value = float(self._frame.values[at])
        self.seen.history.append(value)
        thresholds = self.decider.thresholds
        threshold = thresholds[0] if thresholds and math.isfinite(thresholds[0]) else None
        alone, joint = self.decider.rates
        held = self._held()
        delays, beat, dose = sorted(self.seen.transport_ms), self._beat, self.seen.dose_pa2h
        audio = "" if self._ready is None else self._ready.audio
        sound_ok = audio.split(":")[0].split(" (")[0] not in ("", "dummy", "disk", "Null")
        age_s = self._age_s(now)
        kind = self._state()
        clean = self.seen.train_clean_s
        status = Status(
            title=s.protocol.title,
            client=s.client,
            state=kind,
            test_session=s.short,
            phase_name=phase_name(phase) if phase is not None else "Signal check",
            phase_s=self.decider.phase_s,
            phase_lasts_s=phase.lasts_s if phase is not None else s.check_s,
            session_s=self._progress() * self._total_s,
            session_lasts_s=self._total_s,
            stream_name=s.spec.name,
            rate_hz=s.spec.rate_hz,
            measured_rate_hz=self.number.measured_rate_hz,
            age_ms=None if age_s is None else 1e3 * age_s,
            age_known=self.source.clock_offset_s is not None,
            transport_ms_p50=_quantile(delays, 0.50),
            transport_ms_p95=_quantile(delays, 0.95),
            transport_ms_p99=_quantile(delays, 0.99),
            transport_ms_max=delays[-1] if delays else None,
            shown_age_ms=_quantile(sorted(self.seen.age_ms), 0.95),
            missed_flips=None if beat is None else beat.missed,
            fps=None if beat is None else beat.fps,
            sound_buffer_ms=self._ready.buffer_ms if sound_ok and self._ready else None,
            sound_delay_ms=None if beat is None else beat.sound_delay_ms,
            dose_share=None if dose is None else dose / ADULT_PA2H,
            estimator_delay_ms=1e3 * self.assembly.level_delay_s,
            electrodes=self._lights(),
            feature_name=trained,
            feature_unit=self._unit(trained),
            feature_value=value,
            threshold=threshold,
            history=tuple(self.seen.history),
            reward_rate_alone=alone,
            joint_rate=joint,
            rewards=0 if d is None else d.rewards,
            rewards_per_min=60.0 * d.rewards / clean if d is not None and clean > 0 else None,
            clean_s=self.seen.clean_s,
            gated_s=dict(self.seen.gated_s),
            why=self._why(held),
            held=bool(held),
            window_ok=self._ready is not None and now - self._beat_t <= BEAT_LIMIT_S,
            sound_ok=sound_ok,
            volume=self._gain,
            recording_path=str(s.recording),
            disk_free_gb=self._free,
            messages=tuple(self.seen.messages),
            direction="above" if s.protocol.reward is None else s.protocol.reward.direction,
            paused="paused" in held,
            waits=self._waits_for_go(),
            question=self.decider.question,
        )
        if self.blind is not None:
            status = masked_status(status)
        with self._at_view():
            self.view.update(status)

    def _unit(self, feature: str) -> str:
        return self.settings.units.get(feature, "1")

    def _lights(self) -> tuple[Electrode, ...]:
        """Return needed electrodes first, the rest only when something is wrong with them."""
        needed = self.assembly.montage.site_names
        order = {name: k for k, name in enumerate(needed)}
        first = sorted(
            (e for e in self.seen.electrodes if e.name in order), key=lambda e: order[e.name]
        )
        rest = [e for e in self.seen.electrodes if e.name not in order]
        return tuple(Electrode(e.name, e.light, e.rms_uv, e.why) for e in [*first, *rest])

    def _state(self) -> PhaseKind:
        if self._end is not None:
            return self._end[0]
        return PhaseKind.CHECK if self._decision is None else self._decision.kind

    def _why(self, held: Sequence[str]) -> str:
        """Return in one sentence what is gated or held, and why."""
        if self._end is not None:
            return self._end[1]
        if not self._started:
            return self._told_check or self._waits(self.clock.now())
        for cause in held:
            if cause == "paused":
                return "Paused. Press p to go on."
            suspender = self._holds.get(cause)
            if suspender is not None and suspender.recovering:
                return f"{RESUMED[cause]} Going on in a moment."
            if suspender is not None:
                return suspender.sentence
        if self._waits_for_go():
            return "Waits until the person presses the space bar, or you press g."
        d, f = self._decision, self._frame
        if d is not None and f is not None and f.gate and not d.kind.terminal:
            return "Gated: " + ", ".join(GATE_WORDS.get(c, c) for c in f.gate.causes) + "."
        return ""

    # ------------------------------------------------------------ the end

    def _fail(self, sentence: str, code: int = RunError.exit_code) -> None:
        if self._end is not None:
            return
        self._event("failed", {"sentence": sentence})
        if not self._broken:  # nothing is rewarded any more, also not in the recording
            self._hold("failed", True, sentence)
        self._end = _End(PhaseKind.FAILED, sentence, code)

    def _unforeseen(self, error: BaseException, where: str) -> None:
        """End the session by an error of our own: a number for people, the rest for the log."""
        number = secrets.token_hex(3)
        log.error("unforeseen id=%s where=%s", number, where, exc_info=error)
        self._broken = True
        data = {"id": number, "where": where, "error": f"{type(error).__name__}: {error}"}
        self._event("error", data)
        self._fail(
            f"Neuroloop met an error of its own (number {number}, in {where}). The recording up "
            "to here is kept; the log file tells more."
        )

    def _thread_died(self, name: str, error: BaseException) -> None:
        if name == "operator-view" and isinstance(error, OSError):
            self._stop("The operator's terminal was closed.")
        else:
            self._unforeseen(error, name)

    def _look_for_end(self, now: float) -> None:
        if self._end is not None:
            return
        kind = PhaseKind.CHECK if self._decision is None else self._decision.kind
        asked = self._stop_asked_t
        if kind is PhaseKind.DONE:
            self._end = _End(kind, "The session is complete.")
        elif kind is PhaseKind.FAILED:
            self._end = _End(kind, self._baseline_failed, RunError.exit_code)
        elif kind is PhaseKind.STOPPED or (asked is not None and now - asked > STOP_DRAIN_S):
            # Without samples nothing carries the stop, and there is nothing to wait for.
            self._end = _End(PhaseKind.STOPPED, "Stopped. The recording is complete up to here.")
        else:
            away_s = min(self._staleness.age_s(now), now - self._t0)
            if away_s > LOST_LIMIT_S:
                self._fail(self._stayed_away(), StreamError.exit_code)

    def _stayed_away(self) -> str:
        if self._changed:
            return f"{self._changed}. A new session is needed for it."
        if self._staleness.age_s(self.clock.now()) == math.inf:
            return "The stream never sent a sample."
        return f"The stream stayed away for {LOST_LIMIT_S:.0f} s."

    def _finish(self) -> Outcome:
        """Show the last screen for a moment; keep recording meanwhile."""
        end = self._end or _End(PhaseKind.FAILED, "The session ended early.", 1)
        self._end = end
        code = 130 if self._interrupted() else end.code
        rewards = 0 if self._decision is None else self._decision.rewards
        try:
            self._say(end.sentence)
            if self._beat is not None:
                b = self._beat
                counts = {"missed": b.missed, "guarded": b.guarded, "starved": b.starved}
                sound = {"sound_delay_ms": b.sound_delay_ms, "dose_pa2h": self.seen.dose_pa2h}
                self._event("window_end", {**counts, "fps": b.fps, **sound})
            self._event("end", {"state": end.kind.name.lower(), "sentence": end.sentence})
            self._cues.end()
            self._update_view(self.clock.now())
            until = self.clock.now() + END_SCREEN_S
            while self.clock.now() < until:
                self._pump()
                now = self.clock.now()
                self._read_window(now)
                if self._due("show", now, SHOW_EVERY_S):
                    self._show(now)
                if self._due("status", now, STATUS_EVERY_S):
                    self._update_view(now)
                with self._at_view():
                    if any(order.kind == "quit" for order in self.view.poll()):
                        break
        except Exception:  # the end is known; only its picture suffers
            log.exception("end screen failed")
        return Outcome(end.kind, end.sentence, rewards, code)


@contextlib.contextmanager
def _thread_errors(found: deque[tuple[str, BaseException]]) -> Iterator[None]:
    """Note what ends a thread, for the session to act on: none dies in silence."""

    def note(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread is not None else "a thread"
        found.append((name, args.exc_value or args.exc_type()))

    before, threading.excepthook = threading.excepthook, note
    try:
        yield
    finally:
        threading.excepthook = before


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _without_numbers(sentence: str) -> str:
    return re.sub(r"[\d.,]+", "", sentence)
