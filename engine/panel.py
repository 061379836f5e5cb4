"""What the operator sees: one `Status` in, one picture of text out, nothing remembered.

The state of the session (live, held, over, and why) is the first thing on the screen; colour only
repeats what a word and a shape already say. Everything fits 80 columns by 24 lines; more room
gives a taller history, more electrodes and more messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from engine.frames import PhaseKind
from engine.keys import BEFORE_START
from engine.status import Electrode, Prompt, Status, clean, number, state_of, with_unit

__all__ = ["render"]

_TWO_COLUMNS_FROM = 108  # narrower, the electrodes go below the history
_SIDE_WIDTH = 42
_SLOW_FPS = 55.0
_OLD_MS = 250.0  # from here on the newest sample counts as stale
_KEYS = (
    ("p", "pause"),
    ("k", "skip"),
    ("s", "stop"),
    ("n", "note"),
    ("+-", "volume"),
    ("t", "threshold"),
    ("b", "mark bad"),
    ("?", "help"),
)
_HELP = (
    ("Enter", "Start the session once the check has passed, or start it all the same."),
    ("p", "Pause; press again to resume. The person's screen goes neutral."),
    ("k", "Skip the rest of this block and go on to the next step."),
    ("s, Esc", "Stop the session. Press twice within 3 seconds. The recording is kept."),
    ("n", "Write a note into the recording. Enter keeps it, Esc drops it."),
    ("g", "Go: begin a block that waits for the person (or let the person press space)."),
    ("a", "Write down the person's answer to the question after a block."),
    ("+  -", "Sound louder or softer, never above the room's limit."),
    ("t", "Set a new threshold; asks for the value, then for your reason."),
    ("b", "Mark an electrode as bad, for the rest of the session."),
    ("q", "Leave this view once the session is over."),
    ("?", "Open or close this help."),
)
_LIGHTS = {
    "green": ("●", "good", "green"),
    "amber": ("▲", "fair", "yellow"),
    "red": ("■", "bad", "bold red"),
}
_CAUSES = {"warmup": "settling", "rail": "at limit", "nan": "no numbers", "marked": "marked bad"}
_ORDER = {"red": 0, "amber": 1, "green": 2}
# A terminal that cannot show these gets one plain character for each.
_ASCII = str.maketrans("●▲■○◐‖✓✗━╺─┄◄µ²…·–▁▂▃▄▅▆▇█", "o^#oo|+x=---<u2.--.::--=+#")


def _clock(seconds: float) -> str:
    whole = max(0, int(seconds))
    return f"{whole // 60:02d}:{whole % 60:02d}"


def _percent(share: float | None) -> str:
    return "–" if share is None or not math.isfinite(share) else f"{100.0 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.0f} ms"


# ---------------------------------------------------------------- lines


def _fit(text: Text, width: int) -> Text:
    text.truncate(max(0, width), overflow="ellipsis", pad=True)
    return text


def _spread(left: Text, right: Text, width: int) -> Text:
    """Put `right` at the right edge; `left` gives way."""
    room = max(0, width - right.cell_len)
    return _fit(_fit(left, room).append_text(right), width)


def _rule(title: str, width: int, right: str = "") -> Text:
    text = Text("── ", "grey50").append(title, "bold").append(" ", "grey50")
    tail = f" {clean(right, 60)} ──" if right else ""
    text.append("─" * max(0, width - text.cell_len - cell_len(tail)), "grey50")
    return _fit(text.append(tail, "dim"), width)


def _label(name: str) -> Text:
    return Text(f" {name:<9}", "dim")


def _title(status: Status, width: int) -> Text:
    right = Text(f"client {clean(status.client, 32)} " if status.client else "")
    if status.test_session:
        right.append(" TEST SESSION ", "bold white on magenta")
    return _spread(Text(f" {clean(status.title, 120)} ", "bold"), right, width)


def _wrapped(sentence: str, width: int, most: int) -> list[str]:
    lines: list[str] = [""]
    for word in sentence.split():
        joined = f"{lines[-1]} {word}".strip()
        if cell_len(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return lines


def _band(status: Status, width: int, rows: int) -> list[Text]:
    """Return the state as a coloured band of `rows` lines (at least 1)."""
    shape, word, style, sentence = state_of(status)
    head = f" {shape} {word}   "
    lines = _wrapped(sentence, max(8, width - cell_len(head) - 1), 1 if rows == 1 else 2)
    indent = " " * cell_len(head)
    texts = [(head if i == 0 else indent) + line for i, line in enumerate(lines)]
    if rows - len(texts) >= 2:
        texts = ["", *texts]
    texts += [""] * (rows - len(texts))
    return [_fit(Text(t, style), width) for t in texts]


def _clocks(status: Status, width: int) -> Text:
    right = Text(" session ", "dim").append(
        f"{_clock(status.session_s)} / {_clock(status.session_lasts_s)} "
    )
    left = Text(" ").append(clean(status.phase_name, 24) or status.state.name.lower(), "bold")
    if status.phase_lasts_s <= 0.0:
        return _spread(left, right, width)
    word = " clean" if status.state in (PhaseKind.TRAIN, PhaseKind.TRANSFER) else ""
    left.append(f"  {_clock(status.phase_s)} ")
    end = f" {_clock(status.phase_lasts_s)}{word}"
    bar = max(4, min(48, width - left.cell_len - cell_len(end) - right.cell_len - 1))
    done = round(bar * min(1.0, max(0.0, status.phase_s / status.phase_lasts_s)))
    left.append("━" * done, "bold cyan").append("─" * (bar - done), "grey50").append(end)
    return _spread(left, right, width)


def _passes(value: float | None, status: Status) -> bool | None:
    if value is None or status.threshold is None:
        return None
    if not (math.isfinite(value) and math.isfinite(status.threshold)):
        return None
    return value > status.threshold if status.direction == "above" else value < status.threshold


def _feature(status: Status, width: int) -> Text:
    name = clean(status.feature_name, 24)
    if status.blinded:
        said = " Blinded session: feature, threshold and rates are withheld."
        return _fit(Text(said, "dim"), width)
    if not name:
        return _fit(Text(" No feature yet.", "dim"), width)
    passes = _passes(status.feature_value, status)
    text = Text(" ").append(name, "bold").append("  ")
    if status.feature_value is None or not math.isfinite(status.feature_value):
        text.append("unknown now", "yellow")
    else:
        style = "bold green" if passes else "bold"
        text.append(with_unit(status.feature_value, status.feature_unit), style)
    if status.threshold is None or not math.isfinite(status.threshold):
        return _fit(text.append("   no threshold yet", "dim"), width)
    text.append("   threshold ", "dim")
    text.append(with_unit(status.threshold, status.feature_unit))
    text.append(f", rewarded {status.direction}", "dim")
    if passes is not None:
        text.append("  ✓ met" if passes else "  · not met", "green" if passes else "dim")
    return _fit(text, width)


def _columns(history: Sequence[float | None], n: int) -> list[float | None]:
    """Average `history` into at most `n` columns, newest at the right; None where all unknown."""
    known = [v if v is not None and math.isfinite(v) else None for v in history]
    if len(known) <= n:
        return [None] * (n - len(known)) + known
    out: list[float | None] = []
    for i in range(n):
        part = [v for v in known[i * len(known) // n : (i + 1) * len(known) // n] if v is not None]
        out.append(sum(part) / len(part) if part else None)
    return out


def _scale(values: Sequence[float], threshold: float | None) -> tuple[float, float]:
    """Return the lower and upper end of the history; one wild value does not flatten the rest."""
    ranked = sorted(values)
    low, high = ranked[0], ranked[min(len(ranked) - 1, math.ceil(0.97 * len(ranked)) - 1)]
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    pad = 0.08 * (high - low) or max(abs(high), 1.0) * 0.1
    low = max(0.0, low - pad) if low >= 0.0 else low - pad
    return low, high + pad


def _chart(status: Status, width: int, rows: int) -> list[Text]:
    """Draw the feature's last minute as bars with the threshold as a dashed line."""
    threshold = status.threshold
    if threshold is not None and not math.isfinite(threshold):
        threshold = None
    margin = 10  # for the threshold's value at the right
    columns = _columns(status.history, max(8, width - margin - 2))
    values = [v for v in columns if v is not None]
    if status.blinded:
        return [_fit(Text(""), width) for _ in range(max(0, rows))]
    if not values or rows <= 0:
        blank = [_fit(Text(""), width) for _ in range(max(0, rows - 1))]
        return ([_fit(Text(" No trusted values yet.", "grey50"), width)] if rows else []) + blank
    low, high = _scale(values, threshold)

    def eighths(value: float) -> int:
        return max(0, min(8 * rows, round(8 * rows * (value - low) / (high - low))))

    # the threshold's line lies in this row, counted from below
    line = None if threshold is None else min(rows - 1, max(0, eighths(threshold) - 1) // 8)
    out = []
    for row in reversed(range(rows)):
        text = Text(" ")
        for value in columns:
            fill = 0 if value is None else max(0, min(8, eighths(value) - 8 * row))
            if value is not None and row == 0:
                fill = max(fill, 1)  # a known value is never invisible
            if fill:
                met = _passes(value, status)
                text.append(" ▁▂▃▄▅▆▇█"[fill], "green" if met else "steel_blue")
            else:
                text.append("┄" if row == line else " ", "yellow")
        if row == line:
            text.append(f"◄ {number(threshold)}", "yellow")
        out.append(_fit(text, width))
    return out


def _rewards(status: Status, width: int) -> Text:
    if status.blinded:
        return _fit(_label("Reward").append("withheld", "dim"), width)
    text = _label("Reward").append("alone ").append(_percent(status.reward_rate_alone), "bold")
    text.append("   joint ").append(_percent(status.joint_rate), "bold")
    text.append("   rewards ").append(str(status.rewards), "bold")
    return _fit(text.append(f"   {number(status.rewards_per_min, 2)} per min"), width)


def _gated(status: Status, width: int) -> Text:
    text = _label("Clean").append(f"{status.clean_s:.0f} s", "bold")
    causes = sorted(((s, c) for c, s in status.gated_s.items() if s > 0.0), reverse=True)
    if not causes:
        return _fit(text.append("   nothing gated", "dim"), width)
    text.append("   gated ")
    for i, (seconds, cause) in enumerate(causes):
        word = _CAUSES.get(cause, clean(cause, 16))
        piece = f"{', ' if i else ''}{word} {seconds:.0f} s"
        rest = f", {len(causes) - i} other causes {sum(s for s, _ in causes[i:]):.0f} s"
        last = i == len(causes) - 1
        if text.cell_len + cell_len(piece) + (0 if last else cell_len(rest)) > width - 1:
            text.append(rest)
            break
        text.append(piece)
    return _fit(text, width)


def _electrode(electrode: Electrode, width: int) -> Text:
    shape, word, style = _LIGHTS[electrode.light]
    text = Text(" ").append(shape, style).append(f" {clean(electrode.name, 8):<4}", "bold")
    text.append(f"{number(electrode.rms_uv, 2):>5} µV ").append(word, style)
    if electrode.why and electrode.light != "green":
        text.append(f" {clean(electrode.why, 60)}")
    return _fit(text, width)


def _electrodes(status: Status, width: int, rows: int) -> list[Text]:
    """Lay the electrodes out in `rows` lines: those that need a hand first, and in full."""
    ranked = sorted(status.electrodes, key=lambda e: _ORDER[e.light])
    wide, narrow = (2, 4) if width >= 76 else (1, 2)
    grid = [
        (group[i : i + per_row], width // per_row)
        for group, per_row in (
            ([e for e in ranked if e.light != "green"], wide),
            ([e for e in ranked if e.light == "green"], narrow),
        )
        for i in range(0, len(group), per_row)
    ]
    hidden = ranked[sum(len(cells) for cells, _ in grid[:rows]) :]
    if hidden and rows:  # the last cell gives way to the word on the hidden ones
        cells, cell_width = grid[rows - 1]
        grid[rows - 1] = (cells[:-1], cell_width)
        hidden = [*cells[-1:], *hidden]
    lines: list[Text] = []
    for cells, cell_width in grid[:rows]:
        line = Text()
        for electrode in cells:
            line.append_text(_electrode(electrode, cell_width))
        lines.append(_fit(line, width))
    if hidden and rows:
        bad = sum(e.light != "green" for e in hidden)
        more = f" +{len(hidden)} more" + (f", {bad} not good " if bad else ", good ")
        lines[-1].rstrip()
        lines[-1] = _spread(lines[-1], Text(more, "bold red" if bad else "dim"), width)
    if not ranked and rows:
        lines = [_fit(Text(" None yet.", "grey50"), width)]
    return lines + [_fit(Text(""), width) for _ in range(rows - len(lines))]


def _electrode_rows(status: Status, width: int) -> int:
    other = sum(e.light != "green" for e in status.electrodes)
    good = len(status.electrodes) - other
    wide, narrow = (2, 4) if width >= 76 else (1, 2)
    return max(1, math.ceil(other / wide) + math.ceil(good / narrow))


def _electrode_rule(status: Status, width: int) -> Text:
    counts = {light: sum(e.light == light for e in status.electrodes) for light in _LIGHTS}
    words = "  ".join(
        f"{shape} {counts[k]} {word}" if width >= 60 else f"{counts[k]} {word}"
        for k, (shape, word, _) in _LIGHTS.items()
    )
    return _rule("Electrodes", width, words)


def _delays(status: Status, width: int) -> Text:
    """Return what the estimator and the way to the screen cost, the latter in four numbers."""
    text = _label("Delay").append("estimator ").append(_ms(status.estimator_delay_ms), "bold")
    text.append("   transport ").append(_ms(status.transport_ms_p50), "bold")
    p95, p99, most = status.transport_ms_p95, status.transport_ms_p99, status.transport_ms_max
    if p95 is None:
        return _fit(text, width)
    short = f" (95 %: {_ms(p95)})"
    if p99 is None or most is None:
        return _fit(text.append(short), width)
    full = f" (95 %: {p95:.0f}, 99 %: {p99:.0f}, most {most:.0f} ms)"
    return _fit(text.append(full if text.cell_len + len(full) <= width else short), width)


def _person(status: Status, width: int) -> Text:
    """Return what is known of the person's room, in words as long as there is room for."""
    full = _room(status, short=False)
    return _fit(full if full.cell_len <= width else _room(status, short=True), width)


def _room(status: Status, *, short: bool) -> Text:
    text = _label("Person").append("window ")
    # before the start the window may only just be opening: nothing is lost yet
    early = status.state in BEFORE_START and not status.window_ok
    no_window = ("not open yet", "bold yellow") if early else ("LOST", "bold red")
    no_sound = ("–", "dim") if early else ("SILENT", "bold yellow")
    text.append(*(("ok", "") if status.window_ok else no_window))
    if status.window_ok:
        if status.fps is not None and status.fps < _SLOW_FPS:
            text.append(f", only {status.fps:.0f}/s", "bold yellow")
        elif status.fps is not None and not short:
            text.append(f", {status.fps:.0f} flips/s")
        if status.missed_flips is not None:
            text.append(f", {status.missed_flips} missed")
        if status.shown_age_ms is not None:
            text.append(f", seen {_ms(status.shown_age_ms)} old")
    text.append("   sound ").append(*(("ok", "") if status.sound_ok else no_sound))
    if status.sound_ok:
        text.append(_sound(status, short=short))
    return text.append(f"   volume {_percent(status.volume)}")


def _sound(status: Status, *, short: bool) -> str:
    delay, buffer = status.sound_delay_ms, status.sound_buffer_ms
    if short:
        late = delay if delay is not None else buffer
        return "" if not late else f" {_ms(late)}"
    said = "" if not buffer else f", buffer {_ms(buffer)}"
    said += "" if delay is None else f", delay {_ms(delay)}"
    if status.dose_share is not None:
        said += f", {number(100.0 * status.dose_share, 2)} % of a week's dose"
    return said


def _source(status: Status, width: int) -> list[Text]:
    """Return the four lines on stream, delays, the person's room and the file."""
    about = "" if status.age_known else "~"
    age = f"newest {about}{_ms(status.age_ms)} old " if status.age_ms is not None else "no sample "
    rates = f"  {status.rate_hz:g} Hz, " if math.isfinite(status.rate_hz) else "  – Hz, "
    if status.measured_rate_hz is None:
        rates += "not yet measured "
    else:
        rates += f"measured {number(status.measured_rate_hz, 5)} Hz "
    old = status.age_ms is None or status.age_ms > _OLD_MS
    right = Text(rates).append(age, "bold yellow" if old else "bold")
    # as wide as with three digits, so that the name does not jump with the age
    room = max(8, width - max(right.cell_len, len(rates) + 18) - 10)
    stream = _spread(_label("Stream").append(clean(status.stream_name, room), "bold"), right, width)

    free = Text(
        "" if status.disk_free_gb is None else f"  {number(status.disk_free_gb)} GB free ",
        "dim",
    )
    path = clean(status.recording_path, 400) or "not recording"
    room = max(8, width - 10 - free.cell_len)
    if cell_len(path) > room:
        path = f"…/{Path(path).name}"  # the name matters more than where it lies
        path = path if cell_len(path) <= room else "…" + path[1 - room :]
    file = _spread(_label("File").append(path), free, width)
    return [stream, _delays(status, width), _person(status, width), file]


def _footer(status: Status, width: int, prompt: Prompt) -> Text:
    if prompt.line:
        # what is being typed is at the end: keep the end
        line = clean(prompt.line, 600)
        line = line if cell_len(line) <= width - 2 else "…" + line[3 - width :]
        style = "bold white on red3" if prompt.urgent else "bold black on light_steel_blue"
        return _fit(Text(f" {line}", style), width)
    keys: tuple[tuple[str, str], ...] = _KEYS
    if status.state.terminal:
        keys = (("q", "close"), ("?", "help"))
    if status.state in BEFORE_START:
        keys = (("Enter", "start"), *(k for k in _KEYS if k[0] not in ("k", "t")))
    text = Text(" ")
    if status.waits:
        keys = (("g", "go"), *keys)
    if status.question:
        keys = (("a", "answer"), *keys)
    for key, word in keys:
        word = "resume" if key == "p" and status.paused else word
        text.append(key, "bold cyan").append(f" {word}  ", "dim")
    return _fit(text, width)


# ---------------------------------------------------------------- the whole


def _help(width: int) -> list[Text]:
    lines = [_rule("Keys", width)]
    for key, meaning in _HELP:
        lines.append(_fit(Text(f" {key:<8}", "bold cyan").append(meaning, ""), width))
    return [*lines, _fit(Text(" The session goes on while this is open.", "dim"), width)]


def _share(budget: int, electrodes: int, *, side: bool) -> tuple[int, int, int]:
    """Divide `budget` lines among history, electrodes and messages."""
    chart, poles, notes = 0, 0, 0
    for goal_chart, goal_poles, goal_notes in ((1, 1, 1), (3, 3, 2), (6, 8, 4), (12, 40, 8)):
        while budget > 0 and not side and poles < min(goal_poles, electrodes):
            poles, budget = poles + 1, budget - 1
        while budget > 0 and chart < goal_chart:
            chart, budget = chart + 1, budget - 1
        while budget > 0 and notes < goal_notes:
            notes, budget = notes + 1, budget - 1
    return chart, poles, notes


def _lines(status: Status, width: int, height: int, prompt: Prompt) -> list[Text]:
    side = width >= _TWO_COLUMNS_FROM
    band_rows = 4 if height >= 32 else 2 if height >= 22 else 1
    rules = 4 if not side else 3
    if height < 20:
        rules = 0
    top = [_title(status, width), *_band(status, width, band_rows), _clocks(status, width)]
    foot = _footer(status, width, prompt)
    if prompt.help:
        body = _help(width)
        body += [_fit(Text(""), width)] * (height - 1 - len(top) - len(body))
        return [*[*top, *body][: height - 1], foot]

    left = width - _SIDE_WIDTH if side else width
    budget = height - len(top) - rules - 3 - 4 - 1
    chart, poles, notes = _share(budget, _electrode_rows(status, width), side=side)
    body = [_rule("Feature", left)] if rules else []
    body += [_feature(status, left), *_chart(status, left, chart)]
    body += [_rewards(status, left), _gated(status, left)]
    source = ([_rule("Stream", left)] if rules else []) + _source(status, left)
    if side:
        body += source
        room = _SIDE_WIDTH - 2
        table = [_electrode_rule(status, room)] if rules else []
        table += _electrodes(status, room, len(body) - len(table))
        body = [a.append("  ").append_text(b) for a, b in zip(body, table, strict=True)]
    else:
        body += ([_electrode_rule(status, width)] if rules else []) if poles else []
        body += [*_electrodes(status, width, poles), *source]
    if notes or status.notes_hint:
        body += [_rule("Messages", width, status.notes_hint)] if rules else []
    last = status.messages[-notes:] if notes else ()
    body += [_fit(Text(f" {clean(m)}"), width) for m in last]
    body += [_fit(Text(""), width)] * (height - 1 - len(top) - len(body))
    return [*(top + body)[: height - 1], foot]


def render(
    status: Status,
    size: tuple[int, int],
    prompt: Prompt | None = None,
    *,
    ascii_only: bool = False,
) -> RenderableType:
    """Return the operator's view as a rich renderable of exactly `size`.

    Parameters
    ----------
    status : Status
    size : (int, int)
        Columns and lines of the terminal.
    prompt : Prompt, optional
        A question, a warning or the help over the list of keys.
    ascii_only : bool
        For terminals that cannot show other characters.

    Returns
    -------
    renderable
        One line of text per line of the terminal, none longer than it is wide.
    """
    width, height = max(20, size[0]), max(4, size[1])
    lines = _lines(status, width, height, prompt or Prompt())
    for line in lines:
        line.no_wrap = True
        if ascii_only:
            line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return Group(*lines)
