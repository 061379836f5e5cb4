"""A protocol in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.crednf import ITEMS
from engine.features import DEFAULT_DELAY_S, FEATURES
from protocols.describe import CRED_NF, GRADES, Section, as_text, cred_nf, describe
from protocols.load import library, load
from protocols.model import Edge, Feature, Protocol, Rule, Shape, Threshold, Trial
from protocols.phrases import (
    DELAY_S,
    adapting_words,
    feature_words,
    joint_share,
    leaves,
    made_for,
    rule_words,
    shape_words,
    trial_words,
)
from protocols.phrases import UNITS as WORDS
from protocols.plan import expand

LIBRARY = {name: load(name, FEATURES).protocol for name in library()}
UNITS = {name: kind.unit for name, kind in FEATURES.items()}
SCALES = {name: kind.scale for name, kind in FEATURES.items()}


def _section(name: str, title: str, **more: object) -> str:
    sections = describe(LIBRARY[name], units=UNITS, **more)  # type: ignore[arg-type]
    return "\n".join(next(s for s in sections if s.title == title).lines)


QUESTIONS = (
    "Evidence",
    "What is measured",
    "What is rewarded",
    "What the person perceives",
    "What can pause it",
    "How long it lasts",
    "What it needs",
    "How old the answer is when shown",
    "CRED-nf",
)


@pytest.mark.parametrize("name", library())
def test_every_question_is_answered(name: str) -> None:
    titles = [s.title for s in describe(LIBRARY[name])]
    assert titles[0] == LIBRARY[name].title
    assert [t for t in titles if t in QUESTIONS] == list(QUESTIONS)
    text = as_text(describe(LIBRARY[name], units=UNITS, scales=SCALES))
    for leak in ("None", "_s=", "uV2", "()", "  .", "{", "}", "..\n", ": ."):
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
    assert "smr 65 %, theta 85 %, high_beta 85 %" in rewarded
    assert "all would hold 47 % of clean resting time, the product" in rewarded  # .65 x .85 x .85
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
    told = _section("smr_up", "CRED-nf")
    assert "3b (the instruction" in told
    assert "3d (online processing" in told
    assert "From the study file: 1a (registration beforehand); 1b" in told
    silent = tuple(
        s.model_copy(update={"say": None, "ask": None})
        for s in LIBRARY["faa"].session
        if s.kind != "transfer"
    )
    text = as_text(describe(LIBRARY["faa"].model_copy(update={"session": silent})))
    assert "20 of 24 items are not answered" in text
    assert "3b (the instruction the person is given) stays open: no block has a `say`." in text
    assert "3c (strategies that participants report) stays open: no block has an `ask`." in text
    assert "no transfer block" in text


def test_every_item_of_the_checklist_is_named() -> None:
    assert list(CRED_NF) == list(ITEMS)
    items = cred_nf(LIBRARY["smr_up"])
    assert [i.id for i in items] == list(ITEMS)
    assert {"3d", "4a", "4b", "4c"} <= {i.id for i in items if i.answered}
    assert all(i.words and i.by in ("protocol", "study", "forms", "recordings") for i in items)


# ---------------------------------------------------------------- the newer language


def rule(text: Mapping[str, object], direction: str = "above", **more: object) -> Rule:
    threshold = Threshold.model_validate(text)
    return Rule(feature="x", direction=direction, threshold=threshold, **more)  # type: ignore[arg-type]


RUNNING = {"method": "running", "success": 0.65}
BLOCK = {"method": "block", "success": 0.7}
STAIRS = {"method": "staircase", "success": 0.65, "step_mad": 0.05}


@pytest.mark.parametrize(
    ("text", "direction", "said"),
    [
        ({"method": "z"}, "above", "x above the mean of the clean baseline"),
        ({"method": "z", "plus_sd": 0.5}, "above", "the clean baseline plus 0.5 SD"),
        ({"method": "z", "plus_sd": -0.5}, "below", "the clean baseline minus 0.5 SD"),
        (RUNNING, "above", "x above the value exceeded during 65 % of the last 120 s of clean"),
        (BLOCK, "below", "x below the value it stays below during 70 % of the clean time of the "
         "block before"),
        (STAIRS, "above", "x above a staircase that settles where this holds 65 % of clean"),
        ({"method": "fixed", "value": 0.0}, "above", "x above 0"),
    ],
)  # fmt: skip
def test_every_threshold_in_words(text: dict[str, object], direction: str, said: str) -> None:
    assert said in rule_words(rule(text, direction))


def test_hysteresis_is_on_the_wrong_side() -> None:
    fixed = {"method": "fixed", "value": 2.0}
    up = rule_words(rule(fixed, hysteresis_mad=0.2))
    assert up == "x above 2 (once it holds, until x is 0.2 MAD below that)"
    assert "0.2 MAD above that" in rule_words(rule(fixed, "below", hysteresis_mad=0.2))


def test_thresholds_that_follow_the_person_are_said_to_prove_nothing() -> None:
    for text in (RUNNING, BLOCK, STAIRS):
        said = " ".join(adapting_words(rule(text), "ln"))
        assert "a steady reward rate is not learning" in said
        assert "Drift guard: once it is 15 % lower than where it began" in said
    assert "by at most 2 % of itself" in " ".join(adapting_words(rule(RUNNING), "ln"))
    assert "at most 0.02 MAD of rest" in " ".join(adapting_words(rule(RUNNING), "linear"))
    assert "once it is 0.3 MAD of rest higher" in " ".join(
        adapting_words(rule(RUNNING, "below"), "linear")
    )
    assert "18 % higher" in " ".join(adapting_words(rule(RUNNING, "below"), "ln"))  # 1 / 0.85
    assert "less than 60 s" in " ".join(adapting_words(rule(BLOCK)))
    assert "harder by 0.05 MAD" in " ".join(adapting_words(rule(STAIRS)))
    assert "easier by 0.0929 MAD" in " ".join(adapting_words(rule(STAIRS)))  # .05 x .65 / .35
    assert adapting_words(rule({"method": "percentile", "success": 0.65})) == []
    frozen = " ".join(adapting_words(rule(RUNNING | {"freeze_after_s": 30.0})))
    assert "After 30 s of clean training it stays where it is." in frozen
    assert "not learning" not in frozen


def test_the_joint_share_is_a_product_or_unknown() -> None:
    half = rule({"method": "percentile", "success": 0.5})
    assert joint_share([half, half]) == 0.25
    assert joint_share([half, rule({"method": "z"})]) is None


NEWER = """
format: 2
name: newer
title: Everything newer
indication: [attention, sleep]
evidence: {grade: X, summary: None whatever.}
summary: The newer language at once.
safety: {clinician: present, rooms: [research, test], exclude: [psychosis, epilepsy]}
needs: {channels: [Cz, Pz, Fp1, Fp2], rate: at least 250 Hz}
condition: {reference: [as recorded], high_pass: 1 Hz, mains: notch}
features:
  smr:   {kind: power, at: [Cz], band: 12-15 Hz}
  theta: {kind: power, at: [Cz], band: 4-7 Hz}
  alpha: {kind: amplitude, at: [Pz], band: 8-12 Hz}
  slow:  {kind: amplitude, at: [Pz], band: 4-8 Hz}
  delta: {kind: power, at: [Pz], band: 1.5-4 Hz}
  sum:   {kind: weighted_sum, of: [smr, theta], weights: [1, -0.5]}
  z1:    {kind: z, of: [smr]}
  z2:    {kind: z, of: [theta]}
  near:  {kind: share_within, of: [z1, z2], within: 1.5}
baseline:
  - {name: rest, lasts: 120 s, eyes: open, needs_clean: 60 s,
     learn: [smr, theta, alpha, delta, sum, near, slow]}
preset: auto_reward_fixed_inhibit
reward:
  all:
    - {feature: smr, above: {success: 65 %}, hysteresis: 0.2 mad}
    - {feature: sum, above: {baseline: z, plus: 0.5 sd}}
  sustain: 0.5 s
inhibit:
  - {feature: theta, below: {success: 85 %}}
watch:
  sleep: {theta: slow, delta: delta}
  crossover: {theta: slow, alpha: alpha}
feedback:
  level: {feature: smr, range: dynamic, grows: up, smooth: 0 s}
  picture: bar
session:
  - baseline
  - {train: 120 s, say: "Go.", self_paced: yes, ask: "What did you do?"}
  - shuffle:
    - {train: 120 s, name: one}
    - {transfer: 120 s, name: two}
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Protocol:
    path = tmp_path_factory.mktemp("describe") / "newer.yaml"
    path.write_text(NEWER, encoding="utf-8")
    return load(path, FEATURES).protocol


@pytest.mark.parametrize(
    "said",
    [
        "Used with: attention and sleep.",
        "Not for people with psychosis or epilepsy.",
        "A clinician must be present",
        "Runs in research and test rooms only; a clinical room refuses it.",
        "sum: sum of 1 x smr and -0.5 x theta, powers, amplitudes and ratios as logarithms.",
        "near: share of z1 and z2 that lie within ±1.5 standard deviations at the same moment.",
        "All of these at the same time, held for 0.5 s: smr above the value exceeded during 65 % "
        "of the last 120 s of clean training time (once it holds, until smr is 0.2 MAD below that)"
        "; sum above the mean of the clean baseline plus 0.5 SD",
        "After a reward: then no further reward for 2 s.",
        "Only while theta is below the value it stays below during 85 % of the last 60 s",
        "how often all of it holds is not known beforehand, because the threshold of sum asks",
        "Preset `auto_reward_fixed_inhibit`",
        "After 30 s of clean training it stays where it is.",
        "a soft tone wakes the person",
        "Crossover: how long slow exceeds alpha",
        "The level is smr within a range that follows the person, not smoothed",
        "Asked after the block: “What did you do?”",
        "1 block begins when the person or the operator says so",
        "The order of one and two is drawn for each session",
        "training `one` with feedback, 2 min",
        "3c (strategies that participants report)",
    ],
)
def test_the_newer_language_in_words(newer: Protocol, said: str) -> None:
    assert said in as_text(describe(newer, units=UNITS, scales=SCALES))


def test_shaping_in_words() -> None:
    reward = LIBRARY["faa"].reward
    assert reward is not None
    said = shape_words(reward, Shape())
    assert said.startswith("Between blocks, the share of success asked of asymmetry falls by 5 per")
    assert "more than 80 % success" in said
    fixed = Threshold(method="fixed", value=12.0, unit="uV2")
    said = shape_words(reward.model_copy(update={"threshold": fixed}), Shape(every="session"))
    assert said.startswith("From session to session, the threshold of asymmetry becomes 5 % harder")


def test_without_a_reward_and_with_another_rule() -> None:
    text = as_text(describe(LIBRARY["faa"].model_copy(update={"reward": None, "inhibit": ()})))
    assert "Nothing: the person sees or hears the level alone" in text
    reward = LIBRARY["faa"].reward
    assert reward is not None
    other = reward.model_copy(update={"rule": "every_other", "options": {"n": 2.0}})
    protocol = LIBRARY["faa"].model_copy(update={"reward": other})
    text = as_text(describe(protocol, reward_docs={"every_other": "Every second one."}))
    assert "Reward rule `every_other` (with n 2): Every second one." in text
    assert "Reward rule `every_other` (with n 2)." in as_text(describe(protocol))


TRIAL = Trial.model_validate(
    {
        "feature": "v",
        "tasks": [
            {"name": "negativity", "direction": "below", "say": "Activate.",
             "threshold": {"method": "fixed", "value": 0.0, "unit": "uV"}},
            {"name": "positivity", "direction": "above", "say": "Calm down.",
             "threshold": {"method": "fixed", "value": 0.0, "unit": "uV"}},
        ],
    }
)  # fmt: skip


def test_trials_in_words() -> None:
    said = " ".join(trial_words(TRIAL))
    assert "A trial lasts 10.5 s: 2 s of baseline, 6 s of task, 1.5 s for the reward" in said
    assert "`negativity` (below 0 µV, told “Activate.”)" in said
    assert "equally often and in random order" in said
    assert "further than 200 µV from its baseline, does not count" in said


def test_norms_sources_and_options_in_words() -> None:
    z = Feature.model_construct(kind="z", of=("alpha",), norms="mine.csv")
    assert "by the norms in mine.csv" in feature_words("z", z)
    pcc = Feature.model_construct(kind="power", at=("Cz",), band_hz=(8.0, 12.0), spatial="pcc")
    assert "posterior cingulate cortex (pcc)" in feature_words("p", pcc)
    own = Feature.model_construct(kind="slew", of=("alpha",), options={"over_s": 2.0})
    assert feature_words("s", own) == "s: slew of alpha, with over_s 2"


def test_as_text_indents_under_headings() -> None:
    assert as_text([Section("A", ("b", "c")), Section("D", ())]) == "A\n  b\n  c\n\nD"
