"""Reward rules from elsewhere: they may withhold, never give where a condition fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engine.features import Option
from protocols.reward import Schedule
from protocols.rewards import REWARDS, BoundedRule, RewardKind, rule

GRID_HZ = 50.0


class Always:
    def __init__(self, *settings: Any) -> None:
        self.settings = settings
        self.resets = 0

    def step(self, ok: bool) -> bool:  # noqa: ARG002
        return True

    def reset(self) -> None:
        self.resets += 1


def kind(make: Any = Always, **options: Option) -> RewardKind:
    return RewardKind("mine", "For tests.", make, options)


def test_the_built_in_rule_is_the_schedule() -> None:
    made = rule(REWARDS["sustained"], 0.5, 2.0, GRID_HZ)
    assert isinstance(made, Schedule)
    assert (made.sustain, made.refractory) == (25, 100)
    again = REWARDS["sustained"].make(0.5, 2.0, GRID_HZ, {})
    ok = np.random.default_rng(3).random(4000) < 0.97
    assert [made.step(x) for x in ok.tolist()] == [again.step(x) for x in ok.tolist()]


def test_no_rule_rewards_where_a_condition_fails() -> None:
    made = rule(kind(), 0.5, 0.0, GRID_HZ)
    ok = (np.random.default_rng(4).random(500) < 0.5).tolist()
    assert [made.step(x) for x in ok] == ok


def test_no_rule_rewards_sooner_than_the_refractory_time() -> None:
    made = rule(kind(), 0.5, 0.2, GRID_HZ)
    rewarded = [i for i in range(200) if made.step(True)]
    assert rewarded == list(range(0, 200, round(0.2 * GRID_HZ) + 1))


def test_options_have_defaults_and_limits() -> None:
    seen: list[tuple[Any, ...]] = []

    def make(*settings: Any) -> Always:
        seen.append(settings)
        return Always()

    mine = kind(make, every=Option(2.0, 1.0, 10.0, "1", "How often."))
    rule(mine, 0.5, 2.0, GRID_HZ)
    rule(mine, 0.5, 2.0, GRID_HZ, {"every": 3})
    assert seen == [(0.5, 2.0, GRID_HZ, {"every": 2.0}), (0.5, 2.0, GRID_HZ, {"every": 3.0})]
    for wrong in ({"every": 11.0}, {"often": 2.0}, {"every": float("nan")}):
        with pytest.raises(ValueError, match=r"every|often"):
            rule(mine, 0.5, 2.0, GRID_HZ, wrong)


class Breaks(Always):
    answer: Any = None

    def step(self, ok: bool) -> Any:  # noqa: ARG002
        self.resets += 1
        if self.resets < 3:
            return True
        if self.answer is None:
            raise ZeroDivisionError("by nothing")
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "ZeroDivisionError: by nothing"), (1, "gave int"), (np.True_, "gave bool")],
)
def test_after_a_failure_nothing_is_rewarded(answer: Any, words: str) -> None:
    class Mine(Breaks):
        pass

    Mine.answer = answer
    made = rule(kind(Mine), 0.5, 0.0, GRID_HZ)
    assert isinstance(made, BoundedRule)
    assert made.step(True)
    assert made.step(True)
    assert made.fault == ""
    assert [made.step(True) for _ in range(5)] == [False] * 5
    assert words in made.fault
    made.reset()


def test_a_rule_that_cannot_be_made_never_rewards() -> None:
    def make(*settings: Any) -> Always:
        raise SystemExit(1)

    made = rule(kind(make), 0.5, 2.0, GRID_HZ)
    assert isinstance(made, BoundedRule)
    assert not made.step(True)
    assert "SystemExit" in made.fault


def test_a_reset_is_passed_on() -> None:
    inner = Always()

    def make(a: float, b: float, c: float, d: Mapping[str, float]) -> Always:
        return inner

    made = rule(kind(make), 0.5, 2.0, GRID_HZ)
    made.reset()
    assert inner.resets == 1


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        REWARDS["mine"] = kind()  # type: ignore[index]
