"""The first thing anyone runs: a simulated person, a real stream, a short session, a report."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from engine.errors import FileError
from engine.features import FEATURES
from engine.folder import check_folder
from engine.run import Ran, RunOptions, has_screen, run_session
from engine.simulate import Network, SimulatorOptions, spawn_simulator
from protocols.load import load
from protocols.plan import expand

__all__ = ["SEED", "run_demo"]

# The simulated person blinks and clenches the jaw at random, as people do. A shortened baseline
# has few seconds to spare for that: with most seeds it is repeated now and then, which makes a
# demo a third longer, and with some a whole short block is gated. This seed was picked among a
# hundred because the baselines of the first four shipped protocols pass at the first try, whenever
# the session begins, and every one of them gives rewards. So a demo shows a good day, not an
# average one.
SEED = 19

ROOM = """format: 1
name: Demo
use: test
stream: {{name: {name}, type: EEG, source_id: {name}, counter: counter, coupling: dc}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {name}}}
screen: {{full_screen: no, size: 1280 x 720, required: no}}
sound: {{required: no}}
record: {{keep_free_gb: 0.2}}
"""


def run_demo(
    protocol: str, seconds: float, out: Path | None, plain: bool, say: Callable[[str], None]
) -> Ran:
    """Run a session of about `seconds` with a simulated person.

    Parameters
    ----------
    protocol : str
        Library name or path.
    seconds : float
        Of the session itself.
    out : Path or None
        Folder for recording and report.
    plain : bool
        Lines instead of the live view.
    say : callable
        Shows a sentence.
    """
    loaded = load(protocol, FEATURES)
    expand(loaded.protocol, seconds)  # a mistake is told before anything starts
    folder = Path("sessions") if out is None else out
    check_folder(folder)
    name = f"neuroloop-demo-{uuid.uuid4().hex[:8]}"
    room = folder / "demo-room.yaml"
    try:
        room.write_text(ROOM.format(name=name), "utf-8")
    except OSError as error:
        raise FileError(
            f"{room} cannot be written: {error.strerror or error}.", "Choose another --out."
        ) from error
    if not has_screen():
        say("No screen here: the window runs headless and saves its frames as pictures.")
    closed = all(b.eyes == "closed" for b in loaded.protocol.baseline)
    options = SimulatorOptions(
        name=name,
        source_id=name,
        seed=SEED,
        eyes="closed" if closed else "open",
        network=Network(session_id=name),
    )
    with spawn_simulator(options):
        return run_session(
            RunOptions(
                protocol=protocol,
                room=str(room),
                client="demo",
                short_s=seconds,
                out=folder,
                headless=not has_screen(),
                plain=plain,
                find_s=15.0,
            ),
            say,
        )
