"""The ring: any window is one contiguous slice and depends only on what was pushed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.ring import Ring


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 12), st.lists(st.integers(0, 30), max_size=12))
def test_window_holds_the_last_rows_however_they_came(length: int, sizes: list[int]) -> None:
    ring, rows = Ring(length, 2), np.zeros((0, 2))
    for n in sizes:
        new = np.arange(2.0 * n).reshape(n, 2) + 100.0 * len(rows)
        rows = np.concatenate([rows, new])
        ring.push(new)
        assert ring.filled == min(length, len(rows))
        kept = rows[-length:] if len(rows) else rows
        assert np.array_equal(ring.window()[length - len(kept) :], kept)
        assert not ring.window()[: length - len(kept)].any()


def test_window_is_a_contiguous_read_only_view() -> None:
    ring = Ring(5, 3)
    ring.push(np.ones((7, 3)))
    window = ring.window()
    assert window.shape == (5, 3)
    assert window.flags.c_contiguous
    with pytest.raises(ValueError, match="read-only"):
        window[0, 0] = 1.0
    assert np.shares_memory(window, ring.window())


def test_pushing_does_not_touch_the_rows_and_takes_read_only_ones() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    rows.flags.writeable = False
    ring = Ring(4, 2)
    ring.push(rows)
    assert np.array_equal(rows, np.arange(12.0).reshape(6, 2))
    assert np.array_equal(ring.window(), rows[2:])


def test_clear_forgets() -> None:
    ring = Ring(3, 1)
    ring.push(np.ones((3, 1)))
    ring.clear()
    assert ring.filled == 0
    ring.push(np.full((1, 1), 5.0))
    assert ring.filled == 1
    assert ring.window()[-1, 0] == 5.0


def test_a_ring_needs_room() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Ring(0, 1)
