"""What showing a frame costs: every picture at full HD, with the guard and the way to the screen.

``uv run python -m benchmarks.drawing [--quick] [--out FOLDER]`` turns the person's window frame by
frame, as a session does, on SDL's dummy driver: the level wanders and is lost at times, rewards
come, time passes at 60 frames a second. What is timed is a whole turn (background, picture, words,
the guard's samples and judgement, the copy to the screen) and the drawing in it. A second table
tells how long a change takes to the sound device.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import Table, machine
from engine.clock import FakeClock
from engine.errors import InputError
from engine.frames import Show

__all__ = ["LIMIT_MS", "Cost", "cost", "main", "run", "sound_table", "table"]

LIMIT_MS = 8.0  # of the median: half a frame
SIZE = (1920, 1080)
FRAMES, WARM = 420, 60  # the first ones load letters and fill caches
FRAME_S = 1.0 / 60.0
SOUND_S = 3.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What the frames of one picture took, in ms; `why` says why there are none.

    `worked` is the processor's time in the window's thread alone: on a busy computer the rest of
    `whole` was somebody else's.
    """

    whole: NDArray[np.float64]
    drawing: NDArray[np.float64]
    worked: NDArray[np.float64]
    why: str = ""


class _Given:
    """A port that hands over what was put in, and drops what is reported."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def take(self) -> tuple[Any, ...]:
        taken, self.waiting = tuple(self.waiting), []
        return taken

    def put(self, _message: Any) -> None:
        """Nobody reads it."""

    def wait(self, _timeout_s: float) -> bool:
        return bool(self.waiting)


def cost(name: str, media: Path | None, size: tuple[int, int] = SIZE, frames: int = FRAMES) -> Cost:
    """Return what showing a picture costs."""
    _headless()
    import pygame

    from feedback.registry import PICTURES
    from feedback.window import WindowLoop
    from feedback.worker import WindowSpec

    needs = PICTURES[name].needs
    film = _film(media) if needs == "film" and media is not None else ""
    images = _images(media) if needs == "images" and media is not None else ""
    if (needs == "film" and not film) or (needs == "images" and not images):
        return _nothing(f"it needs {needs}, and none could be made here")
    port, clock = _Given(), FakeClock(1000.0)
    spec = WindowSpec(
        picture=name, size=size, headless=True, sound_enabled=False, images=images, film=film
    )
    loop = WindowLoop(spec, port, clock)
    try:
        if not loop.open():
            return _nothing("the window did not open")
        return _turned(loop, port, clock, frames)
    except (ImportError, InputError) as error:
        return _nothing(str(error))
    finally:
        loop.close()
        pygame.quit()


def _turned(loop: Any, port: _Given, clock: FakeClock, frames: int) -> Cost:
    drawn: list[float] = []
    draw = loop.screens.draw

    def timed(*given: Any, **named: Any) -> None:
        began = time.perf_counter()
        draw(*given, **named)
        drawn.append(time.perf_counter() - began)

    loop.screens.draw = timed
    whole, worked = [], []
    for k in range(frames + WARM):
        now = clock.now()
        if k % 2 == 0:
            port.waiting.append(_show(k, now))
        began, before = time.perf_counter(), time.thread_time()
        loop.turn()
        worked.append(time.thread_time() - before)
        whole.append(time.perf_counter() - began)
        clock.advance(FRAME_S)
    return Cost(*(1e3 * np.array(found[WARM:]) for found in (whole, drawn, worked)))


def _show(k: int, now: float) -> Show:
    """Return what a session might send: a level that wanders and is gated at times, rewards."""
    level = 0.5 + 0.35 * math.sin(k / 37.0) + 0.15 * math.sin(k / 11.0)
    gated = k % 150 > 135
    return Show(k, now, now, "feedback", level=level, gated=gated, rewards=k // 45)


def _nothing(why: str) -> Cost:
    return Cost(np.zeros(0), np.zeros(0), np.zeros(0), why)


def _headless() -> None:
    os.environ["SDL_VIDEODRIVER"] = os.environ["SDL_AUDIODRIVER"] = "dummy"
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")


# ---------------------------------------------------------------- media


def _images(folder: Path) -> str:
    """Write some pictures as large as a camera's."""
    import pygame

    made = folder / "images"
    made.mkdir(exist_ok=True)
    x, y = np.meshgrid(np.arange(1600) / 1600, np.arange(1200) / 1200, indexing="ij")
    for k in range(4):
        waves = [np.sin(2 * np.pi * (a * x + b * y) * (k + 1)) for a, b in ((1, 0), (0, 1), (1, 1))]
        pixels = np.stack([90 + 60 * wave for wave in waves], axis=-1).astype(np.uint8)
        pygame.image.save(pygame.surfarray.make_surface(pixels), str(made / f"{k}.png"))
    return str(made)


def _film(folder: Path) -> str:
    """Write a film of 8 s at full HD; empty where nothing can write one."""
    try:
        import av
    except ImportError:
        return ""
    path = folder / "film.mp4"
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for k in range(200):
            grey = (110 + 50 * np.sin((x + y) / 190.0 + k / 12.0)).astype(np.uint8)
            picture = np.ascontiguousarray(np.stack([grey, grey, grey], axis=-1))
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return str(path)


# ---------------------------------------------------------------- tables


def table(found: dict[str, Cost], size: tuple[int, int] = SIZE) -> Table:
    """Return what every picture costs, with its verdict."""
    rows, slow = [], []
    for name, one in found.items():
        if one.why:
            rows.append((name, "", "", "", "", "", f"left out: {one.why}"))
            continue
        median = float(np.median(one.whole))
        slow += [name] if median > LIMIT_MS else []
        cells = [np.median(one.drawing), median, *np.percentile(one.whole, (95, 99))]
        cells.append(np.median(one.worked))
        rows.append((name, *(f"{x:.1f}" for x in cells), "PASS" if median <= LIMIT_MS else "MISS"))
    verdict = f"MISS: {', '.join(slow)}" if slow else "PASS"
    return Table(
        f"A frame of {size[0]} x {size[1]}, ms",
        ("picture", "drawing, p50", "whole, p50", "p95", "p99", "processor, p50", ""),
        tuple(rows),
        (f"{verdict}. The median of a whole frame has to be at most {LIMIT_MS:g} ms.",),
    )


def sound_table(seconds: float = SOUND_S) -> Table:
    """Return how long a change takes from the window to the device, without a device."""
    rows = []
    for name in ("null", "mixer"):
        with _audio(name):
            rows.append((name, *_sound(seconds)))
    return Table(
        "From a change to the sound device, ms",
        ("back end", "buffer", "delay", "ran dry", ""),
        tuple(rows),
        ("No device is behind either of them; its own delay comes on top.",),
    )


@contextmanager
def _audio(name: str) -> Iterator[None]:
    """Choose a back end of the sound."""
    _headless()
    before = os.environ.get("NEUROLOOP_AUDIO")
    os.environ["NEUROLOOP_AUDIO"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["NEUROLOOP_AUDIO"]
        else:
            os.environ["NEUROLOOP_AUDIO"] = before


def _sound(seconds: float) -> tuple[str, str, str, str]:
    """Return buffer, delay and how often the sound ran dry, while the level wanders."""
    import pygame

    from feedback.guard import SoundGuard
    from feedback.registry import SOUNDS
    from feedback.speaker import Speaker
    from feedback.synth import Synth

    named = [k.name for k in SOUNDS.values() if k.role == "continuous" and not k.needs]
    synth = Synth("chime", named[0], True, SoundGuard(0.25))
    speaker = Speaker(synth)
    try:
        driver = speaker.open()
        speaker.start()
        synth.playing, synth.volume = True, 1.0
        for k in range(round(seconds / FRAME_S)):
            synth.level = 0.5 + 0.5 * math.sin(k / 20.0)
            if k % 60 == 30:
                synth.reward()
            time.sleep(FRAME_S)
        delay = speaker.delay_ms
        told = "not known" if delay is None else f"{delay:.1f}"
        return f"{speaker.buffer_ms:.1f}", told, str(speaker.starved), driver
    except (InputError, ImportError, pygame.error) as error:
        return "", "", "", f"left out: {error}"
    finally:
        speaker.close()


def run(quick: bool) -> list[Table]:
    """Return both tables."""
    from feedback.registry import PICTURES

    frames = 300 if quick else FRAMES
    with tempfile.TemporaryDirectory() as folder:
        found = {name: cost(name, Path(folder), frames=frames) for name in PICTURES}
    return [table(found), sound_table(1.0 if quick else SOUND_S)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drawing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer frames")
    parser.add_argument("--out", type=Path, help="folder for drawing.md")
    given = parser.parse_args(arguments)
    text = "\n".join([machine(), *(t.markdown() for t in run(given.quick))])
    sys.stdout.write(text)
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "drawing.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
