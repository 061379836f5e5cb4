"""What a person's own rest looks like: robust statistics of a clean baseline.

A baseline block is collected point by point, judged once at its end, and either accepted whole
or refused with a sentence. Nothing here knows the time: seconds are grid points / grid_hz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from engine.errors import RunError
from engine.frames import Bool, FeatureFrame, Float, Gate, Prepared, RestBlock, frozen

__all__ = [
    "Baseline",
    "Collector",
    "Prepare",
    "Relearn",
    "Scale",
    "Verdict",
    "causes_of",
    "describe",
    "known",
    "points",
    "scaled",
]

Scale = Literal["ln", "linear"]

Prepare = Callable[[Sequence[RestBlock]], Prepared | None]
"""Accepted baseline blocks to what was fitted to them; None when nothing needs fitting."""

Relearn = Callable[[Float], tuple[object, Bool]]
"""``metrics (n, n_metrics) -> (limits, keep (n,))``: learn the gates' limits, re-gate once."""

_MAD_TO_SD = 1.4826  # the SD of a normal distribution whose median absolute deviation is 1
_LEAST_SHARE = 0.5  # a block that is less than half clean is no picture of the person's rest


def points(seconds: float, grid_hz: float) -> int:
    """Return `seconds` in grid points, rounded half up."""
    return math.floor(seconds * grid_hz + 0.5)


def known(value: float, scale: Scale) -> bool:
    """Return whether `value` is a number on its scale (finite; above 0 where a log is taken)."""
    return math.isfinite(value) and (scale == "linear" or value > 0.0)


def scaled(value: float, scale: Scale) -> float:
    """Return `value` on the scale its statistics live on: its logarithm, or itself."""
    return math.log(value) if scale == "ln" else value


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """One feature in one person's clean rest.

    Parameters
    ----------
    feature : str
        Name of the feature in the protocol.
    scale : {"ln", "linear"}
        Where `median`, `mad`, `mean` and `sd` live: on ln(value) or on the value itself.
    n : int
        Number of clean grid points.
    median, mad, mean, sd : float
        On `scale`; `mad` is 1.4826 x the median absolute deviation and always > 0.
    values : ndarray, shape (n,)
        The clean values in the feature's own unit, ascending, read-only.
    """

    feature: str
    scale: Scale
    n: int
    median: float
    mad: float
    mean: float
    sd: float
    values: Float

    def quantile(self, share: float) -> float:
        """Return the value below which `share` (0..1) of the clean points lie, in own unit."""
        return float(np.quantile(self.values, share))

    def edge(self, plus_mad: float) -> float:
        """Return ``median + plus_mad * mad``, on the feature's scale."""
        return self.median + plus_mad * self.mad

    def z(self, x: float) -> float:
        """Return the robust z score of `x`, given on the feature's scale."""
        return (x - self.median) / self.mad

    def spread(self) -> tuple[float, ...]:
        """Return the 5th, 25th, 50th, 75th and 95th percentile in the feature's own unit."""
        return tuple(float(q) for q in np.quantile(self.values, (0.05, 0.25, 0.5, 0.75, 0.95)))

    def summary(self) -> dict[str, float | int | str]:
        """Return the statistics without the values, for events and reports."""
        return {
            "scale": self.scale,
            "n": self.n,
            "median": self.median,
            "mad": self.mad,
            "mean": self.mean,
            "sd": self.sd,
        }


def describe(feature: str, values: Float, scale: Scale) -> Baseline:
    """Return the robust statistics of a feature's clean baseline values.

    Parameters
    ----------
    feature : str
        Name of the feature, for the sentence when it fails.
    values : ndarray, shape (n,)
        Clean values in the feature's own unit.
    scale : {"ln", "linear"}
        Where the statistics are made.

    Raises
    ------
    RunError
        If a value is not on the scale, if there are fewer than two, or if the values do not
        vary: a threshold or a z score against a spread of zero would mean nothing.
    """
    own = np.sort(np.asarray(values, dtype=np.float64))
    if own.size < 2:
        raise RunError(f"{feature}: {own.size} clean points are no baseline.")
    if not bool(np.isfinite(own).all()) or (scale == "ln" and own[0] <= 0.0):
        raise RunError(
            f"{feature} had values in the baseline that are no {scale} numbers.",
            "Check the electrodes of this feature.",
        )
    x = np.log(own) if scale == "ln" else own
    median = float(np.median(x))
    mad = _MAD_TO_SD * float(np.median(np.abs(x - median)))
    if not (math.isfinite(mad) and mad > 0.0):
        raise RunError(
            f"{feature} did not vary during the baseline (its spread is {mad:g}).",
            "Check that the stream is live and the electrodes of this feature are connected; a "
            "share that hardly varies needs a narrower range or a fixed threshold.",
        )
    return Baseline(
        feature=feature,
        scale=scale,
        n=int(own.size),
        median=median,
        mad=mad,
        mean=float(np.mean(x)),
        sd=float(np.std(x, ddof=1)),
        values=frozen(own),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The judgement over one baseline block.

    Parameters
    ----------
    reason : str
        Why the block is refused, one sentence; empty when it is accepted.
    clean, total : int
        Grid points.
    needed : int
        Clean grid points it takes.
    causes : mapping of str to int
        Unclean grid points by cause, most frequent first; a point may have several causes.
    limits : object or None
        The gates' learned limits; None when refused (a dirty block teaches nothing).
    baselines : mapping of str to Baseline
        Per learned feature; empty when refused.
    mask : ndarray of bool, shape (total,), or None
        Which grid points remain clean; None when refused.
    series : mapping of str to ndarray
        Per learned feature its clean values in the order of time.
    """

    reason: str
    clean: int
    total: int
    needed: int
    causes: Mapping[str, int]
    limits: object | None = None
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    mask: Bool | None = None
    series: Mapping[str, Float] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the block may be used."""
        return not self.reason


class Collector:
    """Collects one baseline block and judges it.

    Parameters
    ----------
    columns : sequence of (str, int, scale)
        The features to learn: name, index in ``FeatureFrame.values``, scale. None in a block that
        is recorded for something else: it teaches the gates nothing either.
    """

    __slots__ = ("_clean", "_columns", "_gates", "_metrics", "_seq", "_teaches", "_values", "clean")

    def __init__(self, columns: Sequence[tuple[str, int, Scale]], *, teaches: bool = True) -> None:
        self._columns = tuple(columns)
        self._teaches = teaches
        self._seq: list[int] = []
        self._values: list[tuple[float, ...]] = []
        self._metrics: list[Float] = []
        self._clean: list[bool] = []
        self._gates: list[int] = []
        self.clean = 0

    @property
    def total(self) -> int:
        """Grid points collected."""
        return len(self._clean)

    def add(self, frame: FeatureFrame, values: Sequence[float], trusted: Sequence[bool]) -> bool:
        """Take one grid point; return whether it is clean by the limits in force now.

        `values` and `trusted` are the frame's, as lists (the caller has them already).
        """
        gate = int(frame.gate)
        good = gate == 0
        for _, index, scale in self._columns:
            good = good and trusted[index] and known(values[index], scale)
        self._values.append(tuple(values[index] for _, index, _ in self._columns))
        self._metrics.append(frame.metrics)
        self._seq.append(frame.seq)
        self._clean.append(good)
        self._gates.append(gate)
        self.clean += good
        return good

    def judge(self, needs: int, relearn: Relearn) -> Verdict:
        """Learn the gates' limits, re-gate once, and describe what remains.

        Parameters
        ----------
        needs : int
            Clean grid points the protocol asks for; half of the block is needed in any case.
        relearn : callable
            See `Relearn`; called once with the metrics of all points of the block.

        Returns
        -------
        Verdict
            Refused when too little is clean or a learned feature does not vary.
        """
        total = self.total
        half = math.ceil(total * _LEAST_SHARE) if self._teaches else 0
        needed = max(needs, half, 1)
        if self.clean < needed:  # re-gating only takes points away
            return self._refused(self.clean, needed, np.array(self._clean, dtype=np.bool_))
        if not self._teaches:
            mask = np.array(self._clean, dtype=np.bool_)
            return Verdict("", self.clean, total, needed, self._causes(mask), mask=mask)
        limits, keep = relearn(np.array(self._metrics, dtype=np.float64))
        if keep.shape != (total,):
            raise ValueError(f"relearn returned {keep.shape} flags for {total} points")
        mask = np.array(self._clean, dtype=np.bool_) & keep
        clean = int(np.count_nonzero(mask))
        if clean < needed:
            return self._refused(clean, needed, mask)
        table = np.array(self._values, dtype=np.float64)[mask]
        try:
            baselines = {
                name: describe(name, table[:, column], scale)
                for column, (name, _, scale) in enumerate(self._columns)
            }
        except RunError as error:
            reason = f"{error.what} {error.fix}".strip()
            return Verdict(reason, clean, total, needed, self._causes(mask))
        series = {name: frozen(table[:, k]) for k, (name, _, _) in enumerate(self._columns)}
        return Verdict(
            "", clean, total, needed, self._causes(mask), limits, baselines, mask, series
        )

    def block(
        self, phase: int, name: str, learn: tuple[str, ...], uses: tuple[str, ...], mask: Bool
    ) -> RestBlock:
        """Return the block for whatever is fitted to it; `mask` is the verdict's."""
        return RestBlock(
            phase,
            name,
            learn,
            uses,
            frozen(np.array(self._seq, dtype=np.int64)),
            frozen(np.array(self._gates, dtype=np.int64)),
            frozen(mask),
        )

    def _refused(self, clean: int, needed: int, mask: Bool) -> Verdict:
        causes = self._causes(mask)
        share = 100.0 * clean / self.total if self.total else 0.0
        least = 100.0 * needed / self.total if self.total else 100.0
        main = f" Mostly: {', '.join(list(causes)[:2])}." if causes else ""
        reason = f"Only {share:.0f} % of the baseline was clean, {least:.0f} % is needed.{main}"
        return Verdict(reason, clean, self.total, needed, causes)

    def _causes(self, mask: Bool) -> dict[str, int]:
        """Return unclean points by cause, most frequent first."""
        tally: dict[str, int] = {}
        for kept, live, gate in zip(mask.tolist(), self._clean, self._gates, strict=True):
            if kept:
                continue
            # Open when it happened: either unknown, or beyond the limits learned since.
            for cause in causes_of(gate) or (("relearned",) if live else ("untrusted",)):
                tally[cause] = tally.get(cause, 0) + 1
        return dict(sorted(tally.items(), key=lambda item: (-item[1], item[0])))


_CAUSES: dict[int, tuple[str, ...]] = {}


def causes_of(gate: int) -> tuple[str, ...]:
    """Return the names of the bits in `gate`; remembered, because flag algebra is slow."""
    names = _CAUSES.get(gate)
    if names is None:
        names = _CAUSES[gate] = Gate(gate).causes
    return names
