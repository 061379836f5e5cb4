"""The commands of studies: what they write, what they never say, and what they refuse."""

from __future__ import annotations

import getpass
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import audit, seal
from engine.cli import main as cli
from engine.cli import study as commands
from engine.enrol import begin_session, enrol, session_number
from engine.seal import Allocation, Cost
from engine.study import load_study

PASSPHRASE = "correct horse battery"
STUDY = """format: 1
name: pilot
protocol: tbr_down
sessions: 10
blinding: double
prereg: https://osf.io/xxxxx
arms:
  - {name: zebra, control: real}
  - {name: walrus, control: noise}
questions: {blinding: [1, last]}
"""
ARMS = ("zebra", "walrus", "(real)", "(noise)")


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command in this process; guessing a passphrase is cheap and no protocol is loaded."""
    monkeypatch.setattr(seal.Cost, "__init__", _cheap)
    monkeypatch.setattr(commands, "_protocol_sha256", lambda _: "ab" * 32)

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        return Answer(code, said.out, said.err)

    return run


def _cheap(self: Cost, n: int = 16, r: int = 1, p: int = 1) -> None:
    for name, value in (("n", n), ("r", r), ("p", p)):
        object.__setattr__(self, name, value)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


@pytest.fixture
def phrase(tmp_path: Path) -> Path:
    path = tmp_path / "phrase.txt"
    path.write_text(PASSPHRASE + "\n", encoding="utf-8")
    return path


@pytest.fixture
def allocated(study: Path, phrase: Path, here: Any) -> Answer:
    answer: Answer = here("allocate", study, "--n", "20", "--passphrase-file", phrase)
    assert (answer.code, answer.err) == (0, "")
    return answer


def token_of(study: Path) -> str:
    return (study.parent / "tokens.tsv").read_text().splitlines()[1].split("\t")[0]


# ---------------------------------------------------------------- check


def test_check_says_what_a_study_is(study: Path, here: Any) -> None:
    answer = here("study", "check", study)
    assert answer.code == 0
    for words in (
        "no mistakes",
        "permuted blocks of 4 or 6",
        "3 of 13 items",
        "https://osf.io/xxxxx",
    ):
        assert words in answer.out
    assert "1b      sampling plan, reason for the sample size: blank" in answer.out
    told = json.loads(here("study", "check", study, "--json").out)
    assert told["ok"]
    assert told["cred_nf"]["1a"] == "https://osf.io/xxxxx"
    assert told["cred_nf"]["1b"] is None
    assert told["protocol_sha256"] == "ab" * 32


def test_check_names_every_mistake(study: Path, here: Any) -> None:
    study.write_text(STUDY.replace("real", "reel").replace("10", "many"), encoding="utf-8")
    answer = here("study", "check", study)
    assert (answer.code, answer.out) == (2, "")
    assert f"{study}:4:11: " in answer.err
    assert f"{study}:8:28: " in answer.err
    told = here("study", "check", study, "--json")
    assert told.code == 2
    assert len(json.loads(told.out)["problems"]) == 2


def test_a_study_needs_its_protocol(study: Path) -> None:
    assert re.fullmatch("[0-9a-f]{64}", commands._protocol_sha256(load_study(study)))


# ---------------------------------------------------------------- allocate


def test_allocate_writes_three_files_and_tells_no_arm(study: Path, allocated: Answer) -> None:
    folder = study.parent
    assert {p.name for p in folder.iterdir()} == {
        *("study.yaml", "phrase.txt", "allocation.sealed", "runtime.key", "tokens.tsv"),
        "audit.jsonl",
    }
    assert seal.sealed_sha256(folder / "allocation.sealed") in allocated.out
    for name in ("allocation.sealed", "runtime.key", "tokens.tsv", "audit.jsonl"):
        text = (folder / name).read_text()
        assert not any(arm.strip("()") in text for arm in ARMS)
    assert not any(arm in allocated.out for arm in ARMS)
    assert PASSPHRASE not in allocated.out
    (entry,) = audit.read_audit(folder / "audit.jsonl")
    assert (entry.what, entry.details["tokens"]) == ("allocated", 20)
    assert entry.hash in allocated.out
    opened = Allocation.open(
        folder / "allocation.sealed", folder / "runtime.key", load_study(study)
    )
    assert opened.protocol_sha256 == "ab" * 32


def test_allocate_never_replaces(study: Path, phrase: Path, allocated: Answer, here: Any) -> None:
    before = (study.parent / "allocation.sealed").read_bytes()
    answer = here("allocate", study, "--n", "20", "--passphrase-file", phrase)
    assert answer.code == 2
    assert "exists already" in answer.err
    assert (study.parent / "allocation.sealed").read_bytes() == before
    other = study.parent / "other"
    assert (
        here("allocate", study, "--n", "4", "--passphrase-file", phrase, "--out", other).code == 0
    )
    assert (other / "allocation.sealed").exists()


def test_allocate_asks_twice(study: Path, here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_somebody", lambda: True)
    said = iter([PASSPHRASE, "another passphrase", "short", PASSPHRASE, PASSPHRASE])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(said))
    assert "differ" in here("allocate", study, "--n", "4").err
    assert "shorter than 12" in here("allocate", study, "--n", "4").err
    assert not (study.parent / "allocation.sealed").exists()
    assert here("allocate", study, "--n", "4").code == 0


def test_allocate_refuses_wrong_input(study: Path, phrase: Path, here: Any) -> None:
    for arguments, words in (
        (("--n", "0", "--passphrase-file", phrase), "not possible"),
        (("--n", "4"), "Nobody is here"),
        (("--n", "4", "--passphrase-file", study.parent / "none"), "cannot be read"),
        (("--n", "four", "--passphrase-file", phrase), "'--n'"),
        (("--passphrase-file", phrase), "--n"),
    ):
        answer = here("allocate", study, *arguments)
        assert answer.code == 2
        assert words in answer.err
    phrase.write_text("short\n")
    assert here("allocate", study, "--n", "4", "--passphrase-file", phrase).code == 2
    assert not (study.parent / "allocation.sealed").exists()


# ---------------------------------------------------------------- unblind


def test_unblind_tells_one_arm_after_writing_it_down(
    study: Path, allocated: Answer, here: Any
) -> None:
    token = token_of(study)
    answer = here("unblind", study, "--participant", token.lower(), "--reason", "seizure at home",
                  "--yes-i-mean", token)  # fmt: skip
    assert answer.code == 0
    assert sum(arm in answer.out for arm in ("zebra", "walrus")) == 1
    assert answer.out.index("Audit:") < answer.out.index("Arm:")
    entry = audit.read_audit(study.parent / "audit.jsonl")[-1]
    assert entry.what == "unblinded"
    assert entry.details["participant"] == token
    assert entry.details["reason"] == "seizure at home"
    assert not any(arm in str(entry.details) for arm in ("zebra", "walrus"))


def test_no_arm_is_shown_without_an_entry(study: Path, allocated: Answer, here: Any) -> None:
    path = study.parent / "audit.jsonl"
    path.unlink()
    path.mkdir()
    token = token_of(study)
    answer = here("unblind", study, "--participant", token, "--reason", "seizure at home",
                  "--yes-i-mean", token)  # fmt: skip
    assert answer.code == 2
    assert not any(arm in answer.out + answer.err for arm in ARMS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--reason": "because"}, "at least 10"),
        ({"--reason": "  a    b     c  "}, "at least 10"),
        ({"--yes-i-mean": "CCCCCC"}, "nothing was opened"),
        ({"--yes-i-mean": None}, "type the token again"),
        ({"--participant": "CCCCCC"}, "no token"),
        ({"--participant": "zebra"}, "no token"),
        ({"--key": "none.key"}, "cannot be read"),
        ({"--allocation": "nowhere"}, "cannot be read"),
    ],
)
def test_unblind_refuses(
    change: dict[str, str | None], words: str, study: Path, allocated: Answer, here: Any
) -> None:
    token = token_of(study)
    options: dict[str, str | None] = {
        "--participant": token, "--reason": "seizure at home", "--yes-i-mean": token, **change
    }  # fmt: skip
    answer = here("unblind", study, *(w for k, v in options.items() if v for w in (k, v)))
    assert answer.code == 2
    assert words in answer.err
    assert not any(f" {arm}" in answer.out for arm in ("zebra", "walrus"))
    assert len(audit.read_audit(study.parent / "audit.jsonl")) == 1


def test_unblind_asks_for_the_token_again(
    study: Path, allocated: Answer, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = token_of(study)
    monkeypatch.setattr(commands, "_somebody", lambda: True)
    said = iter(["XXXXXX", token])
    monkeypatch.setattr(commands.typer, "prompt", lambda _: next(said))
    arguments = ("unblind", study, "--participant", token, "--reason", "seizure at home")
    assert here(*arguments).code == 2
    assert here(*arguments).code == 0


def test_a_changed_study_or_allocation_opens_nothing(
    study: Path, allocated: Answer, here: Any
) -> None:
    token = token_of(study)
    arguments = ("unblind", study, "--participant", token, "--reason", "seizure at home",
                 "--yes-i-mean", token)  # fmt: skip
    study.write_text(STUDY + "materials: all\n", encoding="utf-8")
    assert "was changed after" in here(*arguments).err
    study.write_text(STUDY, encoding="utf-8")
    sealed = study.parent / "allocation.sealed"
    sealed.write_bytes(sealed.read_bytes().replace(b'"pilot"', b'"pilos"'))
    answer = here(*arguments)
    assert answer.code == 2
    assert "was changed after it had been sealed" in answer.err


# ---------------------------------------------------------------- unseal and audit


def test_unseal_writes_who_had_what(
    study: Path, phrase: Path, allocated: Answer, here: Any
) -> None:
    (study.parent / "runtime.key").unlink()  # the statistician does not have it
    answer = here("unseal", study, "--passphrase-file", phrase)
    assert answer.code == 0
    lines = (study.parent / "assignments.tsv").read_text().splitlines()
    assert lines[0] == "token\tstratum\tblock\tarm"
    rows = [line.split("\t") for line in lines[1:]]
    assert [r[3] for r in rows].count("zebra") == 10
    assert rows[0][0] == token_of(study)
    assert audit.read_audit(study.parent / "audit.jsonl")[-1].what == "unsealed"
    again = here("unseal", study, "--passphrase-file", phrase)
    assert again.code == 2
    assert "exists already" in again.err
    other = study.parent / "other.tsv"
    assert here("unseal", study, "--passphrase-file", phrase, "--out", other).code == 0
    assert other.read_text().splitlines() == lines


def test_unseal_refuses_another_passphrase(
    study: Path, phrase: Path, allocated: Answer, here: Any
) -> None:
    phrase.write_text("incorrect horse battery\n")
    answer = here("unseal", study, "--passphrase-file", phrase)
    assert answer.code == 2
    assert "does not open" in answer.err
    assert "incorrect horse" not in answer.err
    assert not (study.parent / "assignments.tsv").exists()
    assert len(audit.read_audit(study.parent / "audit.jsonl")) == 1


def test_audit_shows_the_chain(study: Path, allocated: Answer, here: Any) -> None:
    answer = here("study", "audit", study)
    assert answer.code == 0
    assert "1 lines, the chain is whole" in answer.out
    assert len(json.loads(here("study", "audit", study, "--json").out)["entries"]) == 1
    assert here("study", "audit", study, "--last", "0" * 64).code == 2
    path = study.parent / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"allocated", b"allocatef"))
    answer = here("study", "audit", study)
    assert answer.code == 2
    assert f"{path}:1: " in answer.err


def test_nothing_plain_in_the_folder_tells_an_arm(
    study: Path, allocated: Answer, here: Any
) -> None:
    folder = study.parent
    enrol(folder, token_of(study), "A17")
    for path in folder.iterdir():
        if path != study and path.is_file():
            data = path.read_bytes()
            assert not any(w in data for w in (b"zebra", b"walrus", b"noise")), path


# ---------------------------------------------------------------- tokens and sessions


def test_next_tells_the_tokens_in_their_order(study: Path, allocated: Answer, here: Any) -> None:
    first = token_of(study)
    answer = here("study", "next", study)
    assert (answer.code, answer.out) == (0, f"all: {first}\n")
    enrol(study.parent, first, "A17")
    second = here("study", "next", study, "--stratum", "all").out.split()[-1]
    assert second != first
    assert here("study", "next", study, "--stratum", "other").code == 2


def test_a_session_that_did_not_come_about_is_run_again(
    study: Path, allocated: Answer, here: Any
) -> None:
    token = token_of(study)
    reason = "the baseline failed three times"
    assert here("study", "repeat", study, "--participant", token, "--reason", reason).code == 2
    enrol(study.parent, token, "A17")
    assert begin_session(study.parent, token, "one.xdf") == 1
    assert here("study", "repeat", study, "--participant", token, "--reason", "why").code == 2
    answer = here("study", "repeat", study, "--participant", token.lower(), "--reason", reason)
    assert answer.code == 0
    assert "Session 1" in answer.out
    assert "one.xdf" in answer.out
    assert session_number(study.parent, token) == 0
    assert begin_session(study.parent, token, "two.xdf") == 1
    last = audit.read_audit(study.parent / audit.AUDIT_FILE)[-1]
    assert last.what == "session to be repeated"
    assert last.details["reason"] == reason
