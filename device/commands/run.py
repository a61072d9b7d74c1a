"""`sortbin run`: the daemon, as the systemd service runs it."""

import argparse
import functools
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from device.common.default_paths import DEFAULT_FILE
from device.common.errors import SortbinError
from device.common.journal_log import log_to_stderr
from device.common.memory import limit_malloc
from device.common.shutdown import stop_on_signals
from device.daemon.control_loop import run_control_loop
from device.daemon.exit_fault import publish_exit_fault
from device.daemon.refused_start_backoff import RestartBackoff, backoff_of_service, change_detector
from device.daemon.startup import Crash, open_parts
from device.daemon.watchdog import SystemdNotifier
from device.events import AnyEvent, BinEmptied, BinFull, Fault, Hazard, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.hardware import open_hardware
from device.settings import read_settings

log = logging.getLogger("sortbin")

CRASH_PUBLISH_S = 0.5
"""longest wait for a broker after a crash: the bin must run again within three seconds"""


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `run` to the command line."""
    parser = commands.add_parser(
        "run",
        help="run the bin, as the systemd service does",
        description="Run the bin until SIGTERM, Ctrl-C or any other signal that ends a process. "
        "Exit status: 0 stopped as asked, 1 a part failed while the bin ran, 2 settings or a part that cannot be used.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon. Returns the exit status."""
    limit_malloc()
    log_to_stderr()
    stop, notifier = stop_on_signals(), SystemdNotifier()
    backoff, settings_changed = backoff_of_service(), change_detector(arguments.config)
    try:
        settings = read_settings(arguments.config)
        with open_parts(settings, functools.partial(open_hardware, settings), _log) as parts:
            if backoff is not None:
                backoff.reset()
            run_control_loop(settings, parts, stop, _log, notifier)
    except Crash as crash:
        log.critical("stops, since a restart may help: %s", crash)
        publish_exit_fault(arguments.config, crash, CRASH_PUBLISH_S)
        return 1
    except SortbinError as error:
        publish_exit_fault(arguments.config, error)
        if backoff is None:
            raise
        _wait_to_retry(error, backoff, settings_changed, stop, notifier)
        return 0 if stop.is_set() else 2
    except Exception as error:
        publish_exit_fault(arguments.config, error, CRASH_PUBLISH_S)
        raise
    return 0


def _wait_to_retry(
    error: SortbinError, backoff: RestartBackoff, settings_changed: Callable[[], bool], stop: threading.Event, notifier: SystemdNotifier
) -> None:
    """Log why the start was refused, and wait before systemd starts the service again."""
    log.error("%s", error)
    wait_s = backoff.add()
    notifier.status(f"refused to start, tries again {f'in {wait_s:g} s' if wait_s else 'now'}: {error}")
    backoff.wait(wait_s, settings_changed, stop)


def _log(event: AnyEvent) -> None:
    match event:
        case ItemSorted():
            log.info("event %d: %s to %s (%.0f %%)", event.seq, event.label, event.bin, 100 * event.p)
        case ItemRejected():
            log.info("event %d: %s? to %s, %s (%.0f %%)", event.seq, event.label, event.bin, event.reason, 100 * event.p)
        case ItemInterrupted():
            log.warning("event %d: %s on its way to %s: %s", event.seq, event.label, event.bin, event.reason)
        case Hazard():
            log.warning(
                "event %d: may be a hazard: %s (%.0f %%), %s", event.seq, event.label, 100 * event.p, f"to {event.bin}" if event.bin else "held"
            )
        case Jam():
            log.warning("event %d: jam at the gate of %s", event.seq, event.bin)
        case BinFull():
            log.warning("event %d: bin %s is full, says %s; its items go to the residual bin", event.seq, event.bin, event.source)
        case BinEmptied():
            log.info("event %d: bin %s was emptied, by %s, of %d items", event.seq, event.bin, event.by, event.items)
        case Fault():
            log.error("event %d: fault %s: %s", event.seq, event.fault, event.message)
        case _:
            log.info("event %d: %s", event.seq, type(event).__name__.lower())
