"""`docs/feedback.md` shows every picture and tells every sound; its how-to works as written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest

from engine.clock import FakeClock
from engine.frames import Show
from feedback.guard import FlashGuard
from feedback.messages import LANGUAGES
from feedback.registry import PICTURES, SOUNDS
from feedback.window import WindowLoop
from feedback.worker import Ready, WindowSpec

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(autouse=True)
def _screen() -> Iterator[None]:
    yield
    pygame.display.quit()


def text() -> str:
    return (DOCS / "feedback.md").read_text(encoding="utf-8")


def test_every_picture_and_sound_is_shown() -> None:
    for name in PICTURES:
        assert f"### `{name}`" in text()
        assert f"images/feedback/{name}.jpg" in text()
    for name in SOUNDS:
        assert f"| `{name}` |" in text()
    for language in LANGUAGES:
        assert f"images/feedback/screens-{language}.jpg" in text()


def test_the_sheets_are_there_and_of_one_size() -> None:
    for place in re.findall(r"\((images/feedback/[^)]+)\)", text()):
        assert pygame.image.load(str(DOCS / place)).get_size() == (1920, 540)


class Port:
    def __init__(self) -> None:
        self.inbox: list[object] = []
        self.out: list[object] = []

    def take(self) -> tuple[object, ...]:
        messages, self.inbox = tuple(self.inbox), []
        return messages

    def put(self, message: object) -> None:
        self.out.append(message)


def test_the_picture_of_the_how_to_works_as_written(plugin: Callable[..., Path]) -> None:
    """It opens in the window, follows the level, is neutral without one, and calm."""
    blocks = re.findall(r"```python\n# (my_pictures/\w+\.py)\n(.*?)```", text(), re.DOTALL)
    table = r"```toml\n\[project.entry-points.\"(.+)\"\]\n(.*?)```"
    (point,) = re.findall(table, text(), re.DOTALL)
    name, target = re.fullmatch(r'(\w+) = "([^"]+)"\n', point[1]).groups()
    assert "plugins: [{name: my-pictures, version: 0.1.0}]" in text()
    lines = [x for _, code in blocks for x in code.splitlines() if x.strip()]
    assert len(lines) <= 25
    files = {"my_pictures/__init__.py": "", **dict(blocks)}
    plugin("my-pictures", files, {f"{point[0]}:{name}": target}, "0.1.0")
    clock, port = FakeClock(), Port()
    spec = WindowSpec(
        picture=name,
        plugins=(("my-pictures", "0.1.0"),),
        headless=True,
        size=(960, 540),
        sound_enabled=False,
    )
    loop = WindowLoop(spec, port, clock)
    assert loop.open()
    assert any(isinstance(m, Ready) for m in port.out)
    lights = []
    for k, level in enumerate([0.0] * 120 + [1.0] * 60 + [None] * 150):
        now = clock.now()
        port.inbox.append(
            Show(k, now - 0.01, now, "feedback", level, gated=level is None, rewards=k // 50)
        )
        loop.turn()
        clock.advance(1 / 60)
        lights.append(float(np.mean(pygame.surfarray.array3d(loop._shown))))
    assert loop._foreign is not None
    assert not loop._foreign.failed
    assert lights[170] > lights[110]
    assert isinstance(loop.guard, FlashGuard)
    assert loop.guard.interventions <= 1  # the first frame after black
    loop.close()
