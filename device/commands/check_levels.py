"""Reads each level sensor once, for `sortbin check`."""

import contextlib
import threading
import time
from collections.abc import Iterable

from device.sensors import LevelReading, SensorError
from device.sensors.levels import WiredSensor, start_reading

READ_S = 20.0
"""longest wait for a reading: longer than a driver may take before it counts as hung"""
POLL_S = 0.05


def read_sensors(sensors: Iterable[WiredSensor], stop: threading.Event) -> str:
    """What each sensor says, on one line. Raises SensorError, with what the others say, where one fails."""
    told, failed = [], []
    for sensor in sensors:
        try:
            told.append(_read(sensor, stop))
        except SensorError as error:
            failed.append(str(error))
    if failed:
        raise SensorError("; ".join([*failed, *told]))
    return "; ".join(told) or "no [[level]] table: how full the bins are is not known"


def _read(sensor: WiredSensor, stop: threading.Event) -> str:
    settings = sensor.settings
    if settings.estimates:
        return f"{settings.bin}: reckoned from its items, {settings.describe()}"
    with contextlib.closing(start_reading(sensor, dict)) as reader:
        until_s = time.monotonic() + READ_S
        while reader.newest is None and not reader.error and time.monotonic() < until_s and not stop.wait(POLL_S):
            reader.poll(time.monotonic())
        if reader.newest is None:
            raise SensorError(reader.error or f"{settings.name}: no reading within {READ_S:g} s")
        return f"{settings.bin}: {_described(reader.newest)} ({settings.kind}, {settings.describe()})"


def _described(reading: LevelReading) -> str:
    if reading.percent is None:
        return "something lies before the beam" if reading.blocked else "nothing lies before the beam"
    return f"{reading.percent:.0f} % full" + ("" if reading.distance_cm is None else f", {reading.distance_cm:.1f} cm")
