"""A webcam through V4L2 and OpenCV. Drivers may return old or damaged pictures as new: time stamps and pixels decide."""

import contextlib
import errno
import logging
import math
import time
from collections.abc import Callable
from typing import Annotated, Literal, Protocol

import cv2
import numpy as np
from msgspec import Meta

from device.cameras import CameraError, Frame, Source, jpeg_damage, v4l2_controls
from device.cameras.frozen_picture import FrozenPicture
from device.cameras.settings import CameraBase, FrozenLimit
from device.cameras.v4l2_controls import Controls
from device.common.arrays import Float64Array
from device.vision.inference.preprocess import Pixels

log = logging.getLogger(__name__)

SAME_CLOCK_S = 5.0
RETRY_S = 0.005
JPEGS = ("MJPG", "JPEG")
PADDED = ("BGR3", "RGB3")
"""formats that OpenCV prefers. Avoided here: drivers may pad their lines, which OpenCV does not remove, and they are the largest"""
WARM_UP_S = 2.0
"""time for exposure and white balance to settle before they are locked"""
BRIGHTNESS_STEP = 8
"""the brightness of a frame is the mean of every so-manieth pixel of every so-manieth row"""
SETTLED_S = 0.3
"""time until a changed control has an effect"""
SET_BACK_S = 1.0
"""longest wait, after the usual exposure was set again, until the view is as bright as before; an item may have been taken away meanwhile"""
EXPOSURE_UNITS = 10_000
"""V4L2 counts exposure in units of 100 microseconds: so many a second"""
LEAST_FPS = 1.0
"""frames a second below which nothing is locked: it would take longer than opening a camera may take"""


class V4l2Settings(CameraBase, frozen=True, kw_only=True, tag="v4l2"):
    """A webcam, or whatever the kernel shows as /dev/video*."""

    device: Annotated[int, Meta(ge=0, le=255)] | Annotated[str, Meta(min_length=1)] = 0
    """N for /dev/videoN, or a path; those in /dev/v4l/by-id/ stay the same when another camera is plugged in"""
    pixel_format: Literal["", "MJPG", "YUYV"] = ""
    """format in which the camera sends frames; empty: YUYV or the driver's default. Large frames often need MJPG to reach their rate"""
    lock_exposure: bool = True
    """lock exposure and white balance after two seconds, if the camera can; false leaves all its controls alone"""
    expose_for_item: bool = True
    """take a frame at an exposure of its own of an item that is black or white all over, if the camera can; needs lock_exposure"""
    focus: Literal["auto"] | Annotated[int, Meta(ge=0, le=65535)] = "auto"
    """auto leaves it to the camera; a number holds the lens there, in the camera's own unit (`focus_absolute` of `v4l2-ctl --list-ctrls`)"""
    frozen_s: FrozenLimit = 10.0
    """a picture that is the same to the last bit for so long means a dead camera, since a live one has noise; 0: no check"""

    @property
    def path(self) -> str:
        """Its device file."""
        return self.device if isinstance(self.device, str) else f"/dev/video{self.device}"

    @property
    def name(self) -> str:
        """The camera in messages."""
        return f"camera {self.path}"

    def opener(self) -> Callable[[], Source]:
        frozen = FrozenPicture(self.name, self.frozen_s)
        return lambda: V4l2Source(self, frozen)


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used here."""

    def isOpened(self) -> bool: ...  # noqa: N802 (OpenCV's name)

    def set(self, propId: int, value: float) -> bool: ...  # noqa: N803 (OpenCV's name)

    def get(self, propId: int) -> float: ...  # noqa: N803 (OpenCV's name)

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, "cv2.typing.MatLike"]: ...

    def release(self) -> None: ...


def open_device(path: str) -> Capture:
    """Open /dev/videoN for capture. Raises CameraError when it does not exist, may not be opened, or is in use."""
    try:
        with contextlib.closing(Controls(path)) as controls:
            card = controls.card()
    except OSError as error:
        raise CameraError(f"camera {path}: {_describe(error)}") from error
    if card is None:
        raise CameraError(f"camera {path}: cannot be opened as a camera, since it gives no pictures; `ls /dev/v4l/by-id/` shows those that do")
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraError(f"camera {path}: {card} cannot be opened; another program may be using it (`fuser -v {path}`)")
    return capture


def open_controls(path: str) -> Controls | None:
    """The controls of the device; None if they cannot be opened."""
    try:
        return Controls(path)
    except OSError:
        return None


def _describe(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "no such device; plug the camera in, `ls /dev/v4l/by-id/` shows those that are there"
        case errno.EACCES:
            return "permission denied; add the user to the group `video`: sudo usermod -aG video $USER"
        case errno.EPERM:
            return "the service may not use it: `sudo systemctl restart sortbin`; see DeviceAllow= in the unit"
        case _:
            return f"{error.strerror}; unplug the camera and plug it in again"


class _AdjustedExposure:
    """The exposure of each frame of a driver that does not tell it: known once a change has had its time."""

    def __init__(self) -> None:
        self._now = 1.0
        self._changed_s = -math.inf
        self._usual_mean: float | None = None
        """mean brightness of the last frame before a change; None where none is awaited any more"""
        self._mean = 0.0
        self._seen = False
        """whether a frame since the change was brighter or darker than usual"""

    def change(self, exposure: float, now_s: float) -> None:
        """Another exposure was set, as a multiple of the usual one."""
        if exposure == self._now:
            return
        if self._usual_mean is None:
            self._usual_mean, self._seen = self._mean, False
        self._now, self._changed_s = exposure, now_s

    def of(self, pixels: Pixels, taken_s: float) -> float | None:
        """The exposure of a frame, None where it is not known.

        The usual one is back once the view was seen brighter or darker and then as bright as before, or after SET_BACK_S: a slow camera may show
        a change only after it was taken back.
        """
        mean = float(pixels[::BRIGHTNESS_STEP, ::BRIGHTNESS_STEP].mean())
        if self._usual_mean is None:
            self._mean = mean
            return self._now
        is_usual = abs(mean - self._usual_mean) <= v4l2_controls.TOLERANCE * self._usual_mean + v4l2_controls.LEAST_COUNTS
        self._seen = self._seen or not is_usual
        since_s = taken_s - self._changed_s
        if since_s < SETTLED_S or (self._now == 1.0 and since_s < SET_BACK_S and not (self._seen and is_usual)):
            return None
        if self._now == 1.0:
            self._usual_mean = None
        return self._now


class V4l2Source:
    """Frames of a webcam, at most `fps` a second; those in between are taken from the driver and dropped undecoded.

    Frames that lost bytes on the cable are dropped and counted in `damaged`.

    OpenCV waits up to 10 s inside the driver whatever `wait_s` is, and longer if the driver hangs: use it through CameraThread, which
    abandons a thread that hangs. frozen: the check shared by all openings of this camera; None: a new one.
    """

    tells_exposure = False

    def __init__(
        self,
        settings: V4l2Settings,
        frozen: FrozenPicture | None = None,
        *,
        open_capture: Callable[[str], Capture] = open_device,
        open_controls: Callable[[str], Controls | None] = open_controls,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = settings.name
        self._stale_s = settings.stale_s
        self._spacing_s = 0.75 / settings.fps
        self._settled_frames = max(1, round(SETTLED_S * settings.fps))
        self._clock = clock
        self._sleep = sleep
        self._frozen = frozen or FrozenPicture(settings.name, settings.frozen_s)
        self._number = 0
        self.damaged = 0
        self.exposure_range: tuple[float, float] | None = None
        self._exposure = _AdjustedExposure()
        self._most_exposure, self._usual_exposure = EXPOSURE_UNITS / settings.fps, 1
        self._taken_s = -math.inf
        self._has_stamps: bool | None = None
        self._capture = open_capture(settings.path)
        self._choose_format(settings.pixel_format)
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        self._capture.set(cv2.CAP_PROP_FPS, settings.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._sends_jpeg = settings.pixel_format in JPEGS or self._format in JPEGS
        size = tuple(int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if size != (settings.width, settings.height):
            log.warning("%s: gives %d x %d pixels instead of %d x %d", self._name, *size, settings.width, settings.height)
        self._controls = open_controls(settings.path)
        self._automatics: list[v4l2_controls.Automatic] = []
        try:
            self._set_controls(settings)
        except CameraError:
            self.close()
            raise

    def read(self, wait_s: float) -> Frame:
        """The next new frame. taken_s is the driver's time stamp if that uses the monotonic clock, else the time of arrival.

        Raises CameraError when the driver gives nothing, only old or broken frames for `wait_s`, or the same picture for longer than `frozen_s`.
        """
        deadline_s, damaged_before = self._clock() + wait_s, self.damaged
        while True:
            if not self._capture.grab():
                raise CameraError(f"{self._name}: gives no picture; check that it is plugged in")
            now_s = self._clock()
            taken_s = self._time_of_exposure(now_s)
            if taken_s > self._taken_s and now_s - taken_s <= self._stale_s:
                if taken_s - self._taken_s >= self._spacing_s:
                    pixels = self._decode()
                    if pixels is not None:
                        break
            else:
                self._sleep(RETRY_S)
            if now_s >= deadline_s:
                cure = (
                    'try another USB port, a shorter cable or pixel_format = "YUYV"'
                    if self.damaged > damaged_before
                    else "unplug it and plug it in again"
                )
                raise CameraError(f"{self._name}: only old or broken pictures for {wait_s:g} s; {cure}")
        self._frozen.check(pixels, now_s)
        self._taken_s = taken_s
        self._number += 1
        return Frame(pixels, self._number, taken_s, self._exposure.of(pixels, taken_s))

    def set_exposure(self, exposure: float) -> None:
        """See AdjustableSource. Only the exposure time changes: gain would outlive a killed process, and many webcams have none."""
        if self._controls is None or self.exposure_range is None:
            return
        self._controls.set(v4l2_controls.EXPOSURE_ABSOLUTE, max(1, round(exposure * self._usual_exposure)))
        now = self._controls.get(v4l2_controls.EXPOSURE_ABSOLUTE)
        self._exposure.change(1.0 if now is None else now / self._usual_exposure, self._clock())

    def close(self) -> None:
        if self._controls is not None:
            self.set_exposure(1.0)
            # Controls outlive the program, and the next one expects a camera that follows the light.
            if self._automatics:
                v4l2_controls.enable_automatics(self._controls)
            self._controls.close()
        try:
            self._capture.release()
        except cv2.error as error:
            log.warning("%s: %s", self._name, error)

    def _choose_format(self, wanted: str) -> None:
        name = wanted or ("YUYV" if self._format in PADDED else "")
        if not name:
            return
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*name))
        if wanted and self._format not in ("", wanted):
            log.warning("%s: sends %s instead of %s", self._name, self._format, wanted)

    def _set_controls(self, settings: V4l2Settings) -> None:
        if self._controls is None:
            return
        if settings.focus != "auto":
            self._controls.set(v4l2_controls.FOCUS_AUTO, 0)
            if not self._controls.set(v4l2_controls.FOCUS_ABSOLUTE, settings.focus):
                log.warning("%s: cannot set its focus, camera.focus has no effect", self._name)
        if not settings.lock_exposure or settings.fps < LEAST_FPS:
            return
        self._automatics = v4l2_controls.enable_automatics(self._controls)
        if not self._automatics:
            return
        settled_s = self._clock() + WARM_UP_S
        while self._clock() < settled_s:
            self.read(self._stale_s)
        for automatic in v4l2_controls.lock(self._controls, self._automatics, self._mean_colour):
            log.warning("%s: cannot hold its %s, so an item may change the light of the whole picture", self._name, automatic.name)
        if settings.expose_for_item:
            self._find_exposure_range(self._controls)

    def _find_exposure_range(self, controls: Controls) -> None:
        """Find the exposures that can be set from now on. None where the camera holds no exposure, does not tell it, or may not exceed it."""
        usual, limits = controls.get(v4l2_controls.EXPOSURE_ABSOLUTE), controls.limits(v4l2_controls.EXPOSURE_ABSOLUTE)
        if not usual or limits is None or controls.get(v4l2_controls.EXPOSURE_AUTO) != v4l2_controls.EXPOSURE.off:
            return
        self._usual_exposure = usual
        self.exposure_range = min(1.0, max(1, limits[0]) / usual), max(1.0, min(limits[1], self._most_exposure) / usual)

    def _mean_colour(self) -> Float64Array:
        """Mean red, green and blue of a frame that was taken after the last change of a control, 0..255."""
        for _ in range(self._settled_frames):
            frame = self.read(self._stale_s)
        return np.asarray(frame.pixels.mean(axis=(0, 1)))

    def _time_of_exposure(self, now_s: float) -> float:
        """The time stamp of the frame grabbed last. uvcvideo and Unicam use the monotonic clock; some drivers have no stamps."""
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._has_stamps is None:
            self._has_stamps = stamp_s > 0 and abs(now_s - stamp_s) < SAME_CLOCK_S
        return stamp_s if self._has_stamps else now_s

    @property
    def _format(self) -> str:
        """Four letters for the format in which the driver sends frames, such as MJPG or YUYV; empty if unknown."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) & 0x7FFFFFFF  # the highest bit means big-endian
        return code.to_bytes(4, "little").decode("ascii", "replace").strip("\0")

    def _decode(self) -> Pixels | None:
        if self._sends_jpeg:
            (found, picture), is_damaged = jpeg_damage.decode(self._capture.retrieve)
        else:
            (found, picture), is_damaged = self._capture.retrieve(), False
        if not found or picture is None or picture.ndim != 3 or is_damaged or jpeg_damage.lacks_its_end(np.asarray(picture, np.uint8)):
            self.damaged += 1
            return None
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
