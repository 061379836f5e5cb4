"""The JSON schema of protocol files, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.config import Strict
from protocols.model import STEP_KINDS, Protocol

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
    defs["Feature"]["properties"].pop("iaf")  # written within `band`
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


def _shape_rules(defs: dict[str, Any]) -> None:
    threshold, edge = defs["Threshold"]["properties"], defs["Edge"]["properties"]
    defs["Threshold"] = _mapping(
        {"fixed": _FIXED, "baseline": {"const": "percentile"}, "success": threshold["success"]},
        (),
        "What the feature is compared with: a fixed value, or from the baseline.",
        **_either("fixed", "baseline"),
    )
    defs["Edge"] = _mapping(
        {"fixed": _FIXED, "baseline": {"const": "median"}, "plus": edge["plus_mad"]},
        (),
        "An end of the level: a fixed value, or the baseline median plus some MADs.",
        **_either("fixed", "baseline"),
    )
    for name in ("Rule", "Reward"):
        rule = defs[name]["properties"]
        rest = {k: v for k, v in rule.items() if k not in ("direction", "threshold")}
        defs[name] = _mapping(
            {**rest, "above": _THRESHOLD, "below": _THRESHOLD},
            ("feature",),
            defs[name]["description"],
            **_either("above", "below"),
        )


def _shape_session(made: dict[str, Any], defs: dict[str, Any]) -> None:
    step = defs["SessionStep"]["properties"]
    shared = {k: step[k] for k in ("say", "name", "eyes")}
    defs["SessionStep"] = {
        "description": "One step: `baseline`, a block with how long it lasts, or a repetition.",
        "anyOf": [
            {"const": "baseline"},
            *(
                _mapping({kind: step["lasts"], **shared}, (kind,), f"a {kind} block")
                for kind in STEP_KINDS
            ),
            _mapping(
                {
                    "repeat": {"type": "integer", "minimum": 1},
                    "blocks": {"type": "array", "items": {"$ref": "#/$defs/SessionStep"}},
                },
                ("repeat", "blocks"),
                "the same blocks several times",
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
