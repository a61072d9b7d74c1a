"""Find picture files in folders and decode them. Device, calibration and training all read pictures with this module."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from device.common.errors import SortbinError
from device.common.wording import counted
from device.vision.inference.file_damage import PNG, has_bad_checksum, has_missing_restarts, is_truncated
from device.vision.inference.ground import PLAIN
from device.vision.inference.orientation import apply_orientation, container_chunks, read_orientation
from device.vision.inference.preprocess import Pixels

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}

OTHER_KINDS = {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
"""first bytes of other formats that are often named .jpg"""
HEIF_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC", b"msf1": "HEIC", b"avif": "AVIF"}

MOST_NAMED = 50
"""most unreadable files that one message names; the others are counted"""


class PictureError(SortbinError, ValueError):
    """A picture that cannot be read, or a folder without pictures. The message names it and what was expected."""


class DecodedPicture(NamedTuple):
    """pixels: H x W x 3 uint8 RGB, upright. transparent: whether some pixels were; they are laid on the plain ground."""

    pixels: Pixels
    transparent: bool


def find_pictures(path: Path) -> Iterator[Path]:
    """The picture files in and below a folder, sorted, without hidden ones. For a file: the file itself, whatever its name.

    Raises PictureError when `path` does not exist, cannot be read, or holds no picture.
    """
    try:
        path.stat()
        found = sorted(file for file in _files(path) if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    except FileNotFoundError as error:
        raise PictureError(f"{path}: expected a picture or a folder of pictures, found nothing") from error
    except OSError as error:
        raise PictureError(f"{error.filename}: {error.strerror}; expected a picture or a folder of pictures that can be read") from error
    if not found:
        others = count_unread_kinds(file.name for file in _files(path))
        beside = f"; {describe_unread_kinds(others)}" if others else ""
        raise PictureError(f"{path}: expected pictures in this folder or below, found none ({', '.join(sorted(SUFFIXES))}){beside}")
    yield from found


def unread_kinds(folder: Path) -> Counter[str]:
    """Count the files in and below a folder that are no pictures, by suffix. Folders that cannot be read are skipped."""
    return count_unread_kinds(file.name for file in _files(folder, None))


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a Mac adds to archives."""
    return name.startswith(".") or name == "__MACOSX"


def count_unread_kinds(names: Iterable[str]) -> Counter[str]:
    """Count the files that are no pictures, by suffix, or by name where they have no suffix."""
    return Counter(suffix or Path(name).name for name in names if (suffix := Path(name).suffix.lower()) not in SUFFIXES)


def describe_unread_kinds(others: Counter[str]) -> str:
    """One line about the files that are skipped because they are no pictures."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in others.most_common(5))
    return f"{counted(others.total(), 'file')} of a kind that is not read ({kinds}), only {', '.join(sorted(SUFFIXES))}; passed over"


def unread_kinds_notes(paths: Iterable[Path]) -> list[str]:
    """One line for each folder with files that are skipped because they are no pictures."""
    found = [(path, unread_kinds(path)) for path in paths if path.is_dir()]
    return [f"{path}: {describe_unread_kinds(others)}" for path, others in found if others]


def _reraise(error: OSError) -> None:
    raise error


def _files(folder: Path, on_error: Callable[[OSError], None] | None = _reraise) -> Iterator[Path]:
    """All files except hidden ones. on_error: called for a folder that cannot be read."""
    for place, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (Path(place, name) for name in names if not is_hidden(name))


def read_pixels(path: Path) -> Pixels:
    """Decode a picture to H x W x 3 uint8 RGB, upright by its EXIF orientation, on plain ground where it is transparent.

    Raises PictureError when the file is missing, empty, truncated, or not a picture.
    """
    return read_picture(path).pixels


def read_picture(path: Path) -> DecodedPicture:
    """As `read_pixels`, and whether some pixels were transparent."""
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror}") from error
    if has_missing_restarts(encoded):
        raise PictureError(f"{path}: a part in its middle is missing")
    try:
        # For such files OpenCV and libpng would write to the terminal.
        picture = None if (encoded.startswith((PNG, b"BM")) and is_truncated(encoded)) or has_bad_checksum(encoded) else _decode(encoded)
    except cv2.error as error:
        raise PictureError(f"{path}: not a picture that can be decoded: {error.err}") from error
    if picture is None:
        raise PictureError(f"{path}: {_why_not(encoded)}")
    if is_truncated(encoded):
        raise PictureError(f"{path}: its end is missing")
    return picture


def find_unreadable(files: Sequence[Path]) -> list[str]:
    """One line for each of these pictures that cannot be read, with the reason."""
    problems = []
    for file in files:
        try:
            read_pixels(file)
        except PictureError as error:
            problems.append(str(error))
    return problems


def unreadable_message(problems: Sequence[str], of: int) -> str:
    """The message for unreadable pictures: their lines, or only the line where it is one. of: number of all pictures."""
    if len(problems) == 1:
        return problems[0]
    beyond = [f"and {len(problems) - MOST_NAMED} more"] if len(problems) > MOST_NAMED else []
    return "\n  ".join([f"{len(problems)} of {of} pictures cannot be read; mend or remove them:", *problems[:MOST_NAMED], *beyond])


def _decode(encoded: bytes) -> DecodedPicture | None:
    if not encoded:
        return None
    data = np.frombuffer(encoded, np.uint8)
    upright = read_orientation(encoded)
    ground = _on_plain_ground(data) if _may_be_transparent(encoded) else None
    if ground is not None:
        return DecodedPicture(apply_orientation(ground, upright), True)
    how = cv2.IMREAD_COLOR if encoded.startswith(b"\xff\xd8") else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(data, how)
    return (
        None if pixels is None else DecodedPicture(apply_orientation(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), upright), False)
    )


def _may_be_transparent(encoded: bytes) -> bool:
    """Whether a PNG or WebP has an alpha channel, by its header."""
    for name, content in container_chunks(encoded):
        match name:
            case b"IHDR" if content[9:10] in (b"\x04", b"\x06"):
                return True
            case b"tRNS":
                return True
            case b"VP8X" if content[:1] and content[0] & 0x10:
                return True
            case b"VP8L" if len(content) > 4 and content[4] & 0x10:
                return True
            case b"IDAT" | b"VP8 ":
                return False
            case _:
                pass
    return False


def _on_plain_ground(data: Pixels) -> Pixels | None:
    """Lay a picture with alpha on the plain ground: H x W x 3 uint8 RGB, not turned upright; None where no pixel is transparent.

    The stored colours of transparent pixels are arbitrary.
    """
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4:
        return None
    if pixels.dtype == np.uint16:
        pixels = (pixels // 256).astype(np.uint8)
    alpha = pixels[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return None
    rgb = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB).astype(np.uint16)
    return np.asarray((rgb * alpha + np.array(PLAIN.colour, np.uint16) * (255 - alpha) + 127) // 255, np.uint8)


def _why_not(encoded: bytes) -> str:
    if is_truncated(encoded):
        return "not a picture that can be decoded: its end is missing"
    if has_bad_checksum(encoded):
        return "not a picture that can be decoded: a part of it is damaged"
    kind = HEIF_BRANDS.get(encoded[8:12]) if encoded[4:8] == b"ftyp" else OTHER_KINDS.get(encoded[:4])
    return "not a picture that can be decoded" + (f": it is {kind}, whatever its name; save it as JPEG or PNG" if kind else "")
