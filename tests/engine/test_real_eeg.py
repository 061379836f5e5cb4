"""Real recordings through the whole fold: known people, odd amplifiers, no surprise.

The files lie beside the repository (../shared/data); without them these tests are skipped.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, sosfilt_zi

from engine.assemble import Assembly, assemble
from engine.features import FEATURES
from engine.frames import Chunk, Float, Gate, Input, PhaseKind
from engine.pipeline import Point
from engine.readfile import EegFile, read_eeg
from engine.replay import file_inputs
from protocols.load import load
from protocols.model import Protocol
from protocols.plan import expand

EYES = [("eegbci/S001R01.edf", "eegbci/S001R02.edf"), ("eegbci/S002R01.edf", "eegbci/S002R02.edf")]


def run(eeg: EegFile, protocol: Protocol, mains_hz: float | None = None) -> list[Point]:
    """Run a protocol over a file as replay does."""
    assembly = assemble(eeg.spec, protocol, expand(protocol, 60.0), mains_hz=mains_hz)
    return [p for item in file_inputs(eeg) for p in fold_in_parts(assembly, item)]


def fold_in_parts(assembly: Assembly, item: Input) -> list[Point]:
    if not isinstance(item, Chunk):
        return assembly.fold.step(item)
    points: list[Point] = []
    for at in range(0, len(item.uv), 1000):
        end = at + 1000
        points += assembly.fold.step(Chunk(item.seq + at, item.t[at:end], item.uv[at:end]))
    return points


def changed(name: str, sites: tuple[str, ...], **update: Any) -> Protocol:
    """Return a copy of a library protocol for other sites, as recorded, unsmoothed."""
    p = load(name, FEATURES).protocol
    plain = {"at": sites, "smooth_s": None, "iaf": None, **update}
    features = {n: f if f.of else f.model_copy(update=plain) for n, f in p.features.items()}
    muscle = p.gates.muscle.model_copy(update={"at": None})
    return p.model_copy(
        update={
            "features": features,
            "condition": p.condition.model_copy(update={"reference": ("as recorded",)}),
            "gates": p.gates.model_copy(update={"muscle": muscle}),
            "needs": p.needs.model_copy(update={"channels": sites, "rate_hz": 100.0}),
        }
    )


# ---------------------------------------------------------------- people whose alpha is known


@pytest.mark.parametrize("closed", [c for _, c in EYES])
def test_strong_real_alpha_is_not_taken_for_an_artefact(shared_data: Path, closed: str) -> None:
    """About 70 µV rms of alpha: a fixed 100 µV gate would discard nearly all of it."""
    eeg = read_eeg(shared_data / closed)
    points = run(eeg, load("alpha_up_ec", FEATURES).protocol)
    gate = np.array([int(p.frame.gate) for p in points])
    assert (gate == 0).mean() >= 0.80
    kinds = {p.decision.kind for p in points}
    assert PhaseKind.TRAIN in kinds
    assert PhaseKind.FAILED not in kinds


def plain_alpha(eeg: EegFile, sites: tuple[str, ...], seqs: np.ndarray) -> Float:
    """8-13 Hz power at the sites, averaged, by a few lines of NumPy and SciPy."""
    rate_hz = eeg.spec.rate_hz
    x = eeg.samples[:, [eeg.spec.names.index(s) for s in sites]]
    high = butter(2, 1.0, "highpass", fs=rate_hz, output="sos")
    y, _ = sosfilt(high, x, axis=0, zi=sosfilt_zi(high)[:, :, None] * x[0])
    t = np.arange(len(y)) / rate_hz
    shifted = y * np.exp(-2j * np.pi * 10.5 * t)[:, None]
    low = butter(4, 2.5, fs=rate_hz, output="sos")
    z = sosfilt(low, shifted.real, axis=0) + 1j * sosfilt(low, shifted.imag, axis=0)
    return np.asarray((2.0 * np.abs(z) ** 2).mean(axis=1)[seqs])


@pytest.mark.parametrize(("opened", "closed"), EYES)
def test_a2_closed_over_open_alpha_is_that_of_a_plain_computation(
    shared_data: Path, opened: str, closed: str
) -> None:
    sites = ("O1", "Oz", "O2")
    protocol = changed("alpha_up_ec", sites, band_hz=(8.0, 13.0), fit="fixed")
    means, plain = [], []
    for name in (opened, closed):
        eeg = read_eeg(shared_data / name)
        points = [p for p in run(eeg, protocol) if p.frame.gate == Gate.OPEN]
        assert len(points) > 0.5 * len(eeg.samples) / eeg.spec.hop
        seqs = np.array([p.frame.seq for p in points])
        means.append(np.mean([p.frame.values[0] for p in points]))
        plain.append(plain_alpha(eeg, sites, seqs).mean())
    assert means == pytest.approx(plain, rel=5e-4)  # the kernel ends where 1e-6 is left
    assert means[1] / means[0] == pytest.approx(plain[1] / plain[0], rel=5e-4)
    assert means[1] / means[0] > 5.0


def test_a_person_whose_alpha_falls_at_rest_is_read_as_he_is(shared_data: Path) -> None:
    """Rest over mental arithmetic at O1, O2: about 4 in two people, 0.2 in one."""
    protocol = changed("alpha_up_ec", ("O1", "O2"), band_hz=(8.0, 13.0))
    for person, above in (("03", True), ("19", True), ("10", False)):
        power = []
        for task in (1, 2):
            eeg = read_eeg(shared_data / f"eegmat/Subject{person}_{task}.edf")
            eeg = replace(eeg, samples=eeg.samples[: round(60 * eeg.spec.rate_hz)])
            points = run(eeg, protocol, 50.0)
            power.append(np.mean([p.frame.values[0] for p in points if p.frame.gate == Gate.OPEN]))
        assert (power[0] > power[1]) == above


# ---------------------------------------------------------------- odd amplifiers


@pytest.mark.parametrize(
    ("name", "sites", "mains_hz"),
    [
        ("openbci/blinks-jawclench-alpha.txt", ("ch7", "ch8"), None),
        ("openbci/blinks-jawclench-alpha.txt", ("ch7", "ch8"), 60.0),
        ("muse/doing-dishes.edf", ("ch1", "ch2"), 60.0),
        ("muse/doing-dishes.edf", ("ch1", "ch5"), None),
        ("muse/n170-timestamp-gaps.csv", ("TP9", "TP10"), 60.0),
        ("muse/p300-subject2.csv", ("AF7", "AF8"), None),
        ("xdf/ssvep_example.xdf", ("C3", "C4"), 60.0),
        ("xdf/t1-run-003.xdf", ("Cz", "Pz"), None),
        ("xdf/switch_example.xdf", ("Cz", "Pz"), 60.0),
        ("xdf/obci-unlabelled.xdf", ("ch1", "ch2"), 50.0),
        ("xdf/clock_resets.xdf", ("ch1", "ch2"), None),
        ("yasa/resting-eo-200hz_raw.fif", ("F4", "Cz"), 50.0),
        ("eeglab/eeglab_data.set", ("Pz",), 60.0),
        ("odd/139-channels-6s.edf", (), None),
        ("odd/16ch-no-alpha.edf", (), 50.0),
        ("odd/labels-a1-a16.bdf", (), None),
    ],
)
def test_every_file_runs_without_a_warning(
    shared_data: Path, name: str, sites: tuple[str, ...], mains_hz: float | None
) -> None:
    eeg = read_eeg(shared_data / name)
    if not sites:
        sites = tuple(c.name for c in eeg.spec.channels if c.kind == "eeg")[:2]
    n = round(90 * eeg.spec.rate_hz)  # enough of the long ones
    stamps = None if eeg.stamps is None else eeg.stamps[:n]
    eeg = replace(eeg, samples=eeg.samples[:n], stamps=stamps)
    points = run(eeg, changed("alpha_up_ec", sites), mains_hz)
    assert len(points) > 0.9 * len(eeg.samples) / eeg.spec.hop
    for p in points:
        assert np.isfinite(p.frame.metrics).all()
        # What is made of bursts waits for a baseline; the power itself does not.
        assert np.isfinite(p.frame.values[0]) == (p.frame.gate == Gate.OPEN)
        assert (p.frame.values[p.frame.trusted] >= 0.0).all()
    flat = "ch5" in sites
    assert any(p.frame.gate & Gate.FLAT for p in points) or not flat
    assert not flat or not any(p.decision.reward for p in points)


def test_openbci_artefacts_by_inspection_are_gated(shared_data: Path) -> None:
    """Blinks at 4-18 s and 76-88 s (columns 1, 2), jaw at 8-12 s and 80-90 s, alpha between."""
    eeg = read_eeg(shared_data / "openbci/blinks-jawclench-alpha.txt")
    protocol = changed("alpha_up_ec", ("ch7", "ch8"))
    blink = protocol.gates.blink.model_copy(update={"on": True, "at": ("ch1", "ch2")})
    gates = protocol.gates.model_copy(update={"blink": blink})
    points = run(eeg, protocol.model_copy(update={"gates": gates}), 60.0)

    def gated(gate: Gate, start_s: float, end_s: float) -> float:
        part = [p for p in points if start_s <= p.frame.seq / 250.0 < end_s]
        return float(np.mean([bool(p.frame.gate & gate) for p in part]))

    assert gated(Gate.BLINK, 4.0, 8.0) > 0.9
    assert gated(Gate.BLINK, 14.0, 18.0) > 0.6
    assert gated(Gate.BLINK, 76.0, 82.0) > 0.8
    assert gated(Gate.MUSCLE, 8.0, 12.0) > 0.5
    assert gated(Gate.MUSCLE, 82.0, 90.0) > 0.6
    assert gated(~Gate.OPEN, 28.0, 75.0) < 0.05
