"""What is kept of a baseline: whole hops, seams where something is missing, nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bank import Raw
from engine.fit import Rest
from engine.frames import Bool, Float, Gate, RestBlock, frozen
from engine.kept import Kept

HOP, SITES = 5, 3
CALM = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def signal(n: int) -> Float:
    """Every number is its own address: row + site / 10."""
    return np.asarray(np.arange(n)[:, None] + np.arange(SITES) / 10.0)


def mask(*sites: int) -> Bool:
    out = np.zeros(SITES, bool)
    out[list(sites)] = True
    return frozen(out)


class Stream:
    """Feeds a `Kept` as the fold does: rows up to a grid point, the point, the decision."""

    def __init__(self) -> None:
        self.kept = Kept(HOP, SITES)
        self.seq = 0
        self.x = signal(4000)
        self.points: dict[int, list[int]] = {}  # per phase, what a collector would count

    def take(self, n: int, cut: int = 3) -> None:
        while n:
            part = min(n, cut)
            self.kept.push(self.x[self.seq : self.seq + part])
            self.seq, n = self.seq + part, n - part

    def run(self, points: int, *, on: bool = True, phase: int = 1, cut: int = 3) -> None:
        """Go on to the grid point so many points further."""
        for _ in range(points):
            at = -(-self.seq // HOP) * HOP
            self.take(at + 1 - self.seq, cut)
            self.kept.point(at, [float(at), math.nan], {1: np.array([at + 0.5])})
            if on:
                self.points.setdefault(phase, []).append(at)
            self.kept.decide(on, phase)

    def gap(self, missing: int) -> None:
        self.seq += missing
        self.kept.restart()

    def block(
        self, phase: int = 1, clean: list[bool] | None = None, last: int | None = None
    ) -> Rest:
        seq = self.points[phase][-last if last else 0 :]
        keep = np.ones(len(seq), bool) if clean is None else np.array(clean)
        gates = np.where(keep, 0, int(Gate.BLINK)).astype(np.int64)
        return self.kept.rest(
            RestBlock(phase, "rest", ("a",), ("iaf",), np.array(seq), gates, keep)
        )


def begins(rest: Rest) -> list[tuple[int, list[int]]]:
    return [(row, np.flatnonzero(sites).tolist()) for row, sites in rest.begins]


EVERY = [0, 1, 2]

# ---------------------------------------------------------------- whole hops


def test_the_rows_of_a_block_are_the_samples_that_were_pushed() -> None:
    s = Stream()
    s.run(4, on=False)
    s.run(20)
    rest = s.block()
    # The first point decides that it is a baseline; only the hops after it are kept.
    assert rest.block.seq.tolist() == list(range(25, 120, 5))
    assert np.array_equal(rest.uv, s.x[21:116])
    assert np.array_equal(rest.uv[rest.rows], s.x[rest.block.seq])
    assert begins(rest) == [(0, EVERY)]
    assert rest.clean.tolist() == [False] + [True] * 94
    assert [r[0] for r in rest.raw] == rest.block.seq.tolist()
    assert [float(w[1][0]) for w in rest.wide] == [q + 0.5 for q in rest.block.seq.tolist()]
    assert (rest.block.name, rest.block.learn, rest.block.uses) == ("rest", ("a",), ("iaf",))


@CALM
@given(st.integers(0, 10_000), st.integers(1, 23))
def test_however_it_was_cut(seed: int, cut: int) -> None:
    """The same holds, gaps and restarts of sites, pushed in other pieces."""

    def played(cut: int) -> Rest:
        rng = np.random.default_rng(seed)
        s = Stream()
        for _ in range(12):
            what = int(rng.integers(0, 4))
            s.run(int(rng.integers(1, 9)), on=what != 1, cut=cut)
            if what == 2:
                s.gap(int(rng.integers(1, 40)))
            elif what == 3:
                s.take(int(rng.integers(0, HOP)), cut)
                s.kept.begin(mask(int(rng.integers(0, SITES))))
        s.run(2)
        return s.block()

    one, two = played(1), played(cut)
    for name in ("uv", "rows", "clean"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert begins(one) == begins(two)
    assert np.array_equal(one.block.seq, two.block.seq)
    # Every hop is the five samples up to its grid point, whatever happened around it.
    assert np.array_equal(one.uv[:, 0], (one.block.seq[:, None] + np.arange(-HOP + 1, 1)).ravel())
    seams = {0, *(np.flatnonzero(np.diff(one.block.seq) != HOP) + 1).tolist()}
    assert {row // HOP for row, sites in begins(one) if sites == EVERY} == seams
    assert set(np.flatnonzero(~one.clean).tolist()) == {k * HOP for k in seams}


# ---------------------------------------------------------------- seams


def test_a_hold_makes_a_seam() -> None:
    s = Stream()
    s.run(10)
    s.run(7, on=False)
    s.run(10)
    rest = s.block()
    seq = rest.block.seq.tolist()
    assert seq == [*range(5, 50, 5), *range(90, 135, 5)]  # 85 is the first after the hold
    assert begins(rest) == [(0, EVERY), (9 * HOP, EVERY)]
    assert np.flatnonzero(~rest.clean).tolist() == [0, 9 * HOP]


@pytest.mark.parametrize("missing", [1, 4, 5, 10, 333])
def test_a_gap_makes_a_seam_even_when_the_hops_beside_it_are_whole(missing: int) -> None:
    s = Stream()
    s.run(10)
    s.gap(missing)
    s.run(10)
    rest = s.block()
    assert len(rest.raw) == len(rest.rows) == len(rest.block.seq)
    whole = 19 if missing % HOP == 0 else 18
    assert len(rest.rows) == whole
    assert begins(rest) == [(0, EVERY), (9 * HOP, EVERY)]
    assert np.array_equal(rest.uv[rest.rows][:, 0], rest.block.seq)


def test_a_gap_within_a_hop_loses_that_hop_alone() -> None:
    s = Stream()
    s.run(10)
    s.take(2)
    s.gap(5)  # as many rows as a hop, had nobody looked
    s.run(10)
    rest = s.block()
    assert 50 not in rest.block.seq
    assert 55 not in rest.block.seq
    assert np.array_equal(rest.uv[:, 0], (rest.block.seq[:, None] + np.arange(-4, 1)).ravel())


# ---------------------------------------------------------------- sites that begin anew


def test_a_site_begins_anew_at_its_row() -> None:
    s = Stream()
    s.run(3)
    s.kept.begin(mask(1))  # right behind a grid point
    s.run(2)
    s.take(2)
    s.kept.begin(mask(0, 2))
    s.run(2)
    rest = s.block()
    (_, every), (first, one), (second, two) = rest.begins
    assert every.all()
    assert (rest.uv[first, 0], np.flatnonzero(one).tolist()) == (11.0, [1])
    assert (rest.uv[second, 0], np.flatnonzero(two).tolist()) == (23.0, [0, 2])


def test_what_begins_before_the_baseline_is_not_told_again() -> None:
    s = Stream()
    s.run(3, on=False)
    s.take(2)
    s.kept.begin(mask(1))
    s.run(1, on=False)
    s.run(4)
    assert begins(s.block()) == [(0, EVERY)]


# ---------------------------------------------------------------- blocks


def test_a_repeated_baseline_gives_its_accepted_attempt_alone() -> None:
    s = Stream()
    s.run(20)
    s.run(3, on=False)
    s.run(12)
    rest = s.block(last=12)
    assert rest.block.seq.tolist() == list(range(120, 175, 5))
    assert begins(rest) == [(0, EVERY)]
    assert np.array_equal(rest.uv, s.x[116:171])


def test_an_attempt_that_follows_at_once_is_no_seam_of_the_one_before() -> None:
    """Without a lead-in the block begins anew at the very next point: its hop is whole."""
    s = Stream()
    s.run(20)
    s.run(12)
    rest = s.block(last=12)
    assert rest.block.seq.tolist() == list(range(100, 160, 5))
    assert begins(rest) == [(0, EVERY)]


def test_blocks_are_kept_apart_and_forgotten_when_told() -> None:
    s = Stream()
    s.run(10, phase=1)
    s.run(2, on=False)
    s.run(8, phase=4)
    assert s.block(1).block.seq.tolist() == list(range(5, 50, 5))
    assert s.block(4).block.seq.tolist() == list(range(65, 100, 5))
    s.kept.clear()
    rest = s.block(4)
    assert rest.uv.shape == (0, SITES)
    assert (len(rest.rows), len(rest.clean), rest.begins, rest.raw) == (0, 0, (), ())


def test_unclean_points_are_unclean_samples() -> None:
    s = Stream()
    s.run(9)
    rest = s.block(clean=[True, True, False, True, True, False, False, True, True])
    assert rest.block.clean.tolist() == [True, False, True, True, False, False, True, True]
    expected = np.repeat(rest.block.clean, HOP)
    expected[0] = False
    assert np.array_equal(rest.clean, expected)
    assert [bool(g) for g in rest.block.gates] == [not c for c in rest.block.clean]


def test_what_was_kept_does_not_change_when_the_caller_goes_on() -> None:
    s = Stream()
    s.run(1)
    raw: list[Raw] = [1.0, (2.0, 3.0, 4.0)]
    wide = {0: np.array([7.0])}
    s.take(HOP)
    s.kept.point(5, raw, wide)
    raw[0] = 99.0
    wide[0] = np.array([99.0])
    s.points[1].append(5)
    s.kept.decide(True, 1)
    rest = s.block()
    assert rest.raw == ((1.0, (2.0, 3.0, 4.0)),)
    assert float(rest.wide[0][0][0]) == 7.0


def test_nothing_is_kept_while_nothing_is_recorded() -> None:
    s = Stream()
    s.run(50, on=False)
    s.points[1] = list(range(0, 250, 5))
    assert len(s.block().rows) == 0
