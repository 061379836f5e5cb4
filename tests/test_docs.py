"""The documents: what they show works, what they link to exists, what they must say is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.errors import InputError, NeuroloopError, RunError, SafetyStop, StreamError
from engine.faultscript import KINDS
from engine.features import FEATURES
from engine.room import (
    Media,
    RecordSettings,
    Room,
    Screen,
    SoundFiles,
    SoundSettings,
    StreamChoice,
)
from engine.screening import STATEMENT, from_file
from feedback.registry import PICTURES, SOUNDS
from protocols.load import load

REPO = Path(__file__).resolve().parents[1]
PAGES = sorted((REPO / "docs").glob("*.md"))


def page(name: str) -> str:
    return (REPO / "docs" / name).read_text(encoding="utf-8")


def yaml_blocks(name: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as they are made from their words."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)", text):
        if "://" not in target:
            other = path.parent / target if target else path
            assert other.exists(), f"{path.name} -> {target}"
            if anchor:
                assert anchor in anchors(other.read_text(encoding="utf-8")), f"{target}#{anchor}"
    assert len(re.findall("^```", text, re.MULTILINE)) % 2 == 0


@pytest.mark.parametrize("name", ["index.md", "clinician.md", "researcher.md"])
def test_the_statement_is_said(name: str) -> None:
    flat = " ".join(page(name).replace("\n> ", " ").split())
    assert STATEMENT in flat


def test_the_example_protocol_is_right(tmp_path: Path) -> None:
    (block,) = yaml_blocks("researcher.md")
    path = tmp_path / "smr_example.yaml"
    path.write_text(block, encoding="utf-8")
    loaded = load(path, FEATURES, pictures=PICTURES, sounds=SOUNDS)
    assert loaded.protocol.name == "smr_example"


def test_the_example_answers_are_right(tmp_path: Path) -> None:
    _, answers = yaml_blocks("technician.md")
    path = tmp_path / "answers.yaml"
    path.write_text(answers, encoding="utf-8")
    assert from_file(path).blocked == ()


def test_every_feature_picture_sound_and_fault_is_named() -> None:
    text = page("researcher.md")
    for name in (*FEATURES, *PICTURES, *SOUNDS):
        assert f"`{name}`" in text, name
    text = page("technician.md")
    for name in KINDS:
        assert f"`{name}`" in text, name


def test_every_key_of_a_room_is_named() -> None:
    text = page("technician.md")
    for model in (Room, StreamChoice, Screen, SoundSettings, SoundFiles, Media, RecordSettings):
        for key in model.yaml_keys():
            assert re.search(rf"`([a-z]+: )?{key}`", text), key


def test_every_exit_code_is_in_the_table() -> None:
    text = page("exit-codes.md")
    for kind in (NeuroloopError, RunError, InputError, StreamError, SafetyStop):
        assert f"\n| {kind.exit_code} |" in text
    assert "\n| 130 |" in text


def test_every_key_of_the_view_is_explained_to_clinicians() -> None:
    text = page("clinician.md")
    for key in "pksnt+-b?q":
        assert f"`{key}`" in text, key


def test_every_hazard_has_a_control() -> None:
    rows = [r for r in page("hazards.md").splitlines() if re.match(r"\| H\d+ ", r)]
    assert [r.split("|")[1].strip() for r in rows] == [f"H{i + 1}" for i in range(len(rows))]
    for row in rows:
        assert len(row.strip("|").split("|")) == 7
    named = set(re.findall(r"`((?:tests/)?[a-z/]*test_[a-z_]+\.py)`", page("hazards.md")))
    for name in named:
        assert any(REPO.glob(f"tests/**/{Path(name).name}")), name
