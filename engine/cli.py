"""The command line, the composition root: each command imports the heavy parts it needs."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from engine.errors import FileError, InputError, NeuroloopError, YamlError

if TYPE_CHECKING:
    from rich.progress import Progress

    from engine.agree import Seen
    from engine.room import Room

__all__ = ["app", "main", "wrapped"]

app = typer.Typer(
    name="neuroloop",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help=(
        "Neuroloop: real-time EEG neurofeedback.\n\n"
        "First time here?  neuroloop demo\n\n"
        "Research and wellness software. Not a medical device; not for diagnosis or treatment."
    ),
    epilog=(
        "Exit codes: 0 done, 1 fault while running, 2 wrong input, 3 nothing suitable on the "
        "network, 4 stopped by a safety rule, 130 interrupted."
    ),
)
room_app = typer.Typer(
    no_args_is_help=True,
    short_help="Write, check or list room files.",
    help=(
        "Write, check or list room files. A room file says what belongs to a place: which "
        "amplifier, which screen, how loud, where recordings go."
    ),
)
app.add_typer(room_app, name="room")

console = Console(highlight=False, markup=False, emoji=False)
complaints = Console(stderr=True, highlight=False, markup=False, emoji=False)
log = logging.getLogger("neuroloop")

LEAST_WAIT_S, MOST_WAIT_S = 0.5, 60.0  # LSL streams answer within a second
WIDEST = 100  # columns; longer lines are hard to read
NAMES_A_FILE = re.compile(r"\s*[A-Z][A-Za-z ]{0,20}:\s+\S*[/\\]")
HANGING = re.compile(r"\s*(?:-> |- |\S+ {2,}|[A-Z]\w*: )?")


class Plainly(TyperCommand):
    """A command whose help names its arguments without their Python types."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for parameter in self.params:
            # Newer versions of typer write `FILE <path>`, whatever `metavar` says.
            if parameter.param_type_name == "argument" and hasattr(parameter, "display_type_rich"):
                parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005


class Use(StrEnum):
    """What a room is used for."""

    clinical = "clinical"
    research = "research"
    test = "test"


class Unit(StrEnum):
    """Units of voltage an amplifier may send."""

    uV = "uV"  # noqa: N815 - as it is written in the room file
    mV = "mV"  # noqa: N815
    V = "V"


class Eyes(StrEnum):
    """Of the simulated person."""

    open = "open"
    closed = "closed"


ProtocolArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROTOCOL", help="Name from `neuroloop protocols`, or your own YAML file."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder for everything that is written.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]
Short = Annotated[
    float | None,
    typer.Option(
        "--short",
        metavar="SECONDS",
        help="Test session: shorten every block so that all of it lasts about this long.",
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines instead of the live view.")]
RoomOption = Annotated[
    str,
    typer.Option(
        "--room", metavar="ROOM", help="Your room file, or a name from `neuroloop room list`."
    ),
]
MaybeRoom = Annotated[
    str | None,
    typer.Option(
        "--room", metavar="ROOM", help="Your room file, or a name from `neuroloop room list`."
    ),
]
Recording = Annotated[
    Path, typer.Argument(metavar="RECORDING", help="The .xdf file that a session left behind.")
]
Network = Annotated[
    bool, typer.Option("--network", help="Offer the stream to other computers too.")
]
StreamName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="LSL name of the stream.")
]
SourceId = Annotated[
    str | None, typer.Option("--source-id", metavar="ID", help="LSL source id of the stream.")
]


# ---------------------------------------------------------------- words on the screen


def wrapped(text: str, width: int) -> str:
    """Break long lines between words; what is indented stays indented.

    A line that names a file stays whole, so that the name can be copied.
    """
    lines = []
    for line in text.split("\n"):
        if len(line) <= width or NAMES_A_FILE.match(line):
            lines.append(line)
            continue
        start = HANGING.match(line)
        hang = start.end() if start else 0
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * (hang if hang <= width // 2 else 0),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _print(to: Console, text: str) -> None:
    # Scripts and greps get whole lines; people get lines that end between words.
    shown = wrapped(text, min(WIDEST, to.width)) if to.is_terminal else text
    to.print(shown, soft_wrap=True)


def say(text: str) -> None:
    """Print a sentence for people."""
    _print(console, text)


def _print_json(value: object) -> None:
    from engine.columns import plain

    console.print(json.dumps(plain(value), indent=2, ensure_ascii=False), soft_wrap=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"neuroloop {version('neuroloop')}")
        raise typer.Exit


@app.callback()
def _all(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


# ---------------------------------------------------------------- sessions


@app.command(cls=Plainly, short_help="Try it: a session with a simulated person, and its report.")
def demo(
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="SECONDS", help="About how long the session lasts."),
    ] = 60.0,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="PROTOCOL",
            help="Name from `neuroloop protocols`, or your own YAML file.",
        ),
    ] = "smr_up",
    out: Out = None,
    plain: Plain = False,
) -> None:
    """Try it: a session with a simulated person, and its report.

    Needs nothing but this computer. Without a screen the pictures are saved as files. Recording
    and report go to the folder `sessions` here, or to the one given with --out.
    """
    from engine.demo import run_demo

    with _logged():
        ran = run_demo(protocol, seconds, out, plain, say)
    raise typer.Exit(ran.outcome.exit_code)


@app.command(cls=Plainly, short_help="Run a session with the person in the chair.")
def run(
    protocol: ProtocolArgument,
    room: RoomOption = "sim",
    client: Annotated[
        str,
        typer.Option(
            "--client", metavar="ID", help="Code of the person, as A17: never a name or birth date."
        ),
    ] = "test",
    short: Short = None,
    out: Out = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Show no window; save its pictures as files.")
    ] = False,
    silent: Annotated[bool, typer.Option("--silent", help="Open no sound device.")] = False,
    plain: Plain = False,
    screening_file: Annotated[
        Path | None,
        typer.Option(
            "--screening-file",
            metavar="FILE",
            help="Answers to the screening questions, instead of being asked.",
        ),
    ] = None,
    find: Annotated[
        float,
        typer.Option("--find", metavar="SECONDS", help="How long to look for the amplifier."),
    ] = 5.0,
) -> None:
    """Run a session with the person in the chair.

    Looks for the amplifier, checks the signal, shows the live view with its keys, and leaves a
    recording and a report. Ctrl-C stops at once and keeps what was recorded.
    """
    from engine.run import RunOptions, run_session

    options = RunOptions(
        protocol=protocol,
        room=room,
        client=client,
        short_s=short,
        out=out,
        headless=headless,
        silent=silent,
        plain=plain,
        screening_file=screening_file,
        find_s=find,
    )
    if not 0 < find <= 600:  # nan is neither
        raise InputError(f"Looking for {find:g} s finds nothing.", "Give --find 1 to 600.")
    with _logged():
        ran = run_session(options, say)
    raise typer.Exit(ran.outcome.exit_code)


# ---------------------------------------------------------------- protocols and rooms


@app.command(
    cls=Plainly, short_help="Say in plain sentences what a protocol does, or what is wrong in it."
)
def check(protocol: ProtocolArgument, short: Short = None, json_: Json = False) -> None:
    """Say in plain sentences what a protocol does, or what is wrong in it.

    Every mistake is named with file, line and column, and with what is allowed there.
    """
    from engine.features import FEATURES
    from protocols.describe import as_text, describe
    from protocols.load import load
    from protocols.plan import expand

    with _mistakes_as(json_):
        loaded = load(protocol, FEATURES)
        plan = expand(loaded.protocol, short)
    sections = describe(
        loaded.protocol,
        plan=plan,
        units={k: v.unit for k, v in FEATURES.items()},
        delays_s=_delays_s(loaded.protocol.features),
        windows_s=_windows_s(loaded.protocol.features),
    )
    if json_:
        rows = {s.title: list(s.lines) for s in sections}
        _print_json({"ok": True, "sha256": loaded.sha256, "says": rows})
        return
    say(f"{loaded.path}: no mistakes.\n")
    say(as_text(sections))


def _delays_s(features: Any) -> dict[str, float]:
    """Return how far back each feature speaks of the brain by fixed filters, smoothing left out."""
    from engine.features import nominal_delay_s

    windows_s = _windows_s(features)
    delays: dict[str, float] = {}
    for name, f in features.items():
        if f.band_hz is not None or (not f.of and name in windows_s):
            filtered_s = 0.0 if f.band_hz is None else nominal_delay_s(f.band_hz)
            delays[name] = filtered_s + windows_s.get(name, 0.0) / 2.0
    for _ in range(3):  # parts of parts of parts
        for name, f in features.items():
            if f.of and all(o in delays for o in f.of):
                delays[name] = max(delays[o] for o in f.of) + windows_s.get(name, 0.0) / 2.0
    return delays


def _windows_s(features: Any) -> dict[str, float]:
    """Return how much time a feature takes together, where it does."""
    from engine.coupling import window_s
    from engine.features import BURSTS, COUPLED, DEFAULT_WINDOW_S, LONG_WINDOW_S, SLOW_WINDOW_S

    usual = {"share_above": LONG_WINDOW_S, "slow_potential": SLOW_WINDOW_S}
    usual |= dict.fromkeys(BURSTS, LONG_WINDOW_S) | {"peak_to_peak": DEFAULT_WINDOW_S}
    windows: dict[str, float] = {}
    for name, f in features.items():
        if f.kind in COUPLED and f.band_hz is not None:
            windows[name] = f.window_s or window_s(f.band_hz)
        elif f.kind in usual:
            windows[name] = f.window_s or usual[f.kind]
    return windows


@contextmanager
def _mistakes_as(json_: bool) -> Iterator[None]:
    """Answer a script in JSON also where something is wrong."""
    try:
        yield
    except NeuroloopError as error:
        if not json_:
            raise
        problems = error.problems if isinstance(error, YamlError) else ()
        _print_json({"ok": False, "error": str(error), "problems": problems})
        raise typer.Exit(error.exit_code) from None


@app.command(cls=Plainly, short_help="List the shipped protocols, and how good their evidence is.")
def protocols(json_: Json = False) -> None:
    """List the shipped protocols, and how good their evidence is."""
    from engine.features import FEATURES
    from protocols.load import library, load

    found = [load(name, FEATURES).protocol for name in library()]
    if json_:
        _print_json(
            [
                {
                    "name": p.name,
                    "title": p.title,
                    "grade": p.evidence.grade,
                    "evidence": p.evidence.summary.strip(),
                }
                for p in found
            ]
        )
        return
    for p in found:
        say(f"{p.name:14s}  {p.title}")
        say(f"{'':14s}  Evidence {p.evidence.grade}: {p.evidence.summary.strip()}\n")


@app.command(
    cls=Plainly, short_help="List what can be measured: unit, formula and keys of each feature."
)
def features(json_: Json = False) -> None:
    """List what can be measured: unit, formula, delay, source and keys of each kind of feature."""
    from engine.features import FEATURES

    if json_:
        _print_json(
            [
                {
                    "kind": k.name,
                    "group": _group_of(k),
                    "unit": k.unit,
                    "doc": k.doc,
                    "formula": k.formula,
                    "delay": k.delay,
                    "source": k.source,
                    "needs": sorted(k.needs),
                    "may": sorted(k.may),
                    "parts": sorted(k.parts),
                    "n_parts": k.n_parts,
                    "sites": k.sites,
                }
                for k in FEATURES.values()
            ]
        )
        return
    groups: dict[str, list[Any]] = {}
    for k in FEATURES.values():
        groups.setdefault(_group_of(k), []).append(k)
    for title, kinds in groups.items():
        say(f"{title}\n")
        for k in kinds:
            say(f"{k.name:20s}  {k.doc}")
            for line in _feature_lines(k):
                say(f"{'':20s}  {line}")
            say("")


def _group_of(kind: Any) -> str:
    """Return the heading under which a kind of feature is listed."""
    if kind.sites == 2:
        return "Between two sites"
    if kind.n_parts == 2:
        return "Two powers compared"
    if kind.n_parts == 1:
        return "Made of another feature"
    return "Of a band" if "band" in kind.needs else "Of the voltage itself"


def _feature_lines(kind: Any) -> Iterator[str]:
    units = {"uV2": "µV²", "uV": "µV", "1/min": "per minute", "1": "no unit"}
    yield f"Unit: {units.get(kind.unit, kind.unit)}"
    yield f"Formula: {kind.formula}"
    yield f"Delay: {kind.delay}"
    if kind.source:
        yield f"Source: {kind.source}"
    keys = ", ".join([*sorted(kind.needs), *(f"{m} (optional)" for m in sorted(kind.may))])
    yield f"Keys: {keys}"
    if kind.n_parts:
        number = "two features" if kind.n_parts == 2 else "one feature"
        yield f"Made of: {number} of kind {' or '.join(sorted(kind.parts))}"


@room_app.command("new", cls=Plainly, short_help="Write a room file, by asking or from options.")
def room_new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file to write.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the room is called.")
    ] = None,
    use: Annotated[
        Use | None, typer.Option("--use", help="A clinical room asks the screening questions.")
    ] = None,
    mains: Annotated[
        int | None,
        typer.Option("--mains", metavar="50|60", help="Frequency of the mains where you are, Hz."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="NAME", help="LSL name of the amplifier's stream."),
    ] = None,
    source_id: Annotated[
        str | None,
        typer.Option("--source-id", metavar="ID", help="LSL source id: the safest choice."),
    ] = None,
    unit: Annotated[
        Unit | None, typer.Option("--unit", help="When the stream does not say it.")
    ] = None,
    screen: Annotated[bool, typer.Option(help="Whether sessions need a visible screen.")] = True,
    sound: Annotated[bool, typer.Option(help="Whether sessions need sound.")] = True,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Only streams of this computer.")
    ] = False,
    record: Annotated[
        str | None, typer.Option("--record", metavar="DIR", help="Folder for recordings.")
    ] = None,
) -> None:
    """Write a room file, by asking or from options.

    In a terminal it asks for what the options leave open. It never overwrites a file.
    """
    from engine.room import new_room

    _refuse_existing(file)
    if sys.stdin is not None and sys.stdin.isatty():
        name = name or typer.prompt("Name of the room", file.stem)
        use = use or Use(_asked("What is it used for", [u.value for u in Use]))
        mains = mains or int(_asked("Mains where you are, in Hz", ["50", "60"]))
        if stream is None and source_id is None:
            said = typer.prompt(
                "LSL name of the amplifier's stream (`neuroloop streams` shows it; "
                "Enter for any stream of type EEG)",
                "",
                show_default=False,
            )
            stream = said.strip() or None
    missing = [o for o, value in (("--use", use), ("--mains", mains)) if value is None]
    if use is None or mains is None:
        raise InputError(
            f"Nobody is here to be asked, and {' and '.join(missing)} cannot be guessed.",
            "Give them, as in: neuroloop room new FILE --use research --mains 50",
        )
    text = new_room(
        name=name or file.stem,
        use=use.value,
        mains_hz=mains,
        stream_name=stream,
        source_id=source_id,
        unit=None if unit is None else unit.value,
        screen_required=screen,
        full_screen=screen,
        sound_required=sound,
        loopback_only=loopback,
        folder=record,
    )
    try:
        with file.open("x", encoding="utf-8", newline="\n") as new:
            new.write(text)
    except FileExistsError:
        _refuse_existing(file)
        raise
    except OSError as error:
        raise FileError(
            f"{file} cannot be written: {error.strerror or error}.", "Choose another place."
        ) from error
    say(f"Written: {file}")
    say(f"Next:    neuroloop doctor --room {file}")


def _refuse_existing(file: Path) -> None:
    if file.exists():
        raise FileError(f"{file} exists already.", "Choose another name; nothing was overwritten.")


def _asked(question: str, allowed: Sequence[str]) -> str:
    while True:
        said = str(typer.prompt(f"{question} ({', '.join(allowed)})")).strip().lower()
        if said in allowed:
            return said
        say(f"Please answer {' or '.join(allowed)}.")


@room_app.command(
    "check", cls=Plainly, short_help="Say what a room file means, or what is wrong in it."
)
def room_check(
    room: Annotated[
        str,
        typer.Argument(
            metavar="ROOM", help="Your room file, or a name from `neuroloop room list`."
        ),
    ],
    json_: Json = False,
) -> None:
    """Say what a room file means, or what is wrong in it, with line and column."""
    from engine.room import load_room

    with _mistakes_as(json_):
        found = load_room(room)
    if json_:
        _print_json({"ok": True, "room": found.model_dump(mode="json")})
        return
    say(f"{room}: no mistakes.\n")
    for line in _described(found):
        say(line)


def _described(room: Room) -> Iterator[str]:
    stream, screen, sound = room.stream, room.person_screen, room.sound
    wanted = [
        f"{key} {value!r}"
        for key, value in (
            ("name", stream.name),
            ("type", stream.stype),
            ("source id", stream.source_id),
        )
        if value is not None
    ]
    yield f"Room:       {room.name}, {room.use} use, mains {room.mains_hz} Hz"
    yield f"Stream:     {', '.join(wanted) or 'any'}"
    where = "this computer only" if room.lsl.loopback_only else "the network"
    yield f"LSL:        {where}, session id {room.lsl.session_id!r}"
    size = f", {screen.size[0]} x {screen.size[1]}" if screen.size else ""
    full = ", full screen" if screen.full_screen else ""
    needed = {True: "required", False: "not required"}
    yield f"Screen:     number {screen.display}{full}{size}, {needed[screen.required]}"
    yield f"Sound:      {needed[sound.required]}, at most {100 * sound.cap:g} % of full scale"
    folder = room.record.folder or "the user's data folder"
    yield f"Recordings: {folder}; {room.record.keep_free_gb:g} GB of the disk stay free"
    if room.markers:
        yield f"Markers:    {', '.join(room.markers)}"


@room_app.command("list", cls=Plainly, short_help="List the shipped rooms.")
def room_list(json_: Json = False) -> None:
    """List the shipped rooms."""
    from engine.room import load_room, rooms

    found = [(name, load_room(name)) for name in rooms()]
    if json_:
        _print_json([{"room": name, "name": r.name, "use": r.use} for name, r in found])
        return
    for name, room in found:
        say(f"{name:18s}  {room.name} ({room.use})")


# ---------------------------------------------------------------- the technician's bench


@app.command(
    cls=Plainly, short_help="Offer a simulated person as an LSL stream, with faults on demand."
)
def simulate(
    rate: Annotated[
        float,
        typer.Option("--rate", metavar="HZ", help="Samples per second, 128 to 2048."),
    ] = 250.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="NUMBER", help="The same seed is the same person.")
    ] = 1,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="SECONDS", help="How long; without it, until Ctrl-C."),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option("--faults", metavar="FILE", help="YAML script of what goes wrong when."),
    ] = None,
    name: StreamName = "neuroloop-sim",
    source_id: SourceId = "neuroloop-sim",
    eyes: Annotated[Eyes, typer.Option("--eyes", help="Of the simulated person.")] = Eyes.open,
    blinks: Annotated[bool, typer.Option(help="Whether the person blinks.")] = True,
    jaw: Annotated[bool, typer.Option(help="Whether the person clenches the jaw.")] = True,
    mains: Annotated[
        float, typer.Option("--mains", metavar="HZ", help="Frequency of the mains hum.")
    ] = 50.0,
    network: Network = False,
) -> None:
    """Offer a simulated person as an LSL stream, with faults on demand.

    Ends with Ctrl-C. The room `sim` is made for it.
    """
    from engine import simulate as bench
    from engine.faultscript import load_faults
    from engine.person import SITES, Person

    options = bench.SimulatorOptions(
        rate_hz=rate,
        seed=seed,
        seconds=seconds,
        faults=faults,
        name=name or "neuroloop-sim",
        source_id=source_id or "neuroloop-sim",
        eyes="closed" if eyes is Eyes.closed else "open",
        blinks=blinks,
        jaw=jaw,
        mains_hz=mains,
        network=bench.Network(loopback_only=not network),
    )
    if faults is not None:
        load_faults(faults, SITES)  # a mistake is told before anything else
    Person(rate)  # a rate out of range, too
    say(f"Simulated person {options.name!r} at {rate:g} Hz. Ctrl-C ends it.")
    say("In another terminal: neuroloop run smr_up --room sim --short 60")
    raise typer.Exit(bench.main(options.arguments()))


@app.command(cls=Plainly, short_help="Play a recording as an LSL stream in real time.")
def play(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="EDF, BDF, FIF, SET, VHDR, XDF, OpenBCI text or Muse CSV."
        ),
    ],
    once: Annotated[
        bool, typer.Option("--once/--loop", help="End after the last sample, or begin again.")
    ] = True,
    name: StreamName = None,
    source_id: SourceId = None,
    wait: Annotated[
        bool, typer.Option("--wait/--now", help="Begin when somebody receives it, or at once.")
    ] = False,
    network: Network = False,
) -> None:
    """Play a recording as an LSL stream in real time.

    A loop's seam is a gap of a second and a marker, never hidden. Ends with Ctrl-C.
    """
    from engine import play as player
    from engine.simulate import Network

    options = player.PlayOptions(
        file,
        loop=not once,
        name=name,
        source_id=source_id,
        wait=wait,
        network=Network(loopback_only=not network),
    )
    say(f"Reading {file.name}, then playing it. Ctrl-C ends it.")
    raise typer.Exit(player.main(options.arguments()))


@app.command(
    cls=Plainly, short_help="List the streams on the network, and what is wrong with each."
)
def streams(
    room: MaybeRoom = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="How long to listen.")
    ] = 2.0,
    json_: Json = False,
) -> None:
    """List the streams on the network, and what is wrong with each.

    With --room it says as well which of them the room would use. Exit code 3 when there is none.
    """
    from engine.agree import found, shown
    from engine.lsl import configure_lsl
    from engine.resolve import columns_of, look
    from engine.room import load_room

    place = load_room(room) if room else None
    if place is not None:
        configure_lsl(place.lsl)
    if not LEAST_WAIT_S <= wait <= MOST_WAIT_S:
        raise InputError(
            f"Listening for {wait:g} s is not possible.",
            f"Choose from {LEAST_WAIT_S:g} to {MOST_WAIT_S:g} s.",
        )
    rows = found([columns_of(s) for s in look(wait)])
    verdicts = ["" if place is None else _verdict(r.stream, place) for r in rows]
    if json_:
        _print_json(
            [
                {
                    "stream": str(r.stream),
                    "name": r.stream.name,
                    "type": r.stream.stype,
                    "source_id": r.stream.source_id,
                    "host": r.stream.host,
                    "rate_hz": r.stream.rate_hz,
                    "channels": [c.label for c in r.stream.columns or ()],
                    "problems": list(r.problems),
                    **({} if place is None else {"room": verdict}),
                }
                for r, verdict in zip(rows, verdicts, strict=True)
            ]
        )
    elif not rows:
        say("No LSL stream was found.")
        say("Is the amplifier's software running with LSL on? Are both in the same network?")
        if room is None:
            say("Streams of `simulate` and `play` stay on this computer: neuroloop streams "
                "--room sim")  # fmt: skip
    else:
        for row, verdict in zip(rows, verdicts, strict=True):
            say(str(row.stream))
            names = [shown(c.label) for c in row.stream.columns or ()]
            if names:
                say(f"    channels: {', '.join(names)}")
            for problem in row.problems or ("Nothing is wrong with it.",):
                say(f"    - {problem}")
            if verdict:
                say(f"    - {verdict}")
    if not rows:
        raise typer.Exit(3)


def _verdict(stream: Seen, room: Room) -> str:
    """Say whether the room would use a stream."""
    from engine.agree import describe
    from engine.errors import StreamError
    from engine.resolve import misfits

    other = misfits(stream, room.stream)
    if other:
        return f"Room {room.name!r} wants another {' and '.join(other)}."
    try:
        describe(stream, room.stream)
    except StreamError as error:
        return f"Room {room.name!r} wants it, but: {error.what} {error.fix}"
    return f"Room {room.name!r} would use it."


@app.command(cls=Plainly, short_help="Is this computer fit for a session?")
def doctor(room: MaybeRoom = None, json_: Json = False) -> None:
    """Is this computer fit for a session?

    Asks one question after the other and says what to do where something is not right. Changes
    nothing. Exit code 1 when a session would not start.
    """
    from engine.doctor import as_json, diagnose, worst
    from engine.room import load_room

    found = diagnose(load_room(room) if room else None, None if json_ else _finding)
    if json_:
        console.print(as_json(found), soft_wrap=True)
    else:
        verdict = {
            "ok": "This computer is fit for a session.",
            "warn": "Fit, with the reservations above.",
            "fail": "Not fit yet: mend what is marked FAIL.",
        }
        say("\n" + verdict[worst(found)])
    raise typer.Exit(1 if worst(found) == "fail" else 0)


def _finding(f: Any) -> None:
    word = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}[f.light]
    say(f"{word}  {f.name}: {f.sentence}")
    if f.fix and f.light != "ok":
        say(f"      -> {f.fix}")


# ---------------------------------------------------------------- recordings


@app.command(
    cls=Plainly, short_help="Run recordings or EEG files through a protocol, as fast as possible."
)
def replay(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A recording, an EEG file, or a folder of them.")
    ],
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="PROTOCOL",
            help="What would this one have done? EEG files need it; a recording knows its own.",
        ),
    ] = None,
    short: Short = None,
    mains: Annotated[
        float | None,
        typer.Option(
            "--mains",
            metavar="HZ",
            help="Mains where an EEG file was made; without it no mains are removed.",
        ),
    ] = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Run recordings or EEG files through a protocol, as fast as possible.

    A recording without --protocol is decided again and compared with what was decided live; exit
    code 1 when they differ. Features, decisions and events are written as tables beside the file,
    or to --out. In a folder, a file that fails does not stop the others; then the exit code is 2.
    """
    from engine.batch import replay_all

    with _bar(not json_) as progress, _mistakes_as(json_):
        results = replay_all(
            path,
            protocol,
            short,
            mains,
            out,
            say=(lambda _: None) if json_ else say,
            progress=progress,
        )
    if json_:
        _print_json(results)
    if any(r.get("identical_to_recording") is False for r in results):
        raise typer.Exit(1)
    raise typer.Exit(2 if any("error" in r for r in results) else 0)


@contextmanager
def _bar(wanted: bool) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar below what is said, where there is a terminal to show it on."""
    if not wanted or not console.is_terminal:
        yield lambda _name, _share: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar: Progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=1.0)

        def show(name: str, share: float) -> None:
            if share == 0.0:
                bar.reset(task, description=name)
            bar.update(task, completed=share)

        yield show


@app.command(cls=Plainly, short_help="Write a repaired copy of a damaged recording.")
def recover(path: Recording) -> None:
    """Write a repaired copy of a damaged recording, beside it.

    The copy holds everything up to the last whole piece. The original is not touched.
    """
    from engine.recording import read
    from engine.recording import recover as repair

    before = read(path)
    if before.damage is None:
        say(f"{path} is not damaged.")
        return
    say(f"Damage: {before.damage}.")
    say(f"Repaired copy: {repair(path)}")


@app.command(cls=Plainly, short_help="Write the report of a session again.")
def report(
    path: Recording,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page to write; else beside the recording."),
    ] = None,
    json_: Json = False,
) -> None:
    """Write the report of a session again, from its recording alone: one HTML page."""
    from engine.recording import read

    if json_:
        from engine.report import summary

        _print_json(summary(read(path)))
        return
    from engine.batch import is_recording

    if path.is_file() and not is_recording(path):
        raise FileError(
            f"{path} is no recording of a Neuroloop session.",
            "Reports are made from the .xdf file that a session left behind.",
        )
    from engine.report import write_report  # matplotlib: seconds

    say(f"Report: {write_report(path, out)}")


@app.command(cls=Plainly, short_help="Export a session as a BIDS data set.")
def export(
    path: Recording,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The data set; made when missing.")
    ],
    subject: Annotated[
        str | None,
        typer.Option(
            "--subject",
            metavar="LABEL",
            help="Number or code of the person in this data set. Not the client id.",
        ),
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="LABEL", help="As in 01, 02 ...")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="LABEL", help="The protocol's name when left out."),
    ] = None,
    run: Annotated[
        int | None, typer.Option("--run", metavar="NUMBER", help="As in 1, 2 ...")
    ] = None,
    edf: Annotated[
        bool, typer.Option("--edf", help="EDF instead of BrainVision, where 16 bits are enough.")
    ] = False,
    keep_dates: Annotated[
        bool, typer.Option("--keep-dates", help="Keep the date and time of the session.")
    ] = False,
    keep_texts: Annotated[
        bool, typer.Option("--keep-texts", help="Keep the operator's notes and reasons.")
    ] = False,
) -> None:
    """Export a session as a BIDS data set: raw EEG, events, features, the recording itself.

    By default nothing in it tells who, when or where. Several sessions go into one data set, each
    with its own --subject, --session or --run.
    """
    if run is not None and run < 1:
        raise InputError(f"{run} is no number of a run.", "Count from 1.")
    if subject is None:
        subject = _pretended(path)
    from engine.export import export_bids

    made = export_bids(
        path,
        out,
        subject=subject,
        session=session,
        task=task,
        run=run,
        file_format="EDF" if edf else "BrainVision",
        keep_dates=keep_dates,
        keep_texts=keep_texts,
    )
    say(f"BIDS folder: {out}")
    say(f"Written:     {made}")


def _pretended(path: Path) -> str:
    """Return the label of a person who is none: only they need no label from the operator."""
    from engine.recording import read

    header = read(path).header
    if header.get("use") != "test":
        raise InputError(
            "An export of a person's data needs a label for the person: --subject LABEL.",
            "Use a number or code that only you can connect with the client id, as in "
            "--subject 01.",
        )
    return "".join(c for c in str(header.get("client", "")) if c.isalnum()) or "test"


# ---------------------------------------------------------------- entry


@contextmanager
def _logged() -> Iterator[None]:
    """Log to a file whose place is printed; nothing about a person goes there."""
    from engine.run import log_path

    with _logging_to(log_path()) as path:
        try:
            yield
        except InputError:
            raise  # nothing has begun, so the log has nothing to tell
        except NeuroloopError:
            if path is not None:
                say(f"Log:       {path}")
            raise
        if path is not None:
            say(f"Log:       {path}")


@contextmanager
def _logging_to(path: Path) -> Iterator[Path | None]:
    """Log to a file; yields None where there can be none, which is no reason to fail."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=1_000_000, backupCount=3, encoding="utf-8"
        )
    except OSError as error:
        say(f"Note: there is no log file ({path}: {error.strerror or error}).")
        yield None
        return
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield path
    finally:
        root.removeHandler(handler)
        handler.close()


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code. A person's mistake never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=arguments, prog_name="neuroloop", standalone_mode=False)
    except NeuroloopError as error:
        _print(complaints, str(error))
        return error.exit_code
    except typer.Exit as done:
        return int(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _print(complaints, "Interrupted.")
        return 130
    except Exception as error:
        return _misused(error) or _fault(error)
    return int(code) if isinstance(code, int) else 0


def _misused(error: Exception) -> int:
    """Show a mistake in the arguments; 0 when the error is something else."""
    said = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    if said is None or not hasattr(error, "exit_code"):
        return 0
    text = str(said())
    if text.startswith("Usage:"):  # no arguments at all: it is the help itself
        complaints.print(text, soft_wrap=True)
        return 2
    how = f"{context.command_path} --help" if context is not None else "neuroloop --help"
    _print(complaints, f"{text.rstrip()}\n  -> See: {how}")
    return 2


def _fault(error: Exception) -> int:
    """Say that Neuroloop itself is at fault; the traceback goes to the log."""
    from engine.run import log_path

    with _logging_to(log_path()) as path:
        log.error("fault", exc_info=error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    where = "" if path is None else f"Please report it, with the end of the log file {path}"
    _print(complaints, f"Neuroloop made a mistake, not you ({what}).\n  -> {where}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
