"""What stands on a report's page: the numbers of a session in words, tables and figures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from engine import accounts, figures, happened
from engine.certificate import told as certificate_told
from engine.columns import plain
from engine.estimatorpage import EstimatorPage
from engine.figures import unit_words
from engine.frames import PhaseKind
from engine.grid import mapping, without_controls
from engine.happened import clock, named
from engine.learned import COUNTED, MUSCLE_FLAG, MUSCLE_GATED
from engine.measures import ADULT_PA2H, CHILD_PA2H, Block, Course, Delay, Learned, Resting
from engine.recording import Recording
from engine.screening import STATEMENT
from engine.shown import UNHEARD, delay_limit_ms
from engine.words import (
    Picture,
    Unknown,
    count,
    lasting,
    percent,
    rounded,
    signed,
    tenths,
    text_or_unknown,
)
from protocols.describe import GRADES
from protocols.methods import methods_paragraph
from protocols.model import Protocol
from protocols.phrases import adapting_words, hz, leaves, listed
from protocols.sham import KINDS, PREFIX

__all__ = [
    "HOW",
    "Page",
    "by_cause",
    "condition_words",
    "per_minute",
    "weighted",
]

LEAST_FPS = 55.0  # a picture below this is told
NEAR_Z = 0.1  # closer to rest than a tenth of the baseline's spread is "about the same"
ENDS = {
    "complete": "as planned",
    "out of time": "20 % longer, not all clean",
    "skipped": "skipped by the operator",
    "stopped": "session stopped",
    "repeat": "repeated",
}
HOW = {
    "operator": "by the operator",
    "percentile": "learned from the baseline",
    "z": "learned from the baseline",
    "start": "learned from the baseline",
    "fixed": "fixed",
    "block": "from the last block",
    "running": "followed the last minutes",
    "staircase": "staircase",
    "frozen": "frozen",
    "kept": "kept",
    "drift_guard": "drift guard",
    "shaping": "shaped",
}
"""How a threshold came about, or moved."""


# ---------------------------------------------------------------- over several blocks


def weighted(blocks: Sequence[Block], name: str) -> float | None:
    """Return a rate over several blocks, weighted by their clean time."""
    known = [(b.clean_s, getattr(b, name)) for b in blocks if getattr(b, name) is not None]
    total = sum(s for s, _ in known)
    return sum(s * x for s, x in known) / total if total > 0 else None


def per_minute(blocks: Sequence[Block]) -> float | None:
    clean_s = sum(b.clean_s for b in blocks)
    return 60.0 * sum(b.rewards or 0 for b in blocks) / clean_s if clean_s > 0 else None


def by_cause(blocks: Sequence[Block]) -> list[tuple[str, float]]:
    seconds: dict[str, float] = {}
    for block in blocks:
        for cause, s in block.gated_s.items():
            seconds[cause] = seconds.get(cause, 0.0) + s
    return sorted(seconds.items(), key=lambda item: (-item[1], item[0]))


def condition_words(kind: str) -> str:
    """Return a control condition in words, also one of another version."""
    return KINDS.get(kind, kind.replace("_", " "))


# ---------------------------------------------------------------- the page


class Page:
    """What the template asks for. Every property is one part of the page."""

    template = "report.html.j2"

    def __init__(self, recording: Recording, told: Learned) -> None:
        self.recording = recording
        self.header = recording.header
        self.told = told
        self.protocol = told.protocol
        self.statement = STATEMENT
        self.muscle_flag = MUSCLE_FLAG
        self.muscle_gated = f"{100 * MUSCLE_GATED:.0f} %"
        self.estimator = EstimatorPage(told)
        self.feature = told.trained or ""
        self.direction = told.rules[0][1] if told.rules else ""
        self.blocks = accounts.labels(self.header)
        self.unit = unit_words(told.units.get(self.feature, ""))

    # ------------------------------------------------------------ who, when

    @property
    def title(self) -> str:
        """Title of the protocol, or the file's name."""
        return self.protocol.title if self.protocol else self.recording.path.name

    @property
    def client(self) -> Any:
        return text_or_unknown(self.header.get("client"))

    @property
    def when(self) -> Any:
        try:
            started = dt.datetime.fromisoformat(str(self.header.get("started")))
        except ValueError:
            return Unknown("not in the recording")
        zone = started.strftime("%z")
        zone = f" (UTC{zone[:3]}:{zone[3:5]})" if zone else ""
        return f"{started.day} {started:%B %Y, %H:%M}{zone}"

    @property
    def where(self) -> Any:
        room = self.header.get("room")
        return text_or_unknown(room.get("name") if isinstance(room, Mapping) else None)

    @property
    def use(self) -> Any:
        return text_or_unknown(self.header.get("use"))

    @property
    def test_session(self) -> bool:
        return bool(self.header.get("test_session"))

    @property
    def banners(self) -> list[tuple[str, str, str]]:
        """(class, heading, sentence) of everything to know before reading on."""
        told, recording = self.told, self.recording
        out = [*self._condition_banner()]
        if self.test_session:
            said = (
                "Shortened, or in a room for tests: for trying the system. Nothing here is about "
                "a person's training."
            )
            out.append(("test", "TEST SESSION", said))
        if told.outcome == "failed":
            out.append(("bad", "The session failed", told.outcome_why or "No reason was recorded."))
        if told.outcome == "stopped":
            why = told.outcome_why or "No reason was recorded."
            out.append(("warn", "The session was stopped early", why))
        if told.outcome == "incomplete":
            why = "interrupted, or is still running" if not recording.closed else "ended early"
            out.append(("warn", "Incomplete", f"{told.outcome_why} It was {why}. "
                        "Everything below is about the part that was recorded."))  # fmt: skip
        elif not recording.closed:
            out.append(("warn", "Not closed", "The file has no proper end, as after a power cut. "
                        "What was written is here."))  # fmt: skip
        if recording.damage:
            out.append(("bad", "The recording is damaged", recording.damage))
        if self.protocol is None:
            out.append(("warn", "Protocol not known", "The recording holds no protocol that this "
                        "version understands; units and rules are missing below."))  # fmt: skip
        return out

    def _condition_banner(self) -> Iterator[tuple[str, str, str]]:
        told = self.told
        if not told.sham and not self.unveiled:
            return
        words = condition_words(told.presented_kind)
        told_apart = (
            "Features, conditions and rates below are the person's own and real; level and "
            "rewards are what was presented."
        )
        if self.unveiled and not told.sham:
            yield (
                "unblinded",
                "UNBLINDED",
                f"{self._study_words()}This session presented {words}.",
            )
        elif self.unveiled:
            yield (
                "unblinded",
                "UNBLINDED: CONTROL CONDITION",
                f"{self._study_words()}This session presented {words}. {told_apart}",
            )
        else:
            yield "control", "CONTROL CONDITION", f"Presented: {words}. {told_apart}"

    def _study_words(self) -> str:
        """Return study, participant and session as a sentence; empty outside studies."""
        study = mapping(self.header.get("study"))
        if not study:
            return ""
        of = f" of {study['sessions']}" if study.get("sessions") else ""
        return (
            f"Study {study.get('name') or 'without a name'}, participant "
            f"{study.get('token') or 'not known'}, session {study.get('session') or '?'}{of}. "
        )

    @property
    def unveiled(self) -> bool:
        """Whether the research log of a blinded session was opened."""
        return bool(self.header.get("unveiled"))

    # ------------------------------------------------------------ in short

    @property
    def tiles(self) -> list[tuple[str, Any, str]]:
        """(heading, number, small print)."""
        tiles = self._tiles()
        # Where the threshold follows the person, the rate is held constant by design.
        return [tiles[0], tiles[3], tiles[1], tiles[2]] if self.told.adapts else tiles

    def _tiles(self) -> list[tuple[str, Any, str]]:
        told = self.told
        train = told.of(PhaseKind.TRAIN)
        clean = sum(b.clean_s for b in train)
        total = sum(b.total_s for b in train)
        course = told.train.get(self.feature)
        rate = per_minute(train)
        no_training = "there was no training"
        return [
            ("Recorded", lasting(told.length_s), self._how_it_ended()),
            (
                "Clean training time",
                lasting(clean) if train else Unknown(no_training),
                f"of {lasting(total)} in {count(len(train), 'block')}" if train else "",
            ),
            (
                "Rewards presented" if told.sham else "Rewards",
                str(sum(b.rewards or 0 for b in train)) if train else Unknown(no_training),
                self._per_minute_words(rate),
            )
            if self.rewards_something
            else ("Rewards", "none", "the protocol rewards nothing"),
            self._outcome_tile(course),
        ]

    def _per_minute_words(self, rate: float | None) -> str:
        said = "" if rate is None else f"{rate:.1f} per clean minute"
        real = [b.given.real_rewards for b in self.told.blocks if b.given is not None]
        known = [n for n in real if n is not None]
        if self.told.sham and known:
            said += f"{'; ' if said else ''}{sum(known)} would have been earned"
        if self.told.adapts:
            said += f"{'; ' if said else ''}the threshold adapts"
        return said

    def _outcome_tile(self, course: Course | None) -> tuple[str, Any, str]:
        train = {b.label for b in self.told.of(PhaseKind.TRAIN)}
        runs = [r for r in self.trial_runs if r.difference_uv is not None and r.block in train]
        if self.protocol is not None and self.protocol.trial is not None:
            names = [t.name for t in self.protocol.trial.tasks]
            heading = " minus ".join(names) if len(names) == 2 else f"{self.feature} in trials"
            if not runs:
                return heading, Unknown("no block of trials tells it"), "mean of the trials kept"
            mean = sum(r.difference_uv or 0.0 for r in runs) / len(runs)
            return heading, f"{signed(mean)} µV", f"mean of {count(len(runs), 'training block')}"
        name = f"{self.feature or 'Feature'} against rest"
        return name, self._moved(course), "training, clean time, median"

    def _how_it_ended(self) -> str:
        words = {"done": "completed", "stopped": "stopped early", "failed": "failed"}
        return words.get(self.told.outcome, "incomplete")

    def _moved(self, course: Course | None) -> Any:
        if course is None:
            return Unknown("no clean training time")
        if course.change is None:
            return Unknown("no baseline was learned")
        if course.relative:
            return f"{signed(100 * course.change, 0)} %"
        return f"{signed(course.change)} {self.unit}".strip()

    @property
    def sentences(self) -> list[str]:
        """The session in plain words."""
        return [s for s in self._sentences() if s]

    def _sentences(self) -> Iterator[str]:
        told = self.told
        train = told.of(PhaseKind.TRAIN)
        planned = self._planned()
        of = f" of {planned} planned" if planned is not None and planned != len(train) else ""
        clean = sum(b.clean_s for b in train)
        total = sum(b.total_s for b in train)
        share = f" ({100 * clean / total:.0f} %)" if total > 0 else ""
        start = f"The recording lasts {lasting(told.length_s)} and holds "
        if train:
            yield (
                f"{start}{count(len(train), 'training block')}{of}; {lasting(clean)} of "
                f"{lasting(total)} training time{share} was clean, and only clean time counts "
                "below."
            )
        else:
            yield f"{start}no training block{of}."
        yield from self._on_trials()
        yield from self._on_feature()
        yield from self._on_rewards(train)
        yield from self._on_condition()
        yield from self._on_crossover()
        yield from self._on_muscle(train)
        yield (
            "This describes one session. It cannot tell whether training works, for this person "
            "or for anybody, and it says nothing about health."
        )

    def _planned(self) -> int | None:
        plan = self.header.get("plan")
        if not isinstance(plan, list):
            return None
        names = {"TRAIN", "train", PhaseKind.TRAIN.value}
        return sum(isinstance(p, Mapping) and p.get("kind") in names for p in plan)

    def _on_feature(self) -> Iterator[str]:
        told, name = self.told, self.feature
        course, rest = told.train.get(name), told.resting.get(name)
        if self.protocol is not None and self.protocol.trial is not None:
            yield (
                f"Every trial is judged from its own baseline; {name} against rest, below, drifts "
                "with the electrodes and says nothing about regulation."
            )
            return
        if course is None:
            yield "No clean training time was recorded, so nothing is known of the trained feature."
            return
        s = course.spread
        seen = f"median {self._own(s.median)}, middle half {rounded(s.q1)} to {self._own(s.q3)}"
        if rest is None or course.z is None:
            yield f"{name} in training: {seen}. There is no baseline to compare it with."
            return
        yield (
            f"During training {name} ({self._what(name)}) was {self._against_rest(course)} "
            f"({seen}; at rest median {self._own(rest.centre)}, one spread to each side "
            f"{rounded(rest.low)} to {self._own(rest.high)}). "
            f"That is {signed(course.z)} spreads of the baseline{self._wanted()}."
        )
        medians = [b.features[name].z for b in told.of(PhaseKind.TRAIN) if name in b.features]
        known = [z for z in medians if z is not None]
        if len(known) > 1:
            yield (
                f"From block to block the median lay between {signed(min(known))} and "
                f"{signed(max(known))} spreads from rest; the last block minus the first is "
                f"{signed(known[-1] - known[0])}."
            )
        for kind, words in (
            (PhaseKind.TRANSFER, "Without feedback (transfer) it was"),
            (PhaseKind.POST, "At rest afterwards it was"),
        ):
            for block in told.of(kind):
                after = block.features.get(name)
                if after is not None and after.z is not None:
                    yield f"{words} {self._against_rest(after)} ({signed(after.z)} spreads)."

    def _wanted(self) -> str:
        """Return which way the protocol rewards."""
        words = {"above": "higher", "below": "lower"}.get(self.direction)
        if words is not None:
            return f"; the protocol rewards {words} values"
        return "" if self.protocol is None else "; no rule of the protocol rewards a direction"

    def _on_trials(self) -> Iterator[str]:
        for run in self.trial_runs:
            n, rejected = sum(t.n for t in run.tasks), sum(t.rejected for t in run.tasks)
            said = f"{run.block}: {count(n, 'trial')}, {rejected} rejected"
            if run.difference_uv is not None and len(run.tasks) == 2:
                first, second = (t.name for t in run.tasks)
                said += f"; {first} minus {second} {signed(run.difference_uv)} µV"
            yield f"{said}."

    def _on_crossover(self) -> Iterator[str]:
        found = self.crossovers
        if not found or self.protocol is None or self.protocol.watch.crossover is None:
            return
        watch = self.protocol.watch.crossover
        seconds = sum(c.crossover_s for c in found)
        often = sum(c.therapeutic or 0 for c in found)
        yield (
            f"{watch.theta} exceeded {watch.alpha} during {lasting(seconds)} of clean time; it did "
            f"so by 1 µV or more for three minutes on end {count(often, 'time')} (therapeutic "
            "crossover)."
        )

    def _on_condition(self) -> Iterator[str]:
        told = self.told
        given = [b.given for b in told.of(PhaseKind.TRAIN) if b.given is not None]
        if not given or not told.sham:
            return
        shown = sum(g.rewards for g in given)
        real = [g.real_rewards for g in given if g.real_rewards is not None]
        said = f"Presented was {condition_words(told.presented_kind)}: {count(shown, 'reward')}"
        said += f", where the person's own feedback would have given {sum(real)}" if real else ""
        known = [g.r for g in given if g.r is not None]
        if known:
            said += (
                f"; the presented level and the real one correlate within blocks by "
                f"{signed(min(known))}"
            )
            said += f" to {signed(max(known))}" if len(known) > 1 else ""
        yield f"{said}."

    def _own(self, x: float) -> str:
        return f"{rounded(x)} {self.unit}".strip()

    def _against_rest(self, course: Course) -> str:
        if course.z is None or course.change is None:
            return "not comparable with rest"
        if abs(course.z) < NEAR_Z:
            return "about the same as at rest"
        word = "above" if course.change > 0 else "below"
        if course.relative:
            return f"{abs(100 * course.change):.0f} % {word} the resting median"
        return f"{self._own(abs(course.change))} {word} the resting median"

    def _on_rewards(self, train: Sequence[Block]) -> Iterator[str]:
        alone, joint = weighted(train, "rate_alone"), weighted(train, "rate_joint")
        if alone is None or joint is None:
            return
        conditions = (
            f"; together with the other conditions {100 * joint:.0f} %"
            if len(self.told.rules) > 1
            else ""
        )
        changes = sum(s.method == "operator" for s in self.told.steps)
        moved = (
            f" The operator changed a threshold {count(changes, 'time')}, so rates before and "
            "after cannot be compared."
            if changes
            else ""
        )
        given = sum(b.rewards or 0 for b in train)
        verb = "presented" if self.told.sham else "given"
        were = f"{count(given, 'reward')} {'was' if given == 1 else 'were'} {verb}"
        held = "The person's own reward condition" if self.told.sham else "The reward condition"
        yield (
            f"{were}, {per_minute(train) or 0.0:.1f} per clean minute. "
            f"{held} held during {100 * alone:.0f} % of clean training "
            f"time{conditions}. {self._rate_means()}{moved}"
        )

    def _rate_means(self) -> str:
        if not self.told.adapts or self.protocol is None or self.protocol.reward is None:
            return (
                "A reward rate tells how easy the threshold was, and a constant one is not "
                "learning: look at the feature against rest."
            )
        success = self.protocol.reward.threshold.success
        share = "" if success is None else f" of about {100 * success:.0f} %"
        return (
            f"The threshold follows the person and aims at a rate{share}, whether the person "
            "learns or not: the rate tells nothing about learning, the feature against rest does."
            f"{self._guarded()}"
        )

    def _guarded(self) -> str:
        """Return when the drift guard stopped a threshold; empty when it did not."""
        stops = [s for s in self.told.steps if s.method == "drift_guard"]
        if not stops:
            return ""
        at = listed([f"{clock(s.t_s)} ({s.feature})" for s in stops])
        return (
            f" The drift guard stopped it at {at}, because it had followed the person the wrong "
            "way."
        )

    def _on_muscle(self, train: Sequence[Block]) -> Iterator[str]:
        known = [b for b in train if b.muscle.r is not None]
        flagged = [b.label for b in known if b.muscle.flagged]
        yield from self._on_gated_muscle(train)
        if flagged:
            yield (
                f"In {len(flagged)} of {count(len(known), 'training block')} {self.feature} rose "
                f"and fell with muscle tension ({', '.join(flagged)}): what was rewarded there may "
                "be muscle."
            )
        elif known:
            yield (
                f"{self.feature} did not go along with muscle tension (correlation above "
                f"{MUSCLE_FLAG}) in any of {count(len(known), 'training block')} with enough "
                "clean time to tell."
            )
        elif train:
            why = train[0].muscle.why
            yield f"Whether {self.feature} went along with muscle tension is not known: {why}."

    def _on_gated_muscle(self, train: Sequence[Block]) -> Iterator[str]:
        """Name muscle where it took much of the training, or rose together with the feature."""
        total = sum(b.total_s for b in train)
        much = [b.label for b in train if b.muscle.much]
        if much and total > 0:
            share = sum(b.gated_s.get("muscle", 0.0) for b in train) / total
            yield (
                f"Muscle tension closed the gate during {100 * share:.0f} % of training time "
                f"(much in {listed(much)}). That time earned nothing, neither level nor reward. "
                "Muscle may stand behind what the feature did around it: look at jaw, neck and "
                "forehead, or ask whether the person clenches on purpose."
            )
        rose = [b.label for b in train if b.muscle.rose and not b.muscle.flagged]
        if rose:
            yield (
                f"In {listed(rose)} both {self.feature} and muscle tension in clean time were well "
                "above rest: muscle too weak for the gate may stand behind the rise."
            )

    # ------------------------------------------------------------ what else was agreed, and asked

    @property
    def trial_runs(self) -> list[accounts.TrialRun]:
        """The trials of every block, in protocols that have them."""
        trial = None if self.protocol is None else self.protocol.trial
        names = [] if trial is None else [t.name for t in trial.tasks]
        return accounts.trials(self.recording.events, self.blocks, names)

    @property
    def trial_rows(self) -> list[dict[str, Any]]:
        """One row for each task of each block of trials."""
        none = "withheld" if self.told.withheld else "no trial was kept"
        rows = []
        for run in self.trial_runs:
            for i, task in enumerate(run.tasks):
                mean: Any = Unknown(none) if task.mean_uv is None else f"{signed(task.mean_uv)} µV"
                met: Any = Unknown(none) if task.passed is None else str(task.passed)
                difference: Any = "" if i else Unknown(none)
                if not i and run.difference_uv is not None:
                    difference = f"{signed(run.difference_uv)} µV"
                rows.append(
                    {
                        "block": run.block if not i else "",
                        "task": task.name,
                        "n": task.n,
                        "rejected": task.rejected,
                        "passed": met,
                        "mean": mean,
                        "difference": difference,
                    }
                )
        return rows

    @property
    def trial_difference(self) -> str:
        """What is subtracted from what."""
        runs = self.trial_runs
        names = [t.name for t in runs[0].tasks] if runs else []
        return " minus ".join(names) if len(names) == 2 else "Difference"

    @property
    def crossovers(self) -> list[accounts.Crossed]:
        """How long theta exceeded alpha, block by block."""
        return accounts.crossed(self.recording.events, self.blocks)

    @property
    def crossover_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "block": c.block,
                "seconds": f"{c.crossover_s:.0f}",
                "share": percent(c.share, "no clean time"),
                "therapeutic": Unknown("") if c.therapeutic is None else str(c.therapeutic),
            }
            for c in self.crossovers
        ]

    @property
    def drowsy(self) -> str:
        """When the sleep guard acted; empty where the protocol has none."""
        if self.protocol is None or self.protocol.watch.sleep is None:
            return ""
        times = [self._time(e.seq) for e in self.recording.events if e.kind == "drowsy"]
        if not times:
            return "The guard against sleep did not act."
        return f"The guard against sleep acted {count(len(times), 'time')} (at {_times(times)})."

    @property
    def answers(self) -> list[tuple[str, str, Any]]:
        """(block, question, answer) of what people were asked after blocks."""
        return [
            (a.block, a.question, a.answer or Unknown("nobody answered"))
            for a in accounts.asked(self.recording.events, self.blocks)
        ]

    @property
    def given(self) -> list[dict[str, Any]]:
        """What was presented beside what was real, block by block."""
        unknown = "only the research log, or a replay, tells it"
        rows = []
        for b in self.told.blocks:
            g = b.given
            if g is None:
                continue
            rows.append(
                {
                    "label": b.label,
                    "rewards": str(g.rewards),
                    "real_rewards": (
                        Unknown(unknown) if g.real_rewards is None else str(g.real_rewards)
                    ),
                    "rate": percent(b.rate_joint, "no clean time"),
                    "level": Unknown("no level was shown") if g.level is None else f"{g.level:.2f}",
                    "real_level": (
                        Unknown(unknown) if g.real_level is None else f"{g.real_level:.2f}"
                    ),
                    "r": Unknown(g.why or unknown) if g.r is None else signed(g.r),
                    "r_feature": Unknown(g.why) if g.r_feature is None else signed(g.r_feature),
                }
            )
        return rows

    @property
    def given_unveiled(self) -> bool:
        """Whether the real level and rewards are known as well."""
        return any(b.given is not None and b.given.real_rewards is not None
                   for b in self.told.blocks)  # fmt: skip

    @property
    def condition(self) -> str:
        """What was presented, in words."""
        return condition_words(self.told.presented_kind)

    @property
    def adapting(self) -> list[str]:
        """How thresholds that move with the person do so, in sentences."""
        if self.protocol is None:
            return []
        said = []
        for rule in self.protocol.rules:
            said += adapting_words(rule, self.told.scales.get(rule.feature))
        return list(dict.fromkeys(said))

    @property
    def agreed(self) -> list[tuple[str, Any]]:
        """What else belongs to the session: study, order, starts, plug-ins, what it extends."""
        header = self.header
        rows: list[tuple[str, Any]] = []
        if study := self._study_words():
            rows.append(("Study", study.strip()))
        if self.protocol is not None and any(s.shuffled for s in self.protocol.session):
            seed = mapping(header.get("seeds")).get("session")
            rows.append(("Order of blocks", f"drawn with the seed {seed}" if seed is not None
                         else Unknown("the seed is not in the recording")))  # fmt: skip
        starts = accounts.started(self.recording.events, self.blocks)
        if starts:
            rows.append(("Blocks that waited for the person", _starts_words(starts)))
        shift = header.get("shift")
        if isinstance(shift, (int, float)) and shift and not self.told.withheld:
            harder = "easier" if shift > 0 else "harder"
            rows.append(("Difficulty at the start",
                         f"{100 * abs(shift):.0f} % {harder} than the protocol's own, from earlier "
                         "sessions"))  # fmt: skip
        extends = header.get("extends")
        if isinstance(extends, (list, tuple)) and extends:
            rows.append(("Extends", ", ".join(str(x) for x in extends)))
        plugins = header.get("plugins")
        if isinstance(plugins, (list, tuple)) and plugins:
            named_ = [mapping(p) for p in plugins]
            said = ", ".join(f"{p.get('name')} {p.get('version')}" for p in named_)
            rows.append(("Packages that add parts", said))
        return rows

    # ------------------------------------------------------------ feature and reward

    @property
    def figure_feature(self) -> Picture | None:
        caption = (
            "Dot: median of clean time. Thick bar: middle half. Thin line: 5th to 95th percentile. "
            "Grey line and band: resting median and one spread (MAD) to each side. Dashes: reward "
            "threshold as it stood; lined box: where it moved. Hollow: see the note in the table. "
            "B baseline, T training, Tr transfer, Post rest afterwards."
        )
        return self._picture(
            figures.feature_by_block(
                self.told,
                self.feature,
                f"{self.feature} in each block against rest",
                " ".join(self._block_words()),
            ),
            caption,
        )

    def _block_words(self) -> Iterator[str]:
        for block in self.told.blocks:
            course = block.features.get(self.feature)
            if course is not None:
                yield f"{block.label}: median {self._own(course.spread.median)}."

    @staticmethod
    def _picture(svg: str, caption: str) -> Picture | None:
        return Picture(Markup(svg), caption) if svg else None

    @property
    def resting(self) -> list[Resting]:
        return list(self.told.resting.values())

    @property
    def features(self) -> list[dict[str, Any]]:
        """One table for each watched feature, the trained one first."""
        names = list(dict.fromkeys([f for f, _ in self.told.rules]))
        for more in (self.told.trained, self.told.level_feature):
            names += [more] if more and more not in names else []
        return [self._feature_table(n) for n in names if n in self.told.feature_names]

    def _feature_table(self, name: str) -> dict[str, Any]:
        told = self.told
        unit = unit_words(told.units.get(name, ""))
        rest = told.resting.get(name)
        rows = [self._feature_row(b, name) for b in told.blocks]
        rest_words: Any = Unknown("no baseline was learned")
        if rest is not None:
            after = f" {unit}" if unit else ""
            rest_words = (
                f"median {rounded(rest.centre)}{after}, one spread (MAD) to each side "
                f"{rounded(rest.low)} to {rounded(rest.high)}{after}; from "
                f"{rest.n / told.grid_hz:.0f} s clean"
            )
        directions = [d for f, d in told.rules if f == name]
        role = "shown"
        if directions:
            role = "rewarded" if name == self.feature else "a condition"
        return {
            "name": name,
            "unit": unit,
            "what": self._what(name),
            "role": f"{role}: {' and '.join(directions)}" if any(directions) else role,
            "rest": rest_words,
            "rows": rows,
        }

    def _what(self, name: str) -> str:
        """Return a feature in a few words: ``power, 12-15 Hz, at Cz``."""
        feature = self.protocol.features.get(name) if self.protocol else None
        if feature is None:
            return "definition not known"
        band = self._band(name)
        at = f"at {', '.join(feature.at)}" if feature.at else ""
        of = " and ".join(feature.of)
        parts = [feature.kind.replace("_", " ") + (f" of {of}" if of else ""), band, at]
        return ", ".join(p for p in parts if p)

    def _band(self, name: str) -> str:
        """Return the band in which a feature was measured: that of its filter, once one is told."""
        feature = self.protocol.features.get(name) if self.protocol else None
        if feature is None or feature.band_hz is None:
            return ""
        found = [f.band_hz for f in self.told.filters if f.feature == name and not f.beside]
        if found:
            return tenths(found[0])
        band = hz(feature.band_hz)
        return band if feature.iaf is None else f"around alpha, {band} at first"

    def _feature_row(self, block: Block, name: str) -> dict[str, Any]:
        course = block.features.get(name)
        no_clean = "no clean time"
        row: dict[str, Any] = {"label": block.label, "note": block.note, "invalid": block.invalid}
        if course is None:
            return row | dict.fromkeys(("median", "half", "change", "z"), Unknown(no_clean))
        s = course.spread
        change: Any = Unknown("no baseline")
        if course.change is not None:
            change = (
                f"{signed(100 * course.change, 0)} %" if course.relative else signed(course.change)
            )
        return row | {
            "median": rounded(s.median),
            "half": f"{rounded(s.q1)} to {rounded(s.q3)}",
            "change": change,
            "z": Unknown("no baseline") if course.z is None else signed(course.z),
        }

    @property
    def figure_rates(self) -> Picture | None:
        told = " ".join(
            f"{b.label}: alone {100 * (b.rate_alone or 0):.0f} %, "
            f"together {100 * (b.rate_joint or 0):.0f} %."
            for b in self.told.of(*COUNTED)
            if b.rate_alone is not None
        )
        return self._picture(
            figures.rates_by_block(self.told, "Reward rate in each block", told),
            "Share of clean time in which the reward condition held: alone, and together with all "
            "other conditions. In transfer blocks nothing was rewarded; the rate is what would "
            "have been.",
        )

    @property
    def rates(self) -> list[dict[str, Any]]:
        rows = []
        for b in self.told.of(*COUNTED):
            none = "no clean time"
            rate = per_minute([b]) if b.rewards is not None else None
            rows.append(
                {
                    "label": b.label,
                    "alone": percent(b.rate_alone, none),
                    "joint": percent(b.rate_joint, none),
                    "first": percent(b.rate_first_threshold, none),
                    "rewards": "none" if b.rewards is None else str(b.rewards),
                    "per_minute": "" if rate is None else f"{rate:.1f}",
                }
            )
        return rows

    @property
    def rewards_something(self) -> bool:
        """Whether there is something to reward; also where the protocol is not known."""
        protocol = self.protocol
        return protocol is None or protocol.reward is not None or protocol.trial is not None

    @property
    def compares(self) -> bool:
        """Whether rules compare features with thresholds."""
        return bool(self.told.rules) or self.protocol is None

    @property
    def no_threshold(self) -> str:
        """Why there is no history of thresholds."""
        if self.compares:
            return "No threshold was ever set."
        if self.protocol is not None and self.protocol.trial is not None:
            return "The tasks of the trials have thresholds that never move; see the trials."
        return "The protocol compares nothing with a threshold; the person sees the level alone."

    @property
    def threshold_moved(self) -> bool:
        return sum(s.rule == 0 for s in self.told.steps) > 1

    @property
    def steps(self) -> list[dict[str, Any]]:
        rows = []
        for s in self.told.steps:
            unit = unit_words(self.told.units.get(s.feature, ""))
            how = HOW.get(s.method, s.method)
            no_reason = "no event explains it" if not s.method else "no reason was given"
            rows.append(
                {
                    "time": clock(s.t_s),
                    "rule": f"{s.feature} {s.direction}".strip(),
                    "old": "—" if s.old is None else rounded(s.old),
                    "new": f"{rounded(s.new)} {unit}".strip(),
                    "how": how,
                    "reason": s.reason or (Unknown(no_reason) if s.method != "fixed" else ""),
                }
            )
        return rows

    @property
    def figure_course(self) -> Picture | None:
        rest = "Grey line: resting median. " if self.feature in self.told.resting else ""
        muscle = (
            "Below: muscle, the RMS of 30 Hz and more at the watched sites; the dotted line is "
            "where its gate closes. "
            if self.muscle_known
            else ""
        )
        return self._picture(
            figures.session_course(
                self.told,
                self.feature,
                f"{self.feature} over the whole session",
                "Feature, threshold and muscle over time; the tables give the numbers.",
            ),
            f"Blue: {self.feature}, clean time only, averaged over a second or more. Dashed: "
            f"threshold. {rest}{self._before_fit()}{muscle}Shaded: B baseline, T training, Tr "
            "transfer, Post rest. Hatched: held. Dark: missing samples.",
        )

    def _before_fit(self) -> str:
        parts = set(leaves(self.protocol, self.feature)) if self.protocol else set()
        if not any(f.fitted and f.feature in parts for f in self.told.filters):
            return ""
        return "In the baseline it is drawn as the fixed filter read it then. "

    # ------------------------------------------------------------ clean time, muscle

    @property
    def causes(self) -> list[tuple[str, float]]:
        return [(named(c), s) for c, s in by_cause(self.told.blocks)]

    @property
    def figure_clean(self) -> Picture | None:
        said = " ".join(
            f"{b.label}: {b.clean_s:.0f} s clean, {b.unclean_s:.0f} s not, {b.held_s:.0f} s held."
            for b in self.told.blocks
        )
        return self._picture(
            figures.clean_time(self.told, self.causes, "Clean time in each block", said),
            "Above: what became of each block's time. Below: why time was not clean; a moment with "
            "two causes counts for both.",
        )

    @property
    def cause_names(self) -> list[str]:
        return [named(c) for c, _ in by_cause(self.told.blocks)]

    @property
    def clean(self) -> list[dict[str, Any]]:
        order = [c for c, _ in by_cause(self.told.blocks)]
        return [
            {
                "label": b.label,
                "total": f"{b.total_s:.0f}",
                "clean": f"{b.clean_s:.0f}",
                "share": f"{100 * b.clean_s / b.total_s:.0f} %" if b.total_s > 0 else "—",
                "held": f"{b.held_s:.1f}",
                "causes": [f"{b.gated_s[c]:.1f}" if c in b.gated_s else "0" for c in order],
                "invalid": b.invalid,
                "end": ENDS.get(b.end, b.end) if b.end else Unknown("the recording ends here"),
                "note": b.note,
            }
            for b in self.told.blocks
        ]

    @property
    def muscle_known(self) -> bool:
        return any(b.muscle.median_uv is not None for b in self.told.blocks)

    @property
    def muscle_sites(self) -> str:
        return ", ".join(m[7:] for m in self.told.metric_names if m.startswith("muscle_"))

    @property
    def muscle(self) -> list[dict[str, Any]]:
        first = next((b.muscle.median_uv for b in self.told.blocks if b.kind == "baseline"), None)
        rows = []
        for b in self.told.blocks:
            m = b.muscle
            against: Any = Unknown("no baseline block")
            if m.median_uv is not None and first:
                against = f"{signed(100 * (m.median_uv / first - 1), 0)} %"
            course = b.features.get(self.feature)
            rows.append(
                {
                    "label": b.label,
                    "uv": Unknown(m.why) if m.median_uv is None else f"{m.median_uv:.2f}",
                    "against": against,
                    "feature": self._moved(course) if course else Unknown("no clean time"),
                    "r": Unknown(m.why) if m.r is None else signed(m.r),
                    "gated": percent(m.gated_share, m.why or "no muscle gate"),
                    "flags": _muscle_flags(b),
                }
            )
        return rows

    # ------------------------------------------------------------ delays, quality

    @property
    def certificate(self) -> str:
        """Which certificate of the room's delays the session rests on."""
        opened = [e.data for e in self.recording.events if e.kind == "window"]
        made = mapping(self.header.get("certificate"))
        return certificate_told(made, opened[-1] if opened else None)

    @property
    def transport(self) -> Any:
        t = self.told.transport
        return t if t.p50_ms is not None else Unknown(t.why)

    @property
    def transport_known(self) -> bool:
        return self.told.transport.p50_ms is not None

    @property
    def delays(self) -> list[tuple[str, Any, str, str]]:
        """(feature, estimator delay, how that is known, smoothing) of what is rewarded or shown."""
        told = self.told
        rules = [r.feature for r in self.protocol.rules] if self.protocol else []
        names = dict.fromkeys([*(rules or (f for f, _ in told.rules)), told.level_feature])
        rows = []
        for name in names:
            if not name:
                continue
            delay = told.delay_s.get(name)
            shown = Unknown("not in the recording") if delay is None else f"{1000 * delay:.0f} ms"
            feature = self.protocol.features.get(name) if self.protocol else None
            smooth = ""
            if feature is not None and feature.smooth_s:
                smooth = f"then smoothed over {feature.smooth_s:g} s"
            elif feature is not None and feature.of:
                smooth = self._smoothing_of_parts(name)
            rows.append((name, shown, self._how_known(name), smooth))
        return rows

    @property
    def sums(self) -> list[tuple[str, str, str]]:
        """(feature, from brain to picture, what is wrong with it), where both delays are known."""
        t, found = self.told.transport, []
        for name, *_ in self.delays:
            delay = self.told.delay_s.get(name)
            if delay is None or t.p50_ms is None or t.p95_ms is None:
                continue
            p50, p95 = (1000.0 * delay + ms for ms in (t.p50_ms, t.p95_ms))
            limit = delay_limit_ms(self.protocol, name)
            late = "" if limit is None or p95 <= limit else f"more than {limit:.0f} ms: too late"
            found.append((name, f"{p50:.0f} ms, 95 % within {p95:.0f} ms", late))
        return found

    @property
    def ages(self) -> list[tuple[str, Delay]]:
        """(whose, how old the newest sample was at each flip), of frames rather than of values."""
        seen = self.told.shown
        if seen.frames is None:
            return []
        pairs = (("of frames with a level", seen.live_age), ("of all frames", seen.age))
        return [(name, delay) for name, delay in pairs if delay.p50_ms is not None]

    @property
    def presented(self) -> list[tuple[str, Any]]:
        """(what, how much) of what reached the person."""
        told, seen = self.told, self.told.shown
        none = Unknown("nothing was presented")
        if not seen.rows:
            return [("Values shown to the person", none), *self._missed_row(), *self._sound_rows()]
        rows: list[tuple[str, Any]] = [("Values shown to the person", str(seen.values))]
        if seen.frames is not None:
            rows.append(("Frames", self._frames_words()))
        rows += self._missed_row()
        if not told.withheld:
            rows.append(("Rewards that began to show", str(seen.rewards)))
            if seen.level_s is not None and seen.neutral_s is not None:
                said = f"{lasting(seen.level_s)} with a level, {lasting(seen.neutral_s)} neutral"
                rows.append(("The picture", said))
        acted = [
            f"{k} {count(n, 'time')} ({count(frames, 'frame')})"
            for k, (n, frames) in seen.guard.items()
            if n
        ]
        rows.append(("Interventions of the flash and loudness guard", ", ".join(acted) or "none"))
        return [*rows, *self._sound_rows()]

    def _frames_words(self) -> str:
        seen = self.told.shown
        said = str(seen.frames)
        if seen.fps is not None:
            said += f", {seen.fps:.1f} per second"
        if seen.unreported:
            said += f"; {seen.unreported} of them not reported"
        return said

    @property
    def too_slow(self) -> str:
        """What is wrong with the rate of frames; empty when nothing is, or it is not known."""
        fps = self.told.shown.fps
        if fps is None or fps >= LEAST_FPS:
            return ""
        return f"only {fps:.1f} frames per second: less than {LEAST_FPS:.0f}"

    def _missed_row(self) -> Iterator[tuple[str, Any]]:
        told, seen = self.told, self.told.shown
        if told.missed_frames is None:
            yield "Missed flips", Unknown("the recording holds no count of frames")
            return
        said = str(told.missed_frames)
        if seen.missed is not None and seen.counted not in (None, seen.missed):
            said += f" (by the times of the frames {seen.missed}, by the window {seen.counted})"
        if seen.missed_share is not None:
            said += f", {100.0 * seen.missed_share:.2g} % of the flips that should have been"
        worst = max(told.blocks, key=lambda b: b.missed_flips or 0, default=None)
        if worst is not None and worst.missed_flips:
            said += f"; most in {worst.label}: {worst.missed_flips}"
        if seen.missed is not None and not seen.period_told:
            said += (
                "; against the median wait, which hides steady losses: the window did not say how "
                "long a frame should last"
            )
        yield "Missed flips", said

    def _sound_rows(self) -> Iterator[tuple[str, Any]]:
        sound = self.told.sound
        if sound.device is not None and sound.device.casefold() in UNHEARD:
            none = Unknown(f"no sound device: {sound.device} driver")
            yield "Sound waiting in the device", none
        else:
            by = f" ({sound.device})" if sound.device else ""
            if sound.buffer_ms:
                yield "Sound waiting in the device", f"up to {sound.buffer_ms:.0f} ms{by}"
            if sound.delay_ms is not None:
                said = f"{sound.delay_ms:.0f} ms, the median"
                yield "From a change to the device, measured", said
        adult, child = (sound.share_of_week(x) for x in (ADULT_PA2H, CHILD_PA2H))
        if sound.dose_pa2h is None or adult is None or child is None:
            yield "Sound dose", Unknown("not calibrated, or there was no sound")
            return
        yield (
            "Sound dose (WHO-ITU H.870)",
            f"{rounded(sound.dose_pa2h, 2)} Pa²h: {rounded(100.0 * adult, 2)} % of an adult's "
            f"weekly allowance, {rounded(100.0 * child, 2)} % of a child's",
        )

    def _smoothing_of_parts(self, name: str) -> str:
        assert self.protocol is not None
        parts = list(dict.fromkeys(leaves(self.protocol, name)))
        longest = max((self.protocol.features[p].smooth_s or 0.0 for p in parts), default=0.0)
        return f"{' and '.join(parts)} smoothed over {longest:g} s" if longest else ""

    def _how_known(self, name: str) -> str:
        """Return how a feature's estimator delay is known."""
        told = self.told
        parts = set(leaves(self.protocol, name)) if self.protocol else set()
        mine = [f for f in told.filters if f.feature in parts and not f.beside]
        if name not in told.delay_s:
            return ""
        if any(f.fitted for f in mine):
            measured = all(f.best_lag_s is not None for f in mine if f.fitted)
            return "measured on the baseline" if measured else "asked for, not measured"
        return "of the fixed filter"

    @property
    def quality(self) -> list[tuple[str, Any]]:
        told = self.told
        held = sum(h.seconds for h in told.holds)
        missing = sum(g[1] for g in told.gaps)
        stream = self.recording.spec
        return [
            ("Amplifier", f"{stream.name}, {len(stream.channels)} columns, {stream.rate_hz:g} Hz"),
            ("Reference", self._montage("reference")),
            ("Samples recorded", f"{len(self.recording.samples)}"),
            ("Gaps", f"{count(len(told.gaps), 'gap')}, {rounded(missing)} s missing" if told.gaps
             else "none"),
            ("Holds", f"{count(len(told.holds), 'hold')}, {lasting(held)}" if told.holds
             else "none"),
        ]  # fmt: skip

    def _montage(self, key: str) -> Any:
        montage = self.header.get("montage")
        return text_or_unknown(montage.get(key) if isinstance(montage, Mapping) else None)

    @property
    def interruptions(self) -> list[dict[str, Any]]:
        """Holds and gaps, in order."""
        rows = [
            (h.start_s, "hold", named(h.cause), h.sentence, h.seconds,
             "" if h.end_s is not None else "never resumed")
            for h in self.told.holds
        ]  # fmt: skip
        rows += [(s, "gap", cause, "", seconds, "") for s, seconds, cause in self.told.gaps]
        return [
            {"time": clock(t), "kind": kind, "cause": cause, "sentence": sentence,
             "seconds": f"{seconds:.1f} s", "note": note}
            for t, kind, cause, sentence, seconds, note in sorted(rows)
        ]  # fmt: skip

    @property
    def electrodes(self) -> list[tuple[str, str]]:
        """(electrode, what was wrong and when), from every event that names an electrode."""
        found: dict[str, dict[str, list[str]]] = {}

        def add(name: Any, said: str, seq: int) -> None:
            times = found.setdefault(str(name), {}).setdefault(said.strip(), [])
            times.append(self._time(seq))

        for event in self.recording.events:
            d = event.data
            if event.kind == "electrode" and d.get("light") != "green":
                add(d.get("name"), f"{d.get('light')}: {d.get('why') or 'no reason'}", event.seq)
            elif event.kind == "mark_bad":
                add(d.get("channel"), f"marked bad: {d.get('reason') or 'no reason'}", event.seq)
            elif event.kind == "quality" and isinstance(d.get("electrodes"), Mapping):
                for name, light in d["electrodes"].items():
                    if isinstance(light, (list, tuple)) and light and light[0] != "green":
                        why = light[1] if len(light) > 1 else "no reason"
                        add(name, f"{light[0]}: {why}", event.seq)
        return [
            (name, "; ".join(f"{said} (at {_times(times)})" for said, times in warned.items()))
            for name, warned in found.items()
        ]

    @property
    def montage_warnings(self) -> list[str]:
        montage = self.header.get("montage")
        found = montage.get("warnings") if isinstance(montage, Mapping) else None
        return (
            [f"{str(w)[:1].upper()}{str(w)[1:]}" for w in found]
            if isinstance(found, (list, tuple))
            else []
        )

    def _time(self, seq: int) -> str:
        return clock(seq / self.told.rate_hz) if self.told.rate_hz else "?"

    @property
    def timeline(self) -> list[tuple[str, str, str]]:
        rows = []
        for event in self.recording.events:
            said = happened.spoken(event)
            if said is not None:
                rows.append((event.seq, self._time(event.seq), *said))
        rows.sort(key=lambda row: row[0])
        return [row[1:] for row in rows]

    @property
    def markers(self) -> list[tuple[str, int]]:
        return [(name, len(found)) for name, found in self.recording.markers.items()]

    # ------------------------------------------------------------ words

    @property
    def evidence(self) -> Any:
        return self.protocol.evidence if self.protocol else None

    @property
    def grade_words(self) -> str:
        return GRADES.get(self.protocol.evidence.grade, "") if self.protocol else ""

    @property
    def methods(self) -> Any:
        if self.protocol is None:
            return Unknown("the recording holds no protocol that this version understands")
        return " ".join([self._methods(self.protocol), *self._methods_condition()])

    def _methods_condition(self) -> Iterator[str]:
        """Yield what a paper has to say of what was presented."""
        if self.told.sham:
            yield (
                "This was a session of a control condition: what was presented was "
                f"{self.condition}, with the participant's own artefacts superimposed. Rates and "
                "features are those of the participant."
            )
        elif self.unveiled:
            yield "The session was blinded; what was presented was the participant's own feedback."

    def _methods(self, protocol: Protocol) -> str:
        told, stream = self.told, self.recording.spec
        train = told.of(PhaseKind.TRAIN)
        total = sum(b.total_s for b in train)
        clean = sum(b.clean_s for b in train)
        delay = told.delay_s.get(self.feature)
        version = self.header.get("neuroloop")
        reference = self._montage("reference")
        mains = self.header.get("mains_hz")
        return methods_paragraph(
            without_controls(protocol),
            {
                "amplifier": stream.name or None,
                "n_channels": sum(c.kind == "eeg" for c in stream.channels) or None,
                "rate_hz": stream.rate_hz,
                "reference": reference if isinstance(reference, str) else None,
                "mains_hz": mains if isinstance(mains, (int, float)) else None,
                "software": f"Neuroloop {version}" if version else None,
                "estimator_delay_ms": None if delay is None else 1000.0 * delay,
                "delay_measured": self._how_known(self.feature).startswith("measured"),
                "filters": self._filter_facts(),
                "alpha": None if told.alpha is None else plain(told.alpha),
                "eog": self._eog_fact(),
                "transport_ms": told.transport.p50_ms,
                "trained_clean_s": round(clean, 1) if train else None,
                "gated_share": 1.0 - clean / total if total > 0 else None,
                "test_session": self.test_session,
            },
        )

    def _filter_facts(self) -> list[dict[str, Any]] | None:
        """Return what the Methods paragraph needs of every filter; None when it is not known."""
        if not self.told.filters and self.recording.damage:
            return None  # the events that told may be lost
        return [
            {
                "feature": f"{f.feature} (beside)" if f.beside else f.feature,
                "band_hz": f.band_hz,
                "fitted": f.fitted,
                "fit": f.fit,
                "reason": f.reason,
                "delay_ms": None if f.delay_s is None else 1000.0 * f.delay_s,
                "taps_s": f.taps_s,
                "clean_s": f.clean_s,
                "target": f.target,
                "reject_hz": f.reject_hz,
                "ssd": any("weights" in row for row in f.spatial),
            }
            for f in self.told.filters
            if not f.feature.startswith(PREFIX)
        ]

    def _eog_fact(self) -> str | None:
        eyes = self.told.eyes
        if not eyes.get("eog"):
            return None
        return ", ".join(str(e) for e in eyes["eog"])

    @property
    def provenance(self) -> list[tuple[str, Any]]:
        header = self.header
        versions = header.get("versions")
        rows: list[tuple[str, Any]] = [
            ("Recording", self.recording.path.name),
            ("Recording format", text_or_unknown(header.get("recording_format"))),
            ("Neuroloop", text_or_unknown(header.get("neuroloop"))),
            ("Protocol", text_or_unknown(self.protocol.name if self.protocol else None)),
            ("Protocol, SHA-256", text_or_unknown(header.get("protocol_sha256"))),
            ("Room, SHA-256", text_or_unknown(header.get("room_sha256"))),
            ("Stream", f"{self.recording.spec.source_id} on {self.recording.spec.host}"),
            ("Grid", f"{self.told.grid_hz:g} Hz"),
        ]
        rows += self.agreed
        for key in ("machine", "window"):
            value = header.get(key)
            if isinstance(value, Mapping):
                said = "; ".join(f"{k}: {_value(v)}" for k, v in value.items())
                rows.append((key.capitalize(), said or Unknown("empty")))
        if isinstance(versions, Mapping):
            said = ", ".join(f"{k} {v}" for k, v in versions.items())
            rows.append(("Versions", said or Unknown("empty")))
        else:
            rows.append(("Versions", Unknown("not in the recording")))
        return rows

    @property
    def protocol_text(self) -> str:
        text = self.header.get("protocol_text")
        return text if isinstance(text, str) else ""


def _muscle_flags(block: Block) -> list[str]:
    """Return why muscle may stand behind a block, in a few words each."""
    m = block.muscle
    flags = ["goes with muscle"] if m.flagged else []
    flags += ["rose with muscle"] if m.rose and not m.flagged else []
    return [*flags, "muscle gated much"] if m.much else flags


def _starts_words(starts: Sequence[accounts.Started]) -> str:
    """Return who began the blocks that waited, and how long they waited."""
    who = {
        "person": "the person",
        "operator": "the operator",
        "nobody": "nobody, the time was over",
    }
    said = []
    for s in starts:
        after = "" if s.waited_s is None else f" after {lasting(s.waited_s)}"
        said.append(f"{s.block}: {who.get(s.by, s.by)}{after}")
    return "; ".join(said)


def _times(times: Sequence[str]) -> str:
    """Return points in time, the first few when they are many."""
    if len(times) <= 8:
        return ", ".join(times)
    return f"{', '.join(times[:6])} and {len(times) - 6} more times"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " x ".join(str(v) for v in value)
    return "none" if value is None else str(value)
