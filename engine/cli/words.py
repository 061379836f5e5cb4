"""What the commands share: how they speak, their common arguments, and the log of a command."""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from engine.errors import FileError, InputError, NeuroloopError, YamlError

if TYPE_CHECKING:
    from rich.progress import Progress

console = Console(highlight=False, markup=False, emoji=False)
complaints = Console(stderr=True, highlight=False, markup=False, emoji=False)

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


def print_to(to: Console, text: str) -> None:
    """Print a text, in a terminal broken between words."""
    # Scripts and greps get whole lines; people get lines that end between words.
    shown = wrapped(text, min(WIDEST, to.width)) if to.is_terminal else text
    to.print(shown, soft_wrap=True)


def say(text: str) -> None:
    """Print a sentence for people."""
    print_to(console, text)


def print_json(value: object) -> None:
    """Print an answer for scripts."""
    from engine.columns import plain

    console.print(json.dumps(plain(value), indent=2, ensure_ascii=False), soft_wrap=True)


@contextmanager
def mistakes_as(json_: bool) -> Iterator[None]:
    """Answer a script in JSON also where something is wrong."""
    try:
        yield
    except NeuroloopError as error:
        if not json_:
            raise
        problems = error.problems if isinstance(error, YamlError) else ()
        print_json({"ok": False, "error": str(error), "problems": problems})
        raise typer.Exit(error.exit_code) from None


@contextmanager
def progress_bar(wanted: bool) -> Iterator[Callable[[str, float], None]]:
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


# ---------------------------------------------------------------- questions and files


def asked(question: str, allowed: Sequence[str]) -> str:
    """Ask until the answer is one of those allowed."""
    while True:
        said = str(typer.prompt(f"{question} ({', '.join(allowed)})")).strip().lower()
        if said in allowed:
            return said
        say(f"Please answer {' or '.join(allowed)}.")


def refuse_existing(file: Path) -> None:
    """Refuse to overwrite a file."""
    if file.exists():
        raise FileError(f"{file} exists already.", "Choose another name; nothing was overwritten.")


def write_new(file: Path, text: str) -> None:
    """Write a text file that must not exist yet."""
    try:
        with file.open("x", encoding="utf-8", newline="\n") as new:
            new.write(text)
    except FileExistsError:
        refuse_existing(file)
        raise
    except OSError as error:
        raise FileError(
            f"{file} cannot be written: {error.strerror or error}.", "Choose another place."
        ) from error


# ---------------------------------------------------------------- the log


@contextmanager
def logged() -> Iterator[None]:
    """Log to a file whose place is printed; nothing about a person goes there."""
    from engine.run import log_path

    with logging_to(log_path()) as path:
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
def logging_to(path: Path) -> Iterator[Path | None]:
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
