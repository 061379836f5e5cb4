"""Real EEG, eyes closed and eyes open, through `alpha_up_ec`: from the file, and over LSL.

Over LSL it is the whole chain of processes (player, engine, window) in real time: with -m slow.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest

from engine.cli import main as cli
from engine.frames import PhaseKind
from engine.recording import Recording, read

REPO = Path(__file__).resolve().parents[1]
EYES = {"closed": "S001R02.edf", "open": "S001R01.edf"}
SHORT_S = 55  # the files last 61 s


@pytest.mark.parametrize("eyes", EYES)
def test_from_the_file(
    eyes: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "eegbci" / EYES[eyes]
    arguments = ["--protocol", "alpha_up_ec", "--short", str(SHORT_S), "--mains", "60"]
    code = cli.main(["replay", str(path), *arguments, "--out", str(tmp_path), "--json"])
    (summary,) = json.loads(capsys.readouterr().out)
    assert code == 0
    assert summary["ended_as"] == "done"
    assert summary["rewards"] >= 1
    if eyes == "closed":  # alpha of 70 µV is no artefact
        assert summary["clean_s"] >= 0.8 * summary["running_s"]


def ungated(recording: Recording) -> float:
    """Return the open share of the session: neither check nor end."""
    kind = recording.decisions.column("kind")
    over = [k.value for k in PhaseKind if k.terminal]
    running = (kind > PhaseKind.CHECK.value) & ~np.isin(kind, over)
    return float((recording.decisions.column("gate")[running] == 0).mean())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("eyes", EYES)
def test_over_lsl(
    eyes: str, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"playback-{uuid.uuid4().hex[:8]}"
    room = tmp_path / "room.yaml"
    room.write_text(
        "format: 1\nname: Playback\nuse: test\nmains: 60 Hz\n"
        f"stream: {{name: {name}, source_id: {name}, counter: counter}}\n"
        "lsl: {loopback_only: yes}\nscreen: {required: no}\nsound: {required: no}\n"
        "record: {keep_free_gb: 0.1}\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    neuroloop = [sys.executable, "-m", "engine.cli"]
    file = shared_data / "eegbci" / EYES[eyes]
    player = subprocess.Popen(
        [*neuroloop, "play", str(file), "--once", "--wait", "--name", name, "--source-id", name],
        cwd=REPO,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        done = subprocess.run(
            [
                *(*neuroloop, "run", "alpha_up_ec", "--room", str(room), "--short", str(SHORT_S)),
                *("--headless", "--plain", "--find", "30", "--out", str(tmp_path / "out")),
            ],
            cwd=REPO,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert player.wait(60) == 0
    finally:
        player.kill()
        player.wait()
    (path,) = (tmp_path / "out").glob("*.xdf")
    assert re.search(r"(?m)^Report: +\S", done.stdout)
    assert path.with_suffix(".report.html").is_file()

    recording = read(path)
    assert recording.damage is None
    assert PhaseKind(int(recording.decisions.column("kind")[-1])) is PhaseKind.DONE
    rewards = recording.decisions.column("reward").sum()
    assert rewards >= 1
    assert recording.presented.column("reward").sum() >= 1
    (window,) = [e for e in recording.events if e.kind == "window"]
    assert window.data["audio"]  # it sounded, if only into memory
    assert not [e for e in recording.events if e.kind in ("gap", "lost", "window_restart")]
    if eyes == "closed":
        assert ungated(recording) >= 0.8

    assert cli.main(["replay", str(path), "--json", "--out", str(tmp_path / "again")]) == 0
    (summary,) = json.loads(capsys.readouterr().out)
    assert summary["identical_to_recording"] is True
