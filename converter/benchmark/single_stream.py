"""Latency as MLPerf's single-stream scenario measures it: one query after the other, the next one begun when the last one is answered.

MLPerf Inference asks for at least 1,024 queries, and for a least duration: 600 s in its own rules, 60 s in its mobile suite. Its figure is
the 90th percentile. Percentiles are taken by nearest rank, so each is a time that was measured.
"""

import math
import time
from collections.abc import Callable, Sequence

QUERIES = 1024
SECONDS = 60.0
WARM_UP = 8


def single_stream(query: Callable[[int], None], *, queries: int, seconds: float, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Ask until there were at least `queries` and at least `seconds` went by, after WARM_UP that do not count. Returns seconds, one a query.

    query: takes its number, from 0.
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
    """The least of `values`, at least one, that `share` of them do not exceed. share: 0..1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def is_mlperf(queries: int, seconds: float) -> bool:
    """Whether that many queries in that time are enough for the mobile suite's rules."""
    return queries >= QUERIES and seconds >= SECONDS
