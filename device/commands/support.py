"""`sortbin support`: one archive with what a person who helps needs to know, without secrets."""

import argparse
from pathlib import Path
from typing import Any

from device.common.default_paths import DEFAULT_FILE
from device.support.archive import PARTS, collect_parts, write_archive
from device.support.secrets import Scrubber, secrets_of_machine
from device.support.supported_bin import read_supported_bin


def add_parser(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add `support` to the command line."""
    parser = commands.add_parser(
        "support",
        help="write an archive for somebody who helps, without secrets",
        description=f"Write one archive: {', '.join(PARTS)}. Passwords, names to log in with, keys, tokens, names of Wi-Fi networks, hardware "
        "addresses and serial numbers are masked. The daemon may be running. A part that fails is named in parts.txt. "
        "Exit status: 0 written, 2 it cannot be written.",
    )
    parser.add_argument("--config", type=Path, default=DEFAULT_FILE, metavar="FILE", help="settings file (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the archive; an older one is replaced (default: sortbin-support-ID.tar.gz, here)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Collect and write. Returns the exit status."""
    bin_ = read_supported_bin(arguments.config)
    file = arguments.out or Path(f"sortbin-support-{bin_.id}.tar.gz")
    scrubber = Scrubber([*secrets_of_machine(), *bin_.secrets()])
    for part in write_archive(file, collect_parts(bin_, scrubber)):
        print(f"{part.name:<15}{part.failure or 'collected'}")
    print(f"{file}: look through it before you pass it on")
    return 0
