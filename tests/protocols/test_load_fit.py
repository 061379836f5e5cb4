"""Protocol files: individual bands, fitted filters, spatial filters, and what is made of what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import resolved
from engine.errors import YamlError
from engine.features import BURSTS, COUPLED, FEATURES, ONE_OR_MORE, TWO_OR_MORE
from engine.iaf import MIN_WINDOWS, RATE_HZ, STEP, WINDOW
from protocols.facts import fits, widest_band
from protocols.hints import IAF_CLEAN_S
from protocols.load import Loaded, load
from protocols.model import Feature, Protocol

TRIAL = """\
format: 1
name: trial
title: Trial
evidence: {grade: X, summary: "For trials only.", refs: []}
summary: Trains nothing in particular.
needs: {channels: [F3, F4, Cz, O1], rate: at least 160 Hz}
condition: {reference: as recorded, high_pass: 1 Hz, mains: notch}
features:
  main: {kind: power, at: [Cz], band: iaf-2 .. iaf+2}
  more: {kind: power, at: [O1], band: 4-8 Hz}
gates: {blink: on, amplitude: on, step: on, muscle: on}
baseline:
  - {name: closed, lasts: 120 s, eyes: closed, for: [iaf]}
  - {name: open, lasts: 120 s, eyes: open, learn: [main]}
reward:
  feature: main
  above: {baseline: percentile, success: 65 %}
feedback:
  level:
    feature: main
    from: {baseline: median, plus: -1 mad}
    to: {baseline: median, plus: 2 mad}
  picture: bar
session:
  - baseline
  - {train: 60 s}
"""
MORE = "  more: {kind: power, at: [O1], band: 4-8 Hz}"
ABOVE = "above: {baseline: percentile, success: 65 %}"
RATE = "rate: at least 160 Hz"


def read(folder: Path, *changes: tuple[str, str]) -> Loaded:
    text = TRIAL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "trial.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, FEATURES)


def refused(folder: Path, *changes: tuple[str, str]) -> tuple[str, str]:
    """Return the one problem, and what is written at its place."""
    with pytest.raises(YamlError) as caught:
        read(folder, *changes)
    (problem,) = caught.value.problems
    text = (folder / "trial.yaml").read_text("utf-8")
    return str(problem), text.splitlines()[problem.line - 1][problem.column - 1 :]


def written(features: str) -> tuple[str, str]:
    """Return the change that puts features in the place of the second one."""
    return MORE, "\n".join(f"  {line}" for line in features.splitlines())


# ---------------------------------------------------------------- bands around alpha


@pytest.mark.parametrize(
    ("text", "iaf", "nominal"),
    [
        ("iaf-2 .. iaf+2", (-2.0, 2.0), (8.0, 12.0)),
        ("IAF to iaf + 2.5 Hz", (0.0, 2.5), (10.0, 12.5)),
        ("iaf-4 Hz .. iaf-1 Hz", (-4.0, -1.0), (6.0, 9.0)),
    ],
)
def test_a_band_around_alpha_is_kept_twice_and_survives_the_header(
    text: str, iaf: tuple[float, float], nominal: tuple[float, float], tmp_path: Path
) -> None:
    p = read(tmp_path, ("iaf-2 .. iaf+2", text)).protocol
    main = p.features["main"]
    assert (main.iaf, main.band_hz) == (iaf, nominal)
    assert widest_band(main) == (7.0 + iaf[0], 13.0 + iaf[1])
    assert widest_band(p.features["more"]) == (4.0, 8.0)
    assert p.baseline[0].uses == ("iaf",)
    again = Protocol.model_validate(json.loads(json.dumps(resolved(p))))
    assert again == p
    assert again.features["main"].iaf == iaf


def test_every_setting_of_a_fitted_filter_survives_the_header(tmp_path: Path) -> None:
    line = (
        "more: {kind: power, at: [F3], band: 8-12 Hz, delay: 0 ms, target: rhythm, fit: course,"
        " spatial: {F3: 1, Cz: -1}}\nslow: {kind: slow_potential, at: [Cz], window: 1 s,"
        " reference: 3 s}\nssd: {kind: power, at: [Cz], band: 8-12 Hz, spatial: ssd}"
    )
    p = read(tmp_path, written(line), ("mains: notch", "mains: notch, eog: regress")).protocol
    again = Protocol.model_validate(json.loads(json.dumps(resolved(p))))
    assert again == p
    more = again.features["more"]
    assert (more.delay_s, more.target, more.fit) == (0.0, "rhythm", "course")
    assert more.spatial == {"F3": 1.0, "Cz": -1.0}
    assert again.features["ssd"].spatial == "ssd"
    assert (again.features["slow"].window_s, again.features["slow"].reference_s) == (1.0, 3.0)
    assert again.condition.eog == "regress"


def test_the_rate_must_suit_the_highest_place_of_the_band(tmp_path: Path) -> None:
    """13 Hz and 30 more: 43 Hz needs 172 Hz; 13 Hz and 27 more: 160 Hz."""
    told, at = refused(tmp_path, ("iaf-2 .. iaf+2", "iaf+20 .. iaf+30"))
    assert "43 Hz is too high" in told
    assert "at least 172 Hz" in told
    assert at.startswith("iaf+20")
    read(tmp_path, ("iaf-2 .. iaf+2", "iaf+20 .. iaf+27"))
    # The lowest place counts for the high-pass: 7 Hz less 6 Hz is 1 Hz.
    lower = ("iaf-2 .. iaf+2", "iaf-6 .. iaf-4")
    told, at = refused(tmp_path, lower, ("high_pass: 1 Hz", "high_pass: 2 Hz"))
    assert "high-pass of 2 Hz" in told
    assert at.startswith("iaf-6")


def test_a_band_around_alpha_needs_a_block_for_it(tmp_path: Path) -> None:
    told, at = refused(tmp_path, (", for: [iaf]", ""))
    assert "no baseline is" in told
    assert at.startswith("iaf-2")


# ---------------------------------------------------------------- fitted or fixed


@pytest.mark.parametrize(
    ("settings", "key", "words"),
    [
        ("fit: fixed, delay: 50 ms", "50 ms", "`delay` is a property of the fitted filter"),
        ("fit: fixed, target: band", "band}", "`target` is a property of the fitted filter"),
        ("delay: 301 ms", "301 ms", "out of range"),
        ("delay: -1 ms", "-1 ms", "out of range"),
        ("delay: 0.1", "0.1", "no unit"),
        ("target: alpha", "alpha", "band"),
        ("fit: always", "always", "session"),
    ],
)
def test_settings_that_do_not_go_together(
    settings: str, key: str, words: str, tmp_path: Path
) -> None:
    told, at = refused(
        tmp_path, written(f"more: {{kind: power, at: [O1], band: 4-8 Hz, {settings}}}")
    )
    assert words in told
    assert at.startswith(key), told


@pytest.mark.parametrize("fit", ["session", "course"])
def test_fitting_needs_a_block_that_learns(fit: str, tmp_path: Path) -> None:
    fixed = "above: {fixed: 12 uV2}"
    changes = (
        (ABOVE, fixed), (", learn: [main]", ""),
        ("from: {baseline: median, plus: -1 mad}", "from: {fixed: 1 uV2}"),
        ("to: {baseline: median, plus: 2 mad}", "to: {fixed: 9 uV2}"),
    )  # fmt: skip
    told, at = refused(
        tmp_path, *changes, written(f"more: {{kind: power, at: [O1], band: 4-8 Hz, fit: {fit}}}")
    )
    assert "no block learns" in told
    assert at.startswith(fit)
    assert fits(read(tmp_path, *changes).protocol) == {"main": "fixed", "more": "fixed"}


ASYM = """\
right: {kind: power, at: [F4], band: 8-12 Hz}
left: {kind: power, at: [F3], band: 8-12 Hz}
asym: {kind: log_ratio, of: [right, left]}
share: {kind: share_above, of: [asym]}
z: {kind: z, of: [asym]}
size: {kind: amplitude, at: [O1], band: 8-12 Hz, fit: fixed}"""


@pytest.mark.parametrize(
    ("rule", "course"),
    [
        ("feature: asym, above: {fixed: 0.1}", {"right", "left", "asym"}),
        ("feature: share, above: {fixed: 0.5}", {"right", "left", "asym", "share"}),
        ("feature: z, above: {fixed: 1}", {"z"}),  # measured against each session's own rest
        ("feature: size, above: {fixed: 5 uV}", set()),  # fixed stays fixed
    ],
)
def test_compared_with_a_fixed_value_is_fitted_once_for_a_course(
    rule: str, course: set[str], tmp_path: Path
) -> None:
    loaded = read(
        tmp_path, written(ASYM), ("feedback:\n", f"inhibit:\n  - {{{rule}}}\nfeedback:\n")
    )
    found = fits(loaded.protocol)
    assert {n for n, f in found.items() if f == "course"} == course
    assert found["size"] == "fixed"
    assert {n for n, f in found.items() if f == "session"} == set(found) - course - {"size"}
    told = [h for h in loaded.hints if "`fit: course`" in h]
    bands = {"right", "left"} & course
    assert len(told) == len(bands)
    assert all(any(f"`{n}`" in h for h in told) for n in bands)


def test_a_level_with_a_fixed_end_makes_a_course_as_well(tmp_path: Path) -> None:
    loaded = read(tmp_path, ("to: {baseline: median, plus: 2 mad}", "to: {fixed: 40 uV2}"))
    assert fits(loaded.protocol) == {"main": "course", "more": "session"}


# ---------------------------------------------------------------- spatial filters


@pytest.mark.parametrize(
    ("spatial", "at", "words"),
    [
        ("{F3: 1, Pz: -1}", "Pz: -1}", "Pz is used but not needed"),
        ("{F3: 1}", "spatial:", "at least two sites"),
        ("{F3: 1, Cz: 1 uV}", "1 uV}", "a number"),
        ("small", "small", "unknown spatial filter"),
    ],
)
def test_spatial_filters_that_cannot_be(spatial: str, at: str, words: str, tmp_path: Path) -> None:
    line = f"more: {{kind: power, at: [F3], band: 4-8 Hz, spatial: {spatial}}}"
    told, place = refused(tmp_path, written(line))
    assert words in told
    assert place.startswith(at)


@pytest.mark.parametrize("kind", ["log_ratio", "asymmetry_index"])
@pytest.mark.parametrize(
    ("weights", "mixes"),
    [("{F3: 1, F4: -1}", True), ("{F3: 1, Cz: -1}", False)],
)
def test_weights_of_a_compared_side_keep_to_it(
    kind: str, weights: str, mixes: bool, tmp_path: Path
) -> None:
    lines = ASYM.splitlines()
    left = lines[1].replace("8-12 Hz", f"8-12 Hz, spatial: {weights}")
    text = "\n".join([lines[0], left, lines[2].replace("log_ratio", kind)])
    if not mixes:
        assert read(tmp_path, written(text)).protocol.features["left"].spatial
        return
    told, place = refused(tmp_path, written(text))
    assert "mix both sides" in told
    assert place.startswith("{F3: 1, F4: -1}") or "spatial" in place
    # Nothing is compared: nothing is said.
    read(tmp_path, written("\n".join([lines[0], left])))


# ---------------------------------------------------------------- made of what


@pytest.mark.parametrize("kind", [k for k, f in FEATURES.items() if f.parts])
def test_what_is_made_of_others_takes_the_right_ones(kind: str, tmp_path: Path) -> None:
    powers = "".join(
        f"power{n}: {{kind: power, at: [F4], band: 8-12 Hz}}\n"
        f"amplitude{n}: {{kind: amplitude, at: [O1], band: 8-12 Hz}}\n"
        for n in ("", "2", "3")
    )
    pairs = "".join(
        f"log_ratio{n}: {{kind: log_ratio, of: [power, power2]}}\n"
        f"z{n}: {{kind: z, of: [power{n}]}}\n"
        for n in ("", "2", "3")
    )
    base = powers + pairs + "sum: {kind: weighted_sum, of: [power, power2], weights: [1, 1]}\n"
    rule = FEATURES[kind]
    right = next(p for p in ("power", "amplitude", "log_ratio", "z") if p in rule.parts)
    several = rule.n_parts in (2, TWO_OR_MORE)
    good = [right, f"{right}2"] if several else [right]
    wrong = {"z": "z2", "weighted_sum": "sum"}.get(kind) or next(
        p for p in ("amplitude", "log_ratio", "power") if p not in rule.parts
    )

    def line(of: list[str]) -> tuple[str, str]:
        weights = f", weights: {[1] * len(of)}" if kind == "weighted_sum" else ""
        within = ", within: 2" if kind == "share_within" else ""
        return written(f"{base}made: {{kind: {kind}, of: [{', '.join(of)}]{weights}{within}}}")

    assert read(tmp_path, line(good)).protocol.features["made"].of == tuple(good)
    told, place = refused(tmp_path, line([*good[:-1], wrong]))
    assert f"`{wrong}` is no " in told
    assert place.startswith(f"{wrong}]")
    told, place = refused(tmp_path, line([*good[:-1], "pwoer"]))
    assert "unknown feature `pwoer`" in told
    assert place.startswith("pwoer]")
    more = [*good, f"{right}{len(good) + 1}"]
    if rule.n_parts in (ONE_OR_MORE, TWO_OR_MORE):
        assert read(tmp_path, line(more)).protocol.features["made"].of == tuple(more)
        few = good[:-1]
        with pytest.raises(YamlError, match=rf"`of` lists {len(few)} features|`of` is missing"):
            read(tmp_path, line(few))
        return
    too_many = more
    with pytest.raises(YamlError, match=rf"`of` lists {len(too_many)} features"):
        read(tmp_path, line(too_many))


KEYS = (
    "window: 5 s", "reference: 5 s", "total: 1-40 Hz", "smooth: 1 s", "delay: 50 ms",
    "target: band", "spatial: ssd", "fit: session",
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("kind", list(FEATURES))
def test_every_key_belongs_to_its_kinds(kind: str, key: str, tmp_path: Path) -> None:
    rule, word = FEATURES[kind], key.split(":")[0]
    given = {"at": "at: [F3, F4]", "band": "band: 8-12 Hz", "of": "of: [part, part2]"}
    of = "part" if rule.n_parts == 1 else "part, part2"
    given["of"] = f"of: [{of}]"
    given |= {"weights": "weights: [1, 2]", "within": "within: 2"}
    kinds = {**dict.fromkeys(BURSTS, "amplitude"), "share_above": "log_ratio", "share_within": "z"}
    part = kinds.get(kind, "power")
    parts = "p: {kind: power, at: [F4], band: 8-12 Hz}\nq: {kind: power, at: [F3], band: 8-12 Hz}\n"
    made_of = {"log_ratio": "of: [p, q]", "z": "of: [p]"}
    how = made_of.get(part, "at: [F4], band: 8-12 Hz")
    parts += f"part: {{kind: {part}, {how}}}\npart2: {{kind: {part}, {how}}}\n"
    needed = ", ".join(given[k] for k in sorted(rule.needs) if k != word)
    change = written(f"{parts}made: {{kind: {kind}, {needed}, {key}}}")
    if word in rule.may | rule.needs:
        made = read(tmp_path, change).protocol.features["made"]
        assert isinstance(made, Feature)
    else:
        told, place = refused(tmp_path, change)
        assert f"`{word}` does not belong to kind `{kind}`" in told
        assert place.startswith(word)


@pytest.mark.parametrize("kind", [*sorted(COUPLED), "periodic_power"])
def test_too_wide_for_a_phase(kind: str, tmp_path: Path) -> None:
    sites = "[O1]" if kind == "periodic_power" else "[O1, Cz]"
    told, place = refused(tmp_path, written(f"more: {{kind: {kind}, at: {sites}, band: 4-13 Hz}}"))
    assert "too wide" in told
    assert place.startswith("4-13 Hz")


# ---------------------------------------------------------------- wherever alpha lies


@pytest.mark.parametrize("band", ["iaf-4 .. iaf+4", "iaf-5 .. iaf+5", "iaf-6 .. iaf+12"])
@pytest.mark.parametrize("kind", ["power", "periodic_power"])
def test_a_band_is_narrow_wherever_alpha_lies_or_refused(
    kind: str, band: str, tmp_path: Path
) -> None:
    told, place = refused(
        tmp_path, ("main: {kind: power, at: [Cz], band: iaf-2 .. iaf+2}",
                   f"main: {{kind: {kind}, at: [Cz], band: {band}}}"),
        ("high_pass: 1 Hz", "high_pass: 0.5 Hz"),
    )  # fmt: skip
    assert "with an individual alpha frequency of 7 Hz the band is" in told
    assert "too wide for one filter" in told
    assert place.startswith(band)


def test_what_is_narrow_at_each_place_is_accepted_although_all_places_span_more(
    tmp_path: Path,
) -> None:
    """4-10 Hz at 7 Hz and 10-16 Hz at 13 Hz: each narrow, 4-16 Hz is not."""
    line = "more: {kind: wpli, at: [O1, Cz], band: iaf-3 .. iaf+3}"
    assert read(tmp_path, written(line)).protocol.features["more"].iaf == (-3.0, 3.0)


def test_flanks_have_room_wherever_alpha_lies(tmp_path: Path) -> None:
    line = "more: {kind: periodic_power, at: [O1], band: iaf-6 .. iaf-4}"
    told, place = refused(tmp_path, written(line))
    assert "with an individual alpha frequency of 7 Hz there is no room below 1-3 Hz" in told
    assert place.startswith("iaf-6")
    read(tmp_path, written(line.replace("iaf-6 .. iaf-4", "iaf+5 .. iaf+8")))


@pytest.mark.parametrize(
    ("keys", "words", "points_at"),
    [
        ("band: 8-12 Hz, total: iaf-5 .. iaf+20", "here the edges are fixed", "iaf-5"),
        ("band: 9-11 Hz, total: 8-12 Hz", "too narrow for the whole", "8-12 Hz"),
        ("band: iaf-2 .. iaf+2, total: 6-14 Hz", "outside the total", "iaf-2"),
    ],
)
def test_a_total_holds_its_band_and_stays_where_it_is(
    keys: str, words: str, points_at: str, tmp_path: Path
) -> None:
    told, place = refused(tmp_path, written(f"more: {{kind: relative_power, at: [O1], {keys}}}"))
    assert words in told
    assert place.startswith(points_at)


def test_bands_below_one_hertz_are_refused(tmp_path: Path) -> None:
    for band in ("10-10.9 Hz", "iaf .. iaf+0.5"):
        told, place = refused(tmp_path, written(f"more: {{kind: power, at: [O1], band: {band}}}"))
        assert "too narrow" in told
        assert place.startswith(band)
    read(tmp_path, written("more: {kind: power, at: [O1], band: 10.1-11.1 Hz}"))


@pytest.mark.parametrize(
    "key",
    ["spatial: ssd", "spatial: laplacian", "spatial: {O1: 1, Cz: -1}", "target: band",
     "delay: 50 ms", "fit: session", "fit: course"],
)  # fmt: skip
def test_a_wide_band_has_no_fitted_filter(key: str, tmp_path: Path) -> None:
    line = f"more: {{kind: power, at: [O1], band: 4-20 Hz, {key}}}"
    told, place = refused(tmp_path, written(line))
    word = key.split(":")[0]
    assert f"`{word}` is for bands whose upper edge is at most 3 times" in told
    assert place.startswith(word)
    read(tmp_path, written(line.replace("4-20 Hz", "7-20 Hz")))
    plain = read(tmp_path, written(line.replace(key, "fit: fixed"))).protocol
    assert fits(plain)["more"] == "fixed"
    assert fits(read(tmp_path, written(line.replace(f", {key}", ""))).protocol)["more"] == "fixed"


# ---------------------------------------------------------------- sites and weights


@pytest.mark.parametrize(
    ("keys", "words", "points_at"),
    [
        ("at: [O1, Cz], spatial: {O1: 1, Cz: -1}", "one signal, but `at` lists 2", ""),
        ("at: [Cz], spatial: {O1: 1, F3: -1}", "Cz has no weight", ""),
        ("at: [O1], spatial: {O1: 1, Cz: 0}", "Cz cannot have the weight 0", "0}"),
        ("at: [O1], spatial: {O1: 1, Cz: 1.0e-5}", "cannot have the weight 1e-05", "1.0e-5}"),
        ("at: [O1], spatial: {O1: 1, Cz: 2000}", "cannot have the weight 2000", "2000}"),
        ("at: [O1], spatial: {O1: 1, o1: -1}", "o1 is the site O1 again", "o1: -1}"),
        ("at: [O1, Cz, o1]", "o1 is the site O1 again", "o1]"),
        ("at: [O1, O1]", "`O1` is listed twice", "at: [O1, O1]"),
    ],
)
def test_every_site_counts_once(keys: str, words: str, points_at: str, tmp_path: Path) -> None:
    line = f"more: {{kind: power, {keys}, band: 8-12 Hz}}"
    told, place = refused(tmp_path, written(line))
    assert words in told
    assert place.startswith(points_at)


def test_two_names_of_one_place_are_one_site(tmp_path: Path) -> None:
    line = "more: {kind: coherence, at: [T3, T7], band: 8-12 Hz}"
    told, place = refused(tmp_path, written(line), ("[F3, F4, Cz, O1]", "[F3, F4, Cz, O1, T3, T7]"))
    assert "T7 is the site T3 again" in told
    assert place.startswith("T7]")


# ---------------------------------------------------------------- windows

SIZE = "size: {kind: amplitude, at: [O1], band: 8-12 Hz}\n"


@pytest.mark.parametrize(
    ("line", "bounds"),
    [
        (SIZE + "more: {kind: burst_rate, of: [size], window: 0.9 s}", "from 1 s to 300 s"),
        (ASYM.replace("of: [asym]}\nz", "of: [asym], window: 0.9 s}\nz"), "from 1 s to 300 s"),
        ("more: {kind: slow_potential, at: [Cz], window: 10.5 s}", "from 0.05 s to 10 s"),
        ("more: {kind: peak_to_peak, at: [Cz], window: 300 s}", "from 0.05 s to 10 s"),
        ("more: {kind: wpli, at: [Cz, O1], band: 8-12 Hz, window: 61 s}", "from 0.5 s to 60 s"),
    ],
)
def test_a_window_suits_its_kind(line: str, bounds: str, tmp_path: Path) -> None:
    told, place = refused(tmp_path, written(line))
    assert "does not suit" in told
    assert bounds in told
    assert place[0].isdigit()


@pytest.mark.parametrize(
    ("window", "block", "words"),
    [
        ("", "lasts: 120 s", ""),
        ("", "lasts: 60 s", "known after 30 s"),  # the filter must fill as well
        ("", "lasts: 63 s, needs_clean: 60 s", ""),
        (", window: 112 s", "lasts: 120 s", "`lasts: 115 s, needs_clean: 112 s` or more"),
        (", window: 112 s", "lasts: 115 s, needs_clean: 112 s", ""),
        (", window: 300 s", "lasts: 120 s", "known after 150 s"),
    ],
)
def test_a_window_can_be_learned_in_its_block(
    window: str, block: str, words: str, tmp_path: Path
) -> None:
    """Of the clean time asked for, half must be left when half of the window has filled."""
    line = SIZE + f"more: {{kind: burst_rate, of: [size]{window}}}"
    changes = (
        written(line), ("learn: [main]", "learn: [main, more]"),
        ("lasts: 120 s, eyes: open", f"{block}, eyes: open"),
    )  # fmt: skip
    if words:
        told, place = refused(tmp_path, *changes)
        assert words in told
        assert place.startswith("more]")
    else:
        read(tmp_path, *changes)
    # What nobody learns may take as long as it likes.
    read(tmp_path, written(line))


def test_a_chance_value_takes_ten_windows(tmp_path: Path) -> None:
    line = "more: {kind: plv, at: [O1, Cz], band: 8-12 Hz, window: 6 s}"
    learn = ("learn: [main]", "learn: [main, more]")
    told, place = refused(tmp_path, written(line), learn)
    assert "the chance value of `more` takes 63 s of clean time" in told
    assert place.startswith("more]")
    read(tmp_path, written(line.replace("6 s", "5 s")), learn)
    of_it = line + "\nz: {kind: z, of: [more]}"
    told, place = refused(tmp_path, written(of_it), ("learn: [main]", "learn: [main, z]"))
    assert "the chance value of `z` takes 63 s" in told
    assert place.startswith("z]")
    read(tmp_path, written(line.replace(", window: 6 s", "")), learn)


# ---------------------------------------------------------------- known at all


@pytest.mark.parametrize("used", ["share", "z", "shrunk", "above_z", "rate", "link"])
def test_what_needs_a_rest_is_refused_without_one(used: str, tmp_path: Path) -> None:
    text = (
        ASYM
        + "\nshrunk: {kind: shrunk_log_ratio, of: [right, left]}"
        + "\nabove_z: {kind: share_above, of: [shrunk]}"
        + "\nrate: {kind: burst_rate, of: [size]}"
        + "\nlink: {kind: plv, at: [F3, F4], band: 8-12 Hz}"
    )
    changes = (
        written(text), (", for: [iaf]", ""), (", learn: [main]", ""), ("iaf-2 .. iaf+2", "8-12 Hz"),
        ("from: {baseline: median, plus: -1 mad}", "from: {fixed: 1 uV2}"),
        ("to: {baseline: median, plus: 2 mad}", "to: {fixed: 9 uV2}"),
        (f"feature: main\n  {ABOVE}", f"feature: {used}\n  above: {{fixed: 0.5}}"),
    )  # fmt: skip
    if used == "share":  # of a plain log_ratio: nothing of the person is needed
        read(tmp_path, *changes)
        return
    told, place = refused(tmp_path, *changes)
    assert f"`{used}` would never be known" in told
    assert place.startswith(used)


def test_what_a_z_is_made_of_is_said_in_a_sentence(tmp_path: Path) -> None:
    told, place = refused(tmp_path, written(f"{ASYM}\nagain: {{kind: z, of: [z]}}"))
    assert "`z` is no part of a `z`: it is of kind `z`" in told
    assert "another kind" not in told
    assert place.startswith("z]")


# ---------------------------------------------------------------- a block for alpha


def test_a_block_for_alpha_is_long_enough(tmp_path: Path) -> None:
    assert IAF_CLEAN_S >= (WINDOW + (MIN_WINDOWS - 1) * STEP) / RATE_HZ
    told, place = refused(tmp_path, ("lasts: 120 s, eyes: closed", "lasts: 22 s, eyes: closed"))
    assert "can be read from 22 s" in told
    assert place.startswith("22 s")


def test_a_block_for_alpha_with_open_eyes_or_little_asked_is_a_hint(tmp_path: Path) -> None:
    assert not [h for h in read(tmp_path).hints if "`closed`" in h]
    eyes = read(tmp_path, ("lasts: 120 s, eyes: closed", "lasts: 120 s, eyes: open")).hints
    assert [h for h in eyes if h.startswith("`closed` is recorded for the individual alpha")]
    little = ("lasts: 120 s, eyes: closed", "lasts: 120 s, eyes: closed, needs_clean: 10 s")
    assert any("`closed` is accepted with 10 s clean" in h for h in read(tmp_path, little).hints)
