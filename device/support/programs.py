"""Runs a program of the system and returns what it printed, within a time limit and a size limit."""

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence

from device.common.errors import SortbinError

MOST_BYTES = 512 * 1024
"""of a program's output the last so many bytes are kept"""
GRACE_S = 5.0
"""between the request to end and the kill"""


class ProgramError(SortbinError, RuntimeError):
    """A program that is missing, failed, or took too long. The message is one line."""


def output_of(command: Sequence[str], *, limit_s: float, user: str | None = None, statuses: Sequence[int] = (0,)) -> str:
    """What a program prints, its errors included. user: run it as this user, which only root may. statuses: exit statuses that count as done.

    It gets a process group of its own, so that its children end with it. Raises ProgramError.
    """
    switched: Mapping[str, object] = {} if user is None else {"user": user, "group": user, "extra_groups": _groups(user)}
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    with tempfile.TemporaryFile() as written:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                start_new_session=True,
                **switched,  # type: ignore[call-overload]
            )
        except OSError as error:
            raise ProgramError(f"{command[0]}: {error.strerror}") from error
        ended = _ended(process, limit_s)
        size = written.seek(0, os.SEEK_END)
        written.seek(max(0, size - MOST_BYTES))
        printed = written.read().decode(errors="replace")
    if not ended:
        raise ProgramError(f"{' '.join(command[:2])}: not done within {limit_s:g} s, ended; it printed: {printed}")
    if process.returncode not in statuses:
        raise ProgramError(f"{' '.join(command[:2])}: exit status {process.returncode}: {printed}")
    return printed


def _ended(process: "subprocess.Popen[bytes]", limit_s: float) -> bool:
    """Wait. After the limit ask the group to end, as it may hold outputs that it makes safe, and then kill it. Whether it ended by itself."""
    try:
        process.wait(limit_s)
        return True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    return False


def _groups(user: str) -> list[int]:
    return os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
