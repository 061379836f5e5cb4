"""Frames of a headless session as pictures on the disk."""

from __future__ import annotations

import contextlib
import queue
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pygame

__all__ = ["Album", "write_png"]

FRAMES_KEPT = 60
PERIODIC_FRAMES = 36  # of them; the rest is kept for changes of screen


class Album:
    """Save frames of a headless session as PNG, from a thread, a bounded number."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self._periodic = 0
        self._jobs: queue.SimpleQueue[tuple[tuple[int, int], bytes, Path] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="album", daemon=True)
        self._thread.start()

    def add(self, surface: Any, name: str, periodic: bool) -> None:
        if self._count >= FRAMES_KEPT or (periodic and self._periodic >= PERIODIC_FRAMES):
            return
        path = self._folder / f"{self._count:03d}_{name}.png"
        self._jobs.put((surface.get_size(), pygame.image.tobytes(surface, "RGB"), path))
        self._count += 1
        self._periodic += periodic

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            with contextlib.suppress(OSError):
                write_png(*job)

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join(5.0)


def write_png(size: tuple[int, int], rgb: bytes, path: Path) -> None:
    """Write a PNG without holding up the other threads, as pygame's own writer does."""
    width, height = size
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row begins with its filter, 0
    rows[:, 1:] = np.frombuffer(rgb, dtype=np.uint8).reshape(height, 3 * width)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows.tobytes(), 3)),
            (b"IEND", b""),
        ):
            file.write(struct.pack(">I", len(data)) + kind + data)
            file.write(struct.pack(">I", zlib.crc32(kind + data)))
