"""Commands that run a session: demo and run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.words import Out, Plain, Plainly, RoomOption, Short, logged, say
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
    protocol: Annotated[
        str | None,
        typer.Argument(
            metavar="PROTOCOL",
            help="Name from `neuroloop protocols`, or your own YAML file; a study has its own.",
        ),
    ] = None,
    room: RoomOption = "sim",
    client: Annotated[
        str | None,
        typer.Option(
            "--client", metavar="ID", help="Code of the person, as A17: never a name or birth date."
        ),
    ] = None,
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
    clinician_present: Annotated[
        bool,
        typer.Option(
            "--clinician-present", help="A clinician is in the room, and stays to the end."
        ),
    ] = False,
    age: Annotated[
        float | None,
        typer.Option("--age", metavar="YEARS", help="Of the person, where norms are used."),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            metavar="KIND",
            help="Present something else, openly: yoked, replay_own, replay_other, inverse, "
            "random_band, other_site, noise or no_feedback. Not in clinical rooms.",
        ),
    ] = None,
    donors: Annotated[
        Path | None,
        typer.Option("--donors", metavar="DIR", help="Donor files for yoked and replay_other."),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--control-site", metavar="SITE", help="For other_site; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="NUMBER", help="Of everything that is drawn."),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="FILE", help="Run a participant's next study session."),
    ] = None,
    participant: Annotated[
        str | None,
        typer.Option("--participant", metavar="TOKEN", help="Token of the participant."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Runtime key; else beside the allocation."),
    ] = None,
    allocation: Annotated[
        Path | None,
        typer.Option("--allocation", metavar="DIR", help="Else the folder of the study file."),
    ] = None,
) -> None:
    """Run a session with the person in the chair.

    Looks for the amplifier, checks the signal, shows the live view with its keys, and leaves a
    recording and a report. Ctrl-C stops at once and keeps what was recorded.

    In a study (--study, --participant) the protocol and what is presented are given by the study;
    nobody at this computer is told the arm.
    """
    from engine.controls import Asked
    from engine.run import RunOptions, StudyChoice, run_session

    choice = None
    if study is not None:
        if participant is None:
            raise InputError("A study session needs a participant.", "Give --participant TOKEN.")
        if protocol is not None:
            raise InputError("The study has its own protocol.", "Leave PROTOCOL out.")
        choice = StudyChoice(study, participant, key, allocation)
    elif protocol is None:
        raise InputError("Which protocol?", "Name one of `neuroloop protocols`, or your own file.")
    elif participant or key or allocation:
        raise InputError("There is no study.", "Give --study FILE, or leave its options out.")
    if control is None and (donors or sites):
        raise InputError("There is no control condition.", "Give --control KIND.")
    asked = None if control is None else Asked(control, donors, tuple(sites or ()))
    given = client or (participant.strip().upper() if participant else "test")

    options = RunOptions(
        protocol=protocol or "",
        room=room,
        client=given,
        short_s=short,
        out=out,
        headless=headless,
        silent=silent,
        plain=plain,
        screening_file=screening_file,
        find_s=find,
        age_years=age,
        clinician=clinician_present,
        control=asked,
        study=choice,
        seed=seed,
    )
    if age is not None and not 0 < age <= 120:
        raise InputError(f"An age of {age:g} years is not possible.", "Give --age in years.")
    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"{seed} is no seed.", "Give --seed 0 to 4294967295.")
    if not 0 < find <= 600:  # nan is neither
        raise InputError(f"Looking for {find:g} s finds nothing.", "Give --find 1 to 600.")
    with logged():
        ran = run_session(options, say)
    raise typer.Exit(ran.outcome.exit_code)
