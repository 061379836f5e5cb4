"""Rooms: the shipped ones load, mistakes are told, new ones load again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import parse, resolved, validate
from engine.errors import InputError, YamlError
from engine.room import Room, SoundSettings, load_room, new_room, rooms
from protocols.grammar import written

ROOT = Path(__file__).parents[2]
LEAST = "format: 1\nname: a\nuse: research\nstream: {type: EEG}\nmains: 50 Hz\n"


def _problem(text: str) -> str:
    with pytest.raises(YamlError) as caught:
        validate(Room, parse(text.encode(), "room.yaml"))
    (problem,) = caught.value.problems
    return str(problem)


def test_shipped_rooms() -> None:
    assert rooms() == ("clinic-example", "research-example", "sim")
    uses = {name: load_room(name).use for name in rooms()}
    assert uses == {"clinic-example": "clinical", "research-example": "research", "sim": "test"}


@pytest.mark.parametrize("name", rooms())
def test_resolved_through_json_builds_the_same_room(name: str) -> None:
    room = load_room(name)
    assert Room.model_validate(json.loads(json.dumps(resolved(room)))) == room


def test_the_simulators_room() -> None:
    room = load_room("sim")
    assert (room.stream.name, room.stream.stype) == ("neuroloop-sim", "EEG")
    assert room.stream.source_id == "neuroloop-sim"
    assert room.stream.counter == "counter"
    assert room.lsl.loopback_only
    assert not room.person_screen.required
    assert not room.sound.required
    assert room.mains_hz == 50


def test_least_room_and_its_defaults() -> None:
    room = validate(Room, parse(LEAST.encode(), "room.yaml"))
    assert room.publish
    assert room.person_screen.full_screen
    assert room.sound.cap == 0.25
    assert room.record.path.parts[-1] == "sessions"
    assert room.language == "en"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("use: research", "use: reserch", "'clinical', 'research' or 'test'"),
        ("mains: 50 Hz", "mains: 55 Hz", "`50 Hz` or `60 Hz`"),
        ("mains: 50 Hz", "mains: 50", "`50 Hz` or `60 Hz`"),
        ("{type: EEG}", "{}", "the stream is not described"),
        ("{type: EEG}", "{type: EEG, unit: kV}", "'uV', 'mV' or 'V'"),
        ("{type: EEG}", "{type: EEG, rate: 250}", "has no unit"),
        ("{type: EEG}", "{type: EEG, range: 1 V}", "unknown unit"),
        ("{type: EEG}", "{stype: EEG, name: x}", "unknown key `stype`; did you mean `type`"),
        ("mains", "record: {folder: ../../etc}\nmains", "`..` is not allowed"),
        ("mains", "record: {folder: 'C:\\x\\..\\y'}\nmains", "`..` is not allowed"),
        ("mains", "record: {folder: '\\\\server\\share'}\nmains", "network path"),
        ("mains", "record: {folder: //server/share}\nmains", "network path"),
        ("mains", "record: {folder: 'http://x'}\nmains", "no folder"),
        ("mains", "record: {folder: data/CON}\nmains", "Windows reserves"),
        ("mains", "record: {folder: data/nul.txt}\nmains", "Windows reserves"),
        ("mains", "record: {keep_free_gb: -1}\nmains", "out of range"),
        ("mains", "record: {keep_free_gb: 5 GB}\nmains", "number without unit"),
        ("mains", "sound: {cap: 0.5}\nmains", "`cap: 0.25` or less"),
        ("mains", "sound: {cap: 0.5, spl_fullscale_dba: 96}\nmains", "`cap: 0.05` or less"),
        ("mains", "sound: {cap: true}\nmains", "not `true`"),
        ("mains", "screen: {size: big}\nmains", "`1920 x 1080`"),
        ("mains", "screen: {display: -1}\nmains", "from 0 to 15"),
        ("mains", "lsl: {known_peers: ['a} [log]']}\nmains", "no host name"),
        ("mains", "lsl: {session_id: a b}\nmains", "session id"),
        ("mains", "plugins: [{name: x, version: 0.1}]\nmains", "put it in quotes"),
        ("mains", "plugins: [{name: x}]\nmains", "`version` is missing"),
        ("mains", "plugins: [{name: ../x, version: 1.0.0}]\nmains", "no name of a package"),
        ("mains", "plugins: [{name: x, version: '>=1'}]\nmains", "no exact version"),
        (
            "mains",
            "plugins: [{name: a-b, version: 1.0.0}, {name: A_b, version: 1.0.0}]\nmains",
            "`A_b` is listed twice",
        ),
        ("mains", "plugins: x\nmains", "a list is wanted"),
        ("mains", "language: fr\nmains", "'en'"),
        ("mains", "publish: maybe\nmains", "`yes` or `no`"),
        ("format: 1", "format: 2", "up to format 1"),
    ],
)
def test_one_mistake_one_problem(old: str, new: str, words: str) -> None:
    assert old in LEAST
    assert words in _problem(LEAST.replace(old, new, 1))


def test_the_loudest_allowed_cap_is_accepted_as_printed() -> None:
    assert SoundSettings(cap=0.05, spl_fullscale_dba=96.0).cap == 0.05
    assert SoundSettings(cap=1.0, spl_fullscale_dba=70.0).cap == 1.0


def test_names_paths_and_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(LEAST, encoding="utf-8")
    assert load_room(path) == load_room(str(path))
    with pytest.raises(InputError, match="did you mean `sim`"):
        load_room("simm")
    with pytest.raises(InputError, match="not a file"):
        load_room(tmp_path / "none.yaml")


def test_a_new_room_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    text = new_room(
        name="Room 2",
        use="clinical",
        mains_hz=60,
        stream_name="O'Brien: amp",
        source_id="x-1",
        channels=("Fp1", "Cz"),
        unit="uV",
        display=1,
        folder="~/sessions",
        known_peers=("192.0.2.1",),
        markers=("Stim",),
    )
    path.write_text(text, encoding="utf-8")
    room = load_room(path)
    assert room.stream.name == "O'Brien: amp"
    assert room.stream.channels == ("Fp1", "Cz")
    assert (room.mains_hz, room.use, room.markers) == (60, "clinical", ("Stim",))
    assert room.record.path == Path("~/sessions").expanduser()


def test_a_new_room_with_a_bad_answer_is_refused() -> None:
    with pytest.raises(YamlError, match="50 Hz"):
        new_room(name="x", mains_hz=55)


@given(st.text(min_size=1, max_size=30))
def test_any_name_is_kept_or_refused(name: str) -> None:
    try:
        text = new_room(name=name, stream_name=name)
    except YamlError:
        return
    room = validate(Room, parse(text.encode(), "room.yaml"))
    assert room.name == " ".join(name.split())


def test_the_schema_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "configs" / "schema" / "room.schema.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(written(Room))), (
        "write json.dumps(protocols.grammar.written(Room), indent=2) into the schema file"
    )


@pytest.mark.parametrize("name", rooms())
def test_shipped_rooms_name_their_schema(name: str) -> None:
    text = (ROOT / "configs" / f"{name}.yaml").read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema/room.schema.json\n")
