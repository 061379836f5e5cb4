"""Reward rules: when conditions that hold become a reward. One is built in; packages may add more.

Whatever a rule says, a reward is given only at a clean grid point at which every condition holds:
`rule` wraps what comes from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from engine.features import Option, options_of
from protocols.baseline import points
from protocols.reward import Schedule

__all__ = ["REWARDS", "SUSTAINED", "BoundedRule", "MakeReward", "RewardKind", "RewardRule", "rule"]

SUSTAINED = "sustained"


class RewardRule(Protocol):
    """When to reward: state, and one step per grid point.

    Its state depends on nothing but the steps taken: no clock, no chance without a fixed seed. A
    replay must give the same rewards.
    """

    def step(self, ok: bool) -> bool:
        """Count one grid point; return whether it is rewarded.

        Parameters
        ----------
        ok : bool
            Whether the point is clean, in training, and all conditions hold there.
        """
        ...

    def reset(self) -> None:
        """Forget what was sustained: samples are missing, or a block begins."""
        ...


MakeReward = Callable[[float, float, float, Mapping[str, float]], RewardRule]
"""From sustain and refractory time in s, the grid's rate in Hz and the options to a fresh rule."""


@dataclass(frozen=True, slots=True)
class RewardKind:
    """One reward rule, as data.

    Parameters
    ----------
    name : str
        The word in YAML.
    doc : str
        One sentence for people.
    make : callable
        See `MakeReward`.
    options : mapping of str to Option
        What `with:` may set.
    """

    name: str
    doc: str
    make: MakeReward
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)


def _sustained(
    sustain_s: float, refractory_s: float, grid_hz: float, options: Mapping[str, float]
) -> RewardRule:
    del options  # it has none
    return Schedule(sustain_s, refractory_s, grid_hz)


REWARDS: Mapping[str, RewardKind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            RewardKind(
                SUSTAINED,
                "A reward when all conditions held for `sustain`; then a pause of `refractory`.",
                _sustained,
            ),
        )
    }
)


class BoundedRule:
    """A rule from elsewhere: it may withhold a reward, never give one where conditions fail.

    Nor does it reward sooner after a reward than the protocol's `refractory` allows. After its
    first failure nothing is rewarded any more, and `fault` says why.
    """

    __slots__ = ("_code", "_left", "_refractory", "fault")

    def __init__(self, make: Callable[[], RewardRule], refractory: int = 0) -> None:
        self.fault = ""
        self._refractory = refractory  # grid points
        self._left = 0
        self._code: RewardRule | None = None
        try:
            self._code = make()
        except (Exception, SystemExit) as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._code = None
        self.fault = f"it failed: {type(error).__name__}: {error}"[:300]

    def step(self, ok: bool) -> bool:
        """Return the rule's answer where `ok`, else False."""
        if self._code is None:
            return False
        try:
            answer: object = self._code.step(ok)
        except (Exception, SystemExit) as error:
            self._fail(error)
            return False
        if not isinstance(answer, bool):
            self._code = None
            self.fault = f"it gave {type(answer).__name__} instead of yes or no"
            return False
        if self._left:
            self._left -= 1
            return False
        if answer and ok:
            self._left = self._refractory
            return True
        return False

    def reset(self) -> None:
        """Pass it on."""
        if self._code is not None:
            try:
                self._code.reset()
            except (Exception, SystemExit) as error:
                self._fail(error)


def rule(
    kind: RewardKind,
    sustain_s: float,
    refractory_s: float,
    grid_hz: float,
    options: Mapping[str, float] | None = None,
) -> Schedule | BoundedRule:
    """Return a fresh rule that never rewards where a condition fails.

    Parameters
    ----------
    kind : RewardKind
    sustain_s, refractory_s : float
        Of the protocol's reward, in seconds.
    grid_hz : float
        Grid points per second.
    options : mapping of str to float, optional
        As given in the protocol.

    Returns
    -------
    rule
        With `step`, `reset` and, for rules from elsewhere, `fault`: empty, or why nothing is
        rewarded any more.

    Raises
    ------
    ValueError
        An option that is not known or out of range. Checked protocols hold none.
    """
    if kind is REWARDS[SUSTAINED]:
        return Schedule(sustain_s, refractory_s, grid_hz)
    values = options_of(kind.options, options or {})
    refractory = points(refractory_s, grid_hz)
    return BoundedRule(lambda: kind.make(sustain_s, refractory_s, grid_hz, values), refractory)
