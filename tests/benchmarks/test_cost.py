"""What is compared in cost computes the same thing, and the tables say what was measured."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks.cost import BANDS_HZ, METHODS, OURS, Cell, Stream, measure, slope, tables
from benchmarks.engine_case import RATE_HZ as ENGINE_HZ
from benchmarks.engine_case import Signal, protocol, recorded, stream_spec
from benchmarks.engine_cost import FoldCost, ReplayCost, fold, paced, replayed
from benchmarks.engine_cost import tables as engine_tables
from benchmarks.table import Table
from engine.assemble import assemble
from engine.frames import hop_samples
from protocols.plan import expand

RATE_HZ = 250.0
ALPHA = list(BANDS_HZ).index("alpha")


@pytest.fixture(scope="module")
def sines() -> Stream:
    """Return three channels of 10 Hz of 10, 20 and 5 µV: powers of 50, 200 and 12.5 µV²."""
    t = np.arange(1000) / RATE_HZ
    x = np.sin(2 * np.pi * 10.0 * t)[:, None] * np.array([10.0, 20.0, 5.0])
    return Stream(RATE_HZ, np.concatenate([x, x]))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_reads_the_power_of_a_sine_at_every_channel(name: str, sines: Stream) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BrainFlow, of setuptools
        try:
            method = METHODS[name](sines)
        except ImportError:
            pytest.skip(f"{name} is not installed: group bench")
        for k in range(200):
            powers = method(k)
    assert powers.shape == (len(BANDS_HZ), 3)
    reads = 0.375 if "BrainFlow" in name else 1.0  # its Hann window is not made up for
    np.testing.assert_allclose(powers[ALPHA], reads * np.array([50.0, 200.0, 12.5]), rtol=0.1)
    far = powers[list(BANDS_HZ).index("high beta")]
    assert (far < 0.02 * powers[ALPHA]).all()


def test_a_window_ends_with_its_hop(sines: Stream) -> None:
    n = sines.hop
    newest = sines.window(7, 1.0)
    np.testing.assert_array_equal(newest[:, -n:], sines.across[:, sines.hop_at(7)])
    assert newest.shape == (3, 250)


def test_all_methods_take_turns_and_absent_ones_say_so() -> None:
    def missing(of: Stream) -> None:
        raise ModuleNotFoundError("No module named 'nothing'", name="nothing")

    cell = measure(RATE_HZ, 4, 2, {OURS: METHODS[OURS], "peer": missing}, at_least_s=1e-4)
    assert cell.us[OURS].shape == (2,)
    assert (cell.us[OURS] > 0.0).all()
    assert cell.absent == {"peer": "not installed (nothing)"}
    assert cell.ratio("peer") is None


def made_up(rate_hz: float, n: int, factor: float) -> Cell:
    us = {name: np.full(5, float(n) * (1.0 if name == OURS else factor)) for name in METHODS}
    return Cell(rate_hz, n, us, {})


def test_targets_are_judged_by_what_was_measured() -> None:
    cells = [made_up(2048.0, n, 50.0) for n in (256, 512, 1024)]
    assert slope(cells, 2048.0) == pytest.approx(1.0)
    (*_, judged) = tables(cells)
    verdict = {row[0]: row[2] for row in judged.rows}
    share = 256.0 * 1e-6 * 2048.0 / hop_samples(2048.0)
    assert share < 0.03
    assert [v for k, v in verdict.items() if "under 3 %" in k] == ["met"]
    assert [v for k, v in verdict.items() if "order 4" in k] == ["met"]
    assert [v for k, v in verdict.items() if "BrainFlow" in k] == ["**missed**"]
    assert [v for k, v in verdict.items() if "linear" in k] == ["met"]


def test_ratios_are_formed_within_a_round() -> None:
    """A machine that slows down for one round slows both."""
    slow = np.array([1.0, 1.0, 10.0, 1.0, 1.0])
    us = {name: slow * (1.0 if name == OURS else 3.0) for name in METHODS}
    ratio = Cell(RATE_HZ, 8, us, {}).ratio("FFT 1 s")
    assert ratio == pytest.approx((3.0, 3.0, 3.0))


# ---------------------------------------------------------------- the whole engine


def test_a_recorded_session_replays_to_the_same_decisions(tmp_path: Path) -> None:
    path = tmp_path / "session.xdf"
    seconds = recorded(path, 6.0)
    assert seconds == 6.0
    found = replayed(path, seconds, 2)
    assert found.identical
    assert (found.speed > 0.0).all()


def test_stages_are_shares_and_the_timers_leave_the_fold_as_it_was() -> None:
    given = protocol()
    made = assemble(stream_spec(), given, expand(given), mains_hz=50.0)
    found = fold(Signal().read(round(20.0 * ENGINE_HZ)), made, 0)
    assert found.cpu.shape == found.number.shape == (1,)
    assert sum(found.stages.values()) == pytest.approx(1.0)
    assert {"condition", "gates", "estimate", "features", "decide"} < set(found.stages)
    assert "step" not in vars(made.fold.conditioner)
    had = made.fold.next_seq
    assert had > 9_500
    assert 0.0 < paced(Signal().read(100), made, 0.16) < 1.0
    assert made.fold.next_seq == had + 80


def test_the_engine_is_judged_by_what_was_measured() -> None:
    slow = FoldCost(np.full(5, 0.02), np.full(5, 0.001), {"gates": 1.0})
    again = ReplayCost(1000.0, np.array([8.0, 8.0, 8.0]), identical=True)
    (*_, judged) = engine_tables(slow, 0.03, "not possible here", again, [], "")
    assert [row[2] for row in judged.rows] == ["met", "not measured", "**missed**"]


# ---------------------------------------------------------------- one command


def test_the_command_keeps_what_was_made_and_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_part(name: str, quick: bool) -> list[Table]:
        assert quick
        if name == "cost":
            raise RuntimeError("nothing to measure")
        return [Table(f"Of {name}", ("a", "b"), (("1", "2"),))]

    monkeypatch.setattr(command, "run_part", run_part)
    asked = ["--quick", "--only", "cost", "--only", "gates", "--out", str(tmp_path)]
    assert command.main(asked) == 1
    said = capsys.readouterr()
    assert "nothing to measure" in said.err
    assert "### Of gates" in said.out
    kept = json.loads((tmp_path / "benchmarks.json").read_text("utf-8"))
    assert kept["parts"]["cost"]["tables"] == []
    assert kept["parts"]["gates"]["tables"][0]["rows"] == [["1", "2"]]
    assert "| 1 | 2 |" in (tmp_path / "benchmarks.md").read_text("utf-8")
