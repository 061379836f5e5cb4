"""The simulated person who answers to feedback: what its mind does, and the loop around it."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace

import numpy as np
import pytest

from engine import learner
from engine.assemble import assemble
from engine.cli.bench import Response, Rhythm
from engine.clock import now
from engine.errors import InputError, RunError
from engine.features import FEATURES
from engine.frames import Decision, Gate, PhaseKind, Show
from engine.hear import FeedbackSource, seen_of
from engine.learner import (
    EFFORT_S,
    RHYTHMS,
    TRAITS,
    Learner,
    Outcome,
    Seen,
    Trait,
    close_loop,
    seen_in,
    stream_of,
    trait_named,
)
from engine.person import COLUMNS, Person
from engine.publish import Publisher
from engine.simulate import Network, SimulatorOptions, main
from protocols.load import load
from protocols.plan import expand

STEP_S = 0.1


def shown(level: float | None = 1.0, rewards: int = 0) -> Seen:
    return Seen(level, rewards, asked=True, shown=True)


def live(mind: Learner, body: Person, seconds: float, seen: Seen, t_s: float = 0.0) -> list[float]:
    """Let a mind see the same for a while; return the gain at every step."""
    gains = []
    for k in range(round(seconds / STEP_S)):
        at_s = t_s + k * STEP_S
        mind.see(at_s, seen)
        mind.step(body, at_s)
        body.read(25)
        gains.append(mind.gain)
    return gains


# ---------------------------------------------------------------- the mind


def test_nobody_changes_while_nothing_is_asked() -> None:
    for trait in TRAITS.values():
        mind, body = Learner(trait), Person(seed=1, blinks=False, jaw=False)
        assert set(live(mind, body, 30.0, Seen())) == {1.0}
        assert body.gains == Person().gains


def test_the_mind_answers_after_its_delay() -> None:
    mind, body = Learner(Trait(per_reward=0.5, ceiling=2.0), delay_s=0.25), Person()
    mind.see(1.0, shown(rewards=1))
    mind.step(body, 1.2)
    assert (mind.rewards, mind.strength) == (0, 1.0)
    mind.step(body, 1.25)
    assert (mind.rewards, mind.strength) == (1, 1.5)


def test_every_reward_goes_a_share_of_the_way_to_the_ceiling() -> None:
    up = Learner(Trait(per_reward=0.1, ceiling=1.6))
    down = Learner(Trait(per_reward=0.1, ceiling=0.6))
    for k, rewards in enumerate((1, 2, 2, 5)):
        for mind in (up, down):
            mind.see(k, shown(rewards=rewards))
            mind.step(Person(), k + 0.5)
    assert up.strength == pytest.approx(1.6 - 0.6 * 0.9**5)
    assert down.strength == pytest.approx(0.6 + 0.4 * 0.9**5)
    assert up.rewards == 5


def test_another_session_counts_its_rewards_from_the_beginning() -> None:
    mind = Learner(TRAITS["learner"])
    for k, rewards in enumerate((3, 4, 0, 0, 2)):
        mind.see(k, shown(rewards=rewards))
        mind.step(Person(), k + 0.5)
    assert mind.rewards == 6


def test_what_was_learned_shows_while_trying_and_not_at_rest() -> None:
    mind, body = Learner(Trait(per_reward=1.0, ceiling=1.5, attempt=0.1)), Person()
    tried = live(mind, body, 30.0, shown(rewards=1))
    assert tried[-1] == pytest.approx(1.5 * 1.1, rel=1e-3)
    assert (np.diff(tried) >= 0).all()
    assert tried[round(EFFORT_S / STEP_S)] < 1.5
    transfer = live(mind, body, 30.0, Seen(None, 1, asked=True), 30.0)
    assert transfer[-1] == pytest.approx(1.0 + 0.5 * 0.65, rel=1e-3)
    assert live(mind, body, 30.0, Seen(None, 1), 60.0)[-1] == pytest.approx(1.0, abs=1e-3)


def test_a_gate_does_not_discourage() -> None:
    mind, body = Learner(Trait(attempt=0.2)), Person()
    live(mind, body, 30.0, shown(1.0))
    gated = live(mind, body, 10.0, shown(None), 30.0)
    assert np.ptp(gated) < 1e-3


def test_drift_runs_from_the_first_training_whatever_is_shown() -> None:
    mind, body = Learner(Trait(falls=0.3, falls_over_s=60.0)), Person()
    assert live(mind, body, 10.0, Seen())[-1] == 1.0
    half = live(mind, body, 30.3, shown(0.0), 10.0)
    assert half[-1] == pytest.approx(0.85, abs=0.002)
    assert live(mind, body, 60.0, Seen(), 40.3)[-1] == pytest.approx(0.7)


def test_a_rhythm_is_in_hand_and_no_other() -> None:
    for rhythm in RHYTHMS:
        body = Person()
        live(Learner(Trait(attempt=0.5), rhythm), body, 20.0, shown())
        assert {k for k, v in body.gains.items() if v != 1.0} == {rhythm}


def cheating(trait: Trait, rewards_every_s: float, column: str, seed: int = 1) -> np.ndarray:
    """Return when in a minute a cheat is at it, rewarded this often."""
    mind, body = Learner(trait, seed=seed), Person(seed=1, blinks=False, jaw=False)
    truth = []
    for k in range(600):
        mind.see(k * STEP_S, shown(rewards=int(k * STEP_S / rewards_every_s)))
        mind.step(body, k * STEP_S)
        truth.append(body.read(25)[:, COLUMNS.index(column)] > 0)
    return np.concatenate(truth)


@pytest.mark.parametrize(
    ("name", "column"), [("muscle_cheat", "truth_jaw"), ("blink_cheat", "truth_blink")]
)
def test_a_cheat_acts_when_rewards_stay_away_and_not_before(name: str, column: str) -> None:
    trait = TRAITS[name]
    assert not cheating(trait, 3.0, column).any()
    alone = cheating(trait, 1e9, column)
    starts = np.flatnonzero(np.diff(alone.astype(int)) == 1) / 250.0
    assert 5 <= len(starts) <= 14
    assert starts[0] > 0.7 * trait.patience_s
    assert np.diff(starts).min() > 0.7 * trait.patience_s
    assert np.array_equal(alone, cheating(trait, 1e9, column))
    assert not np.array_equal(alone, cheating(trait, 1e9, column, seed=2))


def test_a_cheat_has_the_brain_of_the_honest_person() -> None:
    bodies = [Person(seed=4, blinks=False, jaw=False) for _ in range(2)]
    samples = []
    for body, name in zip(bodies, ("muscle_cheat", "non_learner"), strict=True):
        mind = Learner(TRAITS[name])
        parts = []
        for k in range(300):
            mind.see(k * STEP_S, shown())
            mind.step(body, k * STEP_S)
            parts.append(body.read(25))
        samples.append(np.concatenate(parts))
    quiet = samples[0][:, COLUMNS.index("truth_jaw")] == 0
    assert 0.5 < quiet.mean() < 0.95
    assert np.array_equal(samples[0][quiet], samples[1][quiet])


def test_mistakes_are_told() -> None:
    with pytest.raises(InputError, match="no simulated person 'genius'"):
        trait_named("genius")
    with pytest.raises(InputError, match="no rhythm 'gamma'"):
        Learner(TRAITS["learner"], "gamma")
    with pytest.raises(InputError, match="no Xz"):
        stream_of(["Cz", "Xz"])
    with pytest.raises(InputError, match="needs an electrode"):
        stream_of([])


# ---------------------------------------------------------------- the loop


def decision(kind: PhaseKind, level: float | None = None, held: tuple[str, ...] = ()) -> Decision:
    return Decision(0, 0.0, 1, kind, level, False, False, (), (), Gate.OPEN, held, 0.0, 7)


def test_the_screen_shows_feedback_in_training_only() -> None:
    assert seen_in(decision(PhaseKind.TRAIN, 0.4)) == Seen(0.4, 7, True, True)
    assert seen_in(decision(PhaseKind.TRANSFER)) == Seen(None, 7, True, False)
    assert seen_in(decision(PhaseKind.REST)) == Seen(None, 7, False, False)
    assert seen_in(decision(PhaseKind.TRAIN, held=("paused",))) == Seen(None, 7, False, False)


def session(trait: Trait, rate_hz: float = 250.0, seed: int = 2) -> Outcome:
    protocol = load("smr_up", FEATURES, allow_short=True).protocol
    plan = expand(protocol, 60.0)
    spec = stream_of(("Cz", "Fp1"), rate_hz)
    fold = assemble(spec, protocol, plan, mains_hz=50.0).fold
    body = Person(rate_hz, seed=seed, blinks=False, jaw=False)
    return close_loop(spec, fold, plan, Learner(trait), body)


def test_a_session_is_deterministic_and_its_truth_lies_beside_it() -> None:
    a, b = (session(TRAITS["learner"]) for _ in range(2))
    assert a.kind is PhaseKind.DONE
    assert [p.decision for p in a.points] == [p.decision for p in b.points]
    assert np.array_equal(a.gain, b.gain)
    n = len(a.points)
    for column in (a.seq, a.gain, a.gate, a.reward, a.passing, a.threshold, a.clean, a.clenching):
        assert column.shape == (n,)
    assert a.t_s[0] == 0.0
    assert (a.gain[~a.during(PhaseKind.TRAIN, PhaseKind.TRANSFER, PhaseKind.REST)] < 1.05).all()
    rewards = len(a.kinds("reward"))
    assert rewards == a.reward.sum() > 0
    assert a.gain.max() > 1.0


def test_the_person_who_does_not_answer_is_the_person_left_alone() -> None:
    o = session(TRAITS["non_learner"])
    assert (o.gain == 1.0).all()
    assert not o.clenching.any()
    assert not o.blinking.any()


def test_quarters_share_clean_time_and_rewards() -> None:
    o = session(TRAITS["learner"])
    quarters = o.quarters(2)
    (whole,) = o.quarters(1)
    assert whole.clean_s == pytest.approx(sum(q.clean_s for q in quarters))
    assert whole.joint == pytest.approx(np.mean([q.joint for q in quarters]), abs=0.01)
    # A reward may fall at a moment that is not clean only if nothing is known: never.
    assert whole.per_minute * whole.clean_s / 60.0 == pytest.approx(o.reward.sum())
    assert whole.joint <= whole.passing
    with pytest.raises(RunError, match="clean points"):
        o.quarters(10**6)


def test_near_leaves_out_the_beginning_and_adds_what_follows() -> None:
    o = replace(session(TRAITS["non_learner"]), grid_hz=10.0)
    truth = np.zeros(50, bool)
    truth[10:20] = True
    assert np.flatnonzero(o.near(truth, 0.2, 0.5)).tolist() == list(range(12, 25))


def test_body_and_stream_must_have_one_rate() -> None:
    protocol = load("smr_up", FEATURES).protocol
    plan = expand(protocol)
    spec = stream_of(("Cz", "Fp1"))
    fold = assemble(spec, protocol, plan, mains_hz=50.0).fold
    with pytest.raises(InputError, match="512 Hz, the stream 250 Hz"):
        close_loop(spec, fold, plan, Learner(TRAITS["learner"]), Person(512.0))


def test_a_session_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "AT_MOST", 0.1)
    with pytest.raises(RunError, match="did not end within"):
        session(TRAITS["learner"])


# ---------------------------------------------------------------- live


def test_the_command_line_knows_every_trait_and_rhythm() -> None:
    assert tuple(r.value for r in Response) == tuple(TRAITS)
    assert tuple(r.value for r in Rhythm) == RHYTHMS
    options = SimulatorOptions(person="drifter", rhythm="alpha")
    assert options.arguments()[-3:-1] == ["--person=drifter", "--rhythm=alpha"]
    assert not [a for a in SimulatorOptions().arguments() if "person" in a]


def test_an_unknown_person_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--person=genius"])
    assert caught.value.code == 2
    assert re.search("invalid choice: '?genius", capsys.readouterr().err)


def test_rows_of_the_feedback_stream_are_what_the_screen_shows() -> None:
    nan = float("nan")
    assert seen_of(0.3, 0.0, 4.0) == Seen(0.3, 4, True, True)
    assert seen_of(nan, 1.0, 4.0) == Seen(None, 4, True, True)
    assert seen_of(nan, 0.0, nan) == Seen(None, 0, False, False)


@pytest.mark.timeout(180)
def test_the_feedback_of_our_amplifier_is_heard_and_of_no_other() -> None:
    ours = f"sim-{uuid.uuid4().hex[:8]}"
    spec = replace(stream_of(("Cz",)), source_id=ours)
    other = replace(spec, source_id="another amplifier")
    publishers = [Publisher(s, ("x",), Network()) for s in (other, spec)]
    source = FeedbackSource(ours)
    source.start()
    heard: list[tuple[float, Seen]] = []
    try:
        assert [p.start() for p in publishers] == ["", ""]
        deadline = time.monotonic() + 60.0
        while not heard and time.monotonic() < deadline:
            for k, p in enumerate(publishers):
                p.feedback(Show(0, 0.0, now(), "feedback", level=0.25 + 0.5 * k, rewards=k))
            time.sleep(0.05)
            heard += source.take()
        assert {seen for _, seen in heard} == {Seen(0.75, 1, True, True)}
        heard.clear()
        publishers.pop().close()  # the session is over
        while not any(seen == Seen() for _, seen in heard) and time.monotonic() < deadline:
            time.sleep(0.05)
            heard += source.take()
        assert heard[-1][1] == Seen()
    finally:
        source.stop()
        for p in publishers:
            p.close()
