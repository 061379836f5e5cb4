"""A protocol in sentences."""

from __future__ import annotations

import math

import pytest

from engine.features import FEATURES
from protocols.describe import FACTS, GRADES, Section, as_text, describe, methods_paragraph
from protocols.load import library, load
from protocols.model import Edge, Threshold
from protocols.plan import expand

LIBRARY = {name: load(name, FEATURES).protocol for name in library()}
UNITS = {name: kind.unit for name, kind in FEATURES.items()}


def _section(name: str, title: str, **more: object) -> str:
    sections = describe(LIBRARY[name], units=UNITS, **more)  # type: ignore[arg-type]
    return "\n".join(next(s for s in sections if s.title == title).lines)


@pytest.mark.parametrize("name", library())
def test_every_question_is_answered(name: str) -> None:
    titles = [s.title for s in describe(LIBRARY[name])]
    assert titles[:10] == [
        LIBRARY[name].title,
        "Evidence",
        "What is measured",
        "What is rewarded",
        "What the person perceives",
        "What can pause it",
        "How long it lasts",
        "What it needs",
        "How old the answer is when shown",
        "CRED-nf",
    ]
    text = as_text(describe(LIBRARY[name], units=UNITS))
    for leak in ("None", "_s=", "uV2", "()", "  .", "{", "}"):
        assert leak not in text


def test_evidence_in_words() -> None:
    assert GRADES["B-"] in _section("tbr_down", "Evidence")
    assert "144 children" in _section("tbr_down", "Evidence")


def test_what_is_measured_with_units() -> None:
    measured = _section("tbr_down", "What is measured")
    assert "theta: power in 4-8 Hz at Cz, smoothed over 2 s, in µV²." in measured
    assert "tbr: theta divided by beta." in measured
    assert "ears, mastoids, average or as recorded" in measured
    assert "asymmetry: ln alpha_right minus ln alpha_left." in _section("faa", "What is measured")


def test_thresholds_in_words() -> None:
    rewarded = _section("smr_up", "What is rewarded")
    assert "smr above the value exceeded during 65 % of clean baseline time" in rewarded
    assert "theta is below the value it stays below during 85 % of clean" in rewarded
    assert "all would hold 47%" in rewarded  # .65 x .85 x .85
    fixed = Threshold(method="fixed", value=12.0, unit="uV2")
    reward = LIBRARY["faa"].reward.model_copy(update={"threshold": fixed})
    protocol = LIBRARY["faa"].model_copy(update={"reward": reward})
    assert "above 12 µV²," in as_text(describe(protocol))


def test_level_in_words() -> None:
    assert (
        "The level is 0 at 1 MAD above the resting median of tbr and 1 at 2 MAD below the resting "
        "median, smoothed over 0.3 s." in _section("tbr_down", "What the person perceives")
    )
    level = LIBRARY["faa"].feedback.level.model_copy(
        update={"start": Edge(fixed=-0.2), "end": Edge()}
    )
    feedback = LIBRARY["faa"].feedback.model_copy(update={"level": level})
    text = as_text(describe(LIBRARY["faa"].model_copy(update={"feedback": feedback})))
    assert "0 at -0.2 of asymmetry and 1 at the resting median" in text


def test_what_can_pause_it() -> None:
    assert "A blink: not watched" in _section("alpha_up_ec", "What can pause it")
    assert "Muscle tension at F3 and F4." in _section("faa", "What can pause it")
    assert "Fp1, Fp2 or EOG" in _section("faa", "What can pause it")


def test_how_long_it_lasts() -> None:
    lasts = _section("faa", "How long it lasts")
    assert lasts.startswith("30 min 45 s")
    assert "6 x training with feedback, 3 min, eyes open" in lasts
    assert "must contain 1 min of clean signal" in lasts
    short = _section("faa", "How long it lasts", plan=expand(LIBRARY["faa"], 60.0))
    assert short.startswith("55 s")


def test_how_old_the_answer_is() -> None:
    age = "How old the answer is when shown"
    known = _section("smr_up", age, delays_s={"smr": 0.2124}, transport_ms=18.0)
    assert "Estimator, smr: 212 ms" in known
    assert "Estimator, theta: not known" in known
    assert "typically 18 ms" in known
    assert "measured in every session" in _section("smr_up", age)


def test_cred_nf_items() -> None:
    assert "3b (the instruction" in _section("faa", "CRED-nf")
    assert "19 of 24 items" in _section("faa", "CRED-nf")
    silent = tuple(s.model_copy(update={"say": None}) for s in LIBRARY["faa"].session[:-2])
    text = as_text(describe(LIBRARY["faa"].model_copy(update={"session": silent})))
    assert "3b stays open" in text
    assert "no transfer block" in text


def test_methods_paragraph_says_what_is_not_known() -> None:
    text = methods_paragraph(LIBRARY["smr_up"], {})
    assert text.count("not known") == len(FACTS) - 1  # a test session is one only if said so
    assert "test session" not in text


def test_methods_paragraph_with_facts() -> None:
    facts = {
        "amplifier": "an amplifier",
        "n_channels": 19,
        "rate_hz": 250.0,
        "reference": "linked ears",
        "mains_hz": 50,
        "software": "Neuroloop 0.1.0",
        "estimator_delay_ms": 212.34,
        "transport_ms": 17.9,
        "trained_clean_s": 1071.5,
        "gated_share": 0.0834,
        "test_session": True,
    }
    text = methods_paragraph(LIBRARY["smr_up"], facts)
    assert "not known" not in text
    assert text.startswith("This was a shortened test session")
    for part in (
        "19 channels, 250 Hz",
        "linked ears",
        "212 ms",
        "17.9 ms",
        "8.34 %",
        "mains (50 Hz)",
    ):
        assert part in text
    assert "6 blocks of 3 min" in text
    assert "not known" in methods_paragraph(LIBRARY["smr_up"], facts | {"gated_share": math.nan})


def test_as_text_indents_under_headings() -> None:
    assert as_text([Section("A", ("b", "c")), Section("D", ())]) == "A\n  b\n  c\n\nD"
