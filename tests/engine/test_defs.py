"""A protocol's features for the columns of one stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.assemble import Assembly, assemble
from engine.defs import POOL, beside_sites, known_late
from engine.errors import InputError, MontageError
from engine.features import FEATURES, FeatureDef
from engine.frames import Channel, StreamSpec
from engine.person import SITES
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

PROTOCOL = """\
format: 1
name: trial
title: Trial
evidence: {{grade: X, summary: "For trials only.", refs: []}}
summary: Trains nothing in particular.
needs: {{channels: [{needs}], rate: at least 128 Hz}}
condition: {{reference: as recorded, high_pass: 1 Hz, mains: notch, eog: {eog}}}
features:
{features}
gates: {{blink: off, amplitude: on, step: on, muscle: off, saccade: off, motion: off}}
baseline:
  - {{name: resting, lasts: 60 s, eyes: open, learn: [main]{uses}}}
reward:
  feature: main
  above: {{baseline: percentile, success: 65 %}}
feedback:
  level:
    feature: main
    from: {{baseline: median, plus: -1 mad}}
    to: {{baseline: median, plus: 2 mad}}
  picture: bar
session:
  - baseline
  - {{train: 60 s}}
"""
SIDES = (
    "main: {{kind: log_ratio, of: [right, left]}}",
    "right: {{kind: power, at: [{right}], band: 8-12 Hz, spatial: {spatial}}}",
    "left: {{kind: power, at: [{left}], band: 8-12 Hz, spatial: {spatial}}}",
)


def protocol(
    folder: Path, *features: str, needs: str = "Cz", uses: str = "", eog: str = "leave"
) -> Protocol:
    path = folder / "trial.yaml"
    listed = "\n".join(f"  {f}" for f in features)
    text = PROTOCOL.format(features=listed, needs=needs, uses=uses, eog=eog)
    path.write_text(text, encoding="utf-8")
    return load(path, FEATURES).protocol


def sides(folder: Path, right: str, left: str, spatial: str) -> Protocol:
    lines = [f.format(right=right, left=left, spatial=spatial) for f in SIDES]
    return protocol(folder, *lines, needs=f"{right}, {left}")


def spec(names: tuple[str, ...] = SITES, **kinds: str) -> StreamSpec:
    channels = tuple(Channel(n, kinds.get(n, "eeg"), "microvolts", 1.0, n) for n in names)
    return StreamSpec("amp", "EEG", "id", "uid", "host", 250.0, channels)


def put_together(p: Protocol, names: tuple[str, ...] = SITES, **kinds: str) -> Assembly:
    return assemble(spec(names, **kinds), p, expand(p), mains_hz=50.0)


def reached(a: Assembly, feature: int) -> list[set[str]]:
    """Return the sites behind each virtual channel of a feature."""
    names = a.montage.site_names
    return [{names[c] for c in np.flatnonzero(row)} for row in a.fold.defs[feature].weights]


# ---------------------------------------------------------------- plain features


def test_everything_that_was_written_arrives(tmp_path: Path) -> None:
    p = protocol(
        tmp_path,
        "main: {kind: power, at: [O2, Cz], band: iaf-1 .. iaf+3, smooth: 2 s, delay: 50 ms,"
        " target: rhythm, fit: course}",
        "share: {kind: relative_power, at: [Cz], band: 4-8 Hz, total: 2-30 Hz}",
        "ratio: {kind: ratio, of: [main, plain]}",
        "plain: {kind: power, at: [T3], band: 12-15 Hz}",
        "scp: {kind: slow_potential, at: [Cz], window: 1 s, reference: 4 s}",
        "slow: {kind: slow_potential, at: [Cz]}",
        "narrow: {kind: plv, at: [O2, Cz], band: 2-4 Hz}",
        "wide: {kind: plv, at: [O2, Cz], band: 15-25 Hz}",
        "own: {kind: plv, at: [O2, Cz], band: 15-25 Hz, window: 5 s}",
        "size: {kind: amplitude, at: [Cz], band: 8-12 Hz, fit: fixed}",
        "rate: {kind: burst_rate, of: [size]}",
        needs="O2, Cz, T7, T3",
        uses=", for: [iaf]",
    )
    a = assemble(spec(), p, expand(p), mains_hz=50.0, dc_coupled=True)
    names = a.montage.site_names
    d = {d.name: d for d in a.fold.defs}
    assert [names[i] for i in d["main"].sites] == ["O2", "Cz"]
    main = d["main"]
    assert (main.band_hz, main.iaf) == ((9.0, 13.0), (-1.0, 3.0))
    assert (main.smooth_s, main.delay_s, main.target, main.fit) == (2.0, 0.05, "rhythm", "course")
    assert d["share"].total_hz == (2.0, 30.0)
    assert [a.fold.defs[i].name for i in d["ratio"].of] == ["main", "plain"]
    assert [names[i] for i in d["plain"].sites] == ["T7"]  # its other name
    assert (d["plain"].delay_s, d["plain"].target, d["plain"].fit) == (0.1, "band", "session")
    assert (d["scp"].window_s, d["scp"].reference_s) == (1.0, 4.0)
    assert (d["slow"].window_s, d["slow"].reference_s) == (0.5, 2.0)
    assert [d[n].window_s for n in ("narrow", "wide", "own")] == [2.0, 2.0, 5.0]
    assert (d["size"].fit, d["rate"].window_s) == ("fixed", 60.0)
    assert {names[c] for c in a.fold.settings.posterior} == {"Pz", "O1", "O2"}


def test_six_cycles_of_a_slow_band_take_longer(tmp_path: Path) -> None:
    p = protocol(tmp_path, "main: {kind: wpli, at: [O2, Cz], band: 1-2 Hz}", needs="O2, Cz")
    assert put_together(p).fold.defs[0].window_s == pytest.approx(4.0)


def test_what_is_known_late() -> None:
    power = FeatureDef("p", "power", (0,), band_hz=(8.0, 12.0))
    defs = (
        power,
        FeatureDef("a", "amplitude", (0,), band_hz=(8.0, 12.0)),
        FeatureDef("r", "log_ratio", of=(0, 0)),
        FeatureDef("b", "burst_duration", of=(1,)),
        FeatureDef("z", "z", of=(2,)),
        FeatureDef("s", "share_above", of=(4,)),
        FeatureDef("c", "plv", (0, 1), band_hz=(8.0, 12.0)),
        FeatureDef("zc", "z", of=(6,)),
    )
    assert [known_late(defs, i) for i in range(8)] == [False] * 3 + [True] * 3 + [False, True]


# ---------------------------------------------------------------- spatial filters


def test_a_laplacian_takes_its_neighbours_along(tmp_path: Path) -> None:
    p = sides(tmp_path, "F4", "F3", "laplacian")
    assert set(beside_sites(p, spec())) == {"Fp2", "F8", "Fz", "C4", "Fp1", "F7", "C3"}
    a = put_together(p)
    assert reached(a, 1) == [{"F4", "Fp2", "F8", "Fz", "C4"}]
    assert reached(a, 2) == [{"F3", "Fp1", "F7", "Fz", "C3"}]
    for d in a.fold.defs[1:]:
        assert sum(d.weights[0]) == pytest.approx(0.0)
        assert d.weights[0][d.sites[0]] == 1.0
    # A bad neighbour spoils the number: it is watched as the site itself is.
    watched = {a.montage.site_names[c] for c in a.fold.gates.settings.needed}
    assert watched >= {"Fp2", "F8", "Fz", "C4"}


def test_two_sites_give_two_virtual_channels(tmp_path: Path) -> None:
    line = "main: {kind: power, at: [C3, C4], band: 12-15 Hz, spatial: laplacian}"
    a = put_together(protocol(tmp_path, line, needs="C3, C4"))
    assert [len(s) for s in reached(a, 0)] == [5, 5]
    assert not set.intersection(*reached(a, 0)) - {"Cz"}


def test_no_laplacian_where_there_are_no_neighbours(tmp_path: Path) -> None:
    with pytest.raises(MontageError, match="no Laplacian at O2"):
        put_together(sides(tmp_path, "O2", "O1", "laplacian"))


BARE = ("C1", "C2", "C3", "C4", "FC1", "FC2", "CP1", "CP2", "F3", "F4", "P3", "P4")


def test_a_laplacian_never_mixes_sides_that_are_compared(tmp_path: Path) -> None:
    """Without a midline the nearest neighbour of C1 may be C2."""
    with pytest.raises(MontageError, match="other side of the head"):
        put_together(sides(tmp_path, "C2", "C1", "laplacian"), BARE)
    line = "main: {kind: power, at: [C1], band: 12-15 Hz, spatial: laplacian}"
    alone = put_together(protocol(tmp_path, line, needs="C1"), BARE)
    assert "C2" in reached(alone, 0)[0]  # nothing is compared here
    put_together(sides(tmp_path, "C2", "C1", "laplacian"), (*BARE, "Cz"))


def test_a_fitted_filter_may_use_its_own_side_alone_when_sides_are_compared(
    tmp_path: Path,
) -> None:
    a = put_together(sides(tmp_path, "F4", "F3", "ssd"))
    names = a.montage.site_names
    for i, odd in ((1, 0), (2, 1)):
        pool = {names[c] for c in a.fold.defs[i].pool}
        assert len(pool) >= 5
        assert all(n[-1].isdigit() and int(n[-1]) % 2 == odd for n in pool), pool
    line = "main: {kind: power, at: [Cz], band: 12-15 Hz, spatial: ssd}"
    free = put_together(protocol(tmp_path, line))
    pool = {free.montage.site_names[c] for c in free.fold.defs[0].pool}
    assert len(pool) == POOL
    assert {"C3", "Cz", "C4", "Fz", "Pz"} <= pool
    assert set(free.fold.estimator.columns) >= set(free.fold.defs[0].pool)


def test_given_weights_land_on_their_sites(tmp_path: Path) -> None:
    line = "main: {kind: power, at: [C3], band: 12-15 Hz, spatial: {C3: 1, T3: -0.25, P3: -0.75}}"
    a = put_together(protocol(tmp_path, line, needs="C3, T3, P3"))
    (row,) = a.fold.defs[0].weights
    found = {a.montage.site_names[c]: w for c, w in enumerate(row) if w}
    assert found == {"C3": 1.0, "T7": -0.25, "P3": -0.75}
    missing = tuple(s for s in SITES if s != "P3")
    with pytest.raises(MontageError, match="P3"):
        put_together(protocol(tmp_path, line, needs="C3, T3, P3"), missing)
    twice = line.replace("P3: -0.75", "T7: -0.75")
    with pytest.raises(InputError, match="T7 is the site T3 again"):
        put_together(protocol(tmp_path, twice, needs="C3, T3, T7"))


# ---------------------------------------------------------------- eyes


@pytest.mark.parametrize(
    ("names", "kinds", "expected"),
    [
        (SITES, {}, {"Fp1", "Fp2"}),
        ((*SITES, "VEOG"), {"VEOG": "eog"}, {"VEOG"}),
        (("Cz", "Fp2"), {}, {"Fp2"}),
    ],
)
def test_which_columns_are_regressed_out(
    names: tuple[str, ...], kinds: dict[str, str], expected: set[str], tmp_path: Path
) -> None:
    line = "main: {kind: power, at: [Cz], band: 12-15 Hz}"
    a = put_together(protocol(tmp_path, line, eog="regress"), names, **kinds)
    assert {a.montage.site_names[c] for c in a.fold.settings.eog} == expected
    assert set(a.fold.estimator.columns) >= set(a.fold.settings.eog)
    assert not put_together(protocol(tmp_path, line), names, **kinds).fold.settings.eog


def test_regressing_without_eyes_is_refused(tmp_path: Path) -> None:
    p = protocol(tmp_path, "main: {kind: power, at: [Cz], band: 12-15 Hz}", eog="regress")
    with pytest.raises(MontageError, match="eog: regress"):
        put_together(p, ("Cz", "Pz"))


def test_a_slow_potential_needs_a_dc_coupled_amplifier(tmp_path: Path) -> None:
    p = protocol(tmp_path, "main: {kind: slow_potential, at: [Cz]}")
    for coupled, words in ((None, "nobody said"), (False, "AC-coupled")):
        with pytest.raises(MontageError, match=words):
            assemble(spec(), p, expand(p), mains_hz=50.0, dc_coupled=coupled)
    assert assemble(spec(), p, expand(p), mains_hz=50.0, dc_coupled=True).fold.defs[0].kind == (
        "slow_potential"
    )
