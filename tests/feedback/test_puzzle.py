"""The puzzle: what rewards uncover, what is finished, and the user's own images."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.guard import FlashGuard, luminance, red_ratio
from feedback.motion import Glow, Growth, LevelEase
from feedback.scenes.ownimages import IMAGES, orientation, own_images
from feedback.scenes.paintings import PAINTINGS, painted
from feedback.scenes.puzzle import PIECES, Puzzle
from feedback.stage import Media, Moment, Stage
from feedback.window import _sample

SIZE = (480, 270)
BOARD = (378, 252)
DT = 1 / 60
Rgb = NDArray[np.uint8]


def made(folder: Path | None = None) -> tuple[Stage, Puzzle]:
    stage = Stage(SIZE, media=Media(images=str(folder) if folder else ""))
    return stage, Puzzle(stage)


@pytest.fixture(scope="module")
def long_open() -> tuple[Stage, Puzzle]:
    """Return a puzzle that has shown other rewards before: they must not matter."""
    return made()


def frame(stage: Stage, puzzle: Puzzle, moment: Moment) -> Rgb:
    surface = stage.background.copy()
    puzzle.draw(surface, moment)
    return np.asarray(pygame.surfarray.array3d(surface))


def board(stage: Stage, puzzle: Puzzle, rewards: float) -> NDArray[np.int64]:
    """Return the board without its round corners."""
    seen = frame(stage, puzzle, Moment(0.5, 1.0, 0.0, rewards)).astype(int)
    x, y, wide, tall = puzzle.board
    return seen[x + 8 : x + wide - 8, y + 8 : y + tall - 8]


def saved(path: Path, rgb: NDArray[np.float64], size: tuple[int, int] = (300, 200)) -> Path:
    """Save an image that repeats `rgb`, an array of columns, rows and colours."""
    small = pygame.Surface(rgb.shape[:2])
    pygame.surfarray.blit_array(small, rgb.astype(np.uint8))
    pygame.image.save(pygame.transform.scale(small, size), str(path))
    return path


def plain(*colour: int) -> NDArray[np.float64]:
    return np.array([[colour]], dtype=np.float64)


def test_every_reward_uncovers_one_more_piece_until_the_picture_is_whole(
    long_open: tuple[Stage, Puzzle],
) -> None:
    stage, puzzle = long_open
    empty, whole = board(stage, puzzle, 0.0), board(stage, puzzle, float(PIECES))
    differ = np.abs(whole - empty).max(axis=2) > 8
    before = np.zeros(differ.shape, dtype=bool)
    for n in range(1, PIECES + 1):
        now = board(stage, puzzle, float(n))
        shown = (np.abs(now - empty).max(axis=2) > 4) & differ
        new = np.count_nonzero(shown & ~before)
        assert np.count_nonzero(before & ~shown) == 0  # nothing is covered again
        assert new < 0.09 * differ.size
        before = shown
    assert np.count_nonzero(before) == np.count_nonzero(differ)
    _, _, wide, tall = puzzle.board
    image = np.asarray(pygame.surfarray.array3d(painted((wide, tall))[0])).astype(int)
    assert np.abs(image[8 : wide - 8, 8 : tall - 8] - whole).max() <= 1  # no seam is left


def test_a_piece_fades_in(long_open: tuple[Stage, Puzzle]) -> None:
    stage, puzzle = long_open
    frames = [board(stage, puzzle, 3.0 + k / 24) for k in range(25)]
    steps = [np.abs(b - a).max() for a, b in itertools.pairwise(frames)]
    assert max(steps) < 32
    assert np.abs(frames[-1] - frames[0]).max() > 30


def test_the_finished_picture_stays_until_the_next_reward_and_then_small(
    long_open: tuple[Stage, Puzzle],
) -> None:
    stage, puzzle = long_open
    _, y, _, tall = puzzle.board
    below = np.s_[:, y + tall + round(0.08 * tall) :]

    def small(rewards: float) -> int:
        seen = frame(stage, puzzle, Moment(0.0, 1.0, 0.0, rewards)).astype(int)
        bare = np.asarray(pygame.surfarray.array3d(stage.background)).astype(int)
        return int(np.count_nonzero((np.abs(seen - bare)[below]).max(axis=2) > 6))

    assert small(PIECES - 1.0) == small(float(PIECES)) == 0
    assert np.abs(board(stage, puzzle, 24.0) - board(stage, puzzle, 23.0)).max() > 20
    assert 0 < small(PIECES + 1.0) < small(2 * PIECES + 1.0)
    # A full row keeps its length.
    assert small(400.0) == pytest.approx(small(PIECES * puzzle.ROOM + 1.0), rel=0.1)


def test_each_picture_differs_from_the_one_before() -> None:
    assert len(PAINTINGS) >= 3
    pictures = [np.asarray(pygame.surfarray.array3d(s)).astype(int) for s in painted((150, 100))]
    for one, two in itertools.pairwise(pictures):
        assert np.abs(one - two).mean() > 15
    for picture in pictures:
        light = luminance(picture.astype(np.uint8))
        assert light.mean() < 0.25
        assert light.std() > 0.03  # something to see


@pytest.mark.parametrize("rewards", [5.0, 23.6, 24.7, 400.3])
def test_a_new_window_shows_the_same(long_open: tuple[Stage, Puzzle], rewards: float) -> None:
    stage, old = long_open
    for n in np.arange(max(0.0, rewards - 30), rewards, 0.7):
        frame(stage, old, Moment(0.5, 1.0, 0.0, float(n)))
    moment = Moment(0.5, 1.0, 0.0, rewards)
    assert np.array_equal(frame(stage, old, moment), frame(*made(), moment))


def test_the_line_is_as_long_as_the_level(long_open: tuple[Stage, Puzzle]) -> None:
    stage, puzzle = long_open
    x, y, wide, tall = puzzle.board
    row = y + round(1.04 * tall)
    empty = luminance(frame(stage, puzzle, Moment(0.0, 1.0)))[x : x + wide, row]
    for level in (0.25, 0.5, 0.75, 1.0):
        lit = luminance(frame(stage, puzzle, Moment(level, 1.0)))[x : x + wide, row]
        assert np.mean(lit > empty + 0.05) == pytest.approx(level, abs=0.04)


# ---------------------------------------------------------------- the user's own images


def test_images_are_taken_by_name_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    saved(tmp_path / "b.PNG", plain(10, 120, 10))
    saved(tmp_path / "a.bmp", plain(10, 10, 120))
    saved(tmp_path / "c.jpg", plain(90, 90, 20))
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "1.jpeg").mkdir()
    (tmp_path / "2.txt").write_text("words")
    (tmp_path / ".3.png").write_bytes((tmp_path / "b.PNG").read_bytes())
    means = [
        np.asarray(pygame.surfarray.array3d(s)).mean(axis=(0, 1))
        for s in own_images(tmp_path, BOARD)
    ]
    assert [int(np.argmax(m)) for m in means[:2]] == [2, 1]
    assert len(means) == 3


def test_no_more_images_are_read_than_stated(tmp_path: Path) -> None:
    for k in range(IMAGES + 3):
        saved(tmp_path / f"{k:02d}.png", plain(20 * k, 90, 90))
    assert len(own_images(tmp_path, BOARD)) == IMAGES


@pytest.mark.parametrize("kind", ["missing", "empty", "broken", "file"])
def test_a_folder_without_images_is_refused_with_a_remedy(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "images"
    if kind == "file":
        folder.write_text("no folder")
    elif kind != "missing":
        folder.mkdir()
        if kind == "broken":
            (folder / "a.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(InputError) as caught:
        made(folder)
    assert str(folder) in caught.value.what
    assert caught.value.fix.endswith(".")


def test_bright_and_red_images_are_calmed(tmp_path: Path) -> None:
    saved(tmp_path / "1.png", plain(255, 255, 255))
    saved(tmp_path / "2.png", plain(255, 0, 0))
    saved(tmp_path / "3.png", np.array([[[255.0] * 3], [[0.0] * 3]]))
    saved(tmp_path / "4.png", plain(60, 70, 80))
    images = [np.asarray(pygame.surfarray.array3d(s)) for s in own_images(tmp_path, BOARD)]
    for image in images:
        assert luminance(image).mean() <= 0.35
        assert np.mean(red_ratio(image) >= 0.8) < 0.1
    assert np.abs(images[3].astype(int) - [60, 70, 80]).max() <= 1  # a calm one stays as it is


@pytest.mark.parametrize("size", [(200, 600), (1500, 150), (3, 2), (3000, 2000)])
def test_any_shape_fills_the_board(tmp_path: Path, size: tuple[int, int]) -> None:
    colours = np.array([[[40.0, 60, 90], [90, 60, 40]], [[40, 90, 60], [80, 80, 80]]])
    saved(tmp_path / "a.bmp", colours, size)
    image = own_images(tmp_path, BOARD)[0]
    assert image.get_size() == BOARD
    assert np.asarray(pygame.surfarray.array3d(image)).min() > 10  # no empty margin


@pytest.mark.parametrize(
    ("stands", "corner"),
    [(1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (6, 1), (7, 2), (8, 3)],
)
def test_photographs_stand_upright(tmp_path: Path, stands: int, corner: int) -> None:
    """The one bright corner of the file, top left, comes to where the camera says it belongs."""
    dots = np.full((2, 2, 3), 40.0)
    dots[0, 0] = 140.0
    path = saved(tmp_path / "a.jpg", dots, (300, 300))
    tags = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0"
    exif = b"Exif\0\0" + tags + bytes([stands, 0, 0, 0]) + b"\0\0\0\0"
    raw = path.read_bytes()
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.write_bytes(raw[:2] + segment + raw[2:])
    assert orientation(path) == stands
    image = own_images(tmp_path, (90, 90))[0]
    light = np.asarray(pygame.surfarray.array3d(image)).mean(axis=2)
    corners = [light[20, 20], light[70, 20], light[70, 70], light[20, 70]]  # clockwise
    assert int(np.argmax(corners)) == corner


@pytest.mark.parametrize("name", ["white", "half"])
def test_the_guard_need_not_act_on_bright_images(tmp_path: Path, name: str) -> None:
    """Through the end of a picture, at the fastest rewards, and through gates."""
    rgb = plain(255, 255, 255) if name == "white" else np.array([[[255.0] * 3, [0.0] * 3]])
    saved(tmp_path / "1.png", rgb)
    saved(tmp_path / "2.png", plain(255, 0, 0))
    stage, puzzle = made(tmp_path)
    guard, ease, glow, growth, now = FlashGuard(), LevelEase(), Glow(), Growth(), 0.0
    growth.start(20)
    surface = stage.background.copy()
    puzzle.draw(surface, Moment(rewards=20.0))
    first = _sample(surface)
    for _ in range(200):
        guard.present(first, now := now + DT)
    guard.interventions = 0
    for k in range(540):
        gated = k > 330 and k // 60 % 2 == 0
        ease.step(DT, None if gated else float(k // 3 % 2))
        glow.add(int(k % 22 == 0 and not gated))
        if glow.step(DT):
            growth.add()
        growth.step(DT)
        surface.blit(stage.background, (0, 0))
        puzzle.draw(surface, Moment(ease.level, ease.eased, glow.value, growth.value, now, DT))
        guard.present(_sample(surface), now := now + DT)
    assert growth.value > 26
    assert guard.interventions == 0, [(i.t, hex(i.bits)) for i in guard.log]
