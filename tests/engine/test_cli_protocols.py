"""Commands about protocols: check against files and streams, new, migrate, the lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mne
import numpy as np
import pytest

from engine.cli import main as cli
from engine.cli import starting
from engine.cli.protocols import difficulty
from engine.errors import InputError
from engine.features import FEATURES
from engine.frames import Channel, PhaseKind, StreamSpec
from engine.preflight import cost, expected, fit, given_file, halves, longest, needed_spec
from protocols.load import library, load
from protocols.plan import expand, shortest_s, total_s
from protocols.starter import THRESHOLDS, Answers, Variant, starter, variant

REPO = Path(__file__).resolve().parents[2]
SITES = (
    *("Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"),
    *("P7", "P3", "Pz", "P4", "P8", "O1", "O2"),
)


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def eeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 110 s: noise and alpha that comes and goes, 19 sites at 160 Hz."""
    rng = np.random.default_rng(7)
    n, rate_hz = 160 * 110, 160.0
    t = np.arange(n) / rate_hz
    pink = np.cumsum(rng.standard_normal((len(SITES), n)), axis=1)
    pink -= np.apply_along_axis(lambda x: np.convolve(x, np.ones(80) / 80, "same"), 1, pink)
    slow = 1.0 + 0.6 * np.sin(2 * np.pi * 0.07 * t)
    alpha = 6.0 * slow * np.sin(2 * np.pi * 10.0 * t)
    uv = 3.0 * pink + alpha + rng.standard_normal((len(SITES), n))
    raw = mne.io.RawArray(uv * 1e-6, mne.create_info(list(SITES), rate_hz, "eeg"), verbose="error")
    path = tmp_path_factory.mktemp("eeg") / "made_raw.fif"
    raw.save(path, verbose="error")
    return path


def spec(*names: str, rate_hz: float = 250.0) -> StreamSpec:
    channels = tuple(Channel(n, "eeg", "uV", 1.0) for n in names)
    return StreamSpec("lab", "EEG", "", "", "", rate_hz, channels)


SMR = load("smr_up", FEATURES).protocol
FAA = load("faa", FEATURES).protocol


# ---------------------------------------------------------------- does it fit


def test_a_montage_that_fits_names_reference_and_delays() -> None:
    found = fit(spec(*SITES), SMR)
    assert found.fits
    assert found.reference == "average"
    assert found.delays_s is not None
    assert set(found.delays_s) == set(SMR.features)
    assert any("ears" in w for w in found.warnings)


def test_a_montage_that_does_not_fit_says_what_is_missing() -> None:
    found = fit(spec("F3", "Cz"), FAA)
    assert not found.fits
    assert found.missing == ("F4", "Fp1", "Fp2")
    assert "F4" in found.problem
    assert found.fix
    assert found.reference is None


def test_sites_that_no_feature_needs_are_missed_aloud() -> None:
    found = fit(spec(*(s for s in SITES if s not in ("Fp1", "Fp2"))), FAA)
    assert found.fits
    assert "Fp1, Fp2" in found.warnings[0]


def test_too_slow_a_stream_does_not_fit() -> None:
    found = fit(spec(*SITES, rate_hz=100.0), SMR)
    assert not found.fits
    assert "140 Hz" in found.problem


@pytest.mark.parametrize("name", library())
def test_every_protocol_fits_the_stream_that_it_asks_for(name: str) -> None:
    protocol = load(name, FEATURES).protocol
    found = fit(needed_spec(protocol), protocol)
    assert found.fits or "DC-coupled" in found.fix


def test_the_cost_is_measured() -> None:
    measured = cost(needed_spec(SMR), SMR)
    assert measured.core_share > 0.0
    assert measured.seconds == pytest.approx(3.0, abs=0.1)
    assert measured.rate_hz == 250.0


# ---------------------------------------------------------------- what it would pay


def test_the_longest_session_that_fits() -> None:
    plan, short_s = longest(SMR, 110.0)
    assert short_s == pytest.approx(107.0)
    assert 95.0 < total_s(plan) < 107.0
    whole = total_s(expand(SMR))
    plan, short_s = longest(SMR, 1.2 * whole)
    assert short_s is None
    assert plan == expand(SMR)
    with pytest.raises(InputError, match="too short"):
        longest(SMR, shortest_s(expand(SMR)) - 1.0)


def test_halves_learn_first_and_count_then() -> None:
    plan = halves(SMR, 110.0)
    assert [p.kind for p in plan] == [
        PhaseKind.BASELINE, PhaseKind.PREPARING, PhaseKind.TRAIN, PhaseKind.DONE,
    ]  # fmt: skip
    assert plan[0].lasts_s == pytest.approx(54.0)
    assert plan[0].learn == ("smr", "theta", "high_beta")
    assert [p.index for p in plan] == [0, 1, 2, 3]
    two = halves(FAA, 110.0)
    assert [p.name for p in two[:2]] == ["eyes_closed", "eyes_open"]
    assert two[0].lasts_s + two[1].lasts_s == pytest.approx(54.0)
    with pytest.raises(InputError, match="too short"):
        halves(SMR, 15.0)
    with pytest.raises(InputError, match="Trials have baselines"):
        halves(load("scp", FEATURES).protocol, 110.0)
    fixed = SMR.model_copy(
        update={"baseline": (), "session": tuple(s for s in SMR.session if s.kind != "baseline")}
    )
    with pytest.raises(InputError, match="Nothing is learned"):
        halves(fixed, 110.0)


def test_rates_are_counted_on_clean_time(eeg: Path) -> None:
    given = given_file(eeg)
    assert given.seconds == pytest.approx(110.0)
    found = expected(given, SMR, halves(SMR, given.seconds), "halves")
    assert found.problem == ""
    assert found.baseline_s == pytest.approx(54.0, abs=0.1)
    assert found.train_s == pytest.approx(54.0, abs=2.0)
    assert LEAST < found.train_clean_s <= found.train_s
    assert list(found.alone) == ["smr above", "theta below", "high_beta below"]
    shares = [s for s in found.alone.values() if s is not None]
    assert found.joint is not None
    assert 0.0 < found.joint <= min(shares) < 1.0
    assert found.rewards_per_min == pytest.approx(60.0 * found.rewards / found.train_clean_s)
    again = expected(given, SMR, halves(SMR, given.seconds), "halves")
    assert again == found  # the same file gives the same numbers


LEAST = 20.0


def test_no_rate_is_made_up() -> None:
    rng = np.random.default_rng(3)
    loud = 400.0 * rng.standard_normal((250 * 60, 19))
    from engine.frames import Chunk, Command, frozen
    from engine.preflight import Given

    t = frozen(np.arange(len(loud)) / 250.0)
    parts = (Command(250, "start"), Chunk(0, t, frozen(loud)))
    given = Given("loud", spec(*SITES), 60.0, lambda: parts)
    found = expected(given, SMR, halves(SMR, 60.0), "halves")
    assert found.joint is None
    assert found.rewards_per_min is None
    assert set(found.alone.values()) == {None}
    assert "baseline" in found.problem


# ---------------------------------------------------------------- the command


def test_check_with_a_recording(here: Callable[..., Answer], eeg: Path) -> None:
    answer = here("check", "smr_up", "--recording", eeg)
    assert (answer.code, answer.err) == (0, "")
    for title in ("Montage", "Expected reward on this recording", "Cost on this computer"):
        assert f"\n{title}\n" in answer.out
    for said in (
        "It fits. Reference: average.",
        "The whole session, shortened to 107 s so that it fits: everything holds",
        "Learned on the first 54 s, counted on all that follows: everything holds",
        "(joint rate); alone smr above",
        "per clean minute",
        "s clean out of",
        "not whether anybody learns",
        "of one core at 160 Hz",
        "no mains were removed",
    ):
        assert said in answer.out, said


def test_check_as_json_is_complete(here: Callable[..., Answer], eeg: Path) -> None:
    answer = here("check", "smr_up", "--recording", eeg, "--room", "sim", "--json")
    told = json.loads(answer.out)
    assert told["ok"] is True
    assert set(told) == {
        *("ok", "file", "sha256", "format", "extends", "changes", "name", "title", "indication"),
        *("evidence", "safety", "needs", "says", "features", "rules", "joint_if_independent"),
        *("session", "cred_nf", "hints", "cautions", "montage", "expected", "not_expected"),
    }
    assert told["montage"]["reference"] == "average"
    assert len(told["expected"]) == 2
    assert 0.0 < told["expected"][1]["joint"] < 1.0
    assert told["joint_if_independent"] == pytest.approx(0.65 * 0.85 * 0.85)
    assert told["features"]["smr"]["asked_delay_s"] == 0.1
    assert told["rules"][0]["method"] == "baseline_percentile"
    assert [r["role"] for r in told["rules"]] == ["reward", "inhibit", "inhibit"]
    assert len(told["cred_nf"]) == 24
    assert told["session"]["phases"][-1]["kind"] == "DONE"
    plain = json.loads(here("check", "smr_up", "--json").out)
    assert set(plain) == set(told)  # the same keys, whatever was asked
    assert plain["montage"] is None
    assert "cost" in json.loads(here("check", "smr_up", "--json", "--cost").out)


def test_check_ends_with_2_where_the_montage_does_not_fit(
    here: Callable[..., Answer], tmp_path: Path
) -> None:
    raw = mne.io.RawArray(
        np.zeros((2, 2000)), mne.create_info(["Pz", "Oz"], 250.0, "eeg"), verbose="error"
    )
    path = tmp_path / "two_raw.fif"
    raw.save(path, verbose="error")
    answer = here("check", "smr_up", "--recording", path)
    assert answer.code == 2
    assert "It does not fit: " in answer.out
    assert "Missing: Cz." in answer.out
    assert "Expected reward" not in answer.out


def test_check_with_a_stream(here: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def found(choice: Any, _: float) -> StreamSpec:
        seen.append(choice.name)
        return spec(*SITES)

    monkeypatch.setattr("engine.resolve.resolve", found)
    monkeypatch.setattr("engine.lsl.configure_lsl", lambda _: "")
    answer = here("check", "smr_up", "--stream", "--room", "sim")
    assert answer.code == 0
    assert "lab: 19 EEG and EOG channels at 250 Hz." in answer.out
    assert "with 19 channels" in answer.out
    assert seen == ["neuroloop-sim"]
    both = here("check", "smr_up", "--stream", "--recording", "x.edf")
    assert both.code == 2
    assert "--recording or --stream" in both.err


def test_a_room_that_the_protocol_refuses_is_named(here: Callable[..., Answer]) -> None:
    answer = here("check", "gamma", "--room", "clinic-example")
    assert answer.code == 0
    assert "\nRoom\n" in answer.out
    assert "this protocol is refused there" in answer.out
    assert "\nRoom\n" not in here("check", "smr_up", "--room", "clinic-example").out


@pytest.mark.parametrize("name", library())
def test_what_is_resolved_loads_and_means_the_same(
    name: str, here: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = here("check", name, "--resolved")
    assert answer.code == 0
    path = tmp_path / "again.yaml"
    path.write_text(answer.out, encoding="utf-8")
    again, before = load(path, FEATURES).protocol, load(name, FEATURES).protocol
    for part in ("features", "reward", "inhibit", "session", "baseline", "feedback", "gates"):
        assert getattr(again, part) == getattr(before, part), part


def test_what_is_extended_is_shown_with_its_changes(
    here: Callable[..., Answer], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "format: 2\nextends: smr_up\nname: mine\ntitle: Mine\n"
        "reward: {above: {baseline: percentile, success: 70 %}}\ninhibit: none\n",
        encoding="utf-8",
    )
    answer = here("check", path, "--resolved")
    assert answer.out.startswith("# mine.yaml extends smr_up and changes:\n")
    assert "#   reward.above.success\n" in answer.out
    assert "#   inhibit\n" in answer.out
    assert "extends:" not in answer.out
    assert (
        "It changes reward.above.baseline, reward.above.success, inhibit" in here("check", path).out
    )
    told = json.loads(here("check", path, "--json").out)
    assert told["extends"] == ["smr_up"]
    assert "inhibit" in told["changes"]
    (tmp_path / "again.yaml").write_text(answer.out, encoding="utf-8")
    assert load(tmp_path / "again.yaml", FEATURES).protocol.inhibit == ()


PACK = """
from engine.features import FeatureKind
from feedback.registry import PictureKind
from protocols.rewards import RewardKind

class Code:
    def __init__(self, *settings): pass
    def step(self, values): return values[0]
    def skip(self, points): pass
    def reset(self): pass

FEATURE = FeatureKind("mine", "1", "linear", frozenset({"of"}), frozenset(), "It is.", "M = x",
                      "half a second", parts=frozenset({"power"}), n_parts=1, make=Code,
                      lag_s=lambda options: 0.5)
PICTURE = PictureKind("dot", "A dot.", "size", "pack:Code")
REWARD = RewardKind("rarely", "A reward once in a while.", Code)
"""


def test_what_a_room_adds_is_known_to_check(
    here: Callable[..., Answer], plugin: Callable[..., Path], tmp_path: Path
) -> None:
    points = {
        "neuroloop.features:mine": "pack:FEATURE",
        "neuroloop.pictures:dot": "pack:PICTURE",
        "neuroloop.rewards:rarely": "pack:REWARD",
    }
    plugin("pack", {"pack.py": PACK}, points)
    room = tmp_path / "room.yaml"
    sim = (REPO / "configs" / "sim.yaml").read_text("utf-8")
    room.write_text(f"{sim}\nplugins: [{{name: pack, version: 1.0.0}}]\n", encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(
        OLD.replace("8-12 Hz}", "8-12 Hz, fit: fixed}\n  own: {kind: mine, of: [alpha]}")
        .replace("format: 1", "format: 2")
        .replace("{rest: 120 s", "{post: 120 s")
        .replace("learn: [alpha]", "learn: [own]")
        .replace("{feature: alpha, above", "{feature: own, rule: rarely, above")
        .replace("{feature: alpha, from", "{feature: own, from")
        .replace("picture: orb", "picture: dot"),
        encoding="utf-8",
    )
    alone = here("check", path)
    assert alone.code == 2
    assert "unknown kind of feature `mine`" in alone.err
    answer = here("check", path, "--room", room, "--cost")
    assert (answer.code, answer.err) == (0, "")
    assert "own: mine of alpha." in answer.out
    assert "Reward rule `rarely`: A reward once in a while." in answer.out
    assert "Seen: the picture `dot`." in answer.out
    delay_ms = float(re.findall(r"Estimator, own: (\d+) ms", answer.out)[0])
    assert delay_ms > 500.0  # the lag of the package on top of the filter's
    assert "Cost on this computer" in answer.out


# ---------------------------------------------------------------- new


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("train", ["up", "down"])
@pytest.mark.parametrize("eyes", ["open", "closed"])
def test_every_start_loads(threshold: str, train: str, eyes: str, tmp_path: Path) -> None:
    answers = Answers(
        name="mine",
        train=train,
        sites=("C3", "Cz"),
        band="15-20 Hz",
        inhibits=("8-12 Hz", "4-7 Hz"),
        eyes=eyes,
        threshold=threshold,
        value="4 uV2" if threshold == "fixed" else "",
        transfer=eyes == "open",
    )
    path = tmp_path / "mine.yaml"
    path.write_text(starter(answers, "/schema.json"), encoding="utf-8")
    loaded = load(path, FEATURES)
    protocol = loaded.protocol
    assert list(protocol.features) == ["beta", "alpha", "theta"]
    assert protocol.reward is not None
    assert protocol.reward.threshold.method == threshold
    assert protocol.reward.direction == ("above" if train == "up" else "below")
    kinds = [s.kind for s in protocol.session]
    assert kinds.count("train") == 6
    assert ("transfer" in kinds) is (eyes == "open")
    assert loaded.text.startswith("# yaml-language-server: $schema=/schema.json\n")
    assert max(map(len, loaded.text.splitlines())) <= 115


def test_a_start_around_the_individual_alpha_frequency(tmp_path: Path) -> None:
    for eyes, blocks in (("open", 2), ("closed", 1)):
        answers = Answers("mine", "up", ("Pz",), "iaf-2 .. iaf+2", eyes=eyes, blocks=4)
        path = tmp_path / f"{eyes}.yaml"
        path.write_text(starter(answers, "/s.json"), encoding="utf-8")
        protocol = load(path, FEATURES).protocol
        assert len(protocol.baseline) == blocks
        assert "iaf" in protocol.baseline[0].uses


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"band": "12-15 s"}, "is a time, not a band"),
        ({"band": "iaf .. banana"}, "cannot be read"),
        ({"sites": ("C]",)}, "no site"),
        ({"sites": ()}, "No site"),
        ({"blocks": 0}, "no number of blocks"),
        ({"sites": ("T3", "T7")}, "given twice"),
        ({"threshold": "fixed"}, "needs its number"),
        ({"threshold": "magic"}, "no threshold"),
        ({"inhibits": ("12-15 Hz",)}, "given twice"),
    ],
)
def test_answers_that_cannot_be_written(changes: dict[str, Any], said: str) -> None:
    given = {"name": "x", "train": "up", "sites": ("Cz",), "band": "12-15 Hz"} | changes
    with pytest.raises(InputError, match=said) as caught:
        starter(Answers(**given), "/s.json")
    assert caught.value.fix


@pytest.mark.parametrize("name", library())
def test_every_variant_loads(name: str, tmp_path: Path) -> None:
    parent = load(name, FEATURES).protocol
    session = None if parent.trial is not None else (4, "2 min", True)
    path = tmp_path / "mine.yaml"
    path.write_text(variant(Variant("mine", name, session), parent, "/s.json"), encoding="utf-8")
    mine = load(path, FEATURES).protocol
    assert mine.features == parent.features
    if session is not None:
        assert sum(s.kind == "train" for s in mine.session) == 4


def test_new_writes_once(here: Callable[..., Answer], tmp_path: Path) -> None:
    file = tmp_path / "My SMR.yaml"
    given = ("--train", "up", "--site", "Cz", "--band", "12-15 Hz", "--inhibit", "4-7 Hz")
    answer = here("new", file, *given)
    assert (answer.code, answer.err) == (0, "")
    assert f"neuroloop check {file}" in answer.out
    text = file.read_text("utf-8")
    assert "\nname: my_smr\n" in text
    schema = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert schema
    assert Path(schema[1].removeprefix("file://")).is_file()
    assert here("check", file).code == 0
    again = here("new", file, *given)
    assert again.code == 2
    assert "exists already" in again.err
    assert file.read_text("utf-8") == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--train", "up", "--site", "Cz"), "--band cannot be guessed"),
        (("--from", "nobody"), "no protocol `nobody`"),
        (("--from", "smr_up", "--site", "Cz"), "--site does not go with --from"),
        (("--from", "scp", "--blocks", "3"), "trained in trials"),
        (("--from", "smr_up", "--blocks", "0"), "`0` is no number of blocks"),
        (("--from", "smr_up", "--block", "3"), "has no unit"),
        (("--train", "sideways"), "--train cannot be `sideways`"),
        (("--eyes", "shut"), "Give open or closed"),
        (("--threshold", "magic"), "running or staircase"),
        (("--name", "My SMR"), "no name of a protocol"),
        (("--train", "up", "--site", "C]", "--band", "12-15 Hz"), "`C]` is no site"),
        (("--train", "up", "--site", "Cz", "--band", "12-15"), "has no unit"),
        (("--train", "up", "--site", "Cz", "--band", "12-15 Hz", "--block", "3 Hz"), "3 Hz"),
        (
            ("--train", "up", "--site", "Cz", "--band", "12-15 Hz", "--threshold", "fixed",
             "--value", "3 uV"),
            "measured in uV2",
        ),
    ],
)  # fmt: skip
def test_new_refuses(
    arguments: tuple[str, ...], said: str, here: Callable[..., Answer], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    answer = here("new", file, *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert not file.exists()


def test_new_asks_in_a_terminal(
    here: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([
        "sideways", "down", "", "C3]", "C3", "fast", "15-20 Hz", "15-20 Hz", "8-12 Hz, 4-7 Hz",
        "open", "many", "0", "5", "2 Hz", "2 min", "perhaps", "yes", "fixed", "4", "-4 uV2",
        "4 uV2",
    ])  # fmt: skip
    monkeypatch.setattr(starting.sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr(starting.typer, "prompt", lambda *_, **__: next(answers))
    file = tmp_path / "mine.yaml"
    answer = here("new", file)
    assert (answer.code, answer.err) == (0, "")
    assert next(answers, None) is None  # each wrong one was asked for again
    for said in (
        "Please answer up or down.", "No site is given.", "`C3]` is no site.",
        "The band 15-20 Hz is given twice.", "`many` is no number of blocks. Give 1 to 60.",
        "`0` is no number of blocks.", "`2 Hz` is a frequency, not a time.",
        "`perhaps` is neither yes nor no.", "`4` has no unit", "-4 uV2",
    ):  # fmt: skip
        assert said in answer.out
    protocol = load(file, FEATURES).protocol
    assert protocol.reward is not None
    assert protocol.reward.threshold.value == 4.0
    assert [r.feature for r in protocol.inhibit] == ["alpha", "theta"]
    assert sum(s.kind == "train" for s in protocol.session) == 5


def test_a_variant_that_is_less_careful_is_told(
    here: Callable[..., Answer], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("format: 2\nextends: gamma\nname: mine\nsafety: none\n", encoding="utf-8")
    said = here("check", file).out
    assert said.count("It may run in clinical rooms, which the protocol it extends stays out") == 1
    assert "experimental (grade X) and may run in clinical rooms" in said


@pytest.mark.parametrize("age", ["-4", "0", "nan", "500"])
def test_an_age_that_nobody_has_is_refused(age: str, here: Callable[..., Answer]) -> None:
    answer = here("check", "smr_up", "--age", age)
    assert answer.code == 2
    assert "is no age of a person" in answer.err


@pytest.mark.parametrize(
    ("joint", "said"),
    [(0.0, "Out of reach"), (0.1, "Too hard: under 20 %"), (0.2, ""), (0.9, ""), (0.95, "Too easy"),
     (None, "")],
)  # fmt: skip
def test_too_hard_and_too_easy_are_told(joint: float | None, said: str) -> None:
    told = difficulty(SimpleNamespace(problem="", joint=joint))
    assert told.startswith(said) if said else told == ""


def test_a_study_and_a_protocol_are_told_apart(here: Callable[..., Answer]) -> None:
    study = REPO / "docs" / "examples" / "study.yaml"
    answer = here("check", study)
    assert answer.code == 2
    assert "is a study, not a protocol" in answer.err
    shipped = REPO / "protocols" / "library" / "smr_up.yaml"
    for command in (("study", "check"), ("allocate",)):
        more = ("--n", "4", "--out", "nowhere") if command == ("allocate",) else ()
        answer = here(*command, shipped, *more)
        assert answer.code == 2
        assert "is a protocol, not a study" in answer.err


# ---------------------------------------------------------------- migrate and lists


OLD = """\
format: 1
name: old
title: Old      # a remark
evidence: {grade: X, summary: None.}
summary: In the first format.
needs: {channels: [Pz], rate: at least 250 Hz}
condition: {reference: [as recorded]}
features:
  alpha: {kind: power, at: [Pz], band: 8-12 Hz}
baseline:
  - {name: rest, lasts: 120 s, eyes: open, learn: [alpha]}
reward: {feature: alpha, above: {baseline: percentile, success: 65 %}}
feedback:
  level: {feature: alpha, from: {baseline: median}, to: {baseline: median, plus: 2 mad}}
  picture: orb
session:
  - baseline
  - {train: 180 s}
  - {rest: 120 s, eyes: open}
"""


def test_migrate_shows_and_writes(here: Callable[..., Answer], tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD, encoding="utf-8")
    answer = here("migrate", old)
    assert answer.code == 0
    assert "-format: 1\n+format: 2\n" in answer.out
    assert "Nothing was written" in answer.out
    assert old.read_text("utf-8") == OLD
    answer = here("migrate", old, "--out", new)
    assert (answer.code, answer.err) == (0, "")
    assert "# a remark" in new.read_text("utf-8")
    assert load(new, FEATURES).protocol == load(old, FEATURES).protocol
    again = here("migrate", old, "--out", new)
    assert again.code == 2
    assert "exists already" in again.err
    assert "already" in here("migrate", new).err
    assert here("migrate", tmp_path / "nowhere.yaml").code == 2
    assert old.read_text("utf-8") == OLD


def test_migrate_writes_nothing_that_does_not_load(
    here: Callable[..., Answer], tmp_path: Path
) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(OLD.replace("8-12 Hz", "8-12 s"), encoding="utf-8")
    answer = here("migrate", old, "--out", new)
    assert answer.code == 2
    assert "is a time, not a band" in answer.err
    assert not new.exists()


def test_the_list_is_aligned_and_complete(here: Callable[..., Answer]) -> None:
    lines = here("protocols").out.splitlines()
    heads = [line for line in lines if line.split(" ")[0] in library()]
    assert [line.split()[0] for line in heads] == list(library())
    wide = max(map(len, library())) + 2
    for line in heads:
        protocol = load(line.split()[0], FEATURES).protocol
        assert line[wide : wide + 4].strip() == protocol.evidence.grade
        assert line[wide + 4 :] == protocol.title
    text = "\n".join(lines)
    assert text.count(f"\n{' ' * (wide + 4)}Sites: ") == len(library())
    assert text.count(f"\n{' ' * (wide + 4)}Evidence: ") == len(library())
    rows = json.loads(here("protocols", "--json").out)
    assert [r["name"] for r in rows] == list(library())
    assert all({"grade", "sites", "indication", "cautions", "rooms"} <= set(r) for r in rows)


# ---------------------------------------------------------------- the page about writing them

PAGE = (REPO / "docs" / "writing-protocols.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WHOLE = [b for b in BLOCKS if b.startswith("format:")]


@pytest.mark.parametrize("text", WHOLE, ids=range(len(WHOLE)))
def test_every_whole_example_of_the_page_is_right(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path, FEATURES).protocol.session


def test_the_parts_on_the_page_fit_together(tmp_path: Path) -> None:
    """The fragments of the page are taken into a protocol that has what they name."""
    parts = {b.split(":")[0]: b for b in BLOCKS if b not in WHOLE}
    assert set(parts) == {"features", "reward", "session"}
    more = (
        "  smr: {kind: power, at: [Cz], band: 12-15 Hz}\n"
        "  high_beta: {kind: power, at: [Cz], band: 21-35 Hz}\n"
    )
    text = (
        "format: 2\nname: parts\ntitle: Parts\nevidence: {grade: X, summary: None.}\n"
        "summary: All parts.\nneeds: {channels: [Cz], rate: at least 250 Hz}\n"
        "condition: {reference: [as recorded]}\n"
        f"{parts['features']}{more}"
        "baseline:\n  - {name: rest, lasts: 120 s, eyes: open, learn: [smr, tbr, high_beta]}\n"
        f"{parts['reward']}"
        "feedback:\n  level: {feature: smr, range: dynamic, grows: up}\n  picture: orb\n"
        f"{parts['session']}"
    )
    path = tmp_path / "parts.yaml"
    path.write_text(text, encoding="utf-8")
    protocol = load(path, FEATURES).protocol
    assert len(protocol.rules) == 3
    assert any(s.shuffled for s in protocol.session)


def test_every_key_is_on_the_page() -> None:
    from protocols import model, rules, steps

    models = (
        model.Protocol, model.Evidence, model.Needs, model.Condition, model.Feature, model.Gates,
        model.GateSetting, model.BaselineBlock, model.Feedback, model.Sound, model.Safety,
        model.Watch, model.Sleep, model.Crossover, rules.Threshold, rules.Rule, rules.Reward,
        rules.Shape, rules.Level, rules.Edge, steps.SessionStep, steps.Trial, steps.Task,
        steps.Reject,
    )  # fmt: skip
    for one in models:
        for key in one.yaml_keys():
            assert re.search(rf"(`|[{{, `]){key}(:|`)", PAGE), f"{one.__name__}: {key}"
    for kind in ("repeat", "blocks", "shuffle", "extends"):
        assert f"{kind}:" in PAGE


def test_every_option_of_check_is_on_the_page() -> None:
    from typer.main import get_command

    options = {o for p in get_command(cli.app).commands["check"].params for o in p.opts}  # type: ignore[attr-defined]
    for option in options - {"--help", "protocol"}:
        assert f"`{option}" in PAGE, option


OWN = """\
format: 2
name: beta_down_c3
title: Lower beta at C3
evidence: {grade: X, summary: "No study of this protocol is known to us."}
summary: >
  Trains 15-20 Hz power at C3 downward, eyes open, while alpha stays near its resting size. The
  threshold is adapted between blocks.
needs: {channels: [C3, Fp1, Fp2], rate: at least 128 Hz}
condition: {reference: [ears, mastoids, average], high_pass: 1 Hz, mains: notch}
features:
  beta:  {kind: power, at: [C3], band: 15-20 Hz, smooth: 1 s}
  alpha: {kind: power, at: [C3], band: 8-12 Hz, smooth: 1 s}
baseline:
  - {name: rest, lasts: 120 s, eyes: open, needs_clean: 60 s, learn: [beta, alpha]}
reward:
  feature: beta
  below: {block: percentile, success: 65 %}
  sustain: 0.5 s
inhibit:
  - {feature: alpha, below: {baseline: percentile, success: 85 %}}
feedback:
  level:
    feature: beta
    from: {baseline: median, plus: 1 mad}
    to: {baseline: median, plus: -2 mad}
  picture: orb
  sound: {on_reward: chime}
session:
  - baseline
  - repeat: 5
    blocks:
      - {train: 2 min, say: "Let the orb grow.", ask: "What did you do?"}
      - {rest: 30 s}
  - {transfer: 2 min, say: "Do the same without the picture."}
"""


def test_a_protocol_that_the_library_lacks_takes_less_than_40_lines(
    here: Callable[..., Answer], eeg: Path, tmp_path: Path
) -> None:
    assert len(OWN.splitlines()) < 40
    path = tmp_path / "beta_down_c3.yaml"
    path.write_text(OWN, encoding="utf-8")
    answer = here("check", path, "--recording", eeg)
    assert answer.code == 0
    assert "5 x training with feedback, 2 min, eyes open" in answer.out
    assert "Drift guard" in answer.out
    assert "beta 65 %, alpha 85 %" in answer.out
    assert "counted on all that follows: everything holds" in answer.out
    ran = here("replay", eeg, "--protocol", path, "--short", "100", "--out", tmp_path / "out")
    assert ran.code == 0
    assert "ended as done" in ran.out
