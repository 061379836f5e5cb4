"""What a recorded session holds, as numbers: blocks, baselines, thresholds, delays, quality.

Everything comes from the recording alone, row by row, so a session that was cut short is described
as far as it went. All statistics use clean grid points only (design: no gated sample may enter a
learning metric); what precedes a blink by 0.1 s is withdrawn as in the live decision. What cannot
be known is None, never 0.

No p values here: neighbouring grid points of a smoothed feature are no independent observations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.features import FEATURES
from engine.frames import Bool, Command, Event, Float, Gap, Gate, Hold, PhaseKind
from engine.gates import GateRule, Gates, GateSettings
from engine.recording import Recording
from protocols.baseline import causes_of
from protocols.model import GateSetting, Protocol

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
    "learned",
]

BEFORE_S = 0.1  # what precedes a blink belongs to the blink
MUSCLE_FLAG = 0.4  # correlation of feature and muscle above which a block is flagged
MUSCLE_MIN_BINS = 20  # fewer pairs say nothing about a correlation
INVALID_SHARE = 0.5
SAME_CLOCK_S = 0.05  # clock differences below this need no guess which clock a stamp is of

SHOWN = (PhaseKind.BASELINE, PhaseKind.TRAIN, PhaseKind.TRANSFER, PhaseKind.POST)
COUNTED = (PhaseKind.TRAIN, PhaseKind.TRANSFER)


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


# ---------------------------------------------------------------- the way in


def learned(recording: Recording) -> Learned:
    """Return what a recording holds, as numbers.

    Parameters
    ----------
    recording : Recording
        Whole, cut, damaged or still being written.
    """
    return _Reader(recording).learned()


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


def protocol_of(header: Mapping[str, Any]) -> Protocol | None:
    """Return the protocol of a recording's header; None when it is missing or not understood."""
    row = header.get("protocol")
    if not isinstance(row, Mapping):
        return None
    try:
        return Protocol.model_validate(row)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _numbers(value: Any) -> dict[str, float]:
    found = {str(k): _number(v) for k, v in _mapping(value).items()}
    return {k: v for k, v in found.items() if v is not None}


def _kind(code: int) -> PhaseKind | None:
    try:
        return PhaseKind(code)
    except ValueError:
        return None


# ---------------------------------------------------------------- small statistics


def _scale(x: Float, scale: str) -> Float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(x)) if scale == "ln" else x


def _own(x: float, scale: str) -> float:
    return math.exp(x) if scale == "ln" else x


def _spread(x: Float, scale: str) -> Spread:
    """Return quantiles, taken on the feature's scale, in its own unit."""
    q = [_own(float(v), scale) for v in np.quantile(x, (0.05, 0.25, 0.5, 0.75, 0.95))]
    return Spread(len(x), *q)


def _course(values: Float, scale: str, rest: Resting | None) -> Course | None:
    """Return the course of clean values in the feature's own unit; None without any."""
    x = _scale(values, scale)
    x = x[np.isfinite(x)]
    if not len(x):
        return None
    change = z = mean_z = None
    if rest is not None and rest.scale == scale:
        far = float(np.median(x)) - rest.median
        change = math.expm1(far) if scale == "ln" else far
        z, mean_z = far / rest.mad, (float(np.mean(x)) - rest.median) / rest.mad
    return Course(_spread(x, scale), change, scale == "ln", z, mean_z)


def _correlation(a: Float, b: Float) -> tuple[float | None, int, str]:
    use = np.isfinite(a) & np.isfinite(b)
    n = int(use.sum())
    if n < MUSCLE_MIN_BINS:
        return None, n, f"only {n} clean intervals"
    a, b = a[use], b[use]
    if np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        return None, n, "one of them did not vary"
    return float(np.corrcoef(a, b)[0, 1]), n, ""


def _trend(z: Sequence[float]) -> dict[str, float | None]:
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


# ---------------------------------------------------------------- reading


class _Reader:
    """Takes a recording apart once; every method answers one question."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.header = recording.header
        self.rate_hz = recording.spec.rate_hz
        self.hop = recording.spec.hop
        self.grid_hz = recording.spec.grid_hz
        self.protocol = protocol_of(self.header)
        codes = recording.codes
        self.features = tuple(_mapping(codes.get("features")).get("features", ()))
        self.metrics = tuple(_mapping(codes.get("features")).get("metrics", ()))
        self.rules = self._rules(_mapping(codes.get("decisions")).get("rules", ()))
        self.plan = self._plan()
        self.events: dict[str, list[Event]] = {}
        for event in recording.events:
            self.events.setdefault(event.kind, []).append(event)
        self.rows = self._rows()
        self.scales = self._scales()
        self.units = self._units()
        self.resting = self._resting()
        self.columns = {name: i for i, name in enumerate(self.features)}
        self.muscle_uv = self._muscle_rows()

    def learned(self) -> Learned:
        """Return everything."""
        blocks = tuple(self._blocks())
        outcome, why = self._outcome()
        rows = self.rows
        length = float(len(self.recording.samples) / self.rate_hz) if self.rate_hz else 0.0
        gaps = tuple((g.seq / self.rate_hz, g.missing / self.rate_hz, g.cause) for g in self._gaps)
        return Learned(
            rows=rows,
            rate_hz=self.rate_hz,
            grid_hz=self.grid_hz,
            protocol=self.protocol,
            feature_names=self.features,
            metric_names=self.metrics,
            units=self.units,
            scales=self.scales,
            rules=self.rules,
            level_feature=self._level_feature(),
            outcome=outcome,
            outcome_why=why,
            length_s=length + sum(g[1] for g in gaps),
            blocks=blocks,
            resting=self.resting,
            train=self._train(),
            trend=self._trends(blocks),
            steps=tuple(self._steps()),
            holds=tuple(self._holds()),
            gaps=gaps,
            transport=self._transport(),
            delay_s=_numbers(self.header.get("delay_s")),
            guard=self._guard(),
            missed_frames=self._missed(),
            presented=len(self.recording.presented.values),
            muscle_uv=self.muscle_uv,
            muscle_limits_uv=self._muscle_limits,
        )

    # ------------------------------------------------------------ what was agreed

    def _rules(self, names: Any) -> tuple[tuple[str, str], ...]:
        if self.protocol is not None:
            return tuple((r.feature, r.direction) for r in self.protocol.rules)
        return tuple((str(n), "") for n in names) if isinstance(names, (list, tuple)) else ()

    def _plan(self) -> dict[int, Mapping[str, Any]]:
        plan = self.header.get("plan")
        rows = [p for p in plan if isinstance(p, Mapping)] if isinstance(plan, list) else []
        return {int(p.get("index", i)): p for i, p in enumerate(rows)}

    def _scales(self) -> dict[str, str]:
        scales = dict.fromkeys(self.features, "linear")
        if self.protocol is not None:
            for name, feature in self.protocol.features.items():
                if feature.kind in FEATURES:
                    scales[name] = FEATURES[feature.kind].scale
        for event in self.events.get("baseline", ()):
            for name, row in _mapping(event.data.get("features")).items():
                if _mapping(row).get("scale") in ("ln", "linear"):
                    scales[name] = row["scale"]
        return scales

    def _units(self) -> dict[str, str]:
        units: dict[str, str] = {}
        if self.protocol is not None:
            for name, feature in self.protocol.features.items():
                if feature.kind in FEATURES:
                    units[name] = FEATURES[feature.kind].unit
        given = _mapping(self.header.get("feature_units"))
        return units | {str(k): v for k, v in given.items() if isinstance(v, str)}

    def _level_feature(self) -> str | None:
        given = self.header.get("level_feature")
        if isinstance(given, str):
            return given
        return self.protocol.feedback.level.feature if self.protocol is not None else None

    def _smoothing_s(self, name: str) -> float:
        if self.protocol is None or name not in self.protocol.features:
            return 0.0
        feature = self.protocol.features[name]
        parts = [p for p in feature.of if p in self.protocol.features and p != name]
        return max([feature.smooth_s or 0.0, *(self._smoothing_s(p) for p in parts)])

    # ------------------------------------------------------------ rows

    def _rows(self) -> Rows:
        table = self.recording.decisions
        n = len(table.values) if table.columns else 0
        n_rules = sum(c.startswith("pass_") for c in table.columns)

        def column(name: str) -> Float:
            return table.column(name) if n else np.zeros(0)

        def columns(prefix: str) -> Float:
            names = [c for c in table.columns if c.startswith(prefix)]
            if not n or not names:
                return np.zeros((n, n_rules))
            return np.column_stack([table.column(c) for c in names])

        def whole(name: str) -> np.ndarray:
            return np.nan_to_num(column(name), nan=-1.0).astype(np.int64)

        seq = whole("seq")
        values, trusted, metrics = self._frames(seq)
        return Rows(
            seq=seq,
            t_s=seq / self.rate_hz if self.rate_hz else np.zeros(n),
            phase=whole("phase"),
            kind=whole("kind"),
            reward=column("reward") > 0,
            joint=column("joint") > 0,
            passes=columns("pass_"),
            thresholds=columns("threshold_"),
            gate=whole("gate"),
            held=whole("held"),
            phase_s=column("phase_s"),
            rewards=whole("rewards"),
            values=values,
            trusted=trusted,
            metrics=metrics,
        )

    def _frames(self, seq: np.ndarray) -> tuple[Float, Bool, Float]:
        """Return feature values, trust and gate metrics at the decisions' grid points."""
        n, k, m = len(seq), len(self.features), len(self.metrics)
        values, metrics = np.full((n, k), np.nan), np.full((n, m), np.nan)
        trusted = np.zeros((n, k), bool)
        table = self.recording.features
        if not n or not len(table.values) or len(table.columns) != 4 + k + m:
            return values, trusted, metrics
        own = table.values[:, 1]
        at = np.minimum(np.searchsorted(own, seq), len(own) - 1)
        found = own[at] == seq
        rows = table.values[at[found]]
        values[found] = rows[:, 2 : 2 + k]
        metrics[found] = rows[:, 4 + k :]
        bits = rows[:, 2 + k].astype(np.int64)
        trusted[found] = (bits[:, None] >> np.arange(k)) & 1 > 0
        return values, trusted, metrics

    def _muscle_rows(self) -> Float:
        columns = [i for i, m in enumerate(self.metrics) if str(m).startswith("muscle_")]
        if not columns:
            return np.full(len(self.rows), np.nan)
        return np.asarray(self.rows.metrics[:, columns].mean(axis=1))

    def _known(self, rows: slice | np.ndarray, names: Sequence[str]) -> Bool:
        """Return where the gate is open, nothing holds and every named feature is known."""
        r = self.rows
        good: Bool = (r.gate[rows] == 0) & (r.held[rows] == 0)
        for name in names:
            i = self.columns.get(name)
            if i is None:
                continue
            x = r.values[rows, i]
            good &= r.trusted[rows, i] & np.isfinite(x)
            if self.scales[name] == "ln":
                good &= x > 0.0
        return good

    def _counted(self, rows: slice) -> Bool:
        """Return the clean points of a block without those just before a blink."""
        r = self.rows
        good = self._known(rows, [f for f, _ in self.rules])
        free = np.flatnonzero(r.held[rows] == 0)
        if not len(free):
            return good
        # A hold or a gap closes the books on what came before it.
        near = (np.diff(free) == 1) & (np.diff(r.seq[rows][free]) == self.hop)
        part = np.concatenate([[0], np.cumsum(~near)])
        blink = (r.gate[rows][free] & int(Gate.BLINK)) != 0
        begins = np.flatnonzero(blink & ~np.concatenate([[False], blink[:-1]]))
        reach = math.floor(BEFORE_S * self.grid_hz + 0.5)
        for k in begins:
            before = np.arange(max(0, int(k) - reach), int(k))
            good[free[before[part[before] == part[k]]]] = False
        return good

    def _visits(self) -> Iterator[slice]:
        r = self.rows
        if not len(r):
            return
        new = (np.diff(r.phase) != 0) | (np.diff(r.kind) != 0) | (np.diff(r.phase_s) < 0)
        edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(r)]
        for a, b in itertools.pairwise(edges):
            yield slice(a, b)

    # ------------------------------------------------------------ rest

    def _resting(self) -> dict[str, Resting]:
        found: dict[str, Resting] = {}
        for event in self.events.get("baseline", ()):
            block = str(event.data.get("name", ""))
            for name, row in _mapping(event.data.get("features")).items():
                median = _number(_mapping(row).get("median"))
                mad = _number(_mapping(row).get("mad"))
                scale = _mapping(row).get("scale")
                if median is None or mad is None or mad <= 0 or scale not in ("ln", "linear"):
                    continue
                centre, low, high = (_own(median + k * mad, scale) for k in (0, -1, 1))
                n = int(_number(row.get("n")) or 0)
                found[name] = Resting(name, scale, n, median, mad, centre, low, high, block)
        return found

    def _regate(self, rows: slice) -> tuple[Bool, dict[str, float]]:
        """Return the points that the learned limits leave, and the muscle limits (µV).

        The limits themselves are not recorded; they follow from the recorded metrics alone.
        """
        free = np.flatnonzero(self.rows.held[rows] == 0)
        keep = np.zeros(rows.stop - rows.start, bool)
        if self.protocol is None or not self.metrics:
            return keep, {}
        limits, kept = self._gates().relearn(self.rows.metrics[rows][free])
        keep[free] = kept
        names = [str(m) for m in self.metrics]
        muscle = {n[7:]: float(v) for n, v in zip(names, limits.limits, strict=True)
                  if n.startswith("muscle_")}  # fmt: skip
        return keep, muscle

    def _gates(self) -> Gates:
        """Return the session's gates as far as learning limits needs them."""
        assert self.protocol is not None
        sites: list[str] = []
        at: dict[str, list[int]] = {"amplitude": [], "blink": [], "muscle": []}
        for metric in self.metrics:
            gate, _, site = str(metric).partition("_")
            if site not in sites:
                sites.append(site)
            at.setdefault(gate, []).append(sites.index(site))

        def rule(gate: str, setting: GateSetting) -> GateRule:
            return GateRule(setting.on, tuple(at[gate]), setting.limit_uv, setting.after_s)

        given = self.protocol.gates
        first = next((b for b in self.protocol.baseline if b.learn), None)
        return Gates(
            GateSettings(
                rate_hz=self.rate_hz,
                hop=self.hop,
                amplitude=rule("amplitude", given.amplitude),
                blink=rule("blink", given.blink),
                muscle=rule("muscle", given.muscle),
                step=GateRule(given.step.on, ()),
                needed=(),
                mains_hz=_number(self.header.get("mains_hz")),
                eyes_closed=first is not None and first.eyes == "closed",
                site_names=tuple(sites),
            )
        )

    # ------------------------------------------------------------ blocks

    def _blocks(self) -> Iterator[Block]:
        self._muscle_limits: dict[str, float] = {}
        self._train_rows: list[np.ndarray] = []
        attempts: dict[int, int] = {}
        paid = 0
        for visit in self._visits():
            last = self.rows.rewards[visit.stop - 1]
            kind = _kind(int(self.rows.kind[visit.start]))
            phase = int(self.rows.phase[visit.start])
            if kind in SHOWN and phase >= 0:
                attempts[phase] = attempts.get(phase, 0) + 1
                yield self._block(visit, kind, phase, attempts[phase], int(last) - paid)
            paid = max(paid, int(last))

    def _block(
        self, visit: slice, kind: PhaseKind, phase: int, attempt: int, rewards: int
    ) -> Block:
        r = self.rows
        plan = self.plan.get(phase, {})
        ended = self._event_in("phase_end", visit)
        end = None if ended is None else str(ended.data.get("reason", "")) or None
        name = str(plan.get("name") or (ended.data.get("name") if ended else "") or kind.name)
        number = int(_number(plan.get("block")) or 0)
        free = r.held[visit] == 0
        learns = plan.get("learn")
        needs = [f for f, _ in self.rules]
        if kind is PhaseKind.BASELINE and isinstance(learns, (list, tuple)):
            needs = [str(f) for f in learns]
        live = self._known(visit, needs)
        use, note = self._used(visit, kind, live, bool(needs), end)
        rates = self._rates(visit, use) if kind in COUNTED else (None, None, None)
        if kind is PhaseKind.TRAIN:
            self._train_rows.append(visit.start + np.flatnonzero(use))
        clean_s = float((use if kind is PhaseKind.BASELINE else live).sum()) / self.grid_hz
        total_s = float(free.sum()) / self.grid_hz
        return Block(
            phase=phase,
            kind=kind.name.lower(),
            name=name,
            number=number,
            attempt=attempt,
            label=self._label(kind, name, number, attempt),
            start_s=float(r.t_s[visit.start]),
            end_s=float(r.t_s[visit.stop - 1]),
            total_s=total_s,
            clean_s=clean_s,
            held_s=float((~free).sum()) / self.grid_hz,
            gated_s=self._gated(visit, free, live, use if kind is PhaseKind.BASELINE else live),
            end=end,
            invalid=kind in COUNTED and total_s - clean_s > INVALID_SHARE * total_s,
            rewards=rewards if kind is PhaseKind.TRAIN else None,
            rate_alone=rates[0],
            rate_joint=rates[1],
            rate_first_threshold=rates[2],
            features=self._courses(visit.start + np.flatnonzero(use)),
            muscle=self._muscle(visit, use),
            note=note,
        )

    @staticmethod
    def _label(kind: PhaseKind, name: str, number: int, attempt: int) -> str:
        word = name.replace("_", " ")
        if kind is PhaseKind.BASELINE:
            label = f"Baseline {word}"
        elif kind is PhaseKind.TRAIN:
            label = f"Training {number}" if number else "Training"
        elif kind is PhaseKind.TRANSFER:
            label = f"Transfer {number}" if number > 1 else "Transfer"
        else:
            label = "Rest after" if name == "post" else f"Rest after {word}"
        return label if attempt == 1 else f"{label}, attempt {attempt}"

    def _event_in(self, kind: str, visit: slice) -> Event | None:
        """Return the last event of a kind in a visit; a stop or skip ends one point later."""
        first, last = int(self.rows.seq[visit.start]), int(self.rows.seq[visit.stop - 1])
        phase = int(self.rows.phase[visit.start])
        found = [
            e
            for e in self.events.get(kind, ())
            if first <= e.seq <= last + self.hop and e.data.get("phase", phase) == phase
        ]
        return found[-1] if found else None

    def _used(
        self, visit: slice, kind: PhaseKind, live: Bool, learns: bool, end: str | None
    ) -> tuple[Bool, str]:
        """Return the points whose statistics count, and what is to be said about them."""
        if kind is not PhaseKind.BASELINE:
            return self._counted(visit), ""
        if not learns:
            return live, "nothing was learned from this block"
        if end in ("repeat", "failed"):
            return live, "too little was clean; nothing was learned from this attempt"
        accepted = self._event_in("baseline", visit)
        if accepted is None:
            return live, "it was not finished; nothing was learned from it"
        keep, limits = self._regate(visit)
        use = live & keep
        told = _number(accepted.data.get("clean_s"))
        if told is None or abs(told - float(use.sum()) / self.grid_hz) > 0.5:
            return live, "includes points that the learned limits withdrew later"
        self._muscle_limits.update(limits)
        return use, ""

    def _gated(self, visit: slice, free: Bool, live: Bool, used: Bool) -> dict[str, float]:
        """Return unclean seconds by cause; causes overlap, so they may add up to more."""
        seconds: dict[str, int] = {}
        gate = self.rows.gate[visit]
        for bits, n in zip(*np.unique(gate[free & ~used], return_counts=True), strict=True):
            if bits > 0:
                for cause in causes_of(int(bits)):
                    seconds[cause] = seconds.get(cause, 0) + int(n)
        open_ = free & ~used & (gate == 0)
        for cause, n in (
            ("withdrawn by learned limits", int((open_ & live).sum())),
            ("untrusted", int((open_ & ~live).sum())),
        ):
            if n:
                seconds[cause] = n
        pairs = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
        return {cause: n / self.grid_hz for cause, n in pairs}

    def _rates(self, visit: slice, use: Bool) -> tuple[float | None, float | None, float | None]:
        """Return shares of clean time: reward rule alone, all rules, first threshold kept."""
        r = self.rows
        if not use.any() or not r.passes.shape[1]:
            return None, None, None
        alone = float((r.passes[visit, 0][use] == 1).mean())
        joint = float(r.joint[visit][use].mean())
        return alone, joint, self._over_first(visit, use)

    def _over_first(self, visit: slice, use: Bool) -> float | None:
        first = self.rows.thresholds[:, 0]
        known = first[np.isfinite(first)]
        feature, direction = self.rules[0] if self.rules else ("", "")
        i = self.columns.get(feature)
        if not len(known) or i is None or not direction:
            return None
        x = self.rows.values[visit, i][use]
        met = x > known[0] if direction == "above" else x < known[0]
        return float(met.mean())

    def _watched(self) -> tuple[str, ...]:
        level = self._level_feature()
        names = [f for f, _ in self.rules] + ([level] if level else [])
        return tuple(n for n in dict.fromkeys(names) if n in self.columns)

    def _courses(self, at: np.ndarray) -> dict[str, Course]:
        found: dict[str, Course] = {}
        for name in self._watched():
            i = self.columns[name]
            x = self.rows.values[at, i][self.rows.trusted[at, i]]
            course = _course(x, self.scales[name], self.resting.get(name))
            if course is not None:
                found[name] = course
        return found

    def _muscle(self, visit: slice, use: Bool) -> Muscle:
        m = self.muscle_uv[visit]
        if not np.isfinite(m).any():
            return Muscle(None, None, 0, False, "the muscle gate was off or had no site")
        clean = m[use & np.isfinite(m)]
        middle = float(np.median(clean)) if len(clean) else None
        name = self.rules[0][0] if self.rules else ""
        if name not in self.columns:
            return Muscle(middle, None, 0, False, "the trained feature is not recorded")
        x = _scale(self.rows.values[visit, self.columns[name]], self.scales[name])
        bin_s = max(1.0, self._smoothing_s(name))
        t = self.rows.t_s[visit]
        r, n, why = _correlation(
            binned(t, x, use, bin_s)[1], binned(t, _scale(m, "ln"), use, bin_s)[1]
        )
        return Muscle(middle, r, n, r is not None and r > MUSCLE_FLAG, why)

    def _train(self) -> dict[str, Course]:
        if not self._train_rows:
            return {}
        return self._courses(np.concatenate(self._train_rows))

    def _trends(self, blocks: Sequence[Block]) -> dict[str, float | None]:
        name = self.rules[0][0] if self.rules else ""
        courses = [b.features.get(name) for b in blocks if b.kind == "train"]
        return _trend([c.z for c in courses if c is not None and c.z is not None])

    # ------------------------------------------------------------ thresholds

    def _steps(self) -> Iterator[Step]:
        """Yield every change of a threshold with the event that explains it."""
        r = self.rows
        steps = [s for k in range(r.thresholds.shape[1]) for s in self._steps_of(k)]
        yield from sorted(steps, key=lambda s: (s.t_s, s.rule))

    def _steps_of(self, k: int) -> Iterator[Step]:
        r = self.rows
        x = r.thresholds[:, k]
        feature, direction = self.rules[k] if k < len(self.rules) else (f"rule {k + 1}", "")
        old: float | None = None
        for i in np.flatnonzero(np.isfinite(x)):
            new = float(x[i])
            if new == old:
                continue
            method, reason = self._reason(k, int(r.seq[i]), first=old is None)
            yield Step(float(r.t_s[i]), k, feature, direction, old, new, method, reason)
            old = new

    def _reason(self, k: int, seq: int, *, first: bool) -> tuple[str, str]:
        near = [
            e
            for kind in ("threshold_change", "threshold")
            for e in self.events.get(kind, ())
            if e.data.get("rule") == k and 0 <= seq - e.seq <= 2 * self.hop
        ]
        if near and near[0].kind == "threshold_change":
            return "operator", str(near[0].data.get("reason") or "")
        if near:
            success = _number(near[0].data.get("success"))
            return str(near[0].data.get("method") or ""), (
                "" if success is None else f"met {100 * success:.0f} % of the clean baseline"
            )
        if first and self.protocol is not None and k < len(self.protocol.rules):
            rule = self.protocol.rules[k]
            if rule.threshold.method == "fixed":
                return "fixed", "fixed in the protocol"
        return "", ""

    # ------------------------------------------------------------ the course of the session

    def _outcome(self) -> tuple[str, str]:
        kinds = {_kind(int(k)) for k in np.unique(self.rows.kind)}

        def said(event: str, key: str) -> str:
            rows = self.events.get(event, ())
            return str(rows[-1].data.get(key) or "") if rows else ""

        if PhaseKind.FAILED in kinds or "failed" in self.events:
            return "failed", said("failed", "sentence") or said("end", "sentence")
        if PhaseKind.STOPPED in kinds or said("end", "state") == "stopped":
            return "stopped", said("stop", "reason") or said("end", "sentence")
        last = max((i for i, p in self.plan.items() if _lasts(p)), default=None)
        ended = [
            e
            for e in self.events.get("phase_end", ())
            if last is not None and e.data.get("phase") == last
        ]
        if PhaseKind.DONE in kinds or "done" in self.events or ended:
            return "done", ""
        return "incomplete", "The recording ends before the session did."

    @property
    def _gaps(self) -> tuple[Gap, ...]:
        return self.recording.gaps()

    def _holds(self) -> Iterator[Held]:
        """Yield every hold, from the Inputs: pauses of the operator and states of the session."""
        open_: dict[str, tuple[int, str]] = {}
        end = int(self.rows.seq[-1]) if len(self.rows) else 0
        made: list[Held] = []

        def close(cause: str, seq: int | None) -> None:
            since, sentence = open_.pop(cause)
            stop = end if seq is None else seq
            made.append(
                Held(
                    since / self.rate_hz,
                    None if seq is None else seq / self.rate_hz,
                    max(0, stop - since) / self.rate_hz,
                    cause,
                    sentence,
                )
            )

        for item in self.recording.inputs:
            if isinstance(item, Hold):
                on, cause, sentence = item.on, item.cause, item.sentence
            elif isinstance(item, Command) and item.kind in ("pause", "resume"):
                on, cause, sentence = item.kind == "pause", "paused", item.text
            else:
                continue
            if on and cause not in open_:
                open_[cause] = (item.seq, sentence)
            elif not on and cause in open_:
                close(cause, item.seq)
        for cause in list(open_):
            close(cause, None)
        yield from sorted(made, key=lambda h: h.start_s)

    # ------------------------------------------------------------ what was shown

    def _transport(self) -> Transport:
        table = self.recording.presented
        if not len(table.values):
            return Transport(0, None, None, None, None, "nothing was presented")
        seq, t, flip = (table.column(c) for c in ("seq", "t", "t_flip"))
        use = np.isfinite(t) & np.isfinite(flip) & np.isfinite(seq)
        seq, t, flip = seq[use], t[use], flip[use]
        order = np.argsort(flip, kind="stable")
        first = order[np.unique(seq[order], return_index=True)[1]]
        seq, t, flip = seq[first], t[first], flip[first]
        offset = self._offset_at(flip, seq, t)
        if offset is None:
            why = "the clock of the amplifier was never compared with this computer's"
            return Transport(len(t), None, None, None, None, why)
        ms = 1000.0 * (flip - t - offset)
        if not len(ms):
            return Transport(0, None, None, None, None, "no presented value has a stamp")
        p50, p95, p99 = (float(v) for v in np.percentile(ms, (50, 95, 99)))
        return Transport(len(ms), p50, p95, p99, float(ms.max()))

    def _offset_at(self, flip: Float, seq: Float, t: Float) -> Float | None:
        """Return what to add to `t` to get our clock; None when that is unknown.

        The session gives `t` on our clock already. Where the clocks differ, the raw stamp of the
        same grid point tells whether it did; without a measured difference nothing is known.
        """
        measured = self.recording.clock_offsets
        if not len(measured):
            return None
        offset: Float = np.interp(flip, measured[:, 0], measured[:, 1])
        table = self.recording.decisions
        if np.abs(offset).max(initial=0.0) < SAME_CLOCK_S or not len(table.values):
            return np.zeros_like(offset)
        own = table.column("seq")
        at = np.minimum(np.searchsorted(own, seq), len(own) - 1)
        same = own[at] == seq
        ahead = t[same] - table.column("t")[at[same]]
        if len(ahead) and abs(np.median(ahead)) < abs(np.median(ahead - offset[same])):
            return offset
        return np.zeros_like(offset)

    def _guard(self) -> dict[str, tuple[int, int]]:
        table = self.recording.presented
        if not len(table.values):
            return {}
        bits = np.nan_to_num(table.column("guard")).astype(np.int64)
        names = _numbers(_mapping(self.recording.codes.get("presented")).get("guard_bits"))
        found = {}
        for name, bit in names.items():
            on = (bits & int(bit)) != 0
            begins = on & ~np.concatenate([[False], on[:-1]])
            found[name] = (int(begins.sum()), int(on.sum()))
        return found

    def _missed(self) -> int | None:
        """Return the window's own count of missed frames, where an event tells it."""
        counts = [
            n
            for event in self.recording.events
            for key in ("missed", "missed_frames", "dropped_frames")
            if (n := _number(event.data.get(key))) is not None
        ]
        return int(max(counts)) if counts else None


def _lasts(phase: Mapping[str, Any]) -> bool:
    return (_number(phase.get("lasts_s")) or 0.0) > 0.0
