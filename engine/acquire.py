"""Receiving samples: LSL inlets in threads of their own, with a reconnect that everybody sees.

liblsl's own recovery is off: it is silent, and accepts a source that came back at another
sampling rate. Here a lost stream is an item in the queue, and a stream that comes back is
compared with *everything* that was agreed before a sample of it is passed on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.agree import Choice, Seen, describe, differences, shown
from engine.clock import Clock
from engine.errors import StreamError
from engine.frames import Float, StreamSpec, frozen
from engine.lsl import bury, load_pylsl, mark_used, within
from engine.number import Numberer, Received
from engine.resolve import columns_of, look, resolve

__all__ = [
    "Back",
    "Changed",
    "Item",
    "Lost",
    "LslSource",
    "Marker",
    "MarkerSource",
    "Numberer",
    "Received",
    "resolve",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

# Timing constants, and why.
PULL_S = 0.2  # how long a pull may block; also how soon a stop is noticed
REST_S = 0.002  # for the rest of a packet whose first samples are here
PULL_SAMPLES = 1024  # most samples of one pull; more are fetched at once by the next
BUFFER_S = 10  # LSL hands out the oldest data first: a long buffer would mean old feedback
OPEN_S = 3.0  # for a description and for opening the data connection
SILENT_S = 2.0  # without a sample and without an error: the source may be frozen or unplugged
RETRY_S, RETRY_MOST_S = 0.5, 5.0  # back-off between two looks at the network
OFFSET_S = 5.0  # between two readings of the clock offset
HEIR_S = 1.0  # a restarted source may have opened its new outlet before it closed the old one
MARKER_PULL_S = 0.05  # between two pulls; markers carry their own stamps
MARKER_LOOK_S = 5.0  # between two looks for marker streams


@dataclass(frozen=True, slots=True)
class Lost:
    """The stream is gone or silent since about `t`; it is being looked for."""

    t: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Back:
    """The agreed stream is back; its samples follow.

    `gap_s` is the time without samples by our clock. `reopened` tells a new connection, before
    which samples may be missing, from a source that only was silent.
    """

    t: float
    spec: StreamSpec
    gap_s: float
    reopened: bool = True


@dataclass(frozen=True, slots=True)
class Changed:
    """A stream with the agreed identity is there but is not what was agreed.

    Its samples are not passed on. `spec` is None when it does not even describe itself.
    """

    t: float
    spec: StreamSpec | None
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker of another LSL stream; `t` is its raw stamp, in its source's clock."""

    stream: str
    t: float
    text: str
    clock_offset_s: float | None = None


Item = Received | Lost | Back | Changed


class _Link:
    """One open inlet and the thread that measures its clock offset."""

    def __init__(self, inlet: Any) -> None:
        self.offset_s: float | None = None
        self._inlets = [inlet]
        self._sizes: deque[int] = deque(maxlen=5)  # of the newest pulls
        self._closed = threading.Event()
        threading.Thread(
            target=self._measure, args=(inlet,), name="lsl-offset", daemon=True
        ).start()

    def pull(self, timeout_s: float) -> tuple[NDArray[Any], Float]:
        """Wait for at least one sample; raises RuntimeError once the source is lost."""
        samples, stamps = self._pull(timeout_s, 1)
        missing = self._packet - len(stamps)
        if len(stamps) and missing > 0:
            # liblsl wakes us at a packet's first sample, which is its oldest.
            with contextlib.suppress(RuntimeError):  # lost: the next pull says so
                more, later = self._pull(REST_S, missing)
                samples = np.concatenate((samples, more))
                stamps = np.concatenate((stamps, later))
        if len(stamps):
            self._sizes.append(len(stamps))
        return frozen(samples), frozen(stamps)

    @property
    def _packet(self) -> int:
        """How many samples surely come together; 0 while that is not known."""
        sizes = self._sizes
        return min(sizes) if len(sizes) == sizes.maxlen else 0

    def _pull(self, timeout_s: float, least: int) -> tuple[NDArray[Any], Float]:
        pulled: tuple[NDArray[Any], Float] = self._inlets[0].pull_chunk(
            timeout=timeout_s, max_samples=PULL_SAMPLES, min_samples=least, as_numpy=True
        )
        return pulled

    def _measure(self, inlet: Any) -> None:
        while not self._closed.is_set():
            try:
                self.offset_s = float(inlet.time_correction(timeout=OFFSET_S))
            except RuntimeError as error:  # timeout or lost
                log.debug("clock offset unknown: %s", error)
                self.offset_s = None
            self._closed.wait(OFFSET_S)

    def close(self) -> None:
        """Let go of the inlet without waiting for liblsl."""
        self._closed.set()
        bury(self._inlets)


class LslSource:
    """The agreed EEG stream, received in a thread.

    Parameters
    ----------
    spec : StreamSpec
        As `resolve` returned it.
    choice : Choice
        The room's `stream`, applied again to the description after every reconnect.
    clock : Clock
        Times of reception and of what happens.

    Notes
    -----
    A frozen source raises no error in LSL. Whoever needs to know within fractions of a second
    compares `last_sample_t` with the clock; after two seconds a `Lost` item follows.
    """

    def __init__(self, spec: StreamSpec, choice: Choice, clock: Clock) -> None:
        self._agreed = spec
        self._choice = choice
        self._clock = clock
        self._uid = spec.uid
        self._hosts = {spec.host}
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._link: _Link | None = None
        self._offset_s: float | None = None  # the last that was measured
        self._lost_t: float | None = None
        self._reported: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._run, name="acquire", daemon=True)
        self.last_sample_t: float | None = None
        """Our clock when the newest sample came; None before the first."""
        self.failure: BaseException | None = None
        """What ended the thread, when something unforeseen did."""

    @property
    def spec(self) -> StreamSpec:
        """The agreed stream, with the uid of the connection now in use."""
        return replace(self._agreed, uid=self._uid)

    @property
    def clock_offset_s(self) -> float | None:
        """Seconds to add to a stamp to get our clock; None until measured."""
        link = self._link
        return link.offset_s if link else None

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def get(self, timeout_s: float = 0.0) -> Item | None:
        """Return the next item, or None when none came in time."""
        return _next_item(self._items, timeout_s)

    def accept_host(self, host: str) -> None:
        """Let the stream come from this computer too: the operator has confirmed the change."""
        self._hosts.add(host)
        self._reported = ()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Stop receiving; never waits longer than `timeout_s`, whatever liblsl does.

        Returns
        -------
        bool
            Whether the thread ended; it is a daemon and dies with the process otherwise.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                link = self._connect()
                if link is None:
                    return
                self._link = link
                try:
                    self._receive(link)
                finally:
                    self._offset_s = link.offset_s or self._offset_s
                    self._link = None
                    link.close()
        except Exception as error:  # never a silent dead thread
            log.exception("acquisition failed")
            self.failure = error
            self._items.put(Lost(self._clock.now(), f"Receiving the stream failed: {error}"))

    def _receive(self, link: _Link) -> None:
        """Pass samples on until the stream is lost or replaced, or we are to stop."""
        newest_t = self._clock.now()
        silent = False
        watch: _Watch | None = None
        while not self._stop.is_set():
            try:
                samples, stamps = link.pull(PULL_S)
            except RuntimeError as error:  # pylsl's LostError and InternalError
                log.warning("stream lost: %s", error)
                self._say_lost("is gone: its source was closed, crashed or lost its connection")
                return
            now = self._clock.now()
            if len(stamps):
                if self._lost_t is not None:
                    self._say_back(now, reopened=not silent)
                silent = False
                if watch is not None:
                    watch.close()
                    watch = None
                self.last_sample_t = newest_t = now
                self._items.put(Received(samples, stamps, now))
            elif now - newest_t > SILENT_S:
                if not silent and self._lost_t is None:
                    silent = True
                    self._say_lost(
                        f"is silent: no sample for {SILENT_S:g} s, though it is connected"
                    )
                watch = watch or _Watch(self._replaced)
                if watch.found.is_set():  # the old connection is dead, only nobody told it
                    return

    def _say_lost(self, what: str) -> None:
        if self._lost_t is None:
            self._lost_t = self._clock.now()
            name = shown(self._agreed.name)
            fix = (
                "Looking for it."
                if self._agreed.source_id
                else "It has no source_id to find it by."
            )
            self._items.put(Lost(self._lost_t, f"The stream '{name}' {what}. {fix}"))

    def _say_back(self, now: float, *, reopened: bool) -> None:
        since = self.last_sample_t if self.last_sample_t is not None else self._lost_t
        gap_s = now - since if since is not None else 0.0
        self._lost_t = None
        self._reported = ()
        self._items.put(Back(now, self.spec, gap_s, reopened=reopened))

    def _say_changed(self, spec: StreamSpec | None, lines: tuple[str, ...]) -> None:
        if lines != self._reported:  # once for each state, not at every look
            self._reported = lines
            self._items.put(Changed(self._clock.now(), spec, lines))

    # ------------------------------------------------------------ finding it again

    def _same(self, seen: Sequence[Seen]) -> list[Seen]:
        """Return the streams that carry the agreed identity, the connected one alone if seen."""
        known = [s for s in seen if s.uid == self._uid]
        if known or not self._agreed.source_id:
            return known
        return [s for s in seen if s.source_id == self._agreed.source_id]

    def _is_twin(self, seen: Seen) -> bool:
        """Return whether this is another source with our source's id, perhaps on another head.

        A restarted source is younger than the last sample; one that was there before is not it.
        """
        if seen.uid == self._uid or self.last_sample_t is None or self._offset_s is None:
            return False
        return seen.created_t + self._offset_s < self.last_sample_t - HEIR_S

    def _replaced(self) -> bool:
        """Return whether the stream now comes from a new outlet and not from the old one."""
        heirs = [s for s in self._same(look()) if not self._is_twin(s)]
        return bool(heirs) and all(s.uid != self._uid for s in heirs)

    def _connect(self) -> _Link | None:
        """Look for the stream until it is there and as agreed; None when we are to stop."""
        for wait_s in _waits():
            same = self._same(look())
            heirs = [s for s in same if not self._is_twin(s)]
            if len(heirs) == 1:
                link = self._open(heirs[0])
                if link is not None:
                    self._uid = heirs[0].uid
                    return link
            elif same:
                self._say_changed(None, (_twins_sentence(same, heirs),))
            else:
                self._say_lost("is not on the network")
            if self._stop.wait(wait_s):
                break
        return None

    def _open(self, seen: Seen) -> _Link | None:
        """Open a stream that is exactly as agreed; say what differs and return None otherwise."""
        described = columns_of(seen, OPEN_S)
        if described.columns is None:  # it did not answer; ask again later
            return None
        try:
            spec = describe(described, self._choice)
        except StreamError as error:
            self._say_changed(None, (error.what,))
            return None
        agreed = replace(self._agreed, host=spec.host) if spec.host in self._hosts else self._agreed
        lines = differences(agreed, spec)
        if lines:
            self._say_changed(spec, lines)
            return None
        return _open_link(seen)


def _twins_sentence(same: Sequence[Seen], heirs: Sequence[Seen]) -> str:
    hosts = ", ".join(sorted({shown(s.host) for s in same}))
    if heirs:
        return f"{len(same)} streams carry its source_id, on {hosts}"
    return f"another stream carries its source_id and was there before it was lost, on {hosts}"


class _Watch:
    """Asks a question about the network again and again, in a thread, until the answer is yes."""

    def __init__(self, question: Callable[[], bool]) -> None:
        self.found = threading.Event()
        self._question = question
        self._closed = threading.Event()
        threading.Thread(target=self._run, name="lsl-watch", daemon=True).start()

    def close(self) -> None:
        """Stop asking."""
        self._closed.set()

    def _run(self) -> None:
        for wait_s in _waits():
            if self._question():
                self.found.set()
            if self.found.is_set() or self._closed.wait(wait_s):
                return


def _waits() -> Iterator[float]:
    """Yield how long to wait between two looks at the network, for ever."""
    wait_s = RETRY_S
    while True:
        yield wait_s
        wait_s = min(2 * wait_s, RETRY_MOST_S)


class MarkerSource:
    """Marker streams recorded beside the EEG, found by name, in one thread.

    Every stream of a name is taken; streams may come and go. Numbers are written as text.

    Parameters
    ----------
    names : sequence of str
        The room's `markers`.
    clock : Clock
        Times of what happens.
    """

    def __init__(self, names: Sequence[str], clock: Clock) -> None:
        self._names = frozenset(names)
        self._clock = clock
        self._items: queue.SimpleQueue[Marker | Lost] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._links: dict[str, tuple[Seen, _Link]] = {}
        self._looked_t = -math.inf
        self._thread = threading.Thread(target=self._run, name="markers", daemon=True)

    @property
    def connected(self) -> tuple[str, ...]:
        """Names of the marker streams now received."""
        return tuple(seen.name for seen, _ in list(self._links.values()))

    def start(self) -> None:
        """Begin to receive; without names nothing happens."""
        if self._names:
            self._thread.start()

    def get(self, timeout_s: float = 0.0) -> Marker | Lost | None:
        """Return the next marker or loss, or None when none came in time."""
        return _next_item(self._items, timeout_s)

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Stop receiving, at the latest after `timeout_s`; return whether the thread ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._clock.now() - self._looked_t > MARKER_LOOK_S:
                    self._connect()
                for uid, (seen, link) in list(self._links.items()):
                    self._pull(uid, seen, link)
                self._stop.wait(MARKER_PULL_S)
        except Exception as error:  # never a silent dead thread
            log.exception("receiving markers failed")
            self._items.put(Lost(self._clock.now(), f"Receiving markers failed: {error}"))
        finally:
            for _, link in self._links.values():
                link.close()
            self._links.clear()

    def _connect(self) -> None:
        if len({seen.name for seen, _ in self._links.values()}) < len(self._names):
            for seen in look():
                if seen.name in self._names and seen.uid not in self._links:
                    link = _open_link(seen)
                    if link is not None:
                        self._links[seen.uid] = (seen, link)
                        log.info("markers connected uid=%s", seen.uid)
        self._looked_t = self._clock.now()

    def _pull(self, uid: str, seen: Seen, link: _Link) -> None:
        try:
            samples, stamps = link.pull(0.0)
        except RuntimeError:  # pylsl's LostError and InternalError
            del self._links[uid]
            link.close()
            sentence = f"The marker stream '{shown(seen.name)}' is gone. Looking for it."
            self._items.put(Lost(self._clock.now(), sentence))
            return
        for values, t in zip(samples, stamps, strict=True):
            text = " ".join(_text(value) for value in values)
            self._items.put(Marker(seen.name, float(t), text, link.offset_s))


def _text(value: Any) -> str:
    """Return one value of a marker: bytes of a string stream, or a number."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return f"{float(value):g}" if isinstance(value, np.floating) else str(value)


def _next_item(items: queue.SimpleQueue[T], timeout_s: float) -> T | None:
    try:
        return items.get(timeout=timeout_s) if timeout_s > 0 else items.get_nowait()
    except queue.Empty:
        return None


def _open_link(seen: Seen) -> _Link | None:
    """Open the data connection of a stream; None when it does not answer."""
    pylsl = load_pylsl()
    mark_used()
    inlets: list[Any] = []

    def opening() -> None:
        inlets.append(pylsl.StreamInlet(seen.handle, max_buflen=BUFFER_S, recover=False))
        inlets[0].open_stream(timeout=OPEN_S)

    try:
        within(OPEN_S + 1.0, opening, "open")
    except (RuntimeError, TimeoutError) as error:  # pylsl's errors are RuntimeErrors
        log.warning("stream not opened uid=%s: %s", seen.uid, error)
        bury(inlets)
        return None
    return _Link(inlets.pop())
