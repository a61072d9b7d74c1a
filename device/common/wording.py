"""Numbers and lists as short text, for messages and reports."""

from collections.abc import Sequence


def counted(count: int, noun: str) -> str:
    """A count with its noun, which takes an s in the plural: `1 group`, `2 groups`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(items: Sequence[object], most: int) -> str:
    """The first `most` items with commas between them: `a, b and 3 more`."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(map(str, items[:most])) + more


def alternatives(choices: Sequence[str]) -> str:
    """Choices as text: `red, green or blue`. Empty for no choices."""
    return " or ".join(filter(None, (", ".join(choices[:-1]), *choices[-1:])))


def fixed_point(value: float | None, digits: int = 4, missing: str = "") -> str:
    """A number with so many digits after the point, or `missing` for None."""
    return missing if value is None else f"{value:.{digits}f}"


def byte_size(count: int) -> str:
    """A number of bytes as the Edge TPU's compiler writes it: `7.96 MiB`."""
    for unit, limit in (("MiB", 1024**2), ("KiB", 1024)):
        if count >= limit:
            return f"{count / limit:.2f} {unit}"
    return f"{count} B"
