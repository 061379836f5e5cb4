"""What every test needs before anything else: a private LSL network and no screen."""

from __future__ import annotations

import os
import tempfile
import uuid
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
