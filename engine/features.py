"""The registry of features: what can be measured, as data.

This module imports neither SciPy nor MNE, so that a protocol can be checked at once. The numbers
themselves come from `engine.estimate` and `engine.bank`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = [
    "BAND_POWERS",
    "BURSTS",
    "COUPLED",
    "DEFAULT_DELAY_S",
    "DEFAULT_TOTAL_HZ",
    "DEFAULT_WINDOW_S",
    "FEATURES",
    "LONG_WINDOW_S",
    "REFERRED",
    "SLOW_REFERENCE_S",
    "SLOW_WINDOW_S",
    "FeatureDef",
    "FeatureKind",
    "nominal_delay_s",
    "wide_orders",
]

DEFAULT_TOTAL_HZ = (1.0, 40.0)
DEFAULT_WINDOW_S = 1.0
DEFAULT_DELAY_S = 0.1

Scale = Literal["ln", "linear"]


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
        Kinds of features that `of` may name, and `n_parts` how many.
    sites : int
        How many sites `at` lists; 0 for any number.
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
    )


_POWERS = frozenset({"power"})
_ASYMMETRY = frozenset({"log_ratio", "shrunk_log_ratio", "asymmetry_index"})
_BAND = "smooth delay target fit spatial"

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
                "z",
                "1",
                "linear",
                "of",
                "",
                "How many robust standard deviations a feature is from its baseline.",
                "z = (x - median) / (1.4826 MAD), on ln for powers",
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
