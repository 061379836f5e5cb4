"""The simulated amplifier: its faults on paper (pure), and its outlet on the network."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pylsl
import pylsl.util
import pytest

from engine.amplifier import Amplifier, Close, Open, Push, Step
from engine.errors import FileError, InputError, YamlError
from engine.faultscript import KINDS, Fault, load_faults
from engine.frames import Float, StreamSpec
from engine.montage import kind_of
from engine.person import COLUMNS, SITES, Person, columns
from engine.simulate import SimulatorOptions, main, spawn_simulator

COUNTER = COLUMNS.index("counter")
TRUTH = COLUMNS.index("truth_fault")


def amplifier(*faults: dict[str, Any], **person: Any) -> Amplifier:
    person = {"blinks": False, "jaw": False, "seed": 3, **person}
    spec = StreamSpec("sim", "EEG", "sim", "", "", 250.0, columns())
    script = tuple(Fault.model_validate(f, by_alias=True, by_name=False) for f in faults)
    return Amplifier(Person(250.0, **person), spec, script)


def run(amp: Amplifier, seconds: float) -> list[Step]:
    steps = []
    while not steps or steps[-1].due_s < seconds:
        steps.append(amp.step())
    return steps


def pushes(steps: list[Step]) -> list[Push]:
    return [a for s in steps for a in s.actions if isinstance(a, Push)]


def counters(steps: list[Step]) -> Float:
    return np.concatenate([p.samples[:, COUNTER] for p in pushes(steps)]).astype(np.float64)


def received(steps: list[Step]) -> Float:
    return np.concatenate([p.samples for p in pushes(steps)]).astype(np.float64)


CLEAN = amplifier()
CLEAN_SAMPLES = received(run(CLEAN, 6.0))


def test_without_faults_every_sample_comes_once_in_time() -> None:
    steps = run(amplifier(), 4.0)
    c = counters(steps)
    assert np.array_equal(c, np.arange(len(c)))
    assert [p.stamp_s for p in pushes(steps)] == pytest.approx([s.due_s for s in steps])
    assert steps[-1].due_s == pytest.approx(len(c) / 250)
    assert {type(a) for s in steps for a in s.actions} == {Push}
    assert 0.02 <= steps[0].due_s <= 0.033


def test_vanish_closes_the_outlet_and_opens_the_same_again() -> None:
    steps = run(amplifier({"at": "1 s", "do": "vanish", "for": "2 s"}), 4.0)
    kinds = [(s.due_s, a) for s in steps for a in s.actions if not isinstance(a, Push)]
    assert [type(a) for _, a in kinds] == [Close, Open]
    assert kinds[0][0] == pytest.approx(1.0, abs=0.05)
    assert kinds[1][0] == pytest.approx(3.0, abs=0.05)
    assert kinds[1][1] == Open(StreamSpec("sim", "EEG", "sim", "", "", 250.0, columns()))
    gap = np.diff(counters(steps))
    assert sorted(set(gap)) == [1.0, pytest.approx(501, abs=10)]


def test_vanish_without_an_end_stays_away() -> None:
    steps = run(amplifier({"at": "1 s", "do": "vanish"}), 5.0)
    assert counters(steps)[-1] == pytest.approx(250, abs=9)
    assert sum(isinstance(a, Open) for s in steps for a in s.actions) == 0


@pytest.mark.parametrize(("backlog", "missing"), [("sent", 0), ("lost", 500)])
def test_freeze_sends_its_backlog_at_once_or_loses_it(backlog: str, missing: int) -> None:
    steps = run(amplifier({"at": "1 s", "do": "freeze", "for": "2 s", "backlog": backlog}), 4.0)
    silent = [s.due_s for s in steps if not s.actions]
    assert silent[0] == pytest.approx(1.0, abs=0.05)
    assert silent[-1] == pytest.approx(3.0, abs=0.05)
    assert np.diff(counters(steps)).sum() - len(counters(steps)) + 1 == pytest.approx(
        missing, abs=10
    )
    assert max(len(s.actions) for s in steps) > 50 or backlog == "lost"


def test_burst_sends_large_packets_with_every_sample() -> None:
    script = {"at": "1 s", "do": "burst", "for": "2 s", "packet": "400 ms"}
    steps = run(amplifier(script), 4.0)
    assert np.array_equal(counters(steps), np.arange(len(counters(steps))))
    assert 95 <= max(len(p.samples) for p in pushes(steps)) <= 110


def test_drop_leaves_out_exactly_these_samples() -> None:
    steps = run(amplifier({"at": "1 s", "do": "drop", "samples": 13}), 2.0)
    missing = set(range(450)) - set(counters(steps)[:450].astype(int))
    assert missing == set(range(250, 263))
    # Time goes on: the stamps show the same gap.
    ends = np.array([p.stamp_s for p in pushes(steps)])
    assert ends == pytest.approx([(p.samples[-1, COUNTER] + 1) / 250 for p in pushes(steps)])


def test_dup_sends_samples_again_with_their_counters_and_stamps() -> None:
    c = counters(run(amplifier({"at": "1 s", "do": "dup", "samples": 11}), 2.0))
    back = np.flatnonzero(np.diff(c) < 0)
    assert len(back) == 1
    assert np.diff(c)[back[0]] == -10
    assert len(c) - len(set(c)) == 11


def test_rate_offset_changes_the_pace_and_the_stamps() -> None:
    steps = run(amplifier({"at": "0 s", "do": "rate_offset", "by": "-2 %"}), 4.9)
    c, stamps = counters(steps), np.array([p.stamp_s for p in pushes(steps)])
    assert (c[-1] + 1) / stamps[-1] == pytest.approx(245, rel=1e-6)


def test_clock_jump_moves_the_stamps_but_not_the_pace() -> None:
    steps = run(amplifier({"at": "1 s", "do": "clock_jump", "by": "-30 s"}), 2.0)
    late = [(s.due_s, a.stamp_s) for s in steps for a in s.actions if isinstance(a, Push)]
    assert late[10][0] == late[10][1]
    assert late[-1][1] == pytest.approx(late[-1][0] - 30)


def test_twin_opens_a_second_outlet() -> None:
    steps = run(amplifier({"at": "1 s", "do": "twin", "for": "1 s"}), 3.0)
    found = [a for s in steps for a in s.actions if not isinstance(a, Push)]
    assert [type(a) for a in found] == [Open, Close]
    assert all(a.twin for a in found)


def test_restart_at_another_rate_is_the_same_person_from_the_beginning() -> None:
    steps = run(amplifier({"at": "1 s", "do": "restart_other_rate", "rate": "500 Hz"}), 4.0)
    opened = next(a for s in steps for a in s.actions if isinstance(a, Open))
    assert opened.spec.rate_hz == 500
    back = np.flatnonzero(np.diff(counters(steps)) < 0)
    assert len(back) == 1
    assert counters(steps)[back[0] + 1] == 0
    assert counters(steps)[-1] == pytest.approx(1000, abs=40)


def test_relabel_and_unit_lie_change_what_is_declared() -> None:
    script = (
        {"at": "1 s", "do": "relabel", "channel": "Cz", "to": "X1"},
        {"at": "3 s", "do": "unit_lie"},
    )
    steps = run(amplifier(*script), 5.0)
    first, second = (a.spec for s in steps for a in s.actions if isinstance(a, Open))
    assert first.names[SITES.index("Cz")] == "X1"
    assert {c.unit for c in first.channels if c.kind == "eeg"} == {"microvolts"}
    assert {c.unit for c in second.channels if c.kind == "eeg"} == {"volts"}


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ({"do": "nan", "for": "100 ms"}, lambda bad, _: np.isnan(bad).all()),
        ({"do": "inf"}, lambda bad, _: np.isposinf(bad).all()),
        ({"do": "spike", "size": "9 mV"}, lambda bad, was: np.allclose(bad - was, 9e3, atol=0.1)),
        ({"do": "step", "for": "1 s"}, lambda bad, was: np.allclose(bad - was, 300, atol=1e-2)),
        ({"do": "flat", "for": "1 s"}, lambda bad, _: np.ptp(bad) == 0),
        ({"do": "rail", "for": "1 s"}, lambda bad, _: (bad == 187_500).all()),
        ({"do": "line", "for": "1 s"}, lambda bad, was: 40 < np.std(bad - was) < 45),
    ],
)  # fmt: skip
def test_signal_faults_change_one_channel_while_they_last(
    fault: dict[str, Any], check: Callable[[Float, Float], bool]
) -> None:
    at = SITES.index("Cz")
    samples = received(run(amplifier({"at": "1 s", "channel": "Cz", **fault}), 4.0))
    was = CLEAN_SAMPLES[: len(samples)]
    active = samples[:, TRUTH] == KINDS[fault["do"]].code
    expected = {"nan": 25, "inf": 1, "spike": 1}.get(fault["do"], 250)
    assert active.sum() == expected
    assert np.flatnonzero(active)[0] == 250
    assert check(samples[active, at], was[active, at])
    others = [i for i in range(len(COLUMNS)) if i not in (at, TRUTH)]
    assert np.array_equal(samples[:, others], was[:, others])
    assert np.array_equal(samples[~active], was[~active])


def test_without_a_channel_every_site_is_hit_but_never_counter_or_truth() -> None:
    samples = received(run(amplifier({"at": "1 s", "do": "nan", "for": "1 s"}), 3.0))
    assert np.isnan(samples[250:500, : len(SITES)]).all()
    assert np.isfinite(samples[:, len(SITES) :]).all()


def test_a_bridge_makes_two_electrodes_read_alike() -> None:
    script = {"at": "1 s", "do": "bridge", "for": "1 s", "channel": "C3", "to": "C4"}
    samples = received(run(amplifier(script), 3.0))
    a, b = samples[:, SITES.index("C3")], samples[:, SITES.index("C4")]
    assert np.array_equal(a[250:500], b[250:500])
    assert not np.array_equal(a[:250], b[:250])


def test_the_person_obeys_the_script_and_returns_to_before() -> None:
    script = (
        {"at": "20 s", "do": "eyes_closed", "for": "20 s"},
        {"at": "60 s", "do": "smr", "gain": 3, "for": "20 s"},
        {"at": "90 s", "do": "clench"},
        {"at": "95 s", "do": "blink"},
    )
    samples = received(run(amplifier(*script), 100.0))
    second = np.arange(len(samples)) / 250
    alpha, smr = (samples[:, COLUMNS.index(f"truth_{n}")] for n in ("alpha", "smr"))
    closed, tripled = (second > 22) & (second < 40), (second > 62) & (second < 80)
    assert alpha[closed].mean() > 2 * alpha[second < 20].mean()
    assert alpha[second > 45].mean() < 0.6 * alpha[closed].mean()
    assert smr[tripled].mean() > 2 * smr[second < 60].mean()
    jaw = second[samples[:, COLUMNS.index("truth_jaw")] > 0]
    assert 90 <= jaw.min() < jaw.max() <= 91.05
    blink = second[samples[:, COLUMNS.index("truth_blink")] > 0]
    assert 95 <= blink.min() < blink.max() <= 95.4


# ---------------------------------------------------------------- the script


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "faults.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_is_read_in_the_order_of_time(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "format: 1\nfaults:\n"
        "  - {at: 1 min, do: eyes_closed}\n"
        "  - {at: 30 s, do: vanish, for: 12 s}\n",
    )
    assert [(f.at_s, f.do, f.for_s) for f in load_faults(path)] == [
        (30.0, "vanish", 12.0),
        (60.0, "eyes_closed", None),
    ]


@pytest.mark.parametrize(
    ("line", "said", "column"),
    [
        ("{at: 30, do: vanish}", "no unit", 10),
        ("{at: 30 s, do: vanisch}", "did you mean `vanish`", 20),
        ("{at: 30 s, do: vanish, fro: 2 s}", "fro", 28),
        ("{at: 30 s, do: freeze}", "needs `for`", 5),
        ("{at: 30 s, do: nan, gain: 2}", "has no `gain`", 5),
        ("{at: 30 s, do: clock_jump, by: 2 %}", "needs `by` in s", 5),
        ("{at: 30 s, do: nan, channel: Qz}", "no channel `Qz`", 34),
        ("{at: 30 s, do: restart_other_rate, rate: 90000 Hz}", "out of range", 46),
    ],
)
def test_a_mistake_in_a_script_is_found_at_its_place(
    tmp_path: Path, line: str, said: str, column: int
) -> None:
    with pytest.raises(YamlError) as caught:
        load_faults(script(tmp_path, f"format: 1\nfaults:\n  - {line}\n"), SITES)
    assert said in str(caught.value)
    assert caught.value.problems[0].line == 3
    assert caught.value.problems[0].column == column


def test_a_missing_script_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a file"):
        load_faults(tmp_path / "none.yaml")


def test_codes_are_different_and_every_fault_is_explained() -> None:
    assert len({k.code for k in KINDS.values()}) == len(KINDS)
    assert all(k.doc.endswith(".") and k.code > 0 for k in KINDS.values())


# ---------------------------------------------------------------- the process


@pytest.fixture
def source_id() -> str:
    return f"sim-{uuid.uuid4().hex[:8]}"


def inlet_of(source_id: str) -> pylsl.StreamInlet:
    found = pylsl.resolve_byprop("source_id", source_id, timeout=20)
    assert len(found) == 1
    inlet = pylsl.StreamInlet(found[0], max_buflen=30, recover=False)
    inlet.open_stream(timeout=20)
    return inlet


def pull(inlet: pylsl.StreamInlet, samples: int) -> tuple[Float, Float]:
    parts: list[Float] = []
    stamps: list[Float] = []
    deadline = time.monotonic() + 30
    while sum(map(len, stamps)) < samples and time.monotonic() < deadline:
        x, t = inlet.pull_chunk(timeout=0.5, min_samples=1, as_numpy=True)
        if len(t):
            parts.append(np.array(x))
            stamps.append(np.array(t))
    return np.concatenate(parts), np.concatenate(stamps)


def test_the_outlet_delivers_every_sample_as_declared(source_id: str) -> None:
    options = SimulatorOptions(seed=3, name="O'Brien", source_id=source_id, blinks=False, jaw=False)
    with spawn_simulator(options) as process:
        inlet = inlet_of(source_id)
        info = inlet.info(timeout=20)
        assert (info.name(), info.type(), info.nominal_srate()) == ("O'Brien", "EEG", 250)
        assert info.channel_format() == pylsl.cf_float32
        assert tuple(info.get_channel_labels()) == COLUMNS
        assert set(info.get_channel_units()[: len(SITES)]) == {"microvolts"}
        kinds = [kind_of(*x) for x in zip(COLUMNS, info.get_channel_types(), strict=True)]
        assert kinds == [c.kind for c in columns()]
        samples, stamps = pull(inlet, 400)
        assert process.alive
    first = int(samples[0, COUNTER])
    assert np.array_equal(samples[:, COUNTER], np.arange(first, first + len(samples)))
    assert np.diff(stamps) == pytest.approx(1 / 250, abs=1e-6)
    # What arrives is what the person with this seed is.
    person = Person(250.0, seed=3, blinks=False, jaw=False).read(first + len(samples))[first:]
    assert np.array_equal(samples, person.astype(np.float32))
    assert not process.alive


def test_after_kill_9_the_inlet_loses_the_stream(source_id: str) -> None:
    process = spawn_simulator(SimulatorOptions(source_id=source_id))
    inlet = inlet_of(source_id)
    pull(inlet, 50)
    process.kill()
    assert not process.alive
    with pytest.raises(pylsl.util.LostError):  # noqa: PT012 - the last samples may still come
        for _ in range(100):
            inlet.pull_chunk(timeout=0.2, min_samples=1, as_numpy=True)


def test_a_vanished_outlet_comes_back_with_a_jump_of_the_counter(
    source_id: str, tmp_path: Path
) -> None:
    path = script(tmp_path, "format: 1\nfaults:\n  - {at: 4 s, do: vanish, for: 2 s}\n")
    with spawn_simulator(SimulatorOptions(source_id=source_id, faults=path)):
        inlet = inlet_of(source_id)
        before: list[float] = []
        with pytest.raises(pylsl.util.LostError):  # noqa: PT012
            for _ in range(500):
                x, _t = inlet.pull_chunk(timeout=0.2, min_samples=1, as_numpy=True)
                before += list(np.array(x)[:, COUNTER]) if len(x) else []
        while True:  # the network may still name the outlet that is gone
            try:
                after, _ = pull(inlet_of(source_id), 50)
                break
            except pylsl.util.LostError:
                continue
    assert before[-1] < 4.05 * 250
    assert after[0, COUNTER] > 5.9 * 250


def test_it_ends_by_itself_after_its_time(source_id: str) -> None:
    stream = [f"--source-id={source_id}", "--seconds=0.2", "--rate=128", "--eyes=closed"]
    done = subprocess.run(
        [sys.executable, "-m", "engine.simulate", *stream, "--no-blinks", "--no-jaw"],
        check=False,
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_child_that_ends_by_itself_ends_well(source_id: str) -> None:
    process = spawn_simulator(SimulatorOptions(source_id=source_id, seconds=0.3))
    while process.alive:
        time.sleep(0.05)
    assert process.stop() == 0


def test_it_dies_with_its_parent(source_id: str) -> None:
    code = (
        "import sys; from engine.simulate import SimulatorOptions, spawn_simulator\n"
        f"p = spawn_simulator(SimulatorOptions(source_id={source_id!r}))\n"
        "sys.stdout.write(f'{p.pid}\\n'); sys.stdout.flush(); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_refused_options_are_said_by_the_parent(source_id: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be simulated"):
        spawn_simulator(SimulatorOptions(rate_hz=50.0, source_id=source_id))
    wrong = script(tmp_path, "format: 1\nfaults:\n  - {at: 1 s, do: explode}\n")
    with pytest.raises(InputError, match=r"faults\.yaml:3:\d+: there is no fault `explode`"):
        spawn_simulator(SimulatorOptions(faults=wrong, source_id=source_id))


def test_the_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rate", "20"]) == 2
    assert "Choose from 128 to 2048 Hz" in capsys.readouterr().err
