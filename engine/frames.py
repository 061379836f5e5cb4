"""The vocabulary: every value that flows through Neuroloop.

All values are frozen. Arrays are time-first `(n_samples, n_channels)`, microvolts unless a
channel's unit says otherwise, float64, and read-only once published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntFlag
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bool",
    "Channel",
    "Chunk",
    "Command",
    "CommandKind",
    "Decision",
    "Event",
    "FeatureFrame",
    "Float",
    "Gap",
    "Gate",
    "Hold",
    "Input",
    "Phase",
    "PhaseKind",
    "Prepared",
    "Presented",
    "Quality",
    "RestBlock",
    "Show",
    "Summary",
    "StreamSpec",
    "frozen",
    "hop_samples",
]

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


_NOTHING: Float = np.zeros(0)
_NOTHING.flags.writeable = False


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same array, made read-only."""
    array.flags.writeable = False
    return array


def hop_samples(rate_hz: float) -> int:
    """Return the samples between two grid points: ``max(1, round(rate / 50))``."""
    return max(1, math.floor(rate_hz / 50.0 + 0.5))


# ---------------------------------------------------------------- the agreed stream


@dataclass(frozen=True, slots=True)
class Channel:
    """One column of a stream.

    Parameters
    ----------
    name : str
        Electrode or channel label, cleaned (``Oz..`` and ``EEG O1-Ref`` become ``Oz``, ``O1``).
    kind : str
        ``eeg``, ``eog``, ``ecg``, ``emg``, ``accelerometer``, ``counter``, ``trigger``, ``misc``.
    unit : str
        Unit as declared by the source, e.g. ``microvolts``.
    to_uv : float
        Factor from the source's numbers to microvolts; 1.0 for columns that are no voltages.
    label : str
        The label as the source wrote it.
    """

    name: str
    kind: str
    unit: str
    to_uv: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What was agreed about a stream before the session; any difference later is refused."""

    name: str
    stype: str
    source_id: str
    uid: str
    host: str
    rate_hz: float
    channels: tuple[Channel, ...]
    dtype: str = "float32"  # numpy name of the source's number type

    @property
    def names(self) -> tuple[str, ...]:
        """Cleaned channel names, in column order."""
        return tuple(c.name for c in self.channels)

    @property
    def hop(self) -> int:
        """Samples between two grid points."""
        return hop_samples(self.rate_hz)

    @property
    def grid_hz(self) -> float:
        """Rate of features and decisions, ``rate_hz / hop``."""
        return self.rate_hz / self.hop


# ---------------------------------------------------------------- Inputs


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples. `seq` is the index of the first one since start, never reused.

    Parameters
    ----------
    seq : int
        Index of the first sample.
    t : ndarray, shape (n_samples,)
        Raw LSL stamps in seconds, as received.
    uv : ndarray, shape (n_samples, n_channels)
        Every column of the stream, voltages in microvolts.
    """

    seq: int
    t: Float
    uv: Float


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples `seq` to `seq + missing - 1` never arrived."""

    seq: int
    missing: int
    cause: str


CommandKind = Literal[
    "start", "pause", "resume", "skip", "stop", "note", "threshold", "mark_bad", "volume", "go",
    "answer",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Command:
    """What the operator (or the client's stop key) ordered, effective at grid point `seq`.

    `target` is the rule's feature name for ``threshold``, the channel for ``mark_bad``; `value`
    the new threshold or gain; `text` the note, the reason, the answer, or who said ``go``.
    """

    seq: int
    kind: CommandKind
    target: str = ""
    value: float = math.nan
    text: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A state of the session begins (`on`) or ends, effective at grid point `seq`.

    `cause` is a short key (``stale``, ``window``, ``transport``, ``changed``, ``disk``);
    `sentence` is what the operator reads.
    """

    seq: int
    on: bool
    cause: str
    sentence: str = ""


Input = Chunk | Gap | Command | Hold


# ---------------------------------------------------------------- what is known of the signal


class Quality(IntFlag):
    """Why a channel's sample cannot be trusted (bit mask per channel)."""

    OK = 0
    FLAT = 1
    RAIL = 2
    NAN = 4
    STEP = 8
    GAP = 16
    MARKED = 32  # by the operator
    LINE = 64  # mains more than 10 x its neighbours: a warning, never a gate


class Gate(IntFlag):
    """Why a grid point is gated (bit mask)."""

    OPEN = 0
    AMPLITUDE = 1
    BLINK = 2
    MUSCLE = 4
    STEP = 8
    FLAT = 16
    RAIL = 32
    NAN = 64
    GAP = 128
    WARMUP = 256  # filters have not yet seen enough samples since start, gap or reset
    MARKED = 512
    SACCADE = 1024
    MOTION = 2048

    @property
    def causes(self) -> tuple[str, ...]:
        """Lower-case names of the set bits."""
        return tuple(g.name.lower() for g in Gate if g and g in self and g.name)


@dataclass(frozen=True, slots=True)
class FeatureFrame:
    """All features at one grid point.

    Parameters
    ----------
    seq : int
        Sample index of the grid point (a multiple of the hop).
    t : float
        Raw stamp of that sample.
    values : ndarray, shape (n_features,)
        In the order of the protocol; NaN is unknown.
    trusted : ndarray of bool, shape (n_features,)
        False while gated, warming up, or when a needed channel is bad.
    gate : Gate
        Causes at this grid point, 0 when open.
    metrics : ndarray, shape (n_metrics,)
        What the gates measured (see `engine.gates`), for learning their limits.
    fixed_uv2 : ndarray, shape (n_features,)
        Power by the fixed estimator, unsmoothed, for comparison across sessions: at every tenth
        grid point, for features that are a power or an amplitude; NaN elsewhere. Empty when
        nothing was fitted.
    """

    seq: int
    t: float
    values: Float
    trusted: Bool
    gate: Gate
    metrics: Float
    fixed_uv2: Float = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True, eq=False)
class RestBlock:
    """An accepted baseline block, for whatever is fitted to rest.

    Parameters
    ----------
    phase : int
        Index into the plan.
    name : str
        Of the block.
    learn : tuple of str
        Features whose resting values are learned in it.
    uses : tuple of str
        What else it is for (``iaf``).
    seq : ndarray of int, shape (n_points,)
        Its grid points, in order.
    gates : ndarray of int, shape (n_points,)
        `Gate` bits as they were live.
    clean : ndarray of bool, shape (n_points,)
        Which remain by the limits learned from it.
    """

    phase: int
    name: str
    learn: tuple[str, ...]
    uses: tuple[str, ...]
    seq: NDArray[np.int64]
    gates: NDArray[np.int64]
    clean: Bool


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What was fitted to rest, seen from outside the signal path.

    Parameters
    ----------
    values : tuple of ndarray, shape (n_points, n_features)
        Per block its features as the fitted estimators read them; NaN is unknown.
    events : tuple of (str, mapping)
        What people and the report should know, in order.
    """

    values: tuple[Float, ...]
    events: tuple[tuple[str, Mapping[str, Any]], ...]


# ---------------------------------------------------------------- decisions


class PhaseKind(Enum):
    """The states of a session. HOLD is not among them: it lies over any of them."""

    IDLE = 0
    CHECK = 1
    READY = 2  # instruction and countdown before a block
    BASELINE = 3
    PREPARING = 4
    TRAIN = 5
    REST = 6
    TRANSFER = 7
    POST = 8
    DONE = 9
    STOPPED = 10
    FAILED = 11

    @property
    def terminal(self) -> bool:
        """Whether the session is over."""
        return self in (PhaseKind.DONE, PhaseKind.STOPPED, PhaseKind.FAILED)


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of the expanded session plan.

    `lasts_s` counts clean seconds for TRAIN and TRANSFER (extended by at most 20 % for gates) and
    plain seconds otherwise; holds always stop the clock.
    """

    index: int
    kind: PhaseKind
    name: str
    lasts_s: float
    say: str = ""
    eyes: str = "open"
    needs_clean_s: float = 0.0
    learn: tuple[str, ...] = ()
    block: int = 0  # 1-based number among phases of the same kind
    uses: tuple[str, ...] = ()  # what else a baseline is recorded for: iaf
    waits_s: float = 0.0  # a READY phase that waits for `go`, at most so long
    ask: str = ""  # put to the person after the block
    trials: tuple[int, ...] = ()  # the task of every trial of the block
    chance_s: float = 0.0  # clean time that a baseline's chance values take


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided at one grid point.

    Parameters
    ----------
    seq, t
        Of the grid point.
    phase : int
        Index into the plan; -1 before start.
    kind : PhaseKind
        State of the session.
    level : float or None
        0 (nothing to show) to 1; None means no honest answer.
    reward : bool
        A reward event happens here.
    joint : bool
        All reward and inhibit conditions hold now.
    passes : tuple of bool or None
        Per rule, reward first, then inhibits; None where unknown.
    thresholds : tuple of float
        Per rule, as compared at this grid point; NaN before they exist.
    gate : Gate
        Copied from the frame.
    held : tuple of str
        Causes of hold, empty when none.
    phase_s : float
        Seconds counted in this phase so far (its own clock, see `Phase.lasts_s`).
    rewards : int
        Rewards since the session began.
    why : str
        One word for why there is no level: ``""``, ``gate``, ``hold``, ``phase``, ``unknown``.
    say : str
        What the person is told at this moment of a trial.
    """

    seq: int
    t: float
    phase: int
    kind: PhaseKind
    level: float | None
    reward: bool
    joint: bool
    passes: tuple[bool | None, ...]
    thresholds: tuple[float, ...]
    gate: Gate
    held: tuple[str, ...]
    phase_s: float
    rewards: int
    why: str = ""
    say: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people and the report."""

    t: float
    seq: int
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


# ---------------------------------------------------------------- to and from the window


@dataclass(frozen=True, slots=True)
class Summary:
    """What a person is told after a training block.

    Parameters
    ----------
    rewards : int
        Of the block, as decided.
    clean_s, lasts_s : float
        Seconds with a clean signal, and of the block.
    z : float or None
        Mean of the trained feature over clean time, in baseline spreads, positive in the trained
        direction; None where it is unknown or must not be told.
    """

    rewards: int
    clean_s: float
    lasts_s: float
    z: float | None = None


@dataclass(frozen=True, slots=True)
class Show:
    """What the person's window should present now; the newest one wins.

    Rewards and cues are running counts, so none is lost when messages are skipped.
    """

    seq: int
    t: float  # stamp of the newest sample behind this value
    sent: float  # clock when the engine sent it
    screen: str  # welcome instruction countdown feedback transfer rest test neutral end
    level: float | None = None
    gated: bool = False
    rewards: int = 0
    cue: str = ""  # start, end, baseline, rest ... played when `cues` rises
    cues: int = 0
    title: str = ""
    text: str = ""
    remaining_s: float | None = None
    progress: float = 0.0  # of the session, 0..1
    eyes: str = "open"
    gain: float = 1.0  # operator's volume 0..1, below the guard's cap
    summary: Summary | None = None  # of the training block before this rest
    probe: int = 0  # odd: the photodiode's patch is lit; each rise also clicks (screen "probe")


@dataclass(frozen=True, slots=True)
class Presented:
    """One frame as the person saw it; the first one of a value closes its latency loop."""

    seq: int
    t: float  # stamp of the newest sample
    sent: float
    t_flip: float
    level: float | None  # as drawn, after smoothing; None where nothing shows it
    reward: bool  # a reward begins to show
    guard: int  # bits: 1 flash, 2 slope, 4 red, 8 loudness
    frame: int = -1  # running number since the window opened
    screen: str = ""  # as drawn, of `SCREENS` or a curtain of the window's own
    heard: float | None = None  # level that a continuous sound follows; None is silence
    patch: bool = False  # whether the photodiode's patch is lit
    live: float = 1.0  # 1 shows the level, 0 is neutral
    share: float = 1.0  # of this frame on the screen, after fades and guard; 0 repeats the last one
