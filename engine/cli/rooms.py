"""Commands about room files: room new, room check and room list."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.words import (
    Json,
    Plainly,
    asked,
    mistakes_as,
    print_json,
    refuse_existing,
    say,
    write_new,
)
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.room import Room


class Use(StrEnum):
    """What a room is used for."""

    clinical = "clinical"
    research = "research"
    test = "test"


class Unit(StrEnum):
    """Units of voltage an amplifier may send."""

    uV = "uV"  # noqa: N815 - as it is written in the room file
    mV = "mV"  # noqa: N815
    V = "V"


def register(app: typer.Typer) -> None:
    """Add the group `room` with its commands."""
    room_app = typer.Typer(
        no_args_is_help=True,
        short_help="Write, check or list room files.",
        help=(
            "Write, check or list room files. A room file says what belongs to a place: which "
            "amplifier, which screen, how loud, where recordings go."
        ),
    )
    room_app.command(
        "new", cls=Plainly, short_help="Write a room file, by asking or from options."
    )(room_new)
    room_app.command(
        "check", cls=Plainly, short_help="Say what a room file means, or what is wrong in it."
    )(room_check)
    room_app.command("list", cls=Plainly, short_help="List the shipped rooms.")(room_list)
    app.add_typer(room_app, name="room")


def room_new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The YAML file to write.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the room is called.")
    ] = None,
    use: Annotated[
        Use | None, typer.Option("--use", help="A clinical room asks the screening questions.")
    ] = None,
    mains: Annotated[
        int | None,
        typer.Option("--mains", metavar="50|60", help="Frequency of the mains where you are, Hz."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="NAME", help="LSL name of the amplifier's stream."),
    ] = None,
    source_id: Annotated[
        str | None,
        typer.Option("--source-id", metavar="ID", help="LSL source id: the safest choice."),
    ] = None,
    unit: Annotated[
        Unit | None, typer.Option("--unit", help="When the stream does not say it.")
    ] = None,
    screen: Annotated[bool, typer.Option(help="Whether sessions need a visible screen.")] = True,
    sound: Annotated[bool, typer.Option(help="Whether sessions need sound.")] = True,
    loopback: Annotated[
        bool, typer.Option("--loopback", help="Only streams of this computer.")
    ] = False,
    record: Annotated[
        str | None, typer.Option("--record", metavar="DIR", help="Folder for recordings.")
    ] = None,
) -> None:
    """Write a room file, by asking or from options.

    In a terminal it asks for what the options leave open. It never overwrites a file.
    """
    from engine.room import new_room

    refuse_existing(file)
    if sys.stdin is not None and sys.stdin.isatty():
        name = name or typer.prompt("Name of the room", file.stem)
        use = use or Use(asked("What is it used for", [u.value for u in Use]))
        mains = mains or int(asked("Mains where you are, in Hz", ["50", "60"]))
        if stream is None and source_id is None:
            said = typer.prompt(
                "LSL name of the amplifier's stream (`neuroloop streams` shows it; "
                "Enter for any stream of type EEG)",
                "",
                show_default=False,
            )
            stream = said.strip() or None
    missing = [o for o, value in (("--use", use), ("--mains", mains)) if value is None]
    if use is None or mains is None:
        raise InputError(
            f"Nobody is here to be asked, and {' and '.join(missing)} cannot be guessed.",
            "Give them, as in: neuroloop room new FILE --use research --mains 50",
        )
    text = new_room(
        name=name or file.stem,
        use=use.value,
        mains_hz=mains,
        stream_name=stream,
        source_id=source_id,
        unit=None if unit is None else unit.value,
        screen_required=screen,
        full_screen=screen,
        sound_required=sound,
        loopback_only=loopback,
        folder=record,
    )
    write_new(file, text)
    say(f"Written: {file}")
    say(f"Next:    neuroloop doctor --room {file}")


def room_check(
    room: Annotated[
        str,
        typer.Argument(
            metavar="ROOM", help="Your room file, or a name from `neuroloop room list`."
        ),
    ],
    json_: Json = False,
) -> None:
    """Say what a room file means, or what is wrong in it, with line and column."""
    from engine.perceived import check_media
    from engine.room import load_room

    with mistakes_as(json_):
        found = load_room(room)
        check_media(found)
    if json_:
        print_json({"ok": True, "room": found.model_dump(mode="json")})
        return
    say(f"{room}: no mistakes.\n")
    for line in _described(found):
        say(line)


def _described(room: Room) -> Iterator[str]:
    stream, screen, sound = room.stream, room.person_screen, room.sound
    wanted = [
        f"{key} {value!r}"
        for key, value in (
            ("name", stream.name),
            ("type", stream.stype),
            ("source id", stream.source_id),
        )
        if value is not None
    ]
    yield f"Room:       {room.name}, {room.use} use, mains {room.mains_hz} Hz"
    yield f"Stream:     {', '.join(wanted) or 'any'}"
    where = "this computer only" if room.lsl.loopback_only else "the network"
    yield f"LSL:        {where}, session id {room.lsl.session_id!r}"
    size = f", {screen.size[0]} x {screen.size[1]}" if screen.size else ""
    full = ", full screen" if screen.full_screen else ""
    needed = {True: "required", False: "not required"}
    yield f"Screen:     number {screen.display}{full}{size}, {needed[screen.required]}"
    yield f"Sound:      {needed[sound.required]}, at most {100 * sound.cap:g} % of full scale"
    styles = [k.replace("_", " ") for k in ("large_text", "high_contrast", "reduced_motion")
              if getattr(room, k)]  # fmt: skip
    own = [
        *(k for k in ("images", "film") if getattr(room.media, k)),
        *(name for name, _ in sound.files.given),
    ]
    yield f"Person:     {', '.join(['English' if room.language == 'en' else 'German', *styles])}"
    if own:
        yield f"Own files:  {', '.join(own)}"
    if screen.photodiode != "none" or sound.click:
        patch = f"patch {screen.photodiode}" if screen.photodiode != "none" else "no patch"
        yield f"Measuring:  {patch}{', clicks' if sound.click else ''}"
    folder = room.record.folder or "the user's data folder"
    yield f"Recordings: {folder}; {room.record.keep_free_gb:g} GB of the disk stay free"
    if room.markers:
        yield f"Markers:    {', '.join(room.markers)}"


def room_list(json_: Json = False) -> None:
    """List the shipped rooms."""
    from engine.room import load_room, rooms

    found = [(name, load_room(name)) for name in rooms()]
    if json_:
        print_json([{"room": name, "name": r.name, "use": r.use} for name, r in found])
        return
    for name, room in found:
        say(f"{name:18s}  {room.name} ({room.use})")
