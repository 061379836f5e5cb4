"""`doctor --certify`: the measurement of a room's delays, and its result in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from engine.cli.words import mistakes_as, print_json, progress_bar, say
from engine.errors import InputError

if TYPE_CHECKING:
    from engine.certificate import Certificate

__all__ = ["certify_room"]

STEPS = 4  # lines of progress where there is no terminal to draw a bar on


def certify_room(
    room: str | None,
    sensor: str | None,
    photodiode: str,
    audio: str,
    transitions: int,
    out: Path | None,
    *,
    simulated_ok: bool,
    json_: bool,
) -> None:
    """Measure, say what was found, and exit with 0 (passed) or 1."""
    with mistakes_as(json_):
        missing = [o for o, given in (("--room", room), ("--sensor", sensor)) if not given]
        if room is None or sensor is None or missing:
            raise InputError(
                f"To certify a room, {' and '.join(missing)} must be given.",
                "As in: neuroloop doctor --certify --room our-room.yaml --sensor NAME "
                "--photodiode COLUMN",
            )
        from engine.certify import CertifyOptions, certify

        options = CertifyOptions(
            room=room,
            sensor=sensor,
            photodiode=photodiode,
            audio=audio,
            transitions=transitions,
            out=out,
            simulated_ok=simulated_ok,
        )
        with progress_bar(wanted=not json_) as bar:
            tell: Callable[[str], None] = (lambda _text: None) if json_ else say
            done = certify(options, tell, _progress(bar, transitions, quiet=json_))
    if json_:
        print_json({"ok": True, "file": done.path, **done.certificate.content})
    else:
        for line in _lines(done.certificate):
            say(line)
        say(f"Certificate: {done.path}")
    raise typer.Exit(0 if done.certificate.passed else 1)


def _progress(
    bar: Callable[[str, float], None], transitions: int, *, quiet: bool
) -> Callable[[float], None]:
    """Return what shows progress: a bar in a terminal, a few lines where there is none."""
    from engine.cli.words import console

    told = 0

    def show(share: float) -> None:
        nonlocal told
        bar("Transitions", share)
        step = int(share * STEPS)
        if step > told and not quiet and not console.is_terminal:
            told = step
            say(f"{round(share * transitions)} of {transitions} transitions")

    return show


def _lines(certificate: Certificate) -> Iterator[str]:
    yield ""
    for what, name in (("display", "Display"), ("audio", "Sound")):
        found = certificate.results[what]
        if found is not None:
            yield _delay(name, found)
    yield ""
    for criterion in certificate.criteria:
        yield f"{'ok  ' if criterion.passed else 'FAIL'}  {criterion}"
    yield ""
    yield "PASSED." if certificate.passed else "NOT PASSED: mend what is marked FAIL, and repeat."
    if certificate.simulated:
        yield "A rehearsal: nothing real was seen or heard. It counts for no person's session."


def _delay(name: str, found: Mapping[str, Any]) -> str:
    if found["median_ms"] is None or found["n"] == 0:
        return f"{name}: no transition was answered."
    text = (
        f"{name}: {found['median_ms']:.1f} ms late (median of {found['n']}), SD "
        f"{found['sd_ms']:.1f} ms, 95 % within {found['p95_ms']:.1f} ms, at most "
        f"{found['max_ms']:.1f} ms."
    )
    if name == "Display":
        text += f" To light {found['rise_ms']:.1f} ms, to dark {found['fall_ms']:.1f} ms."
    return text
