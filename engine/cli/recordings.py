"""Commands about what sessions leave behind: replay, recover, report and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.words import (
    Json,
    Out,
    Plainly,
    Recording,
    Short,
    mistakes_as,
    print_json,
    progress_bar,
    say,
)
from engine.errors import FileError, InputError


def register(app: typer.Typer) -> None:
    """Add the commands about recordings."""
    app.command(
        cls=Plainly,
        short_help="Run recordings or EEG files through a protocol, as fast as possible.",
    )(replay)
    app.command(cls=Plainly, short_help="Write a repaired copy of a damaged recording.")(recover)
    app.command(cls=Plainly, short_help="Write the report of a session again.")(report)
    app.command(cls=Plainly, short_help="Export a session as a BIDS data set.")(export)


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

    with progress_bar(not json_) as progress, mistakes_as(json_):
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
        print_json(results)
    if any(r.get("identical_to_recording") is False for r in results):
        raise typer.Exit(1)
    raise typer.Exit(2 if any("error" in r for r in results) else 0)


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

        print_json(summary(read(path)))
        return
    from engine.batch import is_recording

    if path.is_file() and not is_recording(path):
        raise FileError(
            f"{path} is no recording of a Neuroloop session.",
            "Reports are made from the .xdf file that a session left behind.",
        )
    from engine.report import write_report  # matplotlib: seconds

    say(f"Report: {write_report(path, out)}")


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
