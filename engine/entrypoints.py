"""Packages from elsewhere: found by name and exact version, and what they offer.

A package offers features, pictures, sounds and reward rules through entry points. Being installed
changes nothing: only what the room lists by name and version is imported. A package is code that
runs with all rights of Neuroloop; name and version are how a room says that it trusts it.

Nothing here knows what is offered; `engine.plugins` and the person's window do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution
from pathlib import Path
from typing import TypeVar

from engine.errors import InputError

__all__ = ["GROUPS", "Wanted", "digest", "found", "offered", "offers"]

FEATURES, PICTURES, SOUNDS, REWARDS = GROUPS = (
    "neuroloop.features",
    "neuroloop.pictures",
    "neuroloop.sounds",
    "neuroloop.rewards",
)
"""What a package may offer, one group of entry points each."""

Wanted = tuple[str, str]
"""Name and exact version of a package, as the room lists it."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
SKIPPED = ("__pycache__", ".pyc")

T = TypeVar("T")


def found(wanted: Wanted) -> Distribution:
    """Return the installed package of this name and version.

    Raises
    ------
    InputError
        It is not installed, is of another version, or offers nothing that Neuroloop knows.
    """
    name, version = wanted
    try:
        package = distribution(name)
    except (PackageNotFoundError, ValueError):
        raise InputError(
            f"The room lists the package {name} {version}, and it is not installed.",
            f"Install it beside Neuroloop (`{name}=={version}`), or take it out of `plugins:`.",
        ) from None
    if package.version != version:
        raise InputError(
            f"The room lists {name} {version}, and {package.version} is installed.",
            f"Install {version}, or look at what changed and write `version: {package.version}`.",
        )
    groups = {point.group for point in package.entry_points}
    strange = sorted(g for g in groups if g.startswith("neuroloop") and g not in GROUPS)
    if strange:
        raise InputError(
            f"{name} {version} offers `{strange[0]}`, which Neuroloop does not know.",
            f"Its entry points belong to {', '.join(GROUPS)}; write to its author.",
        )
    if not groups & set(GROUPS):
        raise InputError(
            f"{name} {version} offers nothing to Neuroloop.",
            f"Take it out of `plugins:`; a plugin has entry points of {', '.join(GROUPS)}.",
        )
    return package


def offers(package: Distribution, group: str | None = None) -> tuple[EntryPoint, ...]:
    """Return a package's entry points for Neuroloop, or those of one group, by name."""
    groups = GROUPS if group is None else (group,)
    points = (p for p in package.entry_points if p.group in groups)
    return tuple(sorted(points, key=lambda p: (p.group, p.name)))


def offered(
    wanted: Sequence[Wanted], group: str, kind: type[T], known: Collection[str] = ()
) -> dict[str, T]:
    """Import what some packages offer in one group.

    Parameters
    ----------
    wanted : sequence of (str, str)
        Names and versions.
    group : str
        One of `GROUPS`.
    kind : type
        What every entry point must be; it has a `name`, which is the entry point's.
    known : collection of str
        Names that are taken.

    Returns
    -------
    dict of str to kind

    Raises
    ------
    InputError
        A package is not there, cannot be imported, offers something else, or a name is taken.
    """
    out: dict[str, T] = {}
    owner: dict[str, str] = {}
    for name, version in wanted:
        for point in offers(found((name, version)), group):
            who = f"{name} {version}"
            loaded = _loaded(point, who)
            if not isinstance(loaded, kind):
                raise InputError(
                    f"{who}: `{point.name}` in {group} is of type {type(loaded).__name__}, not "
                    f"{kind.__name__}.",
                    "See docs/plugins.md, or write to the author of the package.",
                )
            called = getattr(loaded, "name", "")
            if called != point.name or not NAME.fullmatch(point.name):
                raise InputError(
                    f"{who}: `{point.name}` in {group} is called `{called}` inside.",
                    "Both must be the same name, of small letters, digits and underscores.",
                )
            if called in known or called in out:
                other = owner.get(called, "Neuroloop itself")
                raise InputError(
                    f"{who} offers `{called}` in {group}, and so does {other}.",
                    "Names are given once: leave one of the packages out of `plugins:`.",
                )
            out[called], owner[called] = loaded, who
    return out


def _loaded(point: EntryPoint, who: str) -> object:
    try:
        loaded: object = point.load()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{who}: `{point.name}` cannot be imported from {point.value}: "
            f"{type(error).__name__}: {error}.",
            "Install the package again with all it needs, or write to its author.",
        ) from error
    return loaded


def digest(package: Distribution) -> str:
    """Return the SHA-256 of a package's own files, however it was installed.

    Over the sorted names and the contents of everything in the modules that its entry points name,
    without compiled files. Nothing is imported.
    """
    total = hashlib.sha256()
    for module in sorted({p.value.partition(":")[0].partition(".")[0] for p in offers(package)}):
        for name, path in _files(module):
            total.update(f"{module}/{name}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _files(module: str) -> Iterator[tuple[str, Path]]:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin:
            yield Path(spec.origin).name, Path(spec.origin)
        return
    for folder in map(Path, spec.submodule_search_locations):
        paths = (p for p in folder.rglob("*") if p.is_file())
        named = ((p.relative_to(folder).as_posix(), p) for p in paths)
        yield from sorted(n for n in named if not any(s in n[0] for s in SKIPPED))
