"""The looks at one item: all of them show it, each in its own way."""

import numpy as np
import pytest

from device.vision.ground import Ground
from device.vision.isolate import Isolated, paint, whole_frame
from device.vision.looks import LOOKS, TAUGHT_LOOKS, look, taught_views

BARE = Ground((216, 216, 216), 0.0)


@pytest.fixture
def frame() -> np.ndarray:
    """Red tells a pixel's column, green its row; blue is lit."""
    return np.dstack([*np.meshgrid(np.arange(160), np.arange(120)), np.full((120, 160), 200)]).astype(np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 50:100] = 255
    return mask


def test_the_first_look_is_what_isolating_gives_and_after_the_last_they_begin_again(frame: np.ndarray, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(look(frame, mask, BARE, 0), paint(frame, mask, BARE))
    for number in range(len(LOOKS)):
        np.testing.assert_array_equal(look(frame, mask, BARE, number), look(frame, mask, BARE, number + len(LOOKS)))


def test_every_look_shows_all_of_the_item_and_no_two_are_the_same(frame: np.ndarray, mask: np.ndarray) -> None:
    seen = [look(frame, mask, BARE, number) for number in range(len(LOOKS))]
    for picture, (_, mirrored) in zip(seen, LOOKS, strict=True):
        columns, rows = picture[..., 0].astype(int), picture[..., 1].astype(int)
        assert columns.min() <= 50 and columns.max() >= 99 and rows.min() <= 40 and rows.max() >= 79
        assert (np.diff(columns[0]) == (-1 if mirrored else 1)).all()
    assert len({picture.tobytes() for picture in seen}) == len(LOOKS)


def test_looks_that_follow_each_other_differ_in_margin_and_in_direction() -> None:
    for one, other in zip(LOOKS, [*LOOKS[1:], LOOKS[0]], strict=True):
        assert one[0] != other[0] and one[1] != other[1]


def test_a_taught_item_is_seen_in_its_first_looks_and_a_whole_frame_either_way_round(frame: np.ndarray, mask: np.ndarray) -> None:
    item = Isolated(True, "", mask, (50, 40, 100, 80), paint(frame, mask, BARE))
    for number, view in enumerate(views := taught_views(frame, item, BARE)):
        np.testing.assert_array_equal(view, look(frame, mask, BARE, number))
    assert len(views) == TAUGHT_LOOKS == len({margin for margin, _ in LOOKS[:TAUGHT_LOOKS]}), "each margin once"
    straight, mirrored = taught_views(frame, whole_frame(frame, "nothing differs"), BARE)
    np.testing.assert_array_equal(straight, frame)
    np.testing.assert_array_equal(mirrored, frame[:, ::-1])
