"""Everything the person hears, mixed: `Synth` is pure and needs no device.

`render(n)` returns the next `n` samples, after the guard. It is called from the sound's own
thread; the controls are set from the window's. What is handed over is a number or an entry in a
queue, so neither ever waits for the other. A window that has hung hands over nothing more: then
the sound fades, or it would go on for ever as it was.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from feedback import soundfile
from feedback.guard import LOUD, SoundGuard
from feedback.loudness import Dose
from feedback.registry import SOUNDS, SoundKind, resolve
from feedback.stage import Media
from feedback.voices import (
    AMBIENCE_PEAK,
    CHIME_PEAK,
    RATE_HZ,
    Loops,
    Smooth,
    Voice,
    click,
    cue_tones,
)

__all__ = ["Synth"]

Float32 = NDArray[np.float32]

LONGEST_S = 10.0  # of a plugin's sound for a reward; of its loop, six times as much
AT_ONCE = 4  # sounds that are played once
FADE_IN_S, FADE_OUT_S = 1.5, 0.4  # of the continuous sound
UNFED_AFTER_S = 0.3  # without a word from the window's loop
FADE_SAMPLES = RATE_HZ // 50  # of what a voice last gave, so that its end is no click
HEARD = 0.01  # of the continuous sound's presence: 40 dB down, and what is less is silence
FIX = "See docs/plugins.md, or write to the author of the package."


class _Foreign:
    """A plugin's voice: what it returns is looked at before it is heard.

    When it fails it is never asked again; everything else plays on.
    """

    def __init__(self, name: str, voice: Any) -> None:
        self.name = name
        self._voice = voice
        self._failed = ""
        self._last = np.zeros(2, dtype=np.float32)
        self._tail = np.zeros((0, 2), dtype=np.float32)

    @property
    def error(self) -> str:
        """Why it is silent from now on, or what the voice says of itself."""
        if not self._failed:
            try:
                return str(getattr(self._voice, "error", ""))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._fail(error)
        return self._failed

    def play(self, n: int, level: float, rewards: int) -> Float32:
        """Return the voice's block, within `AMBIENCE_PEAK`; after a failure silence."""
        if not self._failed:
            try:
                block = self._looked_at(self._voice.play(n, level, rewards), n)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin may raise SystemExit as well
                self._fail(error)
            else:
                self._last = block[-1].copy()
                return block
        silence = np.zeros((n, 2), dtype=np.float32)
        part, self._tail = self._tail[:n], self._tail[n:]
        silence[: len(part)] = part
        return silence

    def rest(self) -> None:
        """Tell the voice that it has faded out, if it wants to know."""
        self._tail = self._tail[:0]
        self._last = np.zeros(2, dtype=np.float32)
        if self._failed:
            return
        try:
            rest = getattr(self._voice, "rest", None)
            if rest is not None:
                rest()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._fail(error)

    @staticmethod
    def _looked_at(made: Any, n: int) -> Float32:
        with np.errstate(over="ignore", invalid="ignore"):
            block = np.asarray(made, dtype=np.float32)
        if block.shape != (n, 2):
            raise ValueError(f"samples of shape {block.shape} instead of {(n, 2)}")
        if not np.isfinite(block).all():
            raise ValueError("samples that are no numbers")
        return np.clip(block, -AMBIENCE_PEAK, AMBIENCE_PEAK)

    def _fail(self, error: BaseException) -> None:
        if self._failed:  # the window asks for `error` while the sound's thread plays
            return
        ramp = 1.0 - np.arange(1, FADE_SAMPLES + 1) / FADE_SAMPLES
        self._tail = ramp.astype(np.float32)[:, None] * self._last
        self._failed = _failure(self.name, error)


def _failure(name: str, error: BaseException) -> str:
    try:
        why = str(error)
    except Exception:
        why = ""
    why = f"{type(error).__name__}: {why}" if why else type(error).__name__
    return f"The sound `{name}` failed ({why}). It is silent from now on."


def _kind(sounds: Mapping[str, SoundKind], name: str) -> SoundKind:
    kind = sounds.get(name)
    if kind is None:
        raise InputError(f"There is no sound `{name}`.", f"Choose one of {', '.join(sounds)}.")
    return kind


def _waves(kind: SoundKind, made: Any, rate_hz: int) -> tuple[Float32, ...]:
    """Return a plugin's samples: one wave for a reward, two loops for a continuous sound.

    Raises
    ------
    InputError
        They cannot be played.
    """
    many = 2 if kind.role == "continuous" else 1
    try:
        arrays = [np.array(w, dtype=float) for w in (made if many == 2 else (made,))]
    except Exception as error:
        raise _unmade(kind.name, error) from error
    longest = LONGEST_S * (6 if many == 2 else 1) * rate_hz
    right = len(arrays) == many and all(
        a.ndim == 2 and a.shape[1] == 2 and 1 <= len(a) <= longest and np.isfinite(a).all()
        for a in arrays
    )
    if not right or len({len(a) for a in arrays}) > 1 or not all(a.any() for a in arrays):
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise InputError(
            f"The sound `{kind.name}` gives samples of shape {shapes}, which cannot be played.",
            FIX,
        )
    return tuple(a.astype(np.float32) for a in arrays)


def _unmade(name: str, error: BaseException) -> InputError:
    return InputError(f"The sound `{name}` cannot be made ({type(error).__name__}: {error}).", FIX)


def _make(kind: SoundKind, built_in: bool, rate_hz: int, media: Media) -> Any:
    """Call a sound's factory; a plugin's may fail in any way."""
    arguments = (rate_hz, media) if kind.needs == "film" else (rate_hz,)
    if built_in:
        return resolve(kind.factory)(*arguments)
    try:
        return resolve(kind.factory)(*arguments)
    except (Exception, SystemExit) as error:
        raise _unmade(kind.name, error) from error


def _reward_wave(kind: SoundKind, built_in: bool, rate_hz: int, media: Media) -> Float32:
    made = _make(kind, built_in, rate_hz, media)
    if built_in:
        return np.asarray(made, dtype=np.float32)
    (wave,) = _waves(kind, made, rate_hz)
    # No louder than what is built in; how loud that is at the ear is the guard's matter.
    return np.asarray(wave * min(1.0, CHIME_PEAK / float(np.abs(wave).max())), dtype=np.float32)


def _is_voice(kind: SoundKind, made: Any) -> bool:
    try:
        return hasattr(made, "play")
    except Exception as error:
        raise _unmade(kind.name, error) from error


def _voice(kind: SoundKind, built_in: bool, rate_hz: int, media: Media) -> Voice:
    made = _make(kind, built_in, rate_hz, media)
    if _is_voice(kind, made):
        voice: Voice = made if built_in else _Foreign(kind.name, made)
        return voice
    warm, bright = made if built_in else _waves(kind, made, rate_hz)
    return Loops(warm, bright, rate_hz, louder=built_in)


class Synth:
    """Everything the person hears, as blocks of samples.

    Attributes are set by the window at any time and take effect, ramped, with the next block.

    Parameters
    ----------
    on_reward, continuous : str or None
        Names in `sounds`.
    cues : bool
        Whether sounds mark the parts of the session.
    guard : SoundGuard
        Comes last.
    rate_hz : int
        Sample rate.
    sounds : mapping of str to SoundKind
        Where the names are looked up.
    files : mapping of str to str
        The room's own files instead of built-in sounds, see `feedback.soundfile.NAMES`.
    media : Media or None
        For a sound that needs the room's film.
    spl_fullscale_dba : float or None
        Level of a full-scale sine at the ear; with it, the dose is counted.

    Raises
    ------
    InputError
        A sound of a plugin cannot be made, or a file cannot be used.
    """

    def __init__(
        self,
        on_reward: str | None,
        continuous: str | None,
        cues: bool,
        guard: SoundGuard,
        rate_hz: int = RATE_HZ,
        sounds: Mapping[str, SoundKind] = SOUNDS,
        files: Mapping[str, str] = MappingProxyType({}),
        media: Media | None = None,
        spl_fullscale_dba: float | None = None,
    ) -> None:
        self.guard = guard
        self.rate_hz = rate_hz
        self.playing = False  # whether the continuous sound is heard
        self.live = 1.0  # 0..1, how much of it: nothing where there is no honest level
        self.volume = 1.0  # the operator's, 0..1
        self.fed = math.inf  # perf_counter of the window's last word; inf: nobody watches that
        self.dose_pa2h: float | None = None  # so far; None where the loudness is not known
        self.voice: Voice | None = None
        self.stamps: tuple[float, ...] = ()  # when what the last block began with was asked for
        media = media if media is not None else Media()
        self._dose: Dose | None = None
        if spl_fullscale_dba is not None and math.isfinite(spl_fullscale_dba):
            self._dose, self.dose_pa2h = Dose(spl_fullscale_dba, rate_hz), 0.0
        self._reward: Float32 | None = None
        if on_reward is not None:
            kind = _kind(sounds, on_reward)
            if on_reward == "chime" and "chime" in files:
                self._reward = soundfile.once("chime", files["chime"], rate_hz)
            else:
                own = SOUNDS.get(on_reward) is kind
                self._reward = _reward_wave(kind, own, rate_hz, media)
        if continuous is not None:
            kind = _kind(sounds, continuous)
            if continuous == "ambience" and "ambience" in files:
                self.voice = Loops(*soundfile.layers(files["ambience"], rate_hz), rate_hz)
            else:
                self.voice = _voice(kind, SOUNDS.get(continuous) is kind, rate_hz, media)
        self._cues: dict[str, Float32] = dict(cue_tones(rate_hz)) if cues else {}
        for name in self._cues.keys() & files.keys():
            self._cues[name] = soundfile.once(name, files[name], rate_hz)
        self._click = click(rate_hz)
        self._hushed = False  # by the window; `guard.hushed` also where it hangs
        self._told = 0  # of the guard's interventions
        self._level = 0.0
        self._level_changed: float | None = None
        self._rewards = self._rewards_heard = 0
        self._asked: deque[tuple[Float32, float]] = deque(maxlen=64)
        self._sounding: list[tuple[Float32, int]] = []
        self._fade = 0.0  # 0..1, of the way in
        self._presence = Smooth(rate_hz)  # follows `live`

    @property
    def level(self) -> float:
        """What the continuous sound follows, 0..1."""
        return self._level

    @level.setter
    def level(self, value: float) -> None:
        if value != self._level and self._level_changed is None:
            self._level_changed = time.perf_counter()
        self._level = value

    @property
    def trouble(self) -> str:
        """Why the continuous sound has ended for good; empty while it can play."""
        return str(getattr(self.voice, "error", ""))

    @property
    def audible(self) -> bool:
        """Whether a continuous sound can be heard now."""
        return bool(
            self.voice is not None
            and not self.trouble
            and not self.guard.hushed
            and self.guard.gain > 0.0
            and self._fade > 0.0
            and self._presence.value > HEARD
        )

    def take_bits(self) -> int:
        """Return what the guard has done since last asked, as bits; only the window asks.

        The guard counts in the sound's thread and nobody sets it back, so that none is lost.
        """
        done = self.guard.interventions
        before, self._told = self._told, done
        return LOUD if done != before else 0

    def reward(self) -> None:
        """Play the sound of a reward once, and tell the continuous voice."""
        if self._hushed:
            return
        self._rewards += 1
        if self._reward is not None:
            self._ask(self._reward)

    def cue(self, name: str) -> None:
        """Play the cue of this name once; an unknown name is silent."""
        wave = self._cues.get(name)
        if wave is not None:
            self._ask(wave)

    def click(self) -> None:
        """Play one short click, for measuring the delay of the sound."""
        self._ask(self._click)

    def hush(self, on: bool) -> None:
        """Fade everything out within 100 ms (`on`), or let it return slowly."""
        if on and not self._hushed:
            self.playing = False
        self._hushed = on
        self.guard.hushed = on or self._unfed

    @property
    def _unfed(self) -> bool:
        return time.perf_counter() - self.fed > UNFED_AFTER_S

    def _ask(self, wave: Float32) -> None:
        if not self._hushed:
            self._asked.append((wave, time.perf_counter()))

    def render(self, n: int) -> Float32:
        """Return the next `n` samples as they may be played, shape ``(n, 2)``, full scale 1."""
        mix = np.zeros((n, 2), dtype=np.float32)
        if n == 0:
            return mix
        self.guard.hushed = self._hushed or self._unfed
        stamps = self._begin()
        self._add_continuous(mix, stamps)
        left: list[tuple[Float32, int]] = []
        for wave, at in self._sounding:
            part = wave[at : at + n]
            mix[: len(part)] += part
            if at + n < len(wave):
                left.append((wave, at + n))
        self._sounding = left
        block, _ = self.guard.process(mix, self.volume)
        if self._stopped:
            # What was cut by a stop must not come back afterwards.
            self._sounding = []
            if self._fade > 0.0:
                self._silence()
        self.stamps = tuple(stamps)
        if self._dose is not None:
            self._dose.add(block)
            self.dose_pa2h = self._dose.pa2h
        return block

    @property
    def _stopped(self) -> bool:
        """Whether a stop has ended in silence."""
        return self.guard.hushed and self.guard.gain == 0.0

    def _begin(self) -> list[float]:
        """Take what was asked for since the last block; return when that was."""
        stamps = []
        while self._asked:
            wave, stamp = self._asked.popleft()
            if self.guard.hushed:
                continue
            if wave is self._click or len(self._sounding) < AT_ONCE:
                self._sounding.append((wave, 0))
                stamps.append(stamp)
        return stamps

    def _add_continuous(self, mix: Float32, stamps: list[float]) -> None:
        changed, self._level_changed = self._level_changed, None
        asked = self._rewards
        rewards, self._rewards_heard = asked - self._rewards_heard, asked
        if self.voice is None or self._stopped or (not self.playing and self._fade == 0.0):
            return
        n = len(mix)
        if changed is not None:
            stamps.append(changed)
        level = min(max(self._level, 0.0), 1.0) if math.isfinite(self._level) else 0.0
        block = self.voice.play(n, level, rewards if self.playing else 0)
        seconds = np.arange(1, n + 1) / self.rate_hz
        way = self._fade + seconds / (FADE_IN_S if self.playing else -FADE_OUT_S)
        way = np.clip(way, 0.0, 1.0)
        self._fade = float(way[-1])
        live = min(max(self.live, 0.0), 1.0) if math.isfinite(self.live) else 0.0
        gain = self._presence.step(n, live) * (0.5 - 0.5 * np.cos(np.pi * way))
        mix += block * gain.astype(np.float32)[:, None]
        if self._fade == 0.0:
            self._silence()

    def _silence(self) -> None:
        self._fade = 0.0
        rest = getattr(self.voice, "rest", None)
        if rest is not None:
            rest()
