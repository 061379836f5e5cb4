"""A participant's next session: found by its token, opened by nobody, refused alike."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.controls import ControlPlan
from engine.donors import Donor, write_donor
from engine.enrol import enrol
from engine.errors import InputError, NeuroloopError
from engine.features import FEATURES
from engine.frames import frozen
from engine.seal import KEY_FILE, SEALED_FILE, Cost, allocate, unseal, write_allocation
from engine.study import load_study
from engine.studyrun import InStudy, join
from protocols.load import load
from protocols.sham import Series

PASSPHRASE = "correct horse battery"
STUDY = """format: 1
name: pilot
protocol: smr_up
sessions: 2
blinding: {blinding}
arms:
  - {{name: zebra, control: real}}
  - {{name: walrus, control: replay_other, donors: donors}}
  - {{name: ibex, control: noise}}
{more}
"""


def client_of(token: str) -> str:
    return f"c{token.lower()}"


class Bench:
    """A study in a folder, and whose token has which arm."""

    def __init__(self, folder: Path, blinding: str = "double", more: str = "") -> None:
        self.path = folder / "study.yaml"
        self.path.write_text(STUDY.format(blinding=blinding, more=more), encoding="utf-8")
        level = frozen(0.5 + 0.4 * (np.arange(900) % 7 - 3) / 3)
        block = Series(level, frozen(level > 0.85))
        self.protocol = load("smr_up", FEATURES)
        donor = Donor("smr_up", self.protocol.sha256, 50.0, 1, (block,))
        write_donor(donor, folder / "donors/a.donor.npz")
        loaded = load_study(self.path)
        files = allocate(
            loaded,
            12,
            PASSPHRASE,
            protocol_sha256=self.protocol.sha256,
            cost=Cost(n=16, r=1, p=1),
        )
        write_allocation(files, folder)
        opened = unseal(folder / SEALED_FILE, PASSPHRASE, loaded)
        self.tokens: dict[str, list[str]] = {}
        for row in opened.assignments:
            self.tokens.setdefault(row.arm, []).append(row.token)
            enrol(folder, row.token, client_of(row.token))  # all have come, in their order

    def join(self, arm: str, k: int = 0) -> InStudy:
        return join(self.path, self.tokens[arm][k])

    def plan(self, arm: str) -> ControlPlan:
        return self.join(arm).plan(self.protocol.protocol, self.protocol.sha256)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_every_arm_prepares_all_and_presents_its_own(bench: Bench) -> None:
    wanted = {"zebra": "real", "walrus": "replay_other", "ibex": "noise"}
    for arm, kind in wanted.items():
        plan = bench.plan(arm)
        assert tuple(m.kind for m in plan.made) == tuple(wanted.values())
        assert plan.made[plan.chosen].kind == kind
        assert plan.protocol == bench.protocol.protocol


def test_sessions_and_participants_draw_anew(bench: Bench) -> None:
    one, two = (join(bench.path, t).assigned.seed() for t in bench.tokens["ibex"][:2])
    assert one != two
    first = bench.join("ibex")
    assert first.assigned.seed() == bench.join("ibex").assigned.seed()
    first.begin(client_of(first.token), Path("a.xdf"))
    second = bench.join("ibex")
    assert second.session == 2
    assert second.assigned.seed() != first.assigned.seed()


def test_nothing_that_is_printed_or_written_tells(bench: Bench) -> None:
    texts = set()
    for arm in bench.tokens:
        joined = bench.join(arm)
        text = f"{joined!r} {joined.assigned!r} {joined.allocation!r} {joined.header()}"
        texts.add(text.replace(joined.token, "TOKEN"))
        with pytest.raises(TypeError):
            pickle.dumps(joined.assigned)
    assert len(texts) == 1
    (text,) = texts
    assert not any(word in text for word in ("zebra", "walrus", "ibex", "noise", "replay"))


def test_sessions_are_counted_and_come_to_an_end(bench: Bench) -> None:
    for number in (1, 2):
        joined = bench.join("zebra")
        assert joined.session == number
        joined.begin(client_of(joined.token), Path(f"{number}.xdf"))
    with pytest.raises(InputError, match="has begun all 2 sessions"):
        bench.join("zebra")


def test_a_token_and_a_client_belong_together(bench: Bench) -> None:
    one, two = bench.join("zebra"), bench.join("walrus")
    one.begin(client_of(one.token), Path("a.xdf"))
    with pytest.raises(InputError):
        one.begin("c2", Path("b.xdf"))
    with pytest.raises(InputError):
        two.begin(client_of(one.token), Path("b.xdf"))


def test_another_protocol_is_refused(bench: Bench) -> None:
    joined = bench.join("zebra")
    joined.check_protocol(bench.protocol.sha256)
    with pytest.raises(InputError, match="not the one that the study was allocated with"):
        joined.check_protocol("00" * 32)


@pytest.mark.parametrize("token", ["", "ZZZZZZ", "../..", "K7F 3Q2"])
def test_a_wrong_token_is_no_traceback(bench: Bench, token: str) -> None:
    with pytest.raises(InputError):
        join(bench.path, token)


def test_a_small_token_is_the_same(bench: Bench) -> None:
    token = bench.tokens["zebra"][0]
    assert join(bench.path, f" {token.lower()} ").token == token


def changed(what: str, bench: Bench) -> None:
    folder = bench.path.parent
    name = {"seal": SEALED_FILE, "key": KEY_FILE, "study": "study.yaml"}.get(what)
    if what == "donors":
        (folder / "donors/a.donor.npz").unlink()
        return
    assert name is not None
    path = folder / name
    path.chmod(0o600)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data + b"# more\n" if what == "study" else data[:half] + data[half + 1 :])


@pytest.mark.parametrize("what", ["seal", "key", "study", "donors"])
def test_every_refusal_is_the_same_in_every_arm(bench: Bench, what: str) -> None:
    changed(what, bench)
    said: set[Any] = set()
    for arm, tokens in bench.tokens.items():
        with pytest.raises(NeuroloopError) as error:
            bench.plan(arm)
        said.add((type(error.value), str(error.value).replace(tokens[0], "TOKEN")))
    assert len(said) == 1


def test_an_arm_outside_this_software_runs_no_session(tmp_path: Path) -> None:
    bench = Bench(tmp_path, more="  - {name: usual, control: treatment_as_usual}")
    with pytest.raises(InputError, match="No session with this software"):
        bench.plan("usual")
    assert bench.plan("zebra").made
