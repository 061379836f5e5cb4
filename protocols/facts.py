"""What follows from a protocol without running it: fits, eyes, bands, what is used by what."""

from __future__ import annotations

from engine.coupling import FLOOR_WINDOWS, window_s
from engine.features import BURSTS, COUPLED, LONG_WINDOW_S
from engine.montage import ALIASES, clean_label
from engine.units import IAF_RANGE_HZ
from protocols.model import Feature, Protocol

__all__ = [
    "ASYMMETRIES",
    "FILL_S",
    "FRONTAL",
    "WIDEST",
    "coupled_s",
    "electrode",
    "eyes_of",
    "fill_s",
    "fits",
    "floor_s",
    "is_wide",
    "side",
    "trained_eyes",
    "unused",
    "used",
    "widest_band",
]

FILL_S = 3.0  # until a filter has filled, when a baseline is read again
WIDEST = 3.0  # upper over lower edge, for a signal with a phase
ASYMMETRIES = ("log_ratio", "shrunk_log_ratio", "asymmetry_index")
FRONTAL = ("fp1", "fp2", "fpz", "af3", "af4", "af7", "af8", "f7", "f8", "f3", "f4", "fz")


def side(site: str) -> str:
    """Return ``left``, ``right``, or nothing for the midline and names without a side."""
    digits = "".join(c for c in site if c.isdigit())
    return "" if not digits else "left" if int(digits) % 2 else "right"


def electrode(site: str) -> str:
    """Return one name for a place, however it is written: ``T3``, ``t3`` and ``T7`` are one."""
    name = clean_label(site)
    return min(name, ALIASES.get(name, name)).casefold()


def coupled_s(feature: Feature) -> float:
    """Return the window of a coupling."""
    if feature.window_s is not None or feature.band_hz is None:
        return feature.window_s or 0.0
    return window_s(feature.band_hz)


def is_wide(feature: Feature) -> bool:
    """Return whether a band is too wide for one narrow filter; around alpha none is."""
    band = feature.band_hz
    return feature.iaf is None and band is not None and band[1] > WIDEST * band[0]


def widest_band(feature: Feature) -> tuple[float, float] | None:
    """Return the band, or every place where a band around an individual alpha may lie."""
    if feature.iaf is None:
        return feature.band_hz
    return IAF_RANGE_HZ[0] + feature.iaf[0], IAF_RANGE_HZ[1] + feature.iaf[1]


def fits(protocol: Protocol) -> dict[str, str]:
    """Return when every feature's filter is fitted: `session`, `course` or `fixed`.

    By default to each session's baseline; `fixed` where nothing is learned from one, and for bands
    too wide for a fitted filter. A feature that
    is compared with a fixed value must read alike in every session: `session` becomes `course`.
    """
    learns = any(b.learn for b in protocol.baseline)
    level = protocol.feedback.level
    lasting = {r.feature for r in protocol.rules if r.threshold.value is not None}
    if any(e is not None and e.fixed is not None for e in (level.start, level.end)):
        lasting.add(level.feature)
    for _ in range(len(protocol.features)):  # parts of parts of parts
        for name in tuple(lasting):
            feature = protocol.features.get(name)
            # A z against the own rest is read anew in each session; against norms it is not.
            if feature is not None and (feature.kind != "z" or feature.norms is not None):
                lasting.update(feature.of)
    out: dict[str, str] = {}
    for name, feature in protocol.features.items():
        fit = feature.fit or ("session" if learns else "fixed")
        if is_wide(feature):
            fit = "fixed"
        out[name] = "course" if fit == "session" and name in lasting else fit
    return out


def trained_eyes(protocol: Protocol) -> set[str]:
    """Return the eye states of the training blocks."""
    return {eyes_of(protocol, s.eyes) for s in protocol.session if s.kind == "train"}


def eyes_of(protocol: Protocol, given: str | None) -> str:
    """Return the eyes of a block: as given, else as in the baseline that learns what is trained."""
    if given is not None:
        return given
    for block in protocol.baseline:
        if protocol.trained in block.learn:
            return block.eyes
    return "open"


def used(protocol: Protocol) -> tuple[str, ...]:
    """Return the features that a rule, the level, a trial or a watch looks at."""
    names = [*(r.feature for r in protocol.rules), protocol.feedback.level.feature]
    names += [protocol.trial.feature] if protocol.trial is not None else []
    watch = protocol.watch
    names += [watch.sleep.theta, watch.sleep.delta] if watch.sleep is not None else []
    names += [watch.crossover.theta, watch.crossover.alpha] if watch.crossover is not None else []
    return tuple(dict.fromkeys(names))


def unused(protocol: Protocol) -> tuple[str, ...]:
    """Return features that nothing looks at and no other feature is made of."""
    seen = {*used(protocol), *(part for f in protocol.features.values() for part in f.of)}
    return tuple(n for n in protocol.features if n not in seen)


def fill_s(protocol: Protocol, name: str, above: tuple[str, ...] = ()) -> float:
    """Return the clean seconds until the windows of a feature and its parts have filled."""
    feature = protocol.features.get(name)
    if feature is None or name in above:
        return 0.0
    own = 0.0
    if feature.kind in BURSTS or feature.kind == "share_above":
        own = (feature.window_s or LONG_WINDOW_S) / 2.0  # known when half is filled
    elif feature.kind in COUPLED:
        own = coupled_s(feature)
    return own + max((fill_s(protocol, n, (*above, name)) for n in feature.of), default=0.0)


def floor_s(protocol: Protocol, name: str, above: tuple[str, ...] = ()) -> float:
    """Return the clean seconds that the chance values of a feature and its parts take."""
    feature = protocol.features.get(name)
    if feature is None or name in above:
        return 0.0
    own = FLOOR_WINDOWS * coupled_s(feature) + FILL_S if feature.kind in COUPLED else 0.0
    return max([own, *(floor_s(protocol, n, (*above, name)) for n in feature.of)])
