"""What the person sees and hears, by name. The code behind it is imported in the window only."""

from __future__ import annotations

from feedback.registry import PictureKind, SoundKind

__all__ = ["MARIMBA", "RING"]

RING = PictureKind(
    name="ring",
    doc="A quiet ring that widens with the level; a second, fainter ring marks a reward.",
    mapping="radius",
    factory="neuroloop_example.ring:Ring",
)

MARIMBA = SoundKind(
    name="marimba",
    role="on_reward",
    doc="One low wooden tone of 0.6 s at each reward.",
    factory="neuroloop_example.marimba:marimba",
)
