"""The operator's live view in a terminal, and the quiet lines where there is none.

A view shows `Status` values and hands back `Order` values; it never touches data. The live view
draws in a thread of its own, newest status only: a terminal that stalls (a stopped scroll, text
being selected, a slow remote line) must never hold up the session.
"""

from __future__ import annotations

import atexit
import codecs
import contextlib
import logging
import os
import select
import signal
import sys
import threading
from collections import deque
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.clock import Clock, LslClock
from engine.keys import Keys, Order
from engine.panel import render
from engine.status import Electrode, Prompt, Status, clean, state_of, with_unit

__all__ = [
    "Electrode",
    "LiveView",
    "Order",
    "PlainView",
    "Prompt",
    "Status",
    "View",
    "decode_keys",
    "open_view",
    "render",
]

_DRAW_EVERY_S = 0.25  # one drawing costs about 10 ms of Python that the loop cannot have
_LINE_EVERY_S = 5.0  # of the plain view
_CLOSE_WITHIN_S = 1.0  # a stalled terminal must not keep the session from ending

_log = logging.getLogger(__name__)


class View(Protocol):
    """What the session needs of an operator's surface."""

    def start(self) -> None:
        """Begin to show."""
        ...

    def update(self, status: Status) -> None:
        """Show `status`; never blocks."""
        ...

    def poll(self) -> tuple[Order, ...]:
        """Return the orders given since the last call; never blocks."""
        ...

    def close(self) -> None:
        """Give the terminal back as it was. Safe to call twice."""
        ...


# ---------------------------------------------------------------- keys of a real terminal


def decode_keys(text: str) -> tuple[str, ...]:
    """Return the keys in what a terminal sent; arrows and other escape sequences are dropped."""
    names = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace"}
    keys: list[str] = []
    i = 0
    while i < len(text):
        if text[i] != "\x1b":
            keys.append(names.get(text[i], text[i]))
            i += 1
        elif text[i + 1 : i + 2] in ("[", "O"):
            i += 2
            while i < len(text) and not "@" <= text[i] <= "~":
                i += 1
            i += 1
        elif i + 1 < len(text) and text[i + 1] != "\x1b":
            i += 2  # Alt with a letter is not that letter
        else:
            keys.append("esc")
            i += 1
    return tuple(keys)


class _Keyboard:
    """Single key presses without waiting, from a POSIX terminal or a Windows console."""

    def __init__(self) -> None:
        self._fd = -1
        self._before: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def open(self) -> None:
        """Take the keyboard; `close` gives it back, also when Python ends early."""
        if sys.platform == "win32":
            return
        import termios

        self._fd = sys.stdin.fileno()
        before = termios.tcgetattr(self._fd)
        now = termios.tcgetattr(self._fd)
        now[3] &= ~(termios.ECHO | termios.ICANON)  # keys at once and unseen; Ctrl-C still works
        now[0] &= ~termios.IXON  # Ctrl-S would freeze the output
        now[6][termios.VSUSP] = b"\0"  # Ctrl-Z would freeze the session
        termios.tcsetattr(self._fd, termios.TCSANOW, now)
        self._before = before
        atexit.register(self.close)

    def read(self) -> tuple[str, ...]:
        """Return the keys pressed since the last call."""
        if sys.platform == "win32":
            return _read_windows()
        if self._before is None or not select.select([self._fd], [], [], 0)[0]:
            return ()
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # the terminal is gone; SIGHUP tells the session
            data = b""
        if not data:
            self._before = None
        return decode_keys(self._decoder.decode(data))

    def close(self) -> None:
        """Give the keyboard back as it was, without keys left over for the shell."""
        if sys.platform == "win32" or self._before is None:
            return
        import termios

        before, self._before = self._before, None
        with contextlib.suppress(termios.error, OSError):
            termios.tcsetattr(self._fd, termios.TCSANOW, before)
            termios.tcflush(self._fd, termios.TCIFLUSH)
        atexit.unregister(self.close)


def _read_windows() -> tuple[str, ...]:
    keys: list[str] = []
    if sys.platform == "win32":
        import msvcrt

        names = {"\r": "enter", "\b": "backspace", "\x1b": "esc"}
        while msvcrt.kbhit():
            key = msvcrt.getwch()
            if key in ("\x00", "\xe0"):
                msvcrt.getwch()  # the second half of an arrow or function key
            elif key == "\x03":
                signal.raise_signal(signal.SIGINT)
            else:
                keys.append(names.get(key, key))
    return tuple(keys)


# ---------------------------------------------------------------- views


class LiveView:
    """The live view on a real terminal, with keys.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw; the process's own terminal by default.
    clock : Clock, optional
        LSL's clock by default.
    """

    def __init__(self, console: Console | None = None, clock: Clock | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._clock: Clock = clock or LslClock()
        self._keyboard = _Keyboard()
        self._keys = Keys()
        self._fresh = threading.Condition()
        self._status: Status | None = None
        self._prompt = self._drawn = Prompt()
        self._dirty = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Take the keyboard and begin to draw."""
        if self._thread is not None:
            return
        self._keyboard.open()
        self._closing = False
        self._thread = threading.Thread(target=self._draw, name="operator-view", daemon=True)
        self._thread.start()

    def update(self, status: Status) -> None:
        """Show `status` at the next drawing; only the newest one is drawn."""
        self._keys.see(status)
        self._tell(status)

    def poll(self) -> tuple[Order, ...]:
        """Return the orders given by key since the last call."""
        orders: list[Order] = []
        for key in self._keyboard.read():
            orders.extend(self._keys.press(key, self._clock.now()))
        self._tell(None)
        return tuple(orders)

    def close(self) -> None:
        """End the drawing and give the terminal back as it was."""
        with self._fresh:
            self._closing = True
            self._fresh.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_WITHIN_S)
            self._thread = None
        self._keyboard.close()

    def _tell(self, status: Status | None) -> None:
        prompt = self._keys.prompt(self._clock.now())
        with self._fresh:
            if status is None and prompt == self._prompt:
                return
            self._status, self._prompt = status or self._status, prompt
            self._dirty = True
            self._fresh.notify()

    def _draw(self) -> None:
        plain = not (self._console.encoding or "").lower().startswith("utf")
        failed = False
        live = Live(
            console=self._console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        with live:
            while True:
                with self._fresh:
                    self._fresh.wait_for(lambda: self._dirty or self._closing)
                    if self._closing:
                        return
                    status, prompt, self._dirty = self._status, self._prompt, False
                if status is None:
                    continue
                size = (self._console.width, self._console.height)
                try:
                    live.update(render(status, size, prompt, ascii_only=plain), refresh=True)
                except Exception:  # a view that cannot draw must not end the session
                    if not failed:
                        _log.exception("view failed=draw")
                    failed = True
                    _, word, _, sentence = state_of(status)
                    live.update(Text(f"{word}  {sentence}"), refresh=True)
                with self._fresh:  # keys are answered at once, the rest can wait
                    self._drawn = prompt
                    self._fresh.wait_for(
                        lambda: self._closing or self._prompt != self._drawn,
                        timeout=_DRAW_EVERY_S,
                    )


class PlainView:
    """One quiet line now and then, every message, and every change of state. No keys.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to write; standard output by default.
    clock : Clock, optional
        LSL's clock by default.
    every_s : float
        Seconds between two status lines.
    """

    def __init__(
        self,
        console: Console | None = None,
        clock: Clock | None = None,
        every_s: float = _LINE_EVERY_S,
    ) -> None:
        self._console = console or Console(highlight=False, markup=False, emoji=False)
        self._clock: Clock = clock or LslClock()
        self._every_s = every_s
        self._next_s = 0.0
        self._seen: deque[str] = deque(maxlen=200)
        self._state = ("", "")

    def start(self) -> None:
        """Begin: nothing to prepare."""

    def update(self, status: Status) -> None:
        """Write what is new."""
        for message in _unseen(tuple(self._seen), status.messages):
            self._seen.append(message)
            self._write(f"  {clean(message)}")
        shape_of_things = (state_of(status)[1].split(",")[0], status.phase_name)
        now = self._clock.now()
        if now >= self._next_s or shape_of_things != self._state:
            self._state, self._next_s = shape_of_things, now + self._every_s
            self._write(status_line(status))

    def poll(self) -> tuple[Order, ...]:
        """Return no orders: there is no keyboard."""
        return ()

    def close(self) -> None:
        """End: nothing to give back."""

    def _write(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


def _unseen(seen: tuple[str, ...], messages: tuple[str, ...]) -> tuple[str, ...]:
    """Return the messages after the longest overlap of the end of `seen` with their beginning."""
    for n in range(min(len(seen), len(messages)), 0, -1):
        if seen[-n:] == messages[:n]:
            return messages[n:]
    return messages


def status_line(status: Status) -> str:
    """Return the status in one line of plain text."""
    _, word, _, sentence = state_of(status)
    minutes, seconds = divmod(max(0, int(status.session_s)), 60)
    parts = [f"{minutes:02d}:{seconds:02d} {word}", clean(status.phase_name, 24), sentence]
    if status.feature_name and status.feature_value is not None:
        value = with_unit(status.feature_value, status.feature_unit)
        parts.append(f"{clean(status.feature_name, 24)} {value}")
    parts.append("BLINDED" if status.blinded else f"rewards {status.rewards}")
    if status.age_ms is not None:
        parts.append(f"newest sample {'' if status.age_known else '~'}{status.age_ms:.0f} ms")
    if status.transport_ms_p95 is not None:
        parts.append(f"to the screen {status.transport_ms_p95:.0f} ms (95 %)")
    if status.test_session:
        parts.append("TEST SESSION")
    return "  |  ".join(p for p in parts if p)


def open_view(*, plain: bool = False, clock: Clock | None = None) -> View:
    """Return the live view on a real terminal, else (or with `plain`) the quiet lines."""
    console = Console(highlight=False, markup=False, emoji=False)
    real = sys.stdin is not None and sys.stdin.isatty() and console.is_terminal
    if plain or not real or console.is_dumb_terminal:
        return PlainView(console, clock)
    return LiveView(console, clock)
