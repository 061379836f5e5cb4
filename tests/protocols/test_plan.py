"""The session plan: its order, its clock, and shortened sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError
from engine.features import FEATURES
from engine.frames import Phase, PhaseKind
from protocols.load import library, load
from protocols.model import Protocol, SessionStep, Trial
from protocols.plan import (
    BASELINE_MARGIN,
    READY_S,
    SHORTEST_CLEAN_S,
    expand,
    shortest_s,
    total_s,
)

LIBRARY = {name: load(name, FEATURES).protocol for name in library()}


def _edited(name: str, **fields: object) -> Protocol:
    return LIBRARY[name].model_copy(update=fields)


def test_order_of_a_full_session() -> None:
    kinds = [p.kind.name for p in expand(LIBRARY["smr_up"])]
    block = ["READY", "TRAIN", "REST"]
    assert kinds == [
        "READY", "BASELINE", "PREPARING", *(6 * block), "READY", "TRANSFER", "POST", "DONE",
    ]  # fmt: skip


def test_phases_carry_what_the_protocol_says() -> None:
    plan = expand(LIBRARY["alpha_up_ec"])
    assert [p.index for p in plan] == list(range(len(plan)))
    baseline = plan[1]
    assert (baseline.name, baseline.lasts_s, baseline.eyes) == ("eyes_closed", 120.0, "closed")
    assert (baseline.needs_clean_s, baseline.learn) == (60.0, ("alpha",))
    trains = [p for p in plan if p.kind is PhaseKind.TRAIN]
    assert [p.block for p in trains] == [1, 2, 3, 4, 5, 6]
    assert {(p.lasts_s, p.eyes) for p in trains} == {(180.0, "closed")}
    ready = plan[trains[0].index - 1]
    assert (ready.kind, ready.lasts_s, ready.say) == (PhaseKind.READY, READY_S, trains[0].say)
    assert plan[-2].name == "post"
    assert plan[-1].kind.terminal
    assert plan[-1].lasts_s == 0.0


def test_total_is_the_sum_of_the_blocks() -> None:
    # 2 x 120 + 6 x (180 + 30) + 180 + 120, and 9 lead-ins of 5 s
    assert total_s(expand(LIBRARY["faa"])) == 2 * 120 + 6 * 210 + 180 + 120 + 9 * 5


def test_eyes_follow_the_baseline_that_learns_the_reward() -> None:
    steps = tuple(s.model_copy(update={"eyes": None}) for s in LIBRARY["alpha_up_ec"].session)
    plan = expand(_edited("alpha_up_ec", session=steps))
    assert {p.eyes for p in plan if p.kind is PhaseKind.TRAIN} == {"closed"}
    assert {p.eyes for p in plan if p.kind is PhaseKind.REST} == {"open"}


def test_a_baseline_that_teaches_nothing_need_not_be_clean() -> None:
    alpha, rest = LIBRARY["faa"].baseline
    block = rest.model_copy(update={"learn": (), "name": "rest_eo"})
    plan = expand(_edited("faa", baseline=(block, alpha, rest)))
    first, iaf, second = (p for p in plan if p.kind is PhaseKind.BASELINE)
    assert (first.needs_clean_s, second.needs_clean_s) == (0.0, 60.0)
    # An alpha frequency needs clean signal as well, though nothing is learned from it.
    assert (iaf.needs_clean_s, iaf.uses, iaf.learn) == (60.0, ("iaf",), ())
    kinds = [p.kind for p in plan]
    assert kinds.count(PhaseKind.PREPARING) == 1
    assert kinds.index(PhaseKind.PREPARING) == second.index + 1


def test_a_rest_in_the_middle_is_no_post() -> None:
    plan = expand(_edited("faa", session=LIBRARY["faa"].session[:-1]))
    assert PhaseKind.POST not in {p.kind for p in plan}


# ---------------------------------------------------------------- --short


def _check_short(plan: tuple[Phase, ...], short_s: float) -> None:
    assert total_s(plan) == pytest.approx(0.92 * short_s, abs=1e-6)
    for phase in plan:
        if phase.kind is PhaseKind.READY:
            assert 0.6 - 1e-9 <= phase.lasts_s <= READY_S
        if phase.learn:
            assert phase.needs_clean_s >= SHORTEST_CLEAN_S
            assert phase.needs_clean_s >= phase.chance_s
            assert phase.lasts_s >= BASELINE_MARGIN * phase.needs_clean_s - 1e-9
        elif phase.kind is PhaseKind.REST:
            assert phase.lasts_s >= 1.2 - 1e-9
        elif phase.kind.name in ("TRAIN", "TRANSFER", "POST"):
            assert phase.lasts_s >= 2.0 - 1e-9


@pytest.mark.parametrize("name", library())
@pytest.mark.parametrize("short_s", [55.0, 60.0, 90.0, 300.0, 1000.0])
def test_short_sessions_of_the_library(name: str, short_s: float) -> None:
    possible_s = max(short_s, shortest_s(expand(LIBRARY[name])))
    assert possible_s <= 60.0 or short_s > 60.0  # a minute is enough for every one
    _check_short(expand(LIBRARY[name], possible_s), possible_s)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0.0, 1.0), ready=st.integers(1, 30), lasts=st.floats(60.0, 600.0))
def test_any_short_time_between_the_shortest_and_the_whole(
    share: float, ready: int, lasts: float
) -> None:
    train = next(s for s in LIBRARY["faa"].session if s.kind == "train")
    steps = (LIBRARY["faa"].session[0], *([train.model_copy(update={"lasts_s": lasts})] * ready))
    protocol = _edited("faa", session=steps)
    whole = expand(protocol)
    least, most = shortest_s(whole), total_s(whole) / 0.92
    short_s = least + share * (most - least) * 0.999
    _check_short(expand(protocol, short_s), short_s)


def test_too_short_is_refused_with_the_shortest_possible() -> None:
    least = shortest_s(expand(LIBRARY["faa"]))
    with pytest.raises(InputError, match=r"cannot be shortened to 20 s") as caught:
        expand(LIBRARY["faa"], 20.0)
    assert str(round(least + 0.5)) in caught.value.fix
    assert expand(LIBRARY["faa"], least + 1e-6)


def test_short_never_lengthens() -> None:
    assert expand(LIBRARY["faa"], 1e5) == expand(LIBRARY["faa"])


def test_short_keeps_order_names_and_words() -> None:
    whole, short = expand(LIBRARY["faa"]), expand(LIBRARY["faa"], 60.0)
    assert [(p.kind, p.name, p.say, p.block) for p in whole] == [
        (p.kind, p.name, p.say, p.block) for p in short
    ]


def test_the_library_lies_beside_the_code() -> None:
    assert (Path(load("faa", FEATURES).path).parent.name) == "library"


# ---------------------------------------------------------------- drawn, in trials, self-paced


def _stepped(*steps: dict[str, object], **fields: object) -> Protocol:
    made = tuple(SessionStep.model_validate(s) for s in steps)
    return _edited("smr_up", session=made, **fields)


PARTS = [
    {"kind": "train", "lasts_s": 60.0 + k, "name": f"part{k}", "shuffled": (1, k)} for k in range(4)
]


def _order(protocol: Protocol, seed: int) -> list[str]:
    return [p.name for p in expand(protocol, seed=seed) if p.kind is PhaseKind.TRAIN]


def test_a_shuffle_is_drawn_by_the_seed() -> None:
    protocol = _stepped({"kind": "baseline"}, *PARTS)
    orders = [tuple(_order(protocol, seed)) for seed in range(200)]
    assert orders == [tuple(_order(protocol, seed)) for seed in range(200)]
    assert len(set(orders)) == 24  # every order comes
    first = [o[0] for o in orders]
    for k in range(4):
        assert 30 <= first.count(f"part{k}") <= 70


def test_what_is_not_shuffled_stays_where_it_is() -> None:
    again = [{**p, "shuffled": (2, k), "name": f"again{k}"} for k, p in enumerate(PARTS)]
    rests = [{"kind": "rest", "lasts_s": 5.0, "shuffled": (1, 3)}]
    middle = {"kind": "train", "lasts_s": 30.0, "name": "middle"}
    protocol = _stepped({"kind": "baseline"}, *PARTS, *rests, middle, *again)
    for seed in range(20):
        plan = expand(protocol, seed=seed)
        names = _order(protocol, seed)
        assert sorted(names[:4]) == [f"part{k}" for k in range(4)]
        assert names[4] == "middle"
        assert sorted(names[5:]) == [f"again{k}" for k in range(4)]
        (rest,) = [p for p in plan if p.kind is PhaseKind.REST]
        assert plan[rest.index - 1].name == "part3"  # what belongs together stays together
        assert [p.index for p in plan] == list(range(len(plan)))
        assert total_s(plan) == total_s(expand(protocol))


def test_without_chance_the_seed_changes_nothing() -> None:
    assert expand(LIBRARY["smr_up"], seed=1) == expand(LIBRARY["smr_up"], seed=2)


def _trials(n_tasks: int = 2) -> Trial:
    fixed = {"method": "fixed", "value": 0.0, "unit": "uV"}
    tasks = [
        {"name": f"task{k}", "direction": "above", "threshold": fixed, "say": "Go."}
        for k in range(n_tasks)
    ]
    return Trial.model_validate({"feature": "smr", "tasks": tasks})


@pytest.mark.parametrize("n_tasks", [1, 2, 3])
def test_the_tasks_of_the_trials_come_equally_often_in_random_order(n_tasks: int) -> None:
    steps = ({"kind": "train", "trials": 12}, {"kind": "transfer", "trials": 6})
    protocol = _stepped(*steps, trial=_trials(n_tasks))
    seen = set()
    for seed in range(40):
        train, transfer = (p for p in expand(protocol, seed=seed) if p.trials)
        for phase, n in ((train, 12), (transfer, 6)):
            assert [phase.trials.count(k) for k in range(n_tasks)] == [n // n_tasks] * n_tasks
            assert phase.lasts_s == pytest.approx(n * 10.5)
        seen.add(train.trials)
    assert len(seen) > (30 if n_tasks > 1 else 0)


def test_a_self_paced_block_waits_in_the_lead_in() -> None:
    paced = {"kind": "train", "lasts_s": 60.0, "self_paced": True, "ask": "How?"}
    plan = expand(_stepped({"kind": "baseline"}, paced, {"kind": "train", "lasts_s": 60.0}))
    ready = [plan[p.index - 1] for p in plan if p.kind is PhaseKind.TRAIN]
    assert {p.kind for p in ready} == {PhaseKind.READY}
    assert [p.waits_s for p in ready] == [300.0, 0.0]
    assert [p.ask for p in plan if p.kind is PhaseKind.TRAIN] == ["How?", ""]
    short = expand(_stepped({"kind": "baseline"}, paced), 60.0)
    assert max(p.waits_s for p in short) == 2.0


def test_a_short_session_has_fewer_trials_and_the_same_ones_first() -> None:
    steps = ({"kind": "train", "trials": 40}, {"kind": "transfer", "trials": 20})
    protocol = _stepped(*steps, trial=_trials())
    whole = [p for p in expand(protocol, seed=3) if p.trials]
    for short_s in (10.0, 60.0, 300.0):
        short = [p for p in expand(protocol, short_s, seed=3) if p.trials]
        assert len(short) == 2
        for full, cut in zip(whole, short, strict=True):
            assert 1 <= len(cut.trials) <= max(1, int(cut.lasts_s / 10.5) + 1)
            assert cut.trials == full.trials[: len(cut.trials)]


def test_a_post_at_the_end_is_a_rest_of_its_own_kind() -> None:
    train = {"kind": "train", "lasts_s": 60.0}
    rest, post = ({"kind": k, "lasts_s": 60.0, "eyes": "closed"} for k in ("rest", "post"))
    plan = expand(_stepped({"kind": "baseline"}, train, rest, post))
    assert [(p.kind, p.eyes, p.block) for p in plan[-3:-1]] == [
        (PhaseKind.REST, "closed", 1), (PhaseKind.POST, "closed", 1),
    ]  # fmt: skip
    assert "Close your eyes" in plan[-2].say
