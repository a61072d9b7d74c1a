"""Test-time augmentation: crops that all show the item and all differ."""

import numpy as np
import pytest

from device.vision.inference.ground import Ground
from device.vision.isolation.isolate import Isolated, paint, whole_frame
from device.vision.isolation.tta import FRAME_CROPS, ITEM_CROPS, NEARER, TEACHING_CROPS, teaching_crops, tta_crop, tta_crops

BARE = Ground((216, 216, 216), 0.0)


@pytest.fixture
def frame() -> np.ndarray:
    """Red encodes a pixel's column, green its row; blue is bright."""
    return np.dstack([*np.meshgrid(np.arange(160), np.arange(120)), np.full((120, 160), 200)]).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 50:100] = 255
    return mask


@pytest.fixture
def item(frame: np.ndarray, mask: np.ndarray) -> Isolated:
    return Isolated(True, "", mask, (50, 40, 100, 80), paint(frame, mask, BARE))


@pytest.fixture
def nothing(frame: np.ndarray) -> Isolated:
    return whole_frame(frame, "nothing differs")


def test_the_first_crop_is_the_isolated_picture_and_crops_repeat(frame: np.ndarray, item: Isolated) -> None:
    np.testing.assert_array_equal(tta_crop(frame, item, BARE, 0), item.picture)
    for number in range(len(ITEM_CROPS)):
        np.testing.assert_array_equal(tta_crop(frame, item, BARE, number), tta_crop(frame, item, BARE, number + len(ITEM_CROPS)))


def test_crops_differ_and_all_show_the_whole_item(frame: np.ndarray, item: Isolated) -> None:
    seen = tta_crops(frame, item, BARE)
    for picture, (_, mirrored) in zip(seen, ITEM_CROPS, strict=True):
        columns, rows = picture[..., 0].astype(int), picture[..., 1].astype(int)
        assert columns.min() <= 50 and columns.max() >= 99 and rows.min() <= 40 and rows.max() >= 79
        assert (np.diff(columns[0]) == (-1 if mirrored else 1)).all()
    assert len({picture.tobytes() for picture in seen}) == len(ITEM_CROPS)


def test_successive_crops_differ_in_margin_and_mirroring() -> None:
    for one, other in zip(ITEM_CROPS, [*ITEM_CROPS[1:], ITEM_CROPS[0]], strict=True):
        assert one[0] != other[0] and one[1] != other[1]


def test_without_an_item_crops_are_the_frame_and_its_middle(frame: np.ndarray, nothing: Isolated) -> None:
    whole, middle, nearer = tta_crops(frame, nothing, BARE)
    assert whole is frame
    np.testing.assert_array_equal(middle, frame[:, 20:140][:, ::-1])
    side = round(120 * NEARER)
    np.testing.assert_array_equal(nearer, frame[18 : 18 + side, 38 : 38 + side])
    np.testing.assert_array_equal(tta_crop(frame, nothing, BARE, len(FRAME_CROPS) + 1), middle)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_the_smallest_frame_has_middle_crops(size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    assert all(picture.size for picture in tta_crops(frame, whole_frame(frame, "nothing differs"), BARE))


def test_teaching_uses_the_first_crops(frame: np.ndarray, item: Isolated, nothing: Isolated) -> None:
    views = teaching_crops(frame, item, BARE)
    for number, view in enumerate(views):
        np.testing.assert_array_equal(view, tta_crop(frame, item, BARE, number))
    assert len(views) == TEACHING_CROPS == len({margin for margin, _ in ITEM_CROPS[:TEACHING_CROPS]}), "each margin once"
    assert len(teaching_crops(frame, nothing, BARE)) == len(FRAME_CROPS)
