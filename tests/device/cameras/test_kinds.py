"""Each kind of camera, opened as the daemon does."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cameras import CameraError, EndOfFrames
from device.cameras.camera_thread import open_camera
from device.cameras.picamera import Picamera2Settings
from device.cameras.replay import ReplaySettings
from device.cameras.settings import Region
from device.cameras.v4l2 import V4l2Settings


def test_a_replayed_folder_is_rotated_and_cropped(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, 32:] = 255
    cv2.imencode(".png", picture)[1].tofile(tmp_path / "1.png")
    settings = ReplaySettings(path=str(tmp_path), width=64, height=48, fps=100, hold_s=0.05, loop=False, rotate_deg=180, region=Region(w=0.5))
    with open_camera(settings) as camera:
        frame = camera.latest(0, 20.0)
        assert frame is not None
        assert frame.pixels.shape == (48, 32, 3)
        assert frame.pixels.min() == 255
        number = frame.number
        with pytest.raises(EndOfFrames):
            while True:
                frame = camera.latest(number, 20.0)
                assert frame is not None
                number = frame.number


def test_a_missing_camera_is_reported_in_last_error(tmp_path: Path) -> None:
    with open_camera(V4l2Settings(device=str(tmp_path / "video0"))) as camera:
        assert camera.latest(0, 0.3) is None
        assert "no such device" in str(camera.last_error)


def test_the_opener_raises_camera_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(CameraError, match="picamera2"):
        Picamera2Settings().opener()()


def test_another_camera_does_not_import_picamera2(tmp_path: Path) -> None:
    cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tofile(tmp_path / "1.png")
    program = (
        "import sys\n"
        "from device.cameras.kinds import CameraSettings\n"
        "from device.cameras.replay import ReplaySettings\n"
        f"ReplaySettings(path={str(tmp_path)!r}).opener()().read(1.0)\n"
        "print('picamera2' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
