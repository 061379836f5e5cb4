"""Gates: what they measure, when they close, how long, and what a baseline teaches them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.signal import butter, iirnotch, sosfilt, sosfilt_zi, tf2sos

from engine.auxiliary import Accelerometer, Eyes
from engine.condition import Conditioner, ConditionSettings
from engine.estimate import analytic_sos
from engine.frames import Float, Gate
from engine.gates import (
    AMPLITUDE_EYES_CLOSED_UV,
    AMPLITUDE_UV,
    BLINK_UV,
    MUSCLE_ROBUST_SD,
    MUSCLE_UV,
    GateLimits,
    GateRule,
    Gates,
    GateSettings,
    MotionRule,
)
from engine.reference import Montage

RATE_HZ, HOP, GRID_HZ = 250.0, 5, 50.0
SITES = ("Cz", "Fp1", "Fp2", "Pz")
CZ, FP1, FP2, PZ = range(4)


@dataclass
class Chain:
    """Conditioning and gates, without features and decisions."""

    rate_hz: float = RATE_HZ
    mains_hz: float | None = 50.0
    eyes_closed: bool = False
    rules: dict[str, GateRule] = field(default_factory=dict)
    needed: tuple[int, ...] = (CZ,)
    eyes: tuple[Eyes, ...] = ()
    accelerometer: Accelerometer | None = None
    motion: MotionRule | None = None

    def __post_init__(self) -> None:
        hop = max(1, round(self.rate_hz / 50))
        montage = Montage(
            (0, 1, 2, 3), SITES, (True,) * 4, (0, 1, 2, 3), "as recorded", ((),) * 4
        )  # fmt: skip
        self.conditioner = Conditioner(
            ConditionSettings(
                self.rate_hz, hop, montage, 1.0, None,
                eyes=self.eyes, accelerometer=self.accelerometer,
            )
        )  # fmt: skip
        default = {
            "amplitude": GateRule(True, (CZ,)),
            "blink": GateRule(True, (FP1, FP2)),
            "muscle": GateRule(True, (CZ,)),
            "step": GateRule(True, (CZ,)),
            "saccade": GateRule(True, tuple(range(len(self.eyes)))),
        }
        self.gates = Gates(
            GateSettings(
                self.rate_hz,
                hop,
                **{**default, **self.rules},
                needed=self.needed,
                mains_hz=self.mains_hz,
                eyes_closed=self.eyes_closed,
                site_names=SITES,
                eye_names=tuple(e.name for e in self.eyes),
                motion=self.motion or MotionRule(),
            )
        )
        self.seq = 0
        self.metrics: list[Float] = []
        self.gate: list[Gate] = []
        self.at: list[int] = []

    def run(self, x: Float) -> Chain:
        beat = self.conditioner.beat
        edges = sorted({0, len(x), *range(-self.seq % beat + 1, len(x), beat)})
        start = self.seq
        for a, b in itertools.pairwise(edges):
            c = self.conditioner.step(start + a, np.arange(b - a) / self.rate_hz, x[a:b])
            seen = self.gates.measure(c)
            for g, row in enumerate(c.grid):
                self.at.append(c.seq + int(row))
                self.metrics.append(seen.metrics[g])
                self.gate.append(self.gates.decide(self.at[-1], seen, g))
        self.seq += len(x)
        return self

    def closed(self, kind: Gate) -> Float:
        """Return the seconds at which `kind` is closed."""
        return np.array([s for s, g in zip(self.at, self.gate, strict=True) if g & kind]) / (
            self.rate_hz
        )

    def metric(self, name: str) -> Float:
        return np.array(self.metrics)[:, self.gates.metric_names.index(name)]


def quiet(seconds: float, rate_hz: float = RATE_HZ, sd: float = 4.0, seed: int = 1) -> Float:
    """Noise without much above 30 Hz."""
    white = np.random.default_rng(seed).normal(0, 1, (round(seconds * rate_hz), 4))
    x = sosfilt(butter(2, 12.0, fs=rate_hz, output="sos"), white, axis=0)
    return np.asarray(sd * x / x.std(axis=0))


def blink(x: Float, at_s: float, uv: float = 180.0, lasts_s: float = 0.3) -> Float:
    n = round(lasts_s * RATE_HZ)
    i = round(at_s * RATE_HZ)
    out = x.copy()
    out[i : i + n, [FP1, FP2]] += uv * (np.hanning(n))[:, None]
    return out


# ---------------------------------------------------------------- what is measured


def test_golden_metrics() -> None:
    x = quiet(6.0) + 4.0 * np.random.default_rng(2).normal(0, 1, (1500, 4))
    chain = Chain().run(x)
    grid = np.arange(0, len(x), HOP)

    def filtered(sos: np.ndarray, column: int) -> Float:
        y, _ = sosfilt(sos, x[:, column], zi=sosfilt_zi(sos) * x[0, column])
        return np.asarray(y)

    notch = tf2sos(*iirnotch(50.0, 10.0, fs=RATE_HZ))
    broad = np.concatenate([butter(2, (1, 40), "bandpass", fs=RATE_HZ, output="sos"), notch])
    y = np.abs(filtered(broad, CZ))
    amplitude = [y[max(0, g - HOP + 1) : g + 1].max() for g in grid]
    assert np.allclose(chain.metric("amplitude_Cz"), amplitude)

    slow = butter(1, 0.5, "highpass", fs=RATE_HZ, output="sos")
    y = filtered(np.concatenate([slow, butter(2, 5.0, fs=RATE_HZ, output="sos")]), FP2)
    reach = [np.ptp(y[max(0, g - 20 * HOP + 1) : g + 1]) for g in grid]
    assert np.allclose(chain.metric("blink_Fp2"), reach)

    y = filtered(np.concatenate([butter(2, 1.0, "highpass", fs=RATE_HZ, output="sos"), notch]), CZ)
    power = sum(
        2.0 * np.abs(sosfilt(analytic_sos(b, RATE_HZ), y)) ** 2 for b in ((30, 45), (53, 65))
    )
    keep = np.exp(-1.0 / (0.1 * RATE_HZ))
    mean = sosfilt([[1 - keep, 0, 0, 1, -keep, 0]], power)[grid]
    assert np.allclose(chain.metric("muscle_Cz"), np.sqrt(mean), rtol=1e-6)


def test_muscle_is_measured_in_microvolts_rms() -> None:
    x = np.zeros((1500, 4))
    t = np.arange(1500) / RATE_HZ
    x[:, CZ] = 20.0 * np.sin(2 * np.pi * 37.5 * t)
    assert Chain().run(x).metric("muscle_Cz")[-100:] == pytest.approx(20.0 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("mains_hz", [50.0, 60.0, None])
@pytest.mark.parametrize("rate_hz", [160.0, 250.0, 500.0])
def test_mains_is_neither_muscle_nor_amplitude(mains_hz: float | None, rate_hz: float) -> None:
    """A warning, never a gate; also where the room's frequency is unknown."""
    for hz in (50.0, 60.0) if mains_hz is None else (mains_hz,):
        x = quiet(6.0, rate_hz)
        t = np.arange(len(x)) / rate_hz
        x += 150.0 * np.sin(2 * np.pi * hz * t)[:, None]
        chain = Chain(rate_hz, mains_hz, rules={"step": GateRule(False, ())}).run(x)
        assert not (chain.closed(Gate.AMPLITUDE | Gate.MUSCLE) > 1.5).any(), hz


def test_no_muscle_is_looked_for_where_the_rate_leaves_no_band() -> None:
    chain = Chain(80.0, None).run(quiet(2.0, 80.0))
    assert chain.gates.metric_names == ("amplitude_Cz", "blink_Fp1", "blink_Fp2")


# ---------------------------------------------------------------- when they close, how long


def test_defaults_are_those_of_the_science() -> None:
    assert Chain().gates.limits.limits.tolist() == [AMPLITUDE_UV, BLINK_UV, BLINK_UV, MUSCLE_UV]
    closed = Chain(eyes_closed=True).gates.limits.limits
    assert closed[0] == AMPLITUDE_EYES_CLOSED_UV == 250.0
    assert (AMPLITUDE_UV, BLINK_UV, MUSCLE_UV) == (100.0, 75.0, 15.0)


def test_quiet_eeg_is_open_after_warming_up() -> None:
    chain = Chain().run(quiet(20.0))
    settle_s = chain.gates.settle / RATE_HZ
    assert settle_s < 2.5
    assert chain.closed(Gate.WARMUP).max() < settle_s
    assert not any(g for s, g in zip(chain.at, chain.gate, strict=True) if s >= chain.gates.settle)


def test_a_blink_is_seen_within_150_ms_and_freezes_half_a_second_after_its_end() -> None:
    closed = Chain().run(blink(quiet(10.0), 5.0)).closed(Gate.BLINK)
    assert 5.0 < closed[0] < 5.15
    assert 5.3 + 0.5 < closed[-1] < 5.3 + 1.3
    assert np.diff(closed).max() < 0.03


def test_a_blink_while_filters_warm_up_freezes_like_any_other() -> None:
    x = quiet(10.0)
    x[1000:, CZ] += 5000.0  # a step at 4 s: filters of Cz start anew
    chain = Chain().run(blink(x, 5.2, lasts_s=0.4))
    assert chain.closed(Gate.WARMUP).max() < 4.0 + chain.gates.settle / RATE_HZ
    assert chain.closed(Gate.BLINK).max() > 5.6 + 0.5


def test_amplitude_muscle_and_step_freeze_as_said() -> None:
    x = quiet(20.0)
    t = np.arange(250) / RATE_HZ
    x[1250:1500, CZ] += 300.0 * np.sin(2 * np.pi * 6.0 * t) * np.hanning(250)
    x[2500:2750, CZ] += 40.0 * np.sin(2 * np.pi * 37.5 * t) * np.hanning(250)
    x[3750:, CZ] += 3000.0
    chain = Chain().run(x)
    amplitude, muscle, step = (chain.closed(g) for g in (Gate.AMPLITUDE, Gate.MUSCLE, Gate.STEP))
    assert 5.0 < amplitude[0] < 5.5
    assert 6.2 < amplitude[-1] < 6.6
    assert 10.0 < muscle[0] < 10.5
    assert 11.2 < muscle[-1] < 11.8
    assert step[0] == pytest.approx(15.0, abs=1e-9)
    assert step[-1] == pytest.approx(16.0, abs=0.02)


def test_given_limits_and_freezes_are_used() -> None:
    rules = {"blink": GateRule(True, (FP1, FP2), limit_uv=30.0, after_s=1.5)}
    closed = Chain(rules=rules).run(blink(quiet(10.0, sd=2.0), 5.0, uv=60.0)).closed(Gate.BLINK)
    assert closed[0] > 5.0
    assert 5.3 + 1.5 < closed[-1] < 5.3 + 2.5


def test_what_is_off_never_closes() -> None:
    off = GateRule(False, (CZ,))
    rules = dict.fromkeys(("amplitude", "blink", "muscle", "step"), off)
    x = blink(quiet(10.0), 5.0) + 0.0
    x[1500:, CZ] += 5000.0
    chain = Chain(rules=rules).run(x)
    assert chain.gates.n_metrics == 0
    seen = Gate(int(np.bitwise_or.reduce([int(g) for g in chain.gate])))
    assert seen == Gate.WARMUP  # filters start anew at a step all the same


def test_a_jump_that_does_not_stay_closes_for_half_a_second_and_restarts_nothing() -> None:
    x = quiet(12.0)
    x[1500, CZ] += 120.0
    chain = Chain().run(x)
    step = chain.closed(Gate.STEP)
    assert step[0] == pytest.approx(6.0)
    assert step[-1] == pytest.approx(6.52, abs=0.021)
    assert chain.closed(Gate.WARMUP).max() < 3.0


def test_a_jump_that_stays_closes_at_once_and_restarts_the_filters() -> None:
    x = quiet(14.0)
    x[1500:, CZ] += 150.0
    chain = Chain().run(x)
    step, warm = chain.closed(Gate.STEP), chain.closed(Gate.WARMUP)
    assert step[0] == pytest.approx(6.0)
    assert step[-1] == pytest.approx(7.06, abs=0.04)
    assert warm[warm > 3.0][0] == pytest.approx(6.06, abs=0.03)
    closed = chain.closed(Gate.STEP | Gate.WARMUP)
    assert np.diff(closed[closed > 5.0]).max() < 0.03


def test_a_tense_jaw_is_muscle_and_restarts_nothing() -> None:
    x = quiet(12.0)
    rng = np.random.default_rng(3)
    emg = sosfilt(butter(2, (30, 110), "bandpass", fs=RATE_HZ, output="sos"), rng.normal(size=500))
    x[1500:2000, CZ] += 60.0 * emg / emg.std() * np.minimum(1.0, np.hanning(500) * 6.0)
    chain = Chain().run(x)
    assert chain.closed(Gate.STEP).size
    assert chain.closed(Gate.WARMUP).max() < 3.0
    muscle = chain.closed(Gate.MUSCLE)
    assert 6.0 < muscle[0] < 6.4
    assert 8.3 < muscle[-1] < 8.8


# ---------------------------------------------------------------- sideways looks


ACROSS = (Eyes("Fp1-Fp2", FP1, FP2),)


def look(x: Float, at_s: float, uv: float, flank_s: float = 0.04) -> Float:
    """Move the eyes and leave them there: half of `uv` up at Fp1, half of it down at Fp2."""
    out = x.copy()
    t = np.arange(len(x)) / RATE_HZ
    eye = uv * np.clip((t - at_s) / flank_s, 0.0, 1.0)
    out[:, FP1] += eye / 2
    out[:, FP2] -= eye / 2
    return out


@pytest.mark.parametrize("uv", [80.0, -80.0, 300.0])
def test_a_look_is_seen_within_150_ms_and_freezes_300_ms(uv: float) -> None:
    chain = Chain(eyes=ACROSS, rules={"blink": GateRule(False, ())}).run(look(quiet(10.0), 5.0, uv))
    closed = chain.closed(Gate.SACCADE)
    assert 5.0 < closed[0] <= 5.15
    assert 5.3 + 0.1 < closed[-1] < 5.3 + 0.25
    assert np.diff(closed).max() < 0.03


def test_golden_saccade_is_the_step_between_two_means() -> None:
    x = look(quiet(3.0, sd=1.0), 1.5, 90.0)
    chain = Chain(eyes=ACROSS).run(x)
    trace = x[:, FP1] - x[:, FP2]
    grid = np.arange(0, len(x), HOP)
    means = [
        abs(trace[g - 24 : g + 1].mean() - trace[g - 49 : g - 24].mean()) for g in grid[grid >= 49]
    ]
    assert np.allclose(chain.metric("saccade_Fp1-Fp2")[grid >= 49], means)
    assert max(means) > 0.9 * 90.0


def test_a_symmetrical_blink_and_alpha_are_no_look() -> None:
    x = blink(quiet(10.0), 5.0, uv=300.0)
    t = np.arange(len(x)) / RATE_HZ
    x[:, FP1] += 60.0 * np.sin(2 * np.pi * 10.0 * t)
    assert not Chain(eyes=ACROSS).run(x).closed(Gate.SACCADE).size


def test_a_restless_trace_is_judged_by_its_own_norm() -> None:
    """Slow noise that goes beyond 40 µV all the time says nothing; a look far beyond it does."""
    rng = np.random.default_rng(2)
    slow = sosfilt(butter(2, 4.0, fs=RATE_HZ, output="sos"), rng.normal(size=5000))
    x = quiet(20.0, sd=2.0)
    x[:, FP1] += 30.0 * slow / slow.std()
    chain = Chain(eyes=ACROSS).run(look(x, 15.0, 400.0))
    assert (np.abs(chain.closed(Gate.SACCADE) - 15.2) < 0.5).sum() > 10
    before = chain.closed(Gate.SACCADE)
    assert ((before > 2.0) & (before < 15.0)).sum() < 0.05 * 13 * GRID_HZ
    raw = np.abs(x[50:3750, FP1] - x[:3700, FP1])
    assert (raw > 40.0).mean() > 0.1


def test_a_given_limit_of_looks_is_used_and_none_is_learned() -> None:
    rules = {"saccade": GateRule(True, (0,), limit_uv=200.0, after_s=1.0)}
    chain = Chain(eyes=ACROSS, rules=rules).run(look(look(quiet(10.0), 5.0, 150.0), 7.0, 300.0))
    closed = chain.closed(Gate.SACCADE)
    assert 7.0 < closed[0] < 7.15
    assert closed[-1] > 8.0
    data = np.column_stack([baseline(), np.full(3000, 30.0)])
    assert Chain(eyes=ACROSS).gates.relearn(data)[0].limits[4] == 40.0


@pytest.mark.parametrize("how", ["flat", "nan", "rail"])
def test_where_a_trace_is_broken_no_look_is_asked_for(how: str) -> None:
    x = broken(quiet(14.0), FP1, how)
    closed = Chain(eyes=ACROSS).run(look(x, 5.0, 100.0)).closed(Gate.SACCADE)
    # What the break itself looked like may have closed it until it was known to be one.
    assert not ((closed > 5.0) & (closed < 5.9)).any() or how == "nan"
    marked = Chain(eyes=ACROSS)
    marked.conditioner.mark_bad("Fp2")
    assert not marked.run(look(quiet(8.0), 5.0, 200.0)).closed(Gate.SACCADE).size


# ---------------------------------------------------------------- motion


def moving(x: Float, at_s: float, size_g: float, scale: float = 1.0) -> Float:
    """Add three columns of an accelerometer: gravity, and one second of nodding."""
    t = np.arange(len(x)) / RATE_HZ
    nod = (t >= at_s) & (t < at_s + 1.0)
    g = np.tile([0.1, 0.6, 0.79], (len(x), 1))
    g += 0.003 * np.random.default_rng(1).normal(size=g.shape)
    g[:, 2] += size_g * nod * np.sin(2 * np.pi * 3.0 * (t - at_s))
    return np.column_stack([x, scale * g])


def motion_chain(**changes: float) -> Chain:
    return Chain(accelerometer=Accelerometer((4, 5, 6), 1.0), motion=MotionRule(True, **changes))


@pytest.mark.parametrize("scale", [1.0, 0.5, 9.81])
def test_a_nod_closes_while_it_lasts_and_half_a_second_after(scale: float) -> None:
    chain = motion_chain().run(moving(quiet(12.0), 6.0, 0.4, scale))
    closed = chain.closed(Gate.MOTION)
    assert 6.0 < closed[0] < 6.1
    assert 7.4 < closed[-1] < 7.6
    assert np.diff(closed).max() < 0.03
    assert chain.gates.metric_names[-1] == "motion_g"
    assert 0.25 < chain.metric("motion_g").max() < 0.4


def test_a_small_nod_and_turning_the_head_slowly_close_nothing() -> None:
    assert not motion_chain().run(moving(quiet(12.0), 6.0, 0.08)).closed(Gate.MOTION).size
    t = np.arange(3000) / RATE_HZ
    turned = np.column_stack([np.sin(t / 3.0), np.cos(t / 3.0), 0.0 * t])
    x = np.column_stack([quiet(12.0), turned])
    assert not motion_chain().run(x).closed(Gate.MOTION).size


def test_limit_and_freeze_of_motion_are_used() -> None:
    chain = motion_chain(limit_g=0.05, after_s=2.0).run(moving(quiet(12.0), 6.0, 0.08))
    closed = chain.closed(Gate.MOTION)
    assert 6.0 < closed[0] < 6.3
    assert closed[-1] > 8.5


@pytest.mark.parametrize("what", [np.nan, np.inf, 0.0])
def test_readings_that_are_missing_are_no_motion(what: float) -> None:
    """Sensors that are slower than the EEG send zeros between their readings; others send NaN."""
    x = moving(quiet(12.0), 6.0, 0.4)
    x[:40, 4:] = what
    x[np.arange(len(x)) % 10 != 0, 4:] = what
    closed = motion_chain().run(x).closed(Gate.MOTION)
    assert 6.0 < closed[0] < 6.1
    assert 7.4 < closed[-1] < 7.6


def test_a_sensor_that_never_reads_closes_nothing() -> None:
    x = np.column_stack([quiet(6.0), np.zeros((1500, 3))])
    chain = motion_chain().run(x)
    assert not chain.closed(Gate.MOTION).size
    assert np.isfinite(np.array(chain.metrics)).all()


def test_the_first_reading_of_a_sensor_is_not_its_rest() -> None:
    x = moving(quiet(12.0), 8.0, 0.0)
    x[0, 4:] *= 0.5
    closed = motion_chain().run(x).closed(Gate.MOTION)
    assert not (closed > 1.0).any()


# ---------------------------------------------------------------- broken channels


def broken(x: Float, column: int, how: str) -> Float:
    out = x.copy()
    out[1000:1500, column] = {"flat": x[1000, column], "nan": np.nan, "rail": 1e6}[how]
    return out


@pytest.mark.parametrize("how", ["flat", "nan", "rail"])
def test_a_broken_channel_gates_where_it_is_needed(how: str) -> None:
    gate = {"flat": Gate.FLAT, "nan": Gate.NAN, "rail": Gate.RAIL}[how]
    chain = Chain().run(broken(quiet(14.0), CZ, how))
    closed = chain.closed(gate)
    assert 4.0 <= closed[0] < 5.3
    assert closed[-1] >= 6.0 + (0.5 if how == "nan" else 4.5)
    assert not Chain().run(broken(quiet(14.0), PZ, how)).closed(gate).size


@pytest.mark.parametrize("how", ["flat", "nan", "rail"])
def test_without_any_blink_site_nobody_would_see_a_blink(how: str) -> None:
    gate = {"flat": Gate.FLAT, "nan": Gate.NAN, "rail": Gate.RAIL}[how]
    one = broken(quiet(14.0), FP1, how)
    assert not Chain().run(one).closed(gate).size
    assert Chain().run(broken(one, FP2, how)).closed(gate).size


def test_a_marked_blink_site_is_not_asked_but_the_other_one_is() -> None:
    x = blink(quiet(14.0), 9.0)
    x[:, FP1] += 300.0 * np.sin(2 * np.pi * 1.5 * np.arange(len(x)) / RATE_HZ)
    noisy = Chain().run(x)
    assert noisy.closed(Gate.BLINK).size > 500
    chain = Chain()
    chain.conditioner.mark_bad("Fp1")
    closed = chain.run(x).closed(Gate.BLINK)
    assert 9.0 < closed[0] < 9.15
    assert closed[-1] < 10.6
    both = Chain()
    for name in ("Fp1", "Fp2"):
        both.conditioner.mark_bad(name)
    both.run(x)
    assert not both.closed(Gate.BLINK | Gate.MARKED).size


def test_a_marked_needed_site_gates_for_good() -> None:
    chain = Chain()
    chain.conditioner.mark_bad("Cz")
    assert len(chain.run(quiet(2.0)).closed(Gate.MARKED)) == 100


def test_a_gap_empties_everything() -> None:
    chain = Chain().run(quiet(6.0))
    chain.conditioner.restart()
    chain.seq += 100
    chain.gates.gap(chain.seq)
    chain.run(quiet(6.0, seed=3))
    closed = chain.closed(Gate.GAP)
    assert closed[0] == pytest.approx(6.4)
    assert closed[-1] == pytest.approx(6.4 + chain.gates.settle / RATE_HZ, abs=0.03)
    after = [g for s, g in zip(chain.at, chain.gate, strict=True) if s / RATE_HZ > closed[-1]]
    assert not any(after)


# ---------------------------------------------------------------- what a baseline teaches


def baseline(n: int = 3000, seed: int = 4) -> Float:
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal([30, 25, 25, 3], [6, 5, 5, 0.4], (n, 4)))


def robust(data: Float, times: float) -> Float:
    centre = np.median(data, axis=0)
    return np.asarray(centre + times * 1.4826 * np.median(np.abs(data - centre), axis=0))


def test_learned_limits_have_floors_and_muscle_has_none() -> None:
    limits, keep = Chain().gates.relearn(baseline())
    assert limits.learned
    assert limits.limits[:3].tolist() == [100.0, 75.0, 75.0]
    assert limits.limits[3] == pytest.approx(robust(baseline(), MUSCLE_ROBUST_SD)[3])
    assert keep.mean() > 0.95


def test_more_sites_have_wider_limits_of_muscle() -> None:
    """So that all of them together close for nothing about as often as one."""
    data = baseline()[:, [0, 1, 2, 3, 3, 3, 3]]
    chain = Chain(rules={"muscle": GateRule(True, (CZ, FP1, FP2, PZ))})
    limits, _ = chain.gates.relearn(data)
    assert limits.limits[3:] == pytest.approx([robust(baseline(), MUSCLE_ROBUST_SD + 1.0)[3]] * 4)


def test_a_tense_baseline_does_not_teach_that_tension_is_rest() -> None:
    data = baseline()
    data[:, 3] += 9.0 + np.random.default_rng(1).uniform(-2.0, 2.0, len(data))
    assert robust(data, MUSCLE_ROBUST_SD)[3] > MUSCLE_UV
    assert Chain().gates.relearn(data)[0].limits[3] == MUSCLE_UV


def test_a_person_whose_rest_is_larger_gets_larger_limits() -> None:
    data = baseline() * [1.6, 1.5, 1.5, 1.0]
    limits, keep = Chain().gates.relearn(data)
    assert (limits.limits[:3] > [100.0, 75.0, 75.0]).all()
    assert limits.limits[:3] == pytest.approx(robust(data, 6.0)[:3], rel=0.05)
    assert keep.mean() > 0.95


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_blinks_during_the_baseline_teach_no_wider_limits(share: float) -> None:
    """A fifth of a minute of blinks would otherwise widen the limits until blinks fit in."""
    data = baseline()
    for start in range(0, 3000, 250):
        data[start : start + round(share * 250), 1:3] = 130.0
    limits, keep = Chain().gates.relearn(data)
    assert limits.limits[:3].tolist() == [100.0, 75.0, 75.0]
    assert limits.limits[3] == pytest.approx(robust(baseline(), MUSCLE_ROBUST_SD)[3], rel=0.05)
    assert not keep[(data[:, 1] == 130.0)].any()


def test_nothing_clean_teaches_nothing() -> None:
    data = baseline() * 10.0
    limits, keep = Chain().gates.relearn(data)
    assert limits.limits.tolist() == [100.0, 75.0, 75.0, MUSCLE_UV]
    assert not keep.any()


def test_given_limits_are_kept_and_too_little_teaches_nothing() -> None:
    chain = Chain(rules={"muscle": GateRule(True, (CZ,), limit_uv=7.0)})
    assert chain.gates.relearn(baseline())[0].limits[3] == 7.0
    data = baseline(40)
    assert Chain().gates.relearn(data)[0].limits.tolist() == [100.0, 75.0, 75.0, MUSCLE_UV]
    limits, keep = Chain().gates.relearn(np.empty((0, 4)))
    assert limits.limits.tolist() == [100.0, 75.0, 75.0, MUSCLE_UV]
    assert keep.shape == (0,)


def test_regating_withdraws_the_freeze_after_and_100_ms_before_a_blink() -> None:
    data = np.full((1000, 4), [30.0, 25.0, 25.0, 3.0]) + 0.1 * baseline(1000)
    data[400, 1] = 500.0
    data[700, 0] = 500.0
    _, keep = Chain().gates.relearn(data)
    gone = np.flatnonzero(~keep)
    assert gone.tolist() == [*range(395, 426), *range(700, 726)]


def test_relearning_changes_nothing_until_applied() -> None:
    gates = Chain().gates
    before = gates.limits
    limits, _ = gates.relearn(baseline())
    assert gates.limits is before
    gates.apply(limits)
    assert gates.limits is limits


def test_applied_limits_count_from_the_next_grid_point_within_a_segment() -> None:
    """Limits may be learned in the middle of a segment: later points of it use them."""
    chain = Chain()
    chain.run(quiet(4.0))
    n = chain.conditioner.beat
    x = quiet((n + 1) / RATE_HZ)
    chain.gates.measure(chain.conditioner.step(chain.seq, np.zeros(1), x[:1]))
    c = chain.conditioner.step(chain.seq + 1, np.zeros(n), x[1:])
    seen = chain.gates.measure(c)
    assert len(c.grid) == 10
    out = []
    for g, row in enumerate(c.grid):
        out.append(chain.gates.decide(c.seq + int(row), seen, g))
        if g == 4:
            chain.gates.apply(GateLimits(np.zeros(4), learned=True))
    assert [bool(g) for g in out] == [False] * 5 + [True] * 5
