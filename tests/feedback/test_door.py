"""The door between plugins and the person's screen, loudspeaker and keys."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import numpy as np
import pygame
import pytest

import feedback.guard
from feedback.door import ClosedDoorError, Door
from feedback.guard import FlashGuard


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    pygame.display.init()
    made.set_mode((320, 180))
    made.close()
    yield made
    made.open()
    pygame.display.quit()


def imported(code: str) -> Any:
    """Run code as a plugin does that was imported after the door was closed."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names


WAYS = {
    "flip": "import pygame; pygame.display.flip()",
    "flip by name": "from pygame.display import flip; flip()",
    "update": "import pygame; pygame.display.update((0, 0, 9, 9))",
    "fill": "import pygame; pygame.display.get_surface().fill((255, 255, 255))",
    "blit": "import pygame as p; p.display.get_surface().blit(p.Surface((9, 9)), (0, 0))",
    "mode": "import pygame; pygame.display.set_mode((64, 64))",
    "full screen": "import pygame; pygame.display.toggle_fullscreen()",
    "gamma": "import pygame; pygame.display.set_gamma(5.0)",
    "quit": "import pygame; pygame.quit()",
    "init": "import pygame; pygame.init()",
    "window": "from pygame._sdl2.video import Window; Window('mine')",
    "window, elsewhere": "import pygame._sdl2 as s; s.Window('mine')",
    "renderer": "from pygame._sdl2.video import Renderer; Renderer(None)",
    "sound": "import pygame; pygame.mixer.Sound(buffer=bytes(4)).play()",
    "sound, old name": "import pygame; pygame.mixer.SoundType(buffer=bytes(4))",
    "sound of an array": "import pygame, numpy; pygame.sndarray.make_sound(numpy.zeros((9, 2)))",
    "channel": "import pygame; pygame.mixer.Channel(0)",
    "mixer": "import pygame; pygame.mixer.init()",
    "music": "import pygame; pygame.mixer.music.load('loud.mp3')",
    "music, by name": "from pygame.mixer_music import play; play()",
    "device": "from pygame._sdl2.audio import AudioDevice; AudioDevice()",
    "the stop key": "import pygame; pygame.event.get()",
    "the stop key, by name": "from pygame.event import clear; clear()",
    "no keys": "import pygame; pygame.event.set_blocked(pygame.KEYDOWN)",
    "a key": "import pygame as p; p.event.post(p.event.Event(p.QUIT))",
    "a key, later": "import pygame; pygame.time.set_timer(pygame.QUIT, 10)",
    "put back": "import pygame; pygame.display.flip = print",
    "another judge": "import feedback.guard as g; g.FlashGuard = None",
    "another function": "import feedback.guard as g; g._pooled = lambda x: 0 * x",
    "another sample": "import feedback.window as w; w._sample = None",
    "another numpy": "import numpy; numpy.count_nonzero = lambda *_: 0",
    "another scale": "import pygame; pygame.transform.smoothscale = None",
    "none": "import pygame; del pygame.display.flip",
}


@pytest.mark.parametrize("name", WAYS)
def test_every_way_around_is_closed(door: Door, name: str) -> None:
    import feedback.window  # noqa: F401

    door.open()
    door.close()
    with pytest.raises(ClosedDoorError) as caught:
        imported(WAYS[name])
    assert len(str(caught.value)) > 30
    assert isinstance(caught.value, PermissionError)


def test_the_judge_stays_whoever_asks(door: Door) -> None:
    with pytest.raises(AttributeError, match="stays as it is"):
        imported("import feedback.guard as g; g.FlashGuard.judge = lambda *_: g.Verdict()")
    with pytest.raises(ValueError, match="read-only"):
        imported("import feedback.guard as g; g.LINEAR[:] = 0")
    guard = FlashGuard()
    white = np.full((27, 48, 3), 255, dtype=np.uint8)
    assert guard.present(white, 0.0)[0].max() < 60
    assert door.closed


def test_what_does_no_harm_goes_on(door: Door) -> None:
    imported(
        """
import pygame
s = pygame.Surface((20, 20)).convert()
pygame.draw.circle(s, (9, 9, 9), (10, 10), 5)
screen = pygame.display.get_surface()
assert screen
assert screen.get_size() == (320, 180) == tuple(screen.get_rect().size)
assert (screen.get_width(), screen.get_height()) == (320, 180)
pygame.transform.smoothscale(s, (9, 9))
pygame.key.get_pressed(); pygame.mouse.get_pos(); pygame.display.Info()
pygame.something_of_mine = 1
import numpy.polynomial
"""
    )
    del pygame.__dict__["something_of_mine"]
    importlib.reload(importlib.import_module("numpy.polynomial.polynomial"))
    assert door.closed


def test_the_windows_own_ways_stay_open(door: Door) -> None:
    surface = door.display.get_surface()
    surface.fill((1, 2, 3))
    door.flip()
    door.display.update()
    door.mouse.set_visible(False)
    assert isinstance(door.get_events(), list)
    assert door.display.get_driver() == "dummy"
    door.event.post(pygame.event.Event(pygame.USEREVENT))
    assert [e.type for e in door.get_events(pygame.USEREVENT)] == [pygame.USEREVENT]


def test_a_thread_finds_it_closed_as_well(door: Door) -> None:
    said: list[BaseException] = []

    def later() -> None:
        try:
            pygame.display.flip()
        except PermissionError as error:
            said.append(error)

    thread = threading.Thread(target=later)
    thread.start()
    thread.join()
    assert "a picture draws on the surface it is given" in str(said[0])
    assert door.closed


def everything() -> dict[str, object]:
    modules = ("display", "event", "mixer", "mixer_music", "time", "sndarray", "transform", "draw")
    found = {f"{m}.{n}": v for m in modules for n, v in vars(getattr(pygame, m)).items()}
    return found | {"init": pygame.init, "quit": pygame.quit, "pooled": feedback.guard._pooled}


def test_open_again_everything_is_as_it_was() -> None:
    door, before = Door(), everything()
    for _ in range(2):
        with door:
            assert door.closed
            assert everything() != before
        assert everything() == before
    assert type(pygame.display) is type(np)
    pygame.display.flip_test = 1
    del pygame.display.flip_test


def test_ajar_is_open_for_one_call_and_closed_after_it() -> None:
    before, door = pygame.mixer.Sound, Door()
    with door.ajar():
        assert pygame.mixer.Sound is before
    assert not door.closed
    with door, pytest.raises(RuntimeError), door.ajar():  # noqa: PT012
        assert pygame.mixer.Sound is before
        raise RuntimeError
    with door:
        with door.ajar():
            held: Callable[..., Any] = pygame.mixer.Sound
        assert pygame.mixer.Sound is not before
        assert held is before
    assert pygame.mixer.Sound is before


def test_a_second_door_keeps_what_the_first_one_kept() -> None:
    before = pygame.display.flip
    with Door() as first:
        second = Door()
        assert second.flip is before
        second.close()
        assert not second.closed
        second.open()
        assert first.closed
    assert pygame.display.flip is before
