"""Everything mixed, without a device: what follows which control, and that nothing clicks."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import InputError
from feedback.guard import LIMIT, LOUD, SoundGuard
from feedback.loudness import a_weighted_ms, dose_pa2h
from feedback.registry import SOUNDS, SoundKind, resolve
from feedback.sound import Speaker, Synth
from feedback.voices import AMBIENCE_PEAK, RATE_HZ, chime, cue_tones

BLOCK = 2048
CAP = 0.25
OWN = tuple(k.name for k in SOUNDS.values() if k.role == "continuous" and k.needs == "")


@cache
def _made(continuous: str | None) -> Synth:
    return Synth("chime", continuous, True, SoundGuard(CAP))


def synth(continuous: str | None = "tone_volume", cap: float = CAP, **kwargs: Any) -> Synth:
    if kwargs or cap != CAP:
        return Synth("chime", continuous, True, SoundGuard(cap), **kwargs)
    return deepcopy(_made(continuous))  # making one anew costs a third of a second


def play(source: Synth, seconds: float, n: int = BLOCK) -> NDArray[np.float32]:
    blocks = [source.render(n) for _ in range(round(seconds * RATE_HZ / n))]
    return np.concatenate(blocks)


def rms(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(x.astype(float) ** 2)))


def step(x: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(x, axis=0)).max())


def above(x: NDArray[np.float32], hz: float) -> float:
    """Return the largest sample of what is above `hz`: a click has everything, a tone nothing."""
    found = 0.0
    n = 1 << 17
    window = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    for at in range(0, len(x) - n, n // 2):  # half over half, so that every sample counts
        spectrum = np.fft.rfft(x[at : at + n, 0] * window)
        spectrum[np.fft.rfftfreq(n, 1 / RATE_HZ) < hz] = 0.0
        found = max(found, float(np.abs(np.fft.irfft(spectrum, n)).max()))
    return found


def test_every_registered_sound_exists() -> None:
    for kind in SOUNDS.values():
        factory = resolve(kind.factory)
        if kind.needs:
            continue  # of the room's own media
        made = factory(11025)
        if hasattr(made, "play"):
            assert made.play(100, 0.5, 0).shape == (100, 2)
            continue
        for array in made if kind.role == "continuous" else (made,):
            assert array.dtype == np.float32
            assert array.ndim == 2
            assert array.shape[1] == 2
            assert np.abs(array).max() <= 1.0


@pytest.mark.parametrize("kind", OWN)
def test_nothing_that_happens_in_a_session_clicks(kind: str) -> None:
    """Twenty seconds at 60 Hz: levels leap; rewards, cues and the stop come at random.

    A sample's largest step is that of each part at rest, added up (two sounds at once, at most,
    in this schedule), with a quarter to spare, and the ramps': the fastest is the stop's, the whole
    amplitude within 80 ms. A part that began or ended without a ramp would step by its amplitude,
    ten times as much. Whatever clicks is heard above 8 kHz, where no sound of ours has anything.
    """
    source = synth(kind)
    source.playing = True
    play(source, 1.6)
    own = 0.0
    for level in (0.0, 0.5, 1.0):
        source.level = level
        source.reward() if level == 0.5 and kind == "two_voices" else None
        play(source, 1.5)
        own = max(own, step(play(source, 1.0)))
    source._sounding = []
    once = max(step(w) for w in (chime(), *cue_tones().values())) * CAP
    rng = np.random.default_rng(6)
    out = [source.render(735)]
    until_hushed = until_sound = 0
    for frame in range(1200):
        source.level = float(rng.random())
        source.playing = True
        if frame >= until_sound and rng.random() < 0.03:
            source.reward() if rng.random() < 0.5 else source.cue("start")
            until_sound = frame + 30  # so that two overlap at most
        if frame >= until_hushed and rng.random() < 0.01:
            until_hushed = frame + int(rng.integers(5, 60))
        source.hush(frame < until_hushed)
        out.append(source.render(735))
    wave = np.concatenate(out)
    ramps = CAP * (AMBIENCE_PEAK + 2 * 0.55) / (0.08 * RATE_HZ)
    assert step(wave) < 1.25 * (own + 2 * once) + ramps
    assert above(wave, 8000.0) < 1e-3 * float(np.abs(wave).max())
    assert np.abs(wave).max() <= LIMIT


@pytest.mark.parametrize("kind", OWN)
def test_the_size_of_blocks_is_not_heard(kind: str) -> None:
    waves = []
    for n in (882, 441):
        source = synth(kind)
        source.playing, source.level = True, 0.6
        play(source, 1.0, n)
        source.reward()
        waves.append(play(source, 1.0, n))
    assert np.abs(waves[0] - waves[1]).max() < 1e-5


def test_rewards_and_the_level_reach_the_voice() -> None:
    heard = []

    class Listens:
        def play(self, n: int, level: float, rewards: int) -> NDArray[np.float32]:
            heard.append((level, rewards))
            return np.zeros((n, 2), dtype=np.float32)

    source = synth()
    source.voice = Listens()
    source.reward()  # while nothing plays: told to nobody, and not kept
    source.render(100)
    source.playing, source.level = True, 0.5
    source.render(100)
    source.reward()
    source.reward()
    source.render(100)
    source.level = 7.0
    source.render(100)
    source.level = math.nan
    source.render(100)
    assert heard == [(0.5, 0), (0.5, 2), (1.0, 0), (0.0, 0)]


def test_the_continuous_sound_fades_in_and_out() -> None:
    source = synth("tone_pitch")
    assert not play(source, 0.3).any()
    source.playing = True
    first = source.render(441)
    assert np.abs(first).max() < 1e-3
    play(source, 2.0)
    full = rms(play(source, 0.3))
    source.playing = False
    assert 0.0 < rms(play(source, 0.2)) < full
    play(source, 0.4)
    assert not play(source, 0.2).any()


def test_without_an_honest_level_the_sound_fades_and_the_level_stays() -> None:
    """A tone that fell in pitch would say "wrong" where nothing is known."""
    source = synth("tone_pitch")
    source.playing, source.level = True, 0.8
    play(source, 2.0)
    full = rms(play(source, 0.2))
    source.live = 0.0
    out = play(source, 1.0)
    assert step(out) < 0.02
    assert rms(out[-RATE_HZ // 10 :]) < 1e-3 * full
    source.live = 1.0
    play(source, 0.5)
    assert rms(play(source, 0.2)) == pytest.approx(full, rel=0.05)
    source.live = math.nan
    play(source, 1.0)
    assert rms(play(source, 0.1)) < 1e-3 * full


def test_a_click_passes_the_guard() -> None:
    source = synth(None)
    play(source, 0.1)  # the guard begins from silence
    source.click()
    wave = play(source, 0.1)
    assert np.abs(wave).max() == pytest.approx(0.25 * CAP, rel=0.01)
    assert np.flatnonzero(wave[:, 0]).max() < 0.004 * RATE_HZ
    source.hush(True)
    play(source, 0.2)
    source.click()
    assert not play(source, 0.1).any()


def test_no_more_than_four_sounds_at_once() -> None:
    source = synth(None, cap=1.0)
    for _ in range(40):
        source.reward()
    wave = play(source, 0.5)
    assert np.abs(wave).max() <= LIMIT
    assert len(source._sounding) == 4


def test_what_was_asked_for_carries_its_time() -> None:
    source = synth()
    source.render(441)
    assert source.stamps == ()
    source.reward()
    source.cue("start")
    source.render(441)
    assert len(source.stamps) == 2
    source.playing = True
    for level in (0.2, 0.3, 0.4):  # the first change since the last block counts
        source.level = level
    source.render(441)
    assert len(source.stamps) == 1
    source.render(441)
    assert source.stamps == ()


def test_hush_silences_and_forgets() -> None:
    source = synth("two_voices")
    source.playing = True
    play(source, 2.0)
    source.reward()
    play(source, 0.5)
    source.hush(True)
    faded = play(source, 0.3)
    assert np.abs(faded[-4096:]).max() == 0.0
    source.cue("start")  # while hushed: not kept for later
    source.reward()
    source.playing = False
    source.hush(False)
    assert np.abs(play(source, 1.0)).max() == 0.0


@pytest.mark.parametrize("kind", OWN)
def test_levels_that_are_no_numbers_do_not_sound(kind: str) -> None:
    source = synth(kind)
    source.playing, source.level, source.volume = True, math.nan, math.nan
    assert not play(source, 0.3).any()
    source.volume = 1.0
    assert np.isfinite(play(source, 0.3)).all()
    source.level = math.inf
    assert np.isfinite(play(source, 0.3)).all()


def test_without_sounds_there_is_silence() -> None:
    source = Synth(None, None, False, SoundGuard(CAP))
    source.playing = True
    source.reward()
    source.cue("start")
    source.cue("no such cue")
    assert not play(source, 0.5).any()
    assert source.render(0).shape == (0, 2)
    assert source.dose_pa2h is None


def test_the_dose_is_that_of_what_was_played() -> None:
    source = synth("tone_pitch", spl_fullscale_dba=90.0)
    assert source.dose_pa2h == 0.0
    source.playing = True
    wave = play(source, 4.0, 882)
    window = np.hanning(len(wave))[:, None]
    assert rms(wave * (1 - window)) > 0  # the fade in is part of it
    pieces = [wave[i : i + 22050] for i in range(0, len(wave) - 22050, 22050)]
    ms = float(np.mean([a_weighted_ms(p, RATE_HZ) for p in pieces]))
    wanted = dose_pa2h(90.0, len(wave) / RATE_HZ / 3600.0) * ms / 0.5
    assert source.dose_pa2h == pytest.approx(wanted, rel=0.15)
    source.hush(True)
    play(source, 0.3)
    before = source.dose_pa2h
    play(source, 1.0)
    assert source.dose_pa2h == before
    assert synth(None, spl_fullscale_dba=math.nan).dose_pa2h is None


# ---------------------------------------------------------------- voices of plugins


class Shouts:
    shape = 2

    def __init__(self, *_: Any) -> None:
        self.rested = 0

    def play(self, n: int, *_: Any) -> NDArray[np.float64]:
        return 9.0 * np.ones((n, self.shape))

    def rest(self) -> None:
        self.rested += 1


class Hums:
    """A plugin's voice that plays half a second and then does something else."""

    def __init__(self, *_: Any) -> None:
        self.at = 0

    def play(self, n: int, *_: Any) -> Any:
        t = (self.at + np.arange(n)) / RATE_HZ
        self.at += n
        block = 0.4 * np.sin(2 * np.pi * 220.0 * t)[:, None] * np.ones((1, 2))
        return block if self.at < RATE_HZ // 2 else self.otherwise(block)

    def otherwise(self, block: NDArray[np.float64]) -> Any:
        return block


class Mono(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:
        return block[:, :1]


class Nan(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:
        block[7] = math.nan
        return block


class Words(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:  # noqa: ARG002
        return "hum"


class Huge(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:
        return 1e300 * block


class Raises(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:  # noqa: ARG002
        raise RuntimeError("no more")


class Leaves(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:  # noqa: ARG002
        raise SystemExit


class Restless(Hums):
    def rest(self) -> None:
        raise OSError("cannot rest")


class Mute(Hums):
    @property
    def error(self) -> str:
        raise KeyError("error")


class Interrupts(Hums):
    def otherwise(self, block: NDArray[np.float64]) -> Any:  # noqa: ARG002
        raise KeyboardInterrupt


def kinds(name: str) -> dict[str, SoundKind]:
    own = SoundKind(name, "continuous", "A test.", f"{__name__}:{name}")
    return {**SOUNDS, name: own}


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(factory: str) -> Any:
        module, _, name = factory.partition(":")
        return globals()[name] if module == __name__ else resolve(factory)

    monkeypatch.setattr("feedback.synth.resolve", find)


def test_a_voice_of_a_plugin_is_held_within_the_peak() -> None:
    source = synth("Shouts", sounds=kinds("Shouts"))
    source.playing = True
    assert 0.0 < np.abs(play(source, 2.0)).max() <= CAP * AMBIENCE_PEAK + 1e-6
    source.playing = False
    play(source, 1.0)
    assert source.voice is not None
    assert source.voice._voice.rested == 1  # type: ignore[attr-defined]
    assert source.trouble == synth(None).trouble == ""
    source.voice._voice.error = "no more"  # type: ignore[attr-defined]
    assert source.trouble == "no more"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Mono", "ValueError: samples of shape (441, 1) instead of (441, 2)"),
        ("Nan", "ValueError: samples that are no numbers"),
        ("Words", "ValueError: could not convert string to float: 'hum'"),
        ("Huge", "ValueError: samples that are no numbers"),
        ("Raises", "RuntimeError: no more"),
        ("Leaves", "SystemExit"),
    ],
)
def test_a_voice_that_fails_is_dropped_and_everything_else_plays_on(name: str, why: str) -> None:
    source = synth(name, sounds=kinds(name))
    source.playing = True
    source.live = 1.0
    wave = play(source, 0.48, 441)
    assert source.trouble == ""
    assert source.audible
    wave = np.concatenate([wave, play(source, 0.1, 441)])
    assert source.trouble == f"The sound `{name}` failed ({why}). It is silent from now on."
    assert not source.audible
    assert step(wave) < 0.4 * CAP * (2 * np.pi * 220.0 + 1 / 0.02) / RATE_HZ  # no click
    assert not play(source, 0.1, 441).any()
    source.reward()
    assert np.abs(play(source, 0.3, 441)).max() > 0.01
    source.hush(True)
    assert not play(source, 0.3, 441)[-441:].any()


def test_a_voice_that_fails_when_it_rests_or_is_asked() -> None:
    source = synth("Restless", sounds=kinds("Restless"))
    source.playing = True
    play(source, 0.2)
    source.playing = False
    play(source, 1.0)
    assert "`Restless` failed (OSError: cannot rest)" in source.trouble
    source.playing = True
    assert not play(source, 1.0).any()
    source = synth("Mute", sounds=kinds("Mute"))
    assert "`Mute` failed (KeyError: 'error')" in source.trouble
    source = synth("Interrupts", sounds=kinds("Interrupts"))
    source.playing = True
    with pytest.raises(KeyboardInterrupt):
        play(source, 1.0)


# ---------------------------------------------------------------- a window that hangs


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr("feedback.synth.time.perf_counter", lambda: clock[0])
    return clock


def run(source: Synth, now: list[float], seconds: float, fed: bool) -> NDArray[np.float32]:
    out = []
    for _ in range(round(seconds * 100)):
        now[0] += 0.01
        if fed:
            source.fed = now[0]
        out.append(source.render(441))
    return np.concatenate(out)


def test_the_sound_of_a_window_that_hangs_fades_and_returns(now: list[float]) -> None:
    source = synth("tone_pitch")
    source.playing, source.level = True, 0.5
    full = rms(run(source, now, 3.0, fed=True)[-4410:])
    assert source.audible
    hung = run(source, now, 0.29, fed=False)
    assert rms(hung[-4410:]) == pytest.approx(full, rel=0.05)
    assert not source.guard.hushed
    hung = run(source, now, 0.3, fed=False)
    assert source.guard.hushed
    assert not hung[round(0.13 * RATE_HZ) :].any()  # a tenth of a second after the 0.3 s
    assert step(hung) < 0.02
    assert not source.audible
    assert not run(source, now, 5.0, fed=False).any()
    back = run(source, now, 4.0, fed=True)
    assert not source.guard.hushed
    assert source.audible
    assert step(back) < 0.02
    assert rms(back[: RATE_HZ // 10]) < 0.1 * full
    assert rms(back[-4410:]) == pytest.approx(full, rel=0.05)


def test_a_stop_stays_whether_the_window_hangs_or_not(now: list[float]) -> None:
    source = synth("tone_pitch")
    source.playing = True
    run(source, now, 1.0, fed=True)
    source.hush(True)
    run(source, now, 1.0, fed=False)
    run(source, now, 0.1, fed=True)
    assert source.guard.hushed
    run(source, now, 1.0, fed=False)
    source.hush(False)  # which is no word from a loop that turns
    assert source.guard.hushed
    source.fed = now[0]
    source.hush(False)
    assert not source.guard.hushed


def test_a_reward_by_which_a_window_comes_back_is_heard(now: list[float]) -> None:
    source = synth(None)
    run(source, now, 0.1, fed=True)
    source.reward()
    run(source, now, 0.05, fed=True)
    run(source, now, 1.0, fed=False)
    assert not source._sounding  # cut, and forgotten
    source.fed = now[0]
    source.reward()
    assert np.abs(run(source, now, 0.3, fed=True)).max() > 0.005


def test_a_synth_that_nobody_feeds_is_not_watched(now: list[float]) -> None:
    source = synth("tone_pitch")
    source.playing = True
    assert run(source, now, 2.0, fed=False)[-441:].any()


def test_what_is_audible(now: list[float]) -> None:
    source = synth("tone_pitch")
    assert not source.audible
    run(source, now, 0.1, fed=True)
    assert not source.audible  # not playing
    source.playing = True
    run(source, now, 0.5, fed=True)
    assert source.audible
    source.live = 0.0
    run(source, now, 0.5, fed=True)
    assert not source.audible
    source.live = 1.0
    run(source, now, 0.5, fed=True)
    assert source.audible
    source.volume = 0.0
    run(source, now, 0.2, fed=True)
    assert not source.audible
    source.volume = 1.0
    run(source, now, 0.2, fed=True)
    source.hush(True)
    assert not source.audible
    assert not synth(None).audible


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="no sound `gong`"):
        synth("gong")


def test_the_guard_says_when_it_acts() -> None:
    source = synth(None, cap=1.0)
    source.cue("wake")
    for _ in range(4):
        source.reward()
    assert source.take_bits() == 0
    play(source, 0.3)
    assert (source.take_bits(), source.take_bits()) == (LOUD, 0)
    source.guard.interventions += 1  # while the window does something else
    assert (source.take_bits(), source.take_bits()) == (LOUD, 0)


def test_a_speaker_that_was_not_opened() -> None:
    speaker = Speaker(synth(None))
    assert (speaker.error, speaker.starved, speaker.delay_ms) == ("", 0, None)
    speaker.close()
