"""The light of every electrode: a signal-quality index from the last second of raw data.

For people only. Decisions never depend on it: the gates have their own branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.frames import Float, Quality

__all__ = ["ElectrodeQuality", "assess"]

FLAT_SD_UV = 0.5
LEAST_S = 0.5  # less says nothing about 1 Hz, and any two short pieces look alike
RMS_UV = (2.0, 100.0)
HF_RATIO = 0.5  # 30-45 Hz over 1-30 Hz
LINE_RATIO = 10.0  # mains over its neighbours
BRIDGED_R = 0.99
BRIDGE_MIN_UV = 2.0


@dataclass(frozen=True, slots=True)
class ElectrodeQuality:
    """One electrode.

    Parameters
    ----------
    name : str
        Site.
    light : {'green', 'amber', 'red'}
        Green is fit for training.
    rms_uv : float
        RMS of 1-40 Hz.
    why : str
        What is wrong, in words; empty when green.
    flags : Quality
        Bits, `LINE` included.
    """

    name: str
    light: Literal["green", "amber", "red"]
    rms_uv: float
    why: str
    flags: Quality = Quality.OK


def assess(
    window_uv: Float,
    names: tuple[str, ...],
    rate_hz: float,
    mains_hz: float | None,
    bad: dict[str, Quality] | None = None,
) -> tuple[ElectrodeQuality, ...]:
    """Judge every column of a window of raw data.

    Thresholds after the design defaults of Neuroloop's science document, section 4.3: flat, RMS
    2-100 µV in 1-40 Hz, 30-45 Hz over 1-30 Hz below 0.5, mains below 10 times its neighbours,
    two electrodes with r > 0.99 are bridged.

    Parameters
    ----------
    window_uv : ndarray, shape (n_samples, n_channels)
        About one second, contained, as recorded. Below half a second nothing is judged.
    names : tuple of str
        One per column.
    rate_hz : float
        Sampling rate.
    mains_hz : float or None
        Mains frequency when known.
    bad : dict, optional
        What conditioning already knows of a channel.
    """
    n = len(window_uv)
    if n < LEAST_S * rate_hz:
        return tuple(
            ElectrodeQuality(name, "amber", 0.0, "not enough signal yet") for name in names
        )
    x = window_uv - window_uv.mean(axis=0)
    slope = np.linspace(-0.5, 0.5, n)[:, None]
    x = x - slope * ((slope * x).sum(axis=0) / (slope**2).sum())
    taper = np.hanning(n)[:, None]
    power = np.abs(np.fft.rfft(x * taper, axis=0)) ** 2 * 2.0 / (n * (taper**2).sum())
    f = np.fft.rfftfreq(n, 1.0 / rate_hz)

    def band(lo: float, hi: float) -> Float:
        return np.asarray(power[(f >= lo) & (f < hi)].sum(axis=0))

    rms = np.sqrt(band(1.0, 40.0))
    slow, fast = band(1.0, 30.0), band(30.0, min(45.0, 0.45 * rate_hz))
    line = np.zeros(len(names))
    if mains_hz is not None and mains_hz + 6.0 < rate_hz / 2.0:
        near = (band(mains_hz - 6, mains_hz - 2) + band(mains_hz + 2, mains_hz + 6)) / 8.0
        line = band(mains_hz - 1, mains_hz + 1) / 2.0 / np.maximum(near, 1e-12)
    bridged = _bridged(x, names)
    out = []
    for k, name in enumerate(names):
        flags = (bad or {}).get(name, Quality.OK)
        light: Literal["green", "amber", "red"] = "green"
        why = ""
        if flags & Quality.MARKED:
            light, why = "red", "marked bad"
        elif flags & Quality.FLAT or window_uv[:, k].std() < FLAT_SD_UV:
            light, why = "red", "flat: no contact or not connected"
        elif flags & Quality.RAIL:
            light, why = "red", "at the amplifier's limit"
        elif rms[k] > 2.0 * RMS_UV[1]:
            light, why = "red", "far too large: loose or moving"
        elif name in bridged:
            light, why = "amber", f"bridged with {bridged[name]}"
        elif rms[k] > RMS_UV[1]:
            light, why = "amber", "large: movement or a loose electrode"
        elif rms[k] < RMS_UV[0]:
            light, why = "amber", "very small"
        elif slow[k] > 0 and fast[k] / slow[k] > HF_RATIO:
            light, why = "amber", "muscle or noise"
        elif line[k] > LINE_RATIO and np.sqrt(band(mains_hz - 1, mains_hz + 1)[k]) > 10.0:  # type: ignore[operator]
            light, why = "amber", f"{mains_hz:g} Hz mains"
        if line[k] > LINE_RATIO:
            flags |= Quality.LINE
        out.append(ElectrodeQuality(name, light, float(rms[k]), why, flags))
    return tuple(out)


def _bridged(x: Float, names: tuple[str, ...]) -> dict[str, str]:
    """Return electrodes that carry another one's signal."""
    sd = x.std(axis=0)
    alive = np.flatnonzero(sd > BRIDGE_MIN_UV)
    out: dict[str, str] = {}
    if len(alive) < 2:
        return out
    r = np.corrcoef(x[:, alive], rowvar=False)
    for a, b in np.argwhere(np.triu(r > BRIDGED_R, 1)):
        i, j = int(alive[a]), int(alive[b])
        # A shared large disturbance looks alike everywhere; a bridge also has equal size.
        if 0.9 < sd[i] / sd[j] < 1.1:
            out.setdefault(names[i], names[j])
            out.setdefault(names[j], names[i])
    return out
