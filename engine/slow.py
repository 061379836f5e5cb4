"""Slow cortical potential: where the potential is now against where it was just before.

``S(t) = mean of x over the last 0.5 s - mean of x over the 2 s before that``, on referenced, not
filtered samples of a DC-coupled amplifier (after the feedback of slow potentials, Birbaumer et al.
1990, Strehl et al. 2017: a task against the baseline that precedes it; here the baseline slides
along). Negative is more activated. Unit µV; scale linear; delay half the window, 0.25 s. An offset
of the electrode cancels; a drift of a µV/s leaves ``1.25 a`` (half of both lengths).

Training by trials (`slow_voltage`) takes the first term alone: the reference is then a stretch of
the trial itself, and whoever runs the trial subtracts it.

A step within the 2.5 s would be read as a potential: where the conditioning found one (`resets`),
a site starts anew and is unknown until 2.5 s lie behind it. Blinks and muscle do not reset
anything: the caller gates them, and `span_s` says how far back a value reaches.

Samples are summed in blocks, one per grid point, each when it is complete and always in the same
order; window and reference are sums of whole blocks. So any slicing of the stream gives the same
numbers, to the bit.
"""

from __future__ import annotations

import numpy as np

from engine.frames import Bool, Float

__all__ = ["REFERENCE_S", "WINDOW_S", "SlowPotential"]

WINDOW_S = 0.5
REFERENCE_S = 2.0


class SlowPotential:
    """Slow potential of some sites (settings + state + step).

    Parameters
    ----------
    rate_hz : float
        Sampling rate.
    hop : int
        Samples between two grid points.
    window_s : float
        Length of the window, rounded to whole hops.
    reference_s : float or None
        That of the reference before it; None subtracts nothing.
    n_sites : int
        Columns.

    Attributes
    ----------
    window_s, reference_s, span_s : float
        The lengths in use, and their sum: how far back a value reaches.
    delay_s : float
        Half the window.
    settle : int
        Samples from a restart to the first value, at most.

    Raises
    ------
    ValueError
        A length is less than one hop.
    """

    def __init__(
        self,
        rate_hz: float,
        hop: int,
        window_s: float = WINDOW_S,
        reference_s: float | None = REFERENCE_S,
        *,
        n_sites: int,
    ) -> None:
        self.hop = hop
        self._window = round(window_s * rate_hz / hop)
        self._reference = 0 if reference_s is None else round(reference_s * rate_hz / hop)
        if self._window < 1 or (reference_s is not None and self._reference < 1):
            raise ValueError(
                f"window and reference need at least one hop of {hop / rate_hz:g} s, "
                f"got {window_s:g} s and {reference_s} s"
            )
        self._blocks = self._window + self._reference
        self.window_s = self._window * hop / rate_hz
        self.reference_s = self._reference * hop / rate_hz
        self.span_s = self.window_s + self.reference_s
        self.delay_s = self.window_s / 2.0
        self.settle = (self._blocks + 1) * hop  # the first block may have begun before
        self._block: Float = np.zeros((hop, n_sites))
        # Every sum twice, one length apart: any window is one slice, oldest first.
        self._sums: Float = np.zeros((2 * self._blocks, n_sites))
        self._n_sites = n_sites
        self.restart()

    def restart(self) -> None:
        """Forget the signal (start, gap)."""
        self._filled = 0  # samples of the block that is being filled
        self._next = 0
        self._known = np.zeros(self._n_sites, np.int64)  # blocks since the site started anew
        self._broken = np.zeros(self._n_sites, bool)  # sites that did so within this block

    def skip(self, points: int = 1) -> None:
        """Pass over grid points whose samples are missing: a mean across a gap means nothing.

        Gated points are not missing; their samples go on through `step`.
        """
        if points > 0:
            self.restart()

    def step(
        self, rows: Float, grid: np.ndarray, resets: tuple[tuple[int, Bool], ...] = ()
    ) -> Float:
        """Return the slow potential at the segment's grid points.

        Parameters
        ----------
        rows : ndarray, shape (n, n_sites)
            Referenced samples in µV, not filtered. A sample that is not finite leaves its site
            unknown for as long as a window reaches it, and no longer.
        grid : ndarray of int, shape (n_grid,)
            Rows that are grid points, `hop` apart.
        resets : tuple of (row, mask)
            Rows at which the marked sites start anew, in order, see `Conditioned.resets`.

        Returns
        -------
        ndarray, shape (n_grid, n_sites)
            µV; NaN while unknown.

        Raises
        ------
        ValueError
            Grid points are farther apart than a hop.
        """
        out = np.empty((len(grid), self._n_sites))
        at = 0
        pending = list(resets)
        with np.errstate(invalid="ignore", over="ignore"):  # ends as NaN, see above
            for g, row in enumerate(grid.tolist()):
                self._take(rows, at, row + 1, pending)
                out[g] = self._complete()
                at = row + 1
        self._take(rows, at, len(rows), pending)
        return out

    def _take(self, rows: Float, start: int, end: int, pending: list[tuple[int, Bool]]) -> None:
        """Put rows `start` to `end` into the block."""
        n = self._filled + end - start
        if n > self.hop:
            raise ValueError(f"{n} samples since the last grid point, a hop has {self.hop}")
        while pending and pending[0][0] < end:
            row, mask = pending.pop(0)
            self._known[mask] = 0
            if self._filled + row - start > 0:
                self._broken |= mask  # the block began before
        self._block[self._filled : n] = rows[start:end]
        self._filled = n

    def _complete(self) -> Float:
        """End the block with a grid point, return the values there."""
        if self._filled == self.hop:
            at = self._next
            self._sums[at] = self._sums[at + self._blocks] = np.add.reduce(self._block, axis=0)
            self._next = (at + 1) % self._blocks
            self._known += 1
            self._known[self._broken] = 0
        else:  # the first one, begun between two grid points
            self._known[:] = 0
        self._broken[:] = False
        self._filled = 0
        return self._values()

    def _values(self) -> Float:
        middle = self._next + self._reference
        now = np.add.reduce(self._sums[middle : self._next + self._blocks], axis=0)
        value: Float = now / (self._window * self.hop)
        if self._reference:
            before = np.add.reduce(self._sums[self._next : middle], axis=0)
            value = value - before / (self._reference * self.hop)
        value[~((self._known >= self._blocks) & np.isfinite(value))] = np.nan
        return value
