"""Check picture files for truncation and damage that OpenCV does not report.

OpenCV decodes some truncated files without an error and fills the missing part with grey. The container shows it: a JPEG ends with an EOI marker
(ITU-T T.81, B.1.1), a PNG with an IEND chunk (RFC 2083, 3.4), WebP and BMP hold their size in the header (RFC 9649, 2.4; BITMAPFILEHEADER).
"""

import re
import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"

SCAN_END = re.compile(rb"\xff(?![\x00\xff\xd0-\xd7])", re.DOTALL)
"""ends entropy-coded data: a marker that is no stuffed byte, fill byte or restart marker"""
RESTART = re.compile(rb"\xff([\xd0-\xd7])")


def is_truncated(encoded: bytes) -> bool:
    """Whether the end of a JPEG, PNG, WebP or BMP is missing. Extra bytes after the end, which some cameras write, are fine.

    False for other formats, and for files too damaged to tell: decoding fails for them.
    """
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg_is_truncated(encoded)
    if encoded.startswith(PNG):
        return _png_is_truncated(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return len(encoded) < 8 + int.from_bytes(encoded[4:8], "little")
    if encoded.startswith(b"BM") and len(encoded) >= 6:
        return len(encoded) < int.from_bytes(encoded[2:6], "little")
    return False


def has_missing_restarts(encoded: bytes) -> bool:
    """Whether restart markers of a JPEG are out of order, so data between them was lost, as by a camera on a bad cable. False without markers."""
    if not encoded.startswith(b"\xff\xd8"):
        return False
    _, scans = _walk_jpeg(encoded)
    return any(_out_of_order(RESTART.findall(encoded, *scan)) for scan in scans)


def has_bad_checksum(encoded: bytes) -> bool:
    """Whether a PNG chunk that the pixels need has a wrong checksum (RFC 2083, 3.2). False for other formats."""
    at = len(PNG)
    while encoded.startswith(PNG) and at + 12 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, at)
        end = at + 8 + length
        if (
            kind in (b"IHDR", b"PLTE", b"IDAT")
            and end + 4 <= len(encoded)
            and zlib.crc32(encoded[at + 4 : end]) != int.from_bytes(encoded[end : end + 4])
        ):
            return True
        at = end + 4
    return False


def _out_of_order(restarts: list[bytes]) -> bool:
    return any(marker[0] != 0xD0 + number % 8 for number, marker in enumerate(restarts))


def _jpeg_is_truncated(encoded: bytes) -> bool:
    truncated, _ = _walk_jpeg(encoded)
    return truncated


def _walk_jpeg(encoded: bytes) -> tuple[bool, list[tuple[int, int]]]:
    """Whether a JPEG's end is missing, and the start and end offset of each scan's entropy-coded data."""
    at = 2
    scans: list[tuple[int, int]] = []
    while at + 1 < len(encoded):
        if encoded[at] != 0xFF:
            return False, scans
        marker = encoded[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            return False, scans
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if at + 4 > len(encoded):
            return True, scans
        at += 2 + int.from_bytes(encoded[at + 2 : at + 4])
        if marker == 0xDA:
            found = SCAN_END.search(encoded, at)
            if found is None:
                return True, scans
            scans.append((at, found.start()))
            at = found.start()
    return True, scans


def _png_is_truncated(encoded: bytes) -> bool:
    at = len(PNG)
    while at + 12 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, at)
        if kind == b"IEND":
            return False
        at += 12 + length
    return True
