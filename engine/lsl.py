"""Loading liblsl and telling it which network it lives in.

liblsl reads its configuration once, at its first network use, and never again. So the room's
settings must be applied before any stream is looked for or offered, and cannot change later in
the same process.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from engine.errors import InputError, RunError

__all__ = [
    "LslNetwork",
    "bury",
    "config_text",
    "configure_lsl",
    "find_library",
    "load_pylsl",
    "mark_used",
    "within",
]

log = logging.getLogger(__name__)

T = TypeVar("T")

_PEER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]{0,252}")
_SESSION_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Where liblsl itself looks for a configuration that a technician made for the whole computer.
_COMPUTER_CONFIGS = ("lsl_api.cfg", "~/lsl_api/lsl_api.cfg", "/etc/lsl_api/lsl_api.cfg")


class LslNetwork(Protocol):
    """The room's LSL settings (`engine.room.LslSettings`)."""

    @property
    def known_peers(self) -> tuple[str, ...]:
        """Hosts to ask directly, where the network carries no multicast."""
        ...

    @property
    def session_id(self) -> str:
        """Only streams of the same session id see each other."""
        ...

    @property
    def loopback_only(self) -> bool:
        """Never leave this computer."""
        ...


def find_library() -> Path | None:
    """Return the liblsl file to load when pylsl brings none, else None.

    On Linux with an older C library the package manager picks a pylsl without liblsl. mne-lsl
    always brings one; it is found here without importing mne-lsl, which takes seconds.
    """
    if os.environ.get("PYLSL_LIB"):
        return None
    if _bundled("pylsl", "lib"):
        return None
    libraries = _bundled("mne_lsl", "lsl", "lib")
    return libraries[-1] if libraries else None


def _bundled(package: str, *folders: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    found: list[Path] = []
    for root in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(root, *folders)
        names = ("liblsl*.so*", "liblsl*.dylib", "lsl*.dll", "liblsl*.dll")
        found += [file for name in names for file in sorted(folder.glob(name)) if file.is_file()]
    return found


def load_pylsl() -> ModuleType:
    """Import pylsl, with a liblsl that this computer has.

    Raises
    ------
    RunError
        No liblsl can be loaded.
    """
    library = find_library()
    if library is not None:
        os.environ["PYLSL_LIB"] = str(library)
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:
        raise RunError(
            f"The Lab Streaming Layer library (liblsl) cannot be loaded: {error}",
            "Install mne-lsl, which brings it, or set PYLSL_LIB to the library's file.",
        ) from error
    module: ModuleType = pylsl
    return module


def config_text(settings: LslNetwork) -> str:
    """Return liblsl's configuration (INI) for the room's settings.

    Raises
    ------
    InputError
        A peer or the session id holds characters that would break the configuration.
    """
    for peer in settings.known_peers:
        if not _PEER.fullmatch(peer):
            raise InputError(
                f"`known_peers` holds {peer!r}, which is no host name and no IP address.",
                "Write names or addresses, for example `known_peers: [192.168.1.20, amp-pc]`.",
            )
    if not _SESSION_ID.fullmatch(settings.session_id):
        raise InputError(
            f"The LSL session id {settings.session_id!r} is not usable.",
            "Use letters, digits, points, hyphens and underscores, at most 64.",
        )
    lines: list[str] = []
    peers = list(settings.known_peers)
    if settings.loopback_only:
        peers = ["127.0.0.1"]
        lines += ["[ports]", "IPv6 = disable"]
        lines += ["[multicast]", "ResolveScope = machine", "ListenAddress = 127.0.0.1"]
    lines += ["[lab]", f"SessionID = {settings.session_id}"]
    if peers:
        lines.append(f"KnownPeers = {{{', '.join(peers)}}}")
    # Only fatal messages: anything on the terminal would tear the operator's view.
    lines += ["[log]", "level = -3"]
    return "\n".join(lines) + "\n"


_lock = threading.Lock()
_applied: str | None = None
_used = False


def mark_used() -> None:
    """Note that liblsl is about to use the network: its configuration is fixed from here on."""
    global _used
    _used = True


def configure_lsl(settings: LslNetwork) -> str:
    """Apply the room's LSL settings to this process; call before any other use of LSL.

    Calling it again with the same settings does nothing. A configuration file named by the
    environment variable ``LSLAPICFG`` always wins. A room that asks for nothing special leaves a
    configuration made for the whole computer (``~/lsl_api/lsl_api.cfg``) in force.

    Returns
    -------
    str
        One sentence saying which configuration is in force, for `doctor` and the log.

    Raises
    ------
    InputError
        The settings cannot be written as a configuration.
    RunError
        This process already uses LSL with other settings.
    """
    global _applied
    text = config_text(settings)
    with _lock:
        named = os.environ.get("LSLAPICFG")
        if named and Path(named).is_file():
            return f"LSL is configured by the file that LSLAPICFG names: {named}."
        special = settings.loopback_only or settings.known_peers
        if not special and settings.session_id == "default" and _applied is None:
            for place in _COMPUTER_CONFIGS:
                file = Path(place).expanduser()
                if file.is_file():
                    return f"LSL is configured by this computer's file {file}."
        if _applied != text:
            if _used:
                raise RunError(
                    "This process already uses LSL with other network settings, and LSL reads "
                    "its settings only once.",
                    "Close Neuroloop and start it again with the other room.",
                )
            load_pylsl().set_config_content(text)
            _applied = text
            log.info("lsl configured session_id=%s", settings.session_id)
    where = "this computer only" if settings.loopback_only else "the network"
    return f"LSL is configured by the room: {where}, session id {settings.session_id}."


def within(seconds: float, call: Callable[[], T], what: str) -> T:
    """Run an LSL call with a deadline of our own; liblsl's are not always kept.

    The call runs in a daemon thread, which is left behind when it hangs.

    Raises
    ------
    TimeoutError
        The call did not return in time.
    """
    box: list[Any] = []

    def run() -> None:
        try:
            box.append((True, call()))
        except Exception as error:
            box.append((False, error))

    thread = threading.Thread(target=run, name=f"lsl-{what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not box:
        raise TimeoutError(f"LSL did not answer within {seconds:g} s ({what}).")
    fine, value = box[0]
    if not fine:
        raise value
    result: T = value
    return result


def bury(inlets: list[Any]) -> None:
    """Destroy inlets in a thread of their own: liblsl can hang there (liblsl issue 220).

    The list is emptied; the caller must hold no other reference.
    """
    thread = threading.Thread(target=inlets.clear, name="lsl-bury", daemon=True)
    thread.start()
