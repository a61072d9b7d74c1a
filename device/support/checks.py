"""What `sortbin check` says, in a process of its own with a time limit."""

import os
import pwd
import sys

from device.daemon.systemd_unit import find_service
from device.ledger.lock import is_in_use
from device.support.programs import output_of
from device.support.supported_bin import SupportedBin

LIMIT_S = 90.0
HELD_BY_DAEMON = ("camera", "gates", "levels", "state")
"""parts that a running daemon holds: the check would only say so, and opening a microcontroller's port may reset it"""


def collect(bin_: SupportedBin) -> str:
    """Its lines. As root it runs as the service's user, so that it finds what that user may not do and leaves no file of root's behind."""
    without = HELD_BY_DAEMON if is_in_use(bin_.state) else ()
    command = [sys.executable, "-m", "device.cli", "check", "--config", str(bin_.config.absolute()), *(f"--without={part}" for part in without)]
    printed = output_of(command, limit_s=LIMIT_S, user=_service_user(), statuses=(0, 1, 2))
    return (f"the daemon runs: not tried: {', '.join(without)}\n" if without else "") + printed


def _service_user() -> str | None:
    service = find_service() if os.geteuid() == 0 else None
    try:
        return None if service is None else pwd.getpwnam(service.user).pw_name
    except KeyError:
        return None
