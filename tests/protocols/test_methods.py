"""The Methods paragraph: it claims what is true of the session, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from engine.features import FEATURES
from protocols.load import library, load
from protocols.methods import FACTS, methods_paragraph
from protocols.model import Shape, Threshold

LIBRARY = {name: load(name, FEATURES).protocol for name in ("smr_up", "faa")}


def a_filter(feature: str = "smr", **more: Any) -> dict[str, Any]:
    made = {
        "feature": feature,
        "band_hz": (12.0, 15.0),
        "fitted": True,
        "fit": "session",
        "reason": "",
        "delay_ms": 100.0,
        "taps_s": 2.0,
        "clean_s": 98.4,
        "target": "band",
        "reject_hz": None,
        "ssd": False,
    }
    return made | more


def test_methods_paragraph_says_what_is_not_known() -> None:
    text = methods_paragraph(LIBRARY["smr_up"], {})
    # A test session, a measured delay and a regression are there only if said so; alpha only if
    # the protocol asks for it.
    assert text.count("not known") == len(FACTS) - 4
    assert "test session" not in text
    assert "Wiener" not in text
    assert "fixed filters" not in text
    assert "individual alpha frequency was not known" in methods_paragraph(LIBRARY["faa"], {})


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
        "filters": [],
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


def test_fixed_filters_are_called_so() -> None:
    text = methods_paragraph(LIBRARY["smr_up"], {"filters": []})
    assert "Features were computed causally with fixed filters: smr: power in 12-15 Hz" in text
    assert "Wiener" not in text
    kept = a_filter(fitted=False, reason="only 3 s lie in clean stretches")
    text = methods_paragraph(LIBRARY["smr_up"], {"filters": [kept]})
    assert "Nothing was fitted to the person: only 3 s lie in clean stretches." in text


def test_fitted_filters_are_told_with_their_sources() -> None:
    filters = [
        a_filter(),
        a_filter("theta", band_hz=(4.0, 7.0), reject_hz=10.25, target="rhythm"),
        a_filter("high_beta", fitted=False, reason="no clean window"),
    ]
    facts = {"filters": filters, "mains_hz": 50.0, "estimator_delay_ms": 140.0}
    text = methods_paragraph(LIBRARY["smr_up"], facts | {"delay_measured": True})
    for part in (
        "Wiener 1949; compare Smetanin et al. 2020",
        "98 s of clean rest",
        "smr (12-15 Hz, for a delay of 100 ms, 2 s long)",
        "to follow the rhythm above the 1/f background",
        "nulls at 0 Hz, mains (50 Hz) and the person's alpha peak (10.2 Hz; theta)",
        "served high_beta (no clean window)",
        "140 ms (the lag at which its envelope correlated best",
    ):
        assert part in text
    for absent in ("SSD", "regressed", "Corcoran", "course"):
        assert absent not in text
    assert "correlated best" not in methods_paragraph(LIBRARY["smr_up"], facts)


def test_nulls_are_claimed_where_they_are() -> None:
    text = methods_paragraph(LIBRARY["smr_up"], {"filters": [a_filter()]})
    assert "exact nulls at 0 Hz and are scaled" in text  # mains not known
    wide = a_filter("gamma", band_hz=(45.0, 55.0))
    text = methods_paragraph(LIBRARY["smr_up"], {"filters": [wide], "mains_hz": 50.0})
    assert "exact nulls at 0 Hz and are scaled" in text  # mains inside the band


def test_spatial_filters_eyes_and_courses_are_told_where_true() -> None:
    made = [a_filter(ssd=True, fit="course")]
    text = methods_paragraph(LIBRARY["smr_up"], {"filters": made, "eog": "VEOG"})
    assert "SSD (Nikulin et al. 2011)" in text
    assert "Blinks were regressed out by VEOG" in text
    assert "in the first session of the course" in text


@pytest.mark.parametrize(
    ("alpha", "said"),
    [
        (
            {"used_hz": 10.24, "source": "measured", "kind": "paf", "n_channels": 3,
             "sites": ["Pz", "O1", "O2"]},
            "(peak alpha frequency, after Corcoran et al. 2018) was 10.2 Hz, from 3 posterior "
            "channels among Pz, O1, O2.",
        ),
        (
            {"used_hz": 10.0, "source": "fallback", "reason": "no peak."},
            "No valid individual alpha frequency was found (no peak); 10 Hz was used instead",
        ),
        (
            {"used_hz": 9.5, "source": "course"},
            "(9.5 Hz) was that of the course's first session.",
        ),
    ],
)  # fmt: skip
def test_the_individual_alpha_frequency(alpha: dict[str, Any], said: str) -> None:
    assert said in methods_paragraph(LIBRARY["faa"], {"alpha": alpha})


def test_the_schedule_is_told_as_it_was() -> None:
    protocol = LIBRARY["smr_up"]
    text = methods_paragraph(protocol, {})
    assert "The reward condition was smr above the value exceeded during 65 % of clean" in text
    assert "for 0.5 s, with theta below the value it stays below during 85 %" in text
    assert "after a reward none followed for 2 s" in text
    reward = protocol.reward
    assert reward is not None
    running = Threshold(method="running", success=0.65)
    moved = reward.model_copy(
        update={"threshold": running, "rule": "every_other", "shaping": Shape()}
    )
    text = methods_paragraph(protocol.model_copy(update={"reward": moved}), {})
    assert "The threshold of smr begins where 65 % of the clean baseline would have passed" in text
    assert "Drift guard: once it is 15 % lower" in text
    assert "Look at smr" not in text  # advice is not for a paper
    assert "Difficulty was shaped: between blocks" in text
    assert "Rewards were given by the rule `every_other`." in text


def test_a_level_alone_and_drawn_orders_are_told() -> None:
    protocol = LIBRARY["faa"]
    steps = tuple(
        s.model_copy(
            update={"shuffled": (1, i), "self_paced": True, "ask": "How?", "name": f"b{i}"}
        )
        if s.kind == "train"
        else s
        for i, s in enumerate(protocol.session)
    )
    plain = protocol.model_copy(update={"reward": None, "inhibit": (), "session": steps})
    text = methods_paragraph(plain, {})
    assert "Nothing was rewarded" in text
    assert "was drawn for each session from a recorded seed" in text
    assert "Blocks began when the participant was ready." in text
    assert "participants were asked: “How?”" in text
    assert "None" not in text


@pytest.mark.parametrize("name", library())
def test_every_protocol_of_the_library_has_its_paragraph(name: str) -> None:
    text = methods_paragraph(load(name, FEATURES).protocol, {})
    for leak in ("None", "{", "..", "uV2"):
        assert leak not in text
