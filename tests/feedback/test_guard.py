"""The limits of light and loudness, with the golden numbers of the specification."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from feedback import guard as module
from feedback.guard import (
    AREA_CELLS,
    COLS,
    FLASH,
    LIMIT,
    LINEAR,
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
    chromaticity,
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


def small(*areas: tuple[int, int, tuple[int, int, int]]) -> Rgb:
    """Return black with runs of cells ``(first, end, colour)``."""
    out = full(0)
    for first, end, colour in areas:
        out.reshape(-1, 3)[first:end] = colour
    return out


def test_areas_too_small_by_themselves_are_added_up() -> None:
    """Three areas of 9 % in turn: no two flash at once, and a quarter of the window flashes."""
    white = (255, 255, 255)

    def thirds(i: int) -> Rgb:
        which = i // 3 % 6
        n = 117
        return small((which // 2 * n, which // 2 * n + n, white)) if which % 2 else full(0)

    guard, bits = count_only(thirds, 2.0)
    assert FLASH in bits
    assert guard.flashes(2.0 - 1 / FPS) >= 3


def test_a_fine_pattern_that_inverts_is_a_flash() -> None:
    """Squares of a quarter of a cell: every cell keeps its mean luminance."""
    k = 4
    odd = np.add.outer(np.arange(ROWS * k), np.arange(COLS * k)) % 2 == 1

    def pattern(i: int) -> Rgb:
        on = odd if i // 6 % 2 else ~odd
        return np.repeat(np.where(on, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)

    assert FLASH in count_only(pattern, 1.1)[1]
    assert not any(count_only(lambda _i: pattern(0), 1.1)[1])


@pytest.mark.parametrize("hz", [3, 4, 5, 10])
def test_steps_within_a_ramp_are_flashes_as_well(hz: float) -> None:
    def ramp(i: int) -> Rgb:
        return full(round(60 + i) if round(i * 2 * hz / FPS) % 2 else round(110 + i))

    assert FLASH in count_only(ramp, 1.1)[1]


def test_time_that_stands_still_or_goes_back_brings_no_new_allowance() -> None:
    for times in (np.zeros(200), -np.arange(200.0), np.full(200, np.nan), np.full(200, np.inf)):
        guard = FlashGuard()
        light = [luminance(guard.present(full(255), float(t))[0]).mean() for t in times]
        assert light[-1] <= 0.02 + 2 * 0.48 * 0.05 + 0.01
    # And after it the guard goes on.
    for i in range(300):
        shown, _ = guard.present(full(255), 2.0 + i / FPS)
    assert shown.min() == 255


def test_a_long_pause_is_one_frame() -> None:
    guard = FlashGuard()
    for i in range(20):
        shown, _ = guard.present(full(255), 60.0 * i)
    assert luminance(shown).mean() <= 20 * 0.02 + 0.01


def test_another_resolution_forgets_nothing() -> None:
    guard = FlashGuard(slope=False)
    for i in range(2 * FPS):
        k = 1 + i % 3
        frame = full(255 if i // 6 % 2 else 0).repeat(k, axis=0).repeat(k, axis=1)
        shown, _ = guard.present(frame, i / FPS)
        assert shown.shape == frame.shape
        assert guard.flashes(i / FPS) <= 2
    assert guard.interventions > 0


@pytest.mark.parametrize("fps", [30, 60, 144])
def test_the_largest_step_of_a_single_frame(fps: int) -> None:
    """0.02 of the window's mean, 0.04 of a connected tenth, whatever was saved up before."""
    half = small((0, AREA_CELLS, (255, 255, 255)))
    for frame, bound in ((full(255), 0.02), (half, 0.04)):
        guard, last, steps = FlashGuard(), np.zeros((ROWS, COLS)), []
        for i in range(fps):
            guard.present(full(0), i / fps)
        for i in range(fps, 2 * fps):
            lum = luminance(guard.present(frame, i / fps)[0])
            area = np.ones_like(lum, dtype=np.bool_) if bound == 0.02 else frame[..., 0] > 0
            steps.append(float((lum - last)[area].mean()))
            last = lum
        assert max(steps) <= bound + 1e-6
        assert max(steps) > 0.5 * bound  # and it is used


def test_a_wipe_is_slowed_though_it_never_moves_a_tenth_at_once() -> None:
    """130 cells turn white within 0.2 s, eleven in a frame: their mean would rise by 5 per s."""

    def wipe(i: int) -> Rgb:
        return small((0, min(AREA_CELLS, 11 * max(0, i - 30)), (255, 255, 255)))

    guard = FlashGuard()
    light = np.array(
        [luminance(guard.present(wipe(i), i / FPS)[0]).ravel()[:AREA_CELLS] for i in range(150)]
    ).mean(axis=1)
    assert (light[15:] - light[:-15]).max() <= 0.281
    assert light[-1] == pytest.approx(1.0)
    assert guard.log[0].bits == SLOPE


# ---------------------------------------------------------------- red


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((255, 0, 0), (0.4507, 0.5229)),  # the corners of sRGB, and its white
        ((0, 255, 0), (0.1250, 0.5625)),
        ((0, 0, 255), (0.1754, 0.1579)),
        ((255, 255, 255), (0.1978, 0.4683)),
        ((0, 0, 0), (0.0, 0.0)),
    ],
)
def test_chromaticity(rgb: tuple[int, int, int], expected: tuple[float, float]) -> None:
    assert chromaticity(np.array(rgb, dtype=np.uint8)) == pytest.approx(expected, abs=3e-4)


def swap(first: Rgb, second: Rgb, frames: int) -> Callable[[int], Rgb]:
    return lambda i: second if i // frames % 2 else first


def test_red_in_turns_is_counted_though_there_is_never_much() -> None:
    """Two areas of 9 % take turns at being red, as bright as the blue they are else."""
    red, blue = (150, 0, 0), (0, 0, 240)
    n = AREA_CELLS - 13
    first = small((0, n, red), (n, 2 * n, blue))
    second = small((0, n, blue), (n, 2 * n, red))
    assert abs(luminance(first).mean() - luminance(second).mean()) < 1e-3
    guard, bits = count_only(swap(first, second, 10), 1.1)  # 3 Hz
    assert RED in bits
    assert FLASH not in bits
    assert guard.red_flashes(1.1) == 3
    guard, bits = count_only(swap(first, second, 15), 4.0)  # 2 Hz
    assert not any(bits)
    assert guard.red_flashes(4.0 - 1 / FPS) == 2
    guard = FlashGuard()
    for i in range(3 * FPS):
        guard.present(swap(first, second, 6)(i), i / FPS)
        assert guard.red_flashes(i / FPS) <= 2
    assert guard.interventions > 0


def test_what_is_near_to_red_is_no_red_flash() -> None:
    """(255, 120, 0) is saturated red, but only 0.15 from grey: no such change of colour."""
    n = AREA_CELLS - 1
    other = chromaticity(np.array([[255, 120, 0], [200, 200, 200]], dtype=np.uint8))
    assert 0.1 < float(np.hypot(*(other[0] - other[1]))) < 0.2
    source = swap(small((0, n, (255, 120, 0))), small((0, n, (180, 170, 160))), 6)
    guard, _ = count_only(source, 2.0)
    assert guard.red_flashes(2.0) == 0


def test_red_between_other_colours_is_found_in_the_samples() -> None:
    """Stripes of red and cyan a quarter of a cell wide: no cell is red, half the window is."""
    k = 4
    frame = np.zeros((ROWS * k, COLS * k, 3), dtype=np.uint8)
    frame[:, ::2], frame[:, 1::2] = (255, 0, 0), (0, 255, 255)
    guard = FlashGuard(slope=False)
    verdict = guard.judge(frame, 0.0)
    assert verdict.bits & RED
    shown = blended(frame, np.zeros_like(frame), verdict)
    assert np.mean((red_ratio(shown) >= 0.8) & (shown[..., 0] > 25)) < 0.1


# ---------------------------------------------------------------- the curtain


def darkened(start: Rgb, to: Rgb, fps: int, guard: FlashGuard, t: float) -> list[Rgb]:
    """Fade in 180 ms as the window does, light falling evenly, from the key at `t` on."""
    guard.darken(t)
    shown = []
    for i in range(round(0.2 * fps) + 3):
        p = min(1.0, i / fps / 0.18)
        wanted = blended(start, to, Verdict(round(254 * (1.0 - p) ** (1 / 2.4))))
        shown.append(guard.present(wanted, t + i / fps)[0])
    return shown


@pytest.mark.parametrize("fps", [30, 60, 144])
def test_the_curtain_falls_within_two_hundred_ms_from_white(fps: int) -> None:
    guard = FlashGuard()
    for i in range(4 * fps):
        start, _ = guard.present(full(255), i / fps)
    assert start.min() == 255
    shown = darkened(start, full(30), fps, guard, 4.0)
    assert np.abs(shown[-1].astype(int) - 30).max() <= 1
    fall = -np.diff([luminance(frame).mean() for frame in shown])
    assert fall.max() <= 6.0 / fps + 0.02 + 0.01  # a fade, no cut
    assert fall.min() >= -1e-6
    # Upwards the slope holds as ever, even while the curtain falls.
    guard.darken(4.4)
    back = luminance(guard.present(full(255), 4.4)[0]).mean()
    assert back <= luminance(shown[-1]).mean() + 0.021


def test_without_the_curtain_the_slope_holds() -> None:
    guard = FlashGuard()
    for i in range(4 * FPS):
        guard.present(full(255), i / FPS)
    light = [luminance(guard.present(full(0), 4 + i / FPS)[0]).mean() for i in range(FPS)]
    assert light[-1] >= 0.48


def test_the_fifth_transition_is_the_curtains_and_the_sixth_is_nobodys() -> None:
    guard = FlashGuard(slope=False)
    for i, code in enumerate((200, 0, 200, 0, 200)):  # up, down, up, down, and up: refused
        verdict = guard.present(full(code), i / 10)[1]
    assert verdict.bits & FLASH
    guard = FlashGuard(slope=False)
    for i, code in enumerate((0, 200, 0, 200)):  # three, and the fourth
        guard.present(full(code), i / 10)
    assert not guard.judge(full(0), 0.4).bits
    guard.present(full(0), 0.4)
    guard.present(full(200), 0.5)
    assert luminance(guard.present(full(200), 0.5)[0]).mean() < 0.05
    guard.darken(0.55)
    verdict = guard.present(full(200), 0.55)[1]
    assert not verdict.bits  # the fifth
    guard.darken(0.6)
    verdict = guard.present(full(0), 0.6)[1]
    assert verdict.bits & FLASH  # the sixth
    assert guard.flashes(0.6) == 2


def test_what_came_out_otherwise_than_foretold_is_refused() -> None:
    guard = FlashGuard()
    for i in range(FPS):
        guard.present(full(60), i / FPS)
    assert not guard.refuses(full(60), 1.0)
    assert not guard.refuses(full(61), 1.0)
    assert guard.refuses(full(120), 1.0)
    assert guard.refuses(full((90, 0, 0)), 1.0)


# ---------------------------------------------------------------- nobody changes it


def test_the_guards_cannot_be_replaced() -> None:
    for cls, name in ((FlashGuard, "judge"), (FlashGuard, "_broken"), (SoundGuard, "process")):
        with pytest.raises(AttributeError, match="stays as it is"):
            setattr(cls, name, lambda *_: None)
        with pytest.raises(AttributeError, match="stays as it is"):
            delattr(cls, name)
    for guard, name in ((FlashGuard(), "judge"), (SoundGuard(0.2), "process")):
        with pytest.raises(AttributeError):
            setattr(guard, name, lambda *_: None)
    with pytest.raises(AttributeError):
        SoundGuard(0.2).cap = 1.0  # type: ignore[misc]
    for table in (LINEAR, module.WEIGHTS, module.LUMA, module.REDNESS, module.UCS):
        with pytest.raises(ValueError, match="read-only"):
            table[...] = 0.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            table.flags.writeable = True


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
        assert not watch.judge(frame, i / fps).bits
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
    # The mean of no tenth moves more than this, wherever its cells are.
    for apart, most in ((1, 0.151), (round(fps / 4), 0.281)):
        for change in lum[apart:] - lum[:-apart]:
            for rise in (change, -change):
                top = np.sort(np.maximum(rise, 0.0).ravel())[-AREA_CELLS:]
                assert top.mean() <= most
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
    assert cap_gain(82.0) == pytest.approx(0.2512, abs=5e-5)
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
    assert not joined[2048 + 882 : 4096].any()
    assert np.abs(np.diff(joined[:, 0])).max() <= 0.25 * 2 * np.pi * 440 / 44100 * 1.2
    assert np.abs(joined[-500:]).max() > 0.2  # and the sound returns


@pytest.mark.parametrize(
    ("wanted_s", "fade_s"),
    [
        (None, 0.1),
        (0.043, 0.043),
        (0.0, 0.02),
        (-1.0, 0.02),
        (1e9, 0.1),
        (math.nan, 0.1),
        (math.inf, 0.1),
    ],
)
def test_hard_stop_fades_in_a_tenth_of_a_second_or_less(
    wanted_s: float | None, fade_s: float
) -> None:
    guard = SoundGuard(0.25)
    if wanted_s is not None:
        guard.stop_fade_s = wanted_s
    assert guard.stop_fade_s == fade_s
    guard.process(sine(4410), 1.0)
    guard.hushed = True
    out, _ = guard.process(0.7 * np.ones((8820, 2)), 1.0)
    assert out[0, 0] > 0.16
    assert np.flatnonzero(out[:, 0])[-1] / 44100 == pytest.approx(fade_s, abs=0.001)
    steps = -np.diff(out[:, 0])
    assert steps.min() >= 0
    assert steps.max() <= 1.01 * 0.175 / (fade_s * 44100)  # an even ramp, no step


def test_volume_rises_by_six_db_per_second_and_falls_in_a_ramp() -> None:
    guard = SoundGuard(0.2)
    guard.process(0.7 * np.ones((1000, 2)), 0.25)
    louder = np.concatenate(
        [guard.process(0.7 * np.ones((441, 2)), 1.0)[0][:, 0] for _ in range(300)]
    )
    a_second_later = louder[44100:] / louder[:-44100]
    assert a_second_later.max() <= 10 ** (6 / 20) + 1e-3
    assert louder[-1] == pytest.approx(0.14, rel=1e-3)
    quieter, _ = guard.process(0.7 * np.ones((4410, 2)), 0.0)
    assert np.abs(np.diff(quieter[:, 0])).max() <= 0.2 / (0.020 * 44100)


def test_after_the_device_ran_dry_sound_fades_in() -> None:
    guard = SoundGuard(0.25)
    guard.process(0.7 * np.ones((1000, 2)), 1.0)
    guard.restart()
    out, bits = guard.process(0.7 * np.ones((2048, 2)), 1.0)
    assert bits == 0
    assert np.abs(np.diff(out[:, 0], prepend=0.0)).max() <= 0.175 / (0.0199 * 44100)
    assert out[-1, 0] == pytest.approx(0.175)


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
