"""Feedback of earlier sessions, given on as a control condition: nothing but levels and rewards.

A donor file holds a session's training blocks point by point, the protocol's name and the grid's
rate. It holds no EEG, no features, no name, no date. Only sessions with real, unblinded feedback
can be given on, and only with the person's consent.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import FileError, InputError
from engine.frames import Float, PhaseKind, frozen
from engine.recording import Recording
from protocols.sham import Series

__all__ = ["Donor", "choose", "donate", "donors_in", "read_donor", "write_donor"]

SUFFIX = ".donor.npz"
FORMAT = 1
LEAST_S = 10.0  # of clean feedback in every block
LEAST_TEST_S = 1.0  # in a test session, for other test sessions
MOST_BYTES = 50_000_000
# What a mauled zip or array header raises besides ValueError.
_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError, OverflowError)


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """One session's feedback.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    protocol_sha256 : str
    grid_hz : float
        Points per second.
    session : int
        Which session of the person's course it was; 0 where nobody knows.
    blocks : tuple of Series
        The training blocks in order.
    sha256 : str
        Of the file; empty where there is none yet.
    test : bool
        It is of a test session, and serves test sessions alone.
    """

    protocol: str
    protocol_sha256: str
    grid_hz: float
    session: int
    blocks: tuple[Series, ...]
    sha256: str = ""
    test: bool = False

    def on_grid(self, grid_hz: float) -> Donor:
        """Return the donor at another grid rate: each point takes the donor's latest one.

        Rewards stay one point each.
        """
        if abs(self.grid_hz / grid_hz - 1.0) < 1e-9:
            return self
        blocks = tuple(_resampled(b, self.grid_hz, grid_hz) for b in self.blocks)
        return replace(self, grid_hz=grid_hz, blocks=blocks)


def _resampled(block: Series, from_hz: float, to_hz: float) -> Series:
    n = max(1, round(len(block) * to_hz / from_hz))
    at = np.minimum((np.arange(n) * from_hz / to_hz + 1e-9).astype(np.int64), len(block) - 1)
    reward = np.zeros(n, dtype=np.bool_)
    for i in np.flatnonzero(block.reward):
        reward[min(n - 1, round(i * to_hz / from_hz))] = True
    return Series(frozen(block.level[at]), frozen(reward))


def donate(recording: Recording, session: int = 0) -> Donor:
    """Return the feedback that a session presented.

    Raises
    ------
    InputError
        The session was blinded or ran under a control condition, or a block has too little
        feedback.
    """
    header = recording.header
    name = recording.path.name
    if header.get("blinded") or header.get("control"):
        raise InputError(
            f"{name} did not present plain, unblinded feedback, so it cannot be given on.",
            "Choose sessions of earlier, unblinded training.",
        )
    protocol = header.get("protocol")
    if not isinstance(protocol, Mapping):
        raise InputError(f"{name} holds no protocol.", "Choose a recording of a Neuroloop session.")
    grid_hz = recording.spec.grid_hz
    blocks = tuple(_blocks(recording))
    test = bool(header.get("test_session"))
    least_s = LEAST_TEST_S if test else LEAST_S
    short = [k for k, b in enumerate(blocks, 1) if len(b.clean()) < least_s * grid_hz]
    if not blocks or short:
        where = f"block {short[0]} of {name}" if short else name
        raise InputError(
            f"There is less than {least_s:g} s of feedback in {where}.", "Choose another session."
        )
    sha256 = str(header.get("protocol_sha256", ""))
    name = str(protocol.get("name", ""))
    return Donor(name, sha256, grid_hz, session, blocks, test=test)


def _blocks(recording: Recording) -> list[Series]:
    """Return the training blocks: unheld points, level NaN where there was none."""
    table = recording.decisions
    if not len(table.values):
        return []
    kind, phase = table.column("kind"), table.column("phase")
    held, level = table.column("held"), table.column("level")
    reward = table.column("reward") > 0
    use = (kind == PhaseKind.TRAIN.value) & (held == 0)
    out = []
    for index in dict.fromkeys(phase[use].tolist()):
        rows = use & (phase == index)
        out.append(Series(frozen(level[rows].copy()), frozen(reward[rows].copy())))
    return out


def write_donor(donor: Donor, path: Path) -> Path:
    """Write a donor file; never over another.

    Raises
    ------
    FileError
        It exists, or the folder cannot be written.
    """
    arrays: dict[str, Any] = {
        "format": np.array(FORMAT),
        "protocol": np.array(donor.protocol),
        "protocol_sha256": np.array(donor.protocol_sha256),
        "grid_hz": np.array(donor.grid_hz),
        "session": np.array(donor.session),
        "test": np.array(donor.test),
        "n_blocks": np.array(len(donor.blocks)),
    }
    for k, block in enumerate(donor.blocks):
        arrays[f"level_{k}"] = block.level
        arrays[f"reward_{k}"] = block.reward
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(buffer.getvalue())
    except FileExistsError:
        raise FileError(f"{path} exists already.", "Choose another name.") from None
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error}.", "Choose another folder.") from error
    return path


def read_donor(path: Path) -> Donor:
    """Read a donor file.

    Raises
    ------
    FileError
        It cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
        if len(data) > MOST_BYTES:
            raise ValueError("it is far too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            if int(stored["format"]) != FORMAT:
                raise ValueError(f"it is written in format {int(stored['format'])}")
            blocks = tuple(
                _block(stored[f"level_{k}"], stored[f"reward_{k}"])
                for k in range(int(stored["n_blocks"]))
            )
            donor = Donor(
                str(stored["protocol"]),
                str(stored["protocol_sha256"]),
                float(stored["grid_hz"]),
                int(stored["session"]),
                blocks,
                hashlib.sha256(data).hexdigest(),
                bool(stored["test"]),
            )
    except (*_DAMAGE, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise FileError(
            f"{path} is no donor file ({error}).", "Make one with: neuroloop donate RECORDING"
        ) from None
    if not donor.blocks or not 0.0 < donor.grid_hz < math.inf:
        raise FileError(f"{path} holds no feedback.", "Make it again: neuroloop donate RECORDING")
    return donor


def _block(level: Any, reward: Any) -> Series:
    levels: Float = np.asarray(level, dtype=np.float64)
    rewards = np.asarray(reward, dtype=np.bool_)
    known = levels[np.isfinite(levels)]
    if (
        levels.ndim != 1
        or levels.shape != rewards.shape
        or not len(known)
        or np.isinf(levels).any()
    ):
        raise ValueError("a block has no levels")
    if known.min() < 0.0 or known.max() > 1.0:
        raise ValueError("a level lies outside 0 to 1")
    return Series(frozen(levels), frozen(rewards))


def donors_in(
    folder: Path, protocol: str, *, protocol_sha256: str = "", test: bool = False
) -> tuple[Donor, ...]:
    """Return the donors of a folder that were made with a protocol, in the order of their names.

    Where its SHA-256 is given, with that very file.

    Those of test sessions serve test sessions alone.

    Raises
    ------
    InputError
        There is none, or one cannot be read.
    """
    try:
        files = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error}.", "Check the folder.") from error
    made = tuple(d for d in map(read_donor, files) if d.protocol == protocol)
    other = protocol_sha256 and all(d.protocol_sha256 != protocol_sha256 for d in made)
    if made and other:
        raise InputError(
            f"The donors for {protocol} in {folder} trained with another version of it.",
            "Give feedback of sessions with the study's own protocol file on.",
        )
    made = tuple(d for d in made if protocol_sha256 in ("", d.protocol_sha256))
    found = tuple(d for d in made if test or not d.test)
    if made and not found:
        raise InputError(
            f"The donors for {protocol} in {folder} are of test sessions.",
            "Give feedback of real sessions on.",
        )
    if not found:
        raise InputError(
            f"There is no donor for {protocol} in {folder}.",
            f"Make some from earlier sessions: neuroloop donate RECORDING --out {folder}",
        )
    return found


def choose(donors: Sequence[Donor], seed: int, session: int | None = None) -> Donor:
    """Return one donor, drawn evenly; of the same session number where that is asked.

    Raises
    ------
    InputError
        No donor has that session number.
    """
    fitting = [d for d in donors if session is None or d.session == session]
    if not fitting:
        raise InputError(
            f"No donor's session is number {session}; yoked feedback is that of the same session.",
            "Give donors of as many sessions as the study has: neuroloop donate --session N",
        )
    return fitting[int(np.random.default_rng(seed).integers(len(fitting)))]
