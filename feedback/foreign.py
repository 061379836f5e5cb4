"""Pictures from other packages, drawn where they can do no harm to the rest of the window.

Such a picture draws on a surface of its own, which is then copied: nothing it does to that surface
reaches what the guard judges. Its stage is a copy too, so that neither the background nor the
words of the other screens are its to paint on. The first time it fails, in whatever way, a still
symbol takes its place for good. See `feedback.door` for the ways around the surface.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import pygame

from engine.errors import InputError
from feedback.scenes.still import Still
from feedback.stage import Moment, Picture, Stage

__all__ = ["ForeignPicture"]

LONGEST_REASON = 200  # characters; an exception may say anything


class ForeignPicture:
    """A picture of a plugin, or the still symbol after it failed.

    Parameters
    ----------
    name : str
        As in the protocol.
    picture : Picture
        The plugin's.
    stage : Stage
        The window's own: size and background.
    tell : callable
        Takes the sentence that says why the picture failed.
    """

    def __init__(
        self, name: str, picture: Picture, stage: Stage, tell: Callable[[str], None]
    ) -> None:
        self._name, self._tell = name, tell
        self._picture: Picture | None = picture
        self._background = stage.background
        self._still = Still(stage)
        self._own = pygame.Surface(stage.size)
        with contextlib.suppress(pygame.error):  # no screen is open
            self._own = self._own.convert()

    @classmethod
    def made(
        cls,
        name: str,
        factory: Callable[[], Callable[[Stage], Picture]],
        stage: Stage,
        tell: Callable[[str], None],
    ) -> ForeignPicture:
        """Return the picture that a plugin makes from a copy of the stage.

        Parameters
        ----------
        factory : callable
            Imports and returns what makes the picture.

        Raises
        ------
        InputError
            The picture cannot be made.
        """
        try:
            picture = factory()(_copied(stage))
        except BaseException as error:
            raise InputError(
                f"The picture `{name}` cannot be made ({_reason(error)}).",
                "See docs/plugins.md, or write to the author of the package.",
            ) from error
        return cls(name, picture, stage, tell)

    @property
    def failed(self) -> bool:
        """Whether the still symbol is shown."""
        return self._picture is None

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `feedback.stage.Picture`."""
        if self._picture is not None:
            try:
                own = self._own
                own.set_clip(None)
                own.set_alpha(None)
                own.set_colorkey(None)
                own.blit(self._background, (0, 0))
                self._picture.draw(own, moment)
                surface.blit(own, (0, 0))
                return
            except BaseException as error:  # even SystemExit: the window is not the plugin's to end
                self._picture = None
                self._tell(
                    f"The picture `{self._name}` failed ({_reason(error)}). A still symbol is "
                    "shown instead, which does not follow the level."
                )
        self._still.draw(surface, moment)


def _copied(stage: Stage) -> Stage:
    """Return a stage to which a picture may do anything."""
    own = copy.copy(stage)
    own.background = stage.background.copy()
    own.options = dict(stage.options)
    for name, value in vars(stage).items():
        if name.startswith("_") and type(value) is dict:  # letters and words drawn so far
            setattr(own, name, {})
    return own


def _reason(error: BaseException) -> str:
    """Return what an exception says, which may fail as well."""
    try:
        says = str(error)
    except BaseException:
        says = "no reason"
    if len(says) > LONGEST_REASON:
        says = says[:LONGEST_REASON] + " ..."
    return f"{type(error).__name__}: {says}"
