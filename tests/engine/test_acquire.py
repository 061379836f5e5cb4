"""Receiving real LSL streams from other processes, which are killed, frozen and replaced."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from engine import acquire, resolve
from engine.acquire import Back, Changed, Lost, LslSource, Marker, MarkerSource
from engine.agree import Seen, found
from engine.clock import LslClock
from engine.errors import StreamError
from engine.frames import Chunk, Gap
from engine.number import Numberer, Received

DEADLINE_S = 40.0  # for things that take one or two seconds on an idle machine

OUTLET = """
import json, sys, time
import numpy as np
import pylsl

o = json.loads(sys.argv[1])
info = pylsl.StreamInfo(o["name"], o["stype"], len(o["labels"]), o["rate_hz"], o["dtype"], o["id"])
channels = info.desc().append_child("channels")
for label in o["labels"] if o["described"] else ():
    channel = channels.append_child("channel")
    channel.append_child_value("label", label)
    channel.append_child_value("unit", o["unit"])
outlet = pylsl.StreamOutlet(info)
print("ready", flush=True)
n, size = 0, o["chunk"]
started = pylsl.local_clock()
while True:
    if o["dtype"] == "string":
        outlet.push_sample([f"marker {n}"] * len(o["labels"]))
        n, pause = n + 1, 0.1
    else:
        rows = np.repeat(np.arange(n, n + size)[:, None], len(o["labels"]), axis=1)
        outlet.push_chunk(rows.astype(o["numpy"]), started + (n + size - 1) / o["rate_hz"])
        n += size
        pause = started + (n + size) / o["rate_hz"] - pylsl.local_clock()
    if pause > 0:
        time.sleep(pause)
"""


@dataclass(frozen=True)
class RoomStream:
    """What a room says of its stream."""

    name: str | None = None
    stype: str | None = "EEG"
    source_id: str | None = None
    channels: tuple[str, ...] | None = None
    unit: str | None = None
    not_eeg: tuple[str, ...] = ()
    counter: str | None = None
    rate_hz: float | None = None


class Outlets:
    """Amplifiers of one test, each in a process of its own, with unique names."""

    def __init__(self) -> None:
        self.name = f"amp-{uuid.uuid4().hex[:8]}"
        self.id = f"id-{uuid.uuid4().hex[:8]}"
        self.room = RoomStream(name=self.name)
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, **changes: Any) -> subprocess.Popen[str]:
        options = {
            "name": self.name,
            "id": self.id,
            "stype": "EEG",
            "labels": ["Cz", "EEG PZ-Ref", "CNT"],
            "described": True,
            "unit": "microvolts",
            "rate_hz": 250.0,
            "dtype": "float32",
            "chunk": 5,
        } | changes
        options["numpy"] = {"double64": "float64"}.get(options["dtype"], options["dtype"])
        process = subprocess.Popen(
            [sys.executable, "-c", OUTLET, json.dumps(options)], stdout=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(DEADLINE_S)
        if process.stdout is not None:
            process.stdout.close()

    def close(self) -> None:
        for process in self._processes:
            self.kill(process)


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one computer outlets answer at once; do not look for them as long as in a laboratory."""
    monkeypatch.setattr(resolve, "SCAN_S", 0.8)
    monkeypatch.setattr(acquire, "look", lambda: resolve.look(0.8))
    monkeypatch.setattr(acquire, "RETRY_MOST_S", 0.5)
    monkeypatch.setattr(acquire, "SILENT_S", 1.0)


@pytest.fixture
def outlets() -> Iterator[Outlets]:
    made = Outlets()
    yield made
    made.close()


@pytest.fixture
def receive(outlets: Outlets) -> Iterator[Callable[..., LslSource]]:
    sources: list[LslSource] = []

    def start(**changes: Any) -> LslSource:
        room = replace(outlets.room, **changes)
        source = LslSource(resolve.resolve(room, 10.0), room, LslClock())
        source.start()
        sources.append(source)
        return source

    yield start
    for source in sources:
        assert source.stop(DEADLINE_S)


def take(
    source: LslSource | MarkerSource,
    until: Callable[[list[Any]], bool],
    kept: list[Any] | None = None,
) -> list[Any]:
    """Collect items until they suffice."""
    items: list[Any] = [] if kept is None else kept
    deadline = time.monotonic() + DEADLINE_S
    while not until(items):
        item = source.get(0.1)
        if item is not None:
            items.append(item)
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_S:g} s; got {[i for i in items if is_news(i)]}")
    return items


def is_news(item: Any) -> bool:
    return not isinstance(item, Received)


def has(kind: type, count: int = 1) -> Callable[[list[Any]], bool]:
    return lambda items: sum(isinstance(i, kind) for i in items) >= count


def samples(count: int) -> Callable[[list[Any]], bool]:
    return lambda items: sum(len(i.stamps) for i in items if isinstance(i, Received)) >= count


def counts(items: list[Any]) -> np.ndarray:
    return np.concatenate([i.samples[:, 2] for i in items if isinstance(i, Received)])


# ---------------------------------------------------------------- finding


def test_nothing_at_all_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "look", lambda _: ())
    with pytest.raises(StreamError, match="No stream at all was seen") as caught:
        resolve.resolve(RoomStream(name="nobody"), 0.01)
    assert caught.value.exit_code == 3
    assert "known_peers" in caught.value.fix


def test_what_was_seen_instead_is_listed_with_what_differs(outlets: Outlets) -> None:
    outlets.start(name="O'Brien <b>\u202e", chunk=1, rate_hz=10.0)
    with pytest.raises(StreamError) as caught:
        resolve.resolve(RoomStream(name=outlets.name, stype="eeg", source_id=outlets.id), 2.0)
    text = caught.value.what
    assert f"name '{outlets.name}', type 'eeg', source_id '{outlets.id}'" in text
    (line,) = [x for x in text.splitlines() if outlets.id in x and x.startswith("  ")]
    assert "O'Brien <b>\\u202e" in line
    assert "3 x float32, 10 Hz, on " in line
    assert line.endswith(": other name")


def test_a_name_with_a_quote_is_found_as_data(outlets: Outlets) -> None:
    name = f"O'Brien \" ] {outlets.name}"
    outlets.start(name=name, chunk=1, rate_hz=10.0)
    spec = resolve.resolve(RoomStream(name=name), 10.0)
    assert (spec.name, spec.source_id, spec.rate_hz) == (name, outlets.id, 10.0)
    assert spec.names == ("Cz", "Pz", "CNT")
    assert spec.channels[2].kind == "counter"


def test_twins_are_refused_and_listed(outlets: Outlets) -> None:
    outlets.start()
    outlets.start()
    with pytest.raises(StreamError, match="2 streams fit the room") as caught:
        resolve.resolve(outlets.room, 10.0)
    assert caught.value.what.count(outlets.id) == 2
    twins = [f for f in found(resolve.look()) if f.stream.source_id == outlets.id]
    assert len(twins) == 2
    assert all("1 twin" in " ".join(f.problems) for f in twins)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"unit": "banana"}, "Unknown unit 'banana'"),
        ({"unit": ""}, "No unit is declared"),
        ({"described": False}, "no labels"),
        ({"labels": ["Cz", "", "CNT"]}, "No label for column 2"),
        ({"dtype": "string", "rate_hz": 0.0}, "string values"),
        ({"rate_hz": 0.0, "dtype": "string"}, "irregular"),
    ],
)
def test_unusable_streams_are_refused(
    outlets: Outlets, changes: dict[str, Any], sentence: str
) -> None:
    outlets.start(**changes)
    with pytest.raises(StreamError, match=sentence):
        resolve.resolve(outlets.room, 10.0)


def test_more_streams_than_any_laboratory_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class Crowd:
        """A network with 2000 streams."""

        def resolve_streams(self, _wait_s: float) -> list[Any]:
            return [Info(i) for i in range(2000)]

    class Info:
        """One of them."""

        def __init__(self, number: int) -> None:
            self._number = number

        def uid(self) -> str:
            return str(self._number)

        def __getattr__(self, key: str) -> Callable[[], Any]:
            numbers = {
                "nominal_srate": 100.0,
                "channel_count": 4,
                "channel_format": 1,
                "created_at": 5.0,
            }
            return lambda: numbers.get(key, f"{key} {self._number % 3}")

    monkeypatch.setattr(resolve, "load_pylsl", Crowd)
    seen = resolve.look(0.1)
    assert len(seen) == 256
    monkeypatch.setattr(resolve, "look", lambda _: seen)
    with pytest.raises(StreamError) as caught:
        resolve.resolve(RoomStream(name="mine"), 0.01)
    assert "... and 236 more" in caught.value.what
    assert len(caught.value.what) < 6000


def test_a_network_that_never_answers_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    class Hanging:
        """A liblsl whose resolver hangs."""

        def resolve_streams(self, _wait_s: float) -> list[Any]:
            never.wait()
            return []

    monkeypatch.setattr(resolve, "load_pylsl", Hanging)
    assert resolve.look(0.01) == ()
    never.set()


# ---------------------------------------------------------------- receiving


@pytest.mark.parametrize("dtype", ["float32", "double64", "int16", "int32"])
def test_every_sample_arrives_once_in_the_sources_type(
    outlets: Outlets, receive: Callable[..., LslSource], dtype: str
) -> None:
    outlets.start(dtype=dtype)
    source = receive()
    items = take(source, samples(300))
    assert not [i for i in items if is_news(i)]
    assert items[0].samples.dtype == np.dtype(source.spec.dtype)
    assert not items[0].samples.flags.writeable
    np.testing.assert_array_equal(np.diff(counts(items)), 1)
    numberer = Numberer(source.spec, "CNT")
    results = [x for i in items for x in numberer.step(i)]
    assert all(isinstance(r, Chunk) for r in results)
    assert source.last_sample_t is not None
    assert source.alive
    assert source.failure is None


def test_the_clock_offset_is_measured_beside(
    outlets: Outlets, receive: Callable[..., LslSource]
) -> None:
    outlets.start()
    source = receive()
    take(source, lambda _: source.clock_offset_s is not None)
    assert abs(source.clock_offset_s or 0.0) < 1.0  # the same computer


def test_killed_and_restarted_comes_back_with_a_gap(
    outlets: Outlets, receive: Callable[..., LslSource]
) -> None:
    first = outlets.start()
    source = receive()
    items = take(source, samples(100))
    outlets.kill(first)
    take(source, has(Lost), items)
    assert "Looking for it." in next(i for i in items if isinstance(i, Lost)).sentence
    outlets.start()
    take(source, has(Back), items)
    news = [i for i in items if is_news(i)]
    assert [type(i) for i in news] == [Lost, Back]
    assert news[1].reopened
    assert news[1].gap_s > 0
    assert news[1].spec == source.spec
    assert news[1].spec.channels == source.spec.channels
    after: list[Any] = take(source, samples(50))
    # The restarted source counts from 0 again; its stamps are still those of this computer.
    numberer = Numberer(source.spec)
    results = []
    for item in [*items, *after]:
        if isinstance(item, Back):
            numberer.reopened()
        elif isinstance(item, Received):
            results += numberer.step(item)
    (gap,) = [r for r in results if isinstance(r, Gap)]
    assert gap.cause == "reconnect"
    assert gap.missing == pytest.approx(250 * news[1].gap_s, abs=250)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"rate_hz": 500.0}, "rate 250 Hz -> 500 Hz"),
        ({"labels": ["Pz", "Cz", "CNT"], "dtype": "int16"}, "column 1 Cz -> Pz"),
        ({"unit": ""}, "No unit is declared"),
    ],
)
def test_a_source_that_comes_back_otherwise_is_not_listened_to(
    outlets: Outlets, receive: Callable[..., LslSource], changes: dict[str, Any], difference: str
) -> None:
    first = outlets.start()
    source = receive()
    items = take(source, samples(20))
    outlets.kill(first)
    take(source, has(Lost), items)
    del items[:]
    wrong = outlets.start(**changes)
    take(source, has(Changed), items)
    news = [i for i in items if is_news(i)]
    assert difference in "; ".join(news[-1].differences)
    assert not [i for i in items if isinstance(i, Back)]
    outlets.kill(wrong)
    outlets.start()
    take(source, has(Back), items)  # and the right one may still come back
    assert len([i for i in items if isinstance(i, Changed)]) == 1


def test_another_computer_with_the_same_source_id_needs_a_word_of_the_operator(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outlets.start()
    source = receive()
    items = take(source, samples(20))
    real = acquire.look

    def elsewhere() -> tuple[Seen, ...]:
        return tuple(replace(s, host="another-pc") for s in real())

    monkeypatch.setattr(acquire, "look", elsewhere)
    outlets.kill(first)
    outlets.start()
    take(source, has(Changed), items)
    changed = next(i for i in items if isinstance(i, Changed))
    (line,) = changed.differences
    assert line.endswith("-> another-pc")
    assert changed.spec is not None
    source.accept_host("another-pc")
    take(source, has(Back), items)


def test_a_frozen_source_is_silence_and_its_backlog_comes_complete(
    outlets: Outlets, receive: Callable[..., LslSource]
) -> None:
    process = outlets.start()
    source = receive()
    items = take(source, samples(100))
    process.send_signal(signal.SIGSTOP)
    take(source, has(Lost), items)
    assert "silent" in next(i for i in items if isinstance(i, Lost)).sentence
    process.send_signal(signal.SIGCONT)  # the source catches up with everything it owes
    take(source, has(Back), items)
    assert not next(i for i in items if isinstance(i, Back)).reopened
    take(source, samples(len(counts(items)) + 1500), items)
    np.testing.assert_array_equal(np.diff(counts(items)), 1)
    numberer = Numberer(source.spec)
    results = [x for i in items if isinstance(i, Received) for x in numberer.step(i)]
    assert not [r for r in results if isinstance(r, Gap)]


def test_a_frozen_source_that_was_replaced_is_left(
    outlets: Outlets, receive: Callable[..., LslSource]
) -> None:
    frozen = outlets.start()
    source = receive()
    items = take(source, samples(50))
    uid = source.spec.uid
    frozen.send_signal(signal.SIGSTOP)
    take(source, has(Lost), items)
    outlets.start()
    take(source, has(Back), items)
    assert next(i for i in items if isinstance(i, Back)).reopened
    assert source.spec.uid != uid


def test_a_twin_is_neither_mistaken_for_the_source_nor_its_heir(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outlets.start()
    source = receive()
    take(source, lambda _: source.clock_offset_s is not None)
    uid = source.spec.uid
    twin = outlets.start()  # somebody else's amplifier of the same make
    monkeypatch.setattr(acquire, "HEIR_S", 0.0)
    items = take(source, samples(500))
    assert not [i for i in items if is_news(i)]
    assert source.spec.uid == uid
    np.testing.assert_array_equal(np.diff(counts(items)), 1)
    outlets.kill(first)
    take(source, has(Changed), items)
    changed = next(i for i in items if isinstance(i, Changed))
    assert "was there before it was lost" in changed.differences[0]
    outlets.kill(twin)
    outlets.start()
    take(source, has(Back), items)


def test_two_heirs_of_a_lost_source_are_refused(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outlets.start()
    source = receive()
    items = take(source, samples(20))
    real, both = acquire.look, threading.Event()
    monkeypatch.setattr(acquire, "look", lambda: real() if both.is_set() else ())  # not one by one
    outlets.kill(first)
    outlets.start()
    outlets.start()
    both.set()
    take(source, has(Changed), items)
    changed = next(i for i in items if isinstance(i, Changed))
    assert changed.differences[0].startswith("2 streams carry its source_id")
    assert changed.spec is None


def test_a_source_without_id_is_not_taken_from_somebody_else(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outlets.start(id="")
    source = receive()
    items = take(source, samples(20))
    outlets.kill(first)
    take(source, has(Lost), items)
    assert "no source_id" in next(i for i in items if isinstance(i, Lost)).sentence
    looks: list[int] = []
    real = acquire.look

    def counted_look() -> tuple[Seen, ...]:
        seen = real()
        looks.append(len([s for s in seen if s.name == outlets.name]))
        return seen

    monkeypatch.setattr(acquire, "look", counted_look)
    outlets.start(id="")
    take(source, lambda _: looks.count(1) >= 2, items)  # seen, twice
    assert not [i for i in items if isinstance(i, Back | Changed)]


def test_stopping_while_the_source_is_frozen_or_gone(
    outlets: Outlets, receive: Callable[..., LslSource]
) -> None:
    process = outlets.start()
    source = receive()
    take(source, samples(10))
    process.send_signal(signal.SIGSTOP)
    assert source.stop(DEADLINE_S)
    assert not source.alive
    assert source.stop()  # twice is fine
    outlets.kill(process)


def test_stopping_never_waits_for_a_liblsl_that_hangs(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlets.start()
    never, entered = threading.Event(), threading.Event()
    source = receive()
    take(source, samples(10))

    def hang(link: Any, timeout_s: float) -> Any:
        entered.set()
        never.wait()
        raise RuntimeError

    monkeypatch.setattr(acquire._Link, "pull", hang)
    assert entered.wait(DEADLINE_S)
    assert not source.stop(0.05)
    never.set()


def test_a_fault_in_the_thread_is_never_silent(
    outlets: Outlets, receive: Callable[..., LslSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlets.start()
    source = receive()
    take(source, samples(10))

    def fail(link: Any, timeout_s: float) -> Any:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(acquire._Link, "pull", fail)
    items = take(source, has(Lost))
    assert "surprise" in items[-1].sentence
    take(source, lambda _: not source.alive)
    assert isinstance(source.failure, ZeroDivisionError)


# ---------------------------------------------------------------- markers


def test_markers_are_recorded_by_name_and_may_come_and_go(
    outlets: Outlets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquire, "MARKER_LOOK_S", 0.2)
    markers = MarkerSource((outlets.name, "never there"), LslClock())
    assert markers.get() is None
    markers.start()
    first = outlets.start(stype="Markers", dtype="string", rate_hz=0.0, labels=["m"])
    items = take(markers, has(Marker, 3))
    assert markers.connected == (outlets.name,)
    assert items[0].stream == outlets.name
    numbers = [int(i.text.removeprefix("marker ")) for i in items]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    outlets.kill(first)
    take(markers, has(Lost), items)
    del items[:]
    outlets.start(stype="Markers", dtype="int32", labels=["code"], rate_hz=20.0, chunk=1)
    take(markers, has(Marker, 3), items)
    assert all(i.text.isdigit() for i in items)
    assert markers.stop(DEADLINE_S)


def test_a_fault_among_the_markers_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(acquire, "look", fail)
    markers = MarkerSource(("any",), LslClock())
    markers.start()
    (lost,) = take(markers, has(Lost))
    assert "surprise" in lost.sentence
    assert markers.stop(DEADLINE_S)


def test_no_markers_no_thread() -> None:
    markers = MarkerSource((), LslClock())
    markers.start()
    assert markers.stop()
    assert markers.connected == ()
