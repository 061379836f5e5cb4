"""The room's own film: by film time, calm, never in the way, and clear about what is wrong."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import av
import numpy as np
import pygame
import pytest
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.film import check_film, clock_of, film_sound, turn_of
from feedback.guard import FLASH, FlashGuard, luminance
from feedback.motion import LevelEase
from feedback.reel import Film
from feedback.scenes.video import Video
from feedback.soundtrack import LEAD_S, FilmSound
from feedback.stage import Media, Moment, Stage, Style
from feedback.voices import AMBIENCE_PEAK
from feedback.window import _sample

RATE_HZ = 44100
DT = 1 / 60
BLOCK = RATE_HZ // 60
FRAMES, FILM_HZ = 50, 25
SIZE = (480, 270)


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread, not for a fixed time."""
    deadline = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < deadline, "the decoder does not come"
        time.sleep(0.002)


def write_film(
    path: Path,
    pictures: list[NDArray[np.uint8]],
    sound: NDArray[np.float32] | None = None,
    picture_codec: str = "mpeg4",
    sound_codec: str = "pcm_s16le",
    held: tuple[int, bool] = (0, False),
) -> str:
    with av.open(str(path), "w") as container:
        track = container.add_stream(picture_codec, rate=FILM_HZ)
        track.height, track.width = pictures[0].shape[:2]
        track.pix_fmt = "yuv420p"
        track.bit_rate = 2_000_000
        if held != (0, False):  # degrees, counter-clockwise; mirrored
            track.set_display_rotation(held[0], hflip=held[1])
        voice = None
        if sound is not None:
            voice = container.add_stream(sound_codec, rate=RATE_HZ)
            voice.layout = "stereo"
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = k
            container.mux(track.encode(frame))
        container.mux(track.encode())
        if voice is not None and sound is not None:
            planes = np.repeat(np.rint(sound * 32767).astype(np.int16), 2)[None, :]
            for i in range(0, len(sound), 1024):
                piece = np.ascontiguousarray(planes[:, 2 * i : 2 * (i + 1024)])
                block = av.AudioFrame.from_ndarray(piece, "s16", "stereo")
                block.sample_rate, block.pts = RATE_HZ, i
                container.mux(voice.encode(block))
            container.mux(voice.encode())
    return str(path)


def even(code: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), code, dtype=np.uint8)


def tone(hz: float, seconds: float, peak: float = 1.0) -> NDArray[np.float32]:
    t = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (peak * np.sin(2 * np.pi * hz * t)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def steps(folder: Path) -> str:
    """Two seconds, each frame a little lighter; 440 Hz, and 1320 Hz in the second second."""
    sound = np.concatenate([tone(440, 1.0), tone(1320, 1.0)])
    return write_film(folder / "steps.mkv", [even(30 + 4 * k) for k in range(FRAMES)], sound)


@pytest.fixture(scope="module")
def calm(folder: Path) -> str:
    """Soft colours that move slowly."""
    x = np.linspace(0, 2 * np.pi, 64)[None, :, None]
    hue = np.array([0.0, 0.7, 1.4])[None, None, :]
    y = np.linspace(0, 1, 48)[:, None, None]
    pictures = [
        (150 + 60 * np.sin(x + hue + 2 * np.pi * k / FRAMES) - 40 * y).astype(np.uint8)
        for k in range(FRAMES)
    ]
    return write_film(folder / "calm.mp4", pictures)


@pytest.fixture(scope="module")
def strobe(folder: Path) -> str:
    """Black and white, five times a second."""
    pictures = [even(255 if k * 10 // FILM_HZ % 2 else 0) for k in range(FRAMES)]
    return write_film(folder / "strobe.mp4", pictures)


@pytest.fixture
def film(steps: str) -> Iterator[Film]:
    made = Film(steps, (64, 48), (4, 3))
    until(lambda: made.step(0.0) is not None)
    yield made
    made.close()


@pytest.fixture
def sound(steps: str) -> Iterator[FilmSound]:
    made = film_sound(RATE_HZ, Media(film=steps))
    until(lambda: made.ahead_s > 1.5)
    yield made
    made.close()


@pytest.fixture
def screen() -> Iterator[None]:
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((640, 360))
    yield
    pygame.display.quit()


# ---------------------------------------------------------------- what a film is


def test_facts(steps: str, calm: str) -> None:
    facts = check_film(steps)
    assert (facts.width, facts.height, facts.codec) == (64, 48, "mpeg4")
    assert facts.rate_hz == pytest.approx(FILM_HZ)
    assert facts.lasts_s == pytest.approx(2.0, abs=0.05)
    assert facts.has_sound
    assert not check_film(calm).has_sound


def _wav(path: Path) -> None:
    with av.open(str(path), "w") as container:
        voice = container.add_stream("pcm_s16le", rate=8000)
        voice.layout = "mono"
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        block.sample_rate = 8000
        container.mux(voice.encode(block))


def _png(path: Path) -> None:
    pygame.image.save(pygame.Surface((32, 32)), str(path))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("missing.mp4", None, "There is no film"),
        ("folder", Path.mkdir, "is a folder"),
        ("empty.mp4", Path.touch, "is empty"),
        ("words.mp4", lambda p: p.write_text("Once upon a time\n" * 50), "is no film"),
        ("tone.wav", _wav, "no moving pictures"),
        ("one.png", _png, "single picture"),
        ("list.m3u8", lambda p: p.write_text("#EXTM3U\nhttp://127.0.0.1:9/a.ts\n"), "is no film"),
    ],
)
def test_what_is_no_film_is_said(
    tmp_path: Path, name: str, make: Callable[[Path], Any] | None, says: str
) -> None:
    path = tmp_path / name
    if make is not None:
        make(path)
    with pytest.raises(InputError) as caught:
        check_film(str(path))
    assert says in caught.value.what
    assert name in caught.value.what
    assert caught.value.fix


def test_no_film_named() -> None:
    with pytest.raises(InputError, match="names no film"):
        check_film("")


def test_without_the_library(steps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError) as caught:
        check_film(steps)
    assert "PyAV" in caught.value.what
    assert "neuroloop[film]" in caught.value.fix


# ---------------------------------------------------------------- films of phones

CORNERS = np.zeros((48, 64, 3), dtype=np.uint8)  # three corners that differ, and one dark
CORNERS[:24, :32], CORNERS[:24, 32:], CORNERS[24:, :32] = (220, 30, 30), (30, 200, 30), 240


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, -90, 180])
def test_a_film_held_otherwise_is_shown_upright(
    degrees: int, mirrored: bool, tmp_path: Path
) -> None:
    path = write_film(tmp_path / "phone.mp4", [CORNERS] * 4, held=(degrees, mirrored))
    upright = np.rot90(CORNERS, degrees // 90)
    upright = upright[:, ::-1] if mirrored else upright
    facts = check_film(path)
    assert (facts.height, facts.width) == upright.shape[:2]
    size = 2 * facts.width, 2 * facts.height
    film = Film(path, size, (facts.width // 16, facts.height // 16))
    until(lambda: film.step(0.0) is not None)
    shown = film.step(0.0)
    film.close()
    assert shown is not None
    assert (shown.image.width, shown.image.height) == size
    ends = np.ix_([0, -1], [0, -1])
    assert np.abs(shown.small[ends].astype(int) - upright[ends]).max() < 25
    whole = np.frombuffer(shown.pixels, np.uint8).reshape(size[1], size[0], 4)[..., 2::-1]
    wanted = upright.repeat(2, axis=0).repeat(2, axis=1)
    assert np.median(np.abs(whole.astype(int) - wanted)) < 12
    assert np.abs(whole[4::8, 4::8].astype(int) - wanted[4::8, 4::8]).mean() < 12
    grey = shown.grey()
    assert grey.shape == whole.shape[:2]
    assert np.abs(grey - whole @ np.array([0.299, 0.587, 0.114])).mean() < 4


@pytest.mark.parametrize("degrees", [0, 90, -90, 180, -180])
def test_the_angle_is_enough_where_the_rest_cannot_be_read(degrees: int) -> None:
    class Odd:
        rotation = degrees

        @property
        def side_data(self) -> Any:
            raise ValueError("34 is not a valid Type")

    found = turn_of(Odd()).upright(CORNERS)
    assert found.flags.c_contiguous
    assert np.array_equal(found, np.rot90(CORNERS, degrees // 90))


def test_a_film_without_sound_cannot_be_heard(calm: str) -> None:
    with pytest.raises(InputError, match="has no sound"):
        film_sound(RATE_HZ, Media(film=calm))


# ---------------------------------------------------------------- the picture


def test_frames_come_in_order_by_film_time(film: Film) -> None:
    for k in range(1, FRAMES):
        until(lambda: film.ahead > 0)
        shown = film.step(1 / FILM_HZ)
        assert shown is not None
        assert shown.into_s == pytest.approx(k / FILM_HZ, abs=0.002)
        assert float(shown.small.mean()) == pytest.approx(30 + 4 * k, abs=4)
    assert film.late == 0


def test_the_film_stands_still_with_its_time(film: Film) -> None:
    film.step(0.5)
    until(lambda: film.step(0.0) is not None and film.ahead > 0)  # it has caught up
    before = film.step(0.0)
    assert before is not None
    assert before.into_s > 0.3
    assert all(film.step(0.0) is before for _ in range(200))


def test_the_film_begins_anew(film: Film) -> None:
    loops = set()
    for _ in range(3 * FRAMES):
        until(lambda: film.ahead > 0)
        shown = film.step(1 / FILM_HZ)
        assert shown is not None
        loops.add(shown.loop)
        assert abs(float(shown.small.mean()) - (30 + 100 * shown.into_s)) < 5
    assert loops == {0, 1, 2} or loops == {0, 1, 2, 3}
    assert film.error == ""


def test_a_late_decoder_is_counted_and_not_waited_for(film: Film) -> None:
    for _ in range(100):  # ten seconds at once: no decoder can follow
        shown = film.step(0.1)
    assert shown is not None
    assert film.late > 0


def test_another_window_goes_on_where_the_film_stands(steps: str, film: Film) -> None:
    for _ in range(30):
        until(lambda: film.ahead > 0)
        film.step(1 / FILM_HZ)
    film.close()
    other = Film(steps, (32, 24), (4, 3))
    until(lambda: other.step(0.0) is not None)
    shown = other.step(0.0)
    assert shown is not None
    assert shown.into_s == pytest.approx(30 / FILM_HZ, abs=0.09)
    other.close()


def test_a_damaged_film_plays_what_is_left(steps: str, tmp_path: Path) -> None:
    data = bytearray(Path(steps).read_bytes())
    third = len(data) // 3
    data[third : third + third // 4] = np.random.default_rng(3).bytes(third // 4)
    path = tmp_path / "damaged.mkv"
    path.write_bytes(data)
    film = Film(str(path), (64, 48))
    until(lambda: film.step(DT) is not None)
    until(lambda: film.step(DT).loop > 0)  # type: ignore[union-attr]
    film.close()


def test_a_film_that_vanishes_leaves_its_last_picture(steps: str, tmp_path: Path) -> None:
    path = tmp_path / "gone.mkv"
    path.write_bytes(Path(steps).read_bytes())
    film = Film(str(path), (64, 48))
    until(lambda: film.step(0.0) is not None)
    path.unlink()
    until(lambda: film.step(0.1) is not None and film.error != "")
    assert film.step(0.1) is not None
    film.close()


def test_a_film_that_nobody_holds_is_closed(steps: str) -> None:
    film = Film(steps, (64, 48))
    clock, reel = clock_of(steps), film._reel
    assert clock.pictures == 1
    del film
    gc.collect()
    assert reel.closing
    assert clock.pictures == 0


# ---------------------------------------------------------------- on the screen


class Course:
    """A video drawn frame by frame before the guard, the decoder always in time."""

    def __init__(self, path: str, **style: bool) -> None:
        self.stage = Stage(SIZE, Style(**style), Media(film=path))
        self.video = Video(self.stage)
        self.ease, self.guard, self.now = LevelEase(), FlashGuard(), 0.0
        self.surface = self.stage.background.copy()
        until(lambda: self.video.film.step(0.0) is not None)
        for _ in range(120):  # the film comes up
            self.draw(Moment())
        shown = _sample(self.surface)
        for _ in range(120):  # and the window
            self.now += DT
            self.guard.present(shown, self.now)
        self.guard.interventions = 0

    def draw(self, moment: Moment) -> None:
        self.surface.blit(self.stage.background, (0, 0))
        self.video.draw(self.surface, moment)

    def show(self, moment: Moment) -> NDArray[np.uint8]:
        until(lambda: self.video.film.ahead > 0)
        self.draw(moment)
        self.now += DT
        return self.guard.present(_sample(self.surface), self.now)[0]

    def step(self, level: float | None, glow: float = 0.0) -> NDArray[np.uint8]:
        self.ease.step(DT, level)
        live = self.ease.eased
        return self.show(Moment(self.ease.level, live, glow, dt=DT * live))

    def pixels(self) -> NDArray[np.int64]:
        return np.asarray(pygame.surfarray.array3d(self.surface), dtype=np.int64)


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize("reduced", [False, True])
def test_the_guard_has_nothing_to_do_with_a_calm_film(calm: str, reduced: bool) -> None:
    course = Course(calm, reduced_motion=reduced)
    for k in range(90):
        course.step(float(k // 3 % 2), 0.5 - 0.5 * np.cos(k / 10))
    for k in range(90):
        course.step(1.0 if k // 30 % 2 else None)
    assert course.guard.interventions == 0, [hex(i.bits) for i in course.guard.log]


@pytest.mark.usefixtures("screen")
def test_a_cut_is_softened_before_the_guard_must(folder: Path) -> None:
    pictures = [even(250 if k // 25 % 2 else 15) for k in range(FRAMES)]
    course = Course(write_film(folder / "cut.mp4", pictures))
    for _ in range(130):
        course.step(1.0)
    assert course.guard.interventions == 0, [hex(i.bits) for i in course.guard.log]


@pytest.mark.usefixtures("screen")
def test_a_film_that_flashes_is_clamped(strobe: str) -> None:
    course = Course(strobe)
    course.video._light = 0.6  # as bright as it becomes
    most = 0
    for _ in range(150):
        course.step(1.0)
        most = max(most, course.guard.flashes(course.now))
    assert most <= 2
    assert any(i.bits & FLASH for i in course.guard.log)


@pytest.mark.usefixtures("screen")
def test_a_change_shows_in_the_very_next_frame(calm: str) -> None:
    course = Course(calm)
    course.show(Moment(0.3, 1.0))
    before = course.pixels()
    course.show(Moment(0.4, 1.0))
    changed = np.abs(course.pixels() - before).max(axis=2) > 12
    assert np.count_nonzero(changed) > 60


@pytest.mark.usefixtures("screen")
def test_light_and_size_go_slowly_and_with_the_level(folder: Path) -> None:
    course = Course(write_film(folder / "white.mp4", [even(255) for _ in range(FRAMES)]))
    shining = []
    for level in (0.0, 0.5, 1.0):
        for _ in range(420):
            course.video.draw(course.surface, Moment(level, 1.0))
        course.show(Moment(level, 1.0))
        lum = luminance(course.pixels().astype(np.uint8))
        shining.append((float(lum[240, 112]), np.count_nonzero(lum[:, 112] > 0.05)))
    assert shining == sorted(shining)
    assert shining[0][1] < shining[1][1] < shining[2][1]
    assert shining[2][0] < 0.62  # white is never glaring
    course.show(Moment(0.0, 1.0))
    after = luminance(course.pixels().astype(np.uint8))
    assert abs(float(after[240, 112]) - shining[2][0]) < 0.1 * DT + 0.008  # one step of 8 bits


@pytest.mark.usefixtures("screen")
def test_neutral_does_not_depend_on_the_level(calm: str) -> None:
    course = Course(calm)
    seen = []
    for level in (0.0, 1.0):
        for _ in range(240):
            course.video.draw(course.surface, Moment(level))
        course.show(Moment(level))
        seen.append(course.pixels())
    assert np.array_equal(*seen)
    assert np.ptp(seen[0].mean(axis=(0, 1))) < 8  # grey


@pytest.mark.usefixtures("screen")
@pytest.mark.parametrize("size", [(300, 500), (512, 384), (683, 384), (853, 360)])
def test_every_shape_can_be_drawn(calm: str, size: tuple[int, int]) -> None:
    stage = Stage(size, media=Media(film=calm))
    video = Video(stage)
    surface = stage.background.copy()
    until(lambda: video.film.step(0.0) is not None)
    for moment in (Moment(), Moment(1.0, 1.0, 1.0, 3.0, 5.0, DT), Moment(0.0, 0.5)):
        video.draw(surface, moment)
    video.film.close()


# ---------------------------------------------------------------- the sound


def heard(sound: FilmSound, level: float, seconds: float) -> NDArray[np.float32]:
    parts = []
    for _ in range(round(seconds * 60)):
        until(lambda: sound.ahead_s > 0.1)
        parts.append(sound.play(BLOCK, level, 0))
    return np.concatenate(parts)


def loudness(wave: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(wave.astype(float) ** 2)))


def frequency_hz(wave: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(wave[:, 0] * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * RATE_HZ / len(wave))


def test_the_sound_alone_plays_the_film(sound: FilmSound) -> None:
    wave = heard(sound, 1.0, 5.0)  # through the seam, twice
    assert wave.dtype == np.float32
    assert float(np.abs(wave).max()) <= AMBIENCE_PEAK
    assert float(np.abs(wave).max()) > 0.9 * AMBIENCE_PEAK
    assert frequency_hz(wave[20000:40000]) == pytest.approx(440, abs=5)
    assert frequency_hz(wave[50000:80000]) == pytest.approx(1320, abs=5)
    assert sound.late == sound.jumps == 0


def test_loudness_rises_with_the_level(sound: FilmSound) -> None:
    heard(sound, 0.0, 0.7)
    rms = []
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        heard(sound, level, 0.6)
        rms.append(loudness(heard(sound, level, 0.3)))
    assert rms == sorted(rms)
    assert 20 * np.log10(rms[-1] / rms[0]) == pytest.approx(12.0, abs=0.5)


def test_a_level_that_jumps_makes_no_click(folder: Path) -> None:
    path = write_film(folder / "tone.mkv", [even(90)] * 75, tone(440, 3.0))
    sound = film_sound(RATE_HZ, Media(film=path))
    until(lambda: sound.ahead_s > 1.5)
    wave = np.concatenate([heard(sound, float(k % 2), 0.05) for k in range(50)])
    steepest = 2 * np.pi * 440 / RATE_HZ * AMBIENCE_PEAK
    assert float(np.abs(np.diff(wave[:, 0])).max()) < 1.02 * steepest
    sound.close()


def together(film: Film, sound: FilmSound, steps: int, speed: float = 1.0) -> NDArray[np.float32]:
    parts = []
    for _ in range(steps):
        until(lambda: film.ahead > 0 and sound.ahead_s > 0.1)
        film.step(DT * speed)
        parts.append(sound.play(BLOCK, 1.0, 0))
    return np.concatenate(parts)


def test_the_sound_is_in_step_with_the_picture(film: Film, sound: FilmSound) -> None:
    wave = together(film, sound, 110)
    pieces = [frequency_hz(wave[i : i + 1470]) for i in range(0, len(wave) - 1470, 1470)]
    changed_s = next(i for i, hz in enumerate(pieces) if hz > 900) * 1470 / RATE_HZ
    assert changed_s == pytest.approx(1.0 - LEAD_S, abs=0.07)
    assert sound.jumps == 0
    assert sound.late == 0


def test_the_sound_is_silent_while_the_film_stands(film: Film, sound: FilmSound) -> None:
    assert loudness(together(film, sound, 60)) > 0.1
    fading = together(film, sound, 40, speed=0.0)
    assert np.abs(np.diff(fading[:, 0])).max() < 0.13  # no step, the tone's own slope
    still = together(film, sound, 60, speed=0.0)
    assert not still.any()
    before = film.clock.place
    again = together(film, sound, 60)
    assert loudness(again[-22050:]) > 0.1
    assert film.clock.place != before


def test_a_sound_that_is_apart_jumps_without_a_click(film: Film, sound: FilmSound) -> None:
    together(film, sound, 30)
    for _ in range(6):
        until(lambda: film.ahead > 0)
        film.step(1 / FILM_HZ)  # the picture runs on alone
    wave = together(film, sound, 60)
    assert sound.jumps == 1
    assert float(np.abs(np.diff(wave[:, 0])).max()) < 1.1 * 2 * np.pi * 1320 / RATE_HZ
