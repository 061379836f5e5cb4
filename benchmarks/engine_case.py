"""The case on which the whole engine is measured: five features of a person with 32 electrodes.

``tbr_down`` (theta, beta, their ratio, muscle) with alpha power beside it, 500 Hz, the filters
fitted to the baseline. The person is synthetic, blinks and clenches included.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.assemble import Assembly, assemble, feature_units
from engine.features import FEATURES
from engine.frames import Channel, Chunk, Command, Event, Float, PhaseKind, StreamSpec, frozen
from engine.person import SITES, Person
from engine.record import Recorder
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand, total_s

__all__ = [
    "CHUNK",
    "NAMES",
    "RATE_HZ",
    "Signal",
    "no_collector",
    "protocol",
    "recorded",
    "stamps_of",
    "start_order",
    "stream_spec",
    "trained",
]

RATE_HZ = 500.0
MORE = ("FC5", "FC1", "FC2", "FC6", "CP5", "CP1", "CP2", "CP6", "AFz", "POz", "Oz", "FT9", "FT10")
NAMES = (*SITES, *MORE)
CHUNK = 16  # samples, as amplifiers send them
CHECK_S = 2.0
SESSION_S = 300.0  # of different data; a longer session repeats it
BACKLOG_S = 20.0  # the recorder gives up at 60 s: nobody records a hundred times faster than live


def protocol(more_sites: Sequence[str] = ("Pz", "O1", "O2")) -> Protocol:
    """Return theta, beta, their ratio and muscle at Cz, and alpha power over more sites."""
    given = load("tbr_down", FEATURES).protocol
    update = {"at": tuple(more_sites), "band_hz": (8.0, 12.0)}
    alpha = given.features["theta"].model_copy(update=update)
    return given.model_copy(update={"features": {**given.features, "alpha": alpha}})


def stream_spec(
    names: Sequence[str] = NAMES, rate_hz: float = RATE_HZ, source_id: str = "benchmark"
) -> StreamSpec:
    """Return an EEG stream in microvolts."""
    columns = tuple(Channel(n, "eeg", "microvolts", 1.0, n) for n in names)
    return StreamSpec(source_id, "EEG", source_id, "", "", rate_hz, columns)


class Signal:
    """A synthetic person under any number of electrodes: 19 of their own, mixtures beside them.

    Parameters
    ----------
    n_channels : int
        19 or more.
    rate_hz : float
    seed : int
    """

    def __init__(self, n_channels: int = len(NAMES), rate_hz: float = RATE_HZ, seed: int = 1):
        self._person = Person(rate_hz, seed=seed)
        self._rng = np.random.default_rng(seed)
        n = n_channels - len(SITES)
        self._mix = self._rng.dirichlet(np.full(len(SITES), 0.5), n).T

    def read(self, n: int) -> Float:
        """Return the next samples, shape (n, n_channels), µV, in float32's resolution."""
        eeg = self._person.read(n)[:, : len(SITES)]
        beside = eeg @ self._mix + self._rng.standard_normal((n, self._mix.shape[1]))
        whole = np.concatenate([eeg, beside], axis=1)
        return frozen(whole.astype(np.float32).astype(np.float64))


def trained(uv: Float, until: PhaseKind = PhaseKind.TRAIN) -> tuple[Assembly, int]:
    """Return the fold once a phase is reached, and the samples that it took.

    Raises
    ------
    RuntimeError
        The samples do not reach so far.
    """
    given = protocol()
    spec = stream_spec()
    made = assemble(spec, given, expand(given), mains_hz=50.0)
    made.fold.step(start_order(spec))
    for at in range(0, len(uv), 500):
        rows = uv[at : at + 500]
        made.fold.step(Chunk(at, stamps_of(at, len(rows)), rows))
        if made.decider.kind is until:
            return made, at + len(rows)
    raise RuntimeError(f"{len(uv) / RATE_HZ:g} s of data end before {until.name}")


def start_order(spec: StreamSpec) -> Command:
    """Return the operator's start after the check."""
    return Command(round(CHECK_S * spec.rate_hz / spec.hop) * spec.hop, "start")


def stamps_of(at: int, n: int, rate_hz: float = RATE_HZ) -> Float:
    """Return the stamps of `n` samples from sample `at` on."""
    return frozen(1000.0 + np.arange(at, at + n) / rate_hz)


@contextmanager
def no_collector() -> Iterator[None]:
    """As in a session, no collection of garbage in between."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def recorded(path: Path, seconds: float) -> float:
    """Record a session as it would have been live; return its length in seconds.

    Parameters
    ----------
    path : Path
        The new file.
    seconds : float
        At most; a session that is over ends sooner.
    """
    given, spec = protocol(), stream_spec()
    plan = expand(given)
    made = assemble(spec, given, plan, mains_hz=50.0)
    header = {
        "client": "benchmark",
        "use": "test",
        "protocol": given.model_dump(mode="json"),
        "plan": plan,
        "mains_hz": 50.0,
        "range_uv": None,
    }
    recorder = Recorder(
        path,
        header,
        spec,
        features=feature_units(given),
        metrics=made.fold.gates.metric_names,
        rules=[r.feature for r in given.rules],
    )
    start = start_order(spec)
    recorder.input(start)
    made.fold.step(start)
    signal = Signal().read(round(min(seconds, SESSION_S) * RATE_HZ))
    at, end = 0, round(min(seconds, total_s(plan) + 60.0) * RATE_HZ)
    while at < end and not made.decider.kind.terminal:
        inside = at % len(signal)
        rows = signal[inside : inside + min(250, end - at)]
        stamps = stamps_of(at, len(rows))
        recorder.raw(rows.astype(np.float32), stamps)
        for point in made.fold.step(Chunk(at, stamps, rows)):
            recorder.feature(point.frame)
            recorder.decision(point.decision)
            for event in point.events:
                recorder.event(event)
        at += len(rows)
        while recorder.backlog_s > BACKLOG_S:
            time.sleep(0.02)
    recorder.event(Event(1000.0 + at / RATE_HZ, at, "end", {}))
    recorder.close()
    return at / RATE_HZ
