"""The window's loop, turned frame by frame with a fake clock and a fake port."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame
import pytest

from engine.clock import FakeClock
from engine.frames import Presented, Show
from feedback.album import write_png as _write_png
from feedback.guard import FlashGuard, SoundGuard, luminance
from feedback.motion import Glow, LevelEase
from feedback.registry import PICTURES
from feedback.sound import Synth
from feedback.window import WindowLoop, _drawable, _sample
from feedback.worker import Alive, Beat, Close, Fault, Key, Ready, WindowSpec

FRAME_S = 1 / 60


class FakePort:
    def __init__(self) -> None:
        self.inbox: list[Any] = []
        self.out: list[Any] = []
        self.gone = False

    def take(self) -> tuple[Any, ...]:
        if self.gone:
            raise EOFError
        messages, self.inbox = tuple(self.inbox), []
        return messages

    def wait(self, _timeout_s: float) -> bool:
        return bool(self.inbox)

    def put(self, message: Any) -> None:
        self.out.append(message)

    def of(self, kind: type) -> list[Any]:
        return [m for m in self.out if isinstance(m, kind)]


class Bench:
    """A loop with its fake surroundings."""

    def __init__(self, **spec: Any) -> None:
        spec = {"headless": True, "size": (640, 360), "sound_enabled": False} | spec
        self.clock, self.port = FakeClock(), FakePort()
        self.loop = WindowLoop(WindowSpec(**spec), self.port, self.clock)
        self.start = self.clock.now()
        self.seq = 0
        self.shown = Show(seq=0, t=0.0, sent=0.0, screen="feedback", level=0.5)

    def open(self) -> Bench:
        assert self.loop.open()
        return self

    def frames(self, seconds: float, alive: bool = True, **changes: Any) -> bool:
        """Turn for `seconds`, sending a Show before each frame when `alive`."""
        going = True
        for _ in range(round(seconds / FRAME_S)):
            if alive:
                self.seq += 1
                now = self.clock.now()
                self.shown = replace(self.shown, **changes, seq=self.seq, t=now - 0.01, sent=now)
                self.port.inbox.append(self.shown)
            going = self.loop.turn()
            self.clock.advance(FRAME_S)
            if not going:
                break
        return going

    def light(self) -> float:
        return float(luminance(_sample(self.loop._shown)).mean())


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench().open()
    yield made
    made.loop.close()


# ---------------------------------------------------------------- easing


def ease_for(ease: LevelEase, seconds: float, level: float | None) -> None:
    for _ in range(round(seconds / FRAME_S)):
        ease.step(FRAME_S, level)


def test_the_level_is_followed_within_a_frame() -> None:
    ease = LevelEase()
    ease_for(ease, 1.0, 0.2)
    ease.step(FRAME_S, 0.8)
    assert ease.level > 0.2 + 0.85 * 0.6
    ease.step(FRAME_S, 0.8)
    assert ease.level > 0.2 + 0.98 * 0.6


def test_a_gate_keeps_the_level_then_eases_to_neutral() -> None:
    ease = LevelEase()
    ease_for(ease, 1.0, 0.7)
    ease_for(ease, 0.28, None)
    assert (ease.live, ease.settling) == (1.0, 0.0)
    assert ease.level == pytest.approx(0.7)
    ease_for(ease, 0.5, None)
    assert 0.0 < ease.live < 1.0
    ease_for(ease, 0.54, None)
    assert ease.live == 0.0  # 0.3 s + 1 s
    assert ease.settling == 1.0
    ease_for(ease, 0.5, 0.3)
    assert ease.live == 1.0
    assert ease.level == pytest.approx(0.3)
    assert ease.settling == 0.0


def test_a_gate_never_raises_what_is_seen() -> None:
    ease = LevelEase()
    ease_for(ease, 1.0, 0.4)
    before = ease.level * ease.eased
    for _ in range(120):
        ease.step(FRAME_S, None)
        assert ease.level * ease.eased <= before + 1e-12
        before = ease.level * ease.eased


def test_no_level_before_the_first_is_neutral_without_an_icon() -> None:
    ease = LevelEase()
    ease_for(ease, 2.0, None)
    assert (ease.live, ease.settling) == (0.0, 0.0)
    ease_for(ease, 0.1, float("nan"))
    assert ease.live == 0.0


def test_a_glow_takes_its_time_and_none_is_lost() -> None:
    glow = Glow()
    glow.add(3)
    values, began = [0.0], 0
    for _ in range(300):
        began += glow.step(FRAME_S)
        values.append(glow.value)
    assert began == 3
    steps = np.diff(values)
    assert steps.max() < FRAME_S / 0.3 * np.pi / 2
    assert steps.min() > -FRAME_S / 0.3 * np.pi / 2
    assert max(values) == pytest.approx(1.0, abs=0.01)
    assert values[-1] == 0.0


# ---------------------------------------------------------------- the loop


def test_ready_names_versions_and_size(bench: Bench) -> None:
    (ready,) = bench.port.of(Ready)
    assert ready.driver == "dummy"
    assert ready.size == (640, 360)
    assert {"pygame", "SDL", "numpy", "python"} <= set(ready.versions)
    assert ready.audio == ""


def test_every_frame_is_told_with_the_stamps_it_rests_on(bench: Bench) -> None:
    bench.frames(1.0, level=0.6)
    rows = bench.port.of(Presented)
    assert [r.seq for r in rows] == list(range(1, 61))
    assert all(r.t_flip >= r.sent > r.t for r in rows)
    assert rows[-1].level == pytest.approx(0.6, abs=1e-3)
    assert not any(r.guard for r in rows)
    assert [r.frame for r in rows] == list(range(1, 61))
    assert {r.screen for r in rows} == {"feedback"}
    bench.frames(0.2, alive=False)  # nothing new: the frames still say what they rest on
    later = bench.port.of(Presented)[60:]
    assert len(later) == 12
    assert {(r.seq, r.t) for r in later} == {(60, rows[-1].t)}
    assert all(b.t_flip > a.t_flip for a, b in pairwise(later))


def test_the_newest_show_wins_and_no_reward_is_lost(bench: Bench) -> None:
    bench.frames(1.0, rewards=7)
    for rewards in (8, 9):
        bench.seq += 1
        bench.port.inbox.append(replace(bench.shown, seq=bench.seq, rewards=rewards))
    bench.loop.turn()
    bench.clock.advance(FRAME_S)
    rows = bench.port.of(Presented)
    assert [r.seq for r in rows[-2:]] == [60, 62]
    bench.frames(2.0, rewards=9)
    assert sum(r.reward for r in bench.port.of(Presented)) == 2


def test_growth_counts_the_rewards_and_a_new_window_shows_what_was_there(bench: Bench) -> None:
    bench.frames(0.5, rewards=7)
    assert bench.loop.growth.value == 7.0
    bench.frames(0.6, rewards=8)
    assert 7.0 < bench.loop.growth.value < 8.0
    bench.frames(3.0, rewards=10)
    assert bench.loop.growth.value == 10.0


def test_the_time_of_a_picture_stands_still_without_an_honest_answer(bench: Bench) -> None:
    bench.frames(2.0, level=0.5)
    before = bench.loop._picture_t
    assert before == pytest.approx(2.0, abs=0.5)
    bench.frames(2.0, level=None, gated=True)
    held = bench.loop._picture_t
    assert held - before < 1.0
    bench.frames(2.0, level=None, gated=True)
    assert bench.loop._picture_t == held


def patch_of(bench: Bench) -> float:
    """Return the luminance of the corner where the photodiode sits."""
    pixels = pygame.surfarray.array3d(bench.loop._shown)
    return float(luminance(pixels[2:10, -10:-2]).mean())


def test_the_patch_for_the_photodiode_is_lit_when_a_reward_begins() -> None:
    bench = Bench(photodiode="bottom-left", picture="bar").open()
    bench.frames(1.0, level=0.5, rewards=3)
    assert patch_of(bench) < 0.01
    bench.frames(3 * FRAME_S, rewards=4)
    assert patch_of(bench) > 0.9
    began = next(r for r in bench.port.of(Presented) if r.reward)
    assert began.patch
    bench.frames(0.5, rewards=4)
    assert patch_of(bench) < 0.01
    assert bench.loop.guard.interventions == 0
    rows = bench.port.of(Presented)
    assert sum(r.patch for r in rows) == pytest.approx(0.20 / FRAME_S, abs=1)
    bench.loop.close()


def test_the_probe_lights_the_patch_by_its_number_and_clicks() -> None:
    bench = Bench(photodiode="bottom-left", audio_click=True, sound_enabled=True).open()
    clicks: list[float] = []
    assert bench.loop.synth is not None
    bench.loop.synth.click = lambda: clicks.append(bench.clock.now())  # type: ignore[method-assign]
    for k in range(1, 6):
        bench.frames(0.2, screen="probe", level=None, probe=k)
        assert (patch_of(bench) > 0.9) == bool(k % 2)
    assert len(clicks) == 5
    flips = [r for r in bench.port.of(Presented) if r.screen == "probe"]
    turns = [b.frame for a, b in pairwise(flips) if a.patch != b.patch]
    assert len(turns) == 4
    assert bench.loop.guard.interventions == 0
    bench.loop.close()


def test_a_restarted_window_repeats_no_rewards(bench: Bench) -> None:
    bench.frames(2.0, rewards=57)
    assert not any(r.reward for r in bench.port.of(Presented))


def test_a_gated_show_ends_at_neutral(bench: Bench) -> None:
    bench.frames(1.0, level=0.8)
    bench.frames(0.25, level=None, gated=True)
    assert bench.port.of(Presented)[-1].level == pytest.approx(0.8, abs=1e-3)
    bench.frames(1.1, level=None, gated=True)
    assert bench.port.of(Presented)[-1].level is None
    assert bench.loop.ease.settling > 0.9


EVERY = [n for n, kind in PICTURES.items() if kind.needs != "film"]


@pytest.mark.parametrize("picture", EVERY)
def test_hold_is_neutral_within_200_ms_and_the_guard_agrees(picture: str) -> None:
    bench = Bench(picture=picture).open()
    for level in 1.0 - np.exp(-np.arange(0, 2, FRAME_S) / 0.3):  # as smoothed as it comes
        bench.frames(FRAME_S, level=float(level))
    bench.frames(0.2 + 2 * FRAME_S, screen="neutral", level=None)
    soon = bench.light()
    bench.frames(1.0, screen="neutral", level=None)
    assert soon == pytest.approx(bench.light(), abs=1e-3)
    assert bench.loop.guard.interventions == 0
    assert bench.port.of(Presented)[-1].level is None
    bench.loop.close()


@pytest.mark.parametrize("picture", EVERY)
def test_a_calm_session_never_meets_the_guard(picture: str) -> None:
    bench = Bench(picture=picture).open()
    bench.frames(1.0, screen="welcome")
    bench.frames(1.0, screen="test")
    bench.frames(1.0, screen="countdown", remaining_s=1.0)
    for i in range(60):
        level = 0.5 + 0.5 * np.sin(2 * np.pi * i / 24)  # all the way in 0.6 s
        bench.frames(0.05, screen="feedback", level=float(level), rewards=i // 30)
    bench.frames(1.0, screen="rest")
    bench.frames(2.0, screen="feedback", level=1.0)
    bench.frames(0.5, screen="neutral")
    bench.frames(1.5, screen="feedback", level=1.0)
    bench.frames(0.6, screen="transfer")
    bench.frames(1.0, screen="end")
    assert bench.loop.guard.interventions == 0
    bench.loop.close()


class Strobe:
    """A picture as a careless plugin might draw it."""

    def __init__(self) -> None:
        self._i = 0

    def draw(self, surface: Any, *_: float) -> None:
        self._i += 1
        colours = [(255, 255, 255), (255, 0, 0), (0, 0, 0), (0, 0, 255)]
        surface.fill(colours[self._i // 3 % 4])


def test_what_the_guard_held_back_is_not_told_as_shown() -> None:
    """Level, patch and reward of a frame count only as far as the frame is on the screen."""

    class Sheet:
        def draw(self, surface: Any, moment: Any) -> None:
            surface.fill((235, 235, 235) if moment.level > 0.5 else (0, 0, 0))

    bench = Bench(photodiode="bottom-left").open()
    bench.loop.screens.picture = Sheet()
    bench.frames(3.0, level=0.0, rewards=0)
    bench.port.out.clear()
    bench.frames(0.2, level=1.0, rewards=1)
    rows = bench.port.of(Presented)
    held = [r for r in rows if r.guard & 2]
    assert held
    assert all(r.share < 1.0 for r in held)
    assert all(r.level == rows[i - 1].level for i, r in enumerate(rows) if i and r.share == 0.0)
    bench.frames(4.0, level=1.0, rewards=1)
    assert sum(r.reward for r in bench.port.of(Presented)) == 1
    assert bench.port.of(Presented)[-1].share == 1.0
    bench.loop.close()


def test_a_screen_that_fades_in_says_how_much_of_it_is_seen(bench: Bench) -> None:
    bench.frames(2.0, screen="rest")
    bench.port.out.clear()
    bench.frames(1.5, screen="feedback", level=0.6)
    shares = [r.share for r in bench.port.of(Presented)]
    assert shares[0] < 0.2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    lives = [r.live for r in bench.port.of(Presented)]
    assert lives == sorted(lives)
    assert bench.port.of(Presented)[-1].level == pytest.approx(0.6, abs=1e-3)


def test_a_minimised_window_perceives_nothing(bench: Bench) -> None:
    bench.frames(1.0, level=0.7)
    pygame.event.post(pygame.event.Event(pygame.WINDOWMINIMIZED))
    bench.frames(0.5, level=0.7)
    assert bench.port.of(Presented)[-1].level is None
    assert not bench.port.of(Beat)[-1].perceived
    pygame.event.post(pygame.event.Event(pygame.WINDOWRESTORED))
    bench.frames(0.5, level=0.7)
    assert bench.port.of(Presented)[-1].level == pytest.approx(0.7, abs=1e-3)
    assert bench.port.of(Beat)[-1].perceived


@pytest.mark.parametrize(
    ("spec", "perceived"),
    [
        ({"picture": "orb"}, True),
        ({"picture": "none"}, True),  # silent because the operator wants it so
        ({"picture": "none", "sound_enabled": True, "continuous": "ambience"}, True),
        ({"picture": "none", "sound_enabled": True, "continuous": None}, True),  # chimes
        ({"picture": "none", "sound_enabled": True, "on_reward": None, "continuous": None}, False),
    ],
)
def test_whether_anything_is_perceived(spec: dict[str, Any], perceived: bool) -> None:
    bench = Bench(**spec).open()
    bench.frames(0.5, level=0.7)
    assert bench.port.of(Beat)[-1].perceived == perceived
    bench.loop.close()


def test_a_lost_sound_device_neither_stops_the_picture_nor_promises_tones() -> None:
    bench = Bench(picture="none", sound_enabled=True, continuous="ambience").open()
    bench.frames(0.3, level=0.7)
    assert bench.loop.screens.tones
    assert bench.loop._speaker is not None
    bench.loop._speaker._player.error = "Sound stopped: the device is gone"
    bench.frames(0.3, level=0.7)
    assert bench.loop.synth is None
    assert not bench.loop.screens.tones
    assert not bench.port.of(Beat)[-1].perceived
    assert bench.port.of(Presented)[-1].level is None
    bench.loop.close()


def test_rewards_that_came_where_nothing_glows_have_grown_all_the_same(bench: Bench) -> None:
    bench.frames(1.0, rewards=2)
    bench.frames(0.2, rewards=3)
    bench.frames(0.2, screen="rest", rewards=5)
    assert bench.loop.growth.value == 5.0
    bench.frames(1.0, screen="feedback", rewards=5)
    assert bench.loop.growth.value == 5.0


def test_a_huge_screen_is_drawn_smaller_and_enlarged() -> None:
    assert _drawable((1920, 1080)) == (1920, 1080)
    assert _drawable((3840, 2160)) == (1920, 1080)
    assert _drawable((7680, 4320)) == (1920, 1080)
    assert _drawable((2560, 1440)) == (1280, 720)


def test_a_strobing_picture_is_tamed_on_the_surface(bench: Bench) -> None:
    bench.loop.screens.picture = Strobe()
    watch = FlashGuard(slope=False)
    means = []
    for _ in range(150):
        bench.frames(FRAME_S)
        frame = _sample(bench.loop._shown)
        t = bench.clock.now()
        assert not watch.judge(frame, t).bits
        watch.commit(frame, t)
        means.append(float(luminance(frame).mean()))
    assert np.abs(np.array(means)[60:] - np.array(means)[:-60]).max() <= 0.51
    assert bench.loop.guard.interventions > 0
    guards = {r.guard for r in bench.port.of(Presented)}
    assert any(g & 2 for g in guards)
    assert any(g & 4 for g in guards)
    assert bench.port.of(Beat)[-1].guarded > 0


def test_beats_come_ten_times_a_second(bench: Bench) -> None:
    bench.frames(2.0)
    beats = bench.port.of(Beat)
    assert 17 <= len(beats) <= 21
    assert beats[-1].fps == pytest.approx(60, abs=1)
    assert beats[-1].missed == 0
    bench.clock.advance(0.1)
    bench.frames(0.2)
    assert bench.port.of(Beat)[-1].missed == 6


def test_a_slow_picture_is_told_once(bench: Bench) -> None:
    for _ in range(200):
        bench.frames(FRAME_S)
        bench.clock.advance(0.015)
    assert [f.fatal for f in bench.port.of(Fault)] == [False]
    assert "frames per second" in bench.port.of(Fault)[0].text


def test_silence_of_the_engine_is_a_curtain_and_then_the_end(bench: Bench) -> None:
    bench.frames(1.0, level=1.0)
    assert bench.frames(0.45, alive=False)
    assert bench.loop.curtain == ""
    assert bench.frames(0.1, alive=False)
    assert bench.loop.curtain == "lost"
    assert bench.loop.screen == "lost"
    assert bench.frames(9.7, alive=False)
    assert not bench.frames(0.5, alive=False)


def test_the_curtain_rises_when_the_engine_returns(bench: Bench) -> None:
    bench.frames(1.0)
    bench.frames(1.0, alive=False)
    assert bench.loop.curtain == "lost"
    bench.frames(0.1)
    assert bench.loop.curtain == ""
    assert bench.loop.screen == "feedback"


def test_alive_is_enough_to_stay(bench: Bench) -> None:
    bench.frames(0.5)
    for _ in range(20):
        bench.port.inbox.append(Alive())
        assert bench.frames(0.2, alive=False)
    assert bench.loop.curtain == ""


def test_a_window_nobody_spoke_to_waits(bench: Bench) -> None:
    assert bench.frames(15.0, alive=False)
    assert bench.loop.screen == "welcome"


def test_a_broken_pipe_is_a_curtain_at_once(bench: Bench) -> None:
    bench.frames(1.0)
    bench.port.gone = True
    bench.frames(2 * FRAME_S, alive=False)
    assert bench.loop.curtain == "lost"
    assert bench.frames(9.5, alive=False)
    assert not bench.frames(1.0, alive=False)


def test_close_ends_the_loop(bench: Bench) -> None:
    bench.port.inbox.append(Close())
    assert not bench.frames(FRAME_S, alive=False)


@pytest.mark.parametrize(
    "event",
    [
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_s),
        pygame.event.Event(pygame.QUIT),
    ],
)
def test_the_person_can_stop(bench: Bench, event: Any) -> None:
    bench.frames(1.0, level=1.0)
    pygame.event.post(event)
    bench.frames(FRAME_S)
    (key,) = bench.port.of(Key)
    assert key.name == "stop"
    assert bench.loop.curtain == "stopped"
    # Neutral even though the engine, for now, goes on sending levels.
    bench.frames(0.2 + FRAME_S, level=1.0)
    soon = bench.light()
    bench.frames(0.5, level=1.0)
    assert soon == pytest.approx(bench.light(), abs=1e-3)
    assert bench.port.of(Presented)[-1].level is None
    bench.frames(0.5, screen="end")
    assert bench.loop.screen == "end"


def test_other_keys_are_passed_on_by_name(bench: Bench) -> None:
    for key in (pygame.K_SPACE, pygame.K_RETURN, pygame.K_x):
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
    bench.frames(FRAME_S)
    assert [k.name for k in bench.port.of(Key)] == ["space", "return"]


def test_an_unknown_message_is_told(bench: Bench) -> None:
    bench.port.inbox.append("what?")
    bench.frames(FRAME_S, alive=False)
    assert "str" in bench.port.of(Fault)[0].text


# ---------------------------------------------------------------- sound in the loop


def test_sound_follows_the_screen(bench: Bench) -> None:
    synth = Synth("chime", "ambience", True, SoundGuard(0.25))
    heard: list[str] = []
    bench.loop.synth = synth
    synth.reward = lambda: heard.append("reward")  # type: ignore[method-assign]
    synth.cue = heard.append  # type: ignore[method-assign]
    bench.frames(0.2, screen="countdown", cue="start", cues=0)
    assert not synth.playing
    bench.frames(0.2, screen="feedback", level=0.9, cues=1)
    assert synth.playing
    assert heard == ["start"]
    bench.frames(1.0, rewards=1, gain=0.4)
    assert heard == ["start", "reward"]
    assert synth.level == pytest.approx(0.9, abs=0.01)
    assert synth.volume == 0.4
    bench.frames(2.0, level=None, gated=True)
    assert synth.live == 0.0  # fades, rather than sinking like a low level
    assert bench.port.of(Presented)[-1].heard is None
    bench.frames(0.1, screen="neutral")
    assert synth.guard.hushed
    bench.frames(0.1, screen="feedback", gated=False, level=0.5)
    assert not synth.guard.hushed
    bench.frames(1.0, alive=False)
    assert synth.guard.hushed
    assert not synth.playing or synth.guard.hushed


def test_loudness_reaches_the_presented_rows(bench: Bench) -> None:
    synth = Synth("chime", None, True, SoundGuard(0.25))
    bench.loop.synth = synth
    bench.frames(0.1)
    synth.guard.interventions += 1
    bench.frames(0.1)
    assert sum(bool(r.guard & 8) for r in bench.port.of(Presented)) == 1


def test_sound_that_is_required_and_missing_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise pygame.error("no device")

    monkeypatch.setattr(pygame.mixer, "init", broken)
    bench = Bench(sound_enabled=True, sound_required=True)
    assert not bench.loop.open()
    (fault,) = bench.port.of(Fault)
    assert fault.fatal
    assert "requires sound" in fault.text
    bench.loop.close()
    bench = Bench(sound_enabled=True, sound_required=False)
    assert bench.loop.open()
    (fault,) = bench.port.of(Fault)
    assert not fault.fatal
    assert "silent" in fault.text
    assert bench.port.of(Ready)[0].audio == ""
    assert bench.frames(0.5)
    bench.loop.close()


# ---------------------------------------------------------------- opening


def test_an_invisible_driver_is_refused_unless_asked_for() -> None:
    bench = Bench(headless=False)
    assert not bench.loop.open()
    (fault,) = bench.port.of(Fault)
    assert fault.fatal
    assert "shows nothing" in fault.text
    assert not bench.port.of(Ready)
    bench.loop.close()


def test_no_screen_at_all_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise pygame.error("No available video device")

    monkeypatch.setattr(pygame.display, "init", broken)
    bench = Bench()
    assert not bench.loop.open()
    assert "no usable screen" in bench.port.of(Fault)[0].text


def test_a_missing_screen_falls_back_and_is_told() -> None:
    bench = Bench(display=9).open()
    (fault,) = bench.port.of(Fault)
    assert not fault.fatal
    assert "Screen 9" in fault.text
    assert bench.frames(0.1)
    bench.loop.close()


def test_a_lost_screen_ends_with_a_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise pygame.error("display was lost")

    bench.frames(0.1)
    monkeypatch.setattr(bench.loop._door, "flip", broken)
    assert not bench.frames(FRAME_S)
    assert bench.port.of(Fault)[-1].fatal


def test_run_opens_turns_and_closes() -> None:
    bench = Bench()
    bench.port.inbox.append(bench.shown)
    ticking(bench.clock, 0.0005)
    bench.loop.run()  # nobody speaks after the first message: the window ends itself
    beats = bench.port.of(Beat)
    assert beats[-1].curtain == "lost"
    assert beats[-1].t - beats[0].t == pytest.approx(10.4, abs=0.3)
    assert not pygame.display.get_init()


def ticking(clock: FakeClock, step_s: float) -> None:
    """Let every look at the clock cost time, as it does."""
    real = clock.now

    def now() -> float:
        clock.advance(step_s)
        return real()

    clock.now = now  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("screen_hz", "shown_hz"),
    [(50, 50), (59.94, 60), (60.0, 60), (60.02, 60), (75, 75), (90, 90), (120, 60),
     (144, 72), (165, 82.5), (240, 60)],
)  # fmt: skip
@pytest.mark.parametrize("draws_s", [0.001, 0.007])
def test_vsync_sets_the_pace(
    monkeypatch: pytest.MonkeyPatch, screen_hz: float, shown_hz: float, draws_s: float
) -> None:
    """Every turn of the screen, or every second or third of a fast one; some frames take longer."""
    bench = Bench()
    bench.port.inbox.append(bench.shown)
    frames = 0

    def flip() -> None:
        nonlocal frames
        frames += 1
        bench.clock.advance(draws_s if frames % 20 == 0 else 0.001)
        t = bench.clock.now()
        bench.clock.advance(np.ceil(t * screen_hz) / screen_hz - t)

    monkeypatch.setattr(bench.loop._door, "flip", flip)
    ticking(bench.clock, 1e-5)
    bench.loop._keep_pace_with(screen_hz)
    bench.loop._vsync = True
    bench.loop.run()
    assert bench.loop._vsync
    assert bench.port.of(Beat)[-1].fps == pytest.approx(shown_hz, rel=0.06)
    if draws_s < 0.002:
        assert bench.port.of(Beat)[-1].missed == 0


def test_a_driver_that_ignores_vsync_is_noticed() -> None:
    bench = Bench()
    bench.port.inbox.append(bench.shown)
    ticking(bench.clock, 1e-4)
    bench.loop._vsync = True
    bench.loop.run()
    assert not bench.loop._vsync
    assert bench.port.of(Beat)[-1].fps == pytest.approx(60, abs=1)


def test_frames_of_a_headless_session_are_saved_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.album.FRAMES_KEPT", 8)
    monkeypatch.setattr("feedback.album.PERIODIC_FRAMES", 2)
    bench = Bench(frames_dir=str(tmp_path / "frames")).open()
    bench.frames(1.4, screen="welcome")
    bench.frames(14.0, screen="feedback")
    for i in range(8):
        bench.frames(1.4, screen=("rest", "transfer")[i % 2])
    bench.loop.close()
    names = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert names[:5] == [
        "000_welcome.png",
        "001_feedback.png",
        "002_feedback.png",
        "003_feedback.png",
        "004_rest.png",
    ]
    assert len(names) == 8
    image = pygame.image.load(str(tmp_path / "frames" / names[0]))
    assert image.get_size() == (640, 360)


def test_png_is_written_true(tmp_path: Path) -> None:
    surface = pygame.Surface((31, 17))
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17, 3)).astype(np.uint8)
    pygame.surfarray.blit_array(surface, pixels)
    _write_png(surface.get_size(), pygame.image.tobytes(surface, "RGB"), tmp_path / "x.png")
    again = pygame.image.load(str(tmp_path / "x.png"))
    assert np.array_equal(pygame.surfarray.array3d(again), pixels)


def test_a_value_in_the_last_part_of_a_period_does_not_wait(bench: Bench) -> None:
    period_s = 1.0 / 60.0
    deadline = bench.clock.now() + period_s
    bench.port.inbox.append(Alive())
    assert bench.loop._wait(deadline) == pytest.approx(deadline - 0.3 * period_s, abs=1e-6)
