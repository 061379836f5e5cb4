"""Control conditions through the whole fold: what is presented, made again, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.columns import decision_row
from engine.controls import Asked, ControlPlan, again, control_plan, described
from engine.course import is_course
from engine.donors import Donor, write_donor
from engine.errors import FileError, InputError
from engine.features import FEATURES
from engine.frames import Chunk, Command, Gap, Hold, Input, PhaseKind, StreamSpec, frozen
from engine.person import Person, columns
from engine.pipeline import Point
from protocols.load import library, load
from protocols.model import Protocol
from protocols.plan import expand
from protocols.sham import KINDS, Series

RATE_HZ = 250.0
SPEC = StreamSpec("amp", "EEG", "a", "u", "", RATE_HZ, columns())
GRID_HZ = SPEC.grid_hz
N = round(70 * RATE_HZ)


@pytest.fixture(scope="module")
def eeg() -> Callable[[str], np.ndarray]:
    """Return 70 s of a person who blinks (or is `calm`), by the eyes; made once."""
    made: dict[str, np.ndarray] = {}

    def get(eyes: str) -> np.ndarray:
        if eyes not in made:
            calm = eyes == "calm"
            closed = "closed" if eyes == "closed" else "open"
            person = Person(RATE_HZ, seed=5, eyes=closed, blinks=not calm, jaw=not calm)
            made[eyes] = person.read(N)[:, : len(SPEC.channels)]
        return made[eyes]

    return get


def series_of(seed: int, n: int = 700) -> Series:
    rng = np.random.default_rng(seed)
    level = rng.random(n)
    level[100:130] = np.nan
    reward = np.isfinite(level) & (rng.random(n) < 0.04)
    return Series(frozen(level), frozen(reward))


def donor_folder(
    folder: Path, protocol: str, *, grid_hz: float = GRID_HZ, session: int = 1, seed: int = 1
) -> Path:
    blocks = tuple(series_of(10 * seed + k) for k in range(2))
    donor = Donor(protocol, "ab" * 32, grid_hz, session, blocks)
    write_donor(donor, folder / f"{protocol}_{seed}_{session}.donor.npz")
    return folder


class Run:
    """A shortened session on the fixed EEG."""

    def __init__(self, plan_: ControlPlan, eeg: np.ndarray, more: Sequence[Input] = ()) -> None:
        protocol = plan_.protocol
        self.plan = expand(protocol, 60.0, 1)
        self.assembly: Assembly = assemble(
            SPEC, protocol, self.plan, mains_hz=50.0, dc_coupled=True, control=plan_.make
        )
        self.protocol, self.eeg, self.more = protocol, eeg, tuple(more)

    def points(self, chunk: int = 4000) -> list[Point]:
        fold = self.assembly.fold
        fold.step(Command(round(2 * GRID_HZ) * SPEC.hop, "start"))
        for item in self.more:
            if not isinstance(item, Gap):
                fold.step(item)
        gaps = {i.seq: i.missing for i in self.more if isinstance(i, Gap)}
        out: list[Point] = []
        at = 0
        while at < len(self.eeg):
            if at in gaps:
                fold.step(Gap(at, gaps[at], "lost"))
                at += gaps[at]
                continue
            end = min([at + chunk, len(self.eeg), *(g for g in gaps if g > at)])
            stamps = np.arange(at, end) / RATE_HZ
            out += fold.step(Chunk(at, frozen(stamps), frozen(self.eeg[at:end].copy())))
            at = end
        return out


def training(points: Sequence[Point]) -> list[list[Point]]:
    """Return the unheld points of each training block."""
    blocks: dict[int, list[Point]] = {}
    for p in points:
        d = p.decision
        if d.kind is PhaseKind.TRAIN and not d.held:
            blocks.setdefault(d.phase, []).append(p)
    return list(blocks.values())


def rows(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    real = [decision_row(p.real) for p in points if p.real is not None]
    return np.array([decision_row(p.decision) for p in points]), np.array(real)


def asked(kind: str, tmp_path: Path, protocol: str, sites: tuple[str, ...] = ("O1",)) -> Asked:
    if kind in ("yoked", "replay_other"):
        if not list(tmp_path.glob(f"{protocol}_*")):
            donor_folder(tmp_path, protocol)
        return Asked(kind, tmp_path)
    return Asked(kind, None, sites if kind == "other_site" else ())


def science(name: str) -> Protocol:
    return load(name, FEATURES).protocol


def run(
    kind: str,
    eeg: Callable[[str], np.ndarray],
    tmp_path: Path,
    name: str = "smr_up",
    sites: tuple[str, ...] = ("O1",),
    more: Sequence[Input] = (),
) -> tuple[ControlPlan, list[Point]]:
    p = science(name)
    made = control_plan(p, [asked(kind, tmp_path, name, sites)], seed=9)
    eyes = "calm" if name in ("scp", "connectivity") else p.baseline[0].eyes
    return made, Run(made, eeg(eyes), more).points()


# ---------------------------------------------------------------- what is presented


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_control_through_the_fold(
    kind: str, eeg: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    _, points = run(kind, eeg, tmp_path)
    assert points[-1].decision.kind is PhaseKind.DONE
    blocks = training(points)
    assert len(blocks) >= 2
    rewards = 0
    before: list[tuple[float, bool]] = []
    for number, block in enumerate(blocks):
        source = series_of(10 + number % 2)
        shown: list[tuple[float, bool]] = []
        real: list[tuple[float, bool]] = []
        for i, p in enumerate(block):
            d, own = p.decision, p.real
            assert own is not None
            rewards += d.reward
            assert d.rewards == rewards
            if p.frame.gate or own.level is None:
                assert d.level is None
            if p.frame.gate:
                assert not d.reward
            if d.level is not None:
                shown.append((d.level, d.reward))
            if own.level is not None:
                real.append((own.level, own.reward))
            if kind == "real":
                assert (d.level, d.reward, d.why) == (own.level, own.reward, own.why)
            if kind == "no_feedback":
                assert (d.level, d.reward) == (None, False)
            if kind == "yoked":
                assert d.level == (None if own.level is None else source.bridged().level[i])
        if kind != "no_feedback":
            assert len(shown) == len(real) > 0  # as much is seen as of the real thing
        if kind == "replay_other":
            clean = source.clean()
            n = len(shown)
            assert shown == list(zip(clean.level.tolist(), clean.reward.tolist(), strict=True))[:n]
        if kind == "replay_own" and before:
            turned = before * (len(shown) // len(before) + 1)
            assert shown == turned[: len(shown)]
        before = real
    assert (rewards > 0) is (kind != "no_feedback")
    told = [e for p in points for e in p.events if e.kind == "reward"]
    assert len(told) == rewards
    assert all(set(e.data) == {"n", "phase"} for e in told)


@pytest.mark.parametrize("kind", ["random_band", "other_site"])
def test_what_only_a_control_looks_at_is_learned_and_moves_the_picture(
    kind: str, eeg: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    made, points = run(kind, eeg, tmp_path)
    (baseline,) = [e for p in points for e in p.events if e.kind == "resting"]
    assert "control_0_smr" in baseline.data["features"]
    pairs = [
        (p.decision.level, p.real.level)
        for p in points
        if p.real is not None and p.real.level is not None and p.decision.level is not None
    ]
    shown, real = np.array(pairs, dtype=float).T
    assert shown.std() > 0.05
    assert abs(np.corrcoef(shown, real)[0, 1]) < 0.9
    assert made.protocol.rules == science("smr_up").rules


def test_the_real_thing_is_decided_beside_every_control(
    eeg: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    """What a control presents moves no threshold and no verdict of the real thing."""
    p = science("smr_up")
    plain = Run(ControlPlan(p, (), 0), eeg("open"))
    plain.assembly = assemble(SPEC, p, plain.plan, mains_hz=50.0)
    wanted = np.array([decision_row(q.decision) for q in plain.points()])
    for kind in ("replay_other", "random_band", "noise"):
        _, points = run(kind, eeg, tmp_path)
        _, real = rows(points)
        # Two bands more are summed in another order: the last bit may differ.
        close = 1e-12 if kind == "random_band" else 0.0
        np.testing.assert_allclose(real, wanted, rtol=close, atol=0.0, err_msg=kind)


@pytest.mark.parametrize("kind", ["yoked", "no_feedback", "real"])
def test_trials(kind: str, eeg: Callable[[str], np.ndarray], tmp_path: Path) -> None:
    _, points = run(kind, eeg, tmp_path, "scp")
    blocks = training(points)
    assert blocks
    for number, block in enumerate(blocks):
        source = series_of(10 + number % 2)
        for i, p in enumerate(block):
            d, own = p.decision, p.real
            assert own is not None
            assert d.say == own.say  # the task is the person's own
            if own.level is None:
                assert d.level is None
            if kind == "yoked" and own.level is not None:
                assert d.level == source.bridged().level[i]


@pytest.mark.parametrize(
    ("name", "kind", "sites"),
    [
        ("ilf", "inverse", ()),
        ("ilf", "replay_own", ()),
        ("ilf", "noise", ()),
        ("ilf", "other_site", ("T3",)),
        ("faa", "other_site", ("P4", "P3")),
        ("faa", "noise", ()),
        ("upper_alpha_iaf", "random_band", ()),
        ("upper_alpha_iaf", "inverse", ()),
        ("zscore", "noise", ()),
        ("connectivity", "noise", ()),
        ("alpha_theta", "replay_own", ()),
    ],
)
def test_protocols_of_every_make(
    name: str,
    kind: str,
    sites: tuple[str, ...],
    eeg: Callable[[str], np.ndarray],
    tmp_path: Path,
) -> None:
    made, points = run(kind, eeg, tmp_path, name, sites)
    shown = [p.decision.level for block in training(points) for p in block]
    real = [p.real.level for block in training(points) for p in block if p.real]
    known = [s for s in shown if s is not None]
    assert np.std(known) > 0.0
    # Another site knows its own feature where the real one is known, or nearly.
    assert len(known) >= 0.9 * sum(r is not None for r in real)
    if made.protocol.reward is None:
        assert not any(p.decision.reward for p in points)


# ---------------------------------------------------------------- nothing depends on the way


@pytest.mark.parametrize("kind", ["noise", "replay_own"])
def test_the_size_of_chunks_changes_nothing(
    kind: str, eeg: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    p = science("smr_up")
    kinds = [k for k in KINDS if k not in ("other_site", "random_band")]
    wanted = [asked(k, tmp_path, "smr_up") for k in kinds]
    made = control_plan(p, wanted, kinds.index(kind), seed=9)
    whole = rows(Run(made, eeg("open")).points())
    parts = rows(Run(made, eeg("open")).points(37))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_hold_and_a_gap(kind: str, eeg: Callable[[str], np.ndarray], tmp_path: Path) -> None:
    hop, at = SPEC.hop, round(40 * GRID_HZ)
    more = [
        Hold(at * hop, True, "paused", "Paused."),
        Hold((at + 50) * hop, False, "paused", ""),
        Gap((at + 150) * hop, 40 * hop, "lost"),
    ]
    _, points = run(kind, eeg, tmp_path, more=more)
    held = [p for p in points if p.decision.held]
    assert len(held) == 50
    assert all(p.decision.level is None and not p.decision.reward for p in held)
    blocks = training(points)
    assert any(p.decision.level is not None for b in blocks for p in b) is (kind != "no_feedback")


@pytest.mark.parametrize("name", ["smr_up", "faa"])
def test_written_down_and_made_again_it_is_the_same(
    name: str, eeg: Callable[[str], np.ndarray], tmp_path: Path
) -> None:
    p = science(name)
    sites = ("P4", "P3") if name == "faa" else ("T5",)
    kinds = [asked(k, tmp_path, name, sites) for k in KINDS]
    made = control_plan(p, kinds, seed=9)
    for chosen in range(len(KINDS)):
        plan_ = replace(made, chosen=chosen)
        stored = json.loads(json.dumps(plan_.stored()))
        text = json.dumps(plan_.protocol.model_dump(mode="json"))
        twin = again(Protocol.model_validate(json.loads(text)), stored)
        assert twin.protocol == plan_.protocol
        assert [m.rules for m in twin.made] == [m.rules for m in plan_.made]
        if name == "smr_up" and chosen in (3, 5, 7):  # a donor's, another band, noise
            eyes = p.baseline[0].eyes
            one, two = (rows(Run(x, eeg(eyes)).points()) for x in (plan_, twin))
            for a, b in zip(one, two, strict=True):
                np.testing.assert_array_equal(a, b)


def test_another_seed_or_donor_is_noticed(eeg: Callable[[str], np.ndarray], tmp_path: Path) -> None:
    p = science("smr_up")
    made = control_plan(p, [Asked("noise")], seed=9)
    other = made.stored()
    other["controls"][0]["seed"] += 1
    one = rows(Run(made, eeg("open")).points())[0]
    two = rows(Run(again(p, other), eeg("open")).points())[0]
    assert not np.array_equal(one, two, equal_nan=True)

    donors = donor_folder(tmp_path, "smr_up")
    made = control_plan(p, [Asked("replay_other", donors)], seed=9)
    assert made.made[0].donor is not None
    blocks = tuple(Series(frozen(b.level * 0.999), b.reward) for b in made.made[0].donor.blocks)
    changed = replace(made.made[0], donor=replace(made.made[0].donor, blocks=blocks))
    one = rows(Run(made, eeg("open")).points())[0]
    two = rows(Run(replace(made, made=(changed,)), eeg("open")).points())[0]
    assert not np.array_equal(one, two, equal_nan=True)


# ---------------------------------------------------------------- asked for, and refused


@pytest.mark.parametrize(
    ("name", "one", "words"),
    [
        ("smr_up", Asked("sham"), "no control condition `sham`"),
        ("smr_up", Asked("yoked"), "needs feedback of somebody else"),
        ("smr_up", Asked("replay_other"), "needs feedback of somebody else"),
        ("smr_up", Asked("other_site"), "needs a site"),
        ("smr_up", Asked("other_site", None, ("cz",)), "is the trained site itself"),
        ("faa", Asked("other_site", None, ("P4",)), "2 sites, for F4, F3"),
        ("source_pcc", Asked("other_site", None, ("C5",)), "spatial filter belongs"),
        ("scp", Asked("noise"), "protocol with trials"),
        ("scp", Asked("inverse"), "protocol with trials"),
        ("ilf", Asked("random_band"), "not measured in a band"),
        ("zscore", Asked("random_band"), "no room"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_starts(
    name: str, one: Asked, words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        control_plan(science(name), [Asked("real"), one], 0, seed=1)
    assert error.value.fix


def test_controls_of_the_rest_need_a_rest(tmp_path: Path) -> None:
    p = science("smr_up")
    unlearned = tuple(b.model_copy(update={"learn": ("smr",)}) for b in p.baseline)
    bare = p.model_copy(update={"baseline": unlearned})
    for kind in ("noise", "replay_own"):
        with pytest.raises(InputError, match="no baseline of smr_up learns theta"):
            control_plan(bare, [Asked(kind)], seed=1)


def test_a_missing_donor_fails_in_every_arm_alike(tmp_path: Path) -> None:
    kinds = [Asked("real"), Asked("replay_other", tmp_path), Asked("noise")]
    said = set()
    for chosen in range(3):
        with pytest.raises(InputError) as error:
            control_plan(science("smr_up"), kinds, chosen, seed=4)
        said.add(str(error.value))
    assert len(said) == 1


def test_plans_say_nothing(tmp_path: Path) -> None:
    donors = donor_folder(tmp_path, "smr_up")
    kinds = [Asked("noise"), Asked("replay_other", donors)]
    made = [control_plan(science("smr_up"), kinds, k, seed=4) for k in range(2)]
    assert {repr(m) for m in made} == {"<control plan>"}
    assert repr(made[0].made[0]) == repr(made[0].made[0])
    assert "noise" not in repr(made[0].made)
    assert made[0].protocol == made[1].protocol
    # The two written texts differ in one digit.
    one, two = (json.dumps(m.stored()) for m in made)
    assert len(one) == len(two)
    assert all(described(k) == KINDS[k] for k in KINDS)


def damaged(what: str, stored: dict[str, Any]) -> Any:
    first = stored["controls"][0]
    if what == "nothing":
        return {}
    if what == "chosen":
        stored["chosen"] = 4
    if what == "before":
        stored["chosen"] = -1
    if what == "text":
        first["donor"]["blocks"][0]["level"] = "!!"
    if what == "cut":
        first["donor"]["blocks"][0]["level"] = first["donor"]["blocks"][0]["level"][:8]
    if what == "kind":
        first["kind"] = "other"
    if what == "no donor":
        first["donor"] = None
    return stored


@pytest.mark.parametrize("what", ["nothing", "chosen", "before", "text", "cut", "kind", "no donor"])
def test_a_damaged_record_is_no_traceback(what: str, tmp_path: Path) -> None:
    p = science("smr_up")
    made = control_plan(p, [Asked("replay_other", donor_folder(tmp_path, "smr_up"))], seed=1)
    with pytest.raises(FileError, match="cannot be read"):
        again(p, damaged(what, made.stored()))


def test_a_course_is_no_course_of_what_only_a_control_looks_at(tmp_path: Path) -> None:
    """A band drawn anew in each session must not end a person's course."""
    path = tmp_path / "own.yaml"
    text = "extends: smr_up\nname: own\nfeatures: {smr: {fit: course}, theta: {fit: course}}\n"
    path.write_text("format: 2\n" + text, encoding="utf-8")
    p = load(str(path), FEATURES).protocol
    assert is_course(p)
    wide = control_plan(p, [Asked("random_band"), Asked("other_site", None, ("O1",))], seed=1)
    own = {n: f for n, f in wide.protocol.features.items() if n.startswith("control_")}
    assert {f.fit for f in own.values() if f.band_hz} == {"session"}


def test_every_protocol_has_some_sham(tmp_path: Path) -> None:
    for name in library():
        donors = donor_folder(tmp_path / name, name)
        assert control_plan(science(name), [Asked("yoked", donors)], seed=1, session=1)
