"""Which columns tell of eyes and of the head."""

from __future__ import annotations

import pytest

from engine.auxiliary import Accelerometer, Eyes, find_accelerometer, find_eyes
from engine.frames import Channel, StreamSpec
from engine.reference import choose_montage


def spec(*channels: tuple[str, str] | tuple[str, str, str]) -> StreamSpec:
    made = tuple(Channel(c[0], c[1], c[2] if len(c) > 2 else "uV", 1.0, c[0]) for c in channels)
    return StreamSpec("s", "EEG", "id", "uid", "host", 250.0, made)


def eyes(*names: str, eog: tuple[str, ...] = (), at: tuple[str, ...] | None = None) -> list[str]:
    s = spec(*((n, "eeg") for n in ("Cz", *names)), *((n, "eog") for n in eog))
    montage = choose_montage(s, ["Cz"], ["as recorded"])
    return [e.name for e in find_eyes(montage, at)]


def test_the_temples_and_what_is_not_vertical() -> None:
    assert eyes("F7", "F8") == ["F7-F8"]
    assert eyes("F7") == []
    assert eyes("F7", "F8", eog=("HEOG", "VEOG")) == ["F7-F8", "HEOG"]
    assert eyes(eog=("EOG",)) == ["EOG"]
    assert eyes(eog=("VEOG",)) == []


@pytest.mark.parametrize("pair", [("LOC", "ROC"), ("EOG L", "EOG R"), ("EOG-left", "EOG-right")])
def test_a_left_and_a_right_eog_are_one_trace(pair: tuple[str, str]) -> None:
    assert eyes(eog=pair) == ["-".join(pair)]


def test_what_the_protocol_names_is_used() -> None:
    assert eyes("AF7", "AF8", "F7", "F8", at=("AF7", "AF8")) == ["AF7-AF8"]
    assert eyes(eog=("HEOG",), at=("HEOG",)) == ["HEOG"]
    assert eyes("F7", "F8", at=("AF7", "AF8")) == []


def test_a_trace_knows_its_columns() -> None:
    s = spec(("counter", "counter"), ("F8", "eeg"), ("Cz", "eeg"), ("F7", "eeg"))
    montage = choose_montage(s, ["Cz"], ["as recorded"])
    assert find_eyes(montage) == (Eyes("F7-F8", 2, 0),)


def sensor(unit: str, names: tuple[str, ...] = ("acc_x", "acc_y", "acc_z")) -> StreamSpec:
    return spec(("Cz", "eeg"), *((n, "accelerometer", unit) for n in names))


@pytest.mark.parametrize(
    ("unit", "to_g"),
    [("g", 1.0), ("G", 1.0), ("mg", 1e-3), ("m/s^2", 0.10197162), ("m / s²", 0.10197162)],
)
def test_units_become_g(unit: str, to_g: float) -> None:
    found, why = find_accelerometer(sensor(unit))
    assert why == ""
    assert found is not None
    assert found.columns == (1, 2, 3)
    assert found.to_g == pytest.approx(to_g)


def test_what_cannot_be_used_is_said_and_what_is_not_there_is_not() -> None:
    assert find_accelerometer(spec(("Cz", "eeg"))) == (None, "")
    for unit in ("", "counts", "microvolts"):
        found, why = find_accelerometer(sensor(unit))
        assert found is None
        assert "unit" in why
    found, why = find_accelerometer(sensor("g", ("acc_x", "acc_y")))
    assert found is None
    assert "2 columns" in why


def test_a_gyroscope_beside_it_is_left_out() -> None:
    s = spec(
        *((f"gyro_{a}", "accelerometer", "deg/s") for a in "xyz"),
        *((f"acc_{a}", "accelerometer", "g") for a in "xyz"),
    )
    assert find_accelerometer(s) == (Accelerometer((3, 4, 5), 1.0), "")
    only = spec(*((f"gyro_{a}", "accelerometer", "deg/s") for a in "xyz"))
    assert find_accelerometer(only) == (None, "")
