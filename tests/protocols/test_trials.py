"""Trials: counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.frames import Gate
from protocols.model import Trial
from protocols.trials import TrialPoint, Trials

calm = settings(derandomize=True, deadline=None, max_examples=60, database=None)

GRID = 2.0
MUSCLE = int(Gate.MUSCLE)


def trial(**more: Any) -> Trial:
    """Return a trial of 2 points of baseline, 4 of task, 2 judged, 1 of reward, 1 of pause."""
    zero = {"method": "fixed", "value": 0.0, "unit": "uV"}
    return Trial.model_validate(
        {
            "feature": "slow",
            "baseline_s": 1.0,
            "task_s": 2.0,
            "judge_s": 1.0,
            "reward_s": 0.5,
            "pause_s": 0.5,
            "full_uv": 20.0,
            "tasks": (
                {"name": "down", "direction": "below", "threshold": zero, "say": "Activate."},
                {"name": "up", "direction": "above", "threshold": zero, "say": "Relax."},
            ),
            "reject": {"above_uv": 100.0},
            **more,
        }
    )


Gates = dict[int, int]


def run(trials: Trials, values: list[float], gates: Gates | None = None) -> list[TrialPoint]:
    return [trials.step(v, (gates or {}).get(i, 0)) for i, v in enumerate(values)]


def test_one_trial_by_hand() -> None:
    trials = Trials(trial(), [0], GRID)
    assert trials.total == 8
    points = run(trials, [4.0, 6.0, 5.0, 0.0, -5.0, -15.0, 99.0, 99.0])
    # The baseline is 5; from there it goes 0, -5, -10, -20 uV, where -20 is the full way.
    assert [p.level for p in points] == [
        None, None, 0.5, 0.625, 0.75, 1.0, None, None,
    ]  # fmt: skip
    assert [p.joint for p in points] == [False, False, False, True, True, True, False, False]
    assert [p.reward for p in points] == [False] * 5 + [True] + [False] * 2
    assert [p.say for p in points] == ["Activate."] * 6 + ["", ""]
    assert [p.ended is not None for p in points] == [False] * 5 + [True] + [False] * 2
    assert points[5].ended == {
        "n": 1, "task": "down", "mean_uv": -15.0, "passed": True, "rejected": "",
    }  # fmt: skip


def test_the_mean_of_the_last_time_decides_not_the_last_point() -> None:
    (last,) = [p for p in run(Trials(trial(), [1], GRID), [0, 0, 9, 9, 30, -20, 0, 0]) if p.ended]
    assert last.reward
    assert last.joint  # the reward stands for the trial
    assert last.level == 0.0  # the point itself lies the other way
    (last,) = [p for p in run(Trials(trial(), [1], GRID), [0, 0, 9, 9, -30, 20, 0, 0]) if p.ended]
    assert not last.reward


def test_a_threshold_of_its_own() -> None:
    far = {"method": "fixed", "value": 12.0, "unit": "uV"}
    task = {"name": "up", "direction": "above", "threshold": far, "say": "Relax."}
    for height, passed in ((12.0, False), (12.1, True)):
        points = run(Trials(trial(tasks=(task,)), [0], GRID), [0, 0, *[height] * 4, 0, 0])
        assert [p.reward for p in points] == [False] * 5 + [passed, False, False]


@pytest.mark.parametrize(
    ("values", "gates", "why"),
    [
        ([0, 0, -9, -9, -9, -9, 0, 0], {0: MUSCLE}, "gate"),
        ([0, 0, -9, -9, -9, -9, 0, 0], {3: MUSCLE}, "gate"),
        ([0, 0, -9, -9, -9, -9, 0, 0], {5: MUSCLE}, "gate"),
        ([math.nan, 0, -9, -9, -9, -9, 0, 0], {}, "unknown"),
        ([0, 0, -9, math.nan, -9, -9, 0, 0], {}, "unknown"),
        ([0, 0, -9, -101, -9, -9, 0, 0], {}, "large"),
        ([0, 0, 101, -9, -9, -9, 0, 0], {}, "large"),
        ([0, 0, -9, -9, -9, -9, 0, 0], {6: MUSCLE, 7: MUSCLE}, ""),
        ([500, 500, 450, 450, 450, 450, 0, 0], {}, ""),
        ([0, 0, -100, -100, -100, -100, 0, 0], {}, ""),
    ],
)
def test_what_rejects_a_trial(values: list[float], gates: dict[int, int], why: str) -> None:
    trials = Trials(trial(), [0], GRID)
    points = run(trials, values, gates)
    (ended,) = [p.ended for p in points if p.ended is not None]
    assert ended["rejected"] == why
    assert any(p.reward for p in points) is (why == "")
    if why:
        assert ended["mean_uv"] is None
        first = next((i for i, g in gates.items()), 6)
        assert all(p.level is None for p in points[max(first, 0) :])
        assert trials.summary()["down"] == {"n": 1, "rejected": 1, "passed": 0, "mean_uv": None}


def test_a_pause_of_the_session_rejects_the_running_trial_only() -> None:
    trials = Trials(trial(), [0, 0, 0], GRID)
    ended = []
    for i in range(24):
        if i in (3, 15):  # in the task of the first, in the pause of the second
            trials.skip()
        point = trials.step(-9.0 if i % 8 >= 2 else 0.0, 0)
        ended += [] if point.ended is None else [point.ended["rejected"]]
    assert ended == ["held", "", ""]


def test_the_order_is_kept_and_nothing_follows_the_last() -> None:
    trials = Trials(trial(), [1, 0, 0, 1], GRID)
    points = run(trials, [0.0, 0.0, 10.0, 10.0, 10.0, 10.0, 0.0, 0.0] * 4)
    assert [p.ended["task"] for p in points if p.ended] == ["up", "down", "down", "up"]
    assert [p.ended["passed"] for p in points if p.ended] == [True, False, False, True]
    assert run(trials, [5.0] * 3) == [TrialPoint(None, False, False, "")] * 3
    assert trials.summary() == {
        "down": {"n": 2, "rejected": 0, "passed": 0, "mean_uv": 10.0},
        "up": {"n": 2, "rejected": 0, "passed": 2, "mean_uv": 10.0},
        "difference_uv": 0.0,
    }


def test_the_difference_of_the_tasks() -> None:
    trials = Trials(trial(), [0, 1, 1], GRID)
    down, up = [0.0, 0.0, *[-8.0] * 4, 0.0, 0.0], [0.0, 0.0, *[6.0] * 4, 0.0, 0.0]
    run(trials, [*down, *up, *up], {17: MUSCLE})
    assert trials.summary() == {
        "down": {"n": 1, "rejected": 0, "passed": 1, "mean_uv": -8.0},
        "up": {"n": 2, "rejected": 1, "passed": 1, "mean_uv": 6.0},
        "difference_uv": -14.0,
    }


@calm
@given(
    st.lists(
        st.tuples(st.floats(-400, 400) | st.just(math.nan), st.sampled_from([0, 0, 0, MUSCLE])),
        min_size=32, max_size=32,
    ),
    st.lists(st.sampled_from([0, 1]), min_size=4, max_size=4),
)  # fmt: skip
def test_whatever_comes_a_rejected_trial_gives_nothing(
    stream: list[tuple[float, int]], order: list[int]
) -> None:
    trials = Trials(trial(), order, GRID)
    points = [trials.step(value, gate) for value, gate in stream]
    ends = [i for i, p in enumerate(points) if p.ended is not None]
    assert ends == [5, 13, 21, 29]
    for i, point in enumerate(points):
        assert point.level is None or (0.0 <= point.level <= 1.0 and i % 8 in (2, 3, 4, 5))
        assert not point.reward or (i in ends and point.ended is not None)
    for i in ends:
        ended = points[i].ended
        assert ended is not None
        dirty = any(g or math.isnan(v) for v, g in stream[i - 5 : i + 1])
        assert not (dirty and not ended["rejected"])
        assert points[i].reward is ended["passed"]
        assert not (ended["rejected"] and ended["passed"])
