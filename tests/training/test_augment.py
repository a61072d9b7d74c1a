"""Augmentation: views stay pictures, repeat with their seed, and stay near the photo when nothing may stray."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augment import Augmentation, make_augmenter

PHOTO = np.random.default_rng(0).integers(0, 256, (72, 72, 3), np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([32, 64, 96]))
def test_a_view_is_a_picture_of_the_asked_size_and_repeats_with_its_seed(seed: int, size: int) -> None:
    augment = make_augmenter(Augmentation(), size)
    view = augment(PHOTO, np.random.default_rng(seed))
    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, augment(PHOTO, np.random.default_rng(seed)))


def test_without_strength_only_quarter_turns_and_mirrors_are_left() -> None:
    still = Augmentation(smallest_crop=1, aspect=1, turn_deg=0, gain=0, contrast=0, cast=0, gamma=0, blur_share=0, noise_share=0)
    smooth = np.add.outer(np.arange(64), 2 * np.arange(64))[..., None].repeat(3, axis=2).astype(np.uint8)
    poses = [np.rot90(flip, k) for flip in (smooth, smooth[:, ::-1]) for k in range(4)]
    rng = np.random.default_rng(5)
    for _ in range(20):
        view = make_augmenter(still, 64)(smooth, rng).astype(int)
        assert min(np.abs(view - pose)[2:-2, 2:-2].mean() for pose in poses) < 6
