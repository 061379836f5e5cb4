"""The doctor: every question answered in a sentence, nothing hangs, nothing is left running."""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from engine import doctor
from engine.doctor import Finding, as_json, check_house, diagnose, worst
from engine.errors import InputError, RunError
from engine.room import RecordSettings


def a_room(**changes: Any) -> Any:
    parts: dict[str, Any] = {
        "use": "clinical",
        "record": RecordSettings(),
        "person_screen": SimpleNamespace(required=True, display=0),
        "sound": SimpleNamespace(required=True),
        "lsl": SimpleNamespace(known_peers=(), loopback_only=True),
        "wanted_plugins": (),
    }
    return SimpleNamespace(**{**parts, **changes})


def test_every_question_is_answered_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_lsl_probe", lambda *_, **__: {"error": "not tried here"})
    room = a_room(record=SimpleNamespace(path=tmp_path / "new", keep_free_gb=0.0))
    told: list[Finding] = []
    findings = diagnose(room, told.append)
    assert tuple(told) == findings
    names = [f.name for f in findings]
    assert names == [
        "Python",
        "Installation",
        "Timing",
        "Processor",
        "Memory",
        "Recordings",
        "LSL",
        "Network",
        "Screen",
        "Sound",
        "Linear algebra",
        "Power",
        "Terminal",
        "Plugins",
    ]
    for finding in findings:
        assert finding.light in ("ok", "warn", "fail")
        assert finding.sentence.endswith(".")
        assert "Traceback" not in finding.sentence
        if finding.light != "ok":
            assert finding.fix, finding
    assert not (tmp_path / "new").exists()  # looks, and changes nothing
    assert list(tmp_path.iterdir()) == []
    rows = json.loads(as_json(findings))
    assert rows["worst"] == worst(findings)
    assert [r["name"] for r in rows["findings"]] == names


def test_worst_light() -> None:
    ok, warn, fail = (Finding("x", light, "s.") for light in ("ok", "warn", "fail"))
    assert worst([]) == "ok"
    assert worst([ok, warn]) == "warn"
    assert worst([warn, fail, ok]) == "fail"


def test_a_stream_goes_round_end_to_end_without_multicast() -> None:
    before = {c.pid for c in psutil.Process().children(recursive=True)}
    finding = doctor._loopback(None)
    assert finding.light in ("ok", "warn"), finding
    assert finding.data["found"]
    assert finding.data["pushes"] > 20
    assert finding.data["drift_ms"] < 50.0
    assert {c.pid for c in psutil.Process().children(recursive=True)} <= before


@pytest.mark.parametrize(
    ("answer", "light", "word"),
    [
        ({"error": "no liblsl"}, "fail", "no liblsl"),
        ({"found": False}, "fail", "did not arrive"),
        ({"found": True, "pushes": 0}, "fail", "did not arrive"),
        (
            {"found": True, "pushes": 9, "found_ms": 2, "p50_ms": 1, "p95_ms": 2, "drift_ms": 9.0},
            "warn",
            "clock",
        ),
    ],
)
def test_lsl_that_does_not_work_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], light: str, word: str
) -> None:
    monkeypatch.setattr(doctor, "_lsl_probe", lambda *_, **__: answer)
    finding = doctor._loopback(None)
    assert finding.light == light
    assert word in finding.sentence
    assert finding.fix


def test_no_multicast_is_no_worry_when_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_hears_multicast", lambda: False)
    monkeypatch.setattr(doctor, "_lsl_probe", lambda *_, **__: {"found": True})
    lsl = SimpleNamespace(known_peers=("10.0.0.7",), loopback_only=False)
    assert doctor._network(a_room(lsl=lsl)).light == "ok"
    alone = doctor._network(a_room(lsl=SimpleNamespace(known_peers=(), loopback_only=False)))
    assert alone.light == "warn"
    assert "known_peers" in alone.fix
    assert doctor._network(a_room()).light == "ok"  # streams of this computer only


def test_lsl_settings_name_the_peers_of_the_room() -> None:
    room = a_room(lsl=SimpleNamespace(known_peers=("10.0.0.7", "amp.local"), loopback_only=False))
    assert "KnownPeers = {10.0.0.7, amp.local}" in doctor._lsl_settings(room, alone=False)
    alone = doctor._lsl_settings(room, alone=True)
    assert "KnownPeers = {127.0.0.1}" in alone
    assert "ListenAddress = 127.0.0.1" in alone


@pytest.mark.parametrize(
    ("answer", "room", "light"),
    [
        ({"error": "boom"}, None, "warn"),
        ({"error": "boom"}, a_room(), "fail"),
        ({"driver": "offscreen", "sizes": [[1024, 768]]}, a_room(), "fail"),
        ({"driver": "dummy", "sizes": [[1024, 768]]}, None, "warn"),
        ({"driver": "x11", "sizes": [[1920, 1080]]}, a_room(), "warn"),
        ({"driver": "x11", "sizes": [[1920, 1080]]}, a_room(use="test"), "ok"),
        ({"driver": "x11", "sizes": [[1920, 1080]] * 2}, a_room(), "ok"),
        (
            {"driver": "x11", "sizes": [[1920, 1080]] * 2},
            a_room(person_screen=SimpleNamespace(required=True, display=2)),
            "fail",
        ),
    ],
)
def test_F55_an_invisible_screen_is_seen(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], room: Any, light: str
) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda *_, **__: answer)
    assert doctor._screen(room).light == light


def test_F58_no_sound_fails_only_where_sound_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_probe", lambda *_, **__: {"error": "no such device"})
    assert doctor._sound(a_room()).light == "fail"
    assert doctor._sound(a_room(sound=SimpleNamespace(required=False))).light == "warn"
    monkeypatch.setattr(
        doctor, "_probe", lambda *_, **__: {"opened": [44100], "devices": ["Speaker"]}
    )
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    assert doctor._sound(None).light == "warn"
    monkeypatch.delenv("SDL_AUDIODRIVER")
    assert "Speaker" in doctor._sound(None).sentence


def test_F41_too_little_space_and_F44_no_folder(tmp_path: Path) -> None:
    record = SimpleNamespace(path=tmp_path / "a" / "b", keep_free_gb=1e9)
    finding = doctor._disk(a_room(record=record))
    assert finding.light == "fail"
    assert "must stay free" in finding.sentence


def test_F44_a_folder_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**how: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    record = SimpleNamespace(path=tmp_path, keep_free_gb=0.0)
    finding = doctor._disk(a_room(record=record))
    assert finding.light == "fail"
    assert str(tmp_path) in finding.sentence


def test_battery_without_mains_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_sleeps", lambda: False)
    for percent, plugged, light in (
        (80.0, True, "ok"),
        (80.0, False, "warn"),
        (9.0, False, "fail"),
    ):
        battery = SimpleNamespace(percent=percent, power_plugged=plugged)
        monkeypatch.setattr(psutil, "sensors_battery", lambda b=battery: b, raising=False)
        assert doctor._power().light == light
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    monkeypatch.setattr(doctor, "_sleeps", lambda: True)
    assert doctor._power().light == "warn"


def test_what_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = doctor._within(0.05, lambda: time.sleep(1.0) or Finding("x", "ok", "."), "Disk")
    assert finding.light == "fail"
    assert "No answer" in finding.sentence
    monkeypatch.setattr(doctor, "_DEADLINE_S", 3.3)
    real = subprocess.run

    def slow(command: list[str], **how: Any) -> Any:
        return real([sys.executable, "-c", "import time; time.sleep(60)"], **how)

    monkeypatch.setattr(subprocess, "run", slow)
    assert doctor._probe("screen") == {"error": "it hung and was ended"}


def test_what_breaks_is_a_finding() -> None:
    def broken() -> Finding:
        raise ZeroDivisionError("odd driver")

    def refused() -> Finding:
        raise InputError("It is wrong.", "Mend it.")

    finding = doctor._within(5.0, broken, "Screen")
    assert (finding.name, finding.light) == ("Screen", "warn")
    assert "odd driver" in finding.sentence
    finding = doctor._within(5.0, refused, "Installation")
    assert (finding.light, finding.sentence, finding.fix) == ("fail", "It is wrong.", "Mend it.")


def test_a_dying_probe_is_an_answer() -> None:
    assert "error" in doctor._probe("nothing-of-that-name")


def test_screen_and_sound_are_asked_in_a_child() -> None:
    assert doctor._probe("screen")["driver"] == "dummy"  # as the tests set it
    assert "opened" in doctor._probe("sound")


def test_somebody_elses_package_of_our_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_house() == Path(__file__).resolve().parents[2]
    real = importlib.util.find_spec

    def stranger(name: str, package: str | None = None) -> Any:
        if name == "feedback":
            origin = str(Path("/elsewhere/feedback/__init__.py"))
            return importlib.machinery.ModuleSpec(name, None, origin=origin)
        return real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", stranger)
    with pytest.raises(RunError, match="feedback"):
        check_house()
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_, **__: None)
    with pytest.raises(RunError, match="not found"):
        check_house()


def test_plugins_are_named_with_their_versions(plugin: Callable[..., Path]) -> None:
    assert doctor._plugins(None).light == "ok"
    code = "class K: name = 'a'\nA = K()\n"
    plugin("my-pack", {"my_pack.py": code}, {"neuroloop.pictures:a": "my_pack:A"}, "2.1.0")
    finding = doctor._plugins(a_room(wanted_plugins=(("my-pack", "2.1.0"),)))
    assert finding.light == "ok"
    assert "my-pack 2.1.0 (pictures: a)" in finding.sentence
    assert finding.data["plugins"][0]["version"] == "2.1.0"
    room = a_room(wanted_plugins=(("my-pack", "2.2.0"),))
    finding = doctor._within(5.0, lambda: doctor._plugins(room), "Plugins")
    assert finding.light == "fail"
    assert "2.1.0 is installed" in finding.sentence
    assert finding.fix
