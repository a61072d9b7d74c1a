"""`sortbin gate`, with a settings file as a user writes it."""

import argparse
import json
import shlex
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from device.commands import gate
from device.common.errors import SortbinError
from device.gates import GateError
from device.gates.gpio_line import LineGate
from device.gates.servo import ServoGate

SETTINGS = """
[device]
id = "bin-1"
[camera]
kind = "replay"
path = "photos"
[[gate]]
kind = "simulated"
bin = "paper"
travel_s = 0.05
[[gate]]
kind = "servo"
bin = "glass"
chip = 2
channel = 0
closed_us = 1000
open_us = 1900
travel_s = 0.1
settle_s = 0.0
[[gate]]
kind = "line"
bin = "metal"
line = "GPIO17"
active_low = true
travel_s = 0.05
"""


@pytest.fixture
def sortbin_gate(tmp_path: Path, kernel: Any, gpio: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Runs `sortbin gate ARGUMENTS`."""
    monkeypatch.setitem(ServoGate.__init__.__kwdefaults__, "root", kernel.path)
    monkeypatch.setitem(LineGate.__init__.__kwdefaults__, "devices", tmp_path)
    file = tmp_path / "sortbin.toml"
    file.write_text(SETTINGS)

    def run(arguments: str) -> int:
        parser = argparse.ArgumentParser(prog="sortbin")
        gate.add_parser(parser.add_subparsers())
        parsed = parser.parse_args(["gate", "--config", str(file), *shlex.split(arguments)])
        return int(parsed.run(parsed))

    return run


def is_on(kernel: Any) -> bool:
    return bool(kernel.state[kernel.root / "pwmchip2/pwm0"]["enable"])


def test_without_a_bin_the_gates_are_listed(sortbin_gate: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sortbin_gate("") == 0
    assert capsys.readouterr().out.splitlines() == [
        "paper: simulated",
        "glass: servo, channel 0 of PWM chip 2, 1000 us closed, 1900 us open",
        "metal: line, GPIO17, active low",
    ]
    assert sortbin_gate("--json") == 0
    assert [row["bin"] for row in json.loads(capsys.readouterr().out)] == ["paper", "glass", "metal"]


def test_times_opens_and_closes_the_gate_that_often(sortbin_gate: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert sortbin_gate("paper --times 2") == 0
    said = [line.partition(" after ")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["paper: open", "paper: closed"] * 2


def test_a_line_is_off_at_the_end(sortbin_gate: Callable[[str], int], gpio: Any) -> None:
    assert sortbin_gate("metal --open --seconds 0") == 0
    assert gpio.level == {"GPIO17": True}
    assert gpio.taken == set()


def test_a_line_is_held_no_longer_than_max_on_s(
    sortbin_gate: Callable[[str], int], gpio: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sortbin.toml").write_text(SETTINGS + "max_on_s = 0.6\n[sorting]\ndrop_s = 0.5\n")
    assert sortbin_gate("metal --open") == 0
    assert capsys.readouterr().out.startswith("metal: open after")
    assert gpio.level == {"GPIO17": True}
    with pytest.raises(GateError, match=r"gate metal: --seconds: expected at most 0\.3, since its max_on_s is 0\.6; found 1"):
        sortbin_gate("metal --open --seconds 1")


def test_pulse_moves_a_servo_to_that_pulse(sortbin_gate: Callable[[str], int], kernel: Any) -> None:
    assert sortbin_gate("glass --pulse 1250 --seconds 0 --full-speed") == 0
    assert kernel.state[kernel.root / "pwmchip2/pwm0"]["duty_cycle"] == 1_250_000
    assert not is_on(kernel)
    kernel.writes.clear()
    assert sortbin_gate("glass --pulse 1000 --seconds 0 --full-speed") == 0
    pulses = [int(text) for name, text in kernel.writes if name == "duty_cycle"]
    assert pulses[0] == 1_250_000, "it starts where the last run ended"
    assert pulses[-1] == 1_000_000
    assert pulses == sorted(pulses, reverse=True)


def test_a_servo_moves_slowly_by_default(sortbin_gate: Callable[[str], int], kernel: Any) -> None:
    kernel.fresh = {"period": 20_000_000, "duty_cycle": 1_080_000, "enable": 0, "polarity": "normal"}
    assert sortbin_gate("glass --close") == 0
    steps = [int(text) for name, text in kernel.writes if name == "duty_cycle"]
    assert max(a - b for a, b in pairwise(steps)) <= 900_000 * 0.1 / 2.0


@pytest.mark.parametrize("failing", ["duty_cycle", ""])
def test_the_output_is_off_after_an_error(sortbin_gate: Callable[[str], int], kernel: Any, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if failing:
        kernel.failing[failing] = 5
        with pytest.raises(GateError, match="Input/output error"):
            sortbin_gate("glass")
    else:
        monkeypatch.setattr(gate, "MOVE_S", -1.0)
        with pytest.raises(GateError, match="did not arrive within"):
            sortbin_gate("glass")
    assert not is_on(kernel)


def test_release_switches_every_output_off(sortbin_gate: Callable[[str], int], kernel: Any, gpio: Any) -> None:
    kernel.fresh = {"period": 20_000_000, "duty_cycle": 1_900_000, "enable": 1, "polarity": "normal"}
    kernel.export(kernel.root / "pwmchip2/pwm0")
    gpio.level["GPIO17"] = False
    assert sortbin_gate("--release") == 0
    assert not is_on(kernel)
    assert gpio.level["GPIO17"]


def test_release_names_an_output_that_it_cannot_reach(sortbin_gate: Callable[[str], int], gpio: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gpio.taken.add("GPIO17")
    assert sortbin_gate("--release") == 1
    assert capsys.readouterr().err.startswith("sortbin gate: gate metal: cannot claim line GPIO17")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("tin", 'no [[gate]] with bin = "tin"; there is paper, glass, metal'),
        ("--open", "name the bin whose gate to move: paper, glass, metal"),
        ("paper --pulse 1500", "gate paper: --pulse is for servos"),
    ],
)
def test_a_mistake_is_one_line(sortbin_gate: Callable[[str], int], arguments: str, complaint: str) -> None:
    with pytest.raises(SortbinError) as caught:
        sortbin_gate(arguments)
    assert str(caught.value) == complaint


@pytest.mark.parametrize("arguments", ["paper --open --close", "glass --pulse 20", "paper --times 0", "paper --seconds nan", "glass --pulse x"])
def test_wrong_usage_ends_with_status_2(sortbin_gate: Callable[[str], int], arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        sortbin_gate(arguments)
    assert caught.value.code == 2
    assert "usage: sortbin gate" in capsys.readouterr().err
