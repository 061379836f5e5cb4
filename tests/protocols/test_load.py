"""Protocol files: every mistake is found, at its place, before the person sits down."""

from __future__ import annotations

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

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken"
SMR = (ROOT / "protocols" / "library" / "smr_up.yaml").read_text(encoding="utf-8")
ALPHA = (ROOT / "protocols" / "library" / "alpha_up_ec.yaml").read_text(encoding="utf-8")
TBR = (ROOT / "protocols" / "library" / "tbr_down.yaml").read_text(encoding="utf-8")


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
        ("- repeat: 6", "- repeat: 150", "session:", "more than 200"),
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
    ],
)
def test_hints_are_no_errors(text: str, words: str, tmp_path: Path) -> None:
    loaded = _load(text, tmp_path)
    assert any(words in hint for hint in loaded.hints)


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
            assert hint.startswith("A rate of") or measured, f"{name}: {hint}"


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
