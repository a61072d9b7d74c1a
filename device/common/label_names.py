"""The name of a label: one spelling, from any disk, archive or keyboard."""

import unicodedata
from collections.abc import Iterable, Iterator

from device.common.errors import SortbinError


class LabelError(SortbinError, ValueError):
    """A name that cannot be a label. The message gives the name and what was expected."""


def is_label(text: str) -> bool:
    """Whether a text is one line, not empty, without space around it, so that it fits a list with one label per line."""
    return text.strip() == text and text.splitlines() == [text]


def label_of(name: str) -> str:
    """The label for a folder name or a typed word: composed Unicode (NFC), without space around it.

    Raises LabelError where nothing or several lines are left.
    """
    label = unicodedata.normalize("NFC", name).strip()
    if not is_label(label):
        raise LabelError(f"{name!r}: expected the name of a label, on one line; rename that folder")
    return label


def label_remarks(folders: Iterable[str]) -> Iterator[str]:
    """Warnings about names of label folders: space around them, and labels that differ in upper and lower case only."""
    names = sorted(set(folders))
    for name in names:
        if name != name.strip():
            yield f"{name!r}: the folder's name has space around it; its pictures count as {label_of(name)}"
    by_folded: dict[str, str] = {}
    for label in sorted({label_of(name) for name in names}):
        twin = by_folded.setdefault(label.casefold(), label)
        if twin != label:
            yield f"{twin} and {label}: two labels that differ in upper and lower case only; if they are one, rename a folder"
