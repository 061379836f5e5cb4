"""A picture that rewards uncover piece by piece; a line below it is as long as the level.

Everything on the board follows from the running number of rewards alone. The board is kept as it
stands after the last whole reward, and only the piece that is coming is mixed in each frame.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.frames import Float
from feedback.scenes.ownimages import own_images
from feedback.scenes.paintings import painted
from feedback.scenes.shading import (
    Float32,
    Rgb,
    around,
    blank,
    code,
    cut_out,
    dithered,
    mixed,
    shrunk,
    smooth,
)
from feedback.stage import (
    ASH,
    GLOW,
    IVORY,
    SAND,
    SLATE,
    Moment,
    Stage,
    box_distance,
    cover_surface,
    disc,
)

__all__ = ["PIECES", "Puzzle"]

COLUMNS, ROWS = 6, 4
PIECES = COLUMNS * ROWS
PANE: Rgb = (46.0, 54.0, 62.0)  # a covered piece


class Puzzle:
    """A picture uncovered piece by piece; the finished ones stay small below it."""

    LATE = 0.5  # a finished picture is half gone when the first piece of the next one comes
    ROOM = 10  # finished pictures that fit below

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lay_out()
        size = (self._wide, self._tall)
        folder = stage.media.images
        self._images = own_images(Path(folder), size) if folder else painted(size)
        self._order = np.random.default_rng(23).permutation(PIECES)
        self._masks, seams = _cut(size)
        self._cover = self._draw_cover(seams)
        self._thumbs = [self._thumbnail(image) for image in self._images]
        self._corner = max(3, round(0.014 * stage.unit))
        self._inside = self._corners()
        self._board = blank(size)
        self._open = np.zeros(size, dtype=np.float32)  # how far each pixel is uncovered
        self._state = (-1, -1)  # picture and pieces on the board
        self._piece: tuple[int, int, Any] = (-1, -1, None)  # the one that fades in
        self._mist = blank(size)
        self._mist.fill([round(c * 0.52) for c in ASH])
        self._glow = self._edge_light()
        self._line = _Line(stage, self._wide, self._left, self._line_y)

    @property
    def board(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the board, pixels."""
        return self._left, self._top, self._wide, self._tall

    # ------------------------------------------------------------ drawn once

    def _lay_out(self) -> None:
        """Find the largest board that leaves room for the line and the finished pictures."""
        stage = self._stage
        side = math.floor(min(stage.width * 0.92 / COLUMNS, stage.height * 0.712 / ROWS))
        self._side = side
        self._wide, self._tall = side * COLUMNS, side * ROWS
        self._left = (stage.width - self._wide) // 2
        self._thumb = (round(self._wide / 13), round(self._wide / 13 / 1.5))
        below = 0.088 * self._tall + self._thumb[1]
        # Above the three dots that tell of a signal that settles.
        self._top = max(1, round((stage.height * 0.915 - self._tall - below) / 2))
        self._line_y = round(self._top + 1.040 * self._tall)
        self._thumb_y = round(self._line_y + 0.048 * self._tall)

    def _draw_cover(self, seams: Float) -> Any:
        """Return the board with every piece covered."""
        x = np.linspace(-1, 1, self._wide)[:, None, None]
        y = np.linspace(-1, 1, self._tall)[None, :, None]
        light = 1.0 - 0.10 * y - 0.10 * (x**2 + y**2)
        colours = np.array(PANE) * light
        # A dark seam, and light on the edge just below it.
        edge = np.clip(np.roll(seams, 1, axis=1) - seams, 0, 1)[..., None]
        colours = colours * (1.0 - 0.42 * seams[..., None]) + 16.0 * edge
        return dithered(colours)

    def _corners(self) -> list[tuple[Any, tuple[int, int]]]:
        """Return four small pieces of background that round the board's corners."""
        stage = self._stage
        reach = self._corner
        outside = box_distance(self._wide, self._tall, (self._wide, self._tall), reach)
        corners = []
        for x in (0, self._wide - reach):
            for y in (0, self._tall - reach):
                cover = np.clip(outside[x : x + reach, y : y + reach] + 0.5, 0, 1)
                at = (self._left + x, self._top + y)
                corner = pygame.Surface((reach, reach), pygame.SRCALPHA)
                corner.blit(stage.background, (0, 0), (*at, reach, reach))
                cut_out(corner, cover)
                corners.append((corner, at))
        return corners

    def _thumbnail(self, image: Any) -> Any:
        small = pygame.Surface(self._thumb, pygame.SRCALPHA)
        small.blit(pygame.transform.smoothscale(image, self._thumb), (0, 0))
        away = box_distance(*self._thumb, self._thumb, 0.12 * self._thumb[1])
        cut_out(small, np.clip(0.5 - away, 0, 1))
        return small

    def _edge_light(self) -> list[tuple[Any, tuple[int, int]]]:
        """Return a reward's light around the board, as four strips: its middle would be hidden."""
        reach = round(0.055 * self._stage.unit)
        wide, tall = self._wide + 2 * reach, self._tall + 2 * reach
        away = box_distance(wide, tall, (self._wide, self._tall), self._corner)
        near = np.where(away > -1.0, np.clip(1.0 - away / reach, 0, 1), 0.0) ** 2.2
        whole = cover_surface(near, code(GLOW), 110)
        rim = reach + self._corner
        parts = (
            (0, 0, wide, rim),
            (0, tall - rim, wide, rim),
            (0, rim, rim, tall - 2 * rim),
            (wide - rim, rim, rim, tall - 2 * rim),
        )
        left, top = self._left - reach, self._top - reach
        return [(whole.subsurface(p).copy(), (left + p[0], top + p[1])) for p in parts]

    # ------------------------------------------------------------ drawn in every frame

    def draw(self, surface: Any, moment: Moment) -> None:
        """Draw one frame; see `Picture`."""
        done = math.floor(moment.rewards)
        part = moment.rewards - done
        self._bring(done)
        surface.blit(self._board, (self._left, self._top))
        if part > 0.0:
            self._coming(surface, done, part)
        if moment.live < 1.0:
            self._mist.set_alpha(round(170 * (1.0 - moment.live)))
            surface.blit(self._mist, (self._left, self._top))
        for corner, at in self._inside:
            surface.blit(corner, at)
        if moment.glow > 0.0:
            for strip, at in self._glow:
                strip.set_alpha(round(255 * moment.glow))
                surface.blit(strip, at)
        self._finished(surface, done, part, 0.3 + 0.7 * moment.live)
        self._line.draw(surface, moment.level, moment.live)

    def _shown(self, done: int) -> tuple[int, int]:
        """Return which picture stands on the board after `done` rewards, and how many pieces.

        A picture that was finished stays until the next reward.
        """
        if done <= 0:
            return 0, 0
        return (done - 1) // PIECES, (done - 1) % PIECES + 1

    def _bring(self, done: int) -> None:
        """Bring the kept board to `done` rewards."""
        picture, pieces = self._shown(done)
        if (picture, pieces) == self._state:
            return
        before = self._state[1] if picture == self._state[0] else PIECES + 1
        if pieces < before:
            self._board.blit(self._cover, (0, 0))
            self._open[:] = 0.0
            before = 0
        for k in range(before, pieces):
            self._fix(picture, k)
        self._state = (picture, pieces)

    def _fix(self, picture: int, place: int) -> None:
        """Draw a piece into the kept board.

        What the pieces cover of a pixel adds up, so no seam is left between two of them.
        """
        mask, (x, y) = self._masks[int(self._order[place])]
        box = (x, y, *mask.get_size())
        opened = self._open[x : x + box[2], y : y + box[3]]
        opened += np.asarray(pygame.surfarray.array_alpha(mask)) / np.float32(255)
        share = np.minimum(opened, 1.0)[..., None]
        image, cover, board = (
            pygame.surfarray.pixels3d(s.subsurface(box))
            for s in (self._images[picture % len(self._images)], self._cover, self._board)
        )
        board[:] = (cover + (image - cover.astype(np.float32)) * share + 0.5).astype(np.uint8)

    def _uncover(self, surface: Any, picture: int, place: int, alpha: int) -> None:
        """Draw the piece that comes at `place` in the order, as visible as `alpha`."""
        mask, (x, y) = self._masks[int(self._order[place])]
        if self._piece[:2] != (picture, place):
            piece = mask.copy()
            image = self._images[picture % len(self._images)]
            part = (x, y, *mask.get_size())
            piece.blit(image, (0, 0), part, special_flags=pygame.BLEND_RGB_ADD)
            self._piece = (picture, place, piece)
        piece = self._piece[2]
        piece.set_alpha(alpha)
        surface.blit(piece, (self._left + x, self._top + y))

    def _coming(self, surface: Any, done: int, part: float) -> None:
        """Draw the piece that fades in; under the first of a picture, the last one goes."""
        picture, place = done // PIECES, done % PIECES
        if place == 0 and done:
            # Even in light, so that rewards close together do not darken it too fast.
            self._cover.set_alpha(round(254 * (1.0 - (1.0 - part) ** (1.0 / 2.4))))
            surface.blit(self._cover, (self._left, self._top))
            self._cover.set_alpha(None)
            part = (part - self.LATE) / (1.0 - self.LATE)
        if part > 0.0:
            self._uncover(surface, picture, place, round(255 * smooth(part)))

    def _finished(self, surface: Any, done: int, part: float, clear: float) -> None:
        """Draw the finished pictures below; the row slides as the next one joins it."""
        whole = (done - 1) // PIECES if done else 0
        joins = smooth(part) if done and done % PIECES == 0 else 0.0
        wide = self._thumb[0]
        step = wide * 1.24
        shown = min(self.ROOM, whole + joins)
        first = self._stage.centre[0] - (step * shown - 0.24 * wide) / 2
        for k in range(max(0, whole - self.ROOM), whole + (joins > 0.0)):
            place = k - max(0.0, whole + joins - self.ROOM)
            thumb = self._thumbs[k % len(self._thumbs)]
            seen = joins if k == whole else 1.0
            seen *= min(1.0, max(0.0, 1.0 + place))  # the oldest leaves when the row is full
            thumb.set_alpha(round(255 * seen * clear))
            surface.blit(thumb, (round(first + place * step), self._thumb_y))


class _Line:
    """A line as wide as the board that fills from the left."""

    def __init__(self, stage: Stage, wide: int, left: int, y: int) -> None:
        strong = stage.style.high_contrast
        self._thick = max(3, round((0.019 if strong else 0.011) * stage.unit))
        self._wide, self._at = wide, (left, y - self._thick // 2)
        away = box_distance(wide, self._thick, (wide, self._thick), self._thick / 2)
        cover = np.clip(0.5 - away, 0, 1)
        self._track = cover_surface(cover, (104, 100, 96), 150 if strong else 90)
        self._fill = cover_surface(cover, (255, 255, 255), 255)
        if not strong:
            along = mixed(np.linspace(0, 1, wide), SLATE * 1.15, SAND, IVORY)
            rgb = pygame.surfarray.pixels3d(self._fill)
            rgb[:] = np.rint(np.clip(along, 0, 255)).astype(np.uint8)[:, None, :]
            del rgb
        bright = (255, 255, 255) if strong else (255, 222, 170)
        self._bead = disc(self._thick * 1.05, None, bright, 255)

    def draw(self, surface: Any, level: float, live: float) -> None:
        """Draw the line, filled as far as `level`; empty where there is no answer."""
        surface.blit(self._track, self._at)
        if live <= 0.0:
            return
        alpha = round(255 * live)
        along = round(self._thick / 2 + (self._wide - self._thick) * min(1.0, max(0.0, level)))
        self._fill.set_alpha(alpha)
        surface.blit(self._fill, self._at, (0, 0, along, self._thick))
        self._bead.set_alpha(alpha)
        x, y = self._at[0] + along, self._at[1] + self._thick / 2
        surface.blit(self._bead, around(self._bead, x, y))


# ---------------------------------------------------------------- pieces


def _cut(size: tuple[int, int]) -> tuple[list[tuple[Any, tuple[int, int]]], Float]:
    """Cut a board into pieces with knobs.

    Returns
    -------
    masks : list of (Surface, (int, int))
        For each piece a black surface that is opaque where the piece is, and its place.
    seams : ndarray, shape size
        0..1, how much of a seam runs through each pixel.
    """
    fine = 2
    wide, tall = size[0] * fine, size[1] * fine
    side = wide / COLUMNS
    x = ((np.arange(wide) + 0.5) / side).astype(np.float32)[:, None]
    y = ((np.arange(tall) + 0.5) / side).astype(np.float32)[None, :]
    owner = np.floor(x).astype(np.int16) + COLUMNS * np.floor(y).astype(np.int16)
    rng = np.random.default_rng(31)
    for across in (True, False):
        for row in range(ROWS if across else ROWS - 1):
            for column in range(COLUMNS - 1 if across else COLUMNS):
                _knob(owner, x, y, (column, row), across, rng)
    line = np.zeros((wide, tall), dtype=np.bool_)
    line[:-1] |= owner[1:] != owner[:-1]
    line[:, :-1] |= owner[:, 1:] != owner[:, :-1]
    seams = shrunk(line, fine)
    masks = []
    reach = math.ceil(side / fine * 0.30)
    step = size[0] // COLUMNS
    for k in range(PIECES):
        column, row = k % COLUMNS, k // COLUMNS
        left, top = max(0, column * step - reach), max(0, row * step - reach)
        right = min(size[0], (column + 1) * step + reach)
        bottom = min(size[1], (row + 1) * step + reach)
        part = owner[left * fine : right * fine, top * fine : bottom * fine] == k
        masks.append((cover_surface(shrunk(part, fine), (0, 0, 0), 255), (left, top)))
    return masks, seams


def _knob(
    owner: NDArray[np.int16],
    x: Float32,
    y: Float32,
    cell: tuple[int, int],
    across: bool,
    rng: np.random.Generator,
) -> None:
    """Let one piece reach into its neighbour to the right (`across`) or below."""
    column, row = cell
    way = 1.0 if rng.random() < 0.5 else -1.0
    slide = rng.uniform(-0.06, 0.06)
    # Along the seam, and out from it.
    if across:
        along, out = y - (row + 0.5 + slide), (x - (column + 1)) * np.float32(way)
        first, second = column + COLUMNS * row, column + 1 + COLUMNS * row
    else:
        along, out = x - (column + 0.5 + slide), (y - (row + 1)) * np.float32(way)
        first, second = column + COLUMNS * row, column + COLUMNS * (row + 1)
    scale = owner.shape[0] / COLUMNS
    window = (
        slice(max(0, int((column + 0.2) * scale)), int((column + 1.4) * scale)),
        slice(max(0, int((row + 0.2) * scale)), int((row + 1.4) * scale)),
    )
    along = along[:, window[1]] if across else along[window[0]]
    out = out[window[0]] if across else out[:, window[1]]
    head = (along / 0.118) ** 2 + ((out - 0.135) / 0.100) ** 2 < 1.0
    neck = (np.abs(along) < 0.062 + 0.9 * (out - 0.055) ** 2 * 6) & (np.abs(out) < 0.09)
    part = owner[window]
    inside = (head | neck) & (out > 0.0)
    giver, taker = (first, second) if way > 0 else (second, first)
    part[inside & (part == taker)] = giver
