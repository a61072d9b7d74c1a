"""A question put to a process of its own.

Runtimes crash, hang, eat memory and break one another when two of them are loaded into one process; whoever asks through here only hears
of it, within a bounded time.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from device.common.errors import SortbinError

Q = TypeVar("Q")
A = TypeVar("A")

_END_WAIT_S = 10.0


class ChildFault(SortbinError, RuntimeError):
    """A process that did not answer: refused, crashed or hung. The message is one line and says which."""


class ChildRefused(ChildFault):
    """A process that answered with a SortbinError; the message is the error's."""


class _Reply(msgspec.Struct):
    answer: msgspec.Raw = msgspec.Raw(b"null")
    refused: str = ""


def ask(module: str, question: object, answer: type[A], *, timeout_s: float) -> A:
    """Run `python -m module`, which calls `reply`, and return what it answers. question, answer: what msgspec can encode.

    Raises ChildRefused when the process raised a SortbinError, ChildFault when it failed, was killed, or took longer than timeout_s.
    """
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder, tempfile.TemporaryFile() as said:
        file = Path(folder) / "reply.json"
        # A group of its own: what the child started ends with it.
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(file)], stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            child.communicate(msgspec.json.encode(question), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFault(f"no answer within {timeout_s:g} s, ended") from None
        finally:
            _end(child)
        if child.returncode != 0:
            raise ChildFault(_how_it_ended(child.returncode, said))
        found = msgspec.json.decode(file.read_bytes(), type=_Reply)
        if found.refused:
            raise ChildRefused(found.refused)
        return msgspec.json.decode(found.answer, type=answer)


def reply(question: type[Q], work: Callable[[Q], object]) -> None:
    """The other side: read the question from stdin, do the work, and leave the answer, or why it was refused, where `ask` looks for it."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=question)
    try:
        found = _Reply(answer=msgspec.Raw(msgspec.json.encode(work(asked))))
    except SortbinError as error:
        found = _Reply(refused=str(error))
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(found))


def peak_memory_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """The most memory this process had resident so far, in MiB; None where the system does not tell.

    Not `getrusage`: on Linux that also counts what the parent had resident when it started this process.
    """
    with contextlib.suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_END_WAIT_S)


def _how_it_ended(status: int, said: IO[bytes]) -> str:
    said.seek(0)
    lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed with {signal.Signals(-status).name}{last}"
        return f"crashed with signal {-status}{last}"
    return f"failed{last or f' with exit status {status}'}"
