"""Files of format 1: read as they were meant, and written anew with their comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError, YamlError
from engine.features import FEATURES
from engine.frames import PhaseKind
from protocols.load import Loaded, load
from protocols.migrate import LATER, upgraded
from protocols.plan import expand, total_s

FORMAT_1 = Path(__file__).parent / "format1"
OLD = """\
# A file of format 1.
format: 1  # the first
name: old
title: "An old one"   # quoted
evidence: {grade: X, summary: For tests only.}
summary: >
  Trains nothing
  in particular.
needs: {channels: [Cz], rate: at least 128 Hz}
condition: {reference: [mastoids], high_pass: 1.0 Hz}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz}  # the rhythm
gates: {blink: on, muscle: off}
baseline:
  - {name: open, lasts: 120 s, eyes: open, learn: [smr]}
reward: {feature: smr, above: {baseline: percentile, success: 65 %}}
feedback:
  level: {feature: smr, from: {baseline: median}, to: {baseline: median, plus: 2 mad}}
  picture: orb
session:
  - baseline
  - repeat: 2
    blocks:
      - {train: 180 s, say: "Let it grow: slowly."}
      - {rest: 30 s}
  # The rest afterwards.
  - {rest: 120 s, eyes: closed}  # as long as the baseline
"""


def read(folder: Path, text: str) -> Loaded:
    path = folder / "old.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, FEATURES)


def comments(text: str) -> list[str]:
    return [line.split("#", 1)[1].strip() for line in text.split("\n") if "#" in line]


def test_the_last_rest_was_the_rest_afterwards(tmp_path: Path) -> None:
    loaded = read(tmp_path, OLD)
    assert loaded.written_format == 1
    assert loaded.protocol.format == 2
    plan = [p for p in expand(loaded.protocol) if p.kind in (PhaseKind.REST, PhaseKind.POST)]
    assert [(p.kind, p.lasts_s, p.eyes, p.name) for p in plan] == [
        (PhaseKind.REST, 30.0, "open", "rest"),
        (PhaseKind.REST, 30.0, "open", "rest"),
        (PhaseKind.POST, 120.0, "closed", "post"),
    ]


def test_a_rest_at_the_end_of_a_repetition_was_the_last_step_too(tmp_path: Path) -> None:
    text = OLD[: OLD.index("  # The rest afterwards")]
    loaded = read(tmp_path, text)
    kinds = [p.kind for p in expand(loaded.protocol)]
    assert kinds[-2] is PhaseKind.POST
    assert kinds.count(PhaseKind.REST) == 1
    again = read(tmp_path, upgraded(text))
    assert again.protocol == loaded.protocol


def test_a_training_at_the_end_leaves_every_rest_as_it_is(tmp_path: Path) -> None:
    text = OLD + "  - {transfer: 60 s}\n"
    loaded = read(tmp_path, text)
    assert PhaseKind.POST not in {p.kind for p in expand(loaded.protocol)}
    assert read(tmp_path, upgraded(text)).protocol == loaded.protocol


@pytest.mark.parametrize("key", LATER)
def test_what_format_1_had_not_is_told_at_its_place(key: str, tmp_path: Path) -> None:
    text = OLD.replace("title:", f"{key}: something\ntitle:")
    with pytest.raises(YamlError) as caught:
        read(tmp_path, text)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (4, 1)
    assert problem.what == f"`{key}` is not in format 1"
    assert problem.allowed == "`format: 2`"


@pytest.mark.parametrize("last", ["{post: 120 s}", "{trials: 4}"])
def test_a_step_that_format_1_had_not_is_told_at_its_place(last: str, tmp_path: Path) -> None:
    with pytest.raises(YamlError) as caught:
        read(tmp_path, OLD.replace("{rest: 120 s, eyes: closed}", last))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (27, 6)
    assert "is not in format 1" in problem.what


P65 = "{baseline: percentile, success: 65 %}"
LEVEL = "{baseline: median}, to: {baseline: median, plus: 2 mad}}"


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        (P65, "{running: percentile, success: 65 %}", (16, 32), "running"),
        (P65, "{block: percentile, success: 65 %}", (16, 32), "block"),
        (P65, "{staircase: 0.05 mad, success: 65 %}", (16, 32), "staircase"),
        (P65, "{baseline: z, plus: 1 sd}", (16, 32), "baseline: z"),
        (f"from: {LEVEL}", "range: dynamic}", (18, 25), "range: dynamic"),
        (
            f"{P65}}}",
            f"{P65}}}\ninhibit:\n  - {{feature: smr, below: {{running: percentile}}}}",
            (18, 28),
            "running",
        ),
    ],
)
def test_a_threshold_that_format_1_had_not_is_told_at_its_place(
    old: str, new: str, place: tuple[int, int], told: str, tmp_path: Path
) -> None:
    text = OLD.replace(old, new)
    assert text != OLD
    for reading in (lambda: read(tmp_path, text), lambda: upgraded(text, "mine.yaml")):
        with pytest.raises(YamlError) as caught:
            reading()
        (problem,) = caught.value.problems
        assert (problem.line, problem.column) == place
        assert problem.what == f"`{told}` is not in format 1"
    assert problem.file == "mine.yaml"


def test_a_mistake_in_the_last_rest_is_told_as_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(YamlError) as caught:
        read(tmp_path, OLD.replace("rest: 120 s", "rest: 120"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (27, 12)


# ---------------------------------------------------------------- written anew


def test_upgrading_keeps_comments_and_words_and_reads_the_same(tmp_path: Path) -> None:
    text = upgraded(OLD)
    assert comments(text) == comments(OLD)
    assert "format: 2  # the first" in text
    assert "- {post: 120 s, eyes: closed}" in text
    assert 'title: "An old one"' in text
    assert 'say: "Let it grow: slowly."' in text
    new = read(tmp_path, text)
    assert new.written_format == 2
    assert new.protocol == read(tmp_path, OLD).protocol


@pytest.mark.parametrize("path", sorted(FORMAT_1.glob("*.yaml")), ids=lambda p: p.stem)
def test_what_was_shipped_in_format_1(path: Path, tmp_path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    loaded = load(path, FEATURES)
    assert loaded.written_format == 1
    new = upgraded(text)
    assert comments(new) == comments(text)
    assert read(tmp_path, new).protocol == loaded.protocol
    plan = expand(loaded.protocol)
    rests = len(loaded.protocol.baseline)
    block = ["READY", "TRAIN", "REST"]
    assert [p.kind.name for p in plan] == [
        *(["READY", "BASELINE"] * rests), "PREPARING", *(block * 6), "READY", "TRANSFER", "POST",
        "DONE",
    ]  # fmt: skip
    assert total_s(plan) == rests * 125 + 6 * 215 + 185 + 120
    assert plan[-2].name == "post"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OLD.replace("format: 1", "format: 2"), "in format 2 already"),
        (OLD.replace("format: 1", "format: 7"), "no format 7"),
        (OLD.replace("format: 1", "format: true"), "no format"),
        ("just words", "not `key: value` lines"),
        ("", "empty"),
        ("format: 1\nname: a\nname: b\n", "given twice"),
        ("format: [1\n", "cannot be read|never closed|missing"),
        ("format: 1\nsession: &a [{rest: 3 s}]\n", "anchor"),
    ],
)
def test_what_cannot_be_upgraded_is_told(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        upgraded(text)


ALIGNED = OLD.replace("  smr: {kind: power,", "  smr:     {kind:   power,").replace(
    "{rest: 120 s, eyes: closed}", "{eyes: closed,  rest: 120 s}"
)


@pytest.mark.parametrize(
    "text", [OLD, ALIGNED, OLD.replace("\n", "\r\n")], ids=["plain", "aligned", "crlf"]
)
def test_only_the_words_change_that_must(text: str, tmp_path: Path) -> None:
    new = upgraded(text)
    pairs = zip(text.split("\n"), new.split("\n"), strict=True)
    changed = [(a.replace("1", "2").replace("rest:", "post:"), b) for a, b in pairs if a != b]
    assert len(changed) == 2
    assert changed[0][1].startswith("format: 2 ")
    assert changed[1][1] == changed[1][0].replace("220 s", "120 s")
    assert read(tmp_path, new).protocol == read(tmp_path, text).protocol


@pytest.mark.parametrize(
    "text",
    [OLD.replace("format: 1", '"format": 1'), OLD.replace("{rest: 120", '{"rest": 120')],
    ids=["format", "rest"],
)
def test_keys_in_quotes_change_as_well(text: str, tmp_path: Path) -> None:
    new = upgraded(text)
    assert comments(new) == comments(text)
    assert read(tmp_path, new).protocol == read(tmp_path, text).protocol


def test_a_long_line_stays_one_line() -> None:
    long = "summary: " + "word " * 200 + "end\n"
    assert long in upgraded(OLD.replace("summary: >\n  Trains nothing\n  in particular.\n", long))
