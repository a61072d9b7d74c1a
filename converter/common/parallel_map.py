"""A function applied to many items on all processors."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def parallel_map(count: int, make_worker: Callable[[], Callable[[int], Result]]) -> Iterator[Result]:
    """Call a worker with the numbers 0 to count - 1 on as many threads as there are processors, and yield the results in order.

    make_worker: called once on each thread, so that each worker can have an interpreter of its own.
    """
    own = threading.local()

    def equip() -> None:
        own.work = make_worker()

    with ThreadPoolExecutor(os.cpu_count(), initializer=equip) as pool:
        yield from pool.map(lambda number: own.work(number), range(count))
