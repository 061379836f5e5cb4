"""The catalogue of the shipped protocols, written out of their files.

`docs/protocols.md` is what `catalogue` returns; a test says when it is not::

    uv run python -m protocols.catalogue > docs/protocols.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from engine.features import BURSTS, COUPLED, FEATURES, LONG_WINDOW_S, SLOW, SLOW_WINDOW_S
from protocols.describe import GRADES, describe
from protocols.facts import coupled_s
from protocols.load import library, load
from protocols.model import Feature, Protocol
from protocols.phrases import listed
from protocols.plan import expand, total_s

__all__ = ["catalogue"]

HEAD = """\
# The protocols

Written by `uv run python -m protocols.catalogue` out of `protocols/library/`; change the files
there, not this page. `neuroloop check NAME` says the same and more about one of them.

Nothing here says that a protocol works. The grade says how good the record is, and the sentence
behind it belongs to it:

| Grade | |
|---|---|
"""

FOR_ALL = """\
For every protocol the screening before the first session asks about seizures and photosensitivity,
psychosis or mania, acute suicidality, intoxication, consent, head injury and implanted stimulators;
a yes blocks the session, in part until a physician has cleared the person. What a protocol excludes
beyond that is named with it.
"""

_UNITS = {name: kind.unit for name, kind in FEATURES.items()}
_SCALES = {name: kind.scale for name, kind in FEATURES.items()}


def catalogue() -> str:
    """Return the page, in Markdown."""
    protocols = [load(name, FEATURES).protocol for name in library()]
    lines = [HEAD.rstrip("\n")]
    lines += [f"| {grade} | {words} |" for grade, words in GRADES.items()]
    lines += ["", FOR_ALL.rstrip("\n"), "", "| Protocol | | Grade | Trains at | Lasts |"]
    lines.append("|---|---|---|---|---|")
    lines += [_row(p) for p in protocols]
    for protocol in protocols:
        lines += ["", *_entry(protocol)]
    return "\n".join(lines) + "\n"


def _row(protocol: Protocol) -> str:
    sites = _trained_sites(protocol, protocol.trained)
    cells = (
        f"[`{protocol.name}`](#{protocol.name})",
        protocol.title,
        protocol.evidence.grade,
        listed(sites) if len(sites) < 6 else f"{len(sites)} sites",
        f"{total_s(expand(protocol)) / 60.0:.0f} min",
    )
    return f"| {' | '.join(cells)} |"


def _trained_sites(protocol: Protocol, name: str) -> tuple[str, ...]:
    """Return the sites of a feature and of what it is made of."""
    feature = protocol.features[name]
    sites = dict.fromkeys(feature.at)
    for part in feature.of:
        sites.update(dict.fromkeys(_trained_sites(protocol, part)))
    return tuple(sites)


def _entry(protocol: Protocol) -> Iterator[str]:
    """Yield the lines about one protocol."""
    told = {
        s.title: s.lines
        for s in describe(
            protocol, units=_UNITS, scales=_SCALES, windows_s=_windows_s(protocol.features)
        )
    }
    evidence = protocol.evidence
    yield f"## {protocol.name}"
    yield ""
    yield f"**{protocol.title}.** {_flat(protocol.summary)}"
    yield ""
    grade = f"**Evidence: grade {evidence.grade}**, {GRADES[evidence.grade]}."
    yield f"{grade} {_flat(evidence.summary)}"
    yield from _part("For whom", told.get("For whom, and who must be there", ()))
    yield from _part("Electrodes", told["What it needs"])
    yield from _part("What is measured", told["What is measured"])
    yield from _part("Formulas", _formulas(protocol.features))
    yield from _part("What is rewarded", told["What is rewarded"])
    yield from _part("What is watched beside it", told.get("What is watched beside it", ()))
    yield from _part("Session", told["How long it lasts"])
    yield from _part("Cautions", protocol.cautions)
    yield from _part("Sources", evidence.refs)


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield a heading and a list; nothing where the list is empty."""
    if lines:
        yield ""
        yield f"**{title}**"
        yield ""
        yield from (f"* {_flat(line)}" for line in lines)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _formulas(features: Mapping[str, Feature]) -> tuple[str, ...]:
    """Return the formula of every kind in use, with its source."""
    out = []
    for name in dict.fromkeys(f.kind for f in features.values()):
        kind = FEATURES[name]
        source = f" ({kind.source})" if kind.source else ""
        formula = _flat(kind.formula.replace("`", ""))
        out.append(f"`{name}`: {kind.doc} `{formula}`{source}")
    return tuple(out)


def _windows_s(features: Mapping[str, Feature]) -> dict[str, float]:
    """Return the windows of the features that take some time together."""
    out: dict[str, float] = {}
    for name, feature in features.items():
        if feature.kind in COUPLED:
            out[name] = coupled_s(feature)
        elif feature.kind in BURSTS or feature.kind == "share_above":
            out[name] = feature.window_s or LONG_WINDOW_S
        elif feature.kind in SLOW:
            out[name] = feature.window_s or SLOW_WINDOW_S
    return out


if __name__ == "__main__":
    sys.stdout.buffer.write(catalogue().encode())  # as UTF-8, whatever the terminal
