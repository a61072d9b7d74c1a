"""One PWM channel of the kernel, through its files in /sys/class/pwm (Documentation/driver-api/pwm.rst)."""

import fcntl
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device.gates import GateError

log = logging.getLogger(__name__)

PWM_CLASS = Path("/sys/class/pwm")
HEADER = ("1f00098000.pwm", "fe20c000.pwm", "3f20c000.pwm", "2020c000.pwm")
"""PWM devices whose outputs are on the 40-pin header: of a Pi 5, Pi 4, Pi 3 and Zero 2 W, Pi 1 and Zero"""
FAN = "1f0009c000.pwm"
"""the PWM device that drives the fan of a Pi 5"""
EXPORT_S = 2.0
POLL_S = 0.02


@dataclass(frozen=True)
class PwmWiring:
    """The output that a servo is wired to. chip: N for pwmchipN, the name of its device, or empty for the one of a Raspberry Pi's header."""

    chip: int | str
    channel: int
    period_us: float


class PwmChannel:
    """A channel that only this process uses. The constructor switches its pulses off and leaves their length unchanged.

    name: the user of the channel, for messages.
    If the channel has to be exported, the constructor waits at most two seconds for udev to give the files to our group. The channel stays
    exported, so that the kernel remembers the last pulse for the next start. Every method raises GateError naming the file.
    """

    def __init__(
        self,
        name: str,
        wiring: PwmWiring,
        *,
        root: Path = PWM_CLASS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._lock: int | None = None
        folder, device = self._find_chip(wiring.chip, root)
        self._folder = root / folder / f"pwm{wiring.channel}"
        self.output = f"channel {wiring.channel} of {folder} ({device}{', the fan of a Pi 5' if device == FAN else ''})"
        """the channel, for messages"""
        self._export(wiring.channel, clock, sleep)
        self._claim()
        try:
            if self._read("enable") != "0":
                self._write("enable", "0")
            self._set_period(round(1000 * wiring.period_us))
            if self._read("polarity") != "normal":
                self._write("polarity", "normal")
        except GateError:
            self.release()
            raise

    @property
    def pulse_us(self) -> float:
        """Length of the pulse in microseconds, whether pulses are on or off."""
        return int(self._read("duty_cycle")) / 1000

    def set_pulse(self, pulse_us: float) -> None:
        """Set the length of the pulse, microseconds."""
        self._write("duty_cycle", str(round(1000 * pulse_us)))

    def on(self) -> None:
        """Send pulses."""
        self._write("enable", "1")

    def off(self) -> None:
        """Stop the pulses: the output stays low."""
        self._write("enable", "0")

    def release(self) -> None:
        """Stop the pulses and release the channel for other processes. Any number of calls; never raises."""
        if self._lock is None:
            return
        try:
            self.off()
        except GateError as error:
            log.error("%s; its pulses may still be on", error)
        os.close(self._lock)
        self._lock = None

    def _find_chip(self, chip: int | str, root: Path) -> tuple[str, str]:
        """The names of the chip and of its device."""
        there = {folder.name: (folder / "device").resolve().name for folder in sorted(root.glob("pwmchip*"))}
        for folder, device in there.items():
            if device in HEADER if chip == "" else chip in (device, folder) or f"pwmchip{chip}" == folder:
                return folder, device
        listed = ", ".join(f"{folder} ({device})" for folder, device in there.items()) or "none"
        wanted = "of a Pi's header" if chip == "" else str(chip)
        raise GateError(f"{self._name}: no PWM chip {wanted} in {root}, there is {listed}; a Pi needs an overlay, dtoverlay=pwm-2chan in config.txt")

    def _export(self, channel: int, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if not self._folder.exists():
            self._write_file(self._folder.parent / "export", str(channel))
        deadline_s = clock() + EXPORT_S
        while not all(os.access(self._folder / name, os.R_OK | os.W_OK) for name in ("enable", "period", "duty_cycle")):
            if clock() >= deadline_s:
                raise GateError(f"{self._name}: {self._folder} may not be written; install 60-sortbin.rules and add the user to the group `gpio`")
            sleep(POLL_S)

    def _claim(self) -> None:
        """Lock the folder. The kernel unlocks it when the process ends, however it ends."""
        try:
            lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise GateError(f"{self._name}: {self._folder}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise GateError(f"{self._name}: {self._folder} is in use by another gate or another Sortbin (`sudo systemctl stop sortbin`)") from error
        self._lock = lock

    def _set_period(self, period_ns: int) -> None:
        """Set the period. The kernel refuses any state in which the pulse is longer than the period."""
        if int(self._read("period")) == period_ns:
            return
        if int(self._read("duty_cycle")) > period_ns:
            self._write("duty_cycle", "0")
        self._write("period", str(period_ns))

    def _read(self, name: str) -> str:
        file = self._folder / name
        try:
            return file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise GateError(f"{self._name}: cannot read {file}: {error.strerror}") from error

    def _write(self, name: str, text: str) -> None:
        if self._lock is None:
            raise GateError(f"{self._name}: {self._folder} has been released")
        self._write_file(self._folder / name, text)

    def _write_file(self, file: Path, text: str) -> None:
        # Unbuffered, so that this write raises the kernel's error, not a later flush.
        try:
            with file.open("wb", buffering=0) as out:
                out.write(text.encode("ascii"))
        except OSError as error:
            raise GateError(f"{self._name}: cannot write {text} to {file}: {error.strerror}") from error
