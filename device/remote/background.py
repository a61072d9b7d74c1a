"""Work that waits for a disk, a process or the kernel, on a thread of its own: the control thread only asks whether it is over."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], name: str) -> Generator[None, float, T]:
    """Run `work` on a thread of this name. The step ends with it, and returns or raises what it does."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    while not done.done():
        yield
    return done.result()
