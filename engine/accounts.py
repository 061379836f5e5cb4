"""What a session's events tell beside its rows: questions, trials, crossovers, starts, thresholds.

Events of other versions, or with parts missing, leave things unknown; they never raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.frames import Event, PhaseKind
from engine.grid import mapping, number
from engine.learned import block_label

__all__ = [
    "Asked",
    "Crossed",
    "Started",
    "TaskCount",
    "TrialRun",
    "asked",
    "crossed",
    "labels",
    "started",
    "trials",
]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was put to the person after a block; `answer` is None without one."""

    block: str
    question: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class TaskCount:
    """The trials of one task in a block; None is unknown or withheld.

    Parameters
    ----------
    name : str
    n, rejected : int
    passed : int or None
    mean_uv : float or None
        Of the trials that were kept, from each trial's own baseline.
    """

    name: str
    n: int
    rejected: int
    passed: int | None
    mean_uv: float | None


@dataclass(frozen=True, slots=True)
class TrialRun:
    """The trials of one block, and the first task's mean minus the second's."""

    block: str
    tasks: tuple[TaskCount, ...]
    difference_uv: float | None


@dataclass(frozen=True, slots=True)
class Crossed:
    """How long theta exceeded alpha in a block's clean time, and how often for three minutes."""

    block: str
    crossover_s: float
    share: float | None
    therapeutic: int | None


@dataclass(frozen=True, slots=True)
class Started:
    """A block that waited for the person; `by` is ``person``, ``operator`` or ``nobody``."""

    block: str
    waited_s: float | None
    by: str


def labels(header: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of every block of a recording's plan, by its index."""
    plan = header.get("plan")
    found: dict[int, str] = {}
    for i, row in enumerate(plan if isinstance(plan, (list, tuple)) else ()):
        row = mapping(row)
        kind, index = _kind(row.get("kind")), number(row.get("index"))
        if kind is not None:
            name, block = str(row.get("name") or kind.name), int(number(row.get("block")) or 0)
            found[i if index is None else int(index)] = block_label(kind, name, block, 1)
    return found


def _kind(value: Any) -> PhaseKind | None:
    by_name = {k.name.lower(): k for k in PhaseKind}
    return by_name.get(str(value).lower())


def _phase(data: Mapping[str, Any]) -> int:
    index = number(data.get("phase"))
    return -1 if index is None else int(index)


def asked(events: Iterable[Event], names: Mapping[int, str]) -> list[Asked]:
    """Return every question with its answer; `names` are those of `labels`."""
    found: list[tuple[int, Asked]] = []
    for event in events:
        phase = _phase(event.data)
        if event.kind == "question":
            block = names.get(phase, "a block")
            found.append((phase, Asked(block, str(event.data.get("text") or ""), None)))
        elif event.kind == "answer":
            said = str(event.data.get("text") or "")
            for i in reversed(range(len(found))):
                if found[i][0] == phase and found[i][1].answer is None:
                    found[i] = (phase, Asked(found[i][1].block, found[i][1].question, said))
                    break
    return [one for _, one in found]


def trials(
    events: Iterable[Event], names: Mapping[int, str], tasks: Sequence[str] = ()
) -> list[TrialRun]:
    """Return the account of every block of trials.

    Where a block did not end, or its account is withheld, the single trials are counted.

    Parameters
    ----------
    events : iterable of Event
    names : mapping of int to str
        Of `labels`.
    tasks : sequence of str
        Of the protocol, in its order.
    """
    single: dict[int, list[Mapping[str, Any]]] = {}
    told: dict[int, Mapping[str, Any]] = {}
    for event in events:
        phase = _phase(event.data)
        if event.kind == "trial":
            single.setdefault(phase, []).append(event.data)
        elif event.kind == "phase_end" and isinstance(event.data.get("trials"), Mapping):
            told[phase] = event.data["trials"]
    runs = []
    for phase in sorted(single.keys() | told.keys()):
        block = names.get(phase, "a block")
        if phase in told:
            rows = {k: v for k, v in told[phase].items() if isinstance(v, Mapping)}
            counts = tuple(_task(k, v) for k, v in rows.items())
            runs.append(TrialRun(block, counts, number(told[phase].get("difference_uv"))))
        else:
            runs.append(TrialRun(block, tuple(_counted(single[phase], tasks)), None))
    return runs


def _task(name: str, row: Mapping[str, Any]) -> TaskCount:
    n, rejected = int(number(row.get("n")) or 0), int(number(row.get("rejected")) or 0)
    passed = number(row.get("passed"))
    return TaskCount(
        name, n, rejected, None if passed is None else int(passed), number(row.get("mean_uv"))
    )


def _counted(rows: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> Iterator[TaskCount]:
    for name in dict.fromkeys([*tasks, *(str(r.get("task")) for r in rows)]):
        own = [r for r in rows if str(r.get("task")) == name]
        if not own:
            continue
        known = [x for r in own if (x := number(r.get("mean_uv"))) is not None]
        judged = [bool(r["passed"]) for r in own if "passed" in r]
        yield TaskCount(
            name,
            len(own),
            sum(bool(r.get("rejected")) for r in own),
            sum(judged) if judged else None,
            sum(known) / len(known) if known else None,
        )


def crossed(events: Iterable[Event], names: Mapping[int, str]) -> list[Crossed]:
    """Return the crossover of theta over alpha in every block that tells it."""
    found = []
    for event in events:
        row = mapping(event.data.get("crossover")) if event.kind == "phase_end" else {}
        s, therapeutic = number(row.get("crossover_s")), number(row.get("therapeutic"))
        if s is not None:
            block = names.get(_phase(event.data), "a block")
            often = None if therapeutic is None else int(therapeutic)
            found.append(Crossed(block, s, number(row.get("share")), often))
    return found


def started(events: Iterable[Event], names: Mapping[int, str]) -> list[Started]:
    """Return the blocks that waited for the person, and who began them."""
    found = []
    by: dict[int, str] = {}
    for event in events:
        phase, reason = _phase(event.data), event.data.get("reason")
        if event.kind == "go":
            by[phase] = str(event.data.get("by") or "operator")
        elif event.kind == "phase_end" and reason in ("go", "nobody said go"):
            who = by.get(phase, "operator") if reason == "go" else "nobody"
            block = names.get(phase + 1, "a block")
            found.append(Started(block, number(event.data.get("total_s")), who))
    return found
