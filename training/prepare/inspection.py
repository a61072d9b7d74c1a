"""Inspection of one picture file by itself."""

import hashlib
from pathlib import Path

import cv2
import msgspec

from device.vision.inference.file_damage import has_missing_restarts, is_truncated
from device.vision.inference.images import PictureError, read_picture
from training.prepare.perceptual_hash import perceptual_hash, thumbnail


class Inspected(msgspec.Struct, frozen=True):
    """Findings on one picture.

    sha256: of the file's bytes, 64 hexadecimal digits, empty when it cannot be read. pixels: sha256 of what it decodes to, empty when it
    cannot be decoded; width and height are 0 then. fault: `truncated`, `unreadable` or empty, with the reason. hash: 64 bits, None for a
    picture without any contrast. thumbnail: see `likeness.thumbnail`. moments: mean of R, G, B, then mean of their squares, 0..1.
    transparent: whether some pixels are transparent; plain ground replaces them.
    """

    sha256: str = ""
    pixels: bytes = b""
    width: int = 0
    height: int = 0
    fault: str = ""
    reason: str = ""
    hash: int | None = None
    thumbnail: bytes = b""
    moments: tuple[float, ...] = (0.0,) * 6
    transparent: bool = False


def inspect(file: Path) -> Inspected:
    """Read and decode a picture. A broken picture raises nothing: it is a finding."""
    try:
        encoded = file.read_bytes()
    except OSError as error:
        return Inspected(fault="unreadable", reason=str(error.strerror))
    sha256 = hashlib.sha256(encoded).hexdigest()
    try:
        pixels, transparent = read_picture(file)
    except PictureError as error:
        if not encoded:
            return Inspected(sha256, fault="unreadable", reason="empty")
        reason = str(error).removeprefix(f"{file}: ")
        cut = is_truncated(encoded)
        fault = "truncated" if cut or has_missing_restarts(encoded) else "unreadable"
        return Inspected(sha256, fault=fault, reason="the end is missing, nothing can be decoded" if cut and "decoded" in reason else reason)
    height, width = pixels.shape[:2]
    mean, deviation = (values.ravel() / 255 for values in cv2.meanStdDev(pixels))
    return Inspected(
        sha256,
        hashlib.sha256(b"%d %d " % (width, height) + pixels.tobytes()).digest(),
        width,
        height,
        hash=perceptual_hash(pixels),
        thumbnail=thumbnail(pixels),
        moments=(*mean.tolist(), *(mean**2 + deviation**2).tolist()),
        transparent=transparent,
    )
