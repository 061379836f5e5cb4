"""Synthesis without a device, and what the mixer really plays (SDL's disk driver)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback.guard import LIMIT, SoundGuard
from feedback.registry import CUES, SOUNDS, resolve
from feedback.sound import BLOCK, Synth
from feedback.voices import RATE_HZ, ambience, chime, cue_tones


def synth(continuous: str | None = "ambience", cap: float = 0.25) -> Synth:
    return Synth("chime", continuous, True, SoundGuard(cap))


def play(source: Synth, seconds: float) -> NDArray[np.float32]:
    blocks = [source.render(BLOCK) for _ in range(round(seconds * RATE_HZ / BLOCK))]
    return np.concatenate(blocks)


def rms_db(x: NDArray[np.float32]) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(x.astype(float) ** 2))))


def test_every_registered_sound_exists() -> None:
    for kind in SOUNDS.values():
        made = resolve(kind.factory)(RATE_HZ)
        arrays = made if kind.role == "continuous" else (made,)
        for array in arrays:
            assert array.dtype == np.float32
            assert array.ndim == 2
            assert array.shape[1] == 2
            assert np.abs(array).max() <= 1.0


def test_the_chime_is_soft() -> None:
    wave = chime()
    assert len(wave) / RATE_HZ == pytest.approx(0.7, abs=0.01)
    assert np.abs(wave[0]).max() == 0.0
    assert np.abs(wave[-1]).max() < 1e-3
    attack = np.abs(wave[: int(0.005 * RATE_HZ)]).max()
    assert attack < 0.2 * np.abs(wave).max()


def test_cues_are_distinct_and_quieter_than_the_chime() -> None:
    cues = cue_tones()
    assert set(cues) == set(CUES)
    assert all(np.abs(c).max() < np.abs(chime()).max() for c in cues.values())

    def first_and_last_pitch(wave: NDArray[np.float32]) -> tuple[float, float]:
        pitches = []
        for part in (wave[: RATE_HZ // 4, 0], wave[-RATE_HZ // 4 :, 0]):
            spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
            pitches.append(float(np.argmax(spectrum) * RATE_HZ / (1 << 16)))
        return pitches[0], pitches[1]

    rising = first_and_last_pitch(cues["start"])
    falling = first_and_last_pitch(cues["end"])
    assert rising[1] > rising[0] * 1.2
    assert falling[1] < falling[0] / 1.2
    assert first_and_last_pitch(cues["rest"])[0] < first_and_last_pitch(cues["baseline"])[0]


def test_the_loop_has_no_seam() -> None:
    for layer in ambience():
        inside = np.abs(np.diff(layer, axis=0)).max()
        seam = np.abs(layer[0] - layer[-1]).max()
        assert seam <= inside


def test_nothing_pulses_at_a_rhythm_of_the_eeg() -> None:
    """The envelope of the steady sound carries no line between 2 and 40 Hz."""
    source = synth()
    source.playing, source.level = True, 1.0
    play(source, 2.0)
    wave = play(source, 8.0)[:, 0].astype(float)
    n = len(wave) // 441
    envelope = np.sqrt((wave[: n * 441].reshape(n, 441) ** 2).mean(axis=1))  # at 100 Hz
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean())) / n * 2 / envelope.mean()
    hz = np.fft.rfftfreq(n, 0.01)
    assert spectrum[(hz >= 2) & (hz <= 40)].max() < 0.05


def test_level_raises_loudness_by_six_db_at_most_and_brightness() -> None:
    source = synth()
    source.playing = True
    play(source, 2.0)
    quiet = play(source, 4.0)
    source.level = 0.5
    play(source, 0.5)
    middle = play(source, 4.0)
    source.level = 1.0
    play(source, 0.5)
    loud = play(source, 4.0)
    assert rms_db(quiet) < rms_db(middle) < rms_db(loud)
    assert rms_db(loud) - rms_db(quiet) == pytest.approx(6.0, abs=0.3)

    def centroid(x: NDArray[np.float32]) -> float:
        power = np.abs(np.fft.rfft(x[:, 0])) ** 2
        return float((power * np.fft.rfftfreq(len(x), 1 / RATE_HZ)).sum() / power.sum())

    assert centroid(quiet) < centroid(middle) < centroid(loud)
    assert np.abs(loud).max() <= 0.25


def test_leaping_levels_do_not_click() -> None:
    source = synth()
    source.playing, source.level = True, 1.0
    play(source, 2.0)
    steady = np.abs(np.diff(play(source, 4.0), axis=0)).max()
    rng = np.random.default_rng(0)
    blocks = []
    for _ in range(100):
        source.level = float(rng.random())
        blocks.append(source.render(BLOCK))
    assert np.abs(np.diff(np.concatenate(blocks), axis=0)).max() < 1.15 * steady


def test_rewards_cues_and_stop_do_not_click() -> None:
    source = synth()
    source.playing, source.level = True, 0.7
    out = [play(source, 2.0)]
    for action in (source.reward, lambda: source.cue("end"), source.reward):
        action()
        out.append(play(source, 0.3))
    source.hush(True)
    out.append(play(source, 0.5))
    source.hush(False)
    source.playing = True
    out.append(play(source, 3.0))
    wave = np.concatenate(out)
    # The steepest slope of the tones themselves: a click would be several times steeper.
    assert np.abs(np.diff(wave, axis=0)).max() < 0.03
    assert np.abs(wave).max() <= LIMIT


def test_hush_silences_and_forgets() -> None:
    source = synth()
    source.playing = True
    play(source, 2.0)
    source.reward()
    source.hush(True)
    faded = play(source, 0.3)
    assert np.abs(faded[-4096:]).max() == 0.0
    source.cue("start")  # while hushed: not kept for later
    source.playing = False
    source.hush(False)
    assert np.abs(play(source, 1.0)).max() == 0.0


def test_levels_that_are_no_numbers_do_not_sound() -> None:
    source = synth()
    source.playing, source.level, source.volume = True, float("nan"), float("nan")
    assert not play(source, 0.5).any()
    source.volume = 1.0
    assert np.isfinite(play(source, 0.5)).all()


def test_without_sounds_there_is_silence() -> None:
    source = Synth(None, None, False, SoundGuard(0.25))
    source.playing = True
    source.reward()
    source.cue("start")
    source.cue("no such cue")
    assert not play(source, 0.5).any()


PLAYER = """
import time
from feedback.guard import SoundGuard
from feedback.sound import Speaker, Synth
synth = Synth("chime", "ambience", True, SoundGuard(0.25))
synth.playing = True
speaker = Speaker(synth)
speaker.open()
speaker.start()
for i in range(150):
    synth.level = (i % 50) / 50
    if i == 50:
        synth.reward()
    if i == 120:
        synth.hush(True)
    time.sleep(0.02)
speaker.close()
assert not speaker.error, speaker.error
print(speaker.starved)
"""


def test_what_the_mixer_plays(tmp_path: Path) -> None:
    raw = tmp_path / "out.raw"
    env = os.environ | {
        "SDL_AUDIODRIVER": "disk",
        "SDL_DISKAUDIOFILE": str(raw),
        "SDL_VIDEODRIVER": "dummy",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", PLAYER], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    wave = np.fromfile(raw, dtype=np.int16).reshape(-1, 2).astype(float) / 32768
    assert len(wave) > RATE_HZ  # at least a second was written
    assert np.abs(wave).max() <= LIMIT
    assert np.abs(wave).max() > 0.03
    if int(done.stdout.split()[-1]) == 0:  # a starved mixer is the machine's, not the synth's
        assert np.abs(np.diff(wave, axis=0)).max() < 0.03
    spectrum = np.abs(np.fft.rfft(wave[: 2 * RATE_HZ, 0] * np.hanning(2 * RATE_HZ)))
    hz = np.fft.rfftfreq(2 * RATE_HZ, 1 / RATE_HZ)
    assert spectrum[hz > 6000].max() < 1e-2 * spectrum.max()
    assert 100 < hz[np.argmax(spectrum)] < 600
