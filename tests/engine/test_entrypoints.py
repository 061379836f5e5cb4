"""Packages from elsewhere: what is listed is found, what is wrong is said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.entrypoints import FEATURES, GROUPS, PICTURES, digest, found, offered, offers
from engine.errors import InputError

CODE = (
    "class Thing:\n    def __init__(self, name): self.name = name\nA, B = Thing('a'), Thing('b')\n"
)
Install = Callable[..., Path]


def test_a_listed_package_is_found_and_imported(plugin: Install) -> None:
    plugin("my-pack", {"my_pack.py": CODE}, {f"{FEATURES}:a": "my_pack:A"})
    package = found(("my-pack", "1.0.0"))
    assert [(p.group, p.name) for p in offers(package)] == [(FEATURES, "a")]
    assert "my_pack" not in sys.modules  # looking imports nothing
    assert len(digest(package)) == 64
    assert "my_pack" not in sys.modules
    kinds = offered([("my-pack", "1.0.0")], FEATURES, object)
    assert list(kinds) == ["a"]
    assert offered([("my-pack", "1.0.0")], PICTURES, object) == {}
    assert offered([], FEATURES, object) == {}


def _said(wanted: tuple[str, str], group: str = FEATURES, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        offered([wanted], group, more.pop("kind", object), **more)
    assert caught.value.fix.endswith(".")
    return caught.value.what


def test_what_is_wrong_with_a_package_is_said(plugin: Install) -> None:
    assert "not installed" in _said(("no-such-package", "1.0.0"))
    plugin("old", {"old.py": CODE}, {f"{FEATURES}:a": "old:A"}, "0.9.0")
    assert _said(("old", "1.0.0")) == "The room lists old 1.0.0, and 0.9.0 is installed."
    plugin("idle", {"idle.py": CODE}, {"console_scripts:a": "idle:A"})
    assert "offers nothing" in _said(("idle", "1.0.0"))
    plugin("typo", {"typo.py": CODE}, {"neuroloop.feature:a": "typo:A"})
    assert "`neuroloop.feature`" in _said(("typo", "1.0.0"))
    plugin("gone", {}, {f"{FEATURES}:a": "gone_module:A"})
    assert "cannot be imported" in _said(("gone", "1.0.0"))
    plugin("short", {"short.py": ""}, {f"{FEATURES}:a": "short:A"})
    assert "cannot be imported" in _said(("short", "1.0.0"))
    plugin("quits", {"quits.py": "raise SystemExit(3)"}, {f"{FEATURES}:a": "quits:A"})
    assert "SystemExit" in _said(("quits", "1.0.0"))
    plugin("other", {"other.py": CODE}, {f"{FEATURES}:a": "other:A"})
    assert "of type Thing, not int" in _said(("other", "1.0.0"), kind=int)
    plugin("named", {"named.py": CODE}, {f"{FEATURES}:z": "named:A"})
    assert "called `a` inside" in _said(("named", "1.0.0"))


def test_a_name_is_given_once(plugin: Install) -> None:
    plugin("one", {"one.py": CODE}, {f"{FEATURES}:a": "one:A"})
    plugin("two", {"two.py": CODE}, {f"{FEATURES}:a": "two:A"})
    assert "and so does Neuroloop itself" in _said(("one", "1.0.0"), known={"a"})
    with pytest.raises(InputError, match=r"two 1.0.0 offers `a` .* so does one 1.0.0"):
        offered([("one", "1.0.0"), ("two", "1.0.0")], FEATURES, object)


def test_the_digest_is_of_the_code_that_would_run(plugin: Install) -> None:
    files = {"pack/__init__.py": CODE, "pack/deep/more.py": "X = 1"}
    folder = plugin("pack", files, {f"{g}:a": "pack:A" for g in GROUPS})
    package = found(("pack", "1.0.0"))
    first = digest(package)
    (folder / "pack" / "__pycache__").mkdir()
    (folder / "pack" / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert digest(package) == first
    (folder / "pack" / "deep" / "more.py").write_text("X = 2")
    assert digest(package) != first
