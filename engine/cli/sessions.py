"""Commands that run a session: demo and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.words import Out, Plain, Plainly, ProtocolArgument, RoomOption, Short, logged, say
from engine.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the commands that run a session."""
    app.command(
        cls=Plainly, short_help="Try it: a session with a simulated person, and its report."
    )(demo)
    app.command(cls=Plainly, short_help="Run a session with the person in the chair.")(run)


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

    with logged():
        ran = run_demo(protocol, seconds, out, plain, say)
    raise typer.Exit(ran.outcome.exit_code)


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
    with logged():
        ran = run_session(options, say)
    raise typer.Exit(ran.outcome.exit_code)
