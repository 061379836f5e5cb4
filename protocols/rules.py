"""What is compared with what: thresholds, rules, the reward, and how the level is made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from engine.config import Map, Seq, Strict, Text, spot, unknown_key
from engine.units import (
    MAD,
    POWER,
    RATE,
    SD,
    SHARE,
    TIME,
    VOLTAGE,
    described,
    measured,
    mistake,
    number,
    quantity,
    shown,
)

__all__ = [
    "ADAPTING",
    "EDGES",
    "FROM_BASELINE",
    "METHODS",
    "PRESETS",
    "THRESHOLDS",
    "WAYS",
    "Edge",
    "Level",
    "Name",
    "Options",
    "Reward",
    "Rule",
    "Shape",
    "ShortTime",
    "Threshold",
    "fixed_number",
    "named",
    "pointing_at",
]

ShortTime = Annotated[float, *quantity(TIME, 0.0, 60.0)]
Success = Annotated[float, *quantity(SHARE, 0.05, 0.95)]
Step = Annotated[float, *quantity(SHARE, 0.01, 0.25)]
Drift = Annotated[float, *quantity(SHARE, 0.05, 1.0)]
Mads = Annotated[float, *quantity(MAD, -10.0, 10.0)]
Sds = Annotated[float, *quantity(SD, -4.0, 4.0)]
StepMad = Annotated[float, *quantity(MAD, 0.001, 1.0)]
HysteresisMad = Annotated[float, *quantity(MAD, 0.0, 3.0)]
Running = Annotated[float, *quantity(TIME, 60.0, 600.0)]
Settle = Annotated[float, *quantity(TIME, 20.0, 120.0)]
Unit = Literal["", "uV", "uV2", "s"]

METHODS = ("fixed", "percentile", "z", "running", "block", "staircase")
"""How a threshold comes about; `percentile` and `z` are those of the baseline."""
ADAPTING = frozenset({"running", "block", "staircase"})
"""Methods that move the threshold while the person trains."""
FROM_BASELINE = frozenset(METHODS) - {"fixed"}
"""Methods that need the person's rest, also as the place to begin from."""
WAYS = ("fixed", "baseline", "running", "block", "staircase")
"""The key by which a threshold says how it comes about."""
PRESETS = ("auto_reward_fixed_inhibit",)

THRESHOLDS = (
    "`{baseline: percentile, success: 65 %}`, `{fixed: 12 uV2}`, `{baseline: z, plus: 0.5 sd}`, "
    "`{running: percentile, success: 65 %, over: 120 s}`, `{block: percentile, success: 65 %}` or "
    "`{staircase: 0.05 mad, success: 65 %}`"
)
EDGES = "`{baseline: median, plus: -1 mad}` or `{fixed: 3 uV2}`"
RUNNING_S = 120.0
SETTLE_S = 30.0  # of the preset: as long as everything adapts
DRIFT = 0.15
_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def named(value: str) -> str:
    """Return a usable name or raise."""
    if not _NAME.fullmatch(value):
        raise mistake(
            f"{shown(value)} is not a usable name",
            "small letters, digits and underscores, beginning with a letter: `smr_up`",
        )
    return value


Name = Annotated[Text, AfterValidator(named)]


@contextmanager
def pointing_at(value: object) -> Iterator[None]:
    """Let a mistake in one of several values point at that one."""
    try:
        yield
    except PydanticCustomError as error:
        context = error.context or {}
        raise mistake(context["what"], context["allowed"], value) from None


def _options(value: Any) -> Any:
    """Read the options of a plug-in: plain numbers, or quantities in their own unit."""
    if not isinstance(value, Mapping):
        raise mistake(f"options are a mapping, not {described(value)}", "`with: {over_s: 2 s}`")
    kinds = (TIME, RATE, SHARE, VOLTAGE, POWER)
    out: dict[str, float] = {}
    for name, one in value.items():
        with pointing_at(one):
            out[name] = measured(one, kinds)[0] if isinstance(one, str) else number(one)
    return out


Options = Annotated[dict[str, float], BeforeValidator(_options)]


class Threshold(Strict):
    """What a feature is compared with.

    `value` is in the feature's unit, `unit` as written (empty for a bare number); `success` is
    the share of clean time at which the condition alone holds or should hold.
    """

    method: Literal["fixed", "percentile", "z", "running", "block", "staircase"]
    value: float | None = None
    success: Success | None = None
    unit: Unit = ""
    plus_sd: Sds | None = Field(default=None, alias="plus")
    over_s: Running = Field(default=RUNNING_S, alias="over")
    freeze_after_s: Settle | None = Field(default=None, alias="freeze_after")
    step_mad: StepMad | None = None
    drift_guard: Drift = DRIFT

    written: ClassVar[tuple[str, ...]] = (
        "fixed", "baseline", "running", "block", "staircase", "success", "plus", "over",
        "freeze_after", "drift_guard",
    )  # fmt: skip

    @property
    def adapts(self) -> bool:
        """Whether it moves while the person trains."""
        return self.method in ADAPTING

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read one of the ways to give a threshold."""
        if not isinstance(data, Map):
            raise mistake(f"a threshold is a mapping, not {described(data)}", THRESHOLDS)
        ways = [k for k in data if k in WAYS]
        if len(ways) > 1:
            raise mistake(
                f"a threshold cannot be both `{ways[0]}` and `{ways[1]}`", THRESHOLDS,
                data[ways[1]].key,
            )  # fmt: skip
        if not ways:
            which = "either `fixed`, or from the `baseline`, `running`, `block` or `staircase`"
            more = "; `success` alone goes with a `preset`" if "success" in data else ""
            raise mistake(f"a threshold is {which}{more}", THRESHOLDS)
        return _READERS[ways[0]](data, {k: v for k, v in data.items() if k != ways[0]})


def _only(rest: dict[str, Any], way: str, *keys: str) -> None:
    known = ("success", "plus", "over", "freeze_after", "drift_guard")
    for key in rest:
        if key in known and key not in keys:
            wanted = ", ".join(f"`{k}`" for k in keys) or "nothing more"
            raise mistake(f"`{key}` does not go with `{way}`", f"beside it: {wanted}",
                          rest[key].key)  # fmt: skip


def _success(rest: dict[str, Any], way: str) -> None:
    if "success" not in rest:
        raise mistake(f"a {way} threshold needs `success`", THRESHOLDS)


def _fixed(data: Map, rest: dict[str, Any]) -> Map:
    _only(rest, "fixed")
    value, unit = fixed_number(data["fixed"])
    return data.reshaped({"method": "fixed", "value": value, "unit": unit, **rest})


def _baseline(data: Map, rest: dict[str, Any]) -> Map:
    way = data["baseline"]
    if way == "percentile":
        _only(rest, "baseline: percentile", "success")
        _success(rest, "baseline")
        return data.reshaped({"method": "percentile", **rest})
    if way == "z":
        _only(rest, "baseline: z", "plus")
        return data.reshaped({"method": "z", "plus": "0 sd", **rest})
    raise mistake(f"unknown baseline threshold {shown(way)}", "`percentile` or `z`", way)


def _running(data: Map, rest: dict[str, Any]) -> Map:
    _only(rest, "running", "success", "over", "freeze_after", "drift_guard")
    if data["running"] != "percentile":
        raise mistake(
            f"unknown running threshold {shown(data['running'])}", "`percentile`", data["running"]
        )
    _success(rest, "running")
    return data.reshaped({"method": "running", **rest})


def _block(data: Map, rest: dict[str, Any]) -> Map:
    _only(rest, "block", "success", "drift_guard")
    if data["block"] != "percentile":
        raise mistake(
            f"unknown block threshold {shown(data['block'])}", "`percentile`", data["block"]
        )
    _success(rest, "block")
    return data.reshaped({"method": "block", **rest})


def _staircase(data: Map, rest: dict[str, Any]) -> Map:
    _only(rest, "staircase", "success", "drift_guard")
    _success(rest, "staircase")
    return data.reshaped({"method": "staircase", "step_mad": data["staircase"], **rest})


_READERS = {
    "fixed": _fixed,
    "baseline": _baseline,
    "running": _running,
    "block": _block,
    "staircase": _staircase,
}


def fixed_number(value: Any) -> tuple[float, str]:
    """Read the number of a `fixed:` key: with a unit, or bare for a feature without one.

    Raises
    ------
    PydanticCustomError
        Pointing at the value.
    """
    with pointing_at(value):
        if isinstance(value, str):
            return measured(value, (POWER, VOLTAGE, TIME))
        return number(value), ""


class Rule(Strict):
    """A condition on one feature.

    Once it holds it goes on holding until the feature is `hysteresis_mad` baseline MADs on the
    wrong side of the threshold.
    """

    feature: Name
    direction: Literal["above", "below"]
    threshold: Threshold
    hysteresis_mad: HysteresisMad = Field(default=0.0, alias="hysteresis")

    written: ClassVar[tuple[str, ...]] = ("feature", "above", "below", "hysteresis")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `{feature: x, above: {...}}` or `below`."""
        return _directed(data)


def _directed(data: Any) -> Any:
    if not isinstance(data, Map):
        return data
    items = {k: v for k, v in data.items() if k not in ("above", "below")}
    if ("above" in data) == ("below" in data):
        raise mistake(
            "a rule needs exactly one of `above` and `below`",
            "`above: {baseline: percentile, success: 65 %}`",
            spot(data),
        )
    direction = "above" if "above" in data else "below"
    return data.reshaped({**items, "direction": direction, "threshold": data[direction]})


class Shape(Strict):
    """How the difficulty follows success: never within a block, never more than one step.

    A step changes the share of success asked of a threshold from the baseline by `harder` or
    `easier` percentage points, or moves a fixed threshold by that share.
    """

    every: Literal["block", "session"] = "block"
    over: Success = Field(default=0.80, alias="if_success_over")
    harder: Step = 0.05
    under: Success = Field(default=0.50, alias="if_success_under")
    easier: Step = 0.05


class Reward(Rule):
    """The rewarded conditions: how long they must hold together, and the pause after a reward.

    `also` are further conditions on a par with the first; `rule` names how a held condition
    becomes rewards.
    """

    also: tuple[Rule, ...] = ()
    sustain_s: ShortTime = Field(default=0.5, alias="sustain")
    refractory_s: ShortTime = Field(default=2.0, alias="refractory")
    shaping: Shape | None = Field(default=None, alias="shape")
    rule: Text = "sustained"
    options: Options = Field(default_factory=dict, alias="with")

    written: ClassVar[tuple[str, ...]] = (
        "feature", "above", "below", "hysteresis", "all", "sustain", "refractory", "shape", "rule",
        "with",
    )  # fmt: skip

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read one condition, or several under `all`."""
        if not isinstance(data, Map) or "all" not in data:
            return _directed(data)
        rules = data["all"]
        if not isinstance(rules, Seq) or not rules or not isinstance(rules[0], Map):
            raise mistake(
                "`all` lists the conditions that are rewarded together",
                "`all: [{feature: smr, above: {...}}, {feature: theta, below: {...}}]`",
                rules,
            )
        both = [k for k in ("feature", "above", "below", "hysteresis") if k in data]
        if both:
            raise mistake(
                f"`{both[0]}` stands beside `all`", "every condition goes into the list",
                data[both[0]].key,
            )  # fmt: skip
        first = _first(rules[0])
        rest = Seq(rules[1:])
        rest.at, rest.key, rest.name, rest.parent = rules.at, rules.key, rules.name, rules.parent
        items = {k: v for k, v in data.items() if k != "all"}
        return data.reshaped({**first, "also": rest, **items})


def _first(rule: Map) -> Map:
    """Return the first of several conditions, whose keys become the reward's own."""
    rule.allowed = Rule.written
    for key, value in rule.items():
        value.parent = rule
        if key not in Rule.written:
            raise unknown_key(value)
    if "feature" not in rule:
        raise mistake("`feature` is missing", f"keys: {', '.join(Rule.written)}", spot(rule))
    made: Map = _directed(rule)
    return made


class Edge(Strict):
    """One end of the level: a fixed value, or the baseline median plus a number of MADs."""

    fixed: float | None = None
    plus_mad: Mads = 0.0
    unit: Unit = ""

    written: ClassVar[tuple[str, ...]] = ("baseline", "plus", "fixed")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `{baseline: median, plus: -1 mad}` or `{fixed: 3 uV2}`."""
        allowed = EDGES
        if not isinstance(data, Map):
            raise mistake(f"an edge is a mapping, not {described(data)}", allowed)
        rest = {k: v for k, v in data.items() if k not in cls.written}
        if ("fixed" in data) == ("baseline" in data):
            raise mistake("an edge is either `fixed` or from the `baseline`", allowed)
        if "fixed" in data:
            if "plus" in data:
                raise mistake("`plus` goes with `baseline`, not with `fixed`", allowed,
                              data["plus"].key)  # fmt: skip
            value, unit = fixed_number(data["fixed"])
            return data.reshaped({"fixed": value, "unit": unit, **rest})
        of = data["baseline"]
        if of != "median":
            raise mistake(f"unknown baseline edge {shown(of)}", "`median`", of)
        plus = {"plus_mad": data["plus"]} if "plus" in data else {}
        return data.reshaped({**plus, **rest})


class Level(Strict):
    """How a feature becomes the continuous level, 0 at `start` to 1 at `end`.

    `dynamic` is the range that follows the person: it begins at the baseline's 5th and 95th
    percentile, widens when exceeded and else shrinks slowly; `grows` says which way the level goes.
    """

    feature: Name
    start: Edge | None = Field(default=None, alias="from")
    end: Edge | None = Field(default=None, alias="to")
    range: Literal["edges", "dynamic"] = "edges"
    grows: Literal["up", "down"] = "up"
    smooth_s: ShortTime = Field(default=0.3, alias="smooth")

    written: ClassVar[tuple[str, ...]] = ("feature", "from", "to", "range", "grows", "smooth")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read a level between two edges, or `{feature: x, range: dynamic, grows: up}`."""
        if not isinstance(data, Map):
            return data
        example = "`{feature: alpha, range: dynamic, grows: up}`"
        if "range" not in data:
            missing = [k for k in ("from", "to") if k not in data]
            if missing:
                raise mistake(
                    f"`{missing[0]}` is missing in `level`",
                    f"`from: {{baseline: median, plus: -1 mad}}`, or {example}",
                )
            if "grows" in data:
                raise mistake("`grows` goes with `range: dynamic`", example, data["grows"].key)
            return data
        if data["range"] != "dynamic":
            raise mistake(f"unknown range {shown(data['range'])}", "`dynamic`", data["range"])
        for key in ("from", "to"):
            if key in data:
                raise mistake(f"`{key}` does not go with `range: dynamic`", example, data[key])
        return data
