"""Where a long command has got to, on one line of a terminal; silent where there is none."""

import os
import sys
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
Given = TypeVar("Given", covariant=True)


class Indexable(Protocol[Given]):
    """Things in a row that can be taken one by one or by their number."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Given: ...
    def __iter__(self) -> Iterator[Given]: ...


class Progress:
    """Rewrites the last line of the terminal that stderr is. It keeps a copy of the file descriptor, so `silenced` does not hold it back."""

    def __init__(self) -> None:
        self._terminal = os.dup(sys.stderr.fileno()) if sys.stderr.isatty() else None

    def step(self, text: str) -> None:
        """Say what begins now."""
        if self._terminal is not None:
            os.write(self._terminal, f"\r\x1b[K{text}".encode())

    def track(self, items: Indexable[T], text: str) -> "TrackedItems[T]":
        """The same items; each time they are gone through, they are counted."""
        return TrackedItems(items, text, self)

    def close(self) -> None:
        """Clear the line."""
        if self._terminal is not None:
            self.step("")
            os.close(self._terminal)
            self._terminal = None


class TrackedItems(Generic[T]):
    """Items that say how many of them were taken."""

    def __init__(self, items: Indexable[T], text: str, progress: Progress) -> None:
        self._items, self._text, self._progress = items, text, progress

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> T:
        self._progress.step(f"{self._text} {number + 1}/{len(self._items)}")
        return self._items[number]

    def __iter__(self) -> Iterator[T]:
        return (self[number] for number in range(len(self)))
