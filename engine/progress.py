"""How a client's sessions of one protocol went, from their recordings alone.

The learning metrics across sessions, on clean samples, on the feature's own scale (ln or linear).
Everything about the trained feature is signed: positive is the trained direction. What cannot be
known is None with a reason. This describes a series of recordings; it does not say that training
works, and nobody is left out because of it.

- Blocks more than half gated, and blocks cut short (less than half as long as the session's
  longest), do not count.
- A session's rest is the baseline from which the session itself learned the feature: its mean and
  its spread (1.4826 x MAD, "SD" below), on the feature's scale.
- Where filters were fitted anew in every session, values of different sessions compare by the fixed
  filter only, or each against its own rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from xml.etree import ElementTree

import numpy as np

from engine import learning, xdf
from engine.errors import FileError, InputError, NeuroloopError
from engine.features import BURSTS
from engine.frames import Float, PhaseKind
from engine.grid import Grid
from engine.learned import learned
from engine.learning import Effect, LearnerRule, Mean, Slope, Verdict
from engine.measures import Block, Filter, Learned, Step, on_scale
from engine.opened import unveil
from engine.pipeline import FIXED_EVERY
from engine.recording import Recording, read
from engine.words import count
from protocols.model import Protocol as Definition
from protocols.phrases import feature_words, leaves, listed
from protocols.sham import KINDS, PREFIX

__all__ = [
    "BLINDED",
    "CONSTANT_RATE",
    "DESCRIPTION",
    "INDEPENDENT",
    "TEST",
    "Beside",
    "BlockValue",
    "Level",
    "Progress",
    "Session",
    "Skipped",
    "Trend",
    "progress",
    "progress_of",
    "rule_of",
]

BLINDED = "Blinded: opened after unsealing."
CONSTANT_RATE = (
    "A constant reward rate is not learning: it says how easy the threshold was. Look at the "
    "feature against rest."
)
DESCRIPTION = (
    "This describes one series of recordings. It cannot tell whether training works, for this "
    "person or for anybody, says nothing about health, and is no reason to leave anybody out."
)
INDEPENDENT = (
    "Limits are for 95 % confidence and take sessions, or blocks, as independent of each other. A "
    "slope tells that something moved, not what moved it."
)
TEST = "test session"
NEAR_HZ = 4.0  # a neighbouring band begins or ends no further away
HEADER_BYTES = 1 << 26
FEW = 5  # sessions at each end that an effect size compares, at most
SHORT_SHARE = 0.5


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class BlockValue:
    """One block of training in clean time.

    Parameters
    ----------
    number : int
        Of the training block in its session, from 1.
    label : str
    clean_s, total_s : float
    mean : float or None
        Of the trained feature, on its scale, as it is (not signed).
    z : float or None
        Signed distance from rest in SDs.
    muscle_ln : float or None
        Mean ln of the muscle gate's measure in µV.
    left_out : str
        Why the block does not count; empty when it does.
    """

    number: int
    label: str
    clean_s: float
    total_s: float
    mean: float | None
    z: float | None
    muscle_ln: float | None
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """A feature in one session, on its scale, not signed; `why` says why something is unknown.

    Parameters
    ----------
    rest, spread : float or None
        Mean and SD of the session's own rest.
    train, transfer : float or None
        Means over clean time that counts.
    z : float or None
        ``(train - rest) / spread``.
    """

    rest: float | None = None
    spread: float | None = None
    train: float | None = None
    transfer: float | None = None
    z: float | None = None
    why: str = ""


@dataclass(frozen=True)
class Session:
    """One session in numbers. Signed ones are positive in the trained direction.

    Parameters
    ----------
    number : int
        In the series, from 1; sessions that are left out are not counted.
    name, started : str
        File name; start as the recording tells it.
    outcome : str
    blocks : tuple of BlockValue
    level : Level
        The trained feature on its scale, not signed.
    change : float or None
        Training minus rest on the feature's scale, signed.
    z : Mean
        Training minus rest in SDs, signed (metric 3), weighted by clean time; limits from the
        blocks that count.
    slope, theil_sen : Slope
        Over the blocks, on the feature's scale per block, signed (metric 1).
    partial : Slope
        The same with muscle held constant, block by block.
    last_minus_first : float or None
        On the feature's scale, signed (metric 2).
    transfer_z : float or None
        Transfer minus rest in SDs, signed (metric 6).
    fixed_rest, fixed_change : float or None
        By the fixed filter: ln power at rest, and training minus rest, signed.
    over_first : float or None
        Share of clean time beyond the first session's threshold (metric 7).
    muscle_rest, muscle_train : float or None
        Mean ln of the muscle measure in µV.
    muscle_flagged : int
        Training blocks in which the feature went along with muscle.
    clean_share : float or None
        Of the training time, blocks that do not count among it.
    gated_share : mapping of str to float
        The same by cause; causes overlap.
    reward_alone, reward_joint : float or None
        Shares of clean time in which the reward condition held, alone and with all others.
    rewards : int or None
    transport_ms : mapping of str to float or None
        ``p50`` and ``p95``, sample to screen.
    estimator_s : float or None
        How far back the trained feature speaks.
    thresholds : tuple of Step
        Every change of the reward threshold, in the feature's unit.
    fitted : str
        ``session`` when a filter behind the trained feature was fitted anew, ``course`` when it was
        kept, ``fixed`` else.
    beside : mapping of str to Level
        Every other feature.
    notes : tuple of str
    """

    number: int
    name: str
    started: str
    outcome: str
    blocks: tuple[BlockValue, ...]
    level: Level
    change: float | None
    z: Mean
    slope: Slope
    theil_sen: Slope
    partial: Slope
    last_minus_first: float | None
    transfer_z: float | None
    fixed_rest: float | None
    fixed_change: float | None
    over_first: float | None
    muscle_rest: float | None
    muscle_train: float | None
    muscle_flagged: int
    clean_share: float | None
    gated_share: Mapping[str, float]
    reward_alone: float | None
    reward_joint: float | None
    rewards: int | None
    transport_ms: Mapping[str, float | None]
    estimator_s: float | None
    thresholds: tuple[Step, ...]
    fitted: str
    beside: Mapping[str, Level] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def muscle_change(self) -> float | None:
        """Mean ln of muscle in training minus at rest."""
        if self.muscle_train is None or self.muscle_rest is None:
            return None
        return self.muscle_train - self.muscle_rest

    @property
    def counted(self) -> tuple[BlockValue, ...]:
        """The blocks that count."""
        return tuple(b for b in self.blocks if not b.left_out)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A recording that is not in the series, and why."""

    name: str
    started: str
    why: str


@dataclass(frozen=True, slots=True)
class Trend:
    """One number of every session, and its slope over the sessions.

    Parameters
    ----------
    unit : str
        In words.
    values : tuple of float or None
        In the order of the sessions.
    ols, theil_sen : Slope
        Per session.
    last_minus_first : float or None
        Between the first and the last session in which it is known.
    why : str
        Why it says nothing; then there are no slopes.
    """

    unit: str
    values: tuple[float | None, ...]
    ols: Slope
    theil_sen: Slope
    last_minus_first: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """A feature beside the trained one: what it is, and its trend (not signed).

    `role` is ``part`` of the trained feature, ``neighbour`` (a band within 4 Hz at the same sites),
    ``control site`` (the same band elsewhere), ``bursts`` or ``other``.
    """

    name: str
    what: str
    role: str
    unit: str
    trend: Trend


@dataclass(frozen=True)
class Progress:
    """The series of a client's sessions of one protocol.

    Parameters
    ----------
    client, protocol, title : str
    feature, what, direction, scale, unit : str
        The trained feature, in words too; ``above`` or ``below``; ``ln`` or ``linear``.
    sessions : tuple of Session
    skipped : tuple of Skipped
    trends : mapping of str to Trend
        ``session`` (metric 3), ``fixed`` (3 by the fixed filter), ``rest`` and ``rest_fixed`` (5),
        ``transfer`` (6), ``over_first`` (7), ``muscle`` and ``muscle_level`` (10),
        ``reward_alone``, ``reward_joint`` and ``clean_share``.
    partial : Slope
        Of metric 3 over the sessions, with muscle against rest held constant.
    with_muscle : Slope
        How metric 3 goes with ln muscle from block to block, within sessions.
    effect, effect_blocks : Effect
        The last sessions against the first ones, and the blocks of the last session against those
        of the first.
    threshold_by, threshold : str, float or None
        How metric 7 is read, and beyond what (in the feature's unit, or ln power by the fixed
        filter).
    beside : tuple of Beside
    specificity : str
        What was measured of other bands and sites.
    verdict : Verdict or None
    notes : tuple of str
        What to know before comparing.
    blinded : bool
        At least one recording withholds its features.
    """

    client: str
    protocol: str
    title: str = ""
    feature: str = ""
    what: str = ""
    direction: str = ""
    scale: str = ""
    unit: str = ""
    sessions: tuple[Session, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    trends: Mapping[str, Trend] = field(default_factory=dict)
    partial: Slope = field(default_factory=lambda: Slope(0))
    with_muscle: Slope = field(default_factory=lambda: Slope(0))
    effect: Effect = field(default_factory=lambda: Effect(0))
    effect_blocks: Effect = field(default_factory=lambda: Effect(0))
    threshold_by: str = ""
    threshold: float | None = None
    beside: tuple[Beside, ...] = ()
    specificity: str = ""
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    blinded: bool = False

    @property
    def test_sessions(self) -> int:
        """How many of the sessions were for trying the system."""
        return sum(TEST in s.notes for s in self.sessions)


# ---------------------------------------------------------------- finding recordings


def header_of(path: Path) -> dict[str, Any] | None:
    """Return a recording's header without reading the rest; None when it has none."""
    try:
        with path.open("rb") as file:
            if file.read(len(xdf.MAGIC)) != xdf.MAGIC:
                return None
            size = int.from_bytes(file.read(1), "little")
            length = int.from_bytes(file.read(size), "little") if size in (1, 4, 8) else 0
            if not 2 < length <= HEADER_BYTES or int.from_bytes(file.read(2), "little") != 1:
                return None
            xml = ElementTree.fromstring(file.read(length - 2))
        header = json.loads(xml.findtext("neuroloop") or "")
    except (OSError, ValueError, ElementTree.ParseError):
        return None
    return header if isinstance(header, dict) else None


def _protocol_name(header: Mapping[str, Any]) -> str:
    row = header.get("protocol")
    return str(row.get("name") or "") if isinstance(row, Mapping) else ""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    header: Mapping[str, Any]

    @property
    def started(self) -> str:
        return str(self.header.get("started") or "")


def _find(
    folder: Path, client: str, protocol: str | None, *, tests: bool
) -> tuple[str, list[_File], list[Skipped]]:
    """Return the protocol's name, the client's recordings of it in order, and what is left out."""
    if not folder.is_dir():
        raise FileError(f"There is no folder {folder}.", "Name the one with the recordings.")
    mine: list[_File] = []
    skipped: list[Skipped] = []
    for path in sorted(folder.rglob("*.xdf")):
        header = header_of(path)
        if header is None:
            if f"_{client}_" in path.name:
                skipped.append(Skipped(path.name, "", "its header cannot be read"))
        elif header.get("client") == client:
            mine.append(_File(path, header))
    if not mine:
        raise InputError(
            f"{folder} holds no recording of the client {client}.",
            "Check the id (capital letters count), or name the folder with --folder.",
        )
    names = sorted({_protocol_name(f.header) for f in mine})
    if protocol is None and len(names) > 1:
        raise InputError(
            f"{client} was trained with several protocols: {listed(names)}.",
            f"Choose one, as in --protocol {names[0]}.",
        )
    chosen = protocol if protocol is not None else names[0]
    if chosen not in names:
        raise InputError(
            f"{folder} holds no session of {client} with the protocol {chosen}.",
            f"There {'is' if len(names) == 1 else 'are'} {listed(names)}.",
        )
    kept: list[_File] = []
    seen: dict[tuple[str, str], str] = {}
    for file in sorted(mine, key=lambda f: (f.started, f.path.name)):
        if _protocol_name(file.header) != chosen:
            continue
        if file.header.get("test_session") and not tests:
            why = "a test session; --tests counts it in"
        elif (before := seen.get(_same(file))) is not None:
            why = f"the same session as {before}"
        else:
            seen[_same(file)] = file.path.name
            kept.append(file)
            continue
        skipped.append(Skipped(file.path.name, file.started, why))
    return chosen, kept, skipped


def _same(file: _File) -> tuple[str, str]:
    """Return what a session and its repaired copy have in common."""
    return file.started, file.path.stem.split("-recovered")[0]


# ---------------------------------------------------------------- one session


@dataclass(frozen=True)
class _Taken:
    """A session before the series is known: its numbers, and the values that metric 7 needs."""

    session: Session
    definition: Definition | None
    trained: tuple[str, str]  # feature, direction
    scale: str
    unit: str
    units: Mapping[str, str]
    bands: tuple[tuple[float, float], ...]  # of the filters behind the trained feature
    threshold: float | None  # the first one, in the feature's unit
    live: Float  # the trained feature in training, clean time that counts, its own unit
    fixed_ln: Float  # the same by the fixed filter


def _withheld(grid: Grid) -> bool:
    """Return whether a recording does not show its features, as in a blinded study.

    The first seconds of every recording have no values either, so only training is looked at.
    """
    train = grid.rows.kind == PhaseKind.TRAIN.value
    values = grid.rows.values[train]
    return grid.withheld or (bool(values.size) and bool(np.isnan(values).all()))


def _take(recording: Recording) -> _Taken | str:
    """Return a session's numbers, or why it cannot be in the series."""
    grid = Grid(recording)
    if _withheld(grid):
        return BLINDED
    told = learned(recording)
    train = [b for b in told.blocks if b.kind == "train"]
    if not train:
        return "no training block was recorded"
    if not told.rules:
        trial = told.protocol is not None and told.protocol.trial is not None
        if trial:
            return "its trials are told in its own report; they have no rest to compare with"
        if told.protocol is not None:
            return "its protocol rewards nothing, so there is no trained direction"
        return "it does not tell what was trained"
    return _Taker(grid, told).taken()


class _Taker:
    """Takes one session's numbers."""

    def __init__(self, grid: Grid, told: Learned) -> None:
        self.grid, self.told = grid, told
        self.name, self.direction = told.rules[0]
        self.sign = {"above": 1.0, "below": -1.0}.get(self.direction, math.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.muscle = np.log(told.muscle_uv)
        train = [b for b in told.blocks if b.kind == "train"]
        longest = max(b.total_s for b in train)
        self.train = [(b, self._left_out(b, longest)) for b in train]
        self.counted = [b for b, why in self.train if not why]
        self.rows = {id(b): self._clean(b) for b in told.blocks}

    @staticmethod
    def _left_out(block: Block, longest_s: float) -> str:
        if block.invalid:
            return "more than half was not clean"
        if block.total_s < SHORT_SHARE * longest_s:
            return "cut short"
        return ""

    def _clean(self, block: Block) -> np.ndarray:
        """Return the rows of a block's clean time."""
        t = self.told.rows.t_s
        start = int(np.searchsorted(t, block.start_s - 1e-9))
        stop = int(np.searchsorted(t, block.end_s + 1e-9))
        inside = slice(start, stop)
        use = self.grid.counted(inside)
        if block.kind == "baseline" and not block.note:
            keep, _ = self.grid.regate(inside)
            use = use & keep if (use & keep).any() else use
        return start + np.flatnonzero(use)

    def _values(self, name: str, blocks: Iterable[Block]) -> Float:
        """Return a feature's clean values on its scale."""
        i = self.grid.columns[name]
        at = np.concatenate([np.zeros(0, int), *(self.rows[id(b)] for b in blocks)]).astype(int)
        at = at[self.told.rows.trusted[at, i]]
        x = on_scale(self.told.rows.values[at, i], self.told.scales[name])
        kept: Float = x[np.isfinite(x)]
        return kept

    def _fitted(self, name: str) -> list[Filter]:
        parts = {name}
        if self.told.protocol is not None:
            parts = set(leaves(self.told.protocol, name)) or parts
        return [f for f in self.told.filters if f.feature in parts and not f.beside]

    def level(self, name: str) -> Level:
        """Return a feature in this session."""
        rest, spread, why = self._rest(name)
        train = _mean(self._values(name, self.counted))
        transfer = _mean(self._values(name, self._transfers()))
        z = None
        if train is None:
            why = "no clean training time"
        elif rest is not None and spread is not None:
            z = (train - rest) / spread
        return Level(rest, spread, train, transfer, z, why)

    def _transfers(self) -> list[Block]:
        return [b for b in self.told.blocks if b.kind == "transfer" and not b.invalid]

    def _rest(self, name: str) -> tuple[float | None, float | None, str]:
        """Return mean and SD of the session's rest on the feature's scale, and why not."""
        known = self.told.resting.get(name)
        if known is not None and known.scale == self.told.scales[name]:
            return (known.median if known.mean is None else known.mean), known.mad, ""
        if any(f.fitted for f in self._fitted(name)):
            return None, None, "its rest was not read by the fitted filter"
        accepted = [b for b in self.told.blocks if b.kind == "baseline" and not b.note]
        if not accepted:
            return None, None, "no baseline was accepted"
        x = self._values(name, accepted[-1:])
        spread = 1.4826 * float(np.median(np.abs(x - np.median(x)))) if len(x) else 0.0
        if not spread > 0.0:
            return None, None, "it did not vary, or was not known, at rest"
        return float(x.mean()), spread, ""

    def taken(self) -> _Taken:
        told, name = self.told, self.name
        known = name in self.grid.columns
        level = self.level(name) if known else Level(why="the trained feature is not recorded")
        blocks = tuple(self._block(b, why, level, known) for b, why in self.train)
        counted = [b for b in blocks if not b.left_out]
        x = [float(b.number) for b in counted]
        y = [None if b.mean is None else self.sign * b.mean for b in counted]
        if math.isnan(self.sign):
            y = [None] * len(y)
        ends = [v for v in y if v is not None]
        session = Session(
            number=0,  # of the series, not known yet
            name=self.grid.recording.path.name,
            started=str(self.grid.header.get("started") or ""),
            outcome=told.outcome,
            blocks=blocks,
            level=level,
            change=self._signed(_minus(level.train, level.rest)),
            z=self._distance(level, counted),
            slope=learning.ols(x, y),
            theil_sen=learning.theil_sen(x, y),
            partial=learning.partial(x, y, [b.muscle_ln for b in counted]),
            last_minus_first=ends[-1] - ends[0] if len(ends) >= 2 else None,
            transfer_z=self._signed(_over(_minus(level.transfer, level.rest), level.spread)),
            fixed_rest=self._fixed_rest(),
            fixed_change=self._signed(self._fixed_change()),
            over_first=None,
            muscle_rest=self._muscle_rest(),
            muscle_train=_mean(self._tone(self.counted)),
            muscle_flagged=sum(b.muscle.flagged for b in self.counted),
            clean_share=_share(
                sum(b.clean_s for b, _ in self.train), sum(b.total_s for b, _ in self.train)
            ),
            gated_share=self._gated(),
            reward_alone=_weighted(self.counted, "rate_alone"),
            reward_joint=_weighted(self.counted, "rate_joint"),
            rewards=sum(b.rewards or 0 for b, _ in self.train),
            transport_ms={"p50": told.transport.p50_ms, "p95": told.transport.p95_ms},
            estimator_s=told.delay_s.get(name),
            thresholds=tuple(s for s in told.steps if s.rule == 0),
            fitted=self._how_fitted(),
            beside={
                f: self.level(f)
                for f in told.feature_names
                if f != name and not f.startswith(PREFIX)
            },
            notes=tuple(self._notes(blocks)),
        )
        first = told.rows.thresholds[:, 0] if told.rows.thresholds.shape[1] else np.zeros(0)
        first = first[np.isfinite(first)]
        scale = told.scales.get(name, "linear")
        live = self._values(name, self.counted) if known else np.zeros(0)
        return _Taken(
            session=session,
            definition=told.protocol,
            trained=(name, self.direction),
            scale=scale,
            unit=told.units.get(name, ""),
            units=told.units,
            bands=tuple(f.band_hz for f in self._fitted(name)),
            threshold=float(first[0]) if len(first) else None,
            live=np.exp(live) if scale == "ln" else live,
            fixed_ln=self._fixed_values(),
        )

    def _signed(self, x: float | None) -> float | None:
        return None if x is None or math.isnan(self.sign) else self.sign * x

    def _block(self, block: Block, why: str, level: Level, known: bool) -> BlockValue:
        mean = _mean(self._values(self.name, [block])) if known else None
        return BlockValue(
            number=block.number or 1 + [b for b, _ in self.train].index(block),
            label=block.label,
            clean_s=block.clean_s,
            total_s=block.total_s,
            mean=mean,
            z=self._signed(_over(_minus(mean, level.rest), level.spread)),
            muscle_ln=_mean(self._tone([block])),
            left_out=why,
        )

    def _distance(self, level: Level, counted: Sequence[BlockValue]) -> Mean:
        """Return metric 3: the mean over clean time, with limits from the blocks."""
        middle = self._signed(level.z)
        if middle is None:
            why = level.why or "the reward has no direction (a band is rewarded)"
            return Mean(len(counted), why=why)
        by_block = learning.mean_of([b.z for b in counted])
        if by_block.low is None or by_block.high is None or by_block.mean is None:
            return Mean(by_block.n, middle, why=by_block.why)
        reach = by_block.high - by_block.mean
        return Mean(by_block.n, middle, middle - reach, middle + reach)

    # ------------------------------------------------------------ by the fixed filter

    def _fixed_rest(self) -> float | None:
        """Return the mean ln power of the accepted baseline by the fixed filter."""
        against = {
            b.fixed[self.name].against
            for b in self.told.blocks
            if self.name in b.fixed and b.fixed[self.name].change_ln is not None
        }
        for block in self.told.blocks:
            if block.kind == "baseline" and block.label in against:
                return block.fixed[self.name].mean_ln
        return None

    def _fixed_change(self) -> float | None:
        known = [
            (f.n, f.change_ln)
            for b in self.counted
            if (f := b.fixed.get(self.name)) is not None and f.change_ln is not None
        ]
        n = sum(k for k, _ in known)
        return sum(k * x for k, x in known) / n if n else None

    def _fixed_values(self) -> Float:
        """Return what the fixed filter read in training: ln power, or a difference of two."""
        told, grid = self.told, self.grid
        if told.protocol is None or not any(self.name in b.fixed for b in self.counted):
            return np.zeros(0)
        parts = [grid.columns[p] for p in leaves(told.protocol, self.name) if p in grid.columns]
        at = np.concatenate([np.zeros(0, int), *(self.rows[id(b)] for b in self.counted)])
        at = at.astype(int)
        at = at[(told.rows.seq[at] // grid.hop) % FIXED_EVERY == 0]
        power = told.rows.fixed_uv2[np.ix_(at, parts)]
        with np.errstate(invalid="ignore"):
            ln = np.log(power[(np.isfinite(power) & (power > 0.0)).all(axis=1)])
        if len(parts) not in (1, 2):
            return np.zeros(0)
        return ln[:, 0] - ln[:, 1] if len(parts) == 2 else ln[:, 0]

    def _how_fitted(self) -> str:
        fitted = [f for f in self._fitted(self.name) if f.fitted]
        if any(f.fit != "course" for f in fitted):
            return "session"
        return "course" if fitted else "fixed"

    # ------------------------------------------------------------ muscle, artefacts, notes

    def _tone(self, blocks: Iterable[Block]) -> Float:
        at = np.concatenate([np.zeros(0, int), *(self.rows[id(b)] for b in blocks)]).astype(int)
        tone: Float = self.muscle[at]
        return tone[np.isfinite(tone)]

    def _muscle_rest(self) -> float | None:
        rest = self.told.resting.get(self.name)
        accepted = [b for b in self.told.blocks if b.kind == "baseline" and not b.note]
        own = [b for b in accepted if rest is not None and b.name == rest.block]
        return _mean(self._tone((own or accepted)[-1:]))

    def _gated(self) -> dict[str, float]:
        total = sum(b.total_s for b, _ in self.train)
        seconds: dict[str, float] = {}
        for block, _ in self.train:
            for cause, s in block.gated_s.items():
                seconds[cause] = seconds.get(cause, 0.0) + s
        return {c: s / total for c, s in seconds.items()} if total > 0.0 else {}

    def _notes(self, blocks: Sequence[BlockValue]) -> Iterator[str]:
        if self.grid.header.get("test_session"):
            yield TEST
        if self.told.sham:
            kind = self.told.presented_kind
            yield (
                f"control condition, presented: {KINDS.get(kind, kind.replace('_', ' '))}; rates "
                "and features are the person's own, rewards as presented"
            )
        if self.told.outcome != "done":
            yield self.told.outcome
        for why in ("more than half was not clean", "cut short"):
            n = sum(b.left_out == why for b in blocks)
            if n:
                yield f"{count(n, 'block')} left out: {why}"
        if self.grid.recording.damage:
            yield "the recording is damaged"


def _mean(x: Float) -> float | None:
    return float(x.mean()) if len(x) else None


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _over(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or b <= 0.0 else a / b


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0.0 else None


def _weighted(blocks: Sequence[Block], name: str) -> float | None:
    """Return a rate over several blocks, weighted by their clean time."""
    known = [(b.clean_s, getattr(b, name)) for b in blocks if getattr(b, name) is not None]
    total = sum(s for s, _ in known)
    return sum(s * x for s, x in known) / total if total > 0 else None


# ---------------------------------------------------------------- the series


class _Learner(Protocol):
    """What a study file says of the learner rule."""

    @property
    def metric(self) -> str: ...
    @property
    def alpha(self) -> float: ...
    @property
    def share(self) -> float: ...
    @property
    def last(self) -> int: ...


def rule_of(learner: _Learner | None, where: str) -> LearnerRule:
    """Return the learner rule that a study file declares, or the default.

    Parameters
    ----------
    learner : object with ``metric, alpha, share, last``, or None
        Shares from 0 to 1; None when the file declares none.
    where : str
        The file, in words.

    Raises
    ------
    InputError
        The metric is not known here.
    """
    if learner is None:
        return LearnerRule(declared=f"the default of this software; {where} declares none")
    if learner.metric != learning.RULE_METRIC:
        raise InputError(
            f"`learner` names the metric {learner.metric!r}, which is not known.",
            f"Use {learning.RULE_METRIC}.",
        )
    return LearnerRule(learner.metric, learner.alpha, learner.share, learner.last, where)


def progress(
    client: str,
    folder: Path,
    *,
    protocol: str | None = None,
    tests: bool = False,
    rule: LearnerRule | None = None,
    private_key: bytes | None = None,
    told: Callable[[str, float], None] = lambda _name, _share: None,
) -> Progress:
    """Return how a client's sessions of one protocol went.

    Parameters
    ----------
    client : str
        Client id, as in the recordings' headers.
    folder : Path
        Where the recordings are; folders in it are searched, too.
    protocol : str, optional
        Its name; may be left out when the client has sessions of one only.
    tests : bool
        Count test sessions in.
    rule : LearnerRule, optional
        Declared beforehand; the default when left out.
    private_key : bytes, optional
        Of a study that is over: the research logs of its blinded sessions are opened.
    told : callable
        Gets the name of the file that is read, and how far along the work is (0 to 1).

    Raises
    ------
    FileError
        There is no such folder.
    InputError
        There is no recording of that client or protocol, or several protocols to choose from.
    """
    chosen, files, skipped = _find(Path(folder), client, protocol, tests=tests)

    def recordings() -> Iterator[Recording]:
        for k, file in enumerate(files):
            told(file.path.name, k / len(files))
            try:
                found = read(file.path)
                if private_key is not None and found.header.get("blinded"):
                    found = unveil(found, private_key)
                yield found
            except NeuroloopError as error:
                why = f"it cannot be read: {error.what}"
                skipped.append(Skipped(file.path.name, file.started, why))

    return progress_of(client, chosen, recordings(), rule=rule, skipped=skipped)


def progress_of(
    client: str,
    protocol: str,
    recordings: Iterable[Recording],
    *,
    rule: LearnerRule | None = None,
    skipped: Sequence[Skipped] = (),
) -> Progress:
    """Return how a series of recordings, in order, went; parameters as in `progress`."""
    left: list[Skipped] = []
    taken: list[_Taken] = []
    blinded = False
    for recording in recordings:
        found = _take(recording)
        if isinstance(found, str):
            blinded = blinded or found == BLINDED
            started = str(recording.header.get("started") or "")
            left.append(Skipped(recording.path.name, started, found))
        else:
            taken.append(found)
    same = _alike(taken, left)
    whole = [*skipped, *left]
    whole.sort(key=lambda s: (s.started, s.name))
    if not same:
        return Progress(client, protocol, skipped=tuple(whole), blinded=blinded)
    return _Series(same, rule or LearnerRule()).told(client, protocol, tuple(whole), blinded)


def _alike(taken: Sequence[_Taken], left: list[Skipped]) -> list[_Taken]:
    """Return the sessions that train what the last one trains, numbered."""
    kept: list[_Taken] = []
    for one in taken:
        last = taken[-1]
        if (one.trained, one.scale) == (last.trained, last.scale):
            kept.append(replace(one, session=replace(one.session, number=len(kept) + 1)))
            continue
        name, direction = one.trained
        why = f"it trained {name} {direction}, the last session {' '.join(last.trained)}"
        left.append(Skipped(one.session.name, one.session.started, why))
    return kept


class _Series:
    """Compares sessions that train the same."""

    def __init__(self, taken: Sequence[_Taken], rule: LearnerRule) -> None:
        self.rule = rule
        self.feature, self.direction = taken[-1].trained
        self.sign = {"above": 1.0, "below": -1.0}.get(self.direction, math.nan)
        self.scale, self.unit = taken[-1].scale, taken[-1].unit
        self.units = taken[-1].units
        self.definition = taken[-1].definition
        self.refitted = any(t.session.fitted == "session" for t in taken)
        self.bands = {t.bands for t in taken}
        shares, self.by, self.threshold = self._over_first(taken)
        self.sessions = tuple(
            replace(t.session, over_first=share) for t, share in zip(taken, shares, strict=True)
        )
        self.x = [float(s.number) for s in self.sessions]

    # ------------------------------------------------------------ metric 7

    def _over_first(self, taken: Sequence[_Taken]) -> tuple[list[float | None], str, float | None]:
        """Return the share beyond the first session's threshold, and how that is read."""
        none: list[float | None] = [None] * len(taken)
        first = taken[0]
        if first.threshold is None or math.isnan(self.sign):
            return none, "not known: the first session tells no threshold with a direction", None
        if not self.refitted:
            t = first.threshold
            return (
                [_share_beyond(one.live, t, self.sign) for one in taken],
                "by the live estimator, which is the same in every session",
                t,
            )
        share = _share_beyond(first.live, first.threshold, self.sign)
        if share is None or not 0.0 < share < 1.0 or not len(first.fixed_ln):
            why = (
                "the first session was always, or never, beyond its threshold"
                if share is not None and len(first.fixed_ln)
                else "the fixed filter does not tell this feature"
            )
            return none, f"not known: filters were fitted anew in each session, and {why}", None
        level = float(np.quantile(first.fixed_ln, 1.0 - share if self.sign > 0 else share))
        return (
            [_share_beyond(one.fixed_ln, level, self.sign) for one in taken],
            "by the fixed filter (unsmoothed), because filters were fitted anew in each session; "
            "the threshold is the level beyond which the fixed filter was as often in the first "
            "session's training as the live one was beyond its threshold",
            level,
        )

    # ------------------------------------------------------------ everything

    def told(
        self, client: str, protocol: str, skipped: tuple[Skipped, ...], blinded: bool
    ) -> Progress:
        """Return the whole series."""
        z = [s.z.mean for s in self.sessions]
        transfer = [s.transfer_z for s in self.sessions]
        muscle = [s.muscle_change for s in self.sessions]
        with_muscle = self._with_muscle()
        beside = tuple(self._beside())
        feature = self.definition.features.get(self.feature) if self.definition else None
        return Progress(
            client=client,
            protocol=protocol,
            title=self.definition.title if self.definition else protocol,
            feature=self.feature,
            what=feature_words(self.feature, feature) if feature is not None else self.feature,
            direction=self.direction,
            scale=self.scale,
            unit=self.unit,
            sessions=self.sessions,
            skipped=skipped,
            trends=self._trends(z, transfer, muscle),
            partial=learning.partial(self.x, z, muscle),
            with_muscle=with_muscle,
            effect=self._effect(z),
            effect_blocks=self._effect_blocks(),
            threshold_by=self.by,
            threshold=self.threshold,
            beside=beside,
            specificity=_specificity(beside),
            verdict=learning.judge(self.rule, self.x, z, muscle, with_muscle),
            notes=tuple(self._notes()),
            blinded=blinded,
        )

    def trend(self, values: Sequence[float | None], unit: str, why: str = "") -> Trend:
        """Return a number of every session with its slopes; none of them where `why` is given."""
        if why:
            none = Slope(0, why=why)
            return Trend(unit, tuple(values), none, none, None, why)
        known = [v for v in values if v is not None]
        return Trend(
            unit,
            tuple(values),
            learning.ols(self.x, values),
            learning.theil_sen(self.x, values),
            known[-1] - known[0] if len(known) >= 2 else None,
        )

    def _trends(
        self,
        z: Sequence[float | None],
        transfer: Sequence[float | None],
        muscle: Sequence[float | None],
    ) -> dict[str, Trend]:
        s = self.sessions
        own = f"ln {self.feature}" if self.scale == "ln" else self.feature

        def signed_(values: Iterable[float | None]) -> list[float | None]:
            known = not math.isnan(self.sign)
            return [self.sign * v if v is not None and known else None for v in values]

        anew = (
            "filters were fitted anew in each session, so levels at rest do not compare; see the "
            "fixed filter"
        )
        return {
            "session": self.trend(z, "SD of rest"),
            "fixed": self.trend([one.fixed_change for one in s], "ln power, fixed filter"),
            "rest": self.trend(
                signed_(one.level.rest for one in s), own, anew if self.refitted else ""
            ),
            "rest_fixed": self.trend(
                signed_(one.fixed_rest for one in s), "ln power, fixed filter"
            ),
            "transfer": self.trend(transfer, "SD of rest"),
            "over_first": self.trend([one.over_first for one in s], "share of clean time"),
            "muscle": self.trend(muscle, "ln muscle against rest"),
            "muscle_level": self.trend([one.muscle_train for one in s], "ln µV of muscle"),
            "reward_alone": self.trend([one.reward_alone for one in s], "share of clean time"),
            "reward_joint": self.trend([one.reward_joint for one in s], "share of clean time"),
            "clean_share": self.trend([one.clean_share for one in s], "share of training time"),
        }

    def _with_muscle(self) -> Slope:
        rows = [(s.number, b) for s in self.sessions for b in s.counted]
        return learning.common_slope(
            [n for n, _ in rows], [b.muscle_ln for _, b in rows], [b.z for _, b in rows]
        )

    def _effect(self, z: Sequence[float | None]) -> Effect:
        """Return the last sessions against the first ones, paired in order."""
        known = [v for v in z if v is not None]
        n = min(FEW, len(known) // 2)
        if n < learning.LEAST:
            return Effect(n, why=f"it needs 6 sessions with a rest; there are {len(known)}")
        return learning.d_z(known[:n], known[-n:])

    def _effect_blocks(self) -> Effect:
        """Return the blocks of the last session against those of the first, paired by number."""
        if len(self.sessions) < 2:
            return Effect(0, why="there is one session only")
        first, last = (
            {b.number: b.z for b in s.counted} for s in (self.sessions[0], self.sessions[-1])
        )
        both = sorted(first.keys() & last.keys())
        return learning.d_z([first[k] for k in both], [last[k] for k in both])

    # ------------------------------------------------------------ other features

    def _beside(self) -> Iterator[Beside]:
        names = dict.fromkeys(n for s in self.sessions for n in s.beside)
        for name in names:
            levels = [s.beside.get(name, Level(why="not recorded")) for s in self.sessions]
            role = self._role(name)
            feature = self.definition.features.get(name) if self.definition else None
            what = feature_words(name, feature) if feature is not None else name
            if role == "bursts":
                unit = self.units.get(name, "")
                trend = self.trend([one.train for one in levels], "training mean")
            else:
                unit = "SD of rest"
                trend = self.trend([one.z for one in levels], unit)
            yield Beside(name, what, role, unit, trend)

    def _role(self, name: str) -> str:
        definition = self.definition
        if definition is None or name not in definition.features:
            return "other"
        if definition.features[name].kind in BURSTS:
            return "bursts"
        parts = set(leaves(definition, self.feature))
        if name in parts:
            return "part"
        own, mine = definition.features[name], definition.features.get(self.feature)
        if mine is None or own.band_hz is None or mine.band_hz is None or not own.at or not mine.at:
            return "other"
        low, high = own.band_hz
        same_band = max(abs(low - mine.band_hz[0]), abs(high - mine.band_hz[1])) < 0.5
        if set(own.at) == set(mine.at) and not same_band:
            near = min(abs(low - mine.band_hz[1]), abs(high - mine.band_hz[0])) <= NEAR_HZ
            return "neighbour" if near else "other"
        return "control site" if same_band and not set(own.at) & set(mine.at) else "other"

    def _notes(self) -> Iterator[str]:
        if math.isnan(self.sign):
            yield (
                "The reward has no direction (a band is rewarded), so nothing can be said of a "
                "change in the trained direction."
            )
        elif self.direction == "below":
            yield (
                f"The protocol rewards lower values of {self.feature}: positive numbers mean that "
                "it fell, the trained direction."
            )
        if self.refitted:
            yield (
                "Filters were fitted anew in each session. Numbers against the same session's "
                "rest compare; levels compare by the fixed filter only."
            )
        if len(self.bands) > 1:
            yield (
                "The bands of the trained feature differ between sessions, because they follow the "
                "individual alpha frequency or the protocol was changed."
            )


def _share_beyond(x: Float, threshold: float, sign: float) -> float | None:
    if not len(x):
        return None
    return float((x > threshold).mean() if sign > 0 else (x < threshold).mean())


def _specificity(beside: Sequence[Beside]) -> str:
    """Return what was measured of other bands and sites."""
    near = [b.name for b in beside if b.role == "neighbour"]
    away = [b.name for b in beside if b.role == "control site"]
    other = [b.name for b in beside if b.role == "other"]

    def what(names: Sequence[str]) -> str:
        return listed(names) if names else "not measured, the protocol has none"

    said = f"Neighbouring bands: {what(near)}. Control sites: {what(away)}."
    return f"{said} Other features recorded: {listed(other)}." if other else said
