"""What a blinded session parts into plain and sealed, piece by piece."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pytest

from engine.blind import Blind, masked_decision, masked_frame, masked_status, parted
from engine.frames import Decision, Event, FeatureFrame, Gate, PhaseKind, frozen
from engine.pipeline import Point
from engine.status import Status


@dataclass
class Kept:
    """A log that keeps what is written."""

    said: list[Any] = field(default_factory=list)
    rows: list[tuple[str, tuple[str, ...], np.ndarray]] = field(default_factory=list)
    flushed: int = 0
    closed: bool = False

    def write(self, value: Any) -> None:
        self.said.append(value)

    def numbers(self, name: str, columns: tuple[str, ...], rows: np.ndarray) -> None:
        assert rows.shape[1] == len(columns)
        self.rows.append((name, columns, rows))

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed = True


def frame(seq: int, value: float = 3.0, gate: Gate = Gate.OPEN) -> FeatureFrame:
    return FeatureFrame(
        seq,
        seq / 250.0,
        frozen(np.array([value, 2.0 * value])),
        frozen(np.array([True, True])),
        gate,
        frozen(np.array([7.0])),
        frozen(np.array([value, math.nan])),
    )


def decision(seq: int, **what: Any) -> Decision:
    values: dict[str, Any] = {
        "seq": seq,
        "t": seq / 250.0,
        "phase": 3,
        "kind": PhaseKind.TRAIN,
        "level": 0.4,
        "reward": False,
        "joint": True,
        "passes": (True,),
        "thresholds": (2.5,),
        "gate": Gate.OPEN,
        "held": (),
        "phase_s": 1.0,
        "rewards": 4,
        "why": "",
    }
    return Decision(**{**values, **what})


def blind(log: Kept, grid_hz: float = 5.0) -> Blind:
    return Blind(log, {"smr": "uV2", "theta": "uV2"}, ["blink"], ["smr"], grid_hz, {"control": 1})


def test_a_point_is_parted_and_nothing_is_lost() -> None:
    log = Kept()
    made = blind(log)
    assert log.said == [{"opening": {"control": 1}}]
    for k in range(7):
        event = Event(k, 5 * k, "threshold", {"value": 2.0 + k})
        shown = decision(5 * k, level=0.9, reward=True)
        seen = made.take(Point(frame(5 * k, 1.0 + k), shown, (event,), decision(5 * k, level=0.1)))
        assert seen.events == ()
        assert seen.real is None
        assert np.isnan(seen.frame.values).all()
        assert not seen.frame.trusted.any()
        assert np.isnan(seen.frame.fixed_uv2).all()
        np.testing.assert_array_equal(seen.frame.metrics, [7.0])
        d = seen.decision
        assert (d.level, d.reward, d.rewards) == (0.9, True, 4)  # as presented
        assert (d.joint, d.passes) == (False, (None,))
        assert math.isnan(d.thresholds[0])
    made.close()
    assert log.closed
    kept = np.concatenate([rows for name, _, rows in log.rows if name == "features"])
    np.testing.assert_array_equal(kept[:, 1], [1, 2, 3, 4, 5, 6, 7])
    columns = next(c for name, c, _ in log.rows if name == "decisions")
    real = np.concatenate([rows for name, _, rows in log.rows if name == "decisions"])
    assert set(real[:, columns.index("level")]) == {0.1}  # the real thing, not what was shown
    told = [e for said in log.said[1:] for e in said["events"]]
    assert [e["data"]["value"] for e in told] == [2.0 + k for k in range(7)]


def test_pieces_do_not_depend_on_what_happens() -> None:
    quiet, busy = Kept(), Kept()
    one, two = blind(quiet), blind(busy)
    for k in range(23):
        one.take(Point(frame(5 * k), decision(5 * k), ()))
        event = Event(k, 5 * k, "drift_guard", {"feature": "smr"})
        two.take(Point(frame(5 * k), decision(5 * k), (event, event)))
    one.close()
    two.close()
    assert [(n, r.shape) for n, _, r in quiet.rows] == [(n, r.shape) for n, _, r in busy.rows]
    assert len(quiet.said) == len(busy.said)
    assert quiet.flushed == busy.flushed


@pytest.mark.parametrize(
    "kind",
    ["threshold", "threshold_change", "threshold_block", "threshold_kept", "threshold_frozen",
     "drift_guard", "shaped", "drowsy"],
)  # fmt: skip
def test_what_follows_from_the_feature_is_withheld_whole(kind: str) -> None:
    event = Event(1.0, 5, kind, {"feature": "smr"})
    assert parted(event) == (None, event)


def test_events_that_stay_lose_their_numbers() -> None:
    end = {"phase": 3, "rewards": 7, "clean_s": 20.0, "rate_alone": 0.6, "rate_joint": 0.5,
           "features": {}, "trials": {}, "crossover": {}}  # fmt: skip
    seen, kept = parted(Event(1.0, 5, "phase_end", end))
    assert seen is not None
    assert dict(seen.data) == {"phase": 3, "rewards": 7, "clean_s": 20.0}
    assert kept is not None
    assert kept.data == end
    trial = {"n": 1, "task": "negativity", "mean_uv": -4.0, "passed": True, "rejected": ""}
    seen, _ = parted(Event(1.0, 5, "trial", trial))
    assert seen is not None
    assert set(seen.data) == {"n", "task", "rejected"}
    reward = Event(1.0, 5, "reward", {"n": 1, "phase": 3})
    assert parted(reward) == (reward, None)
    seen, _ = parted(Event(1.0, 5, "reward", {"n": 1, "phase": 3, "value": 2.0, "threshold": 1.0}))
    assert seen is not None
    assert set(seen.data) == {"n", "phase"}
    saturated = Event(1.0, 5, "advice", {"cause": "saturated", "text": "Always met."})
    assert parted(saturated) == (None, saturated)
    gated = Event(1.0, 5, "advice", {"cause": "blink", "text": "Many blinks."})
    assert parted(gated) == (gated, None)


def test_why_there_is_no_level_is_one_word_for_every_source() -> None:
    words = {
        masked_decision(decision(5, level=None, why=why)).why
        for why in ("gate", "unknown", "phase", "other")
    }
    assert words == {"gate"}
    assert masked_decision(decision(5)).why == ""
    held = decision(5, level=None, held=("paused",), why="hold")
    assert masked_decision(held).why == "hold"
    rest = decision(5, level=None, kind=PhaseKind.REST, why="phase")
    assert masked_decision(rest).why == "phase"


def test_a_masked_frame_keeps_its_gates() -> None:
    seen = masked_frame(frame(5, gate=Gate.BLINK))
    assert seen.gate is Gate.BLINK
    assert seen.seq == 5


def test_the_operator_sees_no_number_of_the_feature() -> None:
    status = Status(
        title="SMR",
        rate_hz=250.0,
        feature_name="smr",
        feature_value=3.0,
        threshold=2.0,
        history=(1.0, 2.0),
        reward_rate_alone=0.6,
        joint_rate=0.5,
        rewards=9,
        rewards_per_min=8.0,
        clean_s=30.0,
        gated_s={"blink": 2.0},
    )
    seen = masked_status(status)
    changed = {f.name for f in fields(Status) if getattr(seen, f.name) != getattr(status, f.name)}
    assert changed == {
        "blinded", "feature_name", "feature_value", "threshold", "history", "reward_rate_alone",
        "joint_rate", "rewards", "rewards_per_min",
    }  # fmt: skip
    assert (seen.clean_s, seen.gated_s) == (30.0, {"blink": 2.0})
