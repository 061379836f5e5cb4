"""A protocol as values: what is measured, rewarded and shown, and for how long.

Attribute names carry their units; the YAML keys do not (there, every quantity has a unit of its
own). `Protocol.model_validate` accepts both, so the resolved JSON in a recording's header builds
the same protocol again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from engine.config import Format, Map, Names, Seq, Strict, Text, Word, YesNo
from engine.units import (
    ACCELERATION,
    MAD,
    POWER,
    RATE,
    SHARE,
    TIME,
    VOLTAGE,
    band,
    described,
    iaf_band,
    is_iaf_band,
    measured,
    mistake,
    number,
    plain_band,
    quantity,
    shown,
)

__all__ = [
    "BaselineBlock",
    "Condition",
    "Edge",
    "Evidence",
    "Feature",
    "Feedback",
    "GateSetting",
    "Gates",
    "Level",
    "MotionSetting",
    "Needs",
    "Protocol",
    "Reward",
    "Rule",
    "SessionStep",
    "Sound",
    "Threshold",
]

MAX_STEPS = 200  # of an expanded session: three hours of one-minute blocks
NEEDS_CLEAN_S = 60.0  # a baseline learned from less is refused (science: pitfall d)

Duration = Annotated[float, *quantity(TIME, 1.0, 4 * 3600.0)]
ShortTime = Annotated[float, *quantity(TIME, 0.0, 60.0)]
Smoothing = Annotated[float, *quantity(TIME, 0.01, 30.0)]
Window = Annotated[float, *quantity(TIME, 0.05, 10.0)]
LongWindow = Annotated[float, *quantity(TIME, 0.05, 300.0)]
Delay = Annotated[float, *quantity(TIME, 0.0, 0.3)]
Freeze = Annotated[float, *quantity(TIME, 0.1, 10.0)]
SampleRate = Annotated[float, *quantity(RATE, 1.0, 100_000.0)]
HighPass = Annotated[float, *quantity(RATE, 0.01, 10.0)]
Success = Annotated[float, *quantity(SHARE, 0.05, 0.95)]
LimitUv = Annotated[float, *quantity(VOLTAGE, 1.0, 5000.0)]
LimitG = Annotated[float, *quantity(ACCELERATION, 0.01, 4.0)]
Mads = Annotated[float, *quantity(MAD, -10.0, 10.0)]
Band = Annotated[tuple[float, float], *band]
PlainBand = Annotated[tuple[float, float], *plain_band]
Eyes = Literal["open", "closed"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
_BIPOLAR = re.compile(r"bipolar (\S+) (\S+)")
THRESHOLDS = "`{baseline: percentile, success: 65 %}` or `{fixed: 12 uV2}`"
EDGES = "`{baseline: median, plus: -1 mad}` or `{fixed: 3 uV2}`"
SPATIAL = ("laplacian", "ssd")
USES = ("iaf",)
REFERENCES = ("as recorded", "average", "mastoids", "ears", "laplacian")


def _named(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise mistake(
            f"{shown(value)} is not a usable name",
            "small letters, digits and underscores, beginning with a letter: `smr_up`",
        )
    return value


def _references(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if one not in REFERENCES and not _BIPOLAR.fullmatch(one):
            raise mistake(
                f"unknown reference {shown(one)}", ", ".join((*REFERENCES, "bipolar A B"))
            )
    if not value:
        raise mistake("no reference is given", ", ".join((*REFERENCES, "bipolar A B")))
    return value


def _some(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise mistake("the list is empty")
    return value


def _used(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if one not in USES:
            raise mistake(f"a baseline is not recorded for {shown(one)}", "`for: [iaf]`")
    return value


Name = Annotated[Text, AfterValidator(_named)]


class Evidence(Strict):
    """How strong or weak the record is; shown to the user."""

    grade: Literal["A", "B", "B-", "C+", "C", "X"]
    summary: Text
    refs: Names = ()


class Needs(Strict):
    """What a stream must offer."""

    channels: Annotated[Names, AfterValidator(_some)]
    rate_hz: SampleRate = Field(alias="rate")


class Condition(Strict):
    """What is done to the signal before anything is measured."""

    reference: Annotated[Names, AfterValidator(_references)]
    high_pass_hz: HighPass = Field(default=1.0, alias="high_pass")
    mains: Literal["notch", "leave"] = "notch"
    eog: Literal["leave", "regress"] = "leave"


def _weights(value: Any) -> Any:
    """Read `laplacian`, `ssd`, or weights by site."""
    allowed = "`laplacian`, `ssd`, or weights by site: `{C3: 1, F3: -0.25, Cz: -0.25, P3: -0.5}`"
    if isinstance(value, Mapping):
        if len(value) < 2:
            raise mistake("a spatial filter weights at least two sites", allowed, value)
        return {str(k): number(v) for k, v in value.items()}
    if value in SPATIAL:
        return str(value)
    raise mistake(f"unknown spatial filter {shown(value)}", allowed)


Spatial = Annotated[str | dict[str, float], BeforeValidator(_weights)]


class Feature(Strict):
    """One named number: a kind from the registry and its parameters.

    A band around the individual alpha frequency is kept twice: `iaf` holds its offsets, `band_hz`
    where it lies at 10 Hz. `fit` None means the default (see `protocols.load.fits`).
    """

    kind: Text
    at: Names = ()
    of: Names = ()
    band_hz: Band | None = Field(default=None, alias="band")
    total_hz: PlainBand | None = Field(default=None, alias="total")
    smooth_s: Smoothing | None = Field(default=None, alias="smooth")
    window_s: LongWindow | None = Field(default=None, alias="window")
    reference_s: Window | None = Field(default=None, alias="reference")
    delay_s: Delay | None = Field(default=None, alias="delay")
    target: Literal["band", "rhythm"] | None = None
    fit: Literal["session", "course", "fixed"] | None = None
    spatial: Spatial | None = None
    iaf: Annotated[tuple[float, float] | None, *iaf_band] = None

    written: ClassVar[tuple[str, ...]] = (
        "kind", "at", "of", "band", "total", "smooth", "window", "reference", "delay", "target",
        "fit", "spatial",
    )  # fmt: skip

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Keep the offsets of a band around the individual alpha frequency."""
        if isinstance(data, Map) and is_iaf_band(data.get("band")):
            return data.reshaped({**data, "iaf": data["band"]})
        return data


def _switched(data: Any, example: str) -> Map:
    """Read a gate: `on`, `off` or a mapping such as `example`."""
    if isinstance(data, Map):
        return data
    if data in ("on", "off") and isinstance(data, Word):
        made = Map(on=data)
        made.at, made.key, made.name = data.at, data.key, data.name
        return made
    raise mistake(
        f"a gate is `on`, `off` or a mapping, not {described(data)}",
        f"`on`, `off`, or `{example}`",
    )


class GateSetting(Strict):
    """One gate. `at` None means every site of the protocol's features.

    For the blink gate `at` None means Fp1, Fp2 and EOG, for the saccade gate F7 against F8 and
    EOG that is not vertical, as far as the stream has them.
    """

    on: YesNo = True
    at: Names | None = None
    limit_uv: LimitUv | None = Field(default=None, alias="limit")
    after_s: Freeze | None = Field(default=None, alias="freeze")

    written: ClassVar[tuple[str, ...]] = ("at", "limit", "freeze")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `on`, `off` or a mapping."""
        return _switched(data, "{at: [F3, F4], limit: 75 uV, freeze: 500 ms}")


class MotionSetting(Strict):
    """The gate of head motion; it looks at the accelerometer, as far as the stream has one."""

    on: YesNo = True
    limit_g: LimitG | None = Field(default=None, alias="limit")
    after_s: Freeze | None = Field(default=None, alias="freeze")

    written: ClassVar[tuple[str, ...]] = ("limit", "freeze")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `on`, `off` or a mapping."""
        return _switched(data, "{limit: 0.1 g, freeze: 500 ms}")


def _across(gate: GateSetting) -> GateSetting:
    if gate.at is not None and not 1 <= len(gate.at) <= 2:
        raise mistake(
            f"a saccade is seen between two sites or at one EOG, not at {len(gate.at)}",
            "`{at: [F7, F8]}` or `{at: [HEOG]}`",
            gate.at,
        )
    return gate


class Gates(Strict):
    """What makes the signal untrustworthy at a moment; each on unless switched off."""

    blink: GateSetting = GateSetting()
    amplitude: GateSetting = GateSetting()
    step: GateSetting = GateSetting()
    muscle: GateSetting = GateSetting()
    saccade: Annotated[GateSetting, AfterValidator(_across)] = GateSetting()
    motion: MotionSetting = MotionSetting()


class BaselineBlock(Strict):
    """A recording at rest from which the listed features' resting values are learned."""

    name: Name
    lasts_s: Duration = Field(alias="lasts")
    eyes: Eyes
    needs_clean_s: Annotated[float, *quantity(TIME, 0.0, 4 * 3600.0)] = Field(
        default_factory=lambda done: min(done["lasts_s"], max(NEEDS_CLEAN_S, done["lasts_s"] / 2)),
        alias="needs_clean",
    )
    learn: Names = ()
    uses: Annotated[Names, AfterValidator(_used)] = Field(default=(), alias="for")


class Threshold(Strict):
    """What a feature is compared with.

    `value` is in the feature's unit, `unit` as written (empty for a bare number); `success` is
    the share of clean baseline time at which the condition alone would hold.
    """

    method: Literal["fixed", "percentile"]
    value: float | None = None
    success: Success | None = None
    unit: Literal["", "uV", "uV2", "s"] = ""

    written: ClassVar[tuple[str, ...]] = ("baseline", "success", "fixed")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `{fixed: 12 uV2}` or `{baseline: percentile, success: 65 %}`."""
        allowed = THRESHOLDS
        if not isinstance(data, Map):
            raise mistake(f"a threshold is a mapping, not {described(data)}", allowed)
        rest = {k: v for k, v in data.items() if k not in cls.written}
        if ("fixed" in data) == ("baseline" in data):
            raise mistake("a threshold is either `fixed` or from the `baseline`", allowed)
        if "fixed" in data:
            if "success" in data:
                raise mistake("`success` goes with `baseline`, not with `fixed`", allowed,
                              data["success"])  # fmt: skip
            value, unit = fixed_number(data["fixed"])
            return data.reshaped({"method": "fixed", "value": value, "unit": unit, **rest})
        method = data["baseline"]
        if method != "percentile":
            raise mistake(f"unknown baseline threshold {shown(method)}", "`percentile`", method)
        if "success" not in data:
            raise mistake("a baseline threshold needs `success`", allowed)
        return data.reshaped({"method": "percentile", "success": data["success"], **rest})


def fixed_number(value: Any) -> tuple[float, str]:
    """Read the number of a `fixed:` key: with a unit, or bare for a feature without one.

    Raises
    ------
    PydanticCustomError
        Pointing at the value.
    """
    try:
        if isinstance(value, str):
            return measured(value, (POWER, VOLTAGE, TIME))
        return number(value), ""
    except PydanticCustomError as error:
        context = error.context or {}
        raise mistake(context["what"], context["allowed"], value) from None


class Rule(Strict):
    """A condition on one feature."""

    feature: Name
    direction: Literal["above", "below"]
    threshold: Threshold

    written: ClassVar[tuple[str, ...]] = ("feature", "above", "below")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `{feature: x, above: {...}}` or `below`."""
        if not isinstance(data, Map):
            return data
        items = {k: v for k, v in data.items() if k not in ("above", "below")}
        if ("above" in data) == ("below" in data):
            raise mistake(
                "a rule needs exactly one of `above` and `below`",
                "`above: {baseline: percentile, success: 65 %}`",
            )
        direction = "above" if "above" in data else "below"
        return data.reshaped({**items, "direction": direction, "threshold": data[direction]})


class Reward(Rule):
    """The rewarded condition: how long it must hold, and the pause after a reward."""

    sustain_s: ShortTime = Field(default=0.5, alias="sustain")
    refractory_s: ShortTime = Field(default=2.0, alias="refractory")

    written: ClassVar[tuple[str, ...]] = ("feature", "above", "below", "sustain", "refractory")


class Edge(Strict):
    """One end of the level: a fixed value, or the baseline median plus a number of MADs."""

    fixed: float | None = None
    plus_mad: Mads = 0.0
    unit: Literal["", "uV", "uV2", "s"] = ""

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
                              data["plus"])  # fmt: skip
            value, unit = fixed_number(data["fixed"])
            return data.reshaped({"fixed": value, "unit": unit, **rest})
        of = data["baseline"]
        if of != "median":
            raise mistake(f"unknown baseline edge {shown(of)}", "`median`", of)
        plus = {"plus_mad": data["plus"]} if "plus" in data else {}
        return data.reshaped({**plus, **rest})


class Level(Strict):
    """How a feature becomes the continuous level, 0 at `start` to 1 at `end`."""

    feature: Name
    start: Edge = Field(alias="from")
    end: Edge = Field(alias="to")
    smooth_s: ShortTime = Field(default=0.3, alias="smooth")


class Sound(Strict):
    """What is heard; names from the registry of sounds."""

    on_reward: Text | None = None
    continuous: Text | None = None
    cues: Literal["none", "tones"] = "tones"


class Feedback(Strict):
    """What the person perceives."""

    level: Level
    picture: Text
    sound: Sound = Sound()


STEP_KINDS = ("train", "rest", "transfer")


class SessionStep(Strict):
    """One step of the session, as written; `repeat` is already expanded."""

    kind: Literal["baseline", "train", "rest", "transfer"]
    lasts_s: Annotated[float, *quantity(TIME, 0.0, 4 * 3600.0)] = Field(default=0.0, alias="lasts")
    say: Text | None = None
    name: Name | None = None
    eyes: Eyes | None = None

    written: ClassVar[tuple[str, ...]] = (*STEP_KINDS, "say", "name", "eyes")

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Read `baseline` or `{train: 180 s, say: "..."}`."""
        allowed = "`baseline`, `{train: 180 s}`, `{rest: 30 s}`, `{transfer: 180 s}` or `repeat`"
        if isinstance(data, Word) and data == "baseline":
            made = Map(kind=data)
            made.at, made.key, made.name = data.at, data.key, data.name
            return made
        if not isinstance(data, Map):
            raise mistake(f"{shown(data)} is no step of a session", allowed)
        kinds = [k for k in STEP_KINDS if k in data]
        if len(kinds) != 1:
            raise mistake("a step is exactly one of train, rest and transfer", allowed)
        rest = {k: v for k, v in data.items() if k not in STEP_KINDS}
        return data.reshaped({"kind": kinds[0], "lasts": data[kinds[0]], **rest})


def _flat(session: Any) -> Any:
    """Expand every `repeat` of a session as written."""
    if not isinstance(session, Seq):
        return session
    flat = Seq(_expanded(session, 1))
    flat.at, flat.key, flat.name = session.at, session.key, session.name
    return flat


def _expanded(steps: Seq, times: int) -> list[Any]:
    out: list[Any] = []
    for step in steps:
        if isinstance(step, Map) and "repeat" in step:
            out += _repeated(step, times)
        else:
            out.append(step)
        if len(out) * times > MAX_STEPS:
            raise mistake(
                f"the session has more than {MAX_STEPS} steps", "use longer blocks", steps
            )
    return out


def _repeated(step: Map, times: int) -> list[Any]:
    allowed = "`{repeat: 6, blocks: [{train: 180 s}, {rest: 30 s}]}`"
    unknown = [k for k in step if k not in ("repeat", "blocks")]
    if unknown:
        raise mistake(f"`{unknown[0]}` does not belong beside `repeat`", allowed, step)
    count, blocks = step["repeat"], step.get("blocks")
    if not isinstance(count, int) or getattr(count, "flag", False) or not 1 <= count <= MAX_STEPS:
        raise mistake(f"repeat: {described(count)} is not a number of times", allowed, count)
    if not isinstance(blocks, Seq) or not blocks:
        raise mistake("`repeat` needs a list of `blocks`", allowed, step)
    return _expanded(blocks, times * count) * count


class Protocol(Strict):
    """A whole protocol."""

    format: Format
    name: Name
    title: Text
    evidence: Evidence
    summary: Text
    cautions: Names = ()
    needs: Needs
    condition: Condition
    features: dict[Name, Feature]
    gates: Gates = Gates()
    baseline: tuple[BaselineBlock, ...]
    reward: Reward
    inhibit: tuple[Rule, ...] = ()
    feedback: Feedback
    session: Annotated[tuple[SessionStep, ...], BeforeValidator(_flat)]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The reward rule first, then the inhibits."""
        return (self.reward, *self.inhibit)

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site that a feature uses, in order of first use."""
        seen: dict[str, None] = {}
        for feature in self.features.values():
            seen.update(dict.fromkeys(feature.at))
        return tuple(seen)
