"""Waits for what was asked of the sorter."""

from collections.abc import Generator
from concurrent.futures import Future

from device.remote import Refused
from device.sorting.manual_control import NotDone


def finished(asked: "Future[None]") -> Generator[None, float, None]:
    """Wait until the sorter has done it. Where this step is given up before the sorter has begun, it never does. Raises Refused."""
    try:
        while not asked.done():
            yield
    finally:
        asked.cancel()
    try:
        asked.result()
    except NotDone as error:
        raise Refused("failed", str(error)) from error
