"""A fake webcam driver: exposure and white balance follow the light until they are locked."""

import errno
import struct

import numpy as np

from device.cameras import v4l2_controls as v4l2
from device.common.arrays import Float64Array

BRIGHT = 118.0
"""mean brightness that automatic exposure aims at"""


class Webcam:
    """The driver's side of `fcntl.ioctl`, and the mean colour of a frame."""

    def __init__(self) -> None:
        self.light, self.lamp_kelvin = 1.0, 4500
        self.tells_exposure = self.tells_kelvin = True
        self.manual_exposure, self.manual_kelvin = 250, 4000
        self.exposure_menu = {1, 3}
        self.refuses: set[int] = set()
        self.ignores: set[int] = set()
        """controls that it stores and reports, but that change nothing"""
        self.lag_frames = 0
        """frames that still come as before after a control was set"""
        self.exposure_limits: tuple[int, int] | None = (3, 2047)
        self._effective_exposure = 250
        self._coming: list[Float64Array] = []
        self.own_capabilities = 0x05200001
        self.values = {v4l2.EXPOSURE_AUTO: 3, v4l2.AUTO_WHITE_BALANCE: 1, v4l2.GAIN: 64, v4l2.FOCUS_AUTO: 1, v4l2.FOCUS_ABSOLUTE: 30}

    def means(self) -> Float64Array:
        """Mean red, green and blue of a picture, once the automatics have settled."""
        tint = (self._kelvin() - self.lamp_kelvin) / 10_000
        colour = np.array([1.0 + tint, 1.0, 1.0 - tint])
        shown = self._effective_exposure if self.ignores and self._exposure() == self.manual_exposure else self._exposure()
        return np.clip(0.4 * self.light * shown * colour, 0, 255)

    def next_means(self) -> Float64Array:
        """The means of the next frame, which lags behind the controls."""
        self._coming.append(self.means())
        del self._coming[: -1 - self.lag_frames]
        return self._coming[0]

    def request(self, file: int, code: int, answer: bytearray) -> int:
        """One request. Raises OSError as the kernel does."""
        if code == v4l2.QUERYCAP:
            answer[:] = struct.pack("=16s32s32sIII12x", b"uvcvideo", b"HD Pro Webcam C920", b"usb-1", 0, 0x84A00001, self.own_capabilities)
            return 0
        if code == v4l2.QUERYCTRL:
            self._require(v4l2.CONTROL_LIMITS.unpack(answer)[0] == v4l2.EXPOSURE_ABSOLUTE and self.exposure_limits is not None)
            answer[:] = v4l2.CONTROL_LIMITS.pack(v4l2.EXPOSURE_ABSOLUTE, 1, b"Exposure", *(self.exposure_limits or (0, 0)), 1, 250, 0)
            return 0
        control, value = struct.unpack("=Ii", answer)
        known = {*self.values, v4l2.EXPOSURE_ABSOLUTE, v4l2.WHITE_BALANCE_TEMPERATURE}
        if control not in known or (code == v4l2.S_CTRL and control in self.refuses):
            raise OSError(errno.EINVAL, "Invalid argument")
        if code == v4l2.S_CTRL:
            self._set(control, value)
        else:
            answer[:] = struct.pack("=Ii", control, self._get(control))
        return 0

    def _set(self, control: int, value: int) -> None:
        if control == v4l2.EXPOSURE_ABSOLUTE:
            self._require(self.values[v4l2.EXPOSURE_AUTO] == 1)
            self.manual_exposure = min(max(value, 3), 2047)
            if control not in self.ignores:
                self._effective_exposure = self.manual_exposure
        elif control == v4l2.WHITE_BALANCE_TEMPERATURE:
            self._require(not self.values[v4l2.AUTO_WHITE_BALANCE])
            self.manual_kelvin = min(max(value, 2000), 6500)
        else:
            self._require(control != v4l2.EXPOSURE_AUTO or value in self.exposure_menu)
            self.values[control] = value

    def _get(self, control: int) -> int:
        if control == v4l2.EXPOSURE_ABSOLUTE:
            return round(self._exposure()) if self.tells_exposure else self.manual_exposure
        if control == v4l2.WHITE_BALANCE_TEMPERATURE:
            return self._kelvin() if self.tells_kelvin else self.manual_kelvin
        return self.values[control]

    def _exposure(self) -> float:
        follows = self.values[v4l2.EXPOSURE_AUTO] != 1
        return BRIGHT / (0.4 * self.light) if follows else self.manual_exposure

    def _kelvin(self) -> int:
        return self.lamp_kelvin if self.values[v4l2.AUTO_WHITE_BALANCE] else self.manual_kelvin

    def _require(self, allowed: bool) -> None:
        if not allowed:
            raise OSError(errno.EINVAL, "Invalid argument")
