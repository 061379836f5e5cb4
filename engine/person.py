"""A synthetic person: EEG at 19 sites whose rhythms and artefacts are known exactly.

Pure and seeded. The same seed gives the same brain whether blinks and jaw are on or off, because
each source has a random generator of its own, and the same samples however they are asked for,
because everything is made in blocks of a fixed number of samples.

The model, at every site, in µV::

    x(t) = background + rhythms + blinks + jaw + mains + offset + amplifier noise
           + looks + pops + moves, which happen only when they are switched on or asked for

* background: four Ornstein-Uhlenbeck processes with corners at 0.4, 1.6, 6.4 and 25.6 Hz and
  equal variance (a 1/f spectrum), mixed over neighbouring sites; 10 µV rms from 1 to 40 Hz.
* rhythms: several generators each, ``Re(sum_i w_i e_i exp(j phi_i))`` with a wandering phase and
  an envelope ``e = max(0, 0.7 + 0.36 g)``, ``g`` a slow process of unit variance: bursts. The
  truth of a rhythm is ``|sum_i w_i e_i exp(j phi_i)|`` at its site, an amplitude (peak, not rms).
* blinks: smooth humps at Fp1 and Fp2, fading backwards; only while the eyes are open.
* jaw: noise from 20 Hz upward, strongest at the temples, stated as rms from 30 to 45 Hz.
* looks, pops and moves, and the accelerometer: see `engine.disturbances`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.disturbances import Happenings, Looks, Moves, Pops
from engine.errors import InputError
from engine.frames import Channel, Float

__all__ = [
    "COLUMNS",
    "MAX_RATE_HZ",
    "MIN_RATE_HZ",
    "SITES",
    "TRUTH_SITE",
    "Person",
    "Strengths",
    "columns",
]

Eyes = Literal["open", "closed"]
Complex = NDArray[np.complex128]

SITES = (
    "Fp1", "Fp2", "F7", "F3", "Fz", "F4", "F8", "T7", "C3", "Cz",
    "C4", "T8", "P7", "P3", "Pz", "P4", "P8", "O1", "O2",
)  # fmt: skip
TRUTHS = (
    "truth_alpha",
    "truth_smr",
    "truth_theta",
    "truth_blink",
    "truth_jaw",
    "truth_fault",
    "truth_saccade",
    "truth_pop",
    "truth_motion",
)
ACCELEROMETER = ("acc_x", "acc_y", "acc_z")
COLUMNS = (*SITES, "counter", *TRUTHS, *ACCELEROMETER)
"""Every column that a person gives, in order."""

TRUTH_SITE = {"truth_alpha": "Pz", "truth_smr": "Cz", "truth_theta": "Fz"}
"""At which site a rhythm's true amplitude is given."""

MIN_RATE_HZ, MAX_RATE_HZ = 128.0, 2048.0
BLOCK_S = 0.03  # about; changes of the person take effect at the next block
COUNTER_WRAP = 1 << 24  # float32 counts exactly up to here: 18 h at 250 Hz

# Positions on the head seen from above: x to the right, y to the nose, 1 = the equator.
_XY = np.array(
    [
        (-0.31, 0.95), (0.31, 0.95), (-0.81, 0.59), (-0.42, 0.55), (0.0, 0.50), (0.42, 0.55),
        (0.81, 0.59), (-1.0, 0.0), (-0.5, 0.0), (0.0, 0.0), (0.5, 0.0), (1.0, 0.0),
        (-0.81, -0.59), (-0.42, -0.55), (0.0, -0.50), (0.42, -0.55), (0.81, -0.59),
        (-0.31, -0.95), (0.31, -0.95),
    ]
)  # fmt: skip
_CORNERS_HZ = (0.4, 1.6, 6.4, 25.6)
_DRIFT_HZ = 0.02
_BLINK_AT = np.array(
    [
        1.0, 0.97, 0.42, 0.38, 0.36, 0.38, 0.42, 0.10, 0.12, 0.12,
        0.12, 0.10, 0.04, 0.05, 0.05, 0.05, 0.04, 0.02, 0.02,
    ]
)  # fmt: skip
_JAW_AT = np.array(
    [
        0.60, 0.60, 0.90, 0.55, 0.48, 0.55, 0.90, 1.0, 0.50, 0.45,
        0.50, 1.0, 0.75, 0.50, 0.45, 0.50, 0.75, 0.55, 0.55,
    ]
)  # fmt: skip
_BLINK_RISE = 0.7  # exponent: below 1 the lid falls faster than it rises
_JAW_RAMP_S = 0.08
_EYES_TAU_S = 0.4  # alpha follows the lids, but not at once


@dataclass(frozen=True, slots=True)
class Strengths:
    """How strong everything is; 0 switches it off.

    Parameters
    ----------
    background_uv : float
        rms from 1 to 40 Hz.
    alpha_uv, alpha_open_uv, smr_uv, theta_uv, beta_uv : float
        Mean amplitude (peak of the oscillation) of the main generator: alpha with eyes closed
        and open.
    blink_uv : tuple of float
        Range of the height at Fp1.
    jaw_uv : tuple of float
        Range of the rms from 30 to 45 Hz at T7 and T8.
    mains_uv : float
        Amplitude, about; sites differ.
    offset_uv : float
        Largest electrode offset.
    noise_uv : float
        rms of the amplifier's own noise.
    """

    background_uv: float = 10.0
    alpha_uv: float = 24.0
    alpha_open_uv: float = 7.0
    smr_uv: float = 4.0
    theta_uv: float = 5.0
    beta_uv: float = 2.0
    blink_uv: tuple[float, float] = (150.0, 200.0)
    jaw_uv: tuple[float, float] = (38.0, 60.0)
    mains_uv: float = 3.0
    offset_uv: float = 400.0
    noise_uv: float = 0.4


@dataclass(frozen=True, slots=True)
class _Rhythm:
    """One oscillator: where it is centred, how far it reaches, its strength."""

    name: str
    hz: float
    xy: tuple[float, float]
    reach: float
    weight: float


def _rhythms(alpha_hz: float, smr_hz: float, theta_hz: float) -> tuple[_Rhythm, ...]:
    return (
        _Rhythm("alpha", alpha_hz, (0.0, -0.75), 0.55, 1.0),
        _Rhythm("alpha", alpha_hz + 0.2, (-0.45, -0.35), 0.55, 0.35),
        _Rhythm("alpha", alpha_hz - 0.2, (0.45, -0.35), 0.55, 0.35),
        _Rhythm("smr", smr_hz, (0.0, 0.0), 0.35, 1.0),
        _Rhythm("smr", smr_hz - 0.1, (-0.5, 0.0), 0.3, 0.7),
        _Rhythm("smr", smr_hz + 0.1, (0.5, 0.0), 0.3, 0.7),
        _Rhythm("theta", theta_hz, (0.0, 0.45), 0.4, 1.0),
        _Rhythm("beta", 19.0, (-0.35, 0.3), 0.6, 1.0),
        _Rhythm("beta", 21.0, (0.35, 0.3), 0.6, 1.0),
    )


class _Lag:
    """One-pole low-passes over blocks of fixed length: ``y[i] = a y[i-1] + (1 - a) x[i]``.

    As one small matrix product per block, which needs no compiled filter. Blocks are of shape
    (n_corners, n_samples, n_channels).
    """

    def __init__(
        self, corners_hz: tuple[float, ...], rate_hz: float, block: int, channels: int
    ) -> None:
        self.poles = np.exp(-2.0 * np.pi * np.array(corners_hz) / rate_hz)[:, None, None]
        i = np.arange(block)
        powers = self.poles ** np.abs(i[:, None] - i)
        self._matrix = np.where(i[:, None] >= i, powers, 0.0) * (1.0 - self.poles)
        self._carry = self.poles ** (i[:, None] + 1.0)
        self._last = np.zeros((len(corners_hz), 1, channels))

    def start(self, value: Float) -> None:
        """Begin in the steady state instead of at rest."""
        self._last = np.array(value, dtype=np.float64).reshape(self._last.shape)

    def step(self, x: Float) -> Float:
        """Filter one block."""
        y: Float = self._matrix @ x + self._carry * self._last
        self._last = y[:, -1:]
        return y


class _Noise:
    """Slow Gaussian processes of unit variance (Ornstein-Uhlenbeck), one per corner and channel."""

    def __init__(
        self,
        corners_hz: tuple[float, ...],
        rate_hz: float,
        block: int,
        channels: int,
        rng: np.random.Generator,
    ) -> None:
        self._rng, self._shape = rng, (len(corners_hz), block, channels)
        self._lag = _Lag(corners_hz, rate_hz, block, channels)
        self._gain = np.sqrt((1.0 + self._lag.poles) / (1.0 - self._lag.poles))
        self._lag.start(rng.standard_normal((len(corners_hz), channels)))

    def step(self) -> Float:
        """Return the next block, shape (n_corners, n_samples, n_channels)."""
        return self._lag.step(self._gain * self._rng.standard_normal(self._shape))


class Person:
    """A person with 19 electrodes, sample by sample.

    Parameters
    ----------
    rate_hz : float
        128 to 2048.
    seed : int
        The same seed gives the same person.
    eyes : {"open", "closed"}
        May be changed at any time, takes effect at the next block of about 30 ms.
    blinks, jaw, looks, pops, moves : bool
        Whether these artefacts happen; looks, like blinks, only while the eyes are open.
    strengths : Strengths
    alpha_hz, smr_hz, theta_hz, mains_hz : float

    Attributes
    ----------
    eyes, blinks, jaw, looks, pops, moves
        May be changed at any time.
    gains : dict of str to float
        Factors on ``alpha``, ``smr``, ``theta``, ``beta``; may be changed at any time.

    Raises
    ------
    InputError
        The rate is out of range.

    Examples
    --------
    >>> person = Person(250.0, seed=1, blinks=False)
    >>> person.read(500).shape
    (500, 32)
    """

    def __init__(
        self,
        rate_hz: float = 250.0,
        *,
        seed: int = 1,
        eyes: Eyes = "open",
        blinks: bool = True,
        jaw: bool = True,
        looks: bool = False,
        pops: bool = False,
        moves: bool = False,
        strengths: Strengths | None = None,
        alpha_hz: float = 10.0,
        smr_hz: float = 13.5,
        theta_hz: float = 6.0,
        mains_hz: float = 50.0,
    ) -> None:
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
            raise InputError(
                f"A rate of {rate_hz:g} Hz cannot be simulated.",
                f"Choose from {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz.",
            )
        self.rate_hz = rate_hz
        self.eyes: Eyes = eyes
        self.blinks, self.jaw = blinks, jaw
        self.looks, self.pops, self.moves = looks, pops, moves
        self.gains = {"alpha": 1.0, "smr": 1.0, "theta": 1.0, "beta": 1.0}
        self.block = max(2, round(BLOCK_S * rate_hz))
        self._strengths = strengths or Strengths()
        self.mains_hz = mains_hz
        self._seed = seed
        self._hz = (alpha_hz, smr_hz, theta_hz)
        self._asked: list[tuple[str, int, int, float]] = []
        self._made = 0  # samples made, more than given out
        self._left: Float = np.empty((0, len(COLUMNS)))
        # New ones at the end: what a seed gave before it gives for ever.
        names = (
            *("place", "background", "rhythm", "phase", "noise", "blink", "jaw", "emg"),
            *("look", "pop", "move", "sensor"),
        )
        seeds = np.random.SeedSequence(seed).spawn(len(names))
        rng = {n: np.random.default_rng(s) for n, s in zip(names, seeds, strict=True)}
        self._build_background(rng)
        self._build_rhythms(rng, _rhythms(alpha_hz, smr_hz, theta_hz))
        self._build_artefacts(rng)

    # -------------------------------------------------------- sources

    def _build_background(self, rng: dict[str, np.random.Generator]) -> None:
        rate_hz, block, n = self.rate_hz, self.block, len(SITES)
        distance = np.linalg.norm(_XY[:, None] - _XY, axis=2)
        kernel = 0.75 * np.exp(-((distance / 0.6) ** 2)) + 0.25 * np.eye(n)
        values, vectors = np.linalg.eigh(kernel)
        self._mix = (vectors * np.sqrt(values)) @ vectors.T
        self._slow = _Noise((*_CORNERS_HZ, _DRIFT_HZ), rate_hz, block, n, rng["background"])
        f = np.linspace(1.0, 40.0, 2000)
        poles = np.exp(-2.0 * np.pi * np.array(_CORNERS_HZ) / rate_hz)[:, None]
        density = 2.0 / rate_hz * (1.0 - poles**2)
        density = density / np.abs(1.0 - poles * np.exp(-2j * np.pi * f / rate_hz)) ** 2
        inside = float(density.sum(axis=0).mean() * 39.0)
        self._mix = self._mix * (self._strengths.background_uv / np.sqrt(inside))
        self._noise_rng = rng["noise"]
        place = rng["place"]
        self._offset_uv = place.uniform(-1.0, 1.0, len(SITES)) * self._strengths.offset_uv
        self._mains_uv = place.uniform(0.5, 1.5, len(SITES)) * self._strengths.mains_uv
        self._mains_phase = place.normal(0.0, 0.3, len(SITES))

    def _build_rhythms(
        self, rng: dict[str, np.random.Generator], rhythms: tuple[_Rhythm, ...]
    ) -> None:
        self._rhythms = rhythms
        n = len(rhythms)
        centres = np.array([r.xy for r in rhythms])
        reach = np.array([r.reach for r in rhythms])
        distance = np.linalg.norm(centres[:, None] - _XY, axis=2)
        weights = np.array([r.weight for r in rhythms])[:, None]
        self._reach = weights * np.exp(-((distance / reach[:, None]) ** 2))  # (rhythm, site)
        s = self._strengths
        uv = {"alpha": s.alpha_uv, "smr": s.smr_uv, "theta": s.theta_uv, "beta": s.beta_uv}
        # The mean of the envelope below is 0.7 and a little.
        self._peak_uv = np.array([uv[r.name] for r in rhythms]) / 0.71
        self._step_rad = 2.0 * np.pi * np.array([r.hz for r in rhythms]) / self.rate_hz
        self._phase = rng["phase"].uniform(0.0, 2.0 * np.pi, n)
        self._phase_rng = rng["phase"]
        self._wander = 0.02 * np.sqrt(250.0 / self.rate_hz)  # phase noise, rad per sample
        self._burst = _Noise((0.16,), self.rate_hz, self.block, n, rng["rhythm"])  # 1 s
        self._open = s.alpha_open_uv / s.alpha_uv if s.alpha_uv > 0 else 0.0
        # Rhythms follow a change of state smoothly.
        self._state = _Lag((0.5 / (np.pi * _EYES_TAU_S),), self.rate_hz, self.block, n)
        self._state.start(self._wanted())
        self._of = {
            f"truth_{name}": np.array([r.name == name for r in rhythms])
            for name in ("alpha", "smr", "theta")
        }

    def _build_artefacts(self, rng: dict[str, np.random.Generator]) -> None:
        s, rate_hz, block = self._strengths, self.rate_hz, self.block
        self._blinking = False
        # 12 a minute, at least 1 s apart.
        self._lids = Happenings(rng["blink"], rate_hz, 5.0, 1.0, (0.25, 0.4), s.blink_uv)
        self._clenches = Happenings(rng["jaw"], rate_hz, 20.0, 4.0, (0.5, 1.5), s.jaw_uv)
        self._emg_rng = rng["emg"]
        self._emg = [_Lag((hz,), rate_hz, block, len(SITES)) for hz in (150.0, 20.0, 20.0)]
        f = np.linspace(30.0, 45.0, 500)
        z = np.exp(-2j * np.pi * f / rate_hz)
        low, high, _ = ((1.0 - lag.poles[0, 0]) / (1.0 - lag.poles[0, 0] * z) for lag in self._emg)
        passed = np.abs(low * (1.0 - high) ** 2) ** 2
        self._emg_gain = 1.0 / np.sqrt(float(passed.mean()) * 15.0 * 2.0 / rate_hz)
        self._looks = Looks(rng["look"], rate_hz)
        self._pops = Pops(rng["pop"], rate_hz, len(SITES))
        self._moves = Moves(rng["move"], rng["sensor"], rate_hz)

    # -------------------------------------------------------- one block

    def _wanted(self) -> Float:
        """Return the factor each rhythm is moving towards."""
        lids = self._open if self.eyes == "open" else 1.0
        return np.array(
            [self.gains[r.name] * (lids if r.name == "alpha" else 1.0) for r in self._rhythms]
        )

    def _make_block(self) -> Float:
        n = self.block
        i = np.arange(self._made, self._made + n)
        out = np.zeros((n, len(COLUMNS)))
        eeg = out[:, : len(SITES)]
        slow = self._slow.step()
        eeg += slow[:-1].sum(axis=0) @ self._mix
        eeg += self._offset_uv + 0.05 * self._strengths.offset_uv * slow[-1]
        phasors = self._rhythm_block()
        eeg += phasors.real @ self._reach
        for name, mine in self._of.items():
            at = SITES.index(TRUTH_SITE[name])
            out[:, COLUMNS.index(name)] = np.abs(phasors[:, mine] @ self._reach[mine, at])
        self._add_blinks(i, out)
        self._add_jaw(i, out)
        # The mains phase from whole samples stays exact over hours.
        turn = np.mod(i * (self.mains_hz / self.rate_hz), 1.0)[:, None]
        eeg += self._mains_uv * np.sin(2.0 * np.pi * turn + self._mains_phase)
        eeg += self._strengths.noise_uv * self._noise_rng.standard_normal(eeg.shape)
        self._add_disturbances(i, out)
        out[:, COLUMNS.index("counter")] = i % COUNTER_WRAP
        self._made += n
        return out

    def _rhythm_block(self) -> Complex:
        wander = self._wander * self._phase_rng.standard_normal((self.block, len(self._rhythms)))
        phase = self._phase + np.cumsum(self._step_rad + wander, axis=0)
        self._phase = np.mod(phase[-1], 2.0 * np.pi)
        envelope = np.maximum(0.0, 0.7 + 0.36 * self._burst.step()[0])
        state = self._state.step(np.broadcast_to(self._wanted(), (1, *envelope.shape)))[0]
        phasors: Complex = self._peak_uv * envelope * state * np.exp(1j * phase)
        return phasors

    def _add_blinks(self, i: NDArray[np.int64], out: Float) -> None:
        now = self._asked_for("blink", int(i[0]))
        for start, stop, height_uv in self._lids.during(int(i[0]), int(i[-1]) + 1):
            if start >= i[0]:  # a blink that has begun ends as it would
                self._blinking = self.blinks and self.eyes == "open"
            if self._blinking:
                now.append((start, stop, height_uv))
        for start, stop, height_uv in now:
            u = np.clip((i - start) / (stop - start), 0.0, 1.0)
            hump = height_uv * np.sin(np.pi * u**_BLINK_RISE) ** 2
            out[:, : len(SITES)] += hump[:, None] * _BLINK_AT
            out[(i >= start) & (i < stop), COLUMNS.index("truth_blink")] = 1.0

    def _add_jaw(self, i: NDArray[np.int64], out: Float) -> None:
        now = self._clenches.during(int(i[0]), int(i[-1]) + 1)
        now = (now if self.jaw else []) + self._asked_for("jaw", int(i[0]))
        if not now:
            return
        x = self._emg[0].step(self._emg_rng.standard_normal((1, self.block, len(SITES))))
        for lag in self._emg[1:]:
            x = x - lag.step(x)
        ramp = max(1.0, _JAW_RAMP_S * self.rate_hz)
        for start, stop, rms_uv in now:
            up = np.minimum(i - start, stop - 1 - i) / ramp
            envelope = rms_uv * np.clip(up, 0.0, 1.0)
            out[:, : len(SITES)] += self._emg_gain * envelope[:, None] * _JAW_AT * x[0]
            out[(i >= start) & (i < stop), COLUMNS.index("truth_jaw")] = 1.0

    def _add_disturbances(self, i: NDArray[np.int64], out: Float) -> None:
        eeg = out[:, : len(SITES)]
        saccade, pop, motion = (
            out[:, COLUMNS.index(f"truth_{name}")] for name in ("saccade", "pop", "motion")
        )
        g = out[:, COLUMNS.index(ACCELEROMETER[0]) :]
        asked = {what: self._asked_for(what, int(i[0])) for what in ("look", "pop", "move")}
        looking = self.looks and self.eyes == "open"
        self._looks.add(i, eeg, saccade, on=looking, asked=asked["look"])
        self._pops.add(i, eeg, pop, on=self.pops, asked=asked["pop"])
        self._moves.add(i, eeg, motion, g, on=self.moves, asked=asked["move"])

    # -------------------------------------------------------- the door

    def blink(self, lasts_s: float = 0.35, height_uv: float = 180.0) -> None:
        """Blink once at the next block, whatever the eyes and `blinks` are."""
        self._ask("blink", lasts_s, height_uv)

    def clench(self, lasts_s: float = 1.0, rms_uv: float = 50.0) -> None:
        """Clench the jaw once at the next block; `rms_uv` from 30 to 45 Hz at the temples."""
        self._ask("jaw", lasts_s, rms_uv)

    def look(self, lasts_s: float = 0.8, size_uv: float = 100.0) -> None:
        """Look aside once at the next block and back; `size_uv` is what F7 - F8 moves by."""
        self._ask("look", lasts_s, size_uv)

    def pop(self, site: str, size_uv: float = 250.0) -> None:
        """Let an electrode jump at the next block, by less than 5000 µV."""
        self._ask("pop", 3.0, SITES.index(site) + size_uv / 1e4)

    def move(self, lasts_s: float = 1.0, size_g: float = 0.4) -> None:
        """Nod once at the next block."""
        self._ask("move", lasts_s, size_g)

    def _ask(self, what: str, lasts_s: float, strength_uv: float) -> None:
        length = max(1, round(lasts_s * self.rate_hz))
        self._asked.append((what, self._made, self._made + length, strength_uv))

    def _asked_for(self, what: str, first: int) -> list[tuple[int, int, float]]:
        self._asked = [one for one in self._asked if one[2] > first]
        return [one[1:] for one in self._asked if one[0] == what]

    def at_rate(self, rate_hz: float) -> Person:
        """Return the same person, state and seed, from the beginning at another rate."""
        alpha_hz, smr_hz, theta_hz = self._hz
        other = Person(
            rate_hz,
            seed=self._seed,
            eyes=self.eyes,
            blinks=self.blinks,
            jaw=self.jaw,
            looks=self.looks,
            pops=self.pops,
            moves=self.moves,
            strengths=self._strengths,
            alpha_hz=alpha_hz,
            smr_hz=smr_hz,
            theta_hz=theta_hz,
            mains_hz=self.mains_hz,
        )
        other.gains = dict(self.gains)
        return other

    def read(self, n: int) -> Float:
        """Return the next `n` samples, shape (n, 32), columns as in `COLUMNS`."""
        parts = [self._left]
        have = len(self._left)
        while have < n:
            parts.append(self._make_block())
            have += self.block
        everything = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._left = everything[n:]
        return everything[:n].copy()


def columns() -> tuple[Channel, ...]:
    """Return what a stream of a person declares for each column."""
    made = [Channel(site, "eeg", "microvolts", 1.0, site) for site in SITES]
    made.append(Channel("counter", "counter", "samples", 1.0, "counter"))
    for name in TRUTHS:
        unit = "microvolts" if name in TRUTH_SITE else "none"
        made.append(Channel(name, "misc", unit, 1.0, name))
    made += [Channel(name, "accelerometer", "g", 1.0, name) for name in ACCELEROMETER]
    return tuple(made)
