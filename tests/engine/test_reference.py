"""Montages: which columns, against what, and the arithmetic of subtracting it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import MontageError
from engine.frames import Channel, StreamSpec
from engine.reference import AVERAGE_NEEDS, Montage, choose_montage, rereference

# fmt: off
TEN_TWENTY = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz",
    "C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)
# fmt: on


def spec(*names: str, kinds: dict[str, str] | None = None) -> StreamSpec:
    channels = tuple(Channel(n, (kinds or {}).get(n, "eeg"), "microvolts", 1.0, n) for n in names)
    return StreamSpec("amp", "EEG", "id", "uid", "host", 250.0, channels)


def subtracted(montage: Montage, site: str) -> set[str]:
    k = montage.site_names.index(site)
    return {montage.names[i] for i in montage.subtract[k]}


def test_first_possible_reference_is_taken_and_refusals_are_said() -> None:
    montage = choose_montage(spec("F3", "F4", "Cz"), ["F3"], ["average", "mastoids", "as recorded"])
    assert montage.reference == "as recorded"
    assert len(montage.warnings) == 2
    assert f"needs {AVERAGE_NEEDS}" in montage.warnings[0]
    assert "M1+M2" in montage.warnings[1]


def test_no_possible_reference_names_every_reason_and_a_way_out() -> None:
    with pytest.raises(
        MontageError, match=r"average: needs 16 EEG channels, the stream has 2"
    ) as e:
        choose_montage(spec("F3", "F4"), ["F3"], ["average", "ears"])
    assert "ears:" in e.value.what
    assert "as recorded" in e.value.fix


def test_missing_sites_are_named_together_with_what_there_is() -> None:
    with pytest.raises(MontageError, match="no Pz, O1; it has F3, F4"):
        choose_montage(spec("F3", "F4"), ["Pz", "F3", "O1"], ["as recorded"])


def test_an_ambiguous_site_is_refused() -> None:
    with pytest.raises(MontageError, match="both called Cz"):
        choose_montage(spec("Cz", "F3", "Cz"), ["Cz"], ["as recorded"])


def test_old_names_are_found() -> None:
    montage = choose_montage(spec("T3", "T4"), ["T7"], ["as recorded"])
    assert montage.site_names == ("T3",)


def test_average_leaves_out_ears_eog_and_what_is_no_site() -> None:
    names = [*TEN_TWENTY, "A2-A1", "M1", "EOG", "trigger"]
    kinds = {"EOG": "eog", "trigger": "trigger"}
    montage = choose_montage(spec(*names, kinds=kinds), ["Cz"], ["average"])
    assert subtracted(montage, "Cz") == set(TEN_TWENTY)
    assert "trigger" not in montage.names
    assert subtracted(montage, "EOG") == set()


def test_unlabelled_channels_are_averaged_as_they_are() -> None:
    names = [f"ch{i}" for i in range(16)]
    montage = choose_montage(spec(*names), ["ch3"], ["average"])
    assert subtracted(montage, "ch3") == set(names)


@pytest.mark.parametrize(
    ("reference", "pair"),
    [("ears", ("A1", "A2")), ("mastoids", ("M1", "M2")), ("mastoids", ("TP9", "TP10"))],
)
def test_linked_pairs(reference: str, pair: tuple[str, str]) -> None:
    montage = choose_montage(spec("Cz", *pair), ["Cz"], [reference])
    assert subtracted(montage, "Cz") == set(pair)


def test_laplacian_needs_every_neighbour_except_where_only_blinks_are_read() -> None:
    montage = choose_montage(spec(*TEN_TWENTY), ["C3"], ["laplacian"], ("Fp1",))
    assert subtracted(montage, "C3") == {"F3", "T7", "Cz", "P3"}
    assert subtracted(montage, "Fp1") == set()
    with pytest.raises(MontageError, match="T7 lacks neighbours"):
        choose_montage(spec(*TEN_TWENTY), ["T7"], ["laplacian"])
    with pytest.raises(MontageError, match="C3 lacks neighbours"):
        choose_montage(spec("C3", "F3", "Cz", "P3"), ["C3"], ["laplacian"])


def test_bipolar_subtracts_at_its_first_site_only() -> None:
    montage = choose_montage(spec("C3", "C4", "Cz"), ["C3", "Cz"], ["bipolar C3 C4"])
    assert subtracted(montage, "C3") == {"C4"}
    assert subtracted(montage, "Cz") == set()


def test_a_site_as_reference() -> None:
    montage = choose_montage(spec("C3", "Cz"), ["C3"], ["Cz"])
    assert subtracted(montage, "C3") == {"Cz"}
    with pytest.raises(MontageError, match="no such site"):
        choose_montage(spec("C3"), ["C3"], ["Pz"])


def test_optional_sites_and_eog_are_conditioned_when_they_exist() -> None:
    montage = choose_montage(
        spec("Cz", "Fp1", "HEOG", kinds={"HEOG": "eog"}), ["Cz"], ["as recorded"], ("Fp1", "Fp2")
    )
    assert montage.site_names == ("Cz", "Fp1", "HEOG")
    assert montage.is_eeg == (True, True, False)


def test_rereference_is_the_mean_of_the_good_columns() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 30, (50, 19))
    montage = choose_montage(spec(*TEN_TWENTY), ["Cz", "O1"], ["average"])
    good = np.ones(19, bool)
    out = rereference(x, montage, good)
    at = [TEN_TWENTY.index("Cz"), TEN_TWENTY.index("O1")]
    assert np.allclose(out, x[:, at] - x.mean(axis=1, keepdims=True), rtol=1e-12)
    good[3] = False
    without = np.delete(x, 3, axis=1).mean(axis=1, keepdims=True)
    assert np.allclose(rereference(x, montage, good), x[:, at] - without, rtol=1e-12)


def test_rereference_neither_changes_nor_shares_its_input() -> None:
    x = np.random.default_rng(2).normal(0, 30, (20, 3))
    before = x.copy()
    x.flags.writeable = False
    for reference in ("as recorded", "Cz"):
        montage = choose_montage(spec("C3", "C4", "Cz"), ["C3", "C4"], [reference])
        out = rereference(x, montage, np.ones(3, bool))
        assert not np.shares_memory(out, x)
        assert np.array_equal(x, before)


def test_rereference_of_nothing_is_nothing() -> None:
    montage = choose_montage(spec("C3", "Cz"), ["C3"], ["Cz"])
    assert rereference(np.zeros((0, 2)), montage, np.ones(2, bool)).shape == (0, 1)
