"""Parts of a protocol in words, for sentences about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from protocols.load import WIDEST, fits
from protocols.model import Edge, Feature, Level, Protocol, Rule, Threshold

__all__ = [
    "UNITS",
    "band_words",
    "edge_words",
    "feature_words",
    "hz",
    "leaves",
    "level_words",
    "listed",
    "made_for",
    "milliseconds",
    "seconds",
    "success_words",
    "threshold_words",
]

UNITS = {"uV2": "µV²", "uV": "µV", "s": "s", "1/min": "per minute", "1": "", "": ""}
DELAY_S = 0.1  # asked of a fitted filter unless given

COUPLINGS = {
    "coherence": "coherence",
    "imaginary_coherence": "imaginary coherence",
    "plv": "phase locking",
    "wpli": "weighted phase lag index",
    "envelope_correlation": "correlation of the envelopes",
}


def listed(items: Sequence[str], word: str = "and") -> str:
    """Return ``a, b and c``."""
    items = [i for i in items if i]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {word} {items[-1]}"


def hz(band: tuple[float, float]) -> str:
    """Return a band: ``8-12 Hz``."""
    return f"{round(band[0], 2):g}-{round(band[1], 2):g} Hz"


def seconds(s: float) -> str:
    """Return a short time: ``50 ms``, ``0.5 s``."""
    return milliseconds(s) if 0 < s < 0.1 else f"{s:g} s"


def milliseconds(s: float) -> str:
    """Return a delay: ``100 ms``."""
    return f"{s * 1000:g} ms"


def band_words(feature: Feature) -> str:
    """Return where a feature's band lies, also one that follows the individual alpha frequency."""
    if feature.iaf is None:
        return f"in {hz(feature.band_hz)}" if feature.band_hz else ""
    low, high = feature.iaf
    alpha = "the individual alpha frequency"
    if low == 0.0:
        return f"from {alpha} to {_from_alpha(high)} it"
    if high == 0.0:
        return f"from {_from_alpha(low)} {alpha} up to it"
    return f"from {_from_alpha(low)} to {_from_alpha(high)} {alpha}"


def _from_alpha(offset: float) -> str:
    return f"{abs(offset):g} Hz {'above' if offset > 0 else 'below'}"


def feature_words(name: str, feature: Feature, window_s: float | None = None) -> str:
    """Return one feature as a sentence part.

    Parameters
    ----------
    name : str
    feature : Feature
    window_s : float, optional
        Window of the kinds that have one, where the protocol gives none.
    """
    said = _kind_words(feature, feature.window_s or window_s)
    smooth = f", smoothed over {seconds(feature.smooth_s)}" if feature.smooth_s else ""
    return f"{name}: {said}{_spatial(feature)}{smooth}"


def _kind_words(feature: Feature, window_s: float | None) -> str:
    at, of, band = listed(feature.at), feature.of, band_words(feature)
    part = listed(of)
    over = f" over {seconds(window_s)}" if window_s else ""
    mean = "mean " if len(feature.at) > 1 else ""
    if feature.kind in COUPLINGS:
        return (
            f"{COUPLINGS[feature.kind]} {band} between {at}{over}, less what chance gives in "
            "the baseline"
        )
    words = {
        "power": f"{mean}power {band} at {at}",
        "amplitude": f"{mean}amplitude {band} at {at}",
        "relative_power": f"{mean}share of {_bare(band)} in "
        f"{hz(feature.total_hz or (1.0, 40.0))} power at {at}",
        "periodic_power": f"{mean}power {band} above the 1/f background at {at}",
        "ratio": " divided by ".join(of),
        "log_ratio": f"ln {' minus ln '.join(of)}",
        "shrunk_log_ratio": f"ln {' minus ln '.join(of)}, both drawn towards their baseline mean",
        "asymmetry_index": f"amplitude of {' minus that of '.join(of)}, over their sum",
        "share_above": f"share of clean time{over} in which {part} is above zero",
        "burst_rate": f"bursts of {part} in a minute of clean time, counted{over}",
        "burst_duration": f"mean length of the bursts of {part}{over} of clean time",
        "burst_amplitude": f"mean amplitude within the bursts of {part}{over} of clean time",
        "z": f"{part} in robust standard deviations (1.4826 MAD) from its resting median",
        "slow_potential": f"slow potential at {at}: mean{over} minus the mean of the "
        f"{seconds(feature.reference_s or 2.0)} before it",
        "peak_to_peak": f"{'largest ' if mean else ''}peak-to-peak voltage in "
        f"{seconds(window_s or 1.0)} at {at}",
    }
    parts = [band, at and f"at {at}", part and f"of {part}"]
    return words.get(feature.kind, " ".join((feature.kind, *filter(None, parts))))


def _bare(band: str) -> str:
    return band.removeprefix("in ") if band.startswith("in ") else f"the band {band}"


def _spatial(feature: Feature) -> str:
    if feature.spatial is None:
        return ""
    if feature.spatial == "laplacian":
        return ", each site less its neighbours (Laplacian)"
    if feature.spatial == "ssd":
        return (
            ", through a spatial filter fitted to the baseline (spatio-spectral decomposition, SSD)"
        )
    if isinstance(feature.spatial, str):
        return f", through the spatial filter {feature.spatial}"
    weights = listed([f"{site} {weight:+g}" for site, weight in feature.spatial.items()])
    return f", through the weights {weights}"


def leaves(protocol: Protocol, name: str, deep: int = 4) -> Iterator[str]:
    """Yield the features with a filter of their own that a feature is made of; itself, if one."""
    feature = protocol.features.get(name)
    if feature is None or not deep:
        return
    if not feature.of:
        yield name
    for part in feature.of:
        yield from leaves(protocol, part, deep - 1)


def made_for(protocol: Protocol) -> Mapping[str, tuple[str, float, str]]:
    """Return (fit, delay in s, target) of every feature whose band filter is fitted."""
    when = fits(protocol)
    return {
        name: (
            when[name],
            DELAY_S if f.delay_s is None else f.delay_s,
            f.target or "band",
        )
        for name, f in protocol.features.items()
        if when[name] != "fixed" and f.band_hz is not None and f.band_hz[1] <= WIDEST * f.band_hz[0]
    }


def threshold_words(rule: Rule) -> str:
    """Return what a rule compares with."""
    threshold = rule.threshold
    if threshold.method == "fixed":
        return f"{threshold.value:g} {UNITS[threshold.unit]}".strip()
    said = "the value exceeded" if rule.direction == "above" else "the value it stays below"
    return f"{said} during {success_words(threshold)} of clean baseline time"


def success_words(threshold: Threshold) -> str:
    """Return the asked share of success: ``65 %``."""
    return f"{100 * (threshold.success or 0.0):g} %"


def edge_words(edge: Edge) -> str:
    """Return one end of the level."""
    if edge.fixed is not None:
        return f"{edge.fixed:g} {UNITS[edge.unit]}".strip()
    if edge.plus_mad == 0.0:
        return "the resting median"
    sign = "above" if edge.plus_mad > 0 else "below"
    return f"{abs(edge.plus_mad):g} MAD {sign} the resting median"


def level_words(level: Level) -> str:
    """Return how the level is made, as a sentence."""
    return (
        f"The level is 0 at {edge_words(level.start)} of {level.feature} and 1 at "
        f"{edge_words(level.end)}, smoothed over {seconds(level.smooth_s)}."
    )
