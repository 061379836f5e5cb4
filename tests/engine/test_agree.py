"""What a stream promises and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine.agree import (
    Column,
    Seen,
    describe,
    differences,
    found,
    read_columns,
    renamed,
    shown,
    to_uv,
)
from engine.errors import StreamError
from engine.frames import StreamSpec


@dataclass(frozen=True)
class RoomStream:
    """What a room says of its stream."""

    name: str | None = None
    stype: str | None = "EEG"
    source_id: str | None = None
    channels: tuple[str, ...] | None = None
    unit: str | None = None
    not_eeg: tuple[str, ...] = ()
    counter: str | None = None
    rate_hz: float | None = None


def seen(*labels: str, unit: str = "microvolts", ctype: str = "EEG", **changes: object) -> Seen:
    columns = tuple(Column(label, ctype, unit) for label in labels)
    stream = Seen(
        name="amp",
        stype="EEG",
        source_id="serial 7",
        uid="uid-1",
        host="amp-pc",
        rate_hz=250.0,
        n_channels=len(labels),
        dtype="float32",
        columns=columns,
    )
    return replace(stream, **changes)  # type: ignore[arg-type]


# ---------------------------------------------------------------- describe


def test_a_plain_stream_is_described() -> None:
    spec = describe(seen("EEG FP1-Ref", "Oz..", "TRIGGER"))
    assert spec.names == ("Fp1", "Oz", "TRIGGER")
    assert [c.kind for c in spec.channels] == ["eeg", "eeg", "trigger"]
    assert [c.label for c in spec.channels] == ["EEG FP1-Ref", "Oz..", "TRIGGER"]
    assert (spec.name, spec.source_id, spec.uid, spec.host) == (
        "amp",
        "serial 7",
        "uid-1",
        "amp-pc",
    )
    assert (spec.rate_hz, spec.dtype) == (250.0, "float32")
    assert renamed(spec) == ("'EEG FP1-Ref' is used as Fp1.", "'Oz..' is used as Oz.")


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("microvolts", 1.0),
        ("microvolt", 1.0),
        ("uV", 1.0),
        ("UV", 1.0),
        ("\u00b5V", 1.0),
        ("\u03bcV", 1.0),
        (" uV ", 1.0),
        ("V", 1e6),
        ("volts", 1e6),
        ("mV", 1e3),
        ("Millivolts", 1e3),
        ("nV", 1e-3),
        ("-6", 1.0),
    ],
)
def test_units(unit: str, factor: float) -> None:
    assert to_uv(unit) == factor
    assert describe(seen("Cz", unit=unit)).channels[0].to_uv == factor


@pytest.mark.parametrize("unit", ["banana", "MV", "0", "counts", "none", "uV/s"])
def test_unknown_units_are_refused(unit: str) -> None:
    assert to_uv(unit) is None
    with pytest.raises(StreamError, match="Unknown unit") as caught:
        describe(seen("Cz", "Pz", unit=unit))
    assert "columns 1, 2" in caught.value.what
    assert "`unit:`" in caught.value.fix


def test_undeclared_units_are_refused_until_the_room_states_them() -> None:
    stream = seen("Cz", "Pz", "AUX1", unit="")
    with pytest.raises(StreamError, match=r"No unit is declared for columns 1, 2\."):
        describe(stream)
    spec = describe(stream, RoomStream(unit="mV"))
    assert [c.to_uv for c in spec.channels] == [1e3, 1e3, 1.0]


def test_the_rooms_unit_overrides_a_wrong_declaration() -> None:
    spec = describe(seen("Cz", "ACC_X", unit="V"), RoomStream(unit="uV"))
    assert [c.to_uv for c in spec.channels] == [1.0, 1.0]
    assert [c.unit for c in spec.channels] == ["uV", "V"]


def test_the_room_names_the_columns_of_an_unlabelled_amplifier() -> None:
    stream = seen("", "", columns=())
    stream = replace(stream, n_channels=2)
    with pytest.raises(StreamError, match="no labels") as caught:
        describe(stream)
    assert "`channels:`" in caught.value.fix
    spec = describe(stream, RoomStream(channels=("CZ", "counter"), unit="uV"))
    assert spec.names == ("Cz", "counter")
    assert [c.kind for c in spec.channels] == ["eeg", "counter"]
    with pytest.raises(StreamError, match="names 3 channels, the stream has 2"):
        describe(stream, RoomStream(channels=("Cz", "Pz", "Oz"), unit="uV"))


def test_one_missing_label_or_one_missing_description_is_refused() -> None:
    with pytest.raises(StreamError, match=r"No label for column 2\."):
        describe(seen("Cz", " . ", "Pz"))
    with pytest.raises(StreamError, match="describes 2 of its 3 channels"):
        describe(seen("Cz", "Pz", n_channels=3))
    with pytest.raises(StreamError, match="did not answer"):
        describe(seen("Cz", columns=None))


def test_columns_that_the_room_knows_better() -> None:
    room = RoomStream(not_eeg=("A1", "ref2"), counter="Cnt")
    spec = describe(seen("Cz", "A1", "REF2", "CNT"), room)
    assert [c.kind for c in spec.channels] == ["eeg", "misc", "misc", "counter"]
    for wrong in (RoomStream(not_eeg=("X9",)), RoomStream(counter="X9")):
        with pytest.raises(StreamError, match="'X9', which the stream does not have") as caught:
            describe(seen("Cz", "A1"), wrong)
        assert "Cz, A1" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dtype": "string"}, "string values, not numbers"),
        ({"rate_hz": 0.0}, "irregular"),
        ({"rate_hz": -250.0}, "impossible"),
        ({"rate_hz": float("nan")}, "impossible"),
        ({"rate_hz": float("inf")}, "impossible"),
        ({"rate_hz": 1e9}, "impossible"),
        ({"n_channels": 0}, "no channels"),
    ],
)
def test_streams_that_are_no_eeg_are_refused(changes: dict[str, object], sentence: str) -> None:
    stream = seen("Cz", **changes)
    with pytest.raises(StreamError, match=sentence):
        describe(stream)
    assert any(sentence in p for p in found([stream])[0].problems)


def test_an_unexpected_rate_is_refused() -> None:
    assert describe(seen("Cz"), RoomStream(rate_hz=250.0)).rate_hz == 250.0
    with pytest.raises(StreamError, match="rate is 250 Hz, the room expects 500 Hz"):
        describe(seen("Cz"), RoomStream(rate_hz=500.0))


# ---------------------------------------------------------------- found


def test_a_good_stream_has_no_problems() -> None:
    (good,) = found([seen("Cz", "Pz", "TRIGGER")])
    assert good.problems == ()


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (seen("Cz", stype="Markers"), "Its type is 'Markers', not 'EEG'."),
        (seen("Cz", source_id=""), "no source_id"),
        (seen("Cz", "CZ", "Pz"), "More than one channel is called Cz."),
        (seen("Cz", ""), "No label for column 2."),
        (seen("Cz", columns=()), "no labels"),
        (seen("Cz", columns=None), "did not answer"),
        (seen("Cz", unit=""), "No unit is declared for column 1."),
        (seen("Cz", unit="banana"), "Unknown unit 'banana' of column 1."),
        (seen("TRIGGER", "ACC"), "None of its channels is EEG."),
    ],
)
def test_problems_are_sentences(stream: Seen, sentence: str) -> None:
    problems = found([stream])[0].problems
    assert any(sentence in p for p in problems)
    assert all(p.endswith(".") for p in problems)


def test_twins_are_a_problem_of_both() -> None:
    results = found([seen("Cz"), seen("Cz", uid="uid-2"), seen("Cz", name="other", uid="uid-3")])
    assert ["twin" in " ".join(r.problems) for r in results] == [True, True, False]


# ---------------------------------------------------------------- hostile text


def test_foreign_text_is_shown_escaped_and_cut() -> None:
    assert shown("O'Brien <script> ../") == "O'Brien <script> ../"
    assert shown("a\x00b\x1b[31m\u202egpj\n") == "a\\x00b\\x1b[31m\\u202egpj\\n"
    assert len(shown("x" * 5000)) == 64
    assert shown("x" * 5000).endswith("…")
    assert len(shown("\x1b" * 5000)) == 64
    assert shown("x" * 64) == "x" * 64


def channels_xml(*inner: str) -> str:
    rows = "".join(f"<channel>{x}</channel>" for x in inner)
    return f'<?xml version="1.0"?><info><desc><channels>{rows}</channels></desc></info>'


def test_descriptions_are_read() -> None:
    xml = channels_xml(
        "<label>Cz</label><type>EEG</type><unit>&#181;V</unit>", "<label>O&apos;z</label>"
    )
    assert read_columns(xml) == (Column("Cz", "EEG", "\u00b5V"), Column("O'z", "", ""))
    assert read_columns("<info><desc/></info>") == ()


def test_control_characters_do_not_hide_a_description() -> None:
    (column,) = read_columns(channels_xml("<label>C\x01z&#2;&#x0b;</label>"))
    assert column.label == "C\ufffdz\ufffd\ufffd"


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "not xml",
        "<info><desc>",
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
        + channels_xml("<label>&b;</label>"),
        channels_xml("<label>Cz</label>").replace("</desc>", "x" * 1_000_001 + "</desc>"),
    ],
)
def test_broken_huge_and_treacherous_descriptions_count_as_none(xml: str) -> None:
    assert read_columns(xml) == ()


# ---------------------------------------------------------------- differences


def test_differences_are_readable_and_complete() -> None:
    agreed = describe(seen("Cz", "Pz", "Oz"))
    assert differences(agreed, replace(agreed, uid="another")) == ()
    assert differences(agreed, describe(seen("Cz", "Pz", "Oz", rate_hz=500.0))) == (
        "rate 250 Hz -> 500 Hz",
    )
    assert differences(agreed, describe(seen("Cz", "Oz", "Pz"))) == (
        "column 2 Pz -> Oz",
        "column 3 Oz -> Pz",
    )
    assert differences(agreed, describe(seen("Cz", "Pz", "Oz", unit="V")))[0] == (
        "column 1 unit microvolts -> V"
    )
    assert differences(agreed, describe(seen("Cz", "Fz"))) == (
        "channels 3 -> 2",
        "missing: Pz, Oz",
        "new: Fz",
    )
    assert differences(agreed, describe(seen("Cz", "Pz", "Oz", host="b", dtype="int16"))) == (
        "host amp-pc -> b",
        "number type float32 -> int16",
    )
    assert differences(agreed, describe(seen("Cz", "Pz", "Oz", ctype="EOG")))[0] == (
        "column 1 eeg -> eog"
    )


def test_many_differences_are_summed_up() -> None:
    names = [f"E{i}" for i in range(64)]
    a, b = describe(seen(*names)), describe(seen(*names[::-1]))
    lines = differences(a, b)
    assert len(lines) == 7
    assert lines[-1] == "and 58 more columns"


@pytest.mark.parametrize("field", ["name", "stype", "source_id", "host", "rate_hz", "dtype"])
def test_every_agreed_fact_is_compared(field: str) -> None:
    agreed = describe(seen("Cz"))
    value: object = 12.5 if field == "rate_hz" else "something else"
    changed: StreamSpec = replace(agreed, **{field: value})  # type: ignore[arg-type]
    assert len(differences(agreed, changed)) == 1
    assert np.isfinite(agreed.grid_hz)
