"""Commands about studies: allocate, unblind, unseal, and the group `study`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.words import Json, Out, Plainly, mistakes_as, print_json, refuse_existing, say
from engine.errors import FileError, InputError

if TYPE_CHECKING:
    from engine.study import LoadedStudy

LEAST_REASON = 10  # characters; a shorter one explains nothing

StudyArgument = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="Its first line is the statistician's passphrase; without it you are asked.",
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--allocation",
        metavar="DIR",
        help="Folder of the allocation; without it, that of the study file.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of studies."""
    app.command(cls=Plainly, short_help="Draw and seal who gets which arm of a study.")(allocate)
    app.command(
        cls=Plainly,
        short_help="In an emergency: say the arm of one participant, and write it down.",
    )(unblind)
    app.command(cls=Plainly, short_help="At the end of a study: write who had which arm.")(unseal)
    study_app = typer.Typer(
        no_args_is_help=True,
        short_help="Check a study file, or the audit log of a study.",
        help=(
            "Check a study file, or the audit log of a study. A study file says which arms there "
            "are, who is blind to them, and what is declared beforehand."
        ),
    )
    study_app.command(
        "check", cls=Plainly, short_help="Say what a study file means, or what is wrong in it."
    )(study_check)
    study_app.command("next", cls=Plainly, short_help="Say which token the next participant gets.")(
        study_next
    )
    study_app.command(
        "repeat", cls=Plainly, short_help="Let a session that did not come about be run again."
    )(study_repeat)
    study_app.command(
        "audit", cls=Plainly, short_help="Show the audit log, and whether its chain is whole."
    )(study_audit)
    app.add_typer(study_app, name="study")


# ---------------------------------------------------------------- before the study


def study_check(study: StudyArgument, json_: Json = False) -> None:
    """Say what a study file means, or what is wrong in it, with line and column.

    Lists what it answers of the CRED-nf checklist, and what it leaves blank.
    """
    from engine.study import CRED_NF, cred_nf, described_study, hints, load_study

    with mistakes_as(json_):
        loaded = load_study(study)
        protocol_sha256 = _protocol_sha256(loaded)
    answers = cred_nf(loaded.study)
    if json_:
        print_json(
            {
                "ok": True,
                "sha256": loaded.sha256,
                "protocol_sha256": protocol_sha256,
                "study": loaded.study.model_dump(mode="json"),
                "cred_nf": answers,
                "hints": hints(loaded.study),
            }
        )
        return
    say(f"{study}: no mistakes.\n")
    for line in described_study(loaded):
        say(line)
    blank = [item for item, answer in answers.items() if answer is None]
    say(f"\nCRED-nf: {len(answers) - len(blank)} of {len(answers)} items of a study file answered.")
    for item, answer in answers.items():
        asks, key = CRED_NF[item]
        say(f"{item:6s}  {asks}: {answer or f'blank; write it under `{key}`'}")
    for hint in hints(loaded.study):
        say(f"Note: {hint}")


def allocate(
    study: StudyArgument,
    n: Annotated[
        int, typer.Option("--n", metavar="N", help="Participants in every stratum, at most.")
    ],
    out: Out = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Draw and seal who gets which arm of a study.

    Writes three files, beside the study file or to --out: `allocation.sealed` and `runtime.key`
    for the computer that runs the sessions, and `tokens.tsv`, whose tokens are given to
    participants in this order. Nothing that is printed or written in clear tells an arm. The
    study file and its protocol must not be changed from then on.
    """
    from engine import audit
    from engine.seal import SEALED_FILE, allocate, write_allocation
    from engine.study import load_study

    loaded = load_study(study)
    protocol_sha256 = _protocol_sha256(loaded)
    folder = out or loaded.folder
    refuse_existing(folder / SEALED_FILE)
    passphrase = _passphrase(passphrase_file, twice=True)
    files = allocate(loaded, n, passphrase, protocol_sha256=protocol_sha256)
    sealed, key, tokens = write_allocation(files, folder)
    noted = audit.append(
        folder / audit.AUDIT_FILE,
        "allocated",
        {
            "study": loaded.study.name,
            "study_sha256": loaded.sha256,
            "sealed_sha256": files.sha256,
            "tokens": files.n_tokens,
        },
    )
    strata = len(loaded.study.stratum_names)
    each = f", {n} in each of {strata} strata" if strata > 1 else ""
    say(f"Allocated:  {files.n_tokens} participants{each}")
    say(f"Sealed:     {sealed}")
    say(f"Key:        {key}")
    say(f"Tokens:     {tokens}")
    say(f"SHA-256:    {files.sha256}")
    say(f"Audit:      {noted}")
    say(
        "\nRegister the SHA-256. Give the sealed file and the key to the computer of the sessions, "
        "the tokens to whoever enrols; keep the passphrase away from both. Without it nobody can "
        "unseal the study."
    )


# ---------------------------------------------------------------- during the study


def unblind(
    study: StudyArgument,
    participant: Annotated[
        str, typer.Option("--participant", metavar="TOKEN", help="Whose arm must be known.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="Why; it is written to the audit log.")
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The runtime key, when it is elsewhere."),
    ] = None,
    allocation: Folder = None,
    again: Annotated[
        str | None,
        typer.Option(
            "--yes-i-mean", metavar="TOKEN", help="The token again, instead of typing it."
        ),
    ] = None,
) -> None:
    """In an emergency: say the arm of one participant, and write it down.

    The entry in the audit log is written before the arm is shown; it holds the reason and the
    token, not the arm. Nobody else's arm follows from this one.
    """
    from engine import audit
    from engine.seal import KEY_FILE, SEALED_FILE, Allocation
    from engine.study import CONTROLS, load_study

    loaded = load_study(study)
    folder = allocation or loaded.folder
    token, reason = participant.strip().upper(), " ".join(reason.split())
    if len(reason) < LEAST_REASON:
        raise InputError(
            f"The reason has {len(reason)} characters.",
            f"Say in at least {LEAST_REASON} why the arm must be known; the audit log keeps it.",
        )
    opened = Allocation.open(folder / SEALED_FILE, key or folder / KEY_FILE, loaded)
    assigned = opened.source_for(token, 1)
    if again is None:
        if not _somebody():
            raise InputError(
                "Nobody is here to type the token again.", f"Give --yes-i-mean {token}."
            )
        say(f"This tells the arm of {token} for good, and is written to the audit log.")
        again = str(typer.prompt("Type the token again, or Ctrl-C"))
    if again.strip().upper() != token:
        raise InputError(
            f"{again.strip()!r} is not {token}; nothing was opened.", "Begin again if it must be."
        )
    noted = audit.append(
        folder / audit.AUDIT_FILE,
        "unblinded",
        {
            "study": loaded.study.name,
            "sealed_sha256": opened.sha256,
            "participant": token,
            "reason": reason,
        },
    )
    arm = assigned.arm(loaded.study)
    say(f"Audit:        {noted}")
    say(f"Participant:  {token}")
    say(f"Arm:          {arm.name} ({arm.control}): {CONTROLS[arm.control].sentence}")
    say("\nTell only who must know. From now on this participant is not blind in the analysis.")


# ---------------------------------------------------------------- after the study


def unseal(
    study: StudyArgument,
    passphrase_file: PassphraseFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Table to write; without it, assignments.tsv beside the allocation.",
        ),
    ] = None,
    allocation: Folder = None,
) -> None:
    """At the end of a study: write who had which arm.

    Needs the statistician's passphrase, not the runtime key. The entry in the audit log is
    written before the table.
    """
    from engine import audit
    from engine.seal import SEALED_FILE, unseal
    from engine.study import load_study

    loaded = load_study(study)
    folder = allocation or loaded.folder
    table = out or folder / "assignments.tsv"
    refuse_existing(table)
    opened = unseal(folder / SEALED_FILE, _passphrase(passphrase_file), loaded)
    noted = audit.append(
        folder / audit.AUDIT_FILE,
        "unsealed",
        {"study": opened.study, "sealed_sha256": opened.sha256},
    )
    lines = ["token\tstratum\tblock\tarm"]
    lines += [f"{a.token}\t{a.stratum}\t{a.block}\t{a.arm}" for a in opened.assignments]
    try:
        with table.open("x", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise FileError(
            f"{table} cannot be written: {error.strerror or error}.", "Choose another with --out."
        ) from error
    say(f"Unsealed:     {len(opened.assignments)} participants")
    say(f"Assignments:  {table}")
    say(f"SHA-256:      {opened.sha256}")
    say(f"Audit:        {noted}")
    say("\nCompare the SHA-256 with the registered one. The study is not blind any more.")


def study_next(
    study: StudyArgument,
    stratum: Annotated[
        str | None,
        typer.Option("--stratum", metavar="NAME", help="As in tokens.tsv; all when left out."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Runtime key; else beside the allocation."),
    ] = None,
    allocation: Folder = None,
) -> None:
    """Say which token the next participant gets, in each stratum or in one of them.

    Tokens are given in their order; a session with another one is refused.
    """
    from engine.enrol import next_token
    from engine.seal import KEY_FILE, SEALED_FILE, Allocation
    from engine.study import load_study

    loaded = load_study(study)
    folder = loaded.folder if allocation is None else allocation
    sealed = Allocation.open(folder / SEALED_FILE, key or folder / KEY_FILE, loaded)
    names = list(dict.fromkeys(sealed.tokens.values()))
    if stratum is not None and stratum not in names:
        raise InputError(f"There is no stratum {stratum}.", f"There are {', '.join(names)}.")
    for name in names if stratum is None else [stratum]:
        token = next_token(folder, sealed.tokens, name)
        say(f"{name}: {token or 'all tokens are used'}")


def study_repeat(
    study: StudyArgument,
    participant: Annotated[
        str, typer.Option("--participant", metavar="TOKEN", help="Token of the participant.")
    ],
    reason: Annotated[
        str, typer.Option("--reason", metavar="WHY", help="It goes into the audit log.")
    ],
    allocation: Folder = None,
) -> None:
    """Let the last session of a participant not count, because it did not come about.

    A failed baseline or an early stop uses a session up like any other. The recording stays; the
    next session has the same number and presents the same. The reason goes into the audit log.
    """
    from engine import audit
    from engine.enrol import repeat_session, session_number
    from engine.study import load_study

    if len(reason.strip()) < LEAST_REASON:
        raise InputError(
            "The reason is too short to explain anything.", f"Write {LEAST_REASON} letters or more."
        )
    loaded = load_study(study)
    folder = loaded.folder if allocation is None else allocation
    token = participant.strip().upper()
    if not session_number(folder, token):
        raise InputError(f"{token} has begun no session.", "Compare the token.")
    audit.append(
        folder / audit.AUDIT_FILE,
        "session to be repeated",
        {"study": loaded.study.name, "token": token, "reason": reason.strip()},
    )
    number, recording = repeat_session(folder, token)
    say(f"Session {number} of {token} can be run again. Its recording stays: {recording}")


def study_audit(
    study: StudyArgument,
    allocation: Folder = None,
    last: Annotated[
        str | None,
        typer.Option(
            "--last", metavar="HASH", help="A hash noted earlier, which the log must contain."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Show the audit log, and whether its chain is whole.

    Lines cut off at the end are found with --last only.
    """
    from engine import audit
    from engine.study import load_study

    with mistakes_as(json_):
        path = (allocation or load_study(study).folder) / audit.AUDIT_FILE
        audit.verify(path, last)
        entries = audit.read_audit(path)
    if json_:
        print_json({"ok": True, "entries": entries})
        return
    for entry in entries:
        details = "; ".join(f"{k} {v}" for k, v in entry.details.items())
        say(f"{entry.at}  {entry.what}  {entry.who or 'unknown'}  {details}")
    say(f"\n{path}: {len(entries)} lines, the chain is whole.")
    if entries:
        say(f"Last: {entries[-1].hash}")


# ---------------------------------------------------------------- what they share


def _protocol_sha256(loaded: LoadedStudy) -> str:
    """Return the SHA-256 of the study's protocol, which must be right."""
    from engine.features import FEATURES
    from protocols.load import load

    return load(loaded.protocol, FEATURES).sha256


def _somebody() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _passphrase(file: Path | None, *, twice: bool = False) -> str:
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text in UTF-8"
            raise FileError(f"{file} cannot be read: {why}.", "Check its path.") from error
        return lines[0] if lines else ""
    if not _somebody():
        raise InputError(
            "Nobody is here to be asked for the passphrase.", "Give --passphrase-file FILE."
        )
    from getpass import getpass

    from engine.seal import check_passphrase

    said = getpass("The statistician's passphrase: ")
    if twice:
        check_passphrase(said)
        if getpass("Again: ") != said:
            raise InputError("The two passphrases differ.", "Nothing was written; begin again.")
    return said


def private_key_of(study: Path, passphrase_file: Path | None, allocation: Path | None) -> bytes:
    """Return the key that opens a study's research logs; the audit log says that it was used."""
    from engine.audit import AUDIT_FILE, append
    from engine.seal import SEALED_FILE, unseal
    from engine.study import load_study

    loaded = load_study(study)
    folder = loaded.folder if allocation is None else allocation
    opened = unseal(folder / SEALED_FILE, _passphrase(passphrase_file), loaded)
    append(folder / AUDIT_FILE, "research logs opened", {"study": loaded.study.name})
    return opened.private_key
