"""What every benchmark returns: a table, and the machine it was made on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table", "machine", "median_interval"]

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Table:
    """A table of results.

    Parameters
    ----------
    title : str
        What is compared, with its unit.
    columns : tuple of str
        Headings.
    rows : tuple of tuple of str
        Cells, already in words and rounded figures.
    notes : tuple of str
        Sentences below the table: what a reader must know to judge it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table as GitHub Markdown, ending with a line feed."""
        lines = [f"### {self.title}", ""]
        lines.append("| " + " | ".join(self.columns) + " |")
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def machine() -> str:
    """Return one sentence naming processor, cores, system and versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy"))
    return (
        f"Machine: {model}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}."
    )


def median_interval(
    values: NDArray[np.float64], groups: Sequence[str], seed: int = 0
) -> tuple[float, float, float]:
    """Return the median and its 95 % percentile-bootstrap interval.

    Whole groups (one person, one seed) are drawn with replacement: channels of one head are no
    independent witnesses.

    Parameters
    ----------
    values : ndarray, shape (n_cases,)
        One number per case; NaN is left out.
    groups : sequence of str, length n_cases
        The group of each case.
    seed : int
        Of the bootstrap.

    Returns
    -------
    median, low, high : float
        NaN where no case has a number.
    """
    keep = np.isfinite(values)
    values = values[keep]
    labels = np.asarray(groups)[keep]
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    members = [np.flatnonzero(labels == g) for g in dict.fromkeys(labels.tolist())]
    rng = np.random.default_rng(seed)
    medians = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        drawn = rng.integers(len(members), size=len(members))
        medians[k] = np.median(values[np.concatenate([members[i] for i in drawn])])
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)
