"""The shape of the house, as far as a quick test can see it; `lint-imports` sees the rest."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
HEAVY = ("scipy", "mne", "mne_lsl", "pylsl", "pygame", "matplotlib", "pandas")


def loaded_by(statement: str) -> set[str]:
    """Return which heavy packages a fresh Python has loaded after `statement`."""
    code = f"import sys, json\n{statement}\n"
    code += f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_packages_share_one_parent() -> None:
    for name in ("engine", "protocols", "feedback", "configs"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None, f"{name} has no __init__.py"
        assert Path(spec.origin).resolve().parents[1] == REPO
        assert Path(spec.origin).read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    "module", ["engine.frames", "engine.config", "protocols.load", "engine.terminal"]
)
def test_checking_a_protocol_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


@pytest.mark.parametrize("module", ["engine.doctor", "engine.screening", "engine.clock"])
def test_questions_before_a_session_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


def test_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"version: {project['version']}\n" in (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{project['version']}]" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_module_of_the_engine_has_its_layer() -> None:
    contract = (REPO / ".importlinter").read_text(encoding="utf-8")
    layers = contract.split("[importlinter:contract:layers]")[1].split("[importlinter:")[0]
    modules = {p.stem for p in (REPO / "engine").glob("*.py")} - {"__init__"}
    assert {m for m in modules if not re.search(rf"\bengine\.{m}\b", layers)} == set()
