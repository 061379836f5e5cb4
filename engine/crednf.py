"""The CRED-nf checklist of a study, filled from what was recorded and from its study file.

Every answer says where it comes from, and nothing is answered that neither holds. While a study
is blinded, nothing that could tell an arm is written: no reward rate and no value of the trained
feature.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.accounts import asked, labels
from engine.credanswers import ANSWERS, Answer, Case, Session, Visit
from engine.enrol import enrolled
from engine.errors import FileError, InputError
from engine.forms import Filled, read_forms
from engine.grid import mapping, number, numbers
from engine.learned import learned
from engine.measures import Learned, Rows
from engine.opened import unveil
from engine.recording import Recording, read
from engine.study import LoadedStudy

__all__ = [
    "CHECKLIST",
    "DOMAINS",
    "ITEMS",
    "Checklist",
    "Item",
    "arms_in",
    "arms_of",
    "checklist",
    "counted",
    "cred_nf",
    "lines",
    "recordings_of",
    "session_of",
    "summary",
]

CHECKLIST = "CRED-nf checklist (Ros et al. 2020, Brain 143:1674-1685)"

Status = Literal["answered", "partly", "blank"]

DOMAINS: Mapping[str, str] = {
    "1": "Before the experiment",
    "2": "Control groups",
    "3": "Control measures",
    "4": "Feedback",
    "5": "Outcome: brain",
    "6": "Outcome: behaviour",
    "7": "Data",
}
ITEMS: Mapping[str, str] = {
    "1a": "Was the study registered beforehand, and where?",
    "1b": "How was the number of participants planned?",
    "2a": "Which control group or control condition is there?",
    "2b": "Who does not know the conditions, where that is possible?",
    "2c-i": "Are those who rate outcomes blind?",
    "2c-ii": "Are those who analyse the data blind?",
    "2d": "How far did participants and experimenters stay blind?",
    "2e": "For a clinical claim: is the standard treatment compared with?",
    "3a": "Which psychosocial factors were measured?",
    "3b": "Were participants given a strategy, and which instruction?",
    "3c": "Which strategies did participants report?",
    "3d": "How was the signal processed online, and how were artefacts met?",
    "3e": "How did artefacts differ between conditions and groups?",
    "4a": "How is the feature that is fed back defined?",
    "4b": "What was rewarded and when, and why so?",
    "4c": "What did people see and hear?",
    "4d": "Are all brain variables that were fed back recorded, as they were displayed?",
    "4e": "Which hardware and software was used?",
    "5a": "How well was the feature regulated, going by the feedback signal?",
    "5b": "How did it run within sessions and between them, with rest before and after?",
    "5c": "Did it differ from the control group, not only from the baseline?",
    "6a": "Did behaviour or symptoms change by an amount that matters, named beforehand?",
    "6b": "Does the change in behaviour go along with regulation?",
    "7a": "Where can materials, code and data be had?",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the checklist and its answer.

    Parameters
    ----------
    id : str
        As in the checklist: ``1a`` to ``7a``.
    domain : str
    asks : str
        What it asks, in our words.
    answer : str or None
        One sentence or several; lines are separated by line breaks. None where nothing is known.
    sources : tuple of str
        Where the answer comes from: ``study file``, ``protocol``, ``recording``, ``forms``.
    todo : str
        What is still missing and what to do about it; empty when nothing is.
    """

    id: str
    domain: str
    asks: str
    answer: str | None
    sources: tuple[str, ...]
    todo: str = ""

    @property
    def status(self) -> Status:
        """Whether it is answered, partly, or blank."""
        if self.answer is None:
            return "blank"
        return "partly" if self.todo else "answered"


@dataclass(frozen=True)
class Checklist:
    """The 24 items with what they were made from.

    Parameters
    ----------
    items : tuple of Item
    case : Case
        The sessions and the study.
    """

    items: tuple[Item, ...]
    case: Case

    def of(self, status: Status) -> tuple[Item, ...]:
        """Return the items of a status."""
        return tuple(i for i in self.items if i.status == status)


def session_of(recording: Recording, forms: Sequence[Filled] = (), number: int = 1) -> Session:
    """Return what the checklist needs of one recording; much smaller than the recording.

    Parameters
    ----------
    recording : Recording
    forms : sequence of Filled
        Filled in about this session.
    number : int
        Of the session in the list.
    """
    told = learned(recording)
    none = {name: getattr(told.rows, name)[:0] for name in Rows.__dataclass_fields__}
    known = [recording.features.column(n) for n in told.feature_names]
    n_known = int(np.isfinite(known).any(axis=0).sum()) if known else 0
    return Session(
        number=number,
        file=recording.path.name,
        header=recording.header,
        spec=recording.spec,
        told=replace(told, rows=Rows(**none), muscle_uv=np.zeros(0)),
        forms=tuple(forms),
        instructions=_instructions(recording),
        visits=_visits(recording, told, by_events=not n_known),
        n_features=n_known,
        n_presented=len(recording.presented.values),
        n_samples=len(recording.samples),
        displayed=recording.presented.columns,
        answers=tuple(
            (a.block, a.answer)
            for a in asked(recording.events, labels(recording.header))
            if a.answer
        ),
        damage=recording.damage,
    )


def _visits(recording: Recording, told: Learned, *, by_events: bool) -> tuple[Visit, ...]:
    """Return the time of every block; without features only the session's own events know it."""
    if not by_events:
        return tuple(Visit(b.kind, b.total_s, b.clean_s, b.gated_s) for b in told.blocks)
    found = []
    for event in recording.events:
        total, clean = number(event.data.get("total_s")), number(event.data.get("clean_s"))
        if event.kind == "phase_end" and total is not None and clean is not None:
            kind, gated = str(event.data.get("kind")), numbers(event.data.get("gated_s"))
            found.append(Visit(kind, total, clean, gated))
    return tuple(found)


def _instructions(recording: Recording) -> tuple[str, ...]:
    """Return what the person was told before training and transfer blocks, as it was shown."""
    kinds = ("train", "transfer")
    shown = [
        str(e.data.get("say") or "")
        for e in recording.events
        if e.kind == "phase_begin" and e.data.get("kind") in kinds
    ]
    return tuple(dict.fromkeys(s for s in shown if s))


def checklist(
    sessions: Sequence[Session],
    study: LoadedStudy | None = None,
    arms: Mapping[str, str] | None = None,
) -> Checklist:
    """Return the checklist of some sessions; parameters as in `cred_nf`."""
    case = Case(tuple(sessions), study, None if arms is None else dict(arms))
    items = []
    for id_, asks in ITEMS.items():
        made: Answer = ANSWERS[id_](case)
        sources = made.sources if made.text else ()
        items.append(Item(id_, DOMAINS[id_[0]], asks, made.text or None, sources, made.todo))
    return Checklist(tuple(items), case)


def cred_nf(
    recordings: Sequence[Recording],
    study: LoadedStudy | None = None,
    forms: Sequence[Sequence[Filled]] = (),
    arms: Mapping[str, str] | None = None,
) -> tuple[Item, ...]:
    """Return the 24 items of the CRED-nf checklist.

    Parameters
    ----------
    recordings : sequence of Recording
        Sessions, the oldest first; of one person or of a whole study.
    study : LoadedStudy, optional
    forms : sequence of sequence of Filled
        The forms about each recording, in the same order; empty when there are none.
    arms : mapping of str to str, optional
        Participant -> name of the arm, after unblinding. Without it a blinded study stays so.

    References
    ----------
    Ros, Enriquez-Geppert, Zotev et al. 2020, Brain 143:1674-1685.
    """
    given = forms or [()] * len(recordings)
    made = [session_of(r, f, i) for i, (r, f) in enumerate(zip(recordings, given, strict=True), 1)]
    return checklist(made, study, arms).items


# ---------------------------------------------------------------- files


def recordings_of(
    path: Path, study: LoadedStudy | None = None, private_key: bytes | None = None
) -> list[Session]:
    """Return the sessions of a recording, or of all recordings in a folder, the oldest first.

    In a folder, what names another study is left out. Sessions of several people need a study
    file, and all must be of one protocol.

    Parameters
    ----------
    path : Path
    study : LoadedStudy, optional
    private_key : bytes, optional
        Of the study, when it is over: the research logs of blinded sessions are opened.

    Raises
    ------
    FileError
        There is no recording, or the research log of one cannot be opened.
    InputError
        The folder holds recordings of several people (without a study) or protocols, or the
        study is about another protocol.
    """
    from engine.batch import is_recording

    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.glob("*.xdf") if is_recording(p))
        files = [f for f in files if not _is_copy(f)]
    else:
        files = [path]
    if not files:
        raise FileError(
            f"{path} holds no recording of a Neuroloop session.",
            "Choose the folder in which sessions are recorded.",
        )
    if not path.is_dir() and path.is_file() and not is_recording(path):
        raise FileError(
            f"{path} is no recording of a Neuroloop session.",
            "The checklist is made from the .xdf file that a session left behind.",
        )
    sessions = []
    for file in files:  # one at a time: a recording is large, what is kept of it is not
        found = read(file)
        own = study is None or _of_study(found, study)
        if private_key is not None and own and found.header.get("blinded"):
            found = unveil(found, private_key)
        sessions.append(session_of(found, read_forms(file)))
    if study is not None and path.is_dir():
        sessions = [s for s in sessions if s.study_name in ("", study.study.name)]
    sessions.sort(key=lambda s: (s.started, s.file))
    _alike(path, sessions, study)
    return [replace(s, number=i) for i, s in enumerate(sessions, 1)]


def arms_of(path: Path, study: LoadedStudy) -> dict[str, str]:
    """Return the arm of every participant after a study, by token and by client id.

    Parameters
    ----------
    path : Path
        The table that `neuroloop unseal` wrote: ``token``, ``arm`` and more.
    study : LoadedStudy
        Its arms; the client ids of tokens are looked for beside it and beside the table.

    Raises
    ------
    FileError
        The table cannot be read.
    InputError
        It is no such table, or names an arm that the study has not.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path} cannot be read: {error}.", "Check the name.") from None
    if not rows or not {"token", "arm"} <= set(rows[0]):
        raise InputError(
            f"{path} is no table of assignments.", "It is written by `neuroloop unseal STUDY`."
        )
    arms = {str(row["token"]): study.study.arm(str(row["arm"])).name for row in rows}
    clients = {**enrolled(study.folder), **enrolled(path.parent)}
    return arms | {client: arms[token] for token, client in clients.items() if token in arms}


def arms_in(sessions: Sequence[Session], study: LoadedStudy) -> dict[str, str]:
    """Return the arm of every client whose sessions' research logs are open.

    The log says which of the study's arms was presented, counted among those run here.
    """
    here = [a for a in study.study.arms if a.here]
    found: dict[str, str] = {}
    for session in sessions:
        chosen = mapping(session.header.get("control")).get("chosen")
        if session.header.get("unveiled") and isinstance(chosen, int) and 0 <= chosen < len(here):
            found[session.client] = here[chosen].name
    return found


def _of_study(recording: Recording, study: LoadedStudy) -> bool:
    row = recording.header.get("study")
    return not isinstance(row, Mapping) or row.get("name") == study.study.name


def _is_copy(file: Path) -> bool:
    """Return whether a file is the repaired copy of another one in its folder."""
    stem = file.stem.rsplit("-recovered", 1)[0]
    return stem != file.stem and file.with_name(f"{stem}.xdf").exists()


def _alike(path: Path, sessions: Sequence[Session], study: LoadedStudy | None) -> None:
    if not sessions:
        name = "" if study is None else study.study.name
        raise FileError(f"{path} holds no recording of the study {name}.", "Check the folder.")
    clients = tuple(dict.fromkeys(s.client for s in sessions))
    if study is None and len(clients) > 1:
        raise InputError(
            f"{path} holds recordings of {len(clients)} people ({', '.join(clients[:5])}).",
            "Give the study with --study FILE, or choose a folder or recording of one person.",
        )
    protocols = tuple(dict.fromkeys(s.protocol_name for s in sessions))
    if len(protocols) > 1:
        raise InputError(
            f"{path} holds recordings of several protocols ({', '.join(protocols[:5])}).",
            "One checklist tells of one protocol; put the recordings of each into its own folder.",
        )
    wanted = protocols[0] if study is None else study.protocol
    if isinstance(wanted, str) and wanted != protocols[0]:
        raise InputError(
            f"The study is about the protocol {wanted}, the recordings are of {protocols[0]}.",
            "Give the recordings of the study, or correct `protocol:` in the study file.",
        )


# ---------------------------------------------------------------- as text and as data


def lines(made: Checklist) -> list[str]:
    """Return the checklist as lines of text."""
    out = [counted(made), ""]
    for item in made.items:
        out.append(f"{item.id}  {item.asks}  [{item.status}]")
        for line in (item.answer or "").split("\n"):
            if line:
                out.append(f"    {line}")
        if item.sources:
            out.append(f"    (from: {', '.join(item.sources)})")
        if item.todo:
            out.append(f"    -> {item.todo}")
    return out


def counted(made: Checklist) -> str:
    """Return in one sentence how much is answered."""
    n = {s: len(made.of(s)) for s in ("answered", "partly", "blank")}
    blank = ", ".join(i.id for i in made.of("blank"))
    return (
        f"{n['answered']} of {len(made.items)} items are answered, {n['partly']} in part, "
        f"{n['blank']} are blank{f' ({blank})' if blank else ''}."
    )


def summary(made: Checklist) -> dict[str, Any]:
    """Return the checklist ready for JSON; an item that is blank has the answer None."""
    case = made.case
    study = case.loaded
    return {
        "checklist": CHECKLIST,
        "study": None if study is None else study.study.name,
        "study_sha256": None if study is None else study.sha256,
        "withheld": case.blind,
        "recordings": [s.file for s in case.sessions],
        "counts": {
            "answered": len(made.of("answered")),
            "partly": len(made.of("partly")),
            "blank": len(made.of("blank")),
        },
        "items": [
            {
                "id": i.id,
                "domain": i.domain,
                "asks": i.asks,
                "status": i.status,
                "answer": i.answer,
                "sources": list(i.sources),
                "todo": i.todo or None,
            }
            for i in made.items
        ],
    }
