"""The operator's view: every datum visible, state first, keys to orders, terminal restored."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.clock import FakeClock
from engine.frames import PhaseKind
from engine.keys import Keys
from engine.terminal import (
    Electrode,
    LiveView,
    Order,
    PlainView,
    Prompt,
    Status,
    decode_keys,
    open_view,
    render,
)

REPO = Path(__file__).resolve().parents[2]
SIZES = [(80, 24), (100, 30), (120, 40), (200, 60)]
NAMES = ["Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz", "C4", "T8"]


def a_status(**changes: object) -> Status:
    good = tuple(Electrode(n, "green", 10.0 + i) for i, n in enumerate(NAMES[:6]))
    status = Status(
        title="Raise alpha at the back of the head",
        client="C017",
        state=PhaseKind.TRAIN,
        test_session=True,
        phase_name="Train 2 of 6",
        phase_s=72.0,
        phase_lasts_s=180.0,
        session_s=580.0,
        session_lasts_s=1440.0,
        stream_name="actiCHamp-0123",
        rate_hz=250.0,
        measured_rate_hz=249.983,
        age_ms=12.3,
        age_known=True,
        transport_ms_p50=14.0,
        transport_ms_p95=22.0,
        transport_ms_p99=26.0,
        transport_ms_max=41.0,
        shown_age_ms=47.0,
        missed_flips=12,
        fps=60.0,
        sound_buffer_ms=46.0,
        sound_delay_ms=52.0,
        dose_share=0.0013,
        estimator_delay_ms=183.0,
        electrodes=(
            *good,
            Electrode("O1", "amber", 61.0, "high amplitude"),
            Electrode("Oz", "red", 0.21, "flat for 3 s"),
        ),
        feature_name="alpha_posterior",
        feature_unit="uV2",
        feature_value=11.4,
        threshold=9.8,
        history=tuple(10 + 3 * math.sin(i / 9) if i % 50 > 4 else None for i in range(300)),
        reward_rate_alone=0.64,
        joint_rate=0.51,
        rewards=23,
        rewards_per_min=4.13,
        clean_s=212.0,
        gated_s={"blink": 8.2, "muscle": 3.4, "amplitude": 1.1},
        volume=0.6,
        recording_path="/home/clinic/sessions/C017/2026-11-22_alpha_C017_3f2a.xdf",
        disk_free_gb=123.4,
        notes_hint="2 notes",
        messages=("15:30 baseline done", "15:31 thresholds learned"),
    )
    return dataclasses.replace(status, **changes)  # type: ignore[arg-type]


def drawn(
    status: Status, size: tuple[int, int] = (80, 24), prompt: Prompt | None = None, **how: bool
) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=size[0], height=size[1], color_system=None)
    console.print(render(status, size, prompt, **how), end="")
    return out.getvalue().rstrip("\n").split("\n")


# ---------------------------------------------------------------- the picture


@pytest.mark.parametrize("size", SIZES)
def test_P6_every_datum_is_visible(size: tuple[int, int]) -> None:
    lines = drawn(a_status(), size)
    text = "\n".join(lines)
    for datum in (
        "Raise alpha at the back of the head",
        "client C017",
        "TEST SESSION",
        "● LIVE",
        "Feedback follows the signal.",
        "Train 2 of 6",
        "01:12",
        "03:00",
        "09:40 / 24:00",
        "alpha_posterior",
        "11.4 µV²",
        "threshold 9.80 µV²",
        "rewarded above",
        "met",
        "◄ 9.80",
        "alone 64 %",
        "joint 51 %",
        "rewards 23",
        "4.1 per min",
        "212 s",
        "blink 8 s",
        "muscle 3 s",
        "amplitude 1 s",
        "6 good",
        "1 fair",
        "1 bad",
        "● Fp1",
        "▲ O1",
        "61 µV fair high amplitude",
        "■ Oz",
        "0.21 µV bad flat for 3 s",
        "actiCHamp-0123",
        "250 Hz, measured",
        "measured 249.98 Hz",
        "newest 12 ms old",
        "transport 14 ms (95 %: 22",
        "12 missed",
        "seen 47 ms old",
        "estimator 183 ms",
        "window ok",
        "sound ok",
        "volume 60 %",
        "2026-11-22_alpha_C017_3f2a.xdf",
        "123 GB free",
        "2 notes",
        "15:30 baseline done",
        "15:31 thresholds learned",
        "p pause",
        "k skip",
        "s stop",
        "n note",
        "volume",
        "t threshold",
        "b mark bad",
        "? help",
    ):
        assert datum in text, datum
    assert "…" not in text.replace("…/2026", "")  # nothing but the path's beginning is cut


def test_the_screen_and_the_sound_are_told_as_far_as_there_is_room() -> None:
    small, wide = ("\n".join(drawn(a_status(), size)) for size in ((80, 24), (300, 100)))
    assert "transport 14 ms (95 %: 22, 99 %: 26, most 41 ms)" in small
    assert "window ok, 12 missed, seen 47 ms old   sound ok 52 ms   volume 60 %" in small
    assert "60 flips/s" in wide
    assert "sound ok, buffer 46 ms, delay 52 ms, 0.13 % of a week's dose" in wide


def test_a_slow_screen_and_what_is_not_known_are_told() -> None:
    slow = "\n".join(drawn(a_status(fps=41.0), (80, 24)))
    assert "window ok, only 41/s" in slow
    unknown = a_status(
        fps=None,
        missed_flips=None,
        shown_age_ms=None,
        sound_delay_ms=None,
        transport_ms_p50=None,
        transport_ms_p95=None,
    )
    text = "\n".join(drawn(unknown, (80, 24)))
    assert "transport –" in text
    assert "window ok   sound ok 46 ms" in text  # the buffer, where no delay was measured
    lost = "\n".join(drawn(a_status(window_ok=False, sound_ok=False), (80, 24)))
    assert "window LOST   sound SILENT   volume" in lost


@pytest.mark.parametrize("size", [*SIZES, (40, 10), (20, 4), (300, 100), (80, 12)])
@pytest.mark.parametrize("n", [0, 1, 8, 32, 256])
def test_fills_the_terminal_exactly(size: tuple[int, int], n: int) -> None:
    electrodes = tuple(
        Electrode(f"E{i}", ("green", "amber", "red")[i % 3], math.nan, "why " * 30)  # type: ignore[arg-type]
        for i in range(n)
    )
    for status in (
        a_status(electrodes=electrodes, messages=("word " * 80,) * 30),
        Status("nothing known yet", electrodes=electrodes),
    ):
        for prompt in (None, Prompt(help=True), Prompt("x" * 500)):
            lines = drawn(status, size, prompt)
            assert len(lines) == size[1]
            assert max(cell_len(line) for line in lines) <= size[0]
            assert any(w in lines[1] for w in ("LIVE", "RUNNING")) or size[1] >= 32


def test_hidden_electrodes_are_counted_and_bad_ones_come_first() -> None:
    electrodes = (
        *(Electrode(f"G{i}", "green", 9.0) for i in range(40)),
        Electrode("Oz", "red", 0.1, "flat"),
    )
    text = "\n".join(drawn(a_status(electrodes=electrodes)))
    assert "■ Oz" in text
    shown = sum(f"● G{i} " in text for i in range(40))
    assert f"+{40 - shown} more, good" in text
    all_bad = tuple(Electrode(f"B{i}", "red", 0.1, "flat") for i in range(40))
    assert "not good" in "\n".join(drawn(a_status(electrodes=all_bad)))


@pytest.mark.parametrize(
    ("changes", "word", "sentence"),
    [
        ({}, "LIVE", "Feedback follows the signal."),
        ({"why": "Blink at Fp1."}, "LIVE, GATED", "Blink at Fp1."),
        ({"held": True, "why": "The amplifier sends nothing."}, "HELD", "sends nothing"),
        ({"state": PhaseKind.REST}, "RUNNING", "no feedback"),
        ({"state": PhaseKind.BASELINE}, "RUNNING", "no feedback"),
        ({"state": PhaseKind.TRANSFER}, "RUNNING", "without feedback"),
        ({"state": PhaseKind.REST, "held": True, "why": "Paused by you."}, "HELD", "Paused"),
        ({"state": PhaseKind.DONE}, "OVER", "complete"),
        ({"state": PhaseKind.STOPPED, "held": True}, "OVER", "Stopped"),
        ({"state": PhaseKind.FAILED, "why": "The disk is full."}, "OVER", "The disk is full."),
    ],
)
def test_P6_state_and_reason_are_words_in_the_second_line(
    changes: dict[str, object], word: str, sentence: str
) -> None:
    line = drawn(a_status(**changes))[1]
    assert line[3:].startswith(f"{word}   ")
    assert sentence in line


def test_a_long_reason_takes_two_lines_at_80_columns() -> None:
    why = "No sample has come for 0.5 s: the amplifier or its cable. Feedback is neutral and goes "
    why += "on by itself once the signal is good."
    lines = drawn(a_status(held=True, why=why))
    assert f"{lines[1].strip()} {lines[2].strip()}".endswith(why)


def test_unknown_is_never_shown_as_a_number() -> None:
    text = "\n".join(drawn(Status("x", feature_name="alpha")))
    for words in ("unknown now", "no threshold yet", "alone –", "joint –", "no sample", "None yet"):
        assert words in text
    assert "newest ~12 ms old" in "\n".join(drawn(a_status(age_known=False)))
    assert "nan" not in text.lower()
    assert "not recording" in text
    assert "not yet measured" in text


def test_lost_window_and_silent_sound_are_words() -> None:
    text = "\n".join(drawn(a_status(window_ok=False, sound_ok=False)))
    assert "window LOST" in text
    assert "sound SILENT" in text


def test_history_marks_values_gaps_and_threshold() -> None:
    flat = a_status(history=(1.0,) * 30 + (None,) * 30, threshold=3.0, feature_value=1.0)
    lines = drawn(flat, (80, 24))
    chart = lines[6:9]
    marked = [line for line in chart if "◄ 3.00" in line]
    assert len(marked) == 1
    assert "┄" in marked[0]
    assert "▂" * 30 in chart[-1]
    assert "not met" in lines[5]
    below = dataclasses.replace(flat, direction="below")
    assert "rewarded below  ✓ met" in drawn(below)[5]
    negative = a_status(history=tuple(i / 10 - 2 for i in range(40)), threshold=-0.5)
    assert any("◄ -0.500" in line for line in drawn(negative))


def test_F20_hostile_names_are_shown_harmlessly() -> None:
    hostile = "a\x1b[2Jb\u202ec[red]d\x00" + "x" * 5000
    status = a_status(stream_name=hostile, title=hostile, why=hostile, messages=(hostile,))
    text = "\n".join(drawn(status))
    for bad in ("\x1b", "\u202e", "\x00"):
        assert bad not in text
    assert "[red]" in text


@pytest.mark.parametrize("size", SIZES)
def test_plain_characters_for_terminals_without_others(size: tuple[int, int]) -> None:
    lines = drawn(a_status(), size, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert "LIVE" in lines[1] + lines[2]
    assert any("uV2" in line for line in lines)


def test_render_remembers_nothing() -> None:
    status = a_status()
    first = drawn(status)
    drawn(a_status(held=True), (120, 40))
    assert drawn(status) == first


# ---------------------------------------------------------------- keys


def typed(keys: Keys, text: str, now_s: float = 0.0) -> tuple[Order, ...]:
    return tuple(o for c in decode_keys(text) for o in keys.press(c, now_s))


@pytest.fixture
def keys() -> Keys:
    keys = Keys()
    keys.see(a_status())
    return keys


def test_pause_resume_and_skip(keys: Keys) -> None:
    assert [o.kind for o in typed(keys, "ppk")] == ["pause", "resume", "skip"]
    keys.see(a_status(paused=True))  # the client's own key paused it meanwhile
    assert [o.kind for o in typed(keys, "p")] == ["resume"]


def test_stop_asks_once_and_forgets_after_three_seconds(keys: Keys) -> None:
    assert keys.press("s", 10.0) == ()
    assert keys.prompt(12.9).urgent
    assert "again" in keys.prompt(12.9).line
    assert not keys.prompt(13.1).urgent
    assert keys.press("s", 13.1) == ()  # too late: asks again
    assert [o.kind for o in keys.press("s", 14.0)] == ["stop"]
    assert keys.press("esc", 20.0) == ()
    assert [o.kind for o in keys.press("esc", 21.0)] == ["stop"]
    keys.press("s", 30.0)
    keys.press("+", 30.5)  # any other key takes the question back
    assert keys.press("s", 31.0) == ()


def test_note_is_typed_inline(keys: Keys) -> None:
    assert typed(keys, "nps stop é") == ()  # letters are text now, not orders
    assert keys.prompt(0.0).line.endswith("ps stop é_")
    assert typed(keys, "\x7f\x7f!\r") == (Order("note", text="ps stop!"),)
    assert typed(keys, "nsecret\x1b") == ()
    assert "Nothing changed" in keys.prompt(0.0).line
    assert typed(keys, "n\r") == ()
    assert [o.kind for o in typed(keys, "p")] == ["pause"]


def test_threshold_wants_a_number_and_a_reason(keys: Keys) -> None:
    assert typed(keys, "t8,5\r") == ()
    assert "not a number" in keys.prompt(0.0).line
    assert typed(keys, "nan\r") == ()
    assert typed(keys, "8.5\r\r") == ()
    assert "reason" in keys.prompt(0.0).line
    (order,) = typed(keys, "too easy\r")
    assert order == Order("threshold", text="too easy", value=8.5, target="alpha_posterior")
    keys.see(a_status(threshold=None))
    assert typed(keys, "t") == ()
    assert "no threshold" in keys.prompt(0.0).line


def test_mark_bad_knows_the_electrodes(keys: Keys) -> None:
    assert typed(keys, "boz\r") == (Order("mark_bad", target="Oz"),)
    assert typed(keys, "bXx\r") == ()
    assert "Fp1" in keys.prompt(0.0).line
    assert typed(keys, "fp2\r") == (Order("mark_bad", target="Fp2"),)


def test_volume_steps_stay_between_0_and_1(keys: Keys) -> None:
    assert [o.value for o in typed(keys, "+-")] == [0.65, 0.6]
    assert [o.value for o in typed(keys, "+" * 9)][-1] == 1.0
    assert [o.value for o in typed(keys, "-" * 30)][-1] == 0.0
    keys.see(a_status(volume=0.3))  # the session's word counts
    assert [o.value for o in typed(keys, "+")] == [0.35]


def test_help_leaves_keys_working(keys: Keys) -> None:
    typed(keys, "?")
    assert keys.prompt(0.0).help
    text = "\n".join(drawn(a_status(), prompt=keys.prompt(0.0)))
    assert "Mark an electrode as bad" in text
    assert "LIVE" in text
    assert [o.kind for o in typed(keys, "p")] == ["pause"]
    typed(keys, "\x1b")
    assert not keys.prompt(0.0).help


def test_when_over_only_q_leaves(keys: Keys) -> None:
    keys.see(a_status(state=PhaseKind.DONE))
    assert typed(keys, "pks+t") == ()
    assert [o.kind for o in typed(keys, "q")] == ["quit"]
    assert "q close" in drawn(a_status(state=PhaseKind.DONE))[-1]


def test_answers_leave_the_bottom_line_again(keys: Keys) -> None:
    keys.press("+", 5.0)
    assert "65 %" in keys.prompt(6.0).line
    assert keys.prompt(20.0).line == ""


def test_escape_sequences_are_no_keys() -> None:
    assert decode_keys("\x1b[A\x1b[1;5Cp\x1bOP\x1b[15~\x1bx") == ("p",)
    assert decode_keys("\x1b") == ("esc",)
    assert decode_keys("\x1b\x1b[A") == ("esc",)
    assert decode_keys("a\r\n\x7f\b") == ("a", "enter", "enter", "backspace", "backspace")


# ---------------------------------------------------------------- without a terminal


def test_plain_view_writes_messages_changes_and_a_line_now_and_then() -> None:
    out, clock = io.StringIO(), FakeClock()
    view = PlainView(Console(file=out, width=200), clock, every_s=5.0)
    view.start()
    view.update(a_status(messages=("one",)))
    view.update(a_status(messages=("one",), why="Blink."))  # gates come and go: no line
    view.update(a_status(messages=("one", "two")))
    view.update(a_status(messages=("two", "two")))
    view.update(a_status(messages=("two", "two"), held=True, why="Amplifier silent."))
    clock.advance(6.0)
    view.update(a_status(messages=("two", "two"), held=True, why="Amplifier silent."))
    assert view.poll() == ()
    view.close()
    lines = out.getvalue().splitlines()
    assert [line.strip() for line in lines if line.startswith("  ")] == ["one", "two", "two"]
    states = [line for line in lines if not line.startswith("  ")]
    assert [("HELD" in s, "Amplifier silent." in s) for s in states] == [
        (False, False),
        (True, True),
        (True, True),
    ]
    assert "alpha_posterior 11.4 µV²" in states[0]
    assert "TEST SESSION" in states[0]


def test_without_a_terminal_the_view_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert isinstance(open_view(clock=FakeClock()), PlainView)
    assert isinstance(open_view(plain=True, clock=FakeClock()), PlainView)


# ---------------------------------------------------------------- on a real (pseudo) terminal

_CHILD = """
    import sys, time
    from engine.clock import FakeClock
    from engine.frames import PhaseKind
    from engine.terminal import LiveView, Status, open_view

    class Real(FakeClock):
        def now(self):
            return time.monotonic()

    orders = []
    view = open_view(clock=Real())
    assert isinstance(view, LiveView)
    try:
        with view:
            end = time.monotonic() + 30
            while time.monotonic() < end and not any(o.kind == "stop" for o in orders):
                view.update(Status("PANEL", state=PhaseKind.TRAIN, feature_name="alpha"))
                orders += view.poll()
                if any(o.text == "boom" for o in orders):
                    raise RuntimeError("boom")
                time.sleep(0.01)
    finally:
        print("ORDERS", [(o.kind, o.text) for o in orders], flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX")
@pytest.mark.parametrize("crash", [False, True])
def test_live_view_draws_takes_keys_and_gives_the_terminal_back(crash: bool) -> None:
    import pty
    import select
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    env |= {"PYTHONPATH": str(REPO), "PYTHONIOENCODING": "utf-8"}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_CHILD)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        close_fds=True,
    )
    seen = b""

    def read_until(*wanted: bytes) -> None:
        nonlocal seen
        end = time.monotonic() + 60
        while not all(w in seen for w in wanted):
            assert time.monotonic() < end, seen[-2000:]
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 65536)

    try:
        read_until(b"PANEL", b"LIVE")
        during = termios.tcgetattr(slave)
        assert not during[3] & termios.ECHO
        assert not during[3] & termios.ICANON
        assert during[3] & termios.ISIG  # Ctrl-C still interrupts
        assert not during[0] & termios.IXON  # Ctrl-S must not freeze the session
        os.write(master, b"n")
        read_until(b"Note: ")
        os.write(master, b"boom\r" if crash else "blinks é\r".encode())
        if not crash:
            read_until(b"Note kept")
            os.write(master, b"s")
            read_until(b"again to stop")
            os.write(master, b"s")
        read_until(b"ORDERS", b"('note', 'boom')" if crash else "('note', 'blinks é')".encode())
        assert child.wait(30) == (1 if crash else 0)
        assert termios.tcgetattr(slave) == before
        assert b"\x1b[?1049l" in seen  # left the alternate screen
        assert b"\x1b[?25h" in seen  # cursor shown again
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(slave)


class StalledTerminal(io.StringIO):
    """Takes nothing until released, as a terminal in which text is being selected."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.released.wait(60)
        return super().write(text)


def test_a_stalled_terminal_does_not_hold_up_the_session() -> None:
    out = StalledTerminal()
    view = LiveView(Console(file=out, width=80, height=24, force_terminal=True), FakeClock())
    view._keyboard.open = lambda: None  # type: ignore[method-assign]
    view.start()
    drawing = view._thread
    assert drawing is not None
    assert out.reached.wait(60)
    for i in range(50):  # none of these waits for the terminal
        view.update(a_status(rewards=i))
        assert view.poll() == ()
    view.close()
    assert drawing.is_alive()  # still stalled, and yet the session may end
    out.released.set()
    drawing.join(60)
    assert not drawing.is_alive()


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_looks_right_in_a_real_terminal(tmp_path: Path) -> None:
    script = tmp_path / "animate.py"
    script.write_text(
        textwrap.dedent(_CHILD).replace('Status("PANEL",', 'Status("PANEL", client="C1",'),
        encoding="utf-8",
    )
    socket = ["tmux", "-L", f"neuroloop-{os.getpid()}", "-f", os.devnull]
    env = {**os.environ, "PYTHONPATH": str(REPO), "LC_ALL": "C.UTF-8"}
    env.pop("TMUX", None)
    command = f"{sys.executable} {script}; sleep 30"
    start = [*socket, "-u", "new-session", "-d", "-x", "80", "-y", "24", command]
    subprocess.run(start, env=env, check=True, timeout=20)
    try:
        text = ""
        end = time.monotonic() + 60
        while "? help" not in text and time.monotonic() < end:
            time.sleep(0.1)
            text = subprocess.run(
                [*socket, "capture-pane", "-p"], capture_output=True, check=True, timeout=20
            ).stdout.decode()
        lines = text.splitlines()
        assert "PANEL" in lines[0]
        assert "LIVE" in lines[1]
        assert "? help" in lines[23]
    finally:
        subprocess.run([*socket, "kill-server"], check=False, timeout=20)
