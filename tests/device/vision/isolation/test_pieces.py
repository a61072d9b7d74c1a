"""Split items into pieces, apart or at a neck, and crop each without the other."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.vision.inference.ground import PLAIN
from device.vision.inference.preprocess import Pixels
from device.vision.isolation.background import HEIGHT, WIDTH
from device.vision.isolation.isolate import Isolated
from device.vision.isolation.pieces import LEAST, find_pieces, piece_crops

GREEN, BLUE, TRAY = (0, 160, 0), (0, 0, 200), (200, 198, 190)


def discs(*circles: tuple[int, int, int], joined: int = 0) -> Pixels:
    """Discs of (x, y, radius), the first two joined by a bar of this thickness."""
    likely = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, radius in circles:
        cv2.circle(likely, (x, y), radius, (255,), -1)
    if joined:
        cv2.line(likely, circles[0][:2], circles[1][:2], (255,), joined)
    return likely


def found(likely: Pixels | None) -> Isolated:
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    return Isolated(likely is not None, "", np.zeros((HEIGHT, WIDTH), np.uint8), (0, 0, WIDTH, HEIGHT), frame, likely)


@pytest.mark.parametrize("joined", [0, 3])
def test_two_discs_are_two_pieces_apart_or_joined(joined: int) -> None:
    two = find_pieces(found(discs((40, 40, 14), (80, 50, 10), joined=joined)))
    assert two is not None
    one, other = two.masks
    assert (one[40, 40], one[50, 80], other[40, 40], other[50, 80]) == (255, 0, 0, 255)
    assert two.gap == pytest.approx(0 if joined else (np.hypot(40, 10) - 24) / WIDTH, abs=1.5 / WIDTH)


@pytest.mark.parametrize(
    "likely",
    [
        discs((60, 50, 20)),
        discs((60, 50, 20), (100, 20, 1)),
        cv2.rectangle(np.zeros((HEIGHT, WIDTH), np.uint8), (20, 40), (100, 55), (255,), -1),
        np.zeros((HEIGHT, WIDTH), np.uint8),
        None,
    ],
    ids=["disc", "disc and speck", "bar", "nothing", "not isolated"],
)
def test_a_shape_without_a_neck_is_one_piece(likely: Pixels | None) -> None:
    assert find_pieces(found(likely)) is None


def test_a_third_piece_is_left_out() -> None:
    two = find_pieces(found(discs((20, 20, 12), (70, 60, 10), (110, 20, 5))))
    assert two is not None and [mask[20, 110] for mask in two.masks] == [0, 0]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 30)), max_size=5), st.integers(0, 6))
def test_pieces_are_disjoint_and_within_the_mask(circles: list[tuple[int, int, int]], joined: int) -> None:
    likely = discs(*circles, joined=joined if len(circles) > 1 else 0)
    two = find_pieces(found(likely))
    if two is not None:
        one, other = two.masks
        assert one.any() and other.any() and not (one & other).any()
        assert not ((one | other) & ~likely).any()
        assert two.gap == 0 or min(np.count_nonzero(one), np.count_nonzero(other)) >= LEAST * likely.size


@pytest.mark.parametrize("number", range(6))
def test_each_piece_crop_hides_the_other_piece(number: int) -> None:
    likely = discs((40, 48, 12), (66, 48, 10))
    frame = np.full((2 * HEIGHT, 2 * WIDTH, 3), TRAY, np.uint8)
    cv2.circle(frame, (80, 96), 24, GREEN, -1)
    cv2.circle(frame, (132, 96), 20, BLUE, -1)
    green, blue = piece_crops(frame, find_pieces(found(likely)), PLAIN, number)
    for shown, own, other in ((green, GREEN, BLUE), (blue, BLUE, GREEN)):
        assert (np.abs(shown.astype(int) - own).max(axis=2) < 40).mean() > 0.3
        assert (np.abs(shown.astype(int) - other).max(axis=2) < 40).mean() < 0.02
    assert piece_crops(frame, None, PLAIN, number) == []
