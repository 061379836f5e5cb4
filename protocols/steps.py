"""The session as written: blocks, repetitions, blocks in random order, trials."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from engine.config import Map, Seq, Strict, Text, Whole, Word, YesNo, spot
from engine.units import TIME, VOLTAGE, described, mistake, quantity
from protocols.rules import Name, ShortTime, Threshold

__all__ = [
    "MAX_STEPS",
    "STEP_KINDS",
    "Eyes",
    "Reject",
    "SessionStep",
    "Task",
    "Trial",
    "flat_session",
]

MAX_STEPS = 200  # of an expanded session: three hours of one-minute blocks
MAX_TRIALS = 200  # of one block
STEP_KINDS = ("train", "rest", "transfer", "post")

Eyes = Literal["open", "closed"]
Lasts = Annotated[float, *quantity(TIME, 0.0, 4 * 3600.0)]
Seconds = Annotated[float, *quantity(TIME, 0.5, 60.0)]
RejectUv = Annotated[float, *quantity(VOLTAGE, 10.0, 1000.0)]

_ALLOWED = (
    "`baseline`, `{train: 180 s}`, `{trials: 40}`, `{transfer: 180 s}`, `{rest: 30 s}`, "
    "`{post: 120 s}`, `{repeat: 6, blocks: [...]}` or `{shuffle: [...]}`"
)


_REPEAT = "`{repeat: 6, blocks: [{train: 180 s}, {rest: 30 s}]}`"
_SHUFFLE = "`{shuffle: [{train: 180 s, name: one}, {train: 180 s, name: two}]}`"


def _trials(value: int) -> int:
    if not 2 <= value <= MAX_TRIALS:
        raise mistake(f"a block of {value} trials is out of range", f"from 2 to {MAX_TRIALS}")
    return value


def _question(value: Any) -> Any:
    if isinstance(value, str) and value.strip().casefold() in ("yes", "no", "on", "off", "none"):
        raise mistake(
            f"`ask` is the question itself, not `{value.strip()}`",
            '`ask: "What did you do?"`; leave it out where nothing is asked',
        )
    return value


Question = Annotated[Text, BeforeValidator(_question)]


class SessionStep(Strict):
    """One step of the session, as written; `repeat` and `shuffle` are already expanded.

    `post` is a resting measurement after the training. A `self_paced` block begins when the person
    or the operator says so. `ask` is put to the person after the block.
    """

    kind: Literal["baseline", "train", "rest", "transfer", "post"]
    lasts_s: Lasts = Field(default=0.0, alias="lasts")
    trials: Annotated[Whole, AfterValidator(_trials)] | None = None
    say: Text | None = None
    name: Name | None = None
    eyes: Eyes | None = None
    self_paced: YesNo = False
    ask: Question | None = None
    shuffled: tuple[int, int] | None = None  # which shuffle, which of its parts

    written: ClassVar[tuple[str, ...]] = (
        *STEP_KINDS, "trials", "feedback", "say", "name", "eyes", "self_paced", "ask", "repeat",
        "blocks", "shuffle",
    )  # fmt: skip

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `baseline`, `{train: 180 s, say: "..."}` or `{trials: 40, feedback: no}`."""
        if isinstance(data, Word) and data == "baseline":
            made = Map(kind=data)
            made.at, made.key, made.name = data.at, data.key, data.name
            return made
        if not isinstance(data, Map):
            raise mistake(f"{described(data)} is no step of a session", _ALLOWED)
        if "blocks" in data:  # `repeat` and `shuffle` are expanded before
            raise mistake("`blocks` goes with `repeat`", _REPEAT, data["blocks"].key)
        kinds = [k for k in (*STEP_KINDS, "trials") if k in data]
        if len(kinds) != 1:
            raise mistake(
                "a step is exactly one of train, trials, rest, transfer and post", _ALLOWED
            )
        rest = {k: v for k, v in data.items() if k not in (*STEP_KINDS, "feedback")}
        if data.tag is not None:
            rest["shuffled"] = data.tag
        if kinds == ["trials"]:
            return data.reshaped({"kind": _fed_back(data), **rest})
        if "feedback" in data:
            raise mistake("`feedback` goes with `trials`", "`{transfer: 180 s}`",
                          data["feedback"].key)  # fmt: skip
        return data.reshaped({"kind": kinds[0], "lasts": data[kinds[0]], **rest})


def _fed_back(data: Map) -> str:
    given = data.get("feedback", "yes")
    if given in ("yes", "on", "no", "off"):
        return "train" if given in ("yes", "on") else "transfer"
    if getattr(given, "flag", False):
        return "train" if given else "transfer"
    raise mistake(f"yes or no is wanted here, not {described(given)}", "`feedback: no`", given)


# ---------------------------------------------------------------- trials


class Task(Strict):
    """One of the tasks of a trial: which way the feature should go."""

    name: Name
    direction: Literal["above", "below"]
    threshold: Threshold
    say: Text

    written: ClassVar[tuple[str, ...]] = ("name", "above", "below", "say")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `{name: negativity, below: {fixed: 0 uV}, say: "..."}`."""
        if not isinstance(data, Map):
            return data
        if ("above" in data) == ("below" in data):
            raise mistake(
                "a task needs exactly one of `above` and `below`",
                '`{name: negativity, below: {fixed: 0 uV}, say: "Activate."}`',
            )
        way = "above" if "above" in data else "below"
        rest = {k: v for k, v in data.items() if k not in ("above", "below")}
        return data.reshaped({**rest, "direction": way, "threshold": data[way]})


class Reject(Strict):
    """When a trial does not count: the feature is further than this from its trial baseline."""

    above_uv: RejectUv = Field(default=200.0, alias="above")


def _tasks(value: tuple[Task, ...]) -> tuple[Task, ...]:
    if not value:
        raise mistake("the list is empty")
    names = [t.name for t in value]
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if twice:
        raise mistake(f"two tasks are called `{twice[0]}`")
    return value


class Trial(Strict):
    """A trial: a short baseline, then a task; the feature counts from that baseline.

    The level moves with it during the task; the mean over the last `judge_s` decides about the
    reward, which is shown for `reward_s`; then `pause_s` pass. The tasks come equally often, in
    random order.
    """

    feature: Name
    baseline_s: Seconds = Field(default=2.0, alias="baseline")
    task_s: Seconds = Field(default=6.0, alias="task")
    judge_s: Seconds = Field(default=2.0, alias="judge")
    reward_s: ShortTime = Field(default=1.5, alias="reward")
    pause_s: ShortTime = Field(default=1.0, alias="pause")
    full_uv: RejectUv = Field(default=20.0, alias="full")
    tasks: Annotated[tuple[Task, ...], AfterValidator(_tasks)]
    reject: Reject = Reject()

    @property
    def lasts_s(self) -> float:
        """Length of one trial."""
        return self.baseline_s + self.task_s + self.reward_s + self.pause_s


# ---------------------------------------------------------------- repetitions


def flat_session(session: Any) -> Any:
    """Expand every `repeat` and `shuffle` of a session as written."""
    if not isinstance(session, Seq):
        return session
    steps: list[Any] = []
    _expand(session, steps, [0], (), None)
    flat = Seq(steps)
    flat.at, flat.key, flat.name = session.at, session.key, session.name
    flat.parent = session.parent
    return flat


def _expand(
    steps: Seq,
    out: list[Any],
    groups: list[int],
    within: tuple[Map, ...],
    mark: tuple[int, int] | None,
) -> None:
    """Add the steps to `out`; `within` are the repetitions they stand in, the outermost first."""
    for step in steps:
        if isinstance(step, Map) and "repeat" in step:
            count, blocks = _repeated(step)
            for _ in range(count):
                _expand(blocks, out, groups, (*within, step), mark)
        elif isinstance(step, Map) and "shuffle" in step:
            if mark is not None:
                raise mistake("a `shuffle` stands within another", "one is enough", spot(step))
            groups[0] += 1
            for k, part in enumerate(_shuffled(step)):
                one = part if isinstance(part, Seq) else Seq([part])
                _expand(one, out, groups, within, (groups[0], k))
        elif mark is not None and (
            step == "baseline" or (isinstance(step, Map) and "post" in step)
        ):
            what = "`baseline`" if step == "baseline" else "`post`"
            raise mistake(f"{what} has its own place and cannot be shuffled", _SHUFFLE, spot(step))
        elif mark is not None and isinstance(step, Map):
            marked = step.reshaped(step)
            marked.tag = mark
            out.append(marked)
        else:
            out.append(step)
        if len(out) > MAX_STEPS:
            raise _too_many(within)


def _too_many(within: tuple[Map, ...]) -> PydanticCustomError:
    """Return that there are too many steps, at the repetition that makes them so many."""
    alone = [step for step in within if _n_steps(step) > MAX_STEPS]
    # Where none alone is too long, it is the one that goes over together with what is before it.
    found = [*within[:1], *alone][-1:]
    place = spot(found[0]["repeat"]) if found else None
    return mistake(f"the session has more than {MAX_STEPS} steps", "fewer and longer blocks", place)


def _n_steps(step: Any) -> int:
    """Return how many steps one stands for; more than allowed counts as one more than allowed."""
    if isinstance(step, Seq):
        return min(sum(_n_steps(s) for s in step), MAX_STEPS + 1)
    if not isinstance(step, Map):
        return 1
    if isinstance(step.get("shuffle"), Seq):
        return _n_steps(step["shuffle"])
    if "repeat" not in step or not isinstance(step.get("blocks"), Seq):
        return 1
    count = step["repeat"]
    return min(count * _n_steps(step["blocks"]), MAX_STEPS + 1) if isinstance(count, int) else 1


def _repeated(step: Map) -> tuple[int, Seq]:
    unknown = [k for k in step if k not in ("repeat", "blocks")]
    if unknown:
        raise mistake(f"`{unknown[0]}` does not belong beside `repeat`", _REPEAT,
                      step[unknown[0]].key)  # fmt: skip
    count, blocks = step["repeat"], step.get("blocks")
    if not isinstance(count, int) or getattr(count, "flag", False) or not 1 <= count <= MAX_STEPS:
        raise mistake(f"repeat: {described(count)} is not a number of times", _REPEAT, spot(count))
    if not isinstance(blocks, Seq) or not blocks:
        raise mistake("`repeat` needs a list of `blocks`", _REPEAT,
                      spot(step if blocks is None else blocks))  # fmt: skip
    return int(count), blocks


def _shuffled(step: Map) -> Seq:
    unknown = [k for k in step if k != "shuffle"]
    if unknown:
        raise mistake(f"`{unknown[0]}` does not belong beside `shuffle`", _SHUFFLE,
                      step[unknown[0]].key)  # fmt: skip
    parts = step["shuffle"]
    if not isinstance(parts, Seq) or len(parts) < 2:
        raise mistake("`shuffle` needs a list of two blocks or more", _SHUFFLE, spot(parts))
    for part in parts:
        if isinstance(part, Seq) and not part:
            raise mistake("a list of blocks is empty", _SHUFFLE, spot(part))
    return parts
