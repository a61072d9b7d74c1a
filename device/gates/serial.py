"""A gate on a microcontroller that is reached over a serial line. docs/microcontroller.md has the protocol and a sketch for the other side."""

import contextlib
import errno
import fcntl
import functools
import logging
import operator
import os
import random
import re
import struct
import termios
import time
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, field

from device.gates import GateError, Position
from device.gates.settings import BinName, GateBase, require_bin_or_bins, require_places_apart

log = logging.getLogger(__name__)

HEARTBEAT_S = 0.5
"""pause between questions while all is well; a microcontroller that hears nothing for two seconds has to close by itself"""
HIGHEST_NUMBER = 10**9
LONGEST_LINE = 200
FLUSH_S = 0.2
ANSWER = re.compile(r"(ok|done|err) (\d{1,10})(?: ([ -~]{1,80}))?")
CURE = "unplug it and plug it in again; `ls /dev/serial/by-id/` shows those that are there"

PositionNumber = Annotated[int, Meta(ge=0, le=999)]


class SerialSettings(GateBase, frozen=True, kw_only=True, tag="serial"):
    """A microcontroller on a serial line, which moves the gate and reports when it has arrived."""

    bin: BinName | None = None
    """the bin that it opens; a gate that serves several has `bins` instead"""
    port: Annotated[str, Meta(min_length=1)]
    """device file of the serial port; those in /dev/serial/by-id/ stay the same when another one is plugged in"""
    baud: Literal[9600, 19200, 38400, 57600, 115200] = 115200
    """bits a second"""
    closed_position: PositionNumber = 0
    """number of the position in which it is closed, as the microcontroller counts"""
    open_position: PositionNumber = 1
    """number of the position in which it is open over `bin`"""
    bins: dict[BinName, PositionNumber] = field(default_factory=dict)
    """the position for each bin of a tilting flap or turntable, instead of `bin` and `open_position`"""
    move_s: Annotated[float, Meta(ge=0.1, le=30)] = 2.5
    """longest time of a move; a longer one is a fault"""
    answer_s: Annotated[float, Meta(ge=0.05, le=5)] = 0.3
    """time after which a command without an answer is sent again"""
    tries: Annotated[int, Meta(ge=1, le=50)] = 5
    """how often a command is sent before that is a fault"""
    boot_s: Annotated[float, Meta(ge=0, le=30)] = 4.0
    """time that the microcontroller has to start after its port was opened: an Arduino restarts then"""
    checksum: bool = False
    """add a checksum to each line, and ignore answers without a right one"""

    def __post_init__(self) -> None:
        require_bin_or_bins(self.bin, self.bins)
        if self.bin is not None and self.open_position == self.closed_position:
            raise ValueError(f"open_position: expected another one than closed_position, found {self.open_position} for both")
        require_places_apart(self.closed_position, self.positions)

    @property
    def positions(self) -> Mapping[str, int]:
        """The number of the position for each bin."""
        return self.bins if self.bin is None else {self.bin: self.open_position}

    @property
    def serves(self) -> tuple[str, ...]:
        return tuple(self.positions)

    @property
    def way_s(self) -> float:
        return self.move_s

    @property
    def output(self) -> str:
        return f"serial port {self.port}"

    def describe(self, bin_: str) -> str:
        return f"{self.output}, position {self.closed_position} closed, {self.positions[bin_]} open"

    def claim(self) -> "SerialGate":
        return SerialGate(self)


class BoardAnswer(NamedTuple):
    """A line of the microcontroller: `ok` (received), `done` (arrived) or `err`, the number of the command, and the reason of an error."""

    verb: str
    number: int
    reason: str


class SerialGate:
    """Sends a position, and has arrived when the microcontroller reports it. No call blocks, except `release` for at most 0.2 s.

    Each command has a number and is sent again with the same number until an answer comes, so that a lost line costs no more than `answer_s`. From
    then on the microcontroller is asked about that command twice a second, at rest too. This replaces lost answers, detects a microcontroller that
    has restarted or was unplugged, and keeps it from closing by itself. After an error nothing is sent until the next command, which opens a lost
    port again.
    """

    def __init__(self, settings: SerialSettings) -> None:
        self.bins, self.output = settings.serves, settings.output
        self._name, self._settings = f"gate {settings.name}", settings
        self._position = Position.UNKNOWN
        self._number = random.randrange(HIGHEST_NUMBER)
        self._target = settings.closed_position
        self._acknowledged = False
        self._unanswered = 0
        self._sent_s = self._deadline_s = 0.0
        self._booted_s: float | None = None
        self._is_released = False
        self._port: SerialPort | None = SerialPort(self._name, settings)

    @property
    def position(self) -> Position:
        return self._position

    def open(self, bin_: str, now_s: float) -> None:
        target = self._settings.positions[bin_]
        if self._position not in (Position.OPEN, Position.OPENING) or self._target != target:
            self._start(Position.OPENING, target, now_s)

    def close(self, now_s: float) -> None:
        if self._position not in (Position.CLOSED, Position.CLOSING):
            self._start(Position.CLOSING, self._settings.closed_position, now_s)

    def update(self, now_s: float) -> None:
        if self._port is None or self._position is Position.UNKNOWN:
            return
        try:
            for answer in self._port.answers():
                if answer.number == self._number:
                    self._take(answer, now_s)
            self._check_times(now_s)
        except GateError:
            self._give_up()
            raise

    def release(self) -> None:
        self._position, self._is_released = Position.UNKNOWN, True
        port, self._port = self._port, None
        if port is None:
            return
        try:
            port.send(f"off #{self._next_number()}")
        except GateError as error:
            log.error("%s; it closes by itself when it hears nothing", error)
        port.close()

    def _start(self, position: Position, target: int, now_s: float) -> None:
        self._position = Position.UNKNOWN
        if self._is_released:
            raise GateError(f"{self._name}: its serial port has been released")
        if self._port is None:
            self._port, self._booted_s = SerialPort(self._name, self._settings), None
        if self._booted_s is None:
            self._booted_s = now_s + self._settings.boot_s
        self._number, self._target = self._next_number(), target
        self._acknowledged, self._unanswered = False, 0
        try:
            self._send(now_s)
        except GateError:
            self._give_up()
            raise
        self._position = position

    def _next_number(self) -> int:
        return self._number % HIGHEST_NUMBER + 1

    def _send(self, now_s: float) -> None:
        assert self._port is not None
        self._port.send(f"ask #{self._number}" if self._acknowledged else f"move {self._target} #{self._number}")
        self._sent_s = now_s
        self._unanswered += 1

    def _take(self, answer: BoardAnswer, now_s: float) -> None:
        if not self._acknowledged:
            self._acknowledged = True
            self._deadline_s = now_s + self._settings.move_s
        self._unanswered = 0
        if answer.verb == "err":
            reason = "it does not know the last command, so it has restarted" if answer.reason == "unknown" else answer.reason or "no reason given"
            raise GateError(f"{self._name}: the microcontroller on {self._settings.port} reports an error: {reason}")
        if answer.verb == "done" and self._position is Position.OPENING:
            self._position = Position.OPEN
        elif answer.verb == "done" and self._position is Position.CLOSING:
            self._position = Position.CLOSED

    def _check_times(self, now_s: float) -> None:
        if self._acknowledged and self._position in (Position.OPENING, Position.CLOSING) and now_s > self._deadline_s:
            raise GateError(f"{self._name}: did not reach position {self._target} within move_s, {self._settings.move_s:g} s")
        if now_s - self._sent_s < (self._settings.answer_s if self._unanswered else HEARTBEAT_S):
            return
        if self._unanswered >= self._settings.tries and now_s >= (self._booted_s or 0.0):
            cure = "is its sketch the one for Sortbin, with the same baud rate?"
            raise GateError(f"{self._name}: the microcontroller on {self._settings.port} did not answer {self._unanswered} times; {cure}")
        self._send(now_s)

    def _give_up(self) -> None:
        self._position = Position.UNKNOWN
        if self._port is not None and self._port.is_lost:
            self._port.close()
            self._port = None


class SerialPort:
    """A serial port as lines of text, which only this process uses. Methods raise GateError, and none waits but `close`, at most 0.2 s."""

    def __init__(self, name: str, settings: SerialSettings) -> None:
        self._what = f"{name}: serial port {settings.port}"
        self._checksum = settings.checksum
        self._unfinished = b""
        self.is_lost = False
        """the device has gone: it has to be opened again"""
        try:
            self._file: int | None = os.open(settings.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise GateError(f"{self._what}: {_describe(error)}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _set_raw(self._file, settings.baud)
        except (OSError, termios.error) as error:
            os.close(self._file)
            raise GateError(f"{self._what}: {_describe(error)}") from error

    def send(self, text: str) -> None:
        """Send a line. One that does not fit into the driver's buffer is lost. The empty line before it ends one that was cut short."""
        line = f"{text}*{checksum(text.encode()):02X}" if self._checksum else text
        file = self._descriptor()
        try:
            os.write(file, f"\n{line}\n".encode())
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error) from error

    def answers(self) -> list[BoardAnswer]:
        """The answers that have arrived. Other lines, damaged ones among them, are passed over."""
        file = self._descriptor()
        try:
            received = os.read(file, 4096)
        except BlockingIOError:
            return []
        except OSError as error:
            raise self._lost(error) from error
        if not received:
            raise self._lost(OSError(errno.EIO, os.strerror(errno.EIO)))
        *lines, rest = (self._unfinished + received).split(b"\n")
        self._unfinished = rest[:LONGEST_LINE]
        return [answer for line in lines if (answer := self._parse(line.strip())) is not None]

    def close(self) -> None:
        """Let what was sent go out, and give the port back. Any number of calls; never raises."""
        file, self._file = self._file, None
        if file is None:
            return
        with contextlib.suppress(OSError, termios.error):
            until_s = time.monotonic() + FLUSH_S
            while _unsent(file) and time.monotonic() < until_s:
                time.sleep(0.005)
            if _unsent(file):  # the kernel would wait up to 30 s for bytes that a stuck device does not take
                termios.tcflush(file, termios.TCOFLUSH)
        with contextlib.suppress(OSError):
            os.close(file)

    def _parse(self, line: bytes) -> BoardAnswer | None:
        text, star, given = line.partition(b"*")
        if self._checksum and not star:
            return None
        if star and given.upper() != b"%02X" % checksum(text):
            return None
        found = ANSWER.fullmatch(text.decode("ascii", "replace"))
        return BoardAnswer(found[1], int(found[2]), found[3] or "") if found else None

    def _descriptor(self) -> int:
        if self._file is None:
            raise GateError(f"{self._what} has been released")
        return self._file

    def _lost(self, error: OSError) -> GateError:
        self.is_lost = True
        return GateError(f"{self._what}: lost ({error.strerror}); is the microcontroller plugged in?")


def checksum(text: bytes) -> int:
    """The bytes combined with exclusive or, 0..255, as NMEA 0183 does."""
    return functools.reduce(operator.xor, text, 0)


def _set_raw(file: int, baud: int) -> None:
    """Bytes as they are: 8 bits, no parity, no flow control, no echo. Raises termios.error where this is no serial port."""
    speed = getattr(termios, f"B{baud}")
    controls = termios.tcgetattr(file)[6]
    controls[termios.VMIN], controls[termios.VTIME] = 1, 0
    # Without HUPCL, closing the port does not restart an Arduino.
    termios.tcsetattr(file, termios.TCSANOW, [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, speed, speed, controls])
    termios.tcflush(file, termios.TCIOFLUSH)


def _unsent(file: int) -> int:
    """How many bytes the driver still has to send."""
    (count,) = struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, struct.pack("i", 0)))
    return int(count)


def _describe(error: OSError | termios.error) -> str:
    match error.args[0]:
        case errno.ENOENT | errno.ENXIO | errno.ENODEV:
            return f"no such device; {CURE}"
        case errno.EACCES:
            return "permission denied; add the user to the group `dialout`: sudo usermod -aG dialout $USER"
        case errno.EPERM:
            return "the service may not use it: `sudo systemctl restart sortbin`; see DeviceAllow= in the unit"
        case errno.EAGAIN | errno.EBUSY:
            return "in use by another gate or another Sortbin (`sudo systemctl stop sortbin`)"
        case errno.ENOTTY | errno.EINVAL | errno.EISDIR:
            return f"not a serial port; {CURE}"
        case _:
            return f"{error.args[1]}; {CURE}"
