"""Configuring and loading liblsl."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import lsl
from engine.errors import InputError, RunError


@dataclass(frozen=True)
class Network:
    """What a room says of its network."""

    known_peers: tuple[str, ...] = ()
    session_id: str = "default"
    loopback_only: bool = False


def ini(network: Network) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read_string(lsl.config_text(network))
    return parser


def test_a_room_that_stays_on_this_computer() -> None:
    text = ini(Network(known_peers=("10.0.0.7",), session_id="x", loopback_only=True))
    assert text["multicast"]["ListenAddress"] == "127.0.0.1"
    assert text["multicast"]["ResolveScope"] == "machine"
    assert text["lab"]["KnownPeers"] == "{127.0.0.1}"
    assert text["ports"]["IPv6"] == "disable"
    assert text["log"]["level"] == "-3"


def test_a_room_with_an_amplifier_on_another_computer() -> None:
    text = ini(Network(known_peers=("10.0.0.7", "amp-pc"), session_id="lab2"))
    assert text["lab"]["KnownPeers"] == "{10.0.0.7, amp-pc}"
    assert text["lab"]["SessionID"] == "lab2"
    assert "multicast" not in text


@pytest.mark.parametrize("peer", ["a}\n[log]\nfile=x", "a b", "", "a,b", "{x}"])
def test_peers_cannot_smuggle_settings_in(peer: str) -> None:
    with pytest.raises(InputError, match="known_peers"):
        lsl.config_text(Network(known_peers=(peer,)))


@pytest.mark.parametrize("session_id", ["", "a\nb", "x" * 65, "a b"])
def test_session_ids_cannot_smuggle_settings_in(session_id: str) -> None:
    with pytest.raises(InputError, match="session id"):
        lsl.config_text(Network(session_id=session_id))


CHILD = """
import sys
from types import SimpleNamespace
from engine.errors import RunError
from engine.lsl import configure_lsl, load_pylsl, mark_used

def network(session_id):
    return SimpleNamespace(known_peers=(), session_id=session_id, loopback_only=True)

print(configure_lsl(network("first")))
print(configure_lsl(network("room-b")))  # nothing has used LSL yet: the later one counts
pylsl = load_pylsl()
mark_used()
outlet = pylsl.StreamOutlet(pylsl.StreamInfo("x", "y", 1, 0, "float32", "z"))
print(outlet.get_info().session_id())
print(configure_lsl(network("room-b")))
try:
    configure_lsl(network("room-c"))
except RunError as error:
    print(type(error).__name__, error.what)
"""


def test_settings_reach_liblsl_and_cannot_change_later() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "LSLAPICFG"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=environment | {"PYTHONPATH": str(Path(lsl.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith("this computer only, session id first.")
    assert lines[2] == "room-b"
    assert lines[3] == lines[1]
    assert lines[4].startswith("RunError This process already uses LSL with other network")


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "lsl.cfg"
    file.write_text("[lab]\nSessionID = x\n")
    monkeypatch.setenv("LSLAPICFG", str(file))
    assert str(file) in lsl.configure_lsl(Network(session_id="y"))


def test_a_computers_own_configuration_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("LSLAPICFG")
    monkeypatch.setattr(lsl, "_used", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lsl_api.cfg").write_text("[lab]\nSessionID = x\n")
    assert "lsl_api.cfg" in lsl.configure_lsl(Network())
    with pytest.raises(RunError, match="already uses LSL"):  # but a room that asks gets its way
        lsl.configure_lsl(Network(session_id="y"))


def test_liblsl_of_mne_lsl_is_found_when_pylsl_brings_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYLSL_LIB", raising=False)
    for package in ("pylsl/lib", "mne_lsl/lsl/lib"):
        folder = tmp_path / package
        folder.mkdir(parents=True)
        (tmp_path / package.split("/")[0] / "__init__.py").write_text("raise RuntimeError\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("pylsl", "mne_lsl"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert lsl.find_library() is None
    bundled = tmp_path / "mne_lsl/lsl/lib/liblsl.so.1.17.7"
    bundled.touch()
    assert lsl.find_library() == bundled
    (tmp_path / "pylsl/lib/liblsl.so").touch()
    assert lsl.find_library() is None


def test_calls_that_hang_are_left_behind() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError, match="info"):
        lsl.within(0.05, never.wait, "info")
    never.set()
    assert lsl.within(5.0, lambda: 7, "info") == 7
    with pytest.raises(ValueError, match="why"):
        lsl.within(5.0, lambda: int("why"), "info")
