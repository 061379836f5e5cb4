"""A simulated person and amplifier as an LSL outlet, in a process of its own.

``python -m engine.simulate --help`` shows what can be set. `spawn_simulator` starts one beside
the calling process; it ends when that process ends, however that happens.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.amplifier import Amplifier, Close, Open, Push
from engine.clock import now
from engine.errors import InputError, NeuroloopError, RunError
from engine.faultscript import load_faults
from engine.frames import StreamSpec
from engine.hear import FeedbackSource
from engine.learner import RHYTHMS, TRAITS, Learner, trait_named
from engine.lsl import configure_lsl, load_pylsl
from engine.outlet import Outlet, wait_until
from engine.person import MAX_RATE_HZ, MIN_RATE_HZ, SITES, Person, columns

__all__ = [
    "Network",
    "SimulatorOptions",
    "SimulatorProcess",
    "main",
    "simulate",
    "spawn_simulator",
]

LINGER_S = 1.0  # receivers still fetch the last samples after we have sent them
READY_S = 30.0  # a loaded computer may take that long to start Python
READY = "ready"
MODEL = "simulated person"


@dataclass(frozen=True, slots=True)
class Network:
    """LSL settings of a process that is not a room."""

    known_peers: tuple[str, ...] = ()
    session_id: str = "default"
    loopback_only: bool = True


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """What to simulate.

    Parameters
    ----------
    rate_hz : float
        128 to 2048.
    seed : int
    seconds : float or None
        Length, None for no end.
    faults : Path or None
        A fault script.
    name, source_id : str
        Of the LSL stream.
    eyes : {"open", "closed"}
    blinks, jaw : bool
        Whether these artefacts happen by themselves.
    mains_hz : float
    person : str
        One of `engine.learner.TRAITS`: how the person answers to the feedback of the session that
        receives this stream, as far as it is published; empty for one who sees none.
    rhythm : {"alpha", "smr", "theta", "beta"}
        Which rhythm such a person has in hand; gains of it in a fault script have no effect.
    network : Network
        Ignored where the environment variable LSLAPICFG names a configuration.
    """

    rate_hz: float = 250.0
    seed: int = 1
    seconds: float | None = None
    faults: Path | None = None
    name: str = "neuroloop-sim"
    source_id: str = "neuroloop-sim"
    eyes: Literal["open", "closed"] = "open"
    blinks: bool = True
    jaw: bool = True
    mains_hz: float = 50.0
    person: str = ""
    rhythm: str = "smr"
    network: Network = field(default_factory=Network)

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        line = [f"--rate={self.rate_hz:.17g}", f"--seed={self.seed}", f"--eyes={self.eyes}"]
        line += [f"--name={self.name}", f"--source-id={self.source_id}"]
        line += [f"--mains={self.mains_hz:.17g}"]
        if self.seconds is not None:
            line.append(f"--seconds={self.seconds:.17g}")
        if self.faults is not None:
            line.append(f"--faults={Path(self.faults).resolve()}")
        if not self.blinks:
            line.append("--no-blinks")
        if not self.jaw:
            line.append("--no-jaw")
        if self.person:
            line += [f"--person={self.person}", f"--rhythm={self.rhythm}"]
        return line + network_arguments(self.network)


def network_arguments(network: Network) -> list[str]:
    """Return the command line for LSL settings."""
    line = [f"--session-id={network.session_id}"]
    if not network.loopback_only:
        line.append("--network")
    return line + [f"--known-peer={peer}" for peer in network.known_peers]


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `network_of` reads."""
    parser.add_argument("--session-id", default="default", help="LSL session id")
    parser.add_argument(
        "--network", action="store_true", help="offer the stream to other computers as well"
    )
    parser.add_argument("--known-peer", action="append", default=[], help="host to ask directly")


def network_of(given: argparse.Namespace) -> Network:
    """Return the LSL settings of a command line."""
    return Network(tuple(given.known_peer), given.session_id, not given.network)


def simulate(
    options: SimulatorOptions,
    *,
    stop: threading.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Offer the stream until the time is over or `stop` is set.

    Every block of about 30 ms leaves when its last sample is due, by absolute deadlines of the
    LSL clock, stamped with that moment. `ready` is called when the stream is on the network.

    Raises
    ------
    InputError
        The rate, the fault script or the person cannot be used.
    RunError
        LSL cannot be loaded.
    """
    script = load_faults(options.faults, SITES) if options.faults else ()
    person = Person(
        options.rate_hz,
        seed=options.seed,
        eyes=options.eyes,
        blinks=options.blinks,
        jaw=options.jaw,
        mains_hz=options.mains_hz,
    )
    mind: Learner | None = None
    if options.person:
        mind = Learner(trait_named(options.person), options.rhythm, options.seed)
    spec = StreamSpec(
        name=options.name,
        stype="EEG",
        source_id=options.source_id,
        uid="",
        host="",
        rate_hz=options.rate_hz,
        channels=columns(),
    )
    amplifier = Amplifier(person, spec, script)
    load_pylsl()
    configure_lsl(options.network)
    outlets = {False: Outlet(spec, MODEL)}  # the twin under True
    screen = FeedbackSource(options.source_id)
    if mind is not None:
        screen.start()
    ready()
    start_s = now()  # opening took its time; the person begins now
    while True:
        if mind is not None:
            for t_s, seen in screen.take():
                mind.see(t_s, seen)
            mind.step(amplifier.person, now())
        step = amplifier.step()
        if options.seconds is not None and step.due_s > options.seconds + 1e-9:
            break
        if not wait_until(start_s + step.due_s, stop):
            break
        for action in step.actions:
            match action:
                case Open():
                    outlets[action.twin] = Outlet(action.spec, MODEL)
                case Close():
                    outlets.pop(action.twin).close()
                case Push():
                    for outlet in outlets.values():
                        outlet.push(action.samples, start_s + action.stamp_s)
    stop.wait(LINGER_S)
    screen.stop()
    for outlet in outlets.values():
        outlet.close()


# ---------------------------------------------------------------- a process of its own


class SimulatorProcess:
    """A simulator running beside this process.

    It ends with `stop`, and by itself when this process ends, because it then finds its standard
    input closed.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, as a power failure would."""
        self._process.kill()
        self.stop()

    def stop(self, timeout_s: float = 3.0) -> int:
        """Ask it to end and return its exit code."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def __enter__(self) -> SimulatorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def spawn_simulator(options: SimulatorOptions) -> SimulatorProcess:
    """Start a simulator in its own process and return when its stream is on the network.

    Raises
    ------
    InputError
        It refused the options; the sentence is its own.
    RunError
        It did not start.
    """
    return spawn_module("engine.simulate", options.arguments())


def spawn_module(module: str, arguments: Sequence[str]) -> SimulatorProcess:
    """Start one of our outlet programs; see `spawn_simulator`."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        # The packages are found from here, installed or not.
        cwd=Path(__file__).resolve().parent.parent,
    )
    first: list[str] = []

    def read() -> None:
        first.append(process.stdout.readline() if process.stdout else "")

    reader = threading.Thread(target=read, name="spawn-ready", daemon=True)
    reader.start()
    reader.join(READY_S)
    if first and first[0].strip() == READY:
        _drain(process)
        return SimulatorProcess(process)
    process.kill()
    said = (process.communicate()[1] or "").strip() if first else ""
    if process.returncode == InputError.exit_code and said:
        raise InputError(said)
    raise RunError(
        f"{module} did not start within {READY_S:g} s. {said[-500:]}".strip(),
        "Run it by hand to see why: python -m " + " ".join([module, *arguments]),
    )


def _drain(process: subprocess.Popen[str]) -> None:
    """Read what the child says on its error output, so that it never blocks there."""

    def read() -> None:
        if process.stderr is not None:
            for _ in process.stderr:
                pass
            process.stderr.close()

    threading.Thread(target=read, name="spawn-drain", daemon=True).start()


def child_of_parent(stop: threading.Event) -> None:
    """Set `stop` when the parent closes our standard input or dies; ignore its Ctrl-C."""

    def watch() -> None:
        # Not through sys.stdin: its buffer must not be locked by a thread when Python ends.
        while os.read(0, 4096):
            pass
        stop.set()

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def say_ready() -> None:
    """Tell the parent that the stream is on the network."""
    sys.stdout.write(READY + "\n")
    sys.stdout.flush()


def run_program(program: Callable[[], object], stop: threading.Event, *, child: bool) -> int:
    """Run a command line program until its end, Ctrl-C or SIGTERM; return the exit code."""
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        if child:
            child_of_parent(stop)
        program()
    except KeyboardInterrupt:
        return 130
    except NeuroloopError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m engine.simulate``."""
    usual = SimulatorOptions()
    parser = argparse.ArgumentParser(
        prog="python -m engine.simulate", description="A simulated person as an LSL stream."
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=250.0,
        help=f"Hz, {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} (default 250)",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed is the same person")
    parser.add_argument("--seconds", type=float, help="how long (default: no end)")
    parser.add_argument("--faults", type=Path, help="a fault script (YAML)")
    parser.add_argument("--name", default=usual.name)
    parser.add_argument("--source-id", default=usual.source_id)
    parser.add_argument("--eyes", choices=("open", "closed"), default="open")
    parser.add_argument("--no-blinks", action="store_true")
    parser.add_argument("--no-jaw", action="store_true", help="no jaw clenches")
    parser.add_argument("--mains", type=float, default=50.0, help="Hz (default 50)")
    parser.add_argument("--person", choices=TRAITS, default="", help="how it answers to feedback")
    parser.add_argument("--rhythm", choices=RHYTHMS, default=usual.rhythm, help="what it trains")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    add_network_arguments(parser)
    given = parser.parse_args(arguments)
    options = SimulatorOptions(
        rate_hz=given.rate,
        seed=given.seed,
        seconds=given.seconds,
        faults=given.faults,
        name=given.name,
        source_id=given.source_id,
        eyes=given.eyes,
        blinks=not given.no_blinks,
        jaw=not given.no_jaw,
        mains_hz=given.mains,
        person=given.person,
        rhythm=given.rhythm,
        network=network_of(given),
    )
    stop = threading.Event()
    ready = say_ready if given.child else lambda: None
    return run_program(lambda: simulate(options, stop=stop, ready=ready), stop, child=given.child)


if __name__ == "__main__":
    sys.exit(main())
