"""Names and parameters of everything a person can see and hear, as data.

Protocol files are checked against these names on machines without a screen, so nothing here
imports pygame. `factory` says where the code is (``module:attribute``) and is resolved only inside
the person's window.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from engine import entrypoints

__all__ = [
    "CUES",
    "PICTURES",
    "SCREENS",
    "SOUNDS",
    "PictureKind",
    "SoundKind",
    "resolve",
    "with_plugins",
]

SCREENS = (
    "welcome",
    "instruction",
    "countdown",
    "feedback",
    "transfer",
    "rest",
    "test",
    "neutral",
    "end",
)
"""Screens the engine may ask for (`Show.screen`)."""

CUES = ("start", "end", "rest", "baseline", "test", "wake")
"""Short tones that mark the parts of a session, for closed eyes."""


@dataclass(frozen=True, slots=True)
class PictureKind:
    """One way to show the level.

    Parameters
    ----------
    name : str
        As written in a protocol.
    doc : str
        One sentence for people.
    mapping : str
        What moves with the level: the picture's one continuous mapping.
    factory : str
        ``module:class`` of the drawing code, a `feedback.pictures.Picture` made from the
        `feedback.pictures.Stage`. Only the person's window imports it.
    """

    name: str
    doc: str
    mapping: str
    factory: str


@dataclass(frozen=True, slots=True)
class SoundKind:
    """One sound.

    Parameters
    ----------
    name : str
        As written in a protocol.
    role : {"on_reward", "continuous"}
        Played once per reward, or following the level.
    doc : str
        One sentence for people.
    factory : str
        ``module:function`` of the synthesis: from the rate in Hz to samples of shape ``(n, 2)``,
        or for a continuous sound to two loops of such samples, the warm one and the bright one.
    """

    name: str
    role: Literal["on_reward", "continuous"]
    doc: str
    factory: str


PICTURES: Mapping[str, PictureKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            PictureKind(
                "orb",
                "A soft light that grows and brightens; a gentle glow marks a reward.",
                "radius and brightness",
                "feedback.pictures:Orb",
            ),
            PictureKind(
                "bar",
                "A quiet vertical bar beside a plain scale; a gentle glow marks a reward.",
                "height",
                "feedback.pictures:Bar",
            ),
            PictureKind(
                "none",
                "A fixed symbol that never changes: for feedback by sound alone.",
                "nothing",
                "feedback.pictures:Still",
            ),
        )
    }
)

SOUNDS: Mapping[str, SoundKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            SoundKind(
                "chime",
                "on_reward",
                "A soft bell of 0.7 s at each reward.",
                "feedback.sound:chime",
            ),
            SoundKind(
                "ambience",
                "continuous",
                "A warm chord that becomes fuller and brighter with the level, by 6 dB at most.",
                "feedback.sound:ambience",
            ),
        )
    }
)


def with_plugins(
    wanted: Sequence[entrypoints.Wanted],
) -> tuple[Mapping[str, PictureKind], Mapping[str, SoundKind]]:
    """Return all pictures and sounds: those built in, and those of the packages listed.

    Raises
    ------
    InputError
        A package is not usable, see `engine.entrypoints.offered`.
    """
    pictures = entrypoints.offered(wanted, entrypoints.PICTURES, PictureKind, PICTURES)
    sounds = entrypoints.offered(wanted, entrypoints.SOUNDS, SoundKind, SOUNDS)
    return MappingProxyType({**PICTURES, **pictures}), MappingProxyType({**SOUNDS, **sounds})


def resolve(factory: str) -> Any:
    """Return the object that ``module:attribute`` names.

    Raises
    ------
    ImportError, AttributeError
        When it does not exist.
    """
    module, _, attribute = factory.partition(":")
    return getattr(importlib.import_module(module), attribute)
