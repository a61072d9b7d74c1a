"""`sortbin run`: sort for ever, as the settings say."""

import argparse
import functools
import logging
import sys
from pathlib import Path
from typing import Any

from device import daemon
from device.body import open_body
from device.events import AnyEvent, Fault, Hazard, ItemInterrupted, ItemRejected, ItemSorted, Jam
from device.health import Notifier
from device.last_words import tell_end
from device.memory import keep_little
from device.settings import DEFAULT_FILE, read_settings
from device.stopping import stop_on_signals


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `run` to the command line."""
    parser = commands.add_parser(
        "run",
        help="run the bin, as the systemd service does",
        description="Run the bin until SIGTERM, Ctrl-C or any other signal that ends a process. "
        "Exit status: 0 stopped as asked, 1 a part gave up while it ran, 2 settings or a part that cannot be used.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon. Returns the exit status."""
    keep_little()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    stop = stop_on_signals()
    try:
        settings = read_settings(arguments.config)
        with daemon.opened(settings, functools.partial(open_body, settings)) as parts:
            daemon.run(settings, parts, stop, _log, Notifier())
    except daemon.Crash as crash:
        logging.getLogger("sortbin").critical("ends, since a new start may help: %s", crash)
        tell_end(arguments.config, crash)
        return 1
    except Exception as error:
        tell_end(arguments.config, error)
        raise
    return 0


def _log(event: AnyEvent) -> None:
    log = logging.getLogger("sortbin")
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
        case Fault():
            log.error("event %d: fault %s: %s", event.seq, event.fault, event.message)
        case _:
            log.info("event %d: %s", event.seq, type(event).__name__.lower())
