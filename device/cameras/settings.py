"""What a user sets of a camera: the table `[camera]`. Its key `kind` chooses the source, and each kind has keys of its own."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

LEAST_SIDE = 32
"""least width and height of what is looked at, in pixels"""


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the picture to look at, as fractions of its width and height after rotation: x to the right, y down."""

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


class Camera(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What every camera has."""

    width: Annotated[int, Meta(ge=LEAST_SIDE, le=8192, multiple_of=2)] = 640
    """pixels; a driver that cannot do this size takes the nearest it can"""
    height: Annotated[int, Meta(ge=LEAST_SIDE, le=8192, multiple_of=2)] = 480
    """pixels"""
    fps: Annotated[float, Meta(gt=0, le=120)] = 10.0
    """pictures a second; each costs work, and ten are enough to see an item lie still"""
    rotate_deg: Literal[0, 90, 180, 270] = 0
    """turn the picture clockwise, for a camera that is mounted on its side or upside down"""
    region: Region = Region()
    """the part of the turned picture that shows the tray"""
    stale_s: Annotated[float, Meta(ge=0.2, le=10)] = 2.0
    """without a new picture for so long, the camera is closed and opened again"""
    hang_s: Annotated[float, Meta(ge=11, le=120)] = 12.0
    """a driver that does not answer for so long is given up, and the camera opened anew; OpenCV itself may wait 10 s"""

    def __post_init__(self) -> None:
        width, height = (self.height, self.width) if self.rotate_deg in (90, 270) else (self.width, self.height)
        width, height = round(self.region.w * width), round(self.region.h * height)
        if min(width, height) < LEAST_SIDE:
            raise ValueError(f"Expected a region of at least {LEAST_SIDE} pixels each way, found {width} x {height}")


FrozenLimit = Annotated[float, Meta(ge=0, le=600)]


class Picamera2Settings(Camera, frozen=True, kw_only=True, tag="picamera2"):
    """A Raspberry Pi camera on the ribbon cable."""

    index: Annotated[int, Meta(ge=0, le=7)] = 0
    """which camera, in the order of `rpicam-hello --list-cameras`"""
    warm_up_s: Annotated[float, Meta(ge=0, le=5)] = 2.0
    """time for exposure and white balance to settle before the first picture is used"""
    lock_exposure: bool = True
    """keep exposure and white balance as they are after the warm-up, so that an item does not change the light of the whole picture"""
    focus: Literal["auto"] | Annotated[float, Meta(ge=0, le=32)] = "auto"
    """of a lens that can be moved: auto finds it once, after the warm-up, and keeps it; or 100 divided by the distance in cm, 0 for far away"""
    frozen_s: FrozenLimit = 10.0
    """a picture that is the same to the last bit for so long means a dead sensor, for a live one has noise; 0: do not look"""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"camera {self.index}"


class V4l2Settings(Camera, frozen=True, kw_only=True, tag="v4l2"):
    """A webcam, or whatever the kernel shows as /dev/video*."""

    device: Annotated[int, Meta(ge=0, le=255)] | Annotated[str, Meta(min_length=1)] = 0
    """N for /dev/videoN, or a path; those in /dev/v4l/by-id/ stay the same when another camera is plugged in"""
    pixel_format: Literal["", "MJPG", "YUYV"] = ""
    """how the camera sends pictures; empty: YUYV or what the driver has. Large pictures often need MJPG to reach their frame rate"""
    lock_exposure: bool = True
    """keep exposure and white balance as they are after two seconds, where the camera can; false leaves all its controls alone"""
    focus: Literal["auto"] | Annotated[int, Meta(ge=0, le=65535)] = "auto"
    """auto leaves it to the camera; a number holds the lens there, in the camera's own unit (`focus_absolute` of `v4l2-ctl --list-ctrls`)"""
    frozen_s: FrozenLimit = 10.0
    """a picture that is the same to the last bit for so long means a dead camera, for a live one has noise; 0: do not look"""

    @property
    def path(self) -> str:
        """Its device file."""
        return self.device if isinstance(self.device, str) else f"/dev/video{self.device}"

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"camera {self.path}"


class ReplaySettings(Camera, frozen=True, kw_only=True, tag="replay"):
    """Pictures or a video from a file, shown as if a camera took them."""

    path: Annotated[str, Meta(min_length=1)]
    """a video file, a picture, or a folder: all pictures in it and below it, in the order of their paths"""
    fps: Annotated[float, Meta(ge=0, le=120)] = 10.0
    """pictures a second, also for a video, whatever its own rate; 0: as fast as they are asked for, which no bin takes"""
    hold_s: Annotated[float, Meta(ge=0, le=3600)] = 2.0
    """how long each picture of a folder stays in view"""
    loop: bool = True
    """start again at the end, rather than stop; a folder then ends with its first picture once more, which is the empty view"""


CameraSettings = Picamera2Settings | V4l2Settings | ReplaySettings
