"""What the window needs to be heard: a `Synth` that makes the sound, a `Speaker` that plays it."""

from feedback.speaker import BLOCK, Speaker
from feedback.synth import Synth

__all__ = ["BLOCK", "Speaker", "Synth"]
