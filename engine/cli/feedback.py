"""`neuroloop pictures` and `neuroloop preview`: what people see and hear."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.words import Json, MaybeRoom, Plainly, print_json, say

if TYPE_CHECKING:
    from feedback.registry import SoundKind

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(cls=Plainly, short_help="List pictures and sounds.")(pictures)
    app.command(cls=Plainly, short_help="Try a picture and its sounds, without a person.")(preview)


def pictures(json_: Json = False) -> None:
    """List what people can see and hear, and what each needs. Pictures of all: docs/feedback.md."""
    from feedback.registry import PICTURES, SOUNDS

    if json_:
        print_json(
            [
                *(
                    {
                        "picture": k.name,
                        "doc": k.doc,
                        "follows": k.mapping,
                        "needs": k.needs,
                    }
                    for k in PICTURES.values()
                ),
                *(
                    {"sound": k.name, "role": k.role, "doc": k.doc, "needs": k.needs}
                    for k in SOUNDS.values()
                ),
            ]
        )
        return
    needs = {"film": " Needs `media: film` in the room."}
    say("Pictures (`picture:` in a protocol)\n")
    for picture in PICTURES.values():
        say(f"{picture.name:14s}{picture.doc}{needs.get(picture.needs, '')}")
    for role, title in (("on_reward", "at a reward"), ("continuous", "continuous")):
        say(f"\nSounds, {title} (`sound: {role}:`)\n")
        for sound in SOUNDS.values():
            if sound.role == role:
                say(f"{sound.name:14s}{sound.doc}{needs.get(sound.needs, '')}")
    say("\nTry one: neuroloop preview NAME --room FILE")


def preview(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PICTURE", help="Name from `neuroloop pictures`, or a protocol (name or file)."
        ),
    ] = "orb",
    room: MaybeRoom = None,
    sound: Annotated[
        str | None,
        typer.Option("--sound", metavar="SOUND", help="A continuous sound to hear with it."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="SECONDS", help="How long, 5 to 600."),
    ] = 40.0,
    headless: Annotated[
        bool, typer.Option("--headless", help="Show no window; save its pictures as files.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the pictures of --headless.")
    ] = None,
) -> None:
    """Show a picture as a person would see it in this room, while a level goes up and down.

    No amplifier, no recording. It ends by itself, or with Esc.
    """
    from engine.errors import InputError
    from engine.perceived import Perceived, check_perceived
    from engine.plugins import load_plugins, registries
    from engine.preview import preview as show
    from engine.room import load_room
    from protocols.load import load

    if not 5.0 <= seconds <= 600.0:
        raise InputError(f"{seconds:g} seconds are no preview.", "From 5 to 600 seconds.")
    place = load_room(room or "sim")
    known = registries(load_plugins(place.wanted_plugins))
    if name in known.pictures:
        wanted = Perceived(name, continuous=sound)
    else:
        loaded = load(name, known.features, pictures=known.pictures, sounds=known.sounds,
                      rewards=known.rewards)  # fmt: skip
        wanted = Perceived.of(loaded.protocol.feedback)
    if sound is not None:
        _continuous(sound, known.sounds)
    check_perceived(wanted, place, known.pictures, known.sounds)
    if headless and out is None:
        out = Path("preview")
    show(wanted, place, seconds, say, headless=headless, frames=None if out is None else str(out))
    if headless:
        say(f"Frames:    {out}")


def _continuous(name: str, sounds: Mapping[str, SoundKind]) -> None:
    from engine.errors import InputError

    known = [k.name for k in sounds.values() if k.role == "continuous"]
    if name not in known:
        raise InputError(
            f"There is no continuous sound `{name}`.", f"Choose one of {', '.join(known)}."
        )
