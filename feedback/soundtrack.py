"""The sound of a film, as loud as the level, in step with its picture."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.film import (
    LONGEST_STEP_S,
    WAKE_S,
    check_film,
    clock_of,
    decoded,
    existing,
    open_film,
    pyav,
)
from feedback.voices import AMBIENCE_PEAK

__all__ = ["LEAD_S", "FilmSound"]

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

STORE_S, KEPT_S = 2.0, 1.0  # decoded ahead; kept behind, to go back to
QUIETEST_DB = -12.0  # at level 0, below level 1
LEVEL_TAU_S = 0.100
PRESENCE_S = 0.300  # from sound to silence where the film stands still, and back
APART_S = 0.080  # lips and voice further apart than this are seen
CROSS_S = 0.020
EDGE_S = 0.010  # fades where the film begins and ends
LEAD_S = 0.050  # what is rendered now is heard so much later
PACE_TAU_S, DRIFT_TAU_S = 0.150, 0.200
SLOWEST = 0.7  # of real time; slower, a film is better silent
JUMPS_APART_S = 2.0  # jumps that come closer would be heard as a rhythm


class _Track:
    """The decoder's side of a film's sound: a ring of samples, filled from its own thread.

    Samples are counted from the first one decoded. `starts` says where the passes through the
    film begin: sample, and seconds into the film.
    """

    def __init__(self, file: Path, rate_hz: int, lasts_s: float, start: tuple[int, float]) -> None:
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
                with open_film(self.file) as container:
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
        offset = (container.start_time or 0) / pyav().time_base
        if self._first_s > 0.0:
            container.seek(int((self._first_s + offset) * pyav().time_base))
        resampler = pyav().AudioResampler(format="flt", layout="stereo", rate=self.rate_hz)
        done = round(self._first_s * self.rate_hz)  # samples since the film's beginning
        waiting: Float32 | None = None  # one piece is held back: the last one fades out
        for frame in decoded(container, track):
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
        file = existing(path)
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
        self._since_jump_s = math.inf
        self._silent_s = 0.0  # still to wait for a decoder that cannot follow
        self._close = weakref.finalize(self, self._track.close)
        threading.Thread(target=self._track.run, name="film sound", daemon=True).start()

    @property
    def error(self) -> str:
        """Why the sound has ended for good; empty while it can play."""
        return self._track.error

    @property
    def ahead_s(self) -> float:
        """How much is decoded and waiting."""
        return (self._track.written - self._track.head) / self.rate_hz

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
        heard: Float32 = (out * gains[:, None]).astype(np.float32)
        return heard

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
        return np.asarray(gains, dtype=np.float32)

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
            if self._since_jump_s < JUMPS_APART_S:
                self._silent_s, goal = JUMPS_APART_S, None
            else:
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
        self._since_jump_s = 0.0
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
        self._silent_s = max(0.0, self._silent_s - seconds)
        self._since_jump_s += seconds
        track.loop_wanted = max(track.loop_wanted, place[0])
        start = track.starts.get(place[0])
        if self._pace < SLOWEST or self._silent_s > 0.0 or start is None:
            return None
        goal = start[0] + round((place[1] + LEAD_S - start[1]) * self.rate_hz)
        following = track.starts.get(place[0] + 1)
        if following is not None and goal >= following[0]:
            return None  # the sound of this pass is over
        return goal
