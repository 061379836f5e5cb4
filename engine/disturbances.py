"""What happens to a synthetic person beside the brain: sideways looks, electrode pops, head moves.

Each is drawn from a random generator of its own and added to the samples of one block, so nothing
else of the person changes when it is switched on. Shapes, and where the numbers come from:

* look: the eyes turn sideways and later back, each time within 30-50 ms; between, they rest. F7
  and F8 move by half the stated voltage in opposite directions, other frontal sites by less. Per
  degree F7 - F8 changes by some 10 µV, so 60-140 µV are looks of 6-14 degrees.
* pop: one electrode jumps by 150-400 µV within one sample and comes back with a time constant of
  0.3 s, as behind an amplifier's high-pass.
* move: the head nods with 2-4 Hz; the accelerometer shows 0.3-0.6 g, and the cables sway 100-250 µV
  into every site.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.frames import Float

__all__ = ["Happenings", "Looks", "Moves", "Pops"]

POP_TAU_S = 0.3
POP_TRUTH_S = 0.1
MOVE_UV_PER_G = 400.0
SENSOR_NOISE_G = 0.002

# At the sites of `engine.person.SITES`, for a look that moves F7 - F8 by 1.
_LOOK_AT = np.array(
    [
        0.25, -0.25, 0.5, 0.18, 0.0, -0.18, -0.5, 0.15, 0.05, 0.0,
        -0.05, -0.15, 0.03, 0.02, 0.0, -0.02, -0.03, 0.0, 0.0,
    ]
)  # fmt: skip


class Happenings:
    """Events at random moments: when, how long, how strong. Drawn one after another."""

    def __init__(
        self,
        rng: np.random.Generator,
        rate_hz: float,
        every_s: float,
        apart_s: float,
        lasts_s: tuple[float, float],
        strength: tuple[float, float],
    ) -> None:
        self._rng, self._rate_hz = rng, rate_hz
        self._every_s, self._apart_s = every_s, apart_s
        self._lasts_s, self._strength = lasts_s, strength
        self.start = self.stop = 0
        self.strength = 0.0
        self._draw()

    def _draw(self) -> None:
        wait_s = self._apart_s + self._rng.exponential(self._every_s - self._apart_s)
        lasts_s = self._rng.uniform(*self._lasts_s)
        self.strength = float(self._rng.uniform(*self._strength))
        self.start = self.stop + round(wait_s * self._rate_hz)
        self.stop = self.start + max(1, round(lasts_s * self._rate_hz))

    def during(self, first: int, stop: int) -> list[tuple[int, int, float]]:
        """Return (start, stop, strength) of what touches samples `first` to `stop` - 1."""
        found = []
        while self.start < stop:
            found.append((self.start, self.stop, self.strength))
            if self.stop > stop:
                break
            self._draw()
        return [one for one in found if one[1] > first]


class _Switched:
    """Events of which those count that begin while they are switched on."""

    def __init__(self, happenings: Happenings) -> None:
        self._happenings = happenings
        self._on = False

    def during(self, i: NDArray[np.int64], *, on: bool) -> list[tuple[int, int, float]]:
        now = []
        for one in self._happenings.during(int(i[0]), int(i[-1]) + 1):
            if one[0] >= i[0]:  # what has begun ends as it would
                self._on = on
            if self._on:
                now.append(one)
        return now


class Looks:
    """Sideways looks: every 4 s, 0.4-1.5 s long."""

    def __init__(self, rng: np.random.Generator, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._when = _Switched(Happenings(rng, rate_hz, 4.0, 1.0, (0.4, 1.5), (-1.0, 1.0)))

    def add(
        self,
        i: NDArray[np.int64],
        eeg: Float,
        truth: Float,
        *,
        on: bool,
        asked: list[tuple[int, int, float]],
    ) -> None:
        """Add the looks of one block.

        Parameters
        ----------
        i : ndarray of int, shape (n,)
            Sample numbers.
        eeg : ndarray, shape (n, n_sites)
            Added to.
        truth : ndarray, shape (n,)
            Set to 1 while the eyes are under way.
        on : bool
            Whether looks that begin now happen.
        asked : list of (start, stop, F7 - F8 in µV)
            Looks beside those.
        """
        looks = [
            (start, stop, np.copysign(60.0 + 80.0 * abs(u), u))
            for start, stop, u in self._when.during(i, on=on)
        ]
        for start, stop, uv in looks + asked:
            # Larger saccades take longer.
            flank = max(1, round((0.03 + 0.02 * min(1.0, abs(uv) / 140.0)) * self._rate_hz))
            there = np.clip((i - start + 1) / flank, 0.0, 1.0)
            back = np.clip((i - (stop - flank) + 1) / flank, 0.0, 1.0)
            eye = 0.5 * (np.cos(np.pi * back) - np.cos(np.pi * there))
            eeg += uv * eye[:, None] * _LOOK_AT
            inside = (i >= start) & (i < stop)
            truth[inside & ((i < start + flank) | (i >= stop - flank))] = 1.0


class Pops:
    """Electrode pops: every 15 s, at one site."""

    def __init__(self, rng: np.random.Generator, rate_hz: float, n_sites: int) -> None:
        self._rate_hz, self._n_sites = rate_hz, n_sites
        self._when = _Switched(Happenings(rng, rate_hz, 15.0, 4.0, (3.0, 3.0), (0.0, 1.0)))

    def add(
        self,
        i: NDArray[np.int64],
        eeg: Float,
        truth: Float,
        *,
        on: bool,
        asked: list[tuple[int, int, float]],
    ) -> None:
        """Add the pops of one block; `asked` are (start, stop, site + size in µV / 10 000).

        The truth is the number of the site, counted from 1.
        """
        pops = []
        for start, stop, u in self._when.during(i, on=on):
            # One number says which site, which way and how much.
            which, share = divmod(u * 2 * self._n_sites, 1.0)
            site, down = divmod(int(which), 2)
            pops.append((start, stop, site, (-1.0 if down else 1.0) * (150.0 + 250.0 * share)))
        for start, stop, packed in asked:
            site = round(packed)
            pops.append((start, stop, site, (packed - site) * 1e4))
        for start, stop, site, uv in pops:
            after = (i - start) / self._rate_hz
            inside = (i >= start) & (i < stop)
            eeg[inside, site] += uv * np.exp(-after[inside] / POP_TAU_S)
            truth[inside & (after < POP_TRUTH_S)] = site + 1.0


class Moves:
    """Movements of the head, every 20 s, and an accelerometer that sees them."""

    def __init__(
        self, rng: np.random.Generator, noise: np.random.Generator, rate_hz: float
    ) -> None:
        self._rate_hz, self._noise = rate_hz, noise
        self._when = _Switched(Happenings(rng, rate_hz, 20.0, 4.0, (0.6, 1.2), (0.3, 0.6)))

    def add(
        self,
        i: NDArray[np.int64],
        eeg: Float,
        truth: Float,
        g: Float,
        *,
        on: bool,
        asked: list[tuple[int, int, float]],
    ) -> None:
        """Add the moves of one block; `g` of shape (n, 3) becomes the accelerometer."""
        g[:] = SENSOR_NOISE_G * self._noise.standard_normal(g.shape)
        g[:, 2] += 1.0
        for start, stop, size_g in self._when.during(i, on=on) + asked:
            u = np.clip((i - start) / (stop - start), 0.0, 1.0)
            nods = max(1, round(3.0 * (stop - start) / self._rate_hz))
            swing = size_g * np.sin(np.pi * u) * np.sin(2.0 * np.pi * nods * u)
            g[:, 2] += swing
            g[:, 0] += 0.5 * swing
            eeg += MOVE_UV_PER_G * swing[:, None]
            truth[(i >= start) & (i < stop)] = 1.0
