"""What the person should see and hear now: a decision becomes a `Show`. Pure.

Everything is written in English here and passes through `say`, which puts it into the person's
language; a text made of several is translated part by part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.frames import Decision, Phase, PhaseKind, Show, Summary

__all__ = ["COUNTDOWN_S", "Cues", "show_for"]

COUNTDOWN_S = 3.0  # the last of a lead-in counts down

_CHECK_TEXT = "We check the signal. Sit comfortably."
_END_TEXT = "Thank you. You may relax and move."
_HOLD_TEXT = "One moment, please."
_PAUSE_TEXT = "We are pausing."
_READY_TEXT = "Press the space bar when you are ready."
_REST_TEXT = "Breathe, blink, and move if you like."


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


def _as_written(text: str) -> str:
    return text


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
    say: Callable[[str], str] = _as_written,
    block: Summary | None = None,
    session: Summary | None = None,
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
    say : callable
        Puts an English text into the person's language; texts it does not know stay.
    block, session : Summary or None
        Of the newest training block, and of all of them.
    """
    kind = ended or (PhaseKind.CHECK if decision is None else decision.kind)
    phase = plan[decision.phase] if decision is not None and decision.phase >= 0 else None
    causes = tuple(held) or (decision.held if decision is not None else ())
    # Before the start the person's screen and sound are tried: a soft picture and a quiet tone.
    screen, heading, text = "test", say(title), say(_CHECK_TEXT)
    remaining: float | None = None
    level: float | None = None
    gated = False
    summary: Summary | None = None
    if phase is not None:
        remaining = max(0.0, phase.lasts_s - (decision.phase_s if decision else 0.0))
    if kind.terminal:
        screen, text = "end", say(_END_TEXT)
        heading = say("Session complete" if kind is PhaseKind.DONE else "Session ended")
        remaining, summary = None, session
    elif causes and kind is not PhaseKind.CHECK:
        screen, heading = "neutral", ""
        text = say(_PAUSE_TEXT if causes == ("paused",) else _HOLD_TEXT)
        remaining = None
    elif phase is not None and decision is not None:
        heading, text = "", say(phase.say)
        if kind is PhaseKind.READY:
            following = plan[phase.index + 1] if phase.index + 1 < len(plan) else phase
            heading = say(_HEADING.get(following.kind, ""))
            screen = "countdown" if (remaining or 0.0) <= COUNTDOWN_S else "instruction"
            if phase.waits_s:
                screen, remaining = "instruction", None
                text = f"{text}\n{say(_READY_TEXT)}".strip()
                summary = _just_trained(plan, phase, block)
        elif kind is PhaseKind.TRAIN:
            screen, text = "feedback", say(decision.say)
            level = decision.level
            gated = decision.level is None
        elif kind is PhaseKind.TRANSFER:
            screen = "transfer"
            text = say(decision.say) or text
        else:
            screen = "rest"
            named = _HEADING.get(kind, "Rest")
            heading = say(named)
            if phase.say.rstrip(".") == named:
                text = say(_REST_TEXT)
            if kind is PhaseKind.REST:
                summary = _just_trained(plan, phase, block)
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
        summary=summary,
    )


def _just_trained(plan: Sequence[Phase], phase: Phase, block: Summary | None) -> Summary | None:
    """Return the block's summary where the person has just trained and has time to read."""
    before = plan[phase.index - 1] if phase.index > 0 else phase
    return block if before.kind is PhaseKind.TRAIN else None


_HEADING = {
    PhaseKind.BASELINE: "Resting measurement",
    PhaseKind.PREPARING: "One moment",
    PhaseKind.TRAIN: "Training",
    PhaseKind.TRANSFER: "Without feedback",
    PhaseKind.REST: "Rest",
    PhaseKind.POST: "Resting measurement",
}
