"""A webcam through V4L2 and OpenCV. Its answers are not taken at their word: time stamps and pixels say whether a picture is new."""

import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from device.cameras import CameraError, Frame, damage
from device.cameras.frozen import FrozenPicture
from device.cameras.settings import V4l2Settings
from device.vision.preprocess import Pixels

log = logging.getLogger(__name__)

SAME_CLOCK_S = 5.0
RETRY_S = 0.005
JPEGS = ("MJPG", "JPEG")


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802 (OpenCV's name)

    def set(self, propId: int, value: float) -> bool: ...  # noqa: N803 (OpenCV's name)

    def get(self, propId: int) -> float: ...  # noqa: N803 (OpenCV's name)

    def grab(self) -> bool: ...

    def retrieve(self) -> tuple[bool, "cv2.typing.MatLike"]: ...

    def release(self) -> None: ...


def open_device(path: str) -> Capture:
    """Open /dev/videoN for capture. Raises CameraError when it does not exist, may not be opened, or is in use."""
    if not Path(path).exists():
        raise CameraError(f"camera {path}: no such device; plug the camera in, `ls /dev/v4l/by-id/` shows those that are there")
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(f"camera {path}: permission denied; add the user to the group `video`: sudo usermod -aG video $USER")
    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise CameraError(f"camera {path}: cannot be opened as a camera; another program may be using it (`fuser -v {path}`)")
    return capture


class V4l2Source:
    """Pictures of a webcam, at most `fps` a second; those in between are taken from the driver and thrown away undecoded.

    Pictures that lost bytes on their way are dropped and counted in `damaged`.

    OpenCV waits up to 10 s inside the driver whatever `wait_s` says, and longer if the driver hangs: read it through NewestFrame, which
    gives up a reader that does not come back. frozen: what sees that the picture stands still; one of its own where None.
    """

    def __init__(
        self,
        settings: V4l2Settings,
        frozen: FrozenPicture | None = None,
        *,
        open_capture: Callable[[str], Capture] = open_device,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = settings.name
        self._stale_s = settings.stale_s
        self._spacing_s = 0.75 / settings.fps
        self._clock = clock
        self._sleep = sleep
        self._frozen = frozen or FrozenPicture(settings.name, settings.frozen_s)
        self._number = 0
        self.damaged = 0
        self._taken_s = -math.inf
        self._has_stamps: bool | None = None
        self._capture = open_capture(settings.path)
        if settings.pixel_format:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.pixel_format))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        self._capture.set(cv2.CAP_PROP_FPS, settings.fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._sends_jpeg = settings.pixel_format in JPEGS or self._format in JPEGS
        size = tuple(int(self._capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if size != (settings.width, settings.height):
            log.warning("%s: gives %d x %d pixels instead of %d x %d", self._name, *size, settings.width, settings.height)

    def read(self, wait_s: float) -> Frame:
        """The next new picture. taken_s is the kernel's stamp where the driver stamps with the monotonic clock, else the time of arrival.

        Raises CameraError when the driver gives nothing, only old or broken pictures for `wait_s`, or the same one beyond `frozen_s`.
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
                cure = "try another USB port or a shorter cable" if self.damaged > damaged_before else "unplug it and plug it in again"
                raise CameraError(f"{self._name}: only old or broken pictures for {wait_s:g} s; {cure}")
        self._frozen.look(pixels, now_s)
        self._taken_s = taken_s
        self._number += 1
        return Frame(pixels, self._number, taken_s)

    def close(self) -> None:
        try:
            self._capture.release()
        except cv2.error as error:
            log.warning("%s: %s", self._name, error)

    def _time_of_exposure(self, now_s: float) -> float:
        """The driver's stamp of the picture grabbed last. uvcvideo and Unicam stamp with the monotonic clock, some drivers do not stamp."""
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._has_stamps is None:
            self._has_stamps = stamp_s > 0 and abs(now_s - stamp_s) < SAME_CLOCK_S
        return stamp_s if self._has_stamps else now_s

    @property
    def _format(self) -> str:
        """The four letters of how the driver sends pictures, as MJPG or YUYV; empty where it does not say."""
        return int(self._capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("ascii", "replace").strip("\0")

    def _decode(self) -> Pixels | None:
        if self._sends_jpeg:
            (found, picture), is_damaged = damage.decode(self._capture.retrieve)
        else:
            (found, picture), is_damaged = self._capture.retrieve(), False
        if not found or picture is None or picture.ndim != 3 or is_damaged or damage.lacks_its_end(np.asarray(picture, np.uint8)):
            self.damaged += 1
            return None
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
