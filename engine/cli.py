"""The command line, the composition root: each command imports the heavy parts it needs."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.errors import InputError, NeuroloopError

__all__ = ["app", "main"]

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
room_app = typer.Typer(no_args_is_help=True, help="Write or check the file that describes a room.")
app.add_typer(room_app, name="room")

console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
log = logging.getLogger("neuroloop")

Out = Annotated[Path | None, typer.Option("--out", help="Folder for what is written.")]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]
Short = Annotated[
    float | None,
    typer.Option("--short", min=1.0, help="Test session: scale everything to about so many s."),
]
RoomName = Annotated[
    str, typer.Option("--room", help="Room file, or the name of a shipped one (sim).")
]


def say(text: str) -> None:
    """Print a sentence for people."""
    console.print(text)


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


@app.command()
def demo(
    seconds: Annotated[
        float, typer.Option("--seconds", min=35.0, help="About how long the session lasts.")
    ] = 60.0,
    protocol: Annotated[str, typer.Option("--protocol", help="Which protocol.")] = "smr_up",
    out: Out = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live view.")] = False,
) -> None:
    """A whole session with a simulated person: stream, feedback, recording, report."""
    from engine.demo import run_demo

    with _logged() as path:
        ran = run_demo(protocol, seconds, out, plain, say)
        say(f"Log:       {path}")
    raise typer.Exit(ran.outcome.exit_code)


@app.command()
def run(
    protocol: Annotated[str, typer.Argument(help="Library name (smr_up) or a YAML file.")],
    room: RoomName = "sim",
    client: Annotated[str, typer.Option("--client", help="Opaque id, never a name.")] = "test",
    short: Short = None,
    out: Out = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="No window: save frames instead.")
    ] = False,
    silent: Annotated[bool, typer.Option("--silent", help="Open no sound device.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the live view.")] = False,
    screening_file: Annotated[
        Path | None, typer.Option("--screening-file", help="Answers to the screening questions.")
    ] = None,
    find: Annotated[
        float, typer.Option("--find", min=1.0, help="Seconds to look for the stream.")
    ] = 5.0,
) -> None:
    """Run a session with the person in the chair."""
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
    with _logged() as path:
        ran = run_session(options, say)
        say(f"Log:       {path}")
    raise typer.Exit(ran.outcome.exit_code)


# ---------------------------------------------------------------- protocols and rooms


@app.command()
def check(
    protocol: Annotated[str, typer.Argument(help="Library name or a YAML file.")],
    short: Short = None,
    json_: Json = False,
) -> None:
    """Check a protocol and say in plain sentences what it does."""
    from engine.features import FEATURES, nominal_delay_s
    from protocols.describe import as_text, describe
    from protocols.load import load
    from protocols.plan import expand

    loaded = load(protocol, FEATURES)
    features = loaded.protocol.features
    delays: dict[str, float] = {}
    for name, f in features.items():
        if f.band_hz is not None:
            delays[name] = nominal_delay_s(f.band_hz)
        elif f.kind == "peak_to_peak":
            delays[name] = (f.window_s or 1.0) / 2.0
    for name, f in features.items():
        if f.of:
            delays[name] = max(delays[o] for o in f.of)
    sections = describe(
        loaded.protocol,
        plan=expand(loaded.protocol, short),
        units={k: v.unit for k, v in FEATURES.items()},
        delays_s=delays,
    )
    if json_:
        rows = {s.title: list(s.lines) for s in sections}
        _print_json({"ok": True, "sha256": loaded.sha256, "says": rows})
        return
    say(f"{loaded.path}: no mistakes.\n")
    say(as_text(sections))


@app.command()
def protocols(json_: Json = False) -> None:
    """List the shipped protocols with their evidence."""
    from engine.features import FEATURES
    from protocols.load import library, load

    found = [load(name, FEATURES).protocol for name in library()]
    if json_:
        _print_json([{"name": p.name, "title": p.title, "grade": p.evidence.grade} for p in found])
        return
    for p in found:
        say(f"{p.name:14s} {p.title}")
        say(f"{'':14s} evidence {p.evidence.grade}: {p.evidence.summary.strip()}\n")


@app.command()
def features(json_: Json = False) -> None:
    """List the kinds of features, with unit and formula."""
    from engine.features import FEATURES

    if json_:
        _print_json(
            [
                {"kind": k.name, "unit": k.unit, "doc": k.doc, "formula": k.formula}
                for k in FEATURES.values()
            ]
        )
        return
    for k in FEATURES.values():
        unit = {"uV2": "µV²", "uV": "µV", "1": "no unit"}[k.unit]
        say(f"{k.name:15s} {k.doc}")
        say(f"{'':15s} {k.formula}   [{unit}]")
        keys = ", ".join([*sorted(k.needs), *(f"{m} (optional)" for m in sorted(k.may))])
        say(f"{'':15s} keys: {keys}\n")


@room_app.command("new")
def room_new(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    name: Annotated[str, typer.Option("--name", help="What the room is called.")] = "",
    use: Annotated[str, typer.Option("--use", help="clinical, research or test")] = "",
    mains: Annotated[int, typer.Option("--mains", help="50 or 60")] = 0,
    stream: Annotated[str | None, typer.Option("--stream", help="LSL name.")] = None,
    source_id: Annotated[str | None, typer.Option("--source-id", help="LSL source id.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", help="uV, mV or V when undeclared.")] = None,
    screen: Annotated[bool, typer.Option(help="Whether a screen is required.")] = True,
    sound: Annotated[bool, typer.Option(help="Whether sound is required.")] = True,
    loopback: Annotated[bool, typer.Option(help="Never leave this computer.")] = False,
    record: Annotated[str | None, typer.Option("--record", help="Record folder.")] = None,
) -> None:
    """Write a room file, from options or by asking for what is missing."""
    from engine.room import new_room

    ask = sys.stdin is not None and sys.stdin.isatty()
    name = name or (typer.prompt("Name of the room") if ask else file.stem)
    use = use or (typer.prompt("Use (clinical, research, test)", "research") if ask else "research")
    mains = mains or (typer.prompt("Mains (50 or 60)", 50, type=int) if ask else 50)
    if stream is None and source_id is None and ask:
        stream = typer.prompt("LSL name of the amplifier (see `neuroloop streams`)")
    text = new_room(
        name=name,
        use=use,  # type: ignore[arg-type]
        mains_hz=mains,
        stream_name=stream,
        source_id=source_id,
        unit=unit,
        screen_required=screen,
        full_screen=screen,
        sound_required=sound,
        loopback_only=loopback,
        folder=record,
    )
    if file.exists():
        raise InputError(f"{file} exists", "choose another name; nothing was overwritten")
    file.write_text(text, "utf-8")
    say(f"Written: {file}\nNext: neuroloop doctor --room {file}")


@room_app.command("check")
def room_check(
    room: Annotated[str, typer.Argument(help="Room file or shipped name.")], json_: Json = False
) -> None:
    """Check a room file."""
    from engine.room import load_room

    found = load_room(room)
    if json_:
        _print_json(found.model_dump(mode="json"))
        return
    stream = found.stream.name or found.stream.source_id or f"type {found.stream.stype}"
    say(f"{room}: no mistakes. {found.name}, use {found.use}, stream {stream}, "
        f"mains {found.mains_hz} Hz.")  # fmt: skip


@room_app.command("list")
def room_list() -> None:
    """List the shipped rooms."""
    from engine.room import load_room, rooms

    for name in rooms():
        found = load_room(name)
        say(f"{name:18s} {found.name} ({found.use})")


# ---------------------------------------------------------------- the technician's bench


@app.command()
def simulate(
    rate: Annotated[float, typer.Option("--rate", min=128, max=2048, help="Hz")] = 250.0,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same person.")] = 1,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="Length; endless when left out.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option("--faults", exists=True, help="YAML script of faults.")
    ] = None,
    name: Annotated[str, typer.Option("--name")] = "neuroloop-sim",
    source_id: Annotated[str, typer.Option("--source-id")] = "neuroloop-sim",
    eyes: Annotated[str, typer.Option("--eyes", help="open or closed")] = "open",
    blinks: Annotated[bool, typer.Option(help="Whether the person blinks.")] = True,
    jaw: Annotated[bool, typer.Option(help="Whether the person clenches the jaw.")] = True,
    mains: Annotated[float, typer.Option("--mains", help="Hz")] = 50.0,
    network: Annotated[
        bool, typer.Option("--network", help="Offer the stream to other computers too.")
    ] = False,
) -> None:
    """A synthetic person as an LSL stream, with faults on demand. Ends with Ctrl-C."""
    from engine import simulate as bench

    if eyes not in ("open", "closed"):
        raise InputError(f"eyes are open or closed, not {eyes!r}")
    options = bench.SimulatorOptions(
        rate_hz=rate,
        seed=seed,
        seconds=seconds,
        faults=faults,
        name=name,
        source_id=source_id,
        eyes=eyes,  # type: ignore[arg-type]
        blinks=blinks,
        jaw=jaw,
        mains_hz=mains,
        network=bench.Network(loopback_only=not network),
    )
    say(f"Simulated person {name!r} at {rate:g} Hz. Ctrl-C ends it.")
    say("In another terminal: neuroloop run smr_up --room sim --short 60")
    raise typer.Exit(bench.main(options.arguments()))


@app.command()
def play(
    file: Annotated[Path, typer.Argument(help="EDF, BDF, FIF, SET, VHDR, XDF, OpenBCI, Muse.")],
    once: Annotated[
        bool, typer.Option("--once/--loop", help="Stop at the end, or begin again.")
    ] = True,
    name: Annotated[str | None, typer.Option("--name", help="LSL name.")] = None,
    source_id: Annotated[str | None, typer.Option("--source-id")] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--now", help="Begin when somebody receives the stream.")
    ] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Offer the stream to other computers too.")
    ] = False,
) -> None:
    """Play a recording as an LSL stream in real time."""
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
    raise typer.Exit(player.main(options.arguments()))


@app.command()
def streams(
    room: RoomName = "",
    wait: Annotated[float, typer.Option("--wait", min=0.5, help="Seconds to listen.")] = 2.0,
    json_: Json = False,
) -> None:
    """List the LSL streams on the network, and what is wrong with each."""
    from engine.agree import found, shown
    from engine.lsl import configure_lsl
    from engine.resolve import columns_of, look
    from engine.room import load_room

    if room:
        configure_lsl(load_room(room).lsl)
    seen = [columns_of(s) for s in look(wait)]
    rows = found(seen)
    if json_:
        _print_json([{"stream": str(r.stream), "problems": list(r.problems)} for r in rows])
        return
    if not rows:
        say("No LSL stream was found.")
        say("Is the amplifier's software running with LSL on? Are both in the same network?")
        say("Simulated streams stay on this computer: neuroloop streams --room sim")
        raise typer.Exit(3)
    for row in rows:
        say(str(row.stream))
        names = [shown(c.label) for c in row.stream.columns or ()]
        if names:
            say(f"    channels: {', '.join(names)}")
        for problem in row.problems or ("nothing is wrong with it",):
            say(f"    - {problem}")


@app.command()
def doctor(
    room: RoomName = "",
    json_: Json = False,
) -> None:
    """Is this computer fit for a session?"""
    from engine.doctor import as_json, diagnose, worst
    from engine.room import load_room

    found = diagnose(load_room(room) if room else None, None if json_ else lambda f: _finding(f))
    if json_:
        sys.stdout.write(as_json(found) + "\n")
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


@app.command()
def replay(
    path: Annotated[Path, typer.Argument(exists=True, help="A recording, an EEG file, a folder.")],
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Another protocol: what would it have done?")
    ] = None,
    short: Short = None,
    mains: Annotated[
        float | None, typer.Option("--mains", help="Hz, for files; none is notched when left out.")
    ] = None,
    out: Out = None,
    json_: Json = False,
) -> None:
    """Run a recording, any EEG file, or a folder of them through a protocol again."""
    from engine.batch import replay_all

    results = replay_all(path, protocol, short, mains, out, None if json_ else console)
    if json_:
        _print_json(results)
    raise typer.Exit(_replay_code(results))


def _replay_code(results: list[dict[str, Any]]) -> int:
    if any(r.get("identical_to_recording") is False for r in results):
        return 1
    failed = [r for r in results if "error" in r]
    return 2 if failed and len(failed) == len(results) else 0


@app.command()
def recover(
    path: Annotated[Path, typer.Argument(exists=True, help="A damaged recording.")],
) -> None:
    """Write a repaired copy of a damaged recording: everything up to its last whole chunk."""
    from engine.recording import read
    from engine.recording import recover as repair

    before = read(path)
    if before.damage is None:
        say(f"{path} is not damaged.")
        return
    say(before.damage)
    say(f"Repaired copy: {repair(path)}")


@app.command()
def report(
    path: Annotated[Path, typer.Argument(exists=True, help="A recording.")],
    out: Annotated[Path | None, typer.Option("--out", help="HTML file to write.")] = None,
    json_: Json = False,
) -> None:
    """Write the report of a session from its recording alone."""
    from engine.report import summary, write_report

    if json_:
        from engine.recording import read

        _print_json(summary(read(path)))
        return
    say(f"Report: {write_report(path, out)}")


@app.command()
def export(
    path: Annotated[Path, typer.Argument(exists=True, help="A recording.")],
    out: Annotated[Path, typer.Option("--out", help="BIDS folder, made when missing.")],
    subject: Annotated[
        str | None, typer.Option("--subject", help="BIDS label; the client id when left out.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="BIDS label.")] = None,
    edf: Annotated[bool, typer.Option("--edf", help="EDF instead of BrainVision.")] = False,
) -> None:
    """Export a session to a BIDS folder (raw data, events, features, sourcedata)."""
    from engine.export import export_bids

    made = export_bids(
        path,
        out,
        subject=subject or _bids_label(path),
        session=session,
        file_format="EDF" if edf else "BrainVision",
    )
    say(f"BIDS folder: {out}\nWritten:     {made}")


def _bids_label(path: Path) -> str:
    """Return the client id of a recording as a BIDS label: letters and digits only."""
    from engine.recording import read

    return "".join(c for c in str(read(path).header.get("client", "")) if c.isalnum()) or "unknown"


# ---------------------------------------------------------------- entry


def _print_json(value: object) -> None:
    from engine.columns import plain

    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _logged() -> Iterator[Path]:
    """Log to a file whose place is printed; nothing about a person goes there."""
    from engine.run import log_path

    path = log_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=1_000_000, backupCount=3)
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
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=arguments, prog_name="neuroloop", standalone_mode=False)
    except NeuroloopError as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(str(error))
        return error.exit_code
    except typer.Exit as done:
        return int(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        shown = _usage(error)
        if shown is None:
            raise
        return shown
    return int(code) if isinstance(code, int) else 0


def _usage(error: Exception) -> int | None:
    """Show a mistake in the arguments; None when the error is something else."""
    show = getattr(error, "show", None)
    if show is None or not hasattr(error, "exit_code"):
        return None
    show()
    return 2


if __name__ == "__main__":
    sys.exit(main())
