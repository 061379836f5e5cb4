"""What each item of the CRED-nf checklist is answered with, from the sessions and the study file.

One function for each item. An answer holds only what a header, an event, a table, a form or the
study file says; where they are silent the text is empty and `todo` says what would fill it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.bang import bang, tally
from engine.features import FEATURES
from engine.figures import unit_words
from engine.forms import Filled
from engine.frames import PhaseKind, StreamSpec
from engine.grid import mapping, number, without_controls
from engine.happened import named
from engine.learned import MUSCLE_FLAG
from engine.measures import Block, Learned
from engine.study import CONTROLS, LoadedStudy, Study
from engine.words import count, lasting, rounded, signed
from protocols.describe import describe
from protocols.phrases import listed
from protocols.sham import KINDS

__all__ = ["ANSWERS", "Answer", "Case", "Session", "Visit"]

STUDY, PROTOCOL, RECORDING, FORMS = "study file", "protocol", "recording", "forms"
MOST_LINES = 24  # of sessions told one by one; more would hide the rest
MOST_QUOTES = 12

_BLINDING = {
    "none": "Nobody: everybody may know the arms.",
    "single": "Single: participants do not know their arm.",
    "double": "Double: neither participants nor operators know the arm.",
}
_LATER = "What was fitted and learned for each person follows after unblinding."
_SEALED = (
    "The features of a blinded session are not in its recording but in its sealed research log."
)
_HELD_BACK = (
    "Withheld while the study is blinded: beside the rewards it could tell an arm. Write the "
    "checklist again after unblinding."
)


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Answer:
    """Text of an answer (empty: blank), where it comes from, and what is still to do."""

    text: str = ""
    sources: tuple[str, ...] = ()
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """Time of one block, and what artefacts took of it."""

    kind: str
    total_s: float
    clean_s: float
    gated_s: Mapping[str, float]


@dataclass(frozen=True)
class Session:
    """What the checklist needs of one recording.

    Parameters
    ----------
    number : int
        In the list of sessions, from 1.
    file : str
        Name of the recording.
    header : mapping
    spec : StreamSpec
    told : Learned
        Without its rows.
    forms : tuple of Filled
    instructions : tuple of str
        What the person was told before training and transfer blocks.
    visits : tuple of Visit
        Blocks, also of a session whose features are not in the recording.
    n_features, n_presented, n_samples : int
        Rows with the value of a feature, frames (or values) presented, and samples.
    displayed : tuple of str
        Columns of the table of what was presented.
    damage : str or None
    answers : tuple of (str, str)
        Block and answer to the question after it, as typed in the session.
    """

    number: int
    file: str
    header: Mapping[str, Any]
    spec: StreamSpec
    told: Learned
    forms: tuple[Filled, ...]
    instructions: tuple[str, ...]
    visits: tuple[Visit, ...]
    n_features: int
    n_presented: int
    n_samples: int
    displayed: tuple[str, ...]
    damage: str | None
    answers: tuple[tuple[str, str], ...] = ()

    @property
    def started(self) -> str:
        """When, ISO 8601; empty when unknown."""
        return str(self.header.get("started") or "")

    @property
    def client(self) -> str:
        """Who, as the operator named them."""
        return str(self.header.get("client") or "somebody")

    @property
    def protocol_name(self) -> str:
        """Name of the protocol, also of one that this version does not understand."""
        return str(mapping(self.header.get("protocol")).get("name") or "unknown")

    @property
    def study_name(self) -> str:
        """Name of the study that the header names; empty when it names none."""
        study = self.header.get("study")
        return str(mapping(study).get("name") or "") if not isinstance(study, str) else study

    @property
    def sealed(self) -> bool:
        """Whether its features went into a sealed research log, not into the recording."""
        return _blinded(self.header) and not self.n_features

    @property
    def control(self) -> str:
        """What was presented instead of the person's own feedback, in words; else empty."""
        kind = self.told.presented_kind
        return KINDS.get(kind, kind.replace("_", " ")) if self.told.sham else ""

    def of(self, *kinds: PhaseKind) -> tuple[Block, ...]:
        """Return the blocks of some kinds."""
        return self.told.of(*kinds)


@dataclass(frozen=True)
class Case:
    """Everything an answer may look at.

    Parameters
    ----------
    sessions : tuple of Session
    loaded : LoadedStudy or None
    arms : mapping of str to str, or None
        Participant -> arm; None before unblinding.
    """

    sessions: tuple[Session, ...]
    loaded: LoadedStudy | None
    arms: Mapping[str, str] | None

    @property
    def study(self) -> Study | None:
        """The study, if there is a file of it."""
        return None if self.loaded is None else self.loaded.study

    @property
    def blind(self) -> bool:
        """Whether what could tell an arm must not be written."""
        if self.arms is not None:
            return False
        if any(s.header.get("unveiled") for s in self.sessions):
            return any(_blinded(s.header) for s in self.sessions)
        if self.study is not None and self.study.blinded:
            return True
        return any(_blinded(s.header) for s in self.sessions)

    @property
    def protocol(self) -> Any:
        """The protocol of the sessions; None when it is not known."""
        found = (s.told.protocol for s in self.sessions if s.told.protocol is not None)
        return next((without_controls(p) for p in found), None)

    @cached_property
    def says(self) -> Mapping[str, tuple[str, ...]]:
        """The protocol in plain sentences, by heading."""
        if self.protocol is None:
            return {}
        units = {k: v.unit for k, v in FEATURES.items()}
        return {s.title: s.lines for s in describe(self.protocol, units=units)}

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody of whom there is a session."""
        return tuple(dict.fromkeys(s.client for s in self.sessions))

    @property
    def features(self) -> frozenset[str]:
        """Names of features, which keep their spelling."""
        return frozenset(n for s in self.sessions for n in s.told.feature_names)

    def name(self, session: Session) -> str:
        """Return a session's name in a sentence."""
        if len(self.people) < 2:
            return f"session {session.number}"
        mine = [s.number for s in self.sessions if s.client == session.client]
        return f"{session.client}, session {mine.index(session.number) + 1}"

    def filled(self, form: str) -> Iterator[tuple[Session, Filled]]:
        """Yield every filled form of a name, in order."""
        for session in self.sessions:
            for filled in session.forms:
                if filled.form == form:
                    yield session, filled

    def each(self, words: Callable[[Session], str]) -> list[str]:
        """Return what is said of the sessions: once where it is the same in all that say it."""
        groups: dict[str, list[Session]] = {}
        for session in self.sessions:
            if said := words(session):
                groups.setdefault(said, []).append(session)
        if len(groups) == 1 and len(next(iter(groups.values()))) == len(self.sessions):
            return list(groups)
        made = [f"{self._names(of)}: {said}" for said, of in groups.items()]
        more = len(made) - MOST_LINES
        return made if more <= 0 else [*made[:MOST_LINES], f"{more} more in their own reports"]

    def _names(self, sessions: Sequence[Session]) -> str:
        if len(sessions) == 1 or len(self.people) > 1:
            said = listed([self.name(s) for s in sessions[:8]])
            return said if len(sessions) <= 8 else f"{said} and {len(sessions) - 8} more"
        return f"sessions {listed([str(s.number) for s in sessions])}"


def _blinded(header: Mapping[str, Any]) -> bool:
    if header.get("unveiled"):
        return False
    study = mapping(header.get("study"))
    return bool(header.get("blinded") or study.get("blinded")) or study.get("blinding") in (
        "single",
        "double",
    )


def _text(lines: Iterable[str], names: Collection[str] = ()) -> str:
    """Return sentences as lines, with a capital and a full stop; names and addresses stay."""
    out = []
    for line in lines:
        words = line.split()
        if not words:
            continue
        said = line.strip()
        if words[0].rstrip(":,;") not in names and "://" not in words[0]:
            said = said[:1].upper() + said[1:]
        out.append(said if said[-1] in ".!?”:" or "://" in words[-1] else f"{said}.")
    return "\n".join(out)


def _sources(**said: Any) -> tuple[str, ...]:
    names = {"study": STUDY, "protocol": PROTOCOL, "recording": RECORDING, "forms": FORMS}
    return tuple(name for key, name in names.items() if said.get(key))


def _from_study(key: str, what: str) -> Callable[[Case], Answer]:
    """Return the answer to an item that only the study file can give."""

    def answer(case: Case) -> Answer:
        value = None if case.study is None else getattr(case.study, key)
        if value is None:
            return Answer(todo=_write(case, key, what))
        said = ("Yes" if value else "No") if isinstance(value, bool) else str(value)
        return Answer(_text([said]), (STUDY,))

    return answer


def _write(case: Case, key: str, what: str) -> str:
    where = "in the study file" if case.study is not None else "in a study file and give it with "
    return f"Write `{key}:` ({what}) {where}{'' if case.study is not None else '--study'}."


# ---------------------------------------------------------------- 1, 2: before, control groups


def _sample(case: Case) -> Answer:
    study = case.study
    if study is None or study.sample_plan is None:
        return Answer(todo=_write(case, "sample_plan", "how many people, and why so many"))
    planned = f"{count(study.sessions, 'session')} planned for every participant"
    return Answer(_text([study.sample_plan, planned]), (STUDY,))


def _arms(case: Case) -> Answer:
    study = case.study
    if study is None:
        return Answer(todo=_write(case, "arms", "each with a name and a control condition"))
    said = []
    for arm in study.arms:
        words = CONTROLS[arm.control].words
        given = words if words.startswith("none") else f"feedback is {words}"
        said.append(f"arm {arm.name} ({arm.control.replace('_', ' ')}): {given}")
    if len({a.weight for a in study.arms}) > 1:
        ratio = " to ".join(str(a.weight) for a in study.arms)
        said.append(f"people are allocated {ratio}")
    todo = ""
    if len(study.arms) == 1:
        said.append("there is no control group")
        todo = "Without a control group, what is found cannot be put down to the feedback."
    if case.arms is not None:
        people = [case.arms.get(p, "unknown") for p in case.people]
        n = {a: people.count(a) for a in dict.fromkeys(people)}
        said.append("in these recordings: " + listed([f"{a} {count(k, 'person')}"
                    .replace("persons", "people") for a, k in n.items()]))  # fmt: skip
    return Answer(_text(said), _sources(study=True, recording=case.arms is not None), todo)


def _blinding(case: Case) -> Answer:
    if case.study is None:
        return Answer(todo=_write(case, "blinding", "none, single or double"))
    return Answer(_BLINDING[case.study.blinding], (STUDY,))


def _stayed_blind(case: Case) -> Answer:
    study = case.study
    if study is not None and not study.blinded:
        return Answer("Nobody was blind by design.", (STUDY,))
    said: list[str] = []
    todo = ""
    for part in ("participant", "operator"):
        last = {
            s.client: str(f.answers[f"{part}_guess"])
            for s, f in case.filled("blinding")
            if f.answers.get(f"{part}_guess")
        }
        if last:
            said += _guesses(case, part, last)
    if not said:
        todo = (
            "Ask after the first and the last session: `neuroloop ask blinding RECORDING`; the "
            "guesses are kept beside the recording."
        )
        return Answer(todo=todo)
    if case.arms is None:
        todo = "Bang's index of each arm follows after unblinding."
    return Answer(_text(said), _sources(forms=True, study=case.arms is not None), todo)


def _guesses(case: Case, part: str, last: Mapping[str, str]) -> Iterator[str]:
    """Yield the table of last guesses, and Bang's index where the arms are known."""
    arms = case.arms or {}
    table = tally((arms.get(person, "") if arms else "", guess) for person, guess in last.items())
    whose = "guess of the participants" if part == "participant" else "guess of the operator"
    for row in table:
        at = f" in arm {row.arm}" if row.arm else ""
        yield (
            f"last {whose}{at} ({count(row.n, 'answer')}): training {row.training}, placebo "
            f"{row.placebo}, do not know {row.do_not_know}"
        )
    if not arms or case.study is None:
        return
    controls = {a.name: a.control for a in case.study.arms}
    for made in bang([row for row in table if row.arm in controls], controls):
        if made.index is None:
            yield f"Bang's index of arm {made.arm} is not known: {made.why}"
        elif made.low is None or made.high is None:
            yield (
                f"Bang's index of arm {made.arm}: {signed(made.index)} (limits not known: "
                f"{made.why})"
            )
        else:
            yield (
                f"Bang's index of arm {made.arm}: {signed(made.index)} (95 % confidence limits "
                f"{signed(made.low)} to {signed(made.high)}; 0 is chance, 1 all right)"
            )


def _standard(case: Case) -> Answer:
    study = case.study
    arms = [] if study is None else [a for a in study.arms if a.control == "treatment_as_usual"]
    said = [f"arm {a.name} is {CONTROLS[a.control].words.removeprefix('none: ')}" for a in arms]
    if study is not None and study.standard_of_care:
        said.insert(0, study.standard_of_care)
    if not said:
        what = "the standard treatment it is compared with, or why that does not apply"
        return Answer(todo=_write(case, "standard_of_care", what))
    return Answer(_text(said), (STUDY,))


# ---------------------------------------------------------------- 3: control measures


def _psychosocial(case: Case) -> Answer:
    told = None if case.study is None else case.study.psychosocial
    said = [told] if told else []
    expectancy = [f for _, f in case.filled("expectancy")]
    before = [f for _, f in case.filled("before")]
    if expectancy:
        scores = [
            f"{name} {rounded(statistics.median(f.scores[name] for f in expectancy), 2)}"
            for name in ("credibility", "expectancy")
            if all(name in f.scores for f in expectancy)
        ]
        said.append(
            f"credibility and expectancy were asked {count(len(expectancy), 'time')} (six items "
            "after Devilly & Borkovec 2000, own wording, each moved to 0 to 1; median: "
            f"{listed(scores)})"
        )
    if before:
        asked = []
        for key in ("motivation", "fatigue", "mood"):
            values = [v for f in before if isinstance(v := f.answers.get(key), int)]
            if values:
                asked.append(
                    f"{key} {statistics.median(values):g} ({min(values)} to {max(values)})"
                )
        said.append(
            f"before the session, {count(len(before), 'time')}, from 0 to 10, median and range: "
            f"{listed(asked)}"
        )
    if not said:
        return Answer(
            todo="Ask `neuroloop ask expectancy RECORDING` and `neuroloop ask before RECORDING`, "
            "or write `psychosocial:` in the study file."
        )
    forms = bool(expectancy or before)
    todo = "" if forms else "No form about it lies beside these recordings."
    return Answer(_text(said), _sources(study=told, forms=forms), todo)


def _strategy_given(case: Case) -> Answer:
    study = case.study
    said = [study.strategy] if study is not None and study.strategy else []
    told = case.each(lambda s: " ".join(f"“{t}”" for t in s.instructions))
    said += [f"told before the blocks, as it was shown: {t}" if t[:1] == "“"
             else f"told before the blocks, as it was shown; {t}" for t in told]  # fmt: skip
    if not said:
        return Answer(todo=_write(case, "strategy", "what people were told to do"))
    todo = ""
    if study is None or not study.strategy:
        todo = _write(case, "strategy", "whether this, and what was said beside it, is a strategy")
    return Answer(_text(said), _sources(study=study and study.strategy, recording=told), todo)


def _strategies(case: Case) -> Answer:
    quotes = []
    for session, filled in case.filled("strategy"):
        text = filled.answers.get("strategy")
        if isinstance(text, str):
            block = f", block {filled.block}" if filled.block is not None else ""
            quotes.append(f"{case.name(session)}{block}: “{' '.join(text.split())}”")
    forms = bool(quotes)
    quotes += [
        f"{case.name(session)}, {block.lower()}: “{' '.join(said.split())}”"
        for session in case.sessions
        for block, said in session.answers
    ]
    if not quotes:
        return Answer(
            todo="Ask `neuroloop ask strategy RECORDING --block N` after the blocks, in people's "
            "own words."
        )
    more = len(quotes) - MOST_QUOTES
    shown = quotes[:MOST_QUOTES] + ([f"{more} more in the files beside the recordings"]
                                    if more > 0 else [])  # fmt: skip
    in_session = any(s.answers for s in case.sessions)
    return Answer(_text(shown), _sources(recording=in_session, forms=forms))


def _processing(case: Case) -> Answer:
    protocol = case.protocol
    if protocol is None:
        return _no_protocol()
    said = case.each(_signal_path)
    pauses = case.says.get("What can pause it", ())
    said += ["what pauses feedback and rewards:", *(f"- {p}" for p in pauses)] if pauses else []
    said += case.each(_learned_limits)
    said += case.each(_eyes)
    said += case.each(
        lambda s: (
            f"the protocol's file has the SHA-256 {s.header['protocol_sha256']}"
            if s.header.get("protocol_sha256")
            else ""
        )
    )
    return Answer(_text(said), (PROTOCOL, RECORDING))


def _no_protocol() -> Answer:
    return Answer(
        todo="The recording holds no protocol that this version understands; use the version of "
        "Neuroloop that recorded it."
    )


def _signal_path(session: Session) -> str:
    protocol = session.told.protocol
    if protocol is None:
        return ""
    condition = protocol.condition
    reference = mapping(session.header.get("montage")).get("reference")
    mains = number(session.header.get("mains_hz"))
    at = f" at {mains:g} Hz" if mains is not None else ""
    parts = [
        f"reference {reference}" if reference else "reference not known",
        f"high-pass {condition.high_pass_hz:g} Hz",
        f"mains removed by a notch{at}" if condition.mains == "notch" else "mains left in",
    ]
    return f"online, causally: {', '.join(parts)}"


def _learned_limits(session: Session) -> str:
    limits = session.told.muscle_limits_uv
    if not limits:
        return ""
    return "limit of the muscle gate, learned from the baseline: " + listed(
        [f"{rounded(v)} µV at {site}" for site, v in limits.items()]
    )


def _eyes(session: Session) -> str:
    eog = session.told.eyes.get("eog")
    if not isinstance(eog, (list, tuple)) or not eog:
        return ""
    return f"blinks were regressed out by {listed([str(e) for e in eog])}, fitted to the baseline"


def _artefacts(case: Case) -> Answer:
    said: list[str] = []
    for arm, sessions in _by_arm(case):
        kinds = []
        for kind, word in (
            ("baseline", "baseline"),
            ("train", "training"),
            ("transfer", "transfer"),
            ("post", "rest afterwards"),
        ):
            visits = [v for s in sessions for v in s.visits if v.kind == kind]
            total = sum(v.total_s for v in visits)
            if total > 0:
                unclean = 100 * sum(v.total_s - v.clean_s for v in visits) / total
                kinds.append(f"{word} {unclean:.1f} % of {lasting(total)}")
        if not kinds:
            continue
        whose = f" in arm {arm}" if arm else ""
        said.append(f"time that artefacts took{whose}: {listed(kinds)}")
        said += _causes(sessions)
        blocks = [b for s in sessions for b in s.of(PhaseKind.TRAIN) if b.muscle.r is not None]
        if blocks and not case.blind:
            flagged = sum(b.muscle.flagged for b in blocks)
            said.append(
                f"the trained feature went along with muscle (correlation above {MUSCLE_FLAG}) in "
                f"{flagged} of {count(len(blocks), 'training block')} with enough clean time to "
                "tell"
            )
    if not said:
        return Answer(todo="No block was recorded.")
    todo = ""
    if case.study is not None and len(case.study.arms) > 1 and case.arms is None:
        todo = "Compare the arms after unblinding."
    return Answer(_text(said), (RECORDING,), todo)


def _by_arm(case: Case) -> list[tuple[str, list[Session]]]:
    if case.arms is None:
        return [("", list(case.sessions))]
    groups: dict[str, list[Session]] = {}
    for session in case.sessions:
        groups.setdefault(case.arms.get(session.client, "unknown"), []).append(session)
    return list(groups.items())


def _causes(sessions: Sequence[Session]) -> Iterator[str]:
    seconds: dict[str, float] = {}
    for visit in (v for s in sessions for v in s.visits if v.kind == "train"):
        for cause, s in visit.gated_s.items():
            seconds[cause] = seconds.get(cause, 0.0) + s
    if seconds:
        order = sorted(seconds.items(), key=lambda item: -item[1])
        yield "in training by cause (causes overlap): " + listed(
            [f"{named(c)} {s:.1f} s" for c, s in order]
        )


# ---------------------------------------------------------------- 4: feedback


def _feature(case: Case) -> Answer:
    if case.protocol is None:
        return _no_protocol()
    said = [*case.says.get("What is measured", ())]
    said += case.each(lambda s: f"values were computed {s.told.grid_hz:g} times a second")
    said += case.each(_alpha)
    if not case.blind:
        said += case.each(_filters)
        said += case.each(_delays)
    todo = _LATER if case.blind else ""
    return Answer(_text(said, case.features), (PROTOCOL, RECORDING), todo)


def _filters(session: Session) -> str:
    fitted = [f for f in session.told.filters if f.fitted and not f.beside]
    kept = [f for f in session.told.filters if not f.fitted and not f.beside and f.reason]
    parts = []
    for f in fitted:
        lag = "" if f.best_lag_s is None else f", {1000 * f.best_lag_s:.0f} ms measured"
        asked = "" if f.delay_s is None else f" for {1000 * f.delay_s:.0f} ms{lag}"
        on = "" if f.clean_s is None else f" to {f.clean_s:.0f} s of clean rest"
        parts.append(f"{f.feature} ({f.band_hz[0]:.3g}-{f.band_hz[1]:.3g} Hz){on}{asked}")
    said = f"filters fitted: {'; '.join(parts)}" if parts else ""
    if kept:
        why = "; ".join(f"{f.feature} ({f.reason.rstrip('.')})" for f in kept)
        said += f"{'. Kept' if said else 'filters kept'} fixed: {why}"
    return said


def _alpha(session: Session) -> str:
    alpha = session.told.alpha
    if alpha is None:
        return ""
    how = {"course": "of the first session", "fallback": "stands in; none was found"}
    return (
        f"individual alpha frequency {alpha.used_hz:.3g} Hz "
        f"({how.get(alpha.source, 'measured in the session')})"
    )


def _delays(session: Session) -> str:
    trained, transport = session.told.trained, session.told.transport
    delay = session.told.delay_s.get(trained or "")
    parts = [f"estimator {1000 * delay:.0f} ms"] if delay is not None else []
    if transport.p50_ms is not None:
        parts.append(
            f"from sample to screen {transport.p50_ms:.0f} ms (median; 95 % within "
            f"{transport.p95_ms:.0f} ms)"
        )
    return f"delay of {trained}: {listed(parts)}" if parts else ""


def _schedule(case: Case) -> Answer:
    if case.protocol is None:
        return _no_protocol()
    said = [*case.says.get("What is rewarded", ())]
    measured = [] if case.blind else [*case.each(_thresholds), *case.each(_moved)]
    said += measured
    reason = None if case.study is None else case.study.schedule_reason
    if reason:
        said.append(f"why: {reason}")
    todo = [] if reason else [_write(case, "schedule_reason", "why it is rewarded in this way")]
    todo += [_LATER] if case.blind else []
    sources = _sources(study=reason, protocol=True, recording=measured)
    return Answer(_text(said, case.features), sources, " ".join(todo))


def _thresholds(session: Session) -> str:
    first = {s.rule: s for s in reversed(session.told.steps)}
    parts = []
    for _, step in sorted(first.items()):
        unit = unit_words(session.told.units.get(step.feature, ""))
        parts.append(f"{step.feature} {step.direction} {rounded(step.new)} {unit}".strip())
    return f"first thresholds: {listed(parts)}" if parts else ""


def _moved(session: Session) -> str:
    later = [s.method or "unknown" for s in session.told.steps if s.old is not None]
    if not later:
        return ""
    by = {"operator": "by the operator"}
    counts = [
        f"{later.count(m)} {by.get(m, 'by the rule ' + m.replace('_', ' '))}"
        for m in dict.fromkeys(later)
    ]
    return f"changes of a threshold: {listed(counts)}"


def _modality(case: Case) -> Answer:
    if case.protocol is None:
        return _no_protocol()
    perceived = case.says.get("What the person perceives", ())
    said = [line for line in perceived if not line.startswith("Told:")]  # that is 3b
    window = case.each(_window)
    presented = case.each(_presented)
    said += [*window, *presented]
    return Answer(_text(said), _sources(protocol=True, recording=[*window, *presented]))


def _presented(session: Session) -> str:
    """Return which condition was presented, where that may be told and is not the real one."""
    if not session.control:
        return ""
    return (
        f"control condition: level and rewards presented were {session.control}, with the person's "
        "own gates over them"
    )


def _window(session: Session) -> str:
    window = mapping(session.header.get("window"))
    parts = []
    if size := window.get("size"):
        parts.append(f"{' x '.join(str(n) for n in size)} pixels" if isinstance(size, (list, tuple))
                     else str(size))  # fmt: skip
    if window.get("picture"):
        parts.append(f"picture {window['picture']}")
    for key, word in (("on_reward", "at a reward"), ("continuous", "all along")):
        if window.get(key):
            parts.append(f"sound {window[key]} {word}")
    if window.get("headless"):
        parts.append("drawn without a screen")
    acted = [f"{k} {count(n, 'time')}" for k, (n, _) in session.told.guard.items() if n]
    guard = f"; the guard against flashes and loudness acted: {listed(acted)}" if acted else ""
    return f"as run: {listed(parts)}{guard}" if parts else guard.removeprefix("; ")


def _displayed(case: Case) -> Answer:
    said = case.each(_series)
    silent = [s for s in case.sessions if not s.n_presented]
    damaged = [s for s in case.sessions if s.damage]
    sealed = [s for s in case.sessions if s.sealed]
    todo = []
    if sealed:
        todo.append(_SEALED)
    if silent:
        todo.append(
            f"Nothing that was presented is recorded in {listed([s.file for s in silent])}."
        )
    if damaged:
        todo.append(
            f"{listed([s.file for s in damaged])} {'is' if len(damaged) == 1 else 'are'} damaged; "
            "say what is missing."
        )
    return Answer(_text(said), _sources(recording=said), " ".join(todo))


def _series(session: Session) -> str:
    names = listed(list(session.told.feature_names))
    parts = []
    if session.n_features and names:
        parts.append(f"every value of {names} ({session.n_features} each), with gates")
    if session.n_presented:
        words = {
            "level": "the level shown",
            "reward": "rewards",
            "t_flip": "the time on the screen",
            "screen": "the screen drawn",
            "heard": "the level heard",
        }
        wanted = [c for c in words if c in session.displayed]
        of = session.told.level_feature
        level = f" (the level follows {of})" if of else ""
        # Versions up to 0.1 wrote a row for each value only.
        rows = "frames" if "frame" in session.displayed else "values"
        parts.append(
            f"{session.n_presented} {rows} as they were displayed: "
            f"{listed([words[c] for c in wanted])}{level}"
        )
    return f"the recording holds {'; '.join(parts)}" if parts else ""


def _equipment(case: Case) -> Answer:
    said = [*case.each(_amplifier), *case.each(_software), *case.each(_machine)]
    unnamed = not all(s.spec.name for s in case.sessions)
    todo = "Name the amplifier, cap and electrodes: the stream had no name." if unnamed else ""
    return Answer(_text(said), _sources(recording=said), todo if said else "")


def _amplifier(session: Session) -> str:
    spec = session.spec
    eeg = sum(c.kind == "eeg" for c in spec.channels)
    room = mapping(session.header.get("room")).get("name")
    in_room = f"; room {room}" if room else ""
    return (
        f"amplifier as its stream names it: {spec.name or 'without a name'}, {spec.rate_hz:g} Hz, "
        f"{count(eeg, 'EEG channel')}{in_room}"
    )


def _software(session: Session) -> str:
    version = session.header.get("neuroloop")
    versions = mapping(session.header.get("versions"))
    beside = f" with {', '.join(f'{k} {v}' for k, v in versions.items())}" if versions else ""
    return f"Neuroloop {version}{beside}" if version else ""


def _machine(session: Session) -> str:
    machine = mapping(session.header.get("machine"))
    return ", ".join(f"{k} {v}" for k, v in machine.items() if v)


# ---------------------------------------------------------------- 5: outcome, brain


def _success(case: Case) -> Answer:
    if case.blind:
        return Answer(todo=_HELD_BACK)
    said = case.each(_regulated)
    if not said:
        return Answer(todo=_nothing(case, "No clean training time was recorded."))
    return Answer(_text(said), (RECORDING,))


def _nothing(case: Case, why: str) -> str:
    return _SEALED if any(s.sealed for s in case.sessions) else why


def _regulated(session: Session) -> str:
    told = session.told
    course = told.train.get(told.trained or "")
    if course is None:
        return ""
    direction = told.rules[0][1] if told.rules else ""
    wanted = {"above": "; higher is rewarded", "below": "; lower is rewarded"}.get(direction, "")
    parts = [f"in training {told.trained} (median of clean time{wanted})"]
    if course.change is None or course.z is None:
        parts.append("cannot be compared with rest: no baseline was learned")
    else:
        unit = unit_words(told.units.get(told.trained or "", ""))
        far = (
            f"{signed(100 * course.change, 0)} %"
            if course.relative
            else f"{signed(course.change)} {unit}".strip()
        )
        parts.append(f"was {far} against rest, {signed(course.z)} spreads of the baseline")
    rate = _rate(told)
    if rate is not None:
        parts.append(f"; the reward condition held during {100 * rate:.0f} % of that time")
    if session.control:
        parts.append(
            f"; in this control session these are the person's own values, while {session.control} "
            "was presented"
        )
    return " ".join(parts).replace(" ;", ";")


def _rate(told: Learned) -> float | None:
    known = [(b.clean_s, b.rate_alone) for b in told.of(PhaseKind.TRAIN)]
    pairs = [(s, r) for s, r in known if r is not None and s > 0]
    total = sum(s for s, _ in pairs)
    return sum(s * r for s, r in pairs) / total if total > 0 else None


def _blocks(case: Case) -> Answer:
    if case.blind:
        return Answer(todo=_HELD_BACK)
    said = case.each(_block_line)
    if not said:
        why = "No block with clean time and a baseline was recorded."
        return Answer(todo=_nothing(case, why))
    means = [(s, c.z) for s in case.sessions
             if (c := s.told.train.get(s.told.trained or "")) is not None]  # fmt: skip
    known = [(s, z) for s, z in means if z is not None]
    if len(known) > 1 and len(case.people) == 1:
        said.append(
            "over the sessions, training against the session's own rest: "
            + ", ".join(signed(z) for _, z in known[:MOST_LINES])
            + " spreads"
        )
    without = [s for s in case.sessions if not s.of(PhaseKind.POST)]
    todo = ""
    if without:
        all_ = len(without) == len(case.sessions)
        where = "in any session" if all_ else f"in {listed([case.name(s) for s in without])}"
        todo = f"There is no rest after training {where}."
    return Answer(_text(said), (RECORDING,), todo)


def _block_line(session: Session) -> str:
    told = session.told
    name = told.trained or ""
    parts = [
        f"{b.label.lower()} {signed(c.z)}"
        for b in told.blocks
        if (c := b.features.get(name)) is not None and c.z is not None
    ]
    return (
        f"distance of {name} from rest by block, in spreads of the baseline: {', '.join(parts)}"
        if parts
        else ""
    )


def _against_control(case: Case) -> Answer:
    if case.study is not None and len(case.study.arms) == 1:
        return Answer(
            todo="The study has no control group; a comparison with the baseline alone does not "
            "answer this."
        )
    unblind = "After unblinding, compare" if case.blind else "Compare"
    return Answer(
        todo=f"{unblind} the arms (group by time, with an effect size and its confidence limits) "
        "and write the result here; `neuroloop progress` gives the numbers of each person."
    )


# ---------------------------------------------------------------- 7: data


def _materials(case: Case) -> Answer:
    study = case.study
    if study is None or not study.materials:
        todo = _write(case, "materials", "where materials, code and data can be had, and under "
                      "which licence")  # fmt: skip
        return Answer(todo=f"{todo} `neuroloop export` writes a BIDS data set.")
    kept = [s for s in case.sessions if s.header.get("protocol_text")]
    said = [study.materials]
    if kept:
        of = count(len(case.sessions), "recording")
        said.append(f"the protocol's text is kept in {len(kept)} of {of}")
    return Answer(_text(said), _sources(study=True, recording=kept))


ANSWERS: Mapping[str, Callable[[Case], Answer]] = {
    "1a": _from_study("prereg", "address of the registration"),
    "1b": _sample,
    "2a": _arms,
    "2b": _blinding,
    "2c-i": _from_study("raters_blind", "yes or no"),
    "2c-ii": _from_study("analysts_blind", "yes or no"),
    "2d": _stayed_blind,
    "2e": _standard,
    "3a": _psychosocial,
    "3b": _strategy_given,
    "3c": _strategies,
    "3d": _processing,
    "3e": _artefacts,
    "4a": _feature,
    "4b": _schedule,
    "4c": _modality,
    "4d": _displayed,
    "4e": _equipment,
    "5a": _success,
    "5b": _blocks,
    "5c": _against_control,
    "6a": _from_study(
        "clinical_meaning", "which change of behaviour or symptoms matters, and was it reached"
    ),
    "6b": _from_study("outcome_link", "how regulation and the change in behaviour go together"),
    "7a": _materials,
}
