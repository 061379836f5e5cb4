"""The report of a blinded session: time, artefacts, delays and words, and nothing of the training.

Features, thresholds, rates and rewards beside each other could tell an arm. Until the study is
unsealed the page therefore shows what the gates and the session's own events tell, and says what
it withholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine import happened
from engine.frames import Event, PhaseKind
from engine.grid import mapping
from engine.page import Page, by_cause
from engine.words import Unknown, count, lasting
from protocols.phrases import listed

__all__ = ["WITHHELD", "BlindedPage"]

WITHHELD = ("features", "thresholds", "rates", "rewards")
"""What a blinded report leaves out, in words."""
LEFT_OUT = frozenset({"fit", "resting", "references", "reward", "threshold"})
"""Events that are in the recording's plain part and tell of features."""
PRIVATE = frozenset({"features", "rewards"})
"""Keys of other events that do."""


class BlindedPage(Page):
    """What the template of a blinded session asks for."""

    template = "blinded.html.j2"

    def _condition_banner(self) -> Iterator[tuple[str, str, str]]:
        yield (
            "blinded",
            "BLINDED SESSION",
            f"{self._study_words()}{_capital(listed(WITHHELD))} are withheld until the study is "
            "unsealed.",
        )

    def _tiles(self) -> list[tuple[str, Any, str]]:
        train = self.told.of(PhaseKind.TRAIN)
        clean, total = sum(b.clean_s for b in train), sum(b.total_s for b in train)
        none = Unknown("there was no training")
        lost = [happened.named(c) for c, _ in by_cause(train)[:2]]
        held = sum(h.seconds for h in self.told.holds) + sum(g[1] for g in self.told.gaps)
        n = len(self.told.holds) + len(self.told.gaps)
        return [
            ("Recorded", lasting(self.told.length_s), self._how_it_ended()),
            (
                "Clean training time",
                lasting(clean) if train else none,
                f"of {lasting(total)} in {count(len(train), 'block')}" if train else "",
            ),
            (
                "Lost to artefacts in training",
                f"{100 * (1.0 - clean / total):.0f} %" if total > 0 else none,
                f"most: {listed(lost)}" if lost else "",
            ),
            ("Held or missing", lasting(held) if n else "none", "in the whole session"),
        ]

    @property
    def tiles(self) -> list[tuple[str, Any, str]]:
        """(heading, number, small print)."""
        return self._tiles()

    def _on_trials(self) -> Iterator[str]:
        for run in self.trial_runs:
            n, rejected = sum(t.n for t in run.tasks), sum(t.rejected for t in run.tasks)
            yield f"{run.block}: {count(n, 'trial')}, {rejected} rejected."

    def _sentences(self) -> Iterator[str]:
        train = self.told.of(PhaseKind.TRAIN)
        planned = self._planned()
        of = f" of {planned} planned" if planned is not None and planned != len(train) else ""
        clean, total = sum(b.clean_s for b in train), sum(b.total_s for b in train)
        share = f" ({100 * clean / total:.0f} %)" if total > 0 else ""
        start = f"The recording lasts {lasting(self.told.length_s)} and holds "
        if train:
            yield (
                f"{start}{count(len(train), 'training block')}{of}; {lasting(clean)} of "
                f"{lasting(total)} training time{share} was clean."
            )
        else:
            yield f"{start}no training block{of}."
        yield from self._on_trials()
        yield (
            "What the brain did, and what was rewarded, is in the sealed research log beside the "
            "recording. After the study: neuroloop report RECORDING --study STUDY."
        )
        yield (
            "This describes one session. It cannot tell whether training works, for this person "
            "or for anybody, and it says nothing about health."
        )

    def _methods_condition(self) -> Iterator[str]:
        name = mapping(self.header.get("study")).get("name")
        study = f" of the study {name}" if name else ""
        yield (
            f"This was a blinded session{study}: which condition was presented, and its "
            f"{listed(WITHHELD)}, are withheld until the study is unsealed. What stands here of "
            "rewards is what the protocol plans, in every arm."
        )

    @property
    def timeline(self) -> list[tuple[str, str, str]]:
        """What happened, without what is withheld."""
        rows = []
        for event in self.recording.events:
            said = None if event.kind in LEFT_OUT else happened.spoken(_public(event))
            if said is not None:
                rows.append((event.seq, self._time(event.seq), *said))
        rows.sort(key=lambda row: row[0])
        return [row[1:] for row in rows]

    @property
    def crossover_rows(self) -> list[dict[str, Any]]:
        """Nothing: they follow from the features."""
        return []

    @property
    def drowsy(self) -> str:
        """Nothing: it follows from the features."""
        return ""


def _public(event: Event) -> Event:
    data: Mapping[str, Any] = {k: v for k, v in event.data.items() if k not in PRIVATE}
    return Event(event.t, event.seq, event.kind, data)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
