"""Our results as LSL outlets."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pylsl
import pytest

from engine import publish
from engine.agree import Seen
from engine.clock import now
from engine.errors import RunError
from engine.frames import Channel, Event, FeatureFrame, Gate, Show, StreamSpec
from engine.publish import Publisher
from engine.resolve import columns_of, look

DEADLINE_S = 30.0

SPEC = StreamSpec(
    "amp", "EEG", "serial 7", "uid", "host", 256.0, (Channel("Cz", "eeg", "uV", 1.0, "Cz"),)
)


@dataclass(frozen=True)
class Network:
    """What a room says of its network."""

    known_peers: tuple[str, ...] = ()
    session_id: str = "default"
    loopback_only: bool = True


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher(SPEC, ("alpha", "theta"), Network(), ("uV2", "uV2"))
    assert made.start() == ""
    yield made
    made.close()


def ours(publisher: Publisher) -> list[Seen]:
    return [s for s in look(0.8) if s.source_id.startswith(publisher._id)]


def offered(publisher: Publisher) -> dict[str, Seen]:
    """Wait until all three streams have been seen; not every look sees all."""
    streams: dict[str, Seen] = {}
    deadline = time.monotonic() + DEADLINE_S
    while len(streams) < 3:
        streams |= {s.name: columns_of(s) for s in ours(publisher)}
        assert time.monotonic() < deadline
    return streams


def inlet_of(stream: Seen) -> Any:
    inlet = pylsl.StreamInlet(stream.handle, max_buflen=10, recover=False)
    inlet.open_stream(timeout=DEADLINE_S)
    return inlet


def pull(inlet: Any) -> tuple[list[Any], float]:
    sample, stamp = inlet.pull_sample(timeout=DEADLINE_S)
    assert sample is not None
    return sample, stamp


def frame(values: list[float], trusted: list[bool]) -> FeatureFrame:
    return FeatureFrame(5, 50.0, np.array(values), np.array(trusted), Gate.OPEN, np.empty(0))


def test_three_described_streams_are_offered(publisher: Publisher) -> None:
    streams = offered(publisher)
    assert set(streams) == {"neuroloop_features", "neuroloop_feedback", "neuroloop_markers"}
    assert len({s.source_id for s in streams.values()}) == 3
    features = streams["neuroloop_features"]
    assert features.rate_hz == pytest.approx(SPEC.grid_hz)
    assert features.dtype == "float64"
    assert [(c.label, c.unit) for c in features.columns or ()] == [
        ("alpha", "uV2"),
        ("theta", "uV2"),
    ]
    assert [c.label for c in streams["neuroloop_feedback"].columns or ()] == list(publish.FEEDBACK)
    assert streams["neuroloop_feedback"].rate_hz == 0.0
    assert streams["neuroloop_markers"].dtype == "string"


def test_features_feedback_and_markers_arrive_as_sent(publisher: Publisher) -> None:
    streams = offered(publisher)
    features, feedback, markers = (
        inlet_of(streams[f"neuroloop_{what}"]) for what in ("features", "feedback", "markers")
    )
    t = now()
    publisher.features(frame([12.5, 3.0], [True, False]), t - 50.0)
    publisher.feedback(Show(5, 50.0, t, "feedback", level=0.25, rewards=3))
    publisher.feedback(Show(6, 50.0, t + 1, "feedback", level=None, gated=True, rewards=3))
    data = {"value": math.nan, "names": ("é", 2), "n": np.int64(4), "x": np.float64(0.5)}
    publisher.marker(Event(t, 5, "note", data))
    publisher.marker(Event(t, 6, "end"))

    values, stamp = pull(features)
    assert values[0] == 12.5
    assert math.isnan(values[1])  # not trusted: there is no number
    assert stamp == pytest.approx(t)
    assert pull(feedback) == ([0.25, 0.0, 3.0], pytest.approx(t))
    row, _ = pull(feedback)
    assert math.isnan(row[0])
    assert row[1:] == [1.0, 3.0]
    first, stamp = pull(markers)
    assert stamp == pytest.approx(t)
    assert json.loads(first[0]) == {
        "id": 1,
        "kind": "note",
        "seq": 5,
        "t": pytest.approx(t),
        "data": {"value": None, "names": ["é", 2], "n": 4, "x": 0.5},
    }
    assert json.loads(pull(markers)[0][0])["id"] == 2
    assert publisher.problem == ""


def test_closed_streams_are_gone_and_more_calls_do_nothing(publisher: Publisher) -> None:
    assert ours(publisher)
    publisher.close()
    deadline = time.monotonic() + DEADLINE_S
    while ours(publisher):
        assert time.monotonic() < deadline
    publisher.features(frame([1.0, 2.0], [True, True]))
    publisher.feedback(Show(5, 50.0, 1.0, "feedback"))
    publisher.marker(Event(1.0, 5, "note"))
    publisher.close()


def test_two_sessions_do_not_share_an_identity() -> None:
    assert Publisher(SPEC, ("a",), Network())._id != Publisher(SPEC, ("a",), Network())._id


def test_a_failure_is_a_sentence_and_never_an_exception(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """An outlet that fails."""

        def push_sample(self, *_: object) -> None:
            raise RuntimeError("the network is gone")

    publisher._feedback = Broken()
    publisher.feedback(Show(5, 50.0, 1.0, "feedback", level=0.5))
    assert publisher.problem == "Nothing is published on the network: the network is gone"
    publisher.features(frame([1.0, 2.0], [True, True]))

    def missing() -> None:
        raise RunError("no library", "install it")

    monkeypatch.setattr(publish, "load_pylsl", missing)
    assert Publisher(SPEC, ("a",), Network()).start() == (
        "Nothing is published on the network: no library"
    )
    assert Publisher(SPEC, (), Network(session_id="a b")).start().endswith("is not usable.")
