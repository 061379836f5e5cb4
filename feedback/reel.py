"""A film as pictures: decoded ahead by a thread, chosen by film time, never waited for.

A frame that is late is counted, and the one before stays.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedback.film import (
    LONGEST_STEP_S,
    WAKE_S,
    FilmClock,
    Turn,
    check_film,
    clock_of,
    decoded,
    existing,
    open_film,
    picture_track,
    pyav,
    turn_of,
    usual_rate_hz,
)

__all__ = ["Film", "FilmFrame"]

log = logging.getLogger(__name__)

AHEAD = 8  # frames decoded and waiting
SLACK_S = 0.5  # film time waits for a decoder that is further behind than this


@dataclass(frozen=True, slots=True)
class FilmFrame:
    """One frame, as large as it will be shown.

    Parameters
    ----------
    t : float
        Film time at which it begins; runs on when the film begins anew.
    loop : int
        How many times the film had begun anew.
    into_s : float
        Seconds since the film's beginning.
    image : av.VideoFrame
        ``bgra``, rows without padding where the width is a multiple of 16.
    small : ndarray of uint8, shape (rows, cols, 3)
        The same, reduced to the grid asked for.
    """

    t: float
    loop: int
    into_s: float
    image: Any
    small: NDArray[np.uint8]

    @property
    def pixels(self) -> Any:
        """Return its bytes in the order B, G, R, A, row by row, without copying them."""
        plane = self.image.planes[0]
        width, height = self.image.width, self.image.height
        if plane.line_size == 4 * width:
            return memoryview(plane)[: 4 * width * height]
        return np.ascontiguousarray(self.image.to_ndarray()).data.cast("B")

    def grey(self) -> NDArray[np.uint8]:
        """Return its lightness, shape ``(height, width)``."""
        return np.asarray(self.image.reformat(format="gray").to_ndarray(), dtype=np.uint8)


class _Reel:
    """The decoder's side of a film: fills `frames`, from its own thread.

    Parameters
    ----------
    start : (int, float)
        Place to begin at.
    """

    def __init__(
        self, file: Path, size: tuple[int, int], grid: tuple[int, int], start: tuple[int, float]
    ) -> None:
        self.file, self.size, self.grid = file, size, grid
        self.frames: deque[FilmFrame] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.wanted = 0.0  # film time
        self.error = ""
        self._loop, self._first_s = start
        self._behind_s = 0.0
        self._shown_late = -math.inf

    def close(self) -> None:
        with self.changed:
            self.closing = True
            self.frames.clear()
            self.changed.notify_all()

    def run(self) -> None:
        """Decode the film over and over until closed."""
        begins = -self._first_s  # film time at which the current pass began
        try:
            while not self.closing:
                with open_film(self.file) as container:
                    ends = self._pass(container, begins)
                if ends <= begins + self._first_s:
                    self.error = f"Nothing more of the film {self.file} can be decoded."
                    return
                begins, self._first_s = ends, 0.0
                self._loop += 1
        except Exception as error:
            # A film that is gone must end in a picture that stands, never in a dead window.
            log.exception("film stopped")
            self.error = f"The film stopped: {error}"

    def _pass(self, container: Any, begins: float) -> float:
        """Decode the film once; return the film time at its end."""
        track = picture_track(container)
        if track is None:
            return begins
        track.thread_type = "AUTO"
        track.codec_context.thread_count = 2  # the window needs the rest
        usual = 1.0 / usual_rate_hz(track)
        offset = (container.start_time or 0) / pyav().time_base
        if self._first_s > 0.0:
            container.seek(int((self._first_s + offset) * pyav().time_base))
        into, last = self._first_s, None
        for frame in decoded(container, track):
            if self.closing:
                break
            told = None if frame.time is None else frame.time - offset
            if last is None:
                into = max(0.0, told) if told is not None else into
            elif told is not None and 0.0 < told - last <= LONGEST_STEP_S:
                into = told
            else:
                into = last + usual
            last = into
            if into >= self._first_s - usual:
                self._offer(frame, begins + into, into)
            # What no other frame is built on may be left out, to catch up.
            track.codec_context.skip_frame = "NONREF" if self._behind_s > 0.25 else "DEFAULT"
        return begins + into + usual if last is not None else begins

    def _offer(self, frame: Any, t: float, into_s: float) -> None:
        """Scale a frame and queue it; wait while enough are waiting."""
        with self.changed:
            while len(self.frames) >= AHEAD and not self.closing:
                self.changed.wait(WAKE_S)
            behind = self._behind_s = self.wanted - t
        if self.closing:
            return
        # Far behind, most frames need not be scaled; a few a second keep the film moving.
        if behind > 0.1 and t - self._shown_late < 0.2:
            return
        self._shown_late = t if behind > 0.1 else -math.inf
        made = FilmFrame(t, self._loop, into_s, *self._scaled(frame))
        with self.changed:
            if not self.closing:
                self.frames.append(made)

    def _scaled(self, frame: Any) -> tuple[Any, NDArray[np.uint8]]:
        turn = turn_of(frame)
        width, height = self.size[::-1] if turn.swaps else self.size
        shrinks = frame.width >= width and frame.height >= height
        # Without a word about its colours, a film in HD uses those of HD.
        hd = int(frame.colorspace) == 2 and frame.height >= 720
        image = frame.reformat(
            width,
            height,
            format="bgra",
            src_colorspace="ITU709" if hd else None,
            interpolation="AREA" if shrinks else "BICUBIC",
        )
        if turn != Turn():
            image = _upright(image, turn)
        cols, rows = self.grid
        small = image.reformat(cols, rows, format="rgb24", interpolation="AREA")
        return image, np.asarray(small.to_ndarray(), dtype=np.uint8)


def _upright(image: Any, turn: Turn) -> Any:
    """Return a frame in ``bgra`` turned; after scaling, for then there is least to turn."""
    whole = np.ascontiguousarray(image.to_ndarray()).view(np.uint32)[..., 0]  # a pixel at once
    pixels = turn.upright(whole)[..., None].view(np.uint8)
    turned = pyav().VideoFrame.from_ndarray(pixels, format="bgra")
    turned.colorspace, turned.color_range = image.colorspace, image.color_range
    return turned


class Film:
    """A film that plays by film time.

    Parameters
    ----------
    path : str
        Of the film.
    size : (int, int)
        Width and height to scale it to; a width that is a multiple of 16 is cheapest.
    grid : (int, int)
        Columns and rows of the small copy that comes with each frame.

    Raises
    ------
    InputError
        See `check_film`.

    Attributes
    ----------
    facts : FilmFacts
        What the film is.
    late : int
        How often a frame was asked for that was not decoded yet.
    """

    def __init__(self, path: str, size: tuple[int, int], grid: tuple[int, int] = (48, 27)) -> None:
        self.facts = check_film(path)
        file = existing(path)
        self.clock = clock_of(file)
        self.clock.pictures += 1
        self.late = 0
        self._period_s = 1.0 / self.facts.rate_hz
        self._t = 0.0
        self._shown: FilmFrame | None = None
        self._reel = _Reel(file, size, grid, self.clock.place)
        # The thread holds the reel alone, so that a film nobody holds any more is closed.
        self._close = weakref.finalize(self, _closed, self._reel, self.clock)
        threading.Thread(target=self._reel.run, name="film", daemon=True).start()

    @property
    def error(self) -> str:
        """Why the film stands still for good; empty while it can play."""
        return self._reel.error

    @property
    def ahead(self) -> int:
        """How many frames are decoded and waiting."""
        return len(self._reel.frames)

    def close(self) -> None:
        """Stop decoding."""
        self._close()

    def step(self, dt: float) -> FilmFrame | None:
        """Let `dt` seconds of film time pass; return the frame that shows now.

        Never waits. None before the first frame is there; then film time does not run either.
        """
        reel = self._reel
        with reel.changed:
            if self._shown is None:
                if not reel.frames:
                    return None
                self._shown = reel.frames.popleft()
                self._t = max(0.0, self._shown.t)
            newest = reel.frames[-1] if reel.frames else self._shown
            if dt > 0.0:
                self._t = max(self._t, min(self._t + dt, newest.t + SLACK_S))
            reel.wanted = self._t
            while reel.frames and reel.frames[0].t <= self._t + 1e-6:
                self._shown = reel.frames.popleft()
            if not reel.frames and self._t > self._shown.t + 1.5 * self._period_s:
                self.late += 1
            reel.changed.notify()
        shown = self._shown
        self.clock.place = (shown.loop, shown.into_s + self._t - shown.t)
        return shown


def _closed(reel: _Reel, clock: FilmClock) -> None:
    reel.close()
    clock.pictures -= 1
