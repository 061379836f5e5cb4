"""The samples of the baseline, kept until something is fitted to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.bank import Raw
from engine.frames import Bool, Float, RestBlock, frozen
from engine.rest import Rest

__all__ = ["Kept"]


class Kept:
    """Collects what the estimator is given, hop by hop, while a baseline is recorded.

    Parameters
    ----------
    hop : int
        Samples between grid points.
    n_sites : int
        Columns of `Conditioned`.
    """

    def __init__(self, hop: int, n_sites: int) -> None:
        self._hop, self._n_sites = hop, n_sites
        self.on = False
        self._rows: list[Float] = []  # since the last grid point
        self._begins: list[tuple[int, Bool]] = []  # row within the hop, sites
        self._n = 0
        self._last = -1  # grid point of the hop kept last
        self._blocks: dict[int, list[_Hop]] = {}
        self._now: _Hop | None = None

    def restart(self) -> None:
        """Samples are missing: what was gathered since the last grid point is no whole hop."""
        self._rows, self._begins, self._n = [], [], 0

    def push(self, uv: Float) -> None:
        """Take rows of `Conditioned.uv`."""
        if self.on:
            self._rows.append(uv)
            self._n += len(uv)

    def begin(self, sites: Bool) -> None:
        """The marked sites begin anew at the next row."""
        if self.on:
            self._begins.append((self._n, sites))

    def point(self, seq: int, raw: list[Raw], wide: Mapping[int, Float]) -> None:
        """A grid point is reached; `raw` and `wide` are copied while a baseline is recorded."""
        if not self.on:
            return
        if self._n == self._hop:
            uv = np.concatenate(self._rows) if len(self._rows) > 1 else self._rows[0]
            self._now = _Hop(seq, uv, tuple(self._begins), tuple(raw), dict(wide))
        self.restart()

    def decide(self, on: bool, phase: int) -> None:
        """Say whether the point just reached belongs to a baseline block that is running."""
        if on and self._now is not None:
            hops = self._blocks.setdefault(phase, [])
            hops.append(self._now)
        self._now = None
        if on != self.on:
            self.on = on
            self.restart()

    def clear(self) -> None:
        """Forget every block."""
        self._blocks.clear()

    def rest(self, block: RestBlock) -> Rest:
        """Return the samples of an accepted block, whole hops, one after another.

        The first grid points of a block, whose hop was not whole, are not clean.
        """
        wanted = set(block.seq.tolist())
        hops = [h for h in self._blocks.get(block.phase, ()) if h.seq in wanted]
        have = {h.seq: k for k, h in enumerate(hops)}
        found = np.array([have.get(s, -1) for s in block.seq.tolist()])
        inside = found >= 0
        rows = (np.arange(len(hops)) + 1) * self._hop - 1
        every = frozen(np.ones(self._n_sites, bool))
        begins: list[tuple[int, Bool]] = []
        before = None
        clean_points = block.clean[inside]
        clean = np.repeat(clean_points, self._hop)
        for k, h in enumerate(hops):
            if before is None or h.seq - before != self._hop:
                begins.append((k * self._hop, every))
                clean[k * self._hop] = False  # no spectrum reaches over a seam
            before = h.seq
            begins += [(k * self._hop + row, sites) for row, sites in h.begins]
        n = len(hops)
        return Rest(
            RestBlock(
                block.phase,
                block.name,
                block.learn,
                block.uses,
                block.seq[inside],
                block.gates[inside],
                clean_points,
            ),
            frozen(np.concatenate([h.uv for h in hops])) if n else np.zeros((0, self._n_sites)),
            tuple(begins),
            rows,
            frozen(clean),
            tuple(h.raw for h in hops),
            tuple(h.wide for h in hops),
        )


class _Hop:
    """One grid point's hop."""

    __slots__ = ("begins", "raw", "seq", "uv", "wide")

    def __init__(
        self,
        seq: int,
        uv: Float,
        begins: tuple[tuple[int, Bool], ...],
        raw: tuple[Raw, ...],
        wide: Mapping[int, Float],
    ) -> None:
        self.seq, self.uv, self.begins, self.raw, self.wide = seq, uv, begins, raw, wide
