"""The command about a client's sessions together: progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.study import Folder, PassphraseFile, private_key_of
from engine.cli.words import Json, Plainly, mistakes_as, print_json, progress_bar, say
from engine.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(cls=Plainly, short_help="Tell how the sessions of a client went, together.")(
        progress
    )


def progress(
    client: Annotated[
        str, typer.Argument(metavar="CLIENT", help="Client id, as given to `neuroloop run`.")
    ],
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="NAME",
            help="Name of the protocol; needed where the client was trained with several.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", metavar="DIR", help="The recordings; else where sessions go by default."
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="FILE", help="Study file: its learner rule is applied."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write a page (HTML) instead of text."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    allocation: Folder = None,
    unblind: Annotated[
        bool,
        typer.Option(
            "--unblind",
            help="After a study: open the research logs of its blinded sessions (asks for the "
            "passphrase unless --passphrase-file is given).",
        ),
    ] = False,
    tests: Annotated[bool, typer.Option("--tests", help="Count test sessions in.")] = False,
    json_: Json = False,
) -> None:
    """Tell how the sessions of a client went: learning metrics across sessions, with limits.

    Trained feature against the same session's rest, transfer without feedback, muscle, rewards and
    delays, from the recordings alone. A description of the recordings, no proof that training
    works.
    """
    with mistakes_as(json_):
        if out is not None and out.is_dir():
            raise InputError(f"{out} is a folder.", "Name a file, as in --out progress.html.")
        opens = unblind or passphrase_file is not None or allocation is not None
        if opens and study is None:
            raise InputError("Research logs belong to a study.", "Give its file with --study FILE.")
        private_key = None
        if opens and study is not None:
            private_key = private_key_of(study, passphrase_file, allocation)
        with progress_bar(not json_) as bar:
            from engine.progress import progress as told_of
            from engine.progress import rule_of

            rule = None
            if study is not None:
                from engine.study import load_study

                loaded = load_study(study)
                rule = rule_of(loaded.study.learner, f"the study file {study.name}")
            found = told_of(
                client,
                _default() if folder is None else folder,
                protocol=protocol,
                tests=tests,
                rule=rule,
                private_key=private_key,
                told=bar,
            )
        if out is not None:
            from engine.progresspage import write_page  # matplotlib: seconds

            written = write_page(found, out)
            if not json_:
                say(f"Progress: {written}")
        if json_:
            from engine.progresstext import as_json

            print_json(as_json(found))
        elif out is None:
            from engine.progresstext import as_text

            say(as_text(found))


def _default() -> Path:
    """Return where `neuroloop run` records when neither room nor option says otherwise."""
    import platformdirs

    return Path(platformdirs.user_data_dir("neuroloop", appauthor=False)) / "sessions"
