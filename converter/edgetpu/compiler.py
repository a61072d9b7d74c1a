"""Coral's compiler, `edgetpu_compiler`: found, run within a time, and what it made of a model."""

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
"""stands in a given command for the folder that the model lies in, for containers to mount"""

_GRACE_S = 5.0

INSTALL = (
    "curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo gpg --dearmor -o /usr/share/keyrings/coral.gpg",
    (
        'echo "deb [signed-by=/usr/share/keyrings/coral.gpg] https://packages.cloud.google.com/apt coral-edgetpu-stable main" '
        "| sudo tee /etc/apt/sources.list.d/coral.list"
    ),
    "sudo apt-get update && sudo apt-get install edgetpu-compiler",
)
"""the commands that install it on x86-64 Debian, after coral.ai/docs/edgetpu/compiler"""


class CompilerNotFoundError(SortbinError, FileNotFoundError):
    """There is no such program. The message names it."""


class CompilerError(SortbinError, RuntimeError):
    """The compiler failed, hung, or left no model behind. The message gives its last words."""


@dataclass(frozen=True)
class CompiledModel:
    """A compiled model, and what the compiler said of it."""

    model: bytes
    report: CompilerReport


def find_compiler(command: str | None) -> list[str]:
    """The words of a command line, or of the program on the PATH when `command` is None. Raises CompilerNotFoundError."""
    try:
        words = [PROGRAM] if command is None else shlex.split(command)
    except ValueError as error:
        raise CompilerNotFoundError(f"--compiler {command}: {error}") from error
    if not words or shutil.which(words[0]) is None:
        where = f"no {PROGRAM} on the PATH" if command is None else f"--compiler {command}: no such program"
        raise CompilerNotFoundError(where)
    return words


def compile_model(model: Path, command: Sequence[str], timeout_s: float) -> CompiledModel:
    """Compile `model` in the folder it lies in, where the compiler's files stay behind.

    Each `{folder}` in `command` becomes the path of that folder; the command runs there and gets `-s` and the model's name.
    Raises CompilerError and ReportError. A model of which nothing was mapped is no error here: ask the report.
    """
    folder = model.parent.resolve()
    words = [word.replace(FOLDER, str(folder)) for word in command]
    said = _run([*words, "-s", model.name], folder, timeout_s)
    log = folder / f"{model.stem}_edgetpu.log"
    # The log has the whole table; with many operations the printed one may stop short.
    report = parse_report(said + "\n" + (log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""))
    made = folder / f"{model.stem}_edgetpu.tflite"
    if not made.is_file():
        raise CompilerError(f"{words[0]} left no {made.name} behind; it said: {last_words(said)}")
    content = made.read_bytes()
    operators = parse_model(content, made.name).main.operators
    if report.mapped and not any(operator.name == CUSTOM_OP for operator in operators):
        raise CompilerError(f"{words[0]} says that it mapped {report.mapped} operations, but {made.name} holds no {CUSTOM_OP}")
    return CompiledModel(content, report)


def _run(words: list[str], folder: Path, timeout_s: float) -> str:
    """Run it and return what it printed, to whichever stream."""
    said = folder / "compiler.out"
    try:
        with said.open("wb") as out:
            # Its own session, so that what it started itself ends with it.
            process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                status = process.wait(timeout_s)
            except BaseException:
                _end(process)
                raise
    except subprocess.TimeoutExpired as error:
        raise CompilerError(f"{words[0]} was not done after {timeout_s:g} s and was ended; it said: {_tail(said)}") from error
    except OSError as error:
        raise CompilerError(f"{words[0]}: {error.strerror}") from error
    if status != 0:
        raise CompilerError(f"{words[0]} failed with status {status}; it said: {_tail(said)}")
    return said.read_text(encoding="utf-8", errors="replace")


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_GRACE_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _tail(said: Path) -> str:
    return last_words(said.read_text(encoding="utf-8", errors="replace"))
