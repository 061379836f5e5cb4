"""What is fitted once for a course of sessions is kept, and used only where it means the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.course import course_path, is_course, read_course, write_course
from engine.errors import InputError
from engine.features import FEATURES
from engine.frames import Chunk, Command, PhaseKind, StreamSpec, frozen
from engine.person import Person, columns
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

RATE_HZ = 250.0
SPEC = StreamSpec("sim", "EEG", "id", "uid", "host", RATE_HZ, columns())


def lasting(tmp_path: Path) -> Protocol:
    """Return alpha training with a fixed threshold, which must mean the same in every session."""
    text = load("alpha_up_ec", FEATURES).text
    text = text.replace("{baseline: percentile, success: 60 %}", "{fixed: 40 uV2}")
    path = tmp_path / "alpha_up_ec.yaml"
    path.write_text(text, "utf-8")
    return load(path, FEATURES).protocol


def session(protocol: Protocol, seed: int, course: dict[str, Any]) -> Assembly:
    made = assemble(SPEC, protocol, expand(protocol, 60.0), mains_hz=50.0, course=course)
    person = Person(RATE_HZ, seed=seed, eyes="closed", jaw=False)
    made.fold.step(Command(500, "start"))
    seq = 0
    while made.fold.fitted is None and seq < 40 * RATE_HZ:
        x = person.read(250)
        t = frozen((seq + np.arange(250)) / RATE_HZ)
        made.fold.step(Chunk(seq, t, frozen(x)))
        seq += 250
    assert made.fold.fitted is not None
    assert made.decider.kind is not PhaseKind.FAILED
    return made


def test_a_later_session_filters_exactly_alike(tmp_path: Path) -> None:
    protocol = lasting(tmp_path)
    assert is_course(protocol)
    assert not is_course(load("alpha_up_ec", FEATURES).protocol)
    path = course_path(tmp_path, "A17", protocol)
    assert read_course(path, protocol, RATE_HZ) == {}
    first = session(protocol, 1, {}).fold.fitted
    assert first is not None
    write_course(path, protocol, first, tmp_path / "first.xdf")
    kept = read_course(path, protocol, RATE_HZ)
    second = session(protocol, 2, kept).fold.fitted
    other = session(protocol, 2, {}).fold.fitted
    assert second is not None
    assert other is not None
    assert np.array_equal(second.wiring.kernels[0].taps, first.wiring.kernels[0].taps)
    assert second.wiring.sources[0].gains == first.wiring.sources[0].gains
    assert not np.array_equal(other.wiring.kernels[0].taps, first.wiring.kernels[0].taps)
    assert second.course["alpha"]["gains"] == first.course["alpha"]["gains"]


def test_what_no_longer_means_the_same_is_refused(tmp_path: Path) -> None:
    protocol = lasting(tmp_path)
    path = course_path(tmp_path, "A17", protocol)
    first = session(protocol, 1, {}).fold.fitted
    assert first is not None
    write_course(path, protocol, first, tmp_path / "first.xdf")
    with pytest.raises(InputError, match="fitted at 250 Hz, the stream has 500 Hz"):
        read_course(path, protocol, 500.0)
    alpha = protocol.features["alpha"].model_copy(update={"band_hz": (8.0, 13.0)})
    changed = protocol.model_copy(update={"features": {"alpha": alpha}})
    with pytest.raises(InputError, match="changed since this course began"):
        read_course(path, changed, RATE_HZ)
    # What does not touch the numbers may change.
    assert read_course(path, protocol.model_copy(update={"title": "Another"}), RATE_HZ)
    blob = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**blob, "format": 2}), "utf-8")
    with pytest.raises(InputError, match="format 2"):
        read_course(path, protocol, RATE_HZ)
    for broken in ("{", "[]", "null", '{"fitted": 3}'):
        path.write_text(broken, "utf-8")
        with pytest.raises(InputError, match="cannot be read"):
            read_course(path, protocol, RATE_HZ)
