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
from protocols.model import Protocol
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
            assert phase.lasts_s >= BASELINE_MARGIN * phase.needs_clean_s - 1e-9
        elif phase.kind is PhaseKind.REST:
            assert phase.lasts_s >= 1.2 - 1e-9
        elif phase.kind.name in ("TRAIN", "TRANSFER", "POST"):
            assert phase.lasts_s >= 2.0 - 1e-9


@pytest.mark.parametrize("name", library())
@pytest.mark.parametrize("short_s", [55.0, 60.0, 90.0, 300.0, 1000.0])
def test_short_sessions_of_the_library(name: str, short_s: float) -> None:
    _check_short(expand(LIBRARY[name], short_s), short_s)


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
