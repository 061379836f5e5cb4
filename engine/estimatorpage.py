"""The report's section on the estimator, and what can be compared across sessions, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from engine import figures
from engine.measures import AboveZero, Alpha, Filter, FixedPower, Learned
from engine.words import Picture, Unknown, percent, rounded, signed, tenths
from protocols.phrases import leaves

__all__ = ["EstimatorPage", "alpha_sentence"]

KINDS = {"paf": "peak alpha frequency", "cog": "centre of gravity of alpha"}
PLACES = (
    ("centre", "Centre"),
    ("lower_edge", "Lower edge"),
    ("upper_edge", "Upper edge"),
    ("one_below", "One bandwidth below"),
    ("one_above", "One bandwidth above"),
    ("alpha_peak", "Alpha peak"),
)


def alpha_sentence(alpha: Alpha) -> str:
    """Return what is known of the individual alpha frequency, in one or two sentences."""
    used = f"{alpha.used_hz:.1f} Hz"
    if alpha.source == "fallback":
        why = f" ({alpha.reason.rstrip('.')})" if alpha.reason else ""
        return (
            f"No valid individual alpha frequency was found{why}. Bands that follow it lie around "
            f"{used}, as for anybody."
        )
    if alpha.source == "course":
        if alpha.guessed:
            return (
                "No valid individual alpha frequency was found in the first session of the course. "
                f"Bands that follow it stay around {used}."
            )
        return (
            f"Individual alpha frequency: {used}, as measured in the first session of the course."
        )
    kind = KINDS.get(alpha.kind, "kind not known")
    sites = f" ({', '.join(alpha.sites)})" if alpha.sites else ""
    counted = (
        f", from {alpha.n_channels} of {alpha.n_given} posterior channels{sites}"
        if alpha.n_given
        else ""
    )
    said = f"Individual alpha frequency: {used} ({kind}){counted}."
    if alpha.kind == "cog":
        said += " The peak is split or hardly higher than the next one, so its centre is used."
    if alpha.band_hz is not None:
        said += f" This person's alpha reaches from {alpha.band_hz[0]:.1f} to "
        said += f"{alpha.band_hz[1]:.1f} Hz."
    said += (
        " Low confidence: fewer than three posterior channels could be looked at."
        if alpha.low_confidence
        else ""
    )
    if alpha.dropped:
        said += f" Left out as unlike the others: {', '.join(alpha.dropped)}."
    return said


class EstimatorPage:
    """What the template asks for about filters. Every property is one part of the page."""

    def __init__(self, told: Learned) -> None:
        self.told = told
        names: dict[str, None] = {}
        for name in (*(f for f, _ in told.rules), told.level_feature):
            if name and told.protocol is not None:
                names.update(dict.fromkeys(leaves(told.protocol, name)))
        every = [f for f in told.filters if f.feature in names]
        self.filters = every or list(told.filters)

    # ------------------------------------------------------------ in words

    @property
    def known(self) -> bool:
        """Whether the recording tells how its filters were made."""
        return bool(self.filters)

    @property
    def none_said(self) -> str:
        """Why there is nothing to show."""
        if not self.told.fits_told:
            return (
                "Written by a version that fitted nothing: every feature was read by a fixed "
                "filter, the same for everybody."
            )
        return (
            "No filter was fitted in this session, because the protocol asks for none or the "
            "session ended before: features were read by fixed filters, the same for everybody."
        )

    @property
    def alpha(self) -> str:
        """The individual alpha frequency; empty when nothing asked for it."""
        return "" if self.told.alpha is None else alpha_sentence(self.told.alpha)

    @property
    def sentences(self) -> list[str]:
        """What else was fitted to rest."""
        return list(self._sentences())

    def _sentences(self) -> Iterator[str]:
        told = self.told
        for f in self.filters:
            for refused in (f.unknown, f.target_refused, f.reject_refused):
                if refused:
                    yield f"{self._name(f)}: {refused.rstrip('.')}."
            for row in f.spatial:
                yield _spatial(self._name(f), row)
        eyes = told.eyes
        if eyes.get("reason"):
            yield f"Blinks are not regressed out: {eyes['reason']}."
        elif eyes.get("eog"):
            of = ", ".join(str(e) for e in eyes["eog"])
            yield f"The part of blinks is regressed out of every channel by {of}."
        for name, row in told.references.items():
            if "floor" in row:
                yield (
                    f"{name}: chance alone gives {rounded(row['floor'])} (shifted surrogates "
                    "of the baseline); it is subtracted."
                )
            if "first" in row and "second" in row:
                yield (
                    f"{name}: both powers are drawn towards their mean at rest, "
                    f"{rounded(row['first'])} and {rounded(row['second'])} µV²."
                )
            if "threshold" in row:
                yield (
                    f"{name}: a burst is 100 ms or more above {rounded(row['threshold'])} µV, "
                    "the baseline's 75th percentile."
                )

    # ------------------------------------------------------------ tables

    @staticmethod
    def _name(f: Filter) -> str:
        return f"{f.feature}, beside" if f.beside else f.feature

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each filter: what it is and how it does."""
        return [self._row(f) for f in self.filters]

    def _row(self, f: Filter) -> dict[str, Any]:
        too_little = Unknown("too little clean rest")
        asked: Any = "—"
        if f.delay_s is not None:
            asked = f"{1000 * f.delay_s:.0f} ms" if f.fitted else f"— ({1000 * f.delay_s:.0f} ms)"
        return {
            "name": self._name(f),
            "band": tenths(f.band_hz),
            "kind": "fitted" if f.fitted else "fixed",
            "why": self._why(f),
            "target": {"rhythm": "rhythm", "band": "whole band"}.get(f.target, "—"),
            "asked": asked,
            "lag": too_little if f.best_lag_s is None else f"{1000 * f.best_lag_s:.0f} ms",
            "r": too_little if f.best_r is None else f"{f.best_r:.2f}",
            "taps": "—" if f.taps_s is None else f"{f.taps_s:g} s",
            "clean": "—" if f.clean_s is None else f"{f.clean_s:.0f} s",
        }

    @staticmethod
    def _why(f: Filter) -> str:
        if not f.fitted:
            if f.fit == "fixed":
                return "asked for in the protocol"
            return f.reason or "no reason was recorded"
        if f.fit == "course":
            return "to the first session of the course"
        return f"to the baseline {f.block.replace('_', ' ')}"

    @property
    def any_fixed(self) -> bool:
        return any(not f.fitted for f in self.filters)

    @property
    def any_rhythm(self) -> bool:
        return any(f.fitted and f.target == "rhythm" for f in self.filters)

    @property
    def places(self) -> list[str]:
        """Headings of the places where a sine was put."""
        return [word for key, word in PLACES if any(key in f.reads for f in self.filters)]

    @property
    def reads(self) -> list[dict[str, Any]]:
        """One row for each filter: what a sine reads as."""
        rows = []
        for f in self.filters:
            if not f.reads:
                continue
            where = _frequencies(f)
            cells = [
                (_share(f.reads.get(key)), f"{round(where[key], 1):g} Hz" if key in where else "")
                for key, word in PLACES
                if word in self.places
            ]
            rows.append({"name": self._name(f), "cells": cells})
        return rows

    @property
    def figure(self) -> Picture | None:
        said = " ".join(
            f"{self._name(f)}: best r = {f.best_r:.2f} at {1000 * (f.best_lag_s or 0.0):.0f} ms."
            for f in self.filters
            if f.best_r is not None
        )
        svg = figures.estimator_curves(
            [f for f in self.filters if not f.beside],
            "How well, and how late, each filter follows the rhythm",
            said or "The table gives the numbers.",
        )
        caption = (
            "How closely each filter's envelope follows the envelope of a while ago, as an ideal "
            "filter that also sees what comes afterwards would draw it. Measured: on the same rest "
            "to which the filter was fitted, so training may do slightly worse. Expected and limit "
            "are computed from the person's spectrum for Gaussian signals; rhythms come in bursts, "
            "so the measured curve may lie on either side. The limit is the best that a filter of "
            "the same length can do, made anew for each delay."
        )
        if self.any_rhythm:
            caption += (
                " Where the target is the rhythm, expected and limit are about the rhythm alone, "
                "measured about all that lies in the band."
            )
        return Picture(Markup(svg), caption) if svg else None

    # ------------------------------------------------------------ above zero

    @property
    def sides(self) -> list[dict[str, Any]]:
        """One table for each feature that compares two sides."""
        names = dict.fromkeys(n for b in self.told.blocks for n in b.above_zero)
        return [
            {
                "name": name,
                "rows": [
                    {"label": b.label, **_above(b.above_zero[name])}
                    for b in self.told.blocks
                    if name in b.above_zero
                ],
            }
            for name in names
        ]

    # ------------------------------------------------------------ across sessions

    @property
    def across(self) -> list[str]:
        """Features that the fixed filter reads: the columns of the table."""
        return list(dict.fromkeys(n for b in self.told.blocks for n in b.fixed))

    @property
    def across_rows(self) -> list[dict[str, Any]]:
        """One row for each block; per feature the mean and its change."""
        names = self.across
        return [
            {
                "label": b.label,
                "cells": [
                    cell
                    for name in names
                    for cell in _fixed(b.fixed.get(name), compared=self._compared(name))
                ],
            }
            for b in self.told.blocks
            if b.fixed
        ]

    def _compared(self, name: str) -> bool:
        protocol = self.told.protocol
        return protocol is not None and bool(protocol.features[name].of)


def _frequencies(f: Filter) -> Mapping[str, float]:
    lo, hi = f.band_hz
    where = {
        "centre": (lo + hi) / 2.0,
        "lower_edge": lo,
        "upper_edge": hi,
        "one_below": lo - (hi - lo),
        "one_above": hi + (hi - lo),
    }
    return where | ({} if f.reject_hz is None else {"alpha_peak": f.reject_hz})


def _share(x: float | None) -> str:
    if x is None:
        return "—"
    if x < 0.0005:
        return "under 0.1 %"
    return f"{100 * x:.1f} %" if x < 0.1 else f"{100 * x:.0f} %"


def _spatial(name: str, row: Mapping[str, Any]) -> str:
    site = str(row.get("site", "?"))
    if row.get("reason"):
        return f"{name}: no spatial filter at {site} ({row['reason']}); the electrode stands alone."
    weights = row.get("weights")
    if not isinstance(weights, Mapping):
        return f"{name}: a spatial filter was fitted at {site}."
    known = {str(k): float(w) for k, w in weights.items() if isinstance(w, (int, float))}
    said = ", ".join(f"{k} {signed(w)}" for k, w in known.items())
    share, held_out = row.get("share"), row.get("held_out_ratio")
    if not isinstance(share, (int, float)) or not isinstance(held_out, (int, float)):
        return f"{name}: spatial filter (SSD) at {site}: {said}."
    return (
        f"{name}: spatial filter (SSD) at {site}: {said}. It keeps {100 * share:.0f} % of the "
        f"band's power there; tried on rest it was not fitted to, its main part is {held_out:.1f} "
        f"times as strong as the frequencies beside."
    )


def _above(value: AboveZero) -> dict[str, Any]:
    return {
        "share": percent(value.share, value.why),
        "clean": f"{value.clean_s:.0f}",
        "note": value.note,
    }


def _fixed(value: FixedPower | None, *, compared: bool) -> tuple[Any, Any]:
    """Return the mean and its change against the baseline block."""
    if value is None or value.mean_ln is None:
        unknown = Unknown("no clean time" if value is None else value.why)
        return unknown, unknown
    mean = signed(value.mean_ln) if compared else f"{value.mean_ln:.2f}".replace("-", "−")
    if value.change_ln is None:
        return mean, Unknown(value.why or "no baseline")
    if compared:
        return mean, signed(value.change_ln)
    return mean, f"{signed(100 * math.expm1(value.change_ln), 0)} %"
