"""Protocol files: every mistake is found, at its place, before the person sits down."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import resolved
from engine.errors import InputError, YamlError
from engine.features import FEATURES
from protocols.hints import hints
from protocols.load import Loaded, library, load
from protocols.model import Protocol
from protocols.reach import RESERVED
from protocols.sham import PREFIX

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"
SMR = (ROOT / "protocols" / "library" / "smr_up.yaml").read_text(encoding="utf-8")
ALPHA = (ROOT / "protocols" / "library" / "alpha_up_ec.yaml").read_text(encoding="utf-8")
TBR = (ROOT / "protocols" / "library" / "tbr_down.yaml").read_text(encoding="utf-8")
P65 = "{baseline: percentile, success: 65 %}"
ONE = SMR.replace("repeat: 6", "repeat: 1")  # block of training


def _place(text: str, part: str) -> tuple[int, int]:
    """Return line and column of `part` in the text, 1-based."""
    before = text[: text.index(part)]
    return before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize(
    ("name", "line", "column", "words"),
    [
        ("typo", 42, 3, ("`sustian`", "did you mean `sustain`")),
        ("wrong_unit", 31, 60, ("`1 Hz` is a frequency, not a time", "ms", "`120 s`")),
        ("missing_channel", 30, 28, ("C4", "needs: channels", "Cz")),
        ("band_above_nyquist", 32, 44, ("90 Hz", "too high", "140 Hz", "at least 360 Hz")),
        ("duplicate_key", 44, 3, ("`sustain` is given twice", "line 42")),
        ("tab", 43, 1, ("tab", "spaces")),
        ("bomb", 1, 4, ("anchor", "refused")),
        ("wrong_type", 43, 3, ("a time is wanted", "a list", "`120 s`")),
        ("unknown_feature", 40, 12, ("`sm`", "did you mean `smr`", "known: high_beta")),
        ("empty", 1, 1, ("empty",)),
    ],
)
def test_a7_ten_broken_files(name: str, line: int, column: int, words: tuple[str, ...]) -> None:
    path = BROKEN / f"{name}.yaml"
    with pytest.raises(YamlError) as caught:
        load(path, FEATURES)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    assert (problem.line, problem.column) == (line, column), str(problem)
    for word in words:
        assert word in str(problem)


def _load(text: str, folder: Path, **more: bool) -> Loaded:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, FEATURES, **more)


@pytest.mark.parametrize(
    ("old", "new", "points_at", "words"),
    [
        ("kind: power, at: [Cz], band: 12", "kind: pwer, at: [Cz], band: 12", "pwer", "`power`"),
        ("band: 12-15 Hz, ", "", "smr:   ", "`band` is missing"),
        ("band: 12-15 Hz,", "band: 12-15 Hz, window: 1 s,", "window", "does not belong to kind"),
        ("band: 12-15 Hz", "band: 15-12 Hz", "15-12 Hz", "upside down"),
        ("band: 4-7 Hz", "band: 0.5-7 Hz", "0.5-7 Hz", "high-pass"),
        ("muscle: {at: [Cz]}", "muscle: {at: [C3]}", "at: [C3]", "C3"),
        ("learn: [smr, theta,", "learn: [smr, thta,", "thta", "`theta`"),
        (
            "learn: [smr, theta, high_beta]",
            "learn: [smr, high_beta]",
            "below",
            "no baseline learns",
        ),
        ("- {feature: theta,", "- {feature: theda,", "theda", "`theta`"),
        ("needs_clean: 60 s", "needs_clean: 30 s", "30 s", "not trustworthy"),
        ("needs_clean: 60 s", "needs_clean: 200 s", "200 s", "longer than the block"),
        ("picture: orb", "picture: orbb", "orbb", "`orb`"),
        ("on_reward: chime", "on_reward: gong", "gong", "chime"),
        ("  - baseline\n", "", "session", "never recorded"),
        ("  - baseline\n", "  - baseline\n  - baseline\n", "baseline\n  - repeat", "twice"),
        ("plus: 2 mad", "plus: -1 mad", "to: {", "the same"),
        ("above: {baseline: percentile, success: 65 %}", "above: {fixed: 5 uV}", "5 uV", "uV2"),
        ("above: {baseline: percentile, success: 65 %}", "above: {fixed: 5}", "5}", "uV2"),
        (
            "above: {baseline: percentile, success: 65 %}",
            "above: {fixed: 5 s}",
            "5 s",
            "given in s",
        ),
        (
            "success: 65 %}",
            "success: 65 %, fixed: 3 uV2}",
            "fixed: 3 uV2",
            "a threshold cannot be both `baseline` and `fixed`",
        ),
        ("reference: [ears,", "reference: [bipolar Cz Pz,", "reference", "Pz"),
        ("reference: [ears,", "reference: [eras,", "reference", "eras"),
        ("picture: orb", "picture:", "picture:", "no value"),
        ("success: 65 %", "success: 65", "65}", "has no unit"),
        ("success: 65 %", "success: 65 s", "65 s", "a share"),
        ("success: 65 %", "success: 165 %", "165 %", "out of range"),
        ("blink: on", "blink: maybe", "maybe", "`on`, `off` or a mapping"),
        ("blink: on", "blink: true", "true", "`on`, `off` or a mapping"),
        ("name: smr_up", "name: SMR up!", "SMR up!", "not a usable name"),
        ("name: smr_up", "name: true", "true", "a text is wanted"),
        ("band: 12-15 Hz", "band: iaf-2 .. iaf+2", "iaf-2", "no baseline is recorded for"),
        ("band: 12-15 Hz", "band: iaf+2 .. iaf-2", "iaf+2", "upside down"),
        ("band: 12-15 Hz", "band: iaf*2 .. iaf+2", "iaf*2", "around the individual alpha"),
        (
            "band: 12-15 Hz",
            "band: 12-15 Hz, delay: 400 ms",
            "400 ms",
            "out of range",
        ),
        ("eyes: open,", "eyes: open, for: [iap],", "for: [iap]", "not recorded for"),
        ("sustain: 0.5 s", "sustain: 0,5 s", "0,5 s", "point"),
        ("train: 180 s", "train: 180 s, rest: 30 s", "{train", "exactly one of"),
        ("train: 180 s", "trian: 180 s", "trian", "did you mean `train`"),
        ("- repeat: 6", "- repeat: 600", "600", "not a number of times"),
        ("- repeat: 6", "- repeat: 150", "150", "more than 200"),
        ("format: 2", 'format: "2"', '"2"', "without quotes"),
        ("format: 2", "format: 2.0", "2.0", "without a point"),
        ("format: 2", "format: true", "true", "a plain whole number"),
        ("reference: [ears,", "reference: [ears, bipolar Cz cz,", "bipolar", "against itself"),
        ("plus: -1 mad", "plus: 3 mad", "level", "runs against the reward"),
        (
            "- {feature: theta, below: {baseline: percentile, success: 85 %}}",
            "- {feature: smr, below: {baseline: percentile, success: 35 %}}",
            "below",
            "upper 65 % and the lower 35 % of rest",
        ),
        ('ask: "What did you do?"', "ask: no", "no", "the question itself"),
        ("format: 2", "format: 3", "3", "format 3"),
        ("rate: at least 140 Hz", "rate: at least 140", "at least 140", "has no unit"),
    ],
)
def test_one_mistake_one_problem_at_its_place(
    old: str, new: str, points_at: str, words: str, tmp_path: Path
) -> None:
    assert old in SMR
    text = SMR.replace(old, new, 1)
    with pytest.raises(YamlError) as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert words in str(problem)
    written = "\n".join(text.splitlines()[problem.line - 1 :])[problem.column - 1 :]
    assert written.startswith(points_at), str(problem)


def test_all_mistakes_come_at_once_and_in_order(tmp_path: Path) -> None:
    text = (
        SMR.replace("sustain: 0.5 s", "sustian: 0.5 s")
        .replace("smooth: 0.3 s", "smooth: 0.3 Hz")
        .replace("eyes: open, needs_clean", "eyes: opn, needs_clean")
        .replace("  grade: B\n", "")
        .replace("title:", "ttle:")
    )
    with pytest.raises(YamlError) as caught:
        _load(text, tmp_path)
    lines = [p.line for p in caught.value.problems]
    assert len(lines) == 5
    assert lines == sorted(lines)
    assert "`ttle`; did you mean `title`" in str(caught.value)
    assert "`title` is missing" not in str(caught.value)


def test_an_error_inside_a_repeated_block_is_told_once(tmp_path: Path) -> None:
    with pytest.raises(YamlError) as caught:
        _load(SMR.replace("train: 180 s", "train: 180"), tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(SMR, "180 s, say")


SAID = '"Sit still and awake, muscles loose. Let the orb grow."'
SCP = (ROOT / "protocols" / "library" / "scp.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("whole", "old", "new", "points_at"),
    [
        (SMR, "title: Raise the sensorimotor rhythm (SMR) at Cz", "title: {}", "xxx"),
        (SMR, SAID, "{}", "say: xxx"),
        (SMR, '"What did you do?"', "{}", "ask: xxx"),
        (SCP, '"Let go."', "{}", "xxx"),
    ],
)
def test_what_nobody_can_read_from_a_screen_is_refused(
    whole: str, old: str, new: str, points_at: str, tmp_path: Path
) -> None:
    assert old in whole
    assert _load(whole.replace(old, new.format("x" * 400), 1), tmp_path)
    text = whole.replace(old, new.format("x" * 401), 1)
    with pytest.raises(YamlError) as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert "has 401 characters" in str(problem)
    assert "at most 400" in str(problem)
    written = text.splitlines()[problem.line - 1][problem.column - 1 :]
    assert written.startswith(points_at), str(problem)


def test_ratio_of_what_is_no_power(tmp_path: Path) -> None:
    for new, word in (
        ("of: [theta, tbr]", "`tbr` is made of itself"),
        ("of: [theta, bata]", "`beta`"),
        ("of: [theta]", "made of two"),
    ):
        with pytest.raises(YamlError, match=word):
            _load(TBR.replace("of: [theta, beta]", new), tmp_path)


def test_unitless_feature_takes_a_bare_fixed_number(tmp_path: Path) -> None:
    old = "below: {baseline: percentile, success: 65 %}"
    protocol = _load(TBR.replace(old, "below: {fixed: 2.5}"), tmp_path).protocol
    assert protocol.reward.threshold.value == 2.5
    with pytest.raises(YamlError, match="no unit"):
        _load(TBR.replace(old, "below: {fixed: 2.5 uV2}"), tmp_path)


def test_session_without_training(tmp_path: Path) -> None:
    start = SMR.index("session:")
    with pytest.raises(YamlError, match="no training block"):
        _load(SMR[:start] + "session:\n  - baseline\n  - {rest: 30 s}\n", tmp_path)
    with pytest.raises(YamlError, match="before the baseline"):
        _load(SMR[:start] + "session:\n  - {train: 60 s}\n  - baseline\n", tmp_path)


def test_nothing_to_perceive_is_refused(tmp_path: Path) -> None:
    text = ALPHA.replace("{on_reward: chime, continuous: ambience, cues: tones}", "{cues: tones}")
    with pytest.raises(YamlError, match="nothing would be perceived"):
        _load(text, tmp_path)


def test_short_baselines_are_for_tests_only(tmp_path: Path) -> None:
    text = SMR.replace("lasts: 120 s, eyes: open, needs_clean: 60 s", "lasts: 20 s, eyes: open")
    with pytest.raises(YamlError, match="not trustworthy"):
        _load(text, tmp_path)
    block = _load(text, tmp_path, allow_short=True).protocol.baseline[0]
    assert (block.lasts_s, block.needs_clean_s) == (20.0, 20.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ALPHA.replace("picture: none", "picture: orb"), "is not seen"),
        (ALPHA.replace("eyes: closed, say", "eyes: open, say"), "eyes are open"),
        (ALPHA.replace("eyes: closed, say", "eyes: open, say"), "will not fit"),
        (ALPHA.replace("success: 60 %", "success: 95 %"), "next to nothing"),
        (SMR.replace("muscle: {at: [Cz]}", "muscle: off"), "muscle gate is off"),
        (SMR.replace("- {feature: theta, below", "- {feature: smr, below"), "no rule and no level"),
        (SMR.replace("above: {baseline:", "above: {block:"), "`smr` follows the person from block"),
        (SMR.replace(P65, "{staircase: 0.05 mad, success: 65 %}"), "a steady reward rate is not"),
        (SMR.replace("21-35 Hz", "40-55 Hz").replace("140 Hz", "250 Hz"), "holds 50 Hz"),
        (SMR.replace("channels: [Cz]", "channels: [Cz, Banana]"), "`Banana` is no site"),
        (SMR.replace("grade: B", "grade: X"), "may run in clinical rooms"),
        (ONE.replace(P65, "{block: percentile, success: 65 %}"), "it stays where the baseline"),
        (ONE.replace("sustain:", "shape: {every: block}\n  sustain:"), "it never changes"),
        (
            SMR.replace("\nreward:", "\npreset: auto_reward_fixed_inhibit\nreward:").replace(
                P65, "{success: 65 %}"
            ),
            "leaves `theta` and `high_beta` as written",
        ),
    ],
)
def test_hints_are_no_errors(text: str, words: str, tmp_path: Path) -> None:
    loaded = _load(text, tmp_path)
    assert any(words in hint for hint in loaded.hints)


def test_only_what_can_be_frozen_is_told_to_be(tmp_path: Path) -> None:
    inhibit = "- {feature: theta, below: {baseline: percentile, success: 85 %}}"
    for way in ("running: percentile", "block: percentile", "staircase: 0.05 mad"):
        text = SMR.replace(inhibit, f"- {{feature: theta, below: {{{way}, success: 85 %}}}}")
        assert text != SMR
        (told,) = [h for h in _load(text, tmp_path).hints if "the inhibit `theta`" in h]
        assert ("freeze_after" in told) == ("running" in way)


def test_sites_and_eog_are_no_reason_for_a_hint(tmp_path: Path) -> None:
    text = SMR.replace("channels: [Cz]", "channels: [Cz, T3, VEOG, A1, FFC1h]")
    assert not [h for h in _load(text, tmp_path).hints if "is no site" in h]


LEVEL = """\
  level:
    feature: smr
    from: {baseline: median, plus: -1 mad}
    to: {baseline: median, plus: 2 mad}
    smooth: 0.3 s
"""


@pytest.mark.parametrize(
    ("edges", "wrong"),
    [
        ("from: {fixed: 9 uV2}, to: {fixed: 3 uV2}", True),
        ("from: {fixed: 3 uV2}, to: {fixed: 9 uV2}", False),
        ("from: {baseline: median, plus: 1 mad}, to: {baseline: median}", True),
        ("from: {fixed: 9 uV2}, to: {baseline: median}", False),  # known when the rest is
        ("range: dynamic, grows: down", True),
        ("range: dynamic, grows: up", False),
    ],
)
@pytest.mark.parametrize("way", ["above", "below"])
def test_a_level_must_not_run_against_its_reward(
    edges: str, wrong: bool, way: str, tmp_path: Path
) -> None:
    mixed = "fixed: 9 uV2}, to: {baseline" in edges
    text = SMR.replace(LEVEL, f"  level: {{feature: smr, {edges}}}\n")
    assert text != SMR
    text = text.replace(f"above: {P65}", f"{way}: {P65}")
    if mixed or wrong == (way == "below"):
        _load(text, tmp_path)
        return
    with pytest.raises(YamlError, match="the level runs against the reward") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, "level: {feature")


THETA = "- {feature: theta, below: {baseline: percentile, success: 85 %}}"


@pytest.mark.parametrize(
    ("reward", "other", "never"),
    [
        (P65, "{baseline: percentile, success: 35 %}", True),
        (P65, "{baseline: percentile, success: 40 %}", False),
        ("{baseline: z, plus: 1 sd}", "{baseline: z, plus: 0.5 sd}", True),
        ("{baseline: z, plus: 1 sd}", "{baseline: z, plus: 1.5 sd}", False),
        ("{fixed: 9 uV2}", "{fixed: 9 uV2}", True),
        ("{fixed: 3 uV2}", "{fixed: 9 uV2}", False),
        ("{fixed: 9 uV2}", "{baseline: percentile, success: 5 %}", False),  # known with the rest
        (f"{P65}\n  hysteresis: 1 mad", "{baseline: percentile, success: 35 %}", False),
        (f"{P65}\n  shape: {{every: block}}", "{baseline: percentile, success: 35 %}", False),
    ],
)
def test_rules_that_leave_nothing_between_them_are_refused(
    reward: str, other: str, never: bool, tmp_path: Path
) -> None:
    text = SMR.replace(P65, reward).replace(THETA, f"- {{feature: smr, below: {other}}}")
    if not never:
        _load(text, tmp_path)
        return
    with pytest.raises(YamlError, match="is never above the one threshold and below") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, f"below: {other}")


def test_what_must_hold_for_longer_than_a_block_is_refused(tmp_path: Path) -> None:
    text = SMR.replace("sustain: 0.5 s", "sustain: 20 s").replace("train: 180 s", "train: 20 s")
    with pytest.raises(YamlError, match="no training block is longer than 20 s") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, "20 s\n")
    _load(text.replace("sustain: 20 s", "sustain: 19 s"), tmp_path)


def test_names_of_control_conditions_are_kept_for_them(tmp_path: Path) -> None:
    assert RESERVED == PREFIX
    text = re.sub(r"\bsmr\b(?=[:,\]\n])", "control_smr", SMR)
    with pytest.raises(YamlError, match="kept for control conditions") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, "control_smr:")
    assert problem.allowed == "another name, as `smr`"


def test_a_preset_that_fills_nothing_is_refused(tmp_path: Path) -> None:
    text = SMR.replace("\nreward:", "\npreset: auto_reward_fixed_inhibit\nreward:")
    with pytest.raises(YamlError, match="changes nothing here") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, "preset:")


def test_none_is_an_empty_list_or_nothing_at_all(tmp_path: Path) -> None:
    text = re.sub(r"cautions:\n(  -.*\n)+", "cautions: none\n", SMR)
    text = re.sub(r"  refs:\n(    -.*\n)+", "  refs: none\n", text)
    text = re.sub(r"indication: .*", "indication: none\ntrial: none\nwatch: none", text)
    text = re.sub(r"inhibit:\n(  -.*\n)+", "inhibit: none\n", text)
    text = text.replace("needs:", "safety: {exclude: none}\nneeds:")
    found = _load(text, tmp_path).protocol
    assert (found.cautions, found.evidence.refs, found.indication) == ((), (), ())
    assert (found.inhibit, found.trial, found.safety.exclude) == ((), None, ())
    text = re.sub(r"reward:\n(  .*\n)+", "reward: none\n", text)
    assert _load(text, tmp_path).protocol.reward is None


@pytest.mark.parametrize("word", ["yes", "no", '"No"', "off", "none"])
def test_a_question_is_no_switch(word: str, tmp_path: Path) -> None:
    with pytest.raises(YamlError, match="`ask` is the question itself"):
        _load(SMR.replace('ask: "What did you do?"', f"ask: {word}"), tmp_path)


@pytest.mark.parametrize(
    ("session", "points_at"),
    [
        ("- {train: 60 s}\n  - {repeat: 200, blocks: [{rest: 1 s}]}", "200,"),
        ("- {repeat: 2, blocks: [{repeat: 150, blocks: [{train: 9 s}, {rest: 1 s}]}]}", "150,"),
        ("- {repeat: 3, blocks: [{repeat: 100, blocks: [{train: 60 s}]}]}", "3,"),
        (
            "- {repeat: 90, blocks: [{train: 60 s}]}\n  - {repeat: 120, blocks: [{rest: 9 s}]}",
            "120,",
        ),
    ],
)
def test_too_many_steps_are_told_at_the_repetition_that_makes_them(
    session: str, points_at: str, tmp_path: Path
) -> None:
    text = SMR[: SMR.index("session:")] + f"session:\n  - baseline\n  {session}\n"
    with pytest.raises(YamlError, match="more than 200 steps") as caught:
        _load(text, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == _place(text, points_at)


@pytest.mark.parametrize(
    ("safety", "told"),
    [
        ("rooms: [clinical, research, test]", "in clinical rooms, which the protocol it extends"),
        ("clinician: not needed", "without a clinician"),
        ("exclude: [seizures]", "does not exclude psychosis"),
    ],
)
def test_a_variant_that_is_less_careful_is_told(safety: str, told: str, tmp_path: Path) -> None:
    careful = "safety: {clinician: present, rooms: [research, test], exclude: [psychosis]}\nneeds:"
    (tmp_path / "careful.yaml").write_text(SMR.replace("needs:", careful), encoding="utf-8")
    child = "format: 2\nextends: ./careful.yaml\nname: mine\n"
    assert not _load(child, tmp_path).loosened
    loaded = _load(f"{child}safety: {{{safety}}}\n", tmp_path)
    (hint,) = loaded.loosened
    assert told in hint
    assert hint in loaded.hints
    assert len(_load(f"{child}safety: none\n", tmp_path).loosened) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("format: 1\nname: a\narms: []\nblinding: none\n", "a study, not a protocol"),
        ("format: 1\nname: a\nuse: test\nmains: 50 Hz\n", "a room, not a protocol"),
    ],
)
def test_a_file_of_another_kind_is_named(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told) as caught:
        _load(text, tmp_path)
    assert "neuroloop" in caught.value.fix


BESIDE = {  # measured for people and the report, not for the reward
    "alpha_theta": {"beta"},
    "alpha_up_ec": {"burst_rate", "burst_length", "burst_strength"},
    "faa": {"pct"},
    "source_pcc": {"alpha", "beta"},
}


def test_hints_of_the_library_are_about_the_rate_and_what_is_measured_beside() -> None:
    for name in library():
        for hint in hints(load(name, FEATURES).protocol):
            measured = [f for f in BESIDE.get(name, ()) if hint.startswith(f"`{f}` is measured")]
            mains = name == "source_pcc" and hint.startswith("The band of `gamma` holds 50 Hz")
            assert hint.startswith("A rate of") or measured or mains, f"{name}: {hint}"


def test_names_paths_and_what_is_missing(tmp_path: Path) -> None:
    by_name = load("smr_up", FEATURES)
    by_path = load(str(by_name.path), FEATURES)
    assert by_name.protocol == by_path.protocol
    assert by_name.sha256 == by_path.sha256
    with pytest.raises(InputError, match="did you mean `smr_up`"):
        load("smrup", FEATURES)
    with pytest.raises(InputError, match="not a file"):
        load(tmp_path / "none.yaml", FEATURES)
    with pytest.raises(InputError, match="not a file"):
        load(tmp_path, FEATURES)


def test_the_loaded_text_is_what_was_read(tmp_path: Path) -> None:
    loaded = _load(SMR, tmp_path)
    (tmp_path / "some.yaml").write_text("changed", encoding="utf-8")
    assert loaded.text == SMR


def test_check_needs_no_signal_library() -> None:
    code = (
        "import sys\n"
        "from engine.features import FEATURES\n"
        "from protocols.load import load\n"
        "from protocols.describe import as_text, describe\n"
        "from engine.room import load_room\n"
        "print(len(as_text(describe(load('faa', FEATURES).protocol))) > 1000)\n"
        "load_room('sim')\n"
        "print(sorted({'scipy', 'mne', 'mne_lsl', 'pygame', 'pylsl'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split("\n")[:2] == ["True", "[]"]


@st.composite
def _mutations(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(library()))
    text = (ROOT / "protocols" / "library" / f"{name}.yaml").read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 12)))
        words = st.sampled_from(
            ["{", "}", "[", "]", ":", ": ", "\n", "- ", "  ", "'", '"', "true", "null", "1", "-1",
             "1e9", "1e400 s", ".inf", "&a ", "*a", "!!str ", "<<: ", "%", "|", ">", "?", "#",
             "0 s", "fixed: 3", "repeat: 3", "[]", "{}", "\\", "é", "8-12 Hz", "nan Hz", "9" * 40]
        )  # fmt: skip
        text = text[:at] + draw(st.one_of(words, st.text(max_size=6))) + text[end:]
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=150, deadline=None)
@given(data=_mutations())
def test_fuzzed_library_text_never_raises_anything_else(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(data)
    try:
        loaded = load(path, FEATURES)
    except InputError:
        return
    assert Protocol.model_validate(resolved(loaded.protocol)) == loaded.protocol
