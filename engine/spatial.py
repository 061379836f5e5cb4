"""Spatial filters: weights over the conditioned columns, and what is known about them.

A band filter and a spatial filter are both linear, so a weight vector w may be applied to the
complex outputs of the band filters: ``z = sum_c w_c z_c``. Everything here returns such weights.

* Laplacian (Hjorth 1975): a site minus the mean of the sites around it.
* SSD, spatio-spectral decomposition (Nikulin, Nolte and Curio 2011): the weights that make a band
  stand out most from the frequencies beside it, ``C_band w = ratio C_flanks w``. Scaled so that
  the component's pattern, ``a = C_band w / (w' C_band w)``, is 1 at the site of interest: the
  number then reads "µV of this component at that site", and no sign is left open.
* EOG regression (Gratton, Coles and Donchin 1983; Schlögl et al. 2007): ``x - b eog`` with b from
  blinks, rewritten as weights.
* Weights that a user gives.

No filter of these removes delay; it only changes whose signal is filtered.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import eigh
from scipy.signal import butter, sosfiltfilt, sosfreqz

from engine.errors import InputError, MontageError
from engine.frames import Bool, Float, frozen
from engine.montage import ALIASES, clean_label, find_site, is_site

# The one table of neighbours: a Laplacian as a reference and as a filter must not differ.
from engine.reference import _NEIGHBOURS
from engine.wiener import clean_runs

__all__ = [
    "EogFit",
    "Laplacian",
    "NotPossible",
    "Ssd",
    "across",
    "eog_regression",
    "given",
    "hemisphere",
    "laplacian",
    "mixes_sides",
    "nearest",
    "one_sided",
    "position",
    "side_of",
    "ssd",
    "used",
    "without_eog",
]

Side = Literal["left", "right", "midline"]

REACH_DEG = 60.0  # a neighbour further away on the sphere than a 10-20 step and a third is none
APART_DEG = 60.0  # two neighbours in nearly the same direction are one
OPEN_DEG = 210.0  # a wider arc without neighbour: the site is not surrounded
MIN_NEIGHBOURS, MAX_NEIGHBOURS = 3, 4

FLANK_GAP_HZ, FLANK_HZ = 1.0, 2.0  # Nikulin et al. 2011: noise from the bands beside
FILTER_ORDER = 3
GUARD_S = 0.5  # at both ends of a clean run, where a zero-phase filter knows only one side
BLOCK_S = 4.0  # halves for the check are taken in blocks by turns
MIN_RUN_S = 2.0
MIN_CLEAN_S = 20.0
SHRINKAGE = 0.01
RANK_TOLERANCE = 1e-6  # of the largest eigenvalue: an average reference takes one direction away
MIN_RATIO = 2.0  # in the samples fitted to
MIN_HELD_OUT_RATIO = 1.5  # in those left out
MIN_SHARE = 0.5  # of the site's band power, by all that stands out together

MIN_BLINK_S = 4.0  # about ten blinks
MAX_CONDITION = 100.0  # EOG channels more alike than this cannot be told apart


@dataclass(frozen=True, slots=True)
class NotPossible:
    """Why there are no weights, in words."""

    reason: str


# ---------------------------------------------------------------- places

# Angle of the row's midline site from the vertex towards the nose, and of its site 7 or 8 (1 or 2
# in the rows Fp and O) from the nose along the rim of the cap; 10-10 system on a sphere.
_ROWS: Mapping[str, tuple[float, float]] = {
    "Fp": (90.0, 18.0), "AF": (67.5, 36.0), "F": (45.0, 54.0), "FC": (22.5, 72.0),
    "FT": (22.5, 72.0), "C": (0.0, 90.0), "T": (0.0, 90.0), "CP": (-22.5, 108.0),
    "TP": (-22.5, 108.0), "P": (-45.0, 126.0), "PO": (-67.5, 144.0), "O": (-90.0, 162.0),
}  # fmt: skip
_RIM_ONLY = ("Fp", "O")
_SITE = re.compile(r"([A-Za-z]+?)(z|10|[1-9])")


def _parts(name: str) -> tuple[str, int] | None:
    """Return row and column (0 = z) of a site, under its 10-10 name."""
    clean = clean_label(name)
    match = _SITE.fullmatch(clean) if is_site(clean) else None
    if match is None:
        return None
    if match[1] == "T" and match[2] in "3456":  # the names of 1958
        return _parts(ALIASES[clean])
    return match[1], 0 if match[2] == "z" else int(match[2])


def side_of(name: str) -> Side | None:
    """Return on which side a site lies: odd left, even right, z midline; None where unknown.

    Examples
    --------
    >>> [side_of(x) for x in ("F3", "FC4", "Pz", "M1", "HEOG", "ch7")]
    ['left', 'right', 'midline', 'left', None, None]
    """
    parts = _parts(name)
    if parts is None:
        return None
    if parts[1] == 0:
        return "midline"
    return "left" if parts[1] % 2 else "right"


def position(name: str) -> Float | None:
    """Return the idealised place of a 10-10 site on the unit sphere.

    Every row is the circle through its midline site and its two sites on the rim of the cap,
    divided evenly.

    Parameters
    ----------
    name : str
        Rows Fp to O, columns z to 8 (9 and 10 lie below the rim, where references are).

    Returns
    -------
    ndarray, shape (3,), or None
        x to the right ear, y to the nose, z up.
    """
    parts = _parts(name)
    if parts is None or parts[0] not in _ROWS:
        return None
    row, number = parts
    of_rim = 1 if row in ("Fp", "O") else 4
    steps = (number + 1) // 2
    if steps > of_rim:
        return None
    up, along = (math.radians(a) for a in _ROWS[row])
    middle = np.array([0.0, math.sin(up), math.cos(up)])
    rim = np.array([math.sin(along), math.cos(along), 0.0])
    normal = np.cross(rim - middle, rim * (-1.0, 1.0, 1.0) - middle)
    normal /= np.linalg.norm(normal)
    centre = (normal @ middle) * normal
    radius = float(np.linalg.norm(middle - centre))
    arc = math.acos(float((rim - centre) @ (middle - centre)) / radius**2) * steps / of_rim
    out: Float = centre + math.cos(arc) * (middle - centre)
    out[0] += (-1.0 if number % 2 else 1.0) * radius * math.sin(arc)
    return out


def nearest(site: str, names: Sequence[str], n: int) -> Bool:
    """Return which `n` channels lie nearest to a site, itself included, shape (n_channels,).

    Channels without a known place are never among them.

    Raises
    ------
    MontageError
        The site is not among `names`, or its place is unknown.
    """
    at = _at(site, names)
    here = position(names[at])
    if here is None:
        raise MontageError(
            f"{site} has no place of the 10-10 system, so nothing is near it",
            "name the sites in the room under `channels:`",
        )
    places = [position(name) for name in names]
    far = [math.inf if q is None else _angle_deg(here, q) for q in places]
    mask = np.zeros(len(names), bool)
    for i in sorted(range(len(names)), key=lambda i: (round(far[i], 6), i))[:n]:
        mask[i] = math.isfinite(far[i])
    return mask


def _at(site: str, names: Sequence[str]) -> int:
    at = find_site(site, names)
    if at is None:
        raise MontageError(
            f"a spatial filter needs {site}; the channels are {', '.join(names)}",
            "choose one of these sites",
        )
    return at


def _angle_deg(p: Float, q: Float) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, float(p @ q)))))


# ---------------------------------------------------------------- Laplacian


@dataclass(frozen=True, slots=True)
class Laplacian:
    """A site minus the mean of its neighbours.

    Parameters
    ----------
    weights : ndarray, shape (n_channels,)
        1 at the site, -1/k at each of k neighbours, else 0: they sum to 0.
    neighbours : tuple of str
        Names of the channels subtracted.
    """

    weights: Float
    neighbours: tuple[str, ...]


def laplacian(site: str, names: Sequence[str]) -> Laplacian | NotPossible:
    """Return the Laplacian at a site (Hjorth 1975).

    The neighbours are those that `engine.reference` uses where the stream has them all (on a
    dense cap the "large" Laplacian, which suits widespread rhythms better; McFarland et al. 1997).
    Otherwise the nearest channels in different directions are taken: at least 3, within 60 degrees
    on the sphere, at least 60 degrees apart, and no arc of more than 210 degrees left open.

    Parameters
    ----------
    site : str
        Where.
    names : sequence of str
        Conditioned channels in column order.

    Raises
    ------
    MontageError
        The site is not among `names`.
    """
    at = _at(site, names)
    table = _NEIGHBOURS.get(clean_label(names[at]), ())
    found = [find_site(s, names) for s in table]
    near = [i for i in found if i is not None]
    if not table or len(near) < len(table):
        around = _around(at, names)
        if isinstance(around, NotPossible):
            return around
        near = around
    weights = np.zeros(len(names))
    weights[at] = 1.0
    weights[near] = -1.0 / len(near)
    return Laplacian(frozen(weights), tuple(names[i] for i in near))


def _around(at: int, names: Sequence[str]) -> list[int] | NotPossible:
    """Return the nearest channels around one, in different directions as seen from above."""
    here = position(names[at])
    if here is None:
        return NotPossible(f"{names[at]} has no place of the 10-10 system")
    candidates = []
    for i, name in enumerate(names):
        place = position(name)
        if place is not None and i != at:
            far = _angle_deg(here, place)
            if far <= REACH_DEG:
                dx, dy = _from_above(place) - _from_above(here)
                candidates.append((round(far, 6), i, math.degrees(math.atan2(dy, dx))))
    chosen: list[tuple[int, float]] = []
    for _, i, bearing in sorted(candidates):
        if all(abs((bearing - b + 180.0) % 360.0 - 180.0) >= APART_DEG for _, b in chosen):
            chosen.append((i, bearing))
    chosen = chosen[:MAX_NEIGHBOURS]
    if len(chosen) < MIN_NEIGHBOURS:
        return NotPossible(
            f"{names[at]} has {len(chosen)} neighbours in different directions, "
            f"a Laplacian needs {MIN_NEIGHBOURS}"
        )
    bearings = sorted(b for _, b in chosen)
    arcs = np.diff([*bearings, bearings[0] + 360.0])
    if float(arcs.max()) > OPEN_DEG:
        return NotPossible(f"{names[at]} has neighbours on one side only")
    return [i for i, _ in chosen]


def _from_above(place: Float) -> Float:
    """Return the place on a map whose distance from the vertex is the angle from it."""
    flat = float(np.hypot(place[0], place[1]))
    return np.zeros(2) if flat < 1e-9 else place[:2] / flat * math.acos(float(place[2]))


# ---------------------------------------------------------------- what weights reach


def used(weights: Float, names: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that enter a filter: one bad one among them spoils its number."""
    return tuple(n for n, w in zip(names, weights, strict=True) if w != 0.0)


def across(weights: Float, names: Sequence[str], side: Side) -> tuple[str, ...]:
    """Return the channels that enter a filter although they are not known to be on `side`.

    The midline belongs to neither side and to both; it is never reported.
    """
    return tuple(n for n in used(weights, names) if side_of(n) not in (side, "midline"))


def one_sided(weights: Float, names: Sequence[str], side: Side) -> bool:
    """Return whether a filter reads only one side (and the midline)."""
    return not across(weights, names, side)


def mixes_sides(weights: Float, names: Sequence[str]) -> bool:
    """Return whether a filter reads both left and right; a channel of unknown place may be any."""
    return bool(across(weights, names, "left")) and bool(across(weights, names, "right"))


def hemisphere(names: Sequence[str], side: Side, *, midline: bool = False) -> Bool:
    """Return which channels lie on a side, shape (n_channels,), for the `allowed` of `ssd`."""
    wanted = (side, "midline") if midline else (side,)
    return np.array([side_of(n) in wanted for n in names], bool)


def given(weights: Mapping[str, float], names: Sequence[str]) -> Float:
    """Return weights that a user wrote, by site, as a vector over the channels.

    Parameters
    ----------
    weights : mapping of str to float
        Site to weight; sites not named get 0.
    names : sequence of str
        Conditioned channels in column order.

    Returns
    -------
    ndarray, shape (n_channels,)

    Raises
    ------
    InputError
        There is no weight but 0, a weight is not a finite number, or two names are one channel.
    MontageError
        A site is not among `names`.
    """
    out = np.zeros(len(names))
    seen: dict[int, str] = {}
    for site, weight in weights.items():
        at = _at(site, names)
        if at in seen:
            raise InputError(
                f"the weights {seen[at]} and {site} are for the same channel {names[at]}",
                "keep one of them",
            )
        if not math.isfinite(weight):
            raise InputError(f"the weight of {site} is {weight}", "write a number, such as -0.25")
        seen[at] = site
        out[at] = weight
    if not out.any():
        raise InputError(
            "the spatial filter has no weight other than 0",
            "give at least one site a weight, for example `Cz: 1`",
        )
    return frozen(out)


# ---------------------------------------------------------------- SSD


@dataclass(frozen=True, slots=True)
class Ssd:
    """Components of one band that reach a site, the one that explains most of it first.

    Parameters
    ----------
    weights : ndarray, shape (n_channels, k)
        Each scaled so that its pattern is 1 at the site.
    patterns : ndarray, shape (n_channels, k)
        How the component appears at every channel, relative to the site.
    ratios : ndarray, shape (k,)
        Band density over flank density, in the samples fitted to.
    shares : ndarray, shape (k,)
        Part of the site's band power that the component explains.
    held_out_ratio : float
        The lower ratio of two fits to half of the samples, each measured on the other half.
    clean_s : float
        Seconds fitted to.
    """

    weights: Float
    patterns: Float
    ratios: Float
    shares: Float
    held_out_ratio: float
    clean_s: float

    @property
    def component(self) -> Float:
        """The weights of the component chosen, shape (n_channels,): one source, in the site's µV.

        On real heads it is not quite the site any more (`benchmarks.spatial`).
        """
        return np.asarray(self.weights[:, 0])

    @property
    def denoised(self) -> Float:
        """Weights that rebuild the site from all components that stand out, shape (n_channels,).

        The low-rank form (Nikulin et al. 2011): other rhythms of the band at the site stay in, so
        it reads the site still. In simulated heads its gain is steadier than that of one
        component, which may be another source of the band (`benchmarks.spatial`).
        """
        return np.asarray(self.weights.sum(axis=1))


def ssd(
    uv: Float,
    clean: Bool,
    rate_hz: float,
    band_hz: tuple[float, float],
    *,
    site: str,
    names: Sequence[str],
    allowed: Bool | None = None,
    shrinkage: float = SHRINKAGE,
) -> Ssd | NotPossible:
    """Fit a spatio-spectral decomposition to a baseline (Nikulin, Nolte and Curio 2011).

    The band against the 2 Hz beginning 1 Hz beside it on both sides, zero-phase Butterworth
    filters within each clean run, half a second left out at its ends. The flanks' covariance is
    shrunk, ``(1 - s) C + s tr(C)/rank I``, within the directions that carry signal (an average
    reference leaves one out). Components count from a ratio of 2 on. Refused when together they
    explain less than half of the site's band power (measured: the site's own rhythm is then
    easily among what is left out), or when the first one has a ratio below 1.5 in samples it was
    not fitted to. The one that explains most of the site's power comes first.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
        Conditioned, in µV; finite where clean.
    clean : ndarray of bool, shape (n_samples,)
        Samples that may be used.
    rate_hz : float
        Sampling rate.
    band_hz : tuple of float
        Edges in Hz.
    site : str
        The site whose rhythm is wanted.
    names : sequence of str
        Channels in column order.
    allowed : ndarray of bool, shape (n_channels,), optional
        Channels that may get weight (`hemisphere`, `nearest`), all by default.
    shrinkage : float
        s above, 0 to 1.

    Raises
    ------
    MontageError
        The site is not among `names`.
    ValueError
        The site is not allowed, shapes do not fit, or the band reaches half the rate.
    """
    at = _at(site, names)
    mask = np.ones(len(names), bool) if allowed is None else np.asarray(allowed, bool)
    if uv.shape[1] != len(names) or mask.shape != (len(names),) or len(clean) != len(uv):
        raise ValueError("uv, clean, names and allowed must describe the same samples and channels")
    if not mask[at]:
        raise ValueError(f"{site} itself must be allowed")
    columns = np.flatnonzero(mask)
    if len(columns) < 2:
        return NotPossible("there is only one channel")
    flanks = _flanks(band_hz, rate_hz)
    if not flanks:
        return NotPossible(f"there is no room beside {band_hz[0]:g}-{band_hz[1]:g} Hz")
    x = uv[:, columns]
    halves, clean_s = _covariances(x, clean, rate_hz, band_hz, flanks)
    if clean_s < MIN_CLEAN_S:
        return NotPossible(
            f"{clean_s:.0f} s of clean signal in runs of {MIN_RUN_S:g} s, "
            f"a fit needs {MIN_CLEAN_S:g} s"
        )
    here = int(np.searchsorted(columns, at))
    band, beside = halves.mean(axis=0)
    w, ratios = _decompose(band, beside, shrinkage)
    if not len(ratios) or ratios[0] < MIN_RATIO:
        best = ratios[0] if len(ratios) else math.nan
        return NotPossible(
            f"nothing stands out of the bands beside (best ratio {best:.2f}, needed {MIN_RATIO:g})"
        )
    out = ratios >= MIN_RATIO
    w, ratios = w[:, out], ratios[out]
    w, shares = _to_site(w, band, here)
    order = np.argsort(-shares, kind="stable")
    w, shares, ratios = w[:, order], shares[order], ratios[order]
    if shares.sum() < MIN_SHARE:
        return NotPossible(
            f"what stands out makes only {shares.sum():.0%} of the band's power at {site}, "
            f"needed {MIN_SHARE:.0%}"
        )
    held_out = min(_held_out(halves[h], halves[1 - h], shrinkage, here) for h in (0, 1))
    if not held_out >= MIN_HELD_OUT_RATIO:
        return NotPossible(
            f"the component does not hold in samples left out (ratio {held_out:.2f}, "
            f"needed {MIN_HELD_OUT_RATIO:g})"
        )
    weights = np.zeros((len(names), w.shape[1]))
    weights[columns] = w
    power = np.einsum("ck,cd,dk->k", w, band, w)
    patterns = np.full((len(names), w.shape[1]), np.nan)
    patterns[columns] = band @ w / power
    return Ssd(frozen(weights), frozen(patterns), frozen(ratios), frozen(shares), held_out, clean_s)


def _flanks(band_hz: tuple[float, float], rate_hz: float) -> list[tuple[float, float]]:
    lo, hi = band_hz
    below = (max(lo - FLANK_GAP_HZ - FLANK_HZ, 0.5), lo - FLANK_GAP_HZ)
    above = (hi + FLANK_GAP_HZ, hi + FLANK_GAP_HZ + FLANK_HZ)
    found = [below] if below[1] - below[0] >= 1.0 else []
    return [*found, above] if above[1] < 0.45 * rate_hz else found


def _covariances(
    x: Float,
    clean: Bool,
    rate_hz: float,
    band_hz: tuple[float, float],
    flanks: Sequence[tuple[float, float]],
) -> tuple[Float, float]:
    """Return densities per Hz, shape (half, band or flanks, channel, channel), and seconds."""
    guard, block = round(GUARD_S * rate_hz), round(BLOCK_S * rate_hz)
    bands = [band_hz, *flanks]
    filters = [butter(FILTER_ORDER, b, "bandpass", fs=rate_hz, output="sos") for b in bands]
    widths = [_width_hz(sos, rate_hz) for sos in filters]
    sums = np.zeros((2, len(bands), x.shape[1], x.shape[1]))
    counts = np.zeros(2, int)
    for start, stop in clean_runs(clean):
        kept = stop - start - 2 * guard
        if stop - start < MIN_RUN_S * rate_hz or kept < 1:
            continue
        half = (np.arange(counts.sum(), counts.sum() + kept) // block) % 2
        for k, sos in enumerate(filters):
            run = x[start:stop] - x[start:stop].mean(axis=0)
            y = sosfiltfilt(sos, run, axis=0)[guard : guard + kept]
            for h in (0, 1):
                sums[h, k] += y[half == h].T @ y[half == h] / widths[k]
        counts += np.bincount(half, minlength=2)
    each = sums / np.maximum(counts, 1)[:, None, None, None]
    both = np.stack([each[:, 0], each[:, 1:].mean(axis=1)], axis=1)
    return both, float(counts.sum() / rate_hz)


def _width_hz(sos: np.ndarray, rate_hz: float) -> float:
    """Return the bandwidth of white noise that a filter run both ways lets through."""
    f, h = sosfreqz(sos, 8192, fs=rate_hz)
    return float((np.abs(h) ** 4).sum() * (f[1] - f[0]))


def _decompose(band: Float, beside: Float, shrinkage: float) -> tuple[Float, Float]:
    """Return weights (n_channels, k) of generalised eigenvectors and ratios, largest first."""
    values, vectors = np.linalg.eigh(band + beside)
    carries = values > RANK_TOLERANCE * values[-1]
    if values[-1] <= 0.0:
        return np.zeros((len(band), 0)), np.zeros(0)
    # In whitened directions all channels' units are alike, and what carries nothing is left out.
    basis = vectors[:, carries]
    noise = basis.T @ beside @ basis
    level = float(np.trace(noise)) / len(noise)
    noise = (1.0 - shrinkage) * noise + shrinkage * level * np.eye(len(noise))
    _, w = eigh(basis.T @ band @ basis, noise)
    w = basis @ w[:, ::-1]
    plain = np.einsum("ck,cd,dk->k", w, band, w) / np.einsum("ck,cd,dk->k", w, beside, w)
    order = np.argsort(-plain, kind="stable")
    return w[:, order], plain[order]


def _to_site(w: Float, band: Float, here: int) -> tuple[Float, Float]:
    """Return weights scaled to pattern 1 at the site, and the share of its power explained.

    With a = C w / (w' C w), w a[site] has the pattern a / a[site]; neither knows w's own sign or
    scale.
    """
    power = np.einsum("ck,cd,dk->k", w, band, w)
    at_site = (band[here] @ w) / power
    return w * at_site, at_site**2 * power / band[here, here]


def _held_out(fit: Float, test: Float, shrinkage: float, here: int) -> float:
    """Return the chosen component's ratio in samples it was not fitted to."""
    w, ratios = _decompose(fit[0], fit[1], shrinkage)
    w = w[:, ratios >= MIN_RATIO]
    if not w.shape[1]:
        return 0.0
    w, shares = _to_site(w, fit[0], here)
    best = w[:, int(np.argmax(shares))]
    return float((best @ test[0] @ best) / (best @ test[1] @ best))


# ---------------------------------------------------------------- EOG regression


@dataclass(frozen=True, slots=True)
class EogFit:
    """How much of each EOG channel reaches each channel.

    Parameters
    ----------
    coefficients : ndarray, shape (n_eog, n_channels)
        b in ``x - b eog``.
    blink_s : float
        Seconds fitted to.
    explained : ndarray, shape (n_channels,)
        Part of each channel's variance around blinks that goes; NaN where there is none.
    """

    coefficients: Float
    blink_s: float
    explained: Float


def eog_regression(
    uv: Float, eog_uv: Float, around_blinks: Bool, rate_hz: float
) -> EogFit | NotPossible:
    """Fit how blinks reach the channels by least squares (Gratton et al. 1983).

    Only samples around blinks count: there the eye is much stronger than the brain that the EOG
    electrodes see as well (Schlögl et al. 2007). Each run of them is centred on its own mean.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_channels)
        Conditioned, in µV; the EOG channels may be among them.
    eog_uv : ndarray, shape (n_samples,) or (n_samples, n_eog)
        EOG, or Fp1 and Fp2 in their place.
    around_blinks : ndarray of bool, shape (n_samples,)
        Samples of blinks, their flanks included (about 0.2 s before to 0.4 s after).
    rate_hz : float
        Sampling rate.

    Returns
    -------
    EogFit or NotPossible
        The latter below 4 s of blinks, or when the EOG channels cannot be told apart.
    """
    eog = eog_uv[:, None] if eog_uv.ndim == 1 else eog_uv
    if not len(uv) == len(eog) == len(around_blinks):
        raise ValueError("uv, eog_uv and around_blinks must have the same number of samples")
    blink_s = float(np.count_nonzero(around_blinks) / rate_hz)
    if blink_s < MIN_BLINK_S:
        return NotPossible(f"{blink_s:.1f} s of blinks, a fit needs {MIN_BLINK_S:g} s")
    runs = clean_runs(np.asarray(around_blinks, bool))
    x = np.concatenate([uv[a:b] - uv[a:b].mean(axis=0) for a, b in runs])
    e = np.concatenate([eog[a:b] - eog[a:b].mean(axis=0) for a, b in runs])
    strength = np.linalg.svd(e, compute_uv=False)
    if not strength[-1] * MAX_CONDITION > strength[0]:
        return NotPossible(
            "the EOG channels are too alike to be told apart, or one of them is silent"
        )
    b = np.linalg.lstsq(e, x, rcond=None)[0]
    total = (x**2).sum(axis=0)
    left = ((x - e @ b) ** 2).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = np.where(total > 0.0, 1.0 - left / total, np.nan)
    return EogFit(frozen(b), blink_s, frozen(explained))


def without_eog(weights: Float, coefficients: Float, eog_at: Sequence[int]) -> Float:
    """Return weights that read ``w' (x - b eog)`` from the columns themselves.

    Parameters
    ----------
    weights : ndarray, shape (n_channels,)
        A filter; a single site is 1 there and 0 elsewhere.
    coefficients : ndarray, shape (n_eog, n_channels)
        Of `eog_regression`.
    eog_at : sequence of int
        Columns of the EOG channels, in the order of the coefficients.
    """
    out = np.array(weights, dtype=np.float64)
    for row, at in zip(coefficients, eog_at, strict=True):
        out[at] -= float(row @ weights)
    return frozen(out)
