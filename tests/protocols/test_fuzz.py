"""The loader against broken files: it says what is wrong, and is never slow about it.

Every case comes from a seed, so a failure is seen again with `case(seed)`. The work of a case is
counted in function calls, which are the same on every machine.
"""

from __future__ import annotations

import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from engine.config import Strict, resolved
from engine.errors import InputError
from engine.features import FEATURES
from protocols import model, rules, steps
from protocols.load import library, load
from protocols.model import Protocol
from protocols.plan import expand

ROOT = Path(__file__).parents[2]
FAST, LONG_S = 120, 300.0
FACTOR = 4.0  # of the calls that a valid file takes per byte; what is broken reads faster mostly

EVERYTHING = """\
format: 2
name: everything
title: What the library has little of
indication: [attention]
evidence: {grade: X, summary: For tests only., refs: [nobody]}
summary: Trains nothing in particular.
safety: {clinician: present, rooms: [research, test], exclude: [psychosis]}
needs: {channels: [Cz, Pz, F3, F4], rate: at least 256 Hz}
condition: {reference: [average, bipolar F3 F4], high_pass: 0.01 Hz, mains: leave, eog: regress}
features:
  smr: {kind: power, at: [Cz], band: 12-15 Hz, smooth: 1 s, delay: 100 ms, target: rhythm}
  alpha: {kind: amplitude, at: [Pz], band: iaf-2 .. iaf+2}
  theta: {kind: amplitude, at: [Pz], band: 4-7 Hz}
  delta: {kind: power, at: [Pz], band: 1-3 Hz}
  left: {kind: power, at: [F3], band: 8-12 Hz, spatial: {F3: 1, Cz: -1}}
  z_smr: {kind: z, of: [smr]}
  normal: {kind: share_within, of: [z_smr], within: 2}
  sum: {kind: weighted_sum, of: [smr, theta], weights: [1, -0.5]}
  slow: {kind: slow_voltage, at: [Cz], window: 0.5 s}
gates: {blink: off, amplitude: {at: [Cz], limit: 90 uV, freeze: 500 ms}, motion: {limit: 0.1 g}}
baseline:
  - {name: closed, lasts: 120 s, eyes: closed, for: [iaf]}
  - {name: open, lasts: 180 s, eyes: open, needs_clean: 90 s, learn: [smr, theta, delta, sum]}
preset: auto_reward_fixed_inhibit
reward:
  all:
    - {feature: smr, above: {baseline: percentile, success: 65 %}, hysteresis: 0.2 mad}
    - {feature: sum, above: {success: 65 %}}
  sustain: 0.5 s
  shape: {every: block, if_success_over: 80 %, harder: 5 %, if_success_under: 50 %, easier: 5 %}
  rule: sustained
inhibit:
  - {feature: theta, below: {running: percentile, success: 85 %, over: 120 s, drift_guard: 15 %}}
  - {feature: delta, below: {block: percentile, success: 85 %}}
  - {feature: sum, below: {staircase: 0.05 mad, success: 85 %}}
watch: {sleep: {theta: theta, delta: delta}, crossover: {theta: theta, alpha: alpha}}
feedback:
  level: {feature: smr, range: dynamic, grows: up, smooth: 0.3 s}
  picture: orb
session:
  - baseline
  - shuffle:
      - {train: 60 s, ask: What did you do?}
      - [{train: 90 s, self_paced: yes}, {rest: 20 s}]
  - {repeat: 2, blocks: [{train: 180 s}, {rest: 30 s}]}
  - {post: 120 s, eyes: open}
"""
TRIALS = """\
format: 2
name: trials
title: Slow potentials in trials
evidence: {grade: X, summary: For tests only.}
summary: Trains nothing in particular.
needs: {channels: [Cz], rate: at least 128 Hz}
condition: {reference: [mastoids], high_pass: 0.01 Hz}
features:
  slow: {kind: slow_voltage, at: [Cz], window: 0.5 s}
baseline: []
trial:
  feature: slow
  judge: 2 s
  tasks:
    - {name: negativity, below: {fixed: 0 uV}, say: Activate.}
    - {name: positivity, above: {fixed: 0 uV}, say: Relax.}
  reject: {above: 200 uV}
feedback:
  level: {feature: slow, from: {fixed: -20 uV}, to: {fixed: 20 uV}}
  picture: bar
session:
  - {trials: 40}
  - {trials: 20, feedback: no}
"""
CHILD = """\
format: 2
name: child
extends: smr_up
reward: {above: {running: percentile, success: 60 %}, sustain: 1 s}
inhibit: none
"""


def shipped(name: str) -> str:
    return (ROOT / "protocols" / "library" / f"{name}.yaml").read_text(encoding="utf-8")


SEEDS = (EVERYTHING, TRIALS, CHILD, *(shipped(n) for n in library()))


def _words() -> tuple[str, ...]:
    """Return the words of the language: keys, kinds, choices, and what looks like a value."""
    found: dict[str, None] = dict.fromkeys([*FEATURES, *library(), "blocks", "repeat", "shuffle"])
    for module in (model, rules, steps):
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Strict):
                found.update(dict.fromkeys(one.yaml_keys()))
    for text in SEEDS:
        found.update(dict.fromkeys(re.findall(r"[\w%.+-]+", text)))
    return tuple(sorted(found))


WORDS = _words()
MANY = "{{repeat: 200, blocks: [{{repeat: 200, blocks: [{}]}}]}}"
ODD = (
    "{", "}", "[", "]", ":", ": ", "\n", "- ", "  ", "'", '"', "&a ", "*a", "!!str ", "<<: ", "%",
    "|", ">", "?", "#", "\\", "é", "µ", "\t", "\r", "\x00", "\x07", "~", "null", "true", "[]", "{}",
    "[[]]", "{{}}", "{a: {b: {c: {}}}}", "1e400 s", "1e308 Hz", ".inf", "nan Hz", "9" * 40, "-1 s",
    "0 s", "0 %", "-0.0", "1e-300 uV", '"\\ud800"', '"\\0"', '"\\x07"', "repeat: 200", "none", "on",
    f"- repeat: 200\n    blocks: [{MANY.format('{shuffle: [[], []]}')}]",
    "extends: ./fuzzed.yaml", "extends: fuzzed", "norms: ./fuzzed.yaml", "format: 1", "format: 2",
    "../", "/", "\u202e", "\ufeff", "\U0001f9e0", "x" * 300,
)  # fmt: skip
_BRACKETED = re.compile(r"\{[^{}\n]*\}|\[[^\[\]\n]*\]")
_TOKEN = re.compile(r"[\w%.+-]+")
PARTS = tuple(m.group() for text in SEEDS for m in _BRACKETED.finditer(text))


# ---------------------------------------------------------------- one change


def _flip(text: bytes, rng: random.Random) -> bytes:
    data = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _lines(text: bytes, rng: random.Random) -> bytes:
    lines = text.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(5)
    if what == 0:
        del lines[i]
    elif what == 1:
        lines.insert(j, lines[i])
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        lines[i] = b" " * rng.randint(1, 8) + lines[i]
    else:
        lines[i] = lines[i].lstrip()
    return b"\n".join(lines)


def _token(text: bytes, rng: random.Random) -> bytes:
    found = list(_TOKEN.finditer(text.decode("utf-8", "replace")))
    if not found:
        return text
    one = rng.choice(found)
    plain = text.decode("utf-8", "replace")
    new = rng.choice(ODD if rng.random() < 0.3 else WORDS)
    return (plain[: one.start()] + new + plain[one.end() :]).encode("utf-8", "surrogatepass")


def _part(text: bytes, rng: random.Random) -> bytes:
    plain = text.decode("utf-8", "replace")
    found = list(_BRACKETED.finditer(plain))
    if not found:
        return text
    one = rng.choice(found)
    new = rng.choice(PARTS)
    for _ in range(rng.choice((0, 0, 1, 2, 20))):
        new = rng.choice(("[{}]", "{{all: {}}}", "{{repeat: 2, blocks: {}}}", "{{at: {}}}")).format(
            new
        )
    return (plain[: one.start()] + new + plain[one.end() :]).encode("utf-8", "surrogatepass")


def _insert(text: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(text) + 1)
    new = rng.choice(ODD).encode("utf-8", "surrogatepass")
    return text[:at] + new * rng.choice((1, 1, 1, 2, 50)) + text[at + rng.choice((0, 0, 1, 8)) :]


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _lines, _lines, _token, _token, _token, _part, _part, _insert,
)  # fmt: skip


def case(seed: int) -> bytes:
    """Return the broken file of a seed."""
    rng = random.Random(seed)
    text = rng.choice(SEEDS).encode()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        text = rng.choice(CHANGES)(text, rng) or b"\n"
    return text


# ---------------------------------------------------------------- what is asked of every case


def read(path: Path) -> bool:
    """Load a file; whatever is wrong must be said in words that can be shown."""
    try:
        loaded = load(path, FEATURES)
    except InputError as error:
        said = str(error)
        assert said.strip()
        said.encode("utf-8")  # a terminal and a log take no lone surrogates
        return False
    values = resolved(loaded.protocol)
    json.dumps(values, allow_nan=False).encode("utf-8")
    assert Protocol.model_validate(values) == loaded.protocol
    assert expand(loaded.protocol, seed=1) == expand(loaded.protocol, seed=1)
    "\n".join(loaded.hints).encode("utf-8")
    return True


def calls(path: Path) -> int:
    """Return how many function calls reading a file takes."""
    count = 0

    def counted(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        read(path)
    finally:
        sys.setprofile(before)
    return count


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fuzzed.yaml"


def allowed(file: Path) -> Callable[[int], float]:
    """Return the calls that a file of so many bytes may take."""
    file.write_text(EVERYTHING, encoding="utf-8")
    assert read(file)
    base = calls(file)
    return lambda size: FACTOR * base * max(1.0, size / len(EVERYTHING))


@pytest.mark.parametrize("text", SEEDS)
def test_what_is_broken_here_is_whole_before(text: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    assert read(file)


def test_a_broken_file_is_told_and_takes_no_more_work_than_a_whole_one(file: Path) -> None:
    most = allowed(file)
    for seed in range(FAST):
        data = case(seed)
        file.write_bytes(data)
        assert calls(file) <= most(len(data)), f"case {seed}"


@pytest.mark.parametrize(
    "session",
    [
        "- " + MANY.format("{repeat: 200, blocks: [{shuffle: [[], []]}]}"),
        "- " + MANY.format("{repeat: 200, blocks: [{train: 60 s}]}"),
        "- " + MANY.format("{shuffle: [[{repeat: 200, blocks: []}], [{train: 1 s}]]}"),
        "- {shuffle: [" + ", ".join(["{train: 60 s}"] * 1000) + "]}",
    ],
)
def test_nested_repetitions_are_refused_without_walking_them(session: str, file: Path) -> None:
    most = allowed(file)
    text = EVERYTHING[: EVERYTHING.index("session:")] + f"session:\n  - baseline\n  {session}\n"
    file.write_text(text, encoding="utf-8")
    assert calls(file) <= most(len(text))
    assert not read(file)


@pytest.mark.slow
@pytest.mark.timeout(3 * LONG_S)
def test_five_minutes_of_broken_files(file: Path) -> None:
    file.write_text(EVERYTHING, encoding="utf-8")
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        read(file)
        took.append(time.perf_counter() - begun)
    valid_s = statistics.median(took)
    end = time.monotonic() + LONG_S
    seed = FAST
    whole = 0
    while time.monotonic() < end:
        data = case(seed)
        file.write_bytes(data)
        most_s = 10.0 * valid_s * max(1.0, len(data) / len(EVERYTHING))
        for attempt in range(3):  # the machine may have been busy with something else
            begun = time.process_time()
            good = read(file)
            spent_s = time.process_time() - begun
            if spent_s <= most_s:
                break
            assert attempt < 2, f"case {seed}: {spent_s:.2f} s, a valid file {valid_s:.3f} s"
        whole += good
        seed += 1
    assert seed > 2 * FAST
    assert 0 < whole < seed - FAST  # both are tried
