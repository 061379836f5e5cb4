"""What packages add, and everything that may be wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.features import FEATURES, FeatureKind, Option
from engine.plugins import NO_PLUGINS, lag_s, load_plugins, registries
from feedback.registry import PICTURES, SOUNDS
from protocols.rewards import REWARDS

Install = Callable[..., Path]

KINDS = """
from dataclasses import replace
from engine.features import FeatureKind, Option
from feedback.registry import PictureKind, SoundKind
from protocols.rewards import RewardKind

class Code:
    def __init__(self, *settings): pass

FEATURE = FeatureKind("mine", "1", "linear", frozenset({"of"}), frozenset(), "It is.", "M = x",
                      "none", parts=frozenset({"power"}), n_parts=1, make=Code)
PICTURE = PictureKind("dot", "A dot.", "size", "pack:Code")
SOUND = SoundKind("click", "on_reward", "A click.", "pack:Code")
REWARD = RewardKind("rarely", "Seldom.", Code)
"""


def install(plugin: Install, code: str = "", name: str = "pack") -> tuple[tuple[str, str], ...]:
    module = name.replace("-", "_")
    points = {
        "neuroloop.features:mine": f"{module}:FEATURE",
        "neuroloop.pictures:dot": f"{module}:PICTURE",
        "neuroloop.sounds:click": f"{module}:SOUND",
        "neuroloop.rewards:rarely": f"{module}:REWARD",
    }
    plugin(name, {f"{module}.py": KINDS + code}, points)
    return ((name, "1.0.0"),)


def test_no_plugins_change_nothing() -> None:
    assert load_plugins(()) is NO_PLUGINS
    every = registries()
    assert every.features == FEATURES
    assert every.pictures == PICTURES
    assert every.sounds == SOUNDS
    assert every.rewards == REWARDS


def test_what_a_package_offers_stands_beside_what_is_built_in(plugin: Install) -> None:
    wanted = install(plugin)
    plugins = load_plugins(wanted)
    assert (set(plugins.features), set(plugins.rewards)) == ({"mine"}, {"rarely"})
    assert (set(plugins.pictures), set(plugins.sounds)) == ({"dot"}, {"click"})
    assert plugins.versions == {"pack": "1.0.0"}
    assert plugins.wanted == wanted
    (row,) = plugins.header()
    assert row == {"name": "pack", "version": "1.0.0", "sha256": plugins.hashes["pack"]}
    assert plugins.owners["reward rarely"] == "pack"
    every = registries(plugins)
    assert set(every.features) == {*FEATURES, "mine"}
    assert set(every.sounds) == {*SOUNDS, "click"}
    # Any feature may be compared with its rest, and added.
    assert every.features["z"].parts == FEATURES["z"].parts | {"mine"}
    assert "mine" in every.features["weighted_sum"].parts
    assert every.features["power"] is FEATURES["power"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("FEATURE = replace(FEATURE, make=None)", "no `make`"),
        ("FEATURE = replace(FEATURE, unit='V')", "its unit is `V`"),
        ("FEATURE = replace(FEATURE, scale='log')", "its scale"),
        ("FEATURE = replace(FEATURE, needs=frozenset({'at'}))", "needs exactly `of`"),
        ("FEATURE = replace(FEATURE, may=frozenset({'with'}))", "exactly when there are options"),
        ("FEATURE = replace(FEATURE, parts=frozenset({'powr'}))", "no known kind (powr)"),
        ("FEATURE = replace(FEATURE, n_parts=0)", "of how many"),
        ("FEATURE = replace(FEATURE, doc=' ')", "in words"),
        ("FEATURE = replace(FEATURE, low=2.0, high=1.0)", "smallest value"),
        (
            "FEATURE = replace(FEATURE, may=frozenset({'with'}),"
            " options={'a': Option(5.0, 0.0, 1.0, 's', 'x')})",
            "outside of what it may be",
        ),
        ("REWARD = replace(REWARD, options={'a': Option(1.0, 0.0, 1.0, 'm', 'x')})", "unit `m`"),
        ("REWARD = replace(REWARD, options={'A b': Option(1.0, 0.0, 1.0, 's', '')})", "no usable"),
        ("REWARD = replace(REWARD, make=3)", "no `make`"),
        ("PICTURE = replace(PICTURE, factory='pack.Code')", "`package.module:Name`"),
        ("SOUND = replace(SOUND, role='always')", "its role is `always`"),
        ("PICTURE = SOUND", "of type SoundKind, not PictureKind"),
        ("FEATURE = replace(FEATURE, name='power')", "called `power` inside"),
        ("import no_such_module", "cannot be imported"),
    ],
)
def test_a_kind_that_is_wrong_is_refused(plugin: Install, code: str, words: str) -> None:
    wanted = install(plugin, code)
    with pytest.raises(InputError) as caught:
        load_plugins(wanted)
    assert words in caught.value.what
    assert "pack 1.0.0" in caught.value.what
    assert caught.value.fix


def test_built_in_names_are_taken(plugin: Install) -> None:
    code = "CHIME = replace(SOUND, name='chime')"
    points = {"neuroloop.sounds:chime": "pack:CHIME"}
    plugin("pack", {"pack.py": KINDS + code}, points)
    with pytest.raises(InputError, match="so does Neuroloop itself"):
        load_plugins((("pack", "1.0.0"),))


def test_two_packages_cannot_offer_the_same(plugin: Install) -> None:
    wanted = (*install(plugin), *install(plugin, name="pack-two"))
    with pytest.raises(InputError, match=r"pack-two 1.0.0 offers `mine`"):
        load_plugins(wanted)


def test_how_far_back_a_feature_speaks(plugin: Install) -> None:
    mine: FeatureKind = load_plugins(install(plugin)).features["mine"]
    assert lag_s(mine, {}) == 0.0
    options = {"over": Option(2.0, 0.5, 10.0, "s", "Time.")}
    late = replace(mine, options=options, lag_s=lambda o: o["over"] / 2.0)
    assert lag_s(late, {}) == 1.0
    assert lag_s(late, {"over": 4.0}) == 2.0
    wrong_ones = (lambda o: o["no"], lambda _: -1.0, lambda _: None, lambda _: float("nan"))
    for wrong in wrong_ones:
        with pytest.raises(InputError, match="cannot say how far back"):
            lag_s(replace(late, lag_s=wrong), {})  # type: ignore[arg-type]
