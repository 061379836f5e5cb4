"""A picture that rewards uncover piece by piece; a line below it is as long as the level.

Everything on the board follows from the running number of rewards alone. The board is kept as it
stands after the last whole reward, and only the piece that is coming is mixed in each frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pygame
from numpy.typing import NDArray

from engine.errors import InputError
from engine.frames import Float
from feedback.guard import RED_FLOOR, RED_RATIO, luminance, red_ratio
from feedback.scenes.breath import mixed
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

__all__ = ["IMAGES", "Puzzle", "own_images"]

Array = NDArray[np.float32]
Rgb = tuple[float, float, float]

COLUMNS, ROWS = 6, 4
PIECES = COLUMNS * ROWS
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGES = 8  # of the user's own: the first ones by name that can be read
NAMES = 200  # looked at in the folder at most
MEAN_LIGHT, TOP_LIGHT = 0.24, 0.28  # relative luminance of an image, and of its brighter parts
DETAIL = 560  # rows of a built-in picture at most
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
        self._board = _surface(size)
        self._open = np.zeros(size, dtype=np.float32)  # how far each pixel is uncovered
        self._state = (-1, -1)  # picture and pieces on the board
        self._piece: tuple[int, int, Any] = (-1, -1, None)  # the one that fades in
        self._mist = _surface(size)
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
        return _painted(colours)

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
                alpha = pygame.surfarray.pixels_alpha(corner)
                alpha[:] = np.rint(cover * 255).astype(np.uint8)
                del alpha
                corners.append((corner, at))
        return corners

    def _thumbnail(self, image: Any) -> Any:
        small = pygame.Surface(self._thumb, pygame.SRCALPHA)
        small.blit(pygame.transform.smoothscale(image, self._thumb), (0, 0))
        away = box_distance(*self._thumb, self._thumb, 0.12 * self._thumb[1])
        alpha = pygame.surfarray.pixels_alpha(small)
        alpha[:] = np.rint(np.clip(0.5 - away, 0, 1) * 255).astype(np.uint8)
        del alpha
        return small

    def _edge_light(self) -> list[tuple[Any, tuple[int, int]]]:
        """Return a reward's light around the board, as four strips: its middle would be hidden."""
        reach = round(0.055 * self._stage.unit)
        wide, tall = self._wide + 2 * reach, self._tall + 2 * reach
        away = box_distance(wide, tall, (self._wide, self._tall), self._corner)
        near = np.where(away > -1.0, np.clip(1.0 - away / reach, 0, 1), 0.0) ** 2.2
        colour = (round(GLOW[0]), round(GLOW[1]), round(GLOW[2]))
        whole = cover_surface(near, colour, 110)
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
            self._uncover(surface, picture, place, round(255 * _smooth(part)))

    def _finished(self, surface: Any, done: int, part: float, clear: float) -> None:
        """Draw the finished pictures below; the row slides as the next one joins it."""
        whole = (done - 1) // PIECES if done else 0
        joins = _smooth(part) if done and done % PIECES == 0 else 0.0
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
            along = np.array([mixed(p, SLATE * 1.15, SAND, IVORY) for p in np.linspace(0, 1, wide)])
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
        half = self._bead.get_width() / 2
        x, y = self._at[0] + along - half, self._at[1] + self._thick / 2 - half
        surface.blit(self._bead, (round(x), round(y)))


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
    seams = _shrunk(line, fine)
    masks = []
    reach = math.ceil(side / fine * 0.30)
    step = size[0] // COLUMNS
    for k in range(PIECES):
        column, row = k % COLUMNS, k // COLUMNS
        left, top = max(0, column * step - reach), max(0, row * step - reach)
        right = min(size[0], (column + 1) * step + reach)
        bottom = min(size[1], (row + 1) * step + reach)
        part = owner[left * fine : right * fine, top * fine : bottom * fine] == k
        masks.append((cover_surface(_shrunk(part, fine), (0, 0, 0), 255), (left, top)))
    return masks, seams


def _knob(
    owner: NDArray[np.int16],
    x: Array,
    y: Array,
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


def _shrunk(values: NDArray[Any], fine: int) -> Float:
    wide, tall = values.shape[0] // fine, values.shape[1] // fine
    out = np.zeros((wide, tall))
    for i in range(fine):
        for j in range(fine):
            out += values[i::fine, j::fine]
    return out / fine**2


def _smooth(part: float) -> float:
    part = min(1.0, max(0.0, part))
    return part * part * (3.0 - 2.0 * part)


def _surface(size: tuple[int, int]) -> Any:
    surface = pygame.Surface(size)
    return surface.convert() if pygame.display.get_surface() else surface


def _painted(colours: NDArray[Any]) -> Any:
    """Return a surface of these colours; noise below one code hides the bands of a gradient."""
    noise = np.random.default_rng(5).random((*colours.shape[:2], 1), dtype=np.float32)
    surface = _surface((colours.shape[0], colours.shape[1]))
    codes = np.clip(colours + noise, 0, 255).astype(np.uint8)
    pygame.surfarray.blit_array(surface, codes)
    return surface


# ---------------------------------------------------------------- the user's own images


def own_images(folder: Path, size: tuple[int, int]) -> list[Any]:
    """Return the first `IMAGES` readable images of `folder`, by name, made ready for the board.

    Parameters
    ----------
    folder : Path
        Searched for `SUFFIXES`; folders within it are not.
    size : (int, int)
        Of the board, pixels.

    Raises
    ------
    InputError
        There is no such folder, or no image in it that can be read.
    """
    try:
        names = sorted(
            (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."),
            key=lambda p: p.name,
        )
    except OSError as error:
        raise InputError(
            f"The folder of images {folder} cannot be read ({error.strerror}).",
            "Correct the folder of images in the room, or leave it out for the built-in pictures.",
        ) from error
    images: list[Any] = []
    for path in names[:NAMES]:
        try:
            raw = pygame.image.load(str(path))
        except (pygame.error, OSError):
            continue  # no image after all
        images.append(_calmed(_fitted(_turned(raw, _orientation(path)), size)))
        if len(images) == IMAGES:
            break
    if not images:
        raise InputError(
            f"The folder {folder} holds no image that can be read.",
            f"Put images ({', '.join(s[1:] for s in SUFFIXES)}) into it, or leave it out of the "
            "room for the built-in pictures.",
        )
    return images


def _orientation(path: Path) -> int:
    """Return the orientation that a camera wrote into a JPEG file, 1 where it wrote none."""
    try:
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError:
        return 1
    at = head.find(b"Exif\x00\x00")
    if head[:2] != b"\xff\xd8" or at < 0:
        return 1
    tiff = head[at + 6 :]
    order: Any = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1
    entries = int.from_bytes(tiff[4:8], order)
    for k in range(int.from_bytes(tiff[entries : entries + 2], order)):
        entry = tiff[entries + 2 + 12 * k : entries + 14 + 12 * k]
        if int.from_bytes(entry[:2], order) == 0x0112:
            return int.from_bytes(entry[8:10], order)
    return 1


def _turned(image: Any, orientation: int) -> Any:
    """Return the image upright."""
    angle = {3: 180, 4: 180, 5: 270, 6: 270, 7: 90, 8: 90}.get(orientation, 0)
    if angle:
        image = pygame.transform.rotate(image, angle)
    if orientation in (2, 4, 5, 7):
        image = pygame.transform.flip(image, True, False)
    return image


def _fitted(image: Any, size: tuple[int, int]) -> Any:
    """Return the image in the board's size: cut a little, or whole on its own blurred ground."""
    plain = pygame.Surface(image.get_size(), depth=32)
    plain.fill((30, 32, 36))  # behind what is transparent
    plain.blit(image, (0, 0))
    wide, tall = plain.get_size()
    fill = max(size[0] / wide, size[1] / tall)
    whole = min(size[0] / wide, size[1] / tall)
    board = _surface(size)
    if fill / whole < 1.4:
        return _laid(board, plain, fill)
    ground = pygame.transform.smoothscale(plain, (12, 8))
    board.blit(pygame.transform.smoothscale(ground, size), (0, 0))
    dark = _surface(size)
    dark.set_alpha(110)
    board.blit(dark, (0, 0))
    return _laid(board, plain, whole)


def _laid(board: Any, image: Any, scale: float) -> Any:
    """Lay the image, scaled, over the middle of the board."""
    new = [max(1, round(side * scale)) for side in image.get_size()]
    scaled = pygame.transform.smoothscale(image, new)
    board.blit(scaled, [(b - s) // 2 for b, s in zip(board.get_size(), new, strict=True)])
    return board


def _calmed(image: Any) -> Any:
    """Return the image no brighter than the guard and a dark room like, and without loud red."""
    small = pygame.transform.smoothscale(image, (96, 64))
    codes = np.asarray(pygame.surfarray.array3d(small)).astype(np.float64)
    light = luminance(codes.astype(np.uint8))
    dimmer = 1.0
    while dimmer > 0.2 and (light.mean() > MEAN_LIGHT or np.quantile(light, 0.85) > TOP_LIGHT):
        dimmer -= 0.02
        light = luminance((codes * dimmer).astype(np.uint8))
    if dimmer < 1.0:
        code = round(255 * dimmer)
        image.fill((code, code, code), special_flags=pygame.BLEND_RGB_MULT)
    grey = 0
    while grey < 255 and _red_share(codes * dimmer, grey) > 0.05:
        grey = min(255, grey + 32)
    if grey:
        pale = pygame.transform.grayscale(image)
        pale.set_alpha(min(254, grey))
        image.blit(pale, (0, 0))
    return image


def _red_share(codes: Float, grey: int) -> float:
    """Return the part of an image that is saturated red after it was mixed with its grey."""
    pale = (codes @ [0.299, 0.587, 0.114])[..., None]
    rgb = np.rint(codes + (pale - codes) * (grey / 255)).astype(np.uint8)
    loud = (red_ratio(rgb) >= RED_RATIO - 0.05) & (rgb[..., 0] > 255 * RED_FLOOR)
    return float(np.mean(loud))


# ---------------------------------------------------------------- built-in pictures


def painted(size: tuple[int, int]) -> list[Any]:
    """Return the built-in pictures in the board's size.

    Nothing in them is finer than what `DETAIL` rows show, and painting costs its time.
    """
    share = min(1.0, DETAIL / size[1])
    fine = (round(size[0] * share), round(size[1] * share))
    small = [_painted(paint(*_sheet(fine))) for paint in PAINTINGS]
    return [pygame.transform.smoothscale(image, size) for image in small]


def _sheet(size: tuple[int, int]) -> tuple[Array, Array]:
    """Return columns -0.75..0.75 and rows 0..1 of a picture, lengths in its height."""
    x = (np.arange(size[0]) + 0.5) / size[1] - size[0] / size[1] / 2
    y = (np.arange(size[1]) + 0.5) / size[1]
    return x.astype(np.float32)[:, None], y.astype(np.float32)[None, :]


def _sky(x: Array, y: Array, *stops: tuple[float, Rgb]) -> Array:
    """Return a picture whose colour depends on the height alone."""
    at = [s for s, _ in stops]
    column = np.stack([np.interp(y[0], at, [c[k] for _, c in stops]) for k in range(3)], axis=1)
    return np.broadcast_to(column.astype(np.float32), (len(x), y.shape[1], 3)).copy()


def _wave(x: Array, seed: int, first: float, count: int, rough: float = 0.5) -> Array:
    """Return a smooth random line over `x`, about -1..1."""
    rng = np.random.default_rng(seed)
    line = np.zeros_like(x)
    for k in range(count):
        line += rough**k * np.sin(first * 1.9**k * x + np.float32(rng.uniform(0, 6.28)))
    return line / np.float32(sum(rough**k for k in range(count)))


def _peaks(x: Array, seed: int, first: float, count: int) -> Array:
    """Return the line of a mountain range over `x`, about -1..1."""
    rng = np.random.default_rng(seed)
    line = np.zeros_like(x)
    for k in range(count):
        line += 0.48**k * (1 - 2 * np.abs(np.sin(first * 2.1**k * x + rng.uniform(0, 3.1))))
    return (line / 1.7).astype(np.float32)


def _mix(picture: Array, share: NDArray[Any], colour: Rgb | NDArray[Any]) -> None:
    """Paint `colour` over the picture where `share` is 1."""
    picture += (np.asarray(colour, dtype=np.float32) - picture) * share[..., None]


def _below(y: Array, line: Array, soft: float = 0.0016) -> Array:
    return np.asarray(np.clip((y - line) / np.float32(soft) + 0.5, 0.0, 1.0))


def _spot(x: Array, y: Array, at: tuple[float, float], wide: float, tall: float) -> Array:
    return np.asarray(np.exp(-(((x - at[0]) / wide) ** 2) - ((y - at[1]) / tall) ** 2))


def _lake(x: Array, y: Array) -> Array:
    """Mountains at evening, and their mirror image in still water."""
    shore = 0.60
    up = np.where(y > shore, 2 * shore - y, y)  # the water mirrors what is above
    ripple = 0.004 * np.sin(240 * (y - shore) / (0.25 + y)) * np.clip((y - shore) * 8, 0, 1)
    across = x + ripple
    picture = _sky(
        x, up, (0.0, (44, 58, 84)), (0.30, (104, 112, 128)), (0.50, (196, 160, 128)),
        (0.60, (214, 176, 136)),
    )  # fmt: skip
    _mix(picture, 0.42 * _spot(across, up, (0.24, 0.52), 0.46, 0.15), (246, 196, 138))
    for base, tall, seed, crest, foot in (
        (0.40, 0.150, 3, (92, 98, 116), (184, 154, 134)),
        (0.49, 0.095, 8, (74, 86, 102), (128, 122, 122)),
        (0.565, 0.045, 5, (42, 54, 62), (66, 74, 78)),
    ):
        line = base - tall * _peaks(across, seed, 3.1, 6)
        colour = (
            np.array(crest, np.float32)
            + (np.array(foot, np.float32) - np.array(crest, np.float32))
            * np.clip((up - base + 0.7 * tall) / (1.5 * tall), 0, 1)[..., None]
        )
        _mix(picture, _below(up, line), colour)
    water = np.clip((y - shore) / 0.004, 0.0, 1.0) * np.ones_like(x)
    _mix(picture, water * (0.24 + 0.42 * np.clip((y - shore) / 0.4, 0, 1)), (24, 36, 48))
    _mix(picture, 0.55 * np.exp(-(((y - shore) / 0.006) ** 2)) * np.ones_like(x), (206, 184, 156))
    bank = 0.985 - 0.05 * _wave(x, 4, 3.0, 4) - 0.10 * np.clip(np.abs(x + 0.1) - 0.42, 0, 1)
    _mix(picture, _below(y, bank.astype(np.float32), 0.003), (20, 25, 28))
    return picture


def _dunes(x: Array, y: Array) -> Array:
    """Dunes under a low sun: each crest parts light from shade."""
    picture = _sky(
        x, y, (0.0, (58, 66, 84)), (0.28, (150, 130, 118)), (0.46, (226, 180, 128)),
    )  # fmt: skip
    sun = (-0.30, 0.34)
    away = np.hypot(x - sun[0], y - sun[1])
    _mix(picture, 0.75 * np.exp(-away / 0.16), (250, 206, 150))
    _mix(picture, np.clip((0.052 - away) / 0.002 + 0.5, 0, 1), (255, 232, 190))
    rows = 6
    for k in range(rows):
        far = 1.0 - k / (rows - 1)
        base = 0.46 + 0.54 * (k / rows) ** 1.25
        swing = 0.028 + 0.055 * (1 - far)
        line = (base - swing * _wave(x, 40 + k, 4.6 - 2.6 * (1 - far), 3, 0.42)).astype(np.float32)
        shade = np.array((62, 52, 56), np.float32) * (0.62 + 0.9 * far)
        light = np.array((206, 150, 98), np.float32) * (0.74 + 0.30 * far)
        slope = np.gradient(line[:, 0], x[:, 0])
        depth = np.clip(y - line, 0.0, 1.0)
        # Shadows run down the dune at a slant.
        along = np.arange(len(x))[:, None] + (0.9 * len(x) / 1.5 * depth).astype(np.int32)
        lit = np.clip(0.55 + 2.3 * slope, 0.0, 1.0)[np.minimum(along, len(x) - 1)]
        deep = np.clip(depth / (0.11 + 0.20 * (1 - far)), 0.0, 1.0)
        lit = lit * (1.0 - 0.72 * deep)
        ribs = np.sin((y - line) * (420 - 210 * (1 - far)) + 5 * _wave(x, 60 + k, 9.0, 3))
        lit = np.clip(lit + 0.022 * (1 - far) * ribs * deep, 0, 1)
        colour = shade + (light - shade) * lit[..., None].astype(np.float32)
        _mix(picture, _below(y, line), colour)
    return picture


def _tree(x: Array, y: Array) -> Array:
    """One tree on a hill before the rising moon."""
    picture = _sky(
        x, y, (0.0, (22, 32, 50)), (0.45, (52, 70, 92)), (0.78, (120, 128, 134)),
    )  # fmt: skip
    moon = (0.27, 0.33)
    away = np.hypot(x - moon[0], y - moon[1])
    _mix(picture, 0.50 * np.exp(-away / 0.20), (206, 200, 176))
    face = np.clip((0.115 - away) / 0.0025 + 0.5, 0, 1)
    maria = 0.5 + 0.5 * _wave(x * 6 + 1.5 * y, 12, 5.0, 4) * _wave(y * 7 - x, 13, 4.0, 4)
    _mix(picture, face, np.array((226, 216, 188), np.float32) * (0.86 + 0.14 * maria[..., None]))
    rng = np.random.default_rng(17)
    for _ in range(130):
        at = (rng.uniform(-0.75, 0.75), rng.uniform(0.0, 0.52))
        if math.hypot(at[0] - moon[0], at[1] - moon[1]) > 0.2:
            _star(picture, x, y, at, rng.uniform(0.25, 0.85))
    for base, tall, seed, colour in (
        (0.76, 0.040, 21, (82, 96, 108)), (0.83, 0.035, 22, (52, 64, 76)),
    ):  # fmt: skip
        _mix(picture, _below(y, base - tall * _wave(x, seed, 4.2, 5)), colour)
    hill = (0.90 - 0.055 * np.cos(2.6 * (x + 0.16)) + 0.008 * _wave(x, 24, 9.0, 3)).astype("f4")
    _mix(picture, _below(y, hill), (22, 28, 34))
    return _grown(picture, (24, 30, 36))


def _star(picture: Array, x: Array, y: Array, at: tuple[float, float], bright: float) -> None:
    tall = picture.shape[1]
    column = int((at[0] - x[0, 0]) * tall)
    row = int((at[1] - y[0, 0]) * tall)
    size = max(2, round(tall * 0.004))
    window = np.s_[max(0, column - size) : column + size + 1, max(0, row - size) : row + size + 1]
    part = picture[window]
    u, v = np.meshgrid(
        np.arange(part.shape[0]) - min(size, column), np.arange(part.shape[1]) - min(size, row),
        indexing="ij",
    )  # fmt: skip
    dot = bright * np.exp(-(u**2 + v**2) / (0.16 * size**2 + 0.2))
    _mix(part, dot.astype(np.float32), (232, 226, 210))


def _grown(picture: Array, colour: Rgb) -> Array:
    """Return the picture with a tree on it, branch after branch."""
    fine = 2
    wide, tall = picture.shape[0] * fine, picture.shape[1] * fine
    mask = pygame.Surface((wide, tall), depth=8)
    mask.set_palette([(k, k, k) for k in range(256)])
    rng = np.random.default_rng(77)
    branches = [(wide * (0.5 - 0.16 / 1.5), tall * 0.858, -90.0, tall * 0.128, tall * 0.020, 0)]
    while branches:
        x, y, turn, long, thick, age = branches.pop()
        bend = turn + rng.normal(0.0, 4.0)
        to_x = x + long * math.cos(math.radians(bend))
        to_y = y + long * math.sin(math.radians(bend))
        side_x, side_y = -math.sin(math.radians(bend)), math.cos(math.radians(bend))
        thin = thick * 0.70
        corners = [
            (x + side_x * thick / 2, y + side_y * thick / 2),
            (to_x + side_x * thin / 2, to_y + side_y * thin / 2),
            (to_x - side_x * thin / 2, to_y - side_y * thin / 2),
            (x - side_x * thick / 2, y - side_y * thick / 2),
        ]
        pygame.draw.polygon(mask, 255, corners)
        pygame.draw.circle(mask, 255, (to_x, to_y), max(1.0, thin / 2))
        if age >= 5:
            for _ in range(5):
                leaf = (to_x + rng.normal(0, tall * 0.010), to_y + rng.normal(0, tall * 0.010))
                pygame.draw.circle(mask, 255, leaf, tall * rng.uniform(0.003, 0.0075))
        if age < 8:
            spread = rng.uniform(18.0, 31.0)
            for way in (-1.0, 1.0):
                branches.append(
                    (to_x, to_y, bend + way * spread + rng.normal(0, 6) + (-90 - bend) * 0.05,
                     long * rng.uniform(0.74, 0.88), thin, age + 1)
                )  # fmt: skip
    cover = _shrunk(np.asarray(pygame.surfarray.array2d(mask)), fine) / 255
    _mix(picture, cover.astype(np.float32), colour)
    return picture


def _sea(x: Array, y: Array) -> Array:
    """The sea at dusk with the sun's path on it."""
    horizon = 0.56
    picture = _sky(
        x, y, (0.0, (40, 50, 74)), (0.30, (94, 98, 118)), (0.47, (186, 146, 124)),
        (0.56, (232, 184, 132)),
    )  # fmt: skip
    sun = (0.10, 0.515)
    away = np.hypot(x - sun[0], (y - sun[1]) * 1.05)
    _mix(picture, 0.7 * np.exp(-away / 0.20), (252, 206, 142))
    _mix(picture, np.clip((0.058 - away) / 0.003 + 0.5, 0, 1), (255, 236, 196))
    rng = np.random.default_rng(9)
    for _ in range(16):
        at = (rng.uniform(-0.8, 0.8), rng.uniform(0.12, 0.46))
        streak = _spot(x, y, at, rng.uniform(0.1, 0.4), rng.uniform(0.006, 0.018))
        _mix(
            picture,
            rng.uniform(0.15, 0.5) * streak,
            (236, 186, 150) if at[1] > 0.28 else (120, 116, 130),
        )
    deep = np.clip((y - horizon) / (1 - horizon), 0.0, 1.0)
    water = _sky(
        x, deep, (0.0, (150, 132, 120)), (0.25, (86, 92, 108)), (1.0, (26, 36, 52)),
    )  # fmt: skip
    far = 1.0 / (deep + 0.045)
    swell = _wave(7.0 * far, 31, 6.0, 4, 0.7) * np.cos(
        6 * x * far**0.4 + 3 * _wave(far * 3.0, 33, 5.0, 3)
    )
    glitter = np.clip(0.62 + 0.75 * swell, 0, 1)
    path = np.exp(-(((x - sun[0]) / (0.045 + 0.20 * deep)) ** 2)) * (1.0 - 0.55 * deep)
    _mix(water, 0.30 * np.clip(swell, 0, 1) * (1 - 0.4 * deep), (150, 140, 138))
    _mix(water, (0.92 * path * glitter).astype(np.float32), (252, 212, 156))
    _mix(picture, np.clip((y - horizon) / 0.002 + 0.5, 0, 1) * np.ones_like(x), water)
    return picture


PAINTINGS: tuple[Callable[[Array, Array], Array], ...] = (_lake, _tree, _dunes, _sea)
