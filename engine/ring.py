"""A ring buffer whose every window is contiguous.

Each row is written twice, one length apart, so the last `n` rows are always one slice: no roll,
no copy, and always the same shape and memory layout, which makes sums over a window repeatable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.frames import Bool, Float

__all__ = ["Ring", "column_medians"]


def column_medians(rows: Float) -> Float:
    """Return ``np.median(rows, axis=0)`` of finite rows, several times faster for long columns."""
    columns = np.ascontiguousarray(rows.T)
    half, odd = divmod(columns.shape[1], 2)
    if odd:
        return np.asarray(np.partition(columns, half, axis=1)[:, half])
    parted = np.partition(columns, (half - 1, half), axis=1)
    return np.asarray(0.5 * (parted[:, half - 1] + parted[:, half]))


class Ring:
    """The last `length` rows of `(n_samples, n_channels)` data.

    Parameters
    ----------
    length : int
        Rows kept.
    n_channels : int
        Columns.
    dtype : numpy type
        Of what is kept.
    """

    def __init__(self, length: int, n_channels: int, dtype: DTypeLike = np.float64) -> None:
        if length < 1:
            raise ValueError(f"a ring needs at least one row, got {length}")
        self._length = length
        self._rows: NDArray[Any] = np.zeros((2 * length, n_channels), dtype)
        self._next = 0
        self.filled = 0

    def push(self, rows: Float) -> None:
        """Append rows of shape (n, n_channels); only the last `length` matter."""
        self.filled = min(self._length, self.filled + len(rows))
        if len(rows) > self._length:
            self._next = (self._next + len(rows) - self._length) % self._length
            rows = rows[-self._length :]
        while len(rows):
            n = min(len(rows), self._length - self._next)
            self._rows[self._next : self._next + n] = rows[:n]
            self._rows[self._next + self._length : self._next + self._length + n] = rows[:n]
            self._next = (self._next + n) % self._length
            rows = rows[n:]

    def window(self, length: int | None = None, ago: int = 0) -> NDArray[Any]:
        """Return the last rows, oldest first: a read-only view, valid until `push`.

        Rows never pushed are zero; compare `filled` with the length.

        Parameters
        ----------
        length : int, optional
            How many, all that are kept by default.
        ago : int
            Leave out so many of the newest rows; `length + ago` must not exceed what is kept.
        """
        stop = self._next + self._length - ago
        view = self._rows[stop - (self._length - ago if length is None else length) : stop]
        view.flags.writeable = False
        return view

    def clear(self) -> None:
        """Forget everything."""
        self.filled = 0
        self._rows[:] = 0.0

    def forget(self, columns: Bool) -> None:
        """Set the past of some columns to zero, as if they began now."""
        self._rows[:, columns] = 0.0
