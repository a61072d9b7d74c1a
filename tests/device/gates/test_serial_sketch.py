"""The sketch of docs/microcontroller.md, compiled for this computer, at the other end of a pseudo-terminal."""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device.gates import GateError, Position
from device.gates.serial import SerialGate, SerialSettings

GUIDE = Path(__file__).parents[3] / "docs/microcontroller.md"
ARDUINO = Path(__file__).parent / "arduino_on_pc"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")]


@pytest.fixture(scope="module")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sketch as a program."""
    folder = tmp_path_factory.mktemp("sketch")
    (text,) = re.findall(r"```cpp\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "sketch.cpp").write_text(text, encoding="utf-8")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ARDUINO}", f"-I{folder}", str(ARDUINO / "main.cpp"), "-o"]
    subprocess.run([*command, str(folder / "program")], check=True, timeout=120)
    return folder / "program"


class Board:
    """The running sketch. servo: the pulses in microseconds that its servo got, and 0 where it was switched off."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self.servo: list[int] = []
        self._end, other = os.openpty()
        tty.setraw(other)
        self.port = os.ttyname(other)
        self._other = other
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen([self._program], stdin=self._end, stdout=self._end, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def restart(self) -> None:
        self._process.kill()
        self._process.wait(10)
        self.start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for file in (self._end, self._other):
            os.close(file)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self.servo.append(0 if line == "off\n" else int(line))


@pytest.fixture
def board(sketch: Path) -> Iterator[Board]:
    board = Board(sketch)
    yield board
    board.stop()


def run(gate: SerialGate, until: Callable[[], bool], most_s: float = 10.0) -> None:
    """Update the gate until a condition is true, within `most_s`."""
    end_s = time.monotonic() + most_s
    while not until():
        assert time.monotonic() < end_s
        gate.update(time.monotonic())
        time.sleep(0.01)


@pytest.mark.parametrize("checksum", [False, True])
def test_the_sketch_serves_both_bins(board: Board, checksum: bool) -> None:
    gate = SerialGate(SerialSettings(bins={"paper": 1, "glass": 2}, port=board.port, checksum=checksum))
    gate.close(time.monotonic())
    run(gate, lambda: gate.position is Position.CLOSED)
    for name, pulse_us in (("glass", 1900), ("paper", 1000)):
        gate.open(name, time.monotonic())
        run(gate, lambda: gate.position is Position.OPEN)
        run(gate, lambda pulse_us=pulse_us: board.servo[-1:] == [pulse_us])
        gate.close(time.monotonic())
        run(gate, lambda: gate.position is Position.CLOSED)
        run(gate, lambda: board.servo[-1:] == [0])
    gate.release()


def test_the_sketch_closes_when_the_computer_goes_quiet(board: Board) -> None:
    gate = SerialGate(SerialSettings(bin="glass", open_position=2, port=board.port))
    gate.open("glass", time.monotonic())
    run(gate, lambda: gate.position is Position.OPEN)
    run(gate, lambda: board.servo[-1:] == [1900])
    ends_s = time.monotonic() + 10
    while board.servo[-1:] != [0]:
        assert time.monotonic() < ends_s
        time.sleep(0.01)
    assert 1450 in board.servo[board.servo.index(1900) :]
    with pytest.raises(GateError, match="it does not know the last command, so it has restarted"):
        run(gate, lambda: False)
    gate.close(time.monotonic())
    run(gate, lambda: gate.position is Position.CLOSED)
    gate.release()


def test_a_restart_of_the_sketch_is_an_error(board: Board) -> None:
    gate = SerialGate(SerialSettings(bin="paper", open_position=1, port=board.port))
    gate.open("paper", time.monotonic())
    run(gate, lambda: gate.position is Position.OPEN)
    board.restart()
    with pytest.raises(GateError, match="so it has restarted"):
        run(gate, lambda: False)
    gate.release()


def test_an_unknown_position_is_an_error(board: Board) -> None:
    gate = SerialGate(SerialSettings(bin="paper", open_position=7, port=board.port))
    gate.open("paper", time.monotonic())
    with pytest.raises(GateError, match="reports an error: no such position"):
        run(gate, lambda: False)
    with contextlib.suppress(GateError):
        gate.release()
