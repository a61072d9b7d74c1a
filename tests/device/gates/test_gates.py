"""All gates together: simulated ones for the order of moves, a servo and a line on their fake kernels for the wiring."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.gates import GateError, Position
from device.gates.gates import Gates, open_gates
from device.gates.gpio_line import LineGate, LineSettings
from device.gates.kinds import GateSettings
from device.gates.release import make_safe
from device.gates.servo import ServoGate, ServoSettings
from device.gates.simulated import SimulatedGate, SimulatedSettings

NAMES = ("glass", "metal", "paper")
MOVING = (Position.OPENING, Position.CLOSING)


class Bin:
    """Three simulated gates, updated by `run`, which also checks that never two of them move."""

    def __init__(self, max_open_s: float = 15.0) -> None:
        self.simulated = {name: SimulatedSettings(bin=name, travel_s=0.4).claim() for name in NAMES}
        self.gates = Gates(self.simulated.values(), max_open_s=max_open_s)
        self.now_s = 0.0

    def positions(self) -> dict[str, Position]:
        return {name: self.gates.position(name) for name in NAMES}

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.gates.update(self.now_s)
            assert sum(position in MOVING for position in self.positions().values()) <= 1


@pytest.fixture
def closed() -> Bin:
    bin_ = Bin()
    bin_.gates.close_all(0.0)
    bin_.run(3.0)
    assert bin_.gates.all_closed
    return bin_


def test_close_all_closes_one_gate_after_the_other() -> None:
    bin_ = Bin()
    assert set(bin_.positions().values()) == {Position.UNKNOWN}
    bin_.gates.close_all(0.0)
    assert list(bin_.positions().values()).count(Position.CLOSING) == 1
    assert not bin_.gates.all_closed
    bin_.run(3.0)
    assert bin_.gates.all_closed
    assert not bin_.gates.moving


def test_a_second_gate_waits_until_the_first_has_arrived(closed: Bin) -> None:
    closed.gates.open("glass", closed.now_s)
    closed.gates.open("paper", closed.now_s)
    assert closed.positions() == {"glass": Position.OPENING, "metal": Position.CLOSED, "paper": Position.CLOSED}
    assert closed.gates.moving
    assert not closed.gates.all_closed
    closed.run(0.6)
    assert closed.positions()["glass"] is Position.OPEN
    assert closed.positions()["paper"] is Position.OPENING
    closed.run(0.6)
    assert closed.positions()["paper"] is Position.OPEN


def test_a_moving_gate_is_reversed_at_once(closed: Bin) -> None:
    closed.gates.open("glass", closed.now_s)
    closed.run(0.2)
    closed.gates.close("glass", closed.now_s)
    assert closed.positions()["glass"] is Position.CLOSING


def test_a_newer_request_replaces_a_waiting_one(closed: Bin) -> None:
    closed.gates.open("glass", closed.now_s)
    closed.gates.open("paper", closed.now_s)
    closed.gates.close("paper", closed.now_s)
    closed.run(2.0)
    assert closed.positions() == {"glass": Position.OPEN, "metal": Position.CLOSED, "paper": Position.CLOSED}


def test_close_all_cancels_waiting_requests(closed: Bin) -> None:
    closed.gates.open("glass", closed.now_s)
    closed.gates.open("paper", closed.now_s)
    closed.gates.close_all(closed.now_s)
    closed.run(2.0)
    assert closed.gates.all_closed


def test_a_bin_without_a_gate_is_named(closed: Bin) -> None:
    for ask in (closed.gates.open, closed.gates.close):
        with pytest.raises(GateError, match="no gate over the bin tin; there are gates over glass, metal, paper"):
            ask("tin", closed.now_s)
    assert closed.gates.bins == NAMES


def test_a_gate_left_open_is_closed_and_reported_once() -> None:
    bin_ = Bin(max_open_s=5.0)
    bin_.gates.close_all(0.0)
    bin_.run(3.0)
    bin_.gates.open("metal", bin_.now_s)
    bin_.run(4.9)
    assert bin_.positions()["metal"] is Position.OPEN
    with pytest.raises(GateError, match="gate metal: was open for 5 s and is being closed"):
        bin_.run(0.2)
    bin_.run(1.0)
    assert bin_.gates.all_closed


def test_max_open_s_starts_anew_at_each_opening(closed: Bin) -> None:
    gates = Gates(closed.simulated.values(), max_open_s=5.0)
    closed.gates = gates
    for _ in range(3):
        gates.open("metal", closed.now_s)
        closed.run(3.0)
        gates.close("metal", closed.now_s)
        closed.run(1.0)
    assert gates.all_closed


def test_a_broken_gate_does_not_stop_the_others(closed: Bin) -> None:
    closed.gates.open("paper", closed.now_s)
    closed.run(0.2)
    closed.simulated["paper"].break_wire()
    closed.gates.open("glass", closed.now_s)
    with pytest.raises(GateError, match="gate paper: its drive does not answer"):
        closed.run(0.1)
    assert set(closed.gates.faults) == {"paper"}
    closed.run(1.0)
    assert closed.positions() == {"glass": Position.OPEN, "metal": Position.CLOSED, "paper": Position.UNKNOWN}
    closed.gates.close_all(closed.now_s)
    with pytest.raises(GateError, match="gate paper: its drive does not answer"):
        closed.run(1.0)
    closed.run(1.0)
    assert closed.positions()["glass"] is Position.CLOSED
    assert not closed.gates.all_closed

    closed.simulated["paper"].mend()
    closed.gates.close_all(closed.now_s)
    closed.run(1.5)
    assert closed.gates.all_closed
    assert closed.gates.faults == {}


def test_a_failing_update_does_not_stop_later_gates(closed: Bin) -> None:
    class Broken(SimulatedGate):
        def update(self, now_s: float) -> None:
            raise GateError("gate a: broken")

    gates = Gates([Broken(SimulatedSettings(bin="a")), closed.simulated["glass"]])
    gates.open("glass", 3.0)
    for n in range(150, 200):
        with pytest.raises(GateError, match="gate a: broken"):
            gates.update(n / 50)
    assert gates.position("glass") is Position.OPEN


def test_all_failing_gates_are_named(closed: Bin) -> None:
    for name in ("glass", "paper"):
        closed.simulated[name].break_wire()
        closed.simulated[name].release()
    with pytest.raises(GateError) as caught:
        closed.gates.close_all(closed.now_s)
    assert str(caught.value) == "gate glass: its drive does not answer; gate paper: its drive does not answer"
    assert closed.gates.not_closed == ("glass", "paper")


def test_release_reaches_every_gate_when_one_raises(closed: Bin, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(SimulatedGate):
        def release(self) -> None:
            raise RuntimeError("no")

    gates = Gates([Stubborn(SimulatedSettings(bin="a")), closed.simulated["glass"], closed.simulated["metal"]])
    gates.release()
    gates.release()
    assert closed.positions()["glass"] is Position.UNKNOWN
    assert closed.positions()["metal"] is Position.UNKNOWN
    assert "gate a: releasing it failed" in caplog.text


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from(["open", "close"]), st.sampled_from(NAMES), st.floats(0, 0.9)), min_size=1, max_size=20),
)
def test_every_gate_obeys_its_last_request_and_one_moves_at_a_time(orders: list[tuple[str, str, float]]) -> None:
    bin_ = Bin(max_open_s=1000.0)
    bin_.gates.close_all(0.0)
    last = dict.fromkeys(NAMES, Position.CLOSED)
    for order, name, pause_s in orders:
        getattr(bin_.gates, order)(name, bin_.now_s)
        last[name] = Position.OPEN if order == "open" else Position.CLOSED
        bin_.run(pause_s)
    bin_.run(5.0)
    assert bin_.positions() == last


SERVO = ServoSettings(bin="glass", chip=2, channel=0, closed_us=1000, open_us=2000)
LINE = LineSettings(bin="metal", line="GPIO17")


@pytest.fixture
def wired(kernel: Any, gpio: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fake PWM and GPIO kernels in place of the real ones."""
    monkeypatch.setitem(ServoGate.__init__.__kwdefaults__, "root", kernel.path)
    monkeypatch.setitem(LineGate.__init__.__kwdefaults__, "devices", tmp_path)
    return kernel


def test_each_kind_of_settings_claims_its_kind_of_gate(wired: Any) -> None:
    for each, kind in ((SERVO, ServoGate), (LINE, LineGate), (SimulatedSettings(bin="paper"), SimulatedGate)):
        gate = each.claim()
        assert type(gate) is kind
        gate.release()


def test_all_kinds_work_together(wired: Any, gpio: Any) -> None:
    gates = open_gates([SERVO, LINE, SimulatedSettings(bin="paper")])
    gates.close_all(0.0)
    for n in range(1, 200):
        gates.update(n / 50)
    assert gates.all_closed
    gates.open("metal", 5.0)
    assert gpio.level["GPIO17"]
    gates.release()
    assert not gpio.level["GPIO17"]
    assert wired.state[wired.root / "pwmchip2/pwm0"]["enable"] == 0


def test_if_one_gate_cannot_be_claimed_the_others_are_released(wired: Any, gpio: Any) -> None:
    with pytest.raises(GateError, match="no PWM chip 7"):
        open_gates([LINE, SERVO, ServoSettings(bin="paper", chip=7, channel=0, closed_us=1000, open_us=2000)])
    assert gpio.taken == set()
    open_gates([LINE, SERVO]).release()


@pytest.mark.parametrize(
    ("pair", "complaint"),
    [
        ((SimulatedSettings(bin="paper"), SimulatedSettings(bin="paper")), "2 gates are over the bin paper, expected one"),
        (
            (SERVO, ServoSettings(bin="paper", chip=2, channel=0, closed_us=900, open_us=1500)),
            "glass and paper are both on channel 0 of PWM chip 2",
        ),
        ((LINE, LineSettings(bin="paper", line="GPIO17")), "metal and paper are both on line GPIO17"),
    ],
)
def test_two_gates_in_one_place_are_refused_before_claiming(wired: Any, gpio: Any, pair: tuple[GateSettings, ...], complaint: str) -> None:
    with pytest.raises(GateError, match=complaint):
        open_gates(pair)
    assert gpio.level == {}
    assert wired.writes == []


def test_one_output_under_two_names_is_refused_when_claimed(wired: Any) -> None:
    with pytest.raises(GateError, match="is in use by another gate"):
        open_gates([SERVO, ServoSettings(bin="paper", chip="1f00098000.pwm", channel=0, closed_us=900, open_us=1500)])


def test_after_a_crash_every_output_is_made_safe(wired: Any, gpio: Any, pwm_kernel: Callable[[], Any]) -> None:
    wired.fresh = {"period": 20_000_000, "duty_cycle": 1_700_000, "enable": 1, "polarity": "normal"}
    wired.export(wired.root / "pwmchip2/pwm0")
    gpio.level["GPIO17"] = True
    assert make_safe([SERVO, LINE, SimulatedSettings(bin="paper")]) == []
    assert wired.state[wired.root / "pwmchip2/pwm0"]["enable"] == 0
    assert gpio.level["GPIO17"] is False
    open_gates([SERVO, LINE]).release()


def test_an_output_that_cannot_be_made_safe_is_named(wired: Any, gpio: Any) -> None:
    wired.fresh = {"period": 20_000_000, "duty_cycle": 1_700_000, "enable": 1, "polarity": "normal"}
    wired.failing["enable"] = errno.EIO
    gpio.level["GPIO17"] = True
    (error,) = make_safe([SERVO, LINE])
    assert "gate glass: cannot write 0 to" in str(error)
    assert gpio.level["GPIO17"] is False
