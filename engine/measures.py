"""The values a report is made of, and the small statistics that make them.

All statistics use clean grid points only (design: no gated sample may enter a learning metric). No
p values here: neighbouring grid points of a smoothed feature are no independent observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.frames import Bool, Float, PhaseKind
from protocols.model import Protocol

__all__ = [
    "Block",
    "Course",
    "Held",
    "Learned",
    "Muscle",
    "Resting",
    "Rows",
    "Spread",
    "Step",
    "Transport",
    "binned",
    "correlation",
    "course",
    "own_unit",
    "on_scale",
    "trend",
]

MUSCLE_MIN_BINS = 20  # fewer pairs say nothing about a correlation


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Spread:
    """How values are spread, in their own unit."""

    n: int
    p5: float
    q1: float
    median: float
    q3: float
    p95: float


@dataclass(frozen=True, slots=True)
class Resting:
    """A feature in the person's own clean rest, as learned during the session.

    `median` and `mad` live on `scale`; `centre`, `low` and `high` (median, minus and plus one mad)
    are in the feature's own unit.
    """

    feature: str
    scale: str
    n: int
    median: float
    mad: float
    centre: float
    low: float
    high: float
    block: str
    mean: float | None = None  # on `scale`
    spread: Spread | None = None  # as the fitted estimators read the block once more


@dataclass(frozen=True, slots=True)
class Course:
    """One feature over the clean time of a block, and how far that is from rest.

    Parameters
    ----------
    spread : Spread
        In the feature's own unit.
    change : float or None
        Of the median against the resting median: relative (0.1 is 10 % more) where `relative`,
        else a plain difference in the feature's unit.
    relative : bool
        Whether `change` is relative (features on a logarithmic scale).
    z : float or None
        The same distance in spreads (mad) of the baseline.
    mean_z : float or None
        Distance of the mean on the feature's scale, as the live block statistics give it.
    """

    spread: Spread
    change: float | None
    relative: bool
    z: float | None
    mean_z: float | None


@dataclass(frozen=True, slots=True)
class Muscle:
    """Muscle beside the trained feature in one block; `why` says why `r` is not known."""

    median_uv: float | None
    r: float | None
    bins: int
    flagged: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """One visit of a phase: baseline, training, transfer or the rest afterwards."""

    phase: int
    kind: str
    name: str
    number: int
    attempt: int
    label: str
    start_s: float
    end_s: float
    total_s: float
    clean_s: float
    held_s: float
    gated_s: Mapping[str, float]
    end: str | None
    invalid: bool
    rewards: int | None
    rate_alone: float | None
    rate_joint: float | None
    rate_first_threshold: float | None
    features: Mapping[str, Course]
    muscle: Muscle
    note: str = ""

    @property
    def unclean_s(self) -> float:
        """Seconds that ran but were not clean."""
        return self.total_s - self.clean_s


@dataclass(frozen=True, slots=True)
class Step:
    """The threshold of one rule changed."""

    t_s: float
    rule: int
    feature: str
    direction: str
    old: float | None
    new: float
    method: str
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """The session was held; `end_s` None when it never resumed."""

    start_s: float
    end_s: float | None
    seconds: float
    cause: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Transport:
    """From the stamp of the newest sample behind a value to its first appearance, ms."""

    n: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    why: str = ""


@dataclass(frozen=True)
class Rows:
    """The recording's rows on the grid, features and decisions side by side, shape (n, ...)."""

    seq: np.ndarray
    t_s: Float
    phase: np.ndarray
    kind: np.ndarray
    reward: Bool
    joint: Bool
    passes: Float
    thresholds: Float
    gate: np.ndarray
    held: np.ndarray
    phase_s: Float
    rewards: np.ndarray
    values: Float
    trusted: Bool
    metrics: Float

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True)
class Learned:
    """Everything the report tells about a session; see the classes it is made of."""

    rows: Rows
    rate_hz: float
    grid_hz: float
    protocol: Protocol | None
    feature_names: tuple[str, ...]
    metric_names: tuple[str, ...]
    units: Mapping[str, str]
    scales: Mapping[str, str]
    rules: tuple[tuple[str, str], ...]  # (feature, direction), reward first
    level_feature: str | None
    outcome: str  # done, stopped, failed, incomplete
    outcome_why: str
    length_s: float
    blocks: tuple[Block, ...]
    resting: Mapping[str, Resting]
    train: Mapping[str, Course]
    trend: Mapping[str, float | None]
    steps: tuple[Step, ...]
    holds: tuple[Held, ...]
    gaps: tuple[tuple[float, float, str], ...]  # start, seconds, cause
    transport: Transport
    delay_s: Mapping[str, float]
    guard: Mapping[str, tuple[int, int]]  # kind -> (interventions, frames)
    missed_frames: int | None
    presented: int
    muscle_uv: Float  # per row, mean over the sites watched
    muscle_limits_uv: Mapping[str, float] = field(default_factory=dict)

    @property
    def trained(self) -> str | None:
        """The rewarded feature."""
        return self.rules[0][0] if self.rules else None

    def of(self, *kinds: PhaseKind) -> tuple[Block, ...]:
        """Return the blocks of some kinds, in order."""
        names = {k.name.lower() for k in kinds}
        return tuple(b for b in self.blocks if b.kind in names)


# ---------------------------------------------------------------- small statistics


def on_scale(x: Float, scale: str) -> Float:
    """Return values in their own unit on the feature's scale; not finite where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(x)) if scale == "ln" else x


def own_unit(x: float, scale: str) -> float:
    """Return a value on the feature's scale in its own unit."""
    return math.exp(x) if scale == "ln" else x


def _spread(x: Float, scale: str) -> Spread:
    """Return quantiles, taken on the feature's scale, in its own unit."""
    q = [own_unit(float(v), scale) for v in np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95))]
    return Spread(len(x), *q)


def course(values: Float, scale: str, rest: Resting | None) -> Course | None:
    """Return the course of clean values in the feature's own unit; None without any."""
    x = on_scale(values, scale)
    x = x[np.isfinite(x)]
    if not len(x):
        return None
    change = z = mean_z = None
    if rest is not None and rest.scale == scale:
        far = float(np.median(x)) - rest.median
        change = math.expm1(far) if scale == "ln" else far
        z, mean_z = far / rest.mad, (float(np.mean(x)) - rest.median) / rest.mad
    return Course(_spread(x, scale), change, scale == "ln", z, mean_z)


def correlation(a: Float, b: Float) -> tuple[float | None, int, str]:
    """Return Pearson's r, the number of pairs, and why there is no r."""
    use = np.isfinite(a) & np.isfinite(b)
    n = int(use.sum())
    if n < MUSCLE_MIN_BINS:
        return None, n, "too little clean time"
    a, b = a[use], b[use]
    if np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None, n, "one of them did not vary"
    return float(np.corrcoef(a, b)[0, 1]), n, ""


def trend(z: Sequence[float]) -> dict[str, float | None]:
    """Return how block medians (in baseline spreads) went over the blocks."""
    n = len(z)
    out: dict[str, float | None] = {
        "blocks": float(n),
        "last_minus_first_z": z[-1] - z[0] if n >= 2 else None,
        "slope_z_per_block": None,
        "theil_sen_z_per_block": None,
    }
    if n >= 3:
        k = np.arange(n, dtype=np.float64)
        out["slope_z_per_block"] = float(np.polyfit(k, np.array(z), 1)[0])
        pairs = [(z[j] - z[i]) / (j - i) for i in range(n) for j in range(i + 1, n)]
        out["theil_sen_z_per_block"] = float(np.median(pairs))
    return out


def binned(t_s: Float, x: Float, good: Bool, bin_s: float) -> tuple[Float, Float]:
    """Return the mean of `x` per time bin, NaN where less than half of a bin is good.

    Parameters
    ----------
    t_s, x : ndarray, shape (n,)
    good : ndarray of bool, shape (n,)
    bin_s : float

    Returns
    -------
    centre_s, mean : ndarray, shape (n_bins,)
    """
    if not len(t_s):
        return np.zeros(0), np.zeros(0)
    index = np.floor((t_s - t_s[0]) / bin_s).astype(np.int64)
    n = int(index[-1]) + 1
    use = good & np.isfinite(x)
    count = np.bincount(index, minlength=n)
    kept = np.bincount(index[use], minlength=n)
    total = np.bincount(index[use], weights=x[use], minlength=n)
    enough = (kept > 0) & (2 * kept >= np.maximum(count, 1))
    mean = np.full(n, np.nan)
    mean[enough] = total[enough] / kept[enough]
    return t_s[0] + (np.arange(n) + 0.5) * bin_s, mean
