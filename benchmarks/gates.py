"""What every gate catches and what it costs, where the truth is known to the sample.

``uv run python -m benchmarks.gates`` prints two tables: what is caught of a synthetic person's
artefacts and an amplifier's faults and what clean signal is lost, and what one artefact costs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from benchmarks.table import Table, machine
from engine.assemble import assemble
from engine.features import FEATURES
from engine.frames import Bool, Chunk, Float, Gap, Gate, StreamSpec, frozen
from engine.person import COLUMNS, SITES, Person, columns
from engine.pipeline import Fold
from protocols.load import load
from protocols.model import Gates, Protocol
from protocols.plan import expand

__all__ = ["ARTEFACTS", "FAULTS", "Caught", "Seen", "caught", "costs", "main", "stretch", "table"]

SEEDS = 10
LASTS_S, BASELINE_S = 240.0, 60.0
LATE_S, AFTER_S = 0.2, 0.2
SETTLED_S = 4.0

ARTEFACTS = {
    "blink": ("truth_blink", Gate.BLINK),
    "saccade": ("truth_saccade", Gate.SACCADE),
    "muscle": ("truth_jaw", Gate.MUSCLE),
    "pop": ("truth_pop", Gate.STEP | Gate.AMPLITUDE),
    "motion": ("truth_motion", Gate.MOTION),
}
"""Per artefact its truth and the gates that are meant to see it."""
FAULTS = {"flat": Gate.FLAT, "rail": Gate.RAIL, "nan": Gate.NAN, "gap": Gate.GAP}


@dataclass(frozen=True, slots=True)
class Seen:
    """One stretch of a person, gated.

    Parameters
    ----------
    t_s : ndarray, shape (n_points,)
        Time of every grid point.
    gate : ndarray of int, shape (n_points,)
        What was closed.
    truth : dict of str to ndarray of bool, shape (n_samples,)
        When each artefact happened.
    rate_hz : float
        Of the truth.
    """

    t_s: Float
    gate: np.ndarray
    truth: dict[str, Bool]
    rate_hz: float

    def events(self, kind: str, first_s: float = SETTLED_S) -> list[tuple[float, float]]:
        """Return (onset, end) in seconds; what is 0.1 s apart is one."""
        on = np.flatnonzero(self.truth[kind])
        if not len(on):
            return []
        cut = np.flatnonzero(np.diff(on) > 0.1 * self.rate_hz)
        starts = on[np.concatenate([[0], cut + 1])] / self.rate_hz
        ends = (on[np.concatenate([cut, [len(on) - 1]])] + 1) / self.rate_hz
        last_s = float(self.t_s[-1]) - AFTER_S
        return [(a, b) for a, b in zip(starts, ends, strict=True) if first_s <= a and b < last_s]

    def closed(
        self, onset_s: float, end_s: float, gates: Gate = ~Gate.WARMUP, late_s: float = LATE_S
    ) -> bool:
        """Return whether `gates` were closed through an artefact and 0.2 s after."""
        from_s = min(onset_s + late_s, end_s + AFTER_S)
        during = (self.t_s >= from_s - 1e-9) & (self.t_s <= end_s + AFTER_S)
        return bool(((self.gate[during] & int(gates)) != 0).all())

    def share(self, gates: Gate) -> float:
        """Return the share of the settled time at which any of `gates` was closed."""
        settled = self.t_s >= SETTLED_S
        return float((self.gate[settled] & int(gates) != 0).mean())


@dataclass(frozen=True, slots=True)
class Caught:
    """What became of one kind of artefact in one stretch."""

    happened: int
    own: int  # closed by the gate that is meant to see it
    any: int  # closed by any


def caught(seen: Seen, kind: str) -> Caught:
    """Count what was caught of one kind, by its own gate and by any."""
    own = ARTEFACTS[kind][1] if kind in ARTEFACTS else FAULTS[kind]
    # A channel is flat when it was so for a second; nothing arrives during a gap.
    late_s = {"flat": 1.3, "gap": 2.02}.get(kind, LATE_S)
    events = seen.events(kind)
    return Caught(
        len(events),
        sum(seen.closed(a, b, own, late_s) for a, b in events),
        sum(seen.closed(a, b, late_s=late_s) for a, b in events),
    )


def watched() -> Protocol:
    """Return a protocol that measures at six sites, with every gate at its default."""
    protocol = load("tbr_down", FEATURES).protocol
    sites = ("F3", "F4", "Cz", "Pz", "O1", "O2")
    features = {
        name: f.model_copy(update={"at": sites}) if f.at else f
        for name, f in protocol.features.items()
    }
    return protocol.model_copy(update={"features": features, "gates": Gates()})


def stretch(
    seed: int,
    kinds: Sequence[str] = (),
    *,
    fault: str = "",
    rate_hz: float = 250.0,
    eyes: Literal["open", "closed"] = "open",
    lasts_s: float = LASTS_S,
) -> Seen:
    """Gate one person to whom only `kinds` happen; limits are learned after the first minute.

    Parameters
    ----------
    seed : int
        Of the person.
    kinds : sequence of str
        Of `ARTEFACTS`.
    fault : str, optional
        Of `FAULTS`, every 20 s for 2 s at Cz.
    rate_hz, eyes, lasts_s
        Of the person.
    """
    words = {
        "blink": "blinks", "saccade": "looks", "muscle": "jaw", "pop": "pops", "motion": "moves"
    }  # fmt: skip
    person = Person(
        rate_hz, seed=seed, eyes=eyes, **{word: kind in kinds for kind, word in words.items()}
    )
    x = person.read(round(lasts_s * rate_hz))
    truth = {k: x[:, COLUMNS.index(t)] > 0 for k, (t, _) in ARTEFACTS.items()}
    protocol = watched()
    # A pop matters where it happens.
    at = [SITES.index(s) + 1 for s in protocol.sites]
    truth["pop"] &= np.isin(x[:, COLUMNS.index("truth_pop")], at)
    spec = StreamSpec("sim", "EEG", "id", "uid", "host", rate_hz, columns())
    fold = assemble(spec, protocol, expand(protocol), mains_hz=50.0).fold
    faulty = np.zeros(len(x), bool)
    if fault:
        for start in range(round(20 * rate_hz), len(x) - round(4 * rate_hz), round(20 * rate_hz)):
            faulty[start : start + round(2 * rate_hz)] = True
        truth[fault] = faulty
        _spoil(x, faulty, fault)
    return Seen(*_gated(fold, x, faulty if fault == "gap" else None, rate_hz), truth, rate_hz)


def _spoil(x: Float, faulty: Bool, fault: str) -> None:
    at = SITES.index("Cz")
    if fault == "flat":
        starts = np.flatnonzero(np.diff(faulty.astype(int)) == 1)
        for start in starts:
            x[start : start + int(faulty[start + 1 :].argmin()) + 1, at] = x[start, at]
    elif fault == "rail":
        x[faulty, at] = 500_000.0
    elif fault == "nan":
        x[faulty, at] = np.nan


def _gated(fold: Fold, x: Float, missing: Bool | None, rate_hz: float) -> tuple[Float, np.ndarray]:
    """Return the time and the gates of every grid point."""
    t_s: list[float] = []
    gate: list[int] = []
    metrics: list[Float] = []
    cuts = {0, len(x), round(BASELINE_S * rate_hz), *range(0, len(x), round(rate_hz))}
    if missing is not None:
        cuts |= set((np.flatnonzero(np.diff(missing.astype(int))) + 1).tolist())
    for a, b in pairwise(sorted(cuts)):
        if a == round(BASELINE_S * rate_hz):
            fold.gates.apply(fold.gates.relearn(np.array(metrics))[0])
        if missing is not None and missing[a]:
            fold.step(Gap(a, b - a, "lost"))
            continue
        t = frozen(np.arange(a, b) / rate_hz)
        for point in fold.step(Chunk(a, t, frozen(x[a:b].copy()))):
            t_s.append(point.frame.seq / rate_hz)
            gate.append(int(point.frame.gate))
            if point.frame.seq > SETTLED_S * rate_hz:
                metrics.append(point.frame.metrics)
    return np.array(t_s), np.array(gate)


def table(seeds: Sequence[int], *, rate_hz: float = 250.0, lasts_s: float = LASTS_S) -> Table:
    """Return sensitivity and false positives of every gate over these persons."""
    together = [stretch(s, tuple(ARTEFACTS), rate_hz=rate_hz, lasts_s=lasts_s) for s in seeds]
    calm = {
        eyes: [stretch(s, rate_hz=rate_hz, eyes=eyes, lasts_s=lasts_s) for s in seeds]
        for eyes in ("open", "closed")
    }
    rows = []
    for kind, own in {**{k: g for k, (_, g) in ARTEFACTS.items()}, **FAULTS}.items():
        seen = together
        if kind in FAULTS:
            seen = [stretch(s, fault=kind, rate_hz=rate_hz, lasts_s=lasts_s) for s in seeds]
        found = [caught(one, kind) for one in seen]
        n = sum(c.happened for c in found)
        wrong = [np.mean([one.share(own) for one in calm[eyes]]) for eyes in ("open", "closed")]
        rows.append(
            (
                kind,
                " or ".join(own.causes),
                str(n),
                f"{sum(c.own for c in found) / max(1, n):.1%}",
                f"{sum(c.any for c in found) / max(1, n):.1%}",
                *(f"{share:.2%}" for share in wrong),
            )
        )
    lost = [np.mean([one.share(~Gate.OPEN) for one in calm[e]]) for e in ("open", "closed")]
    rows.append(("any", "all of them", "", "", "", *(f"{share:.2%}" for share in lost)))
    return Table(
        f"Gates, {len(seeds)} persons of {lasts_s:g} s at {rate_hz:g} Hz",
        (
            *("what happens", "its gate", "events", "caught by it", "caught by any"),
            *("closed for nothing, eyes open", "closed for nothing, eyes closed"),
        ),
        tuple(rows),
        (
            "Caught: closed without a break from 0.2 s after the onset until 0.2 s after the end; "
            "settling filters are not counted. Closed for nothing: "
            "share of the time of the same persons with nothing but their brain. Limits are "
            "learned after the first minute.",
        ),
    )


def costs(seeds: Sequence[int], *, rate_hz: float = 250.0, lasts_s: float = LASTS_S) -> Table:
    """Return how much time one artefact costs, when only its kind happens."""
    rows = []
    for kind in ARTEFACTS:
        seen = [stretch(s, (kind,), rate_hz=rate_hz, lasts_s=lasts_s) for s in seeds]
        n = sum(len(one.events(kind)) for one in seen)
        whole_s = len(seen) * (lasts_s - SETTLED_S)
        share = [float(np.mean([one.share(g) for one in seen])) for g in (~Gate.OPEN, Gate.WARMUP)]
        rows.append(
            (
                kind,
                str(n),
                *(f"{s:.1%}" for s in share),
                f"{share[0] * whole_s / max(1, n):.2f} s",
            )
        )
    return Table(
        f"What an artefact costs, {len(seeds)} persons of {lasts_s:g} s at {rate_hz:g} Hz",
        ("what happens", "events", "time gated", "of it settling", "per event"),
        tuple(rows),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="persons (default %(default)s)")
    parser.add_argument("--rate", type=float, default=250.0, help="Hz (default %(default)s)")
    given = parser.parse_args(arguments)
    seeds = range(1, given.seeds + 1)
    for made in (table(seeds, rate_hz=given.rate), costs(seeds, rate_hz=given.rate)):
        sys.stdout.write(made.markdown() + "\n")
    sys.stdout.write(machine() + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
