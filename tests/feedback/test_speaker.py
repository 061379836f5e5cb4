"""Playing: miniaudio's device that nobody hears, SDL's disk driver, and what happens on failure."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import pygame
import pytest

from engine.errors import InputError
from feedback import speaker as module
from feedback.guard import LIMIT, SoundGuard
from feedback.sound import Speaker, Synth
from feedback.voices import RATE_HZ


@pytest.fixture
def source() -> Synth:
    made = Synth("chime", "tone_pitch", True, SoundGuard(0.25), spl_fullscale_dba=90.0)
    made.playing = True
    return made


@pytest.fixture
def null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROLOOP_AUDIO", "null")


class FakeDevice:
    """A device that asks when the test says so."""

    backend = "Fake"

    def __init__(self, *args: Any, app_name: str) -> None:
        self.args = (*args, app_name)
        self.feed: Any = None
        self.stop_callback: Any = None
        self.closing = threading.Event()

    def start(self, feed: Any) -> None:
        self.feed = feed

    def refuse(self, feed: Any) -> None:  # noqa: ARG002
        raise miniaudio.MiniaudioError("failed to start audio device", -3)

    def ask(self, n: int = 882) -> np.ndarray[Any, Any]:
        return np.asarray(self.feed.send(n))

    def close(self) -> None:
        self.closing.set()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, null: None) -> Iterator[type[FakeDevice]]:
    monkeypatch.setattr(miniaudio, "PlaybackDevice", FakeDevice)
    monkeypatch.setattr(module, "FADE_WAIT_S", 0.0)
    return FakeDevice


def opened(source: Synth) -> tuple[Speaker, Any]:
    speaker = Speaker(source)
    speaker.open()
    speaker.start()
    player: Any = speaker._player
    return speaker, player._device


def test_the_device_that_nobody_hears(source: Synth, null: None) -> None:
    speaker = Speaker(source)
    assert speaker.open().startswith("Null: ")
    assert speaker.buffer_ms == 40.0
    speaker.start()
    for i in range(25):
        source.level = (i % 5) / 5
        if i % 10 == 0:
            source.reward()
        time.sleep(0.02)
    assert speaker.error == ""
    delay = speaker.delay_ms
    assert delay is not None
    assert 0.0 < delay < 1000.0
    assert speaker.starved < 25
    assert source.dose_pa2h is not None
    assert source.dose_pa2h > 0.0
    speaker.close()
    assert (speaker.starved, speaker.error) == (0, "")
    assert speaker.name == ""
    speaker.close()  # twice does no harm


def test_the_delay_counts_the_wait_and_what_is_ahead(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    speaker, device = opened(source)
    device.ask()
    assert speaker.delay_ms is None or speaker.delay_ms == 20.0  # the level at the beginning
    for wait_ms in (4.0, 8.0, 12.0):
        source.reward()
        now[0] += wait_ms / 1000.0
        device.ask()
    source.reward()
    now[0] += 0.006
    device.ask()
    # One period of 20 ms waits in the device; the median wait is 7 ms.
    assert speaker.delay_ms == pytest.approx(27.0, abs=0.01)
    assert speaker.starved == 0
    now[0] += 0.041
    device.ask()
    assert speaker.starved == 1
    speaker.close()


def test_a_device_that_asks_for_more_at_a_time(source: Synth, fake: type[FakeDevice]) -> None:
    speaker, device = opened(source)
    assert device.ask(4410).shape == (4410, 2)
    assert device.ask(0).shape == (0, 2)
    assert speaker.buffer_ms == 200.0
    assert source.guard.stop_fade_s == 0.020  # nothing is left of the time for a stop
    speaker.close()


def test_a_stop_is_silent_at_the_ear_within_a_tenth_of_a_second(
    source: Synth, fake: type[FakeDevice]
) -> None:
    speaker, device = opened(source)
    assert source.guard.stop_fade_s == pytest.approx(0.043)
    source.level = 1.0
    for _ in range(100):
        device.ask()
    source.hush(True)  # just after the device has asked: at worst 20 ms wait, 20 ms are ahead
    after = np.concatenate([device.ask() for _ in range(5)])
    heard_s = (np.flatnonzero(after.any(axis=1))[-1] + 1) / RATE_HZ
    frame_s, buffer_s = 1 / 60, speaker.buffer_ms / 1000
    assert heard_s > 0.04
    assert frame_s + buffer_s + heard_s <= 0.1
    # What its ramp may step by, and the tone itself.
    assert np.abs(np.diff(after, axis=0)).max() < 0.02
    speaker.close()


def test_a_failure_ends_in_silence_and_a_message(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker, device = opened(source)
    for _ in range(60):
        before = device.ask()

    def broken(n: int) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(source, "render", broken)
    after = device.ask()
    assert speaker.error == "Sound stopped: no more"
    # From where the sound was to silence, without a step.
    assert np.abs(after[0] - before[-1]).max() < 0.01 + 0.01 * np.abs(before[-1]).max()
    assert not after[230:].any()
    assert not device.ask().any()
    speaker.close()


def test_a_device_that_has_gone(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker, device = opened(source)
    device.ask()
    assert speaker.error == ""
    device.stop_callback()
    assert "has gone" in speaker.error
    speaker.close()
    speaker, device = opened(source)
    device.ask()
    later = time.perf_counter() + 3.0
    monkeypatch.setattr(time, "perf_counter", lambda: later)
    assert "has gone" in speaker.error
    speaker.close()


def test_closing_never_waits_for_ever(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    release = threading.Event()
    monkeypatch.setattr(FakeDevice, "close", lambda _: release.wait(20.0))
    speaker, device = opened(source)
    device.ask()
    speaker.close()
    assert source.guard.hushed  # it faded first
    assert not device.ask()[300:].any()
    release.set()


# ---------------------------------------------------------------- which device


def devices(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    class Devices:
        def __init__(self, backends: list[Any]) -> None:
            if backends[0] is not miniaudio.Backend.ALSA and backends[0].name != "NULL":
                raise miniaudio.MiniaudioError("cannot init context", -1)

        def get_playbacks(self) -> list[dict[str, Any]]:
            return [{"name": n, "id": f"id of {n}"} for n in names]

    monkeypatch.setattr(miniaudio, "Devices", Devices)


def test_a_device_by_part_of_its_name(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices(monkeypatch, "HDMI 1", "USB Headphones Pro", "Headphones")
    for wanted, found in [("headph", "USB Headphones Pro"), ("headphones", "Headphones")]:
        speaker = Speaker(source, wanted)
        assert speaker.open() == f"Fake: {found}"
        player: Any = speaker._player
        assert player._device.args[4] == f"id of {found}"
        speaker.close()
    with pytest.raises(InputError) as caught:
        Speaker(source, "Beamer").open()
    assert "`Beamer`" in caught.value.what
    assert "HDMI 1; USB Headphones Pro; Headphones" in caught.value.fix


def test_back_ends_are_tried_until_one_works(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NEUROLOOP_AUDIO")
    monkeypatch.delenv("SDL_AUDIODRIVER", raising=False)
    devices(monkeypatch, "Headphones")
    assert Speaker(source, "head").open() == "Fake: Headphones"
    tried = []

    def none(*args: Any, **kwargs: Any) -> None:
        tried.append(args[6][0].name)
        raise miniaudio.MiniaudioError("failed to init device", -400)

    monkeypatch.setattr(miniaudio, "PlaybackDevice", none)
    monkeypatch.setattr(pygame.mixer, "init", _raises)
    with pytest.raises(pygame.error, match="nothing there"):
        Speaker(source).open()
    assert "ALSA" in tried
    assert not {"NULL", "CUSTOM"} & set(tried)  # silence is never taken for sound


def _raises(*args: Any, **kwargs: Any) -> None:
    raise pygame.error("nothing there")


def test_without_miniaudio_the_mixer_plays(source: Synth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniaudio", None)
    monkeypatch.setenv("NEUROLOOP_AUDIO", "null")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    speaker = Speaker(source)
    assert speaker.open().startswith("dummy (miniaudio: miniaudio cannot be loaded")
    speaker.close()


def test_the_environment_chooses(source: Synth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    speaker = Speaker(source, "a name that a dummy does not have")
    assert speaker.name == ""
    assert speaker.open() == speaker.name == "dummy"
    speaker.start()
    assert speaker.name == "dummy"
    assert source.guard.stop_fade_s == 0.020
    source.reward()
    time.sleep(0.15)
    assert speaker.error == ""
    assert speaker.delay_ms is not None
    assert 0.0 < speaker.delay_ms < 1000.0
    assert speaker.buffer_ms == pytest.approx(104.5, abs=0.1)
    speaker.close()
    monkeypatch.setenv("NEUROLOOP_AUDIO", "loud")
    with pytest.raises(InputError, match="NEUROLOOP_AUDIO is `loud`"):
        Speaker(source).open()


def test_a_device_that_opens_and_does_not_start_gives_way_to_the_mixer(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    monkeypatch.setattr(FakeDevice, "start", FakeDevice.refuse)
    speaker = Speaker(source)
    assert speaker.open() == "Fake: default device"
    player: Any = speaker._player
    assert speaker.buffer_ms == 40.0
    speaker.start()
    assert player._device.closing.wait(5.0)
    why = "failed to start audio device"
    assert speaker.name == f"dummy (miniaudio: Fake: default device: {why})"
    assert speaker.buffer_ms == pytest.approx(104.5, abs=0.1)
    assert source.guard.stop_fade_s == 0.020
    source.reward()
    time.sleep(0.15)
    assert (speaker.error, source.guard.hushed) == ("", False)
    assert speaker.delay_ms is not None
    speaker.close()


@pytest.mark.parametrize("named", [False, True])
def test_where_neither_starts_that_is_said(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setattr(FakeDevice, "start", FakeDevice.refuse)
    why = "Fake: default device: failed to start audio device"
    if named:
        devices(monkeypatch, "Headphones")
        monkeypatch.setattr(module._Mixer, "_named", staticmethod(_no_such))
        monkeypatch.setenv("SDL_AUDIODRIVER", "alsa")
        why = why.replace("default device", "Headphones")
    else:
        monkeypatch.setattr(pygame.mixer, "init", _raises)
    speaker = Speaker(source, "head" if named else None)
    speaker.open()
    player: Any = speaker._player
    with pytest.raises(pygame.error) as caught:
        speaker.start()
    text = "There is no sound device called `head`" if named else "nothing there"
    assert str(caught.value).startswith(f"miniaudio: {why}; mixer: {text}")
    assert player._device.closing.wait(5.0)
    assert (speaker.name, speaker.buffer_ms, speaker.error) == ("", 0.0, "")
    speaker.close()


def _no_such(_: Any, name: str) -> str:
    raise module._not_named(name, ["Beamer"])


def test_a_mixer_that_opens_and_does_not_start_is_closed(
    source: Synth, fake: type[FakeDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    monkeypatch.setattr(FakeDevice, "start", FakeDevice.refuse)
    monkeypatch.setattr(module._Mixer, "start", _raises)
    speaker = Speaker(source)
    speaker.open()
    with pytest.raises(pygame.error, match="nothing there"):
        speaker.start()
    assert pygame.mixer.get_init() is None
    speaker.close()


def test_a_mixer_that_fails_says_so(source: Synth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    speaker = Speaker(source)
    speaker.open()
    speaker.start()

    def broken(n: int) -> None:
        raise RuntimeError("no more")

    monkeypatch.setattr(source, "render", broken)
    player: Any = speaker._player
    player._thread.join(5.0)
    assert speaker.error == "Sound stopped: no more"
    speaker.close()


# ---------------------------------------------------------------- what the mixer really plays

PLAYER = """
import time
from feedback.guard import SoundGuard
from feedback.sound import Speaker, Synth
synth = Synth("chime", "tone_volume", True, SoundGuard(0.25))
synth.playing = True
speaker = Speaker(synth)
assert speaker.open() == "disk"
speaker.start()
for i in range(75):
    synth.level = (i % 25) / 25
    if i == 25:
        synth.reward()
    if i == 60:
        synth.hush(True)
    time.sleep(0.02)
assert not speaker.error, speaker.error
print(speaker.starved)
speaker.close()
"""


def test_what_the_mixer_plays(tmp_path: Path) -> None:
    raw = tmp_path / "out.raw"
    env = os.environ | {
        "SDL_AUDIODRIVER": "disk",
        "SDL_DISKAUDIOFILE": str(raw),
        "SDL_VIDEODRIVER": "dummy",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    env.pop("NEUROLOOP_AUDIO", None)
    done = subprocess.run(
        [sys.executable, "-c", PLAYER], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    wave = np.fromfile(raw, dtype=np.int16).reshape(-1, 2).astype(float) / 32768
    assert len(wave) > 0.8 * RATE_HZ
    assert np.abs(wave).max() <= LIMIT
    assert np.abs(wave).max() > 0.03
    if int(done.stdout.split()[-1]) == 0:  # a starved mixer is the machine's, not the synth's
        assert np.abs(np.diff(wave, axis=0)).max() < 0.03
    n = min(len(wave), RATE_HZ)
    spectrum = np.abs(np.fft.rfft(wave[:n, 0] * np.hanning(n)))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    assert spectrum[hz > 6000].max() < 1e-2 * spectrum.max()
    assert 100 < hz[np.argmax(spectrum)] < 600
