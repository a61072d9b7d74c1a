"""Augmentation: views keep their size, repeat with their seed, and equal the photo without strength."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from converter.data.photos import read_photos
from device.vision.inference.ground import PLAIN
from training.fit.augment import AUGMENTATIONS, Augmentation, add_card_mask, make_augmenter
from training.fit.backgrounds import random_background
from training.fit.batches import PhotoCache

PHOTO = np.random.default_rng(0).integers(0, 256, (72, 72, 3), np.uint8)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([32, 64, 96]))
def test_views_have_the_asked_size_and_repeat_with_their_seed(seed: int, size: int) -> None:
    augment = make_augmenter(Augmentation(), size)
    view = augment(PHOTO, np.random.default_rng(seed)).pixels
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, augment(PHOTO, np.random.default_rng(seed)).pixels)


def test_without_strength_only_quarter_turns_and_mirrors_remain() -> None:
    still = Augmentation(smallest_crop=1, aspect=1, turn_deg=0, gain=0, contrast=0, cast=0, gamma=0, blur_share=0, noise_share=0)
    smooth = np.add.outer(np.arange(64), 2 * np.arange(64))[..., None].repeat(3, axis=2).astype(np.uint8)
    poses = [np.rot90(flip, k) for flip in (smooth, smooth[:, ::-1]) for k in range(4)]
    rng = np.random.default_rng(5)
    for _ in range(20):
        view = make_augmenter(still, 64)(smooth, rng).pixels.astype(int)
        assert min(np.abs(view - pose)[2:-2, 2:-2].mean() for pose in poses) < 6


def item_on_card() -> np.ndarray:
    photo = np.full((96, 96, 3), 225, np.uint8)
    photo[30:70, 36:64] = (20, 40, 200)
    return photo


def test_card_mask_covers_the_item_only() -> None:
    alpha = add_card_mask(item_on_card())[..., 3]
    assert alpha[40:60, 44:56].min() > 250
    assert alpha[:20].max() == alpha[-15:].max() == alpha[:, :25].max() == 0


def test_a_mask_of_the_whole_photo_counts_as_none() -> None:
    filled = np.random.default_rng(1).integers(0, 120, (96, 96, 3), np.uint8)
    whole = add_card_mask(filled)
    assert not whole[..., 3].any()
    still = msgspec.structs.replace(AUGMENTATIONS["none"], elsewhere_share=1.0)
    view = make_augmenter(still, 96)(whole, np.random.default_rng(0)).pixels.astype(int)
    assert np.abs(view - filled).max() <= 1, "nothing but the rounding of the light curve"


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_pasted_item_keeps_its_colour_and_is_mostly_in_view(seed: int) -> None:
    plain = msgspec.structs.replace(AUGMENTATIONS["none"], elsewhere_share=1.0, smallest_item=0.5)
    rng = np.random.default_rng(seed)
    view = make_augmenter(plain, 64)(add_card_mask(item_on_card()), rng).pixels.astype(int)
    blue = np.abs(view - (20, 40, 200)).max(axis=2) < 12
    least_area = (64 * 0.5) ** 2 * (28 / 40) * 0.7**2
    assert blue.sum() > 0.7 * least_area
    assert (np.abs(view - 225).max(axis=2) < 3).mean() < 0.9


def test_backgrounds_have_all_brightnesses_and_repeat_with_their_seed() -> None:
    grounds = [random_background(48, np.random.default_rng(seed)) for seed in range(60)]
    means = [ground.mean() for ground in grounds]
    assert min(means) < 60 and max(means) > 180
    assert max(ground.std() for ground in grounds) > 50
    np.testing.assert_array_equal(grounds[7], random_background(48, np.random.default_rng(7)))


def test_isolated_views_keep_the_shape_and_paint_surroundings_by_any_share() -> None:
    square = np.full((96, 96, 3), 225, np.uint8)
    square[30:60, 30:60] = (20, 40, 200)
    only = msgspec.structs.replace(
        AUGMENTATIONS["none"], elsewhere_share=1.0, isolated_share=1.0, smallest_item=0.9, farthest_out=0.0, quarter_turns=False
    )
    augment, rng = make_augmenter(only, 96), np.random.default_rng(3)
    painted, bare, shapes = 0, 0, []
    for _ in range(80):
        view = augment(add_card_mask(square), rng, aspect=2.0).pixels.astype(int)
        blue = (view[..., 2] - view[..., 0]) > 90
        corners = view[[0, 0, -1, -1], [0, -1, 0, -1]]
        painted += (np.abs(corners - np.array(PLAIN.colour)) <= 2).all()
        bare += (np.abs(corners - 225) <= 2).all()
        shapes.append(np.ptp(np.flatnonzero(blue.any(axis=0))) / np.ptp(np.flatnonzero(blue.any(axis=1))))
        assert blue.mean() > 0.05
    assert painted >= 10, "of those painted over altogether, but for items that fill the square, the corners are ground"
    assert bare >= 5, "of those that lie where they were photographed, with nothing painted, they are card"
    assert 1.5 < float(np.median(shapes)) < 2.5, "a square that was squeezed from 2:1 is 2:1 again"


def test_a_photos_own_mask_is_used_before_the_card_mask(tmp_path: Path) -> None:
    for name, mask in (("known", np.zeros((96, 96), np.uint8)), ("unknown", None)):
        (tmp_path / "tin").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "tin" / f"{name}.png"), item_on_card()[..., ::-1])
        if mask is not None:
            mask[:20, :20] = 255
            (tmp_path / "masks" / "tin").mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "masks" / "tin" / f"{name}.png"), mask)
    known, unknown = (pixels[..., 3] for pixels, _ in (PhotoCache(read_photos(tmp_path), 96, masked=True)[i] for i in range(2)))
    assert known[5:15, 5:15].min() > 250 and not known[40:60, 40:60].any()
    assert unknown[40:60, 44:56].min() > 250 and not unknown[:20].any()
