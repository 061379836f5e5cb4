"""The JSON schema of protocol files, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config import Strict
from protocols.model import Protocol
from protocols.steps import MAX_TRIALS, STEP_KINDS

__all__ = ["schema", "written"]


def _mapping(
    properties: dict[str, Any], required: tuple[str, ...], text: str, **more: Any
) -> dict[str, Any]:
    return {
        "type": "object",
        "description": text,
        "additionalProperties": False,
        "properties": properties,
        **({"required": list(required)} if required else {}),
        **more,
    }


def _either(*keys: str) -> dict[str, Any]:
    return {"oneOf": [{"required": [k]} for k in keys]}


_FIXED = {
    "type": ["string", "number"],
    "description": "in the feature's unit: `12 uV2`; bare for a ratio",
    "examples": ["12 uV2", 0.2],
}
_THRESHOLD = {"$ref": "#/$defs/Threshold"}
_NONE = {"const": "none"}
_OPTIONS = {
    "type": "object",
    "description": "options of a kind or a rule from another package",
    "additionalProperties": {"type": ["number", "string"]},
}
REMOVABLE = (
    "indication", "cautions", "safety", "gates", "reward", "inhibit", "trial", "watch",
)  # fmt: skip
"""What a variant may leave out of what it extends, by `none`."""


def schema() -> dict[str, Any]:
    """Return the schema of a protocol file as it is written (not as it is resolved)."""
    return written(Protocol, _shaped)


def written(
    model: type[Strict], reshape: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Return the schema of a model's YAML; `reshape` corrects what differs in shape."""
    made = model.model_json_schema(by_alias=True)
    if reshape is not None:
        reshape(made)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_plain(made)}


def _shaped(made: dict[str, Any]) -> None:
    defs = made["$defs"]
    _shape_rules(defs)
    _shape_session(made, defs)
    feature = defs["Feature"]["properties"]
    for key in ("iaf", "norm"):  # written within `band`, and found in `norms`
        feature.pop(key)
    feature["with"] = _OPTIONS
    defs["Reward"]["properties"]["with"] = _OPTIONS
    gate = defs["GateSetting"]["properties"]
    defs["GateSetting"] = {
        "description": "`on`, `off`, or a mapping that says where and how much.",
        "anyOf": [
            {"enum": ["on", "off"]},
            _mapping({k: gate[k] for k in ("at", "limit", "freeze")}, (), "a gate, on"),
        ],
    }
    motion = defs["MotionSetting"]["properties"]
    defs["MotionSetting"] = {
        "description": "`on`, `off`, or a mapping that says how much.",
        "anyOf": [
            {"enum": ["on", "off"]},
            _mapping({k: motion[k] for k in ("limit", "freeze")}, (), "the gate of motion, on"),
        ],
    }
    _shape_extends(made)


def _shape_extends(made: dict[str, Any]) -> None:
    """Let a file extend another one: then neither it nor its mappings need say everything."""
    whole, needed, defs = made["properties"], made.pop("required"), made["$defs"]
    parts: dict[str, Any] = {}
    loose = {key: _part(node, defs, parts) for key, node in whole.items()}
    for key in REMOVABLE:
        loose[key] = {"anyOf": [loose[key], _NONE]}
    loose["extends"] = {
        "type": "string",
        "description": "a protocol of the library, or a file beside this one, to change",
        "examples": ["smr_up", "./mine.yaml"],
    }
    defs.update(parts)
    made["properties"] = loose
    made["required"] = ["format", "name"]
    made["if"] = {"not": {"required": ["extends"]}}
    made["then"] = {"properties": whole, "required": needed}


def _part(node: Any, defs: dict[str, Any], parts: dict[str, Any]) -> Any:
    """Return a schema of some of the keys of a mapping; what is a list is given whole."""
    if not isinstance(node, dict) or node.get("type") == "array":
        return node
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        if f"{name}Part" not in parts:
            parts[f"{name}Part"] = {}  # so that a mapping may hold itself
            parts[f"{name}Part"] = _part(defs[name], defs, parts)
        return {**node, "$ref": f"#/$defs/{name}Part"}
    out = {k: v for k, v in node.items() if k not in ("required", "not")}
    for word in ("anyOf", "oneOf"):
        if word in out:
            out[word] = [_part(n, defs, parts) for n in out[word]]
            if not any(out[word]):  # it said only which keys are needed
                del out[word]
    if "properties" in out:
        out["properties"] = {k: _part(v, defs, parts) for k, v in out["properties"].items()}
    if "additionalProperties" in out:
        out["additionalProperties"] = _part(out["additionalProperties"], defs, parts)
    return out


def _shape_rules(defs: dict[str, Any]) -> None:
    _shape_threshold(defs)
    edge = defs["Edge"]["properties"]
    defs["Edge"] = _mapping(
        {"fixed": _FIXED, "baseline": {"const": "median"}, "plus": edge["plus_mad"]},
        (),
        "An end of the level: a fixed value, or the baseline median plus some MADs.",
        **_either("fixed", "baseline"),
    )
    level = defs["Level"]["properties"]
    ends = {"from": level["from"], "to": level["to"]}
    shared = {"feature": level["feature"], "smooth": level["smooth"]}
    defs["Level"] = {
        "description": defs["Level"]["description"],
        "anyOf": [
            _mapping({**shared, **ends}, ("feature", "from", "to"), "between two edges"),
            _mapping(
                {**shared, "range": {"const": "dynamic"}, "grows": level["grows"]},
                ("feature", "range"),
                "a range that follows the person",
            ),
        ],
    }
    for name in ("Rule", "Task"):
        rule = defs[name]["properties"]
        rest = {k: v for k, v in rule.items() if k not in ("direction", "threshold")}
        defs[name] = _mapping(
            {**rest, "above": _THRESHOLD, "below": _THRESHOLD},
            ("feature",) if name == "Rule" else ("name", "say"),
            defs[name]["description"],
            **_either("above", "below"),
        )
    reward = defs["Reward"]["properties"]
    rest = {k: v for k, v in reward.items() if k not in ("direction", "threshold", "also")}
    conditions = {
        "type": "array",
        "minItems": 1,
        "items": {"$ref": "#/$defs/Rule"},
        "description": "conditions that are rewarded together",
    }
    defs["Reward"] = _mapping(
        {**rest, "above": _THRESHOLD, "below": _THRESHOLD, "all": conditions},
        (),
        defs["Reward"]["description"],
        oneOf=[
            {"required": ["feature", "above"]},
            {"required": ["feature", "below"]},
            {
                "required": ["all"],
                "not": {"anyOf": [{"required": [k]} for k in ("feature", "above", "below")]},
            },
        ],
    )


def _shape_threshold(defs: dict[str, Any]) -> None:
    given = defs["Threshold"]["properties"]
    success, drift = given["success"], {"drift_guard": given["drift_guard"]}
    percentile = {"const": "percentile"}
    ways = (
        ({"fixed": _FIXED}, ("fixed",), "a value of its own"),
        (
            {"baseline": percentile, "success": success},
            ("baseline", "success"),
            "the value that this share of the clean baseline would have passed",
        ),
        (
            {"baseline": {"const": "z"}, "plus": given["plus"]},
            ("baseline",),
            "mean of the clean baseline plus some standard deviations",
        ),
        (
            {
                "running": percentile,
                "success": success,
                "over": given["over"],
                "freeze_after": given["freeze_after"],
                **drift,
            },
            ("running", "success"),
            "follows the last clean time: constant difficulty",
        ),
        (
            {"block": percentile, "success": success, **drift},
            ("block", "success"),
            "set between blocks, from the block before",
        ),
        (
            {"staircase": given["step_mad"], "success": success, **drift},
            ("staircase", "success"),
            "harder with every success, easier with every failure",
        ),
        (
            {
                "success": success,
                "over": given["over"],
                "freeze_after": given["freeze_after"],
                **drift,
            },
            ("success",),
            "how it is found says the `preset`",
        ),
    )
    defs["Threshold"] = {
        "description": "What the feature is compared with.",
        "anyOf": [_mapping(keys, needed, text) for keys, needed, text in ways],
    }


def _shape_session(made: dict[str, Any], defs: dict[str, Any]) -> None:
    step = defs["SessionStep"]["properties"]
    plain = {k: step[k] for k in ("say", "name", "eyes")}
    shared = {**plain, **{k: step[k] for k in ("self_paced", "ask")}}
    steps = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/SessionStep"}}
    part = {"anyOf": [{"$ref": "#/$defs/SessionStep"}, steps]}
    defs["SessionStep"] = {
        "description": "One step: `baseline`, a block, a repetition, or blocks in random order.",
        "anyOf": [
            {"const": "baseline"},
            *(
                _mapping(
                    {kind: step["lasts"], **(plain if kind in ("rest", "post") else shared)},
                    (kind,),
                    "a resting measurement after the training"
                    if kind == "post"
                    else f"a {kind} block",
                )
                for kind in STEP_KINDS
            ),
            _mapping(
                {
                    "trials": {"type": "integer", "minimum": 2, "maximum": MAX_TRIALS},
                    "feedback": {"enum": [True, False, "yes", "no", "on", "off"]},
                    **shared,
                },
                ("trials",),
                "a block of trials, with or without feedback",
            ),
            _mapping(
                {"repeat": {"type": "integer", "minimum": 1}, "blocks": steps},
                ("repeat", "blocks"),
                "the same blocks several times",
            ),
            _mapping(
                {"shuffle": {"type": "array", "minItems": 2, "items": part}},
                ("shuffle",),
                "blocks in an order drawn for each session",
            ),
        ],
    }
    made["properties"]["session"]["minItems"] = 1


def _plain(node: Any) -> Any:
    """Drop what is true of the model but not of the text.

    In these files what is not wanted is left out, so there is no `null`; defaults of quantities
    are the model's numbers; generated titles say nothing new.
    """
    if isinstance(node, list):
        return [_plain(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {
        k: _plain(v)
        for k, v in node.items()
        if not (k == "title" and isinstance(v, str)) and k != "default"
    }
    if "anyOf" not in node:
        return node
    choices = [c for c in node.pop("anyOf") if c != {"type": "null"}]
    return {**node, **choices[0]} if len(choices) == 1 else {**node, "anyOf": choices}
