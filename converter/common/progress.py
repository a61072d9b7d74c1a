"""Progress of a long command, on the last line of the terminal. Nothing is written where stderr is no terminal."""

import os
import sys
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
Item = TypeVar("Item", covariant=True)


class Indexable(Protocol[Item]):
    """Items with a length, that can be read by index and in order: lists, arrays, `NetworkInputs`."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Item: ...
    def __iter__(self) -> Iterator[Item]: ...


class Progress:
    """Rewrites the last line of the terminal. It has a copy of the file descriptor of stderr, so `silenced` does not stop it."""

    def __init__(self) -> None:
        self._terminal = os.dup(sys.stderr.fileno()) if sys.stderr.isatty() else None

    def step(self, text: str) -> None:
        """Show the name of the step that begins."""
        if self._terminal is not None:
            os.write(self._terminal, f"\r\x1b[K{text}".encode())

    def track(self, items: Indexable[T], text: str) -> "TrackedItems[T]":
        """The same items. Reading one shows `text` and its number."""
        return TrackedItems(items, text, self)

    def close(self) -> None:
        """Clear the line. Further steps show nothing."""
        if self._terminal is not None:
            self.step("")
            os.close(self._terminal)
            self._terminal = None


class TrackedItems(Generic[T]):
    """Items that show in a Progress which of them was read last."""

    def __init__(self, items: Indexable[T], text: str, progress: Progress) -> None:
        self._items, self._text, self._progress = items, text, progress

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> T:
        self._progress.step(f"{self._text} {number + 1}/{len(self._items)}")
        return self._items[number]

    def __iter__(self) -> Iterator[T]:
        return (self[number] for number in range(len(self)))
