"""The command that asks a short questionnaire about a session: ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.words import Plainly, Recording, say
from engine.errors import FileError, InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Plainly, short_help="Ask a short form about a session, and keep the answers.")(
        ask
    )


def ask(
    form: Annotated[
        str, typer.Argument(metavar="FORM", help="expectancy, blinding, before or strategy.")
    ],
    recording: Recording,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", help="Answers as YAML or JSON, instead of being asked."
        ),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option("--block", metavar="NUMBER", help="The training block that it is about."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="WHO", help="participant or operator, where a form asks both."
        ),
    ] = None,
) -> None:
    """Ask a short form about a session, and keep the answers beside its recording.

    Forms: expectancy (what the training is expected to do), blinding (what was it: training or
    placebo?), before (motivation, fatigue, mood), strategy (what the person did). The answers go
    to a file of their own, `<recording>.forms.json`; the recording is not touched.
    """
    from engine.batch import is_recording
    from engine.forms import PARTS, TerminalIO, add_form, form_named, from_file
    from engine.forms import ask as put

    wanted = form_named(form)
    if recording.is_file() and not is_recording(recording):
        raise FileError(
            f"{recording} is no recording of a Neuroloop session.",
            "Give the .xdf file that the session left behind.",
        )
    if not recording.is_file():
        raise FileError(f"There is no recording {recording}.", "Check the name.")
    parts = [p for p in PARTS if only in (None, p)]
    if not any(p in wanted.parts for p in parts):
        raise InputError(
            f"The form {form} asks nothing of {only}.", f"It asks: {', '.join(wanted.parts)}."
        )
    if block is not None and block < 1:
        raise InputError(f"{block} is no number of a block.", "Count from 1.")
    if answers is not None:
        if block is not None:
            raise InputError(
                "With --answers, the block stands in the file.", f"Write `block: {block}` in it."
            )
        filled = from_file(answers, wanted, parts=None if only is None else parts)
    else:
        filled = put(TerminalIO(), wanted, parts=parts, block=block)
    say(f"Answers: {add_form(recording, filled)}")
