"""The sounds themselves: as loud as promised, in tune, without clicks and without beats."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback.loudness import dbfs, loudest_ms, loudness_ms
from feedback.registry import CUES
from feedback.voices import (
    AMBIENCE_PEAK,
    CHIME_PEAK,
    CONTINUOUS_DBFS,
    CUE_PEAK,
    ONE_SHOT_DBFS,
    RATE_HZ,
    Loops,
    Smooth,
    Voice,
    ambience,
    chime,
    click,
    cue_tones,
    levelled,
    tone_pitch,
    tone_volume,
    two_voices,
)

Block = NDArray[np.float32]

KINDS: dict[str, Callable[[], Voice]] = {
    "ambience": lambda: Loops(*ambience(), RATE_HZ),
    "tone_pitch": tone_pitch,
    "tone_volume": tone_volume,
    "two_voices": two_voices,
}


@cache
def _made(kind: str) -> Voice:
    return KINDS[kind]()


def voice(kind: str) -> Voice:
    """Return a voice at its beginning; making one anew costs a third of a second."""
    return deepcopy(_made(kind))


def play(source: Voice, seconds: float, level: float, n: int = 882, rewards: int = 0) -> Block:
    blocks = round(seconds * RATE_HZ / n)
    return np.concatenate([source.play(n, level, rewards if i == 0 else 0) for i in range(blocks)])


def settled(source: Voice, level: float, seconds: float = 4.0) -> Block:
    play(source, 0.8, level)
    return play(source, seconds, level)


def loud(x: Block) -> float:
    """Loudness of a part of a steady sound, without the step at its ends."""
    window = np.hanning(len(x))[:, None]
    return dbfs(loudness_ms(x * window, RATE_HZ) / float(np.mean(window**2)))


def pitch_hz(x: Block) -> float:
    n = 1 << 18
    spectrum = np.abs(np.fft.rfft(x[:, 0] * np.hanning(len(x)), n))
    return float(np.argmax(spectrum) * RATE_HZ / n)


# ---------------------------------------------------------------- once


def test_the_chime_is_soft() -> None:
    wave = chime()
    assert len(wave) / RATE_HZ == pytest.approx(0.7, abs=0.01)
    assert np.abs(wave[0]).max() == 0.0
    assert np.abs(wave[-1]).max() < 1e-3
    attack = np.abs(wave[: int(0.005 * RATE_HZ)]).max()
    assert attack < 0.2 * np.abs(wave).max()


def test_what_sounds_once_is_equally_loud() -> None:
    cues = cue_tones()
    assert set(cues) == set(CUES)
    for wave, most in [(chime(), CHIME_PEAK), *((c, CUE_PEAK) for c in cues.values())]:
        assert dbfs(loudest_ms(wave, RATE_HZ)) == pytest.approx(ONE_SHOT_DBFS, abs=0.5)
        assert np.abs(wave).max() <= most


def test_levelled_never_exceeds_the_peak() -> None:
    spike = np.zeros((RATE_HZ, 2))
    spike[100] = 1.0
    wave = levelled(spike, RATE_HZ, 0.55)
    assert np.abs(wave).max() == pytest.approx(0.55)


def test_cues_are_distinct() -> None:
    cues = cue_tones()
    quarter = RATE_HZ // 4
    first, last = ({k: pitch_hz(c[s]) for k, c in cues.items()} for s in (
        slice(0, quarter), slice(-quarter, None),
    ))  # fmt: skip
    assert last["start"] > 1.2 * first["start"]
    assert last["end"] < first["end"] / 1.2
    assert first["wake"] < first["rest"] < first["baseline"]
    assert last["test"] > first["test"]


def test_tones_that_meet_do_not_beat() -> None:
    """Chime and cues are on the ambience's grid of 55 Hz, so that no two tones come near."""
    for wave in (chime(), *cue_tones().values()):
        assert pitch_hz(wave) % 55.0 == pytest.approx(0.0, abs=3.0) or pitch_hz(
            wave
        ) % 55.0 == pytest.approx(55.0, abs=3.0)


def test_the_click_is_short_and_band_limited() -> None:
    wave = click()
    assert len(wave) / RATE_HZ == pytest.approx(0.003, abs=1e-4)
    assert 0.2 < np.abs(wave).max() <= 0.25
    spectrum = np.abs(np.fft.rfft(wave[:, 0], 1 << 14)) ** 2
    hz = np.fft.rfftfreq(1 << 14, 1 / RATE_HZ)
    assert spectrum[hz > 4000].sum() < 1e-4 * spectrum.sum()
    assert 700 < hz[np.argmax(spectrum)] < 1300


# ---------------------------------------------------------------- what follows a level


def test_the_level_is_smoothed_across_blocks() -> None:
    whole, parts = Smooth(RATE_HZ), Smooth(RATE_HZ)
    a = np.concatenate([whole.step(1000, x) for x in (1.0, 0.2, 0.9)])
    b = np.concatenate([parts.step(250, x) for x in (1.0, 0.2, 0.9) for _ in range(4)])
    assert np.allclose(a, b, atol=1e-12)
    assert np.abs(np.diff(a)).max() <= 1.0 / (0.05 * RATE_HZ)
    assert Smooth(RATE_HZ).step(round(0.07 * RATE_HZ), 1.0)[-1] == pytest.approx(0.632, abs=0.01)
    assert len(whole.step(0, 1.0)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_continuous_sounds_are_equally_loud_in_the_middle(kind: str) -> None:
    wave = settled(voice(kind), 0.5, 4.0)
    assert loud(wave) == pytest.approx(CONTINUOUS_DBFS, abs=2.0)


@pytest.mark.parametrize(
    ("kind", "db"), [("ambience", 6.0), ("tone_pitch", 0.0), ("tone_volume", 12.0)]
)
def test_the_range_of_loudness(kind: str, db: float) -> None:
    # Each from the beginning of the loop, whose partials drift.
    heard = [loud(settled(voice(kind), level)) for level in (0.0, 0.5, 1.0)]
    assert heard[2] - heard[0] == pytest.approx(db, abs=0.6)
    assert heard[1] - heard[0] == pytest.approx(db / 2, abs=0.4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_sample_is_above_the_peak(kind: str) -> None:
    source = voice(kind)
    rng = np.random.default_rng(3)
    for i in range(400):
        level = 1.0 if i < 350 else float(rng.random())
        assert np.abs(source.play(2048, level, int(i % 40 == 0))).max() <= AMBIENCE_PEAK


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_blocks_does_not_matter(kind: str) -> None:
    a, b = voice(kind), voice(kind)
    levels = np.random.default_rng(4).random(40)
    whole = np.concatenate([a.play(882, x, int(i == 5)) for i, x in enumerate(levels)])
    parts = np.concatenate(
        [
            b.play(n, x, int(i == 5 and n == 441))
            for i, x in enumerate(levels)
            for n in (441, 0, 441)
        ]
    )
    assert np.abs(whole - parts).max() < 1e-5


def test_a_leaping_level_does_not_click() -> None:
    """No step between samples is larger than the sound's own slope where the level rests.

    Smoothing adds at most `1 / (tau rate)` of the amplitude per sample, which is the second term;
    a gain that jumped by 3 dB at a block's border would step by a third of the amplitude.
    """
    for kind in KINDS:
        source = voice(kind)
        rests = [settled(source, x, 2.0) for x in (0.0, 0.5, 1.0)]
        own = max(float(np.abs(np.diff(x, axis=0)).max()) for x in rests)
        rng = np.random.default_rng(5)
        leaps = np.concatenate([source.play(735, float(rng.random()), 0) for _ in range(300)])
        bound = 1.25 * own + AMBIENCE_PEAK / (0.05 * RATE_HZ)
        assert np.abs(np.diff(leaps, axis=0)).max() < bound, kind
        assert _above(leaps, 8000.0) < 1e-4, kind


def _above(x: Block, hz: float) -> float:
    """Return the largest sample of what is above `hz`: a click has everything, a tone nothing."""
    n = len(x)
    window = np.minimum(1.0, np.minimum(np.arange(n), np.arange(n)[::-1]) / (0.2 * RATE_HZ))
    window = 0.5 - 0.5 * np.cos(np.pi * window)
    spectrum = np.fft.rfft(x[:, 0] * window)
    spectrum[np.fft.rfftfreq(n, 1 / RATE_HZ) < hz] = 0.0
    return float(np.abs(np.fft.irfft(spectrum, n)).max())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_pulses_at_a_rhythm_of_the_eeg(kind: str) -> None:
    """The envelope of the steady sound carries no line between 1 and 40 Hz."""
    source = voice(kind)
    play(source, 1.5, 1.0, rewards=1)
    wave = play(source, 8.0, 1.0)[:, 0].astype(float)
    n = len(wave) // 441
    envelope = np.sqrt((wave[: n * 441].reshape(n, 441) ** 2).mean(axis=1))  # at 100 Hz
    envelope -= np.convolve(np.pad(envelope, 50, mode="edge"), np.ones(101) / 101, "valid")
    spectrum = np.abs(np.fft.rfft(envelope * np.hanning(n))) * 4 / n
    hz = np.fft.rfftfreq(n, 0.01)
    mean = float(np.sqrt((wave**2).mean()))
    assert spectrum[(hz >= 1) & (hz <= 40)].max() < 0.05 * mean


@pytest.mark.parametrize("kind", ["ambience", "tone_volume", "two_voices"])
def test_loops_have_no_seam(kind: str) -> None:
    source = voice(kind)
    wave = settled(source, 1.0, 13.0)  # longer than a loop
    slope = np.abs(np.diff(wave, n=2, axis=0)).max(axis=1)
    assert slope.max() < 4.0 * np.percentile(slope, 99)
    assert _above(wave, 8000.0) < 1e-4


@pytest.mark.parametrize("level", [0.0, 0.25, 0.5, 1.0])
def test_the_pitch_rises_by_an_octave(level: float) -> None:
    wave = settled(voice("tone_pitch"), level, 1.0)
    assert pitch_hz(wave) == pytest.approx(220.0 * 2.0**level, rel=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_drifts_does_not_pass_for_a_level(kind: str) -> None:
    """Over a whole loop at one level, loudness stays within a decibel and a half."""
    wave = settled(voice(kind), 0.5, 12.0)
    heard = [loud(wave[i : i + RATE_HZ]) for i in range(0, len(wave) - RATE_HZ, RATE_HZ)]
    assert max(heard) - min(heard) < 1.5


def test_ambience_becomes_brighter() -> None:
    def centroid(x: Block) -> float:
        power = np.abs(np.fft.rfft(x[:, 0] * np.hanning(len(x)))) ** 2
        return float((power * np.fft.rfftfreq(len(x), 1 / RATE_HZ)).sum() / power.sum())

    source = voice("ambience")
    found = [centroid(settled(source, x, 2.0)) for x in (0.0, 0.5, 1.0)]
    assert found[0] < found[1] < found[2]


# ---------------------------------------------------------------- two voices


def band(x: Block, low: float, high: float) -> float:
    power = np.abs(np.fft.rfft(x[:, 0] * np.hanning(len(x)))) ** 2
    hz = np.fft.rfftfreq(len(x), 1 / RATE_HZ)
    return float(np.sqrt(power[(hz >= low) & (hz < high)].sum()) / len(x))


def test_the_low_voice_follows_the_level_and_the_high_one_rewards() -> None:
    source = voice("two_voices")
    quiet, full = (settled(voice("two_voices"), x, 1.0) for x in (0.0, 1.0))
    rise = 20 * np.log10(band(full, 50, 600) / band(quiet, 50, 600))
    assert rise == pytest.approx(8.0, abs=0.5)
    assert band(full, 640, 4000) < 1e-3 * band(full, 50, 600)
    play(source, 1.2, 0.3, rewards=1)
    low = band(play(source, 0.6, 0.3), 50, 600)
    high = band(play(source, 0.6, 0.3), 640, 4000)
    assert high > 0.1 * low
    assert low == pytest.approx(band(settled(voice("two_voices"), 0.3, 0.6), 50, 600), rel=0.15)


def test_a_reward_swells_and_ebbs() -> None:
    source = voice("two_voices")
    play(source, 0.5, 0.0)
    wave = play(source, 6.0, 0.0, n=441, rewards=1)
    heard = [band(wave[i : i + 4410], 640, 4000) for i in range(0, len(wave) - 4410, 4410)]
    top_s = float(np.argmax(heard)) / 10
    assert 1.0 <= top_s <= 2.2  # it swells in 1.5 s, while its partials drift
    assert heard[0] < 0.1 * max(heard)
    assert max(heard[-3:]) < 0.02 * max(heard)  # 4 s later it is gone


def test_a_second_reward_takes_up_the_swell_without_a_step() -> None:
    source = voice("two_voices")
    parts = [play(source, 0.9, 0.5, rewards=1), play(source, 2.2, 0.5, rewards=1)]
    parts += [play(source, 2.0, 0.5, rewards=1), play(source, 4.0, 0.5)]
    wave = np.concatenate(parts)
    assert _above(wave, 8000.0) < 1e-4


def test_after_a_rest_no_swell_comes_back() -> None:
    source: Any = voice("two_voices")
    play(source, 1.0, 0.0, rewards=1)
    source.rest()
    wave = play(source, 1.0, 0.0)
    assert band(wave, 640, 4000) < 1e-3 * band(wave, 50, 600)


# ---------------------------------------------------------------- loops of others


def test_loops_of_others_are_never_turned_up() -> None:
    t = np.arange(RATE_HZ)[:, None] / RATE_HZ * np.ones(2)
    low, high = 0.01 * np.sin(2 * np.pi * 200 * t), 0.01 * np.sin(2 * np.pi * 800 * t)
    source = Loops(low.astype(np.float32), high.astype(np.float32), RATE_HZ, louder=False)
    assert np.abs(settled(source, 1.0, 1.0)).max() <= 0.0201
    source = Loops(low.astype(np.float32), high.astype(np.float32), RATE_HZ)
    assert np.abs(settled(source, 1.0, 1.0)).max() > 0.05


def test_a_layer_that_can_hardly_be_heard_is_not_turned_up_without_end() -> None:
    t = np.arange(RATE_HZ)[:, None] / RATE_HZ * np.ones(2)
    low, high = 0.1 * np.sin(2 * np.pi * 30 * t), 0.3 * np.sin(2 * np.pi * 1000 * t)
    source = Loops(low.astype(np.float32), high.astype(np.float32), RATE_HZ)
    full, quiet = settled(source, 1.0, 1.0), settled(source, 0.0, 1.0)
    assert band(quiet, 20, 40) <= 2.05 * band(full, 20, 40)
