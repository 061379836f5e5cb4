"""Measure a room: open its window as a session would, and watch it with a sensor on an LSL stream.

The window shows a calm dark screen with the photodiode's patch in its corner, and clicks. The
patch changes at random intervals; every flip is announced on an LSL stream. The sensor's trace is
compared with the flips afterwards, and the result becomes the room's certificate.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import json
import logging
import math
import os
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np

from engine.agree import Seen, shown
from engine.certificate import (
    INVISIBLE,
    Certificate,
    criteria,
    default_folder,
    machine,
    room_sha256,
    window_facts,
    write_certificate,
)
from engine.clock import now, wall
from engine.errors import InputError, RunError, StreamError
from engine.frames import Float, Presented, Show
from engine.loopback import AFTER_S, FLIPS, Flip, Measured, click_delay, light_delay
from engine.lsl import bury, configure_lsl, load_pylsl, mark_used, within
from engine.outlet import MarkerOutlet
from engine.resolve import columns_of, look
from engine.room import Room, load_room
from engine.run import room_window
from feedback.worker import Beat, Fault, Key, Message, Ready, Window, WindowSpec

__all__ = ["Certified", "CertifyOptions", "certify"]

log = logging.getLogger(__name__)

LEAST_LIGHT_HZ, LEAST_SOUND_HZ = 200.0, 1000.0
TRANSITIONS = (10, 2000)
INTERVALS_S = (0.1, 5.0)
OPEN_S = 5.0
READY_S = 30.0  # a loaded computer may take that long to open a window
SETTLE_S = 1.2  # the screen fades in, followers of the flips connect
TAIL_S = 6.0  # for a sensor that is late
OFFSET_S = 2.0  # between two readings of the sensor's clock
TURN_S = 0.001
SILENT_SOUND = ("dummy", "disk", "null")


@dataclass(frozen=True, slots=True)
class CertifyOptions:
    """What the technician asked for.

    Parameters
    ----------
    room : str
        Shipped name or path.
    sensor : str
        LSL name of the sensor's stream.
    photodiode, audio : str
        Column by label or by number from 1; empty where not measured.
    transitions : int
    shortest_s, longest_s : float
        Limits of the random time between two transitions.
    seed : int or None
        Of the intervals; drawn when left out.
    out : Path or None
        Folder of the certificate; the user's data folder, where sessions look, when left out.
    simulated_ok : bool
        A rehearsal without a screen.
    find_s : float
        How long to look for the sensor.
    """

    room: str
    sensor: str
    photodiode: str = ""
    audio: str = ""
    transitions: int = 120
    shortest_s: float = 0.35
    longest_s: float = 0.70
    seed: int | None = None
    out: Path | None = None
    simulated_ok: bool = False
    find_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Certified:
    """The certificate, and where it is."""

    path: Path
    certificate: Certificate


def certify(
    options: CertifyOptions,
    say: Callable[[str], None] = lambda _text: None,
    progress: Callable[[float], None] = lambda _share: None,
) -> Certified:
    """Measure how late light and sound of a room are, and write its certificate.

    Parameters
    ----------
    options : CertifyOptions
    say : callable
        Shows a sentence to the technician.
    progress : callable
        Called with the share that is done.

    Raises
    ------
    NeuroloopError
        The room, the sensor or the trace cannot be used; nothing is written then.
    """
    room = load_room(options.room)
    _check(options, room)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    configure_lsl(room.lsl)
    identity = f"neuroloop-flips-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    outlet = MarkerOutlet(FLIPS, identity)  # first of all, so that followers find it in time
    sensor: _Sensor | None = None
    try:
        say(f"Looking for the sensor {options.sensor!r} ...")
        sensor = _Sensor(_find(options.sensor, options.find_s), options)
        if sensor.simulated and not options.simulated_ok:
            raise InputError(
                f"The sensor {options.sensor!r} calls itself simulated ({sensor.model}).",
                "Connect a real one; to rehearse in a test room, say --simulated-ok.",
            )
        spec = changed(
            room_window(room, headless=options.simulated_ok),
            picture="none",
            on_reward=None,
            cues="none",
            test_session=room.use == "test",
        )
        say(
            f"{options.transitions} transitions; leave sensor and screen alone until they are over."
        )
        run = _Run(spec, sensor, outlet)
        with contextlib.closing(run):
            run.open()
            run.measure(_intervals(options, seed), progress)
        certificate = _made(options, room, seed, sensor, run)
    finally:
        if sensor is not None:
            sensor.close()
        outlet.close()
    return Certified(write_certificate(certificate, options.out or default_folder()), certificate)


def _check(options: CertifyOptions, room: Room) -> None:
    """Refuse what cannot be measured, before anything is opened.

    Raises
    ------
    InputError
    """
    if not options.photodiode and not options.audio:
        raise InputError(
            "Nothing to measure: no column of the sensor was named.",
            "Give --photodiode COLUMN, --audio COLUMN, or both.",
        )
    if options.photodiode and room.person_screen.photodiode == "none":
        raise InputError(
            f"The room {room.name!r} has no patch for a photodiode.",
            "Write it into the room file, as `screen: {photodiode: bottom-left}`.",
        )
    if options.audio and not room.sound.click:
        raise InputError(
            f"The room {room.name!r} does not click.",
            "Write it into the room file, as `sound: {click: yes}`.",
        )
    if options.simulated_ok and room.use != "test":
        raise InputError(
            f"A rehearsal is for test rooms, and {room.name!r} is for {room.use} use.",
            "Leave out --simulated-ok, or use a room with `use: test`.",
        )
    least, most = TRANSITIONS
    if not least <= options.transitions <= most:
        raise InputError(
            f"{options.transitions} transitions are not possible.", f"Choose {least} to {most}."
        )
    low, high = INTERVALS_S
    if not low <= options.shortest_s <= options.longest_s <= high:
        raise InputError(
            f"Intervals from {options.shortest_s:g} to {options.longest_s:g} s are not possible.",
            f"Choose them between {low:g} and {high:g} s.",
        )


def _intervals(options: CertifyOptions, seed: int) -> Float:
    rng = np.random.default_rng(seed)
    return rng.uniform(options.shortest_s, options.longest_s, options.transitions)


# ---------------------------------------------------------------- the sensor


def _find(name: str, find_s: float) -> Seen:
    """Return the one stream of this name.

    Raises
    ------
    StreamError
        There is none (those seen are listed), or more than one.
    """
    deadline = time.monotonic() + find_s
    seen: dict[str, Seen] = {}
    while True:
        seen.update((s.uid, s) for s in look())
        fitting = [s for s in seen.values() if s.name == name]
        if fitting or time.monotonic() >= deadline:
            break
    if len(fitting) > 1:
        rows = "".join(f"\n  {s}" for s in fitting)
        raise StreamError(
            f"{len(fitting)} streams are called {shown(name)!r}:{rows}",
            "Switch off all but one, or rename them.",
        )
    if fitting:
        return columns_of(fitting[0])
    others = sorted(str(s) for s in seen.values() if s.name != FLIPS)
    rows = "".join(f"\n  {s}" for s in others[:20]) or "\n  none at all"
    raise StreamError(
        f"No stream is called {shown(name)!r}. Seen within {find_s:g} s:{rows}",
        "Start the sensor's LSL program, or give another --sensor NAME.",
    )


def _column(seen: Seen, wanted: str, what: str) -> int:
    """Return the index of a column given by label or by number from 1.

    Raises
    ------
    InputError
    """
    labels = [c.label for c in seen.columns or ()]
    if labels.count(wanted) == 1:
        return labels.index(wanted)
    if wanted.isdecimal() and 1 <= int(wanted) <= seen.n_channels and wanted not in labels:
        return int(wanted) - 1
    named = ", ".join(f"{i} {shown(label)}" for i, label in enumerate(labels[:64], 1))
    has = named or f"1 to {seen.n_channels}, without labels"
    twice = "is there more than once" if wanted in labels else "is not there"
    raise InputError(
        f"The column {shown(wanted)!r} for the {what} {twice}; {seen.name!r} has: {has}.",
        "Name a column by its label or its number.",
    )


class _Sensor:
    """The sensor's stream: what it sends is kept, its clock compared with ours now and then.

    Raises
    ------
    InputError
        A column is not there, or the rate is too low.
    StreamError
        It does not answer.
    """

    def __init__(self, seen: Seen, options: CertifyOptions) -> None:
        self.seen = seen
        self.columns: dict[str, int] = {}
        for what, wanted, least_hz in (
            ("photodiode", options.photodiode, LEAST_LIGHT_HZ),
            ("audio", options.audio, LEAST_SOUND_HZ),
        ):
            if wanted:
                self.columns[what] = _column(seen, wanted, what)
                _refuse_slow(seen, what, least_hz)
        if seen.dtype == "string":
            raise InputError(f"The stream {seen.name!r} carries texts.", "Name another stream.")
        self._stamps: list[Float] = []
        self._samples: list[Float] = []
        self._offsets: list[tuple[float, float]] = []
        self._closed = threading.Event()
        self._inlets: list[Any] = []
        self.model = self._open()
        threading.Thread(target=self._compare_clocks, name="sensor-clock", daemon=True).start()

    @property
    def simulated(self) -> bool:
        """Whether the stream itself says that it is no real sensor."""
        return self.model.lower().startswith("simulated")

    def _open(self) -> str:
        pylsl = load_pylsl()
        mark_used()

        def opening() -> str:
            self._inlets.append(pylsl.StreamInlet(self.seen.handle, max_buflen=60, recover=False))
            inlet = self._inlets[0]
            model = str(inlet.info(timeout=OPEN_S).desc().child_value("model"))
            inlet.open_stream(timeout=OPEN_S)
            self._offsets.append((now(), float(inlet.time_correction(timeout=OPEN_S))))
            return model

        try:
            return within(3 * OPEN_S, opening, "sensor")
        except (RuntimeError, TimeoutError) as error:  # pylsl's errors are RuntimeErrors
            bury(self._inlets)
            raise StreamError(
                f"The sensor {self.seen.name!r} does not answer.", "Restart its LSL program."
            ) from error

    def _compare_clocks(self) -> None:
        while not self._closed.wait(OFFSET_S):
            try:
                inlet = self._inlets[0]
                self._offsets.append((now(), float(inlet.time_correction(timeout=OPEN_S))))
            except (RuntimeError, IndexError):
                return

    def pull(self) -> None:
        """Keep what has arrived.

        Raises
        ------
        StreamError
            The stream was lost.
        """
        try:
            while True:
                rows, stamps = self._inlets[0].pull_chunk(
                    timeout=0.0, max_samples=4096, as_numpy=True
                )
                if len(stamps) == 0:
                    return
                wanted = np.asarray(rows, dtype=float)[:, list(self.columns.values())]
                self._samples.append(wanted)
                self._stamps.append(np.asarray(stamps, dtype=float))
        except RuntimeError as error:
            raise StreamError(
                f"The sensor {self.seen.name!r} was lost while it was needed.",
                "Mend its connection and certify again.",
            ) from error

    @property
    def newest_t(self) -> float:
        """Stamp of the newest sample in our clock; minus infinity before there is one."""
        return float(self._stamps[-1][-1]) + self._offsets[-1][1] if self._stamps else -math.inf

    @property
    def stamps(self) -> Float:
        """Of every sample, in our clock: the offset between two comparisons is interpolated."""
        raw = np.concatenate([np.zeros(0), *self._stamps])
        at, offsets = np.array(self._offsets).T
        return np.asarray(raw + np.interp(raw, at - offsets, offsets))

    def samples(self, what: str) -> Float:
        """Return the column that measures `what`."""
        i = list(self.columns).index(what)
        return np.concatenate([np.zeros(0), *(s[:, i] for s in self._samples)])

    def facts(self) -> dict[str, Any]:
        """Return what the certificate keeps of it."""
        t = self.stamps
        steps = np.diff(t)
        usual = float(np.median(steps)) if len(steps) else math.nan
        even = steps[steps < 2.5 * usual]
        labels = [c.label for c in self.seen.columns or ()]
        return {
            "name": self.seen.name,
            "type": self.seen.stype,
            "source_id": self.seen.source_id,
            "model": self.model,
            "rate_hz": self.seen.rate_hz,
            "measured_hz": float((len(t) - 1) / (t[-1] - t[0])) if len(t) > 1 else math.nan,
            "stamp_jitter_ms": 1e3 * float(np.std(even)) if len(even) else math.nan,
            "clock_offset_ms": 1e3 * self._offsets[-1][1],
            "columns": {
                what: {"number": i + 1, "label": labels[i] if i < len(labels) else ""}
                for what, i in self.columns.items()
            },
        }

    def close(self) -> None:
        """Let the stream go."""
        self._closed.set()
        bury(self._inlets)


def _refuse_slow(seen: Seen, what: str, least_hz: float) -> None:
    if seen.rate_hz < least_hz:
        rate = f"{seen.rate_hz:g} Hz" if seen.rate_hz else "no regular rate"
        raise InputError(
            f"The sensor {seen.name!r} has {rate}; the {what} needs {least_hz:g} Hz or more.",
            "Raise its rate, or use another sensor.",
        )


# ---------------------------------------------------------------- the window


class _Run:
    """One measurement: the window on one side, the sensor on the other."""

    def __init__(self, spec: WindowSpec, sensor: _Sensor, outlet: MarkerOutlet) -> None:
        self._window = Window(spec)
        self._sensor = sensor
        self._outlet = outlet
        self.ready: Ready | None = None
        self.flips: list[Flip] = []
        self.beats: list[Beat] = []
        self.frames_t: list[float] = []
        self._asked = 0

    def open(self) -> None:
        """Open the window and let it become calm.

        Raises
        ------
        NeuroloopError
            The window does not open, or the sensor is silent.
        """
        self._window.start()
        deadline = now() + READY_S
        while self.ready is None:
            self._turn()
            if now() > deadline:
                raise RunError(
                    f"The window did not open within {READY_S:g} s.",
                    "Ask the doctor about the screen: neuroloop doctor --room ROOM",
                )
        if "audio" in self._sensor.columns and not self.ready.audio:
            raise RunError(
                "There is no sound device, so no click can be heard.",
                "Connect the loudspeaker, or leave out --audio.",
            )
        self._show(0)
        self._until(now() + SETTLE_S)
        if self._sensor.newest_t == -math.inf:
            self._until(now() + SETTLE_S)
        if self._sensor.newest_t == -math.inf:
            raise StreamError(
                f"The sensor {self._sensor.seen.name!r} sends no samples.",
                "Is its measurement running?",
            )

    def measure(self, intervals_s: Float, progress: Callable[[float], None]) -> None:
        """Change the patch after each interval, and wait for a sensor that is late."""
        due = now()
        for number, interval_s in enumerate(intervals_s, 1):
            due += float(interval_s)
            self._until(due)
            self._show(number)
            progress(number / len(intervals_s))
        end = now() + AFTER_S + 0.1
        self._until(end)
        deadline = now() + TAIL_S
        while self._sensor.newest_t < end and now() < deadline:
            self._turn()

    def _show(self, number: int) -> None:
        self._asked = number
        t = now()
        self._window.show(Show(seq=number, t=t, sent=t, screen="probe", probe=number))

    def _until(self, t: float) -> None:
        while now() < t:
            self._turn()

    def _turn(self) -> None:
        for message in self._window.poll():
            self._take(message)
        if not self._window.alive:
            for message in self._window.poll():
                self._take(message)  # its last words say why
            raise RunError("The window ended by itself.", "Ask: neuroloop doctor --room ROOM")
        self._sensor.pull()
        time.sleep(TURN_S)

    def _take(self, message: Message) -> None:
        match message:
            case Ready():
                self.ready = message
            case Beat():
                self.beats.append(message)
            case Presented():
                self._presented(message)
            case Fault(text, fatal):
                if fatal:
                    raise RunError(text)
                log.warning("window: %s", text)
            case Key("stop"):
                raise RunError("Stopped at the person's window.", "Nothing was written.")

    def _presented(self, frame: Presented) -> None:
        if frame.screen != "probe":
            return
        self.frames_t.append(frame.t_flip)
        if frame.seq <= (self.flips[-1].number if self.flips else 0):
            return
        flip = Flip(frame.seq, frame.t_flip, frame.seq % 2 == 1)
        self.flips.append(flip)
        row = {"probe": flip.number, "lit": flip.lit, "t": flip.t}
        self._outlet.push(json.dumps(row), flip.t)

    def close(self) -> None:
        """End the window."""
        self._window.stop()


# ---------------------------------------------------------------- the result


def _made(
    options: CertifyOptions, room: Room, seed: int, sensor: _Sensor, run: _Run
) -> Certificate:
    """Return the certificate of what was collected."""
    assert run.ready is not None
    facts = window_facts(run.ready)
    # Two flips are at least so far apart, to the frame.
    after_s = min(AFTER_S, options.shortest_s - 0.03)
    found: dict[str, Measured] = {}
    if "photodiode" in sensor.columns:
        turns = _changes(run.flips)
        found["display"] = light_delay(
            sensor.samples("photodiode"), sensor.stamps, turns, after_s=after_s
        )
    if "audio" in sensor.columns:
        found["audio"] = click_delay(
            sensor.samples("audio"), sensor.stamps, run.flips, after_s=after_s
        )
    delays = {name: m.delay for name, m in found.items()}
    met = criteria(
        delays.get("display"),
        delays.get("audio"),
        frame_ms=1e3 / facts["refresh_hz"],
        asked=options.transitions,
        shown=len(run.flips),
    )
    return Certificate(
        date=wall().astimezone(dt.UTC).isoformat(timespec="seconds"),
        room={"name": room.name, "use": room.use, "sha256": room_sha256(room)},
        machine=machine(),
        screen=_screen_facts(facts, room, run),
        sound={
            "audio": facts["audio"],
            "audio_measured": "audio" in found,
            "buffer_ms": facts["buffer_ms"],
            "ran_dry": run.beats[-1].starved - run.beats[0].starved if run.beats else 0,
        },
        versions={"neuroloop": importlib.metadata.version("neuroloop"), **facts["versions"]},
        sensor=sensor.facts(),
        seeds={"intervals": seed},
        results={
            "transitions": options.transitions,
            "shortest_s": options.shortest_s,
            "longest_s": options.longest_s,
            "display": _result(found.get("display")),
            "audio": _result(found.get("audio")),
        },
        criteria=met,
        passed=all(c.passed for c in met),
        simulated=_simulated(facts, sensor),
    )


def _changes(flips: list[Flip]) -> list[Flip]:
    """Return the flips that change the patch: one after a skipped transition does not."""
    lit = [False, *(f.lit for f in flips)]
    return [f for before, f in zip(lit, flips, strict=False) if f.lit != before]


def _screen_facts(facts: dict[str, Any], room: Room, run: _Run) -> dict[str, Any]:
    frames = np.diff(run.frames_t)
    return {
        **{key: facts[key] for key in ("driver", "size", "refresh_hz", "vsync")},
        "display": room.person_screen.display,
        "frame_ms": 1e3 * float(np.median(frames)) if len(frames) else math.nan,
        "missed_frames": run.beats[-1].missed - run.beats[0].missed if run.beats else 0,
        "guarded": run.beats[-1].guarded - run.beats[0].guarded if run.beats else 0,
    }


def _result(found: Measured | None) -> dict[str, Any] | None:
    """Return what the certificate keeps of one delay, every single one included."""
    if found is None:
        return None
    return {
        **asdict(found.delay),
        "rise_ms": found.rise_ms,
        "fall_ms": found.fall_ms,
        "contrast": found.contrast,
        "polarity": found.polarity,
        "smoothed_ms": found.smoothed_ms,
        "each_ms": [round(float(v), 3) for v in found.each_ms],
    }


def _simulated(facts: dict[str, Any], sensor: _Sensor) -> bool:
    """Whether anything measured was not real: the screen, the sound or the sensor itself."""
    heard_on = re.match("[a-z]*", facts["audio"].lower())
    silent = heard_on is not None and heard_on[0] in SILENT_SOUND
    silent = silent and "audio" in sensor.columns
    return facts["driver"] in INVISIBLE or silent or sensor.simulated
