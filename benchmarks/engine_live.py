"""The engine over LSL on this computer's loopback: a stream from another process, folded live.

``python -m benchmarks.engine_live receive SECONDS`` prints one line of JSON with shares of a core;
`benchmarks.engine_cost` starts it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from benchmarks.engine_case import (
    CHUNK,
    RATE_HZ,
    Signal,
    no_collector,
    stream_spec,
    trained,
)
from engine.acquire import LslSource
from engine.assemble import Assembly
from engine.clock import LslClock, now
from engine.frames import Chunk, Gap
from engine.lsl import configure_lsl
from engine.number import Numberer, Received
from engine.outlet import Outlet, wait_until
from engine.resolve import resolve
from engine.room import LslSettings, StreamChoice

__all__ = ["offer", "receive"]

SETTLE_S = 2.0  # of stream before anything is counted


def receive(seconds: float) -> None:
    """Receive and fold for so long; print what it cost."""
    session_id = f"benchmark-{uuid.uuid4().hex[:12]}"
    configure_lsl(LslSettings(session_id=session_id, loopback_only=True))
    signal = Signal()
    made, first = trained(signal.read(round(150.0 * RATE_HZ)))
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.engine_live", "offer", session_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("the outlet did not start")
        choice = StreamChoice(source_id=session_id)
        spec = resolve(choice, 20.0)
        source = LslSource(spec, choice, LslClock())
        source.start()
        with no_collector():
            found = _count(source, Numberer(spec), made, first, seconds)
        source.stop()
    finally:
        child.stdin.close()
        try:
            child.wait(10.0)
        except subprocess.TimeoutExpired:
            child.kill()
    sys.stdout.write(json.dumps(found) + "\n")


def _count(
    source: LslSource, number: Numberer, made: Assembly, first: int, seconds: float
) -> dict[str, float]:
    """Fold what comes, as a session does, and count once the stream has run for two seconds."""
    process = psutil.Process()
    began = before = None
    n = points = 0
    numbering = folding = 0.0
    deadline = time.monotonic() + seconds + 30.0
    while time.monotonic() < deadline:
        item = source.get(0.01)
        t = time.monotonic()
        if began is None:
            if number.seq >= SETTLE_S * RATE_HZ:
                began, before = t, process.cpu_times()
                n = points = 0
                numbering = folding = 0.0
        elif t - began >= seconds:
            break
        if not isinstance(item, Received):
            continue
        n += len(item.stamps)
        a = time.thread_time()
        items = number.step(item)
        b = time.thread_time()
        for one in items:
            if isinstance(one, Chunk | Gap):
                points += len(made.fold.step(replace(one, seq=one.seq + first)))
        numbering += b - a
        folding += time.thread_time() - b
    if began is None or before is None:
        raise RuntimeError("no samples came")
    lasted = time.monotonic() - began
    after = process.cpu_times()
    whole = after.user + after.system - before.user - before.system
    return {
        "seconds": lasted,
        "samples": float(n),
        "points": float(points),
        "whole": whole / lasted,
        "number": numbering / lasted,
        "fold": folding / lasted,
    }


def offer(session_id: str) -> None:
    """Offer the stream until standard input closes."""
    configure_lsl(LslSettings(session_id=session_id, loopback_only=True))
    rows = Signal(seed=2).read(round(20.0 * RATE_HZ) // CHUNK * CHUNK).astype(np.float32)
    outlet = Outlet(stream_spec(source_id=session_id), "benchmark")
    stop = threading.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait_for_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    began, k = now(), 0
    while wait_until(began + (k + 1) * CHUNK / RATE_HZ, stop):
        at = k * CHUNK % len(rows)
        outlet.push(rows[at : at + CHUNK], began + (k + 1) * CHUNK / RATE_HZ)
        k += 1
    outlet.close()


if __name__ == "__main__":
    what, value = sys.argv[1:]
    if what == "offer":
        offer(value)
    else:
        with threadpool_limits(limits=1):
            receive(float(value))
