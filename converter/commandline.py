"""What the commands `converter` and `training` have in common: what the system refuses is told in one line."""

import errno
import os
import sys
from collections.abc import Sequence

from device import commandline

OF_NO_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""what writing to an open file ends with, which does not say its name"""


def run(program: str, description: str, package: str, names: Sequence[str], argv: list[str] | None) -> int:
    """Run a subcommand as `device.commandline.run` does, and return 2 as well where a file or a folder cannot be used, which is named."""
    try:
        return commandline.run(program, description, package, names, argv)
    except OSError as error:
        if error.filename is None and error.errno not in OF_NO_FILE:
            raise
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        asked = (sys.argv[1:] if argv is None else argv)[0]
        print(f"{program} {asked}: {where}{error.strerror}", file=sys.stderr)
        return 2
