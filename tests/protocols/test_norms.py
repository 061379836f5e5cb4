"""Norms: a made-up table is read, looked up and refused. None of its numbers is of people."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import FileError, InputError, YamlError
from engine.features import FEATURES
from feedback.registry import PICTURES, SOUNDS
from protocols.load import Loaded, load
from protocols.norms import METRICS, OPTIONAL, REQUIRED, Norms, read_norms

HEADER = (
    "age_from,age_to,eyes,site,metric,band_low_hz,band_high_hz,mean,sd,transform,"
    "over_low_hz,over_high_hz,reference,n"
)
ROWS = (
    "20,30,closed,Pz,power,8,12,2.5,0.8,ln,,,average,101",
    "30,40,closed,Pz,power,8,12,2.4,0.7,ln,,,average,99",
    "20,30,open,Pz,power,8,12,0.5,0.2,log10,,,average,",
    "20,30,open,Cz,ratio,4,8,0.6,0.4,ln,13,21,,50",
    "20,30,open,T3+T4,coherence,8,12,0.1,0.05,none,,,,50",
    "20,30,open,F4/F3,log_ratio,8,12,0.02,0.2,none,,,,50",
    "20,30,open,Cz,relative_power,12,15,-2.9,0.3,ln,1,40,,50",
)
PLAIN = "20,30,open,Cz,power,8,12,2.5,0.8,ln,,,,"


def table(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "made_up.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def norms(tmp_path: Path) -> Norms:
    return read_norms(table(tmp_path, *ROWS))


def mistakes(path: Path) -> list[str]:
    """Return what is told about a bad table, without the path."""
    with pytest.raises(InputError) as caught:
        read_norms(path)
    assert "docs/norms.md" in caught.value.fix
    return caught.value.what.replace(str(path), "FILE").splitlines()


# ---------------------------------------------------------------- reading


def test_a_good_table_is_read(tmp_path: Path, norms: Norms) -> None:
    data = table(tmp_path, *ROWS).read_bytes()
    assert norms.sha256 == hashlib.sha256(data).hexdigest()
    assert len(norms.rows) == len(ROWS)
    assert [r.line for r in norms.rows] == [2, 3, 4, 5, 6, 7, 8]
    assert (norms.rows[0].n, norms.rows[2].n) == (101, None)
    assert norms.rows[3].over_hz == (13.0, 21.0)
    assert norms.rows[5].over_sites == ("F3",)


def test_order_of_columns_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "made_up.csv"
    header = ",".join(reversed(REQUIRED))
    row = ",".join(reversed(("20", "30", "Open", "CZ", "Power", "8", "12", "2.5", ".8", "LN")))
    path.write_text(f"\n {header.upper()} \n,,,,,,,,,\n\n{row}\n", encoding="utf-8-sig")
    (found,) = read_norms(path).rows
    assert (found.line, found.sd, found.metric, found.eyes) == (5, 0.8, "power", "open")


def test_a_quoted_cell_with_a_line_break_keeps_the_lines_right(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        '20,30,open,Cz,power,8,12,2.5,0.8,ln,,,"linked\nears",',
        "20,30,open,Cz,power,8,12,2.5,-1,ln,,,,",
    )
    assert mistakes(path)[0] == "FILE:4: `sd` is -1"


@pytest.mark.parametrize(
    ("row", "what", "allowed"),
    [
        ("20,30,open,Cz,power,8,12,2.5,0,ln,,,,", "`sd` is 0", "above 0"),
        ("20,30,open,Cz,power,8,12,2.5,-0.1,ln,,,,", "`sd` is -0.1", "above 0"),
        ("20,30,open,Cz,power,8,12,two,0.8,ln,,,,", "`mean` is 'two', not a number", "1.5"),
        ("20,30,open,Cz,power,8,12,nan,0.8,ln,,,,", "`mean` is 'nan', not a number", "1.5"),
        ('20,30,open,Cz,power,8,12,"2,5",0.8,ln,,,,', "`mean` is '2,5', not a number", "1.5"),
        ("20,30,open,Cz,power,8,12,1e999,1,ln,,,,", "`mean` is '1e999', not a number", "1.5"),
        ("20,30,open,Cz,power,8,12,,0.8,ln,,,,", "`mean` is empty", "1.5"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,sqrt,,,,", "`transform` is 'sqrt'", "none, ln, log10"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,,,,,", "`transform` is empty", "none, ln, log10"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,none,,,,", "SD of power itself", "`ln` or `log10`"),
        ("20,30,open,Cz,ratio,4,8,2.5,0.8,none,13,21,,", "SD of ratio itself", "`ln` or"),
        ("20,30,open,F4/F3,log_ratio,8,12,0,1,ln,,,,", "`transform` is ln", "difference of nat"),
        ("20,30,open,Cz,power,12,8,2.5,0.8,ln,,,,", "a band from 12 to 8 Hz", "0 < band_low_hz"),
        ("20,30,open,Cz,power,0,8,2.5,0.8,ln,,,,", "a band from 0 to 8 Hz", "0 < band_low_hz"),
        ("30,30,open,Cz,power,8,12,2.5,0.8,ln,,,,", "ages from 30 to 30", "age_to itself"),
        ("20,300,open,Cz,power,8,12,2.5,0.8,ln,,,,", "ages from 20 to 300", "0 and 130"),
        ("20,30,shut,Cz,power,8,12,2.5,0.8,ln,,,,", "`eyes` is 'shut'", "open, closed"),
        ("20,30,open,Q7,power,8,12,2.5,0.8,ln,,,,", "`site` is 'Q7'", "a site such as Cz"),
        ("20,30,open,,power,8,12,2.5,0.8,ln,,,,", "`site` is empty", "a site such as Cz"),
        ("20,30,open,F3/F4,power,8,12,2.5,1,ln,,,,", "`site` is 'F3/F4', for power", "P3+P4"),
        ("20,30,open,T3+T7,power,8,12,2.5,1,ln,,,,", "`site` is 'T3+T7'", "P3+P4"),
        ("20,30,open,Cz,coherence,8,12,0,1,none,,,,", "`site` is 'Cz'", "two sites such as F3+F4"),
        ("20,30,open,F3-F4,coherence,8,12,0,1,none,,,,", "`site` is 'F3-F4'", "F3+F4"),
        ("20,30,open,F3+F4,coherence,8,12,40,9,none,,,,", "mean of coherence is 40", "-1 and 1"),
        ("20,30,open,Cz,loudness,8,12,2.5,0.8,ln,,,,", "`metric` is 'loudness'", "power, ampl"),
        ("20,30,open,Cz,ratio,4,8,2.5,0.8,ln,,,,", "a ratio needs two bands", "the second"),
        ("20,30,open,Cz,ratio,4,8,2.5,0.8,ln,13,,,", "a ratio needs two bands", "the second"),
        ("20,30,open,Cz,relative_power,4,8,-1,1,ln,,,,", "needs two bands", "the whole it is"),
        ("20,30,open,Cz,relative_power,4,8,3,1,ln,1,40,,", "of a relative_power is 3", "no percen"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,ln,1,40,,", "a power has no second band", "empty"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,ln,,,,many", "`n` is 'many'", "whole number of people"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,ln,,,,0", "`n` is '0'", "whole number of people"),
        ("20,30,open,Cz,power,8,12,2.5,0.8,ln", "10 cells, and the header has 14", "one cell"),
        ("20,30,open,Cz,power,8,12,2,5,0,8,ln,,,,,", "17 cells, and the header", "a point"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_line(
    tmp_path: Path, row: str, what: str, allowed: str
) -> None:
    told = mistakes(table(tmp_path, PLAIN, row))
    assert len(told) == 2, told
    assert told[0].startswith("FILE:3: ")
    assert what in told[0]
    assert allowed in told[1]


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    told = mistakes(table(tmp_path, "20,10,ajar,Cz,power,8,12,x,0,ln,,,,", ROWS[0], "1,2"))
    assert [t.split(": ")[0] for t in told if t.startswith("FILE")] == ["FILE:2"] * 4 + ["FILE:4"]


def test_a_table_of_the_wrong_kind_does_not_fill_the_screen(tmp_path: Path) -> None:
    told = mistakes(table(tmp_path, *(["20,30,open,Cz,power,8,12,2.5,0,ln,,,,"] * 500)))
    assert told[-1] == "and 480 more"
    assert len(told) == 41


def test_a_missing_an_unknown_and_a_double_column(tmp_path: Path) -> None:
    header = HEADER.replace("sd,", "").replace("reference,n", "refrence,n,n")
    told = mistakes(table(tmp_path, PLAIN, header=header))
    assert told[0] == "FILE:1: missing: sd"
    assert told[1].strip() == f"needed are {', '.join(REQUIRED)}"
    assert told[2] == "FILE:1: there is no column 'refrence'"
    assert ", ".join(OPTIONAL) in told[3]
    assert told[4] == "FILE:1: the column 'n' comes twice"


def test_overlapping_ages(tmp_path: Path) -> None:
    later = "29,40,open,Cz,power,8,12,2.5,0.8,ln,,,,"
    told = mistakes(table(tmp_path, later, PLAIN))
    assert told[0].startswith("FILE:3: the ages 20 to 30 overlap those of line 2,")
    # Other eyes, sites, bands or references are something else; T3 and T7 are not.
    fine = (
        PLAIN, later.replace("open", "closed"), later.replace("Cz", "Pz"),
        later.replace("8,12", "8,13"), later.replace(",,,,", ",,,average,"),
    )  # fmt: skip
    assert len(read_norms(table(tmp_path, *fine)).rows) == 5
    path = table(tmp_path, PLAIN.replace("Cz", "T3"), PLAIN.replace("Cz", "T7"))
    assert "overlap" in mistakes(path)[0]


def test_no_table_at_all(tmp_path: Path) -> None:
    path = tmp_path / "made_up.csv"
    path.write_text(" \n\n", encoding="utf-8")
    assert mistakes(path)[0] == "FILE:1: the table is empty"
    assert mistakes(table(tmp_path))[0] == "FILE:1: the table has no rows below its header"
    path.write_text("age_from;age_to\n20;30\n", encoding="utf-8")
    assert mistakes(path)[0] == "FILE:1: the columns are not separated by commas"
    path.write_text(f'{HEADER}\n"20,30', encoding="utf-8")
    assert mistakes(path)[0].startswith("FILE:2: this is no CSV: ")
    path.write_bytes("größe".encode("latin-1"))
    with pytest.raises(FileError, match="not UTF-8"):
        read_norms(path)
    with pytest.raises(FileError, match="cannot be read"):
        read_norms(tmp_path / "none.csv")
    with pytest.raises(FileError, match="cannot be read"):
        read_norms(tmp_path)


# ---------------------------------------------------------------- looking up


def test_a_power_by_ln(norms: Norms) -> None:
    found = norms.lookup("power", ["Pz"], (8.0, 12.0), "closed", 25.0)
    assert (found.mean, found.sd, found.scale, found.transform) == (2.5, 0.8, "ln", "ln")
    assert found.n == 101
    assert found.row is norms.rows[0]
    assert found.z(math.exp(2.5 + 1.6)) == pytest.approx(2.0)
    assert math.isnan(found.z(0.0))
    assert math.isnan(found.z(math.nan))


def test_log10_becomes_ln(norms: Norms) -> None:
    found = norms.lookup("power", ["Pz"], (8.0, 12.0), "open", 25.0)
    assert found.mean == pytest.approx(0.5 * math.log(10.0))
    assert found.sd == pytest.approx(0.2 * math.log(10.0))
    assert found.transform == "log10"
    # One SD above a median of 10^0.5 µV² is 10^0.7 µV², by either logarithm.
    assert found.z(10.0**0.7) == pytest.approx(1.0)


def test_a_linear_kind_stays_as_it_is(norms: Norms) -> None:
    found = norms.lookup("coherence", ["T8", "T7"], (8.0, 12.0), "open", 20.0)
    assert (found.mean, found.sd, found.scale) == (0.1, 0.05, "linear")
    assert found.z(0.2) == pytest.approx(2.0)
    assert found.z(-0.4) == pytest.approx(-10.0)


def test_ratios_and_shares_need_both_bands(norms: Norms) -> None:
    theta, beta = (4.0, 8.0), (13.0, 21.0)
    assert norms.lookup("ratio", ["Cz"], theta, "open", 20.0, over_hz=beta).mean == 0.6
    assert norms.lookup("ratio", ["Cz"], theta, "open", 20, over_hz=beta, over_sites=["CZ"]).n == 50
    with pytest.raises(InputError, match=r"4-8 Hz over 13-30 Hz; it has 4-8 Hz over 13-21 Hz"):
        norms.lookup("ratio", ["Cz"], theta, "open", 20.0, over_hz=(13.0, 30.0))
    share = norms.lookup("relative_power", ["Cz"], (12.0, 15.0), "open", 20.0, over_hz=(1.0, 40.0))
    assert share.mean == -2.9
    with pytest.raises(InputError, match=r"12-15 Hz; it has 12-15 Hz over 1-40 Hz"):
        norms.lookup("relative_power", ["Cz"], (12.0, 15.0), "open", 20.0)


def test_a_ratio_of_one_band_at_two_sites(tmp_path: Path) -> None:
    found = read_norms(table(tmp_path, "20,30,open,F4/F3,ratio,8,12,0.1,1,ln,8,12,,"))
    band = (8.0, 12.0)
    norm = found.lookup("ratio", ["F4"], band, "open", 20, over_hz=band, over_sites=["F3"])
    assert norm.mean == 0.1


def test_an_asymmetry_has_a_direction(norms: Norms) -> None:
    band = (8.0, 12.0)
    assert norms.lookup("log_ratio", ["F4"], band, "open", 20.0, over_sites=["F3"]).mean == 0.02
    with pytest.raises(InputError, match=r"for log_ratio with F3/F4; it has F4/F3"):
        norms.lookup("log_ratio", ["F3"], band, "open", 20.0, over_sites=["F4"])


def test_ages_reach_up_to_but_not_including_the_upper_one(norms: Norms) -> None:
    def mean(age_years: float) -> float:
        return norms.lookup("power", ["Pz"], (8.0, 12.0), "closed", age_years).mean

    assert (mean(20.0), mean(29.9), mean(30.0), mean(39.9)) == (2.5, 2.5, 2.4, 2.4)
    for age_years in (19.9, 40.0, math.nan):
        with pytest.raises(InputError, match="20 to below 30 years, 30 to below 40 years"):
            mean(age_years)


@pytest.mark.parametrize(
    ("question", "there"),
    [
        (("plv", ["Pz"], (8.0, 12.0), "closed", 25), "no norm with plv; it has power, ratio, "),
        (("power", ["Oz"], (8.0, 12.0), "closed", 25), "for power with Oz; it has Pz"),
        (("power", ["Pz"], (8.0, 13.0), "closed", 25), "for power, Pz with 8-13 Hz; it has 8-12"),
        (("power", ["Pz", "P3"], (8.0, 12.0), "open", 25), "with Pz+P3; it has Pz"),
        (("ratio", ["Cz"], (4.0, 8.0), "open", 25), "with 4-8 Hz; it has 4-8 Hz over 13-21 Hz"),
        (("coherence", ["T7", "T8"], (8.0, 12.0), "closed", 25), "eyes closed; it has eyes open"),
    ],
)
def test_what_there_is_instead_is_named(norms: Norms, question: tuple, there: str) -> None:
    with pytest.raises(InputError) as caught:
        norms.lookup(*question)
    assert there in caught.value.what
    assert norms.file in caught.value.what
    assert "own baseline" in caught.value.fix


def test_two_references_are_no_answer(tmp_path: Path) -> None:
    two = read_norms(
        table(tmp_path, PLAIN.replace(",,,,", ",,,ears,"), PLAIN.replace(",,,,", ",,,average,"))
    )
    question = ("power", ["Cz"], (8.0, 12.0), "open", 25.0)
    with pytest.raises(InputError, match=r"ears \(line 2\), average \(line 3\)"):
        two.lookup(*question)
    assert two.lookup(*question, reference="Average").row.line == 3
    with pytest.raises(InputError, match="reference mastoids; it has reference ears, reference av"):
        two.lookup(*question, reference="mastoids")


def test_long_lists_are_cut(norms: Norms) -> None:
    many = replace(
        norms, rows=tuple(replace(norms.rows[0], band_hz=(f, f + 1.0)) for f in range(1, 31))
    )
    with pytest.raises(InputError, match=r"12-13 Hz and 18 more"):
        many.lookup("power", ["Pz"], (8.0, 12.0), "closed", 25.0)


# ---------------------------------------------------------------- in a protocol

PROTOCOL = """\
format: 1
name: made_up
title: Made up
evidence: {grade: X, summary: None., refs: [None]}
summary: Trains nothing.
needs: {channels: [Cz], rate: at least 140 Hz}
condition: {reference: [average, as recorded], high_pass: 1 Hz, mains: notch}
features:
  theta: {kind: power, at: [Cz], band: 4-8 Hz, fit: fixed}
  beta: {kind: power, at: [Cz], band: 13-21 Hz, fit: fixed}
  tbr: {kind: ratio, of: [theta, beta]}
  share: {kind: relative_power, at: [Cz], band: 12-15 Hz}
  tbr_z: {kind: z, of: [tbr], norms: made_up.csv}
  share_z: {kind: z, of: [share], norms: made_up.csv}
baseline:
  - {name: eyes_closed, lasts: 120 s, eyes: closed, for: [iaf]}
  - {name: eyes_open, lasts: 120 s, eyes: open, learn: [theta, beta, tbr]}
reward: {feature: tbr_z, below: {fixed: 0}, sustain: 0.5 s, refractory: 2 s}
feedback: {level: {feature: tbr_z, from: {fixed: 2}, to: {fixed: -2}}, picture: bar}
session: [baseline, {train: 60 s, eyes: open}]
"""


def loaded(tmp_path: Path, text: str, age_years: float | None) -> Loaded:
    path = tmp_path / "made_up.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, FEATURES, pictures=PICTURES, sounds=SOUNDS, age_years=age_years)


def test_a_protocol_gets_mean_and_sd_of_its_table(tmp_path: Path) -> None:
    table(tmp_path, *ROWS)
    features = loaded(tmp_path, PROTOCOL, 25.0).protocol.features
    assert features["tbr_z"].norm == (0.6, 0.4)
    assert features["share_z"].norm == (-2.9, 0.3)
    assert loaded(tmp_path, PROTOCOL, None).protocol.features["tbr_z"].norm is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("made_up.csv}\n  share_z", "none.csv}\n  share_z", "none.csv cannot be read"),
        ("band: 4-8 Hz", "band: 4-7 Hz", "with 4-7 Hz over 13-21 Hz; it has 4-8 Hz over 13-21 Hz"),
        ("{train: 60 s, eyes: open}", "{train: 60 s, eyes: closed}", "with eyes closed; it has"),
        (
            "{train: 60 s, eyes: open}",
            "{train: 60 s, eyes: open}, {train: 60 s, eyes: closed}",
            "the training blocks have both",
        ),
        ("band: 13-21 Hz, fit: fixed", "band: iaf+3 .. iaf+11", "norms hold for fixed bands"),
        ("band: 4-8 Hz, fit: fixed", "band: 4-8 Hz, spatial: ssd", "norms are of sites"),
    ],
)
def test_what_a_table_cannot_give_is_told_at_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    table(tmp_path, *ROWS)
    assert old in PROTOCOL
    with pytest.raises(YamlError) as caught:
        loaded(tmp_path, PROTOCOL.replace(old, new), 25.0)
    lines = [p.line for p in caught.value.problems if told in p.what]
    assert lines, str(caught.value)
    assert all("norms:" in PROTOCOL.splitlines()[n - 1] for n in lines)


def test_a_bad_table_is_told_without_an_age_too(tmp_path: Path) -> None:
    table(tmp_path, "20,30,open,Cz,power,8,12,2.5,0,ln,,,,")
    with pytest.raises(InputError, match=r"made_up\.csv:2: `sd` is 0"):
        loaded(tmp_path, PROTOCOL, None)


# ---------------------------------------------------------------- with the rest of the house


def test_every_metric_is_a_kind_of_feature_that_a_z_compares() -> None:
    assert set(METRICS) <= FEATURES["z"].parts


def test_no_table_comes_with_neuroloop() -> None:
    """Norms belong to those who measured them (science: P12)."""
    repo = Path(__file__).resolve().parents[2]
    packages = ("engine", "protocols", "feedback", "configs", "docs")
    assert [p for name in packages for p in (repo / name).rglob("*.csv")] == []


def test_the_document_shows_the_format(tmp_path: Path) -> None:
    """The example of docs/norms.md is a table that is read."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "norms.md").read_text(encoding="utf-8")
    path = tmp_path / "example.csv"
    path.write_text(text.split("```csv\n")[1].split("```")[0], encoding="utf-8")
    assert len(read_norms(path).rows) >= 4
    for word in (*REQUIRED, *OPTIONAL, *METRICS):
        assert f"`{word}`" in text, word
