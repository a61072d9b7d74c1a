"""`capture`: publish what the camera sees."""

import cv2

from device.remote import Refused, RemoteCommand, Steps
from device.remote.background import in_background
from device.remote.controls import BinControls
from device.vision.inference.preprocess import Pixels

LONGEST_SIDE = 1280
"""pixels; larger frames are made smaller"""
QUALITIES = (85, 70, 50, 30)
MOST_BYTES = 256 * 1024
OLDEST_S = 5.0


class CapturePicture(RemoteCommand, frozen=True, kw_only=True):
    """Publish what the camera sees now as a JPEG on `image/last`. Needs `images = true` below [mqtt] in the bin's settings."""

    name = "capture"

    def carry_out(self, bin_: BinControls) -> Steps:
        """The newest frame, at whatever exposure it was taken."""
        if bin_.publish_image is None:
            raise Refused("off", "pictures are not published: set images = true below [mqtt]")
        frame = bin_.newest_frame()
        now_s = yield
        if frame is None or now_s - frame.taken_s > OLDEST_S:
            raise Refused("not_now", "the camera gives no frame")
        pixels = frame.pixels
        jpeg = yield from in_background(lambda: as_jpeg(pixels), "capture")
        bin_.publish_image(jpeg)
        return f"published {len(jpeg)} bytes on image/last"


def as_jpeg(pixels: Pixels) -> bytes:
    """A frame (H x W x 3 uint8 RGB) as a JPEG of at most MOST_BYTES. Raises Refused where even the least quality is longer."""
    scale = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if scale < 1.0:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for quality in QUALITIES:
        done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and len(encoded) <= MOST_BYTES:
            return encoded.tobytes()
    raise Refused("failed", f"a JPEG of this frame takes more than {MOST_BYTES} bytes")
