"""Latency by MLPerf's single-stream scenario: one query at a time, each starts when the one before is answered.

MLPerf Inference requires at least 1,024 queries and a minimum duration: 600 s, or 60 s in its mobile suite. Its figure is the 90th percentile.
Percentiles are by nearest rank, so each is a measured time.
"""

import math
import time
from collections.abc import Callable, Sequence

QUERIES = 1024
SECONDS = 60.0
WARM_UP = 8


def single_stream(query: Callable[[int], None], *, queries: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Run at least `queries` queries for at least `seconds`, after WARM_UP queries that do not count. Returns the seconds of each query.

    query: is called with its number, from 0.
    """
    for number in range(WARM_UP):
        query(number)
    took_s: list[float] = []
    began_s = ended_s = clock()
    while len(took_s) < queries or ended_s - began_s < seconds:
        asked_s = clock()
        query(len(took_s))
        ended_s = clock()
        took_s.append(ended_s - asked_s)
    return took_s


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that is at least as large as `share` of them. share: 0..1; values: not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def is_mlperf(queries: int, seconds: float) -> bool:
    """Whether the number of queries and the duration follow the rules of MLPerf's mobile suite."""
    return queries >= QUERIES and seconds >= SECONDS
