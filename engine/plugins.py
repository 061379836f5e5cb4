"""What packages from elsewhere add: features, pictures, sounds and reward rules.

Nothing is imported unless the room lists the package by name and exact version. Everything that is
wrong with a package is said before the person sits down; docs/plugins.md shows how one is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from engine import entrypoints
from engine.entrypoints import Wanted
from engine.errors import InputError
from engine.features import (
    FEATURES,
    ONE_OR_MORE,
    OPTION_UNITS,
    TWO_OR_MORE,
    FeatureKind,
    Option,
    options_of,
)
from feedback.registry import PICTURES, SOUNDS, PictureKind, SoundKind
from protocols.rewards import REWARDS, RewardKind

__all__ = ["NO_PLUGINS", "Plugins", "Registries", "lag_s", "load_plugins", "registries"]

UNITS = ("uV2", "uV", "s", "1/min", "1")
OPEN_KINDS = ("z", "weighted_sum")  # those that are made of any feature, also of one from elsewhere
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Plugins:
    """What the listed packages offer.

    Parameters
    ----------
    features, pictures, sounds, rewards : mapping
        Name to kind.
    versions, hashes : mapping of str to str
        By package, in the room's order; the hash is the SHA-256 of its own files.
    owners : mapping of str to str
        Package of every name in ``features``, ``pictures``, ``sounds`` and ``rewards``, each
        written ``feature slew``, ``picture ring``, ``sound marimba``, ``reward every_other``.
    """

    features: Mapping[str, FeatureKind] = field(default_factory=dict)
    pictures: Mapping[str, PictureKind] = field(default_factory=dict)
    sounds: Mapping[str, SoundKind] = field(default_factory=dict)
    rewards: Mapping[str, RewardKind] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Names and versions, for `WindowSpec.plugins`."""
        return tuple(self.versions.items())

    def header(self) -> list[dict[str, str]]:
        """Return name, version and hash of every package, for the recording's header."""
        return [
            {"name": n, "version": v, "sha256": self.hashes[n]} for n, v in self.versions.items()
        ]


NO_PLUGINS = Plugins()


@dataclass(frozen=True, slots=True)
class Registries:
    """Everything that a protocol may name: what is built in and what plugins add."""

    features: Mapping[str, FeatureKind]
    pictures: Mapping[str, PictureKind]
    sounds: Mapping[str, SoundKind]
    rewards: Mapping[str, RewardKind]


def load_plugins(wanted: Sequence[Wanted]) -> Plugins:
    """Import the packages that a room lists.

    Parameters
    ----------
    wanted : sequence of (str, str)
        Names and exact versions, see `engine.room.Room.wanted_plugins`.

    Raises
    ------
    InputError
        A package is missing or of another version, cannot be imported, offers what is no feature,
        picture, sound or reward rule, or a name that is taken.
    """
    wanted = tuple(wanted)
    if not wanted:
        return NO_PLUGINS
    packages = {name: entrypoints.found((name, version)) for name, version in wanted}
    features = entrypoints.offered(wanted, entrypoints.FEATURES, FeatureKind, FEATURES)
    pictures = entrypoints.offered(wanted, entrypoints.PICTURES, PictureKind, PICTURES)
    sounds = entrypoints.offered(wanted, entrypoints.SOUNDS, SoundKind, SOUNDS)
    rewards = entrypoints.offered(wanted, entrypoints.REWARDS, RewardKind, REWARDS)
    owners = {
        f"{point.group.partition('.')[2][:-1]} {point.name}": name
        for name, package in packages.items()
        for point in entrypoints.offers(package)
    }
    every = set(FEATURES) | set(features)
    checks: list[tuple[str, Iterator[str]]] = [
        *((f"feature {n}", _feature_faults(k, every)) for n, k in features.items()),
        *((f"picture {n}", _picture_faults(k)) for n, k in pictures.items()),
        *((f"sound {n}", _sound_faults(k)) for n, k in sounds.items()),
        *((f"reward {n}", _reward_faults(k)) for n, k in rewards.items()),
    ]
    for what, faults in checks:
        for fault in faults:
            owner = owners[what]
            raise InputError(
                f"{owner} {packages[owner].version}: the {what}: {fault}.",
                "See docs/plugins.md, or write to the author of the package.",
            )
    return Plugins(
        MappingProxyType(features),
        MappingProxyType(pictures),
        MappingProxyType(sounds),
        MappingProxyType(rewards),
        MappingProxyType({n: p.version for n, p in packages.items()}),
        MappingProxyType({n: entrypoints.digest(p) for n, p in packages.items()}),
        MappingProxyType(owners),
    )


def registries(plugins: Plugins = NO_PLUGINS) -> Registries:
    """Return what is built in together with what plugins add.

    A z score or a weighted sum may be one of a plugin's feature, too.
    """
    features: dict[str, FeatureKind] = {**FEATURES, **plugins.features}
    for name in OPEN_KINDS if plugins.features else ():
        kind = features[name]
        features[name] = replace(kind, parts=kind.parts | frozenset(plugins.features))
    return Registries(
        MappingProxyType(features),
        MappingProxyType({**PICTURES, **plugins.pictures}),
        MappingProxyType({**SOUNDS, **plugins.sounds}),
        MappingProxyType({**REWARDS, **plugins.rewards}),
    )


def lag_s(kind: FeatureKind, options: Mapping[str, float]) -> float:
    """Return by how many seconds a plugin's feature lies behind its parts.

    Raises
    ------
    InputError
        The plugin gives no such number.
    """
    if kind.lag_s is None:
        return 0.0
    try:
        value: object = kind.lag_s(options_of(kind.options, options))
    except Exception as error:
        value = f"{type(error).__name__}: {error}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 <= value < 3600.0:
        raise InputError(
            f"The plugin's feature {kind.name} cannot say how far back it speaks: {value}.",
            "Write to the author of the package; `lag_s` gives seconds, 0 or more.",
        )
    return float(value)


# ---------------------------------------------------------------- what may be wrong with a kind


def _feature_faults(kind: FeatureKind, every: set[str]) -> Iterator[str]:
    yield from _sentence(kind.doc, kind.formula, kind.delay)
    if kind.unit not in UNITS:
        yield f"its unit is `{kind.unit}`, not one of {', '.join(UNITS)}"
    if kind.scale not in ("ln", "linear"):
        yield f"its scale is `{kind.scale}`, not `ln` or `linear`"
    if not callable(kind.make):
        yield "it has no `make`, so nothing computes it"
    if kind.needs != {"of"} or not kind.may <= {"with"}:
        yield "it needs exactly `of`, and may have `with`"
    if ("with" in kind.may) != bool(kind.options):
        yield "`with` is allowed exactly when there are options"
    strange = sorted(map(str, set(kind.parts) - every))
    if strange or not kind.parts:
        yield f"it is made of features of no known kind ({', '.join(strange) or 'none given'})"
    if not (kind.n_parts in (TWO_OR_MORE, ONE_OR_MORE) or kind.n_parts > 0):
        yield "it does not say of how many features it is made (`n_parts`)"
    if not kind.low < kind.high:
        yield "its smallest value is not below its largest"
    yield from _option_faults(kind.options)


def _picture_faults(kind: PictureKind) -> Iterator[str]:
    yield from _sentence(kind.doc, kind.mapping)
    yield from _factory_faults(kind.factory)


def _sound_faults(kind: SoundKind) -> Iterator[str]:
    yield from _sentence(kind.doc)
    if kind.role not in ("on_reward", "continuous"):
        yield f"its role is `{kind.role}`, not `on_reward` or `continuous`"
    yield from _factory_faults(kind.factory)


def _reward_faults(kind: RewardKind) -> Iterator[str]:
    yield from _sentence(kind.doc)
    make: object = kind.make
    if not callable(make):
        yield "it has no `make`, so nothing decides"
    yield from _option_faults(kind.options)


def _sentence(*texts: Any) -> Iterator[str]:
    if not all(isinstance(t, str) and t.strip() for t in texts):
        yield "it does not say in words what it is"


def _factory_faults(factory: Any) -> Iterator[str]:
    # Only the person's window imports it: there, and only there, a screen is at hand.
    if not isinstance(factory, str) or not _FACTORY.fullmatch(factory):
        yield f"its factory is {factory!r}, not `package.module:Name`"


def _option_faults(options: Mapping[str, Option]) -> Iterator[str]:
    for name, option in options.items():
        if not entrypoints.NAME.fullmatch(name) or not isinstance(option, Option):
            yield f"`{name}` is no usable option"
        elif option.unit not in OPTION_UNITS:
            yield f"`{name}` has the unit `{option.unit}`, not one of {', '.join(OPTION_UNITS)}"
        elif not (math.isfinite(option.default) and option.low <= option.default <= option.high):
            yield f"`{name}` is by default {option.default:g}, outside of what it may be"
