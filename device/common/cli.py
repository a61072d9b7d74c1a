"""Runs the subcommands of `sortbin`, `converter` and `training`: arguments, exit status, one-line errors."""

import argparse
import codecs
import errno
import importlib
import io
import math
import operator
import os
import sys
from collections.abc import Callable, Sequence

from device import __version__
from device.common.errors import SortbinError

EXTRA_PACKAGES = frozenset({"ai_edge_quantizer", "jinja2", "keras", "matplotlib", "optuna", "sklearn", "tensorboard", "tensorflow", "tomlkit"})
"""packages of the optional dependencies; a plain installation lacks them"""

ERRORS_WITHOUT_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""errors of a write to an open file, which do not name the file"""


def run(program: str, description: str, package: str, names: Sequence[str], argv: list[str] | None) -> int:
    """Run a subcommand. Returns its exit status, or 2 for a user's mistake or a refused file, printed in one line, or 130 when interrupted.

    package: holds a module for each name, with _ for -. Its `add_parser` adds the subcommand, with `run` among its defaults. Only the module of the
    given subcommand is imported: `sortbin gate --release` must work where another cannot be loaded. argv: default: that of the process.
    """
    _escape_unprintable()
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = sys.argv[1:2] if argv is None else argv[:1]
    try:
        for name in given if set(given) <= set(names) and given else names:
            importlib.import_module(f"{package}.{name.replace('-', '_')}").add_parser(commands)
    except Exception as error:  # a missing package, or one built for another NumPy, raises many types
        print(f"{program} {name}: cannot be loaded ({type(error).__name__}: {_one_line(error)}); install {program} again", file=sys.stderr)
        return 2
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SortbinError as error:
        print(f"{program} {arguments.command}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA_PACKAGES:
            raise
        print(f'{program} {arguments.command}: {error.name} is not installed: pip install "sortbin[{program}]"', file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of the output (`| head`) is gone: print nothing more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in ERRORS_WITHOUT_FILE:
            raise
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        print(f"{program} {arguments.command}: {where}{error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _escape_unprintable() -> None:
    """Print any text in any terminal: a letter that its character set lacks becomes \\uXXXX, which JSON reads as that letter."""
    codecs.register_error("sortbin", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="sortbin")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[i : i + 2], 'big'):04x}" for i in range(0, len(units), 2)), error.end


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def int_range(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers from `least` to `most`, for `add_argument(type=...)`. It raises ArgumentTypeError, which names the range."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, found {text}")
        return number

    return parse


def float_range(
    *, ge: float | None = None, gt: float | None = None, le: float | None = None, lt: float | None = None, unit: str = ""
) -> Callable[[str], float]:
    """A parser of finite numbers, like `int_range`. ge, gt, le, lt: bounds as in `msgspec.Meta`; unit: for the message, as `seconds`."""
    words = ((ge, operator.ge, "of at least"), (gt, operator.gt, "above"), (le, operator.le, "of at most"), (lt, operator.lt, "below"))
    bounds = [(bound, holds, text) for bound, holds, text in words if bound is not None]
    range_text = " and ".join(f"{text} {bound:g}" for bound, _, text in bounds)
    if ge is not None and le is not None:
        range_text = f"from {ge:g} to {le:g}"
    expected = " ".join(filter(None, ("a number", unit and f"of {unit}", range_text)))

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or not all(holds(number, bound) for bound, holds, _ in bounds):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text}")
        return number

    return parse
