"""Older formats of protocol files, read as the newest one means them.

Every step takes a file of one format to the next; places stay those of the file. `upgraded` writes
the newest format and keeps comments.

Format 2 says `post:` where format 1 ended with a `rest:`, and has everything that format 1 had not:
`extends`, `indication`, `safety`, several rewards, thresholds that adapt, trials and watches.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any, TypeVar

from engine.config import Integer, Map, Marked, Place, Seq, Source, parse
from engine.errors import InputError, Problem, YamlError
from engine.units import is_flag
from protocols.model import FORMAT

__all__ = ["LATER", "migrated", "upgraded"]

LATER = ("extends", "indication", "safety", "preset", "trial", "watch")
"""Top-level keys that format 1 did not have."""
LATER_REWARD = ("all", "hysteresis", "shape", "rule", "with")
LATER_THRESHOLD = ("running", "block", "staircase")
LATER_STEPS = ("post", "trials", "shuffle", "self_paced", "ask")


def migrated(source: Source) -> Source:
    """Return a file in the newest format.

    A format that does not exist is left alone: reading it says so.

    Raises
    ------
    YamlError
        The file uses what its own format does not have.
    """
    given = source.root.get("format")
    if not isinstance(given, int) or getattr(given, "flag", False) or not 1 <= given < FORMAT:
        return source
    root = source.root
    for step in _STEPS[int(given) - 1 :]:
        root = step(root, source)
    number = _placed(Integer(FORMAT), given)  # type: ignore[arg-type]
    return replace(source, root=root.reshaped({**root, "format": number}))


def _from_1(root: Map, source: Source) -> Map:
    for late in _late(root):
        place = late.key or late.at
        said = f"`{_told(late)}` is not in format 1"
        raise YamlError(
            (Problem(source.file, place.line, place.column, said, f"`format: {FORMAT}`"),)
        )
    session = root.get("session")
    if not isinstance(session, Seq):
        return root
    return root.reshaped({**root, "session": _posted(session)})


def _late(root: Map) -> Iterator[Marked]:
    """Yield what format 1 had not, of the keys that would change what a session is."""
    yield from (root[k] for k in LATER if k in root)
    reward, inhibit = root.get("reward"), root.get("inhibit")
    if isinstance(reward, Map):
        yield from (reward[k] for k in LATER_REWARD if k in reward)
        yield from _late_threshold(reward)
    for rule in inhibit if isinstance(inhibit, Seq) else ():
        if isinstance(rule, Map):
            yield from _late_threshold(rule)
    feedback = root.get("feedback")
    level = feedback.get("level") if isinstance(feedback, Map) else None
    if isinstance(level, Map) and "range" in level:
        yield level["range"]
    open_steps = [root.get("session")]
    while open_steps:
        steps = open_steps.pop()
        for step in steps if isinstance(steps, Seq) else ():
            if isinstance(step, Map):
                yield from (step[k] for k in LATER_STEPS if k in step)
                open_steps.append(step.get("blocks"))


def _late_threshold(rule: Map) -> Iterator[Marked]:
    for way in ("above", "below"):
        threshold = rule.get(way)
        if isinstance(threshold, Map):
            yield from (threshold[k] for k in LATER_THRESHOLD if k in threshold)
            if threshold.get("baseline") == "z":
                yield threshold["baseline"]


def _told(late: Marked) -> str:
    return f"{late.name}: {late}" if late.name in ("baseline", "range") else late.name


def _posted(steps: Seq) -> Seq:
    """Return the steps with a rest at their very end called `post`, also within a repetition."""
    last = steps[-1] if steps else None
    if not isinstance(last, Map):
        return steps
    if "rest" in last:
        end = [last.reshaped({("post" if k == "rest" else k): v for k, v in last.items()})]
    else:
        count: Any = last.get("repeat")
        blocks = last.get("blocks")
        if not _repeats(count) or not isinstance(blocks, Seq):
            return steps
        inner = _posted(blocks)
        if inner is blocks:
            return steps
        fewer = _placed(Integer(count - 1), count)
        end = [*([last.reshaped({**last, "repeat": fewer})] if fewer else []), *inner]
    return _placed(Seq([*steps[:-1], *end]), steps)


def _repeats(count: object) -> bool:
    return isinstance(count, int) and not is_flag(count) and count >= 1


M = TypeVar("M", bound=Marked)


def _placed(made: M, like: Marked) -> M:
    made.at, made.key, made.name, made.parent = like.at, like.key, like.name, like.parent
    return made


_STEPS: tuple[Callable[[Map, Source], Map], ...] = (_from_1,)


def upgraded(text: str, file: str = "the file") -> str:
    """Return the text of a protocol file in the newest format.

    Only the words that change are changed; where a repetition must be taken apart, the file is
    written anew with its comments.

    Parameters
    ----------
    text : str
    file : str
        Its name, for messages.

    Raises
    ------
    InputError
        It is in the newest format already, or in none that is known.
    YamlError
        It cannot be read, or uses what its own format does not have.
    """
    source = parse(text.encode("utf-8", "replace"), file)
    if source.problems:
        raise YamlError(source.problems)
    given = source.root.get("format")
    if given == FORMAT:
        raise InputError(f"The file is written in format {FORMAT} already.", "Nothing to do.")
    if not isinstance(given, int) or given != 1 or is_flag(given):
        raise InputError(f"There is no format {given}.", "Give a protocol file of format 1.")
    wanted = migrated(source).root
    changed = _words_changed(text, source)
    if parse(changed.encode("utf-8", "replace"), file).root == wanted:
        return changed
    return _written_anew(text)


def _words_changed(text: str, source: Source) -> str:
    """Return the text with another number of its format, and a last `rest` called `post`."""
    changes: list[tuple[Place, str, str]] = [(source.root["format"].at, "1", str(FORMAT))]
    steps = source.root.get("session")
    last = steps[-1] if isinstance(steps, Seq) and steps else None
    if isinstance(last, Map) and "rest" in last:
        changes.append((last["rest"].key, "rest", "post"))
    lines = text.splitlines(keepends=True)
    for place, old, new in changes:
        line, at = lines[place.line - 1], place.column - 1
        if line.startswith(old, at):  # not in quotes
            lines[place.line - 1] = f"{line[:at]}{new}{line[at + len(old) :]}"
    return "".join(lines)


def _written_anew(text: str) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    data: Any = yaml.load(text)
    data["format"] = FORMAT
    _post(data.get("session"))
    out = io.StringIO()
    yaml.dump(data, out)
    return out.getvalue()


def _post(steps: Any) -> bool:
    """Call a rest at the very end `post`, in place; return whether there was one."""
    last = steps[-1] if isinstance(steps, list) and steps else None
    if not isinstance(last, MutableMapping):
        return False
    if "rest" in last:
        node: Any = last
        node.insert(list(node).index("rest"), "post", node.pop("rest"))
        if "rest" in node.ca.items:  # its comment
            node.ca.items["post"] = node.ca.items.pop("rest")
        return True
    if not _repeats(last.get("repeat")):
        return False
    blocks = copy.deepcopy(last.get("blocks"))
    if not _post(blocks):
        return False
    if last["repeat"] == 1:
        steps.pop()
    else:
        last["repeat"] -= 1
    steps.extend(blocks)
    return True
