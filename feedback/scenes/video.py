"""The room's own film in the dark: larger and brighter as the level rises, and never in a hurry.

The film is a large area, so its light and size go after the level slowly; what follows at once is
the slim line below it. A cut in the film would be a jump of a large area too: frames are blended
into each other no faster than the window may change, so that the guard behind every picture has
nothing to do and the line stays prompt. While there is no honest answer the film stands still in
grey, in a light and size between low and high.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.film import check_film
from feedback.guard import AREA_CELLS, AREA_PER_S, COLS, MEAN_PER_S, ROWS, luminance
from feedback.reel import Film, FilmFrame
from feedback.scenes.shading import cut_out, mixed, smooth
from feedback.stage import ASH, IVORY, SAND, SLATE, Moment, Stage, box_distance, cover_surface

__all__ = ["Video"]

CENTRE_UP = 0.105  # of the film, above the window's centre, in units
LARGEST = (1.12, 0.62)  # in units
SMALLEST = 0.76  # opening at level 0, as a share of the largest, along each side
OPENING_PER_S = 0.05  # of the largest
# Relative luminance with which the film's white shines, at level 0 and 1 and without an answer.
DIM, LIT, NEUTRAL = 0.10, 0.60, 0.20
LIGHT_PER_S = 0.09  # science 11 rule 9: at most a tenth of full light per second
SEAM_S = 1.2  # the film's end blends into its beginning
PRUDENT = 0.7  # share of what the guard allows
MEAN_BURST, AREA_BURST = 0.014, 0.028  # of luminance, at once
GROUND = 34.0  # code of the window's ground behind the film

LINE_DOWN = 0.252  # below the window's centre, in units
LINE_LONG, LINE_THICK = 0.80, 0.012
NEUTRAL_LONG = 0.5  # of the line


class Video:
    """A film that grows lighter and larger with the level, above a line that follows at once.

    Raises
    ------
    InputError
        The room names no film that can be played.
    """

    def __init__(self, stage: Stage) -> None:
        self._size, grid = _fitting(stage)
        self.film = Film(stage.media.film, self._size, grid)
        self._still_size = stage.style.reduced_motion
        self._pace = _Pace(grid)
        self._mat = _Mat(stage, self._size)
        self._line = _Line(stage)
        # The film as it is shown, before it is dimmed; its newest frame; and that frame in grey.
        self._shown, self._fresh, self._ash = (_plain(self._size) for _ in range(3))
        self._frame: FilmFrame | None = None
        self._grey_of: FilmFrame | None = None
        self._arrived = True  # whether what is shown is the newest frame
        self._seam_s = 0.0
        self._light = NEUTRAL
        self._wide = 1.0 if self._still_size else (1.0 + SMALLEST) / 2.0

    @property
    def error(self) -> str:
        """Why the film stands still for good; empty while it can play."""
        return self.film.error

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        self._follow(moment)
        self._project(moment)
        self._mat.open(self._wide)
        if moment.glow > 0.0:
            self._mat.glow(surface, moment.glow)
        if self._frame is not None:
            # Both together are as opaque as one would be.
            opaque, grey = _opaque(self._light), 1.0 - moment.live
            if grey < 1.0:
                self._mat.show(surface, self._shown, opaque * (1.0 - grey) / (1.0 - opaque * grey))
            if grey > 0.0:
                self._turn_grey(self._frame)
                self._mat.show(surface, self._ash, opaque * grey)
        self._line.draw(surface, moment)

    def _follow(self, moment: Moment) -> None:
        """Let light and size go after the level; without an answer, to between low and high."""
        level, live = min(1.0, max(0.0, moment.level)), moment.live
        light = NEUTRAL + (DIM + (LIT - DIM) * level - NEUTRAL) * live
        self._light += _toward(light - self._light, LIGHT_PER_S, moment.frame_s)
        if not self._still_size:
            wide = SMALLEST + (1.0 - SMALLEST) * (0.5 + (level - 0.5) * live)
            self._wide += _toward(wide - self._wide, OPENING_PER_S, moment.frame_s)

    def _project(self, moment: Moment) -> None:
        """Let the film run on, and blend its newest frame into what is shown."""
        frame_s, frame = moment.frame_s, self.film.step(moment.dt)
        if frame is None:
            return
        if frame is not self._frame:
            if self._frame is None or frame.loop != self._frame.loop:
                self._seam_s = SEAM_S
            image = pygame.image.frombuffer(frame.pixels, self._size, "BGRA")
            image.set_alpha(None)
            self._fresh.blit(image, (0, 0))
            self._frame, self._arrived = frame, False
        self._pace.rest(frame_s)
        most = frame_s / self._seam_s if self._seam_s > frame_s else 1.0
        self._seam_s = max(0.0, self._seam_s - frame_s)
        if not self._arrived:
            share = self._pace.share(frame.small, _opaque(self._light), most)
            self._fresh.set_alpha(None if share == 255 else share)
            self._shown.blit(self._fresh, (0, 0))
            self._fresh.set_alpha(None)
            self._arrived = share == 255

    def _turn_grey(self, frame: FilmFrame) -> None:
        """Have the newest frame in the grey of ash."""
        if frame is not self._grey_of:
            self._grey_of = frame
            image = pygame.image.frombuffer(frame.grey().tobytes(), self._size, "P")
            image.set_palette(_ASHEN)
            self._ash.blit(image, (0, 0))


_ASHEN = np.rint(np.clip(np.arange(256)[:, None] * ASH / ASH.mean(), 0, 255)).astype(int).tolist()


def _fitting(stage: Stage) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the size in pixels at which the film fits, and its columns and rows of cells."""
    facts = check_film(stage.media.film)
    shape = facts.width / facts.height
    broad = min(LARGEST[0], 0.92 * stage.width / stage.unit)
    tall = min(LARGEST[1], broad / shape)
    height = max(16, 2 * round(tall * stage.unit / 2))
    width = max(16, 16 * round(height * shape / 16))  # rows of bytes without padding
    cols, rows = round(COLS * width / stage.width), round(ROWS * height / stage.height)
    return (width, height), (max(1, cols), max(1, rows))


def _plain(size: tuple[int, int]) -> Any:
    surface = pygame.Surface(size, 0, 32)
    return surface.convert() if pygame.display.get_surface() else surface


def _toward(distance: float, per_s: float, frame_s: float) -> float:
    """Return the next step over `distance`: no faster than `per_s`, and with a soft end."""
    most = per_s * frame_s
    step = min(most, max(-most, distance * min(1.0, frame_s / 0.4)))
    return distance if abs(distance) < 1e-4 else step


def _opaque(light: float) -> float:
    """Return how opaque the film must be for its white to have the luminance `light`."""
    code = 255.0 * (1.055 * max(light, 0.0032) ** (1.0 / 2.4) - 0.055)
    return float(min(1.0, max(0.0, (code - GROUND) / (255.0 - GROUND))))


class _Pace:
    """How fast frames of the film may be blended into each other.

    The guard's own rules for slopes, taken more strictly, for the cells of the film alone; how
    far a new frame may be shown now is the largest share that keeps them.

    Parameters
    ----------
    grid : (int, int)
        Columns and rows of the film, in the guard's cells.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        cols, rows = grid
        self._codes: Float = np.zeros((rows, cols, 3))  # as shown, before it is dimmed
        self._of_window = cols * rows / (COLS * ROWS)
        self._mean_left = 0.0
        self._area_left: Float = np.zeros((rows, cols))

    def rest(self, frame_s: float) -> None:
        """Let the time of one frame pass."""
        self._mean_left = min(self._mean_left + PRUDENT * MEAN_PER_S * frame_s, MEAN_BURST)
        self._area_left = np.minimum(self._area_left + PRUDENT * AREA_PER_S * frame_s, AREA_BURST)

    def share(self, fresh: NDArray[np.uint8], opaque: float, most: float) -> int:
        """Return the share of a fresh frame over what is shown, in 255ths, and take it as shown."""
        before = _light_of(self._codes, opaque)
        away = fresh - self._codes

        def change(share: int) -> Float:
            return _light_of(self._codes + away * (share / 255), opaque) - before

        low, high = 0, round(255 * most)
        if self._allows(change(high)):
            low = high
        while high - low > 1:
            middle = (low + high) // 2
            if self._allows(change(middle)):
                low = middle
            else:
                high = middle
        spent = change(low)
        self._codes += away * (low / 255)
        self._mean_left -= abs(float(spent.mean())) * self._of_window
        self._area_left = np.maximum(self._area_left - np.abs(spent), 0.0)
        return low

    def _allows(self, change: Float) -> bool:
        if abs(float(change.mean())) * self._of_window > self._mean_left:
            return False
        return all(
            np.count_nonzero(fast) < AREA_CELLS
            for fast in (change > self._area_left, -change > self._area_left)
        )


def _light_of(codes: Float, opaque: float) -> Float:
    """Return the luminance of film codes that are dimmed over the window's ground."""
    seen = GROUND + (codes - GROUND) * opaque
    return luminance(np.rint(seen).astype(np.uint8)).astype(np.float64)


class _Mat:
    """The soft-edged opening through which the film is seen, and the light around it.

    Inside, the film is drawn as it is; only four bands along the edges are blended pixel by
    pixel. Their corners and middles are cut from one mask, so that any size costs the same.
    """

    def __init__(self, stage: Stage, size: tuple[int, int]) -> None:
        self._size = size
        self._centre = (stage.centre[0], stage.centre[1] - CENTRE_UP * stage.unit)
        feather, corner = stage.px(0.016), stage.px(0.030)
        band = min(stage.px(0.040), min(size) // 4)
        self._band = band
        inner = (size[0] - feather, size[1] - feather)
        distance = box_distance(*size, inner, corner)
        x = np.clip(0.5 - distance / feather, 0.0, 1.0)
        mask = cover_surface(smooth(x), (255, 255, 255), 255)
        self._mask = mask
        self._row = pygame.Surface((size[0], band), pygame.SRCALPHA)
        self._col = pygame.Surface((band, size[1]), pygame.SRCALPHA)
        reach = stage.px(0.070)
        whole = (size[0] + 2 * reach, size[1] + 2 * reach)
        away = box_distance(*whole, inner, corner)
        near = np.clip(1.0 - np.maximum(away, 0.0) / reach, 0.0, 1.0)
        within = np.clip(1.0 + away / feather, 0.0, 1.0)  # none of it under the film itself
        self._reach = reach
        self._halo = cover_surface(within * smooth(near), (255, 206, 140), 70)
        self.open(1.0)

    def open(self, wide: float) -> None:
        """Set the size of the opening, as a share of the film along each side."""
        width, height = self._size
        self._w = max(2 * self._band, width - 2 * round(width * (1.0 - wide) / 2))
        self._h = max(2 * self._band, height - 2 * round(height * (1.0 - wide) / 2))
        self._left = round(self._centre[0] - self._w / 2)
        self._top = round(self._centre[1] - self._h / 2)

    def show(self, surface: Any, film: Any, opaque: float) -> None:
        """Draw the film through the opening."""
        alpha = round(255 * min(1.0, max(0.0, opaque)))
        w, h, band = self._w, self._h, self._band
        x, y = (self._size[0] - w) // 2, (self._size[1] - h) // 2
        self._blend(surface, film, self._row, (x, y, w, band), (0, 0), alpha)
        self._blend(surface, film, self._row, (x, y + h - band, w, band), (0, h - band), alpha)
        tall = h - 2 * band
        self._blend(surface, film, self._col, (x, y + band, band, tall), (0, band), alpha)
        self._blend(
            surface, film, self._col, (x + w - band, y + band, band, tall), (w - band, band), alpha
        )
        film.set_alpha(alpha)
        at = (self._left + band, self._top + band)
        surface.blit(film, at, (x + band, y + band, w - 2 * band, tall))
        film.set_alpha(None)

    def _blend(
        self,
        surface: Any,
        film: Any,
        piece: Any,
        part: tuple[int, int, int, int],
        at: tuple[int, int],
        alpha: int,
    ) -> None:
        """Draw a band of the film, its outer edge soft."""
        _, _, w, h = part
        piece.blit(film, (0, 0), part)
        for area, to in _ninths(self._mask.get_size(), (self._w, self._h), self._band):
            inside = pygame.Rect(to, area[2:]).clip((*at, w, h))
            if inside.w and inside.h:
                source = inside.move(area[0] - to[0], area[1] - to[1])
                there = (inside.x - at[0], inside.y - at[1])
                piece.blit(self._mask, there, source, special_flags=pygame.BLEND_RGBA_MULT)
        piece.set_alpha(alpha)
        surface.blit(piece, (self._left + at[0], self._top + at[1]), (0, 0, w, h))

    def glow(self, surface: Any, strength: float) -> None:
        """Draw a reward's light around the opening."""
        reach = self._reach
        self._halo.set_alpha(round(255 * strength))
        size = (self._w + 2 * reach, self._h + 2 * reach)
        for area, to in _ninths(self._halo.get_size(), size, reach + self._band):
            at = (self._left - reach + to[0], self._top - reach + to[1])
            surface.blit(self._halo, at, area)


def _ninths(
    whole: tuple[int, int], size: tuple[int, int], edge: int
) -> list[tuple[tuple[int, int, int, int], tuple[int, int]]]:
    """Return where the eight outer parts of a smaller frame lie in a larger one, and where to.

    Corners come from the corners; the straight edges between are cut shorter.
    """
    w, h = size
    wide, tall = w - 2 * edge, h - 2 * edge
    columns = ((0, 0, edge), (edge, edge, wide), (whole[0] - edge, w - edge, edge))
    rows = ((0, 0, edge), (edge, edge, tall), (whole[1] - edge, h - edge, edge))
    return [
        ((source_x, source_y, part_w, part_h), (x, y))
        for i, (source_x, x, part_w) in enumerate(columns)
        for j, (source_y, y, part_h) in enumerate(rows)
        if (i, j) != (1, 1)
    ]


class _Line:
    """A slim line that grows from its middle, as long as the level; ashen without an answer."""

    def __init__(self, stage: Stage) -> None:
        strong = stage.style.high_contrast
        self._long, thick = stage.px(LINE_LONG), stage.px(LINE_THICK * (1.5 if strong else 1.0))
        size = (self._long + 4, thick + 4)
        self._thick = float(thick)
        self._x = np.abs(np.arange(size[0]) + 0.5 - size[0] / 2)[:, None]
        self._y = np.abs(np.arange(size[1]) + 0.5 - size[1] / 2)[None, :]
        self._at = (
            round(stage.centre[0] - size[0] / 2),
            round(stage.centre[1] + LINE_DOWN * stage.unit - size[1] / 2),
        )
        along = np.clip(2.0 * self._x / self._long, 0.0, 1.0)
        self._hue = mixed(along, SLATE * 1.15, SAND * 1.05, IVORY * 0.96)
        ground = (96, 91, 86) if strong else (70, 66, 62)
        self._track = cover_surface(self._cover(1.0), ground, 255 if strong else 150)
        self._fill = pygame.Surface(size, pygame.SRCALPHA)
        self._live = -1.0

    def _cover(self, length: float) -> Float:
        """Return how much of each pixel a line of this length covers."""
        straight = 0.5 * (self._long - self._thick) * length
        beyond = np.hypot(np.maximum(self._x - straight, 0.0), self._y)
        return np.asarray(np.clip(self._thick / 2 + 0.5 - beyond, 0.0, 1.0))

    def draw(self, surface: Any, moment: Moment) -> None:
        live = moment.live
        if live != self._live:
            self._live = live
            pixels = pygame.surfarray.pixels3d(self._fill)
            pixels[:] = np.rint(ASH + (self._hue - ASH) * live).astype(np.uint8)
            del pixels  # unlocks the surface
        level = min(1.0, max(0.0, moment.level))
        cover = self._cover(NEUTRAL_LONG + (level - NEUTRAL_LONG) * live)
        cut_out(self._fill, cover)
        surface.blit(self._track, self._at)
        surface.blit(self._fill, self._at)
