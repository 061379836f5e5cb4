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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from engine.aperiodic import aperiodic_fit
from engine.bank import Reference
from engine.coupling import chance_floor
from engine.estimate import Source, fixed_kernel
from engine.features import BURSTS, COUPLED, FEATURES, REFERRED, FeatureDef
from engine.frames import Bool, Float, Gate, Prepared, frozen
from engine.iaf import FALLBACK_HZ, Iaf, individual_alpha, pooled
from engine.rest import CURVE_S, Rest, look_again, measured, read_again
from engine.spatial import EogFit, NotPossible, Ssd, eog_regression, ssd, without_eog
from engine.wiener import (
    MIN_CLEAN_S,
    Kernel,
    Spectrum,
    WienerProblem,
    alpha_peak_hz,
    spectrum,
)
from engine.wiring import Demand, Wiring, demands_of, plain_source

__all__ = ["FitSettings", "Fitted", "fit"]

BURST_QUANTILE = 0.75  # of the baseline's amplitude (Ossadtchi et al. 2017 count spindles so)
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
        What an earlier session of the course fitted, by feature, and its ``iaf_hz``.
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
    course : mapping of str to mapping
        What a later session of the course needs, by feature.
    """

    defs: tuple[FeatureDef, ...]
    wiring: Wiring
    fixed: Wiring
    references: Mapping[str, Reference]
    delay_s: Mapping[str, float]
    prepared: Prepared
    course: Mapping[str, Mapping[str, Any]]


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

    def run(self) -> Fitted:
        self._alpha()
        self.demands = demands_of(self.defs, self.s.columns)
        eyes = self._eyes()
        answers = [self._answer(d, eyes) for d in self.demands]
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
        bank = references if references else None
        values = tuple(
            read_again(rest, seen, warm, wiring, self.defs, self.grid_hz, bank, self.breathe)
            for rest, (seen, warm) in zip(self.rests, looks, strict=True)
        )
        for a in answers:
            self.events.append(("fit", a.event))
        if references:
            shown = {name: r.known() for name, r in references.items()}
            self.events.append(("references", {"features": shown}))
        return Fitted(
            self.defs,
            wiring,
            self._fixed_again(),
            references,
            delays,
            Prepared(values, tuple(self.events)),
            self._course(answers, wiring),
        )

    # ------------------------------------------------------------ alpha, bands

    def _alpha(self) -> None:
        """Find the individual alpha frequency and put the bands around it."""
        relative = any(d.iaf is not None for d in self.defs)
        known = self.s.course.get("iaf_hz")
        used = [r for r in self.rests if "iaf" in r.block.uses]
        if not used and not relative:
            return
        found: Iaf | None = None
        if used and known is None and self.s.posterior:
            at = list(self.s.posterior)
            names = [self.s.site_names[i] for i in at]
            found = pooled(
                [individual_alpha(r.uv[:, at], r.clean, self.s.rate_hz, names) for r in used]
            )
        if known is not None:
            hz, source = float(known), "course"
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
        guessed = source == "fallback" or bool(self.s.course.get("iaf_fallback"))
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

    def _stored(self, d: FeatureDef) -> Mapping[str, Any] | None:
        """Return what an earlier session of the course fitted for a feature."""
        stored = self.s.course.get(d.name) if d.fit == "course" else None
        return stored if isinstance(stored, Mapping) else None

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
        known = (self._stored(d) or {}).get("spatial", {})
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
                    "ratio": float(found.ratios[0]),
                    "share": float(found.shares[0]),
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
        return _Answer(kernel, source, event, spatial=spatial)

    def _channels(self, answer: _Answer, rest: Rest) -> Float:
        """Return the samples of an answer's (virtual) channels, shape (n_samples, n)."""
        x = rest.uv[:, list(self.s.columns)]
        w = answer.source.weights
        return x[:, list(answer.source.columns)] if w is None else np.asarray(x @ w.T)

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
        stored = self._stored(d)
        reject: float | None
        if stored is not None:
            found = _stored_spectrum(stored, rate)
            reject = stored["reject_hz"]
        else:
            pieces = [
                spectrum(self._channels(a, self.rests[self._rest_of(m.feature)]),
                         self.rests[self._rest_of(m.feature)].clean, rate)
                for a, m in zip(answers, demands, strict=True)
            ]  # fmt: skip
            found = pieces[0]
            if len(pieces) > 1:
                # Alike in weight, however different in size: the shape is what is fitted.
                scale = [p.density / max(p.power(demands[0].band_hz), 1e-30) for p in pieces]
                size = float(np.mean([p.power(demands[0].band_hz) for p in pieces]))
                least = min(pieces, key=lambda p: p.clean_s)
                density = frozen(np.mean(scale, axis=0) * size)
                found = Spectrum(found.f_hz, density, rate, least.windows, least.clean_s)
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
            problem = WienerProblem(
                found,
                demands[0].band_hz,
                target="rhythm" if d.target == "rhythm" else "band",
                background=background,
                mains_hz=self.s.mains_hz,
                reject_hz=reject,
            )
        except ValueError as error:
            if d.target != "rhythm":
                self._keep_fixed(answers, str(error))
                return
            problem = WienerProblem(
                found, demands[0].band_hz, mains_hz=self.s.mains_hz, reject_hz=reject
            )
            for a in answers:
                a.event["target_refused"] = f"{error}; the whole band is estimated instead"
        kernel = problem.kernel(d.delay_s)
        limit = []
        for lag_s in CURVE_S:
            self.breathe()
            limit.append(float(problem.limit([lag_s])[0]))
        lo, hi = demands[0].band_hz
        told = {
            "estimator": "wiener",
            "target": problem.target,
            "delay_s": d.delay_s,
            "taps_s": problem.n_taps / rate,
            "windows": found.windows,
            "clean_s": found.clean_s,
            "floor_uv2_hz": problem.floor,
            "reject_hz": reject if reject is not None and not lo <= reject <= hi else None,
            "delays_s": CURVE_S,
            "limit": limit,
            "expected": problem.expected(kernel, CURVE_S),
        }
        for a in answers:
            a.kernel, a.problem, a.spectrum, a.reject_hz = kernel, problem, found, reject
            a.event |= told

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
        if answer.problem is None:
            return source
        stored = self._stored(self.defs[demand.feature])
        n = len(source.gains)
        known = () if stored is None else self._gains_of(stored, k)
        if len(known) == n:
            gains = [float(g) for g in known]
        else:
            index = self._rest_of(demand.feature)
            rest, (seen, warm) = self.rests[index], looks[index]
            good = rest.block.clean & warm
            x = self._channels(answer, rest)
            z = np.array([source.band_signal(row) for row in seen[good]]).reshape(-1, n)
            read = 2.0 * (z.real**2 + z.imag**2).mean(axis=0) if len(z) else np.zeros(n)
            true = [
                spectrum(x[:, i], rest.clean, self.s.rate_hz).power(demand.band_hz)
                for i in range(n)
            ]
            gains = [float(t / r) if r > 0.0 and t > 0.0 else 1.0 for t, r in
                     zip(true, read, strict=True)]  # fmt: skip
        answer.event["gains"] = gains
        answer.event["reads"] = self._response(answer, float(np.mean(gains)))
        return replace(source, gains=tuple(gains))

    def _gains_of(self, stored: Mapping[str, Any], k: int) -> Sequence[float]:
        """Return a demand's gains in an earlier session: of the band, or of one of its flanks."""
        demand = self.demands[k]
        if not demand.beside:
            return list(stored["gains"])
        before = sum(m.beside and m.feature == demand.feature for m in self.demands[:k])
        return list(stored["flank_gains"][before])

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
            z = np.array([source.band_signal(row)[0] for row in seen]) if len(seen) else seen
            x = self._channels(answer, rest)[:, 0]
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
        wanted = [
            i
            for i, d in enumerate(self.defs)
            if d.kind in BURSTS or d.kind in COUPLED or d.kind in REFERRED
        ]
        if not wanted:
            return {}
        # Floors first: what is made of a coupling is made of what stands above its floor. A z score
        # last: it may be one of a ratio that is itself referred to the baseline.
        wanted.sort(key=lambda i: (self.defs[i].kind not in COUPLED, self.defs[i].kind == "z"))
        first: dict[tuple[int, bool], Float] = {}
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
                z = np.array([source.band_signal(row) for row in seen]).reshape(-1, 2)
                points = max(2, round(d.window_s * self.grid_hz))
                floor = chance_floor(d.kind, z[:, 0], z[:, 1], good, points, self.grid_hz)
                found[d.name] = Reference(floor=floor)
                continue
            key = (index, d.kind == "z")
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
                found[d.name] = Reference(threshold=float(np.quantile(values, BURST_QUANTILE)))
                continue
            if FEATURES[self.defs[d.of[0]].kind].scale == "ln":
                values = np.log(values[values > 0.0])
            median = float(np.median(values))
            mad = 1.4826 * float(np.median(np.abs(values - median)))
            if mad > 0.0:
                found[d.name] = Reference(median=median, mad=mad)
        return found

    # ------------------------------------------------------------ beside

    def _fixed_again(self) -> Wiring:
        """Return the fixed estimators on the resolved bands, for comparison across sessions."""
        kernels: list[Kernel] = []
        at: dict[tuple[float, float], int] = {}
        sources = []
        for demand in self.demands:
            if demand.band_hz not in at:
                at[demand.band_hz] = len(kernels)
                kernels.append(fixed_kernel(demand.band_hz, self.s.rate_hz))
            d = self.defs[demand.feature]
            sources.append(plain_source(at[demand.band_hz], demand, d, self.s.columns))
        return Wiring(self.defs, self.demands, kernels, sources, len(self.s.columns))

    def _course(self, answers: Sequence[_Answer], wiring: Wiring) -> dict[str, Any]:
        """Return what a later session of the course needs to filter alike."""
        out: dict[str, Any] = {}
        for answer, demand, source in zip(answers, self.demands, wiring.sources, strict=True):
            d = self.defs[demand.feature]
            if d.fit != "course" or answer.spectrum is None or demand.beside:
                continue
            out[d.name] = {
                "rate_hz": self.s.rate_hz,
                "band_hz": demand.band_hz,
                "windows": answer.spectrum.windows,
                "clean_s": answer.spectrum.clean_s,
                "density_uv2_hz": answer.spectrum.density,
                "reject_hz": answer.reject_hz,
                "gains": source.gains,
                "flank_gains": [
                    s.gains
                    for m, s in zip(self.demands, wiring.sources, strict=True)
                    if m.beside and m.feature == demand.feature
                ],
                "spatial": answer.spatial,
            }
        around = any(d.iaf is not None and d.name in out for d in self.defs)
        if out and (self.iaf_hz is not None or around):
            out["iaf_hz"] = self.used_hz
            out["iaf_fallback"] = self.iaf_hz is None
        return out


def _stored_spectrum(stored: Mapping[str, Any], rate_hz: float) -> Spectrum:
    density = np.array(stored["density_uv2_hz"], float)
    f = np.linspace(0.0, rate_hz / 2.0, len(density))
    return Spectrum(
        frozen(f), frozen(density), rate_hz, int(stored["windows"]), float(stored["clean_s"])
    )
