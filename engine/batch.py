"""Replay one file or a folder of them, with a progress bar, and say what came of it.

What loads in an instant comes first, so that a mistake in the protocol or the name of a file is
told at once; SciPy and MNE are loaded when there is something to replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from engine.errors import FileError, InputError, NeuroloopError
from engine.plugins import Registries, registries
from protocols.load import Loaded, load
from protocols.plan import expand, shortest_s

if TYPE_CHECKING:
    from engine.replay import Replayed

__all__ = ["SUFFIXES", "eeg_files", "is_recording", "replay_all"]

SUFFIXES = (
    *(".xdf", ".xdfz", ".edf", ".bdf", ".gdf", ".fif", ".fif.gz", ".set", ".vhdr", ".cnt"),
    *(".txt", ".csv"),
)
HEAD_BYTES = 4096
ASIDE_S = 5.0  # of a file, for the check before the session and its last moments


def replay_all(
    path: Path,
    protocol: str | None,
    short_s: float | None,
    mains_hz: float | None,
    out: Path | None,
    *,
    known: Registries | None = None,
    private_key: bytes | None = None,
    age_years: float | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, float], None] = lambda _name, _share: None,
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
        For files; a recording knows its own.
    out : Path or None
        Tables go to ``out/<file name>/``; by default beside the file, ``<file name>.replay/``.
    known : Registries, optional
        What the protocol may name; what is built in when left out.
    private_key : bytes, optional
        Opens the research logs of blinded sessions.
    age_years : float, optional
        Of the person, for norms.
    say : callable
        Shows a sentence.
    progress : callable
        Called with the file's name (and which of how many) and the share of it that is done.

    Returns
    -------
    list of dict
        One summary per file; an ``error`` where one failed.

    Raises
    ------
    NeuroloopError
        The protocol is wrong, there is nothing to replay, or the only file failed. In a folder,
        a file that fails does not stop the others.
    """
    threadpool_limits(limits=1)  # as live: sums of BLAS depend on its threads
    known = registries() if known is None else known
    loaded = None
    if protocol is not None:
        loaded = load(
            protocol,
            known.features,
            pictures=known.pictures,
            sounds=known.sounds,
            rewards=known.rewards,
            age_years=age_years,
        )
    if loaded is not None and short_s is not None:
        expand(loaded.protocol, short_s)  # a mistake is told before anything is read
    files = eeg_files(path)
    whole = path if path.is_dir() else path.parent
    results: list[dict[str, Any]] = []
    for number, file in enumerate(files, 1):
        name = str(file.relative_to(whole))
        shown = name if len(files) == 1 else f"{name} ({number} of {len(files)})"

        def step(share: float, shown: str = shown) -> None:
            progress(shown, share)

        step(0.0)
        try:
            done = _one(file, loaded, short_s, mains_hz, known, private_key, step)
            folder = out / name if out else file.with_name(file.name + ".replay")
            results.append(_kept(done, name, folder, say))
        except NeuroloopError as error:
            if path.is_file():
                raise
            results.append({"source": name, "error": str(error)})
            say(f"{name}: {error}")
        step(1.0)
    failed = sum("error" in r for r in results)
    if len(results) > 1:
        say(f"{len(results) - failed} of {len(results)} files were replayed.")
    return results


def eeg_files(path: Path) -> list[Path]:
    """Return the file, or the EEG files of a folder and the folders in it.

    Raises
    ------
    FileError
        There is none.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise FileError(f"There is no file or folder {path}.", "Check the name.")
    found = sorted(p for p in path.rglob("*") if p.is_file() and _may_be_eeg(p))
    if not found:
        raise FileError(
            f"{path} holds no EEG file.",
            f"Files end in {', '.join(SUFFIXES)}; choose another folder.",
        )
    return found


def _may_be_eeg(path: Path) -> bool:
    """Return whether a file is worth opening; text is EEG only when it begins like EEG."""
    name = path.name.lower()
    if name.startswith(".") or not name.endswith(SUFFIXES):
        return False
    if name.endswith(".txt"):
        return _head(path).startswith((b"%OpenBCI", b"% OpenBCI"))
    return not name.endswith(".csv") or b"timestamps" in _head(path).split(b"\n")[0].lower()


def is_recording(path: Path) -> bool:
    """Return whether a file is a recording of a Neuroloop session, from its first bytes."""
    head = _head(path)
    return head.startswith(b"XDF:") and b"<neuroloop>" in head


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""  # reading it will say what is wrong


def _one(
    file: Path,
    loaded: Loaded | None,
    short_s: float | None,
    mains_hz: float | None,
    known: Registries,
    private_key: bytes | None,
    progress: Callable[[float], None],
) -> Replayed:
    ours = is_recording(file)
    if loaded is None and not ours:
        raise InputError(
            f"{file} is no Neuroloop recording.",
            "Say which protocol to run over it: --protocol smr_up (see `neuroloop protocols`).",
        )
    if loaded is None and short_s is not None:
        raise InputError(
            f"{file} is replayed as it was recorded, so --short has no meaning.",
            "Leave --short out, or name another protocol with --protocol.",
        )
    from engine.recording import read
    from engine.replay import replay_file, replay_recording

    if not ours:
        assert loaded is not None
        plan = expand(loaded.protocol, short_s)
        return replay_file(
            file, loaded, lambda _: plan, mains_hz=mains_hz, known=known, progress=progress
        )
    recording = read(file)
    if loaded is None and private_key is not None and recording.header.get("blinded"):
        from engine.opened import opened

        log = opened(recording, private_key)
        done = replay_recording(recording, opened=log, progress=progress)
        if log.damage:
            done.notes = (*done.notes, log.damage)
        return done
    if loaded is None:
        return replay_recording(recording, progress=progress)
    plan = expand(loaded.protocol, short_s or recording.header.get("short_s"))
    return replay_recording(recording, other=loaded, plan=plan, progress=progress)


# ---------------------------------------------------------------- what came of it


def _kept(done: Replayed, name: str, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write the tables and return the summary."""
    from engine.replay import write_tables

    if done.comparison is not None and done.comparison.withheld:
        # What would be real, beside the rewards in the recording, could tell the arm.
        say(f"{name}: a blinded session of {done.protocol.name}.")
        say(f"  Replay: {done.comparison.sentence}.")
        return {
            "source": name,
            "protocol": done.protocol.name,
            "blinded": True,
            "identical_to_recording": done.comparison.identical,
        }
    write_tables(done, folder)
    summary = done.summary()
    for line in _said(done, name, summary):
        say(line)
    say(f"  Tables: {folder}")
    return {**summary, "source": name, "tables": str(folder)}


def _said(done: Replayed, name: str, summary: dict[str, Any]) -> Iterator[str]:
    rate = summary["rewards_per_clean_min"]
    n = summary["rewards"]
    rewards = "what was rewarded is withheld" if n is None else f"{n} rewards"
    per_minute = f" ({rate:.1f} per clean minute of training)" if rate is not None else ""
    yield (
        f"{name}: {summary['seconds']:.0f} s through {done.protocol.name}, "
        f"{summary['clean_s']:.0f} s clean, {rewards}{per_minute}, "
        f"ended as {summary['ended_as']}."
    )
    if summary["ended_as"] == "incomplete":
        yield f"  {_too_short(done, summary['seconds'])}"
    gated = {k: v for k, v in summary["gated_s"].items() if v > 0}
    if gated:
        yield "  Gated: " + ", ".join(f"{k} {v:.1f} s" for k, v in gated.items())
    for note in done.notes:
        yield f"  Note: {note}"
    for event in done.events:
        if event.kind == "failed":
            yield f"  {event.data.get('sentence', 'The session failed.')}"
    if done.comparison is not None:
        yield f"  Replay: {done.comparison.sentence}."


def _too_short(done: Replayed, seconds: float) -> str:
    """Say why the session did not end, and how to make it fit where that is possible."""
    if any(e.kind == "baseline_repeat" for e in done.events):
        return (
            "The file ended before the session: too little of the baseline was clean, so it was "
            "repeated."
        )
    fits_s = int(seconds - ASIDE_S)
    least_s = shortest_s(expand(done.protocol))
    if fits_s < least_s:
        return (
            f"The file is too short for a whole session, which takes at least {least_s:.0f} s "
            "even when shortened."
        )
    return f"The file is shorter than the session; --short {fits_s} scales the session to it."
