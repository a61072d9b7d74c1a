"""What a bin is made of, opened and checked, and the warnings that were logged meanwhile."""

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from device.adaptation.label_prior import LabelPrior
from device.hardware import BinHardware
from device.ledger.ledger import Ledger
from device.mqtt.link import Link
from device.policy.rules import RulePack
from device.vision.judge import Judge


@dataclass(frozen=True)
class BinParts:
    """Every part of a bin. remarks: what was found wrong at the start and does not keep it from sorting, one line each."""

    judge: Judge
    label_prior: LabelPrior
    rules: RulePack
    hardware: BinHardware
    ledger: Ledger
    link: Link | None
    safe_mode: bool
    """the daemon has crashed again and again: it begins with nothing that it can do without"""
    remarks: tuple[str, ...] = ()


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """The warnings that this thread logs meanwhile, for those who do not see the log."""
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
