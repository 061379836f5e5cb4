"""The window as a process: spawn, pipes, death on either side."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.frames import Presented, Show
from feedback.worker import (
    Alive,
    Beat,
    Fault,
    Key,
    PipePort,
    Ready,
    Window,
    WindowSpec,
    _Sender,
)

SHOW = Show(seq=1, t=0.0, sent=0.0, screen="feedback", level=0.5)
SPEC = WindowSpec(headless=True, size=(320, 180), sound_enabled=False)
ROOT = Path(__file__).parents[2]


def wait_for(window: Window, done: Callable[[list[Any]], bool], seconds: float = 30.0) -> list[Any]:
    """Poll, as the conductor would, until `done` or the time is over."""
    messages: list[Any] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        messages.extend(window.poll())
        if done(messages):
            break
        time.sleep(0.02)
    return messages


def has(kind: type) -> Callable[[list[Any]], bool]:
    return lambda messages: any(isinstance(m, kind) for m in messages)


@pytest.fixture
def window() -> Iterator[Window]:
    made = Window(SPEC)
    yield made
    made.stop(2.0)


def test_spec_and_messages_travel() -> None:
    for value in (SPEC, SHOW, Ready(), Beat(0.0, 60.0, 0), Key("stop", 1.0), Fault("x"), Alive()):
        assert pickle.loads(pickle.dumps(value)) == value


def test_a_window_lives_shows_and_ends(window: Window) -> None:
    assert not window.alive
    assert window.pid is None
    assert window.poll() == ()
    window.show(SHOW)  # before the start: nobody to show it to, and no failure
    window.start()
    assert window.alive
    messages = wait_for(window, has(Ready))
    ready = next(m for m in messages if isinstance(m, Ready))
    assert ready.driver == "dummy"
    assert ready.size == (320, 180)
    for seq in range(2, 20):
        window.show(replace(SHOW, seq=seq))
        time.sleep(0.02)
    messages = wait_for(
        window, lambda m: has(Beat)(m) and any(isinstance(x, Presented) and x.seq == 19 for x in m)
    )
    rows = [m.seq for m in messages if isinstance(m, Presented)]
    assert rows == sorted(rows)
    frames = [m.frame for m in messages if isinstance(m, Presented)]
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert rows[-1] == 19
    assert not has(Fault)(messages)
    window.stop()
    assert not window.alive
    assert window.exitcode == 0
    window.stop()  # again is harmless
    with pytest.raises(RuntimeError, match="once"):
        window.start()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_the_window_to_the_engine(window: Window) -> None:
    window.start()
    wait_for(window, has(Ready))
    assert window.pid is not None
    os.kill(window.pid, signal.SIGINT)
    later = wait_for(window, lambda m: sum(isinstance(x, Beat) for x in m) >= 5)
    assert window.alive
    assert not has(Fault)(later)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_window_is_noticed_and_blocks_nobody(window: Window) -> None:
    window.start()
    wait_for(window, has(Ready))
    assert window.pid is not None
    os.kill(window.pid, signal.SIGKILL)
    wait_for(window, lambda _: not window.alive, 5.0)
    assert not window.alive
    for seq in range(100):
        window.show(replace(SHOW, seq=seq))
    window.poll()
    window.stop()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_frozen_window_never_blocks_and_is_ended(window: Window) -> None:
    window.start()
    wait_for(window, has(Ready))
    assert window.pid is not None
    os.kill(window.pid, signal.SIGSTOP)
    for seq in range(20000):  # several times what a pipe holds
        window.show(replace(SHOW, seq=seq, text="x" * 100))
    assert window.alive
    window.stop(0.2)
    assert not window.alive


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_the_window_outlives_a_killed_engine_only_for_a_while(tmp_path: Path) -> None:
    """F50: kill -9 of the engine: a curtain at once, and the end ten seconds later."""
    script = tmp_path / "engine_process.py"
    frames = tmp_path / "frames"
    script.write_text(
        "import sys, time\n"
        "from engine.frames import Show\n"
        "from feedback.worker import Ready, Window, WindowSpec\n"
        "if __name__ == '__main__':\n"
        "    w = Window(WindowSpec(headless=True, size=(320, 180), sound_enabled=False,\n"
        f"        frames_dir={str(frames)!r}))\n"
        "    w.start()\n"
        "    ready = False\n"
        "    while True:\n"
        "        if any(isinstance(m, Ready) for m in w.poll()):\n"
        "            print(w.pid, flush=True)\n"
        "        w.show(Show(seq=1, t=0.0, sent=0.0, screen='feedback', level=0.5))\n"
        "        time.sleep(0.02)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    engine = subprocess.Popen(
        [sys.executable, str(script)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert engine.stdout is not None
    pid = int(engine.stdout.readline())
    time.sleep(0.5)
    engine.kill()
    engine.wait()
    engine.stdout.close()

    def running() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        # A zombie that nobody reaps has ended all the same.
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"

    time.sleep(2.0)
    assert running()
    end = time.monotonic() + 30.0
    while running() and time.monotonic() < end:
        time.sleep(0.1)
    assert not running()
    assert any("lost" in p.name for p in frames.iterdir())


def test_an_invisible_screen_is_a_fatal_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "offscreen")
    window = Window(replace(SPEC, headless=False))
    window.start()
    messages = wait_for(window, lambda m: has(Fault)(m) and not window.alive)
    (fault,) = [m for m in messages if isinstance(m, Fault)]
    assert fault.fatal
    assert not has(Ready)(messages)
    window.stop()


def test_an_error_in_the_window_is_told() -> None:
    window = Window(replace(SPEC, rate_hz=0.0))
    window.start()
    messages = wait_for(window, lambda m: has(Fault)(m) and not window.alive)
    assert any("ZeroDivisionError" in m.text for m in messages if isinstance(m, Fault))
    assert window.exitcode == 1
    window.stop()


# ---------------------------------------------------------------- pipes


def test_the_newest_wins_when_nobody_reads() -> None:
    reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
    sender = _Sender(writer, keep=1, name="test")
    big = "x" * 200_000  # more than a pipe holds: the sender's thread blocks, not we
    sender.put((0, big))
    time.sleep(0.1)
    for i in range(1, 1000):
        sender.put((i, big))
    first = reader.recv()
    second = reader.recv()
    assert first[0][0] == 0
    assert second[0][0] == 999
    sender.close(1.0, last="last")
    assert reader.recv() == ("last",)
    reader.close()
    writer.close()


def test_a_port_reads_everything_then_notices_the_end() -> None:
    context = multiprocessing.get_context("spawn")
    inbox, engine_out = context.Pipe(duplex=False)
    engine_in, outbox = context.Pipe(duplex=False)
    port = PipePort(inbox, outbox)
    assert port.take() == ()
    engine_out.send((Alive(),))
    engine_out.send((SHOW,))
    engine_out.close()
    assert port.take() == (Alive(), SHOW)
    with pytest.raises(EOFError):
        port.take()
    port.put(Fault("one"))
    assert engine_in.recv() == (Fault("one"),)
    engine_in.close()
    port.put(Fault("nobody reads"))
    port.close()
    inbox.close()
    outbox.close()
