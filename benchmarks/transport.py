"""From a sample to the screen: a whole session against the barest loop that could do it.

``uv run python -m benchmarks.transport [--quick] [--seconds S] [--out FOLDER]``. An outlet in a
process of its own sends 32 channels at 250 Hz in packets of 8 samples; the stamp of the last one is
the moment of sending. Readers take turns, because two at a time would disturb each other:

- **Neuroloop**: ``neuroloop run`` as in a session, all but the sound (acquisition, numbering,
  filters, gates, decisions, recording, publishing, the operator's live view on a terminal, the
  person's window of 1280 x 720 in a process of its own, picture, flash guard). Read from the
  recording of the session alone, as its report does.
- **bare loop**: one process; at each of 60 frames a second it pulls until nothing is left, takes
  the mean square, draws a circle and a number and flips.

What is compared is the time from the stamp of the newest sample behind a picture to the return of
the first flip that shows it. SDL's dummy driver flips at once, so neither a screen's refresh nor
its own delay is in it, in either of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import Table, machine
from engine.clock import now
from engine.columns import SHOWN
from engine.lsl import configure_lsl, load_pylsl
from engine.outlet import Outlet, wait_until
from engine.recording import Recording, read
from engine.room import LslSettings
from engine.shown import first_flips, shown

__all__ = ["LIMITS", "Part", "bare", "compared", "main", "ours", "run", "table"]

Floats = NDArray[np.float64]

RATE_HZ, CHUNK, CHANNELS = 250.0, 8, 32
SIZE = (1280, 720)
FRAME_S = 1.0 / 60.0
SPIN_S = 0.0015  # as in the person's window
SETTLE_S = 1.0  # of each segment, before anything counts
EXTRA_S = 4.0  # a session begins training some time after its window opened
LIMITS: Mapping[str, float] = {"p50": 1.15, "p95": 1.3}
"""How many times as long as the bare loop a session may take."""
BARE, EARLY, STEADY = "bare loop", "Neuroloop, as it comes", "Neuroloop, steady"
QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}

PROTOCOL = """\
format: 2
extends: smr_up
name: transport
title: Transport
baseline: []
reward: {feature: smr, above: {fixed: 3 uV2}, sustain: 0.5 s, refractory: 2 s}
inhibit:
  - {feature: theta, below: {fixed: 100 uV2}}
  - {feature: high_beta, below: {fixed: 100 uV2}}
feedback:
  level: {feature: smr, from: {fixed: 0.1 uV2}, to: {fixed: 30 uV2}, smooth: 0.3 s}
  picture: orb
session:
  - {train: 3000 s, say: "Let the orb grow."}
"""
ROOM = """\
format: 1
name: Transport
use: test
stream: {{name: {name}, type: EEG, source_id: {name}}}
mains: 50 Hz
lsl: {{loopback_only: yes, session_id: {name}}}
screen: {{full_screen: no, size: {width} x {height}, required: no, steady: {steady}}}
sound: {{required: no}}
record: {{keep_free_gb: 0}}
publish: yes
"""


@dataclass(frozen=True, slots=True)
class Part:
    """What one segment found: per value the delay of its first flip, and the frames.

    Parameters
    ----------
    ms : ndarray, shape (n_values,)
    fps : float
        Frames per second.
    missed : int or None
        Flips that did not happen.
    """

    ms: Floats
    fps: float
    missed: int | None = None


# ---------------------------------------------------------------- the source


def offer(name: str) -> None:
    """Send until standard input closes; a person's signal, a new packet every 32 ms."""
    from benchmarks.engine_case import NAMES, Signal, stream_spec

    configure_lsl(LslSettings(session_id=name, loopback_only=True))
    rows = Signal(CHANNELS, RATE_HZ, seed=2).read(round(60.0 * RATE_HZ)).astype(np.float32)
    outlet = Outlet(stream_spec(NAMES[:CHANNELS], RATE_HZ, name), "benchmark")
    stop = threading.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began, k = now(), 0
    while wait_until(began + (k + 1) * CHUNK / RATE_HZ, stop):
        at = k * CHUNK % (len(rows) - CHUNK)
        outlet.push(rows[at : at + CHUNK], now())
        k += 1
    outlet.close()


@contextmanager
def offered(name: str) -> Iterator[None]:
    """Run the source beside whatever happens inside."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.transport", "--offer", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("the source did not start")
        yield
    finally:
        child.stdin.close()
        try:
            child.wait(10.0)
        except subprocess.TimeoutExpired:
            child.kill()


# ---------------------------------------------------------------- the bare loop


def bare(name: str, seconds: float) -> Part:
    """Receive, draw and flip in the shortest way, in this process."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame

    configure_lsl(LslSettings(session_id=name, loopback_only=True))
    pylsl = load_pylsl()
    found = pylsl.resolve_byprop("source_id", name, 1, 20.0)
    if not found:
        raise RuntimeError("the source was not found")
    inlet = pylsl.StreamInlet(found[0], max_buflen=10)
    inlet.open_stream(timeout=10.0)
    pygame.display.init()
    pygame.font.init()
    target = pygame.display.set_mode(SIZE)
    font = pygame.font.Font(None, 40)
    power, newest, drawn = 0.0, float("nan"), float("nan")
    delays: list[float] = []
    flips: list[float] = []
    deadline = began = now()
    while deadline - began < seconds + SETTLE_S:
        while True:
            samples, stamps = inlet.pull_chunk(timeout=0.0, as_numpy=True)
            if not len(stamps):
                break
            power, newest = float(np.mean(np.square(samples))), float(stamps[-1])
        pygame.event.pump()
        target.fill((20, 20, 22))
        radius = 60 + int(100.0 * power / (power + 100.0))
        pygame.draw.circle(target, (220, 200, 160), (SIZE[0] // 2, SIZE[1] // 2), radius)
        target.blit(font.render(f"{power:.1f}", True, (200, 200, 200)), (40, 40))
        pygame.display.flip()
        t_flip = now()
        if t_flip - began > SETTLE_S:
            flips.append(t_flip)
            if newest != drawn:
                delays.append(1e3 * (t_flip - newest))
        drawn = newest
        deadline += FRAME_S
        left = deadline - now()
        if left < 0.0:
            deadline = now()
            continue
        time.sleep(max(0.0, left - SPIN_S))
        while now() < deadline:
            pass
    pygame.display.quit()
    return Part(np.array(delays), _fps(np.array(flips)))


def _bare_apart(name: str, seconds: float) -> Part:
    """Run the bare loop in a process of its own."""
    line = [sys.executable, "-m", "benchmarks.transport", "--bare", name]
    done = subprocess.run(
        [*line, "--seconds", f"{seconds:g}"], capture_output=True, text=True, timeout=seconds + 90.0
    )
    if done.returncode:
        raise RuntimeError(f"the bare loop failed: {done.stderr.strip()[-500:]}")
    told = json.loads(done.stdout)
    return Part(np.array(told["ms"]), told["fps"])


# ---------------------------------------------------------------- a session


def ours(name: str, seconds: float, folder: Path, *, steady: bool) -> Part:
    """Run one session and read its recording."""
    folder.mkdir(parents=True)
    (folder / "transport.yaml").write_text(PROTOCOL, encoding="utf-8")
    pace = "yes" if steady else "no"
    room = ROOM.format(name=name, width=SIZE[0], height=SIZE[1], steady=pace)
    (folder / "room.yaml").write_text(room, encoding="utf-8")
    words = ["run", str(folder / "transport.yaml"), "--room", str(folder / "room.yaml")]
    words += ["--short", f"{seconds + SETTLE_S + EXTRA_S:g}", "--headless", "--silent"]
    words += ["--out", str(folder / "out"), "--find", "20"]
    line = [sys.executable, "-m", "engine.cli", *words]
    code, said = _on_a_terminal(line, os.environ | {"XDG_STATE_HOME": str(folder)}, seconds + 120)
    if code:
        raise RuntimeError(f"the session failed ({code}): {said[-800:]}")
    (path,) = (folder / "out").glob("*.xdf")
    return of_recording(read(path))


def of_recording(recording: Recording) -> Part:
    """Return what a session's recording tells of its training, without the first moments."""
    table = recording.presented
    t_flip = table.column("t_flip")
    live = table.column("screen") == SHOWN.index("feedback")
    if not live.any():
        raise RuntimeError("the session never came to its training")
    keep = live & (t_flip > t_flip[live].min() + SETTLE_S)
    trained = replace(recording, presented=table._replace(values=table.values[keep]))
    told = shown(trained)
    first = first_flips(trained.presented)
    delays = trained.presented.column("t_flip")[first] - trained.presented.column("t")[first]
    return Part(1e3 * delays, told.fps or 0.0, told.missed)


def _on_a_terminal(
    line: Sequence[str], environment: Mapping[str, str], timeout_s: float
) -> tuple[int, str]:
    """Run a command on a terminal of its own, so that the live view is drawn; read it all."""
    import fcntl
    import pty
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    child = subprocess.Popen(line, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    said: list[bytes] = []

    def drain() -> None:
        try:
            while chunk := os.read(master, 65536):
                said.append(chunk)
        except OSError:  # the other side is closed
            return

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        code = child.wait(timeout_s)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join(5.0)
        os.close(master)
    return code, b"".join(said).decode("utf-8", "replace")


# ---------------------------------------------------------------- side by side


def _fps(flips: Floats) -> float:
    return float((len(flips) - 1) / np.ptp(flips)) if len(flips) > 1 else 0.0


def compared(bare_ms: Floats, our_ms: Floats) -> dict[str, dict[str, float]]:
    """Return quantiles of both and how many times as long ours are."""
    told = {}
    for name, ms in (("bare loop", bare_ms), ("Neuroloop", our_ms)):
        told[name] = {k: float(np.percentile(ms, q)) for k, q in QUANTILES.items()}
        told[name]["max"] = float(ms.max())
    one, two = told["bare loop"], told["Neuroloop"]
    told["ratio"] = {k: two[k] / one[k] for k in one}
    return told


def table(parts: Mapping[str, Sequence[Part]]) -> Table:
    """Return the comparison, each kind of session with its verdict against the bare loop."""
    ms = {name: np.concatenate([p.ms for p in each]) for name, each in parts.items()}
    rows, verdicts = [], []
    wanted = " and ".join(f"{k} at most {limit:g}" for k, limit in LIMITS.items())
    for name, each in parts.items():
        told = compared(ms[BARE], ms[name])
        fps = float(np.mean([p.fps for p in each]))
        rows.append((name, str(len(ms[name])), *_cells(told["Neuroloop"]), f"{fps:.1f}"))
        if name != BARE:
            ratio = told["ratio"]
            rows.append(("ratio to it", "", *(f"{v:.2f}" for v in ratio.values()), ""))
            passed = all(ratio[k] <= limit for k, limit in LIMITS.items())
            verdicts.append(f"{'PASS' if passed else 'MISS'}, {name}: wanted is {wanted}.")
    segments = len(parts[BARE])
    return Table(
        "From the newest sample's stamp to the flip, ms",
        ("", "values", "p50", "p95", "p99", "max", "frames/s"),
        tuple(rows),
        (
            *verdicts,
            "As it comes shows a new value up to 5 ms before its sixtieth of a second is over, "
            "which no screen that keeps the time allows; steady does not.",
            f"{CHANNELS} channels, {RATE_HZ:g} Hz, packets of {CHUNK}; {segments} segments each in "
            f"turn; {SIZE[0]} x {SIZE[1]}, SDL's dummy driver, no sound.",
        ),
    )


def _cells(told: Mapping[str, float]) -> list[str]:
    return [f"{told[k]:.1f}" for k in (*QUANTILES, "max")]


def measured(segments: int, seconds: float) -> dict[str, list[Part]]:
    """Return the segments of all, which take turns."""
    name = f"transport-{uuid.uuid4().hex[:8]}"
    parts: dict[str, list[Part]] = {BARE: [], EARLY: [], STEADY: []}
    with tempfile.TemporaryDirectory() as folder, offered(name):
        for k in range(segments):
            parts[BARE].append(_bare_apart(name, seconds))
            for who in (EARLY, STEADY):
                place = Path(folder) / f"{k}-{who == STEADY}"
                parts[who].append(ours(name, seconds, place, steady=who == STEADY))
    return parts


def run(quick: bool, seconds: float | None = None) -> list[Table]:
    """Return the tables; five minutes of each reader, or twenty seconds."""
    segments, each = (2, 10.0) if quick else (10, 30.0)
    return [table(measured(segments, each if seconds is None else seconds))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 x 10 s of each")
    parser.add_argument("--seconds", type=float, help="of each segment")
    parser.add_argument("--out", type=Path, help="folder for transport.md")
    parser.add_argument("--offer", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--bare", metavar="NAME", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.offer:
        offer(given.offer)
        return
    if given.bare:
        part = bare(given.bare, given.seconds)
        sys.stdout.write(json.dumps({"ms": part.ms.tolist(), "fps": part.fps}) + "\n")
        return
    text = "\n".join([machine(), *(t.markdown() for t in run(given.quick, given.seconds))])
    sys.stdout.write(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "transport.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
