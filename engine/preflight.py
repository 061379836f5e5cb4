"""Before a session: does a protocol fit a stream or a file, what does it cost, what would it pay.

Nothing is opened for writing and nothing is shown: the fold is put together as for a session
(`engine.assemble`), and run over noise or over what a file holds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from engine.assemble import Assembly, assemble
from engine.batch import is_recording
from engine.errors import InputError, NeuroloopError
from engine.features import FEATURES, FeatureKind
from engine.frames import (
    Channel,
    Chunk,
    Command,
    Decision,
    Event,
    Input,
    Phase,
    PhaseKind,
    StreamSpec,
    frozen,
)
from engine.montage import find_site
from engine.pipeline import Fold
from engine.readfile import read_eeg
from engine.recording import read
from engine.replay import BLOCK_SAMPLES, CHECK_S, file_inputs
from protocols.model import Protocol
from protocols.plan import SHORT_SHARE, SHORTEST_CLEAN_S, expand, shortest_s, total_s
from protocols.rewards import REWARDS, RewardKind

__all__ = [
    "Cost",
    "Expected",
    "Fit",
    "Given",
    "Known",
    "cost",
    "expected",
    "fit",
    "given_file",
    "halves",
    "longest",
    "needed_spec",
]

COST_S = 3.0  # of synthetic signal
NOISE_UV = 10.0  # well under every gate
ASIDE_S = 1.0  # of a file, for the last moments of a session
PART_SAMPLES = 4096
TEN_TWENTY = (
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"),
    *("P7", "P3", "Pz", "P4", "P8", "O1", "O2"),
)
LEAST_TRAIN_S = 10.0  # a rate counted over less says nothing


@dataclass(frozen=True, slots=True)
class Known:
    """What a room knows beyond stream and protocol, and what plug-ins add.

    Parameters
    ----------
    mains_hz, range_uv : float or None
    dc_coupled : bool or None
    kinds, rewards : mapping
        The registries of features and reward rules.
    """

    mains_hz: float | None = None
    range_uv: float | None = None
    dc_coupled: bool | None = None
    kinds: Mapping[str, FeatureKind] = field(default_factory=lambda: FEATURES)
    rewards: Mapping[str, RewardKind] = field(default_factory=lambda: REWARDS)


NOTHING = Known()


@dataclass(frozen=True, slots=True)
class Given:
    """The samples of a file, ready to be run through a fold, as often as wanted.

    Parameters
    ----------
    name : str
    spec : StreamSpec
    seconds : float
    inputs : callable
        Returns the Inputs, from the start.
    notes : tuple of str
        What the reader of the file had to say.
    ours : bool
        A recording of a session, with its pauses.
    """

    name: str
    spec: StreamSpec
    seconds: float
    inputs: Callable[[], Iterable[Input]]
    notes: tuple[str, ...] = ()
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a montage allows a protocol.

    Parameters
    ----------
    name : str
        Of the stream or file.
    rate_hz : float
    channels : tuple of str
    fits : bool
    problem, fix : str
        Why not, and what to do; empty where it fits.
    missing : tuple of str
        Sites that the protocol needs and the montage lacks.
    reference : str or None
        What is chosen; None where it does not fit.
    warnings : tuple of str
    delays_s : mapping of str to float
        Estimator delay of every feature by fixed filters at this rate.
    """

    name: str
    rate_hz: float
    channels: tuple[str, ...]
    fits: bool
    problem: str = ""
    fix: str = ""
    missing: tuple[str, ...] = ()
    reference: str | None = None
    warnings: tuple[str, ...] = ()
    delays_s: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the signal path takes of this computer, before filters are fitted.

    Parameters
    ----------
    core_share : float
        Of one core, at this rate; 0.02 is 2 %.
    rate_hz : float
    n_channels : int
    seconds : float
        Of signal that it was measured with.
    """

    core_share: float
    rate_hz: float
    n_channels: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What would have been rewarded on a file, and on how much of it that rests.

    Parameters
    ----------
    how : str
        How it was obtained, as a sentence.
    ended_as : str
        State at the end of the file: ``done``, ``train`` ...
    baseline_s, baseline_clean_s : float
        Time of the baseline blocks, and its clean part.
    train_s, train_clean_s : float
        Time with feedback, and its clean part with every condition known.
    joint : float or None
        Share of the clean training time at which every condition held.
    alone : mapping of str to (float or None)
        The same for every rule alone, by ``feature above`` or ``feature below``.
    thresholds : mapping of str to (float or None)
        Of every rule, at the end of the training, in the unit of its feature.
    rewards : int
    rewards_per_min : float or None
        Per minute of clean training time.
    gated_s : mapping of str to float
        Training time by cause.
    problem : str
        Why there is no training to count; empty where there is.
    """

    how: str
    ended_as: str
    baseline_s: float
    baseline_clean_s: float
    train_s: float
    train_clean_s: float
    joint: float | None
    alone: Mapping[str, float | None]
    thresholds: Mapping[str, float | None]
    rewards: int
    rewards_per_min: float | None
    gated_s: Mapping[str, float]
    problem: str = ""


# ---------------------------------------------------------------- streams and files


def given_file(path: Path) -> Given:
    """Read an EEG file, or a recording of a session.

    Raises
    ------
    FileError
        It cannot be read.
    """
    if not is_recording(path):
        eeg = read_eeg(path)
        return Given(path.name, eeg.spec, eeg.seconds, lambda: file_inputs(eeg), eeg.notes)
    recording = read(path)
    foreign = ("threshold", "skip")  # they belong to the plan and rules of that session

    def inputs() -> Iterable[Input]:
        for one in recording.inputs_in_order(BLOCK_SAMPLES):
            if not (isinstance(one, Command) and one.kind in foreign):
                yield one

    notes = (recording.damage,) if recording.damage else ()
    seconds = len(recording.samples) / recording.spec.rate_hz
    return Given(path.name, recording.spec, seconds, inputs, notes, ours=True)


def needed_spec(protocol: Protocol) -> StreamSpec:
    """Return a stream that has exactly what the protocol asks for, to measure with.

    The sites of the first reference that needs sites of its own are added.
    """
    names = list(protocol.needs.channels)
    wanted = protocol.condition.reference
    if "as recorded" not in wanted:
        names += ["A1", "A2"]
        names += TEN_TWENTY  # enough for an average and for the neighbours of any site
    kept: list[str] = []
    for name in names:
        if find_site(name, kept) is None:
            kept.append(name)
    channels = tuple(
        Channel(name, "eog" if "EOG" in name.upper() else "eeg", "uV", 1.0) for name in kept
    )
    rate_hz = max(protocol.needs.rate_hz, 250.0)
    return StreamSpec("needed", "EEG", "", "", "", rate_hz, channels)


def fit(spec: StreamSpec, protocol: Protocol, known: Known = NOTHING) -> Fit:
    """Put the fold together without running it, and say how that went."""
    names = [c.name for c in spec.channels if c.kind in ("eeg", "eog")]
    missing = tuple(s for s in protocol.needs.channels if find_site(s, names) is None)
    about = (spec.name, spec.rate_hz, tuple(names))
    try:
        made = _assembled(spec, protocol, expand(protocol), known)
    except NeuroloopError as error:
        what = str(getattr(error, "what", error))
        return Fit(*about, fits=False, problem=what, fix=error.fix, missing=missing)
    warnings = list(made.warnings)
    if missing:
        warnings.insert(
            0,
            f"the protocol asks for {', '.join(missing)} as well, which the montage lacks; no "
            "feature needs them",
        )
    return Fit(
        *about,
        fits=True,
        missing=missing,
        reference=made.montage.reference,
        warnings=tuple(warnings),
        delays_s=dict(made.delay_s),
    )


def _assembled(
    spec: StreamSpec, protocol: Protocol, plan: Sequence[Phase], known: Known
) -> Assembly:
    return assemble(
        spec,
        protocol,
        plan,
        mains_hz=known.mains_hz,
        range_uv=known.range_uv,
        dc_coupled=known.dc_coupled,
        kinds=known.kinds,
        rewards=known.rewards,
    )


# ---------------------------------------------------------------- what it costs


def cost(spec: StreamSpec, protocol: Protocol, known: Known = NOTHING) -> Cost:
    """Measure the processor time of the fold over a few seconds of noise, a grid step at a time.

    Raises
    ------
    MontageError
        The stream does not fit the protocol.
    """
    threadpool_limits(limits=1)  # as live
    # Nobody says of noise how it is coupled.
    known = replace(known, dc_coupled=True if known.dc_coupled is None else known.dc_coupled)
    made = _assembled(spec, protocol, expand(protocol), known)
    hop, rate_hz = spec.hop, spec.rate_hz
    n = round((1.0 + COST_S) * rate_hz / hop) * hop
    rng = np.random.default_rng(1)
    uv = frozen(NOISE_UV * rng.standard_normal((n, len(spec.channels))))
    t = frozen(np.arange(n) / rate_hz)
    begin = round(rate_hz / hop) * hop  # the first second is for caches to warm up
    used_s = 0.0
    made.fold.step(Command(hop, "start"))
    for at in range(0, n, hop):
        started = time.thread_time()
        for _ in made.fold.step(Chunk(at, t[at : at + hop], uv[at : at + hop])):
            pass
        used_s += (time.thread_time() - started) if at >= begin else 0.0
    seconds = (n - begin) / rate_hz
    return Cost(used_s / seconds, rate_hz, len(spec.channels), seconds)


# ---------------------------------------------------------------- what it would pay


def longest(protocol: Protocol, seconds: float) -> tuple[tuple[Phase, ...], float | None]:
    """Return the longest plan that fits into a file, and the seconds it was shortened to.

    Raises
    ------
    InputError
        Not even the shortest fits.
    """
    plan = expand(protocol)
    room_s = seconds - CHECK_S - ASIDE_S
    if total_s(plan) <= SHORT_SHARE * room_s:
        return plan, None
    least_s = shortest_s(plan)
    if room_s < least_s:
        raise InputError(
            f"{seconds:.0f} s are too short: even a shortened session of {protocol.name} takes "
            f"{least_s:.0f} s.",
            "Give a longer recording.",
        )
    return expand(protocol, room_s), room_s


def halves(protocol: Protocol, seconds: float) -> tuple[Phase, ...]:
    """Return a plan that learns on the first half of a file and trains on all of the second.

    The baseline blocks share the first half in proportion to their lengths.

    Raises
    ------
    InputError
        The protocol has trials or learns nothing, or the file is too short.
    """
    if protocol.trial is not None:
        raise InputError(
            "Trials have baselines of their own, so nothing is learned first.",
            "Look at the whole session.",
        )
    blocks = [p for p in expand(protocol) if p.kind is PhaseKind.BASELINE]
    if not any(p.learn for p in blocks):
        raise InputError("Nothing is learned from a baseline.", "Look at the whole session.")
    half_s = (seconds - CHECK_S) / 2.0
    whole_s = sum(p.lasts_s for p in blocks)
    phases: list[Phase] = []
    for block in blocks:
        lasts_s = min(block.lasts_s, half_s * block.lasts_s / whole_s)
        clean_s = min(block.needs_clean_s, max(SHORTEST_CLEAN_S, 0.5 * lasts_s))
        if block.learn and lasts_s < SHORTEST_CLEAN_S:
            raise InputError(
                f"{seconds:.0f} s are too short to learn a baseline from their first half.",
                "Give a longer recording.",
            )
        phases.append(
            replace(block, lasts_s=lasts_s, needs_clean_s=clean_s if block.learn else 0.0)
        )
    phases.append(Phase(0, PhaseKind.PREPARING, "preparing", 0.0))
    phases.append(Phase(0, PhaseKind.TRAIN, "train", seconds, eyes=blocks[-1].eyes, block=1))
    phases.append(Phase(0, PhaseKind.DONE, "done", 0.0))
    return tuple(replace(p, index=i) for i, p in enumerate(phases))


def expected(
    given: Given,
    protocol: Protocol,
    plan: Sequence[Phase],
    how: str,
    known: Known = NOTHING,
    progress: Callable[[float], None] = lambda _: None,
) -> Expected:
    """Run a protocol over a file and count what would have been rewarded.

    Raises
    ------
    MontageError
        The file lacks a site, the reference or the rate.
    """
    threadpool_limits(limits=1)  # as live
    made = _assembled(given.spec, protocol, plan, known)
    decisions, events = _run(made.fold, given, progress)
    return _counted(protocol, decisions, events, given.spec.grid_hz, how)


def _run(
    fold: Fold, given: Given, progress: Callable[[float], None]
) -> tuple[list[Decision], list[Event]]:
    decisions: list[Decision] = []
    events: list[Event] = []
    whole = max(1.0, given.seconds * given.spec.rate_hz)
    done = 0
    for item in given.inputs():
        for part in _parts(item):
            for point in fold.step(part):
                decisions.append(point.decision)
                events.extend(point.events)
            if isinstance(part, Chunk):
                done += len(part.uv)
                progress(min(1.0, done / whole))
    return decisions, events


def _parts(item: Input) -> Iterable[Input]:
    """Cut long chunks, so that progress moves."""
    if not isinstance(item, Chunk):
        return (item,)
    return tuple(
        Chunk(item.seq + at, item.t[at : at + PART_SAMPLES], item.uv[at : at + PART_SAMPLES])
        for at in range(0, len(item.uv), PART_SAMPLES)
    )


def _counted(
    protocol: Protocol,
    decisions: Sequence[Decision],
    events: Sequence[Event],
    grid_hz: float,
    how: str,
) -> Expected:
    rest = [d for d in decisions if d.kind is PhaseKind.BASELINE and not d.held]
    train = [d for d in decisions if d.kind is PhaseKind.TRAIN and not d.held]
    has_rule = bool(protocol.rules) or protocol.trial is not None
    clean = [d for d in train if not d.gate and None not in d.passes]
    names = [f"{r.feature} {r.direction}" for r in protocol.rules]
    alone: dict[str, float | None] = {}
    limits: dict[str, float | None] = {}
    for k, name in enumerate(names):
        held = [d.passes[k] is True for d in clean]
        alone[name] = sum(held) / len(held) if held else None
        last = train[-1].thresholds[k] if train and train[-1].thresholds else float("nan")
        limits[name] = None if last != last else last
    gated = Counter(cause for d in train for cause in d.gate.causes)
    rewards = sum(d.reward for d in train)
    clean_s = len(clean) / grid_hz
    enough = clean_s >= LEAST_TRAIN_S
    return Expected(
        how=how,
        ended_as=decisions[-1].kind.name.lower() if decisions else "nothing",
        baseline_s=len(rest) / grid_hz,
        baseline_clean_s=sum(not d.gate for d in rest) / grid_hz,
        train_s=len(train) / grid_hz,
        train_clean_s=clean_s,
        joint=sum(d.joint for d in clean) / len(clean) if enough and has_rule else None,
        alone=alone if enough else dict.fromkeys(names),
        thresholds=limits,
        rewards=rewards,
        rewards_per_min=60.0 * rewards / clean_s if enough else None,
        gated_s={name: n / grid_hz for name, n in gated.items()},
        problem="" if enough else _why(decisions, events, clean_s),
    )


def _why(decisions: Sequence[Decision], events: Sequence[Event], clean_s: float) -> str:
    failed = [e.data.get("sentence") for e in events if e.kind == "failed"]
    if failed:
        return str(failed[-1])
    if any(e.kind == "baseline_repeat" for e in events):
        return "Too little of the baseline was clean, so it was repeated until the file ended."
    if not any(d.kind is PhaseKind.TRAIN for d in decisions):
        return "The file ended before the training."
    return f"Only {clean_s:.0f} s of the training were clean."
