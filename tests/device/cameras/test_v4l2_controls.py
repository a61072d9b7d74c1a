"""The controls of a webcam, with a fake driver that answers requests as uvcvideo does, and compared with the kernel's header."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from device.cameras import v4l2_controls as v4l2
from device.cameras.v4l2_controls import AUTOMATICS, EXPOSURE, Controls, enable_automatics, lock
from tests.device.cameras.webcam import Webcam

HEADER = Path("/usr/include/linux/videodev2.h")
NAMES = {
    "VIDIOC_QUERYCAP": v4l2.QUERYCAP,
    "VIDIOC_QUERYCTRL": v4l2.QUERYCTRL,
    "VIDIOC_G_CTRL": v4l2.G_CTRL,
    "VIDIOC_S_CTRL": v4l2.S_CTRL,
    "sizeof(struct v4l2_capability)": v4l2.CAPABILITY.size,
    "sizeof(struct v4l2_control)": v4l2.CONTROL.size,
    "sizeof(struct v4l2_queryctrl)": v4l2.CONTROL_LIMITS.size,
    "V4L2_CAP_VIDEO_CAPTURE": v4l2.CAPTURES,
    "V4L2_CAP_DEVICE_CAPS": v4l2.HAS_DEVICE_CAPS,
    "V4L2_CID_EXPOSURE_AUTO": v4l2.EXPOSURE_AUTO,
    "V4L2_CID_EXPOSURE_ABSOLUTE": v4l2.EXPOSURE_ABSOLUTE,
    "V4L2_CID_FOCUS_AUTO": v4l2.FOCUS_AUTO,
    "V4L2_CID_FOCUS_ABSOLUTE": v4l2.FOCUS_ABSOLUTE,
    "V4L2_CID_AUTOGAIN": v4l2.AUTOGAIN,
    "V4L2_CID_GAIN": v4l2.GAIN,
    "V4L2_CID_AUTO_WHITE_BALANCE": v4l2.AUTO_WHITE_BALANCE,
    "V4L2_CID_WHITE_BALANCE_TEMPERATURE": v4l2.WHITE_BALANCE_TEMPERATURE,
    "V4L2_EXPOSURE_MANUAL": EXPOSURE.off,
    "V4L2_EXPOSURE_APERTURE_PRIORITY": EXPOSURE.on[0],
    "V4L2_EXPOSURE_AUTO": EXPOSURE.on[1],
    "V4L2_EXPOSURE_SHUTTER_PRIORITY": EXPOSURE.on[2],
}


@pytest.fixture
def webcam() -> Webcam:
    return Webcam()


@pytest.fixture
def controls(webcam: Webcam, tmp_path: Path) -> Controls:
    (tmp_path / "video0").write_bytes(b"")
    return Controls(str(tmp_path / "video0"), webcam.request)


@pytest.mark.skipif(shutil.which("cc") is None or not HEADER.exists(), reason="needs cc and linux/videodev2.h")
def test_the_constants_are_those_of_the_kernel_header(tmp_path: Path) -> None:
    lines = "".join(f'printf("%lu\\n", (unsigned long)({name}));\n' for name in NAMES)
    (tmp_path / "numbers.c").write_text(f"#include <stdio.h>\n#include <linux/videodev2.h>\nint main(void) {{\n{lines}return 0;\n}}\n")
    subprocess.run(["cc", tmp_path / "numbers.c", "-o", tmp_path / "numbers"], check=True, timeout=60)
    told = subprocess.run([tmp_path / "numbers"], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert dict(zip(NAMES, map(int, told), strict=True)) == NAMES


def test_a_device_reports_its_name_and_whether_it_is_a_camera(controls: Controls, webcam: Webcam) -> None:
    assert controls.card() == "HD Pro Webcam C920"
    webcam.own_capabilities = 0x00A00000 | 0x04000000
    assert controls.card() is None, "the second file of a webcam delivers only metadata"


def test_a_file_that_is_no_video_device_has_no_controls(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    controls = Controls(str(tmp_path / "video0"))
    assert controls.card() is None
    assert controls.get(v4l2.GAIN) is None
    assert not controls.set(v4l2.GAIN, 1)
    assert enable_automatics(controls) == []
    controls.close()
    controls.close()
    assert controls.get(v4l2.GAIN) is None


def test_the_limits_of_a_control_are_read(controls: Controls, webcam: Webcam) -> None:
    assert controls.limits(v4l2.EXPOSURE_ABSOLUTE) == (3, 2047)
    webcam.exposure_limits = None
    assert controls.limits(v4l2.EXPOSURE_ABSOLUTE) is None


def test_locked_exposure_and_white_balance_keep_their_values(controls: Controls, webcam: Webcam) -> None:
    freed = enable_automatics(controls)
    assert [automatic.name for automatic in freed] == ["exposure", "white balance"]
    before = webcam.means()
    assert lock(controls, freed, webcam.means) == []
    assert webcam.values[v4l2.EXPOSURE_AUTO] == 1
    assert webcam.values[v4l2.AUTO_WHITE_BALANCE] == 0
    webcam.light *= 0.5
    assert webcam.means() == pytest.approx(0.5 * before, abs=1), "half the light is half as bright in the same colour"
    webcam.light, webcam.lamp_kelvin = webcam.light * 2, 3000
    assert webcam.means()[2] < 0.9 * before[2]


@pytest.mark.parametrize("forgotten", [1, 40, 2000])
def test_a_forgotten_exposure_is_searched_again(controls: Controls, webcam: Webcam, forgotten: int) -> None:
    webcam.tells_exposure, webcam.manual_exposure = False, forgotten
    before = webcam.means()
    assert lock(controls, enable_automatics(controls), webcam.means) == []
    assert webcam.means() == pytest.approx(before, rel=0.12)
    assert webcam.values[v4l2.EXPOSURE_AUTO] == 1


def test_what_cannot_be_locked_stays_automatic_and_is_returned(controls: Controls, webcam: Webcam) -> None:
    webcam.manual_kelvin = 2800
    webcam.refuses = {v4l2.WHITE_BALANCE_TEMPERATURE}
    webcam.tells_kelvin = False
    assert [automatic.name for automatic in lock(controls, enable_automatics(controls), webcam.means)] == ["white balance"]
    assert webcam.values[v4l2.AUTO_WHITE_BALANCE] == 1
    assert webcam.values[v4l2.EXPOSURE_AUTO] == 1, "the other one is locked"


def test_a_camera_that_refuses_all_is_not_changed(controls: Controls, webcam: Webcam) -> None:
    webcam.refuses = {automatic.mode for automatic in AUTOMATICS}
    before = dict(webcam.values)
    assert len(lock(controls, enable_automatics(controls), webcam.means)) == 2
    assert webcam.values == before


def test_locks_of_an_earlier_program_are_undone(controls: Controls, webcam: Webcam) -> None:
    webcam.values |= {v4l2.EXPOSURE_AUTO: 1, v4l2.AUTO_WHITE_BALANCE: 0}
    assert len(enable_automatics(controls)) == 2
    assert webcam.values[v4l2.EXPOSURE_AUTO] == 3
    assert webcam.values[v4l2.AUTO_WHITE_BALANCE] == 1


def test_a_camera_with_only_full_automatic_is_unlocked_too(controls: Controls, webcam: Webcam) -> None:
    webcam.exposure_menu = {0, 1}
    webcam.values[v4l2.EXPOSURE_AUTO] = 1
    assert EXPOSURE in enable_automatics(controls)
    assert webcam.values[v4l2.EXPOSURE_AUTO] == 0


def test_noise_in_the_dark_is_no_difference(controls: Controls, webcam: Webcam) -> None:
    webcam.light = 1e-6
    noise = iter(np.random.default_rng(0).normal(1.5, 0.5, (100, 3)))
    assert lock(controls, enable_automatics(controls), lambda: next(noise)) == []
