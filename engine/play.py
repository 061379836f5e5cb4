"""Play any recording as an LSL stream in real time.

mne-lsl has a player too, but it takes 5 s to import, offers volts instead of the file's microvolts,
wraps around without a gap, and stamps a chunk before its time has passed; so this one shares the
pacing of `engine.simulate`. Every column keeps its label, type and unit. A counter as the last
column makes gaps exact: those of the file, and the seam of a loop.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.clock import now
from engine.errors import InputError
from engine.frames import Channel, StreamSpec
from engine.lsl import configure_lsl, load_pylsl
from engine.outlet import MarkerOutlet, Outlet, narrowed, wait_until
from engine.person import COUNTER_WRAP
from engine.readfile import EegFile, read_eeg, stamp_gaps
from engine.simulate import (
    Network,
    SimulatorProcess,
    add_network_arguments,
    network_arguments,
    network_of,
    run_program,
    say_ready,
    spawn_module,
)

__all__ = ["PlayOptions", "Played", "main", "play", "spawn_player", "timeline"]

PUSH_S = 0.025  # about; like a common amplifier
SEAM_S = 1.0  # the gap between the end of a file and its repetition
LONGEST_GAP_S = 5.0  # nobody waits longer for a pause in a recording; its marker says its length
LINGER_S = 2.0  # receivers still fetch the last samples after we have sent them
MAX_SPEED = 100.0
NEAR_S = 1.0  # a marker without a sample that near belongs to no part of the recording


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """What to play and how.

    Parameters
    ----------
    path : Path
        Any file that `engine.readfile.read_eeg` reads.
    loop : bool
        Begin again after the end, with a gap and a marker at the seam.
    speed : float
        1 is real time. Above it the declared rate stays that of the file, so this is for trials
        of the plumbing only.
    name, source_id : str or None
        Of the LSL stream; by default after the file.
    wait : bool
        Begin when somebody receives the stream.
    network : Network
        Ignored where the environment variable LSLAPICFG names a configuration.
    """

    path: Path
    loop: bool = False
    speed: float = 1.0
    name: str | None = None
    source_id: str | None = None
    wait: bool = False
    network: Network = field(default_factory=Network)

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        line = [str(Path(self.path).resolve()), "--loop" if self.loop else "--once"]
        line.append(f"--speed={self.speed:.17g}")
        if self.name is not None:
            line.append(f"--name={self.name}")
        if self.source_id is not None:
            line.append(f"--source-id={self.source_id}")
        if self.wait:
            line.append("--wait")
        return line + network_arguments(self.network)


@dataclass(frozen=True, slots=True)
class Played:
    """What happened."""

    samples: int
    loops: int
    finished: bool  # False when stopped before the end


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of samples to push at once.

    `first`, `stop` index the file; `tick` counts sample periods since the start for the first
    sample, gaps included.
    """

    first: int
    stop: int
    tick: int


def declared(eeg: EegFile, name: str | None = None, source_id: str | None = None) -> StreamSpec:
    """Return what the outlet declares: the file's columns and a counter."""
    columns = [
        # A counter of the file is data; the one that counts this stream is ours.
        replace(c, kind="misc" if c.kind == "counter" else c.kind)
        for c in eeg.spec.channels
    ]
    taken = {c.name for c in columns}
    counter = next(n for n in ("counter", "play counter", "play counter 2") if n not in taken)
    columns.append(Channel(counter, "counter", "samples", 1.0, counter))
    # float32 holds whole numbers up to 2**24 and EEG to a nanovolt; other columns may need more.
    others = [i for i, c in enumerate(eeg.spec.channels) if c.unit != "microvolts"]
    values = eeg.samples[:, others]
    large = np.abs(values[np.isfinite(values)]).max(initial=0.0) >= 2**24
    return replace(
        eeg.spec,
        name=name or eeg.spec.name,
        source_id=source_id or f"neuroloop-play-{eeg.spec.name}",
        uid="",
        host="",
        channels=tuple(columns),
        dtype="float64" if large else "float32",
    )


def timeline(eeg: EegFile) -> tuple[list[Piece], list[tuple[int, str]], int]:
    """Plan one pass through the file, in sample periods.

    Returns
    -------
    pieces : list of Piece
        In order; no piece goes across a gap.
    markers : list of (int, str)
        Tick and text, in order: those of the file and one for each gap that was shortened.
    length : int
        Ticks of the whole pass.
    """
    rate_hz, n, stamps = eeg.spec.rate_hz, len(eeg.samples), eeg.stamps
    push = max(1, round(PUSH_S * rate_hz))
    ticks = np.arange(n)
    said: list[tuple[int, str]] = []
    edges = [0]
    if stamps is not None:
        for i in stamp_gaps(stamps, rate_hz) or ():
            gap_s = float(stamps[i] - stamps[i - 1]) - 1.0 / rate_hz
            ticks[i:] += round(min(gap_s, LONGEST_GAP_S) * rate_hz)
            edges.append(i)
            if gap_s > LONGEST_GAP_S:
                said.append((int(ticks[i]), f"gap of {gap_s:.3f} s in the file"))
    edges.append(n)
    pieces = [
        Piece(first, min(first + push, stop), int(ticks[first]))
        for start, stop in itertools.pairwise(edges)
        for first in range(start, stop, push)
    ]
    length = int(ticks[-1]) + 1
    for t_s, text in eeg.markers:
        if stamps is None:
            tick = round(t_s * rate_hz)
        else:
            # The stamps of a clock that was reset do not rise.
            distance_s = np.abs(stamps - (stamps[0] + t_s))
            at = int(np.argmin(distance_s))
            tick = int(ticks[at]) if distance_s[at] < NEAR_S else -1
        if 0 <= tick < length:
            said.append((tick, text))
    return pieces, sorted(said), length


def play(
    options: PlayOptions,
    *,
    stop: threading.Event,
    ready: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda _: None,
) -> Played:
    """Offer a recording as an LSL stream, with its markers as a second one.

    Parameters
    ----------
    options : PlayOptions
    stop : Event
        Ends it at once when set.
    ready : callable
        Called when the streams are on the network.
    say : callable
        Receives what a person should know, sentence by sentence.

    Raises
    ------
    FileError
        The file cannot be read.
    InputError
        The speed is out of range.
    RunError
        LSL cannot be loaded.
    """
    if not 0 < options.speed <= MAX_SPEED:
        raise InputError(
            f"A speed of {options.speed:g} is not possible.",
            f"Choose a number above 0 and up to {MAX_SPEED:g}; 1 is real time.",
        )
    eeg = read_eeg(options.path)
    for note in eeg.notes:
        say(note)
    spec = declared(eeg, options.name, options.source_id)
    pieces, said, length = timeline(eeg)
    samples = eeg.samples if spec.dtype == "float64" else narrowed(eeg.samples)
    load_pylsl()
    configure_lsl(options.network)
    outlet = Outlet(spec, "player")
    markers = MarkerOutlet(f"{spec.name}-markers", f"{spec.source_id}-markers")
    ready()
    try:
        if options.wait:
            say("Waiting for somebody to receive the stream.")
            while not outlet.has_consumers:
                if stop.wait(0.05):
                    return Played(0, 0, finished=False)
        return _run(options, outlet, markers, samples, pieces, said, length, spec.rate_hz, stop)
    finally:
        outlet.close()
        markers.close()


def _run(
    options: PlayOptions,
    outlet: Outlet,
    markers: MarkerOutlet,
    samples: NDArray[np.floating],
    pieces: list[Piece],
    said: list[tuple[int, str]],
    length: int,
    rate_hz: float,
    stop: threading.Event,
) -> Played:
    period_s = 1.0 / (rate_hz * options.speed)
    seam = max(1, round(SEAM_S * rate_hz))
    sent = 0
    start_s = now()
    for loop in itertools.count():
        zero = loop * (length + seam)
        waiting = iter([*([(0, f"loop {loop + 1}")] if loop else []), *said])
        coming = next(waiting, None)
        for piece in pieces:
            n = piece.stop - piece.first
            ticks = zero + piece.tick + np.arange(n)
            # A sample is taken at the end of its period; the piece leaves with its last one.
            stamps = np.asarray(start_s + (ticks + 1) * period_s, dtype=np.float64)
            if not wait_until(float(stamps[-1]), stop):
                return Played(sent, loop, finished=False)
            rows = np.column_stack([samples[piece.first : piece.stop], ticks % COUNTER_WRAP])
            outlet.push_stamped(rows.astype(samples.dtype), stamps)
            sent += n
            while coming is not None and coming[0] < piece.tick + n:
                markers.push(coming[1], start_s + (zero + coming[0] + 1) * period_s)
                coming = next(waiting, None)
        if not options.loop:
            break
    return Played(sent, 1, finished=not stop.wait(LINGER_S))


# ---------------------------------------------------------------- a process of its own


def spawn_player(options: PlayOptions) -> SimulatorProcess:
    """Start a player in its own process and return when its stream is on the network.

    Raises
    ------
    InputError
        It refused the file or the options; the sentence is its own.
    RunError
        It did not start.
    """
    return spawn_module("engine.play", options.arguments())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m engine.play``."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.play", description="Play a recording as an LSL stream."
    )
    parser.add_argument("file", type=Path, help="EDF, BDF, FIF, XDF, OpenBCI text, CSV ...")
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--once", action="store_true", help="end after the last sample (default)")
    times.add_argument("--loop", action="store_true", help="begin again, after a gap of 1 s")
    parser.add_argument("--speed", type=float, default=1.0, help="1 is real time (default)")
    parser.add_argument("--name", help="of the stream (default: of the file)")
    parser.add_argument("--source-id", help="of the stream")
    parser.add_argument("--wait", action="store_true", help="begin when somebody receives it")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    add_network_arguments(parser)
    given = parser.parse_args(arguments)
    options = PlayOptions(
        path=given.file,
        loop=given.loop,
        speed=given.speed,
        name=given.name,
        source_id=given.source_id,
        wait=given.wait,
        network=network_of(given),
    )
    stop = threading.Event()
    ready = say_ready if given.child else lambda: None

    def say(sentence: str) -> None:
        sys.stderr.write(sentence + "\n")

    return run_program(
        lambda: play(options, stop=stop, ready=ready, say=say), stop, child=given.child
    )


if __name__ == "__main__":
    sys.exit(main())
