"""Replay one file or a folder of them, with a progress bar, and say what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from engine.errors import InputError, NeuroloopError
from engine.features import FEATURES
from engine.recording import read
from engine.replay import Replayed, replay_file, replay_recording, write_tables
from protocols.load import Loaded, load
from protocols.plan import expand

__all__ = ["SUFFIXES", "replay_all"]

SUFFIXES = (".xdf", ".edf", ".bdf", ".fif", ".set", ".vhdr", ".gdf", ".cnt", ".txt", ".csv")


def replay_all(
    path: Path,
    protocol: str | None,
    short_s: float | None,
    mains_hz: float | None,
    out: Path | None,
    console: Console | None,
) -> list[dict[str, Any]]:
    """Replay a file or every EEG file of a folder.

    Parameters
    ----------
    path : Path
        File or folder.
    protocol : str or None
        Needed for files that are no Neuroloop recordings.
    short_s : float or None
        Scale the plan; by default the protocol's own length.
    mains_hz : float or None
        For files.
    out : Path or None
        Tables go to ``out/<file name>/``; by default beside the file, ``<file name>.replay/``.
    console : Console or None
        Where to show progress and sentences.

    Returns
    -------
    list of dict
        One summary per file; an ``error`` where one failed.
    """
    loaded = load(protocol, FEATURES) if protocol is not None else None
    files = _files(path)
    results = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
        transient=True,
    )
    with bar:
        for file in files:
            task = bar.add_task(file.name, total=1.0)
            try:
                done = _one(
                    file,
                    loaded,
                    short_s,
                    mains_hz,
                    lambda share, task=task: bar.update(task, completed=share),  # type: ignore[misc]
                )
            except NeuroloopError as error:
                if len(files) == 1:
                    raise
                results.append({"source": file.name, "error": str(error)})
                if console is not None:
                    console.print(f"{file.name}: {error}")
                continue
            finally:
                bar.remove_task(task)
            folder = (out / file.stem) if out else file.with_name(file.name + ".replay")
            write_tables(done, folder)
            summary = done.summary()
            results.append({**summary, "tables": str(folder)})
            if console is not None:
                _tell(console, file, done, summary, folder)
    return results


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(
            f"{path} holds no EEG file",
            f"files end in {', '.join(SUFFIXES)}; choose another folder",
        )
    return found


def _is_ours(path: Path) -> bool:
    if path.suffix.lower() != ".xdf":
        return False
    try:
        return "protocol" in read(path).header
    except NeuroloopError:
        return False


def _one(
    file: Path, loaded: Loaded | None, short_s: float | None, mains_hz: float | None, progress: Any
) -> Replayed:
    if _is_ours(file):
        if loaded is None:
            return replay_recording(file, progress=progress)
        plan = expand(loaded.protocol, short_s or read(file).header.get("short_s"))
        return replay_recording(file, other=loaded, plan=plan, progress=progress)
    if loaded is None:
        raise InputError(
            f"{file} is no Neuroloop recording",
            "say which protocol to run over it: --protocol smr_up (see `neuroloop protocols`)",
        )
    return replay_file(
        file,
        loaded,
        lambda _: expand(loaded.protocol, short_s),
        mains_hz=mains_hz,
        progress=progress,
    )


def _tell(
    console: Console, file: Path, done: Replayed, summary: dict[str, Any], folder: Path
) -> None:
    console.print(
        f"{file.name}: {summary['seconds']:.0f} s through {done.protocol.name}, "
        f"{summary['clean_s']:.0f} s clean, {summary['rewards']} rewards, "
        f"ended as {summary['ended_as']}."
    )
    if summary["ended_as"] == "incomplete":
        console.print("  The file is shorter than the session; --short S scales the session.")
    gated = {k: v for k, v in summary["gated_s"].items() if v > 0}
    if gated:
        console.print("  Gated: " + ", ".join(f"{k} {v:.1f} s" for k, v in gated.items()))
    for note in done.notes:
        console.print(f"  Note: {note}")
    for event in done.events:
        if event.kind == "failed":
            console.print(f"  {event.data.get('sentence', 'failed')}")
    if done.comparison is not None:
        console.print(f"  Replay: {done.comparison.sentence}.")
    console.print(f"  Tables: {folder}")
