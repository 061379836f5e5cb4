"""Child processes of the doctor: what may hang or die is tried out here, never in the doctor.

`python -m engine.probe WHAT` prints one line of JSON. WHAT is ``lsl``, ``outlet``, ``screen``
or ``sound``. The parent gives the LSL settings through the environment and a deadline.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

from engine.lsl import load_pylsl

__all__ = ["main"]

_RATE_HZ = 250.0
_CHUNK = 5
_PUSHES = 60  # 1.2 s: enough for a median and a 95 % figure
_OUTLET_S = 12.0  # an outlet whose parent died ends by itself
_FIND_S = 4.0
_OFFER_S = 5.0


def _outlet(source_id: str) -> dict[str, Any]:
    """Offer a test stream until standard input closes."""
    pylsl = load_pylsl()

    info = pylsl.StreamInfo("neuroloop-doctor", "Test", 1, _RATE_HZ, pylsl.cf_double64, source_id)
    outlet = pylsl.StreamOutlet(info, _CHUNK)
    closed = threading.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        closed.set()

    threading.Thread(target=wait_for_parent, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    end = time.monotonic() + _OUTLET_S
    sent = 0.0
    while time.monotonic() < end and not closed.wait(_CHUNK / _RATE_HZ):
        outlet.push_chunk([[sent + i] for i in range(_CHUNK)], pylsl.local_clock())
        sent += _CHUNK
    return {}


def _lsl() -> dict[str, Any]:
    """Find a stream of another process, read it, and compare the clocks."""
    pylsl = load_pylsl()

    source_id = uuid.uuid4().hex
    child = subprocess.Popen(
        [sys.executable, "-m", "engine.probe", "outlet", source_id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        began = time.perf_counter()
        found = pylsl.resolve_byprop("source_id", source_id, 1, _FIND_S)
        found_ms = 1e3 * (time.perf_counter() - began)
        if not found:
            return {"found": False}
        inlet = pylsl.StreamInlet(found[0], max_buflen=10, recover=False)
        inlet.open_stream(timeout=_OFFER_S)
        ages: list[float] = []
        end = time.monotonic() + _OFFER_S
        while len(ages) < _PUSHES and time.monotonic() < end:
            samples, stamps = inlet.pull_chunk(0.5, 1024, min_samples=1)
            now = pylsl.local_clock()
            # A push may arrive in parts, and only its last sample bears the time of the push.
            last = [t for (i,), t in zip(samples, stamps, strict=True) if i % _CHUNK == _CHUNK - 1]
            ages += [1e3 * (now - t) for t in last]
        ages.sort()
        offsets = [pylsl.local_clock() - time.monotonic()]
        time.sleep(0.2)
        offsets.append(pylsl.local_clock() - time.monotonic())
        return {
            "found": True,
            "found_ms": found_ms,
            "pushes": len(ages),
            "p50_ms": ages[len(ages) // 2] if ages else None,
            "p95_ms": ages[int(len(ages) * 0.95)] if ages else None,
            "drift_ms": 1e3 * abs(offsets[1] - offsets[0]),
            "offset_s": offsets[1],
            "version": pylsl.library_version(),
        }
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.kill()
        child.wait()


def _screen() -> dict[str, Any]:
    """Ask SDL which screens it would use, without opening a window."""
    import pygame

    pygame.display.init()
    answer = {
        "driver": pygame.display.get_driver(),
        "sizes": [list(size) for size in pygame.display.get_desktop_sizes()],
        "pygame": pygame.version.ver,
        "sdl": ".".join(str(n) for n in pygame.get_sdl_version()),
    }
    pygame.display.quit()
    return answer


def _sound() -> dict[str, Any]:
    """Open the default sound device and name the others."""
    import pygame

    pygame.mixer.init(44100, -16, 2, 1024)
    names: list[str] = []
    try:
        from pygame._sdl2 import audio

        names = list(audio.get_audio_device_names(False))
    except (ImportError, pygame.error):  # a private module: nice to have
        pass
    answer = {"opened": list(pygame.mixer.get_init()), "devices": names}
    pygame.mixer.quit()
    return answer


def main(arguments: list[str]) -> None:
    """Try one thing out and print what was found as one line of JSON."""
    what, *rest = arguments
    if what == "outlet":
        _outlet(*rest)
        return
    try:
        answer = {"lsl": _lsl, "screen": _screen, "sound": _sound}[what]()
    except Exception as error:  # whatever a driver raises is the finding
        answer = {"error": str(error).rstrip(".") or type(error).__name__}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
