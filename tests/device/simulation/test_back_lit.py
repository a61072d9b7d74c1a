"""A lamp behind the item: more light in the view than eight bits hold, a sensor that clips and has noise, and a camera that follows late."""

import time

import numpy as np
import pytest

from device.cameras import AdjustableSource
from device.cameras.camera_thread import CameraThread
from device.simulation.bin import CONTROL_DELAY, EXPOSURE_RANGE, Scenario, VirtualBin, VirtualCamera
from device.simulation.items import VirtualItem, shipped_items
from device.simulation.sensor import FULL_WELL, LONGEST_TIME, READ_NOISE, VirtualSensor, to_counts, to_linear
from device.simulation.tray_renderer import Pose, TrayRenderer

MIDDLE = slice(220, 260), slice(300, 340)


@pytest.fixture(scope="module")
def carton() -> VirtualItem:
    return next(item for item in shipped_items() if item.label == "cardboard")


def test_an_item_against_the_light_is_black_until_exposed_for(carton: VirtualItem) -> None:
    tray = TrayRenderer(np.random.default_rng(0), back_lit=30)
    tray.lay(carton)
    usual, longer = (tray.picture(Pose(0.5, 0.5, 0.0), 0.0, exposure) for exposure in (1.0, 20.0))
    assert usual[MIDDLE].max() < 50 and usual[5:40, 5:40].mean() > 120
    assert longer[MIDDLE].mean() > 100 and longer[MIDDLE].std() > 2 * usual[MIDDLE].std()
    assert longer[5:40, 5:40].min() == 255, "the ground is clipped meanwhile"


def test_without_a_lamp_behind_nothing_has_changed(carton: VirtualItem) -> None:
    plain, same = (TrayRenderer(np.random.default_rng(3), *more) for more in ((), (1.0,)))
    for tray in (plain, same):
        tray.lay(carton)
    pose = Pose(0.5, 0.5, 10.0)
    np.testing.assert_array_equal(plain.picture(pose, 0.0, 1.0), same.picture(pose, 0.0, 1.0))


def test_noise_and_clipping_are_those_of_electrons() -> None:
    light = np.full((100, 100, 3), 0.01, np.float32)
    sensor = VirtualSensor(np.random.default_rng(0), 100, 100)
    seen = to_linear(sensor.picture(light, 10.0).astype(np.float32))
    assert seen.mean() == pytest.approx(0.1, rel=0.03)
    assert seen.std() == pytest.approx(np.sqrt(0.1 * FULL_WELL + READ_NOISE**2) / FULL_WELL, rel=0.25)
    by_gain = to_linear(sensor.picture(light / 4, 4 * LONGEST_TIME).astype(np.float32))
    assert by_gain.mean() == pytest.approx(0.16, rel=0.05)
    assert by_gain.std() > 1.8 * to_linear(sensor.picture(light, LONGEST_TIME).astype(np.float32)).std(), "gain adds no light"
    assert sensor.picture(light, 200.0).min() == 255


def test_the_curve_and_its_inverse_fit() -> None:
    counts = np.arange(256, dtype=np.float32)
    np.testing.assert_allclose(to_counts(to_linear(counts)), counts, atol=0.02)


def test_the_virtual_camera_follows_some_frames_later_and_tells() -> None:
    camera = VirtualCamera(VirtualBin([], [], Scenario(back_lit=30)), lambda: 0.0)
    assert isinstance(camera, AdjustableSource) and camera.exposure_range == EXPOSURE_RANGE
    camera.set_exposure(0.25)
    frames = [camera.read(0.0) for _ in range(CONTROL_DELAY + 2)]
    assert [frame.exposure for frame in frames] == [1.0] * CONTROL_DELAY + [0.25] * 2
    assert frames[-1].pixels.mean() < 0.7 * frames[0].pixels.mean()


def test_it_is_asked_through_the_camera_thread(carton: VirtualItem) -> None:
    bin_ = VirtualBin([], [carton], Scenario(may_begin=lambda: False))
    with CameraThread(lambda: VirtualCamera(bin_, time.monotonic, fps=1000.0)) as camera:
        frame = camera.latest(0, 20.0)
        assert camera.ask_exposure(1000.0, 10**9) == EXPOSURE_RANGE[1]
        while frame is not None and frame.exposure == 1.0:
            frame = camera.latest(frame.number, 20.0)
        assert frame is not None and frame.exposure == EXPOSURE_RANGE[1]
