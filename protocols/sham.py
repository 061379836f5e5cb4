"""Control conditions: other sources of what is presented, behind the same interface.

A control takes every unheld training point as the real thing decided it, and answers with the
level and the reward to present. The person's own gates lie over every answer: no level and no
reward where the signal is contaminated or unknown, whatever the source. Everything outside the
decider (picture, sound, LSL, recording) sees the presented decision only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Like

import numpy as np

from engine.features import FEATURES
from engine.frames import Bool, Float, frozen
from protocols.baseline import Baseline, Scale, points
from protocols.judge import Judge, Verdicts
from protocols.model import Edge, Feature, Level, Protocol, Reward, Rule
from protocols.tally import BEFORE_S, Tally

__all__ = [
    "KINDS",
    "Control",
    "Donated",
    "Noise",
    "NoFeedback",
    "Other",
    "OwnEarlier",
    "Parallel",
    "Real",
    "Series",
    "Unchanged",
    "mirrored",
    "moved_band",
    "series_of_rest",
    "surrogate",
    "with_other_features",
]

KINDS: Mapping[str, str] = {
    "real": "the person's own feedback",
    "yoked": "another person's feedback of the same session, block and moment",
    "replay_own": "the person's own earlier block, never the present",
    "replay_other": "another person's clean feedback, with this person's own gates",
    "inverse": "feedback in the opposite direction",
    "random_band": "another band, drawn for each session, 4 Hz or more away",
    "other_site": "the same feature at another site",
    "noise": "a surrogate with the mean, spread, rhythm and reward rate of the person's rest",
    "no_feedback": "nothing: the same task without feedback",
}
"""Every control condition, and what it presents."""
PREFIX = "control_"  # of features that only a control looks at
APART_HZ = 4.0  # between the trained band and a random one
LOWEST_HZ, HIGHEST_HZ = 2.0, 40.0
TRIES = 64  # to find bands that do not overlap each other
STRETCH_S = 20.0  # of the rest that follow each other in a surrogate, on average
CANDIDATES = 16  # places drawn for the next stretch, of which the nearest is taken


@dataclass(frozen=True, slots=True)
class Real:
    """What the real thing decided at an unheld training point.

    Parameters
    ----------
    values, trusted
        The frame's, as lists.
    gate : int
    clean : bool
        The gate is open and every feature of a rule is known.
    level : float or None
    reward : bool
    verdicts : tuple of bool or None
    """

    values: Sequence[float]
    trusted: Sequence[bool]
    gate: int
    clean: bool
    level: float | None
    reward: bool
    verdicts: Verdicts


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A course of feedback, one row per grid point.

    Parameters
    ----------
    level : ndarray, shape (n,)
        NaN for none.
    reward : ndarray of bool, shape (n,)
    """

    level: Float
    reward: Bool

    def __len__(self) -> int:
        return len(self.level)

    def clean(self) -> Series:
        """Return the rows with a level, joined; a reward in between goes to the next of them.

        Where that one is rewarded itself, or there is none, it is lost.
        """
        keep = np.isfinite(self.level)
        reward = np.zeros(int(keep.sum()), dtype=np.bool_)
        # A reward's row, counted in rows with a level: its own, or the next one's.
        rows = (np.cumsum(keep) - keep)[self.reward]
        reward[rows[rows < len(reward)]] = True
        return Series(frozen(self.level[keep]), frozen(reward))

    def bridged(self) -> Series:
        """Return the rows with every gap filled by the level before it, at first by the next."""
        known = np.flatnonzero(np.isfinite(self.level))
        before = np.searchsorted(known, np.arange(len(self.level)), side="right") - 1
        return Series(frozen(self.level[known[np.maximum(before, 0)]]), self.reward)


Names = tuple[str, ...]


class Control(Like):
    """A source of what is presented."""

    def learn(self, baselines: Mapping[str, Baseline], series: Mapping[str, Float]) -> None:
        """Take over what is known of the person's rest.

        Parameters
        ----------
        baselines : mapping of str to Baseline
        series : mapping of str to ndarray, shape (n,)
            Per learned feature its clean values in the order of time, in its own unit.
        """
        ...

    def begin(self, block: int) -> None:
        """Begin a training block, counted from 1."""
        ...

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the level (None: none) and the reward to present at one training point."""
        ...

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Take over a new difficulty of the first condition, as the real rules do."""
        ...

    def hold(self) -> None:
        """The session is held: what was sustained is forgotten."""
        ...

    def skip(self, points: int) -> None:
        """Grid points are missing."""
        ...


class _Quiet:
    """A control without state in rest, difficulty, holds and gaps."""

    def learn(self, baselines: Mapping[str, Baseline], series: Mapping[str, Float]) -> None:
        """Nothing to learn."""

    def begin(self, block: int) -> None:
        """Nothing begins."""

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Nothing to shape."""

    def hold(self) -> None:
        """Nothing to forget."""

    def skip(self, points: int) -> None:
        """Nothing to skip."""


class Unchanged(_Quiet):
    """The real feedback."""

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return what is real."""
        return real.level, real.reward


class NoFeedback(_Quiet):
    """Neither level nor reward."""

    def step(self, real: Real) -> tuple[float | None, bool]:  # noqa: ARG002
        """Return nothing."""
        return None, False


class Donated(_Quiet):
    """Somebody else's feedback, block by block.

    Parameters
    ----------
    blocks : sequence of Series
        The donor's training blocks; begun anew when there are fewer.
    own_gates : bool
        True: the donor's points with a level only, one for each such point of this person, so that
        what is seen depends on this person's own artefacts alone (replay_other). False: moment for
        moment (yoked). The donor's gaps are bridged by the donor's last level: a gap where this
        person's own gate is open would tell the arm.
    """

    def __init__(self, blocks: Sequence[Series], *, own_gates: bool) -> None:
        self._own_gates = own_gates
        if not blocks or not all(len(b.clean()) for b in blocks):
            raise ValueError("a donor without feedback")
        self._blocks = tuple(b.clean() if own_gates else b.bridged() for b in blocks)
        self._now = self._blocks[0]
        self._at = 0
        self._owed = False

    def begin(self, block: int) -> None:
        """Turn to the donor's block of the same number."""
        self._now = self._blocks[(block - 1) % len(self._blocks)]
        self._at = 0
        self._owed = False

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the donor's next point."""
        if self._own_gates and real.level is None:
            return None, False
        level, reward = float(self._now.level[self._at]), bool(self._now.reward[self._at])
        self._at = (self._at + 1) % len(self._now)
        if self._own_gates:
            # A level may be shown where nothing may be paid: the reward waits for that.
            owed = self._owed or reward
            self._owed = owed and not real.clean
            reward = owed and real.clean
        return level, reward


class OwnEarlier(_Quiet):
    """The person's own block before this one; before the first, the resting measurement.

    Parameters
    ----------
    make_judge : callable
        Makes a fresh judge of the session's rules, for the resting measurement.
    columns : mapping of str to int
    """

    def __init__(self, make_judge: Callable[[], Judge], columns: Mapping[str, int]) -> None:
        self._make_judge = make_judge
        self._columns = dict(columns)
        self._before: Series | None = None
        self._level: list[float] = []
        self._reward: list[bool] = []
        self._at = 0
        self._owed = False

    def learn(self, baselines: Mapping[str, Baseline], series: Mapping[str, Float]) -> None:
        """Make the first block from the resting measurement."""
        self._before = series_of_rest(self._make_judge(), self._columns, baselines, series)

    def begin(self, block: int) -> None:
        """Turn to what the block before recorded."""
        kept = Series(
            frozen(np.array(self._level)), frozen(np.array(self._reward, dtype=np.bool_))
        ).clean()
        if block > 1 and len(kept):
            self._before = kept
        self._level, self._reward = [], []
        self._at = 0
        self._owed = False

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the earlier block's next point, and keep the present one for the next block."""
        if real.level is not None or real.reward:
            self._level.append(math.nan if real.level is None else real.level)
            self._reward.append(real.reward)
        if real.level is None or self._before is None or not len(self._before):
            return None, False
        level, reward = float(self._before.level[self._at]), bool(self._before.reward[self._at])
        self._at = (self._at + 1) % len(self._before)
        owed = self._owed or reward
        self._owed = owed and not real.clean
        return level, owed and real.clean


class Other:
    """Real feedback of something else: the other direction, another band, another site.

    Parameters
    ----------
    judge : Judge
        Of the other rules, on the same frames.
    grid_hz : float
    """

    def __init__(self, judge: Judge, grid_hz: float) -> None:
        self._judge = judge
        self._features = tuple(dict.fromkeys(r.feature for r in judge.rules))
        self._tally = Tally(len(self._features), points(BEFORE_S, grid_hz), self._counted)

    def _counted(self, passed: Verdicts, x: Sequence[float]) -> None:
        self._judge.counted(passed, dict(zip(self._features, x, strict=True)))

    def learn(
        self,
        baselines: Mapping[str, Baseline],
        series: Mapping[str, Float],  # noqa: ARG002
    ) -> None:
        """Learn thresholds and level from the same rest."""
        self._judge.learn(baselines)

    def begin(self, block: int) -> None:
        """Begin a block; thresholds that move between blocks do so."""
        if block > 1:
            self._tally.flush()
            self._judge.end_block()
        self._judge.begin()

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Take over a new difficulty."""
        self._judge.shaped(shift, baselines)

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the other rules' answer."""
        judge = self._judge
        verdicts, complete = judge.nothing, False
        if not real.gate:
            verdicts, complete = judge.verdicts(real.values, real.trusted)
        else:
            judge.gated()
        reward = judge.pay(complete and real.clean and bool(verdicts) and all(verdicts))
        level, _ = judge.level(real.gate, real.values, real.trusted)
        if complete:
            scaled = judge.scaled(real.values)
            self._tally.clean(verdicts, False, [scaled[n] for n in self._features])
        else:
            self._tally.unclean(real.gate)
        return level, reward

    def hold(self) -> None:
        """Forget what was sustained."""
        self._tally.flush()
        self._judge.hold()

    def skip(self, points: int) -> None:
        """Pass over missing points."""
        self._tally.flush()
        self._judge.skip(points)


class Noise(_Quiet):
    """A surrogate of the person's rest: its values and rhythms, no information.

    Stretches of the rest, drawn anew and anew, follow each other (a stationary bootstrap, Politis &
    Romano 1994); of several places drawn for the next one, that is taken which lies nearest to
    where the last one ends. All features keep their common place, so mean, spread, autocorrelation
    within a stretch, the features' correlations and with them the reward rate are those of the
    rest. A Fourier surrogate would not do: it spreads the dips behind every artefact over all of
    the time, and conditions that must hold for half a second hold half as often.

    Parameters
    ----------
    make_judge : callable
    columns : mapping of str to int
    scales : mapping of str to {"ln", "linear"}
    seed : int
    grid_hz : float
    """

    def __init__(
        self,
        make_judge: Callable[[], Judge],
        columns: Mapping[str, int],
        scales: Mapping[str, Scale],
        seed: int,
        grid_hz: float,
    ) -> None:
        self._make_judge = make_judge
        self._columns, self._scales = dict(columns), dict(scales)
        self._seed = seed
        self._stretch = points(STRETCH_S, grid_hz)
        self._judge: Judge | None = None
        self._names: tuple[str, ...] = ()
        self._rows: Iterator[Float] = iter(())

    def learn(self, baselines: Mapping[str, Baseline], series: Mapping[str, Float]) -> None:
        """Keep the rest of every feature that matters, on its scale."""
        judge = self._make_judge()
        names = tuple(n for n in judge.names if n in series)
        if not names or len(names) < len(judge.names):
            return
        judge.learn(baselines)
        n = min(len(series[name]) for name in names)
        table = np.column_stack([series[name][-n:] for name in names])
        for k, name in enumerate(names):
            if self._scales[name] == "ln":
                table[:, k] = np.log(table[:, k])
        self._judge, self._names = judge, names
        self._rows = surrogate(table, self._stretch, np.random.default_rng(self._seed))

    def begin(self, block: int) -> None:
        """Begin a block; thresholds that move between blocks do so."""
        if self._judge is not None:
            if block > 1:
                self._judge.end_block()
            self._judge.begin()

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Take over a new difficulty."""
        if self._judge is not None:
            self._judge.shaped(shift, baselines)

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the surrogate's next point."""
        judge = self._judge
        if judge is None:
            return None, False
        if real.level is None and not real.clean:
            # An artefact ends what was sustained, as it does in the real thing.
            judge.pay(False)
            judge.level(real.gate or 1, real.values, real.trusted)
            return None, False
        values, trusted = list(real.values), list(real.trusted)
        for name, x in zip(self._names, next(self._rows).tolist(), strict=True):
            values[self._columns[name]] = math.exp(x) if self._scales[name] == "ln" else x
            trusted[self._columns[name]] = True
        verdicts, _ = judge.verdicts(values, trusted)
        reward = judge.pay(real.clean and bool(verdicts) and all(verdicts))
        level, _ = judge.level(0, values, trusted)
        if real.clean:
            judge.counted(verdicts, judge.scaled(values))
        return level, reward

    def hold(self) -> None:
        """Forget what was sustained."""
        if self._judge is not None:
            self._judge.hold()

    def skip(self, points: int) -> None:
        """Pass over missing points."""
        if self._judge is not None:
            self._judge.skip(points)


class Parallel:
    """Several controls side by side, of which one is presented.

    All are computed at every point, whichever is chosen: neither the time it takes nor what can go
    wrong tells which one it is.
    """

    __slots__ = ("__all", "__chosen")

    def __init__(self, controls: Sequence[Control], chosen: int) -> None:
        self.__all = tuple(controls)
        self.__chosen = chosen

    def __repr__(self) -> str:
        return "<control>"

    def learn(self, baselines: Mapping[str, Baseline], series: Mapping[str, Float]) -> None:
        """Let all learn."""
        for control in self.__all:
            control.learn(baselines, series)

    def begin(self, block: int) -> None:
        """Let all begin."""
        for control in self.__all:
            control.begin(block)

    def step(self, real: Real) -> tuple[float | None, bool]:
        """Return the chosen one's answer."""
        return [control.step(real) for control in self.__all][self.__chosen]

    def shaped(self, shift: float, baselines: Mapping[str, Baseline]) -> None:
        """Let all take over a new difficulty."""
        for control in self.__all:
            control.shaped(shift, baselines)

    def hold(self) -> None:
        """Let all forget."""
        for control in self.__all:
            control.hold()

    def skip(self, points: int) -> None:
        """Let all skip."""
        for control in self.__all:
            control.skip(points)


# ---------------------------------------------------------------- series and surrogates


def series_of_rest(
    judge: Judge,
    columns: Mapping[str, int],
    baselines: Mapping[str, Baseline],
    series: Mapping[str, Float],
) -> Series | None:
    """Return the feedback that the resting measurement would have given; None while unknown."""
    names = judge.names
    if any(name not in series for name in names):
        return None
    judge.learn(baselines)
    n = min(len(series[name]) for name in names)
    width = max(columns.values()) + 1
    values, trusted = [math.nan] * width, [True] * width
    level, reward = np.full(n, math.nan), np.zeros(n, dtype=np.bool_)
    for i in range(n):
        for name in names:
            values[columns[name]] = float(series[name][i])
        verdicts, _ = judge.verdicts(values, trusted)
        reward[i] = judge.pay(bool(verdicts) and all(verdicts))
        shown, _ = judge.level(0, values, trusted)
        level[i] = math.nan if shown is None else shown
    return Series(frozen(level), frozen(reward)).clean()


def surrogate(table: Float, stretch: int, rng: np.random.Generator) -> Iterator[Float]:
    """Yield rows of a table in stretches, drawn without end; see `Noise`.

    Parameters
    ----------
    table : ndarray, shape (n, k)
    stretch : int
        How many rows follow each other on average, at most a third of the table.
    rng : Generator
    """
    n = len(table)
    stretch = max(1, min(stretch, n // 3))
    sd = table.std(axis=0)
    apart = table / np.where(sd > 0.0, sd, 1.0)
    at = int(rng.integers(n))
    while True:
        for _ in range(int(rng.integers(stretch // 2, stretch + stretch // 2 + 1)) or 1):
            yield table[at]
            at = (at + 1) % n
        drawn = rng.integers(n, size=CANDIDATES)
        at = int(drawn[np.argmin(((apart[drawn] - apart[at]) ** 2).sum(axis=1))])


# ---------------------------------------------------------------- other rules


def mirrored(protocol: Protocol) -> tuple[Reward | None, tuple[Rule, ...], Level]:
    """Return reward, rules and level in the opposite direction; the inhibits stay."""
    level = protocol.feedback.level
    if level.range == "dynamic":
        other = level.model_copy(update={"grows": "down" if level.grows == "up" else "up"})
    else:
        assert level.start is not None
        assert level.end is not None
        start, end = _across(level.start, level.end), _across(level.end, level.start)
        other = level.model_copy(update={"start": start, "end": end})
    reward = protocol.reward
    if reward is None:
        return None, (), other
    turned = _turned(reward)
    also = tuple(_turned(r) for r in reward.also)
    flipped = turned.model_copy(update={"also": also})
    return flipped, (flipped, *also, *protocol.inhibit), other  # type: ignore[return-value]


def _turned(rule: Rule) -> Rule:
    change: dict[str, object] = {"direction": "below" if rule.direction == "above" else "above"}
    if rule.threshold.plus_sd:  # as far from the mean, on its other side
        plus = {"plus_sd": -rule.threshold.plus_sd}
        change["threshold"] = rule.threshold.model_copy(update=plus)
    return rule.model_copy(update=change)


def _across(edge: Edge, other: Edge) -> Edge:
    """Return an end of the level on the other side: mirrored at the median, or exchanged."""
    if edge.fixed is not None or other.fixed is not None:
        return other
    return edge.model_copy(update={"plus_mad": -edge.plus_mad})


def moved_band(
    band_hz: tuple[float, float],
    highest_hz: float,
    rng: np.random.Generator,
    away_from: Sequence[tuple[float, float]] = (),
    lowest_hz: float = LOWEST_HZ,
) -> tuple[float, float]:
    """Return a band of the same width, 4 Hz or more away from a band and others, drawn evenly.

    Raises
    ------
    ValueError
        There is no room for it.
    """
    width = band_hz[1] - band_hz[0]
    top = min(HIGHEST_HZ, highest_hz)
    rooms, low = [], max(LOWEST_HZ, lowest_hz)
    for a, b in sorted({band_hz, *away_from}):
        rooms.append((low, a - APART_HZ - width))
        low = max(low, b + APART_HZ)
    rooms = [(a, b) for a, b in (*rooms, (low, top - width)) if b >= a]
    if not rooms:
        raise ValueError(f"there is no room for a band {width:g} Hz wide, {APART_HZ:g} Hz away")
    sizes = np.array([b - a + 0.5 for a, b in rooms])
    a, b = rooms[int(rng.choice(len(rooms), p=sizes / sizes.sum()))]
    low = round(2.0 * float(rng.uniform(a, b))) / 2.0
    low = min(max(low, a), b)
    return low, low + width


def _moved_bands(
    features: Sequence[Feature], highest_hz: float, rng: np.random.Generator
) -> dict[tuple[float, float], tuple[float, float]]:
    """Return another band for every one, away from all of them, apart where there is room."""
    bands = list(dict.fromkeys(f.band_hz for f in features if f.band_hz is not None))
    if not bands:
        raise ValueError("it is not measured in a band")
    totals = [f.total_hz for f in features if f.total_hz is not None]
    low = max((t[0] for t in totals), default=LOWEST_HZ)
    high = min((t[1] for t in totals), default=highest_hz)
    moved: dict[tuple[float, float], tuple[float, float]] = {}
    for _ in range(TRIES):
        moved = {
            band: moved_band(band, min(high, highest_hz), rng, bands, max(low, LOWEST_HZ))
            for band in bands
        }
        new = sorted(moved.values())
        if all(a[1] <= b[0] for a, b in itertools.pairwise(new)):
            break
    return moved


def _moved_sites(features: Sequence[Feature], sites: Sequence[str]) -> dict[Names, Names]:
    """Return other sites for every list of sites: one for one, or the same list for all."""
    lists = list(dict.fromkeys(f.at for f in features if f.at))
    trained = list(dict.fromkeys(s for one in lists for s in one))
    if any(isinstance(f.spatial, dict) or f.spatial == "pcc" for f in features):
        raise ValueError("its spatial filter belongs to its own sites")
    if any(f.norm is not None for f in features):
        raise ValueError("its norms belong to its own sites")
    if len(sites) == len(trained):
        other = dict(zip(trained, sites, strict=True))
        return {one: tuple(other[s] for s in one) for one in lists}
    counted = {f.kind for f in features if f.at and (k := FEATURES.get(f.kind)) and k.sites > 1}
    if len(lists) == 1 and not counted:
        return {lists[0]: tuple(sites)}
    raise ValueError(f"it takes {len(trained)} sites, for {', '.join(trained)} in this order")


def with_other_features(
    protocol: Protocol,
    *,
    sites: Sequence[str] = (),
    seed: int | None = None,
    tag: str = "",
) -> tuple[Protocol, Reward | None, tuple[Rule, ...], Level]:
    """Return a protocol that measures something else beside, and the rules that look at it.

    Every feature behind the reward's first condition and the level is repeated at other `sites`, or
    in another band drawn with `seed`; the inhibits stay what they are.

    Raises
    ------
    ValueError
        There is no room for another band, or it cannot be measured elsewhere.
    """
    chain = _chain(protocol, [protocol.trained, protocol.feedback.level.feature])
    rng = np.random.default_rng(seed)
    prefix = f"{PREFIX}{tag}"
    names = {name: f"{prefix}{name}" for name in chain}
    measured = [protocol.features[name] for name in chain]
    bands: dict[tuple[float, float], tuple[float, float]] = {}
    if seed is not None:
        _check_band_free(protocol, measured)
        bands = _moved_bands(measured, protocol.needs.rate_hz / 4.0, rng)
    places = _moved_sites(measured, sites) if sites else {}
    made = {}
    for name in chain:
        feature = protocol.features[name]
        change: dict[str, object] = {"of": tuple(names.get(o, o) for o in feature.of)}
        if feature.at in places:
            change["at"] = places[feature.at]
        if feature.fit == "course":  # it may be another one in the next session
            change["fit"] = "session"
        if feature.band_hz is not None and seed is not None:
            change |= {"band_hz": bands[feature.band_hz], "iaf": None}
        made[names[name]] = feature.model_copy(update=change)
    learned = tuple(
        b.model_copy(update={"learn": (*b.learn, *(names[n] for n in b.learn if n in names))})
        for b in protocol.baseline
    )
    features = {**protocol.features, **made}
    needs = protocol.needs
    if sites:
        channels = tuple(dict.fromkeys([*needs.channels, *sites]))
        needs = needs.model_copy(update={"channels": channels})
    wider = protocol.model_copy(update={"features": features, "baseline": learned, "needs": needs})
    level = protocol.feedback.level
    other = level.model_copy(update={"feature": names[level.feature]})
    reward = protocol.reward
    if reward is None:
        return wider, None, (), other
    first = reward.model_copy(update={"feature": names[reward.feature]})
    return wider, first, (first, *reward.also, *protocol.inhibit), other


def _check_band_free(protocol: Protocol, features: Sequence[Feature]) -> None:
    """Refuse numbers that mean something in the trained band only."""
    if any(f.norm is not None for f in features):
        raise ValueError("its norms belong to its own band")
    level, reward = protocol.feedback.level, protocol.reward
    values = [e for e in (level.start, level.end) if e is not None and e.fixed is not None]
    units = [e.unit for e in values]
    if reward is not None and reward.threshold.method == "fixed":
        units.append(reward.threshold.unit)
    if any(units):
        raise ValueError("a fixed threshold or level means nothing in another band")


def _chain(protocol: Protocol, names: Sequence[str]) -> list[str]:
    """Return features and everything they are made of, parts first."""
    out: dict[str, None] = {}

    def add(name: str) -> None:
        for part in protocol.features[name].of:
            add(part)
        out[name] = None

    for name in names:
        add(name)
    return list(out)
