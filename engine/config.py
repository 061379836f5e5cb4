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
from collections.abc import Iterator, Mapping
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
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from engine.errors import FileError, Problem, YamlError
from engine.units import described, is_flag, mistake, shown

__all__ = [
    "FORMAT",
    "Format",
    "Map",
    "Marked",
    "Names",
    "Place",
    "Seq",
    "Source",
    "Strict",
    "Text",
    "Whole",
    "Word",
    "YesNo",
    "format_up_to",
    "parse",
    "read",
    "resolved",
    "spot",
    "unknown_key",
    "validate",
]

# A protocol is a page of text. These limits are far above any real file and far below what
# would slow the loader down.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_NODES = 5000
MAX_PROBLEMS = 50

FORMAT = 1  # of a file, unless its model says otherwise


# ---------------------------------------------------------------- values that know their place


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written, 1-based; `file` where that is not the file being read."""

    line: int
    column: int
    file: str = ""


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
        """Return the word as YAML spells it."""
        return "true" if self else "false"


class Nothing(Marked):
    """A key without a value."""

    def __str__(self) -> str:
        """Return the word for messages."""
        return "nothing"


class Map(Marked, dict[str, Any]):
    """A mapping.

    `allowed` are the keys its model knows, `later` the keys planned for a later format; both are
    set when the model has looked at it.
    """

    allowed: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    tag: Any = None  # what a model noted about it

    def reshaped(self, items: Mapping[str, Any]) -> Map:
        """Return a mapping with other items at the same place."""
        other = Map(items)
        other.at, other.key, other.name = self.at, self.key, self.name
        other.parent, other.allowed, other.later = self.parent, self.allowed, self.later
        other.tag = self.tag
        return other


class Seq(Marked, list[Any]):
    """A list."""


# ---------------------------------------------------------------- the models' common ground


class Strict(BaseModel):
    """A frozen model that refuses unknown keys, in YAML as in Python.

    YAML uses the aliases (`lasts: 120 s`), Python and the resolved JSON the attribute names
    (`lasts_s=120.0`). A model whose YAML differs in shape overrides `shape` and `written`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    written: ClassVar[tuple[str, ...]] = ()
    later: ClassVar[tuple[str, ...]] = ()
    newest_format: ClassVar[int] = FORMAT

    @classmethod
    def yaml_keys(cls) -> tuple[str, ...]:
        """Return the keys that may be written in YAML."""
        return cls.written or tuple(f.alias or n for n, f in cls.model_fields.items())

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
            data.allowed = cls.yaml_keys()
            data.later = cls.later
            for value in data.values():  # it may have come from another file
                if isinstance(value, Marked):
                    value.parent = data
            data = _shaped(cls, data)
        elif isinstance(data, Marked):
            data = cls.shape(data)
        if isinstance(data, Marked) and not isinstance(data, Map):
            keys = ", ".join(cls.yaml_keys())
            raise mistake(f"a mapping is wanted here, not {described(data)}", f"keys: {keys}")
        return data


def _shaped(model: type[Strict], data: Map) -> Any:
    """Return what was written in the model's shape; a misspelt key is the first mistake to tell."""
    unknown = [k for k in data if k not in data.allowed]
    try:
        # An unknown key must stay unknown, also where it equals an attribute's name.
        return model.shape(data.reshaped({f"?{k}" if k in unknown else k: data[k] for k in data}))
    except PydanticCustomError:
        if unknown:
            raise unknown_key(data[unknown[0]]) from None
        raise


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


def _spelt(value: object) -> str:
    if isinstance(value, str) and value.strip().isdecimal():
        return f"the text {shown(value)}"
    return described(value)


def _format(value: object, newest: int = FORMAT) -> int:
    if is_flag(value) or not isinstance(value, int):
        raise mistake(
            f"the format is a plain whole number, not {_spelt(value)}",
            f"write `format: {newest}`, without quotes and without a point",
        )
    number = int(value)
    if number > newest:
        raise mistake(
            f"this file is written in format {number}; this Neuroloop reads up to format {newest}",
            "install a newer Neuroloop, or write the file in the older format",
        )
    if number < 1:
        raise mistake(f"there is no format {number}", f"`format: {newest}`")
    return number


def format_up_to(newest: int) -> tuple[BeforeValidator, WithJsonSchema]:
    """Return what `Annotated[int, *format_up_to(2)]` needs to read the format of a file."""
    return BeforeValidator(lambda value: _format(value, newest)), WithJsonSchema({"const": newest})


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
Format = Annotated[int, *format_up_to(FORMAT)]


# ---------------------------------------------------------------- text -> marked values


@dataclass(frozen=True, slots=True)
class Source:
    """One YAML file as read.

    Parameters
    ----------
    file : str
        Its name, as shown in messages.
    text : str
    sha256 : str
        Of the bytes of the file.
    root : Map
        The values, each with its place.
    problems : tuple of Problem
        Mistakes that did not keep the rest from being read, e.g. a key given twice.
    """

    file: str
    text: str
    sha256: str
    root: Map
    problems: tuple[Problem, ...] = ()

    def problem(
        self, loc: tuple[str | int, ...], what: str, allowed: str = "", *, key: bool = False
    ) -> Problem:
        """Return a problem at the value found by walking `loc`, keys and indices, as far as it
        goes; at the key of that value if `key`.
        """
        value: Any = self.root
        for step in loc:
            if isinstance(value, Word) and step == 0:
                break  # one name stands for a list of one
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                key = True  # of what was reached
                break
        place = (value.key or value.at) if key else spot(value)
        return Problem(place.file or self.file, place.line, place.column, what, allowed)


def spot(value: Marked) -> Place:
    """Return where to point at for a value.

    A mapping or list is best found by its key, as is nothing at all; a scalar by itself.
    """
    if isinstance(value, (Map, Seq, Nothing)) and value.key is not None:
        return value.key
    return value.at


class _RefusalError(Exception):
    """The text cannot be read further."""

    def __init__(self, place: Place, what: str, allowed: str = "") -> None:
        super().__init__(what)
        self.place, self.what, self.allowed = place, what, allowed


_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,14})")
_REAL = re.compile(
    r"[-+]?([0-9]{1,15}\.[0-9]{0,15}|\.[0-9]{1,15})([eE][-+]?[0-9]{1,3})?"
    r"|[-+]?[0-9]{1,15}[eE][-+]?[0-9]{1,3}"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_UNPRINTED = re.compile(rf"{_CONTROL.pattern}|[\ud800-\udfff]")
# The scanner looks ahead over open brackets and grows slow long before the events show the depth.
_BRACKETS = re.compile(rf"(?:[\[{{]\s{{0,100}}){{{MAX_DEPTH + 1}}}")
_DASHES = re.compile(rf"^ *(?:[-?] +){{{MAX_DEPTH + 1}}}", re.MULTILINE)

_PLAINER = (
    ("mapping values are not allowed", "there is a `: ` too many, or the indentation is wrong",
     "put a text that contains `: ` in quotes; indent all keys of one group alike"),
    ("could not find expected ':'", "this is no `key: value`", "a key, a colon, a space, a value"),
    ("expected <block end>", "the indentation does not fit the lines above",
     "indent all keys of one group alike"),
    ("unexpected end of stream", "a quote or bracket that was opened is never closed", ""),
    ("expected ',' or", "a comma or a closing bracket is missing", ""),
    ("cannot start any token", "a text may not begin with this character", "put it in quotes"),
)  # fmt: skip


def read(path: Path) -> Source:
    """Read a YAML file strictly.

    Raises
    ------
    FileError
        When there is no such file or it cannot be read.
    YamlError
        When its text is refused.
    """
    try:
        if not path.is_file():
            raise FileError(f"{path} is not a file.", "Check the name, or give the full path.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise FileError(
            f"{path} cannot be read: {error}.", "Check the file's permissions."
        ) from error
    return parse(data, str(path))


def parse(data: bytes, file: str) -> Source:
    """Read YAML text strictly; see `read`."""
    try:
        text = _decoded(data)
        problems: list[tuple[Place, str, str]] = []
        root = _composed(text, problems, file)
    except _RefusalError as no:
        raise YamlError(
            (Problem(file, no.place.line, no.place.column, no.what, no.allowed),)
        ) from None
    found = tuple(Problem(file, p.line, p.column, what, allowed) for p, what, allowed in problems)
    return Source(file, text, hashlib.sha256(data).hexdigest(), root, found)


def _decoded(data: bytes) -> str:
    start = Place(1, 1)
    if len(data) > MAX_BYTES:
        raise _RefusalError(
            start,
            f"the file is larger than {MAX_BYTES // 1024} kB; this is no protocol or room",
            "check that it is the file you meant",
        )
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in data[:64]:
        raise _RefusalError(
            start, "the file is encoded as UTF-16 or is not text", "save it as UTF-8"
        )
    if data.startswith(b"\xef\xbb\xbf"):
        raise _RefusalError(
            start, "the file begins with a byte-order mark", "save it as UTF-8 without BOM"
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise _RefusalError(
            _end_of(before), "this character is not UTF-8", "save the file as UTF-8"
        ) from None
    if not text.strip():
        raise _RefusalError(start, "the file is empty", "see `neuroloop protocols` for examples")
    for pattern, what, allowed in (
        (re.compile("\t"), "there is a tab", "YAML is indented with spaces only"),
        (_CONTROL, "there is an invisible control character", "delete it"),
        (_BRACKETS, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels"),
        (_DASHES, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels"),
    ):
        match = pattern.search(text)
        if match:
            raise _RefusalError(_end_of(text[: match.start()]), what, allowed)
    if text.count(",") + text.count("\n") > 2 * MAX_NODES:  # sooner than the parser would say
        raise _RefusalError(start, f"the file has more than {MAX_NODES} values", "use `repeat`")
    return text


def _end_of(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _events(text: str) -> Iterator[Any]:
    place = Place(1, 1)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            place = Place(mark.line + 1, mark.column + 1)
        said = str(error.problem or error.context or "this is not YAML")
        for part, what, allowed in _PLAINER:
            if part in said:
                raise _RefusalError(place, what, allowed) from None
        raise _RefusalError(place, f"this is not YAML: {said}") from None
    except (_RefusalError, GeneratorExit):
        raise
    except Exception as error:
        # The parser's own slips on odd text (bad escapes, for one) are the file's fault to a
        # reader, who needs the place and no traceback.
        raise _RefusalError(place, f"this cannot be read as YAML: {error}") from error


def _composed(text: str, problems: list[tuple[Place, str, str]], file: str) -> Map:
    """Build the values from the events, without recursion."""
    open_nodes: list[tuple[Map | Seq, list[Word]]] = []  # each with its pending key
    root: Any = None
    nodes = documents = 0
    for event in _events(text):
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1, file)
        if isinstance(event, DocumentStartEvent):
            documents += 1
            _check_document(event, place, documents)
        if isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            open_nodes.pop()
        if not isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent, AliasEvent)):
            continue
        nodes += 1
        _check_node(event, place, nodes)
        value = _value(event)
        value.at = place
        if not open_nodes:
            root = value
        else:
            _attach(*open_nodes[-1], value, problems)
        if isinstance(value, (Map, Seq)):
            open_nodes.append((value, []))
            if len(open_nodes) > MAX_DEPTH:
                raise _RefusalError(
                    place, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels"
                )
    if root is None or isinstance(root, Nothing):
        raise _RefusalError(
            Place(1, 1), "the file is empty", "see `neuroloop protocols` for examples"
        )
    if not isinstance(root, Map):
        raise _RefusalError(root.at, f"the file is {described(root)}, not `key: value` lines")
    return root


def _check_document(event: Any, place: Place, documents: int) -> None:
    if documents > 1:
        raise _RefusalError(place, "a second document begins here (`---`)", "one document per file")
    if event.version or event.tags:
        raise _RefusalError(place, "directives (`%YAML`, `%TAG`) are refused", "delete the line")


def _check_node(event: Any, place: Place, nodes: int) -> None:
    if isinstance(event, AliasEvent) or event.anchor is not None:
        sign = "alias (`*name`)" if isinstance(event, AliasEvent) else "anchor (`&name`)"
        raise _RefusalError(
            place, f"an {sign} is refused", "write the value out where it is needed"
        )
    if event.tag is not None:
        raise _RefusalError(
            place, f"a tag ({shown(event.tag)}) is refused", "write the plain value"
        )
    if nodes > MAX_NODES:
        raise _RefusalError(place, f"the file has more than {MAX_NODES} values", "use `repeat`")
    # An escape such as "\\ud800" or "\\0" makes what no screen, log or JSON can take.
    if isinstance(event, ScalarEvent) and _UNPRINTED.search(event.value):
        raise _RefusalError(place, "this text has an escape for no readable character", "delete it")


def _value(event: Any) -> Marked:
    if isinstance(event, SequenceStartEvent):
        return Seq()
    if isinstance(event, MappingStartEvent):
        return Map()
    text: str = event.value
    if event.style is not None:  # quoted or a block of text
        return Word(text)
    if text in ("", "~", "null", "Null", "NULL"):
        return Nothing()
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return Flag(text[0] in "tT")
    if _INTEGER.fullmatch(text):
        return Integer(text)
    if _REAL.fullmatch(text):
        return Real(text)
    return Word(text)


def _attach(
    node: Map | Seq,
    pending: list[Word],
    value: Marked,
    problems: list[tuple[Place, str, str]],
) -> None:
    if isinstance(node, Seq):
        value.parent = node.parent
        node.append(value)
        return
    if not pending:
        pending.append(_key(value))
        return
    key = pending.pop()
    value.key, value.name, value.parent = key.at, str(key), node
    if str(key) in node:
        first = node[str(key)].key
        problems.append((key.at, f"`{key}` is given twice", f"first given in line {first.line}"))
    else:
        node[str(key)] = value


def _key(value: Marked) -> Word:
    if isinstance(value, (Map, Seq)):
        raise _RefusalError(value.at, f"a key must be a word, not {described(value)}")
    if str(value) == "<<":
        raise _RefusalError(value.at, "a merge key (`<<`) is refused", "write the values out")
    word = Word("" if isinstance(value, Nothing) else value)
    word.at = value.at
    return word


# ---------------------------------------------------------------- marked values -> models

M = TypeVar("M", bound=Strict)


def validate(model: type[M], source: Source) -> M:
    """Return the model that the file describes.

    Raises
    ------
    YamlError
        With every mistake at once, in the order of the file.
    """
    problems = list(source.problems)
    try:
        if "format" in source.root:
            _format(source.root["format"], model.newest_format)
        made = model.model_validate(source.root, by_alias=True, by_name=False)
    except PydanticCustomError as error:
        # What else is wrong with a file of another format is not for this version to say.
        context = error.context or {}
        problems = [source.problem(("format",), context["what"], context["allowed"])]
    except ValidationError as error:
        problems += _all_explained(error, source)
    if problems:
        ordered = sorted(dict.fromkeys(problems), key=lambda p: (p.line, p.column))
        raise YamlError(tuple(ordered[:MAX_PROBLEMS]))
    return made


def resolved(model: Strict) -> dict[str, Any]:
    """Return the model as plain JSON values; `type(model).model_validate` builds it again."""
    return model.model_dump(mode="json")


def _all_explained(error: ValidationError, source: Source) -> Iterator[Problem]:
    errors = error.errors(include_url=False)
    # A misspelt key is one mistake, not two: its right spelling is then not missing as well.
    misspelt = {
        (id(e["input"].parent.at), _close(e["input"]))
        for e in errors
        if e["type"] == "extra_forbidden" and isinstance(e["input"], Marked) and e["input"].parent
    }
    for one in errors:
        missing = one["type"] == "missing" and isinstance(one["input"], Marked)
        if not (missing and (id(one["input"].at), one["loc"][-1]) in misspelt):
            yield from _explained(one, source)


def _close(value: Marked) -> str:
    """Return the key that was probably meant, or nothing."""
    parent = value.parent
    if parent is None:
        return ""
    # What another file says of the mapping does not keep this one from meaning it.
    free = [k for k in parent.allowed if k not in parent or parent[k].at.file != value.at.file]
    close = difflib.get_close_matches(value.name.casefold(), free, n=1, cutoff=0.6)
    return close[0] if close else ""


def _explained(error: Any, source: Source) -> Iterator[Problem]:
    """Turn one pydantic error into sentences a clinician understands."""
    kind, given, ctx = error["type"], error["input"], error.get("ctx", {})
    loc = tuple(error["loc"])
    if kind == "default_factory_not_called":
        return  # follows from another mistake that is reported itself
    if not isinstance(given, Marked):
        yield source.problem(loc, error["msg"])
        return
    place = spot(given)
    if isinstance(given, Nothing) and kind != "extra_forbidden":
        what, allowed = f"`{given.name}` has no value", "write the value after the colon"
    elif kind == "mistake":
        if isinstance(ctx["at"], Place):
            place = ctx["at"]
        elif isinstance(ctx["at"], Marked):
            place = spot(ctx["at"])
        what, allowed = ctx["what"], ctx["allowed"]
    elif kind == "extra_forbidden":
        place = given.key or place
        what, allowed = _unknown_key(given)
    elif kind == "missing":
        place = given.key or given.at
        inside = f" in `{given.name}`" if given.name else ""
        what, allowed = f"`{loc[-1]}` is missing{inside}", _keys_of(given)
    elif kind == "literal_error":
        what, allowed = f"{described(given)} is not possible here", ctx["expected"]
    elif kind in ("tuple_type", "list_type"):
        what, allowed = f"a list is wanted here, not {described(given)}", "items begin with `- `"
    elif kind in ("dict_type", "model_type", "model_attributes_type"):
        what, allowed = f"a mapping is wanted here, not {described(given)}", "`key: value` lines"
    else:
        what, allowed = f"{described(given)}: {error['msg']}", ""
    yield Problem(place.file or source.file, place.line, place.column, what, allowed)


def _keys_of(node: Marked) -> str:
    allowed = node.allowed if isinstance(node, Map) else ()
    return f"keys: {', '.join(allowed)}" if allowed else ""


def unknown_key(value: Marked) -> PydanticCustomError:
    """Return the mistake that the key of a value is none of its mapping's."""
    return mistake(*_unknown_key(value), at=value.key or value.at)


def _unknown_key(value: Marked) -> tuple[str, str]:
    parent = value.parent
    allowed = parent.allowed if parent is not None else ()
    if parent is not None and value.name in parent.later:
        return f"`{value.name}` is not available yet in format {FORMAT}", _keys_of(parent)
    close = _close(value)
    meant = f"; did you mean `{close}`?" if close else ""
    return f"unknown key `{value.name}`{meant}", f"allowed here: {', '.join(allowed)}"
