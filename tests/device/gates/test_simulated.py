"""The physics of the simulated gate."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device.gates import GateError, Position
from device.gates.simulated import SimulatedGate, SimulatedSettings


def carry(gate: SimulatedGate, from_s: float, to_s: float, step_s: float = 0.02) -> None:
    for n in range(1, round((to_s - from_s) / step_s) + 1):
        gate.update(from_s + n * step_s)


@pytest.fixture
def gate() -> SimulatedGate:
    """Closed, at 1 s."""
    gate = SimulatedSettings(bin="paper", travel_s=0.5).claim()
    gate.close(0.0)
    carry(gate, 0.0, 1.0)
    assert gate.position is Position.CLOSED
    return gate


def test_its_position_is_unknown_at_first() -> None:
    gate = SimulatedSettings(bin="paper").claim()
    assert gate.position is Position.UNKNOWN
    assert gate.opening(5.0) == 0.0


def test_it_accelerates_and_brakes(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    path = [gate.opening(1.0 + n / 100) for n in range(60)]
    assert path == sorted(path)
    assert path[12] == pytest.approx(0.125, abs=0.02), "a quarter of the time is an eighth of the way"
    assert path[25] == pytest.approx(0.5, abs=0.03)
    assert path[37] == pytest.approx(0.875, abs=0.03)
    assert path[-1] == 1.0


def test_it_reports_open_when_it_has_arrived(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    gate.update(1.45)
    assert gate.position is Position.OPENING
    gate.update(1.55)
    assert gate.position is Position.OPEN


def test_a_jam_is_an_error_at_the_deadline(gate: SimulatedGate) -> None:
    gate.jam(0.4)
    gate.open("paper", 1.0)
    carry(gate, 1.0, 2.4)
    assert gate.opening(2.4) == 0.4
    assert gate.position is Position.OPENING
    with pytest.raises(GateError, match=r"gate paper: did not open within 1\.5 s, it stands 40% open"):
        carry(gate, 2.4, 2.6)
    assert gate.position is Position.UNKNOWN
    gate.close(3.0)
    carry(gate, 3.0, 4.0)
    assert gate.position is Position.CLOSED, "what blocks opening does not block closing"


def test_a_jam_while_closing_is_an_error(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    carry(gate, 1.0, 2.0)
    gate.jam(0.3)
    gate.close(2.0)
    with pytest.raises(GateError, match="did not close within"):
        carry(gate, 2.0, 4.0)
    assert gate.opening(4.0) == 0.3
    gate.mend()
    gate.close(4.0)
    carry(gate, 4.0, 5.0)
    assert gate.position is Position.CLOSED


def test_after_a_jam_it_starts_from_rest(gate: SimulatedGate) -> None:
    gate.jam(0.5)
    gate.open("paper", 1.0)
    carry(gate, 1.0, 2.0)
    gate.mend()
    assert gate.opening(2.05) - 0.5 == pytest.approx(0.02, abs=0.006)


def test_time_does_not_go_back_when_two_threads_ask_out_of_order(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    for n in range(26):
        gate.opening(1.0 + n / 100)
        gate.opening(0.9 + n / 100)
    assert gate.opening(1.25) == pytest.approx(0.5, abs=0.03)


def test_a_seized_flap_moves_neither_way(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    carry(gate, 1.0, 1.24)
    gate.seize()
    stuck = gate.opening(1.24)
    assert 0.3 < stuck < 0.7
    gate.close(1.24)
    with pytest.raises(GateError, match="did not close"):
        carry(gate, 1.24, 4.0)
    assert gate.opening(4.0) == stuck


def test_a_broken_wire_is_an_error_during_a_move_and_at_commands(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    carry(gate, 1.0, 1.2)
    gate.break_wire()
    with pytest.raises(GateError, match="gate paper: its drive does not answer"):
        gate.update(1.22)
    assert gate.position is Position.UNKNOWN
    with pytest.raises(GateError, match="does not answer"):
        gate.close(1.3)
    gate.mend()
    gate.close(1.4)
    carry(gate, 1.4, 2.4)
    assert gate.position is Position.CLOSED


def test_releasing_stops_it_where_it_is(gate: SimulatedGate) -> None:
    gate.open("paper", 1.0)
    carry(gate, 1.0, 1.24)
    gate.release()
    stands = gate.opening(1.24)
    assert gate.opening(9.0) == stands
    gate.update(9.0)
    assert gate.position is Position.UNKNOWN


@settings(max_examples=25)
@given(
    travel_s=st.floats(0.05, 2),
    orders=st.lists(st.tuples(st.sampled_from(["open", "close"]), st.integers(1, 120)), min_size=1, max_size=8),
    stride=st.integers(1, 9),
)
def test_its_motion_does_not_depend_on_how_often_it_is_updated(travel_s: float, orders: list[tuple[str, int]], stride: int) -> None:
    often, seldom = SimulatedSettings(bin="a", travel_s=travel_s).claim(), SimulatedSettings(bin="b", travel_s=travel_s).claim()
    tick = 0
    path = [0.0]
    for order, ticks in orders:
        for gate in (often, seldom):
            gate.open(gate.bins[0], tick / 100) if order == "open" else gate.close(tick / 100)
        for _ in range(ticks):
            tick += 1
            often.opening(tick / 100 - 0.0033)
            path.append(often.opening(tick / 100))
            if tick % stride == 0:
                seldom.opening(tick / 100)
        assert seldom.opening(tick / 100) == pytest.approx(path[-1], abs=1e-9)
    assert all(0 <= opening <= 1 for opening in path)
    top_speed = 2 / travel_s
    assert all(abs(b - a) <= top_speed * 0.012 + 0.005 for a, b in pairwise(path))
    end_s = tick / 100 + 2 * travel_s + 0.1
    assert often.opening(end_s) == (1.0 if orders[-1][0] == "open" else 0.0)
