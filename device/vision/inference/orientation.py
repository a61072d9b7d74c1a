"""Turn PNG and WebP pictures upright by their EXIF orientation. OpenCV does that for JPEGs, but not for WebP or pictures with alpha."""

import struct
from collections.abc import Iterator

import cv2
import numpy as np

from device.vision.inference.preprocess import Pixels

UPRIGHT = 1
ORIENTATION_TAG, SHORT = 0x0112, 3
CLOCKWISE, BACK = cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE
TURNS = {3: cv2.ROTATE_180, 5: CLOCKWISE, 6: CLOCKWISE, 7: BACK, 8: BACK}
MIRRORS = {2: 1, 4: 0, 5: 1, 7: 1}
"""flip codes of cv2.flip, applied after turning"""


def read_orientation(encoded: bytes) -> int:
    """The EXIF orientation, 1 (upright) to 8 (JEITA CP-3451, 4.6.4); 1 for other formats and where it is missing or invalid."""
    for name, content in container_chunks(encoded):
        if name in (b"eXIf", b"EXIF"):
            return _orientation(content.removeprefix(b"Exif\0\0"))
    return UPRIGHT


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Turn a picture upright: H x W or H x W x C uint8."""
    if orientation in TURNS:
        pixels = np.asarray(cv2.rotate(pixels, TURNS[orientation]), np.uint8)
    if orientation in MIRRORS:
        pixels = np.asarray(cv2.flip(pixels, MIRRORS[orientation]), np.uint8)
    return pixels


def container_chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the chunks of a PNG or WebP, as far as they are complete; none for other formats."""
    png, webp = encoded.startswith(b"\x89PNG\r\n\x1a\n"), encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP"
    at = 8 if png else 12
    while (png or webp) and at + 8 <= len(encoded):
        first, second = encoded[at : at + 4], encoded[at + 4 : at + 8]
        name, size = (second, int.from_bytes(first, "big")) if png else (first, int.from_bytes(second, "little"))
        yield name, encoded[at + 8 : at + 8 + size]
        at += 8 + size + (4 if png else size % 2)


def _orientation(exif: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * entry)
            if tag == ORIENTATION_TAG and kind == SHORT:
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
