"""Pictures from other packages, drawn where they can do no harm to the rest of the window.

Such a picture draws on a surface of its own, which is then copied: nothing it does to that surface
reaches what the guard judges. The first time it fails, a still symbol takes its place for good.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pygame

from feedback.scenes.still import Still
from feedback.stage import Moment, Picture, Stage

__all__ = ["ForeignPicture"]


class ForeignPicture:
    """A picture of a plugin, or the still symbol after it failed.

    Parameters
    ----------
    name : str
        As in the protocol.
    picture : Picture
        The plugin's.
    stage : Stage
        Its size and background.
    tell : callable
        Takes the sentence that says why the picture failed.
    """

    def __init__(
        self, name: str, picture: Picture, stage: Stage, tell: Callable[[str], None]
    ) -> None:
        self._name, self._stage, self._tell = name, stage, tell
        self._picture: Picture | None = picture
        self._still = Still(stage)
        self._own = pygame.Surface(stage.size)
        if pygame.display.get_surface():
            self._own = self._own.convert()

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
                own.blit(self._stage.background, (0, 0))
                self._picture.draw(own, moment)
                surface.blit(own, (0, 0))
                return
            except (Exception, SystemExit) as error:
                self._picture = None
                self._tell(
                    f"The picture `{self._name}` failed ({type(error).__name__}: {error}). A still "
                    "symbol is shown instead, which does not follow the level."
                )
        self._still.draw(surface, moment)
