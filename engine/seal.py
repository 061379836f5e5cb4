"""Who gets which arm: drawn at random, sealed, and opened for one session at a time.

`allocate` draws permuted blocks of random size and makes three files. `allocation.sealed` holds
one box per token, opened with `runtime.key`, and one box for the statistician, opened with a
passphrase. `tokens.tsv` is public: opaque random ids in the order of use, which say nothing about
an arm. Knowing one participant's arm says nothing about another's.

What is used: XChaCha20-Poly1305 for the boxes, scrypt for the passphrase, keyed BLAKE2b for the
seal over the whole file, X25519 for the research logs (`engine.sealedlog`); all from libsodium.
docs/studies.md says what this protects from, and what it does not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey
from nacl.secret import Aead

from engine.errors import FileError, InputError
from engine.folder import sync_folder
from engine.study import Arm, LoadedStudy, Study

__all__ = [
    "KEY_FILE",
    "LEAST_PASSPHRASE",
    "SEALED_FILE",
    "TOKENS_FILE",
    "Allocation",
    "AllocationFiles",
    "Assigned",
    "Assignment",
    "Cost",
    "Unsealed",
    "allocate",
    "check_passphrase",
    "drawn",
    "sealed_sha256",
    "unseal",
    "write_allocation",
]

SEALED_FILE, KEY_FILE, TOKENS_FILE = "allocation.sealed", "runtime.key", "tokens.tsv"
FORMAT = 1
LEAST_PASSPHRASE = 12  # characters
MOST_TOKENS = 20_000
MOST_BYTES = 64 * 1024 * 1024

# No letter or digit that is taken for another one, and no vowels, so that no word appears.
LETTERS = "CDFGHJKMNPQRTWXY"
ALPHABET = LETTERS + "34679"
TOKEN_LENGTH = 6

KEY_BYTES = 32
CHECK_BYTES = 4
SEED_BYTES = 16
PADDING = 1024  # the statistician's box is a multiple of it, and its length tells nothing
DEAREST = 2**31  # bytes of memory that an allocation may ask for; above it was tampered with

_KEY_BEGIN = "-----BEGIN NEUROLOOP RUNTIME KEY-----"
_KEY_END = "-----END NEUROLOOP RUNTIME KEY-----"
_SEAL = b',\n "seal": "'
_SEAL_END = b'"\n}\n'

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at a passphrase costs: the parameters of scrypt, here 128 MiB of memory."""

    n: int = 2**17
    r: int = 8
    p: int = 1

    @property
    def memory(self) -> int:
        """Bytes of memory for one guess."""
        return 128 * self.r * (self.n + self.p)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One participant's arm; only for after the study, or for the one who is unblinded."""

    token: str
    stratum: str
    block: int
    arm: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AllocationFiles:
    """The contents of the three files, before they are written."""

    sealed: bytes = field(repr=False)
    runtime_key: bytes = field(repr=False)
    tokens: bytes = field(repr=False)
    sha256: str
    n_tokens: int


# ---------------------------------------------------------------- drawing


class _Stream:
    """Whole numbers from the raw output of PCG64.

    numpy may change how it turns the raw output into numbers, but not the output itself: the
    same seed gives the same allocation with every version.
    """

    def __init__(self, seed: int) -> None:
        self.bits = np.random.PCG64(seed)

    def below(self, n: int) -> int:
        """Return a number from 0 to n - 1, all equally likely."""
        limit = 2**64 - 2**64 % n
        while True:
            raw = int(self.bits.random_raw())
            if raw < limit:
                return raw % n

    def shuffled(self, items: list[int]) -> list[int]:
        """Return the items in random order (Fisher and Yates)."""
        for i in range(len(items) - 1, 0, -1):
            k = self.below(i + 1)
            items[i], items[k] = items[k], items[i]
        return items


def drawn(study: Study, n: int, seed: int) -> tuple[tuple[str, int, int], ...]:
    """Draw permuted blocks of random size, `n` places in every stratum.

    The sizes are drawn among those that still let the blocks end with the last place, where the
    sizes can add up to `n`; where they cannot, the last block is cut short.

    Parameters
    ----------
    study : Study
    n : int
        Places in every stratum.
    seed : int
        Of PCG64.

    Returns
    -------
    tuple of (stratum, block, arm)
        In the order of use within each stratum; blocks are numbered from 1, arms from 0.
    """
    stream = _Stream(seed)
    each = [i for i, arm in enumerate(study.arms) for _ in range(arm.weight)]
    fills = [False] * (n + 1)  # whether blocks can add up to so many places
    fills[0] = True
    for k in range(1, n + 1):
        fills[k] = any(size <= k and fills[k - size] for size in study.blocks)
    rows: list[tuple[str, int, int]] = []
    for stratum in study.stratum_names:
        left, block = n, 0
        while left:
            block += 1
            whole = [s for s in study.blocks if s <= left and fills[left - s]]
            sizes = whole or list(study.blocks)
            size = sizes[stream.below(len(sizes))]
            arms = stream.shuffled(each * (size // study.ratio))
            rows += [(stratum, block, arm) for arm in arms[:left]]
            left -= min(size, left)
    return tuple(rows)


def _tokens(n: int, entropy: Entropy) -> list[str]:
    """Return random ids; none is another one with a single character misread."""
    made: list[str] = []
    near: set[str] = set()
    while len(made) < n:
        token = _letter(LETTERS, entropy)
        token += "".join(_letter(ALPHABET, entropy) for _ in range(TOKEN_LENGTH - 1))
        masks = {token[:i] + "*" + token[i + 1 :] for i in range(TOKEN_LENGTH)}
        if not masks & near:
            near |= masks
            made.append(token)
    return made


def _letter(letters: str, entropy: Entropy) -> str:
    while True:
        byte = entropy(1)[0]
        if byte < 256 - 256 % len(letters):
            return letters[byte % len(letters)]


# ---------------------------------------------------------------- sealing


def check_passphrase(passphrase: str) -> None:
    """Refuse a passphrase that can be guessed because it is short.

    Raises
    ------
    InputError
    """
    if len(unicodedata.normalize("NFC", passphrase).strip()) < LEAST_PASSPHRASE:
        raise InputError(
            f"The passphrase is shorter than {LEAST_PASSPHRASE} characters.",
            "Take five or six words that nobody can guess, and keep them in a safe.",
        )


def allocate(
    loaded: LoadedStudy,
    n: int,
    passphrase: str,
    *,
    protocol_sha256: str | None = None,
    entropy: Entropy = secrets.token_bytes,
    cost: Cost | None = None,
) -> AllocationFiles:
    """Draw and seal who gets which arm.

    Parameters
    ----------
    loaded : LoadedStudy
        The allocation holds for this study file and no other, byte by byte.
    n : int
        Places in every stratum.
    passphrase : str
        The statistician's.
    protocol_sha256 : str, optional
        Of the protocol's file, which is then bound as well.
    entropy : callable
        Returns so many random bytes; anything but the default is for tests.
    cost : Cost, optional
        Of guessing the passphrase; tests lower it.

    Raises
    ------
    InputError
        Nothing can be allocated, or the passphrase is too short.
    """
    study = loaded.study
    check_passphrase(passphrase)
    if len(study.arms) < 2:
        raise InputError(
            f"The study {study.name} has one arm, so there is nothing to allocate.",
            "Add the arm it is compared with, or run sessions without an allocation.",
        )
    total = n * len(study.stratum_names)
    if n < 1 or total > MOST_TOKENS:
        raise InputError(
            f"{n} participants in each of {len(study.stratum_names)} strata is not possible.",
            f"From 1 to {MOST_TOKENS // len(study.stratum_names)}.",
        )
    cost = cost or Cost()
    seed = int.from_bytes(entropy(SEED_BYTES), "big")
    rows = drawn(study, n, seed)
    tokens = _tokens(total, entropy)
    seeds = [entropy(SEED_BYTES) for _ in tokens]
    key, salt, private = entropy(KEY_BYTES), entropy(KEY_BYTES), entropy(KEY_BYTES)
    bound = f"{loaded.sha256} {protocol_sha256 or '-'}"
    box = Aead(_derived(key, b"nl participant"))
    boxes = {
        token: {
            "stratum": stratum,
            "box": _armoured(
                box.encrypt(
                    bytes([arm]) + sham,
                    _bound_to(bound, token, stratum),
                    entropy(Aead.NONCE_SIZE),
                )
            ),
        }
        for token, (stratum, _, arm), sham in zip(tokens, rows, seeds, strict=True)
    }
    secret = {
        "seed": f"{seed:032x}",
        "n": n,
        "arms": [{"name": a.name, "control": a.control} for a in study.arms],
        "rows": [
            [token, stratum, block, f"{arm:03d}", sham.hex()]
            for token, (stratum, block, arm), sham in zip(tokens, rows, seeds, strict=True)
        ],
        "runtime_key": key.hex(),
        "private_key": private.hex(),
    }
    plain = json.dumps(secret).encode()
    plain += b" " * (-len(plain) % PADDING)
    statistician = Aead(_from_passphrase(passphrase, salt, cost)).encrypt(
        plain, _bound_to(bound, "statistician", ""), entropy(Aead.NONCE_SIZE)
    )
    content = {
        "what": "neuroloop allocation",
        "format": FORMAT,
        "study": study.name,
        "study_sha256": loaded.sha256,
        "protocol_sha256": protocol_sha256,
        "key_id": _key_id(key),
        "log_key": bytes(PrivateKey(private).public_key).hex(),
        "scrypt": {"n": cost.n, "r": cost.r, "p": cost.p, "salt": salt.hex()},
        "boxes": boxes,
        "statistician": _armoured(statistician),
    }
    sealed = _sealed(content, key)
    return AllocationFiles(
        sealed=sealed,
        runtime_key=_key_text(study.name, key),
        tokens=_table(boxes),
        sha256=hashlib.sha256(sealed).hexdigest(),
        n_tokens=total,
    )


def write_allocation(files: AllocationFiles, folder: Path) -> tuple[Path, Path, Path]:
    """Write the sealed allocation, the runtime key and the tokens; never over existing ones.

    Returns
    -------
    sealed, key, tokens : Path

    Raises
    ------
    FileError
        One of them exists already, or cannot be written; then none is left behind.
    """
    folder = Path(folder)
    contents = (
        (folder / SEALED_FILE, files.sealed, 0o644),
        (folder / KEY_FILE, files.runtime_key, 0o600),
        (folder / TOKENS_FILE, files.tokens, 0o644),
    )
    for path, _, _ in contents:
        if path.exists():
            _refuse_existing(path)
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data, mode in contents:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
            with os.fdopen(os.open(path, flags, mode), "wb") as file:
                written.append(path)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(folder)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            _refuse_existing(Path(str(error.filename)))
        raise FileError(
            f"The allocation cannot be written to {folder}: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    return contents[0][0], contents[1][0], contents[2][0]


def _refuse_existing(path: Path) -> NoReturn:
    raise FileError(
        f"{path} exists already; an allocation is never replaced.",
        "Allocate once. For another study choose another folder with --out.",
    )


def sealed_sha256(path: Path) -> str:
    """Return the SHA-256 of the sealed file, to be compared with the registered one."""
    return hashlib.sha256(_read(Path(path))).hexdigest()


# ---------------------------------------------------------------- one session


class Assigned:
    """What one participant gets in one session. It shows nothing about the arm.

    Only the part that makes the feedback asks `arm`; everything else passes this on unopened.
    """

    __slots__ = ("_opened", "session", "token")

    def __init__(self, token: str, session: int, opened: Callable[[], tuple[int, bytes]]) -> None:
        self.token = token
        self.session = session
        self._opened = opened  # decrypts anew each time: nothing in clear stays in memory

    def arm(self, study: Study) -> Arm:
        """Return the arm, for the engine only."""
        return study.arms[self._opened()[0]]

    def seed(self) -> int:
        """Return a number that a sham of this session draws from; it is sealed as well."""
        digest = hashlib.blake2b(
            self.session.to_bytes(4, "big"), key=self._opened()[1], digest_size=8
        )
        return int.from_bytes(digest.digest(), "big")

    def __repr__(self) -> str:
        return "<assigned>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("what is assigned is neither copied nor written")


class Allocation:
    """A sealed allocation, checked whole, from which one assignment at a time is opened.

    Parameters
    ----------
    content : mapping
        Of the sealed file, whose seal has been checked.
    key : bytes
        The runtime key.
    sha256 : str
        Of the sealed file.
    """

    __slots__ = ("_boxes", "_key", "protocol_sha256", "public_key", "sha256", "study", "tokens")

    def __init__(self, content: Mapping[str, Any], key: bytes, sha256: str) -> None:
        self.study = str(content["study"])
        self.sha256 = sha256
        self.protocol_sha256: str | None = content["protocol_sha256"]
        self.public_key = bytes.fromhex(content["log_key"])
        self.tokens: Mapping[str, str] = MappingProxyType(
            {token: box["stratum"] for token, box in content["boxes"].items()}
        )
        bound = _bound(content)
        self._boxes = {
            token: (_unarmoured(box["box"]), _bound_to(bound, token, box["stratum"]))
            for token, box in content["boxes"].items()
        }
        self._key = key

    @classmethod
    def open(cls, path: str | Path, runtime_key_path: str | Path, study: LoadedStudy) -> Allocation:
        """Read an allocation and check that it is whole and belongs to the study.

        Raises
        ------
        FileError
            A file cannot be read, or the allocation was changed.
        InputError
            It was made for another study file.
        """
        path = Path(path)
        key = _read_key(Path(runtime_key_path))
        data = _read(path)
        _check_seal(data, key, path, Path(runtime_key_path))
        content = _content(data, path)
        _check_study(content, study, path)
        return cls(content, key, hashlib.sha256(data).hexdigest())

    def source_for(self, token: str, session: int) -> Assigned:
        """Return what a participant gets in a session, unopened.

        Raises
        ------
        InputError
            The token is not of this study.
        FileError
            Its box was changed.
        """
        token = token.strip().upper()
        if token not in self._boxes:
            raise InputError(
                f"{token!r} is no token of the study {self.study}.",
                f"Compare it letter by letter with {TOKENS_FILE}.",
            )
        if session < 1:
            raise InputError(f"There is no session {session}.", "Sessions are counted from 1.")
        box, bound_to = self._boxes[token]
        box_key = _derived(self._key, b"nl participant")

        def opened() -> tuple[int, bytes]:
            return _opened(box, bound_to, box_key)

        opened()  # what cannot be opened is told now, and not in the middle of a session
        return Assigned(token, session, opened)

    def __repr__(self) -> str:
        return f"<allocation of {self.study}, {len(self.tokens)} tokens>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("an allocation is neither copied nor written")


def _opened(box: bytes, bound_to: bytes, key: bytes) -> tuple[int, bytes]:
    try:
        plain = Aead(key).decrypt(box, bound_to)
    except (CryptoError, ValueError):
        raise FileError(
            "A participant's box in the allocation was changed, or changed places with another.",
            "Take the file from its first copy, and tell the statistician.",
        ) from None
    return plain[0], plain[1:]


# ---------------------------------------------------------------- after the study


@dataclass(frozen=True, slots=True)
class Unsealed:
    """Everything that was sealed.

    Parameters
    ----------
    study, sha256 : str
        The study's name, and the SHA-256 of the sealed file.
    seed : int
        Of the draw; `drawn` makes the same allocation from it.
    n : int
        Places in every stratum.
    assignments : tuple of Assignment
        In the order of the tokens.
    private_key : bytes
        Opens the research logs.
    """

    study: str
    sha256: str
    seed: int = field(repr=False)
    n: int
    assignments: tuple[Assignment, ...] = field(repr=False)
    private_key: bytes = field(repr=False)


def unseal(path: str | Path, passphrase: str, study: LoadedStudy | None = None) -> Unsealed:
    """Open everything, at the end of a study.

    Parameters
    ----------
    path : str or Path
    passphrase : str
        The statistician's.
    study : LoadedStudy, optional
        The study that the allocation must have been made for.

    Raises
    ------
    FileError
        The file cannot be read, or was changed.
    InputError
        The passphrase is another one, or the allocation that of another study file.
    """
    path = Path(path)
    data = _read(path)
    content = _content(data, path)
    if study is not None:
        _check_study(content, study, path)
    try:
        cost = Cost(*(content["scrypt"][k] for k in ("n", "r", "p")))
        salt = bytes.fromhex(content["scrypt"]["salt"])
        sane = 2 <= cost.n <= 2**24 and cost.n & (cost.n - 1) == 0
        if not (sane and 1 <= cost.r <= 64 and 1 <= cost.p <= 64 and cost.memory <= DEAREST):
            _changed(path)
        box = _unarmoured(content["statistician"])
        bound = _bound(content)
    except (KeyError, TypeError, ValueError):
        _changed(path)
    try:
        plain = Aead(_from_passphrase(passphrase, salt, cost)).decrypt(
            box, _bound_to(bound, "statistician", "")
        )
    except (CryptoError, ValueError):
        raise InputError(
            f"The passphrase does not open {path}: it is another one, or the file was changed.",
            "Type it again. If it is right, compare the file's SHA-256 with the registered one.",
        ) from None
    secret = json.loads(plain)
    key = bytes.fromhex(secret["runtime_key"])
    _check_seal(data, key, path)
    names = [arm["name"] for arm in secret["arms"]]
    _check_boxes(secret, content, key, path)
    return Unsealed(
        study=content["study"],
        sha256=hashlib.sha256(data).hexdigest(),
        seed=int(secret["seed"], 16),
        n=secret["n"],
        assignments=tuple(
            Assignment(token, stratum, block, names[int(arm)])
            for token, stratum, block, arm, _ in secret["rows"]
        ),
        private_key=bytes.fromhex(secret["private_key"]),
    )


def _check_boxes(
    secret: Mapping[str, Any], content: Mapping[str, Any], key: bytes, path: Path
) -> None:
    """Check that sessions were given what was drawn: who holds the runtime key can reseal."""
    allocation = Allocation(content, key, "")
    drawn_tokens = [row[0] for row in secret["rows"]]
    private = PrivateKey(bytes.fromhex(secret["private_key"]))
    if list(allocation.tokens) != drawn_tokens or allocation.public_key != bytes(
        private.public_key
    ):
        _changed(path)
    box_key = _derived(key, b"nl participant")
    for token, stratum, _, arm, sham in secret["rows"]:
        opened = _opened(*allocation._boxes[token], box_key)
        if opened != (int(arm), bytes.fromhex(sham)) or allocation.tokens[token] != stratum:
            _changed(path)


# ---------------------------------------------------------------- keys and seals


def _derived(key: bytes, purpose: bytes) -> bytes:
    return hashlib.blake2b(key=key, person=purpose, digest_size=KEY_BYTES).digest()


def _key_id(key: bytes) -> str:
    return hashlib.blake2b(key=key, person=b"nl key id", digest_size=8).hexdigest()


def _from_passphrase(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    text = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    made: bytes = crypto_pwhash_scryptsalsa208sha256_ll(
        text, salt, cost.n, cost.r, cost.p, dklen=KEY_BYTES, maxmem=2 * cost.memory
    )
    return made


def _bound(content: Mapping[str, Any]) -> str:
    return f"{content['study_sha256']} {content['protocol_sha256'] or '-'}"


def _bound_to(bound: str, token: str, stratum: str) -> bytes:
    return f"neuroloop allocation {FORMAT}\n{bound}\n{token}\n{stratum}".encode()


def _armoured(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unarmoured(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _sealed(content: Mapping[str, Any], key: bytes) -> bytes:
    body = json.dumps(content, indent=1).encode("ascii").removesuffix(b"\n}")
    return body + _SEAL + _seal_of(body, key) + _SEAL_END


def _seal_of(body: bytes, key: bytes) -> bytes:
    seal_key = _derived(key, b"nl seal")
    return hashlib.blake2b(body, key=seal_key, digest_size=32).hexdigest().encode("ascii")


def _check_seal(data: bytes, key: bytes, path: Path, key_path: Path | None = None) -> None:
    """Compare the seal with every byte of the file; nothing of it is believed before."""
    body, _, _ = data.rpartition(_SEAL)
    if hmac.compare_digest(body + _SEAL + _seal_of(body, key) + _SEAL_END, data):
        return
    if key_path is not None and _key_id(key).encode("ascii") not in data:
        raise FileError(
            f"{key_path} is not the key of {path}, or the allocation was changed.",
            "Take both from the same allocation.",
        )
    _changed(path)


def _check_study(content: Mapping[str, Any], study: LoadedStudy, path: Path) -> None:
    if content["study_sha256"] == study.sha256:
        return
    what = f"{study.path} was changed after {path.name} had been made for it."
    if content["study"] != study.study.name:
        what = f"{path} was made for the study {content['study']}, not for this one."
    raise InputError(
        what,
        "Use the study file exactly as it was allocated: its SHA-256 begins with "
        f"{content['study_sha256'][:16]}.",
    )


def _changed(path: Path) -> NoReturn:
    raise FileError(
        f"{path} was changed after it had been sealed, or is damaged.",
        "Take it from its first copy and compare its SHA-256 with the registered one; tell the "
        "statistician.",
    )


def _content(data: bytes, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(data)
        if content["what"] != "neuroloop allocation":
            raise ValueError
        newer = content["format"] > FORMAT
        for key in ("study", "study_sha256", "log_key", "statistician"):
            if not isinstance(content[key], str):
                raise TypeError
        for box in content["boxes"].values():
            _unarmoured(box["box"])
            if not isinstance(box["stratum"], str):
                raise TypeError
        bytes.fromhex(content["log_key"])
        _bound(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        _changed(path)
    if newer:
        raise FileError(
            f"{path} is an allocation of format {content['format']}; this Neuroloop reads "
            f"format {FORMAT}.",
            "Install a newer Neuroloop.",
        )
    return dict(content)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileError(
            f"{path} cannot be read: {error.strerror or error}.",
            "It is made by `neuroloop allocate`; check the folder, and who may read it.",
        ) from error
    if len(data) > MOST_BYTES:
        _changed(path)
    return data


def _key_text(study: str, key: bytes) -> bytes:
    check = hashlib.blake2b(key, person=b"nl key check", digest_size=CHECK_BYTES).digest()
    lines = (_KEY_BEGIN, f"Study: {study}", _armoured(key + check), _KEY_END)
    return ("\n".join(lines) + "\n").encode("ascii")


def _read_key(path: Path) -> bytes:
    text = _read(path)[:4096].decode("ascii", "replace")
    match = re.search(rf"{_KEY_BEGIN}\s+Study: [^\n]*\s+([A-Za-z0-9+/=]+)\s+{_KEY_END}", text)
    if match is not None:
        try:
            both = _unarmoured(match.group(1))
        except binascii.Error:
            both = b""
        key, check = both[:KEY_BYTES], both[KEY_BYTES:]
        made = hashlib.blake2b(key, person=b"nl key check", digest_size=CHECK_BYTES).digest()
        if len(key) == KEY_BYTES and hmac.compare_digest(made, check):
            return key
    raise FileError(
        f"{path} is no runtime key, or is damaged.",
        f"Take {KEY_FILE} as `neuroloop allocate` wrote it.",
    )


def _table(boxes: Mapping[str, Mapping[str, str]]) -> bytes:
    def lines() -> Iterator[str]:
        yield "token\tstratum"
        for token, box in boxes.items():
            yield f"{token}\t{box['stratum']}"

    return ("\n".join(lines()) + "\n").encode("ascii")
