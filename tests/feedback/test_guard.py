"""The limits of light and loudness, with the golden numbers of the specification."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback.guard import (
    AREA_CELLS,
    COLS,
    FLASH,
    LIMIT,
    LOUD,
    RED,
    ROWS,
    SLOPE,
    FlashGuard,
    SoundGuard,
    Verdict,
    _largest_connected,
    blended,
    cap_gain,
    luminance,
    red_ratio,
)

Rgb = NDArray[np.uint8]
FPS = 60


def full(code: int | tuple[int, int, int]) -> Rgb:
    frame = np.empty((ROWS, COLS, 3), dtype=np.uint8)
    frame[:] = code
    return frame


def square_wave(hz: float) -> Callable[[int], Rgb]:
    """Full-screen black and white, `hz` flashes per second."""
    half = round(FPS / hz / 2)
    return lambda i: full(255 if (i // half) % 2 else 0)


def count_only(source: Callable[[int], Rgb], seconds: float) -> tuple[FlashGuard, list[int]]:
    """Show a source as it is; return the guard and what it would have refused."""
    guard = FlashGuard(slope=False)
    bits = []
    for i in range(round(seconds * FPS)):
        frame = source(i)
        bits.append(guard.judge(frame, i / FPS).bits)
        guard.commit(frame, i / FPS)
    return guard, bits


# ---------------------------------------------------------------- golden numbers


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), 0.0),
        ((255, 255, 255), 1.0),
        ((128, 128, 128), 0.2159),
        ((64, 64, 64), 0.0513),
        ((255, 0, 0), 0.2126),
    ],
)
def test_relative_luminance(rgb: tuple[int, int, int], expected: float) -> None:
    assert luminance(np.array(rgb, dtype=np.uint8)) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [((255, 0, 0), 1.0), ((255, 60, 60), 0.917), ((255, 120, 0), 0.842), ((0, 0, 0), 0.0)],
)
def test_red_ratio(rgb: tuple[int, int, int], expected: float) -> None:
    assert red_ratio(np.array(rgb, dtype=np.uint8)) == pytest.approx(expected, abs=5e-4)


def test_two_flashes_per_second_count_two_and_pass() -> None:
    guard, bits = count_only(square_wave(2), 5.0)
    assert not any(bits)
    assert guard.flashes(5.0 - 1 / FPS) == 2


@pytest.mark.parametrize("hz", [3, 4, 5, 10, 30])
def test_three_and_more_flashes_per_second_trip_within_a_second(hz: float) -> None:
    guard, bits = count_only(square_wave(hz), 1.0 + 1 / FPS)
    assert FLASH in bits
    assert guard.interventions > 0
    assert guard.log[0].bits == FLASH
    assert guard.log[0].t <= 1.0


def test_a_small_dot_moving_once_a_second_never_trips() -> None:
    guard = FlashGuard()
    k = 4  # 48 px of 1920 are 4.8 of the 192 columns
    for i in range(10 * FPS):
        frame = np.zeros((ROWS * k, COLS * k, 3), dtype=np.uint8)
        x = round((0.5 + 0.48 * np.sin(2 * np.pi * i / FPS)) * COLS * k)
        frame[50:55, max(0, x - 2) : x + 3] = 255
        _, verdict = guard.present(frame, i / FPS)
        assert verdict == Verdict()


def test_steps_below_five_percent_are_no_transitions() -> None:
    _, bits = count_only(lambda i: full(128 if (i // 3) % 2 else 118), 2.0)  # 0.216, 0.181
    assert not any(bits)


def test_flicker_of_bright_on_brighter_is_no_flash() -> None:
    _, bits = count_only(lambda i: full(255 if (i // 3) % 2 else 232), 2.0)  # darker is 0.807
    assert not any(bits[3:])


def test_a_tenth_of_the_window_is_the_smallest_area_that_counts() -> None:
    def patch(cells: int) -> Callable[[int], Rgb]:
        def frame(i: int) -> Rgb:
            out = full(0)
            out.reshape(-1, 3)[:cells] = 255 if (i // 6) % 2 else 0
            return out

        return frame

    assert not any(count_only(patch(AREA_CELLS - 1), 3.0)[1])
    assert FLASH in count_only(patch(AREA_CELLS), 3.0)[1]


def test_flashes_out_of_step_are_found() -> None:
    """Two halves in counterphase keep the mean constant and flash all the same."""

    def halves(i: int) -> Rgb:
        out = full(0)
        out[:, : COLS // 2] = 255 if (i // 6) % 2 else 0
        out[:, COLS // 2 :] = 0 if (i // 6) % 2 else 255
        return out

    assert FLASH in count_only(halves, 1.0)[1]


# ---------------------------------------------------------------- what is presented obeys


def strobe(seed: int) -> Callable[[int], Rgb]:
    rng = np.random.default_rng(seed)
    return lambda _i: full(tuple(rng.integers(0, 256, 3).tolist()))  # type: ignore[arg-type]


def confetti(seed: int) -> Callable[[int], Rgb]:
    rng = np.random.default_rng(seed)
    return lambda _i: rng.integers(0, 256, (ROWS, COLS, 3)).astype(np.uint8)


def checkers(i: int) -> Rgb:
    out = full(0)
    parity = (np.add.outer(np.arange(ROWS), np.arange(COLS)) + i // 4) % 2
    out[parity == 1] = 255
    return out


def red_flash(i: int) -> Rgb:
    return full((255, 0, 0) if (i // 6) % 2 else (0, 0, 0))


def blobs(seed: int) -> Callable[[int], Rgb]:
    rng = np.random.default_rng(seed)

    def frame(_i: int) -> Rgb:
        out = full(0)
        y, x = rng.integers(0, ROWS - 12), rng.integers(0, COLS - 20)
        out[y : y + 12, x : x + 20] = rng.integers(0, 256, 3)
        return out

    return frame


NASTY = {
    "strobe": strobe(1),
    "strobe of other colours": strobe(2),
    "10 Hz": square_wave(10),
    "3 Hz": square_wave(3),
    "2 Hz": square_wave(2),
    "1 Hz": square_wave(1),
    "confetti": confetti(3),
    "checkers": checkers,
    "red flash": red_flash,
    "blobs": blobs(4),
    "jump cut": lambda i: full(255 if i > 30 else 0),
}


@pytest.mark.parametrize(
    ("name", "fps"),
    [*((name, 60) for name in NASTY), ("strobe", 144), ("10 Hz", 144), ("red flash", 30)],
)
def test_what_is_presented_obeys_every_limit(name: str, fps: int) -> None:
    source, guard = NASTY[name], FlashGuard()
    seconds = 2.5
    shown = [guard.present(source(i), i / fps)[0] for i in range(round(seconds * fps))]
    lum = np.array([luminance(frame) for frame in shown])
    # Flashes: counted by a second guard that only watches.
    watch = FlashGuard(slope=False)
    for i, frame in enumerate(shown):
        assert not watch.judge(frame, i / fps).bits & FLASH
        watch.commit(frame, i / fps)
        assert watch.flashes(i / fps) <= 2
    # Mean luminance: 0.5 over any second, and never a jump that the eye takes for a flash.
    mean = np.concatenate([[0.0], lum.mean(axis=(1, 2))])
    assert np.abs(mean[fps:] - mean[:-fps]).max() <= 0.5 + 0.01
    assert np.abs(np.diff(mean)).max() <= 0.02 + 0.48 / fps + 0.001
    tenth = fps // 10
    assert np.abs(mean[tenth:] - mean[:-tenth]).max() <= 0.02 + 0.48 * tenth / fps + 0.01
    # No connected tenth of the window faster than the allowance.
    for change in np.diff(lum, axis=0):
        for fast in (change > 0.06, -change > 0.06):
            assert _largest_connected(fast) < AREA_CELLS
    # Saturated red stays below a tenth.
    for frame in shown:
        red = (red_ratio(frame) >= 0.8) & (frame[..., 0] > 25)
        assert np.count_nonzero(red) < AREA_CELLS


def test_a_jump_cut_arrives_in_the_end() -> None:
    """Slewing is a fade, not a refusal: white is reached from black, and black from white."""
    guard = FlashGuard()
    for i in range(4 * FPS):
        shown, _ = guard.present(full(255), i / FPS)
    assert shown.min() == 255
    for i in range(4 * FPS, 8 * FPS):
        shown, _ = guard.present(full(0), i / FPS)
    assert shown.max() == 0


def test_red_is_pulled_to_grey_and_says_so() -> None:
    guard = FlashGuard()
    verdict = guard.judge(full((200, 10, 10)), 0.0)
    assert verdict.bits & RED
    assert verdict.grey > 0
    grey = blended(full((200, 10, 10)), full(0), Verdict(255, verdict.grey, 0))
    assert red_ratio(grey).max() < 0.8


def test_amber_and_ivory_are_not_red() -> None:
    for rgb in ((255, 206, 140), (255, 222, 170), (88, 112, 128)):
        assert red_ratio(np.array(rgb, dtype=np.uint8)) < 0.8


def test_calm_change_is_untouched_and_returned_as_it_is() -> None:
    guard = FlashGuard()
    for i in range(5 * FPS):
        frame = full(round(60 + 40 * np.sin(2 * np.pi * 0.1 * i / FPS)))
        shown, verdict = guard.present(frame, i / FPS)
        if i > FPS:
            assert verdict == Verdict()
            assert shown is frame


def test_episodes_are_counted_and_logged() -> None:
    guard = FlashGuard()
    for i in range(2 * FPS):
        guard.present(full(255 if i in range(60, 70) else 0), i / FPS)
    assert guard.interventions == len(guard.log) >= 1
    assert guard.log[0].t == pytest.approx(1.0)
    assert guard.log[0].bits & SLOPE


def test_finer_sampling_gives_the_same_answer() -> None:
    coarse, fine = FlashGuard(), FlashGuard()
    rng = np.random.default_rng(0)
    for i in range(30):
        frame = rng.integers(0, 256, (ROWS, COLS, 3)).astype(np.uint8)
        big = np.repeat(np.repeat(frame, 4, axis=0), 4, axis=1)
        assert coarse.present(frame, i / FPS)[1] == fine.present(big, i / FPS)[1]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="27 k, 48 k, 3"):
        FlashGuard().judge(np.zeros((20, 48, 3), dtype=np.uint8), 0.0)


def test_connected_areas() -> None:
    mask = np.zeros((ROWS, COLS), dtype=np.bool_)
    assert _largest_connected(mask) == 0
    mask[:, -1] = True
    mask[:, 0] = True  # the two edges do not touch
    assert _largest_connected(mask) == ROWS
    mask[:] = np.add.outer(np.arange(ROWS), np.arange(COLS)) % 2 == 0
    assert _largest_connected(mask) == np.count_nonzero(mask)  # diagonals touch


# ---------------------------------------------------------------- loudness


def test_caps() -> None:
    assert cap_gain(None) == 0.25
    assert cap_gain(None, 0.1) == 0.1
    assert cap_gain(90.0) == pytest.approx(0.1)  # 70 dBA of 90 dBA at full scale
    assert cap_gain(60.0) == 1.0
    assert cap_gain(float("nan")) == 0.25
    assert cap_gain(90.0, float("nan")) == pytest.approx(0.1)


def sine(n: int, hz: float = 440.0, amplitude: float = 1.0) -> NDArray[np.float64]:
    return amplitude * np.repeat(np.sin(2 * np.pi * hz * np.arange(n) / 44100)[:, None], 2, 1)


def test_full_scale_comes_out_at_the_cap() -> None:
    out, bits = SoundGuard(0.25).process(sine(44100), 1.0)
    assert np.abs(out).max() == pytest.approx(0.25, rel=1e-3)
    assert bits == 0


def test_a_spike_is_limited_to_minus_six_dbfs() -> None:
    out, bits = SoundGuard(1.0).process(sine(4410, amplitude=50.0), 1.0)
    assert np.abs(out).max() <= LIMIT + 1e-6
    assert bits == LOUD


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_is_silence_without_a_click(bad: float) -> None:
    guard = SoundGuard(0.25)
    wave = sine(2048 * 4)
    blocks = [wave[i : i + 2048].copy() for i in range(0, len(wave), 2048)]
    blocks[1][700] = bad
    out, bits = zip(*(guard.process(b, 1.0) for b in blocks), strict=True)
    joined = np.concatenate(out)
    assert np.isfinite(joined).all()
    assert bits == (0, LOUD, 0, 0)
    assert not joined[2048 + 300 : 4096].any()
    assert np.abs(np.diff(joined[:, 0])).max() <= 0.25 * 2 * np.pi * 440 / 44100 * 1.2
    assert np.abs(joined[-500:]).max() > 0.2  # and the sound returns


def test_hard_stop_fades_in_a_tenth_of_a_second() -> None:
    guard = SoundGuard(0.25)
    guard.process(sine(4410), 1.0)
    guard.hushed = True
    out, _ = guard.process(np.ones((8820, 2)), 1.0)
    assert out[0, 0] > 0.24
    assert np.flatnonzero(out[:, 0])[-1] / 44100 == pytest.approx(0.1, abs=0.001)
    assert (np.diff(out[:, 0]) <= 0).all()


def test_volume_rises_by_six_db_per_second_and_falls_in_a_ramp() -> None:
    guard = SoundGuard(0.2)
    guard.process(np.ones((100, 2)), 0.25)
    louder = np.concatenate([guard.process(np.ones((441, 2)), 1.0)[0][:, 0] for _ in range(300)])
    a_second_later = louder[44100:] / louder[:-44100]
    assert a_second_later.max() <= 10 ** (6 / 20) + 1e-3
    assert louder[-1] == pytest.approx(0.2, rel=1e-3)
    quieter, _ = guard.process(np.ones((4410, 2)), 0.0)
    assert np.abs(np.diff(quieter[:, 0])).max() <= 0.2 / (0.020 * 44100)


def test_after_the_device_ran_dry_sound_fades_in() -> None:
    guard = SoundGuard(0.25)
    guard.process(np.ones((100, 2)), 1.0)
    guard.restart()
    out, bits = guard.process(np.ones((2048, 2)), 1.0)
    assert bits == 0
    assert np.abs(np.diff(out[:, 0], prepend=0.0)).max() <= 0.25 / (0.019 * 44100)
    assert out[-1, 0] == pytest.approx(0.25)


def test_a_frame_drawn_into_again_is_looked_at_again() -> None:
    guard = FlashGuard(slope=False)
    frame = full(0)
    for i in range(FPS):
        frame[:] = 255 if (i // 6) % 2 else 0
        guard.judge(frame, i / FPS)
        guard.commit(frame, i / FPS)
    assert guard.flashes(1.0) >= 3


def test_a_volume_that_is_no_number_is_silence() -> None:
    out, _ = SoundGuard(0.25).process(sine(100), float("nan"))
    assert not out.any()
    assert SoundGuard(0.25).process(sine(0), 1.0)[0].shape == (0, 2)


def test_the_guard_needs_no_pygame() -> None:
    code = (
        "import sys, feedback.guard, feedback.registry, feedback.worker;"
        "print('pygame' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
