"""Pictures that are dark all over are brightened; others stay unchanged. An item that is black or white all over needs another exposure."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device.simulation.sensor import to_linear
from device.vision.inference.ground import Ground
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.exposure import BRIGHT_ENOUGH, MOST_GAIN, UNMETERED, WELL_EXPOSED, brighten_dark, exposure_change, item_light
from device.vision.isolation.isolate import paint

BARE = Ground((216, 216, 216), 0.0)


def chequers(low: int, high: int) -> np.ndarray:
    cells = (np.indices((12, 12)).sum(axis=0) % 2)[..., np.newaxis]
    return np.where(cells.repeat(20, 0).repeat(20, 1), high, low).astype(np.uint8).repeat(3, 2)


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_nothing_gets_darker_and_black_stays_black(picture: np.ndarray) -> None:
    after = brighten_dark(picture)
    assert after.shape == picture.shape and after.dtype == np.uint8
    assert (after >= picture).all()
    assert not after[picture == 0].any()


def test_a_dark_picture_is_brightened_and_keeps_its_colours() -> None:
    dark = chequers(20, 80) * np.array([1.0, 0.5, 0.25])
    after = brighten_dark(dark.astype(np.uint8))
    assert after.max() == BRIGHT_ENOUGH
    np.testing.assert_allclose(after, dark * 2, atol=2)


def test_the_gain_is_limited() -> None:
    np.testing.assert_array_equal(brighten_dark(chequers(2, 9)), np.rint(chequers(2, 9) * MOST_GAIN))


@pytest.mark.parametrize("lit", ["pale ground", "a window", "a glint"])
def test_a_picture_with_a_bright_part_is_unchanged(lit: str) -> None:
    picture = chequers(10, 40)
    if lit == "pale ground":
        picture[picture > 20] = 200
    elif lit == "a window":
        picture[:60] = 255
    else:
        cv2.circle(picture, (120, 120), 24, (240, 240, 240), -1)
    np.testing.assert_array_equal(brighten_dark(picture), picture)


def test_brightening_looks_only_at_the_item_and_its_surroundings() -> None:
    frame = np.full((240, 320, 3), 12, np.uint8)
    frame[:, 250:] = 255
    frame[90:150, 60:120] = (20, 40, 60)
    mask = np.zeros((240, 320), np.uint8)
    mask[90:150, 60:120] = 255
    shown = paint(frame, mask, BARE)
    np.testing.assert_array_equal(shown[shown.shape[0] // 2, shown.shape[1] // 2], [53, 107, 160])


def lit(level: int, share: float = 1.0) -> tuple[Pixels, Pixels]:
    """An item of which that share is this bright, and the rest black, on pale ground; and its mask."""
    pixels, mask = np.full((96, 128, 3), 220, np.uint8), np.zeros((96, 128), np.uint8)
    mask[20:60, 30:90] = 255
    pixels[20:60, 30:90] = 0
    pixels[20:60, 30 : 30 + round(60 * share)] = level
    return pixels, mask


@pytest.mark.parametrize(("level", "share"), [(115, 1.0), (130, 0.5), (255, 0.15), (235, 1.0), (255, 0.4)])
def test_a_well_exposed_item_needs_no_other_exposure(level: int, share: float) -> None:
    assert exposure_change(*lit(level, share)) == 1.0


@pytest.mark.parametrize("level", [8, 20, 50, 100])
def test_a_black_item_is_exposed_until_it_is_pale(level: int) -> None:
    pixels, mask = lit(level)
    light = to_linear(np.array([level, WELL_EXPOSED], np.float32))
    assert exposure_change(pixels, mask) == pytest.approx(light[1] / light[0], rel=0.01)
    assert item_light(pixels, mask) == pytest.approx(light[0], rel=0.01)


@pytest.mark.parametrize(("level", "change"), [(0, UNMETERED), (3, UNMETERED), (255, 1 / UNMETERED)])
def test_what_cannot_be_metered_is_tried(level: int, change: float) -> None:
    assert exposure_change(*lit(level)) == change


def test_a_mask_of_a_few_pixels_is_not_metered() -> None:
    pixels, mask = lit(0)
    mask[:] = 0
    assert exposure_change(pixels, mask) == 1.0 and item_light(pixels, mask) == 1.0
    mask[30, 40] = 255
    assert exposure_change(pixels, mask) == 1.0
