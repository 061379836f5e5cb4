"""Put the fold together: a stream, a protocol and a plan become one `Fold`.

Session, replay and benchmarks all call `assemble`, so what is live is what is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.auxiliary import find_accelerometer, find_eyes
from engine.condition import condition_settings
from engine.defs import beside_sites, feature_defs, known_late
from engine.errors import MontageError
from engine.features import FEATURES, SLOW, FeatureKind
from engine.frames import Phase, StreamSpec
from engine.gates import MUSCLE_MIN_RATE_HZ, GateRule, GateSettings, MotionRule
from engine.iaf import FALLBACK_HZ, POSTERIOR
from engine.montage import find_site
from engine.pipeline import Fold, FoldSettings, Prepare, Relearn
from engine.reference import Montage, choose_montage
from engine.source import REGIONS, source_weights
from protocols.baseline import Scale
from protocols.decide import Decider
from protocols.facts import ASYMMETRIES
from protocols.model import GateSetting, Protocol
from protocols.rewards import REWARDS, RewardKind
from protocols.sham import Control

__all__ = ["Assembly", "MakeControl", "assemble", "feature_units"]

BLINK_SITES = ("Fp1", "Fp2")
WARN_BELOW_HZ = 250.0
LEAST_POSTERIOR = 3

MakeControl = Callable[[Mapping[str, int], Mapping[str, Scale], float], Control]
"""From the features' columns and scales and the grid's rate in Hz to a control condition."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A fold ready to run, and what should be said about it.

    Parameters
    ----------
    fold : Fold
        The signal path with its decider.
    decider : Decider
        The same decider, for views.
    montage : Montage
        Columns, sites and the reference chosen.
    level_feature : str
        The feature that drives the level.
    warnings : tuple of str
        For the operator, before start.
    kinds : mapping of str to FeatureKind
        The registry that the features come from.
    """

    fold: Fold
    decider: Decider
    montage: Montage
    level_feature: str
    warnings: tuple[str, ...]
    kinds: Mapping[str, FeatureKind] = field(default_factory=lambda: FEATURES)

    @property
    def delay_s(self) -> Mapping[str, float]:
        """Estimator delay per feature: of the fixed filters, once fitted as measured."""
        return self.fold.delay_s()

    @property
    def level_delay_s(self) -> float:
        """How far back the shown level speaks of the brain."""
        return self.delay_s[self.level_feature]


def feature_units(
    protocol: Protocol, kinds: Mapping[str, FeatureKind] = FEATURES
) -> dict[str, str]:
    """Return the unit of every feature of a protocol."""
    return {name: kinds[f.kind].unit for name, f in protocol.features.items()}


def assemble(
    spec: StreamSpec,
    protocol: Protocol,
    plan: Sequence[Phase],
    *,
    mains_hz: float | None,
    range_uv: float | None = None,
    dc_coupled: bool | None = None,
    course: Mapping[str, Any] | None = None,
    kinds: Mapping[str, FeatureKind] = FEATURES,
    rewards: Mapping[str, RewardKind] = REWARDS,
    control: MakeControl | None = None,
    shift: float = 0.0,
) -> Assembly:
    """Return the fold for one stream and one protocol.

    Parameters
    ----------
    spec : StreamSpec
        The agreed stream, or the columns of a file.
    protocol : Protocol
        A checked protocol.
    plan : sequence of Phase
        The expanded session.
    mains_hz : float or None
        Mains frequency of the room; None when unknown (files), then nothing is notched.
    range_uv : float or None
        The amplifier's range, from the room.
    dc_coupled : bool or None
        Whether the amplifier passes slow potentials; None when nobody said so.
    course : mapping, optional
        What an earlier session of the person's course fitted.
    kinds, rewards : mapping
        The registries of features and reward rules.
    control : callable, optional
        Makes the control condition for the columns, scales and grid of this stream.
    shift : float
        What shaping made the reward easier by in earlier sessions.

    Raises
    ------
    MontageError
        A site, the reference or the rate does not fit.
    """
    if spec.rate_hz < protocol.needs.rate_hz:
        raise MontageError(
            f"{protocol.name} needs at least {protocol.needs.rate_hz:g} Hz, the stream "
            f"{spec.name!r} has {spec.rate_hz:g} Hz",
            "raise the amplifier's sampling rate",
        )
    gates = protocol.gates
    sites = list(dict.fromkeys([*protocol.sites, *_gate_sites(protocol)]))
    wanted_blink = gates.blink.at or BLINK_SITES
    optional = wanted_blink if gates.blink.on else ()
    more = [*beside_sites(protocol, spec), *(BLINK_SITES if protocol.condition.eog == "regress"
                                             else ())]  # fmt: skip
    montage = choose_montage(spec, sites, protocol.condition.reference, (*optional, *more))
    warnings = list(montage.warnings)
    where = {montage.names[i]: k for k, i in enumerate(montage.sites)}

    def column(site: str) -> int:
        at = find_site(site, montage.names)
        if at is None or at not in montage.sites:
            raise MontageError(f"the stream {spec.name!r} has no {site}", "name a site you have")
        return where[montage.names[at]]

    defs = feature_defs(protocol, montage, column, kinds)
    if any(d.kind in SLOW for d in defs) and dc_coupled is not True:
        raise MontageError(
            f"{protocol.name} trains a slow potential, and "
            + (
                "the amplifier is AC-coupled"
                if dc_coupled is False
                else "nobody said that the amplifier passes slow potentials"
            ),
            "a DC-coupled amplifier, and `coupling: dc` under `stream:` in the room",
        )
    # What a spatial filter reaches for is trained as well.
    reached = [c for d in defs for row in d.weights for c, w in enumerate(row) if w]
    reached += [c for d in defs for c in d.pool]
    eog = _eog(protocol, montage)
    reached += eog  # what is subtracted is in every number
    warnings += _sides(protocol, montage, eog)
    warnings += _sources(protocol, montage)
    trained = tuple(dict.fromkeys([*(column(s) for s in protocol.sites), *reached]))
    # A site that only a gate looks at is in use as well: without it, nobody would look.
    needed = tuple(dict.fromkeys([*(column(s) for s in sites), *reached]))
    blink = [column(s) for s in optional if find_site(s, montage.names) is not None]
    if gates.blink.on and gates.blink.at is None:
        blink += [k for k, i in enumerate(montage.sites) if not montage.is_eeg[i]]
    if gates.blink.on and not blink:
        warnings.append("no Fp1, Fp2 or EOG in the stream: blinks are not seen")
    eyes = find_eyes(montage, gates.saccade.at) if gates.saccade.on else ()
    if gates.saccade.on and not eyes:
        wanted = " and ".join(gates.saccade.at or ()) or "F7 and F8, or EOG,"
        warnings.append(f"no {wanted} in the stream: sideways looks are not seen")
    accelerometer, why = find_accelerometer(spec) if gates.motion.on else (None, "")
    if why:
        warnings.append(f"{why}: movements of the head are not seen")
    if gates.muscle.on and spec.rate_hz < MUSCLE_MIN_RATE_HZ:
        warnings.append(f"muscle is not seen below {MUSCLE_MIN_RATE_HZ:g} Hz")
    if spec.rate_hz < WARN_BELOW_HZ:
        warnings.append(f"{spec.rate_hz:g} Hz is low; {WARN_BELOW_HZ:g} Hz or more is advised")

    def rule(setting: GateSetting, default: tuple[int, ...]) -> GateRule:
        at = default if setting.at is None else tuple(column(s) for s in setting.at)
        return GateRule(setting.on, at, setting.limit_uv, setting.after_s)

    first = next((b for b in protocol.baseline if b.learn or b.uses), None)
    gate_settings = GateSettings(
        rate_hz=spec.rate_hz,
        hop=spec.hop,
        amplitude=rule(gates.amplitude, trained),
        blink=GateRule(gates.blink.on, tuple(blink), gates.blink.limit_uv, gates.blink.after_s),
        muscle=rule(gates.muscle, trained),
        step=rule(gates.step, trained),
        needed=needed,
        mains_hz=mains_hz,
        eyes_closed=first is not None and first.eyes == "closed",
        site_names=montage.site_names,
        saccade=GateRule(
            gates.saccade.on,
            tuple(range(len(eyes))),
            gates.saccade.limit_uv,
            gates.saccade.after_s,
        ),
        motion=MotionRule(accelerometer is not None, gates.motion.limit_g, gates.motion.after_s),
        eye_names=tuple(e.name for e in eyes),
    )
    notch = mains_hz if protocol.condition.mains == "notch" else None
    settings = FoldSettings(
        spec.rate_hz,
        spec.hop,
        condition_settings(
            spec,
            montage,
            protocol.condition.high_pass_hz,
            notch,
            range_uv,
            eyes,
            accelerometer,
        ),
        gate_settings,
        defs,
        posterior=_posterior(protocol, montage),
        eog=eog,
        course=course or {},
    )
    scales: dict[str, Scale] = {n: kinds[f.kind].scale for n, f in protocol.features.items()}
    columns = {name: i for i, name in enumerate(protocol.features)}
    late = frozenset(d.name for i, d in enumerate(defs) if known_late(defs, i))
    made: list[Decider] = []

    def make(relearn: Relearn, prepare: Prepare | None) -> Decider:
        made.append(
            Decider(
                protocol,
                plan,
                grid_hz=spec.grid_hz,
                hop=spec.hop,
                scales=scales,
                relearn=relearn,
                prepare=prepare,
                late=late,
                rewards=rewards,
                control=None if control is None else control(columns, scales, spec.grid_hz),
                shift=shift,
            )
        )
        return made[0]

    fold = Fold(settings, make)
    if any("iaf" in block.uses for block in protocol.baseline):
        n = len(settings.posterior)
        if n == 0:
            warnings.append(
                f"none of {', '.join(POSTERIOR)} is in the stream: no individual alpha frequency, "
                f"{FALLBACK_HZ:g} Hz is taken instead"
            )
        elif n < LEAST_POSTERIOR:
            warnings.append(f"{n} posterior sites: the individual alpha frequency is uncertain")
    level = protocol.feedback.level.feature
    return Assembly(fold, made[0], montage, level, tuple(warnings), kinds)


def _posterior(protocol: Protocol, montage: Montage) -> tuple[int, ...]:
    """Return the columns from which the individual alpha frequency is read."""
    if not any("iaf" in block.uses for block in protocol.baseline):
        return ()
    return tuple(k for k, name in enumerate(montage.site_names) if name in POSTERIOR)


def _eog(protocol: Protocol, montage: Montage) -> tuple[int, ...]:
    """Return the columns whose blinks are regressed out."""
    if protocol.condition.eog != "regress":
        return ()
    eog = tuple(k for k, i in enumerate(montage.sites) if not montage.is_eeg[i])
    frontal = tuple(k for k, name in enumerate(montage.site_names) if name in BLINK_SITES)
    if not (eog or frontal):
        raise MontageError(
            "`eog: regress` needs an EOG, Fp1 or Fp2, and the stream has none",
            "an electrode there, or `eog: leave`",
        )
    trained = {montage.site_names[k] for k in frontal} & {
        montage.names[at] for s in protocol.sites if (at := find_site(s, montage.names)) is not None
    }
    if not eog and trained:
        raise MontageError(
            f"{', '.join(sorted(trained))} is trained and stands for the eyes as well: nothing "
            "would be left of it",
            "an EOG electrode, another site, or `eog: leave`",
        )
    return eog or frontal


def _sides(protocol: Protocol, montage: Montage, eog: tuple[int, ...]) -> list[str]:
    """Return the warning that electrodes at both eyes enter both sides of an asymmetry."""
    compared = [n for n, f in protocol.features.items() if f.kind in ASYMMETRIES]
    if not compared or len(eog) < 2:
        return []
    names = " and ".join(montage.site_names[k] for k in eog)
    return [f"`eog: regress` takes part of {names} out of both sides of {compared[0]}"]


def _sources(protocol: Protocol, montage: Montage) -> list[str]:
    """Return how blurred the estimated sources are.

    Raises
    ------
    MontageError
        The reference is none that a source can be estimated from.
    """
    regions = {f.spatial for f in protocol.features.values() if isinstance(f.spatial, str)}
    regions &= set(REGIONS)
    if not regions:
        return []
    if montage.reference == "laplacian" or montage.reference.startswith("bipolar"):
        raise MontageError(
            f"a source cannot be estimated from the reference {montage.reference}",
            "`reference: [average]`, or the one that was recorded with",
        )
    eeg = [s for s, i in zip(montage.site_names, montage.sites, strict=True) if montage.is_eeg[i]]
    return [source_weights(eeg, region).warning.rstrip(".") for region in sorted(regions)]


def _gate_sites(protocol: Protocol) -> list[str]:
    gates = protocol.gates
    return [s for g in (gates.amplitude, gates.muscle, gates.step) if g.on for s in g.at or ()]
