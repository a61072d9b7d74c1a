"""The width of text in a terminal, where a Chinese character takes two columns."""

import unicodedata

CUT = "…"


def width(text: str) -> int:
    """The number of columns of a text."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def padded(text: str, columns: int) -> str:
    """The text in exactly `columns` columns: padded with spaces, or cut off with an ellipsis."""
    if width(text) > columns:
        while width(text) > columns - width(CUT):
            text = text[:-1]
        text += CUT
    return text + " " * (columns - width(text))
