"""Exposure, white balance and focus of a webcam, through the control requests of V4L2 (linux/videodev2.h).

The requests use a descriptor of their own: OpenCV has properties for most controls, but prints an error for each that a camera lacks.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from device.common.arrays import Float64Array

QUERYCAP, QUERYCTRL, G_CTRL, S_CTRL = 0x80685600, 0xC0445624, 0xC008561B, 0xC008561C
CAPABILITY = struct.Struct("=16s32s32sIII12x")
"""driver, card, bus, version, capabilities of the device, capabilities of this file"""
CONTROL = struct.Struct("=Ii")
CONTROL_LIMITS = struct.Struct("=II32siiiiI8x")
"""control, type, name, least, greatest, step, default, flags"""
CAPTURES, HAS_DEVICE_CAPS = 0x1, 0x80000000

EXPOSURE_AUTO, EXPOSURE_ABSOLUTE, FOCUS_AUTO, FOCUS_ABSOLUTE = 0x9A0901, 0x9A0902, 0x9A090C, 0x9A090A
AUTOGAIN, GAIN, AUTO_WHITE_BALANCE, WHITE_BALANCE_TEMPERATURE = 0x980912, 0x980913, 0x98090C, 0x98091A

LEAST_COUNTS, TOLERANCE = 3.0, 0.1
"""how far a mean may move when an automatic is switched off: counts of 255, and share of the mean before"""
MOST_TRIES = 4
MOST_STEP = 4.0
"""largest factor by which the exposure changes in one try"""

Request = Callable[[int, int, bytearray], int]
Means = Float64Array


@dataclass(frozen=True, slots=True)
class Automatic:
    """A quantity that a camera may adjust by itself. mode: the control that switches this. on: values of `mode` for automatic, tried in this order.
    off: the value for manual. values: the controls that the automatic adjusts.
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
    """The controls of one video device. The constructor raises OSError if it cannot be opened; a control that it lacks or refuses raises nothing."""

    def __init__(self, path: str, request: Request = fcntl.ioctl) -> None:
        self._request = request
        self._file: int | None = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def card(self) -> str | None:
        """The name of the device; None if it is no camera."""
        answer = bytearray(CAPABILITY.size)
        if not self._ask(QUERYCAP, answer):
            return None
        _, card, _, _, whole, own = CAPABILITY.unpack(answer)
        gives_pictures = (own if whole & HAS_DEVICE_CAPS else whole) & CAPTURES
        return card.partition(b"\0")[0].decode("utf-8", "replace") if gives_pictures else None

    def get(self, control: int) -> int | None:
        """The value of a control; None if the device has no such control, or does not report it."""
        answer = bytearray(CONTROL.pack(control, 0))
        return int(CONTROL.unpack(answer)[1]) if self._ask(G_CTRL, answer) else None

    def set(self, control: int, value: int) -> bool:
        """Set a control. Returns whether the device accepted the value, which it may clip to its range."""
        return self._ask(S_CTRL, bytearray(CONTROL.pack(control, value)))

    def limits(self, control: int) -> tuple[int, int] | None:
        """The least and the greatest value of a control; None if the device has no such control."""
        answer = bytearray(CONTROL_LIMITS.pack(control, 0, b"", 0, 0, 0, 0, 0))
        if not self._ask(QUERYCTRL, answer):
            return None
        _, _, _, least, greatest, *_ = CONTROL_LIMITS.unpack(answer)
        return int(least), int(greatest)

    def close(self) -> None:
        """Close the device. Any number of calls; never raises."""
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


def enable_automatics(controls: Controls) -> list[Automatic]:
    """Switch every automatic on, also where an earlier program had switched it off. Returns those that the camera has."""
    found = []
    for automatic in AUTOMATICS:
        mode = controls.get(automatic.mode)
        if mode is None:
            continue
        if mode != automatic.off or any(controls.set(automatic.mode, on) for on in automatic.on):
            found.append(automatic)
    return found


def lock(controls: Controls, automatics: list[Automatic], measure: Callable[[], Means]) -> list[Automatic]:
    """Lock exposure and white balance at their present values. Returns the automatics that cannot be locked; they stay on.

    measure: the mean red, green and blue, 0..255, of a frame that was taken after all changes so far. Cameras forget the values that their automatic
    had found, and some never report them. So the frame decides, and the exposure is searched until the frame is as bright as before.
    """
    wanted = measure()
    return [automatic for automatic in automatics if not _lock_one(controls, automatic, wanted, measure)]


def _lock_one(controls: Controls, automatic: Automatic, wanted: Means, measure: Callable[[], Means]) -> bool:
    mode, settled = controls.get(automatic.mode), {control: controls.get(control) for control in automatic.values}
    if mode is None or not controls.set(automatic.mode, automatic.off):
        return False
    for control, value in settled.items():
        if value is not None:
            controls.set(control, value)
    found = measure()
    if automatic is EXPOSURE:
        found = _search_exposure(controls, wanted, found, measure)
    if _differs(wanted, found):
        controls.set(automatic.mode, mode)
        return False
    return True


def _search_exposure(controls: Controls, wanted: Means, found: Means, measure: Callable[[], Means]) -> Means:
    """Search the exposure time at which frames are as bright as `wanted`; they are `found` now. Returns the means with the last one tried."""
    exposure = controls.get(EXPOSURE_ABSOLUTE)
    for _ in range(MOST_TRIES):
        if not exposure or not _differs(wanted, found):
            break
        exposure = max(1, round(exposure * np.clip((wanted.mean() + 1) / (found.mean() + 1), 1 / MOST_STEP, MOST_STEP)))
        controls.set(EXPOSURE_ABSOLUTE, exposure)
        found = measure()
    return found


def _differs(wanted: Means, found: Means) -> bool:
    return bool((np.abs(found - wanted) > np.maximum(LEAST_COUNTS, TOLERANCE * wanted)).any())
