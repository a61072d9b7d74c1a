"""The choice of calibration photos, their inputs and their fingerprint."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.data.isolated_view import isolated_view
from converter.data.photos import Photo, PhotosError, read_photos, read_pixels
from converter.quantization.calibration_photos import (
    CalibrationPhotos,
    NetworkInputs,
    choose_photos,
    fingerprint,
    isolated_inputs,
    photos_to_isolate,
    thin_photos,
)
from device.vision.inference.preprocess import to_input

MANY = [Photo(f"{label}/{i}.jpg", label, Path(f"{label}/{i}.jpg")) for label, n in (("can", 50), ("jar", 30), ("cup", 3)) for i in range(n)]


def test_labels_are_drawn_equally_while_they_last() -> None:
    assert Counter(photo.label for photo in choose_photos(MANY, 9, 0)) == {"can": 3, "jar": 3, "cup": 3}
    assert Counter(photo.label for photo in choose_photos(MANY, 23, 0)) == {"can": 10, "jar": 10, "cup": 3}
    assert sorted(choose_photos(MANY, 1000, 0)) == sorted(MANY)


def test_each_prefix_of_the_draw_is_balanced() -> None:
    assert Counter(photo.label for photo in choose_photos(MANY, 60, 0)[:6]) == {"can": 2, "jar": 2, "cup": 2}


def test_the_seed_decides_the_photos() -> None:
    assert choose_photos(MANY, 20, 5) == choose_photos(MANY[::-1], 20, 5)
    assert set(choose_photos(MANY, 20, 5)) != set(choose_photos(MANY, 20, 6))


@given(order=st.permutations(MANY[::3]), step=st.integers(1, 40))
def test_thinning_keeps_shares_and_every_label(order: list[Photo], step: int) -> None:
    before, after = (Counter(photo.label for photo in photos) for photos in (order, thin_photos(order, step)))
    assert after == {label: math.ceil(count / step) for label, count in before.items()}
    assert [photo for photo in order if photo in set(thin_photos(order, step))] == list(thin_photos(order, step))


def test_inputs_are_those_of_the_device_except_two_pixels(photos: Path) -> None:
    some = read_photos(photos)[:3]
    plain, full = [*NetworkInputs(some, 32)], [*NetworkInputs(some, 32, full_range=True)]
    np.testing.assert_array_equal(plain[1], to_input(read_pixels(some[1].path), 32))
    assert [(one != other).any(axis=2).sum() for one, other in zip(plain, full, strict=True)] == [2, 0, 0]
    assert (full[0].min(), full[0].max()) == (0, 255)


def test_all_unreadable_photos_are_named_at_once(own_photos: Path) -> None:
    everything = read_photos(own_photos)
    for photo in everything[5::20]:
        photo.path.write_bytes(b"cut")
    with pytest.raises(PhotosError, match=r"^4 of 72 pictures cannot be read; mend or remove them:\n") as refused:
        list(NetworkInputs(everything, 32))
    assert all(str(photo.path) in str(refused.value) for photo in everything[5::20])


def test_half_of_each_labels_photos_are_isolated_if_possible(masked_photos: Path) -> None:
    everything = read_photos(masked_photos)
    drawn = choose_photos(everything, 36, 1)
    alone = photos_to_isolate(drawn)
    assert Counter(photo.label for photo in alone) == dict.fromkeys({photo.label for photo in drawn}, 6)
    assert 1 <= len(photos_to_isolate(drawn[:6])) <= 3, "a beginning of the draw has both"
    for photo in everything[:8]:
        assert photo.mask is not None
        photo.mask.unlink()
    some = [photo for photo in read_photos(masked_photos) if photo.label == everything[0].label]
    can = {photo for photo in some if photo.mask}
    assert photos_to_isolate(some) <= can and len(photos_to_isolate(some)) == 12, "others are taken in place of those that cannot be isolated"


def test_isolated_inputs_are_those_of_the_device(masked_photos: Path) -> None:
    some = read_photos(masked_photos)[:4]
    assert some[0].mask is not None
    some[0] = Photo(some[0].name, some[0].label, some[0].path)
    pictures, items = isolated_inputs(some, 32)
    assert items == 3
    np.testing.assert_array_equal(pictures[0], to_input(read_pixels(some[0].path), 32))
    mixed = [*CalibrationPhotos(tuple(some), {some[1]}).inputs(32)]
    np.testing.assert_array_equal(mixed[1], pictures[1])
    np.testing.assert_array_equal(mixed[1], to_input(isolated_view(some[1]), 32))
    np.testing.assert_array_equal(mixed[2], to_input(read_pixels(some[2].path), 32))


def test_fingerprints_depend_on_bytes_order_and_names(own_photos: Path) -> None:
    one, two = read_photos(own_photos)[:2]
    first = fingerprint([one, two], names=True)
    assert first == fingerprint([one, two], names=True) != fingerprint([two, one], names=True)
    assert first != fingerprint([Photo("other.png", one.label, one.path), two], names=True)
    content = bytearray(one.path.read_bytes())
    content[-1] ^= 1
    one.path.write_bytes(content)
    assert first != fingerprint([one, two], names=True)
