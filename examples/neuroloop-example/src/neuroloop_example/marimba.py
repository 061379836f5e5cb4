"""The sound `marimba`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["marimba"]

LASTS_S = 0.6
TONE_HZ = 261.63
# Of a bar that is tuned as marimba bars are: multiple of the tone, weight, decay in seconds.
PARTIALS = ((1.0, 1.0, 0.18), (4.0, 0.25, 0.06), (9.2, 0.08, 0.03))


def marimba(rate_hz: int) -> NDArray[np.float32]:
    """Return one tone, shape ``(n, 2)``, full scale 1."""
    t = np.arange(round(LASTS_S * rate_hz)) / rate_hz
    wave = sum(w * np.sin(2 * np.pi * TONE_HZ * k * t) * np.exp(-t / d) for k, w, d in PARTIALS)
    # Soft ends: 10 ms in, 100 ms out.
    wave *= np.minimum(1.0, t / 0.010) * np.minimum(1.0, (LASTS_S - t) / 0.100)
    wave *= 0.5 / np.abs(wave).max()
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)
