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
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import platformdirs
from threadpoolctl import threadpool_limits

from engine import screening
from engine.acquire import LslSource, MarkerSource, resolve
from engine.assemble import Assembly, MakeControl, assemble, feature_units
from engine.blind import Blind
from engine.certificate import default_folder, for_header, introduced, newest_for
from engine.clock import LslClock, now, wall
from engine.controls import Asked, ControlPlan, control_plan, described
from engine.course import course_path, is_course, read_course, write_course
from engine.errors import InputError, RunError, SafetyStop
from engine.folder import check_client, check_folder, claim, free_gb, session_path
from engine.forms import Filled, TerminalIO, add_form, ask, form_named
from engine.frames import Event, Phase, StreamSpec
from engine.lsl import configure_lsl
from engine.perceived import NOTHING, Perceived, check_perceived
from engine.plugins import Plugins, Registries, load_plugins, registries
from engine.publish import Publisher
from engine.record import Recorder
from engine.room import Room, load_room
from engine.sealedlog import SealedLog
from engine.session import Outcome, Session, SessionSettings
from engine.shaping import read_shift, shapes_sessions, shaping_path, write_shift
from engine.studyrun import InStudy, join
from engine.terminal import open_view
from feedback.worker import Window, WindowSpec
from protocols.load import Loaded, load
from protocols.model import Protocol as Science
from protocols.plan import expand

__all__ = [
    "Ran",
    "RunOptions",
    "has_screen",
    "log_path",
    "record_folder",
    "room_window",
    "run_session",
]

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
    age_years : float or None
        Of the person, for norms.
    clinician : bool
        A clinician is in the room, and stays.
    control : Asked or None
        A control condition, openly; None is the real feedback.
    study : StudyChoice or None
        A participant of a study; what is presented is then assigned.
    seed : int or None
        Of everything that is drawn; from the system when left out.
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
    age_years: float | None = None
    clinician: bool = False
    control: Asked | None = None
    study: StudyChoice | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class StudyChoice:
    """Which participant of which study.

    Parameters
    ----------
    study : Path
        The study file.
    token : str
    key, allocation : Path or None
        The runtime key and the folder of the allocation, where they are not beside the study.
    """

    study: Path
    token: str
    key: Path | None = None
    allocation: Path | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Everything that was decided before the session."""

    room: Room
    loaded: Loaded
    plugins: Plugins
    known: Registries
    joined: InStudy | None
    control: ControlPlan | None
    plan: tuple[Phase, ...]
    seed: int
    shift: float
    spec: StreamSpec
    assembly: Assembly
    screened: dict[str, Any] | None
    certificate: dict[str, Any] | None

    @property
    def protocol(self) -> Science:
        """What is measured: the protocol, with what a control looks at."""
        return self.loaded.protocol if self.control is None else self.control.protocol

    @property
    def units(self) -> dict[str, str]:
        """Of every feature."""
        return feature_units(self.protocol, self.known.features)


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
    plugins = load_plugins(room.wanted_plugins)
    known = registries(plugins)
    joined = None
    if options.study is not None:
        choice = options.study
        joined = join(choice.study, choice.token, key=choice.key, allocation=choice.allocation)
    loaded = load(
        options.protocol if joined is None else joined.loaded.protocol,
        known.features,
        pictures=known.pictures,
        sounds=known.sounds,
        rewards=known.rewards,
        age_years=options.age_years,
    )
    if joined is not None:
        joined.check_protocol(loaded.sha256)
    check_client(options.client)
    if options.short_s is not None and room.use == "clinical":
        raise InputError(
            "a shortened test session is refused in a clinical room",
            "use a room with `use: test`, or leave out --short",
        )
    _check_safety(loaded.protocol, room, options)
    check_perceived(Perceived.of(loaded.protocol.feedback), room, known.pictures, known.sounds)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    control = _control(options, room, joined, loaded.protocol, loaded.sha256, seed)
    # What a control looks at is learned from the same rest.
    measured = loaded.protocol if control is None else control.protocol
    plan = expand(measured, options.short_s, seed)
    plan = plan if joined is None else joined.asking(plan)
    headless = options.headless or (not room.person_screen.required and not has_screen())
    if not headless and not has_screen():
        raise InputError(
            "this computer has no screen, and the room requires one",
            "connect a screen, or set `screen: {required: no}` in a test room",
        )
    _introduce(loaded, room, plan, options, say)
    certificate = _certificate(options, room, headless, say)
    folder = record_folder(room, options.out)
    check_folder(folder)
    screened = _screen(options, room, folder, say)
    expected = None if joined is None else _expectancy(joined, say)
    configure_lsl(room.lsl)
    say(f"Looking for the stream {room.stream.name or room.stream.source_id or 'of type EEG'} ...")
    spec = resolve(room.stream, options.find_s)
    difficulty = shaping_path(folder, options.client, loaded.protocol)
    shift = read_shift(difficulty) if shapes_sessions(loaded.protocol) else 0.0
    protocol = loaded.protocol if control is None else control.protocol
    kept = course_path(folder, options.client, loaded.protocol)
    put_together = functools.partial(
        assemble,
        spec,
        protocol,
        plan,
        mains_hz=float(room.mains_hz),
        range_uv=room.stream.range_uv,
        dc_coupled=room.stream.dc_coupled,
        kinds=known.features,
        rewards=known.rewards,
        control=_maker(control, known, shift),
        shift=shift,
    )
    assembly = put_together()
    course: dict[str, Any] = {}
    here = (spec.rate_hz, float(room.mains_hz), assembly.montage)
    if is_course(loaded.protocol):  # what only a control looks at is no part of it
        course = read_course(kept, loaded.protocol, *here)
        assembly = put_together(course=course)
    faults = assembly.fold.bank.faults
    if faults:
        raise InputError(
            f"The feature {faults[0][0]} of a package cannot be made: {faults[0][1]}.",
            "Mend the package, or use another feature.",
        )
    if free_gb(folder) < room.record.keep_free_gb:
        raise InputError(
            f"only {free_gb(folder):.1f} GB are free in {folder}",
            f"the room keeps {room.record.keep_free_gb:g} GB free: make space",
        )
    path = session_path(folder, options.client, loaded.protocol.name, wall())
    prepared = _Prepared(
        room, loaded, plugins, known, joined, control, plan, seed, shift, spec, assembly, screened,
        certificate,
    )  # fmt: skip
    with (
        claim(folder, spec.source_id or spec.name),
        threadpool_limits(limits=1),
        _interrupts() as interrupted,
    ):
        if joined is not None:
            joined.begin(options.client, path)
        try:
            outcome, frames = _conduct(options, prepared, path, headless, interrupted)
        except KeyboardInterrupt:  # the second Ctrl-C
            say(f"Recording: {path}")
            say(f"No report was made; make it with: neuroloop report {path}")
            raise
    say(outcome.sentence)
    say(f"Recording: {path}")
    if expected is not None:
        add_form(path, expected)
    fitted = assembly.fold.fitted
    if fitted is not None and fitted.course and not course and not _is_test(options, room):
        write_course(kept, loaded.protocol, fitted, path, *here)
        say(f"Course:    {kept} (its filters are kept for this client's next sessions)")
    if shapes_sessions(loaded.protocol) and outcome.exit_code == 0 and not _is_test(options, room):
        write_shift(difficulty, assembly.decider.next_shift, path)
        if joined is None or not joined.blinded:
            say(f"Difficulty of the next session: {difficulty}")
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
    if joined is not None:
        _guesses(joined, path, say)
    return Ran(outcome, path, report, frames)


def _maker(control: ControlPlan | None, known: Registries, shift: float) -> MakeControl | None:
    if control is None:
        return None
    return functools.partial(control.make, rewards=known.rewards, shift=shift)


def _control(
    options: RunOptions,
    room: Room,
    joined: InStudy | None,
    protocol: Science,
    sha256: str,
    seed: int,
) -> ControlPlan | None:
    """Return what is presented; None for the real feedback, openly."""
    if joined is not None:
        if options.control is not None:
            raise InputError(
                "In a study the condition is assigned, not chosen.", "Leave out --control."
            )
        if room.use == "clinical" and any(a.control != "real" for a in joined.loaded.study.arms):
            raise _refused_in_clinic()  # in every arm alike
        return joined.plan(protocol, sha256, test=_is_test(options, room))
    if options.control is None or options.control.kind == "real":
        return None
    if room.use == "clinical":
        raise _refused_in_clinic()
    test = _is_test(options, room)
    return control_plan(protocol, [options.control], seed=seed, test=test)


def _refused_in_clinic() -> InputError:
    return InputError(
        "A control condition is refused in a clinical room: the person would train with "
        "feedback that is not theirs.",
        "Use a room with `use: research` or `use: test`.",
    )


def _check_safety(protocol: Science, room: Room, options: RunOptions) -> None:
    """Refuse a room or a session that the protocol itself rules out.

    Raises
    ------
    SafetyStop
    """
    safety = protocol.safety
    if room.use not in safety.rooms:
        raise SafetyStop(
            f"{protocol.name} is not for {room.use} use (evidence {protocol.evidence.grade}); it "
            f"runs in rooms for {' or '.join(safety.rooms)} use.",
            "Choose another protocol, or a room of that use.",
        )
    if safety.clinician == "present" and not options.clinician and not _is_test(options, room):
        raise SafetyStop(
            f"{protocol.name} runs only with a clinician in the room.",
            "Say that one is there, and stays: --clinician-present",
        )


def _expectancy(joined: InStudy, say: Callable[[str], None]) -> Filled | None:
    """Ask what the person expects, where the study wants it before this session."""
    study = joined.loaded.study
    if not study.questions.due("expectancy", joined.session, study.sessions):
        return None
    if not _someone_there():
        say("Not asked, because nobody is at the terminal: what the person expects. Later: "
            "neuroloop ask expectancy RECORDING")  # fmt: skip
        return None
    return ask(TerminalIO(), form_named("expectancy"))


def _guesses(joined: InStudy, path: Path, say: Callable[[str], None]) -> None:
    """Ask person and operator which arm they guess, where the study wants it now."""
    study = joined.loaded.study
    if not study.questions.due("blinding", joined.session, study.sessions):
        return
    if not _someone_there():
        say(f"Now ask person and operator for their guess: neuroloop ask blinding {path}")
        return
    try:
        add_form(path, ask(TerminalIO(), form_named("blinding")))
    except (InputError, EOFError, KeyboardInterrupt):
        say(f"Not finished; later: neuroloop ask blinding {path}")


def _someone_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


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
    if protocol.safety.exclude:
        say(f"Not for people with: {', '.join(protocol.safety.exclude)}.")
    if loaded.loosened:
        parents = " and ".join(Path(source.file).stem for source in loaded.extends)
        say(f"LESS CAREFUL than {parents}: {' '.join(loaded.loosened)}")
    if protocol.evidence.refs:
        say(f"Sources: {'; '.join(protocol.evidence.refs)}")
    if options.control is not None and options.control.kind != "real":
        say(f"CONTROL CONDITION: {described(options.control.kind)}.")
    if _is_test(options, room):
        say("TEST SESSION: shortened, or in a room for tests; not for training a person.")
    if not (room.use == "clinical" and options.screening_file is None):
        say(screening.STATEMENT)  # the screening questions begin with it


def _certificate(
    options: RunOptions, room: Room, headless: bool, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return what the recording keeps of the room's certificate, and say it where people train."""
    kept = newest_for(room, default_folder())
    header = for_header(kept, room, headless=headless)
    if room.use != "test":
        say(introduced(header, options.room))
    return header


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
    prepared: _Prepared,
    path: Path,
    headless: bool,
    interrupted: Callable[[], bool],
) -> tuple[Outcome, Path | None]:
    p, room, spec, assembly = prepared, prepared.room, prepared.spec, prepared.assembly
    protocol = p.protocol
    clock = LslClock()
    frames = path.with_suffix("").with_name(path.stem + "_frames") if headless else None
    window_spec = replace(
        room_window(
            room, Perceived.of(protocol.feedback), headless=headless, silent=options.silent
        ),
        frames_dir=None if frames is None else str(frames),
        test_session=_is_test(options, room),
        plugins=p.plugins.wanted,
    )
    view = open_view(plain=options.plain, clock=clock)
    source = LslSource(spec, room.stream, clock)
    markers = MarkerSource(room.markers, clock)
    blinded = p.joined is not None and p.joined.blinded
    publisher = _publisher(room, spec, {} if blinded else p.units) if room.publish else None
    metrics = assembly.fold.gates.metric_names
    rules = [r.feature for r in protocol.rules]
    blind: Blind | None = None
    fingerprint = ""
    if p.joined is not None and blinded:
        sealed = SealedLog(path.with_suffix(".sealed"), p.joined.allocation.public_key)
        fingerprint = sealed.fingerprint
        opening = {
            "study": p.joined.header(),
            "control": None if p.control is None else p.control.stored(),
            "shift": p.shift,
        }
        blind = Blind(sealed, p.units, metrics, rules, spec.grid_hz, opening)
    recorder = Recorder(
        path,
        _header(options, p, window_spec, fingerprint),
        spec,
        features=p.units,
        metrics=metrics,
        rules=rules,
        markers=room.markers,
        clock_offset=lambda: source.clock_offset_s,
        now=clock.now,
    )
    live = type(view).__name__ == "LiveView"
    settings = SessionSettings(
        protocol=protocol,
        plan=p.plan,
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
        units=p.units,
        language=room.language,
        certificate=p.certificate,
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
            blind=blind,
            interrupted=interrupted,
        )
        if p.screened is not None:
            recorder.event(Event(now(), 0, "screening", p.screened))
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
        if blind is not None:
            blind.close()
        recorder.close()
    if recorder.fault is not None:
        raise RunError(f"the recording {path} is incomplete: {recorder.fault}")
    return outcome, frames


def room_window(
    room: Room, perceived: Perceived = NOTHING, *, headless: bool, silent: bool = False
) -> WindowSpec:
    """Return the person's window as the room wants it."""
    screen, sound = room.person_screen, room.sound
    return WindowSpec(
        title="Neuroloop",
        picture=perceived.picture,
        on_reward=perceived.on_reward,
        continuous=perceived.continuous,
        cues=perceived.cues,
        picture_options=perceived.options,
        size=screen.size,
        full_screen=screen.full_screen and not headless,
        display=screen.display,
        steady=screen.steady,
        headless=headless,
        sound_required=sound.required,
        sound_enabled=not silent,
        spl_fullscale_dba=sound.spl_fullscale_dba,
        gain_cap=sound.cap,
        language=room.language,
        reduced_motion=room.reduced_motion,
        large_text=room.large_text,
        high_contrast=room.high_contrast,
        images=room.media.images or "",
        film=room.media.film or "",
        sound_files=sound.files.given,
        sound_device=sound.device,
        photodiode="" if screen.photodiode == "none" else screen.photodiode,
        audio_click=sound.click,
    )


def _publisher(room: Room, spec: StreamSpec, units: Mapping[str, str]) -> Publisher:
    publisher = Publisher(spec, list(units), room.lsl, list(units.values()))
    publisher.start()
    return publisher


def _header(
    options: RunOptions, p: _Prepared, window: WindowSpec, fingerprint: str
) -> dict[str, Any]:
    names = ("numpy", "scipy", "mne", "mne-lsl", "pylsl", "pydantic", "ruamel.yaml")
    room, loaded, spec, assembly = p.room, p.loaded, p.spec, p.assembly
    blinded = p.joined is not None and p.joined.blinded
    return {
        "neuroloop": importlib.metadata.version("neuroloop"),
        "versions": {n: importlib.metadata.version(n) for n in names},
        "plugins": p.plugins.header(),
        "client": options.client,
        "use": room.use,
        "test_session": _is_test(options, room),
        "short_s": options.short_s,
        "room": (resolved := room.model_dump(mode="json")),
        "room_sha256": hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest(),
        "protocol": p.protocol.model_dump(mode="json"),
        "protocol_sha256": loaded.sha256,
        "protocol_text": loaded.text,
        "protocol_format": loaded.written_format,
        "extends": [Path(s.file).name for s in loaded.extends],
        "study": None if p.joined is None else p.joined.header(),
        "blinded": blinded,
        "sealed_log": fingerprint,
        "control": None if p.control is None or blinded else p.control.stored(),
        "shift": 0.0 if blinded else p.shift,
        "age_years": options.age_years,
        "plan": p.plan,
        "montage": {
            "reference": assembly.montage.reference,
            "sites": assembly.montage.site_names,
            "columns": assembly.montage.names,
            "warnings": assembly.warnings,
        },
        "delay_s": assembly.delay_s,
        "level_feature": assembly.level_feature,
        "feature_units": p.units,
        "mains_hz": float(room.mains_hz),
        "range_uv": room.stream.range_uv,
        "dc_coupled": room.stream.dc_coupled,
        "gate_memory": assembly.fold.gates.settings.memory,
        "course": assembly.fold.settings.course,
        "grid_hz": spec.grid_hz,
        "hop": spec.hop,
        "seeds": {"session": p.seed},
        "machine": {"system": platform.platform(), "python": platform.python_version()},
        "window": {
            "picture": window.picture,
            "on_reward": window.on_reward,
            "continuous": window.continuous,
            "headless": window.headless,
        },
        "certificate": p.certificate,
        "statement": screening.STATEMENT,
        "clinician_present": options.clinician,
        "screened": p.screened is not None,
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
