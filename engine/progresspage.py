"""The progress of a client as one HTML page, in the manner of a session's report.

A single file without any reference to another one or to the network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from engine import learning, report
from engine.figures import BLUE, GREEN, GREY, RED, SKY, STYLE, as_svg, new_figure, plain_text
from engine.measures import own_unit
from engine.progress import (
    BLINDED,
    CONSTANT_RATE,
    DESCRIPTION,
    INDEPENDENT,
    TEST,
    Progress,
    Session,
)
from engine.progresstext import (
    TrendRow,
    day,
    effect_words,
    limits,
    muscle_words,
    percent,
    slope_words,
    trend_rows,
)
from engine.screening import STATEMENT
from engine.words import Picture, Unknown, count, rounded, signed
from protocols.phrases import UNITS

__all__ = ["ProgressPage", "build_page", "write_page"]

ACROSS = 5  # panels side by side
MOST_PANELS = 40


# ---------------------------------------------------------------- for others


def build_page(told: Progress) -> str:
    """Return the progress of a client as one HTML page."""
    return report.template("progress.html.j2").render(page=ProgressPage(told))


def write_page(told: Progress, out: Path) -> Path:
    """Write the page; an existing one is replaced.

    Raises
    ------
    FileError
        It cannot be written.
    """
    return report.write_page(Path(out), build_page(told))


# ---------------------------------------------------------------- the page


class ProgressPage:
    """What the template asks for. Every property is one part of the page."""

    def __init__(self, told: Progress) -> None:
        self.told = told
        self.statement = STATEMENT
        self.description = DESCRIPTION
        self.independent = INDEPENDENT
        self.constant_rate = CONSTANT_RATE
        self.feature = told.feature
        self.unit = UNITS.get(told.unit, told.unit)

    @property
    def banners(self) -> list[tuple[str, str, str]]:
        """(class, heading, sentence) of everything to know before reading on."""
        out = []
        if self.told.test_sessions:
            n = count(self.told.test_sessions, "session")
            out.append(("test", "TEST SESSIONS", f"{n} for trying the system counted in. Nothing "
                        "here is about a person's training."))  # fmt: skip
        if self.told.blinded:
            out.append(("warn", BLINDED, "Recordings of a blinded study withhold the features; "
                        "nothing is told about them."))  # fmt: skip
        return out

    @property
    def tiles(self) -> list[tuple[str, Any, str]]:
        """(heading, number, small print)."""
        told = self.told
        trend = told.trends["session"]
        sessions = told.sessions
        blocks = sum(len(s.blocks) for s in sessions)
        left = blocks - sum(len(s.counted) for s in sessions)
        first = f", {count(left, 'block')} left out" if left else ""
        last = next((s for s in reversed(sessions) if s.z.mean is not None), None)
        gone = [s for s in sessions if s.transfer_z is not None]
        return [
            ("Sessions", str(len(sessions)), f"{count(blocks, 'training block')}{first}"),
            (
                "Last session against rest",
                Unknown("no rest") if last is None else f"{signed(last.z.mean or 0.0)} SD",
                "" if last is None or last.z.low is None or last.z.high is None
                else f"{signed(last.z.low)} to {signed(last.z.high)}",
            ),
            (
                "Per session",
                Unknown(trend.ols.why) if trend.ols.per_step is None
                else f"{signed(trend.ols.per_step)} SD",
                limits(trend.ols, digits=2),
            ),
            (
                "Last transfer against rest",
                f"{signed(gone[-1].transfer_z or 0.0)} SD" if gone else Unknown("no transfer"),
                f"session {gone[-1].number}" if gone else "",
            ),
        ]  # fmt: skip

    @property
    def sentences(self) -> Iterator[str]:
        """The series in plain words."""
        told = self.told
        yield (
            f"Trained was {told.what}, rewarded {told.direction} a threshold. Numbers are of clean "
            "time, and positive means the trained direction. SD is the spread of the same "
            f"session's rest{', of ln values' if told.scale == 'ln' else ''}."
        )
        yield from told.notes
        fit = told.trends["session"].ols
        if fit.per_step is None:
            yield f"A slope over the sessions is not known: {fit.why}."
        else:
            held = told.partial
            adjusted = (
                f"With muscle held constant it is {slope_words(held, digits=2)}."
                if held.per_step is not None
                else f"With muscle held constant it is not known: {held.why}."
            )
            yield (
                f"From session to session training moved by {slope_words(fit, digits=2)} SD "
                f"against the same session's rest. {adjusted}"
            )

    # ------------------------------------------------------------ figures

    @property
    def figure_sessions(self) -> Picture | None:
        """Session means against rest."""
        return _picture(
            _sessions_figure(self.told),
            "Dot: session mean against the same session's rest, with 95 % limits from its blocks. "
            "Diamond: transfer, without feedback. Grey line: rest; grey band: one SD to each "
            "side. Line and band: least squares over the sessions and the 95 % band of its mean.",
        )

    @property
    def figure_within(self) -> Picture | None:
        """Blocks of each session."""
        hidden = len(self.told.sessions) - MOST_PANELS
        more = f" The last {MOST_PANELS} sessions." if hidden > 0 else ""
        return _picture(
            _within_figure(self.told),
            "One panel per session: its training blocks against its own rest (grey), with the "
            f"least-squares line. Hollow: left out (mostly not clean, or cut short).{more}",
        )

    @property
    def figure_beside(self) -> Picture | None:
        """Rest, muscle and rates over the sessions."""
        return _picture(
            _beside_figure(self.told),
            "Left: rest itself, positive in the trained direction. Middle: muscle in training "
            "against rest. Right: shares of clean time beyond the first session's threshold, with "
            "the reward condition alone and with all together, and the clean share.",
        )

    # ------------------------------------------------------------ tables

    @property
    def sessions(self) -> list[dict[str, Any]]:
        """One row per session: the learning metrics."""
        return [
            {
                "number": s.number,
                "day": day(s.started),
                "notes": "; ".join(n for n in s.notes if n != TEST),
                "blocks": f"{len(s.counted)} of {len(s.blocks)}",
                "z": Unknown(s.z.why) if s.z.mean is None else signed(s.z.mean),
                "z_limits": _between(s.z.low, s.z.high),
                "slope": _or_why(s.slope.per_step, s.slope.why),
                "slope_limits": limits(s.slope, digits=2),
                "theil_sen": _or_why(s.theil_sen.per_step, s.theil_sen.why),
                "theil_sen_limits": limits(s.theil_sen, digits=2),
                "partial": _or_why(s.partial.per_step, s.partial.why),
                "partial_limits": limits(s.partial, digits=2),
                "last": _or_why(s.last_minus_first, "fewer than two blocks"),
                "transfer": _or_why(s.transfer_z, "no transfer, or no rest"),
                "fixed": _or_why(s.fixed_change, "not read by the fixed filter"),
            }
            for s in self.told.sessions
        ]

    @property
    def beside(self) -> list[dict[str, Any]]:
        """One row per session: rates, muscle, delays, thresholds."""
        return [
            {
                "number": s.number,
                "clean": percent(s.clean_share),
                "causes": ", ".join(
                    f"{c} {100 * x:.0f}\u00a0%" for c, x in s.gated_share.items() if x >= 0.005
                ),
                "over_first": percent(s.over_first),
                "alone": percent(s.reward_alone),
                "joint": percent(s.reward_joint),
                "rewards": "not known" if s.rewards is None else str(s.rewards),
                "muscle": muscle_words(s),
                "flagged": s.muscle_flagged,
                "transport": _ms(s.transport_ms.get("p95")),
                "estimator": _ms(None if s.estimator_s is None else 1000 * s.estimator_s),
            }
            for s in self.told.sessions
        ]

    @property
    def thresholds(self) -> list[dict[str, str]]:
        """Every change of the reward threshold."""
        return [
            {
                "number": str(s.number),
                "time": f"{step.t_s / 60:.1f} min",
                "old": "" if step.old is None else f"{rounded(step.old)} {self.unit}".strip(),
                "new": f"{rounded(step.new)} {self.unit}".strip(),
                "how": step.method or "not recorded",
                "reason": step.reason,
            }
            for s in self.told.sessions
            for step in s.thresholds
        ]

    @property
    def rests(self) -> list[dict[str, Any]]:
        """Rest in the feature's own unit, session by session."""
        told = self.told

        def own(x: float | None, why: str) -> Any:
            if x is None:
                return Unknown(why)
            return f"{rounded(own_unit(x, told.scale))} {self.unit}".strip()

        return [
            {
                "number": s.number,
                "rest": own(s.level.rest, s.level.why),
                "train": own(s.level.train, s.level.why),
                "transfer": own(s.level.transfer, "no transfer"),
                "spread": Unknown(s.level.why)
                if s.level.spread is None
                else rounded(s.level.spread),
                "fixed": Unknown("not read by the fixed filter")
                if s.fixed_rest is None
                else f"{s.fixed_rest:.2f}",
                "fitted": {"session": "fitted anew", "course": "of the course"}.get(
                    s.fitted, "fixed"
                ),
            }
            for s in told.sessions
        ]

    @property
    def trends(self) -> list[TrendRow]:
        return trend_rows(self.told)

    @property
    def partial(self) -> str:
        return slope_words(self.told.partial, digits=2)

    @property
    def with_muscle(self) -> str:
        return slope_words(self.told.with_muscle, digits=2)

    @property
    def effect(self) -> str:
        return effect_words(self.told.effect)

    @property
    def effect_blocks(self) -> str:
        return effect_words(self.told.effect_blocks)

    @property
    def has_bursts(self) -> bool:
        return any(b.role == "bursts" for b in self.told.beside)


def _ms(value: float | None) -> Any:
    return Unknown("") if value is None else f"{value:.0f} ms"


def _or_why(x: float | None, why: str) -> Any:
    return Unknown(why) if x is None else signed(x)


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def _picture(svg: str, caption: str) -> Picture | None:
    return Picture(Markup(svg), caption) if svg else None


# ---------------------------------------------------------------- the figures


def _known(sessions: Sequence[Session], values: Sequence[float | None]) -> tuple[Any, Any]:
    pairs = [(s.number, v) for s, v in zip(sessions, values, strict=True) if v is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _sessions_figure(told: Progress) -> str:
    sessions = told.sessions
    z = [s.z.mean for s in sessions]
    if all(v is None for v in z):
        return ""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.4)
        axes = figure.add_subplot()
        axes.axhspan(-1.0, 1.0, color="#F1F2F4", zorder=0, lw=0)
        axes.axhline(0.0, color=GREY, lw=1.2, zorder=1, label="Rest of the same session")
        x = [float(s.number) for s in sessions]
        at = np.linspace(x[0], x[-1], 60)
        fit = learning.line(x, z, list(at))
        if fit is not None:
            axes.plot(at, fit.middle, color=BLUE, lw=1.2, zorder=2, label="Line over the sessions")
            shown = [v for v in (*z, *(s.transfer_z for s in sessions)) if v is not None]
            reach = 3.0 * max(1.0, max(abs(v) for v in shown))
            axes.fill_between(at, np.clip(fit.low, -reach, reach), np.clip(fit.high, -reach, reach),
                              color=SKY, alpha=0.18, lw=0, zorder=1)  # fmt: skip
        for s in sessions:
            if s.z.low is not None and s.z.high is not None:
                axes.plot([s.number] * 2, [s.z.low, s.z.high], color=BLUE, lw=1.3, zorder=3)
        axes.plot(*_known(sessions, z), "o", color=BLUE, mec="white", mew=0.8, ms=7, zorder=4,
                  label="Training")  # fmt: skip
        moved, transfer = _known(sessions, [s.transfer_z for s in sessions])
        if moved:
            axes.plot([m + 0.14 for m in moved], transfer, "D", color=RED, mec="white", mew=0.8,
                      ms=6, zorder=4, label="Transfer (no feedback)")  # fmt: skip
        _limit(axes, [*z, *transfer], [s.z.low for s in sessions], [s.z.high for s in sessions])
        axes.set_xlim(x[0] - 0.6, x[-1] + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
        axes.set_xlabel("session")
        axes.set_ylabel(
            plain_text(f"{told.feature} against rest (SD)\npositive: trained direction")
        )
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, handletextpad=0.4,
                    columnspacing=1.2)  # fmt: skip
        said = " ".join(
            f"Session {s.number}: {signed(s.z.mean)} SD." for s in sessions if s.z.mean is not None
        )
        return as_svg(figure, "fig-sessions", f"{told.feature} in each session against rest", said)


def _limit(axes: Any, values: Sequence[float | None], *more: Sequence[float | None]) -> None:
    """Keep the points readable where limits from few blocks reach far."""
    known = [v for v in values if v is not None]
    low, high = min([*known, -1.0]), max([*known, 1.0])
    room = max(1.0, high - low)
    ends = [v for row in more for v in row if v is not None]
    low_end, high_end = min([*ends, low]), max([*ends, high])
    axes.set_ylim(max(low_end, low - room) - 0.08 * room, min(high_end, high + room) + 0.08 * room)


def _within_figure(told: Progress) -> str:
    sessions = [s for s in told.sessions if any(b.z is not None for b in s.blocks)][-MOST_PANELS:]
    if not sessions:
        return ""
    across = min(ACROSS, len(sessions))
    down = math.ceil(len(sessions) / across)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(0.7 + 1.35 * down)
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for k, axes in enumerate(panels.flat):
            if k >= len(sessions):
                axes.set_axis_off()
                continue
            _within_panel(axes, sessions[k])
            if k + across >= len(sessions):
                axes.tick_params(labelbottom=True)
        figure.supxlabel("training block", fontsize=9)
        figure.supylabel("against rest (SD)", fontsize=9)
        said = " ".join(
            f"Session {s.number}: {signed(s.slope.per_step)} per block."
            for s in sessions
            if s.slope.per_step is not None
        )
        return as_svg(figure, "fig-within", "Blocks of each session against rest", said)


def _within_panel(axes: Any, s: Session) -> None:
    axes.axhline(0.0, color=GREY, lw=1.0, zorder=1)
    counted = [b for b in s.counted if b.z is not None]
    x = [float(b.number) for b in counted]
    fit = learning.line(x, [b.z for b in counted], [x[0], x[-1]] if x else [])
    if fit is not None:
        axes.plot(fit.at, fit.middle, color=BLUE, lw=1.2, zorder=2)
    axes.plot(x, [b.z for b in counted], "o", color=BLUE, mec="white", mew=0.6, ms=5, zorder=3)
    left = [b for b in s.blocks if b.left_out and b.z is not None]
    axes.plot([b.number for b in left], [b.z for b in left], "o", mfc="white", mec=BLUE, ms=5,
              zorder=3)  # fmt: skip
    axes.set_title(f"{s.number}", fontsize=9, loc="left")
    axes.margins(x=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _beside_figure(told: Progress) -> str:
    sessions = told.sessions
    fixed = any(s.fixed_rest is not None for s in sessions)
    rest = told.trends["rest_fixed" if fixed else "rest"]
    muscle = [s.muscle_change for s in sessions]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(2.9)
        panels = figure.subplots(1, 3)
        _course(panels[0], sessions, rest.values, BLUE, "o", "")
        panels[0].set_ylabel(plain_text(rest.unit))
        panels[0].set_title("Rest itself", fontsize=9, loc="left")
        tone = [None if m is None else 100.0 * math.expm1(m) for m in muscle]
        panels[1].axhline(0.0, color=GREY, lw=1.0, zorder=1)
        _course(panels[1], sessions, tone, RED, "D", "")
        panels[1].set_ylabel("% more than at rest")
        panels[1].set_title("Muscle in training", fontsize=9, loc="left")
        for values, colour, marker, word in (
            ([s.over_first for s in sessions], BLUE, "o", "Beyond first threshold"),
            ([s.reward_alone for s in sessions], SKY, "^", "Reward alone"),
            ([s.reward_joint for s in sessions], RED, "v", "All together"),
            ([s.clean_share for s in sessions], GREEN, "s", "Clean"),
        ):
            shares = [None if v is None else 100.0 * v for v in values]
            _course(panels[2], sessions, shares, colour, marker, word)
        panels[2].set_ylim(-3, 105)
        panels[2].set_ylabel("% of time")
        panels[2].legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=2, fontsize=7,
                         handletextpad=0.3, columnspacing=0.8)  # fmt: skip
        for axes in panels:
            axes.set_xlabel("session")
            axes.set_xlim(0.5, len(sessions) + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        said = "Rest, muscle and rates over the sessions; the tables give the numbers."
        return as_svg(figure, "fig-beside", "Rest, muscle and rates", said)


def _course(
    axes: Any,
    sessions: Sequence[Session],
    values: Sequence[float | None],
    colour: str,
    marker: str,
    word: str,
) -> None:
    x, y = _known(sessions, values)
    if not x and not word:
        axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center", color=GREY)
        return
    axes.plot(x, y, color=colour, marker=marker, ms=5, lw=1.1, mec="white", mew=0.5, zorder=3,
              label=word or None)  # fmt: skip
