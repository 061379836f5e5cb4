"""Commands that tell of protocols and of what they measure, and that write protocol files."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli.starting import migrate, new
from engine.cli.words import (
    Json,
    MaybeRoom,
    Plainly,
    ProtocolArgument,
    Short,
    mistakes_as,
    print_json,
    progress_bar,
    say,
)
from engine.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from engine.frames import StreamSpec
    from engine.preflight import Cost, Expected, Fit, Given, Known
    from engine.room import Room
    from protocols.describe import Section
    from protocols.load import Loaded

OLDEST_YEARS = 120.0
TOO_HARD, TOO_EASY = 0.20, 0.90  # joint rate, of clean time (science: 3.1)
FIND_S = 5.0  # how long a stream is looked for


def register(app: typer.Typer) -> None:
    """Add the commands that tell of protocols and features."""
    app.command(
        cls=Plainly,
        short_help="Say in plain sentences what a protocol does, or what is wrong in it.",
    )(check)
    app.command(cls=Plainly, short_help="Write a commented protocol to start from.")(new)
    app.command(
        cls=Plainly, short_help="List the shipped protocols, and how good their evidence is."
    )(protocols)
    app.command(
        cls=Plainly, short_help="List what can be measured: unit, formula and keys of each feature."
    )(features)
    app.command(cls=Plainly, short_help="Write an older protocol file in the newest format.")(
        migrate
    )


# ---------------------------------------------------------------- check


def check(
    protocol: ProtocolArgument,
    room: MaybeRoom = None,
    recording: Annotated[
        Path | None,
        typer.Option(
            "--recording",
            metavar="FILE",
            help="A recording or EEG file: does it fit, and what would have been rewarded?",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Does it fit the stream that the room would choose now?"),
    ] = False,
    age: Annotated[
        float | None,
        typer.Option(
            "--age", metavar="YEARS", help="Of the person, where norms are compared with."
        ),
    ] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the whole protocol, with what it extends.")
    ] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Measure what it takes of this computer.")
    ] = False,
    short: Short = None,
    json_: Json = False,
) -> None:
    """Say in plain sentences what a protocol does, or what is wrong in it.

    Every mistake is named with file, line and column, and with what is allowed there. With
    --recording or --stream it also says whether the montage fits, and what it costs; with
    --recording what would have been rewarded. The exit code is 2 where the montage does not fit.
    """
    if recording is not None and stream:
        raise InputError(
            "A protocol is checked against a file or a stream.", "Give --recording or --stream."
        )
    with mistakes_as(json_), progress_bar(not json_) as progress:
        if age is not None and not 0.0 < age <= OLDEST_YEARS:
            raise InputError(
                f"{age:g} is no age of a person.", f"Give years, more than 0 to {OLDEST_YEARS:g}."
            )
        found = _Checked(protocol, room, age, short)
        if recording is not None:
            found.against_file(recording, progress)
        if stream:
            found.against_stream()
        if cost or ((recording is not None or stream) and not json_):
            found.measure()
    if json_:
        print_json(found.answer(with_cost=cost, with_text=resolved))
    elif resolved:
        say(found.text())
    else:
        say(f"{found.loaded.path}: no mistakes.\n")
        say(found.said())
    if found.fit is not None and not found.fit.fits:
        raise typer.Exit(2)


class _Checked:
    """One protocol, and what was found out about it."""

    def __init__(
        self, protocol: str, room: str | None, age: float | None, short_s: float | None
    ) -> None:
        from engine.features import FEATURES
        from protocols.load import load
        from protocols.plan import expand
        from protocols.rewards import REWARDS

        self.room: Room | None = None
        self.kinds: Mapping[str, Any] = FEATURES
        self.rewards: Mapping[str, Any] = REWARDS
        more: dict[str, Any] = {}
        if room is not None:
            from engine.plugins import load_plugins, registries
            from engine.room import load_room

            self.room = load_room(room)
            every = registries(load_plugins(self.room.wanted_plugins))
            self.kinds, self.rewards = every.features, every.rewards
            more = {
                "pictures": tuple(every.pictures),
                "sounds": every.sounds,
                "rewards": every.rewards,
            }
        self.loaded: Loaded = load(protocol, self.kinds, age_years=age, **more)
        self.short_s = short_s
        self.plan = expand(self.loaded.protocol, short_s)
        self.given: Given | None = None
        self.spec: StreamSpec | None = None
        self.fit: Fit | None = None
        self.expected: tuple[Expected, ...] = ()
        self.untold: list[str] = []  # why something is not known
        self.cost: Cost | None = None

    @property
    def known(self) -> Known:
        """What the room knows."""
        from engine.preflight import Known

        if self.room is None:
            return Known(kinds=self.kinds, rewards=self.rewards)
        return Known(
            float(self.room.mains_hz),
            self.room.stream.range_uv,
            self.room.stream.dc_coupled,
            self.kinds,
            self.rewards,
        )

    def against_file(self, path: Path, progress: Callable[[str, float], None]) -> None:
        """Look whether a file fits, and count what would have been rewarded on it."""
        from engine.errors import NeuroloopError
        from engine.preflight import expected, fit, given_file, halves, longest

        protocol = self.loaded.protocol
        self.given = given = given_file(path)
        self.spec = given.spec
        self.fit = fit(given.spec, protocol, self.known)
        if not self.fit.fits:
            return

        def whole() -> tuple[Any, str]:
            plan, short_s = longest(protocol, given.seconds)
            how = (
                "The whole session, as long as planned"
                if short_s is None
                else f"The whole session, shortened to {short_s:.0f} s so that it fits"
            )
            return plan, how

        def learned() -> tuple[Any, str]:
            plan = halves(protocol, given.seconds)
            rest_s = sum(p.lasts_s for p in plan[:-2])
            how = f"Learned on the first {rest_s:.0f} s, counted on all that follows"
            return plan, how

        for make in (whole, learned):
            try:
                plan, how = make()
                done = expected(given, protocol, plan, how, self.known, partial(progress, how))
                self.expected += (done,)
            except NeuroloopError as error:
                self.untold.append(error.what)

    def against_stream(self) -> None:
        """Look whether the stream fits that the room would choose."""
        from engine.lsl import configure_lsl
        from engine.preflight import fit
        from engine.resolve import resolve
        from engine.room import load_room

        room = self.room = self.room or load_room("sim")
        configure_lsl(room.lsl)
        self.spec = resolve(room.stream, FIND_S)
        self.fit = fit(self.spec, self.loaded.protocol, self.known)

    def measure(self) -> None:
        """Measure the cost with the columns at hand, else with what the protocol needs."""
        from engine.preflight import cost, needed_spec

        protocol = self.loaded.protocol
        if self.fit is not None and not self.fit.fits:
            return
        self.cost = cost(self.spec or needed_spec(protocol), protocol, self.known)

    # ------------------------------------------------------------ as told

    def sections(self) -> tuple[Section, ...]:
        """Return everything as sentences under headings."""
        from protocols.describe import Section, describe

        loaded = self.loaded
        delays_s = _delays_s(loaded.protocol.features, self.kinds)
        if self.fit is not None and self.fit.delays_s is not None:
            delays_s |= self.fit.delays_s
        told = list(
            describe(
                loaded.protocol,
                plan=self.plan,
                units={k: v.unit for k, v in self.kinds.items()},
                scales={k: v.scale for k, v in self.kinds.items()},
                delays_s=delays_s,
                windows_s=_windows_s(loaded.protocol.features),
                reward_docs={k: v.doc for k, v in self.rewards.items()},
            )
        )
        more = []
        allowed = loaded.protocol.safety.rooms
        if self.room is not None and self.room.use not in allowed:
            line = f"{self.room.name} is for {self.room.use} use: this protocol is refused there."
            more.append(Section("Room", (line,)))
        if self.fit is not None:
            more.append(Section("Montage", tuple(_fit_lines(self.fit))))
        if self.given is not None and self.fit is not None and self.fit.fits:
            lines = _expected_lines(self.given, self.expected, self.untold, self.known.mains_hz)
            more.append(Section("Expected reward on this recording", tuple(lines)))
        if self.cost is not None:
            more.append(Section("Cost on this computer", (_cost_line(self.cost),)))
        changed = _changed(loaded)
        if changed:
            parents = " and ".join(Path(s.file).stem for s in loaded.extends)
            line = f"It changes {', '.join(changed)}; all else is as in {parents}."
            more.append(Section("What it extends", (line, *loaded.loosened)))
        return (*told, *more)

    def said(self) -> str:
        """Return the sentences as text."""
        from protocols.describe import as_text

        return as_text(self.sections())

    def text(self) -> str:
        """Return the whole protocol as YAML, and what the file changes in what it extends."""
        loaded = self.loaded
        changed = _changed(loaded)
        remarks = ""
        if changed:
            parents = ", ".join(Path(s.file).stem for s in loaded.extends)
            rows = "\n".join(f"#   {name}" for name in changed)
            remarks = f"# {loaded.path.name} extends {parents} and changes:\n{rows}\n"
        return remarks + _yaml(loaded.root or {})

    def answer(self, *, with_cost: bool, with_text: bool) -> dict[str, Any]:
        """Return everything for scripts."""
        from protocols.describe import cred_nf
        from protocols.facts import fits
        from protocols.phrases import joint_share, made_for, rule_words
        from protocols.plan import total_s
        from protocols.threshold import NAMES

        loaded, protocol = self.loaded, self.loaded.protocol
        delays_s, fitted = _delays_s(protocol.features, self.kinds), made_for(protocol)
        fit_of = fits(protocol)
        n_also = 0 if protocol.reward is None else len(protocol.reward.also)
        answer: dict[str, Any] = {
            "ok": True,
            "file": str(loaded.path),
            "sha256": loaded.sha256,
            "format": loaded.written_format,
            "extends": [Path(s.file).stem for s in loaded.extends],
            "changes": _changed(loaded),
            "name": protocol.name,
            "title": protocol.title,
            "indication": list(protocol.indication),
            "evidence": protocol.evidence,
            "safety": protocol.safety,
            "needs": protocol.needs,
            "says": {s.title: list(s.lines) for s in self.sections() if s.title[:4] != "Cost"},
            "features": {
                name: {
                    "kind": f.kind,
                    "unit": self.kinds[f.kind].unit,
                    "fit": fit_of[name],
                    "asked_delay_s": fitted[name][1] if name in fitted else None,
                    "fixed_delay_s": delays_s.get(name),
                }
                for name, f in protocol.features.items()
            },
            "rules": [
                {
                    "role": "reward" if k <= n_also else "inhibit",
                    "feature": r.feature,
                    "direction": r.direction,
                    "method": NAMES[r.threshold.method],
                    "success": r.threshold.success,
                    "fixed": r.threshold.value,
                    "adapts": r.threshold.adapts,
                    "says": rule_words(r),
                }
                for k, r in enumerate(protocol.rules)
            ],
            "joint_if_independent": joint_share(protocol.rules) if protocol.rules else None,
            "session": {
                "seconds": total_s(self.plan),
                "short_s": self.short_s,
                "phases": [
                    {
                        "kind": p.kind,
                        "name": p.name,
                        "lasts_s": p.lasts_s,
                        "eyes": p.eyes,
                        "needs_clean_s": p.needs_clean_s,
                        "learn": list(p.learn),
                        "trials": len(p.trials),
                        "waits_s": p.waits_s,
                        "ask": p.ask,
                    }
                    for p in self.plan
                ],
            },
            "cred_nf": list(cred_nf(protocol)),
            "hints": list(loaded.hints),
            "cautions": list(protocol.cautions),
            "montage": self.fit,
            "expected": list(self.expected),
            "not_expected": list(self.untold),
        }
        if with_cost:
            answer["cost"] = self.cost
        if with_text:
            answer["resolved"] = self.text()
        return answer


def _changed(loaded: Loaded) -> list[str]:
    """Return what the file changes in what it extends; nothing where it extends nothing."""
    if not loaded.extends:
        return []
    from engine.config import read
    from protocols.extend import changes

    same = ("format", "name", "title")  # every file has its own
    return [name for name in changes(read(loaded.path)) if name not in same]


def _fit_lines(fit: Fit) -> Iterator[str]:
    n = len(fit.channels)
    yield f"{fit.name}: {n} EEG and EOG channel{'' if n == 1 else 's'} at {fit.rate_hz:g} Hz."
    if not fit.fits:
        yield f"It does not fit: {fit.problem}."
        if fit.missing:
            yield f"Missing: {', '.join(fit.missing)}."
        yield f"What to do: {fit.fix}."
        return
    yield f"It fits. Reference: {fit.reference}."
    for warning in fit.warnings:
        yield f"Note: {warning}."


def _expected_lines(
    given: Given,
    expected: tuple[Expected, ...],
    untold: list[str],
    mains_hz: float | None,
) -> Iterator[str]:
    hum = (
        "no mains were removed (a room knows their frequency: --room ROOM)"
        if mains_hz is None
        else f"mains of {mains_hz:g} Hz were removed"
    )
    eyes = "" if given.ours else " Whether eyes were open or closed in it is not known here."
    yield f"{given.name} holds {given.seconds:.0f} s; {hum}.{eyes}"
    for one in expected:
        yield from _one_expected(one)
    for why in untold:
        yield f"Not known: {why}"
    yield from dict.fromkeys(filter(None, (difficulty(one) for one in expected)))
    if any(not e.problem for e in expected):
        seen = (
            "The person saw the feedback of that session, not this one"
            if given.ours
            else "Nobody saw this feedback"
        )
        yield (
            f"{seen}: the rates tell whether thresholds are within reach, not whether anybody "
            "learns."
        )


def difficulty(one: Expected) -> str:
    """Return that a protocol is too hard or too easy for this person, where it is."""
    if one.problem or one.joint is None:
        return ""
    if one.joint <= 0.0:
        return (
            "Out of reach: everything never holds at once, so nothing would be rewarded. Ask for "
            "more `success`, check fixed values, or drop a condition."
        )
    if one.joint < TOO_HARD:
        return (
            f"Too hard: under {100 * TOO_HARD:.0f} % discourages. Ask for more `success`, or drop "
            "an inhibit."
        )
    if one.joint > TOO_EASY:
        return (
            f"Too easy: over {100 * TOO_EASY:.0f} % tells the person next to nothing. Ask for less."
        )
    return ""


def _one_expected(one: Expected) -> Iterator[str]:
    from protocols.phrases import listed

    if one.problem:
        yield f"{one.how}: no rate. {one.problem}"
        return
    alone = [
        f"{name} {100 * share:.0f} %" for name, share in one.alone.items() if share is not None
    ]
    said = []
    if one.joint is not None:
        held = f"everything holds {100 * one.joint:.0f} % of clean training time"
        said.append(f"{held} (joint rate)" if len(alone) > 1 else held)
    if len(alone) > 1:
        said.append(f"alone {listed(alone)}")
    said.append(f"{one.rewards} rewards, {one.rewards_per_min or 0.0:.1f} per clean minute")
    yield f"{one.how}: {'; '.join(said)}."
    rest = (
        f" and a baseline of {one.baseline_clean_s:.0f} s clean out of {one.baseline_s:.0f} s"
        if one.baseline_s
        else ""
    )
    lost = sorted(one.gated_s.items(), key=lambda item: -item[1])
    gated = f" Paused by {listed([f'{k} {s:.1f} s' for k, s in lost])}." if lost else ""
    yield (
        f"- That rests on {one.train_clean_s:.0f} s clean out of {one.train_s:.0f} s of training "
        f"({100 * one.train_clean_s / one.train_s:.0f} %){rest}.{gated}"
    )


def _cost_line(cost: Cost) -> str:
    return (
        f"About {100 * cost.core_share:.2g} % of one core at {cost.rate_hz:g} Hz with "
        f"{cost.n_channels} channels: measured here just now over {cost.seconds:g} s of noise, "
        "signal path and decisions without picture and recording, before filters are fitted."
    )


def _yaml(root: Any) -> str:
    """Return a protocol as YAML in its own grammar, small mappings on one line."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 96
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(_bare(root, 0), out)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _bare(value: Any, depth: int) -> Any:
    """Return a value without its places, small mappings and lists in flow style."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, dict):
        made: Any = CommentedMap((str(k), _bare(v, depth + 1)) for k, v in value.items())
    elif isinstance(value, list):
        made = CommentedSeq(_bare(v, depth + 1) for v in value)
    elif getattr(value, "flag", False):
        return bool(value)
    elif isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    else:
        return str(value).strip()
    if depth > 0 and len(str(value)) < 90 and (depth > 1 or not isinstance(value, list)):
        made.fa.set_flow_style()
    return made


def _delays_s(features: Any, kinds: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Return how far back each feature speaks of the brain by fixed filters, smoothing left out."""
    from engine.features import FEATURES, nominal_delay_s

    windows_s = _windows_s(features)
    delays: dict[str, float] = {}
    for name, f in features.items():
        if f.band_hz is not None or (not f.of and name in windows_s):
            filtered_s = 0.0 if f.band_hz is None else nominal_delay_s(f.band_hz)
            delays[name] = filtered_s + windows_s.get(name, 0.0) / 2.0
    for _ in range(3):  # parts of parts of parts
        for name, f in features.items():
            if f.of and all(o in delays for o in f.of):
                own_s = windows_s.get(name, 0.0) / 2.0
                kind = (FEATURES if kinds is None else kinds).get(f.kind)
                if kind is not None and kind.lag_s is not None:  # of a package from elsewhere
                    from engine.plugins import lag_s

                    own_s += lag_s(kind, f.options)
                delays[name] = max(delays[o] for o in f.of) + own_s
    return delays


def _windows_s(features: Any) -> dict[str, float]:
    """Return how much time a feature takes together, where it does."""
    from engine.coupling import window_s
    from engine.features import BURSTS, COUPLED, DEFAULT_WINDOW_S, LONG_WINDOW_S, SLOW_WINDOW_S

    usual = {"share_above": LONG_WINDOW_S}
    usual |= dict.fromkeys(("slow_potential", "slow_voltage"), SLOW_WINDOW_S)
    usual |= dict.fromkeys(BURSTS, LONG_WINDOW_S) | {"peak_to_peak": DEFAULT_WINDOW_S}
    windows: dict[str, float] = {}
    for name, f in features.items():
        if f.kind in COUPLED and f.band_hz is not None:
            windows[name] = f.window_s or window_s(f.band_hz)
        elif f.kind in usual:
            windows[name] = f.window_s or usual[f.kind]
    return windows


# ---------------------------------------------------------------- lists


def protocols(json_: Json = False) -> None:
    """List the shipped protocols: what each is used for, where, and how good its evidence is."""
    from engine.features import FEATURES
    from protocols.describe import GRADES
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
                    "refs": list(p.evidence.refs),
                    "indication": list(p.indication),
                    "sites": list(p.sites),
                    "channels": list(p.needs.channels),
                    "cautions": list(p.cautions),
                    "clinician": p.safety.clinician,
                    "rooms": list(p.safety.rooms),
                }
                for p in found
            ]
        )
        return
    wide = max((len(p.name) for p in found), default=0) + 2
    for p in found:
        sites = p.sites if len(p.sites) <= 6 else (*p.sites[:3], f"... ({len(p.sites)} sites)")
        rows = [
            f"Used with: {', '.join(p.indication)}" if p.indication else "",
            f"Sites: {', '.join(sites)}",
            f"Evidence: {p.evidence.summary.strip()}",
            "A clinician must be present." if p.safety.clinician == "present" else "",
            "" if "clinical" in p.safety.rooms else "Not in a clinical room.",
        ]
        say(f"{p.name:{wide}s}{p.evidence.grade:<4s}{p.title}")
        for row in filter(None, rows):
            say(f"{'':{wide + 4}s}{row}")
        say("")
    say("Grades of evidence")
    for grade, words in GRADES.items():
        say(f"{grade:<4s}{words}")
    say("\nMore of one: neuroloop check NAME")


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
    from engine.features import ONE_OR_MORE, TWO_OR_MORE

    if kind.sites == 2:
        return "Between two sites"
    if kind.n_parts == 2:
        return "Two powers compared"
    if kind.n_parts in (1, ONE_OR_MORE, TWO_OR_MORE):
        return "Made of other features"
    return "Of a band" if "band" in kind.needs else "Of the voltage itself"


def _feature_lines(kind: Any) -> Iterator[str]:
    from engine.features import ONE_OR_MORE, TWO_OR_MORE

    units = {"uV2": "µV²", "uV": "µV", "1/min": "per minute", "1": "no unit"}
    yield f"Unit: {units.get(kind.unit, kind.unit)}"
    yield f"Formula: {kind.formula}"
    yield f"Delay: {kind.delay}"
    if kind.source:
        yield f"Source: {kind.source}"
    keys = ", ".join([*sorted(kind.needs), *(f"{m} (optional)" for m in sorted(kind.may))])
    yield f"Keys: {keys}"
    if kind.n_parts:
        words = {1: "one feature", 2: "two features"}
        words |= {ONE_OR_MORE: "one feature or more", TWO_OR_MORE: "two features or more"}
        number = words.get(kind.n_parts, f"{kind.n_parts} features")
        yield f"Made of: {number} of kind {' or '.join(sorted(kind.parts))}"
