"""The command line: what people see, exit codes, and that no mistake shows a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from engine.cli import main as cli
from engine.cli import protocols, words
from engine.doctor import Finding
from engine.errors import InputError, NeuroloopError, RunError, SafetyStop, StreamError
from engine.features import FEATURES, nominal_delay_s
from engine.room import load_room
from engine.screening import QUESTIONS
from engine.simulate import Network, SimulatorOptions, spawn_simulator
from protocols.model import Feature

REPO = Path(__file__).resolve().parents[2]
BROKEN = sorted((REPO / "tests" / "protocols" / "broken").glob("*.yaml"))
COMMAND = [sys.executable, "-m", "engine.cli"]
DEADLINE_S = 120.0  # generous: a loaded computer may need long to start Python


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


def start(arguments: Sequence[str | Path], **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **{"cwd": REPO, **more},
    )


def real(arguments: Sequence[str | Path], **more: Any) -> Answer:
    """Run the real command in a process of its own."""
    process = start(arguments, **more)
    out, err = process.communicate(timeout=DEADLINE_S)
    return Answer(process.returncode, out, err)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process: quick."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose LSL network nobody else is in."""
    config = tmp_path / "alone.cfg"
    text = Path(os.environ["LSLAPICFG"]).read_text(encoding="utf-8")
    session = f"SessionID = alone-{uuid.uuid4().hex[:12]}"
    config.write_text(re.sub("SessionID = .*", session, text), encoding="utf-8")
    return {**os.environ, "LSLAPICFG": str(config)}


def no_traceback(answer: Answer) -> None:
    assert "Traceback" not in answer.out + answer.err
    assert 'File "' not in answer.err


# ---------------------------------------------------------------- check


@pytest.fixture(scope="module")
def refused() -> dict[str, Answer]:
    """Return what the real command says to the broken protocols; two at a time."""
    answers: dict[str, Answer] = {}
    for pair in zip(BROKEN[::2], BROKEN[1::2], strict=True):
        processes = [start(["check", path.relative_to(REPO)]) for path in pair]
        for path, process in zip(pair, processes, strict=True):
            out, err = process.communicate(timeout=DEADLINE_S)
            answers[path.stem] = Answer(process.returncode, out, err)
    return answers


# File, place, and a word of what is said and of what is allowed.
MISTAKES = {
    "band_above_nyquist": ("32:44", "too high", "at least 360 Hz"),
    "bomb": ("1:4", "anchor", "write the value out"),
    "duplicate_key": ("44:3", "twice", "line 42"),
    "empty": ("1:1", "empty", "neuroloop protocols"),
    "missing_channel": ("30:28", "C4", "needs: channels"),
    "tab": ("43:1", "tab", "spaces"),
    "typo": ("42:3", "did you mean `sustain`", "refractory"),
    "unknown_feature": ("40:12", "did you mean `smr`", "high_beta"),
    "wrong_type": ("43:3", "not a list", "120 s"),
    "wrong_unit": ("31:60", "a frequency, not a time", "ms"),
}


def test_there_are_ten_broken_protocols() -> None:
    assert sorted(MISTAKES) == [p.stem for p in BROKEN]


@pytest.mark.parametrize("name", MISTAKES)
def test_a_broken_protocol_is_refused(name: str, refused: dict[str, Answer]) -> None:
    answer = refused[name]
    place, what, allowed = MISTAKES[name]
    assert answer.code == 2
    assert answer.out == ""
    no_traceback(answer)
    first, *rest = answer.err.splitlines()
    path = Path("tests") / "protocols" / "broken" / f"{name}.yaml"
    assert first.startswith(f"{path}:{place}: ")
    assert what in first
    assert allowed in " ".join(rest)


def test_all_mistakes_are_told_at_once(tmp_path: Path, here: Any) -> None:
    text = (REPO / "protocols" / "library" / "smr_up.yaml").read_text(encoding="utf-8")
    wrong = text.replace("sustain: 0.5 s", "sustian: 0.5 s").replace("12-15 Hz", "12-15 s")
    path = tmp_path / "wrong.yaml"
    path.write_text(wrong, encoding="utf-8")
    answer = here("check", path)
    assert answer.code == 2
    assert len(re.findall(rf"(?m)^{re.escape(str(path))}:\d+:\d+: ", answer.err)) == 2
    answer = here("check", path, "--json")
    assert answer.code == 2
    told = json.loads(answer.out)
    assert told["ok"] is False
    assert [set(p) for p in told["problems"]] == [{"file", "line", "column", "what", "allowed"}] * 2


def test_checking_loads_nothing_heavy() -> None:
    program = (
        "import sys; from engine.cli.main import main; "
        "code = main(['check', 'smr_up']) or main(['check', 'faa', '--short', '60', '--json']); "
        "sys.stderr.write(' '.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPO,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "pydantic" in loaded  # so that the list is one
    assert not loaded & {"scipy", "mne", "mne_lsl", "mne_bids", "pylsl", "pygame", "matplotlib"}
    assert not loaded & {"pandas", "pyxdf", "jinja2"}


def test_a_right_protocol_is_described(here: Any) -> None:
    answer = here("check", "smr_up")
    assert (answer.code, answer.err) == (0, "")
    for title in ("What is measured", "What is rewarded", "What can pause it", "CRED-nf"):
        assert f"\n{title}\n" in answer.out
    assert "no mistakes" in answer.out


# ---------------------------------------------------------------- mistakes of people


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("check nofile", "no protocol `nofile`"),
        ("check nofile.yaml", "nofile.yaml"),
        ("check {folder}", "not a file"),
        ("check {binary}", ":1:1:"),
        ("check smr_up --foo", "--foo"),
        ("check smr_up extra", "extra"),
        ("check smr_up --short", "--short"),
        ("check smr_up --short ten", "--short"),
        ("check smr_up --short 5", "cannot be shortened to 5 s"),
        ("check", "PROTOCOL"),
        ("chekc", "check"),
        ("run smr_up --room nowhere", "nowhere"),
        ("run smr_up --client Anna!", "client id"),
        ("run smr_up --room clinic-example --short 60", "clinical room"),
        ("demo --seconds 20", "20 s"),
        ("demo --protocol nothing", "nothing"),
        ("demo --out {file}/deeper", "cannot be kept"),
        ("simulate --rate 10", "10 Hz"),
        ("simulate --rate fast", "--rate"),
        ("simulate --eyes half", "--eyes"),
        ("simulate --faults nofile", "nofile"),
        ("play nofile.edf", "nofile.edf"),
        ("play {binary}", "binary"),
        ("streams --room nowhere", "nowhere"),
        ("streams --wait 0", "0 s"),
        ("run smr_up --find 0", "--find 1"),
        ("doctor --room nowhere", "nowhere"),
        ("replay nofile.edf", "nofile.edf"),
        ("replay {binary}", "no Neuroloop recording"),
        ("replay {binary} --protocol smr_up", "binary"),
        ("replay {folder}", "holds no EEG file"),
        ("recover nofile.xdf", "nofile.xdf"),
        ("recover {folder}", "cannot be read"),
        ("recover {binary}", "no XDF"),
        ("report nofile.xdf", "nofile.xdf"),
        ("report {binary}", "no recording"),
        ("report {folder}", "cannot be read"),
        ("export {binary} --out {folder}/bids", "no XDF"),
        ("export nofile.xdf", "--out"),
        ("export nofile.xdf --out {folder}/bids --run 0", "Count from 1"),
        ("room check nowhere", "nowhere"),
        ("room check {binary}", ":1:1:"),
        ("room new {file} --use test --mains 50", "exists already"),
        ("room new {folder}/a/b.yaml --use test --mains 50", "cannot be written"),
        ("room new {folder}/r.yaml --use test --mains 55", "55"),
        ("room new {folder}/r.yaml --use salon --mains 50", "--use"),
        ("room new {folder}/r.yaml", "--use and --mains"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    arguments: str, word: str, tmp_path: Path, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("keep me", encoding="utf-8")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 8)
    places = {n: str(tmp_path / n) for n in ("folder", "file", "binary")}
    answer = here(*[a.format(**places) for a in arguments.split()])
    assert answer.code == 2
    assert word in answer.err
    no_traceback(answer)
    assert len(answer.err) < 600
    assert (tmp_path / "file").read_text(encoding="utf-8") == "keep me"
    assert not list((tmp_path / "folder").iterdir())


def test_the_real_command_does_the_same(tmp_path: Path) -> None:
    answer = real(["replay", tmp_path / "nofile.edf", "--protocol", "smr_up"])
    assert (answer.code, answer.out) == (2, "")
    what, fix = answer.err.splitlines()
    assert "nofile.edf" in what
    assert fix.startswith("  -> ")


def test_no_command_shows_the_commands(here: Any) -> None:
    answer = here()
    assert answer.code == 2
    assert "neuroloop demo" in answer.err
    assert "-> See" not in answer.err


def test_a_fault_of_ours_is_no_traceback_on_the_screen(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("the library fell apart")

    log = tmp_path / "log" / "neuroloop.log"
    monkeypatch.setattr("protocols.load.library", broken)
    monkeypatch.setattr("engine.run.log_path", lambda: log)
    answer = here("protocols")
    assert answer.code == 1
    assert "not you (ZeroDivisionError: the library fell apart)" in answer.err
    assert str(log) in answer.err
    no_traceback(answer)
    assert "Traceback" in log.read_text(encoding="utf-8")

    (tmp_path / "taken").write_text("", encoding="utf-8")
    monkeypatch.setattr("engine.run.log_path", lambda: tmp_path / "taken" / "x.log")
    answer = here("protocols")
    assert answer.code == 1
    assert "no log file" in answer.out


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
def test_ctrl_c_ends_a_command(alone: dict[str, str]) -> None:
    process = start(["simulate"], env=alone)
    assert process.stdout is not None
    assert "Simulated person" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    no_traceback(Answer(130, out, err))


@pytest.mark.skipif(os.name == "nt", reason="needs a shell's pipe")
def test_a_closed_pipe_is_no_traceback() -> None:
    process = start(["features"])
    assert process.stdout is not None
    process.stdout.close()
    process.wait(DEADLINE_S)
    assert process.stderr is not None
    err = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in err


# ---------------------------------------------------------------- help


def commands() -> list[tuple[str, ...]]:
    group = typer.main.get_command(cli.app)
    found: list[tuple[str, ...]] = [()]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


def test_every_command_is_there() -> None:
    assert {c[0] for c in commands() if c} == {
        *("demo", "run", "check", "new", "protocols", "features", "migrate", "room", "simulate"),
        *("play", "progress", "donate", "pictures", "preview", "simulate-sensor"),
        *("streams", "doctor", "replay", "recover", "report", "export", "ask"),
        *("allocate", "unblind", "unseal", "study"),
    }


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_explains_every_option(command: tuple[str, ...], here: Any) -> None:
    answer = here(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    # No Python types, and no sentence cut off in the list of commands.
    assert not re.search(r"<(float|path|int|str)|TEXT|x[<>]=|\w\.\.\.\n", answer.out)
    # Every option and argument has words of its own, not only a name.
    _, _, listed = answer.out.partition("Options:")
    for row in re.findall(r"(?m)^  (-\S.*)$", listed):
        assert re.search(r"\S  +\S", row) or f"{row}\n        " in answer.out, row


def test_the_version(here: Any) -> None:
    answer = here("--version")
    assert answer.code == 0
    assert re.fullmatch(r"neuroloop \d+\.\d+\.\d+\n", answer.out)


def documented() -> list[str]:
    """Return every command line that the documents show."""
    pages = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
    lines = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        shown = re.findall(r"(?m)^(?:uv run )?neuroloop .*$", text)
        shown += re.findall(r"`(?:uv run )?(neuroloop [^`]+)`", text)
        lines += [re.sub("^uv run ", "", s).split("#")[0].split("&&")[0].strip() for s in shown]
    return sorted({line for line in lines if "..." not in line})


@pytest.mark.parametrize("line", documented())
def test_the_documents_show_commands_that_exist(line: str) -> None:
    command: Any = typer.main.get_command(cli.app)
    words = shlex.split(line)[1:]
    assert words[0].startswith("-") or words[0] in command.commands
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        if word.startswith("-"):
            assert word in options, f"{line}: {word}"


def test_the_exit_codes_are_those_of_the_table(here: Any) -> None:
    text = (REPO / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = {int(m[1]): m[2].strip() for m in re.finditer(r"(?m)^\| (\d+) \| ([^|]+)\|", text)}
    kinds = (NeuroloopError, RunError, InputError, StreamError, SafetyStop)
    assert set(rows) == {0, 130, *(k.exit_code for k in kinds)}
    told = " ".join(here("--help").out.split())
    for code, meaning in rows.items():
        assert f"{code} {meaning.removeprefix('a ')}" in told


# ---------------------------------------------------------------- words on the screen


def test_words_are_never_split() -> None:
    text = "  - " + "Neurofeedback " * 12 + "ends."
    lines = words.wrapped(text, 60).split("\n")
    assert len(lines) > 2
    assert all(len(line) <= 60 for line in lines)
    assert lines[0].startswith("  - Neuro")
    assert all(re.match(r"    \S", line) for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())


@pytest.mark.parametrize(
    "line",
    [
        "Recording: /home/a very long folder/with spaces/" + "x" * 60 + ".xdf",
        r"  Tables: C:\Users\somebody with a name\recordings\2026\S001R02.edf.replay\and more",
        "x" * 90,
    ],
)
def test_names_of_files_can_be_copied(line: str) -> None:
    assert words.wrapped(line, 60) == line


def test_short_lines_and_empty_lines_stay() -> None:
    text = "one\n\n  two\n"
    assert words.wrapped(text, 60) == text


def test_tables_keep_their_second_column() -> None:
    text = f"{'smr_up':14s}  {'Evidence words ' * 8}"
    lines = words.wrapped(text, 60).split("\n")
    assert lines[0].startswith("smr_up")
    assert all(re.match(r" {16}\S", line) for line in lines[1:])


def test_a_terminal_gets_wrapped_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=50, highlight=False, markup=False)
    monkeypatch.setattr(words, "console", console)
    assert cli.main(["protocols"]) == 0
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 50
    whole = {w for w in (REPO / "protocols/library/smr_up.yaml").read_text("utf-8").split()}
    assert {"sensorimotor", "side", "effects."} <= whole & set(screen.getvalue().split())


def test_a_pipe_gets_whole_lines(here: Any) -> None:
    lines = here("protocols").out.splitlines()
    assert max(map(len, lines)) > 200


def test_a_narrow_character_set_is_no_fault(alone: dict[str, str]) -> None:
    answer = real(["features"], env={**alone, "PYTHONIOENCODING": "ascii"})
    assert (answer.code, answer.err) == (0, "")
    assert "power" in answer.out


# ---------------------------------------------------------------- features


def test_every_kind_of_feature_is_listed_with_all_that_is_known(here: Any) -> None:
    answer = here("features")
    assert (answer.code, answer.err) == (0, "")
    groups = re.findall(r"(?m)^[A-Z].*$", answer.out)
    assert groups == [
        "Of a band",
        "Two powers compared",
        "Made of other features",
        "Between two sites",
        "Of the voltage itself",
    ]
    for kind in FEATURES.values():
        start = answer.out.index(f"\n{kind.name} ")
        told = answer.out[start : answer.out.find("\n\n", start)]
        for part in (kind.doc, kind.formula, kind.delay, kind.source):
            assert part in told
        assert all(key in told for key in (*kind.needs, *kind.may))
    for unit in ("µV²", "µV", "s", "per minute", "no unit"):
        assert f"Unit: {unit}\n" in answer.out
    assert "uV" not in answer.out


def test_features_as_json_hold_delay_source_and_parts(here: Any) -> None:
    rows = {r["kind"]: r for r in json.loads(here("features", "--json").out)}
    assert set(rows) == set(FEATURES)
    for name, row in rows.items():
        kind = FEATURES[name]
        assert (row["delay"], row["source"]) == (kind.delay, kind.source)
        assert (row["parts"], row["n_parts"]) == (sorted(kind.parts), kind.n_parts)
    assert rows["wpli"]["sites"] == 2
    assert rows["wpli"]["group"] == "Between two sites"


def test_delays_before_a_session_hold_windows_and_the_longest_part() -> None:
    made = {
        "alpha": {"kind": "amplitude", "at": ["Pz"], "band": "8-12 Hz"},
        "theta": {"kind": "power", "at": ["Pz"], "band": "5-7 Hz"},
        "beta": {"kind": "power", "at": ["Pz"], "band": "15-25 Hz"},
        "tbr": {"kind": "ratio", "of": ["theta", "beta"]},
        "rate": {"kind": "burst_rate", "of": ["alpha"], "window": "30 s"},
        "coh": {"kind": "plv", "at": ["F3", "P3"], "band": "8-12 Hz"},
        "zed": {"kind": "z", "of": ["coh"]},
        "slow": {"kind": "slow_potential", "at": ["Cz"]},
        "range": {"kind": "peak_to_peak", "at": ["Cz"], "window": "2 s"},
    }
    features = {k: Feature.model_validate(v) for k, v in made.items()}
    alpha, theta = nominal_delay_s((8.0, 12.0)), nominal_delay_s((5.0, 7.0))
    found = protocols._delays_s(features)
    assert found == pytest.approx(
        {
            "alpha": alpha,
            "theta": theta,
            "beta": nominal_delay_s((15.0, 25.0)),
            "tbr": theta,
            "rate": alpha + 15.0,
            "coh": alpha + 1.0,
            "zed": alpha + 1.0,
            "slow": 0.25,
            "range": 1.0,
        }
    )


def test_what_is_fitted_is_said_before_the_session(here: Any) -> None:
    answer = here("check", "faa")
    assert answer.code == 0
    assert "asked for 100 ms (fitted to the baseline of each session; measured then)" in answer.out
    assert "individual alpha frequency" in answer.out


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    "arguments",
    ["protocols", "features", "check faa", "room check sim", "room list"],
)
def test_json_parses(arguments: str, here: Any) -> None:
    answer = here(*arguments.split(), "--json")
    assert answer.code == 0
    assert json.loads(answer.out)


def test_json_of_the_doctor(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = (Finding("Python", "ok", "3.12", "", {"bits": 64}), Finding("Sound", "warn", "None."))
    monkeypatch.setattr("engine.doctor.diagnose", lambda *_: seen)
    answer = here("doctor", "--json")
    assert answer.code == 0
    assert json.loads(answer.out)["worst"] == "warn"


def test_the_doctor_in_words(here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Finding("Recordings", "fail", "The disk is full.", "Make space.")

    def diagnose(room: object, tell: Any) -> tuple[Finding, ...]:
        tell(bad)
        return (bad,)

    monkeypatch.setattr("engine.doctor.diagnose", diagnose)
    answer = here("doctor")
    assert answer.code == 1
    assert "FAIL  Recordings: The disk is full.\n      -> Make space." in answer.out


def test_json_of_a_replay(here: Any, tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "odd" / "139-channels-6s.edf"
    protocol = tmp_path / "p.yaml"
    text = (REPO / "protocols" / "library" / "smr_up.yaml").read_text(encoding="utf-8")
    text = text.replace("[Cz]", "[A3]").replace("[ears, mastoids, average, as recorded]", "average")
    protocol.write_text(text, encoding="utf-8")
    answer = here("replay", path, "--protocol", protocol, "--json", "--out", tmp_path / "out")
    assert (answer.code, answer.err) == (0, "")
    (summary,) = json.loads(answer.out)
    assert summary["ended_as"] == "incomplete"


def test_a_folder_with_a_bad_file_is_told_to_scripts(
    here: Any, tmp_path: Path, shared_data: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.edf").write_bytes(b"0")
    good = (shared_data / "odd" / "139-channels-6s.edf").read_bytes()
    (folder / "good.edf").write_bytes(good)
    protocol = tmp_path / "p.yaml"
    text = (REPO / "protocols" / "library" / "smr_up.yaml").read_text(encoding="utf-8")
    text = text.replace("[Cz]", "[A3]").replace("[ears, mastoids, average, as recorded]", "average")
    protocol.write_text(text, encoding="utf-8")
    answer = here("replay", folder, "--protocol", protocol)
    assert answer.code == 2
    assert "bad.edf: bad.edf cannot be read" in answer.out
    assert "good.edf: 6 s through smr_up" in answer.out
    assert "1 of 2 files were replayed." in answer.out


# ---------------------------------------------------------------- rooms


def test_a_new_room_loads(here: Any, tmp_path: Path) -> None:
    file = tmp_path / "our room.yaml"
    answer = here(
        *("room", "new", file, "--use", "clinical", "--mains", "60", "--source-id", "amp-7"),
        *("--unit", "uV", "--no-sound", "--record", str(tmp_path / "sessions")),
    )
    assert answer.code == 0
    assert f"Written: {file}\n" in answer.out
    room = load_room(file)
    assert (room.name, room.use, room.mains_hz) == ("our room", "clinical", 60)
    assert room.stream.source_id == "amp-7"
    assert room.stream.unit == "uV"
    assert not room.sound.required
    assert room.person_screen.required
    assert here("room", "check", file).code == 0
    before = file.read_bytes()
    again = here("room", "new", file, "--use", "test", "--mains", "50")
    assert again.code == 2
    assert "nothing was overwritten" in again.err
    assert file.read_bytes() == before


def test_a_new_room_by_asking(here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Keyboard(io.StringIO):
        def isatty(self) -> bool:
            return True

    answers = iter(["Lab 2", "hospital", "research", "55", "50", "ActiChamp"])
    asked: list[str] = []

    def prompt(text: str, *_: object, **__: object) -> str:
        asked.append(text)
        return next(answers)

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr(typer, "prompt", prompt)
    file = tmp_path / "lab.yaml"
    answer = here("room", "new", file)
    assert answer.code == 0
    room = load_room(file)
    assert (room.name, room.use, room.mains_hz) == ("Lab 2", "research", 50)
    assert room.stream.name == "ActiChamp"
    assert "Please answer 50 or 60." in answer.out
    assert len(asked) == 6


# ---------------------------------------------------------------- the network


def test_nothing_on_the_network(alone: dict[str, str]) -> None:
    answer = real(["streams", "--wait", "0.7"], env=alone)
    assert answer.code == 3
    assert "No LSL stream was found." in answer.out
    assert "--room sim" in answer.out
    no_traceback(answer)


def test_a_session_without_a_stream(alone: dict[str, str], tmp_path: Path) -> None:
    answer = real(["run", "smr_up", "--room", "sim", "--short", "60", "--out", tmp_path], env=alone)
    assert answer.code == 3
    assert "No stream at all was seen" in answer.err
    assert "neuroloop-sim" in answer.err
    no_traceback(answer)
    assert not list(tmp_path.glob("*.xdf"))


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Path]:
    """Offer a simulated person; return a room for it."""
    name = f"person-{uuid.uuid4().hex[:8]}"
    room = tmp_path / "room.yaml"
    room.write_text(
        f"format: 1\nname: Bench\nuse: test\nmains: 50 Hz\n"
        f"stream: {{name: {name}, counter: counter}}\n"
        "lsl: {loopback_only: yes}\nscreen: {required: no}\nsound: {required: no}\n"
        "record: {keep_free_gb: 0.1}\n",
        encoding="utf-8",
    )
    with spawn_simulator(SimulatorOptions(name=name, source_id=name, network=Network())):
        yield room


def test_streams_are_listed_with_what_is_wrong(simulated: Path, tmp_path: Path, here: Any) -> None:
    name = load_room(simulated).stream.name
    answer = here("streams", "--room", simulated, "--wait", "1")
    assert answer.code == 0
    assert str(name) in answer.out
    assert "Cz" in answer.out
    assert "Room 'Bench' would use it." in answer.out
    other = tmp_path / "other.yaml"
    text = simulated.read_text(encoding="utf-8")
    other.write_text(text.replace("counter: counter", "rate: 500 Hz"), encoding="utf-8")
    rows = json.loads(here("streams", "--room", other, "--wait", "1", "--json").out)
    (row,) = [r for r in rows if r["name"] == name]
    assert "250 Hz, the room expects 500 Hz" in row["room"]
    assert row["rate_hz"] == 250.0
    assert "Cz" in row["channels"]
    rows = json.loads(here("streams", "--room", "sim", "--wait", "1", "--json").out)
    (row,) = [r for r in rows if r["name"] == name]
    assert "wants another name and source_id" in row["room"]


def test_run_says_where_a_variant_is_less_careful(here: Any, tmp_path: Path) -> None:
    variant = tmp_path / "mine.yaml"
    variant.write_text(
        "format: 2\nextends: alpha_theta\nname: mine\nsafety: none\n", encoding="utf-8"
    )
    where = ("--room", "sim", "--find", "1", "--short", "60", "--out", tmp_path / "s")
    told = " ".join(here("run", variant, *where).out.split())
    assert "LESS CAREFUL than alpha_theta: It runs without a clinician" in told
    assert "It does not exclude psychosis" in told
    assert "LESS CAREFUL" not in here("run", "smr_up", *where).out


def test_the_wrong_stream_is_told(simulated: Path, here: Any, tmp_path: Path) -> None:
    name = load_room(simulated).stream.name
    answer = here("run", "smr_up", "--room", "sim", "--find", "1", "--out", tmp_path / "s")
    assert answer.code == 3
    assert str(name) in answer.err
    assert "other name and source_id" in answer.err


# ---------------------------------------------------------------- safety


def clinic(tmp_path: Path) -> Path:
    file = tmp_path / "clinic.yaml"
    made = ["--use", "clinical", "--mains", "50", "--stream", "amp", "--no-screen", "--no-sound"]
    assert cli.main(["room", "new", str(file), *made]) == 0
    return file


def test_a_clinical_room_refuses_a_short_session(here: Any, tmp_path: Path) -> None:
    answer = here("run", "smr_up", "--room", clinic(tmp_path), "--short", "60", "--client", "A1")
    assert answer.code == 2
    assert "clinical room" in answer.err


@pytest.mark.parametrize("key", [q.key for q in QUESTIONS if q.kind == "block"])
def test_an_answer_can_stop_the_session(key: str, here: Any, tmp_path: Path) -> None:
    answers = tmp_path / "answers.yaml"
    said = ", ".join(f"{q.key}: {'yes' if q.key == key else 'no'}" for q in QUESTIONS)
    answers.write_text(f"format: 1\nanswers: {{{said}}}\n", encoding="utf-8")
    out = tmp_path / "sessions"
    answer = here(
        *("run", "smr_up", "--room", clinic(tmp_path), "--client", "A1"),
        *("--screening-file", answers, "--out", out),
    )
    assert answer.code == 4
    assert "No training today" in answer.err
    no_traceback(answer)
    assert list(out.iterdir()) == []  # the folder was tried, nothing was kept


def test_a_clinical_session_needs_answers(here: Any, tmp_path: Path) -> None:
    answer = here("run", "smr_up", "--room", clinic(tmp_path), "--client", "A1")
    assert answer.code == 2
    assert "--screening-file" in answer.err


def test_the_main_thread_is_left_as_it_was(here: Any) -> None:
    before = threading.active_count()
    here("protocols")
    assert threading.active_count() == before
