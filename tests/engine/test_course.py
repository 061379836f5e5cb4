"""What is fitted once for a course of sessions is kept, and used only where it means the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.course import Course, course_path, is_course, read_course, write_course
from engine.errors import InputError
from engine.features import FEATURES
from engine.frames import Channel, Chunk, Command, PhaseKind, StreamSpec, frozen
from engine.person import SITES, Person
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

RATE_HZ, MAINS_HZ = 250.0, 50.0


def stream(*without: str, rate_hz: float = RATE_HZ) -> StreamSpec:
    """Return a cap, or one that lacks some sites."""
    columns = tuple(Channel(s, "eeg", "microvolts", 1.0, s) for s in SITES if s not in without)
    return StreamSpec("sim", "EEG", "id", "uid", "host", rate_hz, columns)


def lasting(folder: Path, *changes: tuple[str, str]) -> Protocol:
    """Return alpha training with a fixed threshold, which must mean the same in every session."""
    text = load("alpha_up_ec", FEATURES).text
    for old, new in (("{baseline: percentile, success: 60 %}", "{fixed: 40 uV2}"), *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / "alpha_up_ec.yaml"
    path.write_text(text, "utf-8")
    return load(path, FEATURES).protocol


SPATIAL = (
    ("at: [Pz, O1, O2], band", "at: [O1], spatial: ssd, band"),
    ("reference: [average, as recorded]", "reference: [as recorded]"),
)


def put_together(
    protocol: Protocol, spec: StreamSpec | None = None, course: dict[str, Any] | None = None
) -> Assembly:
    plan = expand(protocol)
    return assemble(spec or stream(), protocol, plan, mains_hz=MAINS_HZ, course=course)


def session(protocol: Protocol, seed: int, course: dict[str, Any]) -> Assembly:
    made = put_together(protocol, course=course)
    person = Person(RATE_HZ, seed=seed, eyes="closed", jaw=False)
    made.fold.step(Command(500, "start"))
    seq = 0
    while made.fold.fitted is None and seq < 200 * RATE_HZ:
        x = person.read(250)[:, : len(SITES)]
        t = frozen((seq + np.arange(250)) / RATE_HZ)
        made.fold.step(Chunk(seq, t, frozen(x)))
        seq += 250
    assert made.fold.fitted is not None
    assert made.decider.kind is not PhaseKind.FAILED
    return made


@dataclass(frozen=True)
class Begun:
    """A course after its first session."""

    protocol: Protocol
    first: Assembly
    path: Path

    def read(self, spec: StreamSpec | None = None, mains_hz: float | None = MAINS_HZ,
             protocol: Protocol | None = None) -> dict[str, Any]:  # fmt: skip
        spec = spec or stream()
        montage = put_together(self.protocol, spec).montage
        return read_course(self.path, protocol or self.protocol, spec.rate_hz, mains_hz, montage)


def begin(folder: Path, *changes: tuple[str, str]) -> Begun:
    protocol = lasting(folder, *changes)
    path = course_path(folder, "A17", protocol)
    first = session(protocol, 1, {})
    assert first.fold.fitted is not None
    write_course(
        path, protocol, first.fold.fitted, folder / "first.xdf", RATE_HZ, MAINS_HZ, first.montage
    )
    return Begun(protocol, first, path)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    return begin(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def spatial(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    return begin(tmp_path_factory.mktemp("spatial"), *SPATIAL)


def test_before_the_first_session_there_is_nothing(tmp_path: Path) -> None:
    protocol = lasting(tmp_path)
    assert is_course(protocol)
    assert not is_course(load("alpha_up_ec", FEATURES).protocol)
    montage = put_together(protocol).montage
    path = course_path(tmp_path, "A17", protocol)
    assert path.name == "A17.alpha_up_ec.course.json"
    assert read_course(path, protocol, RATE_HZ, MAINS_HZ, montage) == {}


@pytest.mark.parametrize("which", ["begun", "spatial"])
def test_a_later_session_filters_exactly_alike(which: str, request: pytest.FixtureRequest) -> None:
    given: Begun = request.getfixturevalue(which)
    first = given.first.fold.fitted
    kept = given.read()
    later = session(given.protocol, 2, kept)
    assert later.fold.settings.course is kept  # what the recording's header carries
    second = later.fold.fitted
    other = session(given.protocol, 2, {}).fold.fitted
    assert first is not None
    assert second is not None
    assert other is not None
    assert np.array_equal(second.wiring.kernels[0].taps, first.wiring.kernels[0].taps)
    assert second.wiring.sources[0].gains == first.wiring.sources[0].gains
    assert not np.array_equal(other.wiring.kernels[0].taps, first.wiring.kernels[0].taps)
    wirings = zip(second.wiring.demands, second.wiring.sources, first.wiring.sources, strict=True)
    for demand, mine, its in wirings:
        if later.fold.defs[demand.feature].fit != "course":  # bursts are each session's own
            continue
        assert (mine.weights is None) == (its.weights is None)
        assert mine.weights is None or np.array_equal(mine.weights, its.weights)
    assert second.course["iaf"] == first.course["iaf"]


def test_the_file_says_under_which_circumstances(begun: Begun, spatial: Begun) -> None:
    course = Course.model_validate(begun.read())
    assert (course.rate_hz, course.mains_hz, course.reference) == (RATE_HZ, MAINS_HZ, "average")
    assert list(course.sites) == ["Pz", "O1", "O2"]
    assert set(course.sites["O1"]) == set(SITES) - {"A1", "A2", "M1", "M2"}
    assert course.recording == "first.xdf"
    assert course.iaf is not None
    assert not course.iaf.fallback
    assert course.iaf.hz != 10.0
    other = Course.model_validate(spatial.read())
    weighed = set(other.features["alpha"].spatial["O1"])
    assert len(weighed) > 1
    assert set(other.sites) == weighed | {"O1"}
    assert set(other.sites.values()) == {()}


def test_another_cap_is_refused_where_it_matters(begun: Begun, spatial: Begun) -> None:
    weights = spatial.read()["features"]["alpha"]["spatial"]["O1"]
    reached = next(site for site in weights if site not in ("Pz", "O1", "O2"))
    with pytest.raises(InputError, match=f"weighs {reached}, which the stream lacks") as told:
        spatial.read(stream(reached))
    assert "use the same cap as before, or move A17.alpha_up_ec.course.json away" in str(told.value)
    unused = next(s for s in SITES if s not in {*weights, "Pz", "O1", "O2"})
    assert spatial.read(stream(unused))
    # In an average every electrode counts.
    with pytest.raises(InputError, match=r"measured Pz against the mean of .*, today it is"):
        begun.read(stream("F7"))


def test_another_reference_is_refused(begun: Begun) -> None:
    few = stream(*[s for s in SITES if s not in ("Pz", "O1", "O2", "Cz", "F7", "F8")])
    with pytest.raises(InputError, match="reference `average`, today's is `as recorded`"):
        begun.read(few)


@pytest.mark.parametrize(
    ("mains_hz", "said"),
    [(60.0, "mains at 50 Hz, the room's mains are at 60 Hz"), (None, "mains are at unknown")],
)
def test_another_mains_frequency_is_refused(
    mains_hz: float | None, said: str, begun: Begun
) -> None:
    with pytest.raises(InputError, match=said):
        begun.read(mains_hz=mains_hz)


def test_another_rate_is_refused(begun: Begun) -> None:
    with pytest.raises(InputError, match="fitted at 250 Hz, the stream has 500 Hz"):
        begun.read(stream(rate_hz=500.0))


def test_another_protocol_is_refused(begun: Begun) -> None:
    alpha = begun.protocol.features["alpha"].model_copy(update={"smooth_s": 0.5})
    changed = begun.protocol.model_copy(update={"features": {"alpha": alpha}})
    with pytest.raises(InputError, match="changed since this course began"):
        begun.read(protocol=changed)
    renamed = begun.protocol.model_copy(update={"name": "mine"})
    with pytest.raises(InputError, match="a course of alpha_up_ec, not mine"):
        begun.read(protocol=renamed)
    # What does not touch the numbers may change.
    assert begun.read(protocol=begun.protocol.model_copy(update={"title": "Another"}))


# ---------------------------------------------------------------- files that are not as written

Change = Callable[[dict[str, Any]], Any]


def band(blob: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = blob["features"]["alpha"]["band"]
    return found


BROKEN: list[tuple[str, Change, str]] = [
    ("format", lambda b: b.update(format=2), "has format 2, this version reads 1"),
    ("no format", lambda b: b.pop("format"), "cannot be read: `format`"),
    ("no rate", lambda b: b.pop("rate_hz"), "cannot be read: `rate_hz`"),
    ("a list", lambda b: b.update(features=[]), "cannot be read: `features`"),
    ("nothing", lambda b: b.update(features={}), "cannot be read: `features`"),
    ("unknown key", lambda b: b.update(iaf_hz=10.0), "cannot be read: `iaf_hz`"),
    ("no density", lambda b: band(b).pop("density_uv2_hz"), "density_uv2_hz`: field required"),
    ("short", lambda b: band(b)["density_uv2_hz"].pop(), "500 values, not 501"),
    ("negative", lambda b: band(b)["density_uv2_hz"].append(-1.0), "greater than or equal to 0"),
    ("gain", lambda b: band(b).update(gains=[-1.0, 1.0, 1.0]), "gains.0`: input should be greater"),
    ("unknown gain", lambda b: band(b).update(gains=[None, 1.0, 1.0]), "gains.0`"),
    ("gains", lambda b: band(b).update(gains=[1.0]), "`alpha` has 1 gains, not 3"),
    ("a word", lambda b: band(b).update(estimator="guess"), "features.alpha.band`"),
    ("band", lambda b: band(b).update(band_hz=[8.0, 12.0]), "bands of `alpha` are not those"),
    ("flank", lambda b: b["features"]["alpha"]["flanks"].append(band(b)), "bands of `alpha`"),
    ("no alpha", lambda b: b.update(iaf=None), "contradicts itself: `iaf` is missing"),
    ("moved", lambda b: b["iaf"].update(hz=9.0), "bands of `alpha` are not those"),
    ("name", lambda b: b["features"].update(beta=b["features"].pop("alpha")), "it holds beta, the"),
    (
        "weights",
        lambda b: b["features"]["alpha"].update(spatial={"O1": {"O9": 1.0}}),
        "weighs a site that is not in `sites`",
    ),
]


@pytest.mark.parametrize(("change", "said"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_file_that_was_changed_by_hand_is_refused(
    change: Change, said: str, begun: Begun, tmp_path: Path
) -> None:
    blob = json.loads(begun.path.read_text("utf-8"))
    change(blob)
    path = tmp_path / begun.path.name
    path.write_text(json.dumps(blob), "utf-8")
    with pytest.raises(InputError, match=said) as told:
        replace(begun, path=path).read()
    assert "to begin a new course" in str(told.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '{"format": 1}', '{"features": 3}'])
def test_what_is_no_course_is_refused(text: str, begun: Begun, tmp_path: Path) -> None:
    path = tmp_path / begun.path.name
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        replace(begun, path=path).read()


def test_weights_of_a_site_are_not_left_out(spatial: Begun, tmp_path: Path) -> None:
    blob = json.loads(spatial.path.read_text("utf-8"))
    blob["features"]["alpha"]["spatial"] = {}
    path = tmp_path / spatial.path.name
    path.write_text(json.dumps(blob), "utf-8")
    with pytest.raises(InputError, match="does not hold its 1 sites"):
        replace(spatial, path=path).read()
