"""A protocol's session as the list of phases that the decider walks through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from engine.errors import InputError
from engine.frames import Phase, PhaseKind
from engine.units import spoken_s
from protocols.facts import eyes_of, floor_s
from protocols.model import BaselineBlock, Protocol, SessionStep

__all__ = ["READY_S", "SHORTEST_CLEAN_S", "expand", "shortest_s", "total_s"]

READY_S = 5.0  # time to read one sentence and settle
WAITS_S = 300.0  # the most that a self-paced block waits for the person
SHORT_WAITS_S = 2.0  # in a shortened session, where perhaps nobody is there

# A shortened session still has to be a session: these are the least with which every stage runs.
SHORT_SHARE = 0.92  # of the asked time; gates extend training blocks by up to 20 %
SHORTEST_READY_S = 0.6
SHORTEST_BLOCK_S = 2.0
SHORTEST_REST_S = 1.2
SHORTEST_CLEAN_S = 10.0
BASELINE_MARGIN = 1.6  # so that a few blinks do not make the baseline repeat

_RESTING = {
    "open": "Look at the middle of the screen, sit still and let your thoughts come and go.",
    "closed": "Close your eyes, sit still and let your thoughts come and go.",
}
_SAY = {"train": "Training begins.", "transfer": "Do the same without feedback.", "rest": "Rest."}
_KINDS = {
    "train": PhaseKind.TRAIN,
    "transfer": PhaseKind.TRANSFER,
    "rest": PhaseKind.REST,
}


def expand(protocol: Protocol, short_s: float | None = None, seed: int = 0) -> tuple[Phase, ...]:
    """Return the phases of the session, ending with DONE.

    Each baseline block, training and transfer is preceded by READY; PREPARING follows the last
    baseline; `post` is POST. The order of shuffled blocks and of the trials' tasks is drawn.

    Parameters
    ----------
    protocol : Protocol
    seed : int
        Of what is drawn (PCG64); the recording's header keeps it.
    short_s : float, optional
        Shorten everything so that the session lasts about this long. The nominal time is then
        92 % of it, which leaves room for gated time. Never lengthens a session.

    Raises
    ------
    InputError
        When the session cannot be made that short; names the shortest possible time.
    """
    if short_s is not None and not math.isfinite(short_s):
        raise InputError(f"A session cannot last {short_s:g} s.", "Give a number of seconds.")
    phases = _numbered(tuple(_phases(protocol, np.random.default_rng(seed))))
    if short_s is None or total_s(phases) <= SHORT_SHARE * short_s:
        return phases
    return _shortened(phases, short_s)


def total_s(plan: Sequence[Phase]) -> float:
    """Return how long the phases last, in seconds, when nothing is gated or held."""
    return sum(p.lasts_s for p in plan)


def shortest_s(plan: Sequence[Phase]) -> float:
    """Return the smallest `short_s` that this plan allows."""
    return sum(_least(p) for p in plan) / SHORT_SHARE


def _phases(protocol: Protocol, rng: np.random.Generator) -> Iterator[Phase]:
    for step in _drawn(protocol.session, rng):
        if step.kind == "baseline":
            for block in protocol.baseline:
                yield from _baseline(block, protocol)
            yield Phase(0, PhaseKind.PREPARING, "preparing", 0.0, "One moment.")
        elif step.kind in ("rest", "post"):
            yield _rest(step, PhaseKind.POST if step.kind == "post" else PhaseKind.REST)
        else:
            yield from _training(step, protocol, rng)
    yield Phase(0, PhaseKind.DONE, "done", 0.0, "Done. Thank you.")


def _drawn(session: Sequence[SessionStep], rng: np.random.Generator) -> Iterator[SessionStep]:
    """Yield the steps with each shuffle's parts in an order drawn for this session."""
    for group, steps in itertools.groupby(session, lambda s: s.shuffled and s.shuffled[0]):
        if group is None:
            yield from steps
            continue
        parts: dict[int, list[SessionStep]] = {}
        for step in steps:
            assert step.shuffled is not None
            parts.setdefault(step.shuffled[1], []).append(step)
        order = list(parts)
        for k in rng.permutation(len(order)):
            yield from parts[order[int(k)]]


def _baseline(block: BaselineBlock, protocol: Protocol) -> Iterator[Phase]:
    say = _RESTING[block.eyes]
    yield Phase(0, PhaseKind.READY, block.name, READY_S, say, block.eyes)
    yield Phase(
        0,
        PhaseKind.BASELINE,
        block.name,
        block.lasts_s,
        say,
        block.eyes,
        # A block that nothing is learned from need not be clean.
        block.needs_clean_s if block.learn or block.uses else 0.0,
        block.learn,
        uses=block.uses,
        chance_s=max((floor_s(protocol, name) for name in block.learn), default=0.0),
    )


def _training(step: SessionStep, protocol: Protocol, rng: np.random.Generator) -> Iterator[Phase]:
    eyes = eyes_of(protocol, step.eyes)
    name, say = step.name or step.kind, step.say or _SAY[step.kind]
    lasts_s = step.lasts_s
    trials: tuple[int, ...] = ()
    if step.trials is not None and protocol.trial is not None:
        lasts_s = step.trials * protocol.trial.lasts_s
        tasks = np.arange(step.trials) % len(protocol.trial.tasks)
        trials = tuple(int(k) for k in rng.permutation(tasks))
    waits_s = WAITS_S if step.self_paced else 0.0
    yield Phase(0, PhaseKind.READY, name, READY_S, say, eyes, waits_s=waits_s)
    yield Phase(0, _KINDS[step.kind], name, lasts_s, say, eyes, ask=step.ask or "", trials=trials)


def _rest(step: SessionStep, kind: PhaseKind) -> Phase:
    eyes = step.eyes or "open"
    default = _RESTING[eyes] if kind is PhaseKind.POST else _SAY["rest"]
    return Phase(0, kind, step.name or kind.name.lower(), step.lasts_s, step.say or default, eyes)


def _numbered(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    seen: dict[PhaseKind, int] = {}
    out = []
    for index, phase in enumerate(phases):
        seen[phase.kind] = seen.get(phase.kind, 0) + 1
        out.append(replace(phase, index=index, block=seen[phase.kind]))
    return tuple(out)


# ---------------------------------------------------------------- short sessions


def _clean(phase: Phase, scale: float) -> float:
    if not phase.learn:  # an alpha frequency may stay unknown in a shortened session
        return 0.0
    return min(
        phase.needs_clean_s, max(SHORTEST_CLEAN_S, phase.chance_s, scale * phase.needs_clean_s)
    )


def _with_margin(phase: Phase, scale: float) -> float:
    """Return how long a shortened baseline lasts, for as much clean time as it needs."""
    return _clean(phase, scale) * BASELINE_MARGIN


def _least(phase: Phase) -> float:
    """Return the shortest this phase can be, in seconds."""
    if phase.lasts_s == 0.0:
        return 0.0
    if phase.kind is PhaseKind.READY:
        return min(phase.lasts_s, SHORTEST_READY_S)
    if phase.learn:
        return _with_margin(phase, 0.0)
    rest = phase.kind is PhaseKind.REST
    return min(phase.lasts_s, SHORTEST_REST_S if rest else SHORTEST_BLOCK_S)


def _shortened(phases: tuple[Phase, ...], short_s: float) -> tuple[Phase, ...]:
    wanted = SHORT_SHARE * short_s
    least = shortest_s(phases)
    if short_s < least:
        raise InputError(
            f"This session cannot be shortened to {spoken_s(short_s)}: its baseline needs at "
            f"least {SHORTEST_CLEAN_S:g} s clean and every block {SHORTEST_BLOCK_S:g} s.",
            f"Ask for {least + 0.5:.0f} s or more.",
        )
    scale = wanted / total_s(phases)
    lasts = {}
    for phase in phases:
        if phase.kind is PhaseKind.READY:
            lasts[phase.index] = max(_least(phase), scale * phase.lasts_s)
        elif phase.learn:
            lasts[phase.index] = max(_with_margin(phase, scale), scale * phase.lasts_s)
    blocks = [p for p in phases if p.index not in lasts and p.lasts_s > 0.0]
    lasts |= _shared(blocks, wanted - sum(lasts.values()))
    # Lead-ins give way when the blocks would otherwise not fit.
    over = sum(lasts.values()) - wanted
    if over > 1e-9:
        lasts = _squeezed(phases, lasts, over)
    return tuple(
        replace(
            p,
            lasts_s=lasts.get(p.index, p.lasts_s),
            needs_clean_s=_clean(p, scale),
            waits_s=min(p.waits_s, SHORT_WAITS_S),
            trials=_fewer(p, lasts.get(p.index, p.lasts_s)),
        )
        for p in phases
    )


def _fewer(phase: Phase, lasts_s: float) -> tuple[int, ...]:
    """Return the first trials of a block, as many as fit into its shorter time; one at least."""
    if not phase.trials:
        return ()
    each_s = phase.lasts_s / len(phase.trials)
    return phase.trials[: max(1, math.floor(lasts_s / each_s + 1e-9))]


def _shared(blocks: Sequence[Phase], budget_s: float) -> dict[int, float]:
    """Scale the blocks equally to the budget, none below its least."""
    fixed: dict[int, float] = {}
    while True:
        free = [b for b in blocks if b.index not in fixed]
        rest = budget_s - sum(fixed.values())
        scale = rest / sum(b.lasts_s for b in free) if free else 0.0
        short = [b for b in free if scale * b.lasts_s < _least(b)]
        if not short:
            return fixed | {b.index: scale * b.lasts_s for b in free}
        fixed |= {b.index: _least(b) for b in short}


def _squeezed(phases: Sequence[Phase], lasts: dict[int, float], over_s: float) -> dict[int, float]:
    """Take the excess from whatever is above its least, in proportion."""
    spare = {p.index: lasts[p.index] - _least(p) for p in phases if p.index in lasts}
    share = over_s / sum(spare.values())
    return {i: s - share * spare[i] for i, s in lasts.items()}
