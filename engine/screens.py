"""What the person should see and hear now: a decision becomes a `Show`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.frames import Decision, Phase, PhaseKind, Show

__all__ = ["Cues", "show_for"]

_HOLD_TEXT = "One moment, please."
_PAUSE_TEXT = "We are pausing."
_READY_TEXT = "Press the space bar when you are ready."


@dataclass
class Cues:
    """Counts the tones that mark blocks, so that none is lost when messages are skipped."""

    count: int = 0
    last: str = ""
    _key: tuple[int, PhaseKind] = (-2, PhaseKind.IDLE)

    def see(self, decision: Decision) -> None:
        """Note a decision; a new block or an end raises the count."""
        key = (decision.phase, decision.kind)
        if key == self._key:
            return
        before, self._key = self._key[1], key
        kind = decision.kind
        measured = (PhaseKind.BASELINE, PhaseKind.TRAIN, PhaseKind.TRANSFER)
        if kind is PhaseKind.BASELINE:
            self._play("baseline")
        elif kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER):
            self._play("start")
        elif kind in (PhaseKind.REST, PhaseKind.POST):
            self._play("rest")
        elif kind.terminal or (before in measured and kind is PhaseKind.READY):
            self._play("end")

    def wake(self) -> None:
        """Play the soft tone for somebody who may be falling asleep."""
        self._play("wake")

    def end(self) -> None:
        """Note an end that no decision carries, so that closed eyes may open."""
        if not self._key[1].terminal:
            self._key = (self._key[0], PhaseKind.STOPPED)
            self._play("end")

    def _play(self, name: str) -> None:
        self.count += 1
        self.last = name


def show_for(
    decision: Decision | None,
    plan: Sequence[Phase],
    *,
    now: float,
    newest_t: float,
    held: Sequence[str],
    cues: Cues,
    gain: float,
    progress: float,
    title: str,
    ended: PhaseKind | None = None,
) -> Show:
    """Return what the window should present.

    Parameters
    ----------
    decision : Decision or None
        The newest one; None before the first sample.
    plan : sequence of Phase
        The session.
    now : float
        LSL clock, stamped as `sent`.
    newest_t : float
        Stamp of the newest sample received, in our clock.
    held : sequence of str
        Causes of hold known to the session, also those no decision could carry yet.
    cues : Cues
        Counts of tones.
    gain : float
        The operator's volume.
    progress : float
        Share of the session done.
    title : str
        The protocol's title.
    ended : PhaseKind or None
        How the session ended, also when no decision says so.
    """
    kind = ended or (PhaseKind.CHECK if decision is None else decision.kind)
    phase = plan[decision.phase] if decision is not None and decision.phase >= 0 else None
    causes = tuple(held) or (decision.held if decision is not None else ())
    # Before the start the person's screen and sound are tried: a soft picture and a quiet tone.
    screen, heading, text = "test", title, "We check the signal. Sit comfortably."
    remaining: float | None = None
    level: float | None = None
    gated = False
    if phase is not None:
        remaining = max(0.0, phase.lasts_s - (decision.phase_s if decision else 0.0))
    if kind.terminal:
        screen, heading = "end", "Session complete" if kind is PhaseKind.DONE else "Session ended"
        text = "Thank you. You may relax and move."
        remaining = None
    elif causes and kind is not PhaseKind.CHECK:
        screen, heading = "neutral", ""
        text = _PAUSE_TEXT if causes == ("paused",) else _HOLD_TEXT
        remaining = None
    elif phase is not None and decision is not None:
        heading, text = "", phase.say
        if kind is PhaseKind.READY:
            following = plan[phase.index + 1] if phase.index + 1 < len(plan) else phase
            heading = _HEADING.get(following.kind, "")
            screen = "countdown" if (remaining or 0.0) <= 3.0 else "instruction"
            if phase.waits_s:
                screen, remaining = "instruction", None
                text = f"{text} {_READY_TEXT}" if text else _READY_TEXT
        elif kind is PhaseKind.TRAIN:
            screen, text = "feedback", decision.say
            level = decision.level
            gated = decision.level is None
        elif kind is PhaseKind.TRANSFER:
            screen = "transfer"
            text = decision.say or text
        else:
            screen = "rest"
            heading = _HEADING.get(kind, "Rest")
            if text.rstrip(".") == heading:
                text = "Breathe, blink, and move if you like."
    return Show(
        seq=-1 if decision is None else decision.seq,
        t=newest_t,
        sent=now,
        screen=screen,
        level=level,
        gated=gated,
        rewards=0 if decision is None else decision.rewards,
        cue=cues.last,
        cues=cues.count,
        title=heading,
        text=text,
        remaining_s=remaining,
        progress=progress,
        eyes=phase.eyes if phase is not None else "open",
        gain=gain,
    )


_HEADING = {
    PhaseKind.BASELINE: "Resting measurement",
    PhaseKind.PREPARING: "One moment",
    PhaseKind.TRAIN: "Training",
    PhaseKind.TRANSFER: "Without feedback",
    PhaseKind.REST: "Rest",
    PhaseKind.POST: "Resting measurement",
}
