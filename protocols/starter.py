"""A commented protocol to start from: from a few answers to the text of a YAML file.

What it writes is a beginning, with a reason beside every choice; nothing here knows a screen or a
disk.
"""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from typing import Annotated

from pydantic import TypeAdapter, ValidationError

from engine.errors import InputError
from engine.units import IAF_RANGE_HZ, POWER, TIME, iaf_band, is_iaf_band, plain_band, quantity
from protocols.facts import electrode
from protocols.model import FORMAT, Protocol

__all__ = [
    "THRESHOLDS",
    "Answers",
    "Variant",
    "bands_given",
    "blocks_given",
    "length_given",
    "sites_given",
    "starter",
    "value_given",
    "variant",
]

MOST_BLOCKS = 60

GOOD_RATE_HZ = 250.0
TIMES_HIGHEST_EDGE = 4.0
WIDTH = 96
INHIBIT_SUCCESS = 85
_PLAIN: TypeAdapter[tuple[float, float]] = TypeAdapter(Annotated[tuple[float, float], *plain_band])
_AROUND_ALPHA: TypeAdapter[tuple[float, float]] = TypeAdapter(
    Annotated[tuple[float, float], *iaf_band]
)
_LENGTH: TypeAdapter[float] = TypeAdapter(Annotated[float, *quantity(TIME, 1.0, 4 * 3600.0)])
_POWER: TypeAdapter[float] = TypeAdapter(Annotated[float, *quantity(POWER, 1e-9, 1e9)])
_SITE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}")
KNOWN_BANDS = (
    ("delta", 1.0, 4.0),
    ("theta", 4.0, 8.0),
    ("alpha", 8.0, 12.0),
    ("smr", 12.0, 15.0),
    ("beta", 15.0, 20.0),
    ("beta", 13.0, 21.0),
    ("high_beta", 20.0, 30.0),
    ("gamma", 30.0, 45.0),
)

THRESHOLDS = {
    "percentile": (
        "{{baseline: percentile, success: {success} %}}",
        "From this session's rest, and the same until its end. The usual choice.",
    ),
    "z": (
        "{{baseline: z, plus: {sd} sd}}",
        "Mean of this session's rest plus some standard deviations: comparable between people.",
    ),
    "fixed": (
        "{{fixed: {value}}}",
        "The same number in every session: for learning studies. Measure it beforehand.",
    ),
    "block": (
        "{{block: percentile, success: {success} %, drift_guard: 15 %}}",
        "Set again between blocks, from the block before. It follows the person slowly, and a "
        "steady reward rate is not learning: look at the feature against rest.",
    ),
    "running": (
        "{{running: percentile, success: {success} %, over: 120 s, drift_guard: 15 %}}",
        "Follows the last two clean minutes (constant difficulty). The reward rate then stays the "
        "same whether the person gets better or worse: look at the feature against rest.",
    ),
    "staircase": (
        "{{staircase: 0.05 mad, success: {success} %, drift_guard: 15 %}}",
        "Harder with every second that holds, easier with every one that does not.",
    ),
}
"""How each threshold is written, and why one would choose it."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked, or given as options.

    Parameters
    ----------
    name : str
        Of the protocol: small letters, digits and underscores.
    train : {'up', 'down'}
        Which way.
    sites : tuple of str
    band : str
        As in YAML: ``12-15 Hz`` or ``iaf-2 .. iaf+2``.
    inhibits : tuple of str
        Bands that must stay low at the same sites.
    eyes : {'open', 'closed'}
        In training.
    blocks : int
        Training blocks.
    block : str
        How long each lasts, as in YAML: ``3 min``.
    transfer : bool
        Whether a block without feedback follows.
    threshold : str
        One of `THRESHOLDS`.
    value : str
        Of a fixed threshold: ``12 uV2``.
    """

    name: str
    train: str
    sites: tuple[str, ...]
    band: str
    inhibits: tuple[str, ...] = ()
    eyes: str = "open"
    blocks: int = 6
    block: str = "3 min"
    transfer: bool = True
    threshold: str = "percentile"
    value: str = ""


@dataclass(frozen=True, slots=True)
class Variant:
    """A protocol of the library with a name of one's own, and perhaps another session."""

    name: str
    parent: str
    session: tuple[int, str, bool] | None = None  # blocks, how long each, transfer


def starter(answers: Answers, schema: str) -> str:
    """Return the text of a protocol file.

    Parameters
    ----------
    answers : Answers
    schema : str
        Where the JSON schema is, for editors.

    Raises
    ------
    InputError
        An answer that cannot be written down.
    """
    if answers.threshold not in THRESHOLDS:
        raise InputError(
            f"There is no threshold `{answers.threshold}`.",
            f"Choose one of {', '.join(THRESHOLDS)}.",
        )
    if answers.threshold == "fixed" and not answers.value:
        raise InputError(
            "A fixed threshold needs its number.",
            'Give it in the feature\'s unit: --value "12 uV2".',
        )
    sites_given(answers.sites)
    blocks_given(str(answers.blocks))
    names = _names(answers)
    parts = (
        _head(answers, schema),
        _about(answers),
        _needs(answers),
        _features(answers, names),
        _gates(answers),
        _baseline(answers, names),
        _reward(answers, names),
        _feedback(answers, names),
        _session(answers.blocks, answers.block, answers.transfer, answers.eyes == "closed"),
    )
    return "\n".join(parts)


# ---------------------------------------------------------------- one answer


def sites_given(sites: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sites.

    Raises
    ------
    InputError
        There is none, or one that is no name of a site, or one is given twice.
    """
    if not sites:
        raise InputError("No site is given.", "Give one as Cz.")
    for i, site in enumerate(sites):
        if not _SITE.fullmatch(site):
            raise InputError(f"`{site}` is no site.", "Give letters and digits, as Cz.")
        if electrode(site) in [electrode(s) for s in sites[:i]]:
            raise InputError(f"The site {site} is given twice.", "Give every site once.")
    return sites


def bands_given(bands: tuple[str, ...], before: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the bands.

    Raises
    ------
    InputError
        One that is no band, or that is given twice; `before` are those given already.
    """
    for i, band in enumerate(bands):
        _edges(band)
        if _shown(band) in [_shown(b) for b in (*before, *bands[:i])]:
            raise InputError(f"The band {_shown(band)} is given twice.", "Give every band once.")
    return bands


def blocks_given(text: str) -> int:
    """Return a number of blocks.

    Raises
    ------
    InputError
        It is none.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_BLOCKS):
        raise InputError(f"`{text}` is no number of blocks.", f"Give 1 to {MOST_BLOCKS}.")
    return int(text)


def length_given(text: str) -> str:
    """Return how long a block lasts, as it was given.

    Raises
    ------
    InputError
        It is no time, or none that a block can last.
    """
    return _read(_LENGTH, text, 'Give a time with its unit, as "3 min" or "90 s".')


def value_given(text: str) -> str:
    """Return the fixed threshold of a power, as it was given.

    Raises
    ------
    InputError
        It is no power above 0.
    """
    return _read(_POWER, text, 'Give a power with its unit, as "12 uV2".')


def _read(reader: TypeAdapter[float], text: str, fix: str) -> str:
    try:
        reader.validate_python(text)
    except ValidationError as error:
        what = str(error.errors()[0].get("ctx", {}).get("what", f"`{text}` cannot be read"))
        raise InputError(f"{what[:1].upper()}{what[1:]}.", fix) from None
    return text


def variant(given: Variant, parent: Protocol, schema: str) -> str:
    """Return the text of a file that extends a protocol of the library.

    Parameters
    ----------
    given : Variant
    parent : Protocol
    schema : str
        Where the JSON schema is, for editors.
    """
    title = _quoted(f"{parent.title} (own variant)")
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"# This is `{given.parent}` with some things changed. What stands here replaces what "
        "stands there;",
        "# mappings are merged key by key, and `none` removes one. The whole of it:",
        "#   neuroloop check --resolved THIS_FILE",
        f"format: {FORMAT}",
        f"extends: {given.parent}",
        f"name: {given.name}",
        f"title: {title}",
        "",
        "# Change what you need; for example:",
    ]
    reward = parent.reward
    if reward is not None and not reward.also:
        lines += [
            "# reward:",
            f"#   {reward.direction}: {{baseline: percentile, success: 70 %}}",
        ]
    first = next((n for n, f in parent.features.items() if f.band_hz and not f.iaf), None)
    if first is not None:
        low, high = parent.features[first].band_hz or (8.0, 12.0)
        lines += ["# features:", f"#   {first}: {{band: {low:g}-{high:g} Hz}}"]
    lines.append("")
    text = "\n".join(lines)
    if given.session is not None:
        blocks, block, transfer = given.session
        closed = any(s.eyes == "closed" for s in parent.session if s.kind == "train")
        say = next((s.say for s in parent.session if s.kind == "train" and s.say), "")
        text += "\n" + _session(blocks, block, transfer, closed, say)
    return text


# ---------------------------------------------------------------- parts of the file


def _head(a: Answers, schema: str) -> str:
    return (
        f"# yaml-language-server: $schema={schema}\n"
        "# Whatever follows a # is a remark. Every quantity has its unit. To see what this means:\n"
        "#   neuroloop check THIS_FILE\n"
        f"format: {FORMAT}\n"
        f"name: {a.name}\n"
        f"title: {_quoted(_title(a))}\n"
    )


def _title(a: Answers) -> str:
    way = "Raise" if a.train == "up" else "Lower"
    return f"{way} {_told(a.band)} at {', '.join(a.sites)}"


def _shown(band: str) -> str:
    return " ".join(band.split())


def _told(band: str) -> str:
    return f"alpha ({_shown(band)})" if is_iaf_band(band) else _shown(band)


def _about(a: Answers) -> str:
    way = "upward" if a.train == "up" else "downward"
    inhibits = (
        f" A reward counts only while {' and '.join(map(_told, a.inhibits))} "
        f"{'stays' if len(a.inhibits) == 1 else 'stay'} near resting size."
        if a.inhibits
        else ""
    )
    said = f"Trains {_shown(a.band)} power at {', '.join(a.sites)} {way}, eyes {a.eyes}.{inhibits}"
    return (
        "# A, B, B-, C+, C or X (experimental): say honestly what is known; it is shown before a "
        "session.\n"
        "evidence:\n"
        "  grade: X\n"
        "  summary: No study of this protocol is known to its author.\n"
        "  refs: []\n"
        "# indication: [attention]              # what it is used for\n"
        "summary: >\n"
        f"{textwrap.indent(textwrap.fill(said, WIDTH - 2), '  ')}\n"
        "cautions:                              # told before the start\n"
        "  - Ask about tiredness, mood and sleep after each session.\n"
        "# safety: {clinician: present, exclude: [epilepsy]}\n"
    )


def _needs(a: Answers) -> str:
    channels = list(a.sites)
    if a.eyes == "open":
        for site in ("Fp1", "Fp2"):
            if site.casefold() not in [s.casefold() for s in channels]:
                channels.append(site)
    beside = "; Fp1 and Fp2 see the blinks" if a.eyes == "open" else ""
    return (
        f"# Electrodes and sampling rate that must be there{beside}.\n"
        f"needs: {{channels: [{', '.join(channels)}], rate: at least {_rate_hz(a):g} Hz}}\n"
        "# The first reference that the cap allows is taken. The mains frequency is the room's.\n"
        "condition: {reference: [ears, mastoids, average, as recorded], high_pass: 1 Hz, "
        "mains: notch}\n"
    )


def _rate_hz(a: Answers) -> float:
    highest = max(_edges(band)[1] for band in (a.band, *a.inhibits))
    return max(GOOD_RATE_HZ, math.ceil(TIMES_HIGHEST_EDGE * highest))


def _edges(given: str) -> tuple[float, float]:
    """Return the edges of a band; around the individual alpha frequency, of all it may be.

    Raises
    ------
    InputError
        It is no band.
    """
    try:
        if not is_iaf_band(given):
            return _PLAIN.validate_python(given)
        below, above = _AROUND_ALPHA.validate_python(given)
    except ValidationError as error:
        what = str(error.errors()[0].get("ctx", {}).get("what", f"`{given}` is no band"))
        raise InputError(
            f"{what[:1].upper()}{what[1:]}.",
            'Give a band as in --band "12-15 Hz" or --band "iaf-2 .. iaf+2".',
        ) from None
    return IAF_RANGE_HZ[0] + below, IAF_RANGE_HZ[1] + above


def _features(a: Answers, names: dict[str, str]) -> str:
    at = f"[{', '.join(a.sites)}]"
    rows = [
        f"  {name + ':':{max(map(len, names.values())) + 1}s} {{kind: power, at: {at}, "
        f"band: {_shown(band)}, smooth: 1 s}}"
        for band, name in names.items()
    ]
    return (
        "# What is measured. `neuroloop features` lists every kind; `smooth` steadies a number and "
        "makes it later.\n"
        "features:\n" + "\n".join(rows) + "\n"
    )


def _gates(a: Answers) -> str:
    at = f"[{', '.join(a.sites)}]"
    if a.eyes == "closed":
        return (
            "# What pauses the feedback. Closed eyes roll rather than blink or look about.\n"
            f"gates: {{blink: off, saccade: off, amplitude: on, step: on, muscle: {{at: {at}}}}}\n"
        )
    return (
        "# What pauses the feedback; limits are learned from the baseline.\n"
        f"gates: {{blink: on, amplitude: on, step: on, muscle: {{at: {at}}}}}\n"
    )


def _baseline(a: Answers, names: dict[str, str]) -> str:
    blocks = []
    if any(is_iaf_band(b) for b in (a.band, *a.inhibits)):
        use = "for: [iaf]"
        if a.eyes == "closed":
            return (
                "# Rest before the training: the individual alpha frequency and the thresholds "
                "come from it.\n"
                "baseline:\n"
                "  - {name: eyes_closed, lasts: 120 s, eyes: closed, needs_clean: 60 s, "
                f"{use}, learn: [{', '.join(names.values())}]}}\n"
            )
        blocks.append(f"  - {{name: eyes_closed, lasts: 120 s, eyes: closed, {use}}}")
    blocks.append(
        f"  - {{name: eyes_{a.eyes}, lasts: 120 s, eyes: {a.eyes}, needs_clean: 60 s, "
        f"learn: [{', '.join(names.values())}]}}"
    )
    return (
        "# Rest before the training, with the eyes as in training: thresholds come from it.\n"
        "baseline:\n" + "\n".join(blocks) + "\n"
    )


def _reward(a: Answers, names: dict[str, str]) -> str:
    form, why = THRESHOLDS[a.threshold]
    way = "above" if a.train == "up" else "below"
    sd = "0.25" if a.train == "up" else "-0.25"
    threshold = form.format(success=65, sd=sd, value=a.value)
    text = (
        f"# {a.threshold}: "
        + "\n# ".join(textwrap.wrap(why, WIDTH - 2 - len(a.threshold)))
        + "\nreward:\n"
        f"  feature: {names[a.band]}\n"
        f"  {way}: {threshold}\n"
        "  sustain: 0.5 s                       # everything must hold so long\n"
        "  refractory: 2 s                      # then a pause\n"
    )
    if not a.inhibits:
        return text
    joint = 0.65 * (INHIBIT_SUCCESS / 100) ** len(a.inhibits)
    shares = " x ".join(["65 %", *[f"{INHIBIT_SUCCESS} %"] * len(a.inhibits)])
    product = f": if independent, {shares} = {100 * joint:.0f} % of the time"
    asked = "" if a.threshold in ("fixed", "z") else product
    rows = [
        f"  - {{feature: {names[b]}, below: {{baseline: percentile, success: {INHIBIT_SUCCESS} "
        "%}}"
        for b in a.inhibits
    ]
    return (
        text
        + f"# These must hold as well{asked}.\n# One reward and two inhibits are enough.\n"
        + "inhibit:\n"
        + "\n".join(rows)
        + "\n"
    )


def _feedback(a: Answers, names: dict[str, str]) -> str:
    first, last = ("-1", "2") if a.train == "up" else ("1", "-2")
    level = (
        f"  level:   {{feature: {names[a.band]}, from: {{baseline: median, plus: {first} mad}}, "
        f"to: {{baseline: median, plus: {last} mad}}}}\n"
    )
    if a.eyes == "closed":
        seen = "  picture: none\n  sound:   {on_reward: chime, continuous: ambience, cues: tones}\n"
    else:
        seen = "  picture: orb                         # or horizon, garden, bar, none ...\n"
        seen += "  sound:   {on_reward: chime}\n"
    return (
        "# What is seen and heard: 0 at `from`, 1 at `to` (1 mad: 1.4826 x the median absolute "
        "deviation).\n"
        "feedback:\n" + level + seen
    )


def _session(blocks: int, block: str, transfer: bool, closed: bool, say: str = "") -> str:
    eyes = ", eyes: closed" if closed else ""
    told = say or (
        "Close your eyes. Let the sound swell." if closed else "Sit still. Let the orb grow."
    )
    without = "Do the same without the sound." if closed else "Do the same without the picture."
    lines = [
        "session:",
        "  - baseline",
        f"  - repeat: {blocks}",
        "    blocks:",
        f"      - train: {block}",
        *(["        eyes: closed"] if closed else []),
        f"        say: {_quoted(told)}",
        '        ask: "What did you do?"          # the answer goes into the recording',
        "      - {rest: 30 s}",
    ]
    if transfer:
        lines.append(f"  - {{transfer: {block}{eyes}, say: {_quoted(without)}}}")
    rest = "closed" if closed else "open"
    lines.append(f"  - {{post: 120 s, eyes: {rest}}}          # rest again, to compare with")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- words


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _names(a: Answers) -> dict[str, str]:
    """Return a name for every band, the trained one first."""
    bands = bands_given((a.band, *a.inhibits))
    out: dict[str, str] = {}
    for band in bands:
        name = _called(band)
        n = 2
        while name in out.values():
            name = f"{_called(band)}_{n}"
            n += 1
        out[band] = name
    return out


def _called(band: str) -> str:
    if is_iaf_band(band):
        return "alpha"
    low, high = _edges(band)
    best, overlap = "band", 0.5  # less in common, and another name is better
    for name, lo, hi in KNOWN_BANDS:
        shared = (min(high, hi) - max(low, lo)) / (max(high, hi) - min(low, lo))
        if shared > overlap:
            best, overlap = name, shared
    return best
