"""Is this computer fit for a session? One light and one plain sentence per question.

Nothing here can hang: what may is done in a child process or a thread with a deadline. Nothing
here repairs anything.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from engine import entrypoints
from engine.errors import NeuroloopError, RunError
from engine.lsl import config_text
from engine.room import LslSettings, RecordSettings, Room

__all__ = ["Finding", "as_json", "check_house", "diagnose", "worst"]

_DEADLINE_S = 20.0  # for any single question
_MULTICAST = "239.255.172.215"  # where LSL looks for the streams of a site
_SLEEPS = 250  # of 2 ms each
_SYNCS = 8
_HOUSE = ("engine", "protocols", "feedback")
_INVISIBLE = ("offscreen", "dummy", "evdev", "")

Light = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question.

    Parameters
    ----------
    name : str
        What was looked at.
    light : {"ok", "warn", "fail"}
        ``fail``: a session would not start or not be sound; ``warn``: it may suffer.
    sentence : str
        What was found, for a clinician.
    fix : str
        What to do about it; empty when nothing need be done.
    data : mapping
        The numbers behind the sentence.
    """

    name: str
    light: Light
    sentence: str
    fix: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def worst(findings: Sequence[Finding]) -> Light:
    """Return the worst light."""
    lights = {f.light for f in findings}
    return "fail" if "fail" in lights else "warn" if "warn" in lights else "ok"


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as JSON text."""
    rows = [asdict(f) for f in findings]
    return json.dumps({"worst": worst(findings), "findings": rows}, indent=2, ensure_ascii=False)


def check_house() -> Path:
    """Return the folder that holds Neuroloop's packages.

    Raises
    ------
    RunError
        `engine`, `protocols` or `feedback` is missing or is somebody else's package of that name.
    """
    found = {name: importlib.util.find_spec(name) for name in _HOUSE}
    places = {
        name: Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
        for name, spec in found.items()
    }
    home = Path(__file__).resolve().parents[1]
    strangers = [f"{n} ({p or 'not found'})" for n, p in places.items() if p != home]
    if strangers:
        raise RunError(
            f"Not Neuroloop's own packages: {', '.join(strangers)}; {home} was expected.",
            "Install Neuroloop in an environment of its own and run it from another folder.",
        )
    return home


# ---------------------------------------------------------------- with a deadline


def _within(seconds: float, what: Callable[[], Finding], name: str) -> Finding:
    """Return what `what` finds, or a failure when it does not answer in time."""
    box: list[Finding] = []

    def run() -> None:
        try:
            box.append(what())
        except NeuroloopError as error:
            box.append(Finding(name, "fail", error.what, error.fix))
        except Exception as error:  # a check that fails is a finding, not the end of the doctor
            text = f"This could not be looked at ({type(error).__name__}: {error})."
            box.append(Finding(name, "warn", text, "Please report it with the output of --json."))

    thread = threading.Thread(target=run, name=f"doctor-{name}", daemon=True)
    thread.start()
    thread.join(seconds)
    if box:
        return box[0]
    text = f"No answer within {seconds:.0f} s."
    return Finding(name, "fail", text, "Something this depends on hangs: disk, network or driver.")


def _probe(what: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Try something out in a child process; ``error`` says why there is no answer."""
    env = {**os.environ, "PYGAME_HIDE_SUPPORT_PROMPT": "1", **(environment or {})}
    home = str(Path(__file__).resolve().parents[1])
    env["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [env.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, "-m", "engine.probe", what],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S - 3.0,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": "it hung and was ended"}
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"error": f"it ended with code {done.returncode}"}
    return answer if isinstance(answer, dict) else {"error": "it gave no answer"}


# ---------------------------------------------------------------- the questions


def _python() -> Finding:
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}."
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    data = {"version": platform.python_version(), "gil": gil, "bits": 8 * struct.calcsize("P")}
    if sys.version_info < (3, 11) or data["bits"] != 64:
        fix = "Install 64-bit Python 3.11, 3.12 or 3.13."
        return Finding("Python", "fail", text + " That is not enough.", fix, data)
    if not gil or sys.version_info.releaselevel != "final":
        kind = "a free-threaded build" if not gil else "a pre-release"
        fix = "For sessions with people use an ordinary release of Python."
        return Finding("Python", "warn", f"{text} It is {kind}, which is not tested.", fix, data)
    return Finding("Python", "ok", text, data=data)


def _packages() -> Finding:
    name = "Installation"
    home = check_house()
    try:
        version = importlib.metadata.version("neuroloop")
        wanted = importlib.metadata.requires("neuroloop") or []
    except importlib.metadata.PackageNotFoundError:
        fix = "Install it with `uv sync` or `pip install` in an environment of its own."
        return Finding(name, "warn", f"Neuroloop runs from {home} but is not installed.", fix)
    names = [re.split(r"[^A-Za-z0-9._-]", w, maxsplit=1)[0] for w in wanted if ";" not in w]
    versions: dict[str, str] = {}
    for package in names:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    missing = [n for n, v in versions.items() if not v]
    if missing:
        fix = "Install Neuroloop again: `uv sync` or `pip install`."
        return Finding(name, "fail", f"Missing: {', '.join(missing)}.", fix, versions)
    key = ", ".join(f"{n} {versions[n]}" for n in ("mne", "pylsl", "numpy") if n in versions)
    text = f"Neuroloop {version} in {home}, with all {len(versions)} packages ({key}, ...)."
    return Finding(name, "ok", text, data=versions)


def _timer() -> Finding:
    late: list[float] = []
    for _ in range(_SLEEPS):
        began = time.perf_counter()
        time.sleep(0.002)
        late.append(1e3 * (time.perf_counter() - began) - 2.0)
    late.sort()
    p50, p99 = late[len(late) // 2], late[int(0.99 * len(late))]
    data = {"late_ms_p50": round(p50, 3), "late_ms_p99": round(p99, 3)}
    text = f"This computer wakes up on time: {p50:.1f} ms late at most half of the time, "
    text += f"{p99:.1f} ms in the worst hundredth."
    if p99 < 5.0:
        return Finding("Timing", "ok", text, data=data)
    text = f"This computer wakes up late: by {p50:.1f} ms typically, by {p99:.1f} ms in the worst "
    text += "hundredth."
    fix = "Close other programs; switch power saving off; do not use a virtual machine."
    return Finding("Timing", "warn" if p99 < 50.0 else "fail", text, fix, data)


def _processor() -> Finding:
    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(interval=0.5)
    clock = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    data = {"cores": cores, "busy_percent": busy, "mhz": clock.current if clock else None}
    speed = f" at {clock.current / 1000:.1f} GHz" if clock and clock.current else ""
    text = f"{cores} processor cores{speed}, {busy:.0f} % busy."
    if cores < 2:
        fix = "Use a computer with at least two cores: one for the signal, one for the picture."
        return Finding("Processor", "warn", text, fix, data)
    if busy > 60.0:
        fix = "Close other programs before a session; let updates and virus scans finish."
        return Finding("Processor", "warn", text, fix, data)
    return Finding("Processor", "ok", text, data=data)


def _memory() -> Finding:
    free = psutil.virtual_memory().available / 1e9
    text = f"{free:.1f} GB of memory are free."
    data = {"free_gb": round(free, 2)}
    if free >= 1.5:
        return Finding("Memory", "ok", text, data=data)
    fix = "Close other programs before a session."
    return Finding("Memory", "warn" if free >= 0.5 else "fail", text, fix, data)


def _disk(room: Room | None) -> Finding:
    record = room.record if room is not None else RecordSettings()
    folder, keep = record.path, record.keep_free_gb
    nearest = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(nearest).free / 1e9
    data: dict[str, Any] = {"folder": str(folder), "free_gb": round(free, 1), "keep_gb": keep}
    fix = "Give another folder in the room file under record, or make space."
    try:
        with tempfile.NamedTemporaryFile(dir=nearest, prefix=".neuroloop-") as file:
            times = []
            for _ in range(_SYNCS):
                began = time.perf_counter()
                file.write(b"x" * 65536)
                file.flush()
                os.fsync(file.fileno())
                times.append(1e3 * (time.perf_counter() - began))
    except OSError as error:
        text = f"Nothing can be written in {nearest}: {error.strerror or error}."
        return Finding("Recordings", "fail", text, fix, data)
    data["sync_ms_max"] = round(max(times), 1)
    text = f"Recordings go to {folder}; {free:.0f} GB are free, and the disk keeps what it is "
    text += f"given within {max(times):.0f} ms."
    if free < keep:
        return Finding("Recordings", "fail", f"{text} {keep:g} GB must stay free.", fix, data)
    if free < 2 * keep or max(times) > 500.0:
        return Finding("Recordings", "warn", text, fix, data)
    return Finding("Recordings", "ok", text, data=data)


def _lsl_settings(room: Room | None, *, alone: bool) -> str:
    """Return an LSL configuration; `alone` stays on this computer and uses no multicast."""
    peers = () if alone or room is None else room.lsl.known_peers
    apart = f"neuroloop-doctor-{os.getpid()}"  # nobody else's streams, and ours for nobody else
    return config_text(LslSettings(known_peers=peers, session_id=apart, loopback_only=alone))


def _lsl_probe(room: Room | None, *, alone: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="neuroloop-doctor-") as folder:
        path = Path(folder) / "lsl_api.cfg"
        path.write_text(_lsl_settings(room, alone=alone), encoding="utf-8")
        return _probe("lsl", {"LSLAPICFG": str(path)})


def _loopback(room: Room | None) -> Finding:
    answer = _lsl_probe(room, alone=True)
    if "error" in answer:
        text = f"The LSL library does not work here: {answer['error']}."
        fix = "Install Neuroloop again; on an old Linux set PYLSL_LIB to mne-lsl's liblsl file."
        return Finding("LSL", "fail", text, fix, answer)
    if not answer["found"] or not answer["pushes"]:
        text = "A test stream from this computer to itself did not arrive."
        fix = "A firewall or security program blocks local connections; allow Python to use them."
        return Finding("LSL", "fail", text, fix, answer)
    text = f"A test stream arrived: found in {answer['found_ms']:.0f} ms, then "
    text += f"{answer['p50_ms']:.1f} ms from sender to reader (95 %: {answer['p95_ms']:.1f} ms)."
    if answer["drift_ms"] > 1.0:
        text += " But LSL's clock and Python's do not run alike."
        fix = "Restart the computer; if it stays, timing here cannot be relied on."
        return Finding("LSL", "warn", text, fix, answer)
    if answer["p95_ms"] > 50.0:
        return Finding("LSL", "warn", text, "Close other programs and try again.", answer)
    return Finding("LSL", "ok", text, data=answer)


def _hears_multicast() -> bool:
    """Return whether a multicast message sent here comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", 0))  # any free port: LSL's own may be in use
        member = struct.pack("4s4s", socket.inet_aton(_MULTICAST), socket.inet_aton("0.0.0.0"))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # stays on this computer
        ear.settimeout(1.0)
        token = os.urandom(16)
        ear.sendto(token, (_MULTICAST, ear.getsockname()[1]))
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            if ear.recv(64) == token:
                return True
    return False


def _network(room: Room | None) -> Finding:
    try:
        heard = _hears_multicast()
    except OSError:
        heard = False
    peers = room is not None and bool(room.lsl.known_peers)
    if room is not None and room.lsl.loopback_only:
        text = "The room uses streams of this computer only."
        return Finding("Network", "ok", text, data={"multicast": heard})
    answer = _lsl_probe(room, alone=False)
    data = {"multicast": heard, **answer}
    fix = "If the amplifier is on another computer, give its address in the room file under lsl: "
    fix += "known_peers; allow Python in the firewall."
    if not answer.get("found"):
        text = "With ordinary network settings a test stream was not found."
        return Finding("Network", "warn", text, "" if peers else fix, data)
    if not heard:
        text = "Multicast does not work here: streams of other computers are not found by "
        text += "themselves."
        return Finding("Network", "ok" if peers else "warn", text, "" if peers else fix, data)
    return Finding("Network", "ok", "Streams are found with ordinary network settings.", data=data)


def _screen(room: Room | None) -> Finding:
    needed: Light = "fail" if room is not None and room.person_screen.required else "warn"
    answer = _probe("screen")
    if "error" in answer:
        text = f"No screen can be used: {answer['error']}."
        fix = "Start Neuroloop on the computer's own desktop, and check the graphics driver."
        return Finding("Screen", needed, text, fix, answer)
    if answer["driver"] in _INVISIBLE or not answer["sizes"]:
        text = f"There is no visible screen here (driver {answer['driver'] or 'none'})."
        fix = "Start Neuroloop on the computer's own desktop, not over a bare remote line."
        return Finding("Screen", needed, text, fix, answer)
    sizes = ", ".join(f"{w} x {h}" for w, h in answer["sizes"])
    screens = len(answer["sizes"])
    text = f"{screens} screen{'s' if screens > 1 else ''}: {sizes} (driver {answer['driver']})."
    wanted = room.person_screen.display if room is not None else 0
    if wanted >= screens:
        fix = f"Connect screen number {wanted}, or change display in the room file."
        return Finding("Screen", needed, f"{text} Screen number {wanted} is missing.", fix, answer)
    if screens == 1 and (room is None or room.use != "test"):
        text += " The person and the operator would share it."
        return Finding("Screen", "warn", text, "Connect a second screen for the person.", answer)
    return Finding("Screen", "ok", text, data=answer)


def _sound(room: Room | None) -> Finding:
    needed: Light = "fail" if room is not None and room.sound.required else "warn"
    answer = _probe("sound")
    fix = "Connect a loudspeaker or headphones; the system's sound settings must list it."
    if "error" in answer:
        text = f"No sound device can be used: {answer['error']}."
        return Finding("Sound", needed, text, fix, answer)
    if os.environ.get("SDL_AUDIODRIVER") in ("dummy", "disk"):
        text = "Sound goes nowhere, because SDL_AUDIODRIVER is set."
        return Finding("Sound", needed, text, "Unset SDL_AUDIODRIVER.", answer)
    names = ", ".join(answer["devices"]) or "the system's default"
    return Finding("Sound", "ok", f"Sound opens. Devices: {names}.", data=answer)


def _terminal() -> Finding:
    columns, lines = shutil.get_terminal_size((0, 0))
    real = sys.stdout is not None and sys.stdout.isatty()
    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    data = {"tty": real, "columns": columns, "lines": lines, "encoding": encoding}
    if not real:
        text = "This is no interactive terminal: a session would show plain lines and take no keys."
        fix = "Start sessions from a terminal window."
        return Finding("Terminal", "warn", text, fix, data)
    if columns < 80 or lines < 24:
        text = f"The terminal is small ({columns} x {lines}); parts of the view are left out."
        return Finding("Terminal", "warn", text, "Enlarge it to at least 80 x 24.", data)
    if not encoding.startswith("utf"):
        text = f"The terminal writes {encoding or 'unknown characters'}; the view is drawn plainly."
        return Finding("Terminal", "ok", text, data=data)
    return Finding(
        "Terminal", "ok", f"The terminal is {columns} x {lines} and takes keys.", data=data
    )


def _linear_algebra() -> Finding:
    import numpy as np  # noqa: F401  (loads the library that is asked about)
    from threadpoolctl import threadpool_info

    found = [i for i in threadpool_info() if i.get("user_api") == "blas"]
    names = ", ".join(sorted({f"{i['internal_api']} {i['version']}" for i in found}))
    threads = max((int(i["num_threads"]) for i in found), default=1)
    text = f"{names or 'A built-in library'}, {threads} thread{'s' if threads > 1 else ''} now; "
    text += "sessions and replays use one, so that results repeat exactly."
    data = {"libraries": names, "threads": threads}
    return Finding("Linear algebra", "ok", text, data=data)


def _power() -> Finding:
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    sleeps = _sleeps()
    if battery is None:
        plugged, text = True, "This computer runs on mains, or its battery cannot be read."
        data: dict[str, Any] = {"battery": None, "sleeps": sleeps}
    else:
        plugged = bool(battery.power_plugged)
        text = (
            f"Battery at {battery.percent:.0f} %, {'plugged in' if plugged else 'not plugged in'}."
        )
        data = {"battery": battery.percent, "plugged": plugged, "sleeps": sleeps}
    if not plugged:
        low = battery is not None and battery.percent < 20.0
        fix = "Plug it in: on battery the computer slows down, and may stop."
        return Finding("Power", "fail" if low else "warn", text, fix, data)
    if sleeps:
        text += " It is set to go to sleep by itself."
        return Finding("Power", "warn", text, "Switch automatic sleep off for sessions.", data)
    if sleeps is None:
        text += " Please check yourself that it does not go to sleep."
    return Finding("Power", "ok", text, data=data)


def _sleeps() -> bool | None:
    """Return whether the desktop sends this computer to sleep; None when that is not known."""
    gnome = "org.gnome.settings-daemon.plugins.power"
    asked = {
        "Linux": ["gsettings", "get", gnome, "sleep-inactive-ac-type"],
        "Darwin": ["pmset", "-g"],
    }.get(platform.system())
    if asked is None or shutil.which(asked[0]) is None:
        return None
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=3.0, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    if platform.system() == "Linux":
        return "nothing" not in done.stdout
    found = re.search(r"^\s*sleep\s+(\d+)", done.stdout, re.MULTILINE)
    return None if found is None else found.group(1) != "0"


def _plugins(room: Room | None) -> Finding:
    wanted = room.wanted_plugins if room is not None else ()
    if not wanted:
        text = "The room lists no packages from elsewhere."
        return Finding("Plugins", "ok", text, data={"plugins": []})
    data: list[dict[str, Any]] = []
    for name, version in wanted:
        package = entrypoints.found((name, version))
        points = entrypoints.offers(package)
        for group in entrypoints.GROUPS:
            entrypoints.offered([(name, version)], group, object)
        data.append(
            {
                "name": name,
                "version": version,
                "sha256": entrypoints.digest(package),
                "offers": [f"{p.group.partition('.')[2]}: {p.name}" for p in points],
            }
        )
    listed = "; ".join(f"{d['name']} {d['version']} ({', '.join(d['offers'])})" for d in data)
    return Finding("Plugins", "ok", f"Packages from elsewhere: {listed}.", data={"plugins": data})


# ---------------------------------------------------------------- all of them


def _questions(room: Room | None) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "Python", _python
    yield "Installation", _packages
    yield "Timing", _timer  # before anything else makes this computer busy
    yield "Processor", _processor
    yield "Memory", _memory
    yield "Recordings", lambda: _disk(room)
    yield "LSL", lambda: _loopback(room)
    yield "Network", lambda: _network(room)
    yield "Screen", lambda: _screen(room)
    yield "Sound", lambda: _sound(room)
    yield "Linear algebra", _linear_algebra
    yield "Power", _power
    yield "Terminal", _terminal
    if room is not None:
        yield "Plugins", lambda: _plugins(room)


def diagnose(
    room: Room | None = None, on_finding: Callable[[Finding], None] | None = None
) -> tuple[Finding, ...]:
    """Look at everything a session needs; takes about ten seconds, never hangs.

    Parameters
    ----------
    room : Room, optional
        What the room needs decides between a warning and a failure.
    on_finding : callable, optional
        Called with each finding as soon as it is known.

    Returns
    -------
    tuple of Finding
    """
    findings = []
    for name, question in _questions(room):
        finding = _within(_DEADLINE_S, question, name)
        findings.append(finding)
        if on_finding is not None:
            on_finding(finding)
    return tuple(findings)
