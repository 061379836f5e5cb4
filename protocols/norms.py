"""Norms: what is usual at an age, out of a table that the user supplies.

The table is a CSV file (docs/norms.md); none comes with Neuroloop. A table with a mistake is not
used at all: every mistake is told at once, by file and line. Means and standard deviations leave
here on the scale on which the engine compares a feature of their kind: the natural logarithm for
powers and ratios, the plain number for the others.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from engine.config import Source
from engine.errors import FileError, InputError, Problem, YamlError
from engine.features import COUPLED, DEFAULT_TOTAL_HZ, FEATURES
from engine.montage import ALIASES, clean_label, is_site
from protocols.facts import eyes_of, trained_eyes
from protocols.model import Feature, Protocol

__all__ = ["METRICS", "Norm", "NormRow", "Norms", "read_norms", "with_norms"]

Eyes = Literal["open", "closed"]
Transform = Literal["none", "ln", "log10"]
Scale = Literal["ln", "linear"]

METRICS = (
    "power", "amplitude", "relative_power", "periodic_power", "ratio", "log_ratio",
    "asymmetry_index", "coherence", "imaginary_coherence", "plv", "wpli", "envelope_correlation",
)  # fmt: skip
"""Kinds of features that a row may be about: those whose bands and sites a row can name."""
_OF_TWO = ("ratio", "log_ratio", "asymmetry_index")  # made of two powers

REQUIRED = (
    "age_from", "age_to", "eyes", "site", "metric", "band_low_hz", "band_high_hz", "mean", "sd",
    "transform",
)  # fmt: skip
OPTIONAL = ("over_low_hz", "over_high_hz", "reference", "n")
OVER = ("ratio", "relative_power")  # mean nothing without the band below the line
MOST_TOLD = 20  # mistakes, so that a table of the wrong kind does not fill the screen
OLDEST_YEARS = 130.0
SAME_HZ = 0.005
_OLD = ("T3", "T4", "T5", "T6")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LN10 = math.log(10.0)


@dataclass(frozen=True, slots=True)
class NormRow:
    """One row of the table, as written.

    Parameters
    ----------
    line : int
        Where it stands in the file, 1-based.
    age_from_years, age_to_years : float
        From the first up to, not including, the second.
    eyes : {'open', 'closed'}
        Of the recordings behind it.
    sites : tuple of str
        One site, or several in the order of the file.
    over_sites : tuple of str
        Sites below the line of an asymmetry (``F4/F3``), else empty.
    metric : str
        One of `METRICS`.
    band_hz : tuple of float
        Lower and upper edge.
    over_hz : tuple of float, optional
        The band below the line: of a ratio, or the whole of a relative power.
    mean, sd : float
        On the scale that `transform` names.
    transform : {'none', 'ln', 'log10'}
        Applied to the metric before the mean was taken.
    reference : str
        What the recordings were measured against, in the words of the file; empty if not said.
    n : int, optional
        How many people.
    """

    line: int
    age_from_years: float
    age_to_years: float
    eyes: Eyes
    sites: tuple[str, ...]
    over_sites: tuple[str, ...]
    metric: str
    band_hz: tuple[float, float]
    over_hz: tuple[float, float] | None
    mean: float
    sd: float
    transform: Transform
    reference: str
    n: int | None


@dataclass(frozen=True, slots=True)
class Norm:
    """A mean and a standard deviation on the engine's scale of the metric.

    Parameters
    ----------
    mean, sd : float
        Of ``ln x`` where `scale` is ``ln``, of ``x`` where it is ``linear``.
    scale : {'ln', 'linear'}
        As in `engine.features`.
    transform : {'none', 'ln', 'log10'}
        What the file said; ``log10`` was multiplied by ln 10 already.
    n : int, optional
        How many people.
    row : NormRow
        Where it comes from.
    """

    mean: float
    sd: float
    scale: Scale
    transform: Transform
    n: int | None
    row: NormRow

    def z(self, value: float) -> float:
        """Return how many standard deviations a value lies from the mean.

        Parameters
        ----------
        value : float
            Of the metric, not its logarithm.

        Returns
        -------
        float
            NaN where the value is NaN, or has no logarithm.
        """
        if self.scale == "ln":
            value = math.log(value) if value > 0.0 else math.nan
        return (value - self.mean) / self.sd


@dataclass(frozen=True, slots=True)
class Norms:
    """A table of norms without mistakes.

    Parameters
    ----------
    file : str
        As it was named.
    sha256 : str
        Of its bytes, for the recording.
    rows : tuple of NormRow
        In the order of the file.
    """

    file: str
    sha256: str
    rows: tuple[NormRow, ...]

    def lookup(
        self,
        metric: str,
        sites: Sequence[str],
        band_hz: tuple[float, float],
        eyes: Eyes,
        age_years: float,
        *,
        over_hz: tuple[float, float] | None = None,
        over_sites: Sequence[str] = (),
        reference: str | None = None,
    ) -> Norm:
        """Return the one norm that fits.

        Nothing is interpolated, and no near band, site or age is taken instead.

        Parameters
        ----------
        metric : str
            Kind of the feature.
        sites : sequence of str
            Its sites; order does not matter, aliases do (T3 = T7).
        band_hz : tuple of float
            Its band, to 0.005 Hz.
        eyes : {'open', 'closed'}
            Of the phase.
        age_years : float
            Of the person.
        over_hz : tuple of float, optional
            Band of the second power of a ratio, or the total of a relative power; None where it
            is the same band.
        over_sites : sequence of str
            Sites of the second power of an asymmetry; empty where they are the same sites.
        reference : str, optional
            Only rows with this reference, or with none said.

        Raises
        ------
        InputError
            No row fits, or several do; it names what there is.
        """
        wanted = _key(sites), _key(over_sites) if _key(over_sites) != _key(sites) else _key(())
        below = None if over_hz is None or _same(over_hz, band_hz) else over_hz
        spoken = _place(sites, over_sites if wanted[1] else ())
        steps: tuple[tuple[str, str, Callable[[NormRow], bool], Callable[[NormRow], str]], ...] = (
            ("metric", metric, lambda r: r.metric == metric, lambda r: r.metric),
            (
                "site",
                spoken,
                lambda r: (_key(r.sites), _key(r.over_sites)) == wanted,
                lambda r: _place(r.sites, r.over_sites),
            ),
            (
                "band",
                _bands(band_hz, below),
                lambda r: _same(r.band_hz, band_hz) and _same(r.over_hz, below),
                lambda r: _bands(r.band_hz, r.over_hz),
            ),
            ("eyes", f"eyes {eyes}", lambda r: r.eyes == eyes, lambda r: f"eyes {r.eyes}"),
            (
                "age",
                f"age {age_years:g}",
                lambda r: r.age_from_years <= age_years < r.age_to_years,
                lambda r: f"{r.age_from_years:g} to below {r.age_to_years:g} years",
            ),
            (
                "reference",
                f"reference {reference}",
                lambda r: reference is None or r.reference.lower() in ("", reference.lower()),
                lambda r: f"reference {r.reference}",
            ),
        )
        left: Sequence[NormRow] = self.rows
        said: list[str] = []
        for noun, asked, fits, shown in steps:
            found = [r for r in left if fits(r)]
            if not found:
                there = _listed(shown(r) for r in left)
                of = f" for {', '.join(said)}" if said else ""
                raise InputError(
                    f"{self.file} has no norm{of} with {asked}; it has {there}",
                    f"use a table with this {noun}, or compare with the own baseline (a `z` "
                    "without norms)",
                )
            left = found
            said.append(asked)
        if len(left) > 1:
            several = ", ".join(f"{r.reference or 'none said'} (line {r.line})" for r in left)
            raise InputError(
                f"{self.file} has several norms for {', '.join(said[:5])}; their references are "
                f"{several}",
                "keep the rows of the reference that the session uses in the table",
            )
        return _norm(left[0])


def _norm(row: NormRow) -> Norm:
    factor = _LN10 if row.transform == "log10" else 1.0
    scale = FEATURES[row.metric].scale
    return Norm(row.mean * factor, row.sd * factor, scale, row.transform, row.n, row)


# ---------------------------------------------------------------- words and keys


def _key(sites: Sequence[str]) -> frozenset[str]:
    names = (clean_label(s) for s in sites)
    return frozenset(ALIASES[n] if n in _OLD else n for n in names)


def _same(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= SAME_HZ for x, y in zip(a, b, strict=True))


def _place(sites: Sequence[str], over: Sequence[str]) -> str:
    return "+".join(sites) + ("/" + "+".join(over) if over else "")


def _bands(band_hz: tuple[float, float], over_hz: tuple[float, float] | None) -> str:
    text = f"{band_hz[0]:g}-{band_hz[1]:g} Hz"
    return text if over_hz is None else f"{text} over {over_hz[0]:g}-{over_hz[1]:g} Hz"


def _listed(words: Iterable[str]) -> str:
    every = list(dict.fromkeys(words))
    more = f" and {len(every) - 12} more" if len(every) > 12 else ""
    return ", ".join(every[:12]) + more


# ---------------------------------------------------------------- reading


def read_norms(path: str | Path) -> Norms:
    """Return the norms of a CSV file.

    Parameters
    ----------
    path : str or Path
        UTF-8, with commas, one header line; see docs/norms.md.

    Raises
    ------
    FileError
        It cannot be read.
    InputError
        The table is not usable; every mistake with its line.
    """
    # The csv module and not pandas: it knows on which line a row stands, takes no cell for
    # "missing", and a protocol is checked without loading anything heavy.
    file = str(path)
    try:
        data = Path(path).read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(
            f"the norms {file} are not UTF-8 text", "save the table as `CSV UTF-8`"
        ) from None
    except (OSError, ValueError) as error:
        raise FileError(
            f"the norms {file} cannot be read: {error}", "give the path of a CSV file"
        ) from None
    table = _Table(file)
    rows = table.read(text)
    if table.mistakes:
        told = table.mistakes[:MOST_TOLD]
        if len(table.mistakes) > MOST_TOLD:
            told.append(f"and {len(table.mistakes) - MOST_TOLD} more")
        raise InputError("\n".join(told), "mend the table; docs/norms.md describes it")
    return Norms(file, hashlib.sha256(data).hexdigest(), rows)


class _Table:
    """Reads one file and gathers its mistakes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[str] = []

    def wrong(self, line: int, what: str, allowed: str = "") -> None:
        self.mistakes.append(
            f"{self.file}:{line}: {what}" + (f"\n    {allowed}" if allowed else "")
        )

    def read(self, text: str) -> tuple[NormRow, ...]:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines: list[tuple[int, list[str]]] = []
        try:
            last = 0
            for cells in reader:
                if any(c.strip() for c in cells):
                    lines.append((last + 1, [c.strip() for c in cells]))
                last = reader.line_num
        except csv.Error as error:
            self.wrong(reader.line_num, f"this is no CSV: {error}", "close every quotation mark")
            return ()
        if not lines:
            self.wrong(1, "the table is empty", f"a header: {','.join(REQUIRED)}")
            return ()
        columns = self._header(*lines[0])
        if columns is None:
            return ()
        if len(lines) == 1:
            self.wrong(lines[0][0], "the table has no rows below its header")
        rows = []
        for line, cells in lines[1:]:
            if len(cells) != len(columns):
                self.wrong(
                    line,
                    f"{len(cells)} cells, and the header has {len(columns)}",
                    "one cell for each column; a decimal sign is a point",
                )
                continue
            row = self._row(line, dict(zip(columns, cells, strict=True)))
            if row is not None:
                rows.append(row)
        self._overlaps(rows)
        return tuple(rows)

    def _header(self, line: int, cells: list[str]) -> list[str] | None:
        columns = [c.lower() for c in cells]
        before = len(self.mistakes)
        if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
            self.wrong(
                line,
                "the columns are not separated by commas",
                "save the table with commas, and points in the numbers",
            )
            return None
        missing = [c for c in REQUIRED if c not in columns]
        if missing:
            self.wrong(line, f"missing: {', '.join(missing)}", f"needed are {', '.join(REQUIRED)}")
        for name in dict.fromkeys(c for c in columns if c not in (*REQUIRED, *OPTIONAL)):
            self.wrong(
                line,
                f"there is no column {name!r}",
                f"beside those needed there may be {', '.join(OPTIONAL)}",
            )
        for name in dict.fromkeys(c for c in columns if columns.count(c) > 1):
            self.wrong(line, f"the column {name!r} comes twice", "keep one of them")
        return None if len(self.mistakes) > before else columns

    def _row(self, line: int, cell: Mapping[str, str]) -> NormRow | None:
        before = len(self.mistakes)
        metric = self._word(line, "metric", cell, METRICS)
        eyes = self._word(line, "eyes", cell, ("open", "closed"))
        transform = self._word(line, "transform", cell, ("none", "ln", "log10"))
        ages = self._pair(line, ("age_from", "age_to"), cell)
        if ages is not None and not 0.0 <= ages[0] < ages[1] <= OLDEST_YEARS:
            self.wrong(
                line,
                f"ages from {ages[0]:g} to {ages[1]:g}",
                f"age_from below age_to, between 0 and {OLDEST_YEARS:g}; age_to itself is not "
                "part of it",
            )
        band = self._band(line, ("band_low_hz", "band_high_hz"), cell)
        mean, sd = self._number(line, "mean", cell), self._number(line, "sd", cell)
        if sd is not None and sd <= 0.0:
            self.wrong(line, f"`sd` is {cell['sd']}", "a standard deviation above 0")
        sites = self._sites(line, cell["site"], metric)
        over = self._over(line, metric, cell)
        if metric and transform:
            self._transform(line, metric, transform)
            if mean is not None:
                self._mean(line, metric, mean)
        n = self._count(line, cell.get("n", ""))
        if len(self.mistakes) > before:
            return None
        assert ages is not None
        assert band is not None
        assert sites is not None
        assert mean is not None
        assert sd is not None
        return NormRow(
            line=line,
            age_from_years=ages[0],
            age_to_years=ages[1],
            eyes="open" if eyes == "open" else "closed",
            sites=sites[0],
            over_sites=sites[1],
            metric=metric,
            band_hz=band,
            over_hz=None if _same(over, band) else over,
            mean=mean,
            sd=sd,
            transform="ln" if transform == "ln" else "log10" if transform == "log10" else "none",
            reference=cell.get("reference", ""),
            n=n,
        )

    # ------------------------------------------------------------ cells

    def _word(
        self, line: int, column: str, cell: Mapping[str, str], allowed: Collection[str]
    ) -> str:
        word = cell[column].lower()
        if word in allowed:
            return word
        what = f"`{column}` is {cell[column]!r}" if word else f"`{column}` is empty"
        self.wrong(line, what, f"one of {', '.join(allowed)}")
        return ""

    def _number(self, line: int, column: str, cell: Mapping[str, str]) -> float | None:
        text = cell[column]
        if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        what = f"`{column}` is {text!r}, not a number" if text else f"`{column}` is empty"
        self.wrong(line, what, "a number such as 1.5")
        return None

    def _pair(
        self, line: int, columns: tuple[str, str], cell: Mapping[str, str]
    ) -> tuple[float, float] | None:
        low, high = (self._number(line, c, cell) for c in columns)
        return None if low is None or high is None else (low, high)

    def _band(
        self, line: int, columns: tuple[str, str], cell: Mapping[str, str]
    ) -> tuple[float, float] | None:
        band = self._pair(line, columns, cell)
        if band is not None and not 0.0 < band[0] < band[1]:
            self.wrong(
                line,
                f"a band from {band[0]:g} to {band[1]:g} Hz",
                f"0 < {columns[0]} < {columns[1]}",
            )
        return band

    def _over(self, line: int, metric: str, cell: Mapping[str, str]) -> tuple[float, float] | None:
        columns = ("over_low_hz", "over_high_hz")
        given = [bool(cell.get(c, "")) for c in columns]
        if any(given) and metric and metric not in OVER and metric not in _OF_TWO:
            self.wrong(
                line,
                f"a {metric} has no second band",
                f"leave `{columns[0]}` and `{columns[1]}` empty",
            )
            return None
        if all(given):
            return self._band(line, columns, cell)
        if any(given) or metric in OVER:
            below = "the whole it is a share of" if metric == "relative_power" else "the second"
            self.wrong(
                line,
                f"a {metric} needs two bands" if metric else "one edge of the second band is empty",
                f"`{columns[0]}` and `{columns[1]}`, the band of {below}",
            )
        return None

    def _sites(
        self, line: int, text: str, metric: str
    ) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        halves = [tuple(s.strip() for s in half.split("+")) for half in text.split("/")]
        allowed = "a site such as Cz"
        if metric in COUPLED:
            allowed = "two sites such as F3+F4"
        elif metric and metric in _OF_TWO:
            allowed = "a site such as Cz, or two with a stroke between them such as F4/F3"
        elif metric:
            allowed += "; several, whose mean is taken, such as P3+P4"
        every = [s for half in halves for s in half]
        unknown = [s for s in every if not is_site(clean_label(s))]
        if unknown:
            what = f"`site` is {text!r}" if text else "`site` is empty"
            self.wrong(line, what, f"{allowed}; names of the 10-20 or 10-10 system")
            return None
        apart = all(len(_key(h)) == len(h) for h in halves)
        right = len(halves) <= 2 and apart
        if metric in COUPLED:
            right = right and len(halves) == 1 and len(halves[0]) == 2
        elif metric and metric not in _OF_TWO:
            right = right and len(halves) == 1
        if not right:
            self.wrong(line, f"`site` is {text!r}, for {metric or 'this metric'}", allowed)
            return None
        over = halves[1] if len(halves) == 2 and _key(halves[1]) != _key(halves[0]) else ()
        return halves[0], over

    def _transform(self, line: int, metric: str, transform: str) -> None:
        if FEATURES[metric].scale == "ln" and transform == "none":
            self.wrong(
                line,
                f"a mean and SD of {metric} itself cannot be used",
                "`ln` or `log10`: powers are skewed, and are compared by their logarithm; the mean "
                "of a logarithm cannot be had from the mean of the numbers",
            )
        if FEATURES[metric].scale == "linear" and transform != "none":
            self.wrong(
                line,
                f"`transform` is {transform} for {metric}",
                f"`none`: {metric} is compared as it is"
                + (" (it is a difference of natural logarithms)" if metric == "log_ratio" else ""),
            )

    def _mean(self, line: int, metric: str, mean: float) -> None:
        if metric == "relative_power" and mean >= 0.0:
            self.wrong(
                line,
                f"the mean logarithm of a relative_power is {mean:g}",
                "a number below 0: shares lie between 0 and 1, they are no percentages",
            )
        if (metric in COUPLED or metric == "asymmetry_index") and not -1.0 <= mean <= 1.0:
            self.wrong(line, f"the mean of {metric} is {mean:g}", "a number between -1 and 1")

    def _count(self, line: int, text: str) -> int | None:
        if not text:
            return None
        if re.fullmatch(r"\d{1,9}", text) and int(text) > 0:
            return int(text)
        self.wrong(line, f"`n` is {text!r}", "a whole number of people, or nothing")
        return None

    # ------------------------------------------------------------ rows against each other

    def _overlaps(self, rows: Sequence[NormRow]) -> None:
        groups: dict[object, list[NormRow]] = {}
        for r in rows:
            edges = tuple(round(x, 2) for x in (*r.band_hz, *(r.over_hz or ())))
            key = (
                r.eyes, _key(r.sites), _key(r.over_sites), r.metric, edges, r.reference.lower(),
            )  # fmt: skip
            groups.setdefault(key, []).append(r)
        for group in groups.values():
            group.sort(key=lambda r: (r.age_from_years, r.line))
            for a, b in pairwise(group):
                if b.age_from_years < a.age_to_years:
                    first, second = sorted((a, b), key=lambda r: r.line)
                    self.wrong(
                        second.line,
                        f"the ages {second.age_from_years:g} to {second.age_to_years:g} overlap "
                        f"those of line {first.line}, for the same metric, site, band and eyes",
                        "ages that follow each other, such as 20,30 and 30,40",
                    )


# ---------------------------------------------------------------- for a protocol


def with_norms(protocol: Protocol, source: Source, age_years: float | None) -> Protocol:
    """Return the protocol with mean and SD at every feature that names a table of norms.

    A table is looked for beside the protocol file that names it.

    Parameters
    ----------
    protocol : Protocol
        Without mistakes otherwise.
    source : Source
        Where it was read from.
    age_years : float, optional
        Of the person. Without it the tables are read, but nothing is looked up.

    Raises
    ------
    YamlError
        A feature cannot have norms, or its table has none for it.
    InputError
        A table is not usable.
    """
    tables: dict[Path, Norms] = {}
    problems: list[Problem] = []
    features = dict(protocol.features)
    for name, feature in protocol.features.items():
        if feature.norms is None:
            continue
        here = ("features", name, "norms")
        refused = _no_norms(protocol, feature)
        if refused:
            problems.append(source.problem(here, *refused))
            continue
        path = Path(source.problem(here, "").file).parent / feature.norms
        try:
            if path not in tables:
                tables[path] = read_norms(path)
        except FileError as error:
            problems.append(source.problem(here, error.what, error.fix))
            continue
        if age_years is None:
            continue
        try:
            norm = _for_feature(tables[path], protocol, feature, age_years)
        except InputError as error:
            problems.append(source.problem(here, error.what, error.fix))
            continue
        made_with = norm.row.reference
        allowed = protocol.condition.reference
        if made_with and made_with not in allowed:
            problems.append(
                source.problem(
                    here,
                    f"the norm was made with the reference `{made_with}` (line {norm.row.line}), "
                    f"and the protocol has {', '.join(allowed)}",
                    f"`reference: [{made_with}]`, or norms of this reference",
                )
            )
            continue
        features[name] = feature.model_copy(update={"norm": (norm.mean, norm.sd)})
    if problems:
        raise YamlError(tuple(problems))
    return protocol if not tables else protocol.model_copy(update={"features": features})


def _no_norms(protocol: Protocol, feature: Feature) -> tuple[str, str] | None:
    """Return why a feature cannot be compared with norms, and what to do, or nothing."""
    of = protocol.features[feature.of[0]]
    if of.kind not in METRICS:
        return f"there are no norms of a {of.kind}", f"norms are of {', '.join(METRICS)}"
    members = [of, *(protocol.features[n] for n in of.of)]
    if any(m.iaf is not None for m in members):
        return (
            "norms hold for fixed bands, and this one moves with the individual alpha frequency",
            "a band such as `8-12 Hz`, or no `norms`",
        )
    if any(m.spatial is not None for m in members):
        return (
            "norms are of sites, and this is spatially filtered",
            "leave out `spatial`, or `norms`",
        )
    eyes = trained_eyes(protocol) or {eyes_of(protocol, None)}
    if len(eyes) > 1:
        return (
            "norms hold for eyes open or closed, and the training blocks have both",
            "train with one of them, or leave out `norms`",
        )
    return None


def _for_feature(norms: Norms, protocol: Protocol, feature: Feature, age_years: float) -> Norm:
    of = protocol.features[feature.of[0]]
    first, *second = [protocol.features[n] for n in of.of] or [of]
    over_hz = second[0].band_hz if second else None
    if of.kind == "relative_power":
        over_hz = of.total_hz or DEFAULT_TOTAL_HZ
    assert first.band_hz is not None  # every metric is in a band, or made of powers in bands
    (eyes,) = trained_eyes(protocol) or {eyes_of(protocol, None)}
    return norms.lookup(
        of.kind,
        first.at,
        first.band_hz,
        "closed" if eyes == "closed" else "open",
        age_years,
        over_hz=over_hz,
        over_sites=second[0].at if second else (),
    )
