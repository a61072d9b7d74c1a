"""Whole and isolated views of a photo."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from converter.data.isolated_view import can_be_isolated, isolated_view, whole_view
from converter.data.photos import Photo, PhotosError
from device.vision.inference.ground import Ground

DARK = (40, 45, 50)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    """A blue box on dark ground, with its mask."""
    pixels = np.full((90, 120, 3), DARK, np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    cv2.rectangle(pixels, (30, 20), (69, 59), (20, 60, 200), -1)
    cv2.rectangle(mask, (30, 20), (69, 59), 255, -1)
    for name, drawn in (("box.png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)), ("mask.png", mask)):
        assert cv2.imwrite(str(tmp_path / name), drawn)
    return Photo("box/box.png", "box", tmp_path / "box.png", tmp_path / "mask.png")


@pytest.mark.parametrize(("painted", "round_it"), [(0.0, DARK), (1.0, (216, 100, 8)), (0.5, (128, 72, 29))])
def test_the_isolated_item_is_centred_on_the_given_ground(photo: Photo, painted: float, round_it: tuple[int, ...]) -> None:
    shown = isolated_view(photo, Ground((216, 100, 8), painted))
    side = shown.shape[0]
    assert shown.shape == (side, side, 3) and 48 < side < 56
    np.testing.assert_allclose(shown[[0, -1], [0, -1]], [round_it] * 2, atol=1)
    assert tuple(shown[side // 2, side // 2]) == (20, 60, 200)
    assert can_be_isolated(photo)


def test_a_mask_of_another_size_is_resized(photo: Photo) -> None:
    mask = cv2.imread(str(photo.mask), cv2.IMREAD_GRAYSCALE)
    before = isolated_view(photo)
    assert cv2.imwrite(str(photo.mask), cv2.resize(mask, (240, 180), interpolation=cv2.INTER_NEAREST))
    np.testing.assert_array_equal(isolated_view(photo), before)


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_without_item_or_without_ground_leaves_the_photo_whole(photo: Photo, value: int) -> None:
    assert cv2.imwrite(str(photo.mask), np.full((90, 120), value, np.uint8))
    np.testing.assert_array_equal(isolated_view(photo), whole_view(photo))
    assert not can_be_isolated(photo)


def test_without_a_mask_the_item_is_found_on_light_card(photo: Photo) -> None:
    dark = Photo(photo.name, photo.label, photo.path)
    assert not can_be_isolated(dark)
    pixels = cv2.imread(str(photo.path))
    pixels[(pixels == DARK[::-1]).all(axis=2)] = 220
    assert cv2.imwrite(str(photo.path), pixels)
    assert can_be_isolated(dark)
    assert tuple(isolated_view(dark, Ground((1, 2, 3), 1.0))[0, 0]) == (1, 2, 3)


def test_a_missing_mask_is_named(photo: Photo) -> None:
    photo.mask.unlink()
    with pytest.raises(PhotosError, match=r"mask\.png"):
        isolated_view(photo)
