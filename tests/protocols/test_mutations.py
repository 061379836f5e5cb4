# ruff: noqa: E501 - a table reads best with one line for each case
"""One mistake in a protocol file: one problem, at its line and column, in a useful sentence.

In the tables below `^` marks, within the text as mutated, where the problem is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import Map, Seq, Strict, parse
from engine.errors import InputError, Problem, YamlError
from engine.features import FEATURES, FeatureKind, Option
from protocols import model, rules, steps
from protocols.load import Loaded, load
from protocols.reward import Schedule
from protocols.rewards import REWARDS, RewardKind

LEAKY = FeatureKind(
    name="leaky",
    unit="1",
    scale="linear",
    needs=frozenset({"of"}),
    may=frozenset({"with"}),
    doc="A kind from another package.",
    formula="none",
    delay="none",
    parts=frozenset({"power"}),
    n_parts=1,
    options={"over_s": Option(1.0, 0.5, 5.0, "s", "Time constant.")},
)
KINDS = {**FEATURES, "leaky": LEAKY}
RULES = {
    **REWARDS,
    "twice": RewardKind(
        "twice",
        "A rule from another package.",
        lambda sustain_s, refractory_s, grid_hz, _: Schedule(sustain_s, refractory_s, grid_hz),
        {"gap_s": Option(1.0, 0.5, 5.0, "s", "Time between two rewards.")},
    ),
}
WHOLE = Path(__file__).parent / "whole"
NORMS = (WHOLE / "norms.csv").read_text(encoding="utf-8")
POWERS = (WHOLE / "powers.yaml").read_text(encoding="utf-8")
TRIALS = (WHOLE / "trials.yaml").read_text(encoding="utf-8")
PRESET = (WHOLE / "preset.yaml").read_text(encoding="utf-8")
CHILD = (WHOLE / "child.yaml").read_text(encoding="utf-8")
BASES = {"powers": POWERS, "trials": TRIALS, "preset": PRESET, "child": CHILD}


def read(folder: Path, text: str, name: str = "mutated") -> Loaded:
    (folder / "norms.csv").write_text(NORMS, encoding="utf-8")
    if not (folder / "preset.yaml").exists():
        (folder / "preset.yaml").write_text(PRESET, encoding="utf-8")
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, KINDS, rewards=RULES)


def problems(folder: Path, text: str) -> tuple[Problem, ...]:
    with pytest.raises(YamlError) as caught:
        read(folder, text)
    return caught.value.problems


def place(text: str, at: int) -> tuple[int, int]:
    """Return line and column, 1-based, of a position in a text."""
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without its marks, and where they were."""
    parts = text.split("^")
    ends = [sum(map(len, parts[: i + 1])) for i in range(len(parts) - 1)]
    plain = "".join(parts)
    return plain, [place(plain, end) for end in ends]


def replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


@pytest.mark.parametrize("name", BASES)
def test_what_is_mutated_is_right_before(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, BASES[name]).protocol.name == name


# ---------------------------------------------------------------- a typo in every key


def _keys(node: object, way: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(node, Map):
        for key, value in node.items():
            yield (*way, key)
            yield from _keys(value, (*way, key))
    elif isinstance(node, Seq):
        for i, value in enumerate(node):
            yield from _keys(value, (*way, i))


def _is_name(way: tuple[str | int, ...]) -> bool:
    """Return whether a key is a name that somebody chose, not a word of the language."""
    return (way[0] == "features" and len(way) == 2) or way[-2:-1] in (("spatial",), ("with",))


WAYS = [
    pytest.param(name, way, id=f"{name}:{'.'.join(map(str, way))}")
    for name, text in BASES.items()
    for way in _keys(parse(text.encode(), name).root)
    if not _is_name(way)
]


def _typo(key: str) -> str:
    """Swap the second and third letter, or add one to what is short."""
    return f"{key[0]}{key[2]}{key[1]}{key[3:]}" if len(key) > 3 and key[1] != key[2] else f"{key}q"


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_a_misspelt_key_is_one_problem_and_the_right_key_is_named(
    name: str, way: tuple[str | int, ...], tmp_path: Path
) -> None:
    text = BASES[name]
    node = parse(text.encode(), name).root
    for step in way:
        node = node[step]
    at = node.key
    assert at is not None
    lines = text.split("\n")
    line, key = lines[at.line - 1], str(way[-1])
    typo = _typo(key)
    assert line[at.column - 1 :].startswith(key)
    lines[at.line - 1] = line[: at.column - 1] + typo + line[at.column - 1 + len(key) :]
    (problem,) = problems(tmp_path, "\n".join(lines))
    assert (problem.line, problem.column) == (at.line, at.column), str(problem)
    if key == "blocks":
        assert problem.what == "`bolcks` does not belong beside `repeat`"
    else:
        assert problem.what == f"unknown key `{typo}`; did you mean `{key}`?"


def test_the_files_above_have_every_key_of_the_language() -> None:
    wanted = {
        key
        for module in (model, rules, steps)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Strict)
        for key in one.yaml_keys()
    }
    seen = {str(way[-1]) for text in BASES.values() for way in _keys(parse(text.encode(), "").root)}
    assert wanted - seen == set()


# ---------------------------------------------------------------- everything else

P65 = "{baseline: percentile, success: 65 %}"
TRANSFER = "  - {transfer: 180 s}\n"
MUTATED: dict[str, list[tuple[str, str, str]]] = {
    "powers": [
        # units and ranges
        ("smooth: 1 s", "smooth: ^1 Hz", "`1 Hz` is a frequency, not a time"),
        ("smooth: 1 s", "smooth: ^1", "`1` has no unit; a time needs one"),
        ("smooth: 1 s", "smooth: ^90 s", "90 s is out of range"),
        ("smooth: 1 s", "^smooth: ", "`smooth` has no value"),
        ("sustain: 0.5 s", "sustain: ^0,5 s", "decimals are written with a point"),
        ("band: 12-15 Hz", "band: ^12-15", "`12-15` has no unit; a band needs one"),
        ("band: 12-15 Hz", "band: ^15-12 Hz", "upside down"),
        ("band: 12-15 Hz", "band: ^12-15 uV", "`12-15 uV` is a voltage, not a band"),
        ("band: 12-15 Hz", "band: ^12-12.5 Hz", "0.5 Hz wide is too narrow"),
        ("band: 12-15 Hz", "band: ^100-120 Hz", "120 Hz is too high for `needs: rate`, 256 Hz"),
        ("band: 4-7 Hz", "band: ^0.2-7 Hz", "high-pass of 0.5 Hz removes part"),
        ("total: 2-30 Hz", "total: ^iaf-2 .. iaf+2", "here the edges are fixed"),
        ("band: 8-12 Hz, total: 2-30 Hz", "band: ^8-12 Hz, total: 9-30 Hz", "outside the total"),
        ("delay: 100 ms", "delay: ^100", "has no unit"),
        ("delay: 100 ms", "delay: ^500 ms", "0.5 s is out of range"),
        ("target: rhythm", "target: ^rythm", "`rythm` is not possible here"),
        ("fit: session", "fit: ^always", "`always` is not possible here"),
        ("limit: 90 uV", "limit: ^90 Hz", "a frequency, not a voltage"),
        ("limit: 90 uV", "limit: ^90000 uV", "out of range"),
        ("limit: 0.1 g", "limit: ^0.1 uV", "a voltage, not an acceleration"),
        ("uV, freeze: 500 ms", "uV, freeze: ^50 s", "50 s is out of range"),
        ("rate: at least 256 Hz", "rate: ^at least 256", "has no unit"),
        ("rate: at least 256 Hz", "rate: ^1 MHz", "unknown unit"),
        ("high_pass: 0.5 Hz", "high_pass: ^0.5 s", "a time, not a frequency"),
        ("hysteresis: 0.2 mad", "hysteresis: ^0.2 sd", "standard deviation, not a multiple of the median"),
        ("hysteresis: 0.2 mad", "hysteresis: ^9 mad", "9 mad is out of range"),
        ("plus: 0.5 sd", "plus: ^0.5 mad", "not a multiple of the standard deviation"),
        ("plus: -1 mad", "plus: ^-1 sd", "not a multiple of the median absolute deviation"),
        ("success: 65 %", "success: ^65", "`65` has no unit; a share needs one"),
        ("success: 65 %", "success: ^65 s", "a time, not a share"),
        ("success: 65 %", "success: ^99 %", "99 % is out of range"),
        ("sustain: 0.5 s", "sustain: ^5 min", "300 s is out of range"),
        ("refractory: 2 s", "refractory: ^2", "has no unit"),
        ("over: 120 s", "over: ^30 s", "30 s is out of range"),
        ("freeze_after: 30 s", "freeze_after: ^3 s", "3 s is out of range"),
        ("drift_guard: 15 %", "drift_guard: ^1 %", "1 % is out of range"),
        ("drift_guard: 20 %", "drift_guard: ^200 %", "200 % is out of range"),
        ("drift_guard: 25 %", "drift_guard: ^25", "has no unit"),
        ("staircase: 0.05 mad", "staircase: ^5 mad", "5 mad is out of range"),
        ("staircase: 0.05 mad", "staircase: ^fast", "`fast` cannot be read"),
        ("harder: 5 %", "harder: ^50 %", "50 % is out of range"),
        ("within: 2", "within: ^20", "no range of z scores"),
        ("within: 2", "within: ^2 sd", "without unit"),
        ("{over_s: 2 s}", "{over_s: ^20 s}", "over_s of 20 is out of range"),
        ("{over_s: 2 s}", "{over_s: ^2 years}", "unknown unit"),
        ("{gap_s: 2 s}", "{gap_s: ^0.1 s}", "gap_s of 0.1 is out of range"),
        # references to what is not there
        ("{kind: power, at: [Cz]", "{kind: ^pwer, at: [Cz]", "did you mean `power`"),
        ("at: [Cz], band", "^at: [C3], band", "site C3 is used but not needed"),
        ("at: [Cz], band", "at: [Cz, ^cz], band", "cz is the site Cz again"),
        ("muscle: {at: [Cz]}", "muscle: {^at: [Oz]}", "site Oz is used but not needed"),
        ("reference: [average]", "^reference: [bipolar C3 Cz]", "site C3 is used"),
        ("reference: [average]", "^reference: [avrage]", "unknown reference `avrage`"),
        ("of: [right, left]", "of: [right, ^lft]", "unknown feature `lft`; did you mean `left`"),
        ("of: [right, left]", "of: [right, ^theta]", "`theta` is no power"),
        ("of: [right, left]", "^of: [right]", "`of` lists 1 features"),
        ("{F3: 1, Cz: -1}", "{F3: 1, ^C3: -1}", "site C3 is used but not needed"),
        ("{F3: 1, Cz: -1}", "{^F3q: 1, Cz: -1}", "site F3q is used but not needed"),
        ("learn: [smr,", "learn: [^smrr,", "did you mean `smr`"),
        ("{feature: faa, above", "{feature: ^fa, above", "did you mean `faa`"),
        ("{feature: theta, below", "{feature: ^teta, below", "did you mean `theta`"),
        ("{theta: theta, delta: delta}", "{theta: theta, delta: ^dlta}", "did you mean `delta`"),
        ("{theta: theta, alpha: alpha}", "{theta: theta, alpha: ^gamma}", "unknown feature `gamma`"),
        ("level: {feature: smr", "level: {feature: ^smrr", "did you mean `smr`"),
        ("picture: orb", "picture: ^orbit", "did you mean `orb`"),
        ("on_reward: chime", "on_reward: ^gong", "unknown sound `gong`"),
        ("rule: twice", "rule: ^sustaind", "did you mean `sustained`"),
        ("{gap_s: 2 s}", "{^gap: 2 s}", "unknown option `gap`; did you mean `gap_s`"),
        ("{over_s: 2 s}", "{^over: 2 s}", "unknown option `over`; did you mean `over_s`"),
        ("window: 30 s}", "window: 30 s, ^with: {x: 1}}", "`with` does not belong to kind `burst_rate`"),
        ("norms: norms.csv", "norms: ^nowhere.csv", "cannot be read"),
        ("of: [right], norms: norms", "of: [left], norms: ^norms", "spatially filtered"),
        # made of itself
        ("of: [right, left]", "^of: [right, faa]", "`faa` is made of itself"),
        ("of: [smr]}\n  z_right", "^of: [normal]}\n  z_right", "`z_smr` is made of itself: `z_smr` of `normal`"),
        ("of: [smr, theta]", "^of: [smr, sum]", "`sum` is made of itself"),
        # lists of numbers
        ("weights: [1, -0.5]", "^weights: [1]", "`of` lists 2 features and `weights` 1 numbers"),
        ("weights: [1, -0.5]", "^weights: [0, 0]", "all weights are 0"),
        ("weights: [1, -0.5]", "weights: ^1", "a list of numbers is wanted"),
        ("weights: [1, -0.5]", "weights: [1, ^x]", "not `x`"),
        ("{F3: 1, Cz: -1}", "{F3: 1, Cz: ^a lot}", "not `a lot`"),
        ("{F3: 1, Cz: -1}", "{F3: 1, Cz: ^0}", "cannot have the weight 0"),
        ("spatial: {F3: 1, Cz: -1}", "^spatial: {F3: 1, F4: -1}", "mix both sides of the head"),
        ("spatial: {F3: 1, Cz: -1}", "^spatial: {F3: 1}", "at least two sites"),
        ("{F3: 1, Cz: -1}", "^laplacan", "unknown spatial filter"),
        ("at: [F3], band: 8-12 Hz, spatial: {F3: 1, Cz: -1}", "^at: [F3], band: 8-12 Hz, spatial: pcc", "19 sites or more, not 1"),
        ("kind: amplitude, at: [Pz], band: 4-7 Hz", "kind: amplitude, at: [Pz]", "`band` is missing"),
        ("window: 30 s", "window: ^0.5 s", "does not suit `burst_rate`"),
        # gates, baselines
        ("blink: on", "blink: ^yes", "a gate is `on`, `off` or a mapping"),
        ("saccade: off", "^saccade: {at: [F3, F4, Cz]}", "not at 3"),
        ("lasts: 120 s", "lasts: ^20 s", "no individual alpha frequency"),
        ("eyes: closed, for", "eyes: ^shut, for", "`shut` is not possible here"),
        ("for: [iaf]", "^for: [iap]", "not recorded for `iap`"),
        (", for: [iaf]", "", "which no baseline is recorded for"),
        ("needs_clean: 90 s", "needs_clean: ^30 s", "learned from 30 s is not trustworthy"),
        ("needs_clean: 90 s", "needs_clean: ^300 s", "longer than the block"),
        ("name: open", "name: ^closed", "two baselines are called `closed`"),
        ("learn: [smr, theta", "^learn: [smr, smr, theta", "`smr` is listed twice"),
        ("delta, faa, sum]", "delta, faa]", "no baseline learns `sum`"),
        # thresholds
        (P65, "^3 uV2", "a threshold is a mapping, not `3 uV2`"),
        (f"above: {P65}", "^above: {}", "a threshold is either `fixed`, or from the"),
        (f"above: {P65}", "^above: {success: 65 %}", "`success` alone goes with a `preset`"),
        (f"above: {P65}", "^above: {baseline: percentile}", "a baseline threshold needs `success`"),
        (P65, "{baseline: percentile, success: 65 %, ^fixed: 3 uV2}", "both `baseline` and `fixed`"),
        (P65, "{running: percentile, ^block: percentile, success: 65 %}", "both `running` and `block`"),
        (P65, "{baseline: percentile, success: 65 %, ^over: 120 s}", "`over` does not go with `baseline: percentile`"),
        (P65, "{baseline: ^median, success: 65 %}", "unknown baseline threshold `median`"),
        (P65, "{fixed: ^-3 uV2}", "always above 0"),
        (P65, "{fixed: ^3 uV}", "`smr` is measured in uV2, the threshold is given in uV"),
        (P65, "{fixed: ^3}", "the threshold is given in no unit"),
        (P65, "{fixed: ^high}", "`high` cannot be read"),
        ("{feature: sum, below: {staircase: 0.05 mad, success: 85 %", "{feature: share, below: {fixed: ^1.5}} # ", "`share` lies between 0 and 1; 1.5 is never crossed"),
        ("plus: 0.5 sd", "^success: 65 %", "`success` does not go with `baseline: z`"),
        ("{running: percentile", "{running: ^mean", "unknown running threshold `mean`"),
        ("{block: percentile", "{block: ^mean", "unknown block threshold `mean`"),
        ("{block: percentile, success: 85 %", "{block: percentile, success: 85 %, ^over: 60 s", "`over` does not go with `block`"),
        ("{staircase: 0.05 mad, success: 85 %", "{staircase: 0.05 mad, success: 85 %, ^plus: 1 sd", "`plus` does not go with `staircase`"),
        ("    - {feature: faa, above: {baseline: z, plus: 0.5 sd}}", "    - ^faa", "a mapping is wanted here"),
        ("- {feature: faa, above: {baseline: z, plus: 0.5 sd}}", "- ^{feature: faa, above: {baseline: z}, below: {baseline: z}}", "exactly one of `above` and `below`"),
        ("- {feature: smr, above", "- ^{above", "`feature` is missing"),
        ("{feature: faa, above: {baseline: z, plus: 0.5 sd}}", "{feature: right, above: {fixed: 5 uV2}, hysteresis: ^0.2 mad}", "hysteresis is given in MADs of rest, but no baseline learns `right`"),
        ("  sustain: 0.5 s", "  ^feature: smr\n  sustain: 0.5 s", "`feature` stands beside `all`"),
        ("every: block", "every: ^minute", "`minute` is not possible here"),
        ("if_success_over: 80 %, harder: 5 %, if_success_under: 50 %", "if_success_over: 40 %, harder: 5 %, if_success_under: ^50 %", "leaves nothing between"),
        (f"{{feature: smr, above: {P65}, hysteresis: 0.2 mad}}", "{feature: smr, above: {running: percentile, success: 65 %}}", "shaping changes the share of success"),
        # watches, feedback
        ("{theta: theta, delta: delta}", "{theta: ^alpha, delta: delta}", "no baseline learns it"),
        ("sleep: {theta: theta, delta: delta}", "^sleep: {theta: theta}", "`delta` is missing in `sleep`"),
        ("sleep: {theta: theta, delta: delta}", "sleep: ^on", "a mapping is wanted here"),
        ("{theta: theta, alpha: alpha}", "{theta: ^smr, alpha: alpha}", "a crossover compares amplitudes in uV; `smr` is of kind `power`"),
        ("from: {baseline: median", "from: {baseline: ^mean", "unknown baseline edge `mean`"),
        ("{fixed: 9 uV2}", "{fixed: ^9 uV}", "the edge is given in uV"),
        ("{fixed: 9 uV2}", "{fixed: ^0 uV2}", "always above 0"),
        ("to: {fixed: 9 uV2}", "^to: {baseline: median, plus: -1 mad}", "`from` and `to` are the same"),
        ("{fixed: 9 uV2}", "{fixed: 9 uV2, ^plus: 1 mad}", "`plus` goes with `baseline`, not with `fixed`"),
        ("smooth: 0.3 s}", "smooth: 0.3 s, ^grows: up}", "`grows` goes with `range: dynamic`"),
        ("{feature: smr, from", "{feature: smr, range: dynamic, ^from", "`from` does not go with `range: dynamic`"),
        ("cues: tones", "cues: ^loud", "`loud` is not possible here"),
        ("on_reward: chime", "on_reward: ^ambience", "the sound `ambience` follows the level; it cannot stand under `on_reward`"),
        ("on_reward: chime", "on_reward: ^film", "cannot stand under `on_reward`"),
        ("continuous: ambience", "continuous: ^chime", "the sound `chime` is played at a reward"),
        ("continuous: ambience", "continuous: ^violin", "unknown sound `violin`"),
        ("picture: orb", "^picture:", "`picture` has no value"),
        # the top
        ("clinician: not needed", "clinician: ^maybe", "'present' or 'not needed'"),
        ("rooms: [research, test]", "^rooms: [kitchen]", "unknown use of a room `kitchen`"),
        ("rooms: [research, test]", "^rooms: []", "the list is empty"),
        ("grade: X", "grade: ^D", "`D` is not possible here"),
        ("mains: notch", "mains: ^cut", "`cut` is not possible here"),
        ("eog: leave", "eog: ^ica", "`ica` is not possible here"),
        ("name: powers", "name: ^Powers!", "not a usable name"),
        ("format: 2", "format: ^3", "this Neuroloop reads up to format 2"),
        ("format: 2", "format: ^0", "there is no format 0"),
        ("format: 2", "format: ^two", "a plain whole number, not `two`"),
        ("indication: [attention]", "^indication: [attention]", "`indication` is not in format 1"),
        ("title: Every mapping of a session without trials\n", "", "`title` is missing"),
        ("cautions: [None is known.]", "cautions: [None is known.]\n^cautions: [None.]", "`cautions` is given twice"),
        # the session
        ("repeat: 2", "repeat: ^0", "`0` is not a number of times"),
        ("repeat: 2", "repeat: ^twice", "`twice` is not a number of times"),
        ("session:\n  - baseline\n  - repeat: 2", "session:\n  - baseline\n  - repeat: ^150", "more than 200 steps"),
        ("  - repeat: 2\n", "  - {repeat: 2, ^blocks: []}\n  - repeat: 2\n", "`repeat` needs a list of `blocks`"),
        ("  - repeat: 2\n", "  - ^{repeat: 2}\n  - repeat: 2\n", "`repeat` needs a list of `blocks`"),
        ("- {train: 60 s}\n", "- ^{shuffle: [{train: 60 s}, {train: 60 s}]}\n", "a `shuffle` stands within another"),
        ("- {train: 60 s}\n", "- ^baseline\n", "`baseline` has its own place"),
        ("- {train: 60 s}\n", "- ^{post: 60 s}\n", "`post` has its own place"),
        ("  - shuffle:\n      - {train: 60 s}\n", "  - ^shuffle:\n", "a list of two blocks or more"),
        ("- [{train: 90 s}, {rest: 20 s}]", "- ^[]", "a list of blocks is empty"),
        (TRANSFER, "  - {transfer: ^180}\n", "has no unit"),
        (TRANSFER, "  - {^transfer: 0 s}\n", "a transfer step lasts 0 s"),
        (TRANSFER, "  - ^{transfer: 180 s, rest: 20 s}\n", "a step is exactly one of"),
        (TRANSFER, "  - ^{say: Rest.}\n", "a step is exactly one of"),
        (TRANSFER, "  - ^transfer\n", "`transfer` is no step of a session"),
        (TRANSFER, "  - ^7\n", "`7` is no step of a session"),
        (TRANSFER, "  - ^{trials: 10}\n", "no `trial:` says what they are"),
        (TRANSFER, "  - {transfer: 180 s, ^feedback: no}\n", "`feedback` goes with `trials`"),
        (TRANSFER, "  - {transfer: 180 s, ^blocks: [{rest: 1 s}]}\n", "`blocks` goes with `repeat`"),
        (TRANSFER, "  - {^transfer: 180 s, repeat: 2, blocks: [{rest: 1 s}]}\n", "does not belong beside `repeat`"),
        ("- {rest: 30 s}", "- {rest: 30 s, ^ask: Well?}", "`ask` goes with blocks of training"),
        ("- {rest: 30 s}", "- {rest: 30 s, ^self_paced: yes}", "`self_paced` goes with blocks"),
        ("self_paced: yes", "self_paced: ^maybe", "yes or no is wanted"),
        ("name: easy", "name: ^Easy Block", "not a usable name"),
        ("- {post: 120 s, eyes: open}", "- ^{post: 120 s, eyes: open}\n  - {train: 60 s}", "training comes after `post`"),
        ("- {post: 120 s, eyes: open}", "- {post: 120 s}\n  - ^{post: 60 s}", "`post` comes twice"),
        ("session:\n  - baseline\n", "^session:\n", "the baselines are never recorded"),
        ("session:\n  - baseline\n", "session:\n  - ^{train: 60 s}\n  - baseline\n", "training comes before the baseline"),
        ("session:\n  - baseline\n", "session:\n  - baseline\n  - ^baseline\n", "`baseline` comes twice"),
    ],
    "trials": [
        ("rate: 6 /min", "rate: ^6 Hz", "`6 Hz` is a frequency, not a pace"),
        ("rate: 6 /min", "rate: ^12 /min", "12 /min is out of range"),
        ("rate: 6 /min", "rate: ^6", "has no unit"),
        ("in: 40 %", "in: ^80 %", "80 % is out of range"),
        ("picture: breath\n  breath", "picture: bar\n  ^breath", "a pace of breathing means nothing to the picture `bar`"),
        ("  feature: slow", "  feature: ^slw", "did you mean `slow`"),
        ("task: 6 s\n  judge: 2 s", "task: 1 s\n  judge: ^2 s", "the task lasts 1 s"),
        ("task: 6 s", "task: ^6", "has no unit"),
        ("full: 20 uV", "full: ^20 Hz", "a frequency, not a voltage"),
        ("full: 20 uV", "full: ^2 uV", "2 uV is out of range"),
        ("below: {fixed: 0 uV}", "below: {fixed: ^0 Hz}", "`0 Hz` is a frequency"),
        ("below: {fixed: 0 uV}", "^below: {fixed: 0 uV2}", "compared with a fixed voltage"),
        ("below: {fixed: 0 uV}", "^below: {fixed: 0}", "compared with a fixed voltage"),
        ("below: {fixed: 0 uV}", "^below: {baseline: z}", "compared with a fixed voltage"),
        ("below: {fixed: 0 uV}", "below: {fixed: ^-300 uV}", "-300 uV is never passed"),
        ("above: {fixed: 0 uV}", "above: {fixed: ^200 uV}", "200 uV is never passed"),
        ("- {name: negativity, below: {fixed: 0 uV}", "- ^{name: negativity", "exactly one of `above` and `below`"),
        ("tasks:\n    - {name: negativity", "^tasks:\n    - {name: positivity", "two tasks are called `positivity`"),
        ("reject: {above: 200 uV}", "reject: {above: ^2 uV}", "2 uV is out of range"),
        ("reject: {above: 200 uV}", "reject: ^200 uV", "a mapping is wanted here"),
        ("trials: 40", "^trials: 41", "41 trials cannot have 2 tasks equally often"),
        ("trials: 40", "trials: ^1", "a block of 1 trials is out of range"),
        ("trials: 40", "trials: ^40 s", "a whole number is wanted"),
        ("- {trials: 40}", "- ^{train: 180 s}", "a train block is given in trials"),
        ("feedback: no", "feedback: ^maybe", "yes or no is wanted"),
        ("feedback:\n", "^reward: {feature: slow, above: {fixed: 0 uV}}\nfeedback:\n", "rewarded by their own tasks"),
        ("feedback:\n", "^inhibit: [{feature: slow, above: {fixed: 0 uV}}]\nfeedback:\n", "nothing to inhibit"),
        ("session:\n  - {trials: 40}\n", "^session:\n", "no training block"),
    ],
    "preset": [
        ("preset: auto_reward_fixed_inhibit", "preset: ^auto", "`auto` is not possible here"),
        ("{feature: smr, above: {success: 65 %}}", "{feature: smr, ^above: {}}", "a threshold is either"),
        ("above: {success: 65 %}", "above: {success: ^65}", "has no unit"),
        ("below: {success: 85 %}", "below: {success: 85 %, freeze_after: ^5 s}", "5 s is out of range"),
        ("below: {success: 85 %}", "below: {success: 85 %, ^plus: 1 sd}", "`plus` does not go with `running`"),
        ("range: dynamic", "range: ^dyn", "unknown range `dyn`"),
        ("grows: up", "grows: ^sideways", "`sideways` is not possible here"),
        ("reward: {feature: smr, above: {success: 65 %}}\ninhibit", "^inhibit", "nothing is rewarded"),
        ("learn: [smr, theta]", "learn: [smr]", "no baseline learns `theta`"),
    ],
    "child": [
        ("extends: ./preset.yaml", "extends: ^./present.yaml", "is not a file"),
        ("extends: ./preset.yaml", "extends: ^smrup", "did you mean `smr_up`"),
        ("extends: ./preset.yaml", "extends: ^./mutated.yaml", "extends itself in the end"),
        ("extends: ./preset.yaml", "^extends: [smr_up]", "a protocol is wanted here, not a list"),
        ("extends: ./preset.yaml", "^extends:", "a protocol is wanted here"),
        ("format: 2", "format: 1", "`extends` is not in format 1"),
        ("sustain: 1 s", "sustain: ^1", "has no unit"),
        ("sustain: 1 s", "above: {fixed: ^1 uV}", "`smr` is measured in uV2"),
        ("sustain: 1 s", "all: [^{feature: smr}]", "exactly one of `above` and `below`"),
        ("name: child\n", "", "`name` is missing"),
        ("reward: {sustain: 1 s}", "session: [^{train: 60 s}, baseline]", "training comes before"),
    ],
}  # fmt: skip
# Where the problem is told when the change itself took it away: text of the file, marked.
ELSEWHERE = {
    "which no baseline is recorded for": "band: ^iaf-2",
    "no baseline learns `sum`": "{feature: sum, ^below",
    "no baseline learns `theta`": "{feature: theta, ^below",
    "shaping changes the share of success": "  ^shape:",
    "`band` is missing": "  ^theta: {kind",
    "`title` is missing": "^format: 2",
    "`indication` is not in format 1": "^indication",
    "`name` is missing": "^format: 2",
    "`extends` is not in format 1": "^extends",
}
CASES = [
    pytest.param(name, *change, id=f"{name}-{i}-{change[2][:30]}")
    for name, changes in MUTATED.items()
    for i, change in enumerate(changes)
    if change[2]
]


def test_there_are_many_of_them() -> None:
    assert len(CASES) > 180


@pytest.mark.parametrize(("name", "old", "new", "words"), CASES)
def test_one_mistake_is_one_problem_at_its_place(
    name: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    text, places = marked(replaced(BASES[name], old, new))
    if words == "`indication` is not in format 1":
        text = text.replace("format: 2", "format: 1")
    for fragment, spot in ELSEWHERE.items():
        if fragment in words:
            _, places = marked(replaced(text, spot.replace("^", ""), spot))
    (problem,) = problems(tmp_path, text)
    assert words in problem.what or words in problem.allowed, str(problem)
    assert [(problem.line, problem.column)] == places, str(problem)
    assert problem.file == str(tmp_path / "mutated.yaml")


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "preset",
            "preset: auto_reward_fixed_inhibit\n",
            "",
            ("`success` alone goes with a `preset`", "`success` alone goes with a `preset`"),
        ),
        (
            "preset",
            "learn: [smr, theta]",
            "learn: [theta]",
            ("no baseline learns `smr`", "no baseline learns `smr`"),
        ),
        (
            "trials",
            TRIALS[TRIALS.index("trial:") : TRIALS.index("feedback:")],
            "",
            ("no `trial:` says what they are", "no `trial:` says what they are"),
        ),
        (
            "trials",
            "kind: slow_voltage, at: [Cz], window: 0.5 s",
            "kind: periodic_power, at: [Cz], band: 8-12 Hz",
            (
                "a trial counts microvolts from its own baseline",
                "the edge is given in uV",
                "the edge is given in uV",
            ),
        ),
        (
            "powers",
            "kind: amplitude, at: [Pz], band: 4-7 Hz",
            "kind: amplitude, at: [Pz], band: 4-7",
            ("`4-7` has no unit",),
        ),
    ],
)
def test_what_is_used_twice_is_told_twice(
    name: str, old: str, new: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    found = problems(tmp_path, replaced(BASES[name], old, new))
    assert len(found) == len(words), [str(p) for p in found]
    for problem, word in zip(found, words, strict=True):
        assert word in problem.what


# ---------------------------------------------------------------- what another file says


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("band: 12-15 Hz", "band: ^12-15", "has no unit"),
        ("{kind: power, at: [Cz], band: 4", "{^kid: power, at: [Cz], band: 4", "did you mean `kind`"),
        ("learn: [smr, theta]", "learn: [smr, ^thta]", "did you mean `theta`"),
        ("- {train: 180 s}", "- {^trian: 180 s}", "did you mean `train`"),
        ("title: Automatic", "^ttle: Automatic", "unknown key `ttle`"),
        ("picture: orb", "picture: ^orbit", "did you mean `orb`"),
        ("format: 2", "^format: 1", "`preset` is not in format 1"),
        ("picture: orb", "picture: orb\n ^bad", ""),
    ],
)  # fmt: skip
def test_a_mistake_of_the_parent_is_told_at_its_place_in_the_parent(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    text, places = marked(replaced(PRESET, old, new))
    if "format" in old:
        _, places = marked(replaced(text, "preset: auto", "^preset: auto"))
    (tmp_path / "preset.yaml").write_text(text, encoding="utf-8")
    (problem,) = problems(tmp_path, CHILD)
    assert Path(problem.file).name == "preset.yaml"
    assert words in problem.what
    if words:
        assert [(problem.line, problem.column)] == places, str(problem)


def test_files_that_extend_each_other_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "preset.yaml").write_text(
        "format: 2\nname: other\nextends: ./mutated.yaml\n", encoding="utf-8"
    )
    (problem,) = problems(tmp_path, CHILD)
    assert "extends itself in the end" in problem.what
    assert Path(problem.file).name == "preset.yaml"
    assert (problem.line, problem.column) == (3, 10)


def test_a_chain_that_never_ends(tmp_path: Path) -> None:
    for i in range(9):
        text = f"format: 2\nname: n{i}\nextends: ./n{i + 1}.yaml\n"
        (tmp_path / f"n{i}.yaml").write_text(text, encoding="utf-8")
    (problem,) = problems(tmp_path, CHILD.replace("./preset.yaml", "./n0.yaml"))
    assert "more than 5 files extend each other" in problem.what
    assert (problem.line, problem.column) == (3, 10)


def test_a_bad_table_of_norms_is_told_with_its_own_line(tmp_path: Path) -> None:
    read(tmp_path, POWERS)
    bad = NORMS.replace("2.5,0.8", "2.5,-0.8")
    (tmp_path / "bad.csv").write_text(bad, encoding="utf-8")
    with pytest.raises(InputError, match=r"bad\.csv:2: .*sd"):
        read(tmp_path, POWERS.replace("norms.csv", "bad.csv"))
