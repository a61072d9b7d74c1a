"""The kinds of camera. A new one is one file beside this one, and its settings here."""

from device.cameras.picamera import Picamera2Settings
from device.cameras.replay import ReplaySettings
from device.cameras.v4l2 import V4l2Settings

CameraSettings = Picamera2Settings | V4l2Settings | ReplaySettings
"""The table `[camera]`: its key `kind` chooses one of these."""
