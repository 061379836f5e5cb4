"""A misbehaving amplifier around a synthetic person: pure, no clock, no network.

`Amplifier.step` gives what the real thing would do during the next block of samples: open or
close its outlet, and push these samples with these stamps, due at this moment. The loop in
`engine.simulate` only waits and obeys.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.faultscript import Fault
from engine.frames import Bool, Float, StreamSpec
from engine.person import COLUMNS, SITES, Person

__all__ = ["Action", "Amplifier", "Close", "Open", "Push", "Step"]

Float32 = NDArray[np.float32]

DEFAULT_SIZE_UV = {
    "spike": 1000.0,
    "step": 300.0,
    "rail": 187_500.0,  # of a 24-bit amplifier with a gain of 24
    "line": 60.0,
    "blink": 180.0,
    "clench": 50.0,
}
DEFAULT_PACKET_S = 0.3


@dataclass(frozen=True, slots=True)
class Open:
    """An outlet appears."""

    spec: StreamSpec
    twin: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """An outlet vanishes."""

    twin: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    """Samples are sent; `stamp_s` is the stamp of the last one, seconds since the start."""

    samples: Float32
    stamp_s: float


Action = Open | Close | Push


@dataclass(frozen=True, slots=True)
class Step:
    """What happens at `due_s` seconds after the start."""

    due_s: float
    actions: tuple[Action, ...]


@dataclass(slots=True)
class _Running:
    """A fault of the script and what it has to remember."""

    fault: Fault
    begun: bool = False
    ended: bool = False
    before: Any = None


class Amplifier:
    """The amplifier and its person.

    Parameters
    ----------
    person : Person
    spec : StreamSpec
        As declared at first; its outlet is open when the first block begins.
    faults : tuple of Fault
        The script.
    """

    def __init__(self, person: Person, spec: StreamSpec, faults: tuple[Fault, ...] = ()) -> None:
        self.person, self.spec = person, spec
        self._script = [_Running(f) for f in faults]
        self._elapsed_s = 0.0  # of samples, by the declared rate
        self._due_s = 0.0
        self._jumped_s = 0.0
        self._faster = 0.0  # share by which the true rate is above the declared one
        self._away = 0
        self._held: list[Push] = []
        self._recent: list[Push] = []

    def step(self) -> Step:
        """Return what happens during the next block of samples."""
        actions: list[Action] = []
        now_s = self._elapsed_s + 0.5 / self.person.rate_hz
        for one in self._script:
            if one.begun and not one.ended and now_s >= self._until(one):
                one.ended = True
                self._end(one, actions)
        n = self.person.block  # a restart at another rate has changed it just now
        t_s = self._elapsed_s + np.arange(n) / self.person.rate_hz
        end_s = self._elapsed_s + n / self.person.rate_hz
        for one in self._script:
            # The person changes from one block to the next, everything else at its sample.
            before_s = now_s if one.fault.kind.person else end_s - 0.5 / self.person.rate_hz
            if not one.begun and one.fault.at_s < before_s:
                one.begun = True
                self._begin(one, actions)

        samples = self.person.read(n)
        keep = np.ones(n, dtype=bool)
        for one in self._script:
            if one.begun and not one.ended:
                on = self._active(one, t_s)
                self._spoil(one, on, t_s, samples)
                samples[on, COLUMNS.index("truth_fault")] = one.fault.kind.code
                if one.fault.do == "drop":
                    keep &= ~on
        self._elapsed_s = end_s
        before_s, self._due_s = (
            self._due_s,
            self._due_s + n / (self.person.rate_hz * (1.0 + self._faster)),
        )
        pushes = self._cut(samples.astype(np.float32), keep, before_s)
        actions += self._sent(pushes)
        return Step(self._due_s, tuple(actions))

    # -------------------------------------------------------- the script

    def _lasts_s(self, fault: Fault) -> float:
        """Return the duration, at least one sample."""
        if fault.do == "drop" and fault.samples is not None:
            return fault.samples / self.person.rate_hz
        return max(fault.lasts_s, 1.0 / self.person.rate_hz)

    def _until(self, one: _Running) -> float:
        return one.fault.at_s + self._lasts_s(one.fault)

    def _active(self, one: _Running, t_s: Float) -> Bool:
        half = 0.5 / self.person.rate_hz
        on: Bool = (t_s > one.fault.at_s - half) & (t_s < self._until(one) - half)
        return on

    def _begin(self, one: _Running, actions: list[Action]) -> None:
        fault, person = one.fault, self.person
        match fault.do:
            case "vanish" | "restart_other_rate" | "relabel" | "unit_lie":
                if self._away == 0:
                    actions.append(Close())
                self._away += 1
            case "twin":
                actions.append(Open(self.spec, twin=True))
            case "clock_jump" if fault.by is not None:
                self._jumped_s += fault.by[0]
            case "rate_offset" if fault.by is not None:
                self._faster += fault.by[0]
            case "dup" if fault.samples is not None:
                actions += self._again(fault.samples)
            case "eyes_open":
                one.before, person.eyes = person.eyes, "open"
            case "eyes_closed":
                one.before, person.eyes = person.eyes, "closed"
            case "alpha" | "smr" | "theta" | "beta" if fault.gain is not None:
                one.before = person.gains[fault.do]
                person.gains[fault.do] = fault.gain
            case "blink":
                person.blink(fault.lasts_s, _size(fault))
            case "clench":
                person.clench(fault.lasts_s, _size(fault))
            case _:  # a fault of the samples themselves
                pass

    def _end(self, one: _Running, actions: list[Action]) -> None:
        fault, person = one.fault, self.person
        match fault.do:
            case "vanish" | "restart_other_rate" | "relabel" | "unit_lie":
                self._come_back(fault)
                self._away -= 1
                if self._away == 0:
                    actions.append(Open(self.spec))
            case "twin":
                actions.append(Close(twin=True))
            case "rate_offset" if fault.by is not None:
                self._faster -= fault.by[0]
            case "eyes_open" | "eyes_closed":
                person.eyes = one.before
            case "alpha" | "smr" | "theta" | "beta":
                person.gains[fault.do] = one.before
            case "freeze" | "burst":
                if fault.backlog == "lost":
                    self._held.clear()
                actions += self._held
                self._held = []
            case _:
                pass

    def _come_back(self, fault: Fault) -> None:
        """Change what the outlet declares when it is opened again."""
        channels = self.spec.channels
        if fault.do == "restart_other_rate" and fault.rate_hz is not None:
            self.person = self.person.at_rate(fault.rate_hz)
            self.spec = replace(self.spec, rate_hz=fault.rate_hz)
            self._recent = []
        elif fault.do == "relabel" and fault.to is not None:
            channels = tuple(
                replace(c, name=fault.to, label=fault.to) if c.name == fault.channel else c
                for c in channels
            )
        elif fault.do == "unit_lie":
            channels = tuple(replace(c, unit="volts") if c.kind == "eeg" else c for c in channels)
        self.spec = replace(self.spec, channels=channels)

    # -------------------------------------------------------- the signal

    def _spoil(self, one: _Running, on: Bool, t_s: Float, samples: Float) -> None:
        """Change the samples in place where the fault is active."""
        fault = one.fault
        rows = np.flatnonzero(on)
        if len(rows) == 0:
            return
        at = [SITES.index(fault.channel)] if fault.channel else list(range(len(SITES)))
        cells = (rows[:, None], np.array(at))
        match fault.do:
            case "nan":
                samples[cells] = np.nan
            case "inf":
                samples[cells] = np.inf
            case "spike" | "step":
                samples[cells] += _size(fault)
            case "rail":
                samples[cells] = _size(fault)
            case "flat":
                if one.before is None:
                    one.before = samples[rows[0], at].copy()
                samples[cells] = one.before
            case "line":
                turns = self.person.mains_hz * t_s[rows]
                samples[cells] += _size(fault) * np.sin(2.0 * np.pi * turns)[:, None]
            case "bridge" if fault.to is not None:
                samples[rows, at[0]] = samples[rows, SITES.index(fault.to)]
            case _:
                pass

    # -------------------------------------------------------- what is sent

    def _cut(self, samples: Float32, keep: Bool, before_s: float) -> list[Push]:
        """Return the kept runs of a block, each with the stamp of its last sample."""
        n = len(samples)
        step_s = (self._due_s - before_s) / n
        edges = np.flatnonzero(np.diff(np.concatenate(([False], keep, [False])).astype(int)))
        return [
            Push(samples[a:b], before_s + b * step_s + self._jumped_s)
            for a, b in edges.reshape(-1, 2)
        ]

    def _sent(self, pushes: list[Push]) -> list[Push]:
        """Return what leaves now: nothing while away or frozen, else these."""
        self._recent = [*self._recent, *pushes][-100:]
        if self._away:
            self._held.clear()
            return []
        holding = [
            one.fault
            for one in self._script
            if one.begun and not one.ended and one.fault.do in ("freeze", "burst")
        ]
        if not holding:
            return pushes
        self._held += pushes
        if any(f.do == "freeze" for f in holding):
            return []
        packet_s = min(f.packet_s or DEFAULT_PACKET_S for f in holding)
        if sum(len(p.samples) for p in self._held) < packet_s * self.person.rate_hz:
            return []
        # One push, as an amplifier does that collects before it sends.
        packet = Push(np.concatenate([p.samples for p in self._held]), self._held[-1].stamp_s)
        self._held = []
        return [packet]

    def _again(self, samples: int) -> list[Push]:
        """Return the last samples once more, with their counters and stamps."""
        found: list[Push] = []
        for push in reversed(self._recent):
            if samples <= 0:
                break
            found.append(replace(push, samples=push.samples[-samples:]))
            samples -= len(push.samples)
        return found[::-1]


def _size(fault: Fault) -> float:
    return DEFAULT_SIZE_UV[fault.do] if fault.size_uv is None else fault.size_uv
