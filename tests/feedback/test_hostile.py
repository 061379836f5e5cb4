"""What reaches the screen and the ear when pictures, sounds and plugins do their worst.

What is presented is checked by `Checker`, which knows nothing of the guard: it counts flashes and
red flashes as the textbook does, from the frames alone, for every cell of 27 x 48.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import numpy as np
import pygame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.clock import FakeClock
from engine.frames import Presented, Show
from feedback.guard import FlashGuard, SoundGuard, cap_gain
from feedback.window import WindowLoop, _sample
from feedback.worker import Fault, Key, WindowSpec

Rgb = NDArray[np.uint8]
ROWS, COLS = 27, 48
CELLS = ROWS * COLS
FEW = 129  # a tenth, at most
FPS = 60
FRAME_S = 1 / FPS
BRIEF = settings(max_examples=25, deadline=None, derandomize=True, database=None)


# ---------------------------------------------------------------- the textbook


CODE = np.arange(256) / 255.0
LINEAR = np.where(CODE <= 0.04045, CODE / 12.92, ((CODE + 0.055) / 1.055) ** 2.4)


def linear(rgb: Rgb) -> NDArray[np.float64]:
    return LINEAR[rgb]


def cells(light: NDArray[np.float64]) -> NDArray[np.float64]:
    k = light.shape[0] // ROWS
    return light.reshape(ROWS, k, COLS, k, 3).mean(axis=(1, 3)).reshape(CELLS, 3)


def uv(light: NDArray[np.float64]) -> NDArray[np.float64]:
    x = light @ (0.4124, 0.3576, 0.1805)
    y = light @ (0.2126, 0.7152, 0.0722)
    z = light @ (0.0193, 0.1192, 0.9505)
    total = x + 15 * y + 3 * z
    lit = total > 0.02
    out = np.full((*light.shape[:-1], 2), -1.0)  # black is far from every colour
    out[lit] = np.stack([4 * x[lit], 9 * y[lit]], axis=-1) / total[lit, None]
    return out


class Checker:
    """Everything the rule says about a second, from the frames that were shown."""

    def __init__(self, frames: list[Rgb], times: list[float]) -> None:
        light = [cells(linear(f)) for f in frames]
        self.times = np.array([times[0] - 1.0, *times])  # black before
        self.light = np.array([np.zeros((CELLS, 3)), *light])
        self.lum = self.light @ (0.2126, 0.7152, 0.0722)

    def _most(self, turned: NDArray[np.bool_]) -> int:
        """Return the transitions that more than a tenth of the cells have in some second."""
        most = 0
        for i, t in enumerate(self.times):
            second = turned[: i + 1][self.times[: i + 1] > t - 1.0 + 1e-6].sum(axis=0)
            most = max(most, int(np.sort(second)[-FEW - 1]))
        return most

    @property
    def transitions(self) -> int:
        """Opposing changes of luminance by 0.05 or more, the darker side below 0.80."""
        low, high = self.lum[0].copy(), self.lum[0].copy()
        way = np.zeros(CELLS)
        turned = np.zeros(self.lum.shape, dtype=np.bool_)
        for i, now in enumerate(self.lum):
            np.minimum(low, now, out=low)
            np.maximum(high, now, out=high)
            up = (now - low >= 0.05) & (low < 0.8) & (way <= 0)
            down = (high - now >= 0.05) & (now < 0.8) & (way >= 0)
            turned[i] = up | down
            way[up], way[down] = 1, -1
            low[turned[i]] = high[turned[i]] = now[turned[i]]
        return self._most(turned)

    @property
    def red_transitions(self) -> int:
        """Changes to or from saturated red by more than 0.2 in u'v'."""
        red = (self.light[..., 0] >= 0.8 * self.light.sum(axis=-1)) & (self.light[..., 0] > 0.01)
        which = np.flatnonzero(red.any(axis=0))
        if not len(which):
            return 0
        colour, red = uv(self.light[:, which]), red[:, which]
        since = np.zeros(len(which), dtype=int)
        turned = np.zeros(self.lum.shape, dtype=np.bool_)
        index = np.arange(len(self.times))
        for i in range(1, len(self.times)):
            away = np.linalg.norm(colour[:i] - colour[i], axis=-1) > 0.2
            other = red[:i] != red[i]
            now = (away & other & (index[:i, None] >= since)).any(axis=0)
            turned[i, which[now]] = True
            since[now] = i
        return self._most(turned)

    @property
    def red_cells(self) -> int:
        """Cells that are saturated red at once."""
        total = self.light.sum(axis=-1)
        red = (self.light[..., 0] >= 0.8 * total) & (self.light[..., 0] > 0.01)
        return int(red.sum(axis=1).max())

    @property
    def slope(self) -> float:
        """The largest change of the mean luminance within any second."""
        mean = self.lum.mean(axis=1)
        return max(
            float(np.abs(mean[(self.times > t - 1.0) & (self.times <= t)] - m).max())
            for t, m in zip(self.times, mean, strict=True)
        )

    @property
    def step(self) -> float:
        """The largest change of the mean luminance from frame to frame."""
        return float(np.abs(np.diff(self.lum.mean(axis=1))).max())

    def all_is_well(self) -> None:
        assert self.transitions <= 4
        assert self.red_transitions <= 4
        assert self.red_cells <= FEW
        assert self.slope <= 0.5
        assert self.step <= 0.03


def present(frames: list[Rgb], times: list[float], guard: FlashGuard | None = None) -> Checker:
    guard = guard if guard is not None else FlashGuard()
    return Checker([guard.present(f, t)[0] for f, t in zip(frames, times, strict=True)], times)


def flat(colour: Any) -> Rgb:
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (ROWS, COLS, 3)).copy()


@pytest.mark.parametrize("hz", [1, 2])
def test_two_flashes_a_second_pass_the_textbook_and_the_guard(hz: int) -> None:
    frames = [flat(255 if i * hz * 2 // FPS % 2 else 0) for i in range(3 * FPS)]
    times = [i / FPS for i in range(len(frames))]
    assert Checker(frames, times).transitions == 2 * hz
    guard = FlashGuard(slope=False)
    assert present(frames, times, guard).transitions == 2 * hz
    assert guard.interventions == 0


@pytest.mark.parametrize("hz", [3, 4, 10, 30])
@pytest.mark.parametrize("slope", [False, True])
def test_more_flashes_are_held_back(hz: int, slope: bool) -> None:
    frames = [flat(255 if i * hz * 2 // FPS % 2 else 0) for i in range(3 * FPS)]
    times = [i / FPS for i in range(len(frames))]
    assert Checker(frames[:FPS], times[:FPS]).transitions > 4
    guard = FlashGuard(slope=slope)
    shown = present(frames, times, guard)
    assert shown.transitions <= 4
    assert guard.log[0].t < 1.0


def test_a_jump_cut_takes_two_seconds() -> None:
    times = [i / FPS for i in range(3 * FPS)]
    shown = present([flat(255)] * len(times), times)
    assert 0.45 <= shown.slope <= 0.5
    assert shown.lum[-1].min() == 1.0


def test_frames_that_come_late_and_early_change_nothing() -> None:
    rng = np.random.default_rng(3)
    for hz in (2.0, 2.2, 3.0):
        times = np.cumsum(rng.uniform(0.004, 0.030, 180)).tolist()
        frames = [flat(255 if int(t * hz * 2) % 2 else 0) for t in times]
        assert present(frames, times, FlashGuard(slope=False)).transitions <= 4


@pytest.mark.parametrize("area", [FEW, FEW + 1])
def test_just_less_than_a_tenth_may_flash_and_a_tenth_may_not(area: int) -> None:
    frames = []
    for i in range(2 * FPS):
        frame = flat(0)
        frame.reshape(-1, 3)[:area] = 255 if i // 6 % 2 else 0
        frames.append(frame)
    times = [i / FPS for i in range(len(frames))]
    guard = FlashGuard(slope=False)
    shown = present(frames, times, guard)
    assert shown.transitions <= 4
    assert bool(guard.interventions) == (area > FEW)


# ---------------------------------------------------------------- whatever a picture draws


def checkers(rng: np.random.Generator, i: int, colours: Rgb) -> Rgb:
    size = int(rng.integers(1, 3))
    y, x = np.indices((ROWS, COLS)) // size
    return colours[(y + x + i) % 2]


def swap(_: np.random.Generator, i: int, __: Rgb) -> Rgb:
    """Red and green of one luminance."""
    return flat((220, 0, 0) if i % 2 else (0, 118, 0))


def noise(rng: np.random.Generator, _: int, __: Rgb) -> Rgb:
    return rng.integers(0, 256, (ROWS, COLS, 3)).astype(np.uint8)


def boxes(rng: np.random.Generator, _: int, colours: Rgb) -> Rgb:
    out = flat(0)
    for colour in colours:
        y, x = rng.integers(0, ROWS - 6), rng.integers(0, COLS - 10)
        out[y : y + rng.integers(4, 20), x : x + rng.integers(4, 30)] = colour
    return out


def reds(rng: np.random.Generator, i: int, _: Rgb) -> Rgb:
    """Nine per cent of red, elsewhere from frame to frame, on blue or black."""
    out = flat((0, 0, 200) if rng.random() < 0.5 else 0)
    out.reshape(-1, 3)[(i % 4) * 117 : (i % 4) * 117 + 117] = (200, 0, 0)
    return out


def bars(_: np.random.Generator, i: int, colours: Rgb) -> Rgb:
    out = flat(colours[0])
    out[:, (np.arange(COLS) + i) % 8 < 4] = colours[1]
    return out


def ramp(_: np.random.Generator, i: int, __: Rgb) -> Rgb:
    return flat(min(255, max(0, 4 * (i % 64) + (40 if i % 4 < 2 else -40))))


def plain(rng: np.random.Generator, _: int, colours: Rgb) -> Rgb:
    return flat(colours[rng.integers(0, 2)])


PAINTERS = (checkers, swap, noise, boxes, reds, bars, ramp, plain)
Paint = Callable[[np.random.Generator, int, Rgb], Rgb]


@st.composite
def shows(draw: st.DrawFn) -> tuple[list[Rgb], list[float]]:
    """A few scenes after each other, each of another kind and pace, at uneven times."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames: list[Rgb] = []
    for _ in range(draw(st.integers(1, 3))):
        paint: Paint = draw(st.sampled_from(PAINTERS))
        hold = draw(st.sampled_from((1, 2, 3, 6, 9)))
        colours = rng.integers(0, 256, (2, 3)).astype(np.uint8)
        if draw(st.booleans()):
            colours[:] = ((0, 0, 0), (255, 255, 255))
        for i in range(draw(st.integers(2, 5))):
            frames += [paint(rng, i, colours)] * hold if i else [paint(rng, i, colours)]
        frames += [paint(rng, i, colours) for i in range(8)]
    pace = draw(st.sampled_from((1 / 144, 1 / 60, 1 / 30, 0.25)))
    steps = np.full(len(frames), pace)
    if draw(st.booleans()):
        steps *= rng.uniform(0.1, 2.5, len(frames))
    return frames, np.cumsum(steps).tolist()


@BRIEF
@given(shows())
def test_whatever_a_picture_draws(show: tuple[list[Rgb], list[float]]) -> None:
    present(*show).all_is_well()


@settings(BRIEF, max_examples=12)
@given(shows())
def test_without_the_slope_the_flash_rules_hold_by_themselves(
    show: tuple[list[Rgb], list[float]],
) -> None:
    shown = present(*show, FlashGuard(slope=False))
    assert shown.transitions <= 4
    assert shown.red_transitions <= 4
    assert shown.red_cells <= FEW


# ---------------------------------------------------------------- whatever sounds

VALUES = st.sampled_from(
    (
        0.0,
        -0.0,
        1e-310,
        0.3,
        -0.9,
        1.0,
        -1.0,
        7.0,
        1e30,
        -1e30,
        1e308,
        math.nan,
        math.inf,
        -math.inf,
    )
)


@st.composite
def blocks(draw: st.DrawFn) -> NDArray[Any]:
    n = draw(st.sampled_from((1, 1, 2, 64, 512, 2048)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = rng.normal(size=(n, 2)) * draw(st.sampled_from((0.0, 1e-320, 0.1, 1.0, 1e6)))
    if draw(st.booleans()):
        block[rng.integers(0, n)] = draw(VALUES)
    if draw(st.booleans()):
        block[:] = draw(VALUES)
    with np.errstate(over="ignore"):
        return block.astype(draw(st.sampled_from((np.float32, np.float64))))


@BRIEF
@given(
    st.lists(st.tuples(blocks(), st.floats(), st.booleans()), min_size=1, max_size=20),
    st.sampled_from((None, 70.0, 76.0, 95.0)),
)
def test_whatever_sounds(
    played: list[tuple[NDArray[Any], float, bool]], fullscale_dba: float | None
) -> None:
    cap = cap_gain(fullscale_dba)
    guard = SoundGuard(cap)
    for block, volume, hushed in played:
        guard.hushed = hushed
        out, _ = guard.process(block, volume)
        assert out.shape == block.shape
        assert out.dtype == np.float32
        assert np.isfinite(out).all()
        assert float(np.abs(out).max()) <= min(0.501188, 1.25 * cap)  # -6 dBFS


@BRIEF
@given(
    st.lists(
        st.tuples(
            st.sampled_from((1, 7, 500, 2048)),
            st.one_of(st.floats(0, 1), st.just(math.nan)),
            st.sampled_from(("sound", "sound", "nan", "hushed", "dry")),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_a_steady_tone_is_never_cut(played: list[tuple[int, float, str]]) -> None:
    """No step but the tone's own and that of a ramp of 20 ms, whatever is done to it."""
    guard, at, out = SoundGuard(0.25), 0, [np.zeros((1, 2), dtype=np.float32)]
    for n, volume, what in played:
        block = 0.9 * np.sin(0.02 * (at + np.arange(n)))[:, None] * np.ones(2)
        at += n
        if what == "nan":
            block[n // 2] = np.nan
        if what == "dry":  # nothing came, so silence was heard
            out.append(np.zeros((1, 2), dtype=np.float32))
            guard.restart()
        guard.hushed = what == "hushed"
        out.append(guard.process(block, volume)[0])
    steps = np.abs(np.diff(np.concatenate(out), axis=0)).max(axis=1)
    dry = np.cumsum([len(b) for b in out])[:-1][[len(b) == 1 and not b.any() for b in out[1:]]] - 1
    steps[dry] = 0.0  # the gap itself
    ramp = 0.9 * 0.25 / (0.020 * 44100)
    assert steps.max() <= 0.9 * 0.25 * 0.02 + 1.6 * ramp


@BRIEF
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.sampled_from((441, 2205, 44100)))
def test_loudness_rises_by_six_db_a_second_at_most(volumes: list[float], n: int) -> None:
    guard = SoundGuard(0.25)
    guard.process(0.5 * np.ones((1000, 2)), 0.0)
    gains = np.concatenate(
        [guard.process(0.5 * np.ones((n, 2)), v)[0][:, 0] for v in volumes], dtype=float
    )
    heard = gains[gains > 0.5 * 0.25 / 8]  # from silence, the lowest eighth comes in 0.1 s
    if len(heard) > 2:
        assert np.diff(20 * np.log10(heard)).max() <= 6.0 / 44100 * 1.1 + 1e-4


@pytest.mark.parametrize("value", [0.7, 1e30, math.nan])
@pytest.mark.parametrize("n", [1, 100, 2048])
def test_a_hard_stop_is_silent_within_a_tenth_of_a_second(value: float, n: int) -> None:
    guard = SoundGuard(1.0)
    guard.process(0.5 * np.ones((4410, 2)), 1.0)
    guard.hushed = True
    played = 0
    while played < 4410:
        guard.process(np.full((n, 2), value), 1.0)
        played += n
    assert not guard.process(np.full((n, 2), value), 1.0)[0].any()


def test_a_square_wave_is_no_louder_than_the_sine_of_the_calibration() -> None:
    """70 dBA are 70 dBA: the mean square of a full-scale sine, times the cap."""
    guard = SoundGuard(cap_gain(90.0))  # 0.1
    square = 50.0 * np.sign(np.sin(np.arange(44100) * 0.06))[:, None] * np.ones(2)
    blocks = [guard.process(square[i : i + 2048], 1.0)[0] for i in range(0, 44100, 2048)]
    late = np.concatenate(blocks)[22050:].astype(float)
    assert np.mean(late**2) <= 0.5 * 0.1**2 * 1.05
    assert np.mean(late**2) >= 0.5 * 0.1**2 * 0.8
    assert guard.interventions > 0


@pytest.mark.parametrize("block", [np.ones(100), np.ones((100, 3)), np.array(["a"] * 9), None])
def test_what_is_no_block_is_silence(block: Any) -> None:
    guard = SoundGuard(0.25)
    guard.process(0.5 * np.ones((2048, 2)), 1.0)
    assert not guard.process(block, 1.0)[0][882:].any()


# ---------------------------------------------------------------- in the window


class Port:
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


class Room:
    """A window turned frame by frame, and every frame it showed."""

    def __init__(self, **spec: Any) -> None:
        known: dict[str, Any] = {"headless": True, "size": (192, 108), "sound_enabled": False}
        self.clock, self.port = FakeClock(), Port()
        self.loop = WindowLoop(WindowSpec(**{**known, **spec}), self.port, self.clock)
        assert self.loop.open(), self.port.of(Fault)
        self.seq = 0
        self.frames: list[Rgb] = []
        self.times: list[float] = []

    def turn(self, seconds: float, screen: str = "feedback") -> None:
        for _ in range(round(seconds * FPS)):
            self.seq += 1
            now = self.clock.now()
            self.port.inbox.append(Show(seq=self.seq, t=now, sent=now, screen=screen, level=0.5))
            assert self.loop.turn()
            self.frames.append(_sample(self.loop._shown).copy())
            self.times.append(now)
            self.clock.advance(FRAME_S)


@pytest.fixture
def room() -> Iterator[Callable[..., Room]]:
    made: list[Room] = []

    def make(**spec: Any) -> Room:
        made.append(Room(**spec))
        return made[-1]

    yield make
    for one in made:
        one.loop.close()


class Drawn:
    """A picture from a function of the number of the frame."""

    def __init__(self, paint: Callable[[Any, int], None]) -> None:
        self.paint, self.n = paint, 0

    def draw(self, surface: Any, _moment: object) -> None:
        self.n += 1
        self.paint(surface, self.n)


def stripes(surface: Any, n: int) -> None:
    surface.fill((255, 0, 0))
    for x in range(0, surface.get_width(), 8):
        surface.fill((0, 160, 255), (x + 4 * (n // 3 % 2), 0, 4, surface.get_height()))


def confetti(surface: Any, n: int) -> None:
    codes = np.random.default_rng(n).integers(0, 256, (48, 27, 3)).astype(np.uint8)
    small = pygame.surfarray.make_surface(codes)
    surface.blit(pygame.transform.scale(small, surface.get_size()), (0, 0))


HOSTILE: dict[str, Callable[[Any, int], None]] = {
    "white": lambda s, _: s.fill((255, 255, 255)),
    "2 Hz": lambda s, n: s.fill((255, 255, 255) if n // 15 % 2 else (0, 0, 0)),
    "10 Hz": lambda s, n: s.fill((255, 255, 255) if n // 3 % 2 else (0, 0, 0)),
    "5 Hz, faint": lambda s, n: s.fill((130, 130, 130) if n // 6 % 2 else (90, 90, 90)),
    "red": lambda s, n: s.fill((255, 0, 0) if n // 4 % 2 else (0, 140, 0)),
    "stripes": stripes,
    "confetti": confetti,
}


@pytest.mark.parametrize(
    ("name", "by"), [*((name, "key") for name in HOSTILE), ("white", "engine"), ("2 Hz", "engine")]
)
def test_neutral_within_two_frames_and_200_ms(
    room: Callable[..., Room], name: str, by: str
) -> None:
    """From whatever a picture has reached by then, and no rule but the slope gives way."""
    one = room(picture="none")
    one.loop.screens.picture = Drawn(HOSTILE[name])
    one.turn(2.4 if name == "white" else 1.3)
    before = Checker(one.frames, one.times)
    before.all_is_well()
    if name == "white":  # as bright as the slope allows: all the way
        assert before.lum[-1].mean() > 0.97
    if by == "key":
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))
    one.turn(0.2 + 2 * FRAME_S, "feedback" if by == "key" else "neutral")
    soon = one.frames[-1].astype(int)
    if by == "key":
        assert [k.name for k in one.port.of(Key)] == ["stop"]
    one.turn(0.7, "feedback" if by == "key" else "neutral")
    assert np.abs(one.frames[-1].astype(int) - soon).max() <= 1
    assert one.port.of(Presented)[-1].level is None
    # All of it, the curtain too, as the textbook sees it.
    whole = Checker(one.frames, one.times)
    assert whole.transitions <= 5  # two flashes, and the half that the curtain may be
    assert whole.red_transitions <= 5
    assert whole.red_cells <= FEW
    assert whole.step <= 6.0 / FPS + 0.03


def test_a_curtain_that_rises_and_falls_again_is_no_flash(room: Callable[..., Room]) -> None:
    one = room(picture="none")
    one.loop.screens.picture = Drawn(HOSTILE["white"])
    one.turn(1.5)
    for _ in range(5):
        one.turn(0.15, "neutral")
        one.turn(0.15)
    assert Checker(one.frames, one.times).transitions <= 5


AROUND = """
import pygame

class Around:
    def __init__(self, stage): self.n = 0
    def draw(self, surface, moment):
        self.n += 1
        surface.fill((40, 40, 40))
        if self.n > 20: self.go(surface)

class Flips(Around):
    def go(self, surface): pygame.display.flip()

class Fills(Around):
    def go(self, surface): pygame.display.get_surface().fill((255, 255, 255))

class Beeps(Around):
    def go(self, surface): pygame.mixer.Sound(buffer=b"\\x7f" * 40000).play()

class Eats(Around):
    def go(self, surface): pygame.event.get()

class Judges(Around):
    def go(self, surface):
        import feedback.guard as g, feedback.window as w, numpy
        for owner, name in ((g.FlashGuard, "judge"), (g.FlashGuard, "_broken"), (w, "_sample"),
                            (g, "LINEAR"), (g, "_Light"), (numpy, "stack")):
            try: setattr(owner, name, lambda *_: None)
            except Exception: continue
            raise SystemExit(name)
        surface.fill((255, 255, 255) if self.n // 3 % 2 else (0, 0, 0))
"""
NAMES = """
from feedback.registry import PictureKind
globals().update({n: PictureKind(n, "For tests.", "nothing", f"around.code:{n.title()}")
                  for n in ("flips", "fills", "beeps", "eats", "judges")})
"""


@pytest.fixture
def around(plugin: Callable[..., Any]) -> tuple[tuple[str, str], ...]:
    files = {"around/__init__.py": "", "around/names.py": NAMES, "around/code.py": AROUND}
    names = ("flips", "fills", "beeps", "eats", "judges")
    plugin("around", files, {f"neuroloop.pictures:{n}": f"around.names:{n}" for n in names})
    return (("around", "1.0.0"),)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("flips", "a picture draws on the surface it is given"),
        ("fills", "a picture draws on the surface it is given"),
        ("beeps", "the window plays them"),
        ("eats", "keys belong to the person"),
    ],
)
def test_a_plugin_that_goes_around_is_stopped_and_said(
    room: Callable[..., Room], around: tuple[tuple[str, str], ...], name: str, why: str
) -> None:
    one = room(picture=name, plugins=around)
    one.turn(1.0)
    (fault,) = one.port.of(Fault)
    assert why in fault.text
    assert not fault.fatal
    one.loop._door.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_s))
    one.turn(0.3)
    assert [k.name for k in one.port.of(Key)] == ["stop"]
    assert one.loop.curtain == "stopped"
    Checker(one.frames, one.times).all_is_well()


def test_a_plugin_cannot_replace_its_judge(
    room: Callable[..., Room], around: tuple[tuple[str, str], ...]
) -> None:
    one = room(picture="judges", plugins=around)
    one.turn(1.5)
    assert one.port.of(Fault) == []  # it strobes on, and nobody sees it
    assert one.loop.guard.interventions > 0
    Checker(one.frames, one.times).all_is_well()


def test_after_the_window_everything_is_open_again(
    room: Callable[..., Room], around: tuple[tuple[str, str], ...]
) -> None:
    before = pygame.display.flip
    one = room(picture="flips", plugins=around)
    assert pygame.display.flip is not before
    one.loop.close()
    assert pygame.display.flip is before
