"""The door between plugins and the person's screen, loudspeaker and keys.

A picture of a plugin draws on a surface it is given and a sound returns samples; both are judged
before they reach anyone. pygame, however, offers the same process a dozen ways around that:
`pygame.display.get_surface`, `flip`, a second window, `pygame.mixer`, and `pygame.event.get`, which
would swallow the key that stops the session. `Door` keeps the real functions, puts in the place of
each one that says why not, and seals what the guard is made of, so that nothing that exists there
can be replaced. It is closed before the first plugin is imported; what the window uses are the
functions the door kept.

What no door in the same process can keep out, and a plugin is therefore code to trust: ctypes,
`os`, subprocesses and other libraries that reach screen or sound card by themselves; walking
through frames or the lists of the garbage collector to objects of the window;
`object.__subclasses__`; writing into a module's ``__dict__``. All of that is intent. What comes by
habit or by accident, from a tutorial's `pygame.display.flip()` at the end of a drawing function to
a helpful patch of a slow function, fails with a sentence, and the still symbol takes its place.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import pygame

__all__ = ["ClosedDoorError", "Door"]

_DRAWS = "a picture draws on the surface it is given"
_SOUNDS = "a sound of a plugin returns its samples; the window plays them"
_KEYS = "keys belong to the person and the window; a picture is told all it needs"
_WINDOW = "screen and sound are opened and closed by the window"

_WAYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "pygame.display": (
            _DRAWS,
            "flip update get_surface set_mode toggle_fullscreen iconify set_gamma set_gamma_ramp "
            "set_palette set_caption set_icon set_allow_screensaver gl_set_attribute get_wm_info "
            "init quit",
        ),
        "pygame": (_WINDOW, "init quit"),
        "pygame.mixer": (
            _SOUNDS,
            "init pre_init quit Sound SoundType Channel ChannelType find_channel set_num_channels "
            "set_reserved stop pause unpause fadeout",
        ),
        "pygame.mixer_music": (
            _SOUNDS,
            "load play queue rewind set_pos set_volume set_endevent stop pause unpause fadeout "
            "unload",
        ),
        "pygame.sndarray": (_SOUNDS, "make_sound"),
        "pygame.event": (
            _KEYS,
            "get poll wait clear post pump set_allowed set_blocked set_grab set_keyboard_grab",
        ),
        "pygame.fastevent": (_KEYS, "init get poll wait post pump"),
        "pygame.time": (_KEYS, "set_timer"),
        "pygame.mouse": (_KEYS, "set_visible set_pos set_cursor"),
        "pygame.key": (_KEYS, "start_text_input stop_text_input set_repeat"),
        "pygame._sdl2.video": (_DRAWS, "Window Renderer Texture Image messagebox"),
        "pygame._sdl2.audio": (_SOUNDS, "AudioDevice"),
        "pygame._sdl2.mixer": (_SOUNDS, "set_post_mix"),
        "pygame.midi": (_SOUNDS, "Output init"),
        # Of other libraries only what the window itself plays with.
        "miniaudio": (_SOUNDS, "PlaybackDevice DuplexStream"),
    }
)

_SEALED = (
    "numpy",
    "pygame",
    "pygame.display",
    "pygame.draw",
    "pygame.event",
    "pygame.image",
    "pygame.mixer",
    "pygame.surfarray",
    "pygame.transform",
    "feedback.album",
    "feedback.door",
    "feedback.foreign",
    "feedback.guard",
    "feedback.motion",
    "feedback.registry",
    "feedback.screens",
    "feedback.speaker",
    "feedback.stage",
    "feedback.synth",
    "feedback.window",
)


class ClosedDoorError(PermissionError):
    """A plugin asked for what is the window's own."""


class _SealedModule(types.ModuleType):
    """A module in which nothing that exists can be replaced; importing more into it goes on."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ and self.__dict__[name] is not value:
            raise ClosedDoorError(
                f"{self.__name__}.{name} cannot be replaced while plugins are loaded"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise ClosedDoorError(f"{self.__name__}.{name} cannot be removed while plugins are loaded")


class _Screen:
    """What `get_surface` gives when the door is closed: its measures, and nothing to draw on."""

    __slots__ = ("_size",)

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size

    def get_size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self._size

    def get_width(self) -> int:
        """Return the width in pixels."""
        return self._size[0]

    def get_height(self) -> int:
        """Return the height in pixels."""
        return self._size[1]

    def get_rect(self) -> Any:
        """Return the whole area."""
        return pygame.Rect((0, 0), self._size)

    def __getattr__(self, name: str) -> NoReturn:
        raise ClosedDoorError(f"the screen's own surface has no `{name}` for a plugin: {_DRAWS}")


class _Kept:
    """A module as it was: the functions that the door closed, and all the others as they are."""

    __slots__ = ("_module", "_own")

    def __init__(self, module: types.ModuleType, own: Mapping[str, Any]) -> None:
        self._module, self._own = module, own

    def __getattr__(self, name: str) -> Any:
        return self._own[name] if name in self._own else getattr(self._module, name)


def _shut(way: str, why: str) -> Any:
    def closed(*_: object, **__: object) -> NoReturn:
        raise ClosedDoorError(f"{way} is not for a plugin: {why}")

    closed.__name__ = closed.__qualname__ = way.rpartition(".")[2]
    return closed


class Door:
    """Keep the ways to screen, loudspeaker and keys, and close them to everyone else.

    Made before any plugin is imported. `display`, `event` and `mouse` are pygame's modules as they
    were, and stay so when the door is closed. Closed a second time, or in a process where
    another door is closed, nothing changes; `open` undoes what this door did. As a context it is
    closed inside and open after.

    Examples
    --------
    >>> door = Door()
    >>> with door:
    ...     pygame.display.flip()
    Traceback (most recent call last):
        ...
    feedback.door.ClosedDoorError: pygame.display.flip is not for a plugin: a picture draws on ...
    """

    _shut_by: Door | None = None  # in this process

    def __init__(self) -> None:
        self._own: dict[str, dict[str, Any]] = {}
        self._places: list[tuple[types.ModuleType, str, Any]] = []
        self._sealed: list[types.ModuleType] = []
        closed = Door._shut_by
        for name, (_, functions) in _WAYS.items():
            try:
                module = importlib.import_module(name)
            except Exception:  # an optional part of pygame; what is not there cannot be used
                continue
            own = {f: getattr(module, f) for f in functions.split() if hasattr(module, f)}
            self._own[name] = own if closed is None else closed._own[name]
        self.display = self._kept("pygame.display")
        self.event = self._kept("pygame.event")
        self.mouse = self._kept("pygame.mouse")
        # What runs in every frame is looked up once.
        self.flip = self.display.flip
        self.set_mode = self.display.set_mode
        self.get_events = self.event.get

    def _kept(self, name: str) -> Any:
        return _Kept(sys.modules[name], MappingProxyType(self._own[name]))

    @property
    def closed(self) -> bool:
        """Whether this door is closed."""
        return Door._shut_by is self

    def close(self) -> None:
        """Let nothing through any more."""
        if Door._shut_by is not None:
            return
        Door._shut_by = self
        shut: dict[int, Any] = {}
        for name, own in self._own.items():
            for f, value in own.items():
                shut.setdefault(id(value), self._instead(f"{name}.{f}", _WAYS[name][0]))
        # A module may offer what belongs to another one, so all of pygame's are looked through.
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").split(".")[0] in ("pygame", "miniaudio"):
                for attribute, value in list(vars(module).items()):
                    if id(value) in shut:
                        self._places.append((module, attribute, value))
                        setattr(module, attribute, shut[id(value)])
        for name in _SEALED:
            own_module = sys.modules.get(name)
            if own_module is not None and type(own_module) is types.ModuleType:
                own_module.__class__ = _SealedModule
                self._sealed.append(own_module)

    def open(self) -> None:
        """Put everything back."""
        if not self.closed:
            return
        for module in self._sealed:
            # Past the seal, which refuses everything else.
            types.ModuleType.__setattr__(module, "__class__", types.ModuleType)
        for module, attribute, value in self._places:
            setattr(module, attribute, value)
        self._sealed, self._places = [], []
        Door._shut_by = None

    @contextlib.contextmanager
    def ajar(self) -> Iterator[None]:
        """Stand open for one call of the window's own, such as opening the sound device.

        What a plugin took hold of while it was closed stays what it was; only a thread of a plugin
        could slip through just now.
        """
        closed = self.closed
        self.open()
        try:
            yield
        finally:
            if closed:
                self.close()

    def __enter__(self) -> Door:
        self.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.open()

    def _instead(self, way: str, why: str) -> Any:
        if way != "pygame.display.get_surface":
            return _shut(way, why)
        real = self._own["pygame.display"]["get_surface"]

        def get_surface() -> Any:
            """Return the measures of the screen."""
            surface = real()
            return None if surface is None else _Screen(surface.get_size())

        return get_surface
