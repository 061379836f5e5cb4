"""Limits on light and loudness that sit after every picture and sound, plugins included.

Light
-----
`FlashGuard` sees every frame before it is shown, on a grid of 27 x 48 cells of up to 4 x 4 samples
each, and answers how much of it may be shown. What is *presented* then obeys, over more than 10 %
of the window:

- at most two flashes in any second, so at most four opposing transitions of relative luminance, a
  transition being 0.05 or more with the darker side below 0.80. Counted for the cells, and with
  WCAG's own 0.10 for the samples, or a fine pattern that inverts while every cell keeps its mean
  would not be seen;
- at most two red flashes in any second: transitions to or from saturated red, R / (R + G + B) of
  the linear channels being 0.8 or more, that change the chromaticity by more than 0.2 in
  CIE 1976 u'v'. Black has no chromaticity and is taken for far from every red;
- no saturated red: more of it is desaturated;
- a change of the window's mean luminance of at most 0.5 per second, and of any connected 10 % of
  it of at most 1.0 per second;
- a change of the mean of any 10 % of it, connected or not, of at most 0.15 from frame to frame and
  0.28 in a quarter of a second. This catches what never moves a tenth of the window at once and yet
  crosses it: wipes and bars.

Not seen is a pattern finer than a sample (1/192 of the width) that inverts and keeps the mean of
every sample; WCAG exempts such patterns below 0.1 degrees, which is less than a sample on a large
screen.

The limits are stricter than WCAG 2.3.1 and ITU-R BT.1702. Eight-bit screens move in steps (one
step near white is 0.009), so slopes are kept by an allowance that refills with time: over a
second the limits hold, at any instant at most `MEAN_BURST` or `AREA_BURST` more. So no single
frame changes the window's mean luminance by more than 0.02 (0.03 with the rounding of the blend),
nor every cell of a connected tenth by more than 0.04.

The curtain
-----------
After the key for stop the screen is neutral within 200 ms and two frames. From white, the slope
of 0.5 per second would take two seconds. So `darken` opens the slope limits for a quarter of a
second, downwards only, at most `DARKEN_PER_S`: the limits bind what pictures ask for, and one fall
is half a flash. The flash rule stays. Four transitions in a second are two flashes already, but the
fifth one does not make a third: pictures never get it, it is kept for the curtain. How often the
curtain may fall needs no limit of its own, since what it takes away returns at the pace of the
slope, and a sixth transition within the second is refused to it as to everything else.

Loudness
--------
`SoundGuard` sees every block of samples last: cap of gain and of sustained level, ramps, limiter,
silence for NaN, and a hard stop that fades within 100 ms: in less where sound waits in the device.

No protocol, room or plugin can switch either off. The tables are read-only, the classes sealed, and
instances have no room for another method: what replaces a function by accident or by careless
design fails. It is no wall: code in the same process that walks frames, the garbage collector's
lists, `type.__setattr__` or ctypes reaches everything (see `feedback.door`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.frames import Float

__all__ = [
    "COLS",
    "FLASH",
    "LOUD",
    "RED",
    "ROWS",
    "SLOPE",
    "FlashGuard",
    "Intervention",
    "Sealed",
    "SoundGuard",
    "Verdict",
    "blended",
    "cap_gain",
    "chromaticity",
    "luminance",
    "red_ratio",
]

Rgb = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

ROWS, COLS = 27, 48
AREA = 0.10
AREA_CELLS = math.ceil(AREA * ROWS * COLS)  # 130 cells are "more than 10 % of the window"

FLASH, SLOPE, RED, LOUD = 1, 2, 4, 8  # bits of `Presented.guard`

# A hair below the rules, so that rounding of a sum never decides.
TRANSITION = 0.0499  # of a cell's relative luminance
FINE_TRANSITION = 0.0999  # of a sample's
DARKER_BELOW = 0.801
TRANSITIONS = 4  # allowed per second: two flashes
WINDOW_S = 1.0 - 1e-6
KEPT = 12  # transitions remembered per cell
FINE_KEPT = 6  # per sample: as many as the rule looks at

MEAN_PER_S, MEAN_BURST = 0.47, 0.02
AREA_PER_S, AREA_BURST = 0.95, 0.04
ROUNDING = 0.01  # of a blend near white, in luminance; with the two above 0.5 and 1.0
FRAME_MOVE = 0.15  # of the mean of any tenth, from frame to frame
QUARTER_S, QUARTER_MOVE = 0.25, 0.28  # the burst, and a quarter of the slope
LONGEST_FRAME_S = 0.05

DARKEN_S = 0.25
DARKEN_PER_S = 6.0  # white to black in 167 ms

RED_RATIO = 0.795
RED_FLOOR = 0.01  # linear red below this (code 25 of 255) is black to the eye
RED_CHANGE = 0.199  # in u'v'
SHARES_OF_GREY = (0, 64, 128, 192, 255)


class Sealed(type):
    """A class whose attributes stay as they were written."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise AttributeError(f"{cls.__name__}.{name} cannot be replaced: a guard stays as it is")

    def __delattr__(cls, name: str) -> None:
        raise AttributeError(f"{cls.__name__}.{name} cannot be removed: a guard stays as it is")


def _fixed(values: Any) -> Float32:
    table = np.array(values, dtype=np.float32)
    # A view of bytes: its writeable flag cannot be set again.
    return np.frombuffer(table.tobytes(), dtype=np.float32).reshape(table.shape)


_CODE = np.arange(256) / 255.0
LINEAR = _fixed(np.where(_CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4))
WEIGHTS = _fixed([0.2126, 0.7152, 0.0722])
LUMA = _fixed([0.299, 0.587, 0.114])
# Positive where red is saturated: R > ratio (R + G + B).
REDNESS = _fixed([1.0 - RED_RATIO, -RED_RATIO, -RED_RATIO])
# From linear sRGB to 4 X, 9 Y and X + 15 Y + 3 Z, whose ratios are u' and v'.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
UCS = _fixed((np.array([[4.0, 0.0, 0.0], [0.0, 9.0, 0.0], [1.0, 15.0, 3.0]]) @ _XYZ).T)
WHITE = _fixed([0.1978, 0.4683])


def luminance(rgb: Rgb) -> Float32:
    """Return relative luminance (0..1) of sRGB codes, shape ``(..., 3)`` -> ``(...)``."""
    return np.asarray(LINEAR.take(rgb) @ WEIGHTS, dtype=np.float32)


def red_ratio(rgb: Rgb) -> Float32:
    """Return R / (R + G + B) of the linear channels; 0 where nothing shines."""
    linear = LINEAR.take(rgb)
    total = linear.sum(axis=-1)
    return np.asarray(
        np.divide(linear[..., 0], total, out=np.zeros_like(total), where=total > 0),
        dtype=np.float32,
    )


def chromaticity(rgb: Rgb) -> Float32:
    """Return CIE 1976 u' and v', shape ``(..., 3)`` -> ``(..., 2)``; 0, 0 where it is dark."""
    return _ucs(LINEAR.take(rgb))


def _ucs(linear: Float32) -> Float32:
    parts = linear @ UCS
    lit = linear.sum(axis=-1, keepdims=True) >= RED_FLOOR
    uv = np.zeros((*linear.shape[:-1], 2), dtype=np.float32)
    return np.asarray(np.divide(parts[..., :2], parts[..., 2:], out=uv, where=lit))


def _pooled(fine: Float32) -> Float32:
    """Return the mean of each cell; a third axis stays."""
    k = fine.shape[0] // ROWS
    if k == 1:
        return fine
    if fine.ndim == 3:
        return np.stack([_pooled(fine[..., i]) for i in range(fine.shape[2])], axis=-1)
    rows = fine.reshape(ROWS, k, COLS * k).sum(axis=1)
    return np.asarray(rows.reshape(ROWS, COLS, k).sum(axis=2) / np.float32(k * k))


def _resampled(a: NDArray[Any], k: int, axis: int = 0) -> NDArray[Any]:
    """Return an array of samples, rows along `axis` and columns next, for `k` x `k` a cell."""
    before = a.shape[axis] // ROWS
    rows, cols = (np.arange(n * k) * before // k for n in (ROWS, COLS))
    return np.asarray(a.take(rows, axis=axis).take(cols, axis=axis + 1))


class _Light:
    """What a frame shines: luminance of samples and cells, and where it is saturated red."""

    __slots__ = ("cells", "fine", "k", "linear", "red")

    def __init__(self, rgb: Rgb) -> None:
        k = rgb.shape[0] // ROWS
        if k < 1 or rgb.shape != (k * ROWS, k * COLS, 3) or rgb.dtype != np.uint8:
            raise ValueError(
                f"a frame for the guard must be uint8 of shape (27 k, 48 k, 3), not "
                f"{rgb.dtype} {rgb.shape}"
            )
        self.k = k
        self.linear: Float32 = LINEAR.take(rgb)
        self.fine: Float32 = self.linear @ WEIGHTS
        self.cells: Float32 = _pooled(self.fine)
        # None: no sample is red, so no cell is; a mean is no redder than the reddest.
        redness = self.linear @ REDNESS
        self.red: Mask | None = None
        if redness.max() > 0.0:
            self.red = (redness > 0.0) & (self.linear[..., 0] >= RED_FLOOR)

    def pooled(self) -> tuple[Float32, Mask | None]:
        """Return the linear channels of the cells, and where those are red."""
        linear = _pooled(self.linear)
        if self.red is None or self.k == 1:
            return linear, self.red
        return linear, (linear @ REDNESS > 0.0) & (linear[..., 0] >= RED_FLOOR)

    def too_red(self) -> bool:
        """Return whether more than 10 % is saturated red, by samples or by cells."""
        if self.red is None:
            return False
        if int(np.count_nonzero(self.red)) >= AREA_CELLS * self.k**2:
            return True
        cells = self.pooled()[1]
        return cells is not None and int(np.count_nonzero(cells)) >= AREA_CELLS


def _largest_connected(mask: Mask) -> int:
    """Return the size of the largest 8-connected set of cells.

    The grid is one long integer, a bit per cell with an empty column on the right; growing a set
    by one cell in every direction is six shifts, far cheaper than a labelling in Python.
    """
    width = COLS + 1
    padded = np.zeros((ROWS, width), dtype=np.bool_)
    padded[:, :COLS] = mask
    left = int.from_bytes(np.packbits(padded).tobytes(), "big")
    largest = 0
    while left:
        blob = left & -left
        while True:
            row = blob | blob << 1 | blob >> 1
            grown = (row | row << width | row >> width) & left
            if grown == blob:
                break
            blob = grown
        largest = max(largest, blob.bit_count())
        left &= ~blob
    return largest


def _moves(change: Float32, most: float) -> bool:
    """Return whether the mean of the tenth of the window that rises most rises more than `most`."""
    rise = np.maximum(change, 0.0).ravel()
    limit = most * AREA_CELLS
    if float(rise.sum()) <= limit:
        return False
    return float(np.partition(rise, -AREA_CELLS)[-AREA_CELLS:].sum()) > limit


class _Transitions:
    """When each cell (or sample) made its last transitions, newest first."""

    __slots__ = ("_times",)

    def __init__(self, shape: tuple[int, int], kept: int) -> None:
        self._times = np.full((kept, *shape), -np.inf)

    def add(self, turned: Mask, t: float) -> None:
        """Take note of the cells that turned at `t`."""
        if turned.all():
            self._times = np.roll(self._times, 1, axis=0)
            self._times[0] = t
            return
        at = np.flatnonzero(turned)
        flat = self._times.reshape(len(self._times), -1)
        flat[1:, at] = flat[:-1, at]
        flat[0, at] = t

    def too_many(self, turned: Mask, since: float, allowed: int) -> bool:
        """Return whether, with these, more than 10 % have more than `allowed` since then."""
        over = turned & (self._times[allowed - 1] > since)
        if not over.any():
            return False
        over |= self._times[allowed] > since
        # `over.size` is that of the whole grid: 1296 cells, or 16 times as many samples.
        return bool(np.count_nonzero(over) * ROWS * COLS >= AREA_CELLS * over.size)

    def counts(self, since: float) -> NDArray[np.int64]:
        """Return how many each made since then."""
        return np.asarray((self._times > since).sum(axis=0))

    def resize(self, k: int) -> None:
        self._times = _resampled(self._times, k, axis=1)


class _Flashes:
    """Opposing transitions of luminance: the last extremum of every cell, and which way it went."""

    __slots__ = ("_direction", "_extremum", "_least", "transitions")

    def __init__(self, shape: tuple[int, int], least: float, kept: int) -> None:
        self.transitions = _Transitions(shape, kept)
        self._least = np.float32(least)
        # Black, and as if it had fallen to it.
        self._extremum: Float32 = np.zeros(shape, dtype=np.float32)
        self._direction: Float32 = np.full(shape, -1.0, dtype=np.float32)

    def turned(self, lum: Float32) -> Mask:
        """Return the cells that showing `lum` would turn."""
        onward = (lum - self._extremum) * self._direction
        turned = onward <= -self._least
        if turned.any():
            turned &= np.minimum(lum, self._extremum) < DARKER_BELOW
        return np.asarray(turned)

    def breaks(self, lum: Float32, since: float, allowed: int) -> bool:
        """Return whether showing `lum` would be a flash too many."""
        turned = self.turned(lum)
        return bool(turned.any()) and self.transitions.too_many(turned, since, allowed)

    def commit(self, lum: Float32, t: float) -> None:
        """Take note of what was shown."""
        turned = self.turned(lum)
        onward = (lum - self._extremum) * self._direction > 0.0
        if turned.any():
            self.transitions.add(turned, t)
            self._direction[turned] *= -1.0
            onward |= turned
        np.copyto(self._extremum, lum, where=onward)

    def resize(self, k: int) -> None:
        self._extremum = _resampled(self._extremum, k)
        self._direction = _resampled(self._direction, k)
        self.transitions.resize(k)


class _RedFlashes:
    """Transitions to and from saturated red.

    A cell is kept with the chromaticity farthest from white that it had since it became red: one
    transition. The next one is to a colour that is no red and farther than `RED_CHANGE` from it.
    Whatever comes before a red is taken for far from it, which counts rather more than less.
    """

    __slots__ = ("_any", "_kept", "transitions")

    def __init__(self, shape: tuple[int, int], kept: int) -> None:
        self.transitions = _Transitions(shape, kept)
        self._kept: Float32 = np.full((*shape, 2), np.nan, dtype=np.float32)
        self._any = False  # whether any cell is

    def idle(self, light: _Light) -> bool:
        """Return whether there is nothing to look at."""
        return light.red is None and not self._any

    def _look(
        self, linear: Float32, red: Mask | None
    ) -> tuple[NDArray[np.intp], Mask, Float32, Mask]:
        """Return which cells matter, which of them are red, their colour, and which turn."""
        kept = self._kept.reshape(-1, 2)
        was = ~np.isnan(kept[:, 0])
        at = np.flatnonzero(was if red is None else was | red.ravel())
        now = np.zeros(len(at), dtype=np.bool_) if red is None else red.ravel()[at]
        uv = _ucs(linear.reshape(-1, 3)[at])
        # A distance to NaN is larger than nothing.
        turned = np.where(now, ~was[at], _apart(uv, kept[at]) > RED_CHANGE)
        return at, now, uv, turned

    def breaks(self, linear: Float32, red: Mask | None, since: float, allowed: int) -> bool:
        """Return whether showing this would be a red flash too many."""
        at, _, _, turned = self._look(linear, red)
        mask = np.zeros(linear.shape[:2], dtype=np.bool_)
        mask.ravel()[at] = turned
        return bool(turned.any()) and self.transitions.too_many(mask, since, allowed)

    def commit(self, linear: Float32, red: Mask | None, t: float) -> None:
        """Take note of what was shown."""
        at, now, uv, turned = self._look(linear, red)
        if turned.any():
            mask = np.zeros(linear.shape[:2], dtype=np.bool_)
            mask.ravel()[at] = turned
            self.transitions.add(mask, t)
        flat = self._kept.reshape(-1, 2)
        flat[at[turned & ~now]] = np.nan
        farther = now & ~(_apart(uv, WHITE) <= _apart(flat[at], WHITE))  # True where none is kept
        flat[at[farther]] = uv[farther]
        self._any = bool(len(at)) and bool((~np.isnan(flat[at, 0])).any())

    def resize(self, k: int) -> None:
        self._kept = _resampled(self._kept, k)
        self.transitions.resize(k)


def _apart(a: Float32, b: Float32) -> Float32:
    d = a - b
    return np.asarray(np.sqrt(d[..., 0] ** 2 + d[..., 1] ** 2))


class _Grid:
    """The flash rules on one grid: that of the cells, or the finer one of the samples."""

    __slots__ = ("flashes", "k", "reds")

    def __init__(self, k: int, least: float, kept: int) -> None:
        shape = (ROWS * k, COLS * k)
        self.k = k
        self.flashes = _Flashes(shape, least, kept)
        self.reds = _RedFlashes(shape, FINE_KEPT)

    def resize(self, k: int) -> None:
        if k != self.k:
            self.k = k
            self.flashes.resize(k)
            self.reds.resize(k)

    def breaks(self, lum: Float32, light: _Light, t: float, allowed: int) -> Iterator[int]:
        """Yield `FLASH` and `RED` where showing this would be a flash too many."""
        since = t - WINDOW_S
        if self.flashes.breaks(lum, since, allowed):
            yield FLASH
        if not self.reds.idle(light) and self.reds.breaks(*self._red(light), since, allowed):
            yield RED

    def commit(self, lum: Float32, light: _Light, t: float) -> None:
        self.flashes.commit(lum, t)
        if not self.reds.idle(light):
            self.reds.commit(*self._red(light), t)

    def _red(self, light: _Light) -> tuple[Float32, Mask | None]:
        return (light.linear, light.red) if self.k == light.k else light.pooled()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a frame may be shown.

    Parameters
    ----------
    share : int
        Weight of the new frame over the previous one, in 255ths; 255 passes, 0 repeats.
    grey : int
        How far to pull the new frame towards grey first, in 255ths.
    bits : int
        What the frame as asked for would have broken (`FLASH`, `SLOPE`, `RED`).
    """

    share: int = 255
    grey: int = 0
    bits: int = 0


@dataclass(frozen=True, slots=True)
class Intervention:
    """The guard began to intervene at `t` seconds because of `bits`."""

    t: float
    bits: int


def _greyed(rgb: Rgb, grey: int) -> Float32:
    out = rgb.astype(np.float32)
    if grey:
        luma = (out @ LUMA)[..., None]
        out += (luma - out) * np.float32(grey / 255)
    return out


def blended(rgb: Rgb, previous: Rgb, verdict: Verdict) -> Rgb:
    """Return the frame that `verdict` allows, in array form."""
    out = _greyed(rgb, verdict.grey)
    if verdict.share < 255:
        before = previous.astype(np.float32)
        out = before + (out - before) * np.float32(verdict.share / 255)
    return np.asarray(np.rint(out), dtype=np.uint8)


class FlashGuard(metaclass=Sealed):
    """Decide how much of each frame may be shown.

    Call `judge` with the frame wanted, show what the verdict allows, then `commit` what was
    really shown; `present` does all three on arrays. Where the showing is not done by `blended`,
    ask `refuses` about the result, and repeat the frame before when it does. Before the first
    frame the screen is black.

    Time that goes backwards, or is no number, stands still.

    Parameters
    ----------
    slope : bool
        False leaves the flash and red rules alone (for testing those rules).
    """

    __slots__ = (
        "_area_left",
        "_cells",
        "_dark_until",
        "_fine",
        "_judged",
        "_last_bits",
        "_lum",
        "_mean_left",
        "_offset",
        "_past",
        "_range",
        "_share",
        "_shown",
        "_slope",
        "_t",
        "interventions",
        "log",
    )

    def __init__(self, *, slope: bool = True) -> None:
        self._slope = slope
        self._t = -math.inf  # as told
        self._offset = 0.0  # by how much the guard's own time is ahead of what it is told
        self._shown: Rgb | None = None
        self._lum: Float32 = np.zeros((ROWS, COLS), dtype=np.float32)
        self._past: deque[tuple[float, Float32]] = deque([(-math.inf, self._lum)])
        self._range: tuple[float, Float32, Float32] | None = None  # of the last quarter second
        self._cells = _Grid(1, TRANSITION, KEPT)
        self._fine = _Grid(1, FINE_TRANSITION, FINE_KEPT)
        self._mean_left = MEAN_BURST
        self._area_left: Float32 = np.full((ROWS, COLS), AREA_BURST, dtype=np.float32)
        self._dark_until = -math.inf
        self._last_bits = 0
        self._share = 32  # of the last blend: where the search begins
        self._judged: tuple[Rgb | None, _Light | None] = (None, None)
        self.interventions = 0
        self.log: deque[Intervention] = deque(maxlen=1000)

    def darken(self, t: float) -> None:
        """Let the light fall to a curtain fast, for the next quarter of a second."""
        self._dark_until = self._now(t) + DARKEN_S

    def judge(self, rgb: Rgb, t: float) -> Verdict:
        """Return how a frame may be shown at `t` seconds.

        Parameters
        ----------
        rgb : ndarray of uint8, shape (27 k, 48 k, 3)
            The frame wanted, reduced to k x k samples per cell.
        t : float
            Seconds.
        """
        light = _Light(rgb)
        self._judged = (rgb, light)
        bits = self._breaks(light, t)
        verdict = self._gentlest(rgb, t, bits) if bits else Verdict()
        if bits and bits != self._last_bits:
            self.interventions += 1
            self.log.append(Intervention(t, bits))
        self._last_bits = bits
        return verdict

    def refuses(self, rgb: Rgb, t: float) -> bool:
        """Return whether a frame, blended by other means than `blended`, must not be shown."""
        return not self._fits(_Light(rgb), t, ROUNDING)

    def commit(self, rgb: Rgb, t: float) -> None:
        """Take note of the frame that was really shown at `t`."""
        judged, light = self._judged
        if judged is not rgb or light is None:
            light = _Light(rgb)
        self._judged = (None, None)  # so that an array drawn into anew is looked at anew
        now, dt = self._now(t), self._elapsed(t)
        change = light.cells - self._lum
        moved = float(change.mean())
        if moved < 0.0 and now < self._dark_until:
            moved = 0.0  # what falls with the curtain is no debt
        # The mean may owe (rounding of the blend), so the limit holds exactly in the long run.
        self._mean_left = min(self._mean_left + MEAN_PER_S * dt, MEAN_BURST) - abs(moved)
        self._area_left = np.minimum(self._area_left + np.float32(AREA_PER_S * dt), AREA_BURST)
        self._area_left = np.maximum(self._area_left - np.abs(change), np.float32(0.0))
        self._cells.commit(light.cells, light, now)
        if light.k > 1 or self._fine.k > 1:
            self._fine.resize(light.k)
            self._fine.commit(light.fine, light, now)
        if now < self._dark_until:  # nor is it remembered
            self._past = deque((at, np.minimum(lum, light.cells)) for at, lum in self._past)
        self._past.append((now, light.cells))
        self._range = None
        self._lum = light.cells
        self._shown = rgb.copy()
        if math.isfinite(t):
            self._t, self._offset = t, now - t
        elif not math.isfinite(self._t):
            self._t, self._offset = now, 0.0

    def present(self, rgb: Rgb, t: float) -> tuple[Rgb, Verdict]:
        """Judge, blend and commit: return the frame as shown and the verdict."""
        verdict = self.judge(rgb, t)
        shown = blended(rgb, self._previous(rgb), verdict) if verdict.bits else rgb
        self.commit(shown, t)
        return shown, verdict

    def flashes(self, t: float) -> int:
        """Return the flashes (pairs of opposing transitions) of the second that ends at `t`.

        Counted over the cells that flash together: the most that more than 10 % of them have.
        """
        return self._most(self._cells.flashes.transitions, t)

    def red_flashes(self, t: float) -> int:
        """Return the red flashes of the second that ends at `t`, counted like `flashes`."""
        return self._most(self._cells.reds.transitions, t)

    # ------------------------------------------------------------ the rules

    def _most(self, transitions: _Transitions, t: float) -> int:
        counts = transitions.counts(self._now(t) - WINDOW_S).ravel()
        return int(np.sort(counts)[-AREA_CELLS]) // 2

    def _now(self, t: float) -> float:
        """Return the guard's own time, which never goes backwards."""
        last = self._t + self._offset
        if not math.isfinite(t):
            return last if math.isfinite(last) else 0.0
        return max(t + self._offset, last)

    def _elapsed(self, t: float) -> float:
        return min(max(self._now(t) - (self._t + self._offset), 0.0), LONGEST_FRAME_S)

    def _previous(self, rgb: Rgb) -> Rgb:
        if self._shown is None:
            return np.zeros_like(rgb)
        if self._shown.shape != rgb.shape:
            return _resampled(self._shown, rgb.shape[0] // ROWS)
        return self._shown

    def _breaks(self, light: _Light, t: float, slack: float = 0.0) -> int:
        """Return the bits that showing this at `t` would break."""
        bits = 0
        for bit in self._broken(light, t, slack):
            bits |= bit
        return bits

    def _fits(self, light: _Light, t: float, slack: float = 0.0) -> bool:
        return not any(self._broken(light, t, slack))

    def _broken(self, light: _Light, t: float, slack: float) -> Iterator[int]:
        """Yield one bit after the other, what is found fastest first."""
        now = self._now(t)
        if self._slope and self._too_steep(light.cells, now, self._elapsed(t), slack):
            yield SLOPE
        if light.too_red():
            yield RED
        allowed = TRANSITIONS + (now < self._dark_until)  # the fifth is the curtain's
        yield from self._cells.breaks(light.cells, light, now, allowed)
        if light.k > 1 or self._fine.k > 1:
            self._fine.resize(light.k)
            yield from self._fine.breaks(light.fine, light, now, allowed)

    def _quarter(self, now: float) -> tuple[Float32, Float32]:
        """Return the darkest and the brightest of the last quarter of a second."""
        if self._range is None or self._range[0] != now:
            past = self._past
            while len(past) > 1 and past[1][0] <= now - QUARTER_S + 1e-6:
                past.popleft()  # time never goes back
            stack = np.stack([lum for _, lum in past])
            self._range = (now, stack.min(axis=0), stack.max(axis=0))
        return self._range[1:]

    def _too_steep(self, lum: Float32, now: float, dt: float, slack: float) -> bool:
        falls = now < self._dark_until
        change = lum - self._lum
        mean = float(change.mean())
        left = max(min(self._mean_left + MEAN_PER_S * dt, MEAN_BURST), 0.0) + slack
        if not -(DARKEN_PER_S * dt + MEAN_BURST if falls else left) <= mean <= left:
            return True
        area_left = np.minimum(self._area_left + np.float32(AREA_PER_S * dt), AREA_BURST)
        low, high = self._quarter(now)
        for sign in (1.0,) if falls else (1.0, -1.0):
            signed = change if sign > 0 else -change
            quarter = lum - low if sign > 0 else high - lum
            if _moves(signed, FRAME_MOVE + slack) or _moves(quarter, QUARTER_MOVE + slack):
                return True
            fast = signed > area_left + np.float32(slack)
            if np.count_nonzero(fast) >= AREA_CELLS and _largest_connected(fast) >= AREA_CELLS:
                return True
        return False

    # ------------------------------------------------------------ what may be shown

    def _gentlest(self, rgb: Rgb, t: float, bits: int) -> Verdict:
        before = self._previous(rgb).astype(np.float32)
        grey = 0
        if bits & RED:
            reds = (_blend(_greyed(rgb, g), None, 255).too_red() for g in SHARES_OF_GREY[:-1])
            grey = next((g for g, red in zip(SHARES_OF_GREY, reds, strict=False) if not red), 255)
        share = self._largest_share(_greyed(rgb, grey), before, t)
        if share == 0 and bits & RED and grey < 255:
            # Red that comes and goes in small parts: without its colour it may.
            grey = 255
            share = self._largest_share(_greyed(rgb, grey), before, t)
        if share:
            self._share = share
        return Verdict(share, grey, bits)

    def _largest_share(self, new: Float32, before: Float32, t: float) -> int:
        """Return about the largest share of the new frame that breaks nothing.

        To an eighth, and begun at the last one: it hardly changes from frame to frame. Repeating
        the old frame never breaks anything.
        """
        if self._fits(_blend(new, before, 255), t):
            return 255
        low, high, middle = 0, 255, min(max(self._share, 1), 254)
        while True:
            if self._fits(_blend(new, before, middle), t):
                low = middle
            else:
                high = middle
            if high - low <= 1 + low // 8:
                return low
            middle = (low + high) // 2
            if high == 255 and low < 170:
                middle = low + max(1, low // 2)


def _blend(new: Float32, before: Float32 | None, share: int) -> _Light:
    """Return the light of a blend: that of `blended`, a rounding of half a code apart."""
    if before is None or share == 255:
        out = new + np.float32(0.5)
    else:
        out = new - before
        out *= np.float32(share / 255)
        out += before
        out += np.float32(0.5)
    return _Light(out.astype(np.uint8))


# ---------------------------------------------------------------- loudness

CALIBRATED_DBA = 70.0
UNCALIBRATED_GAIN = 0.25
LIMIT = 10.0 ** (-6.0 / 20.0)  # of full scale
KNEE = 0.8 * LIMIT
FULL, FULL_TOP = 1.0, 1.25  # of what comes in: above full scale it is bent
SINE_MS = 0.5  # mean square of a full-scale sine, to which the cap refers
FAST_S = 0.125  # "fast" of a sound level meter
STOP_FADE_S = 0.100  # at most; less where sound waits in the device, see `stop_fade_s`
RAMP_S = 0.050  # full gain to none, in ordinary use
FADE_S = 0.020  # into and out of what is no sound
RISE_DB_PER_S = 6.0
BELOW_LIMIT = 1.0 - 1e-6  # rounding to float32 must not pass it


def cap_gain(spl_fullscale_dba: float | None, gain_cap: float = 1.0) -> float:
    """Return the largest gain allowed.

    Parameters
    ----------
    spl_fullscale_dba : float or None
        What a full-scale sine measures at the person's ear, in dBA; None is uncalibrated.
    gain_cap : float
        The room's own cap; can only lower the result.
    """
    if spl_fullscale_dba is None or not math.isfinite(spl_fullscale_dba):
        allowed = UNCALIBRATED_GAIN
    else:
        allowed = min(1.0, 10.0 ** ((CALIBRATED_DBA - spl_fullscale_dba) / 20.0))
    if not math.isfinite(gain_cap):
        return allowed
    return max(0.0, min(allowed, gain_cap))


def _bent(x: Float, knee: float, top: float) -> Float:
    """Return `x` with what is above `knee` bent below `top`: no memory, no step, no way past it."""
    size = np.abs(x)
    if float(size.max(initial=0.0)) <= knee:
        return x
    over = np.clip((size - knee) / (top - knee), 0.0, 20.0)
    bent = knee + (top * BELOW_LIMIT - knee) * np.tanh(over)
    return np.asarray(np.where(size > knee, np.copysign(bent, x), x))


def _taken(block: Any) -> tuple[Float, bool, bool]:
    """Return a block within full scale, whether it is one at all, and whether it was changed."""
    given = np.asarray(block)
    n = len(given) if given.ndim else 0
    if given.shape != (n, 2) or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
        return np.zeros((n, 2)), False, True
    x = np.clip(given.astype(np.float64), -1e3, 1e3)
    bent = _bent(x, FULL, FULL_TOP)
    return bent, True, bent is not x


class SoundGuard(metaclass=Sealed):
    """Cap, ramp and limit blocks of samples, after every sound.

    The cap refers to a full-scale sine. What is louder for longer than a sound level meter takes
    to notice, a square wave say, is turned down to the same mean square; without that, a sound
    beyond full scale could pass the cap by as much as the limiter lets through.

    Parameters
    ----------
    cap : float
        Largest gain, see `cap_gain`.
    rate_hz : float
        Sample rate.
    """

    __slots__ = (
        "_base",
        "_cap",
        "_good",
        "_last",
        "_ms",
        "_stop_fade_s",
        "_trim",
        "_way",
        "gain",
        "hushed",
        "interventions",
        "rate_hz",
    )

    def __init__(self, cap: float, rate_hz: float = 44100.0) -> None:
        self._cap = cap if math.isfinite(cap) and cap >= 0.0 else UNCALIBRATED_GAIN
        self.rate_hz = rate_hz
        self.gain = math.nan  # not yet known; the first block starts at its target
        self.hushed = False
        self.interventions = 0
        self._stop_fade_s = STOP_FADE_S
        self._ms = 0.0  # mean square of what comes in
        self._trim = 1.0  # what that allows
        self._good = True  # whether the last block was one
        self._way = 0.0  # 0..1, from `_base` into the sound
        self._base: Float = np.zeros(2)
        self._last: Float = np.zeros(2)

    @property
    def cap(self) -> float:
        """Largest gain."""
        return self._cap

    @property
    def stop_fade_s(self) -> float:
        """How long a hard stop takes from the cap to silence: 20 to 100 ms, whatever is set.

        Whoever plays the blocks takes from it what waits in the device, so that a stop is kept at
        the ear.
        """
        return self._stop_fade_s

    @stop_fade_s.setter
    def stop_fade_s(self, seconds: float) -> None:
        wanted = seconds if math.isfinite(seconds) else STOP_FADE_S
        self._stop_fade_s = min(max(wanted, FADE_S), STOP_FADE_S)

    def restart(self) -> None:
        """Fade in again over 20 ms: the device ran dry, and what follows begins from silence."""
        self._way, self._base = 0.0, np.zeros(2)

    def process(self, block: NDArray[Any], volume: float) -> tuple[Float32, int]:
        """Return the block as it may be played, and `LOUD` when it had to be changed.

        Parameters
        ----------
        block : ndarray, shape (n_samples, 2)
            Full scale is 1. What is no such block, or holds anything but numbers, is silence.
        volume : float
            The operator's volume, 0..1, below the cap.
        """
        x, good, changed = _taken(block)
        n = len(x)
        if n == 0:
            return np.zeros((0, 2), dtype=np.float32), 0
        if good != self._good:  # from wherever the sound is to silence, or back, without a click
            self._way, self._base, self._good = 0.0, self._last, good
        x = x * self._trims(x)[:, None]
        volume = min(max(volume, 0.0), 1.0) if math.isfinite(volume) else 0.0
        target = 0.0 if self.hushed else self._cap * volume
        if math.isnan(self.gain):
            self.gain = target
        gains = self._gains(target, n)
        self.gain = float(gains[-1])
        x = x * gains[:, None]
        changed |= self._trim < 1.0 or float(np.abs(x).max()) > KNEE
        x = _bent(x, KNEE, LIMIT)
        if self._way < 1.0:
            way = np.minimum(1.0, self._way + np.arange(1, n + 1) / (FADE_S * self.rate_hz))
            x = x * way[:, None] + self._base * (1.0 - way[:, None])
            self._way = float(way[-1])
        self._last = x[-1].copy()
        self.interventions += changed
        return x.astype(np.float32), LOUD if changed else 0

    def _trims(self, x: Float) -> Float:
        """Return what keeps the mean square at that of a full-scale sine: at once down, slowly up.

        One gain per sample, a line through the block.
        """
        n = len(x)
        heard = 1.0 - math.exp(-n / (FAST_S * self.rate_hz))
        self._ms += heard * (float(np.mean(x**2, axis=0).max()) - self._ms)
        allowed = min(1.0, math.sqrt(SINE_MS / self._ms)) if self._ms > 0.0 else 1.0
        rise = 10.0 ** (RISE_DB_PER_S / 20.0 * n / self.rate_hz)
        before, self._trim = self._trim, min(allowed, self._trim * rise)
        return np.linspace(before, self._trim, n + 1)[1:]

    def _gains(self, target: float, n: int) -> Float:
        """Return the next `n` gains: down in a ramp, up by 6 dB a second above `_cap` / 8."""
        t = np.arange(1, n + 1) / self.rate_hz
        if target <= self.gain:
            fade = self._stop_fade_s if self.hushed else RAMP_S
            return np.maximum(target, self.gain - self._cap * t / fade)
        # From silence, 6 dB per second would never begin: the lowest eighth is reached in 0.1 s.
        floor = self._cap / 8.0
        louder = self.gain * 10.0 ** (RISE_DB_PER_S / 20.0 * t)
        return np.minimum(target, np.maximum(louder, np.minimum(floor, self.gain + 10 * floor * t)))
