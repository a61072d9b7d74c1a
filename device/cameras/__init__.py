"""Cameras: where frames come from. One file for each kind, listed in `kinds`; other rooms use `camera_thread` and `kinds`."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
    the monotonic clock. exposure: of this frame, as a multiple of the camera's usual one, 1.0; None while it changes and is not known.
    """

    pixels: Pixels
    number: int
    taken_s: float
    exposure: float | None = 1.0


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


@runtime_checkable
class AdjustableSource(Source, Protocol):
    """A source whose exposure can be changed for some frames. Each frame says at which it was taken.

    exposure_range: the least and the greatest multiple of the usual exposure that can be set; None where this camera or its settings allow none.
    tells_exposure: whether the exposure of every frame is known, also just after a change, so that single frames can have another one.
    """

    exposure_range: tuple[float, float] | None
    tells_exposure: bool

    def set_exposure(self, exposure: float) -> None:
        """Expose the frames from now on by this multiple of the usual exposure, within `exposure_range`; 1.0 is the usual one, to the bit.

        It takes effect some frames later, or never where the driver refuses; the frames tell. Raises CameraError where the camera is gone. `close`
        sets the usual exposure again.
        """
        ...


class EndOfFrames(Exception):
    """A replayed source has no more frames."""
