"""Whether a webcam's picture arrived whole. Bytes that get lost on the USB cable are told by nothing else than this."""

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
"""a warning; libjpeg gives the first one of each picture"""
DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG")
EXTRANEOUS = re.compile(rb"\b(\d+) extraneous bytes before marker")
MOST_EXTRANEOUS = 8
"""bytes between two intervals of a picture that many webcams fill up with, and that change no pixel. Of frames that lost 16 to 4096 bytes 1 % say
no more than that (n = 1,080)"""
GREENS = (134, 135, 136, 153, 154, 155)
"""what zeros, which stand where no bytes came, turn to as brightness and two colours: this green without any red or blue"""

_one_at_a_time = threading.Lock()


def decode(with_opencv: Callable[[], T]) -> tuple[T, bool]:
    """Have OpenCV decode a JPEG. Returns what it returns, and whether libjpeg found the picture damaged.

    libjpeg says so on standard error alone, OpenCV hands such a picture on as sound. Its lines go no further, those that other threads write
    meanwhile are passed on. A crash in here takes its last words with it.
    """
    with _one_at_a_time:
        try:
            saved = os.dup(STDERR)
        except OSError:  # closed: nobody can say anything
            return with_opencv(), False
        listener = _listener()
        os.ftruncate(listener, 0)
        os.lseek(listener, 0, os.SEEK_SET)
        try:
            os.dup2(listener, STDERR)
            try:
                decoded = with_opencv()
            finally:
                os.dup2(saved, STDERR)
            said = os.pread(listener, os.fstat(listener).st_size, 0)
        finally:
            os.close(saved)
    if said:
        _pass_on(LIBJPEG.sub(b"", said))
    return decoded, any(_tells_of_damage(line) for line in LIBJPEG.findall(said))


def lacks_its_end(picture: Pixels) -> bool:
    """Whether the last row is the green that missing bytes turn to. picture: H x W x 3 uint8, RGB or BGR."""
    last = picture[-1]
    green = int(last[0, 1])
    return green in GREENS and bool((last == (0, green, 0)).all())


def _tells_of_damage(warning: bytes) -> bool:
    extraneous = EXTRANEOUS.search(warning)
    return warning.startswith(DAMAGE) and (extraneous is None or int(extraneous[1]) > MOST_EXTRANEOUS)


@functools.cache
def _listener() -> int:
    """A file in memory; a pipe might fill up and hold whoever writes."""
    return os.memfd_create("decoder", os.MFD_CLOEXEC)


def _pass_on(text: bytes) -> None:
    if text:
        with contextlib.suppress(OSError):
            os.write(STDERR, text)
