"""The bank: every kind of feature against numbers worked out by hand or by brute force."""

from __future__ import annotations

import cmath
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from engine.bank import Bank, Raw, Reference
from engine.features import COUPLED, FeatureDef, in_order, is_learned
from engine.frames import Float

GRID_HZ = 10.0
ALPHA, THETA = (8.0, 12.0), (4.0, 8.0)
NAN = math.nan


def power(name: str, **more: object) -> FeatureDef:
    return FeatureDef(name, "power", (0,), band_hz=ALPHA, **more)  # type: ignore[arg-type]


def fed(
    defs: Sequence[FeatureDef],
    raw: Sequence[Sequence[Raw]],
    references: Mapping[str, Reference] | None = None,
    clean: Sequence[bool] | None = None,
    grid_hz: float = GRID_HZ,
) -> Float:
    """Return the features at every point, shape (n_points, n_features)."""
    bank = Bank(defs, grid_hz, references)
    ok = [True] * len(raw) if clean is None else clean
    return np.array([bank.step(r, o) for r, o in zip(raw, ok, strict=True)])


# ---------------------------------------------------------------- two powers


@pytest.mark.parametrize(
    ("kind", "one", "two", "expected"),
    [
        ("log_ratio", 12.0, 10.0, 0.18232),
        ("asymmetry_index", 144.0, 100.0, 1.0 / 11.0),
        ("ratio", 12.0, 8.0, 1.5),
        ("asymmetry_index", 0.0, 100.0, -1.0),
        ("asymmetry_index", 100.0, 0.0, 1.0),
        ("asymmetry_index", 0.0, 0.0, NAN),
        ("log_ratio", 0.0, 10.0, NAN),
        ("ratio", 1.0, 0.0, NAN),
        ("asymmetry_index", NAN, 10.0, NAN),
        ("asymmetry_index", 10.0, NAN, NAN),
    ],
)
def test_what_is_made_of_two_powers(kind: str, one: float, two: float, expected: float) -> None:
    defs = (FeatureDef("a", kind, of=(1, 2)), power("right"), power("left"))
    (found,) = fed(defs, [[NAN, one, two]])[:, 0]
    assert found == pytest.approx(expected, abs=5e-5, nan_ok=True)


def test_the_order_in_the_file_does_not_matter() -> None:
    """Share of z of an asymmetry, written backwards, gives what it gives written forwards."""
    forwards = (
        power("right", smooth_s=0.5),
        power("left"),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
        FeatureDef("z", "z", of=(2,)),
        FeatureDef("share", "share_above", of=(3,), window_s=1.0),
    )
    backwards = (
        FeatureDef("share", "share_above", of=(1,), window_s=1.0),
        FeatureDef("z", "z", of=(2,)),
        FeatureDef("asym", "log_ratio", of=(4, 3)),
        power("left"),
        power("right", smooth_s=0.5),
    )
    rng = np.random.default_rng(1)
    p = np.exp(rng.normal(size=(40, 2)))
    known = {"z": Reference(median=0.1, mad=0.5)}
    one = fed(forwards, [[r, le, NAN, NAN, NAN] for r, le in p.tolist()], known)
    two = fed(backwards, [[NAN, NAN, NAN, le, r] for r, le in p.tolist()], known)
    assert np.isfinite(one[10:]).all()
    assert np.array_equal(one, two[:, ::-1], equal_nan=True)


# ---------------------------------------------------------------- share above zero

SHARE = (
    power("right"),
    power("left"),
    FeatureDef("asym", "log_ratio", of=(0, 1)),
    FeatureDef("share", "share_above", of=(2,), window_s=2.0),
)


def test_share_above_counts_the_last_clean_window() -> None:
    rng = np.random.default_rng(2)
    right = np.exp(rng.normal(0.2, 1.0, 120))
    clean = rng.random(120) > 0.3
    got = fed(SHARE, [[r, 1.0, NAN, NAN] for r in right.tolist()], clean=clean.tolist())[:, 3]
    seen: list[bool] = []
    for k in range(120):
        if not clean[k]:
            assert math.isnan(got[k])
            continue
        seen.append(bool(right[k] > 1.0))
        last = seen[-20:]
        expected = NAN if len(last) < 10 else sum(last) / len(last)
        assert got[k] == pytest.approx(expected, nan_ok=True), k
    assert len(seen) > 60


def test_a_value_of_zero_is_not_above_it() -> None:
    assert fed(SHARE, [[1.0, 1.0, NAN, NAN]] * 20)[-1, 3] == 0.0
    assert fed(SHARE, [[1.1, 1.0, NAN, NAN]] * 20)[-1, 3] == 1.0


def test_unknown_values_are_not_counted_as_below() -> None:
    raw = [[2.0, 1.0, NAN, NAN], [NAN, 1.0, NAN, NAN]] * 15
    got = fed(SHARE, raw)[:, 3]
    assert np.isnan(got[1::2]).all()
    assert got[-2] == 1.0


# ---------------------------------------------------------------- z


def test_z_is_on_the_scale_of_its_feature() -> None:
    defs = (
        power("p"),
        power("q"),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
        FeatureDef("z_p", "z", of=(0,)),
        FeatureDef("z_asym", "z", of=(2,)),
        FeatureDef("z_later", "z", of=(0,)),
    )
    known = {
        "z_p": Reference(median=math.log(8.0), mad=0.25),
        "z_asym": Reference(median=-0.2, mad=0.4),
    }
    p = 8.0 * math.exp(0.5)
    values = fed(defs, [[p, p / math.exp(0.6), NAN, NAN, NAN, NAN]], known)[0]
    assert values[3] == pytest.approx(2.0)
    assert values[4] == pytest.approx((0.6 + 0.2) / 0.4)
    assert math.isnan(values[5])  # nothing was learned of it
    assert np.isnan(fed(defs, [[0.0, 1.0, NAN, NAN, NAN, NAN]], known)[0, [3, 4]]).all()
    assert np.isnan(fed(defs, [[p, p, NAN, NAN, NAN, NAN]])[0, 3:]).all()


# ---------------------------------------------------------------- bursts

BURST = (
    FeatureDef("rate", "burst_rate", of=(3,), window_s=10.0),
    FeatureDef("long", "burst_duration", of=(3,), window_s=10.0),
    FeatureDef("high", "burst_amplitude", of=(3,), window_s=10.0),
    FeatureDef("size", "amplitude", (0,), band_hz=ALPHA),
)
KNOWN = {n: Reference(threshold=5.0) for n in ("rate", "long", "high")}


def bursts(seconds: float, grid_hz: float = 50.0) -> list[list[Raw]]:
    """Return powers: 0.4 s of amplitude 12 every 2 s, else 2 µV."""
    t = np.arange(round(seconds * grid_hz)) / grid_hz
    amplitude = np.where(t % 2.0 >= 1.6 - 1e-9, 12.0, 2.0)
    return [[NAN, NAN, NAN, a * a] for a in amplitude.tolist()]


def test_bursts_of_a_known_signal() -> None:
    values = fed(BURST, bursts(24.0), KNOWN, grid_hz=50.0)
    # 21.4 s: five bursts ended within the last 10 s, none lasts.
    assert values[round(21.4 * 50), :3].tolist() == pytest.approx([30.0, 0.4, 12.0], rel=1e-9)
    first = int(np.argmax(np.isfinite(values[:, 0])))
    assert first == 249  # half of 10 s at 50 Hz
    assert np.isnan(fed(BURST, bursts(24.0), grid_hz=50.0)[:, :3]).all()


def test_bursts_of_different_windows_do_not_disturb_each_other() -> None:
    two = (*BURST, FeatureDef("short", "burst_rate", of=(3,), window_s=4.0))
    known = {**KNOWN, "short": Reference(threshold=20.0)}
    alone = fed(BURST, bursts(24.0), KNOWN, grid_hz=50.0)
    both = fed(two, [[*r, NAN] for r in bursts(24.0)], known, grid_hz=50.0)
    assert np.array_equal(alone, both[:, :4], equal_nan=True)
    assert both[-1, 4] == 0.0


# ---------------------------------------------------------------- coupling


@pytest.mark.parametrize(
    ("kind", "lag", "expected"),
    [
        ("coherence", 0.7, 1.0),
        ("plv", 0.7, 1.0),
        ("imaginary_coherence", math.pi / 4.0, math.sqrt(0.5)),
        ("imaginary_coherence", 0.0, 0.0),
        ("wpli", 0.3, 1.0),
        ("wpli", 0.0, 0.0),
        ("envelope_correlation", 0.7, 1.0),
    ],
)
def test_coupling_less_its_floor(kind: str, lag: float, expected: float) -> None:
    defs = (FeatureDef("c", kind, (0, 1), band_hz=ALPHA, window_s=2.0),)
    rng = np.random.default_rng(3)
    a = rng.normal(size=40) + 1j * rng.normal(size=40)
    raw: list[list[Raw]] = [[(complex(z), complex(2.0 * z * cmath.exp(1j * lag)))] for z in a]
    plain = fed(defs, raw)[:, 0]
    assert np.isnan(plain[:19]).all()
    assert plain[19:] == pytest.approx(expected, abs=1e-9)
    floored = fed(defs, raw, {"c": Reference(floor=0.3)})[:, 0]
    assert floored[19:] == pytest.approx(expected - 0.3, abs=1e-9)
    # Once a baseline was read, a floor that is not known leaves the number unknown.
    assert np.isnan(fed(defs, raw, {"c": Reference()})[:, 0]).all()
    assert np.isnan(fed(defs, raw, {})[:, 0]).all()


# ---------------------------------------------------------------- above the background


def law(c: float, chi: float, band: tuple[float, float]) -> float:
    """Return the integral of c f^-chi."""
    lo, hi = band
    if chi == 1.0:
        return c * math.log(hi / lo)
    return c * (hi ** (1.0 - chi) - lo ** (1.0 - chi)) / (1.0 - chi)


def test_periodic_power_smooths_all_three_before_it_subtracts() -> None:
    """8-12 Hz with flanks 3-6 and 14-18 Hz, on a background that jumps between two levels."""
    defs = (FeatureDef("p", "periodic_power", (0,), band_hz=ALPHA, smooth_s=0.5),)
    rng = np.random.default_rng(4)
    level, bump = np.exp(rng.normal(size=60)), rng.uniform(0.0, 30.0, 60)
    parts = ((8.0, 12.0), (3.0, 6.0), (14.0, 18.0))
    raw: list[list[Raw]] = [
        [tuple(law(c, 1.5, b) + (extra if b == ALPHA else 0.0) for b in parts)]
        for c, extra in zip(level.tolist(), bump.tolist(), strict=True)
    ]
    got = fed(defs, raw)[:, 0]
    for k in range(60):
        w = np.exp(-np.arange(k, -1, -1) / (0.5 * GRID_HZ))
        assert got[k] == pytest.approx((w * bump[: k + 1]).sum() / w.sum(), rel=1e-6), k
    plain = fed((FeatureDef("p", "periodic_power", (0,), band_hz=ALPHA),), raw)[:, 0]
    assert plain == pytest.approx(bump, rel=1e-6, abs=1e-8)
    assert math.isnan(fed(defs, [[(1.0, NAN, 1.0)]])[0, 0])


# ---------------------------------------------------------------- gates and gaps

EVERY = (
    power("p", smooth_s=1.0),
    power("q", smooth_s=0.7),
    FeatureDef("a", "amplitude", (0,), band_hz=ALPHA, smooth_s=0.3),
    FeatureDef("r", "relative_power", (0,), band_hz=ALPHA, smooth_s=1.0),
    FeatureDef("per", "periodic_power", (0,), band_hz=ALPHA, smooth_s=1.0),
    FeatureDef("asym", "log_ratio", of=(0, 1)),
    FeatureDef("z", "z", of=(5,)),
    FeatureDef("share", "share_above", of=(6,), window_s=2.0),
    *(FeatureDef(k, k, (0, 1), band_hz=ALPHA, window_s=1.0) for k in sorted(COUPLED)),
)
REFERENCES = {
    "z": Reference(median=0.0, mad=0.3),
    **{k: Reference(floor=0.1) for k in COUPLED},
}


def anything(n: int, seed: int) -> list[list[Raw]]:
    rng = np.random.default_rng(seed)
    out: list[list[Raw]] = []
    for _ in range(n):
        p = np.exp(rng.normal(size=8)).tolist()
        z = (rng.normal(size=4) + 1j * rng.normal(size=4)).tolist()
        out.append(
            [*p[:4], (p[4] + 5.0, p[5], p[6]), NAN, NAN, NAN, *[(z[0], z[1])] * len(COUPLED)]
        )
    return out


def test_gates_freeze_every_average() -> None:
    """Up to a pause of 0.3 s, the shortest smoothing here, gated points leave no trace at all."""
    plain = fed(EVERY, anything(60, 5), REFERENCES)
    raw: list[list[Raw]] = []
    clean: list[bool] = []
    for k, row in enumerate(anything(60, 5)):
        wild = anything(k % 4, 99 + k)
        raw += [*wild, row]
        clean += [False] * len(wild) + [True]
    gated = fed(EVERY, raw, REFERENCES, clean)
    assert np.isfinite(plain[-1]).all()
    assert np.array_equal(gated[np.array(clean)], plain, equal_nan=True)
    assert np.isnan(gated[~np.array(clean)]).all()


@pytest.mark.parametrize("as_gap", [True, False])
def test_a_pause_longer_than_every_window_starts_anew(as_gap: bool) -> None:
    bank, fresh = Bank(EVERY, GRID_HZ, REFERENCES), Bank(EVERY, GRID_HZ, REFERENCES)
    for row in anything(40, 6):
        bank.step(row, True)
    if as_gap:
        bank.gap(21)
    else:
        for row in anything(21, 7):
            bank.step(row, False)
    for row in anything(40, 8):
        assert np.array_equal(bank.step(row, True), fresh.step(row, True), equal_nan=True)


def test_a_pause_as_long_as_the_window_does_not() -> None:
    bank = Bank(EVERY, GRID_HZ, REFERENCES)
    for row in anything(40, 6):
        bank.step(row, True)
    bank.gap(10)
    values = dict(zip([d.name for d in EVERY], bank.step(anything(1, 9)[0], True), strict=True))
    assert math.isfinite(values["share"])
    assert math.isfinite(values["plv"])
    assert values["p"] != pytest.approx(float(anything(1, 9)[0][0]))  # type: ignore[arg-type]


def test_a_range_is_known_when_all_of_its_window_is_clean() -> None:
    defs = (FeatureDef("reach", "peak_to_peak", (0,), window_s=0.5),)
    clean = [True] * 8 + [False] + [True] * 7
    got = fed(defs, [[float(k)] for k in range(16)], clean=clean)[:, 0]
    known = [k for k in range(16) if math.isfinite(got[k])]
    assert known == [4, 5, 6, 7, 13, 14, 15]
    assert got[known].tolist() == [float(k) for k in known]


def test_a_slow_potential_is_known_when_all_that_it_saw_is_clean() -> None:
    """0.5 s and the 1 s before: fifteen points and the one that begins them."""
    defs = (FeatureDef("s", "slow_potential", (0,), window_s=0.5, reference_s=1.0),)
    clean = [True] * 20 + [False] + [True] * 20
    got = fed(defs, [[float(k)] for k in range(41)], clean=clean)[:, 0]
    known = [k for k in range(41) if math.isfinite(got[k])]
    assert known == [15, 16, 17, 18, 19, 36, 37, 38, 39, 40]


def test_a_share_is_of_powers_averaged_over_the_same_time() -> None:
    """Both powers jump together: the share never leaves 0.5, at whatever moment."""
    defs = (FeatureDef("r", "relative_power", (0, 1), band_hz=ALPHA),)
    raw: list[list[Raw]] = [[(s, 3.0 * s, 2.0 * s, 6.0 * s)] for s in [1.0] * 5 + [100.0] * 5]
    assert fed(defs, raw)[:, 0] == pytest.approx(0.5)
    assert np.isnan(fed(defs, [[(1.0, 1.0, 0.0, 1.0)]])[0, 0])
    assert np.isnan(fed(defs, [[(1.0, NAN, 2.0, 1.0)]])[0, 0])


def test_a_shrunk_ratio_is_drawn_towards_the_baseline() -> None:
    defs = (FeatureDef("a", "shrunk_log_ratio", of=(1, 2)), power("right"), power("left"))
    raw = [[NAN, 12.0, 10.0], [NAN, 6.0, 2.0], [NAN, 0.0, 5.0]]
    known = {"a": Reference(first=20.0, second=10.0)}
    got = fed(defs, raw, known)[:, 0]
    assert got[0] == pytest.approx(math.log((12.0 + 6.0) / (10.0 + 3.0)))
    assert got[1] == pytest.approx(math.log((6.0 + 6.0) / (2.0 + 3.0)))
    assert got[2] == pytest.approx(math.log(6.0 / 8.0))  # no power is no infinity any more
    assert np.isnan(fed(defs, raw)[:, 0]).all()  # nothing is known of the baseline yet


# ---------------------------------------------------------------- made of several


def test_a_weighted_sum_adds_logarithms_of_powers_and_plain_values() -> None:
    defs = (
        power("a"),
        power("b"),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
        FeatureDef("sum", "weighted_sum", of=(0, 1, 2), weights_of=(1.0, -0.5, 2.0)),
    )
    got = fed(defs, [[8.0, 2.0, NAN, NAN], [0.0, 2.0, NAN, NAN], [8.0, NAN, NAN, NAN]])[:, 3]
    expected = math.log(8.0) - 0.5 * math.log(2.0) + 2.0 * math.log(4.0)
    assert got[0] == pytest.approx(expected, rel=1e-14)
    assert np.isnan(got[1:]).all()  # one part unknown, nothing known


def test_a_share_within_counts_z_scores_at_this_point() -> None:
    names = ("a", "b", "c", "d")
    defs = (
        *(power(n) for n in names),
        *(FeatureDef(f"z{n}", "z", of=(i,), norm=(0.0, 1.0)) for i, n in enumerate(names)),
        FeatureDef("share", "share_within", of=(4, 5, 6, 7), within=1.5),
    )
    z = [[1.5, -1.5, 1.6, 0.0], [3.0, -3.0, 2.0, 9.0], [0.0, 0.0, 0.0, NAN]]
    raw = [[*(math.exp(v) for v in row), *[NAN] * 5] for row in z]
    raw[0][0] = math.exp(1.4)
    raw[0][1] = math.exp(-1.4)
    got = fed(defs, raw)[:, 8]
    assert got[0] == 0.75
    assert got[1] == 0.0
    assert math.isnan(got[2])


def test_norms_make_a_z_score_known_at_once() -> None:
    defs = (
        power("p"),
        power("q"),
        FeatureDef("asym", "log_ratio", of=(0, 1)),
        FeatureDef("zp", "z", of=(0,), norm=(2.0, 0.5)),
        FeatureDef("za", "z", of=(2,), norm=(0.1, 0.2)),
        FeatureDef("own", "z", of=(0,)),
    )
    (row,) = fed(defs, [[math.exp(3.0), math.exp(2.8), *[NAN] * 4]])
    assert row[3] == pytest.approx(2.0)
    assert row[4] == pytest.approx(0.5)
    assert math.isnan(row[5])
    assert [is_learned(d) for d in defs] == [False, False, False, False, False, True]


def test_parts_come_before_what_is_made_of_them() -> None:
    defs = (
        FeatureDef("top", "z", of=(1,), norm=(0.0, 1.0)),
        FeatureDef("sum", "weighted_sum", of=(2, 3), weights_of=(1.0, 1.0)),
        FeatureDef("z", "z", of=(4,), norm=(0.0, 1.0)),
        power("p"),
        power("q"),
    )
    assert in_order(defs) == (3, 4, 2, 1, 0)
    (row,) = fed(defs, [[NAN, NAN, NAN, math.exp(1.0), math.exp(2.0)]])
    assert row[:3] == pytest.approx([3.0, 3.0, 2.0])
    circle = (FeatureDef("a", "z", of=(1,)), FeatureDef("b", "z", of=(0,)), power("p"))
    with pytest.raises(ValueError, match="made of each other: a, b"):
        in_order(circle)


# ---------------------------------------------------------------- code from elsewhere


class Largest:
    """The largest value since a break."""

    def __init__(self, options: Mapping[str, float], _grid_hz: float) -> None:
        self.least = options["least"]
        self.calls: list[object] = []
        self.seen = -math.inf
        MADE.append(self)

    def step(self, values: tuple[float, ...]) -> float:
        self.calls.append(values)
        self.seen = max(self.seen, self.least, *values)
        return self.seen

    def skip(self, points: int) -> None:
        self.calls.append(points)
        self.seen = -math.inf


MADE: list[Largest] = []


def foreign(make: object, **options: float) -> tuple[FeatureDef, ...]:
    mine = FeatureDef("mine", "largest", of=(1, 2), make=make, options=options, scale="linear")  # type: ignore[arg-type]
    return (
        mine,
        power("p"),
        power("q"),
        FeatureDef("sum", "weighted_sum", of=(0, 1), weights_of=(1.0, 1.0)),
    )


def test_code_from_elsewhere_sees_known_values_at_clean_points() -> None:
    MADE.clear()
    bank = Bank(foreign(Largest, least=2.0), GRID_HZ)
    rows = [(1.0, 1.5, True), (5.0, 4.0, True), (9.0, 9.0, False), (NAN, 1.0, True)]
    rows += [(1.0, 3.0, True)]
    got = [bank.step([NAN, p, q, NAN], ok)[0] for p, q, ok in rows]
    bank.gap(7)
    assert got == pytest.approx([2.0, 5.0, NAN, NAN, 3.0], nan_ok=True)
    assert MADE[0].calls == [(1.0, 1.5), (5.0, 4.0), 1, 1, (1.0, 3.0), 7]
    assert bank.faults == []
    # A linear value is added as it is.
    assert bank.step([NAN, math.e, 1.0, NAN], True)[3] == pytest.approx(math.e + 1.0)


def gives(answer: object) -> object:
    class Made(Largest):
        def step(self, values: tuple[float, ...]) -> float:
            if values[0] < 2.0:
                return 1.0
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[return-value]

    return Made


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ZeroDivisionError("no"), "ZeroDivisionError: no"),
        (SystemExit(2), "SystemExit"),
        (None, "gave NoneType"),
        (3, "gave int"),
        (True, "gave bool"),
        (np.float32(1.0), "gave float32"),
        (np.ones(2), "gave ndarray"),
    ],
)
def test_what_fails_once_is_unknown_from_then_on(answer: object, words: str) -> None:
    bank = Bank(foreign(gives(answer), least=0.0), GRID_HZ)
    first = bank.step([NAN, 1.0, 1.0, NAN], True)
    assert first[0] == 1.0
    assert bank.faults == []
    for p in (3.0, 1.0, 1.0):
        row = bank.step([NAN, p, 1.0, NAN], True)
        assert math.isnan(row[0])
        assert math.isnan(row[3])
        assert row[1] == p  # the others go on
    ((name, reason),) = bank.faults
    assert name == "mine"
    assert words in reason
    # A bank made after fitting keeps what was wrong, and does not ask again.
    MADE.clear()
    after = Bank(foreign(gives(answer), least=0.0), GRID_HZ, {}, bank.faults)
    assert MADE == []
    assert math.isnan(after.step([NAN, 1.0, 1.0, NAN], True)[0])
    assert after.faults == bank.faults


def test_no_number_is_no_fault() -> None:
    for answer in (NAN, math.inf):
        bank = Bank(foreign(gives(answer), least=0.0), GRID_HZ)
        assert math.isnan(bank.step([NAN, 3.0, 1.0, NAN], True)[0])
        assert bank.faults == []
        assert bank.step([NAN, 1.0, 1.0, NAN], True)[0] == 1.0


def test_what_cannot_be_made_or_skipped_is_a_fault() -> None:
    bank = Bank(foreign(Largest), GRID_HZ)  # no option `least`
    assert "KeyError" in dict(bank.faults)["mine"]

    class Stuck(Largest):
        def skip(self, points: int) -> None:  # noqa: ARG002
            raise OverflowError("stuck")

    bank = Bank(foreign(Stuck, least=0.0), GRID_HZ)
    bank.step([NAN, 1.0, 1.0, NAN], False)
    assert "stuck" in dict(bank.faults)["mine"]
