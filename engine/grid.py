"""A recording's rows on the grid: what was agreed, where a point is clean, where blocks lie.

Everything is read row by row from the recording alone, so a session that was cut short is told as
far as it went. Headers of other versions, or none, leave things unknown; they never raise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from engine.features import FEATURES
from engine.frames import Bool, Event, Float, Gate, PhaseKind
from engine.gates import GateRule, Gates, GateSettings, MotionRule
from engine.measures import Resting, Rows, Spread, own_unit
from engine.recording import Recording
from protocols.model import GateSetting, Protocol
from protocols.sham import PREFIX

__all__ = [
    "Grid",
    "kind_of",
    "mapping",
    "number",
    "numbers",
    "presented_kind",
    "protocol_of",
    "withheld",
    "without_controls",
]

BEFORE_S = 0.1  # what precedes a blink belongs to the blink


def protocol_of(header: Mapping[str, Any]) -> Protocol | None:
    """Return the protocol of a recording's header; None when it is missing or not understood."""
    row = header.get("protocol")
    if not isinstance(row, Mapping):
        return None
    try:
        return Protocol.model_validate(row)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def withheld(header: Mapping[str, Any]) -> bool:
    """Return whether features, thresholds and rewards of a session may not be told.

    They may once its research log is opened; see `engine.opened.unveiled`.
    """
    return bool(header.get("blinded")) and not header.get("unveiled")


def presented_kind(header: Mapping[str, Any]) -> str:
    """Return which condition was presented, of `protocols.sham.KINDS`; empty when withheld.

    What a header of another version says is given back as it stands.
    """
    if withheld(header):
        return ""
    stored = mapping(header.get("control"))
    controls, chosen = stored.get("controls"), stored.get("chosen")
    if not isinstance(controls, (list, tuple)) or not isinstance(chosen, int):
        return "real"
    if not 0 <= chosen < len(controls):
        return "unknown"
    return str(mapping(controls[chosen]).get("kind") or "unknown")


def without_controls(protocol: Protocol) -> Protocol:
    """Return a protocol without what only a control condition looks at."""
    features = {n: f for n, f in protocol.features.items() if not n.startswith(PREFIX)}
    baseline = tuple(
        b.model_copy(update={"learn": tuple(n for n in b.learn if not n.startswith(PREFIX))})
        for b in protocol.baseline
    )
    return protocol.model_copy(update={"features": features, "baseline": baseline})


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def numbers(value: Any) -> dict[str, float]:
    found = {str(k): number(v) for k, v in mapping(value).items()}
    return {k: v for k, v in found.items() if v is not None}


def kind_of(code: int) -> PhaseKind | None:
    try:
        return PhaseKind(code)
    except ValueError:
        return None


def _spread(n: int, given: Any) -> Spread | None:
    if not isinstance(given, (list, tuple)) or len(given) != 5:
        return None
    known = [number(v) for v in given]
    five = [v for v in known if v is not None]
    return Spread(n, *five) if len(five) == 5 else None


class Grid:
    """Takes a recording apart once; every method answers one question.

    Parameters
    ----------
    recording : Recording
        Whole, cut, damaged or still being written.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.header = recording.header
        self.rate_hz = recording.spec.rate_hz
        self.hop = recording.spec.hop
        self.grid_hz = recording.spec.grid_hz
        self.protocol = protocol_of(self.header)
        self.withheld = withheld(self.header)
        self.presented_kind = presented_kind(self.header)
        codes = recording.codes
        self.features = tuple(mapping(codes.get("features")).get("features", ()))
        self.metrics = tuple(mapping(codes.get("features")).get("metrics", ()))
        self.rules = self._rules(mapping(codes.get("decisions")).get("rules", ()))
        self.plan = self._plan()
        self.events: dict[str, list[Event]] = {}
        for event in recording.events:
            self.events.setdefault(event.kind, []).append(event)
        self.rows = self._rows()
        self.scales = self._scales()
        self.units = self._units()
        self.resting = self._resting()
        self.columns = {name: i for i, name in enumerate(self.features)}
        self.muscle_uv = self._muscle_rows()

    # ------------------------------------------------------------ what was agreed

    def _rules(self, names: Any) -> tuple[tuple[str, str], ...]:
        if self.withheld:  # what they look at is not there
            return ()
        if self.protocol is not None:
            return tuple((r.feature, r.direction) for r in self.protocol.rules)
        return tuple((str(n), "") for n in names) if isinstance(names, (list, tuple)) else ()

    def _plan(self) -> dict[int, Mapping[str, Any]]:
        plan = self.header.get("plan")
        rows = [p for p in plan if isinstance(p, Mapping)] if isinstance(plan, list) else []
        return {int(p.get("index", i)): p for i, p in enumerate(rows)}

    def _scales(self) -> dict[str, str]:
        scales = dict.fromkeys(self.features, "linear")
        if self.protocol is not None:
            for name, feature in self.protocol.features.items():
                # A kind from another package: linear, unless what was learned says otherwise.
                known = FEATURES.get(feature.kind)
                scales[name] = "linear" if known is None else known.scale
        for event in self._learning():
            for name, row in mapping(event.data.get("features")).items():
                if mapping(row).get("scale") in ("ln", "linear"):
                    scales[name] = row["scale"]
        return scales

    def _units(self) -> dict[str, str]:
        units: dict[str, str] = {}
        if self.protocol is not None:
            for name, feature in self.protocol.features.items():
                if feature.kind in FEATURES:
                    units[name] = FEATURES[feature.kind].unit
        given = mapping(self.header.get("feature_units"))
        return units | {str(k): v for k, v in given.items() if isinstance(v, str)}

    def level_feature(self) -> str | None:
        given = self.header.get("level_feature")
        if isinstance(given, str):
            return given
        return self.protocol.feedback.level.feature if self.protocol is not None else None

    def trained(self) -> str | None:
        """Return what was trained: rewarded, of the trials, or else shown; None when withheld."""
        if self.withheld:
            return None
        if self.rules:
            return self.rules[0][0]
        return self.protocol.trained if self.protocol is not None else None

    def smoothing_s(self, name: str) -> float:
        if self.protocol is None or name not in self.protocol.features:
            return 0.0
        feature = self.protocol.features[name]
        parts = [p for p in feature.of if p in self.protocol.features and p != name]
        return max([feature.smooth_s or 0.0, *(self.smoothing_s(p) for p in parts)])

    # ------------------------------------------------------------ rows

    def _rows(self) -> Rows:
        table = self.recording.decisions
        n = len(table.values) if table.columns else 0
        n_rules = sum(c.startswith("pass_") for c in table.columns)

        def column(name: str) -> Float:
            return table.column(name) if n else np.zeros(0)

        def columns(prefix: str) -> Float:
            names = [c for c in table.columns if c.startswith(prefix)]
            if not n or not names:
                return np.zeros((n, n_rules))
            return np.column_stack([table.column(c) for c in names])

        def optional(name: str) -> Float:
            return column(name) if name in table.columns else np.full(n, np.nan)

        def whole(name: str) -> np.ndarray:
            return np.nan_to_num(column(name), nan=-1.0).astype(np.int64)

        seq = whole("seq")
        values, trusted, metrics, fixed = self._frames(seq)
        return Rows(
            seq=seq,
            t_s=seq / self.rate_hz if self.rate_hz else np.zeros(n),
            phase=whole("phase"),
            kind=whole("kind"),
            reward=column("reward") > 0,
            joint=column("joint") > 0,
            passes=columns("pass_"),
            thresholds=columns("threshold_"),
            gate=whole("gate"),
            held=whole("held"),
            phase_s=column("phase_s"),
            rewards=whole("rewards"),
            values=values,
            trusted=trusted,
            metrics=metrics,
            fixed_uv2=fixed,
            level=column("level"),
            real_level=optional("real_level"),
            real_reward=optional("real_reward"),
        )

    def _frames(self, seq: np.ndarray) -> tuple[Float, Bool, Float, Float]:
        """Return values, trust, gate metrics and fixed estimates at the decisions' grid points."""
        n, k, m = len(seq), len(self.features), len(self.metrics)
        values, metrics = np.full((n, k), np.nan), np.full((n, m), np.nan)
        trusted, fixed = np.zeros((n, k), bool), np.full((n, k), np.nan)
        table = self.recording.features
        # Version 0.1 recorded no fixed estimates.
        if not n or not len(table.values) or len(table.columns) not in (4 + k + m, 4 + 2 * k + m):
            return values, trusted, metrics, fixed
        own = table.values[:, 1]
        at = np.minimum(np.searchsorted(own, seq), len(own) - 1)
        found = own[at] == seq
        rows = table.values[at[found]]
        values[found] = rows[:, 2 : 2 + k]
        metrics[found] = rows[:, 4 + k : 4 + k + m]
        bits = rows[:, 2 + k].astype(np.int64)
        trusted[found] = (bits[:, None] >> np.arange(k)) & 1 > 0
        if len(table.columns) == 4 + 2 * k + m:
            fixed[found] = rows[:, 4 + k + m :]
        return values, trusted, metrics, fixed

    def _muscle_rows(self) -> Float:
        columns = [i for i, m in enumerate(self.metrics) if str(m).startswith("muscle_")]
        if not columns:
            return np.full(len(self.rows), np.nan)
        return np.asarray(self.rows.metrics[:, columns].mean(axis=1))

    def known(self, rows: slice | np.ndarray, names: Sequence[str]) -> Bool:
        """Return where the gate is open, nothing holds and every named feature is known."""
        r = self.rows
        good: Bool = (r.gate[rows] == 0) & (r.held[rows] == 0)
        for name in names:
            i = self.columns.get(name)
            if i is None:
                continue
            x = r.values[rows, i]
            good &= r.trusted[rows, i] & np.isfinite(x)
            if self.scales[name] == "ln":
                good &= x > 0.0
        return good

    def counted(self, rows: slice) -> Bool:
        """Return the clean points of a block without those just before a blink."""
        r = self.rows
        good = self.known(rows, [f for f, _ in self.rules])
        free = np.flatnonzero(r.held[rows] == 0)
        if not len(free):
            return good
        # A hold or a gap closes the books on what came before it.
        near = (np.diff(free) == 1) & (np.diff(r.seq[rows][free]) == self.hop)
        part = np.concatenate([[0], np.cumsum(~near)])
        blink = (r.gate[rows][free] & int(Gate.BLINK)) != 0
        begins = np.flatnonzero(blink & ~np.concatenate([[False], blink[:-1]]))
        reach = math.floor(BEFORE_S * self.grid_hz + 0.5)
        for k in begins:
            before = np.arange(max(0, int(k) - reach), int(k))
            good[free[before[part[before] == part[k]]]] = False
        return good

    def visits(self) -> Iterator[slice]:
        r = self.rows
        if not len(r):
            return
        new = (np.diff(r.phase) != 0) | (np.diff(r.kind) != 0) | (np.diff(r.phase_s) < 0)
        edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(r)]
        for a, b in itertools.pairwise(edges):
            yield slice(a, b)

    # ------------------------------------------------------------ rest

    def _resting(self) -> dict[str, Resting]:
        found: dict[str, Resting] = {}
        for event in () if self.withheld else self._learning():
            block = str(event.data.get("name", ""))
            for name, row in mapping(event.data.get("features")).items():
                median = number(mapping(row).get("median"))
                mad = number(mapping(row).get("mad"))
                scale = mapping(row).get("scale")
                if median is None or mad is None or mad <= 0 or scale not in ("ln", "linear"):
                    continue
                centre, low, high = (own_unit(median + k * mad, scale) for k in (0, -1, 1))
                n = int(number(row.get("n")) or 0)
                mean, spread = number(mapping(row).get("mean")), mapping(row).get("spread")
                found[name] = Resting(
                    name, scale, n, median, mad, centre, low, high, block, mean, _spread(n, spread)
                )
        return found

    def _learning(self) -> list[Event]:
        """Return the events that tell resting values; those read again come last and stand."""
        return [*self.events.get("baseline", ()), *self.events.get("resting", ())]

    def regate(self, rows: slice) -> tuple[Bool, dict[str, float]]:
        """Return the points that the learned limits leave, and the muscle limits (µV).

        The limits themselves are not recorded; they follow from the recorded metrics alone.
        """
        free = np.flatnonzero(self.rows.held[rows] == 0)
        keep = np.zeros(rows.stop - rows.start, bool)
        if self.protocol is None or not self.metrics:
            return keep, {}
        limits, kept = self._gates().relearn(self.rows.metrics[rows][free])
        keep[free] = kept
        names = [str(m) for m in self.metrics]
        muscle = {n[7:]: float(v) for n, v in zip(names, limits.limits, strict=True)
                  if n.startswith("muscle_")}  # fmt: skip
        return keep, muscle

    def _gates(self) -> Gates:
        """Return the session's gates as far as learning limits needs them."""
        assert self.protocol is not None
        sites: list[str] = []
        at: dict[str, list[int]] = {"amplitude": [], "blink": [], "muscle": [], "saccade": []}
        for metric in self.metrics:
            gate, _, site = str(metric).partition("_")
            if site not in sites:
                sites.append(site)
            at.setdefault(gate, []).append(sites.index(site))

        def rule(gate: str, setting: GateSetting) -> GateRule:
            return GateRule(setting.on, tuple(at[gate]), setting.limit_uv, setting.after_s)

        given = self.protocol.gates
        first = next((b for b in self.protocol.baseline if b.learn or b.uses), None)
        return Gates(
            GateSettings(
                rate_hz=self.rate_hz,
                hop=self.hop,
                amplitude=rule("amplitude", given.amplitude),
                blink=rule("blink", given.blink),
                muscle=rule("muscle", given.muscle),
                saccade=rule("saccade", given.saccade),
                motion=MotionRule("motion_g" in self.metrics, given.motion.limit_g),
                step=GateRule(given.step.on, ()),
                needed=(),
                mains_hz=number(self.header.get("mains_hz")),
                eyes_closed=first is not None and first.eyes == "closed",
                site_names=tuple(sites),
                eye_names=tuple(sites),
                memory=int(number(self.header.get("gate_memory")) or 0),
            )
        )
