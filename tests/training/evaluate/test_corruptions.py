"""Corruptions: each does what it says and nothing else."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.data.light_card import SegmentedPhoto, segment_item
from device.vision.inference.preprocess import Pixels
from training.evaluate import corruptions as module
from training.evaluate.corruptions import CORRUPTIONS, Corruption, corrupted_views

RED = (190, 40, 50)


def photo(height: int = 96, width: int = 128, radius: int = 20) -> Pixels:
    """A red disc in the middle of light card."""
    pixels = np.random.default_rng(0).integers(212, 219, (height, width, 3)).astype(np.uint8)
    cv2.circle(pixels, (width // 2, height // 2), radius, RED, -1)
    return pixels


def red(pixels: Pixels) -> np.ndarray:
    """Where the disc is."""
    values = pixels.astype(int)
    return (values[..., 0] > 120) & (values[..., 1] < 110) & (values[..., 2] < 110)


def by_name(name: str) -> Corruption:
    return next(corruption for corruption in CORRUPTIONS if corruption.name == name)


def spoil(name: str, level: float, pixels: Pixels, seed: int = 0) -> Pixels:
    return by_name(name).apply(segment_item(pixels), level, np.random.default_rng(seed))


def test_the_item_is_segmented_from_its_card() -> None:
    mask, disc = segment_item(photo()).mask, red(photo())
    assert (mask & disc).sum() / (mask | disc).sum() > 0.85


def test_without_card_or_item_a_box_is_assumed() -> None:
    brown = np.full((90, 120, 3), (150, 105, 60), np.uint8)
    assert segment_item(brown).mask.all()
    bare = segment_item(np.full((90, 120, 3), 215, np.uint8)).mask
    assert bare[45, 60] and not bare[0].any() and not bare[:, 0].any()


def test_the_card_without_the_item_is_smooth_and_light() -> None:
    card = segment_item(photo()).card.astype(int)
    assert np.abs(card - 215).max() < 8


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_corruptions_are_pure_and_repeatable(corruption: Corruption) -> None:
    original = photo()
    item = segment_item(original.copy())
    for level in corruption.levels:
        one, again = (corruption.apply(item, level, np.random.default_rng(7)) for _ in range(2))
        assert one.shape == original.shape and one.dtype == np.uint8
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, original)
    np.testing.assert_array_equal(item.pixels, original)


@settings(max_examples=12)
@given(st.integers(9, 60), st.integers(9, 60), st.integers(0, 2**32))
def test_corruptions_take_pictures_of_any_size(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    found = list(corrupted_views(pixels, "noise.png", seed))
    assert len(found) == 1 + sum(len(corruption.levels) for corruption in CORRUPTIONS)
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in found)


def test_randomness_depends_only_on_photo_name_and_seed() -> None:
    plain, same, other_name, other_seed = (list(corrupted_views(photo(), *key)) for key in (("a", 0), ("a", 0), ("b", 0), ("a", 1)))
    assert all(np.array_equal(one, two) for one, two in zip(plain, same, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(plain, other_name, strict=True))
    assert not all(np.array_equal(one, two) for one, two in zip(plain, other_seed, strict=True))


def test_the_control_is_first_and_nearly_the_photo() -> None:
    control = next(corrupted_views(photo(), "a", 0)).astype(int)
    assert np.abs(control - photo()).mean() < 3


def test_dark_leaves_the_given_share_of_light() -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    assert module.dark(white, 0.2)[0, 0, 0] == pytest.approx(255 * (1.055 * 0.2 ** (1 / 2.4) - 0.055), abs=1)
    np.testing.assert_array_equal(module.dark(photo(), 1.0), photo())


def test_warm_light_is_red_cold_light_is_blue() -> None:
    grey = np.full((8, 8, 3), 120, np.uint8)
    np.testing.assert_array_equal(module.tinted(grey, module.DAYLIGHT_K), grey)
    reds = [int(module.tinted(grey, kelvin)[0, 0, 0]) for kelvin in (2000, 2700, 4500, 6504, 9000, 20000)]
    blues = [int(module.tinted(grey, kelvin)[0, 0, 2]) for kelvin in (2000, 2700, 4500, 6504, 9000, 20000)]
    assert reds == sorted(reds, reverse=True)
    assert blues == sorted(blues)


def test_a_lamp_of_daylight_is_nearly_white_and_equally_bright() -> None:
    lamp = module._lamp(6504)
    np.testing.assert_allclose(lamp, 1, atol=0.06)
    for kelvin in (2000, 3000, 5000, 12000):
        assert np.array([0.2126, 0.7152, 0.0722]) @ module._lamp(kelvin) == pytest.approx(1, abs=0.02)


def test_blur_spreads_a_point_over_a_disc() -> None:
    plain = np.full((50, 100, 3), 90, np.uint8)
    np.testing.assert_array_equal(module.blurred(plain, 0.05), plain)
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    lit = np.argwhere(module.blurred(point, 0.04)[..., 0] > 0)
    assert np.hypot(*(lit - 50).T).max() == pytest.approx(4.04, abs=1.0)


def test_noise_has_its_deviation_and_no_bias() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    error = module.noisy(grey, 16, np.random.default_rng(0)).astype(float) - 128
    assert error.std() == pytest.approx(16, rel=0.03)
    assert error.mean() == pytest.approx(0, abs=0.2)


def test_lower_jpeg_quality_differs_more() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    errors = [np.abs(module.coded(picture, quality).astype(int) - picture).mean() for quality in (95, 40, 10)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1])
def test_a_sized_item_covers_the_given_share(share: float) -> None:
    largest = np.pi * 48**2
    found = red(spoil("item size", share, photo()))
    assert found.sum() / largest == pytest.approx(share, rel=0.12)
    rows, columns = np.nonzero(found)
    assert (rows.mean(), columns.mean()) == pytest.approx((47.5, 63.5), abs=1.5)


def test_glints_stay_white_on_moved_items() -> None:
    shiny = photo()
    cv2.circle(shiny, (64, 48), 8, (255, 255, 255), -1)
    for name, level in (("item size", 0.5), ("off-centre", 0.6)):
        found = spoil(name, level, shiny)
        assert (found.min(axis=2) > 240).sum() > 100, "the glint"
        assert (found.min(axis=2) < 20).sum() == 0, "nothing wraps round to black"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.15, 0.5])
def test_a_cut_off_item_leaves_the_given_share_in_view(share: float, seed: int) -> None:
    left = red(spoil("cut off", share, photo(), seed)).sum() / red(photo()).sum()
    assert left == pytest.approx(1 - share, abs=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_an_off_centre_item_stays_in_the_frame(seed: int) -> None:
    nearer, whole = red(spoil("off-centre", 0.3, photo(), seed)), red(spoil("off-centre", 1.0, photo(), seed))
    assert whole.sum() == pytest.approx(nearer.sum(), rel=0.06), "none of it is lost"

    def from_middle(mask: np.ndarray) -> float:
        rows, columns = np.nonzero(mask)
        return float(np.hypot(rows.mean() - 47.5, columns.mean() - 63.5))

    assert from_middle(whole) == pytest.approx(from_middle(nearer) / 0.3, rel=0.15)


@pytest.mark.parametrize("name", ["dark ground", "busy ground"])
def test_another_background_keeps_the_item(name: str) -> None:
    item = segment_item(photo())
    inside = cv2.erode(item.mask.astype(np.uint8), np.ones((9, 9))).astype(bool)
    outside = cv2.dilate(item.mask.astype(np.uint8), np.ones((9, 9))) == 0
    for level in by_name(name).levels:
        found = spoil(name, level, photo()).astype(int)
        assert np.abs(found - photo())[inside].max() <= 1
        assert np.abs(found - photo())[outside].mean() > 20


def test_backgrounds_have_the_given_brightness_and_contrast() -> None:
    blank = SegmentedPhoto(photo(), np.eye(96, 128, dtype=bool), photo())
    for level in (90.0, 20.0):
        assert module.on_dark_ground(blank, level, np.random.default_rng(1)).mean() == pytest.approx(level, rel=0.15)
    deviations = [float(module.on_busy_ground(blank, contrast, np.random.default_rng(1)).std()) for contrast in (0.25, 0.5, 1.0)]
    assert deviations == sorted(deviations)
