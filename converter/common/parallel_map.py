"""Many pictures through one model on all processors, in order."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Worked = TypeVar("Worked")


def parallel_map(count: int, equipped: Callable[[], Callable[[int], Worked]]) -> Iterator[Worked]:
    """What a worker makes of 0 to count - 1, in that order, on as many threads as there are processors.

    equipped: called once on each thread, gives that thread its worker, which may hold an interpreter that no two threads may use at once.
    """
    own = threading.local()

    def equip() -> None:
        own.work = equipped()

    with ThreadPoolExecutor(os.cpu_count(), initializer=equip) as pool:
        yield from pool.map(lambda number: own.work(number), range(count))
