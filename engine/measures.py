"""The values a report is made of, and the small statistics that make them.

All statistics use clean grid points only (design: no gated sample may enter a learning metric). No
p values here: neighbouring grid points of a smoothed feature are no independent observations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.frames import Bool, Float, PhaseKind
from protocols.model import Protocol

__all__ = [
    "ADULT_PA2H",
    "CHILD_PA2H",
    "AboveZero",
    "Alpha",
    "Block",
    "Course",
    "Delay",
    "Filter",
    "FixedPower",
    "Given",
    "Held",
    "Learned",
    "Muscle",
    "Resting",
    "Rows",
    "Shown",
    "Sound",
    "Spread",
    "Step",
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
class AboveZero:
    """Share of a block's clean time in which a feature was above zero; `why` says why not known.

    `note` tells a share that was read otherwise than those of the other blocks.
    """

    share: float | None
    clean_s: float
    note: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class FixedPower:
    """A feature by the fixed filter in a block's clean time, for comparison across sessions.

    Parameters
    ----------
    n : int
        Grid points behind it (every tenth one).
    mean_ln : float or None
        Mean of the logarithm of the unsmoothed power in µV²; of two powers that are compared, the
        first one's mean minus the second one's.
    change_ln : float or None
        The same minus that of the baseline block `against`.
    against : str
        Label of that block.
    why : str
        Why something of it is not known.
    """

    n: int
    mean_ln: float | None
    change_ln: float | None = None
    against: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter of one band of one feature, as the session told it after fitting.

    Parameters
    ----------
    feature : str
    beside : bool
        A flank of a periodic power, not its band.
    band_hz : tuple of float
    estimator : {'wiener', 'fixed'}
    fit : str
        What the protocol asked for: ``session``, ``course`` or ``fixed``.
    reason : str
        Why a filter that should be fitted was not.
    block : str
        Baseline to which it was fitted.
    target, target_refused : str
        ``band`` or ``rhythm``; why the rhythm could not be the target.
    reject_refused, unknown : str
        Why there is no null at the alpha peak beside the band; why nothing can be read at all.
    delay_s : float or None
        Asked of a fitted filter; group delay of a fixed one.
    best_lag_s, best_r : float or None
        Where its envelope correlates best with the ideal one on the baseline, and how well.
    taps_s, clean_s, reject_hz : float or None
        Length, clean signal it was fitted to, the alpha peak at which it has a null.
    reads : mapping
        What a sine of unit power reads as at ``centre``, ``lower_edge``, ``upper_edge``,
        ``one_below``, ``one_above`` (one bandwidth outside) and ``alpha_peak``.
    delays_s, limit, expected, measured : tuple of float
        The curves of correlation over delay; empty when unknown.
    spatial : tuple of mapping
        What a fitted spatial filter became, per site.
    """

    feature: str
    beside: bool
    band_hz: tuple[float, float]
    estimator: str
    fit: str
    reason: str = ""
    block: str = ""
    target: str = ""
    target_refused: str = ""
    reject_refused: str = ""
    unknown: str = ""
    delay_s: float | None = None
    best_lag_s: float | None = None
    best_r: float | None = None
    taps_s: float | None = None
    clean_s: float | None = None
    reject_hz: float | None = None
    reads: Mapping[str, float] = field(default_factory=dict)
    delays_s: tuple[float, ...] = ()
    limit: tuple[float, ...] = ()
    expected: tuple[float, ...] = ()
    measured: tuple[float, ...] = ()
    spatial: tuple[Mapping[str, Any], ...] = ()

    @property
    def fitted(self) -> bool:
        """Whether it was made for this person."""
        return self.estimator == "wiener"


@dataclass(frozen=True, slots=True)
class Alpha:
    """The individual alpha frequency of a session.

    Parameters
    ----------
    used_hz : float
        Around which the bands lie.
    source : {'measured', 'course', 'fallback'}
    guessed : bool
        Nobody's alpha: none was found, now or in the first session of the course.
    kind : {'paf', 'cog', 'none', ''}
        Peak or centre of gravity; empty when nothing was measured.
    paf_hz, cog_hz : float or None
    band_hz : tuple of float or None
        The person's own alpha band.
    n_channels, n_given : int
        Channels with a peak, of those looked at.
    low_confidence : bool
        Fewer than three channels were looked at.
    sites, dropped : tuple of str
    reason : str
        Why there is none.
    """

    used_hz: float
    source: str
    guessed: bool = False
    kind: str = ""
    paf_hz: float | None = None
    cog_hz: float | None = None
    band_hz: tuple[float, float] | None = None
    n_channels: int = 0
    n_given: int = 0
    low_confidence: bool = False
    sites: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Muscle:
    """Muscle beside the trained feature in one block; `why` says why `r` is not known.

    Parameters
    ----------
    median_uv : float or None
        In clean time.
    r : float or None
        Correlation with the trained feature.
    bins : int
    flagged : bool
        `r` is high.
    gated_share : float or None
        Of the block's time, how much the muscle gate took; such time earns nothing.
    rose : bool
        Muscle and the trained feature are both well above rest.
    much : bool
        The gate took a large share of a training block, and more than of the baseline.
    """

    median_uv: float | None
    r: float | None
    bins: int
    flagged: bool
    why: str = ""
    gated_share: float | None = None
    rose: bool = False
    much: bool = False

    @property
    def suspect(self) -> bool:
        """Whether muscle may stand behind what the feature did."""
        return self.flagged or self.rose or self.much


@dataclass(frozen=True, slots=True)
class Given:
    """What was presented in a training block, beside what was real.

    Parameters
    ----------
    level, real_level : float or None
        Means over the time with a level; the real one is known after unsealing only.
    rewards : int
        Presented.
    real_rewards : int or None
    r : float or None
        Correlation of the presented level with the real one.
    r_feature : float or None
        Correlation of the presented level with the feature that it should show.
    why : str
        Why there is no correlation.
    """

    level: float | None
    rewards: int
    real_level: float | None = None
    real_rewards: int | None = None
    r: float | None = None
    r_feature: float | None = None
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
    above_zero: Mapping[str, AboveZero] = field(default_factory=dict)
    fixed: Mapping[str, FixedPower] = field(default_factory=dict)
    given: Given | None = None  # of a training block that presented something else, or unveiled
    missed_flips: int | None = None

    @property
    def unclean_s(self) -> float:
        """Seconds that ran but were not clean."""
        return self.total_s - self.clean_s


@dataclass(frozen=True, slots=True)
class Step:
    """The threshold of one rule changed, or moved along while a block ran."""

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
class Delay:
    """A delay over many values or frames, ms; `why` says why it is not known."""

    n: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of the sound of a session.

    Parameters
    ----------
    buffer_ms : float or None
        How much sound waits in the device.
    delay_ms : float or None
        From a change to the device, as measured in the window.
    dose_pa2h : float or None
        At the ear, over the session; None while loudness is not calibrated.
    device : str or None
        By what it went out, as `engine.shown.back_end` names it; empty: there was no sound.
    """

    buffer_ms: float | None = None
    delay_ms: float | None = None
    dose_pa2h: float | None = None
    device: str | None = None

    def share_of_week(self, allowance_pa2h: float) -> float | None:
        """Return the dose as a share of what a week allows."""
        return None if self.dose_pa2h is None else self.dose_pa2h / allowance_pa2h


ADULT_PA2H, CHILD_PA2H = 1.6, 0.506
"""Weekly allowance of sound of WHO-ITU H.870: 80 dBA for 40 h, for children 75 dBA."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What reached the person, frame by frame.

    None is unknown: recordings of versions up to 0.1 hold one row per value, not per frame.

    Parameters
    ----------
    transport : Delay
        From the stamp of the newest sample behind a value to the first flip that shows it.
    age : Delay
        How old that sample was at every flip.
    live_age : Delay
        The same of flips that showed a level: how old what the person saw was.
    rows, values : int
        Rows of the stream, and values that reached the screen.
    rewards : int
        That began to show.
    guard : mapping of str to (int, int)
        Interventions and frames of each kind.
    frames, unreported : int or None
        Flips, and those among them of which no row came.
    seconds : float or None
        From the first to the last flip, without the time between two windows.
    fps : float or None
        Flips per second.
    period_ms : float or None
        Time between two flips as it should be.
    period_told : bool
        Whether the window said so; else it is the median wait, which hides steady losses.
    missed : int or None
        Flips that did not happen: of each longer wait the further periods in it.
    counted : int or None
        The same as the window counted itself.
    level_s, neutral_s, heard_s : float or None
        Time with a level, with a picture or curtain without one, and with a sound that follows
        the level.
    """

    transport: Delay
    age: Delay
    live_age: Delay
    rows: int
    values: int
    rewards: int
    guard: Mapping[str, tuple[int, int]]
    frames: int | None = None
    unreported: int | None = None
    seconds: float | None = None
    fps: float | None = None
    period_ms: float | None = None
    period_told: bool = False
    missed: int | None = None
    counted: int | None = None
    level_s: float | None = None
    neutral_s: float | None = None
    heard_s: float | None = None

    @property
    def most_missed(self) -> int | None:
        """Flips that did not happen, by the larger of both counts."""
        known = [n for n in (self.missed, self.counted) if n is not None]
        return max(known) if known else None

    @property
    def missed_share(self) -> float | None:
        """Share of the flips that should have been and were not."""
        missed = self.most_missed
        if missed is None or not self.frames:
            return None
        return missed / (self.frames + missed)


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
    fixed_uv2: Float
    level: Float  # as presented
    real_level: Float  # NaN throughout, unless the research log of a control session is open
    real_reward: Float

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
    shown: Shown
    sound: Sound
    delay_s: Mapping[str, float]
    missed_frames: int | None  # of the flips, or as the window counted them
    muscle_uv: Float  # per row, mean over the sites watched
    muscle_limits_uv: Mapping[str, float] = field(default_factory=dict)
    filters: tuple[Filter, ...] = ()
    fits_told: bool = True  # False: this version of the recording could not tell
    alpha: Alpha | None = None
    eyes: Mapping[str, Any] = field(default_factory=dict)  # of the regression of blinks
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    trained: str | None = None  # rewarded, of the trials, or else shown
    withheld: bool = False  # a blinded session whose research log is closed
    presented_kind: str = "real"  # of `protocols.sham.KINDS`; empty when withheld

    @property
    def transport(self) -> Delay:
        """From the newest sample's stamp to the first flip of its value."""
        return self.shown.transport

    @property
    def guard(self) -> Mapping[str, tuple[int, int]]:
        """Interventions and frames of every kind of the guard."""
        return self.shown.guard

    @property
    def adapts(self) -> bool:
        """Whether the threshold of the reward moves with the person."""
        reward = None if self.protocol is None else self.protocol.reward
        return reward is not None and reward.threshold.adapts

    @property
    def sham(self) -> bool:
        """Whether something else than the person's own feedback was presented."""
        return self.presented_kind not in ("", "real")

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
