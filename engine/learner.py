"""A simulated person who answers to feedback, or does not: ground truth for threshold rules.

`Learner` is the mind and `engine.person.Person` the body: the mind sees what the screen shows,
some time after it was decided, and changes the strength of one rhythm or a muscle. `close_loop`
runs a fold with such a person in simulated time: no clock, no network, the same seed gives the
same session.

The model. Let ``m`` be the strength of the trained rhythm (amplitude, 1 at rest) that the person
can bring up, ``e`` the effort, 0 to 1, and ``d`` the drift; what the body shows is::

    gain(t) = (1 + e(t) (m (1 + attempt) - 1)) d(t)
    m <- m + per_reward (ceiling - m)       with every reward seen
    d(t) = 1 - falls min(1, since / falls_over_s)

* effort follows within a few seconds: towards 0 where nothing is asked for, towards 0.5 in a
  transfer run or where the picture is at its bottom, towards 1 where it is at its top.
* drift runs from the first training block on, whatever is shown.
* a cheat clenches the jaw or blinks whenever no reward came for a while.

Every reward teaches, earned or not: this person does not tell real feedback from sham.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.errors import InputError, RunError
from engine.frames import (
    Bool,
    Chunk,
    Command,
    Decision,
    Event,
    Float,
    Phase,
    PhaseKind,
    StreamSpec,
    frozen,
)
from engine.person import COLUMNS, Person, columns

if TYPE_CHECKING:
    from engine.pipeline import Fold, Point

__all__ = [
    "RHYTHMS",
    "TRAITS",
    "Learner",
    "Outcome",
    "Quarter",
    "Seen",
    "Trait",
    "close_loop",
    "seen_in",
    "stream_of",
    "trait_named",
]

RHYTHMS = ("alpha", "smr", "theta", "beta")
PERCEPTION_S = 0.25  # from decision to answer: display, eye and a simple reaction
EFFORT_S = 3.0  # within this time a person is at it, and has let go of it
CHECK_S = 2.0  # live, a session starts after a check of the signal; filters settle meanwhile
CHUNK_S = 0.1
AT_MOST = 4.0  # times the plan: baselines repeat, gated blocks are extended
_TRUTHS = ("truth_blink", "truth_jaw")


@dataclass(frozen=True, slots=True)
class Trait:
    """How a person answers to feedback; the defaults are somebody who does not.

    Parameters
    ----------
    per_reward : float
        Which share of the way to `ceiling` the person goes with each reward.
    ceiling : float
        Amplitude of the trained rhythm at the end of learning, 1 at rest; below 1 where the
        rhythm is trained down.
    attempt : float
        By which share trying alone changes the rhythm, learned or not; negative for down.
    falls, falls_over_s : float
        Share of its amplitude that the rhythm loses, linearly, in that time of training.
    cheats : {"", "jaw", "blink"}
        What the person does when no reward came for `patience_s`; 30 % more or less.
    lasts_s : tuple of float
        Range of a clench's length.
    jaw_uv : tuple of float
        Range of a clench's rms from 30 to 45 Hz at the temples; at Cz it is 45 % of it.
    """

    per_reward: float = 0.0
    ceiling: float = 1.0
    attempt: float = 0.0
    falls: float = 0.0
    falls_over_s: float = 1200.0
    cheats: Literal["", "jaw", "blink"] = ""
    patience_s: float = 6.0
    lasts_s: tuple[float, float] = (1.0, 2.5)
    jaw_uv: tuple[float, float] = (25.0, 45.0)


TRAITS: Mapping[str, Trait] = MappingProxyType(
    {
        "learner": Trait(per_reward=0.004, ceiling=1.6, attempt=0.05),
        "non_learner": Trait(),
        "drifter": Trait(falls=0.3),
        "muscle_cheat": Trait(cheats="jaw"),
        "blink_cheat": Trait(cheats="blink"),
    }
)
"""Traits by name."""


def trait_named(name: str) -> Trait:
    """Return a trait of `TRAITS`.

    Raises
    ------
    InputError
        There is none of this name.
    """
    if name not in TRAITS:
        raise InputError(
            f"There is no simulated person {name!r}.", f"Choose one of {', '.join(TRAITS)}."
        )
    return TRAITS[name]


@dataclass(frozen=True, slots=True)
class Seen:
    """What the screen shows at one moment.

    Parameters
    ----------
    level : float or None
        None while nothing is shown, or nothing is known.
    rewards : int
        Since the session began.
    asked : bool
        The person is asked to try: training or transfer.
    shown : bool
        Feedback is on: training.
    """

    level: float | None = None
    rewards: int = 0
    asked: bool = False
    shown: bool = False


def seen_in(decision: Decision) -> Seen:
    """Return what the screen shows for a decision."""
    shown = decision.kind is PhaseKind.TRAIN and not decision.held
    asked = shown or (decision.kind is PhaseKind.TRANSFER and not decision.held)
    return Seen(decision.level, decision.rewards, asked, shown)


class Learner:
    """The mind of a simulated person: sees the screen, moves the body.

    Parameters
    ----------
    trait : Trait
    rhythm : {"alpha", "smr", "theta", "beta"}
        Which rhythm the person has in hand.
    seed : int
        Of the moments and strengths of cheating.
    delay_s : float
        How long after a decision the person answers to it.

    Attributes
    ----------
    strength : float
        What was learned: amplitude of the rhythm under full effort, 1 at rest.
    gain : float
        Factor on the rhythm's amplitude now: the ground truth.
    rewards : int
        Rewards seen.
    """

    def __init__(
        self, trait: Trait, rhythm: str = "smr", seed: int = 1, delay_s: float = PERCEPTION_S
    ) -> None:
        if rhythm not in RHYTHMS:
            raise InputError(
                f"A simulated person has no rhythm {rhythm!r}.",
                f"Choose one of {', '.join(RHYTHMS)}.",
            )
        self.trait, self.rhythm, self._delay_s = trait, rhythm, delay_s
        self.strength = self.gain = 1.0
        self.rewards = 0
        # Not the body's own generator: a cheat has the brain of the honest person of that seed.
        self._rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1000,)))
        self._coming: deque[tuple[float, Seen]] = deque()
        self._now = Seen()  # its rewards: of the session that is on
        self._effort = 0.0
        self._t_s: float | None = None
        self._since_s: float | None = None
        self._act_s = math.inf  # when patience is over

    def see(self, t_s: float, seen: Seen) -> None:
        """Take what the screen shows from `t_s` on; answered to `delay_s` later."""
        self._coming.append((t_s + self._delay_s, seen))

    def step(self, body: Person, t_s: float) -> None:
        """Move the body at `t_s`; in force from its next block of about 30 ms on."""
        rewarded = False
        asked_before = self._now.asked
        while self._coming and self._coming[0][0] <= t_s:
            seen = self._coming.popleft()[1]
            # A count that falls is that of another session, which began at 0.
            new = seen.rewards - (self._now.rewards if seen.rewards >= self._now.rewards else 0)
            self.rewards += new
            rewarded = rewarded or new > 0
            way = self.trait.ceiling - self.strength
            self.strength = self.trait.ceiling - way * (1.0 - self.trait.per_reward) ** new
            # While the picture is neutral the person goes on as before.
            level = self._now.level if seen.shown and seen.level is None else seen.level
            self._now = Seen(level, seen.rewards, seen.asked, seen.shown)
        self._try(t_s)
        body.gains[self.rhythm] = self.gain = self._gain(t_s)
        if not self._now.shown:
            self._act_s = math.inf
        elif rewarded or not asked_before or self._act_s == math.inf:
            self._wait(t_s)
        elif self.trait.cheats and t_s >= self._act_s:
            self._cheat(body, t_s)

    def _try(self, t_s: float) -> None:
        past_s = 0.0 if self._t_s is None else t_s - self._t_s
        self._t_s = t_s
        now = self._now
        if now.asked and self._since_s is None:
            self._since_s = t_s
        wanted = 0.5 + 0.5 * (now.level or 0.0) if now.asked else 0.0
        self._effort += (wanted - self._effort) * -math.expm1(-past_s / EFFORT_S)

    def _gain(self, t_s: float) -> float:
        tried = 1.0 + self._effort * (self.strength * (1.0 + self.trait.attempt) - 1.0)
        since_s = 0.0 if self._since_s is None else t_s - self._since_s
        return tried * (1.0 - self.trait.falls * min(1.0, since_s / self.trait.falls_over_s))

    def _wait(self, t_s: float) -> None:
        self._act_s = t_s + self.trait.patience_s * float(self._rng.uniform(0.7, 1.3))

    def _cheat(self, body: Person, t_s: float) -> None:
        lasts_s = float(self._rng.uniform(*self.trait.lasts_s))
        if self.trait.cheats == "jaw":
            body.clench(lasts_s, float(self._rng.uniform(*self.trait.jaw_uv)))
        else:
            body.blink(min(lasts_s, 0.35))
        self._wait(t_s + lasts_s)


# ---------------------------------------------------------------- the closed loop


def stream_of(sites: Sequence[str], rate_hz: float = 250.0) -> StreamSpec:
    """Return a stream that carries these electrodes of a simulated person, and no more.

    Raises
    ------
    InputError
        The person has no such electrode.
    """
    by_name = {c.name: c for c in columns() if c.kind == "eeg"}
    strange = [s for s in sites if s not in by_name]
    if strange or not sites:
        raise InputError(
            f"A simulated person has no {', '.join(strange)}."
            if strange
            else "A stream needs an electrode.",
            f"Choose among {', '.join(by_name)}.",
        )
    picked = tuple(by_name[s] for s in dict.fromkeys(sites))
    return StreamSpec("neuroloop-sim", "EEG", "neuroloop-sim", "", "", rate_hz, picked)


@dataclass(frozen=True, slots=True)
class Quarter:
    """What came of one part of the training.

    Parameters
    ----------
    clean_s : float
        Time in which every feature of a rule was known.
    passing, joint : float
        Shares of it in which the reward rule held, and all rules together.
    per_minute : float
        Rewards per clean minute.
    mean : float
        Of the trained feature: of its logarithm, as a value again, where it is always above 0.
    gain : float
        True mean factor on the rhythm's amplitude.
    threshold : float
        Mean threshold of the reward rule.
    """

    clean_s: float
    passing: float
    joint: float
    per_minute: float
    mean: float
    gain: float
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A session of a simulated person, and what was true in it.

    Parameters
    ----------
    plan : tuple of Phase
    rate_hz, grid_hz : float
    trained : int
        Column of the reward rule's feature in `values`.
    points : tuple of Point
        What the fold gave.
    events : tuple of Event
    gain : ndarray, shape (n_points,)
        True factor on the trained rhythm's amplitude.
    blinking, clenching : ndarray of bool, shape (n_points,)
        What the eyes and the jaw did, on purpose or not.
    """

    plan: tuple[Phase, ...]
    rate_hz: float
    grid_hz: float
    trained: int
    points: tuple[Point, ...]
    events: tuple[Event, ...]
    gain: Float
    blinking: Bool
    clenching: Bool

    @property
    def kind(self) -> PhaseKind:
        """How the session ended."""
        return self.points[-1].decision.kind

    @property
    def seq(self) -> np.ndarray:
        """Sample number of every point."""
        return np.array([p.frame.seq for p in self.points])

    @property
    def t_s(self) -> Float:
        """Seconds since the stream began."""
        return np.asarray(self.seq / self.rate_hz)

    @property
    def values(self) -> Float:
        """Features, shape (n_points, n_features)."""
        return np.array([p.frame.values for p in self.points])

    @property
    def gate(self) -> np.ndarray:
        """`Gate` bits of every point."""
        return np.array([int(p.frame.gate) for p in self.points])

    @property
    def reward(self) -> Bool:
        """Whether a reward fell at a point."""
        return np.array([p.decision.reward for p in self.points], dtype=bool)

    @property
    def joint(self) -> Bool:
        """Whether all rules held."""
        return np.array([p.decision.joint for p in self.points], dtype=bool)

    @property
    def passing(self) -> Bool:
        """Whether the reward rule held; False where unknown."""
        return np.array([bool(p.decision.passes[0]) for p in self.points], dtype=bool)

    @property
    def threshold(self) -> Float:
        """Threshold of the reward rule; NaN before it exists."""
        return np.array([p.decision.thresholds[0] for p in self.points])

    @property
    def clean(self) -> Bool:
        """Whether every feature of a rule was known and compared."""
        return np.array([None not in p.decision.passes for p in self.points], dtype=bool)

    def during(self, *kinds: PhaseKind) -> Bool:
        """Return which points belong to phases of these kinds."""
        return np.array([p.decision.kind in kinds for p in self.points], dtype=bool)

    def near(self, truth: Bool, before_s: float = 0.0, after_s: float = 0.0) -> Bool:
        """Return which points lie in a stretch where `truth` holds, or so long after it.

        The first `before_s` of each stretch are left out: no gate can know before it sees.
        """
        wide = np.zeros(len(truth), dtype=bool)
        edges = np.diff(np.concatenate([[0], truth.astype(int), [0]]))
        for first, stop in zip(
            np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True
        ):
            a = first + round(before_s * self.grid_hz)
            wide[a : stop + round(after_s * self.grid_hz)] = True
        return wide

    def kinds(self, kind: str) -> tuple[Event, ...]:
        """Return the events of one kind."""
        return tuple(e for e in self.events if e.kind == kind)

    def quarters(self, n: int = 4, kind: PhaseKind = PhaseKind.TRAIN) -> tuple[Quarter, ...]:
        """Return `n` parts of equal clean time of the training, in order.

        Raises
        ------
        RunError
            There is less clean training than parts.
        """
        at = np.flatnonzero(self.during(kind) & self.clean)
        if len(at) < n:
            raise RunError(
                f"The session holds {len(at)} clean points of training.", "Make it longer."
            )
        value, rewards = self.values[:, self.trained], np.cumsum(self.reward)
        passing, joint, threshold = self.passing, self.joint, self.threshold
        found = []
        for part in np.array_split(at, n):
            x = value[part]
            clean_s = len(part) / self.grid_hz
            earned = int(rewards[part[-1]] - (rewards[part[0] - 1] if part[0] else 0))
            mean = float(np.exp(np.log(x).mean()) if (x > 0).all() else x.mean())
            found.append(
                Quarter(
                    clean_s,
                    float(passing[part].mean()),
                    float(joint[part].mean()),
                    60.0 * earned / clean_s,
                    mean,
                    float(self.gain[part].mean()),
                    float(threshold[part].mean()),
                )
            )
        return tuple(found)


def close_loop(
    spec: StreamSpec,
    fold: Fold,
    plan: Sequence[Phase],
    learner: Learner,
    body: Person,
    *,
    trained: int = 0,
    chunk_s: float = CHUNK_S,
) -> Outcome:
    """Run a session to its end with a person who sees its feedback, in simulated time.

    Parameters
    ----------
    spec : StreamSpec
        Which columns of the person the fold gets; see `stream_of`.
    fold : Fold
        From `engine.assemble.assemble`, not used yet.
    plan : sequence of Phase
        The plan it was assembled with; the person opens and closes the eyes as it says.
    learner : Learner
        The mind, not used yet.
    body : Person
        The body, not used yet.
    trained : int
        Column of the reward rule's feature among the features.
    chunk_s : float
        Samples come in pieces of about this length; the person answers once a piece.

    Raises
    ------
    InputError
        Body and stream have different rates.
    RunError
        The plan did not end in four times its length.
    """
    rate_hz = spec.rate_hz
    if body.rate_hz != rate_hz:
        raise InputError(
            f"The person has {body.rate_hz:g} Hz, the stream {rate_hz:g} Hz.", "Give both the same."
        )
    picked = [COLUMNS.index(c.name) for c in spec.channels]
    truths = [COLUMNS.index(name) for name in _TRUTHS]
    n = max(1, round(chunk_s * rate_hz))
    most = (CHECK_S + AT_MOST * sum(p.lasts_s for p in plan)) * rate_hz
    points: list[Point] = []
    truth: list[Bool] = []
    gains: list[float] = []
    fold.step(Command(round(CHECK_S * rate_hz / spec.hop) * spec.hop, "start"))
    seq = 0
    while not (points and points[-1].decision.kind.terminal):
        if seq > most:
            raise RunError(
                f"The session did not end within {seq / rate_hz:.0f} s of a plan of "
                f"{sum(p.lasts_s for p in plan):.0f} s.",
                "Look at its last events: something holds it.",
            )
        phase = plan[max(0, points[-1].decision.phase)] if points else plan[0]
        body.eyes = "closed" if phase.eyes == "closed" else "open"
        learner.step(body, seq / rate_hz)
        x = body.read(n)
        truth.append(x[:, truths] > 0)
        gains.append(learner.gain)
        stamps = (seq + np.arange(n)) / rate_hz
        new = fold.step(Chunk(seq, frozen(stamps), frozen(np.ascontiguousarray(x[:, picked]))))
        for point in new:
            learner.see(point.frame.t, seen_in(point.decision))
        points += new
        seq += n
    at = np.array([p.frame.seq for p in points])
    what = np.concatenate(truth)[at]
    return Outcome(
        plan=tuple(plan),
        rate_hz=rate_hz,
        grid_hz=spec.grid_hz,
        trained=trained,
        points=tuple(points),
        events=tuple(e for p in points for e in p.events),
        gain=frozen(np.array(gains)[at // n]),
        blinking=frozen(what[:, 0]),
        clenching=frozen(what[:, 1]),
    )
