"""Every text that can reach the person has its words in every language, and no words are left over.

What can be shown is not listed by hand: the plans of all shipped protocols are walked through, and
every state of a session is shown to a translator that writes down what it is asked for.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from ruamel.yaml import YAML

from engine.features import FEATURES
from engine.frames import Decision, Gate, Phase, PhaseKind, Summary
from engine.preview import script
from engine.screens import Cues, show_for
from feedback.messages import LANGUAGES, _catalogue, duration, number, translator, words
from protocols.load import library, load
from protocols.plan import _RESTING, _SAY, expand
from protocols.starter import Answers, starter

TRANSLATED = [language for language in LANGUAGES if language != "en"]


def shipped() -> Iterator[str]:
    """Yield what shipped protocols, and ones written by `protocol new`, say."""
    for name in library():
        protocol = load(name, FEATURES).protocol
        yield protocol.title
        for phase in expand(protocol):
            yield from (phase.say, phase.ask)
        if protocol.trial is not None:
            yield from (task.say for task in protocol.trial.tasks)
    for eyes in ("open", "closed"):
        text = starter(Answers("own", "up", ("Cz",), "12-15 Hz", eyes=eyes), "schema.json")
        yield from said_in(YAML(typ="safe", pure=True).load(text)["session"])


def said_in(node: Any) -> Iterator[str]:
    """Yield what blocks of a session say, at any depth."""
    if isinstance(node, Mapping):
        yield from (str(node[key]) for key in ("say", "ask") if key in node)
    for child in node.values() if isinstance(node, Mapping) else node:
        if isinstance(child, (Mapping, list)):
            yield from said_in(child)


def sessions() -> Iterator[dict[str, Any]]:
    """Yield every state of a session, as `show_for` takes it."""
    common: dict[str, Any] = dict.fromkeys(("now", "newest_t", "progress"), 0.0)
    summary = Summary(1, 1.0, 1.0)
    common |= {"cues": Cues(), "gain": 1.0, "title": "a title"}
    common |= {"block": summary, "session": summary}
    yield {"decision": None, "plan": (), "held": (), **common}
    for kind, after, say, waits_s, held, say_now in itertools.product(
        PhaseKind, PhaseKind, ("a text", "Rest.", ""), (0.0, 9.0), ((), ("paused",), ("stale",)),
        ("", "a task"),
    ):  # fmt: skip
        plan = (
            Phase(0, PhaseKind.TRAIN, "before", 9.0, "a text"),
            Phase(1, kind, "now", 9.0, say, waits_s=waits_s),
            Phase(2, after, "after", 9.0, "a text"),
        )
        decision = Decision(
            1, 1.0, 1, kind, 0.5, False, False, (), (), Gate.OPEN, (), 0.0, 0, "", say_now
        )
        yield {"decision": decision, "plan": plan, "held": held, **common}


@cache
def visible() -> frozenset[str]:
    """Return every English text that a person may read."""
    asked = {*shipped(), *_RESTING.values(), *_SAY.values()}
    for state in sessions():
        show_for(**state, say=lambda text: asked.add(text) or text)
    for _ in script(20.0, lambda text: asked.add(text) or text):
        pass
    return frozenset(asked - {"", "a title", "a text", "a task"})


def test_whatever_is_shown_has_passed_the_translator_in_whole_parts() -> None:
    for state in sessions():
        show = show_for(**state, say=lambda text: f"⟦{text}⟧" if text else "")
        for text in (show.title, show.text):
            assert re.fullmatch(r"(⟦[^⟦⟧]*⟧\s*)*", text), text


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_text_is_translated(language: str) -> None:
    say = translator(language)
    assert [t for t in sorted(visible()) if t not in _catalogue(language)["said"]] == []
    assert [t for t in sorted(visible()) if not say(t).strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_translation_is_left_over(language: str) -> None:
    assert sorted(set(_catalogue(language)["said"]) - visible()) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_all_languages_have_the_same_words_and_placeholders(language: str) -> None:
    own, english = words(language), words("en")
    assert list(own) == list(english)
    for key in english:
        assert own[key].strip(), key
        fields = [
            sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)
            for text in (own[key], english[key])
        ]
        assert fields[0] == fields[1], key


@pytest.mark.parametrize("language", LANGUAGES)
def test_typography(language: str) -> None:
    texts = [*words(language).values(), *_catalogue(language)["said"].values()]
    for text in texts:
        assert '"' not in text, text  # “ ” or „ “
        assert "'" not in text, text  # ’
        assert "..." not in text, text
        assert "  " not in text, text
        assert text == text.strip(), text


def test_german_is_polite_and_spelt_with_its_own_letters() -> None:
    for text in [*words("de").values(), *_catalogue("de")["said"].values()]:
        assert not re.search(r"\b([Dd]u|[Dd]ein\w*|[Dd]ich|[Dd]ir)\b", text), text
        assert not re.search(r"(?i)koenn|fuer|ueb|oeffn|schliess|waehr|naechst", text), text


@pytest.mark.parametrize("language", [*LANGUAGES, "xx"])
def test_a_text_of_ones_own_stays_as_it_is(language: str) -> None:
    own = "Lausche  dem Regen.\nBis er aufhört."
    assert translator(language)(own) == own


def test_line_breaks_of_a_file_do_not_hide_a_text() -> None:
    assert translator("de")("Let the\n  orb grow.") == "Lassen Sie die Lichtkugel wachsen."


def test_an_unknown_language_is_english() -> None:
    assert words("xx") == words("en")
    assert translator("xx")("Rest.") == "Rest."


def test_numbers_as_a_language_writes_them() -> None:
    assert number(1234.5, 1, "en") == "1,234.5"
    assert number(1234.5, 1, "de") == "1.234,5"
    assert number(12, 0, "de") == "12"
    assert number(-0.5, 1, "de") == "\N{MINUS SIGN}0,5"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (168.2, "2 min 48 s"),
        (180.0, "3 min"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (0.0, "0 s"),
        (-1.0, "0 s"),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_times_in_minutes_and_seconds(seconds: float, told: str, language: str) -> None:
    said = duration(seconds, language)
    assert said.replace("\N{NO-BREAK SPACE}", " ") == told
    assert not re.search(r"\d (min|s)", said)  # a number keeps its unit beside it
