"""A gate on a digital output, with gpiod's own types and a fake chip that behaves as a real one."""

import errno
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import gpiod
import pytest

from device.gates import GateError, Position
from device.gates.gpio_line import LineGate, LineSettings

REAL_CHIP, REAL_REQUEST = gpiod.Chip, gpiod.LineRequest


@pytest.fixture
def line(gpio: Any, tmp_path: Path) -> Any:
    def make(**keys: Any) -> LineGate:
        return LineGate(LineSettings(**({"bin": "paper", "line": "GPIO17", "travel_s": 0.5, "max_on_s": 5.0} | keys)), devices=tmp_path)

    return make


def test_the_fake_gpiod_has_the_signatures_of_the_real_one(gpio: Any) -> None:
    path = next(path for path, names in gpio.chips.items() if "GPIO17" in names)
    request = gpiod.Chip(path).request_lines({17: gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT)})
    for fake, real, names in (
        (gpiod.Chip, REAL_CHIP, ("__init__", "__enter__", "__exit__", "line_offset_from_id", "request_lines")),
        (type(request), REAL_REQUEST, ("set_value", "release")),
    ):
        assert fake is not real
        for name in names:
            assert list(inspect.signature(getattr(fake, name)).parameters) == list(inspect.signature(getattr(real, name)).parameters), name


def test_a_line_is_found_by_name_on_any_chip_and_claimed_inactive(gpio: Any, line: Any) -> None:
    gate = line()
    assert gpio.level == {"GPIO17": False}
    assert gate.output.startswith("line GPIO17 of ") and gate.output.endswith("gpiochip4")
    assert gate.position is Position.UNKNOWN


def test_an_active_low_relay_rests_high(gpio: Any, line: Any) -> None:
    gate = line(active_low=True)
    assert gpio.level == {"GPIO17": True}
    gate.open("paper", 0.0)
    assert gpio.level == {"GPIO17": False}


def test_a_line_may_be_given_by_chip_and_number(gpio: Any, line: Any, tmp_path: Path) -> None:
    line(line="5", chip=str(tmp_path / "gpiochip4"))
    assert gpio.level == {"GPIO5": False}


def test_it_arrives_after_travel_s(gpio: Any, line: Any) -> None:
    gate = line()
    gate.close(0.0)
    gate.update(0.4)
    assert gate.position is Position.CLOSING
    gate.update(0.5)
    assert gate.position is Position.CLOSED
    gate.open("paper", 1.0)
    assert gpio.level["GPIO17"]
    gate.update(1.2)
    assert gate.position is Position.OPENING
    gate.open("paper", 1.4)
    gate.update(1.5)
    assert gate.position is Position.OPEN
    gate.close(2.0)
    assert not gpio.level["GPIO17"]


def test_it_is_off_after_max_on_s(gpio: Any, line: Any) -> None:
    gate = line(max_on_s=5.0)
    gate.open("paper", 1.0)
    gate.update(5.9)
    assert gpio.level["GPIO17"]
    with pytest.raises(GateError, match="gate paper: was open for max_on_s, 5 s, and has been switched off"):
        gate.update(6.0)
    assert not gpio.level["GPIO17"]
    gate.update(6.5)
    assert gate.position is Position.CLOSED


def test_a_failed_switch_off_is_tried_again_at_every_update(gpio: Any, line: Any) -> None:
    gate = line(max_on_s=5.0)
    gate.open("paper", 0.0)
    gpio.failing = OSError(errno.EIO, os.strerror(errno.EIO))
    for now_s in (5.0, 5.1):
        with pytest.raises(GateError, match="cannot set its line: Input/output error"):
            gate.update(now_s)
    assert gate.position is Position.UNKNOWN
    gpio.failing = None
    with pytest.raises(GateError, match="has been switched off"):
        gate.update(5.2)
    assert not gpio.level["GPIO17"]


def test_a_failed_close_does_not_extend_max_on_s(gpio: Any, line: Any) -> None:
    gate = line(max_on_s=5.0)
    gate.open("paper", 0.0)
    gpio.failing = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(GateError):
        gate.close(3.0)
    gpio.failing = None
    gate.open("paper", 4.0)
    with pytest.raises(GateError, match="has been switched off"):
        gate.update(5.0)


def test_a_line_that_refuses_is_an_error(gpio: Any, line: Any) -> None:
    gate = line()
    gpio.failing = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(GateError, match="gate paper: cannot set its line: Input/output error"):
        gate.open("paper", 0.0)
    assert gate.position is Position.UNKNOWN


def test_release_leaves_the_pin_inactive_and_the_line_free(gpio: Any, line: Any) -> None:
    gate = line()
    gate.open("paper", 0.0)
    gate.release()
    gate.release()
    assert gpio.level == {"GPIO17": False}
    assert gpio.taken == set()
    assert gate.position is Position.UNKNOWN
    with pytest.raises(GateError, match="has been released"):
        gate.open("paper", 1.0)
    gate.update(100.0)


def test_a_failed_release_is_logged_and_frees_the_line(gpio: Any, line: Any, caplog: pytest.LogCaptureFixture) -> None:
    gate = line()
    gate.open("paper", 0.0)
    gpio.failing = OSError(errno.EIO, os.strerror(errno.EIO))
    gate.release()
    assert "it may still be active" in caplog.text
    assert gpio.taken == set()


def test_a_line_in_use_is_an_error(gpio: Any, line: Any) -> None:
    line()
    with pytest.raises(GateError, match=r"gate paper: cannot claim line GPIO17 of .*: Device or resource busy; is it in use"):
        line()


def test_a_missing_line_is_an_error(line: Any, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"gate paper: no line GPIO99 in .*gpiochip0, .*gpiochip4; `gpioinfo` lists"):
        line(line="GPIO99")
    with pytest.raises(GateError, match=r"gate paper: no line 28 in .*gpiochip4"):
        line(line="28", chip=str(tmp_path / "gpiochip4"))
    with pytest.raises(GateError, match=r"cannot claim line 3 of /dev/gpiochip99: No such file or directory"):
        line(line="3", chip="/dev/gpiochip99")


def test_a_machine_without_gpio_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"no line GPIO17 in .*gpiochip\*, of which there is none"):
        LineGate(LineSettings(bin="paper", line="GPIO17"), devices=tmp_path)


def test_the_real_gpiod_refuses_a_file_that_is_no_chip(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").write_bytes(b"")
    with pytest.raises(GateError, match="gate paper: cannot claim line GPIO17 of"):
        LineGate(LineSettings(bin="paper", line="GPIO17"), devices=tmp_path)


def test_a_missing_gpiod_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(GateError, match=r"gpiod cannot be imported .*; install it with `pip install gpiod`"):
        LineGate(LineSettings(bin="paper", line="GPIO17"), devices=tmp_path)
