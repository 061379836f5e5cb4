"""The light of every electrode: a signal-quality index from the last second of raw data.

For people only. Decisions never depend on it: the gates have their own branch.

The index (SQI) is a product of factors, each a smooth function of how far a measure ``q`` is
towards its limit: 1 far below it, 0.8 at the limit (``q = 1``), 0.5 at twice the limit, towards 0
beyond::

    factor = 1 / (1 + q^6 / 4) below the limit,  1 / (1 + q^2 / 4) above it

so green (0.8 and more) means that no measure is beyond its limit, nor several close to theirs.
What is no fault of an electrode (muscle, mains, a bridge, being unlike the others) alone takes the
index no lower than 0.55: amber, never red.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
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
LINE_UV = 10.0
GREEN_SQI, AMBER_SQI = 0.8, 0.5
MILD_SQI = 0.55  # the least that what is no fault of the electrode leaves
# Being `alone` does not dim a light: sites of a 10-20 cap need not go along within one second.
UNLIKE: Mapping[str, str] = MappingProxyType(
    {
        "amplitude": "of another size than the rest",
        "noise": "noisier than the rest",
        "spectrum": "of another spectrum than the rest",
        "mains": "mains",
    }
)


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
    sqi : float
        Signal-quality index, 0 to 1: green from 0.8, amber from 0.5; NaN when nothing can be said.
    unlike : tuple of str
        What `engine.badchannels` says of it.
    """

    name: str
    light: Literal["green", "amber", "red"]
    rms_uv: float
    why: str
    flags: Quality = Quality.OK
    sqi: float = math.nan
    unlike: tuple[str, ...] = ()


def _factor(q: Float) -> Float:
    """Return 1 for what is far below its limit (q = 1), 0.8 at it, towards 0 beyond."""
    return np.asarray(1.0 / (1.0 + np.where(q <= 1.0, q**6, q**2) / 4.0))


def assess(
    window_uv: Float,
    names: tuple[str, ...],
    rate_hz: float,
    mains_hz: float | None,
    bad: dict[str, Quality] | None = None,
    unlike: Mapping[str, tuple[str, ...]] | None = None,
) -> tuple[ElectrodeQuality, ...]:
    """Judge every column of a window of raw data.

    Thresholds after the design defaults of Neuroloop's science document, section 4.3: flat, RMS
    2-100 µV in 1-40 Hz, 30-45 Hz over 1-30 Hz below 0.5, mains below 10 times its neighbours or
    10 µV, two electrodes with r > 0.99 are bridged. A least correlation with some neighbour (0.2)
    is not asked for: unrelated 1/f signals reach it by chance within a second, and neighbours of a
    10-20 cap may not.

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
    unlike : mapping, optional
        Reasons per channel from `engine.badchannels`.
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
    ratio, mains = np.zeros(len(names)), np.zeros(len(names))
    if mains_hz is not None and mains_hz + 6.0 < rate_hz / 2.0:
        near = (band(mains_hz - 6, mains_hz - 2) + band(mains_hz + 2, mains_hz + 6)) / 8.0
        mains = np.sqrt(band(mains_hz - 1, mains_hz + 1))
        ratio = mains**2 / 2.0 / np.maximum(near, 1e-12)
    bridged = _bridged(x, names)
    # The measures, each as a share of its limit, with the word for being beyond it.
    measures = (
        (rms / RMS_UV[1], "large: movement or a loose electrode", 0.0),
        (RMS_UV[0] / np.maximum(rms, 1e-6), "very small", MILD_SQI),
        (fast / np.maximum(slow, 1e-12) / HF_RATIO, "muscle or noise", MILD_SQI),
        (
            np.minimum(ratio / LINE_RATIO, mains / LINE_UV),
            "" if mains_hz is None else f"{mains_hz:g} Hz mains",
            MILD_SQI,
        ),
    )
    factors = [np.maximum(_factor(q), least) for q, _, least in measures]
    out = []
    for k, name in enumerate(names):
        flags = (bad or {}).get(name, Quality.OK)
        reasons = (unlike or {}).get(name, ())
        each = [(float(f[k]), word) for f, (_, word, _) in zip(factors, measures, strict=True)]
        if name in bridged:
            each.append((MILD_SQI, f"bridged with {bridged[name]}"))
        each += [(MILD_SQI, UNLIKE[reason]) for reason in reasons if reason in UNLIKE]
        # Muscle on top of mains does not make an electrode bad that size does not make bad.
        sqi = max(math.prod(value for value, _ in each), min(MILD_SQI, each[0][0]))
        light: Literal["green", "amber", "red"] = "red"
        why = _fault(flags, window_uv[:, k])
        if why:
            sqi = 0.0
        elif sqi < AMBER_SQI:
            why = "far too large: loose or moving"
        elif sqi < GREEN_SQI:
            light, why = "amber", min(each)[1]
        else:
            light = "green"
        if ratio[k] > LINE_RATIO:
            flags |= Quality.LINE
        out.append(ElectrodeQuality(name, light, float(rms[k]), why, flags, sqi, reasons))
    return tuple(out)


def _fault(flags: Quality, uv: Float) -> str:
    """Return what makes an electrode useless, empty when nothing does."""
    if flags & Quality.MARKED:
        return "marked bad"
    if flags & Quality.FLAT or uv.std() < FLAT_SD_UV:
        return "flat: no contact or not connected"
    return "at the amplifier's limit" if flags & Quality.RAIL else ""


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
