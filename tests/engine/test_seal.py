"""The sealed allocation: fair, opaque, and any change of it is found."""

from __future__ import annotations

import base64
import collections
import copy
import json
import pickle
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from engine import seal
from engine.errors import FileError, InputError, NeuroloopError
from engine.seal import (
    ALPHABET,
    Allocation,
    AllocationFiles,
    Cost,
    allocate,
    check_passphrase,
    drawn,
    sealed_sha256,
    unseal,
    write_allocation,
)
from engine.study import LoadedStudy, load_study

STUDY = """format: 1
name: pilot
protocol: tbr_down
sessions: 10
blinding: double
arms:
  - {name: zebra, control: real}
  - {name: walrus, control: replay_other, donors: donors}
strata: {age: [child, adult]}
"""
GOLDEN = "100011010101110010010101"  # arms drawn from seed 7
PASSPHRASE = "correct horse battery"
CHEAP = Cost(n=16, r=1)  # a guess costs nothing: for tests only
N = 20


def study_of(folder: Path, text: str = STUDY) -> LoadedStudy:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def entropy(seed: int) -> Any:
    return random.Random(seed).randbytes


class Made:
    """An allocation on the disk."""

    def __init__(self, folder: Path, text: str = STUDY, n: int = N) -> None:
        self.loaded = study_of(folder, text)
        self.files: AllocationFiles = allocate(
            self.loaded, n, PASSPHRASE, entropy=entropy(4), cost=CHEAP
        )
        self.sealed, self.key, self.tokens = write_allocation(self.files, folder)

    def open(self) -> Allocation:
        return Allocation.open(self.sealed, self.key, self.loaded)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("study"))


@pytest.fixture
def mine(tmp_path: Path) -> Made:
    """Return one that may be spoiled."""
    return Made(tmp_path)


# ---------------------------------------------------------------- drawing


def test_the_same_seed_draws_the_same_for_ever(tmp_path: Path) -> None:
    study = study_of(tmp_path).study
    rows = drawn(study, 12, 7)
    assert rows == drawn(study, 12, 7)
    assert rows != drawn(study, 12, 8)
    # Golden: a study of today must be drawn again the same in ten years.
    assert "".join(str(arm) for _, _, arm in rows) == GOLDEN


@pytest.mark.parametrize("n", [4, 6, 10, 20, 31, 100])
def test_every_whole_block_is_balanced(n: int, tmp_path: Path) -> None:
    study = study_of(tmp_path).study
    sizes = collections.Counter[int]()
    for seed in range(30):
        rows = drawn(study, n, seed)
        blocks: dict[tuple[str, int], list[int]] = collections.defaultdict(list)
        for stratum, block, arm in rows:
            blocks[stratum, block].append(arm)
        last = {s: max(b for t, b in blocks if t == s) for s in study.stratum_names}
        for (stratum, block), arms in blocks.items():
            whole = n % 2 == 0 or block != last[stratum]
            if whole:
                assert len(arms) in (4, 6)
                assert arms.count(0) == arms.count(1)
                sizes[len(arms)] += 1
        for stratum in study.stratum_names:
            of = [arm for s, _, arm in rows if s == stratum]
            assert len(of) == n
            assert abs(of.count(0) - of.count(1)) <= (0 if n % 2 == 0 else 3)
    if n == 100:  # sizes are drawn, not alternated
        assert 0.4 < sizes[4] / sizes.total() < 0.6


def test_every_arrangement_of_a_block_is_equally_likely(tmp_path: Path) -> None:
    text = STUDY.replace("strata: {age: [child, adult]}\n", "block_sizes: [4]\n")
    study = study_of(tmp_path, text).study
    rows = drawn(study, 4 * 3000, 1)
    arrangements = collections.Counter(
        tuple(arm for _, _, arm in rows[i : i + 4]) for i in range(0, len(rows), 4)
    )
    assert len(arrangements) == 6
    expected = 3000 / 6
    chi2 = sum((count - expected) ** 2 / expected for count in arrangements.values())
    assert chi2 < 20.5  # 5 degrees of freedom, p = 0.001


def test_weights_are_kept_in_every_block(tmp_path: Path) -> None:
    text = STUDY.replace("control: real", "control: real, weight: 2")
    study = study_of(tmp_path, text).study
    rows = drawn(study, 30, 3)
    counts = collections.Counter(arm for _, _, arm in rows)
    assert counts == {0: 40, 1: 20}


# ---------------------------------------------------------------- what may be seen


def test_tokens_are_opaque_and_hard_to_confuse(made: Made) -> None:
    lines = made.tokens.read_text().splitlines()
    assert lines[0] == "token\tstratum"
    rows = [line.split("\t") for line in lines[1:]]
    tokens = [row[0] for row in rows]
    assert len(set(tokens)) == len(tokens) == 2 * N
    assert [row[1] for row in rows] == ["age=child"] * N + ["age=adult"] * N
    assert set("".join(tokens)) <= set(ALPHABET)
    assert not set(ALPHABET) & set("AEIOU0158BLSZ2V")
    assert all(len(t) == 6 and t[0].isalpha() for t in tokens)
    for i, one in enumerate(tokens):
        for other in tokens[i + 1 :]:
            assert sum(a != b for a, b in zip(one, other, strict=True)) >= 2
    assert dict(made.open().tokens) == dict(rows)


def test_nothing_in_clear_tells_an_arm(made: Made) -> None:
    for path in (made.sealed, made.key, made.tokens):
        text = path.read_text()
        for word in ("zebra", "walrus", "real", "replay", "sham", PASSPHRASE):
            assert word not in text
    content = json.loads(made.sealed.read_text())
    lengths = {len(base64.b64decode(b["box"])) for b in content["boxes"].values()}
    assert len(lengths) == 1
    assert len(base64.b64decode(content["statistician"])) % 1024 == 40
    assert made.files.sha256 == sealed_sha256(made.sealed)
    for secret in (made.files.runtime_key.decode().splitlines()[2], "zebra"):
        assert secret not in repr(made.files)


def test_the_same_arm_never_looks_the_same(made: Made) -> None:
    content = json.loads(made.sealed.read_text())
    boxes = [base64.b64decode(b["box"]) for b in content["boxes"].values()]
    assert len({b[24:] for b in boxes}) == len({b[:24] for b in boxes}) == len(boxes)


def test_the_key_is_for_its_owner_only(made: Made) -> None:
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600


def test_what_is_assigned_shows_nothing(made: Made) -> None:
    allocation = made.open()
    token = next(iter(allocation.tokens))
    assigned = allocation.source_for(token, 3)
    for shown in (repr(assigned), str(assigned), f"{assigned}", repr([assigned])):
        assert "<assigned>" in shown
        assert "zebra" not in shown
        assert "walrus" not in shown
    assert not hasattr(assigned, "__dict__")
    for name in assigned.__slots__:
        assert "zebra" not in repr(getattr(assigned, name))
        assert "walrus" not in repr(getattr(assigned, name))
    assert (assigned.token, assigned.session) == (token, 3)
    key = made.key.read_text().splitlines()[2]
    assert key not in repr(allocation)
    for opaque in (assigned, allocation):
        with pytest.raises(TypeError):
            pickle.dumps(opaque)
        with pytest.raises(TypeError):
            copy.deepcopy(opaque)


# ---------------------------------------------------------------- round trips


def test_sessions_get_what_was_drawn_and_the_statistician_sees_it(made: Made) -> None:
    allocation = made.open()
    opened = unseal(made.sealed, PASSPHRASE, made.loaded)
    assert [a.token for a in opened.assignments] == list(allocation.tokens)
    for row in opened.assignments:
        arm = allocation.source_for(row.token, 1).arm(made.loaded.study)
        assert arm.name == row.arm
        assert allocation.tokens[row.token] == row.stratum
    names = [a.name for a in made.loaded.study.arms]
    again = [(s, b, names[arm]) for s, b, arm in drawn(made.loaded.study, opened.n, opened.seed)]
    assert again == [(a.stratum, a.block, a.arm) for a in opened.assignments]
    assert (opened.study, opened.sha256) == ("pilot", made.files.sha256)
    for text in (repr(opened), repr(opened.assignments[0])):
        assert "zebra" not in text
        assert "walrus" not in text
        assert opened.private_key.hex() not in text


def test_the_logs_key_pair_fits(made: Made) -> None:
    from nacl.public import PrivateKey, SealedBox

    opened = unseal(made.sealed, PASSPHRASE)
    public = made.open().public_key
    assert bytes(PrivateKey(opened.private_key).public_key) == public
    sealed = SealedBox(PrivateKey(opened.private_key).public_key).encrypt(b"x")
    assert SealedBox(PrivateKey(opened.private_key)).decrypt(sealed) == b"x"


def test_sham_seeds_differ_by_person_and_session_and_repeat(made: Made) -> None:
    allocation = made.open()
    seeds = [allocation.source_for(t, s).seed() for t in allocation.tokens for s in (1, 2)]
    assert len(set(seeds)) == len(seeds)
    assert seeds[:2] == [made.open().source_for(next(iter(allocation.tokens)), s).seed()
                         for s in (1, 2)]  # fmt: skip


def test_a_token_may_be_typed_carelessly(made: Made) -> None:
    allocation = made.open()
    token = next(iter(allocation.tokens))
    assert allocation.source_for(f" {token.lower()} ", 1).token == token


def test_the_real_cost_is_high_and_opens(tmp_path: Path) -> None:
    loaded = study_of(tmp_path)
    files = allocate(loaded, 4, PASSPHRASE)
    sealed, key, _ = write_allocation(files, tmp_path)
    assert json.loads(sealed.read_text())["scrypt"]["n"] == 2**17
    assert len(unseal(sealed, PASSPHRASE).assignments) == 8
    assert len(Allocation.open(sealed, key, loaded).tokens) == 8
    other = allocate(loaded, 4, PASSPHRASE, cost=CHEAP)
    assert other.sha256 != files.sha256
    assert other.tokens != files.tokens


def test_composed_and_decomposed_letters_are_one_passphrase(tmp_path: Path) -> None:
    files = allocate(study_of(tmp_path), 4, "caf\u00e9 au lait chaud", cost=CHEAP)
    sealed, _, _ = write_allocation(files, tmp_path)
    assert unseal(sealed, "cafe\u0301 au lait chaud").n == 4


# ---------------------------------------------------------------- changes


def secrets_of(made: Made) -> list[str]:
    key = made.files.runtime_key.decode().splitlines()[2]
    return [PASSPHRASE, key, "zebra", "walrus", base64.b64decode(key).hex()]


def refused(made: Made, kind: type[NeuroloopError] = FileError) -> str:
    with pytest.raises(kind) as caught:
        made.open()
    text = str(caught.value)
    assert not any(secret in text for secret in secrets_of(made))
    assert caught.value.__cause__ is None
    return text


def test_any_changed_byte_is_found(mine: Made) -> None:
    data, key = mine.sealed.read_bytes(), seal._read_key(mine.key)
    seal._check_seal(data, key, mine.sealed)
    flips = random.Random(2)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << flips.randrange(8)
        with pytest.raises(FileError, match="was changed"):
            seal._check_seal(bytes(changed), key, mine.sealed)


def test_a_changed_file_is_not_opened(mine: Made) -> None:
    data = mine.sealed.read_bytes()
    places, start = {0, len(data) - 1}, 0
    for line in data.splitlines(keepends=True):  # every kind of place, in every line
        places |= {start, start + len(line) // 2, start + len(line) - 1}
        start += len(line)
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1 << random.Random(place).randrange(8)
        mine.sealed.write_bytes(changed)
        assert "was changed" in refused(mine)


def test_any_changed_byte_is_found_by_the_statistician_too(mine: Made) -> None:
    data = mine.sealed.read_bytes()
    places = set(random.Random(3).sample(range(len(data)), 300)) | {0, len(data) - 1}
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 1 << random.Random(place).randrange(8)
        mine.sealed.write_bytes(changed)
        with pytest.raises((FileError, InputError), match="was changed"):
            unseal(mine.sealed, PASSPHRASE)


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -70])
def test_a_cut_file_is_found(keep: int, mine: Made) -> None:
    mine.sealed.write_bytes(mine.sealed.read_bytes()[:keep])
    assert "changed" in refused(mine)
    with pytest.raises(FileError, match="changed"):
        unseal(mine.sealed, PASSPHRASE)


@pytest.mark.parametrize("more", [b"\n", b" ", b"x" * 100])
def test_an_added_byte_is_found(more: bytes, mine: Made) -> None:
    data = mine.sealed.read_bytes()
    for changed in (data + more, more + data, data[:50] + more + data[50:]):
        mine.sealed.write_bytes(changed)
        assert "changed" in refused(mine)


def resealed(made: Made, change: Any) -> None:
    """Change the content and seal it again, as somebody with the runtime key could."""
    key = seal._read_key(made.key)
    content = json.loads(made.sealed.read_text())
    content.pop("seal")
    change(content)
    made.sealed.write_bytes(seal._sealed(content, key))


def swap(content: dict[str, Any]) -> None:
    first, second = list(content["boxes"])[:2]
    boxes = content["boxes"]
    boxes[first]["box"], boxes[second]["box"] = boxes[second]["box"], boxes[first]["box"]


def test_swapped_boxes_are_found(mine: Made) -> None:
    content = json.loads(mine.sealed.read_text())
    swap(content)
    mine.sealed.write_text(json.dumps(content, indent=1) + "\n")
    assert "was changed" in refused(mine)


def test_swapped_boxes_are_found_also_under_a_new_seal(mine: Made) -> None:
    resealed(mine, swap)
    allocation = mine.open()
    first, second, third = list(allocation.tokens)[:3]
    for token in (first, second):
        with pytest.raises(FileError, match="changed places"):
            allocation.source_for(token, 1)
    assert allocation.source_for(third, 1).arm(mine.loaded.study)
    with pytest.raises(FileError, match="changed"):
        unseal(mine.sealed, PASSPHRASE)


def test_a_box_made_with_the_runtime_key_is_found_by_the_statistician(mine: Made) -> None:
    from nacl.secret import Aead

    key = seal._read_key(mine.key)

    def forge(content: dict[str, Any]) -> None:
        token, box = next(iter(content["boxes"].items()))
        bound = seal._bound_to(seal._bound(content), token, box["stratum"])
        aead = Aead(seal._derived(key, b"nl participant"))
        plain = aead.decrypt(base64.b64decode(box["box"]), bound)
        other = bytes([1 - plain[0]]) + plain[1:]
        box["box"] = seal._armoured(aead.encrypt(other, bound))

    resealed(mine, forge)
    mine.open()
    with pytest.raises(FileError, match="was changed"):
        unseal(mine.sealed, PASSPHRASE)


def test_a_wish_for_all_the_memory_is_refused(mine: Made) -> None:
    def change(content: dict[str, Any]) -> None:
        content["scrypt"]["n"] = 2**40

    resealed(mine, change)
    with pytest.raises(FileError, match="was changed"):
        unseal(mine.sealed, PASSPHRASE)


def test_a_newer_format_is_said(mine: Made) -> None:
    resealed(mine, lambda content: content.update(format=2))
    assert "format 2" in refused(mine)


# ---------------------------------------------------------------- mistakes


def test_another_passphrase(made: Made) -> None:
    with pytest.raises(InputError, match="does not open") as caught:
        unseal(made.sealed, "incorrect horse battery")
    assert "incorrect horse" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("passphrase", ["", "short", "elevenchars", "   spaces    "])
def test_a_short_passphrase_is_refused(passphrase: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shorter than 12"):
        check_passphrase(passphrase)
    with pytest.raises(InputError, match="shorter than 12"):
        allocate(study_of(tmp_path), 4, passphrase, cost=CHEAP)


def test_another_key(mine: Made, tmp_path: Path) -> None:
    other = Made(tmp_path / "other")
    files = allocate(other.loaded, 4, PASSPHRASE, cost=CHEAP)
    other.key.unlink()
    other.sealed.unlink()
    other.tokens.unlink()
    _, key, _ = write_allocation(files, tmp_path / "other")
    with pytest.raises(FileError, match="is not the key of"):
        Allocation.open(mine.sealed, key, mine.loaded)


def test_a_damaged_key(mine: Made) -> None:
    text = mine.key.read_text()
    line = text.splitlines()[2]
    other = "A" if line[5] != "A" else "B"
    for bad in (text.replace(line, line[:5] + other + line[6:]), "", text[:60], "\0" * 99):
        mine.key.write_text(bad)
        assert "no runtime key" in refused(mine)
    mine.key.unlink()
    with pytest.raises(FileError, match="cannot be read"):
        mine.open()


def test_another_study(made: Made, tmp_path: Path) -> None:
    edited = study_of(tmp_path, STUDY + "title: one more\n")
    with pytest.raises(InputError, match="changed after"):
        Allocation.open(made.sealed, made.key, edited)
    with pytest.raises(InputError, match="changed after"):
        unseal(made.sealed, PASSPHRASE, edited)
    other = study_of(tmp_path, STUDY.replace("pilot", "trial"))
    with pytest.raises(InputError, match="made for the study pilot"):
        Allocation.open(made.sealed, made.key, other)


def test_an_unknown_token(made: Made) -> None:
    with pytest.raises(InputError, match="no token of the study pilot"):
        made.open().source_for("AAAAAA", 1)
    with pytest.raises(InputError, match="no session 0"):
        made.open().source_for(next(iter(made.open().tokens)), 0)


def test_nothing_is_ever_replaced(made: Made, tmp_path: Path) -> None:
    before = made.sealed.read_bytes()
    with pytest.raises(FileError, match="never replaced"):
        write_allocation(made.files, made.sealed.parent)
    assert made.sealed.read_bytes() == before
    (tmp_path / "tokens.tsv").write_text("mine")
    with pytest.raises(FileError, match="exists already"):
        write_allocation(made.files, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["tokens.tsv"]


def test_what_cannot_be_allocated(tmp_path: Path) -> None:
    loaded = study_of(tmp_path)
    for n in (0, -1, 10**6):
        with pytest.raises(InputError, match="is not possible"):
            allocate(loaded, n, PASSPHRASE, cost=CHEAP)
    text = STUDY.replace("double", "none").replace(
        "  - {name: walrus, control: replay_other, donors: donors}\n", ""
    )
    with pytest.raises(InputError, match="nothing to allocate"):
        allocate(study_of(tmp_path, text), 4, PASSPHRASE, cost=CHEAP)


def test_the_protocol_is_bound(tmp_path: Path) -> None:
    loaded = study_of(tmp_path)
    files = allocate(loaded, 4, PASSPHRASE, protocol_sha256="ab" * 32, cost=CHEAP)
    sealed, key, _ = write_allocation(files, tmp_path)
    assert Allocation.open(sealed, key, loaded).protocol_sha256 == "ab" * 32
