"""Test-time augmentation: crops that all show the item and all differ."""

import numpy as np
import pytest

from device.vision.inference.ground import Ground
from device.vision.isolation.isolate import Isolated, paint, whole_frame
from device.vision.isolation.tta import (
    BOTH_CROPS,
    FRAME_CROPS,
    ITEM_CROPS,
    MOST_VIEW_SHARE,
    NEARER,
    TEACHING_CROPS,
    crops_of,
    look_weights,
    take_look,
    take_looks,
    teaching_crops,
    view_share,
)

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


def sized(width: int, height: int) -> Isolated:
    """An item with a box of this size in a view of 160 x 120 pixels."""
    mask = np.zeros((120, 160), np.uint8)
    mask[:height, :width] = 255
    return Isolated(True, "", mask, (0, 0, width, height), mask)


@pytest.fixture
def nothing(frame: np.ndarray) -> Isolated:
    return whole_frame(frame, "nothing differs")


def test_the_first_look_is_the_isolated_picture_and_looks_repeat(frame: np.ndarray, item: Isolated) -> None:
    np.testing.assert_array_equal(take_look(frame, item, BARE, 0, ITEM_CROPS).picture, item.picture)
    for number in range(len(BOTH_CROPS)):
        first, again = (take_look(frame, item, BARE, place, BOTH_CROPS) for place in (number, number + len(BOTH_CROPS)))
        np.testing.assert_array_equal(first.picture, again.picture)


def test_crops_differ_and_all_show_the_whole_item(frame: np.ndarray, item: Isolated) -> None:
    seen = [look.picture for look in take_looks(frame, item, BARE, ITEM_CROPS)]
    for picture, (_, mirrored, _) in zip(seen, ITEM_CROPS, strict=True):
        columns, rows = picture[..., 0].astype(int), picture[..., 1].astype(int)
        assert columns.min() <= 50 and columns.max() >= 99 and rows.min() <= 40 and rows.max() >= 79
        assert (np.diff(columns[0]) == (-1 if mirrored else 1)).all()
    assert len({picture.tobytes() for picture in seen}) == len(ITEM_CROPS)


def test_successive_crops_differ_in_margin_and_mirroring() -> None:
    for one, other in zip(ITEM_CROPS, [*ITEM_CROPS[1:], ITEM_CROPS[0]], strict=True):
        assert one[0] != other[0] and one[1] != other[1]


def test_without_an_item_crops_are_the_frame_and_its_middle(frame: np.ndarray, nothing: Isolated) -> None:
    whole, middle, nearer = (look.picture for look in take_looks(frame, nothing, BARE, crops_of(nothing)))
    assert whole is frame
    np.testing.assert_array_equal(middle, frame[:, 20:140][:, ::-1])
    side = round(120 * NEARER)
    np.testing.assert_array_equal(nearer, frame[18 : 18 + side, 38 : 38 + side])
    np.testing.assert_array_equal(take_look(frame, nothing, BARE, len(FRAME_CROPS) + 1, FRAME_CROPS).picture, middle)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (3, 2)])
def test_the_smallest_frame_has_middle_crops(size: tuple[int, int]) -> None:
    frame = np.zeros((*size, 3), np.uint8)
    assert all(look.picture.size for look in take_looks(frame, whole_frame(frame, "nothing differs"), BARE, FRAME_CROPS))


def test_teaching_uses_the_first_crops(frame: np.ndarray, item: Isolated, nothing: Isolated) -> None:
    views = teaching_crops(frame, item, BARE)
    for number, view in enumerate(views):
        np.testing.assert_array_equal(view, take_look(frame, item, BARE, number, ITEM_CROPS).picture)
    assert len(views) == TEACHING_CROPS == len({margin for margin, _, _ in ITEM_CROPS[:TEACHING_CROPS]}), "each margin once"
    assert len(teaching_crops(frame, nothing, BARE)) == len(FRAME_CROPS)


def test_a_large_item_is_seen_in_its_view_as_well_in_turn(frame: np.ndarray, item: Isolated) -> None:
    assert crops_of(item) is ITEM_CROPS, "its box has a tenth of the view"
    large = sized(120, 100)
    looks = take_looks(frame, large, BARE, crops_of(large))
    assert [look.of_item for look in looks[:4]] == [True, False, True, False]
    assert sum(look.of_item for look in looks) == len(ITEM_CROPS) and looks[1].picture is frame


def test_the_view_counts_more_the_larger_the_item() -> None:
    shares = [view_share(sized(160, height)) for height in range(1, 121)]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == MOST_VIEW_SHARE <= 0.5
    assert any(0 < share < MOST_VIEW_SHARE for share in shares)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_looks_of_a_kind_share_the_weight_of_their_kind(count: int) -> None:
    kinds = [(not number % 2, 1.0 if not number % 2 else 3.0 - number % 3) for number in range(count)]
    weights = look_weights(kinds, 0.3)
    of_view = [weight for weight, (of_item, _) in zip(weights, kinds, strict=True) if not of_item]
    assert sum(weights) == pytest.approx(1) and sum(of_view) == pytest.approx(0.3)
    assert look_weights([kind for kind in kinds if kind[0]], 0.3) == [1.0] * ((count + 1) // 2), "one kind alone"
