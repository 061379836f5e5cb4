"""The CRED-nf checklist as one HTML page that stands alone."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from engine import figures
from engine.credanswers import Session
from engine.crednf import CHECKLIST, DOMAINS, Checklist, Item
from engine.report import template, write_page
from engine.screening import STATEMENT
from engine.words import Picture, Unknown, count, lasting, readable, signed, text_or_unknown

__all__ = ["SUFFIX", "build_page", "page_path", "write_checklist"]

SUFFIX = ".crednf.html"
_CODE = re.compile(r"`([^`\n]{1,80})`")


def build_page(made: Checklist) -> str:
    """Return the checklist as one HTML page."""
    return template("crednf.html.j2").render(page=_Page(made))


def page_path(path: Path, made: Checklist) -> Path:
    """Return where the page of a recording, or of a folder of them, goes."""
    path = Path(path)
    if not path.is_dir():
        return path.with_name(path.stem + SUFFIX)
    loaded = made.case.loaded
    stem = path.resolve().name if loaded is None else loaded.study.name
    return path / f"{stem or 'recordings'}{SUFFIX}"


def write_checklist(made: Checklist, path: Path, out: Path | None = None) -> Path:
    """Write the page of a checklist and return where; an existing page is replaced.

    Parameters
    ----------
    made : Checklist
    path : Path
        The recording or folder that it was made from.
    out : Path, optional
        The page; by default beside the recording or in the folder.

    Raises
    ------
    FileError
        It cannot be written.
    """
    return write_page(page_path(path, made) if out is None else Path(out), build_page(made))


class _Page:
    """What the template asks for."""

    def __init__(self, made: Checklist) -> None:
        self.made = made
        self.case = made.case
        self.statement = STATEMENT
        self.checklist = CHECKLIST

    @staticmethod
    def words(text: str) -> Markup:
        """Return a sentence with what stands in backticks as code."""
        return Markup(_CODE.sub(r"<code>\1</code>", str(escape(readable(text)))))

    @property
    def title(self) -> str:
        study, protocol = self.case.study, self.case.protocol
        if study is not None:
            return study.title or study.name
        return protocol.title if protocol is not None else self.case.sessions[0].file

    @property
    def meta(self) -> list[str]:
        people = self.case.people
        who = f"Client {people[0]}" if len(people) == 1 else f"{len(people)} people"
        protocol = self.case.sessions[0].protocol_name
        return [who, count(len(self.case.sessions), "session"), f"Protocol {protocol}"]

    @property
    def banners(self) -> list[tuple[str, str, str]]:
        out = []
        tests = [s for s in self.case.sessions if s.header.get("test_session")]
        if tests:
            which = "All of it" if len(tests) == len(self.case.sessions) else "Part of it"
            said = f"{which} comes from sessions for trying the system, not from training."
            out.append(("test", "TEST SESSION", said))
        if self.case.blind:
            said = (
                "Rates of reward and values of the trained feature are left out, because together "
                "they could tell who is in which arm."
            )
            out.append(("warn", "Blinded", said))
        if self.case.loaded is None:
            said = "Items about the design stay blank: give the study file with --study."
            out.append(("warn", "No study file", said))
        return out

    @property
    def tiles(self) -> list[tuple[str, str, str]]:
        of, n = self.made.of, len(self.made.items)
        return [
            ("Answered", str(len(of("answered"))), f"of {n} items"),
            ("In part", str(len(of("partly"))), "something is still missing"),
            ("Blank", str(len(of("blank"))), "with what to do about it"),
        ]

    @property
    def blank(self) -> tuple[Item, ...]:
        return self.made.of("blank")

    @property
    def domains(self) -> list[tuple[str, str, list[Item]]]:
        return [
            (number, name, [i for i in self.made.items if i.id[0] == number])
            for number, name in DOMAINS.items()
        ]

    @property
    def figure(self) -> Picture | None:
        """Every block of every session against rest; nothing while the study is blinded."""
        if self.case.blind:
            return None
        rows = [(self.case.name(s), _distances(s)) for s in self.case.sessions]
        said = " ".join(
            f"{name}: {', '.join(f'{kind} {signed(z)}' for kind, z in blocks)}."
            for name, blocks in rows
            if blocks
        )
        svg = figures.blocks_by_session(rows, "The trained feature in every block", said)
        numbered = "" if len(rows) <= 8 else " Sessions are numbered as in the table below."
        caption = (
            "Median of the trained feature in the clean time of each block, in spreads (MAD) of "
            f"the session's own baseline; grey: one spread to each side of rest.{numbered}"
        )
        return Picture(Markup(svg), caption) if svg else None

    @property
    def sessions(self) -> list[dict[str, Any]]:
        rows = []
        for s in self.case.sessions:
            notes = ["test session"] if s.header.get("test_session") else []
            notes += [s.told.outcome] if s.told.outcome != "done" else []
            notes += ["damaged"] if s.damage else []
            rows.append(
                {
                    "name": self.case.name(s),
                    "file": s.file,
                    "started": _day(s),
                    "length": lasting(s.told.length_s),
                    "forms": str(len(s.forms)) if s.forms else "none",
                    "note": ", ".join(notes),
                }
            )
        return rows

    @property
    def provenance(self) -> list[tuple[str, Any]]:
        loaded = self.case.loaded
        header: Mapping[str, Any] = self.case.sessions[-1].header
        rows: list[tuple[str, Any]] = []
        if loaded is not None:
            rows += [("Study", loaded.study.name), ("Study file, SHA-256", loaded.sha256)]
        hashes = {s.header.get("protocol_sha256") for s in self.case.sessions}
        same = hashes.pop() if len(hashes) == 1 else None
        why = "not the same in all sessions" if hashes else "not in the recording"
        rows.append(("Protocol, SHA-256", text_or_unknown(same, why)))
        rows.append(("Neuroloop", text_or_unknown(header.get("neuroloop"))))
        return rows


def _distances(session: Session) -> list[tuple[str, float]]:
    name = session.told.trained or ""
    found = []
    for block in session.told.blocks:
        course = block.features.get(name)
        if course is not None and course.z is not None:
            found.append((block.kind, course.z))
    return found


def _day(session: Session) -> Any:
    try:
        started = dt.datetime.fromisoformat(session.started)
    except ValueError:
        return Unknown("not in the recording")
    return f"{started.day} {started:%B %Y, %H:%M}"
