"""Find the folders of the labels in a source, and folders for training, validation and test above them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from device.common.label_names import label_of

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class PathLabel(NamedTuple):
    """Label and split that a picture's folders give. split: train, val, test, or empty. below: the folders below the label's."""

    label: str
    split: str
    below: str


@dataclass(frozen=True)
class Layout:
    """wrapping: folders around the folders of the labels, as archives have them. by_split: whether a folder per split lies between."""

    wrapping: tuple[str, ...]
    by_split: bool

    def unwrapped(self, path: str) -> str:
        """The path without the folders around those of the labels."""
        return "/".join(path.split("/")[len(self.wrapping) :])

    def place(self, path: str) -> PathLabel | None:
        """Label and split of a picture; None for one that lies beside the folders of the labels.

        Labels are as `label_of` has them, since file systems and archives differ in how they spell an accent. Raises LabelError.
        """
        split, folders = self._folders(path)
        return PathLabel(label_of(folders[0]), split, "/".join(folders[1:])) if folders else None

    def label_folders(self, paths: Iterable[str]) -> Iterator[str]:
        """The name of the label's folder of each picture that lies in one, as it is spelt there."""
        return (folders[0] for _, folders in map(self._folders, paths) if folders)

    def _folders(self, path: str) -> tuple[str, tuple[str, ...]]:
        """The split that the layout gives, and the folders from the label's on."""
        folders = tuple(path.split("/")[:-1])[len(self.wrapping) :]
        return (SPLIT_FOLDERS.get(folders[0].lower(), ""), folders[1:]) if self.by_split and folders else ("", folders)


def find_layout(folders: Iterable[str], *, unwrap: bool) -> Layout:
    """The layout of a source whose pictures lie in these folders. unwrap: whether a single folder around everything is skipped."""
    split = [tuple(folder.split("/")) for folder in folders if folder != "."]
    wrapping: tuple[str, ...] = ()
    while unwrap and len({parts[0] for parts in split}) == 1 and all(len(parts) > 1 for parts in split):
        wrapping += split[0][:1]
        split = [parts[1:] for parts in split]
    tops = {parts[0].lower() for parts in split}
    named = {SPLIT_FOLDERS.get(top) for top in tops}
    by_split = None not in named and len(named) > 1 and all(len(parts) > 1 for parts in split)
    return Layout(wrapping, by_split)
