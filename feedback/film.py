"""The room's own film, as pictures and as sound.

A film is decoded by threads of its own, a little ahead, and shown by *film time*: the seconds for
which feedback was live. While there is no honest answer film time stands still, and so does the
film. Nothing here ever waits for the decoder: a frame that is late is counted, and the one before
stays. Picture and sound of one film share a clock, `clock_of`, which the picture drives.

Films are decoded by PyAV, an optional library: ``neuroloop[film]``.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.stage import Media
from feedback.voices import AMBIENCE_PEAK

__all__ = [
    "Film",
    "FilmClock",
    "FilmFacts",
    "FilmFrame",
    "FilmSound",
    "check_film",
    "clock_of",
    "film_sound",
]

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

AHEAD = 8  # frames decoded and waiting
SLACK_S = 0.5  # film time waits for a decoder that is further behind than this
LONGEST_STEP_S = 30.0  # between two frames; more is a broken time stamp
USUAL_RATE_HZ = 25.0  # of a film that does not tell
WAKE_S = 0.25  # a waiting thread looks this often whether its film was closed

PLAY = "Play the file in a film player; if it plays there, save it again as MP4 (H.264)."


# ---------------------------------------------------------------- what a film is


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What a film is, found without playing it.

    Parameters
    ----------
    width, height : int
        Size in square pixels, as it should be shown.
    rate_hz : float
        Frames per second, on average.
    lasts_s : float
        Length; nan where the file does not tell.
    has_sound : bool
        Whether there is a sound track.
    codec : str
        Name of the picture's codec.
    """

    width: int
    height: int
    rate_hz: float
    lasts_s: float
    has_sound: bool
    codec: str


def _av() -> Any:
    """Return PyAV, which is loaded only where a film is wanted."""
    try:
        import av
    except (ImportError, OSError) as error:
        raise InputError(
            "Films need the library PyAV, which is not installed.",
            'Install it with `uv sync --extra film` or `pip install "neuroloop[film]"`, or choose '
            "another picture and sound.",
        ) from error
    return av


def _existing(path: str) -> Path:
    """Return `path` as the path of a file that can be read."""
    if not path.strip():
        raise InputError(
            "The room names no film.", "Write the path of a film under `media: film:` in the room."
        )
    file = Path(path).expanduser()
    try:
        if file.is_dir():
            raise InputError(
                f"{file} is a folder, not a film.",
                "Write the path of one film under `media: film:` in the room.",
            )
        if not file.is_file():
            raise InputError(
                f"There is no film {file}.", "Check `media: film:` in the room for a mistyped path."
            )
        with file.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(
            f"The film {file} cannot be read ({error.strerror or error}).",
            "Check who may read the file, and that its drive is connected.",
        ) from error
    if empty:
        raise InputError(f"The film {file} is empty.", "Copy it again.")
    return file.resolve()


def _open(file: Path) -> Any:
    """Open a film. Only this one file is read, whatever a playlist inside may name."""
    return _av().open(f"file:{file}", container_options={"protocol_whitelist": "file"})


def _picture_track(container: Any) -> Any | None:
    """Return the first stream of moving pictures; a cover image is none."""
    cover = _av().stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    return None


def _rate_hz(track: Any) -> float:
    for rate in (track.average_rate, track.guessed_rate):
        if rate and 0.1 <= float(rate) <= 1000.0:
            return float(rate)
    return USUAL_RATE_HZ


def check_film(path: str) -> FilmFacts:
    """Return what the film at `path` is; decodes two frames only.

    Raises
    ------
    InputError
        There is no film that can be played, or PyAV is not installed.
    """
    av = _av()
    file = _existing(path)
    try:
        with _open(file) as container:
            track = _picture_track(container)
            if track is None:
                raise InputError(f"{file} holds no moving pictures.", "Name a film, not a sound.")
            seen = 0
            for _ in _decoded(container, track):
                seen += 1
                if seen == 2:
                    break
            if seen == 1:
                raise InputError(
                    f"{file} is a single picture, not a film.",
                    "Name a film; for pictures of your own there is the picture `puzzle`.",
                )
            if seen == 0:
                raise InputError(f"Nothing in the film {file} can be decoded.", PLAY)
            return _facts(container, track)
    except av.FFmpegError as error:
        raise InputError(f"{file} is no film that can be played.", PLAY) from error


def _facts(container: Any, track: Any) -> FilmFacts:
    av = _av()
    codec = track.codec_context
    pixel = float(codec.sample_aspect_ratio or 1)
    pixel = pixel if 0.2 <= pixel <= 5.0 else 1.0
    if container.duration:
        lasts_s = container.duration / av.time_base
    elif track.duration:
        lasts_s = float(track.duration * track.time_base)
    else:
        lasts_s = math.nan
    return FilmFacts(
        width=max(1, round(codec.width * pixel)),
        height=max(1, codec.height),
        rate_hz=_rate_hz(track),
        lasts_s=lasts_s if lasts_s > 0 else math.nan,
        has_sound=len(container.streams.audio) > 0,
        codec=str(codec.name),
    )


def _decoded(container: Any, track: Any) -> Iterator[Any]:
    """Yield the decoded frames of a stream; what is damaged is left out."""
    av = _av()
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:  # the rest of the file cannot be read
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames


# ---------------------------------------------------------------- the clock


class FilmClock:
    """Where a film stands: how many times it has begun anew, and seconds since it began.

    The picture moves it; the sound follows. `place` is replaced as a whole, so another thread
    never sees half of a change.
    """

    def __init__(self) -> None:
        self.place: tuple[int, float] = (0, 0.0)
        self.pictures = 0  # how many pictures drive it; the sound alone keeps its own time


_clocks: weakref.WeakValueDictionary[Path, FilmClock] = weakref.WeakValueDictionary()
_clocks_lock = threading.Lock()


def clock_of(path: str | Path) -> FilmClock:
    """Return the one clock of the film at `path` in this process."""
    key = Path(path).expanduser().resolve()
    with _clocks_lock:
        clock = _clocks.get(key)
        if clock is None:
            clock = _clocks[key] = FilmClock()
        return clock


# ---------------------------------------------------------------- the picture


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
                with _open(self.file) as container:
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
        track = _picture_track(container)
        if track is None:
            return begins
        track.thread_type = "AUTO"
        track.codec_context.thread_count = 2  # the window needs the rest
        usual = 1.0 / _rate_hz(track)
        offset = (container.start_time or 0) / _av().time_base
        if self._first_s > 0.0:
            container.seek(int((self._first_s + offset) * _av().time_base))
        into, last = self._first_s, None
        for frame in _decoded(container, track):
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
        return begins + into + usual if last is not None else begins

    def _offer(self, frame: Any, t: float, into_s: float) -> None:
        """Scale a frame and queue it; wait while enough are waiting."""
        with self.changed:
            while len(self.frames) >= AHEAD and not self.closing:
                self.changed.wait(WAKE_S)
            behind = self.wanted - t
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
        width, height = self.size
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
        cols, rows = self.grid
        small = image.reformat(cols, rows, format="rgb24", interpolation="AREA")
        return image, np.asarray(small.to_ndarray(), dtype=np.uint8)


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
        file = _existing(path)
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


# ---------------------------------------------------------------- the sound

STORE_S, KEPT_S = 2.0, 1.0  # decoded ahead; kept behind, to go back to
QUIETEST_DB = -12.0  # at level 0, below level 1
LEVEL_TAU_S = 0.100
PRESENCE_S = 0.300  # from sound to silence where the film stands still, and back
APART_S = 0.080  # lips and voice further apart than this are seen
CROSS_S = 0.020
EDGE_S = 0.010  # fades where the film begins and ends
LEAD_S = 0.050  # what is rendered now is heard so much later
PACE_TAU_S, DRIFT_TAU_S = 0.100, 0.200


class _Track:
    """The decoder's side of a film's sound: a ring of samples, filled from its own thread.

    Samples are counted from the first one decoded. `starts` says where the passes through the
    film begin: sample, and seconds into the film.
    """

    def __init__(
        self, file: Path, rate_hz: int, lasts_s: float, start: tuple[int, float]
    ) -> None:
        self.file, self.rate_hz, self.lasts_s = file, rate_hz, lasts_s
        self.changed = threading.Condition()
        self.closing = False
        self.error = ""
        self.head = 0  # the reader's next sample
        self.written = 0
        self.starts: dict[int, tuple[int, float]] = {}
        self.loop, self._first_s = start
        self.loop_wanted = self.loop
        self._ring: Float32 = np.zeros((int((STORE_S + KEPT_S) * rate_hz), 2), dtype=np.float32)

    def close(self) -> None:
        with self.changed:
            self.closing = True
            self.changed.notify_all()

    # ---- the thread

    def run(self) -> None:
        """Decode the sound over and over until closed."""
        try:
            while not self.closing:
                with self.changed:
                    before = self.written
                    self.starts[self.loop] = (before, self._first_s)
                    for old in [k for k in self.starts if k < self.loop - 2]:
                        del self.starts[old]
                with _open(self.file) as container:
                    self._pass(container)
                if self.written == before and not self._left_behind:
                    self.error = f"Nothing more of the film's sound {self.file} can be decoded."
                    return
                self.loop, self._first_s = max(self.loop + 1, self.loop_wanted), 0.0
        except Exception as error:
            # A film that is gone must end in silence, never in a dead window.
            log.exception("film sound stopped")
            self.error = f"The sound of the film stopped: {error}"

    @property
    def _left_behind(self) -> bool:
        return self.closing or self.loop_wanted > self.loop

    def _pass(self, container: Any) -> None:
        if not container.streams.audio:
            return
        track = container.streams.audio[0]
        offset = (container.start_time or 0) / _av().time_base
        if self._first_s > 0.0:
            container.seek(int((self._first_s + offset) * _av().time_base))
        resampler = _av().AudioResampler(format="flt", layout="stereo", rate=self.rate_hz)
        done = round(self._first_s * self.rate_hz)  # samples since the film's beginning
        waiting: Float32 | None = None  # one piece is held back: the last one fades out
        for frame in _decoded(container, track):
            if self._left_behind:
                break
            at = done if frame.time is None else round((frame.time - offset) * self.rate_hz)
            piece = _samples(resampler.resample(frame))
            piece = _in_place(piece, at - done, self.rate_hz)
            if not len(piece):
                continue
            done += len(piece)
            if waiting is None:
                piece = _faded(piece, self.rate_hz, into=True)
            else:
                self._write(waiting)
            waiting = piece
        if waiting is not None:
            self._write(_faded(waiting, self.rate_hz, into=False))
            # A sound track may be shorter than the film: silence until the picture ends, too.
            missing_s = self.lasts_s - done / self.rate_hz
            if 0.0 < missing_s <= LONGEST_STEP_S:
                self._write(np.zeros((round(missing_s * self.rate_hz), 2), dtype=np.float32))

    def _write(self, piece: Float32) -> None:
        room = int(STORE_S * self.rate_hz)
        for i in range(0, len(piece), 4096):
            part = piece[i : i + 4096]
            with self.changed:
                while self.written + len(part) - self.head > room and not self._left_behind:
                    self.changed.wait(WAKE_S)
                if self._left_behind:
                    return
                index = (self.written + np.arange(len(part))) % len(self._ring)
                self._ring[index] = part
                self.written += len(part)

    # ---- the reader

    def take(self, head: int, n: int) -> tuple[Float32, int]:
        """Return `n` samples from `head` on, and how many of them are there already."""
        oldest = max(0, self.written - len(self._ring))
        out: Float32 = np.zeros((n, 2), dtype=np.float32)
        have = max(0, min(n, self.written - head))
        first = min(have, max(0, oldest - head))
        index = (head + np.arange(first, have)) % len(self._ring)
        out[first:have] = self._ring[index]
        return out, have


def _samples(frames: list[Any]) -> Float32:
    """Return resampled frames as samples of shape ``(n, 2)``, no louder than the ambience."""
    parts = [np.asarray(f.to_ndarray(), dtype=np.float32).reshape(-1, 2) for f in frames]
    joined = np.concatenate(parts) if parts else np.zeros((0, 2), dtype=np.float32)
    clean = np.nan_to_num(joined, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(clean, -1.0, 1.0) * np.float32(AMBIENCE_PEAK))


def _in_place(piece: Float32, early: int, rate_hz: int) -> Float32:
    """Return a piece with silence before it, or cut, when its time stamp is far from its place."""
    if abs(early) < 0.1 * rate_hz or early > LONGEST_STEP_S * rate_hz:
        return piece
    if early > 0:
        return np.concatenate([np.zeros((early, 2), dtype=np.float32), piece])
    return piece[min(len(piece), -early) :]


def _faded(piece: Float32, rate_hz: int, *, into: bool) -> Float32:
    """Return a piece that begins from silence, or ends in it."""
    n = min(len(piece), int(EDGE_S * rate_hz))
    ramp = _rise(n)
    out = piece.copy()
    if into:
        out[:n] *= ramp
    elif n:
        out[-n:] *= ramp[::-1]
    return out


def _rise(n: int) -> Float32:
    """Return a soft ramp from 0 to 1, shape ``(n, 1)``."""
    x = (np.arange(n) + 0.5) / max(n, 1)
    return np.asarray((0.5 - 0.5 * np.cos(np.pi * x))[:, None], dtype=np.float32)


class FilmSound:
    """The sound of a film: a `feedback.voices.Voice` whose volume follows the level.

    Where a picture of the same film is open, its clock leads: the sound fades while film time
    stands still, and jumps (blended over 20 ms) when it is more than 80 ms apart. Alone, it keeps
    its own time.

    Parameters
    ----------
    path : str
        Of the film.
    rate_hz : int
        Sample rate of what is played.

    Raises
    ------
    InputError
        See `check_film`; or the film has no sound.

    Attributes
    ----------
    late : int
        Blocks that were asked for before they were decoded.
    jumps : int
        Corrections of the time.
    """

    def __init__(self, path: str, rate_hz: int) -> None:
        facts = check_film(path)
        file = _existing(path)
        if not facts.has_sound:
            raise InputError(
                f"The film {file} has no sound.",
                "Name a film with sound, or choose another sound than `film` in the protocol.",
            )
        self.rate_hz = rate_hz
        self.clock = clock_of(file)
        self.late = self.jumps = 0
        self._track = _Track(file, rate_hz, facts.lasts_s, self.clock.place)
        self._gain = math.nan
        self._presence = 0.0
        self._place = self.clock.place
        self._pace = 0.0  # of film time, 1 is in real time
        self._drift_s = 0.0
        self._close = weakref.finalize(self, self._track.close)
        threading.Thread(target=self._track.run, name="film sound", daemon=True).start()

    @property
    def error(self) -> str:
        """Why the sound has ended for good; empty while it can play."""
        return self._track.error

    def close(self) -> None:
        """Stop decoding."""
        self._close()

    def play(self, n: int, level: float, rewards: int) -> Float32:  # noqa: ARG002
        """Return the next `n` samples, shape ``(n, 2)``; see `feedback.voices.Voice`."""
        if n <= 0:
            return np.zeros((0, 2), dtype=np.float32)
        gains = self._gains(n, level)
        with self._track.changed:
            out = self._next(n)
            self._track.changed.notify()
        return np.asarray(out * gains[:, None], dtype=np.float32)

    def rest(self) -> None:
        """Begin from silence next time; see `feedback.voices.Voice`."""
        self._presence, self._gain = 0.0, math.nan

    def _gains(self, n: int, level: float) -> Float32:
        """Return the volume of each sample: as the level, in dB, without steps."""
        level = min(max(level, 0.0), 1.0) if math.isfinite(level) else 0.0
        target = 10.0 ** (QUIETEST_DB * (1.0 - level) / 20.0)
        if math.isnan(self._gain):
            self._gain = target
        t = np.arange(1, n + 1) / self.rate_hz
        gains = target + (self._gain - target) * np.exp(-t / LEVEL_TAU_S)
        self._gain = float(gains[-1])
        return gains.astype(np.float32)

    def _next(self, n: int) -> Float32:
        """Return the next `n` samples at full volume, and go on."""
        track = self._track
        goal = self._goal(n)
        if self._presence <= 0.0:
            if goal is None:
                return np.zeros((n, 2), dtype=np.float32)
            track.head, self._drift_s = goal, 0.0
        elif goal is not None:
            step = min(1.0, n / self.rate_hz / DRIFT_TAU_S)
            self._drift_s += ((track.head - goal) / self.rate_hz - self._drift_s) * step
        out, have = track.take(track.head, n)
        if goal is not None and self._presence > 0.0 and abs(self._drift_s) > APART_S:
            out, have = self._jump(out, goal, n)
        track.head += have
        return self._present(out, have, goal is not None)

    def _jump(self, out: Float32, goal: int, n: int) -> tuple[Float32, int]:
        """Blend from what plays into what should."""
        track = self._track
        there, have = track.take(goal, n)
        if not have:  # not decoded yet; the decoder hurries when it sees the new place
            track.head = goal
            return there, 0
        k = min(n, int(CROSS_S * self.rate_hz))
        there[:k] = out[:k] + (there[:k] - out[:k]) * _rise(k)
        track.head, self._drift_s = goal, 0.0
        self.jumps += 1
        return there, have

    def _present(self, out: Float32, have: int, wanted: bool) -> Float32:
        """Return `out` faded in while the sound is wanted and there, and out otherwise."""
        n = len(out)
        step = 1.0 / (PRESENCE_S * self.rate_hz)
        count = np.arange(1, n + 1)
        if wanted and have == n:
            ramp = np.minimum(1.0, self._presence + step * count)
        else:
            ramp = np.maximum(0.0, self._presence - step * count)
            if have < n:  # ran dry: out before the end of what is there
                self.late += wanted
                k = min(have, int(EDGE_S * self.rate_hz))
                out[have - k : have] *= _rise(k)[::-1]
                ramp[have:] = 0.0
        self._presence = float(ramp[-1])
        # Soft ends, so that neither is heard as a corner.
        return np.asarray(out * (ramp * ramp * (3.0 - 2.0 * ramp))[:, None], dtype=np.float32)

    def _goal(self, n: int) -> int | None:
        """Return the sample that belongs to the film's place; None where nothing should sound."""
        track = self._track
        if not self.clock.pictures:
            return track.head
        place, before = self.clock.place, self._place
        self._place = place
        seconds = n / self.rate_hz
        went = place[1] - before[1] if place[0] == before[0] else seconds
        self._pace += (went / seconds - self._pace) * min(1.0, seconds / PACE_TAU_S)
        track.loop_wanted = max(track.loop_wanted, place[0])
        start = track.starts.get(place[0])
        if self._pace < 0.5 or start is None:
            return None
        goal = start[0] + round((place[1] + LEAD_S - start[1]) * self.rate_hz)
        following = track.starts.get(place[0] + 1)
        if following is not None and goal >= following[0]:
            return None  # the sound of this pass is over
        return goal


def film_sound(rate_hz: int, media: Media) -> FilmSound:
    """Return the sound of the room's film.

    Raises
    ------
    InputError
        There is none, see `FilmSound`.
    """
    return FilmSound(media.film, rate_hz)
