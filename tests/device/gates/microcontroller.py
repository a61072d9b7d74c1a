"""The other side of a serial gate on a pseudo-terminal: a microcontroller as docs/microcontroller.md describes it, and its faults."""

import contextlib
import os
import re
import tty
from collections.abc import Callable
from pathlib import Path

from device.gates.serial import checksum

QUIET_S = 2.0
COMMAND = re.compile(rb"(move (\d+)|ask|off) #(\d+)")


class Microcontroller:
    """`port` is the file that the gate opens. `run` lets its time pass up to `now_s`.

    carried_out: each command that it began, once. loses: called with each byte string that goes either way, True loses it.
    """

    def __init__(self, port: Path, travel_s: float = 0.5) -> None:
        self.port, self.travel_s = port, travel_s
        self.carried_out: list[tuple[str, int]] = []
        self.received: list[bytes] = []
        self.loses: Callable[[bytes], bool] = lambda _: False
        self.noise = b""
        self.is_jammed = self.is_stuck = self.is_deaf = self.uses_checksum = False
        self.place, self.is_off = 0, True
        self._file = self._other_end = -1
        self.restart()
        self.plug_in()

    def plug_in(self) -> None:
        self._file, self._other_end = os.openpty()
        os.set_blocking(self._file, False)
        tty.setraw(self._other_end)
        self.port.unlink(missing_ok=True)
        self.port.symlink_to(os.ttyname(self._other_end))

    def unplug(self) -> None:
        self.port.unlink(missing_ok=True)
        for file in (self._file, self._other_end):
            with contextlib.suppress(OSError):
                os.close(file)
        self._file = self._other_end = -1

    def restart(self) -> None:
        self.place, self.is_off = 0, True
        self._number = self._target = 0
        self._arrives_s = self._heard_s = 0.0
        self._unfinished = b""

    def run(self, now_s: float) -> None:
        # A read that finds nothing waits until the kernel has handed over what was written before, so that time under test never outruns it.
        with contextlib.suppress(OSError):
            while True:
                received = os.read(self._file, 4096)
                if self.is_deaf or self.loses(received):
                    continue
                *lines, self._unfinished = (self._unfinished + received).split(b"\n")
                for line in lines:
                    self._carry_out(line, now_s)
        if self._number and now_s - self._heard_s > QUIET_S:
            self._number, self._target, self._arrives_s = 0, 0, now_s + self.travel_s
        if now_s >= self._arrives_s and not self.is_stuck and self.place != self._target:
            if self.is_jammed:
                self._answer(f"err {self._number} jam")
                return
            self.place = self._target
            self._answer(f"done {self._number}")

    def say(self, line: bytes) -> None:
        os.write(self._file, line)

    def _carry_out(self, line: bytes, now_s: float) -> None:
        self.received.append(line)
        text, star, given = line.partition(b"*")
        found = COMMAND.fullmatch(text)
        if found is None or (star and int(given, 16) != checksum(text)):
            return
        number = int(found[3])
        self._heard_s = now_s
        if found[1] == b"off":
            self.is_off, self._number = True, 0
            self._answer(f"ok {number}")
        elif found[1] != b"ask" and number != self._number:
            self._number, self._target, self._arrives_s = number, int(found[2]), now_s + self.travel_s
            self.is_off = False
            self.carried_out.append((found[1].decode(), number))
            self._answer(f"ok {number}")
        elif number != self._number:
            self._answer(f"err {number} unknown")
        else:
            self._answer(f"{'done' if self.place == self._target else 'ok'} {number}")

    def _answer(self, text: str) -> None:
        line = f"{text}*{checksum(text.encode()):02X}\r\n" if self.uses_checksum else f"{text}\r\n"
        if not self.loses(line.encode()):
            with contextlib.suppress(OSError):
                os.write(self._file, self.noise + line.encode())
