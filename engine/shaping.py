"""The difficulty that a person's sessions have come to, where a protocol shapes it by session."""

from __future__ import annotations

import json
import math
from pathlib import Path

from engine.errors import FileError
from protocols.model import Protocol

__all__ = ["read_shift", "shaping_path", "shapes_sessions", "write_shift"]

MOST = 0.9  # a share of success cannot be moved further


def shapes_sessions(protocol: Protocol) -> bool:
    """Return whether the difficulty changes from session to session."""
    shaping = None if protocol.reward is None else protocol.reward.shaping
    return shaping is not None and shaping.every == "session"


def shaping_path(folder: Path, client: str, protocol: Protocol) -> Path:
    """Return the file that keeps a client's difficulty."""
    return folder / f"{client}_{protocol.name}.shaping.json"


def read_shift(path: Path) -> float:
    """Return the difficulty a course has come to; 0 at its beginning.

    Raises
    ------
    FileError
        The file is there and cannot be read: beginning anew in silence would change the course.
    """
    if not path.exists():
        return 0.0
    try:
        shift = float(json.loads(path.read_text("utf-8"))["shift"])
        if not (math.isfinite(shift) and abs(shift) <= MOST):
            raise ValueError(f"{shift:g} is out of range")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"The difficulty of this client's course cannot be read ({path}: {error}).",
            "Restore the file, or delete it to begin at the protocol's own difficulty.",
        ) from None
    return shift


def write_shift(path: Path, shift: float, recording: Path) -> None:
    """Keep the difficulty for the next session."""
    bounded = min(MOST, max(-MOST, shift))
    fresh = path.with_suffix(".new")
    text = json.dumps({"shift": bounded, "from": recording.name}, indent=2)
    fresh.write_text(text + "\n", "utf-8")
    fresh.replace(path)
