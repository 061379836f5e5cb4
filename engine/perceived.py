"""Is what the person should see and hear there? Asked before the person sits down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InputError
from engine.room import Room
from feedback.registry import PictureKind, SoundKind
from protocols.model import Feedback

__all__ = ["NOTHING", "Perceived", "check_media", "check_perceived"]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class Perceived:
    """What is seen and heard, by name.

    Parameters
    ----------
    picture : str
    on_reward, continuous : str or None
        Sounds.
    cues : {"tones", "none"}
    options : tuple of (str, float)
        Of the picture.
    """

    picture: str
    on_reward: str | None = "chime"
    continuous: str | None = None
    cues: str = "tones"
    options: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, feedback: Feedback) -> Perceived:
        """Return what a protocol names."""
        sound = feedback.sound
        return cls(
            feedback.picture,
            sound.on_reward,
            sound.continuous,
            sound.cues,
            feedback.picture_options,
        )


NOTHING = Perceived("none", on_reward=None, cues="none")
"""A still symbol and silence."""


def check_perceived(
    perceived: Perceived,
    room: Room,
    pictures: Mapping[str, PictureKind],
    sounds: Mapping[str, SoundKind],
) -> None:
    """Look whether the room has the images, film and sounds that would be used.

    Parameters
    ----------
    perceived : Perceived
    room : Room
    pictures, sounds : mapping
        What there is, plugins included.

    Raises
    ------
    InputError
        Something is not there, or is not what it should be.
    """
    picture = pictures.get(perceived.picture)
    continuous = sounds.get(perceived.continuous or "")
    if any(kind is not None and kind.needs == "film" for kind in (picture, continuous)):
        _film(room, perceived)
    if perceived.picture == "puzzle" and room.media.images is not None:
        _images(Path(room.media.images).expanduser())
    _sounds(room)


def check_media(room: Room) -> None:
    """Look whether everything is there that the room names, whichever protocol would use it.

    Raises
    ------
    InputError
    """
    if room.media.film is not None:
        from feedback.film import check_film

        check_film(room.media.film)
    if room.media.images is not None:
        _images(Path(room.media.images).expanduser())
    _sounds(room)


def _sounds(room: Room) -> None:
    if room.sound.files.given:
        from feedback.soundfile import check_file  # a decoder, for those who use it

        for name, path in room.sound.files.given:
            check_file(name, path)


def _film(room: Room, perceived: Perceived) -> None:
    if room.media.film is None:
        what = "picture `video`" if perceived.picture == "video" else "sound `film`"
        raise InputError(
            f"The {what} needs the room's own film, and the room names none.",
            "Write `media: {film: PATH}` in the room file.",
        )
    from feedback.film import check_film

    check_film(room.media.film)


def _images(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(
            f"The folder of images {folder} is not there.",
            "Correct `media: images` in the room file, or leave it out for the built-in images.",
        )
    if not any(p.suffix.lower() in IMAGES for p in folder.iterdir()):
        raise InputError(
            f"There is no image in {folder}.",
            f"Put images there ({', '.join(IMAGES)}), or leave `media: images` out.",
        )
