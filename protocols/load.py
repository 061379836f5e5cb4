"""Protocol files: from a name or a path to a checked protocol, or every mistake at once."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol as Shape

from engine.aperiodic import flanks
from engine.config import Source, parse, read, validate
from engine.coupling import FLOOR_WINDOWS, window_s
from engine.errors import InputError, Problem, YamlError
from engine.features import BURSTS, COUPLED, LONG_WINDOW_S, REFERRED
from engine.montage import ALIASES, clean_label
from engine.units import IAF_RANGE_HZ, NOMINAL_IAF_HZ
from protocols.model import NEEDS_CLEAN_S, BaselineBlock, Edge, Feature, Protocol, Rule, Threshold

__all__ = ["Kind", "Loaded", "fits", "library", "load"]

PICTURES = ("orb", "bar", "none")
SOUNDS = ("chime", "ambience")

TIMES_HIGHEST_EDGE = 4  # the lowest rate, in multiples of the highest band edge
GOOD_RATE_HZ = 250.0
MUSCLE_FROM_HZ = 20.0  # scalp muscle reaches down to here
TOTAL_HZ = (1.0, 40.0)  # of relative power, unless given
FRONTAL = ("fp1", "fp2", "fpz", "af3", "af4", "af7", "af8", "f7", "f8", "f3", "f4", "fz")
PARAMETERS = (
    "at", "of", "band", "total", "smooth", "window", "reference", "delay", "target", "fit",
    "spatial",
)  # fmt: skip
WIDEST = 3.0  # upper over lower edge, for a signal with a phase
NARROWEST_HZ = 1.0  # a filter narrower than that rings for seconds
WHOLE = 2.0  # upper over lower edge of a total, at least
WEIGHTS = (1e-3, 1e3)  # size of a spatial weight
IAF_CLEAN_S = 22.6  # ten windows of `engine.iaf` without a break
IAF_STEP_HZ = 0.01  # of the places at which a moving flank is looked at
FILL_S = 3.0  # until a filter has filled, when a baseline is read again
READ_AGAIN = 0.5  # of the clean time asked for, to be known after fitting
FITTED_ONLY = ("delay", "target", "fit", "spatial")  # of narrow bands
AGAINST_REST = frozenset(BURSTS) | frozenset(REFERRED) | frozenset(COUPLED)
WINDOWS_S = {
    **dict.fromkeys((*BURSTS, "share_above"), (1.0, 300.0)),
    **dict.fromkeys(COUPLED, (0.5, 60.0)),
    **dict.fromkeys(("slow_potential", "peak_to_peak"), (0.05, 10.0)),
}
ASYMMETRIES = ("log_ratio", "shrunk_log_ratio", "asymmetry_index")


class Kind(Shape):
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


@dataclass(frozen=True, slots=True)
class Loaded:
    """A protocol with where it came from.

    Parameters
    ----------
    protocol : Protocol
    path : Path
    sha256 : str
        Of the bytes of the file, for the recording's header.
    text : str
        The file as read; the recording keeps it, whatever happens to the file later.
    hints : tuple of str
        Things that are allowed but deserve a second thought.
    """

    protocol: Protocol
    path: Path
    sha256: str
    text: str
    hints: tuple[str, ...] = ()


def library() -> tuple[str, ...]:
    """Return the names of the shipped protocols."""
    folder = resources.files("protocols") / "library"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def load(
    path_or_name: str | Path,
    features: Mapping[str, Kind],
    *,
    pictures: Collection[str] = PICTURES,
    sounds: Collection[str] = SOUNDS,
    allow_short: bool = False,
) -> Loaded:
    """Load and check a protocol.

    Parameters
    ----------
    path_or_name : str or Path
        A library name (``smr_up``) or the path of a YAML file.
    features : mapping of str to Kind
        The registry of feature kinds.
    pictures, sounds : collection of str
        Names that may stand under `picture`, `on_reward` and `continuous`.
    allow_short : bool
        Accept baselines that are too short for what is learned from them (tests only).

    Raises
    ------
    YamlError
        With every mistake of the file.
    InputError
        When there is no such protocol or file.
    """
    source, path = _source(path_or_name)
    protocol = validate(Protocol, source)
    check = _Check(protocol, source, features, pictures, sounds, allow_short)
    problems = sorted(dict.fromkeys(check.problems()), key=lambda p: (p.line, p.column))
    if problems:
        raise YamlError(tuple(problems))
    return Loaded(protocol, path, source.sha256, source.text, tuple(hints(protocol)))


def _source(path_or_name: str | Path) -> tuple[Source, Path]:
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or "/" in text or "\\" in text or text.endswith(
        (".yaml", ".yml")
    ):  # fmt: skip
        path = Path(path_or_name)
        return read(path), path
    names = library()
    if text not in names:
        raise InputError(
            f"There is no protocol `{text}` in the library{_meant(text, names) or '.'}",
            f"Choose one of {', '.join(names)}, or give the path of a YAML file.",
        )
    file = resources.files("protocols") / "library" / f"{text}.yaml"
    return parse(file.read_bytes(), str(file)), Path(str(file))


def _meant(name: str, names: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""


def _known(what: str, name: str, names: Collection[str]) -> tuple[str, str]:
    listed = ", ".join(sorted(names)) or "nothing yet"
    return f"unknown {what} `{name}`{_meant(name, names)}", f"known: {listed}"


@dataclass(frozen=True, slots=True)
class _Check:
    """The checks across fields, each yielding problems at their place."""

    protocol: Protocol
    source: Source
    features: Mapping[str, Kind]
    pictures: Collection[str]
    sounds: Collection[str]
    allow_short: bool

    def problems(self) -> Iterator[Problem]:
        """Yield every problem."""
        for name, feature in self.protocol.features.items():
            yield from self._feature(name, feature)
        yield from self._sites()
        yield from self._baseline()
        yield from self._rule(self.protocol.reward, ("reward",))
        for i, rule in enumerate(self.protocol.inhibit):
            yield from self._rule(rule, ("inhibit", i))
        yield from self._feedback()
        yield from self._never_known()
        yield from self._session()

    # ------------------------------------------------------------ features

    def _feature(self, name: str, feature: Feature) -> Iterator[Problem]:
        at = self.source.problem
        here = ("features", name)
        kind = self.features.get(feature.kind)
        if kind is None:
            what, known = _known("kind of feature", feature.kind, self.features)
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

    @staticmethod
    def _value(feature: Feature, key: str) -> object:
        names = {
            "band": "band_hz", "total": "total_hz", "smooth": "smooth_s", "window": "window_s",
            "reference": "reference_s", "delay": "delay_s",
        }  # fmt: skip
        value: object = getattr(feature, names.get(key, key))
        return value

    def _parts(self, here: tuple[str, ...], feature: Feature, kind: Kind) -> Iterator[Problem]:
        at = self.source.problem
        fitting = [n for n, f in self.protocol.features.items() if f.kind in kind.parts]
        if len(feature.of) != kind.n_parts:
            example = "`of: [numerator, denominator]`" if kind.n_parts == 2 else "`of: [alpha]`"
            yield at(
                (*here, "of"),
                f"`of` lists {len(feature.of)} features; `{feature.kind}` is made of "
                f"{'two' if kind.n_parts == 2 else 'one'}",
                example,
            )
        for i, part in enumerate(feature.of):
            place: tuple[str | int, ...] = (*here, "of", i)
            if part not in self.protocol.features:
                what, known = _known("feature", part, fitting)
                yield at(place, what, known)
            elif part not in fitting:
                if len(kind.parts) < 4:
                    wanted = " or ".join(sorted(kind.parts))
                    made = "two features" if kind.n_parts == 2 else "one feature"
                    what = (
                        f"`{part}` is no {wanted}; `{feature.kind}` is made of {made} of kind "
                        f"{wanted}"
                    )
                else:
                    own = self.protocol.features[part].kind
                    what = f"`{part}` is no part of a `{feature.kind}`: it is of kind `{own}`"
                yield at(place, what, f"here: {', '.join(fitting) or 'none'}")

    def _distinct(self, here: tuple[str, ...], feature: Feature) -> Iterator[Problem]:
        """Yield sites of `at` that are given twice, under whatever name."""
        seen: dict[str, str] = {}
        for i, site in enumerate(feature.at):
            first = seen.setdefault(_electrode(site), site)
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
        if not _is_wide(feature):
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
        if not isinstance(feature.spatial, dict):
            return
        yield from self._weights(here, feature, feature.spatial)
        needed = {c.casefold() for c in self.protocol.needs.channels}
        for site in feature.spatial:
            if site.casefold() not in needed:
                yield at(
                    (*here, "spatial", site),
                    f"site {site} is used but not needed by the protocol",
                    f"`needs: channels` has {', '.join(self.protocol.needs.channels)}",
                )
        compared = [
            n for n, f in self.protocol.features.items() if f.kind in ASYMMETRIES and name in f.of
        ]
        sides = {_side(s) for s, w in feature.spatial.items() if w} - {""}
        if compared and len(sides) > 1:
            yield at(
                (*here, "spatial"),
                f"these weights mix both sides of the head, and `{compared[0]}` compares sides",
                "weights at sites of one side and the midline",
            )

    def _weights(
        self, here: tuple[str, ...], feature: Feature, weights: Mapping[str, float]
    ) -> Iterator[Problem]:
        at = self.source.problem
        seen: dict[str, str] = {}
        for site, weight in weights.items():
            first = seen.setdefault(_electrode(site), site)
            if first != site:
                yield at(
                    (*here, "spatial", site), f"{site} is the site {first} again", "every site once"
                )
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
        elif feature.at and _electrode(feature.at[0]) not in seen:
            yield at(
                (*here, "at"),
                f"{feature.at[0]} has no weight, so it would not be measured",
                f"one of the weighted sites: {', '.join(weights)}",
            )

    def _sites(self) -> Iterator[Problem]:
        protocol, at = self.protocol, self.source.problem
        needed = {c.casefold() for c in protocol.needs.channels}
        allowed = f"`needs: channels` has {', '.join(protocol.needs.channels)}; add it there"
        used: list[tuple[tuple[str | int, ...], tuple[str, ...]]] = [
            (("features", n, "at"), f.at) for n, f in protocol.features.items()
        ]
        used += [
            (("gates", n, "at"), getattr(protocol.gates, n).at or ())
            for n in ("blink", "amplitude", "step", "muscle", "saccade")
        ]
        used += [
            (("condition", "reference"), tuple(r.split()[1:]))
            for r in protocol.condition.reference
            if r.startswith("bipolar ")
        ]
        for loc, sites in used:
            for site in sites:
                if site.casefold() not in needed:
                    yield at(loc, f"site {site} is used but not needed by the protocol", allowed)

    # ------------------------------------------------------------ baseline, rules

    def _baseline(self) -> Iterator[Problem]:
        at = self.source.problem
        names: set[str] = set()
        learned: dict[str, str] = {}
        for i, block in enumerate(self.protocol.baseline):
            here = ("baseline", i)
            if block.name in names:
                yield at((*here, "name"), f"two baselines are called `{block.name}`", "")
            names.add(block.name)
            if block.needs_clean_s > block.lasts_s:
                yield at(
                    (*here, "needs_clean"),
                    f"`needs_clean` of {block.needs_clean_s:g} s is longer than the block",
                    f"at most {block.lasts_s:g} s",
                )
            if block.learn and block.needs_clean_s < NEEDS_CLEAN_S and not self.allow_short:
                key = "needs_clean" if "needs_clean_s" in block.model_fields_set else "lasts"
                yield at(
                    (*here, key),
                    f"a baseline learned from {block.needs_clean_s:g} s is not trustworthy",
                    f"at least {NEEDS_CLEAN_S:g} s clean",
                )
            if "iaf" in block.uses and block.lasts_s < IAF_CLEAN_S and not self.allow_short:
                yield at(
                    (*here, "lasts"),
                    f"no individual alpha frequency can be read from {block.lasts_s:g} s",
                    f"at least {IAF_CLEAN_S:g} s without a break; 120 s is the advice",
                )
            for j, name in enumerate(block.learn):
                place = (*here, "learn", j)
                if name not in self.protocol.features:
                    what, known = _known("feature", name, self.protocol.features)
                    yield at(place, what, known)
                elif name in learned:
                    yield at(place, f"`{name}` is already learned in `{learned[name]}`", "once")
                elif not self.allow_short:
                    yield from self._fills(name, block, place)
                learned.setdefault(name, block.name)

    def _fills(
        self, name: str, block: BaselineBlock, place: tuple[str | int, ...]
    ) -> Iterator[Problem]:
        """Yield that a feature's window is too long to be learned in a block."""
        floor_s = self._floor_s(name, ())
        if floor_s > 0.0 and block.needs_clean_s < floor_s:
            yield self.source.problem(
                place,
                f"the chance value of `{name}` takes {floor_s:g} s of clean time, but this "
                f"baseline needs {block.needs_clean_s:g} s only",
                f"`needs_clean: {floor_s:g} s` or more, or a shorter `window`",
            )
            return
        fill_s = self._fill_s(name, ())
        needed_s = max(block.needs_clean_s, fill_s / (1.0 - READ_AGAIN))
        lasts_s = fill_s + FILL_S + READ_AGAIN * needed_s
        if fill_s > 0.0 and (block.needs_clean_s < needed_s or block.lasts_s < lasts_s):
            yield self.source.problem(
                place,
                f"`{name}` is known after {fill_s:g} s of clean time only: too late for a "
                f"baseline of {block.lasts_s:g} s that needs {block.needs_clean_s:g} s clean",
                f"`lasts: {max(lasts_s, needed_s):g} s, needs_clean: {needed_s:g} s` or more, or "
                "a shorter `window`",
            )

    def _fill_s(self, name: str, above: tuple[str, ...]) -> float:
        """Return the clean seconds until the windows of a feature and its parts have filled."""
        feature = self.protocol.features.get(name)
        if feature is None or name in above:
            return 0.0
        own = 0.0
        if feature.kind in BURSTS or feature.kind == "share_above":
            own = (feature.window_s or LONG_WINDOW_S) / 2.0  # known when half is filled
        elif feature.kind in COUPLED:
            own = _coupled_s(feature)
        return own + max((self._fill_s(n, (*above, name)) for n in feature.of), default=0.0)

    def _floor_s(self, name: str, above: tuple[str, ...]) -> float:
        """Return the clean seconds that the chance values of a feature and its parts take."""
        feature = self.protocol.features.get(name)
        if feature is None or name in above:
            return 0.0
        own = FLOOR_WINDOWS * _coupled_s(feature) + FILL_S if feature.kind in COUPLED else 0.0
        return max([own, *(self._floor_s(n, (*above, name)) for n in feature.of)])

    def _never_known(self) -> Iterator[Problem]:
        """Yield what is compared with a fixed value but measured against a rest nobody records."""
        if any(block.learn for block in self.protocol.baseline):
            return
        level = self.protocol.feedback.level
        used: list[tuple[str, bool, tuple[str | int, ...]]] = [
            (self.protocol.reward.feature, self.protocol.reward.threshold.value is not None,
             ("reward", "feature"))
        ]  # fmt: skip
        used += [
            (r.feature, r.threshold.value is not None, ("inhibit", i, "feature"))
            for i, r in enumerate(self.protocol.inhibit)
        ]
        fixed = level.start.fixed is not None and level.end.fixed is not None
        used.append((level.feature, fixed, ("feedback", "level", "feature")))
        told: set[str] = set()
        for name, given, place in used:
            against = self._against_rest(name, ())
            if not given or against is None or name in told:
                continue
            told.add(name)
            kind = self.protocol.features[against].kind
            yield self.source.problem(
                place,
                f"`{name}` would never be known: `{kind}` is measured against the baseline, and no "
                "block learns anything",
                f"`learn: [{name}]` in a baseline block",
            )

    def _against_rest(self, name: str, above: tuple[str, ...]) -> str | None:
        """Return the feature, itself or a part, that must know the person's rest."""
        feature = self.protocol.features.get(name)
        if feature is None or name in above:
            return None
        if feature.kind in AGAINST_REST:
            return name
        found = (self._against_rest(n, (*above, name)) for n in feature.of)
        return next((n for n in found if n is not None), None)

    def _learned(self, feature: str) -> bool:
        return any(feature in block.learn for block in self.protocol.baseline)

    def _meant_to_learn(self, feature: str) -> bool:
        # A misspelt name under `learn` is one mistake, told there.
        names = [n for b in self.protocol.baseline for n in b.learn]
        unknown = [n for n in names if n not in self.protocol.features]
        return any(f"`{feature}`" in _meant(n, self.protocol.features) for n in unknown)

    def _rule(self, rule: Rule, here: tuple[str | int, ...]) -> Iterator[Problem]:
        if rule.feature not in self.protocol.features:
            what, known = _known("feature", rule.feature, self.protocol.features)
            yield self.source.problem((*here, "feature"), what, known)
            return
        yield from self._value_or_learned(
            rule.feature, rule.threshold, (*here, rule.direction), "threshold"
        )

    def _value_or_learned(
        self, name: str, asked: Threshold | Edge, here: tuple[str | int, ...], noun: str
    ) -> Iterator[Problem]:
        at = self.source.problem
        value = asked.value if isinstance(asked, Threshold) else asked.fixed
        if value is None:
            if not self._learned(name) and not self._meant_to_learn(name):
                yield at(
                    here,
                    f"this {noun} comes from the baseline, but no baseline learns `{name}`",
                    f"add `learn: [{name}]` to a baseline block",
                )
            return
        kind = self.features.get(self.protocol.features[name].kind)
        if kind is None:
            return
        unit = "" if kind.unit in ("1", "1/min") else kind.unit
        if asked.unit != unit:
            yield at(
                (*here, "fixed"),
                f"`{name}` is measured in {unit or 'no unit (it is a ratio)'}, "
                f"the {noun} is given in {asked.unit or 'no unit'}",
                f"for example `{{fixed: {f'12 {unit}' if unit else '0.2'}}}`",
            )
        if kind.scale == "ln" and value <= 0.0:
            yield at(
                (*here, "fixed"),
                f"`{name}` is always above 0 and compared on a logarithmic scale; "
                f"{value:g} is never reached",
                "a value above 0",
            )

    # ------------------------------------------------------------ feedback, session

    def _feedback(self) -> Iterator[Problem]:
        at, feedback = self.source.problem, self.protocol.feedback
        level, sound = feedback.level, feedback.sound
        here = ("feedback", "level")
        if level.feature not in self.protocol.features:
            what, known = _known("feature", level.feature, self.protocol.features)
            yield at((*here, "feature"), what, known)
        else:
            yield from self._value_or_learned(level.feature, level.start, (*here, "from"), "edge")
            yield from self._value_or_learned(level.feature, level.end, (*here, "to"), "edge")
        if (level.start.fixed, level.start.plus_mad) == (level.end.fixed, level.end.plus_mad):
            yield at((*here, "to"), "`from` and `to` are the same", "two different values")
        if feedback.picture not in self.pictures:
            what, known = _known("picture", feedback.picture, self.pictures)
            yield at(("feedback", "picture"), what, known)
        for key, name in (("on_reward", sound.on_reward), ("continuous", sound.continuous)):
            if name is not None and name not in self.sounds:
                what, known = _known("sound", name, self.sounds)
                yield at(("feedback", "sound", key), what, known)
        if feedback.picture == "none" and not (sound.on_reward or sound.continuous):
            yield at(
                ("feedback", "picture"),
                "there is neither a picture nor a sound: nothing would be perceived",
                "a picture, or `sound: {on_reward: chime}`",
            )

    def _session(self) -> Iterator[Problem]:
        at, steps = self.source.problem, self.protocol.session
        kinds = [s.kind for s in steps]
        if "train" not in kinds:
            yield at(("session",), "the session has no training block", "`{train: 180 s}`")
        for step in steps:
            if step.kind != "baseline" and step.lasts_s < 1.0:
                yield at(
                    ("session",), f"a {step.kind} step lasts {step.lasts_s:g} s", "1 s or more"
                )
        if kinds.count("baseline") > 1:
            yield at(("session",), "`baseline` comes twice", "once, before the training")
        if self.protocol.baseline and "baseline" not in kinds:
            yield at(("session",), "the baselines are never recorded", "begin with `- baseline`")
        if "baseline" in kinds and not self.protocol.baseline:
            yield at(("session",), "there is no baseline block to record", "`baseline: [...]`")
        if "baseline" in kinds:
            early = [k for k in kinds[: kinds.index("baseline")] if k in ("train", "transfer")]
            if early:
                yield at(("session",), "training comes before the baseline", "baseline first")


# ---------------------------------------------------------------- allowed, but think twice


def hints(protocol: Protocol) -> Iterator[str]:
    """Yield what is allowed but deserves a second thought, as sentences."""
    feedback = protocol.feedback
    eyes = trained_eyes(protocol)
    if feedback.picture == "none" and "open" in eyes:
        yield "Feedback is sound alone but the eyes are open in training: is that intended?"
    if feedback.picture != "none" and "closed" in eyes:
        yield f"Training is with closed eyes, so the picture `{feedback.picture}` is not seen."
    if "closed" in eyes and not feedback.sound.continuous:
        yield "Training is with closed eyes and there is no continuous sound."
    for rule in protocol.rules:
        learned = next((b for b in protocol.baseline if rule.feature in b.learn), None)
        if rule.threshold.value is None and learned and learned.eyes not in eyes:
            yield (
                f"`{rule.feature}` is learned with eyes {learned.eyes} but trained with eyes "
                f"{' and '.join(sorted(eyes))}; the threshold will not fit."
            )
        success = rule.threshold.success
        if success is not None and not 0.2 <= success <= 0.9:
            yield f"Success of {success:.0%} for `{rule.feature}` tells the person next to nothing."
    for block in protocol.baseline:
        if "iaf" not in block.uses:
            continue
        if block.eyes == "open":
            yield (
                f"`{block.name}` is recorded for the individual alpha frequency with open eyes; "
                "alpha shows best with closed eyes."
            )
        if block.needs_clean_s < IAF_CLEAN_S:
            yield (
                f"`{block.name}` is accepted with {block.needs_clean_s:g} s clean, but the "
                f"individual alpha frequency takes {IAF_CLEAN_S:g} s without a break; without one, "
                f"{NOMINAL_IAF_HZ:g} Hz stands for it."
            )
    if len(protocol.inhibit) > 2:
        yield "More than two inhibits make joint success rare; one reward and two is the advice."
    bands = [widest_band(f) for f in protocol.features.values()]
    highest = max((band[1] for band in bands if band), default=0.0)
    if highest > MUSCLE_FROM_HZ and not protocol.gates.muscle.on:
        yield "The muscle gate is off although a band reaches where muscle shows."
    frontal = [s for s in protocol.sites if s.casefold() in FRONTAL]
    if frontal and not protocol.gates.blink.on:
        yield f"The blink gate is off although {', '.join(frontal)} see every blink."
    if protocol.needs.rate_hz < GOOD_RATE_HZ:
        yield (
            f"A rate of {protocol.needs.rate_hz:g} Hz is enough by the rule of four times the "
            f"highest edge; {GOOD_RATE_HZ:g} Hz or more shows muscle better."
        )
    for name, fit in fits(protocol).items():
        feature = protocol.features[name]
        if fit == "course" and feature.fit != "course" and feature.band_hz is not None:
            yield (
                f"`{name}` is compared with a fixed value, so its filter is fitted once and kept "
                "for the person's whole course (`fit: course`)."
            )
        alpha = feature.band_hz is not None and feature.band_hz[0] < 13 and feature.band_hz[1] > 7
        seen = [s for s in feature.at if s.casefold() in FRONTAL]
        if protocol.condition.eog == "regress" and alpha and seen:
            # Figures: benchmarks/spatial.py, two people with eyes closed (EEGBCI).
            yield (
                f"`eog: regress` also takes away part of `{name}`: the electrodes that see the "
                f"eyes see the alpha of {', '.join(seen)} as well (in two people measured, F3, Fz "
                "and F4 kept 62-75 % of its amplitude), alike on both sides. Leave it off, and "
                "let the blink gate hold the feedback."
            )
    for name in unused(protocol):
        yield f"`{name}` is measured and recorded, but no rule and no level uses it."


def _side(site: str) -> str:
    """Return ``left``, ``right``, or nothing for the midline and names without a side."""
    digits = "".join(c for c in site if c.isdigit())
    return "" if not digits else "left" if int(digits) % 2 else "right"


def _electrode(site: str) -> str:
    """Return one name for a place, however it is written: ``T3``, ``t3`` and ``T7`` are one."""
    name = clean_label(site)
    return min(name, ALIASES.get(name, name)).casefold()


def _coupled_s(feature: Feature) -> float:
    """Return the window of a coupling."""
    if feature.window_s is not None or feature.band_hz is None:
        return feature.window_s or 0.0
    return window_s(feature.band_hz)


def _is_wide(feature: Feature) -> bool:
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
    if level.start.fixed is not None or level.end.fixed is not None:
        lasting.add(level.feature)
    for _ in range(3):  # parts of parts of parts
        for name in tuple(lasting):
            feature = protocol.features.get(name)
            if feature is not None and feature.kind != "z":
                lasting.update(feature.of)
    out: dict[str, str] = {}
    for name, feature in protocol.features.items():
        fit = feature.fit or ("session" if learns else "fixed")
        if _is_wide(feature):
            fit = "fixed"
        out[name] = "course" if fit == "session" and name in lasting else fit
    return out


def trained_eyes(protocol: Protocol) -> set[str]:
    """Return the eye states of the training blocks."""
    return {eyes_of(protocol, s.eyes) for s in protocol.session if s.kind == "train"}


def eyes_of(protocol: Protocol, given: str | None) -> str:
    """Return the eyes of a block: as given, else as in the baseline that learns the reward."""
    if given is not None:
        return given
    for block in protocol.baseline:
        if protocol.reward.feature in block.learn:
            return block.eyes
    return "open"


def unused(protocol: Protocol) -> tuple[str, ...]:
    """Return features that no rule, level or other feature uses."""
    used = {r.feature for r in protocol.rules} | {protocol.feedback.level.feature}
    used |= {part for f in protocol.features.values() for part in f.of}
    return tuple(n for n in protocol.features if n not in used)
