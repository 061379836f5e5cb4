"""What a recording tells of its filters: how each was made, how well and how late it follows.

The session's events ``fit``, ``iaf``, ``eog_regression`` and ``references`` as values. Events of
other versions leave things unknown; they never raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.coupling import window_s
from engine.features import BURSTS, COUPLED, LONG_WINDOW_S
from engine.frames import Event
from engine.grid import mapping, number, numbers
from engine.measures import Alpha, Filter
from protocols.model import Feature, Protocol

__all__ = ["alpha_of", "delays_s", "filters_of", "references_of"]


def filters_of(events: Iterable[Event]) -> tuple[Filter, ...]:
    """Return the filters that were in force after fitting, in the order of the features."""
    found: dict[tuple[str, tuple[float, float], bool], Filter] = {}
    for event in events:
        made = _filter(event.data) if event.kind == "fit" else None
        if made is not None:
            found[made.feature, made.band_hz, made.beside] = made
    return tuple(found.values())


def _filter(d: Mapping[str, Any]) -> Filter | None:
    name, estimator, band = d.get("feature"), d.get("estimator"), _pair(d.get("band_hz"))
    if not isinstance(name, str) or estimator not in ("wiener", "fixed") or band is None:
        return None
    delays = _curve(d.get("delays_s"))

    def curve(key: str) -> tuple[float, ...]:
        values = _curve(d.get(key))
        return values if len(values) == len(delays) else ()

    spatial = d.get("spatial")
    return Filter(
        feature=name,
        beside=bool(d.get("beside")),
        band_hz=band,
        estimator=str(estimator),
        fit=_text(d.get("fit")),
        reason=_text(d.get("reason")),
        block=_text(d.get("block")),
        target=_text(d.get("target")),
        target_refused=_text(d.get("target_refused")),
        reject_refused=_text(d.get("reject_refused")),
        unknown=_text(d.get("unknown")),
        delay_s=number(d.get("delay_s")),
        best_lag_s=number(d.get("best_lag_s")),
        best_r=number(d.get("best_r")),
        taps_s=number(d.get("taps_s")),
        clean_s=number(d.get("clean_s")),
        reject_hz=number(d.get("reject_hz")),
        reads=numbers(d.get("reads")),
        delays_s=delays,
        limit=curve("limit"),
        expected=curve("expected"),
        measured=curve("measured"),
        spatial=tuple(mapping(s) for s in spatial) if isinstance(spatial, (list, tuple)) else (),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _pair(value: Any) -> tuple[float, float] | None:
    found = _curve(value)
    return (found[0], found[1]) if len(found) == 2 else None


def _curve(value: Any) -> tuple[float, ...]:
    """Return numbers, all of them known; else nothing."""
    if not isinstance(value, (list, tuple)):
        return ()
    known = [x for v in value if (x := number(v)) is not None]
    return tuple(known) if len(known) == len(value) else ()


def alpha_of(events: Iterable[Event], course: Any = None) -> Alpha | None:
    """Return the individual alpha frequency of the session; None when nothing asked for it.

    `course` is what the recording's header tells of an earlier session, which may have found none.
    """
    found = [e.data for e in events if e.kind == "iaf"]
    used = number(found[-1].get("used_hz")) if found else None
    if used is None:
        return None
    d = found[-1]

    def words(key: str) -> tuple[str, ...]:
        value = d.get(key)
        return tuple(str(v) for v in value) if isinstance(value, (list, tuple)) else ()

    return Alpha(
        used_hz=used,
        source=_text(d.get("source")),
        guessed=d.get("source") == "fallback" or bool(_began(course).get("fallback")),
        kind=_text(d.get("kind")),
        paf_hz=number(d.get("paf_hz")),
        cog_hz=number(d.get("cog_hz")),
        band_hz=_pair(d.get("band_hz")),
        n_channels=int(number(d.get("n_channels")) or 0),
        n_given=int(number(d.get("n_given")) or 0),
        low_confidence=bool(d.get("low_confidence")),
        sites=words("sites"),
        dropped=words("dropped"),
        reason=_text(d.get("reason")),
    )


def _began(course: Any) -> Mapping[str, Any]:
    """Return what a course knows of alpha since its first session."""
    return mapping(mapping(course).get("iaf"))


def references_of(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """Return what features were told of the baseline: floors, burst thresholds, medians."""
    found: dict[str, dict[str, float]] = {}
    for event in events:
        if event.kind == "references":
            for name, row in mapping(event.data.get("features")).items():
                found[str(name)] = numbers(row)
    return found


def delays_s(
    stated: Mapping[str, float], filters: Sequence[Filter], protocol: Protocol | None
) -> dict[str, float]:
    """Return how far back each feature speaks of the brain, as the engine states it after fitting.

    A fitted filter's is where it follows best on the baseline, the one asked for where that could
    not be measured; a fixed filter's is its group delay. What is made of other features has the
    longest of theirs, and half its window beyond that where it has one.

    Parameters
    ----------
    stated : mapping of str to float
        Of the recording's header: fixed filters, before anything was fitted.
    filters : sequence of Filter
    protocol : Protocol or None
    """
    out = dict(stated)
    if not filters or protocol is None:
        return out
    made: dict[str, float] = {}
    for f in filters:
        if f.delay_s is not None:
            made[f.feature] = max(made.get(f.feature, 0.0), f.delay_s)
    for f in filters:
        if f.fitted and f.best_lag_s is not None and not f.beside:
            made[f.feature] = f.best_lag_s
    out |= made
    features = protocol.features
    for name, feature in features.items():
        # Those of a band without a fit are in the header, window and all.
        if feature.kind in COUPLED and name in made:
            out[name] += _window_s(feature) / 2.0
    for _ in range(3):  # parts of parts of parts
        for name, feature in features.items():
            if feature.of and all(part in out for part in feature.of):
                long = feature.kind in BURSTS or feature.kind == "share_above"
                window_s = _window_s(feature) if long else 0.0
                out[name] = max(out[part] for part in feature.of) + window_s / 2.0
    return out


def _window_s(feature: Feature) -> float:
    if feature.window_s is not None:
        return feature.window_s
    if feature.kind in COUPLED and feature.band_hz is not None:
        return window_s(feature.band_hz)
    return LONG_WINDOW_S
