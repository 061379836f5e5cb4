"""Quantities as people write them: `8-12 Hz`, `2 min`, `65 %`, `12 uV2`, `at least 128 Hz`.

Every quantity in a YAML file is text with a unit. Python code and the resolved JSON in a
recording's header use plain numbers in the unit that the attribute's name ends with.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "ACCELERATION",
    "BAND",
    "IAF_RANGE_HZ",
    "MAD",
    "PACE",
    "NOMINAL_IAF_HZ",
    "POWER",
    "RATE",
    "SD",
    "SHARE",
    "TIME",
    "VOLTAGE",
    "Kind",
    "band",
    "described",
    "iaf_band",
    "is_flag",
    "is_iaf_band",
    "measured",
    "mistake",
    "number",
    "plain_band",
    "quantity",
    "shown",
    "spoken_s",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of quantity.

    Parameters
    ----------
    noun : str
        What it is, with its article.
    unit : str
        The unit of the resulting number, as written in YAML.
    factors : mapping of str to (int, int)
        Accepted units after normalisation, as fractions of `unit`.
    examples : tuple of str
        Shown when something else was written.
    prefixes : tuple of str
        Words that may stand before the number.
    """

    noun: str
    unit: str
    factors: Mapping[str, tuple[int, int]]
    examples: tuple[str, ...]
    prefixes: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What may be written, in words."""
        shown = {"uV": "uV (or µV)", "uV2": "uV2 (or µV²)"}
        units = ", ".join(shown.get(u, u) for u in self.factors)
        return f"a number with a unit: {units}; for example `{'` or `'.join(self.examples)}`"


TIME = Kind("a time", "s", {"s": (1, 1), "ms": (1, 1000), "min": (60, 1)}, ("120 s", "2 min"))
RATE = Kind("a frequency", "Hz", {"Hz": (1, 1), "kHz": (1000, 1)}, ("1 Hz",), ("at least",))
BAND = Kind("a band", "Hz", {"Hz": (1, 1)}, ("8-12 Hz",))
SHARE = Kind("a share", "%", {"%": (1, 100)}, ("65 %",))
VOLTAGE = Kind("a voltage", "uV", {"uV": (1, 1), "mV": (1000, 1)}, ("75 uV",))
POWER = Kind("a power", "uV2", {"uV2": (1, 1)}, ("12 uV2",))
MAD = Kind("a multiple of the median absolute deviation", "mad", {"mad": (1, 1)}, ("-1 mad",))
SD = Kind("a multiple of the standard deviation", "sd", {"sd": (1, 1)}, ("0.5 sd",))
ACCELERATION = Kind("an acceleration", "g", {"g": (1, 1), "mg": (1, 1000)}, ("0.1 g",))
PACE = Kind("a pace", "/min", {"/min": (1, 1)}, ("6 /min",))
ALL = (TIME, RATE, SHARE, VOLTAGE, POWER, MAD, SD, ACCELERATION, PACE)

_NUMBER = r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE][+-]?\d{1,2})?"
_ONE = re.compile(rf"({_NUMBER})\s*([^\d\s.+-][^\s]*)?")
_TWO = re.compile(
    rf"({_NUMBER})\s*([A-Za-z]+)?\s*(?:-|\.\.|to)\s*({_NUMBER})\s*([^\d\s.+-][^\s]*)?"
)


def mistake(what: str, allowed: str = "", at: object = None) -> PydanticCustomError:
    """Return the error a validator raises: what is wrong, and what is allowed instead.

    `at` is the value to point at when it is not the validated value itself.
    """
    return PydanticCustomError("mistake", "{what}", {"what": what, "allowed": allowed, "at": at})


def _normal(text: str) -> str:
    # NFKC turns the micro sign into Greek mu and the superscript two into 2.
    plain = unicodedata.normalize("NFKC", text).replace("μ", "u").replace("^2", "2")
    for dash in "‐‑‒–—−":
        plain = plain.replace(dash, "-")
    return " ".join(plain.split())


def _scaled(digits: str, factor: tuple[int, int]) -> float:
    # Decimal, so that `65 %` is exactly the float 0.65 and `100 ms` exactly 0.1.
    return float(Decimal(digits) * factor[0] / factor[1])


def shown(value: object) -> str:
    """Return what was written, shortened, for an error message."""
    text = str(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"`{text}`"


def measured(value: object, kinds: tuple[Kind, ...]) -> tuple[float, str]:
    """Read a number with a unit.

    Parameters
    ----------
    value : object
        The text, e.g. ``"12 µV²"``.
    kinds : tuple of Kind
        The kinds allowed here.

    Returns
    -------
    number : float
    unit : str
        The unit of the number, ``Kind.unit``.

    Raises
    ------
    PydanticCustomError
        When the text is no such quantity: says what was given and what is allowed.
    """
    allowed = " or ".join(k.allowed for k in kinds)
    nouns = " or ".join(k.noun for k in kinds)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise mistake(f"{shown(value)} has no unit; {nouns} needs one", allowed)
    if not isinstance(value, str):
        raise mistake(f"{nouns} is wanted here, not {described(value)}", allowed)
    text = _normal(value)
    for prefix in (p for k in kinds for p in k.prefixes):
        if text.casefold().startswith(prefix + " "):
            text = text[len(prefix) + 1 :]
    match = _ONE.fullmatch(text)
    if match is None:
        hint = "; decimals are written with a point" if re.search(r"\d,\d", text) else ""
        raise mistake(f"{shown(value)} cannot be read as {nouns}{hint}", allowed)
    digits, unit = match.group(1), match.group(2) or ""
    if not unit:
        raise mistake(f"{shown(value)} has no unit; {nouns} needs one", allowed)
    for kind in kinds:
        for name, factor in kind.factors.items():
            if unit.casefold() == name.casefold():
                result = _scaled(digits, factor)
                if not math.isfinite(result):
                    raise mistake(f"{shown(value)} is not a finite number", allowed)
                return result, kind.unit
    other = next((k for k in ALL if unit.casefold() in {u.casefold() for u in k.factors}), None)
    why = (
        f"{shown(value)} is {other.noun}, not {nouns}"
        if other
        else f"unknown unit in {shown(value)}"
    )
    raise mistake(why, allowed)


def described(value: object) -> str:
    """Return in words what kind of YAML value was given."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return shown(value)


def number(value: object) -> float:
    """Return a plain finite number or raise; texts, booleans and lists are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or is_flag(value):
        raise mistake(f"a number without unit is wanted here, not {described(value)}", "e.g. `0.2`")
    if not math.isfinite(value):
        raise mistake(f"{shown(value)} is not a finite number")
    return float(value)


def is_flag(value: object) -> bool:
    """Return whether a value read from YAML was `true` or `false`."""
    return isinstance(value, bool) or bool(getattr(value, "flag", False))


def _bounded(value: float, low: float, high: float, unit: str) -> float:
    if not low <= value <= high:
        times = 100 if unit == "%" else 1
        raise mistake(
            f"{value * times:g} {unit} is out of range",
            f"from {low * times:g} {unit} to {high * times:g} {unit}",
        )
    return value


def quantity(kind: Kind, low: float, high: float) -> tuple[BeforeValidator, WithJsonSchema]:
    """Return what `Annotated[float, *quantity(...)]` needs to read one kind of quantity.

    Plain Python numbers pass as they are (in `kind.unit`; a share from 0 to 1); numbers that
    were written in YAML without a unit are refused.
    """

    def read(value: object) -> float:
        if type(value) in (int, float):
            return _bounded(number(value), low, high, kind.unit)
        return _bounded(measured(value, (kind,))[0], low, high, kind.unit)

    schema: dict[str, Any] = {
        "type": "string",
        "description": f"{kind.noun}: {kind.allowed}",
        "examples": list(kind.examples),
    }
    return BeforeValidator(read), WithJsonSchema(schema)


def _read_band(value: object) -> tuple[float, float]:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = (number(v) for v in value)
        return _ordered(low, high, f"{low:g}-{high:g} Hz")
    if not isinstance(value, str):
        raise mistake(f"a band is wanted here, not {described(value)}", _BAND_ALLOWED)
    if "iaf" in value.casefold():
        low_off, high_off = _read_iaf_band(value)
        return NOMINAL_IAF_HZ + low_off, NOMINAL_IAF_HZ + high_off
    match = _TWO.fullmatch(_normal(value))
    if match is None:
        raise mistake(f"{shown(value)} cannot be read as a band", _BAND_ALLOWED)
    low_text, low_unit, high_text, high_unit = match.groups()
    if not high_unit:
        raise mistake(f"{shown(value)} has no unit; a band needs one", _BAND_ALLOWED)
    for unit in (low_unit or high_unit, high_unit):
        try:
            measured(f"1 {unit}", (BAND,))
        except PydanticCustomError as error:
            what = (error.context or {})["what"].replace(f"`1 {unit}`", shown(value))
            raise mistake(what, _BAND_ALLOWED) from None
    return _ordered(float(low_text), float(high_text), str(value))


_BAND_ALLOWED = (
    "two frequencies and the unit, for example `8-12 Hz`, or around the individual alpha "
    "frequency, for example `iaf-2 .. iaf+2`"
)
NOMINAL_IAF_HZ = 10.0
"""Stands for an individual alpha frequency as long as none is known."""
IAF_RANGE_HZ = (7.0, 13.0)
_IAF_EDGE = r"iaf\s*(?:([+-])\s*(\d{1,2}(?:\.\d{0,6})?))?(?:\s*Hz)?"
_IAF_BAND = re.compile(rf"{_IAF_EDGE}\s*(?:\.\.|to)\s*{_IAF_EDGE}", re.IGNORECASE)


def _read_iaf_band(value: object) -> tuple[float, float]:
    """Read `iaf-2 .. iaf+2` as offsets in Hz."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = (number(v) for v in value)
    else:
        match = _IAF_BAND.fullmatch(_normal(str(value)))
        if match is None:
            raise mistake(
                f"{shown(value)} cannot be read as a band around the individual alpha frequency",
                "two edges relative to it in Hz: `iaf-2 .. iaf+2`, `iaf .. iaf+2`",
            )
        low, high = (
            float(f"{sign or ''}{size}") if size else 0.0
            for sign, size in (match.groups()[:2], match.groups()[2:])
        )
    if low >= high:
        raise mistake(f"band {shown(value)} is upside down or empty", "lower edge first")
    if low < -6.0 or high > 30.0:
        raise mistake(f"band {shown(value)} is out of range", "from iaf-6 to iaf+30")
    return low, high


iaf_band = (BeforeValidator(lambda v: None if v is None else _read_iaf_band(v)),)


def is_iaf_band(value: object) -> bool:
    """Return whether a band is written around the individual alpha frequency."""
    return isinstance(value, str) and "iaf" in value.casefold()


def _ordered(low: float, high: float, text: str) -> tuple[float, float]:
    if low >= high:
        raise mistake(f"band {shown(text)} is upside down or empty", "lower edge first: `8-12 Hz`")
    if low < 0.1 or high > 2000:
        raise mistake(f"band {shown(text)} is out of range", "from 0.1 Hz to 2000 Hz")
    return low, high


_BAND_SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": f"a band: {_BAND_ALLOWED}",
    "examples": ["8-12 Hz", "iaf-2 .. iaf+2"],
}
band = (BeforeValidator(_read_band), WithJsonSchema(_BAND_SCHEMA))


def _read_plain_band(value: object) -> tuple[float, float]:
    if is_iaf_band(value):
        raise mistake(
            f"{shown(value)} lies around the individual alpha frequency; here the edges are fixed",
            _PLAIN_ALLOWED,
        )
    return _read_band(value)


_PLAIN_ALLOWED = "two frequencies and the unit, for example `1-40 Hz`"
_PLAIN_SCHEMA: dict[str, Any] = {
    "type": "string",
    "description": f"a band: {_PLAIN_ALLOWED}",
    "examples": ["1-40 Hz"],
}
plain_band = (BeforeValidator(_read_plain_band), WithJsonSchema(_PLAIN_SCHEMA))
"""A band that does not move with the individual alpha frequency."""


def spoken_s(seconds: float) -> str:
    """Return a duration as people say it: ``45 s``, ``3 min``, ``25 min 30 s``."""
    whole = round(seconds)
    if seconds < 60 or (seconds < 120 and whole % 60):
        return f"{seconds:.3g} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"
