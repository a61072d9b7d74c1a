"""How alike pictures are."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.prepare.pictures import drawn, encoded
from training.prepare.perceptual_hash import LEAST_CORRELATION, correlation, near_hashes, perceptual_hash, thumbnail

WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4)
FLIPS = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=12)), max_size=40)


def bits_between(one: np.ndarray, other: np.ndarray) -> int:
    hashes = perceptual_hash(one), perceptual_hash(other)
    assert None not in hashes
    return (hashes[0] ^ hashes[1]).bit_count()


@given(WORDS, FLIPS, st.integers(0, 16))
@settings(max_examples=80)
def test_every_pair_of_near_hashes_is_found_once(words: list[int], flips: list[tuple[int, list[int]]], bits: int) -> None:
    hashes = [*words]
    for word, flipped in flips:
        changed = words[word % len(words)]
        for bit in flipped:
            changed ^= 1 << bit
        hashes.append(changed)
    found = [
        tuple(sorted(pair))
        for ones, others in near_hashes(np.array(hashes, np.uint64), bits)
        for pair in zip(ones.tolist(), others.tolist(), strict=True)
    ]
    expected = {(i, j) for j in range(len(hashes)) for i in range(j) if (hashes[i] ^ hashes[j]).bit_count() <= bits}
    assert len(found) == len(set(found))
    assert set(found) == expected


@pytest.mark.parametrize(
    "changed",
    [
        lambda pixels: cv2.resize(pixels, (250, 190), interpolation=cv2.INTER_LINEAR),
        lambda pixels: cv2.imdecode(np.frombuffer(encoded(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 40), np.uint8), cv2.IMREAD_COLOR),
        lambda pixels: cv2.convertScaleAbs(pixels, alpha=0.6, beta=20),
        lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 1.5),
    ],
    ids=["resized", "compressed", "darkened", "blurred"],
)
def test_a_changed_copy_stays_near_and_another_picture_is_not(changed) -> None:
    for seed in range(10):
        pixels = drawn(seed, 120, 90)
        copy = changed(pixels)
        assert bits_between(pixels, copy) <= 8
        assert correlation(thumbnail(pixels), thumbnail(copy)) > LEAST_CORRELATION
        other = drawn(seed + 100, 120, 90)
        assert bits_between(pixels, other) > 8 or correlation(thumbnail(pixels), thumbnail(other)) < LEAST_CORRELATION


def test_colours_count_where_the_grey_values_agree() -> None:
    grey = np.full((60, 80, 3), 200, np.uint8)
    red, blue = grey.copy(), grey.copy()
    red[20:40, 30:60] = (160, 0, 0)
    blue[20:40, 30:60] = (0, 40, 210)
    assert correlation(thumbnail(red), thumbnail(blue)) < LEAST_CORRELATION


def test_an_even_surface_has_no_hash_and_is_like_nothing() -> None:
    even = np.full((50, 50, 3), 90, np.uint8)
    assert perceptual_hash(even) is None
    assert correlation(thumbnail(even), thumbnail(even)) == 0
