"""The opened parts of a bin, and the warnings that opening them has logged."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from device.adaptation.label_prior import LabelPrior
from device.common.clock import Clock
from device.hardware import BinHardware
from device.ledger.ledger import Ledger
from device.mqtt.reconnecting_link import Link
from device.policy.rules import RulePack
from device.sensors.levels import Levels
from device.vision.judge import Judge


@dataclass(frozen=True)
class BinParts:
    """Every part of a bin, opened and checked."""

    judge: Judge
    label_prior: LabelPrior
    rules: RulePack
    hardware: BinHardware
    ledger: Ledger
    clock: Clock
    """the one that stamps the ledger's events"""
    link: Link | None
    levels: Levels
    safe_mode: bool
    """after repeated crashes: no Edge TPU, and everything goes to the residual bin"""
    remarks: tuple[str, ...] = ()
    """what was found wrong at the start and does not keep the bin from sorting, one line each"""


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings that this thread logs in the block."""
    collector = _Collector(threading.get_ident())
    logging.getLogger().addHandler(collector)
    try:
        yield collector.lines
    finally:
        logging.getLogger().removeHandler(collector)


class _Collector(logging.Handler):
    def __init__(self, thread: int) -> None:
        super().__init__(logging.WARNING)
        self._thread = thread
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append(record.getMessage())
