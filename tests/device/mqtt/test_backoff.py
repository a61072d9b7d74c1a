from hypothesis import given, settings
from hypothesis import strategies as st

from device.mqtt.backoff import Backoff


def test_waits_double_up_to_the_limit_while_connections_fail() -> None:
    backoff = Backoff(1.0, 60.0, draw=lambda low, high: high)
    assert [backoff.next_s(0.0) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_only_a_stable_connection_resets_the_limit() -> None:
    backoff = Backoff(1.0, 60.0, stable_s=10.0, draw=lambda low, high: high)
    assert [backoff.next_s(held_s) for held_s in (0.0, 0.0, 9.9, 10.0, 0.0)] == [1, 2, 4, 1, 2]


@settings(max_examples=30)
@given(st.lists(st.floats(0, 20), max_size=100))
def test_every_wait_is_in_the_upper_half_of_the_limit(held_s: list[float]) -> None:
    drawn, limits = Backoff(1.0, 60.0), Backoff(1.0, 60.0, draw=lambda low, high: high)
    for held in held_s:
        limit = limits.next_s(held)
        assert limit / 2 <= drawn.next_s(held) <= limit <= 60.0


def test_waits_of_many_bins_differ() -> None:
    assert len({Backoff().next_s(100.0) for _ in range(20)}) == 20
