"""The words the person reads, in their language: catalogues of messages, one file a language.

`words` are the window's own, by key. `translator` turns texts of the session and of the shipped
protocols, which are written in English, into the language; what the catalogue does not know, such
as the words of a protocol of one's own, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from ruamel.yaml import YAML

__all__ = ["LANGUAGES", "duration", "number", "translator", "words"]

LANGUAGES = ("en", "de")


@lru_cache(maxsize=8)
def _catalogue(language: str) -> Mapping[str, Any]:
    chosen = language if language in LANGUAGES else "en"
    text = (resources.files("feedback") / "catalogues" / f"{chosen}.yaml").read_text("utf-8")
    return MappingProxyType(YAML(typ="safe", pure=True).load(text))


def words(language: str) -> Mapping[str, str]:
    """Return the window's own words by key; English for a language that is not shipped."""
    found: Mapping[str, str] = _catalogue(language)["words"]
    return found


def translator(language: str) -> Callable[[str], str]:
    """Return what turns an English text into `language`, and leaves what it does not know."""
    said: Mapping[str, str] = _catalogue(language)["said"]
    return lambda text: said.get(" ".join(text.split()), text)


def number(value: float, decimals: int, language: str) -> str:
    """Return a number as `language` writes it: ``1,234.5`` in English, ``1.234,5`` in German."""
    own = words(language)
    signs = {",": own["thousands"], ".": own["decimal"], "-": "\N{MINUS SIGN}"}
    return "".join(signs.get(sign, sign) for sign in f"{value:,.{decimals}f}")


def duration(seconds: float, language: str) -> str:
    """Return a time in minutes and whole seconds, as a person says it."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    key = "seconds" if minutes == 0 else "minutes" if rest == 0 else "minutes_seconds"
    return words(language)[key].format(minutes=minutes, seconds=rest)
