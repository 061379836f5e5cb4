"""The conductor: turns clocks, people and processes into Inputs, and carries no signal.

`Session.run` turns one loop. Each turn drains the stream into the fold, writes what came of it,
looks at everything that can go wrong (`engine.watch`), reads the operator's orders and the
window's messages, and says what the person should see now. Whatever is not a sample becomes a
Command or a Hold stamped with the next grid point not yet decided, is recorded, and then folded:
replay needs nothing else.
"""

from __future__ import annotations

import gc
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from engine.acquire import Back, Changed, Item, Lost, Marker, MarkerSource
from engine.assemble import Assembly
from engine.clock import Clock
from engine.features import FEATURES
from engine.folder import free_gb
from engine.frames import (
    Chunk,
    Command,
    CommandKind,
    Decision,
    Event,
    FeatureFrame,
    Gap,
    Hold,
    Phase,
    PhaseKind,
    Presented,
    Show,
    StreamSpec,
)
from engine.number import Numberer, Received
from engine.pipeline import Point
from engine.publish import Publisher
from engine.quality import ElectrodeQuality, assess
from engine.record import Recorder
from engine.screens import Cues, show_for
from engine.status import Electrode, Status
from engine.terminal import Order, View
from engine.watch import CHUNK_REFUSE_S, CHUNK_WARN_S, Staleness, Suspender, Transport
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
PUMP_MAX = 200  # items of one turn, so that orders are read also during a backlog
BEAT_LIMIT_S = 0.7  # window beats ten times a second
WINDOW_START_S = 20.0  # a slow computer may need long to open its first window
WINDOW_RESTARTS = 2  # per block; after that the operator decides
LOST_LIMIT_S = 60.0  # a stream that stays away longer ends the session
CHECK_LIMIT_S = 30.0  # without an operator, doubtful electrodes are waited for so long
END_SCREEN_S = 2.0
STOP_DRAIN_S = 0.5
RATE_LIMIT = 0.02
HISTORY_S = 60.0


class Source(Protocol):
    """What the session needs of an acquisition thread."""

    last_sample_t: float | None

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended."""

    state: PhaseKind
    sentence: str
    rewards: int
    exit_code: int


@dataclass
class _Seen:
    """What the view shows and the fold does not know."""

    messages: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    history: deque[float | None] = field(default_factory=lambda: deque(maxlen=300))
    transport_ms: deque[float] = field(default_factory=lambda: deque(maxlen=600))
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
    interrupted : callable
        Whether Ctrl-C or a signal asked for the end.
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
        interrupted: Callable[[], bool] = lambda: False,
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
        self._interrupted = interrupted
        self._make_window = make_window
        self.window = make_window()
        self.number = Numberer(settings.spec, settings.counter)
        self.seen = _Seen()
        self._cues = Cues()
        self._decision: Decision | None = None
        self._frame: FeatureFrame | None = None
        self._newest_stamp = math.nan
        self._staleness = Staleness()
        self._transport = Transport()
        self._holds = {
            c: Suspender(c) for c in ("stale", "changed", "transport", "window", "disk", "rate")
        }
        self._changed: str = ""
        self._lost: str = ""
        self._ready: Ready | None = None
        self._window_since = 0.0
        self._beat_t = -math.inf
        self._restarts: dict[int, int] = {}
        self._window_dead = ""
        self._gain = 1.0
        self._started = False
        self._end: tuple[PhaseKind, str] | None = None
        self._stop_asked_t: float | None = None
        self._t0 = 0.0
        self._next: dict[str, float] = {}
        self._last_flip_seq = -1
        self._last_phase = -1
        self._warned_chunk = False
        self._told_check = ""
        self._total_s = total_s(settings.plan)

    # ------------------------------------------------------------ the loop

    def run(self) -> Outcome:
        """Run to the end; the recording is closed by the caller."""
        self._t0 = self._window_since = self.clock.now()
        self.window.start()
        self.view.start()
        self._event("check", {"warnings": list(self.assembly.warnings)})
        for warning in self.assembly.warnings:
            self._say(warning[:1].upper() + warning[1:] + ".")
        gc.collect()
        gc.freeze()
        gc.disable()  # a full collection would stop the loop for tens of milliseconds
        try:
            while self._end is None:
                self.turn()
            return self._finish()
        finally:
            gc.enable()
            gc.unfreeze()
            self.view.close()
            self.window.stop()

    def turn(self) -> None:
        """Do everything once."""
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

    # ------------------------------------------------------------ samples

    def _pump(self) -> None:
        """Drain the stream into the fold."""
        wait = WAIT_S
        for _ in range(PUMP_MAX):
            item = self.source.get(wait)
            wait = 0.0
            if item is None:
                break
            if isinstance(item, Received):
                self._receive(item)
            elif isinstance(item, Lost):
                self._lost = item.sentence
                self._event("lost", {"sentence": item.sentence})
                self._say(item.sentence)
            elif isinstance(item, Back):
                self._back(item)
            elif isinstance(item, Changed):
                self._changed = "The stream came back different: " + "; ".join(item.differences)
                self._event("changed", {"differences": list(item.differences)})
                self._say(self._changed)
        while self.markers is not None:
            marker = self.markers.get()
            if marker is None:
                break
            if isinstance(marker, Marker):
                self.recorder.marker(marker.stream, marker.t, marker.text)

    def _back(self, item: Back) -> None:
        if item.reopened:
            self.number.reopened()
        self._lost = self._changed = ""
        self._event("back", {"gap_s": item.gap_s, "reopened": item.reopened, "uid": item.spec.uid})
        self._say(f"The stream is back after {item.gap_s:.1f} s.")

    def _receive(self, received: Received) -> None:
        if not len(received.stamps):
            return
        self.recorder.raw(received.samples, received.stamps)
        self._staleness.received(received.t_pulled)
        self._newest_stamp = float(received.stamps[-1])
        newest: Point | None = None
        for item in self.number.step(received):
            if isinstance(item, Event):
                self._keep(item)
            elif isinstance(item, Gap):
                self.recorder.input(item)
                self.fold.step(item)
                gap_s = item.missing / self.settings.spec.rate_hz
                self._event("gap", {"missing": item.missing, "gap_s": gap_s, "cause": item.cause})
            elif isinstance(item, Chunk):
                for point in self.fold.step(item):
                    self._take(point)
                    newest = point
        if newest is not None:
            self._show(self.clock.now())

    def _take(self, point: Point) -> None:
        """Record and publish one grid point."""
        frame, decision = point.frame, point.decision
        self.recorder.feature(frame)
        self.recorder.decision(decision)
        self._cues.see(decision)
        for event in point.events:
            self._keep(event)
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

    def _hold(self, suspender: Suspender, on: bool) -> None:
        hold = Hold(self.fold.next_grid, on, suspender.cause, suspender.sentence)
        self.recorder.input(hold)
        self.fold.step(hold)
        word = "Held" if on else "Resumed"
        self._say(f"{word}: {suspender.sentence}")
        self._show(self.clock.now())

    def _event(self, kind: str, data: dict[str, object]) -> None:
        self._keep(Event(self.clock.now(), self.fold.next_grid, kind, data))

    def _keep(self, event: Event) -> None:
        self.recorder.event(event)
        if self.publisher is not None:
            self.publisher.marker(event)
        sentence = _sentence(event)
        if sentence:
            self._say(sentence)

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(self.clock.now() - self._t0), 60)
        self.seen.messages.append(f"{minutes:02d}:{seconds:02d} {text}")

    # ------------------------------------------------------------ what can go wrong

    def _watch(self, now: float) -> None:
        """Begin and end holds."""
        chunk_s = self._staleness.chunk_s
        if not math.isnan(chunk_s) and chunk_s > CHUNK_WARN_S and not self._warned_chunk:
            self._warned_chunk = True
            self._say(f"The amplifier sends chunks of {1e3 * chunk_s:.0f} ms: feedback is late.")
            self._event("chunk", {"chunk_s": chunk_s, "too_long": chunk_s > CHUNK_REFUSE_S})
        stale = self._staleness.stale(now)
        age = self._staleness.age_s(now)
        lost = self._lost or f"No new samples for {age:.1f} s: check amplifier and cable."
        self._apply(now, "stale", stale and self._started, lost)
        self._apply(now, "changed", bool(self._changed), self._changed)
        age_s = self._age_s(now)
        slow = self._transport.update(now, None if stale else age_s)
        late = f"Samples arrive {1e3 * (age_s or 0):.0f} ms late: this computer is too busy."
        self._apply(now, "transport", slow, late)
        self._watch_window(now)
        fault = self.recorder.fault
        if self._due("disk", now, DISK_EVERY_S) and fault is None:
            free = free_gb(self.settings.recording.parent)
            if free < self.settings.keep_free_gb:
                fault = f"Only {free:.1f} GB are left on the disk."
        if fault is not None:
            self._apply(now, "disk", True, fault)
            self._fail(fault)
        rate = self.number.measured_rate_hz
        nominal = self.settings.spec.rate_hz
        wrong = rate is not None and abs(rate / nominal - 1.0) > RATE_LIMIT
        said = f"The stream says {nominal:g} Hz but sends {rate or 0:.1f} Hz."
        self._apply(now, "rate", wrong, said)

    def _apply(self, now: float, cause: str, bad: bool, sentence: str) -> None:
        changed = self._holds[cause].update(now, bad, sentence)
        if changed is not None and self._end is None:
            self._hold(self._holds[cause], changed)

    def _watch_window(self, now: float) -> None:
        opening = self._ready is None and now - self._window_since < WINDOW_START_S
        dead = not self.window.alive
        silent = self._ready is not None and now - self._beat_t > BEAT_LIMIT_S
        never = self._ready is None and not opening
        bad = dead or silent or never or (self._started and self._ready is None)
        sentence = "The person's window does not answer."
        if self._window_dead:
            sentence = self._window_dead
        self._apply(now, "window", bad and self._started, sentence)
        if not (dead or never or (silent and now - self._beat_t > 2.0)):
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
        self._event("window_restart", {"count": used + 1, "exit": str(self._window_dead)})
        self.window.stop(0.2)
        self.window = self._make_window()
        self._ready, self._window_since, self._window_dead = None, now, ""
        self.window.start()

    def _read_window(self, now: float) -> None:
        for message in self.window.poll():
            if isinstance(message, Presented):
                self.recorder.presented(message)
                # The first flip of a value closes its latency loop.
                if message.seq > self._last_flip_seq and math.isfinite(message.t):
                    self._last_flip_seq = message.seq
                    self.seen.transport_ms.append(1e3 * (message.t_flip - message.t))
            elif isinstance(message, Beat):
                self._beat_t = now
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
                    },
                )
                if self.settings.sound_required and not message.audio:
                    self._fail("There is no sound device, and the room requires sound.")
            elif isinstance(message, Key) and message.name == "stop":
                self._stop("The person pressed the stop key.")
            elif isinstance(message, Fault):
                self._event("window_fault", {"text": message.text, "fatal": message.fatal})
                self._say(message.text)
                if message.fatal:
                    self._window_dead = message.text

    # ------------------------------------------------------------ people

    def _read_orders(self, now: float) -> None:
        if self._interrupted() and self._stop_asked_t is None:
            self._stop("Interrupted (Ctrl-C).")
        for order in self.view.poll():
            self._obey(order, now)

    def _obey(self, order: Order, now: float) -> None:
        if order.kind == "stop":
            self._stop(order.text or "Stopped by the operator.")
        elif order.kind == "start":
            if not self._started:
                self._begin(now, forced=True)
        elif order.kind == "volume":
            self._gain = min(1.0, max(0.0, order.value))
            self._command("volume", value=self._gain)
        elif order.kind != "quit":
            self._command(order.kind, target=order.target, value=order.value, text=order.text)

    def _stop(self, reason: str) -> None:
        if self._stop_asked_t is None:
            self._stop_asked_t = self.clock.now()
            self._say(reason)
            self._command("stop", text=reason)

    def _check(self, now: float) -> None:
        """Start when stream, electrodes, screen and sound are good, or say what is missing."""
        if self._stop_asked_t is not None or self._ready is None or self._staleness.stale(now):
            return
        warm_s = self.fold.settle_s()
        since_s = self.fold.next_seq / self.settings.spec.rate_hz
        if since_s < max(self.settings.check_s, warm_s) or not self.seen.electrodes:
            return
        poor = self._poor()
        if self.settings.wait_for_operator:
            self._tell_once(
                "Press Enter to start." if not poor else f"{poor} Press Enter to start anyway."
            )
        elif not poor:
            self._begin(now, forced=False)
        elif now - self._t0 > CHECK_LIMIT_S + self.settings.check_s:
            if self.settings.use == "clinical":
                self._fail(f"{poor} A clinical session starts with good electrodes only.")
            else:
                self._begin(now, forced=True)
        else:
            self._tell_once(poor)

    def _tell_once(self, sentence: str) -> None:
        if sentence != self._told_check:
            self._told_check = sentence
            self._say(sentence)

    def _poor(self) -> str:
        """Return what is wrong with electrodes the protocol uses, or nothing."""
        needed = set(self.assembly.montage.site_names)
        bad = [e for e in self.seen.electrodes if e.name in needed and e.light == "red"]
        return "" if not bad else "; ".join(f"{e.name}: {e.why}" for e in bad) + "."

    def _begin(self, now: float, *, forced: bool) -> None:
        self._started = True
        poor = self._poor()
        if forced and poor:
            self._event("quality_override", {"electrodes": poor})
        lights = {e.name: [e.light, e.why] for e in self.seen.electrodes}
        self._event("quality", {"electrodes": lights})
        self._command("start")
        self._watch(now)

    # ------------------------------------------------------------ what people see

    def _age_s(self, now: float) -> float | None:
        if not math.isfinite(self._newest_stamp):
            return None
        return now - (self._newest_stamp + (self.source.clock_offset_s or 0.0))

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
            newest_t=self._newest_stamp + (self.source.clock_offset_s or 0.0),
            held=self._held() if self._stop_asked_t is None else ("stopped",),
            cues=self._cues,
            gain=self._gain,
            progress=self._progress(),
            title=self.settings.protocol.title,
        )
        self.window.show(show)
        if self.publisher is not None:
            self.publisher.feedback(show)

    def _assess(self) -> None:
        raw = self.fold.conditioner.raw
        window = raw.window()
        if raw.filled < len(window):
            return
        m = self.assembly.montage
        bad = dict(self.fold.conditioner.bad_columns(self.fold.next_seq))
        before = {e.name: e.light for e in self.seen.electrodes}
        self.seen.electrodes = assess(
            window, m.names, self.settings.spec.rate_hz, self.settings.mains_hz, bad
        )
        needed = set(m.site_names)
        for e in self.seen.electrodes:
            if self._started and e.name in needed and before.get(e.name, e.light) != e.light:
                data = {"name": e.name, "light": e.light, "why": e.why, "rms_uv": e.rms_uv}
                self._event("electrode", data)

    def _update_view(self, now: float) -> None:
        d, s = self._decision, self.settings
        phase = self.decider.phase
        reward = s.protocol.reward
        at = list(s.protocol.features).index(reward.feature)
        value = None
        if self._frame is not None and self._frame.trusted[at]:
            value = float(self._frame.values[at])
        self.seen.history.append(value)
        thresholds = self.decider.thresholds
        threshold = thresholds[0] if thresholds and math.isfinite(thresholds[0]) else None
        alone, joint = self.decider.rates
        held = self._held()
        delays = sorted(self.seen.transport_ms)
        age_s = self._age_s(now)
        kind = self._state()
        clean = self.seen.train_clean_s
        self.view.update(
            Status(
                title=s.protocol.title,
                client=s.client,
                state=kind,
                test_session=s.short,
                phase_name=_phase_name(phase) if phase is not None else "Signal check",
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
                estimator_delay_ms=1e3 * self.assembly.level_delay_s,
                electrodes=self._lights(),
                feature_name=reward.feature,
                feature_unit=self._unit(reward.feature),
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
                sound_ok=self._ready is not None and bool(self._ready.audio),
                volume=self._gain,
                recording_path=str(s.recording),
                disk_free_gb=self._free_gb(now),
                messages=tuple(self.seen.messages),
                direction=reward.direction,
                paused="paused" in held,
            )
        )

    def _free_gb(self, now: float) -> float | None:
        if self._due("free", now, DISK_EVERY_S):
            self._free = free_gb(self.settings.recording.parent)
        return self._free

    _free: float | None = None

    def _unit(self, feature: str) -> str:
        kind = self.settings.protocol.features[feature].kind
        return FEATURES[kind].unit

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
            if self._ready is None:
                return "Waiting for the person's window to open."
            if self._staleness.age_s(self.clock.now()) == math.inf:
                return "Waiting for the first samples."
            return self._told_check
        for cause in held:
            if cause == "paused":
                return "Paused. Press p to go on."
            if cause in self._holds:
                return self._holds[cause].sentence
        d, f = self._decision, self._frame
        if d is not None and f is not None and f.gate and not d.kind.terminal:
            return "Gated: " + ", ".join(_GATE_WORDS.get(c, c) for c in f.gate.causes) + "."
        return ""

    # ------------------------------------------------------------ the end

    def _fail(self, sentence: str) -> None:
        if self._end is None:
            self._event("failed", {"sentence": sentence})
            self._say(sentence)
            self._end = (PhaseKind.FAILED, sentence)

    def _look_for_end(self, now: float) -> None:
        d = self._decision
        if self._end is not None:
            return
        if d is not None and d.kind is PhaseKind.DONE:
            self._end = (PhaseKind.DONE, "The session is complete.")
        elif d is not None and d.kind is PhaseKind.FAILED:
            last = next((m for m in reversed(self.seen.messages)), "The baseline failed.")
            self._end = (PhaseKind.FAILED, last.split(" ", 1)[-1])
        elif d is not None and d.kind is PhaseKind.STOPPED:
            self._end = (PhaseKind.STOPPED, "Stopped. The recording is complete up to here.")
        elif self._stop_asked_t is not None and now - self._stop_asked_t > STOP_DRAIN_S:
            # No sample came to carry the stop: the stream is gone too.
            self._end = (PhaseKind.STOPPED, "Stopped. The recording is complete up to here.")
        elif self._started and self._staleness.age_s(now) > LOST_LIMIT_S:
            self._fail(f"The stream stayed away for {LOST_LIMIT_S:.0f} s.")
        elif not self._started and now - self._t0 > LOST_LIMIT_S and not self.fold.next_seq:
            self._fail("The stream never sent a sample.")

    def _finish(self) -> Outcome:
        """Show the last screen for a moment; keep recording meanwhile."""
        kind, sentence = self._end or (PhaseKind.STOPPED, "")
        until = self.clock.now() + END_SCREEN_S
        self._say(sentence)
        last = self._decision
        if last is not None and not last.kind.terminal:
            # The fold never saw the end (no samples left): show it all the same.
            self._decision = _ended(last, kind)
        self._stop_asked_t = None
        for suspender in self._holds.values():
            suspender.on = False
        while self.clock.now() < until:
            now = self.clock.now()
            self._drain_raw()
            self._show(now)
            self._update_view(now)
            self._read_window(now)
            self.clock.sleep(0.02)
        codes = {PhaseKind.DONE: 0, PhaseKind.STOPPED: 0, PhaseKind.FAILED: 1}
        code = 130 if self._interrupted() else codes.get(kind, 1)
        self._event("end", {"state": kind.name.lower(), "sentence": sentence})
        rewards = 0 if last is None else last.rewards
        return Outcome(kind, sentence, rewards, code)

    def _drain_raw(self) -> None:
        for _ in range(PUMP_MAX):
            item = self.source.get(0.0)
            if item is None:
                return
            if isinstance(item, Received) and len(item.stamps):
                self._receive_after_end(item)

    def _receive_after_end(self, received: Received) -> None:
        """Keep folding while the end screen shows: raw data and decisions stay one list."""
        self.recorder.raw(received.samples, received.stamps)
        for item in self.number.step(received):
            if isinstance(item, Gap):
                self.recorder.input(item)
                self.fold.step(item)
            elif isinstance(item, Chunk):
                for point in self.fold.step(item):
                    self.recorder.feature(point.frame)
                    self.recorder.decision(point.decision)


_GATE_WORDS = {
    "amplitude": "large amplitude",
    "blink": "a blink",
    "muscle": "muscle tension",
    "step": "a jump in the signal",
    "flat": "a flat electrode",
    "rail": "an electrode at the amplifier's limit",
    "nan": "missing numbers",
    "gap": "missing samples",
    "warmup": "filters are settling",
    "marked": "an electrode marked bad",
}


def _phase_name(phase: Phase) -> str:
    words = {
        PhaseKind.READY: "Get ready",
        PhaseKind.BASELINE: "Baseline",
        PhaseKind.PREPARING: "Preparing",
        PhaseKind.TRAIN: "Training",
        PhaseKind.REST: "Rest",
        PhaseKind.TRANSFER: "Transfer (no feedback)",
        PhaseKind.POST: "Rest afterwards",
        PhaseKind.DONE: "Done",
    }
    name = words.get(phase.kind, phase.kind.name.lower())
    number = f" {phase.block}" if phase.kind is PhaseKind.TRAIN else ""
    return f"{name}{number}"


def _quantile(ordered: Sequence[float], q: float) -> float | None:
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def _ended(last: Decision, kind: PhaseKind) -> Decision:
    return replace(last, kind=kind, level=None, reward=False)


def _sentence(event: Event) -> str:
    """Return what the operator reads about an event; nothing for those shown elsewhere."""
    data = event.data
    if isinstance(data.get("sentence"), str) and event.kind in ("refused", "advice", "failed"):
        return str(data["sentence"])
    if event.kind == "advice":
        return str(data.get("text", ""))
    if event.kind == "baseline_repeat":
        return f"Baseline again: only {data.get('clean_s', 0):.0f} s were clean."
    if event.kind == "threshold_change":
        return f"Threshold of {data.get('feature')} changed."
    if event.kind == "note":
        return f"Note: {data.get('text')}"
    if event.kind == "mark_bad":
        return f"{data.get('channel')} is marked bad."
    if event.kind == "gap":
        return f"{data.get('gap_s', 0):.2f} s of samples are missing."
    if event.kind == "block_invalid":
        return "More than half of this block was gated: it is marked invalid."
    return ""
