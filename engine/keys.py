"""The operator's keys: what was typed in, orders out. Knows no terminal and no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.frames import CommandKind, PhaseKind
from engine.status import Prompt, Status, clean, with_unit

__all__ = ["BEFORE_START", "Keys", "Order"]

_CONFIRM_S = 3.0  # long enough to press again, short enough to forget a slip
_STEP = 0.05  # one press of + or -
_SAID_S = 4.0  # an answer to a key stays this long over the list of keys
_LONGEST = 400  # characters of a note
BEFORE_START = (PhaseKind.IDLE, PhaseKind.CHECK)


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator wants; the session gives it its grid point and makes it a `Command`.

    `value` is the new threshold or the new gain 0..1, `target` the feature or the electrode,
    `text` the note or the reason. ``quit`` leaves the view after the session is over.
    """

    kind: CommandKind | Literal["quit"]
    text: str = ""
    value: float = math.nan
    target: str = ""


class Keys:
    """Turns key presses into orders.

    Keys are single characters, or ``esc``, ``enter``, ``backspace``; anything longer is ignored.
    """

    def __init__(self) -> None:
        self._status: Status | None = None
        self._paused = False
        self._volume = 1.0
        self._stop_until_s = -math.inf
        self._help = False
        self._question = ""
        self._typed = ""
        self._said = ""
        self._said_until_s = -math.inf
        self._answer: Callable[[str], tuple[Order, ...]] | None = None

    def see(self, status: Status) -> None:
        """Learn what the operator sees: current threshold, electrodes, volume, state."""
        if self._status is None or status.volume != self._status.volume:
            self._volume = status.volume
        if status.paused is not None:
            self._paused = status.paused
        self._status = status

    def prompt(self, now_s: float) -> Prompt:
        """Return what the bottom line should show."""
        if self._answer is not None:
            said = f"{self._said}  " if self._said else ""
            return Prompt(f"{said}{self._question}{self._typed}_", urgent=False, help=self._help)
        if now_s < self._stop_until_s:
            return Prompt("Stop the session?  Press s again to stop.", urgent=True, help=self._help)
        return Prompt(self._said if now_s < self._said_until_s else "", help=self._help)

    def press(self, key: str, now_s: float) -> tuple[Order, ...]:
        """Take one key press at `now_s` and return the orders that follow from it."""
        self._said, self._said_until_s = "", now_s + _SAID_S
        if self._answer is not None:
            return self._type(key)
        over = self._status is not None and self._status.state.terminal
        if key == "?":
            self._help = not self._help
            return ()
        if key == "esc" and self._help:
            self._help = False
            return ()
        if over:
            return (Order("quit"),) if key in ("q", "Q", "enter") else ()
        if key in ("s", "S", "esc"):
            if now_s < self._stop_until_s:
                self._stop_until_s = -math.inf
                return (Order("stop"),)
            self._stop_until_s = now_s + _CONFIRM_S
            return ()
        self._stop_until_s = -math.inf  # any other key takes the question back
        if key == "enter":
            waiting = self._status is None or self._status.state in BEFORE_START
            return (Order("start"),) if waiting else ()
        return self._normal(key.lower())

    def _normal(self, key: str) -> tuple[Order, ...]:
        match key:
            case "p":
                self._paused = not self._paused
                return (Order("pause" if self._paused else "resume"),)
            case "k":
                return (Order("skip"),)
            case "+" | "=" | "-" | "_":
                step = _STEP if key in "+=" else -_STEP
                self._volume = round(min(1.0, max(0.0, self._volume + step)), 2)
                self._said = f"Volume {100 * self._volume:.0f} %"
                return (Order("volume", value=self._volume),)
            case "n":
                self._ask("Note: ", self._note)
            case "g":
                return self._go()
            case "a":
                self._ask_answer()
            case "t":
                self._ask_threshold()
            case "q":
                self._said = "The session is running; s twice stops it."
            case "b":
                self._ask("Which electrode is bad, for the rest of the session? ", self._bad)
        return ()

    # ------------------------------------------------------------ typing a line

    def _ask(self, question: str, answer: Callable[[str], tuple[Order, ...]]) -> None:
        self._question, self._answer, self._typed = question, answer, ""

    def _type(self, key: str) -> tuple[Order, ...]:
        if key == "esc":
            self._answer = None
            self._said = "Nothing changed."
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif key == "enter":
            answer, self._answer = self._answer, None
            assert answer is not None
            return answer(self._typed.strip())
        elif len(key) == 1 and key.isprintable() and len(self._typed) < _LONGEST:
            self._typed += key
        return ()

    def _note(self, text: str) -> tuple[Order, ...]:
        if not text:
            self._said = "Empty note dropped."
            return ()
        self._said = "Note kept."
        return (Order("note", text=text),)

    def _go(self) -> tuple[Order, ...]:
        if self._status is None or not self._status.waits:
            self._said = "Nothing waits for it."
            return ()
        return (Order("go", text="operator"),)

    def _ask_answer(self) -> None:
        status = self._status
        if status is None or not status.question:
            self._said = "Nothing was asked."
            return
        self._ask(f"{clean(status.question, 60)} ", self._answered)

    def _answered(self, text: str) -> tuple[Order, ...]:
        if not text:
            self._said = "Empty answer dropped."
            return ()
        self._said = "Answer kept."
        return (Order("answer", text=text),)

    def _ask_threshold(self) -> None:
        status = self._status
        if status is None or not status.feature_name or status.threshold is None:
            self._said = "There is no threshold to change yet."
            return
        now = with_unit(status.threshold, status.feature_unit)
        name = clean(status.feature_name, 24)
        self._ask(f"New threshold for {name} (now {now}): ", self._threshold)

    def _threshold(self, text: str) -> tuple[Order, ...]:
        status = self._status
        assert status is not None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._said = f"{clean(text, 20)!r} is not a number; write it like 9.5."
            self._ask_threshold()
            return ()
        target, question = status.feature_name, f"Threshold {text}, because: "

        def reason(why: str) -> tuple[Order, ...]:
            if not why:
                self._said = "A reason is needed; Esc leaves it as it was."
                self._ask(question, reason)
                return ()
            self._said = "Threshold sent."
            return (Order("threshold", text=why, value=value, target=target),)

        self._ask(question, reason)
        return ()

    def _bad(self, text: str) -> tuple[Order, ...]:
        names = [e.name for e in self._status.electrodes] if self._status else []
        found = [n for n in names if n.casefold() == text.casefold()]
        if not text:
            self._said = "Nothing changed."
            return ()
        if not found:
            self._said = (
                f"No electrode {clean(text, 12)!r}. There are {clean(', '.join(names), 60)}."
            )
            self._ask("Which? ", self._bad)
            return ()
        self._said = f"{clean(found[0], 12)} marked as bad."
        return (Order("mark_bad", target=found[0]),)
