"""Names of pictures and sounds, as data."""

from __future__ import annotations

import pytest

from feedback.registry import CUES, PICTURES, SCREENS, SOUNDS, resolve
from protocols import load


def test_names_are_their_own_keys() -> None:
    assert set(PICTURES) == {
        "orb", "bar", "horizon", "garden", "flight", "puzzle", "video", "breath", "none",
    }  # fmt: skip
    assert set(SOUNDS) == {
        "chime", "ambience", "tone_pitch", "tone_volume", "two_voices", "film",
    }  # fmt: skip
    for name, kind in [*PICTURES.items(), *SOUNDS.items()]:
        assert kind.name == name
        assert kind.doc.endswith(".")
    assert SOUNDS["chime"].role == "on_reward"
    assert SOUNDS["ambience"].role == "continuous"


def test_screens_and_cues_are_closed_lists() -> None:
    assert len(set(SCREENS)) == len(SCREENS) == 10
    assert {"start", "end", "rest", "baseline"} <= set(CUES)


def test_registries_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PICTURES["mine"] = PICTURES["orb"]  # type: ignore[index]


def test_a_factory_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(AttributeError):
        resolve("feedback.registry:Nothing")
    with pytest.raises(ImportError):
        resolve("feedback.nowhere:Nothing")


def test_protocols_are_checked_against_the_same_names() -> None:
    """`protocols` and `feedback` do not know each other; the names are the same all the same."""
    assert set(load.PICTURES) == set(PICTURES)
    assert set(load.SOUNDS) == set(SOUNDS)
