"""What the whole engine costs, from an LSL stream to a decision, and how fast a replay runs.

``uv run python -m benchmarks.engine_cost`` measures on the case of `benchmarks.engine_case` the
fold in training, live over LSL on this computer's loopback, a replay of the recording of a whole
session, and what fitting takes in PREPARING.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.cost import circumstances, load_now
from benchmarks.engine_case import (
    CHUNK,
    NAMES,
    RATE_HZ,
    Signal,
    no_collector,
    protocol,
    recorded,
    stamps_of,
    start_order,
    stream_spec,
    trained,
)
from benchmarks.table import Table, machine, median_interval
from engine.assemble import Assembly, assemble
from engine.frames import Chunk, Float
from engine.number import Numberer, Received
from engine.replay import replay_recording
from protocols.plan import expand

__all__ = [
    "FoldCost",
    "ReplayCost",
    "fitting",
    "fold",
    "live",
    "main",
    "paced",
    "replayed",
    "run",
    "tables",
]

ROUND_S = 10.0  # of data
LIVE_S, QUICK_LIVE_S = 20.0, 5.0
STAGES = (
    ("conditioner", ("step",), "condition"),
    ("gates", ("measure", "decide"), "gates"),
    ("beside", ("step",), "estimate"),
    ("estimator", ("push", "look"), "estimate"),
    ("wiring", ("read",), "estimate"),
    ("bank", ("step",), "features"),
    ("decider", ("step",), "decide"),
)
"""Attribute of the fold, its methods that are timed, and what the table calls them."""


# ---------------------------------------------------------------- (a) the fold


@dataclass(frozen=True, slots=True)
class FoldCost:
    """What samples cost from reception to decision.

    Parameters
    ----------
    cpu : ndarray, shape (n_rounds,)
        CPU seconds per second of data.
    number : ndarray, shape (n_rounds,)
        Of these for numbering what was received.
    stages : dict of str to float
        Share of the fold by stage, from a round apart with timers in.
    """

    cpu: Float
    number: Float
    stages: dict[str, float]


def fold(uv: Float, made: Assembly, at: int, chunk: int = CHUNK) -> FoldCost:
    """Feed what is left of `uv` in chunks as from an inlet.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
    made : Assembly
        As `trained` returned it.
    at : int
        Samples it has had.
    chunk : int
    """
    number = Numberer(stream_spec())
    per_round = round(ROUND_S * RATE_HZ / chunk) * chunk
    cpu: list[float] = []
    numbering: list[float] = []
    timers: dict[str, float] = {}
    first = at
    with no_collector():
        while at + per_round <= len(uv):
            last = at + 2 * per_round > len(uv)
            undo = _with_timers(made, timers) if last else _nothing
            began, spent = time.thread_time(), 0.0
            for k in range(at, at + per_round, chunk):
                rows = uv[k : k + chunk].astype(np.float32)
                stamps = stamps_of(k, chunk)
                a = time.thread_time()
                items = number.step(Received(rows, stamps, float(stamps[-1]) + 0.01))
                spent += time.thread_time() - a
                for item in items:
                    if isinstance(item, Chunk):
                        made.fold.step(replace(item, seq=item.seq + first))
            taken = time.thread_time() - began
            undo()
            if last:
                timers["rest of the fold"] = taken - spent - sum(timers.values())
            else:
                cpu.append(taken / ROUND_S)
                numbering.append(spent / ROUND_S)
            at += per_round
    whole = sum(timers.values())
    shares = {name: spent_s / whole for name, spent_s in timers.items()}
    return FoldCost(np.array(cpu), np.array(numbering), shares)


def paced(uv: Float, made: Assembly, seconds: float, chunk: int = CHUNK) -> float:
    """Return the fold's share of a core when it waits between two chunks as live, without LSL.

    Whatever else the processor does meanwhile takes the caches: that alone makes a chunk dearer.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
        Fed from the beginning, whatever `made` has had.
    made : Assembly
    seconds : float
        Of data and of waiting.
    chunk : int
    """
    at, spent = made.fold.next_seq, 0.0
    n = round(seconds * RATE_HZ / chunk)
    with no_collector():
        for k in range(n):
            time.sleep(chunk / RATE_HZ)
            one = Chunk(at, stamps_of(at, chunk), uv[k * chunk : (k + 1) * chunk])
            began = time.thread_time()
            made.fold.step(one)
            spent += time.thread_time() - began
            at += chunk
    return spent / (n * chunk / RATE_HZ)


def _nothing() -> None:
    return None


def _with_timers(made: Assembly, into: dict[str, float]) -> Callable[[], None]:
    """Time the fold's stages from now on; return what takes the timers out again."""
    put: list[tuple[Any, str]] = []
    for attribute, methods, label in STAGES:
        owner = getattr(made.fold, attribute)
        for method in methods:
            setattr(owner, method, _timed(getattr(owner, method), label, into))
            put.append((owner, method))

    def undo() -> None:
        for owner, method in put:
            delattr(owner, method)

    return undo


def _timed(call: Callable[..., Any], label: str, into: dict[str, float]) -> Callable[..., Any]:
    into.setdefault(label, 0.0)

    def timed(*args: Any, **more: Any) -> Any:
        began = time.thread_time()
        out = call(*args, **more)
        into[label] += time.thread_time() - began
        return out

    return timed


def live(seconds: float) -> dict[str, float]:
    """Receive a real stream from another process and fold it; return shares of one core.

    In a process of its own (`benchmarks.engine_live`), since LSL reads its settings only once.

    Raises
    ------
    RuntimeError
        The process failed; what it said is in the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine_live", "receive", str(seconds)],
        capture_output=True,
        text=True,
        timeout=120.0 + 2.0 * seconds,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the live part failed: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---------------------------------------------------------------- (b) replay


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """How fast a recording was read, fitted and folded again.

    Parameters
    ----------
    seconds : float
        Of the recording.
    cpu_s : ndarray, shape (n_rounds,)
        CPU seconds of a whole replay.
    identical : bool
        Whether every decision was the recorded one.
    """

    seconds: float
    cpu_s: Float
    identical: bool

    @property
    def speed(self) -> Float:
        """Seconds of data per second, per round."""
        return np.asarray(self.seconds / self.cpu_s)


def replayed(path: Path, seconds: float, rounds: int) -> ReplayCost:
    """Replay a recording again and again."""
    cpu = []
    identical = True
    for _ in range(rounds):
        gc.collect()
        began = time.process_time()
        out = replay_recording(path)
        cpu.append(time.process_time() - began)
        identical = identical and out.comparison is not None and out.comparison.identical
    return ReplayCost(seconds, np.array(cpu), identical)


# ---------------------------------------------------------------- (c) fitting


def fitting(n_channels: int, rate_hz: float, sites: int) -> tuple[float, float]:
    """Return the seconds that PREPARING takes after a baseline of 120 s, and the usual hop's.

    Parameters
    ----------
    n_channels : int
    rate_hz : float
    sites : int
        Over how many of the channels alpha power is averaged: each has its own calibration.
    """
    names = (*NAMES, *(f"E{k}" for k in range(n_channels - len(NAMES))))
    given = protocol(names[:sites])
    spec = stream_spec(names, rate_hz)
    made = assemble(spec, given, expand(given), mains_hz=50.0)
    made.fold.step(start_order(spec))
    signal = Signal(n_channels, rate_hz)
    at, hop = 0, spec.hop
    took: list[float] = []
    with no_collector():
        while True:
            rows = signal.read(hop)
            chunk = Chunk(at, stamps_of(at, hop, rate_hz), rows)
            began = time.perf_counter()
            points = made.fold.step(chunk)
            took.append(time.perf_counter() - began)
            at += hop
            if made.fold.fitted is not None:
                return took[-1], float(np.median(took))
            if at > 400.0 * rate_hz or any(p.decision.kind.terminal for p in points):
                raise RuntimeError("the baseline was not accepted")


# ---------------------------------------------------------------- tables


def _interval(values: Float) -> tuple[float, float, float]:
    return median_interval(values, [str(i) for i in range(len(values))])


def _fold_table(
    slow: FoldCost, waiting: float, received: dict[str, float] | str, note: str
) -> Table:
    def row(what: str, values: Float) -> tuple[str, str, str, str]:
        middle, low, high = (f"{100.0 * v:.2f} %" for v in _interval(values))
        return what, middle, f"{100.0 * float(values.min()):.2f} %", f"{low} to {high}"

    rows: list[tuple[str, ...]] = [row("numbering and fold", slow.cpu)]
    rows.append(row("of it numbering", slow.number))
    middle = float(np.median(slow.cpu - slow.number))
    for name, share in slow.stages.items():
        rows.append((f"of it {name}", f"{100.0 * middle * share:.2f} %", "", ""))
    rows.append(("fold, waiting between chunks as live", f"{100.0 * waiting:.2f} %", "", ""))
    if isinstance(received, str):
        rows.append(("live over LSL", received, "", ""))
    else:
        rest = received["whole"] - received["number"] - received["fold"]
        rows.append((
            f"live over LSL, {received['seconds']:.0f} s, the whole process",
            f"{100.0 * received['whole']:.2f} %", "", "",
        ))  # fmt: skip
        rows += [
            (f"of it {what}", f"{100.0 * value:.2f} %", "", "")
            for what, value in (
                ("numbering", received["number"]),
                ("fold", received["fold"]),
                ("liblsl, its threads, waiting for samples", rest),
            )
        ]
    return Table(
        f"Engine: share of one core, {len(NAMES)} channels, {RATE_HZ:g} Hz, 5 features, chunks of "
        f"{CHUNK}, training",
        ("part", "median", "least", "95 % interval"),
        tuple(rows),
        (
            f"Rounds of {ROUND_S:g} s of data; the stages by timers in a round apart. {note}",
            "Recording, publishing, the operator's view and the person's window are not in it.",
        ),
    )


def tables(
    slow: FoldCost,
    waiting: float,
    received: dict[str, float] | str,
    again: ReplayCost,
    fits: Sequence[tuple[str, float, float]],
    note: str,
) -> list[Table]:
    """Return what was measured and the targets."""
    middle, low, high = _interval(again.speed)
    replay = Table(
        "Replay: seconds of data per second of CPU",
        ("recording", "median", "best", "95 % interval", "decisions"),
        (
            (
                f"{again.seconds:.0f} s, {len(NAMES)} channels, {RATE_HZ:g} Hz, 5 features",
                f"{middle:.0f}",
                f"{float(again.speed.max()):.0f}",
                f"{low:.0f} to {high:.0f}",
                "identical" if again.identical else "**differ**",
            ),
        ),
        ("Reading the file, fitting in PREPARING, folding and comparing with what was recorded.",),
    )
    prepare = Table(
        "PREPARING: fitting after a baseline of 120 s",
        ("stream", "takes", "a usual hop"),
        tuple((what, f"{took:.2f} s", f"{1e3 * usual:.2f} ms") for what, took, usual in fits),
        ("Wall-clock time. Meanwhile the stream is buffered; what follows is decided late.",),
    )
    judged = [("whole fold under 5 % of a core", f"{100.0 * float(np.median(slow.cpu)):.2f} %",
               "met" if float(np.median(slow.cpu)) < 0.05 else "**missed**")]  # fmt: skip
    if isinstance(received, str):
        judged.append(("acquire to decision under 5 % of a core", received, "not measured"))
    else:
        whole = received["whole"]
        judged.append(("acquire to decision under 5 % of a core", f"{100.0 * whole:.2f} %",
                       "met" if whole < 0.05 else "**missed**"))  # fmt: skip
    judged.append(("replay at least 200 times real time", f"{middle:.0f} ({low:.0f}-{high:.0f})",
                   "met" if middle >= 200.0 else "**missed**"))  # fmt: skip
    targets = Table("Engine: targets", ("target", "found", ""), tuple(judged))
    return [_fold_table(slow, waiting, received, note), replay, prepare, targets]


def run(quick: bool) -> list[Table]:
    """Measure everything; `quick` takes a short session and the smaller stream."""
    before = load_now()
    with threadpool_limits(limits=1):
        uv = Signal().read(round((200.0 if quick else 330.0) * RATE_HZ))
        made, at = trained(uv)
        slow = fold(uv, made, at)
        waiting = paced(uv, made, QUICK_LIVE_S if quick else LIVE_S)
        try:
            received: dict[str, float] | str = live(QUICK_LIVE_S if quick else LIVE_S)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            received = f"not possible here: {error}"
        with tempfile.TemporaryDirectory(prefix="neuroloop-benchmark-") as folder:
            path = Path(folder) / "session.xdf"
            lasted = recorded(path, 200.0 if quick else math.inf)
            again = replayed(path, lasted, 2 if quick else 4)
        sizes = [(len(NAMES), RATE_HZ, 3)]
        if not quick:
            sizes += [(256, 2048.0, 3), (256, 2048.0, 256)]
        fits = [
            (f"{n} channels, {rate:g} Hz, alpha over {sites} sites", *fitting(n, rate, sites))
            for n, rate, sites in sizes
        ]
        return tables(slow, waiting, received, again, fits, circumstances(before))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short session, half a minute")
    given = parser.parse_args(arguments)
    made = run(given.quick)
    sys.stdout.write(machine() + "\n\n" + "\n".join(t.markdown() for t in made))


if __name__ == "__main__":
    main()
