"""What every test needs before anything else: a private LSL network and no screen."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

# All of this happens at import, before any test module can load liblsl, SDL or a BLAS; child
# processes inherit it through the environment.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_threads] = "1"

Plugin = Callable[..., Path]
"""Installs a package, see `plugin`."""

LSL_SESSION_ID = f"neuroloop-test-{uuid.uuid4().hex[:12]}"  # one per run and per worker

_LSL_CONFIG = f"""\
[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {LSL_SESSION_ID}
[log]
level = -3
"""

_folder = tempfile.TemporaryDirectory(prefix="neuroloop-lsl-")
_config_file = Path(_folder.name) / "lsl_api.cfg"
_config_file.write_text(_LSL_CONFIG, encoding="utf-8")
os.environ["LSLAPICFG"] = str(_config_file)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the LSL configuration file."""
    _folder.cleanup()


@pytest.fixture(scope="session")
def lsl_session_id() -> str:
    """Return the LSL session id of this run: streams of other runs are not seen."""
    return LSL_SESSION_ID


@pytest.fixture(scope="session")
def shared_data(pytestconfig: pytest.Config) -> Path:
    """Return the folder with real EEG beside the repository; skip when it is absent."""
    folder = pytestconfig.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real EEG is not at ../shared/data beside the repository")
    return folder


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Install small packages into a folder of this test, as an installer leaves them."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)

    def install(
        name: str, files: Mapping[str, str], points: Mapping[str, str], version: str = "1.0.0"
    ) -> Path:
        """Write modules; `points` maps ``group:name`` to ``module:attribute``."""
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = []
        for point, value in points.items():
            group, _, called = point.partition(":")
            lines += [f"[{group}]", f"{called} = {value}"]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        importlib.invalidate_caches()
        return folder

    yield install
    for module in set(sys.modules) - before:
        where = getattr(sys.modules[module], "__file__", None) or ""
        if where.startswith(str(folder)):
            del sys.modules[module]
