"""One actuator that serves several bins: a tilting flap or a turntable."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.cli import main
from device.gates import GateError, Position
from device.gates.gates import Gates, open_gates
from device.gates.kinds import GateSettings
from device.gates.release import make_safe, read_gates
from device.gates.servo import ServoGate, ServoSettings
from device.gates.simulated import SimulatedGate, SimulatedSettings

FLAP = SimulatedSettings(bins={"paper": -1, "glass": 1}, travel_s=0.4)
LID = SimulatedSettings(bin="metal", travel_s=0.4)
SERVO = ServoSettings(bins={"paper": 1000, "glass": 1900}, chip=2, channel=0, closed_us=1500, travel_s=1.0, settle_s=0.2)
BINS = ("paper", "glass", "metal")


class Bin:
    """A flap over paper and glass, and a lid over metal. Runs under simulated time, and checks that never two gates move."""

    def __init__(self) -> None:
        self.flap, self.lid = SimulatedGate(FLAP), SimulatedGate(LID)
        self.gates = Gates([self.flap, self.lid])
        self.now_s = 0.0
        self.gates.close_all(0.0)
        self.run(2.0)

    def positions(self) -> dict[str, Position]:
        return {name: self.gates.position(name) for name in BINS}

    def open(self) -> list[str]:
        return [name for gate in (self.flap, self.lid) for name, opening in gate.openings(self.now_s).items() if opening > 0.5]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.gates.update(self.now_s)
            assert sum(gate.position in (Position.OPENING, Position.CLOSING) for gate in (self.flap, self.lid)) <= 1


@pytest.fixture
def bin_() -> Bin:
    return Bin()


def test_each_bin_has_its_own_position(bin_: Bin) -> None:
    assert bin_.gates.bins == BINS
    assert set(bin_.positions().values()) == {Position.CLOSED}
    bin_.gates.open("glass", bin_.now_s)
    assert bin_.positions() == {"paper": Position.CLOSED, "glass": Position.OPENING, "metal": Position.CLOSED}
    bin_.run(1.0)
    assert bin_.positions()["glass"] is Position.OPEN
    assert bin_.open() == ["glass"]
    assert bin_.gates.not_closed == ("glass",)


def test_the_flap_closes_before_it_opens_over_its_other_bin(bin_: Bin) -> None:
    bin_.gates.open("glass", bin_.now_s)
    bin_.run(1.0)
    bin_.gates.open("paper", bin_.now_s)
    assert bin_.positions() == {"paper": Position.CLOSED, "glass": Position.CLOSING, "metal": Position.CLOSED}
    assert bin_.gates.moving
    bin_.run(0.5)
    assert bin_.positions()["paper"] is Position.OPENING
    bin_.run(0.5)
    assert bin_.open() == ["paper"]


def test_closing_a_bin_leaves_the_flap_open_over_the_other(bin_: Bin) -> None:
    bin_.gates.open("glass", bin_.now_s)
    bin_.gates.close("paper", bin_.now_s)
    bin_.run(1.0)
    assert bin_.open() == ["glass"]
    bin_.gates.close("glass", bin_.now_s)
    bin_.run(1.0)
    assert bin_.gates.all_closed


def test_a_broken_flap_is_a_fault_of_all_its_bins(bin_: Bin) -> None:
    bin_.gates.open("glass", bin_.now_s)
    bin_.gates.open("paper", bin_.now_s)
    bin_.flap.break_wire()
    with pytest.raises(GateError, match=r"^gate paper/glass: its drive does not answer$"):
        bin_.run(0.1)
    assert set(bin_.gates.faults) == {"paper", "glass"}
    assert bin_.gates.not_closed == ("paper", "glass")
    bin_.gates.open("metal", bin_.now_s)
    bin_.run(1.0)
    assert bin_.positions()["metal"] is Position.OPEN
    bin_.flap.mend()
    bin_.gates.close_all(bin_.now_s)
    bin_.run(2.0)
    assert bin_.gates.all_closed
    assert not bin_.gates.faults


def test_a_flap_that_fails_to_close_opens_over_no_other_bin(bin_: Bin) -> None:
    bin_.gates.open("glass", bin_.now_s)
    bin_.run(1.0)
    bin_.gates.open("paper", bin_.now_s)
    bin_.flap.jam(0.5)
    with pytest.raises(GateError, match="did not close within"):
        bin_.run(3.0)
    bin_.flap.mend()
    bin_.run(3.0)
    assert "paper" not in bin_.open()


def test_a_simulated_flap_is_open_over_the_bin_at_whose_place_it_is() -> None:
    gate = SimulatedGate(SimulatedSettings(bins={"near": 0.5, "far": 1, "left": -1}, travel_s=0.4))
    gate.open("far", 0.0)
    passed = [gate.openings(n / 500) for n in range(500)]
    assert max(opening["near"] for opening in passed) > 0.98, "it passes the nearer bin"
    assert passed[-1] == {"near": 0, "far": 1, "left": 0}
    assert all(opening["left"] == 0 for opening in passed)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["open", "close"]), st.sampled_from(BINS), st.floats(0, 0.9)), min_size=1, max_size=20))
def test_at_most_one_bin_of_a_flap_is_open(orders: list[tuple[str, str, float]]) -> None:
    bin_ = Bin()
    last = ""
    for order, name, pause_s in orders:
        getattr(bin_.gates, order)(name, bin_.now_s)
        if name != "metal":
            last = name if order == "open" else "" if last == name else last
        bin_.run(pause_s)
        assert not {"paper", "glass"} <= set(bin_.open())
    bin_.run(5.0)
    assert [name for name in bin_.open() if name != "metal"] == [last] * bool(last)


@pytest.fixture
def servo(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """The length of the pulse that the servo gets, microseconds; 0 while it gets none."""
    monkeypatch.setitem(ServoGate.__init__.__kwdefaults__, "root", kernel.path)

    def pulse_us() -> int:
        state = kernel.state[kernel.root / "pwmchip2/pwm0"]
        return state["duty_cycle"] // 1000 if state["enable"] else 0

    yield pulse_us


def test_a_servo_goes_to_the_pulse_of_the_bin(servo: Callable[[], int]) -> None:
    gates = open_gates([SERVO])
    now_s = 0.0
    for name, expected_us in (("glass", 1900), ("paper", 1000)):
        gates.open(name, now_s)
        for _ in range(200):
            now_s += 0.02
            gates.update(now_s)
        assert gates.position(name) is Position.OPEN
        assert servo() == expected_us
    gates.release()
    assert servo() == 0


def test_travel_s_is_the_time_to_the_farthest_bin(servo: Callable[[], int]) -> None:
    """Its speed is 500 us in a second: the way to glass, 400 us, takes 0.8 s."""
    gate = SERVO.claim()
    gate.close(0.0)
    for n in range(1, 200):
        gate.update(n / 50)
    gate.open("glass", 4.0)
    gate.update(4.02)
    steps = [servo()]
    while servo() < 1900:
        gate.update(4.02 + len(steps) / 50)
        steps.append(servo())
    assert len(steps) == pytest.approx(40, abs=1)


def test_a_servo_that_was_left_on_is_made_safe(kernel: Any, servo: Callable[[], int]) -> None:
    kernel.fresh = {"period": 20_000_000, "duty_cycle": 1_900_000, "enable": 1, "polarity": "normal"}
    kernel.export(kernel.root / "pwmchip2/pwm0")
    assert servo() == 1900
    assert make_safe([SERVO]) == []
    assert servo() == 0


def test_a_servo_that_passes_one_bin_for_another_is_warned_about(servo: Callable[[], int], caplog: pytest.LogCaptureFixture) -> None:
    open_gates([ServoSettings(bins={"paper": 1200, "glass": 1900}, chip=2, channel=0, closed_us=1500)]).release()
    assert not caplog.text
    open_gates([ServoSettings(bins={"paper": 1200, "glass": 1900}, chip=2, channel=0, closed_us=1000)]).release()
    assert "gate paper/glass: on its way to glass it passes paper" in caplog.text


BASE = '[device]\nid = "bin-1"\n[camera]\nkind = "v4l2"\n'
TILTING = f'{BASE}[[gate]]\nkind = "servo"\nchannel = 0\nclosed_us = 1500\nbins = {{ paper = 1000, glass = 1900 }}\n'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("glass = 1900", "glass = 3000"), "gate[0].bins.glass: expected a number of at most 2700"),
        (("glass = 1900", 'glass = "left"'), "gate[0].bins.glass: expected a number, found text"),
        (("glass = 1900", "glass = 1500"), "gate[0].bins: expected a place of its own for each bin, found 1500 for the closed position and glass"),
        (("glass = 1900", "glass = 1000"), "gate[0].bins: expected a place of its own for each bin, found 1000 for paper and glass"),
        (("glass = 1900", "paper = 1900"), "expected TOML: duplicate inline table key"),
        (("bins = {", 'bin = "metal"\nopen_us = 2000\nbins = {'), "gate[0]: expected bin or bins, found both"),
        (("bins = {", "open_us = 2000\nbins = {"), "gate[0].open_us: expected the pulse of each bin in bins, and no open_us"),
        (("bins = { paper = 1000, glass = 1900 }", "open_us = 1900"), "gate[0]: expected bin = ..., or bins = {...} for a gate that serves several"),
        (("bins = { paper = 1000, glass = 1900 }", 'bin = "paper"'), "gate[0]: missing key open_us"),
        (('kind = "servo"', 'kind = "line"'), "gate[0]: unknown key"),
    ],
)
def test_a_mistake_in_bins_is_one_line(change: tuple[str, str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sortbin.toml"
    assert change[0] in TILTING
    file.write_text(TILTING.replace(*change), encoding="utf-8")
    assert main(["gate", "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"sortbin gate: {file}: {said}")
    assert error.count("\n") == 1


def test_a_bin_with_two_gates_is_refused() -> None:
    with pytest.raises(GateError, match="gate: 2 gates are over the bin glass, expected one"):
        open_gates([FLAP, SimulatedSettings(bin="glass")])


@pytest.fixture
def sortbin_gate(tmp_path: Path, servo: Callable[[], int]) -> Callable[..., int]:
    """Runs `sortbin gate ARGUMENTS` with a tilting flap on a servo."""
    file = tmp_path / "sortbin.toml"
    file.write_text(TILTING.replace("channel = 0", "chip = 2\nchannel = 0\ntravel_s = 0.1\nsettle_s = 0.0"), encoding="utf-8")
    return lambda *arguments: main(["gate", *arguments, "--config", str(file)])


def test_the_gate_command_lists_every_bin_and_moves_one(sortbin_gate: Callable[..., int], kernel: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert sortbin_gate() == 0
    assert capsys.readouterr().out.splitlines() == [
        "paper: servo, channel 0 of PWM chip 2, 1500 us closed, 1000 us open",
        "glass: servo, channel 0 of PWM chip 2, 1500 us closed, 1900 us open",
    ]
    assert sortbin_gate("glass", "--full-speed") == 0
    pulses_us = [int(text) // 1000 for name, text in kernel.writes if name == "duty_cycle"]
    assert max(pulses_us) == 1900 and min(pulses_us) == 1500
    kernel.writes.clear()
    assert sortbin_gate("paper", "--pulse", "1100", "--seconds", "0", "--full-speed") == 0
    assert [int(text) for name, text in kernel.writes if name == "duty_cycle"][-1] == 1_100_000


def test_the_gates_of_a_file_with_mistakes_are_found(tmp_path: Path) -> None:
    file = tmp_path / "sortbin.toml"
    file.write_text(f"[camera\n{TILTING}[[gate]]\nkind = 'servo'\nchannel = 1\nclosed_us = 1\nbins = {{ metal = 2 }}\n", encoding="utf-8")
    found = read_gates(file)
    assert [gate.serves for gate in found.gates] == [("paper", "glass")]
    assert len(found.mistakes) == 2


def test_two_gates_on_one_output_are_refused(servo: Callable[[], int]) -> None:
    def lid(name: str, chip: int | str) -> GateSettings:
        return ServoSettings(bin=name, chip=chip, channel=0, closed_us=1000, open_us=2000)

    assert lid("a", 0).output != lid("b", "").output
    with pytest.raises(GateError, match="gate: paper/glass and metal are both on channel 0 of PWM chip 2"):
        open_gates([SERVO, lid("metal", 2)])
