"""The certificate: what passes, what voids it, and that a change of the file shows."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import certificate as module
from engine import run
from engine.certificate import (
    Certificate,
    criteria,
    differences,
    for_header,
    introduced,
    machine,
    newest_for,
    read_certificate,
    room_sha256,
    told,
    why_void,
    window_facts,
    write_certificate,
)
from engine.errors import FileError
from engine.loopback import Delay
from engine.room import Room, load_room
from engine.run import RunOptions
from feedback.worker import Ready

ROOM = """\
format: 1
name: "Room Süd 2"
use: {use}
stream: {{name: amp, type: EEG}}
mains: 50 Hz
screen: {{photodiode: bottom-left, size: {size}, required: no}}
sound: {{click: yes, required: no, cap: {cap}}}
"""
NOW = dt.datetime(2026, 11, 25, 14, 25, 30, tzinfo=dt.UTC)
READY = Ready(
    versions={"python": "3.11.7", "pygame": module.pygame_version(), "SDL": "2.28.4"},
    driver="x11",
    audio="pulse speakers",
    size=(1920, 1080),
    refresh_hz=60.0,
    vsync=True,
    buffer_ms=20.0,
)
DISPLAY = Delay(120, 21.3, 21.4, 1.2, 23.5, 25.0, 0, 0)
AUDIO = Delay(120, 80.4, 80.9, 4.1, 88.0, 92.0, 0, 0)


def a_room(folder: Path, use: str = "research", size: str = "1280 x 720", cap: str = "0.2") -> Room:
    path = folder / "room.yaml"
    path.write_text(ROOM.format(use=use, size=size, cap=cap), encoding="utf-8")
    return load_room(path)


def a_certificate(room: Room, ready: Ready = READY, **changes: Any) -> Certificate:
    facts = window_facts(ready)
    met = criteria(DISPLAY, AUDIO, frame_ms=1000 / 60, asked=120, shown=120)
    made = Certificate(
        date=NOW.isoformat(timespec="seconds"),
        room={"name": room.name, "use": room.use, "sha256": room_sha256(room)},
        machine=machine(),
        screen={k: facts[k] for k in ("driver", "size", "refresh_hz", "vsync")},
        sound={"audio": facts["audio"], "audio_measured": True},
        versions=facts["versions"],
        sensor={"name": "light", "rate_hz": 1000.0},
        seeds={"intervals": 5},
        results={
            "display": {"median_ms": 21.3, "sd_ms": 1.2},
            "audio": {"median_ms": 80.4, "sd_ms": 4.1},
        },
        criteria=met,
        passed=all(c.passed for c in met),
        simulated=False,
    )
    return replace(made, **changes)


# ---------------------------------------------------------------- passing


def test_a_good_room_passes() -> None:
    met = criteria(DISPLAY, AUDIO, frame_ms=16.7, asked=120, shown=120)
    assert all(c.passed for c in met)
    assert "spread of the display delay (SD): 1.2 ms (at most 5)" in [str(c) for c in met]
    assert len(criteria(DISPLAY, None, frame_ms=16.7, asked=120, shown=120)) < len(met)


@pytest.mark.parametrize(
    ("display", "audio", "shown", "failed"),
    [
        (replace(DISPLAY, sd_ms=5.1), AUDIO, 120, "spread of the display delay (SD)"),
        (replace(DISPLAY, p95_ms=38.1), AUDIO, 120, "display delay, 95 % above the median"),
        (replace(DISPLAY, n=118, missed=2), AUDIO, 120, "transitions missed"),
        (replace(DISPLAY, extra=2), AUDIO, 120, "transitions that nobody asked for"),
        (DISPLAY, replace(AUDIO, sd_ms=15.2), 120, "spread of the sound delay (SD)"),
        (DISPLAY, replace(AUDIO, n=117, missed=3), 120, "clicks missed"),
        (DISPLAY, replace(AUDIO, n=100, unseen=20), 120, "clicks lost in holes"),
        (DISPLAY, AUDIO, 118, "transitions the window skipped"),
    ],
)
def test_what_fails(display: Delay, audio: Delay, shown: int, failed: str) -> None:
    met = criteria(display, audio, frame_ms=16.7, asked=120, shown=shown)
    assert [c.name for c in met if not c.passed] == [
        next(c.name for c in met if c.name.startswith(failed))
    ]


def test_what_is_not_known_does_not_pass() -> None:
    nothing = Delay(0, *(math.nan,) * 5, 12, 0)
    met = criteria(nothing, None, frame_ms=16.7, asked=12, shown=12)
    assert not any(c.passed for c in met if "spread" in c.name or "answered" in c.name)
    assert "not known" in " ".join(map(str, met))


# ---------------------------------------------------------------- files


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    made = a_certificate(a_room(tmp_path))
    path = write_certificate(made, tmp_path / "new" / "folder")
    assert path.name == "room-sud-2.certificate-2026-11-25T142530.json"
    found = read_certificate(path)
    assert found.content == made.content
    assert found.sha256 == made.sha256 == json.loads(path.read_text("utf-8"))["sha256"]
    assert machine().keys() == {"platform", "processor", "cpus"}
    with pytest.raises(FileError, match="cannot be written"):
        write_certificate(made, tmp_path / "new" / "folder")  # never overwritten
    with pytest.raises(FileError, match="cannot be written"):
        write_certificate(made, path / "below a file")


def test_a_change_shows(tmp_path: Path) -> None:
    path = write_certificate(a_certificate(a_room(tmp_path)), tmp_path)
    text = path.read_text("utf-8")
    path.write_text(text.replace('"median_ms": 21.3', '"median_ms": 11.3'), "utf-8")
    with pytest.raises(FileError, match="was changed after it had been written"):
        read_certificate(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", '{"format": 1, "sha256": 3}', "[" * 9999]
)
def test_what_is_no_certificate(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.certificate-2026-11-25T142530.json"
    path.write_text(text, "utf-8")
    with pytest.raises(FileError) as error:
        read_certificate(path)
    assert error.value.fix
    with pytest.raises(FileError, match="cannot be read"):
        read_certificate(tmp_path / "nowhere.json")


def test_a_later_format_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"format": 9, "sha256": ""}', "utf-8")
    with pytest.raises(FileError, match="of format 9"):
        read_certificate(path)


def test_the_newest_counts_also_when_it_is_bad(tmp_path: Path) -> None:
    room = a_room(tmp_path)
    assert newest_for(room, tmp_path / "nowhere") is None
    assert newest_for(room, tmp_path) is None
    old = write_certificate(a_certificate(room, date="2026-10-01T08:00:00+00:00"), tmp_path)
    new = write_certificate(a_certificate(room, passed=False), tmp_path)
    other = {"name": "room sud-2", "use": "test", "sha256": ""}
    later = a_certificate(room, date="2026-12-01T08:00:00+00:00")
    write_certificate(replace(later, room=other), tmp_path)  # of another room
    found = newest_for(room, tmp_path)
    assert found is not None
    assert found.path == new
    assert found.certificate is not None
    assert not found.certificate.passed
    new.write_text(new.read_text("utf-8").replace("false", "true"), "utf-8")
    found = newest_for(room, tmp_path)
    assert found is not None
    assert found.certificate is None
    assert "was changed" in found.problem
    new.unlink()
    found = newest_for(room, tmp_path)
    assert found is not None
    assert found.path == old


# ---------------------------------------------------------------- when it holds


def test_it_holds_in_the_same_room(tmp_path: Path) -> None:
    room = a_room(tmp_path)
    later = NOW + dt.timedelta(days=100)
    assert why_void(a_certificate(room), room, headless=False, today=later) == ()


@pytest.mark.parametrize(
    ("changes", "days", "said"),
    [
        ({"passed": False}, 1, "did not pass"),
        ({"machine": {"platform": "other"}}, 1, "another computer"),
        ({"versions": {"pygame": "1.9"}}, 1, "made with 1.9"),
        ({"versions": {}}, 1, "made with another"),
        ({}, 366, "366 days old; it holds for 365"),
        ({}, -3, "dated in the future"),
        ({"simulated": True}, 1, "rehearsal"),
    ],
)
def test_what_voids_it(tmp_path: Path, changes: dict[str, Any], days: int, said: str) -> None:
    room = a_room(tmp_path)
    made = a_certificate(room, **changes)
    (why,) = why_void(made, room, headless=False, today=NOW + dt.timedelta(days=days))
    assert said in why


def test_other_settings_of_screen_and_sound_void_it(tmp_path: Path) -> None:
    made = a_certificate(a_room(tmp_path))
    for other in ({"size": "800 x 600"}, {"cap": "0.1"}):
        (why,) = why_void(made, a_room(tmp_path, **other), headless=False, today=NOW)
        assert "settings of screen or sound" in why
    assert why_void(made, a_room(tmp_path, use="clinical"), headless=False, today=NOW) == ()


def test_a_rehearsal_counts_for_invisible_sessions_of_test_rooms_only(tmp_path: Path) -> None:
    for use in ("test", "research", "clinical"):
        room = a_room(tmp_path, use=use)
        rehearsed = a_certificate(room, simulated=True)
        assert (why_void(rehearsed, room, headless=True, today=NOW) == ()) == (use == "test")
        assert why_void(rehearsed, room, headless=False, today=NOW)
        assert "no screen" in why_void(a_certificate(room), room, headless=True, today=NOW)[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": "wayland"}, "'wayland', the certificate was made with 'x11'"),
        ({"size": (2560, 1440)}, "2560 x 1440, the certificate was made at 1920 x 1080"),
        ({"refresh_hz": 144.0}, "now runs at 144 Hz, the certificate was made at 60 Hz"),
        ({"audio": "hdmi"}, "goes to 'hdmi'"),
        ({"versions": {**READY.versions, "SDL": "3.0.0"}}, "SDL is now 3.0.0"),
    ],
)
def test_another_window_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    room = a_room(tmp_path)
    made = a_certificate(room).window
    assert differences(made, window_facts(READY)) == ()
    assert differences(made, window_facts(replace(READY, refresh_hz=59.95))) == ()
    (found,) = differences(made, window_facts(replace(READY, **change)))
    assert said in found


def test_silent_sessions_and_unmeasured_sound_do_not_matter(tmp_path: Path) -> None:
    made = a_certificate(a_room(tmp_path)).window
    assert differences(made, window_facts(replace(READY, audio=""))) == ()
    unmeasured = {**made, "audio_measured": False}
    assert differences(unmeasured, window_facts(replace(READY, audio="hdmi"))) == ()
    assert differences({}, window_facts(READY)) == ()


# ---------------------------------------------------------------- what sessions say


def test_a_session_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "default_folder", lambda: tmp_path)
    monkeypatch.setattr(module, "wall", lambda: NOW)
    room = a_room(tmp_path)
    said: list[str] = []
    options = RunOptions("smr_up", "our-room.yaml")
    assert run._certificate(options, room, False, said.append) is None
    assert said == [
        "No certificate of this room's delays: neuroloop doctor --certify --room our-room.yaml"
    ]
    path = write_certificate(a_certificate(room), tmp_path)
    header = run._certificate(options, room, False, said.append)
    assert header is not None
    assert header["file"] == path.name
    assert header["valid"]
    assert (header["display_ms"], header["display_sd_ms"], header["sound_ms"]) == (21.3, 1.2, 80.4)
    assert said[-1] == (
        "Display delay 21.3 ms (SD 1.2), sound delay 80.4 ms (SD 4.1) in this room, certified "
        "2026-11-25."
    )
    assert told(header).startswith(
        f"Rests on certificate {path.name} of 2026-11-25: display offset 21.3 ms (SD 1.2), sound "
    )
    window = {**window_facts(READY), "refresh_hz": 144.0}
    assert "does not hold" in told(header, window)
    assert "144 Hz" in told(header, window)
    path.write_text(path.read_text("utf-8").replace("21.3", "11.3"), "utf-8")
    header = run._certificate(options, room, False, said.append)
    assert header is not None
    assert not header["valid"]
    assert "was changed" in said[-1]
    assert "does not hold" in told(header, window)
    assert "was not measured" in told(None)


def test_test_rooms_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "default_folder", lambda: tmp_path)
    said: list[str] = []
    room = a_room(tmp_path, use="test")
    run._certificate(RunOptions("smr_up", "sim"), room, True, said.append)
    assert said == []


def test_one_of_two_delays_is_enough(tmp_path: Path) -> None:
    room = a_room(tmp_path)
    only = {"display": None, "audio": {"median_ms": 80.4, "sd_ms": None}}
    made = a_certificate(room, results=only, simulated=True)
    header = for_header(module.Kept(tmp_path / "x.json", made), room, headless=False)
    assert header is not None
    fine = {**header, "valid": True, "why_not": []}
    assert introduced(fine, "r").startswith("Sound delay 80.4 ms in this room")
    assert "rehearsed certificate" in told(fine)
    assert "is void: It is a rehearsal" in introduced(header, "r")
