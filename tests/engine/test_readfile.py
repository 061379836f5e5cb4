"""Every file people bring: read as it is, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import welch

from engine.errors import FileError
from engine.readfile import EegFile, read_eeg, stamp_gaps

# path: rate, columns, EEG columns, samples, has stamps, least markers, a note that must be there
EXPECTED = {
    "eegbci/S001R01.edf": (160, 64, 64, 9760, False, 1, ""),
    "eegbci/S001R02.edf": (160, 64, 64, 9760, False, 1, ""),
    "eegbci/S002R01.edf": (160, 64, 64, 9760, False, 1, ""),
    "eegbci/S002R02.edf": (160, 64, 64, 9760, False, 1, ""),
    "eeglab/eeglab_data.set": (128, 32, 30, 30504, False, 154, ""),
    "eegmat/Subject03_1.edf": (500, 21, 19, 91000, False, 0, ""),
    "eegmat/Subject03_2.edf": (500, 21, 19, 31000, False, 0, ""),
    "eegmat/Subject10_1.edf": (500, 21, 19, 94000, False, 0, ""),
    "eegmat/Subject10_2.edf": (500, 21, 19, 31000, False, 0, ""),
    "eegmat/Subject19_1.edf": (500, 21, 19, 91000, False, 0, ""),
    "eegmat/Subject19_2.edf": (500, 21, 19, 31000, False, 0, ""),
    "muse/doing-dishes.edf": (256, 6, 6, 179456, False, 0, "Flat from beginning to end: ch5, ch6"),
    "muse/n170-timestamp-gaps.csv": (256, 6, 4, 30732, True, 190, "5 gaps over 20 ms"),
    "muse/p300-subject2.csv": (256, 6, 4, 30732, True, 190, "Muse"),
    "odd/139-channels-6s.edf": (512, 139, 138, 3072, False, 5, ""),
    "odd/16ch-no-alpha.edf": (256, 16, 16, 15360, False, 0, ""),
    "odd/labels-a1-a16.bdf": (256, 17, 16, 15360, False, 0, "does not match the file size"),
    "openbci/blinks-jawclench-alpha.txt": (250, 23, 8, 22490, True, 0, "have no label"),
    "restingiaf/tute_01_1.set": (250, 6, 6, 30001, False, 2, ""),
    "restingiaf/tute_01_2.set": (250, 6, 6, 30001, False, 1, ""),
    "xdf/clock_resets.xdf": (100, 8, 8, 27815, True, 175, "jump back"),
    "xdf/minimal.xdf": (10, 3, 3, 9, True, 9, "have no label"),
    "xdf/obci-unlabelled.xdf": (1000, 8, 8, 9520, True, 0, "Effective rate 999.20 Hz"),
    "xdf/ssvep_example.xdf": (300, 8, 7, 33002, True, 258, "in bursts"),
    "xdf/switch_example.xdf": (256, 16, 16, 34320, True, 652, ""),
    "xdf/t1-run-003.xdf": (256, 16, 16, 38400, True, 749, ""),
    "yasa/resting-eo-200hz_raw.fif": (200, 2, 2, 72000, False, 0, ""),
}
REFUSED = "odd/corrupt-utf8-reencoded.edf"


def column(eeg: EegFile, name: str) -> np.ndarray:
    return eeg.samples[:, eeg.spec.names.index(name)]


def test_no_file_of_the_shared_data_is_forgotten(shared_data: Path) -> None:
    beside = {".fdt", ".md"}
    there = {
        p.relative_to(shared_data).as_posix()
        for p in shared_data.rglob("*")
        if p.is_file() and p.suffix not in beside
    }
    assert there == {*EXPECTED, REFUSED}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_file_is_read_as_it_is(shared_data: Path, name: str) -> None:
    rate_hz, columns, eeg_columns, samples, has_stamps, markers, note = EXPECTED[name]
    eeg = read_eeg(shared_data / name)
    assert eeg.spec.rate_hz == rate_hz
    assert eeg.samples.shape == (samples, columns)
    assert eeg.samples.dtype == np.float64
    assert not eeg.samples.flags.writeable
    assert len(eeg.spec.channels) == columns
    assert len(set(eeg.spec.names)) == columns
    assert sum(c.kind == "eeg" for c in eeg.spec.channels) == eeg_columns
    assert all(c.to_uv == 1.0 for c in eeg.spec.channels)
    assert (eeg.stamps is not None) is has_stamps
    assert eeg.stamps is None or eeg.stamps.shape == (samples,)
    assert len(eeg.markers) >= markers
    assert list(eeg.markers) == sorted(eeg.markers)
    assert any(note in n for n in eeg.notes) or not note
    assert all(n.endswith((".", "...")) for n in eeg.notes)
    assert eeg.seconds == pytest.approx(samples / rate_hz)


def test_labels_with_dots_prefixes_and_derivations_become_sites(shared_data: Path) -> None:
    bci = read_eeg(shared_data / "eegbci/S001R01.edf").spec
    assert {"Oz", "Fp1", "FCz", "Iz"} <= set(bci.names)
    assert bci.channels[bci.names.index("Oz")].label == "Oz.."
    mat = read_eeg(shared_data / "eegmat/Subject03_1.edf").spec
    assert {"O1", "F3", "T3"} <= set(mat.names)
    assert {c.name: c.kind for c in mat.channels if c.kind != "eeg"} == {
        "A2-A1": "misc",
        "ECG ECG": "ecg",
    }
    yasa = read_eeg(shared_data / "yasa/resting-eo-200hz_raw.fif").spec
    assert yasa.names == ("F4", "Cz")
    assert [c.label for c in yasa.channels] == ["F4-A1", "CZ-A2"]


def test_values_are_the_microvolts_of_the_file(shared_data: Path) -> None:
    # EDF: decoded here from its own bytes, int16 with the header's scaling.
    path = shared_data / "eegbci/S001R02.edf"
    data = path.read_bytes()
    n = int(data[252:256])

    def field(before: int, width: int, i: int) -> str:
        start = 256 + n * before + width * i
        return data[start : start + width].decode("latin-1").strip()

    i = 5
    low, high = float(field(104, 8, i)), float(field(112, 8, i))
    dig_low, dig_high = float(field(120, 8, i)), float(field(128, 8, i))
    per_record = [int(field(216, 8, k)) for k in range(n)]
    raw = np.frombuffer(data[int(data[184:192]) :], dtype="<i2").reshape(-1, sum(per_record))
    start = sum(per_record[:i])
    digital = raw[:, start : start + per_record[i]].ravel().astype(float)
    physical = (digital - dig_low) * (high - low) / (dig_high - dig_low) + low
    assert field(96, 8, i) == "uV"
    eeg = read_eeg(path)
    assert eeg.samples[:, i] == pytest.approx(physical[: len(eeg.samples)], abs=1e-6)


def test_text_values_are_those_written(shared_data: Path) -> None:
    openbci = read_eeg(shared_data / "openbci/blinks-jawclench-alpha.txt")
    assert openbci.spec.names[:9] == ("Sample Index", *(f"ch{i}" for i in range(1, 9)))
    assert openbci.spec.channels[0].kind == "counter"
    assert openbci.samples[0, 1:4] == pytest.approx([61379.36, 49492.89, -16597.06], abs=1e-9)
    assert {c.unit for c in openbci.spec.channels if c.kind == "eeg"} == {"microvolts"}
    assert openbci.spec.channels[9].kind == "accelerometer"
    assert openbci.stamps is not None
    assert openbci.stamps[0] == 1557936053.329
    muse = read_eeg(shared_data / "muse/n170-timestamp-gaps.csv")
    assert muse.samples[0, :4] == pytest.approx([34.668, 32.715, 29.297, 14.160], abs=1e-9)
    assert muse.stamps is not None
    assert muse.stamps[0] == 149958.124
    assert {c.name: c.kind for c in muse.spec.channels if c.kind != "eeg"} == {
        "Right AUX": "misc",
        "Marker0": "trigger",
    }


def test_trigger_columns_keep_their_numbers(shared_data: Path) -> None:
    bdf = read_eeg(shared_data / "odd/labels-a1-a16.bdf")
    status = bdf.spec.channels[-1]
    assert (status.name, status.kind, status.unit) == ("Status", "trigger", "")
    assert np.array_equal(column(bdf, "Status"), np.round(column(bdf, "Status")))
    assert np.abs(column(bdf, "Status")).max() < 2**24
    xdf = read_eeg(shared_data / "xdf/ssvep_example.xdf")
    assert {c.name: c.kind for c in xdf.spec.channels}["TRG"] == "trigger"


def test_xdf_keeps_raw_stamps_and_places_markers(shared_data: Path) -> None:
    eeg = read_eeg(shared_data / "xdf/switch_example.xdf")
    assert eeg.spec.name == "g.USBamp-1"
    assert eeg.spec.source_id == "gUSBamp_1_UB-2016.05.45"
    assert eeg.spec.host == "DESKTOP-0CDR8QE"
    assert eeg.spec.dtype == "float32"
    assert eeg.stamps is not None
    assert eeg.stamps[0] == pytest.approx(1222188.23158545, abs=1e-7)
    unity = [t for t, text in eeg.markers if "ping" not in text]
    assert unity[0] == pytest.approx(1222198.608213 - 1222188.23158545, abs=1e-3)
    assert unity[0] < eeg.seconds


def test_a_file_without_units_says_so(shared_data: Path) -> None:
    eeg = read_eeg(shared_data / "xdf/obci-unlabelled.xdf")
    assert {c.unit for c in eeg.spec.channels} == {""}
    assert any("no unit of voltage" in n for n in eeg.notes)
    assert eeg.spec.names == tuple(f"ch{i}" for i in range(1, 9))


def test_alpha_of_closed_eyes_is_found_in_the_real_recording(shared_data: Path) -> None:
    def alpha(name: str) -> float:
        eeg = read_eeg(shared_data / name)
        x = np.column_stack([column(eeg, s) for s in ("O1", "Oz", "O2")])
        f, density = welch(x, eeg.spec.rate_hz, nperseg=640, axis=0)
        return float(density[(f >= 8) & (f <= 13)].mean())

    assert alpha("eegbci/S001R02.edf") / alpha("eegbci/S001R01.edf") == pytest.approx(13.3, rel=0.1)


# ---------------------------------------------------------------- refused


def test_a_reencoded_edf_is_refused_with_a_sentence(shared_data: Path) -> None:
    with pytest.raises(FileError, match="re-encoded as UTF-8 text") as caught:
        read_eeg(shared_data / REFUSED)
    assert "Copy the original" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.edf", b"", "is empty"),
        ("nonsense.edf", b"hello, this is no EDF" * 50, "cannot be read"),
        ("nonsense.fif", b"\x00\x01" * 500, "cannot be read"),
        ("nonsense.set", b"\x00\x01" * 500, "cannot be read"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(500), "cannot be read"),
        ("unknown", b"what is this", "cannot be read"),
        ("cut.xdf", b"XDF:\x01\x05\x02\x00", "holds nothing"),
        ("list.csv", b"a,b,c\n1,2,3\n", "without a column `timestamps`"),
        ("none.csv", b"timestamps,TP9,AF7,AF8,TP10\n", "holds no samples"),
        ("words.csv", b"timestamps,TP9,AF7\n0.0,x,1\n0.1,y,2\n0.2,z,3\n", "no number"),
        ("slow.csv", b"timestamps,Cz\n0,1\n0.5,2\n1.0,3\n", "no amplifier's rate"),
        ("odd.csv", b"timestamps,Cz\n0,\xff\n", "no text in UTF-8"),
        ("head.txt", b"%OpenBCI Raw EXG Data\n%Sample Rate = 250 Hz\n", "no complete OpenBCI"),
    ],
)  # fmt: skip
def test_what_is_no_eeg_is_refused(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=said) as caught:
        read_eeg(path)
    assert caught.value.fix
    assert name in caught.value.what


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="There is no file"):
        read_eeg(tmp_path / "nobody.edf")


def test_an_edf_cut_short_is_read_as_far_as_it_goes(shared_data: Path, tmp_path: Path) -> None:
    data = (shared_data / "eegmat/Subject03_2.edf").read_bytes()
    path = tmp_path / "cut.edf"
    path.write_bytes(data[: len(data) // 2])
    eeg = read_eeg(path)
    assert 10_000 < len(eeg.samples) < 31_000
    assert any("file size" in n for n in eeg.notes)


def test_an_old_openbci_file_without_titles_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    rows = "\n".join(f"{i % 256}, {i}.5, -{i}.25, 0.1, 0.2, 0.3" for i in range(600) if i != 300)
    head = "%OpenBCI Raw EEG Data\n%\n%Number of channels = 2\n%Sample Rate = 250.0 Hz\n"
    path.write_text(head + rows + "\n12, 3.0", encoding="utf-8")
    eeg = read_eeg(path)
    assert eeg.spec.names[:3] == ("Sample Index", "ch1", "ch2")
    assert eeg.samples[7, 1:3] == pytest.approx([7.5, -7.25])
    assert eeg.stamps is None
    assert any("1 incomplete lines" in n for n in eeg.notes)
    assert any("1 samples are missing, in 1 gaps" in n for n in eeg.notes)


def test_a_csv_of_another_device_takes_its_rate_from_the_stamps(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    rows = "\n".join(f"{i / 250:.4f},{i},{-i},0" for i in range(500))
    path.write_text("timestamps,Cz,Cz,Marker\n" + rows, encoding="utf-8")
    eeg = read_eeg(path)
    assert eeg.spec.rate_hz == 250
    assert eeg.spec.names == ("Cz", "Cz-2", "Marker")
    assert any("second 'Cz'" in n for n in eeg.notes)


def test_gaps_are_found_but_not_between_packets() -> None:
    even = np.arange(1000) / 250
    gap = even + np.where(np.arange(1000) >= 400, 0.5, 0.0)
    assert stamp_gaps(even, 250.0) == ()
    assert stamp_gaps(gap, 250.0) == (400,)
    packets = np.repeat(np.arange(100) * 0.04, 10)
    assert stamp_gaps(packets, 250.0) is None
