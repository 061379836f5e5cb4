"""A feature by the fixed filter, block by block: what can be compared across sessions.

A fitted filter is made anew for every session, so its numbers compare within a session only. The
session therefore records the power that the fixed filter reads, unsmoothed, at every tenth grid
point. It begins to do so when the filters are fitted, after the baseline. Before that the fixed
filter was the live one, but smoothed, and around 10 Hz where the band follows the individual alpha
frequency; so the baseline's own samples are put through the whole path once more, with fixed
filters on the bands found, unsmoothed. The same is done where nothing was fitted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from engine.assemble import assemble
from engine.errors import NeuroloopError
from engine.frames import Chunk, Command, Float
from engine.grid import Grid, number
from engine.measures import Block, Filter, FixedPower
from engine.pipeline import FIXED_EVERY
from engine.replay import plan_from
from protocols.model import Protocol
from protocols.phrases import leaves

__all__ = ["COMPARED", "FixedReader"]

COMPARED = ("ratio", "log_ratio", "shrunk_log_ratio", "asymmetry_index")
"""Kinds that are made of two powers; here always the difference of their logarithms."""
POWERS = ("power", "amplitude")
CHUNK = 1024  # samples; any number gives the same


class FixedReader:
    """Reads every block of a session by the fixed filter.

    Parameters
    ----------
    grid : Grid
        The recording.
    filters : sequence of Filter
        What was fitted.
    names : sequence of str
        Features to read: powers, amplitudes, and what compares two of them.
    """

    def __init__(self, grid: Grid, filters: Sequence[Filter], names: Sequence[str]) -> None:
        self._grid = grid
        self._parts: dict[str, tuple[str, ...]] = {}
        self._why = ""
        protocol = grid.protocol
        if protocol is None:
            return
        for name in names:
            feature = protocol.features.get(name)
            if feature is None or name not in grid.columns:
                continue
            parts = tuple(leaves(protocol, name))
            kind = feature.kind
            powers = all(p in grid.columns and protocol.features[p].kind in POWERS for p in parts)
            if powers and (kind in POWERS or (kind in COMPARED and len(parts) == 2)):
                self._parts[name] = parts
        self._bands = {f.feature: f.band_hz for f in filters if not f.beside}
        self._tenth = (grid.rows.seq // grid.hop) % FIXED_EVERY == 0
        self._power = grid.rows.fixed_uv2.copy()

    def complete(self, used: Iterable[np.ndarray]) -> None:
        """Read again what the recording does not tell.

        Parameters
        ----------
        used : iterable of ndarray of int
            Rows of the clean points of every block.
        """
        columns = np.array(
            [self._grid.columns[p] for parts in self._parts.values() for p in parts], dtype=int
        )
        if not len(columns):
            return
        rows = [r[self._tenth[r]] for r in used]
        wanted = np.concatenate([*rows, np.zeros(0, int)]).astype(int)
        missing = wanted[np.isnan(self._power[np.ix_(wanted, columns)]).any(axis=1)]
        if not len(missing):
            return
        try:
            again = self._again(int(self._grid.rows.seq[missing.max()]))
        except (NeuroloopError, ValueError, TypeError, KeyError) as error:
            said = getattr(error, "what", "") or str(error)
            self._why = f"the baseline cannot be filtered once more: {said}"
            return
        for row in missing.tolist():
            values = again.get(int(self._grid.rows.seq[row]))
            if values is not None:
                gap = np.isnan(self._power[row])
                self._power[row, gap] = values[gap]

    def _again(self, last: int) -> dict[int, Float]:
        """Return the unsmoothed fixed powers at every tenth grid point up to `last`."""
        grid, header = self._grid, self._grid.header
        assert grid.protocol is not None
        assembly = assemble(
            grid.recording.spec,
            _fixed(grid.protocol, self._bands),
            plan_from(header["plan"]),
            mains_hz=number(header.get("mains_hz")),
            range_uv=number(header.get("range_uv")),
            dc_coupled=header.get("dc_coupled"),
        )
        roots = [
            i
            for i, name in enumerate(grid.features)
            if (f := grid.protocol.features.get(name)) is not None and f.kind == "amplitude"
        ]
        out: dict[int, Float] = {}
        for item in grid.recording.inputs_in_order(CHUNK):
            if isinstance(item, Chunk) and item.seq > last:
                break
            if isinstance(item, Command) and item.kind == "threshold":
                continue
            for point in assembly.fold.step(item):
                seq = point.frame.seq
                if (seq // grid.hop) % FIXED_EVERY == 0:
                    values = point.frame.values.copy()
                    values[roots] **= 2
                    out[seq] = values
        return out

    def read(self, used: np.ndarray) -> dict[str, FixedPower]:
        """Return every feature over a block's clean rows."""
        found = {}
        rows = used[self._tenth[used]] if len(used) else used
        for name, parts in self._parts.items():
            columns = np.array([self._grid.columns[p] for p in parts], dtype=int)
            powers = self._power[np.ix_(rows, columns)]
            powers = powers[(np.isfinite(powers) & (powers > 0.0)).all(axis=1)]
            if not len(powers):
                why = self._why or ("no clean time" if not len(rows) else "it was not recorded")
                found[name] = FixedPower(0, None, why=why)
                continue
            means = np.log(powers).mean(axis=0)
            mean = float(means[0] - means[1]) if len(means) == 2 else float(means[0])
            found[name] = FixedPower(len(powers), mean)
        return found

    def against_rest(
        self, blocks: Sequence[Block], resting: Mapping[str, str]
    ) -> tuple[Block, ...]:
        """Return the blocks with every feature's change against its baseline block.

        Parameters
        ----------
        blocks : sequence of Block
        resting : mapping of str to str
            The baseline block that stands for each feature.
        """
        rest: dict[str, tuple[str, FixedPower]] = {}
        for block in blocks:
            for name, value in block.fixed.items():
                if block.kind == "baseline" and block.name == resting.get(name) and not block.note:
                    rest[name] = block.label, value
        return tuple(
            replace(b, fixed={name: self._change(v, rest.get(name)) for name, v in b.fixed.items()})
            for b in blocks
        )

    @staticmethod
    def _change(value: FixedPower, rest: tuple[str, FixedPower] | None) -> FixedPower:
        if value.mean_ln is None:
            return value
        if rest is None:
            return replace(value, why="no baseline block was accepted")
        label, at_rest = rest
        if at_rest.mean_ln is None:
            return replace(value, against=label, why=f"{label}: {at_rest.why}")
        return replace(value, change_ln=value.mean_ln - at_rest.mean_ln, against=label)


def _fixed(protocol: Protocol, bands: Mapping[str, tuple[float, float]]) -> Protocol:
    """Return the protocol with fixed filters on the bands found, unsmoothed."""
    plain = {"smooth_s": None, "fit": "fixed", "delay_s": None, "target": None, "iaf": None}
    features = {
        name: f.model_copy(update={**plain, "band_hz": bands.get(name, f.band_hz)})
        for name, f in protocol.features.items()
    }
    return protocol.model_copy(update={"features": features})
