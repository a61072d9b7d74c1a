"""Parses what Coral's compiler prints and writes to its log."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from converter.edgetpu import compiler_status as status
from device.common.errors import SortbinError

_HEAD = re.compile(r"^Operator\s+Count\s+Status\s*$")
_ROW = re.compile(r"^(\S.*?)\s{2,}(\d+)\s+(\S.*?)\s*$")
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class ReportError(SortbinError, ValueError):
    """The compiler's output has no table of operations. The message quotes it."""


@dataclass(frozen=True)
class CompilerRow:
    """One row of the compiler's table: `count` operations of one name with one status, in the compiler's words."""

    operation: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """Whether these operations run on the Edge TPU."""
        return self.status == status.MAPPED


@dataclass(frozen=True)
class CompilerReport:
    """The compiler's report. version: empty if it is not printed. on_chip_bytes: parameters on the chip. remaining_bytes: free memory there.
    off_chip_bytes: parameters that are fetched at every run. None if not printed.
    """

    version: str
    rows: tuple[CompilerRow, ...]
    on_chip_bytes: int | None
    remaining_bytes: int | None
    off_chip_bytes: int | None

    @property
    def mapped(self) -> int:
        """The number of operations on the Edge TPU. 0 is a failure, although the compiler reports success (google-coral/edgetpu issue 358)."""
        return sum(row.count for row in self.rows if row.mapped)

    @property
    def on_cpu(self) -> int:
        """The number of operations on the CPU."""
        return sum(row.count for row in self.rows if not row.mapped)


def parse_report(text: str) -> CompilerReport:
    """Parse what the compiler prints with `-s`, its log `<name>_edgetpu.log`, or both in one text; the last table counts.

    Raises ReportError if there is no table.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    heads = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    rows = tuple(_parse_rows(lines[heads[-1] + 1 :])) if heads else ()
    if not rows:
        raise ReportError(f"the compiler printed no table of operations; it printed: {last_words(text)}")
    version = _VERSION.search(text)
    return CompilerReport(
        version=version[1] if version else "",
        rows=rows,
        on_chip_bytes=_parse_size(text, "On-chip memory used for caching model parameters"),
        remaining_bytes=_parse_size(text, "On-chip memory remaining for caching model parameters"),
        off_chip_bytes=_parse_size(text, "Off-chip memory used for streaming uncached model parameters"),
    )


def last_words(text: str) -> str:
    """The last three lines of a text that are not blank, joined in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "nothing"


def _parse_rows(lines: list[str]) -> Iterator[CompilerRow]:
    begun = False
    for line in lines:
        row = _ROW.match(line)
        if row:
            begun = True
            yield CompilerRow(row[1], int(row[2]), row[3])
        elif begun:
            return


def _parse_size(text: str, title: str) -> int | None:
    found = re.search(rf"^{re.escape(title)}: ([\d.]+)(B|KiB|MiB|GiB)\s*$", text, re.MULTILINE)
    return round(float(found[1]) * _UNITS[found[2]]) if found else None
