"""`extends:` - a variant says what differs, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.config import parse
from engine.errors import InputError, YamlError
from engine.features import FEATURES
from protocols.extend import changes
from protocols.load import Loaded, load

SMR = load("smr_up", FEATURES).protocol
HEAD = "format: 2\nname: mine\nextends: smr_up\n"


def variant(folder: Path, text: str, head: str = HEAD, name: str = "mine") -> Loaded:
    path = folder / f"{name}.yaml"
    path.write_text(head + text, encoding="utf-8")
    return load(path, FEATURES)


def test_nothing_but_the_name_changes_nothing(tmp_path: Path) -> None:
    loaded = variant(tmp_path, "")
    assert loaded.protocol == SMR.model_copy(update={"name": "mine"})
    assert [Path(s.file).name for s in loaded.extends] == ["smr_up.yaml"]


@pytest.mark.parametrize(
    ("text", "threshold"),
    [
        ("{fixed: 9 uV2}", {"method": "fixed", "value": 9.0, "unit": "uV2", "success": None}),
        ("{success: 70 %}", {"method": "percentile", "success": 0.7}),
        ("{baseline: z, plus: 1 sd}", {"method": "z", "plus_sd": 1.0, "success": None}),
        ("{running: percentile}", {"method": "running", "success": 0.65}),
        ("{block: percentile, success: 60 %}", {"method": "block", "success": 0.6}),
        ("{staircase: 0.05 mad}", {"method": "staircase", "success": 0.65, "step_mad": 0.05}),
    ],
)
def test_another_threshold_leaves_out_what_went_with_the_old_one(
    text: str, threshold: dict[str, object], tmp_path: Path
) -> None:
    reward = variant(tmp_path, f"reward: {{above: {text}}}\n").protocol.reward
    assert reward is not None
    assert SMR.reward is not None
    assert {k: getattr(reward.threshold, k) for k in threshold} == threshold
    assert (reward.feature, reward.sustain_s) == ("smr", SMR.reward.sustain_s)


def test_the_other_direction(tmp_path: Path) -> None:
    text = (
        "reward: {below: {baseline: percentile, success: 65 %}}\n"
        "feedback: {level: {from: {plus: 1 mad}, to: {plus: -2 mad}}}\n"
    )
    protocol = variant(tmp_path, text).protocol
    assert protocol.reward is not None
    assert protocol.reward.direction == "below"
    level = protocol.feedback.level
    assert level.start is not None
    assert level.end is not None
    assert (level.start.plus_mad, level.end.plus_mad) == (1.0, -2.0)


def test_a_range_instead_of_edges_and_back(tmp_path: Path) -> None:
    one = variant(tmp_path, "feedback: {level: {range: dynamic}}\n").protocol.feedback.level
    assert (one.range, one.start, one.end) == ("dynamic", None, None)
    head = "format: 2\nname: other\nextends: ./mine.yaml\n"
    text = "feedback: {level: {from: {fixed: 1 uV2}, to: {fixed: 9 uV2}}}\n"
    two = variant(tmp_path, text, head, "other").protocol.feedback.level
    assert two.range == "edges"
    assert two.end is not None
    assert two.end.fixed == 9.0


def test_several_conditions_instead_of_one(tmp_path: Path) -> None:
    text = (
        "reward:\n  all:\n"
        "    - {feature: smr, above: {baseline: percentile, success: 65 %}}\n"
        "    - {feature: theta, below: {baseline: percentile, success: 85 %}}\n"
        "inhibit: none\n"
    )
    protocol = variant(tmp_path, text).protocol
    assert [r.feature for r in protocol.rules] == ["smr", "theta"]
    assert protocol.inhibit == ()


def test_lists_are_replaced_and_mappings_merged(tmp_path: Path) -> None:
    text = (
        "cautions: [Only this one.]\n"
        "features: {delta: {kind: power, at: [Cz], band: 1-3 Hz}, smr: {band: 13-16 Hz}}\n"
    )
    protocol = variant(tmp_path, text).protocol
    assert protocol.cautions == ("Only this one.",)
    assert list(protocol.features) == ["smr", "theta", "high_beta", "delta"]
    assert protocol.features["smr"].band_hz == (13.0, 16.0)
    assert protocol.features["smr"].smooth_s == SMR.features["smr"].smooth_s


def test_several_files_the_nearest_wins(tmp_path: Path) -> None:
    variant(tmp_path, "title: First\nreward: {sustain: 1 s, refractory: 3 s}\n", name="first")
    head = "format: 2\nname: second\nextends: ./first.yaml\n"
    variant(tmp_path, "title: Second\nreward: {sustain: 2 s}\n", head, "second")
    (tmp_path / "deep").mkdir()
    head = "format: 2\nname: third\nextends: ../second.yaml\n"
    loaded = variant(tmp_path / "deep", "", head, "third")
    reward = loaded.protocol.reward
    assert reward is not None
    assert (loaded.protocol.name, loaded.protocol.title) == ("third", "Second")
    assert (reward.sustain_s, reward.refractory_s) == (2.0, 3.0)
    names = [Path(s.file).name for s in loaded.extends]
    assert names == ["second.yaml", "first.yaml", "smr_up.yaml"]


def test_the_recording_knows_every_file_that_made_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        load("smr_up", FEATURES).text.replace("smooth: 1 s", "smooth: 2 s"), encoding="utf-8"
    )
    head = "format: 2\nname: mine\nextends: ./base.yaml\n"
    first = variant(tmp_path, "", head)
    assert first.text.startswith(head)
    assert "# --- extended: base.yaml\n" in first.text
    text = (tmp_path / "base.yaml").read_text(encoding="utf-8")
    (tmp_path / "base.yaml").write_text(text.replace("2 s", "3 s", 1), encoding="utf-8")
    second = variant(tmp_path, "", head)
    assert first.sha256 != second.sha256


def test_an_old_file_may_be_extended(tmp_path: Path) -> None:
    old = load("smr_up", FEATURES).text.replace("format: 2", "format: 1")
    old = "\n".join(x for x in old.split("\n") if not x.startswith(("indication", "safety")))
    session = "session:\n  - baseline\n  - {train: 60 s}\n  - {rest: 90 s}\n"
    old = old[: old.index("session:")] + session
    (tmp_path / "old.yaml").write_text(old, encoding="utf-8")
    loaded = variant(tmp_path, "", "format: 2\nname: mine\nextends: ./old.yaml\n")
    assert [s.kind for s in loaded.protocol.session] == ["baseline", "train", "post"]
    assert (loaded.protocol.format, loaded.written_format) == (2, 2)


@pytest.mark.parametrize("what", ["nothing: 1", "[]", "''", "smr_up.yaml", "/", "a\\b", "~", "7"])
def test_what_cannot_be_extended_is_told(what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        variant(tmp_path, "", f"format: 2\nname: mine\nextends: {what}\n")


def test_what_removes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(YamlError):
        variant(tmp_path, "reward: {shape: none}\n")


def test_the_changes_are_listed_as_written() -> None:
    text = HEAD + "title: Mine\nreward: {above: {success: 70 %}, sustain: 1 s}\ninhibit: none\n"
    assert changes(parse(text.encode(), "mine")) == [
        "format", "name", "title", "reward.above.success", "reward.sustain", "inhibit",
    ]  # fmt: skip
