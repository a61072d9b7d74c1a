"""What a label may be called, since it names a folder."""

import unicodedata

from device.common.errors import SortbinError

LONGEST_BYTES = 200


class FolderLabelError(SortbinError, ValueError):
    """A label that cannot name a folder. The message says why."""


def composed(label: str) -> str:
    """The same label in Unicode's composed form, whichever system it was typed on."""
    return unicodedata.normalize("NFC", label)


def checked(label: str) -> str:
    """The label as it is stored: composed, without space around it. Raises FolderLabelError.

    Any script will do. Refused is what would leave the folder (`/`, `\\`, `..`), hide it (a dot in front), not be seen (control
    characters), be longer than file names go, or be taken for a data folder's own `splits`.
    """
    name = composed(label).strip()
    shown = name if name.isprintable() else repr(name)
    if not name:
        raise FolderLabelError("expected a label, got nothing")
    if not name.isprintable():
        raise FolderLabelError(f"label {shown}: expected characters that can be seen, on one line")
    if any(sign in name for sign in "/\\"):
        raise FolderLabelError(f"label {shown}: expected no / and no \\, since it names a folder")
    if name.startswith("."):
        raise FolderLabelError(f"label {shown}: expected no dot in front, since it names a folder")
    if name == "splits":
        raise FolderLabelError(f"label {shown}: expected another name; a data folder keeps its lists there")
    if len(name.encode()) > LONGEST_BYTES:
        raise FolderLabelError(f"label {shown[:20]}...: expected at most {LONGEST_BYTES} bytes in UTF-8, got {len(name.encode())}")
    return name


def same_but_for_case(label: str, known: list[str]) -> str | None:
    """The known label that would share a folder with this one where the file system ignores case."""
    return next((name for name in known if name != label and name.casefold() == label.casefold()), None)
