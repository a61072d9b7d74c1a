"""A VL53L1X, with stand-ins for the packages VL53L1X and smbus2 that fail as these do."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from device.sensors import SensorError
from device.sensors.tof import TimeOfFlight, TofSettings

SETTINGS = TofSettings(bin="glass", empty_cm=70, full_cm=20)


class Bus:
    """An I2C bus. answers: the model by address, behind each channel of the multiplexer (None: no multiplexer)."""

    def __init__(self) -> None:
        self.answers: dict[tuple[int, int | None], int] = {(0x29, None): 0xEACC}
        self.channel: int | None = None
        self.measured_mm = [450]
        self.modes: list[int] = []
        self.ranging = False
        self.open = 0
        self.vanish_after: int | None = None

    def model(self, address: int) -> int:
        if (address, self.channel) not in self.answers:
            raise OSError(121, "Remote I/O error")
        return self.answers[address, self.channel]


def modules(bus: Bus) -> dict[str, Any]:
    class SMBus:
        def __init__(self, number: int) -> None:
            if number != 1:
                raise FileNotFoundError(2, "No such file or directory")

        def __enter__(self) -> "SMBus":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def write_byte(self, address: int, value: int) -> None:
            assert address == 0x70
            bus.channel = value.bit_length() - 1

        def i2c_rdwr(self, write: Any, read: Any) -> None:
            assert write.data == b"\x01\x0f"
            read[:] = bus.model(write.address).to_bytes(2, "big")

    class Sensor:
        def __init__(self, i2c_bus: int = 1, i2c_address: int = 0x29, tca9548a_num: int = 255, tca9548a_addr: int = 0) -> None:
            self.address, self.number = i2c_address, 0

        def open(self, reset: bool = False) -> None:
            bus.open += 1

        def close(self) -> None:
            bus.open -= 1

        def set_distance_mode(self, mode: int) -> None:
            bus.modes.append(mode)

        def start_ranging(self, mode: int = 3) -> None:
            assert mode == 0
            bus.ranging = True

        def stop_ranging(self) -> None:
            bus.ranging = False

        def get_distance(self) -> int:
            assert bus.ranging
            self.number += 1
            if bus.vanish_after == self.number:
                bus.answers.clear()
            return bus.measured_mm[(self.number - 1) % len(bus.measured_mm)]

        def get_range_status_string(self) -> str:
            return "Signal Fail"

    message = SimpleNamespace(
        write=lambda address, data: SimpleNamespace(address=address, data=bytes(data)), read=lambda address, length: bytearray(length)
    )
    return {"smbus2": SimpleNamespace(SMBus=SMBus, i2c_msg=message), "VL53L1X": SimpleNamespace(VL53L1X=Sensor)}


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()
    for name, module in modules(bus).items():
        monkeypatch.setitem(sys.modules, name, module)
    return bus


def test_the_median_of_valid_measurements_counts(bus: Bus) -> None:
    bus.measured_mm = [450, 80, -1, 452, 448]
    sensor = TimeOfFlight(SETTINGS)
    reading = sensor.read()
    assert (reading.distance_cm, reading.percent) == (44.9, pytest.approx(50.2))
    assert not bus.ranging
    sensor.close()
    assert bus.open == 0


def test_the_mode_suits_the_depth_of_the_bin(bus: Bus) -> None:
    TimeOfFlight(SETTINGS)
    TimeOfFlight(TofSettings(bin="glass", empty_cm=200, full_cm=20))
    assert bus.modes == [1, 3]


def test_measurements_that_the_sensor_rejects_are_said_with_its_reason(bus: Bus) -> None:
    bus.measured_mm = [450, -1, -1]
    with pytest.raises(SensorError, match=r"level glass \(tof\): 1 of 3 measurements are valid \(Signal Fail\)"):
        TimeOfFlight(TofSettings(bin="glass", empty_cm=70, full_cm=20, measurements=3)).read()


def test_a_sensor_that_vanishes_while_it_measures_gives_no_reading(bus: Bus) -> None:
    """The package hides errors of the bus, and goes on with what was in memory."""
    sensor = TimeOfFlight(SETTINGS)
    bus.vanish_after = 2
    with pytest.raises(SensorError, match=r"address 0x29 of /dev/i2c-1: Remote I/O error; is it wired"):
        sensor.read()


def test_another_chip_at_its_address_is_refused(bus: Bus) -> None:
    bus.answers[0x29, None] = 0xEEAA
    with pytest.raises(SensorError, match="says model eeaa, expected a VL53L1X, eacc"):
        TimeOfFlight(SETTINGS)


def test_a_multiplexer_is_set_to_its_channel_first(bus: Bus) -> None:
    bus.answers = {(0x29, 3): 0xEACC}
    settings = TofSettings(bin="glass", empty_cm=70, full_cm=20, multiplexer=0x70, channel=3)
    assert TimeOfFlight(settings).read().distance_cm == 45
    assert settings.lines == ("address 0x29 on channel 3 of the multiplexer 0x70 of /dev/i2c-1",)


def test_a_missing_bus_and_a_missing_package_are_one_line_each(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SensorError, match=r"/dev/i2c-7: No such file or directory; is it wired, I2C switched on"):
        TimeOfFlight(TofSettings(bin="glass", empty_cm=70, full_cm=20, bus=7))
    monkeypatch.setitem(sys.modules, "VL53L1X", None)
    with pytest.raises(SensorError, match=r"the package VL53L1X cannot be imported .*; install it with `pip install VL53L1X`"):
        TimeOfFlight(SETTINGS)
