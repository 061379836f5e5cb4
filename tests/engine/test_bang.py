"""Bang's blinding index against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from engine.bang import GUESSES, Tally, bang, bang_index, right_guess, tally
from engine.errors import InputError

Z95 = 1.959963984540054


def test_index_and_limits_by_hand() -> None:
    # n = 20: index (10 - 4) / 20 = 0.3; variance (0.7 - 0.09) / 20 = 0.0305
    made = bang_index(10, 4, 6, arm="training")
    assert (made.arm, made.n, made.right, made.wrong) == ("training", 20, 10, 4)
    assert made.index == pytest.approx(0.3, abs=1e-15)
    far = Z95 * math.sqrt(0.0305)
    assert made.low == pytest.approx(0.3 - far, abs=1e-12)
    assert made.high == pytest.approx(0.3 + far, abs=1e-12)
    assert made.why == ""


def test_two_arms_of_a_large_trial() -> None:
    # 382 in treatment: 48 said treatment, 4 placebo, 330 did not know; 371 in placebo: 22, 30, 319.
    table = (Tally("drug", 48, 4, 330), Tally("sham", 22, 30, 319))
    drug, sham = bang(table, {"drug": "real", "sham": "replay_other"})
    assert drug.index == pytest.approx(44 / 382)
    assert (drug.low, drug.high) == (
        pytest.approx(0.0800, abs=5e-5),
        pytest.approx(0.1503, abs=5e-5),
    )
    assert sham.index == pytest.approx(8 / 371)  # right is "placebo" there
    assert (sham.low, sham.high) == (
        pytest.approx(-0.0165, abs=5e-5),
        pytest.approx(0.0596, abs=5e-5),
    )


def test_chance_is_zero_and_the_limits_are_even() -> None:
    made = bang_index(5, 5)
    assert made.index == 0.0
    assert made.low == -made.high  # type: ignore[operator]


@pytest.mark.parametrize(
    ("counts", "index"), [((4, 0, 0), 1.0), ((0, 4, 0), -1.0), ((0, 0, 4), 0.0)]
)
def test_where_all_agree_the_limits_are_unknown(counts: tuple[int, int, int], index: float) -> None:
    made = bang_index(*counts)
    assert made.index == index
    assert (made.low, made.high) == (None, None)
    assert made.why == "all gave the same answer"


def test_limits_stay_within_the_scale() -> None:
    made = bang_index(9, 0, 1)
    assert made.high == 1.0
    assert made.low is not None
    assert made.low > 0.6


def test_nobody_is_not_zero() -> None:
    made = bang_index(0, 0, 0)
    assert made.index is None
    assert made.why == "nobody answered"


@pytest.mark.parametrize("counts", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_counts_below_zero_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="below zero"):
        bang_index(*counts)


def test_the_table_counts_each_guess_by_arm() -> None:
    guesses = [("a", "training"), ("b", "placebo"), ("a", "do_not_know"), ("a", "training")]
    assert tally(guesses) == (Tally("a", 2, 0, 1), Tally("b", 0, 1, 0))
    assert tally([]) == ()
    with pytest.raises(InputError, match="is no guess"):
        tally([("a", "perhaps")])


def test_who_cannot_be_blind_has_no_index() -> None:
    (made,) = bang((Tally("usual", 0, 3, 0),), {"usual": "treatment_as_usual"})
    assert (made.n, made.index) == (3, None)
    assert made.why == "nobody in this arm can be blind"


def test_unknown_arms_and_controls_are_named() -> None:
    with pytest.raises(InputError, match="Which control condition b"):
        bang((Tally("b", 1),), {"a": "real"})
    with pytest.raises(InputError, match="no control condition magic"):
        right_guess("magic")
    assert {right_guess(c) for c in ("real", "noise", "no_feedback")} == {*GUESSES[:2], None}
