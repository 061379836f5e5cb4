"""The session as written: expanded, shuffled, in trials."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import Map, Seq, parse
from protocols.steps import MAX_STEPS, SessionStep, Trial, flat_session

calm = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def flat(text: str) -> list[SessionStep]:
    """Return the steps of a session given as a flow list."""
    written = flat_session(parse(f"session: {text}\n".encode(), "test").root["session"])
    return [SessionStep.model_validate(s, by_alias=True, by_name=False) for s in written]


def test_repetitions_are_written_out() -> None:
    steps = flat(
        "[baseline, {repeat: 2, blocks: [{train: 3 min, say: Go.}, "
        "{repeat: 2, blocks: [{rest: 5 s}]}]}]"
    )
    assert [(s.kind, s.lasts_s) for s in steps] == [
        ("baseline", 0.0), *[("train", 180.0), ("rest", 5.0), ("rest", 5.0)] * 2,
    ]  # fmt: skip
    assert {s.shuffled for s in steps} == {None}


def test_the_parts_of_a_shuffle_know_theirs() -> None:
    steps = flat(
        "[{shuffle: [{train: 10 s}, [{train: 20 s}, {rest: 5 s}], "
        "{repeat: 2, blocks: [{transfer: 9 s}]}]}, {train: 30 s}]"
    )
    assert [s.shuffled for s in steps] == [(1, 0), (1, 1), (1, 1), (1, 2), (1, 2), None]


def test_each_repetition_of_a_shuffle_is_drawn_anew() -> None:
    steps = flat("[{repeat: 2, blocks: [{shuffle: [{train: 10 s}, {train: 20 s}]}]}]")
    assert [s.shuffled for s in steps] == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_marking_one_use_of_a_block_marks_no_other() -> None:
    source = parse(b"session: [{shuffle: [{train: 1 s}, {train: 2 s}]}]\n", "test")
    first = flat_session(source.root["session"])
    again = flat_session(source.root["session"])
    assert [s.tag for s in first] == [s.tag for s in again] == [(1, 0), (1, 1)]
    parts: Any = source.root["session"][0]["shuffle"]
    assert [p.tag for p in parts] == [None, None]


def test_blocks_of_trials_with_and_without_feedback() -> None:
    steps = flat(
        "[{trials: 40}, {trials: 20, feedback: no}, {trials: 20, feedback: true}, "
        "{trials: 2, feedback: off}]"
    )
    assert [(s.kind, s.trials) for s in steps] == [
        ("train", 40), ("transfer", 20), ("train", 20), ("transfer", 2),
    ]  # fmt: skip


def test_what_goes_with_a_block() -> None:
    (step,) = flat("[{train: 60 s, name: one, say: Go., eyes: closed, self_paced: yes, ask: How?}]")
    assert step == SessionStep(
        kind="train",
        lasts_s=60.0,
        name="one",
        say="Go.",
        eyes="closed",
        self_paced=True,
        ask="How?",
    )
    assert SessionStep.model_validate(step.model_dump()) == step


@calm
@given(st.recursive(
    st.just(0), lambda inner: st.tuples(st.integers(1, 5), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=12,
))  # fmt: skip
def test_nested_repetitions_have_as_many_steps_as_they_say(tree: Any) -> None:
    def written(node: Any) -> str:
        if node == 0:
            return "{train: 1 s}"
        return f"{{repeat: {node[0]}, blocks: [{', '.join(map(written, node[1]))}]}}"

    def count(node: Any) -> int:
        return 1 if node == 0 else node[0] * sum(map(count, node[1]))

    if 0 < count(tree) <= MAX_STEPS:
        assert len(flat(f"[{written(tree)}]")) == count(tree)


def test_what_is_no_list_is_left_to_the_model() -> None:
    assert flat_session("baseline") == "baseline"
    made = Seq([Map()])
    made.at = parse(b"a: b\n", "test").root.at
    assert isinstance(flat_session(made), Seq)


def test_a_trial_lasts_all_its_parts() -> None:
    fixed = {"method": "fixed", "value": 0.0, "unit": "uV"}
    task = {"name": "up", "direction": "above", "threshold": fixed, "say": "Go."}
    trial = Trial.model_validate({"feature": "slow", "tasks": (task,)})
    assert trial.lasts_s == pytest.approx(2.0 + 6.0 + 1.5 + 1.0)
