"""The room's own film: what it is, whether it can be played, and where it stands.

A film is decoded by threads of its own, a little ahead, and shown by *film time*: the seconds for
which feedback was live. While there is no honest answer film time stands still, and so does the
film. Nothing ever waits for a decoder. Picture (`feedback.reel`) and sound (`feedback.soundtrack`)
of one film share a clock, `clock_of`, which the picture drives.

Films are decoded by PyAV, an optional library: ``neuroloop[film]``.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError

if TYPE_CHECKING:  # a film is checked on machines without a screen
    from feedback.soundtrack import FilmSound
    from feedback.stage import Media

__all__ = [
    "LONGEST_STEP_S",
    "WAKE_S",
    "FilmClock",
    "FilmFacts",
    "Turn",
    "check_film",
    "clock_of",
    "decoded",
    "existing",
    "film_sound",
    "open_film",
    "picture_track",
    "pyav",
    "turn_of",
    "usual_rate_hz",
]

ATTACHED_PIC = 0x400  # FFmpeg's mark of a cover image
USUAL_RATE_HZ = 25.0  # of a film that does not tell
LONGEST_STEP_S = 30.0  # between two frames; more is a broken time stamp
WAKE_S = 0.25  # a waiting thread looks this often whether its film was closed

PLAY = "Play the file in a film player; if it plays there, save it again as MP4 (H.264)."


# ---------------------------------------------------------------- what a film is


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What a film is, found without playing it.

    Parameters
    ----------
    width, height : int
        Size in square pixels, upright, as it should be shown.
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


def pyav() -> Any:
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


def existing(path: str) -> Path:
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


def open_film(file: Path) -> Any:
    """Open a film; nothing is fetched over a network, whatever the file may name."""
    return pyav().open(f"file:{file}", container_options={"protocol_whitelist": "file"})


def picture_track(container: Any) -> Any | None:
    """Return the first stream of moving pictures; a cover image is none."""
    for stream in container.streams.video:
        if not int(getattr(stream, "disposition", 0)) & ATTACHED_PIC:
            return stream
    return None


def usual_rate_hz(track: Any) -> float:
    """Return the frames per second of a stream, on average."""
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
    av = pyav()
    file = existing(path)
    try:
        with open_film(file) as container:
            track = picture_track(container)
            if track is None:
                raise InputError(f"{file} holds no moving pictures.", "Name a film, not a sound.")
            seen, turn = 0, Turn()
            for frame in decoded(container, track):
                seen, turn = seen + 1, turn_of(frame)
                if seen == 2:
                    break
            if seen == 1:
                raise InputError(
                    f"{file} is a single picture, not a film.",
                    "Name a film; for pictures of your own there is the picture `puzzle`.",
                )
            if seen == 0:
                raise InputError(f"Nothing in the film {file} can be decoded.", PLAY)
            return _facts(container, track, turn)
    except av.FFmpegError as error:
        raise InputError(f"{file} is no film that can be played.", PLAY) from error


def _facts(container: Any, track: Any, turn: Turn) -> FilmFacts:
    av = pyav()
    codec = track.codec_context
    pixel = float(codec.sample_aspect_ratio or 1)
    pixel = pixel if 0.2 <= pixel <= 5.0 else 1.0
    if container.duration:
        lasts_s = container.duration / av.time_base
    elif track.duration:
        lasts_s = float(track.duration * track.time_base)
    else:
        lasts_s = math.nan
    size = max(1, round(codec.width * pixel)), max(1, codec.height)
    width, height = size[::-1] if turn.swaps else size
    return FilmFacts(
        width=width,
        height=height,
        rate_hz=usual_rate_hz(track),
        lasts_s=lasts_s if lasts_s > 0 else math.nan,
        has_sound=len(container.streams.audio) > 0,
        codec=str(codec.name),
    )


@dataclass(frozen=True, slots=True)
class Turn:
    """What makes a frame upright: a phone films as it is held, and notes how that was.

    Parameters
    ----------
    swaps : bool
        Rows become columns, before anything is mirrored.
    flips_rows, flips_cols : bool
        Top and bottom, left and right change places.
    """

    swaps: bool = False
    flips_rows: bool = False
    flips_cols: bool = False

    def upright(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return ``(rows, cols, ...)`` upright, as a copy in one piece."""
        turned = pixels.swapaxes(0, 1) if self.swaps else pixels
        turned = turned[::-1] if self.flips_rows else turned
        return np.ascontiguousarray(turned[:, ::-1] if self.flips_cols else turned)


QUARTERS = (Turn(), Turn(True, True, False), Turn(False, True, True), Turn(True, False, True))
"""By 0, 90, 180 and 270 degrees, counter-clockwise."""


def turn_of(frame: Any) -> Turn:
    """Return what makes a decoded frame upright, in steps of 90 degrees."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # beside it lies what PyAV has no name for; the angle can be had alone
        return QUARTERS[round(frame.rotation / 90) % 4]
    if matrix is None or matrix.buffer_size < 36:
        return Turn()
    # To the right and down: x' = a x + c y, y' = b x + d y.
    a, b, _, c, d, *_ = np.frombuffer(matrix, dtype=np.int32, count=9).tolist()
    if abs(b) > abs(a):
        return Turn(True, flips_rows=b < 0, flips_cols=c < 0)
    return Turn(False, flips_rows=d < 0, flips_cols=a < 0)


def decoded(container: Any, track: Any) -> Iterator[Any]:
    """Yield the decoded frames of a stream; what is damaged is left out."""
    av = pyav()
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


def film_sound(rate_hz: int, media: Media) -> FilmSound:
    """Return the sound of the room's film.

    Raises
    ------
    InputError
        There is none, see `FilmSound`.
    """
    from feedback.soundtrack import FilmSound

    return FilmSound(media.film, rate_hz)
