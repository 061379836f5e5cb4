"""What the person sees: a decision becomes a `Show`, and nothing else decides it."""

from __future__ import annotations

import pytest

from engine.frames import Decision, Gate, Phase, PhaseKind, Show
from engine.screens import Cues, show_for

PLAN = tuple(
    Phase(i, kind, kind.name.lower(), lasts, say, eyes)
    for i, (kind, lasts, say, eyes) in enumerate(
        [
            (PhaseKind.READY, 5.0, "Look ahead.", "open"),
            (PhaseKind.BASELINE, 60.0, "Look ahead.", "open"),
            (PhaseKind.PREPARING, 0.0, "One moment.", "open"),
            (PhaseKind.READY, 5.0, "Let it grow.", "closed"),
            (PhaseKind.TRAIN, 60.0, "Let it grow.", "closed"),
            (PhaseKind.REST, 30.0, "Rest.", "open"),
            (PhaseKind.TRANSFER, 60.0, "Again.", "open"),
            (PhaseKind.POST, 60.0, "Rest.", "open"),
            (PhaseKind.DONE, 0.0, "Thank you.", "open"),
        ]
    )
)


def decision(
    index: int,
    *,
    kind: PhaseKind | None = None,
    level: float | None = None,
    held: tuple[str, ...] = (),
    phase_s: float = 0.0,
    gate: Gate = Gate.OPEN,
) -> Decision:
    kind = kind or (PLAN[index].kind if index >= 0 else PhaseKind.CHECK)
    return Decision(
        10, 1.0, index, kind, level, False, False, (), (), gate, held, phase_s, 3, ""
    )  # fmt: skip


def show(d: Decision | None, held: tuple[str, ...] = (), cues: Cues | None = None) -> Show:
    return show_for(
        d,
        PLAN,
        now=2.0,
        newest_t=1.5,
        held=held,
        cues=cues or Cues(),
        gain=0.5,
        progress=0.25,
        title="Raise alpha",
    )


def test_before_the_first_sample() -> None:
    s = show(None)
    assert (s.screen, s.seq, s.rewards, s.title) == ("test", -1, 0, "Raise alpha")
    assert s.level is None


def test_a_hold_during_the_check_keeps_the_test_picture() -> None:
    assert show(decision(-1), held=("stale",)).screen == "test"


@pytest.mark.parametrize(("phase_s", "screen"), [(0.0, "instruction"), (2.5, "countdown")])
def test_lead_in(phase_s: float, screen: str) -> None:
    s = show(decision(3, phase_s=phase_s))
    assert (s.screen, s.title, s.text) == (screen, "Training", "Let it grow.")
    assert s.remaining_s == 5.0 - phase_s
    assert s.eyes == "closed"


def test_training_shows_the_level_and_nothing_to_read() -> None:
    s = show(decision(4, level=0.4, phase_s=12.0))
    assert (s.screen, s.level, s.gated, s.text, s.title) == ("feedback", 0.4, False, "", "")
    assert (s.rewards, s.gain, s.progress, s.t, s.sent) == (3, 0.5, 0.25, 1.5, 2.0)
    assert s.remaining_s == 48.0


def test_a_gate_is_told_as_no_level() -> None:
    s = show(decision(4, gate=Gate.BLINK))
    assert (s.screen, s.level, s.gated) == ("feedback", None, True)


@pytest.mark.parametrize(
    ("index", "screen"), [(1, "rest"), (5, "rest"), (6, "transfer"), (7, "rest")]
)
def test_no_level_leaves_training(index: int, screen: str) -> None:
    s = show(decision(index, level=0.9))
    assert (s.screen, s.level) == (screen, None)


@pytest.mark.parametrize("index", [1, 4, 5, 6, 7])
@pytest.mark.parametrize("known_to", ["session", "decision"])
def test_a_hold_is_neutral_over_every_phase(index: int, known_to: str) -> None:
    session = ("stale",) if known_to == "session" else ()
    s = show(decision(index, level=0.9, held=() if session else ("stale",)), held=session)
    assert (s.screen, s.level, s.remaining_s) == ("neutral", None, None)
    assert s.text == "One moment, please."


def test_a_pause_is_called_a_pause() -> None:
    assert show(decision(4), held=("paused",)).text == "We are pausing."


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (PhaseKind.DONE, "Session complete"),
        (PhaseKind.STOPPED, "Session ended"),
        (PhaseKind.FAILED, "Session ended"),
    ],
)
def test_the_end_is_the_end_also_while_held(kind: PhaseKind, title: str) -> None:
    s = show(decision(4, kind=kind), held=("stale",))
    assert (s.screen, s.title, s.remaining_s) == ("end", title, None)


def test_remaining_time_never_runs_negative() -> None:
    assert show(decision(4, level=0.1, phase_s=61.0)).remaining_s == 0.0


def test_cues_count_every_change_once() -> None:
    cues = Cues()
    heard = []
    for index in (-1, 0, 0, 1, 1, 2, 3, 4, 4, 5, 3, 4, 6, 7, 8):
        before = cues.count
        cues.see(decision(index))
        heard.append(cues.last if cues.count > before else "")
        assert cues.count - before in (0, 1)
    assert heard == [
        "", "", "", "baseline", "", "", "", "start", "",
        "rest", "", "start", "start", "rest", "end",
    ]  # fmt: skip


def test_a_block_that_ends_in_a_lead_in_is_told() -> None:
    cues = Cues()
    cues.see(decision(4))
    cues.see(decision(3))
    assert cues.last == "end"
