"""Play a synth on a sound device, with little delay and without gaps.

Miniaudio's callback comes first: it asks for 20 ms at a time while another 20 ms wait in the
device. Where it finds no device, or none that starts, and where the environment names a driver of
SDL, pygame's mixer plays blocks of 2048 samples (46 ms; shorter ones ran dry on ordinary machines,
and a gap is a click). The callback needs Python's lock as every thread does, so it does nothing
but render.

After a stop what waits in the device is still heard, so the guard's fade is shortened by it. All
is silent at the ear within 100 ms of the key with the callback; within about 0.15 s with the
mixer, where 105 ms wait and the fade is the shortest that does not click.

``NEUROLOOP_AUDIO`` in the environment chooses: ``null`` is miniaudio's device that nobody hears,
``mixer`` is pygame's mixer.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Generator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.synth import Synth

__all__ = ["BLOCK", "Speaker"]

log = logging.getLogger(__name__)

Float32 = NDArray[np.float32]

BLOCK = 2048
CHUNK = 512  # of SDL's own buffer
PERIOD_MS = 20
PERIODS = 2
LAST_FADE_S = 0.005  # of what was played when something fails
STOP_S = 0.100  # from the key for stop to silence at the ear
FRAME_S = 0.017  # that the window may take to hear of the key
FADE_WAIT_S = 0.12  # before a device is closed: what sounds fades first
CLOSE_S = 1.0
SILENT_DEVICE_S = 2.0  # without a call, the device has gone
UNHEARD = ("dummy", "disk")  # drivers of SDL


class _Player(Protocol):
    buffer_ms: float
    starved: int

    @property
    def error(self) -> str: ...
    def start(self) -> None: ...
    def close(self) -> None: ...


class _Delays:
    """From a change of a control until it is heard: the median of the last hundred."""

    def __init__(self) -> None:
        self._ms: tuple[float, ...] = ()  # replaced as a whole: read from another thread

    def add(self, stamps: Sequence[float], now: float, behind_ms: float) -> None:
        """Add controls asked for at `stamps` that follow `behind_ms` of sound."""
        if stamps:
            new = (1000.0 * (now - stamp) + behind_ms for stamp in stamps)
            self._ms = (*self._ms, *new)[-100:]

    @property
    def median_ms(self) -> float | None:
        ms = self._ms
        return float(np.median(ms)) if ms else None


def _keep_stop(synth: Synth, buffer_ms: float) -> None:
    """Let a stop fade in what the window and the device leave of its time; 20 ms at least."""
    synth.guard.stop_fade_s = STOP_S - FRAME_S - buffer_ms / 1000.0


class _NoDeviceError(Exception):
    """A back end has no usable device."""


class _Callback:
    """Miniaudio's playback: its thread asks for samples when the device wants them."""

    def __init__(self, synth: Synth, delays: _Delays, device: Any) -> None:
        self._synth = synth
        self._delays = delays
        self._device = device
        self._device.stop_callback = self._stopped
        self.buffer_ms = float(PERIOD_MS * PERIODS)
        _keep_stop(synth, self.buffer_ms)
        self.starved = 0
        self._error = ""
        self._closing = False
        self._begun = False
        self._called = math.inf
        self._last = np.zeros(2, dtype=np.float32)

    @property
    def error(self) -> str:
        if time.perf_counter() - self._called > SILENT_DEVICE_S:
            self._stopped()
        return self._error

    def _stopped(self) -> None:
        if not self._closing and not self._error:
            self._error = "Sound stopped: the device has gone."

    def start(self) -> None:
        feed = self._feed()
        next(feed)
        self._called = time.perf_counter()
        try:
            self._device.start(feed)
        except Exception as error:
            # Of miniaudio, which this module does not need: another program may hold the device.
            raise _NoDeviceError(str(error.args[0] if error.args else error)) from error

    def _feed(self) -> Generator[Any, int, None]:
        n = yield b""
        while True:
            n = yield self._block(n)

    def _block(self, n: int) -> Float32:
        now = time.perf_counter()
        if self._closing or self._error:
            return self._fading(n)
        try:
            if self._begun and 1000.0 * (now - self._called) > self.buffer_ms:
                self.starved += 1
                self._synth.guard.restart()
            self._begun, self._called = True, now
            block = self._synth.render(n)
            if n:
                # A device may have made its periods longer than it was asked to.
                period_ms = 1000.0 * n / self._synth.rate_hz
                if PERIODS * period_ms > self.buffer_ms:
                    self.buffer_ms = PERIODS * period_ms
                    _keep_stop(self._synth, self.buffer_ms)
                self._delays.add(self._synth.stamps, now, (PERIODS - 1) * period_ms)
                self._last = block[-1]
            return block
        except Exception as error:
            # A lost sound must end in silence and a message, never in a dead window.
            log.exception("sound stopped")
            self._error = f"Sound stopped: {error}"
            return self._fading(n)

    def _fading(self, n: int) -> Float32:
        """Return silence; what was played last fades within 5 ms, so that there is no click."""
        ramp = 1.0 - np.arange(1, n + 1) / (LAST_FADE_S * self._synth.rate_hz)
        block = np.maximum(ramp, 0.0).astype(np.float32)[:, None] * self._last
        self._last = np.zeros(2, dtype=np.float32)
        return block

    def close(self) -> None:
        self._closing = True
        # A device may wait for its callback, and that for Python's lock: never wait for ever.
        closer = threading.Thread(target=self._device.close, name="speaker-close", daemon=True)
        closer.start()
        closer.join(CLOSE_S)
        if closer.is_alive():
            log.warning("the sound device did not close within %.0f s", CLOSE_S)


def _open_callback(synth: Synth, delays: _Delays, name: str | None, null: bool) -> Any:
    """Return a player through miniaudio, and what it plays on.

    Raises
    ------
    _NoDeviceError
        There is none.
    InputError
        There are devices, but none of this name.
    """
    try:
        import miniaudio
    except Exception as error:
        raise _NoDeviceError(f"miniaudio cannot be loaded: {error}") from error
    unheard = {miniaudio.Backend.NULL, miniaudio.Backend.CUSTOM}
    backends = [b for b in miniaudio.Backend if b not in unheard]
    seen: list[str] = []
    why = "no device"
    for backend in [miniaudio.Backend.NULL] if null else backends:
        try:
            found = None if name is None else _named(miniaudio.Devices([backend]), name, seen)
            if name is not None and found is None:
                continue
            device = miniaudio.PlaybackDevice(
                miniaudio.SampleFormat.FLOAT32,
                2,
                synth.rate_hz,
                PERIOD_MS,
                None if found is None else found["id"],
                PERIODS,
                [backend],
                app_name="Neuroloop",
            )
        except miniaudio.MiniaudioError as error:
            if "backend" not in str(error) and "context" not in str(error):
                why = f"{backend.name}: {error.args[0]}"
            continue
        heard_on = "default device" if found is None else found["name"]
        return _Callback(synth, delays, device), f"{device.backend}: {heard_on}"
    if seen and name is not None:
        raise _not_named(name, seen)
    raise _NoDeviceError(why)


def _named(devices: Any, name: str, seen: list[str]) -> Any:
    """Return the device whose name is or contains `name`; add all names to `seen`."""
    listed = devices.get_playbacks()
    seen.extend(d["name"] for d in listed if d["name"] not in seen)
    wanted = name.casefold()
    for fits in (str.__eq__, str.__contains__):
        for device in listed:
            if fits(device["name"].casefold(), wanted):
                return {**device, "from": devices}  # its id lives as long as the list does
    return None


def _not_named(name: str, seen: Sequence[str]) -> InputError:
    return InputError(
        f"There is no sound device called `{name}`.",
        f"Set `sound: device` to a part of one of these names: {'; '.join(seen)}.",
    )


class _Mixer:
    """Pygame's mixer, fed by a thread with one block that plays and one that waits."""

    def __init__(self, synth: Synth, delays: _Delays, name: str | None) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        driver = os.environ.get("SDL_AUDIODRIVER", "")
        found = None if name is None or driver in UNHEARD else self._named(pygame, name)
        pygame.mixer.init(synth.rate_hz, -16, 2, CHUNK, devicename=found, allowedchanges=0)
        pygame.mixer.set_num_channels(1)
        self.heard_on = driver if driver in UNHEARD else f"mixer: {found or 'default device'}"
        self._synth = synth
        self._delays = delays
        # Kept: a door that is closed to plugins later is not closed to this.
        self._sound, self._quit = pygame.mixer.Sound, pygame.mixer.quit
        self._channel = pygame.mixer.Channel(0)
        self.buffer_ms = 1000.0 * (2 * BLOCK + CHUNK) / synth.rate_hz
        _keep_stop(synth, self.buffer_ms)
        self.starved = 0
        self.error = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @staticmethod
    def _named(pygame: Any, name: str) -> str:
        from pygame._sdl2 import audio

        pygame.mixer.init(allowedchanges=0)
        try:
            names = [str(n) for n in audio.get_audio_device_names(False)]
        finally:
            pygame.mixer.quit()
        fitting = [n for n in names if name.casefold() in n.casefold()]
        if not fitting:
            raise _not_named(name, names)
        return fitting[0]

    def start(self) -> None:
        self._pump()
        self._thread = threading.Thread(target=self._run, name="speaker", daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        """Hand blocks to the mixer until one plays and one waits."""
        if not self._channel.get_busy():
            if self._thread is not None:
                self.starved += 1
                self._synth.guard.restart()
            self._channel.play(self._next(CHUNK))
        if self._channel.get_queue() is None:
            # It follows the block that has just begun, which follows what waits in the device.
            self._channel.queue(self._next(BLOCK + CHUNK))

    def _next(self, behind: int) -> Any:
        """Return the next block, which follows so many samples."""
        now = time.perf_counter()
        block = self._synth.render(BLOCK)
        self._delays.add(self._synth.stamps, now, 1000.0 * behind / self._synth.rate_hz)
        codes = np.rint(block * 32767.0).astype(np.int16)
        return self._sound(buffer=codes.tobytes())

    def _run(self) -> None:
        while not self._stop.wait(0.008):
            try:
                self._pump()
            except Exception as error:
                # A lost device must end in silence and a message, never in a dead window.
                log.exception("sound stopped")
                self.error = f"Sound stopped: {error}"
                return

    def close(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join(CLOSE_S)
        closer = threading.Thread(target=self._quit, name="speaker-close", daemon=True)
        closer.start()
        closer.join(CLOSE_S)


class Speaker:
    """Play a synth on a sound device, from a thread of its own.

    Parameters
    ----------
    synth : Synth
        What is played.
    device : str or None
        Part of the device's name; None is the system's choice.

    Attributes
    ----------
    name : str
        Back end and device that play now; `start` may change it. Empty before `open`.
    """

    def __init__(self, synth: Synth, device: str | None = None) -> None:
        self.synth = synth
        self.device = device
        self.name = ""
        self._delays = _Delays()
        self._player: _Player | None = None

    @property
    def buffer_ms(self) -> float:
        """How much sound waits in the device."""
        return 0.0 if self._player is None else self._player.buffer_ms

    @property
    def starved(self) -> int:
        """How often the device ran dry."""
        return 0 if self._player is None else self._player.starved

    @property
    def error(self) -> str:
        """Why there is no sound any more; empty while there is."""
        return "" if self._player is None else self._player.error

    @property
    def delay_ms(self) -> float | None:
        """From a change of a control until it leaves the device, measured; the median."""
        return self._delays.median_ms

    def open(self) -> str:
        """Open the sound device; return the names of back end and device.

        A device that nobody hears is called ``dummy``, ``disk`` or ``Null: ...``.

        Raises
        ------
        pygame.error
            There is no usable device.
        InputError
            There are devices, but none of the wanted name.
        """
        choice = os.environ.get("NEUROLOOP_AUDIO", "")
        if choice not in ("", "null", "mixer"):
            raise InputError(f"NEUROLOOP_AUDIO is `{choice}`.", "Set it to null, mixer or nothing.")
        why = ""
        if choice == "null" or (choice == "" and "SDL_AUDIODRIVER" not in os.environ):
            try:
                self._player, self.name = _open_callback(
                    self.synth, self._delays, self.device, choice == "null"
                )
                return self.name
            except _NoDeviceError as error:
                why = f" (miniaudio: {error})"
        self._open_mixer(why)
        return self.name

    def _open_mixer(self, why: str) -> _Mixer:
        mixer = _Mixer(self.synth, self._delays, self.device)
        self._player, self.name = mixer, mixer.heard_on + why
        return mixer

    def start(self) -> None:
        """Begin to play; where the device opened but does not start, on the mixer.

        Raises
        ------
        pygame.error
            Neither plays.
        """
        if self._player is None:
            return
        try:
            self._player.start()
        except _NoDeviceError as error:
            self._start_instead(f"{self.name}: {error}")
        except Exception:
            self._drop()
            raise

    def _start_instead(self, why: str) -> None:
        """Play on the mixer, since miniaudio's device does not start."""
        import pygame

        self._drop()
        try:
            self._open_mixer(f" (miniaudio: {why})").start()
        except Exception as error:
            self._drop()
            text = f"{error.what} {error.fix}" if isinstance(error, InputError) else str(error)
            raise pygame.error(f"miniaudio: {why}; mixer: {text}") from error

    def _drop(self) -> None:
        """Release a device on which nothing was played."""
        player, self._player, self.name = self._player, None, ""
        if player is not None:
            player.close()

    def close(self) -> None:
        """Fade out, stop playing and release the device; takes no longer than about a second."""
        player, self._player, self.name = self._player, None, ""
        if player is None:
            return
        if not player.error:
            self.synth.hush(True)
            time.sleep(FADE_WAIT_S + player.buffer_ms / 1000.0)
        player.close()
