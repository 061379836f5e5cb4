"""The room's own images for the puzzle: found, turned upright, fitted, and calmed.

Whatever a file holds, the board that comes of it is no brighter than a dark room likes and holds no
loud red, so that the guard behind every picture has nothing to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pygame

from engine.errors import InputError
from engine.frames import Float
from feedback.guard import RED_FLOOR, RED_RATIO, luminance, red_ratio
from feedback.scenes.shading import blank

__all__ = ["IMAGES", "orientation", "own_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
IMAGES = 8  # the first ones by name that can be read
NAMES = 200  # looked at in the folder at most
MEAN_LIGHT, TOP_LIGHT = 0.24, 0.28  # relative luminance of an image, and of its brighter parts


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
        images.append(_calmed(_fitted(_turned(raw, orientation(path)), size)))
        if len(images) == IMAGES:
            break
    if not images:
        raise InputError(
            f"The folder {folder} holds no image that can be read.",
            f"Put images ({', '.join(s[1:] for s in SUFFIXES)}) into it, or leave it out of the "
            "room for the built-in pictures.",
        )
    return images


def orientation(path: Path) -> int:
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


def _turned(image: Any, stands: int) -> Any:
    """Return the image upright, given how it stands in the file, see `orientation`."""
    angle = {3: 180, 4: 180, 5: 270, 6: 270, 7: 90, 8: 90}.get(stands, 0)
    if angle:
        image = pygame.transform.rotate(image, angle)
    if stands in (2, 4, 5, 7):
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
    board = blank(size)
    if fill / whole < 1.4:
        return _laid(board, plain, fill)
    ground = pygame.transform.smoothscale(plain, (12, 8))
    board.blit(pygame.transform.smoothscale(ground, size), (0, 0))
    dark = blank(size)
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
