"""The feedback of a session as it is published, received for a simulated person."""

from __future__ import annotations

import logging
import math
import queue
import threading
from typing import Any

from engine.agree import Seen as Stream
from engine.clock import now
from engine.learner import Seen
from engine.lsl import bury, load_pylsl, mark_used, within
from engine.resolve import look

__all__ = ["FeedbackSource", "seen_of"]

log = logging.getLogger(__name__)

STREAM = "neuroloop_feedback"
LOOK_S = 2.0  # between two looks at the network
OPEN_S = 3.0
PULL_S = 0.02
BUFFER_S = 10


def seen_of(level: float, gate: float, rewards: float) -> Seen:
    """Return what the screen shows, from the columns `engine.publish.FEEDBACK`.

    Outside training there is neither a level nor a gate. A transfer run looks like a rest.
    """
    shown = math.isfinite(level) or gate > 0.0
    counted = int(rewards) if math.isfinite(rewards) else 0
    return Seen(level if math.isfinite(level) else None, counted, shown, shown)


class FeedbackSource:
    """The feedback stream of whichever session receives one amplifier, in a thread.

    It may come and go: a session that begins later is found.

    Parameters
    ----------
    source_id : str
        Of the amplifier; the feedback of another one is not ours.
    """

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._items: queue.SimpleQueue[tuple[float, Seen]] = queue.SimpleQueue()
        self._inlets: list[Any] = []
        self._others: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)

    def start(self) -> None:
        """Begin to receive."""
        self._thread.start()

    def take(self) -> list[tuple[float, Seen]]:
        """Return what came since the last call, each with the time of its reception."""
        return [self._items.get_nowait() for _ in range(self._items.qsize())]

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop receiving, at the latest after `timeout_s`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._inlets:
                    self._pull()
                    self._stop.wait(PULL_S)
                elif not self._connect():
                    self._stop.wait(LOOK_S)
        except Exception:  # never a silent dead thread
            log.exception("receiving feedback failed")
        finally:
            bury(self._inlets)

    def _connect(self) -> bool:
        """Look once; return whether the feedback of our amplifier was found."""
        for stream in look():
            if stream.name == STREAM and stream.uid not in self._others:
                found = self._open(stream)
                if found:
                    log.info("feedback connected uid=%s", stream.uid)
                    return True
        return False

    def _open(self, stream: Stream) -> bool:
        pylsl = load_pylsl()
        mark_used()
        inlets: list[Any] = []

        def opening() -> str:
            inlets.append(pylsl.StreamInlet(stream.handle, max_buflen=BUFFER_S, recover=False))
            source = inlets[0].info(timeout=OPEN_S).desc().child("source")
            answers = str(source.child_value("source_id"))
            if answers == self._source_id:
                inlets[0].open_stream(timeout=OPEN_S)
            return answers

        try:
            ours = within(2 * OPEN_S + 1.0, opening, "feedback") == self._source_id
        except (RuntimeError, TimeoutError) as error:  # pylsl's errors are RuntimeErrors
            log.warning("feedback not opened uid=%s: %s", stream.uid, error)
            bury(inlets)
            return False
        if not ours:
            self._others.add(stream.uid)
            bury(inlets)
            return False
        self._inlets = [inlets.pop()]
        return True

    def _pull(self) -> None:
        try:
            rows, _ = self._inlets[0].pull_chunk(timeout=0.0)
        except RuntimeError:  # lost: the session is over, and nothing is shown any more
            bury(self._inlets)
            self._inlets = []
            self._items.put((now(), Seen()))
            return
        for level, gate, rewards in rows:
            self._items.put((now(), seen_of(level, gate, rewards)))
