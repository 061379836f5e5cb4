"""Limits on light and loudness that sit after every picture and sound, plugins included.

Light
-----
`FlashGuard` sees every frame before it is shown, reduced to a grid of 27 x 48 cells, and answers
how much of it may be shown. What is *presented* then obeys, over more than 10 % of the window:

- at most four opposing transitions (two flashes) of relative luminance in any second, a
  transition being 0.05 or more with the darker side below 0.80;
- a change of the window's mean luminance of at most 0.5 per second, and of any connected 10 % of
  it of at most 1.0 per second;
- no saturated red.

The limits are stricter than WCAG 2.3.1 and ITU-R BT.1702. Eight-bit screens move in steps (one
step near white is 0.009), so slopes are kept by an allowance that refills with time: over a
second the limits hold exactly, at any instant at most `MEAN_BURST` or `AREA_BURST` more.

Loudness
--------
`SoundGuard` sees every block of samples last: cap of gain, ramps, limiter, silence for NaN, and
a hard stop that fades within 100 ms.

No protocol, room or plugin can switch either off.
"""

from __future__ import annotations

import math
from collections import deque
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
    "SoundGuard",
    "Verdict",
    "blended",
    "cap_gain",
    "luminance",
    "red_ratio",
]

Rgb = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

ROWS, COLS = 27, 48
AREA_CELLS = math.ceil(0.10 * ROWS * COLS)  # 130 cells are "more than 10 % of the window"

FLASH, SLOPE, RED, LOUD = 1, 2, 4, 8  # bits of `Presented.guard`

TRANSITION = 0.05  # of relative luminance
DARKER_BELOW = 0.80
TRANSITIONS = 4  # allowed per second: two flashes
# Half a frame shorter than a second, so that the jitter of frame times does not turn exactly
# two flashes per second into a breach.
WINDOW_S = 1.0 - 0.008
KEPT = 12  # transitions remembered per cell

MEAN_PER_S, MEAN_BURST = 0.48, 0.02  # 0.48 + 0.02 = 0.5 over any second
AREA_PER_S, AREA_BURST = 0.96, 0.04
LONGEST_FRAME_S = 0.05

RED_RATIO = 0.8
RED_FLOOR = 0.01  # linear red below this (code 25 of 255) is black to the eye

_CODE = np.arange(256) / 255.0
LINEAR: Float32 = np.where(
    _CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4
).astype(np.float32)
WEIGHTS: Float32 = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


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


def _cells(rgb: Rgb) -> Float32:
    """Return the mean linear light of each cell, shape ``(ROWS, COLS, 3)``."""
    k = rgb.shape[0] // ROWS
    if k < 1 or rgb.shape != (k * ROWS, k * COLS, 3) or rgb.dtype != np.uint8:
        raise ValueError(
            f"a frame for the guard must be uint8 of shape (27 k, 48 k, 3), not "
            f"{rgb.dtype} {rgb.shape}"
        )
    x = LINEAR.take(rgb)
    if k > 1:
        rows = x[0::k].copy()
        for i in range(1, k):
            rows += x[i::k]
        cols = rows[:, 0::k].copy()
        for i in range(1, k):
            cols += rows[:, i::k]
        x = cols / np.float32(k * k)
    return x


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


def blended(rgb: Rgb, previous: Rgb, verdict: Verdict) -> Rgb:
    """Return the frame that `verdict` allows, in array form."""
    out = rgb.astype(np.float32)
    if verdict.grey:
        luma = (out @ LUMA)[..., None]
        out += (luma - out) * np.float32(verdict.grey / 255)
    if verdict.share < 255:
        before = previous.astype(np.float32)
        out = before + (out - before) * np.float32(verdict.share / 255)
    return np.asarray(np.rint(out), dtype=np.uint8)


class FlashGuard:
    """Decide how much of each frame may be shown.

    Call `judge` with the frame wanted, show what the verdict allows, then `commit` what was
    really shown; `present` does all three on arrays. Before the first frame the screen is black.

    Parameters
    ----------
    slope : bool
        False leaves the flash and red rules alone (for testing those rules).
    """

    def __init__(self, *, slope: bool = True) -> None:
        self._slope = slope
        self._t = -math.inf
        self._shown: Rgb | None = None
        self._lum: Float32 = np.zeros((ROWS, COLS), dtype=np.float32)
        self._extremum = self._lum.copy()
        self._direction = np.zeros((ROWS, COLS), dtype=np.int8)
        self._times = np.full((KEPT, ROWS, COLS), -np.inf)
        self._mean_left = MEAN_BURST
        self._area_left: Float32 = np.full((ROWS, COLS), AREA_BURST, dtype=np.float32)
        self._last_bits = 0
        self._judged: tuple[Rgb | None, Float32] = (None, np.zeros((ROWS, COLS, 3), np.float32))
        self.interventions = 0
        self.log: deque[Intervention] = deque(maxlen=1000)

    def judge(self, rgb: Rgb, t: float) -> Verdict:
        """Return how a frame may be shown at `t` seconds.

        Parameters
        ----------
        rgb : ndarray of uint8, shape (27 k, 48 k, 3)
            The frame wanted, reduced to k x k samples per cell.
        t : float
            Seconds, never decreasing.
        """
        cells = _cells(rgb)
        self._judged = (rgb, cells)
        bits = self._breaks(cells, t)
        verdict = Verdict()
        if bits:
            previous = self._shown if self._shown is not None else np.zeros_like(rgb)
            if previous.shape != rgb.shape:
                previous = np.zeros_like(rgb)
            verdict = self._gentlest(rgb, previous, t, bits)
        if bits and bits != self._last_bits:
            self.interventions += 1
            self.log.append(Intervention(t, bits))
        self._last_bits = bits
        return verdict

    def commit(self, rgb: Rgb, t: float) -> None:
        """Take note of the frame that was really shown at `t`."""
        judged, cells = self._judged
        if judged is not rgb:
            cells = _cells(rgb)
        self._judged = (None, cells)  # so that an array drawn into anew is looked at anew
        lum = np.asarray(cells @ WEIGHTS, dtype=np.float32)
        change = lum - self._lum
        dt = self._elapsed(t)
        # The mean may owe (rounding of the blend), so the limit holds exactly in the long run.
        self._mean_left = min(self._mean_left + MEAN_PER_S * dt, MEAN_BURST) - abs(
            float(change.mean())
        )
        self._area_left = np.minimum(self._area_left + np.float32(AREA_PER_S * dt), AREA_BURST)
        self._area_left = np.maximum(self._area_left - np.abs(change), np.float32(0.0))
        turned = self._transitions(lum)
        if turned.any():
            self._times[1:, turned] = self._times[:-1, turned]
            self._times[0, turned] = t
            self._direction[turned] = np.sign(lum - self._extremum)[turned].astype(np.int8)
            self._extremum[turned] = lum[turned]
        rising, falling = self._direction > 0, self._direction < 0
        np.maximum(self._extremum, lum, out=self._extremum, where=rising)
        np.minimum(self._extremum, lum, out=self._extremum, where=falling)
        self._lum = lum
        self._shown = rgb.copy()
        self._t = t

    def present(self, rgb: Rgb, t: float) -> tuple[Rgb, Verdict]:
        """Judge, blend and commit: return the frame as shown and the verdict."""
        verdict = self.judge(rgb, t)
        previous = self._shown
        if previous is None or previous.shape != rgb.shape:
            previous = np.zeros_like(rgb)
        shown = blended(rgb, previous, verdict) if verdict.bits else rgb
        self.commit(shown, t)
        return shown, verdict

    def flashes(self, t: float) -> int:
        """Return the flashes (pairs of opposing transitions) of the second that ends at `t`.

        Counted over the cells that flash together: the most that more than 10 % of them have.
        """
        counts = (self._times > t - WINDOW_S).sum(axis=0).ravel()
        return int(np.sort(counts)[-AREA_CELLS]) // 2

    # ------------------------------------------------------------ the rules

    def _elapsed(self, t: float) -> float:
        return min(max(t - self._t, 0.0), LONGEST_FRAME_S)

    def _transitions(self, lum: Float32) -> Mask:
        change = lum - self._extremum
        up = (self._direction <= 0) & (change >= TRANSITION) & (self._extremum < DARKER_BELOW)
        down = (self._direction >= 0) & (change <= -TRANSITION) & (lum < DARKER_BELOW)
        return np.asarray(up | down)

    def _breaks(self, cells: Float32, t: float) -> int:
        """Return the bits that showing these cells at `t` would break."""
        bits = 0
        lum = np.asarray(cells @ WEIGHTS, dtype=np.float32)
        # Flashes: cells that would make one transition too many, with those that already have.
        since = t - WINDOW_S
        too_many = self._transitions(lum) & (self._times[TRANSITIONS - 1] > since)
        if np.count_nonzero(too_many):
            too_many |= self._times[TRANSITIONS] > since
            if np.count_nonzero(too_many) >= AREA_CELLS:
                bits |= FLASH
        if self._slope:
            change = lum - self._lum
            dt = self._elapsed(t)
            if abs(float(change.mean())) > min(self._mean_left + MEAN_PER_S * dt, MEAN_BURST):
                bits |= SLOPE
            else:
                left = np.minimum(self._area_left + np.float32(AREA_PER_S * dt), AREA_BURST)
                for fast in (change > left, -change > left):
                    if (
                        np.count_nonzero(fast) >= AREA_CELLS
                        and _largest_connected(fast) >= AREA_CELLS
                    ):
                        bits |= SLOPE
        if self._red_cells(cells) >= AREA_CELLS:
            bits |= RED
        return bits

    @staticmethod
    def _red_cells(cells: Float32) -> int:
        red = (cells[..., 0] >= RED_RATIO * cells.sum(axis=-1)) & (cells[..., 0] >= RED_FLOOR)
        return int(np.count_nonzero(red))

    def _gentlest(self, rgb: Rgb, previous: Rgb, t: float, bits: int) -> Verdict:
        grey = 0
        if bits & RED:
            for grey in (64, 128, 192, 255):
                if self._red_cells(_cells(blended(rgb, previous, Verdict(255, grey)))) < AREA_CELLS:
                    break
        if not self._breaks(_cells(blended(rgb, previous, Verdict(255, grey))), t):
            return Verdict(255, grey, bits)
        # The largest share of the new frame that breaks nothing; repeating the old one never does.
        low, high = 0, 255
        while high - low > 1:
            middle = (low + high) // 2
            if self._breaks(_cells(blended(rgb, previous, Verdict(middle, grey))), t):
                high = middle
            else:
                low = middle
        return Verdict(low, grey, bits)


# ---------------------------------------------------------------- loudness

CALIBRATED_DBA = 70.0
UNCALIBRATED_GAIN = 0.25
LIMIT = 10.0 ** (-6.0 / 20.0)  # of full scale
KNEE = 0.8 * LIMIT
STOP_FADE_S = 0.100
RAMP_S = 0.050  # full gain to none, in ordinary use
RISE_DB_PER_S = 6.0


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


class SoundGuard:
    """Cap, ramp and limit blocks of samples, after every sound.

    Parameters
    ----------
    cap : float
        Largest gain, see `cap_gain`.
    rate_hz : float
        Sample rate.
    """

    def __init__(self, cap: float, rate_hz: float = 44100.0) -> None:
        self.cap = cap if math.isfinite(cap) and cap >= 0.0 else UNCALIBRATED_GAIN
        self.rate_hz = rate_hz
        self.gain = math.nan  # not yet known; the first block starts at its target
        self.hushed = False
        self.interventions = 0
        self._fade_in = 1.0  # 0..1, after a block that was no sound
        self._last: Float = np.zeros(2)

    def restart(self) -> None:
        """Fade in again over 20 ms: the device ran dry, and what follows begins from silence."""
        self._fade_in = 0.0

    def process(self, block: NDArray[Any], volume: float) -> tuple[Float32, int]:
        """Return the block as it may be played, and `LOUD` when it had to be changed.

        Parameters
        ----------
        block : ndarray, shape (n_samples, 2)
            Full scale is 1.
        volume : float
            The operator's volume, 0..1, below the cap.
        """
        n = len(block)
        if n == 0:
            return np.zeros((0, 2), dtype=np.float32), 0
        volume = min(max(volume, 0.0), 1.0) if math.isfinite(volume) else 0.0
        target = 0.0 if self.hushed else self.cap * volume
        if math.isnan(self.gain):
            self.gain = target
        gains = self._gains(target, n)
        self.gain = float(gains[-1])
        x = np.asarray(block, dtype=np.float64)
        if not np.isfinite(x).all():
            self.interventions += 1
            self._fade_in = 0.0
            # From wherever the last block ended to silence in 5 ms, so that there is no click.
            ramp = np.clip(1.0 - np.arange(1, n + 1) / (0.005 * self.rate_hz), 0.0, 1.0)
            out = ramp[:, None] * self._last
            self._last = out[-1].copy()
            return out.astype(np.float32), LOUD
        x = x * gains[:, None]
        if self._fade_in < 1.0:
            ramp = np.minimum(1.0, self._fade_in + np.arange(1, n + 1) / (0.020 * self.rate_hz))
            x *= ramp[:, None]
            self._fade_in = float(ramp[-1])
        bits = 0
        if float(np.abs(x).max()) > KNEE:
            # Smooth and without memory: a limiter that cannot click and cannot be exceeded.
            over = np.maximum(np.abs(x) - KNEE, 0.0) / (LIMIT - KNEE)
            limited = KNEE + (LIMIT - KNEE) * np.tanh(over)
            x = np.where(np.abs(x) > KNEE, np.copysign(limited, x), x)
            self.interventions += 1
            bits = LOUD
        self._last = x[-1].copy()
        return x.astype(np.float32), bits

    def _gains(self, target: float, n: int) -> Float:
        """Return the next `n` gains: down in a ramp, up by at most 6 dB per second."""
        t = np.arange(1, n + 1) / self.rate_hz
        if target <= self.gain:
            fade = STOP_FADE_S if self.hushed else RAMP_S
            return np.maximum(target, self.gain - self.cap * t / fade)
        # From silence, 6 dB per second would never begin: the lowest eighth is reached in 0.1 s.
        floor = self.cap / 8.0
        louder = self.gain * 10.0 ** (RISE_DB_PER_S / 20.0 * t)
        return np.minimum(target, np.maximum(louder, np.minimum(floor, self.gain + 10 * floor * t)))
