"""Detects a camera that repeats one picture. Drivers may report success with an old buffer, so only the pixels tell."""

import zlib

from device.cameras import CameraError
from device.vision.inference.preprocess import Pixels

ROW_STEP = 4


class FrozenPicture:
    """Checks by every fourth row that a camera's picture changes. A live sensor always has noise.

    name: the camera, for the message. limit_s: how long a picture may stay the same to the last bit; 0: for ever. All sources that are opened on a
    camera share one checker, so that a frozen picture still counts as frozen after the camera was opened again.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._checksum = -1
        self._since_s = 0.0

    def check(self, pixels: Pixels, now_s: float) -> None:
        """Check a picture, H x W x 3 uint8. Raises CameraError when it has been the same for too long."""
        checksum = zlib.crc32(pixels[::ROW_STEP].tobytes())
        if checksum != self._checksum:
            self._checksum, self._since_s = checksum, now_s
        if self._limit_s and now_s - self._since_s > self._limit_s:
            raise CameraError(
                f"{self._name}: the same picture to the last bit for {self._limit_s:g} s; is the lens covered or the light off? "
                "Else plug the camera in again"
            )
