"""Columns of text in a terminal, where a Chinese character takes two."""

import unicodedata

CUT = "…"


def width(text: str) -> int:
    """How many columns a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def padded(text: str, columns: int) -> str:
    """The text in exactly so many columns: with blanks behind it, or cut off with a sign of that."""
    if width(text) > columns:
        while width(text) > columns - width(CUT):
            text = text[:-1]
        text += CUT
    return text + " " * (columns - width(text))
