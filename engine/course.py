"""What is fitted once for a person's course of sessions (`fit: course`), kept in a file of its own.

The file holds spectra, gains and weights, not names. A later session of the same client and
protocol filters exactly alike, so a fixed threshold means the same in every session; where it could
not (other electrodes, reference, rate or mains), it is refused. The recording's header carries what
was used, so replay needs no such file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.aperiodic import flanks
from engine.clock import wall
from engine.columns import plain, strict_json
from engine.errors import InputError
from engine.estimate import is_narrow
from engine.fit import Fitted
from engine.reference import Montage
from engine.wiener import WINDOW_S
from protocols.facts import fits
from protocols.model import Feature, Protocol

__all__ = [
    "Answer",
    "Course",
    "FeatureCourse",
    "checked_course",
    "course_path",
    "is_course",
    "read_course",
    "write_course",
]

FORMAT = 1

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Weight = Annotated[float, Field(allow_inf_nan=False)]
BandHz = tuple[Positive, Positive]


class _Kept(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Alpha(_Kept):
    """The alpha frequency around which bands lie; `fallback` when none was found."""

    hz: Positive
    fallback: bool


class FixedAnswer(_Kept):
    """A band that kept its fixed filter, and why."""

    estimator: Literal["fixed"]
    band_hz: BandHz
    reason: str


class FittedAnswer(_Kept):
    """A band's fitted filter: the spectrum it follows from, and a gain for every channel."""

    estimator: Literal["wiener"]
    band_hz: BandHz
    windows: Annotated[int, Field(gt=0)]
    clean_s: Positive
    density_uv2_hz: Annotated[tuple[NotNegative, ...], Field(min_length=3)]
    reject_hz: Positive | None
    gains: Annotated[tuple[Positive, ...], Field(min_length=1)]


Answer = Annotated[FixedAnswer | FittedAnswer, Field(discriminator="estimator")]


class FeatureCourse(_Kept):
    """One feature: its spatial filter by site, its band, and the bands beside it."""

    spatial: dict[str, dict[str, Weight]]
    band: Answer
    flanks: tuple[Answer, ...]


class Course(_Kept):
    """The whole file.

    Parameters
    ----------
    format : int
    protocol : str
        Its name.
    definition : str
        Fingerprint of everything that decides what a fitted filter means.
    made : str
        When, ISO 8601.
    recording : str
        File name of the first session.
    rate_hz : float
    mains_hz : float or None
    reference : str
        In the protocol's words.
    sites : mapping of str to tuple of str
        Per site that a filter looks at, the channels whose mean was subtracted.
    iaf : Alpha or None
    features : mapping of str to FeatureCourse
    """

    format: Literal[1]
    protocol: str
    definition: str
    made: str
    recording: str
    rate_hz: Positive
    mains_hz: Positive | None
    reference: str
    sites: dict[str, tuple[str, ...]]
    iaf: Alpha | None
    features: Annotated[dict[str, FeatureCourse], Field(min_length=1)]


def is_course(protocol: Protocol) -> bool:
    """Return whether a protocol fits anything once for a whole course."""
    fit = fits(protocol)
    return any(f.band_hz is not None and fit[n] == "course" for n, f in protocol.features.items())


def course_path(folder: Path, client: str, protocol: Protocol) -> Path:
    """Return where a client's course of a protocol is kept."""
    return folder / f"{client}.{protocol.name}.course.json"


def _definition(protocol: Protocol) -> str:
    """Return a fingerprint of everything that decides what a fitted filter means."""
    what = {"condition": protocol.condition, "features": protocol.features}
    return hashlib.sha256(strict_json(what).encode()).hexdigest()


def read_course(
    path: Path, protocol: Protocol, rate_hz: float, mains_hz: float | None, montage: Montage
) -> dict[str, Any]:
    """Return what an earlier session fitted; empty before the first one.

    Parameters
    ----------
    path : Path
        The course's file.
    protocol : Protocol
        Of today's session.
    rate_hz, mains_hz : float
        Of today's stream and room; `mains_hz` None when unknown.
    montage : Montage
        Today's electrodes and reference.

    Returns
    -------
    dict
        Plain JSON, as `engine.fit.FitSettings` and a recording's header take it (`Course`).

    Raises
    ------
    InputError
        The file cannot be read, or was fitted for other features, electrodes, another reference,
        sampling rate or mains frequency.
    """
    if not path.exists():
        return {}
    anew = f"move {path.name} away to begin a new course (its thresholds begin anew, too)"
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the course in {path} cannot be read ({error})", anew) from None
    format_ = stored.get("format") if isinstance(stored, dict) else None
    if isinstance(format_, int) and format_ != FORMAT:
        raise InputError(f"{path} has format {format_}, this version reads {FORMAT}", anew)
    try:
        course = Course.model_validate(stored)
    except ValidationError as error:
        raise InputError(f"the course in {path} cannot be read: {_first(error)}", anew) from None
    if course.protocol != protocol.name:
        raise InputError(f"{path} is a course of {course.protocol}, not {protocol.name}", anew)
    if course.definition != _definition(protocol):
        raise InputError(
            f"the features or the conditioning of {protocol.name} were changed since this course "
            f"began ({path.name})",
            f"use the protocol as it was, or {anew}",
        )
    for what, remedy in _differences(course, rate_hz, mains_hz, montage):
        raise InputError(f"the course in {path.name} {what}", f"{remedy}, or {anew}")
    for what in _contradictions(course, protocol):
        raise InputError(f"the course in {path} contradicts itself: {what}", anew)
    found: dict[str, Any] = stored
    return found


def checked_course(stored: Any) -> dict[str, Any]:
    """Return the course of a recording's header; empty when there was none.

    Raises
    ------
    InputError
        It is not what this version writes.
    """
    if not stored:
        return {}
    try:
        Course.model_validate(stored)
    except ValidationError as error:
        raise InputError(
            f"the recording's header holds a course that cannot be read: {_first(error)}",
            "replay it with the version of Neuroloop that recorded it",
        ) from None
    found: dict[str, Any] = stored
    return found


def write_course(
    path: Path,
    protocol: Protocol,
    fitted: Fitted,
    recording: Path,
    rate_hz: float,
    mains_hz: float | None,
    montage: Montage,
) -> None:
    """Keep what the first session of a course fitted; parameters as in `read_course`."""
    references = _references(montage)
    features: Mapping[str, Mapping[str, Any]] = fitted.course["features"]
    used = {w for f in features.values() for row in f["spatial"].values() for w in row}
    for name in features:
        d = next(d for d in fitted.defs if d.name == name)
        used.update(montage.site_names[c] for c in d.sites)
        used.update(montage.site_names[c] for row in d.weights for c, w in enumerate(row) if w)
    blob = {
        "format": FORMAT,
        "protocol": protocol.name,
        "definition": _definition(protocol),
        "made": wall().isoformat(timespec="seconds"),
        "recording": recording.name,
        "rate_hz": rate_hz,
        "mains_hz": mains_hz,
        "reference": montage.reference,
        "sites": {site: references[site] for site in montage.site_names if site in used},
        **fitted.course,
    }
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(plain(blob), allow_nan=False) + "\n", "utf-8")
    fresh.replace(path)


def _references(montage: Montage) -> dict[str, tuple[str, ...]]:
    """Return the channels whose mean is subtracted at every site."""
    return {
        site: tuple(montage.names[i] for i in of)
        for site, of in zip(montage.site_names, montage.subtract, strict=True)
    }


def _differences(
    course: Course, rate_hz: float, mains_hz: float | None, montage: Montage
) -> Iterator[tuple[str, str]]:
    """Yield what is not as in the first session, and what would make it so."""
    if course.rate_hz != rate_hz:
        yield (
            f"was fitted at {course.rate_hz:g} Hz, the stream has {rate_hz:g} Hz",
            "set the amplifier to that rate",
        )
    if course.mains_hz != mains_hz:
        began, now = ("unknown" if m is None else f"{m:g} Hz" for m in (course.mains_hz, mains_hz))
        yield (
            f"was fitted with mains at {began}, the room's mains are at {now}",
            "correct `mains` in the room",
        )
    references = _references(montage)
    absent = [site for site in course.sites if site not in references]
    if absent:
        yield f"weighs {', '.join(absent)}, which the stream lacks", "use the same cap as before"
    if course.reference != montage.reference:
        yield (
            f"was fitted with the reference `{course.reference}`, today's is `{montage.reference}`",
            "make the channels of that reference available again",
        )
    for site, before in course.sites.items():
        if not absent and set(before) != set(references[site]):
            yield (
                f"measured {site} against {_listed(before)}, today it is measured against "
                f"{_listed(references[site])}",
                "use the same cap as before",
            )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "the amplifier's own reference"
    return names[0] if len(names) == 1 else f"the mean of {', '.join(names)}"


def _contradictions(course: Course, protocol: Protocol) -> Iterator[str]:
    """Yield what no session can have written: it would fail, or filter otherwise, later on."""
    fit = fits(protocol)
    if course.iaf is None and any(
        f.iaf is not None and fit[n] == "course" for n, f in protocol.features.items()
    ):
        yield "`iaf` is missing"
        return
    wanted: dict[str, tuple[float, float]] = {}
    for name, feature in protocol.features.items():
        band_hz = _band_of(feature, course.iaf)
        if fit[name] == "course" and band_hz is not None and is_narrow(band_hz):
            wanted[name] = band_hz
    if set(wanted) != set(course.features):
        yield (
            f"it holds {', '.join(sorted(course.features))}, the protocol fits "
            f"{', '.join(sorted(wanted)) or 'nothing'}"
        )
        return
    n_density = round(WINDOW_S * course.rate_hz) + 1
    for name, band_hz in wanted.items():
        feature, kept = protocol.features[name], course.features[name]
        beside = flanks(band_hz) if feature.kind == "periodic_power" else ()
        answers = (kept.band, *kept.flanks)
        if tuple(a.band_hz for a in answers) != (band_hz, *beside):
            yield f"the bands of `{name}` are not those of the protocol"
        if feature.spatial == "ssd" and len(kept.spatial) != len(feature.at):
            yield f"`spatial` of `{name}` does not hold its {len(feature.at)} sites"
        if any(w not in course.sites for row in kept.spatial.values() for w in row):
            yield f"`spatial` of `{name}` weighs a site that is not in `sites`"
        n_gains = 1 if isinstance(feature.spatial, Mapping) else len(feature.at)
        for a in answers:
            if a.estimator == "fixed":
                continue
            if len(a.density_uv2_hz) != n_density:
                yield (
                    f"a spectrum of `{name}` has {len(a.density_uv2_hz)} values, not {n_density}"
                )
            if len(a.gains) != n_gains:
                yield f"`{name}` has {len(a.gains)} gains, not {n_gains}"


def _band_of(feature: Feature, iaf: Alpha | None) -> tuple[float, float] | None:
    if feature.iaf is None or iaf is None:
        return feature.band_hz
    return iaf.hz + feature.iaf[0], iaf.hz + feature.iaf[1]


def _first(error: ValidationError) -> str:
    """Return the first of pydantic's complaints, with its place."""
    one = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in one["loc"])
    message = one["msg"][:1].lower() + one["msg"][1:]
    return f"`{place}`: {message}" if place else message
