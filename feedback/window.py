"""The person's window: a loop at 60 Hz that shows the newest value, guarded, and says when.

The loop is one class, `WindowLoop`. In a session it runs in the main thread of the window's own
process; in tests it takes a fake clock and a fake port and is turned frame by frame.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import numpy as np
import pygame

from engine.clock import Clock, LslClock
from engine.errors import InputError
from engine.frames import Presented, Show
from feedback.album import Album
from feedback.door import Door
from feedback.foreign import ForeignPicture
from feedback.guard import (
    COLS,
    LONGEST_FRAME_S,
    ROWS,
    FlashGuard,
    SoundGuard,
    Verdict,
    cap_gain,
    luminance,
)
from feedback.motion import Glow, Growth, LevelEase
from feedback.registry import PICTURES, SOUNDS, resolve, with_plugins
from feedback.screens import Screens
from feedback.sound import Speaker, Synth
from feedback.stage import Media, Moment, Stage, Style
from feedback.worker import Alive, Beat, Close, Fault, Key, Port, Ready, WindowSpec

__all__ = ["WindowLoop"]

LOST_AFTER_S = 0.5
ENDS_AFTER_S = 10.0  # of being lost
BEAT_S = 0.1
FADE_S = 1.0  # between screens: a bright picture comes up as slowly as the guard wants it
CURTAIN_FADE_S = 0.18  # to neutral; 200 ms with the frame it starts on
VSYNC_MARGIN_S = 0.009  # before it is known how long drawing takes
SLACK_S = 0.003  # a sleep may wake late, and the copy to the screen takes its time
EARLIEST = 0.7  # of a period after a frame, a new value may be shown without waiting
SPIN_S = 0.0015  # a sleep may wake this much late
INVISIBLE_DRIVERS = ("dummy", "offscreen")
SAMPLES_PER_CELL = 4
MOST_PIXELS = 1920 * 1200
FRAME_EVERY_S = 4.0
SLOW_FPS, SLOW_S = 50.0, 2.0
PATCH_S = 0.20  # a reward lights the photodiode's patch for so long
PATCH = 0.045  # side of the patch, of the window's height: a hundredth of the guard's area at most

CURTAINS = ("neutral", "lost", "stopped")


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What of the frame on the screen follows the level."""

    level: float | None = None
    live: float = 0.0
    share: float = 1.0
    patch: bool = False


def _drawable(size: tuple[int, int]) -> tuple[int, int]:
    """Return a size that two cores can fill 60 times a second; the graphics card enlarges it."""
    width, height = size
    while width * height > MOST_PIXELS:
        width, height = width // 2, height // 2
    return width, height


class WindowLoop:
    """Everything in the window's process.

    Parameters
    ----------
    spec : WindowSpec
        What to show and where.
    port : Port
        Messages from and to the engine.
    clock : Clock
        LSL's clock; a fake one in tests.
    """

    def __init__(self, spec: WindowSpec, port: Port, clock: Clock | None = None) -> None:
        self.spec = spec
        self.port = port
        self.clock: Clock = clock if clock is not None else LslClock()
        self.guard = FlashGuard()
        self._door = Door()  # before any plugin is imported
        self.ease = LevelEase()
        self.glow = Glow(0.5 if spec.reduced_motion else 1.0)
        self.growth = Growth()
        self.frame = 0
        self.synth: Synth | None = None
        self.curtain = ""
        self.missed = 0
        self.screen = ""  # as drawn; the first one fades in from black
        self._speaker: Speaker | None = None
        self._album: Album | None = None
        self._show = Show(seq=-1, t=math.nan, sent=math.nan, screen="welcome")
        self._picture_t = 0.0
        self._picture_dt = 0.0
        self._frame_s = 0.0
        self._lit_until = -math.inf  # the photodiode's patch
        self._patch_wanted = False
        self._drawn = _Drawn()
        self._hidden = False  # minimised: nobody can see it
        self._counts: tuple[int, int] | None = None
        self._heard: float | None = None
        self._gone = False
        self._stopped = False
        self._closing = False
        self._vsync = False
        self._unwaited = 0  # flips in a row that did not wait for the screen
        self._period = 1.0 / spec.rate_hz
        self._refresh_s = self._period  # of the screen
        self._t_flip = math.nan
        self._took: deque[float] = deque(maxlen=60)  # from reading to drawn, of the last frames
        self._flips: deque[float] = deque(maxlen=600)
        self._slow_since: float | None = None
        self._slow_told = False
        self._next_beat = -math.inf
        self._next_test_tone = math.inf
        self._fade_from: Any = None
        self._fade_start = -math.inf
        self._fade_rises: bool | None = None  # not known before the first frame
        self._fade_s = FADE_S
        self._bits = 0  # of the guard since the last Presented row
        self._reward_shown = False
        self._next_frame = math.inf
        self._pictures, self._sounds = PICTURES, SOUNDS
        self._foreign: ForeignPicture | None = None
        self._told: set[str] = set()

    # ------------------------------------------------------------ opening and closing

    def open(self) -> bool:
        """Open screen and sound and say `Ready`; False when the room's demands cannot be met."""
        try:
            if self.spec.plugins:
                self._door.close()
                self._pictures, self._sounds = with_plugins(self.spec.plugins)
            self._door.display.init()
            pygame.font.init()
            self._open_screen()
        except InputError as error:
            self._fault(f"{error.what} {error.fix}", fatal=True)
            return False
        except pygame.error as error:
            self._fault(
                f"There is no usable screen ({error}). Connect a screen, or let the room run "
                "headless.",
                fatal=True,
            )
            return False
        driver = pygame.display.get_driver()
        if driver in INVISIBLE_DRIVERS and not self.spec.headless:
            self._fault(
                f"The video driver '{driver}' shows nothing to anyone. Connect a screen, or let "
                "the room run headless.",
                fatal=True,
            )
            return False
        try:
            audio = self._open_sound()
        except InputError as error:
            self._fault(f"{error.what} {error.fix}", fatal=True)
            return False
        if audio is None:
            return False
        self.screens.tones = self.synth is not None and self.spec.cues != "none"
        if self.spec.headless and self.spec.frames_dir:
            self._album = Album(Path(self.spec.frames_dir))
        self.port.put(
            Ready(
                versions={
                    "python": platform.python_version(),
                    "pygame": str(pygame.version.ver),
                    "SDL": ".".join(str(n) for n in pygame.get_sdl_version()),
                    "numpy": np.__version__,
                    **dict(self.spec.plugins),  # exactly these, or there is no window
                },
                driver=driver,
                audio=audio,
                size=self._stage.size,
                refresh_hz=self._refresh_hz(),
                vsync=self._vsync,
                buffer_ms=0.0 if self._speaker is None else self._speaker.buffer_ms,
            )
        )
        return True

    def _open_screen(self) -> None:
        spec = self.spec
        screens = pygame.display.get_desktop_sizes()
        display = spec.display
        if not 0 <= display < len(screens):
            self._fault(
                f"Screen {display} is not connected ({len(screens)} found); screen 0 is used."
            )
            display = 0
        if spec.full_screen:
            size = spec.size or _drawable(screens[display])
            flags = pygame.FULLSCREEN
        else:
            size = spec.size or (1280, 720)
            flags = 0
        self._door.display.set_caption(spec.title)
        self._target: Any = None
        if spec.full_screen and not spec.headless:
            # SCALED draws through the graphics card, which is what makes vsync possible.
            with contextlib.suppress(pygame.error):
                self._target = self._door.set_mode(
                    size, flags | pygame.SCALED, display=display, vsync=1
                )
                self._vsync = True
                self._keep_pace_with(self._refresh_hz())
        if self._target is None:
            size = spec.size or screens[display] if spec.full_screen else size
            self._target = self._door.set_mode(size, flags, display=display)
        self._door.mouse.set_visible(not spec.full_screen)
        self._door.display.set_allow_screensaver(False)
        self._build(self._target.get_size())

    def _keep_pace_with(self, refresh_hz: float) -> None:
        """Show every frame of the screen, or every second or third of a fast one: 60 or more."""
        self._refresh_s = 1.0 / refresh_hz
        self._period = self._refresh_s * max(1, int(refresh_hz / self.spec.rate_hz + 0.01))

    def _build(self, size: tuple[int, int]) -> None:
        spec = self.spec
        self._stage = Stage(
            size,
            Style(spec.reduced_motion, spec.large_text, spec.high_contrast),
            Media(spec.images, spec.film),
            dict(spec.picture_options),
        )
        name = spec.picture
        self.screens = Screens(
            self._stage,
            name if name in PICTURES else "none",
            spec.language,
            spec.test_session,
        )
        self.screens.tones = self.synth is not None and spec.cues != "none"
        if name not in PICTURES:
            self._foreign = self.screens.picture = self._picture(name)
        self._canvas = pygame.Surface(size).convert(self._target)
        shown = getattr(self, "_shown", None)
        self._shown = pygame.Surface(size).convert(self._target)  # what the person sees now
        self._fade_from = None  # of the size before
        if shown is not None:  # in the size it was: a blend must begin with it, not with black
            pygame.transform.smoothscale(shown, size, self._shown)

    def _rebuild(self) -> None:
        """Build everything for another size; a plugin's picture that cannot follow ends here."""
        try:
            self._build(self._target.get_size())
        except InputError as error:
            self._fault(f"{error.what} {error.fix}", fatal=True)
            self._closing = True

    def _picture(self, name: str) -> ForeignPicture:
        """Return a picture of a plugin.

        Raises
        ------
        InputError
            There is none of this name, or it cannot be made.
        """
        if name not in self._pictures:
            raise InputError(
                f"There is no picture `{name}`.", f"Choose one of {', '.join(self._pictures)}."
            )
        factory = self._pictures[name].factory
        return ForeignPicture.made(name, lambda: resolve(factory), self._stage, self._fault)

    @staticmethod
    def _refresh_hz() -> float:
        ask = getattr(pygame.display, "get_current_refresh_rate", None)
        rate = 0.0
        if ask is not None:
            with contextlib.suppress(pygame.error):
                rate = float(ask())
        return rate if rate > 0 else 60.0

    def _open_sound(self) -> str | None:
        """Return the sound driver, empty for silence, None to refuse."""
        spec = self.spec
        if not spec.sound_enabled:
            return ""
        guard = SoundGuard(cap_gain(spec.spl_fullscale_dba, spec.gain_cap))
        self.synth = Synth(
            spec.on_reward,
            spec.continuous,
            spec.cues != "none",
            guard,
            sounds=self._sounds,
            files=dict(spec.sound_files),
            media=Media(spec.images, spec.film),
            spl_fullscale_dba=spec.spl_fullscale_dba,
        )
        speaker = Speaker(self.synth, spec.sound_device)
        try:
            with _quiet_stderr(), self._door.ajar():
                speaker.open()
                speaker.start()  # where the device does not start, this opens the mixer
        except pygame.error as error:
            self._fault(
                f"There is no sound device ({error}). "
                + ("The room requires sound." if spec.sound_required else "Running silent."),
                fatal=spec.sound_required,
            )
            self.synth = None
            return None if spec.sound_required else ""
        self._speaker = speaker
        return speaker.name

    def _fault(self, text: str, fatal: bool = False) -> None:
        self.port.put(Fault(text, fatal))

    def close(self) -> None:
        """Release sound and screen."""
        if self._speaker is not None:
            self._speaker.close()
            self._speaker = None
        if self._album is not None:
            self._album.close()
            self._album = None
        self._door.open()
        self._door.display.quit()

    # ------------------------------------------------------------ the loop

    def run(self) -> None:
        """Open, turn at the frame rate until told to close, close."""
        try:
            if not self.open():
                return
            # What exists now stays; the collector need never look at it again.
            gc.collect()
            gc.freeze()
            # Sound and pipes have threads of their own; the default of 5 ms costs whole frames.
            sys.setswitchinterval(0.0005)
            deadline = self.clock.now()
            while self.turn():
                now = self.clock.now()
                if self._vsync:
                    # flip() waits for the screen: wake shortly before, to show the newest value.
                    deadline = self._t_flip + self._period
                    self.clock.sleep(deadline - now - self._margin_s)
                    continue
                deadline += self._period
                # Late: the next frame at once, none to catch up.
                deadline = now if deadline < now else self._wait(deadline)
        finally:
            self.close()

    def _wait(self, deadline: float) -> float:
        """Wait for the time of the next frame or for a new value; return when that was.

        Where no screen keeps the time nothing is gained by waiting: what comes in the last part of
        a period is shown at once.
        """
        clock, spin = self.clock, deadline - SPIN_S
        if not self.spec.steady:
            clock.sleep(deadline - (1.0 - EARLIEST) * self._period - clock.now())
            if not self._gone and self.port.wait(spin - clock.now()):
                return clock.now()
        clock.sleep(spin - clock.now())
        while clock.now() < deadline:
            pass
        return deadline

    @property
    def _margin_s(self) -> float:
        """How long before the screen's turn a frame is begun: as long as frames lately took."""
        return min(max(self._took, default=VSYNC_MARGIN_S) + SLACK_S, 0.9 * self._period)

    def turn(self) -> bool:
        """Show one frame; return False when the window should end."""
        now = self.clock.now()
        if self.synth is not None:
            self.synth.fed = time.perf_counter()  # the clock that the sound's thread reads
        self._read_keys(now)
        self._read_port(now)
        if self._closing:
            return False
        self._watch(now)
        if self._gone_for(now) > LOST_AFTER_S + ENDS_AFTER_S:
            return False
        dt = min(max(now - self._t_flip, 0.0), 0.1) if math.isfinite(self._t_flip) else 0.0
        self._choose_screen(now)
        self._advance(dt)
        try:
            verdict = self._draw(now)
            self._took.append(self.clock.now() - now)
            t_flip = self._flip()
        except pygame.error as error:
            self._fault(f"The screen was lost ({error}).", fatal=True)
            return False
        self._account(t_flip, verdict)
        return True

    def _read_keys(self, now: float) -> None:
        for event in self._door.get_events():
            if event.type == pygame.QUIT:
                self._stop(now)
            elif event.type == pygame.KEYDOWN:
                if event.key in (pygame.K_ESCAPE, pygame.K_s):
                    self._stop(now)
                elif event.key == pygame.K_SPACE:
                    self.port.put(Key("space", now))
                elif event.key in (pygame.K_RETURN, pygame.K_KP_ENTER):
                    self.port.put(Key("return", now))
            elif event.type in (pygame.WINDOWMINIMIZED, pygame.WINDOWHIDDEN):
                self._hidden = True
                self._fault("The person's window was minimised; nobody can see it.")
            elif event.type in (pygame.WINDOWRESTORED, pygame.WINDOWSHOWN):
                self._hidden = False
            elif event.type == pygame.WINDOWDISPLAYCHANGED and not self.spec.headless:
                self._fault("The person's window is now on another screen.")

    def _stop(self, now: float) -> None:
        """The person wants to stop: neutral at once, whatever the engine does."""
        self.port.put(Key("stop", now))
        self._stopped = True

    def _read_port(self, now: float) -> None:
        try:
            messages = self.port.take()
        except EOFError:
            if not self._gone:
                self._gone = True
                # From here the time runs, as if the last message had come long enough ago.
                self._heard = now - LOST_AFTER_S - 1e-6
            return
        for message in messages:
            self._heard = now
            if isinstance(message, Close):
                self._closing = True
            elif isinstance(message, Show):
                self._take(message)
            elif not isinstance(message, Alive):
                self._fault(f"The window cannot read {type(message).__name__}.")

    def _take(self, show: Show) -> None:
        if self._counts is None:
            self._counts = (show.rewards, show.cues)  # a restarted window repeats nothing
            self.growth.start(show.rewards)
        rewards, cues = self._counts
        if show.screen != "feedback" or self.curtain:
            self.growth.start(show.rewards)  # what came where nothing glows has grown all the same
        elif show.rewards > rewards:
            self.glow.add(show.rewards - rewards)
        if show.cues > cues and show.cue and self.synth is not None and not self.curtain:
            self.synth.cue(show.cue)
        self._counts = (show.rewards, show.cues)
        if show.probe > self._show.probe and self.spec.audio_click and self.synth is not None:
            self.synth.click()
        self._show = show

    def _gone_for(self, now: float) -> float:
        return now - self._heard if self._heard is not None else 0.0

    def _watch(self, now: float) -> None:
        """Decide whether a curtain of the window's own hangs."""
        if self._stopped and self._show.screen != "end":
            self.curtain = "stopped"
        elif self._gone_for(now) > LOST_AFTER_S:
            self.curtain = "lost"
        else:
            self.curtain = ""
        hushed = bool(self.curtain) or self._show.screen == "neutral"
        if hushed:
            self.glow.clear()
        if self.synth is not None:
            self.synth.hush(hushed)

    def _choose_screen(self, now: float) -> None:
        screen = self.curtain or self._show.screen
        if screen == self.screen:
            return
        self._fade_from = self._shown.copy()
        self._fade_start = now
        self._fade_rises = None
        self._fade_s = CURTAIN_FADE_S if screen in CURTAINS else FADE_S
        if screen in CURTAINS:
            self.guard.darken(now)
        self.screen = screen
        self.ease.reset()
        self.glow.clear() if screen != "feedback" else None
        self._next_test_tone = now + 0.5 if screen == "test" else math.inf
        self._next_frame = now + self._fade_s + 0.3

    def _advance(self, dt: float) -> None:
        show = self._show
        feedback = self.screen == "feedback"
        if feedback:
            self.ease.step(dt, None if show.gated else show.level)
        began = self.glow.step(dt)
        if began:
            self._reward_shown = True
            self.growth.add()
            self._lit_until = self.clock.now() + PATCH_S
        self.growth.step(dt)
        # The picture's own time stands still without an honest answer.
        self._frame_s = min(dt, LONGEST_FRAME_S)  # the guard grants no more after a stall
        self._picture_dt = dt * self.ease.eased if feedback else 0.0
        self._picture_t += self._picture_dt
        if self.synth is not None:
            if began:
                self.synth.reward()
                if self.spec.audio_click:
                    self.synth.click()
            self.synth.volume = show.gain
            self.synth.level = self.ease.level if feedback else 0.0
            self.synth.live = self.ease.eased if feedback else 0.0
            self.synth.playing = feedback
            if self.clock.now() >= self._next_test_tone:
                self.synth.cue("test")
                self._next_test_tone = self.clock.now() + 4.0

    def _draw(self, now: float) -> Verdict:
        """Draw the frame wanted, let the guard decide, and leave the result in `_shown`."""
        canvas = self._canvas
        self.screens.draw(
            canvas,
            self._show,
            self.screen,
            Moment(
                level=self.ease.level,
                live=self.ease.eased,
                glow=self.glow.value,
                rewards=self.growth.value,
                t=self._picture_t,
                dt=self._picture_dt,
                frame_s=self._frame_s,
            ),
            settling=self.ease.settling,
        )
        share = 1.0
        if self._fade_from is not None:
            p = (now - self._fade_start) / self._fade_s
            if p < 1.0:
                alpha = self._fade_alpha(canvas, max(p, 0.0))
                self._fade_from.set_alpha(alpha)
                canvas.blit(self._fade_from, (0, 0))
                share = 1.0 - alpha / 255
            else:
                self._fade_from = None
        if self.spec.photodiode:
            self._draw_patch(canvas)
        wanted = _sample(canvas)
        verdict = self.guard.judge(wanted, now)
        if verdict.bits:
            wanted, tamed = self._tamed(canvas, verdict, now)
            share *= tamed
        else:
            self._canvas, self._shown = self._shown, canvas
        self.guard.commit(wanted, now)
        self._note_drawn(share)
        return verdict

    def _note_drawn(self, share: float) -> None:
        """Keep what of the frame wanted is on the screen; a frame repeated tells what it told."""
        if share <= 0.0:
            self._drawn = replace(self._drawn, share=0.0)
            return
        feedback = self.screen == "feedback" and self.ease.live > 0.0 and self._followed
        self._drawn = _Drawn(
            level=self.ease.level if feedback else None,
            live=self.ease.eased if feedback else 0.0,
            share=share,
            patch=self._patch_wanted,
        )

    def _fade_alpha(self, canvas: Any, p: float) -> int:
        """Return how much of the screen before is still seen, in 255ths.

        Even in light, not in code: the gentlest way to arrive in a given time, up or down.
        """
        if self._fade_rises is None:
            before, after = (luminance(_sample(s)).mean() for s in (self._fade_from, canvas))
            # A picture is about to come up from its neutral state.
            self._fade_rises = self.screen == "feedback" or bool(after > before)
        left: float = 1.0 - p ** (1.0 / 2.4) if self._fade_rises else (1.0 - p) ** (1.0 / 2.4)
        return round(254 * left)  # 255 would take SDL's slow path

    def _tamed(
        self, canvas: Any, verdict: Verdict, now: float
    ) -> tuple[np.ndarray[Any, Any], float]:
        """Show the blend that the verdict allows, if the guard agrees on looking at it.

        Returns
        -------
        sample : ndarray
            Of what is shown: the frame before, when the blend came out otherwise than foretold.
        share : float
            Of the frame wanted in it, 0..1.
        """
        if verdict.grey:
            _pull_to_grey(canvas, verdict.grey)
        if verdict.share < 255:
            self._shown.set_alpha(255 - verdict.share)
            canvas.blit(self._shown, (0, 0))
            self._shown.set_alpha(None)
        sample = _sample(canvas)
        if verdict.share == 0 or self.guard.refuses(sample, now):
            return _sample(self._shown), 0.0
        self._canvas, self._shown = self._shown, canvas
        return sample, verdict.share / 255

    @property
    def _lit(self) -> bool:
        """Whether the photodiode's patch is lit."""
        if not self.spec.photodiode or self.curtain:
            return False
        if self.screen == "probe":
            return self._show.probe % 2 == 1
        return self.clock.now() < self._lit_until

    def _draw_patch(self, canvas: Any) -> None:
        side = round(PATCH * self._stage.height)
        width, height = self._stage.size
        x = width - side if self.spec.photodiode.endswith("right") else 0
        y = height - side if self.spec.photodiode.startswith("bottom") else 0
        self._patch_wanted = self._lit
        canvas.fill((255, 255, 255) if self._patch_wanted else (0, 0, 0), (x, y, side, side))

    def _flip(self) -> float:
        self._target.blit(self._shown, (0, 0))
        if self._vsync and self._period > self._refresh_s:
            # Not for the turn of a fast screen before the one that was meant.
            soon = self._t_flip + self._period - 0.5 * self._refresh_s
            if math.isfinite(soon):
                self.clock.sleep(soon - self.clock.now())
        before = self.clock.now()
        self._door.flip()
        after = self.clock.now()
        if self._vsync:
            # Some drivers accept vsync and do not wait; then the loop must keep the time itself.
            self._unwaited = 0 if after - before > 0.001 else self._unwaited + 1
            self._vsync = self._unwaited < 10
        return after

    def _account(self, t_flip: float, verdict: Verdict) -> None:
        """Report what was shown and when, and that the window lives."""
        if math.isfinite(self._t_flip):
            self.missed += max(0, round((t_flip - self._t_flip) / self._period) - 1)
        self._t_flip = t_flip
        self._flips.append(t_flip)
        self._bits |= verdict.bits
        if self.synth is not None:
            self._bits |= self.synth.take_bits()
        show, drawn = self._show, self._drawn
        self.frame += 1
        self.port.put(
            Presented(
                seq=show.seq,
                t=show.t,
                sent=show.sent,
                t_flip=t_flip,
                level=drawn.level,
                reward=self._reward_shown and drawn.share > 0.0,
                guard=self._bits,
                frame=self.frame,
                screen=self.screen,
                heard=self._heard_level,
                patch=drawn.patch,
                live=drawn.live,
                share=drawn.share,
            )
        )
        self._bits = 0
        if drawn.share > 0.0:
            self._reward_shown = False
        if t_flip >= self._next_beat:
            self._next_beat = t_flip + BEAT_S
            self._beat(t_flip)
        if self._album is not None and t_flip >= self._next_frame:
            periodic = self._next_frame - self._fade_start > FADE_S + 1.0
            self._album.add(self._shown, self.screen, periodic)
            self._next_frame = t_flip + FRAME_EVERY_S

    @property
    def _heard_level(self) -> float | None:
        """Return what a continuous sound follows; None while none sounds."""
        synth = self.synth
        if synth is None or not (synth.audible and synth.playing and synth.live > 0.0):
            return None
        return synth.level

    @property
    def _followed(self) -> bool:
        """Whether anything that the person sees or hears follows the level."""
        synth = self.synth
        heard = synth is not None and self.spec.continuous is not None and not synth.trouble
        # Silent because the operator wants it so: what would be heard counts as given.
        wanted = self.spec.picture == "none" and not self.spec.sound_enabled
        return self._seen or heard or (wanted and not self._hidden)

    @property
    def _perceived(self) -> bool:
        """Whether the person sees or hears anything of the feedback, rewards included."""
        return self._followed or (self.synth is not None and self.spec.on_reward is not None)

    @property
    def _seen(self) -> bool:
        failed = self._foreign is not None and self._foreign.failed
        return self.spec.picture != "none" and not failed and not self._hidden

    def _beat(self, now: float) -> None:
        while self._flips and self._flips[0] <= now - 1.0:
            self._flips.popleft()
        fps = float(len(self._flips))
        slow = now - (self._flips[0] if self._flips else now) > 0.9 and fps < SLOW_FPS
        if not slow:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = now
        elif now - self._slow_since > SLOW_S and not self._slow_told:
            self._slow_told = True
            self._fault(f"The picture runs at only {fps:.0f} frames per second.")
        if self._speaker is not None and self._speaker.error:
            self._fault(self._speaker.error, fatal=self.spec.sound_required)
            self._closing = self.spec.sound_required
            # A lost device may take a second to close, and the picture goes on meanwhile.
            threading.Thread(target=self._speaker.close, name="sound-end", daemon=True).start()
            self._speaker = self.synth = None
            self.screens.tones = False
        # A film whose drive is lost, a sound that ended: the rest goes on, and is told once.
        for stopped in (
            getattr(self.screens.picture, "error", ""),
            self.synth.trouble if self.synth is not None else "",
        ):
            if stopped and stopped not in self._told:
                self._told.add(stopped)
                self._fault(stopped)
        if self._target.get_size() != self._stage.size:
            self._fault("The size of the person's screen changed.")
            self._rebuild()
        self.port.put(
            Beat(
                t=now,
                fps=fps,
                missed=self.missed,
                guarded=self.guard.interventions,
                starved=self._speaker.starved if self._speaker is not None else 0,
                sound_delay_ms=self._speaker.delay_ms if self._speaker is not None else None,
                dose_pa2h=self.synth.dose_pa2h if self.synth is not None else None,
                perceived=self._perceived,
                curtain=self.curtain,
            )
        )


def _sample(surface: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the frame reduced to the guard's grid, ``(27 k, 48 k, 3)``.

    Every pixel counts: whoever picked single ones would miss light that flickers between them.
    """
    k = SAMPLES_PER_CELL
    small = pygame.transform.smoothscale(surface, (COLS * k, ROWS * k))
    return np.frombuffer(pygame.image.tobytes(small, "RGB"), dtype=np.uint8).reshape(
        ROWS * k, COLS * k, 3
    )


def _pull_to_grey(surface: Any, amount: int) -> None:
    """Mix `surface` with its own grey, in 255ths; a quarter of the size is fine enough."""
    width, height = surface.get_size()
    small = pygame.transform.scale(surface, (max(1, width // 4), max(1, height // 4)))
    grey = pygame.transform.scale(pygame.transform.grayscale(small), (width, height))
    grey.set_alpha(amount)
    surface.blit(grey, (0, 0))


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the sound system's own messages off the operator's terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
