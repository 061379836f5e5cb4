"""Commands that tell of protocols and of what they measure: check, protocols, features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from engine.cli.words import Json, Plainly, ProtocolArgument, Short, mistakes_as, print_json, say


def register(app: typer.Typer) -> None:
    """Add the commands that tell of protocols and features."""
    app.command(
        cls=Plainly,
        short_help="Say in plain sentences what a protocol does, or what is wrong in it.",
    )(check)
    app.command(
        cls=Plainly, short_help="List the shipped protocols, and how good their evidence is."
    )(protocols)
    app.command(
        cls=Plainly, short_help="List what can be measured: unit, formula and keys of each feature."
    )(features)


def check(protocol: ProtocolArgument, short: Short = None, json_: Json = False) -> None:
    """Say in plain sentences what a protocol does, or what is wrong in it.

    Every mistake is named with file, line and column, and with what is allowed there.
    """
    from engine.features import FEATURES
    from protocols.describe import as_text, describe
    from protocols.load import load
    from protocols.plan import expand

    with mistakes_as(json_):
        loaded = load(protocol, FEATURES)
        plan = expand(loaded.protocol, short)
    sections = describe(
        loaded.protocol,
        plan=plan,
        units={k: v.unit for k, v in FEATURES.items()},
        delays_s=_delays_s(loaded.protocol.features),
        windows_s=_windows_s(loaded.protocol.features),
    )
    if json_:
        rows = {s.title: list(s.lines) for s in sections}
        print_json({"ok": True, "sha256": loaded.sha256, "says": rows})
        return
    say(f"{loaded.path}: no mistakes.\n")
    say(as_text(sections))


def _delays_s(features: Any) -> dict[str, float]:
    """Return how far back each feature speaks of the brain by fixed filters, smoothing left out."""
    from engine.features import nominal_delay_s

    windows_s = _windows_s(features)
    delays: dict[str, float] = {}
    for name, f in features.items():
        if f.band_hz is not None or (not f.of and name in windows_s):
            filtered_s = 0.0 if f.band_hz is None else nominal_delay_s(f.band_hz)
            delays[name] = filtered_s + windows_s.get(name, 0.0) / 2.0
    for _ in range(3):  # parts of parts of parts
        for name, f in features.items():
            if f.of and all(o in delays for o in f.of):
                delays[name] = max(delays[o] for o in f.of) + windows_s.get(name, 0.0) / 2.0
    return delays


def _windows_s(features: Any) -> dict[str, float]:
    """Return how much time a feature takes together, where it does."""
    from engine.coupling import window_s
    from engine.features import BURSTS, COUPLED, DEFAULT_WINDOW_S, LONG_WINDOW_S, SLOW_WINDOW_S

    usual = {"share_above": LONG_WINDOW_S, "slow_potential": SLOW_WINDOW_S}
    usual |= dict.fromkeys(BURSTS, LONG_WINDOW_S) | {"peak_to_peak": DEFAULT_WINDOW_S}
    windows: dict[str, float] = {}
    for name, f in features.items():
        if f.kind in COUPLED and f.band_hz is not None:
            windows[name] = f.window_s or window_s(f.band_hz)
        elif f.kind in usual:
            windows[name] = f.window_s or usual[f.kind]
    return windows


def protocols(json_: Json = False) -> None:
    """List the shipped protocols, and how good their evidence is."""
    from engine.features import FEATURES
    from protocols.load import library, load

    found = [load(name, FEATURES).protocol for name in library()]
    if json_:
        print_json(
            [
                {
                    "name": p.name,
                    "title": p.title,
                    "grade": p.evidence.grade,
                    "evidence": p.evidence.summary.strip(),
                }
                for p in found
            ]
        )
        return
    for p in found:
        say(f"{p.name:14s}  {p.title}")
        say(f"{'':14s}  Evidence {p.evidence.grade}: {p.evidence.summary.strip()}\n")


def features(json_: Json = False) -> None:
    """List what can be measured: unit, formula, delay, source and keys of each kind of feature."""
    from engine.features import FEATURES

    if json_:
        print_json(
            [
                {
                    "kind": k.name,
                    "group": _group_of(k),
                    "unit": k.unit,
                    "doc": k.doc,
                    "formula": k.formula,
                    "delay": k.delay,
                    "source": k.source,
                    "needs": sorted(k.needs),
                    "may": sorted(k.may),
                    "parts": sorted(k.parts),
                    "n_parts": k.n_parts,
                    "sites": k.sites,
                }
                for k in FEATURES.values()
            ]
        )
        return
    groups: dict[str, list[Any]] = {}
    for k in FEATURES.values():
        groups.setdefault(_group_of(k), []).append(k)
    for title, kinds in groups.items():
        say(f"{title}\n")
        for k in kinds:
            say(f"{k.name:20s}  {k.doc}")
            for line in _feature_lines(k):
                say(f"{'':20s}  {line}")
            say("")


def _group_of(kind: Any) -> str:
    """Return the heading under which a kind of feature is listed."""
    if kind.sites == 2:
        return "Between two sites"
    if kind.n_parts == 2:
        return "Two powers compared"
    if kind.n_parts == 1:
        return "Made of another feature"
    return "Of a band" if "band" in kind.needs else "Of the voltage itself"


def _feature_lines(kind: Any) -> Iterator[str]:
    units = {"uV2": "µV²", "uV": "µV", "1/min": "per minute", "1": "no unit"}
    yield f"Unit: {units.get(kind.unit, kind.unit)}"
    yield f"Formula: {kind.formula}"
    yield f"Delay: {kind.delay}"
    if kind.source:
        yield f"Source: {kind.source}"
    keys = ", ".join([*sorted(kind.needs), *(f"{m} (optional)" for m in sorted(kind.may))])
    yield f"Keys: {keys}"
    if kind.n_parts:
        number = "two features" if kind.n_parts == 2 else "one feature"
        yield f"Made of: {number} of kind {' or '.join(sorted(kind.parts))}"
