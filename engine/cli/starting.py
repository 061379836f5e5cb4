"""Commands that write protocol files: new and migrate."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from engine.cli.words import Plainly, asked, refuse_existing, say, write_new
from engine.errors import InputError, YamlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocols.starter import Answers, Variant

__all__ = ["Plainly", "migrate", "new"]


T = TypeVar("T")
WAYS = ("up", "down")
EYES = ("open", "closed")
LONGEST_NAME = 48
METHODS = ("percentile", "z", "fixed", "block", "running", "staircase")


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file to write.")],
    parent: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="Change one of the library (`neuroloop protocols`)."
        ),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            "--train", metavar="|".join(WAYS), help="Which way the trained rhythm should go."
        ),
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="SITE", help="Where, as Cz. May be given several times."),
    ] = None,
    band: Annotated[
        str | None,
        typer.Option(
            "--band", metavar="BAND", help="As 12-15 Hz, or iaf-2 .. iaf+2 around a person's alpha."
        ),
    ] = None,
    inhibit: Annotated[
        list[str] | None,
        typer.Option(
            "--inhibit",
            metavar="BAND",
            help="A band that must stay low there. May be given several times.",
        ),
    ] = None,
    eyes: Annotated[
        str | None, typer.Option("--eyes", metavar="|".join(EYES), help="In training.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option("--blocks", metavar="NUMBER", help="Training blocks.")
    ] = None,
    block: Annotated[
        str | None, typer.Option("--block", metavar="TIME", help="How long each lasts, as 3 min.")
    ] = None,
    transfer: Annotated[
        bool | None, typer.Option(help="Whether a block without feedback follows.")
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="METHOD",
            help=f"How it comes about: {', '.join(METHODS)}; percentile of the rest is usual.",
        ),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option("--value", metavar="VALUE", help="Of a fixed threshold, as 12 uV2."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Of the protocol; else that of the file."),
    ] = None,
) -> None:
    """Write a commented protocol to start from: by asking, or from options.

    In a terminal it asks for what the options leave open. What it writes has no mistake, and it
    never overwrites a file.
    """
    from protocols.starter import (
        Answers,
        bands_given,
        blocks_given,
        length_given,
        sites_given,
        value_given,
    )

    refuse_existing(file)
    called = _usable(name) if name is not None else _named(file.stem)
    for option, chosen, allowed in (
        ("--train", train, WAYS), ("--eyes", eyes, EYES), ("--threshold", threshold, METHODS),
    ):  # fmt: skip
        if chosen is not None and chosen not in allowed:
            raise InputError(
                f"{option} cannot be `{chosen}`.",
                f"Give {', '.join(allowed[:-1])} or {allowed[-1]}.",
            )
    if blocks is not None:
        blocks_given(str(blocks))
    if block is not None:
        length_given(block)
    if parent is not None:
        given = {"train": train, "site": site, "band": band, "inhibit": inhibit, "eyes": eyes}
        given |= {"threshold": threshold, "value": value}
        wrong = [f"--{k}" for k, v in given.items() if v]
        if wrong:
            raise InputError(
                f"{wrong[0]} does not go with --from: {parent} says that already.",
                "Write the file without it, and change the line in there.",
            )
        text = _variant(called, parent, blocks, block, transfer)
    else:
        there = sys.stdin is not None and sys.stdin.isatty()
        open_ = [o for o, v in (("--train", train), ("--site", site), ("--band", band)) if not v]
        if open_ and not there:
            raise InputError(
                f"Nobody is here to be asked, and {' and '.join(open_)} cannot be guessed.",
                'As in: neuroloop new FILE --train up --site Cz --band "12-15 Hz"',
            )
        trained = train or asked("Which way should it go", WAYS)
        sites = sites_given(tuple(site)) if site else _sites()
        chosen_band = bands_given((band,))[0] if band else _band()
        inhibits = (
            bands_given(tuple(inhibit), (chosen_band,))
            if inhibit
            else _inhibits(chosen_band)
            if there
            else ()
        )
        state = eyes or (asked("Eyes in training", EYES) if there else "open")
        if blocks is None:
            blocks = _until("How many training blocks", "6", blocks_given) if there else 6
        if block is None:
            block = _until("How long is each", "3 min", length_given) if there else "3 min"
        if transfer is None:
            transfer = not there or _until(
                "A block without feedback at the end (yes, no)", "yes", _yes
            )
        method = threshold or (asked("Which threshold", METHODS) if there else "percentile")
        if method == "fixed" and not value and there:
            value = _until("Its value (as 12 uV2)", "", value_given)
        text = _text(
            Answers(
                called, trained, sites, chosen_band, inhibits, state, blocks, block, transfer,
                method, value or "",
            )
        )  # fmt: skip
    _validated(text, file.name)
    write_new(file, text)
    say(f"Written: {file}")
    say(f"Next:    neuroloop check {file}")


def _until(question: str, default: str, read: Callable[[str], T]) -> T:
    """Ask until the answer can be read: one slip does not cost the answers before it."""
    while True:
        said = str(typer.prompt(question, default, show_default=bool(default))).strip()
        try:
            return read(said)
        except InputError as error:
            say(f"{error.what} {error.fix}")


def _sites() -> tuple[str, ...]:
    from protocols.starter import sites_given

    return _until(
        "At which sites (as C3, or F3 F4)",
        "",
        lambda said: sites_given(tuple(said.replace(",", " ").split())),
    )


def _band() -> str:
    from protocols.starter import bands_given

    return _until(
        "Which band (as 12-15 Hz, or iaf-2 .. iaf+2)", "", lambda said: bands_given((said,))[0]
    )


def _inhibits(trained: str) -> tuple[str, ...]:
    from protocols.starter import bands_given

    return _until(
        "Which bands must stay low there (comma between, Enter for none)",
        "",
        lambda said: bands_given(
            tuple(p.strip() for p in said.split(",") if p.strip()), (trained,)
        ),
    )


def _yes(text: str) -> bool:
    said = text.lower()
    if said not in ("y", "yes", "n", "no"):
        raise InputError(f"`{text}` is neither yes nor no.", "Please answer yes or no.")
    return said in ("y", "yes")


def _named(stem: str) -> str:
    """Return a usable name out of that of a file."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return (name if name[:1].isalpha() else f"protocol_{name}")[:LONGEST_NAME].rstrip("_")


def _usable(name: str) -> str:
    if not re.fullmatch(f"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}", name):
        raise InputError(
            f"`{name}` is no name of a protocol.",
            "Give small letters, digits and underscores, beginning with a letter: my_smr.",
        )
    return name


def _schema() -> str:
    """Return where the JSON schema is on this computer, as an editor takes it."""
    from importlib import resources

    path = Path(str(resources.files("protocols") / "schema" / "protocol.schema.json"))
    # A space would end the address there.
    return path.as_uri() if any(c.isspace() for c in str(path)) else path.as_posix()


def _text(answers: Answers) -> str:
    from protocols.starter import starter

    return starter(answers, _schema())


def _variant(
    name: str, parent: str, blocks: int | None, block: str | None, transfer: bool | None
) -> str:
    from engine.features import FEATURES
    from protocols.load import library, load
    from protocols.starter import Variant, variant

    if parent not in library():
        load(parent, FEATURES)  # says which there are, where it is none
        raise InputError(
            f"{parent} is not in the library.",
            f"Choose one of {', '.join(library())}; a file of your own is extended by hand: "
            "`extends: ./mine.yaml`.",
        )
    extended = load(parent, FEATURES).protocol
    session = None
    if blocks is not None or block is not None or transfer is not None:
        if extended.trial is not None:
            raise InputError(
                f"{parent} is trained in trials, which --blocks and --block do not know.",
                "Leave them out, and change `session:` in the file.",
            )
        session = (blocks or 6, block or "3 min", True if transfer is None else transfer)
    made: Variant = Variant(name, parent, session)
    return variant(made, extended, _schema())


def _validated(text: str, name: str) -> Any:
    """Load what will be written: a beginning must have no mistake."""
    from engine.features import FEATURES
    from protocols.load import load

    with tempfile.TemporaryDirectory(prefix="neuroloop-new-") as folder:
        path = Path(folder) / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            return load(path, FEATURES)
        except YamlError as error:
            first = error.problems[0]
            raise InputError(
                f"These answers make no protocol: {first.what}.",
                f"Allowed: {first.allowed}." if first.allowed else "Change that answer.",
            ) from None


# ---------------------------------------------------------------- migrate


def migrate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The protocol file.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write; without it, only say."),
    ] = None,
) -> None:
    """Write an older protocol file in the newest format, with its comments.

    Without --out nothing is written: the lines that change are shown. It never overwrites a file.
    An older file goes on working as it is.
    """
    from engine.config import read
    from protocols.migrate import upgraded

    before = read(file).text
    after = upgraded(before, str(file))
    changed = list(_differences(before, after))
    if out is None:
        for line in changed:
            say(line)
        say(f"\nNothing was written. To write it: neuroloop migrate {file} --out NEW_FILE")
        return
    refuse_existing(out)
    _checked(after, out)
    for line in changed:
        say(line)
    say(f"\nWritten: {out}")


def _checked(text: str, out: Path) -> None:
    """Write the new file, and take it back where it does not load."""
    from engine.features import FEATURES
    from protocols.load import load

    write_new(out, text)
    try:
        load(out, FEATURES)
    except YamlError as error:
        out.unlink()
        first = error.problems[0]
        raise InputError(
            f"In the newest format the file would not load: line {first.line}: {first.what}.",
            "Mend that in the file first; nothing was written.",
        ) from None


def _differences(before: str, after: str) -> list[str]:
    """Return the lines that change, the old one above the new one."""
    import difflib

    rows = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [r for r in rows if not r.startswith(("---", "+++", "@@"))]
