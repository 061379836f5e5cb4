"""Feedback given on to others: what a donor file holds, and what is refused."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from engine.donors import (
    Donor,
    choose,
    donate,
    donors_in,
    read_donor,
    write_donor,
)
from engine.errors import FileError, InputError
from engine.frames import PhaseKind, frozen
from engine.recording import Recording
from protocols.sham import Series

GRID_HZ = 50.0


def series(n: int = 600, seed: int = 1) -> Series:
    rng = np.random.default_rng(seed)
    level = rng.random(n)
    level[50:70] = np.nan
    reward = np.isfinite(level) & (rng.random(n) < 0.03)
    return Series(frozen(level), frozen(reward))


def donor(**what: Any) -> Donor:
    made = Donor("smr_up", "ab" * 32, GRID_HZ, 2, (series(), series(700, 2)))
    return replace(made, **what)


def recording(blocks: list[Series], header: dict[str, Any] | None = None) -> Recording:
    """Return what `donate` reads of a recording: blocks with a hold in the middle, and rests."""
    rows: list[tuple[float, ...]] = []
    for k, block in enumerate(blocks):
        rows += [(PhaseKind.REST.value, 2 * k, 0.0, 0.9, 1.0)] * 5
        for i, (level, reward) in enumerate(zip(block.level, block.reward, strict=True)):
            if i == 100:
                rows += [(PhaseKind.TRAIN.value, 2 * k + 1, 64.0, math.nan, 0.0)] * 7
            rows.append((PhaseKind.TRAIN.value, 2 * k + 1, 0.0, level, float(reward)))
    values = np.array(rows, dtype=float)
    names = ("kind", "phase", "held", "level", "reward")
    table = SimpleNamespace(values=values, column=lambda n: values[:, names.index(n)])
    about = {"protocol": {"name": "smr_up"}, "protocol_sha256": "ab" * 32, **(header or {})}
    made = SimpleNamespace(
        header=about,
        path=Path("k7.xdf"),
        spec=SimpleNamespace(grid_hz=GRID_HZ),
        decisions=table,
    )
    return cast(Recording, made)


def test_what_was_presented_is_given_on_and_nothing_else(tmp_path: Path) -> None:
    blocks = [series(), series(700, 2)]
    given = donate(recording(blocks, {"client": "anna"}), 3)
    path = write_donor(given, tmp_path / "new" / "a.donor.npz")
    back = read_donor(path)
    for one, two in zip(back.blocks, blocks, strict=True):
        np.testing.assert_array_equal(one.level, two.level)
        np.testing.assert_array_equal(one.reward, two.reward)
    assert (back.protocol, back.grid_hz, back.session) == ("smr_up", GRID_HZ, 3)
    assert len(back.sha256) == 64
    with zipfile.ZipFile(path) as packed:
        assert {f.filename for f in packed.infolist()} == {
            "format.npy", "protocol.npy", "protocol_sha256.npy", "grid_hz.npy", "session.npy",
            "test.npy", "n_blocks.npy", "level_0.npy", "reward_0.npy", "level_1.npy",
            "reward_1.npy",
        }  # fmt: skip
        assert {f.date_time for f in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not any(b"anna" in packed.read(f) for f in packed.infolist())


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"blinded": True}, "plain, unblinded"),
        ({"control": {"chosen": 0}}, "plain, unblinded"),
        ({"protocol": None}, "holds no protocol"),
    ],
)
def test_what_may_not_be_given_on(header: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        donate(recording([series()], header))


def test_too_little_feedback_is_refused_by_its_block() -> None:
    short = Series(frozen(np.full(300, 0.5)), frozen(np.zeros(300, dtype=bool)))
    with pytest.raises(InputError, match=r"less than 10 s of feedback in block 2 of k7\.xdf"):
        donate(recording([series(), short]))
    assert donate(recording([short], {"test_session": True})).test
    with pytest.raises(InputError, match="feedback in k7"):
        donate(recording([], {}))


@pytest.mark.parametrize("to_hz", [25.0, 50.0, 62.5, 64.0, 100.0])
def test_another_grid_keeps_every_reward_and_the_time(to_hz: float) -> None:
    source = donor()
    here = source.on_grid(to_hz)
    assert here.grid_hz == pytest.approx(to_hz)
    for one, two in zip(here.blocks, source.blocks, strict=True):
        assert len(one) / to_hz == pytest.approx(len(two) / GRID_HZ, abs=1.0 / to_hz)
        if to_hz >= GRID_HZ:
            assert one.reward.sum() == two.reward.sum()
            assert one.clean().reward.sum() == two.clean().reward.sum()
            assert set(one.level[np.isfinite(one.level)]) == set(two.level[np.isfinite(two.level)])
        at = min(len(one) - 1, round(3.0 * to_hz) + 1)
        assert one.level[at] in two.level[[149, 150, 151, 152]]


def test_no_donor_is_written_over(tmp_path: Path) -> None:
    path = write_donor(donor(), tmp_path / "a.donor.npz")
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists already"):
        write_donor(donor(session=9), path)
    assert path.read_bytes() == before


def changed(what: str, path: Path) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    if what == "text":
        path.write_bytes(b"no file of ours")
        return
    if what == "cut":
        path.write_bytes(path.read_bytes()[:200])
        return
    if what == "out of range":
        arrays["level_0"] = np.full(600, 1.5)
    if what == "infinite":
        arrays["level_0"][3] = np.inf
    if what == "no levels":
        arrays["level_0"] = np.full(600, np.nan)
    if what == "shape":
        arrays["reward_0"] = arrays["reward_0"][:-1]
    if what == "lacking":
        del arrays["level_1"]
    if what == "format":
        arrays["format"] = np.array(7)
    if what == "rate":
        arrays["grid_hz"] = np.array(0.0)
    if what == "endless":
        arrays["grid_hz"] = np.array(np.inf)
    if what == "empty":
        arrays["n_blocks"] = np.array(0)
    if what == "flipped":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(bytes(data))
        return
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "what",
    ["text", "cut", "out of range", "infinite", "no levels", "shape", "lacking", "format", "rate",
     "endless", "empty", "flipped"],
)  # fmt: skip
def test_a_damaged_file_is_no_traceback(what: str, tmp_path: Path) -> None:
    path = write_donor(donor(), tmp_path / "a.donor.npz")
    changed(what, path)
    with pytest.raises(FileError) as error:
        read_donor(path)
    assert str(path) in error.value.what
    with pytest.raises(FileError):
        donors_in(tmp_path, "smr_up")


def test_donors_of_a_protocol(tmp_path: Path) -> None:
    write_donor(donor(), tmp_path / "b.donor.npz")
    write_donor(donor(session=5), tmp_path / "a.donor.npz")
    write_donor(donor(protocol="tbr_down"), tmp_path / "c.donor.npz")
    write_donor(donor(session=7, test=True), tmp_path / "d.donor.npz")
    (tmp_path / "notes.txt").write_text("no donor")
    assert [d.session for d in donors_in(tmp_path, "smr_up")] == [5, 2]
    assert [d.session for d in donors_in(tmp_path, "smr_up", test=True)] == [5, 2, 7]
    with pytest.raises(InputError, match="no donor for faa"):
        donors_in(tmp_path, "faa")
    with pytest.raises(InputError, match="no donor"):
        donors_in(tmp_path / "nowhere", "smr_up")
    only = tmp_path / "tests"
    write_donor(donor(test=True), only / "a.donor.npz")
    with pytest.raises(InputError, match="of test sessions"):
        donors_in(only, "smr_up")


def test_one_is_drawn_evenly_and_by_its_session() -> None:
    many = tuple(donor(session=1 + k % 2, sha256=f"{k}") for k in range(6))
    drawn = [choose(many, seed).sha256 for seed in range(600)]
    assert min(drawn.count(f"{k}") for k in range(6)) > 60
    assert {choose(many, seed, 2).session for seed in range(50)} == {2}
    assert choose(many, 4) is choose(many, 4)
    with pytest.raises(InputError, match="No donor's session is number 3"):
        choose(many, 1, 3)
