"""Runs a function in a process of its own and returns its result within a time limit.

For runtimes that crash, hang, use much memory, or fail when two are loaded in one process: the caller only gets an error.
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
    """A process that gave no result: refused, crashed or hung. The message is one line and says which."""


class ChildRefused(ChildFault):
    """A process in which a SortbinError was raised; the message is that error's."""


class _Reply(msgspec.Struct):
    answer: msgspec.Raw = msgspec.Raw(b"null")
    refused: str = ""


def ask(module: str, question: object, answer: type[A], *, timeout_s: float) -> A:
    """Run `python -m module`, which calls `reply`, and return its answer. question, answer: types that msgspec can encode.

    Raises ChildRefused when the process raised a SortbinError, ChildFault when it failed, was killed, or took longer than timeout_s.
    """
    with tempfile.TemporaryDirectory(prefix="sortbin-") as folder, tempfile.TemporaryFile() as output:
        file = Path(folder) / "reply.json"
        # A process group of its own, so that `_end` ends the child's children too.
        child = subprocess.Popen(
            [sys.executable, "-m", module, str(file)], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            child.communicate(msgspec.json.encode(question), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise ChildFault(f"no answer within {timeout_s:g} s, ended") from None
        finally:
            _end(child)
        if child.returncode != 0:
            raise ChildFault(_how_it_ended(child.returncode, output))
        found = msgspec.json.decode(file.read_bytes(), type=_Reply)
        if found.refused:
            raise ChildRefused(found.refused)
        return msgspec.json.decode(found.answer, type=answer)


def reply(question: type[Q], work: Callable[[Q], object]) -> None:
    """In the child: read the question from stdin, call `work`, and write its result or its SortbinError to the file that `ask` reads."""
    received = msgspec.json.decode(sys.stdin.buffer.read(), type=question)
    try:
        found = _Reply(answer=msgspec.Raw(msgspec.json.encode(work(received))))
    except SortbinError as error:
        found = _Reply(refused=str(error))
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(found))


def peak_memory_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """The peak resident memory of this process in MiB; None where it is unknown.

    `getrusage` would also count the parent's memory at the time of the fork.
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


def _how_it_ended(status: int, output: IO[bytes]) -> str:
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    last = f": {lines[-1][:300]}" if lines else ""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"crashed with {signal.Signals(-status).name}{last}"
        return f"crashed with signal {-status}{last}"
    return f"failed{last or f' with exit status {status}'}"
