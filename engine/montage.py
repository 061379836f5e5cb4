"""Electrode names: how labels of amplifiers and files become names of the 10-20 system.

One place decides it, for live streams, recordings and protocols alike. Nothing is guessed: a
label that is no known site is left as it was written (without blanks and fillers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from engine.errors import MontageError

__all__ = ["ALIASES", "KINDS", "clean_label", "find_site", "is_site", "kind_of"]

KINDS = ("eeg", "eog", "ecg", "emg", "accelerometer", "counter", "trigger", "misc")
"""Every kind of column, as in `engine.frames.Channel`."""

_OLD_AND_NEW = (("T3", "T7"), ("T4", "T8"), ("T5", "P7"), ("T6", "P8"))

ALIASES: Mapping[str, str] = MappingProxyType(
    {a: b for pair in _OLD_AND_NEW for a, b in (pair, pair[::-1])}
)
"""Two names of the same place: of the 1958 10-20 system and of the 10-10 system, both ways."""

# 10-20, 10-10 and 10-5 system (Oostenveld and Praamstra 2001), ears and mastoids.
# fmt: off
_ROWS = (
    "Fp", "AFp", "AF", "AFF", "F", "FF", "FFC", "FC", "FCC", "C", "CCP",
    "CP", "CPP", "P", "PP", "PPO", "PO", "POO", "O", "OI", "I", "N",
    "FFT", "FT", "FTT", "T", "TT", "TTP", "TP", "TPP", "A", "M",
)
# fmt: on
_ROW_OF = {row.upper(): row for row in _ROWS}
_SITE = re.compile(r"([A-Z]{1,3}?)(Z|10|[1-9])(H?)", re.IGNORECASE)
_PREFIX = re.compile(r"EEG[\s:._-]+(?=[A-Za-z])", re.IGNORECASE)
# What recorders append to say against what was measured. A second scalp site (F3-C3) is no
# reference but the other half of a bipolar pair, and stays; so does A1-A2.
_SUFFIX = re.compile(
    r"[\s:_-]+(?:Ref(?:erence)?|LE|AR|AVG|CAR|REST|(?<![AM][12].)(?:[AM][12]|A1\+?A2|M1\+?M2))$",
    re.IGNORECASE,
)
_LOOSE = re.compile(r"[\s_.:-]+")

# Declared types (lower case, letters only) and what we call them.
_DECLARED = {
    "eeg": "eeg",
    "eog": "eog",
    "heog": "eog",
    "veog": "eog",
    "ecg": "ecg",
    "ekg": "ecg",
    "emg": "emg",
    "acc": "accelerometer",
    "accel": "accelerometer",
    "accelerometer": "accelerometer",
    "gyro": "accelerometer",
    "gyroscope": "accelerometer",
    "imu": "accelerometer",
    "counter": "counter",
    "samplecounter": "counter",
    "sequence": "counter",
    "stim": "trigger",
    "stimulus": "trigger",
    "trigger": "trigger",
    "triggers": "trigger",
    "trig": "trigger",
    "marker": "trigger",
    "markers": "trigger",
    "event": "trigger",
    "events": "trigger",
    "status": "trigger",
    "digital": "trigger",
}

# Names that say what a column is, whatever type was declared for the whole stream.
_NAMED = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("eog", r"[hv]?eog.*|loc|roc|eye[lrhv]?\d?"),
        ("ecg", r"ecg.*|ekg.*|heart"),
        ("emg", r"emg.*|chin\d?"),
        ("accelerometer", r"acc[xyz]?\d*|accel.*|gyro?[xyz]?.*|imu.*"),
        (
            "counter",
            r"(sample|packet|package|frame)?(counter|cnt|count)\d?|sequence(number)?"
            r"|(sample|packet|frame)(no|nr|num|number|index|id)",
        ),
        ("trigger", r"trig.*|trg\d?|sti\d*|stim.*|status|events?|markers?|din\d*|digital.*"),
        (
            "misc",
            r"(battery|temp|resp|breath|gsr|eda|ppg|pulse|spo2|light|photo|time|timestamp"
            r"|aux|bip|unused|valid|validation).*|ref|gnd|ground|na|nc",
        ),
    )
)


def _as_site(text: str) -> str | None:
    """Return the name in the case of the 10-20 convention, or None when it is no site."""
    match = _SITE.fullmatch(text)
    row = _ROW_OF.get(match[1].upper()) if match else None
    if match is None or row is None:
        return None
    return row + match[2].lower() + match[3].lower()


def is_site(name: str) -> bool:
    """Return whether the (cleaned) name is a place of the 10-20, 10-10 or 10-5 system."""
    return _as_site(name) is not None


def clean_label(label: str) -> str:
    """Return the electrode name behind a label.

    Blanks and fillers around it, the prefix ``EEG`` and a suffix that names the reference go;
    sites get the case of the 10-20 convention. Old names (T3) stay: `find_site` knows aliases.

    Examples
    --------
    >>> [clean_label(x) for x in ("Oz..", "EEG FP1-Ref", " CZ ", "FCZ", "HEOG", "F3-C3", "T3")]
    ['Oz', 'Fp1', 'Cz', 'FCz', 'HEOG', 'F3-C3', 'T3']
    """
    # Unicode calls neither NUL nor the direction marks blanks, yet amplifiers pad with the one
    # and hostile names hide with the other.
    text = "".join(c if c.isprintable() else " " for c in label).strip(" ._\u00a0")
    text = _PREFIX.sub("", text).strip(" .")
    short = _SUFFIX.sub("", text).strip(" .")
    pair = [_as_site(part.strip()) for part in short.split("-")]
    if len(pair) == 2 and pair[0] and pair[1]:
        return f"{pair[0]}-{pair[1]}"
    return _as_site(short) or short or text


def find_site(site: str, names: Sequence[str]) -> int | None:
    """Return the column that holds a site: under its own name, else under its alias.

    Parameters
    ----------
    site : str
        As a protocol writes it.
    names : sequence of str
        Channel names in column order; labels as an amplifier writes them do as well.

    Raises
    ------
    MontageError
        Two columns carry that name: which of them is meant cannot be known.
    """
    cleaned = [clean_label(name) for name in names]
    wanted = clean_label(site)
    for name in (wanted, ALIASES.get(wanted)):
        if name is None:
            continue
        columns = [i for i, other in enumerate(cleaned) if other == name]
        if len(columns) > 1:
            numbers = " and ".join(str(i + 1) for i in columns)
            raise MontageError(
                f"Columns {numbers} of the stream are both called {name}.",
                "Give every electrode its own name in the amplifier's software, or list the "
                "names in the room under `channels:`.",
            )
        if columns:
            return columns[0]
    return None


def kind_of(label: str, declared_type: str = "") -> str:
    """Return what a column holds, one of `KINDS`.

    The declared type counts, except that a column whose *name* says that it is a trigger, a
    counter or the like is never EEG only because the whole stream was declared EEG.

    Examples
    --------
    >>> kind_of("Cz", "EEG"), kind_of("TRIGGER", "EEG"), kind_of("Fp1", "EOG"), kind_of("Ch7")
    ('eeg', 'trigger', 'eog', 'misc')
    """
    declared = _LOOSE.sub("", declared_type).lower()
    kind = _DECLARED.get(declared, "misc" if declared else "")
    if kind not in ("", "eeg"):
        return kind
    name = clean_label(label)
    if is_site(name):
        return "eeg"
    loose = _LOOSE.sub("", name).lower()
    for named, pattern in _NAMED:
        if pattern.fullmatch(loose):
            return named
    return kind or "misc"
