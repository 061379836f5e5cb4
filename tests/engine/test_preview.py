"""A preview shows every state of a picture, in order, and opens the room's own window."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError, RunError
from engine.perceived import NOTHING, Perceived, check_perceived
from engine.preview import CYCLE_S, REWARD_EVERY_S, preview, script
from engine.room import Media, Room, SoundFiles, load_room
from feedback.registry import PICTURES, SOUNDS


def room(**media: str) -> Room:
    return load_room("sim").model_copy(update={"media": Media(**media)})


def test_the_script_goes_through_all_states() -> None:
    shows = list(script(40.0))
    levels = [s.level for _, s in shows if s.screen == "feedback" and s.level is not None]
    assert min(levels) == 0.0
    assert max(levels) > 0.99
    assert np.abs(np.diff(levels)).max() < 0.02  # calm
    gated = [t for t, s in shows if s.gated]
    assert gated
    assert all(s.level is None for _, s in shows if s.gated)
    assert [s.screen for _, s in shows][-1] == "rest"
    rewards = [s.rewards for _, s in shows]
    assert rewards == sorted(rewards)
    assert rewards[-1] > 0.5 * 36.0 / REWARD_EVERY_S
    assert all(b - a == pytest.approx(0.02) for (a, _), (b, _) in pairwise(shows))


def test_no_reward_while_there_is_no_answer() -> None:
    shows = [s for _, s in script(CYCLE_S + 4.0)]
    for before, after in pairwise(shows):
        assert after.rewards == before.rewards or not after.gated


def test_it_opens_the_window_and_leaves_pictures(tmp_path: Path) -> None:
    said: list[str] = []
    preview(Perceived("bar"), room(), 5.0, said.append, headless=True, frames=str(tmp_path))
    assert "Esc ends it" in said[0]
    assert any(p.name.endswith("feedback.png") for p in tmp_path.iterdir())


def test_a_window_that_cannot_open_says_why() -> None:
    with pytest.raises(RunError, match="no picture `nothing`"):
        preview(Perceived("nothing"), room(), 5.0, print, headless=True)


@pytest.mark.parametrize(
    ("perceived", "where", "said"),
    [
        (Perceived("video"), {}, "picture `video` needs the room's own film"),
        (Perceived("orb", continuous="film"), {}, "sound `film` needs the room's own film"),
        (Perceived("puzzle"), {"images": "/nowhere/at-all"}, "is not there"),
    ],
)
def test_what_is_missing_is_told_before_a_session(
    perceived: Perceived, where: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        check_perceived(perceived, room(**where), PICTURES, SOUNDS)
    assert caught.value.fix


def test_a_folder_without_images_and_a_sound_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="no image in"):
        check_perceived(Perceived("puzzle"), room(images=str(tmp_path)), PICTURES, SOUNDS)
    where = room()
    sound = where.sound.model_copy(update={"files": SoundFiles(chime=str(tmp_path / "notes.txt"))})
    with pytest.raises(InputError, match="chime"):
        check_perceived(NOTHING, where.model_copy(update={"sound": sound}), PICTURES, SOUNDS)
    check_perceived(Perceived("puzzle"), where, PICTURES, SOUNDS)
