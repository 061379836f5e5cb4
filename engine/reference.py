"""Which columns of the stream are used, and against what they are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engine.errors import MontageError
from engine.frames import Bool, Float, StreamSpec
from engine.montage import find_site, is_site

__all__ = ["AVERAGE_NEEDS", "Montage", "choose_montage", "rereference"]

AVERAGE_NEEDS = 16
"""Fewer good EEG channels make an average reference a weighted one [design default]."""

# Nearest neighbours for the Hjorth (1975) Laplacian on the 10-20 grid. Sites at the rim of the
# cap have no neighbour on one side and therefore no Laplacian.
_NEIGHBOURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "F3": ("Fp1", "F7", "Fz", "C3"),
        "Fz": ("F3", "F4", "Cz"),
        "F4": ("Fp2", "Fz", "F8", "C4"),
        "C3": ("F3", "T7", "Cz", "P3"),
        "Cz": ("Fz", "C3", "C4", "Pz"),
        "C4": ("F4", "Cz", "T8", "P4"),
        "P3": ("C3", "P7", "Pz", "O1"),
        "Pz": ("Cz", "P3", "P4"),
        "P4": ("C4", "Pz", "P8", "O2"),
    }
)
_EARS = ("A1", "A2", "M1", "M2")
_LINKED = {
    "ears": (("A1", "A2"),),
    "mastoids": (("M1", "M2"), ("TP9", "TP10"), ("A1", "A2")),
}


@dataclass(frozen=True, slots=True)
class Montage:
    """The picked columns and the reference.

    Parameters
    ----------
    columns : tuple of int
        Stream columns taken into the engine: every EEG channel, then EOG.
    names : tuple of str
        Their names.
    is_eeg : tuple of bool
        EOG columns keep the reference they were recorded with.
    sites : tuple of int
        Positions within `columns` that are conditioned (features and gates need them).
    reference : str
        What was chosen, in words.
    subtract : tuple of tuple of int
        For each of `sites`, the positions within `columns` whose mean is subtracted; empty leaves
        the site as recorded.
    warnings : tuple of str
        What the operator should know.
    """

    columns: tuple[int, ...]
    names: tuple[str, ...]
    is_eeg: tuple[bool, ...]
    sites: tuple[int, ...]
    reference: str
    subtract: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...] = ()

    @property
    def site_names(self) -> tuple[str, ...]:
        """Names of the conditioned sites."""
        return tuple(self.names[i] for i in self.sites)


def choose_montage(
    spec: StreamSpec,
    sites: Sequence[str],
    references: Sequence[str],
    optional: Sequence[str] = (),
) -> Montage:
    """Find the sites a protocol needs and the first reference the stream allows.

    Parameters
    ----------
    spec : StreamSpec
        The stream.
    sites : sequence of str
        Sites that must exist (aliases such as T3/T7 are accepted).
    references : sequence of str
        In order of preference: ``average``, ``mastoids``, ``ears``, ``laplacian``,
        ``as recorded``, ``bipolar A B`` or the name of a site.
    optional : sequence of str
        Sites conditioned too when the stream has them (blink detection).

    Returns
    -------
    Montage

    Raises
    ------
    MontageError
        A site is missing or ambiguous, or none of the references is possible.
    """
    columns = [i for i, c in enumerate(spec.channels) if c.kind == "eeg"]
    columns += [i for i, c in enumerate(spec.channels) if c.kind == "eog"]
    names = [spec.channels[i].name for i in columns]
    is_eeg = [spec.channels[i].kind == "eeg" for i in columns]
    picked: list[int] = []
    missing = []
    for site in sites:
        at = find_site(site, names)
        if at is None:
            missing.append(site)
        elif at not in picked:
            picked.append(at)
    if missing:
        raise MontageError(
            f"the stream {spec.name!r} has no {', '.join(missing)}; it has {', '.join(names)}",
            "use a cap with these sites, or copy the protocol and name sites that you have",
        )
    for site in optional:
        at = find_site(site, names)
        if at is not None and at not in picked:
            picked.append(at)
    picked += [i for i, eeg in enumerate(is_eeg) if not eeg and i not in picked]
    refused = []
    for reference in references:
        found = _subtract(reference, picked, names, is_eeg)
        if isinstance(found, str):
            refused.append(f"{reference}: {found}")
            continue
        warnings = tuple(f"reference {r}" for r in refused)
        return Montage(
            tuple(columns), tuple(names), tuple(is_eeg), tuple(picked), reference, found, warnings
        )
    raise MontageError(
        f"none of the protocol's references is possible on {spec.name!r}: " + "; ".join(refused),
        "add `as recorded` to `condition: reference:` if you accept the amplifier's own reference",
    )


def _subtract(
    reference: str, picked: Sequence[int], names: Sequence[str], is_eeg: Sequence[bool]
) -> tuple[tuple[int, ...], ...] | str:
    """Return what to subtract at each picked site, or why this reference is impossible."""
    # Ears, mastoids and bipolar pairs (A2-A1) do not belong in an average of the scalp; a stream
    # without any 10-20 name is averaged as it is.
    eeg = tuple(i for i, yes in enumerate(is_eeg) if yes)
    scalp = tuple(i for i in eeg if is_site(names[i]) and names[i] not in _EARS)
    eeg = scalp or eeg
    words = reference.split()

    def all_sites(of: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return tuple(of if is_eeg[i] else () for i in picked)

    if reference == "as recorded":
        return all_sites(())
    if reference == "average":
        if len(eeg) < AVERAGE_NEEDS:
            return f"needs {AVERAGE_NEEDS} EEG channels, the stream has {len(eeg)}"
        return all_sites(eeg)
    if reference in _LINKED:
        for pair in _LINKED[reference]:
            at = [find_site(s, names) for s in pair]
            if None not in at:
                return all_sites(tuple(i for i in at if i is not None))
        return f"the stream has no {' or '.join('+'.join(p) for p in _LINKED[reference])}"
    if reference == "laplacian":
        rows: list[tuple[int, ...]] = []
        for i in picked:
            near = [find_site(s, names) for s in _NEIGHBOURS.get(names[i], ())]
            if names[i].lower() in ("fp1", "fp2") or not is_eeg[i]:
                rows.append(())  # only blinks are read there
            elif not near or None in near:
                return f"{names[i]} lacks neighbours"
            else:
                rows.append(tuple(j for j in near if j is not None))
        return tuple(rows)
    if words and words[0] == "bipolar" and len(words) == 3:
        a, b = (find_site(w, names) for w in words[1:])
        if a is None or b is None:
            return "the stream lacks one of the two sites"
        return tuple((b,) if i == a else () for i in picked)
    at_one = find_site(reference, names)
    if at_one is None:
        return "no such site"
    return all_sites((at_one,))


def rereference(uv: Float, montage: Montage, good: Bool) -> Float:
    """Subtract the reference.

    The mean is summed column by column in fixed order, so it does not depend on how the stream
    was cut into chunks.

    Parameters
    ----------
    uv : ndarray, shape (n_samples, n_columns)
        Contained columns of the montage.
    montage : Montage
        What to subtract.
    good : ndarray of bool, shape (n_columns,)
        Columns not marked bad; bad ones leave the mean.

    Returns
    -------
    ndarray, shape (n_samples, n_sites)
    """
    out = uv[:, list(montage.sites)]
    every = bool(good.all())
    members: dict[tuple[int, ...], list[int]] = {}
    for k, all_of in enumerate(montage.subtract):
        of = all_of if every else tuple(i for i in all_of if good[i])
        if of:
            members.setdefault(of, []).append(k)
    for of, sites in members.items():
        mean = _added(uv, of) / len(of)
        if len(sites) == out.shape[1]:
            out -= mean[:, None]
        else:
            out[:, sites] -= mean[:, None]
    return out


def _added(uv: Float, columns: Sequence[int]) -> Float:
    """Return the sum over columns, always added one after another.

    NumPy adds whole rows of a two-dimensional array in turn, but the numbers of a single column
    pairwise: one sample is therefore added as if it came twice.
    """
    rows = np.ascontiguousarray(uv[:, list(columns)].T)
    if rows.shape[1] == 1:
        return np.asarray(np.add.reduce(np.repeat(rows, 2, axis=1), axis=0)[:1])
    return np.asarray(np.add.reduce(rows, axis=0))
