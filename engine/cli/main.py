"""The command line, the composition root: each command imports the heavy parts it needs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer

from engine.cli import (
    bench,
    feedback,
    forms,
    progress,
    protocols,
    recordings,
    rooms,
    sessions,
    study,
)
from engine.cli.words import complaints, logging_to, print_to, say
from engine.errors import NeuroloopError

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

log = logging.getLogger("neuroloop")


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


# The order here is the order of the commands in `neuroloop --help`.
sessions.register(app)
protocols.register(app)
feedback.register(app)
rooms.register(app)
bench.register(app)
recordings.register(app)
forms.register(app)
progress.register(app)
study.register(app)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code. A person's mistake never shows a traceback."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        code = command(args=arguments, prog_name="neuroloop", standalone_mode=False)
    except NeuroloopError as error:
        print_to(complaints, str(error))
        return error.exit_code
    except typer.Exit as done:
        return int(done.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print_to(complaints, "Interrupted.")
        return 130
    except Exception as error:
        return _misused(error) or _fault(error)
    return int(code) if isinstance(code, int) else 0


def _misused(error: Exception) -> int:
    """Show a mistake in the arguments; 0 when the error is something else."""
    said = getattr(error, "format_message", None)
    context = getattr(error, "ctx", None)
    if said is None or not hasattr(error, "exit_code"):
        return 0
    text = str(said())
    if text.startswith("Usage:"):  # no arguments at all: it is the help itself
        complaints.print(text, soft_wrap=True)
        return 2
    how = f"{context.command_path} --help" if context is not None else "neuroloop --help"
    print_to(complaints, f"{text.rstrip()}\n  -> See: {how}")
    return 2


def _fault(error: Exception) -> int:
    """Say that Neuroloop itself is at fault; the traceback goes to the log."""
    from engine.run import log_path

    with logging_to(log_path()) as path:
        log.error("fault", exc_info=error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    where = "" if path is None else f"Please report it, with the end of the log file {path}"
    print_to(complaints, f"Neuroloop made a mistake, not you ({what}).\n  -> {where}")
    return 1
