"""The room: everything that belongs to a place and not to a protocol.

Which stream, which screens, how loud, where recordings go. Files live in `configs/` or anywhere;
`neuroloop room new` writes one.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from engine.config import (
    Format,
    Map,
    Names,
    Strict,
    Text,
    Whole,
    YesNo,
    parse,
    read,
    validate,
)
from engine.errors import InputError
from engine.units import RATE, VOLTAGE, described, mistake, number, quantity, shown

__all__ = [
    "LslSettings",
    "Media",
    "Plugin",
    "RecordSettings",
    "Room",
    "Screen",
    "SoundFiles",
    "SoundSettings",
    "StreamChoice",
    "load_room",
    "new_room",
    "rooms",
]

UNCALIBRATED_CAP = 0.25  # software gain while nobody has measured the loudness (science: 7.2)
LOUDEST_DBA = 70.0
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # on Windows

Use = Literal["clinical", "research", "test"]


def _plain_number(low: float, high: float) -> BeforeValidator:
    def check(value: object) -> float:
        found = number(value)
        if not low <= found <= high:
            raise mistake(f"{shown(value)} is out of range", f"from {low:g} to {high:g}")
        return found

    return BeforeValidator(check)


def _mains(value: object) -> int:
    text = " ".join(value.split()) if isinstance(value, str) else value
    if type(value) is int and value in (50, 60):
        return value
    if text in ("50 Hz", "60 Hz", "50Hz", "60Hz"):
        return int(str(text)[:2])
    raise mistake(f"mains of {described(value)} is not known", "`50 Hz` or `60 Hz`")


def _size(value: object) -> tuple[int, int]:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{2,5})\s*[x×]\s*(\d{2,5})", value.strip())
        pair: list[Any] = [int(v) for v in match.groups()] if match else []
    else:
        pair = list(value) if isinstance(value, (list, tuple)) else []
    if len(pair) != 2 or not all(isinstance(v, int) and 64 <= v <= 16384 for v in pair):
        raise mistake(f"{described(value)} is no size of a screen", "`1920 x 1080`")
    return int(pair[0]), int(pair[1])


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    for host in value:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            # The names end up in LSL's own settings file, so nothing but a host name may pass.
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
                raise mistake(
                    f"{shown(host)} is no host name or address", "`192.168.0.12`, `amp-room2`"
                ) from None
    return value


def _session_id(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", value):
        raise mistake(f"{shown(value)} cannot be a session id", "1-32 letters, digits, `_` or `-`")
    return value


def _folder(value: str) -> str:
    return _place(value, "folder", "a lost network would lose the recording")


def _file(value: str) -> str:
    return _place(value, "file", "a lost network would stop it during a session")


def _place(value: str, what: str, why: str) -> str:
    if any(ord(c) < 32 for c in value) or "://" in value:
        raise mistake(f"{shown(value)} is no {what}")
    if value.startswith(("\\\\", "//")):
        raise mistake(f"{shown(value)} is a network path; {why}", f"a {what} on this computer")
    for kind in (PurePosixPath(value), PureWindowsPath(value)):
        if ".." in kind.parts:
            raise mistake(f"`..` is not allowed in a {what}: {shown(value)}", "the whole path")
        if any(RESERVED.fullmatch(part) for part in kind.parts):
            raise mistake(f"{shown(value)} contains a name that Windows reserves", "another name")
    return value


def _package(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", value):
        raise mistake(f"{shown(value)} is no name of a package", "`neuroloop-example`")
    return value


def _version(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,60}", value):
        raise mistake(f"{shown(value)} is no exact version", "`version: 0.1.0`, as installed")
    return value


def _once(value: tuple[Plugin, ...]) -> tuple[Plugin, ...]:
    # `my_package`, `My.Package` and `my-package` are one package to an installer.
    names = [re.sub(r"[-_.]+", "-", p.name).lower() for p in value]
    twice = [p.name for i, p in enumerate(value) if names[i] in names[:i]]
    if twice:
        raise mistake(f"`{twice[0]}` is listed twice")
    return value


Share = Annotated[float, _plain_number(0.0, 1.0)]


class StreamChoice(Strict):
    """Which LSL stream is the amplifier, and what it does not say about itself."""

    name: Text | None = None
    stype: Text | None = Field(default="EEG", alias="type")
    source_id: Text | None = None
    channels: Names | None = None
    unit: Literal["uV", "mV", "V"] | None = None
    not_eeg: Names = ()
    counter: Text | None = None
    range_uv: Annotated[float, *quantity(VOLTAGE, 10.0, 1e6)] | None = Field(
        default=None, alias="range"
    )
    rate_hz: Annotated[float, *quantity(RATE, 1.0, 100_000.0)] | None = Field(
        default=None, alias="rate"
    )
    coupling: Literal["ac", "dc"] | None = None

    @property
    def dc_coupled(self) -> bool | None:
        """Whether the amplifier passes slow potentials; None when the room does not say."""
        return None if self.coupling is None else self.coupling == "dc"

    @classmethod
    def shape(cls, data: Any) -> Any:
        """Refuse to take just any stream."""
        if isinstance(data, Map) and not {"name", "source_id", "type"} & set(data):
            raise mistake("the stream is not described", "a `source_id`, or a `name` and a `type`")
        return data


class LslSettings(Strict):
    """How streams are found on the network."""

    known_peers: Annotated[Names, AfterValidator(_hosts)] = ()
    session_id: Annotated[Text, AfterValidator(_session_id)] = "default"
    loopback_only: YesNo = False


class Screen(Strict):
    """The person's screen.

    Not `required`: may run without one, saving frames instead. `steady`: frames at an even pace
    also where no screen keeps it, rather than each new value as soon as it may be shown.
    """

    display: Annotated[Whole, AfterValidator(lambda v: _in(v, 0, 15))] = 0
    size: (
        Annotated[
            tuple[int, int],
            BeforeValidator(_size),
            WithJsonSchema({"type": "string", "examples": ["1920 x 1080"]}),
        ]
        | None
    ) = None
    full_screen: YesNo = True
    required: YesNo = True
    steady: YesNo = False
    photodiode: Literal["none", "top-left", "top-right", "bottom-left", "bottom-right"] = "none"


class Media(Strict):
    """The room's own images and film, for the pictures `puzzle` and `video`."""

    images: Annotated[Text, AfterValidator(_folder)] | None = None
    film: Annotated[Text, AfterValidator(_file)] | None = None


class SoundFiles(Strict):
    """The room's own sounds instead of the built-in ones; WAV, FLAC, MP3 or Ogg Vorbis.

    `start`, `end`, `rest`, `baseline` and `wake` mark the parts of a session, for closed eyes: a
    spoken word, for example.
    """

    chime: Annotated[Text, AfterValidator(_file)] | None = None
    ambience: Annotated[Text, AfterValidator(_file)] | None = None
    start: Annotated[Text, AfterValidator(_file)] | None = None
    end: Annotated[Text, AfterValidator(_file)] | None = None
    rest: Annotated[Text, AfterValidator(_file)] | None = None
    baseline: Annotated[Text, AfterValidator(_file)] | None = None
    wake: Annotated[Text, AfterValidator(_file)] | None = None

    @property
    def given(self) -> tuple[tuple[str, str], ...]:
        """Name and path of those that are given."""
        pairs = ((name, getattr(self, name)) for name in type(self).model_fields)
        return tuple((name, path) for name, path in pairs if path is not None)


class SoundSettings(Strict):
    """The person's loudspeakers or headphones.

    `spl_fullscale_dba` is the level in dBA measured at the head for a full-scale tone; without
    it the volume is capped at a quarter.
    """

    required: YesNo = True
    spl_fullscale_dba: Annotated[float, _plain_number(40.0, 140.0)] | None = None
    cap: Share = UNCALIBRATED_CAP
    device: Text | None = None
    files: SoundFiles = SoundFiles()
    click: YesNo = False

    @model_validator(mode="after")
    def _not_loud(self) -> SoundSettings:
        full = self.spl_fullscale_dba
        most = UNCALIBRATED_CAP if full is None else min(1.0, 10 ** ((LOUDEST_DBA - full) / 20))
        if self.cap > most + 1e-9:
            why = (
                "the loudness has not been measured (`spl_fullscale_dba`)"
                if full is None
                else f"a full-scale tone is {full:g} dBA here; {LOUDEST_DBA:g} dBA is the limit"
            )
            # Rounded down, so that the number can be copied into the file.
            raise mistake(
                f"`cap: {self.cap:g}` is too loud: {why}",
                f"`cap: {math.floor(most * 1000) / 1000:g}` or less",
            )
        return self


class RecordSettings(Strict):
    """Where sessions are written; None means the user's data folder of this platform."""

    folder: Annotated[Text, AfterValidator(_folder)] | None = None
    keep_free_gb: Annotated[float, _plain_number(0.0, 10_000.0)] = 2.0

    @property
    def path(self) -> Path:
        """The folder as a path, with `~` expanded."""
        if self.folder is not None:
            return Path(self.folder).expanduser()
        import platformdirs

        return Path(platformdirs.user_data_dir("neuroloop", appauthor=False)) / "sessions"


class Plugin(Strict):
    """A package from elsewhere that may be used here, in exactly this version."""

    name: Annotated[Text, AfterValidator(_package)]
    version: Annotated[Text, AfterValidator(_version)]


class Room(Strict):
    """A whole room."""

    format: Format
    name: Text
    use: Use
    stream: StreamChoice
    mains_hz: Annotated[
        Literal[50, 60],
        BeforeValidator(_mains),
        WithJsonSchema({"enum": ["50 Hz", "60 Hz"]}),
    ] = Field(alias="mains")
    lsl: LslSettings = LslSettings()
    person_screen: Screen = Field(default=Screen(), alias="screen")
    sound: SoundSettings = SoundSettings()
    record: RecordSettings = RecordSettings()
    markers: Names = ()
    publish: YesNo = True
    plugins: Annotated[tuple[Plugin, ...], AfterValidator(_once)] = ()
    media: Media = Media()
    language: Literal["en", "de"] = "en"
    reduced_motion: YesNo = False
    large_text: YesNo = False
    high_contrast: YesNo = False

    later: ClassVar[tuple[str, ...]] = ("operator_screen", "calibration")

    @property
    def wanted_plugins(self) -> tuple[tuple[str, str], ...]:
        """Name and version of every package listed, for `engine.plugins.load_plugins`."""
        return tuple((p.name, p.version) for p in self.plugins)


def _in(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise mistake(f"{value} is out of range", f"from {low} to {high}")
    return value


def rooms() -> tuple[str, ...]:
    """Return the names of the shipped rooms."""
    folder = resources.files("configs")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_room(path_or_name: str | Path) -> Room:
    """Load a room by the name of a shipped one (``sim``) or by path.

    Raises
    ------
    YamlError
        With every mistake of the file.
    InputError
        When there is no such room or file.
    """
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or "/" in text or "\\" in text or text.endswith(
        (".yaml", ".yml")
    ):  # fmt: skip
        return validate(Room, read(Path(path_or_name)))
    names = rooms()
    if text not in names:
        close = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise InputError(
            f"There is no shipped room `{text}`{meant}.",
            f"Choose one of {', '.join(names)}, or give the path of a YAML file.",
        )
    file = resources.files("configs") / f"{text}.yaml"
    return validate(Room, parse(file.read_bytes(), str(file)))


def new_room(
    *,
    name: str,
    use: Use = "research",
    mains_hz: int = 50,
    stream_name: str | None = None,
    stream_type: str | None = "EEG",
    source_id: str | None = None,
    channels: tuple[str, ...] = (),
    unit: str | None = None,
    display: int = 0,
    full_screen: bool = True,
    screen_required: bool = True,
    sound_required: bool = True,
    folder: str | None = None,
    known_peers: tuple[str, ...] = (),
    session_id: str = "default",
    loopback_only: bool = False,
    markers: tuple[str, ...] = (),
) -> str:
    """Return the YAML text of a room, with a comment on every part; it loads again.

    Raises
    ------
    YamlError
        When an answer is not usable; places are those of the text that would be written.
    """
    stream = [
        ("name", stream_name),
        ("type", stream_type),
        ("source_id", source_id),
        ("channels", channels),
        ("unit", unit),
    ]
    lines = [
        "format: 1",
        f"name: {_quoted(name)}",
        f"use: {use}    # clinical, research or test",
        "",
        "stream:    # the amplifier on the network; `neuroloop streams` lists what is there",
        *(f"  {k}: {_written(v)}" for k, v in stream if v),
        "",
        f"mains: {mains_hz} Hz",
        "",
        "lsl:",
        f"  known_peers: {_written(known_peers)}    # other computers, where multicast is blocked",
        f"  session_id: {_quoted(session_id)}    # rooms with different ids do not see each other",
        f"  loopback_only: {_yes(loopback_only)}",
        "",
        "screen:    # the person's",
        f"  display: {display}",
        f"  full_screen: {_yes(full_screen)}",
        f"  required: {_yes(screen_required)}",
        "",
        "sound:",
        f"  required: {_yes(sound_required)}",
        f"  cap: {UNCALIBRATED_CAP}    # of full scale, until the loudness has been measured",
        "",
        "record:",
        *([f"  folder: {_quoted(folder)}"] if folder else []),
        "  keep_free_gb: 2.0",
        "",
        f"markers: {_written(markers)}    # names of other LSL streams to record beside",
        "publish: yes    # offer features, feedback and markers as LSL streams",
        "",
    ]
    text = "\n".join(lines)
    validate(Room, parse(text.encode("utf-8", "surrogatepass"), "the new room"))
    return text


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _written(value: str | tuple[str, ...]) -> str:
    if isinstance(value, str):
        return _quoted(value)
    return f"[{', '.join(_quoted(v) for v in value)}]"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
