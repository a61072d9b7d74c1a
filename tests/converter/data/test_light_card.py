"""Items on light card are found, or reported as uncertain."""

import cv2
import numpy as np
import pytest

from converter.data.light_card import find_item, segment_item


def on_card(shade: float = 215.0, fall: float = 30.0) -> np.ndarray:
    """A red disc on unevenly lit card: 90 x 120 x 3 uint8 RGB."""
    light = np.repeat(np.linspace(shade, shade - fall, 120)[np.newaxis, :, np.newaxis], 90, axis=0).repeat(3, axis=2)
    noise = np.random.default_rng(3).normal(0, 1.5, light.shape)
    pixels = np.clip(light + noise, 0, 255).astype(np.uint8)
    cv2.circle(pixels, (60, 45), 20, (190, 30, 40), -1)
    return pixels


def disc() -> np.ndarray:
    return cv2.circle(np.zeros((90, 120), np.uint8), (60, 45), 20, 1, -1).astype(bool)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_find_item_and_segment_item_agree() -> None:
    mask = find_item(on_card())
    assert mask is not None and overlap(mask, disc()) > 0.9
    assert (mask == segment_item(on_card()).mask).all()


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.full((90, 120, 3), 215, np.uint8), id="bare card"),
        pytest.param(on_card(60.0, 20.0), id="dark ground"),
        pytest.param(np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8), id="noise"),
        pytest.param(np.full((90, 120, 3), (150, 100, 40), np.uint8), id="brown all over"),
        pytest.param(cv2.rectangle(on_card(), (4, 0), (119, 89), (90, 60, 30), -1), id="an item that hides all but a strip"),
    ],
)
def test_an_uncertain_item_has_no_mask(pixels: np.ndarray) -> None:
    assert find_item(pixels) is None


def test_a_barred_tray_is_no_plain_card() -> None:
    pixels = np.full((90, 120, 3), 190, np.uint8)
    pixels[:, ::9] = pixels[:, 1::9] = pixels[:, 2::9] = pixels[:, 3::9] = 90
    cv2.circle(pixels, (60, 45), 20, (190, 30, 40), -1)
    assert find_item(pixels) is None
