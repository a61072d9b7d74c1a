"""CSV for LibreOffice and Excel: RFC 4180, UTF-8 with a byte order mark, and no text that they would run as a formula."""

import csv
import io
import re
import sys
from collections.abc import Sequence

_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
"""text that a spreadsheet takes for a formula, or splits: see OWASP, CSV Injection"""


class CsvOutput:
    """Writes rows to stdout."""

    def __init__(self, header: Sequence[str]) -> None:
        # Excel reads UTF-8 only where it finds the mark. The line ends are those of the `csv` module, not those of the system.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        sys.stdout.write("\ufeff")
        self._rows = csv.writer(sys.stdout)
        self._rows.writerow(header)

    def write(self, cells: Sequence[object], flush: bool = False) -> None:
        """Write a row. None becomes an empty cell."""
        self._rows.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
        if flush:
            sys.stdout.flush()


def harmless(text: str) -> str:
    """Text that begins like a formula, with an apostrophe before it: then a spreadsheet shows it."""
    return f"'{text}" if _FORMULA.match(text) else text
