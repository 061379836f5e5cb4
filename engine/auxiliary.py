"""Columns that tell of eyes and head movements, beside the EEG that is conditioned.

They are read as recorded: a difference of two electrodes does not depend on the reference, and an
accelerometer has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from engine.frames import StreamSpec
from engine.montage import find_site
from engine.reference import Montage

__all__ = ["EYE_SITES", "Accelerometer", "Eyes", "find_accelerometer", "find_eyes"]

EYE_SITES = ("F7", "F8")
"""The scalp sites between which an eye that turns sideways shows most."""

STANDARD_GRAVITY = 9.80665  # m/s² per g (CGPM 1901)

_TO_G: Mapping[str, float] = MappingProxyType(
    {
        "g": 1.0,
        "mg": 1e-3,
        "m/s2": 1.0 / STANDARD_GRAVITY,
        "m/s^2": 1.0 / STANDARD_GRAVITY,
        "m/s²": 1.0 / STANDARD_GRAVITY,
        "m/s**2": 1.0 / STANDARD_GRAVITY,
        "m/sec2": 1.0 / STANDARD_GRAVITY,
        "m/sec^2": 1.0 / STANDARD_GRAVITY,
    }
)
_GYROSCOPE = re.compile(r"gyro|°/s|deg/s|dps|rad/s", re.IGNORECASE)
_VERTICAL = re.compile(r"v", re.IGNORECASE)
_LEFT_RIGHT = tuple(
    (re.compile(left, re.IGNORECASE), re.compile(right, re.IGNORECASE))
    for left, right in ((r"LOC", r"ROC"), (r"EOG[ _-]?L(eft)?", r"EOG[ _-]?R(ight)?"))
)


@dataclass(frozen=True, slots=True)
class Eyes:
    """One trace that moves when the eyes turn sideways.

    Parameters
    ----------
    name : str
        ``F7-F8`` or the name of an EOG channel.
    plus : int
        Position within `Montage.columns`.
    minus : int or None
        What is subtracted from it; None for a channel that is bipolar already.
    """

    name: str
    plus: int
    minus: int | None = None


@dataclass(frozen=True, slots=True)
class Accelerometer:
    """Three axes of one accelerometer.

    Parameters
    ----------
    columns : tuple of int
        Columns of the stream.
    to_g : float
        Factor from the source's numbers to g.
    """

    columns: tuple[int, int, int]
    to_g: float


def find_eyes(montage: Montage, at: Sequence[str] | None = None) -> tuple[Eyes, ...]:
    """Return the traces in which a sideways eye movement shows.

    Parameters
    ----------
    montage : Montage
        The picked columns.
    at : sequence of str, optional
        Two sites, or one channel, as the protocol names them. By default F7 against F8, every
        EOG channel that is not vertical by its name, and a left against a right one.

    Returns
    -------
    tuple of Eyes
        Empty when the stream has none of them.
    """
    names = montage.names
    if at is not None:
        found = [find_site(s, names) for s in at]
        if None in found or not found:
            return ()
        places = [i for i in found if i is not None]
        minus = places[1] if len(places) > 1 else None
        return (Eyes("-".join(names[i] for i in places), places[0], minus),)
    out = []
    left, right = (find_site(s, names) for s in EYE_SITES)
    if left is not None and right is not None:
        out.append(Eyes(f"{names[left]}-{names[right]}", left, right))
    eog = [i for i, eeg in enumerate(montage.is_eeg) if not eeg]
    for one, other in _LEFT_RIGHT:
        pair = [next((i for i in eog if p.fullmatch(names[i])), None) for p in (one, other)]
        a, b = pair
        if a is not None and b is not None:
            out.append(Eyes(f"{names[a]}-{names[b]}", a, b))
            eog = [i for i in eog if i not in (a, b)]
    out += [Eyes(names[i], i) for i in eog if not _VERTICAL.match(names[i])]
    return tuple(out)


def find_accelerometer(spec: StreamSpec) -> tuple[Accelerometer | None, str]:
    """Return the stream's accelerometer, and why one that is there cannot be used.

    Parameters
    ----------
    spec : StreamSpec
        The stream.

    Returns
    -------
    found : Accelerometer or None
    why : str
        Empty when it was found, and when the stream has no such columns at all.
    """
    columns = [
        i
        for i, c in enumerate(spec.channels)
        if c.kind == "accelerometer" and not _GYROSCOPE.search(f"{c.name} {c.label} {c.unit}")
    ]
    if not columns:
        return None, ""
    units = {"".join(spec.channels[i].unit.split()).casefold() for i in columns}
    if len(columns) != 3:
        return None, f"the accelerometer has {len(columns)} columns instead of three"
    if len(units) != 1 or (to_g := _TO_G.get(units.pop())) is None:
        return None, "the accelerometer's unit is not known to be g or m/s²"
    a, b, c = columns
    return Accelerometer((a, b, c), to_g), ""
