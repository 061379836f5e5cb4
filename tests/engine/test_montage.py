"""Electrode names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import MontageError
from engine.montage import ALIASES, KINDS, clean_label, find_site, is_site, kind_of


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Oz..", "Oz"),  # PhysioNet fills labels with dots
        ("OZ", "Oz"),
        ("FP1", "Fp1"),
        ("fcz", "FCz"),
        ("  cz\t", "Cz"),
        ("Cz\x00\x00", "Cz"),
        ("EEG O1", "O1"),
        ("EEG FP1-Ref", "Fp1"),
        ("EEG T3-LE", "T3"),
        ("EEG C3-A2", "C3"),
        ("O1_Ref", "O1"),
        ("EEG F7-REF ", "F7"),
        ("AFF1H", "AFF1h"),
        ("POO10h", "POO10h"),
        ("A1-A2", "A1-A2"),
        ("m1-Ref", "M1"),
        ("F3-C3", "F3-C3"),
        ("EEG FP1-F7", "Fp1-F7"),
        ("EEG 001", "EEG 001"),
        ("EEG", "EEG"),
        ("HEOG", "HEOG"),
        ("Xy7", "Xy7"),
        ("", ""),
        (" .. ", ""),
    ],
)
def test_clean_label(label: str, name: str) -> None:
    assert clean_label(label) == name


@given(st.text(max_size=40))
def test_clean_label_is_idempotent_and_printable(label: str) -> None:
    once = clean_label(label)
    assert clean_label(once) == once
    assert once.isprintable() or once == ""
    assert kind_of(label, "EEG") in KINDS


def test_aliases_go_both_ways() -> None:
    assert ALIASES["T3"] == "T7"
    assert all(ALIASES[ALIASES[name]] == name for name in ALIASES)
    assert all(is_site(name) for name in ALIASES)


def test_find_site() -> None:
    names = ("Fp1", "T3", "P8", "EEG OZ-Ref")
    assert find_site("Fp1", names) == 0
    assert find_site("fp1", names) == 0
    assert find_site("T7", names) == 1  # by its old name
    assert find_site("T6", names) == 2
    assert find_site("Oz", names) == 3
    assert find_site("Pz", names) is None
    assert find_site("T7", ("T3", "T7")) == 1  # its own name before an alias


def test_find_site_refuses_two_columns_of_one_name() -> None:
    with pytest.raises(MontageError, match=r"Columns 1 and 3 .* both called Fz") as caught:
        find_site("Fz", ("Fz", "Cz", "FZ"))
    assert caught.value.fix
    assert find_site("Cz", ("Fz", "Cz", "FZ")) == 1


@pytest.mark.parametrize(
    ("label", "declared", "kind"),
    [
        ("Cz", "EEG", "eeg"),
        ("Cz", "", "eeg"),
        ("E12", "EEG", "eeg"),
        ("E12", "", "misc"),
        ("Fp1", "EOG", "eog"),
        ("HEOG", "EEG", "eog"),
        ("EKG", "", "ecg"),
        ("ECG II", "EEG", "ecg"),
        ("EMG chin", "EEG", "emg"),
        ("ACC_X", "EEG", "accelerometer"),
        ("gyroX", "", "accelerometer"),
        ("Sample Counter", "EEG", "counter"),
        ("CNT", "EEG", "counter"),
        ("TRIGGER", "EEG", "trigger"),
        ("STI 014", "", "trigger"),
        ("x", "stim", "trigger"),
        ("AUX1", "EEG", "misc"),
        ("C3", "A", "misc"),
        ("Battery", "EEG", "misc"),
    ],
)
def test_kind_of(label: str, declared: str, kind: str) -> None:
    assert kind_of(label, declared) == kind
