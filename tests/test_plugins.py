"""The example package, installed as its wheel; and the code that docs/plugins.md shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.bank import Bank
from engine.features import FeatureDef
from engine.plugins import load_plugins, registries
from engine.simulate import SimulatorOptions, spawn_simulator
from feedback.guard import SoundGuard
from feedback.registry import with_plugins
from feedback.sound import Synth
from protocols.rewards import rule

REPO = Path(__file__).resolve().parents[1]
EXAMPLE = REPO / "examples" / "neuroloop-example"
GRID_HZ = 50.0


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example's wheel, without a network, and unpack it as an installer does."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("neuroloop_example-0.1.0-*.whl")
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(target)
    return target


def run_with(target: Path | None, code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python, or a module of it, with the example on its path or without."""
    paths = [str(REPO), *([] if target is None else [str(target)])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SDL_VIDEODRIVER": "dummy"}
    command = [sys.executable, *(["-c", code] if code else []), *args]
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=150, encoding="utf-8"
    )


LOAD = """
import json, sys
from engine.plugins import load_plugins, registries
from engine.room import load_room
room = load_room(sys.argv[1])
plugins = load_plugins(room.wanted_plugins)
every = registries(plugins)
print(json.dumps({
    "header": plugins.header(),
    "new": [sorted(r) for r in (plugins.features, plugins.pictures, plugins.sounds,
                                plugins.rewards)],
    "pygame": "pygame" in sys.modules,
    "option": every.features["slew"].options["over"].unit,
}))
"""


def test_the_example_is_loaded_by_the_room_that_lists_it(installed: Path) -> None:
    done = run_with(installed, LOAD, str(EXAMPLE / "room.yaml"))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["new"] == [["slew"], ["ring"], ["marimba"], ["every_other"]]
    (row,) = seen["header"]
    assert (row["name"], row["version"]) == ("neuroloop-example", "0.1.0")
    assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
    assert not seen["pygame"]  # the kinds are data; their code waits for the window
    assert seen["option"] == "s"


def test_without_the_package_the_room_is_refused() -> None:
    done = run_with(None, LOAD, str(EXAMPLE / "room.yaml"))
    assert done.returncode != 0
    assert "neuroloop-example 0.1.0, and it is not installed" in done.stderr


WINDOW = """
import time
from engine.frames import Show
from feedback.worker import Fault, Presented, Ready, Window, WindowSpec
if __name__ == "__main__":
    window = Window(WindowSpec(headless=True, size=(320, 180), sound_enabled=False, picture="ring",
                               on_reward="marimba", plugins=(("neuroloop-example", "0.1.0"),)))
    window.start()
    end, seen, n = time.monotonic() + 60, [], 0
    while time.monotonic() < end and sum(isinstance(m, Presented) for m in seen) < 20:
        n += 1
        window.show(Show(seq=n, t=0.0, sent=0.0, screen="feedback", level=0.8, rewards=n // 10))
        seen += window.poll()
        time.sleep(0.02)
    window.stop()
    ready = next(m for m in seen if isinstance(m, Ready))
    assert ready.versions["neuroloop-example"] == "0.1.0", ready
    assert not [m for m in seen if isinstance(m, Fault)], seen
    assert [m for m in seen if isinstance(m, Presented)][-1].level > 0.5
    print("shown")
"""


def test_the_window_shows_the_examples_picture(installed: Path, tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(WINDOW, encoding="utf-8")
    done = run_with(installed, "", str(script))
    assert done.stdout.strip() == "shown", done.stderr


SESSION = """
import json, sys
from engine.assemble import assemble
from engine.learner import TRAITS, Learner, close_loop, stream_of
from engine.person import Person
from engine.plugins import load_plugins, registries
from engine.room import load_room
from protocols.load import load
from protocols.plan import expand

every = registries(load_plugins(load_room(sys.argv[2]).wanted_plugins))
loaded = load(sys.argv[1], every.features, pictures=every.pictures, sounds=every.sounds,
              rewards=every.rewards)
plan = expand(loaded.protocol, 120.0)
spec = stream_of(("Fp1", "Fp2", "Pz"), 250.0)
a = assemble(spec, loaded.protocol, plan, mains_hz=50.0, kinds=every.features,
             rewards=every.rewards)
o = close_loop(spec, a.fold, plan, Learner(TRAITS["non_learner"], "alpha", 4),
               Person(250.0, seed=4, blinks=False, jaw=False), trained=1)
print(json.dumps({"kind": o.kind.name, "rewards": int(o.reward.sum()),
                  "at": [int(i) for i in o.reward.nonzero()[0]],
                  "joint": [bool(o.joint[i]) for i in o.reward.nonzero()[0]],
                  "faults": a.fold.bank.faults}))
"""


def test_its_protocol_runs_to_the_end(installed: Path) -> None:
    protocol, room = EXAMPLE / "alpha_rising.yaml", EXAMPLE / "room.yaml"
    done = run_with(installed, SESSION, str(protocol), str(room))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["kind"] == "DONE"
    assert seen["rewards"] >= 2
    assert all(seen["joint"])  # never where the condition does not hold
    assert seen["faults"] == []


def test_check_says_what_it_does(installed: Path) -> None:
    protocol, room = EXAMPLE / "alpha_rising.yaml", EXAMPLE / "room.yaml"
    done = run_with(installed, "", "-m", "engine.cli", "check", str(protocol), "--room", str(room))
    assert done.returncode == 0, done.stderr
    assert "no mistakes" in done.stdout
    without = run_with(installed, "", "-m", "engine.cli", "check", str(protocol))
    assert without.returncode == 2
    assert "unknown kind of feature `slew`" in without.stderr


@pytest.mark.slow
def test_its_protocol_runs_live_and_replays(installed: Path, tmp_path: Path) -> None:
    name = f"example-{os.getpid()}"
    text = (EXAMPLE / "room.yaml").read_text("utf-8")
    room = tmp_path / "room.yaml"
    room.write_text(text.replace("neuroloop-sim", name), "utf-8")
    protocol = EXAMPLE / "alpha_rising.yaml"
    with spawn_simulator(SimulatorOptions(name=name, source_id=name, seed=4, blinks=False)):
        arguments = ["run", str(protocol), "--room", str(room), "--short", "60", "--plain",
                     "--headless", "--silent", "--out", str(tmp_path)]  # fmt: skip
        done = run_with(installed, "", "-m", "engine.cli", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    (recording,) = tmp_path.glob("*.xdf")
    again = run_with(installed, "", "-m", "engine.cli", "replay", str(recording))
    assert again.returncode == 0, again.stderr
    assert "identical" in again.stdout
    missing = run_with(None, "", "-m", "engine.cli", "replay", str(recording))
    assert missing.returncode == 2
    assert "neuroloop-example 0.1.0" in missing.stderr


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> object:
    """Load the example from its source, beside what is built in."""
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    from neuroloop_example.every_other import EVERY_OTHER
    from neuroloop_example.marimba import marimba
    from neuroloop_example.slew import SLEW

    return SLEW, EVERY_OTHER, marimba


def test_slew_is_the_rise_of_the_logarithm(example: tuple[object, ...]) -> None:
    slew = example[0]
    defs = (
        FeatureDef("p", "power", (0,), band_hz=(8.0, 12.0)),
        FeatureDef("s", "slew", of=(0,), scale="linear", options={"over": 0.1}, make=slew.make),  # type: ignore[attr-defined]
    )
    bank = Bank(defs, GRID_HZ)
    p = np.exp(0.1 * np.arange(30))
    clean = np.ones(30, bool)
    clean[15] = False
    got = np.array([bank.step([v, np.nan], bool(c))[1] for v, c in zip(p, clean, strict=True)])
    expected = np.full(30, 0.5)
    expected[[0, 1, 2, 3, 4, 15, 20]] = np.nan  # at the start, at the gap and 0.1 s behind it
    assert np.allclose(got, expected, equal_nan=True, atol=1e-12)
    assert bank.faults == []


def test_every_other_time_is_rewarded(example: tuple[object, ...]) -> None:
    made = rule(example[1], 0.1, 0.2, GRID_HZ)  # type: ignore[arg-type]
    rewards = [made.step(True) for _ in range(61)]
    # Held for 5 points, then 10 of rest: rewards would be 15 apart, and every second one is.
    assert [i for i, r in enumerate(rewards) if r] == [19, 49]


def test_the_marimba_is_a_soft_tone(example: tuple[object, ...]) -> None:
    wave = example[2](44100)  # type: ignore[operator]
    assert wave.shape == (round(0.6 * 44100), 2)
    assert wave.dtype == np.float32
    assert np.abs(wave).max() == pytest.approx(0.5)
    assert np.abs(np.diff(wave[:, 0])).max() < 0.1  # no click
    assert np.abs(wave[[0, -1]]).max() < 1e-3


# ---------------------------------------------------------------- docs/plugins.md


def blocks(language: str) -> list[str]:
    text = (REPO / "docs" / "plugins.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_code_in_the_docs_works_as_it_stands(plugin: Callable[..., Path]) -> None:
    files = {"my_plugin/__init__.py": ""}
    for block in blocks("python"):
        files[block.splitlines()[0].removeprefix("# ")] = block
    (toml,) = blocks("toml")
    points, group = {}, ""
    for line in toml.splitlines():
        if line.startswith("["):
            group = line.split('"')[1]
        elif "=" in line:
            name, value = (part.strip().strip('"') for part in line.split("="))
            points[f"{group}:{name}"] = value
    assert len(points) == 4
    wanted = (("my-plugin", "0.1.0"),)
    (yaml,) = blocks("yaml")
    assert "{name: my-plugin, version: 0.1.0}" in yaml
    plugin("my-plugin", files, points, "0.1.0")
    every = registries(load_plugins(wanted))
    kind = every.features["spread"]
    defs = (
        *(FeatureDef(n, "power", (0,), band_hz=(8.0, 12.0)) for n in ("a", "b")),
        FeatureDef("s", "spread", of=(0, 1), scale=kind.scale, make=kind.make,
                   options={"least": 1.0}),
    )  # fmt: skip
    bank = Bank(defs, GRID_HZ)
    assert [bank.step([a, b, np.nan], True)[2] for a, b in ((3.0, 8.0), (1.0, 1.5))] == [5.0, 1.0]
    assert bank.faults == []
    made = rule(every.rewards["first_only"], 0.1, 0.2, GRID_HZ)
    rewards = [made.step(k % 20 < 15) for k in range(60)]
    assert [k for k, r in enumerate(rewards) if r] == [4, 24, 44]
    pictures, sounds = with_plugins(wanted)
    synth = Synth("click", None, False, SoundGuard(0.25), sounds=sounds)
    synth.reward()
    assert np.abs(synth.render(4096)).max() > 0.01
    import pygame

    from feedback.registry import resolve
    from feedback.stage import Moment, Stage

    pygame.font.init()
    surface = pygame.Surface((320, 180))
    resolve(pictures["dot"].factory)(Stage((320, 180))).draw(surface, Moment(1.0, 1.0))
    assert surface.get_at((160, 90))[:3] == (200, 200, 180)
    assert surface.get_at((0, 0))[:3] == (0, 0, 0)
