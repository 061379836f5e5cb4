"""Fault scripts: what a simulated amplifier or person does, and when.

A script is a small YAML file, read with the same strictness as a protocol::

    format: 1
    faults:
      - {at: 30 s, do: vanish, for: 12 s}
      - {at: 60 s, do: nan, for: 100 ms, channel: Cz}
      - {at: 90 s, do: eyes_closed}

Every kind, with its code in the column ``truth_fault``, is in `KINDS`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from engine.config import Format, Strict, Text, Whole, read, validate
from engine.errors import YamlError
from engine.units import RATE, SHARE, TIME, VOLTAGE, described, measured, mistake, number, quantity

__all__ = ["KINDS", "Fault", "FaultKind", "load_faults"]

FOREVER_S = math.inf
ONE_SAMPLE_S = 0.0
PERSON_CODES = 40  # the person's doings are numbered from here
AWAY_S = 1.0  # how long a restart takes when the script does not say


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What one kind of fault does and which keys it takes.

    `lasts_s` is the duration when `for` is not given: 0 is one sample, infinity the rest of the
    run, None means that `for` must be given.
    """

    code: int
    doc: str
    lasts_s: float | None
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()

    @property
    def person(self) -> bool:
        """Whether it is the person who does it, not the amplifier."""
        return self.code >= PERSON_CODES


def _kind(code: int, doc: str, lasts_s: float | None, needs: str = "", may: str = "") -> FaultKind:
    return FaultKind(code, doc, lasts_s, frozenset(needs.split()), frozenset(may.split()))


KINDS: Mapping[str, FaultKind] = MappingProxyType(
    {
        # transport
        "vanish": _kind(1, "The outlet is gone; the same one comes back.", FOREVER_S),
        "freeze": _kind(
            2, "Nothing is sent; then all of it at once, or it is lost.", None, may="backlog"
        ),
        "burst": _kind(3, "Samples arrive in large packets.", None, may="packet"),
        "drop": _kind(4, "Samples are lost; the counter jumps.", ONE_SAMPLE_S, may="samples"),
        "dup": _kind(5, "The last samples are sent a second time.", ONE_SAMPLE_S, "samples"),
        "rate_offset": _kind(6, "The true rate differs from the declared one.", FOREVER_S, "by"),
        "clock_jump": _kind(7, "The time stamps jump and stay there.", ONE_SAMPLE_S, "by"),
        "twin": _kind(8, "A second outlet with the same name and source id.", FOREVER_S),
        "restart_other_rate": _kind(9, "Gone, then back at another rate.", AWAY_S, "rate"),
        "relabel": _kind(10, "Gone, then back with another label.", AWAY_S, "channel to"),
        "unit_lie": _kind(11, "Gone, then back declaring volts.", AWAY_S),
        # signal
        "nan": _kind(20, "Not a number.", ONE_SAMPLE_S, may="channel"),
        "inf": _kind(21, "Infinite.", ONE_SAMPLE_S, may="channel"),
        "spike": _kind(22, "Added to the signal.", ONE_SAMPLE_S, may="channel size"),
        "step": _kind(23, "An electrode pop: the offset changes.", FOREVER_S, may="channel size"),
        "flat": _kind(24, "The last value stays.", None, may="channel"),
        "rail": _kind(25, "Saturated at one value.", None, may="channel size"),
        "line": _kind(26, "Mains hum, `size` is its amplitude.", None, may="channel size"),
        "bridge": _kind(27, "Gel between two electrodes: both read alike.", None, "channel to"),
        # the person
        "eyes_open": _kind(40, "Opens the eyes.", FOREVER_S),
        "eyes_closed": _kind(41, "Closes the eyes.", FOREVER_S),
        "alpha": _kind(42, "Alpha amplitude times `gain`.", FOREVER_S, "gain"),
        "smr": _kind(43, "SMR amplitude times `gain`.", FOREVER_S, "gain"),
        "theta": _kind(44, "Theta amplitude times `gain`.", FOREVER_S, "gain"),
        "beta": _kind(45, "Beta amplitude times `gain`.", FOREVER_S, "gain"),
        "blink": _kind(46, "One blink.", 0.35, may="size"),
        "clench": _kind(47, "Clenches the jaw; `size` is the rms at the temples.", 1.0, may="size"),
    }
)

_ALWAYS = frozenset({"at", "do", "for"})


def _known(value: object) -> str:
    if not isinstance(value, str):
        raise mistake(f"the name of a fault is wanted here, not {described(value)}")
    if value not in KINDS:
        near = difflib.get_close_matches(value, KINDS, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise mistake(f"there is no fault `{value}`", f"{hint}possible: {', '.join(KINDS)}")
    return str(value)


def _amount(value: object) -> tuple[float, str]:
    if isinstance(value, tuple):
        return value
    return measured(value, (TIME, SHARE))


def _backlog(value: object) -> str:
    if value not in ("sent", "lost"):
        raise mistake(f"{described(value)} is not possible here", "`sent` or `lost`")
    return str(value)


class Fault(Strict):
    """One thing that happens.

    `by` is a time for ``clock_jump`` and a share of the rate for ``rate_offset``.
    """

    at_s: Annotated[float, *quantity(TIME, 0.0, 86_400.0)] = Field(alias="at")
    do: Annotated[str, BeforeValidator(_known)]
    for_s: Annotated[float, *quantity(TIME, 0.0, 86_400.0)] | None = Field(
        default=None, alias="for"
    )
    channel: Text | None = None
    to: Text | None = None
    samples: Annotated[Whole, Field(ge=1, le=100_000)] | None = None
    size_uv: Annotated[float, *quantity(VOLTAGE, -1e9, 1e9)] | None = Field(
        default=None, alias="size"
    )
    by: Annotated[tuple[float, str], BeforeValidator(_amount)] | None = None
    rate_hz: Annotated[float, *quantity(RATE, 128.0, 2048.0)] | None = Field(
        default=None, alias="rate"
    )
    gain: Annotated[float, BeforeValidator(number), Field(ge=0, le=20)] | None = None
    packet_s: Annotated[float, *quantity(TIME, 0.01, 10.0)] | None = Field(
        default=None, alias="packet"
    )
    backlog: Annotated[str, BeforeValidator(_backlog)] | None = None

    @property
    def kind(self) -> FaultKind:
        """What this fault does."""
        return KINDS[self.do]

    @property
    def lasts_s(self) -> float:
        """Its duration: 0 is one sample, infinity the rest of the run."""
        if self.for_s is not None:
            return self.for_s
        return FOREVER_S if self.kind.lasts_s is None else self.kind.lasts_s

    @model_validator(mode="after")
    def _keys_fit(self) -> Fault:
        given = {
            field.alias or name
            for name, field in type(self).model_fields.items()
            if getattr(self, name) is not None
        }
        extra = given - _ALWAYS - self.kind.needs - self.kind.may
        missing = self.kind.needs - given
        if self.kind.lasts_s is None and self.for_s is None:
            missing |= {"for"}
        takes = ", ".join(sorted(self.kind.needs | self.kind.may | _ALWAYS))
        if missing:
            raise mistake(f"`{self.do}` needs `{'`, `'.join(sorted(missing))}`", f"keys: {takes}")
        if extra:
            raise mistake(f"`{self.do}` has no `{'`, `'.join(sorted(extra))}`", f"keys: {takes}")
        wanted = {"clock_jump": "s", "rate_offset": "%"}.get(self.do)
        if wanted and self.by and self.by[1] != wanted:
            raise mistake(f"`{self.do}` needs `by` in {wanted}", f"for example `by: 2 {wanted}`")
        if self.do == "rate_offset" and self.by and abs(self.by[0]) > 0.5:
            raise mistake("the rate may be off by 50 % at most")
        return self


class FaultScript(Strict):
    """A file of faults."""

    format: Format
    faults: tuple[Fault, ...]

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Take the file as it is."""
        return data


def load_faults(path: str | Path, sites: tuple[str, ...] = ()) -> tuple[Fault, ...]:
    """Read a fault script.

    Parameters
    ----------
    path : str or Path
    sites : tuple of str
        Channels that exist; when given, others are refused.

    Returns
    -------
    tuple of Fault
        In the order of time.

    Raises
    ------
    FileError
        There is no such file.
    YamlError
        Something in it is wrong, with every mistake at file:line:column.
    """
    source = read(Path(path))
    faults = validate(FaultScript, source).faults
    if sites:
        problems = tuple(
            source.problem(("faults", i, key), f"there is no channel `{name}`", ", ".join(sites))
            for i, fault in enumerate(faults)
            for key, name in _sites_of(fault).items()
            if name not in sites
        )
        if problems:
            raise YamlError(problems)
    return tuple(sorted(faults, key=lambda f: f.at_s))


def _sites_of(fault: Fault) -> dict[str, str]:
    """Return the existing channels that a fault names, by key."""
    named = {"channel": fault.channel, "to": fault.to if fault.do == "bridge" else None}
    return {key: name for key, name in named.items() if name is not None}
