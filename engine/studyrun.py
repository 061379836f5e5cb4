"""One session of a study: who it is, which session, and what is presented - opened, never told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.controls import Asked, ControlPlan, control_plan
from engine.enrol import begin_session, enrol, enrolled, next_token, session_number
from engine.errors import InputError
from engine.folder import check_client
from engine.frames import Phase, PhaseKind
from engine.seal import KEY_FILE, SEALED_FILE, Allocation, Assigned
from engine.shaping import shapes_sessions
from engine.study import LoadedStudy, load_study
from protocols.model import Protocol

__all__ = ["STRATEGY", "InStudy", "join"]

STRATEGY = "What did you do to change the feedback?"


@dataclass(frozen=True, slots=True, repr=False)
class InStudy:
    """A participant's next session.

    Parameters
    ----------
    loaded : LoadedStudy
    allocation : Allocation
    token : str
    session : int
        Its number, from 1.
    folder : Path
        Of the allocation.
    assigned : Assigned
        Opened by `plan` alone.
    """

    loaded: LoadedStudy
    allocation: Allocation
    token: str
    session: int
    folder: Path
    assigned: Assigned

    def __repr__(self) -> str:
        return f"<session {self.session} of {self.token}>"

    @property
    def blinded(self) -> bool:
        """Whether nobody may see the arm."""
        return self.loaded.study.blinded

    def check_protocol(self, sha256: str) -> None:
        """Refuse a protocol that is not the one the allocation was made for.

        Raises
        ------
        InputError
        """
        wanted = self.allocation.protocol_sha256
        if wanted and wanted != sha256:
            raise InputError(
                "The protocol is not the one that the study was allocated with.",
                f"Restore the file whose SHA-256 begins with {wanted[:12]}, or make a new "
                "allocation.",
            )

    def plan(self, protocol: Protocol, sha256: str, *, test: bool = False) -> ControlPlan:
        """Return what is presented; all arms of the study are prepared, whichever it is.

        Raises
        ------
        InputError
            An arm cannot be made, also when it is another one.
        """
        study = self.loaded.study
        if self.blinded and shapes_sessions(protocol):
            raise InputError(
                f"{protocol.name} shapes the difficulty from session to session; the file that "
                "keeps it would tell how the real feature does.",
                "`shape: {every: block}`, or a study without blinding.",
            )
        here = [a for a in study.arms if a.here]
        asked = [Asked(a.control, self.loaded.donors(a), tuple(a.sites)) for a in here]
        arm = self.assigned.arm(study)
        if arm not in here:
            raise InputError(
                f"No session with this software is planned for {self.token}.",
                "Compare the token with the list of participants.",
            )
        return control_plan(
            protocol,
            asked,
            here.index(arm),
            seed=self.assigned.seed(),
            session=self.session,
            protocol_sha256=sha256,
            test=test,
        )

    def asking(self, plan: Sequence[Phase]) -> tuple[Phase, ...]:
        """Return a plan whose blocks are followed by the question for the strategy, as declared."""
        when = self.loaded.study.questions.strategy
        blocks = [p.index for p in plan if p.kind in (PhaseKind.TRAIN, PhaseKind.TRANSFER)]
        asked = set(blocks if when == "every block" else blocks[-1:] if when else ())
        return tuple(
            replace(p, ask=STRATEGY) if p.index in asked and not p.ask else p for p in plan
        )

    def begin(self, client: str, recording: Path) -> None:
        """Bind the token to the client and count the session.

        Raises
        ------
        InputError
            The token belongs to another client, or the client to another token.
        """
        enrol(self.folder, self.token, client)
        begin_session(self.folder, self.token, recording.name)

    def header(self) -> dict[str, Any]:
        """Return what the recording's header says; nothing about the arm."""
        return {
            "name": self.loaded.study.name,
            "sha256": self.loaded.sha256,
            "allocation_sha256": self.allocation.sha256,
            "token": self.token,
            "session": self.session,
            "sessions": self.loaded.study.sessions,
            "blinding": self.loaded.study.blinding,
        }


def join(
    study: Path, token: str, *, key: Path | None = None, allocation: Path | None = None
) -> InStudy:
    """Return a participant's next session.

    Parameters
    ----------
    study : Path
        The study file.
    token : str
    key : Path, optional
        The runtime key; beside the allocation when left out.
    allocation : Path, optional
        Folder of the allocation; that of the study file when left out.

    Raises
    ------
    InputError
        The study, the allocation, the key or the token is not right, or all sessions are done.
    """
    loaded = load_study(study)
    folder = loaded.folder if allocation is None else allocation
    sealed = Allocation.open(
        folder / SEALED_FILE, folder / KEY_FILE if key is None else key, loaded
    )
    token = token.strip().upper()
    check_client(token)
    if token not in sealed.tokens:
        raise InputError(
            f"{token} is no token of the study {loaded.study.name}.",
            "Use a token of tokens.tsv, in its order.",
        )
    if token not in enrolled(folder):
        wanted = next_token(folder, sealed.tokens, sealed.tokens[token])
        if wanted != token:
            raise InputError(
                f"{token} is not the next token of its stratum ({sealed.tokens[token]}).",
                f"Use {wanted}: tokens are given in their order, so that nobody can choose.",
            )
    number = session_number(folder, token) + 1
    if number > loaded.study.sessions:
        raise InputError(
            f"{token} has begun all {loaded.study.sessions} sessions of the study.",
            "A session that did not come about can be repeated: neuroloop study repeat",
        )
    return InStudy(loaded, sealed, token, number, folder, sealed.source_for(token, number))
