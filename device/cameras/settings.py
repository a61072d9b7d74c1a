"""The keys of the table `[camera]` that every kind of camera has."""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from device.cameras import Source

LEAST_SIDE = 32
"""least width and height of the region, pixels"""


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the frame that is used, as fractions of its width and height after rotation: x to the right, y down."""

    x: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """left edge"""
    y: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """upper edge"""
    w: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """width"""
    h: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """height"""

    def __post_init__(self) -> None:
        if self.x + self.w > 1 + 1e-9:
            raise ValueError(f"Expected x + w of at most 1, found {self.x + self.w:g}")
        if self.y + self.h > 1 + 1e-9:
            raise ValueError(f"Expected y + h of at most 1, found {self.y + self.h:g}")


class CameraBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every kind of camera has. A kind is one file: a subclass of this with its `tag`, and its source. `device.cameras.kinds` lists them."""

    width: Annotated[int, Meta(ge=LEAST_SIDE, le=8192, multiple_of=2)] = 640
    """pixels; a driver that cannot do this size takes the nearest it can"""
    height: Annotated[int, Meta(ge=LEAST_SIDE, le=8192, multiple_of=2)] = 480
    """pixels"""
    fps: Annotated[float, Meta(gt=0, le=120)] = 10.0
    """frames a second; each takes processor time, and ten are enough to see that an item lies still"""
    rotate_deg: Literal[0, 90, 180, 270] = 0
    """rotate the frame clockwise, for a camera that is mounted on its side or upside down"""
    region: Region = Region()
    """the part of the rotated frame that shows the tray"""
    stale_s: Annotated[float, Meta(ge=0.2, le=10)] = 2.0
    """without a new frame for so long, the camera is closed and opened again"""
    hang_s: Annotated[float, Meta(ge=11, le=120)] = 12.0
    """a driver that does not answer for so long is abandoned, and the camera opened again; OpenCV itself may wait 10 s"""

    def __post_init__(self) -> None:
        width, height = (self.height, self.width) if self.rotate_deg in (90, 270) else (self.width, self.height)
        width, height = round(self.region.w * width), round(self.region.h * height)
        if min(width, height) < LEAST_SIDE:
            raise ValueError(f"Expected a region of at least {LEAST_SIDE} pixels each way, found {width} x {height}")

    @property
    def kind(self) -> str:
        """The value of `kind` in the settings file."""
        return str(self.__struct_config__.tag)

    def opener(self) -> Callable[[], Source]:
        """A function that opens the camera. It is called again after each failure, and raises CameraError.

        That call imports the driver's package, not an earlier one.
        """
        raise NotImplementedError

    def files_read(self) -> Mapping[str, str]:
        """Files that the frames are read from, by settings key. The service must be able to read them."""
        return {}

    def warning(self, learn_s: float) -> str:
        """A likely mistake in these settings, one line; empty: none. learn_s: time in which the empty tray is learned."""
        return ""


FrozenLimit = Annotated[float, Meta(ge=0, le=600)]
