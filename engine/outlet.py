"""LSL outlets of ours, and the pacing that simulator and player share."""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.clock import now
from engine.frames import Float, StreamSpec
from engine.lsl import load_pylsl, mark_used

__all__ = ["MarkerOutlet", "Outlet", "declared_type", "narrowed", "wait_until"]


def declared_type(kind: str) -> str:
    """Return a column's kind as LSL metadata spell it (``EEG``, ``misc`` ...)."""
    return kind.upper() if kind in ("eeg", "eog", "ecg", "emg") else kind


class Outlet:
    """A stream of numbers on the network, with label, type and unit of every column.

    Parameters
    ----------
    spec : StreamSpec
        Name, type, source id, rate and channels; `dtype` ``float32`` or ``float64``.
    model : str
        What the metadata call the device.
    """

    def __init__(self, spec: StreamSpec, model: str) -> None:
        pylsl = load_pylsl()
        mark_used()
        number = pylsl.cf_double64 if spec.dtype == "float64" else pylsl.cf_float32
        info = pylsl.StreamInfo(
            spec.name, spec.stype, len(spec.channels), spec.rate_hz, number, spec.source_id
        )
        description = info.desc()
        description.append_child_value("manufacturer", "Neuroloop")
        description.append_child_value("model", model)
        channels = description.append_child("channels")
        for column in spec.channels:
            channel = channels.append_child("channel")
            channel.append_child_value("label", column.name)
            channel.append_child_value("type", declared_type(column.kind))
            channel.append_child_value("unit", column.unit)
        self._outlet: Any = pylsl.StreamOutlet(info)

    def push(self, samples: NDArray[Any], stamp_s: float) -> None:
        """Send samples, shape (n_samples, n_channels); the stamp is that of the last one."""
        self._outlet.push_chunk(samples, stamp_s)

    def push_stamped(self, samples: NDArray[Any], stamps: Float) -> None:
        """Send samples with a stamp for each."""
        self._outlet.push_chunk(samples, [float(t) for t in stamps])

    @property
    def has_consumers(self) -> bool:
        """Whether somebody receives this stream now."""
        return bool(self._outlet.have_consumers())

    def close(self) -> None:
        """Take the stream from the network."""
        self._outlet = None


class MarkerOutlet:
    """A stream of irregular texts."""

    def __init__(self, name: str, source_id: str) -> None:
        pylsl = load_pylsl()
        mark_used()
        info = pylsl.StreamInfo(
            name, "Markers", 1, pylsl.IRREGULAR_RATE, pylsl.cf_string, source_id
        )
        self._outlet: Any = pylsl.StreamOutlet(info)

    def push(self, text: str, stamp_s: float) -> None:
        """Send one text."""
        self._outlet.push_sample([text], stamp_s)

    def close(self) -> None:
        """Take the stream from the network."""
        self._outlet = None


def wait_until(t_s: float, stop: Event) -> bool:
    """Wait until the LSL clock shows `t_s`; return False when asked to stop before."""
    remaining_s = t_s - now()
    if remaining_s <= 0:
        return not stop.is_set()
    return not stop.wait(remaining_s)


def narrowed(samples: Float) -> NDArray[np.float32]:
    """Return the samples as float32; what is beyond its range becomes infinite."""
    with np.errstate(over="ignore"):
        return samples.astype(np.float32)
