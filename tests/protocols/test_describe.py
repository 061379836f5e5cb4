"""A protocol in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.features import DEFAULT_DELAY_S, FEATURES
from protocols.describe import GRADES, Section, as_text, describe
from protocols.load import library, load
from protocols.model import Edge, Feature, Protocol, Threshold
from protocols.phrases import DELAY_S, feature_words, leaves, made_for
from protocols.phrases import UNITS as WORDS
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


AGE = "How old the answer is when shown"


def with_features(name: str, **changes: Mapping[str, object]) -> Protocol:
    """Return a library protocol with some of its features changed."""
    protocol = LIBRARY[name]
    features = {
        k: f.model_copy(update=dict(changes.get(k, {}))) for k, f in protocol.features.items()
    }
    return protocol.model_copy(update={"features": features})


def test_how_old_the_answer_is_with_fixed_filters() -> None:
    changes = {k: {"fit": "fixed"} for k in ("smr", "theta", "high_beta")}
    protocol = with_features("smr_up", **changes)

    def age(**more: object) -> str:
        sections = describe(protocol, units=UNITS, **more)  # type: ignore[arg-type]
        return "\n".join(next(s for s in sections if s.title == AGE).lines)

    known = age(delays_s={"smr": 0.2124}, transport_ms=18.0)
    assert "Estimator, smr: 212 ms" in known
    assert "Estimator, theta: not known" in known
    assert "typically 18 ms" in known
    assert "measured in every session" in age()
    assert "fitted" not in age()


def test_how_old_the_answer_is_with_fitted_filters() -> None:
    fitted = _section("smr_up", AGE, delays_s={"smr": 0.2124})
    assert "Estimator, smr: asked for 100 ms (fitted to the baseline of each session" in fitted
    assert "212" not in fitted  # the fixed filter is not the one that will be used
    text = "\n".join(
        line
        for s in describe(with_features("faa", alpha_left={"delay_s": 0.2}))
        if s.title == AGE
        for line in s.lines
    )
    assert "alpha_right: asked for 100 ms" in text
    assert "alpha_left: asked for 200 ms" in text
    one = _section("faa", AGE)
    assert "that of alpha_right and alpha_left, asked for 100 ms" in one


def test_a_course_is_fitted_once() -> None:
    lines = as_text(describe(with_features("smr_up", smr={"fit": "course", "delay_s": 0.15})))
    assert "asked for 150 ms (fitted once per course; measured in its first session)" in lines
    assert "Band filter of smr: fitted to the first session of a person's course" in lines


EVERYTHING = """
format: 1
name: everything
title: Everything
evidence: {grade: X, summary: None whatever.}
summary: All kinds at once.
needs: {channels: [F3, F4, Cz, C3, Pz, EOG], rate: at least 250 Hz}
condition: {reference: [average], high_pass: 1 Hz, mains: notch, eog: regress}
features:
  left:  {kind: power, at: [F3], band: iaf-2 .. iaf+2, smooth: 2 s, delay: 150 ms}
  right: {kind: power, at: [F4], band: iaf .. iaf+2, target: rhythm}
  index: {kind: asymmetry_index, of: [right, left]}
  share: {kind: share_above, of: [index], window: 30 s}
  amp:   {kind: amplitude, at: [Pz], band: iaf-2 .. iaf, spatial: ssd}
  rate:  {kind: burst_rate, of: [amp]}
  long:  {kind: burst_duration, of: [amp]}
  high:  {kind: burst_amplitude, of: [amp]}
  coh:   {kind: coherence, at: [F3, Pz], band: 8-12 Hz}
  wpl:   {kind: wpli, at: [F3, Pz], band: 4-8 Hz, window: 4 s}
  zed:   {kind: z, of: [index]}
  above: {kind: periodic_power, at: [Cz], band: 8-12 Hz, fit: fixed}
  slow:  {kind: slow_potential, at: [Cz]}
  lap:   {kind: power, at: [C3], band: 12-15 Hz, spatial: laplacian}
  wts:   {kind: power, at: [C3], band: 12-15 Hz, spatial: {C3: 1, F3: -0.5, Pz: -0.5}}
  rel:   {kind: relative_power, at: [Cz, Pz], band: iaf-2 .. iaf+2}
baseline:
  - {name: closed, lasts: 120 s, eyes: closed, for: [iaf]}
  - {name: open, lasts: 120 s, eyes: open, learn: [share, rate, coh, zed]}
reward: {feature: share, above: {baseline: percentile, success: 65 %}}
inhibit:
  - {feature: coh, below: {baseline: percentile, success: 85 %}}
  - {feature: rate, below: {baseline: percentile, success: 85 %}}
feedback:
  level: {feature: zed, from: {baseline: median}, to: {baseline: median, plus: 2 mad}}
  picture: orb
session: [baseline, {train: 180 s}]
"""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("describe") / "everything.yaml"
    path.write_text(EVERYTHING, encoding="utf-8")
    windows_s = {"share": 30.0, "rate": 60.0, "coh": 2.0, "slow": 0.5}
    return as_text(describe(load(Path(path), FEATURES).protocol, units=UNITS, windows_s=windows_s))


@pytest.mark.parametrize(
    "said",
    [
        "left: power from 2 Hz below to 2 Hz above the individual alpha frequency at F3, smoothed",
        "right: power from the individual alpha frequency to 2 Hz above it at F4",
        "index: amplitude of right minus that of left, over their sum.",
        "share: share of clean time over 30 s in which index is above zero.",
        "amp: amplitude from 2 Hz below the individual alpha frequency up to it at Pz, through a "
        "spatial filter fitted to the baseline",
        "rate: bursts of amp in a minute of clean time, counted over 60 s.",
        "coh: coherence in 8-12 Hz between F3 and Pz over 2 s, less what chance gives",
        "wpl: weighted phase lag index in 4-8 Hz between F3 and Pz over 4 s",
        "zed: index in robust standard deviations (1.4826 MAD) from its resting median.",
        "above: power in 8-12 Hz above the 1/f background at Cz, in µV².",
        "slow: slow potential at Cz: mean over 0.5 s minus the mean of the 2 s before it, in µV.",
        "lap: power in 12-15 Hz at C3, each site less its neighbours (Laplacian), in µV².",
        "wts: power in 12-15 Hz at C3, through the weights C3 +1, F3 -0.5 and Pz -0.5",
        "rel: mean share of the band from 2 Hz below to 2 Hz above the individual alpha frequency "
        "in 1-40 Hz power at Cz and Pz.",
        "Band filter of right: fitted to the baseline of each session to follow what stands out "
        "of the 1/f background, for a delay of 100 ms.",
        "Band filter of above: fixed, the same for everybody.",
        "The individual alpha frequency is read from the baseline `closed`",
        "Without a valid alpha peak 10 Hz stands in",
        "Blinks are regressed out of every trained channel by the EOG electrodes",
        "Estimator, share: right: asked for 100 ms (fitted to the baseline of each session; "
        "measured then) and left: asked for 150 ms",
        "and half its window of 30 s beyond that",
        "Estimator, rate: that of amp, asked for 100 ms",
        "half its window of 60 s beyond that",
    ],
)
def test_every_new_kind_in_words(everything: str, said: str) -> None:
    assert said in everything


@pytest.mark.parametrize("kind", FEATURES)
def test_no_kind_is_left_without_words(kind: str) -> None:
    k = FEATURES[kind]
    feature = Feature.model_construct(
        kind=kind,
        at=("F3", "P3") if "at" in k.needs else (),
        of=("one", "two")[: k.n_parts],
        band_hz=(8.0, 12.0) if "band" in k.needs else None,
    )
    words = feature_words("x", feature, 2.0)
    new = feature.model_copy(update={"kind": "brand_new"})
    assert words != feature_words("x", new, 2.0).replace("brand_new", kind)
    assert "None" not in words
    assert k.unit in WORDS


def test_only_what_can_be_fitted_is_said_to_be() -> None:
    assert DELAY_S == DEFAULT_DELAY_S
    made = made_for(with_features("smr_up", high_beta={"band_hz": (4.0, 30.0)}))
    assert made == {"smr": ("session", 0.1, "band"), "theta": ("session", 0.1, "band")}
    assert list(leaves(LIBRARY["faa"], "asymmetry")) == ["alpha_right", "alpha_left"]
    assert list(leaves(LIBRARY["faa"], "nobody")) == []


def test_cred_nf_items() -> None:
    assert "3b (the instruction" in _section("faa", "CRED-nf")
    assert "19 of 24 items" in _section("faa", "CRED-nf")
    silent = tuple(s.model_copy(update={"say": None}) for s in LIBRARY["faa"].session[:-2])
    text = as_text(describe(LIBRARY["faa"].model_copy(update={"session": silent})))
    assert "3b stays open" in text
    assert "no transfer block" in text


def test_as_text_indents_under_headings() -> None:
    assert as_text([Section("A", ("b", "c")), Section("D", ())]) == "A\n  b\n  c\n\nD"
