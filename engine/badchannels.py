"""Channels that do not look like the others: rules after PREP, over about ten seconds.

For people only, as are the lights: a channel is named with the reasons, and what is done about it
is the operator's decision. Rules and limits (Bigdely-Shamlo et al. 2015, as in pyprep; those marked
* are ours):

============ ================================================================================
reason       a channel is named when
============ ================================================================================
flat         its SD over the window is below 0.5 µV*
amplitude    the robust z of its robust SD among the channels exceeds 5, and it differs from
             their median by more than a factor of 3*
noise        the robust z of its noise (amplitude above 50 Hz, mains left out, over that of 1-50
             Hz) exceeds 5, and it is more than twice the median*
alone        the largest correlation with another channel (1-50 Hz) is below 0.4 in more than 1 %
             of windows of 1 s, and in at least two of them*
spectrum     the robust z of its mean logarithmic power in 1-45 Hz exceeds 3, and it differs from
             their median by more than 6 dB*
============ ================================================================================

With fewer than eight channels there is no crowd to stand out from; the rules are absolute* instead:
robust SD above 100 µV, noise (30-45 Hz over 1-30 Hz, in power) above 0.5, mains above 10 times its
neighbours and 10 µV.

PREP's RANSAC is left out: it predicts each channel from others by their places on the head, which a
stream does not tell, and what it finds beyond `alone` needs minutes of data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.frames import Float

__all__ = ["BadChannelWatch", "bad_channels"]

FEW = 8  # fewer channels are no crowd
LEAST_S = 3.0  # less says nothing that `engine.quality` does not say already
FLAT_SD_UV = 0.5
AMPLITUDE_Z = 5.0
NOISE_Z = 5.0
SPECTRUM_Z = 3.0
DIFFERS = 2.0  # a factor in amplitude by which electrodes differ for no reason
LARGER = 3.0  # and one by which strong alpha makes O1 larger than the rest (EEGBCI S001R02)
ALONE_R, ALONE_SHARE, ALONE_LEAST = 0.4, 0.01, 2
LOUD_UV = 100.0
NOISE_RATIO = 0.5
LINE_RATIO, LINE_UV = 10.0, 10.0
NOISE_FROM_HZ = 50.0
ROBUST = 0.7413  # the interquartile range of a normal distribution to its SD

WATCH_S = 10.0
WATCH_RATE_HZ = 250.0  # what is watched is thinned out to about this


def _z(values: Float) -> Float:
    """Return robust z scores: distance from the median in interquartile ranges x 0.7413."""
    low, centre, high = np.percentile(values, [25.0, 50.0, 75.0])
    return np.asarray((values - centre) / max(ROBUST * (high - low), 1e-12))


def _far(values: Float, limit: float) -> np.ndarray:
    """Return which amplitudes are outliers in z, and by more than a factor that is normal."""
    ratio = values / max(float(np.median(values)), 1e-12)
    return np.asarray((np.abs(_z(values)) > limit) & ((ratio > LARGER) | (ratio < 1.0 / LARGER)))


def bad_channels(
    window_uv: Float, names: tuple[str, ...], rate_hz: float, mains_hz: float | None
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Name the channels that stand out, with the reasons.

    Parameters
    ----------
    window_uv : ndarray, shape (n_samples, n_channels)
        Some ten seconds of EEG, contained, as recorded; not modified. Below 3 s nobody is named.
    names : tuple of str
        One per column.
    rate_hz : float
        Of the window.
    mains_hz : float or None
        Mains frequency when known; both 50 and 60 Hz are left out of noise otherwise.

    Returns
    -------
    tuple of (str, tuple of str)
        In the order of the columns; reasons are ``flat``, ``amplitude``, ``noise``, ``alone``,
        ``spectrum``, ``mains``.
    """
    n, n_channels = window_uv.shape
    if n < LEAST_S * rate_hz or not n_channels:
        return ()
    x = window_uv - window_uv.mean(axis=0)
    flat = x.std(axis=0) < FLAT_SD_UV
    f = np.fft.rfftfreq(n, 1.0 / rate_hz).astype(np.float64)
    slope = np.linspace(-0.5, 0.5, n)[:, None]
    x = x - slope * ((slope * x).sum(axis=0) / (slope**2).sum())
    spectrum = np.fft.rfft(x, axis=0)
    taper = np.hanning(n)[:, None]
    power = np.abs(np.fft.rfft(x * taper, axis=0)) ** 2 * 2.0 / (n * (taper**2).sum())
    clean = np.ones(len(f), bool)
    for mains in (50.0, 60.0) if mains_hz is None else (mains_hz,):
        for k in range(1, int(rate_hz / 2.0 / mains) + 1):
            clean &= np.abs(f - k * mains) > 3.0
    alive = ~flat
    reasons: list[dict[str, np.ndarray]] = [{"flat": flat}]
    if int(alive.sum()) >= FEW:
        reasons.append(_among(spectrum, power, f, clean, alive, n, rate_hz))
    else:
        reasons.append(_alone(x, power, f, mains_hz, rate_hz))
    out = []
    for k, name in enumerate(names):
        why = tuple(r for of in reasons for r, hit in of.items() if hit[k])
        if why:
            out.append((name, ("flat",) if flat[k] else why))
    return tuple(out)


def _among(
    spectrum: np.ndarray,
    power: Float,
    f: Float,
    clean: np.ndarray,
    alive: np.ndarray,
    n: int,
    rate_hz: float,
) -> dict[str, np.ndarray]:
    """Return the reasons that need a crowd."""
    found = {
        reason: np.zeros(len(alive), bool) for reason in ("amplitude", "noise", "alone", "spectrum")
    }
    inside = (f >= 1.0) & (f <= NOISE_FROM_HZ) & clean
    slow = np.fft.irfft(spectrum[:, alive] * inside[:, None], n, axis=0)
    low, high = np.percentile(slow, [25.0, 75.0], axis=0)
    found["amplitude"][alive] = _far(ROBUST * (high - low), AMPLITUDE_Z)
    above = (f > NOISE_FROM_HZ) & (f < 0.45 * rate_hz) & clean
    if above.sum() * f[1] >= 5.0:
        noise = power[above][:, alive].sum(axis=0) / power[inside][:, alive].sum(axis=0)
        noise = np.sqrt(noise)
        found["noise"][alive] = (_z(noise) > NOISE_Z) & (noise > DIFFERS * np.median(noise))
    decibels = 10.0 * np.log10(power[(f >= 1.0) & (f <= 45.0) & clean][:, alive]).mean(axis=0)
    off = np.abs(decibels - np.median(decibels)) > 20.0 * np.log10(DIFFERS)
    found["spectrum"][alive] = (np.abs(_z(decibels)) > SPECTRUM_Z) & off
    found["alone"][alive] = _is_alone(slow, round(rate_hz))
    return found


def _nearest(x: Float) -> Float:
    """Return each channel's largest correlation with another one."""
    x = x - x.mean(axis=0)
    x = x / np.maximum(np.sqrt((x**2).sum(axis=0)), 1e-12)
    r = np.abs(x.T @ x)
    np.fill_diagonal(r, 0.0)
    return np.asarray(r.max(axis=0))


def _is_alone(slow: Float, second: int) -> np.ndarray:
    """Return which channels often go along with no other."""
    windows = len(slow) // second
    best = np.array([_nearest(slow[w * second : (w + 1) * second]) for w in range(windows)])
    low = (best < ALONE_R).sum(axis=0)
    return np.asarray((low > ALONE_SHARE * windows) & (low >= ALONE_LEAST))


def _alone(
    x: Float, power: Float, f: Float, mains_hz: float | None, rate_hz: float
) -> dict[str, np.ndarray]:
    """Return the reasons that hold for a single channel."""

    def band(lo: float, hi: float) -> Float:
        return np.asarray(power[(f >= lo) & (f < hi)].sum(axis=0))

    low, high = np.percentile(x, [25.0, 75.0], axis=0)
    found = {"amplitude": ROBUST * (high - low) > LOUD_UV}
    slow = band(1.0, 30.0)
    found["noise"] = (slow > 0.0) & (band(30.0, min(45.0, 0.45 * rate_hz)) > NOISE_RATIO * slow)
    if mains_hz is not None and mains_hz + 6.0 < rate_hz / 2.0:
        near = (band(mains_hz - 6, mains_hz - 2) + band(mains_hz + 2, mains_hz + 6)) / 8.0
        line = band(mains_hz - 1, mains_hz + 1)
        found["mains"] = (line / 2.0 > LINE_RATIO * near) & (np.sqrt(line) > LINE_UV)
    return found


class BadChannelWatch:
    """Collect ten seconds of raw data, judge them, and begin anew (settings + state + step).

    Parameters
    ----------
    columns : tuple of int
        Which columns of the raw data are EEG.
    names : tuple of str
        Names of those.
    rate_hz, mains_hz
        As in `bad_channels`.
    """

    def __init__(
        self,
        columns: tuple[int, ...],
        names: tuple[str, ...],
        rate_hz: float,
        mains_hz: float | None,
    ) -> None:
        self._columns, self._names = list(columns), names
        self._every = max(1, int(rate_hz // WATCH_RATE_HZ))
        self._rate_hz, self._mains_hz = rate_hz / self._every, mains_hz
        self._parts: list[Float] = []
        self.found: Mapping[str, tuple[str, ...]] = {}

    def step(self, window_uv: Float) -> Mapping[str, tuple[str, ...]]:
        """Take the next stretch of raw data; return the reasons per channel named last.

        Parameters
        ----------
        window_uv : ndarray, shape (n_samples, n_columns)
            Every column, following on the stretch before; a little may be missing or twice.
        """
        whole = len(window_uv) // self._every * self._every
        part = window_uv[:whole, self._columns]
        if self._every > 1:
            part = part.reshape(-1, self._every, len(self._columns)).mean(axis=1)
        self._parts.append(np.array(part))
        if sum(map(len, self._parts)) >= WATCH_S * self._rate_hz:
            window = np.concatenate(self._parts)
            self._parts = []
            self.found = dict(bad_channels(window, self._names, self._rate_hz, self._mains_hz))
        return self.found

    def restart(self) -> None:
        """Forget what was collected (gap)."""
        self._parts = []
