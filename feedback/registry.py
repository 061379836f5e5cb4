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
    "probe",
)
"""Screens the engine may ask for (`Show.screen`); ``probe`` is for measuring delays."""

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
        ``module:class`` of the drawing code, a `feedback.stage.Picture` made from the
        `feedback.stage.Stage`. Only the person's window imports it.
    needs : {"", "film"}
        Which of the room's own media it shows; without them the session is refused.
    """

    name: str
    doc: str
    mapping: str
    factory: str
    needs: Literal["", "film"] = ""


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
        or for a continuous sound to two loops of such samples, the warm one and the bright one, or
        to a `feedback.voices.Voice`.
    needs : {"", "film"}
        Which of the room's own media it plays; without them the session is refused.
    """

    name: str
    role: Literal["on_reward", "continuous"]
    doc: str
    factory: str
    needs: Literal["", "film"] = ""


PICTURES: Mapping[str, PictureKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            PictureKind(
                "orb",
                "A soft light that grows and brightens; a gentle glow marks a reward.",
                "radius and brightness",
                "feedback.scenes.orb:Orb",
            ),
            PictureKind(
                "bar",
                "A quiet vertical bar beside a plain scale; a gentle glow marks a reward.",
                "height",
                "feedback.scenes.bar:Bar",
            ),
            PictureKind(
                "horizon",
                "A landscape: the sun stands as high as the level, light and weather follow.",
                "height of the sun",
                "feedback.scenes.horizon:Horizon",
            ),
            PictureKind(
                "garden",
                "A garden in which every reward grows something that stays; a firefly rises with "
                "the level.",
                "height of the firefly",
                "feedback.scenes.garden:Garden",
            ),
            PictureKind(
                "flight",
                "A slow flight over hills whose speed follows the level; a gauge tells it at once.",
                "length of the gauge",
                "feedback.scenes.flight:Flight",
            ),
            PictureKind(
                "puzzle",
                "A picture that rewards uncover piece by piece; the room may name its own images.",
                "length of the edge that fills",
                "feedback.scenes.puzzle:Puzzle",
            ),
            PictureKind(
                "video",
                "The room's own film, larger and brighter as the level rises, never flashing.",
                "length of the line below the film",
                "feedback.scenes.video:Video",
                needs="film",
            ),
            PictureKind(
                "breath",
                "A breathing pacer; the ring around it closes with the level.",
                "length of the ring",
                "feedback.scenes.breath:Breath",
            ),
            PictureKind(
                "none",
                "A fixed symbol that never changes: for feedback by sound alone.",
                "nothing",
                "feedback.scenes.still:Still",
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
                "feedback.voices:chime",
            ),
            SoundKind(
                "ambience",
                "continuous",
                "A warm chord that becomes fuller and brighter with the level, by 6 dB at most.",
                "feedback.voices:ambience",
            ),
            SoundKind(
                "tone_pitch",
                "continuous",
                "A soft tone whose pitch rises with the level, by an octave, equally loud.",
                "feedback.voices:tone_pitch",
            ),
            SoundKind(
                "tone_volume",
                "continuous",
                "A soft tone that becomes louder with the level, by 12 dB at most.",
                "feedback.voices:tone_volume",
            ),
            SoundKind(
                "two_voices",
                "continuous",
                "Two voices for closed eyes: the low one swells with the level, the high one with "
                "each reward, and ebbs.",
                "feedback.voices:two_voices",
            ),
            SoundKind(
                "film",
                "continuous",
                "The sound of the room's own film, as loud as the level.",
                "feedback.film:film_sound",
                needs="film",
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
