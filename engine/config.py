"""Strict YAML into validated models; every mistake at once, at file:line:column.

The text is refused at the level of YAML events, before any object exists, when it is too large,
too deep or uses anchors, aliases or tags. What passes becomes dictionaries, lists and scalars
that remember where they were written, so that a model may reshape them freely and an error still
points at the right place.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from engine.errors import FileError, Problem, YamlError
from engine.units import described, is_flag, mistake, shown

__all__ = [
    "FORMAT",
    "Format",
    "Map",
    "Names",
    "Seq",
    "Source",
    "Strict",
    "Text",
    "Whole",
    "YesNo",
    "parse",
    "problem",
    "read",
    "resolved",
    "validate",
]

# A protocol is a page of text. These limits are far above any real file and far below what
# would slow the loader down.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_NODES = 5000
MAX_PROBLEMS = 50

FORMAT = 1  # of protocol and room files


# ---------------------------------------------------------------- values that know their place


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written, 1-based."""

    line: int
    column: int


class Marked:
    """A value read from YAML, with its place, its key and the mapping it belongs to."""

    at: Place
    key: Place | None = None
    name: str = ""
    parent: Map | None = None
    flag: bool = False


class Word(Marked, str):
    """A text."""


class Integer(Marked, int):
    """A number without a point."""


class Real(Marked, float):
    """A number with a point or exponent."""


class Flag(Marked, int):
    """`true` or `false`."""

    flag = True

    def __str__(self) -> str:
        return "true" if self else "false"


class Nothing(Marked):
    """A key without a value."""

    def __str__(self) -> str:
        return "nothing"


class Map(Marked, dict[str, Any]):
    """A mapping. `allowed` are the keys its model knows, set when the model has looked at it."""

    allowed: tuple[str, ...] = ()

    def reshaped(self, items: Mapping[str, Any]) -> Map:
        """Return a mapping with other items at the same place."""
        other = Map(items)
        other.at, other.key, other.name = self.at, self.key, self.name
        other.parent, other.allowed = self.parent, self.allowed
        return other


class Seq(Marked, list[Any]):
    """A list."""


# ---------------------------------------------------------------- the models' common ground


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, in YAML as in Python.

    YAML uses the aliases (`lasts: 120 s`), Python and the resolved JSON the attribute names
    (`lasts_s=120.0`). A model whose YAML differs in shape overrides `shape` and `keys`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    keys: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        """Return the keys that may be written in YAML."""
        return cls.keys or tuple(f.alias or n for n, f in cls.model_fields.items())

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Return what was written in YAML in the shape of the model's aliases."""
        return data

    @model_validator(mode="before")
    @classmethod
    def _from_yaml(cls, data: Any) -> Any:
        if isinstance(data, Nothing):
            raise mistake("there is no value here", "write the value after the colon")
        if isinstance(data, Map):
            allowed = cls.yaml_keys()
            # An unknown key must stay unknown, also where it equals an attribute's name.
            data = data.reshaped({k if k in allowed else f"?{k}": v for k, v in data.items()})
            data.allowed = allowed
        if isinstance(data, Marked):
            data = cls.shape(data)
        if isinstance(data, Marked) and not isinstance(data, Map):
            keys = ", ".join(cls.yaml_keys())
            raise mistake(f"a mapping is wanted here, not {described(data)}", f"keys: {keys}")
        return data


def _text(value: object) -> str:
    if isinstance(value, Nothing):
        raise mistake("there is no value here", "write the text after the colon")
    if not isinstance(value, str):
        raise mistake(f"a text is wanted here, not {described(value)}", "put it in quotes")
    if not value.strip():
        raise mistake("the text is empty")
    return " ".join(value.split())


def _names(value: object) -> tuple[str, ...]:
    items = value if isinstance(value, (list, tuple)) else [value]
    for item in items:
        if isinstance(item, Nothing) or not isinstance(item, str) or not item.strip():
            raise mistake(
                f"a name or a list of names is wanted here, not {described(item)}",
                "for example `[F3, F4]`",
            )
    names = tuple(" ".join(str(item).split()) for item in items)
    twice = [n for i, n in enumerate(names) if n in names[:i]]
    if twice:
        raise mistake(f"`{twice[0]}` is listed twice")
    return names


def _flag(value: object) -> bool:
    if is_flag(value):
        return bool(value)
    if isinstance(value, str) and value in ("on", "yes", "off", "no"):
        return value in ("on", "yes")
    raise mistake(f"yes or no is wanted here, not {described(value)}", "`yes` or `no`")


def _whole(value: object) -> int:
    if is_flag(value) or not isinstance(value, int):
        raise mistake(f"a whole number is wanted here, not {described(value)}", "e.g. `1`")
    return int(value)


def _format(value: object) -> int:
    number = _whole(value)
    if number > FORMAT:
        raise mistake(
            f"this file is written in format {number}; this Neuroloop reads up to format {FORMAT}",
            "install a newer Neuroloop, or write the file in the older format",
        )
    if number < 1:
        raise mistake(f"there is no format {number}", f"`format: {FORMAT}`")
    return number


Text = Annotated[str, BeforeValidator(_text)]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_names),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            ]
        }
    ),
]
YesNo = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"enum": [True, False, "yes", "no", "on", "off"]}),
]
Whole = Annotated[int, BeforeValidator(_whole)]
Format = Annotated[int, BeforeValidator(_format), WithJsonSchema({"const": FORMAT})]
