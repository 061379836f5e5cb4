"""XDF 1.0 as its specification writes it, and as other programs write it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import pyxdf
from hypothesis import given
from hypothesis import strategies as st

from engine import xdf

DATA = Path(__file__).parents[3] / "shared" / "data" / "xdf"


@pytest.mark.parametrize(
    ("number", "raw"),
    [
        (0, b"\x01\x00"),
        (255, b"\x01\xff"),
        (256, b"\x04\x00\x01\x00\x00"),
        (1 << 32, b"\x08" + struct.pack("<Q", 1 << 32)),
    ],
)
def test_lengths_take_one_four_or_eight_bytes(number: int, raw: bytes) -> None:
    assert xdf.varint(number) == raw


def test_a_boundary_is_the_specified_mark() -> None:
    assert xdf.boundary() == bytes.fromhex("01120500") + xdf.BOUNDARY
    assert len(xdf.BOUNDARY) == 16


def test_text_that_xml_cannot_carry_is_replaced() -> None:
    assert xdf.xml_safe("a<&>\x00\ud800\u00e9") == "a&lt;&amp;&gt;\ufffd\ufffd\u00e9"


def header(stream: int, columns: int, form: str) -> bytes:
    layout = xdf.Layout(columns, form)
    return xdf.stream_header(stream, name="n", stype="t", layout=layout, rate_hz=100.0)


numeric = st.sampled_from([*xdf.FORMATS])


@given(form=numeric, rows=st.integers(1, 40), columns=st.integers(1, 5), seed=st.integers(0, 99))
def test_numbers_come_back(form: str, rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 60, (rows, columns)).astype(xdf.FORMATS[form])
    stamps = rng.normal(0, 1e6, rows)
    raw = xdf.MAGIC + header(1, columns, form)
    raw += xdf.samples_chunk(1, xdf.numbers(stamps, values))
    found = xdf.scan(raw)
    assert found.holes == []
    t, v = xdf.read_numbers(raw, found.pieces[1], found.layouts[1], 0.0, 0.01)
    np.testing.assert_array_equal(t, stamps)
    np.testing.assert_array_equal(v, values)
    assert v.dtype == values.dtype


@given(rows=st.lists(st.text(max_size=300), min_size=1, max_size=9))
def test_texts_come_back(rows: list[str]) -> None:
    rows = [row.encode("utf-8", "replace").decode() for row in rows]
    raw = xdf.MAGIC + header(1, 1, "string")
    raw += xdf.samples_chunk(1, xdf.texts(range(len(rows)), rows))
    found = xdf.scan(raw)
    got = list(xdf.read_texts(raw, found.pieces[1]))
    assert got == [(float(k), row) for k, row in enumerate(rows)]


def test_rows_without_a_stamp_follow_the_nominal_rate() -> None:
    row = struct.pack("<f", 2.0)
    content = xdf.varint(3) + b"\x08" + struct.pack("<d", 5.0) + row + b"\x00" + row + b"\x00" + row
    raw = xdf.MAGIC + header(1, 1, "float32") + xdf.samples_chunk(1, content)
    found = xdf.scan(raw)
    t, v = xdf.read_numbers(raw, found.pieces[1], found.layouts[1], 0.0, 0.01)
    np.testing.assert_allclose(t, [5.0, 5.01, 5.02])
    assert v[:, 0].tolist() == [2.0] * 3


@given(noise=st.binary(max_size=400))
def test_no_bytes_upset_the_scan(noise: bytes) -> None:
    start = xdf.MAGIC + header(1, 2, "int16")
    found = xdf.scan(start + noise)
    end = len(start)
    for part in sorted([*found.pieces[1:], *found.holes], key=lambda p: p.start):
        assert part.start == end  # every byte belongs to one chunk or one hole
        end = part.end
    assert end == len(start + noise)


def test_what_is_no_xdf_is_refused() -> None:
    for raw in (b"", b"XDF", b"RIFF...."):
        with pytest.raises(ValueError):
            xdf.scan(raw)


@pytest.mark.parametrize("name", ["minimal.xdf", "switch_example.xdf", "clock_resets.xdf"])
def test_files_of_other_writers_scan_without_a_hole(name: str) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip("the example recordings are not beside this checkout")
    raw = path.read_bytes()
    found = xdf.scan(raw)
    assert found.holes == []
    streams, _ = pyxdf.load_xdf(path, synchronize_clocks=False, dejitter_timestamps=False)
    for stream in streams:
        ident = stream["info"]["stream_id"]
        pieces = [p for p in found.pieces if p.tag == xdf.Tag.SAMPLES and p.stream == ident]
        assert sum(p.rows for p in pieces) == len(stream["time_stamps"])
        layout = found.layouts[ident]
        if layout.format != "string" and pieces:
            step = 1 / float(stream["info"]["nominal_srate"][0] or 1)
            last, parts = 0.0, []
            for piece in pieces:
                t, v = xdf.read_numbers(raw, piece, layout, last, step)
                parts.append(v)
                last = float(t[-1]) if len(t) else last
            np.testing.assert_array_equal(np.concatenate(parts), stream["time_series"])
