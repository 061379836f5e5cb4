"""The certificate of a room: how late light and sound are there, measured, dated, and void when?

It belongs to one configuration: this computer, this screen, this driver, these settings of the
room. It is a JSON file with its own digest, so that a change of it shows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import platformdirs

from engine.clock import wall
from engine.columns import plain
from engine.errors import FileError
from engine.folder import sync_folder
from engine.loopback import Delay
from engine.room import Room

__all__ = [
    "LASTS_DAYS",
    "Certificate",
    "Criterion",
    "Kept",
    "criteria",
    "default_folder",
    "differences",
    "for_header",
    "introduced",
    "machine",
    "newest_for",
    "read_certificate",
    "room_sha256",
    "told",
    "why_void",
    "window_facts",
    "write_certificate",
]

FORMAT = 1
LASTS_DAYS = 365
# A person or an app can follow a constant lag; these bound what varies.
DISPLAY_SD_MS = 5.0
SOUND_SD_MS = 15.0
MISSED_SHARE = 0.01
EXTRA_SHARE = 0.01
LEAST_ANSWERED = 10
INVISIBLE = ("dummy", "offscreen")
_MOST_BYTES = 1_000_000
_NAME = re.compile(r"(.+)\.certificate-\d{4}-\d\d-\d\dT\d{6}\.json")


@dataclass(frozen=True, slots=True)
class Criterion:
    """One condition of passing.

    Parameters
    ----------
    name : str
    value : float or None
        The number found; None when it is not known.
    limit : float
    unit : str
    passed : bool
    relation : {"at most", "at least"}
        Of value to limit.
    """

    name: str
    value: float | None
    limit: float
    unit: str
    passed: bool
    relation: str = "at most"

    def __str__(self) -> str:
        number = "not known" if self.value is None else f"{self.value:.3g}"
        return f"{self.name}: {number} {self.unit}".rstrip() + (
            f" ({self.relation} {self.limit:.3g})"
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was measured in a room, and with what.

    Parameters
    ----------
    date : str
        ISO 8601, UTC.
    room : mapping
        Its name and the digest of what it says of screen and sound.
    machine, screen, sound, versions, sensor, seeds : mapping
        What was used.
    results : mapping
        ``display`` and ``audio``: a `Delay` each as a mapping, or None where not measured.
    criteria : tuple of Criterion
    passed : bool
        Whether all of them hold.
    simulated : bool
        Nothing was seen or heard for real: it counts for rehearsals in test rooms only.
    """

    date: str
    room: Mapping[str, Any]
    machine: Mapping[str, Any]
    screen: Mapping[str, Any]
    sound: Mapping[str, Any]
    versions: Mapping[str, str]
    sensor: Mapping[str, Any]
    seeds: Mapping[str, int]
    results: Mapping[str, Any]
    criteria: tuple[Criterion, ...]
    passed: bool
    simulated: bool

    @property
    def content(self) -> dict[str, Any]:
        """Everything as JSON knows it, without the digest."""
        found: dict[str, Any] = plain({"format": FORMAT, **asdict(self)})
        return found

    @property
    def sha256(self) -> str:
        """The digest of the content."""
        return _digest(self.content)

    @property
    def window(self) -> dict[str, Any]:
        """Facts of the window, as `differences` compares them."""
        return {**self.screen, **self.sound, "versions": dict(self.versions)}


@dataclass(frozen=True, slots=True)
class Kept:
    """A certificate in a folder; without a value `problem` says why it cannot be used."""

    path: Path
    certificate: Certificate | None
    problem: str = ""


# ---------------------------------------------------------------- passing


def criteria(
    display: Delay | None, audio: Delay | None, *, frame_ms: float, asked: int, shown: int
) -> tuple[Criterion, ...]:
    """Return the conditions of passing, with the numbers found.

    The constant part of a delay is no condition: it is known then, and can be allowed for.

    Parameters
    ----------
    display, audio : Delay or None
        None where not measured.
    frame_ms : float
        Of the screen.
    asked, shown : int
        Transitions ordered, and those that the window presented.
    """
    found = [
        _at_most(
            "transitions the window skipped", _share(asked - shown, asked), 100 * MISSED_SHARE, "%"
        )
    ]
    if display is not None:
        spread = display.p95_ms - display.median_ms
        found += [
            _at_most("spread of the display delay (SD)", display.sd_ms, DISPLAY_SD_MS, "ms"),
            _at_most("display delay, 95 % above the median", spread, frame_ms, "ms"),
            *_complete("transitions", display),
        ]
    if audio is not None:
        found += [
            _at_most("spread of the sound delay (SD)", audio.sd_ms, SOUND_SD_MS, "ms"),
            *_complete("clicks", audio),
        ]
    return tuple(found)


def _complete(what: str, delay: Delay) -> list[Criterion]:
    judged = delay.n + delay.missed
    every = judged + delay.unseen
    return [
        _at_most(f"{what} missed", _share(delay.missed, judged), 100 * MISSED_SHARE, "%"),
        _at_most(
            f"{what} that nobody asked for", _share(delay.extra, every), 100 * EXTRA_SHARE, "%"
        ),
        _at_most(
            f"{what} lost in holes of the sensor's stream", _share(delay.unseen, every), 10.0, "%"
        ),
        Criterion(
            f"{what} answered",
            delay.n,
            LEAST_ANSWERED,
            "",
            delay.n >= LEAST_ANSWERED,
            "at least",
        ),
    ]


def _share(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else math.nan


def _at_most(name: str, value: float, limit: float, unit: str) -> Criterion:
    known = math.isfinite(value)
    return Criterion(name, value if known else None, limit, unit, known and value <= limit)


# ---------------------------------------------------------------- what it belongs to


def room_sha256(room: Room) -> str:
    """Return the digest of what a room says of screen and sound."""
    said = {
        "screen": room.person_screen.model_dump(mode="json"),
        "sound": room.sound.model_dump(mode="json"),
    }
    return _digest(said)


def machine() -> dict[str, Any]:
    """Return what this computer is, without its name."""
    return {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
    }


def window_facts(ready: Any) -> dict[str, Any]:
    """Return what a window said of itself when it opened (`feedback.worker.Ready`)."""
    return {
        "driver": ready.driver,
        "size": list(ready.size),
        "refresh_hz": float(ready.refresh_hz),
        "vsync": bool(ready.vsync),
        "audio": ready.audio,
        "buffer_ms": float(ready.buffer_ms),
        "versions": dict(ready.versions),
    }


def differences(made: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in which the open window differs from the one that was measured, as sentences.

    Parameters
    ----------
    made, now : mapping
        `Certificate.window` (or what a recording's header keeps of it) and `window_facts` of the
        open window, or the data of a recording's event ``window``. What either does not tell is
        not compared.
    """
    found = []
    if _differ(made, now, "driver"):
        found.append(
            f"The screen now runs with the driver {_named(now['driver'])}, the certificate was "
            f"made with {_named(made['driver'])}."
        )
    if _differ(made, now, "size"):
        found.append(
            f"The screen is now {_size(now['size'])}, the certificate was made at "
            f"{_size(made['size'])}."
        )
    a, b = made.get("refresh_hz"), now.get("refresh_hz")
    if a is not None and b is not None and abs(a - b) > 0.5:
        found.append(f"The screen now runs at {b:g} Hz, the certificate was made at {a:g} Hz.")
    # A silent session has no delay of its sound.
    if made.get("audio_measured") and now.get("audio") and _differ(made, now, "audio"):
        found.append(
            f"The sound now goes to {_named(now['audio'])}, the certificate was made with "
            f"{_named(made['audio'])}."
        )
    for name in ("pygame", "SDL"):
        if _differ(made.get("versions", {}), now.get("versions", {}), name):
            found.append(
                f"{name} is now {now['versions'][name]}, the certificate was made with "
                f"{made['versions'][name]}."
            )
    return tuple(found)


def _differ(made: Mapping[str, Any], now: Mapping[str, Any], key: str) -> bool:
    if made.get(key) is None or now.get(key) is None:
        return False
    return bool(plain(made[key]) != plain(now[key]))


def _named(text: str) -> str:
    return f"'{text}'" if text else "none"


def _size(pair: Sequence[int]) -> str:
    return " x ".join(str(n) for n in pair)


def why_void(
    certificate: Certificate, room: Room, *, headless: bool, today: dt.datetime | None = None
) -> tuple[str, ...]:
    """Return why a certificate does not hold for a session in `room`, as sentences; empty: it does.

    What only the open window can tell is compared by `differences`.
    """
    found = []
    if not certificate.passed:
        failed = ", ".join(c.name for c in certificate.criteria if not c.passed)
        found.append(f"It did not pass: {failed}.")
    if certificate.room["sha256"] != room_sha256(room):
        found.append("The room's settings of screen or sound have changed since.")
    if certificate.machine != machine():
        found.append("This is another computer or another version of its system.")
    found += _versions_differ(certificate.versions)
    age = (today or wall()) - dt.datetime.fromisoformat(certificate.date)
    if age > dt.timedelta(days=LASTS_DAYS):
        found.append(f"It is {age.days} days old; it holds for {LASTS_DAYS}.")
    if age < -dt.timedelta(days=1):
        found.append("It is dated in the future: this computer's clock was changed.")
    if certificate.simulated and not (headless and room.use == "test"):
        found.append("It is a rehearsal with nothing real to see or hear.")
    if headless and not certificate.simulated:
        found.append("This session has no screen.")
    return tuple(found)


def _versions_differ(made: Mapping[str, str]) -> list[str]:
    now = pygame_version()
    if made.get("pygame") == now:
        return []
    return [f"pygame is now {now or 'missing'}, it was made with {made.get('pygame', 'another')}."]


def pygame_version() -> str:
    """Return the installed version of pygame, by either of its names; empty when there is none."""
    for name in ("pygame", "pygame-ce"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


# ---------------------------------------------------------------- files


def default_folder() -> Path:
    """Return where certificates are kept: where sessions look for them."""
    return Path(platformdirs.user_data_dir("neuroloop", appauthor=False)) / "certificates"


def write_certificate(certificate: Certificate, folder: Path) -> Path:
    """Write a new file into `folder` and return its path; nothing is overwritten.

    Raises
    ------
    FileError
        The folder cannot be made or written.
    """
    when = dt.datetime.fromisoformat(certificate.date).astimezone(dt.UTC)
    name = f"{_slug(certificate.room['name'])}.certificate-{when:%Y-%m-%dT%H%M%S}.json"
    path = folder / name
    row = {**certificate.content, "sha256": certificate.sha256}
    text = json.dumps(row, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
    except OSError as error:
        raise FileError(
            f"The certificate {path} cannot be written: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    return path


def read_certificate(path: Path) -> Certificate:
    """Read a certificate, and hold it against its own digest.

    Raises
    ------
    FileError
        It cannot be read, is no certificate, or was changed after it had been written.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("too long")
        row = json.loads(path.read_text(encoding="utf-8"))
        said = row.pop("sha256")
        written = row.pop("format")
        if written != FORMAT:
            raise FileError(
                f"{path.name} is of format {written}, this version reads {FORMAT}.",
                "Certify the room again.",
            )
        if said != _digest({"format": written, **row}):
            raise FileError(
                f"{path.name} was changed after it had been written.", "Certify the room again."
            )
        rows = row.pop("criteria")
        known = {f.name for f in fields(Certificate)}
        if set(row) | {"criteria"} != known:
            raise ValueError("other keys")
        return Certificate(**row, criteria=tuple(Criterion(**c) for c in rows))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FileError(
            f"{path.name} cannot be read as a certificate.", "Certify the room again."
        ) from error


def newest_for(room: Room, folder: Path) -> Kept | None:
    """Return the newest certificate of a room, also when it did not pass or cannot be read.

    An older one never stands in for it: the newest is what is known of the room.
    """
    wanted = _slug(room.name)
    try:
        names = sorted((p.name for p in folder.iterdir()), reverse=True)
    except OSError:
        return None
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[1] != wanted:
            continue
        try:
            found = read_certificate(folder / name)
        except FileError as error:
            return Kept(folder / name, None, error.what)
        if found.room["name"] == room.name:
            return Kept(folder / name, found)
    return None


def _slug(name: str) -> str:
    """Return a room's name fit for a file name."""
    plainer = unicodedata.normalize("NFKD", name.lower())
    letters = "".join(c for c in plainer if not unicodedata.combining(c))
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:60].rstrip("-") or "room"


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# ---------------------------------------------------------------- what a session says of it


def for_header(kept: Kept | None, room: Room, *, headless: bool) -> dict[str, Any] | None:
    """Return what a recording keeps of the room's certificate; None when there is none.

    `valid` and `why_not` are what is known before the window opens; `window` is for `differences`.
    """
    if kept is None:
        return None
    c = kept.certificate
    if c is None:
        return {"file": kept.path.name, "valid": False, "why_not": [kept.problem]}
    why_not = why_void(c, room, headless=headless)
    display, audio = c.results.get("display"), c.results.get("audio")
    return {
        "file": kept.path.name,
        "sha256": c.sha256,
        "date": c.date,
        "display_ms": None if display is None else display["median_ms"],
        "display_sd_ms": None if display is None else display["sd_ms"],
        "sound_ms": None if audio is None else audio["median_ms"],
        "sound_sd_ms": None if audio is None else audio["sd_ms"],
        "simulated": c.simulated,
        "valid": not why_not,
        "why_not": list(why_not),
        "window": c.window,
    }


def introduced(header: Mapping[str, Any] | None, room_file: str) -> str:
    """Return the sentence for the operator before a session."""
    again = f"neuroloop doctor --certify --room {room_file}"
    if header is None:
        return f"No certificate of this room's delays: {again}"
    if not header["valid"]:
        return (
            f"The certificate of this room's delays is void: {' '.join(header['why_not'])} {again}"
        )
    parts = []
    if header["display_ms"] is not None:
        parts.append(f"Display delay {_with_sd(header['display_ms'], header['display_sd_ms'])}")
    if header["sound_ms"] is not None:
        word = "sound delay" if parts else "Sound delay"
        parts.append(f"{word} {_with_sd(header['sound_ms'], header['sound_sd_ms'])}")
    return f"{', '.join(parts)} in this room, certified {header['date'][:10]}."


def told(header: Mapping[str, Any] | None, window: Mapping[str, Any] | None = None) -> str:
    """Return the line of a report: which certificate the session rests on, if any.

    Parameters
    ----------
    header : mapping or None
        `certificate` of the recording's header.
    window : mapping or None
        Data of its event ``window``.
    """
    if not header:
        return "No certificate: how late light and sound were in this room was not measured."
    why = list(header.get("why_not") or ())
    if window is not None:
        why += differences(header.get("window") or {}, window)
    file = f" {header['file']}" if header.get("file") else ""  # an exported recording names none
    if why or not header.get("valid", True):
        said = f": {' '.join(why)}" if why else "."
        return f"The certificate{file} does not hold for this session{said}"
    parts = []
    if header["display_ms"] is not None:
        parts.append(f"display offset {_with_sd(header['display_ms'], header['display_sd_ms'])}")
    if header["sound_ms"] is not None:
        parts.append(f"sound offset {_with_sd(header['sound_ms'], header['sound_sd_ms'])}")
    kind = "rehearsed certificate" if header["simulated"] else "certificate"
    day = f" of {header['date'][:10]}" if header.get("date") else ""
    article = "" if file else "a "
    return f"Rests on {article}{kind}{file}{day}: {', '.join(parts)}."


def _with_sd(value: float, sd: float | None) -> str:
    return f"{value:.1f} ms" + ("" if sd is None else f" (SD {sd:.1f})")
