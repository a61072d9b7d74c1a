"""Cameras: where frames come from. One file for each kind, listed in `kinds`; other rooms use `camera_thread` and `kinds`."""

from dataclasses import dataclass
from typing import Protocol

from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels

FIRST_FRAME_S = 12.0
"""longest time that a working camera takes to its first frame: exposure, white balance and focus settle before that"""


class CameraError(SortbinError, OSError):
    """A camera that cannot be opened, gives no frames any more, or was unplugged. The message names it and what to try."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. pixels: H x W x 3 uint8, RGB, never a driver's buffer; must not be changed.

    number: counts up from 1 while a source is open. taken_s: time of exposure, or of arrival where the driver has no time stamps, in seconds of
    the monotonic clock.
    """

    pixels: Pixels
    number: int
    taken_s: float


class Source(Protocol):
    """An open camera: frames one after the other. The constructor opens it and raises CameraError.

    damaged: frames that arrived damaged and were dropped.
    """

    damaged: int

    def read(self, wait_s: float) -> Frame:
        """Wait at most `wait_s` seconds for the next frame. Raises CameraError when none came, or it is old or frozen."""
        ...

    def close(self) -> None:
        """Close the device. Any number of calls; never raises."""
        ...


class EndOfFrames(Exception):
    """A replayed source has no more frames."""
