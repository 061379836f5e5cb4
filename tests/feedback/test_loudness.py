"""A-weighting by its formula, loudness of sines, and the dose by WHO-ITU H.870."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback.loudness import (
    ADULT_WEEK_PA2H,
    CHILD_WEEK_PA2H,
    Dose,
    a_weighted_ms,
    a_weighting_db,
    dbfs,
    dose_pa2h,
    loudest_ms,
    loudness_ms,
)

RATE = 44100


def sine(hz: float, seconds: float, peak: float = 1.0) -> NDArray[np.float32]:
    wave = peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("hz", "db"),
    [(31.5, -39.5), (100.0, -19.1), (500.0, -3.2), (1000.0, 0.0), (2500.0, 1.3), (10000.0, -2.5)],
)
def test_a_weighting_as_in_the_standard(hz: float, db: float) -> None:
    """IEC 61672-1, table 3, by the exact formula: rounded there to a tenth of a dB."""
    assert float(a_weighting_db(hz)) == pytest.approx(db, abs=0.1)


def test_nothing_at_zero() -> None:
    assert float(a_weighting_db(0.0)) == -np.inf
    assert a_weighted_ms(np.ones((1000, 2)), RATE) == pytest.approx(0.0, abs=1e-12)
    assert dbfs(0.0) == -np.inf


@pytest.mark.parametrize("hz", [100.0, 1000.0, 5000.0])
def test_the_mean_square_of_a_sine(hz: float) -> None:
    block = sine(hz, 0.5, 0.5)
    wanted = 20 * np.log10(0.5) + float(a_weighting_db(hz))
    assert dbfs(a_weighted_ms(block, RATE)) == pytest.approx(wanted, abs=0.02)
    assert dbfs(a_weighted_ms(block[:, 0], RATE)) == pytest.approx(wanted, abs=0.02)
    assert dbfs(loudness_ms(block, RATE)) == pytest.approx(wanted, abs=0.02)


def test_the_louder_ear_counts() -> None:
    block = sine(1000.0, 0.5)
    block[:, 0] *= 0.1
    assert dbfs(a_weighted_ms(block, RATE)) == pytest.approx(0.0, abs=0.01)


def test_the_loudest_eighth_of_a_second() -> None:
    wave = np.concatenate([sine(1000.0, 0.5, 0.01), sine(1000.0, 0.3), sine(1000.0, 0.5, 0.01)])
    assert dbfs(loudest_ms(wave, RATE)) == pytest.approx(0.0, abs=0.1)
    # What is shorter than that counts by its energy.
    assert dbfs(loudest_ms(sine(1000.0, 0.01), RATE)) == pytest.approx(-8.0, abs=0.6)


def test_what_can_hardly_be_heard_has_a_floor() -> None:
    low = sine(10.0, 1.0)
    assert dbfs(loudness_ms(low, RATE)) == pytest.approx(-30.0, abs=0.1)


def test_doses_of_the_recommendation() -> None:
    assert dose_pa2h(80.0, 40.0) == pytest.approx(ADULT_WEEK_PA2H, rel=1e-6)
    assert dose_pa2h(75.0, 40.0) == pytest.approx(CHILD_WEEK_PA2H, rel=1e-3)
    assert dose_pa2h(70.0, 0.5) == pytest.approx(0.002, rel=1e-6)
    assert dose_pa2h(70.0, 0.5) / ADULT_WEEK_PA2H == pytest.approx(0.0013, abs=5e-5)


@pytest.mark.parametrize(("hz", "block"), [(1000.0, 882), (110.0, 441), (3000.0, 2048)])
def test_the_dose_of_a_sine(hz: float, block: int) -> None:
    """Four seconds at half of full scale, in blocks of any size."""
    dose = Dose(90.0, RATE)
    wave = sine(hz, 4.0, 0.5)
    for at in range(0, len(wave), block):
        dose.add(wave[at : at + block])
    level = 90.0 + 20 * np.log10(0.5) + float(a_weighting_db(hz))
    assert dose.pa2h == pytest.approx(dose_pa2h(level, 4.0 / 3600.0), rel=0.03)


def test_a_short_sound_counts_wherever_it_falls() -> None:
    doses = []
    for before in (0, 500, 1500, 3000):
        dose = Dose(90.0, RATE)
        burst = sine(1000.0, 0.02) * np.hanning(882).astype(np.float32)[:, None]
        for part in (np.zeros((before, 2), dtype=np.float32), burst):
            dose.add(part)
        dose.add(np.zeros((8192, 2), dtype=np.float32))
        doses.append(dose.pa2h)
    assert min(doses) > 0.0
    assert max(doses) / min(doses) == pytest.approx(1.0, abs=0.02)


def test_silence_is_no_dose() -> None:
    dose = Dose(90.0, RATE)
    dose.add(np.zeros((20000, 2), dtype=np.float32))
    assert dose.pa2h == 0.0
