"""Finds and runs Coral's compiler, `edgetpu_compiler`, with a time limit."""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.edgetpu.graph import CUSTOM_OP
from converter.edgetpu.report import CompilerReport, last_words, parse_report
from converter.tflite.flatbuffer import parse_model
from device.common.errors import SortbinError

PROGRAM = "edgetpu_compiler"
FOLDER = "{folder}"
"""stands for the folder of the model in a given command, for containers to mount"""

_GRACE_S = 5.0

INSTALL = (
    "curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo gpg --dearmor -o /usr/share/keyrings/coral.gpg",
    (
        'echo "deb [signed-by=/usr/share/keyrings/coral.gpg] https://packages.cloud.google.com/apt coral-edgetpu-stable main" '
        "| sudo tee /etc/apt/sources.list.d/coral.list"
    ),
    "sudo apt-get update && sudo apt-get install edgetpu-compiler",
)
"""the commands that install it on x86-64 Debian, from coral.ai/docs/edgetpu/compiler"""


class CompilerNotFoundError(SortbinError, FileNotFoundError):
    """The compiler is not installed. The message names the program."""


class CompilerError(SortbinError, RuntimeError):
    """The compiler failed, hung, or wrote no model. The message quotes its last lines."""


@dataclass(frozen=True)
class CompiledModel:
    """A compiled model and the report of the compiler."""

    model: bytes
    report: CompilerReport


def find_compiler(command: str | None) -> list[str]:
    """The words of the command line; without `command` the program on the PATH. Raises CompilerNotFoundError."""
    try:
        words = [PROGRAM] if command is None else shlex.split(command)
    except ValueError as error:
        raise CompilerNotFoundError(f"--compiler {command}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        where = f"no {PROGRAM} on the PATH" if command is None else f"--compiler {command}: no such program"
        raise CompilerNotFoundError(where)
    return words


def compile_model(model: Path, command: Sequence[str], timeout_s: float) -> CompiledModel:
    """Compile `model` in its folder, where the compiler's files stay.

    Each `{folder}` in `command` is replaced by the path of that folder. The command runs there, with `-s` and the model's name added. Raises
    CompilerError and ReportError. It is no error here if nothing was mapped: see the report.
    """
    folder = model.parent.resolve()
    words = [word.replace(FOLDER, str(folder)) for word in command]
    printed = _run_compiler([*words, "-s", model.name], folder, timeout_s)
    log = folder / f"{model.stem}_edgetpu.log"
    # The log holds the whole table; the printed one may be cut off for many operations.
    report = parse_report(printed + "\n" + (log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""))
    output = folder / f"{model.stem}_edgetpu.tflite"
    if not output.is_file():
        raise CompilerError(f"{words[0]} wrote no {output.name}; it printed: {last_words(printed)}")
    content = output.read_bytes()
    operators = parse_model(content, output.name).main.operators
    if report.mapped and not any(operator.name == CUSTOM_OP for operator in operators):
        raise CompilerError(f"{words[0]} says that it mapped {report.mapped} operations, but {output.name} holds no {CUSTOM_OP}")
    return CompiledModel(content, report)


def _run_compiler(words: list[str], folder: Path, timeout_s: float) -> str:
    """Run the command and return what it printed to stdout and stderr."""
    printed = folder / "compiler.out"
    try:
        with printed.open("wb") as out:
            # A session of its own, so that its child processes can be ended with it.
            process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                status = process.wait(timeout_s)
            except BaseException:
                _end_process(process)
                raise
    except subprocess.TimeoutExpired as error:
        raise CompilerError(f"{words[0]} was not done after {timeout_s:g} s and was ended; it printed: {_last_output(printed)}") from error
    except OSError as error:
        raise CompilerError(f"{words[0]}: {error.strerror}") from error
    if status != 0:
        raise CompilerError(f"{words[0]} failed with status {status}; it printed: {_last_output(printed)}")
    return printed.read_text(encoding="utf-8", errors="replace")


def _end_process(process: "subprocess.Popen[bytes]") -> None:
    """End the process and its children: SIGTERM, and SIGKILL after _GRACE_S."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _last_output(printed: Path) -> str:
    return last_words(printed.read_text(encoding="utf-8", errors="replace"))
