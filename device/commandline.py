"""What the commands `sortbin`, `converter` and `training` have in common."""

import argparse
import importlib
import math
import os
import sys
from collections.abc import Callable, Sequence

from device import __version__
from device.errors import SortbinError


def run(program: str, description: str, package: str, names: Sequence[str], argv: list[str] | None) -> int:
    """Run a subcommand and return the exit status: its own, 2 for a user's mistake, which is told in one line, 130 when interrupted.

    package: where each name is a module whose `add_parser` adds the subcommand, with `run` among its defaults. Only the one that is asked for is
    imported: `sortbin gate --release` has to work when another cannot even be loaded. argv: without it, that of the process.
    """
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = sys.argv[1:2] if argv is None else argv[:1]
    for name in asked if set(asked) <= set(names) and asked else names:
        importlib.import_module(f"{package}.{name}").add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except SortbinError as error:
        print(f"{program} {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone: nothing more to say, and nothing to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """What reads an option's whole number, for `add_argument(type=...)`: any other than least..most is told what was expected."""
    bounds = f"from {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, found {text}")
        return number

    return read


def measured(least: float, most: float, unit: str) -> Callable[[str], float]:
    """The same for a quantity, which may have a fraction: least..most, in that unit."""

    def read(text: str) -> float:
        try:
            quantity = float(text)
        except ValueError:
            quantity = math.nan
        if not least <= quantity <= most:
            raise argparse.ArgumentTypeError(f"expected {least:g} to {most:g} {unit}, found {text}")
        return quantity

    return read
