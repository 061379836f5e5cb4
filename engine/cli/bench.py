"""Commands of the technician's bench: simulate, simulate-sensor, play, streams and doctor."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.words import Json, MaybeRoom, Plainly, console, print_json, say
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.agree import Seen
    from engine.room import Room

LEAST_WAIT_S, MOST_WAIT_S = 0.5, 60.0  # LSL streams answer within a second


class Eyes(StrEnum):
    """Of the simulated person."""

    open = "open"
    closed = "closed"


class Response(StrEnum):
    """How the simulated person answers to feedback."""

    learner = "learner"
    non_learner = "non_learner"
    drifter = "drifter"
    muscle_cheat = "muscle_cheat"
    blink_cheat = "blink_cheat"


class Rhythm(StrEnum):
    """What the simulated person has in hand."""

    alpha = "alpha"
    smr = "smr"
    theta = "theta"
    beta = "beta"


Network = Annotated[
    bool, typer.Option("--network", help="Offer the stream to other computers too.")
]
StreamName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="LSL name of the stream.")
]
SourceId = Annotated[
    str | None, typer.Option("--source-id", metavar="ID", help="LSL source id of the stream.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of the technician's bench."""
    app.command(
        cls=Plainly, short_help="Offer a simulated person as an LSL stream, with faults on demand."
    )(simulate)
    app.command(
        "simulate-sensor",
        cls=Plainly,
        short_help="Offer a simulated photodiode and microphone, to rehearse doctor --certify.",
    )(simulate_sensor)
    app.command(cls=Plainly, short_help="Play a recording as an LSL stream in real time.")(play)
    app.command(
        cls=Plainly, short_help="List the streams on the network, and what is wrong with each."
    )(streams)
    app.command(cls=Plainly, short_help="Is this computer fit for a session?")(doctor)


def simulate(
    rate: Annotated[
        float,
        typer.Option("--rate", metavar="HZ", help="Samples per second, 128 to 2048."),
    ] = 250.0,
    seed: Annotated[
        int, typer.Option("--seed", metavar="NUMBER", help="The same seed is the same person.")
    ] = 1,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="SECONDS", help="How long; without it, until Ctrl-C."),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option("--faults", metavar="FILE", help="YAML script of what goes wrong when."),
    ] = None,
    name: StreamName = "neuroloop-sim",
    source_id: SourceId = "neuroloop-sim",
    eyes: Annotated[Eyes, typer.Option("--eyes", help="Of the simulated person.")] = Eyes.open,
    blinks: Annotated[bool, typer.Option(help="Whether the person blinks.")] = True,
    jaw: Annotated[bool, typer.Option(help="Whether the person clenches the jaw.")] = True,
    mains: Annotated[
        float, typer.Option("--mains", metavar="HZ", help="Frequency of the mains hum.")
    ] = 50.0,
    person: Annotated[
        Response | None,
        typer.Option("--person", help="How the person answers to the feedback of the session."),
    ] = None,
    rhythm: Annotated[
        Rhythm, typer.Option("--rhythm", help="Which rhythm such a person has in hand.")
    ] = Rhythm.smr,
    network: Network = False,
) -> None:
    """Offer a simulated person as an LSL stream, with faults on demand.

    Ends with Ctrl-C. The room `sim` is made for it. With --person the person watches the feedback
    that the session publishes: a learner earns more with time, a drifter less, a cheat clenches
    the jaw or blinks when rewards stay away.
    """
    from engine import simulate as bench
    from engine.faultscript import load_faults
    from engine.person import SITES, Person

    options = bench.SimulatorOptions(
        rate_hz=rate,
        seed=seed,
        seconds=seconds,
        faults=faults,
        name=name or "neuroloop-sim",
        source_id=source_id or "neuroloop-sim",
        eyes="closed" if eyes is Eyes.closed else "open",
        blinks=blinks,
        jaw=jaw,
        mains_hz=mains,
        person=person.value if person else "",
        rhythm=rhythm.value,
        network=bench.Network(loopback_only=not network),
    )
    if faults is not None:
        load_faults(faults, SITES)  # a mistake is told before anything else
    Person(rate)  # a rate out of range, too
    say(f"Simulated person {options.name!r} at {rate:g} Hz. Ctrl-C ends it.")
    say("In another terminal: neuroloop run smr_up --room sim --short 60")
    raise typer.Exit(bench.main(options.arguments()))


def simulate_sensor(
    display: Annotated[
        float, typer.Option("--display", metavar="MS", help="How late the light is.")
    ] = 12.0,
    sound: Annotated[
        float, typer.Option("--sound", metavar="MS", help="How late the clicks are.")
    ] = 35.0,
    display_jitter: Annotated[
        float, typer.Option("--display-jitter", metavar="MS", help="Spread (SD) of the light.")
    ] = 0.3,
    sound_jitter: Annotated[
        float, typer.Option("--sound-jitter", metavar="MS", help="Spread (SD) of the clicks.")
    ] = 1.5,
    rate: Annotated[
        float, typer.Option("--rate", metavar="HZ", help="Samples per second, 200 to 10000.")
    ] = 1000.0,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Of its noise.")] = 1,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", metavar="SECONDS", help="How long; without it, until Ctrl-C."),
    ] = None,
    name: StreamName = "neuroloop-sensor",
    network: Network = False,
) -> None:
    """Offer a simulated photodiode and microphone, to rehearse doctor --certify.

    It follows the flips that a window under measurement announces, and shows each one as late as
    you say. Its stream says that it is simulated, and so does a certificate made with it. Ends
    with Ctrl-C.
    """
    from engine import sensor
    from engine.simulate import Network

    options = sensor.SensorOptions(
        rate_hz=rate,
        display_ms=display,
        sound_ms=sound,
        display_jitter_ms=display_jitter,
        sound_jitter_ms=sound_jitter,
        seed=seed,
        seconds=seconds,
        name=name or "neuroloop-sensor",
        source_id=name or "neuroloop-sensor",
        network=Network(loopback_only=not network),
    )
    say(f"Simulated sensor {options.name!r} at {rate:g} Hz. Ctrl-C ends it.")
    say(
        "In another terminal: neuroloop doctor --certify --room ROOM --sensor "
        f"{options.name} --photodiode photodiode --audio audio --simulated-ok"
    )
    raise typer.Exit(sensor.main(options.arguments()))


def play(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="EDF, BDF, FIF, SET, VHDR, XDF, OpenBCI text or Muse CSV."
        ),
    ],
    once: Annotated[
        bool, typer.Option("--once/--loop", help="End after the last sample, or begin again.")
    ] = True,
    name: StreamName = None,
    source_id: SourceId = None,
    wait: Annotated[
        bool, typer.Option("--wait/--now", help="Begin when somebody receives it, or at once.")
    ] = False,
    network: Network = False,
) -> None:
    """Play a recording as an LSL stream in real time.

    A loop's seam is a gap of a second and a marker, never hidden. Ends with Ctrl-C.
    """
    from engine import play as player
    from engine.simulate import Network

    options = player.PlayOptions(
        file,
        loop=not once,
        name=name,
        source_id=source_id,
        wait=wait,
        network=Network(loopback_only=not network),
    )
    say(f"Reading {file.name}, then playing it. Ctrl-C ends it.")
    raise typer.Exit(player.main(options.arguments()))


def streams(
    room: MaybeRoom = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", help="How long to listen.")
    ] = 2.0,
    json_: Json = False,
) -> None:
    """List the streams on the network, and what is wrong with each.

    With --room it says as well which of them the room would use. Exit code 3 when there is none.
    """
    from engine.agree import found, shown
    from engine.lsl import configure_lsl
    from engine.resolve import columns_of, look
    from engine.room import load_room

    place = load_room(room) if room else None
    if place is not None:
        configure_lsl(place.lsl)
    if not LEAST_WAIT_S <= wait <= MOST_WAIT_S:
        raise InputError(
            f"Listening for {wait:g} s is not possible.",
            f"Choose from {LEAST_WAIT_S:g} to {MOST_WAIT_S:g} s.",
        )
    rows = found([columns_of(s) for s in look(wait)])
    verdicts = ["" if place is None else _verdict(r.stream, place) for r in rows]
    if json_:
        print_json(
            [
                {
                    "stream": str(r.stream),
                    "name": r.stream.name,
                    "type": r.stream.stype,
                    "source_id": r.stream.source_id,
                    "host": r.stream.host,
                    "rate_hz": r.stream.rate_hz,
                    "channels": [c.label for c in r.stream.columns or ()],
                    "problems": list(r.problems),
                    **({} if place is None else {"room": verdict}),
                }
                for r, verdict in zip(rows, verdicts, strict=True)
            ]
        )
    elif not rows:
        say("No LSL stream was found.")
        say("Is the amplifier's software running with LSL on? Are both in the same network?")
        if room is None:
            say("Streams of `simulate` and `play` stay on this computer: neuroloop streams "
                "--room sim")  # fmt: skip
    else:
        for row, verdict in zip(rows, verdicts, strict=True):
            say(str(row.stream))
            names = [shown(c.label) for c in row.stream.columns or ()]
            if names:
                say(f"    channels: {', '.join(names)}")
            for problem in row.problems or ("Nothing is wrong with it.",):
                say(f"    - {problem}")
            if verdict:
                say(f"    - {verdict}")
    if not rows:
        raise typer.Exit(3)


def _verdict(stream: Seen, room: Room) -> str:
    """Say whether the room would use a stream."""
    from engine.agree import describe
    from engine.errors import StreamError
    from engine.resolve import misfits

    other = misfits(stream, room.stream)
    if other:
        return f"Room {room.name!r} wants another {' and '.join(other)}."
    try:
        describe(stream, room.stream)
    except StreamError as error:
        return f"Room {room.name!r} wants it, but: {error.what} {error.fix}"
    return f"Room {room.name!r} would use it."


def doctor(
    room: MaybeRoom = None,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Measure how late light and sound are, with a sensor."),
    ] = False,
    sensor: Annotated[
        str | None,
        typer.Option("--sensor", metavar="NAME", help="Certify: LSL name of the sensor's stream."),
    ] = None,
    photodiode: Annotated[
        str,
        typer.Option(
            "--photodiode", metavar="COLUMN", help="Certify: its column, by label or number."
        ),
    ] = "",
    audio: Annotated[
        str,
        typer.Option("--audio", metavar="COLUMN", help="Certify: the microphone's or line's."),
    ] = "",
    transitions: Annotated[
        int,
        typer.Option("--transitions", metavar="NUMBER", help="Certify: how many, 10 to 2000."),
    ] = 120,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Certify: not where sessions look for certificates."
        ),
    ] = None,
    simulated_ok: Annotated[
        bool,
        typer.Option("--simulated-ok", help="Certify: rehearse without a screen, in a test room."),
    ] = False,
    json_: Json = False,
) -> None:
    """Is this computer fit for a session?

    Asks one question after the other and says what to do where something is not right. Changes
    nothing. Exit code 1 when a session would not start.

    With --certify it measures instead how late light and sound are in a room: a photodiode on the
    patch in the corner of the person's screen, or a microphone or line, on an LSL stream. The
    result is a dated certificate that later sessions name. Exit code 1 when it did not pass.
    """
    if certify:
        from engine.cli.certifying import certify_room

        certify_room(
            room,
            sensor,
            photodiode,
            audio,
            transitions,
            out,
            simulated_ok=simulated_ok,
            json_=json_,
        )
    stray = [
        option
        for option, given in (
            ("--sensor", sensor), ("--photodiode", photodiode), ("--audio", audio), ("--out", out),
            ("--simulated-ok", simulated_ok),
        )
        if given
    ]  # fmt: skip
    if stray:
        raise InputError(f"{stray[0]} belongs to --certify.", "Add --certify, or leave it out.")
    from engine.doctor import as_json, diagnose, worst
    from engine.room import load_room

    found = diagnose(load_room(room) if room else None, None if json_ else _finding)
    if json_:
        console.print(as_json(found), soft_wrap=True)
    else:
        verdict = {
            "ok": "This computer is fit for a session.",
            "warn": "Fit, with the reservations above.",
            "fail": "Not fit yet: mend what is marked FAIL.",
        }
        say("\n" + verdict[worst(found)])
    raise typer.Exit(1 if worst(found) == "fail" else 0)


def _finding(f: Any) -> None:
    word = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}[f.light]
    say(f"{word}  {f.name}: {f.sentence}")
    if f.fix and f.light != "ok":
        say(f"      -> {f.fix}")
