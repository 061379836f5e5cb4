"""What a frame costs: that every picture is turned as in a session, not how long it takes here."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drawing import LIMIT_MS, Cost, cost, sound_table, table

SMALL = (320, 180)


@pytest.mark.parametrize("name", ["orb", "bar", "none"])
def test_every_frame_is_timed(name: str) -> None:
    found = cost(name, None, SMALL, frames=40)
    assert found.why == ""
    assert len(found.whole) == len(found.drawing) == len(found.worked) == 40
    assert (found.drawing > 0.0).all()
    assert (found.drawing < found.whole).all()


def test_a_picture_without_its_film_is_left_out_in_words() -> None:
    found = cost("video", None, SMALL, frames=2)
    assert "film" in found.why
    assert "left out: it needs film" in table({"video": found}).markdown()


def test_the_median_of_a_whole_frame_decides() -> None:
    def made(ms: float) -> Cost:
        whole = np.full(10, ms)
        return Cost(whole, whole / 2, whole)

    assert "PASS. The median" in table({"orb": made(LIMIT_MS)}).markdown()
    told = table({"orb": made(2.0), "flight": made(LIMIT_MS + 1.0)}).markdown()
    assert "MISS: flight. The median" in told
    assert "| orb | 1.0 | 2.0 |" in told


def test_the_sound_is_told_for_both_back_ends() -> None:
    made = sound_table(0.2)
    assert [row[0] for row in made.rows] == ["null", "mixer"]
    mixer = made.rows[1]
    assert float(mixer[1]) > 0.0
    assert mixer[4] == "dummy"
