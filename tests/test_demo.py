"""The first command anyone runs, as anyone runs it: a whole session in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.assemble import assemble
from engine.cli import main as cli
from engine.demo import SEED, run_demo
from engine.errors import InputError
from engine.features import FEATURES
from engine.frames import Chunk, Command, PhaseKind, StreamSpec, frozen
from engine.person import Person, columns
from engine.recording import read
from engine.replay import replay_recording
from protocols.load import library, load
from protocols.plan import expand

REPO = Path(__file__).resolve().parents[1]
VALIDATOR = Path(sys.executable).with_name("bids-validator-deno")
RATE_HZ = 250.0
FIRST = ("alpha_up_ec", "faa", "smr_up", "tbr_down")  # the demo's person was picked for these
SPEC = StreamSpec("demo", "EEG", "demo", "u", "", RATE_HZ, columns())

pytestmark = pytest.mark.timeout(600)  # a session takes its time, and a loaded computer longer


@dataclass(frozen=True)
class Demo:
    """What a demo said and left behind."""

    code: int
    said: str
    folder: Path

    def named(self, label: str) -> Path:
        """Return the path that was printed after a label."""
        found = re.search(rf"(?m)^{label}: +(.+)$", self.said)
        assert found, f"no {label} in:\n{self.said}"
        return Path(found[1])


def started(arguments: Sequence[str], folder: Path, **more: Any) -> subprocess.Popen[str]:
    """Start a demo as on a computer without a screen, with its own LSL settings."""
    gone = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "LSLAPICFG")
    environment = {k: v for k, v in os.environ.items() if k not in gone}
    environment["XDG_STATE_HOME"] = str(folder / "state")
    return subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "demo", "--plain", *arguments],
        cwd=REPO,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        **more,
    )


def whole(protocol: str, seconds: int, folder: Path) -> Demo:
    process = started(
        ["--protocol", protocol, "--seconds", str(seconds), "--out", str(folder / "out")], folder
    )
    said, _ = process.communicate(timeout=500)
    return Demo(process.returncode, said, folder / "out")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Run `neuroloop demo --seconds 50 --plain --out DIR` once for all tests below."""
    return whole("smr_up", 50, tmp_path_factory.mktemp("demo"))


# ---------------------------------------------------------------- one real demo


def test_a_demo_completes(demo: Demo) -> None:
    assert demo.code == 0, demo.said
    assert "Traceback" not in demo.said
    assert "TEST SESSION" in demo.said
    assert "Not a medical device" in demo.said
    assert "The session is complete." in demo.said
    for label in ("Recording", "Report", "Log"):
        assert demo.named(label).is_file()
    assert demo.named("Recording").parent == demo.folder


@pytest.mark.skipif(sys.platform != "linux", reason="only there can a screen be taken away")
def test_without_a_screen_pictures_are_saved(demo: Demo) -> None:
    assert "No screen here" in demo.said
    frames = sorted(demo.named("Frames").glob("*.png"))
    assert len(frames) > 3
    assert all(f.read_bytes().startswith(b"\x89PNG") for f in frames)


def test_other_programs_open_the_recording(demo: Demo) -> None:
    import pyxdf

    streams, _ = pyxdf.load_xdf(str(demo.named("Recording")), verbose=False)
    rows = {s["info"]["name"][0]: len(s["time_series"]) for s in streams}
    (eeg,) = [s for s in streams if s["info"]["type"][0] == "EEG"]
    assert float(eeg["info"]["nominal_srate"][0]) == RATE_HZ
    assert len(eeg["time_series"]) > 50 * RATE_HZ
    grid_points = len(eeg["time_series"]) / SPEC.hop
    for name in ("features", "decisions"):
        assert rows[name] == pytest.approx(grid_points, abs=2)
    assert rows["inputs"] >= 1
    assert rows["events"] > 10
    assert rows["presented"] > 50 * 20
    labels = [c["label"][0] for c in eeg["info"]["desc"][0]["channels"][0]["channel"]]
    assert {"Cz", "O1", "Fp1", "counter"} <= set(labels)


def test_the_session_did_what_a_session_does(demo: Demo) -> None:
    recording = read(demo.named("Recording"))
    assert recording.damage is None
    assert recording.header["test_session"] is True
    kinds = {PhaseKind(int(k)) for k in recording.decisions.column("kind")}
    wanted = ("BASELINE", "TRAIN", "REST", "TRANSFER", "POST", "DONE")
    assert {PhaseKind[k] for k in wanted} <= kinds
    happened = [e.kind for e in recording.events]
    assert "baseline_repeat" not in happened
    assert happened.count("gap") == 0
    assert recording.decisions.column("reward").sum() >= 1


def test_it_lasts_as_long_as_it_says(demo: Demo) -> None:
    recording = read(demo.named("Recording"))
    kind = recording.decisions.column("kind")
    over = [k.value for k in PhaseKind if k.terminal]
    begun = (kind > PhaseKind.CHECK.value) & ~np.isin(kind, over)
    # Counted in samples: gates lengthen training by up to a fifth.
    assert 0.85 * 50 <= begun.sum() / SPEC.grid_hz <= 1.15 * 50


def test_it_replays_to_the_same_decisions(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["replay", str(demo.named("Recording")), "--json", "--out", str(tmp_path)])
    (summary,) = json.loads(capsys.readouterr().out)
    assert (code, summary["identical_to_recording"]) == (0, True)
    assert summary["ended_as"] == "done"


def test_the_report_is_a_page(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    page = demo.named("Report").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "TEST SESSION" in page.upper()
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)  # nothing is fetched
    assert cli.main(["report", str(demo.named("Recording")), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


# ---------------------------------------------------------------- its export


@pytest.fixture(scope="module")
def exported(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the demo's recording with the command; a demo's person needs no label."""
    root = tmp_path_factory.mktemp("bids") / "set"
    assert cli.main(["export", str(demo.named("Recording")), "--out", str(root)]) == 0
    return root


def test_the_official_validator_finds_no_error(exported: Path) -> None:
    if not VALIDATOR.exists():
        pytest.skip("bids-validator-deno is not installed beside this Python")
    for root in (exported, exported / "derivatives" / "neuroloop"):
        done = subprocess.run(
            [str(VALIDATOR), "--json", str(root)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        issues = json.loads(done.stdout)["issues"]["issues"]
        assert [i for i in issues if i["severity"] == "error"] == []


def test_mne_reads_the_same_data_back(exported: Path, demo: Demo) -> None:
    import mne_bids

    (header,) = exported.rglob("sub-demo*_eeg.vhdr")
    raw = mne_bids.read_raw_bids(mne_bids.get_bids_path_from_fname(header), verbose="error")
    recording = read(demo.named("Recording"))
    assert raw.ch_names == list(recording.spec.names)
    eeg = [k for k, c in enumerate(recording.spec.channels) if c.kind == "eeg"]
    want = recording.uv()[:, eeg].T
    np.testing.assert_allclose(raw.get_data(picks=eeg) * 1e6, want, rtol=1e-6, atol=1e-4)
    assert raw.info["sfreq"] == RATE_HZ
    assert raw.info["line_freq"] == 50
    assert raw.info["meas_date"] is None


def test_an_export_that_is_there_is_kept(
    exported: Path, demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = str(demo.named("Recording"))
    assert cli.main(["export", recording, "--out", str(exported)]) == 2
    assert "in the dataset already" in capsys.readouterr().err
    more = ["--out", str(exported), "--subject", "07", "--run", "2", "--task", "try"]
    assert cli.main(["export", recording, *more]) == 0
    assert (exported / "sub-07" / "eeg" / "sub-07_task-try_run-02_eeg.vhdr").exists()


def test_the_export_replays_too(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy,) = (exported / "sourcedata").rglob("sub-demo*.xdf")
    code = cli.main(["replay", str(copy), "--json", "--out", str(tmp_path)])
    (summary,) = json.loads(capsys.readouterr().out)
    assert (code, summary["identical_to_recording"]) == (0, True)


# ---------------------------------------------------------------- its person


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("seconds", [60.0, pytest.param(55.0, marks=pytest.mark.slow)])
def test_the_baseline_passes_at_once(name: str, seconds: float) -> None:
    """Whenever the session begins: how long a computer needs to get there is not known."""
    protocol = load(name, FEATURES).protocol
    plan = expand(protocol, seconds)
    closed = all(b.eyes == "closed" for b in protocol.baseline)
    person = Person(RATE_HZ, seed=SEED, eyes="closed" if closed else "open")
    uv = frozen(person.read(round(50 * RATE_HZ)))
    for starts_s in (2.5, 5.0, 8.5, 13.0):
        first = round((starts_s - 2.5) * RATE_HZ)
        part = uv[first : first + round(30 * RATE_HZ)]
        fold = assemble(SPEC, protocol, plan, mains_hz=50.0).fold
        fold.step(Command(round(2.5 * SPEC.grid_hz) * SPEC.hop, "start"))
        points = fold.step(Chunk(0, frozen(np.arange(len(part)) / RATE_HZ), part))
        kinds = [p.decision.kind for p in points]
        assert PhaseKind.TRAIN in kinds, (name, starts_s)
        assert not any(e.kind == "baseline_repeat" for p in points for e in p.events)


def test_too_short_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be shortened to 30 s"):
        run_demo("smr_up", 30.0, tmp_path / "out", True, lambda _: None)
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- longer: with -m slow


@pytest.mark.slow
@pytest.mark.parametrize("name", library())
def test_every_protocol_runs_live_and_replays(name: str, tmp_path: Path) -> None:
    ran = whole(name, 60, tmp_path)
    assert ran.code == 0, ran.said
    recording = read(ran.named("Recording"))
    assert recording.header["protocol"]["name"] == name
    if name in FIRST:
        assert recording.decisions.column("reward").sum() >= 1
        assert "baseline_repeat" not in [e.kind for e in recording.events]
    again = replay_recording(recording).comparison
    assert again is not None
    assert again.identical, again.sentence


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_keeps_what_was_recorded(tmp_path: Path) -> None:
    process = started(["--out", str(tmp_path / "out")], tmp_path)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Baseline" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=300)
    ran = Demo(process.returncode, "".join(said) + rest, tmp_path / "out")
    assert ran.code == 130
    assert "Traceback" not in ran.said
    recording = read(ran.named("Recording"))
    assert recording.closed
    assert recording.damage is None
    assert PhaseKind(int(recording.decisions.column("kind")[-1])) is PhaseKind.STOPPED
    assert ran.named("Report").is_file()
