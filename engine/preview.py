"""Try a picture and its sounds without a person or an amplifier: the level goes up and down.

The window is that of a session in this room, language, letters and volume included. What is shown
means nothing, and a caption on the screen says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from engine.clock import Clock, LslClock
from engine.errors import RunError
from engine.frames import Show, Summary
from engine.perceived import Perceived
from engine.room import Room
from engine.run import has_screen, room_window
from feedback.messages import translator
from feedback.worker import Beat, Fault, Key, Ready, Window

__all__ = ["preview", "script"]

CYCLE_S = 12.0  # of the level, up and down
GATED_S = 3.0  # without an answer, at the end of each cycle
REWARD_EVERY_S = 2.5
REST_S = 4.0
STEP_S = 0.02
READY_S = 30.0


def script(seconds: float, say: Callable[[str], str] = str) -> Iterator[tuple[float, Show]]:
    """Yield what to show and when, in seconds from the start; the last part is a rest.

    Parameters
    ----------
    seconds : float
        Of all of it.
    say : callable
        Translates.
    """
    rewards, train_s = 0, seconds - min(REST_S, 0.3 * seconds)
    steps = round(seconds / STEP_S)
    for k in range(steps):
        t = k * STEP_S
        if t < train_s:
            at = t % CYCLE_S
            level = None
            if at < CYCLE_S - GATED_S:
                level = 0.5 - 0.5 * math.cos(2 * math.pi * at / (CYCLE_S - GATED_S))
                rewards += int((t + STEP_S) // REWARD_EVERY_S) - int(t // REWARD_EVERY_S)
            yield t, Show(
                seq=k, t=math.nan, sent=0.0, screen="feedback", level=level, gated=level is None,
                rewards=rewards, cue="start", cues=1, text=say("A preview: this follows nobody."),
            )  # fmt: skip
        else:
            summary = Summary(rewards, 0.8 * train_s, train_s, 0.4)
            yield t, Show(
                seq=k, t=math.nan, sent=0.0, screen="rest", rewards=rewards, cue="rest", cues=2,
                title=say("Rest"), remaining_s=seconds - t, progress=1.0, summary=summary,
            )  # fmt: skip


def preview(
    perceived: Perceived,
    room: Room,
    seconds: float,
    say: Callable[[str], None],
    *,
    headless: bool = False,
    frames: str | None = None,
    clock: Clock | None = None,
) -> None:
    """Open the person's window for so many seconds.

    Raises
    ------
    RunError
        The window does not open, or fails.
    """
    clock = clock or LslClock()
    headless = headless or (not room.person_screen.required and not has_screen())
    spec = replace(
        room_window(room, perceived, headless=headless),
        frames_dir=frames,
        plugins=room.wanted_plugins,
    )
    window = Window(spec)
    window.start()
    try:
        _opened(window, say)
        began, guarded = clock.now(), 0
        for t, show in script(seconds, translator(room.language)):
            while clock.now() - began < t:
                clock.sleep(0.005)
            window.show(replace(show, sent=clock.now()))
            for message in window.poll():
                if isinstance(message, Key) and message.name == "stop":
                    return
                if isinstance(message, Fault):
                    if message.fatal:
                        raise RunError(message.text, "Mend that, and try again.")
                    say(message.text)
                if isinstance(message, Beat) and message.guarded and not guarded:
                    guarded = message.guarded  # said once
                    say("The guard against flicker had to act: see docs/feedback.md.")
            if not window.alive:
                raise RunError("The window ended by itself.", "See the log file.")
    finally:
        window.stop()


def _opened(window: Window, say: Callable[[str], None]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        for message in window.poll():
            if isinstance(message, Ready):
                say(f"{message.size[0]} x {message.size[1]} at {message.refresh_hz:g} Hz, sound: "
                    f"{message.audio or 'none'}. Esc ends it.")  # fmt: skip
                return
            if isinstance(message, Fault) and message.fatal:
                raise RunError(message.text, "Mend that, and try again.")
        time.sleep(0.02)
    raise RunError(f"The window did not open within {READY_S:.0f} s.", "See the log file.")
