"""Commands about what sessions leave behind: replay, recover, report and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.study import Folder, PassphraseFile, private_key_of
from engine.cli.words import (
    Json,
    MaybeRoom,
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
    app.command(
        cls=Plainly, short_help="Give a session's feedback on, as a control condition for others."
    )(donate)
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
    room: MaybeRoom = None,
    age: Annotated[
        float | None,
        typer.Option("--age", metavar="YEARS", help="Of the person, where norms are used."),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="After a study: open the research logs of its blinded sessions.",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    allocation: Folder = None,
    json_: Json = False,
) -> None:
    """Run recordings or EEG files through a protocol, as fast as possible.

    A recording without --protocol is decided again and compared with what was decided live; exit
    code 1 when they differ. Features, decisions and events are written as tables beside the file,
    or to --out. In a folder, a file that fails does not stop the others; then the exit code is 2.
    A protocol with parts from other packages needs the room that lists them: --room.
    """
    from engine.batch import replay_all
    from engine.plugins import load_plugins, registries
    from engine.room import load_room

    private_key = None if study is None else private_key_of(study, passphrase_file, allocation)
    wanted = () if room is None else load_room(room).wanted_plugins
    with progress_bar(not json_) as progress, mistakes_as(json_):
        results = replay_all(
            path,
            protocol,
            short,
            mains,
            out,
            known=registries(load_plugins(wanted)),
            private_key=private_key,
            age_years=age,
            say=(lambda _: None) if json_ else say,
            progress=progress,
        )
    if json_:
        print_json(results)
    if any(r.get("identical_to_recording") is False for r in results):
        raise typer.Exit(1)
    raise typer.Exit(2 if any("error" in r for r in results) else 0)


def donate(
    path: Recording,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder of donor files; else beside it."),
    ] = None,
    session: Annotated[
        int,
        typer.Option(
            "--session", metavar="NUMBER", help="Which session of the person it was, for yoked."
        ),
    ] = 0,
) -> None:
    """Give the feedback of a session on, as a control condition for others.

    The donor file holds levels and rewards, point by point, and nothing else of the person. Ask
    for consent first. Only real, unblinded sessions can be given on.
    """
    import hashlib

    from engine.donors import SUFFIX, write_donor
    from engine.donors import donate as given_on
    from engine.recording import read

    if not 0 <= session <= 500:
        raise InputError(f"{session} is no number of a session.", "Count from 1.")
    donor = given_on(read(path), session)
    # The name tells nobody whose it was.
    content = b"".join(b.level.tobytes() + b.reward.tobytes() for b in donor.blocks)
    name = f"{donor.protocol}_{hashlib.sha256(content).hexdigest()[:12]}{SUFFIX}"
    target = write_donor(donor, (path.parent if out is None else out) / name)
    say(f"Donor file: {target} ({len(donor.blocks)} blocks)")


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
    path: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING",
            help="The .xdf file that a session left behind; with --cred-nf also a folder of them.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page to write; else beside the recording."),
    ] = None,
    cred_nf: Annotated[
        bool, typer.Option("--cred-nf", help="Fill in the CRED-nf checklist instead.")
    ] = False,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="After a study: its file; the research logs of blinded sessions are opened. With "
            "--cred-nf: the study file, at any time.",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    allocation: Folder = None,
    unblind: Annotated[
        bool,
        typer.Option(
            "--unblind",
            help="With --cred-nf, after a study: open the research logs of blinded sessions (asks "
            "for the passphrase unless --passphrase-file is given).",
        ),
    ] = False,
    assignments: Annotated[
        Path | None,
        typer.Option(
            "--assignments",
            metavar="FILE",
            help="With --cred-nf, after a study: the table that `neuroloop unseal` wrote.",
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Write the report of a session again, from its recording alone: one HTML page.

    With --cred-nf: the 24 items of the CRED-nf checklist for neurofeedback studies, filled from
    the recordings, the forms beside them and the study file, and what is blank.

    The report of a blinded session withholds features, thresholds, rates and rewards. After the
    study, --study opens its research log with the statistician's passphrase; the whole report is
    then written beside it as RECORDING.unblinded.report.html. With --cred-nf the logs are opened
    when --unblind or --passphrase-file is given.
    """
    with mistakes_as(json_):
        if study is None and (passphrase_file is not None or allocation is not None):
            raise InputError("A passphrase belongs to a study.", "Give its file with --study FILE.")
        if cred_nf:
            opens = unblind or passphrase_file is not None or allocation is not None
            if opens and study is None:
                raise InputError("Research logs belong to a study.", "Give it with --study FILE.")
            key = None
            if opens and study is not None:
                key = private_key_of(study, passphrase_file, allocation)
            _checklist(path, study, assignments, out, json_, key)
            return
        if assignments is not None:
            raise InputError(
                "Assignments belong to the checklist.", "Add --cred-nf, or leave them out."
            )
        _report(path, out, study, passphrase_file, allocation, json_)


def _report(
    path: Path,
    out: Path | None,
    study: Path | None,
    passphrase_file: Path | None,
    allocation: Path | None,
    json_: bool,
) -> None:
    from engine.batch import is_recording

    if path.is_file() and not is_recording(path):
        raise FileError(
            f"{path} is no recording of a Neuroloop session.",
            "Reports are made from the .xdf file that a session left behind.",
        )
    from engine.opened import unveil
    from engine.recording import read

    found = read(path)
    key = None
    if study is not None:
        if not found.header.get("blinded"):
            raise InputError(
                f"{path} is not blinded: nothing in it is withheld.", "Leave --study out."
            )
        key = private_key_of(study, passphrase_file, allocation)
    if json_:
        from engine.report import summary

        print_json(summary(found if key is None else unveil(found, key)))
        return
    from engine.report import write_report  # matplotlib: seconds

    say(f"Report: {write_report(path, out, key)}")


def _checklist(
    path: Path,
    study: Path | None,
    assignments: Path | None,
    out: Path | None,
    json_: bool,
    private_key: bytes | None,
) -> None:
    from engine.crednf import arms_in, arms_of, checklist, lines, recordings_of, summary
    from engine.study import load_study

    loaded = None if study is None else load_study(study)
    if assignments is not None and loaded is None:
        raise InputError("Assignments belong to a study.", "Give its file with --study FILE.")
    arms = None
    if assignments is not None and loaded is not None:
        arms = arms_of(assignments, loaded)
    sessions = recordings_of(path, loaded, private_key)
    if arms is None and private_key is not None and loaded is not None:
        arms = arms_in(sessions, loaded) or None
    made = checklist(sessions, loaded, arms)
    if json_:
        print_json(summary(made))
        return
    from engine.crednfpage import write_checklist

    say("\n".join(lines(made)))
    say(f"\nChecklist: {write_checklist(made, path, out)}")


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
