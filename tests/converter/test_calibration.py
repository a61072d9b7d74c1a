"""Which photos set the ranges, and that they can be told apart from others."""

from collections import Counter
from pathlib import Path

import numpy as np

from converter.calibration import Inputs, choose, fingerprint
from converter.photos import Photo, read_photos, read_pixels
from device.vision.preprocess import to_input

MANY = [Photo(f"{label}/{i}.jpg", label, Path(f"{label}/{i}.jpg")) for label, n in (("can", 50), ("jar", 30), ("cup", 3)) for i in range(n)]


def test_labels_are_drawn_equally_until_one_runs_out() -> None:
    assert Counter(photo.label for photo in choose(MANY, 9, 0)) == {"can": 3, "jar": 3, "cup": 3}
    assert Counter(photo.label for photo in choose(MANY, 23, 0)) == {"can": 10, "jar": 10, "cup": 3}
    assert sorted(choose(MANY, 1000, 0)) == sorted(MANY)


def test_every_beginning_of_the_draw_is_a_fair_sample() -> None:
    assert Counter(photo.label for photo in choose(MANY, 60, 0)[:6]) == {"can": 2, "jar": 2, "cup": 2}


def test_a_seed_draws_the_same_photos_in_any_order_and_another_seed_others() -> None:
    assert choose(MANY, 20, 5) == choose(MANY[::-1], 20, 5)
    assert set(choose(MANY, 20, 5)) != set(choose(MANY, 20, 6))


def test_inputs_are_what_the_device_prepares_and_only_full_range_touches_two_pixels(photos: Path) -> None:
    some = read_photos(photos)[:3]
    plain, full = [*Inputs(some, 32)], [*Inputs(some, 32, full_range=True)]
    np.testing.assert_array_equal(plain[1], to_input(read_pixels(some[1].path), 32))
    assert [(one != other).any(axis=2).sum() for one, other in zip(plain, full, strict=True)] == [2, 0, 0]
    assert (full[0].min(), full[0].max()) == (0, 255)


def test_a_fingerprint_changes_with_a_byte_with_the_order_and_with_a_name(own_photos: Path) -> None:
    one, two = read_photos(own_photos)[:2]
    first = fingerprint([one, two], names=True)
    assert first == fingerprint([one, two], names=True) != fingerprint([two, one], names=True)
    assert first != fingerprint([Photo("other.png", one.label, one.path), two], names=True)
    content = bytearray(one.path.read_bytes())
    content[-1] ^= 1
    one.path.write_bytes(content)
    assert first != fingerprint([one, two], names=True)
