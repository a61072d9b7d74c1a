"""What Coral's compiler prints and writes to its log, read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from converter.edgetpu import status
from device.common.errors import SortbinError

_HEAD = re.compile(r"^Operator\s+Count\s+Status\s*$")
_ROW = re.compile(r"^(\S.*?)\s{2,}(\d+)\s+(\S.*?)\s*$")
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class ReportError(SortbinError, ValueError):
    """Text that holds no table of operations. The message says what there was instead."""


@dataclass(frozen=True)
class CompilerRow:
    """How many operations of a name had the same fate; status in the compiler's words."""

    operation: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether they run on the Edge TPU."""
        return self.status == status.MAPPED


@dataclass(frozen=True)
class CompilerReport:
    """version: of the compiler, empty where it does not say. on_chip_bytes, remaining_bytes, off_chip_bytes: of parameters kept on the chip, of
    room left there, of parameters fetched at every run; None where it does not say.
    """

    version: str
    rows: tuple[CompilerRow, ...]
    on_chip_bytes: int | None
    remaining_bytes: int | None
    off_chip_bytes: int | None

    @property
    def mapped(self) -> int:
        """How many operations run on the Edge TPU. 0 is no success, whatever the compiler calls it (google-coral/edgetpu issue 358)."""
        return sum(row.count for row in self.rows if row.mapped)

    @property
    def on_cpu(self) -> int:
        """How many do not."""
        return sum(row.count for row in self.rows if not row.mapped)


def parse_report(text: str) -> CompilerReport:
    """Read what the compiler prints with `-s`, what it writes to `<name>_edgetpu.log`, or both one after the other: the last table counts.

    Raises ReportError when there is no table.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    rows = tuple(_rows(lines[heads[-1] + 1 :])) if heads else ()
    if not rows:
        raise ReportError(f"the compiler gave no table of operations; it said: {last_words(text)}")
    version = _VERSION.search(text)
    return CompilerReport(
        version=version[1] if version else "",
        rows=rows,
        on_chip_bytes=_size(text, "On-chip memory used for caching model parameters"),
        remaining_bytes=_size(text, "On-chip memory remaining for caching model parameters"),
        off_chip_bytes=_size(text, "Off-chip memory used for streaming uncached model parameters"),
    )


def last_words(text: str) -> str:
    """The last lines of what a program printed that say something, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "nothing"


def _rows(lines: list[str]) -> Iterator[CompilerRow]:
    begun = False
    for line in lines:
        row = _ROW.match(line)
        if row:
            begun = True
            yield CompilerRow(row[1], int(row[2]), row[3])
        elif begun:
            return


def _size(text: str, title: str) -> int | None:
    found = re.search(rf"^{re.escape(title)}: ([\d.]+)(B|KiB|MiB|GiB)\s*$", text, re.MULTILINE)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None
