"""A VL53L1X, which measures distance by the time of flight of light, on an I2C bus. ST's own code drives it, in Pimoroni's package VL53L1X."""

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta

from device.sensors import CountItems, LevelReading, SensorError
from device.sensors.settings import RangingBase

FIRST_ADDRESS = 0x29
"""where the sensor answers once it has power"""
MODEL_REGISTER, MODEL = 0x010F, 0xEACC
"""register of the model and module type, and what a VL53L1X has there: data sheet of the VL53L1X, DS12385, 4.2"""
SHORT = 1
"""distance mode: up to 1.3 m, least disturbed by other light"""
LONG = 3
SHORT_CM = 120.0
"""empty bins up to this depth are measured in the short mode"""
_LIBRARY = threading.Lock()
"""the package keeps its last measurement and its bus in variables of the process, so one sensor at a time"""


class TofSettings(RangingBase, frozen=True, kw_only=True, tag="tof"):
    """A VL53L1X above the bin. All of a bin's are on one I2C bus, each with an address of its own, or behind a multiplexer."""

    bus: Annotated[int, Meta(ge=0, le=99)] = 1
    """number N of /dev/i2c-N; 1 on a Pi's header"""
    address: Annotated[int, Meta(ge=0x08, le=0x77)] = FIRST_ADDRESS
    """on that bus"""
    multiplexer: Annotated[int, Meta(ge=0x70, le=0x77)] | None = None
    """address of a TCA9548A before it"""
    channel: Annotated[int, Meta(ge=0, le=7)] = 0
    """channel of the multiplexer"""
    measurements: Annotated[int, Meta(ge=1, le=25)] = 5
    """measurements a reading; their median counts, and more than half of them must be valid"""

    @property
    def lines(self) -> tuple[str, ...]:
        behind = "" if self.multiplexer is None else f" on channel {self.channel} of the multiplexer 0x{self.multiplexer:02x}"
        return (f"address 0x{self.address:02x}{behind} of /dev/i2c-{self.bus}",)

    def open(self, count_items: CountItems) -> "TimeOfFlight":
        return TimeOfFlight(self)


class TimeOfFlight:
    """Measures on demand. The package and smbus2 are imported only when such a sensor is chosen.

    The package tells nothing of I2C errors (it prints them, and goes on with what was in memory), so the sensor is asked for its model before and
    after each reading: one that is gone, or was replaced by noise on the bus, raises SensorError.
    """

    def __init__(self, settings: TofSettings) -> None:
        self._settings = settings
        with _LIBRARY:
            library, self._smbus = _import(settings)
            self._require_model()
            with self._errors():
                behind = {} if settings.multiplexer is None else {"tca9548a_num": settings.channel, "tca9548a_addr": settings.multiplexer}
                self._tof = library.VL53L1X(i2c_bus=settings.bus, i2c_address=settings.address, **behind)
                self._tof.open()
                self._tof.set_distance_mode(SHORT if settings.empty_cm <= SHORT_CM else LONG)

    def read(self) -> LevelReading:
        settings = self._settings
        with _LIBRARY:
            self._require_model()
            with self._errors():
                self._tof.start_ranging(0)
                try:
                    measured_mm = [self._tof.get_distance() for _ in range(settings.measurements)]
                    why = self._tof.get_range_status_string()
                finally:
                    self._tof.stop_ranging()
            self._require_model()
        valid_mm = [distance_mm for distance_mm in measured_mm if distance_mm >= 0]
        if 2 * len(valid_mm) <= settings.measurements:
            valid = f"{len(valid_mm)} of {settings.measurements} measurements are valid"
            raise SensorError(f"{settings.name}: {valid} ({why}): is its window clean, and no lamp shining into it?")
        return settings.reading(time.monotonic(), statistics.median(valid_mm) / 10)

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._tof.close()

    def _require_model(self) -> None:
        """Raise SensorError unless a VL53L1X answers."""
        settings = self._settings
        with self._errors(), self._smbus.SMBus(settings.bus) as bus:
            if settings.multiplexer is not None:
                bus.write_byte(settings.multiplexer, 1 << settings.channel)
            register = self._smbus.i2c_msg.write(settings.address, MODEL_REGISTER.to_bytes(2, "big"))
            answer = self._smbus.i2c_msg.read(settings.address, 2)
            bus.i2c_rdwr(register, answer)
            model = int.from_bytes(bytes(answer), "big")
        if model != MODEL:
            raise SensorError(f"{settings.name}: {settings.lines[0]} says model {model:04x}, expected a VL53L1X, {MODEL:04x}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the bus and of the package into SensorError."""
        try:
            yield
        except (OSError, RuntimeError) as error:
            if isinstance(error, SensorError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            cure = "is it wired, I2C switched on (dtparam=i2c_arm=on), and the user in group `i2c`?"
            raise SensorError(f"{self._settings.name}: {self._settings.lines[0]}: {reason}; {cure}") from error


def _import(settings: TofSettings) -> tuple[Any, Any]:
    """The packages VL53L1X and smbus2."""
    try:
        import smbus2
        import VL53L1X
    except Exception as error:  # a package that is missing, or built for another system, may raise anything
        missing = f"{settings.name}: the package VL53L1X cannot be imported ({error})"
        raise SensorError(f"{missing}; install it with `pip install VL53L1X`, on an installed bin `sudo /opt/sortbin/bin/pip`") from error
    return VL53L1X, smbus2
