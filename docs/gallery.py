"""Draw every picture in its states, and the calm screens, for ``docs/feedback.md``.

``uv run python -m docs.gallery`` writes a sheet for each picture to ``docs/images/feedback``:
neutral, level 0, 0.25, 0.5, 0.75, 1, a reward, rest; and ``screens-LANGUAGE.jpg``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["SDL_VIDEODRIVER"] = "dummy"
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from engine.frames import Show, Summary
from feedback.messages import LANGUAGES, translator
from feedback.registry import PICTURES
from feedback.screens import Screens
from feedback.stage import Media, Moment, Stage, Style

SIZE = (1920, 1080)
TILE = (480, 270)
COLUMNS = 4
FRAMES = 300  # what follows slowly has arrived
FOLDER = Path(__file__).parent / "images" / "feedback"
OPTIONS = {"breath": {"rate_per_min": 6.0, "in_share": 0.4}}
STATES = (
    Moment(0.0, 0.0, 0.0, 9.0),
    *(Moment(level, 1.0, 0.0, 9.0 + 6 * k) for k, level in enumerate((0.0, 0.25, 0.5, 0.75, 1.0))),
    Moment(0.65, 1.0, 1.0, 33.6),
)
SUMMARY = Summary(rewards=14, clean_s=168.0, lasts_s=180.0, z=0.45)


def stage_of(name: str, film: str, style: Style, size: tuple[int, int] = SIZE) -> Stage:
    """Return a stage for one picture."""
    return Stage(size, style, Media(film=film), OPTIONS.get(name, {}))


def states(screens: Screens, language: str = "en") -> Iterator[Any]:
    """Yield the frames of a picture's states, rest last."""
    stage, say = screens.stage, translator(language)
    surface = pygame.Surface(stage.size)
    show = Show(seq=0, t=0.0, sent=0.0, screen="feedback")
    for state in STATES:
        for k in range(FRAMES):
            moment = Moment(
                state.level, state.live, state.glow, state.rewards, 20.0 + k / 60, state.live / 60
            )
            screens.draw(surface, show, "feedback", moment)
        yield surface.copy()
    rest = Show(
        0, 0.0, 0.0, "rest", title=say("Rest"), remaining_s=24.0, progress=0.4, summary=SUMMARY
    )
    screens.draw(surface, rest, "rest")
    yield surface


def sheet(frames: list[Any]) -> Any:
    """Return the frames side by side, small."""
    rows = -(-len(frames) // COLUMNS)
    whole = pygame.Surface((COLUMNS * TILE[0], rows * TILE[1]))
    for k, frame in enumerate(frames):
        small = pygame.transform.smoothscale(frame, TILE)
        whole.blit(small, ((k % COLUMNS) * TILE[0], k // COLUMNS * TILE[1]))
    return whole


def calm_screens(language: str, style: Style, size: tuple[int, int] = SIZE) -> list[Any]:
    """Return every screen that carries words."""
    say = translator(language)
    screens = Screens(Stage(size, style), "orb", language)
    shows = (
        Show(0, 0.0, 0.0, "welcome", title="Neuroloop"),
        Show(0, 0.0, 0.0, "instruction", title=say("Training"), text=say("Let the orb grow."),
             remaining_s=12.0, progress=0.2),
        Show(0, 0.0, 0.0, "countdown", text=say("Let the orb grow."), remaining_s=2.4),
        Show(0, 0.0, 0.0, "transfer", text=say("Do the same without the picture.")),
        Show(0, 0.0, 0.0, "rest", title=say("Rest"), remaining_s=24.0, progress=0.4,
             summary=SUMMARY),
        Show(0, 0.0, 0.0, "neutral", text=say("One moment, please.")),
        Show(0, 0.0, 0.0, "end", title=say("Session complete")),
        Show(0, 0.0, 0.0, "test"),
    )  # fmt: skip
    out = []
    for show in shows:
        surface = pygame.Surface(size)
        screens.draw(surface, show, show.screen)
        out.append(surface)
    return out


def small_film(path: Path) -> None:
    """Write five seconds of a slow, coloured landscape of light as the film of the sheets."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        y, x = np.mgrid[0:360, 0:640] / 360.0
        for k in range(125):
            wave = 0.5 + 0.5 * np.sin(3.0 * x + 2.0 * np.sin(2.0 * y + k / 60) + k / 40)
            light = np.stack([90 + 120 * wave, 110 + 70 * y, 140 - 60 * wave], axis=-1)
            frame = av.VideoFrame.from_ndarray(light.astype(np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def main() -> int:
    """Write all sheets."""
    parser = argparse.ArgumentParser(prog="python -m docs.gallery", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*PICTURES], metavar="NAME")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    pygame.display.init()
    pygame.font.init()
    pygame.display.set_mode((64, 64))
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        small_film(film)
        for name in given.only or PICTURES:
            screens = Screens(stage_of(name, str(film), Style()), name)
            pygame.image.save(sheet(list(states(screens))), str(given.out / f"{name}.jpg"))
            sys.stdout.write(f"{name}\n")
    for language in LANGUAGES if given.only is None else ():
        frames = calm_screens(language, Style())
        pygame.image.save(sheet(frames), str(given.out / f"screens-{language}.jpg"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
