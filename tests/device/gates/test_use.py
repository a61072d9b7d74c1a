"""What is counted of each gate."""

import pytest

from device.gates import GateError
from device.gates.gates import Gates
from device.gates.simulated import SimulatedGate, SimulatedSettings


class Bin:
    """A flap over two bins and a lid, under simulated time."""

    def __init__(self) -> None:
        self.flap = SimulatedGate(SimulatedSettings(bins={"paper": -1, "glass": 1}, travel_s=0.4))
        self.lid = SimulatedGate(SimulatedSettings(bin="metal", travel_s=0.4))
        self.gates = Gates([self.flap, self.lid])
        self.now_s = 0.0
        self.gates.close_all(0.0)
        self.run(3.0)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now_s += 0.02
            self.gates.update(self.now_s)


def test_cycles_and_open_seconds_are_counted_for_each_gate() -> None:
    bin_ = Bin()
    assert [use.cycles for use in bin_.gates.use.values()] == [0, 0], "closing at the start is no cycle"
    for name in ("paper", "glass"):
        bin_.gates.open(name, bin_.now_s)
        bin_.run(2.0)
        bin_.gates.close(name, bin_.now_s)
        bin_.run(2.0)
    use = bin_.gates.use
    assert list(use) == ["paper/glass", "metal"]
    assert (use["paper/glass"].cycles, use["metal"].cycles) == (2, 0)
    assert use["paper/glass"].open_s(bin_.now_s) == pytest.approx(4.0 + 2 * 0.4, abs=0.2)
    assert use["metal"].open_s(bin_.now_s) == 0.0


def test_opening_again_before_it_has_closed_is_one_cycle_and_counts_on() -> None:
    bin_ = Bin()
    bin_.gates.open("metal", bin_.now_s)
    bin_.run(1.0)
    bin_.gates.close("metal", bin_.now_s)
    bin_.run(0.1)
    bin_.gates.open("metal", bin_.now_s)
    bin_.run(1.0)
    assert bin_.gates.use["metal"].cycles == 1
    assert bin_.gates.use["metal"].open_s(bin_.now_s) == pytest.approx(2.1, abs=0.05)


def test_the_last_fault_stays_after_the_gate_works_again() -> None:
    bin_ = Bin()
    bin_.lid.break_wire()
    with pytest.raises(GateError):
        bin_.gates.open("metal", bin_.now_s)
    failed_s = bin_.now_s
    bin_.lid.mend()
    bin_.gates.close_all(bin_.now_s)
    bin_.run(3.0)
    use = bin_.gates.use["metal"]
    assert (use.last_fault, use.last_fault_s) == ("gate metal: its drive does not answer", failed_s)
    assert bin_.gates.use["paper/glass"].last_fault == ""
