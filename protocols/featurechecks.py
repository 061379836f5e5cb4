"""The checks of a protocol's features, each mistake at its place in the file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol as Like

from engine.aperiodic import flanks
from engine.config import Source
from engine.errors import InputError, Problem
from engine.features import BURSTS, COUPLED, ONE_OR_MORE, TWO_OR_MORE, Option
from engine.units import IAF_RANGE_HZ
from protocols.facts import ASYMMETRIES, WIDEST, electrode, is_wide, side, widest_band
from protocols.model import Feature, Protocol

__all__ = ["FeatureCheck", "Kind", "known_names", "meant", "option_problems"]

TIMES_HIGHEST_EDGE = 4  # the lowest rate, in multiples of the highest band edge
TOTAL_HZ = (1.0, 40.0)  # of relative power, unless given
PARAMETERS = (
    "at", "of", "band", "total", "smooth", "window", "reference", "delay", "target", "fit",
    "spatial", "weights", "within", "norms", "with",
)  # fmt: skip
NARROWEST_HZ = 1.0  # a filter narrower than that rings for seconds
WHOLE = 2.0  # upper over lower edge of a total, at least
WEIGHTS = (1e-3, 1e3)  # size of a spatial weight
IAF_STEP_HZ = 0.01  # of the places at which a moving flank is looked at
FITTED_ONLY = ("delay", "target", "fit", "spatial")  # of narrow bands
WINDOWS_S = {
    **dict.fromkeys((*BURSTS, "share_above"), (1.0, 300.0)),
    **dict.fromkeys(COUPLED, (0.5, 60.0)),
    **dict.fromkeys(("slow_potential", "slow_voltage", "peak_to_peak"), (0.05, 10.0)),
}
SOURCES = ("pcc",)
LEAST_SOURCE_SITES = 19  # of a source estimate (science: P13)


class Kind(Like):
    """What the checks need to know about a kind of feature; `engine.features.FEATURES` has it."""

    @property
    def name(self) -> str:
        """Name as in YAML."""
        ...

    @property
    def unit(self) -> str:
        """``uV2``, ``uV``, ``s``, ``1/min`` or ``1``."""
        ...

    @property
    def scale(self) -> str:
        """``ln`` for quantities that are always positive, else ``linear``."""
        ...

    @property
    def needs(self) -> Collection[str]:
        """YAML keys that must be given."""
        ...

    @property
    def may(self) -> Collection[str]:
        """YAML keys that may be given."""
        ...

    @property
    def parts(self) -> Collection[str]:
        """Kinds of features that `of` may name."""
        ...

    @property
    def n_parts(self) -> int:
        """How many features `of` names."""
        ...

    @property
    def sites(self) -> int:
        """How many sites `at` lists; 0 for any number."""
        ...

    @property
    def low(self) -> float:
        """No value lies below."""
        ...

    @property
    def high(self) -> float:
        """No value lies above."""
        ...

    @property
    def options(self) -> Mapping[str, Option]:
        """What `with:` may set."""
        ...


def meant(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""


def known_names(what: str, name: str, names: Collection[str]) -> tuple[str, str]:
    listed = ", ".join(sorted(names)) or "nothing yet"
    return f"unknown {what} `{name}`{meant(name, names)}", f"known: {listed}"


def option_problems(
    source: Source,
    here: tuple[str | int, ...],
    known: Mapping[str, Option],
    given: Mapping[str, float],
) -> Iterator[Problem]:
    """Yield options of a plug-in that it does not have, or that are out of range."""
    for name, value in given.items():
        option = known.get(name)
        if option is None:
            what, allowed = known_names("option", name, known)
            yield source.problem((*here, "with", name), what, allowed, key=True)
        elif not option.low <= value <= option.high:
            yield source.problem(
                (*here, "with", name),
                f"{name} of {value:g} is out of range",
                f"from {option.low:g} to {option.high:g} ({option.unit})",
            )


@dataclass(frozen=True, slots=True)
class FeatureCheck:
    """The checks of one feature after the other."""

    protocol: Protocol
    source: Source
    features: Mapping[str, Kind]

    def problems(self) -> Iterator[Problem]:
        """Yield every problem."""
        for name, feature in self.protocol.features.items():
            yield from self._feature(name, feature)
        yield from self._cycles()

    def _cycles(self) -> Iterator[Problem]:
        """Yield features that are made of themselves in the end."""
        told: set[str] = set()
        for name in self.protocol.features:
            way = self._way_back(name)
            if way and not told & set(way):
                told.update(way)
                yield self.source.problem(
                    ("features", name, "of"),
                    f"`{name}` is made of itself: {' of '.join(f'`{n}`' for n in (*way, name))}",
                    "a feature is made of others that do not need it",
                )

    def _way_back(self, name: str) -> tuple[str, ...]:
        open_ways: list[tuple[str, ...]] = [(name,)]
        seen: set[str] = set()
        while open_ways:
            way = open_ways.pop()
            feature = self.protocol.features.get(way[-1])
            for part in () if feature is None else feature.of:
                if part == name:
                    return way
                if part not in seen:
                    seen.add(part)
                    open_ways.append((*way, part))
        return ()

    # ------------------------------------------------------------ features

    def _feature(self, name: str, feature: Feature) -> Iterator[Problem]:
        at = self.source.problem
        here = ("features", name)
        kind = self.features.get(feature.kind)
        if kind is None:
            what, known = known_names("kind of feature", feature.kind, self.features)
            yield at((*here, "kind"), what, known)
            return
        given = {k for k in PARAMETERS if self._value(feature, k) not in (None, ())}
        wanted = ", ".join(k for k in PARAMETERS if k in (*kind.needs, *kind.may))
        for key in PARAMETERS:
            if key in kind.needs and key not in given:
                yield at(
                    here, f"`{key}` is missing: kind `{feature.kind}` needs it", f"keys: {wanted}"
                )
            if key in given and key not in kind.needs and key not in kind.may:
                yield at(
                    (*here, key),
                    f"`{key}` does not belong to kind `{feature.kind}`",
                    f"keys: {wanted}",
                    key=True,
                )
        if "of" in given and "of" in kind.needs:
            yield from self._parts(here, feature, kind)
        if kind.sites and "at" in given and len(feature.at) != kind.sites:
            yield at(
                (*here, "at"),
                f"`{feature.kind}` is measured between {kind.sites} sites, not {len(feature.at)}",
                "`at: [F3, P3]`",
            )
        yield from self._distinct(here, feature)
        if feature.window_s is not None and "window" in (*kind.needs, *kind.may):
            low, high = WINDOWS_S.get(feature.kind, (0.0, math.inf))
            if not low <= feature.window_s <= high:
                yield at(
                    (*here, "window"),
                    f"a window of {feature.window_s:g} s does not suit `{feature.kind}`",
                    f"from {low:g} s to {high:g} s",
                )
        yield from self._bands(here, feature)
        yield from self._moving(here, feature)
        yield from self._wide(here, feature)
        yield from self._fit(here, feature)
        yield from self._spatial(name, here, feature)
        if "with" in kind.may:  # else it does not belong there at all
            yield from option_problems(self.source, here, kind.options, feature.options)

    @staticmethod
    def _value(feature: Feature, key: str) -> object:
        names = {
            "band": "band_hz", "total": "total_hz", "smooth": "smooth_s", "window": "window_s",
            "reference": "reference_s", "delay": "delay_s", "with": "options",
        }  # fmt: skip
        value: object = getattr(feature, names.get(key, key))
        return None if value == {} else value

    def _parts(self, here: tuple[str, ...], feature: Feature, kind: Kind) -> Iterator[Problem]:
        at = self.source.problem
        fitting = [n for n, f in self.protocol.features.items() if f.kind in kind.parts]
        n, wanted = len(feature.of), kind.n_parts
        enough = {TWO_OR_MORE: n >= 2, ONE_OR_MORE: n >= 1}.get(wanted, n == wanted)
        if not enough:
            words = {TWO_OR_MORE: "two or more", ONE_OR_MORE: "one or more", 2: "two"}
            examples = {1: "`of: [alpha]`", 2: "`of: [numerator, denominator]`"}
            yield at(
                (*here, "of"),
                f"`of` lists {n} features; `{feature.kind}` is made of {words.get(wanted, 'one')}",
                examples.get(wanted, "`of: [one, two]`"),
            )
        if "weights" in (*kind.needs, *kind.may) and feature.weights:
            if len(feature.weights) != n:
                yield at(
                    (*here, "weights"),
                    f"`of` lists {n} features and `weights` {len(feature.weights)} numbers",
                    "one weight for each feature, in the same order",
                )
            if not any(feature.weights):
                yield at((*here, "weights"), "all weights are 0", "at least one that is not")
        for i, part in enumerate(feature.of):
            place: tuple[str | int, ...] = (*here, "of", i)
            if part not in self.protocol.features:
                what, known = known_names("feature", part, fitting)
                yield at(place, what, known)
            elif part not in fitting and not self._told(part, here[-1]):
                if len(kind.parts) < 4:
                    kinds = " or ".join(sorted(kind.parts))
                    made = {1: "one feature", 2: "two features"}.get(wanted, "features")
                    what = (
                        f"`{part}` is no {kinds}; `{feature.kind}` is made of {made} of kind "
                        f"{kinds}"
                    )
                else:
                    own = self.protocol.features[part].kind
                    what = f"`{part}` is no part of a `{feature.kind}`: it is of kind `{own}`"
                yield at(place, what, f"here: {', '.join(fitting) or 'none'}")

    def _told(self, part: str, name: str) -> bool:
        """Return whether what is wrong with a part is told elsewhere: its kind, or a circle."""
        if self.protocol.features[part].kind not in self.features:
            return True
        way = self._way_back(name)
        return part == name or part in way

    def _distinct(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        """Yield sites of `at` that are given twice, under whatever name."""
        seen: dict[str, str] = {}
        for i, site in enumerate(feature.at):
            first = seen.setdefault(electrode(site), site)
            if first != site:
                yield self.source.problem(
                    (*here, "at", i),
                    f"{site} is the site {first} again",
                    "every site once",
                )

    def _bands(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        at = self.source.problem
        rate, high_pass = self.protocol.needs.rate_hz, self.protocol.condition.high_pass_hz
        for key, edges in (("band", widest_band(feature)), ("total", feature.total_hz)):
            if edges is None:
                continue
            lowest = TIMES_HIGHEST_EDGE * edges[1]
            if rate < lowest:
                yield at(
                    (*here, key),
                    f"{key} up to {edges[1]:g} Hz is too high for `needs: rate`, {rate:g} Hz",
                    f"`rate: at least {lowest:g} Hz` (4 x the highest edge), or a lower band",
                )
            if edges[0] < high_pass:
                yield at(
                    (*here, key),
                    f"the high-pass of {high_pass:g} Hz removes part of {key} from {edges[0]:g} Hz",
                    "a lower `high_pass`, or a higher band",
                )
        own = feature.band_hz
        if own is not None and own[1] - own[0] < NARROWEST_HZ - 1e-9:
            yield at(
                (*here, "band"),
                f"a band {own[1] - own[0]:g} Hz wide is too narrow to follow anything",
                f"at least {NARROWEST_HZ:g} Hz wide",
            )
        total, band = feature.total_hz or TOTAL_HZ, widest_band(feature)
        if total[1] < WHOLE * total[0]:
            yield at(
                (*here, "total"),
                f"{total[0]:g}-{total[1]:g} Hz is too narrow for the whole of a share",
                f"an upper edge of at least {WHOLE:g} times the lower one",
            )
        if feature.kind == "relative_power" and band and not (
            total[0] <= band[0] and band[1] <= total[1]
        ):  # fmt: skip
            yield at(
                (*here, "band"),
                f"the band reaches outside the total of {total[0]:g}-{total[1]:g} Hz",
                "a share needs its band inside its total",
            )

    def _moving(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        """Yield what is wrong with a band around alpha at some place where alpha may lie."""
        if feature.iaf is None:
            return
        at, (lo, hi), (first, last) = self.source.problem, feature.iaf, IAF_RANGE_HZ
        if first + hi > WIDEST * (first + lo):  # narrow there is narrow everywhere
            yield at(
                (*here, "band"),
                f"with an individual alpha frequency of {first:g} Hz the band is "
                f"{first + lo:g}-{first + hi:g} Hz, too wide for one filter wherever it lies",
                f"an upper edge of at most {WIDEST:g} times the lower one, there too",
            )
            return
        if feature.kind != "periodic_power":
            return
        steps = round((last - first) / IAF_STEP_HZ)
        for k in range(steps + 1):
            hz = first + (last - first) * k / steps
            try:
                flanks((hz + lo, hz + hi))
            except InputError as error:
                yield at(
                    (*here, "band"),
                    f"with an individual alpha frequency of {hz:g} Hz {error.what}",
                    error.fix,
                )
                return

    def _wide(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        """Yield what is asked of a wide band that only a narrow one can have."""
        if not is_wide(feature):
            return
        for key in FITTED_ONLY:
            # `fit: fixed` says what a wide band is.
            if self._value(feature, key) in (None, "fixed"):
                continue
            yield self.source.problem(
                (*here, key),
                f"`{key}` is for bands whose upper edge is at most {WIDEST:g} times the lower one; "
                "a wider one is filtered as it is",
                f"leave out `{key}`, or a narrower band",
                key=True,
            )

    def _fit(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        at, protocol = self.source.problem, self.protocol
        band = feature.band_hz if feature.iaf is None else None
        if feature.iaf is not None and not any("iaf" in b.uses for b in protocol.baseline):
            yield at(
                (*here, "band"),
                "the band lies around the individual alpha frequency, which no baseline is "
                "recorded for",
                "a block `{name: eyes_closed, lasts: 120 s, eyes: closed, for: [iaf]}`",
            )
        kind = self.features.get(feature.kind)
        two_or_flanked = kind is not None and (kind.sites == 2 or feature.kind == "periodic_power")
        if two_or_flanked and band is not None and band[1] > WIDEST * band[0]:
            yield at(
                (*here, "band"),
                f"{band[0]:g}-{band[1]:g} Hz is too wide for `{feature.kind}`",
                f"an upper edge of at most {WIDEST:g} times the lower one",
            )
        if feature.kind == "periodic_power" and band is not None:
            try:
                flanks(band)
            except InputError as error:
                yield at((*here, "band"), error.what, error.fix)
        if feature.fit in ("session", "course") and not any(b.learn for b in protocol.baseline):
            yield at(
                (*here, "fit"),
                f"`fit: {feature.fit}` needs a baseline, and no block learns anything",
                "`fit: fixed`, or `learn:` in a baseline block",
            )
        if feature.fit == "fixed":
            for key, value in (("delay", feature.delay_s), ("target", feature.target)):
                if value is not None:
                    yield at(
                        (*here, key),
                        f"`{key}` is a property of the fitted filter, but `fit: fixed` is given",
                        f"leave out `{key}`, or `fit: session`",
                    )

    def _spatial(self, name: str, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        at = self.source.problem
        if feature.spatial in SOURCES and len(feature.at) < LEAST_SOURCE_SITES:
            yield at(
                (*here, "at"),
                f"a source is estimated from {LEAST_SOURCE_SITES} sites or more, not "
                f"{len(feature.at)}",
                "every electrode of the cap under `at` and `needs: channels`",
            )
        if not isinstance(feature.spatial, dict):
            return
        yield from self._weights(here, feature, feature.spatial)
        needed = {c.casefold() for c in self.protocol.needs.channels}
        for site in feature.spatial:
            if site.casefold() not in needed:
                yield at(
                    (*here, "spatial", site),
                    f"site {site} is used but not needed by the protocol",
                    f"`needs: channels` has {', '.join(self.protocol.needs.channels)}; add it",
                    key=True,
                )
        compared = [
            n for n, f in self.protocol.features.items() if f.kind in ASYMMETRIES and name in f.of
        ]
        sides = {side(s) for s, w in feature.spatial.items() if w} - {""}
        if compared and len(sides) > 1:
            yield at(
                (*here, "spatial"),
                f"these weights mix both sides of the head, and `{compared[0]}` compares sides",
                "weights at sites of one side and the midline",
            )

    def _unneeded(self, sites: Collection[str]) -> bool:
        # A misspelt site is one mistake, told at its place.
        needed = {c.casefold() for c in self.protocol.needs.channels}
        return any(s.casefold() not in needed for s in sites)

    def _weights(
        self, here: tuple[str, ...], feature: Feature, weights: Mapping[str, float]
    ) -> Iterator[Problem]:
        at = self.source.problem
        seen: dict[str, str] = {}
        for site, weight in weights.items():
            first = seen.setdefault(electrode(site), site)
            if first != site:
                yield at(
                    (*here, "spatial", site), f"{site} is the site {first} again",
                    "every site once", key=True,
                )  # fmt: skip
            if not WEIGHTS[0] <= abs(weight) <= WEIGHTS[1]:
                yield at(
                    (*here, "spatial", site),
                    f"{site} cannot have the weight {weight:g}",
                    f"from {WEIGHTS[0]:g} to {WEIGHTS[1]:g} in size; leave out what has none",
                )
        if len(feature.at) > 1:
            yield at(
                (*here, "at"),
                f"weights make one signal, but `at` lists {len(feature.at)} sites",
                "the one site for which the weights stand",
            )
        elif feature.at and electrode(feature.at[0]) not in seen and not self._unneeded(weights):
            yield at(
                (*here, "at"),
                f"{feature.at[0]} has no weight, so it would not be measured",
                f"one of the weighted sites: {', '.join(weights)}",
            )
