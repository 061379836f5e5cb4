"""A protocol as values: what is measured, rewarded and shown, and for how long.

Attribute names carry their units; the YAML keys do not (there, every quantity has a unit of its
own). `Protocol.model_validate` accepts both, so the resolved JSON in a recording's header builds
the same protocol again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from engine.config import Map, Names, Place, Seq, Strict, Text, Word, YesNo, format_up_to
from engine.units import (
    ACCELERATION,
    PACE,
    RATE,
    SHARE,
    TIME,
    VOLTAGE,
    band,
    described,
    iaf_band,
    is_iaf_band,
    mistake,
    number,
    plain_band,
    quantity,
    shown,
)
from protocols.rules import (
    SETTLE_S,
    WAYS,
    Edge,
    Level,
    Name,
    Options,
    Reward,
    Rule,
    Shape,
    Threshold,
    pointing_at,
)
from protocols.steps import Eyes, SessionStep, Task, Trial, flat_session

__all__ = [
    "FORMAT",
    "BaselineBlock",
    "Condition",
    "Crossover",
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
    "Safety",
    "SessionStep",
    "Shape",
    "Sleep",
    "Sound",
    "Task",
    "Threshold",
    "Trial",
    "Watch",
    "fills_nothing",
]

FORMAT = 2  # of protocol files; see protocols/migrate.py
NEEDS_CLEAN_S = 60.0  # a baseline learned from less is refused (science: pitfall d)

Duration = Annotated[float, *quantity(TIME, 1.0, 4 * 3600.0)]
Smoothing = Annotated[float, *quantity(TIME, 0.01, 30.0)]
Window = Annotated[float, *quantity(TIME, 0.05, 10.0)]
LongWindow = Annotated[float, *quantity(TIME, 0.05, 300.0)]
Delay = Annotated[float, *quantity(TIME, 0.0, 0.3)]
Freeze = Annotated[float, *quantity(TIME, 0.1, 10.0)]
SampleRate = Annotated[float, *quantity(RATE, 1.0, 100_000.0)]
HighPass = Annotated[float, *quantity(RATE, 0.01, 10.0)]
LimitUv = Annotated[float, *quantity(VOLTAGE, 1.0, 5000.0)]
LimitG = Annotated[float, *quantity(ACCELERATION, 0.01, 4.0)]
Band = Annotated[tuple[float, float], *band]
PlainBand = Annotated[tuple[float, float], *plain_band]

_BIPOLAR = re.compile(r"bipolar (\S+) (\S+)")
SPATIAL = ("laplacian", "ssd", "pcc")
USES = ("iaf",)
MAY_BE_NONE = ("preset", "reward", "inhibit", "trial", "watch")
"""Top-level keys for which `none` says the same as leaving them out."""
REFERENCES = ("as recorded", "average", "mastoids", "ears", "laplacian")


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


def _rooms(value: tuple[str, ...]) -> tuple[str, ...]:
    for one in value:
        if one not in ("clinical", "research", "test"):
            raise mistake(f"unknown use of a room {shown(one)}", "clinical, research, test")
    return _some(value)


def _none(value: Any) -> Any:
    return () if isinstance(value, str) and value == "none" else value


NoneOrNames = Annotated[Names, BeforeValidator(_none)]
"""A list that may be empty; `none` says so as well."""


class Evidence(Strict):
    """How strong or weak the record is; shown to the user."""

    grade: Literal["A", "B", "B-", "C+", "C", "X"]
    summary: Text
    refs: NoneOrNames = ()


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


def _each_number(values: Iterable[object]) -> Iterator[float]:
    for value in values:
        with pointing_at(value):
            found = number(value)
        yield found


def _weights(value: Any) -> Any:
    """Read `laplacian`, `ssd`, or weights by site."""
    allowed = (
        "`laplacian`, `ssd`, `pcc` (a source), or weights by site: "
        "`{C3: 1, F3: -0.25, Cz: -0.25, P3: -0.5}`"
    )
    if isinstance(value, Mapping):
        if len(value) < 2:
            raise mistake("a spatial filter weights at least two sites", allowed, value)
        return dict(zip(map(str, value), _each_number(value.values()), strict=True))
    if value in SPATIAL:
        return str(value)
    raise mistake(f"unknown spatial filter {shown(value)}", allowed)


Spatial = Annotated[str | dict[str, float], BeforeValidator(_weights)]


def _numbers(value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise mistake(f"a list of numbers is wanted here, not {described(value)}", "`[1, -0.5]`")
    return tuple(_each_number(value))


def _within(value: Any) -> float:
    found = number(value)
    if not 0.1 <= found <= 5.0:
        raise mistake(f"{shown(value)} is no range of z scores", "from 0.1 to 5")
    return found


Numbers = Annotated[tuple[float, ...], BeforeValidator(_numbers)]
Within = Annotated[float, BeforeValidator(_within)]


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
    weights: Numbers = ()
    within: Within | None = None
    norms: Text | None = None
    norm: tuple[float, float] | None = None  # mean and SD out of the norms, on our scale
    options: Options = Field(default_factory=dict, alias="with")

    written: ClassVar[tuple[str, ...]] = (
        "kind", "at", "of", "band", "total", "smooth", "window", "reference", "delay", "target",
        "fit", "spatial", "weights", "within", "norms", "with",
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


class Sound(Strict):
    """What is heard; names from the registry of sounds."""

    on_reward: Text | None = None
    continuous: Text | None = None
    cues: Literal["none", "tones"] = "tones"


class Breath(Strict):
    """The pace of the picture `breath`: in and out, and how much of it is in.

    4.5 to 6.5 breaths a minute is where heart rate and breath swing together in adults (science:
    P19), out longer than in.
    """

    rate_per_min: Annotated[float, *quantity(PACE, 4.5, 6.5)] = Field(default=6.0, alias="rate")
    in_share: Annotated[float, *quantity(SHARE, 0.3, 0.6)] = Field(default=0.4, alias="in")


class Feedback(Strict):
    """What the person perceives."""

    level: Level
    picture: Text
    breath: Breath | None = None
    sound: Sound = Sound()

    @property
    def picture_options(self) -> tuple[tuple[str, float], ...]:
        """What the picture is told beside the level."""
        if self.picture != "breath":
            return ()
        breath = self.breath or Breath()
        return ("rate_per_min", breath.rate_per_min), ("in_share", breath.in_share)


class Safety(Strict):
    """Who must be there, where it may run, and for whom it is not."""

    clinician: Literal["present", "not needed"] = "not needed"
    rooms: Annotated[Names, AfterValidator(_rooms)] = ("clinical", "research", "test")
    exclude: NoneOrNames = ()


class Sleep(Strict):
    """Guard against sleep: both features beyond rest for a minute give a soft tone.

    Theta above its resting median and delta above twice its resting size (science: P5).
    """

    theta: Name
    delta: Name


class Crossover(Strict):
    """How long theta amplitude exceeds alpha amplitude; both in uV."""

    theta: Name
    alpha: Name


class Watch(Strict):
    """What is watched beside the reward, for people and the report."""

    sleep: Sleep | None = None
    crossover: Crossover | None = None


class Protocol(Strict):
    """A whole protocol.

    Without a `reward` nothing is rewarded: the person sees or hears the level alone.
    """

    format: Annotated[int, *format_up_to(FORMAT)]
    name: Name
    title: Text
    indication: NoneOrNames = ()
    evidence: Evidence
    summary: Text
    cautions: NoneOrNames = ()
    safety: Safety = Safety()
    needs: Needs
    condition: Condition
    features: dict[Name, Feature]
    gates: Gates = Gates()
    baseline: tuple[BaselineBlock, ...]
    preset: Literal["auto_reward_fixed_inhibit"] | None = None
    reward: Reward | None = None
    inhibit: tuple[Rule, ...] = ()
    trial: Trial | None = None
    watch: Watch = Watch()
    feedback: Feedback
    session: Annotated[tuple[SessionStep, ...], BeforeValidator(flat_session)]

    newest_format: ClassVar[int] = FORMAT

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Leave out what is `none`, and write out what a preset stands for."""
        if not isinstance(data, Map):
            return data
        absent = [k for k in MAY_BE_NONE if isinstance(data.get(k), Word) and data[k] == "none"]
        if absent:
            data = data.reshaped({k: v for k, v in data.items() if k not in absent})
        if not _has_preset(data):
            return data
        return data.reshaped({**data, **_preset(data)})

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        """Return the keys that may be written in YAML; `extends` is followed before."""
        return (*super().yaml_keys(), "extends")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The reward's conditions first, then the inhibits."""
        if self.reward is None:
            return ()
        return (self.reward, *self.reward.also, *self.inhibit)

    @property
    def trained(self) -> str:
        """The feature that is trained: rewarded, of the trials, or else shown."""
        if self.reward is not None:
            return self.reward.feature
        return self.feedback.level.feature if self.trial is None else self.trial.feature

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site that a feature uses, in order of first use."""
        seen: dict[str, None] = {}
        for feature in self.features.values():
            seen.update(dict.fromkeys(feature.at))
        return tuple(seen)


def fills_nothing(root: Map) -> bool:
    """Return whether no rule, as written, leaves it to a preset how its threshold comes about."""
    reward, inhibit = root.get("reward"), root.get("inhibit")
    rules = [*(inhibit if isinstance(inhibit, Seq) else ())]
    if isinstance(reward, Map):
        several = reward.get("all")
        rules += several if isinstance(several, Seq) else [reward]
    return not any(_left_open(r, way) for r in rules for way in ("above", "below"))


def _left_open(rule: object, way: str) -> bool:
    given = rule.get(way) if isinstance(rule, Map) else None
    return isinstance(given, Map) and "success" in given and not set(given) & set(WAYS)


def _has_preset(data: Map) -> bool:
    # A preset that is misspelt is one mistake, told there, and not one at each threshold too.
    misspelt = [k[1:] for k in data if k.startswith("?")]
    return "preset" in data or bool(get_close_matches("preset", misspelt, n=1))


def _preset(data: Map) -> dict[str, Any]:
    """Return reward and inhibits with the thresholds that the preset fills in."""
    out: dict[str, Any] = {}
    reward, inhibit = data.get("reward"), data.get("inhibit")
    if isinstance(reward, Map):
        rewarded = _filled(reward, {})
        if isinstance(reward.get("all"), Seq):
            rewarded = reward.reshaped({**reward, "all": _each(reward["all"], {})})
        out["reward"] = rewarded
    if isinstance(inhibit, Seq):
        frozen = {"over": "60 s", "freeze_after": f"{SETTLE_S:g} s"}
        out["inhibit"] = _each(inhibit, frozen)
    return out


def _each(rules: Seq, more: Mapping[str, str]) -> Seq:
    made = Seq(_filled(r, more) if isinstance(r, Map) else r for r in rules)
    made.at, made.key, made.name, made.parent = rules.at, rules.key, rules.name, rules.parent
    return made


def _filled(rule: Map, more: Mapping[str, str]) -> Map:
    """Return a rule with a running threshold where it does not say how one comes about."""
    out: dict[str, Any] = dict(rule)
    for way in ("above", "below"):
        given = rule.get(way)
        if _left_open(rule, way) and isinstance(given, Map):
            words = {"running": "percentile", **more}
            added = {k: _word(v, given.at) for k, v in words.items()}
            out[way] = given.reshaped({**added, **given})
    return rule.reshaped(out)


def _word(text: str, at: Place) -> Word:
    word = Word(text)
    word.at = at
    return word
