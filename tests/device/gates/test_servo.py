"""A gate on a servo, under simulated time, on a fake /sys/class/pwm that behaves as the kernel's does."""

import errno
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.gates import GateError, Position
from device.gates.servo import LONGEST_STEP_S, ServoGate, ServoSettings

KEYS = {"bin": "paper", "chip": 2, "channel": 0, "closed_us": 1000.0, "open_us": 2000.0, "travel_s": 1.0, "settle_s": 0.2, "detach_s": 0.5}


def servo(kernel: Any, **keys: Any) -> ServoGate:
    return ServoGate(ServoSettings(**(KEYS | keys)), root=kernel.path)


def carry(gate: ServoGate, from_s: float, to_s: float, step_s: float = 0.02) -> None:
    for n in range(1, round((to_s - from_s) / step_s) + 1):
        gate.update(from_s + n * step_s)


def pulses_us(kernel: Any) -> list[float]:
    return [int(text) / 1000 for name, text in kernel.writes if name == "duty_cycle"]


def is_on(kernel: Any) -> bool:
    return bool(kernel.state[kernel.root / "pwmchip2/pwm0"]["enable"])


@pytest.fixture
def closed(kernel: Any) -> ServoGate:
    """A gate that has just closed, at 10 s."""
    gate = servo(kernel)
    gate.close(0.0)
    carry(gate, 0.0, 10.0)
    kernel.writes.clear()
    return gate


def test_claiming_moves_nothing(kernel: Any) -> None:
    gate = servo(kernel)
    assert gate.position is Position.UNKNOWN
    assert not is_on(kernel)
    assert pulses_us(kernel) == []


def test_the_first_move_gets_the_time_of_the_whole_way(kernel: Any) -> None:
    gate = servo(kernel)
    gate.close(0.0)
    assert pulses_us(kernel) == [1000]
    assert is_on(kernel)
    carry(gate, 0.0, 1.18)
    assert gate.position is Position.CLOSING
    carry(gate, 1.18, 1.22)
    assert gate.position is Position.CLOSED


def test_it_starts_from_the_pulse_that_the_kernel_remembers(kernel: Any) -> None:
    first = servo(kernel)
    first.open("paper", 0.0)
    carry(first, 0.0, 2.0)
    first.close(2.0)
    carry(first, 2.0, 2.5)
    first.release()
    kernel.writes.clear()
    second = servo(kernel)
    assert second.position is Position.UNKNOWN
    second.close(0.0)
    carry(second, 0.0, 0.1)
    assert pulses_us(kernel)[:3] == pytest.approx([1500, 1480, 1460])


def test_opening_moves_the_pulse_evenly_and_then_settles(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 10.98)
    assert pulses_us(kernel) == pytest.approx([1000 + 20 * n for n in range(50)])
    carry(closed, 10.98, 11.18)
    assert pulses_us(kernel)[-1] == 2000
    assert closed.position is Position.OPENING
    carry(closed, 11.18, 11.22)
    assert closed.position is Position.OPEN


def test_pulses_hold_an_open_gate_and_stop_after_closing(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 60.0, step_s=0.05)
    assert is_on(kernel)
    closed.close(60.0)
    carry(closed, 60.0, 61.6)
    assert closed.position is Position.CLOSED
    assert is_on(kernel)
    carry(closed, 61.6, 61.8)
    assert not is_on(kernel)
    assert closed.position is Position.CLOSED


def test_a_move_is_reversed_where_it_is(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 10.4)
    closed.close(10.4)
    carry(closed, 10.4, 11.0)
    assert max(pulses_us(kernel)) == pytest.approx(1400)
    assert closed.position is Position.CLOSED


def test_a_repeated_open_changes_nothing(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 10.5)
    closed.open("paper", 10.5)
    carry(closed, 10.5, 11.3)
    assert closed.position is Position.OPEN
    closed.open("paper", 12.0)
    assert closed.position is Position.OPEN


def test_open_us_may_be_the_shorter_pulse(kernel: Any) -> None:
    gate = servo(kernel, closed_us=2000, open_us=1000)
    gate.close(0.0)
    carry(gate, 0.0, 2.0)
    gate.open("paper", 2.0)
    carry(gate, 2.0, 2.5)
    assert pulses_us(kernel)[-1] == pytest.approx(1500)


@pytest.mark.parametrize("attribute", ["duty_cycle", "enable"])
def test_a_failed_write_is_an_error_and_the_position_unknown(kernel: Any, closed: ServoGate, attribute: str) -> None:
    if attribute == "duty_cycle":
        closed.open("paper", 10.0)
        carry(closed, 10.0, 10.3)
    kernel.failing[attribute] = errno.EIO
    with pytest.raises(GateError, match=rf"gate paper: cannot write \d+ to .*/{attribute}: Input/output error"):
        closed.open("paper", 10.3)
        carry(closed, 10.3, 12.0)
    assert closed.position is Position.UNKNOWN
    written = len(kernel.writes)
    closed.update(13.0)
    assert len(kernel.writes) == written, "a gate that failed does not move by itself"

    kernel.failing.clear()
    closed.close(20.0)
    carry(closed, 20.0, 22.0)
    assert closed.position is Position.CLOSED


def test_a_failure_to_detach_is_an_error(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 12.0)
    closed.close(12.0)
    carry(closed, 12.0, 13.4)
    assert closed.position is Position.CLOSED
    kernel.failing["enable"] = errno.ENODEV
    with pytest.raises(GateError, match="No such device"):
        carry(closed, 13.4, 14.0)


def test_release_during_a_move_stops_the_pulses(kernel: Any, closed: ServoGate) -> None:
    closed.open("paper", 10.0)
    carry(closed, 10.0, 10.5)
    closed.release()
    closed.release()
    assert not is_on(kernel)
    assert closed.position is Position.UNKNOWN
    closed.update(10.6)
    with pytest.raises(GateError, match="has been released"):
        closed.open("paper", 10.7)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ends=st.tuples(st.floats(500, 2500), st.floats(500, 2500)).filter(lambda ends: abs(ends[0] - ends[1]) > 10),
    travel_s=st.floats(0.1, 3),
    orders=st.lists(st.tuples(st.sampled_from(["open", "close", ""]), st.floats(0.0, 0.6)), max_size=40),
)
def test_the_pulse_stays_between_its_ends_and_never_jumps(
    pwm_kernel: Callable[[], Any], ends: tuple[float, float], travel_s: float, orders: list[tuple[str, float]]
) -> None:
    kernel = pwm_kernel()
    gate = servo(kernel, closed_us=ends[0], open_us=ends[1], travel_s=travel_s)
    gate.close(0.0)
    now_s = 0.0
    while gate.position is not Position.CLOSED:
        now_s += 0.05
        gate.update(now_s)
    longest_us = abs(ends[1] - ends[0]) * LONGEST_STEP_S / travel_s + 0.01
    target_us = ends[0]
    for order, pause_s in [*orders, *[("", 0.1)] * 36]:
        before = len(pulses_us(kernel))
        if order:
            gate.open("paper", now_s) if order == "open" else gate.close(now_s)
            target_us = ends[0] if order == "close" else ends[1]
        now_s += pause_s
        gate.update(now_s)
        path = pulses_us(kernel)[max(0, before - 1) :]
        assert all(abs(b - a) <= longest_us for a, b in pairwise(path))
        assert all(abs(b - target_us) <= abs(a - target_us) + 0.001 for a, b in pairwise(path))
    assert all(min(ends) - 0.001 <= pulse <= max(ends) + 0.001 for pulse in pulses_us(kernel))
    assert gate.position is (Position.CLOSED if target_us == ends[0] else Position.OPEN)
    assert pulses_us(kernel)[-1] == pytest.approx(target_us, abs=0.001)
