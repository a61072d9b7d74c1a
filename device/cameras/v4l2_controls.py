"""A webcam's own exposure, white balance and focus, through the control requests of V4L2 (linux/videodev2.h).

They go to the device on a descriptor of their own: OpenCV has properties for most of them, but complains on standard error of each that a camera
lacks.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float64Array

QUERYCAP, G_CTRL, S_CTRL = 0x80685600, 0xC008561B, 0xC008561C
CAPABILITY = struct.Struct("=16s32s32sIII12x")
"""driver, card, bus, version, capabilities of the whole device, those of this file"""
CONTROL = struct.Struct("=Ii")
CAPTURES, HAS_DEVICE_CAPS = 0x1, 0x80000000

EXPOSURE_AUTO, EXPOSURE_ABSOLUTE, FOCUS_AUTO, FOCUS_ABSOLUTE = 0x9A0901, 0x9A0902, 0x9A090C, 0x9A090A
AUTOGAIN, GAIN, AUTO_WHITE_BALANCE, WHITE_BALANCE_TEMPERATURE = 0x980912, 0x980913, 0x98090C, 0x98091A

LEAST_COUNTS, TOLERANCE = 3.0, 0.1
"""how far a mean may move when an automatic is switched off: counts of 255, and share of what it was"""
MOST_TRIES = 4
MOST_STEP = 4.0
"""by how much the exposure is changed at most in one try"""

Request = Callable[[int, int, bytearray], int]
Means = Float64Array


@dataclass(frozen=True, slots=True)
class Automatic:
    """What a camera may follow by itself. mode: the control that says so; on: its values for that, the first that is taken counts; off: for holding
    still. values: the controls that it moves.
    """

    name: str
    mode: int
    on: tuple[int, ...]
    off: int
    values: tuple[int, ...]


EXPOSURE = Automatic("exposure", EXPOSURE_AUTO, (3, 0, 2), 1, (EXPOSURE_ABSOLUTE, GAIN))
AUTOMATICS = (
    EXPOSURE,
    Automatic("gain", AUTOGAIN, (1,), 0, (GAIN,)),
    Automatic("white balance", AUTO_WHITE_BALANCE, (1,), 0, (WHITE_BALANCE_TEMPERATURE,)),
)


class Controls:
    """The controls of one video device. Raises OSError where it cannot be opened; what the device lacks or refuses raises nothing."""

    def __init__(self, path: str, request: Request = fcntl.ioctl) -> None:
        self._request = request
        self._file: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def card(self) -> str | None:
        """What the device calls itself if it gives pictures; None where it is none that does."""
        answer = bytearray(CAPABILITY.size)
        if not self._ask(QUERYCAP, answer):
            return None
        _, card, _, _, whole, own = CAPABILITY.unpack(answer)
        gives_pictures = (own if whole & HAS_DEVICE_CAPS else whole) & CAPTURES
        return card.partition(b"\0")[0].decode("utf-8", "replace") if gives_pictures else None

    def get(self, control: int) -> int | None:
        """Its value; None where the device has no such control, or does not tell."""
        answer = bytearray(CONTROL.pack(control, 0))
        return int(CONTROL.unpack(answer)[1]) if self._ask(G_CTRL, answer) else None

    def set(self, control: int, value: int) -> bool:
        """Whether the device took the value, which it may bring into its range."""
        return self._ask(S_CTRL, bytearray(CONTROL.pack(control, value)))

    def close(self) -> None:
        """Any number of calls; never raises."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _ask(self, request: int, answer: bytearray) -> bool:
        if self._file is None:
            return False
        try:
            self._request(self._file, request, answer)
        except OSError:
            return False
        return True


def free(controls: Controls) -> list[Automatic]:
    """Let the camera follow the light by itself, also where an earlier program had it hold still. Returns what it can follow."""
    found = []
    for automatic in AUTOMATICS:
        mode = controls.get(automatic.mode)
        if mode is None:
            continue
        if mode != automatic.off or any(controls.set(automatic.mode, on) for on in automatic.on):
            found.append(automatic)
    return found


def hold(controls: Controls, automatics: list[Automatic], look: Callable[[], Means]) -> list[Automatic]:
    """Have the camera keep the exposure and white balance that it has now. Returns what it cannot hold, which stays automatic.

    look: the mean red, green and blue of a picture, 0 to 255, that was taken after all changes so far. Cameras forget what their automatic had found,
    and some never tell: so the picture decides, and exposure is sought until it is as bright as it was.
    """
    wanted = look()
    return [automatic for automatic in automatics if not _holds(controls, automatic, wanted, look)]


def _holds(controls: Controls, automatic: Automatic, wanted: Means, look: Callable[[], Means]) -> bool:
    mode, settled = controls.get(automatic.mode), {control: controls.get(control) for control in automatic.values}
    if mode is None or not controls.set(automatic.mode, automatic.off):
        return False
    for control, value in settled.items():
        if value is not None:
            controls.set(control, value)
    seen = look()
    if automatic is EXPOSURE:
        seen = _sought(controls, wanted, seen, look)
    if _strayed(wanted, seen):
        controls.set(automatic.mode, mode)
        return False
    return True


def _sought(controls: Controls, wanted: Means, seen: Means, look: Callable[[], Means]) -> Means:
    """Seek the exposure time at which pictures are as bright as `wanted`, from `seen` on. Returns what is seen with the last one tried."""
    exposure = controls.get(EXPOSURE_ABSOLUTE)
    for _ in range(MOST_TRIES):
        if not exposure or not _strayed(wanted, seen):
            break
        exposure = max(1, round(exposure * np.clip((wanted.mean() + 1) / (seen.mean() + 1), 1 / MOST_STEP, MOST_STEP)))
        controls.set(EXPOSURE_ABSOLUTE, exposure)
        seen = look()
    return seen


def _strayed(wanted: Means, seen: Means) -> bool:
    return bool((np.abs(seen - wanted) > np.maximum(LEAST_COUNTS, TOLERANCE * wanted)).any())
