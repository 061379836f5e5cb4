"""The JSON schema: it takes what the loader takes, and refuses in the editor what it can."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import Flag, Map, Nothing, Seq, parse
from protocols.grammar import schema
from protocols.load import library

ROOT = Path(__file__).parents[2]
WHOLE = {p.stem: p.read_text("utf-8") for p in (Path(__file__).parent / "whole").glob("*.yaml")}
SCHEMA = schema()
SAID = {"$schema", "$defs", "description", "examples", "title", "default"}  # nothing to check
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,),
    "integer": (int,), "number": (int, float),
}  # fmt: skip


def plain(value: Any) -> Any:
    """Return a value as an editor reads it."""
    if isinstance(value, Map):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, Seq):
        return [plain(v) for v in value]
    if isinstance(value, Nothing):
        return None
    if isinstance(value, Flag):
        return bool(value)
    return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))


def _is(value: Any, name: str) -> bool:
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def fits(value: Any, node: dict[str, Any]) -> bool:
    """Return whether a value fits a schema: what JSON Schema 2020-12 says of the words we use."""
    for word, said in node.items():
        if word in SAID or word in ("additionalProperties", "properties", "then"):
            continue
        ok: bool
        if word == "$ref":
            ok = fits(value, SCHEMA["$defs"][said.removeprefix("#/$defs/")])
        elif word == "type":
            ok = any(_is(value, t) for t in ([said] if isinstance(said, str) else said))
        elif word == "const":
            ok = value == said and type(value) is type(said)
        elif word == "enum":
            ok = any(value == s and type(value) is type(s) for s in said)
        elif word == "anyOf":
            ok = any(fits(value, s) for s in said)
        elif word == "oneOf":
            ok = sum(fits(value, s) for s in said) == 1
        elif word == "not":
            ok = not fits(value, said)
        elif word == "if":
            ok = not fits(value, said) or fits(value, node["then"])
        elif word == "required":
            ok = not isinstance(value, dict) or set(said) <= set(value)
        elif word == "propertyNames":
            ok = not isinstance(value, dict) or all(fits(k, said) for k in value)
        elif word == "items":
            ok = not isinstance(value, list) or all(fits(v, said) for v in value)
        elif word in ("minItems", "maxItems"):
            n = len(value) if isinstance(value, list) else said
            ok = n >= said if word == "minItems" else n <= said
        elif word in ("minimum", "maximum"):
            x = value if _is(value, "number") else said
            ok = x >= said if word == "minimum" else x <= said
        elif word == "uniqueItems":
            ok = not isinstance(value, list) or len({repr(v) for v in value}) == len(value)
        else:
            raise AssertionError(f"the schema uses `{word}`, which this test does not know")
        if not ok:
            return False
    return _properties_fit(value, node)


def _properties_fit(value: Any, node: dict[str, Any]) -> bool:
    known, others = node.get("properties", {}), node.get("additionalProperties", True)
    if not isinstance(value, dict):
        return True
    for key, one in value.items():
        if key in known:
            if not fits(one, known[key]):
                return False
        elif others is False or (isinstance(others, dict) and not fits(one, others)):
            return False
    return True


def accepted(text: str) -> bool:
    return fits(plain(parse(text.encode(), "test").root), SCHEMA)


def _shipped() -> dict[str, str]:
    folder = ROOT / "protocols" / "library"
    return {n: (folder / f"{n}.yaml").read_text(encoding="utf-8") for n in library()}


def _examples() -> Iterator[Any]:
    """Yield every whole protocol that the documentation shows."""
    for path in sorted((ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)
        for i, block in enumerate(blocks):
            if re.search(r"^format: 2$", block, re.M) and re.search(r"^name:", block, re.M):
                yield pytest.param(block, id=f"{path.stem}-{i}")


@pytest.mark.parametrize("name", library())
def test_the_schema_takes_the_library(name: str) -> None:
    assert accepted(_shipped()[name])


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_schema_takes_every_way_of_writing(name: str) -> None:
    assert accepted(WHOLE[name])


@pytest.mark.parametrize("text", list(_examples()))
def test_the_schema_takes_the_examples_of_the_documentation(text: str) -> None:
    assert accepted(text)


def _keys(node: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(node, Map):
        for key, value in node.items():
            named = (way == ("features",)) or way[-1:] in (("spatial",), ("with",))
            if not named:
                yield (*way, key)
            yield from _keys(value, (*way, key))
    elif isinstance(node, Seq):
        for i, value in enumerate(node):
            yield from _keys(value, (*way, i))


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_the_schema_refuses_every_misspelt_key(name: str) -> None:
    root = parse(WHOLE[name].encode(), name).root
    for way in _keys(root):
        made = plain(root)
        node = made
        for step in way[:-1]:
            node = node[step]
        node[f"{way[-1]}q"] = node.pop(way[-1])
        assert not fits(made, SCHEMA), way


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("powers", "format: 2", "format: 3"),
        ("powers", "format: 2\n", ""),
        ("powers", "grade: X", "grade: D"),
        ("powers", "title: Every", "title: [Every]\n#"),
        ("powers", "smooth: 1 s,", "smooth: 1,"),
        ("powers", "smooth: 1 s,", "smooth: [1 s],"),
        ("powers", "target: rhythm", "target: rythm"),
        ("powers", "success: 65 %", "success: 65"),
        ("powers", "success: 65 %}", "success: 65 %, fixed: 3 uV2}"),
        ("powers", "{baseline: percentile, success: 65 %}", "{}"),
        ("powers", "{baseline: percentile, success: 65 %}", "3 uV2"),
        ("powers", "{baseline: z, plus: 0.5 sd}", "{baseline: z, success: 65 %}"),
        ("powers", "{block: percentile,", "{block: percentile, over: 60 s,"),
        ("powers", "{running: percentile,", "{running: mean,"),
        ("powers", "{feature: faa, above", "{above"),
        ("powers", "  sustain: 0.5 s", "  feature: smr\n  sustain: 0.5 s"),
        ("powers", "every: block", "every: minute"),
        ("powers", "blink: on", "blink: maybe"),
        ("powers", "baseline: median", "baseline: mean"),
        ("powers", "smooth: 0.3 s}", "smooth: 0.3 s, grows: up}"),
        ("powers", "cues: tones", "cues: loud"),
        ("powers", "- {train: 60 s}", "- {train: 60 s, rest: 5 s}"),
        ("powers", "- {rest: 30 s}", "- {rest: 30 s, ask: Well?}"),
        ("powers", "repeat: 2", "repeat: 0"),
        ("powers", "repeat: 2", "repeat: twice"),
        ("powers", "- {transfer: 180 s}", "- {transfer: 180}"),
        ("powers", "- {transfer: 180 s}", "- transfer"),
        ("powers", "- [{train: 90 s}, {rest: 20 s}]", "- []"),
        ("powers", "clinician: not needed", "clinician: maybe"),
        ("powers", "indication: [attention]", "indication:"),
        ("trials", "trials: 40", "trials: 1"),
        ("trials", "trials: 40", "trials: 40 s"),
        ("trials", "reject: {above: 200 uV}", "reject: 200 uV"),
        ("trials", "below: {fixed: 0 uV}, say: Activate.", "say: Activate."),
        ("preset", "preset: auto_reward_fixed_inhibit", "preset: auto"),
        ("preset", "grows: up", "grows: sideways"),
        ("preset", "range: dynamic", "range: dynamic, from: {baseline: median}"),
        ("child", "extends: ./preset.yaml\n", ""),
        ("child", "name: child\n", ""),
        ("child", "extends: ./preset.yaml", "extends: [smr_up]"),
    ],
)
def test_the_schema_refuses_what_it_can(name: str, old: str, new: str) -> None:
    text = WHOLE[name]
    assert old in text
    assert not accepted(text.replace(old, new, 1))
