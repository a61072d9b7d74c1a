"""Reads one level sensor again and again: on a thread of its own where that waits for hardware, else on the caller's."""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from device.sensors import LevelReading, LevelSensor, SensorError

log = logging.getLogger(__name__)

HANG_S = 15.0
"""A reading that takes longer hangs: its thread is abandoned to the driver, and another one opens the sensor."""
MOST_ABANDONED = 2
FIRST_PACE_S = 1.0
"""pace of the first readings after an opening, until there are enough for a median"""
FIRST_READINGS = 5
PAUSE_S = (2.0, 60.0)
"""first and longest pause before a sensor that failed is opened again; it doubles each time"""
LOG_EVERY_S = 3600.0
"""how often the log says the same of a sensor that fails now and then"""


class SensorReader(Protocol):
    """What `Levels` needs of a sensor. newest: None before the first reading. error: why there is none now, one line; empty: it works."""

    newest: LevelReading | None
    error: str

    def poll(self, now_s: float) -> None:
        """Take a reading that is due, or see whether the thread that takes them hangs. Returns at once."""
        ...

    def close(self) -> None:
        """Stop reading. The sensor is closed once its driver returns, which is not waited for. Any number of calls; never raises."""
        ...


class _FailureLog:
    """Logs that a sensor failed, once an hour at most, and that it works again."""

    def __init__(self) -> None:
        self._next_s = -math.inf
        self._logged = False

    def failed(self, message: str, now_s: float) -> None:
        if now_s >= self._next_s:
            self._next_s = now_s + LOG_EVERY_S
            self._logged = True
            log.warning("%s", message)

    def works(self, name: str) -> None:
        if self._logged:
            self._logged = False
            log.info("%s: works again", name)


class InlineReader:
    """Reads a sensor that takes no time, on the caller's thread."""

    def __init__(self, name: str, open_sensor: Callable[[], LevelSensor], pace_s: float) -> None:
        self.newest: LevelReading | None = None
        self.error = ""
        self._name, self._open_sensor, self._pace_s = name, open_sensor, pace_s
        self._sensor: LevelSensor | None = None
        self._due_s = -math.inf
        self._failures = _FailureLog()

    def poll(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._pace_s
        try:
            self._sensor = self._sensor or self._open_sensor()
            self.newest = self._sensor.read()
        except SensorError as error:
            self.close()
            self.error = str(error)
            self._failures.failed(self.error, now_s)
        else:
            self.error = ""
            self._failures.works(self._name)

    def close(self) -> None:
        sensor, self._sensor = self._sensor, None
        if sensor is not None:
            sensor.close()


class _Run:
    """One thread's turn with its sensor. calling_since_s: when its call into the driver began, None outside of calls."""

    def __init__(self) -> None:
        self.calling_since_s: float | None = None


class SensorThread:
    """Reads a sensor in a thread of its own, and opens it again after it failed, with growing pauses. Any thread may call any method."""

    def __init__(self, name: str, open_sensor: Callable[[], LevelSensor], pace_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.newest: LevelReading | None = None
        self.error = ""
        self._name, self._open_sensor, self._pace_s, self._clock = name, open_sensor, pace_s, clock
        self._pause_s = PAUSE_S[0]
        self._failures = _FailureLog()
        self._changed = threading.Condition()
        self._abandoned = 0
        self._run: _Run | None = None
        with self._changed:
            self._start()

    def poll(self, now_s: float) -> None:
        run = self._run
        if run is None or not self._hangs(run, now_s):
            return
        with self._changed:
            if self._run is not run:
                return
            self.error = f"{self._name}: its driver has not answered for {HANG_S:g} s; switch the bin off and on"
            self._failures.failed(self.error, now_s)
            if self._abandoned < MOST_ABANDONED:
                self._abandoned += 1
                self._start()

    def close(self) -> None:
        with self._changed:
            self._run = None
            self._changed.notify_all()

    def _start(self) -> None:
        run = _Run()
        # A daemon thread, so that one that hangs in a driver does not keep the process from ending.
        thread = threading.Thread(target=self._read_until_closed, args=(run,), name="level", daemon=True)
        self._run = run
        thread.start()

    def _hangs(self, run: _Run, now_s: float) -> bool:
        since_s = run.calling_since_s
        return since_s is not None and now_s - since_s > HANG_S

    def _read_until_closed(self, run: _Run) -> None:
        try:
            while self._run is run:
                try:
                    self._read_sensor(run)
                except SensorError as error:
                    self._pause_after(run, str(error))
                except Exception as error:  # a bug in a driver must not end sorting
                    self._pause_after(run, f"{self._name}: {type(error).__name__}: {error}")
        finally:
            with self._changed:
                if self._run is not run and self._run is not None:
                    self._abandoned -= 1

    def _read_sensor(self, run: _Run) -> None:
        run.calling_since_s = self._clock()
        sensor = self._open_sensor()
        try:
            readings = 0
            while self._run is run:
                run.calling_since_s = self._clock()
                reading = sensor.read()
                run.calling_since_s = None
                readings += 1
                with self._changed:
                    if self._run is not run:
                        return
                    self.newest, self.error, self._pause_s = reading, "", PAUSE_S[0]
                    self._failures.works(self._name)
                    pace_s = min(self._pace_s, FIRST_PACE_S) if readings < FIRST_READINGS else self._pace_s
                    self._changed.wait_for(lambda: self._run is not run, pace_s)
        finally:
            run.calling_since_s = self._clock()
            sensor.close()
            run.calling_since_s = None

    def _pause_after(self, run: _Run, message: str) -> None:
        with self._changed:
            run.calling_since_s = None
            if self._run is not run:
                return
            self.error = message
            self._failures.failed(message, self._clock())
            pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, PAUSE_S[1])
            self._changed.wait_for(lambda: self._run is not run, pause_s)
