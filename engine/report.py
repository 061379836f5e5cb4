"""One page per session, written from its recording alone.

The page is a single file without any reference to another one or to the network. It tells what
was measured and how it moved, never that something works and nothing about anybody's health. What
cannot be known says so, with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from engine import accounts
from engine.blindpage import WITHHELD, BlindedPage
from engine.columns import plain
from engine.errors import FileError
from engine.frames import PhaseKind
from engine.grid import mapping
from engine.learned import learned
from engine.opened import unveil
from engine.page import Page, by_cause, per_minute, weighted
from engine.recording import Recording, read
from engine.words import readable
from protocols.sham import PREFIX

__all__ = ["build_report", "summary", "template", "write_page", "write_report"]

SUFFIX = ".report.html"
UNBLINDED = ".unblinded.report.html"  # beside the blinded page, which stays as it was


# ---------------------------------------------------------------- for others


def write_report(
    recording: Path, out: Path | None = None, private_key: bytes | None = None
) -> Path:
    """Write the report of a recording.

    Parameters
    ----------
    recording : Path
        The recording; whole, cut or damaged.
    out : Path, optional
        The page; by default beside the recording as ``<stem>.report.html``. An existing page is
        replaced, because the same recording gives the same page.
    private_key : bytes, optional
        Of a study that is over: the research log of its blinded session is opened, and the page
        goes to ``<stem>.unblinded.report.html``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    FileError
        The recording cannot be read or the page cannot be written.
    RecordingError
        The recording was cut or damaged before its first sample.
    InputError
        A private key was given, and the session is not blinded.
    """
    recording = Path(recording)
    suffix = SUFFIX if private_key is None else UNBLINDED
    target = recording.with_name(recording.stem + suffix) if out is None else Path(out)
    found = read(recording)
    if private_key is not None:
        found = unveil(found, private_key)
    return write_page(target, build_report(found))


def write_page(target: Path, page: str) -> Path:
    """Write a page, whole or not at all, and return where.

    Raises
    ------
    FileError
        It cannot be written.
    """
    half = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        half.touch(mode=0o600)  # for the operator's eyes, like the recording
        half.write_text(page, encoding="utf-8", newline="\n")
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise FileError(
            f"The report {target} cannot be written: {error.strerror or error}.",
            "Choose another place with --out.",
        ) from error
    return target


def build_report(recording: Recording) -> str:
    """Return the report of a recording as one HTML page."""
    told = learned(recording)
    page = BlindedPage(recording, told) if told.withheld else Page(recording, told)
    return template(page.template).render(page=page)


def summary(recording: Recording) -> dict[str, Any]:
    """Return the report's numbers, ready for JSON; what is not known is None.

    Keys: ``outcome, client, protocol, started, test_session, length_s, clean_s, rewards,
    reward_rate, gated_s_by_cause, trained, blocks, baseline, train, trend, thresholds, holds,
    gaps, transport_ms, estimator_delay_s, individual_alpha, filters, guard, damage, closed``. Times
    are in seconds since the first sample. Each of ``blocks`` holds ``fixed`` (per feature the mean
    logarithm of power by the fixed filter and its change against the baseline, for comparison
    across sessions) and ``above_zero``. Besides: ``blinded, withheld, study, presented_kind,
    asked, trials, crossover, started_blocks``; of a blinded session the features, thresholds, rates
    and rewards are None or empty, and ``withheld`` names them.
    """
    told = learned(recording)
    header = recording.header
    train = told.of(PhaseKind.TRAIN)
    protocol = told.protocol
    transport = told.transport
    blocks = accounts.labels(header)
    return plain(  # type: ignore[no-any-return]
        {
            "outcome": told.outcome,
            "outcome_why": told.outcome_why,
            "client": header.get("client"),
            "protocol": None if protocol is None else protocol.name,
            "started": header.get("started"),
            "test_session": header.get("test_session"),
            "length_s": told.length_s,
            "clean_s": {
                kind: sum(b.clean_s for b in told.blocks if b.kind == kind)
                for kind in dict.fromkeys(b.kind for b in told.blocks)
            },
            "blinded": bool(header.get("blinded")),
            "withheld": list(WITHHELD) if told.withheld else [],
            "study": dict(mapping(header.get("study"))) or None,
            "presented_kind": told.presented_kind or None,
            "rewards": (
                sum(b.rewards or 0 for b in train) if train and not told.withheld else None
            ),
            "reward_rate": {
                "alone": weighted(train, "rate_alone"),
                "joint": weighted(train, "rate_joint"),
                "per_clean_min": None if told.withheld else per_minute(train),
            },
            "gated_s_by_cause": dict(by_cause(told.blocks)),
            "trained": told.trained,
            "units": _own(told.units),
            "blocks": told.blocks,
            "baseline": dict(told.resting),
            "train": dict(told.train),
            "trend": dict(told.trend),
            "thresholds": told.steps,
            "holds": told.holds,
            "gaps": [dict(zip(("start_s", "seconds", "cause"), g, strict=True)) for g in told.gaps],
            "transport_ms": {
                "n": transport.n,
                "p50": transport.p50_ms,
                "p95": transport.p95_ms,
                "p99": transport.p99_ms,
                "max": transport.max_ms,
                "why_unknown": transport.why,
            },
            "estimator_delay_s": _own(told.delay_s),
            "individual_alpha": told.alpha,
            "filters": () if told.withheld else told.filters,
            "asked": accounts.asked(recording.events, blocks),
            "trials": accounts.trials(recording.events, blocks),
            "crossover": accounts.crossed(recording.events, blocks),
            "started_blocks": accounts.started(recording.events, blocks),
            "guard": {k: {"times": n, "frames": f} for k, (n, f) in told.guard.items()},
            "missed_frames": told.missed_frames,
            "damage": recording.damage,
            "closed": recording.closed,
        }
    )


def _own(by_feature: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told by feature, without features that only a control condition looks at."""
    return {k: v for k, v in by_feature.items() if not k.startswith(PREFIX)}


def _finalize(value: Any) -> Any:
    return readable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_finalize,
    trim_blocks=True,
    lstrip_blocks=True,
)


def template(name: str) -> jinja2.Template:
    """Return the template of a page."""
    return _PAGES.get_template(name)
