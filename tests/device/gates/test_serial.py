"""A gate on a microcontroller, over a pseudo-terminal: what it sends, and how it handles silence, noise, jams and an unplugged cable."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.cli import main
from device.gates import GateError, Position
from device.gates.gates import open_gates
from device.gates.release import make_safe
from device.gates.serial import SerialGate, SerialSettings, checksum
from tests.device.gates.microcontroller import Microcontroller

STEP_S = 0.02


class Line:
    """A gate and its microcontroller, under simulated time. The gate serves paper (position 1) and glass (position 2)."""

    def __init__(self, folder: Path, **keys: Any) -> None:
        self.board = Microcontroller(folder / "port")
        self.settings = SerialSettings(port=str(folder / "port"), bins={"paper": 1, "glass": 2}, **({"boot_s": 0.0} | keys))
        self.gate = SerialGate(self.settings)
        self.now_s = 0.0

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; True when `until` came true."""
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            self.board.run(self.now_s)
            self.gate.update(self.now_s)
            if until():
                return True
        return False

    def close(self) -> None:
        self.gate.close(self.now_s)
        assert self.run(10.0, until=lambda: self.gate.position is Position.CLOSED)

    def end(self) -> None:
        self.gate.release()
        self.board.unplug()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """`make(checksum=True)`: a line with these settings."""
    lines: list[Line] = []

    def begin(**keys: Any) -> Line:
        lines.append(Line(tmp_path, **keys))
        return lines[-1]

    yield begin
    for each in lines:
        each.end()


@pytest.fixture
def line(make: Callable[..., Line]) -> Line:
    """A gate that has just closed."""
    line = make()
    line.close()
    return line


def test_claiming_moves_nothing(make: Callable[..., Line]) -> None:
    line = make()
    line.run(1.0)
    assert line.gate.position is Position.UNKNOWN
    assert line.board.received == []


@pytest.mark.parametrize("keys", [{}, {"checksum": True}])
def test_it_is_open_when_the_microcontroller_reports_arrival(make: Callable[..., Line], keys: dict[str, Any]) -> None:
    line = make(**keys)
    line.board.uses_checksum = bool(keys)
    line.close()
    line.gate.open("glass", line.now_s)
    line.run(0.4)
    assert line.gate.position is Position.OPENING
    line.run(0.2)
    assert line.gate.position is Position.OPEN
    assert line.board.place == 2
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 2"]
    line.close()
    assert line.board.place == 0


def test_lines_on_the_wire_are_as_documented(make: Callable[..., Line]) -> None:
    line = make(checksum=True)
    line.board.uses_checksum = True
    line.close()
    sent = [each for each in line.board.received if each]
    number = line.board.carried_out[0][1]
    assert sent[0] == f"move 0 #{number}*{checksum(f'move 0 #{number}'.encode()):02X}".encode()
    assert f"{checksum(b'move 3 #17'):02X}" == "07", "the example of docs/microcontroller.md"


def test_a_repeated_open_sends_no_new_command(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.run(0.1)
    line.gate.open("paper", line.now_s)
    line.run(1.0)
    line.gate.open("paper", line.now_s)
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 1"]


def test_a_move_is_reversed_at_once(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.run(0.1)
    line.gate.close(line.now_s)
    assert line.run(2.0, until=lambda: line.gate.position is Position.CLOSED)
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 1", "move 0"]


def test_a_lost_command_is_sent_again_and_carried_out_once(line: Line) -> None:
    lost: list[bytes] = []
    line.board.loses = lambda data: data.strip().startswith(b"move") and len(lost) < 3 and not lost.append(data)
    line.gate.open("paper", line.now_s)
    assert line.run(3.0, until=lambda: line.gate.position is Position.OPEN)
    assert len(lost) == 3
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 1"]


@pytest.mark.parametrize("verb", [b"ok", b"done"])
def test_a_lost_answer_is_asked_for_again(line: Line, verb: bytes) -> None:
    lost: list[bytes] = []
    line.board.loses = lambda data: data.startswith(verb) and not lost and not lost.append(data)
    line.gate.open("paper", line.now_s)
    assert line.run(2.0, until=lambda: line.gate.position is Position.OPEN)
    assert len(lost) == 1
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 1"]


@pytest.mark.parametrize(
    "noise",
    [b"\x00\xff\xfe\n", b"ready\n", b"done 1\n", b"ok\n", b"err\n", b"done 99999999999999\n", b"x" * 5000 + b"\n", "fälle\n".encode(), b"\n\n"],
)
def test_garbage_between_answers_is_ignored(line: Line, noise: bytes) -> None:
    line.board.noise = noise
    line.gate.open("paper", line.now_s)
    assert line.run(2.0, until=lambda: line.gate.position is Position.OPEN)
    line.close()


def test_an_answer_without_a_right_checksum_is_ignored(make: Callable[..., Line]) -> None:
    line = make(checksum=True)
    line.gate.close(line.now_s)
    line.run(0.1)
    ((_, number),) = line.board.carried_out
    for damaged in (b"done %d", b"done %d*00", b"done %d*", b"done %d*XY"):
        line.board.say(damaged % number + b"\n")
        line.run(0.1)
        assert line.gate.position is Position.CLOSING


def test_a_reported_jam_is_an_error(line: Line) -> None:
    line.board.is_jammed = True
    line.gate.open("paper", line.now_s)
    with pytest.raises(GateError, match=r"gate paper/glass: the microcontroller on .*/port reports an error: jam"):
        line.run(2.0)
    assert line.gate.position is Position.UNKNOWN
    line.board.is_jammed = False
    line.run(5.0)
    line.close()


def test_a_move_without_arrival_is_an_error_at_its_deadline(make: Callable[..., Line]) -> None:
    line = make(move_s=1.5)
    line.close()
    line.board.is_stuck = True
    line.gate.open("glass", line.now_s)
    line.run(1.4)
    with pytest.raises(GateError, match=r"gate paper/glass: did not reach position 2 within move_s, 1\.5 s"):
        line.run(0.3)
    assert line.gate.position is Position.UNKNOWN


def test_silence_is_an_error_after_the_last_try(make: Callable[..., Line]) -> None:
    line = make(answer_s=0.2, tries=3)
    line.close()
    line.board.received.clear()
    line.board.is_deaf = True
    sent = len(line.board.carried_out)
    line.gate.open("paper", line.now_s)
    line.run(0.5)
    with pytest.raises(GateError, match=r"the microcontroller on .*/port did not answer 3 times; is its sketch"):
        line.run(0.3)
    assert len(line.board.carried_out) == sent
    assert line.gate.position is Position.UNKNOWN


def test_a_microcontroller_has_boot_s_to_start(make: Callable[..., Line]) -> None:
    line = make(boot_s=3.0, answer_s=0.2, tries=3)
    line.board.is_deaf = True
    line.gate.close(line.now_s)
    line.run(2.5)
    line.board.is_deaf = False
    assert line.run(2.0, until=lambda: line.gate.position is Position.CLOSED)


def test_a_restart_is_an_error_and_continues_no_move(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.run(1.0)
    line.board.restart()
    with pytest.raises(GateError, match="it does not know the last command, so it has restarted"):
        line.run(1.0)
    assert line.board.place == 0
    line.close()


def test_an_unplugged_port_is_an_error_and_is_opened_again(line: Line) -> None:
    line.board.unplug()
    with pytest.raises(GateError, match=r"gate paper/glass: serial port .*/port: lost \(.*\); is the microcontroller plugged in\?"):
        line.run(1.0)
    assert line.gate.position is Position.UNKNOWN
    line.run(0.1)
    with pytest.raises(GateError, match=r"no such device; unplug it and plug it in again; `ls /dev/serial/by-id/`"):
        line.gate.close(line.now_s)
    line.board.plug_in()
    line.board.restart()
    line.close()
    line.gate.open("glass", line.now_s)
    assert line.run(2.0, until=lambda: line.board.place == 2)


def test_questions_at_rest_keep_it_from_closing_by_itself(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.run(20.0)
    assert line.board.place == 1
    assert [command for command, _ in line.board.carried_out] == ["move 0", "move 1"]
    for _ in range(200):
        line.now_s += STEP_S
        line.board.run(line.now_s)
    assert line.board.place == 0, "the computer went quiet"


def test_a_full_line_blocks_nothing(line: Line) -> None:
    full = os.open(line.settings.port, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b"x" * 4096)
    line.gate.open("paper", line.now_s)
    assert line.gate.position is Position.OPENING
    with pytest.raises(GateError, match="did not answer 5 times"):
        for _ in range(8):
            line.now_s += 0.31
            line.gate.update(line.now_s)
    os.close(full)


def test_release_switches_it_off_and_frees_the_port(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.gate.release()
    line.gate.release()
    line.board.run(line.now_s)
    assert line.board.is_off
    assert line.gate.position is Position.UNKNOWN
    line.gate.update(line.now_s)
    with pytest.raises(GateError, match="its serial port has been released"):
        line.gate.open("paper", line.now_s)
    SerialGate(line.settings).release()


def test_a_gate_left_open_by_a_crash_is_made_safe(line: Line) -> None:
    line.gate.open("paper", line.now_s)
    line.run(1.0)
    assert not line.board.is_off
    line.gate._port.close()  # the kernel does this when the process ends
    assert make_safe([line.settings]) == []
    line.board.run(line.now_s)
    assert line.board.is_off


def test_only_one_process_can_have_the_port(line: Line) -> None:
    with pytest.raises(GateError, match="in use by another gate or another Sortbin"):
        SerialGate(line.settings)


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("none", r"no such device; unplug it"),
        ("file", r"not a serial port"),
        (".", r"not a serial port"),
    ],
)
def test_an_unusable_port_is_named(port: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GateError, match=rf"gate paper: serial port {tmp_path / port}: {said}"):
        SerialGate(SerialSettings(bin="paper", port=str(tmp_path / port)))


@settings(max_examples=30, deadline=None)
@given(
    lost=st.lists(st.booleans(), min_size=20, max_size=200),
    orders=st.lists(st.tuples(st.sampled_from(["paper", "glass", ""]), st.floats(0, 1.5)), min_size=1, max_size=6),
)
def test_with_lost_lines_each_command_runs_once_at_most(lost: list[bool], orders: list[tuple[str, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        line = Line(Path(folder), tries=50, answer_s=0.1)
        losses = iter(lost)
        line.board.loses = lambda _: next(losses, False)
        for bin_, pause_s in orders:
            line.gate.open(bin_, line.now_s) if bin_ else line.gate.close(line.now_s)
            line.run(pause_s, until=lambda: False)
        line.board.loses = lambda _: False
        bin_ = orders[-1][0]
        expected = Position.OPEN if bin_ else Position.CLOSED
        assert line.run(10.0, until=lambda: line.gate.position is expected)
        assert line.board.place == {"paper": 1, "glass": 2, "": 0}[bin_]
        numbers = [number for _, number in line.board.carried_out]
        assert all(a < b or a - b > 10**8 for a, b in pairwise(numbers))
        line.end()


BASE = '[device]\nid = "bin-1"\n[camera]\nkind = "v4l2"\n[[gate]]\nkind = "serial"\nport = "/dev/ttyACM0"\n'


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('bins = { paper = 1, glass = "left" }', "gate[0].bins.glass: expected a whole number, found text"),
        ("bins = { paper = 1, glass = 1000 }", "gate[0].bins.glass: expected a whole number of at most 999"),
        ("bins = { paper = 1, glass = 1 }", "gate[0].bins: expected a place of its own for each bin, found 1 for paper and glass"),
        ('bin = "paper"\nopen_position = 0', "gate[0].open_position: expected another one than closed_position, found 0 for both"),
        ("bins = { paper = 0 }", "gate[0].bins: expected a place of its own for each bin, found 0 for the closed position and paper"),
        ('bin = "paper"\nbaud = 115201', "gate[0].baud: expected 9600, 19200, 38400, 57600 or 115200, found 115201"),
        ("", "gate[0]: expected bin = ..., or bins = {...} for a gate that serves several; found neither"),
        ('bin = "paper"\nmove_s = 5', "sorting.drop_s: expected more than the 5 s that gate[0] (paper) takes to open, found 4"),
    ],
)
def test_a_mistake_is_one_line(keys: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(f"{BASE}{keys}\n", encoding="utf-8")
    assert main(["gate", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sortbin gate: {file}: {said}")
    assert error.count("\n") == 1


def test_two_gates_on_one_port_are_refused_and_positions_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GateError, match="gate: paper and glass are both on serial port /dev/ttyACM0"):
        open_gates([SerialSettings(bin=name, port="/dev/ttyACM0") for name in ("paper", "glass")])
    file = tmp_path / "sortbin.toml"
    file.write_text(BASE + "bins = { paper = 1, glass = 2 }\n", encoding="utf-8")
    assert main(["gate", "--config", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "paper: serial, serial port /dev/ttyACM0, position 0 closed, 1 open",
        "glass: serial, serial port /dev/ttyACM0, position 0 closed, 2 open",
    ]
