"""What a recorded session holds, as numbers: blocks, baselines, thresholds, delays, quality.

Everything comes from the recording alone. What precedes a blink by 0.1 s is withdrawn from the
statistics, as in the live decision. What cannot be known is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.across import FixedReader
from engine.filters import alpha_of, delays_s, filters_of, references_of
from engine.frames import Bool, Command, Event, Float, Gap, Hold, PhaseKind
from engine.grid import Grid, kind_of, mapping, number, numbers
from engine.measures import (
    AboveZero,
    Block,
    Course,
    Given,
    Held,
    Learned,
    Muscle,
    Step,
    binned,
    correlation,
    course,
    on_scale,
    trend,
)
from engine.recording import Recording
from engine.shown import missed_between, shown, sound_of
from engine.words import rounded
from protocols.baseline import causes_of
from protocols.phrases import leaves
from protocols.sham import PREFIX

__all__ = ["COUNTED", "MUSCLE_FLAG", "MUSCLE_GATED", "block_label", "learned"]

MUSCLE_FLAG = 0.4  # correlation of feature and muscle above which a block is flagged
MUSCLE_GATED = 0.1  # share of a block that the muscle gate took from which it is named
ROSE_MUSCLE, ROSE_Z = 1.25, 0.5  # times resting muscle, and spreads of rest: both have risen
MOVES: Mapping[str, str] = {
    "threshold_block": "block",
    "threshold_frozen": "frozen",
    "threshold_kept": "kept",
    "drift_guard": "drift_guard",
}
"""Events of a threshold that adapts, and how a step by them is named."""
INVALID_SHARE = 0.5

SHOWN = (PhaseKind.BASELINE, PhaseKind.TRAIN, PhaseKind.TRANSFER, PhaseKind.POST)
COUNTED = (PhaseKind.TRAIN, PhaseKind.TRANSFER)
SIDES = ("log_ratio", "shrunk_log_ratio", "asymmetry_index")


def block_label(kind: PhaseKind, name: str, number: int, attempt: int) -> str:
    """Return what a block is called: ``Training 2``, ``Baseline eyes open, attempt 2``."""
    word = name.replace("_", " ")
    if kind is PhaseKind.BASELINE:
        label = f"Baseline {word}"
    elif kind is PhaseKind.TRAIN:
        label = f"Training {number}" if number else "Training"
    elif kind is PhaseKind.TRANSFER:
        label = f"Transfer {number}" if number > 1 else "Transfer"
    elif kind is PhaseKind.POST:
        label = "Rest after" if name == "post" else f"Rest after {word}"
    else:
        label = f"{kind.name.capitalize()} {word}"
    return label if attempt == 1 else f"{label}, attempt {attempt}"


def learned(recording: Recording) -> Learned:
    """Return what a recording holds, as numbers.

    Parameters
    ----------
    recording : Recording
        Whole, cut, damaged or still being written.
    """
    return _Reader(recording).learned()


class _Reader(Grid):
    """Everything about the blocks of a session and what happened in it."""

    def learned(self) -> Learned:
        """Return everything."""
        filters = self._filters = filters_of(self.recording.events)
        blocks = self._flipped(self._muscular(self._compared(tuple(self._blocks()))))
        outcome, why = self._outcome()
        rows, seen = self.rows, shown(self.recording)
        length = float(len(self.recording.samples) / self.rate_hz) if self.rate_hz else 0.0
        gaps = tuple((g.seq / self.rate_hz, g.missing / self.rate_hz, g.cause) for g in self._gaps)
        return Learned(
            rows=rows,
            rate_hz=self.rate_hz,
            grid_hz=self.grid_hz,
            protocol=self.protocol,
            feature_names=self.features,
            metric_names=self.metrics,
            units=self.units,
            scales=self.scales,
            rules=self.rules,
            level_feature=self.level_feature(),
            outcome=outcome,
            outcome_why=why,
            length_s=length + sum(g[1] for g in gaps),
            blocks=blocks,
            resting=self.resting,
            train=self._train(),
            trend=self._trends(blocks),
            steps=tuple(self._steps()),
            holds=tuple(self._holds()),
            gaps=gaps,
            shown=seen,
            sound=sound_of(self.recording.events),
            delay_s=delays_s(numbers(self.header.get("delay_s")), filters, self.protocol),
            missed_frames=seen.most_missed,
            muscle_uv=self.muscle_uv,
            muscle_limits_uv=self._muscle_limits,
            filters=filters,
            fits_told=any(c.startswith("fixed_") for c in self.recording.features.columns),
            alpha=alpha_of(self.recording.events, self.header.get("course")),
            eyes=self._eyes(),
            references=references_of(self.recording.events),
            trained=self.trained(),
            withheld=self.withheld,
            presented_kind=self.presented_kind,
        )

    def _eyes(self) -> Mapping[str, Any]:
        found = self.events.get("eog_regression", ())
        return mapping(found[-1].data) if found else {}

    # ------------------------------------------------------------ blocks

    def _blocks(self) -> Iterator[Block]:
        self._muscle_limits: dict[str, float] = {}
        self._train_rows: list[np.ndarray] = []
        self._used_rows: list[np.ndarray] = []
        attempts: dict[int, int] = {}
        paid = 0
        for visit in self.visits():
            last = self.rows.rewards[visit.stop - 1]
            kind = kind_of(int(self.rows.kind[visit.start]))
            phase = int(self.rows.phase[visit.start])
            if kind in SHOWN and phase >= 0:
                attempts[phase] = attempts.get(phase, 0) + 1
                yield self._block(visit, kind, phase, attempts[phase], int(last) - paid)
            paid = max(paid, int(last))

    def _block(
        self, visit: slice, kind: PhaseKind, phase: int, attempt: int, rewards: int
    ) -> Block:
        r = self.rows
        plan = self.plan.get(phase, {})
        ended = self._event_in("phase_end", visit)
        end = None if ended is None else str(ended.data.get("reason", "")) or None
        name = str(plan.get("name") or (ended.data.get("name") if ended else "") or kind.name)
        block = int(number(plan.get("block")) or 0)
        free = r.held[visit] == 0
        learns = plan.get("learn")
        needs = [f for f, _ in self.rules]
        if kind is PhaseKind.BASELINE and isinstance(learns, (list, tuple)):
            needs = [str(f) for f in learns]
        # Where features are withheld, the gates alone tell what is clean.
        live = self.known(visit, [] if self.withheld else needs)
        use, note = self._used(visit, kind, live, bool(needs), end)
        if note and kind is PhaseKind.BASELINE and any(f.fitted for f in self._filters):
            note += "; read by the fixed filter"
        self._used_rows.append(visit.start + np.flatnonzero(use))
        rates = self._rates(visit, use) if kind in COUNTED else (None, None, None)
        if kind is PhaseKind.TRAIN:
            self._train_rows.append(visit.start + np.flatnonzero(use))
        clean_s = float((use if kind is PhaseKind.BASELINE else live).sum()) / self.grid_hz
        total_s = float(free.sum()) / self.grid_hz
        gated_s = self._gated(visit, free, live, use if kind is PhaseKind.BASELINE else live)
        if self.withheld and ended is not None and kind is not PhaseKind.BASELINE:
            clean_s = number(ended.data.get("clean_s")) or 0.0
            total_s = number(ended.data.get("total_s")) or total_s
            gated_s = numbers(ended.data.get("gated_s"))
        return Block(
            phase=phase,
            kind=kind.name.lower(),
            name=name,
            number=block,
            attempt=attempt,
            label=block_label(kind, name, block, attempt),
            start_s=float(r.t_s[visit.start]),
            end_s=float(r.t_s[visit.stop - 1]),
            total_s=total_s,
            clean_s=clean_s,
            held_s=float((~free).sum()) / self.grid_hz,
            gated_s=gated_s,
            end=end,
            invalid=kind in COUNTED and total_s - clean_s > INVALID_SHARE * total_s,
            rewards=rewards if kind is PhaseKind.TRAIN and not self.withheld else None,
            rate_alone=rates[0],
            rate_joint=rates[1],
            rate_first_threshold=rates[2],
            features=self._courses(visit.start + np.flatnonzero(use))
            | (self._rested(name) if kind is PhaseKind.BASELINE and not note else {}),
            muscle=self._muscle(visit, use),
            note=note,
            above_zero=self._above_zero(visit.start + np.flatnonzero(use), kind),
            given=self._given(visit, rewards) if kind is PhaseKind.TRAIN else None,
        )

    def _event_in(self, kind: str, visit: slice) -> Event | None:
        """Return the last event of a kind in a visit; a stop or skip ends one point later."""
        first, last = int(self.rows.seq[visit.start]), int(self.rows.seq[visit.stop - 1])
        phase = int(self.rows.phase[visit.start])
        found = [
            e
            for e in self.events.get(kind, ())
            if first <= e.seq <= last + self.hop and e.data.get("phase", phase) == phase
        ]
        return found[-1] if found else None

    def _used(
        self, visit: slice, kind: PhaseKind, live: Bool, learns: bool, end: str | None
    ) -> tuple[Bool, str]:
        """Return the points whose statistics count, and what is to be said about them."""
        if kind is not PhaseKind.BASELINE:
            return self.counted(visit), ""
        if not learns:
            return live, "nothing was learned from this block"
        if end in ("repeat", "failed"):
            return live, "too little was clean; nothing was learned from this attempt"
        accepted = self._event_in("baseline", visit)
        if accepted is None:
            return live, "it was not finished; nothing was learned from it"
        keep, limits = self.regate(visit)
        use = live & keep
        told = number(accepted.data.get("clean_s"))
        if told is None or abs(told - float(use.sum()) / self.grid_hz) > 0.5:
            return live, "includes points that the learned limits withdrew later"
        self._muscle_limits.update(limits)
        return use, ""

    def _gated(self, visit: slice, free: Bool, live: Bool, used: Bool) -> dict[str, float]:
        """Return unclean seconds by cause; causes overlap, so they may add up to more."""
        seconds: dict[str, int] = {}
        gate = self.rows.gate[visit]
        for bits, n in zip(*np.unique(gate[free & ~used], return_counts=True), strict=True):
            if bits > 0:
                for cause in causes_of(int(bits)):
                    seconds[cause] = seconds.get(cause, 0) + int(n)
        open_ = free & ~used & (gate == 0)
        for cause, n in (
            ("withdrawn by learned limits", int((open_ & live).sum())),
            ("untrusted", int((open_ & ~live).sum())),
        ):
            if n:
                seconds[cause] = n
        pairs = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
        return {cause: n / self.grid_hz for cause, n in pairs}

    def _rates(self, visit: slice, use: Bool) -> tuple[float | None, float | None, float | None]:
        """Return shares of clean time: reward rule alone, all rules, first threshold kept."""
        r = self.rows
        if not use.any() or not self.rules or not r.passes.shape[1]:
            return None, None, None
        alone = float((r.passes[visit, 0][use] == 1).mean())
        joint = float(r.joint[visit][use].mean())
        return alone, joint, self._over_first(visit, use)

    def _over_first(self, visit: slice, use: Bool) -> float | None:
        first = self.rows.thresholds[:, 0]
        known = first[np.isfinite(first)]
        feature, direction = self.rules[0] if self.rules else ("", "")
        i = self.columns.get(feature)
        if not len(known) or i is None or not direction:
            return None
        x = self.rows.values[visit, i][use]
        met = x > known[0] if direction == "above" else x < known[0]
        return float(met.mean())

    def _watched(self) -> tuple[str, ...]:
        if self.withheld:
            return ()
        names = [f for f, _ in self.rules]
        names += [n for n in (self.trained(), self.level_feature()) if n]
        return tuple(n for n in dict.fromkeys(names) if n in self.columns)

    def _courses(self, at: np.ndarray) -> dict[str, Course]:
        found: dict[str, Course] = {}
        for name in self._watched():
            i = self.columns[name]
            x = self.rows.values[at, i][self.rows.trusted[at, i]]
            made = course(x, self.scales[name], self.resting.get(name))
            if made is not None:
                found[name] = made
        return found

    def _rested(self, name: str) -> dict[str, Course]:
        """Return a baseline's features as the fitted estimators read them, as all later blocks."""
        found: dict[str, Course] = {}
        for feature in self._watched():
            rest = self.resting.get(feature)
            if rest is None or rest.block != name or rest.spread is None or rest.mean is None:
                continue
            relative, mean_z = rest.scale == "ln", (rest.mean - rest.median) / rest.mad
            found[feature] = Course(rest.spread, 0.0, relative, 0.0, mean_z)
        return found

    def _above_zero(self, at: np.ndarray, kind: PhaseKind) -> dict[str, AboveZero]:
        """Return the share of clean time above zero of every feature that compares two sides."""
        if self.protocol is None or self.withheld:
            return {}
        found = {}
        for name, feature in self.protocol.features.items():
            i = self.columns.get(name)
            if feature.kind not in SIDES or i is None or name.startswith(PREFIX):
                continue
            x = self.rows.values[at, i][self.rows.trusted[at, i]]
            x = x[np.isfinite(x)]
            if not len(x):
                why = "it was not known there" if len(at) else "no clean time"
                found[name] = AboveZero(None, 0.0, why=why)
                continue
            parts = set(leaves(self.protocol, name))
            refitted = any(f.fitted and f.feature in parts for f in self._filters)
            found[name] = AboveZero(
                float((x > 0.0).mean()),
                len(x) / self.grid_hz,
                "by the fixed filter: the fitted one did not exist yet"
                if refitted and kind is PhaseKind.BASELINE
                else "",
            )
        return found

    def _compared(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Return the blocks with what the fixed filter reads, for comparison across sessions."""
        if self.protocol is None or self.withheld:  # reading them again would tell what is sealed
            return blocks
        wanted = dict.fromkeys(self._watched())
        for name in tuple(wanted):
            wanted.update(dict.fromkeys(leaves(self.protocol, name)))
        reader = FixedReader(self, self._filters, tuple(wanted))
        reader.complete(self._used_rows)
        read = [
            replace(b, fixed=reader.read(at)) for b, at in zip(blocks, self._used_rows, strict=True)
        ]
        return reader.against_rest(read, self._rest_blocks(wanted))

    def _rest_blocks(self, names: Iterable[str]) -> dict[str, str]:
        """Return the baseline that stands for each feature: where it, or what it makes, is learned.

        A feature that nobody learns is compared with the last baseline from which anything is.
        """
        assert self.protocol is not None
        blocks = [b for b in self.protocol.baseline if b.learn]
        found: dict[str, str] = {}
        for name in names:
            for block in blocks:
                made = {p for n in block.learn for p in leaves(self.protocol, n)}
                if name in block.learn or (name not in found and name in made):
                    found[name] = block.name
            if blocks:
                found.setdefault(name, blocks[-1].name)
        return found

    def _muscle(self, visit: slice, use: Bool) -> Muscle:
        m = self.muscle_uv[visit]
        if not np.isfinite(m).any():
            return Muscle(None, None, 0, False, "the muscle gate was off or had no site")
        clean = m[use & np.isfinite(m)]
        middle = float(np.median(clean)) if len(clean) else None
        name = self.trained() or ""
        if name not in self.columns:
            why = "withheld" if self.withheld else "the trained feature is not recorded"
            return Muscle(middle, None, 0, False, why)
        x = on_scale(self.rows.values[visit, self.columns[name]], self.scales[name])
        bin_s = max(1.0, self.smoothing_s(name))
        t = self.rows.t_s[visit]
        r, n, why = correlation(
            binned(t, x, use, bin_s)[1], binned(t, on_scale(m, "ln"), use, bin_s)[1]
        )
        return Muscle(middle, r, n, r is not None and r > MUSCLE_FLAG, why)

    def _muscular(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Return the blocks with what muscle took of them, and where it may stand behind them."""
        if not len(self.muscle_uv):
            return blocks
        rest = next((b for b in blocks if b.kind == "baseline" and not b.note), None)
        at_rest = 0.0 if rest is None else _part(rest.gated_s.get("muscle", 0.0), rest.total_s)
        found = []
        for block in blocks:
            m, share = block.muscle, _part(block.gated_s.get("muscle", 0.0), block.total_s)
            told = block.kind in ("train", "transfer")
            much = told and share >= MUSCLE_GATED and share >= 2.0 * at_rest
            rose = told and rest is not None and self._rose(block, rest.muscle.median_uv)
            known = share if m.median_uv is not None or share > 0.0 else None
            found.append(replace(block, muscle=replace(m, gated_share=known, rose=rose, much=much)))
        return tuple(found)

    def _flipped(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Return the blocks with how many flips of the screen were missed in them."""
        spans = [(round(b.start_s * self.rate_hz), round(b.end_s * self.rate_hz)) for b in blocks]
        missed = missed_between(self.recording, spans)
        return tuple(replace(b, missed_flips=n) for b, n in zip(blocks, missed, strict=True))

    def _rose(self, block: Block, rest_uv: float | None) -> bool:
        """Return whether muscle and the feature, in the rewarded direction, both left rest."""
        course, uv = block.features.get(self.trained() or ""), block.muscle.median_uv
        if course is None or course.z is None or uv is None or not rest_uv or not self.rules:
            return False
        return self.rules[0][1] == "above" and course.z > ROSE_Z and uv > ROSE_MUSCLE * rest_uv

    def _given(self, visit: slice, rewards: int) -> Given | None:
        """Return what a training block presented, where that need not be what was real."""
        unveiled = bool(self.header.get("unveiled"))
        if self.withheld or (self.presented_kind == "real" and not unveiled):
            return None
        r = self.rows
        level, real, t = r.level[visit], r.real_level[visit], r.t_s[visit]
        seen = np.isfinite(level)
        real_rewards = r.real_reward[visit]
        r_level, _, why = _together(t, level, real)
        i = self.columns.get(self.level_feature() or "")
        r_feature = None
        if i is not None:
            scale = self.scales[self.features[i]]
            x = np.where(r.trusted[visit, i], on_scale(r.values[visit, i], scale), np.nan)
            r_feature, _, said = _together(t, level, x)
            why = why if r_level is None and np.isfinite(real).any() else said
        return Given(
            level=float(level[seen].mean()) if seen.any() else None,
            rewards=rewards,
            real_level=float(np.nanmean(real)) if np.isfinite(real).any() else None,
            real_rewards=(
                int(np.nansum(real_rewards)) if np.isfinite(real_rewards).any() else None
            ),
            r=r_level,
            r_feature=r_feature,
            why=why,
        )

    def _train(self) -> dict[str, Course]:
        if not self._train_rows:
            return {}
        return self._courses(np.concatenate(self._train_rows))

    def _trends(self, blocks: Sequence[Block]) -> dict[str, float | None]:
        name = self.trained() or ""
        courses = [b.features.get(name) for b in blocks if b.kind == "train"]
        return trend([c.z for c in courses if c is not None and c.z is not None])

    # ------------------------------------------------------------ thresholds

    def _steps(self) -> Iterator[Step]:
        """Yield every change of a threshold with the event that explains it."""
        r = self.rows
        steps = [s for k in range(r.thresholds.shape[1]) for s in self._steps_of(k)]
        yield from sorted(steps, key=lambda s: (s.t_s, s.rule))

    def _steps_of(self, k: int) -> Iterator[Step]:
        r = self.rows
        x = r.thresholds[:, k]
        feature, direction = self.rules[k] if k < len(self.rules) else (f"rule {k + 1}", "")
        moving = self._moving(k)
        old: float | None = None
        along: _Along | None = None  # a threshold that moves a little at every point
        for i in np.flatnonzero(np.isfinite(x)):
            new = float(x[i])
            if along is not None and int(r.phase[i]) != along.phase:
                yield along.step(k, feature, direction, moving)
                along = None
            if new == old:
                continue
            method, reason = self._reason(k, int(r.seq[i]), first=old is None)
            if moving and not method and old is not None:
                if along is None:
                    along = _Along(int(r.phase[i]), old)
                along.move(float(r.t_s[i]), new)
            else:
                if along is not None:
                    yield along.step(k, feature, direction, moving)
                    along = None
                yield Step(float(r.t_s[i]), k, feature, direction, old, new, method, reason)
            old = new
        if along is not None:
            yield along.step(k, feature, direction, moving)

    def _moving(self, k: int) -> str:
        """Return the method of a rule whose threshold moves within a block; empty for others."""
        if self.protocol is None or k >= len(self.protocol.rules):
            return ""
        method = self.protocol.rules[k].threshold.method
        return method if method in ("running", "staircase") else ""

    def _reason(self, k: int, seq: int, *, first: bool) -> tuple[str, str]:
        near = [
            e
            for kind in ("threshold_change", "shaped", *MOVES, "threshold")
            for e in self.events.get(kind, ())
            if e.data.get("rule") == k and 0 <= seq - e.seq <= 2 * self.hop
        ]
        if near and near[0].kind == "threshold_change":
            return "operator", str(near[0].data.get("reason") or "")
        if near and near[0].kind == "shaped":
            success = number(near[0].data.get("success"))
            said = "" if success is None else f" after {100 * success:.0f} % success in a block"
            return "shaping", f"one step {near[0].data.get('step')}{said}"
        if near and near[0].kind in MOVES:
            return MOVES[near[0].kind], str(near[0].data.get("reason") or "")
        if near:
            success = number(near[0].data.get("success"))
            method = str(near[0].data.get("method") or "")
            # One that adapts begins where the baseline puts it.
            return "start" if method in ("running", "block", "staircase") else method, (
                "" if success is None else f"met {100 * success:.0f} % of the clean baseline"
            )
        if first and self.protocol is not None and k < len(self.protocol.rules):
            rule = self.protocol.rules[k]
            if rule.threshold.method == "fixed":
                return "fixed", "fixed in the protocol"
        return "", ""

    # ------------------------------------------------------------ the course of the session

    def _outcome(self) -> tuple[str, str]:
        kinds = {kind_of(int(k)) for k in np.unique(self.rows.kind)}

        def said(event: str, key: str) -> str:
            rows = self.events.get(event, ())
            return str(rows[-1].data.get(key) or "") if rows else ""

        if PhaseKind.FAILED in kinds or "failed" in self.events:
            return "failed", said("failed", "sentence") or said("end", "sentence")
        stops = [e for e in self.events.get("phase_end", ()) if e.data.get("reason") == "stopped"]
        if PhaseKind.STOPPED in kinds or stops or said("end", "state") == "stopped":
            return "stopped", said("stop", "reason") or said("end", "sentence")
        last = max((i for i, p in self.plan.items() if _lasts(p)), default=None)
        ended = [
            e
            for e in self.events.get("phase_end", ())
            if last is not None and e.data.get("phase") == last
        ]
        if PhaseKind.DONE in kinds or "done" in self.events or ended:
            return "done", ""
        return "incomplete", "The recording ends before the session did."

    @property
    def _gaps(self) -> tuple[Gap, ...]:
        return self.recording.gaps()

    def _holds(self) -> Iterator[Held]:
        """Yield every hold, from the Inputs: pauses of the operator and states of the session."""
        open_: dict[str, tuple[int, str]] = {}
        end = int(self.rows.seq[-1]) if len(self.rows) else 0
        made: list[Held] = []

        def close(cause: str, seq: int | None) -> None:
            since, sentence = open_.pop(cause)
            stop = end if seq is None else seq
            made.append(
                Held(
                    since / self.rate_hz,
                    None if seq is None else seq / self.rate_hz,
                    max(0, stop - since) / self.rate_hz,
                    cause,
                    sentence,
                )
            )

        for item in self.recording.inputs:
            if isinstance(item, Hold):
                on, cause, sentence = item.on, item.cause, item.sentence
            elif isinstance(item, Command) and item.kind in ("pause", "resume"):
                on, cause, sentence = item.kind == "pause", "paused", item.text
            else:
                continue
            if on and cause not in open_:
                open_[cause] = (item.seq, sentence)
            elif not on and cause in open_:
                close(cause, item.seq)
        for cause in list(open_):
            close(cause, None)
        yield from sorted(made, key=lambda h: h.start_s)


@dataclass(slots=True)
class _Along:
    """A threshold on its way through a block."""

    phase: int
    begin: float
    end: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    t_s: float = 0.0

    def move(self, t_s: float, new: float) -> None:
        self.t_s, self.end = t_s, new
        self.low, self.high = min(self.low, self.begin, new), max(self.high, self.begin, new)

    def step(self, k: int, feature: str, direction: str, method: str) -> Step:
        said = f"moved along within the block, between {rounded(self.low)} and {rounded(self.high)}"
        return Step(self.t_s, k, feature, direction, self.begin, self.end, method, said)


def _part(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def _together(t_s: Float, a: Float, b: Float) -> tuple[float | None, int, str]:
    """Return the correlation of two series over seconds, where both are known."""
    use = np.isfinite(a) & np.isfinite(b)
    return correlation(binned(t_s, a, use, 1.0)[1], binned(t_s, b, use, 1.0)[1])


def _lasts(phase: Mapping[str, Any]) -> bool:
    return (number(phase.get("lasts_s")) or 0.0) > 0.0
