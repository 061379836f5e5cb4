"""The figures of a report, as SVG to be put into a page.

Drawn without a screen and without pyplot, so that nothing global is touched. Text stays text (it
can be read aloud, searched and enlarged); colours are those of Okabe and Ito, which people with
any colour vision tell apart, and shapes or hatching say the same again for a grey print.
"""

from __future__ import annotations

import html
import io
import re
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from engine.frames import Float
from engine.learned import COUNTED
from engine.measures import Block, Filter, Learned, binned
from engine.words import tenths

__all__ = [
    "STYLE",
    "as_svg",
    "blocks_by_session",
    "clean_time",
    "estimator_curves",
    "feature_by_block",
    "new_figure",
    "plain_text",
    "rates_by_block",
    "session_course",
    "unit_words",
]

WIDTH_IN = 7.6
FEW = 3  # thresholds in a block that are drawn one by one
BINS = 1500  # of a session's course: more than a screen has pixels for it

BLUE, ORANGE, GREEN, RED, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#6B7280",
)  # fmt: skip
LOOKS = {
    "baseline": (GREY, "s", "Baseline"),
    "train": (BLUE, "o", "Training (feedback)"),
    "transfer": (RED, "D", "Transfer (no feedback)"),
    "post": (GREEN, "^", "Rest afterwards"),
}
SHADES = {"baseline": "#E5E7EB", "train": "#DCEBF5", "transfer": "#FBE6DA", "post": "#DDF1EA"}

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#4B5563",
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#E5E7EB",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "neuroloop",  # the same recording gives the same page
    "text.parse_math": False,  # names may hold a dollar sign
    "text.usetex": False,
    "path.simplify": True,
}

_UNFIT = ("Cc", "Cf", "Cs", "Co", "Cn")  # characters that no font shows


def unit_words(unit: str) -> str:
    """Return a unit as people write it: ``µV²``, ``µV``, or nothing."""
    return {"uV2": "µV²", "uV": "µV", "1": ""}.get(unit, unit)


def plain_text(text: str) -> str:
    """Return `text` without characters that no font or XML knows what to do with."""
    return "".join("\ufffd" if c != "\n" and unicodedata.category(c) in _UNFIT else c for c in text)


def _number(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _axis_name(learned: Learned, name: str) -> str:
    unit = unit_words(learned.units.get(name, ""))
    return plain_text(f"{name} ({unit})" if unit else name)


def as_svg(figure: Figure, name: str, title: str, said: str) -> str:
    """Return a figure as an inline ``<svg>`` with a title and a description."""
    buffer = io.StringIO()
    canvas = FigureCanvasSVG(figure)
    with warnings.catch_warnings():
        # A name may hold letters that the measuring font lacks; the reader's browser has them.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    # Ids are counted anew in every figure; on one page they must differ.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    label = f'role="img" aria-labelledby="{name}-title {name}-desc"'
    told = (
        f'<title id="{name}-title">{html.escape(plain_text(title))}</title>'
        f'<desc id="{name}-desc">{html.escape(plain_text(said))}</desc>'
    )
    return f"{head} {label}>{told}{rest}"


def new_figure(height_in: float) -> Figure:
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def _log_axis(axes: Any, values: Sequence[float]) -> None:
    """Use a logarithmic axis with plain numbers at 1, 2 and 5."""
    good = [v for v in values if np.isfinite(v) and v > 0]
    if not good:
        return
    axes.set_yscale("log")
    low, high = min(good) / 1.15, max(good) * 1.15
    axes.set_ylim(low, high)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps: tuple[float, ...] = (1, 2, 5) if high / low > 6 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    axes.set_yticks([t for d in decades for s in steps if low <= (t := s * 10.0**d) <= high])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: _number(x)))


# ---------------------------------------------------------------- by block


def feature_by_block(learned: Learned, name: str, title: str, said: str) -> str:
    """Return the feature's spread in every block against rest; empty when there is none."""
    blocks = [b for b in learned.blocks if name in b.features]
    if not blocks:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.5)
        axes = figure.add_subplot()
        rest = learned.resting.get(name)
        if rest is not None:
            axes.axhspan(rest.low, rest.high, color="#E5E7EB", zorder=0, lw=0)
            axes.axhline(rest.centre, color=GREY, lw=1.2, zorder=1)
        seen: set[str] = set()
        for x, block in enumerate(blocks):
            colour, marker, word = LOOKS[block.kind]
            s = block.features[name].spread
            axes.plot([x, x], [s.p5, s.p95], color=colour, lw=1.2, zorder=3)
            axes.plot([x, x], [s.q1, s.q3], color=colour, lw=6, alpha=0.45, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
            # Hollow: its numbers come with a note.
            fill, rim = ("white", colour) if block.note else (colour, "white")
            axes.plot(x, s.median, marker, mfc=fill, mec=rim, mew=0.8, ms=7, zorder=4, ls="",
                      label=None if word in seen else word)  # fmt: skip
            seen.add(word)
        _threshold_marks(axes, learned, blocks, name)
        axes.set_xticks(range(len(blocks)), _ticks(blocks))
        axes.set_xlim(-0.6, len(blocks) - 0.4)
        axes.set_ylabel(_axis_name(learned, name))
        spreads = [b.features[name].spread for b in blocks]
        if learned.scales.get(name) == "ln":
            extra = [] if rest is None else [rest.low, rest.high]
            _log_axis(axes, [v for s in spreads for v in (s.p5, s.p95)] + extra)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=5, handletextpad=0.3,
                    columnspacing=1.2)  # fmt: skip
        return as_svg(figure, "fig-feature", title, said)


def blocks_by_session(
    sessions: Sequence[tuple[str, Sequence[tuple[str, float]]]], title: str, said: str
) -> str:
    """Return the distance from rest of every block of several sessions; empty without any.

    Parameters
    ----------
    sessions : sequence of (str, sequence of (str, float))
        Name of a session, and (kind, distance in spreads of the baseline) of each block.
    title, said : str
        For those who cannot see it.
    """
    shown = [(name, blocks) for name, blocks in sessions if blocks]
    if not shown:
        return ""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.2)
        axes = figure.add_subplot()
        axes.axhspan(-1.0, 1.0, color="#E5E7EB", zorder=0, lw=0)
        axes.axhline(0.0, color=GREY, lw=1.2, zorder=1)
        seen: set[str] = set()
        middles, x = [], 0.0
        size = 7.0 if sum(len(b) for _, b in shown) < 40 else 4.5
        for _, blocks in shown:
            at = [x + i for i in range(len(blocks))]
            axes.plot(at, [z for _, z in blocks], color=GREY, lw=0.8, zorder=2)
            for place, (kind, z) in zip(at, blocks, strict=True):
                colour, marker, word = LOOKS[kind]
                axes.plot(place, z, marker, mfc=colour, mec="white", mew=0.6, ms=size, ls="",
                          zorder=3, label=None if word in seen else word)  # fmt: skip
                seen.add(word)
            middles.append((at[0] + at[-1]) / 2.0)
            x = at[-1] + 2.0
        names = [plain_text(name) if len(shown) <= 8 else str(i) for i, (name, _) in
                 enumerate(shown, 1)]  # fmt: skip
        axes.set_xticks(middles, names)
        axes.tick_params(axis="x", length=0)
        axes.set_xlim(-1.0, x - 1.0)
        axes.set_ylabel("Distance from rest (spreads)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=4, handletextpad=0.3,
                    columnspacing=1.2)  # fmt: skip
        return as_svg(figure, "fig-sessions", title, said)


def _ticks(blocks: Sequence[Block]) -> list[str]:
    """Return the names below an axis: whole while there is room, else short."""
    if len(blocks) > 9:
        return [_short(b) for b in blocks]
    return [plain_text(b.label.replace(" ", "\n", 1)) for b in blocks]


def _short(block: Block) -> str:
    if block.kind == "train":
        return f"T{block.number}"
    word = {"baseline": "B", "transfer": "Tr", "post": "Post"}[block.kind]
    return word if block.attempt == 1 else f"{word}\nagain"


def _threshold_marks(axes: Any, learned: Learned, blocks: Sequence[Block], name: str) -> None:
    """Draw the reward threshold as it stood in each block that could be rewarded."""
    if not learned.rules or learned.rules[0][0] != name:
        return
    r = learned.rows
    label: str | None = "Reward threshold"
    for x, block in enumerate(blocks):
        if block.kind not in ("train", "transfer"):
            continue
        inside = (r.t_s >= block.start_s) & (r.t_s <= block.end_s)
        values = r.thresholds[inside, 0]
        known = np.unique(values[np.isfinite(values)])
        if len(known) > FEW:  # it moved along: where it was, from the lowest to the highest
            axes.fill_between([x - 0.3, x + 0.3], known[0], known[-1], facecolor="none",
                              edgecolor="black", hatch="---", lw=0.8, zorder=4,
                              label=label)  # fmt: skip
            label = None
            continue
        for value in np.unique(values[np.isfinite(values)]):
            axes.plot([x - 0.3, x + 0.3], [value, value], color="black", lw=1.3, ls=(0, (3, 1.5)),
                      zorder=5, label=label)  # fmt: skip
            label = None


def rates_by_block(learned: Learned, title: str, said: str) -> str:
    """Return shares of clean time in which the conditions held; empty when there are none."""
    blocks = [b for b in learned.of(*COUNTED) if b.rate_alone is not None]
    if not blocks:
        return ""
    with matplotlib.rc_context({**STYLE, "hatch.linewidth": 0.6}):
        figure = new_figure(2.7)
        axes = figure.add_subplot()
        x = np.arange(len(blocks))
        alone = [100.0 * (b.rate_alone or 0.0) for b in blocks]
        joint = [100.0 * (b.rate_joint or 0.0) for b in blocks]
        bars = (
            (axes.bar(x - 0.2, alone, 0.38, color=SKY, label="Reward condition alone"), alone),
            (axes.bar(x + 0.2, joint, 0.38, color=BLUE, hatch="///", edgecolor="white", lw=0,
                      label="All conditions together"), joint),
        )  # fmt: skip
        for drawn, values in bars:
            for bar, value in zip(drawn, values, strict=True):
                middle = bar.get_x() + bar.get_width() / 2
                axes.annotate(f"{value:.0f}", (middle, value), (0, 2), ha="center", fontsize=8,
                              textcoords="offset points", zorder=5,
                              bbox={"fc": "white", "ec": "none", "pad": 0.4})  # fmt: skip
        success = _asked(learned)
        if success is not None:
            axes.axhline(100 * success, color=GREY, lw=1.1, ls=(0, (4, 2)), zorder=3,
                         label=f"{'Aimed at' if learned.adapts else 'Alone, at rest'}: "
                         f"{100 * success:.0f} %")  # fmt: skip
        axes.set_ylim(0, 108)
        axes.set_yticks([0, 25, 50, 75, 100])
        axes.set_ylabel("% of clean time")
        axes.set_xticks(x, _ticks(blocks))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3)
        return as_svg(figure, "fig-rates", title, said)


def _asked(learned: Learned) -> float | None:
    if learned.protocol is None or learned.protocol.reward is None:
        return None
    return learned.protocol.reward.threshold.success


# ---------------------------------------------------------------- clean time


def clean_time(learned: Learned, causes: Sequence[tuple[str, float]], title: str, said: str) -> str:
    """Return clean, unclean and held time per block, and seconds by cause."""
    blocks = learned.blocks
    if not blocks:
        return ""
    rows = len(blocks) + max(1, len(causes))
    with matplotlib.rc_context({**STYLE, "hatch.linewidth": 0.6}):
        figure = new_figure(1.3 + 0.24 * rows)
        top, low = figure.subplots(
            2, 1, gridspec_kw={"height_ratios": [len(blocks) + 1, max(1, len(causes)) + 1]}
        )
        y = np.arange(len(blocks))
        parts = (
            ([b.clean_s for b in blocks], GREEN, "", "Clean"),
            ([b.unclean_s for b in blocks], ORANGE, "////", "Not clean"),
            ([b.held_s for b in blocks], GREY, "....", "Held"),
        )
        left: Float = np.zeros(len(blocks))
        for seconds, colour, hatch, word in parts:
            top.barh(y, seconds, 0.72, left=left, color=colour, hatch=hatch, edgecolor="white",
                     lw=0, label=word)  # fmt: skip
            left = left + np.asarray(seconds)
        top.set_yticks(y, [plain_text(b.label) for b in blocks])
        top.invert_yaxis()
        top.set_xlabel("seconds in each block")
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=3)
        _causes(low, causes)
        return as_svg(figure, "fig-clean", title, said)


def _causes(axes: Any, causes: Sequence[tuple[str, float]]) -> None:
    if not causes:
        axes.set_axis_off()
        axes.text(0.0, 0.5, "Nothing was withdrawn for artefacts.", va="center")
        return
    y = np.arange(len(causes))
    seconds = [s for _, s in causes]
    axes.barh(y, seconds, 0.72, color=ORANGE, hatch="////", edgecolor="white", lw=0)
    for k, s in enumerate(seconds):
        axes.annotate(f"{s:.1f} s", (s, k), (4, 0), textcoords="offset points", va="center",
                      fontsize=8)  # fmt: skip
    axes.set_yticks(y, [plain_text(c) for c, _ in causes])
    axes.set_xlim(0, max(seconds) * 1.12)
    axes.invert_yaxis()
    axes.set_xlabel("seconds not clean, by cause, all blocks (causes overlap)")


# ---------------------------------------------------------------- the estimator

CURVES = (
    ("limit", GREY, "", (0, (4, 2)), "Limit: the best filter for each delay"),
    ("expected", BLUE, "o", "-", "Expected of this filter"),
    ("measured", RED, "D", "-", "Measured on the baseline"),
)
ACROSS = 3  # panels side by side


def estimator_curves(filters: Sequence[Filter], title: str, said: str) -> str:
    """Return how well each filter follows the ideal envelope, over delay; empty without any."""
    shown = [f for f in filters if f.delays_s and (f.measured or f.expected)]
    if not shown:
        return ""
    n_columns = min(ACROSS, len(shown))
    n_rows = -(-len(shown) // n_columns)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(0.75 + 2.15 * n_rows)
        panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
        lowest = min(y for f in shown for y in (*f.limit, *f.expected, *f.measured))
        for k, axes in enumerate(panels.flat):
            if k >= len(shown):
                axes.set_axis_off()
                continue
            _curves(axes, shown[k])
            axes.set_ylim(min(0.0, lowest - 0.2), 1.02)  # room for the words below the curves
            if k + n_columns >= len(shown):
                axes.set_xlabel("delay (ms)")
                axes.tick_params(labelbottom=True)
        figure.supylabel("correlation with the ideal envelope,\nwhich knows the future", fontsize=9)
        lines: dict[str, Any] = {}
        for axes in panels.flat:
            handles, labels = axes.get_legend_handles_labels()
            lines |= dict(zip(labels, handles, strict=True))
        order = [word for *_, word in CURVES if word in lines]
        order += [word for word in lines if word not in order]
        figure.legend([lines[w] for w in order], order, loc="outside upper center", ncol=4,
                      columnspacing=1.2)  # fmt: skip
        return as_svg(figure, "fig-estimator", title, said)


def _curves(axes: Any, f: Filter) -> None:
    x = [1000.0 * d for d in f.delays_s]
    for key, colour, marker, dashes, word in CURVES:
        y = getattr(f, key)
        if y:
            axes.plot(x, y, color=colour, marker=marker, ms=4.5, lw=1.4, ls=dashes, label=word,
                      mec="white", mew=0.5)  # fmt: skip
    if f.fitted and f.delay_s is not None:
        axes.axvline(1000.0 * f.delay_s, color="black", lw=0.9, ls=(0, (1, 2)), zorder=1,
                     label="Delay asked for")  # fmt: skip
    if f.best_lag_s is not None and f.best_r is not None:
        axes.annotate(f"best {f.best_r:.2f}, {1000 * f.best_lag_s:.0f} ms", (0.97, 0.05),
                      xycoords="axes fraction", ha="right", fontsize=8, color=RED,
                      bbox={"fc": "white", "ec": "none", "pad": 0.6})  # fmt: skip
    kind = "fitted" if f.fitted else "fixed"
    axes.set_title(plain_text(f"{f.feature}, {tenths(f.band_hz)} ({kind})"), fontsize=9, loc="left")
    axes.grid(True, axis="y", lw=0.6)
    axes.set_xticks([0, 100, 200, 300])


# ---------------------------------------------------------------- the whole session


def session_course(learned: Learned, name: str, title: str, said: str) -> str:
    """Return the feature and muscle over the session, with blocks, thresholds and holds."""
    r = learned.rows
    if not len(r) or name not in learned.feature_names or not learned.blocks:
        return ""
    column = learned.feature_names.index(name)
    log = learned.scales.get(name) == "ln"
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.log(r.values[:, column]) if log else r.values[:, column]
        muscle = np.log(learned.muscle_uv)
    good = (r.gate == 0) & (r.held == 0) & r.trusted[:, column]
    bin_s = max(1.0, float(np.ceil((r.t_s[-1] - r.t_s[0]) / BINS)))
    t, mean = binned(r.t_s, x, good, bin_s)
    _, tone = binned(r.t_s, muscle, good, bin_s)
    with matplotlib.rc_context(STYLE):
        shows_muscle = bool(np.isfinite(tone).any())
        figure = new_figure(4.4 if shows_muscle else 3.0)
        ratios = {"height_ratios": [2, 1] if shows_muscle else [1]}
        panels = figure.subplots(2 if shows_muscle else 1, 1, sharex=True, squeeze=False,
                                 gridspec_kw=ratios)[:, 0]  # fmt: skip
        value = np.exp(mean) if log else mean
        _shades(panels, learned)
        top = panels[0]
        top.plot(
            t / 60, value, color=BLUE, lw=0.9, zorder=3, label=plain_text(f"{name}, clean time")
        )
        if learned.rules and learned.rules[0][0] == name:
            top.plot(r.t_s / 60, r.thresholds[:, 0], color="black", lw=1.1, ls=(0, (3, 1.5)),
                     zorder=4, label="Reward threshold")  # fmt: skip
        rest = learned.resting.get(name)
        if rest is not None:
            top.axhline(rest.centre, color=GREY, lw=1.0, zorder=2, label="Resting median")
        if log:
            _log_axis(top, [float(v) for v in value[np.isfinite(value)]])
        top.set_ylabel(_axis_name(learned, name))
        _notches(top, learned)
        if shows_muscle:
            _muscle_panel(panels[1], learned, t, np.exp(tone))
        panels[-1].set_xlabel("time since the recording began (min:s)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 2, 2.5, 3, 5, 10]))
        panels[-1].xaxis.set_major_formatter(FuncFormatter(lambda x, _: _clock(60 * x)))
        panels[-1].set_xlim(r.t_s[0] / 60, max(r.t_s[-1] / 60, r.t_s[0] / 60 + 0.01))
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.06), ncol=5, columnspacing=1.2)
        return as_svg(figure, "fig-course", title, said)


def _muscle_panel(axes: Any, learned: Learned, t: Float, tone: Float) -> None:
    axes.plot(t / 60, tone, color=RED, lw=0.9, zorder=3)
    limits = list(learned.muscle_limits_uv.values())
    if limits:
        axes.axhline(float(np.mean(limits)), color=RED, lw=0.8, ls=(0, (1, 2)), zorder=2)
        axes.annotate("gate", (1.0, float(np.mean(limits))), xycoords=("axes fraction", "data"),
                      xytext=(3, 0), textcoords="offset points", va="center", fontsize=8,
                      color=RED)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel("muscle (µV)")


def _shades(panels: Any, learned: Learned) -> None:
    short = {"baseline": "B", "transfer": "Tr", "post": "Post"}
    last = -np.inf
    whole = max(learned.rows.t_s[-1] - learned.rows.t_s[0], 1e-9)
    for block in learned.blocks:
        for axes in panels:
            axes.axvspan(block.start_s / 60, block.end_s / 60, color=SHADES[block.kind], lw=0,
                         zorder=0)  # fmt: skip
        word = short.get(block.kind, f"T{block.number}")
        centre = (block.start_s + block.end_s) / 2
        if (centre - last) / whole < 0.02 + 0.007 * len(word):
            continue  # no room for it
        last = centre
        panels[0].annotate(word, (centre / 60, 1.0), xycoords=("data", "axes fraction"),
                           xytext=(0, 2), textcoords="offset points", ha="center", fontsize=8,
                           color="#374151", annotation_clip=False)  # fmt: skip


def _notches(axes: Any, learned: Learned) -> None:
    """Mark where the session was held and where samples are missing."""
    label: str | None = "Held"
    for hold in learned.holds:
        end = hold.end_s if hold.end_s is not None else learned.length_s
        axes.axvspan(hold.start_s / 60, end / 60, facecolor="none", edgecolor=GREY, hatch="xxxx",
                     lw=0, zorder=1, label=label)  # fmt: skip
        label = None
    label = "Gap"
    for start, seconds, _ in learned.gaps:
        axes.axvspan(start / 60, (start + max(seconds, 1.0)) / 60, color="#111827", alpha=0.55,
                     lw=0, zorder=1, label=label)  # fmt: skip
        label = None
