"""Fit the estimators to a person's rest, and read that rest again through what was fitted.

A pure function of the kept baseline: the samples of the accepted blocks after the live chain, which
of their grid points are clean, and the settings. Live it is one step of the fold (state PREPARING);
replay does it again and must agree.

In this order: the individual alpha frequency from blocks recorded for it; bands around it; spatial
filters; per feature a Wiener filter on the spectrum of its own channels (`engine.wiener`), with a
null at the person's alpha peak when that lies outside the band; calibration, so that the mean power
of every channel equals Welch's integral of the band on the same samples; then all blocks once more
through the same stages as live, from which every resting value is learned.

What cannot be fitted keeps the fixed filter, and the event says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.aperiodic import aperiodic_fit
from engine.bank import Reference
from engine.bursts import BASELINE_PERCENTILE
from engine.coupling import chance_floor
from engine.estimate import Source, fixed_kernel
from engine.features import BURSTS, COUPLED, FeatureDef, in_order, is_learned, scale_of
from engine.frames import Bool, Float, Gate, Prepared, frozen
from engine.iaf import FALLBACK_HZ, Iaf, individual_alpha, pooled
from engine.rest import (
    CURVE_S,
    Channels,
    Rest,
    band_signals,
    clean_columns,
    look_again,
    measured,
    read_again,
)
from engine.spatial import EogFit, NotPossible, Ssd, eog_regression, ssd, without_eog
from engine.wiener import (
    MIN_CLEAN_S,
    Kernel,
    Spectrum,
    Target,
    WienerProblem,
    alpha_peak_hz,
    null_refused,
)
from engine.wiring import Demand, Wiring, demands_of, fixed_wiring, plain_source

__all__ = ["FitSettings", "Fitted", "fit"]

NOTHING_LEFT = 1e-6  # of its site's own power: what a virtual channel holds then is rounding noise
NEAR = 10.0  # times that: safely more
HALF_CLEAN = 0.5  # of the block's clean samples: a posterior site with less is left out
AROUND_BLINK = (0.2, 0.4)  # s, before and after a gated point


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What fitting needs to know.

    Parameters
    ----------
    rate_hz : float
    hop : int
    mains_hz : float or None
    defs : tuple of FeatureDef
        With bands around the fallback frequency where they are relative.
    columns : tuple of int
        Columns of `Conditioned` that the estimator keeps.
    site_names : tuple of str
        Of every column of `Conditioned`.
    posterior : tuple of int
        Columns from which the individual alpha frequency is read.
    eog : tuple of int
        Columns whose blinks are regressed out; empty when that is not asked.
    course : mapping
        What an earlier session of the course fitted (`engine.course.Course`); empty in the first.
    """

    rate_hz: float
    hop: int
    mains_hz: float | None
    defs: tuple[FeatureDef, ...]
    columns: tuple[int, ...]
    site_names: tuple[str, ...]
    posterior: tuple[int, ...] = ()
    eog: tuple[int, ...] = ()
    course: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Everything that is in force after fitting.

    Parameters
    ----------
    defs : tuple of FeatureDef
        With the bands resolved.
    wiring, fixed : Wiring
        The fitted estimators, and the fixed ones on the same bands.
    references : mapping of str to Reference
        For the bank.
    delay_s : mapping of str to float
        Per fitted feature, how far back its number speaks, as measured on the baseline.
    prepared : Prepared
        For the decider.
    course : mapping
        What a later session of the course needs: ``iaf`` and ``features`` of
        `engine.course.Course`; empty when nothing is fitted for a course.
    """

    defs: tuple[FeatureDef, ...]
    wiring: Wiring
    fixed: Wiring
    references: Mapping[str, Reference]
    delay_s: Mapping[str, float]
    prepared: Prepared
    course: Mapping[str, Any]


def fit(
    settings: FitSettings,
    rests: Sequence[Rest],
    n_taps: int,
    breathe: Callable[[], None] = lambda: None,
) -> Fitted:
    """Fit everything that the features ask for.

    Parameters
    ----------
    settings : FitSettings
    rests : sequence of Rest
        At least one, in the order of the session.
    n_taps : int
        Samples that the live estimator keeps; no kernel may be longer.
    breathe : callable
        Called every some tens of milliseconds, so that whoever waits can show a sign of life. It
        changes nothing here.
    """
    return _Fitting(settings, rests, n_taps, breathe).run()


@dataclass(slots=True)
class _Answer:
    """How one demand is answered, and what is known about it."""

    kernel: Kernel
    source: Source
    event: dict[str, Any]
    problem: WienerProblem | None = None
    spectrum: Spectrum | None = None
    reject_hz: float | None = None
    spatial: dict[str, dict[str, float]] = field(default_factory=dict)
    sites: tuple[tuple[int, float], ...] = ()  # per channel: its largest part, column and weight
    unknown: tuple[bool, ...] = ()  # per channel: nothing of its site is left


class _Fitting:
    """One fit, step by step."""

    def __init__(
        self,
        settings: FitSettings,
        rests: Sequence[Rest],
        n_taps: int,
        breathe: Callable[[], None],
    ) -> None:
        self.s, self.rests, self.n_taps = settings, tuple(rests), n_taps
        self.breathe = breathe
        self.grid_hz = settings.rate_hz / settings.hop
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.defs = settings.defs
        self.floor_refused: dict[str, str] = {}

    def run(self) -> Fitted:
        self._alpha()
        self.demands = demands_of(self.defs, self.s.columns)
        eyes = self._eyes()
        answers = [self._answer(d, eyes) for d in self.demands]
        self.channels = [
            Channels(
                rest,
                self.s.columns,
                [a.source for a, d in zip(answers, self.demands, strict=True)
                 if self._rest_of(d.feature) == k],
                self.s.rate_hz,
                self.breathe,
            )
            for k, rest in enumerate(self.rests)
        ]  # fmt: skip
        for answer, demand in zip(answers, self.demands, strict=True):
            self._find_unknown(answer, demand)
        self._share_filters(answers)
        kernels = [a.kernel for a in answers]
        sources = [replace(a.source, kernel=k) for k, a in enumerate(answers)]
        rough = Wiring(self.defs, self.demands, kernels, sources, len(self.s.columns))
        looks = [
            look_again(rest, self.s.columns, rough, self.n_taps, self.breathe)
            for rest in self.rests
        ]
        sources = [self._calibrated(k, a, s, looks) for k, (a, s) in enumerate(
            zip(answers, sources, strict=True))]  # fmt: skip
        wiring = Wiring(self.defs, self.demands, kernels, sources, len(self.s.columns))
        delays = self._measure(answers, wiring, looks)
        references = self._references(wiring, looks)
        values = tuple(
            read_again(rest, seen, warm, wiring, self.defs, self.grid_hz, references, self.breathe)
            for rest, (seen, warm) in zip(self.rests, looks, strict=True)
        )
        for a in answers:
            self.events.append(("fit", a.event))
        if references:
            told: dict[str, Any] = {"features": {n: r.known() for n, r in references.items()}}
            if self.floor_refused:
                told["floor_refused"] = self.floor_refused
            self.events.append(("references", told))
        return Fitted(
            self.defs,
            wiring,
            fixed_wiring(self.defs, self.demands, self.s.columns, self.s.rate_hz),
            references,
            delays,
            Prepared(values, tuple(self.events)),
            self._course(answers, wiring),
        )

    # ------------------------------------------------------------ alpha, bands

    def _alpha(self) -> None:
        """Find the individual alpha frequency and put the bands around it."""
        relative = any(d.iaf is not None for d in self.defs)
        known = self.s.course.get("iaf")
        used = [r for r in self.rests if "iaf" in r.block.uses]
        if not used and not relative:
            return
        found: Iaf | None = None
        if used and known is None and self.s.posterior:
            at = list(self.s.posterior)
            names = [self.s.site_names[i] for i in at]
            found = pooled([self._posterior_alpha(r, at, names) for r in used])
        if known is not None:
            hz, source = float(known["hz"]), "course"
        elif found is not None and found.hz is not None:
            hz, source = found.hz, "measured"
        else:
            hz, source = FALLBACK_HZ, "fallback"
        data: dict[str, Any] = {"used_hz": hz, "source": source}
        if used and not self.s.posterior:
            data["reason"] = "no posterior site in the stream"
        if found is not None:
            data |= {**found.summary(), "sites": [self.s.site_names[i] for i in self.s.posterior]}
        # A course that began without alpha stays where it began, and has no peak to keep out.
        guessed = source == "fallback" or (known is not None and bool(known["fallback"]))
        self.iaf_hz: float | None = None if guessed else hz
        self.used_hz = hz
        self.events.append(("iaf", data))
        moved = []
        for d in self.defs:
            if d.iaf is not None:
                d = replace(d, band_hz=(hz + d.iaf[0], hz + d.iaf[1]))
            moved.append(d)
        self.defs = tuple(moved)

    iaf_hz: float | None = None
    used_hz: float | None = None

    def _posterior_alpha(self, rest: Rest, at: list[int], names: list[str]) -> Iaf:
        """Return the alpha of one block, from what of each posterior site is clean.

        No gate watches these sites unless a feature uses them. One that is unusable for more than
        half of the clean time is left out; of the others the samples count that are clean at all.
        """
        self.breathe()
        usable = clean_columns(rest, at, self.s.rate_hz)
        self.breathe()
        enough = usable.sum(axis=0) >= max(1.0, HALF_CLEAN * float(rest.clean.sum()))
        out = tuple(name for name, kept in zip(names, enough, strict=True) if not kept)
        kept = [i for i, e in zip(at, enough, strict=True) if e]
        if out and not kept:
            found = individual_alpha(rest.uv[:, []], rest.clean, self.s.rate_hz, [])
            reason = "no posterior site is clean for half of the clean time."
            return replace(found, n_given=len(at), reason=reason, dropped=out)
        clean: Bool = np.asarray(usable[:, enough].all(axis=1))
        found = individual_alpha(
            rest.uv[:, kept], clean, self.s.rate_hz, [n for n in names if n not in out]
        )
        return replace(found, dropped=out + found.dropped) if out else found

    def _known(self, d: FeatureDef) -> Mapping[str, Any]:
        """Return what an earlier session of the course fitted for a feature; empty if nothing."""
        kept: Mapping[str, Any] = self.s.course.get("features", {}) if d.fit == "course" else {}
        known: Mapping[str, Any] = kept.get(d.name, {})
        return known

    def _stored(self, demand: Demand) -> Mapping[str, Any] | None:
        """Return how an earlier session of the course answered a demand."""
        known = self._known(self.defs[demand.feature])
        if not known:
            return None
        answers: list[Mapping[str, Any]] = [known["band"], *known["flanks"]]
        mine = [m for m in self.demands if m.feature == demand.feature]
        return answers[mine.index(demand)]

    # ------------------------------------------------------------ one demand

    def _rest_of(self, feature: int) -> int:
        """Return the block to whose samples a feature is fitted: the one that learns it.

        A feature that nobody learns is fitted to the block that learns what is made of it, else to
        the last block from which anything is learned.
        """
        names = {self.defs[i].name for i in self._made_of(feature)} | {self.defs[feature].name}
        for k, rest in enumerate(self.rests):
            if self.defs[feature].name in rest.block.learn:
                return k
        for k, rest in enumerate(self.rests):
            if names & set(rest.block.learn):
                return k
        learning = [k for k, rest in enumerate(self.rests) if rest.block.learn]
        return learning[-1] if learning else len(self.rests) - 1

    def _made_of(self, feature: int) -> set[int]:
        """Return the features that are made of one, directly or not."""
        found: set[int] = set()
        more = {feature}
        while more:
            more = {i for i, d in enumerate(self.defs) if more & set(d.of)} - found
            found |= more
        return found

    def _eyes(self) -> EogFit | None:
        """Fit how blinks reach the channels, when that is asked for."""
        if not self.s.eog:
            return None
        why = "no blinks were gated"
        for rest in reversed(self.rests):
            blinked = np.zeros(len(rest.uv), bool)
            before, after = (round(s * self.s.rate_hz) for s in AROUND_BLINK)
            for row in rest.rows[(rest.block.gates & int(Gate.BLINK)) != 0].tolist():
                blinked[max(0, row - before) : row + after] = True
            found = eog_regression(
                rest.uv[:, list(self.s.columns)],
                rest.uv[:, list(self.s.eog)],
                blinked,
                self.s.rate_hz,
            )
            if isinstance(found, EogFit):
                data = {
                    "eog": [self.s.site_names[i] for i in self.s.eog],
                    "blink_s": found.blink_s,
                    "explained": {
                        self.s.site_names[c]: float(e)
                        for c, e in zip(self.s.columns, found.explained, strict=True)
                    },
                }
                self.events.append(("eog_regression", data))
                return found
            why = found.reason
        self.events.append(("eog_regression", {"reason": why}))
        return None

    def _weights(self, demand: Demand, rest: Rest, event: dict[str, Any]) -> Float | None:
        """Return virtual channels over the estimator's columns; None for the plain sites."""
        d, columns = self.defs[demand.feature], self.s.columns
        if d.spatial != "ssd":
            return plain_source(0, demand, d, columns).weights
        pool = [columns.index(c) for c in d.pool]
        allowed = np.zeros(len(columns), bool)
        allowed[pool] = True
        rows = []
        told: list[dict[str, Any]] = []
        known = self._known(d).get("spatial", {})
        for site in d.sites:
            name = self.s.site_names[site]
            if name in known:
                rows.append(self._of_course(known[name]))
                told.append({"site": name, "source": "course", "weights": dict(known[name])})
                continue
            found: Ssd | NotPossible = ssd(
                rest.uv[:, list(columns)],
                rest.clean,
                self.s.rate_hz,
                demand.band_hz,
                site=name,
                names=[self.s.site_names[c] for c in columns],
                allowed=allowed,
            )
            row = np.zeros(len(columns))
            if isinstance(found, Ssd):
                row[:] = found.denoised
                told.append({
                    "site": name,
                    "n_components": len(found.ratios),
                    "ratio": float(found.ratios[0]),
                    "held_out_ratio": float(found.held_out_ratio),
                    "share": float(found.shares.sum()),
                    "weights": {self.s.site_names[c]: float(w)
                                for c, w in zip(columns, row, strict=True) if w},
                })  # fmt: skip
            else:
                row[columns.index(site)] = 1.0
                told.append({"site": name, "reason": found.reason})
            rows.append(row)
        event["spatial"] = told
        return np.array(rows)

    def _of_course(self, weights: Mapping[str, float]) -> Float:
        """Return the weights of an earlier session, by site, over the estimator's columns."""
        row = np.zeros(len(self.s.columns))
        for site, weight in weights.items():
            row[self.s.columns.index(self.s.site_names.index(site))] = weight
        return row

    def _answer(self, demand: Demand, eyes: EogFit | None) -> _Answer:
        d = self.defs[demand.feature]
        rest = self.rests[self._rest_of(demand.feature)]
        event: dict[str, Any] = {
            "feature": d.name,
            "beside": demand.beside,
            "band_hz": demand.band_hz,
            "block": rest.block.name,
            "fit": d.fit,
        }
        weights = self._weights(demand, rest, event)
        spatial = {}
        if d.spatial == "ssd" and weights is not None:
            spatial = {
                self.s.site_names[site]: {
                    self.s.site_names[c]: float(w)
                    for c, w in zip(self.s.columns, row, strict=True)
                    if w
                }
                for site, row in zip(d.sites, weights, strict=True)
            }
        if weights is None:
            sites = tuple((c, 1.0) for c in demand.columns)
        else:
            most = np.abs(weights).argmax(axis=1).tolist()
            sites = tuple((c, float(row[c])) for c, row in zip(most, weights, strict=True))
        if eyes is not None:
            if weights is None:
                weights = np.eye(len(self.s.columns))[list(demand.columns)]
            at = [self.s.columns.index(c) for c in self.s.eog]
            weights = np.array([without_eog(row, eyes.coefficients, at) for row in weights])
        n = len(demand.columns) if weights is None else len(weights)
        source = Source(
            0,
            demand.columns if weights is None else (),
            (1.0,) * n,
            None if weights is None else frozen(np.ascontiguousarray(weights)),
        )
        kernel = fixed_kernel(demand.band_hz, self.s.rate_hz)
        return _Answer(kernel, source, event, spatial=spatial, sites=sites)

    def _find_unknown(self, answer: _Answer, demand: Demand) -> None:
        """Mark the virtual channels in which nothing of their site is left.

        Sites that are taken out of themselves leave rounding noise, which looks like a signal.
        """
        answer.unknown = (False,) * len(answer.sites)
        if answer.source.weights is None:
            return
        channels = self.channels[self._rest_of(demand.feature)]
        found = channels.spectra(answer.source)
        if not found or not found[0].windows:
            return
        at = [c for c, _ in answer.sites]
        limits = [NOTHING_LEFT * weight**2 for _, weight in answer.sites]
        powers = [one.power(demand.band_hz) for one in found]
        # No band holds more than the whole: only what is near needs the sites' own spectra.
        whole = channels.mean_square(at).tolist()
        if all(p > NEAR * m * w for p, m, w in zip(powers, limits, whole, strict=True)):
            return
        own = [site.power(demand.band_hz) for site in channels.sites(at)]
        answer.unknown = tuple(
            p <= m * site for p, m, site in zip(powers, limits, own, strict=True)
        )
        lost = [
            self.s.site_names[self.s.columns[c]]
            for (c, _), unknown in zip(answer.sites, answer.unknown, strict=True)
            if unknown
        ]
        if lost:
            answer.event["unknown"] = (
                f"after spatial filters and the removal of blinks less than a millionth of the "
                f"power is left at {', '.join(lost)}: the feature cannot be known"
            )

    def _share_filters(self, answers: list[_Answer]) -> None:
        """Fit one filter per family: features that are compared must be filtered alike.

        Powers of a ratio or an asymmetry that ask for the same band, delay and target get one
        filter, fitted to the mean spectrum of all their channels, so that no difference between
        them comes from the filter.
        """
        families: dict[tuple[Any, ...], list[int]] = {}
        for k, demand in enumerate(self.demands):
            d = self.defs[demand.feature]
            family = min([demand.feature, *self._kin(demand.feature)])
            key = (family, demand.band_hz, d.delay_s, d.target, d.fit, demand.beside)
            families.setdefault(key, []).append(k)
        for members in families.values():
            self._fit_family([answers[k] for k in members], [self.demands[k] for k in members])

    def _kin(self, feature: int) -> set[int]:
        """Return the features with which one is combined, and those with which these are."""
        kin = {feature}
        while (
            more := {j for d in self.defs if len(d.of) == 2 and kin & set(d.of) for j in d.of} - kin
        ):
            kin |= more
        return kin

    def _fit_family(self, answers: list[_Answer], demands: list[Demand]) -> None:
        self.breathe()
        d = self.defs[demands[0].feature]
        rate = self.s.rate_hz
        if d.fit == "fixed":
            self._keep_fixed(answers, "asked for")
            return
        stored = self._stored(demands[0])
        reject: float | None
        if stored is not None and stored["estimator"] == "fixed":
            self._keep_fixed(answers, f"as in the first session of the course ({stored['reason']})")
            return
        if stored is not None:
            found = _stored_spectrum(stored, rate)
            reject = stored["reject_hz"]
        else:
            pieces = [
                [
                    one
                    for one, unknown in zip(
                        self.channels[self._rest_of(m.feature)].spectra(a.source),
                        a.unknown,
                        strict=True,
                    )
                    if not unknown
                ]
                for a, m in zip(answers, demands, strict=True)
            ]
            alike = _alike([p for p in pieces if p], demands[0].band_hz)
            if alike is None:
                self._keep_fixed(answers, answers[0].event["unknown"])
                return
            found = alike
            reject = self.iaf_hz
        if found.clean_s < MIN_CLEAN_S:
            self._keep_fixed(
                answers,
                f"only {found.clean_s:.0f} s lie in clean stretches of 2 s or more, "
                f"{MIN_CLEAN_S:g} s are needed",
            )
            return
        background = aperiodic_fit(found.f_hz, found.density).density(found.f_hz)
        if reject is None and stored is None:
            reject = alpha_peak_hz(found, background)
        try:
            problem, refused = self._problem(d, found, demands[0].band_hz, background, reject)
        except ValueError as error:
            self._keep_fixed(answers, str(error))
            return
        kernel = problem.kernel(d.delay_s)
        limit = []
        for lag_s in CURVE_S:
            self.breathe()
            limit.append(float(problem.limit([lag_s])[0]))
        told = {
            "estimator": "wiener",
            "target": problem.target,
            "delay_s": d.delay_s,
            "taps_s": problem.n_taps / rate,
            "windows": found.windows,
            "clean_s": found.clean_s,
            "floor_uv2_hz": problem.floor,
            "floor_from": problem.floor_from,
            "reject_hz": problem.rejected_hz,
            "delays_s": CURVE_S,
            "limit": limit,
            "expected": problem.expected(kernel, CURVE_S),
            **refused,
        }
        for a in answers:
            a.kernel, a.problem, a.spectrum, a.reject_hz = kernel, problem, found, reject
            a.event |= told

    def _problem(
        self,
        d: FeatureDef,
        found: Spectrum,
        band_hz: tuple[float, float],
        background: Float,
        reject_hz: float | None,
    ) -> tuple[WienerProblem, dict[str, str]]:
        """Return the problem to solve, and what of the wishes was refused and why."""

        def built(target: Target, null: bool) -> WienerProblem:
            self.breathe()
            return WienerProblem(
                found,
                band_hz,
                target=target,
                background=background,
                mains_hz=self.s.mains_hz,
                reject_hz=reject_hz,
                null=null,
            )

        refused: dict[str, str] = {}
        try:
            problem = built("rhythm" if d.target == "rhythm" else "band", True)
        except ValueError as error:
            if d.target != "rhythm":
                raise
            problem = built("band", True)
            refused["target_refused"] = f"{error}; the whole band is estimated instead"
        if problem.rejected_hz is not None:
            free = built(problem.target, False)
            if why := null_refused(problem, free, d.delay_s, self.breathe):
                refused["reject_refused"] = why
                problem = free
        return problem, refused

    @staticmethod
    def _keep_fixed(answers: Sequence[_Answer], why: str) -> None:
        for a in answers:
            a.event |= {"estimator": "fixed", "reason": why, "delay_s": a.kernel.delay_s}

    # ------------------------------------------------------------ calibration

    def _calibrated(
        self, k: int, answer: _Answer, source: Source, looks: Sequence[tuple[Float, Bool]]
    ) -> Source:
        """Return a source whose mean power is Welch's integral of the band on the same rest."""
        self.breathe()
        demand = self.demands[k]
        answer.event["reads"] = self._response(answer, 1.0)
        if answer.problem is None and not any(answer.unknown):
            return source
        stored = self._stored(demand)
        n = len(source.gains)
        known = () if stored is None else stored["gains"]
        if answer.problem is None:
            gains = [1.0] * n
        elif len(known) == n:
            gains = [float(g) for g in known]
        else:
            index = self._rest_of(demand.feature)
            rest, (seen, warm) = self.rests[index], looks[index]
            z = band_signals(source, seen[rest.block.clean & warm])
            read = 2.0 * (z.real**2 + z.imag**2).mean(axis=0) if len(z) else np.zeros(n)
            true = [one.power(demand.band_hz) for one in self.channels[index].spectra(source)]
            gains = [float(t / r) if r > 0.0 and t > 0.0 else 1.0 for t, r in
                     zip(true, read, strict=True)]  # fmt: skip
        gains = [math.nan if lost else g for g, lost in zip(gains, answer.unknown, strict=True)]
        answer.event["gains"] = gains
        finite = [g for g in gains if math.isfinite(g)]
        if finite:
            answer.event["reads"] = self._response(answer, float(np.mean(finite)))
        else:
            del answer.event["reads"]
        return replace(source, gains=tuple(gains))

    def _response(self, answer: _Answer, gain: float) -> dict[str, float]:
        """Return what a sine of unit power reads as: in the band, at its edges, beside it."""
        lo, hi = answer.kernel.band_hz
        width = hi - lo
        places = {
            "centre": (lo + hi) / 2.0,
            "lower_edge": lo,
            "upper_edge": hi,
            "one_below": lo - width,
            "one_above": hi + width,
        }
        if answer.event.get("reject_hz") is not None:
            places["alpha_peak"] = answer.event["reject_hz"]
        return {
            name: float(gain * answer.kernel.reads(f)[0])
            for name, f in places.items()
            if 0.0 < f < self.s.rate_hz / 2.0
        }

    # ------------------------------------------------------------ accuracy

    def _measure(
        self,
        answers: Sequence[_Answer],
        wiring: Wiring,
        looks: Sequence[tuple[Float, Bool]],
    ) -> dict[str, float]:
        """Replay the baseline: how well, and how late, does each fitted feature follow?"""
        delays: dict[str, float] = {}
        for answer, demand, source in zip(answers, self.demands, wiring.sources, strict=True):
            self.breathe()
            index = self._rest_of(demand.feature)
            rest, (seen, warm) = self.rests[index], looks[index]
            if not math.isfinite(source.gains[0]):
                continue
            z = band_signals(source, seen)[:, 0]
            x = self.channels[index].first(source)
            found = measured(rest, x, np.abs(z), warm, demand.band_hz, self.s.rate_hz, self.s.hop)
            if found is None:
                continue
            curve, best, best_r = found
            answer.event |= {"measured": curve, "best_lag_s": best, "best_r": best_r}
            answer.event.setdefault("delays_s", CURVE_S)
            if not demand.beside and answer.problem is not None:
                name = self.defs[demand.feature].name
                delays[name] = max(delays.get(name, 0.0), best)
        return delays

    # ------------------------------------------------------------ references

    def _references(
        self, wiring: Wiring, looks: Sequence[tuple[Float, Bool]]
    ) -> dict[str, Reference]:
        # Floors first: what is made of a coupling is made of what stands above its floor. Then in
        # steps: a z score of a sum of z scores is learned from those, read again.
        level = _levels(self.defs)
        wanted = [i for i, d in enumerate(self.defs) if is_learned(d)]
        wanted.sort(key=level.__getitem__)
        first: dict[tuple[int, int], Float] = {}
        found: dict[str, Reference] = {}
        for i in wanted:
            self.breathe()
            d, index = self.defs[i], self._rest_of(i)
            rest, (seen, warm) = self.rests[index], looks[index]
            good = rest.block.clean & warm
            if d.kind in COUPLED:
                source = next(
                    s for m, s in zip(self.demands, wiring.sources, strict=True) if m.feature == i
                )
                z = band_signals(source, seen)
                points = max(2, round(d.window_s * self.grid_hz))
                floor = chance_floor(d.kind, z[:, 0], z[:, 1], good, points, self.grid_hz)
                found[d.name] = Reference(floor=floor)
                if not math.isfinite(floor):
                    known_s = float((good & np.isfinite(z).all(axis=1)).sum()) / self.grid_hz
                    self.floor_refused[d.name] = (
                        f"{known_s:.0f} s of usable rest are too little for a chance value over "
                        f"windows of {d.window_s:g} s: the feature cannot be known"
                    )
                continue
            key = (index, level[i])
            if key not in first:
                first[key] = read_again(
                    rest, seen, warm, wiring, self.defs, self.grid_hz, found, self.breathe
                )
            parts = first[key][:, list(d.of)]
            parts = parts[np.isfinite(parts).all(axis=1)]
            if len(parts) < 2:
                continue
            values = parts[:, 0]
            if d.kind == "shrunk_log_ratio":
                one, two = parts.mean(axis=0)
                found[d.name] = Reference(first=float(one), second=float(two))
                continue
            if d.kind in BURSTS:
                found[d.name] = Reference(
                    threshold=float(np.quantile(values, BASELINE_PERCENTILE / 100.0))
                )
                continue
            if scale_of(self.defs[d.of[0]]) == "ln":
                values = np.log(values[values > 0.0])
            median = float(np.median(values))
            mad = 1.4826 * float(np.median(np.abs(values - median)))
            if mad > 0.0:
                found[d.name] = Reference(median=median, mad=mad)
        return found

    # ------------------------------------------------------------ for later

    def _course(self, answers: Sequence[_Answer], wiring: Wiring) -> dict[str, Any]:
        """Return what a later session of the course needs to filter alike.

        That a filter stayed fixed is an answer as well: fitted later, its numbers would mean
        something else than the ones that a fixed threshold was chosen for.
        """
        features: dict[str, dict[str, Any]] = {}
        for answer, demand, source in zip(answers, self.demands, wiring.sources, strict=True):
            d = self.defs[demand.feature]
            if d.fit != "course":
                continue
            kept: dict[str, Any] = {"estimator": "fixed", "band_hz": demand.band_hz}
            if answer.spectrum is None:
                stored = self._stored(demand)
                kept["reason"] = answer.event["reason"] if stored is None else stored["reason"]
            else:
                if not all(math.isfinite(g) and g > 0.0 for g in source.gains):
                    return {}  # what reads nothing today is no measure for later sessions
                kept |= {
                    "estimator": "wiener",
                    "windows": answer.spectrum.windows,
                    "clean_s": answer.spectrum.clean_s,
                    "density_uv2_hz": answer.spectrum.density,
                    "reject_hz": answer.reject_hz,
                    "gains": source.gains,
                }
            if demand.beside:
                features[d.name]["flanks"].append(kept)
            else:
                features[d.name] = {"spatial": answer.spatial, "band": kept, "flanks": []}
        if not features:
            return {}
        around = any(d.iaf is not None and d.fit == "course" for d in self.defs)
        iaf = None
        if self.iaf_hz is not None or around:
            iaf = {"hz": self.used_hz, "fallback": self.iaf_hz is None}
        return {"iaf": iaf, "features": features}


def _levels(defs: Sequence[FeatureDef]) -> list[int]:
    """Return per feature how many steps of learning it takes until its parts are known.

    A coupling takes none: its floor comes from the signal. What is made of nothing that is learned
    takes one.
    """
    level = [0] * len(defs)
    for i in in_order(defs):
        below = max((level[j] for j in defs[i].of), default=0)
        level[i] = below + (is_learned(defs[i]) and defs[i].kind not in COUPLED)
    return level


def _alike(members: Sequence[Sequence[Spectrum]], band_hz: tuple[float, float]) -> Spectrum | None:
    """Return the mean shape of some features' channels, of their mean size; None of none.

    Alike in weight, however different in size: the channels of a feature, and the features. A
    channel without power in the band has no shape.
    """
    sized = [[(s, s.power(band_hz)) for s in channels] for channels in members]
    every = [pair for channels in sized for pair in channels]
    if len(every) < 2:
        return every[0][0] if every else None
    shapes = [
        np.mean([s.density / p for s, p in channels if p > 0.0], axis=0)
        for channels in sized
        if any(p > 0.0 for _, p in channels)
    ]
    least = min((s for s, _ in every), key=lambda s: s.clean_s)
    if not shapes:
        return least
    size = float(np.mean([np.mean([p for _, p in channels]) for channels in sized]))
    density = frozen(np.asarray(np.mean(shapes, axis=0) * size))
    return Spectrum(least.f_hz, density, least.rate_hz, least.windows, least.clean_s)


def _stored_spectrum(stored: Mapping[str, Any], rate_hz: float) -> Spectrum:
    density = np.array(stored["density_uv2_hz"], float)
    f = np.fft.rfftfreq(2 * (len(density) - 1), 1.0 / rate_hz)
    return Spectrum(
        frozen(f), frozen(density), rate_hz, int(stored["windows"]), float(stored["clean_s"])
    )
