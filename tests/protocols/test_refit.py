"""PREPARING seen from the decider: what is handed over, what is learned from what comes back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from engine.frames import (
    Bool,
    Command,
    Decision,
    Event,
    FeatureFrame,
    Float,
    Gate,
    Phase,
    PhaseKind,
    Prepared,
    RestBlock,
    frozen,
)
from protocols.decide import Decided, Decider
from protocols.model import Protocol

GRID, HOP = 10.0, 5
SCALES: dict[str, Literal["ln", "linear"]] = {"smr": "ln", "asym": "linear"}
K = PhaseKind


def protocol() -> Protocol:
    return Protocol.model_validate({
        "format": 1, "name": "test", "title": "Test", "summary": "A test.",
        "evidence": {"grade": "C", "summary": "None."},
        "needs": {"channels": ("Cz",), "rate": 128.0},
        "condition": {"reference": ("as recorded",)},
        "features": {
            "smr": {"kind": "power", "at": ("Cz",), "band_hz": (12.0, 15.0)},
            "asym": {"kind": "slow_potential", "at": ("Cz",)},
        },
        "baseline": (),
        "reward": {
            "feature": "smr", "direction": "above", "sustain_s": 0.1, "refractory_s": 0.0,
            "threshold": {"method": "percentile", "success": 0.6},
        },
        "inhibit": ({"feature": "asym", "direction": "below",
                     "threshold": {"method": "percentile", "success": 0.9}},),
        "feedback": {"level": {"feature": "smr", "start": {"plus_mad": -1.0},
                               "end": {"plus_mad": 1.0}, "smooth_s": 0.0}, "picture": "orb"},
        "session": ({"kind": "train", "lasts_s": 5.0},),
    })  # fmt: skip


def plan(*phases: Phase) -> tuple[Phase, ...]:
    return tuple(
        Phase(
            i, p.kind, p.name, p.lasts_s, needs_clean_s=p.needs_clean_s, learn=p.learn, uses=p.uses
        )
        for i, p in enumerate(phases)
    )


READY = Phase(0, K.READY, "ready", 0.5)
CLOSED = Phase(0, K.BASELINE, "closed", 2.0, needs_clean_s=1.0, uses=("iaf",))
OPEN = Phase(0, K.BASELINE, "open", 4.0, needs_clean_s=1.0, learn=("smr", "asym"))
PREPARING = Phase(0, K.PREPARING, "preparing", 0.0)
TRAIN, DONE = Phase(0, K.TRAIN, "train", 3.0), Phase(0, K.DONE, "done", 0.0)
WHOLE = plan(READY, CLOSED, READY, OPEN, PREPARING, READY, TRAIN, DONE)


class Room:
    """A decider, what it handed over, and what it is given back."""

    def __init__(
        self,
        phases: Sequence[Phase] = WHOLE,
        *,
        late: frozenset[str] = frozenset(),
        factor: float = 100.0,
    ) -> None:
        self.factor = factor
        self.handed: list[tuple[RestBlock, ...]] = []
        self.returned: list[Prepared | None] = []
        self.taught: list[int] = []
        self.seq = 0
        self.decided: list[Decided] = []
        self.rng = np.random.default_rng(1)
        self.decider = Decider(
            protocol(), phases, grid_hz=GRID, hop=HOP, scales=SCALES,
            relearn=self.relearn, prepare=self.prepare, late=late,
        )  # fmt: skip

    def relearn(self, metrics: Float) -> tuple[object, Bool]:
        """Withdraw every point whose third metric is odd."""
        self.taught.append(len(metrics))
        return "limits", metrics[:, 2] % 2 == 0

    def prepare(self, blocks: Sequence[RestBlock]) -> Prepared | None:
        """Read again: `factor` times as much at every clean point, NaN elsewhere."""
        self.handed.append(tuple(blocks))
        values = []
        for b in blocks:
            rng = np.random.default_rng(len(b.seq))
            v = np.column_stack([self.factor * np.exp(rng.normal(size=len(b.seq))),
                                 rng.normal(size=len(b.seq))])  # fmt: skip
            v[~b.clean] = np.nan
            values.append(frozen(v))
        told = (("iaf", {"used_hz": 9.5}), ("fit", {"feature": "smr"}))
        self.returned.append(Prepared(tuple(values), told))
        return self.returned[-1]

    def step(self, gate: Gate = Gate.OPEN, odd: int = 0, smr: float | None = None,
             orders: Sequence[Command] = ()) -> Decision:  # fmt: skip
        values = np.array([np.exp(self.rng.normal()) if smr is None else smr, self.rng.normal()])
        frame = FeatureFrame(
            self.seq, self.seq / 50.0, frozen(values),
            frozen(np.isfinite(values) & (gate == 0)), gate, frozen(np.array([1.0, 1.0, odd])),
        )  # fmt: skip
        self.decided.append(self.decider.step(frame, orders))
        self.seq += HOP
        return self.decided[-1].decision

    def until(self, kind: PhaseKind, **what: Any) -> Decision:
        for _ in range(500):
            if (d := self.step(**what)).kind is kind:
                return d
        raise AssertionError(f"{kind} never came")

    def start(self) -> None:
        self.step(orders=[Command(self.seq, "start")])

    def told(self, *kinds: str) -> list[Event]:
        return [e for d in self.decided for e in d.events if e.kind in kinds]


def whole(**more: Any) -> Room:
    room = Room(**more)
    room.start()
    room.until(K.DONE)
    return room


# ---------------------------------------------------------------- what is handed over


def test_the_accepted_blocks_are_handed_over_once_with_what_remained_clean() -> None:
    room = Room()
    room.start()
    room.until(K.BASELINE)
    room.step(gate=Gate.MUSCLE)
    first = room.seq - 2 * HOP
    room.until(K.READY)
    begun = room.until(K.BASELINE).seq
    room.step(gate=Gate.BLINK)
    room.step(odd=1)  # clean when it happened, not by the limits learned from the block
    room.until(K.DONE)
    ((closed, opened),) = room.handed
    assert (closed.name, closed.learn, closed.uses, closed.phase) == ("closed", (), ("iaf",), 1)
    assert (opened.name, opened.learn, opened.uses, opened.phase) == (
        "open",
        ("smr", "asym"),
        (),
        3,
    )
    assert closed.seq.tolist() == list(range(first, first + 20 * HOP, HOP))
    assert opened.seq.tolist() == list(range(begun, begun + 40 * HOP, HOP))
    assert np.flatnonzero(closed.gates).tolist() == [1]
    assert closed.gates[1] == int(Gate.MUSCLE)
    assert np.flatnonzero(~closed.clean).tolist() == [1]
    assert np.flatnonzero(opened.gates).tolist() == [1]
    assert np.flatnonzero(~opened.clean).tolist() == [1, 2]
    assert room.taught == [40]  # a block for something else teaches the gates nothing
    assert not opened.clean.flags.writeable


def test_a_repeated_block_is_handed_over_as_it_was_accepted() -> None:
    room = Room()
    room.start()
    for _ in range(2):
        room.until(K.BASELINE)
    assert room.decider.phase is not None
    room.until(K.READY)
    room.until(K.BASELINE)
    for _ in range(39):
        room.step(gate=Gate.MUSCLE)
    assert [e.data["name"] for e in room.told("baseline_repeat")] == ["open"]
    begun = room.until(K.BASELINE).seq
    room.until(K.PREPARING)
    ((closed, opened),) = room.handed
    assert (closed.name, opened.name) == ("closed", "open")
    assert (opened.seq[0], len(opened.seq), opened.clean.all()) == (begun, 40, True)


def test_skipping_a_block_hands_over_what_there_is() -> None:
    room = Room()
    room.start()
    room.until(K.READY)
    room.until(K.BASELINE)
    room.until(K.READY)
    room.until(K.BASELINE)
    for _ in range(24):
        room.step()
    d = room.step(orders=[Command(room.seq, "skip")])
    assert d.kind is K.PREPARING
    ((_, opened),) = room.handed
    assert len(opened.seq) == 25
    assert opened.seq[-1] == d.seq - HOP


def test_without_preparing_nothing_is_fitted() -> None:
    room = Room(plan(READY, OPEN, READY, TRAIN, DONE))
    room.start()
    room.until(K.DONE)
    assert room.handed == []
    assert len(room.told("threshold")) == 2
    assert room.told("baseline")[0].data["features"]["smr"]["n"] == 40


# ---------------------------------------------------------------- what is learned


def test_every_resting_value_is_that_of_what_was_read_again() -> None:
    room = whole()
    (prepared,) = room.returned
    assert prepared is not None
    smr, asym = prepared.values[1].T
    expected = [np.quantile(smr, 0.4), np.quantile(asym, 0.9)]
    training = [d.decision for d in room.decided if d.decision.kind is K.TRAIN]
    for d in training:
        assert d.thresholds == pytest.approx(expected)
    assert room.decider.baselines["smr"].median == pytest.approx(np.median(np.log(smr)))
    told = [e.data["value"] for e in room.told("threshold")]
    assert told == pytest.approx(expected)
    # Live, a hundredth of that was seen: nothing passes, and the level is at its lower end.
    assert not any(d.reward or d.passes[0] for d in training)
    assert {d.level for d in training} == {0.0}


def test_nothing_is_rewarded_and_nothing_told_before() -> None:
    room = whole(factor=0.01)
    before = [d for d in room.decided if d.decision.seq < room.told("iaf")[0].seq]
    assert not any(d.decision.reward or d.decision.joint for d in before)
    assert not any(e.kind in ("threshold", "resting") for d in before for e in d.events)
    assert [e.data["features"] for e in room.told("baseline")] == [{}, {}]
    assert any(d.decision.reward for d in room.decided)
    (at,) = (d for d in room.decided if d.decision.kind is K.PREPARING)
    order = [e.kind for e in at.events]
    assert order[:1] == ["phase_begin"]
    assert order[1:6] == ["iaf", "fit", "resting", "threshold", "threshold"]
    (resting,) = room.told("resting")  # nothing is learned in the other block
    assert resting.data["name"] == "open"
    assert len(resting.data["features"]["smr"]["spread"]) == 5
    json.dumps([e.data for e in room.told("resting", "threshold")], allow_nan=False)


def test_what_is_known_late_is_learned_all_the_same() -> None:
    """Unknown while the baseline is recorded: neither unclean nor missing in the end."""
    room = Room(late=frozenset({"smr"}))
    room.start()
    room.until(K.PREPARING, smr=math.nan)
    (_, opened) = room.handed[0]
    assert opened.clean.all()
    assert opened.learn == ("smr", "asym")
    room.until(K.TRAIN)
    assert all(math.isfinite(t) for t in room.decider.thresholds)
    assert room.decider.baselines["smr"].n == 40
    never = Room()
    never.start()
    assert never.until(K.FAILED, smr=math.nan)


def test_an_order_given_before_the_fit_stands() -> None:
    room = Room()
    room.start()
    room.step(orders=[Command(room.seq, "threshold", target="smr", value=7.0)])
    room.until(K.TRAIN)
    assert room.decider.thresholds[0] == 7.0
    told = {e.data["feature"]: e.data for e in room.told("threshold")}
    assert (told["smr"]["value"], told["smr"]["method"]) == (7.0, "operator")
    assert told["asym"]["method"] == "percentile"


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        (0, math.nan, "smr: 0 clean points"),
        (0, -1.0, "smr: 0 clean points"),
        (0, math.inf, "smr: 0 clean points"),
        (0, 5.0, "smr did not vary"),
        (1, math.nan, "asym: 0 clean points"),
        (1, 0.25, "asym did not vary"),
    ],
)
def test_what_cannot_be_learned_ends_the_session_with_a_sentence(
    column: int, values: float, words: str
) -> None:
    room = Room()
    plain = room.prepare

    def spoilt(blocks: Sequence[RestBlock]) -> Prepared | None:
        good = plain(blocks)
        assert good is not None
        changed = [v.copy() for v in good.values]
        changed[1][:, column] = values
        return Prepared(tuple(changed), good.events)

    room.decider._prepare = spoilt
    room.start()
    at = room.until(K.PREPARING)
    assert room.step().kind is K.FAILED
    (failed,) = room.told("failed")
    assert failed.seq == at.seq
    assert failed.data["sentence"].startswith("Nothing could be learned from the baseline.")
    assert words in failed.data["sentence"]
    for _ in range(60):
        d = room.step(smr=1e9)
        assert (d.reward, d.level) == (False, None)
    assert not room.told("threshold")
    assert room.step().kind is K.FAILED


@pytest.mark.parametrize(("known", "enough"), [(4, False), (5, True)])
def test_half_of_the_clean_time_asked_for_must_be_known_after_fitting(
    known: int, enough: bool
) -> None:
    """1 s clean is asked for: 5 grid points make half of it."""
    room = Room()
    plain = room.prepare

    def sparse(blocks: Sequence[RestBlock]) -> Prepared | None:
        good = plain(blocks)
        assert good is not None
        changed = [v.copy() for v in good.values]
        changed[1][known:, 0] = np.nan
        return Prepared(tuple(changed), good.events)

    room.decider._prepare = sparse
    room.start()
    room.until(K.PREPARING)
    assert (room.step().kind is K.FAILED) is not enough
    if enough:
        assert room.decider.baselines["smr"].n == 5
        return
    (failed,) = room.told("failed")
    assert "smr: 4 clean points (0.4 s) are known after fitting, 0.5 s" in failed.data["sentence"]
