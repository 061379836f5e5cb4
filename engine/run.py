"""Put one session together, run it, and leave a recording and a report behind.

Everything that can be wrong is found before the person sits down: files, stream, montage, folder,
screen. What is found after that is a Hold or an end, never a traceback.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import platformdirs
from threadpoolctl import threadpool_limits

from engine import screening
from engine.acquire import LslSource, MarkerSource, resolve
from engine.assemble import Assembly, assemble, feature_units
from engine.clock import LslClock, now, wall
from engine.course import course_path, is_course, read_course, write_course
from engine.errors import InputError, RunError
from engine.features import FEATURES
from engine.folder import check_client, check_folder, claim, free_gb, session_path
from engine.frames import Event, Phase, StreamSpec
from engine.lsl import configure_lsl
from engine.publish import Publisher
from engine.record import Recorder
from engine.room import Room, load_room
from engine.session import Outcome, Session, SessionSettings
from engine.terminal import open_view
from feedback.worker import Window, WindowSpec
from protocols.load import Loaded, load
from protocols.plan import expand

__all__ = ["Ran", "RunOptions", "has_screen", "log_path", "record_folder", "run_session"]

log = logging.getLogger(__name__)

FIND_S = 5.0
CHECK_S = {"clinical": 10.0, "research": 5.0, "test": 2.0}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the operator asked for.

    Parameters
    ----------
    protocol : str
        Library name or path.
    room : str
        Shipped name or path.
    client : str
        Opaque id.
    short_s : float or None
        Length of a test session.
    out : Path or None
        Record folder, instead of the room's.
    headless : bool
        Show nothing, save frames.
    silent : bool
        Open no sound device.
    plain : bool
        Lines instead of the live view.
    screening_file : Path or None
        Answers to the screening questions.
    find_s : float
        How long to look for the stream.
    """

    protocol: str
    room: str
    client: str = "test"
    short_s: float | None = None
    out: Path | None = None
    headless: bool = False
    silent: bool = False
    plain: bool = False
    screening_file: Path | None = None
    find_s: float = FIND_S


@dataclass(frozen=True, slots=True)
class Ran:
    """What a session left behind."""

    outcome: Outcome
    recording: Path
    report: Path | None
    frames: Path | None


def has_screen() -> bool:
    """Return whether this computer has a screen to open a window on."""
    if platform.system() == "Linux":
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


def record_folder(room: Room, out: Path | None) -> Path:
    """Return where recordings go: `out`, the room's folder, or the user's data folder."""
    if out is not None:
        return out
    if room.record.folder is not None:
        return Path(room.record.folder).expanduser()
    return Path(platformdirs.user_data_dir("neuroloop", appauthor=False)) / "sessions"


def log_path() -> Path:
    """Return the log file of this user."""
    return Path(platformdirs.user_log_dir("neuroloop", appauthor=False)) / "neuroloop.log"


def run_session(options: RunOptions, say: Callable[[str], None]) -> Ran:
    """Run one session.

    Parameters
    ----------
    options : RunOptions
    say : callable
        Shows a sentence to the operator before and after the live view.

    Raises
    ------
    NeuroloopError
        Anything that is wrong before the session; its exit code tells what kind.
    """
    room = load_room(options.room)
    loaded = load(options.protocol, FEATURES)
    check_client(options.client)
    if options.short_s is not None and room.use == "clinical":
        raise InputError(
            "a shortened test session is refused in a clinical room",
            "use a room with `use: test`, or leave out --short",
        )
    plan = expand(loaded.protocol, options.short_s)
    headless = options.headless or (not room.person_screen.required and not has_screen())
    if not headless and not has_screen():
        raise InputError(
            "this computer has no screen, and the room requires one",
            "connect a screen, or set `screen: {required: no}` in a test room",
        )
    _introduce(loaded, room, plan, options, say)
    folder = record_folder(room, options.out)
    check_folder(folder)
    screened = _screen(options, room, folder, say)
    configure_lsl(room.lsl)
    say(f"Looking for the stream {room.stream.name or room.stream.source_id or 'of type EEG'} ...")
    spec = resolve(room.stream, options.find_s)
    kept = course_path(folder, options.client, loaded.protocol)
    put_together = functools.partial(
        assemble,
        spec,
        loaded.protocol,
        plan,
        mains_hz=float(room.mains_hz),
        range_uv=room.stream.range_uv,
        dc_coupled=room.stream.dc_coupled,
    )
    assembly = put_together()
    course: dict[str, Any] = {}
    here = (spec.rate_hz, float(room.mains_hz), assembly.montage)
    if is_course(loaded.protocol):
        course = read_course(kept, loaded.protocol, *here)
        assembly = put_together(course=course)
    if free_gb(folder) < room.record.keep_free_gb:
        raise InputError(
            f"only {free_gb(folder):.1f} GB are free in {folder}",
            f"the room keeps {room.record.keep_free_gb:g} GB free: make space",
        )
    path = session_path(folder, options.client, loaded.protocol.name, wall())
    with (
        claim(folder, spec.source_id or spec.name),
        threadpool_limits(limits=1),
        _interrupts() as interrupted,
    ):
        outcome, frames = _conduct(
            options, room, loaded, plan, spec, assembly, path, headless, screened, interrupted
        )
    say(outcome.sentence)
    say(f"Recording: {path}")
    fitted = assembly.fold.fitted
    if fitted is not None and fitted.course and not course and not _is_test(options, room):
        write_course(kept, loaded.protocol, fitted, path, *here)
        say(f"Course:    {kept} (its filters are kept for this client's next sessions)")
    report: Path | None = None
    try:
        from engine.report import write_report  # matplotlib: seconds, and not while live

        report = write_report(path)
        say(f"Report:    {report}")
    except Exception as error:  # the recording is safe; the report can be made again
        log.exception("report failed")
        say(f"The report failed ({error}); make it again with: neuroloop report {path}")
    if frames is not None:
        say(f"Frames:    {frames}")
    return Ran(outcome, path, report, frames)


def _introduce(
    loaded: Loaded,
    room: Room,
    plan: tuple[Phase, ...],
    options: RunOptions,
    say: Callable[[str], None],
) -> None:
    protocol = loaded.protocol
    minutes, seconds = divmod(round(sum(p.lasts_s for p in plan)), 60)
    say(f"{protocol.title} ({protocol.name}), {minutes} min {seconds:02d} s, room {room.name}.")
    say(f"Evidence {protocol.evidence.grade}: {protocol.evidence.summary.strip()}")
    for line in protocol.cautions:
        say(f"Note: {line}")
    if _is_test(options, room):
        say("TEST SESSION: shortened, or in a room for tests; not for training a person.")
    if not (room.use == "clinical" and options.screening_file is None):
        say(screening.STATEMENT)  # the screening questions begin with it


def _is_test(options: RunOptions, room: Room) -> bool:
    return options.short_s is not None or room.use == "test"


def _screen(
    options: RunOptions, room: Room, folder: Path, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Ask the screening questions in a clinical room; return what the recording keeps."""
    if room.use != "clinical" and options.screening_file is None:
        return None
    book = folder / f"{options.client}.screening.json"
    history: list[bool] = []
    # A book that cannot be read counts as none: then everything is asked again.
    with contextlib.suppress(OSError, ValueError, TypeError):
        history = [bool(x) for x in json.loads(book.read_text("utf-8"))]
    questions = screening.QUESTIONS if screening.due(history) else screening.EVERY_SESSION
    if options.screening_file is not None:
        answers = screening.from_file(options.screening_file, questions)
    else:
        answers = screening.ask(screening.TerminalIO(), questions)
    screening.require(answers)
    if answers.warned:
        say("Noted: " + ", ".join(k.replace("_", " ") for k in answers.warned) + ".")
    fresh = book.with_suffix(".new")
    fresh.write_text(json.dumps([*history, answers.full]) + "\n", "utf-8")
    fresh.replace(book)
    return answers.data


def _conduct(
    options: RunOptions,
    room: Room,
    loaded: Loaded,
    plan: tuple[Phase, ...],
    spec: StreamSpec,
    assembly: Assembly,
    path: Path,
    headless: bool,
    screened: dict[str, Any] | None,
    interrupted: Callable[[], bool],
) -> tuple[Outcome, Path | None]:
    protocol = loaded.protocol
    clock = LslClock()
    frames = path.with_suffix("").with_name(path.stem + "_frames") if headless else None
    window_spec = WindowSpec(
        title="Neuroloop",
        picture=protocol.feedback.picture,
        on_reward=protocol.feedback.sound.on_reward,
        continuous=protocol.feedback.sound.continuous,
        cues=protocol.feedback.sound.cues,
        size=room.person_screen.size,
        full_screen=room.person_screen.full_screen and not headless,
        display=room.person_screen.display,
        headless=headless,
        frames_dir=None if frames is None else str(frames),
        sound_required=room.sound.required,
        sound_enabled=not options.silent,
        spl_fullscale_dba=room.sound.spl_fullscale_dba,
        gain_cap=room.sound.cap,
        language=room.language,
        reduced_motion=room.reduced_motion,
        test_session=_is_test(options, room),
    )
    view = open_view(plain=options.plain, clock=clock)
    source = LslSource(spec, room.stream, clock)
    markers = MarkerSource(room.markers, clock)
    publisher = _publisher(room, spec, loaded) if room.publish else None
    recorder = Recorder(
        path,
        _header(options, room, loaded, plan, spec, assembly, window_spec, screened),
        spec,
        features=feature_units(protocol),
        metrics=assembly.fold.gates.metric_names,
        rules=[r.feature for r in protocol.rules],
        markers=room.markers,
        clock_offset=lambda: source.clock_offset_s,
        now=clock.now,
    )
    live = type(view).__name__ == "LiveView"
    settings = SessionSettings(
        protocol=protocol,
        plan=plan,
        spec=spec,
        client=options.client,
        use=room.use,
        short=_is_test(options, room),
        mains_hz=float(room.mains_hz),
        check_s=CHECK_S[room.use],
        wait_for_operator=live and options.short_s is None,
        sound_required=room.sound.required and not options.silent,
        keep_free_gb=room.record.keep_free_gb,
        recording=path,
        counter=room.stream.counter,
    )
    try:
        session = Session(
            settings,
            assembly,
            source,
            recorder,
            lambda: Window(window_spec),
            view,
            clock,
            publisher=publisher,
            markers=markers,
            interrupted=interrupted,
        )
        if screened is not None:
            recorder.event(Event(now(), 0, "screening", screened))
        if publisher is not None and publisher.problem:
            recorder.event(Event(now(), 0, "publish_failed", {"sentence": publisher.problem}))
        source.start()
        markers.start()
        outcome = session.run()
    finally:
        source.stop()
        markers.stop()
        if publisher is not None:
            publisher.close()
        recorder.close()
    if recorder.fault is not None:
        raise RunError(f"the recording {path} is incomplete: {recorder.fault}")
    return outcome, frames


def _publisher(room: Room, spec: StreamSpec, loaded: Loaded) -> Publisher:
    units = feature_units(loaded.protocol)
    publisher = Publisher(spec, list(units), room.lsl, list(units.values()))
    publisher.start()
    return publisher


def _header(
    options: RunOptions,
    room: Room,
    loaded: Loaded,
    plan: tuple[Phase, ...],
    spec: StreamSpec,
    assembly: Assembly,
    window: WindowSpec,
    screened: dict[str, Any] | None,
) -> dict[str, Any]:
    names = ("numpy", "scipy", "mne", "mne-lsl", "pylsl", "pydantic", "ruamel.yaml")
    return {
        "neuroloop": importlib.metadata.version("neuroloop"),
        "versions": {n: importlib.metadata.version(n) for n in names},
        "client": options.client,
        "use": room.use,
        "test_session": _is_test(options, room),
        "short_s": options.short_s,
        "room": (resolved := room.model_dump(mode="json")),
        "room_sha256": hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest(),
        "protocol": loaded.protocol.model_dump(mode="json"),
        "protocol_sha256": loaded.sha256,
        "protocol_text": loaded.text,
        "plan": plan,
        "montage": {
            "reference": assembly.montage.reference,
            "sites": assembly.montage.site_names,
            "columns": assembly.montage.names,
            "warnings": assembly.warnings,
        },
        "delay_s": assembly.delay_s,
        "level_feature": assembly.level_feature,
        "feature_units": feature_units(loaded.protocol),
        "mains_hz": float(room.mains_hz),
        "range_uv": room.stream.range_uv,
        "dc_coupled": room.stream.dc_coupled,
        "gate_memory": assembly.fold.gates.settings.memory,
        "course": assembly.fold.settings.course,
        "grid_hz": spec.grid_hz,
        "hop": spec.hop,
        "seeds": {},
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "window": {
            "picture": window.picture,
            "on_reward": window.on_reward,
            "continuous": window.continuous,
            "headless": window.headless,
        },
        "statement": screening.STATEMENT,
        "screened": screened is not None,
    }


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a stop; a second Ctrl-C within two seconds exits at once."""
    asked: list[float] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        # Terminals and service managers send their signals twice; only a person means it.
        if number == signal.SIGINT and asked and now() - asked[-1] < 2.0:
            raise KeyboardInterrupt
        asked.append(now())

    # A closed terminal (SIGHUP, on Windows SIGBREAK) stops a session like Ctrl-C.
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    before = {n: signal.signal(n, ask) for n in (getattr(signal, k, None) for k in names) if n}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
