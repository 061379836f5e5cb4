"""The person's window as the engine sees it: a process of its own, and two pipes.

Nothing here waits for the other side. What is shown is latest-wins: a slow window skips values and
never delays a sample; a dead window is noticed (`Window.alive`) and never blocks. Nothing here
imports pygame, so the engine's process stays free of it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Protocol

from engine.frames import Presented, Show

__all__ = [
    "Alive",
    "Beat",
    "Close",
    "Fault",
    "Key",
    "Message",
    "PipePort",
    "Port",
    "Ready",
    "Window",
    "WindowSpec",
]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Everything the window's process needs to know, decided before the session.

    Parameters
    ----------
    title : str
        Of the window.
    picture : str
        Name in `feedback.registry.PICTURES` or of a plugin.
    on_reward, continuous : str or None
        Names in `feedback.registry.SOUNDS` or of plugins.
    cues : {"tones", "none"}
        Whether tones mark the parts of the session.
    size : (int, int) or None
        Pixels; None is 1280 x 720 in a window and the screen's own size when full screen.
    full_screen : bool
        Whether to fill the screen.
    display : int
        Number of the screen, 0 is the first.
    headless : bool
        Draw without a screen (said aloud in the room file); otherwise an invisible video driver
        is refused.
    frames_dir : str or None
        Folder for pictures of a headless session.
    sound_required : bool
        True refuses to start without a sound device; False runs silent with a message.
    sound_enabled : bool
        False never opens a sound device.
    spl_fullscale_dba : float or None
        Loudness calibration: what full scale measures at the ear; None caps the gain at 0.25.
    gain_cap : float
        The room's own cap, 0..1; can only lower the guard's.
    language : str
        Of the window's own words.
    reduced_motion, large_text, high_contrast : bool
        See `feedback.stage.Style`.
    images, film : str
        Folder of the room's own images, its own film; empty without.
    sound_files : tuple of (str, str)
        The room's own sounds: ``chime``, ``ambience`` or one of `feedback.registry.CUES`, and a
        path.
    sound_device : str or None
        Part of the name of the sound device; None is the system's choice.
    picture_options : tuple of (str, float)
        Of the picture, as the protocol gives them.
    photodiode : str
        Corner in which a patch is lit while a reward begins (``bottom-left`` ...); empty for none.
    audio_click : bool
        Whether each lighting of the patch also clicks.
    test_session : bool
        Every screen says TEST SESSION.
    rate_hz : float
        Frames per second.
    steady : bool
        Frames at an even pace also where no screen keeps it; else a new value is shown up to a
        third of a period early.
    plugins : tuple of (str, str)
        Name and exact version of the packages whose pictures and sounds may be used; the window
        loads them itself.
    """

    title: str = "Neuroloop"
    picture: str = "orb"
    on_reward: str | None = "chime"
    continuous: str | None = None
    cues: str = "tones"
    size: tuple[int, int] | None = None
    full_screen: bool = False
    display: int = 0
    headless: bool = False
    frames_dir: str | None = None
    sound_required: bool = False
    sound_enabled: bool = True
    spl_fullscale_dba: float | None = None
    gain_cap: float = 1.0
    language: str = "en"
    reduced_motion: bool = False
    large_text: bool = False
    high_contrast: bool = False
    images: str = ""
    film: str = ""
    sound_files: tuple[tuple[str, str], ...] = ()
    sound_device: str | None = None
    picture_options: tuple[tuple[str, float], ...] = ()
    photodiode: str = ""
    audio_click: bool = False
    test_session: bool = False
    rate_hz: float = 60.0
    steady: bool = False
    plugins: tuple[tuple[str, str], ...] = ()


# ---------------------------------------------------------------- from the window


@dataclass(frozen=True, slots=True)
class Ready:
    """The window is open.

    `audio` names the back end and device of the sound, `buffer_ms` how much sound waits in them.
    `vsync` says whether the screen keeps the time (it may turn out not to). `versions` are those of
    what it runs on, plugins among them. `audio` is empty when there is no sound. `refresh_hz` is
    the screen's rate, or the frame rate asked for where the screen does not tell.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    driver: str = ""
    audio: str = ""
    size: tuple[int, int] = (0, 0)
    refresh_hz: float = 60.0
    vsync: bool = False
    buffer_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Beat:
    """Ten times a second: the window lives. `guarded` counts interventions of the guard."""

    t: float
    fps: float
    missed: int
    guarded: int = 0
    starved: int = 0  # times the sound ran dry
    sound_delay_ms: float | None = None  # from a change to the device, measured; None: no sound
    perceived: bool = True  # False: nothing the person sees or hears follows the level
    dose_pa2h: float | None = None  # of sound at the ear so far; None: loudness not calibrated
    curtain: str = ""  # "", "lost" or "stopped"


@dataclass(frozen=True, slots=True)
class Key:
    """The person pressed ``stop`` (Escape, S, or closed the window), ``space`` or ``return``."""

    name: str
    t: float


@dataclass(frozen=True, slots=True)
class Fault:
    """Something is wrong; `fatal` means the window ends itself."""

    text: str
    fatal: bool = False


Message = Ready | Beat | Presented | Key | Fault


# ---------------------------------------------------------------- to the window


@dataclass(frozen=True, slots=True)
class Alive:
    """The engine lives but has nothing new to show."""


@dataclass(frozen=True, slots=True)
class Close:
    """End now."""


class Port(Protocol):
    """The window's side of the two pipes."""

    def take(self) -> tuple[Any, ...]:
        """Return what arrived (`Show`, `Alive`, `Close`), oldest first.

        Raises
        ------
        EOFError
            When the engine is gone.
        """
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; return whether there is."""
        ...

    def put(self, message: Message) -> None:
        """Send without waiting."""
        ...


class _Sender:
    """Send from a thread of its own, so that a full pipe never stops the caller.

    Keeps the newest `keep` messages while the other side does not read.
    """

    def __init__(self, connection: Connection, keep: int, name: str) -> None:
        self._connection = connection
        self._waiting: deque[Any] = deque(maxlen=keep)
        self._wake = threading.Condition()
        self._closing = False
        self._last: Any = None
        self.broken = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, message: Any) -> None:
        with self._wake:
            self._waiting.append(message)
            self._wake.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._waiting

    def close(self, timeout_s: float, last: Any = None) -> None:
        """Send what waits, and `last` after it, for at most `timeout_s`."""
        with self._wake:
            self._closing = True
            self._last = last
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                batch = tuple(self._waiting)
                self._waiting.clear()
                closing = self._closing
                if closing and self._last is not None:
                    batch = (*batch, self._last)
            try:
                if batch:
                    self._connection.send(batch)
            except (OSError, ValueError):
                self.broken = True  # the other side is gone; whoever reads notices it
                return
            if closing:
                return


class PipePort:
    """`Port` over two one-way pipes."""

    def __init__(self, inbox: Connection, outbox: Connection) -> None:
        self._inbox = inbox
        self._sender = _Sender(outbox, keep=4096, name="window-sender")

    def take(self) -> tuple[Any, ...]:
        """Return everything that arrived; see `Port.take`."""
        messages: list[Any] = []
        try:
            while self._inbox.poll():
                messages.extend(self._inbox.recv())
        except OSError as error:
            if not messages:
                raise EOFError from error
        except EOFError:
            if not messages:
                raise
        return tuple(messages)

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; see `Port.wait`."""
        try:
            return self._inbox.poll(max(0.0, timeout_s))
        except OSError:
            return True  # gone: taking it says so

    def put(self, message: Message) -> None:
        """Send without waiting."""
        self._sender.put(message)

    def close(self) -> None:
        """Send what waits, for at most half a second."""
        self._sender.close(0.5)


class Window:
    """Start, feed and end the window's process.

    The conductor calls `show` or `poll` at least twice in half a second: the window takes silence
    as a lost engine, falls to its neutral curtain and, ten seconds later, ends itself.

    Examples
    --------
    >>> window = Window(WindowSpec(headless=True))  # doctest: +SKIP
    >>> window.start()                              # doctest: +SKIP
    >>> window.show(show)                           # doctest: +SKIP
    >>> window.poll()                               # doctest: +SKIP
    (Ready(...), Beat(...), Presented(...))
    """

    BEAT_S = 0.1

    def __init__(self, spec: WindowSpec) -> None:
        self.spec = spec
        self._process: multiprocessing.process.BaseProcess | None = None
        self._sender: _Sender | None = None
        self._reader: threading.Thread | None = None
        self._arrived: deque[Message] = deque(maxlen=20000)
        self._last_put = 0.0
        self._ends: tuple[Connection, Connection] | None = None

    def start(self) -> None:
        """Spawn the process; its `Ready` comes with a later `poll`.

        Raises
        ------
        RuntimeError
            When started twice.
        """
        if self._process is not None:
            raise RuntimeError("a Window is started once; make a new one to start again")
        context = multiprocessing.get_context("spawn")
        child_in, parent_out = context.Pipe(duplex=False)
        parent_in, child_out = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_child,
            args=(self.spec, child_in, child_out),
            name="neuroloop-window",
            daemon=True,
        )
        self._process.start()
        # Only the child may hold its ends, or nobody would notice when it is gone.
        child_in.close()
        child_out.close()
        self._ends = (parent_in, parent_out)
        self._sender = _Sender(parent_out, keep=1, name="show-sender")
        self._reader = threading.Thread(
            target=self._read, args=(parent_in,), name="window-reader", daemon=True
        )
        self._reader.start()

    def _read(self, connection: Connection) -> None:
        while True:
            try:
                self._arrived.extend(connection.recv())
            except (EOFError, OSError):
                return

    def show(self, show: Show) -> None:
        """Hand over what is to be shown now; never blocks, only the newest one counts."""
        if self._sender is not None:
            self._last_put = time.monotonic()
            self._sender.put(show)

    def poll(self) -> tuple[Message, ...]:
        """Return what the window reported since the last call, oldest first; never blocks.

        Also tells the window that the engine's loop is alive when nothing was shown for 0.1 s.
        """
        now = time.monotonic()
        if self._sender is not None and now - self._last_put >= self.BEAT_S and self._sender.idle:
            self._last_put = now
            self._sender.put(Alive())
        messages: list[Message] = []
        while self._arrived:
            messages.append(self._arrived.popleft())
        return tuple(messages)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Process id, None before the start."""
        return self._process.pid if self._process is not None else None

    @property
    def exitcode(self) -> int | None:
        """Exit code, None while running."""
        return self._process.exitcode if self._process is not None else None

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the window: ask, then terminate, then kill. Messages can still be polled after."""
        process, sender = self._process, self._sender
        if process is None or sender is None:
            return
        sender.close(min(0.5, timeout_s), last=Close())
        process.join(timeout_s)
        if process.is_alive():
            process.terminate()
            process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join(1.0)
        if self._reader is not None:
            self._reader.join(1.0)
        for end in self._ends or ():
            with contextlib.suppress(OSError):
                end.close()


def _child(spec: WindowSpec, inbox: Connection, outbox: Connection) -> None:
    """Entry point of the window's process."""
    # Ctrl-C goes to the whole terminal; the engine decides what the window does about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # The operator clicks elsewhere: the person's full screen stays.
    os.environ.setdefault("SDL_VIDEO_MINIMIZE_ON_FOCUS_LOSS", "0")
    if spec.headless:
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    port = PipePort(inbox, outbox)
    try:
        from feedback.window import WindowLoop

        WindowLoop(spec, port).run()
    except Exception as error:
        port.put(Fault(f"The window failed: {type(error).__name__}: {error}", fatal=True))
        raise
    finally:
        port.close()
