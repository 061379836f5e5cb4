"""Pictures and sounds of other packages, in a window that must survive them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pygame
import pytest

from engine.clock import FakeClock
from engine.errors import InputError
from engine.frames import Presented, Show
from feedback.foreign import ForeignPicture
from feedback.guard import FlashGuard, SoundGuard, luminance
from feedback.registry import PICTURES, SOUNDS, with_plugins
from feedback.sound import Synth
from feedback.stage import Moment, Stage
from feedback.voices import RATE_HZ
from feedback.window import WindowLoop, _sample
from feedback.worker import Beat, Fault, Ready, Window, WindowSpec

FRAME_S = 1 / 60
Install = Callable[..., Path]

NAMES = """
from feedback.registry import PictureKind, SoundKind
P = {n: PictureKind(n, "For tests.", "nothing", f"pack.code:{n.title()}")
     for n in ("good", "strobe", "broken", "quits", "ends", "mute", "locks", "sneaky", "stuck",
               "unmade")}
S = {n: SoundKind(n, "continuous" if n.startswith("loop") else "on_reward", "For tests.",
                  f"pack.code:{n}")
     for n in ("loud", "loop", "mono", "nan", "long", "fails", "loop1")}
globals().update(P); globals().update(S)
"""
CODE = """
import time
import numpy as np
import pygame

class Good:
    def __init__(self, stage): self.stage = stage
    def draw(self, surface, moment):
        surface.fill((60, 60, round(60 + 40 * moment.level * moment.live)))

class Strobe(Good):
    n = 0
    def draw(self, surface, *_):
        self.n += 1
        surface.fill((255, 255, 255) if self.n // 3 % 2 else (0, 0, 0))

class Broken(Good):
    n = 0
    def draw(self, surface, moment):
        self.n += 1
        if self.n > 30: raise pygame.error("half drawn")
        Good.draw(self, surface, moment)

class Quits(Good):
    def draw(self, *_): raise SystemExit(0)

class Ends(Good):
    def draw(self, *_): raise BaseException("the end" + 10000 * "!")

class Mute(Good):
    def draw(self, *_):
        class Mutes(Exception):
            def __str__(self): raise ValueError
        raise Mutes

class Locks(Good):
    def draw(self, surface, *_): self.kept = pygame.surfarray.pixels3d(surface)

class Sneaky(Good):
    def draw(self, surface, *_):
        surface.fill((255, 255, 255), (0, 0, 40, 40))
        surface.set_alpha(0); surface.set_clip((0, 0, 1, 1)); surface.set_colorkey((0, 0, 0))

class Stuck(Good):
    def draw(self, *_):
        while True: time.sleep(1.0)

class Unmade(Good):
    def __init__(self, stage): raise ValueError("no paint")

def loud(rate_hz): return 50.0 * np.ones((rate_hz // 10, 2))
def loop(rate_hz): return 3.0 * np.ones((rate_hz, 2)), 2.0 * np.ones((rate_hz, 2))
def mono(rate_hz): return np.ones(100)
def nan(rate_hz): return np.full((100, 2), np.nan)
def long(rate_hz): return np.ones((rate_hz * 11, 2))
def fails(rate_hz): raise SystemExit(1)
def loop1(rate_hz): return np.ones((rate_hz, 2)), np.ones((100, 2))
"""
PICTURE_NAMES = (
    "good",
    "strobe",
    "broken",
    "quits",
    "ends",
    "mute",
    "locks",
    "sneaky",
    "stuck",
    "unmade",
)
SOUND_NAMES = ("loud", "loop", "mono", "nan", "long", "fails", "loop1")
PACK = (("pack", "1.0.0"),)


@pytest.fixture(autouse=True)
def pack(plugin: Install) -> None:
    points = {f"neuroloop.pictures:{n}": f"pack.names:{n}" for n in PICTURE_NAMES}
    points |= {f"neuroloop.sounds:{n}": f"pack.names:{n}" for n in SOUND_NAMES}
    files = {"pack/__init__.py": "", "pack/names.py": NAMES, "pack/code.py": CODE}
    plugin("pack", files, points)


class FakePort:
    def __init__(self) -> None:
        self.inbox: list[Any] = []
        self.out: list[Any] = []

    def take(self) -> tuple[Any, ...]:
        messages, self.inbox = tuple(self.inbox), []
        return messages

    def put(self, message: Any) -> None:
        self.out.append(message)

    def of(self, kind: type) -> list[Any]:
        return [m for m in self.out if isinstance(m, kind)]


class Bench:
    def __init__(self, **spec: Any) -> None:
        known: dict[str, Any] = {"headless": True, "size": (320, 180), "sound_enabled": False}
        self.clock, self.port = FakeClock(), FakePort()
        self.spec = WindowSpec(**{**known, "plugins": PACK, **spec})
        self.loop = WindowLoop(self.spec, self.port, self.clock)
        self.seq = 0

    def frames(self, seconds: float, level: float = 0.5) -> None:
        for _ in range(round(seconds / FRAME_S)):
            self.seq += 1
            now = self.clock.now()
            self.port.inbox.append(
                Show(seq=self.seq, t=now - 0.01, sent=now, screen="feedback", level=level)
            )
            assert self.loop.turn()
            self.clock.advance(FRAME_S)

    def shown(self) -> Any:
        return _sample(self.loop._shown)


@pytest.fixture
def benches() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(**spec: Any) -> Bench:
        made.append(Bench(**spec))
        return made[-1]

    yield make
    for bench in made:
        bench.loop.close()


def test_ready_says_which_plugins_there_are(benches: Callable[..., Bench]) -> None:
    bench = benches(picture="good")
    assert bench.loop.open()
    (ready,) = bench.port.of(Ready)
    assert ready.versions["pack"] == "1.0.0"
    bench.frames(1.5, level=1.0)
    assert np.abs(bench.shown()[40, 40].astype(int) - (60, 60, 100)).max() <= 2
    assert bench.port.of(Fault) == []
    assert bench.port.of(Presented)[-1].level == pytest.approx(1.0, abs=0.01)


def test_without_being_listed_it_is_not_there(benches: Callable[..., Bench]) -> None:
    for spec, words in (
        ({"picture": "good", "plugins": ()}, "There is no picture `good`"),
        ({"picture": "good", "plugins": (("pack", "2.0.0"),)}, "1.0.0 is installed"),
        ({"picture": "good", "plugins": (("pakc", "1.0.0"),)}, "not installed"),
        ({"picture": "unmade"}, "ValueError: no paint"),
        ({"on_reward": "mono", "sound_enabled": True}, "which cannot be played"),
    ):
        bench = benches(**spec)
        assert not bench.loop.open()
        (fault,) = bench.port.of(Fault)
        assert fault.fatal
        assert words in fault.text
        assert bench.port.of(Ready) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "half drawn"),
        ("quits", "SystemExit"),
        ("ends", "the end"),
        ("mute", "no reason"),
        ("locks", "lock"),
    ],
)
def test_a_picture_that_fails_gives_way_to_a_still_one(
    benches: Callable[..., Bench], name: str, why: str
) -> None:
    bench, calm = benches(picture=name), benches(picture="none")
    assert bench.loop.open()
    bench.frames(2.0)
    (fault,) = bench.port.of(Fault)  # told once
    assert not fault.fatal
    assert f"`{name}`" in fault.text
    assert why in fault.text
    assert len(fault.text) < 400
    assert bench.port.of(Presented)[-1].level is None  # nobody sees a level any more
    after = bench.shown().copy()
    bench.loop.close()
    assert calm.loop.open()
    calm.frames(2.0)
    assert np.array_equal(after, calm.shown())


def test_a_strobe_is_tamed(benches: Callable[..., Bench]) -> None:
    bench = benches(picture="strobe")
    assert bench.loop.open()
    watch = FlashGuard(slope=False)
    means = []
    for _ in range(150):
        bench.frames(FRAME_S)
        frame, t = bench.shown(), bench.clock.now()
        assert not watch.judge(frame, t).bits
        watch.commit(frame, t)
        means.append(float(luminance(frame).mean()))
    assert np.abs(np.array(means)[60:] - np.array(means)[:-60]).max() <= 0.51
    assert bench.port.of(Beat)[-1].guarded > 0


def test_what_it_does_to_its_surface_stays_there(benches: Callable[..., Bench]) -> None:
    bench = benches(picture="sneaky")
    assert bench.loop.open()
    bench.frames(2.0)
    assert bench.port.of(Fault) == []
    # Its alpha makes it invisible, on its own surface; the window's background is whole.
    stage = bench.loop._stage
    shown, ground = bench.shown()[60:80], _sample(stage.background)[60:80]
    assert np.abs(shown.astype(int) - ground).max() <= 2
    assert bench.loop._shown.get_alpha() in (None, 255)


def test_a_plugin_gets_a_stage_of_its_own() -> None:
    pygame.font.init()
    told: list[str] = []
    stage = Stage((320, 180))
    before = pygame.image.tobytes(stage.background, "RGB")

    class Painter:
        def __init__(self, own: Stage) -> None:
            self.own = own

        def draw(self, _surface: Any, _moment: Moment) -> None:
            self.own.background.fill((255, 255, 255))
            self.own.size = (1, 1)
            self.own.font(20).set_bold(True)
            self.own.text("word", 0.05, (9, 9, 9), 100, 100).fill((0, 0, 0))

    word = stage.text("word", 0.05, (9, 9, 9), 100, 100)
    letters = pygame.image.tobytes(word, "RGBA")
    picture = ForeignPicture.made("painter", lambda: Painter, stage, told.append)
    surface = pygame.Surface((320, 180))
    for _ in range(3):
        picture.draw(surface, Moment())
    assert told == []
    assert stage.size == (320, 180)
    assert pygame.image.tobytes(stage.background, "RGB") == before
    assert pygame.image.tobytes(surface, "RGB") == before
    word = stage.text("word", 0.05, (9, 9, 9), 100, 100)
    assert pygame.image.tobytes(word, "RGBA") == letters
    assert not stage.font(20).get_bold()


def test_what_cannot_be_made_says_why() -> None:
    def leaves(_: Stage) -> Any:
        raise KeyboardInterrupt

    pygame.font.init()
    with pytest.raises(InputError) as caught:
        ForeignPicture.made("gone", lambda: leaves, Stage((320, 180)), print)
    assert "`gone` cannot be made (KeyboardInterrupt" in caught.value.what


def test_a_picture_that_never_returns_stops_the_beats() -> None:
    spec = WindowSpec(
        headless=True, size=(320, 180), sound_enabled=False, picture="stuck", plugins=PACK
    )
    window = Window(spec)
    window.start()
    try:
        messages: list[Any] = []
        end = time.monotonic() + 40.0
        show, beats = Show(seq=1, t=0.0, sent=0.0, screen="welcome"), 0
        while time.monotonic() < end and beats < 3:
            window.show(show)
            messages += window.poll()
            beats = sum(isinstance(m, Beat) for m in messages)
            time.sleep(0.02)
        assert any(isinstance(m, Ready) and m.versions["pack"] == "1.0.0" for m in messages)
        assert beats >= 3
        late: list[Any] = []
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            window.show(replace(show, screen="feedback", level=0.5))
            late.append([m for m in window.poll() if isinstance(m, Beat)])
            time.sleep(0.02)
        assert not any(late[-40:])  # which the conductor takes for a hung window
        assert window.alive
    finally:
        window.stop(0.2)
    assert not window.alive


# ---------------------------------------------------------------- sounds


def synth(name: str, role: str = "on_reward") -> Synth:
    _, sounds = with_plugins(PACK)
    on, loop = (name, None) if role == "on_reward" else (None, name)
    return Synth(on, loop, False, SoundGuard(0.25), sounds=sounds)


def test_a_loud_sound_is_turned_down() -> None:
    made = synth("loud")
    made.reward()
    block = np.concatenate([made.render(2048) for _ in range(4)])
    assert 0.0 < np.abs(block).max() <= 0.25
    loops = synth("loop", "continuous")
    loops.playing, loops.level = True, 1.0
    block = np.concatenate([loops.render(2048) for _ in range(60)])
    assert 0.0 < np.abs(block).max() <= 0.25


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mono", "(100,)"),
        ("nan", "(100, 2)"),
        ("long", f"({11 * RATE_HZ}, 2)"),
        ("fails", "SystemExit"),
        ("nothing", "no sound `nothing`"),
    ],
)
def test_what_cannot_be_played_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        synth(name)
    assert words in caught.value.what


def test_loops_of_unlike_length_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be played"):
        synth("loop1", "continuous")


def test_what_is_built_in_stays() -> None:
    pictures, sounds = with_plugins(PACK)
    assert set(PICTURES) < set(pictures)
    assert set(SOUNDS) < set(sounds)
    assert with_plugins(()) == (PICTURES, SOUNDS)
