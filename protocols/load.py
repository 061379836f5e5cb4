"""Protocol files: from a name or a path to a checked protocol, or every mistake at once."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from engine.config import Map, Source, parse, read, validate
from engine.errors import InputError, Problem, YamlError
from protocols.checks import Check, Heard, Kind, Role, meant
from protocols.extend import extended, inherited
from protocols.hints import hints, loosened
from protocols.migrate import migrated
from protocols.model import Protocol, Safety
from protocols.norms import with_norms
from protocols.rewards import REWARDS, RewardKind

__all__ = ["Kind", "Loaded", "library", "load"]

PICTURES = (
    "orb", "bar", "horizon", "garden", "flight", "puzzle", "video", "breath", "none",
)  # fmt: skip
SOUNDS: Mapping[str, Heard] = {
    "chime": Role("on_reward"),
    **dict.fromkeys(
        ("ambience", "tone_pitch", "tone_volume", "two_voices", "film"), Role("continuous")
    ),
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A protocol with where it came from.

    Parameters
    ----------
    protocol : Protocol
    path : Path
    sha256 : str
        Of the bytes of the file, for the recording's header; of all of them where a file extends
        another.
    text : str
        The file as read; the recording keeps it, whatever happens to the file later.
    hints : tuple of str
        Things that are allowed but deserve a second thought.
    root : Map
        What was written, in this format and with what it extends.
    extends : tuple of Source
        The files it extends, the nearest first.
    written_format : int
        The format that the file itself is written in.
    loosened : tuple of str
        The hints on what is less careful than in what it extends.
    """

    protocol: Protocol
    path: Path
    sha256: str
    text: str
    hints: tuple[str, ...] = ()
    root: Map | None = None
    extends: tuple[Source, ...] = ()
    written_format: int = Protocol.newest_format
    loosened: tuple[str, ...] = ()


def library() -> tuple[str, ...]:
    """Return the names of the shipped protocols."""
    folder = resources.files("protocols") / "library"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def load(
    path_or_name: str | Path,
    features: Mapping[str, Kind],
    *,
    pictures: Collection[str] = PICTURES,
    sounds: Mapping[str, Heard] = SOUNDS,
    rewards: Mapping[str, RewardKind] = REWARDS,
    allow_short: bool = False,
    age_years: float | None = None,
) -> Loaded:
    """Load and check a protocol.

    Parameters
    ----------
    path_or_name : str or Path
        A library name (``smr_up``) or the path of a YAML file.
    features : mapping of str to Kind
        The registry of feature kinds.
    pictures : collection of str
        Names that may stand under `picture`.
    sounds : mapping of str to Heard
        What may stand under `on_reward` and `continuous`, and which of the two.
    rewards : mapping of str to RewardKind
        The registry of reward rules.
    allow_short : bool
        Accept baselines that are too short for what is learned from them (tests only).
    age_years : float, optional
        Of the person, for norms; without it the norms are checked but not looked up.

    Raises
    ------
    YamlError
        With every mistake of the file.
    InputError
        When there is no such protocol or file.
    """
    source, path = _source(path_or_name)
    own = source
    _other_kind(source)
    written = own.root.get("format")
    source, parents = extended(source, path, _source)
    source = migrated(source)
    protocol = validate(Protocol, source)
    check = Check(protocol, source, features, pictures, sounds, rewards, allow_short)
    problems = sorted(
        dict.fromkeys([*_unsaid(own), *check.problems()]),
        key=lambda p: (p.file != source.file, p.line, p.column),
    )
    if problems:
        raise YamlError(tuple(problems))
    protocol = with_norms(protocol, source, age_years)
    sha256, text = source.sha256, source.text
    if parents:
        every = "".join(s.sha256 for s in (source, *parents))
        sha256 = hashlib.sha256(every.encode()).hexdigest()
        text = "\n".join(
            [text, *(f"# --- extended: {Path(s.file).name}\n{s.text}" for s in parents)]
        )
    less = tuple(_loosened(protocol, parents))
    return Loaded(
        protocol,
        path,
        sha256,
        text,
        (*hints(protocol), *less),
        source.root,
        parents,
        int(written) if isinstance(written, int) else Protocol.newest_format,
        less,
    )


def _loosened(protocol: Protocol, parents: tuple[Source, ...]) -> Iterator[str]:
    """Yield in what a file is less careful than what it extends."""
    if not parents:
        return
    said = inherited(parents).get("safety")
    before = Safety.model_validate(said, by_alias=True) if isinstance(said, Map) else Safety()
    yield from loosened(protocol.safety, before)


def _other_kind(source: Source) -> None:
    """Say that a file is a study or a room, where it is one."""
    keys = set(source.root)
    if keys & {"features", "extends", "feedback", "condition"}:
        return
    for what, own, command in (
        ("a study", {"arms", "blinding"}, "study check"),
        ("a room", {"stream", "use", "mains"}, "room check"),
    ):
        if len(keys & own) >= 2:
            raise InputError(
                f"{source.file} is {what}, not a protocol.",
                f"To check it: neuroloop {command} {source.file}",
            )


def _unsaid(own: Source) -> Iterator[Problem]:
    """Yield what a file has to say itself, also where it extends another."""
    for key in ("format", "name"):
        if key not in own.root:
            at = own.root.at
            yield Problem(own.file, at.line, at.column, f"`{key}` is missing",
                          "a variant has a format and a name of its own")  # fmt: skip


def _source(path_or_name: str | Path) -> tuple[Source, Path]:
    text = str(path_or_name)
    if isinstance(path_or_name, Path) or "/" in text or "\\" in text or text.endswith(
        (".yaml", ".yml")
    ):  # fmt: skip
        path = Path(path_or_name)
        return read(path), path
    names = library()
    if text not in names:
        raise InputError(
            f"There is no protocol `{text}` in the library{meant(text, names) or '.'}",
            f"Choose one of {', '.join(names)}, or give the path of a YAML file.",
        )
    file = resources.files("protocols") / "library" / f"{text}.yaml"
    return parse(file.read_bytes(), str(file)), Path(str(file))
