"""Similarity of pictures: perceptual hashes find candidate pairs, the correlation of thumbnails confirms them.

The hash is that of Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010: signs of the 8 x 8 lowest frequencies
of the cosine transform against their median. Alone it confuses different things on the same white card; together with the correlation of
colour thumbnails it does not. It does not find mirrored, rotated or cropped copies.
"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from device.vision.inference.preprocess import Pixels

HASH_SIDE, HASH_BITS = 32, 64
THUMBNAIL_SIDE = 16
LEAST_CONTRAST = 1.0
"""standard deviation of the grey values, in counts of 255, below which a hash would be that of noise"""

LEAST_CORRELATION = 0.9
"""of two thumbnails for their pictures to be near-duplicates: 28 of the 56 pairs of TrashNet's 2,096 photos within 8 bits have it, and all
but three of those show the same thing in about the same place"""

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.int64]


def perceptual_hash(pixels: Pixels) -> int | None:
    """64 bits of an H x W x 3 uint8 RGB picture, few of which change with its size, compression or light. None for an even surface."""
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA)
    if grey.std() < LEAST_CONTRAST:
        return None
    lowest = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    return int.from_bytes(np.packbits(lowest > np.median(lowest[1:])).tobytes())


def thumbnail(pixels: Pixels) -> bytes:
    """The picture at 16 x 16 x 3 uint8, RGB."""
    return cv2.resize(pixels, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA).tobytes()


def correlation(one: bytes, other: bytes) -> float:
    """Of two thumbnails, -1..1: light and contrast play no part, colours do. 0 where one of them is even."""
    a, b = (np.frombuffer(thumbnail, np.uint8).astype(np.float64) for thumbnail in (one, other))
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else 0.0


def near_hashes(hashes: Hashes, bits: int) -> Iterator[tuple[Indices, Indices]]:
    """All pairs of hashes that differ in at most `bits` bits, each pair once, in blocks of indices.

    The 64 bits are cut into bits + 1 bands. Hashes that close agree in at least one band, so only those that share a band are compared.
    """
    edges = np.linspace(0, HASH_BITS, bits + 2).round().astype(int)
    masks = [np.uint64((1 << int(end)) - (1 << int(start))) for start, end in itertools.pairwise(edges)]
    for number, mask in enumerate(masks):
        band = hashes & mask
        order = np.argsort(band, kind="stable")
        ends = np.searchsorted(band[order], band[order], side="right")
        left, step = np.arange(len(order)), 1
        while len(left := left[left + step < ends[left]]):
            one, other = order[left], order[left + step]
            differing = hashes[one] ^ hashes[other]
            close = _ones(differing) <= bits
            for earlier in masks[:number]:
                close &= (differing & earlier) != 0
            if close.any():
                yield one[close], other[close]
            step += 1


def _ones(words: Hashes) -> Hashes:
    """How many bits are set in each word, counted in pairs, nibbles and bytes at a time."""
    words = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    words = (words & np.uint64(0x3333333333333333)) + ((words >> np.uint64(2)) & np.uint64(0x3333333333333333))
    words = (words + (words >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (words * np.uint64(0x0101010101010101)) >> np.uint64(56)
