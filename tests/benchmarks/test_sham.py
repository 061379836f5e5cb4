"""Whether a sham can be told by its time; ten minutes with -m slow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.sham import LIMIT_S, compared, deciding, live


def test_the_comparison_is_in_milliseconds() -> None:
    told = compared({"one": np.full(20, 0.002), "two": np.full(20, 0.0025)})
    assert told["real"] == {"n": 20, "p50_ms": 2.0, "p95_ms": 2.0}
    assert told["differ_ms"]["p50_ms"] == pytest.approx(0.5)


def test_both_arms_are_decided_on_the_same_points(tmp_path: Path) -> None:
    costs = deciding(60.0, tmp_path)
    assert len(costs["one"]) == len(costs["two"]) > 300


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_arm_is_told_by_its_time(tmp_path: Path) -> None:
    """B5: medians and 95th percentiles of ten minutes differ by less than 5 ms."""
    ages = compared(live(600.0, tmp_path))
    assert min(ages[kind]["n"] for kind in ("real", "replay_other")) > 8_000
    assert max(ages["differ_ms"].values()) < 1e3 * LIMIT_S, ages
