"""The camera that the settings name."""

from device.cameras import Source
from device.cameras.camera_thread import CameraThread
from device.cameras.frozen_picture import FrozenPicture
from device.cameras.settings import CameraSettings, Picamera2Settings, ReplaySettings, V4l2Settings


def open_source(settings: CameraSettings, frozen: FrozenPicture | None = None) -> Source:
    """Open the camera itself. Raises CameraError, saying what to do. Only the chosen driver is imported.

    frozen: what sees that the picture stands still, where the camera was opened before.
    """
    match settings:
        case Picamera2Settings():
            from device.cameras.picamera import Picamera2Source

            return Picamera2Source(settings, frozen)
        case V4l2Settings():
            from device.cameras.v4l2 import V4l2Source

            return V4l2Source(settings, frozen)
        case ReplaySettings():
            from device.cameras.replay import ReplaySource

            return ReplaySource(settings)


def open_camera(settings: CameraSettings) -> CameraThread:
    """Open it in a thread that keeps it going. Returns at once; while the camera cannot be opened, `last_error` says why."""
    frozen = None if isinstance(settings, ReplaySettings) else FrozenPicture(settings.name, settings.frozen_s)
    return CameraThread(
        lambda: open_source(settings, frozen),
        rotate_deg=settings.rotate_deg,
        region=settings.region,
        stale_s=settings.stale_s,
        hang_s=settings.hang_s,
    )
