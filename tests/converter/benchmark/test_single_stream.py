"""MLPerf's single stream, on a simulated clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.benchmark.single_stream import WARM_UP, is_mlperf, percentile, single_stream


class Clock:
    """A clock that advances only during queries."""

    def __init__(self) -> None:
        self.now_s = 5.0
        self.asked: list[int] = []

    def __call__(self) -> float:
        return self.now_s

    def query(self, number: int) -> None:
        self.asked.append(number)
        self.now_s += 0.25


@pytest.mark.parametrize(("queries", "seconds", "expected"), [(10, 0, 10), (10, 5, 20), (1, 0.3, 2), (30, 5, 30)])
def test_it_runs_until_queries_and_time_are_reached(queries: int, seconds: float, expected: int) -> None:
    clock = Clock()
    took_s = single_stream(clock.query, queries=queries, seconds=seconds, clock=clock)
    assert took_s == [0.25] * expected
    assert clock.asked == [*range(WARM_UP), *range(expected)]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_nearest_rank(values: list[float], share: float) -> None:
    found = percentile(values, share)
    below = sum(value <= found for value in values)
    assert found in values and below >= share * len(values) - 1e-6
    assert all(sum(value <= smaller for value in values) < share * len(values) for smaller in values if smaller < found)


def test_mlperf_rules_need_queries_and_time() -> None:
    assert is_mlperf(1024, 60) and not is_mlperf(1023, 60) and not is_mlperf(1024, 59.9)
