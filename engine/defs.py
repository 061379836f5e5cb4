"""A protocol's features, resolved for the columns of one stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from engine.coupling import window_s
from engine.errors import InputError, MontageError
from engine.features import (
    BURSTS,
    COUPLED,
    DEFAULT_DELAY_S,
    DEFAULT_TOTAL_HZ,
    DEFAULT_WINDOW_S,
    FEATURES,
    LONG_WINDOW_S,
    REFERRED,
    SLOW,
    SLOW_REFERENCE_S,
    SLOW_WINDOW_S,
    FeatureDef,
    FeatureKind,
    is_learned,
    options_of,
)
from engine.frames import StreamSpec
from engine.iaf import POSTERIOR
from engine.montage import find_site
from engine.reference import Montage
from engine.source import REGIONS, source_weights
from engine.spatial import (
    NotPossible,
    given,
    hemisphere,
    laplacian,
    mixes_sides,
    nearest,
    side_of,
)
from protocols.facts import ASYMMETRIES, fits
from protocols.model import Feature, Protocol

__all__ = ["POOL", "beside_sites", "feature_defs", "known_late"]

POOL = 9
"""Channels that a fitted spatial filter may use: the site and its nearest eight."""


def beside_sites(protocol: Protocol, spec: StreamSpec) -> tuple[str, ...]:
    """Return sites that are conditioned, when the stream has them, beside those of `at`.

    Neighbours for spatial filters, posterior sites for the individual alpha frequency.
    """
    names = [c.name for c in spec.channels if c.kind == "eeg"]
    wanted: dict[str, None] = {}
    if any("iaf" in block.uses for block in protocol.baseline):
        wanted.update(dict.fromkeys(s for s in POSTERIOR if find_site(s, names) is not None))
    for name, feature in protocol.features.items():
        for site in feature.at:
            at = find_site(site, names)
            if at is None or feature.spatial is None:
                continue
            if feature.spatial == "laplacian":
                found = laplacian(names[at], names)
                if not isinstance(found, NotPossible):
                    wanted.update(dict.fromkeys(found.neighbours))
            elif isinstance(feature.spatial, str) and feature.spatial in REGIONS:
                wanted.update(dict.fromkeys(names))
            elif feature.spatial == "ssd":
                pool = _pool(names[at], names, _compared(protocol, name))
                wanted.update(dict.fromkeys(names[i] for i in np.flatnonzero(pool)))
        if isinstance(feature.spatial, dict):
            wanted.update(dict.fromkeys(feature.spatial))
    return tuple(wanted)


def _compared(protocol: Protocol, name: str) -> bool:
    """Return whether a feature is one side of an asymmetry."""
    return any(f.kind in ASYMMETRIES and name in f.of for f in protocol.features.values())


def _pool(site: str, names: Sequence[str], one_side: bool) -> np.ndarray:
    """Return the channels that a fitted filter for a site may use.

    Features that compare sides get channels of their own side only: a filter must never mix them.
    """
    usable = np.ones(len(names), bool)
    side = side_of(site)
    if one_side and side in ("left", "right"):
        usable = np.asarray(hemisphere(names, side), bool)
    inside = [n for n, ok in zip(names, usable, strict=True) if ok]
    mask = np.zeros(len(names), bool)
    mask[np.flatnonzero(usable)[np.asarray(nearest(site, inside, POOL), bool)]] = True
    return mask


def feature_defs(
    protocol: Protocol,
    montage: Montage,
    column: Callable[[str], int],
    kinds: Mapping[str, FeatureKind] = FEATURES,
) -> tuple[FeatureDef, ...]:
    """Return the features as the fold needs them.

    Parameters
    ----------
    protocol : Protocol
    montage : Montage
        With the sites of `at` and `beside_sites`.
    column : callable
        Site to column of `Conditioned`.
    kinds : mapping of str to FeatureKind
        The registry of kinds.

    Raises
    ------
    MontageError
        A site is missing, or a spatial filter is not possible there.
    """
    names = list(protocol.features)
    aged = [n for n, f in protocol.features.items() if f.norms is not None and f.norm is None]
    if aged:  # without, it would be compared with the person's own rest in silence
        raise InputError(
            f"`{aged[0]}` is compared with norms, which depend on the person's age.",
            "Give it: --age YEARS",
        )
    fit = fits(protocol)
    spatial = {n: _spatial(n, f, protocol, montage, column) for n, f in protocol.features.items()}
    return tuple(
        FeatureDef(
            name=name,
            kind=f.kind,
            sites=tuple(column(s) for s in f.at),
            of=tuple(names.index(o) for o in f.of),
            band_hz=f.band_hz,
            total_hz=f.total_hz or DEFAULT_TOTAL_HZ,
            smooth_s=f.smooth_s,
            window_s=_window_s(f),
            reference_s=f.reference_s or SLOW_REFERENCE_S,
            iaf=f.iaf,
            delay_s=DEFAULT_DELAY_S if f.delay_s is None else f.delay_s,
            target=f.target or "band",
            fit=fit[name],
            spatial=spatial[name][0],
            weights=spatial[name][1],
            pool=spatial[name][2],
            weights_of=f.weights,
            within=math.nan if f.within is None else f.within,
            norm=f.norm,
            **_computed(kinds.get(f.kind), f.options),
        )
        for name, f in protocol.features.items()
    )


def _computed(kind: FeatureKind | None, given: Mapping[str, float]) -> dict[str, Any]:
    """Return what a kind from another package computes with."""
    if kind is None or kind.make is None:
        return {}
    options = options_of(kind.options, given)
    lag_s = 0.0 if kind.lag_s is None else kind.lag_s(options)
    return {"options": options, "make": kind.make, "lag_s": lag_s, "scale": kind.scale}


def _window_s(f: Feature) -> float:
    if f.window_s is not None:
        return f.window_s
    if f.kind in COUPLED and f.band_hz is not None:
        return window_s(f.band_hz)
    if f.kind in BURSTS or f.kind == "share_above":
        return LONG_WINDOW_S
    return SLOW_WINDOW_S if f.kind in SLOW else DEFAULT_WINDOW_S


def _spatial(
    name: str,
    f: Feature,
    protocol: Protocol,
    montage: Montage,
    column: Callable[[str], int],
) -> tuple[str, tuple[tuple[float, ...], ...], tuple[int, ...]]:
    """Return the kind of a feature's spatial filter, its weights and the columns it may use."""
    if f.spatial is None:
        return "", (), ()
    sites = montage.site_names
    eeg = [s for s, i in zip(sites, montage.sites, strict=True) if montage.is_eeg[i]]
    if isinstance(f.spatial, Mapping):
        row = np.zeros(len(sites))
        for site, weight in f.spatial.items():
            row[column(site)] = weight
        given({s: w for s, w in f.spatial.items()}, eeg)
        return "weights", (tuple(row.tolist()),), ()
    if isinstance(f.spatial, str) and f.spatial in REGIONS:
        return "weights", source_weights(eeg, f.spatial).over(sites), ()
    if f.spatial == "ssd":
        pool: dict[int, None] = {}
        for site in f.at:
            here = sites[column(site)]
            mask = _pool(here, eeg, _compared(protocol, name))
            pool.update(dict.fromkeys(sites.index(eeg[i]) for i in np.flatnonzero(mask)))
        return "ssd", (), tuple(pool)
    rows = []
    for site in f.at:
        here = sites[column(site)]
        found = laplacian(here, eeg)
        if isinstance(found, NotPossible):
            raise MontageError(
                f"{name}: no Laplacian at {here}: {found.reason}",
                "a cap with its neighbours, another site, or leave out `spatial`",
            )
        if _compared(protocol, name) and mixes_sides(found.weights, eeg):
            raise MontageError(
                f"{name}: the Laplacian at {here} would reach the other side of the head "
                f"({', '.join(found.neighbours)}), and `{name}` is compared with that side",
                "a cap with the midline site between them, another site, or leave out `spatial`",
            )
        row = np.zeros(len(sites))
        row[[sites.index(e) for e in eeg]] = found.weights
        rows.append(tuple(row.tolist()))
    return "laplacian", tuple(rows), ()


def known_late(defs: Sequence[FeatureDef], i: int) -> bool:
    """Return whether a feature is known only once something was learned of the baseline.

    Shares over a minute are counted among them: they fill for half of it, which is no fault of the
    baseline.
    """
    d = defs[i]
    if d.kind in BURSTS or (d.kind in REFERRED and is_learned(d)) or d.kind == "share_above":
        return True
    return any(known_late(defs, j) for j in d.of)
