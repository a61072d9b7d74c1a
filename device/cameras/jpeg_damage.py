"""Detects pictures of a webcam that lost bytes on the USB cable. No driver reports that; only the decoder's warnings and the pixels show it."""

import contextlib
import functools
import os
import re
import threading
from collections.abc import Callable
from typing import TypeVar

from device.vision.inference.preprocess import Pixels

T = TypeVar("T")

STDERR = 2
LIBJPEG = re.compile(rb"^(?:Corrupt JPEG data|Premature end of JPEG|Invalid SOS parameters|Warning: unknown JFIF|Unknown Adobe).*\n?", re.MULTILINE)
"""warnings of libjpeg, which prints only the first one of each picture"""
DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG")
EXTRANEOUS = re.compile(rb"\b(\d+) extraneous bytes before marker")
MOST_EXTRANEOUS = 8
"""padding between two intervals that many webcams send and that changes no pixel. Of frames that lost 16 to 4096 bytes, 1 % cause no more than
this warning (n = 1,080)"""
GREENS = (134, 135, 136, 153, 154, 155)
"""the green, without red or blue, that zeros decode to: they stand where bytes are missing"""

_one_at_a_time = threading.Lock()


def decode(with_opencv: Callable[[], T]) -> tuple[T, bool]:
    """Decode a JPEG with OpenCV. Returns what OpenCV returns, and whether libjpeg found the picture damaged.

    libjpeg reports damage on standard error alone, and OpenCV returns the picture as sound. So standard error is captured meanwhile: libjpeg's
    lines are removed, those of other threads are passed on. What a crash prints in here is lost.
    """
    with _one_at_a_time:
        try:
            saved = os.dup(STDERR)
        except OSError:  # standard error is closed: nothing can be printed
            return with_opencv(), False
        captured = _capture_file()
        os.ftruncate(captured, 0)
        os.lseek(captured, 0, os.SEEK_SET)
        try:
            os.dup2(captured, STDERR)
            try:
                decoded = with_opencv()
            finally:
                os.dup2(saved, STDERR)
            printed = os.pread(captured, os.fstat(captured).st_size, 0)
        finally:
            os.close(saved)
    if printed:
        _pass_on(LIBJPEG.sub(b"", printed))
    return decoded, any(_reports_damage(line) for line in LIBJPEG.findall(printed))


def lacks_its_end(picture: Pixels) -> bool:
    """Whether the last row is the green of missing bytes. picture: H x W x 3 uint8, RGB or BGR."""
    last = picture[-1]
    green = int(last[0, 1])
    return green in GREENS and bool((last == (0, green, 0)).all())


def _reports_damage(warning: bytes) -> bool:
    extraneous = EXTRANEOUS.search(warning)
    return warning.startswith(DAMAGE) and (extraneous is None or int(extraneous[1]) > MOST_EXTRANEOUS)


@functools.cache
def _capture_file() -> int:
    """A file in memory; a pipe might fill up and block the writer."""
    return os.memfd_create("decoder", os.MFD_CLOEXEC)


def _pass_on(text: bytes) -> None:
    if text:
        with contextlib.suppress(OSError):
            os.write(STDERR, text)
