import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.inference.preprocess import halve_repeatedly, to_float, to_input


@settings(max_examples=60)
@given(height=st.integers(1, 700), width=st.integers(1, 700), size=st.integers(1, 64), colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_plain_picture_of_any_size_stays_plain(height: int, width: int, size: int, colour: tuple[int, int, int]) -> None:
    found = to_input(np.full((height, width, 3), colour, np.uint8), size)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((size, size, 3), np.uint8, True)
    np.testing.assert_array_equal(found, np.full((size, size, 3), colour, np.uint8))


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_input(pixels, 32), pixels)
    np.testing.assert_array_equal(to_input(pixels[:, ::-1], 32), pixels[:, ::-1])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 32), (128, 256), (480, 640)])
def test_a_fine_pattern_turns_grey_without_aliasing(height: int, width: int) -> None:
    rows, columns = np.indices((height, width))
    board = np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[:, :, np.newaxis], 3, axis=2)
    found = to_input(board, 32).astype(int)
    assert np.abs(found - 127).max() <= 2


def test_halving_averages_neighbours() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mean = pixels.astype(float).reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(to_input(pixels, 32), mean, atol=0.5)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (384, 512), (377, 451), (960, 1280)])
def test_shrinking_is_close_to_area_averaging(height: int, width: int) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    pixels = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    exact = cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA)
    assert np.abs(to_input(pixels, 224).astype(int) - exact).mean() < 8


def test_the_whole_frame_is_kept() -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[:, :320, 0], pixels[240:, :, 2] = 255, 255
    found = to_input(pixels, 224)
    assert [found[y, x].tolist() for y, x in ((5, 5), (5, 218), (218, 5), (218, 218))] == [
        [255, 0, 0],
        [0, 0, 0],
        [255, 0, 255],
        [0, 0, 255],
    ]


@pytest.mark.parametrize(
    ("size", "expected"), [((480, 640), (60, 80)), ((720, 1280), (90, 160)), ((119, 400), (119, 400)), ((1, 1), (1, 1)), ((121, 161), (60, 80))]
)
def test_a_picture_is_halved_while_both_sides_are_twice_too_long(size: tuple[int, int], expected: tuple[int, int]) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    found = halve_repeatedly(pixels, 80, 60)
    assert found.shape == (*expected, 3)
    exact = cv2.resize(pixels, found.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - exact).max() <= 2


def test_bytes_span_minus_one_to_one() -> None:
    found = to_float(np.array([[[0, 127, 255]]], np.uint8))
    np.testing.assert_allclose(found, [[[-1, -0.5 / 127.5, 1]]], atol=1e-6)
    assert found.dtype == np.float32
