"""From a control condition by name to what makes it, and back from a recording.

A `ControlPlan` says what has to be measured beside (another band, another site), which series is
given on, and how the control is made for one stream. It can be written down and made again, so that
a replay presents the same.
"""

from __future__ import annotations

import base64
import functools
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.donors import Donor, choose, donors_in
from engine.errors import FileError, InputError
from engine.frames import Float, frozen
from protocols.baseline import Scale
from protocols.judge import Judge
from protocols.model import Level, Protocol, Reward, Rule
from protocols.rewards import REWARDS, RewardKind
from protocols.sham import (
    KINDS,
    PREFIX,
    Control,
    Donated,
    NoFeedback,
    Noise,
    Other,
    OwnEarlier,
    Parallel,
    Series,
    Unchanged,
    mirrored,
    with_other_features,
)

__all__ = ["Asked", "ControlPlan", "again", "control_plan", "described"]

WITH_DONORS = ("yoked", "replay_other")
WITH_TRIALS = ("real", "yoked", "no_feedback")
FROM_REST = ("replay_own", "noise")


@dataclass(frozen=True, slots=True)
class Asked:
    """A control condition as somebody asked for it.

    Parameters
    ----------
    kind : str
        One of `protocols.sham.KINDS`.
    donors : Path or None
        Folder of donor files.
    sites : tuple of str
        Of `other_site`.
    """

    kind: str
    donors: Path | None = None
    sites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class _Made:
    """One control, ready to be made for a stream."""

    kind: str
    seed: int
    sites: tuple[str, ...]
    donor: Donor | None
    rules: tuple[Reward | None, tuple[Rule, ...], Level] | None


@dataclass(frozen=True, slots=True, repr=False)
class ControlPlan:
    """What a session presents instead of the real feedback, and what it measures for that.

    Its `repr` says nothing: in a blinded study nobody may see which one it is.

    Parameters
    ----------
    protocol : Protocol
        With the features that only a control looks at.
    made : tuple
        The controls, side by side.
    chosen : int
        Which of them is presented.
    """

    protocol: Protocol
    made: tuple[_Made, ...]
    chosen: int

    def __repr__(self) -> str:
        return "<control plan>"

    def make(
        self,
        columns: Mapping[str, int],
        scales: Mapping[str, Scale],
        grid_hz: float,
        *,
        rewards: Mapping[str, RewardKind] = REWARDS,
        shift: float = 0.0,
    ) -> Control:
        """Return the control for one stream; see `engine.assemble.MakeControl`."""
        controls = [self._one(m, columns, scales, grid_hz, rewards, shift) for m in self.made]
        return controls[0] if len(controls) == 1 else Parallel(controls, self.chosen)

    def _one(
        self,
        made: _Made,
        columns: Mapping[str, int],
        scales: Mapping[str, Scale],
        grid_hz: float,
        rewards: Mapping[str, RewardKind],
        shift: float,
    ) -> Control:
        def judge(reward: Reward | None, rules: Sequence[Rule], level: Level) -> Judge:
            return Judge(
                reward,
                rules,
                level,
                columns=columns,
                scales=scales,
                grid_hz=grid_hz,
                rewards=rewards,
                shift=shift,
            )

        protocol = self.protocol
        own = functools.partial(judge, protocol.reward, protocol.rules, protocol.feedback.level)
        if made.kind == "real":
            return Unchanged()
        if made.kind == "no_feedback":
            return NoFeedback()
        if made.donor is not None:
            blocks = made.donor.on_grid(grid_hz).blocks
            return Donated(blocks, own_gates=made.kind == "replay_other")
        if made.kind == "replay_own":
            return OwnEarlier(own, columns)
        if made.kind == "noise":
            return Noise(own, columns, scales, made.seed, grid_hz)
        assert made.rules is not None
        return Other(judge(*made.rules), grid_hz)

    def stored(self) -> dict[str, Any]:
        """Return everything that is needed to make it again, as JSON."""
        return {
            "chosen": self.chosen,
            "controls": [
                {
                    "kind": m.kind,
                    "seed": m.seed,
                    "sites": list(m.sites),
                    "donor": None if m.donor is None else _packed(m.donor),
                }
                for m in self.made
            ],
        }


def control_plan(
    protocol: Protocol,
    asked: Sequence[Asked],
    chosen: int = 0,
    *,
    seed: int | None = None,
    session: int | None = None,
    protocol_sha256: str = "",
    test: bool = False,
) -> ControlPlan:
    """Return what is needed for one control condition, or for several side by side.

    Parameters
    ----------
    protocol : Protocol
    asked : sequence of Asked
        One, or all conditions of a blinded study: everything is prepared for each of them, so that
        what can go wrong does not depend on the arm.
    chosen : int
        Which one is presented.
    seed : int, optional
        Of everything that is drawn; from the system when left out.
    session : int, optional
        Number of the session, for yoked feedback.
    protocol_sha256 : str
        Where given, donors must have trained with this very protocol file.
    test : bool
        It is a test session, which may use the feedback of others.

    Raises
    ------
    InputError
        A condition does not exist, does not suit the protocol, or has no donors.
    """
    if seed is None:
        seed = secrets.randbits(48)
    made: list[_Made] = []
    wider = protocol
    for k, one in enumerate(asked):
        _check(protocol, one)
        own = int(np.random.SeedSequence([seed, k]).generate_state(1, np.uint64)[0] >> 16)
        donor = None
        if one.kind in WITH_DONORS:
            assert one.donors is not None
            donors = donors_in(
                one.donors, protocol.name, protocol_sha256=protocol_sha256, test=test
            )
            donor = choose(donors, own, session if one.kind == "yoked" else None)
        wider, rules = _measured(wider, one.kind, one.sites, own, k)
        made.append(_Made(one.kind, own, one.sites, donor, rules))
    return ControlPlan(wider, tuple(made), chosen)


def _check(protocol: Protocol, asked: Asked) -> None:
    if asked.kind not in KINDS:
        raise InputError(
            f"There is no control condition `{asked.kind}`.", f"Choose one of {', '.join(KINDS)}."
        )
    if protocol.trial is not None and asked.kind not in WITH_TRIALS:
        raise InputError(
            f"`{asked.kind}` cannot be made for a protocol with trials ({protocol.name}).",
            f"Choose one of {', '.join(WITH_TRIALS)}.",
        )
    if asked.kind in FROM_REST:
        learned = {name for block in protocol.baseline for name in block.learn}
        watched = [r.feature for r in protocol.rules] + [protocol.feedback.level.feature]
        lacking = [name for name in dict.fromkeys(watched) if name not in learned]
        if lacking:
            raise InputError(
                f"`{asked.kind}` is made of the person's rest, and no baseline of {protocol.name} "
                f"learns {lacking[0]}.",
                f"Add {', '.join(lacking)} to `learn` of a baseline, or choose another control "
                "condition.",
            )
    if asked.kind in WITH_DONORS and asked.donors is None:
        raise InputError(
            f"`{asked.kind}` needs feedback of somebody else.",
            "Give a folder of donor files; `neuroloop donate RECORDING` makes one.",
        )
    if asked.kind == "other_site" and not asked.sites:
        raise InputError("`other_site` needs a site.", "Give one, as in `sites: [O1]`.")
    if asked.kind == "other_site":
        trained = {s.casefold() for s in protocol.sites}
        same = [s for s in asked.sites if s.casefold() in trained]
        if same:
            raise InputError(f"{same[0]} is the trained site itself.", "Choose another site.")


def _measured(
    protocol: Protocol, kind: str, sites: tuple[str, ...], seed: int, k: int
) -> tuple[Protocol, tuple[Reward | None, tuple[Rule, ...], Level] | None]:
    """Return the protocol with what a control measures beside, and the rules that look at it."""
    if kind == "inverse":
        return protocol, mirrored(protocol)
    if kind not in ("random_band", "other_site"):
        return protocol, None
    drawn = seed if kind == "random_band" else None
    try:
        made = with_other_features(protocol, sites=sites, seed=drawn, tag=f"{k}_")
    except ValueError as error:
        what = "random band" if kind == "random_band" else "other site"
        raise InputError(
            f"No {what} for {protocol.name}: {error}.",
            "Give the sites it takes, or choose another control condition."
            if kind == "other_site"
            else "Choose another control condition.",
        ) from None
    return made[0], made[1:]


def described(kind: str) -> str:
    """Return a control condition in words."""
    return KINDS[kind]


# ---------------------------------------------------------------- written down


def _packed(donor: Donor) -> dict[str, Any]:
    return {
        "protocol": donor.protocol,
        "protocol_sha256": donor.protocol_sha256,
        "grid_hz": donor.grid_hz,
        "session": donor.session,
        "sha256": donor.sha256,
        "blocks": [
            {"level": _text(b.level), "reward": _text(b.reward.astype(np.float64))}
            for b in donor.blocks
        ],
    }


def _text(values: Float) -> str:
    data = np.ascontiguousarray(values, dtype="<f8").tobytes()
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")


def _values(text: str) -> Float:
    data = zlib.decompress(base64.b64decode(text, validate=True))
    return np.frombuffer(data, dtype="<f8").copy()


def again(protocol: Protocol, stored: Any) -> ControlPlan:
    """Return the plan that `ControlPlan.stored` wrote down.

    Parameters
    ----------
    protocol : Protocol
        Of the recording: already with what the controls measure beside.
    stored : mapping

    Raises
    ------
    FileError
        It is not readable.
    """
    try:
        made = []
        for k, row in enumerate(stored["controls"]):
            kind, seed = str(row["kind"]), int(row["seed"])
            sites = tuple(str(s) for s in row["sites"])
            donor = None if row["donor"] is None else _unpacked(row["donor"])
            if kind not in KINDS or (donor is None) == (kind in WITH_DONORS):
                raise ValueError(f"{kind!r} is none, or its donor is missing")
            base = _without_control_features(protocol)
            _, rules = _measured(base, kind, sites, seed, k)
            made.append(_Made(kind, seed, sites, donor, rules))
        chosen = int(stored["chosen"])
        if not 0 <= chosen < len(made):
            raise ValueError(f"there is no control {chosen}")
        return ControlPlan(protocol, tuple(made), chosen)
    except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
        raise FileError(
            f"the control condition in the recording cannot be read ({error})",
            "replay it with the version that recorded it",
        ) from None


def _without_control_features(protocol: Protocol) -> Protocol:
    features = {n: f for n, f in protocol.features.items() if not n.startswith(PREFIX)}
    return protocol.model_copy(update={"features": features})


def _unpacked(row: Mapping[str, Any]) -> Donor:
    blocks = tuple(
        Series(frozen(_values(b["level"])), frozen(_values(b["reward"]) > 0.5))
        for b in row["blocks"]
    )
    return Donor(
        str(row["protocol"]),
        str(row["protocol_sha256"]),
        float(row["grid_hz"]),
        int(row["session"]),
        blocks,
        str(row["sha256"]),
    )
