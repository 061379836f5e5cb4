"""The registry of features: what can be measured, as data.

This module imports neither SciPy nor MNE, so that a protocol can be checked at once. The numbers
themselves come from `engine.estimate` and `engine.bank`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

__all__ = [
    "BAND_POWERS",
    "BURSTS",
    "COUPLED",
    "DEFAULT_DELAY_S",
    "DEFAULT_TOTAL_HZ",
    "DEFAULT_WINDOW_S",
    "FEATURES",
    "LONG_WINDOW_S",
    "ONE_OR_MORE",
    "OPTION_UNITS",
    "REFERRED",
    "SLOW",
    "SLOW_REFERENCE_S",
    "SLOW_WINDOW_S",
    "TWO_OR_MORE",
    "Computation",
    "FeatureDef",
    "FeatureKind",
    "MakeFeature",
    "Option",
    "in_order",
    "is_learned",
    "nominal_delay_s",
    "options_of",
    "scale_of",
    "wide_orders",
]

DEFAULT_TOTAL_HZ = (1.0, 40.0)
DEFAULT_WINDOW_S = 1.0
DEFAULT_DELAY_S = 0.1

Scale = Literal["ln", "linear"]

TWO_OR_MORE, ONE_OR_MORE = -1, -2
"""`FeatureKind.n_parts` of kinds that are made of any number of features."""
OPTION_UNITS = ("1", "%", "s", "Hz", "uV", "uV2")


@dataclass(frozen=True, slots=True)
class Option:
    """One number that a protocol may set for a kind from another package, under `with:`.

    Parameters
    ----------
    default : float
        Where the protocol says nothing.
    low, high : float
        The smallest and the largest value that is accepted.
    unit : str
        One of `OPTION_UNITS`: how it is written in YAML. ``1`` is a bare number, ``%`` a share
        that is written ``65 %`` and arrives as 0.65.
    doc : str
        One sentence.
    """

    default: float
    low: float
    high: float
    unit: str
    doc: str


def options_of(known: Mapping[str, Option], given: Mapping[str, float]) -> dict[str, float]:
    """Return every option's value: as given, else its default.

    Raises
    ------
    ValueError
        One that is not known, or out of range. Checked protocols hold none.
    """
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no option {name}")
        if not known[name].low <= value <= known[name].high:
            raise ValueError(
                f"{name} is {value:g}, not {known[name].low:g} to {known[name].high:g}"
            )
    return {name: float(given.get(name, o.default)) for name, o in known.items()}


class Computation(Protocol):
    """What computes a feature from others: state, and one step per grid point.

    Its state depends on nothing but the steps taken, or a replay would not give the same numbers.
    """

    def step(self, values: tuple[float, ...]) -> float:
        """Return the feature at one clean grid point; NaN where it is not known.

        Parameters
        ----------
        values : tuple of float
            The features of `of`, in their order and in their own units. All of them are known.
        """
        ...

    def skip(self, points: int) -> None:
        """Pass over grid points at which nothing is known: gated, missing, or a part unknown."""
        ...


MakeFeature = Callable[[Mapping[str, float], float], Computation]
"""From the options and the grid's rate in Hz to a fresh `Computation`."""


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One kind of feature, as data.

    Parameters
    ----------
    name : str
        The word in YAML (``kind:``).
    unit : str
        ``uV2``, ``uV``, ``s``, ``1/min`` or ``1``.
    scale : {'ln', 'linear'}
        Scale on which medians and MADs of a baseline are taken.
    needs, may : frozenset of str
        YAML keys that must, and that may, be given.
    doc : str
        One sentence.
    formula : str
        The formula.
    delay : str
        How far back it speaks of the brain, in words.
    source : str
        Where the definition comes from.
    parts : frozenset of str
        Kinds of features that `of` may name, and `n_parts` how many; `TWO_OR_MORE` or
        `ONE_OR_MORE` for any number.
    sites : int
        How many sites `at` lists; 0 for any number.
    low, high : float
        Values beyond these do not occur, so no threshold may ask for them.
    options : mapping of str to Option
        What `with:` may set, for kinds from other packages.
    make : callable, optional
        What computes a kind from another package, see `Computation`; None for those built in.
    lag_s : callable, optional
        From the options to the seconds by which such a feature lies behind its parts; None where
        it does not.
    """

    name: str
    unit: str
    scale: Scale
    needs: frozenset[str]
    may: frozenset[str]
    doc: str
    formula: str
    delay: str
    source: str = ""
    parts: frozenset[str] = frozenset()
    n_parts: int = 0
    sites: int = 0
    low: float = -math.inf
    high: float = math.inf
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    make: MakeFeature | None = None
    lag_s: Callable[[Mapping[str, float]], float] | None = None


def _kind(
    name: str,
    unit: str,
    scale: Scale,
    needs: str,
    may: str,
    doc: str,
    formula: str,
    delay: str,
    source: str = "",
    parts: frozenset[str] = frozenset(),
    n_parts: int = 0,
    sites: int = 0,
    low: float = -math.inf,
    high: float = math.inf,
) -> FeatureKind:
    return FeatureKind(
        name,
        unit,
        scale,
        frozenset(needs.split()),
        frozenset(may.split()),
        doc,
        formula,
        delay,
        source,
        parts,
        n_parts,
        sites,
        max(low, 0.0) if scale == "ln" else low,  # what has a logarithm is never below 0
        high,
    )


_POWERS = frozenset({"power"})
_ASYMMETRY = frozenset({"log_ratio", "shrunk_log_ratio", "asymmetry_index"})
_BAND = "smooth delay target fit spatial"
_ADDED = frozenset(
    {
        "power",
        "amplitude",
        "relative_power",
        "periodic_power",
        "ratio",
        "log_ratio",
        "shrunk_log_ratio",
        "asymmetry_index",
        "share_above",
        "burst_rate",
        "burst_duration",
        "burst_amplitude",
        "coherence",
        "imaginary_coherence",
        "plv",
        "wpli",
        "envelope_correlation",
        "slow_potential",
        "slow_voltage",
        "peak_to_peak",
        "z",
        "share_within",
    }
)

FEATURES: Mapping[str, FeatureKind] = MappingProxyType(
    {
        k.name: k
        for k in (
            _kind(
                "power",
                "uV2",
                "ln",
                "at band",
                _BAND,
                "Mean square of the rhythm in a band, averaged over the sites.",
                "P = mean over sites of 2 |z|², z the analytic band signal",
                "the band filter's: as asked by `delay` when fitted, then measured",
                "Wiener 1949; Smetanin et al. 2020",
            ),
            _kind(
                "amplitude",
                "uV",
                "ln",
                "at band",
                _BAND,
                "Root mean square of the rhythm in a band.",
                "A = sqrt(P)",
                "as power",
            ),
            _kind(
                "relative_power",
                "1",
                "ln",
                "at band",
                "smooth total delay target fit",
                "Share of a band's power in the whole spectrum (1-40 Hz unless `total` is given).",
                "R = P_band / P_total per site, both averaged (1 s or `smooth`); mean over sites",
                "that of the band filter; the average comes on top",
                high=1.0,
            ),
            _kind(
                "periodic_power",
                "uV2",
                "linear",
                "at band",
                "smooth delay fit",
                "Power above the aperiodic (1/f) background, read off both sides of the band.",
                "P' = P - integral over the band of the straight log-log line through the mean "
                "densities of two flanking bands; may be negative",
                "as power; the flanks share its smoothing",
                "after Donoghue et al. 2020",
            ),
            _kind(
                "ratio",
                "1",
                "ln",
                "of",
                "",
                "One power divided by another, e.g. theta/beta.",
                "Q = P_1 / P_2; compared with the baseline as ln P_1 - ln P_2",
                "the longer one of its powers'",
                "Monastra et al. 1999",
                _POWERS,
                2,
            ),
            _kind(
                "log_ratio",
                "1",
                "linear",
                "of",
                "",
                "Difference of the logarithms of two powers, e.g. frontal alpha asymmetry.",
                "A = ln P_1 - ln P_2",
                "the longer one of its powers'",
                "Davidson 1998",
                _POWERS,
                2,
            ),
            _kind(
                "shrunk_log_ratio",
                "1",
                "linear",
                "of",
                "",
                "A log_ratio drawn towards the baseline's; steadier, and smaller in size.",
                "A = ln((P_1 + 0.3 m_1) / (P_2 + 0.3 m_2)), m the mean power in the clean baseline",
                "the longer one of its powers'",
                "benchmarks/asymmetry.py (simulation)",
                _POWERS,
                2,
            ),
            _kind(
                "asymmetry_index",
                "1",
                "linear",
                "of",
                "",
                "Difference of two amplitudes over their sum, right before left for asymmetry.",
                "A = (R - L) / (R + L) with amplitudes R = sqrt(P_1), L = sqrt(P_2)",
                "the longer one of its powers'",
                "Baehr et al. 1997",
                _POWERS,
                2,
                low=-1.0,
                high=1.0,
            ),
            _kind(
                "share_above",
                "1",
                "linear",
                "of",
                "window",
                "Share of the last clean minute (or `window`) with a value above zero.",
                "S = n(A > 0) / n over the window's clean points, once half of it is filled",
                "half the window beyond that of its feature",
                "Baehr et al. 1997",
                _ASYMMETRY | {"z"},
                1,
                low=0.0,
                high=1.0,
            ),
            _kind(
                "burst_rate",
                "1/min",
                "linear",
                "of",
                "window",
                "Bursts of an amplitude per minute of clean time, over a minute (or `window`).",
                "R = n / minutes; a burst is 100 ms or more above the baseline's 75th percentile",
                "half the window beyond that of its amplitude",
                "Ossadtchi et al. 2017",
                frozenset({"amplitude"}),
                1,
                low=0.0,
            ),
            _kind(
                "burst_duration",
                "s",
                "ln",
                "of",
                "window",
                "Mean length of the bursts of an amplitude in the last clean time.",
                "D = mean time above the baseline's 75th percentile, per burst",
                "half the window beyond that of its amplitude",
                "Ossadtchi et al. 2017",
                frozenset({"amplitude"}),
                1,
            ),
            _kind(
                "burst_amplitude",
                "uV",
                "ln",
                "of",
                "window",
                "Mean amplitude within the bursts of an amplitude in the last clean time.",
                "A = mean amplitude over the points of bursts",
                "half the window beyond that of its amplitude",
                "Ossadtchi et al. 2017",
                frozenset({"amplitude"}),
                1,
            ),
            *(
                _kind(
                    name,
                    "1",
                    "linear",
                    "at band",
                    "window delay target fit",
                    doc,
                    f"C = {formula} - mean of shifted surrogates of the baseline",
                    "half the window (2 s or 6 cycles unless given) beyond the band filter's",
                    source,
                    sites=2,
                    low=-1.0,
                    high=1.0,
                )
                for name, doc, formula, source in (
                    (
                        "coherence",
                        "Coherence of two sites; volume conduction and a reference raise it.",
                        "|sum z_a z_b*| / sqrt(sum |z_a|² sum |z_b|²) over the window",
                        "Nunez et al. 1997",
                    ),
                    (
                        "imaginary_coherence",
                        "The part of the coherence that no instantaneous mixing explains.",
                        "|Im sum z_a z_b*| / sqrt(sum |z_a|² sum |z_b|²) over the window",
                        "Nolte et al. 2004",
                    ),
                    (
                        "plv",
                        "Phase locking of two sites; volume conduction raises it.",
                        "|sum exp(j (phi_a - phi_b))| / N over the window",
                        "Lachaux et al. 1999",
                    ),
                    (
                        "wpli",
                        "Weighted phase lag index of two sites; deaf to instantaneous mixing.",
                        "|sum Im z_a z_b*| / sum |Im z_a z_b*| over the window",
                        "Vinck et al. 2011",
                    ),
                    (
                        "envelope_correlation",
                        "Correlation of two sites' envelopes.",
                        "Pearson correlation of |z_a| and |z_b| over the window",
                        "Bruns et al. 2000",
                    ),
                )
            ),
            _kind(
                "slow_potential",
                "uV",
                "linear",
                "at",
                "window reference",
                "Slow cortical potential, unfiltered; needs a DC-coupled amplifier.",
                "S = mean of x over `window` (0.5 s) - mean over the `reference` (2 s) before it, "
                "averaged over the sites",
                "half the window",
                "Strehl et al. 2017",
            ),
            _kind(
                "slow_voltage",
                "uV",
                "linear",
                "at",
                "window",
                "Slow potential as it stands, for trials; needs a DC-coupled amplifier.",
                "V = mean of x over `window` (0.5 s), averaged over the sites, nothing subtracted",
                "half the window",
                "Strehl et al. 2017",
            ),
            _kind(
                "z",
                "1",
                "linear",
                "of",
                "norms",
                "How many standard deviations a feature is from its baseline, or from norms.",
                "z = (x - median) / (1.4826 MAD), on ln for powers; (x - mean) / SD with `norms`",
                "that of its feature",
                "",
                frozenset(
                    {
                        "power",
                        "amplitude",
                        "relative_power",
                        "periodic_power",
                        "ratio",
                        "log_ratio",
                        "asymmetry_index",
                        "peak_to_peak",
                        "slow_potential",
                        "slow_voltage",
                        "weighted_sum",
                        "coherence",
                        "imaginary_coherence",
                        "plv",
                        "wpli",
                        "envelope_correlation",
                    }
                ),
                1,
            ),
            _kind(
                "weighted_sum",
                "1",
                "linear",
                "of weights",
                "",
                "Features added with weights of their own, powers as logarithms.",
                "S = sum of w_i x_i, x_i = ln of powers, amplitudes and ratios, else the value",
                "the longest one of its features'",
                "",
                _ADDED,
                TWO_OR_MORE,
            ),
            _kind(
                "share_within",
                "1",
                "linear",
                "of within",
                "",
                "Share of the z scores that lie within so many standard deviations now.",
                "S = n(|z| <= within) / n over the z scores at one grid point; unknown if one is",
                "the longest one of its z scores'",
                "Collura et al. 2010",
                frozenset({"z"}),
                ONE_OR_MORE,
                low=0.0,
                high=1.0,
            ),
            _kind(
                "peak_to_peak",
                "uV",
                "ln",
                "at",
                "window",
                "Largest minus smallest value of the conditioned signal in a window.",
                "max(x) - min(x) over the window, all of it clean; the largest over the sites",
                "half the window",
            ),
        )
    }
)

COUPLED = frozenset({"coherence", "imaginary_coherence", "plv", "wpli", "envelope_correlation"})
REFERRED = frozenset({"z", "shrunk_log_ratio"})
"""Kinds that are unknown until something was learned of their parts' baseline."""
BURSTS = frozenset({"burst_rate", "burst_duration", "burst_amplitude"})
SLOW = frozenset({"slow_potential", "slow_voltage"})
"""Kinds that need an amplifier that passes slow potentials."""
BAND_POWERS = frozenset({"power", "amplitude", "relative_power", "periodic_power"})
LONG_WINDOW_S = 60.0  # of bursts and shares
SLOW_WINDOW_S, SLOW_REFERENCE_S = 0.5, 2.0


def wide_orders(band_hz: tuple[float, float]) -> tuple[int, int]:
    """Return the orders of the high- and the low-pass that make up a wide band.

    The least with which a sine in the band's central half loses at most 1 % of its power to either
    edge: ``(lo / f)^2m`` and ``(f / hi)^2n`` stay below 1/99 there.
    """
    lo, hi = band_hz
    quarter = (hi - lo) / 4.0

    def least(ratio: float) -> int:
        return max(2, math.ceil(math.log(99.0) / (2.0 * math.log(ratio))))

    return least((lo + quarter) / lo), least(hi / (hi - quarter))


def nominal_delay_s(band_hz: tuple[float, float]) -> float:
    """Return the delay of the fixed estimator's envelope for a band, in seconds.

    That of the analogue Butterworth filters behind it: for a narrow band the low-pass at DC,
    ``1 / (2 pi f_c sin(pi / 2n))`` with f_c half the bandwidth; for a wide one both edges at the
    band's geometric mean, and the average. What a session states is computed from its digital
    filter (`engine.estimate.envelope_delay_s`) and differs by less than a grid step.
    """
    lo, hi = band_hz
    f_c = (hi - lo) / 2.0
    if hi <= 3.0 * lo:
        return 1.0 / (2.0 * math.pi * f_c * math.sin(math.pi / 8.0))
    high_pass, low_pass = wide_orders(band_hz)
    ratio = math.sqrt(lo / hi)  # of the geometric mean to the upper edge, and of the lower to it
    low = _butterworth_delay(low_pass, ratio) / (2.0 * math.pi * hi)
    # A high-pass is a low-pass of the inverse frequency.
    high = _butterworth_delay(high_pass, ratio) * ratio**2 / (2.0 * math.pi * lo)
    return low + high + 0.5 / lo


def _butterworth_delay(order: int, at: float) -> float:
    """Return the group delay of a low-pass with edge 1 rad/s at frequency `at`, in seconds."""
    total = 0.0
    for k in range(order):
        angle = math.pi * (2 * k + 1) / (2 * order)
        damping = math.sin(angle)
        total += damping / (damping**2 + (at - math.cos(angle)) ** 2)
    return total


@dataclass(frozen=True, slots=True)
class FeatureDef:
    """A feature of a protocol, resolved for one stream.

    Parameters
    ----------
    name, kind : str
        Of the protocol.
    sites : tuple of int
        Columns of `Conditioned`.
    of : tuple of int
        Positions of other features.
    band_hz : tuple of float, optional
        The band; around the fallback frequency where `iaf` is given and none is known yet.
    iaf : tuple of float, optional
        Offsets of both edges from the individual alpha frequency.
    total_hz, smooth_s, window_s, reference_s
        Of the kinds that have them.
    delay_s : float
        Asked of the fitted filter.
    target : {'band', 'rhythm'}
        What the fitted filter estimates.
    fit : {'session', 'course', 'fixed'}
        When it is fitted, if at all.
    spatial : {'', 'laplacian', 'ssd', 'weights'}
        Spatial filter; `weights` (over `Conditioned` columns, one row per virtual channel) are
        known beforehand for all but ``ssd``, which may use the columns of `pool`.
    weights_of : tuple of float
        Of the parts of a weighted sum, in the order of `of`.
    within : float
        Of a share within: the largest distance from zero that counts.
    norm : tuple of float, optional
        Of a z score that is compared with norms: their mean and SD, on the scale of its part.
    scale : {'', 'ln', 'linear'}
        Of a kind from another package; empty for those built in, see `scale_of`.
    options : mapping of str to float
        Of a kind from another package, every one of them.
    make : callable, optional
        What computes it, see `FeatureKind`.
    lag_s : float
        Seconds by which it lies behind its parts.
    """

    name: str
    kind: str
    sites: tuple[int, ...] = ()
    of: tuple[int, ...] = ()
    band_hz: tuple[float, float] | None = None
    total_hz: tuple[float, float] = DEFAULT_TOTAL_HZ
    smooth_s: float | None = None
    window_s: float = DEFAULT_WINDOW_S
    reference_s: float = 2.0
    iaf: tuple[float, float] | None = None
    delay_s: float = DEFAULT_DELAY_S
    target: str = "band"
    fit: str = "fixed"
    spatial: str = ""
    weights: tuple[tuple[float, ...], ...] = ()
    pool: tuple[int, ...] = ()
    weights_of: tuple[float, ...] = ()
    within: float = math.nan
    norm: tuple[float, float] | None = None
    scale: str = ""
    options: Mapping[str, float] = field(default_factory=dict, hash=False)
    make: MakeFeature | None = None
    lag_s: float = 0.0


def scale_of(d: FeatureDef) -> Scale:
    """Return the scale on which a feature is compared: ``ln`` or ``linear``."""
    if d.scale:
        return "ln" if d.scale == "ln" else "linear"
    return FEATURES[d.kind].scale


def is_learned(d: FeatureDef) -> bool:
    """Return whether something must be learned of the baseline before a feature is known well."""
    return d.kind in BURSTS or d.kind in COUPLED or (d.kind in REFERRED and d.norm is None)


def in_order(defs: Sequence[FeatureDef]) -> tuple[int, ...]:
    """Return the positions of the features, each after those it is made of.

    Whatever their order in the file: what needs nothing first, then what needs only that, and so
    on; within a step as in the file.

    Raises
    ------
    ValueError
        Features that are made of each other in a circle. Checked protocols hold none.
    """
    depth: dict[int, int] = {}
    left = list(range(len(defs)))
    while left:
        ready = [i for i in left if all(j in depth for j in defs[i].of)]
        if not ready:
            names = ", ".join(defs[i].name for i in left)
            raise ValueError(f"features are made of each other: {names}")
        for i in ready:
            depth[i] = 1 + max((depth[j] for j in defs[i].of), default=-1)
        left = [i for i in left if i not in depth]
    return tuple(sorted(range(len(defs)), key=depth.__getitem__))
