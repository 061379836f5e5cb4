"""How well people stayed blind: Bang's index of each arm, and the table of guesses behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.special import ndtri

from engine.errors import InputError
from engine.study import CONTROLS

__all__ = ["GUESSES", "Bang", "Guess", "Tally", "bang", "bang_index", "right_guess", "tally"]

Guess = Literal["training", "placebo", "do_not_know"]
GUESSES: tuple[Guess, ...] = ("training", "placebo", "do_not_know")


@dataclass(frozen=True, slots=True)
class Tally:
    """The guesses of the people of one arm: how often each was made."""

    arm: str
    training: int = 0
    placebo: int = 0
    do_not_know: int = 0

    @property
    def n(self) -> int:
        """Everybody who answered."""
        return self.training + self.placebo + self.do_not_know


@dataclass(frozen=True, slots=True)
class Bang:
    """Bang's blinding index of one arm.

    Parameters
    ----------
    arm : str
    n : int
        Everybody who answered, also those who did not know.
    right, wrong : int
        Guesses that name the person's arm, and the other one.
    index : float or None
        1: all guessed right; 0: as by chance; -1: all guessed wrong.
    low, high : float or None
        Confidence limits.
    why : str
        Why something of it is not known.
    """

    arm: str
    n: int
    right: int
    wrong: int
    index: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""


def right_guess(control: str) -> Guess | None:
    """Return which guess is right in an arm of this control; None where nobody can be blind.

    Raises
    ------
    InputError
        There is no such control condition.
    """
    if control not in CONTROLS:
        raise InputError(
            f"There is no control condition {control}.", f"There are {', '.join(CONTROLS)}."
        )
    if not CONTROLS[control].concealable:
        return None  # whoever is in such an arm sees what it is
    return "training" if control == "real" else "placebo"


def tally(guesses: Iterable[tuple[str, str]]) -> tuple[Tally, ...]:
    """Return the table of guesses, one row for each arm in order of appearance.

    Parameters
    ----------
    guesses : iterable of (str, str)
        The arm of a person (any word where it is not known) and their guess. One pair for each
        person: answers of one person at several sessions depend on each other.

    Raises
    ------
    InputError
        A guess is none of `GUESSES`.
    """
    rows: dict[str, dict[str, int]] = {}
    for arm, guess in guesses:
        if guess not in GUESSES:
            raise InputError(f"{guess} is no guess.", f"Guesses are {', '.join(GUESSES)}.")
        row = rows.setdefault(arm, dict.fromkeys(GUESSES, 0))
        row[guess] += 1
    return tuple(Tally(arm, **row) for arm, row in rows.items())


def bang_index(
    right: int, wrong: int, unsure: int = 0, *, confidence: float = 0.95, arm: str = ""
) -> Bang:
    r"""Return Bang's blinding index of one arm.

    Parameters
    ----------
    right, wrong, unsure : int
        People who guessed their arm, who guessed the other one, who did not know.
    confidence : float
        Of the two-sided limits.
    arm : str
        Its name.

    Notes
    -----
    With :math:`p_r` and :math:`p_w` the shares of right and wrong guesses among all `n` answers,

    .. math:: BI = p_r - p_w, \qquad
              \mathrm{var}(BI) = \frac{p_r + p_w - (p_r - p_w)^2}{n}

    the variance being that of a difference of two shares of a multinomial. The limits are
    :math:`BI \pm z \sqrt{\mathrm{var}}`, kept within -1 and 1; they are rough below some twenty
    people, and unknown where all gave the same answer, because the estimated variance is then
    zero.

    References
    ----------
    Bang, Ni & Davis 2004, Controlled Clinical Trials 25:143-156.

    Examples
    --------
    >>> made = bang_index(10, 4, 6)
    >>> made.index, round(made.low, 3), round(made.high, 3)
    (0.3, -0.041, 0.641)
    """
    if min(right, wrong, unsure) < 0:
        raise InputError("A number of people is below zero.", "Count every answer once.")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"A confidence of {confidence:g} is not possible.", "Use 0.95.")
    n = right + wrong + unsure
    if n == 0:
        return Bang(arm, 0, 0, 0, why="nobody answered")
    index = (right - wrong) / n
    variance = ((right + wrong) / n - index * index) / n
    if n in (right, wrong, unsure):
        return Bang(arm, n, right, wrong, index, why="all gave the same answer")
    far = float(ndtri(0.5 + confidence / 2.0)) * math.sqrt(variance)
    return Bang(arm, n, right, wrong, index, max(-1.0, index - far), min(1.0, index + far))


def bang(
    table: Iterable[Tally], controls: Mapping[str, str], *, confidence: float = 0.95
) -> tuple[Bang, ...]:
    """Return the index of every arm of a table of guesses.

    Parameters
    ----------
    table : iterable of Tally
    controls : mapping of str to str
        The control condition of each arm: ``{"training": "real", "placebo": "replay_other"}``.
    confidence : float
        Of the two-sided limits.

    Raises
    ------
    InputError
        An arm has no control condition, or one that does not exist.
    """
    found = []
    for row in table:
        if row.arm not in controls:
            raise InputError(
                f"Which control condition {row.arm} is, is not known.",
                f"Known arms: {', '.join(controls) or 'none'}.",
            )
        right = right_guess(controls[row.arm])
        if right is None:
            found.append(Bang(row.arm, row.n, 0, 0, why="nobody in this arm can be blind"))
            continue
        hits, misses = row.training, row.placebo
        if right == "placebo":
            hits, misses = misses, hits
        found.append(bang_index(hits, misses, row.do_not_know, confidence=confidence, arm=row.arm))
    return tuple(found)
