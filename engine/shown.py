"""What reached the person: delays, frames and the guard, from the ``presented`` stream.

Pure functions over a recording. How long a frame should last is told by the event ``window``.
Recordings of versions up to 0.1 have one row per value and no number of the frame; what only frames
can tell is None there, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from engine.columns import SHOWN
from engine.frames import Bool, Event, Float
from engine.grid import mapping, number, numbers
from engine.measures import Delay, Shown, Sound
from engine.recording import Recording, Table
from protocols.model import Protocol

__all__ = [
    "back_end",
    "counted_misses",
    "delay_limit_ms",
    "first_flips",
    "missed_between",
    "period_s",
    "shown",
    "sound_of",
]

SAME_CLOCK_S = 0.05  # clock differences below this need no guess which clock a stamp is of
NEUTRAL = frozenset({"feedback", "neutral", "lost", "stopped"})
"""Screens without words; where no level is shown, they are neutral."""
ENVELOPES = frozenset({"power", "amplitude", "relative_power", "periodic_power"})
SLOWER = frozenset(
    {
        "ratio", "log_ratio", "shrunk_log_ratio", "asymmetry_index", "coherence",
        "imaginary_coherence", "plv", "wpli", "envelope_correlation",
    }
)  # fmt: skip
ENVELOPE_MS, SLOWER_MS = 250.0, 500.0  # from brain to picture, at most
RATE_HZ = 60.0  # of the window, where no screen keeps the time
BACK_ENDS = frozenset(
    {
        "wasapi", "directsound", "winmm", "core audio", "coreaudio", "sndio", "audio(4)", "oss",
        "pulseaudio", "pipewire", "alsa", "jack", "aaudio", "opensl|es", "web audio", "null",
        "mixer", "dummy", "disk",
    }
)  # fmt: skip
UNHEARD = ("dummy", "disk", "null")
"""Back ends that nobody hears."""
NO_CLOCK = "the clock of the amplifier was never compared with this computer's"


def shown(recording: Recording) -> Shown:
    """Return everything that the ``presented`` stream tells."""
    table = recording.presented
    flips = _Flips(recording)
    delay_s, why = _delays_s(recording)
    level = np.isfinite(table.column("level"))
    seq = table.column("seq")
    timed = flips.known
    return Shown(
        transport=_delay(delay_s[first_flips(table)], why),
        age=_delay(delay_s, why),
        live_age=_delay(delay_s[level], why or "no frame showed a level"),
        rows=len(seq),
        values=len(np.unique(seq[np.isfinite(seq) & (seq >= 0) & _new(table)])),
        rewards=int(np.nansum(table.column("reward"))),
        guard=_guard(recording),
        frames=flips.frames if timed else None,
        unreported=flips.unreported if timed else None,
        seconds=float(flips.waited_s.sum()) if timed else None,
        fps=flips.fps,
        period_ms=None if flips.period_s is None else 1e3 * flips.period_s,
        period_told=flips.told,
        missed=int(flips.missed.sum()) if timed and flips.period_s is not None else None,
        counted=counted_misses(recording.events),
        level_s=float(flips.lasts_s[level].sum()) if timed else None,
        neutral_s=float(flips.lasts_s[_neutral(table) & ~level].sum()) if timed else None,
        heard_s=float(flips.lasts_s[np.isfinite(_column(table, "heard"))].sum()) if timed else None,
    )


def first_flips(table: Table) -> np.ndarray:
    """Return the row of the first flip of every value, in the order of the values.

    A flip that shows the frame before once more shows no value for the first time.
    """
    seq, t, flip = (table.column(c) for c in ("seq", "t", "t_flip"))
    use = np.flatnonzero(np.isfinite(t) & np.isfinite(flip) & np.isfinite(seq) & _new(table))
    order = use[np.argsort(flip[use], kind="stable")]
    rows: np.ndarray = order[np.unique(seq[order], return_index=True)[1]]
    return rows


def missed_between(recording: Recording, spans: Sequence[tuple[int, int]]) -> list[int | None]:
    """Return for spans of `seq`, ends included, how many flips were missed in them."""
    flips = _Flips(recording)
    if not flips.known or flips.period_s is None:
        return [None] * len(spans)
    seq = recording.presented.column("seq")
    return [int(flips.missed[(seq >= a) & (seq <= b)].sum()) for a, b in spans]


def period_s(window: Mapping[str, object]) -> float | None:
    """Return how long a frame should last, by what the window said of itself when it opened.

    With the screen keeping the time every turn of it is a frame, or every second or third one of a
    fast screen; else the window keeps 60 a second itself. None where it did not say.
    """
    vsync, refresh_hz = window.get("vsync"), number(window.get("refresh_hz"))
    if not isinstance(vsync, bool):
        return None
    if not vsync:
        return 1.0 / RATE_HZ
    if refresh_hz is None or refresh_hz <= 0.0:
        return None
    return max(1, int(refresh_hz / RATE_HZ + 0.01)) / refresh_hz


def counted_misses(events: Sequence[Event]) -> int | None:
    """Return the window's own count of missed frames, where an event tells it."""
    counts = [
        n
        for event in events
        for key in ("missed", "missed_frames", "dropped_frames")
        if (n := number(event.data.get(key))) is not None
    ]
    return int(max(counts)) if counts else None


def sound_of(events: Sequence[Event]) -> Sound:
    """Return what the window told of its sound, the newest of each."""
    told: dict[str, float] = {}
    device: str | None = None
    for event in events:
        if event.kind in ("window", "window_end"):
            keys = ("buffer_ms", "sound_delay_ms", "dose_pa2h")
            told |= {k: x for k in keys if (x := number(event.data.get(k))) is not None}
            if isinstance(said := event.data.get("audio"), str):
                device = back_end(said)
    buffer_ms, delay_ms = told.get("buffer_ms"), told.get("sound_delay_ms")
    return Sound(buffer_ms, delay_ms, told.get("dose_pa2h"), device)


def back_end(audio: str) -> str:
    """Return by what the sound went out, without the name of the device; empty: there was none."""
    name = audio.split(":", 1)[0].strip()
    return name if not name or name.casefold() in BACK_ENDS else "another device"


def delay_limit_ms(protocol: Protocol | None, name: str) -> float | None:
    """Return how late a feature may be on the screen; None for kinds that are slow by nature.

    Envelopes lose their use for learning soonest; of a feature that is made of others the slowest
    of its parts decides.
    """
    feature = None if protocol is None else protocol.features.get(name)
    if feature is None:
        return None
    if feature.kind in SLOWER:
        return SLOWER_MS
    if feature.kind in ENVELOPES:
        return ENVELOPE_MS
    if feature.kind not in ("z", "weighted_sum") or not feature.of:
        return None
    limits = [delay_limit_ms(protocol, part) for part in feature.of]
    return None if None in limits else max(x for x in limits if x is not None)


# ---------------------------------------------------------------- frames


class _Flips:
    """The times of all frames. A window that was opened again begins its numbers anew."""

    def __init__(self, recording: Recording) -> None:
        table = recording.presented
        frame, flip = _column(table, "frame"), table.column("t_flip")
        self.known = bool(len(frame)) and bool((frame >= 0).all() and np.isfinite(flip).all())
        n = len(frame) if self.known else 0
        steps = np.diff(frame) if self.known else np.zeros(0)
        waits = np.diff(flip) if self.known else np.zeros(0)
        on = (steps >= 1) & (waits > 0.0)  # of the same window
        self._steps: Float = np.where(on, steps, 0.0)
        self.waited_s: Float = np.where(on, waits, 0.0)
        self.unreported = int((self._steps[on] - 1.0).sum())
        self.frames = n + self.unreported
        self.period_s: float | None = None
        self.told = False  # by the window; else it is the median wait
        self.lasts_s: Float = np.zeros(n)
        self.missed = np.zeros(n, dtype=np.int64)  # before each frame
        if not n:
            return
        # Of a window that steadily shows half its frames the median wait would tell nothing.
        should_s = _should_s(recording.events, flip, ~on)
        self.told = bool(np.isfinite(should_s).all())
        if not self.told and on.any():
            should_s = np.full(n, float(np.median(waits[on] / steps[on])))
        if not np.isfinite(should_s).all():
            return
        self.period_s = float(np.median(should_s))
        self.lasts_s[:] = should_s
        self.lasts_s[:-1][on] = waits[on]
        late = np.rint(self.waited_s / should_s[1:]) - self._steps
        self.missed[1:] = np.where(on, np.maximum(late, 0.0), 0.0).astype(np.int64)

    @property
    def fps(self) -> float | None:
        """Frames per second while a window was open."""
        waited_s = float(self.waited_s.sum())
        return float(self._steps.sum()) / waited_s if waited_s > 0.0 else None


def _should_s(events: Sequence[Event], flip: Float, breaks: Bool) -> Float:
    """Return how long each frame should last by what its window said; NaN where it did not."""
    opened = [(e.t, period_s(e.data)) for e in events if e.kind == "window"]
    if not opened:
        return np.full(len(flip), np.nan)
    # What a window says may be read after its first frames, never after its last one.
    ends = np.append(np.flatnonzero(breaks), len(flip) - 1)
    lengths = np.diff(ends, prepend=-1)
    at = np.searchsorted([t for t, _ in opened], flip[ends], side="right") - 1
    told = np.array([np.nan if p is None else p for _, p in opened])
    return np.repeat(told[np.maximum(at, 0)], lengths)


def _new(table: Table) -> Bool:
    """Return which rows brought something new to the screen; the others repeat what was there."""
    share = _column(table, "share")
    return ~(share <= 0.0)  # recordings without this column repeat nothing


def _on_screen(table: Table) -> np.ndarray:
    """Return for every row the row whose picture was on the screen, -1 where none was yet."""
    n = len(table.values)
    rows = np.where(_new(table), np.arange(n), -1)
    # Another window begins with nothing of the one before.
    frame = _column(table, "frame")
    begins = np.flatnonzero(np.diff(frame, prepend=np.inf) < 1)
    found = np.maximum.accumulate(rows) if n else rows
    first = np.zeros(n, dtype=np.int64)
    first[begins] = begins
    return np.where(found >= np.maximum.accumulate(first), found, -1) if n else found


def _column(table: Table, name: str) -> Float:
    """Return a column, NaN throughout where the recording has none of that name."""
    if name in table.columns:
        return table.column(name)
    return np.full(len(table.values), np.nan)


def _neutral(table: Table) -> Bool:
    codes = [k for k, name in enumerate(SHOWN) if name in NEUTRAL]
    return np.isin(_column(table, "screen"), codes)


# ---------------------------------------------------------------- delays


class _Delays(NamedTuple):
    seconds: Float
    why: str


def _delays_s(recording: Recording) -> _Delays:
    """Return from the stamp of what was on the screen to each flip, NaN without one; why none.

    A flip that repeats the frame before shows an older value than its row names.
    """
    table = recording.presented
    if not len(table.values):
        return _Delays(np.zeros(0), "nothing was presented")
    at, flip = _on_screen(table), table.column("t_flip")
    seq, t = (np.where(at >= 0, table.column(c)[at], np.nan) for c in ("seq", "t"))
    delay_s = np.full(len(t), np.nan)
    use = np.isfinite(t) & np.isfinite(flip) & np.isfinite(seq)
    offset = _offset_at(recording, flip[use], seq[use], t[use])
    if offset is None:
        return _Delays(np.where(use, np.inf, np.nan), NO_CLOCK)
    delay_s[use] = flip[use] - t[use] - offset
    return _Delays(delay_s, "" if use.any() else "no presented value has a stamp")


def _offset_at(recording: Recording, flip: Float, seq: Float, t: Float) -> Float | None:
    """Return what to add to `t` to get our clock; None when that is unknown.

    The session gives `t` on our clock already. Where the clocks differ, the raw stamp of the same
    grid point tells whether it did; without a measured difference nothing is known.
    """
    measured = recording.clock_offsets
    if not len(measured):
        return None
    offset: Float = np.interp(flip, measured[:, 0], measured[:, 1])
    table = recording.decisions
    if np.abs(offset).max(initial=0.0) < SAME_CLOCK_S or not len(table.values):
        return np.zeros_like(offset)
    own = table.column("seq")
    at = np.minimum(np.searchsorted(own, seq), len(own) - 1)
    same = own[at] == seq
    ahead = t[same] - table.column("t")[at[same]]
    if len(ahead) and abs(np.median(ahead)) < abs(np.median(ahead - offset[same])):
        return offset
    return np.zeros_like(offset)


def _delay(seconds: Float, why: str) -> Delay:
    """Return quantiles of what has a stamp; `why` where there are none."""
    ms = 1000.0 * seconds[~np.isnan(seconds)]
    if not len(ms) or not np.isfinite(ms).all():
        return Delay(len(ms), None, None, None, None, why)
    p50, p95, p99 = (float(v) for v in np.percentile(ms, (50, 95, 99)))
    return Delay(len(ms), p50, p95, p99, float(ms.max()))


# ---------------------------------------------------------------- the guard


def _guard(recording: Recording) -> Mapping[str, tuple[int, int]]:
    """Return for each kind of the guard its interventions (frames in a row are one) and frames."""
    table = recording.presented
    if not len(table.values):
        return {}
    bits = np.nan_to_num(table.column("guard")).astype(np.int64)
    names = numbers(mapping(recording.codes.get("presented")).get("guard_bits"))
    found = {}
    for name, bit in names.items():
        on = (bits & int(bit)) != 0
        begins = on & ~np.concatenate([[False], on[:-1]])
        found[name] = (int(begins.sum()), int(on.sum()))
    return found
