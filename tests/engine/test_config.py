"""Strict YAML: what is refused, where it is said to be wrong, and how quantities are read."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from engine.config import (
    MAX_BYTES,
    Format,
    Names,
    Source,
    Strict,
    Text,
    Whole,
    YesNo,
    parse,
    read,
    resolved,
    validate,
)
from engine.errors import FileError, YamlError
from engine.units import (
    BAND,
    MAD,
    POWER,
    RATE,
    SHARE,
    TIME,
    VOLTAGE,
    Kind,
    band,
    measured,
    mistake,
    quantity,
    spoken_s,
)

BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


class Inner(Strict):
    """A part."""

    lasts_s: Annotated[float, *quantity(TIME, 0.0, 600.0)] = Field(alias="lasts")
    band_hz: Annotated[tuple[float, float], *band] | None = Field(default=None, alias="band")


class Outer(Strict):
    """A whole."""

    later = ("planned",)

    format: Format = 1
    name: Text
    count: Whole = 0
    flag: YesNo = False
    sites: Names = ()
    inner: Inner | None = None
    parts: dict[str, Inner] = Field(default_factory=dict)
    many: tuple[Inner, ...] = ()


def _problem(text: str | bytes) -> tuple[int, int, str]:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(YamlError) as caught:
        validate(Outer, parse(data, "file.yaml"))
    (problem,) = caught.value.problems
    return problem.line, problem.column, str(problem)


# ---------------------------------------------------------------- F61: refused as text


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        (b"", 1, 1, "empty"),
        (b"# only a comment\n", 1, 1, "empty"),
        (b"~", 1, 1, "empty"),
        (b"name: x\n\tcount: 1", 2, 1, "tab"),
        (b"name:\tx", 1, 6, "tab"),
        (BOMB.encode(), 1, 4, "anchor"),
        (b"&x [*x]", 1, 1, "anchor"),
        (b"name: *x", 1, 7, "alias"),
        (b"name: !!python/object:os.system x", 1, 7, "tag"),
        (b"name: !x y", 1, 7, "tag"),
        (b"<<: {name: x}", 1, 1, "merge key"),
        (b"\xff\xfen\x00", 1, 1, "UTF-16"),
        ("name: x".encode("utf-16-be"), 1, 1, "UTF-16"),
        (b"\xef\xbb\xbfname: x", 1, 1, "byte-order mark"),
        ("name: x\nsites: ä".encode("latin-1"), 2, 8, "not UTF-8"),
        (b"name: a\x07b", 1, 8, "control character"),
        (b"name: x\n---\nname: y", 2, 1, "second document"),
        (b"%YAML 1.1\n---\nname: x", 2, 1, "directives"),
        (b"[1, 2]", 1, 1, "a list"),
        (b"just text", 1, 1, "`just text`"),
        (b"name: a: b", 1, 8, "`: ` too many"),
        (b"name: 'x", 1, 9, "never closed"),
        (b"name: [a, b", 1, 12, "comma or a closing bracket"),
        (b"name: @x", 1, 7, "may not begin"),
        (b"name: x\n   count: 1", 2, 9, "`: ` too many"),
        (b'name: "\\U0011FFFF"', 1, 1, "cannot be read"),
        (b"? {a: b}\n: c", 1, 3, "key must be a word"),
        (b"[" * 3000, 1, 1, "deeper than 12"),
        (b"{a: " * 3000, 1, 49, "deeper than 12"),
        (b"- " * 3000, 1, 1, "deeper than 12"),
        (b"\n".join(b" " * i + b"a:" for i in range(400)), 13, 13, "deeper than 12"),
        (b"sites: [" + b"x," * 20_000 + b"]", 1, 1, "5000 values"),
        (b"x" * (MAX_BYTES + 1), 1, 1, "larger than 256 kB"),
    ],
    ids=lambda v: repr(v)[:30] if isinstance(v, bytes) else None,
)
def test_f61_refused(data: bytes, line: int, column: int, words: str) -> None:
    assert _problem(data)[:2] == (line, column)
    assert words in _problem(data)[2]


def test_f61_many_nodes_below_the_quick_limit() -> None:
    with pytest.raises(YamlError, match="more than 5000 values"):
        parse(b"sites: [" + b"x," * 6000 + b"]", "file.yaml")


def test_f61_a_huge_file_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(YamlError, match="larger than"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_missing_file_folder_and_name_with_a_null(tmp_path: Path) -> None:
    for path in (tmp_path / "no.yaml", tmp_path, Path("a\0b")):
        with pytest.raises(FileError):
            read(path)


# ---------------------------------------------------------------- places and sentences


def test_duplicate_keys_are_told_with_everything_else() -> None:
    with pytest.raises(YamlError) as caught:
        validate(Outer, parse(b"name: x\ncount: 1\nname: y\ncuont: 2\n", "file.yaml"))
    assert [(p.line, p.column) for p in caught.value.problems] == [(3, 1), (4, 1)]
    assert "given twice" in caught.value.problems[0].what
    assert "first given in line 1" in caught.value.problems[0].allowed


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("count: 1", 1, 1, "`name` is missing"),
        ("nmae: x", 1, 1, "did you mean `name`"),
        ("name: x\nzzz: 1", 2, 1, "allowed here: format, name, count"),
        ("name: x\nplanned: 1", 2, 1, "not available yet in format 1"),
        ("name: x\ninner: {lasts_s: 3}", 2, 9, "unknown key `lasts_s`; did you mean `lasts`"),
        ("name: x\ninner: {}", 2, 1, "`lasts` is missing in `inner`"),
        ("name: x\nparts:\n  a: {lasts: 1 kg}", 3, 14, "unknown unit"),
        ("name: x\nmany:\n  - {lasts: 1 s}\n  - {lasts: 1 Hz}", 4, 13, "frequency, not a time"),
        ("name: x\nmany: {lasts: 1 s}", 2, 1, "a list is wanted"),
        ("name: x\ninner: 3", 2, 8, "a mapping is wanted"),
        ("name: x\nparts: [a]", 2, 1, "a mapping is wanted"),
        ("name: true", 1, 7, "a text is wanted here, not `true`"),
        ("name: 12", 1, 7, "put it in quotes"),
        ("name:", 1, 1, "no value"),
        ("name: ~", 1, 1, "no value"),
        ("name: ''", 1, 7, "empty"),
        ("name: x\ncount: true", 2, 8, "whole number"),
        ("name: x\ncount: 1.5", 2, 8, "whole number"),
        ("name: x\ncount: '1'", 2, 8, "whole number"),
        ("name: x\nflag: 1", 2, 7, "yes or no"),
        ("name: x\nflag: maybe", 2, 7, "yes or no"),
        ("name: x\nsites: [a, 1]", 2, 1, "list of names"),
        ("name: x\nsites: [a, a]", 2, 1, "listed twice"),
        ("name: x\nsites: {a: b}", 2, 1, "list of names"),
        ("format: 2\nname: x", 1, 9, "up to format 1"),
        ("format: 0\nname: x", 1, 9, "no format 0"),
        ("format: 2\nnew_key: 3", 1, 9, "install a newer"),
        ("name: x\ninner: {lasts: 9 s, band: 8-12}", 2, 27, "no unit"),
        ("name: x\ninner: {lasts: 9 s, band: 12-8 Hz}", 2, 27, "upside down"),
        ("name: x\ninner: {lasts: 9 s, band: 8 Hz}", 2, 27, "as a band"),
        ("name: x\ninner: {lasts: 9 s, band: 8-12 s}", 2, 27, "not a band"),
        ("name: x\ninner: {lasts: 9 s, band: 8-9000 Hz}", 2, 27, "out of range"),
    ],
)
def test_place_and_sentence(text: str, line: int, column: int, words: str) -> None:
    found = _problem(text)
    assert found[:2] == (line, column), found[2]
    assert words in found[2]


def test_yaml_of_today_not_of_2005() -> None:
    text = "name: no\nsites: [on, off, 012, 1_000, 1:30]\nflag: yes\ncount: -3"
    made = validate(Outer, parse(text.encode(), "f"))
    assert made.name == "no"
    assert made.sites == ("on", "off", "012", "1_000", "1:30")
    assert made.flag is True
    assert made.count == -3
    assert type(made.name) is str
    assert type(made.count) is int


def test_resolved_builds_the_same_again_and_is_plain() -> None:
    text = "name: x\nflag: true\nsites: O1\ninner: {lasts: 2 min, band: 8 - 12 Hz}\n"
    made = validate(Outer, parse(text.encode(), "f"))
    plain = resolved(made)
    assert plain["inner"] == {"lasts_s": 120.0, "band_hz": [8.0, 12.0]}
    assert Outer.model_validate(plain) == made
    assert Outer(name="x", flag=True, sites=("O1",), inner=made.inner) == made


def test_models_are_frozen_and_strict_in_python_too() -> None:
    made = Inner(lasts_s=3)
    with pytest.raises(ValidationError):
        made.lasts_s = 4  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Inner.model_validate({"lasts_s": 3, "other": 1})


def test_source_points_at_what_it_is_asked_for() -> None:
    source = parse(b"name: x\nmany:\n  - {lasts: 1 s}\n", "file.yaml")
    assert isinstance(source, Source)
    assert source.sha256 == hashlib.sha256(source.text.encode()).hexdigest()
    value = source.problem(("many", 0, "lasts"), "w")
    key = source.problem(("many", 0, "lasts"), "w", key=True)
    absent = source.problem(("many", 0, "band"), "w")
    beyond = source.problem(("many", 7), "w")
    assert (value.line, value.column) == (3, 13)
    assert (key.line, key.column) == (3, 6)
    assert (absent.line, absent.column) == (3, 5)
    assert (beyond.line, beyond.column) == (2, 1)


# ---------------------------------------------------------------- quantities


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("120 s", TIME, 120.0),
        ("120s", TIME, 120.0),
        ("2 min", TIME, 120.0),
        ("100 ms", TIME, 0.1),
        ("65 %", SHARE, 0.65),
        ("7 %", SHARE, 0.07),
        ("1 Hz", RATE, 1.0),
        ("at least 128 Hz", RATE, 128.0),
        ("At Least 1.024 kHz", RATE, 1024.0),
        ("75 uV", VOLTAGE, 75.0),
        ("75 µV", VOLTAGE, 75.0),
        ("75 μV", VOLTAGE, 75.0),
        ("5 mV", VOLTAGE, 5000.0),
        ("12 uV2", POWER, 12.0),
        ("12 µV²", POWER, 12.0),
        ("12 μV^2", POWER, 12.0),
        ("-1 mad", MAD, -1.0),
        ("−1 mad", MAD, -1.0),
        ("+.5 MAD", MAD, 0.5),
        ("1e1 s", TIME, 10.0),
    ],
)
def test_quantities(text: str, kind: Kind, value: float) -> None:
    assert measured(text, (kind,)) == (value, kind.unit)


@pytest.mark.parametrize(
    "text", ["8-12 Hz", "8 - 12 Hz", "8–12 Hz", "8 Hz - 12 Hz", "8 .. 12 Hz", "8 to 12 Hz"]
)
def test_bands(text: str) -> None:
    assert Inner.model_validate({"lasts_s": 1, "band_hz": text}).band_hz == (8.0, 12.0)


@pytest.mark.parametrize(
    ("text", "kind", "what"),
    [
        ("12", TIME, "`12` has no unit; a time needs one"),
        (12, TIME, "`12` has no unit; a time needs one"),
        ("12 Hz", TIME, "`12 Hz` is a frequency, not a time"),
        ("12 uV", POWER, "`12 uV` is a voltage, not a power"),
        ("12 lightyears", TIME, "unknown unit in `12 lightyears`"),
        ("8,5 s", TIME, "decimals are written with a point"),
        ("twelve s", TIME, "cannot be read as a time"),
        ("1e999 s", TIME, "cannot be read as a time"),
        ("nan s", TIME, "cannot be read as a time"),
        ("1 s s", TIME, "cannot be read as a time"),
        ("at least 3 s", TIME, "cannot be read as a time"),
        (True, TIME, "not `True`"),
        (None, TIME, "not `None`"),
        ("8-12 Hz", RATE, "cannot be read as a frequency"),
    ],
)
def test_quantities_refused_with_what_is_allowed(text: object, kind: Kind, what: str) -> None:
    with pytest.raises(type(mistake(""))) as caught:
        measured(text, (kind,))
    context = caught.value.context or {}
    assert what in context["what"]
    assert kind.examples[0] in context["allowed"]
    assert BAND.noun not in context["allowed"]


@given(st.integers(0, 100_000))
def test_a_share_in_percent_is_the_nearest_float(milli: int) -> None:
    assert measured(f"{milli / 1000:.3f} %", (SHARE,))[0] == float(f"{milli}e-5")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.6, "0.6 s"), (45, "45 s"), (59.96, "60 s"), (60, "1 min"), (90, "90 s"), (120, "2 min"),
     (1720, "28 min 40 s")],
)  # fmt: skip
def test_durations_as_people_say_them(seconds: float, said: str) -> None:
    assert spoken_s(seconds) == said


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda s: s.encode("utf-8"))))
def test_any_bytes_give_a_model_or_a_yaml_error(data: bytes) -> None:
    try:
        validate(Outer, parse(data, "f"))
    except YamlError as error:
        problems = error.problems
    else:
        problems = ()
    assert all(p.line >= 1 and p.column >= 1 and p.what for p in problems)
