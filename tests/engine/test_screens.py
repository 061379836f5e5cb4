"""What the person sees: a decision becomes a `Show`, and nothing else decides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from engine.features import FEATURES
from engine.frames import (
    Command,
    Decision,
    Event,
    FeatureFrame,
    Gate,
    Phase,
    PhaseKind,
    Show,
    Summary,
    frozen,
)
from engine.pipeline import Point
from engine.screens import COUNTDOWN_S, Cues, show_for
from engine.session import Session
from engine.summary import LEAST_CLEAN_S, Summaries
from feedback.messages import translator
from protocols.decide import Decider
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

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


# ---------------------------------------------------------------- the person's language


def german(d: Decision, plan: tuple[Phase, ...] = PLAN, **more: Any) -> Show:
    return show_for(
        d, plan, now=2.0, newest_t=1.5, held=more.pop("held", ()), cues=Cues(), gain=0.5,
        progress=0.25, title="Raise gamma at Cz", say=translator("de"), **more,
    )  # fmt: skip


def test_the_person_reads_their_own_language() -> None:
    assert german(decision(-1)).title == "Gamma an Cz steigern"
    assert german(decision(5)).title == "Pause"
    assert german(decision(4), held=("paused",)).text == "Wir machen eine Pause."
    assert german(decision(8)).title == "Die Sitzung ist beendet"


def test_a_text_of_ones_own_is_shown_as_it_is() -> None:
    plan = (replace(PLAN[3], index=0, say="Hör auf den Regen."), replace(PLAN[4], index=1))
    d = replace(decision(0), kind=PhaseKind.READY)
    assert german(d, plan).text == "Hör auf den Regen."


def test_a_text_of_several_is_translated_part_by_part() -> None:
    plan = (replace(PLAN[3], index=0, say="Hör zu.", waits_s=300.0), replace(PLAN[4], index=1))
    d = replace(decision(0), kind=PhaseKind.READY)
    shown = german(d, plan)
    assert shown.text == "Hör zu.\nDrücken Sie die Leertaste, wenn Sie bereit sind."
    assert (shown.screen, shown.remaining_s) == ("instruction", None)


def test_a_rest_that_says_only_its_name_says_what_one_may_do() -> None:
    assert show(decision(5)).text == "Breathe, blink, and move if you like."
    assert german(decision(5)).text.startswith("Atmen Sie")


def test_only_the_end_of_a_lead_in_counts_down() -> None:
    assert show(decision(3, phase_s=5.0 - COUNTDOWN_S - 0.1)).screen == "instruction"
    assert show(decision(3, phase_s=5.0 - COUNTDOWN_S)).screen == "countdown"


# ---------------------------------------------------------------- the summary after a block

BLOCK, WHOLE = Summary(3, 50.0, 60.0, 0.3), Summary(9, 150.0, 180.0)


def summed(d: Decision, plan: tuple[Phase, ...] = PLAN) -> Show:
    return german(d, plan, block=BLOCK, session=WHOLE)


def test_the_rest_after_a_block_tells_about_it_and_nothing_else_does() -> None:
    told = {i: summed(decision(i)).summary for i in range(-1, 8)}
    assert {i for i, s in told.items() if s is not None} == {5}  # the rest after the training
    assert told[5] == BLOCK


def test_a_rest_after_something_else_tells_nothing() -> None:
    plan = (replace(PLAN[6], index=0), replace(PLAN[5], index=1))
    assert summed(decision(1, kind=PhaseKind.REST), plan).summary is None


def test_a_block_at_ones_own_pace_leaves_time_to_read_about_the_one_before() -> None:
    plan = (replace(PLAN[4], index=0), replace(PLAN[3], index=1, waits_s=300.0),
            replace(PLAN[4], index=2))  # fmt: skip
    assert summed(decision(1, kind=PhaseKind.READY), plan).summary == BLOCK
    hurried = (plan[0], replace(plan[1], waits_s=0.0), plan[2])
    assert summed(decision(1, kind=PhaseKind.READY), hurried).summary is None


@pytest.mark.parametrize("kind", [k for k in PhaseKind if k.terminal])
def test_the_end_tells_about_the_whole_session(kind: PhaseKind) -> None:
    assert summed(decision(4, kind=kind)).summary == WHOLE


def test_a_hold_tells_nothing() -> None:
    held = replace(decision(5), held=("stale",))
    assert summed(held).summary is None


def ended(**data: Any) -> Event:
    features = {"smr": {"mean": 1.0, "baseline_z": 0.4}, "theta": {"mean": 1.0, "baseline_z": 9.0}}
    whole = {"kind": "train", "rewards": 4, "clean_s": 50.0, "total_s": 60.0, "features": features}
    return Event(1.0, 1, "phase_end", whole | data)


def protocol_of(name: str) -> Protocol:
    return load(name, FEATURES).protocol


def test_what_a_block_gave_is_taken_from_its_end() -> None:
    summaries = Summaries(protocol_of("smr_up"))
    assert summaries.block is None
    assert summaries.session is None
    summaries.see(ended(), compared=True)
    assert summaries.block == Summary(4, 50.0, 60.0, 0.4)
    for other in (ended(kind="transfer"), ended(kind="rest"), Event(1.0, 1, "reward", {"n": 1})):
        summaries.see(other, compared=True)
    summaries.see(ended(rewards=1, clean_s=20.0, total_s=24.0), compared=True)
    assert summaries.block == Summary(1, 20.0, 24.0, 0.4)
    assert summaries.session == Summary(5, 70.0, 84.0, None)


@pytest.mark.parametrize(
    "data",
    [
        {"clean_s": LEAST_CLEAN_S - 0.1},
        {"features": {}},
        {"features": {"smr": {"mean": None, "baseline_z": None}}},
        {"features": {"smr": {"mean": 1.0, "baseline_z": float("nan")}}},
    ],
)
def test_what_is_not_known_is_not_told(data: dict[str, Any]) -> None:
    summaries = Summaries(protocol_of("smr_up"))
    summaries.see(ended(**data), compared=True)
    assert summaries.block is not None
    assert summaries.block.z is None


@pytest.mark.parametrize("name", ["scp", "ilf"])
def test_where_no_one_direction_is_trained_nothing_is_compared(name: str) -> None:
    protocol = protocol_of(name)
    features = {protocol.trained: {"mean": 1.0, "baseline_z": 0.4}}
    summaries = Summaries(protocol)
    summaries.see(ended(features=features), compared=True)
    assert summaries.block is not None
    assert summaries.block.z is None


@pytest.mark.parametrize(("name", "sign"), [("smr_up", 1.0), ("high_beta_down", -1.0)])
def test_a_block_is_measured_in_the_persons_own_spreads(name: str, sign: float) -> None:
    """A real decider: half a spread above rest is +0.5 upward and -0.5 downward."""
    protocol = protocol_of(name)
    plan = expand(protocol)
    grid_hz, hop = 5.0, 50
    decider = Decider(
        protocol, plan, grid_hz=grid_hz, hop=hop,
        scales=dict.fromkeys(protocol.features, "ln"),
        relearn=lambda metrics: (None, np.ones(len(metrics), dtype=bool)),
    )  # fmt: skip
    summaries = Summaries(protocol)
    rng = np.random.default_rng(5)
    at = list(protocol.features).index(protocol.trained)
    rewards = 0
    for i in range(4000):
        x = 0.3 * rng.normal(size=len(protocol.features))
        training = decider.kind is PhaseKind.TRAIN
        gate = Gate.BLINK if training and i % 10 == 0 else Gate.OPEN
        x[at] += 0.15 if training else 0.0
        trusted = np.full(len(x), gate == 0)
        frame = FeatureFrame(
            hop * i, i / grid_hz, frozen(np.exp(x)), frozen(trusted), gate, frozen(np.zeros(3))
        )
        decided = decider.step(frame, [] if i else [Command(0, "start")])
        rewards += decided.decision.reward
        for event in decided.events:
            summaries.see(event, compared=True)
        if summaries.block is not None:
            break
    block = summaries.block
    assert block is not None
    assert block.z == pytest.approx(sign * 0.5, abs=0.12)
    assert block.rewards == rewards > 0
    assert block.clean_s == pytest.approx(180.0)
    assert block.lasts_s == pytest.approx(200.0, abs=1.0)


# ---------------------------------------------------------------- what the session makes of it


def session_stand_in(**fields: Any) -> Any:
    """Return what `Session._take` and `Session._show` look at, and nothing that runs."""
    settings = SimpleNamespace(
        plan=PLAN, protocol=protocol_of("smr_up"), spec=SimpleNamespace(grid_hz=50.0)
    )
    window = MagicMock()
    given: dict[str, Any] = {
        "settings": settings, "blind": None, "recorder": MagicMock(), "publisher": None,
        "window": window, "seen": MagicMock(), "_cues": Cues(), "_note": MagicMock(),
        "_end": None, "_last_phase": 4, "_summaries": Summaries(settings.protocol),
        "_translate": translator("de"), "_next": {}, "_newest_t": lambda _now: 1.0,
        "_held": lambda: (), "_stop_asked_t": None, "_gain": 1.0, "_progress": lambda: 0.5,
    }  # fmt: skip
    return SimpleNamespace(**(given | fields))


def taken(real: Decision | None, blind: Any) -> Any:
    stand_in = session_stand_in(blind=blind)
    frame = FeatureFrame(
        1, 1.0, frozen(np.zeros(1)), frozen(np.ones(1, dtype=bool)), Gate.OPEN, frozen(np.zeros(1))
    )
    last = replace(decision(5), rewards=4)
    Session._take(stand_in, Point(frame, last, (ended(),), real))
    stand_in._decision = last
    Session._show(stand_in, 2.0)
    return stand_in.window.show.call_args.args[0]


def as_it_is() -> Any:
    blind = MagicMock()
    blind.take = lambda point: replace(point, real=None)
    return blind


@pytest.mark.parametrize(
    ("real", "blind", "z"),
    [
        (None, lambda: None, 0.4),
        (decision(4), lambda: None, None),  # a control condition
        (None, as_it_is, None),  # a blinded session, real arm
        (decision(4), as_it_is, None),  # a blinded session, control arm
    ],
)
def test_a_comparison_never_tells_the_arm(
    real: Decision | None, blind: Callable[[], Any], z: float | None
) -> None:
    shown = taken(real, blind())
    assert shown.summary == Summary(4, 50.0, 60.0, z)  # the points are those presented
    assert (shown.screen, shown.title) == ("rest", "Pause")
