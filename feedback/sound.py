"""Everything the person hears, mixed and played.

`Synth` is pure: `render(n)` returns the next `n` samples, after the guard, without any device.
`Speaker` plays a synth through pygame's mixer in blocks of 2048 samples (46 ms): shorter blocks
ran dry on ordinary machines, and a gap is a click.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.guard import SoundGuard
from feedback.registry import SOUNDS, SoundKind, resolve
from feedback.stage import Media
from feedback.voices import AMBIENCE_PEAK, CHIME_PEAK, RATE_HZ, cue_tones

__all__ = ["BLOCK", "Speaker", "Synth"]

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

BLOCK = 2048

LONGEST_S = 10.0  # of a reward's sound; of a loop, six times as much


def _made(sounds: Mapping[str, SoundKind], name: str, rate_hz: int) -> tuple[Float32, ...]:
    """Return the samples of a sound: one wave for a reward, two loops for a continuous sound.

    Raises
    ------
    InputError
        A sound of a plugin is not known, fails, or is none.
    """
    kind = sounds.get(name)
    if kind is None:
        raise InputError(f"There is no sound `{name}`.", f"Choose one of {', '.join(sounds)}.")
    if SOUNDS.get(name) is kind:
        own: Any = resolve(kind.factory)(rate_hz)
        return own if kind.role == "continuous" else (own,)
    fix = "See docs/plugins.md, or write to the author of the package."
    try:
        made: Any = resolve(kind.factory)(rate_hz)
        waves = tuple(made) if kind.role == "continuous" else (made,)
        arrays = [np.array(w, dtype=float) for w in waves]
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The sound `{name}` cannot be made ({type(error).__name__}: {error}).", fix
        ) from error
    longest = LONGEST_S * (6 if kind.role == "continuous" else 1) * rate_hz
    right = len(arrays) == (2 if kind.role == "continuous" else 1) and all(
        a.ndim == 2 and a.shape[1] == 2 and 1 <= len(a) <= longest and np.isfinite(a).all()
        for a in arrays
    )
    if not right or len({len(a) for a in arrays}) > 1 or not all(a.any() for a in arrays):
        shapes = " and ".join(str(a.shape) for a in arrays)
        raise InputError(
            f"The sound `{name}` gives samples of shape {shapes}, which cannot be played.", fix
        )
    # No louder than what is built in; how loud that is at the ear is the guard's matter.
    peak = max(float(np.abs(sum(arrays)).max()), *(float(np.abs(a).max()) for a in arrays))
    most = AMBIENCE_PEAK if kind.role == "continuous" else CHIME_PEAK
    scale = min(1.0, most / peak)
    return tuple((a * scale).astype(np.float32) for a in arrays)


class Synth:
    """Everything the person hears, as blocks of samples.

    Attributes are set by the window at any time and take effect, ramped, with the next block.

    Parameters
    ----------
    on_reward, continuous : str or None
        Names in `feedback.registry.SOUNDS`.
    cues : bool
        Whether cue tones are played.
    guard : SoundGuard
        Comes last.
    sounds : mapping of str to SoundKind
        Where the names are looked up.

    Raises
    ------
    InputError
        A sound of a plugin cannot be made.
    """

    def __init__(
        self,
        on_reward: str | None,
        continuous: str | None,
        cues: bool,
        guard: SoundGuard,
        rate_hz: int = RATE_HZ,
        sounds: Mapping[str, SoundKind] = SOUNDS,
        files: Mapping[str, str] = MappingProxyType({}),  # noqa: ARG002
        media: Media | None = None,  # noqa: ARG002
        spl_fullscale_dba: float | None = None,  # noqa: ARG002
    ) -> None:
        self.dose_pa2h: float | None = None
        self.guard = guard
        self.rate_hz = rate_hz
        self.level = 0.0  # what the ambience follows, 0..1
        self.playing = False  # whether the ambience sounds
        self.volume = 1.0  # the operator's, 0..1
        self.bits = 0  # of the guard since last cleared
        self._reward: Float32 | None = (
            _made(sounds, on_reward, rate_hz)[0] if on_reward is not None else None
        )
        self._cues: Mapping[str, Float32] = cue_tones(rate_hz) if cues else {}
        self._voices: list[tuple[Float32, int]] = []
        self._lock = threading.Lock()
        self._layers: tuple[Float32, Float32] | None = None
        if continuous is not None:
            warm, bright = _made(sounds, continuous, rate_hz)
            self._layers = (warm, bright)
        self._at = 0
        self._gains = (0.0, 0.0)
        self._fade = 0.0
        if self._layers is not None:
            self._rms = tuple(float(np.sqrt(np.mean(x.astype(float) ** 2))) for x in self._layers)

    def reward(self) -> None:
        """Play the reward sound once."""
        if self._reward is not None:
            self._start(self._reward)

    def cue(self, name: str) -> None:
        """Play the cue of this name once; an unknown name is silent."""
        tones = self._cues.get(name)
        if tones is not None:
            self._start(tones)

    def click(self) -> None:
        """Play one short click, for measuring the delay of the sound."""

    def hush(self, on: bool) -> None:
        """Fade everything out within 100 ms (`on`), or let it return slowly."""
        if on and not self.guard.hushed:
            with self._lock:
                self.playing = False
        self.guard.hushed = on

    def _start(self, wave: Float32) -> None:
        with self._lock:
            if len(self._voices) < 4 and not self.guard.hushed:
                self._voices.append((wave, 0))

    def render(self, n: int) -> Float32:
        """Return the next `n` samples as they may be played, shape ``(n, 2)``, full scale 1."""
        mix = np.zeros((n, 2), dtype=np.float32)
        self._add_ambience(mix)
        with self._lock:
            voices, self._voices = self._voices, []
        left: list[tuple[Float32, int]] = []
        for wave, at in voices:
            part = wave[at : at + n]
            mix[: len(part)] += part
            if at + n < len(wave):
                left.append((wave, at + n))
        block, bits = self.guard.process(mix, self.volume)
        self.bits |= bits
        if self.guard.hushed and self.guard.gain == 0.0:
            left = []  # a chime cut by a stop must not come back afterwards
            self._gains, self._fade = (0.0, 0.0), 0.0
        with self._lock:
            self._voices = left + self._voices
        return block

    def _add_ambience(self, mix: Float32) -> None:
        n = len(mix)
        if self._layers is None or n == 0:
            return
        seconds = n / self.rate_hz
        # In over 1.5 s, out over 0.4 s.
        step = seconds / 1.5 if self.playing else -seconds / 0.4
        self._fade = min(1.0, max(0.0, self._fade + step))
        level = min(max(self.level, 0.0), 1.0) if np.isfinite(self.level) else 0.0
        # Loudness rises by 6 dB from level 0 to 1, whatever the mixture; brightness beside it.
        warm_rms, bright_rms = self._rms
        loudness = 0.5 * (1.0 + level) * np.sqrt(warm_rms**2 + bright_rms**2)
        warm = self._fade * loudness / np.sqrt(warm_rms**2 + (level * bright_rms) ** 2)
        target = (float(warm), float(warm * level))
        before, self._gains = self._gains, target
        index = (self._at + np.arange(n)) % len(self._layers[0])
        self._at = int((self._at + n) % len(self._layers[0]))
        if max(*before, *target) == 0.0:
            return
        ramp = np.arange(1, n + 1, dtype=np.float32)[:, None] / np.float32(n)
        for layer, first, last in zip(self._layers, before, target, strict=True):
            mix += layer[index] * (np.float32(first) + np.float32(last - first) * ramp)


class Speaker:
    """Play a synth through pygame's mixer, from its own thread.

    The mixer holds one block that plays and one that waits, so what the person hears follows the
    picture by 50 to 100 ms.
    """

    def __init__(self, synth: Synth, device: str | None = None) -> None:  # noqa: ARG002
        self.synth = synth
        self.buffer_ms = 0.0
        self.delay_ms: float | None = None
        self.error = ""
        self.starved = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def open(self) -> str:
        """Open the sound device; return the driver's name as far as it is known.

        Raises
        ------
        pygame.error
            When there is no usable device.
        """
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        pygame.mixer.init(self.synth.rate_hz, -16, 2, 512, allowedchanges=0)
        pygame.mixer.set_num_channels(1)
        self._mixer = pygame.mixer
        self._channel = pygame.mixer.Channel(0)
        # SDL does not tell its choice through pygame; an order by environment is known.
        return os.environ.get("SDL_AUDIODRIVER", "default device")

    def start(self) -> None:
        """Begin to play."""
        self.pump()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._thread.start()

    def pump(self) -> None:
        """Hand blocks to the mixer until one plays and one waits."""
        with self._lock:
            if not self._channel.get_busy():
                if self._thread is not None:
                    self.starved += 1
                    self.synth.guard.restart()
                self._channel.play(self._next())
            if self._channel.get_queue() is None:
                self._channel.queue(self._next())

    def _next(self) -> Any:
        block = self.synth.render(BLOCK)
        codes = np.rint(block * 32767.0).astype(np.int16)
        return self._mixer.Sound(buffer=codes.tobytes())

    def _run(self) -> None:
        while not self._stop.wait(0.008):
            try:
                self.pump()
            except Exception as error:
                # A lost device must end in silence and a message, never in a dead window.
                log.exception("sound stopped")
                self.error = f"Sound stopped: {error}"
                return

    def close(self) -> None:
        """Stop playing and release the device."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)
        self._mixer.quit()
