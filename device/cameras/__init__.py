"""Where frames come from: one file a source, one interface."""

from dataclasses import dataclass
from typing import Protocol

from device.common.errors import SortbinError
from device.vision.inference.preprocess import Pixels

FIRST_FRAME_S = 12.0
"""how long a camera of which nothing is wrong may take to its first frame: exposure, white balance and focus settle before that"""


class CameraError(SortbinError, OSError):
    """A camera that cannot be opened, stopped giving frames, or was unplugged. The message names it and what to try."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. pixels: H x W x 3 uint8, RGB, never a camera's buffer; nobody changes them.

    number counts up from 1 without repeating while a source is open; taken_s is the time of exposure, or of arrival where the
    source does not tell, in seconds of the monotonic clock.
    """

    pixels: Pixels
    number: int
    taken_s: float


class Source(Protocol):
    """A camera as its driver gives it: frames one after the other. Opened by its constructor, which raises CameraError.

    damaged: pictures since then that arrived damaged and were dropped.
    """

    damaged: int

    def read(self, wait_s: float) -> Frame:
        """Wait at most `wait_s` seconds for the next frame. Raises CameraError when none came or it is not to be believed."""
        ...

    def close(self) -> None:
        """Give the device back. Any number of calls; never raises."""
        ...


class EndOfFrames(Exception):
    """A replayed source has shown all it has."""
