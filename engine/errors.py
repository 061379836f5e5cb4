"""Every way Neuroloop can fail, in one tree.

NeuroloopError            exit code   what it means
├── InputError            2           something a person wrote or chose is wrong
│   ├── YamlError         2           a protocol or room file; every problem at file:line:column
│   ├── FileError         2           a recording or EEG file cannot be read or written
│   └── MontageError      2           the stream lacks a site, unit or rate that the protocol needs
├── StreamError           3           nothing suitable on the network, or it changed
├── RunError              1           a fault while running
│   └── RecordingError    1           the recording could not be written or is damaged
└── SafetyStop            4           a safety rule ended or forbade the session
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "FileError",
    "InputError",
    "MontageError",
    "NeuroloopError",
    "Problem",
    "RecordingError",
    "RunError",
    "SafetyStop",
    "StreamError",
    "YamlError",
]


class NeuroloopError(Exception):
    """A failure that a person can act on: what happened, where, and what to do.

    Parameters
    ----------
    what : str
        One sentence saying what is wrong.
    fix : str
        One sentence saying what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  -> {self.fix}" if self.fix else self.what


class InputError(NeuroloopError):
    """Something a person wrote or chose is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a YAML file: where (1-based), what, and what is allowed."""

    file: str
    line: int
    column: int
    what: str
    allowed: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.what}"
        return f"{text}\n    {self.allowed}" if self.allowed else text


class YamlError(InputError):
    """A protocol or room file is not usable; `problems` holds every mistake at once."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(p) for p in problems))


class FileError(InputError):
    """A recording or EEG file cannot be read or written."""


class MontageError(InputError):
    """The stream lacks a site, unit or rate that the protocol needs."""


class StreamError(NeuroloopError):
    """Nothing suitable is on the network, or the stream is not the agreed one."""

    exit_code = 3


class RunError(NeuroloopError):
    """A fault while running."""


class RecordingError(RunError):
    """The recording could not be written, or is damaged."""


class SafetyStop(NeuroloopError):  # noqa: N818 - it is a decision, not an error
    """A safety rule forbade or ended the session."""

    exit_code = 4
