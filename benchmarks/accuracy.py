"""How true and how fresh a causal envelope is: ours against every peer, in one run.

The score is the correlation of the estimated amplitude at a grid point with the true amplitude
`lag` before it. A peer uses, for every case and every lag, the setting of its grid that scores
best on the test data itself. Ours is fixed beforehand: the delay is the lag asked for, the
spectrum is that of the training part, everything else is the engine's default. "Ours, expected
power" is the same filter read as sqrt(|z|² + E|error|²), the root of the power to be expected
given the past; the addend comes from the training spectrum. It changes amplitudes and logarithms,
not the correlation of powers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.signal import welch
from threadpoolctl import threadpool_limits

from benchmarks.data import Case, data_folder, real_cases, simulated_cases
from benchmarks.peers import Fir, Peer, amplitudes, every_peer, wiener
from benchmarks.table import Table, machine, median_interval
from engine.aperiodic import aperiodic_fit
from engine.frames import Float
from engine.wiener import WienerProblem, spectrum, taps_for

__all__ = ["Score", "main", "run", "score", "tables"]

LAGS_S = (*np.arange(0.0, 0.3001, 0.025).round(3).tolist(), 0.35, 0.4, 0.45, 0.5)
SHOWN_S = (0.0, 0.05, 0.1, 0.2)
OURS, OURS_WHOLE, LIMIT = "ours", "ours, expected power", "limit"
SEEDS, QUICK_SEEDS = 10, 1
QUICK_CASES = (
    "tute_01_1 to tute_01_2 POz",
    "tute_01_2 to tute_01_1 POz",
    "S001R02 half 1 to S001R02 half 2 Oz",
    "S002R02 half 1 to S002R02 half 2 Oz",
    "Subject03_1 half 1 to Subject03_1 half 2 O2",
)
REACHED = 0.9
TARGETS = (
    ("real alpha", "cFIR", (0.0,), 0.025),
    ("real beta", "cFIR", (0.0,), 0.10),
    ("real SMR", "cFIR", (0.0,), 0.04),
    ("real theta", "cFIR", (0.0,), 0.04),
    ("real alpha", "weighted cFIR", SHOWN_S, -0.005),
    ("real SMR", "weighted cFIR", SHOWN_S, -0.005),
    ("real theta", "weighted cFIR", SHOWN_S, -0.005),
    ("real beta", "weighted cFIR", SHOWN_S, -0.005),
)
LIMIT_DISTANCE = 0.03


@dataclass(frozen=True, slots=True)
class Score:
    """What every family reached on one case.

    Parameters
    ----------
    case, group, kind : str
        Of the case.
    r : dict of str to ndarray, shape (n_lags,)
        Per family the correlation at each lag, the best of the grid; `ours` and `limit` too.
    setting : dict of str to tuple of str
        Which setting that was.
    """

    case: str
    group: str
    kind: str
    r: dict[str, Float]
    setting: dict[str, tuple[str, ...]] = field(default_factory=dict)


# ---------------------------------------------------------------- one case


def score(case: Case) -> Score:
    """Run ours, the limit and every peer on one case."""
    at = case.at()
    truth = np.array([case.envelope(at, lag) for lag in LAGS_S])
    peers: list[Peer] = every_peer(case.train_uv, case.band_hz, case.rate_hz)
    kernels, missed = ours(case)
    estimated = amplitudes([*peers, *kernels, *limit(case)], case.test_uv, at)
    found = _correlations(estimated, truth)
    r: dict[str, Float] = {}
    setting: dict[str, tuple[str, ...]] = {}
    families = [p.family for p in peers]
    for family in dict.fromkeys(families):
        members = [i for i, f in enumerate(families) if f == family]
        best = np.argmax(found[members], axis=0)
        r[family] = found[members].max(axis=0)
        setting[family] = tuple(peers[members[i]].setting for i in best)
    n, k = len(peers), len(LAGS_S)
    r[OURS] = np.diagonal(found[n : n + k]).copy()
    r[LIMIT] = np.diagonal(found[n + k :]).copy()
    whole = np.sqrt(estimated[n : n + k] ** 2 + missed[:, None])
    r[OURS_WHOLE] = np.diagonal(_correlations(whole, truth)).copy()
    return Score(case.name, case.group, case.kind, r, setting)


def _correlations(estimates: Float, truth: Float) -> Float:
    """Return Pearson's r of every estimate with the truth at every lag."""
    a = estimates - estimates.mean(axis=1, keepdims=True)
    b = truth - truth.mean(axis=1, keepdims=True)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    return np.asarray(a @ b.T)


def ours(case: Case) -> tuple[list[Fir], Float]:
    """Return the engine's filter for every lag, and the expected |z|² that it misses.

    Fitted to the training part alone.
    """
    found = spectrum(case.train_uv, np.ones(len(case.train_uv), bool), case.rate_hz)
    background = None
    if case.target == "rhythm":
        background = aperiodic_fit(found.f_hz, found.density).density(found.f_hz)
    problem = WienerProblem(found, case.band_hz, target=case.target, background=background)
    kernels = [problem.kernel(lag) for lag in LAGS_S]
    missed = [
        problem.energy * (1.0 - problem.coherence(k.taps[::-1], lag))
        for k, lag in zip(kernels, LAGS_S, strict=True)
    ]
    return [Fir(OURS, "fixed", k.taps[None]) for k in kernels], np.array(missed)


def limit(case: Case) -> list[Fir]:
    """Return the filter that knows the true densities, or those of the test part."""
    if case.densities is not None:
        f, whole, target = case.densities
        inside = np.ones(len(f))
    else:
        f, whole = welch(case.test_uv, case.rate_hz, nperseg=round(2.0 * case.rate_hz),
                         nfft=round(8.0 * case.rate_hz))  # fmt: skip
        inside = ((f >= case.band_hz[0]) & (f <= case.band_hz[1])).astype(float)
        target = whole
    return wiener(f, whole, target * inside, case.rate_hz, LAGS_S, taps_for(case.band_hz))


# ---------------------------------------------------------------- tables


def tables(scores: Sequence[Score]) -> list[Table]:
    """Return the curves of every kind, the paired differences and the targets."""
    kinds = list(dict.fromkeys(s.kind for s in scores))
    out = [_curves(kind, [s for s in scores if s.kind == kind]) for kind in kinds]
    out += [_differences(kind, [s for s in scores if s.kind == kind]) for kind in kinds]
    out.append(_targets(scores))
    return out


def _curves(kind: str, scores: Sequence[Score]) -> Table:
    rows = []
    own = (OURS, OURS_WHOLE)
    for family in (*own, *(f for f in scores[0].r if f not in (*own, LIMIT)), LIMIT):
        curves = np.array([s.r[family] for s in scores])
        curve = np.median(curves, axis=0)
        best = int(np.argmax(curve))
        away = np.median([s.r[LIMIT] - s.r[family] for s in scores], axis=0)
        rows.append(
            (
                family,
                *(f"{curve[LAGS_S.index(lag)]:.3f}" for lag in SHOWN_S),
                f"{curve[best]:.3f} at {1000 * LAGS_S[best]:.0f} ms",
                _reached(curve),
                f"{away[0]:+.3f}",
                f"{away[LAGS_S.index(0.1)]:+.3f}",
            )
        )
    columns = (
        "method", *(f"{1000 * lag:.0f} ms" for lag in SHOWN_S), "best r", f"lag for {REACHED:g}",
        "below the limit, 0 ms", "100 ms",
    )  # fmt: skip
    people = len({s.group for s in scores})
    note = (
        f"Median over {len(scores)} cases of {people} people or seeds: correlation with the true "
        "amplitude so long ago. Peers: their best setting per case and lag on the test data."
    )
    return Table(f"Envelope, {kind}", columns, tuple(rows), (note,))


def _reached(curve: Float) -> str:
    """Return the first lag at which the median curve reaches `REACHED`, interpolated."""
    above = np.flatnonzero(curve >= REACHED)
    if not len(above):
        return "never"
    i = int(above[0])
    if i == 0:
        return "0 ms"
    share = (REACHED - curve[i - 1]) / (curve[i] - curve[i - 1])
    return f"{1000 * (LAGS_S[i - 1] + share * (LAGS_S[i] - LAGS_S[i - 1])):.0f} ms"


def _paired(
    scores: Sequence[Score], family: str, lag: float, mine: str = OURS
) -> tuple[float, float, float, int]:
    """Return the median of ours minus a family, its interval, and how often ours is higher."""
    i = LAGS_S.index(lag)
    difference = np.array([s.r[mine][i] - s.r[family][i] for s in scores])
    return *median_interval(difference, [s.group for s in scores]), int((difference > 0).sum())


def _differences(kind: str, scores: Sequence[Score]) -> Table:
    rows = []
    for family in (f for f in scores[0].r if f != OURS):
        cells = []
        for lag in SHOWN_S:
            median, low, high, wins = _paired(scores, family, lag)
            cells.append(f"{median:+.3f} [{low:+.3f}, {high:+.3f}] {wins}/{len(scores)}")
        rows.append((family, *cells))
    columns = ("ours minus", *(f"{1000 * lag:.0f} ms" for lag in SHOWN_S))
    note = (
        "Median of the paired difference, 95 % bootstrap interval (whole people or seeds drawn), "
        "cases won."
    )
    return Table(f"Paired differences, {kind}", columns, tuple(rows), (note,))


def _targets(scores: Sequence[Score]) -> Table:
    rows = []
    kinds = list(dict.fromkeys(s.kind for s in scores))
    for kind, family, lags, wanted in TARGETS:
        of_kind = [s for s in scores if s.kind == kind]
        for lag in lags if of_kind else ():
            cells = []
            for mine in (OURS, OURS_WHOLE):
                median, low, high, _ = _paired(of_kind, family, lag, mine)
                met = "met" if median >= wanted else "missed"
                cells.append(f"{median:+.3f} [{low:+.3f}, {high:+.3f}] {met}")
            name = f"{kind}, {1000 * lag:.0f} ms, over {family}"
            rows.append((name, f"at least {wanted:+.3f}", *cells))
    for kind in (k for k in kinds if k.startswith("simulated")):
        of_kind = [s for s in scores if s.kind == kind]
        cells = []
        for mine in (OURS, OURS_WHOLE):
            away = max(-_paired(of_kind, LIMIT, lag, mine)[0] for lag in SHOWN_S)
            met = "met" if away <= LIMIT_DISTANCE else "missed"
            cells.append(f"at worst {away:+.3f} {met}")
        name = f"{kind}, below the oracle filter, 0-200 ms"
        rows.append((name, f"at most {LIMIT_DISTANCE:.3f}", *cells))
    return Table("Targets of accuracy", ("target", "wanted", OURS, OURS_WHOLE), tuple(rows))


# ---------------------------------------------------------------- running


def cases(quick: bool) -> Iterable[Case]:
    """Return the cases of a run."""
    yield from simulated_cases(QUICK_SEEDS if quick else SEEDS)
    folder = data_folder()
    if folder is None:
        return
    for case in real_cases(folder):
        if not quick or any(case.name.startswith(few) for few in QUICK_CASES):
            yield case


def run(quick: bool) -> list[Table]:
    """Run the whole comparison; see `main`."""
    with threadpool_limits(limits=1):
        return tables([score(case) for case in cases(quick)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, and save them with every number when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, under a minute")
    parser.add_argument("--out", type=Path, help="folder for accuracy.md and accuracy.json")
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    with threadpool_limits(limits=1):
        scores = [score(case) for case in cases(given.quick)]
    text = machine() + "\n\n" + "\n".join(t.markdown() for t in tables(scores))
    if data_folder() is None:
        text += "\nNo real recordings: there is no ../shared/data beside the repository.\n"
    text += f"\n{len(scores)} cases in {time.perf_counter() - began:.0f} s.\n"
    sys.stdout.write(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "accuracy.md").write_text(text, encoding="utf-8")
        listed = [
            {
                "case": s.case, "group": s.group, "kind": s.kind,
                "r": {family: np.round(v, 5).tolist() for family, v in s.r.items()},
                "setting": {family: list(v) for family, v in s.setting.items()},
            }
            for s in scores
        ]  # fmt: skip
        whole = {"machine": machine(), "lags_s": list(LAGS_S), "scores": listed}
        (given.out / "accuracy.json").write_text(json.dumps(whole), encoding="utf-8")


if __name__ == "__main__":
    main()
