"""What a cheap camera makes of light."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.render.sensor import Sensor, develop, gain, jpeg

QUIET = Sensor(vignetting=0, flare=0, blur_px=0, noise=0, sharpening=0)
ONES = (1.0, 1.0, 1.0)


def shown(light, sensor=QUIET, exposure=1.0, gains=ONES, size=(32, 24), seed=0):
    return develop(np.asarray(light, np.float32), sensor, exposure, gains, size, np.random.default_rng(seed))


def flat(level, size=(32, 24)):
    return np.full((size[1], size[0], 3), level, np.float32)


@settings(max_examples=40)
@given(st.floats(1e-4, 1e4))
def test_metering_makes_any_scene_as_bright_as_the_camera_wants_it(level):
    scene = flat(level) * np.linspace(0.8, 1.2, 32, dtype=np.float32)[None, :, None]
    wanted = Sensor(brightness=0.25)
    assert scene.mean() * gain(scene, wanted) == pytest.approx(0.25, rel=0.1)


def test_more_light_is_never_darker_and_a_shoulder_keeps_highlights_apart():
    ramp = np.repeat(np.linspace(0, 3, 32, dtype=np.float32)[None, :, None], 24, axis=0).repeat(3, axis=2)
    for sensor in (QUIET, Sensor(shoulder=False, vignetting=0, flare=0, blur_px=0, noise=0, sharpening=0)):
        assert (np.diff(shown(ramp, sensor)[0, :, 0].astype(int)) >= 0).all()
    assert shown(ramp)[0, 30, 0] > shown(ramp)[0, 20, 0]


def test_white_balance_and_drift_tint_a_grey():
    r, g, b = shown(flat(0.2), Sensor(white=(1.3, 1.0, 0.8), vignetting=0, flare=0, blur_px=0, noise=0, sharpening=0))[12, 16]
    assert r > g > b
    assert (shown(flat(0.2), gains=(1.2, 1.2, 1.2)) > shown(flat(0.2))).all()


def test_vignetting_darkens_corners_only():
    dark = shown(flat(0.3), Sensor(vignetting=0.4, flare=0, blur_px=0, noise=0, sharpening=0))
    assert dark[0, 0, 0] < dark[12, 16, 0] == shown(flat(0.3))[12, 16, 0]


def test_noise_comes_only_from_the_generator_and_grows_with_its_level():
    noisy = Sensor(noise=2e-3, vignetting=0, flare=0, blur_px=0, sharpening=0)
    assert (shown(flat(0.2), noisy, seed=1) == shown(flat(0.2), noisy, seed=1)).all()
    assert (shown(flat(0.2), noisy, seed=1) != shown(flat(0.2), noisy, seed=2)).any()
    noisier = Sensor(noise=8e-3, vignetting=0, flare=0, blur_px=0, sharpening=0)
    assert shown(flat(0.2), noisier).std() > 1.5 * shown(flat(0.2), noisy).std() > 0


def test_an_automatic_exposure_follows_a_change_part_of_the_way():
    half = Sensor(brightness=0.2, auto=0.5, vignetting=0, flare=0, blur_px=0, noise=0, sharpening=0)
    fixed = Sensor(brightness=0.2, vignetting=0, flare=0, blur_px=0, noise=0, sharpening=0)
    metered = gain(flat(0.2), half)
    brighter = flat(0.4)
    assert shown(flat(0.2), half, metered)[0, 0, 0] == shown(flat(0.2), fixed, metered)[0, 0, 0]
    assert shown(flat(0.2), fixed, metered)[0, 0, 0] < shown(brighter, half, metered)[0, 0, 0] < shown(brighter, fixed, metered)[0, 0, 0]


def test_a_smaller_tracing_is_enlarged_to_the_size_asked_for():
    assert shown(flat(0.2, (16, 12)), size=(64, 48)).shape == (48, 64, 3)


def test_a_jpeg_keeps_the_order_of_colours():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    blue, green, back = cv2.imdecode(np.frombuffer(jpeg(red, 95), np.uint8), cv2.IMREAD_COLOR)[8, 8]
    assert back > 150 and max(blue, green) < 40
