"""A simulated photodiode and microphone as an LSL outlet, in a process of its own.

It follows the markers of a certifying window (`neuroloop_flips`) and shows each flip a constant
lag later, as a slow amplifier would: half a second behind, with stamps of when it was. For
rehearsing `neuroloop doctor --certify`, and for testing it with delays that are known.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.clock import now
from engine.errors import InputError
from engine.frames import Channel, Float, StreamSpec
from engine.loopback import FLIPS
from engine.lsl import bury, configure_lsl, load_pylsl, mark_used, within
from engine.outlet import Outlet, narrowed, wait_until
from engine.resolve import look
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

__all__ = ["MODEL", "SensorOptions", "Trace", "main", "simulate_sensor", "spawn_sensor"]

log = logging.getLogger(__name__)

MODEL = "simulated photodiode and microphone"
COLUMNS = (Channel("photodiode", "misc", "V", 1.0), Channel("audio", "misc", "V", 1.0))

BEHIND_S = 0.5  # markers arrive after what they announce
CHUNK = 20  # samples
LOOK_S = 0.6  # LSL answers within it on one computer
PAUSE_S = 0.2
OPEN_S = 3.0
PULL_S = 0.05
DARK_V, LIT_V = 0.12, 0.95
PEAK_V = 0.8
CLICK_S, DECAY_S, CLICK_HZ = 0.02, 0.002, 230.0
NOISE_V = 0.004


@dataclass(frozen=True, slots=True)
class SensorOptions:
    """What to simulate.

    Parameters
    ----------
    rate_hz : float
        200 to 10000.
    display_ms, sound_ms : float
        Lags behind the flip: of the middle of the light's rise, of the click's begin.
    display_jitter_ms, sound_jitter_ms : float
        Standard deviations around them.
    rise_ms : float
        Of the panel, from 10 to 90 %.
    seed : int
    seconds : float or None
        Length, None for no end.
    name, source_id : str
        Of the LSL stream.
    network : Network
        Ignored where the environment variable LSLAPICFG names a configuration.
    """

    rate_hz: float = 1000.0
    display_ms: float = 12.0
    sound_ms: float = 35.0
    display_jitter_ms: float = 0.3
    sound_jitter_ms: float = 1.5
    rise_ms: float = 2.0
    seed: int = 1
    seconds: float | None = None
    name: str = "neuroloop-sensor"
    source_id: str = "neuroloop-sensor"
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        _inside("The rate", self.rate_hz, 200.0, 10_000.0, "Hz")
        _inside("The display's lag", self.display_ms, 0.0, 250.0, "ms")
        _inside("The sound's lag", self.sound_ms, 0.0, 250.0, "ms")
        _inside("The display's jitter", self.display_jitter_ms, 0.0, 50.0, "ms")
        _inside("The sound's jitter", self.sound_jitter_ms, 0.0, 50.0, "ms")
        _inside("The rise", self.rise_ms, 0.0, 50.0, "ms")

    def arguments(self) -> list[str]:
        """Return the command line that means the same."""
        line = [f"--rate={self.rate_hz:.17g}", f"--seed={self.seed}"]
        line += [f"--display={self.display_ms:.17g}", f"--sound={self.sound_ms:.17g}"]
        line += [f"--display-jitter={self.display_jitter_ms:.17g}"]
        line += [f"--sound-jitter={self.sound_jitter_ms:.17g}", f"--rise={self.rise_ms:.17g}"]
        line += [f"--name={self.name}", f"--source-id={self.source_id}"]
        if self.seconds is not None:
            line.append(f"--seconds={self.seconds:.17g}")
        return line + network_arguments(self.network)


def _inside(what: str, value: float, low: float, high: float, unit: str) -> None:
    if not low <= value <= high:
        raise InputError(
            f"{what} of {value:g} {unit} is not possible.",
            f"Choose from {low:g} to {high:g} {unit}.",
        )


class Trace:
    """Light and sound as the sensor sees them (pure: no stream, no clock).

    Flips must be announced before the samples that show them are taken.
    """

    def __init__(self, options: SensorOptions) -> None:
        self._o = options
        self._rng = np.random.default_rng(options.seed)
        self._tau_s = 1e-3 * options.rise_ms / math.log(9.0)  # 10 to 90 % of an exponential
        self._changes: deque[tuple[float, float]] = deque()  # when, towards which voltage
        self._since, self._from, self._to = -math.inf, DARK_V, DARK_V
        self._clicks: deque[float] = deque()

    def flip(self, t: float, lit: bool, *, clicks: bool = True) -> None:
        """The window flipped at `t`: the patch changes and a click sounds, each with its lag."""
        o = self._o
        light_ms = o.display_ms + self._rng.normal(0.0, o.display_jitter_ms)
        sound_ms = o.sound_ms + self._rng.normal(0.0, o.sound_jitter_ms)
        # Half of the rise is over at the lag, so it begins earlier.
        begins = t + 1e-3 * light_ms - math.log(2.0) * self._tau_s
        self._changes.append((begins, LIT_V if lit else DARK_V))
        if clicks:
            self._clicks.append(t + 1e-3 * sound_ms)

    def samples(self, t: Float) -> Float:
        """Return light and sound at `t`, shape ``(n, 2)``; times only ever go on."""
        out = self._rng.normal(0.0, NOISE_V, (len(t), 2))
        out[:, 0] += [self._light(float(s)) for s in t]
        while self._clicks and self._clicks[0] < t[0] - CLICK_S:
            self._clicks.popleft()
        for begins in self._clicks:
            s = t - begins
            on = (s >= 0.0) & (s < CLICK_S)
            out[on, 1] += PEAK_V * np.exp(-s[on] / DECAY_S) * np.cos(2.0 * np.pi * CLICK_HZ * s[on])
        return out

    def _light(self, t: float) -> float:
        while self._changes and self._changes[0][0] <= t:
            begins, towards = self._changes.popleft()
            self._from = self._settling(begins)
            self._since, self._to = begins, towards
        return self._settling(t)

    def _settling(self, t: float) -> float:
        if self._tau_s == 0.0:
            return self._to
        return self._to + (self._from - self._to) * math.exp(-(t - self._since) / self._tau_s)


class _Flips:
    """The markers of whichever window is certified now, received in a thread: it comes and goes."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[tuple[float, bool, bool]] = queue.SimpleQueue()
        self._inlets: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flips", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def take(self) -> list[tuple[float, bool, bool]]:
        """Return time, light and click of the flips that came since the last call."""
        return [self._items.get_nowait() for _ in range(self._items.qsize())]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._inlets:
                    self._pull()
                elif not self._connect():
                    self._stop.wait(PAUSE_S)
        except Exception:  # never a silent dead thread
            log.exception("receiving flips failed")
        finally:
            bury(self._inlets)

    def _connect(self) -> bool:
        found = [s for s in look(LOOK_S) if s.name == FLIPS]
        if not found:
            return False
        newest = max(found, key=lambda s: s.created_t)  # one that died may linger
        pylsl = load_pylsl()
        mark_used()
        inlets: list[Any] = []

        def opening() -> None:
            inlets.append(pylsl.StreamInlet(newest.handle, max_buflen=60, recover=False))
            inlets[0].open_stream(timeout=OPEN_S)

        try:
            within(OPEN_S + 1.0, opening, "flips")
        except (RuntimeError, TimeoutError) as error:  # pylsl's errors are RuntimeErrors
            log.warning("flips not opened uid=%s: %s", newest.uid, error)
            bury(inlets)
            return False
        self._inlets = [inlets.pop()]
        return True

    def _pull(self) -> None:
        try:
            rows, stamps = self._inlets[0].pull_chunk(timeout=PULL_S, max_samples=64, min_samples=1)
        except RuntimeError:  # lost: that window has closed
            bury(self._inlets)
            self._inlets = []
            self._items.put((now(), False, False))
            return
        for (text,), t in zip(rows, stamps, strict=True):
            try:
                self._items.put((float(t), bool(json.loads(text)["lit"]), True))
            except (ValueError, TypeError, KeyError):
                log.warning("a marker of %s that is no flip", FLIPS)


def simulate_sensor(
    options: SensorOptions,
    *,
    stop: threading.Event,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Offer the sensor's stream until the time is over or `stop` is set.

    Raises
    ------
    RunError
        LSL cannot be loaded.
    """
    load_pylsl()
    configure_lsl(options.network)
    spec = StreamSpec(
        name=options.name,
        stype="Sensor",
        source_id=options.source_id,
        uid="",
        host="",
        rate_hz=options.rate_hz,
        channels=COLUMNS,
    )
    outlet, flips, trace = Outlet(spec, MODEL), _Flips(), Trace(options)
    flips.start()
    ready()
    start_s = now()
    sent = 0
    try:
        while options.seconds is None or sent < options.seconds * options.rate_hz:
            if not wait_until(start_s + (sent + CHUNK) / options.rate_hz, stop):
                break
            for t, lit, clicks in flips.take():
                trace.flip(t, lit, clicks=clicks)
            t_s = start_s - BEHIND_S + np.arange(sent, sent + CHUNK) / options.rate_hz
            outlet.push(narrowed(trace.samples(t_s)), float(t_s[-1]))
            sent += CHUNK
    finally:
        flips.stop()
        outlet.close()


def spawn_sensor(options: SensorOptions) -> SimulatorProcess:
    """Start a sensor in its own process and return when its stream is on the network.

    Raises
    ------
    InputError
        It refused the options; the sentence is its own.
    RunError
        It did not start.
    """
    return spawn_module("engine.sensor", options.arguments())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m engine.sensor``."""
    usual = SensorOptions()
    parser = argparse.ArgumentParser(
        prog="python -m engine.sensor",
        description="A simulated photodiode and microphone as an LSL stream.",
    )
    parser.add_argument("--rate", type=float, default=usual.rate_hz, help="Hz")
    parser.add_argument("--display", type=float, default=usual.display_ms, help="lag, ms")
    parser.add_argument("--sound", type=float, default=usual.sound_ms, help="lag, ms")
    parser.add_argument("--display-jitter", type=float, default=usual.display_jitter_ms)
    parser.add_argument("--sound-jitter", type=float, default=usual.sound_jitter_ms)
    parser.add_argument("--rise", type=float, default=usual.rise_ms, help="of the light, ms")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--seconds", type=float, help="how long (default: no end)")
    parser.add_argument("--name", default=usual.name)
    parser.add_argument("--source-id", default=usual.source_id)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    add_network_arguments(parser)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    ready = say_ready if given.child else lambda: None

    def program() -> None:
        options = SensorOptions(
            rate_hz=given.rate,
            display_ms=given.display,
            sound_ms=given.sound,
            display_jitter_ms=given.display_jitter,
            sound_jitter_ms=given.sound_jitter,
            rise_ms=given.rise,
            seed=given.seed,
            seconds=given.seconds,
            name=given.name,
            source_id=given.source_id,
            network=network_of(given),
        )
        simulate_sensor(options, stop=stop, ready=ready)

    return run_program(program, stop, child=given.child)


if __name__ == "__main__":
    sys.exit(main())
