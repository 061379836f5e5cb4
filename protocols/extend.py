"""`extends:` - a protocol that is another one with some things changed.

What the file says replaces what it extends: mappings are merged key by key, everything else is
taken over whole. `none` in the place of a mapping or a list removes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from engine.config import Map, Seq, Source, Word
from engine.errors import InputError, Problem, YamlError
from engine.units import described
from protocols.migrate import migrated
from protocols.model import Protocol
from protocols.rules import WAYS

__all__ = ["changes", "extended", "inherited"]

MAX_PARENTS = 5
# Ways to say one thing: who gives one of them leaves out the others.
_EITHER = (
    frozenset({"above", "below"}),
    frozenset(WAYS),
    frozenset({"from", "range"}),
    frozenset({"to", "range"}),
    frozenset({"all", "feature"}),
)
_BESIDE = {  # what belongs to one of the ways goes with it
    "fixed": ("success", "plus", "over", "freeze_after", "drift_guard"),
    "baseline": ("over", "freeze_after", "drift_guard"),
    "running": ("plus",),
    "block": ("plus", "over", "freeze_after"),
    "staircase": ("plus", "over", "freeze_after"),
    "range": ("from", "to"),
    "all": ("feature", "above", "below", "hysteresis"),
    "feature": ("all",),
}
Find = Callable[[str | Path], tuple[Source, Path]]


def extended(source: Source, path: Path, find: Find) -> tuple[Source, tuple[Source, ...]]:
    """Return a file with what it extends, and the files it extends, the nearest first.

    Parameters
    ----------
    source : Source
        The file as read.
    path : Path
        Where it is; a relative path under `extends` is taken from there.
    find : callable
        From a library name or a path to another file.

    Raises
    ------
    YamlError
        What is extended does not exist, extends itself, or goes on for too long.
    """
    chain: list[tuple[Source, Path]] = [(migrated(source), path)]
    while "extends" in chain[-1][0].root:
        child, at = chain[-1]
        parent, where = _parent(child, at, find)
        if where.resolve() in [p.resolve() for _, p in chain]:
            raise _mistake(child, f"{where.name} extends itself in the end", "another protocol")
        if len(chain) > MAX_PARENTS:
            raise _mistake(child, f"more than {MAX_PARENTS} files extend each other", "fewer")
        chain.append((migrated(parent), where))
    parents = tuple(s for s, _ in chain[1:])
    if not parents:
        _check_spelling(source)
        return source, ()
    root = inherited((chain[0][0], *parents))
    problems = [p for s in parents for p in s.problems]
    return replace(source, root=root, problems=(*source.problems, *problems)), parents


def inherited(sources: tuple[Source, ...]) -> Map:
    """Return what files say together that extend each other, the nearest first."""
    root = sources[-1].root
    for child in reversed(sources[:-1]):
        own = Map({k: v for k, v in child.root.items() if k != "extends"})
        root = _merged(root, child.root.reshaped(own))
    return root


def _check_spelling(source: Source) -> None:
    # Otherwise everything that the other file says would be missing.
    for key, value in source.root.items():
        if key not in Protocol.yaml_keys() and get_close_matches(key, ["extends"], cutoff=0.7):
            place = value.key
            what, allowed = f"unknown key `{key}`; did you mean `extends`?", "`extends: smr_up`"
            raise YamlError((Problem(source.file, place.line, place.column, what, allowed),))


def _parent(child: Source, at: Path, find: Find) -> tuple[Source, Path]:
    given = child.root["extends"]
    if not isinstance(given, Word) or not given.strip():
        raise _mistake(
            child, f"a protocol is wanted here, not {described(given)}", "`smr_up`, `./mine.yaml`"
        )
    name = str(given).strip()
    is_file = "/" in name or "\\" in name or name.endswith((".yaml", ".yml"))
    try:
        return find(at.parent / name if is_file else name)
    except YamlError:
        raise
    except InputError as error:
        raise _mistake(child, error.what.rstrip("."), error.fix) from None


def _mistake(source: Source, what: str, allowed: str) -> YamlError:
    return YamlError((source.problem(("extends",), what, allowed),))


def _merged(parent: Map, child: Map) -> Map:
    """Return the parent's items with the child's over them, each at its own place."""
    out: dict[str, Any] = dict(parent)
    for key in child:
        for group in _EITHER:
            if key in group:
                for other in group - set(child):
                    out.pop(other, None)
        if key in _BESIDE and str(child[key]) != str(parent.get(key)):
            for other in _BESIDE[key]:
                if other not in child:
                    out.pop(other, None)
    if "baseline" in child:
        for other in ("success",) if str(child["baseline"]) == "z" else ("plus",):
            if other not in child and out.get("baseline") != child["baseline"]:
                out.pop(other, None)
    for key, value in child.items():
        given = out.get(key)
        if isinstance(given, (Map, Seq)) and isinstance(value, Word) and value == "none":
            out.pop(key)
        elif isinstance(given, Map) and isinstance(value, Map):
            out[key] = _merged(given, value)
        else:
            out[key] = value
    return child.reshaped(out)


def changes(child: Source) -> list[str]:
    """Return the places that a file changes in what it extends, as dotted names."""
    return [name for name in _leaves(child.root, "") if name != "extends"]


def _leaves(node: Map, before: str) -> list[str]:
    found: list[str] = []
    for key, value in node.items():
        name = f"{before}{key}"
        if isinstance(value, Map):
            found += _leaves(value, f"{name}.")
        else:
            found.append(name)
    return found
