"""A stream, a protocol and a plan become one fold, or a sentence why not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.assemble import Assembly, assemble, feature_units
from engine.errors import MontageError
from engine.features import FEATURES
from engine.frames import Channel, Chunk, StreamSpec
from engine.gates import AMPLITUDE_EYES_CLOSED_UV
from protocols.load import library, load
from protocols.model import Protocol
from protocols.plan import expand

# fmt: off
TEN_TWENTY = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz",
    "C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)
# fmt: on


def spec(*names: str, rate_hz: float = 250.0, **kinds: str) -> StreamSpec:
    channels = tuple(Channel(n, kinds.get(n, "eeg"), "microvolts", 1.0, n) for n in names)
    return StreamSpec("amp", "EEG", "id", "uid", "host", rate_hz, channels)


def protocol(name: str, **gates: object) -> Protocol:
    found = load(name, FEATURES).protocol
    if not gates:
        return found
    data = {k: v for k, v in found.gates}
    return found.model_copy(
        update={
            "gates": found.gates.model_copy(
                update={k: data[k].model_copy(update=v) for k, v in gates.items()}
            )
        }
    )


def put_together(s: StreamSpec, p: Protocol, mains_hz: float | None = 50.0) -> Assembly:
    return assemble(s, p, expand(p), mains_hz=mains_hz, dc_coupled=True)


SLOW_ANSWERS = ("connectivity", "ilf")  # half of a window of 2 s comes on top


@pytest.mark.parametrize("name", library())
def test_every_library_protocol_fits_a_10_20_cap(name: str) -> None:
    p = protocol(name)
    a = put_together(spec(*TEN_TWENTY), p)
    assert a.montage.reference in p.condition.reference
    assert set(a.delay_s) == set(p.features)
    assert a.level_feature == p.feedback.level.feature
    assert 0.04 < a.level_delay_s < (1.5 if name in SLOW_ANSWERS else 0.45)
    expected = ("reference ", "Point spread") if name == "source_pcc" else ("reference ",)
    assert all(w.startswith(expected) for w in a.warnings), a.warnings
    points = a.fold.step(Chunk(0, np.arange(500) / 250.0, np.zeros((500, 19))))
    assert len(points) == 100
    assert len(points[0].frame.values) == len(p.features)
    assert set(feature_units(p)) == set(p.features)


def test_what_the_stream_lacks_is_said() -> None:
    with pytest.raises(MontageError, match="has no Pz, O1, O2"):
        put_together(spec("Cz", "C3"), protocol("alpha_up_ec"))
    with pytest.raises(MontageError, match=r"at least 180 Hz.*has 160 Hz"):
        put_together(spec(*TEN_TWENTY, rate_hz=160.0), protocol("tbr_down"))
    with pytest.raises(MontageError, match="none of the protocol's references"):
        put_together(spec("F3", "F4", "Fp1", "Fp2"), protocol("faa"))


def test_a_low_rate_and_a_missing_forehead_are_warned_of() -> None:
    a = put_together(spec("Cz", rate_hz=200.0), protocol("smr_up"))
    text = " ".join(a.warnings)
    assert "blinks are not seen" in text
    assert "200 Hz is low" in text


def test_gates_look_where_the_protocol_says() -> None:
    a = put_together(spec(*TEN_TWENTY), protocol("faa"))
    assert a.fold.gates.metric_names == (
        "amplitude_F3", "amplitude_F4", "blink_Fp1", "blink_Fp2", "muscle_F3", "muscle_F4",
        "saccade_F7-F8",
    )  # fmt: skip
    off = put_together(spec(*TEN_TWENTY), protocol("alpha_up_ec"))
    assert not any("blink" in n for n in off.fold.gates.metric_names)


def test_eog_is_a_blink_site_and_keeps_its_own_reference() -> None:
    a = put_together(spec(*TEN_TWENTY, "VEOG", VEOG="eog"), protocol("faa"))
    assert "blink_VEOG" in a.fold.gates.metric_names
    assert a.montage.subtract[a.montage.site_names.index("VEOG")] == ()


def test_a_site_that_only_a_gate_looks_at_must_exist_and_is_needed() -> None:
    p = protocol("smr_up", muscle={"at": ("T7", "T8")})
    with pytest.raises(MontageError, match="T7, T8"):
        put_together(spec("Cz"), p)
    a = put_together(spec(*TEN_TWENTY), p)
    where = {n: k for k, n in enumerate(a.montage.site_names)}
    assert set(a.fold.settings.gates.needed) == {where[n] for n in ("Cz", "T7", "T8")}
    assert a.fold.settings.gates.amplitude.sites == (where["Cz"],)


def test_given_limits_reach_the_gates() -> None:
    p = protocol("smr_up", amplitude={"limit_uv": 60.0, "after_s": 2.0})
    a = put_together(spec(*TEN_TWENTY), p)
    assert a.fold.gates.limits.limits[0] == 60.0
    assert a.fold.settings.gates.amplitude.after_s == 2.0


def test_closed_eyes_have_a_wider_first_limit() -> None:
    a = put_together(spec(*TEN_TWENTY), protocol("alpha_up_ec"))
    assert a.fold.gates.limits.limits[0] == AMPLITUDE_EYES_CLOSED_UV


def test_the_notch_is_the_rooms_and_only_where_wanted() -> None:
    p = protocol("smr_up")
    leave = p.model_copy(update={"condition": p.condition.model_copy(update={"mains": "leave"})})
    for given, mains_hz, notch_hz in ((p, 60.0, 60.0), (p, None, None), (leave, 50.0, None)):
        a = put_together(spec(*TEN_TWENTY), given, mains_hz)
        assert a.fold.settings.condition.notch_hz == notch_hz
        assert a.fold.settings.gates.mains_hz == mains_hz


def test_names_of_old_and_other_columns_do_not_matter() -> None:
    """Labels as an amplifier writes them, in another order, with columns that are no EEG."""
    names = ["counter", *reversed(TEN_TWENTY), "trigger"]
    s = spec(*names, counter="counter", trigger="trigger")
    old = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6"}
    s = replace(
        s, channels=tuple(replace(c, name=old.get(c.name, c.name)) for c in s.channels)
    )  # fmt: skip
    x = np.random.default_rng(1).normal(0, 10, (2000, 19))
    placed = np.column_stack([np.arange(2000), x[:, ::-1], np.zeros(2000)])
    p, t = protocol("faa"), np.arange(2000) / 250.0
    one = put_together(spec(*TEN_TWENTY), p).fold.step(Chunk(0, t, x))
    two = put_together(s, p).fold.step(Chunk(0, t, placed))
    for a, b in zip(one, two, strict=True):
        assert a.frame.gate == b.frame.gate
        # The mean is summed in column order, so the last bits may differ.
        assert np.allclose(a.frame.values, b.frame.values, rtol=1e-9, equal_nan=True)


# ---------------------------------------------------------------- eyes taken out


def regressing(name: str, **features: dict[str, object]) -> Protocol:
    """Return a library protocol that regresses blinks out, with changed features."""
    p = protocol(name)
    changed = {n: f.model_copy(update=features.get(n, {})) for n, f in p.features.items()}
    condition = p.condition.model_copy(update={"eog": "regress"})
    return p.model_copy(update={"condition": condition, "features": changed})


def test_what_is_subtracted_is_watched_like_what_is_trained() -> None:
    """A broken or disturbed eye electrode is in every number from which it is subtracted."""
    a = put_together(spec(*TEN_TWENTY, "HEOG", HEOG="eog"), regressing("smr_up"))
    sites, gates = a.montage.site_names, a.fold.gates.settings
    assert {sites[k] for k in a.fold.settings.eog} == {"HEOG"}
    for watched in (gates.needed, gates.amplitude.sites, gates.step.sites):
        assert "HEOG" in {sites[k] for k in watched}
    plain = put_together(spec(*TEN_TWENTY, "HEOG", HEOG="eog"), protocol("smr_up"))
    assert "HEOG" not in {plain.montage.site_names[k] for k in plain.fold.gates.settings.needed}


def test_what_stands_for_the_eyes_cannot_be_trained() -> None:
    p = regressing("smr_up", smr={"at": ("Fp1",)})
    with pytest.raises(MontageError, match=r"Fp1 is trained and stands for the eyes"):
        put_together(spec(*TEN_TWENTY), p)
    put_together(spec(*TEN_TWENTY, "EOG", EOG="eog"), p)  # the eyes have one of their own
    with pytest.raises(MontageError, match="needs an EOG, Fp1 or Fp2"):
        put_together(spec("Cz", "C3", "C4"), regressing("smr_up"))


def test_both_eyes_in_an_asymmetry_are_told() -> None:
    a = put_together(spec(*TEN_TWENTY), regressing("faa"))
    assert any("Fp1 and Fp2 out of both sides of asymmetry" in w for w in a.warnings)
    assert not any(
        "both sides" in w for w in put_together(spec(*TEN_TWENTY), protocol("faa")).warnings
    )


def test_a_cap_without_posterior_sites_is_told() -> None:
    none = put_together(spec("F3", "F4", "Fp1", "Fp2", "M1", "M2"), protocol("faa"))
    assert any("10 Hz is taken instead" in w for w in none.warnings)
    two = put_together(spec("F3", "F4", "Fp1", "Fp2", "M1", "M2", "O1", "O2"), protocol("faa"))
    assert any("2 posterior sites" in w for w in two.warnings)


# ---------------------------------------------------------------- what filters remember


def test_a_large_amplitude_is_gated_as_long_as_the_filters_hold_it() -> None:
    """A thousandth of the energy of 300 uV is what a strong rhythm has."""
    rate_hz = 250.0
    a = put_together(spec(*TEN_TWENTY), protocol("smr_up"))
    memory_s = a.fold.gates.settings.memory / rate_hz
    assert 0.5 < memory_s < 2.0
    x = np.random.default_rng(1).normal(0.0, 5.0, (3000, 19))
    x[1500:1650, TEN_TWENTY.index("Cz")] += 300.0 * np.sin(
        2 * np.pi * 5.5 * np.arange(150) / rate_hz
    )
    points = a.fold.step(Chunk(0, np.arange(3000) / rate_hz, x))
    closed = [p.frame.seq for p in points if "amplitude" in p.frame.gate.causes]
    assert 1500 < closed[0] < 1560
    # The hit lasts as long as the artefact in 1-40 Hz, and a little.
    assert (1650 / rate_hz + memory_s) <= closed[-1] / rate_hz < 1650 / rate_hz + memory_s + 0.6
    given = put_together(spec(*TEN_TWENTY), protocol("smr_up", amplitude={"after_s": 0.3}))
    points = given.fold.step(Chunk(0, np.arange(3000) / rate_hz, x))
    last = max(p.frame.seq for p in points if "amplitude" in p.frame.gate.causes)
    assert last < closed[-1]  # the protocol's own word stands


def test_a_source_says_how_blurred_it_is_and_refuses_a_local_reference() -> None:
    p = protocol("source_pcc")
    a = put_together(spec(*TEN_TWENTY), p)
    assert any("mm" in w or "cm" in w for w in a.warnings), a.warnings
    bipolar = p.model_copy(
        update={"condition": p.condition.model_copy(update={"reference": ("bipolar T7 T8",)})}
    )
    with pytest.raises(MontageError, match="source"):
        put_together(spec(*TEN_TWENTY), bipolar)
