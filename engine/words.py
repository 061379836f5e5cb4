"""Numbers as words: what a report writes, and what it writes instead of what cannot be known."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

__all__ = [
    "Picture",
    "Unknown",
    "count",
    "lasting",
    "percent",
    "readable",
    "rounded",
    "signed",
    "tenths",
    "text_or_unknown",
]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that cannot be known, and why; shown instead of a number."""

    why: str

    def __html__(self) -> str:
        reason = f" ({escape(readable(self.why))})" if self.why else ""
        return f'<span class="unknown">not known{reason}</span>'

    def __str__(self) -> str:
        return f"not known ({self.why})" if self.why else "not known"


def readable(text: str) -> str:
    """Return text without control and direction characters that could hide or reorder it."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t" else c
        for c in text
    )


def rounded(x: float | None, digits: int = 3) -> str:
    """Return a number with some significant digits and a true minus."""
    if x is None or not math.isfinite(x):
        return "not known"
    if x == 0:
        return "0"
    size = math.floor(math.log10(abs(x)))
    text = f"{x:.{max(0, digits - 1 - size)}f}" if -4 <= size < 7 else f"{x:.{digits - 1}e}"
    return text.replace("-", "−")


def percent(share: float | None, why: str = "") -> Any:
    """Return a share in percent, or why it is not known."""
    return Unknown(why) if share is None else f"{100 * share:.0f} %"


def signed(x: float, digits: int = 2) -> str:
    """Return a number with its sign; nothing that rounds to zero has one."""
    text = f"{x:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def tenths(band_hz: tuple[float, float]) -> str:
    """Return a band, to a tenth of a hertz: nobody's alpha is known better."""
    return f"{round(band_hz[0], 1):g}-{round(band_hz[1], 1):g} Hz"


def lasting(seconds: float) -> str:
    """Return a duration in words: ``18 min 5 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"]
    return " ".join([*parts, f"{rest} s"] if rest and not hours else parts)


def count(n: int, noun: str) -> str:
    """Return ``1 block`` or ``3 blocks``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def text_or_unknown(value: Any, why: str = "not in the recording") -> Any:
    """Return a header value as text, or why there is none."""
    if value is None or value == "" or value == [] or value == {}:
        return Unknown(why)
    return value if isinstance(value, str) else str(value)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure with what stands below it."""

    svg: Markup
    caption: str
