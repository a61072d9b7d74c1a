"""Tables in plain text, for a terminal."""

from collections.abc import Iterator, Sequence


def columns(head: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()) -> Iterator[str]:
    """Lines of a table, two spaces between columns. right: names of columns that are aligned to the right, for numbers."""
    lines = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(head))]
    for line in lines:
        cells = (cell.rjust(width) if name in right else cell.ljust(width) for name, cell, width in zip(head, line, widths, strict=True))
        yield "  ".join(cells).rstrip()
