"""A place inside the head as a target: weights over the sites that favour one region.

The weights are computed once, before a session, by MNE and offline: template electrodes, a
spherical head, a grid of places in the brain, an inverse. What comes out are rows over the sites,
to be used as any other spatial filter (`engine.spatial`).

What is approximated:

* The electrodes are MNE's template of the 10-05 system on the head Colin27 (``colin27_1005``,
  before MNE 1.13 ``standard_1005``). Its coordinates are taken as MNI coordinates, as MNE does;
  the spaces that bear that name differ by a few mm [recalled].
* The head is the four-shell sphere (brain, liquid, skull, scalp; MNE's conductivities) that fits
  the template electrodes best; they lie 4 mm from it on average and are moved onto it, along the
  line to its centre. All electrodes enter, whichever the cap has, so the same place is the same
  place for every cap. Depths are those of the sphere: a real head may differ by a centimetre.
* Every place of the grid may hold a dipole in any direction. Nothing is known of the person.

So the region is a wish, and the numbers of `PointSpread` say how far it is granted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from engine.errors import InputError, MontageError
from engine.frames import Float, frozen
from engine.montage import ALIASES, clean_label, find_site

__all__ = [
    "FEWEST_SITES",
    "REGIONS",
    "Method",
    "PointSpread",
    "Region",
    "SourceWeights",
    "lead_field",
    "source_weights",
]

Method = Literal["eloreta", "lcmv"]

FEWEST_SITES = 19
"""The 10-20 system; fewer sites cannot tell a deep place from its surroundings [recalled]."""

GRID_MM = 8.0
SKULL_MM = 5.0  # the grid keeps this far from the inner shell
# A box around the brain in MNI coordinates [recalled]; below it are face and neck.
BOX_MM = ((-70.0, 70.0), (-105.0, 70.0), (-50.0, 80.0))
SNR = 3.0  # amplitude; lambda² = 1 / SNR², MNE's usual value for averaged data
MOST_ROWS = 3  # a dipole has three directions
FAR_MM = 30.0
_EARS = ("A1", "A2", "M1", "M2")  # no part of the average reference, as in engine.reference


@dataclass(frozen=True, slots=True)
class Region:
    """A ball in the brain.

    Parameters
    ----------
    words : str
        Its name in a sentence.
    centre_mm : tuple of float
        MNI coordinates: to the right, to the front, up.
    radius_mm : float
        Places of the grid up to this far from the centre belong to it.
    """

    words: str
    centre_mm: tuple[float, float, float]
    radius_mm: float


REGIONS: Mapping[str, Region] = MappingProxyType(
    {"pcc": Region("the posterior cingulate cortex", (0.0, -52.0, 26.0), 12.0)}  # [recalled]
)


@dataclass(frozen=True, slots=True)
class PointSpread:
    """How much else the weights read, by the same model that made them.

    The gain of a place is the root mean square, over rows and directions of the dipole, of what
    a dipole there gives through the weights.

    Parameters
    ----------
    fwhm_mm : float
        Full width at half maximum: diameter of a ball as large as all places whose gain is at
        least half of the largest.
    peak_mm : float
        How far from the region's centre the gain is largest.
    region_gain : float
        Root mean square gain in the region, over the largest gain anywhere.
    far_share : float
        Share of the power that would come from beyond 30 mm of the region's centre if all places
        of the brain were equally active and independent.
    """

    fwhm_mm: float
    peak_mm: float
    region_gain: float
    far_share: float


@dataclass(frozen=True, slots=True)
class SourceWeights:
    """Weights over sites for a region.

    Parameters
    ----------
    region : str
        Key of `REGIONS`.
    method : {'eloreta', 'lcmv'}
        The inverse.
    sites : tuple of str
        Sites used, as they were given, in the order of the columns.
    left_out : tuple of str
        Names given that are no place on the scalp of the template: ears and unknown names.
    weights : ndarray, shape (n_rows, n_sites)
        At most three rows, orthogonal, each of unit norm and sum 0. A power taken through them is
        in µV² of a combination of sites of unit norm, not the strength of a source; only its
        changes say something.
    spread : PointSpread
        How much else they read.
    """

    region: str
    method: Method
    sites: tuple[str, ...]
    left_out: tuple[str, ...]
    weights: Float
    spread: PointSpread

    @property
    def warning(self) -> str:
        """The point-spread warning, for the person who reads the numbers."""
        s, words = self.spread, REGIONS[self.region].words
        return (
            f"Point spread: with {len(self.sites)} sites this number is not {words} alone. "
            f"Its full width at half maximum is {s.fwhm_mm / 10.0:.1f} cm; if all of the brain "
            f"were equally active, {100.0 * s.far_share:.0f} % of its power would come from "
            f"beyond {FAR_MM / 10.0:.0f} cm. Its gain is largest {s.peak_mm / 10.0:.1f} cm away, "
            f"and in the region {100.0 * s.region_gain:.0f} % of that. "
            "Computed for a spherical model head, not for this person's."
        )

    def over(self, names: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the rows over other columns, 0 where a column is not used.

        Parameters
        ----------
        names : sequence of str
            Columns, such as the conditioned sites of a montage; aliases do.

        Raises
        ------
        MontageError
            A site that the weights use is not among `names`.
        """
        at = [find_site(s, names) for s in self.sites]
        missing = [s for s, i in zip(self.sites, at, strict=True) if i is None]
        if missing:
            raise MontageError(
                f"the weights for {REGIONS[self.region].words} need {', '.join(missing)}; "
                f"the channels are {', '.join(names)}",
                "compute them for the sites that the stream has",
            )
        table = np.zeros((len(self.weights), len(names)))
        table[:, [i for i in at if i is not None]] = self.weights
        return tuple(tuple(row) for row in table.tolist())


def source_weights(
    sites: Sequence[str], region: str, *, method: Method = "eloreta"
) -> SourceWeights:
    """Return weights over sites that favour a region of the brain.

    The inverse gives, for every place of the region and every direction, a row over the sites.
    The singular value decomposition of all these rows leaves the three combinations of sites that
    carry most of them.

    * ``eloreta``: exact low resolution tomography (Pascual-Marqui 2007), identity noise
      covariance, average reference, free directions.
    * ``lcmv``: the linearly constrained minimum variance beamformer (Van Veen et al. 1997). No
      recording exists yet, so the covariance is that of the model: all places of the grid equally
      active and independent, plus the same noise. It cannot suppress what is active in a person.

    The same sites give the same numbers, to the bit, on one machine: the algebra runs on one
    thread. Results are kept for the life of the process. Takes about 1 s after the first import
    of MNE.

    Parameters
    ----------
    sites : sequence of str
        EEG channels by their 10-20, 10-10 or 10-5 names; aliases (T3 = T7) do.
    region : str
        Key of `REGIONS`.
    method : {'eloreta', 'lcmv'}
        The inverse.

    Raises
    ------
    InputError
        The region or the method does not exist.
    MontageError
        Fewer than 19 sites have a place on the scalp, or two are one place.
    """
    if region not in REGIONS:
        raise InputError(
            f"there is no region {region!r}", f"choose one of: {', '.join(sorted(REGIONS))}"
        )
    if method not in ("eloreta", "lcmv"):
        raise InputError(f"there is no inverse {method!r}", "choose `eloreta` or `lcmv`")
    return _weights(tuple(sites), region, method)


def lead_field(sites: Sequence[str], places_mm: Float) -> Float:
    """Return what dipoles give at the sites, by the model that the weights are made with.

    Parameters
    ----------
    sites : sequence of str
        EEG channels with a place on the scalp.
    places_mm : ndarray, shape (n_places, 3)
        MNI coordinates inside the inner shell.

    Returns
    -------
    ndarray, shape (n_sites, n_places, 3)
        µV per nA m against the average of the sites, for dipoles along the axes of the head: to
        the right ear, to the nose, up.

    Raises
    ------
    InputError
        A place lies outside the inner shell.
    MontageError
        A site has no place on the scalp, or two are one place.
    """
    head = _template()
    used, left_out = _known(sites, head)
    if left_out:
        raise MontageError(
            f"no place on the scalp is known for {', '.join(left_out)}",
            "leave these channels out",
        )
    places_mm = np.asarray(places_mm, float)
    outside = ~_inside(places_mm, head, 0.0)
    if outside.any():
        x, y, z = places_mm[outside][0]
        raise InputError(
            f"the place {x:g}, {y:g}, {z:g} mm lies outside the brain of the model head",
            "give MNI coordinates in mm",
        )
    with _quiet():
        info = _average_reference(tuple(used.values()), head)[0]
        return frozen(_lead_field(_forward(info, places_mm, head)))


# ---------------------------------------------------------------- the model head


@dataclass(frozen=True, slots=True)
class _Head:
    """Template electrodes and the sphere they lie on; metres in MNE's head coordinates."""

    sites_m: Mapping[str, Float]
    mri_to_head: Any
    centre_m: Float
    radius_m: float

    @property
    def inner_m(self) -> float:
        return 0.9 * self.radius_m  # MNE's relative radius of the brain


@lru_cache(maxsize=1)
def _template() -> _Head:
    import mne

    with _quiet():
        names = mne.channels.get_builtin_montages()
        name = next(n for n in ("colin27_1005", "standard_1005") if n in names)
        montage = mne.channels.make_standard_montage(name)  # ships with MNE
        to_head = mne.channels.compute_native_head_t(montage)
        of = {k: v for k, v in montage.get_positions()["ch_pos"].items() if k not in _EARS}
        p = mne.transforms.apply_trans(to_head, np.array(list(of.values())))
        # |p - c|² = r² is linear in c and r² - c². MNE's own fit searches step by step.
        a = np.column_stack([2.0 * p, np.ones(len(p))])
        x = np.linalg.lstsq(a, np.sum(p**2, axis=1), rcond=None)[0]
    centre = x[:3]
    radius = float(np.sqrt(x[3] + centre @ centre))
    # MNE computes the potential where an electrode is told to be, inside the sphere or beyond:
    # unmoved, dipoles under the temples come out up to a quarter too strong.
    out = p - centre
    on_sphere = centre + radius * out / np.linalg.norm(out, axis=1, keepdims=True)
    sites = {name: frozen(place) for name, place in zip(of, on_sphere, strict=True)}
    return _Head(MappingProxyType(sites), to_head, frozen(centre), radius)


def _quiet() -> Any:
    """Return a context without MNE's messages, on one thread: sums of BLAS depend on threads."""
    from contextlib import ExitStack

    import mne
    from threadpoolctl import threadpool_limits

    stack = ExitStack()
    stack.enter_context(threadpool_limits(limits=1))
    stack.enter_context(mne.use_log_level("ERROR"))
    return stack


def _known(sites: Sequence[str], head: _Head) -> tuple[dict[str, str], list[str]]:
    """Return the template's name of each site that has a place, and the other sites."""
    of_template = {name.lower(): name for name in head.sites_m}
    used: dict[str, str] = {}
    left_out = []
    at: dict[tuple[float, ...], str] = {}
    for site in sites:
        clean = clean_label(site)
        names = (clean, ALIASES.get(clean, ""))
        name = next((of_template[n.lower()] for n in names if n.lower() in of_template), None)
        if name is None:
            left_out.append(site)
            continue
        place = tuple(np.round(head.sites_m[name], 6).tolist())
        if place in at:
            raise MontageError(
                f"{at[place]} and {site} are the same place on the scalp",
                "name every electrode once",
            )
        at[place] = site
        used[site] = name
    return used, left_out


def _to_head(places_mm: Float, head: _Head) -> Float:
    import mne

    return np.asarray(mne.transforms.apply_trans(head.mri_to_head, places_mm / 1000.0))


def _inside(places_mm: Float, head: _Head, margin_mm: float) -> Any:
    far = np.linalg.norm(_to_head(places_mm, head) - head.centre_m, axis=1)
    return far < head.inner_m - margin_mm / 1000.0


def _grid(centre_mm: tuple[float, float, float], head: _Head) -> Float:
    """Return the places of the brain, shape (n_places, 3): a cubic grid through the centre."""
    steps = np.arange(-30, 31) * GRID_MM
    axes = (steps + c for c in centre_mm)
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    low, high = np.array(BOX_MM).T
    places = places[np.all((places >= low) & (places <= high), axis=1)]
    return np.asarray(places[_inside(places, head, SKULL_MM)])


def _average_reference(names: Sequence[str], head: _Head) -> tuple[Any, Any]:
    """Return MNE's description of the sites, and one "recording" per site: 1 µV there alone."""
    import mne

    info = mne.create_info(list(names), 1000.0, "eeg")
    each = mne.EvokedArray(np.eye(len(names)) * 1e-6, info, tmin=0.0)
    places = {name: head.sites_m[name] for name in names}
    each.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
    each.set_eeg_reference(projection=True)
    return each.info, each


def _forward(info: Any, places_mm: Float, head: _Head) -> Any:
    import mne

    # In head coordinates, with no transform left to MNE: in MRI coordinates MNE 1.13 looks which
    # places are inside a sphere before it moves them, and drops a third of them.
    rr = _to_head(places_mm, head)
    up = np.tile((0.0, 0.0, 1.0), (len(rr), 1))
    sphere = (*head.centre_m.tolist(), head.inner_m)
    source = mne.setup_volume_source_space(pos={"rr": rr, "nn": up}, sphere=sphere)
    model = mne.make_sphere_model(r0=head.centre_m, head_radius=head.radius_m)
    forward = mne.make_forward_solution(info, None, source, model, meg=False, eeg=True)
    assert forward["nsource"] == len(rr)
    return forward


def _lead_field(forward: Any) -> Float:
    """Return a forward solution in µV per nA m against the average, (n_sites, n_places, 3)."""
    v_per_am = forward["sol"]["data"]
    table = (v_per_am - v_per_am.mean(axis=0)) * 1e-3
    return np.asarray(table.reshape(len(table), -1, 3))


# ---------------------------------------------------------------- the inverse


@lru_cache(maxsize=16)
def _weights(sites: tuple[str, ...], region: str, method: Method) -> SourceWeights:
    head = _template()
    used, left_out = _known(sites, head)
    if len(used) < FEWEST_SITES:
        unknown = f" (no place is known for {', '.join(left_out)})" if left_out else ""
        raise MontageError(
            f"a target in {REGIONS[region].words} needs at least {FEWEST_SITES} EEG sites of the "
            f"10-20 system, and there are {len(used)}{unknown}",
            f"use a cap with {FEWEST_SITES} sites or more (24 are better), or a protocol that "
            "trains at one site",
        )
    names = tuple(used.values())
    ball = REGIONS[region]
    with _quiet():
        places = _grid(ball.centre_mm, head)
        away_mm = np.linalg.norm(places - np.array(ball.centre_mm), axis=1)
        inside = away_mm <= ball.radius_mm + 1e-9
        info, each = _average_reference(names, head)
        forward = _forward(info, places, head)
        field = _lead_field(forward)
        inverse = _eloreta if method == "eloreta" else _lcmv
        kernel = inverse(info, each, forward, field)  # (n_places, 3, n_sites)
        rows = _rows(kernel[inside].reshape(-1, len(names)))
        spread = _spread(rows, field, away_mm, inside)
    return SourceWeights(region, method, tuple(used), tuple(left_out), frozen(rows), spread)


def _eloreta(info: Any, each: Any, forward: Any, _: Float) -> Float:
    from mne.minimum_norm import apply_inverse, make_inverse_operator

    inverse = make_inverse_operator(info, forward, _noise(info), loose=1.0, depth=None)
    found = apply_inverse(each, inverse, 1.0 / SNR**2, "eLORETA", pick_ori="vector")
    return np.asarray(found.data)


def _lcmv(info: Any, each: Any, forward: Any, field: Float) -> Float:
    import mne
    from mne.beamformer import apply_lcmv, make_lcmv

    flat = field.reshape(len(field), -1)
    of_brain = flat @ flat.T
    n = len(flat)
    # As for the minimum norm in MNE: noise of power 1, sources scaled to the same total.
    modelled = of_brain * (n / np.trace(of_brain)) + np.eye(n) / SNR**2
    data = mne.Covariance(modelled * 1e-12, info.ch_names, [], info["projs"], 1)
    filters = make_lcmv(
        info, forward, data, reg=0.0, noise_cov=_noise(info), pick_ori="vector", weight_norm=None
    )
    return np.asarray(apply_lcmv(each, filters).data)


def _noise(info: Any) -> Any:
    """Return the identity as noise covariance, in µV²."""
    import mne

    return mne.make_ad_hoc_cov(info, std={"eeg": 1e-6})


def _rows(kernel: Float) -> Float:
    """Return up to three orthonormal rows that carry most of many rows."""
    # Exactly no constant: an electrode offset of 100 mV must not leak through rounding.
    kernel = kernel - kernel.mean(axis=1, keepdims=True)
    _, values, rows = np.linalg.svd(kernel, full_matrices=False)
    rows = rows[: min(MOST_ROWS, int(np.sum(values > 1e-9 * values[0])))]
    rows = rows - rows.mean(axis=1, keepdims=True)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    largest = np.abs(rows).argmax(axis=1)  # a singular vector's sign is free
    signs = np.sign(rows[np.arange(len(rows)), largest])
    return np.ascontiguousarray(rows * signs[:, None])


def _spread(rows: Float, field: Float, away_mm: Float, inside: Any) -> PointSpread:
    through = np.einsum("rs,spd->rpd", rows, field)
    power = np.mean(through**2, axis=(0, 2))
    top = float(power.max())
    volume_mm3 = float(np.sum(power >= top / 4.0)) * GRID_MM**3  # half of the gain
    return PointSpread(
        fwhm_mm=float(2.0 * np.cbrt(3.0 * volume_mm3 / (4.0 * np.pi))),
        peak_mm=float(away_mm[power.argmax()]),
        region_gain=float(np.sqrt(power[inside].mean() / top)),
        far_share=float(power[away_mm > FAR_MM].sum() / power.sum()),
    )
